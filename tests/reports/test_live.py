"""The live display: small drawings, the layout, the time left, what it writes to a terminal."""

from __future__ import annotations

import contextlib
import fcntl
import io
import math
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import threading
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from devices import DEVICE
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.text import Text

from lrsearch.display import Axis, Outlook, Place
from lrsearch.reports import live, screen
from lrsearch.reports.characters import choose_signs, draw, plain
from lrsearch.reports.frame import ECHO, Snapshot, Trial, lay_out, tell_pace, tell_plainly
from lrsearch.reports.live import Progress
from lrsearch.reports.scatter import Cloud, make_panel
from lrsearch.reports.screen import Steady
from lrsearch.reports.sparks import BLOCKS, PLAIN, bar, lanes, spark
from lrsearch.reports.text import tell_span
from lrsearch.trial import Objective, Outcome

ACCURACY = Objective("accuracy", "max")
numbers = st.floats(allow_nan=True, allow_infinity=True)


# small drawings


@given(st.lists(numbers, max_size=60), st.integers(0, 30), st.sampled_from(["utf-8", "ascii"]))
def test_a_spark_has_a_level_for_every_column(values: list[float], width: int, name: str) -> None:
    drawn = spark(values, width, name)
    assert len(drawn) == min(len(values), width)
    assert set(drawn) <= {*(BLOCKS if name == "utf-8" else PLAIN), " "}
    if len(values) <= width:
        for value, sign in zip(values, drawn, strict=True):
            assert (sign == " ") == math.isnan(value)


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=20, unique=True))
def test_a_spark_rises_where_its_values_do(values: list[float]) -> None:
    levels = [BLOCKS.index(sign) for sign in spark(values, 20)]
    assert levels[values.index(min(values))] == 0
    assert levels[values.index(max(values))] == len(BLOCKS) - 1
    for (left, at), (right, then) in zip(
        sorted(zip(values, levels, strict=True)),
        sorted(zip(values, levels, strict=True))[1:],
        strict=False,
    ):
        assert left < right and at <= then


def test_equal_values_stand_in_the_middle_and_many_are_averaged() -> None:
    assert spark([3.0] * 4, 9) == BLOCKS[4] * 4
    assert spark([0, 2, 9, 9, 4, 6], 3) == BLOCKS[0] + BLOCKS[7] + BLOCKS[4]
    assert spark([1.0, math.inf, -math.inf, math.nan, 2.0], 9) == "▁█▁ █"
    assert spark([-1.7e308, 1.7e308], 2) == "▁█"


@given(st.floats(0, 1), st.integers(0, 40))
def test_a_bar_keeps_its_width(share: float, width: int) -> None:
    full, rest = bar(share, width)
    assert len(full) + len(rest) == width and abs(len(full) - share * width) <= 0.5


def test_lanes_show_shares_and_those_that_are_free() -> None:
    assert lanes([([0.0, 0.5, 1.0], 4), ([0.99], 2)]) == "▁▅█· █·"
    assert lanes([([0.0, 1.0], 3)], "ascii") == "_#."


# the rates


clouds = st.builds(
    Cloud,
    st.just("lr"),
    st.sampled_from([1e-5, 1e-3]),
    st.sampled_from([1e-2, 1.0]),
    st.just(True),
    st.sampled_from(["max", "min"]),
    st.just("loss"),
    st.lists(st.tuples(st.floats(1e-6, 10), st.none() | numbers), max_size=30),
    st.lists(st.tuples(st.floats(1e-6, 10), numbers), max_size=4),
)


@given(clouds, st.integers(20, 90), st.integers(3, 12), st.sampled_from(["utf-8", "ascii"]))
def test_the_rates_are_drawn_whatever_was_measured(
    cloud: Cloud, width: int, height: int, encoding: str
) -> None:
    panel = make_panel(cloud)
    known = [y for _, y in cloud.measured if y is not None and math.isfinite(y)]
    assert (panel is None) == (not known)
    if panel is not None:
        drawn = [plain(line) for line in draw(panel, width=width, height=height, encoding=encoding)]
        assert len(drawn) == height + 2
        assert choose_signs(encoding)["pick"] in "".join(drawn[:-2])


