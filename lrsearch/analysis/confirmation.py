"""A confirmation: finalists measured again with fresh seeds, and what that says."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from lrsearch.analysis.points import PointSummary, rank
from lrsearch.frozen import frozen
from lrsearch.trial import Objective, Tested


def choose_finalists(
    points: Sequence[PointSummary], objective: Objective, top: int, recommended: int | None
) -> list[PointSummary]:
    """The points to measure again: the best by their values, at most `top`, and the recommended one
    in place of the last where it is none of them. Points without a value are none."""
    ranked = [point for point in rank(points, objective) if point.objective is not None]
    chosen = ranked[:top]
    for point in ranked[top:]:
        if point.point == recommended:
            chosen[-1] = point
    return chosen


def find_share_interval(share: float, count: int) -> tuple[float, float]:
    """The interval of 95 % of a share that was counted among `count` samples (Wilson 1927)."""
    square = 1.959964**2 / count
    middle = (share + square / 2) / (1 + square)
    reach = math.sqrt(square * (share * (1 - share) + square / 4)) / (1 + square)
    return max(0.0, middle - reach), min(1.0, middle + reach)


@frozen
class Finalist:
    """A point that was measured again, or the control. `point` is its number in the run, None of a
    control that is no point of it. `searched` is the value of the search, None without one; `mean`
    that of the fresh seeds, None where a training of these has no value; `interval` that of 95 % of
    it. `scores` has the value of each fresh seed. `shrinkage` is what the search's value was too
    good by: positive whatever the goal is, None where a value is missing. `better` is the
    probability of being better than the control. `outcome` says in words why there is no mean, ""
    where there is one."""

    point: int | None
    params: Mapping[str, Any]
    searched: float | None
    mean: float | None
    interval: tuple[float, float] | None
    scores: Mapping[int, float | None]
    shrinkage: float | None = None
    better: float | None = None
    outcome: str = ""
    control: bool = False
    tied: bool = False
    """Whether it cannot be told from the best mean, which is among the tied itself."""

    @property
    def seeds(self) -> int:
        """The number of fresh seeds it was measured with."""
        return len(self.scores)


@frozen
class Confirmation:
    """Finalists after their race, the best mean first, those that are out behind; the control is
    among them. `over` says that nothing is left to measure, `current` that the run's best value is
    that of a finalist. `seeds` is the number of fresh seeds that were allowed, `fixed` why they
    drew no splits of their own, "" where they did. `trials` counts the trainings that have ended,
    `left` those of the present round that have not, `failed` are the numbers of those that failed;
    `epochs` and `seconds` are sums over them. `steady` says that all points have one value,
    `seedless` that none differs between its seeds. `tested` is the run's one look at its test part,
    None where there was none, and `tested_point` the point whose model it was."""

    finalists: tuple[Finalist, ...]
    seeds: int
    over: bool
    current: bool = True
    fixed: str = ""
    trials: int = 0
    left: int = 0
    failed: tuple[int, ...] = ()
    epochs: float = 0.0
    seconds: float = 0.0
    steady: bool = False
    seedless: bool = False
    tested: Tested | None = None
    tested_point: int | None = None

    @property
    def control(self) -> Finalist | None:
        """The control."""
        return next((each for each in self.finalists if each.control), None)

    @property
    def winner(self) -> Finalist | None:
        """The finalist of the best mean, None where no finalist has one. A control that is no point
        of the run is no finalist."""
        found = (each for each in self.finalists if each.point is not None)
        return next((each for each in found if each.mean is not None), None)

    @property
    def holds(self) -> bool:
        """Whether the answer may rest on it."""
        return self.over and self.current and self.winner is not None
