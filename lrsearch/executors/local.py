"""Warm worker processes on this machine.

Workers are fresh interpreters, not forks and not `multiprocessing`: they inherit no lock, hold
no other worker's pipe and never import the caller's __main__. Their output is captured, and
its last lines are shown when one dies.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import pickle
import selectors
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

from lrsearch.errors import signal_name
from lrsearch.executors.frames import (
    DEVICE_LOST,
    HEADER,
    MARK,
    TERMINATED,
    Go,
    Job,
    Reply,
    Turn,
    Waiting,
    frame,
)
from lrsearch.executors.jobs import raised
from lrsearch.executors.port import Died, Heard, Terminal
from lrsearch.pulse import Alive
from lrsearch.trial import ONE_THREAD, Verdict

KEEP_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(2**25), "MALLOC_TRIM_THRESHOLD_": str(2**27)}
"""Environment in which glibc's allocator keeps the memory a step frees for the next one, instead of
returning it to the system and paging it in again: some percent of a step of many lanes."""

_CHUNK = 1 << 20
_TAIL_BYTES = 16384
_TAIL_LINES = 20

TICK = 1.0
"""Seconds between two looks at the clock while no message comes."""

_MOST = 2 * TICK
"""The most seconds counted between two looks: after more the driver was not running, and its
workers may not have been either, as when the machine slept or all were stopped."""

_KILLED = 5.0
"""Seconds in which a killed process has to be gone; the system keeps some for ever, such as those
that wait for a disk."""


# a worker


@dataclass
class _Life:
    """The last activity a job told, the seconds spent on it, the job's last step, and how long a
    process of the user's had been quiet."""

    activity: str = ""
    spent: float = 0.0
    step: int = 0
    quiet: float = 0.0


