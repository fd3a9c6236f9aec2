"""Driving lrsearch from outside: command lines as processes, runs to compare, and the figures."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from forking import Forking

from lrsearch import store
from lrsearch.trial import Outcome

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

# Figures --------------------------------------------------------------------------------------


class Lost(AssertionError):
    """What was said to be kept is gone."""


@dataclass
class Figures:
    """What the tries of a kind came to."""

    tries: int = 0
    lost: int = 0
    wrong: int = 0

    def add(self, tries: int, lost: int, wrong: int) -> None:
        self.tries += tries
        self.lost += lost
        self.wrong += wrong


FIGURES: dict[str, Figures] = {}
"""By kind, of all that this test run has tried."""

SEEDS: dict[str, int] = {}
"""By kind, where tries were drawn."""


class Tries:
    """The tries of one test: how many it makes, what is drawn for them, and how they ended.

    `long` says that the whole is asked for. A try that fails is counted, and the others go on;
    `judge` then fails with the first of them.
    """

    def __init__(self, kind: str, *, long: bool, seed: int, test: str) -> None:
        self.kind, self.long, self.seed = kind, long, seed
        self.draw = random.Random(f"{seed} {kind} {test}")  # Each test draws tries of its own.
        self.made = 0
        self.failures: list[str] = []
        self.figures = FIGURES.setdefault(kind, Figures())

    def sample(self, population: Sequence[Any], short: int, long: int | None = None) -> list[Any]:
        """So many of them, in their order: all in the long form, unless it names a number."""
        many = short if not self.long else len(population) if long is None else long
        if many >= len(population):
            return list(population)
        SEEDS[self.kind] = self.seed
        return [population[at] for at in sorted(self.draw.sample(range(len(population)), many))]

    def moments(self, short: int, long: int, span: tuple[float, float]) -> list[float]:
        """So many times in seconds, drawn evenly between two."""
        SEEDS[self.kind] = self.seed
        return [self.draw.uniform(*span) for _ in range(long if self.long else short)]

    @contextlib.contextmanager
    def one(self, what: str) -> Iterator[None]:
        """One try, named so that it can be repeated."""
        self.made += 1
        self.figures.tries += 1
        try:
            yield
        except Exception as error:
            if isinstance(error, Lost):
                self.figures.lost += 1
            else:
                self.figures.wrong += 1
            self.failures.append(f"{what}: {type(error).__name__}: {error}")

    def each(self, items: Sequence[Any], attempt: Callable[[Any], None], name: Any = str) -> None:
        """A try for each item, as many at once as there are cores."""

        def attempt_one(item: Any) -> None:
            with self.one(name(item)):
                attempt(item)

        with ThreadPoolExecutor(CORES) as pool:
            list(pool.map(attempt_one, items))

    def judge(self) -> None:
        """Fail where a try did."""
        if self.failures:
            shown = "\n".join(self.failures[:10])
            raise AssertionError(
                f"{len(self.failures)} of {self.made} tries failed "
                f"(--faults-seed {self.seed}):\n{shown}"
            )


# Command lines as processes -------------------------------------------------------------------


@dataclass(frozen=True)
class Said:
    """How a command line ended and what it wrote."""

    code: int
    out: str
    err: str

    def check(self, *codes: int) -> Said:
        """Itself, where it ended with one of these, in words and without a traceback."""
        assert self.code in codes, f"exit {self.code}, not {codes}: {self.err[-1500:]}"
        for text in (self.err, self.out):
            assert "Traceback" not in text and "Exception ignored" not in text, text[-1500:]
        if self.code not in (0, 3, 130) and self.code > 0:
            assert "error: " in self.err, f"exit {self.code} without a word: {self.err[-500:]!r}"
        return self


def environment(**more: str) -> dict[str, str]:
    """That of a user's shell, whatever runs these tests; lrsearch is the one that is tested."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("LRSEARCH_")}
    return {**kept, "PYTHONPATH": places(ROOT), "OMP_NUM_THREADS": "1", **more}


def places(*first: str | Path) -> str:
    """PYTHONPATH with these folders ahead of those it has: what lrsearch needs may be installed
    there."""
    given = filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))
    return os.pathsep.join(dict.fromkeys([*map(str, first), *given]))


Popen = subprocess.Popen
"""Starts fresh interpreters, whatever a test has in its place (see `forking`)."""


