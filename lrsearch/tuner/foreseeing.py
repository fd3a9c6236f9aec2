"""The steps that a grid's trials of several budgets will have in common, before any is trained."""

from __future__ import annotations

from dataclasses import dataclass

from lrsearch.space import grid, grid_size, without_points
from lrsearch.spec.model import Spec, resolve, steps_of
from lrsearch.trial import Trial

MOST = 2000
"""Points of a grid that are looked at, at most."""

WORTH = 0.01
"""The least share of a grid's epochs worth telling of."""


@dataclass(frozen=True)
class Sharing:
    """The trials of a grid for one seed and fold: the epochs that they are worth, and those of
    them, `shared`, that another trial trains. Both are as the cost in a report has them, if no
    trial ends early."""

    trials: int
    epochs: float
    shared: float


def foresee_sharing(spec: Spec) -> Sharing | None:
    """The sharing of a grid of several budgets; None where nothing is shared, or where only loading
    the data, or a range test, can tell."""
    if spec.kind is not None or spec.train_samples is None or without_points(spec.space):
        return None
    searched = dict(spec.space.dimensions)
    if "budget" not in searched or not 1 < grid_size(spec.space) <= MOST:
        return None
    # Here alone: other specs are checked without numpy.
    from lrsearch.train.engines.stems import find_stems

    samples = max(spec.train_samples)
    points = [point for level in grid(spec.space) for point in level]
    configs = [resolve(spec, point, spec.task) for point in points]
    trials = [Trial(number, "", config, spec.seed) for number, config in enumerate(configs)]
    branches = find_stems(trials, samples)
    worth = shared = 0.0
    for trial in trials:
        each = trial.config["train"]["batch_size"] / samples
        worth += each * steps_of(trial.config, samples)
        shared += each * branches[trial.number].fork if trial.number in branches else 0.0
    return Sharing(len(trials), worth, shared) if shared >= WORTH * worth else None
