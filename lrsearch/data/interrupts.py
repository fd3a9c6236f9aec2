"""The user's Ctrl-C, told from errors that user code raises."""

from __future__ import annotations

import signal

from lrsearch.pulse import Leave


def is_interrupt(error: BaseException) -> bool:
    """Whether an error caught around user code is the user's Ctrl-C, or the request that this
    process leave: either must go on up.

    Where SIGINT is ignored, as in workers, any other KeyboardInterrupt is raised by the code
    itself.
    """
    if isinstance(error, Leave):
        return True
    ignored = signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    return isinstance(error, KeyboardInterrupt) and not ignored