def test_better_values_stand_higher_and_higher_rates_further_right() -> None:
    measured = [(1e-3, 0.2), (1e-2, 0.6), (0.1, 0.9), (0.2, 0.8), (0.3, 0.7), (1.0, None)]
    panel = make_panel(Cloud("lr", 1e-4, 1.0, True, "max", "accuracy", measured, [(0.03, 0.7)]))
    assert panel is not None
    lines = [plain(line) for line in draw(panel, width=70, height=9, encoding="ascii")]
    places = {
        sign: [(at, line.index(sign)) for at, line in enumerate(lines[:-2]) if sign in line]
        for sign in "#@Xv"
    }
    (best,), (running,), (lost,), (worse,) = (places[sign] for sign in "#@Xv")
    assert best[0] < running[0] < lost[0] == worse[0] == len(lines) - 3
    assert worse[1] < running[1] < best[1] < lost[1]
    assert "0.001" in lines[-1].split()


# the layout


running = st.builds(
    Trial,
    st.integers(1, 10**5),
    st.dictionaries(st.sampled_from(["lr", "batch_size", "schedule"]), st.floats(1e-6, 1e3)),
    st.floats(0, 1),
    st.lists(st.floats(0, 1), max_size=40),
    st.sampled_from(["", "accuracy 0.9123", "accuracy 0.1, stagnating"]),
    st.integers(0, 3),
    st.sampled_from([1, 4]),
)
snapshots = st.builds(
    Snapshot,
    st.lists(running, max_size=40),
    st.integers(0, 500),
    st.none() | st.integers(500, 1000),
    st.floats(0, 1e6),
    st.integers(1, 64),
    st.sampled_from(["trial", "range test"]),
    st.none() | st.just(("accuracy 0.99", {"lr": 0.1, "batch_size": 64})),
    st.sampled_from(["", "2m 10s to 4m 00s"]),
    st.sampled_from(["", "41 epochs/s"]),
    st.sampled_from(["", "then at most 26 trainings more"]),
    st.integers(0, 20),
    st.none() | clouds,
    st.sampled_from(["utf-8", "ascii"]),
)


@given(snapshots, st.integers(1, 200), st.integers(1, 60))
def test_a_frame_fits_its_terminal(shown: Snapshot, width: int, height: int) -> None:
    lines = lay_out(shown, width, height)
    assert 1 <= len(lines) <= height
    assert all("\n" not in line.plain for line in lines)
    # The last column stays free: a full line would be wrapped by some terminals.
    assert all(cell_len(line.plain) <= max(1, width - 1) for line in lines)
    place = f"{shown.done}/{shown.total}" if shown.total else f"{shown.done} done"
    assert lines[-1].plain.startswith(place[: max(1, width - ECHO)])
    if shown.encoding == "ascii":
        "".join(line.plain for line in lines).replace("…", "").encode("ascii")


def shown(count: int = 3, **more: object) -> Snapshot:
    trials = [
        Trial(each, {"lr": 0.01 * each, "batch_size": 64}, 0.5, [0.5, 0.75, 0.9], "accuracy 0.9000")
        for each in range(1, count + 1)
    ]
    best = ("accuracy 0.9833", {"lr": 0.1, "batch_size": 64})
    given = {"best": best, "left": "2m 10s to 4m 00s", "pace": "41 epochs/s", **more}
    return Snapshot(trials, 12, 40, 90.0, 2, **given)  # type: ignore[arg-type]


