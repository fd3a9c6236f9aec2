"""Signals while a search runs: trials under way are saved before the command ends."""

from __future__ import annotations

import math
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Self

from lrsearch import forks, pulse

TWICE = 2.0
"""Seconds within which a second signal of `forks.ENDING` is taken for a copy of the first: a
scheduler may signal a process and then its whole group."""


class Interruptible:
    """Context in which a signal of `forks.ENDING` acts like Ctrl-C: the search ends at once or,
    within `deferred`, saves its trials under way first. After the first signal the next one kills.
    The end of the terminal ends neither the search nor processes started within."""

    def __init__(self) -> None:
        self._deferred = self._inline = False
        self._waits: dict[int, float] = {}
        self._first = math.inf

    def __enter__(self) -> Self:
        self._before = {
            number: forks.handle(number, self._interrupt)
            for number in (signal.SIGINT, *forks.ENDING)
        }
        self._before[signal.SIGHUP] = signal.signal(signal.SIGHUP, signal.SIG_IGN)
        return self

    @contextmanager
    def deferred(self, *, inline: bool) -> Iterator[None]:
        """Make a signal ask the workers to leave (`pulse.ask`) in place of raising. A job of this
        process is interrupted at once while it trains nothing yet, and within a step that takes
        longer than workers are waited for."""
        from lrsearch.tuner.events import PATIENCE, SHORT

        self._waits = {**dict.fromkeys(forks.ENDING, PATIENCE), signal.SIGINT: SHORT}
        self._deferred, self._inline = True, inline
        before = signal.getsignal(signal.SIGALRM)
        try:
            yield
        finally:
            self._deferred = False
            if inline and self._first < math.inf:
                signal.setitimer(signal.ITIMER_REAL, 0.0)
                signal.signal(signal.SIGALRM, before)

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if now > self._first:
            if number in forks.ENDING and now - self._first < TWICE:
                return
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        self._first = now
        pulse.ask(patient=number in forks.ENDING)
        if not self._deferred or (self._inline and pulse.activity() != pulse.TRAINING):
            raise KeyboardInterrupt
        if self._inline:
            signal.signal(signal.SIGALRM, signal.default_int_handler)
            signal.setitimer(signal.ITIMER_REAL, self._waits[number])

    def __exit__(self, *_: object) -> None:
        pulse.stay()
        for number, handler in self._before.items():
            signal.signal(number, handler)
