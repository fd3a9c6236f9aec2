"""Progress of a search: a live display on a terminal, plain lines elsewhere; on stderr."""

from __future__ import annotations

import contextlib
import math
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self, TextIO, cast

from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.file_proxy import FileProxy
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from lrsearch.reports.apart import shorten, tell_apart
from lrsearch.reports.tables import STYLES, VisibleConsole
from lrsearch.reports.text import count, format_fixed, format_params, format_seconds, one_line
from lrsearch.reports.verdicts import in_words
from lrsearch.terminal import VisibleStream
from lrsearch.trial import Objective, Outcome

INTERVAL = 0.25
"""Seconds between two redraws, at least."""

BARS = 12
"""Running trials with a line of their own."""

NOTICED = 3
"""Trials under way of whose verdicts a line is printed; those of others stand beside them alone."""


def animates(stream: TextIO) -> bool:
    """Whether `stream` is a terminal that may be redrawn: TERM is not dumb, NO_COLOR not set."""
    dumb = os.environ.get("TERM", "").lower() in ("dumb", "unknown")
    return stream.isatty() and not dumb and not os.environ.get("NO_COLOR")


_SPINNER = ("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏", "|/-\\")
"""Frames of the spinner while a search starts; the second one for encodings without Braille."""

_NAME = 14
"""Characters of a metric's name beside each running trial; a longer name is left out, and the
number stays."""


@dataclass
class _Running:
    params: Mapping[str, Any]
    fraction: float = 0.0
    value: float | None = None
    verdict: str = ""


# the progress


