"""lrsearch: which learning rate, batch size and schedule to train a PyTorch model with."""

from lrsearch.errors import Stopped
from lrsearch.reporting import report

__all__ = ["Stopped", "report"]
__version__ = "0.1.0"
