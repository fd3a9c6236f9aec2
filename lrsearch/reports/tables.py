"""The result of a run for the user, as rich renderables.

User text enters as `Text`, never as markup, so that brackets in a name or a reason stay.
"""

from __future__ import annotations

import itertools
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, TextIO

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.segment import Segment
from rich.text import Text

from lrsearch.analysis.points import PointSummary
from lrsearch.analysis.reasons import merge_reasons
from lrsearch.reports.answer import describe_cost, details, first_notes, tell_trainings
from lrsearch.reports.choosing import Chosen
from lrsearch.reports.curves import encodes
from lrsearch.reports.ranges import tell_range
from lrsearch.reports.rates import plot_rates
from lrsearch.reports.text import (
    count,
    cut_begin,
    enumerate_numbers,
    format_bytes,
    format_fixed,
    format_params,
    format_value,
    one_line,
    spell_ending,
    tell_outcomes,
)
from lrsearch.reports.verdicts import by_point, count_verdicts
from lrsearch.reports.view import ROWS, RunView, describe_found, describe_repeatability
from lrsearch.terminal import visible
from lrsearch.trial import Outcome

PIPED_WIDTH = 100
"""Characters a line may have where the output is no terminal and COLUMNS says nothing."""

AROUND = 14
"""Lines of a result on a terminal besides the rows of its table, about."""

CELL = 24
"""Columns of a parameter's value in a table; a wider value is cut to its end."""

REASON = 300
"""Characters shown of a failure's reason."""

REASONS = 3
"""The most reasons of failures, and of plans without lanes, that are shown."""

STYLES: dict[Outcome | None, str] = {
    Outcome.COMPLETED: "",
    Outcome.PRUNED: "dim",
    Outcome.DIVERGED: "yellow",
    Outcome.OUT_OF_MEMORY: "red",
    Outcome.FAILED: "red",
}
"""The colour of an outcome."""

MARKS = {
    "title": "bold",
    "axis": "dim",
    "band": "dim",
    "basin": "green",
    "pick": "bold green",
    "dot": "cyan",
    "tie": "magenta",
    "fresh": "magenta",
    "lost": "yellow",
    "cross": "yellow",
}
"""The colours of marks by kind, whose signs differ without them."""

# consoles


def open_console(stream: TextIO) -> Console:
    """A console on `stream`: as wide as its terminal. Without one it is plain, as wide as COLUMNS
    says, else `PIPED_WIDTH`, and leaves out the blanks at the ends of lines. NO_COLOR and TERM=dumb
    are honoured by rich."""
    if stream.isatty():
        return VisibleConsole(stream)
    given = os.environ.get("COLUMNS", "")
    width = int(given) if re.fullmatch("[0-9]{1,4}", given) else 0
    return _PipedConsole(stream, width or PIPED_WIDTH)


class VisibleConsole(Console):
    """A console that shows all text as `visible` leaves it; for a letter that its stream's encoding
    lacks stand as many ?, so that columns keep their places. An error of a reader that has left is
    raised to the caller."""

    def __init__(self, stream: TextIO, width: int | None = None) -> None:
        super().__init__(file=stream, width=width, markup=False, emoji=False, highlight=False)

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterator[Segment]:
        """Render to rich's segments; those that control the terminal are only rich's own."""
        for text, style, control in super().render(renderable, options):
            shown = text if control else visible(text)
            if not encodes(shown, self.encoding):
                known = (c if encodes(c, self.encoding) else "?" * cell_len(c) for c in shown)
                shown = "".join(known)
            yield Segment(shown, style, control)

    def on_broken_pipe(self) -> None:
        """Raise the BrokenPipeError; rich's own would end the process with exit code 1."""
        raise


_COLOUR = re.compile(r"\x1b\[[\d;]*m")
_BLANKS = re.compile(rf"(?: |{_COLOUR.pattern})+$", re.MULTILINE)
"""The blanks at the end of a line, with the colours among them that FORCE_COLOR asks for."""


