"""Strategies: they propose points and are told what came of them."""
