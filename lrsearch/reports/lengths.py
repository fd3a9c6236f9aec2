"""The best of each budget of a run, in words: what training longer brings."""

from __future__ import annotations

from typing import Any

from lrsearch.analysis.answer import Answer
from lrsearch.analysis.lengths import NAME, Length, Lengths
from lrsearch.reports.cells import pick
from lrsearch.reports.text import (
    format_fixed,
    format_value,
    lay_out,
    one_line,
    tell_interval,
)
from lrsearch.terminal import command_line
from lrsearch.trial import Objective

TITLE = "what training longer brings: the best of each budget"


def describe_lengths(answer: Answer, objective: Objective, width: int) -> tuple[str, list[str]]:
    """The title, and the lines, of a table of the budgets and of what it says."""
    assert answer.lengths is not None
    table = lay_out(list_lengths(answer, objective), width)
    return title_lengths(answer), [*table, *tell_lengths(answer)]


def title_lengths(answer: Answer) -> str:
    """The title of the table, which is of the search's values, whatever fresh seeds say."""
    return f"{TITLE} in the search" if answer.confirmed else TITLE


def list_lengths(answer: Answer, objective: Objective) -> list[tuple[str, ...]]:
    """The rows of the table, the first its head."""
    assert answer.lengths is not None
    decimals = answer.decimals
    head = ("budget", one_line(objective.metric), "95 %", "", "lr", "best rate, 95 %", "point")
    rows: list[tuple[str, ...]] = [head]
    for row in answer.lengths.rows:
        stand = "tied" if row.tied else ""
        if row.point is not None and row.point.point == answer.recommended.point:
            stand = "recommended"
        span = row.interval and tell_interval(row.interval, decimals)
        rates = row.best_lr and " to ".join(map(format_value, row.best_lr))
        rows.append(
            (
                _span(row),
                "none" if row.value is None else format_fixed(row.value, decimals),
                span or "",
                stand,
                "" if row.lr is None else format_value(row.lr),
                rates or "",
                "" if row.point is None else str(row.point.point),
            )
        )
    return rows


def _span(row: Length) -> str:
    """The budget of a row, or its doubling: `5ep`, `2ep to 4ep`."""
    return format_value(row.span)


def tell_lengths(answer: Answer) -> list[str]:
    """Sentences on whether to train longer."""
    lengths = answer.lengths
    assert lengths is not None
    longest, enough = lengths.rows[-1], lengths.enough
    seeds = len(answer.highest.scores)
    told = []
    own = answer.recommended.params.get(NAME)
    if lengths.longer and answer.confirmed and own != longest.budget:
        told.append(
            f"the longest, {_span(longest)}, has the best value of the search; on fresh seeds "
            f"{format_value(own)} does as well"
        )
    elif lengths.longer:
        parted = any(row.span != row.longest for row in lengths.rows)
        listed = [longest.longest] if parted else [row.budget for row in lengths.rows]
        words = [format_value(each) for each in (*listed, lengths.longer)]
        line = f"{NAME}: [{', '.join(words)}]"
        setting = command_line(["--set", f"search.{NAME}=[{','.join(words)}]"])
        have = "have" if parted else "has"
        told.append(
            f"the longest, {_span(longest)}, {have} the best value: a longer one may be better "
            f"still. Search {line} ({setting})"
        )
    elif enough is not longest:
        others = [row for row in lengths.rows if row.tied and row is not enough]
        ties = "no longer one has a better value"
        if others:
            ties = "longer ones cannot be told from it"
        told.append(f"{_span(enough)} is enough: {ties}")
    if seeds < 2 and not answer.steady:
        told.append(
            "of one seed each nobody knows what of this is noise: seeds: 3 in the spec would tell"
        )
    return told


def plain_lengths(lengths: Lengths) -> dict[str, Any]:
    """The budgets as JSON has them."""
    return {
        "rows": [
            {
                **pick(row, "budget span epochs points"),
                "point": None if row.point is None else row.point.point,
                **pick(row, "value interval lr best_lr tied"),
            }
            for row in lengths.rows
        ],
        "enough": lengths.enough.budget,
        "longer": lengths.longer or None,
    }
