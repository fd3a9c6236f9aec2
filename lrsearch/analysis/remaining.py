"""The time that a search has left, as a range: from how long its trials took and how they differed.

The sample are the wall times of the trials that have ended, pruned and diverged ones among them,
and an estimate for each trial under way, by the share of it that is trained: without these the
sample would hold too many short trials. Trials to come are taken to be like those in the sample.
The mean of r trials to come differs from that of n known ones by the prediction interval of a mean,
of 90 %: t v sqrt(1/r + 1/n), where v is the coefficient of variation of the sample and t is
Student's quantile. As many trials are taken to train side by side as there were until now, on
average; the last ones begin beside ever fewer (Graham 1969, "Bounds on multiprocessing timing
anomalies"). Where the number of trials to come is not known, as for a race, the low end is for the
fewest and the high end for the most.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

NORMAL = 1.645
"""The quantile of the normal distribution of an interval of 90 %."""

BEGUN = 0.1
"""The share of a trial that tells what it comes to."""

UNKNOWN = 0.5
"""The coefficient of variation while one trial alone is known, about that of trials whose batch
sizes differ by a factor of four."""

LEAST = 0.05
"""The least coefficient of variation: the same training takes longer on a machine that is busy."""


@dataclass(frozen=True)
class Work:
    """The work of a search until now, in seconds of wall time: what the `ended` trials took, the
    time `elapsed` since the first began, and of each trial `running` the time since it began, the
    time it took to the share that it told last, and that share: a worker that stands still has no
    other pace. From `least` to `most` trials have not begun."""

    ended: Sequence[float]
    elapsed: float
    running: Sequence[tuple[float, float, float]]
    least: int
    most: int


def foresee(work: Work) -> tuple[float, float] | None:
    """The wall time left, in seconds, from and to; None while nothing tells it: before a trial has
    ended, or one under way is a tenth through."""
    known = [each for each in work.ended if each > 0]
    known += [spent / share for _, spent, share in work.running if share >= BEGUN and spent > 0]
    if not known or work.elapsed <= 0:
        return None
    mean = statistics.fmean(known)
    beside = (
        max(math.fsum(work.ended) + math.fsum(t for t, _, _ in work.running), 1e-9) / work.elapsed
    )
    rests = [_rest(spent, share, mean) for _, spent, share in work.running]
    # Once: a search may have thousands of trials, and is asked four times a second.
    spread = _spread(known, mean)
    low, high = (
        (coming * mean + math.fsum(rests))
        / beside
        * math.exp(sign * _reach(spread, len(known), coming + len(rests)))
        for sign, coming in ((-1, work.least), (1, work.most))
    )
    slowest = max(rests, default=0.0)
    if work.most:
        high += max(0.0, 1 - 1 / beside) * max(known)
    return max(low, slowest * (1 - min(0.5, spread))), max(high, slowest)


def _rest(spent: float, share: float, mean: float) -> float:
    """The time that a trial under way still takes: by its own pace, or, before that tells, as long
    as a whole one."""
    return (1 - share) * (spent / share if share >= BEGUN and spent > 0 else mean)


def _spread(known: Sequence[float], mean: float) -> float:
    """The sample standard deviation as a share of the mean."""
    if len(known) < 2:
        return UNKNOWN
    squares = math.fsum([(each - mean) ** 2 for each in known])
    return max(LEAST, math.sqrt(squares / (len(known) - 1)) / mean)


def _reach(spread: float, known: int, left: int) -> float:
    """Half the interval of the mean of so many that are left, as a logarithm: of a lognormal mean,
    since a deviation of several means, as of a trial that stood still for a while, is no factor of
    e to that power."""
    # Cornish and Fisher's first term towards Student's quantile.
    quantile = NORMAL * (1 + (NORMAL**2 + 1) / (4 * max(1, known - 1)))
    return quantile * math.sqrt(math.log1p(spread**2 * (1 / max(1, left) + 1 / known)))
