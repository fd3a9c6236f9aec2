"""Bayesian optimization by a Gaussian process: what `process` learns from the points told, asked
for a generation of the largest expected improvement."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lrsearch.search.features import Array, Features, Nearest
from lrsearch.search.process import (
    Process,
    fit,
    foresee,
    learn,
    measured_noise,
    spread_out,
    standardize,
    unit_of,
)
from lrsearch.search.start import Start
from lrsearch.search.strategy import (
    Partial,
    Repeats,
    Request,
    derive_seed,
    generation_size,
    point_key,
)
from lrsearch.space import build, encode, every_point, size
from lrsearch.spec.model import Spec
from lrsearch.trial import Outcome, Point

if TYPE_CHECKING:
    from threadpoolctl import ThreadpoolController

MOST = 256
"""The most points that a model is fitted to."""

LEARNT = 96
"""The most points from which the model's lengths and noise are learnt."""

MANY = 64
"""Points from which on fewer candidates are looked at: each costs the square of the points."""

SOBOL = 1024
EACH = 64
BEST = 5
PEAKS = 3
FAR = (0.15, 0.05, 0.02)
NEAR = ((0.05, 0.02), (0.025, 0.01), (0.0125, 0.005))
"""Candidates: `SOBOL` of a Sobol sequence, `EACH` around each of the `BEST` points measured at each
of the deviations `FAR`, as shares of the range; then `EACH` around the `PEAKS` best candidates, at
each of `NEAR` in turn."""

LEAST = 8
"""The least that stands for `EACH`."""

JUMP = 0.2
"""The part of the candidates around a point that have any option of a choice."""

NEAREST = 0.02
"""The share of a range within which, in all parameters, two points are one: the second is not
proposed while there are others."""

FINITE = 2000
"""The most points of a finite space that are all looked at."""

LOOK = 64
"""Candidates at a time that are compared with the known points, the best first."""


@functools.cache
def _libraries() -> ThreadpoolController:
    """The libraries of this process whose threads can be limited: to find them takes longer than to
    propose a point."""
    import scipy.linalg  # noqa: F401 (it has a library of its own)
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


@dataclass(frozen=True)
class _Told:
    """A point's raw numbers; its value, low being good, infinite where it diverged, NaN where it
    was stopped; what its value is the mean of, one a seed and fold; and what it was worth on its
    way, low being good."""

    numbers: tuple[float, ...]
    value: float
    replicates: tuple[float, ...] = ()
    partial: Partial = ()


