"""Loops of the user's that a test trains by `--executor inline`: forks of the process that tests
them, in place of fresh interpreters, each of which would import torch for itself.

While `ForkedLoops` stands in for `subprocess.Popen`, the keeper of a loop, and the loop's process,
are forks of this one, but for the first so many; all else starts as ever. A fork has the loop's
module where a look at it has imported it: what that draws or does when it is imported is no matter.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from typing import Any, NoReturn

from forking import SIGNATURE, Forking

from lrsearch.outside import keeper, loop_process


class ForkedLoops(Forking):
    """`Popen`, by which the keepers of loops are forks of this process."""

    fresh = 0
    """How many begin as ever."""

    def _execute_child(self, *arguments: Any) -> None:
        given = SIGNATURE.bind(self, *arguments).arguments
        words = [*map(str, given["args"])]
        if loop_process.__name__ not in words or ForkedLoops.fresh:
            ForkedLoops.fresh -= loop_process.__name__ in words
            super()._execute_child(*arguments)
            return
        ends = [given[name] for name in ("p2cread", "c2pwrite", "errwrite")]
        self.pid = os.fork()
        if self.pid == 0:
            _be(lambda: _keep(given, words, ends))
        self._child_created = True
        pairs = ("p2cread", "p2cwrite", "c2pread", "c2pwrite", "errread", "errwrite")
        self._close_pipe_fds(*(given[name] for name in pairs))


def _keep(given: dict[str, Any], words: list[str], ends: list[int]) -> None:
    """Be a keeper, as `Popen` would have started it."""
    for number, end in enumerate(ends):
        os.dup2(end, number)
    kept = sorted({0, 1, 2, *given["pass_fds"]})
    for low, high in zip(kept, [*kept[1:], 65536], strict=True):
        os.closerange(low + 1, high)
    os.setsid()
    os.chdir(given["cwd"])
    os.environ.clear()
    os.environ.update(given["env"])
    sys.argv[:] = words[3:]
    keeper._Process = ForkedLoop  # type: ignore[misc, assignment]
    keeper.main()


class ForkedLoop(keeper._Process):
    """A loop's process, as the keeper would have spawned it."""

    def __init__(self, words: list[str]) -> None:
        self.pid, self._code = os.fork(), None
        if self.pid == 0:
            os.setsid()
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            signal.set_wakeup_fd(-1)
            for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, signal.SIG_DFL)
            sys.argv[:] = words[3:]
            _be(loop_process.main)


def _be(run: Callable[[], None]) -> NoReturn:
    """Run what this fork is for, with the streams of Python on those it has, and end."""
    code = 1
    try:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        sys.stdout, sys.stderr = (
            os.fdopen(number, "w", 1, errors="backslashreplace", closefd=False) for number in (1, 2)
        )
        run()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else bool(end.code)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
