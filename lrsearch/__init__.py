"""lrsearch: which learning rate, batch size and schedule to train a PyTorch model with."""

__version__ = "0.1.0"