@dataclass
class _Generation:
    """The grounds of a generation: the raw numbers of the points told, and their values, in
    an order of their own; the model, to which points that wait for their value are added; the raw
    numbers of all points that others keep away from; whether a point is known already."""

    raw: Array
    values: Array
    model: Process
    known: Array
    taken: Callable[[Point], bool]


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
        self._nearest = Nearest(spec.space)
        self._told: dict[str, _Told] = {}
        self._generation: _Generation | None = None
        self._repeats = Repeats(spec.space, spec.seed, self.name)
        self._all: Array | None = None

    def tell(
        self,
        point: Point,
        outcome: Outcome,
        value: float | None,
        replicates: tuple[float, ...] = (),
        partial: Partial = (),
    ) -> None:
        """Learn the outcome of a point. One that diverged or ran out of memory counts as worse than
        all others; one that was pruned by how it stood when it was stopped; a failed one is left
        out."""
        key = point_key(point)
        encoded = encode(self.space, point)
        if outcome is Outcome.FAILED or key in self._told or encoded is None:
            return
        number = math.nan if outcome is Outcome.PRUNED else math.inf
        if outcome is Outcome.COMPLETED and value is not None and math.isfinite(value):
            number = self.sign * value
        numbers = tuple(self._features.numbers(encoded))
        way = tuple((share, self.sign * each) for share, each in partial)
        self._told[key] = _Told(numbers, number, replicates if math.isfinite(number) else (), way)

    def propose(self, request: Request) -> list[dict[str, Any]]:
        """Propose the next generation; every earlier proposal must have been told. One that the
        start begins ends with it: the model has something to learn from before it proposes."""
        count = generation_size(self.generation, self.startup, len(self._told))
        if len(self._told) < self.startup:
            return self._repeats.fill(request, count, self.start.point, self._nearest.find)
        # Threads would spend more than they save on matrices of this size, and sum in other orders.
        with _libraries().limit(limits=1, user_api="blas"):
            begun = self._begin(request)
            return self._repeats.fill(request, count, lambda index: self._next(begun, index))

    def _begin(self, request: Request) -> _Generation:
        """Learn from all that was told, whose order makes no difference."""
        told = sorted(self._told.values(), key=lambda each: each.numbers)
        raw = np.asarray([each.numbers for each in told])
        known = np.asarray([each.value for each in told])
        plain = foresee(known, [each.partial for each in told])
        values = standardize(plain)
        noise = measured_noise([each.replicates for each in told], unit_of(plain))
        features = self._features.matrix(raw)
        most = spread_out(features, values, LEARNT)
        medians, groups = self._features.lengths, self._features.groups
        lengths, noise = learn(features[most], values[most], medians, groups, noise)
        kept = spread_out(features, values, MOST)
        model = fit(features[kept], values[kept], lengths, noise)
        return _Generation(raw, values, model, raw, request.known)

    def _next(self, begun: _Generation, index: int) -> dict[str, Any]:
        """The proposal of an index, which later ones of its generation know of."""
        generator = np.random.default_rng(derive_seed(self.seed, "bayes/gp", index))
        point, numbers = self._choose(begun, generator)
        row = np.asarray([numbers])
        begun.known = np.vstack([begun.known, row])
        begun.model = begun.model.await_value(self._features.matrix(row), generator)
        return point

    def _choose(
        self, begun: _Generation, generator: np.random.Generator
    ) -> tuple[dict[str, Any], list[float]]:
        """The point of the largest expected improvement that is not known yet, and its raw
        numbers."""
        part = min(1.0, MANY / len(begun.model.features))
        candidates = self._every()
        if len(candidates):
            most = int(part * FINITE)
            if len(candidates) > most:
                candidates = candidates[generator.permutation(len(candidates))[:most]]
            gain = begun.model.improvement(self._features.matrix(candidates))
        else:
            each = max(LEAST, int(part * EACH))
            best = begun.raw[np.argsort(begun.values, kind="stable")[:BEST]]
            candidates = self._cover(int(part * SOBOL), generator)
            candidates = np.vstack([candidates, self._around(best, FAR, each, generator)])
            gain = begun.model.improvement(self._features.matrix(candidates))
            for deviations in NEAR:
                peaks = candidates[np.argsort(-gain, kind="stable")[:PEAKS]]
                near = self._around(peaks, deviations, each, generator)
                candidates = np.vstack([candidates, near])
                gain = np.append(gain, begun.model.improvement(self._features.matrix(near)))
        return self._first(candidates[np.argsort(-gain, kind="stable")], begun)

    def _first(self, candidates: Array, begun: _Generation) -> tuple[dict[str, Any], list[float]]:
        """The first candidate that is neither known nor beside a known point, which would teach
        less than the noise lets the model hope; or else the first that is not known; or else the
        first."""
        beside = None
        for start in range(0, len(candidates), LOOK):
            part = candidates[start : start + LOOK]
            for row, distance in zip(part, self._features.apart(part, begun.known), strict=True):
                if distance < NEAREST and beside is not None:
                    continue
                point, numbers = self._point(row)
                if begun.taken(point):
                    continue
                if distance >= NEAREST:
                    return point, numbers
                if distance > 0.0:
                    beside = point, numbers
        return beside or self._point(candidates[0])

    def _point(self, row: Array) -> tuple[dict[str, Any], list[float]]:
        """The point at raw numbers, and the raw numbers of that point, which is rounded."""
        numbers = dict(zip(self._features.names, map(float, row), strict=True))
        point = build(self.space, lambda name, _: numbers[name])
        return point, self._features.numbers(encode(self.space, point) or numbers)

    def _every(self) -> Array:
        """The raw numbers of all points of a small space, none of a large one."""
        if self._all is None:
            total = size(self.space)
            self._all = np.empty((0, len(self._features.names)))
            if total is not None and total <= FINITE:
                each = (encode(self.space, point) or {} for point in every_point(self.space))
                self._all = np.asarray([self._features.numbers(one) for one in each])
        return self._all

    def _cover(self, count: int, generator: np.random.Generator) -> Array:
        """Raw numbers of points all over the space."""
        from scipy.stats import qmc

        sobol = qmc.Sobol(len(self._features.names), scramble=True, rng=generator)
        # Any other number than a power of two would be warned of.
        return self._features.raw(sobol.random_base2(max(count, 1).bit_length() - 1))

    def _around(
        self,
        centers: Array,
        deviations: tuple[float, ...],
        each: int,
        generator: np.random.Generator,
    ) -> Array:
        """Raw numbers of points around others, `each` at each deviation: some or all of their
        parameters moved, a choice to any of its options."""
        shares = np.repeat(self._features.shares(centers), each * len(deviations), axis=0)
        shape = shares.shape
        by = np.tile(np.repeat(deviations, each), len(centers))[:, None]
        moved = shares + by * generator.standard_normal(shape)
        jumps = self._features.choices & (generator.random(shape) < JUMP)
        moved = np.where(jumps, generator.random(shape), moved)
        return self._features.raw(np.clip(moved, 0.0, 1.0))
