"""The loop of a search: propose, skip measured points, hand out cohorts, journal, tell, until
nothing is left."""

from __future__ import annotations

import contextlib
import time
from dataclasses import asdict, replace

from lrsearch import pulse
from lrsearch.analysis.pruning import NO_PROGRESS
from lrsearch.errors import LrsearchError, StorageFull
from lrsearch.executors.port import Executor
from lrsearch.search import count_trials
from lrsearch.search.refine import Refine
from lrsearch.space import automatic
from lrsearch.spec.model import ConfirmSettings, Spec, settle_data
from lrsearch.store import Run
from lrsearch.train.jobs import find_jobs
from lrsearch.trial import CONFIRM, Facts, Outcome, Plan, Workplace
from lrsearch.tuner import outlook
from lrsearch.tuner.best import Best
from lrsearch.tuner.conclusions import Conclusions
from lrsearch.tuner.confirming import confirm
from lrsearch.tuner.dispatch import Dispatch
from lrsearch.tuner.events import Listener
from lrsearch.tuner.finding import find_ranges, look_up
from lrsearch.tuner.ledger import Ledger, content_of, describe_begun, go_on, settle
from lrsearch.tuner.memory import Memory
from lrsearch.tuner.proposer import UNSTOPPED, Generation, Proposer
from lrsearch.tuner.pruning import Pruning
from lrsearch.tuner.racing import has_value, nothing_to_confirm
from lrsearch.tuner.refining import note_round, refuse_nothing, widened
from lrsearch.tuner.repeating import is_due, repeat
from lrsearch.tuner.rungs import Rungs
from lrsearch.tuner.saving import Saving
from lrsearch.tuner.session import Asked, Ending, Means, Session
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
    asked: Asked,
) -> Ending:
    """Run a strategy to its end over a run folder, training only missing trials; then measure its
    best again, where the spec confirms. The strategy `CONFIRM` does nothing but that.

    `check_search` has passed. Raises SpecRefused where no stored trial belongs to the spec,
    TooManyFailures, StorageFull, and UsageError, before anything is journaled, as `plan_tests`.
    However it ends, all measurements are in the journal.
    """
    if spec.kind is not None:
        asked = replace(asked, engine="solo")  # Each of its trials is a process of its own.
    facts = settle(facts, run.history)
    means = Means(executor, facts, workplace, watcher)
    given = settle_data(spec, facts.settled)
    spec = go_on(given, run.history)
    for sentence in describe_begun(given, spec):
        watcher.note(sentence)
    ledger = Ledger(spec, content_of(facts), run.history)
    ledger.refuse_stranger()
    if strategy == CONFIRM and not has_value(ledger):
        raise nothing_to_confirm(spec)
    # What is refused here is no session of the run.
    found = look_up(spec, content_of(facts), run.history)
    if strategy == Refine.name:
        wide = widened(found.settle(spec), facts)
        refuse_nothing(Proposer(wide, strategy, Ledger(wide, content_of(facts), run.history)))
    if spec.patience is not None and strategy == "grid":
        watcher.note("stop: patience does not apply: a grid trains every one of its points")
    reason, told = "interrupted", ""
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
            spec = find_ranges(spec, run, means)
            ledger = Ledger(spec, content_of(facts), run.history)
        session = Session(
            **vars(means), spec=spec, strategy=strategy, run=run, asked=asked, ledger=ledger
        )
        ending = _follow(session, strategy)
        reason, told = ending.reason, ending.told
        return ending
    except LrsearchError as error:
        reason = type(error).__name__
        raise
    finally:
        # A full disk has said so already, and the journal is whole without this line.
        with contextlib.suppress(StorageFull):
            run.closed(reason, time.monotonic() - asked.begun, told)


def _follow(session: Session, strategy: str) -> Ending:
    """Run a strategy and, where it came to its own end, what the spec asks for after it: further
    values first, and then the best once more."""
    spec = session.spec
    if strategy == CONFIRM:
        return confirm(session, spec.confirm or ConfirmSettings())
    refines = strategy == Refine.name
    ending = _refine(session) if refines else _Search(session).go()
    if ending.whole and spec.refine is not None and not refines:
        ending = ending.before(_refine(session, first=False))
    if ending.whole and spec.confirm is not None:
        ledger = Ledger(spec, session.ledger.content, session.run.history)
        if has_value(ledger):
            ending = ending.before(confirm(replace(session, ledger=ledger), spec.confirm))
    return ending


