"""A line of numbers as text: Braille dots, or asterisks where the encoding has none."""

from __future__ import annotations

import math
from collections.abc import Sequence

from lrsearch.reports.text import format_apart

# Bits of the dots of a Braille cell (Unicode block 2800), by [row][column].
_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))


def plot(
    values: Sequence[float],
    *,
    width: int = 60,
    height: int = 8,
    low: float | None = None,
    high: float | None = None,
    ends: tuple[str, str] | None = None,
    encoding: str = "utf-8",
) -> str:
    """Draw `values` from left to right, `height` lines of at most `width` characters.

    The y axis reaches from `low` to `high` (by default the least and greatest value), which are its
    labels; `ends` are labels below the first and the last value, on a line of their own. Where
    values outnumber columns a column shows the whole range it covers, so that no spike is lost;
    values that are not finite leave a gap. Raises ValueError where no value is finite.
    """
    finite = [float(value) for value in values if math.isfinite(value)]
    if not finite:
        raise ValueError("there is no finite value to draw")
    bottom = min(finite) if low is None else low
    top = max(finite) if high is None else high
    labels, ends_of_axis = [""] * height, format_apart([float(top), float(bottom)])
    labels[0] = ends_of_axis[0]
    if top > bottom and height > 1:
        labels[-1] = ends_of_axis[1]
    margin = max(len(label) for label in labels)
    columns = max(1, width - margin - 2)
    braille = encodes("⣿", encoding)
    across, down = (2, 4) if braille else (1, 1)
    dots = raster(values, columns * across, height * down, bottom, top)
    axis = "┤" if braille else "|"
    lines = []
    for row, label in enumerate(labels):
        cells = []
        for column in range(columns):
            if braille:
                bits = sum(
                    _DOTS[y][x]
                    for y in range(4)
                    for x in range(2)
                    if (row * 4 + y) in dots[column * 2 + x]
                )
                cells.append(chr(0x2800 + bits) if bits else " ")
            else:
                cells.append("*" if row in dots[column] else " ")
        lines.append(f"{label:>{margin}} {axis}{''.join(cells)}".rstrip())
    if ends:
        left, right = ends
        room = max(1, columns - len(left) - len(right))
        lines.append(" " * (margin + 2) + left + " " * room + right)
    return "\n".join(lines)


def encodes(text: str, encoding: str) -> bool:
    """Whether an encoding has all of a text."""
    try:
        text.encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def raster(
    values: Sequence[float], columns: int, rows: int, bottom: float, top: float
) -> list[set[int]]:
    """The rows (0 is the top) to set in each column, neighbours joined."""

    def row(value: float) -> int:
        if top <= bottom:
            return (rows - 1) // 2
        share = (min(max(value, bottom), top) - bottom) / (top - bottom)
        return round((1 - share) * (rows - 1))

    dots: list[set[int]] = []
    previous: int | None = None
    for column in range(columns):
        covered = [value for value in _covered(values, column, columns) if math.isfinite(value)]
        filled: set[int] = set()
        if covered:
            heights = [row(value) for value in (min(covered), max(covered))]
            if previous is not None:
                # Join to the column before, stopping beside its last dot.
                heights += [previous + (row(covered[0]) > previous) - (row(covered[0]) < previous)]
            filled = set(range(min(heights), max(heights) + 1))
        dots.append(filled)
        previous = row(covered[-1]) if covered else None
    return dots


def _covered(values: Sequence[float], column: int, columns: int) -> Sequence[float]:
    """The values that a column covers; where a column lies between two values, the point on the
    line that joins them."""
    count = len(values)
    if count > columns:
        return values[column * count // columns : (column + 1) * count // columns]
    if count == 1 or columns == 1:
        return values[:1]
    place = column * (count - 1) / (columns - 1)
    nearest = round(place)
    if round(nearest * (columns - 1) / (count - 1)) == column:
        return values[nearest : nearest + 1]  # Its own column, so that no peak is cut.
    left = int(place)
    return [values[left] + (place - left) * (values[left + 1] - values[left])]
