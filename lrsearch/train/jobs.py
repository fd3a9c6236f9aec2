"""The jobs that workers run: their names, the payload of `prepare`, and the wait at a rung.

Free of torch, so that the driver need not load it.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import Any

from lrsearch.trial import Config, Reached, Verdict, Workplace

PRELOAD = "lrsearch.train.preparing.prepare:preload"
"""The job that loads the data ahead of a worker's first trial, given a `Preparation`."""

PROBE = "lrsearch.train.engines.probe:probe"
"""The job that tries a structure in lanes and measures: it is given a `Probe`, and yields
`Planned`."""

TEST = "lrsearch.train.engines.testing:look"
"""The job that trains the one trial of a `Cohort` and looks at the test part: it yields what a
cohort does, and `Looked` before the end where the trial has completed."""

SWEEP = "lrsearch.train.engines.sweep:sweep"
"""The job that makes a range test: it is given a `Sweep`, and yields `Swept`."""


@dataclass(frozen=True)
class Jobs:
    """The jobs of one kind of training: `prepare` is given a `Preparation` and yields `Facts`,
    `train` is given a `Cohort`."""

    prepare: str
    train: str


_JOBS = {
    None: Jobs(
        "lrsearch.train.preparing.prepare:prepare", "lrsearch.train.engines.cohort:run_cohort"
    ),
    "command": Jobs("lrsearch.outside.commands:prepare", "lrsearch.outside.commands:run"),
    "loop": Jobs("lrsearch.outside.loops:prepare", "lrsearch.outside.commands:run"),
}


def find_jobs(kind: str | None) -> Jobs:
    """The jobs of a spec's trainings, by its `kind`."""
    return _JOBS[kind]


@dataclass(frozen=True)
class Preparation:
    """The payload of `prepare`: the configs a run may train (at least one), the workplace, and the
    objective's metric. `held` has the run's earlier settings of what its `data` leave open."""

    configs: tuple[Config, ...]
    workplace: Workplace
    metric: str | None = None
    held: Mapping[str, Any] = field(default_factory=dict)


def await_verdict(
    trial: int, step: int, value: float | None = None
) -> Generator[Reached | None, list[tuple[int, Verdict]], Verdict]:
    """Report that a trial has reached a rung with a value, and wait for its verdict."""
    replies = yield Reached(trial, step, value)
    while True:
        for number, verdict in replies or ():
            if number == trial:
                return verdict
        replies = yield None
