"""Workers and command lines that a test starts by the way: forks of the nursery in place of fresh
interpreters, each of which would import torch for itself.

While `Forking` stands in for `subprocess.Popen`, `python -m` of lrsearch and of its workers comes
from the nursery; all else, and what asks for anything that a fork cannot give, such as another
PYTHONHASHSEED, starts as ever. A fork is a child of the process that started it, with its streams,
folder, environment, group, mask and ignored signals, like any other.
"""

from __future__ import annotations

import ctypes
import fcntl
import inspect
import json
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import termios
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

WORKER = "lrsearch.executors.worker"
MODULES = ("lrsearch", WORKER)
CUSTOM = ("sitecustomize.py", "usercustomize.py")
READ_AT_START = re.compile(
    r"(?!PYTHON(PATH|UNBUFFERED|DONTWRITEBYTECODE)$)(PYTHON|LD_|LC_|LANG|GLIBC_)"
)
"""Variables that an interpreter reads when it starts, but for those that a fork goes by, too."""

ORDINARY = {
    **dict.fromkeys(("executable", "gid", "gids", "uid"), None),
    "close_fds": True,
    "pass_fds": (),
    "shell": False,
    "restore_signals": True,
    "umask": -1,
    "process_group": -1,
}
"""Arguments of `Popen._execute_child` with which a fork is the same."""

SIGNATURE = inspect.signature(subprocess.Popen._execute_child)
_SUBREAPER = 36
_lock = threading.Lock()


@dataclass(frozen=True)
class Before:
    """For `preexec_fn`, the changes of a process before it begins that a fork makes as well: its
    terminal becomes stdin's, files may have no more than `largest` bytes, and streams are closed,
    by their numbers."""

    terminal: bool = False
    largest: int | None = None
    closed: tuple[int, ...] = ()

    def __call__(self) -> None:
        """Make them."""
        if self.terminal:
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)
        if self.largest is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (self.largest, self.largest))
        for number in self.closed:
            os.close(number)


class Source:
    """Where this process has its forks from."""

    def __init__(self, find: Callable[[], str]) -> None:
        """`find` gives the nursery's address, and may start it."""
        self.find = find
        self.variables = _read_at_start(os.environ)
        self.group = (os.getsid(0), os.getpgrp())


source: Source | None = None


class Forking(subprocess.Popen[Any]):
    """`subprocess.Popen`, which has the nursery fork what it can."""

    def _execute_child(self, *arguments: Any) -> None:
        given = SIGNATURE.bind(self, *arguments).arguments
        if any(given[name] != value for name, value in ORDINARY.items()) or not _may_fork(given):
            super()._execute_child(*arguments)
            return
        ends = [given[f"{name}"] for name in ("p2cread", "c2pwrite", "errwrite")]
        environment = os.environ if given["env"] is None else given["env"]
        before = given["preexec_fn"] or Before()
        self.pid = start(
            {
                "words": [*map(os.fspath, given["args"])],
                "folder": os.fspath(given["cwd"] or Path.cwd()),
                "environment": dict(environment),
                "leads": given["start_new_session"],
                "terminal": before.terminal,
                "largest": before.largest,
                "closed": before.closed,
            },
            [number if end == -1 else end for number, end in enumerate(ends)],
        )
        self._child_created = True
        pairs = ("p2cread", "p2cwrite", "c2pread", "c2pwrite", "errread", "errwrite")
        self._close_pipe_fds(*(given[name] for name in pairs))


def module_of(words: list[str]) -> tuple[str, list[str]] | None:
    """The module that a command line runs, and its arguments, where it can be forked."""
    rest = words[2:] if words[1:2] == ["-P"] else words[1:]
    known = words[0] == sys.executable and rest[:1] == ["-m"] and rest[1:2] and rest[1] in MODULES
    return (rest[1], rest[2:]) if known else None


def _may_fork(given: Mapping[str, Any]) -> bool:
    """Whether a fork does what a fresh interpreter would, started with these."""
    if source is None or isinstance(given["args"], str | bytes | os.PathLike):
        return False
    if not isinstance(given["preexec_fn"], Before | None):
        return False
    words = [*map(os.fspath, given["args"])]
    environment = os.environ if given["env"] is None else given["env"]
    places = filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))
    return (
        module_of(words) is not None
        and _read_at_start(environment) == source.variables
        and not any(Path(place, name).exists() for place in places for name in CUSTOM)
        and (os.getsid(0), os.getpgrp()) == source.group
    )


def _read_at_start(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if READ_AT_START.match(name)}


def start(asked: dict[str, Any], streams: list[int]) -> int:
    """Have the nursery fork a child of this process; its process id."""
    assert source is not None
    ignored = [each for each in signal.valid_signals() if signal.getsignal(each) == signal.SIG_IGN]
    asked = {
        **asked,
        "parent": os.getpid(),
        "mask": [*map(int, signal.pthread_sigmask(signal.SIG_BLOCK, ()))],
        "ignored": [*map(int, {*ignored} - {signal.SIGPIPE, signal.SIGXFSZ})],
    }
    with _lock, socket.socket(socket.AF_UNIX) as link:
        link.connect(source.find())
        socket.send_fds(link, [b"+"], streams)
        # The fork's parent ends at once, and leaves it to this process.
        _become_subreaper(True)
        try:
            link.sendall(json.dumps(asked).encode() + b"\n")
            told = link.makefile().readline()
        finally:
            _become_subreaper(False)
    assert told, "the nursery has forked nothing"
    return int(told)


def _become_subreaper(on: bool) -> None:
    ctypes.CDLL(None).prctl(_SUBREAPER, int(on), 0, 0, 0)
