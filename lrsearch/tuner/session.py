"""A session of a search: the user's request, and the objects its parts share."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from lrsearch.analysis.requirement import Requirement
from lrsearch.executors.port import Executor
from lrsearch.spec.flattening import flatten
from lrsearch.spec.model import Spec
from lrsearch.store import Run
from lrsearch.trial import Facts, Objective, Workplace
from lrsearch.tuner.ledger import Ledger
from lrsearch.tuner.watcher import Watcher


@dataclass(frozen=True)
class Asked:
    """The user's request for a session. Proposals depend on none of it."""

    engine: str = "auto"
    """One of `plans.ENGINES`."""
    lanes: int | None = None
    """The most trials of a fused program; None for as many as a probe finds best."""
    retry_failed: bool = False
    """Whether trials that failed before are trained again."""
    resume_pruned: bool = False
    """Whether trials that a rule of early stopping ended are trained to their end."""
    command: Sequence[str] = ()
    """The command line that began the session, and resumes it."""
    begun: float = field(default_factory=time.monotonic)
    """The `time.monotonic()` from which the session's wall time counts."""
    time_limit: float | None = None
    """The seconds after which no more trials begin; those under way are trained to their end."""
    until: Requirement | None = None
    """The condition from which on, once a point meets it, no more trials begin either."""
    share: bool = True
    """Whether steps that trials have in common are trained once."""

    @property
    def limited(self) -> bool:
        """Whether it may end before all is trained."""
        return self.time_limit is not None or self.until is not None

    def is_over_time(self) -> bool:
        """Whether no more trials may begin."""
        return self.time_limit is not None and time.monotonic() >= self.begun + self.time_limit


@dataclass(frozen=True)
class Ending:
    """The end of a search: `trained` trials now, and the reason as the journal has it: `finished`,
    `time` (which was over before all was trained), `until` (a point was as good as asked for), or
    `patience`; `told` says it in words, where that needs any."""

    trained: int
    reason: str = "finished"
    told: str = ""

    @property
    def out_of_time(self) -> bool:
        """Whether its time was over before all was trained."""
        return self.reason == "time"

    @property
    def whole(self) -> bool:
        """Whether the strategy came to its own end."""
        return self.reason in ("finished", "patience")

    def before(self, after: Ending) -> Ending:
        """Join the end of this search, a whole one, with that of what came after it."""
        ended = self if after.whole else after
        return Ending(self.trained + after.trained, ended.reason, ended.told)


@dataclass(frozen=True)
class Means:
    """The means of all that trains: who trains and where, the facts as the run began with them, and
    who shows it."""

    executor: Executor
    facts: Facts
    workplace: Workplace
    watcher: Watcher


@dataclass(frozen=True)
class Session(Means):
    """Objects that the parts of a search share. The spec is as the run began with it."""

    spec: Spec
    strategy: str
    run: Run
    asked: Asked
    ledger: Ledger

    @property
    def objective(self) -> Objective:
        """The metric that the search compares, and its goal."""
        return self.ledger.objective

    def params(self, number: int) -> dict[str, Any]:
        """A trial's searched parameters, and its seed and fold where there are several."""
        trial = self.run.history.trials[number]
        params = flatten(self.spec.space, trial.config)
        if self.spec.seeds > 1 or number in self.run.history.apart:
            params["seed"] = trial.seed
        if trial.fold is not None:
            params["fold"] = trial.fold
        return params