class _PipedConsole(VisibleConsole):
    """A console whose lines end with their text: rich fills those of a table with blanks."""

    def print(self, *objects: Any, **more: Any) -> None:
        """Print as rich does."""
        with self.capture() as capture:
            super().print(*objects, **more)
        kept = _BLANKS.sub(lambda end: "".join(_COLOUR.findall(end[0])), capture.get())
        self.file.write(kept)
        self.file.flush()


# the result


def result(
    view: RunView, *, all_rows: bool = False, chosen: Chosen | None = None
) -> RenderableType:
    """The answer: the recommended point, how sure it is, what it cost, and the command to go on
    with. Then what it rests on: the points best first (25 unless `all_rows`, fewer on a low
    terminal; the `chosen` ones in the place of all), curves, how trials ended, warnings. Fits any
    width from 60 characters up."""
    return _Result(view, all_rows, chosen)


@dataclass(frozen=True)
class _Result:
    view: RunView
    all_rows: bool
    chosen: Chosen | None = None

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        lines = list(self._lines(console, options))
        yield from lines
        if console.is_terminal and len(lines) >= console.size.height:  # It has scrolled away.
            yield Text()
            yield from _headline(self.view, console, options.max_width)
            last = [note for note in _last_notes(self.view) if note[0] == "next"]
            yield from labelled(last, console, options.max_width)

    def _lines(self, console: Console, options: ConsoleOptions) -> Iterator[Text]:
        view, width = self.view, options.max_width
        dots = "..." if options.ascii_only else "…"
        yield from _headline(view, console, width)
        first = [
            (label, text, "yellow" if label in ("note", "edge") else "")
            for label, text in first_notes(view)
        ]
        yield from labelled([*first, *_last_notes(view)], console, width)
        if (plot := plot_rates(view, width=width - 2, encoding=options.encoding)) is not None:
            title, drawn = plot
            yield Text()
            yield Text(title, style="bold", overflow="fold")
            for pieces in drawn:
                drawing = Text.assemble(
                    "  ", *((each, MARKS.get(kind, "")) for each, kind in pieces)
                )
                drawing.rstrip()
                yield drawing
        # On a terminal the answer, which is at the top, should not scroll far away.
        room = max(10, console.size.height - AROUND) if console.is_terminal else ROWS
        points = view.points if self.chosen is None else self.chosen.points
        shown = points if self.all_rows else points[: min(ROWS, room)]
        if self.chosen is not None:
            yield Text()
            yield from hanging(Text(), Text(self.chosen.words, style="bold"), console, width)
        if shown:
            yield Text()
            yield from _table(view, shown, dots, console, width)
            more = len(points) - len(shown)
            if more:
                yield Text(f"  {dots} and {more} more: --all", style="dim")
        for title, lines in details(view, width - 2):
            yield Text()
            yield from hanging(Text(), Text(title, style="bold"), console, width)
            for line in lines:
                yield from hanging(Text("  "), Text(line), console, width)
        if notes := list(_notes(view, dots, self.all_rows)):
            yield Text()
            yield from labelled(notes, console, width)


def labelled(notes: Iterable[tuple[str, str, str]], console: Console, width: int) -> Iterator[Text]:
    """Lay out lines of label, text and style, the texts below each other."""
    notes = list(notes)
    column = max((cell_len(label) for label, _, _ in notes), default=0) + 2
    for label, text, style in notes:
        head = Text(label.ljust(column), style=style or "bold")
        if label in ("retry", "resume", "next", "command"):
            yield from hanging_command(head, text, style, console, width)
        else:
            yield from hanging(head, Text(text, style=style), console, width)


@dataclass(frozen=True)
class _Column:
    head: str
    cells: list[str]
    right: bool = True


def hanging(head: Text, body: Text, console: Console, width: int) -> Iterator[Text]:
    """Lay out `body` behind `head`, its further lines indented as far."""
    indent = head.cell_len
    for line in body.wrap(console, max(16, width - indent), overflow="fold"):
        line.rstrip()
        yield Text.assemble(head, line)
        head = Text(" " * indent)


