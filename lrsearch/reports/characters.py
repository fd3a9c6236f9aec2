"""Panels in characters, for a terminal and for Markdown: the marks that `svg` draws for a browser.

A line is a list of pieces, each a text and the kind of mark that it is of, which a terminal may
colour: no sign is told from another by its colour alone.
"""

from __future__ import annotations

import bisect
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence

from lrsearch.reports.curves import encodes, raster
from lrsearch.reports.marks import (
    Band,
    Bar,
    Figure,
    Line,
    Panel,
    Points,
    Rule,
    Scale,
    Span,
    label,
)
from lrsearch.reports.text import cut_begin

Pieces = list[tuple[str, str]]
"""A line: texts and the kinds of what they show, "" of plain text."""

WIDTH = 80
"""Characters of one drawing at most."""

ROOM = 36
"""Characters of one of several drawings that stand beside each other, at least."""

GAP = 2
"""Characters between two of them."""

ROWS, LOW = 9, 7
"""Lines of a drawing's plane, where it stands alone, and where it is one of several."""

SIGNS = {
    "pick": "◆#",
    "dot": "●o",
    "bar": "╎'",
    "tie": "○@",
    "fresh": "┃|",
    "curve": "━-",
    "best": "━-",
    "step": "╌-",
    "faint": "·.",
    "band": "░:",
    "basin": "▀=",
    "unknown": "▒?",
    "lost": "┊!",
    "cross": "XX",
    "off": "▾v",
    "high": "▴^",
    "bound": "[[",
    "end": "]]",
    "axis": "│|",
    "tick": "┤+",
    "base": "─-",
    "foot": "┬+",
    "corner": "└+",
    "more": "…~",
}
"""Signs by what they show, in Unicode and in ASCII."""

PAIRS = {"bound": ("bound", "end"), "off": ("off", "high")}
"""The kinds of two signs: at one end of an axis and at the other."""


def choose_signs(encoding: str) -> dict[str, str]:
    """The signs that an encoding has: all in Unicode, or all in ASCII."""
    place = 0 if encodes("".join(each[0] for each in SIGNS.values()), encoding) else 1
    return {name: each[place] for name, each in SIGNS.items()}


def plain(line: Pieces) -> str:
    """A line without its kinds."""
    return "".join(text for text, _ in line).rstrip()


