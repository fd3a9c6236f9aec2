"""Digits of inputs that float32 does not hold, and that standardizing in float64 keeps."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lrsearch.data.tables import MOST_EXACT, Array

FAR = 2.0**12
"""Deviations that numbers may lie from zero: float32 then still divides each into this many."""

VERY_FAR = 2.0**29
"""The same limit for float64: the mean is still exact to the digits float32 has of a deviation."""


LOST = "float32, in which data are trained on, loses the digits in which samples differ"


def tell_lost_targets(name: str, y: Array | None) -> list[str]:
    """A sentence on targets that lose digits where a loss of the user's gets them in float32."""
    if y is None or y.dtype != np.float64 or not find_far(y.reshape(len(y), -1)).any():
        return []
    return [f"{LOST}: {name}; take an offset off them"]


def feature_axes(dimensions: int) -> tuple[int, ...]:
    """The axes over which numbers belong to one feature: all samples of flat ones; the time, too,
    of sequences [samples, time, features]; the pixels, too, of images [samples, channels, ...]."""
    return (0, 1) if dimensions == 3 else (0, *range(2, dimensions))


def find_far(x: Array, most: float = FAR) -> Array:
    """Features that lie more than so many deviations from zero, bool [features].

    Float32 has 24 binary digits: for numbers that lie `FAR` deviations or more from zero, such as
    times in seconds since 1970, at most 12 are left to say how they differ.
    """
    axes = feature_axes(x.ndim)
    low, high = x.min(axis=axes), x.max(axis=axes)
    size = np.maximum(np.abs(low.astype(np.float64)), np.abs(high.astype(np.float64)))
    far: Array = (high > low) & (size > most * x.std(axis=axes, dtype=np.float64))
    return far


def keep_exact(given: Sequence[Array], inputs: Sequence[Array]) -> tuple[list[str], list[Array]]:
    """Features that lose digits in float32: their indices, as `[:, 2]`, and all parts in float64;
    empty where float32 holds the digits.

    `given` are the parts' arrays as they came, `inputs` these in float32. Whole numbers from 2**53
    on, which float64 does not hold, are counted from the first of their feature.
    """
    first, x = given[0], inputs[0]
    if first.dtype.kind not in "fiu" or first.dtype.itemsize < 4 or first.dtype == np.float32:
        return [], []
    arrays = [each.reshape(like.shape) for each, like in zip(given, inputs, strict=True)]
    lost = find_far(arrays[0])
    if not lost.any():
        return [], []
    names = [""] if len(lost) == 1 and x.ndim > 3 else []
    before = ":, :" if x.ndim == 3 else ":"
    names = names or [f"[{before}, {index}]" for index in np.flatnonzero(lost)]
    return names, [_from_first(each, arrays) for each in arrays]


def _from_first(x: Array, parts: Sequence[Array]) -> Array:
    """Numbers in float64; whole numbers too large for it are counted from the first sample's."""
    if any(each.dtype.kind == "f" for each in parts):
        return x.astype(np.float64)
    low, high = min(int(each.min()) for each in parts), max(int(each.max()) for each in parts)
    if max(-low, high) < MOST_EXACT or high - low >= 2**63:
        return x.astype(np.float64)
    axes = feature_axes(x.ndim)
    first = parts[0][tuple(slice(0, 1) if axis in axes else slice(None) for axis in range(x.ndim))]
    # As residues modulo 2**64 their differences are right also where one of them is no int64.
    return (x.astype(np.int64) - first.astype(np.int64)).astype(np.float64)
