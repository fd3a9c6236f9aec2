"""The race of finalists over fresh seeds: who is trained further, and what the trainings say.

Every finalist meets the same seeds, each with a split of its own, so that differences are taken in
pairs, in which what a seed and its split do to all cancels. All decisions follow from complete
rounds, and so are the same in whatever order results come in. docs/answer.md has the rules.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from lrsearch.analysis.points import clip, find_ends
from lrsearch.analysis.tied import noise_of, sound, student, two_way
from lrsearch.trial import Objective

LEAST = 3
"""Seeds that every point is trained with before anything is decided: a mean of two has an interval
of nine deviations to each side."""

CLEAR = 0.015
"""The error by Student's t at which points are told apart. Differences of few trainings are skewed,
and far ones commoner than the normal distribution has them: set on two measured tables such that
two points that are equal in truth are told apart in less than 5 % of races."""

SPENT = 0.2
"""The share of `CLEAR` that the looks before the last may use, all together; the judgement at the
end has the rest."""

MISS = 0.03
"""The error by Student's t of the interval of a mean. Values over splits are skewed, and the winner
is the luckiest of several: set on two measured tables such that 95 % hold."""

OWN = 1 / 20
"""The share of the error at which two points are told apart by their own noise: that of few seeds
may be little by chance."""

Scores = Mapping[int, Mapping[int, float | None]]
"""The objective by point and by the place of the seed, 0 the first; None where a training came to
no value."""


@dataclass(frozen=True)
class Standing:
    """A point after the race. `mean` is over its `seeds` fresh seeds, None where one of them has no
    value; `interval` that of 95 % of its mean over fresh seeds and splits, None of a single one, or
    of several that are all the same.
    `better` is the probability of being better than the control, None of the control and of a
    single seed. `shrinkage` is by how much the search's value was too good: positive where the mean
    is worse, whatever the goal."""

    point: int
    mean: float | None
    interval: tuple[float, float] | None
    seeds: int
    better: float | None
    shrinkage: float | None = None


@dataclass(frozen=True)
class Verdict:
    """The points of a race: those that stayed in it, best mean first, then those that are out, the
    last to go first. `tied` are those that cannot be told from the first, without it. `seedless`
    says that no seed made a difference: each point has one value for all of its seeds, several;
    `steady` that it is the same for all points."""

    standings: tuple[Standing, ...]
    tied: tuple[int, ...]
    steady: bool = False
    seedless: bool = False

    @property
    def winner(self) -> int | None:
        """The point of the best mean among those that stayed, None where none has one."""
        first = self.standings[0] if self.standings else None
        return first.point if first is not None and first.mean is not None else None


@dataclass(frozen=True)
class _Stage:
    """The state of a race: the points still in it, the seeds that each of them has completed,
    those that are out, in that order, and the (point, seed) pairs that the next round lacks."""

    racing: tuple[int, ...]
    done: int
    out: tuple[int, ...]
    missing: tuple[tuple[int, int], ...]


def next_round(
    scores: Scores, order: Sequence[int], objective: Objective, *, seeds: int
) -> tuple[tuple[int, int], ...]:
    """The (point, place of the seed) pairs to train next, () when the race is over.

    `order` are the finalists, best first, the control among them; `seeds` is the most that a point
    gets. All are trained with `LEAST` seeds; then whoever is clearly worse than the best stops, and
    the next round's seeds go to the others, until they have `seeds` each or only one is left. A
    point that came to no value for a seed is out as well.
    """
    return _run(scores, order, objective, seeds).missing


def judge(
    scores: Scores,
    order: Sequence[int],
    objective: Objective,
    control: int | None = None,
    search_values: Mapping[int, float | None] | None = None,
) -> Verdict:
    """The judgement of all that was measured in complete rounds.

    Tied are those whose mean is no farther from the winner's than their noise allows (`_keep`), so
    that the point that is the best in truth is the winner or tied with it in 95 % of races. The
    interval is by Student's t. `better` is Student's distribution with n - 1 degrees of freedom at
    (mean difference) / (its standard error), the posterior probability under a flat prior; the
    error is that of the pairs, or that of all pairs together where it is larger.
    """
    sign = -1.0 if objective.goal == "max" else 1.0
    most = max((len(scores.get(point, {})) for point in order), default=0)
    stage = _run(scores, order, objective, most)
    racing = list(stage.racing)
    tied: list[int] = []
    if stage.done:
        known = {point: _first(scores[point], stage.done) or [] for point in racing}
        racing.sort(key=lambda point: sign * statistics.fmean(known[point]))
        tied = _keep(known, racing, sign, (1 - SPENT) * _level(len(order)))[1:]
    every = {point: [v for _, v in sorted(scores.get(point, {}).items())] for point in order}
    ends = find_ends(objective, [v for own in every.values() for v in own if v is not None])
    standings = []
    for point in (*racing, *reversed(stage.out)):
        own = every[point][: stage.done] if point in racing else every[point]
        mean, searched = _mean(own), (search_values or {}).get(point)
        standings.append(
            Standing(
                point=point,
                mean=mean,
                interval=_interval(own, ends),
                seeds=len(own),
                better=_better(scores, order, (point, control), sign),
                shrinkage=None if mean is None or searched is None else sign * (mean - searched),
            )
        )
    several = [set(own) for own in every.values() if len(own) > 1]
    alike = bool(several) and all(len(values) == 1 for values in several)
    return Verdict(
        tuple(standings),
        tuple(tied),
        steady=alike and len(set().union(*several)) == 1,
        seedless=alike,
    )


def repeats(scores: Scores) -> bool:
    """Whether every point has come to one value for all of its seeds, `LEAST` at least: a training
    that uses no seed would only repeat itself with further ones."""
    rows = [list(own.values()) for own in scores.values()]
    return bool(rows) and all(
        len(row) >= LEAST and len({*row}) == 1 and None not in row for row in rows
    )


def _rounds(seeds: int) -> Iterator[int]:
    """The number of seeds that a point has after each round: `LEAST`, then a third more each."""
    done = min(LEAST, seeds)
    while done < seeds:
        yield done
        done = min(seeds, done + max(1, done // 3))
    yield done


def _run(scores: Scores, order: Sequence[int], objective: Objective, seeds: int) -> _Stage:
    """Run the race again from its beginning, as far as the scores reach."""
    sign = -1.0 if objective.goal == "max" else 1.0
    racing, before = list(order), 0
    out: list[int] = []
    for look, done in enumerate(_rounds(seeds), start=1):
        missing = [(p, s) for s in range(done) for p in racing if s not in scores.get(p, {})]
        if missing:
            return _Stage(tuple(racing), before, tuple(out), tuple(missing))
        known = {p: own for p in racing if (own := _first(scores.get(p, {}), done)) is not None}
        out += [point for point in racing if point not in known]
        racing = [point for point in racing if point in known]
        before = done
        if done == seeds or done < LEAST:
            break
        ranked = sorted(racing, key=lambda point: sign * statistics.fmean(known[point]))
        kept = _keep(known, ranked, sign, SPENT * _level(len(order)) / 2**look)
        out += [point for point in reversed(ranked) if point not in kept]
        racing = [point for point in racing if point in kept]
        if len(racing) < 2:
            break
    return _Stage(tuple(racing), before, tuple(out), ())


def _level(count: int) -> float:
    """The error at which one of `count` points is told from the best: `CLEAR` shared among the
    others (Bonferroni). Only a point that looks better is told from the best in truth, which is one
    side of the two that `student` has; but of two equal points either may look worse."""
    return CLEAR * min(1.0, 2 / max(1, count - 1))


def _keep(
    values: Mapping[int, Sequence[float]], ranked: Sequence[int], sign: float, level: float
) -> list[int]:
    """The first of the `ranked` points and those that cannot be told from it, by the noise of all
    that are kept: the residuals of a two-way table of points and seeds; or, where the others are
    clearly noisier, by that of the two (`noise_of`), at an error of `OWN`. Worse points, which are
    noisier, go first; one that blew up for a seed is compared by its median, and its noise is
    nobody else's."""
    kept = list(ranked)
    while len(kept) > 1:
        first, whole = values[kept[0]], sound([values[point] for point in kept])
        noise = two_way([values[point] for point, each in zip(kept, whole, strict=True) if each])
        for point, each in zip(kept[:0:-1], whole[:0:-1], strict=True):
            own = values[point]
            worth = statistics.fmean(own) if each else statistics.median(own)
            reach = _reach((first, own) if each and whole[0] else None, noise, level, len(first))
            # The last bits of a mean are no difference.
            bits = 1e-12 * abs(statistics.fmean(first))
            if sign * (worth - statistics.fmean(first)) > reach + bits:
                kept.remove(point)
                break
        else:
            break
    return kept


