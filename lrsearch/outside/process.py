"""The process of a trial outside lrsearch: its start, its output, and its end.

Each trial is a process group of its own under a keeper (see `keeper`).
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import selectors
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from lrsearch import pulse
from lrsearch.errors import UsageError
from lrsearch.outside.listening import Message, Objects, Patterns, read_json, widen
from lrsearch.spec.commandline import as_text, fill_command, give
from lrsearch.train.users.last_words import find_place, find_reason, tail
from lrsearch.train.users.lines import decode, read_text
from lrsearch.trial import ONE_THREAD, Cohort, Config, Trial

GRACE = 3.0
"""Seconds from SIGTERM to SIGKILL."""

KEPT = 64 * 1024
"""Bytes of output that are kept, the last of each stream."""

LONGEST_LINE = 1 << 20
"""The most bytes of a line of metrics."""

POLL = 0.2
"""Seconds between two looks at the file of metrics."""

_WAKING = 1.0
"""Seconds between two signals to the keeper to go on."""

_CHUNK = 1 << 16

_READ = 1 << 20
"""Bytes of the file of metrics read at once: a file written faster than it is read must not hide
the timeout."""

# what it says


@dataclass(frozen=True)
class Aside:
    """Metrics found on stderr."""

    content: Message


@dataclass(frozen=True)
class Notice:
    """A message of a loop's process beside its metrics: the `error` that left the function, or that
    its source has `changed`."""

    error: str = ""
    changed: bool = False


def _parse(line: bytes, objective: str) -> Message | None:
    """A line of metrics, None for any other."""
    text = decode(line)
    content = read_json(text) if text.startswith("{") else None
    return widen(content, objective) if isinstance(content, dict) else None


class Channel:
    """The private channel of a loop's process: a file without a name, whose descriptor the process
    inherits, for lines of a `token` and metrics or notices. Text that other code writes there, such
    as code that writes to every descriptor, lacks the token and is no line."""

    def __init__(self, scratch: str) -> None:
        path = Path(scratch, "channel")
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL
        self.writing = os.open(path, flags, 0o600)
        self.file = path.open("rb", buffering=0)
        path.unlink()
        self.token = secrets.token_hex(16)

    def parse(self, line: bytes, objective: str) -> Message | Notice | None:
        """The metrics or the notice of a line, None for any other."""
        _, found, own = line.rpartition(self.token.encode())
        if not found:
            return None
        content = read_json(decode(own)) if own.startswith(b"[") else None
        if isinstance(content, list) and len(content) == 2:
            return Notice(str(content[1]), content[0] == "changed")
        return _parse(own, objective)


# the process


class Process:
    """A trial's process as its worker sees it, with a keeper between them. A context manager:
    leaving it ends the process.

    `status` is the keeper's report: the process id, and how it ended. `error` is the error that a
    loop raised, `waited` the seconds that it was paused. Raises OSError where no process can be
    started.
    """

    def __init__(self, cohort: Cohort, trial: Trial) -> None:
        self.status = ""
        self.waited = 0.0
        self.error = ""
        self.over = False
        self._behind = False
        self._woken = 0.0
        self._heard = pulse.clock()
        self._messages: list[Message | Aside | Notice] = []
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
            Lines(each.line if each is not None else None) for each in self._listeners
        )
        self._reported = [(self._metrics.open("rb", buffering=0), Lines(self._take_report))]
        if self._channel is not None:
            self._reported.append((self._channel.file, Lines(self._take_own)))
        self._streams = {
            self._keeper.stdout.fileno(): self._out,
            self._keeper.stderr.fileno(): self._errors,
        }
        self._selector = selectors.DefaultSelector()
        for descriptor in (*self._streams, told):
            os.set_blocking(descriptor, False)
            self._selector.register(descriptor, selectors.EVENT_READ)

    def _start(self, cohort: Cohort, trial: Trial, scratch: str) -> int:
        """Start the keeper; returns the descriptor on which it reports its status."""
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
        """The readers of stdout and of stderr."""
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
        """Read the next output, waiting for at most so many seconds."""
        pulse.beat(quiet=pulse.clock() - self._heard)
        self._wake_keeper()
        for key, _ in self._selector.select(0.0 if self._behind else timeout):
            descriptor = key.fd
            data = _read(descriptor)
            if data is None:
                continue
            self._heard = pulse.clock()
            if descriptor == self._told:
                self.status += data.decode("utf-8", "replace")
                self.over = not data
            else:
                self._streams[descriptor].feed(data)
            if not data:
                self._selector.unregister(descriptor)

    def _wake_keeper(self) -> None:
        """Wake the keeper, should it have been stopped: it could neither end the command nor report
        its end. About once a second; a running keeper is not affected."""
        if time.monotonic() - self._woken >= _WAKING:
            self._woken = time.monotonic()
            self._keeper.send_signal(signal.SIGCONT)

    def messages(self, *, drain: bool = False) -> Iterator[Message | Aside | Notice]:
        """The metrics that came in since the last call; with `drain` all that there are."""
        if drain:
            for descriptor, stream in self._streams.items():
                # A pipe holds less than that; a process left behind may go on writing.
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
                self._heard = pulse.clock()
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

    def _take(self) -> list[Message | Aside | Notice]:
        taken = self._messages[:]
        self._messages.clear()
        return taken

    def stop(self) -> None:
        """End the process and all of its group; returns when it has ended."""
        assert self._keeper.stdin
        self._keeper.stdin.close()
        deadline = time.monotonic() + 2 * GRACE
        while not self.over and time.monotonic() < deadline:
            self.wait(POLL)  # A process that writes to a full pipe could not leave.
            self._messages.clear()

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Stop the process, and all of its group, for a while: its place is another's."""
        begun = pulse.clock()
        self._signal_group(signal.SIGSTOP)
        try:
            yield
        finally:
            self._signal_group(signal.SIGCONT)
            self.waited += pulse.clock() - begun
            self._heard += pulse.clock() - begun

    def _signal_group(self, number: int) -> None:
        process, _, ending = self.status.partition(" ")
        if process and not ending:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(int(process), number)

    def output(self) -> tuple[bytes, bytes]:
        """The ends of its stdout and of its stderr."""
        return self._out.kept, self._errors.kept

    def kept(self) -> tuple[str, str]:
        """The kept ends of its stderr and of its stdout, see `last_words.tail`."""
        return tail(self._errors.text(), self._out.text())

    def last_words(self, *, sure: bool = False) -> str:
        """The reason of its failure, see `last_words.find_reason`, and the line of the user's code
        where Python's traceback tells it."""
        errors, output = self._errors.text(), self._out.text()
        place = find_place(errors, output)
        return find_reason(errors, output, sure=sure) + (f" ({place})" if place else "")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *given: object) -> None:
        assert self._keeper.stdin and self._keeper.stdout and self._keeper.stderr
        self._keeper.stdin.close()
        if not self.over:
            self.stop()
        self._signal_group(signal.SIGKILL)  # Where the keeper was killed, and told no ending.
        self._selector.close()
        for file, _ in self._reported:
            file.close()
        os.close(self._told)
        self._keeper.stdout.close()
        self._keeper.stderr.close()
        self._keeper.send_signal(signal.SIGCONT)
        try:
            self._keeper.wait(2 * GRACE)
        except subprocess.TimeoutExpired:  # It is stopped again and again.
            self._keeper.kill()
        shutil.rmtree(self._scratch, ignore_errors=True)  # The keeper has, unless it was killed.