class _Process:
    """A worker as the driver sees it. `current` is the job whose turn it is."""

    def __init__(self, environment: Mapping[str, str], place: int) -> None:
        self.place = place
        # Blocked, not ignored, and inherited: a Ctrl-C while the worker starts must not end it,
        # and one meant for this process is only put off.
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            self.process = subprocess.Popen(
                # -P: the caller's folder must not shadow modules.
                [sys.executable, "-P", "-m", "lrsearch.executors.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
                env=environment,
            )
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        assert self.process.stdin and self.process.stdout and self.process.stderr
        self.pipes = (self.process.stdin, self.process.stdout, self.process.stderr)
        self.inward, self.outward, self.errors = (pipe.fileno() for pipe in self.pipes)
        for descriptor in (self.inward, self.outward, self.errors):
            os.set_blocking(descriptor, False)
        # A child that a job forked may hold the pipes open when the worker is dead, so its end
        # is watched itself where the system can.
        self.watch = -1
        if sys.platform == "linux":
            with contextlib.suppress(OSError):
                self.watch = os.pidfd_open(self.process.pid)
        self.jobs: dict[int, _Life] = {}
        self.current: int | None = None
        self.sent = 0
        self.waiting = False
        self.heard = 0.0
        self.ended = ""
        self.foreign = False  # Other code has written to its pipe: nothing there is a frame.
        self.outgoing = bytearray()
        self.received = bytearray()
        self.printed = bytearray()

    @property
    def idle(self) -> bool:
        return not self.jobs

    def send(self, handle: int, message: Go | Job | Reply) -> None:
        """Send a message. A part that the pipe does not take stays in `outgoing`: a stopped worker
        must not stop its driver. Raises BrokenPipeError."""
        self.sent += 1
        self.waiting = False
        self.outgoing += frame(handle, message)
        self.flush()

    def flush(self) -> None:
        """Write as much as the pipe takes. Raises BrokenPipeError."""
        while self.outgoing:
            try:
                count = os.write(self.inward, self.outgoing)
            except BlockingIOError:
                return
            except BrokenPipeError:
                self.outgoing.clear()
                raise
            del self.outgoing[:count]

    @property
    def turn(self) -> int | None:
        """The handle of the job that runs there, or is about to; None where all wait."""
        if self.waiting or not self.jobs:
            return None
        return self.current if self.current in self.jobs else min(self.jobs)

    @property
    def stopped(self) -> bool:
        """Whether the process is stopped, as by SIGSTOP; False where the system does not tell."""
        if not hasattr(os, "waitid"):
            return False
        with contextlib.suppress(ChildProcessError):
            flags = os.WSTOPPED | os.WNOHANG | os.WNOWAIT
            return os.waitid(os.P_PID, self.process.pid, flags) is not None
        return False

    def read(self) -> bool:
        """Read the bytes in the pipe; False at its end."""
        try:
            data = os.read(self.outward, _CHUNK)
        except BlockingIOError:
            return True
        self.received += data
        return bool(data)

    def read_errors(self) -> bool:
        """Read the worker's printed output and keep the end of it; False once it is closed."""
        try:
            data = os.read(self.errors, _CHUNK)
        except BlockingIOError:
            return True
        self.printed += data
        del self.printed[:-_TAIL_BYTES]
        return bool(data)

    def frames(self) -> list[tuple[int, bytearray]]:
        """The whole frames received so far: handles and pickles. Bytes that begin no frame make the
        process `foreign`; no frame behind them counts."""
        found, at = [], 0
        while begun := bytes(self.received[at : at + len(MARK)]):
            if not MARK.startswith(begun):
                self.foreign = True
                break
            if len(self.received) - at < HEADER.size:
                break
            _, handle, size = HEADER.unpack_from(self.received, at)
            if len(self.received) - at - HEADER.size < size:
                break
            at += HEADER.size
            found.append((handle, self.received[at : at + size]))
            at += size
        del self.received[:at]
        return found

    def end_of_life(self) -> tuple[str, str]:
        """The reason of the worker's death and its last output. The process has closed its pipe or
        is dead."""
        try:
            code = self.process.wait(0.0 if self.ended else 1.0)
        except subprocess.TimeoutExpired:
            self.kill()
            reason = "it closed its pipe to the driver"
        else:
            code = -TERMINATED.get(code, -code)
            reason = f"killed by {signal_name(-code)}" if code < 0 else f"exit code {code}"
            if code == DEVICE_LOST:
                reason = "an error on the device, which it can use no more"
        self.read_errors()
        lines = self.printed.decode("utf-8", "replace").splitlines()
        return self.ended or reason, "\n".join(lines[-_TAIL_LINES:])

    def kill(self) -> None:
        self.process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(_KILLED)

    @property
    def descriptors(self) -> list[int]:
        """All descriptors to watch."""
        return [at for at in (self.outward, self.errors, self.watch) if at >= 0]

    def close(self) -> None:
        for pipe in self.pipes:
            pipe.close()
        if self.watch >= 0:
            os.close(self.watch)


# the executor


class Local:
    """An executor of up to `workers` processes, started when needed and kept for the next job.

    `environment` adds to this process's variables, over one BLAS thread each; `each` to those of
    single workers, the first to the first and so on round, such as a GPU for each. A worker whose
    jobs all wait for replies takes new ones beside them.
    """

    def __init__(
        self,
        workers: int,
        *,
        environment: Mapping[str, str] | None = None,
        each: Sequence[Mapping[str, str]] = (),
    ) -> None:
        if workers < 1:
            raise ValueError(f"an executor needs at least one worker, not {workers}")
        self._limit = workers
        self._environment = {**KEEP_MEMORY, **os.environ, **ONE_THREAD, **(environment or {})}
        self._each = tuple(each) or ({},)
        self._handles = itertools.count(1)
        self._backlog: deque[tuple[int, Job, bool]] = deque()
        self._workers: list[_Process] = []
        self._owners: dict[int, _Process] = {}
        self._ready: list[tuple[int, object]] = []
        self._selector = selectors.DefaultSelector()
        self._time, self._seen = 0.0, time.monotonic()
        self._closed = False

    @property
    def capacity(self) -> int:
        """The number of workers."""
        return self._limit

    def submit(self, function: str, payload: object, *, clean: bool = False) -> int:
        """Hand in a job, see `port.Executor`. Raises the errors of pickling the payload."""
        if self._closed:
            raise RuntimeError("the executor is closed")
        job = Job(function, pickle.dumps(payload, protocol=pickle.HIGHEST_PROTOCOL))
        handle = next(self._handles)
        self._backlog.append((handle, job, clean))
        self._dispatch()
        return handle

    def events(self, timeout: float | None = None) -> list[tuple[int, object]]:
        """See `port.Executor`."""
        deadline = None if timeout is None else time.monotonic() + timeout
        more = True
        while more:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            busy = self.busy
            wait = TICK if left is None else min(TICK, left)
            self._poll(wait if busy and not self._ready else 0.0)
            more = busy and not self._ready and left != 0.0
        ready, self._ready = self._ready, []
        return ready

    def reply(self, handle: int, trial: int, verdict: Verdict) -> None:
        """See `port.Executor`."""
        worker = self._owners.get(handle)
        if worker is not None:
            with contextlib.suppress(BrokenPipeError):  # its death is on its way as an event
                self._send(worker, handle, Reply(trial, verdict))

    @property
    def busy(self) -> bool:
        """See `port.Executor`."""
        return bool(self._ready) or any(not worker.waiting for worker in self._owners.values())

    def heard(self) -> list[Heard]:
        """See `port.Executor`."""
        found = []
        for worker in self._workers:
            handle = worker.turn
            if handle is not None:
                life, silence = worker.jobs[handle], self._time - worker.heard
                pid, stopped = worker.process.pid, silence > TICK and worker.stopped
                told = (life.activity, life.spent, life.step)
                found.append(Heard(handle, silence, *told, pid, stopped, life.quiet))
        return found

    def end(self, handle: int, reason: str) -> None:
        """See `port.Executor`."""
        worker = self._owners.get(handle)
        if worker is not None:
            worker.current, worker.ended = handle, reason
            worker.kill()
            self._bury(worker)

    def leave(self) -> None:
        """See `port.Executor`."""
        self._backlog.clear()
        for worker in self._workers:
            with contextlib.suppress(BrokenPipeError):  # It is gone already.
                self._send(worker, 0, Go())

    def close(self) -> None:
        """End all jobs, see `port.Executor`. Workers leave at once, or are killed after half a
        second."""
        self._closed = True
        self._backlog.clear()
        self._owners.clear()
        self._ready.clear()
        self._retire(*self._workers)
        self._selector.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _start(self) -> _Process:
        # The place with the fewest workers: where one died, the next one begins.
        taken = [worker.place for worker in self._workers]
        place = min(range(len(self._each)), key=taken.count)
        worker = _Process({**self._environment, **self._each[place]}, place)
        self._workers.append(worker)
        for descriptor in worker.descriptors:
            self._selector.register(descriptor, selectors.EVENT_READ, worker)
        return worker

    def _dispatch(self) -> None:
        """Give the jobs of the backlog to workers, as far as there are any for them."""
        while self._backlog:
            running = sum(not (worker.idle or worker.waiting) for worker in self._workers)
            if running >= self._limit:
                return
            handle, job, clean = self._backlog.popleft()
            worker, old = self._place(clean)
            worker.jobs[handle] = _Life()
            self._owners[handle] = worker
            if len(worker.jobs) == 1:
                worker.current = handle  # a worker that cannot even start is this job's end
            try:
                self._send(worker, handle, job)
            except BrokenPipeError:
                if old:  # it died in its sleep; the job is not to blame
                    del worker.jobs[handle]
                    del self._owners[handle]
                    self._backlog.appendleft((handle, job, clean))
                    self._bury(worker)

    def _send(self, worker: _Process, handle: int, message: Go | Job | Reply) -> None:
        """Send a message; a part that the pipe does not take is sent when there is room. Raises
        BrokenPipeError."""
        if worker.turn is None or len(worker.jobs) == 1:
            worker.heard = self._time  # It had no message before.
        worker.send(handle, message)
        if worker.outgoing and worker.inward not in self._selector.get_map():
            self._selector.register(worker.inward, selectors.EVENT_WRITE, worker)

    def _place(self, clean: bool) -> tuple[_Process, bool]:
        """A worker for the next job, and whether it was there before."""
        idle = [worker for worker in self._workers if worker.idle]
        if clean:
            unused = [worker for worker in idle if not worker.sent]
            if idle and not unused and len(self._workers) >= self._limit:
                self._retire(idle[0])
            idle = unused
        # Where every worker holds a job that waits, a clean one is for once one more.
        if not idle and (clean or len(self._workers) < self._limit):
            return self._start(), False
        if idle:
            return idle[0], True
        waiting = [worker for worker in self._workers if worker.waiting]
        return min(waiting, key=lambda worker: len(worker.jobs)), True

    def _poll(self, timeout: float) -> None:
        """Wait for readable descriptors, and read them."""
        found = self._selector.select(timeout)
        self._pass_time()
        ended: list[_Process] = []
        for key, _ in found:
            worker: _Process = key.data
            if key.fd == worker.inward:
                with contextlib.suppress(BrokenPipeError):  # Its death is on its way.
                    worker.flush()
                if not worker.outgoing or worker in ended:
                    self._selector.unregister(key.fd)
                continue
            if key.fd == worker.errors:
                if not worker.read_errors():
                    self._selector.unregister(key.fd)
            elif (key.fd == worker.watch or not worker.read()) and worker not in ended:
                ended.append(worker)
            if worker not in ended and not self._take(worker):
                ended.append(worker)
        for worker in ended:
            self._bury(worker)
        self._dispatch()
        idle = [worker for worker in self._workers if worker.idle]
        self._retire(*idle[: max(0, len(self._workers) - self._limit)])

    def _pass_time(self) -> None:
        """Count the time since the last look for all jobs that go on."""
        now = time.monotonic()
        passed, self._seen = min(now - self._seen, _MOST), now
        self._time += passed
        for worker in self._workers:
            handle = worker.turn
            if handle is not None:
                worker.jobs[handle].spent += passed

    def _take(self, worker: _Process) -> bool:
        """Read a worker's messages; False at the end of its pipe."""
        sound = True
        for handle, data in worker.frames():
            worker.heard = self._time
            try:
                event = pickle.loads(data)
            except Exception as error:
                # A worker cannot be told to drop one job, so all of it goes; this job is to blame.
                event = raised(error)
                sound = False
                worker.process.kill()
            if isinstance(event, Waiting):
                # Said before it had seen the latest frames, it is out of date.
                worker.waiting = event.received == worker.sent
                if worker.waiting:
                    worker.current = None
            elif isinstance(event, Turn):
                worker.current = handle
            elif isinstance(event, Alive):
                life = worker.jobs.get(handle)
                if life is not None:
                    life.spent = life.spent if event.activity == life.activity else 0.0
                    life.activity, life.step, life.quiet = event.activity, event.step, event.quiet
            elif handle in worker.jobs:
                self._ready.append((handle, event))
                if isinstance(event, Terminal):
                    del worker.jobs[handle]
                    del self._owners[handle]
        if worker.foreign:
            worker.ended = "its code wrote to a descriptor that is not its own"
            worker.process.kill()
            sound = False
        return sound

    def _bury(self, worker: _Process) -> None:
        """Take a dead worker's last events, and end the jobs it had."""
        reason, output = worker.end_of_life()
        if not worker.foreign:
            worker.read()  # one chunk is more than a pipe holds
            self._take(worker)
        for handle in sorted(worker.jobs):
            self._ready.append((handle, Died(reason, output, worker.current == handle)))
            del self._owners[handle]
        self._forget(worker)

    def _forget(self, worker: _Process) -> None:
        self._workers.remove(worker)
        for descriptor in (worker.inward, *worker.descriptors):
            if descriptor in self._selector.get_map():
                self._selector.unregister(descriptor)
        worker.close()

    def _retire(self, *workers: _Process) -> None:
        """End workers: they leave when their pipe closes."""
        for worker in workers:
            self._forget(worker)
        deadline = time.monotonic() + 0.5
        for worker in workers:
            try:
                worker.process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                worker.kill()
