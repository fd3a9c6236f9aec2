"""The law by which the best learning rate follows the batch size, from the run's own curves."""

from __future__ import annotations

import functools
import itertools
import math
import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lrsearch.analysis.basin import Basin

BEYOND = 5.02
"""The excess of another law's misfit (chi squared) from which on the better one is named: the
97.5 % quantile for one degree of freedom. Between two laws whose exponents differ by d, and an
estimate of deviation s, the wrong one is named where a normal variate exceeds BEYOND s / 2d +
d / 2s, which is never below sqrt(BEYOND) = 2.24: at most 1.3 % of runs for each wrong neighbour,
whatever the noise."""

EXPONENTS = {"constant": 0.0, "square root": 0.5, "linear": 1.0}
"""Laws of one constant: the rate is that times the batch size to this power."""

SATURATING = "saturating"
"""The rate is a / (1 + b / batch size), linear at first and constant at last (McCandlish et al.
2018, equation 2.8)."""

BOUNDS = 64
"""Values of b that are tried, from far below to far above the batch sizes."""


@dataclass(frozen=True)
class BestRate:
    """A batch size, its best rate, the interval of that and the deviation of its logarithm to base
    10; `open_` where the interval reaches the end of what was measured."""

    batch_size: float
    lr: float
    interval: tuple[float, float]
    spread: float
    open_: bool


@dataclass(frozen=True)
class Law:
    """The best rates by batch size, smallest first, of points that have `params` in common.
    `misfits` is each law's chi squared, empty where a best rate is open; `named` the one law that
    all others are worse than, beyond noise. `exponent` is the power that fits best, with its
    interval of 95 %."""

    name: str
    params: Mapping[str, Any]
    bests: tuple[BestRate, ...]
    misfits: Mapping[str, float]
    named: str | None
    exponent: tuple[float, float, float] | None

    def rate_at(self, batch_size: float) -> float | None:
        """The rate to use at a batch size, on straight lines between the logarithms of those
        measured; None outside them: nothing is extrapolated."""
        for left, right in itertools.pairwise(self.bests):
            if left.batch_size <= batch_size <= right.batch_size:
                share = math.log(batch_size / left.batch_size)
                share /= math.log(right.batch_size / left.batch_size)
                return float(left.lr * (right.lr / left.lr) ** share)
        return None


def find_law(basins: Sequence[Basin], name: str | None, wanted: Mapping[str, Any]) -> Law | None:
    """The law of the basins that differ in the batch size `name` alone: of those that agree with
    the parameters `wanted`, else of the best ones with two batch sizes. None where there are no
    two."""
    if name is None:
        return None
    rows: dict[str, list[Basin]] = {}
    for basin in basins:
        if name in basin.params:
            rest = {key: value for key, value in basin.params.items() if key != name}
            rows.setdefault(repr(rest), []).append(basin)
    usable = [row for row in rows.values() if len(row) > 1]
    if not usable:
        return None

    def agrees(row: Sequence[Basin]) -> bool:
        shared = row[0].params.items()
        return all(wanted.get(key) == value for key, value in shared if key != name)

    row = next(filter(agrees, usable), usable[0])
    bests = [
        BestRate(
            basin.params[name],
            basin.best,
            basin.best_lr,
            basin.spread,
            any(basin.open),
        )
        for basin in sorted(row, key=lambda basin: float(basin.params[name]))
    ]
    shared = {key: value for key, value in row[0].params.items() if key != name}
    return judge_law(name, shared, bests)


def judge_law(name: str, params: Mapping[str, Any], bests: Sequence[BestRate]) -> Law:
    """Hold the laws against best rates at two or more batch sizes."""
    if any(best.open_ for best in bests):
        return Law(name, params, tuple(bests), {}, None, None)
    sizes = [math.log10(best.batch_size) for best in bests]
    rates = [math.log10(best.lr) for best in bests]
    weights = [max(best.spread, 1e-3) ** -2 for best in bests]
    whole = math.fsum(weights)

    def misfit(shape: Sequence[float]) -> float:
        """Chi squared of rates of this shape (logarithms), its height fitted."""
        gaps = [rate - part for rate, part in zip(rates, shape, strict=True)]
        height = _dot(weights, gaps) / whole
        return _dot(weights, [(gap - height) ** 2 for gap in gaps])

    misfits = {law: misfit([power * size for size in sizes]) for law, power in EXPONENTS.items()}
    if len(bests) > 2:
        misfits[SATURATING] = min(map(misfit, _saturating(tuple(sizes))))
    first, *others = sorted(EXPONENTS, key=lambda law: misfits[law])
    named = first if all(misfits[law] - misfits[first] > BEYOND for law in others) else None
    # It has constant and linear as its ends, and fits as well as they do: it is named only where
    # none of the simple laws will do.
    if misfits[first] - misfits.get(SATURATING, math.inf) > BEYOND:
        named = SATURATING
    return Law(name, params, tuple(bests), misfits, named, _exponent(sizes, rates, weights))


@functools.lru_cache(maxsize=8)
def _saturating(sizes: tuple[float, ...]) -> list[list[float]]:
    """The shapes of saturating laws of many bends at these batch sizes (logarithms)."""
    low, high = sizes[0] - 2, sizes[-1] + 2
    bends = (low + (high - low) * place / (BOUNDS - 1) for place in range(BOUNDS))
    return [[-math.log10(1 + 10 ** (bend - size)) for size in sizes] for bend in bends]


def _dot(left: Sequence[float], right: Sequence[float]) -> float:
    return math.fsum(map(operator.mul, left, right))


def _exponent(
    sizes: Sequence[float], rates: Sequence[float], weights: Sequence[float]
) -> tuple[float, float, float]:
    """The weighted least-squares slope, and its interval of 95 %."""
    whole = math.fsum(weights)
    middle = _dot(weights, sizes) / whole
    apart = [size - middle for size in sizes]
    spread = _dot(weights, [part**2 for part in apart])
    slope = _dot([w * part for w, part in zip(weights, apart, strict=True)], rates) / spread
    reach = 1.96 / math.sqrt(spread)
    return slope, slope - reach, slope + reach
