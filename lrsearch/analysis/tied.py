"""Ties: points that cannot be told from the best, on the trainings that there are."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence

from lrsearch.analysis.points import LARGEST, PointSummary, rank
from lrsearch.trial import Objective

ERROR = 0.05
"""The rate at which the point that is best in truth may be told from the best measured."""

POOLED = 8
"""The best points whose noise is taken together: worse ones are noisier."""

BLOWN = 10.0
"""The ratio to the usual spread of the best points, their median, from which on a point's is none
of noise: one of its trainings blew up."""


def ties(points: Iterable[PointSummary], objective: Objective) -> list[PointSummary]:
    """The points that cannot be told from the best (which is not among them), best first.

    A point ties when its mean differs from the best's by no more than t x s, where s is the
    standard error of the difference and t Student's two-sided quantile for `ERROR` divided by the
    number of points compared (Bonferroni), since the best is the luckiest of them:

    - both were measured with the same seeds (and folds): s comes from the differences pair by pair,
      since what a seed does to both cancels, taken together for the `POOLED` best points measured
      so (p points, n trials: the residuals of a two-way table, (p - 1)(n - 1) degrees of freedom);
      or less from those of the two alone, where the others are clearly noisier (`noise_of`), at
      half the error;
      a point that blew up for a seed (`BLOWN`) is not taken in, and compared by its median;
    - otherwise from both variances (Welch), with the smaller n - 1, which errs towards a tie; a
      point with a single trial is taken to vary as much as the other;
    - one trial each: only equal values tie.

    Folds share training data, so 1 / n becomes 1 / n + 1 / (folds - 1) (Nadeau & Bengio 2003,
    corrected resampled t test). It covers seeds and folds, not the choice of the validation
    samples.
    """
    return [point for point, *_ in _compare(points, objective)]


def close(points: Iterable[PointSummary], objective: Objective) -> list[PointSummary]:
    """The points that tie with the best and have a mean within one standard error of its, best
    first (Breiman et al. 1984, section 3.4.3). Of points of the same seeds that is also the error
    of the two points' own differences: others may be noisier."""
    ranked = rank(points, objective)
    found = []
    for point, gap, reach, error in _compare(ranked, objective):
        first = ranked[0].scores
        if len(first) > 1 and first.keys() == point.scores.keys():
            variance = statistics.variance([first[key] - point.scores[key] for key in first])
            own = math.sqrt(square_error(variance, len(first), point.folds))
            error = min(error, own)
        if gap <= min(reach, error):
            found.append(point)
    return found


def _compare(
    points: Iterable[PointSummary], objective: Objective
) -> list[tuple[PointSummary, float, float, float]]:
    """The points that tie with the best: how far each mean is from the best's, how far it may be in
    a tie, and the standard error of the difference."""
    ranked = [point for point in rank(points, objective) if point.objective is not None]
    if len(ranked) < 2:
        return []
    first, *others = ranked
    noise, blown, pooled = None, set[int](), set[int]()
    if len(first.scores) > 1:
        alike = [point for point in ranked if point.scores.keys() == first.scores.keys()]
        noise = pool_noise(alike[:POOLED])
        whole = {point.point for point in without_blown(alike)}
        blown = {point.point for point in alike} - whole
        pooled = {point.point for point in alike[:POOLED]} & whole
    assert first.objective is not None
    sign = 1.0 if objective.goal == "min" else -1.0
    bits = 1e-12 * abs(first.objective)  # The last ones of a mean are no difference.
    found = []
    alone = len(first.scores) == 1
    for point in others:
        assert point.objective is not None
        gap = abs(first.objective - point.objective)
        if alone and gap > bits and len(point.scores) == 1:
            continue  # One trial each: see `ties`.
        share = ERROR / len(others)
        freedom, error = _error(first, point, noise)
        reach = student(freedom, share) * error if freedom else 0.0
        if noise is not None and point.point in pooled:
            pair = [[each.scores[key] for key in first.scores] for each in (first, point)]
            freedom, own = _error(first, point, noise_of(pair, noise))
            # Half of the error: noise that is little by chance tells points apart.
            if own < error and student(freedom, share / 2) * own < reach:
                reach, error = student(freedom, share / 2) * own, own
        if point.point in blown:
            middle = statistics.median(point.scores.values())
            gap = max(0.0, sign * (middle - first.objective))
        if gap <= reach + bits:
            found.append((point, gap, reach + bits, error + bits))
    return found


def _error(
    first: PointSummary, other: PointSummary, noise: tuple[float, int] | None
) -> tuple[int, float]:
    """The degrees of freedom (0 where there is one trial each) and the standard error of the
    difference of two means."""
    counts = (len(first.scores), len(other.scores))
    if counts == (1, 1):
        return 0, 0.0
    if noise is not None and first.scores.keys() == other.scores.keys():
        variance, freedom = noise
        return freedom, math.sqrt(square_error(2 * variance, len(first.scores), first.folds))
    square = 0.0
    for point, twin in ((first, other), (other, first)):
        spread = point.spread if point.spread is not None else twin.spread
        assert spread is not None
        square += square_error(spread**2, len(point.scores), point.folds)
    return (min(counts) if min(counts) > 1 else max(counts)) - 1, math.sqrt(square)


