"""Jobs in this process: no workers, easy to debug, and the reference for every other executor."""

from __future__ import annotations

import contextlib
import itertools
import sys
from typing import Self

from lrsearch import pulse
from lrsearch.executors.jobs import Jobs, resolve
from lrsearch.executors.port import Heard
from lrsearch.trial import Verdict


class Inline:
    """An executor that steps its jobs inside `events`, one event a call.

    `clean` has no effect: there is one process only. What jobs print goes to stderr: stdout belongs
    to the program's data.
    """

    def __init__(self) -> None:
        self._jobs = Jobs()
        self._handles = itertools.count(1)

    @property
    def capacity(self) -> int:
        """The number of jobs at once, one."""
        return 1

    def submit(self, function: str, payload: object, *, clean: bool = False) -> int:
        """See `port.Executor`."""
        handle = next(self._handles)
        self._jobs.add(handle, lambda: resolve(function)(payload))
        return handle

    def events(self, timeout: float | None = None) -> list[tuple[int, object]]:
        """Step jobs until the next event, whatever the timeout. See `port.Executor`."""
        with contextlib.redirect_stdout(sys.stderr):
            item = self._jobs.step()
        return [] if item is None else [item]

    def reply(self, handle: int, trial: int, verdict: Verdict) -> None:
        """See `port.Executor`."""
        self._jobs.reply(handle, trial, verdict)

    @property
    def busy(self) -> bool:
        """See `port.Executor`."""
        return self._jobs.ready

    def heard(self) -> list[Heard]:
        """Tell None for every job: this process cannot watch a job while it runs."""
        return []

    def end(self, handle: int, reason: str) -> None:
        """See `port.Executor`."""

    def leave(self) -> None:
        """See `port.Executor`."""
        if not pulse.asked():  # A signal has set the patience.
            pulse.ask()

    def close(self) -> None:
        """See `port.Executor`."""
        self._jobs.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
