"""The moving part of a terminal, below the lines that stay: drawn in place, without a flicker."""

from __future__ import annotations

import contextlib
import re
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, TextIO, cast

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.file_proxy import FileProxy
from rich.live import Live
from rich.text import Text

from lrsearch.reports.tables import VisibleConsole
from lrsearch.terminal import VisibleStream

INTERVAL = 0.25
"""Seconds between two redraws, at least."""

REST, SLOWEST = 10.0, 1.0
"""The time until the next redraw, at least, as a multiple of that which the lines took: of tens of
thousands of trials, four in a second would take a third of the process's time, for which the search
waits; and the seconds that it is no longer for that."""

_GONE = (OSError, ValueError, SystemExit)
"""Errors of a terminal that has gone away; SystemExit is rich's for a broken pipe."""

_UP = re.compile(r"\r(?:\x1b\[2K)?((?:\x1b\[1A\x1b\[2K)*)")
"""Rich's way to the beginning of what it has drawn: it erases each line before it writes it."""

_STYLE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Steady:
    """A terminal's stream for a console of rich that draws over what it drew before, instead of
    erasing it first: nothing is blank in between. Lines that a change of the terminal's width has
    wrapped are counted as the terminal shows them, and erased; what stands there already is not
    written again. The cursor is hidden within a write alone, so that a process that is killed
    leaves it visible. `width` gives the columns of the terminal."""

    def __init__(self, stream: TextIO, width: Callable[[], int]) -> None:
        # Of a guarded stream the one inside, as rich takes it: what is drawn acts on the terminal.
        self._stream = getattr(stream, "rich_proxied_file", stream)
        self._width = width
        self._drawn: list[int] = []
        self._last = (0, "")

    def write(self, text: str) -> int:
        """Write what rich draws, in one piece."""
        if not text:
            return 0
        width = max(1, self._width())
        begun = _UP.match(text)
        up, body = "", text
        if begun is not None:
            body, moving = text[begun.end() :], begun[1].count("A")
            if (width, body) == self._last and body.count("\n") == moving:
                return len(text)  # It stands there already.
            # Of what was written last, the last lines are the part that moves.
            lines = self._drawn[-1 - moving :] or [0]
            rows = sum(max(1, -(-each // width)) for each in lines) - 1
            up = "\r" + (f"\x1b[{rows}A" if rows else "")
            if width != self._last[0]:
                # A row that was wrapped stays joined to the next, whatever is written over both,
                # and a wider terminal would show them as one line: erased they are apart. Each by
                # itself: a screen that is erased as a whole is kept as what has scrolled away.
                up = "\r\x1b[2K" + "\x1b[1A\x1b[2K" * rows
        written = body.split("\n")
        sizes = [cell_len(_STYLE.sub("", line)) for line in written]
        # At the end of a full line the cursor stands on its last letter.
        rest = [line + ("\x1b[K" if size < width else "")
                for line, size in zip(written[:-1], sizes, strict=False)]  # fmt: skip
        whole = "\n".join([*rest, written[-1]]) + ("\x1b[J" if sizes[-1] < width else "")
        self._drawn, self._last = sizes, (width, body)
        self._stream.write(f"\x1b[?25l{up}{whole}\x1b[?25h")
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class _SteadyConsole(VisibleConsole):
    """A console that draws by a `Steady` stream and leaves the cursor to it."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__(cast(TextIO, Steady(stream, lambda: self.width)))

    def show_cursor(self, show: bool = True) -> bool:
        """Leave the cursor as it is."""
        return False


class Screen:
    """The moving part on a terminal: a thread prints new lines above it and redraws it. `frame`
    gives its lines for a height and a width."""

    def __init__(self, stream: TextIO, frame: Callable[[int, int], Sequence[Text]]) -> None:
        self._frame = frame
        self._console = _SteadyConsole(stream)
        self._lines: list[Text] = []
        self._spent = 0.0
        self._live = Live(
            self,
            console=self._console,
            auto_refresh=False,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=stream is sys.stderr,
        )
        self._over = threading.Event()
        with contextlib.suppress(*_GONE):
            self._live.start()
        if isinstance(sys.stderr, FileProxy):
            # What is printed beside it is printed above it: as text, of which rich would take the
            # escape sequences for styles and links.
            sys.stderr = cast(TextIO, VisibleStream(cast(TextIO, sys.stderr)))
        self._thread = threading.Thread(target=self._redraw, name="progress", daemon=True)
        self._thread.start()

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        begun = time.thread_time()
        lines = self._frame(max(1, console.size.height - 1), options.max_width)
        self._spent = time.thread_time() - begun
        yield from lines

    @property
    def width(self) -> int:
        """Columns of the terminal."""
        return self._console.width

    def add(self, line: Text) -> None:
        """Print a line above it, soon."""
        self._lines.append(line)

    def close(self) -> None:
        """Remove it; the lines stay. The terminal is as it was then."""
        self._over.set()
        self._thread.join()
        with contextlib.suppress(*_GONE):
            self._live.stop()

    def _redraw(self) -> None:
        over = False
        while not over:
            over = self._over.wait(max(INTERVAL, min(REST * self._spent, SLOWEST)))
            # Only this thread takes lines away; others append, which is atomic.
            ready = len(self._lines)
            lines = self._lines[:ready]
            del self._lines[:ready]
            with contextlib.suppress(*_GONE):
                if lines:
                    self._console.print(Group(*lines))  # It redraws the moving part, too.
                elif not over:
                    self._live.refresh()
