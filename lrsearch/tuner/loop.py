"""Propose, skip what is measured, hand out cohorts, journal, tell: until nothing is left."""

from __future__ import annotations

import contextlib
import json
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Protocol

from lrsearch import catalogue
from lrsearch.errors import LrsearchError, StorageFull, TooManyFailures
from lrsearch.executors.port import Died, Executor, Finished, Raised
from lrsearch.search import Request, count_trials, make_strategy, trial_limit
from lrsearch.search.strategy import point_key
from lrsearch.spec.export import export_name, export_spec
from lrsearch.spec.model import Spec, flatten, identity, resolve
from lrsearch.store import Run
from lrsearch.trial import (
    Cohort,
    Config,
    Ended,
    Facts,
    Measured,
    Objective,
    Outcome,
    Plan,
    Point,
    Proposal,
    Result,
    Started,
    Trial,
    Workplace,
)
from lrsearch.tuner.ledger import Content, Entry, Ledger

RUN_COHORT = "lrsearch.train.solo:run_cohort"

COHORT = 8
"""Trials handed out at once: more would delay what the other workers could take."""

STILLBORN = 3
"""Workers that may die before they begin a trial until the search gives up."""


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
    """How a search ended: `trained` trials now, `answered` proposals from the journal."""

    trained: int
    answered: int
    note: str = ""


@dataclass
class _Job:
    cohort: Cohort
    left: dict[int, Trial]
    begun: int | None = None


@dataclass
class _Tally:
    """What the session did."""

    trained: int = 0
    answered: int = 0
    failures: int = 0
    stillborn: int = 0
    retried: set[int] = field(default_factory=set)


def structure(config: Config, fold: int | None) -> str:
    """A text shared by exactly the trials that may train side by side: all that is not numeric
    in the catalogue, and the fold, which has data of its own."""
    whole = identity(config)
    train = config["train"]
    rest = {name: train[name] for name, part in catalogue.TRAIN.items() if not part.numeric}
    parts = [whole["data"], whole["model"], rest, train["optimizer"]["name"], fold]
    return json.dumps(parts, sort_keys=True)


