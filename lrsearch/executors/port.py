"""The interface of executors: jobs in, events out, replies in between.

A job is a generator function, named "package.module:name", and one picklable payload. What it
yields are its events, in order; what `yield` returns are the replies that came in since, as (trial,
verdict) pairs. Yielding None suspends the job until a reply comes in:

    def job(payload: Payload) -> Generator[object, Replies, None]:
        yield Started(1)
        replies = yield Reached(1, step=100)    # maybe here already
        while not replies:
            replies = yield None                # [(1, Verdict.GO_ON)]

After its own events a job has exactly one more: Finished, Raised or Died. A job is only ever
interrupted where it yields None: its place is then another's until it is replied to and that one
has ended or waits in turn. Hence jobs that wait for each other cannot block an executor, however
small.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol, Self

from lrsearch.errors import lacks_memory
from lrsearch.trial import Verdict

Replies = list[tuple[int, Verdict]]
JobFunction = Callable[[Any], Generator[object, Replies, None]]


@dataclass(frozen=True)
class Finished:
    """An event: the job returned."""


@dataclass(frozen=True)
class Raised:
    """An event: an exception left the job, or an event of it could not be sent. `error` is the
    exception itself if it is an LrsearchError, `message` its type and text."""

    error: BaseException | None
    message: str
    traceback: str

    @property
    def cause(self) -> BaseException:
        """The exception for the driver to raise: an error that is no LrsearchError, nor of too
        little memory, is a bug, with its traceback in the text."""
        if self.error is not None:
            return self.error
        if lacks_memory(self.message):
            return MemoryError(self.message)
        return RuntimeError(f"a worker raised {self.message}\n{self.traceback}")


@dataclass(frozen=True)
class Died:
    """An event: the job's process ended. `reason` is "killed by SIGKILL" or "exit code 3". `output`
    are the last lines the process printed. `running` is False for a job that was suspended, or had
    not begun, while another one ran in the same process."""

    reason: str
    output: str = ""
    running: bool = True


Terminal = Finished | Raised | Died


@dataclass(frozen=True)
class Heard:
    """The state of a job that runs in another process: it was silent for `silence` seconds, told
    its `activity` last ("" where it never did) and has been at it for `spent` seconds; `step` is
    its last step. A process of the user's that it waits for has said nothing for `quiet` seconds.
    `stopped` says whether its `process`, an id, is stopped, as by SIGSTOP. Time in
    which the driver itself was stopped, or the machine slept, is not counted."""

    handle: int
    silence: float
    activity: str
    spent: float
    step: int
    process: int
    stopped: bool
    quiet: float


class Executor(Protocol):
    """A place where jobs run. Used by one thread; a context manager."""

    @property
    def capacity(self) -> int:
        """The number of jobs that run at once; more may be submitted and wait for their turn."""

    def submit(self, function: str, payload: object, *, clean: bool = False) -> int:
        """Hand in a job and return its handle, at once. `clean` asks for a process that has run
        nothing before."""

    def events(self, timeout: float | None = None) -> list[tuple[int, object]]:
        """The (handle, event) pairs that are there; waits up to `timeout` seconds (None: as long
        as it takes) for the first. Empty at a timeout, and when nothing can come because there
        is no job or every job waits for a reply."""

    def reply(self, handle: int, trial: int, verdict: Verdict) -> None:
        """Answer a job's event. A reply to a job that is over is dropped."""

    @property
    def busy(self) -> bool:
        """Whether events can come without a reply."""

    def heard(self) -> list[Heard]:
        """The state of each job that is running in another process."""

    def end(self, handle: int, reason: str) -> None:
        """End the process of a job; it and the other jobs there are told to have `Died` of that
        reason. Without effect on a job that is over, or has no process of its own."""

    def leave(self) -> None:
        """Ask all jobs to save the trials under way, at their next `pulse.beat`, and to end. The
        saved states are events like any other; then a job of another process has `Died`, one of
        this process raises pulse.Leave out of `events`."""

    def close(self) -> None:
        """End all jobs, without events. Closing twice is harmless."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...
