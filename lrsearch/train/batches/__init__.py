"""Batches: what a step trains on, and where it comes from."""
