"""What a range test says: losses by rate in, an interval of rates or a refusal out.

A range test trains a few seeds while the rate rises by the same factor again and again (Smith 2017,
"Cyclical learning rates"). Where the loss begins to fall the rate begins to matter; where it rises
again the rate is too high. Both are read from the median over the seeds, smoothed in log lr by a
symmetric kernel: the exponential average of the published tests looks back only, and moves what it
shows to higher rates. Nothing here depends on the loss's unit: a multiple of it, or one moved by a
constant, gives the same interval.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

LOWEST, HIGHEST = 1e-7, 100.0
"""Rates between which a sweep runs: below the first no optimizer has been seen to move a model in a
few hundred steps, and above the last few train."""

RATES = 108
"""Rates of a sweep: twelve a decade."""

STEPS = 3
"""Steps at each."""

SEEDS = 3
"""Seeds of a sweep: the fewest whose median one odd seed does not decide."""

WIDTH = 0.15
"""Decades, the deviation of the smoothing kernel: about two rates, a third of a decade in all."""

DESCENT = 0.1
"""Share of the whole descent that has been made where it begins, reliably."""

RISE = 0.1
"""Share of the whole descent that is lost again where the rise begins."""

SURE = 4.0
"""Deviations of the noise, once smoothed, that a descent or a rise exceeds."""

LOW_MARGIN, HIGH_MARGIN = 0.0, 0.0
"""Decades by which the interval is widened at either end."""


@dataclass(frozen=True)
class Interval:
    """Rates worth searching, from `low` to `high`; `reason` says in words what they rest on."""

    low: float
    high: float
    reason: str


@dataclass(frozen=True)
class Refusal:
    """Why a sweep gives no interval, and what to try."""

    reason: str
    advice: str


def make_rates(low: float = LOWEST, high: float = HIGHEST, count: int = RATES) -> tuple[float, ...]:
    """So many rates from `low` to `high`, each by the same factor above the one before."""
    return tuple(float(each) for each in np.geomspace(low, high, count))


def median_losses(lr: Sequence[float], losses: Sequence[Sequence[float]]) -> tuple[Array, Array]:
    """The rates [n] and the median loss over seeds [n] at each, up to the first that is not finite;
    `losses` are [seeds][rates]. A loss that is not finite counts as higher than any other."""
    if not losses or not lr:
        return np.empty(0), np.empty(0)
    each = np.asarray(losses, dtype=np.float64)
    each = np.where(np.isfinite(each), each, np.inf)
    middle = np.sort(each, axis=0)[len(each) // 2]  # Of an even number the higher: no mean of inf.
    if len(each) % 2 == 0:
        lower = np.sort(each, axis=0)[len(each) // 2 - 1]
        middle = np.where(np.isfinite(middle), (lower + middle) / 2, np.inf)
    bad = np.flatnonzero(~np.isfinite(middle))
    end = int(bad[0]) if len(bad) else len(middle)
    return np.asarray(lr, dtype=np.float64)[:end], middle[:end]


def smooth(lr: Sequence[float] | Array, losses: Sequence[float] | Array) -> Array:
    """The losses smoothed in log lr, [n]: at each rate the value of a line fitted with the weights
    of a Gaussian of `WIDTH` decades (local linear regression, Cleveland 1979). The kernel is
    symmetric, so nothing is shifted, and the line keeps the ends where they are."""
    x, y = np.log10(np.asarray(lr, float)), np.asarray(losses, float)
    if len(x) < 3:
        return y.copy()
    apart = x[:, None] - x[None, :]
    weights = np.exp(-0.5 * (apart / WIDTH) ** 2)
    weights /= weights.sum(1, keepdims=True)
    mean_x, mean_y = (weights * -apart).sum(1), weights @ y
    spread = (weights * apart**2).sum(1) - mean_x**2
    slope = ((weights * -apart) @ y - mean_x * mean_y) / spread
    return np.asarray(mean_y - slope * mean_x)


def find_curve(
    lr: Sequence[float], losses: Sequence[Sequence[float]]
) -> tuple[list[float], list[float]]:
    """The curve that all else is read from: the rates up to the first whose median is not finite,
    and the smoothed median loss at each."""
    rates, middle = median_losses(lr, losses)
    if not len(rates):
        return [], []
    # A rise of many times the descent is smoothed into its left otherwise, and hides the minimum.
    ceiling = _ceiling(middle)
    return rates.tolist(), smooth(rates, np.minimum(middle, ceiling)).tolist()


def _ceiling(middle: Array) -> float:
    start = float(np.median(middle[: max(3, len(middle) // 10)]))
    return start + max(start - float(middle.min()), 0.0)


def find_interval(lr: Sequence[float], losses: Sequence[Sequence[float]]) -> Interval | Refusal:
    """The interval of a sweep, from the first reliable descent to the onset of the rise, or why
    there is none. `losses` are [seeds][rates], as in `trial.Swept`."""
    rates, middle = median_losses(lr, losses)
    if len(rates) < 10:
        return Refusal(
            f"the loss is not finite after {len(rates)} of {len(lr)} rates",
            "look at the data and the initial weights",
        )
    curve = smooth(rates, np.minimum(middle, _ceiling(middle)))
    start = float(np.median(curve[: max(3, len(curve) // 10)]))
    lowest = int(curve.argmin())
    depth = start - float(curve[lowest])
    noise = _noise(middle, curve)
    if depth < SURE * noise or depth <= 0:
        return Refusal("the loss does not fall", "a longer sweep")
    if lowest == len(curve) - 1 and len(rates) == len(lr):
        return Refusal("the loss still falls at the highest rate", "a higher rate")
    down = max(DESCENT * depth, SURE * noise)
    above = np.flatnonzero(curve[:lowest] > start - down)
    low = rates[min(above[-1] + 1, lowest) if len(above) else 0]
    up = np.flatnonzero(curve[lowest:] > curve[lowest] + max(RISE * depth, SURE * noise))
    high = rates[lowest + up[0]] if len(up) else rates[-1]
    return Interval(float(low) * 10**-LOW_MARGIN, float(high) * 10**HIGH_MARGIN, "descent to rise")


def _noise(middle: Array, curve: Array) -> float:
    """The deviation of the smoothed curve by noise alone."""
    apart = np.abs(np.diff(middle - curve))
    return float(np.median(apart)) / 0.954 / math.sqrt(6.0)


def find_points(lr: Sequence[float], losses: Sequence[float]) -> Mapping[str, float | None]:
    """The rates that published rules choose of a curve."""
    return {}
