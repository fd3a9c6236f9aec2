"""Jobs of trainings by a command or a loop: the run's facts, and a cohort's trials in turn, each a
process whose output is read.

Metrics are found in its output by `listening`, and as JSON lines in the file of LRSEARCH_METRICS.
Free of torch, as is the process that runs a command.
"""

from __future__ import annotations

import math
import platform
import signal
from collections.abc import Generator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from lrsearch import pulse
from lrsearch.errors import ModelError, TrainingError, signal_name
from lrsearch.machine import describe_processor
from lrsearch.outside.advice import missing_metric
from lrsearch.outside.listening import find_object
from lrsearch.outside.process import POLL, Aside, Notice, Process, find_device
from lrsearch.outside.reported import Reported
from lrsearch.spec.commandline import named_files, possible_files
from lrsearch.train.jobs import Preparation, await_verdict
from lrsearch.train.users.contents import file_hash
from lrsearch.trial import (
    Cohort,
    Config,
    Ended,
    Facts,
    Measured,
    Objective,
    Outcome,
    Reached,
    Result,
    Started,
    Trial,
    Verdict,
    describe_timeout,
)

Event = Started | Measured | Reached | Ended | None
EventGenerator = Generator[Event, Any, Any]

MOST_METRICS = 200
"""The most different metrics a trial may report."""

_TOO_MANY = f"it reports more than {MOST_METRICS} different metrics"

_SHOWN = 0.2
"""Seconds between two measurements that are passed on."""

Ending = tuple[Outcome, str, tuple[str, str]]
"""The end of a process: the outcome, the reason, and the kept ends of its stderr and stdout."""

_NOTHING = ("", "")

# preparing


def prepare(payload: Preparation) -> Generator[Facts, Any, None]:
    """Hash the files that the commands name; yields the run's Facts once.

    Raises UsageError for a device that makes no sense.
    """
    workplace = payload.workplace
    hashes = _hash_files(possible_files(payload.configs, workplace.folder), workplace.folder)
    device = find_device(workplace.device)
    yield make_facts("command", hashes, device, describe_processor())


def make_facts(task: str, hashes: Mapping[str, str], device: str, device_name: str) -> Facts:
    """The facts of a run without data or a model of lrsearch's."""
    return Facts(
        task=task,
        data_hash="",
        source_hashes=dict(hashes),
        train_samples=(),
        validation_samples=(),
        test_samples=0,
        input_shape=(),
        outputs=0,
        device=device,
        devices=(),
        device_name=device_name,
        versions={"python": platform.python_version()},
        parameters=0,
    )


def file_hashes(config: Config, folder: str) -> dict[str, str]:
    """SHA-256 of each file under the folder that a resolved command names, by the name in the
    command."""
    return _hash_files(named_files(config), folder)


def _hash_files(names: Sequence[str], folder: str) -> dict[str, str]:
    """SHA-256 of each name that is a file under the folder."""
    root = Path(folder).resolve()
    found = {}
    for name in names:
        try:
            path = (root / name).resolve()
            if not name or not path.is_relative_to(root) or not path.is_file():
                continue
            found[name] = file_hash(path)
        except (OSError, ValueError):  # Too long for a name, say: it is none.
            continue
    return found


# running


def run(cohort: Cohort) -> EventGenerator:
    """Run the cohort's trials in turn; yields their events, as `cohort.run_cohort` does.

    Raises ModelError for files, or a loop, that are not what the run began with.
    """
    for trial in cohort.trials:
        yield Started(trial.number)
        if "command" in trial.config:
            found = file_hashes(trial.config, cohort.workplace.folder)
            known = {name: cohort.source_hashes.get(name) for name in named_files(trial.config)}
            if cohort.source_hashes and found != {n: h for n, h in known.items() if h}:
                names = sorted(n for n, h in known.items() if found.get(n) != h)
                hint = "; if the trials write it, give each a name of its own: out-{trial}.txt"
                raise _changed(", ".join(names), hint)
        yield from _run_trial(cohort, trial)


def _changed(where: str, hint: str = "") -> ModelError:
    return ModelError(
        "it is not what the run began with: it changed meanwhile",
        where=where,
        hint=f"start again to measure it as it is now{hint}",
    )


def _run_trial(cohort: Cohort, trial: Trial) -> EventGenerator:
    course = Reported(cohort.objective.metric)
    fault: TrainingError | None = None
    begun, seconds = pulse.clock(), 0.0
    pulse.enter(f"starting trial {trial.number}")
    ending: Ending | None
    try:
        process = Process(cohort, trial)
    except OSError as error:
        ending = Outcome.FAILED, f"the command cannot be started: {error}", _NOTHING
    else:
        with process:
            ending = yield from _listen(cohort, trial, process, course)
            seconds = pulse.clock() - begun - process.waited
            if ending is None:
                told = list(course.last)
                reason, fault = missing_metric(trial, cohort.objective, told, *process.output())
                ending = Outcome.FAILED, reason, process.kept()
    outcome, reason, (trace, output) = ending
    result = replace(
        _result(course, outcome), seconds=seconds, reason=reason, traceback=trace, output=output
    )
    yield Ended(trial.number, result, course.curve(), fault=fault)


