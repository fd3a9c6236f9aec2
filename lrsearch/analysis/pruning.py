"""Early stopping: which trainings end before their budget is used, as pure functions.

`find_standstill` looks at one training alone: whether it has made no progress at all. At a tenth of
the budget a training loss above 98 % of its start belonged to none of the best quarter of 1,080
published curves (DeepOBS, Schneider et al. 2019; `benchmarks/pruning.py`). All other rules compare
points at rungs, and are in `RULES`.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from lrsearch import divergence

NO_PROGRESS = "no_progress"
"""The name of the rule that looks at one training alone."""

SHARE = 0.1
"""Share of the budget after which a training is judged by its progress."""

FEWEST = 20
"""Steps after which it is judged, at least: in a few nothing can be learned, at any rate."""

RISEN = 0.05
"""Share of the budget for which the rate has stood at its highest by then, where it rises first."""

PROGRESS = 0.98
"""Share of its start that a loss must have come below."""

FLOOR = 0.9
"""Share of the loss of the best constant prediction that a start below it is near the floor: such
a training, as of pretrained weights, has little way to go."""

ROUNDED = 0.5
"""Steps by which an evaluation may come before a share of the budget, being rounded."""


def judging_step(evaluations: Sequence[int], rates: Sequence[float]) -> int:
    """The step of the evaluation at which a training is judged by its progress, 0 for never.

    `evaluations` are the steps after which it is evaluated, the last of which is its whole budget,
    `rates` the rate of every step. A training whose rate rises first, as in a warmup, has had its
    highest rate for a while by then.
    """
    budget = evaluations[-1]
    peak = max(rates, default=0.0)
    if not 0 < peak < math.inf:
        return 0
    risen = next(step for step, rate in enumerate(rates) if rate >= peak)
    least = max(SHARE * budget, risen + RISEN * budget if risen else 0.0, FEWEST) - ROUNDED
    return next((step for step in evaluations[:-1] if step >= least), 0)


@dataclass(frozen=True)
class Progress:
    """The losses of a training that is judged.

    `start` is the loss before the first step and `baseline` that of the best constant prediction,
    both measured as validation losses are; `first` is the training loss of the first batch as it
    was trained, augmented, say (nan where nobody knows); `training` is the mean training loss of
    the latest steps, measured like `first`; `validation` the latest validation loss; `lowest` the
    lowest of all losses so far.
    """

    start: float
    baseline: float
    first: float
    training: float
    validation: float
    lowest: float


def find_standstill(losses: Progress) -> str:
    """The reason to say that a training makes no progress, or "" where it does, or cannot be
    judged: where it began near the floor, or its loss can be negative. One that stands far above
    its scale is left to `divergence`: it may be on its way back, and if not it has diverged.

    Like is compared with like: training losses with the first one as trained (or with the start
    where that was higher), validation losses with the start. Progress in either is enough.
    """
    start, first = losses.start, losses.first
    if not math.isfinite(losses.training) or not math.isfinite(losses.validation):
        name = "validation" if math.isfinite(losses.training) else "training"
        value = losses.validation if name == "validation" else losses.training
        return f"the {name} loss is {value}"
    known = math.isfinite(start) and math.isfinite(losses.baseline)
    if not known or min(start, losses.lowest) < 0 or start < FLOOR * losses.baseline:
        return ""
    begun = max(start, first) if math.isfinite(first) else start
    if losses.training <= PROGRESS * begun or losses.validation <= PROGRESS * start:
        return ""
    if losses.training > divergence.FACTOR * divergence.find_scale(start, losses.baseline, 0.0):
        return ""
    return (
        f"the training loss is {losses.training:.4g} after a start of {begun:.4g}, and the "
        f"validation loss {losses.validation:.4g} after {start:.4g}"
    )


# points that are compared at rungs

RUNGS = (Fraction(1, 9), Fraction(1, 3))
"""The shares of the budget at which trainings are compared."""


def rung_steps(evaluations: Sequence[int]) -> tuple[tuple[int, int], ...]:
    """The rungs of a training, and the step of each: that of the first evaluation after so much of
    the budget, none where that is its end. Of two that fall on one evaluation the later counts."""
    budget = evaluations[-1]
    found: dict[int, int] = {}
    for rung, share in enumerate(RUNGS):
        step = next((each for each in evaluations if each >= share * budget - ROUNDED), budget)
        if step < budget:
            found[step] = rung
    return tuple((rung, step) for step, rung in found.items())


@dataclass(frozen=True)
class Reading:
    """The values of a point at a rung, one a seed and fold in a fixed order, turned so that less is
    better; `place` is its place in the order of the search's points, from 0."""

    place: int
    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        """The mean of the values; what is no number is as bad as can be."""
        mean = math.fsum(self.values) / len(self.values)
        return math.inf if math.isnan(mean) else mean


Judge = Callable[[Sequence[Reading], int, Mapping[str, Any]], frozenset[int]]


@dataclass(frozen=True)
class Rule:
    """A rule that compares points. `judge(readings, rung, settings)` names those, by their places,
    that stop; `readings` are of points that have reached the rung, in the order of their places.

    `together`: a population of points is compared when all of it has reached the rung. Otherwise
    each point is compared with those before it, and of the answer only the last of the readings
    counts. With `whole` the first point of a search goes to its end, whatever it is like. `phrase`
    says in words what is stopped.
    """

    judge: Judge
    phrase: str
    together: bool = False
    whole: bool = False


