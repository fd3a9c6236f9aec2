"""Silent jobs: a word to the user, and an end where a timeout is set.

Trainings tell about once a second that they go on (see `pulse`). One that does not is stopped,
hangs in a user's code or makes a very long step; which of these cannot be seen from outside.

A command and a loop run in processes of their own, and their worker goes on whatever they do. Of
these it is watched whether they print or report something now and then.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from lrsearch import pulse
from lrsearch.executors.port import Died, Executor, Finished, Heard, Raised
from lrsearch.pulse import TRAINING, TRYING
from lrsearch.trial import describe_timeout

TICK = 1.0
"""Seconds between two looks."""

QUIET = 60.0
"""Seconds of silence until the user is told; the next word comes after twice as many."""

MUTE = 600.0
"""The same of a process of the user's that says nothing: many print once an epoch, or at the end.
Where some were quiet for longer and went on, twice as long."""

SLACK = 10.0
"""Seconds of silence up to which no job is ended: a live one ends its trial itself when its time is
over."""

_NAMED = 4
"""Trials that are named one by one."""


@dataclass(frozen=True)
class Subject:
    """The subject of a job, "trial 3", and its last known progress, "step 20 of 90". The `timeout`
    is None where it has none; a job that trains `alone` has one trial at a time."""

    name: str
    place: str = ""
    timeout: float | None = None
    alone: bool = True


@dataclass(frozen=True)
class Cut:
    """The end of a silent job by the search: the reason, the seconds of its trial, and its step, 0
    where it told none."""

    reason: str
    seconds: float = 0.0
    step: int = 0


@dataclass
class Watch:
    """Waits for an executor's events and watches silent jobs meanwhile. `describe` gives the
    subject of a job, `hear` is told the state of each about once a second; `cut` has the jobs that
    were ended, by their handles."""

    executor: Executor
    note: Callable[[str], None]
    describe: Callable[[Heard], Subject]
    hear: Callable[[Heard], None] = lambda _: None
    cut: dict[int, Cut] = field(default_factory=dict)
    _told: dict[int, float] = field(default_factory=dict)
    _quiet: dict[int, float] = field(default_factory=dict)
    _warned: dict[int, float] = field(default_factory=dict)
    _usual: float = 0.0
    _looked: float = 0.0

    def events(self) -> list[tuple[int, object]]:
        """The next events; empty where none can come, see `port.Executor`, or this process is asked
        to leave."""
        while True:
            events = self.executor.events(TICK)
            if time.monotonic() - self._looked >= TICK:  # Others may say much meanwhile.
                self._looked = time.monotonic()
                present = self.executor.heard()
                for gone in self._quiet.keys() - {each.handle for each in present}:
                    self._resume(gone)
                for heard in present:
                    self.hear(heard)
                    self._look(heard)
            if events or pulse.asked() or not self.executor.busy:
                return events

    def follow(self, jobs: set[int]) -> Iterator[tuple[int, object]]:
        """The events of `jobs` until all have ended; one that ends is taken out before its end is
        told. Raises what a job raised, and KeyboardInterrupt where this process is asked to
        leave."""
        while jobs:
            if pulse.asked():
                raise KeyboardInterrupt
            for handle, event in self.events():
                if isinstance(event, Raised):
                    raise event.cause
                if isinstance(event, Died | Finished):
                    jobs.discard(handle)
                yield handle, event

    def _look(self, heard: Heard) -> None:
        if heard.silence < self._told.get(heard.handle, 0.0) / 2:
            del self._told[heard.handle]  # It was heard again.
        subject = self.describe(heard)
        if is_over(heard, subject):
            assert subject.timeout is not None
            reason = tell_end(heard, subject, subject.timeout)
            training = heard.activity == TRAINING and subject.alone
            seconds = heard.spent if training else heard.silence
            self.cut[heard.handle] = Cut(reason, seconds, heard.step)
            self.executor.end(heard.handle, reason)
        elif heard.silence >= self._told.get(heard.handle, QUIET):
            self._told[heard.handle] = 2 * self._told.get(heard.handle, QUIET)
            self.note(tell_silence(heard, subject))
        if heard.quiet < self._quiet.get(heard.handle, 0.0):
            self._resume(heard.handle)
        self._quiet[heard.handle] = heard.quiet
        least = self._warned.get(heard.handle, max(MUTE, 2 * self._usual))
        if subject.timeout is None and heard.quiet >= least:
            self._warned[heard.handle] = 2 * heard.quiet
            self.note(tell_quiet(heard, subject))

    def _resume(self, handle: int) -> None:
        """Note that a process has said something, or has ended: others may be quiet for as long."""
        self._usual = max(self._usual, self._quiet.pop(handle))
        self._warned.pop(handle, None)


def is_over(heard: Heard, subject: Subject) -> bool:
    """Whether a silent job is to be ended. In lanes it is unknown whose time is spent: their
    program may be silent for as long as one trial may take, and so may a probe, but no less than
    until the user is told. A job that loads data, or begins, is ended only if its process is
    stopped."""
    training = heard.activity == TRAINING
    if subject.timeout is not None and heard.activity == TRYING:
        return heard.silence >= max(subject.timeout, SLACK if heard.stopped else QUIET)
    if subject.timeout is None or heard.silence < SLACK or not (training or heard.stopped):
        return False
    used = heard.spent if training and subject.alone else heard.silence
    return used >= subject.timeout


def tell_end(heard: Heard, subject: Subject, timeout: float) -> str:
    """The reason for the failure of a trial whose job was ended."""
    parts = [f"nothing heard for {heard.silence:.0f} s", _place(heard, subject)]
    if heard.stopped:
        parts.append(f"its process {heard.process} was stopped")
    return f"{describe_timeout(timeout)}: {'; '.join(filter(None, parts))}"


def tell_silence(heard: Heard, subject: Subject) -> str:
    """A sentence to the user on a silent job."""
    minutes = int(heard.silence / 60)
    long = "a minute" if minutes < 2 else f"{minutes} minutes"
    text = f"nothing has been heard from {subject.name} for {long}"
    if heard.activity == TRAINING and subject.place:
        text += f", its last {subject.place}"
    if heard.stopped:
        process = heard.process
        return f"{text}: its process {process} is stopped, and kill -CONT {process} has it go on"
    if heard.activity != TRAINING:
        doing = heard.activity or "starting"
        return f"{text}: it may still be {doing}; Ctrl-C ends the search, and nothing is lost"
    if subject.timeout is not None:
        return f"{text}: it is ended when its timeout is over"
    return (
        f"{text}: it may hang, or make a very long step; Ctrl-C ends the search, and nothing is "
        "lost; a line such as timeout: 30m in the spec ends such a trial by itself"
    )


def tell_quiet(heard: Heard, subject: Subject) -> str:
    """A sentence to the user on a process of the user's that says nothing."""
    last = f", its last {subject.place}" if subject.place else ""
    return (
        f"{subject.name} has said nothing for {heard.quiet / 60:.0f} minutes{last}: it may hang, "
        "or print at its end alone; Ctrl-C ends the search, and nothing is lost; a line such as "
        "timeout: 30m in the spec ends such a trial by itself"
    )


def name_trials(numbers: Sequence[int]) -> str:
    """Trials by their numbers, few one by one."""
    if len(numbers) > _NAMED:
        return f"{len(numbers)} trials ({numbers[0]} to {numbers[-1]})"
    *most, last = map(str, numbers)
    return f"trials {', '.join(most)} and {last}" if most else f"trial {last}"


def _place(heard: Heard, subject: Subject) -> str:
    if heard.activity == TRAINING:
        return f"last {subject.place}" if subject.place else ""
    return f"it was {heard.activity}" if heard.activity else ""
