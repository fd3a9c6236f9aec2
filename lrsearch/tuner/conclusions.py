"""Conclusions of trials: their result in the journal, and what follows from it for the search."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import replace

from lrsearch.diagnosis import diagnose, read_signs
from lrsearch.errors import LrsearchError, RunError, StorageFull, TooManyFailures
from lrsearch.spec.model import derive
from lrsearch.terminal import command_line
from lrsearch.trial import Outcome, Records, Result, Trial
from lrsearch.tuner.best import Best, Unranked
from lrsearch.tuner.ledger import retrying
from lrsearch.tuner.memory import Memory
from lrsearch.tuner.saving import Saving
from lrsearch.tuner.session import Session
from lrsearch.tuner.startup import Starts


class Conclusions:
    """Concludes trials, also those that are skipped. `trained` counts the session's concluded
    trials, `longest` is the most steps of any of the run's. `unkept` are the reasons why something
    beside the journal could not be written: the search ends with them, once all that was told at
    the same moment is concluded."""

    def __init__(
        self, session: Session, best: Best | Unranked, memory: Memory, saving: Saving
    ) -> None:
        self.session, self.spec, self.run = session, session.spec, session.run
        self.ledger, self.objective = session.ledger, session.objective
        self.best, self.memory, self.saving = best, memory, saving
        self.starts = Starts(self.spec, over=self._has_begun(), device=session.facts.device)
        self.longest = max((each.steps for each in self.run.history.results.values()), default=0)
        self.trained = 0
        self.failures = 0
        self.unkept: list[StorageFull | RunError] = []

    def conclude(
        self,
        trial: Trial,
        result: Result,
        curve: Mapping[str, list[float]],
        fault: LrsearchError | None = None,
        records: Records | None = None,
    ) -> None:
        """Journal how a trial ended, and its diagnosis. Raises its `fault` where no point is to
        blame for it, and other errors that end the search."""
        records = records or Records()
        verdicts = diagnose(trial.config, curve, records, result, self.objective)
        signs = read_signs(curve, records, result, self.objective)
        result = replace(result, verdicts=verdicts, signs=signs)
        try:
            self.run.ended(trial.number, result, curve, records)
        except (StorageFull, RunError) as error:
            if trial.number not in self.run.history.results:
                raise
            self.unkept.append(error)  # It is the curve.
        with self._putting_off():
            self.saving.drop(trial.number)
        self.trained += 1
        self.longest = max(self.longest, result.steps)
        value = result.value(self.objective)
        self.session.watcher.ended(
            trial.number,
            self.session.params(trial.number),
            result.outcome,
            value,
            result.seconds,
            result.reason,
            result.epochs - result.shared_epochs,
        )
        if result.outcome is Outcome.OUT_OF_MEMORY:
            self.memory.remember(trial)
        entry = self.ledger.note_result(trial.number)
        with self._putting_off():
            if self.best.consider(entry):
                self.best.take()
            if self.best.weights and not self.ledger.is_open(entry):
                self.best.sweep()
        stuck = self.starts.note(trial, entry.point, result)
        if fault is not None and not self._is_heard():
            fault.where = f"{self.spec.source}: {fault.where}"
            raise fault
        if result.outcome is Outcome.FAILED:
            self.failures += 1
            if self.failures > self.spec.max_failures:
                raise TooManyFailures(
                    f"{self.failures} trials failed, more than max_failures "
                    f"({self.spec.max_failures}) allows; the last: {result.reason}",
                    hint="mend the cause, and train the failed trials again with\n  "
                    + command_line(retrying(self.session.asked.command)),
                )
        if stuck is not None:
            raise stuck

    @contextlib.contextmanager
    def _putting_off(self) -> Iterator[None]:
        """Put off an error of what stands beside the journal."""
        try:
            yield
        except (StorageFull, RunError) as error:
            self.unkept.append(error)

    def _has_begun(self) -> bool:
        """Whether a trial of the spec has ever reported anything."""
        results = map(self.run.history.results.get, self.ledger.numbers)
        return any(
            each is not None and (each.outcome is not Outcome.FAILED or each.steps > 0)
            for each in results
        )

    def _is_heard(self) -> bool:
        """Whether a trial of the spec has ever reported the objective's metric: then a trial that
        does not is alone to blame."""
        results = map(self.run.history.results.get, self.ledger.numbers)
        return any(each is not None and self.objective.metric in each.last for each in results)

    # trials that are not tried

    def skip(self, trial: Trial) -> bool:
        """Whether a trial need not be trained: then it is concluded here."""
        return self._skip_undefined(trial) or self._skip_too_large(trial)

    def _skip_undefined(self, trial: Trial) -> bool:
        """Whether a parameter that follows from others has no value at the trial's point: the trial
        has failed."""
        reason = derive(self.spec.derived, dict(trial.config.get("params", {})))
        if reason:
            self._conclude_untrained(trial, Outcome.FAILED, reason)
        return bool(reason)

    def _skip_too_large(self, trial: Trial) -> bool:
        if not self.memory.is_too_large(trial):
            return False
        limit = self.memory.limit(trial)
        reason = f"not tried: a batch of {limit} ran out of memory"
        self._conclude_untrained(trial, Outcome.OUT_OF_MEMORY, reason)
        return True

    def _conclude_untrained(self, trial: Trial, outcome: Outcome, reason: str) -> None:
        result = Result(outcome, steps=0, epochs=0.0, seconds=0.0, reason=reason)
        try:
            self.conclude(trial, result, {})
        except LrsearchError as error:
            for each in self.unkept:
                error.also(each)
            raise
        if self.unkept:
            raise self.unkept[0]
