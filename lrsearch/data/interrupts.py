"""Guarding the user's code: its errors are caught, the user's Ctrl-C is not."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable

from lrsearch.pulse import Leave


def _is_interrupt(error: BaseException) -> bool:
    """Whether an error caught around user code is the user's Ctrl-C, or the request that this
    process leave: either must go on up.

    Where SIGINT is ignored, as in workers, any other KeyboardInterrupt is raised by the code
    itself.
    """
    if isinstance(error, Leave):
        return True
    ignored = signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    return isinstance(error, KeyboardInterrupt) and not ignored


def any_but_interrupts(
    *others: type[BaseException] | Callable[[BaseException], bool],
) -> tuple[type[BaseException], ...]:
    """The exceptions that an `except` clause around a user's code catches, which may raise
    anything, SystemExit too: all but interrupts and `others`, classes or predicates of the error.

    To be called in the clause itself, `except any_but_interrupts(LrsearchError) as error:`, which
    Python evaluates once something was raised: all is caught, or nothing. What is not caught goes
    on up as if there were no clause, its traceback untouched.
    """
    error = sys.exception()
    assert error is not None, "called outside an except clause"
    passed = (
        isinstance(error, each) if isinstance(each, type) else each(error)
        for each in (_is_interrupt, *others)
    )
    return () if any(passed) else (BaseException,)
