"""The runs of a folder, a line each."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from lrsearch.reports.cells import pick, write_json
from lrsearch.reports.text import format_fixed, one_line, tell_outcomes
from lrsearch.trial import Objective, Outcome

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult
    from rich.table import Table

FEW = 8
"""Folders that are no runs of which each has a line; of more a few are named in one."""

BROKEN = 4
"""The share of a terminal that a broken name takes is one of so many."""

UNREADABLE = ("damaged", "foreign", "unreadable")
"""States of folders of which only the name is known."""


@dataclass(frozen=True)
class RunLine:
    """A run's row in a list. `state` is running, done, interrupted, stopped (by its time, or an
    error) or empty (never searched, and without a range test); or one of `UNREADABLE`, for the
    `reason`. `strategy` is range of range tests alone. `outcomes` counts the ended trials of the
    spec as it is now, `unfinished` the others; `best` is the objective of the best point in the
    search, `recommended` that of the recommended one, as the headline of a report has it,
    `confirmed` the same, None where no fresh seeds confirm it, with `decimals` as there; `epochs`
    and `seconds` were trained in all, for range tests and fresh seeds, too. `written` is in seconds
    since 1970."""

    name: str
    folder: str
    written: float
    state: str = ""
    strategy: str = ""
    outcomes: Mapping[Outcome, int] = field(default_factory=dict)
    unfinished: int = 0
    objective: Objective | None = None
    best: float | None = None
    recommended: float | None = None
    confirmed: float | None = None
    decimals: int | None = None
    epochs: float = 0.0
    seconds: float = 0.0
    reason: str = ""


def listing_json(lines: Sequence[RunLine]) -> str:
    """The runs as JSON, format 1; `written` is the time in UTC."""
    from lrsearch.reports.machine import FORMAT

    runs = [
        {
            **pick(line, "name folder state"),
            "strategy": line.strategy or None,
            "trials": {str(outcome): number for outcome, number in line.outcomes.items()},
            "unfinished": line.unfinished,
            "objective": line.objective and vars(line.objective),
            **pick(line, "best recommended confirmed epochs seconds"),
            "written": datetime.fromtimestamp(line.written, UTC).isoformat(timespec="seconds"),
            "reason": line.reason,
        }
        for line in lines
    ]
    return write_json({"format": FORMAT, "runs": runs})


def listing(lines: Sequence[RunLine]) -> object:
    """The runs as a table for a terminal, and below it the folders that cannot be read. Where the
    table is wider than the terminal, what matters least is told in fewer words; then long names are
    broken, and only then columns are left out."""
    from rich.console import Group
    from rich.text import Text

    runs = [line for line in lines if line.state not in UNREADABLE]
    parts: list[object] = [_Table(runs)] if runs else []
    foreign = [line for line in lines if line.state == "foreign"]
    if len(foreign) > FEW:
        names = ", ".join(one_line(line.name) for line in foreign[:FEW])
        more = f"{names} and {len(foreign) - FEW} more are no runs"
        parts.append(Text(f"foreign  {more}", style="dim"))
    for line in lines:
        if line.state in UNREADABLE and (line.state != "foreign" or len(foreign) <= FEW):
            reason = one_line(line.reason.removeprefix(f"{line.folder}/"))
            text = f"{line.state}  {one_line(line.folder)}: {reason}"
            parts.append(Text(text, style="dim" if line.state == "foreign" else "red"))
    return Group(*parts)  # type: ignore[arg-type]


_NARROWER: Sequence[Mapping[str, str]] = (
    {},
    {"written": "date"},
    {"written": "date", "trials": "count"},
    {"written": "date", "trials": "count", "strategy": ""},
    {"written": "", "trials": "count", "strategy": ""},
    {"written": "", "trials": "", "strategy": ""},
)
"""Forms of columns, "" of one that is left out, from the widest table to the narrowest."""


@dataclass(frozen=True)
class _Table:
    lines: Sequence[RunLine]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        from rich.measure import Measurement

        wide = options.update_width(10_000)
        broken = options.max_width // BROKEN
        tried = [(forms, most) for most in (None, broken) for forms in _NARROWER]
        # Whatever is broken, to leave a column out is worse.
        for forms, most in sorted(tried, key=lambda each: "" in each[0].values()):
            table = self._draw(forms, most)
            if Measurement.get(console, wide, table).maximum <= options.max_width:
                break
        yield table

    def _draw(self, forms: Mapping[str, str], most: int | None) -> Table:
        from rich.table import Table
        from rich.text import Text

        heads = ("run", "strategy", "state", "trials", "best", "written")
        table = Table(box=None, pad_edge=False)
        kept = [place for place, head in enumerate(heads) if forms.get(head, head)]
        for place in kept:
            table.add_column(heads[place], overflow="fold", max_width=most)
        for line in self.lines:
            format_ = "%Y-%m-%d" if "written" in forms else "%Y-%m-%d %H:%M"
            written = time.strftime(format_, time.localtime(line.written))
            trials = tell_trials(line)
            if "trials" in forms:
                trials = str(sum(line.outcomes.values()))
            cells = (line.name, line.strategy, line.state, trials, tell_best(line), written)
            style = {"running": "green", "done": ""}.get(line.state, "yellow")
            table.add_row(*(Text(one_line(cells[place])) for place in kept), style=style)
        return table


def tell_best(line: RunLine) -> str:
    """The value of a run's recommended point in words, with the decimals of its report; "" where
    there is none."""
    value = line.recommended
    if value is None or line.objective is None:
        return ""
    number = format_fixed(float(value), line.decimals)
    told = f"{one_line(line.objective.metric)} {number}"
    return told if line.confirmed is None else f"{told}, confirmed"


def tell_trials(line: RunLine) -> str:
    """The trials of a run by their outcomes, in words."""
    return tell_outcomes(line.outcomes, unfinished=line.unfinished)
