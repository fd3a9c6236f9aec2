"""Runs side by side: whether they can be compared, and whether a difference is more than noise."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from lrsearch.analysis.answer import Answer
from lrsearch.analysis.points import PointSummary
from lrsearch.analysis.tied import square_error, student
from lrsearch.trial import Objective

BETTER, WORSE, NOISE, UNKNOWN, APART = "better", "worse", "noise", "unknown", "not comparable"
"""Verdicts on the second run of a pair."""


@dataclass(frozen=True)
class Contender:
    """A run that is compared. `data_hash` is of its data's content, "" outside lrsearch; `split`
    says what of them is held out, and how. `outside` is the command, or the loop, that it trains
    by, "" for none; `sources` are then the hashes of the code and the files that this names."""

    name: str
    objective: Objective
    answer: Answer | None
    data_hash: str = ""
    split: Mapping[str, Any] = field(default_factory=dict)
    outside: str = ""
    sources: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Difference:
    """A pair of runs: what the second's recommended point is above the first's. `interval` is that
    of 95 % of this gap, None where no point has two seeds; `pairs` counts the seeds (and folds)
    that both were measured with, 0 where the gap is one of two means. `reasons` say why they are
    not comparable, or why seeds tell no noise, `doubts` by what they may have measured different
    things, of which nobody here knows."""

    first: str
    second: str
    verdict: str
    gap: float | None = None
    interval: tuple[float, float] | None = None
    pairs: int = 0
    reasons: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()


def compare_all(runs: Sequence[Contender]) -> list[Difference]:
    """Every pair of runs, in their order."""
    pairs = itertools.combinations(runs, 2)
    return [replace(compare_two(*pair), doubts=tuple(find_doubts(*pair))) for pair in pairs]


def compare_two(first: Contender, second: Contender) -> Difference:
    """The second run beside the first.

    The gap is one of the recommended points' means, over fresh seeds where a run is confirmed.
    Where both were measured with at least two common seeds (and folds) of one split it comes pair
    by pair, since what a seed does to both cancels; otherwise from both variances (Welch), with the
    smaller n - 1, a point with a single trial, or with seeds that made no difference, being taken
    to vary as much as the other. Folds share
    training data, so 1 / n becomes 1 / n + 1 / (folds - 1) (Nadeau & Bengio 2003), as among the
    points of one run (`tied`).
    """
    names = (first.name, second.name)
    reasons = tuple(_apart(first, second))
    if reasons:
        return Difference(*names, APART, reasons=reasons)
    if first.answer is None or second.answer is None:
        return Difference(*names, UNKNOWN)
    left, right = first.answer.measured, second.answer.measured
    shared = [key for key in left.scores if key in right.scores]
    if max(len(left.scores), len(right.scores)) > 1 and not (_varies(left) or _varies(right)):
        # Seeds that all come to one value are no measure of noise, but of none at all.
        gap = second.answer.value - first.answer.value
        return Difference(*names, UNKNOWN, gap, reasons=("no seed made a difference",))
    if len(shared) > 1 and first.data_hash == second.data_hash:
        differences = [right.scores[key] - left.scores[key] for key in shared]
        gap = statistics.fmean(differences)
        error = math.sqrt(square_error(statistics.variance(differences), len(shared), left.folds))
        reach = student(len(shared) - 1) * error
        pairs = len(shared)
    else:
        gap, pairs = second.answer.value - first.answer.value, 0
        found = _reach(left, right)
        if found is None:
            return Difference(*names, UNKNOWN, gap)
        reach = found
    # The last bits of a mean are no difference.
    if abs(gap) <= reach + 1e-12 * abs(first.answer.value):
        verdict = NOISE
    else:
        verdict = BETTER if first.objective.better(gap, 0.0) else WORSE
    return Difference(*names, verdict, gap, (gap - reach, gap + reach), pairs)


def _apart(first: Contender, second: Contender) -> list[str]:
    """The reasons why two runs say nothing on each other."""
    found = []
    for name in ("metric", "goal", "at"):
        one, other = getattr(first.objective, name), getattr(second.objective, name)
        if one != other:
            words = {"metric": "the objective is", "goal": "the goal is", "at": "values count at"}
            found.append(f"{words[name]} {one} in one and {other} in the other")
    return found + data_apart(first, second)


def data_apart(first: Contender, second: Contender) -> list[str]:
    """The reasons why what two runs measured was not measured on the same samples."""
    found = []
    if bool(first.outside) != bool(second.outside):
        own, other = (first, second) if second.outside else (second, first)
        found.append(
            f"{own.name} was trained by lrsearch, {other.name} by {other.outside}, of whose "
            "data and metric nobody knows whether they are the same"
        )
    elif first.data_hash != second.data_hash:
        found.append("the data are not the same")
    elif first.split != second.split:
        keys = {*first.split, *second.split}
        names = [each for each in sorted(keys) if first.split.get(each) != second.split.get(each)]
        found.append(f"other samples are held out: data.{', data.'.join(names)}")
    return found


def find_doubts(first: Contender, second: Contender) -> list[str]:
    """The differences of two runs in code of the user's, by which their metrics may be of different
    things under one name."""
    found = []
    if first.outside and second.outside and first.outside != second.outside:
        found.append(f"{first.name} is {first.outside}, {second.name} is {second.outside}")
    both = first.sources.keys() & second.sources.keys()
    if changed := [name for name in sorted(both) if first.sources[name] != second.sources[name]]:
        found.append(f"{', '.join(changed)} changed in between")
    return found


def _reach(left: PointSummary, right: PointSummary) -> float | None:
    """The gap that noise may put between two means (95 %), None of one trial each."""
    counts = (len(left.scores), len(right.scores))
    if max(counts) < 2:
        return None
    square = 0.0
    for point, twin in ((left, right), (right, left)):
        spread = point.spread if _varies(point) else twin.spread
        if spread is None:
            return None
        square += square_error(spread**2, len(point.scores), point.folds)
    return student((min(counts) if min(counts) > 1 else max(counts)) - 1) * math.sqrt(square)


def _varies(point: PointSummary) -> bool:
    return len(set(point.scores.values())) > 1
