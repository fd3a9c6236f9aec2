"""A worker process: `python -m lrsearch.executors.worker`, started by `local` alone.

Frames come in on fd 0 and go out on fd 1, which the worker takes for itself: what jobs print
goes to stderr, and stdin is empty. When fd 0 ends the driver is gone, and so is the worker, at
once and in the middle of a job: it never outlives its driver.
"""

from __future__ import annotations

import contextlib
import dataclasses
import faulthandler
import io
import os
import pickle
import queue
import signal
import sys
import threading
import time
from collections.abc import Generator
from typing import NoReturn

from lrsearch import forks, pulse
from lrsearch.errors import DeviceLost
from lrsearch.executors.frames import (
    DEVICE_LOST,
    HEADER,
    Go,
    Job,
    Reply,
    Turn,
    Waiting,
    frame,
    write,
)
from lrsearch.executors.jobs import Jobs, raised, resolve
from lrsearch.executors.port import Raised, Replies


def _receive(descriptor: int, inbox: queue.SimpleQueue[tuple[int, Job | Reply]]) -> None:
    """The reader thread: always there, so that the driver's writes never wait for a job."""
    with open(descriptor, "rb") as pipe:
        while len(head := pipe.read(HEADER.size)) == HEADER.size:
            _, handle, size = HEADER.unpack(head)
            body = pipe.read(size)
            if len(body) < size:
                break
            message = pickle.loads(body)
            if isinstance(message, Go):
                _go()
            else:
                inbox.put((handle, message))
        os._exit(0)


PATIENCE = 20.0
"""Seconds in which a worker that was told to end saves its trials under way."""

ALONE = 5.0
"""Seconds for which it then waits for the driver's word: a driver that got the signal, too, sends
`Go`; any other is told why its worker ended."""

_over = threading.Event()
"""Set once there is no trial left to save."""

_told = threading.Event()
"""Set once the driver wants this process to go."""


def _go() -> None:
    """Make the job leave at its next beat, and this process with it; at once where nothing trains,
    even in the middle of user code."""
    _told.set()
    pulse.ask()
    if _over.is_set() or pulse.activity() != pulse.TRAINING:
        os._exit(0)


def _terminate(number: int) -> None:
    """Handle a signal of `forks.ENDING`: it may be for this process alone, or for all of a
    cluster's job step."""

    def wait() -> None:
        if pulse.activity() == pulse.TRAINING:
            _over.wait(PATIENCE)
        time.sleep(ALONE)
        os._exit(128 + number)

    if not pulse.asked():
        pulse.ask()
        threading.Thread(target=wait, daemon=True).start()


def _begin(job: Job) -> Generator[object, Replies, None]:
    return resolve(job.function)(pickle.loads(job.payload))


class _Worker:
    def __init__(self, inbox: queue.SimpleQueue[tuple[int, Job | Reply]], outbox: int) -> None:
        self.inbox = inbox
        self.outbox = outbox
        self.received = 0
        self.pid = os.getpid()
        self.turn = 0
        self.jobs = Jobs(on_turn=self.begin_turn)

    def serve(self) -> None:
        """Take frames and step jobs; ends with the process."""
        pulse.listen(self.tell)
        try:
            self._serve()
        except pulse.Leave:
            _over.set()
            if _told.is_set():
                os._exit(0)
            threading.Event().wait()  # For the driver's word, or until `_terminate` is over.

    def _serve(self) -> None:
        while True:
            while not self.inbox.empty():
                self.take()
            item = self.jobs.step()
            if item is not None:
                handle, event = item
                if isinstance(event, Raised) and isinstance(event.error, DeviceLost):
                    leave(event.message)
                self.send(handle, event)
            elif self.inbox.empty():
                if pulse.asked():
                    raise pulse.Leave
                self.send(0, Waiting(self.received))
                self.take()

    def take(self) -> None:
        """One frame from the driver; waits for it."""
        handle, message = self.inbox.get()
        self.received += 1
        if isinstance(message, Reply):
            self.jobs.reply(handle, message.trial, message.verdict)
        else:
            self.jobs.add(handle, lambda: _begin(message))

    def begin_turn(self, handle: int) -> None:
        """Tell the driver that another job begins or resumes."""
        self.turn = handle
        pulse.forget()
        self.send(handle, Turn())

    def tell(self, alive: pulse.Alive) -> None:
        """Tell the driver that the running job is alive. Its threads and forks tell nothing: two
        frames written at once would be none."""
        own = os.getpid() == self.pid
        if own and threading.current_thread() is threading.main_thread():
            self.send(self.turn, alive)

    def send(self, handle: int, event: object) -> None:
        """Send an event; one that cannot be pickled is the job's failure."""
        try:
            data = frame(handle, event)
            if isinstance(event, Raised):
                pickle.loads(data[HEADER.size :])  # errors often pickle and do not unpickle
        except Exception as error:
            if isinstance(event, Raised):
                event = dataclasses.replace(event, error=None)
            else:
                self.jobs.drop(handle)
                event = raised(error)
            return self.send(handle, event)
        try:
            write(self.outbox, data)
        except BrokenPipeError:
            os._exit(0)


def leave(message: str) -> NoReturn:
    """End the process at once: even closing the rest of a lost device may hang."""
    print(message, file=sys.stderr, flush=True)
    os._exit(DEVICE_LOST)


def _wake_with_driver_s_end() -> None:
    """Continue this process, where the system can, when its driver ends: a stopped process would
    not see its pipe close, and would stay for ever."""
    if sys.platform == "linux":
        with contextlib.suppress(ImportError, OSError, AttributeError):
            import ctypes

            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGCONT, 0, 0, 0)


_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Serve until the driver is gone."""
    # A Ctrl-C, and the end of the terminal, reach its whole process group; ending workers is the
    # driver's part.
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    forks.handle(signal.SIGCONT, lambda *_: pulse.wake())
    for each in forks.ENDING:
        forks.handle(each, lambda received, _: _terminate(received))
    _wake_with_driver_s_end()
    inward, outward = os.dup(0), os.dup(1)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    os.dup2(2, 1)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # printing must neither fail nor get lost
            stream.reconfigure(line_buffering=True, errors="backslashreplace")
    faulthandler.enable()
    inbox: queue.SimpleQueue[tuple[int, Job | Reply]] = queue.SimpleQueue()
    threading.Thread(target=_receive, args=(inward, inbox), daemon=True).start()
    _Worker(inbox, outward).serve()


if __name__ == "__main__":
    main()
