"""Analyses of trials: pure functions over values."""
