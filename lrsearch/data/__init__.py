"""Data sources, splits and preprocessing: NumPy and scikit-learn, no torch."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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

_HOMES = {
    **dict.fromkeys(("Portion", "Raw"), "raw"),
    **dict.fromkeys(("load",), "sources"),
    **dict.fromkeys(("Loaded", "Splits", "folds", "split", "take"), "splits"),
    **dict.fromkeys(("describe", "find_validation"), "understood"),
}


def __getattr__(name: str) -> Any:
    """A name of the package's, imported when it is first asked for: the process of a user's loop
    needs `interrupts` alone."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__} has no attribute {name}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