def _refine(session: Session, *, first: bool = True) -> Ending:
    """Refine what was found, `first` where no other strategy of the session came before."""
    spec = widened(session.spec, session.facts)
    if not spec.refined:
        session.watcher.note("refine: the spec searches neither rates nor a logarithmic range")
        return Ending(0)
    ledger = Ledger(spec, session.ledger.content, session.run.history)
    return _Search(replace(session, spec=spec, strategy=Refine.name, ledger=ledger)).go(first=first)


class _Search:
    """The loop. `conclusions` end trials, `dispatch` hands them out, `listener` hears of them."""

    def __init__(self, session: Session) -> None:
        self.session, self.asked = session, session.asked
        self.spec, self.name, self.run = session.spec, session.strategy, session.run
        self.executor, self.watcher = session.executor, session.watcher
        self.ledger, self.objective = session.ledger, session.objective
        self.pruning = Pruning(self.spec, self.name, self.ledger, self.run)
        self.proposer = Proposer(
            self.spec,
            self.name,
            self.ledger,
            retry_failed=self.asked.retry_failed,
            resume_pruned=self.asked.resume_pruned,
            lifted=self.pruning.lifted,
        )
        self.best = Best(session)
        self.saving = Saving(self.run, session.facts, self.watcher)
        self.conclusions = Conclusions(session, self.best, Memory(session), self.saving)
        self.rungs = Rungs(session, self.proposer, self.pruning)
        self.dispatch = Dispatch(session, self.proposer, self.conclusions, self.rungs)
        self.listener = Listener(session, self.dispatch)
        self.total = 0
        self.foreseen = count_trials(self.name, self.spec) > 0

    def go(self, *, first: bool = True) -> Ending:
        """Run everything from the first line in the journal to the last trial. Unless it is the
        `first` of its session, what stands in the journal is no earlier session's."""
        if first:
            self._describe_failures()
            self._describe_pruned()
        per_point = self.spec.trials_per_point
        points = count_trials(self.name, self.spec) // per_point
        coming = self.proposer.foresee() * per_point
        for sentence in self.rungs.describe(points):
            self.watcher.note(sentence)
        unfinished = self.proposer.unfinished()
        self.total = len(unfinished.waiting) + coming
        if first:
            self._describe_trained()
        self.watcher.begin(self.total, self.objective, self.executor.capacity)
        self._look_ahead()
        outlook.draw(self.session)
        if self.best.found is not None:
            # The file may be another spec's best, or one that a killed session did not replace.
            self.best.take()
        self.best.sweep()
        self.saving.begin(unfinished.waiting)
        self._take(unfinished)
        while True:
            if pulse.asked() and not self.dispatch.jobs:
                raise KeyboardInterrupt
            if not self.dispatch.busy and not self.dispatch.is_over():
                self._lift()
            while self._may_propose() and not pulse.asked():
                self._propose()
            self.dispatch.hand_out()
            self.dispatch.submit()
            self.rungs.decide()
            if self.dispatch.jobs and not self.dispatch.active:
                self.rungs.decide(force=True)
            self.dispatch.submit()
            if self.dispatch.jobs:
                self.listener.listen()
            elif not self._may_propose() and not self._lift():
                break  # All that was left may have been skipped.
        ending = self._end()
        if not self.dispatch.is_over():
            self._repeat_best()
        # A refinement that follows may have saved states of its own, and says this for both.
        follows = ending.whole and self.spec.refine is not None and self.name != Refine.name
        refines = follows and bool(widened(self.spec, self.session.facts).refined)
        if ending.whole and not refines:
            self.saving.finish()
        if self.best.lacks_weights() and not refines:
            self.watcher.note(
                "best/ has no weights: the best point was trained when it was not the best, or the "
                "disk had no room; train it again with export and grid"
            )
        if ending.out_of_time:
            over = "the start took all of it, and no trial began"
            if self.name == Refine.name:
                over = f"{self.conclusions.trained} trials trained, and its rounds are not over"
            elif self.conclusions.trained:
                over = f"{self.conclusions.trained} of {self.total} trials are trained"
            self.watcher.note(f"the time is over: {over}")
        elif ending.told:
            self.watcher.note(ending.told)
        elif first and not ending.trained and (text := self._describe_whole()):
            self.watcher.note(text)
        return ending

    def _describe_whole(self) -> str:
        """The reason why a command that has come to its end trained nothing, and what trains more;
        "" of a refinement, which says so itself."""
        name, made, limit = self.name, self.proposer.made, self.proposer.limit
        if name in UNSTOPPED:
            return "all points of the grid are trained already" if name == "grid" else ""
        if limit is None or made < limit:
            return f"{name} has no point left to propose: it has made {made}"
        more = 2 * limit
        return (
            f"all {limit} proposals of {name} were made before: to go on, write "
            f"{name}: {{trials: {more}}} (--trials {more})"
        )

    def _end(self) -> Ending:
        """The reason why nothing more is trained."""
        trained = self.conclusions.trained
        if self.best.met is not None:
            value, entry = self.best.met
            told = f"{self.asked.until} is met by point {entry.number} ({value:.6g})"
            return Ending(trained, "until", told)
        rounds = self.name == Refine.name and not self.proposer.exhausted
        if self.asked.is_over_time() and (self.total > trained or rounds):
            return Ending(trained, "time")
        if self.proposer.stopped:
            return Ending(trained, "patience", self.proposer.stopped)
        return Ending(trained)

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

    def _describe_trained(self) -> None:
        """Say how many trials there are already: those of this session are counted from one."""
        kept = (Outcome.COMPLETED, Outcome.PRUNED)
        trained = sum(each.outcome in kept for each in self.run.history.results.values())
        if trained and self.total:
            what = "1 trial of the run was" if trained == 1 else f"{trained} trials of the run were"
            left = "1 is" if self.total == 1 else f"{self.total} are"
            self.watcher.note(f"{what} trained before, {left} to be trained now")

    def _describe_pruned(self) -> None:
        """Say what becomes of trials that an earlier session stopped."""
        now = self.spec.prune["name"]
        kept = {"", now, NO_PROGRESS} if now != "none" else {""}
        rules = [self.run.history.results[number].rule for number in self.ledger.pruned()]
        changed = [rule for rule in rules if rule not in kept]
        if not changed or self.asked.resume_pruned:
            return
        what = "1 trial was" if len(changed) == 1 else f"{len(changed)} trials were"
        stay = "stays" if len(changed) == 1 else "stay"
        self.watcher.note(
            f"{what} stopped by {' and '.join(sorted(set(changed)))}, and {stay} so under prune: "
            f"{now}; --resume-pruned trains what was stopped to its end"
        )

    def _lift(self) -> bool:
        """Train those that stood still to their end, where no training made progress; returns
        whether there are any."""
        still = self.pruning.lift(over=self.proposer.exhausted)
        if not still or self.dispatch.is_over():
            return False
        whose = "the one trial" if still == 1 else f"all {still} trials"
        self.watcher.note(
            f"{whose} that did not diverge stood still at a tenth of the budget: that says nothing "
            "of this training, and they are trained to their end"
        )
        self.proposer.lifted = True
        fresh = self._take(self.proposer.unfinished())
        self.total += fresh
        self.watcher.planned(self.total)
        return fresh > 0

    # proposing

    def _may_propose(self) -> bool:
        if self.proposer.exhausted or self.dispatch.is_over():
            return False
        if self.proposer.waits:
            return self.rungs.needs_more or not self.dispatch.busy
        return not self.dispatch.unplanned and len(self.dispatch.queue) < self.executor.capacity

    def _propose(self) -> None:
        """Take a generation, or as many as are needed for enough trials where the strategy need not
        wait."""
        many = AHEAD if self.asked.engine != "solo" and not self.proposer.waits else 1
        if self.rungs.rule is not None and many > 1:
            # What is begun waits for those it is compared with, and takes memory meanwhile.
            many = self.spec.trials_per_point * int(self.spec.prune.get("population", 1))
        while not self.proposer.exhausted and len(self.dispatch.fresh) < many:
            self._propose_generation()
        self.dispatch.hand_out()

    def _look_ahead(self) -> None:
        made = self.proposer.generations if self.name == Refine.name else 0
        outlook.show(self.session, made=made)

    def _propose_generation(self) -> None:
        room = self.proposer.room
        generation = self.proposer.propose()
        per_point = self.spec.trials_per_point
        if told := note_round(self.run, self.spec, self.proposer):
            self.watcher.note(told)
            self._look_ahead()
        if generation is not None:
            fresh = self._take(generation)
            self.total += fresh
            self.total -= len(generation.proposals) * per_point if self.foreseen else 0
            self.watcher.planned(self.total)
        elif self.proposer.stopped:
            self.total -= room * per_point
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
