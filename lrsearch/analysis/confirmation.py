"""A confirmation: finalists measured again with fresh seeds, and what that says."""

from __future__ import annotations

import math
import statistics
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from lrsearch.analysis.basin import SPLIT_SHIFT, Basin
from lrsearch.analysis.groups import agrees, find_rate, is_rate
from lrsearch.analysis.points import PointSummary, rank, set_apart
from lrsearch.analysis.tied import student
from lrsearch.frozen import frozen
from lrsearch.trial import Objective, Tested

NEAR = SPLIT_SHIFT - 1e-9
"""Decades of the rate under which two points are neighbours of which fresh splits say the same."""

UPHILL = 0.1
"""The error, of both sides, at which the outermost point is better than the next one inward, so
that a further one is tried: each that joins may be the luckiest."""

EVEN = 0.5
"""The share of the likely best rates that lies on an end of those measured where the best mean of
fresh seeds does: as likely as not."""


def choose_finalists(
    points: Sequence[PointSummary], objective: Objective, top: int, recommended: int | None
) -> list[PointSummary]:
    """The points to measure again, at most `top`, best value first: the recommended one, and the
    best by their values of which no two differ by less than `SPLIT_SHIFT` decades of the rate
    alone, as fresh splits hardly tell such neighbours apart; places that are left go to these.
    Points without a value are none."""
    ranked = [point for point in rank(points, objective) if point.objective is not None]
    wanted = [point for point in ranked if point.point == recommended]
    # The best one of all first, if there is room for both.
    chosen = (ranked[:1] + [point for point in wanted if point is not ranked[0]])[-top:]
    rate, held = find_rate(points), {point.point for point in chosen}
    for near in (False, True):
        for point in ranked:
            if len(chosen) == top:
                break
            if point.point not in held and (
                near or all(abs(_apart(point, own, rate)) >= NEAR for own in chosen)
            ):
                chosen.append(point)
                held.add(point.point)
    return [point for point in ranked if point.point in held]


def find_beyond(
    points: Sequence[PointSummary],
    objective: Objective,
    raced: Sequence[tuple[PointSummary, Mapping[int, float | None]]],
) -> PointSummary | None:
    """The point that joins a race which is over: where the first of those `raced`, with their fresh
    values by seed, has the outermost rate of those that differ from it in the rate alone, and is
    better than the next of these by Student's t of their paired difference (`UPHILL`), the best by
    its value of those that lie `SPLIT_SHIFT` decades or more beyond it; else None."""
    rate, held = find_rate(points), {point.point for point, _ in raced}
    if not raced:
        return None
    first, own = raced[0]
    others = [(_apart(point, first, rate), known) for point, known in raced[1:]]
    others = [each for each in others if math.isfinite(each[0])]
    sides = {math.copysign(1.0, gap) for gap, _ in others}
    if len(sides) != 1 or not _is_worse(
        min(others, key=lambda each: abs(each[0]))[1], own, objective
    ):
        return None
    side = -sides.pop()
    beyond = (
        point
        for point in rank(set_apart(points), objective)
        if point.objective is not None
        and point.point not in held
        and NEAR <= side * _apart(point, first, rate) < math.inf
    )
    return next(beyond, None)


def bound_rates(
    basin: Basin,
    good: Sequence[PointSummary],
    worse: Sequence[PointSummary],
    lost: Collection[int | None] = (),
) -> Basin:
    """The basin with what fresh seeds say of its rates: that the `good` points are as good as the
    best of all, best first, and the others `worse`, of which those numbered in `lost` diverged. The
    intervals hold the rates of the good ones, and end halfway to the next of the worse ones that
    differ from a good one in the rate alone, and `SPLIT_SHIFT` below a higher one that is lost; the
    best rate lies among them. Rates that do as well are those about the best mean: none beyond one
    that failed in the search, or was worse on fresh seeds."""
    own = [point for point in good if agrees(point.params, basin.params)]
    own = [point for point in own if is_rate(point.params.get(basin.rate))]
    if not own:
        return basin
    rates = [float(point.params[basin.rate]) for point in own]
    alike = [
        point
        for point in worse
        if any(math.isfinite(_apart(point, each, basin.rate)) for each in own)
    ]
    others = [float(point.params[basin.rate]) for point in alike]
    # Where the objective gets worse between two rates nobody knows: halfway.
    failing = {each.params[basin.rate] for each in alike if each.point in lost}

    def hold(ends: tuple[float, float], held: Sequence[float]) -> tuple[float, float]:
        low, high = min(held), max(held)
        first = max((math.sqrt(each * low) for each in others if each < low), default=0.0)
        last = min((math.sqrt(each * high) for each in others if each > high), default=math.inf)
        beyond = min((each for each in failing if each > high), default=math.inf)
        last = min(last, beyond / 10**SPLIT_SHIFT)
        return min(max(ends[0], first), low), max(min(ends[1], last), high)

    bad = {at for at, value in basin.readings if value is None}.union(others)
    floor = max((each for each in bad if each < rates[0]), default=0.0)
    roof = min((each for each in bad if each > rates[0]), default=math.inf)
    about = [each for each in rates if floor < each < roof]

    def hold_good(ends: tuple[float, float]) -> tuple[float, float]:
        first = ends[0] if ends[0] > floor else math.sqrt(floor * min(about))
        last = ends[1] if ends[1] < roof else math.sqrt(roof * max(about))
        return hold((first, last), about)

    def share(place: int) -> float:
        """The share of the likely best rates on an end of those measured."""
        end = basin.rates[place]
        if not math.isclose(best_lr[place], end):
            return 0.0
        # What is the best there may have better ones beyond, where nobody looked.
        return max(basin.at_ends[place], EVEN * math.isclose(rates[0], end))

    safe, best_lr = hold_good(basin.safe_lr), hold(basin.best_lr, rates)
    best = basin.best if safe[0] <= basin.best <= safe[1] else rates[0]
    value, *reach = basin.at(best)
    lowest = [] if basin.diverges_at is None else [basin.diverges_at]
    return replace(
        basin,
        readings=tuple((at, None if at in failing else each) for at, each in basin.readings),
        best=best,
        value=value,
        interval=(min(reach), max(reach)),
        best_lr=best_lr,
        at_ends=(share(0), share(-1)),
        within_error=hold_good(basin.within_error),
        within_percent=hold_good(basin.within_percent),
        diverges_at=min([*lowest, *(each for each in failing if each > best)], default=None),
    )


def _is_worse(
    values: Mapping[int, float | None], best: Mapping[int, float | None], objective: Objective
) -> bool:
    """Whether fresh values are worse than the best point's, by Student's t of their paired
    difference, or one is missing."""
    if None in values.values():
        return True
    sign = -1.0 if objective.goal == "max" else 1.0
    pairs = [(value, best.get(at)) for at, value in values.items()]
    gaps = [sign * (one - two) for one, two in pairs if one is not None and two is not None]
    if len(gaps) < 2:
        return False
    error = statistics.stdev(gaps) / math.sqrt(len(gaps))
    return statistics.fmean(gaps) > student(len(gaps) - 1, UPHILL) * error


def _apart(point: PointSummary, other: PointSummary, rate: str | None) -> float:
    """The decades by which a point's rate lies above another's, infinite where they differ in more
    than that."""
    pair = point.params, other.params
    if rate is None or not all(is_rate(own.get(rate)) for own in pair):
        return math.inf
    if {**point.params, rate: None} != {**other.params, rate: None}:
        return math.inf
    return math.log10(point.params[rate] / other.params[rate])


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
