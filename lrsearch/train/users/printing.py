"""Output of a trial's own code, kept in case it fails."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import Any, TextIO

from lrsearch.train.users.last_words import TRACE_LINES
from lrsearch.train.users.lines import plain_lines

KEPT = 16 * 1024
"""Characters that are kept, the last ones."""


class Printed:
    """The end of the text printed through `sys.stdout` and `sys.stderr` while it listens; the text
    still goes where it went before."""

    def __init__(self) -> None:
        self._kept = ""

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Listen within the block."""
        before = sys.stdout, sys.stderr
        sys.stdout, sys.stderr = self._copy(sys.stdout), self._copy(sys.stderr)
        try:
            yield
        finally:
            sys.stdout, sys.stderr = before

    def _copy(self, stream: TextIO) -> Any:
        return stream if stream is None else _Copied(stream, self)

    def keep(self, text: str) -> None:
        """Add printed text."""
        self._kept = (self._kept + text)[-KEPT:]

    def text(self) -> str:
        """The last lines."""
        return "\n".join(plain_lines(self._kept.strip())[-TRACE_LINES:])


class _Copied:
    """A stream whose text is also passed to a listener."""

    def __init__(self, stream: TextIO, printed: Printed) -> None:
        self._stream, self._printed = stream, printed

    def write(self, text: str) -> int:
        self._printed.keep(text)
        return self._stream.write(text)

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