def _result(course: Reported, outcome: Outcome) -> Result:
    """The result of what was reported, if the trial ended now."""
    return Result(
        outcome=outcome,
        steps=course.step,
        epochs=0.0,
        seconds=0.0,
        last=course.last,
        best=course.best,
        best_step=course.best_step,
    )


def _listen(
    cohort: Cohort, trial: Trial, process: Process, course: Reported
) -> Generator[Event, Any, Ending | None]:
    """Follow a process until it ends or has to stop; None where it ended well without reporting the
    objective's metric.

    Metrics on stderr count at the end alone, since the order of two streams cannot be known:
    metrics that stdout lacks, and objects only where stdout lacks the objective's metric.
    """
    metric = cohort.objective.metric
    aside = Reported(metric)
    deadline = math.inf if cohort.timeout is None else pulse.clock() + cohort.timeout
    rungs = sorted(cohort.rungs)
    shown = -math.inf
    pulse.enter(pulse.TRAINING)
    while True:
        over = process.over
        if not over:
            process.wait(min(POLL, max(0.0, deadline - pulse.clock())))
        # Its last output has to be read after its end.
        for message in process.messages(drain=over):
            if isinstance(message, Notice):
                if message.changed:
                    raise _changed(trial.config["loop"])
                process.error = message.error
            elif isinstance(message, Aside):
                if len(aside.last) <= MOST_METRICS:
                    aside.take(message.content)
            elif ending := _take_in(message, process, course):
                return ending
            elif metric in message:
                before = process.waited
                if ending := (yield from _wait_at_rungs(cohort, trial, process, course, rungs)):
                    return ending
                deadline += process.waited - before
        seen = aside if aside.fresh and metric not in course.last else course
        if seen.fresh and (over or pulse.clock() - shown >= _SHOWN):
            shown = pulse.clock()
            yield seen.measured(trial)
        late = pulse.clock() >= deadline and not process.over
        if not over and not late:
            continue
        if late:
            process.stop()
        if "metrics" in trial.config or metric not in course.last:
            reason = course.join(aside)
            if reason:
                return Outcome.DIVERGED, reason, _NOTHING
            if len(course.last) > MOST_METRICS:
                return Outcome.FAILED, _TOO_MANY, process.kept()
        if over:
            return _judge(process, course, cohort.objective)
        assert cohort.timeout is not None
        return Outcome.FAILED, describe_timeout(cohort.timeout), process.kept()


def _wait_at_rungs(
    cohort: Cohort, trial: Trial, process: Process, course: Reported, rungs: list[int]
) -> Generator[Event, Any, Ending | None]:
    """Wait for the verdicts at the rungs that a trial has come to, which are taken off `rungs`; the
    ending of one that is stopped, whose process has run no further."""
    while rungs and course.step >= rungs[0]:
        yield course.measured(trial)
        value = _result(course, Outcome.COMPLETED).value(cohort.objective)
        with process.paused():
            verdict = yield from await_verdict(trial.number, rungs.pop(0), value)
            if verdict is Verdict.STOP:  # Before it runs on.
                process.stop()
                return Outcome.PRUNED, f"stopped after {course.step} steps", _NOTHING
    return None


def _take_in(message: Mapping[str, Any], process: Process, course: Reported) -> Ending | None:
    """Take in a line of metrics; stops a process whose training is lost with it, or that reports
    too many metrics, and returns its ending."""
    if reason := course.take(message):
        process.stop()
        return Outcome.DIVERGED, reason, _NOTHING
    if len(course.last) > MOST_METRICS:
        process.stop()
        return Outcome.FAILED, _TOO_MANY, process.kept()
    return None


def _judge(process: Process, course: Reported, objective: Objective) -> Ending | None:
    """The ending of a process that has ended by itself; None as in `_listen`."""
    _, kind, detail = (*process.status.split(" ", 2), "", "", "")[:3]
    if kind == "exit" and detail == "0":
        if objective.metric in course.last:
            return Outcome.COMPLETED, "", _NOTHING
        return None
    if process.error:
        return Outcome.FAILED, process.error, process.kept()
    if kind == "signal":
        reason = f"killed by {signal_name(int(detail))}"
        # A process that ends by itself has said why; one that others end has not.
        last = process.last_words(sure=True) if int(detail) == signal.SIGABRT else ""
        reason += f": {last}" if last else ""
    elif kind == "stopped":
        reason = "stopped from outside, by a signal to its keeper"
    elif kind == "exit":
        last = process.last_words()
        if find_object(last) is not None:  # Metrics say nothing of why it failed.
            last = ""
        reason = f"exit code {detail}" + (f": {last}" if last else "")
    elif kind == "error":
        return Outcome.FAILED, f"the command cannot be started: {detail}", _NOTHING
    else:
        reason = "whoever watched over it was killed"
    return Outcome.FAILED, reason, process.kept()