class Command:
    """`lrsearch ARGUMENT...` in a fresh interpreter, in a session of its own."""

    def __init__(self, folder: Path, *arguments: object, **variables: str) -> None:
        self._files = _outputs(folder)
        out, err = (path.open("wb") for path in self._files)
        with out, err:
            self._process = Popen(
                # Like the console script, which has not the folder it is run in on its path.
                [sys.executable, "-P", "-m", "lrsearch", *map(str, arguments)],
                cwd=folder,
                env=environment(**variables),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )
        self.pid = self._process.pid

    def ended(self, timeout: float = 0.0) -> bool:
        """Whether it ends within so many seconds."""
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            return False
        return True

    @property
    def code(self) -> int:
        return self._process.returncode

    def said(self) -> tuple[str, str]:
        """What it has written so far."""
        out, err = (path.read_text(errors="backslashreplace") for path in self._files)
        return out, err

    def send(self, number: int) -> None:
        """Signal it, if it is still there."""
        if not self.ended():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def wait(self, timeout: float = 120.0) -> Said:
        """How it ended. Kills what takes longer, and raises."""
        if not self.ended(timeout):
            self.send(signal.SIGCONT)
            self.send(signal.SIGKILL)
            self.ended(10.0)
            raise AssertionError(f"still there after {timeout:g} s: {self.said()[1][-500:]}")
        return Said(self.code, *self.said())


def _outputs(folder: Path) -> tuple[Path, Path]:
    name = f"{time.monotonic_ns()}-{random.getrandbits(40):x}"
    (folder / "outputs").mkdir(exist_ok=True)
    return folder / "outputs" / f"{name}.out", folder / "outputs" / f"{name}.err"


FAIL, FAIL_ON, SHORT, TORN, KILL, TORN_KILL, STOP = range(1, 8)
"""What the shim has the armed call do; FAIL_ON has all writes fail from there on."""


@dataclass(frozen=True)
class Arm:
    """For the shim: the call (from 0; -1 for none) on files under a folder, what it does, and a
    file that all calls are written into."""

    under: Path
    call: int = -1
    action: int = 0
    error: int = 0
    log: Path | None = None

    def __str__(self) -> str:
        what = (
            *("nothing", "fails", "fails, and all that follow", "is done by half"),
            *("fails half done", "is killed", "is killed half done", "stops"),
        )[self.action]
        return f"call {self.call} {what} {errno.errorcode.get(self.error, '')}".rstrip()


OFTEN = {"lrsearch.train.engines.saving.SHARE": 0, "lrsearch.tuner.saving.FIRST": float("inf")}
"""Settings that have states saved whatever it costs."""

SILENT = {"lrsearch.cli.telling.EVERY": 3600.0}
"""Settings by which a search writes no news of itself: calls on a run folder are counted."""


class Fork(Command):
    """The same command line by a fork of the nursery, which has all imports behind it."""

    def __init__(
        self,
        nursery: Nursery,
        folder: Path,
        *arguments: object,
        arm: Arm | None = None,
        err: Path | None = None,
        often: bool = False,
        settings: Mapping[str, object] | None = None,
        **variables: str,
    ) -> None:
        """With `often` states are saved whenever the spec says, whatever share of the time that
        takes; `settings` are constants of modules by their dotted names, for the fork and not for
        workers of its own; `err` is written into in place of a new file."""
        out, other = _outputs(folder)
        self._files = (out, err or other)
        asked: dict[str, Any] = {
            "folder": str(folder),
            "arguments": [str(each) for each in arguments],
            "environment": variables,
            "forks": subprocess.Popen is Forking,
            "settings": {**SILENT, **(OFTEN if often else {}), **(settings or {})},
            "out": str(self._files[0]),
            "err": str(self._files[1]),
        }
        if arm is not None:
            asked["arm"] = {
                "under": str(arm.under),
                "action": arm.action,
                "call": arm.call,
                "error": arm.error,
                "log": str(arm.log) if arm.log else "",
            }
        self._link = socket.socket(socket.AF_UNIX)
        self._link.connect(nursery.address)
        self._link.sendall(json.dumps(asked).encode() + b"\n")
        self._received = b""
        self._code: int | None = None
        while b"\n" not in self._received:
            self._received += self._link.recv(100)
        self.pid = int(self._received.split(b"\n")[0])

    def ended(self, timeout: float = 0.0) -> bool:
        if self._code is None:
            self._link.settimeout(max(timeout, 0.001))
            with contextlib.suppress(TimeoutError):
                while self._received.count(b"\n") < 2:
                    self._received += self._link.recv(100)
                self._code = int(self._received.split(b"\n")[1])
        return self._code is not None

    @property
    def code(self) -> int:
        assert self._code is not None
        return self._code


HUGE = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1", "PYTHONMALLOC": "malloc"}
"""Variables of a nursery, though not of its forks: memory in huge pages, where the system has them,
takes a quarter of the time to fork."""


