"""Propose, skip what is measured, hand out cohorts, journal, tell: until nothing is left."""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Protocol

from lrsearch import pulse
from lrsearch.errors import LrsearchError, StorageFull, TooManyFailures
from lrsearch.executors.port import Died, Executor, Finished, Heard, Raised
from lrsearch.search import count_trials
from lrsearch.spec.export import export_name, export_spec
from lrsearch.spec.model import Spec, derive, flatten, settle_data
from lrsearch.store import Run
from lrsearch.terminal import command_line
from lrsearch.trial import (
    Cohort,
    Ended,
    Facts,
    Measured,
    Noted,
    Objective,
    Outcome,
    Plan,
    Planned,
    Probe,
    Result,
    Saved,
    Started,
    Trial,
    Workplace,
)
from lrsearch.tuner.ledger import Entry, Ledger, content_of, go_on, retrying, settle
from lrsearch.tuner.plans import (
    ALONE,
    GOING_ON,
    Plans,
    by_structure,
    divide,
    split,
    structure,
    structure_key,
)
from lrsearch.tuner.proposer import Generation, Proposer
from lrsearch.tuner.repeating import is_due, repeat
from lrsearch.tuner.saving import Saving
from lrsearch.tuner.silence import Cut, Subject, Watch, name_trials
from lrsearch.tuner.startup import Starts

RUN_COHORT = "lrsearch.train.cohort:run_cohort"
RUN_OWN = "lrsearch.train.commands:run"
"""The same for a person's own training."""

PROBE = "lrsearch.train.probe:probe"

AHEAD = 1024
"""Trials proposed at once where none waits for another's result: lanes are filled from these."""

PROBED = 8
"""Trials shown to a probe."""

STILLBORN = 3
"""Workers that may die before they begin a trial until the search gives up."""


PATIENCE, SHORT = 15.0, 5.0
"""Seconds in which workers hand over what is under way: after SIGTERM, and after a Ctrl-C."""

TOGETHER = 0.5
"""Seconds between the signals that all processes of a job get."""

_JUDGED = (Outcome.COMPLETED, Outcome.DIVERGED, Outcome.PRUNED)


class Watcher(Protocol):
    """Someone who is shown the search while it runs."""

    def begin(
        self, total_trials: int | None, objective: Objective, workers: int, *, done: int = 0
    ) -> None:
        """The search starts; `done` of its trials were measured before."""

    def planned(self, total: int) -> None:
        """The number of trials, `done` included, is now another."""

    def started(self, number: int, params: Mapping[str, Any]) -> None:
        """A worker begins a trial."""

    def measured(self, number: int, fraction: float, value: float | None) -> None:
        """A trial has trained this share of its budget; `value` is its metric there."""

    def ended(
        self,
        number: int,
        params: Mapping[str, Any],
        outcome: Outcome,
        value: float | None,
        seconds: float,
        reason: str = "",
    ) -> None:
        """A trial is over."""

    def best(self, params: Mapping[str, Any], value: float) -> None:
        """A point is the best so far."""

    def note(self, text: str) -> None:
        """Something worth a line."""


@dataclass(frozen=True)
class Ending:
    """How a search ended: `trained` trials now, `answered` proposals from the journal; whether
    its time was over before all was trained."""

    trained: int
    answered: int
    note: str = ""
    out_of_time: bool = False


@dataclass
class _Job:
    """What a worker has in hand: the trials it has not ended, the numbers of those begun, their
    latest measurements, and the plan it goes by now."""

    task: Cohort | Probe
    plan: Plan = field(default_factory=Plan)
    left: dict[int, Trial] = field(default_factory=dict)
    begun: set[int] = field(default_factory=set)
    measured: dict[int, Measured] = field(default_factory=dict)


@dataclass
class _Tally:
    """What the session did."""

    trained: int = 0
    answered: int = 0
    failures: int = 0
    stillborn: int = 0
    retried: set[int] = field(default_factory=set)


