"""When nobody reads any more."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def ignore_closed_stdout() -> Iterator[None]:
    """When the reader of a pipe (head, less) has left there is nothing more to say, and nothing
    to complain of."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def say(text: str) -> None:
    """Print to stderr; an exit code must not depend on anybody reading it."""
    with contextlib.suppress(BrokenPipeError):
        print(text, file=sys.stderr, flush=True)