_WORD = re.compile(r"""(?:\$'(?:\\.|[^'\\])*'|'[^']*'|"[^"]*"|\S)+""")
"""A word of a command line, with the blanks between its quotes."""


def hanging_command(
    head: Text, command: str, style: str, console: Console, width: int
) -> Iterator[Text]:
    """Lay out `command` behind `head`; on a terminal, from where it is copied, it is broken between
    words by backslashes, as a shell reads on."""
    if not console.is_terminal:
        yield from hanging(head, Text(command, style=style), console, width)
        return
    indent = head.cell_len
    room = max(16, width - indent) - len(" \\")
    lines: list[str] = []
    for word in _WORD.findall(command):
        if lines and cell_len(f"{lines[-1]} {word}") <= room:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    for number, line in enumerate(lines):
        more = " \\" if number + 1 < len(lines) else ""
        yield from hanging(head, Text(line + more, style=style), console, width)
        head = Text(" " * indent)


def _headline(view: RunView, console: Console, width: int) -> Iterator[Text]:
    head = Text.assemble((one_line(view.name), "bold"))
    answer = view.answer
    if answer is None or answer.recommended.objective is None:
        yield head.append(f": {view.nothing}")
        return
    best, decimals = answer.recommended, answer.decimals
    value, spread = format_fixed(answer.value, decimals), answer.spread
    apart = "" if spread is None else f", deviation {format_fixed(spread, decimals)}"
    at = ", best over the training" if view.objective.at == "best" else ""
    head.append(f": {view.objective.metric} ").append(value, style="green")
    head.append(f" ({tell_trainings(answer)}{apart}{at}), point {best.point}")
    yield from hanging(Text(), head, console, width)
    if best.params:
        params = Text(format_params(best.params, called=view.called), style="bold green")
        yield from hanging(Text("  "), params, console, width)


# the table of points


def _table(
    view: RunView, points: Sequence[PointSummary], dots: str, console: Console, width: int
) -> Iterator[Text]:
    """One line a point: with whole headers, else headers broken at _ and ., else closer columns.
    Where no layout fits, the parameters follow the values as text that wraps."""
    values = _value_columns(view, points)
    own = view.recommended
    styles = ["green" if point is own else STYLES.get(point.outcome, "dim") for point in points]
    layouts = ((False, "  "), (True, "  "), (True, " "))
    verdicts = _verdict_columns(view, points)
    # Without the verdicts rather than without columns of parameters.
    beside = [verdicts, []] if verdicts else [[]]
    for more, whole, (split, gap) in itertools.product(beside, (True, False), layouts):
        columns = values + _param_columns(view, points, dots, whole) + more
        head, rows = _lines(_break(columns) if split else columns, gap)
        if max(cell_len(line) for line in (*head, *rows)) <= width:
            yield from (Text(line.rstrip(), style="bold") for line in head)
            yield from (
                Text(line.rstrip(), style=style) for line, style in zip(rows, styles, strict=True)
            )
            return
    head, rows = _lines(_break(values), "  ")
    yield from (Text(f"{line}  parameters", style="bold") for line in head)
    for row, style, point in zip(rows, styles, points, strict=True):
        text = Text(format_params(point.params, called=view.called), style=style)
        yield from hanging(Text(f"{row}  ", style=style), text, console, width)


def _lines(columns: Sequence[_Column], gap: str) -> tuple[list[str], list[str]]:
    """The lines of the header and of the rows, indented by two."""
    heads = [column.head.split("\n") for column in columns]
    depth = max(len(head) for head in heads)
    stacks = [
        [""] * (depth - len(head)) + head + column.cells
        for head, column in zip(heads, columns, strict=True)
    ]
    widths = [max(cell_len(cell) for cell in stack) for stack in stacks]
    lines = []
    for cells in zip(*stacks, strict=True):
        padded = []
        for cell, width, column in zip(cells, widths, columns, strict=True):
            blanks = " " * (width - cell_len(cell))
            padded.append(blanks + cell if column.right else cell + blanks)
        lines.append("  " + gap.join(padded))
    return lines[:depth], lines[depth:]


