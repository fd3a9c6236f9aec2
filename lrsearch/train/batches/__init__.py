"""Batches: the samples a step trains on, and their sources."""
