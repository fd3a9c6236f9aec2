"""A Gaussian process (Rasmussen & Williams 2006) with expected improvement (Jones et al. 1998).

- Values count from the best in units of (median - best), so that a scale or an offset of the
  objective changes nothing; what is more than `SQUEEZED` units worse is squeezed by a logarithm.
- The covariance is Matern 5/2 of the scaled distance over the features. Lengths, noise and
  variance have priors; `DRAWS` draws from them are weighed by their marginal likelihood, and the
  best `KEPT` of them predict together: self-normalized importance sampling, in place of one best
  fit that a few points cannot support.
- Within a generation a proposed point stands in with its predicted mean (kriging believer,
  Ginsbourger et al. 2010): later ones keep away from it without a lie about its value.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from lrsearch.search.features import Array, Features
from lrsearch.search.start import Start
from lrsearch.search.strategy import Repeats, Request, derive_seed, point_key
from lrsearch.space import build, encode, every_point, size
from lrsearch.spec.model import Spec
from lrsearch.trial import Outcome, Point

DRAWS = 128
KEPT = 8
MANY = 40
"""Points from which on fewer draws are made: their cost grows with its cube."""

MOST = 256
"""The most points that a model is fitted to: the best half and the latest half of more."""

SQUEEZED = 2.0
"""Units above which a value is squeezed by a logarithm."""

WORSE = 0.25
"""Units that a training without a value is worse than the worst with one."""

SPREAD = 0.7
"""Deviation of a length's logarithm."""

NOISE = (0.02, 1.2)
"""Median of the noise's variance, of the signal's, and deviation of its logarithm."""

KNOWN_NOISE = 0.5
"""Deviation of the logarithm of a noise that replicates tell."""

LEAST_NOISE = 1e-6

PULL = 4.0
"""Points' worth of belief in a variance of one."""

SHRINK = 1.0
"""Points' worth of belief that the constant mean is the mean of the values."""

SOBOL = 256
BEST = 3
FAR = (0.15, 0.05, 0.02)
NEAR = (0.05, 0.02)
EACH = 24
"""Candidates: so many of a Sobol sequence; around each of the best points so many at each of the
deviations `FAR`, as shares of the range; around each of the best candidates at `NEAR`."""

JUMP = 0.2
"""The part of the candidates around a point that have any option of a choice."""

NEAREST = 0.02
"""The share of a range within which, in all parameters, two points are one: the second is not
proposed while there are others."""

FINITE = 2000
"""The most points of a finite space that are all looked at."""


@dataclass(frozen=True)
class _Told:
    """A point's raw numbers; its value, low being good, infinite where it diverged, NaN where it
    was stopped; and what its value is the mean of, one a seed and fold."""

    numbers: tuple[float, ...]
    value: float
    replicates: tuple[float, ...] = ()


@dataclass(frozen=True)
class _Model:
    """Fits to the same points: lengths [fits, columns], and by fit the noise's variance in units of
    the signal's, the signal's variance, the constant mean, the inverse covariance of the points,
    that times their values above the mean, and the fit's weight."""

    features: Array
    values: Array
    lengths: Array
    noises: Array
    variances: Array
    means: Array
    inverses: Array
    solved: Array
    weights: Array

    def predict(self, features: Array) -> tuple[Array, Array]:
        """Mean and deviation of the value without noise at points, each [fits, points]."""
        between = covariance(features, self.features, self.lengths)
        mean = self.means[:, None] + (between @ self.solved[:, :, None])[:, :, 0]
        explained = (between @ self.inverses * between).sum(-1)
        variance = self.variances[:, None] * np.maximum(1.0 - explained, 1e-12)
        return mean, np.sqrt(variance)

    def mean(self, features: Array) -> float:
        """The mean over all fits at one point, [1, columns]."""
        between = covariance(features, self.features, self.lengths)[:, 0]
        return float(self.weights @ (self.means + (between * self.solved).sum(-1)))

    def improvement(self, features: Array) -> Array:
        """The expected improvement at points, [points], over the least mean at a point measured or
        waiting."""
        from scipy.special import ndtr

        mean, deviation = self.predict(features)
        least = (self.values - self.noises[:, None] * self.solved).min(axis=1)
        ratio = (least[:, None] - mean) / deviation
        density = np.exp(-0.5 * ratio * ratio) / math.sqrt(2.0 * math.pi)
        return np.asarray(self.weights @ (deviation * (ratio * ndtr(ratio) + density)))

    def believe(self, features: Array) -> _Model:
        """The model with one more point, [1, columns], at its predicted mean. What was learnt of
        lengths, noise and variance stays."""
        points = np.vstack([self.features, features])
        values = np.append(self.values, self.mean(features))
        inverses: Array = np.linalg.inv(correlation(points, self.lengths, self.noises)).astype(
            np.float64
        )
        above = values - self.means[:, None]
        solved = (inverses @ above[:, :, None])[:, :, 0]
        return replace(self, features=points, values=values, inverses=inverses, solved=solved)