def cohorts(trials: Sequence[Trial], workers: int) -> list[list[Trial]]:
    """Trials of one structure together, each structure divided over the workers, in the order of
    their first trials."""
    groups: dict[str, list[Trial]] = {}
    for trial in trials:
        groups.setdefault(structure(trial.config, trial.fold), []).append(trial)
    parts = []
    for group in groups.values():
        size = min(COHORT, -(-len(group) // workers))
        parts += [group[start : start + size] for start in range(0, len(group), size)]
    return sorted(parts, key=lambda part: part[0].number)


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
    begun: float | None = None,
) -> Ending:
    """Run a strategy to its end over a run folder, training only what is missing.

    `begun` is the `time.monotonic()` from which the session's wall time counts; default now.
    `check_search` has passed. Raises SpecRefused where nothing stored belongs to the spec,
    TooManyFailures, StorageFull. However it ends, what was measured is in the journal.
    """
    begun = time.monotonic() if begun is None else begun
    search = _Search(spec, strategy, run, executor, facts, workplace, watcher, retry_failed)
    reason = "interrupted"
    try:
        ending = search.go()
        reason = "finished"
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
        retry_failed: bool,
    ) -> None:
        self.spec = spec
        self.name = strategy
        self.run = run
        self.executor = executor
        self.facts = facts
        self.workplace = workplace
        self.watcher = watcher
        self.retry_failed = retry_failed
        self.objective = spec.objective(facts.task)
        self.strategy = make_strategy(strategy, spec, self.objective)
        self.limit = trial_limit(strategy, spec)
        content = Content(facts.task, facts.data_hash, facts.source_hash)
        self.ledger = Ledger(spec, content, run.history)
        self.ledger.refuse_stranger()
        self.queue: deque[Cohort] = deque()
        self.jobs: dict[int, _Job] = {}
        self.tally = _Tally()
        self.total = 0
        self.note = ""
        self.exhausted = False
        self.known: set[str] = set()
        self.told: set[int] = set()
        self.best: tuple[float, Entry] | None = None
        self.too_large: dict[str, int] = {}
        # Which weights a session before this one left is not known: whatever may be there.
        self.weights: set[int] = set(self.ledger.entry_of)
        self._read_history()

    def _read_history(self) -> None:
        history = self.run.history
        for entry in self.ledger.entries.values():
            if entry.point is not None and self._missing(entry.config) == []:
                self.known.add(point_key(entry.point))
            self._consider(entry)
        for number, result in history.results.items():
            if result.outcome is Outcome.OUT_OF_MEMORY and number in self.ledger.entry_of:
                self._remember_memory(history.trials[number])
        self.mine: set[str] = set()
        self.index = 0
        self.made = 0
        self.repeats = 0
        self.pending: list[Entry] = []
        seen: set[int] = set()
        for proposal in history.proposals:
            new = not seen.issuperset(proposal.trials)
            seen.update(proposal.trials)
            if proposal.strategy != self.name:
                continue
            self.index = max(self.index, proposal.index + 1)
            found = self.ledger.entry_of.get(proposal.trials[0])
            if found is None or found.point is None:
                continue
            self.made += 1
            self.repeats = 0 if new else self.repeats + 1
            key = point_key(found.point)
            if key not in self.mine:
                self.mine.add(key)
                self.pending.append(found)

    def go(self) -> Ending:
        """Everything from the first line in the journal to the last trial."""
        self.run.opened(
            {
                "document": self.spec.document,
                "source": self.spec.source,
                "folder": str(self.spec.folder),
            },
            self.name,
            asdict(self.facts),
        )
        unfinished = self._unfinished()
        per_point = self.spec.trials_per_point
        points = count_trials(self.name, self.spec) // per_point
        self.total = len(unfinished) + max(0, points - self.made) * per_point
        self.watcher.begin(self.total, self.objective, self.executor.capacity)
        if self.best is not None:
            # Another spec's best may stand there, or one that a killed session did not replace.
            self._take_best()
        self._enqueue(unfinished)
        while True:
            while self._may_propose():
                self._propose()
            self._submit()
            if self.jobs:
                self._listen()
            elif not self._may_propose():  # all that was left may have been skipped
                break
        return Ending(self.tally.trained, self.tally.answered, self.note)

    # proposing

    def _may_propose(self) -> bool:
        if self.exhausted:
            return False
        if self.strategy.waits:
            return not self.queue and not self.jobs
        return len(self.queue) < self.executor.capacity

    def _propose(self) -> None:
        room = 10**9 if self.limit is None else self.limit - self.made
        points: list[dict[str, Any]] = []
        if room > 0:
            if self.strategy.waits:
                self._tell()
            request = Request(
                index=self.index,
                room=room,
                known=lambda point: point_key(point) in self.known,
                proposed=lambda point: point_key(point) in self.mine,
                repeats=self.repeats,
            )
            points = self.strategy.propose(request)
        if not points:
            self.exhausted = True
            if room > 0 and self.limit is not None:
                self.note = (
                    f"every point of the space is measured: {self.name} ends after {self.made} "
                    f"of its {self.limit} proposals"
                )
                self.watcher.note(self.note)
                self.total -= room * self.spec.trials_per_point
                self.watcher.planned(self.total)
            return
        self._journal(points)

    def _journal(self, points: Sequence[dict[str, Any]]) -> None:
        """Write a generation down, and queue what of it is not measured."""
        generation = 1 + max(
            (part.generation for part in self.run.history.proposals[-1:]), default=0
        )
        proposals: list[Proposal] = []
        new: dict[str, Trial] = {}
        for offset, point in enumerate(points):
            config = resolve(self.spec, point, self.facts.task)
            numbers, missing = self._trials(config, new)
            for trial in missing:
                self.ledger.add(trial)
                new[trial.key] = trial
            numbers += [trial.number for trial in missing]
            proposals.append(
                Proposal(self.name, generation, self.index + offset, point, tuple(numbers))
            )
            self.repeats = 0 if missing else self.repeats + 1
            self.known.add(point_key(point))
            self.mine.add(point_key(point))
        self.run.proposed(generation, self.name, proposals, list(new.values()))
        self.index += len(points)
        self.made += len(points)
        again = [
            self.run.history.trials[number]
            for proposal in proposals
            for number in proposal.trials
            if number not in self.run.history.results
        ]
        waiting = list({trial.number: trial for trial in again}.values())
        fresh = [trial for trial in waiting if not self._under_way(trial.number)]
        answered = len(points) * self.spec.trials_per_point - len(fresh)
        self.tally.answered += sum(1 for part in proposals if not self._open(part.trials))
        self.total -= answered
        self.watcher.planned(self.total)
        self._enqueue(fresh)

    def _open(self, numbers: Sequence[int]) -> bool:
        return any(number not in self.run.history.results for number in numbers)

    def _under_way(self, number: int) -> bool:
        queued = any(trial.number == number for part in self.queue for trial in part.trials)
        return queued or any(number in job.left for job in self.jobs.values())

    def _trials(self, config: Config, new: Mapping[str, Trial]) -> tuple[list[int], list[Trial]]:
        """The numbers of a point's trials that exist, and those that must be made. `new` are made
        and not in the journal yet, by their keys: a generation may propose a point twice."""
        first = self.run.history.next_number + len(new)
        existing: list[int] = []
        missing: list[Trial] = []
        for seed, fold in self.ledger.wanted():
            key = self.ledger.key(config, seed, fold)
            number = new[key].number if key in new else self.run.history.by_key.get(key)
            if number is None or self._given_up(number):
                missing.append(Trial(first + len(missing), key, config, seed, fold))
            else:
                existing.append(number)
        return existing, missing

    def _missing(self, config: Config) -> list[Trial]:
        return self._trials(config, {})[1]

    def _given_up(self, number: int) -> bool:
        """Whether a failed trial is to be tried again."""
        result = self.run.history.results.get(number)
        return self.retry_failed and result is not None and result.outcome is Outcome.FAILED

    def _unfinished(self) -> list[Trial]:
        """What earlier sessions of this strategy proposed and did not measure, or not with the
        seeds and folds the spec has now."""
        new: dict[str, Trial] = {}
        waiting: dict[int, Trial] = {}
        for entry in self.pending:
            existing, missing = self._trials(entry.config, new)
            for trial in missing:
                self.ledger.add(trial)
                new[trial.key] = trial
            assert entry.point is not None
            self.known.add(point_key(entry.point))
            trials = [self.run.history.trials[number] for number in existing]
            for trial in (*trials, *missing):
                if trial.number not in self.run.history.results:
                    waiting[trial.number] = trial
        if new:
            self.run.proposed(0, self.name, [], list(new.values()))
        return list(waiting.values())

    def _tell(self) -> None:
        """Tell what is new, in the order of the points' first trials, which a resumed run
        shares."""
        for entry in self.ledger.entries.values():
            if entry.number in self.told or entry.point is None:
                continue
            outcome, value = self.ledger.judge(entry, self.objective)
            if outcome is not None:
                self.told.add(entry.number)
                self.strategy.tell(entry.point, outcome, value)

    # training

    def _enqueue(self, trials: Sequence[Trial]) -> None:
        for part in cohorts(trials, self.executor.capacity):
            self.queue.append(self._cohort(part))

    def _cohort(self, trials: Sequence[Trial]) -> Cohort:
        return Cohort(tuple(trials), Plan(), self.workplace, self.objective)

    def _submit(self) -> None:
        while self.queue and len(self.jobs) < self.executor.capacity:
            self._send(self.queue.popleft())

    def _send(self, cohort: Cohort, *, clean: bool = False) -> None:
        trials = tuple(trial for trial in cohort.trials if not self._skip_too_large(trial))
        if trials:
            # A point of several trials can win by its mean with one of them below the best.
            bar = self.best[0] if self.best and self.spec.trials_per_point == 1 else None
            cohort = replace(cohort, trials=trials, bar=bar)
            handle = self.executor.submit(RUN_COHORT, cohort, clean=clean)
            self.jobs[handle] = _Job(cohort, {trial.number: trial for trial in trials})

    def _listen(self) -> None:
        events = self.executor.events()
        if not events:
            raise RuntimeError("jobs are out, and the executor has nothing more to say")
        for handle, event in events:
            job = self.jobs[handle]
            if isinstance(event, Started):
                job.begun = event.trial
                self.run.started(event.trial)
                self.watcher.started(event.trial, self._params(event.trial))
            elif isinstance(event, Measured):
                value = event.measurement.metrics.get(self.objective.metric)
                share = event.measurement.step / event.steps
                self.watcher.measured(event.trial, share, value)
            elif isinstance(event, Ended):
                self._end(job, event)
            elif isinstance(event, Finished):
                del self.jobs[handle]
                if job.left:
                    raise RuntimeError(f"a cohort ended without its trials {sorted(job.left)}")
            elif isinstance(event, Raised):
                if isinstance(event.error, LrsearchError):
                    raise event.error
                raise RuntimeError(f"a worker raised {event.message}\n{event.traceback}")
            elif isinstance(event, Died):
                del self.jobs[handle]
                self._bury(job, event)
            else:
                raise RuntimeError(f"an event nobody expects: {event}")

    def _end(self, job: _Job, event: Ended) -> None:
        trial = job.left.pop(event.trial)
        job.begun = None
        if event.result.outcome is Outcome.OUT_OF_MEMORY and trial.number not in self.tally.retried:
            # Alone in a process that has nothing else in memory it may yet fit.
            self.tally.retried.add(trial.number)
            self._send(self._cohort([trial]), clean=True)
            return
        if event.weights is not None:
            self.run.keep_weights(trial.number, event.weights)
            self.weights.add(trial.number)
        self._conclude(trial, event.result, event.curve)

    def _conclude(self, trial: Trial, result: Result, curve: Mapping[str, list[float]]) -> None:
        self.run.ended(trial.number, result, curve)
        self.tally.trained += 1
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
        entry = self.ledger.entry_of[trial.number]
        if self._consider(entry):
            self._take_best()
        if self.weights and not self._open(entry.trials):
            self._sweep()
        if result.outcome is Outcome.FAILED:
            self.tally.failures += 1
            if self.tally.failures > self.spec.max_failures:
                raise TooManyFailures(
                    f"{self.tally.failures} trials failed, more than max_failures "
                    f"({self.spec.max_failures}) allows; the last: {result.reason}",
                    hint="mend the cause; --retry-failed trains the failed trials again",
                )

    def _sweep(self) -> None:
        """Delete the weights of points that are complete and not the best."""
        for number in list(self.weights):
            entry = self.ledger.entry_of[number]
            is_best = self.best is not None and self.best[1] is entry
            if not is_best and not self._open(entry.trials):
                self.weights.discard(number)
        self.run.drop_weights(self.weights)

    def _bury(self, job: _Job, death: Died) -> None:
        """A worker died: the trial it was training failed, the others are handed out again."""
        if job.begun is not None and death.running:
            trial = job.left.pop(job.begun)
            steps_unknown = Result(
                Outcome.FAILED,
                steps=0,
                epochs=0.0,
                seconds=0.0,
                reason=f"the worker process was lost: {death.reason}",
                traceback=death.output,
            )
            self._conclude(trial, steps_unknown, {})
        else:
            self.tally.stillborn += 1
            if self.tally.stillborn >= STILLBORN:
                raise TooManyFailures(
                    f"{STILLBORN} workers died before they began a trial: {death.reason}",
                    hint=death.output,
                )
        if job.left:
            self.queue.appendleft(self._cohort(list(job.left.values())))

    # memory

    def _remember_memory(self, trial: Trial) -> None:
        key, batch = self._memory(trial)
        self.too_large[key] = min(batch, self.too_large.get(key, batch))

    def _memory(self, trial: Trial) -> tuple[str, int]:
        """A structure without its batch size, and the batch size."""
        train = dict(trial.config["train"])
        batch = int(train.pop("batch_size"))
        return structure({**trial.config, "train": {**train, "batch_size": 0}}, None), batch

    def _skip_too_large(self, trial: Trial) -> bool:
        if not self.too_large or trial.number in self.tally.retried:
            return False
        key, batch = self._memory(trial)
        limit = self.too_large.get(key)
        if limit is None or batch < limit:
            return False
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
        value = self.ledger.judge(entry, self.objective)[1]
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


__all__ = ["Ending", "Point", "Watcher", "tune"]
