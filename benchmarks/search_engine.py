"""An engine that answers from tables: whole searches by the real tuner, its journal, its rungs and
its verdicts, of which nothing but the training is left out.

`Tables` is an executor as any other; its jobs tell what a training tells, epoch by epoch, and wait
at rungs for the tuner's verdict. Each epoch counts, of trainings that are stopped or diverge too.
"""

from __future__ import annotations

import contextlib
import math
import tempfile
import time
from collections.abc import Generator
from dataclasses import dataclass, field, replace
from pathlib import Path

from search_tables import Course, Task

from lrsearch.analysis.pruning import NO_PROGRESS
from lrsearch.duration import evaluation_steps
from lrsearch.executors.inline import Inline
from lrsearch.executors.port import Replies
from lrsearch.spec import Spec
from lrsearch.store import History, Run
from lrsearch.train.engines.stems import find_way
from lrsearch.train.jobs import await_verdict
from lrsearch.trial import (
    Cohort,
    Ended,
    Facts,
    Measured,
    Measurement,
    Outcome,
    Point,
    Result,
    Started,
    Trial,
    Verdict,
    Workplace,
)
from lrsearch.tuner.loop import tune
from lrsearch.tuner.session import Asked
from lrsearch.tuner.watcher import Watcher

SAMPLES = 10_000
"""Training samples that the tuner is told of: they make steps of epochs."""

_FACTS = Facts(
    task="classification",
    data_hash="table",
    source_hashes={},
    train_samples=(SAMPLES,),
    validation_samples=(SAMPLES,),
    test_samples=0,
    input_shape=(1,),
    outputs=10,
    device="cpu",
    devices=("cpu",),
    device_name="a table",
    versions={},
    parameters=1,
)


class Over(KeyboardInterrupt):
    """The end of a search whose epochs are used up, as if its user ended it."""


@dataclass
class Meter:
    """The epochs of a search: `spent` of at most `limit`. `ends` has, for each training that came
    to its end, the epochs spent by then and its value; `trainings` counts all that were begun, and
    `looking` the seconds of CPU that went into looking curves up."""

    limit: int
    spent: int = 0
    ends: list[tuple[int, float]] = field(default_factory=list)
    trainings: int = 0
    looking: float = 0.0

    def look_up(self, task: Task, point: Point) -> Course:
        """The curve of a training that begins."""
        self.trainings += 1
        self.looking -= time.process_time()
        course = task.course(point)
        self.looking += time.process_time()
        return course

    def train(self) -> None:
        """Train an epoch. Raises Over where none is left."""
        if self.spent >= self.limit:
            raise Over
        self.spent += 1

    def end(self, value: float) -> None:
        """Note a training that came to its end."""
        self.ends.append((self.spent, value))

    def best(self, epochs: int) -> float:
        """The best value that was known after so many epochs, infinite where none was."""
        return min((value for spent, value in self.ends if spent <= epochs), default=math.inf)


class Tables(Inline):
    """An executor whose trainings are looked up in a task's table."""

    def __init__(self, task: Task, history: History, meter: Meter) -> None:
        super().__init__()
        self.task, self.history, self.meter = task, history, meter
        self._points: dict[str, Point] = {}
        self._read = 0

    def submit(self, function: str, payload: object, *, clean: bool = False) -> int:
        """Hand in a cohort, which `answer` trains in place of `function`."""
        return super().submit("search_engine:answer", (self, payload))

    def course(self, trial: Trial) -> Course:
        """The curve of a trial that begins."""
        return self.meter.look_up(self.task, self.point(trial.number))

    def point(self, number: int) -> Point:
        """The point that a trial measures: by its key, since what is trained again after
        `no_progress` is lifted has a number that no proposal names."""
        for proposal in self.history.proposals[self._read :]:
            for each in proposal.trials:
                self._points[self.history.trials[each].key] = proposal.point
        self._read = len(self.history.proposals)
        return self._points[self.history.trials[number].key]


def answer(given: tuple[Tables, Cohort]) -> Generator[object, Replies, None]:
    """Tell of a cohort's trials what their curves in the table say, as solo trainings do."""
    tables, cohort = given
    for trial in cohort.trials:
        yield Started(trial.number)
        course = tables.course(trial)
        yield from _train(trial, cohort, course, tables.meter)


def _train(
    trial: Trial, cohort: Cohort, course: Course, meter: Meter
) -> Generator[object, Replies, None]:
    train = trial.config["train"]
    steps = evaluation_steps(train, SAMPLES)
    if len(steps) != len(course.epochs):
        raise ValueError(f"{len(course.epochs)} epochs are known of a budget of {len(steps)}")
    judged = 0
    if trial.number in cohort.judged and course.start is not None:
        judged = find_way(train, SAMPLES, judged=True).judged
    told: list[float] = []

    def end(outcome: Outcome, reason: str = "", rule: str = "") -> Ended:
        finite = [value for value in told if math.isfinite(value)]
        result = Result(
            outcome,
            steps=steps[len(told) - 1],
            epochs=float(len(told)),
            seconds=float(len(told)),
            last={"loss": told[-1]},
            best={"loss": min(finite)} if finite else {},
            best_step={"loss": steps[told.index(min(finite))]} if finite else {},
            reason=reason,
            rule=rule,
            whole=steps[-1] if outcome is Outcome.PRUNED else 0,
        )
        curve = {"step": [float(step) for step in steps[: len(told)]], "loss": list(told)}
        return Ended(trial.number, result, curve)

    for epoch, (step, value) in enumerate(zip(steps, course.epochs, strict=True), 1):
        meter.train()
        told.append(value)
        yield Measured(trial.number, Measurement(step, {"loss": value}), steps[-1])
        if not math.isfinite(value):
            yield end(Outcome.DIVERGED, f"loss is {value} after {step} steps")
            return
        if step == judged and course.stands_still(epoch):
            yield end(Outcome.PRUNED, f"no progress: after {step} steps", NO_PROGRESS)
            return
        if step in cohort.rungs and step < steps[-1]:
            verdict = yield from await_verdict(trial.number, step, value)
            if verdict is Verdict.STOP:
                yield end(Outcome.PRUNED, f"stopped after {step} of {steps[-1]} steps")
                return
    meter.end(course.value)
    yield end(Outcome.COMPLETED)


class Silent(Watcher):
    """A watcher that shows nothing."""


def search(task: Task, seed: int, strategy: str, more: str, limit: int) -> Meter:
    """Search a task by a strategy, with `more` lines of its spec, until `limit` epochs are trained
    or its trials are used up."""
    meter = Meter(limit)
    spec = task.spec(seed, more)
    with (
        tempfile.TemporaryDirectory() as folder,
        Run.open(Path(folder), spec.name, spec_text=spec.text) as run,
        Tables(task, run.history, meter) as executor,
        contextlib.suppress(Over),
    ):
        tune_tables(spec, strategy, run, executor)
    return meter


def tune_tables(spec: Spec, strategy: str, run: Run, executor: Tables) -> None:
    """Search by the tuner, in a run that may have been begun before."""
    facts = replace(_FACTS, train_samples=(SAMPLES,) * (spec.folds or 1))
    tune(
        spec,
        strategy,
        run=run,
        executor=executor,
        facts=facts,
        workplace=Workplace("cpu", "."),
        watcher=Silent(),
        asked=Asked(engine="solo", share=False),
    )
