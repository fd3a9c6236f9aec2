"""Run one command in a process group of its own, and end the group whatever happens.

Started by `process` as a script, `keeper.py STATUS SCRATCH GRACE CHANNEL WORD...`, with nothing but
the standard library, in the command's folder and with its environment, stdout and stderr. Its stdin
is the lifeline: when that ends, because the trial is to stop or the worker is dead, the command's
group gets SIGTERM and, GRACE seconds later, SIGKILL. How the command ended is written to the
descriptor STATUS behind its process id: `4711 exit 3`, `4711 signal 11`, `4711 stopped` where it
was ended, or `0 error TEXT`. The descriptor CHANNEL, -1 for none, is passed on to the command.
Processes that a command leaves running end the same way, on Linux even those that have left its
group (daemons). Last the folder SCRATCH is deleted.

A trial may be over in less time than Python takes to import `subprocess`, `pathlib` and `shutil`:
here is none of them.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import time
from collections.abc import Callable

_POLL = 0.02

_KILLED = 1.0
"""Seconds in which killed processes have to be gone."""


def main() -> None:
    """Run the command of the arguments to its end."""
    status, scratch, grace, channel = int(sys.argv[1]), sys.argv[2], float(sys.argv[3]), sys.argv[4]
    words, passed = sys.argv[5:], (int(channel),) if channel != "-1" else ()
    waking, woken = os.pipe()
    for descriptor in (waking, woken):
        os.set_blocking(descriptor, False)
    signal.set_wakeup_fd(woken, warn_on_full_buffer=False)
    asked: list[int] = []
    signal.signal(signal.SIGCHLD, lambda *_: None)
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, lambda received, _: asked.append(received))
    # A worker ignores it, and what is ignored stays so in a child.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    if sys.platform == "linux":
        # Become the parent of what the command leaves without one; and go on, should somebody have
        # stopped this process, when the worker ends.
        _prctl(_PR_SET_CHILD_SUBREAPER, 1)
        _prctl(_PR_SET_PDEATHSIG, signal.SIGCONT)
    os.set_inheritable(status, False)
    try:
        process = _Process(words)
    except OSError as error:
        _tell(status, f"0 error {error.strerror}")
        os.close(status)
    else:
        _tell(status, f"{process.pid}")
        # Only the command itself holds its output open from here on.
        null = os.open(os.devnull, os.O_RDWR)
        for descriptor in (1, 2, *passed):
            os.dup2(null, descriptor, inheritable=False)
        while process.poll() is None and not asked:
            ready, _, _ = select.select([0, waking], [], [])
            if waking in ready:
                with contextlib.suppress(BlockingIOError):
                    os.read(waking, 4096)
                _orphans(process)
            if 0 in ready:
                break
        code = process.poll()
        # One that leaves in order when it is told to exits with 0, too, and has not trained.
        if code is not None and not asked:
            _tell_end(status, f" signal {-code}" if code < 0 else f" exit {code}")
        _end_all(process, grace)
        if code is None or asked:
            _tell_end(status, " stopped")
    os.read(0, 1)  # The worker has read all that it wants when it closes the lifeline.
    _delete(scratch)


class _Process:
    """The command, in a session of its own, with the streams and the variables of this process, and
    an empty stdin. Raises OSError where it cannot be started."""

    def __init__(self, words: list[str]) -> None:
        self.pid = os.posix_spawnp(
            words[0],
            words,
            os.environ,
            file_actions=[(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)],
            setsid=True,
            setsigdef=[signal.SIGPIPE, signal.SIGXFSZ],  # Python ignores both.
        )
        self._code: int | None = None

    def poll(self) -> int | None:
        """The exit code, or less the signal that ended it; None while it runs."""
        if self._code is None:
            ended, status = os.waitpid(self.pid, os.WNOHANG)
            if ended:
                self._code = os.waitstatus_to_exitcode(status)
        return self._code


def _delete(folder: str) -> None:
    """Delete a folder and all in it, as far as that can be done."""
    for here, folders, files in os.walk(folder, topdown=False):
        for remove, names in ((os.unlink, files), (_remove_folder, folders)):
            for name in names:
                with contextlib.suppress(OSError):
                    remove(os.path.join(here, name))  # noqa: PTH118
    with contextlib.suppress(OSError):
        os.rmdir(folder)  # noqa: PTH106


def _remove_folder(path: str) -> None:
    """Remove an empty folder, or a link to one."""
    (os.unlink if os.path.islink(path) else os.rmdir)(path)  # noqa: PTH114


def _tell(status: int, text: str) -> None:
    with contextlib.suppress(BrokenPipeError):
        os.write(status, text.encode())


def _tell_end(status: int, text: str) -> None:
    _tell(status, text)
    os.close(status)


def _prctl(option: int, value: int) -> None:
    """Set an option of this process by Linux's prctl, where Python can."""
    with contextlib.suppress(ImportError, OSError, AttributeError):
        import ctypes

        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


def _orphans(process: _Process) -> list[int]:
    """The running processes that have become this one's children; ended ones are reaped."""
    try:
        with open(f"/proc/self/task/{os.getpid()}/children", "rb") as file:  # noqa: PTH123
            listed = file.read()
    except OSError:  # Another system, or one that keeps no such file.
        return []
    found = []
    for child in map(int, listed.split()):
        if child != process.pid:
            with contextlib.suppress(ChildProcessError):
                if os.waitpid(child, os.WNOHANG) == (0, 0):
                    found.append(child)
    return found


def _end_all(process: _Process, grace: float) -> None:
    """End the whole group, and all processes that became this one's children: SIGTERM, then SIGKILL
    after `grace` seconds."""
    deadline = time.monotonic() + grace
    told: set[int] = set()
    while time.monotonic() < deadline + _KILLED:
        process.poll()
        orphans = _orphans(process)
        if not _signal(os.killpg, process.pid, 0):
            if not orphans:
                return
        elif time.monotonic() > deadline:
            _signal(os.killpg, process.pid, signal.SIGKILL)
        elif process.pid not in told:
            told.add(process.pid)
            _ask(os.killpg, process.pid)
        for orphan in orphans:
            if time.monotonic() > deadline:
                _signal(os.kill, orphan, signal.SIGKILL)
            elif orphan not in told:
                told.add(orphan)
                _ask(os.kill, orphan)
        time.sleep(_POLL)


def _ask(send: Callable[[int, int], None], whom: int) -> None:
    _signal(send, whom, signal.SIGTERM)
    _signal(send, whom, signal.SIGCONT)  # One that is stopped cannot leave.


def _signal(send: Callable[[int, int], None], whom: int, number: int) -> bool:
    """Signal a group (os.killpg) or a process (os.kill); False where it does not exist."""
    try:
        send(whom, number)
    except (ProcessLookupError, PermissionError):  # The latter where all are dead, on macOS.
        return False
    return True


if __name__ == "__main__":
    main()
