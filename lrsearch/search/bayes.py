"""Optuna's TPE: multivariate, grouped for spaces whose parameters depend on a choice."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.samplers import TPESampler
from optuna.trial import TrialState, create_trial

from lrsearch.search.features import Nearest
from lrsearch.search.start import Start
from lrsearch.search.strategy import (
    Partial,
    Repeats,
    Request,
    derive_seed,
    generation_size,
    point_key,
)
from lrsearch.space import Choice, Dimension, Float, Space, build, encode, parameters
from lrsearch.trial import Outcome, Point


def _distribution(dimension: Dimension) -> BaseDistribution:
    """Optuna's counterpart of a dimension; a choice is the index of its option."""
    if isinstance(dimension, Choice):
        return CategoricalDistribution(range(len(dimension.options)))
    if isinstance(dimension, Float):
        return FloatDistribution(dimension.low, dimension.high, log=dimension.log)
    return IntDistribution(dimension.low, dimension.high, log=dimension.log)


class Bayes:
    """Proposes generations by the Tree-structured Parzen Estimator (Bergstra et al. 2011), after
    `startup` points of `start`, or drawn at random where there is none.

    The study lives in memory and is told the journal's points in their order. Within a
    generation the points asked for stand in it as running (the constant liar), and leave it
    before the measured ones are told: the study then holds rounded values only, as after a
    replay. Each proposal has a sampler and a seed of its own, so a resumed search goes on with
    the draws of one that was never stopped.
    """

    name = "bayes"
    waits = True

    def __init__(
        self,
        space: Space,
        seed: int,
        goal: str,
        *,
        startup: int = 8,
        generation: int = 4,
        start: Start | None = None,
    ) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.space = space
        self.seed = seed
        self.startup = startup
        self.generation = generation
        self.start = start
        self._distributions = {name: _distribution(part) for name, part in parameters(space)}
        self._study = optuna.create_study(direction="maximize" if goal == "max" else "minimize")
        self._asked: list[optuna.Trial] = []
        self._told: set[str] = set()
        self._nearest = Nearest(space)
        self._repeats = Repeats(space, seed, self.name)

    def tell(
        self,
        point: Point,
        outcome: Outcome,
        value: float | None,
        replicates: tuple[float, ...] = (),
        partial: Partial = (),
    ) -> None:
        """Tell the study a completed point with its value; a point that diverged, was pruned or ran
        out of memory as pruned without a value, which TPE ranks last; a failed point not at all."""
        if outcome is Outcome.FAILED or point_key(point) in self._told:
            return
        numbers = encode(self.space, point)
        if numbers is None:
            return
        self._told.add(point_key(point))
        completed = outcome is Outcome.COMPLETED and value is not None
        parts = {name: self._distributions[name] for name in numbers}
        self._study.add_trial(
            create_trial(
                state=TrialState.COMPLETE if completed else TrialState.PRUNED,
                value=value if completed else None,
                params={name: self._typed(name, number) for name, number in numbers.items()},
                distributions=parts,
            )
        )

    def propose(self, request: Request) -> list[dict[str, Any]]:
        """Propose the next generation; every earlier proposal must have been told."""
        count = generation_size(self.generation, self.startup, len(self._told))
        points = self._repeats.fill(request, count, self._ask, self._replace)
        for trial in self._asked:
            # FAIL takes a placeholder out of TPE's sight.
            self._study.tell(trial, state=TrialState.FAIL)
        self._asked.clear()
        return points

    def _ask(self, index: int) -> dict[str, Any]:
        if self.start is not None and len(self._told) + len(self._asked) < self.startup:
            return self._begin(self.start.point(index))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            self._study.sampler = TPESampler(
                n_startup_trials=self.startup,
                multivariate=True,
                group=True,
                constant_liar=True,
                seed=derive_seed(self.seed, self.name, index),
            )
        return self._build(self._study.ask())

    def _begin(self, point: Point) -> dict[str, Any]:
        """Have a point of the start stand in the study, as one that TPE proposed would."""
        numbers = encode(self.space, point) or {}
        params = {name: self._typed(name, number) for name, number in numbers.items()}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            self._study.enqueue_trial(params)
        return self._build(self._study.ask())

    def _replace(self, known: Point, left: Mapping[str, Point]) -> str:
        """The key of the point that is proposed in place of a known one, the nearest of those left,
        which stands in the study from here on."""
        key = self._nearest.find(known, left)
        self._study.tell(self._asked.pop(), state=TrialState.FAIL)
        self._begin(left[key])
        return key

    def _typed(self, name: str, number: float) -> float:
        return number if isinstance(self._distributions[name], FloatDistribution) else int(number)

    def _build(self, trial: optuna.Trial) -> dict[str, Any]:
        self._asked.append(trial)

        def choose(name: str, dimension: Dimension) -> float:
            if isinstance(dimension, Choice):
                return int(trial.suggest_categorical(name, range(len(dimension.options))))
            if isinstance(dimension, Float):
                return trial.suggest_float(name, dimension.low, dimension.high, log=dimension.log)
            return trial.suggest_int(name, dimension.low, dimension.high, log=dimension.log)

        return build(self.space, choose)
