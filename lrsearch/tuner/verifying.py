"""Verifying: a measured point is trained again, alone, to see that the way it was trained did not
matter."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from lrsearch.executors.port import Executor
from lrsearch.train.jobs import find_jobs
from lrsearch.trial import (
    Cohort,
    Ended,
    Facts,
    Plan,
    Trial,
    Workplace,
)
from lrsearch.tuner.ledger import Ledger
from lrsearch.tuner.silence import Subject, Watch, name_trials

SEEDS = 3
"""The fewest seeds that a spread is taken over."""

LIMIT = 2.0
"""Spreads by which the two means may differ."""


@dataclass(frozen=True)
class Verification:
    """Values of the objective by (seed, fold): as `measured` by the run, and `alone` now, None
    where a training did not complete."""

    measured: Mapping[tuple[int, int | None], float | None]
    alone: Mapping[tuple[int, int | None], float | None]

    @property
    def difference(self) -> float:
        """The difference of the means over all that the run measured; NaN where a training did not
        complete."""
        pairs = [(self.alone[key], value) for key, value in self.measured.items()]
        known = [left - right for left, right in pairs if left is not None and right is not None]
        return math.fsum(known) / len(pairs) if pairs and len(known) == len(pairs) else math.nan

    @property
    def spread(self) -> float:
        """Standard deviation over the seeds, each by its mean over folds, trained alone; NaN where
        a training did not complete."""
        seeds: dict[int, list[float]] = {}
        for (seed, _), value in self.alone.items():
            seeds.setdefault(seed, []).append(math.nan if value is None else value)
        means = [math.fsum(values) / len(values) for values in seeds.values()]
        known = len(means) > 1 and all(map(math.isfinite, means))
        return statistics.stdev(means) if known else math.nan

    @property
    def agrees(self) -> bool:
        """Whether the way of training makes no more difference than seeds do."""
        # Equal seeds may give equal values, and rounding is no difference.
        return abs(self.difference) <= max(LIMIT * self.spread, 1e-6)


def verify(
    trials: Sequence[Trial],
    ledger: Ledger,
    *,
    executor: Executor,
    facts: Facts,
    workplace: Workplace,
    note: Callable[[str], None],
) -> Verification:
    """Train a point's trials, and as many further seeds as a spread needs, by the solo engine.

    `ledger` is the run's, which the trials belong to. They get numbers of their own, that no trial
    of the run has, so that user code that names files by them overwrites none. `note` takes lines
    for the user meanwhile. Raises the errors of a cohort for data or code that have changed since
    the run began.
    """
    spec, objective, first = ledger.spec, ledger.objective, ledger.history.next_number
    timeout = spec.timeout
    wanted = {(trial.seed, trial.fold): trial for trial in trials}
    folds = {trial.fold: trial for trial in trials}
    seed = max(trial.seed for trial in trials)
    while len({seed for seed, _ in wanted}) < SEEDS:
        seed += 1
        wanted |= {(seed, fold): replace(each, seed=seed) for fold, each in folds.items()}
    numbered = [replace(each, number=at) for at, each in enumerate(wanted.values(), first)]
    handles = {
        executor.submit(
            find_jobs(spec.kind).train,
            Cohort(
                (trial,),
                Plan("solo"),
                workplace,
                objective,
                bar=math.inf if objective.goal == "max" else -math.inf,
                data_hash=facts.data_hash,
                source_hashes=facts.source_hashes,
                timeout=timeout,
                run=spec.name,
            ),
        ): trial.number
        for trial in numbered
    }
    watch = Watch(
        executor,
        note,
        lambda heard: Subject(name_trials([handles[heard.handle]]), timeout=timeout),
    )
    found: dict[int, float | None] = {}
    for _, event in watch.follow({*handles}):  # A trial that died with its job did not complete.
        if isinstance(event, Ended):
            found[event.trial] = event.result.value(objective)
    alone = {key: found.get(at) for at, key in enumerate(wanted, first)}
    ended = {(each.seed, each.fold): ledger.history.results.get(each.number) for each in trials}
    measured = {
        key: result.value(objective) if result is not None else None
        for key, result in ended.items()
    }
    return Verification(measured, alone)
