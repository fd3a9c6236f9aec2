"""A Gaussian process (Rasmussen & Williams 2006) with expected improvement (Jones et al. 1998).

- Values count from the best in units of (median - best), so that a scale or an offset of the
  objective changes nothing; what is more than `SQUEEZED` units worse is squeezed by a logarithm.
- The covariance is Matern 5/2 of the scaled distance over the features. Lengths and noise have
  log-normal priors and are those of the largest posterior density, by its gradient.
- A point that waits for its value stands in by `FANTASIES` draws of it, over which improvement is
  averaged (Snoek et al. 2012): later points of a generation know that it may turn out either way.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import lapack
from scipy.optimize import minimize
from scipy.special import ndtr, ndtri

from lrsearch.search.features import Array
from lrsearch.search.strategy import Partial

SQUEEZED = 2.0
"""Units above which a value is squeezed by a logarithm."""

WORST = 5.0
"""Units, after that, which no value goes beyond: all that is as bad teaches the same."""

WORSE = 0.25
"""Units that a training without a value is worse than the worst with one."""

ROUNDING = 1e-14
"""Differences of values below this part of them are no differences."""

ALIKE = 1.5
"""The factor within which two shares of a budget are one: evaluations do not come at the same."""

LARGEST = 8e307
"""The largest value that is told from larger ones, so that no difference overflows."""

FARTHEST = 1e9
"""The same of replicates, in units."""

SPREAD = 0.7
"""Deviation of a length's logarithm."""

NOISE = (0.001, 1.5)
"""Median of the noise's variance, in units of the signal's, and deviation of its logarithm."""

KNOWN_NOISE = 0.5
"""Deviation of the logarithm of a noise that replicates tell."""

LEAST_NOISE = 1e-6
MOST_NOISE = 10.0
"""The least and the most of the noise's variance, in units of the signal's."""

PULL = 4.0
"""Points' worth of belief in a variance of one."""

SHRINK = 1.0
"""Points' worth of belief that the constant mean is the mean of the values."""

ITERATIONS = 30
WITHIN = 3.5
"""The climb to the likeliest lengths: its most steps, and deviations of the priors it stays in."""

FANTASIES = 16
"""Draws of a value that is waited for."""


# values


def unit_of(values: Array) -> float:
    """The unit of values: how much worse the median is than the best; where those two are one but
    for rounding, the third quartile or the worst."""
    finite = np.clip(values[np.isfinite(values)], -LARGEST, LARGEST)
    if not len(finite):
        return 1.0
    best = float(finite.min())
    for other in np.quantile(finite, (0.5, 0.75, 1.0)):
        if other - best > ROUNDING * max(abs(best), abs(other)):
            return float(other) - best
    return 1.0


def measured_noise(replicates: list[tuple[float, ...]], unit: float = 1.0) -> float | None:
    """The variance of a point's mean that its replicates tell, in squares of `unit`, None where
    they do not.

    Points share seeds and folds, so that a seed which is better at every point is no noise: the
    variance is that of the residuals of rows and columns (two-way analysis without interaction).
    It is the median over points, since points that train badly vary more than those that matter.
    """
    counts = [len(each) for each in replicates if len(each) > 1]
    if not counts:
        return None
    many = max(set(counts), key=lambda count: (counts.count(count), count))
    rows = np.asarray([each for each in replicates if len(each) == many])
    if len(rows) < 3:
        return None
    with np.errstate(over="ignore"):
        rows = np.clip(rows / unit, -FARTHEST, FARTHEST)
    residuals = rows - rows.mean(1, keepdims=True)
    residuals -= np.median(residuals, axis=0)
    variances = np.square(residuals).sum(1) / (many - 1) / many
    return float(np.median(variances))


def foresee(values: Array, partial: Sequence[Partial]) -> Array:
    """Values, low being good, of which those of stopped trainings, NaN, are what is to be expected.

    `partial` has what each was worth at shares of its budget. A stopped training is as far from the
    completed one that was the nearest to it where it was stopped as the two were apart there, and
    no better than the best. NaN stays where no completed one was seen there.
    """
    finite = np.isfinite(values)
    seen = [
        (share, worth, values[place])
        for place in map(int, np.flatnonzero(finite))
        for share, worth in partial[place]
        if math.isfinite(worth)
    ]
    found = values.copy()
    if not seen:
        return found
    shares, worths, ends = np.clip(np.asarray(seen).T, -LARGEST, LARGEST)
    for place in map(int, np.flatnonzero(np.isnan(values))):
        share, worth = max(partial[place], default=(0.0, math.nan))
        if not math.isfinite(worth) or share <= 0:
            continue
        alike = np.maximum(shares / share, share / shares) <= ALIKE
        if alike.any():
            worth = min(max(worth, -LARGEST), LARGEST)
            apart = worth - worths[alike]
            nearest = int(np.argmin(np.abs(apart)))
            with np.errstate(over="ignore"):
                end = min(ends[alike][nearest] + apart[nearest], LARGEST)
            found[place] = max(end, float(values[finite].min()))
    return found


