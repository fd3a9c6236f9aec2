"""Jobs that take turns in one process, for the inline executor and for workers."""

from __future__ import annotations

import contextlib
import importlib
import traceback
from collections.abc import Callable, Generator
from typing import cast

from lrsearch.errors import LrsearchError
from lrsearch.executors.port import Finished, JobFunction, Raised, Replies
from lrsearch.trial import Verdict


def resolve(function: str) -> JobFunction:
    """The function behind "package.module:name". Raises the errors of its import."""
    module, _, name = function.partition(":")
    return cast(JobFunction, getattr(importlib.import_module(module), name))


def raised(error: BaseException) -> Raised:
    """The event for an exception that left a job."""
    return Raised(
        error=error if isinstance(error, LrsearchError) else None,
        message=f"{type(error).__name__}: {error}",
        traceback="".join(traceback.format_exception(error)),
    )


class _Job:
    def __init__(self, begin: Callable[[], Generator[object, Replies, None]]) -> None:
        self.begin = begin
        self.generator: Generator[object, Replies, None] | None = None
        self.replies: Replies = []
        self.waits = False

    def advance(self) -> object:
        """The next event, or None where the job waits. Raises the job's own errors."""
        self.waits = False
        if self.generator is None:
            self.generator = self.begin()
            event = next(self.generator)
        else:
            replies, self.replies = self.replies, []
            event = self.generator.send(replies)
        self.waits = event is None
        return event


class Jobs:
    """Jobs stepped one at a time; each runs until it waits or ends. Those that were replied to go
    on first, in the order of the replies, then others in the order they came.

    `on_turn` is called with a job's handle whenever another job than before begins or resumes.
    """

    def __init__(self, on_turn: Callable[[int], None] | None = None) -> None:
        self._jobs: dict[int, _Job] = {}
        self._replied: dict[int, None] = {}
        self._current: int | None = None
        self._on_turn = on_turn

    def add(self, handle: int, begin: Callable[[], Generator[object, Replies, None]]) -> None:
        """Take in a job; `begin` is called at its first turn, and may raise like the job."""
        self._jobs[handle] = _Job(begin)

    def reply(self, handle: int, trial: int, verdict: Verdict) -> None:
        """Keep a reply for the job's next turn; dropped if the job is over."""
        if handle in self._jobs:
            self._jobs[handle].replies.append((trial, verdict))
            self._replied.setdefault(handle)

    def step(self) -> tuple[int, object] | None:
        """Run until the next event: (handle, event), or None if every job waits."""
        while (handle := self._turn()) is not None:
            try:
                event = self._jobs[handle].advance()
            except StopIteration:
                event = Finished()
                self.drop(handle)
            except KeyboardInterrupt:
                self.drop(handle)
                raise
            except BaseException as error:  # SystemExit too: user code does not end the run
                event = raised(error)
                self.drop(handle)
            if event is not None:
                return handle, event
            self._current = None
        return None

    @property
    def ready(self) -> bool:
        """Whether a job can go on."""
        return self._next() is not None

    def _next(self) -> int | None:
        ready = (at for at, job in self._jobs.items() if not job.waits)
        return next(iter(self._replied), next(ready, None))

    def _turn(self) -> int | None:
        if self._current is None:
            self._current = self._next()
            if self._current is not None and self._on_turn is not None:
                self._on_turn(self._current)
        if self._current is not None:  # It is given all of its replies.
            self._replied.pop(self._current, None)
        return self._current

    def drop(self, handle: int) -> None:
        """End a job without an event."""
        job = self._jobs.pop(handle)
        self._replied.pop(handle, None)
        if self._current == handle:
            self._current = None
        if job.generator is not None:
            with contextlib.suppress(Exception):  # from the job's own clean-up
                job.generator.close()

    def close(self) -> None:
        """End all jobs without events."""
        for handle in list(self._jobs):
            self.drop(handle)
