"""The loop of a search: propose, skip measured points, hand out cohorts, journal, tell, until
nothing is left."""

from __future__ import annotations

import contextlib
import time
from dataclasses import asdict, replace

from lrsearch import pulse
from lrsearch.errors import LrsearchError, StorageFull
from lrsearch.executors.port import Executor
from lrsearch.search import count_trials
from lrsearch.space import automatic
from lrsearch.spec.model import ConfirmSettings, Spec, settle_data
from lrsearch.store import Run
from lrsearch.train.jobs import find_jobs
from lrsearch.trial import CONFIRM, Facts, Plan, Workplace
from lrsearch.tuner.best import Best
from lrsearch.tuner.conclusions import Conclusions
from lrsearch.tuner.confirming import confirm, has_value, nothing_to_confirm
from lrsearch.tuner.dispatch import Dispatch
from lrsearch.tuner.events import Listener
from lrsearch.tuner.finding import find_ranges, look_up
from lrsearch.tuner.ledger import Ledger, content_of, describe_begun, go_on, settle
from lrsearch.tuner.memory import Memory
from lrsearch.tuner.proposer import Generation, Proposer
from lrsearch.tuner.repeating import is_due, repeat
from lrsearch.tuner.saving import Saving
from lrsearch.tuner.session import Asked, Ending, Session
from lrsearch.tuner.watcher import Watcher

AHEAD = 1024
"""Trials proposed at once by strategies that need no results: lanes are filled from these."""


def tune(
    spec: Spec,
    strategy: str,
    *,
    run: Run,
    executor: Executor,
    facts: Facts,
    workplace: Workplace,
    watcher: Watcher,
    asked: Asked | None = None,
) -> Ending:
    """Run a strategy to its end over a run folder, training only missing trials; then measure its
    best again, where the spec confirms. The strategy `CONFIRM` does nothing but that.

    `check_search` has passed. Raises SpecRefused where no stored trial belongs to the spec,
    TooManyFailures, StorageFull, and UsageError, before anything is journaled, as `plan_tests`.
    However it ends, all measurements are in the journal.
    """
    asked = asked or Asked()
    if spec.kind is not None:
        asked = replace(asked, engine="solo")  # Each of its trials is a process of its own.
    facts = settle(facts, run.history)
    given = settle_data(spec, facts.settled)
    spec = go_on(given, run.history)
    for sentence in describe_begun(given, spec):
        watcher.note(sentence)
    ledger = Ledger(spec, content_of(facts), run.history)
    ledger.refuse_stranger()
    if strategy == CONFIRM and not has_value(ledger):
        raise nothing_to_confirm(spec)
    look_up(spec, content_of(facts), run.history)  # What it refuses is no session of the run.
    reason = "interrupted"
    try:
        run.opened(
            {
                "document": spec.document,
                "source": spec.source,
                "folder": str(spec.folder),
                "command": list(asked.command),
                "seed": spec.seed,
            },
            strategy,
            asdict(facts),
        )
        if automatic(spec.space):
            spec = find_ranges(
                spec,
                run=run,
                executor=executor,
                facts=facts,
                workplace=workplace,
                watcher=watcher,
            )
            ledger = Ledger(spec, content_of(facts), run.history)
        session = Session(spec, strategy, run, executor, facts, workplace, watcher, asked, ledger)
        ending = Ending(0)
        if strategy != CONFIRM:
            ending = _Search(session).go()
        if strategy == CONFIRM or (spec.confirm and not ending.out_of_time and has_value(ledger)):
            again = confirm(session, spec.confirm or ConfirmSettings())
            ending = Ending(ending.trained + again.trained, again.out_of_time)
        reason = "time" if ending.out_of_time else "finished"
        return ending
    except LrsearchError as error:
        reason = type(error).__name__
        raise
    finally:
        # A full disk has said so already, and the journal is whole without this line.
        with contextlib.suppress(StorageFull):
            run.closed(reason, time.monotonic() - asked.begun)