def test_what_matters_most_stays_in_a_small_terminal() -> None:
    small = [line.plain for line in lay_out(shown(), 20, 5)]
    assert small[-1] == "12/40  1m 30s" and len(small) <= 5
    assert small[-2].startswith("best  accuracy 0.9") and small[0].startswith("trial 1")
    assert [line.plain for line in lay_out(shown(), 20, 1)] == small[-1:]
    wide = [line.plain for line in lay_out(shown(), 120, 40)]
    assert re.search(r"trial 2  lr=0.02 batch_size=64  ▁▆█ +━{8} +50%  accuracy 0.9000", wide[1])
    assert wide[-1].endswith("1m 30s, 2m 10s to 4m 00s left, 41 epochs/s, 2 workers")


def test_the_drawing_has_room_in_a_tall_terminal_alone() -> None:
    cloud = Cloud("lr", 1e-4, 1.0, True, "max", "accuracy", [(0.1, 0.9), (0.01, 0.5)])
    for height, drawn in ((12, False), (24, True), (40, True)):
        text = "\n".join(line.plain for line in lay_out(shown(cloud=cloud), 80, height))
        assert ("┤" in text and "◆" in text) is drawn, height
    # The lines that stay have room above it.
    assert len(lay_out(shown(30, cloud=cloud), 80, 24)) <= 15


@pytest.mark.parametrize("goal", ["min", "max"])
def test_every_mark_of_the_drawing_is_in_its_key(goal: str) -> None:
    far = [(0.1, 0.5), (0.2, 0.52), (0.3, 0.54), (0.4, 0.56), (0.5, -9.0 if goal == "max" else 9.0)]
    whole = Cloud("lr", 1e-4, 1.0, True, goal, "loss", [*far, (1.0, None)], [(0.03, 0.53)])
    few = replace(whole, measured=far[:2], running=[])
    beyond = "@ under way  X diverged  v ^ beyond the axis"
    for cloud, key in ((whole, f"# best  o measured  {beyond}"), (few, "# best  o measured")):
        lines = [line.plain for line in lay_out(shown(cloud=cloud, encoding="ascii"), 79, 24)]
        at = lines.index(f"  {key}")
        plane = "".join(re.split(r"[|+]", line, maxsplit=1)[1] for line in lines[: at - 2])
        assert set(plane) - {" "} == set(re.findall(r"[#o@X]", key.replace("o ", "o"))) | (
            {"v" if goal == "max" else "^"} if "v" in key else set()
        )
    # Where there is less room, the first of them are there, and nothing is cut through.
    narrow = [line.plain for line in lay_out(shown(cloud=whole), 45, 24)]
    assert "  ◆ best  ● measured  ○ under way" in narrow


def test_ranges_and_paces_in_words() -> None:
    assert tell_span(130, 200) == "2m 10s to 3m 20s"
    assert tell_span(0, 200) == "up to 3m 20s" and tell_span(40.1, 40.3) == "40s"
    assert tell_pace(41.2, "epochs") == "41 epochs/s" and tell_pace(1.25, "e") == "1.2 e/s"
    assert tell_pace(0.2, "epochs") == "12 epochs/min"
    assert tell_pace(0.001, "epochs") == "3.6 epochs/h"


@given(snapshots, st.integers(60, 200))
def test_the_heartbeat_is_one_bounded_line(shown: Snapshot, width: int) -> None:
    line = tell_plainly(shown, width)
    assert len(line) <= width and "\n" not in line and line.startswith("[")


def test_the_heartbeat_says_what_runs_and_what_is_left() -> None:
    assert tell_plainly(shown(2), 200) == (
        "[12/40]  after 1m 30s  2m 10s to 4m 00s left  41 epochs/s  best accuracy 0.9833  "
        "2 trials running: 1 at 50% (accuracy 0.9000), 2 at 50% (accuracy 0.9000)"
    )


# the progress


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def test_a_note_on_a_terminal_breaks_between_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    for stream, told in ((Terminal(), "read it from\nLRSEARCH_KIND"), (io.StringIO(), None)):
        Progress(stream).note("read it from LRSEARCH_KIND")
        assert stream.getvalue() == f"{told or 'read it from LRSEARCH_KIND'}\n"


def test_lines_of_a_terminal_without_a_display_break_between_words(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("NO_COLOR", "1")
    with Progress(stream := Terminal()) as progress:
        progress.begin(1, ACCURACY, 1)
        why = "no progress: after 135 steps the training loss is 2.322"
        progress.ended(1, {"lr": 0.1}, Outcome.PRUNED, None, 1.0, why)
    lines = stream.getvalue().splitlines()
    assert len(lines) > 1 and all(len(line) <= 40 for line in lines)
    assert {*why.split()} <= {*stream.getvalue().split()}


def test_a_worker_that_stands_still_has_no_new_pace() -> None:
    clock = Clock()
    with Progress(io.StringIO(), clock=clock) as progress:
        go(progress, clock)
        before = progress.news()["left"]
        clock.now += 600
        assert progress.news()["left"][1] < 2 * before[1]


def test_a_minute_has_a_line_off_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "HEARTBEAT", 0.01)
    stream = io.StringIO()
    with Progress(stream) as progress:
        progress.start("loading the data")
        while "after" not in stream.getvalue():
            pass
        progress.begin(4, ACCURACY, 1)
        progress.started(7, {"lr": 0.1})
        progress.measured(7, 0.25, 0.5)
        while "running: 7 at 25% (accuracy 0.5000)" not in stream.getvalue():
            pass
    lines = stream.getvalue().splitlines()
    assert lines[0] == "loading the data"
    assert re.fullmatch(r"after \d\.\d+s: loading the data", lines[1])
    assert all(line.isprintable() for line in lines)


def test_lines_off_a_terminal_are_bounded() -> None:
    stream = io.StringIO()
    params = {f"model.init_args.name_{at}": "x" * 30 for at in range(9)}
    with Progress(stream) as progress:
        progress.begin(4, ACCURACY, 1)
        progress.ended(1, params, Outcome.FAILED, None, 1.0, "why " * 200)
        progress.ended(2, params, Outcome.COMPLETED, 0.5, 1.0)
        progress.note(f"ends: {'words ' * 60}and the reason")
    first, second, note = stream.getvalue().splitlines()
    assert note.endswith("words and the reason")
    assert len(first) <= live.LONGEST and first.startswith("[1/4] trial 1  failed  1.0s  ")
    assert len(second) <= live.LONGEST and second.startswith("[2/4] trial 2  accuracy 0.5000")


def test_a_reason_of_several_trials_is_told_once() -> None:
    """The seeds and folds of a point that a rung stops all end by its verdict."""
    stream = io.StringIO()
    with Progress(stream) as progress:
        progress.begin(3, ACCURACY, 1)
        for number in (1, 2, 3):
            why = "halving: not among the best" if number < 3 else "exit code 3"
            progress.ended(number, {"train.lr": 0.1}, Outcome.PRUNED, None, 1.0, why)
    ends = [line.partition("  lr=0.1  ")[2] for line in stream.getvalue().splitlines()]
    assert ends == ["halving: not among the best", "as trial 1", "exit code 3"]


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def go(progress: Progress, clock: Clock, outlook: Outlook | None = None) -> Snapshot:
    """Four of ten trials of ten seconds and ten epochs each, two at a time; then five seconds."""
    progress.begin(10, ACCURACY, 2)
    progress.awaits(outlook or Outlook())
    for first in (1, 3):
        for number in (first, first + 1):
            progress.started(number, {"lr": 0.1 * number})
            progress.placed(number, Place(1, 2, 100, 10.0))
        clock.now += 10
        for number in (first, first + 1):
            progress.measured(number, 1.0, 0.5)
            progress.ended(number, {"lr": 0.1 * number}, Outcome.COMPLETED, 0.5, 10.0, epochs=10.0)
        progress._snapshot()
    for number in (5, 6):
        progress.started(number, {"lr": 0.1})
        progress.placed(number, Place(1, 2, 100, 10.0))
    clock.now += 5
    for number in (5, 6):
        progress.stepped(number, 0.5)
    return progress._snapshot()


def seconds(text: str) -> tuple[float, float]:
    found = [float(each) for each in re.findall(r"([\d.]+)s", text)]
    return found[0], found[-1]


def test_time_left_and_pace_follow_what_was_trained() -> None:
    clock = Clock()
    with Progress(io.StringIO(), clock=clock) as progress:
        found = go(progress, clock)
    low, high = seconds(found.left)
    assert low <= 25 <= high <= 40, found.left  # 5 s of two trials, then two times two of 10 s.
    assert found.pace == "2.0 epochs/s"
    assert [each.lanes for each in found.running] == [2, 2]


@pytest.mark.parametrize(
    ("outlook", "low", "high"),
    [
        (Outlook(least=6), (4, 6), (20, 40)),  # Perhaps nothing comes but what trains now.
        (Outlook(later=(0, 10)), (15, 25), (60, 100)),
        (Outlook(later=(10, 10)), (55, 75), (70, 100)),
        (Outlook(deadline=28.0), (2, 4), (3, 20)),  # Three seconds, and what trains then.
    ],
)
def test_what_may_come_widens_the_time_left(
    outlook: Outlook, low: tuple[float, float], high: tuple[float, float]
) -> None:
    clock = Clock()
    with Progress(io.StringIO(), clock=clock) as progress:
        text = go(progress, clock, outlook).left
    text = re.sub(r"(\d+)m (\d+)s", lambda found: f"{60 * int(found[1]) + int(found[2])}s", text)
    ends = seconds(text)
    assert low[0] <= ends[0] <= low[1] and high[0] <= ends[1] <= high[1], text


def test_an_end_that_may_come_early_has_no_low_end() -> None:
    clock = Clock()
    with Progress(io.StringIO(), clock=clock) as progress:
        assert go(progress, clock, Outlook(early=True)).left.startswith("up to ")
        assert Progress(io.StringIO())._snapshot().left == ""


def test_the_rates_fill_in() -> None:
    with Progress(io.StringIO()) as progress:
        progress.begin(10, ACCURACY, 1)
        progress.draws(Axis("lr", 1e-3, 1.0, True, [(0.01, 0.5), (0.5, None)]))
        for number, outcome, value in (
            (1, Outcome.COMPLETED, 0.7),
            (2, Outcome.DIVERGED, None),
            (3, Outcome.FAILED, None),
        ):
            progress.started(number, {"lr": 0.1 * number})
            progress.ended(number, {"lr": 0.1 * number}, outcome, value, 1.0)
        progress.started(4, {"lr": 0.2})
        progress.measured(4, 0.5, 0.6)
        cloud = progress._snapshot().cloud
    assert cloud is not None
    assert list(cloud.measured) == [(0.01, 0.5), (0.5, None), (0.1, 0.7), (0.2, None)]
    assert list(cloud.running) == [(0.2, 0.6)]


def test_range_tests_are_shown_while_they_run() -> None:
    stream = io.StringIO()
    with Progress(stream) as progress:
        progress.start("starting")
        progress.sweeps(2, 1)
        progress.sweeping(1, {"batch_size": 32}, 0.25)
        progress.sweeping(1, {"batch_size": 32}, 0.5)
        text = "\n".join(line.plain for line in progress._frame(20, 80))
        progress.swept(1, {"batch_size": 32}, "lr 0.001 to 0.1", 2.5)
        progress.begin(7, ACCURACY, 1)
        progress.ended(1, {}, Outcome.COMPLETED, 0.5, 1.0)
    assert re.search(r"^range test 1  batch_size=32 +━+ +50%", text) and "0/2 range tests" in text
    assert stream.getvalue().splitlines()[1:] == [
        "[1/2] range test 1  lr 0.001 to 0.1  2.5s  batch_size=32",
        "[1/7] trial 1  accuracy 0.5000  1.0s",
    ]


# what reaches the terminal


class Tube:
    """A terminal, as far as frames need one: it keeps what it shows, and whether anything was
    erased that was not written over."""

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        self.rows: list[str] = [""]
        self.row = self.column = 0
        self.cursor = True

    def write(self, text: str) -> None:
        for part in re.findall(r"\x1b\[[0-9;?]*[A-Za-z]|[^\x1b]", text):
            if part.startswith("\x1b"):
                self._obey(part)
            elif part == "\r":
                self.column = 0
            elif part == "\n":
                self.row, self.column = self.row + 1, 0
                self.rows += [""] * (self.row + 1 - len(self.rows))
            else:
                self._put(part)

    def _put(self, letter: str) -> None:
        if self.column == self.width:
            self.row, self.column = self.row + 1, 0
            self.rows += [""] * (self.row + 1 - len(self.rows))
        row = self.rows[self.row].ljust(self.column)
        self.rows[self.row] = row[: self.column] + letter + row[self.column + 1 :]
        self.column += 1

    def _obey(self, sequence: str) -> None:
        number, kind = sequence[2:-1], sequence[-1]
        if kind == "A":
            self.row = max(0, len(self.rows) - self.height, self.row - int(number or 1))
        elif kind == "K" and number in ("", "0"):
            self.rows[self.row] = self.rows[self.row][: self.column]
        elif kind == "K":
            self.rows[self.row] = ""
        elif kind == "J":
            assert number in ("", "0"), "the whole terminal is cleared"
            self.rows[self.row] = self.rows[self.row][: self.column]
            del self.rows[self.row + 1 :]
        elif kind in "hl":
            assert number == "?25"
            self.cursor = kind == "h"
        else:
            assert kind == "m", sequence

    def resize(self, width: int) -> None:
        """Take another width, as most terminals do: lines that are too long are wrapped."""
        rows: list[str] = []
        for at, row in enumerate(self.rows):
            if at == self.row:
                self.row = len(rows) + self.column // width
                self.column %= width
            parts = [row[start : start + width] for start in range(0, len(row), width)] or [""]
            rows += parts
        self.rows, self.width = rows, width

    @property
    def shown(self) -> list[str]:
        return [row.rstrip() for row in self.rows]


UP = "\r\x1b[2K" + "\x1b[1A\x1b[2K"
"""Rich's way to the beginning of a frame of two lines."""


def test_a_frame_is_drawn_over_the_one_before() -> None:
    tube = Tube(40, 10)
    written: list[str] = []
    tube.encoding = "utf-8"  # type: ignore[attr-defined]

    class Stream:
        def write(self, text: str) -> None:
            written.append(text)
            tube.write(text)

    steady = Steady(Stream(), lambda: tube.width)  # type: ignore[arg-type]
    steady.write("a long first line\nsecond")
    steady.write(f"{UP}short\nsecond and more")
    assert tube.shown == ["short", "second and more"] and tube.cursor
    steady.write(f"{UP}a line that stays\nshort\nsecond and more")
    assert tube.shown == ["a line that stays", "short", "second and more"]
    before = len(written)
    assert steady.write(f"{UP}short\nsecond and more") > 0
    assert steady.write(f"{UP}short\nsecond and more") > 0
    assert len(written) == before + 1, "what stands there is not written again"
    # It is wrapped to three rows, all of which are drawn over.
    tube.resize(8)
    assert tube.shown == ["a line t", "hat stay", "s", "short", "second a", "nd more"]
    assert not any("\x1b[2K" in each for each in written)
    steady.write(f"{UP}new\nframe")
    assert tube.shown == ["a line t", "hat stay", "s", "new", "frame"]
    # What was wrapped is erased first: rows that are joined would be one line when it is widened.
    assert written[-1].startswith("\x1b[?25l\r\x1b[2K" + 2 * "\x1b[1A\x1b[2K" + "new")
    steady.write(f"{UP}newer\nframe")
    assert "\x1b[2K" not in written[-1] and not any("\x1b[2J" in each for each in written)
    assert all(each.startswith("\x1b[?25l") and each.endswith("\x1b[?25h") for each in written)