class Nursery:
    """A process that forks command lines, started with these variables; with `shim`, the path of a
    compiled `shim.c`, they can be armed."""

    def __init__(self, folder: Path, shim: Path | None, variables: Mapping[str, str]) -> None:
        self.shim = shim
        self._address = str(folder / "socket")
        preload = {"LD_PRELOAD": str(shim)} if shim else {}
        self._process = Popen(
            [sys.executable, str(HERE / "nursery.py"), self._address],
            cwd=ROOT,  # Not that of the test that happens to be the first to ask.
            env={**variables, **preload, **HUGE},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self._told, self._asking = b"", threading.Lock()

    @property
    def address(self) -> str:
        """Where it listens; waits until it does."""
        assert self._process.stdout is not None
        with self._asking:
            self._told = self._told or self._process.stdout.readline()
        assert self._told == b"ready\n", "the nursery has ended: stderr has its error"
        return self._address

    def close(self) -> None:
        self._process.communicate()


def build_shim(folder: Path) -> Path | str:
    """The compiled shim, or why there is none."""
    compiler = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
    if sys.platform != "linux":
        return "the shim is for Linux"
    if compiler is None:
        return "there is no C compiler (cc, gcc, clang)"
    made = folder / "shim.so"
    command = [compiler, "-shared", "-fPIC", "-O1", str(HERE / "shim.c"), "-o", str(made), "-ldl"]
    done = subprocess.run(command, capture_output=True, text=True)
    return made if done.returncode == 0 else f"the shim does not compile: {done.stderr[-300:]}"


def processes(marker: str) -> list[int]:
    """The processes whose environment has this text, a variable whose value is a folder, and those
    that run in the folder: the system knows the environment alone that a fork's origin began with.
    """
    found = []
    folder = str(Path(marker.partition("=")[2]).resolve())
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
                here = str((entry / "cwd").readlink()) == folder
                if state != "Z" and (here or marker.encode() in (entry / "environ").read_bytes()):
                    found.append(int(entry.name))
    return found


def await_none(marker: str, seconds: float = 5.0) -> None:
    """Wait until no process with the marker is left; kills those that stay, and raises."""
    deadline = time.monotonic() + seconds
    while left := processes(marker):
        if time.monotonic() > deadline:
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            raise AssertionError(f"{len(left)} processes outlive their driver by {seconds:g} s")
        time.sleep(0.02)


def await_stop(command: Command, timeout: float = 60.0) -> bool:
    """Whether the process comes to a stop (SIGSTOP) before it ends."""
    deadline = time.monotonic() + timeout
    stat = Path(f"/proc/{command.pid}/stat")
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            if stat.read_text().rpartition(")")[2].split()[0] == "T":
                return True
        if command.ended():
            return False
        time.sleep(0.005)
    raise AssertionError("it neither stops nor ends")


# Specs and what they come to ------------------------------------------------------------------

DIGITS = """
data: digits
model: {name: mlp, hidden: [16]}
train: {budget: 60ba, batch_size: 32, evaluate: 20ba}
search: {lr: {min: 1e-2, max: 1e2, points: 4}}
"""
IRIS = """
data: iris
model: {name: mlp, hidden: [4]}
train: {budget: 40ba, batch_size: 16, evaluate: 10ba}
search: {lr: {min: 1e-3, max: 1.0}}
bayes: {trials: 6, startup: 3, generation: 2}
"""
COMMAND = r"""
command: printf '{{"step":1,"loss":{lr}}}\n{{"step":2,"loss":0}}\n'
verify: false
objective: {metric: loss, goal: min}
search: {lr: [0.5, 1.0, 2.0]}
"""
LOOP = """
loop: my_loop.train
verify: false
objective: {metric: loss, goal: min}
search: {lr: [0.5, 1.0]}
"""
MY_LOOP = """
def train(trial):
    for step in (1, 2):
        trial.report(step, loss=trial.params["lr"] / step)
"""


@dataclass(frozen=True)
class Search:
    """A search: its spec, and the command line that begins it and goes on with it. Its options say
    all that results depend on: what auto measures, and so decides, may differ."""

    name: str
    spec: str
    command: tuple[str, ...]
    files: dict[str, str] = field(default_factory=dict)

    def lay(self, folder: Path) -> Path:
        """Put the spec and its files into a folder."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{self.name}.yaml").write_text(self.spec)
        for name, content in self.files.items():
            (folder / name).write_text(content)
        return folder

    def run(self, folder: Path) -> Path:
        """Its run folder."""
        return folder / "runs" / self.name

    def line(self, folder: Path) -> tuple[str, ...]:
        strategy, *options = self.command
        return (strategy, f"{self.name}.yaml", "--runs", str(folder / "runs"), *options)


SEARCHES = {
    search.name: search
    for search in (
        Search("lanes", DIGITS, ("grid", "--engine", "fused", "--lanes", "2", "--device", "cpu")),
        Search("solo", DIGITS, ("grid", "--engine", "solo", "--device", "cpu")),
        Search("bayes", IRIS, ("bayes", "--engine", "solo", "--device", "cpu")),
        Search("command", COMMAND, ("grid", "--allow-command")),
        Search("loop", LOOP, ("grid", "--allow-import", "my_loop"), {"my_loop.py": MY_LOOP}),
    )
}


WAITING = Search(
    "waiting",
    """
command: sh wait.sh {lr}
verify: false
objective: {metric: loss, goal: min}
search: {lr: [0.5, 1.0]}
""",
    ("grid", "--allow-command"),
    {
        "wait.sh": """until [ -e go ]; do sleep 0.02; done; printf '{"step":1,"loss":%s}\\n' $1""",
        "go": "",
    },
)
"""Goes on when there is a file `go` beside its spec."""

KNOWN = {**SEARCHES, WAITING.name: WAITING}


def results(run: Path) -> dict[str, str]:
    """By trial key what was measured, to the last bit; without what a clock said."""
    history = store.read(run)
    found: dict[str, str] = {}
    for number, result in sorted(history.results.items()):
        trial = history.trials[number]
        # What failed may have been tried again.
        assert FAILED in found.get(trial.key, FAILED), f"trial {number} was measured before"
        found[trial.key] = repr(
            (
                *(trial.seed, trial.fold, result.outcome, result.steps, result.epochs),
                *(result.engine, result.last, result.best, result.best_step, result.reason),
            )
        )
    return found


FAILED = repr(Outcome.FAILED)


PARTS = ("results", "points", "curves", "best")


def outcome(run: Path, *parts: str) -> dict[str, Any]:
    """All that must not depend on what happened on the way, or some parts of it: trials, points,
    curves, the best and its weights."""
    history = store.read(run)
    found: dict[str, Any] = {}
    for part in parts or PARTS:
        if part == "results":
            found[part] = results(run)
        elif part == "points":
            found[part] = [(each.strategy, each.index, each.point) for each in history.proposals]
        elif part == "curves":
            ended = {k: n for k, n in history.by_key.items() if n in history.results}
            found[part] = {k: repr(store.read_curve(run, number)) for k, number in ended.items()}
        else:
            # The spec of a command or a loop tells where it belongs.
            here = str(run.parents[1].resolve()).encode()
            found[part] = {
                path.name: hashlib.sha256(path.read_bytes().replace(here, b"FOLDER")).hexdigest()
                for path in sorted((run / "best").iterdir())
            }
    return found


def compare(run: Path, reference: dict[str, Any], *parts: str) -> None:
    """Raise where a run that went on came to anything else, in all parts or some."""
    found = outcome(run, *parts)
    missing = reference["results"].keys() - found.get("results", reference["results"]).keys()
    if missing:
        raise Lost(f"{len(missing)} trials are missing")
    for part in parts or reference:
        assert found[part] == reference[part], f"{part}: {found[part]} is not {reference[part]}"


class References:
    """What each search comes to undisturbed, run once, when it is first asked for."""

    def __init__(self, folder: Path, nursery: Nursery) -> None:
        self._folder, self._nursery = folder, nursery
        self._known: dict[str, tuple[Path, dict[str, Any]]] = {}
        self._lock = threading.Lock()

    def folder(self, name: str) -> Path:
        """The run folder of an undisturbed run: to copy, not to change."""
        return self._find(name)[0]

    def outcome(self, name: str) -> dict[str, Any]:
        """What it came to."""
        return self._find(name)[1]

    def _find(self, name: str) -> tuple[Path, dict[str, Any]]:
        with self._lock:
            if name not in self._known:
                search = KNOWN[name]
                folder = search.lay(self._folder / name)
                done = Fork(self._nursery, folder, *search.line(folder), "--executor", "inline")
                done.wait().check(0)
                self._known[name] = search.run(folder), outcome(search.run(folder))
            return self._known[name]


def reported(err: str) -> set[int]:
    """The trials that a search's progress called ended."""
    lines = (line.split() for line in err.splitlines() if line.startswith("["))
    return {int(words[2]) for words in lines if len(words) > 2 and words[1] == "trial"}


def check_kept(run: Path, err: str, before: dict[str, str] | None = None) -> dict[str, str]:
    """The results in a journal, which hold all that was there before and all that was reported."""
    kept = results(run)
    for key, result in (before or {}).items():
        if kept.get(key) != result:
            raise Lost(f"a trial that was kept is {kept.get(key)}, and was {result}")
    ended = store.read(run).results.keys()
    if gone := reported(err) - ended:
        raise Lost(f"trials {sorted(gone)} were reported, and are not kept")
    return kept
