"""The best point of a search: its trials, its spec and its weights."""

from __future__ import annotations

import math

from lrsearch.spec.export import export_name, export_spec
from lrsearch.spec.flattening import flatten
from lrsearch.trial import Objective
from lrsearch.tuner.ledger import Entry
from lrsearch.tuner.session import Session


class Unranked:
    """A stand-in for the best where trials have no rank among the points: their weights are not
    kept."""

    def __init__(self, objective: Objective) -> None:
        self.weights: set[int] = set()
        self.met = None
        self.bar = math.inf if objective.goal == "max" else -math.inf

    def consider(self, entry: Entry) -> bool:
        """Consider no point."""
        return False

    def take(self) -> None:
        """Take none."""

    def keep_weights(self, trial: int, content: bytes) -> None:
        """Keep no weights."""

    def needs_weights(self, trial: int) -> bool:
        """Need no weights."""
        return False

    def sweep(self) -> None:
        """Delete none."""


class Best:
    """The best point so far. `found` is its value of the objective and the point, None while no
    point has a value; `weights` are the trials whose weights are stored. `met` is the first point
    found, with its value, that meets what the search is to go on until."""

    def __init__(self, session: Session) -> None:
        self.spec, self.run, self.watcher = session.spec, session.run, session.watcher
        self.ledger, self.objective = session.ledger, session.objective
        self.found: tuple[float, Entry] | None = None
        self.met: tuple[float, Entry] | None = None
        self.until = session.asked.until
        self.weights = self.run.stored_weights() & self.ledger.entry_of.keys()
        for entry in self.ledger.entries.values():
            self._compare(entry)
            self._look(entry)

    def _look(self, entry: Entry) -> None:
        """See whether a point, by all of the spec's seeds and folds, meets what is asked for."""
        if self.until is None or self.met is not None or not self.ledger.is_whole(entry):
            return
        value = self.ledger.judge(entry)[1]
        if value is not None and self.until.holds(value):
            self.met = (value, entry)

    @property
    def bar(self) -> float | None:
        """The value that a trial's weights have to reach to be worth keeping, None for any."""
        # A point of several trials can win by its mean with one of them below the best.
        return self.found[0] if self.found and self.spec.trials_per_point == 1 else None

    def consider(self, entry: Entry) -> bool:
        """Consider a point; returns whether the best is now another point, or has another value."""
        self._look(entry)
        before = self.found
        if before is not None and before[1] is entry:
            # Further seeds can make the best worse than the next.
            self.found = None
            for other in self.ledger.entries.values():
                self._compare(other)
        else:
            self._compare(entry)
        return self.found is not None and self.found != before

    def _compare(self, entry: Entry) -> None:
        value = self.ledger.judge(entry)[1]
        if value is None:
            return
        if self.found is not None:
            best, holder = self.found
            tied = best == value and entry.number < holder.number
            if not tied and not self.objective.better(value, best):
                return
        self.found = (value, entry)

    def take(self) -> None:
        """Show the best and write its spec."""
        assert self.found is not None
        value, entry = self.found
        self.watcher.best(flatten(self.spec.space, entry.config), value)
        name = export_name(self.spec.name)
        self.run.write_best(export_spec(self.spec, entry.config, self.objective, name))

    def keep_weights(self, trial: int, content: bytes) -> None:
        """Store a trial's weights until `sweep` finds that they are not needed."""
        self.run.keep_weights(trial, content)
        self.weights.add(trial)

    def sweep(self) -> None:
        """Delete the weights of points that are complete and not the best."""
        self.weights = set(filter(self.needs_weights, self.weights))
        self.run.drop_weights(self.weights)

    def needs_weights(self, trial: int) -> bool:
        """Whether a trial's weights are needed: its point is the best, or not complete."""
        entry = self.ledger.entry_of[trial]
        is_best = self.found is not None and self.found[1] is entry
        return is_best or self.ledger.is_open(entry)

    def lacks_weights(self) -> bool:
        """Whether weights of the best point are missing; a training outside lrsearch has none."""
        ours = self.spec.kind is None
        return ours and self.found is not None and not self.weights & set(self.found[1].trials)