def standardize(values: Array) -> Array:
    """Values from the best in units of (median - best), low being good; large ones squeezed,
    infinite ones a little worse than the worst, NaN as the worst."""
    known = np.isfinite(values)
    if not known.any():
        return np.ones(len(values))
    found = np.zeros(len(values))
    finite = np.clip(values[known], -LARGEST, LARGEST)
    with np.errstate(over="ignore"):
        found[known] = (finite - finite.min()) / unit_of(values)
    large = found > SQUEEZED
    found[large] = np.minimum(SQUEEZED + np.log1p(found[large] - SQUEEZED), WORST)
    worst = max(float(found[known].max()), 1.0)
    found[np.isnan(values)] = worst
    found[np.isinf(values)] = worst + WORSE
    return found


# the model


def covariance(left: Array, right: Array, lengths: Array) -> Array:
    """Matern 5/2 between two sets of points, [left, right]."""
    one, two = left / lengths, right / lengths
    squares = one @ (-2.0 * two.T)
    squares += np.square(one).sum(-1)[:, None]
    squares += np.square(two).sum(-1)
    return _matern(squares)


def _matern(squares: Array) -> Array:
    """Matern 5/2 at squared distances, which are overwritten."""
    distance = np.maximum(squares, 0.0, out=squares)
    distance *= 5.0
    np.sqrt(distance, out=distance)
    found: Array = np.exp(-distance)
    distance *= 1.0 + distance / 3.0
    distance += 1.0
    found *= distance
    return found


@dataclass(frozen=True)
class Process:
    """A fit to points: lengths [columns], the noise's variance in units of the signal's, the
    signal's variance, the constant mean, the inverse of the covariance's lower triangular factor
    [points, points]; the values [draws, points], which differ at points that wait for theirs alone,
    and the inverse covariance times what they are above the mean."""

    features: Array
    values: Array
    lengths: Array
    noise: float
    variance: float
    mean: float
    triangle: Array
    solved: Array

    def predict(self, features: Array) -> tuple[Array, Array]:
        """Mean [draws, points] and deviation [points] of the value without noise at points."""
        between = covariance(features, self.features, self.lengths)
        mean: Array = self.mean + self.solved @ between.T
        explained = np.square(between @ self.triangle.T).sum(-1)
        return mean, np.sqrt(self.variance * np.maximum(1.0 - explained, 1e-12))

    def improvement(self, features: Array) -> Array:
        """The expected improvement at points, [points], over the least mean at a point measured or
        waiting, averaged over the draws."""
        mean, deviation = self.predict(features)
        least = (self.values - self.noise * self.solved).min(axis=1)
        ratio = (least[:, None] - mean) / deviation
        density = np.exp(-0.5 * ratio * ratio) / math.sqrt(2.0 * math.pi)
        return np.asarray((deviation * (ratio * ndtr(ratio) + density)).mean(axis=0))

    def await_value(self, features: Array, generator: np.random.Generator) -> Process:
        """The model with one more point, [1, columns], that waits for its value: drawn once for
        each draw of those before it. What was learnt of lengths, noise and variance stays."""
        mean, deviation = self.predict(features)
        places = (generator.permutation(FANTASIES) + generator.random(FANTASIES)) / FANTASIES
        drawn = mean[:, 0] + deviation[0] * ndtri(np.clip(places, 1e-9, 1.0 - 1e-9))
        before = np.broadcast_to(self.values, (FANTASIES, self.values.shape[1]))
        row = self.triangle @ covariance(features, self.features, self.lengths)[0]
        last = math.sqrt(max(1.0 + self.noise - float(row @ row), LEAST_NOISE))
        many = len(self.features)
        triangle = np.zeros((many + 1, many + 1))
        triangle[:many, :many] = self.triangle
        triangle[many, :many] = -(row @ self.triangle) / last
        triangle[many, many] = 1.0 / last
        values = np.hstack([before, drawn[:, None]])
        return replace(
            self,
            features=np.vstack([self.features, features]),
            values=values,
            triangle=triangle,
            solved=(values - self.mean) @ triangle.T @ triangle,
        )


@dataclass(frozen=True)
class _Solved:
    """The process at some lengths and noise: the lower factor of the covariance, its inverse times
    the values above the mean, that mean, and the sum of squares that tells the variance."""

    factor: Array
    solved: Array
    mean: float
    squares: float


def _solve(correlation: Array, values: Array) -> _Solved | None:
    """The likeliest mean and variance at a correlation of points; None where that has no factor."""
    factor, failed = lapack.dpotrf(correlation, lower=1, clean=1)
    if failed or not np.isfinite(factor).all():
        return None
    sides, _ = lapack.dpotrs(factor, np.stack([np.ones(len(values)), values], axis=1), lower=1)
    rest = float(values.mean())
    mean = (float(sides[:, 1].sum()) + SHRINK * rest) / (float(sides[:, 0].sum()) + SHRINK)
    solved = sides[:, 1] - mean * sides[:, 0]
    squares = float((values - mean) @ solved) + SHRINK * (mean - rest) ** 2
    return _Solved(factor, solved, mean, max(squares, 0.0))


