"""Progress of a search: a live display on a terminal, plain lines elsewhere; on stderr."""

from __future__ import annotations

import math
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self, TextIO

from rich.text import Text

from lrsearch.analysis.groups import is_rate
from lrsearch.analysis.remaining import Work, foresee
from lrsearch.display import Axis, Outlook, Place
from lrsearch.reports.apart import shorten
from lrsearch.reports.frame import Snapshot, Trial, lay_out, tell_pace, tell_plainly
from lrsearch.reports.scatter import Cloud
from lrsearch.reports.screen import INTERVAL, Screen
from lrsearch.reports.tables import STYLES
from lrsearch.reports.text import (
    fill,
    format_fixed,
    format_params,
    format_seconds,
    one_line,
    tell_span,
)
from lrsearch.reports.verdicts import in_words
from lrsearch.trial import Objective, Outcome

NOTICED = 3
"""Trials under way of whose verdicts a line is printed; those of others stand beside them alone."""

HEARTBEAT = 60.0
"""Seconds between two lines on what is under way, off a terminal."""

LONGEST = 200
"""Characters of a trial's line and of one on what is under way, off a terminal, at most; notes are
whole."""

WINDOW = 60.0
"""Seconds over which the pace of the work is taken."""

KEPT = 1000
"""Values of a trial under way that are kept for its curve; beyond them every other one is."""


def _animates(stream: TextIO) -> bool:
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
    begun: float
    told: float
    fraction: float = 0.0
    values: list[float] = field(default_factory=list)
    value: float | None = None
    verdict: str = ""
    place: Place = field(default_factory=Place)

    def reach(self, fraction: float, now: float) -> None:
        """Take the share of its budget that is trained at this moment."""
        self.fraction, self.told = fraction, now

    @property
    def epochs(self) -> float:
        """The epochs that were trained for it until now."""
        return max(0.0, self.fraction - self.place.shared) * self.place.epochs


