"""The best of each budget of a run, in words: what training longer brings."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lrsearch.analysis.answer import Answer
from lrsearch.analysis.lengths import NAME, Lengths
from lrsearch.reports.text import (
    decimals_for,
    format_fixed,
    format_value,
    lay_out,
    one_line,
)
from lrsearch.terminal import command_line
from lrsearch.trial import Objective

TITLE = "what training longer brings: the best of each budget"

MOST = 12
"""The most budgets that are shown: of more, as a range has, those with the best value so far."""


def describe_lengths(answer: Answer, objective: Objective, width: int) -> tuple[str, list[str]]:
    """The title, and the lines, of a table of the budgets and of what it says."""
    assert answer.lengths is not None
    table = lay_out(list_lengths(answer, objective), width)
    return TITLE, [*table, *tell_lengths(answer)]


def list_lengths(answer: Answer, objective: Objective) -> list[tuple[str, ...]]:
    """The rows of the table, the first its head."""
    assert answer.lengths is not None
    decimals = decimals_for(answer.highest.objective or 0.0)
    rated = any(row.lr is not None for row in answer.lengths.rows)
    head = ("budget", one_line(objective.metric), "95 %", "", "lr", "best rate, 95 %", "point")
    rows = [head]
    for row in _shown(answer.lengths, objective):
        stand = "tied" if row.tied else ""
        if row.point is not None and row.point.point == answer.recommended.point:
            stand = "recommended"
        span = row.interval and " to ".join(format_fixed(end, decimals) for end in row.interval)
        rates = row.best_lr and " to ".join(map(format_value, row.best_lr))
        rows.append(
            (
                one_line(row.budget),
                "none" if row.value is None else format_fixed(row.value, decimals),
                span or "",
                stand,
                "" if row.lr is None else format_value(row.lr),
                rates or "",
                "" if row.point is None else str(row.point.point),
            )
        )
    filled = [any(row[place] for row in rows[1:]) for place in range(len(head))]
    filled[4] = rated
    return [tuple(cell for cell, shown in zip(row, filled, strict=True) if shown) for row in rows]


def _shown(lengths: Lengths, objective: Objective) -> Iterator[Any]:
    """All budgets, or of too many those that are better than all shorter ones."""
    best: float | None = None
    for row in lengths.rows:
        rises = row.value is not None and (best is None or objective.better(row.value, best))
        if rises or len(lengths.rows) <= MOST:
            yield row
        best = row.value if rises else best


def tell_lengths(answer: Answer) -> list[str]:
    """Sentences on whether to train longer."""
    lengths = answer.lengths
    assert lengths is not None
    longest, enough = lengths.rows[-1], lengths.enough
    seeds = len(answer.highest.scores)
    told = []
    if lengths.longer:
        listed = [*(row.budget for row in lengths.rows), lengths.longer]
        if len(listed) > MOST:
            listed = listed[-2:]
        line = f"{NAME}: [{', '.join(map(one_line, listed))}]"
        setting = command_line(["--set", f"search.{NAME}=[{','.join(map(one_line, listed))}]"])
        told.append(
            f"the longest, {one_line(longest.budget)}, has the best value: a longer one may be "
            f"better still. Search {line} ({setting})"
        )
    elif enough is not longest:
        others = [row for row in lengths.rows if row.tied and row is not enough]
        ties = "no longer one has a better value"
        if others:
            ties = "longer ones cannot be told from it"
        told.append(f"{one_line(enough.budget)} is enough: {ties}")
    if seeds < 2 and not answer.steady:
        told.append("of one seed each nobody knows what of this is noise: seeds: 3 tells")
    return told


def plain_lengths(lengths: Lengths) -> dict[str, Any]:
    """The budgets as JSON has them."""
    return {
        "rows": [
            {
                "budget": row.budget,
                "epochs": row.epochs,
                "points": row.points,
                "point": None if row.point is None else row.point.point,
                "value": row.value,
                "interval": row.interval,
                "lr": row.lr,
                "best_lr": row.best_lr,
                "tied": row.tied,
            }
            for row in lengths.rows
        ],
        "enough": lengths.enough.budget,
        "longer": lengths.longer or None,
    }