def pool_noise(points: Sequence[PointSummary]) -> tuple[float, int] | None:
    """The variance of one trial and its degrees of freedom (see `two_way`), None of a single
    point; without points that blew up for a seed."""
    points = without_blown(points)
    if len(points) < 2:
        return None
    keys = list(points[0].scores)
    return two_way([[point.scores[key] for key in keys] for point in points])


def without_blown(points: Sequence[PointSummary]) -> list[PointSummary]:
    """The points, best first, without those that blew up for a seed (`sound`)."""
    rows = [list(point.scores.values()) for point in points]
    return [point for point, kept in zip(points, sound(rows), strict=True) if kept]


def sound(rows: Sequence[Sequence[float]]) -> list[bool]:
    """Whether the spread of each row of values, best row first, is no more than `BLOWN` times the
    usual one; of all rows where the best one's is. Of two rows the wider is the usual one: few
    values that happen to be nearly equal make a blow-up of none."""
    spreads = [_spread(row) for row in rows]
    usual = statistics.median_high(spreads[:POOLED]) if spreads else 0.0
    if not usual or spreads[0] > BLOWN * usual:
        return [True] * len(rows)
    return [spread <= BLOWN * usual for spread in spreads]


def _spread(row: Sequence[float]) -> float:
    """The standard deviation of a row of values, 0 of a single one. That of `statistics` takes
    fifty times as long, which thousands of points are many times over."""
    if min(row) == max(row):
        return 0.0
    try:
        mean = statistics.fmean(row)
    except OverflowError:
        return statistics.stdev(row)
    return math.dist(row, [mean] * len(row)) / math.sqrt(len(row) - 1)


def two_way(rows: Sequence[Sequence[float]]) -> tuple[float, int]:
    """The variance of one trial, what its point and its seed do taken out, and its degrees of
    freedom: the residuals of a two-way table, [points, seeds]. (0, 0) of a single row or column."""
    columns = [statistics.fmean(column) for column in zip(*rows, strict=True)]
    freedom = (len(rows) - 1) * (len(columns) - 1)
    if freedom < 1:
        return 0.0, 0
    whole = statistics.fmean(columns)
    squares = math.fsum(
        (value - statistics.fmean(row) - column + whole) ** 2
        for row in rows
        for value, column in zip(row, columns, strict=True)
    )
    return squares / freedom, freedom


def noise_of(pair: Sequence[Sequence[float]], noise: tuple[float, int]) -> tuple[float, int]:
    """The variance of one trial, with its degrees of freedom, that the difference of two rows of a
    two-way table is held against: the `noise` of the table, or theirs alone where what the others
    leave of it is clearly more. Differences that are all the same say nothing: counted metrics come
    to them by chance."""
    variance, freedom = noise
    gaps = [one - two for one, two in zip(*pair, strict=True)]
    own, count = statistics.variance(gaps) / 2, len(gaps) - 1
    left, bits = freedom - count, 1e-12 * max(map(abs, pair[0]))
    if left < 1 or own <= bits**2:
        return noise
    others = (variance * freedom - own * count) / left
    # Of so few trainings the quantile of the ratio of two variances is hardly less than t squared.
    return (own, count) if others > student(count) ** 2 * own else noise


def square_error(variance: float, count: int, folds: int) -> float:
    """The squared standard error of a mean of `count` trainings of this variance."""
    return variance * (1 / count + (1 / (folds - 1) if folds > 1 else 0.0))


def mean_interval(
    point: PointSummary, noise: tuple[float, int] | None = None
) -> tuple[float, float] | None:
    """The interval of 95 % of a point's mean over its seeds and folds, by its own spread, or a
    variance of one trial with its degrees of freedom. None of a single trial, of
    trials that all came to one value, and of values beyond what is reckoned with."""
    if point.objective is None or point.spread is None or abs(point.objective) >= LARGEST:
        return None
    count = len(point.scores)
    variance, freedom = noise or (point.spread**2, count - 1)
    if not variance:  # That they made no difference makes nothing certain.
        return None
    reach = student(freedom) * math.sqrt(square_error(variance, count, point.folds))
    return point.objective - reach, point.objective + reach


def student(freedom: int, error: float = ERROR) -> float:
    """Student's quantile that is exceeded, to both sides together, as often as `error` says (Hill
    1970, algorithm 396 of the ACM)."""
    if freedom == 1:
        return 1 / math.tan(error * math.pi / 2)
    if freedom == 2:
        return math.sqrt(2 / (error * (2 - error)) - 2)
    a = 1 / (freedom - 0.5)
    b = 48 / a**2
    c = ((20700 * a / b - 98) * a - 16) * a + 96.36
    d = ((94.5 / (b + c) - 3) / b + 1) * math.sqrt(a * math.pi / 2) * freedom
    y = (d * error) ** (2 / freedom)
    if y > 0.05 + a:
        x = statistics.NormalDist().inv_cdf(error / 2)
        y = x**2
        if freedom < 5:
            c += 0.3 * (freedom - 4.5) * (x + 0.6)
        c = (((0.05 * d * x - 5) * x - 7) * x - 2) * x + b + c
        y = (((((0.4 * y + 6.3) * y + 36) * y + 94.5) / c - y - 3) / b + 1) * x
        y = math.expm1(a * y**2)
    else:
        inner = ((freedom + 6) / (freedom * y) - 0.089 * d - 0.822) * (freedom + 2) * 3
        y = ((1 / inner + 0.5 / (freedom + 4)) * y - 1) * (freedom + 1) / (freedom + 2) + 1 / y
    return math.sqrt(freedom * y)