class Progress:
    """The progress of a search on `stream` (stderr by default), as a context manager or closed by
    `close`. `quiet` leaves nothing but warnings.

    A call only stores its news, in a few microseconds; on a terminal a thread redraws at most four
    times a second. `clock` gives seconds.
    """

    def __init__(
        self,
        stream: TextIO | None = None,
        *,
        quiet: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stream = stream if stream is not None else sys.stderr
        self._quiet = quiet
        self._clock = clock
        self._display: _Display | None = None
        self._lock = threading.Lock()
        self._objective: Objective | None = None
        self._total: int | None = None
        self._workers = 0
        self._done = 0
        self._begun = clock()
        self._starting = ""
        self._running: dict[int, _Running] = {}
        self._best: tuple[str, Mapping[str, Any]] | None = None
        self._noticed = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self, text: str) -> None:
        """Show the activity before the search begins: on a terminal a line that moves until then,
        elsewhere a plain line."""
        if self._quiet:
            return
        if not animates(self._stream):
            self.note(text)
            return
        with self._lock:
            self._starting, self._begun = one_line(text), self._clock()
        if self._display is None:
            self._display = _Display(self._stream, self._frame)

    def begin(self, total_trials: int | None, objective: Objective, workers: int) -> None:
        """Start the display. `total_trials` is None where it is not known yet."""
        self._total, self._objective, self._workers = total_trials, objective, workers
        self._done = 0
        with self._lock:
            self._begun, self._starting = self._clock(), ""
        if not self._quiet and self._display is None and animates(self._stream):
            self._display = _Display(self._stream, self._frame)

    def planned(self, total: int) -> None:
        """Take the number of trials, once it is known or has changed."""
        with self._lock:
            self._total = total

    def started(self, number: int, params: Mapping[str, Any]) -> None:
        """A worker begins a trial (again, perhaps)."""
        with self._lock:
            self._running[number] = _Running(params)

    def measured(self, number: int, fraction: float, value: float | None) -> None:
        """Take the progress of a trial: the fraction of its budget that it has trained; `value` is
        its objective's metric there."""
        with self._lock:
            running = self._running[number]
            running.fraction, running.value = fraction, value

    def noticed(self, number: int, verdict: str) -> None:
        """A verdict is certain of a trial that still trains: it stands beside it, and the first
        few get a line that stays."""
        with self._lock:
            running = self._running[number]
            running.verdict, share = verdict, running.fraction
            self._noticed += 1
            shown = self._noticed <= NOTICED
        if shown:
            told = f"{in_words(verdict)} so far, at {share:.0%} of its budget"
            self.note(f"trial {number} is {told}; Ctrl-C ends the search, and nothing is lost")

    def ended(
        self,
        number: int,
        params: Mapping[str, Any],
        outcome: Outcome,
        value: float | None,
        seconds: float,
        reason: str = "",
    ) -> None:
        """A trial is over: it gets a line that stays."""
        with self._lock:
            self._running.pop(number, None)
            self._done += 1
            place, width = f"{self._done}", 0
            if self._total is not None:
                width = len(str(self._total))
                place = f"{place:>{width}}/{self._total}"
        if self._quiet:
            return
        completed = outcome is Outcome.COMPLETED
        came_to = self._valued(value) if completed else outcome.replace("_", " ")
        parts = [f"[{place}] trial {number:<{width}}", came_to, format_seconds(seconds)]
        if self._display is not None and completed:
            room = self._display.width - sum(len(part) + 2 for part in parts)
            parts.append(shorten(params, room))
        else:
            parts.append(format_params(params))
        parts += ["" if completed else one_line(reason)]
        line = "  ".join(part for part in parts if part)
        self._print(line, STYLES.get(outcome, ""))

    def best(self, params: Mapping[str, Any], value: float) -> None:
        """Show the best so far, on a terminal below the running trials."""
        with self._lock:
            self._best = self._valued(value), params

    def note(self, text: str) -> None:
        """Print a line that stays, unless quiet."""
        if not self._quiet:
            self._print(one_line(text), "dim")

    def news(self) -> dict[str, Any]:
        """The search at this moment, as `page.live.read_news` reads it."""
        with self._lock:
            running = [
                {
                    "trial": number,
                    "share": each.fraction,
                    "params": format_params(each.params),
                    "told": self._told(each),
                }
                for number, each in sorted(self._running.items())
            ]
            elapsed = self._clock() - self._begun
            left = self._left(self._done, self._total, self._trained(), elapsed)
            return {
                "written": time.time(),
                "begun": time.time() - elapsed,
                "doing": self._starting,
                "done": self._done,
                "total": self._total,
                "workers": self._workers,
                "left": None if left is None else [left, left],
                "pace": None,
                "best": "" if self._best is None else self._best[0],
                "jobs": [{"lanes": 0, "trials": running}] if running else [],
            }

    def _trained(self) -> float:
        return math.fsum(each.fraction for each in self._running.values())

    def close(self) -> None:
        """Remove the moving part of the display; printed lines stay. Needed once."""
        if self._display is not None:
            self._display.close()
            self._display = None

    def _valued(self, value: float | None) -> str:
        metric = one_line(self._objective.metric) if self._objective else "value"
        # Four decimals suit accuracies, and keep lines of one search aligned.
        decimals = 4 if value is not None and 1e-3 <= abs(value) < 100 else None
        return f"{metric} {'-' if value is None else format_fixed(value, decimals)}"

    def _print(self, line: str, style: str) -> None:
        if self._display is not None:
            self._display.add(Text(line, style=style, overflow="fold"))
        else:
            try:
                self._stream.write(line + "\n")
                self._stream.flush()
            except (OSError, ValueError):
                # The reader of the progress has left, or the stream takes no more, or the stream
                # is closed: the search goes on without saying so.
                self._stream = open(os.devnull, "w")  # noqa: PTH123, SIM115

    def _frame(self, height: int, width: int) -> Iterator[Text | Table]:
        """The moving part: running trials, the best, and the whole progress; at most `height`
        lines. Before the search begins, the activity it waits for."""
        with self._lock:
            running = [
                (number, entry.params, entry.fraction, self._told(entry))
                for number, entry in sorted(self._running.items())
            ]
            done, total, best, starting = self._done, self._total, self._best, self._starting
        if starting:
            yield self._turning(starting)
            return
        limit = max(1, min(BARS, height - 4))
        if running:
            yield self._bars(running[:limit], width)
        if len(running) > limit:
            yield Text(f"and {len(running) - limit} more running", style="dim")
        if best:
            value, params = best
            room = max(10, width - len("best  ") - len(value) - 2)
            shown = f"{value}  {tell_apart([params], room)[0]}"
            yield Text.assemble(("best  ", "bold"), (shown, "green"), no_wrap=True)
        yield self._overall(done, total, math.fsum(fraction for _, _, fraction, _ in running))

    def _bars(
        self, running: Sequence[tuple[int, Mapping[str, Any], float, str]], width: int
    ) -> Table:
        """A line for each running trial, all different."""
        bar = 12 if width >= 100 else 8
        values = [value for *_, value in running]
        room = width - len(f"trial {running[-1][0]}") - bar - len("100%") - 8
        # There is always room for a value: the text must not change when the first one comes.
        room = max(10, room - max(len(self._brief(0.5)), *map(len, values)))
        grid = Table.grid(padding=(0, 2, 0, 0))
        for justify in ("right", "left", "left", "right", "left"):
            grid.add_column(justify=justify, no_wrap=True, overflow="ellipsis")
        shown = tell_apart([params for _, params, _, _ in running], room)
        for (number, _, fraction, _), text, value in zip(running, shown, values, strict=True):
            grid.add_row(
                Text(f"trial {number}"),
                Text(text),
                ProgressBar(total=1.0, completed=fraction, width=bar),
                Text(f"{fraction:.0%}"),
                Text(value),
            )
        return grid

    def _told(self, entry: _Running) -> str:
        """The state of a running trial: its value, and a verdict."""
        parts = ["" if entry.value is None else self._brief(entry.value), in_words(entry.verdict)]
        return ", ".join(part for part in parts if part)

    def _brief(self, value: float) -> str:
        text = self._valued(value)
        return text if len(text) <= _NAME + 8 else text.rpartition(" ")[2]

    def _turning(self, text: str) -> Text:
        elapsed = self._clock() - self._begun
        dots, plain = _SPINNER
        encoding = getattr(self._stream, "encoding", None) or "utf-8"
        signs = dots if encoding.lower().replace("-", "") == "utf8" else plain
        sign = signs[int(elapsed / INTERVAL) % len(signs)]
        return Text.assemble(
            (f"{sign} ", "green"), text, (f"  {format_seconds(elapsed)}", "dim"), overflow="fold"
        )

    def _overall(self, done: int, total: int | None, training: float) -> Table:
        grid = Table.grid(padding=(0, 2, 0, 0))
        elapsed = self._clock() - self._begun
        row: list[Text | ProgressBar] = [Text(f"{done}/{total}" if total else f"{done} done")]
        if total:
            row.append(ProgressBar(total=total, completed=min(total, done + training), width=30))
        words = [format_seconds(elapsed)]
        left = self._left(done, total, training, elapsed)
        if left is not None:
            words.append(f"{format_seconds(left)} left")
        words.append(count(self._workers, "worker"))
        row.append(Text(", ".join(words), style="dim"))
        grid.add_row(*row)
        return grid

    def _left(self, done: int, total: int | None, training: float, elapsed: float) -> float | None:
        """Seconds to the end at the rate so far, in trials a second; the running ones count by
        their fractions. None before the first has ended."""
        if total is None or not done:
            return None
        return max(0.0, total - done - training) * elapsed / (done + training)


_GONE = (OSError, ValueError, SystemExit)
"""Errors of a terminal that has gone away; SystemExit is rich's for a broken pipe."""


# the display


class _Display:
    """The moving part on a terminal: a thread prints new lines above it and redraws it."""

    def __init__(self, stream: TextIO, frame: Callable[[int, int], Iterator[Text | Table]]) -> None:
        self._frame = frame
        self._console = VisibleConsole(stream)
        self._lines: list[Text] = []
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
        yield from self._frame(console.size.height, options.max_width)

    @property
    def width(self) -> int:
        """Columns of the terminal."""
        return self._console.width

    def add(self, line: Text) -> None:
        self._lines.append(line)

    def close(self) -> None:
        self._over.set()
        self._thread.join()
        with contextlib.suppress(*_GONE):
            self._live.stop()

    def _redraw(self) -> None:
        over = False
        while not over:
            over = self._over.wait(INTERVAL)
            # Only this thread takes lines away; others append, which is atomic.
            ready = len(self._lines)
            lines = self._lines[:ready]
            del self._lines[:ready]
            with contextlib.suppress(*_GONE):
                if lines:
                    self._console.print(Group(*lines))  # It redraws the moving part, too.
                elif not over:
                    self._live.refresh()
