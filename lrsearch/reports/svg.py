"""Panels as SVG: classes for looks, and no style of their own, which a strict policy forbids."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

from lrsearch.reports.marks import Band, Bar, Line, Panel, Points, Rule, Scale, Span, label
from lrsearch.reports.text import cut

LEFT, RIGHT, TOP, BOTTOM = 46, 12, 10, 34
"""Margins of a panel, in its own units, of which a reader's screen shows one as about a pixel."""

NAMED = 14
"""The room for the name of a vertical axis, above a panel that has one."""

LONGEST = 40
"""Characters of a name of a vertical axis, of which a longer one keeps the beginning."""


@dataclass(frozen=True)
class Frame:
    """The plane that a panel is drawn on, `width` by `height` with its margins."""

    panel: Panel
    width: int = 320
    height: int = 210

    @property
    def top(self) -> int:
        """The upper end of the plane."""
        return TOP + NAMED if self.panel.y_label else TOP

    def across(self, value: float) -> float:
        """The horizontal place of a value."""
        return LEFT + self.panel.x.place(value) * (self.width - LEFT - RIGHT)

    def down(self, value: float) -> float:
        """The vertical place of a value."""
        return self.height - BOTTOM - self.panel.y.place(value) * (self.height - self.top - BOTTOM)

    def at(self, x: float, y: float) -> str:
        """A place as a path has it."""
        return f"{_short(self.across(x))} {_short(self.down(y))}"


def _short(number: float) -> str:
    return f"{number:.1f}".removesuffix(".0")


def draw(panel: Panel, *, width: int = 320, height: int = 210, name: str = "") -> str:
    """The panel as an `<svg>` element. It is hidden from screen readers: the figure's sentence and
    table say what it shows."""
    frame = Frame(panel, width, height)
    parts = [
        f'<svg class="plot" viewBox="0 0 {width} {height}" aria-hidden="true" focusable="false"'
        f"{f' id={chr(34)}{escape(name)}{chr(34)}' if name else ''}>",
        *_axes(frame),
    ]
    for mark in panel.marks:
        match mark:
            case Points():
                parts += _points(frame, mark)
            case Line():
                parts += _line(frame, mark)
            case Band():
                parts += _band(frame, mark)
            case Span():
                parts += _span(frame, mark)
            case Rule():
                parts += _rule(frame, mark)
            case Bar():
                parts += _bar(frame, mark)
    return "".join([*parts, "</svg>"])


def open_svg(kind: str, width: int, height: int, more: str = "") -> str:
    """The beginning of an `<svg>` that screen readers pass over."""
    hidden = 'aria-hidden="true" focusable="false"'
    return f'<svg class="{kind}" viewBox="0 0 {width} {height}" {hidden}{more}>'


