"""Preparing: checks of data and models before anything trains."""
