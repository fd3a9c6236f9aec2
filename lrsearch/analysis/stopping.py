"""A search's own end: no improvement beyond noise in so many proposals.

Noise decides what an improvement is, as in Makarova et al. 2022 ("Automatic termination for
hyperparameter optimization", AutoML): what is left to gain is nothing where it is below the error
of the values themselves. All of it is a function of the points in the order of their proposals.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from lrsearch.analysis.basin import fit
from lrsearch.analysis.points import PointSummary, rank, set_apart
from lrsearch.analysis.tied import POOLED, pool_noise, square_error
from lrsearch.trial import Objective


@dataclass(frozen=True)
class Noise:
    """The standard error of the difference of two points' values, in units of the objective, and
    what it was read from: "seeds" (of points that have several, or folds), "curve" (the residuals
    of the curves through the rate), or "" where nothing tells it, and it is 0."""

    error: float
    basis: str


@dataclass(frozen=True)
class Patience:
    """The standing of a search after `made` proposals: the latest that improved on all before
    beyond noise was number `latest` (from 1; 0: none), and `left` more may fail to before it is
    over."""

    made: int
    latest: int
    left: int

    @property
    def over(self) -> bool:
        """Whether the search is to stop."""
        return self.left <= 0


def find_noise(points: Iterable[PointSummary], objective: Objective) -> Noise:
    """The noise of a difference of two points.

    Of points with several seeds or folds it is that of the best `POOLED` of those measured alike,
    their points' and their seeds' own effects taken out, as for ties (`tied.ties`). Else it is the
    noise of the curves through the rate, taken near the best: of the values that the curves leave
    possible one that nine of ten exceed, since few points hardly tell it, and an improvement that
    is taken for noise ends a search too early.
    """
    ranked = [point for point in rank(points, objective) if point.objective is not None]
    if not ranked:
        return Noise(0.0, "")
    first = next((point for point in ranked if len(point.scores) > 1), None)
    if first is not None:
        alike = [point for point in ranked if point.scores.keys() == first.scores.keys()]
        pooled = pool_noise(alike[:POOLED])
        if pooled is not None:
            square = square_error(2 * pooled[0], len(first.scores), first.folds)
            return Noise(math.sqrt(square), "seeds")
    fitted = fit(set_apart(ranked), objective)
    if fitted is None:
        return Noise(0.0, "")
    one = fitted.gauge.size * math.sinh(fitted.family.sure_noise)
    return Noise(math.sqrt(2) * one, "curve")


def judge_patience(
    values: Sequence[float | None],
    patience: int,
    noise: float,
    goal: str,
    before: Iterable[float] = (),
    start: int = 0,
) -> Patience:
    """The standing of a search whose proposals came to `values`, in their order, None where they
    have none (they diverged, say). `before` are values that were measured before any of them.

    A proposal improves where it is better by more than `noise` than the latest that did (than the
    best of `before`, until one has): small steps add up, and the first value is an improvement.
    The first `start` proposals, which follow no result, exhaust no patience: it counts from their
    end at the earliest.
    """
    sign = 1.0 if goal == "max" else -1.0
    reference = max((sign * value for value in before), default=None)
    latest = 0
    for number, value in enumerate(values, 1):
        if value is None:
            continue
        if reference is None or sign * value - reference > noise:
            reference, latest = sign * value, number
    return Patience(len(values), latest, patience - (len(values) - max(latest, start)))
