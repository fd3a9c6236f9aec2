"""Lanes: K models of one structure stacked, and one recorded program that steps them."""