def _axes(frame: Frame) -> Iterator[str]:
    panel = frame.panel
    left, right = LEFT, frame.width - RIGHT
    top, bottom = frame.top, frame.height - BOTTOM
    for value, text in label(panel.y, 4):
        y = _short(frame.down(value))
        yield f'<path class="grid" d="M{left} {y}H{right}"/>'
        yield f'<text x="{left - 6}" y="{y}" dy="0.32em" text-anchor="end">{text}</text>'
    named = panel.x_names or label(panel.x, max(3, (right - left) // 56))
    for value, text in named:
        x = _short(frame.across(value))
        yield f'<path class="grid" d="M{x} {top}V{bottom}"/>'
        yield f'<text x="{x}" y="{bottom + 14}" text-anchor="middle">{escape(text)}</text>'
    yield f'<path class="axis" d="M{left} {bottom}H{right}"/>'
    if panel.y_label:
        yield f'<text class="name" x="0" y="11">{escape(cut(panel.y_label, LONGEST))}</text>'
    if panel.x_label:
        yield (
            f'<text class="name" x="{(left + right) // 2}" y="{frame.height - 4}" '
            f'text-anchor="middle">{escape(panel.x_label)}</text>'
        )


_SHAPES = {
    "cross": "m-3.5-3.5l7 7m0-7l-7 7",
    "off": "m-3-2l3 4l3-4z",
    "high": "m-3 2l3-4l3 4z",
    "tie": "m-4 0a4 4 0 1 0 8 0a4 4 0 1 0-8 0",
    "pick": "m0-6l6 6l-6 6l-6-6z",
}
"""The shapes of points by kind; any other is a round dot."""


def _points(frame: Frame, mark: Points) -> Iterator[str]:
    scale = frame.panel.y
    # Of many points on one spot one is seen.
    spots = dict.fromkeys(
        (
            f"M{frame.across(x):.0f} {frame.down(scale.clamp(y)):.0f}"
            if len(mark.places) > 500
            else f"M{frame.at(x, scale.clamp(y))}"
        )
        + _SHAPES.get(mark.sign(y, scale), "h0")
        for x, y in mark.places
    )
    if spots:
        yield f'<path class="{mark.kind}" d="{"".join(spots)}"/>'


def _line(frame: Frame, mark: Line) -> Iterator[str]:
    drawn = "".join(
        ("M" if start else "L") + frame.at(x, frame.panel.y.clamp(y))
        for x, y, start in _pieces(frame.panel.y, mark.places)
    )
    if drawn:
        yield f'<path class="{mark.kind}" d="{drawn}"/>'


def _pieces(
    scale: Scale, places: Sequence[tuple[float, float]]
) -> Iterator[tuple[float, float, bool]]:
    """The places of a line, and where a piece of it begins: it has gaps where it is not finite, or
    runs along outside."""
    inside = False
    for index, (x, y) in enumerate(places):
        near = places[max(0, index - 1) : index + 2]
        seen = math.isfinite(y) and any(scale.holds(each) for _, each in near)
        if seen:
            yield x, y, not inside
        inside = seen


def _band(frame: Frame, mark: Band) -> Iterator[str]:
    y = frame.panel.y
    upper = [frame.at(x, y.clamp(high)) for x, _, high in mark.places]
    lower = [frame.at(x, y.clamp(low)) for x, low, _ in reversed(mark.places)]
    if len(upper) > 1:
        yield f'<path class="{mark.kind}" d="M{"L".join([*upper, *lower])}Z"/>'


def _span(frame: Frame, mark: Span) -> Iterator[str]:
    x = frame.panel.x
    left, right = (frame.across(x.clamp(end)) for end in (mark.low, mark.high))
    yield (
        f'<rect class="{mark.kind}" x="{_short(left)}" y="{frame.top}" '
        f'width="{_short(max(1.0, right - left))}" height="{frame.height - frame.top - BOTTOM}"/>'
    )


def _rule(frame: Frame, mark: Rule) -> Iterator[str]:
    if frame.panel.x.holds(mark.x):
        x = _short(frame.across(mark.x))
        yield f'<path class="{mark.kind}" d="M{x} {frame.top}V{frame.height - BOTTOM}"/>'


def _bar(frame: Frame, mark: Bar) -> Iterator[str]:
    y = frame.panel.y
    x, low, high = (
        frame.across(mark.x),
        frame.down(y.clamp(mark.low)),
        frame.down(y.clamp(mark.high)),
    )
    ends = [(mark.low, low), (mark.high, high)]
    # One that goes on beyond the axis has no end there.
    caps = "".join(f"M{_short(x - 3)} {_short(at)}h6" for value, at in ends if y.holds(value))
    yield f'<path class="{mark.kind}" d="M{_short(x)} {_short(low)}V{_short(high)}{caps}"/>'


def picks(panel: Panel, *, width: int, height: int) -> list[int]:
    """The places of a panel's trials in whole units, one after the other: x, y, number."""
    frame = Frame(panel, width, height)
    flat: list[int] = []
    for x, y, number in panel.numbers:
        flat += [round(frame.across(x)), round(frame.down(panel.y.clamp(y))), number]
    return flat


def sparkline(values: Sequence[float]) -> str:
    """A small line without axes, from 0 to its highest."""
    width, height = 120, 28
    top = max(values, default=1.0) or 1.0
    step = (width - 4) / max(1, len(values) - 1)
    places = (
        f"{_short(2 + index * step)} {_short(height - 2 - value / top * (height - 4))}"
        for index, value in enumerate(values)
    )
    return open_svg("spark", width, height) + f'<path class="curve" d="M{"L".join(places)}"/></svg>'