class Progress:
    """The progress of a search on `stream` (stderr by default), as a context manager or closed by
    `close`. `quiet` leaves nothing but warnings.

    A call only stores its news, in a few microseconds; on a terminal a thread redraws at most four
    times a second, elsewhere one prints a line a minute. `clock` gives seconds, as
    `time.monotonic`.
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
        self._screen: Screen | None = None
        self._heart: _Heart | None = None
        self._lock = threading.Lock()
        self._objective: Objective | None = None
        self._noun = "trial"
        self._total: int | None = None
        self._outlook = Outlook()
        self._axis: Axis | None = None
        self._workers = 0
        self._done = 0
        self._begun = clock()
        self._starting = ""
        self._running: dict[int, _Running] = {}
        self._cloud: list[tuple[float, float | None]] = []
        self._best: tuple[str, Mapping[str, Any]] | None = None
        self._noticed = 0
        self._reasons: dict[str, int] = {}
        self._first: float | None = None
        self._ended: list[float] = []
        self._epochs = 0.0
        self._paces: deque[tuple[float, float]] = deque()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # what is told

    def start(self, text: str) -> None:
        """Show the activity before the search begins: on a terminal a line that moves until then,
        elsewhere a plain line."""
        if self._quiet:
            return
        if not _animates(self._stream):
            self.note(text)
        with self._lock:
            self._starting, self._begun = one_line(text), self._clock()
        self._open()

    def begin(self, total_trials: int | None, objective: Objective, workers: int) -> None:
        """Start the display. `total_trials` is None where it is not known yet."""
        with self._lock:
            if self._objective is None or self._noun != "trial":
                self._forget("trial")
            self._total, self._objective, self._workers = total_trials, objective, workers
            self._outlook = Outlook()
            self._done, self._starting = 0, ""
        self._open()

    def planned(self, total: int) -> None:
        """Take the number of trials, once it is known or has changed."""
        with self._lock:
            self._total = total

    def awaits(self, outlook: Outlook) -> None:
        """Take what is known of the trials to come."""
        with self._lock:
            self._outlook = outlook

    def draws(self, axis: Axis) -> None:
        """Draw the objective over this axis."""
        with self._lock:
            self._axis, self._cloud = axis, list(axis.measured)

    def started(self, number: int, params: Mapping[str, Any]) -> None:
        """A worker begins a trial (again, perhaps)."""
        with self._lock:
            self._enter(number, params)

    def placed(self, number: int, place: Place) -> None:
        """Take the place of a trial."""
        with self._lock:
            self._running[number].place = place

    def stepped(self, number: int, fraction: float) -> None:
        """Take how far a trial has come between its evaluations."""
        with self._lock:
            if number in self._running:
                self._running[number].reach(fraction, self._clock())

    def measured(self, number: int, fraction: float, value: float | None) -> None:
        """Take the progress of a trial: `fraction` is the share of its budget that is trained,
        `value` the objective's metric there."""
        with self._lock:
            running = self._running[number]
            running.reach(fraction, self._clock())
            if value is None:
                return
            running.value = value
            running.values.append(value)
            if len(running.values) > KEPT:
                del running.values[::2]

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
        epochs: float = 0.0,
    ) -> None:
        """A trial is over: it gets a line that stays."""
        completed = outcome is Outcome.COMPLETED
        with self._lock:
            place = self._leave(number)
            reason = self._tell_once(one_line(reason), number)
            self._epochs += epochs
            rate = params.get(self._axis.name) if self._axis is not None else None
            if is_rate(rate) and (completed or outcome is Outcome.DIVERGED):
                self._cloud.append((float(rate or 0), value))
        came_to = self._valued(value) if completed else outcome.words
        parts = [f"{place} trial {number:<{self._digits}}", came_to, format_seconds(seconds)]
        self._print_end(parts, params, "" if completed else reason, STYLES.get(outcome, ""))

    def best(self, params: Mapping[str, Any], value: float) -> None:
        """Show the best so far, on a terminal below the running trials."""
        with self._lock:
            self._best = self._valued(value), params

    def sweeps(self, total: int, workers: int) -> None:
        """Range tests begin, so many."""
        with self._lock:
            self._forget("range test")
            self._total, self._workers, self._starting = total, workers, ""
        self._open()

    def sweeping(self, number: int, params: Mapping[str, Any], fraction: float) -> None:
        """Take how far a range test has come."""
        with self._lock:
            if number not in self._running:
                self._enter(number, params)
            self._running[number].reach(fraction, self._clock())

    def swept(self, number: int, params: Mapping[str, Any], told: str, seconds: float) -> None:
        """A range test is over: it gets a line that stays."""
        with self._lock:
            place = self._leave(number)
            if told.startswith("no range") and (once := self._tell_once(told, number)) != told:
                told = f"no range, {once}"
        parts = [f"{place} range test {number:<{self._digits}}", told, format_seconds(seconds)]
        self._print_end(parts, params, "", "")

    def looked(
        self, number: int, params: Mapping[str, Any], told: str, value: float | None, seconds: float
    ) -> None:
        """The look at the test part is over: it gets a line that stays, and no place among the
        trials."""
        with self._lock:
            self._running.pop(number, None)
        came_to = one_line(told if value is None else f"{self._valued(value)} {told}")
        self._print_end([f"trial {number}", came_to, format_seconds(seconds)], params, "", "")

    def note(self, text: str) -> None:
        """Print a line that stays, unless quiet."""
        if not self._quiet:
            self._print(one_line(text), "dim")

    def news(self) -> dict[str, Any]:
        """The search at this moment, as `page.live.read_news` reads it."""
        now, clock = self._clock(), time.time()
        with self._lock:
            jobs: dict[int, list[dict[str, Any]]] = {}
            lanes: dict[int, int] = {}
            for number, each in sorted(self._running.items()):
                lanes[each.place.job] = each.place.lanes
                jobs.setdefault(each.place.job, []).append(
                    {
                        "trial": number,
                        "share": each.fraction,
                        "params": format_params(each.params),
                        "told": self._told(each),
                    }
                )
            return {
                "written": clock,
                "begun": clock - (now - self._begun),
                "doing": self._starting or ("" if self._noun == "trial" else f"{self._noun}s"),
                "done": self._done,
                "total": self._total,
                "workers": self._workers,
                "left": self._foresee(now),
                "pace": self._measure_pace(now),
                "jobs": [{"lanes": lanes[job], "trials": each} for job, each in jobs.items()],
            }

    def close(self) -> None:
        """Remove the moving part of the display; printed lines stay. Needed once."""
        if self._heart is not None:
            self._heart.stop()
            self._heart = None
        if self._screen is not None:
            self._screen.close()
            self._screen = None

    # what is kept

    def _open(self) -> None:
        if self._quiet:
            return
        if _animates(self._stream):
            self._screen = self._screen or Screen(self._stream, self._frame)
        else:
            self._heart = self._heart or _Heart(self._beat)

    def _forget(self, noun: str) -> None:
        """Begin with nothing done: what took place before was of another kind."""
        now = self._clock()
        self._noun, self._begun, self._done, self._first = noun, now, 0, None
        self._running, self._ended, self._epochs = {}, [], 0.0
        self._paces.clear()

    def _enter(self, number: int, params: Mapping[str, Any]) -> None:
        now = self._clock()
        self._first = now if self._first is None else self._first
        self._running[number] = _Running(params, now, now)

    def _leave(self, number: int) -> str:
        """Remove a trial from those under way; returns its place among all, as its line shows
        it."""
        running = self._running.pop(number, None)
        self._done += 1
        if running is not None:
            # Its wall time: in lanes the seconds of training are a share of it.
            self._ended.append(max(self._clock() - running.begun, 1e-6))
        place = f"{self._done}"
        if self._total is not None:
            place = f"{place:>{self._digits}}/{self._total}"
        return f"[{place}]"

    def _tell_once(self, reason: str, number: int) -> str:
        """The reason, or the first that was told of it: a point's trials may end by one verdict."""
        first = self._reasons.setdefault(reason, number)
        return reason if first == number or not reason else f"as {self._noun} {first}"

    @property
    def _digits(self) -> int:
        return 0 if self._total is None else len(str(self._total))

    def _snapshot(self) -> Snapshot:
        """The search at this moment."""
        now = self._clock()
        with self._lock:
            running = sorted(self._running.items())
            shown = [
                Trial(number, each.params, each.fraction, tuple(each.values), self._told(each),
                      each.place.job, each.place.lanes)
                for number, each in running
            ]  # fmt: skip
            left, later = self._left(now), self._outlook.later[1]
            return Snapshot(
                shown,
                self._done,
                self._total,
                now - self._begun,
                self._workers,
                self._noun,
                self._best,
                left,
                self._pace(now),
                f"then at most {later} trainings more" if later and self._noun == "trial" else "",
                len(self._brief(0.5)) if self._noun == "trial" else 0,
                self._find_cloud(),
                getattr(self._stream, "encoding", None) or "utf-8",
            )

    def _left(self, now: float) -> str:
        """The time left in words: from and to, "" while nobody knows."""
        found = self._foresee(now)
        return "" if found is None else tell_span(*found)

    def _foresee(self, now: float) -> tuple[float, float] | None:
        """The time left in seconds: from and to, None while nobody knows."""
        if self._first is None or self._total is None:
            return None
        coming, outlook = max(0, self._total - self._done - len(self._running)), self._outlook
        sure = coming
        if outlook.least is not None:
            sure = max(0, outlook.least - self._done - len(self._running))
        if self._noun == "trial":
            coming, sure = coming + outlook.later[1], sure + outlook.later[0]
        running = [
            (now - each.begun, each.told - each.begun, each.fraction)
            for each in self._running.values()
        ]
        found = foresee(Work(self._ended, now - self._first, running, sure, coming))
        if found is None:
            return None
        low, high = found
        if outlook.early:
            low = 0.0
        if outlook.deadline is not None:
            # What trains then is finished.
            over, longest = max(0.0, outlook.deadline - now), max(self._ended, default=0.0)
            low, high = min(low, over), max(min(high, over + longest), min(low, over))
        return low, high

    def _pace(self, now: float) -> str:
        """The pace in words, "" while nobody knows."""
        found = self._measure_pace(now)
        return "" if found is None else tell_pace(*found)

    def _measure_pace(self, now: float) -> tuple[float, str] | None:
        """The epochs trained a second over the last while, or, where nobody counts any, trials."""
        running = self._running.values()
        epochs = self._epochs + math.fsum(each.epochs for each in running)
        trials = self._done + math.fsum(each.fraction for each in running)
        counted = epochs > 0
        amount, noun = (epochs, "epochs") if counted else (trials, f"{self._noun}s")
        if self._first is None or self._noun != "trial":
            return None
        paces = self._paces
        if paces and counted and paces[0][1] > amount:
            paces.clear()
        if not paces:
            paces.append((self._first, 0.0))
        if now - paces[-1][0] >= 1.0:
            paces.append((now, amount))
        while len(paces) > 2 and now - paces[1][0] > WINDOW:
            paces.popleft()
        since, before = paces[0]
        if now - since < 1.0 or amount <= before:
            return None
        return (amount - before) / (now - since), noun

    def _find_cloud(self) -> Cloud | None:
        axis, objective = self._axis, self._objective
        if axis is None or objective is None or self._noun != "trial":
            return None
        running = [
            (float(each.params[axis.name]), each.value)
            for each in self._running.values()
            if each.value is not None and is_rate(each.params.get(axis.name))
        ]
        ends = axis.low, axis.high
        return Cloud(axis.name, *ends, axis.log, objective.goal, objective.metric,
                     tuple(self._cloud), running)  # fmt: skip

    # in words

    def _valued(self, value: float | None) -> str:
        metric = one_line(self._objective.metric) if self._objective else "value"
        # Four decimals suit accuracies, and keep lines of one search aligned.
        decimals = 4 if value is not None and 1e-3 <= abs(value) < 100 else None
        return f"{metric} {'-' if value is None else format_fixed(value, decimals)}"

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

    # showing it

    def _print_end(
        self, parts: Sequence[str], params: Mapping[str, Any], reason: str, style: str
    ) -> None:
        """Print the line of what is over: with all parameters where there is room."""
        if self._quiet:
            return
        room = LONGEST if self._screen is None else self._screen.width
        room -= sum(len(part) + 2 for part in parts)
        line = "  ".join(part for part in (*parts, shorten(params, room), reason) if part)
        if self._screen is None and len(line) > LONGEST:
            line = line[: LONGEST - 3].rstrip() + "..."
        self._print(line, style)

    def _print(self, line: str, style: str) -> None:
        if self._screen is not None:
            self._screen.add(Text(line, style=style, overflow="fold"))
            return
        try:
            if self._stream.isatty():  # It would break a long line within a word.
                line = fill(line)
            self._stream.write(line + "\n")
            self._stream.flush()
        except (OSError, ValueError):
            # The reader of the progress has left, or the stream takes no more, or the stream
            # is closed: the search goes on without saying so.
            self._stream = open(os.devnull, "w")  # noqa: PTH123, SIM115

    def _frame(self, height: int, width: int) -> list[Text]:
        """The moving part, at most `height` lines: before the search begins the activity that it
        waits for, then all of a snapshot that has room."""
        with self._lock:
            starting = self._starting
        return [self._turning(starting)] if starting else lay_out(self._snapshot(), width, height)

    def _beat(self) -> None:
        """Print a line on what is under way."""
        with self._lock:
            starting, elapsed = self._starting, self._clock() - self._begun
        if starting:
            self._print(f"after {format_seconds(elapsed)}: {starting}", "")
        else:
            self._print(tell_plainly(self._snapshot(), LONGEST), "")


class _Heart:
    """A thread that calls a function once a minute."""

    def __init__(self, beat: Callable[[], None]) -> None:
        self._over = threading.Event()
        self._beat = beat
        self._thread = threading.Thread(target=self._go_on, name="heartbeat", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Call it no more."""
        self._over.set()
        self._thread.join()

    def _go_on(self) -> None:
        while not self._over.wait(HEARTBEAT):
            self._beat()
