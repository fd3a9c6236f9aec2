"""Some of a source's samples: the first, or drawn from all."""

from __future__ import annotations

import numpy as np

from lrsearch.data.drawing import hold_out
from lrsearch.data.tables import Array

SEED = 0
"""The seed of drawn samples: fixed, so that `samples` means the same ones whatever else is
changed."""


def choose(y: Array, task: str, count: int, *, shuffle: bool) -> Array:
    """The indices of so many samples, in their order: the first, or drawn, classes in their shares
    as far as there is room for each."""
    if not shuffle or count == len(y):
        return np.arange(count)
    shares = y if task == "classification" else None
    try:
        drawn, _ = hold_out(len(y), len(y) - count, shares, SEED)
    except ValueError:  # Classes of one sample, or fewer samples than classes.
        drawn, _ = hold_out(len(y), len(y) - count, None, SEED)
    return np.sort(drawn)


def describe_choice(
    y: Array, task: str, index: Array, classes: int, *, shuffle: bool
) -> tuple[str, list[str]]:
    """A sentence on the samples that were taken, and notes on them. `y` are all targets, `classes`
    the number of classes."""
    count, whole = len(index), len(y)
    if count == whole:
        return "", []
    which = "drawn" if shuffle else "first"
    taken = f"of {whole:,}, {'drawn' if shuffle else 'the first'}"
    remedy = "shuffle: true under data has them drawn from all"
    if task == "classification":
        present = len(np.unique(y[index]))
        if present < classes:
            told = f"{present} of the {classes} classes"
            note = f"the {which} {count:,} samples hold {told}"
            return f"{taken}: {told}", [note if shuffle else f"{note}; {remedy}"]
    elif task == "regression" and not shuffle:
        steps = np.diff(y, axis=0)
        if steps.any() and ((steps >= 0).all() or (steps <= 0).all()):
            end = "lowest" if (steps >= 0).all() else "highest"
            note = f"the samples are sorted by their targets, and the first {count:,} have the"
            return f"{taken}: the {end} targets", [f"{note} {end}; {remedy}"]
    return taken, []
