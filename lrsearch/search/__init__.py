"""Strategies: they propose points and learn the points' results."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from lrsearch.errors import UsageError
from lrsearch.search.refine import Refine, check_refine, find_refined
from lrsearch.search.strategy import Request, Strategy
from lrsearch.space import automatic, grid_size, without_points
from lrsearch.spec import Spec
from lrsearch.spec.model import RefineSettings
from lrsearch.trial import Objective

MAX_GRID = 100_000
"""A larger grid is most likely a mistake, and must be asked for."""


@dataclass(frozen=True)
class Kind:
    """A strategy as the command of its name knows it.

    `limit(spec)` is how many proposals it makes, None for as many as there are points;
    `check(name, spec, large)` raises UsageError for a space it cannot search;
    `make(spec, objective)` makes it, and alone imports what it needs.
    """

    limit: Callable[[Spec], int | None]
    check: Callable[[str, Spec, bool], None]
    make: Callable[[Spec, Objective], Strategy]


def _check_grid(name: str, spec: Spec, large: bool) -> None:
    missing = without_points(spec.space)
    if missing:
        first = missing[0]
        write = f"write points: 9 into the range (or --set search.{first}.points=9)"
        if first in automatic(spec.space):
            write = "write lr: {auto: true, points: 9}"
            write += " (or --set search.lr.points=9)" if first == "lr" else " into the option"
        have = "has" if len(missing) == 1 else "have"
        raise UsageError(
            f"a grid needs 'points' in each range, and {', '.join(missing)} {have} none",
            where=spec.source,
            hint=f"{write}, or use random or bayes",
        )
    count = grid_size(spec.space)
    if count > MAX_GRID and not large:
        raise UsageError(
            f"the grid has {count:,} points",
            where=spec.source,
            hint=f"--yes runs a grid of more than {MAX_GRID:,}; random or bayes sample it",
        )


def _check_sampled(name: str, spec: Spec, large: bool) -> None:
    if not spec.space:
        raise UsageError(
            f"{name} has nothing to search: the spec's search is empty",
            where=spec.source,
            hint="add a search, or train its one point with grid",
        )


def _make_grid(spec: Spec, objective: Objective) -> Strategy:
    from lrsearch.search.grid import Grid

    return Grid(spec.space)


def _make_random(spec: Spec, objective: Objective) -> Strategy:
    from lrsearch.search.random import Random
    from lrsearch.search.start import Start

    sampler = spec.random.sampler
    start = Start(spec) if sampler == "informed" else None
    return Random(spec.space, spec.seed, sampler, start)


def _make_bayes(spec: Spec, objective: Objective) -> Strategy:
    from lrsearch.search.start import Start

    settings = spec.bayes
    start = Start(spec, settings.start)
    if settings.model == "gp":
        from lrsearch.search.gp import GaussianProcess

        return GaussianProcess(spec, objective.goal, start)
    from lrsearch.search.bayes import Bayes

    return Bayes(
        spec.space,
        spec.seed,
        objective.goal,
        startup=settings.startup,
        generation=settings.generation,
        start=None if settings.start == "random" else start,
    )


def _make_refine(spec: Spec, objective: Objective) -> Strategy:
    settings = spec.refine or RefineSettings()
    return Refine(spec.space, find_refined(spec), settings, objective)


STRATEGIES: Mapping[str, Kind] = {
    "grid": Kind(
        lambda spec: None,
        _check_grid,
        _make_grid,
    ),
    "random": Kind(
        lambda spec: spec.random.trials,
        _check_sampled,
        _make_random,
    ),
    "bayes": Kind(
        lambda spec: spec.bayes.trials,
        _check_sampled,
        _make_bayes,
    ),
    "refine": Kind(
        lambda spec: None,
        check_refine,
        _make_refine,
    ),
}


def check_search(name: str, spec: Spec, *, large: bool = False) -> None:
    """Raises UsageError where the strategy of that name cannot search this space: a grid over a
    range without points, or of more than `MAX_GRID` points unless `large`; any other over an empty
    space."""
    STRATEGIES[name].check(name, spec, large)


def make_strategy(name: str, spec: Spec, objective: Objective) -> Strategy:
    """The strategy of that name over a spec's space, which `check_search` has passed."""
    return STRATEGIES[name].make(spec, objective)


def trial_limit(name: str, spec: Spec) -> int | None:
    """The number of proposals that the strategy makes, None for as many as there are points."""
    return STRATEGIES[name].limit(spec)


def count_trials(name: str, spec: Spec) -> int:
    """The number of trials of the strategy's points, if none of them were measured; 0 where only
    results can tell."""
    if name == Refine.name:
        return 0
    limit = trial_limit(name, spec)
    return (grid_size(spec.space) if limit is None else limit) * spec.trials_per_point


__all__ = [
    "STRATEGIES",
    "Request",
    "Strategy",
    "check_search",
    "count_trials",
    "make_strategy",
    "trial_limit",
]
