"""Early stopping in a search: which trials are judged, and what becomes of those that were stopped.

A verdict stays: a trial that a rule stopped has ended, whatever `prune` says later. Its point is
trained to the end only where that is asked for, or where no training of the search made progress:
then standing still at a tenth of the budget says nothing here, and the rule is lifted.
"""

from __future__ import annotations

from collections.abc import Iterable

from lrsearch.analysis.pruning import NO_PROGRESS
from lrsearch.search import count_trials
from lrsearch.spec.model import Spec
from lrsearch.store import History, Run
from lrsearch.trial import Outcome, Trial
from lrsearch.tuner.ledger import Ledger

ENOUGH = 8
"""Trials that stood still, and none that did not, by which the rule is lifted in mid-search."""

_NOTE = "prune"


class Pruning:
    """The early stopping of one search. `lifted` says that the rule on progress holds no more."""

    def __init__(self, spec: Spec, strategy: str, ledger: Ledger, run: Run) -> None:
        self.spec, self.ledger, self.run = spec, ledger, run
        points = count_trials(strategy, spec) // spec.trials_per_point
        self.on = spec.prune["name"] != "none" and points > 1
        self.lifted = is_lifted(run.history)

    def judged(self, trials: Iterable[Trial]) -> frozenset[int]:
        """The numbers of those trials that end where they make no progress."""
        if not self.on or self.lifted:
            return frozenset()
        return frozenset(each.number for each in trials if not self.goes_on(each))

    def goes_on(self, trial: Trial) -> bool:
        """Whether a trial takes the place of one that was stopped, or is none of the search's, as a
        repetition, and so is trained to its end."""
        entry = self.ledger.entry_of.get(trial.number)
        return entry is None or any(
            number < trial.number
            and self.ledger.trials[number].key == trial.key
            and self.ledger.is_pruned(number)
            for number in entry.trials
        )

    def lift(self, *, over: bool) -> int:
        """Lift the rule on progress where no training has made any, which is journaled; `over` says
        that the search has nothing more to propose. Returns how many trials stood still, 0 where
        the rule is not lifted."""
        if self.lifted or not self.on:
            return 0
        results = self.run.history.results
        known = [
            results[number]
            for entry in self.ledger.entries.values()
            for number in self.ledger.latest(entry)
            if number in results
        ]
        still = sum(result.rule == NO_PROGRESS for result in known)
        if any(result.outcome is Outcome.COMPLETED for result in known):
            return 0
        if not still or not (over or still >= ENOUGH):
            return 0
        self.run.noted(_NOTE, {"lifted": NO_PROGRESS, "trials": still})
        self.lifted = True
        return still


def is_lifted(history: History) -> bool:
    """Whether the rule on progress was lifted in a run."""
    return any(note["kind"] == _NOTE and "lifted" in note for note in history.notes)
