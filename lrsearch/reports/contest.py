"""Runs side by side: for a terminal, as JSON and as Markdown."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lrsearch.analysis.contest import APART, NOISE, Difference
from lrsearch.analysis.points import PointSummary
from lrsearch.reports.answer import describe_cost, tell_trainings
from lrsearch.reports.cells import pick, write_json
from lrsearch.reports.machine import FORMAT, markdown_list, markdown_table
from lrsearch.reports.rates import spell_close, spell_failing, spell_safe, spell_span
from lrsearch.reports.text import (
    format_fixed,
    format_params,
    format_value,
    one_line,
    tell_interval,
    tell_outcomes,
)
from lrsearch.reports.view import RunView

FINALISTS = 3
"""Points of each run that are shown, the best first."""

COLUMN, HEADS = 26, 12
"""Characters that a run's column needs, and that the names of the lines take."""


@dataclass(frozen=True)
class Contest:
    """Runs by the names that tell them apart, and what is said on each pair of them. `settings` has
    for each run what its spec sets and not all the others do, by the dotted path."""

    runs: Sequence[tuple[str, RunView]]
    differences: Sequence[Difference]
    settings: Sequence[Mapping[str, Any]] = ()


def contest_rows(contest: Contest) -> list[tuple[str, ...]]:
    """A row for each thing that is compared: its name, and a text a run."""
    confirmed = any(view.confirmed for _, view in contest.runs)
    columns = [dict(_facts(view, confirmed)) for _, view in contest.runs]
    for place, settings in enumerate(contest.settings):
        objective = columns[place].pop("objective")
        # By their paths: a name alone would not say what it is the name of.
        whole = {name: one_line(name) for name in settings}
        spec = {"spec": format_params(settings, called=whole)} if settings else {}
        columns[place] = {"objective": objective, **spec, **columns[place]}
    heads: list[str] = []
    for column in columns:  # What one run alone has stands where it has it.
        place = 0
        for name in column:
            if name not in heads:
                heads.insert(place, name)
            place = heads.index(name) + 1
    return [(name, *(column.get(name, "") for column in columns)) for name in heads]


def _facts(view: RunView, confirmed: bool) -> Iterator[tuple[str, str]]:
    """Facts of a run, by name; where none of the runs is `confirmed`, a recommended point
    stands once."""
    answer, objective = view.answer, view.objective
    yield "objective", f"{one_line(objective.metric)}, {objective.goal}, at {objective.at}"
    if answer is None:
        yield "value", "no point completed"
    else:
        decimals = answer.decimals
        value = f"{format_fixed(answer.value, decimals)} ({tell_trainings(answer)})"
        if answer.interval is not None:
            value += f", likely {tell_interval(answer.interval, decimals)}"
        yield "value", value
        yield "with", format_params(answer.recommended.params, called=view.called)
        basin = answer.basin or (answer.basins[0] if answer.basins else None)
        if basin is not None:
            yield "best rate", f"{format_value(basin.best)} ({spell_span(basin.best_lr)})"
            rates = f"{'perhaps ' * basin.plain}{spell_safe(answer, basin)}"
            yield "do as well", rates + spell_close(answer, basin)
            if failing := spell_failing(basin):
                yield "fails", failing
        for place, point in enumerate(_finalists(view), start=1):
            if point is answer.recommended and not confirmed:
                continue  # It is what stands above.
            spread = (
                ""
                if point.spread is None
                else f" (deviation {format_fixed(point.spread, decimals)})"
            )
            assert point.objective is not None
            text = f"{format_fixed(point.objective, decimals)}{spread}"
            params = format_params(point.params, called=view.called)
            yield f"best {place} of the search", f"{text} {params}"
    yield "trials", tell_outcomes(view.ended) or "none"
    yield "cost", describe_cost(view)


def _finalists(view: RunView) -> list[PointSummary]:
    return [point for point in view.points if point.objective is not None][:FINALISTS]


