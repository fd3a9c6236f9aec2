"""Range tests for reading: the curves over the rate, with what they say."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.text import Text

from lrsearch import sweeps
from lrsearch.reports.curves import plot
from lrsearch.reports.ranges import RangeView, round_ends
from lrsearch.reports.tables import hanging, labelled
from lrsearch.reports.text import count, format_params, format_seconds, format_value, one_line

_HEIGHT = 8
_WIDTH = 78

_TITLES = {
    "steepest": "steepest",
    "valley": "valley",
    "slide": "slide",
    "minimum_10": "minimum / 10",
    "lightning": "Lightning",
}

LOW = "Lightning's slope is per unit of the rate, and reads low: tenfold rates count a tenth"


def range_page(name: str, views: Sequence[RangeView]) -> RenderableType:
    """Range tests for reading: of each the curve with its interval marked, what it rests on, the
    published points and the cost. Fits any width from 60 characters up."""
    return _Page(name, views)


@dataclass(frozen=True)
class _Page:
    name: str
    views: Sequence[RangeView]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width = options.max_width
        for place, (view, alike) in enumerate(_join(self.views)):
            if place:
                yield Text()
            yield _headline(self.name, view, len(alike))
            for params in filter(None, alike):
                shown = Text(format_params(params), style="bold")
                yield from hanging(Text("  "), shown, console, width)
            drawn = _draw(view, min(width, _WIDTH), options.encoding)
            if drawn:
                yield from (Text(), Text(drawn))
            yield Text()
            yield from labelled(_facts(view, len(alike)), console, width)


def _join(views: Sequence[RangeView]) -> list[tuple[RangeView, list[Mapping[str, Any]]]]:
    """The range tests, those with one fault and no curve as one of them, with the cost of all; and
    what tells each of them from others."""
    faults: dict[object, list[RangeView]] = {}
    for place, view in enumerate(views):
        faults.setdefault(view.fault or place, []).append(view)
    return [
        (
            replace(
                each[0],
                steps=sum(view.steps for view in each),
                epochs=math.fsum(view.epochs for view in each),
                seconds=math.fsum(view.seconds for view in each),
            ),
            [view.params for view in each],
        )
        for each in faults.values()
    ]


def _headline(name: str, view: RangeView, alike: int) -> Text:
    head = Text.assemble((f"{one_line(name)}: ", "bold"))
    if isinstance(view.found, sweeps.Refusal):
        all_ = f", in {alike} range tests alike" if alike > 1 else ""
        return head.append(f"no range of rates{all_}", style="yellow")
    low, high = round_ends(view.found)
    return head.append("lr ").append(f"{low} to {high}", style="green")


def _facts(view: RangeView, alike: int) -> Iterator[tuple[str, str, str]]:
    """Label, text and style of each line about so many range tests that are alike."""
    found = view.found
    if isinstance(found, sweeps.Refusal):
        yield "refused", one_line(found.reason), "yellow"
        yield "try", one_line(found.advice), ""
    else:
        yield "interval", found.reason, ""
        low, high = round_ends(found)
        yield "search", f"lr: {{min: {low}, max: {high}}}", "cyan"
    if view.raised:
        yield "raised", f"{one_line(view.raised)}: the sweep ends there", ""
    if any(rate is not None for rate in view.points.values()):
        told = ", ".join(
            f"{_TITLES[name]} {format_value(rate, 2) if rate is not None else '-'}"
            for name, rate in view.points.items()
        )
        yield "points", f"{told} ({LOW})", ""
    if view.beside and not view.fault:
        yield "beside", f"{format_params(view.beside)}, searched too, and held fixed here", ""
    cost = f"{count(view.seeds, 'seed')}{' each' if alike > 1 else ''}, {count(view.steps, 'step')}"
    cost += f" ({count(view.epochs, 'epoch')})" if view.epochs else ""
    cost += f" in {format_seconds(view.seconds)}"
    side = "side by side" if view.engine == "fused" else f"one by one: {one_line(view.reason)}"
    yield "cost", f"{cost}, {side}", ""


def _draw(view: RangeView, width: int, encoding: str) -> str:
    """The curve over the logarithm of the rate, and the interval below it; "" without a curve."""
    if len(view.lr) < 2:
        return ""
    ends = f"lr {format_value(view.lr[0], 2)}", format_value(view.lr[-1], 2)
    drawn = plot(view.loss, width=width, height=_HEIGHT, ends=ends, encoding=encoding)
    *lines, axis = drawn.split("\n")
    if isinstance(view.found, sweeps.Refusal):
        return drawn
    sign = "┤" if "┤" in lines[0] else "|"
    margin = lines[0].index(sign) + 1
    columns = max(1, width - margin)
    first, last = (_column(each, view.lr, columns) for each in (view.found.low, view.found.high))
    left, line, right = ("└", "─", "┘") if sign == "┤" else ("[", "-", "]")
    mark = left + line * max(0, last - first - 1) + right
    return "\n".join([*lines, " " * (margin + first) + mark, axis])


def _column(rate: float, lr: Sequence[float], columns: int) -> int:
    share = math.log(rate / lr[0]) / math.log(lr[-1] / lr[0])
    return round(min(max(share, 0.0), 1.0) * (columns - 1))