def tune(
    spec: Spec,
    strategy: str,
    *,
    run: Run,
    executor: Executor,
    facts: Facts,
    workplace: Workplace,
    watcher: Watcher,
    retry_failed: bool = False,
    engine: str = "auto",
    lanes: int | None = None,
    begun: float | None = None,
    command: Sequence[str] = (),
    time_limit: float | None = None,
) -> Ending:
    """Run a strategy to its end over a run folder, training only what is missing.

    `engine` is one of `plans.ENGINES`, `lanes` the most trials of a fused program (None: as many
    as a probe finds best).
    `begun` is the `time.monotonic()` from which the session's wall time counts; default now.
    `command` is the command line that began it, and resumes it.
    `time_limit` are the seconds since `begun` after which no more trials begin; those that train
    are trained to their end. What is proposed does not depend on it.
    `check_search` has passed. Raises SpecRefused where nothing stored belongs to the spec,
    TooManyFailures, StorageFull. However it ends, what was measured is in the journal.
    """
    begun = time.monotonic() if begun is None else begun
    if spec.own is not None:
        engine = "solo"  # Each of its trials is a process of its own.
    facts = settle(facts, run.history)
    given = settle_data(spec, facts.settled)
    spec = go_on(given, run.history)
    if spec.seed != given.seed:
        watcher.note(
            f"this run began with seed {spec.seed} and goes on with it; a new one, such as by "
            f"--fresh, begins with {given.seed}"
        )
    if spec.own is not None and given.own is not None:
        for name in sorted(given.own.derived.keys() - spec.own.derived.keys()):
            watcher.note(f"params.{name} was text when this run began, and is text here still")
    plans = Plans(run, facts.device, engine, lanes)
    search = _Search(spec, strategy, run, executor, facts, workplace, watcher, plans, retry_failed)
    search.deadline = None if time_limit is None else begun + time_limit
    reason = "interrupted"
    try:
        ending = search.go(command)
        reason = "time" if ending.out_of_time else "finished"
        return ending
    except LrsearchError as error:
        reason = type(error).__name__
        raise
    finally:
        # A full disk has said so already, and the journal is whole without this line.
        with contextlib.suppress(StorageFull):
            run.closed(reason, time.monotonic() - begun)


