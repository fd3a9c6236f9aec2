"""The objective over the rate in a few lines of text, while a search fills it in."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from lrsearch.reports.marks import Scale, label, spanning

SIGNS = {"lost": "x", "dot": "o", "running": "+", "best": "*"}
"""The mark of a kind of point, in the order in which they are drawn over each other."""

SHOWN = 0.8
"""The share of values, from the best on, that the objective's axis holds; others stand at its
end."""


@dataclass(frozen=True)
class Cloud:
    """Measurements over a rate: values by rate, None of those that came to none; the `running`
    trials with their latest value. The axis is named `name` and reaches from `low` to `high`, and
    to what was measured outside."""

    name: str
    low: float
    high: float
    log: bool
    goal: str
    metric: str = ""
    measured: Sequence[tuple[float, float | None]] = field(default=())
    running: Sequence[tuple[float, float]] = field(default=())


def draw(cloud: Cloud, width: int, height: int) -> list[str]:
    """Draw a cloud, in `height` lines no wider than `width`: the objective's axis at the left, the
    rate's below. No lines where nothing has a value, or there is no room."""
    known = [(x, y) for x, y in cloud.measured if y is not None and math.isfinite(y)]
    if not known or height < 4 or width < 20:
        return []
    x, y = _axes(cloud, known)
    rows = height - 1
    names = {rows - 1: label(y.low), 0: label(y.high)}
    margin = max(map(len, names.values()))
    columns = width - margin - 2
    if columns < 10:
        return []
    cells = [[" "] * columns for _ in range(rows)]
    better = max if cloud.goal == "max" else min
    best = better(known, key=lambda each: each[1])
    worst = y.low if cloud.goal == "max" else y.high
    lost = [(rate, worst) for rate, value in cloud.measured
            if value is None or not math.isfinite(value)]  # fmt: skip
    running = [each for each in cloud.running if math.isfinite(each[1])]
    for kind, points in (("lost", lost), ("dot", known), ("running", running), ("best", [best])):
        for rate, value in points:
            if cloud.log and rate <= 0:
                continue
            column = min(columns - 1, max(0, round(x.place(rate) * (columns - 1))))
            row = round((1 - y.place(y.clamp(value))) * (rows - 1))
            cells[row][column] = SIGNS[kind]
    lines = [
        f"{names.get(at, ''):>{margin}} |{''.join(row)}".rstrip() for at, row in enumerate(cells)
    ]
    return [*lines, " " * (margin + 2) + _ticks(x, columns, cloud.name)]


def _axes(cloud: Cloud, known: Sequence[tuple[float, float]]) -> tuple[Scale, Scale]:
    rates = [rate for rate, _ in (*cloud.measured, *cloud.running) if rate > 0 or not cloud.log]
    x = spanning([*rates, cloud.low, cloud.high], log=cloud.log, room=0.0)
    if not x.high > x.low:
        x = spanning([cloud.low], log=cloud.log)
    values = sorted((value for _, value in known), reverse=cloud.goal == "max")
    return x, spanning(values[: max(2, math.ceil(SHOWN * len(values)))], room=0.0)


def _ticks(x: Scale, columns: int, name: str) -> str:
    """The line of the rate's ticks, its name at the end where there is room."""
    line = [" "] * columns
    free = 0
    for value in x.ticks(max(2, columns // 9)):
        text = label(value)
        place = round(x.place(value) * (columns - 1))
        first = min(max(0, place - len(text) // 2), columns - len(text))
        if first >= free:
            line[first : first + len(text)] = text
            free = first + len(text) + 1
    text = "".join(line).rstrip()
    return f"{text}  {name}" if len(text) + len(name) + 2 <= columns else text
