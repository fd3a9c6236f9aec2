"""When nobody reads any more, or nothing can be written."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from lrsearch.errors import StorageFull, UsageError


@contextmanager
def ignore_closed_stdout() -> Iterator[None]:
    """When the reader of a pipe (head, less) has left there is nothing more to say, and nothing
    to complain of. Raises StorageFull where stdout is a file, or a terminal, that takes no more."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        _drop_stdout()
    except OSError as error:
        # Of a file that is opened or named the error has the name; a stream has none.
        if error.errno not in _REFUSED or error.filename is not None:
            raise
        _drop_stdout()
        raise StorageFull(f"cannot write the result to stdout: {error.strerror}") from error


_REFUSED = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


def _drop_stdout() -> None:
    """Have what is still to be written go nowhere: Python tries again when it ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def say(text: str) -> None:
    """Print to stderr; an exit code must not depend on anybody reading it."""
    with contextlib.suppress(OSError):
        print(text, file=sys.stderr, flush=True)


def print_exactly(text: str, hint: str = "PYTHONIOENCODING=utf-8 has them") -> None:
    """Print what another program reads: as it is, unless to a terminal. Raises UsageError where
    stdout is in an encoding without some of its letters."""
    stream = sys.stdout
    if not stream.isatty():
        stream = getattr(stream, "rich_proxied_file", stream)
    try:
        text.encode(stream.encoding or "utf-8", "surrogatepass")
    except UnicodeEncodeError as error:
        lacking = text[error.start]
        message = f"stdout is in {error.encoding}, which has no '{lacking}'"
        raise UsageError(message, hint=hint) from None
    stream.write(text)
    stream.flush()
