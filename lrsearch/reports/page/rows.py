"""All trials as the page has them: rows for its script, a first table, parallel coordinates, and
curves in few digits."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from lrsearch.reports.marks import HUGE
from lrsearch.reports.page.content import best_trials
from lrsearch.reports.svg import open_svg
from lrsearch.reports.text import format_fixed, format_value, one_line
from lrsearch.reports.verdicts import in_words, leading
from lrsearch.reports.view import RunView
from lrsearch.trial import Record

FIRST = 200
"""Rows that the page has as a table without its script; all others are text behind them there."""

FINE, COARSE = 48, 12
"""Values of a curve on the page: of the first `CHOSEN` trials, and of all others."""

CHOSEN = 200

LEVELS = 999
"""Steps between a curve's least and greatest value."""

LINES = 300
"""Trials in the parallel coordinates, the best ones."""

CELL = 60
"""Characters of a cell, of which a longer text keeps the beginning."""


@dataclass(frozen=True)
class Table:
    """The rows of all trials, best first: `head` names the columns, `numeric` says which hold
    numbers, `texts` are the `rows` as the page shows them. Parameters begin at the column
    `begin`."""

    head: Sequence[str]
    numeric: Sequence[bool]
    rows: Sequence[Sequence[Any]]
    texts: Sequence[Sequence[str]]
    begin: int


def list_trials(view: RunView) -> Table:
    """Every trial, best first, those without a value last."""
    order = {number: place for place, number in enumerate(best_trials(view))}
    records = sorted(
        view.records,
        key=lambda each: (order.get(each.trial.number, len(order)), each.trial.number),
    )
    folds = any(record.trial.fold is not None for record in records)
    seeds = len({record.trial.seed for record in records}) > 1
    verdicts = {record.trial.number: _verdict(record) for record in records}
    verdicts = verdicts if any(verdicts.values()) else {}
    head = ["trial", one_line(view.objective.metric), "outcome", *["verdict"] * bool(verdicts)]
    begin = len(head)
    head += [view.called[name] for name in view.params]
    own = any(record.trial.number != record.point for record in records)
    inside = any(record.epochs is not None for record in records)
    kept = {"point": own, "seed": seeds, "fold": folds, "epochs": inside}
    head += [*(name for name, wanted in kept.items() if wanted), "seconds"]
    rows = []
    for record in records:
        first, rest = _row(view, record, kept)
        rows.append([*first, *[verdicts.get(record.trial.number)] * bool(verdicts), *rest])
    numeric = [
        all(row[place] is None or type(row[place]) in (int, float) for row in rows)
        for place in range(len(head))
    ]
    return Table(head, numeric, rows, [show_row(row, view.decimals) for row in rows], begin)


def _verdict(record: Record) -> str:
    """The first verdict of a trial, "" where its outcome says the same."""
    verdict = leading(record.result)
    return "" if record.result and verdict == record.result.outcome else in_words(verdict)


def _row(view: RunView, record: Record, kept: Mapping[str, bool]) -> tuple[list[Any], list[Any]]:
    """The cells before the verdict, and those behind it."""
    result = record.result
    value = result.value(view.objective) if result is not None else None
    first = [
        record.trial.number,
        value if value is not None and math.isfinite(value) else None,
        result.outcome.words if result is not None else "unfinished",
    ]
    row = [_cell(record.params[name]) if name in record.params else "" for name in view.params]
    own = {
        "point": record.point,
        "seed": record.trial.seed,
        "fold": record.trial.fold,
        "epochs": _brief(record.epochs),
    }
    row += [value for name, value in own.items() if kept[name]]
    return first, [*row, _brief(None if result is None else result.seconds)]


def _brief(number: float | None) -> float | None:
    return None if number is None else float(f"{number:.4g}")


def _cell(value: Any) -> Any:
    if type(value) is int and abs(value) < 2**53:
        return value
    if type(value) is float and math.isfinite(value):
        return float(f"{value:.5g}")
    text = format_value(value)
    return text if len(text) <= CELL else text[: CELL - 1] + "…"


def show(value: Any) -> str:
    """A cell as text, numbers with five digits."""
    if value is None or isinstance(value, str):
        return value or ""
    return format_value(value, 5)


def show_row(row: Sequence[Any], decimals: int | None) -> list[str]:
    """The cells of a row as text, the objective with so many decimals, as the answer has it."""
    cells = [show(cell) for cell in row]
    if row[1] is not None:
        cells[1] = format_fixed(row[1], decimals)
    return cells


