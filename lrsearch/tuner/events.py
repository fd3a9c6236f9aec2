"""Events of workers, their deaths included, and what follows from them for trials."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

from lrsearch import forks, pulse
from lrsearch.errors import LrsearchError, RunError, StorageFull, TooManyFailures, signal_name
from lrsearch.executors.port import Died, Finished, Heard, Raised
from lrsearch.trial import (
    Cohort,
    Ended,
    Measured,
    Noted,
    Outcome,
    Plan,
    Planned,
    Probe,
    Reached,
    Result,
    Saved,
    Started,
    Trial,
)
from lrsearch.tuner.dispatch import Assignment, Dispatch
from lrsearch.tuner.plans import split
from lrsearch.tuner.saving import SHOWN
from lrsearch.tuner.session import Session
from lrsearch.tuner.signs import Signs
from lrsearch.tuner.silence import Cut, Subject, Watch, name_trials

STILLBORN = 3
"""The most workers that may die before they begin a trial until the search gives up."""

PATIENCE, SHORT = 15.0, 5.0
"""Seconds in which workers save their trials under way: after SIGTERM, and after a Ctrl-C."""

TOGETHER = 0.5
"""Seconds between the signals that all processes of a cluster's job get."""

_JUDGED = (Outcome.COMPLETED, Outcome.DIVERGED, Outcome.PRUNED)


class Left(KeyboardInterrupt):
    """The end of a search that was asked to leave; its text says what becomes of the trials under
    way."""


