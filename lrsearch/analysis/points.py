"""Points from trials: their means and their order."""

from __future__ import annotations

import contextlib
import math
import operator
import statistics
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field, replace
from itertools import chain
from operator import attrgetter, itemgetter
from typing import Any

from lrsearch.analysis.pruning import NO_PROGRESS
from lrsearch.catalogue import ENDS
from lrsearch.frozen import frozen
from lrsearch.trial import Objective, Outcome, Record, Result, combine

_ORDER = (
    Outcome.COMPLETED,
    Outcome.DIVERGED,
    Outcome.PRUNED,
    Outcome.OUT_OF_MEMORY,
    Outcome.FAILED,
    None,
)
"""The order of points without a value, which follow those with one; None is an unfinished point."""


LARGEST = 1e150
"""The largest value of a trial that spreads and errors are reckoned with: squares of larger ones,
as of a loop whose loss blows up, are not finite."""


@frozen
class PointSummary:
    """A point and what its trials came to.

    `outcome` is None while a trial has no result, otherwise the worst of its trials: a setting
    that diverges for one seed of three is not one to recommend. `objective` is the mean over the
    trials when all completed with a finite value, `spread` their sample standard deviation (over
    seeds and folds; None with one trial). `trials` are numbers, `done` counts those with a result;
    `epochs` and `seconds` are sums over them. `seeds` and `folds` count distinct ones (`folds` is 0
    without folds), `scores` holds the objective of each completed trial by its (seed, fold), and of
    larger ones `LARGEST`.
    `reason` is that of the first trial with the point's outcome. `lost` says that a trial of it was
    trained to its end and is diagnosed as diverged, `idle` that one learned nothing.
    """

    point: int
    strategy: str
    params: Mapping[str, Any]
    outcome: Outcome | None
    objective: float | None
    spread: float | None
    trials: tuple[int, ...]
    epochs: float
    seconds: float
    done: int
    reason: str = ""
    seeds: int = 1
    folds: int = 0
    scores: Mapping[tuple[int, int | None], float] = field(default_factory=dict)
    lost: bool = False
    idle: bool = False

    @property
    def fails(self) -> bool:
        """Whether it has no value since a trial diverged, came to one that is not finite, or was
        stopped having learned nothing."""
        lost = self.outcome in (Outcome.DIVERGED, Outcome.COMPLETED)
        return self.objective is None and (lost or self.idle)


def summarize(records: Iterable[Record], objective: Objective) -> list[PointSummary]:
    """One summary a point, by point number. Its strategy is that of its first trial."""
    groups: dict[int, list[Record]] = {}
    for record in sorted(records, key=attrgetter("trial.number")):
        groups.setdefault(record.point, []).append(record)
    return [_summary(groups[point], objective) for point in sorted(groups)]


def _summary(records: Sequence[Record], objective: Objective) -> PointSummary:
    if len(records) == 1:
        return _alone(records[0], objective)
    everything = [record.result for record in records]
    results = [result for result in everything if result is not None]
    outcome, objective_value = combine(everything, objective)
    values, scores = [], {}
    for record in records:
        value = record.result.value(objective) if record.result is not None else None
        if value is not None and math.isfinite(value):
            values.append(clip(value, (-LARGEST, LARGEST)))
            scores[record.trial.seed, record.trial.fold] = values[-1]
    if objective_value is None:
        values = []
    return PointSummary(
        point=records[0].point,
        strategy=records[0].strategy,
        params=records[0].params,
        outcome=outcome,
        objective=objective_value,
        spread=statistics.stdev(values) if len(values) > 1 else None,
        trials=tuple([record.trial.number for record in records]),
        epochs=math.fsum([result.epochs for result in results]),
        seconds=math.fsum([result.seconds for result in results]),
        done=len(results),
        reason=next((result.reason for result in results if result.outcome is outcome), ""),
        seeds=len({record.trial.seed for record in records}),
        folds=len({record.trial.fold for record in records} - {None}),
        scores=scores,
        lost=any(map(_is_lost, results)),
        idle=any(map(_is_idle, results)),
    )


def _alone(record: Record, objective: Objective) -> PointSummary:
    """The summary of a point of one trial, as most of a large run are."""
    result, trial = record.result, record.trial
    outcome = None if result is None else result.outcome
    value = None if result is None else result.value(objective)
    value = value if value is not None and math.isfinite(value) else None
    scores = {}
    if value is not None:
        scores[trial.seed, trial.fold] = clip(value, (-LARGEST, LARGEST))
    return PointSummary(
        record.point,
        record.strategy,
        record.params,
        outcome,
        None if value is None else value + 0.0,  # As a mean has no -0.
        None,
        (trial.number,),
        0.0 if result is None else result.epochs + 0.0,
        0.0 if result is None else result.seconds + 0.0,
        0 if result is None else 1,
        "" if result is None else result.reason,
        1,
        0 if trial.fold is None else 1,
        scores,
        result is not None and _is_lost(result),
        result is not None and _is_idle(result),
    )


def _is_lost(result: Result) -> bool:
    return "diverged" in [each.verdict for each in result.verdicts or ()]