def _behind(readings: Sequence[Reading], keep: int) -> frozenset[int]:
    """The points that are worse than the `keep` best, of which there is one at least; equals stay
    together."""
    limit = max(sorted(each.mean for each in readings)[:keep], default=math.inf)
    return frozenset(each.place for each in readings if each.mean > limit)


def stop_quarter(
    readings: Sequence[Reading], rung: int, settings: Mapping[str, Any]
) -> frozenset[int]:
    """Stop the worst quarter of all that reached the rung."""
    return _behind(readings, len(readings) - len(readings) // 4)


def stop_half(
    readings: Sequence[Reading], rung: int, settings: Mapping[str, Any]
) -> frozenset[int]:
    """Stop all but the best of a population: half of it goes on after the first rung, a quarter
    after the second (Jamieson & Talwalkar 2016)."""
    return _behind(readings, -(-int(settings["population"]) // 2 ** (rung + 1)))


def _stop_last(readings: Sequence[Reading], better: float) -> frozenset[int]:
    """Stop the last point where more than so many of those before it are better."""
    *before, last = readings
    ahead = sum(each.mean < last.mean for each in before)
    return frozenset([last.place] if ahead > better else [])


def stop_percentile(
    readings: Sequence[Reading], rung: int, settings: Mapping[str, Any]
) -> frozenset[int]:
    """Stop the last point where it is not among the best `keep` of those before it, once there are
    `startup` of them (Optuna's PercentilePruner; a half is Vizier's median rule, Golovin et al.
    2017)."""
    before = len(readings) - 1
    if before < int(settings["startup"]):
        return frozenset()
    return _stop_last(readings, float(settings.get("keep", 0.5)) * before)


def stop_asha(
    readings: Sequence[Reading], rung: int, settings: Mapping[str, Any]
) -> frozenset[int]:
    """Stop the last point where it is not among the best 1/`factor` so far, itself counted (ASHA,
    Li et al. 2020, in its variant that stops)."""
    return _stop_last(readings, max(1, len(readings) // int(settings["factor"])) - 1)


BRACKETS = (0, 1, 0, 2, 0, 1, 0, 0, 2, 1, 0, 0, 1, 0, 2, 0, 1)
"""The bracket of each of 17 points in turn: 9, 5 and 3 of them begin at the first rung, at the
second, and at the end, as Hyperband's do with a factor of three."""


def stop_hyperband(
    readings: Sequence[Reading], rung: int, settings: Mapping[str, Any]
) -> frozenset[int]:
    """Stop as `stop_asha`, among the points of one bracket (Li et al. 2018): those of the second
    are not compared at the first rung, those of the third at none."""
    bracket = BRACKETS[readings[-1].place % len(BRACKETS)]
    if bracket > rung:
        return frozenset()
    own = [each for each in readings if BRACKETS[each.place % len(BRACKETS)] == bracket]
    return stop_asha(own, rung, settings)


def stop_wilcoxon(
    readings: Sequence[Reading], rung: int, settings: Mapping[str, Any]
) -> frozenset[int]:
    """Stop the last point where it is worse than the best before it, seed by seed and fold by fold,
    by Wilcoxon's signed-rank test at the level `p` (Optuna's WilcoxonPruner)."""
    *before, last = readings
    rivals = [each for each in before if len(each.values) == len(last.values)]
    if not rivals:
        return frozenset()
    best = min(rivals, key=lambda each: (each.mean, each.place))
    gaps = [own - other for own, other in zip(last.values, best.values, strict=True)]
    worse = last.mean > best.mean and signed_rank(gaps) <= float(settings["p"])
    return frozenset([last.place] if worse else [])


def signed_rank(gaps: Sequence[float]) -> float:
    """The probability that gaps symmetric around zero have ranks of positive ones that add to as
    much as those given (Wilcoxon 1945), exact, ties by their mean rank, zeros left out; 1 where a
    gap is no number."""
    if not all(map(math.isfinite, gaps)):
        return 1.0
    known = sorted(filter(None, gaps), key=abs)
    sizes = [abs(each) for each in known]
    # Twice the rank: means of tied ranks are halves.
    ranks = [bisect.bisect_left(sizes, each) + bisect.bisect_right(sizes, each) + 1
             for each in sizes]  # fmt: skip
    reached = sum(rank for rank, gap in zip(ranks, known, strict=True) if gap > 0)
    ways: dict[int, int] = {0: 1}
    for rank in ranks:
        further: dict[int, int] = {}
        for total, count in ways.items():
            for each in (total, total + rank):
                further[each] = further.get(each, 0) + count
        ways = further
    as_much = sum(count for total, count in ways.items() if total >= reached)
    return as_much / float(2 ** len(ranks))


RULES: Mapping[str, Rule] = {
    "quarter": Rule(stop_quarter, "among the worst quarter", together=True),
    "halving": Rule(stop_half, "not among the best half", together=True, whole=True),
    "median": Rule(stop_percentile, "worse than the median"),
    "percentile": Rule(stop_percentile, "not among the best share"),
    "asha": Rule(stop_asha, "not among the best share"),
    "hyperband": Rule(stop_hyperband, "not among the best share of its bracket"),
    "wilcoxon": Rule(stop_wilcoxon, "worse than the best, seed by seed"),
}
"""Rules that compare points, by their names in `prune`."""
