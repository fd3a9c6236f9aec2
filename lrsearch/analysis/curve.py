"""A smooth curve through noisy readings: a Gaussian process whose hyperparameters are integrated
over a table of them, after their prior (Rasmussen & Williams 2006, chapters 2 and 5)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

LENGTHS = (0.25, 0.4, 0.63, 1.0, 1.6, 2.5)
"""Lengths of the kernel, in decades of the rate, log-normal around LENGTH."""
LENGTH, LENGTH_SPREAD = 1.0, 0.7

RATIOS = (3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0, 3.0)
"""Variances of the noise as shares of the curve's, log-normal around RATIO."""
RATIO, RATIO_SPREAD = 0.02, 1.5

SHAPE, SCALE = 1.5, 1.5
"""The prior of the curve's variance, an inverse gamma: its mean is 3."""

LEVEL = 9.0
"""The variance of the unknown mean of all curves, as a multiple of a curve's variance."""

APART = (0.02, 0.3, 5.0)
"""Variances, likewise, of the curves' own means around it, each as likely as another: what all
say of the mean is shared as far as they agree, or the luckiest curve would be what it seems."""

PLAIN_ODDS, PLAIN_SHAPE = 0.04, 4.0
"""The odds, before any reading, that no curve bends and that all that parts readings is noise; and
the shape of the inverse gamma around the variance that noise alone then has, which is known
(`Family.plain`). Without it a plain is a curve that bends from reading to reading, and the luckiest
reading what it is worth."""

ALIKE = 0.95
"""The share of their variance that curves which bend alike have in common. Whether they bend at
all is asked of such curves, too, as likely as of others: few readings of each cannot tell."""

