"""The user's code: what of it may run, and what it has to itself while it does."""
