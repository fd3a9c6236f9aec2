"""What the trials say: pure functions over values."""
