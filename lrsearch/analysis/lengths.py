"""Budgets that were searched: what training longer brings."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from lrsearch import duration
from lrsearch.analysis.basin import Basin
from lrsearch.analysis.groups import BATCHES, BUDGET, double, is_length
from lrsearch.analysis.points import PointSummary

NAME = BUDGET

MOST = BATCHES
"""The most budgets that are told one by one; more of them, as in a range, are grouped by doublings,
as curves are."""

FACTOR = 2
"""Times the longest budget that was searched, the next one worth searching."""


@dataclass(frozen=True)
class Length:
    """A budget and the best that came of it; of more than `MOST` budgets all of a doubling,
    `span`, up to the `longest`. `budget` is the point's, `epochs` are those of a training, `point`
    is the recommended one of its points (None where none has a value), `value` and
    `interval` what it is worth, as the answer's. `lr` is its rate, `best_lr` the interval of the
    budget's best rate; None where none was searched, or no curve read. `tied` says that it cannot
    be told from the best of all budgets."""

    budget: str
    span: str
    longest: str
    epochs: float
    points: int
    point: PointSummary | None
    value: float | None
    interval: tuple[float, float] | None
    lr: float | None
    best_lr: tuple[float, float] | None
    tied: bool


@dataclass(frozen=True)
class Lengths:
    """The budgets of a run, the shortest first, with at least two of a value. `enough` is the
    shortest that ties with the best. `longer` is the next budget worth searching, "" unless the
    longest has the best value, and no other ties with it."""

    rows: tuple[Length, ...]
    enough: Length
    longer: str


Choose = Callable[[Sequence[PointSummary]], tuple[PointSummary, tuple[float, float] | None]]
"""The recommended one of points, and its interval."""


def find_lengths(
    points: Sequence[PointSummary],
    tied: Sequence[int],
    basin_of: Callable[[PointSummary], Basin | None],
    rate: str | None,
    choose: Choose,
) -> Lengths | None:
    """The budgets of points, None unless several were searched. `tied` are the numbers of the best
    point and of those that tie with it, `basin_of` finds the basin of a point."""
    groups: dict[str, list[PointSummary]] = {}
    for point in points:
        budget = point.params.get(NAME)
        if not isinstance(budget, str) or not is_length(budget):
            return None
        groups.setdefault(budget, []).append(point)
    rows = []
    for span, longest, own in _part(groups):
        measured = [point for point in own if point.objective is not None]
        chosen, interval = choose(own) if measured else (None, None)
        basin = basin_of(chosen) if chosen is not None else None
        lr = chosen.params.get(rate) if chosen is not None and rate is not None else None
        rows.append(
            Length(
                str(chosen.params[NAME]) if chosen is not None else longest,
                span,
                longest,
                _epochs(measured or own),
                len(own),
                chosen,
                chosen.objective if chosen is not None else None,
                interval,
                lr if isinstance(lr, int | float) else None,
                basin.best_lr if basin is not None else None,
                any(point.point in tied for point in own),
            )
        )
    if sum(row.value is not None for row in rows) < 2:
        return None
    good = [row for row in rows if row.tied]
    longer = _double(rows[-1].longest) if good == rows[-1:] else ""
    return Lengths(tuple(rows), good[0], longer)


def _part(
    groups: Mapping[str, list[PointSummary]],
) -> list[tuple[str, str, Sequence[PointSummary]]]:
    """The points of each budget, the shortest first, or of all budgets of a doubling where there
    are many: the budget or doubling, the longest budget in it, its points."""
    epochs = {
        budget: _epochs([p for p in own if p.objective is not None] or own)
        for budget, own in groups.items()
    }
    order = sorted(groups, key=lambda b: (epochs[b], duration.parse(b).value, b))
    if len(order) <= MOST:
        return [(budget, budget, groups[budget]) for budget in order]
    parts: dict[str, list[str]] = {}
    for budget in order:
        parts.setdefault(str(double(budget)), []).append(budget)
    return [
        (
            span,
            max(own, key=lambda budget: duration.parse(budget).value),
            [point for budget in own for point in groups[budget]],
        )
        for span, own in parts.items()
    ]


def epochs_of(point: PointSummary) -> float:
    """The epochs of each training of a point, on average."""
    return point.epochs / max(1, point.done)


def _epochs(points: Sequence[PointSummary]) -> float:
    """The epochs of a training, rounded: batches do not divide an epoch."""
    epochs = statistics.fmean(map(epochs_of, points))
    return float(f"{epochs:.4g}") if math.isfinite(epochs) else 0.0


def _double(budget: str) -> str:
    length = duration.parse(budget)
    return str(duration.Duration(length.value * FACTOR, length.unit))