def describe_difference(found: Difference) -> str:
    """Say which of two runs is better, or why nobody knows, and whether they may have measured
    different things."""
    told = _describe_gap(found)
    if found.doubts and found.gap is not None:
        told += f"; that is so if both measure the same: {one_line('; '.join(found.doubts))}"
    return told


def _describe_gap(found: Difference) -> str:
    first, second = one_line(found.first), one_line(found.second)
    if found.verdict == APART:
        return f"{first} and {second} are not comparable: {'; '.join(found.reasons)}"
    if found.gap is None:
        return f"{second} and {first}: one of them has no completed point"
    gap = format_value(abs(found.gap), 3)
    by = f"by {gap}" if found.gap else "by nothing"
    if found.interval is None:
        why = found.reasons[0] if found.reasons else "one seed each"
        if not found.gap:
            return f"{second} and {first} are equal: {why}, so nobody knows what is noise"
        side = "above" if found.gap > 0 else "below"
        return f"{second} is {by} {side} {first}: {why}, so nobody knows what is noise"
    how = f"{found.pairs} pairs of equal seeds" if found.pairs else "seeds that are not paired"
    if found.verdict == NOISE:
        span = f"difference {format_value(found.gap, 3)}, 95 %: {tell_interval(found.interval, -3)}"
        return f"{second} and {first} differ by no more than noise ({span}, {how})"
    low, high = sorted(map(abs, found.interval))  # Its ends are on one side of 0.
    span = f"95 %: {tell_interval((low, high), -3)}"
    return f"{second} is {found.verdict} than {first} {by} ({span}, {how})"


def contest_notes(contest: Contest) -> list[str]:
    """A sentence on each pair of runs, and one on what they are worth."""
    notes = [describe_difference(each) for each in contest.differences]
    answers = [view.answer for _, view in contest.runs]
    chosen = any(each is not None and not each.confirmed for each in answers)
    if chosen and any(each.interval is not None for each in contest.differences):
        notes.append(
            "values that no fresh seeds have confirmed are those that the points were chosen by: "
            "the more points a run has tried, the luckier its best"
        )
    return notes


def contest_table(contest: Contest, width: int) -> object:
    """The runs in columns for a terminal of this width, as many beside each other as it has room
    for, and the sentences on them below."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    rows = contest_rows(contest)
    room = max(1, (width - HEADS) // (COLUMN + 2))
    parts: list[Any] = []
    for begin in range(0, len(contest.runs), room):
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
        table.add_column("", overflow="fold", no_wrap=True)
        chosen = contest.runs[begin : begin + room]
        for name, _ in chosen:
            table.add_column(Text(one_line(name)), overflow="fold", ratio=1)
        for head, *cells in rows:
            shown = cells[begin : begin + len(chosen)]
            if any(shown):
                table.add_row(Text(head), *map(Text, shown))
        parts += [table, Text("")]
    parts += [Text(note) for note in contest_notes(contest)]
    return Group(*parts)


def contest_json(contest: Contest) -> str:
    """The runs as JSON, format 1. What is not finite is null."""
    runs = [
        {
            "name": name,
            "run": view.name,
            "folder": view.folder,
            "objective": vars(view.objective),
            "value": view.answer and view.answer.value,
            "interval": view.answer and view.answer.interval,
            "params": view.answer and view.answer.recommended.params,
            "finalists": [
                pick(point, "point params objective spread seeds") for point in _finalists(view)
            ],
            "settings": settings,
            "cost": view.cost,
        }
        for (name, view), settings in itertools.zip_longest(contest.runs, contest.settings)
    ]
    differences = [
        {**vars(each), "text": describe_difference(each)} for each in contest.differences
    ]
    document = {"format": FORMAT, "runs": runs, "differences": differences}
    return write_json(document)


def contest_markdown(contest: Contest) -> str:
    """A GitHub table with a column a run, and the sentences as a list."""
    rows = [("", *(name for name, _ in contest.runs)), *contest_rows(contest)]
    return f"{markdown_table(rows)}\n\n{markdown_list(contest_notes(contest))}\n"
