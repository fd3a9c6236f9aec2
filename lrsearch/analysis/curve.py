"""A smooth curve through noisy readings: a Gaussian process whose hyperparameters are integrated
over a table of them, after their prior (Rasmussen & Williams 2006, chapters 2 and 5)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

LENGTHS = (0.25, 0.4, 0.63, 1.0, 1.6, 2.5, math.inf)
"""Lengths of the kernel, in decades of the rate, log-normal around LENGTH; and a curve that does
not bend at all, as likely as the likeliest of them. Without it a plain, whose readings are noise
alone, is one that bends from reading to reading, and the luckiest reading what it is worth."""
LENGTH, LENGTH_SPREAD = 1.0, 0.7

RATIOS = (3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0, 3.0)
"""Variances of the noise as shares of the curve's, log-normal around RATIO."""
RATIO, RATIO_SPREAD = 0.02, 1.5

SHAPE, SCALE = 1.5, 1.5
"""The prior of the curve's variance, an inverse gamma: its mean is 3."""

LEVEL = 9.0
"""The variance of a curve's unknown mean, as a multiple of the curve's variance."""

DRAWS = 1200
"""Curves drawn from the posterior, for what follows from a whole curve."""

CELLS = 72
"""Places that a curve is worked out at."""

ENTRIES = 24
"""Entries of the table of hyperparameters that curves are drawn with, as often as their weights
say."""


@dataclass(frozen=True)
class Readings:
    """The readings of one curve: at `places` (distinct, [n]) the mean of `counts` readings, and
    the sum of their squared deviations from it, `scatter`, over all places."""

    places: Array
    means: Array
    counts: Array
    scatter: float


def gather(readings: Sequence[tuple[float, float]]) -> Readings:
    """Readings (place, value) of one curve; those of a place are taken together, and where there
    are very many, those of a cell."""
    places = sorted({place for place, _ in readings})
    if len(places) > CELLS:
        low, width = places[0], (places[-1] - places[0]) / CELLS
        cell = {each: min(int((each - low) / width), CELLS - 1) for each in places}
    else:
        cell = {each: index for index, each in enumerate(places)}
    held: dict[int, list[tuple[float, float]]] = {}
    for place, value in readings:
        held.setdefault(cell[place], []).append((place, value))
    groups = [np.array(held[index]) for index in sorted(held)]
    means = [group.mean(axis=0) for group in groups]
    return Readings(
        places=np.array([mean[0] for mean in means]),
        means=np.array([mean[1] for mean in means]),
        counts=np.array([float(len(group)) for group in groups]),
        scatter=math.fsum(
            float(((group[:, 1] - mean[1]) ** 2).sum())
            for group, mean in zip(groups, means, strict=True)
        ),
    )


def ends(drawn: Array, tail: float) -> tuple[Array, Array]:
    """The values below and above which a share of `tail` of each column lies, as `numpy.quantile`
    gives them: sorted, which takes a quarter of the time of its partition of so few rows."""
    rows = np.sort(drawn, axis=0)

    def quantile(share: float) -> Array:
        place = share * (len(rows) - 1)
        first = math.floor(place)
        low, high, part = rows[first], rows[min(first + 1, len(rows) - 1)], place - first
        # From the nearer of both, as there.
        step = high - low
        found: Array = low + step * part if part < 0.5 else high - step * (1 - part)
        return found

    return quantile(tail), quantile(1 - tail)


def nearest_ends(drawn: Array, tail: float) -> tuple[float, float]:
    """The two of the values [n] at the ends, below and above which a share of `tail` lies, as
    `numpy.quantile` finds the nearest ones; that imports masked arrays, for as long as a curve
    takes."""
    ordered = np.sort(drawn)
    first, last = (round(share * (len(ordered) - 1)) for share in (tail, 1 - tail))
    return float(ordered[first]), float(ordered[last])


def kernel(left: Array, right: Array, length: float) -> Array:
    """Matern's, of smoothness 5/2, with an unknown mean: [n] and [m] to [n, m]."""
    distance = math.sqrt(5) * np.abs(left[:, None] - right[None, :]) / length
    matern: Array = (1 + distance + distance**2 / 3) * np.exp(-distance)
    return LEVEL + matern


