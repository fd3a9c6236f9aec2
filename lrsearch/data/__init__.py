"""Data sources, splits and preprocessing: NumPy and scikit-learn, no torch."""

from lrsearch.data.sources import Raw, load
from lrsearch.data.splits import Splits, folds, split

__all__ = ["Raw", "Splits", "folds", "load", "split"]
