"""The scale that the objective's values are compared on: what is near the best apart, what is far
from it together."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cached_property

from lrsearch.analysis import points as measured
from lrsearch.analysis.points import PointSummary, clip, find_ends
from lrsearch.frozen import frozen
from lrsearch.trial import Objective

LARGEST = 1e300
"""The largest value, and distance between two, that is reckoned with: beyond it sums and squares
are not finite."""

FARTHEST = math.asinh(LARGEST)
"""The place of it on a gauge whose unit is 1."""


def bound(value: float) -> float:
    """The value, or the largest that is reckoned with."""
    return clip(value, (-LARGEST, LARGEST))


BLOWN_UP = 1e5
"""The ratio to the usual gap and to the best value from which on a gap is that of a blow-up."""


LEAP = 1e3
"""The same ratio to the widest gap below it and to the best value: with nothing between, fewer
decades part a blow-up from what trained badly."""


FINER = 10.0
"""The ratio of the median gap to the best value from which on a loss may be one whose noise is a
share of it (`Gauge.make_finer`)."""


@frozen
class Gauge:
    """The scale that curves are fitted on: 0 is the best value measured, growing as values get
    worse, evenly at first, then as the logarithm (asinh of the gap in units of `size`). On it a
    cliff is a slope, and the noise is nearly the same everywhere."""

    best: float
    size: float
    sign: float
    ends: tuple[float, float] = (-math.inf, math.inf)
    """The least and the greatest value that there is, see `find_ends`."""
    middle: float = math.asinh(1)
    """The place of the median gap."""
    widest: float = math.inf
    """The largest gap of a training that did not blow up."""

    def measure(self, value: float) -> float:
        """A value of the objective on this scale."""
        place = self.sign * (self.best - value) / self.size
        if abs(place) <= LARGEST:  # As nearly always.
            return math.asinh(place)
        return math.asinh(bound(bound(self.sign * (self.best - value)) / self.size))

    def is_blown(self, value: float) -> bool:
        """Whether a value is that of a training that blew up: it says no more than a divergence
        does of what lies beside it."""
        return min(self.sign * (self.best - value), LARGEST) > self._limit

    @cached_property
    def _limit(self) -> float:
        usual, widest = self.size * math.sinh(self.middle), self.widest
        return min(BLOWN_UP * max(usual, abs(self.best)), LEAP * max(widest, abs(self.best)))

    def make_finer(self) -> Gauge | None:
        """The scale of a loss whose noise is a share of it, however low it is: its unit is the best
        value. None where that is no loss above 0, or hardly less than the median gap."""
        if self.sign > 0 or not 0 < FINER * self.best < self.size:
            return None
        return replace(self, size=self.best, middle=math.asinh(self.size / self.best))

    def stretch(self, values: Iterable[float]) -> float:
        """The logarithm of how much longer values are in the metric than on this scale: what is as
        likely on two scales is so much less likely in the metric."""
        return math.fsum(math.log(math.hypot(self.best - each, self.size)) for each in values)

    def worst(self, values: Iterable[float]) -> float:
        """The place on this scale of the worst value of a training that did not blow up."""
        # In one pass, since a run may have thousands: `is_blown` of each takes ten times as long.
        limit, best, sign = self._limit, self.best, self.sign
        sound = [value for value in values if min(sign * (best - value), LARGEST) <= limit]
        return self.measure(min(sound) if sign > 0 else max(sound))

    def value(self, place: float) -> float:
        """The value of the objective at a place of this scale."""
        gap = self.size * math.sinh(clip(place, (-FARTHEST, FARTHEST)))
        return clip(bound(self.best - self.sign * bound(gap)), self.ends)


def make_gauge(points: Sequence[PointSummary], objective: Objective) -> Gauge | None:
    """The scale of the objective's values, None where they do not vary, or are too large to be told
    apart. Its unit is the median gap from the best, over trainings that did not blow up: however
    many did, their values say nothing of the others."""
    values = [point.objective for point in points if point.objective is not None]
    if not values:
        return None
    sign = 1.0 if objective.goal == "max" else -1.0
    best = max(values) if sign > 0 else min(values)
    gaps = sorted([min(abs(best - value), LARGEST) for value in values])
    apart = [gap for gap in gaps if gap]
    # Each is held against those below it, of which one may be a tie but for rounding.
    sound = range(2, len(apart))
    near = abs(best)
    blown = (
        n
        for n in sound
        if apart[n] > min(BLOWN_UP * max(apart[n // 2], near), LEAP * max(apart[n - 1], near))
    )
    apart = apart[: next(blown, len(apart))]
    gaps = [0.0] * gaps.count(0.0) + apart
    # Of half the points, or of half of those that are worse than the best at all.
    size = gaps[len(gaps) // 2] or statistics.median(apart or [0.0])
    if not size > 1e-12 * abs(best):
        return None
    if BLOWN_UP * max(size, abs(best)) >= measured.LARGEST:  # Where trials' values are cut.
        return None
    ends = find_ends(objective, values)
    return Gauge(best, size, sign, ends, widest=max(apart, default=0.0))
