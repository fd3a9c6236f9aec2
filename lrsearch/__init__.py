"""lrsearch: which learning rate, batch size and schedule to train a PyTorch model with."""

from lrsearch.errors import Stopped

__all__ = ["Stopped"]
__version__ = "0.1.0"