def draw_figure(figure: Figure, *, width: int, encoding: str) -> list[Pieces]:
    """The panels of a figure, beside each other where there is room, the key and the notes: lines
    of at most `width` characters."""
    panels = list(figure.panels)
    across = max(1, min(len(panels), (width + GAP) // (ROOM + GAP)))
    across = math.ceil(len(panels) / math.ceil(len(panels) / across))  # No row is left half empty.
    each = min(WIDTH, (width - GAP * (across - 1)) // across)
    lines: list[Pieces] = []
    for begin in range(0, len(panels), across):
        row = panels[begin : begin + across]
        height = ROWS if len(panels) == 1 else LOW
        blocks = [draw(panel, width=each, height=height, encoding=encoding) for panel in row]
        if len(panels) > 1:
            titles = [list(_flow(panel.title.split(" "), each, " ")) for panel in row]
            most = max(map(len, titles))
            blocks = [
                [
                    *([(_fit(line, each, encoding), "title")] for line in title),
                    *[[(" " * each, "")]] * (most - len(title)),
                    *block,
                ]
                for title, block in zip(titles, blocks, strict=True)
            ]
        for parts in zip(*blocks, strict=True):
            lines.append([piece for part in parts for piece in (*part, (" " * GAP, ""))][:-1])
    lines += [[(text, "")] for text in tell_key(figure.key, width, encoding)]
    lines += [[(text, "")] for note in figure.notes for text in _flow(note.split(" "), width, " ")]
    return lines


def tell_key(key: Mapping[str, str], width: int, encoding: str) -> Iterator[str]:
    """Lines that say what the signs of these kinds mean."""
    signs = choose_signs(encoding)
    told = [
        f"{' '.join(signs[name] for name in PAIRS.get(kind, (kind,)))} {text}"
        for kind, text in key.items()
    ]
    return _flow(told, width)


def _flow(words: Sequence[str], width: int, gap: str = "  ") -> Iterator[str]:
    """Words in lines, none of them broken."""
    line = ""
    for word in words:
        if line and len(line) + len(gap) + len(word) > width:
            yield line
            line = ""
        line += gap * bool(line) + word
    if line:
        yield line


def _fit(text: str, width: int, encoding: str) -> str:
    """A text of exactly so many columns. Of one that is too long the end is kept, which tells
    parameters apart."""
    from rich.cells import set_cell_size  # What is for other programs needs no rich.

    return set_cell_size(cut_begin(text, width, choose_signs(encoding)["more"]), width)


# one panel


def draw(panel: Panel, *, width: int, height: int, encoding: str = "utf-8") -> list[Pieces]:
    """A panel with its axes: lines of exactly `width` characters, `height` of them for its plane,
    and two for the horizontal axis."""
    signs = choose_signs(encoding)
    ticks = {
        _place(panel.y, value, height): text for value, text in label(panel.y, max(2, height - 2))
    }
    margin = max(map(len, ticks.values()), default=1)
    columns = max(8, width - margin - 2)
    plane = [[(" ", "")] * columns for _ in range(height)]
    base = [(signs["base"], "axis")] * columns
    named = panel.x_names or label(panel.x, max(2, columns // 9))
    for value, _ in named:
        base[_place(panel.x, value, columns)] = (signs["foot"], "axis")
    for mark in panel.marks:
        for x, y, name in _cells(panel, mark, columns, height):
            cell = (signs[name], mark.kind)
            if y is None:
                base[x] = cell
            else:
                plane[height - 1 - y][x] = cell
    rows = [
        [
            (f"{ticks.get(height - 1 - row, ''):>{margin}} ", ""),
            (signs["tick" if height - 1 - row in ticks else "axis"], "axis"),
            *cells,
        ]
        for row, cells in enumerate(plane)
    ]
    lines = [*rows, [(" " * (margin + 1), ""), (signs["corner"], "axis"), *base]]
    below = [(_place(panel.x, value, columns), text) for value, text in named]
    names = _names(below, panel.x_label, columns)
    return [*map(_join, lines), [(" " * (margin + 2) + names, "")]]


def _place(scale: Scale, value: float, cells: int) -> int:
    """The cell that a value lies in, from the low end of a scale on; the nearest one outside."""
    return round(scale.place(scale.clamp(value)) * (cells - 1))


def _cells(
    panel: Panel, mark: object, columns: int, height: int
) -> Iterator[tuple[int, int | None, str]]:
    """The cells of a mark: column, row from below (None on the axis), and the name of its sign."""
    across, down = panel.x, panel.y
    match mark:
        case Points():
            for x, y in mark.places:
                yield _place(across, x, columns), _place(down, y, height), mark.sign(y, down)
        case Line():
            xs, ys = ([place[end] for place in mark.places] for end in (0, 1))
            values = [y if down.holds(y) else math.nan for y in _sample(across, xs, ys, columns)]
            for column, rows in enumerate(raster(values, columns, height, down.low, down.high)):
                for row in rows:
                    yield column, height - 1 - row, mark.kind
        case Band():
            xs, *ends = ([place[end] for place in mark.places] for end in (0, 1, 2))
            lows, highs = (_sample(across, xs, ys, columns) for ys in ends)
            for column, (low, high) in enumerate(zip(lows, highs, strict=True)):
                yield from ((column, row, mark.kind) for row in _rows(down, low, high, height))
        case Bar():
            column = _place(across, mark.x, columns)
            yield from ((column, y, mark.kind) for y in _rows(down, mark.low, mark.high, height))
        case Span():
            first, last = (_place(across, end, columns) for end in (mark.low, mark.high))
            for column in range(first, last + 1):
                yield column, None, mark.kind
        case Rule() if across.holds(mark.x):
            column = _place(across, mark.x, columns)
            if mark.kind == "bound":
                yield column, None, "bound" if across.place(mark.x) < 0.5 else "end"
            else:
                for row in range(height):
                    yield column, row, mark.kind


def _rows(scale: Scale, low: float, high: float, height: int) -> range:
    """The rows of an interval, from below; none where it lies outside."""
    if not (low <= scale.high and high >= scale.low):
        return range(0)
    return range(_place(scale, low, height), _place(scale, high, height) + 1)


def _sample(scale: Scale, xs: Sequence[float], ys: Sequence[float], columns: int) -> list[float]:
    """The values at each column of a line through points from left to right, between them on the
    scale; not a number outside."""
    if not xs:
        return [math.nan] * columns
    places = [scale.place(x) for x in xs]
    slack = 0.5 / (columns - 1)
    found = []
    for column in range(columns):
        at = column / (columns - 1)
        after = min(max(bisect.bisect_left(places, at), 1), len(places) - 1)
        left, right = places[after - 1], places[after]
        if not places[0] - slack <= at <= places[-1] + slack:
            found.append(math.nan)
            continue
        share = min(max((at - left) / (right - left), 0.0), 1.0) if right > left else 0.0
        ends = ys[after - 1], ys[after]
        # At an end its value, though the other one may be none.
        found.append(
            ends[round(share)] if share in (0, 1) else ends[0] + share * (ends[1] - ends[0])
        )
    return found


def _names(named: Sequence[tuple[int, str]], what: str, columns: int) -> str:
    """The labels below the horizontal axis, as many as have room, and what it shows."""
    line = ""
    for column, text in named:
        begin = min(max(0, column - len(text) // 2), columns - len(text))
        if begin >= len(line) + bool(line):
            line = line.ljust(begin) + text
    if what and len(line) + 2 + len(what) <= columns:
        line = line.ljust(columns - len(what)) + what
    return line.ljust(columns)


def _join(cells: Sequence[tuple[str, str]]) -> Pieces:
    """Neighbours of a kind as one piece."""
    return [
        ("".join(text for text, _ in run), kind)
        for kind, run in itertools.groupby(cells, key=lambda cell: cell[1])
    ]
