"""Data sources, splits and preprocessing: NumPy and scikit-learn, no torch."""

from lrsearch.data.raw import Portion, Raw
from lrsearch.data.sources import load
from lrsearch.data.splits import Loaded, Splits, folds, split, take
from lrsearch.data.understood import describe, find_validation

__all__ = [
    "Loaded",
    "Portion",
    "Raw",
    "Splits",
    "describe",
    "find_validation",
    "folds",
    "load",
    "split",
    "take",
]