class GaussianProcess:
    """Proposes generations by a Gaussian process, after `startup` points of `start`. Each proposal
    has a seed of its own, so that a resumed search goes on as one never stopped."""

    name = "bayes"
    waits = True

    def __init__(self, spec: Spec, goal: str, start: Start) -> None:
        self.space = spec.space
        self.seed = spec.seed
        self.sign = -1.0 if goal == "max" else 1.0
        self.startup = spec.bayes.startup
        self.generation = spec.bayes.generation
        self.start = start
        self._features = Features(spec.space)
        self._told: dict[str, _Told] = {}
        self._asked: list[tuple[float, ...]] = []
        self._repeats = Repeats(spec.space, spec.seed, self.name)
        self._all: Array | None = None

    def tell(
        self,
        point: Point,
        outcome: Outcome,
        value: float | None,
        replicates: tuple[float, ...] = (),
    ) -> None:
        """Learn a point's value: of one that diverged or ran out of memory that it is worse than
        all, of one that was pruned that it is as bad as the worst; of a failed one nothing."""
        key = point_key(point)
        encoded = encode(self.space, point)
        if outcome is Outcome.FAILED or key in self._told or encoded is None:
            return
        number = math.nan if outcome is Outcome.PRUNED else math.inf
        if outcome is Outcome.COMPLETED and value is not None and math.isfinite(value):
            number = self.sign * value
        numbers = tuple(self._features.numbers(encoded))
        self._told[key] = _Told(numbers, number, replicates if math.isfinite(number) else ())

    def propose(self, request: Request) -> list[dict[str, Any]]:
        """Propose the next generation; every earlier proposal must have been told. One that the
        start begins ends with it: the model has something to learn from before it proposes."""
        from threadpoolctl import threadpool_limits

        self._asked = []
        left = self.startup - len(self._told)
        count = min(self.generation, left) if left > 0 else self.generation
        # Threads would spend more than they save on matrices of this size, and sum in other orders.
        with threadpool_limits(1, "blas"):
            return self._repeats.fill(request, count, self._ask)

    def _ask(self, index: int) -> dict[str, Any]:
        if len(self._told) < self.startup:
            point = self.start.point(index)
            encoded = encode(self.space, point) or {}
            self._asked.append(tuple(self._features.numbers(encoded)))
            return point
        row = self._choose(np.random.default_rng(derive_seed(self.seed, "bayes/gp", index)))
        numbers = dict(zip(self._features.names, map(float, row), strict=True))
        point = build(self.space, lambda name, _: numbers[name])
        self._asked.append(tuple(self._features.numbers(encode(self.space, point) or numbers)))
        return point

    def _choose(self, generator: np.random.Generator) -> Array:
        """The raw numbers of the point with the largest expected improvement."""
        told = _most_telling(list(self._told.values()))
        raw = np.asarray([each.numbers for each in told])
        plain = np.asarray([each.value for each in told])
        values = standardize(plain)
        noise = measured_noise([each.replicates for each in told])
        if noise is not None:
            noise /= unit_of(plain) ** 2
        features = self._features.matrix(raw)
        model = fit(features, values, self._features.lengths, generator, noise)
        if self._asked:
            waiting = self._features.matrix(np.asarray(self._asked))
            for place in range(len(waiting)):
                model = model.believe(waiting[place : place + 1])
        known = np.vstack([raw, np.asarray(self._asked).reshape(-1, raw.shape[1])])

        def gains(candidates: Array) -> Array:
            gain = model.improvement(self._features.matrix(candidates))
            # A point beside a known one teaches less than the noise lets the model hope.
            return np.where(self._features.apart(candidates, known) < NEAREST, gain - 1e9, gain)

        every = self._every()
        if len(every):
            return np.asarray(every[int(np.argmax(gains(every)))])
        candidates = np.vstack(
            [
                self._cover(generator),
                self._around(raw[np.argsort(values, kind="stable")[:BEST]], FAR, generator),
            ]
        )
        gain = gains(candidates)
        near = self._around(candidates[np.argsort(-gain, kind="stable")[:BEST]], NEAR, generator)
        candidates, gain = np.vstack([candidates, near]), np.append(gain, gains(near))
        return np.asarray(candidates[int(np.argmax(gain))])

    def _every(self) -> Array:
        """The raw numbers of all points of a small space, none of a large one."""
        if self._all is None:
            total = size(self.space)
            self._all = np.empty((0, len(self._features.names)))
            if total is not None and total <= FINITE:
                each = (encode(self.space, point) or {} for point in every_point(self.space))
                self._all = np.asarray([self._features.numbers(one) for one in each])
        return self._all

    def _cover(self, generator: np.random.Generator) -> Array:
        """Raw numbers of points all over the space."""
        from scipy.stats import qmc

        sobol = qmc.Sobol(len(self._features.names), scramble=True, rng=generator)
        return self._features.raw(sobol.random(SOBOL))

    def _around(
        self, centers: Array, deviations: tuple[float, ...], generator: np.random.Generator
    ) -> Array:
        """Raw numbers of points around others: some or all of their parameters moved, a choice to
        any of its options."""
        shares = np.repeat(self._features.shares(centers), EACH * len(deviations), axis=0)
        shape = shares.shape
        by = np.tile(np.repeat(deviations, EACH), len(centers))[:, None]
        moved = shares + by * generator.standard_normal(shape)
        jumps = self._features.choices & (generator.random(shape) < JUMP)
        moved = np.where(jumps, generator.random(shape), moved)
        return self._features.raw(np.clip(moved, 0.0, 1.0))