def to_text(table: Table, first: int) -> str:
    """The rows from `first` on as text, columns by tabs."""
    return "\n".join("\t".join(row) for row in [table.head, *table.texts[first:]])


def quantise(curve: Mapping[str, Sequence[float]], most: int) -> dict[str, Any]:
    """A curve in few digits, at most so many values of each metric: by metric its least and
    greatest value, and whole numbers between 0 and `LEVELS`, null where it is not finite. Thinned
    ones keep their first and last value."""
    steps = list(curve.get("step", ()))
    if not steps:
        return {}
    places = _thin(len(steps), most)
    found: dict[str, Any] = {"step": [round(steps[place]) for place in places]}
    for name, values in curve.items():
        kept = [float(values[place]) for place in places if place < len(values)]
        finite = [value for value in kept if abs(value) <= HUGE]
        if name in ("step", "lr") or not finite or len(kept) < len(places):
            continue
        low, high = min(finite), max(finite)
        size = (high - low) or 1.0
        levels = [round((v - low) / size * LEVELS) if abs(v) <= HUGE else None for v in kept]
        found[one_line(name)] = [show(low), show(high), levels]
    return found


def _thin(length: int, most: int) -> list[int]:
    if length <= most:
        return list(range(length))
    return [round(place * (length - 1) / (most - 1)) for place in range(most)]


# parallel coordinates

WIDTH, HEIGHT, EDGE = 960, 260, 60


def draw_parallel(view: RunView, table: Table) -> str:
    """Parallel coordinates of the best trials as SVG: an axis each parameter, the objective last;
    "" where there is nothing to draw."""
    columns = [*range(table.begin, table.begin + len(view.params)), 1]
    columns = [each for each in columns if len({repr(row[each]) for row in table.rows}) > 1]
    rows = [row for row in table.rows[:LINES] if row[1] is not None]
    if len(columns) < 2 or len(rows) < 2:
        return ""
    across = {
        each: EDGE + place * (WIDTH - 2 * EDGE) / (len(columns) - 1)
        for place, each in enumerate(columns)
    }
    downs, ends = {}, {}
    for each in columns:
        downs[each], ends[each] = _axis([row[each] for row in rows], table.numeric[each])
    parts = [open_svg("plot wide", WIDTH, HEIGHT)]
    for row in reversed(rows):
        spots = [f"{across[each]:.0f} {downs[each][repr(row[each])]:.0f}" for each in columns]
        parts.append(f'<path class="strand" data-t="{row[0]}" d="M{"L".join(spots)}"/>')
    for each in columns:
        x = f"{across[each]:.0f}"
        parts.append(f'<path class="axis" d="M{x} 30V{HEIGHT - 30}"/>')
        name = table.head[each] if len(table.head[each]) <= 16 else table.head[each][:15] + "…"
        parts.append(
            f'<text class="name" x="{x}" y="16" text-anchor="middle">{escape(name)}</text>'
        )
        for y, text in ends[each]:
            parts.append(f'<text x="{x}" y="{y:.0f}" text-anchor="middle">{escape(text)}</text>')
    return "".join([*parts, "</svg>"])


def _axis(values: Sequence[Any], numeric: bool) -> tuple[dict[str, float], list[tuple[float, str]]]:
    """The vertical place of each value, and the labels of an axis: numbers on a logarithmic scale
    where they span much, others in order."""
    top, bottom = 38.0, HEIGHT - 38.0
    numbers = [value for value in values if value is not None and numeric]
    if numeric and numbers and len(set(numbers)) > 1:
        low, high = min(numbers), max(numbers)
        log = low > 0 and high / low >= 20

        def place(value: Any) -> float:
            if value is None:
                return bottom
            share = (
                math.log(value / low) / math.log(high / low)
                if log
                else (value - low) / (high - low)
            )
            return bottom - share * (bottom - top)

        ends = [
            (bottom + 22, format_value(float(low), 3)),
            (top - 10, format_value(float(high), 3)),
        ]
        return {repr(value): place(value) for value in values}, ends
    names = list(dict.fromkeys(map(repr, values)))
    texts = {repr(value): show(value)[:14] for value in values}
    step = (bottom - top) / max(1, len(names) - 1)
    places = {name: bottom - step * index for index, name in enumerate(names)}
    shown = [(places[name] - 4, texts[name]) for name in names] if len(names) <= 12 else []
    return places, shown