GROWTHS, SUREST = (0.0, 0.25, 0.5, 0.75, 1.0), 100.0
"""The ways in which noise may follow the distance from the best, of which seeds say which: 0 is
noise that is the same on the scale, 1 such that is the same in the metric, and small on the scale
far from the best, where that bends; and the most that a reading may be surer there."""

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
    the sum of their squared deviations from it, `scatter`; the `growth` of their noise is one of
    `GROWTHS`. Where the trainings diverged, `lost`, the mean is a value that stands for that. At
    the `idle` places, which are no readings, they learned nothing. Either is as bad as `worst`."""

    places: Array
    means: Array
    counts: Array
    scatter: Array
    lost: NDArray[np.bool_]
    growth: float = 0.0
    worst: float = math.inf
    idle: tuple[float, ...] = ()

    @property
    def sound(self) -> Readings:
        """The readings where trainings did not diverge."""
        columns = (self.places, self.means, self.counts, self.scatter)
        places, means, counts, scatter = (own[~self.lost] for own in columns)
        lost = self.lost[~self.lost]
        return Readings(places, means, counts, scatter, lost, self.growth)

    @property
    def calm(self) -> Readings:
        """The same with trainings that diverged as such that learned nothing."""
        return replace(
            self.sound, worst=self.worst, idle=(*self.idle, *self.places[self.lost].tolist())
        )

    @cached_property
    def sureness(self) -> Array:
        """The precision of a reading at each place, of one near the best as the unit."""
        return find_sureness(self.means, self.growth)

    @property
    def weights(self) -> Array:
        """The readings near the best that those of each place are worth."""
        return self.counts * self.sureness


def gather(
    readings: Sequence[tuple[float, float]],
    lost: float = math.inf,
    idle: Sequence[float] = (),
) -> Readings:
    """Readings (place, value) of one curve; those of a place are taken together, and where there
    are very many, those of a cell. `lost` is the value of trainings that diverged, `idle` the
    places of those that learned nothing."""
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
    least = [group[:, 1].min() for group in groups]
    return Readings(
        places=np.array([mean[0] for mean in means]),
        means=np.array([mean[1] for mean in means]),
        counts=np.array([float(len(group)) for group in groups]),
        scatter=np.array(
            [((own[:, 1] - mean[1]) ** 2).sum() for own, mean in zip(groups, means, strict=True)]
        ),
        lost=np.array(least) >= lost,
        worst=lost,
        idle=tuple(sorted(set(idle) - cell.keys())),
    )


def weigh(curves: Sequence[Readings]) -> tuple[Readings, ...]:
    """The curves with the likeliest growth of their noise, by what scatters at one place; 0 where
    nothing does, as with one seed."""
    means, counts, scatter = (
        np.concatenate(parts)
        for parts in zip(*((c.means, c.counts, c.scatter) for c in curves), strict=True)
    )
    freedom, logs = counts - 1, []
    if not scatter.any():
        return tuple(curves)
    for growth in GROWTHS:
        own = find_sureness(means, growth)
        logs.append(freedom @ np.log(own) - freedom.sum() * math.log(own @ scatter))
    growth = GROWTHS[int(np.argmax(logs))]
    return tuple(replace(curve, growth=growth) for curve in curves)


def find_sureness(places: Array, growth: float) -> Array:
    """The precision of readings at places of the scale, of one near the best as the unit: what is
    the same in the metric is so much less there as the scale is flatter."""
    slopes = np.cosh(np.clip(places, 0.0, math.acosh(math.sqrt(SUREST))))
    return np.asarray(slopes ** (2 * growth))


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


def matern(left: Array, right: Array, length: float) -> Array:
    """The kernel of smoothness 5/2: [n] and [m] to [n, m]. A curve of infinite length, which does
    not bend, has none but its mean."""
    if length == math.inf:
        return np.zeros((len(left), len(right)))
    distance = math.sqrt(5) * np.abs(left[:, None] - right[None, :]) / length
    found: Array = (1 + distance + distance**2 / 3) * np.exp(-distance)
    return found


class Sums(NamedTuple):
    """Sums over readings that say what the mean of a curve is, for each of some ratios, [ratios]:
    1' K 1, 1' K y and y' K y, where K is the inverse of their covariance, and the logarithm of its
    determinant."""

    ones: Array
    cross: Array
    square: Array
    volume: Array

    def lift(self, variance: float) -> Sums:
        """The sums where the curve has a mean of its own of this variance (Sherman & Morrison)."""
        inner = 1 + variance * self.ones
        return Sums(
            self.ones / inner,
            self.cross / inner,
            self.square - variance * self.cross**2 / inner,
            self.volume + np.log(inner),
        )


def reduce(smooth: Array, weights: Array, means: Array, ratios: Sequence[float]) -> Sums:
    """The sums of readings [n], means of so many each, whose covariance but for noise is `smooth`,
    by one decomposition for all ratios."""
    root = np.sqrt(weights)
    values, vectors = np.linalg.eigh(root[:, None] * smooth * root[None, :])
    ones, own = vectors.T @ root, vectors.T @ (root * means)
    parts = np.maximum(values, 0.0)[None, :] + np.array(ratios)[:, None]
    volume = np.log(parts).sum(axis=1) - np.log(weights).sum()
    cross, square = ((product / parts).sum(axis=1) for product in (ones * own, own * own))
    return Sums((ones * ones / parts).sum(axis=1), cross, square, volume)


def add(sums: Sequence[Sums]) -> Sums:
    """The sums of curves that are independent but for a mean they share."""
    ones, cross, square, volume = (sum(column) for column in zip(*sums, strict=True))
    return Sums(*map(np.asarray, (ones, cross, square, volume)))


class Entry(NamedTuple):
    """An entry of the table of hyperparameters: the variance of the curves is inverse gamma with
    this shape and scale."""

    length: float
    ratio: float
    apart: float
    shape: float
    scale: float
    weight: float


def _make_prior() -> Array:
    bends = np.log(np.array(LENGTHS) / LENGTH) / LENGTH_SPREAD
    noises = np.log(np.array(RATIOS) / RATIO) / RATIO_SPREAD
    found: Array = np.exp(-0.5 * (bends[:, None] ** 2 + noises[None, :] ** 2))
    return np.asarray(found / found.sum())


PRIOR = dict(zip(LENGTHS, _make_prior(), strict=True)) | {math.inf: np.array([PLAIN_ODDS])}
"""The prior of each of LENGTHS with each of RATIOS, and of none."""


@dataclass(frozen=True)
class Family:
    """Curves that share their hyperparameters: how fast they bend and how noisy the readings are,
    which one curve of few readings could not tell alone. Each point was trained `repeats` times;
    the median of their values lies at `middle` of the scale."""

    curves: tuple[Readings, ...]
    repeats: float = 1.0
    middle: float = math.asinh(1)
    _kernels: dict[tuple[float, ...], Array] = field(default_factory=dict, repr=False)
    """Kernels of a grid with itself, which most curves of a family share, by length and grid."""

    @cached_property
    def weights(self) -> list[Entry]:
        """The entries of the table that have any weight; weights add to 1."""
        # How fast they bend is asked of each curve alone, since another may lie elsewhere.
        bent = _add_logs([entry.weight for entry in self._table if entry.length < math.inf])
        moves = {True: self._bent - bent, False: 0.0}
        logs = [entry.weight + moves[entry.length < math.inf] for entry in self._table]
        whole = _add_logs(logs)
        return [
            entry._replace(weight=math.exp(own - whole))
            for entry, own in zip(self._table, logs, strict=True)
            if own - whole > math.log(0.005 / len(self._apart))
        ]

    @cached_property
    def _table(self) -> list[Entry]:
        """All entries, with logarithms for weights."""
        return [
            entry
            for length, own in self._sums.items()
            for apart in self._apart
            for entry in self._judge(length, apart, add([sums.lift(apart) for sums in own]))
        ]

    @property
    def plain(self) -> float:
        """The variance of a point's noise where there is nothing else: on a scale where the median
        lies at `middle` from the best of so many points, which is that of so many normal variates
        (Blom 1958), at asinh(1) of such as are so in the metric."""
        points = self._count(math.inf) / self.repeats
        off = self.middle / math.asinh(1)
        return 0.5 * (off / NormalDist().inv_cdf((points - 0.375) / (points + 0.25))) ** 2

    @property
    def likelihood(self) -> float:
        """The logarithm of how likely the readings are, on their scale."""
        return _add_logs([entry.weight for entry in self._table])

    def _of(self, length: float) -> tuple[Readings, ...]:
        """The curves, of this length. Noise alone is the same for all points, whose distance from
        the best it makes; where trainings diverged it says nothing."""
        if length < math.inf:
            return self.curves
        return tuple(replace(curve.sound, growth=0.0) for curve in self.curves)

    def _count(self, length: float) -> float:
        """The readings of curves of this length."""
        return sum(float(curve.counts.sum()) for curve in self._of(length))

    @cached_property
    def _bent(self) -> float:
        """The logarithm of how likely the readings are where curves bend, each on its own or all
        alike. Whether they bend at all those say where trainings did not diverge: a cliff that
        stands for a divergence is no bend among them."""
        if any(curve.lost.any() for curve in self.curves):
            return replace(self, curves=tuple(curve.sound for curve in self.curves))._bent
        own = [entry.weight for entry in self._table if entry.length < math.inf]
        alike = [entry.weight for entry in self._judge_alike()]
        return _add_logs([*own, *(alike or own)]) - math.log(2)

    @cached_property
    def calm(self) -> Family:
        """The family where what diverged says nothing of how fast curves bend and how noisy they
        are, as what learned nothing does not."""
        if not any(curve.lost.any() for curve in self.curves):
            return self
        return replace(self, curves=tuple(curve.calm for curve in self.curves))

    @property
    def _apart(self) -> tuple[float, ...]:
        return APART if len(self.curves) > 1 else APART[:1]

    def _ratios(self, length: float) -> tuple[float, ...]:
        # Without bends the unit is the noise of a point's mean.
        return RATIOS if length < math.inf else (self.repeats,)

    @cached_property
    def _sums(self) -> dict[float, list[Sums]]:
        """The sums of each curve, by length."""
        return {
            length: [
                reduce(
                    matern(curve.places, curve.places, length),
                    curve.weights,
                    curve.means,
                    self._ratios(length),
                )
                for curve in self._of(length)
            ]
            for length in (*LENGTHS, math.inf)
        }

    def _judge(self, length: float, apart: float, sums: Sums) -> list[Entry]:
        """The entries of a length and a variance of the curves' own means, by the sums of all
        curves, with logarithms for weights."""
        ratios = np.array(self._ratios(length))
        # Without bends `plain` is the median.
        first, scale = SHAPE, SCALE
        if length == math.inf:
            first, scale = PLAIN_SHAPE, (PLAIN_SHAPE - 1 / 3) * self.plain
        shape, whole = first + self._count(length) / 2, sums.lift(LEVEL)
        scatter = surplus = 0.0
        logs = np.log(PRIOR[length]) - whole.volume / 2
        for curve in self._of(length):
            scatter += float(curve.sureness @ curve.scatter)
            surplus += float((curve.counts - 1).sum())
            logs += float((curve.counts - 1) @ np.log(curve.sureness)) / 2
        scales = scale + (whole.square + scatter / ratios) / 2
        logs -= surplus * np.log(ratios) / 2
        logs += first * math.log(scale) - math.lgamma(first)
        logs += math.lgamma(shape) - shape * np.log(scales)
        columns = ratios.tolist(), scales.tolist(), logs.tolist()
        return [
            Entry(length, ratio, apart, shape, own, weight)
            for ratio, own, weight in zip(*columns, strict=True)
        ]

    def _judge_alike(self) -> list[Entry]:
        """The entries of curves that bend alike; none of one curve, nor of so many readings that
        each tells enough."""
        columns = zip(*((c.places, c.means, c.weights) for c in self.curves), strict=True)
        places, means, weights = (np.concatenate(parts) for parts in columns)
        if len(self.curves) == 1 or len(places) > CELLS:
            return []
        which = np.repeat(np.arange(len(self.curves)), [len(c.places) for c in self.curves])
        own = which[:, None] == which[None, :]
        found = []
        for length in LENGTHS:
            smooth = matern(places, places, length) * np.where(own, 1.0, ALIKE)
            for apart in APART:
                sums = reduce(smooth + apart * own, weights, means, RATIOS)
                found += self._judge(length, apart, sums)
        return found

    @property
    def flat(self) -> float:
        """The probability that no curve bends at all, so that all that parts readings is noise."""
        return math.fsum(entry.weight for entry in self.weights if entry.length == math.inf)

    @cached_property
    def noise(self) -> float:
        """The standard deviation of one reading."""
        whole = math.fsum(entry.weight for entry in self.weights)
        variance = math.fsum(entry.weight * _noise(entry) for entry in self.weights)
        return math.sqrt(variance / whole)

    @cached_property
    def sure_noise(self) -> float:
        """A standard deviation that that of one reading is above in nine of ten cases."""
        table = sorted((math.sqrt(_noise(entry)), entry.weight) for entry in self.weights)
        ends = np.cumsum([weight for _, weight in table])
        return table[int(np.searchsorted(ends, 0.1 * ends[-1]))][0]

    def draw(self, number: int, grid: Array) -> Array:
        """Curves drawn from the posterior of one of the family, [draws, len(grid)], with the value
        that stands for a divergence where the nearest training failed. The same call draws the
        same."""
        generator = np.random.default_rng(number)
        known: dict[Entry, tuple[Array, Array]] = {}
        found = []
        for entry in self._entries():
            if entry not in known:
                mean, spread = self._posterior(number, grid, entry)
                # The mean of noisy values, which a point is worth, is not where the middle of
                # their noise on the scale is: sinh(m + e) has the mean sinh(m) exp(var(e) / 2).
                sureness = find_sureness(mean, self._of(entry.length)[number].growth)
                moved = np.tanh(mean) * _noise(entry) / sureness / self.repeats / 2
                known[entry] = mean + moved, spread
            mean, spread = known[entry]
            gamma = generator.gamma(entry.shape, size=(DRAWS // ENTRIES, 1))
            noise = generator.standard_normal((DRAWS // ENTRIES, len(grid)))
            found.append(mean + np.sqrt(entry.scale / gamma) * (noise @ spread.T))
        drawn: Array = np.concatenate(found)
        drawn[:, self.is_lost(number, grid)] = self.curves[number].worst
        return drawn

    def is_lost(self, number: int, grid: Array) -> NDArray[np.bool_]:
        """Whether the training nearest to each place of a grid failed. A place beside a sound
        one is what the curve there is read from."""
        curve = self.curves[number]
        near = np.abs(grid[:, None] - curve.places[~curve.lost]).min(axis=1, initial=math.inf)
        places = np.concatenate([curve.places, curve.idle])
        failed = np.concatenate([curve.lost, [True] * len(curve.idle)])[np.argsort(places)]
        nearest = np.interp(grid, np.sort(places), failed) > 0.5
        return np.asarray(nearest & (near > np.diff(grid).max(initial=0.0)))

    def _posterior(self, number: int, grid: Array, entry: Entry) -> tuple[Array, Array]:
        """The mean of a curve on a grid, and a triangular root of its covariance in units of the
        curves' variance. What stands for a divergence says how fast curves
        may bend, and not where one lies beside it: a cliff is no slope of what trained."""
        length = entry.length
        curve = self._of(length)[number].sound
        center, level = self._mean(number, entry)
        own = level + matern(curve.places, curve.places, length)
        factor = np.linalg.cholesky(own + np.diag(entry.ratio / curve.weights))
        across = np.linalg.solve(factor, level + matern(curve.places, grid, length))
        mean = center + across.T @ np.linalg.solve(factor, curve.means - center)
        key = length, *grid.tolist()
        if key not in self._kernels:
            self._kernels[key] = matern(grid, grid, length)
        left = level + self._kernels[key] - across.T @ across
        return mean, np.linalg.cholesky(left + 1e-7 * np.eye(len(grid)))

    def _mean(self, number: int, entry: Entry) -> tuple[float, float]:
        """The mean of a curve by what the others say of that of all, and its variance in units of
        the curves'."""
        others = [
            sums.lift(entry.apart)
            for at, sums in enumerate(self._sums[entry.length])
            if at != number
        ]
        if not others:
            return 0.0, LEVEL + entry.apart
        place = self._ratios(entry.length).index(entry.ratio)
        whole = add(others).lift(LEVEL)
        center = LEVEL * float(whole.cross[place])
        return center, entry.apart + LEVEL * (1 - LEVEL * float(whole.ones[place]))

    def _entries(self) -> list[Entry]:
        """`ENTRIES` entries of the table, each as often as its weight says (systematic
        resampling)."""
        ends = np.cumsum([entry.weight for entry in self.weights])
        ends /= ends[-1]
        places = np.searchsorted(ends, (np.arange(ENTRIES) + 0.5) / ENTRIES)
        return [self.weights[int(place)] for place in places]


def _add_logs(logs: Sequence[float]) -> float:
    """The logarithm of a sum by the logarithms of its parts."""
    most = max(logs)
    return most + math.log(math.fsum(math.exp(each - most) for each in logs))


def _noise(entry: Entry) -> float:
    """The variance of one reading."""
    return entry.ratio * entry.scale / (entry.shape - 1)