class Listener:
    """Listens to the workers that have the dispatch's jobs."""

    def __init__(self, session: Session, dispatch: Dispatch) -> None:
        self.session, self.spec, self.run = session, session.spec, session.run
        self.executor, self.watcher = session.executor, session.watcher
        self.dispatch, self.jobs, self.rungs = dispatch, dispatch.jobs, dispatch.rungs
        self.conclusions, self.saving = dispatch.conclusions, dispatch.saving
        self.best, self.memory = self.conclusions.best, self.conclusions.memory
        self.watch = Watch(self.executor, self.watcher.note, self._describe, self._hear)
        self.signs = Signs(session.objective)
        self.stillborn = 0
        self.spent: dict[int, float] = {}
        self.probed_again: list[Probe] = []
        self.unkept: dict[int, StorageFull | RunError] = {}

    def listen(self) -> None:
        """Wait for events and act on them. Raises what a job raised, and KeyboardInterrupt where
        the search is asked to leave."""
        events = self.watch.events()
        if not pulse.asked() and any(is_by_signal(event) for _, event in events):
            # Where all processes get a signal, this one may get it a moment later.
            time.sleep(TOGETHER)
        if pulse.asked():
            self._leave(events)
        if not events:
            raise RuntimeError("jobs are out, and the executor has nothing more to say")
        failure: LrsearchError | None = None
        for handle, event in events:
            # What ends the search costs no result that is told at the same moment.
            if failure is None or isinstance(event, Ended):
                try:
                    self._take(handle, event)
                except LrsearchError as error:
                    failure = failure or error
        unkept = self._find_unkept()
        if failure is not None and unkept is not None:
            failure.also(unkept)
        ending = failure or unkept
        if ending is not None:
            raise ending

    def _take(self, handle: int, event: object) -> None:
        """Act on an event. Raises what ends the search."""
        job = self.jobs[handle]
        if isinstance(event, Started):
            job.charge()
            job.begun.add(event.trial)
            self.run.started(event.trial)
            self._forget(event.trial)
            self.watcher.started(event.trial, self.session.params(event.trial))
            self.watcher.placed(event.trial, self.dispatch.place(handle, event.trial))
        elif isinstance(event, Measured | Reached):
            self._take_progress(handle, event)
        elif isinstance(event, Saved):
            self.saving.take(event)
        elif isinstance(event, Noted):
            self.saving.tell(event.text)
        elif isinstance(event, Ended):
            self._end(job, event)
        elif isinstance(event, Planned):
            if isinstance(job.task, Probe):
                self.dispatch.answer(job.task, event)
            else:
                job.plan = event.plan
                self.dispatch.replan(job.task, event)
        elif isinstance(event, Finished):
            del self.jobs[handle]
            if job.left:
                raise RuntimeError(f"a cohort ended without its trials {sorted(job.left)}")
            if isinstance(job.task, Probe) and self.dispatch.is_unplanned(job.task):
                raise RuntimeError("a probe ended without a plan")
        elif isinstance(event, Raised):
            raise event.cause
        elif isinstance(event, Died):
            del self.jobs[handle]
            cut = self.watch.cut.pop(handle, None)
            if isinstance(job.task, Cohort):
                self._bury(job.task, job, event, cut)
            elif self.dispatch.is_unplanned(job.task):
                self._probe_again(job.task, event, cut)
        else:
            raise RuntimeError(f"an event nobody expects: {event}")

    def _take_progress(self, handle: int, event: Measured | Reached) -> None:
        if isinstance(event, Reached):
            self.rungs.reach(handle, event)
            return
        job = self.jobs[handle]
        job.measured[event.trial] = event
        value = event.measurement.metrics.get(self.session.objective.metric)
        # Where nobody knows the budget, the longest trial so far tells it about.
        longest = self.conclusions.longest
        steps = event.steps or max(longest, event.measurement.step)
        share = event.measurement.step / steps if event.steps or longest else 0.0
        self.watcher.measured(event.trial, share, value)
        if verdict := self.signs.take(event):
            self.watcher.noticed(event.trial, verdict)

    def _hear(self, heard: Heard) -> None:
        """Show how far a trial has come that trains alone, between its evaluations; in lanes no
        step is any one trial's."""
        job = self.jobs.get(heard.handle)
        if job is None or len(job.begun) != 1 or job.plan.engine != "solo":
            return
        (number,) = job.begun
        last = job.measured.get(number)
        steps = self.dispatch.place(heard.handle, number).steps
        measured = last.measurement.step if last is not None else 0
        if heard.activity == pulse.TRAINING and measured < heard.step < steps:
            self.watcher.stepped(number, heard.step / steps)

    def _forget(self, number: int) -> None:
        """Forget what a trial was at: it has ended, or begins again."""
        self.signs.forget(number)
        self.rungs.forget(number)

    def _probe_again(self, probe: Probe, death: Died, cut: Cut | None) -> None:
        """Try lanes once more, or train the structure's trials solo: the worker that tried them
        died, or was `cut` off."""
        if cut is None and probe not in self.probed_again:
            # It may have been killed from outside, and the plan is for a whole run.
            self.probed_again.append(probe)
            self.dispatch.queue.appendleft(probe)
            self.watcher.note(
                f"the worker that tried lanes was lost: {death.reason}: they are tried once more"
            )
        else:
            lost = f"the worker that tried to fuse it was lost: {death.reason}"
            self.dispatch.answer(probe, Planned(Plan(reason=lost)))

    def _leave(self, events: list[tuple[int, object]]) -> None:
        """Make the workers save the trials under way, write that down, and raise KeyboardInterrupt,
        which says what becomes of them. A failure is no result now: its cause may be the same
        signal."""
        deadline = time.monotonic() + (PATIENCE if pulse.patient() else SHORT)
        under_way = {number for job in self.jobs.values() for number in job.begun}
        saved: set[int] = set()
        if self.spec.save is not None:
            second = "signal" if pulse.patient() else "Ctrl-C"
            self.watcher.note(f"saving what is under way; a second {second} ends it at once")
            self.executor.leave()
        else:
            deadline = 0.0  # There is nothing to hand over.
        while True:
            for handle, event in events:
                job = self.jobs[handle]
                if isinstance(event, Started):
                    job.begun.add(event.trial)
                    under_way.add(event.trial)
                elif isinstance(event, Saved):
                    if self.saving.take(event, last=True):
                        saved.add(event.trial)
                elif isinstance(event, Noted):
                    self.saving.tell(event.text)
                elif isinstance(event, Ended):
                    saved.discard(event.trial)
                    if event.result.outcome in _JUDGED:
                        under_way.discard(event.trial)
                        self._end(job, event)
                elif isinstance(event, Finished | Raised | Died):
                    del self.jobs[handle]
            left = deadline - time.monotonic()
            if left <= 0 or not self.jobs or not self.executor.busy:
                break
            try:
                events = self.executor.events(min(left, 1.0))
            except KeyboardInterrupt:  # A job of this process has left.
                break
        before = {each for each in under_way - saved if self.saving.holds(each)}
        if (unkept := self._find_unkept()) is not None:
            self.watcher.note(f"{unkept.message}: {unkept.hint}")
        saved &= under_way  # Of a trial that has yet to begin the stem may be saved.
        raise Left(describe_left(len(saved), len(before), len(under_way - saved - before)))

    def _describe(self, heard: Heard) -> Subject:
        return describe_job(self.jobs[heard.handle], heard, self.spec.timeout)

    # ends

    def _end(self, job: Assignment, event: Ended) -> None:
        trial = job.left.pop(event.trial)
        job.charge()
        job.begun.discard(event.trial)
        self._forget(event.trial)
        ran_out = event.result.outcome is Outcome.OUT_OF_MEMORY
        if ran_out and trial.number not in self.memory.retried:
            # Alone in a process that has nothing else in memory it may yet fit.
            self.memory.retried.add(trial.number)
            again = Plan(reason="it ran out of memory: tried again alone", lasting=False)
            self.dispatch.send_cohort(self.dispatch.cohort([trial], again), clean=True)
            return
        self._keep_weights(trial, event)
        result = event.result
        ruling = self.rungs.ruling(trial.number, result)
        if ruling is not None:
            result = replace(result, rule=ruling.rule, reason=f"{ruling.rule}: {ruling.reason}")
        if result.engine == job.plan.engine == "solo":
            result = replace(result, why=job.plan.reason)
        self.conclusions.conclude(trial, result, event.curve, event.fault, event.records)
        # It may have failed for a moment alone, and the best before has made room.
        if self.unkept.pop(trial.number, None) and self.best.needs_weights(trial.number):
            self._keep_weights(trial, event)
        if (given_up := self.run.given_up(trial.number)) is not None:
            self.unkept[trial.number] = given_up

    def _keep_weights(self, trial: Trial, event: Ended) -> None:
        """Write the weights that a trial ended with, if any."""
        try:
            if event.weights is not None:
                self.best.keep_weights(trial.number, event.weights)
        except (StorageFull, RunError) as error:
            self.unkept[trial.number] = error

    def _find_unkept(self) -> StorageFull | RunError | None:
        """The reason why weights or a curve were not written, whose results are in the journal by
        then."""
        errors = [*self.conclusions.unkept]
        # What has no line in the journal is trained again, and its weights come with it.
        unkept = {n: error for n, error in self.unkept.items() if n in self.run.history.results}
        if unkept:
            numbers, error = list(unkept), next(iter(unkept.values()))
            measured = "what it measured is" if len(numbers) == 1 else "what they measured is"
            error.hint = (
                f"the weights of {name_trials(numbers)} are lost, {measured} in the journal; mend "
                "that, and the same command goes on with what is not trained"
            )
            errors.append(error)
        for each in errors[1:SHOWN]:
            if each.hint not in errors[0].hint:
                errors[0].hint += f"\n{each.hint}"
        return errors[0] if errors else None

    def _bury(self, cohort: Cohort, job: Assignment, death: Died, cut: Cut | None) -> None:
        """Deal with a worker that died, or was `cut` off: trials go on from saved states that are
        newer than when they lost a worker before. Of the rest, a trial that was alone has failed;
        several go out again in smaller parts, until one that kills its worker is alone."""
        job.charge()
        for number in job.left:
            self._forget(number)
        begun = [job.left.pop(number) for number in sorted(job.begun)] if death.running else []
        for trial in begun:
            number = trial.number
            self.spent[number] = self.spent.get(number, 0.0) + job.spent[number]
        engine = job.plan.engine
        further = [each for each in begun
                   if cut is None and self.saving.advanced(each.number, engine)]  # fmt: skip
        rest = [each for each in begun if each not in further]
        again: list[Cohort] = []
        if further:
            self._tell_further(further, death)
            again.append(self.dispatch.cohort(further, job.plan))
        if rest and len(begun) == 1:
            self._fail(
                rest[0], job, death, cut or Cut(f"the worker process was lost: {death.reason}")
            )
        elif rest:
            half = max(1, len(rest) // 2)
            lost = f"the worker that trained it in lanes was lost: {death.reason}"
            alone = Plan(reason=lost, lasting=False)
            for part in split(rest, -(-len(rest) // half)):
                # One alone with a state of the lanes goes on in lanes.
                fused = half > 1 or self.saving.engine(part[0]) == "fused"
                plan = replace(cohort.plan, lanes=max(2, half)) if fused else alone
                again.append(self.dispatch.cohort(part, plan))
        if not begun and len(job.left) == len(cohort.trials):
            self.stillborn += 1
            if self.stillborn >= STILLBORN:
                raise TooManyFailures(
                    f"{STILLBORN} workers died before they began a trial: {death.reason}",
                    hint=death.output,
                )
        if job.left:
            # What was given for these alone, such as to go on solo, still holds.
            plan = cohort.plan
            if plan.lasting:
                plan = self.dispatch.plans.find(self.dispatch.key(cohort)) or plan
            again += self.dispatch.cohorts(list(job.left.values()), plan)
        self.dispatch.queue.extendleft(reversed(again))

    def _tell_further(self, trials: Sequence[Trial], death: Died) -> None:
        numbers = [each.number for each in trials]
        whose = "goes on from its saved state" if len(numbers) == 1 else "go on from their states"
        places = ", ".join(f"{self.saving.step(number)}" for number in numbers[:SHOWN])
        places += ", ..." if len(numbers) > SHOWN else ""
        self.watcher.note(
            f"{name_trials(numbers)} {whose} in another worker (at step {places}): the worker "
            f"process was lost: {death.reason}"
        )

    def _fail(self, trial: Trial, job: Assignment, death: Died, cut: Cut) -> None:
        number = trial.number
        last = job.measured.get(number)
        measured = last.measurement.step if last else 0
        result = Result(
            Outcome.FAILED,
            steps=max(cut.step, measured, self.saving.step(number)),
            epochs=0.0,
            seconds=cut.seconds or self.spent[number],
            engine=job.plan.engine,
            reason=cut.reason,
            traceback=death.output,
            why=job.plan.reason if job.plan.engine == "solo" else "",
        )
        self.conclusions.conclude(trial, result, {})


def is_by_signal(event: object) -> bool:
    """Whether an event may follow from a signal to leave. Who kills the workers may have asked this
    process to leave, too."""
    names = [signal_name(each) for each in forks.ENDING]
    if isinstance(event, Died):
        return any(name in event.reason for name in (*names, "SIGKILL"))
    reason = event.result.reason if isinstance(event, Ended) else ""
    return any(told in reason for told in (*names, "stopped from outside"))


def describe_left(saved: int, before: int, again: int) -> str:
    """A sentence on the trials that were under way: how many are `saved` now, how many go on from a
    state saved `before`, and how many begin `again`; "" for none."""
    parts: list[str] = []
    for number, text, several in (
        (saved, "saved as far as trained", "saved as far as trained"),
        (before, "goes on from its last saved state", "go on from their last saved states"),
        (again, "begins again", "begin again"),
    ):
        if number:
            noun = "" if parts else " trial under way" if number == 1 else " trials under way"
            parts.append(f"{number}{noun} {text if number == 1 else several}")
    return ", ".join(parts)


def describe_job(job: Assignment, heard: Heard, timeout: float | None) -> Subject:
    """The subject of a silent job; `timeout` is the spec's, in seconds."""
    if isinstance(job.task, Probe):
        return Subject("the worker that tries lanes", timeout=timeout)
    numbers = sorted(job.begun or job.left)
    if not numbers:  # Its own end is yet to come; there is no trial that could fail.
        return Subject("a worker whose trials have ended")
    place = ""
    if len(numbers) == 1:
        last = job.measured.get(numbers[0])
        step = max(heard.step, last.measurement.step if last else 0)
        of = f" of {last.steps}" if last and last.steps else ""
        place = f"step {step}{of}" if step else "before the first step was told"
    return Subject(name_trials(numbers), place, timeout, alone=job.plan.engine == "solo")
