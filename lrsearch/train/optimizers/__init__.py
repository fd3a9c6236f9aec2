"""Optimizers: alone and in lanes."""
