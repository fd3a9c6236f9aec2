"""Keeps one command: runs it in a process group of its own, and ends that whatever happens.

Started by `commands` as a script, `keeper.py STATUS SCRATCH GRACE WORD...`, with nothing but the
standard library, in the command's folder and with its environment, stdout and stderr. Its stdin is
the lifeline: when that ends, because the trial is to stop or the worker is dead, the command's
group gets SIGTERM and, GRACE seconds later, SIGKILL. How the command ended is written to the
descriptor STATUS behind its process id: `4711 exit 3`, `4711 signal 11`, or `0 error TEXT`. What
a command leaves running goes the same way. Last the folder SCRATCH is deleted.
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import subprocess
import sys
import time

_POLL = 0.02


def main() -> None:
    """Run the command of the arguments to its end."""
    status, scratch, grace, words = int(sys.argv[1]), sys.argv[2], float(sys.argv[3]), sys.argv[4:]
    waking, woken = os.pipe()
    for descriptor in (waking, woken):
        os.set_blocking(descriptor, False)
    signal.set_wakeup_fd(woken, warn_on_full_buffer=False)
    asked: list[int] = []
    signal.signal(signal.SIGCHLD, lambda *_: None)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda received, _: asked.append(received))
    # A worker ignores it, and what is ignored stays so in a child.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        process = subprocess.Popen(words, stdin=subprocess.DEVNULL, start_new_session=True)
    except OSError as error:
        _tell(status, f"0 error {error.strerror}")
        os.close(status)
    else:
        _tell(status, f"{process.pid}")
        # Only the command itself holds its output open from here on.
        null = os.open(os.devnull, os.O_RDWR)
        os.dup2(null, 1)
        os.dup2(null, 2)
        while process.poll() is None and not asked:
            ready, _, _ = select.select([0, waking], [], [])
            if waking in ready:
                with contextlib.suppress(BlockingIOError):
                    os.read(waking, 4096)
            if 0 in ready:
                break
        code = process.poll()
        if code is not None:
            _tell_code(status, code)
        _end_group(process, grace)
        if code is None:
            _tell_code(status, process.wait())
    os.read(0, 1)  # The worker has read all that it wants when it closes the lifeline.
    shutil.rmtree(scratch, ignore_errors=True)


def _tell(status: int, text: str) -> None:
    with contextlib.suppress(BrokenPipeError):
        os.write(status, text.encode())


def _tell_code(status: int, code: int) -> None:
    _tell(status, f" signal {-code}" if code < 0 else f" exit {code}")
    os.close(status)


def _end_group(process: subprocess.Popen[bytes], grace: float) -> None:
    """Have the whole group leave, and end what has not left after `grace` seconds."""
    deadline = time.monotonic() + grace
    for number in (signal.SIGTERM, signal.SIGCONT):  # One that is stopped cannot leave.
        if not _signal(process.pid, number):
            return
    while _signal(process.pid, 0):
        process.poll()
        if time.monotonic() > deadline:
            _signal(process.pid, signal.SIGKILL)
            return
        time.sleep(_POLL)


def _signal(group: int, number: int) -> bool:
    """Signal a group; False where there is nobody left in it."""
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):  # The latter where all are dead, on macOS.
        return False
    return True


if __name__ == "__main__":
    main()