def _value_columns(view: RunView, points: Sequence[PointSummary]) -> list[_Column]:
    values = [
        spell_ending(point.outcome) if point.objective is None else view.show(point.objective)
        for point in points
    ]
    columns = [
        _Column("point", [str(point.point) for point in points]),
        _Column(view.objective.metric, values),
    ]
    if any(point.spread is not None for point in points):
        columns.append(_Column("deviation", [view.show(point.spread) for point in points]))
    if len({len(point.trials) for point in points}) > 1:
        columns.append(_Column("trials", [str(len(point.trials)) for point in points]))
    return columns


def _verdict_columns(view: RunView, points: Sequence[PointSummary]) -> list[_Column]:
    """The column of verdicts, none where they say nothing."""
    shown = {point.point for point in points}
    found = by_point(record for record in view.records if record.point in shown)
    cells = [found.get(point.point, "") for point in points]
    return [_Column("verdict", cells, right=False)] if any(cells) else []


def _param_columns(
    view: RunView, points: Sequence[PointSummary], dots: str, whole: bool
) -> list[_Column]:
    """A column a parameter; of cells wider than `CELL` the end, unless `whole`."""
    columns = []
    for name in view.params:
        given = [point.params[name] for point in points if name in point.params]
        cells = [
            "" if name not in point.params else format_value(point.params[name]) for point in points
        ]
        cells = [each if whole else cut_begin(each, CELL, dots) for each in cells]
        numbers = all(type(value) in (int, float) for value in given)
        columns.append(_Column(view.called[name], cells, right=numbers))
    return columns


def _break(columns: Sequence[_Column]) -> list[_Column]:
    """The columns with their heads in lines no wider than need be."""
    wide = [max(map(cell_len, column.cells)) for column in columns]
    return [
        replace(each, head=_broken(each.head, width))
        for each, width in zip(columns, wide, strict=True)
    ]


def _broken(head: str, width: int) -> str:
    """Break `head` into lines behind _ and ., none wider than need be."""
    lines = [""]
    parts = re.findall(r"[^_.]*[_.]|[^_.]+", head)
    width = max([width, *(cell_len(part) for part in parts)])
    for part in parts:
        if lines[-1] and cell_len(lines[-1] + part) > width:
            lines.append("")
        lines[-1] += part
    return "\n".join(lines)


# lines below the table


def _notes(view: RunView, dots: str, whole: bool) -> Iterator[tuple[str, str, str]]:
    """Label, text and style of each line below the table."""
    if view.records:
        waiting = len(view.records) - view.ended.total() - view.running
        yield "trials", tell_outcomes(view.ended, running=view.running, waiting=waiting), ""
    if counted := count_verdicts(view.records):
        yield "verdicts", counted, ""
    if view.saved[0]:
        number, size = view.saved
        noun = count(number, "trial")
        yield "saved", f"{noun} under way, in {format_bytes(size)} under states/", ""
    if view.data:
        yield "data", one_line(view.data), ""
    yield from _engines(view, dots, whole)
    failures = view.group_reasons(Outcome.FAILED)
    for reason, records in list(failures.items())[: None if whole else REASONS]:
        if len(reason) > REASON and not whole:
            reason = reason[:REASON] + dots
        numbers = enumerate_numbers([record.trial.number for record in records])
        noun = "trial" if len(records) == 1 else "trials"
        yield "failed", f"{noun} {numbers}: {reason}", "red"
    if len(failures) > REASONS and not whole:
        more = count(len(failures) - REASONS, "other reason")
        yield "", f"{dots} and {more}: --all", "red"
    if view.retry_command:
        yield "retry", view.retry_command, "cyan"
    for rule, stopped in _stopped(view).items():
        noun = "trial" if len(stopped) == 1 else "trials"
        by = f"{noun} {enumerate_numbers(sorted(stopped))} by {rule}"
        reasons = list(dict.fromkeys(stopped.values()))
        such = ", such as" if len(reasons) > 1 else ""
        yield "pruned", f"{by}{such}: {reasons[0]}", ""
    if view.whole_command:
        yield "resume", view.whole_command, "cyan"
    if view.repeatability is not None:
        text = describe_repeatability(view.repeatability, view.objective.metric)
        yield "repeat", text, "" if view.repeatability.exact else "yellow"
    for found in view.found:
        yield "range", describe_found(found), ""
    ranges = view.ranges if whole else view.ranges[:REASONS]
    for each in ranges:
        yield "range", tell_range(each), ""
    if len(view.ranges) > len(ranges):
        more = count(len(view.ranges) - len(ranges), "other range test")
        yield "", f"{dots} and {more}: --all", ""
    for warning in view.warnings:
        yield "note", one_line(warning), "yellow"
    for sentence in view.advice:
        yield "advice", one_line(sentence), "yellow"
    if view.hidden:
        verb = "does" if view.hidden == 1 else "do"
        text = f"{count(view.hidden, 'stored trial')} {verb} not belong to this spec: not shown"
        yield "hidden", text, "dim"


