"""Limits of memory: the batch sizes that ran out of it."""

from __future__ import annotations

from lrsearch.trial import Outcome, Trial
from lrsearch.tuner.plans import structure
from lrsearch.tuner.session import Session


class Memory:
    """Batch sizes that ran out of memory in a run: `too_large` has, by the structure without its
    batch size, the least one. `retried` are the session's trials that were tried once more, alone,
    for that reason."""

    def __init__(self, session: Session) -> None:
        self.too_large: dict[str, int] = {}
        self.retried: set[int] = set()
        history = session.run.history
        for number, result in history.results.items():
            if result.outcome is Outcome.OUT_OF_MEMORY and number in session.ledger.entry_of:
                self.remember(history.trials[number])

    def remember(self, trial: Trial) -> None:
        """Remember a trial that ran out of memory."""
        key, batch = self._split(trial)
        self.too_large[key] = min(batch, self.too_large.get(key, batch))

    def _split(self, trial: Trial) -> tuple[str, int]:
        """A structure without its batch size, and the batch size."""
        train = dict(trial.config["train"])
        batch = int(train.pop("batch_size"))
        return structure({**trial.config, "train": {**train, "batch_size": 0}}, None), batch

    def is_too_large(self, trial: Trial) -> bool:
        """Whether a trial's batch is at least as large as one that ran out of memory in its
        structure."""
        if not self.too_large or trial.number in self.retried:
            return False
        key, batch = self._split(trial)
        return batch >= self.too_large.get(key, batch + 1)

    def limit(self, trial: Trial) -> int:
        """The least batch size that ran out of memory, of a trial that is too large."""
        return self.too_large[self._split(trial)[0]]
