"""Telling a person's Ctrl-C from what a user's code raises."""

from __future__ import annotations

import signal

from lrsearch.pulse import Leave


def is_interrupt(error: BaseException) -> bool:
    """Whether an error caught around a user's code is the user's Ctrl-C, or says that this process
    was asked to leave: it must go on up.

    Where SIGINT is ignored, as in workers, any other KeyboardInterrupt is the code's own.
    """
    if isinstance(error, Leave):
        return True
    ignored = signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    return isinstance(error, KeyboardInterrupt) and not ignored
