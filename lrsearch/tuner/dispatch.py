"""Dispatch: the trials that a worker gets together, their plan, and the probes before them."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from lrsearch.train.jobs import PROBE, find_jobs
from lrsearch.trial import Cohort, Measured, Plan, Planned, Probe, Trial
from lrsearch.tuner.conclusions import Conclusions
from lrsearch.tuner.plans import ALONE, GOING_ON, Plans, by_structure, divide, structure_key
from lrsearch.tuner.proposer import Proposer
from lrsearch.tuner.rungs import Rungs
from lrsearch.tuner.session import Session

PROBED = 8
"""Trials shown to a probe."""


@dataclass
class Assignment:
    """The work that a worker has: its trials that have not ended, the numbers of those begun, their
    latest measurements, the seconds that they have trained, and its plan."""

    task: Cohort | Probe
    plan: Plan = field(default_factory=Plan)
    left: dict[int, Trial] = field(default_factory=dict)
    begun: set[int] = field(default_factory=set)
    measured: dict[int, Measured] = field(default_factory=dict)
    spent: dict[int, float] = field(default_factory=dict)
    _clock: float = 0.0

    def charge(self) -> None:
        """Share the time since the last call among the trials that are begun."""
        now = time.monotonic()
        for number in self.begun:
            share = (now - self._clock) / len(self.begun)
            self.spent[number] = self.spent.get(number, 0.0) + share
        self._clock = now


class Dispatch:
    """The way of trials to the workers: `fresh` trials without a plan yet, `unplanned` ones, by the
    key of their structure, that wait for a probe's plan, the `queue` of tasks, and the `jobs` that
    workers have, by their handles. Without `rungs` nothing ends early."""

    def __init__(
        self,
        session: Session,
        proposer: Proposer,
        conclusions: Conclusions,
        rungs: Rungs | None = None,
    ) -> None:
        self.session, self.spec, self.asked = session, session.spec, session.asked
        self.executor, self.facts = session.executor, session.facts
        self.proposer, self.conclusions, self.saving = proposer, conclusions, conclusions.saving
        self.rungs = rungs
        self.plans = Plans(session.run, self.facts.device, self.asked.engine, self.asked.lanes)
        self.fresh: list[Trial] = []
        self.unplanned: dict[str, list[Trial]] = {}
        self.queue: deque[Cohort | Probe] = deque()
        self.jobs: dict[int, Assignment] = {}

    def take(self, waiting: Sequence[Trial]) -> int:
        """Take those of the trials that are not under way; returns their number."""
        under_way = {trial.number for trial in self.fresh}
        for task in self.queue:
            under_way.update(trial.number for trial in task.trials)
        for job in self.jobs.values():
            under_way.update(job.left)
        fresh = [trial for trial in waiting if trial.number not in under_way]
        self.fresh += fresh
        return len(fresh)

    @property
    def busy(self) -> bool:
        """Whether any trial is under way, or waits for a worker."""
        return bool(self.fresh or self.queue or self.jobs)

    # planning

    def hand_out(self) -> None:
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
                trials = [each for each in waiting if self.saving.engine(each) != "solo"]
                cohorts += self.cohorts(alone, self._settle(key, GOING_ON)) if alone else []
            if not trials:
                continue
            if plan is None and (len(trials) > 1 or self.plans.engine == "fused"):
                self.unplanned[key] = trials
                probes.append(self._probe(trials, len(groups)))
            else:
                cohorts += self.cohorts(trials, self._settle(key, plan or ALONE))
        self.fresh = []
        self.queue.extend(sorted(cohorts, key=lambda cohort: cohort.trials[0].number))
        self.queue.extendleft(reversed(probes))
        self._describe_plans()

    def _settle(self, key: str, plan: Plan) -> Plan:
        """The plan of trials that need no probe; written down where it does not last."""
        if self.spec.kind is not None:
            return Plan(
                reason=f"each trial of a {self.spec.kind} is a process of its own",
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
            workplace=self.session.workplace,
            expected=-(-(len(trials) + coming) // self.executor.capacity),
            data_hash=self.facts.data_hash,
            source_hashes=self.facts.source_hashes,
        )

    def cohorts(self, trials: Sequence[Trial], plan: Plan) -> list[Cohort]:
        """The cohorts of trials of one structure."""
        # A worker trains all it has, so under a time limit it gets no more than it begins at once.
        limited = self.asked.time_limit is not None
        # One that waits at a rung keeps those behind it from beginning.
        alone = plan.engine == "solo" and self.rungs is not None and self.rungs.rule is not None
        if self.spec.kind is not None:
            return [self.cohort([trial], plan) for trial in trials]
        parts = divide(trials, plan, self.executor.capacity, at_once=limited or alone)
        return [self.cohort(part, plan) for part in parts]

    def answer(self, probe: Probe, planned: Planned) -> None:
        """Queue the trials of a structure that waited for this plan."""
        key = task_key(probe)
        self.plans.keep(key, planned)
        self.queue.extend(self.cohorts(self.unplanned.pop(key), planned.plan))
        self._describe_plans()

    def replan(self, cohort: Cohort, planned: Planned) -> None:
        """Replace a running cohort's plan, which did not hold: trials without a worker follow the
        new one."""
        key = task_key(cohort)
        before = self.plans.find(key) or cohort.plan
        if planned.plan.lanes >= before.lanes:
            return  # another cohort has found as much already
        trials: list[Trial] = []
        kept: list[Cohort | Probe] = []
        for task in self.queue:
            if isinstance(task, Cohort) and task.plan == before and task_key(task) == key:
                trials += task.trials
            else:
                kept.append(task)
        self.plans.keep(key, planned)
        self.queue = deque([*self.cohorts(trials, planned.plan), *kept])
        self._describe_plans()

    def _describe_plans(self) -> None:
        if not self.unplanned:
            for line in self.plans.describe():
                self.session.watcher.note(line)

    # training

    def cohort(self, trials: Sequence[Trial], plan: Plan) -> Cohort:
        """Trials of one structure as a task for a worker."""
        return Cohort(
            tuple(trials),
            plan,
            self.session.workplace,
            self.session.objective,
            data_hash=self.facts.data_hash,
            source_hashes=self.facts.source_hashes,
            timeout=self.spec.timeout,
            run=self.spec.name,
            save=self.spec.save,
            rungs=self.rungs.cohort(trials) if self.rungs else (),
            judged=self.rungs.pruning.judged(trials) if self.rungs else frozenset(),
        )

    @property
    def active(self) -> int:
        """The number of jobs that have something to do: not all of their trials wait at rungs."""
        waiting = self.rungs.waiting.keys() if self.rungs else set[int]()
        return sum(not (job.left and job.left.keys() <= waiting) for job in self.jobs.values())

    def submit(self) -> None:
        """Give queued tasks to the workers that are free."""
        capacity = self.executor.capacity
        while self.queue and self.active < capacity and not self.asked.is_over_time():
            self._send(self.queue.popleft())

    def _send(self, task: Cohort | Probe) -> None:
        if isinstance(task, Cohort):
            self.send_cohort(task)
        elif self.conclusions.memory.is_too_large(task.trials[0]):
            # All trials of the structure are, and will be skipped in their turn.
            self.queue.extend(self.cohorts(self.unplanned.pop(task_key(task)), Plan()))
        else:
            self.jobs[self.executor.submit(PROBE, task)] = Assignment(task)

    def send_cohort(self, cohort: Cohort, *, clean: bool = False) -> None:
        """Give a worker, a new one if `clean`, the cohort's trials that need training."""
        trials = tuple(trial for trial in cohort.trials if not self.conclusions.skip(trial))
        if trials:
            # A point of several trials can win by its mean with one of them below the best.
            best = self.conclusions.best.found
            bar = best[0] if best and self.spec.trials_per_point == 1 else None
            states = self.saving.find(trials, cohort.plan.engine)
            cohort = replace(cohort, trials=trials, bar=bar, states=states)
            function = find_jobs(self.spec.kind).train
            handle = self.executor.submit(function, cohort, clean=clean)
            left = {trial.number: trial for trial in trials}
            self.jobs[handle] = Assignment(cohort, cohort.plan, left)


def task_key(task: Cohort | Probe) -> str:
    """The key of the structure that a task's trials share."""
    return structure_key(task.trials[0].config, task.trials[0].fold)
