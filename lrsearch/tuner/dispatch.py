"""Dispatch: the trials that a worker gets together, their plan, and the probes before them."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from lrsearch.display import Place
from lrsearch.spec.model import steps_of
from lrsearch.train.jobs import PROBE, find_jobs
from lrsearch.trial import (
    Cohort,
    Measured,
    Plan,
    Planned,
    Probe,
    Reached,
    Result,
    Ruling,
    Trial,
)
from lrsearch.tuner.conclusions import Conclusions
from lrsearch.tuner.plans import (
    ALONE,
    APART,
    GOING_ON,
    Plans,
    by_structure,
    divide,
    larger_generation,
    structure_key,
)
from lrsearch.tuner.session import Session

PROBED = 8
"""Trials shown to a probe."""


class Coming(Protocol):
    """The source of trials: whether it `waits` for the results of those before, and the `room` for
    more points of theirs."""

    @property
    def waits(self) -> bool:
        """Whether the next are not known before those before have ended."""

    @property
    def room(self) -> int:
        """The number of points that may come yet."""


class Judges:
    """The judges of trials under way: the `rule` by which trials are compared, None where none is,
    and those that are `waiting` for a verdict, with the handle of their job and the step. These
    here let all trials train to their end."""

    waiting: dict[int, tuple[int, int]]

    def __init__(self) -> None:
        self.waiting = {}

    @property
    def rule(self) -> object | None:
        """The rule of early stopping."""
        return None

    def cohort(self, trials: Sequence[Trial]) -> tuple[int, ...]:
        """The steps at which trials of one structure wait for a verdict."""
        return ()

    def judged(self, trials: Iterable[Trial]) -> frozenset[int]:
        """The numbers of those trials that end where they make no progress."""
        return frozenset()

    def reach(self, handle: int, event: Reached) -> None:
        """Take a trial that waits at a rung. Raises ValueError where none was told to wait."""
        raise ValueError(f"trial {event.trial} waits at step {event.step}, and nobody judges it")

    def forget(self, trial: int) -> None:
        """Forget a trial that has ended, or begins again."""

    def ruling(self, number: int, result: Result) -> Ruling | None:
        """The verdict that a trial ended by, None where it ended otherwise."""
        return None


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
    workers have, by their handles. `shared` has the trials that have steps in common: the first
    of a trial's stems, its epochs that another trains, and all of them."""

    def __init__(
        self, session: Session, proposer: Coming, conclusions: Conclusions, rungs: Judges
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
        self._told_of_generation = False
        # Where points are compared at rungs, those of a cohort wait at the same steps.
        self.budgets = "budget" not in dict(self.spec.space.dimensions) or rungs.rule is not None
        self.shared: dict[int, tuple[int, float, float]] = {}
        self.told_shared = False

    def is_over(self) -> bool:
        """Whether no more trials may begin: the time is over, or a point is as good as asked."""
        return self.asked.is_over_time() or self.conclusions.best.met is not None

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

    def key(self, task: Cohort | Probe) -> str:
        """The key of the structure that a task's trials share."""
        return self.key_of(task.trials[0])

    def key_of(self, trial: Trial) -> str:
        """The key of a trial's structure."""
        return structure_key(trial.config, trial.fold, budgets=self.budgets)

    def is_unplanned(self, probe: Probe) -> bool:
        """Whether trials wait for the plan that a probe is to find."""
        return self.key(probe) in self.unplanned

    def hand_out(self) -> None:
        """Queue the fresh trials by the plans of their structures, and probes for plans that are
        missing."""
        if not self.fresh:
            return
        cohorts: list[Cohort] = []
        probes: list[Probe] = []
        groups = by_structure(self.fresh, budgets=self.budgets)
        # There a program of one lane may be many times as fast, see `graphs.fewest_lanes`.
        graphs = self.facts.device.partition(":")[0] == "cuda"
        for key, waiting in groups.items():
            plan = self.plans.find(key)
            trials, alone = waiting, []
            if self.plans.engine == "auto" and (plan is None or plan.engine != "solo"):
                alone = [each for each in waiting if self.saving.engine(each) == "solo"]
                trials = [each for each in waiting if self.saving.engine(each) != "solo"]
                cohorts += self.cohorts(alone, self._settle(key, GOING_ON)) if alone else []
            if plan is not None and plan.engine == "fused" and not graphs:
                by_plan = {each.number: self._separate(each) for each in trials}
                for apart in (ALONE, APART):
                    found = [each for each in trials if by_plan[each.number] is apart]
                    cohorts += self.cohorts(found, self._settle(key, apart)) if found else []
                trials = [each for each in trials if by_plan[each.number] is None]
            if not trials:
                continue
            if key in self.unplanned:  # Its probe is under way.
                self.unplanned[key] += trials
            elif plan is None and (len(trials) > 1 or self.plans.engine == "fused" or graphs):
                self.unplanned[key] = trials
                probes.append(self._probe(trials, groups))
            else:
                cohorts += self.cohorts(trials, self._settle(key, plan or ALONE))
        self.fresh = []
        self.queue.extend(sorted(cohorts, key=lambda cohort: cohort.trials[0].number))
        self.queue.extendleft(reversed(probes))
        self._describe_plans()

    def _separate(self, trial: Trial) -> Plan | None:
        """The plan to train a trial alone, for a strategy whose trials come few at a time; None
        where lanes may be quicker. Alone is quicker where the trial is the only one of its
        structure in its generation, so that a lane would stay empty, or where each trial of its
        generation has a worker and two lanes take longer than one trial. The whole generation
        counts, not what is left of it: a search that goes on trains the trial by the same
        engine."""
        if self.plans.engine != "auto" or not self.proposer.waits or self.saving.engine(trial):
            return None
        history, own = self.session.run.history, self.key_of(trial)
        come = {
            (each.strategy, each.generation)
            for each in history.proposals
            if trial.number in each.trials
        }
        beside = {
            number
            for each in history.proposals
            if (each.strategy, each.generation) in come
            for number in each.trials
        }
        if sum(self.key_of(history.trials[number]) == own for number in beside) == 1:
            return ALONE
        return APART if len(beside) <= self.executor.capacity else None

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

    def _probe(self, trials: Sequence[Trial], groups: Mapping[str, Sequence[Trial]]) -> Probe:
        coming = later = 0
        if self.proposer.waits:  # Later generations go by the same plan.
            coming = self.proposer.room * self.spec.trials_per_point // len(groups)
            later = min(sum(map(len, groups.values())), len(trials) + coming)
        return Probe(
            tuple(trials[:PROBED]),
            share=-(-len(trials) // self.executor.capacity),
            engine=self.plans.engine,
            lanes=self.plans.lanes,
            workplace=self.session.workplace,
            later=-(-later // self.executor.capacity),
            expected=-(-(len(trials) + coming) // self.executor.capacity),
            data_hash=self.facts.data_hash,
            source_hashes=self.facts.source_hashes,
        )

    def cohorts(self, trials: Sequence[Trial], plan: Plan) -> list[Cohort]:
        """The cohorts of trials of one structure."""
        # One that waits at a rung keeps those behind it from beginning.
        alone = plan.engine == "solo" and self.rungs.rule is not None
        if self.spec.kind is not None:
            return [self.cohort([trial], plan) for trial in trials]
        # A worker trains all it has, so where a search may end it gets what it begins at once.
        at_once = self.asked.limited or alone
        stems = {} if at_once and plan.engine == "solo" else self._find_stems(trials)
        whole = not self.budgets
        parts = divide(
            trials, plan, self.executor.capacity, at_once=at_once, stems=stems, whole=whole
        )
        return [self.cohort(part, plan) for part in parts]

    def _find_stems(self, trials: Sequence[Trial]) -> dict[int, int]:
        """The first trial among those with common steps, by the number of each trial that has such
        steps; notes how much is shared."""
        if not self.asked.share or len(trials) < 2:
            return {}
        # Here alone: commands that only read runs need no numpy.
        from lrsearch.train.engines.stems import find_stems

        ordered = sorted(trials, key=lambda each: each.number)
        samples, batch = self._measure_epoch(ordered[0])
        if not samples:
            return {}
        begun = {
            each.number: self.saving.step(each.number)
            for each in trials
            if self.saving.holds(each.number)
        }
        branches = find_stems(
            *(ordered, samples, batch),
            begun=begun,
            judged=self.rungs.judged(trials),
            most=min(self.rungs.cohort(trials), default=None),
        )
        roots: dict[int, int] = {}
        for trial in ordered:
            if (branch := branches.get(trial.number)) is not None:
                roots[trial.number] = roots.setdefault(branch.stem, branch.stem)
        for trial in ordered:
            if trial.number in roots:
                train = trial.config["train"]
                size = batch or train["batch_size"]
                config = {**trial.config, "train": {**train, "batch_size": size}}
                fork = branches[trial.number].fork if trial.number in branches else 0
                each, whole = size / samples, steps_of(config, samples)
                self.shared[trial.number] = roots[trial.number], fork * each, whole * each
        return roots

    def _measure_epoch(self, trial: Trial) -> tuple[int, float | None]:
        """The samples of an epoch of a trial, and of a batch where a loader has its own; 0 where
        nobody knows."""
        if not self.facts.passes:
            return self.facts.train_samples[trial.fold or 0], None
        return self.facts.passes.get(str(trial.config["train"]["batch_size"]), (0, None))

    def answer(self, probe: Probe, planned: Planned) -> None:
        """Queue the trials of a structure that waited for this plan."""
        key = self.key(probe)
        self.plans.keep(key, planned)
        self.queue.extend(self.cohorts(self.unplanned.pop(key), planned.plan))
        self._describe_plans()
        if not self._told_of_generation:
            each = self.spec, self.session.strategy, planned.figures, self.executor.capacity
            told = larger_generation(*each)
            self._told_of_generation = bool(told)
            if told:
                self.session.watcher.note(told)

    def replan(self, cohort: Cohort, planned: Planned) -> None:
        """Replace a running cohort's plan, which did not hold: trials without a worker follow the
        new one."""
        key = self.key(cohort)
        before = self.plans.find(key) or cohort.plan
        lanes, most = (
            each.lanes if each.engine == "fused" else 0 for each in (planned.plan, before)
        )
        if lanes >= most:
            return  # another cohort has found as much already
        trials: list[Trial] = []
        kept: list[Cohort | Probe] = []
        for task in self.queue:
            if isinstance(task, Cohort) and task.plan == before and self.key(task) == key:
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
            if self.shared and not self.told_shared:
                self.told_shared = True
                self.session.watcher.note(describe_shared(self.shared))

    # training

    def place(self, handle: int, number: int) -> Place:
        """The place of a trial that a job has begun."""
        job, trial = self.jobs[handle], self.session.run.history.trials[number]
        lanes = job.plan.lanes if job.plan.engine == "fused" else 1
        _, forked, whole = self.shared.get(number, (0, 0.0, 0.0))
        shared = forked / whole if whole else 0.0
        samples, batch = (0, None) if self.spec.kind else self._measure_epoch(trial)
        if not samples:
            return Place(handle, lanes, shared=shared)
        train = trial.config["train"]
        size = batch or train["batch_size"]
        steps = steps_of({**trial.config, "train": {**train, "batch_size": size}}, samples)
        return Place(handle, lanes, steps, steps * size / samples, shared)

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
            rungs=self.rungs.cohort(trials),
            judged=self.rungs.judged(trials),
            share=self.asked.share and self.spec.kind is None,
        )

    @property
    def active(self) -> int:
        """The number of jobs that have something to do: not all of their trials wait at rungs."""
        waiting = self.rungs.waiting.keys()
        return sum(not (job.left and job.left.keys() <= waiting) for job in self.jobs.values())

    def submit(self) -> None:
        """Give queued tasks to the workers that are free."""
        capacity = self.executor.capacity
        while self.queue and self.active < capacity and not self.is_over():
            self._send(self.queue.popleft())

    def _send(self, task: Cohort | Probe) -> None:
        if isinstance(task, Cohort):
            self.send_cohort(task)
        elif self.conclusions.memory.is_too_large(task.trials[0]):
            # All trials of the structure are, and will be skipped in their turn.
            self.queue.extend(self.cohorts(self.unplanned.pop(self.key(task)), Plan()))
        else:
            self.jobs[self.executor.submit(PROBE, task)] = Assignment(task)

    def send_cohort(self, cohort: Cohort, *, clean: bool = False) -> None:
        """Give a worker, a new one if `clean`, the cohort's trials that need training."""
        trials = tuple(trial for trial in cohort.trials if not self.conclusions.skip(trial))
        if trials:
            bar = self.conclusions.best.bar
            states = self.saving.find(trials, cohort.plan.engine)
            saved = {number: self.saving.step(number) for number in states}
            cohort = replace(cohort, trials=trials, bar=bar, states=states, saved=saved)
            function = find_jobs(self.spec.kind).train
            handle = self.executor.submit(function, cohort, clean=clean)
            left = {trial.number: trial for trial in trials}
            self.jobs[handle] = Assignment(cohort, cohort.plan, left)


def describe_shared(found: Mapping[int, tuple[int, float, float]]) -> str:
    """A sentence on the trials that have steps in common: `Dispatch.shared`."""
    roots = {root for root, _, _ in found.values()}
    stems = "1 stem" if len(roots) == 1 else f"{len(roots)} stems"
    share = sum(shared for _, shared, _ in found.values()) / sum(
        all_ for *_, all_ in found.values()
    )
    return (
        f"{len(found)} trials share {stems}: {share:.0%} of their epochs need no training of their "
        "own"
    )
