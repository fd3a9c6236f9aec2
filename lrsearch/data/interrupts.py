"""Telling a person's Ctrl-C from what a user's code raises."""

from __future__ import annotations

import signal


def is_interrupt(error: BaseException) -> bool:
    """Whether an error caught around a user's code is the user's Ctrl-C, which must go on up.

    Where SIGINT is ignored, as in workers, a KeyboardInterrupt is the code's own.
    """
    ignored = signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    return isinstance(error, KeyboardInterrupt) and not ignored