def _reach(
    pair: Sequence[Sequence[float]] | None, noise: tuple[float, int], level: float, seeds: int
) -> float:
    """The distance that the means of two points may have by the noise of all, or of the `pair`."""
    if not noise[1]:
        return 0.0
    tests = [(noise, level)] + ([] if pair is None else [(noise_of(pair, noise), OWN * level)])
    return min(
        student(freedom, error) * math.sqrt(2 * variance / seeds)
        for (variance, freedom), error in tests
    )


def _first(scores: Mapping[int, float | None], count: int) -> list[float] | None:
    """The values of the first seeds, None where one is missing or has none."""
    found = [scores.get(place) for place in range(count)]
    values = [value for value in found if value is not None]
    return values if len(values) == count else None


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known and len(known) == len(values) else None


def _interval(
    values: Sequence[float | None], ends: tuple[float, float]
) -> tuple[float, float] | None:
    """The interval of 95 % of the mean, by Student's t; None where one value is missing, and of
    one, or of several that are all the same: these say nothing of others."""
    known = [value for value in values if value is not None]
    if len({*known}) < 2 or len(known) < len(values):
        return None
    mean = statistics.fmean(known)
    reach = student(len(known) - 1, MISS) * statistics.stdev(known) / math.sqrt(len(known))
    return clip(mean - reach, ends), clip(mean + reach, ends)