# values


def unit_of(values: Array) -> float:
    """The unit of values: how much worse the median is than the best."""
    finite = values[np.isfinite(values)]
    if not len(finite):
        return 1.0
    best = finite.min()
    return float(np.median(finite) - best) or float(finite.max() - best) or 1.0


def measured_noise(replicates: list[tuple[float, ...]]) -> float | None:
    """The variance of a point's mean that its replicates tell, None where they do not.

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
    residuals = rows - rows.mean(1, keepdims=True)
    residuals -= np.median(residuals, axis=0)
    variances = np.square(residuals).sum(1) / (many - 1) / many
    return float(np.median(variances))


def standardize(values: Array) -> Array:
    """Values from the best in units of (median - best), low being good; large ones squeezed,
    infinite ones a little worse than the worst, NaN as the worst."""
    finite = values[np.isfinite(values)]
    if not len(finite):
        return np.ones(len(values))
    scaled = (values - finite.min()) / unit_of(values)
    large = np.isfinite(scaled) & (scaled > SQUEEZED)
    scaled[large] = SQUEEZED + np.log1p(scaled[large] - SQUEEZED)
    worst = max(float(scaled[np.isfinite(scaled)].max()), 1.0)
    scaled[np.isnan(scaled)] = worst
    scaled[np.isinf(scaled)] = worst + WORSE
    return np.asarray(scaled)


def _most_telling(told: list[_Told]) -> list[_Told]:
    """The points that a model is fitted to, in their order."""
    if len(told) <= MOST:
        return told
    values = np.asarray([each.value for each in told])
    latest = set(range(len(told) - MOST // 2, len(told)))
    order = [int(place) for place in np.argsort(values, kind="stable") if place not in latest]
    kept = sorted([*order[: MOST - len(latest)], *latest])
    return [told[place] for place in kept]


# the model


def covariance(left: Array, right: Array, lengths: Array) -> Array:
    """Matern 5/2 between two sets of points, for each fit's lengths: [fits, left, right]."""
    scaled_left = left[None] / lengths[:, None, :]
    scaled_right = right[None] / lengths[:, None, :]
    squares = (
        np.square(scaled_left).sum(-1)[:, :, None]
        + np.square(scaled_right).sum(-1)[:, None, :]
        - 2.0 * scaled_left @ scaled_right.transpose(0, 2, 1)
    )
    distance = np.sqrt(5.0 * np.maximum(squares, 0.0))
    return np.asarray((1.0 + distance + distance * distance / 3.0) * np.exp(-distance))


def correlation(features: Array, lengths: Array, noises: Array) -> Array:
    """The covariance of points in units of the signal's variance, noise included, for each fit."""
    found: Array = covariance(features, features, lengths)
    places = np.arange(len(features))
    found[:, places, places] = 1.0 + noises[:, None]
    return found


def fit(
    features: Array,
    values: Array,
    lengths: Array,
    generator: np.random.Generator,
    noise: float | None = None,
) -> _Model:
    """The likeliest of a number of draws from the priors, of which the first is their medians.
    `noise` is the variance of values that was measured, in their units."""
    many = len(features)
    draws = DRAWS if many <= MANY else max(KEPT, int(DRAWS * (MANY / many) ** 2))
    normal = generator.standard_normal((draws, features.shape[1] + 1))
    normal[0] = 0.0
    drawn = lengths * np.exp(SPREAD * normal[:, :-1])
    median, deviation = NOISE if noise is None else (noise, KNOWN_NOISE)
    noises = LEAST_NOISE + median * np.exp(deviation * normal[:, -1])
    whole = correlation(features, drawn, noises)
    factors = np.linalg.cholesky(whole)
    columns = np.broadcast_to(np.stack([np.ones(many), values], axis=1), (draws, many, 2))
    inside = np.linalg.solve(whole, columns)
    ones, seen = inside[:, :, 0], inside[:, :, 1]
    means = (seen.sum(1) + SHRINK * values.mean()) / (ones.sum(1) + SHRINK)
    above = values - means[:, None]
    solved = seen - means[:, None] * ones
    distances = (above * solved).sum(1)
    variances = (distances + PULL) / (many + PULL)
    determinants = 2.0 * np.log(np.diagonal(factors, axis1=1, axis2=2)).sum(1)
    likelihood = -0.5 * (
        (many + PULL) * np.log(variances) + determinants + (distances + PULL) / variances
    )
    order = np.argsort(-likelihood, kind="stable")[:KEPT]
    weights = np.exp(likelihood[order] - likelihood[order[0]])
    return _Model(
        features,
        values,
        drawn[order],
        noises[order],
        variances[order],
        means[order],
        np.linalg.inv(whole[order]).astype(np.float64),
        solved[order],
        weights / weights.sum(),
    )