@dataclass(frozen=True)
class Family:
    """Curves that share their hyperparameters: how fast they bend and how noisy the readings are,
    which one curve of few readings could not tell alone."""

    curves: tuple[Readings, ...]
    _kernels: dict[tuple[float, ...], Array] = field(default_factory=dict, repr=False)
    """Kernels of a grid with itself, which most curves of a family share, by length and grid."""

    @cached_property
    def weights(self) -> list[tuple[float, float, float, float, float]]:
        """(length, ratio, shape, scale, weight) of each entry of the table that has any weight: the
        variance of the curves is inverse gamma with this shape and scale, weights add to 1."""
        total = sum(float(curve.counts.sum()) for curve in self.curves)
        table = []
        for length in LENGTHS:
            # As likely as LENGTH where it does not bend.
            bend = math.log(length / LENGTH) / LENGTH_SPREAD if length < math.inf else 0.0
            prior = -0.5 * bend**2
            kernels = [kernel(curve.places, curve.places, length) for curve in self.curves]
            for ratio in RATIOS:
                fit = log_volume = 0.0
                for curve, smooth in zip(self.curves, kernels, strict=True):
                    factor = np.linalg.cholesky(smooth + np.diag(ratio / curve.counts))
                    fit += float((np.linalg.solve(factor, curve.means) ** 2).sum())
                    fit += curve.scatter / ratio
                    log_volume += 2 * float(np.log(np.diag(factor)).sum())
                    surplus = float(curve.counts.sum()) - len(curve.places)
                    log_volume += surplus * math.log(ratio)
                shape, scale = SHAPE + total / 2, SCALE + fit / 2
                spread = (math.log(ratio / RATIO) / RATIO_SPREAD) ** 2
                weight = prior - 0.5 * spread - 0.5 * log_volume - shape * math.log(scale)
                table.append((length, ratio, shape, scale, weight))
        most = max(entry[-1] for entry in table)
        sizes = [math.exp(entry[-1] - most) for entry in table]
        whole = math.fsum(sizes)
        return [
            (*entry[:4], size / whole)
            for entry, size in zip(table, sizes, strict=True)
            if size > 0.005 * whole
        ]

    @property
    def flat(self) -> float:
        """The probability that no curve bends at all, so that all that parts readings is noise."""
        return math.fsum(weight for length, *_, weight in self.weights if length == math.inf)

    @cached_property
    def noise(self) -> float:
        """The standard deviation of one reading."""
        whole = math.fsum(weight for *_, weight in self.weights)
        variance = math.fsum(
            weight * ratio * scale / (shape - 1) for _, ratio, shape, scale, weight in self.weights
        )
        return math.sqrt(variance / whole)

    @cached_property
    def sure_noise(self) -> float:
        """A standard deviation that that of one reading is above in nine of ten cases."""
        table = sorted(
            (math.sqrt(ratio * scale / (shape - 1)), weight)
            for _, ratio, shape, scale, weight in self.weights
        )
        ends = np.cumsum([weight for _, weight in table])
        return table[int(np.searchsorted(ends, 0.1 * ends[-1]))][0]

    def draw(self, number: int, grid: Array) -> Array:
        """Curves drawn from the posterior of one of the family, [draws, len(grid)]. The same call
        draws the same."""
        generator = np.random.default_rng(number)
        known: dict[tuple[float, float], tuple[Array, Array]] = {}
        found = []
        for length, ratio, shape, scale in self._entries():
            if (length, ratio) not in known:
                known[length, ratio] = self._posterior(self.curves[number], grid, length, ratio)
            mean, spread = known[length, ratio]
            deviations = np.sqrt(scale / generator.gamma(shape, size=(DRAWS // ENTRIES, 1)))
            noise = generator.standard_normal((DRAWS // ENTRIES, len(grid)))
            found.append(mean + deviations * (noise @ spread.T))
        drawn: Array = np.concatenate(found)
        return drawn

    def _posterior(
        self, curve: Readings, grid: Array, length: float, ratio: float
    ) -> tuple[Array, Array]:
        """The mean of a curve on a grid, and a triangular root of its covariance in units of the
        curves' variance."""
        own = kernel(curve.places, curve.places, length) + np.diag(ratio / curve.counts)
        factor = np.linalg.cholesky(own)
        across = np.linalg.solve(factor, kernel(curve.places, grid, length))
        mean = across.T @ np.linalg.solve(factor, curve.means)
        key = length, *grid.tolist()
        if key not in self._kernels:
            self._kernels[key] = kernel(grid, grid, length)
        left = self._kernels[key] - across.T @ across
        return mean, np.linalg.cholesky(left + 1e-7 * np.eye(len(grid)))

    def _entries(self) -> list[tuple[float, float, float, float]]:
        """`ENTRIES` entries of the table, each as often as its weight says (systematic
        resampling)."""
        ends = np.cumsum([weight for *_, weight in self.weights])
        ends /= ends[-1]
        places = np.searchsorted(ends, (np.arange(ENTRIES) + 0.5) / ENTRIES)
        return [self.weights[int(place)][:4] for place in places]
