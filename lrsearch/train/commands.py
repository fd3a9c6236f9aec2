"""A person's own training: a command, or the process of a loop, run and listened to.

Each trial is a process group of its own under a keeper (see `keeper`). Its metrics are what
`listening` finds in its output, and JSON lines in the file of LRSEARCH_METRICS. Free of torch, and
so is whoever runs a command.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import platform
import re
import secrets
import selectors
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from lrsearch import pulse
from lrsearch.errors import ModelError, TrainingError, UsageError
from lrsearch.reporting import is_name
from lrsearch.spec.commandline import (
    as_text,
    fill,
    named_files,
    possible_files,
    split_words,
)
from lrsearch.train.advice import missing_metric
from lrsearch.train.contents import file_hash
from lrsearch.train.last_words import find_reason, tail
from lrsearch.train.listening import Message, Objects, Patterns, decode, read_json, read_text, widen
from lrsearch.train.preparation import Preparation
from lrsearch.trial import (
    Cohort,
    Config,
    Ended,
    Facts,
    Measured,
    Measurement,
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
Job = Generator[Event, Any, Any]

GRACE = 3.0
"""Seconds from SIGTERM to SIGKILL."""

KEPT = 64 * 1024
"""Bytes of output that are kept, of each stream the last."""

LONGEST_LINE = 1 << 20
"""Bytes a line of metrics may have."""

MOST_METRICS = 200
"""Different metrics a trial may report."""

_TOO_MANY = f"it reports more than {MOST_METRICS} different metrics"

MOST_ROWS = 10_000
"""Rows of a curve; of more every second, fourth, ... one is kept, and the last."""

_POLL = 0.2
"""Seconds between two looks at the file of metrics."""

_WAKING = 1.0
"""Seconds between two signals to the keeper to go on."""

_SHOWN = 0.2
"""Seconds between two measurements that are passed on."""

_CHUNK = 1 << 16

_READ = 1 << 20
"""Bytes of the file of metrics read at once: one that is written faster than it can be read must
not hide the timeout."""

Ending = tuple[Outcome, str, tuple[str, str]]
"""How a process ended: the outcome, the reason, and what is kept of its stderr and stdout."""

_NOTHING = ("", "")

_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")

# preparing


def prepare(payload: Preparation) -> Generator[Facts, Any, None]:
    """Look at the files that the commands name; yields the run's Facts once.

    Raises UsageError for a device that makes no sense.
    """
    workplace = payload.workplace
    hashes = hash_files(possible_files(payload.configs, workplace.folder), workplace.folder)
    device = find_device(workplace.device)
    yield make_facts("command", hashes, device, platform.processor() or platform.machine())


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


def find_device(name: str) -> str:
    """What a command is told for a device. Nothing but the environment is asked: `auto` is the
    GPU that a worker was given, or the CPU. Raises UsageError for what names no device."""
    if name == "auto":
        given = os.environ.get("CUDA_VISIBLE_DEVICES", "").strip()
        return "cuda" if given not in ("", "-1") else "cpu"
    kind, _, index = name.partition(":")
    if kind not in ("cpu", "cuda", "mps") or (":" in name and not index.isdigit()):
        raise UsageError(f"unknown device '{name}'", hint="allowed: auto, cpu, cuda, cuda:0, mps")
    return name


def file_hashes(config: Config, folder: str) -> dict[str, str]:
    """SHA-256 of each file under the folder that a resolved command names, by how it names it."""
    return hash_files(named_files(config), folder)


def hash_files(names: Sequence[str], folder: str) -> dict[str, str]:
    """SHA-256 of each of the names that is a file under the folder."""
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


def run(cohort: Cohort) -> Job:
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


def _run_trial(cohort: Cohort, trial: Trial) -> Job:
    course = Course()
    fault: TrainingError | None = None
    begun, seconds = time.monotonic(), 0.0
    pulse.enter(f"starting trial {trial.number}")
    ending: Ending | None
    try:
        process = Process(cohort, trial)
    except OSError as error:
        ending = Outcome.FAILED, f"the command cannot be started: {error}", _NOTHING
    else:
        with process:
            ending = yield from _listen(cohort, trial, process, course)
            seconds = time.monotonic() - begun
            if ending is None:
                told = list(course.last)
                reason, fault = missing_metric(trial, cohort.objective, told, *process.output())
                ending = Outcome.FAILED, reason, process.kept()
    outcome, reason, (trace, output) = ending
    result = Result(
        outcome=outcome,
        steps=course.step,
        epochs=0.0,
        seconds=seconds,
        last=course.last,
        best=course.best,
        best_step=course.best_step,
        reason=reason,
        traceback=trace,
        output=output,
    )
    yield Ended(trial.number, result, course.curve(), fault=fault)


def _listen(
    cohort: Cohort, trial: Trial, process: Process, course: Course
) -> Generator[Event, Any, Ending | None]:
    """Follow a process to its end, or to where it has to stop; None where it ended well and has
    not reported the objective's metric.

    What stands on stderr counts at the end alone, since which of two streams comes first nobody can
    tell: the metrics that are reported nowhere else, and of objects none, where the objective's
    is."""
    aside = Course()
    metric = cohort.objective.metric
    deadline = math.inf if cohort.timeout is None else time.monotonic() + cohort.timeout
    rungs = sorted(cohort.rungs)
    shown = -math.inf
    pulse.enter(pulse.TRAINING)
    while True:
        over = process.over
        if not over:
            process.wait(min(_POLL, max(0.0, deadline - time.monotonic())))
        # What was written before it ended has to be read after it ended.
        for message in process.messages(drain=over):
            if isinstance(message, Said):
                if message.changed:
                    raise _changed(trial.config["loop"])
                process.error = message.error
            elif isinstance(message, Aside):
                if len(aside.last) <= MOST_METRICS:
                    aside.take(message.content)
            else:
                reason = course.take(message)
                if reason:
                    process.stop()
                    return Outcome.DIVERGED, reason, _NOTHING
                if len(course.last) > MOST_METRICS:
                    process.stop()
                    return Outcome.FAILED, _TOO_MANY, process.kept()
                while rungs and course.step >= rungs[0]:
                    rung = rungs.pop(0)
                    yield course.measured(trial)
                    if (yield from _await_verdict(trial.number, rung)) is Verdict.STOP:
                        process.stop()
                        return Outcome.PRUNED, f"stopped after {course.step} steps", _NOTHING
        seen = aside if aside.fresh and metric not in course.last else course
        if seen.fresh and (over or time.monotonic() - shown >= _SHOWN):
            shown = time.monotonic()
            yield seen.measured(trial)
        late = time.monotonic() >= deadline and not process.over
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


def _await_verdict(trial: int, step: int) -> Generator[Event, Any, Verdict]:
    replies = yield Reached(trial, step)
    while True:
        for number, verdict in replies or ():
            if number == trial and isinstance(verdict, Verdict):
                return verdict
        replies = yield None


def _judge(process: Process, course: Course, objective: Objective) -> Ending | None:
    """What a process that has ended by itself came to, as `_listen` says it."""
    _, kind, detail = (*process.status.split(" ", 2), "", "", "")[:3]
    if kind == "exit" and detail == "0":
        if objective.metric in course.last:
            return Outcome.COMPLETED, "", _NOTHING
        return None
    if process.error:
        return Outcome.FAILED, process.error, process.kept()
    if kind == "signal":
        reason = f"killed by {_signal_name(int(detail))}"
        # Who ends by itself has said why; who is ended by others has not.
        last = process.last_words(sure=True) if int(detail) == signal.SIGABRT else ""
        reason += f": {last}" if last else ""
    elif kind == "stopped":
        reason = "stopped from outside, by a signal to its keeper"
    elif kind == "exit":
        last = process.last_words()
        reason = f"exit code {detail}" + (f": {last}" if last else "")
    elif kind == "error":
        return Outcome.FAILED, f"the command cannot be started: {detail}", _NOTHING
    else:
        reason = "whoever watched over it was killed"
    return Outcome.FAILED, reason, process.kept()


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


@dataclass(frozen=True)
class Aside:
    """Metrics that stand on stderr."""

    content: Message


@dataclass(frozen=True)
class Said:
    """What the process of a loop says beside metrics: the `error` that left the function, or that
    its source has `changed`."""

    error: str = ""
    changed: bool = False


def _parse(line: bytes, objective: str) -> Message | None:
    """A line of metrics, None for any other."""
    text = decode(line)
    content = read_json(text) if text.startswith("{") else None
    return widen(content, objective) if isinstance(content, dict) else None


class Channel:
    """The private channel of a loop's process: a file without a name, whose descriptor it inherits,
    for lines of a `token` and metrics, or what it says. Whatever else is written there, by code
    that writes to every descriptor, is no line."""

    def __init__(self, scratch: str) -> None:
        path = Path(scratch, "channel")
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL
        self.writing = os.open(path, flags, 0o600)
        self.file = path.open("rb", buffering=0)
        path.unlink()
        self.token = secrets.token_hex(16)

    def parse(self, line: bytes, objective: str) -> Message | Said | None:
        """What a line tells."""
        _, found, own = line.rpartition(self.token.encode())
        if not found:
            return None
        content = read_json(decode(own)) if own.startswith(b"[") else None
        if isinstance(content, list) and len(content) == 2:
            return Said(str(content[1]), content[0] == "changed")
        return _parse(own, objective)


_ENDS = re.compile(rb"([\r\n])")


class Process:
    """A trial's process as its worker sees it, a keeper between them. A context manager: leaving
    it ends what still runs.

    `status` is the keeper's word: the process, and how it ended. `error` is what a loop raised.
    Raises OSError where nothing can be started.
    """

    def __init__(self, cohort: Cohort, trial: Trial) -> None:
        self.status = ""
        self.error = ""
        self.over = False
        self._behind = False
        self._woken = 0.0
        self._messages: list[Message | Aside | Said] = []
        self._scratch = tempfile.mkdtemp(prefix="lrsearch-")
        self._channel: Channel | None = None
        try:
            told = self._start(cohort, trial, self._scratch)
        except BaseException:
            shutil.rmtree(self._scratch, ignore_errors=True)
            raise
        assert self._keeper.stdin and self._keeper.stdout and self._keeper.stderr
        self._told = told
        self._objective = cohort.objective.metric
        self._listeners = self._listen_to(trial.config)
        self._out, self._errors = (
            Stream(each.line if each is not None else None) for each in self._listeners
        )
        self._reported = [(self._metrics.open("rb", buffering=0), Stream(self._take_report))]
        if self._channel is not None:
            self._reported.append((self._channel.file, Stream(self._take_own)))
        self._streams = {
            self._keeper.stdout.fileno(): self._out,
            self._keeper.stderr.fileno(): self._errors,
        }
        self._selector = selectors.DefaultSelector()
        for descriptor in (*self._streams, told):
            os.set_blocking(descriptor, False)
            self._selector.register(descriptor, selectors.EVENT_READ)

    def _start(self, cohort: Cohort, trial: Trial, scratch: str) -> int:
        """Start the keeper; the descriptor that it tells its status by."""
        self._metrics = Path(scratch, "metrics.jsonl")
        self._metrics.touch()
        Path(scratch, "params.json").write_text(json.dumps(trial.config["params"]), "utf-8")
        channel = self._channel = Channel(scratch) if "loop" in trial.config else None
        words, environment = _words(cohort, trial, channel), _environment(cohort, trial, scratch)
        passed = () if channel is None else (channel.writing,)
        told, telling = os.pipe()
        try:
            self._keeper = subprocess.Popen(
                # -I, -S: nothing of the command's environment, nor any package, reaches it.
                [
                    *(sys.executable, "-I", "-S", str(Path(__file__).with_name("keeper.py"))),
                    *(str(telling), scratch, f"{GRACE:g}", *map(str, passed or (-1,)), *words),
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                cwd=cohort.workplace.folder,
                env=environment,
                bufsize=0,
                pass_fds=(telling, *passed),
                start_new_session=True,
            )
        except OSError:
            os.close(told)
            raise
        finally:
            for descriptor in (telling, *passed):
                os.close(descriptor)
        return told

    def _listen_to(self, config: Config) -> tuple[Objects | Patterns | None, ...]:
        """What listens to stdout, and to stderr."""
        if "loop" in config:
            # What a loop prints is output, whatever it looks like: it has a better way to report.
            return None, None
        if "metrics" in config:
            given = config["metrics"]
            return Patterns(self._messages.append, given), Patterns(self._take_aside, given)
        objective, params = self._objective, config["params"]
        return (
            Objects(self._messages.append, objective, params),
            Objects(self._take_aside, objective, params, plain=False),
        )

    def _take_aside(self, message: Message) -> None:
        self._messages.append(Aside(message))

    def _take_report(self, line: bytes, _: bool) -> None:
        message = _parse(line, self._objective)
        if message is not None:
            self._messages.append(message)

    def _take_own(self, line: bytes, _: bool) -> None:
        assert self._channel is not None
        message = self._channel.parse(line, self._objective)
        if message is not None:
            self._messages.append(message)

    def wait(self, timeout: float) -> None:
        """Take in what comes first, for at most so many seconds."""
        pulse.beat()
        self._wake_keeper()
        for key, _ in self._selector.select(0.0 if self._behind else timeout):
            descriptor = key.fd
            data = _read(descriptor)
            if data is None:
                continue
            if descriptor == self._told:
                self.status += data.decode("utf-8", "replace")
                self.over = not data
            else:
                self._streams[descriptor].feed(data)
            if not data:
                self._selector.unregister(descriptor)

    def _wake_keeper(self) -> None:
        """Have the keeper go on, should somebody have stopped it: it could neither end the command
        nor tell of its end. About once a second; one that runs takes no notice."""
        if time.monotonic() - self._woken >= _WAKING:
            self._woken = time.monotonic()
            self._keeper.send_signal(signal.SIGCONT)

    def messages(self, *, drain: bool = False) -> Iterator[Message | Aside | Said]:
        """The metrics that came in since; with `drain` all that there are."""
        if drain:
            for descriptor, stream in self._streams.items():
                # A pipe holds less than that; somebody left behind may go on writing.
                for _ in range(64):
                    data = _read(descriptor)
                    if not data:
                        break
                    stream.feed(data)
                yield from self._take()
        self._behind = False
        for file, stream in self._reported:
            # What is written after its end is not the command's; before it, more may come at any
            # time.
            limit = os.fstat(file.fileno()).st_size if drain else file.tell() + _READ
            while (left := limit - file.tell()) > 0 and (data := file.read(min(left, _CHUNK))):
                stream.feed(data)
                yield from self._take()
            self._behind |= left <= 0
        if drain:
            for stream in (self._out, self._errors, *(stream for _, stream in self._reported)):
                stream.finish()
            for listener in self._listeners:
                if listener is not None:
                    listener.finish()
        yield from self._take()

    def _take(self) -> list[Message | Aside | Said]:
        taken = self._messages[:]
        self._messages.clear()
        return taken

    def stop(self) -> None:
        """End the process and all of its group; returns when it has ended."""
        assert self._keeper.stdin
        self._keeper.stdin.close()
        deadline = time.monotonic() + 2 * GRACE
        while not self.over and time.monotonic() < deadline:
            self.wait(_POLL)  # Who wants to say something to a full pipe could not leave.
            self._messages.clear()

    def output(self) -> tuple[bytes, bytes]:
        """The last of its stdout and of its stderr."""
        return self._out.kept, self._errors.kept

    def kept(self) -> tuple[str, str]:
        """What is kept of its stderr and of its stdout, see `last_words.tail`."""
        return tail(self._errors.text(), self._out.text())

    def last_words(self, *, sure: bool = False) -> str:
        """Why it failed, see `last_words.find_reason`."""
        return find_reason(self._errors.text(), self._out.text(), sure=sure)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._keeper.stdin and self._keeper.stdout and self._keeper.stderr
        self._keeper.stdin.close()
        if not self.over:
            self.stop()
        process, _, ending = self.status.partition(" ")
        if process and not ending:  # The keeper was killed.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(int(process), signal.SIGKILL)
        self._selector.close()
        for file, _ in self._reported:
            file.close()
        os.close(self._told)
        self._keeper.stdout.close()
        self._keeper.stderr.close()
        self._keeper.send_signal(signal.SIGCONT)
        try:
            self._keeper.wait(2 * GRACE)
        except subprocess.TimeoutExpired:  # Somebody stops it again and again.
            self._keeper.kill()
        shutil.rmtree(self._scratch, ignore_errors=True)  # The keeper has, unless it was killed.


def _read(descriptor: int) -> bytes | None:
    """What is in a pipe, b"" at its end, None where there is nothing now."""
    try:
        return os.read(descriptor, _CHUNK)
    except BlockingIOError:
        return None


class Stream:
    """Bytes cut into lines for `take`, which is told of each whether a line feed ended it, or a
    carriage return, after which another may overwrite it; the last `KEPT` bytes are kept."""

    def __init__(self, take: Callable[[bytes, bool], object] | None) -> None:
        self._take = take
        self._kept = bytearray()
        self._rest = bytearray()
        self._skipping = False

    def feed(self, data: bytes) -> None:
        """Take in the next bytes."""
        self._kept += data
        del self._kept[:-KEPT]
        if self._take is None:
            return
        *pieces, rest = _ENDS.split(data)
        for part, end in zip(pieces[::2], pieces[1::2], strict=True):
            if not self._skipping:
                self._take(bytes(self._rest) + part, end == b"\n")
            self._rest.clear()
            self._skipping = False
        self._rest += rest
        if len(self._rest) > LONGEST_LINE:  # No line of metrics is as long.
            self._rest.clear()
            self._skipping = True

    def finish(self) -> None:
        """The last line may have no end."""
        if self._take is not None and self._rest and not self._skipping:
            self._take(bytes(self._rest), True)
        self._rest.clear()

    @property
    def kept(self) -> bytes:
        """The last bytes."""
        return bytes(self._kept)

    def text(self) -> str:
        """What is kept."""
        return read_text(self.kept).strip()


def _words(cohort: Cohort, trial: Trial, channel: Channel | None) -> list[str]:
    config, workplace = trial.config, cohort.workplace
    if channel is not None:
        task = {
            "channel": channel.writing,
            "token": channel.token,
            "loop": config["loop"],
            "hash": cohort.source_hashes.get(config["loop"]),
            "folder": os.path.realpath(workplace.folder),
            "allowed": list(workplace.allowed),
            "device": workplace.device,
            "seed": trial.seed,
            "number": trial.number,
            "run": cohort.run,
        }
        module = "lrsearch.train.loop_process"
        return [sys.executable, "-P", "-m", module, json.dumps(task)]
    values = {name: as_text(value) for name, value in config["params"].items()}
    return fill(split_words(config["command"]), {**values, **_given(cohort, trial)})


def _given(cohort: Cohort, trial: Trial) -> dict[str, str]:
    """The placeholders that are no parameters, see `commandline.GIVEN`."""
    return {
        "seed": str(trial.seed),
        "device": find_device(cohort.workplace.device),
        "run": cohort.run,
        "trial": str(trial.number),
    }


def _environment(cohort: Cohort, trial: Trial, scratch: str) -> dict[str, str]:
    own = {
        **{name: as_text(value) for name, value in trial.config["params"].items()},
        **_given(cohort, trial),
        "params": str(Path(scratch, "params.json")),
        "metrics": str(Path(scratch, "metrics.jsonl")),
    }
    environment = dict(os.environ)
    # Metrics are to come when they are printed, not when some buffer is full.
    environment.setdefault("PYTHONUNBUFFERED", "1")
    for name in _THREADS:  # As in worker processes, whatever the executor.
        environment.setdefault(name, "1")
    if "PYTHONPATH" in environment:  # It runs in another folder than this process.
        paths = environment["PYTHONPATH"].split(os.pathsep)
        environment["PYTHONPATH"] = os.pathsep.join(
            str(Path(path).absolute()) for path in paths if path
        )
    return environment | {f"LRSEARCH_{name.upper()}": value for name, value in own.items()}


# measuring


@dataclass
class Course:
    """What a trial has reported so far. `fresh` says that there is something not yet passed on,
    `lost` why the training is lost, by metric."""

    step: int = 0
    last: dict[str, float] = field(default_factory=dict)
    best: dict[str, float] = field(default_factory=dict)
    best_step: dict[str, int] = field(default_factory=dict)
    fresh: bool = False
    lost: dict[str, str] = field(default_factory=dict)
    _rows: list[tuple[int, dict[str, float]]] = field(default_factory=list)
    _stride: int = 1
    _begun: int = 0

    def take(self, message: Mapping[str, Any]) -> str:
        """Take a line of metrics: its numbers, at its `step` (a whole number from 0) or the next;
        why the training is lost with it, or ""."""
        numbers = {
            name: _number(value)
            for name, value in message.items()
            if name != "step" and is_name(name)
        }
        metrics = {name: value for name, value in numbers.items() if value is not None}
        if not metrics:
            return ""
        step = _number(message.get("step"))
        whole = step is not None and step.is_integer() and 0 <= step < 2**53
        before, self.step = self.step, int(step) if whole and step is not None else self.step + 1
        if self._rows and self.step == before:
            self._rows[-1][1].update(metrics)
        else:
            self._begin_row(metrics)
        self.fresh = True
        for name, value in metrics.items():
            if name in self.lost:
                continue
            self.last[name] = value
            if not math.isfinite(value):
                self.lost[name] = f"{name} is {value} at step {self.step}"
                continue
            # Which way is better, the spec says, and may say otherwise one day.
            for end, beats in (("min", value.__lt__), ("max", value.__gt__)):
                key = f"{name}:{end}"
                if key not in self.best or beats(self.best[key]):
                    self.best[key], self.best_step[key] = value, self.step
        return next(iter(self.lost.values()), "")

    def join(self, other: Course) -> str:
        """Take from another course the metrics that this one has not, at their steps; why the
        training is lost with them, or ""."""
        names = other.last.keys() - self.last.keys()
        news = [
            (step, {name: value for name, value in metrics.items() if name in names})
            for step, metrics in other._rows
        ]
        if self._rows:
            rows: dict[int, dict[str, float]] = {}
            for step, metrics in self._rows + [row for row in news if row[1]]:
                rows.setdefault(step, {}).update(metrics)
            self._rows = sorted(rows.items())
            if len(self._rows) > MOST_ROWS:
                del self._rows[1:-1:2]
        else:
            self._rows = news
        self.step = max((self.step, *(step for step, metrics in news if metrics)))
        self.last |= {name: other.last[name] for name in other.last if name in names}
        for key in other.best:
            if key.rpartition(":")[0] in names:
                self.best[key], self.best_step[key] = other.best[key], other.best_step[key]
        self.lost |= {name: other.lost[name] for name in other.lost if name in names}
        return next(iter(self.lost.values()), "")

    def _begin_row(self, metrics: Mapping[str, float]) -> None:
        """Rows stay as far apart as the stride, from the first to the last, which always stays."""
        if self._rows and (self._begun - 1) % self._stride:
            self._rows.pop()
        self._rows.append((self.step, dict(metrics)))
        self._begun += 1
        if len(self._rows) > MOST_ROWS:
            self._stride *= 2
            del self._rows[1:-1:2]

    def measured(self, trial: Trial) -> Measured:
        """The latest measurement."""
        self.fresh = False
        return Measured(trial.number, Measurement(self.step, dict(self.last)), 0)

    def curve(self) -> dict[str, list[float]]:
        """A list a metric, as long as `step`; not a number where a line had it not."""
        if not self._rows:
            return {}
        curve: dict[str, list[float]] = {"step": [float(step) for step, _ in self._rows]}
        for name in self.last:
            curve[name] = [metrics.get(name, math.nan) for _, metrics in self._rows]
        return curve


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf
