"""A frame of the live display: what it shows of a search, laid out for a width and a height."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.cells import cell_len, set_cell_size
from rich.text import Text

from lrsearch.reports.apart import tell_apart
from lrsearch.reports.characters import WIDTH, draw, tell_key
from lrsearch.reports.curves import encodes
from lrsearch.reports.marks import used_key
from lrsearch.reports.scatter import KEY, Cloud, make_panel
from lrsearch.reports.sparks import bar, lanes, spark
from lrsearch.reports.tables import MARKS
from lrsearch.reports.text import count, format_seconds

BARS = 12
"""Running trials with a line of their own."""

FEW = 4
"""The least number of lines for running trials, where the terminal has room."""

PLOT = (7, 13)
"""Lines of the drawing of the rates, at least and at most; below these there is none."""

ECHO = 4
"""Columns that the last line leaves free: a terminal shows Ctrl-C there, as ^C, and a line that
this wrapped would reach one row further down than it was drawn."""

TALL, NARROW = 20, 40
"""Lines and columns of a terminal from which on the rates are drawn."""


@dataclass(frozen=True)
class Trial:
    """A trial under way: the objective's metric at its evaluations so far, and `told`, its latest
    value and verdict in words. It is one of so many `lanes` of the program of a `job`."""

    number: int
    params: Mapping[str, Any]
    share: float
    values: Sequence[float] = ()
    told: str = ""
    job: int = 0
    lanes: int = 1


@dataclass(frozen=True)
class Snapshot:
    """The search at a moment: `left` are the seconds left, from and to, `pace` the work done a
    second in words, "" for what nobody knows. `noun` is "trial" or "range test". A `best` value
    comes with its parameters. `later` says what follows."""

    running: Sequence[Trial]
    done: int
    total: int | None
    elapsed: float
    workers: int
    noun: str = "trial"
    best: tuple[str, Mapping[str, Any]] | None = None
    left: str = ""
    pace: str = ""
    later: str = ""
    room: int = 16
    cloud: Cloud | None = None
    encoding: str = field(default="utf-8")


def lay_out(shown: Snapshot, width: int, height: int) -> list[Text]:
    """Lay a snapshot out: at most `height` lines, each narrower than `width` by one at least, the
    last by `ECHO`, what matters most at the bottom. The whole progress is always there."""
    last = max(1, width - ECHO)
    width = max(1, width - 1)
    foot = [_overall(shown, last)]
    if shown.best is not None and height > 2:
        foot.insert(0, _best(shown, width))
    strip = _strip(shown, width)
    if strip is not None and height > 6:
        foot.insert(0, strip)
    free = height - len(foot)
    plotted: list[Text] = []
    if height >= TALL and width >= NARROW:
        plotted = _draw_rates(shown, width, min(PLOT[1], max(PLOT[0], height // 3)))
        free -= len(plotted)
    # Half of the terminal is for the lines that stay.
    half = height // 2 - len(foot) - (len(plotted) if height < 30 else 0)
    most = max(1, min(BARS, free, max(FEW, half)))
    bars = _bars(shown, width, most) if free > 0 else []
    lines = [*plotted, *bars, *foot]
    lines = lines[-height:]
    return [*(_fit(line, width) for line in lines[:-1]), _fit(lines[-1], last)]


def _fit(line: Text, width: int) -> Text:
    line.truncate(width, overflow="crop")
    return line


def _draw_rates(shown: Snapshot, width: int, height: int) -> list[Text]:
    """The objective over the rate, where any was measured, in so many lines."""
    panel = make_panel(shown.cloud) if shown.cloud is not None else None
    if panel is None:
        return []
    across = min(width, WIDTH)
    # One line says what the marks are: of the last ones only where it has room.
    key = next(tell_key(used_key([panel], KEY), across - 2, shown.encoding), "")
    drawn = draw(panel, width=across, height=height - 3, encoding=shown.encoding)
    return [
        *(Text.assemble(*((text, MARKS.get(kind, "")) for text, kind in line)) for line in drawn),
        Text(f"  {key}", "dim"),
    ]


def _bars(shown: Snapshot, width: int, most: int) -> list[Text]:
    """A line for each running trial, all different, and how many have none."""
    running = list(shown.running)
    if len(running) > most:
        running = running[: max(1, most - 1)]
    if not running:
        return []
    more = len(shown.running) - len(running)
    names = [f"{shown.noun} {each.number}" for each in running]
    named = max(map(len, names))
    told = max(shown.room, *(cell_len(each.told) for each in running))
    sizes = {"bar": (8, 69), "spark": (10 if width < 100 else 20, 59)}
    if not any(each.values for each in running):
        del sizes["spark"]
    drawn = {part: size if width >= least else 0 for part, (size, least) in sizes.items()}
    used = named + len("100%") + told + 6 + sum(size + 2 for size in drawn.values() if size)
    room = width - used
    texts = tell_apart([each.params for each in running], room) if room >= 8 else [""] * len(names)
    size = max(map(cell_len, texts))
    lines = []
    for each, name, text in zip(running, names, texts, strict=True):
        line = Text(f"{name:<{named}}  ")
        if size:
            line.append(set_cell_size(text, size) + "  ")
        if drawn.get("spark"):
            curve = spark(each.values, drawn["spark"], shown.encoding)
            line.append(f"{curve:<{drawn['spark']}}  ", "cyan")
        if drawn["bar"]:
            full, rest = bar(each.share, drawn["bar"], shown.encoding)
            line.append(full, "magenta").append(rest + "  ", "dim")
        line.append(f"{each.share:>4.0%}  {each.told}")
        lines.append(line)
    if more and most > 1:
        lines.append(Text(f"and {more} more running", "dim"))
    return lines


def _strip(shown: Snapshot, width: int) -> Text | None:
    """The lanes of programs, where there are any."""
    jobs: dict[int, list[Trial]] = {}
    for each in shown.running:
        jobs.setdefault(each.job, []).append(each)
    if all(each.lanes < 2 for each in shown.running):
        return None
    programs = [
        ([each.share for each in own], max(own[0].lanes, len(own)))
        for _, own in sorted(jobs.items())
    ]
    total = sum(count for _, count in programs)
    words = f"{len(shown.running)} of {count(total, 'lane')} in {count(len(programs), 'program')}"
    drawn = lanes(programs, shown.encoding)
    room = width - len("lanes  ") - len(words) - 2
    if len(drawn) > room:
        more = "…" if encodes("…", shown.encoding) else "~"
        drawn = drawn[: max(0, room - 1)] + more if room > 1 else ""
    return Text.assemble(("lanes  ", "bold"), (drawn, "magenta"), "  ", (words, "dim"))


def _best(shown: Snapshot, width: int) -> Text:
    assert shown.best is not None
    value, params = shown.best
    room = max(10, width - len("best  ") - len(value) - 2)
    text = f"{value}  {tell_apart([params], room)[0]}"
    return Text.assemble(("best  ", "bold"), (text, "green"))


def _overall(shown: Snapshot, width: int) -> Text:
    """The whole progress: how many are done, since when, what is left; what has room of it."""
    training = math.fsum(each.share for each in shown.running)
    nouns = "" if shown.noun == "trial" else f" {shown.noun}s"
    place = f"{shown.done}/{shown.total}{nouns}" if shown.total else f"{shown.done} done"
    words = [format_seconds(shown.elapsed)]
    parts = (f"{shown.left} left" if shown.left else "", shown.pace,
             count(shown.workers, "worker"), shown.later)  # fmt: skip
    for part in filter(None, parts):
        if cell_len(", ".join([place, *words, part])) <= width:
            words.append(part)
    text = ", ".join(words)
    line = Text(f"{place}  ")
    size = min(30, width - len(place) - cell_len(text) - 4)
    if shown.total and size >= 5:
        full, rest = bar((shown.done + training) / shown.total, size, shown.encoding)
        line.append(full, "magenta").append(rest + "  ", "dim")
    return line.append(text, "dim")


def tell_pace(amount: float, noun: str) -> str:
    """A pace, of so many a second: `41 epochs/s`, `12 epochs/min`, `3.2 epochs/h`."""
    for unit, seconds in (("s", 1), ("min", 60), ("h", 3600)):
        number = amount * seconds
        if number >= 1 or unit == "h":
            shown = f"{number:.1f}" if number < 9.95 else f"{number:.0f}"
            return f"{shown} {noun}/{unit}"
    return ""


def tell_plainly(shown: Snapshot, width: int) -> str:
    """The state of a search in one line of plain text, at most `width` characters."""
    place = f"{shown.done}/{shown.total}" if shown.total else f"{shown.done}"
    parts = [f"[{place}]", f"after {format_seconds(shown.elapsed)}"]
    if shown.left:
        parts.append(f"{shown.left} left")
    if shown.pace:
        parts.append(shown.pace)
    if shown.best is not None:
        parts.append(f"best {shown.best[0]}")
    if shown.running:
        parts.append(f"{count(len(shown.running), shown.noun)} running:")
    line = "  ".join(parts)
    for place_, each in enumerate(shown.running):
        told = f" {each.number} at {each.share:.0%}" + (f" ({each.told})" if each.told else "")
        last = place_ == len(shown.running) - 1
        if len(line) + len(told) + 5 > width:
            return (line + " ...")[:width]
        line += told + ("" if last else ",")
    return line[:width]