class _Search:
    """The loop. `conclusions` end trials, `dispatch` hands them out, `listener` hears of them."""

    def __init__(self, session: Session) -> None:
        self.session, self.asked = session, session.asked
        self.spec, self.name, self.run = session.spec, session.strategy, session.run
        self.executor, self.watcher = session.executor, session.watcher
        self.ledger, self.objective = session.ledger, session.objective
        self.proposer = Proposer(
            self.spec, self.name, self.ledger, retry_failed=self.asked.retry_failed
        )
        self.best = Best(session)
        self.saving = Saving(self.run, session.facts, self.watcher)
        self.conclusions = Conclusions(session, self.best, Memory(session), self.saving)
        self.dispatch = Dispatch(session, self.proposer, self.conclusions)
        self.listener = Listener(session, self.dispatch)
        self.total = 0

    def go(self) -> Ending:
        """Run everything from the first line in the journal to the last trial."""
        self._describe_failures()
        per_point = self.spec.trials_per_point
        points = count_trials(self.name, self.spec) // per_point
        coming = max(0, points - self.proposer.made) * per_point
        unfinished = self.proposer.unfinished()
        self.total = len(unfinished.waiting) + coming
        self.watcher.begin(self.total, self.objective, self.executor.capacity)
        if self.best.found is not None:
            # The file may be another spec's best, or one that a killed session did not replace.
            self.best.take()
        self.best.sweep()
        self.saving.begin(unfinished.waiting)
        self._take(unfinished)
        while True:
            if pulse.asked() and not self.dispatch.jobs:
                raise KeyboardInterrupt
            while self._may_propose() and not pulse.asked():
                self._propose()
            self.dispatch.hand_out()
            self.dispatch.submit()
            if self.dispatch.jobs:
                self.listener.listen()
            elif not self._may_propose():  # all that was left may have been skipped
                break
        left = self.total - self.conclusions.trained
        out_of_time = self.asked.is_over_time() and left > 0
        if not self.asked.is_over_time():
            self._repeat_best()
        if not out_of_time:
            self.saving.finish()
        if self.best.lacks_weights():
            self.watcher.note(
                "best/ has no weights: the best point was trained when it was not the best, or the "
                "disk had no room; train it again with export and grid"
            )
        if out_of_time:
            over = "the start took all of it, and no trial began"
            if self.conclusions.trained:
                over = f"{self.conclusions.trained} of {self.total} trials are trained"
            self.watcher.note(f"the time is over: {over}")
        return Ending(self.conclusions.trained, out_of_time)

    def _describe_failures(self) -> None:
        """Say what becomes of trials that failed in an earlier session."""
        failed = self.ledger.failed()
        if not failed or self.asked.retry_failed:
            return
        what = "1 trial" if len(failed) == 1 else f"{len(failed)} trials"
        follows = ": --retry-failed trains what failed again"
        if self.proposer.retry_failed:
            follows = " and none has ended well: training again"
        self.watcher.note(f"{what} failed before{follows}")

    # proposing

    def _may_propose(self) -> bool:
        if self.proposer.exhausted or self.asked.is_over_time():
            return False
        if self.proposer.waits:
            return not (self.dispatch.fresh or self.dispatch.queue or self.dispatch.jobs)
        return not self.dispatch.unplanned and len(self.dispatch.queue) < self.executor.capacity

    def _propose(self) -> None:
        """Take a generation, or as many as are needed for enough trials where the strategy need not
        wait."""
        many = AHEAD if self.asked.engine != "solo" and not self.proposer.waits else 1
        while not self.proposer.exhausted and len(self.dispatch.fresh) < many:
            self._propose_generation()
        self.dispatch.hand_out()

    def _propose_generation(self) -> None:
        room = self.proposer.room
        generation = self.proposer.propose()
        per_point = self.spec.trials_per_point
        if generation is not None:
            fresh = self._take(generation)
            self.total -= len(generation.proposals) * per_point - fresh
            self.watcher.planned(self.total)
        elif room and self.proposer.limit is not None:
            self.watcher.note(
                f"every point of the space is measured: {self.name} ends after "
                f"{self.proposer.made} of its {self.proposer.limit} proposals"
            )
            self.total -= room * per_point
            self.watcher.planned(self.total)

    def _take(self, generation: Generation) -> int:
        """Write a generation down and take those of its trials that are not under way; returns
        their number."""
        if generation.new or generation.proposals:
            self.run.proposed(generation.number, self.name, generation.proposals, generation.new)
        return self.dispatch.take(generation.waiting)

    # the end

    def _repeat_best(self) -> None:
        """Train a trial of the best point once more, where that is useful and cheap. It has a
        number of its own, since user code may name files by it."""
        best = self.best.found
        if best is None or not self.spec.verifies:
            return
        trial = self.ledger.trials[self.ledger.latest(best[1])[0]]
        if is_due(self.run.history, trial, retry_failed=self.asked.retry_failed):
            again = replace(trial, number=self.run.repeating(trial.number))
            self.watcher.planned(self.total + 1)
            repeat(
                self.dispatch.cohort([again], Plan()),
                trial.number,
                function=find_jobs(self.spec.kind).train,
                executor=self.executor,
                run=self.run,
                watcher=self.watcher,
                objective=self.objective,
                params=self.session.params(trial.number),
            )