@pytest.mark.parametrize("width", [24, 40, 80, 133])
def test_what_a_terminal_shows_of_ctrl_c_leaves_no_line_of_the_frame(width: int) -> None:
    trials = [Trial(n, {"lr": 0.1 * n}, 0.5, [1, 2], "accuracy 0.9805") for n in (1, 2)]
    shown = Snapshot(trials, 3, 40, 4.5, 2, left="2m 20s to 1h 27m left", pace="12 epochs/s",
                     later="then the best are measured again, on fresh seeds")  # fmt: skip
    drawn = [line.plain for line in lay_out(shown, width, 24)]
    tube = Tube(width, 30)
    steady = Steady(tube, lambda: width)  # type: ignore[arg-type]
    steady.write("\n".join(drawn))
    tube.write("^C^C")
    up = "\r\x1b[2K" + "\x1b[1A\x1b[2K" * (len(drawn) - 1)
    steady.write(f"{up}saving\nwhat is under way")
    assert tube.shown == ["saving", "what is under way"], drawn


def test_a_full_line_keeps_its_last_letter() -> None:
    tube = Tube(6, 10)
    steady = Steady(tube, lambda: 6)  # type: ignore[arg-type]
    steady.write("frame")
    steady.write("\r\x1b[2Kabcdef\nabc\nframe")
    assert tube.shown == ["abcdef", "abc", "frame"]


def test_what_was_shown_is_gone_at_the_end_and_lines_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_COLOR", "COLUMNS", "LINES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    stream = Terminal()
    with Progress(stream) as progress:
        progress.begin(3, ACCURACY, 2)
        for number in (1, 2, 3):
            progress.started(number, {"lr": 0.1 * number})
            progress.measured(number, 0.5, 0.25 * number)
            progress.ended(number, {"lr": 0.1 * number}, Outcome.COMPLETED, 0.5, 1.0)
        progress.note("a note")
    tube = Tube(80, 24)
    tube.write(stream.getvalue().replace("\r\n", "\n"))
    assert tube.cursor and tube.shown[-1] == "" and tube.column == 0
    assert [line for line in tube.shown if line] == [
        "[1/3] trial 1  accuracy 0.5000  1.0s  lr=0.1",
        "[2/3] trial 2  accuracy 0.5000  1.0s  lr=0.2",
        "[3/3] trial 3  accuracy 0.5000  1.0s  lr=0.3",
        "a note",
    ]


SPEC = """\
name: shown
loop: mine.train
objective: {metric: loss, goal: min}
search: {lr: {min: 0.001, max: 1.0, points: 6}}
"""

LOOP = """\
import sys, time
def train(trial):
    print("printed meanwhile", file=sys.stderr)
    for step in range(8):
        time.sleep(0.1)
        trial.report(step + 1, loss=trial.params["lr"] / (step + 1))
"""

NETWORK = """\
name: shown
data: digits
model: {name: mlp, hidden: [16]}
train: {budget: 1ep, lr: 0.1, batch_size: 64}
"""


def on_a_terminal(folder: Path, *words: str, width: int, height: int) -> tuple[bytes, int]:
    """All that a command writes to a terminal of this size; and its exit code."""
    here, there = pty.openpty()
    fcntl.ioctl(there, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))
    env = {key: value for key, value in os.environ.items() if key not in ("COLUMNS", "LINES")}
    env |= {"TERM": "xterm-256color", "LC_ALL": "C.UTF-8"}
    env.pop("NO_COLOR", None)
    command = [sys.executable, "-m", "lrsearch", *words]
    with subprocess.Popen(
        command, cwd=folder, env=env, stdin=there, stdout=there, stderr=there, close_fds=True
    ) as process:
        os.close(there)
        written = b""
        with contextlib.suppress(OSError):  # A terminal that nobody has open any more.
            while part := os.read(here, 1 << 16):
                written += part
        process.wait(60)
    os.close(here)
    return written, process.returncode