def _last_notes(view: RunView) -> Iterator[tuple[str, str, str]]:
    """The end of the answer: what it cost, and the command to go on with."""
    if view.cost["trials"] or view.cost["range_seconds"]:
        yield "cost", describe_cost(view), ""
    if view.next_command:
        yield "next", view.next_command, "cyan"


def _engines(view: RunView, dots: str, whole: bool) -> Iterator[tuple[str, str, str]]:
    """The engines that trained the trials, where not all trained solo, and the reasons for solo."""
    trained = Counter(record.result.engine for record in view.records if record.result)
    if trained["fused"]:
        text = f"{count(trained['fused'], 'trial')} fused"
        fused = (plan.lanes for plan in view.plans.values() if plan.engine == "fused")
        lanes = max(fused, default=0)
        several = f", up to {lanes} lanes a program"
        text += {0: "", 1: ", one lane a program"}.get(lanes, several)
        text += f"; {trained['solo']} solo" if trained["solo"] else ""
        yield "engine", text, ""
    total = len({structure for structure, _ in view.plans})
    reasons: dict[str, set[str]] = {}
    for (structure, _), plan in view.plans.items():
        if plan.engine == "solo" and plan.reason:
            reasons.setdefault(plan.reason, set()).add(structure)
    # Trials of a plan that is not the latest of its structure.
    others = Counter(
        record.result.why
        for record in view.records
        if record.result and record.result.why and record.result.why not in reasons
    )
    lines, parts = [], False
    for told, own in merge_reasons([*reasons, *others]).items():
        structures = set().union(*(reasons.get(each, ()) for each in own))
        number = sum(others[each] for each in own)
        share = f"{count(number, 'trial')} " if number < trained.total() else ""
        if structures:
            part = len(structures) < total
            earlier = f"and {count(number, 'earlier trial')} " if number else ""
            share = f"{len(structures)} of {total} structures {earlier}" if part else ""
            parts |= part
        lines.append(one_line(f"{share}solo: {told}"))
    label = "" if trained["fused"] else "engine"
    for place, line in enumerate(lines if whole else lines[:REASONS]):
        yield "" if place else label, line, ""
    if len(lines) > REASONS and not whole:
        more = count(len(lines) - REASONS, "other reason")
        yield "", f"{dots} and {more}: --all", ""
    if parts:
        yield "", "(a structure: trials that differ in rates and other numbers alone)", ""


def _stopped(view: RunView) -> dict[str, dict[int, str]]:
    """The trials that were stopped early, with their reasons, by the rule that stopped them."""
    found: dict[str, dict[int, str]] = {}
    for reason, records in view.group_reasons(Outcome.PRUNED).items():
        for record in records:
            rule = record.result.rule if record.result else ""
            # Of a rule's reason its name is the beginning.
            told = reason.partition(": ")[2] or reason if rule else reason
            found.setdefault(rule or "a verdict", {})[record.trial.number] = told
    return found
