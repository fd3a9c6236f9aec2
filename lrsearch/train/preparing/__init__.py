"""Preparing: what can be found wrong before anything trains."""