def test_a_search_on_a_terminal_never_flickers_and_leaves_it_clean(tmp_path: Path) -> None:
    (tmp_path / "shown.yaml").write_text(SPEC)
    (tmp_path / "mine.py").write_text(LOOP)
    given = ("grid", "shown.yaml", "--allow-import", "mine", "--workers", "2")
    raw, code = on_a_terminal(tmp_path, *given, width=80, height=24)
    text = raw.decode().replace("\r\n", "\n")
    assert code == 0, text[-2000:]
    assert not re.search("\x1b\\[(2J|H|\\?1049)", text), "the terminal is cleared"
    tube, screens = Tube(80, 24), []
    progress, _, result = text.rpartition("\x1b[?25h")
    for written in progress.split("\x1b[?25l"):
        tube.write(written)
        screens.append("\n".join(tube.shown[-24:]))
    tube.write("\x1b[?25h")
    assert tube.cursor and "\x1b[?25l" not in result
    # Each write leaves a whole frame: what is under way is there until the search is over.
    frames = screens[1:-1]
    assert len(frames) > 5
    assert all(re.search(r"^\d+/\d+ .*worker|starting", each, re.M) for each in frames)
    assert any(re.search("trial [0-9]+ .*[▁▂▃▄▅▆▇█]{3}.*%", each) for each in frames)
    assert any("◆" in each and "┤" in each and "○" in each for each in frames)
    assert any(re.search(r"/6 .* left, .*trials/(s|min)", each) for each in frames)
    lines = [line for line in tube.shown if line]
    assert [line[:5] for line in lines if line.startswith("[")] == [
        f"[{number}/6]" for number in range(1, 7)
    ]
    assert not any("left," in line or "◆" in line for line in lines), "the frame is gone"


def test_an_interrupted_range_test_says_how_to_go_on(tmp_path: Path) -> None:
    (tmp_path / "shown.yaml").write_text(NETWORK)
    words = ["range", "shown.yaml", "--device", str(DEVICE), "--steps", "200000", "--seeds", "2"]
    with subprocess.Popen(
        [sys.executable, "-m", "lrsearch", *words],
        cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stderr is not None
        for line in process.stderr:
            if "1 range test of 2 seeds" in line:
                process.send_signal(signal.SIGINT)
                break
        said = process.stderr.read()
    assert process.returncode == 130
    command = f"lrsearch range shown.yaml --seeds 2 --steps 200000 --device {DEVICE}"
    assert f"go on with\n  {command}" in said


@pytest.mark.parametrize(("spent", "waits"), [(0.001, 0.25), (0.05, 0.5), (3.0, 1.0)])
def test_what_takes_long_to_draw_is_drawn_less_often(
    spent: float, waits: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited, clock = [], [0.0]

    class Counted(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            waited.append(timeout)
            return len(waited) > 2

    def frame(height: int, width: int) -> list[Text]:
        clock[0] += spent
        return [Text(f"at {clock[0]}")]

    names = SimpleNamespace(Event=Counted, Thread=threading.Thread)
    monkeypatch.setattr(screen, "threading", names)
    monkeypatch.setattr(screen, "time", SimpleNamespace(thread_time=lambda: clock[0]))
    monkeypatch.setenv("TERM", "xterm")
    stream = io.StringIO()
    monkeypatch.setattr(stream, "isatty", lambda: True)
    screen.Screen(stream, frame).close()
    assert waited[1:] == pytest.approx([waits, waits])
