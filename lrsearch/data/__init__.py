"""Data sources, splits and preprocessing: NumPy and scikit-learn, no torch."""

from lrsearch.data.raw import Portion, Raw
from lrsearch.data.sources import load
from lrsearch.data.splits import Loaded, Splits, folds, split, take

__all__ = ["Loaded", "Portion", "Raw", "Splits", "folds", "load", "split", "take"]