class _Posterior:
    """The posterior density of lengths and noise, by their deviations from their priors' medians:
    one number a length, and the noise's last. `groups` has the place of each column's length."""

    def __init__(
        self,
        features: Array,
        values: Array,
        lengths: Array,
        groups: NDArray[np.intp],
        noise: float | None,
    ) -> None:
        self.values = values
        self.lengths = lengths
        self.noise = NOISE if noise is None else (min(noise, MOST_NOISE), KNOWN_NOISE)
        many = len(features)
        self.apart = np.zeros((len(lengths), many * many))
        for column, group in enumerate(groups):
            one = features[:, column]
            self.apart[group] += np.square(one[:, None] - one[None, :]).ravel()

    def at(self, place: Array) -> tuple[Array, float]:
        """Lengths and noise at a place."""
        median, deviation = self.noise
        noise = LEAST_NOISE + median * math.exp(deviation * float(place[-1]))
        return self.lengths * np.exp(SPREAD * place[:-1]), noise

    def descend(self, place: Array) -> tuple[float, Array]:
        """Minus the density's logarithm, but for a constant, and its gradient."""
        lengths, noise = self.at(place)
        many = len(self.values)
        scales = 1.0 / np.square(lengths)
        distance = np.sqrt(5.0 * (scales @ self.apart))
        decay = np.exp(-distance)
        correlation = (decay * (1.0 + distance + distance * distance / 3.0)).reshape(many, many)
        correlation[np.diag_indices(many)] = 1.0 + noise
        found = _solve(correlation, self.values)
        if found is None:
            return 1e10, np.zeros_like(place)
        freedom = many + PULL
        likelihood = -0.5 * freedom * math.log(found.squares + PULL)
        likelihood -= float(np.log(np.diagonal(found.factor)).sum())
        inverse, _ = lapack.dpotri(found.factor, lower=1)
        inverse = inverse + np.tril(inverse, -1).T
        slope = np.outer(found.solved, found.solved) * (freedom / (found.squares + PULL)) - inverse
        slope *= 0.5
        gradient = np.empty_like(place)
        by_square = slope.ravel() * decay * (1.0 + distance) * (5.0 / 3.0)
        gradient[:-1] = SPREAD * scales * (self.apart @ by_square)
        gradient[-1] = self.noise[1] * (noise - LEAST_NOISE) * float(np.trace(slope))
        return 0.5 * float(place @ place) - likelihood, place - gradient


def learn(
    features: Array,
    values: Array,
    lengths: Array,
    groups: NDArray[np.intp],
    noise: float | None = None,
) -> tuple[Array, float]:
    """The likeliest lengths, one a column, and noise of points. `lengths` are the medians of the
    lengths' priors, `groups` the place of each column's among them, `noise` is the variance of
    values that was measured, in their units."""
    posterior = _Posterior(features, values, lengths, groups, noise)
    begin = np.zeros(len(lengths) + 1)
    found = minimize(
        posterior.descend,
        begin,
        jac=True,
        method="L-BFGS-B",
        bounds=[(-WITHIN, WITHIN)] * len(begin),
        options={"maxiter": ITERATIONS},
    )
    better = np.isfinite(found.x).all() and found.fun <= posterior.descend(begin)[0]
    learnt, level = posterior.at(found.x if better else begin)
    return learnt[groups], level


def fit(features: Array, values: Array, lengths: Array, noise: float) -> Process:
    """The model of points at lengths and a noise, which is raised where the points' covariance
    could not be solved without."""
    found = None
    while found is None:
        correlation = covariance(features, features, lengths)
        correlation[np.diag_indices(len(features))] = 1.0 + noise
        found = _solve(correlation, values)
        noise *= 1.0 if found else 10.0
    triangle, _ = lapack.dtrtri(found.factor, lower=1)
    variance = (found.squares + PULL) / (len(values) + PULL)
    return Process(
        features,
        values[None],
        lengths,
        noise,
        variance,
        found.mean,
        np.ascontiguousarray(triangle),
        found.solved[None],
    )


def spread_out(features: Array, values: Array, most: int) -> list[int]:
    """The places of at most `most` points that tell most of all, in rising order: the best half,
    and of the others one after another that is farthest from all that were taken."""
    if len(values) <= most:
        return list(range(len(values)))
    order = np.argsort(values, kind="stable")
    taken = [int(place) for place in order[: most - most // 2]]
    nearest = np.full(len(values), np.inf)
    for place in taken:
        nearest = np.minimum(nearest, np.square(features - features[place]).sum(1))
    while len(taken) < most:
        nearest[taken] = -1.0
        taken.append(int(np.argmax(nearest)))
        nearest = np.minimum(nearest, np.square(features - features[taken[-1]]).sum(1))
    return sorted(taken)
