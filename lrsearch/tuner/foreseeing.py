"""The steps that a grid's trials of several budgets will have in common, before any is trained."""

from __future__ import annotations

from lrsearch import catalogue
from lrsearch.space import grid, grid_size, without_points
from lrsearch.spec.model import Spec, resolve, steps_of
from lrsearch.trial import Trial

MOST = 2000
"""Points of a grid that are looked at, at most."""

WORTH = 0.01
"""The least share of a grid's epochs worth telling of."""


def foresee_sharing(spec: Spec) -> list[str]:
    """A sentence on the epochs that a grid of several budgets is worth, and on those that it
    trains; none where nothing is shared, or where only loading the data, or a range test, can
    tell."""
    if spec.kind is not None or spec.train_samples is None or without_points(spec.space):
        return []
    searched = dict(spec.space.dimensions)
    if "budget" not in searched or not 1 < grid_size(spec.space) <= MOST:
        return []
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
    if shared < WORTH * worth:
        return []
    told = "" if spec.trials_per_point == 1 else " of a seed" if not spec.folds else " of a fold"
    early = "" if spec.prune["name"] == "none" else ", less what ends early"
    if spec.prune["name"] not in ("none", catalogue.PRUNE):
        early += ", and more than that where points wait for each other at rungs"
    return [
        f"Of {worth:,.0f} epochs that the grid{told} is worth {worth - shared:,.0f} are trained"
        f"{early}: the others are steps that trials have in common"
    ]