def _better(
    scores: Scores, order: Sequence[int], pair: tuple[int, int | None], sign: float
) -> float | None:
    """The probability that the first of a `pair` has the better mean, None where no seed makes a
    difference."""
    point, control = pair
    if control is None or point == control:
        return None
    count = min(len(scores.get(each, {})) for each in (point, control))
    own, other = (_first(scores.get(each, {}), count) for each in (point, control))
    if own is None or other is None or count < 2:
        return None
    gaps = [sign * (right - left) for left, right in zip(own, other, strict=True)]
    rows = [row for each in order if (row := _first(scores.get(each, {}), count)) is not None]
    rows = [row for row, each in zip(rows, sound(rows), strict=True) if each]
    variance = max(statistics.variance(gaps), 2 * two_way(rows)[0])
    mean = statistics.fmean(gaps)
    if variance == 0 and len({*own}) == 1:  # There is no noise to go by.
        return None
    if variance == 0:
        return 0.5 if mean == 0 else float(mean > 0)
    return student_share(mean * math.sqrt(len(gaps) / variance), len(gaps) - 1)


def student_share(value: float, freedom: int) -> float:
    """The share of Student's distribution below a value (Abramowitz & Stegun 1964, 26.7.3 and
    26.7.4)."""
    angle = math.atan2(value, math.sqrt(freedom))
    cosine = math.cos(angle)
    total, term = 0.0, 1.0 if freedom % 2 == 0 else cosine
    for step in range(freedom // 2):
        total += term
        k = 2 * step + 1 + freedom % 2
        term *= k / (k + 1) * cosine**2
    if freedom % 2 == 0:
        return 0.5 + 0.5 * math.sin(angle) * total
    return 0.5 + (angle + math.sin(angle) * total) / math.pi
