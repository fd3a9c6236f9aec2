"""Jobs for the tests of executors and plans, in a module that workers can import too."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Generator
from pathlib import Path

from lrsearch import pulse
from lrsearch.errors import DataError, DeviceLost, LrsearchError
from lrsearch.executors.port import Replies
from lrsearch.trial import (
    Cohort,
    Ended,
    Outcome,
    Plan,
    Planned,
    Probe,
    Result,
    Started,
    Trial,
    Verdict,
)

Steps = Generator[object, Replies, None]


class Unkind(LrsearchError):
    """An error that pickles and does not unpickle."""

    def __reduce__(self) -> tuple[object, ...]:
        return (Unkind, ())


class Opaque:
    """An event that pickles and does not unpickle."""

    def __reduce__(self) -> tuple[object, ...]:
        return (int, ("no number",))


def count(up_to: int) -> Steps:
    for number in range(up_to):  # noqa: UP028 (a range takes no replies)
        yield number


def echo(payload: object) -> Steps:
    yield payload


def process(payload: object) -> Steps:
    yield os.getpid()


def variables(names: list[str]) -> Steps:
    yield [os.environ.get(name) for name in names]


def rungs(trials: list[int]) -> Steps:
    """Every trial reaches a rung; those told to go on say so, in the order of the replies."""
    replies: Replies = []
    for trial in trials:
        replies += yield ("reached", trial)
    for _ in trials:
        while not replies:
            replies += yield None
        trial, verdict = replies.pop(0)
        if verdict is Verdict.GO_ON:
            replies += yield ("went on", trial)


def replied(times: int) -> Steps:
    """Says what each of its yields returned."""
    replies: Replies = []
    for _ in range(times):
        replies = yield list(replies)


def shout(payload: str) -> Steps:
    print(payload)
    sys.stdout.flush()
    os.write(1, b"straight to fd 1\n")
    sys.stderr.write("and an error\n")
    yield sys.stdin.read()


def flood(lines: int) -> Steps:
    for number in range(lines):
        print(f"line {number} " + "x" * 80)
    yield "still here"


def bad_value(payload: str) -> Steps:
    yield "before"
    raise ValueError(payload)


def bad_data(payload: str) -> Steps:
    yield "before"
    raise DataError(payload, where="rows.csv:3", hint="drop the row")


def unkind(payload: str) -> Steps:
    raise Unkind(payload)
    yield


def leave(payload: str) -> Steps:
    raise SystemExit(payload)
    yield


def no_generator(payload: object) -> list[object]:
    return [payload]


def unpicklable(payload: object) -> Steps:
    yield "before"
    yield lambda: payload
    yield "never"


def opaque(payload: object) -> Steps:
    yield Opaque()


def die(how: str) -> Steps:
    yield "alive"
    print("last words")
    if how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif how == "exit":
        os._exit(3)
    elif how == "segfault":
        os.kill(os.getpid(), signal.SIGSEGV)
    elif how == "fork":  # a child that outlives it holds the pipes open
        if os.fork() == 0:
            time.sleep(20)
            os._exit(0)
        os._exit(4)
    yield "never"


def die_later(payload: object) -> Steps:
    yield None
    os._exit(5)


def sleep(seconds: float) -> Steps:
    yield os.getpid()
    time.sleep(seconds)
    yield "slept"


def spin(seconds: float) -> Steps:
    yield os.getpid()
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


def interrupt(payload: object) -> Steps:
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(0.05)
    yield "still here"


def descriptors(payload: object) -> Steps:
    """What the process has open."""
    found = []
    for path in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            found.append(str(path.readlink()))
    yield found


# A probe and an engine whose trials take no time. What becomes of them is written in the config:
# of a structure in the width of its hidden layer, of a trial in its learning rate.

REFUSED, LOST, UNSOUND, TIGHT, LARGE, SHORT, LOST_ONCE, BROKEN = 2, 3, 4, 5, 6, 7, 8, 9
"""Widths: what does not fuse, what kills its probe, what makes it raise, what fits by twos at
most, what fits alone in a clean process at most, what is not worth a try below ten trials, what
kills its first probe alone, which leaves a file "lost" in the spec's folder, what no program
trains, though a probe says so."""

DEADLY = 100.0
"""The rate from which a trial kills the process it runs in."""

POISONED = 50.0
"""The rate from which a trial fails and takes the device with it: alone it is told before."""


def lose_device(payload: object) -> Steps:
    yield "told"
    raise DeviceLost("an error on the device has ended what this process can do with it")


def width(trial: Trial) -> int:
    return int(trial.config["model"]["hidden"][0])


def play_probe(probe: Probe) -> Steps:
    kind = width(probe.trials[0])
    seen = Path(probe.workplace.folder) / "lost"
    first = kind == LOST_ONCE and not seen.exists()
    if first:
        seen.touch()
    if kind == LOST or first:
        os.kill(os.getpid(), signal.SIGKILL)
    if kind == UNSOUND:
        raise DataError("the data changed meanwhile")
    if kind == REFUSED:
        yield Planned(Plan("solo", 1, "it does not fuse"), {"solo": 0.5})
    elif kind == SHORT and probe.share < 10:
        yield Planned(Plan())
    else:
        lanes = probe.lanes or 8
        yield Planned(Plan("fused", lanes, "faster"), {"solo": 0.5, f"fused.{lanes}": 0.25})


def play_cohort(cohort: Cohort) -> Steps:
    kind, engine, lanes = width(cohort.trials[0]), cohort.plan.engine, cohort.plan.lanes
    waiting, running = list(cohort.trials), []
    while waiting or running:
        while waiting and len(running) < lanes:
            running.append(waiting.pop(0))
            yield Started(running[-1].number)
        if kind == BROKEN and engine == "fused":
            engine, lanes = "solo", 1
            yield Planned(Plan(reason="it broke"))
        if kind == TIGHT and lanes > 2:
            lanes //= 2
            yield Planned(Plan("fused", lanes, "more ran out of memory"))
        if any(trial.config["train"]["lr"] >= DEADLY for trial in running):
            os.kill(os.getpid(), signal.SIGKILL)
        if lanes > 1 and any(trial.config["train"]["lr"] >= POISONED for trial in running):
            raise DeviceLost("an index out of range")
        trial = running.pop(0)
        rate = trial.config["train"]["lr"]
        if rate >= POISONED:
            result = Result(Outcome.FAILED, 1, 1.0, 0.0, engine, reason="an index out of range")
            yield Ended(trial.number, result, {})
            raise DeviceLost("an index out of range")
        fits = kind != LARGE or len(cohort.trials) == 1
        outcome = Outcome.COMPLETED if fits else Outcome.OUT_OF_MEMORY
        result = Result(outcome, 1, 1.0, 0.0, engine, last={"accuracy": rate})
        good = fits and (cohort.bar is None or rate >= cohort.bar)
        yield Ended(trial.number, result, {}, b"weights" if good else None)


def train(steps: int) -> Steps:
    """A training: it beats ten times a second."""
    pulse.enter(pulse.TRAINING)
    yield os.getpid()
    for step in range(1, steps + 1):
        time.sleep(0.1)
        pulse.beat(step)
    yield "trained"


def scribble(payload: float) -> Steps:
    """Write to every descriptor there may be, as careless code does, and go on for a while."""
    yield "begun"
    for descriptor in range(3, 64):
        with contextlib.suppress(OSError):
            os.write(descriptor, b'["anything"]\n')
    time.sleep(payload)
    yield "still here"


def close_all(payload: object) -> Steps:
    """Close every descriptor, as code does that means to become a daemon."""
    yield "begun"
    os.closerange(3, 256)
    time.sleep(30)
    yield "still here"


def close_stdout(payload: object) -> Steps:
    """Close what one prints to."""
    os.close(1)
    os.close(2)
    yield "done"


def leave_child(payload: object) -> Steps:
    """Die and leave a child that holds all pipes open."""
    yield "begun"
    if os.fork() == 0:
        time.sleep(20)
        os._exit(0)
    os._exit(3)


def fork_many(payload: int) -> Steps:
    """Fork so many that are ended as soon as they are there; how they ended."""
    found = set()
    for _ in range(payload):
        child = os.fork()
        if child == 0:
            time.sleep(5)
            os._exit(0)
        os.kill(child, signal.SIGTERM)
        found.add(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    yield found


def fork_beating(payload: object) -> Steps:
    """Have a child and a thread that beat for themselves, as one would that trains in a fork."""
    pulse.enter(pulse.TRAINING)
    child = os.fork()
    if child == 0:
        for _ in range(15):
            time.sleep(0.1)
            pulse.beat()
        os._exit(0)
    thread = threading.Thread(target=lambda: [time.sleep(0.1) or pulse.beat() for _ in range(15)])
    thread.start()
    thread.join()
    os.waitpid(child, 0)
    yield "done"