class _Search:
    def __init__(
        self,
        spec: Spec,
        strategy: str,
        run: Run,
        executor: Executor,
        facts: Facts,
        workplace: Workplace,
        watcher: Watcher,
        plans: Plans,
        retry_failed: bool,
    ) -> None:
        self.spec = spec
        self.name = strategy
        self.run = run
        self.executor = executor
        self.facts = facts
        self.workplace = workplace
        self.watcher = watcher
        self.plans = plans
        self.objective = spec.objective(facts.task)
        self.ledger = Ledger(spec, content_of(facts), run.history)
        self.ledger.refuse_stranger()
        self.proposer = Proposer(spec, strategy, self.ledger, retry_failed=retry_failed)
        self.retry_failed = retry_failed
        self.command: tuple[str, ...] = ()
        self.deadline: float | None = None
        self.fresh: list[Trial] = []
        self.unplanned: dict[str, list[Trial]] = {}
        self.queue: deque[Cohort | Probe] = deque()
        self.jobs: dict[int, _Job] = {}
        self.watch = Watch(executor, watcher.note, self._describe_job)
        self.tally = _Tally()
        self.starts = Starts(spec, over=self._has_begun(), device=workplace.device)
        self.total = 0
        self.note = ""
        self.best: tuple[float, Entry] | None = None
        self.too_large: dict[str, int] = {}
        self.longest = max((each.steps for each in run.history.results.values()), default=0)
        self.saving = Saving(run, facts, watcher)
        self.weights = run.stored_weights() & self.ledger.entry_of.keys()
        for entry in self.ledger.entries.values():
            self._compare(entry)
        for number, result in run.history.results.items():
            if result.outcome is Outcome.OUT_OF_MEMORY and number in self.ledger.entry_of:
                self._remember_memory(run.history.trials[number])

    def go(self, command: Sequence[str]) -> Ending:
        """Everything from the first line in the journal to the last trial."""
        self.command = tuple(command)
        self._describe_failures()
        self.run.opened(
            {
                "document": self.spec.document,
                "source": self.spec.source,
                "folder": str(self.spec.folder),
                "command": list(command),
                "seed": self.spec.seed,
            },
            self.name,
            asdict(self.facts),
        )
        per_point = self.spec.trials_per_point
        points = count_trials(self.name, self.spec) // per_point
        coming = max(0, points - self.proposer.made) * per_point
        unfinished = self.proposer.unfinished()
        self.total = len(unfinished.waiting) + coming
        self.watcher.begin(self.total, self.objective, self.executor.capacity)
        if self.best is not None:
            # Another spec's best may stand there, or one that a killed session did not replace.
            self._take_best()
        self._sweep()
        self.saving.begin(unfinished.waiting)
        self._take(unfinished)
        while True:
            if pulse.asked() and not self.jobs:
                raise KeyboardInterrupt
            while self._may_propose() and not pulse.asked():
                self._propose()
            self._hand_out()
            self._submit()
            if self.jobs:
                self._listen()
            elif not self._may_propose():  # all that was left may have been skipped
                break
        left = self.total - self.tally.trained
        out_of_time = self._is_over_time() and left > 0
        if not self._is_over_time():
            self._repeat_best()
        if not out_of_time:
            self.saving.finish()
        weights = self.spec.own is None
        if weights and self.best is not None and not self.weights & set(self.best[1].trials):
            self.watcher.note(
                "best/ has no weights: the best point was trained when it was not the best; "
                "train it again with export and grid"
            )
        if out_of_time:
            self.note = "the time is over: the start took all of it, and no trial began"
            if self.tally.trained:
                trained = f"{self.tally.trained} of {self.total} trials are trained"
                self.note = f"the time is over: {trained}"
            self.watcher.note(self.note)
        return Ending(self.tally.trained, self.tally.answered, self.note, out_of_time)

    def _describe_failures(self) -> None:
        """Say what becomes of trials that failed in an earlier session."""
        failed = self.ledger.failed()
        if not failed or self.retry_failed:
            return
        what = "1 trial" if len(failed) == 1 else f"{len(failed)} trials"
        follows = ": --retry-failed trains what failed again"
        if self.proposer.retry_failed:
            follows = " and none has ended well: training again"
        self.watcher.note(f"{what} failed before{follows}")

    # proposing

    def _is_over_time(self) -> bool:
        return self.deadline is not None and time.monotonic() >= self.deadline

    def _may_propose(self) -> bool:
        if self.proposer.exhausted or self._is_over_time():
            return False
        if self.proposer.waits:
            return not (self.fresh or self.queue or self.jobs)
        return not self.unplanned and len(self.queue) < self.executor.capacity

    def _propose(self) -> None:
        """Take a generation, or as many as it takes to have enough where none waits."""
        many = AHEAD if self.plans.engine != "solo" and not self.proposer.waits else 1
        while not self.proposer.exhausted and len(self.fresh) < many:
            self._propose_generation()
        self._hand_out()

    def _propose_generation(self) -> None:
        room = self.proposer.room
        generation = self.proposer.propose()
        per_point = self.spec.trials_per_point
        if generation is not None:
            self.tally.answered += generation.answered
            fresh = self._take(generation)
            self.total -= len(generation.proposals) * per_point - fresh
            self.watcher.planned(self.total)
        elif room and self.proposer.limit is not None:
            self.note = (
                f"every point of the space is measured: {self.name} ends after "
                f"{self.proposer.made} of its {self.proposer.limit} proposals"
            )
            self.watcher.note(self.note)
            self.total -= room * per_point
            self.watcher.planned(self.total)

    def _take(self, generation: Generation) -> int:
        """Write a generation down and take what of it nobody trains yet; how many that are."""
        if generation.new or generation.proposals:
            self.run.proposed(generation.number, self.name, generation.proposals, generation.new)
        under_way = {trial.number for trial in self.fresh}
        for task in self.queue:
            under_way.update(trial.number for trial in task.trials)
        for job in self.jobs.values():
            under_way.update(job.left)
        fresh = [trial for trial in generation.waiting if trial.number not in under_way]
        self.fresh += fresh
        return len(fresh)

    # planning

    def _hand_out(self) -> None:
        """Queue the fresh trials by the plans of their structures, and probes for plans that are
        missing."""
        if not self.fresh:
            return
        cohorts: list[Cohort] = []
        probes: list[Probe] = []
        groups = by_structure(self.fresh)
        for key, waiting in groups.items():
            plan = self.plans.find(key)
            trials, alone = waiting, []
            if self.plans.engine == "auto" and (plan is None or plan.engine != "solo"):
                alone = [each for each in waiting if self.saving.engine(each) == "solo"]
                trials = [each for each in waiting if each not in alone]
                cohorts += self._cohorts(alone, self._settle(key, GOING_ON)) if alone else []
            if not trials:
                continue
            if plan is None and (len(trials) > 1 or self.plans.engine == "fused"):
                self.unplanned[key] = trials
                probes.append(self._probe(trials, len(groups)))
            else:
                cohorts += self._cohorts(trials, self._settle(key, plan or ALONE))
        self.fresh = []
        self.queue.extend(sorted(cohorts, key=lambda cohort: cohort.trials[0].number))
        self.queue.extendleft(reversed(probes))
        self._describe_plans()

    def _settle(self, key: str, plan: Plan) -> Plan:
        """The plan of trials that are asked nothing; written down where it does not last."""
        if self.spec.own is not None:
            return Plan(
                reason=f"each trial of a {self.spec.own.kind} is a process of its own",
                lasting=False,
            )
        if not plan.lasting:
            self.plans.keep(key, Planned(plan))
        return plan

    def _probe(self, trials: Sequence[Trial], structures: int) -> Probe:
        coming = 0
        if self.proposer.waits:  # Later generations go by the same plan.
            coming = self.proposer.room * self.spec.trials_per_point // structures
        return Probe(
            tuple(trials[:PROBED]),
            share=-(-len(trials) // self.executor.capacity),
            engine=self.plans.engine,
            lanes=self.plans.lanes,
            workplace=self.workplace,
            expected=-(-(len(trials) + coming) // self.executor.capacity),
            data_hash=self.facts.data_hash,
            source_hashes=self.facts.source_hashes,
        )

    def _cohorts(self, trials: Sequence[Trial], plan: Plan) -> list[Cohort]:
        """The cohorts of trials of one structure."""
        # What a worker has in hand it trains, so under a time limit it has no more than it begins.
        limited = self.deadline is not None
        parts = divide(trials, plan, self.executor.capacity, at_once=limited)
        if self.spec.own is not None:
            parts = [[trial] for trial in trials]
        return [self._cohort(part, plan) for part in parts]

    def _answer(self, probe: Probe, planned: Planned) -> None:
        """The plan that a structure's trials were waiting for."""
        key = _key(probe)
        self.plans.keep(key, planned)
        self.queue.extend(self._cohorts(self.unplanned.pop(key), planned.plan))
        self._describe_plans()

    def _replan(self, cohort: Cohort, planned: Planned) -> None:
        """The plan of a running cohort did not hold: what no worker has yet follows the new one."""
        key = _key(cohort)
        before = self.plans.find(key) or cohort.plan
        if planned.plan.lanes >= before.lanes:
            return  # another cohort has found as much already
        trials: list[Trial] = []
        kept: list[Cohort | Probe] = []
        for task in self.queue:
            if isinstance(task, Cohort) and task.plan == before and _key(task) == key:
                trials += task.trials
            else:
                kept.append(task)
        self.plans.keep(key, planned)
        self.queue = deque([*self._cohorts(trials, planned.plan), *kept])
        self._describe_plans()

    def _describe_plans(self) -> None:
        if not self.unplanned:
            for line in self.plans.describe():
                self.watcher.note(line)

    # training

    def _cohort(self, trials: Sequence[Trial], plan: Plan) -> Cohort:
        return Cohort(
            tuple(trials),
            plan,
            self.workplace,
            self.objective,
            data_hash=self.facts.data_hash,
            source_hashes=self.facts.source_hashes,
            timeout=self.spec.timeout,
            run=self.spec.name,
            save=self.spec.save if self.spec.own is None else None,
        )

    def _submit(self) -> None:
        while self.queue and len(self.jobs) < self.executor.capacity and not self._is_over_time():
            self._send(self.queue.popleft())

    def _send(self, task: Cohort | Probe) -> None:
        if isinstance(task, Cohort):
            self._send_cohort(task)
        elif self._is_too_large(task.trials[0]):
            # All of the structure are, and will be passed over in their turn.
            self.queue.extend(self._cohorts(self.unplanned.pop(_key(task)), Plan()))
        else:
            self.jobs[self.executor.submit(PROBE, task)] = _Job(task)

    def _send_cohort(self, cohort: Cohort, *, clean: bool = False) -> None:
        trials = tuple(trial for trial in cohort.trials if not self._skip(trial))
        if trials:
            # A point of several trials can win by its mean with one of them below the best.
            bar = self.best[0] if self.best and self.spec.trials_per_point == 1 else None
            states = self.saving.find(trials, cohort.plan.engine)
            cohort = replace(cohort, trials=trials, bar=bar, states=states)
            function = RUN_COHORT if self.spec.own is None else RUN_OWN
            handle = self.executor.submit(function, cohort, clean=clean)
            left = {trial.number: trial for trial in trials}
            self.jobs[handle] = _Job(cohort, cohort.plan, left)

    def _listen(self) -> None:
        events = self.watch.events()
        if not pulse.asked() and any(map(self._is_by_signal, events)):
            # Where all processes get a signal, this one may get it a moment later.
            time.sleep(TOGETHER)
        if pulse.asked():
            self._leave(events)
        if not events:
            raise RuntimeError("jobs are out, and the executor has nothing more to say")
        for handle, event in events:
            job = self.jobs[handle]
            if isinstance(event, Started):
                job.begun.add(event.trial)
                self.run.started(event.trial)
                self.watcher.started(event.trial, self._params(event.trial))
            elif isinstance(event, Measured):
                job.measured[event.trial] = event
                value = event.measurement.metrics.get(self.objective.metric)
                # Where nobody knows the budget, the longest trial so far tells it about.
                steps = event.steps or max(self.longest, event.measurement.step)
                share = event.measurement.step / steps if event.steps or self.longest else 0.0
                self.watcher.measured(event.trial, share, value)
            elif isinstance(event, Saved):
                self.saving.take(event)
            elif isinstance(event, Noted):
                self.saving.tell(event.text)
            elif isinstance(event, Ended):
                self._end(job, event)
            elif isinstance(event, Planned):
                if isinstance(job.task, Probe):
                    self._answer(job.task, event)
                else:
                    job.plan = event.plan
                    self._replan(job.task, event)
            elif isinstance(event, Finished):
                del self.jobs[handle]
                if job.left:
                    raise RuntimeError(f"a cohort ended without its trials {sorted(job.left)}")
                if isinstance(job.task, Probe) and _key(job.task) in self.unplanned:
                    raise RuntimeError("a probe ended without a plan")
            elif isinstance(event, Raised):
                if isinstance(event.error, LrsearchError):
                    raise event.error
                raise RuntimeError(f"a worker raised {event.message}\n{event.traceback}")
            elif isinstance(event, Died):
                del self.jobs[handle]
                if isinstance(job.task, Cohort):
                    self._bury(job.task, job, event, self.watch.cut.pop(handle, None))
                elif _key(job.task) in self.unplanned:
                    lost = f"the worker that tried to fuse it was lost: {event.reason}"
                    self._answer(job.task, Planned(Plan(reason=lost)))
            else:
                raise RuntimeError(f"an event nobody expects: {event}")

    def _is_by_signal(self, item: tuple[int, object]) -> bool:
        """Whether an event is the end of something that was told to leave."""
        event = item[1]
        reason = event.result.reason if isinstance(event, Ended) else ""
        reason = event.reason if isinstance(event, Died) else reason
        return "SIGTERM" in reason or "stopped from outside" in reason

    def _leave(self, events: list[tuple[int, object]]) -> None:
        """Have the workers hand over what is under way, write that down, and raise
        KeyboardInterrupt. What has failed is no result now: it may be for the same signal."""
        deadline = time.monotonic() + (PATIENCE if pulse.patient() else SHORT)
        saved: set[int] = set()
        try:
            if self.spec.own is None and self.spec.save is not None:
                self.watcher.note("saving what is under way; a second Ctrl-C ends it at once")
                self.executor.leave()
            else:
                deadline = 0.0  # There is nothing to hand over.
            while True:
                for handle, event in events:
                    job = self.jobs[handle]
                    if isinstance(event, Started):
                        job.begun.add(event.trial)
                    elif isinstance(event, Saved):
                        self.saving.take(event, last=True)
                        saved.add(event.trial)
                    elif isinstance(event, Noted):
                        self.saving.tell(event.text)
                    elif isinstance(event, Ended):
                        saved.discard(event.trial)
                        if event.result.outcome in _JUDGED:
                            self._end(job, event)
                    elif isinstance(event, Finished | Raised | Died):
                        del self.jobs[handle]
                left = deadline - time.monotonic()
                if left <= 0 or not self.jobs or not self.executor.busy:
                    break
                events = self.executor.events(min(left, 1.0))
        finally:
            if saved:
                count = "1 trial" if len(saved) == 1 else f"{len(saved)} trials"
                self.watcher.note(f"{count} under way saved as far as trained")
        raise KeyboardInterrupt

    def _describe_job(self, heard: Heard) -> Subject:
        """Whom a silent job is about."""
        job = self.jobs[heard.handle]
        if isinstance(job.task, Probe):
            return Subject("the worker that tries lanes", timeout=self.spec.timeout)
        numbers = sorted(job.begun or job.left)
        place = ""
        if len(numbers) == 1:
            last = job.measured.get(numbers[0])
            step = max(heard.step, last.measurement.step if last else 0)
            of = f" of {last.steps}" if last and last.steps else ""
            place = f"step {step}{of}" if step else "before the first step was told"
        return Subject(
            name_trials(numbers), place, self.spec.timeout, alone=job.plan.engine == "solo"
        )

    def _end(self, job: _Job, event: Ended) -> None:
        trial = job.left.pop(event.trial)
        job.begun.discard(event.trial)
        if event.result.outcome is Outcome.OUT_OF_MEMORY and trial.number not in self.tally.retried:
            # Alone in a process that has nothing else in memory it may yet fit.
            self.tally.retried.add(trial.number)
            again = Plan(reason="it ran out of memory: tried again alone", lasting=False)
            self._send_cohort(self._cohort([trial], again), clean=True)
            return
        if event.weights is not None:
            self.run.keep_weights(trial.number, event.weights)
            self.weights.add(trial.number)
        result = event.result
        if result.engine == job.plan.engine == "solo":
            result = replace(result, why=job.plan.reason)
        self._conclude(trial, result, event.curve, event.fault)

    def _has_begun(self) -> bool:
        """Whether a trial of the spec has ever got as far as to report something."""
        results = (self.run.history.results.get(number) for number in self.ledger.entry_of)
        return any(
            each is not None and (each.outcome is not Outcome.FAILED or each.steps > 0)
            for each in results
        )

    def _is_heard(self) -> bool:
        """Whether a trial of the spec has ever reported the objective's metric: then another that
        does not is to blame for it alone."""
        results = (self.run.history.results.get(number) for number in self.ledger.entry_of)
        return any(each is not None and self.objective.metric in each.last for each in results)

    def _conclude(
        self,
        trial: Trial,
        result: Result,
        curve: Mapping[str, list[float]],
        fault: LrsearchError | None = None,
    ) -> None:
        """Journal how a trial ended. Raises its `fault` where that is no point's, and what else
        ends the search with it."""
        self.run.ended(trial.number, result, curve)
        self.saving.drop(trial.number)
        self.tally.trained += 1
        self.longest = max(self.longest, result.steps)
        value = result.value(self.objective)
        self.watcher.ended(
            trial.number,
            self._params(trial.number),
            result.outcome,
            value,
            result.seconds,
            result.reason,
        )
        if result.outcome is Outcome.OUT_OF_MEMORY:
            self._remember_memory(trial)
        entry = self.ledger.note_result(trial.number)
        if self._consider(entry):
            self._take_best()
        if self.weights and not self.ledger.is_open(entry):
            self._sweep()
        stuck = self.starts.note(trial, entry.point, result)
        if fault is not None and not self._is_heard():
            fault.where = f"{self.spec.source}: {fault.where}"
            raise fault
        if result.outcome is Outcome.FAILED:
            self.tally.failures += 1
            if self.tally.failures > self.spec.max_failures:
                raise TooManyFailures(
                    f"{self.tally.failures} trials failed, more than max_failures "
                    f"({self.spec.max_failures}) allows; the last: {result.reason}",
                    hint="mend the cause, and train the failed trials again with\n  "
                    + command_line(retrying(self.command)),
                )
        if stuck is not None:
            raise stuck

    def _sweep(self) -> None:
        """Delete the weights of points that are complete and not the best."""
        for number in list(self.weights):
            entry = self.ledger.entry_of[number]
            is_best = self.best is not None and self.best[1] is entry
            if not is_best and not self.ledger.is_open(entry):
                self.weights.discard(number)
        self.run.drop_weights(self.weights)

    def _bury(self, cohort: Cohort, job: _Job, death: Died, cut: Cut | None) -> None:
        """A worker died, or was `cut` off: the one trial it was training failed, the others are
        handed out again. Of several nobody knows which it was: they go in smaller parts, until one
        is alone."""
        cut = cut or Cut(f"the worker process was lost: {death.reason}", 0.0, 0)
        begun = [job.left.pop(number) for number in sorted(job.begun)] if death.running else []
        if len(begun) == 1:
            last = job.measured.get(begun[0].number)
            lost_result = Result(
                Outcome.FAILED,
                steps=max(cut.step, last.measurement.step if last else 0),
                epochs=0.0,
                seconds=cut.seconds,
                engine=job.plan.engine,
                reason=cut.reason,
                traceback=death.output,
                why=job.plan.reason if job.plan.engine == "solo" else "",
            )
            self._conclude(begun[0], lost_result, {})
        elif not begun and len(job.left) == len(cohort.trials):
            self.tally.stillborn += 1
            if self.tally.stillborn >= STILLBORN:
                raise TooManyFailures(
                    f"{STILLBORN} workers died before they began a trial: {death.reason}",
                    hint=death.output,
                )
        again: list[Cohort] = []
        if len(begun) > 1:
            half = len(begun) // 2
            lost = f"the worker that trained it in lanes was lost: {death.reason}"
            alone = Plan(reason=lost, lasting=False)
            plan = replace(cohort.plan, lanes=half) if half > 1 else alone
            parts = split(begun, -(-len(begun) // half))
            again += [self._cohort(part, plan) for part in parts]
        if job.left:
            plan = self.plans.find(_key(cohort)) or cohort.plan
            again += self._cohorts(list(job.left.values()), plan)
        self.queue.extendleft(reversed(again))

    def _repeat_best(self) -> None:
        """Train a trial of the best point once more, where that tells something and is cheap. It
        has a number of its own, since files may be named by it."""
        if self.best is None or self.spec.own is None or not self.spec.own.verify:
            return
        trial = self.ledger.trials[self.ledger.latest(self.best[1])[0]]
        if is_due(self.run.history, trial, retry_failed=self.retry_failed):
            again = replace(trial, number=self.run.repeating(trial.number))
            self.watcher.planned(self.total + 1)
            repeat(
                self._cohort([again], Plan()),
                trial.number,
                function=RUN_OWN,
                executor=self.executor,
                run=self.run,
                watcher=self.watcher,
                objective=self.objective,
                params=self._params(trial.number),
            )

    # memory

    def _remember_memory(self, trial: Trial) -> None:
        key, batch = self._memory(trial)
        self.too_large[key] = min(batch, self.too_large.get(key, batch))

    def _memory(self, trial: Trial) -> tuple[str, int]:
        """A structure without its batch size, and the batch size."""
        train = dict(trial.config["train"])
        batch = int(train.pop("batch_size"))
        return structure({**trial.config, "train": {**train, "batch_size": 0}}, None), batch

    def _is_too_large(self, trial: Trial) -> bool:
        if not self.too_large or trial.number in self.tally.retried:
            return False
        key, batch = self._memory(trial)
        return batch >= self.too_large.get(key, batch + 1)

    def _skip(self, trial: Trial) -> bool:
        return self._skip_undefined(trial) or self._skip_too_large(trial)

    def _skip_undefined(self, trial: Trial) -> bool:
        """Whether a parameter that follows from others has no value there: the trial has failed."""
        own = self.spec.own
        reason = derive(own, dict(trial.config["params"])) if own is not None else ""
        if reason:
            result = Result(Outcome.FAILED, steps=0, epochs=0.0, seconds=0.0, reason=reason)
            self._conclude(trial, result, {})
        return bool(reason)

    def _skip_too_large(self, trial: Trial) -> bool:
        if not self._is_too_large(trial):
            return False
        limit = self.too_large[self._memory(trial)[0]]
        reason = f"not tried: a batch of {limit} ran out of memory"
        result = Result(Outcome.OUT_OF_MEMORY, steps=0, epochs=0.0, seconds=0.0, reason=reason)
        self._conclude(trial, result, {})
        return True

    # the best

    def _params(self, number: int) -> dict[str, Any]:
        trial = self.run.history.trials[number]
        params = flatten(self.spec.space, trial.config)
        if self.spec.seeds > 1:
            params["seed"] = trial.seed
        if trial.fold is not None:
            params["fold"] = trial.fold
        return params

    def _consider(self, entry: Entry) -> bool:
        """Whether the best is now another point, or the same with another value."""
        before = self.best
        if before is not None and before[1] is entry:
            # Further seeds can make the best worse than the next.
            self.best = None
            for other in self.ledger.entries.values():
                self._compare(other)
        else:
            self._compare(entry)
        return self.best is not None and self.best != before

    def _compare(self, entry: Entry) -> None:
        value = self.ledger.judge(entry)[1]
        if value is None:
            return
        if self.best is not None:
            best, holder = self.best
            tied = best == value and entry.number < holder.number
            if not tied and not self.objective.better(value, best):
                return
        self.best = (value, entry)

    def _take_best(self) -> None:
        """Show the best and write its spec."""
        assert self.best is not None
        value, entry = self.best
        self.watcher.best(flatten(self.spec.space, entry.config), value)
        name = export_name(self.spec.name)
        self.run.write_best(export_spec(self.spec, entry.config, self.objective, name))


def _key(task: Cohort | Probe) -> str:
    """The key of the structure that a task's trials share."""
    return structure_key(task.trials[0].config, task.trials[0].fold)
