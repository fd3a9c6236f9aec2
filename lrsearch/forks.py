"""Signal handlers of lrsearch, and processes forked from one that has them.

A model, a dataset or a pool may fork. The child is no search and no worker: signals have to end it
as Python's own processes, which `Process.terminate` and pools rely on. Ctrl-C alone reaches a whole
process group, and the parent decides what follows from it.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

Handler = Callable[[int, FrameType | None], Any] | int | None
"""A handler as `signal.signal` takes and returns it."""

ENDING: tuple[int, ...] = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
"""Signals by which a scheduler ends a job. Those of the user, which SLURM, LSF and Grid Engine send
some time before as they are asked to, end by default any process without a word."""

_own: dict[int, Handler] = {}
"""lrsearch's handler by signal."""

_mask = threading.local()
"""The signals that were blocked when a thread began to fork."""


def handle(number: int, handler: Handler) -> Handler:
    """Handle a signal in this process, but not in those that it forks; one that is ignored, as
    `trap ''` of a shell, and its `&`, have a command ignore it, stays so. Returns the handler
    before."""
    if signal.getsignal(number) == signal.SIG_IGN:
        return signal.SIG_IGN
    _own[number] = handler
    return signal.signal(number, handler)


def _before() -> None:
    # A signal that comes before `_forked` would be handled as the parent's, and be lost.
    _mask.blocked = signal.pthread_sigmask(signal.SIG_BLOCK, _own.keys())


def _behind() -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, _mask.blocked)


def _forked() -> None:
    for number, handler in _own.items():
        if signal.getsignal(number) == handler:
            signal.signal(number, signal.SIG_IGN if number == signal.SIGINT else signal.SIG_DFL)
    _behind()


os.register_at_fork(before=_before, after_in_parent=_behind, after_in_child=_forked)