def _is_idle(result: Result) -> bool:
    """Whether a training learned nothing, and was stopped for it or trained to its end."""
    nothing = [each.verdict in ("dead", "stagnating") for each in result.verdicts or ()]
    return result.rule == NO_PROGRESS or any(nothing)


def columns(rows: Sequence[Record] | Sequence[PointSummary]) -> dict[str, list[Any]]:
    """The values of each parameter of trials or points, `...` of those that lack it; the names in
    the order in which they first appear."""
    for whose, _, found in _columns:
        if whose is rows:
            return found
    params = list(map(attrgetter("params"), rows))
    whose = rows if isinstance(rows, tuple) else None  # A list may change.
    for place, (_, known, found) in enumerate(_columns):
        if same(known, params):
            _columns[place] = whose, known, found
            return found
    found = {name: _column(params, name) for name in dict.fromkeys(chain.from_iterable(params))}
    _columns.appendleft((whose, params, found))
    return found


def _column(params: Sequence[Mapping[str, Any]], name: str) -> list[Any]:
    with contextlib.suppress(KeyError):  # Most names are in all of them.
        return list(map(itemgetter(name), params))
    return [each.get(name, ...) for each in params]


_Asked = tuple[tuple[object, ...] | None, list[Mapping[str, Any]], dict[str, list[Any]]]

_columns: deque[_Asked] = deque(maxlen=2)
"""The columns that were asked for last, of which rows and parameters: a report asks for those of
its trials and of its points again and again, and to look into each of ten thousand takes its
time."""


def same(left: Sequence[object], right: Sequence[object]) -> bool:
    """Whether two sequences hold the same objects."""
    return len(left) == len(right) and all(map(operator.is_, left, right))


def written(column: Sequence[Any]) -> Sequence[Any]:
    """The values of a column as they are told apart: by what is written, since 1 and 1.0 are equal
    and lists are no keys; those of a column of texts, of integers, or of numbers that are not 0, by
    themselves."""
    kinds = set(map(type, column))
    if kinds in ({str}, {int}):
        return column
    if kinds <= {float, type(...)}:
        numbers = [value for value in column if value is not ...]
        if all(numbers) and not math.isnan(sum(numbers)):  # Of 0 there are two, equal ones.
            return column
    return list(map(repr, column))


def set_apart(points: Sequence[PointSummary]) -> Sequence[PointSummary]:
    """The points, with `lost` ones as diverged: their values come from trainings that blew up, and
    say nothing of the objective; and those whose values are not finite."""
    diverged = Outcome.DIVERGED
    found = [
        replace(each, outcome=diverged, objective=None, spread=None, scores={})
        if (each.lost and each.objective is not None)
        or (each.objective is None and each.outcome is Outcome.COMPLETED)
        else each
        for each in points
    ]
    return points if same(found, points) else tuple(found)


def rank(points: Iterable[PointSummary], objective: Objective) -> list[PointSummary]:
    """Points ranked: best first, equal ones by number; then those without a value: diverged,
    pruned, out of memory, failed, unfinished."""
    given = list(points)
    if len(given) < 2:
        return given
    for goal, known, ranked in _ranked:
        if goal == objective.goal and same(known, given):
            return ranked.copy()
    measured = [point for point in given if point.objective is not None]
    others = [point for point in given if point.objective is None]
    # Sorting keeps the order of equals, and so the numbers come before the values.
    measured.sort(key=attrgetter("point"))
    measured.sort(key=attrgetter("objective"), reverse=objective.goal == "max")
    others.sort(key=lambda point: (_ORDER.index(point.outcome), point.point))
    ranked = measured + others
    _ranked.appendleft((objective.goal, given, ranked))
    return ranked.copy()


_ranked: deque[tuple[str, list[PointSummary], list[PointSummary]]] = deque(maxlen=2)
"""Points that were ranked last: an answer asks for the order of the same ones again and again."""


def best(points: Iterable[PointSummary], objective: Objective) -> PointSummary | None:
    """The first of `rank`, or None where no point has a value."""
    ranked = rank(points, objective)
    return ranked[0] if ranked and ranked[0].objective is not None else None


def last_metrics(records: Iterable[Record], point: int) -> dict[str, float]:
    """A point's validation metrics at the end of training, each the mean over its completed
    trials; only metrics all of them have."""
    lasts = [
        record.result.last
        for record in records
        if record.point == point and record.result and record.result.outcome is Outcome.COMPLETED
    ]
    shared = [name for name in lasts[0] if all(name in last for last in lasts)] if lasts else []
    return {name: statistics.fmean(last[name] for last in lasts) for name in shared}


def find_ends(objective: Objective, values: Iterable[float]) -> tuple[float, float]:
    """The least and the greatest value that the objective can have. A metric of the user's may
    have the name of one of ours on another scale, as an accuracy in percent: it has no ends."""
    low, high = ENDS.get(objective.metric, (-math.inf, math.inf))
    inside = all(low <= value <= high for value in values)
    return (low, high) if inside else (-math.inf, math.inf)


def clip(value: float, ends: tuple[float, float]) -> float:
    """The value, or the end that it lies beyond."""
    return min(max(value, ends[0]), ends[1])
