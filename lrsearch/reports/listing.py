"""The runs of a folder, a line each."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from lrsearch.reports.cells import plain
from lrsearch.reports.text import format_value, one_line
from lrsearch.trial import Objective, Outcome

UNREADABLE = ("damaged", "foreign", "unreadable")
"""States of folders of which only the name is known."""


@dataclass(frozen=True)
class RunLine:
    """A run's row in a list. `state` is running, done, interrupted, stopped (by its time, or an
    error) or empty (never searched); or one of `UNREADABLE`, for the `reason`. `outcomes` counts
    the ended trials of the spec as it is now, `unfinished` the others; `best` is the objective of
    the best point in the search, `confirmed` that of the recommended one over fresh seeds, None
    where it was not measured again; `epochs` and `seconds` were trained in all, for range tests
    and fresh seeds, too. `written` is in seconds since 1970."""

    name: str
    folder: str
    written: float
    state: str = ""
    strategy: str = ""
    outcomes: Mapping[Outcome, int] = field(default_factory=dict)
    unfinished: int = 0
    objective: Objective | None = None
    best: float | None = None
    confirmed: float | None = None
    epochs: float = 0.0
    seconds: float = 0.0
    reason: str = ""


def listing_json(lines: Sequence[RunLine]) -> str:
    """The runs as JSON, format 1; `written` is the time in UTC."""
    from lrsearch.reports.machine import FORMAT

    runs = [
        {
            "name": line.name,
            "folder": line.folder,
            "state": line.state,
            "strategy": line.strategy or None,
            "trials": {str(outcome): number for outcome, number in line.outcomes.items()},
            "unfinished": line.unfinished,
            "objective": line.objective and vars(line.objective),
            "best": line.best,
            "confirmed": line.confirmed,
            "epochs": line.epochs,
            "seconds": line.seconds,
            "written": datetime.fromtimestamp(line.written, UTC).isoformat(timespec="seconds"),
            "reason": line.reason,
        }
        for line in lines
    ]
    return json.dumps(plain({"format": FORMAT, "runs": runs}), indent=2, allow_nan=False)


def listing(lines: Sequence[RunLine]) -> object:
    """The runs as a table for a terminal, and below it the folders that cannot be read."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    for head in ("run", "strategy", "state", "trials", "best", "written"):
        table.add_column(head, overflow="fold")
    parts: list[object] = []
    for line in lines:
        if line.state in UNREADABLE:
            reason = one_line(line.reason.removeprefix(f"{line.folder}/"))
            text = f"{line.state}  {one_line(line.folder)}: {reason}"
            parts.append(Text(text, style="dim" if line.state == "foreign" else "red"))
            continue
        written = time.strftime("%Y-%m-%d %H:%M", time.localtime(line.written))
        cells = (line.name, line.strategy, line.state, tell_trials(line), tell_best(line), written)
        style = {"running": "green", "done": ""}.get(line.state, "yellow")
        table.add_row(*(Text(one_line(cell)) for cell in cells), style=style)
    return Group(*([table] if table.row_count else []), *parts)  # type: ignore[arg-type]


def tell_best(line: RunLine) -> str:
    """The best value of a run in words, as its report begins; "" where there is none."""
    value = line.best if line.confirmed is None else line.confirmed
    if value is None or line.objective is None:
        return ""
    told = f"{one_line(line.objective.metric)} {format_value(float(value), 4)}"
    return told if line.confirmed is None else f"{told}, confirmed"


def tell_trials(line: RunLine) -> str:
    """The trials of a run by their outcomes, in words."""
    counts = [
        f"{line.outcomes[outcome]} {outcome.replace('_', ' ')}"
        for outcome in Outcome
        if line.outcomes.get(outcome)
    ]
    counts += [f"{line.unfinished} unfinished"] if line.unfinished else []
    return ", ".join(counts)
