"""Points from trials: their means, their order, and the points that tie with the best."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lrsearch.trial import Objective, Outcome, Record, combine

_ORDER = (
    Outcome.COMPLETED,
    Outcome.DIVERGED,
    Outcome.PRUNED,
    Outcome.OUT_OF_MEMORY,
    Outcome.FAILED,
    None,
)
"""The order of points without a value, which follow those with one; None is an unfinished point."""

# Two-sided 95 % quantiles of Student's t for 1 to 30 degrees of freedom: NIST/SEMATECH e-Handbook
# of Statistical Methods, section 1.3.6.7.2, column 0.975.
_STUDENT = (
    *(12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228),
    *(2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086),
    *(2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042),
)


@dataclass(frozen=True)
class PointSummary:
    """A point and what its trials came to.

    `outcome` is None while a trial has no result, otherwise the worst of its trials: a setting
    that diverges for one seed of three is not one to recommend. `objective` is the mean over the
    trials when all completed with a finite value, `spread` their sample standard deviation (over
    seeds and folds; None with one trial). `trials` are numbers, `done` counts those with a result;
    `epochs` and `seconds` are sums over them. `seeds` and `folds` count distinct ones (`folds` is 0
    without folds), `scores` holds the objective of each completed trial by its (seed, fold).
    `reason` is that of the first trial with the point's outcome.
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


def summarize(records: Iterable[Record], objective: Objective) -> list[PointSummary]:
    """One summary a point, by point number. Its strategy is that of its first trial."""
    groups: dict[int, list[Record]] = {}
    for record in sorted(records, key=lambda record: record.trial.number):
        groups.setdefault(record.point, []).append(record)
    return [_summary(groups[point], objective) for point in sorted(groups)]


def _summary(records: Sequence[Record], objective: Objective) -> PointSummary:
    everything = [record.result for record in records]
    results = [result for result in everything if result is not None]
    outcome, objective_value = combine(everything, objective)
    values, scores = [], {}
    for record in records:
        value = record.result.value(objective) if record.result is not None else None
        if value is not None and math.isfinite(value):
            values.append(value)
            scores[record.trial.seed, record.trial.fold] = value
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
    )


def rank(points: Iterable[PointSummary], objective: Objective) -> list[PointSummary]:
    """Points ranked: best first, equal ones by number; then those without a value: diverged,
    pruned, out of memory, failed, unfinished."""
    sign = -1.0 if objective.goal == "max" else 1.0

    def place(point: PointSummary) -> tuple[bool, float, int]:
        if point.objective is not None:
            return False, sign * point.objective, point.point
        return True, _ORDER.index(point.outcome), point.point

    return sorted(points, key=place)


def best(points: Iterable[PointSummary], objective: Objective) -> PointSummary | None:
    """The first of `rank`, or None where no point has a value."""
    ranked = rank(points, objective)
    return ranked[0] if ranked and ranked[0].objective is not None else None


def ties(points: Iterable[PointSummary], objective: Objective) -> list[PointSummary]:
    """The points that cannot be told from the best (which is not among them), best first.

    A point ties when its mean differs from the best's by no more than t x s, where s is the
    standard error of the difference and t Student's two-sided 95 % quantile:

    - both were measured with the same seeds (and folds): s comes from the differences pair by pair
      (n - 1 degrees of freedom), since what a seed does to both cancels;
    - otherwise from both variances (Welch), with the smaller n - 1, which errs towards a tie; a
      point with a single trial is taken to vary as much as the other;
    - one trial each: only equal values tie.

    Folds share training data, so 1 / n becomes 1 / n + 1 / (folds - 1) (Nadeau & Bengio 2003,
    corrected resampled t test). The interval is for one comparison and not widened for the number
    of points; it covers seeds and folds, not the choice of the validation samples.
    """
    ranked = rank(points, objective)
    if not ranked or ranked[0].objective is None:
        return []
    first, *others = ranked
    return [point for point in others if point.objective is not None and _tied(first, point)]


def _tied(first: PointSummary, other: PointSummary) -> bool:
    assert first.objective is not None and other.objective is not None
    gap = abs(first.objective - other.objective)
    counts = (len(first.scores), len(other.scores))
    if max(counts) == 1:
        return gap == 0
    if first.scores.keys() == other.scores.keys():
        gaps = [first.scores[place] - other.scores[place] for place in first.scores]
        error = _squared_error(statistics.variance(gaps), len(gaps), first.folds)
        freedom = len(gaps) - 1
    else:
        freedom = (min(counts) if min(counts) > 1 else max(counts)) - 1
        error = 0.0
        for point, twin in ((first, other), (other, first)):
            spread = point.spread if point.spread is not None else twin.spread
            assert spread is not None
            error += _squared_error(spread**2, len(point.scores), point.folds)
    # The last bits of a mean are no difference.
    return gap <= student(freedom) * math.sqrt(error) + 1e-12 * abs(first.objective)


def _squared_error(variance: float, count: int, folds: int) -> float:
    return variance * (1 / count + (1 / (folds - 1) if folds > 1 else 0.0))


def student(freedom: int) -> float:
    """Student's two-sided 95 % quantile. Above 30 degrees of freedom that of 30, 4 % too wide at
    most."""
    return _STUDENT[min(freedom, len(_STUDENT)) - 1]


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