def _read(descriptor: int) -> bytes | None:
    """Read the bytes in a pipe; b"" at its end, None where there are none now."""
    try:
        return os.read(descriptor, _CHUNK)
    except BlockingIOError:
        return None


# its output

_ENDS = re.compile(rb"([\r\n])")


class Lines:
    """Bytes cut into lines for `take`, which gets each line and whether a line feed ended it, or a
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
        """Take the last line, which may have no end."""
        if self._take is not None and self._rest and not self._skipping:
            self._take(bytes(self._rest), True)
        self._rest.clear()

    @property
    def kept(self) -> bytes:
        """The last bytes."""
        return bytes(self._kept)

    def text(self) -> str:
        """The last bytes as text."""
        return read_text(self.kept).strip()


# what it is started with


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
        module = "lrsearch.outside.loop_process"
        return [sys.executable, "-P", "-m", module, json.dumps(task)]
    return fill_command(config, _given(cohort, trial))


def _given(cohort: Cohort, trial: Trial) -> dict[str, str]:
    """The values of the placeholders that are no parameters, see `commandline.GIVEN`."""
    return give(trial, cohort.run, find_device(cohort.workplace.device))


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
    for name, count in ONE_THREAD.items():  # As in worker processes, whatever the executor.
        environment.setdefault(name, count)
    if "PYTHONPATH" in environment:  # It runs in another folder than this process.
        paths = environment["PYTHONPATH"].split(os.pathsep)
        environment["PYTHONPATH"] = os.pathsep.join(
            str(Path(path).absolute()) for path in paths if path
        )
    return environment | {f"LRSEARCH_{name.upper()}": value for name, value in own.items()}


def find_device(name: str) -> str:
    """The device that a command is given, found from the environment alone: `auto` is the GPU that
    a worker was given, or the CPU. Raises UsageError for text that names no device."""
    if name == "auto":
        given = os.environ.get("CUDA_VISIBLE_DEVICES", "").strip()
        return "cuda" if given not in ("", "-1") else "cpu"
    kind, _, index = name.partition(":")
    if kind not in ("cpu", "cuda", "mps") or (":" in name and not index.isdigit()):
        raise UsageError(f"unknown device '{name}'", hint="allowed: auto, cpu, cuda, cuda:0, mps")
    return name
