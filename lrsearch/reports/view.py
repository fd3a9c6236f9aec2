"""A run as every rendering sees it: plain values, ranked and commented."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from lrsearch.analysis.answer import Answer, find_answer
from lrsearch.analysis.edges import Edge, Range, find_edges
from lrsearch.analysis.points import PointSummary, best, rank, summarize
from lrsearch.analysis.repeatability import Repeatability
from lrsearch.analysis.tied import ties
from lrsearch.reports.text import enumerate_numbers, format_value, one_line
from lrsearch.trial import Objective, Plan, Record

ROWS = 25
"""Points a table shows where it does not show all."""


@dataclass(frozen=True)
class RunView:
    """The content of a report.

    `points` are ranked best first, `params` are the names of their values in the order of columns.
    `hidden` counts stored trials that do not belong to the spec, `running` those in training.
    `cost` has `trials` (with a result), `trial_epochs`, `seconds` (sum over trials) and
    `wall_seconds` (None where not known). `plans` are those of the records' structures, by
    structure key and device; `data` says how the data were understood, "" where that is not known.
    `saved` are the trials under way that are saved, and the bytes of their states.
    `retry_command` trains failed trials again, "" where none failed. `repeatability` is what a
    repeated training came to, None where none was repeated. `edges` are the ranges at whose ends
    the best lies.
    """

    name: str
    folder: str
    objective: Objective
    records: tuple[Record, ...]
    points: tuple[PointSummary, ...]
    best: PointSummary | None
    params: tuple[str, ...]
    hidden: int
    running: int
    warnings: tuple[str, ...]
    cost: Mapping[str, float | None]
    next_command: str
    plans: Mapping[tuple[str, str], Plan] = field(default_factory=dict)
    data: str = ""
    retry_command: str = ""
    saved: tuple[int, int] = (0, 0)
    repeatability: Repeatability | None = None
    edges: tuple[Edge, ...] = ()

    @cached_property
    def answer(self) -> Answer | None:
        """What the run says to do, worked out when it is asked for."""
        return find_answer(self.points, self.objective, self.edges)


@dataclass(frozen=True)
class TrialView:
    """A trial as it is shown. `record.point` counts where `belongs` says that the trial is one of
    the spec as it is now. `running` says that it trains. `curve` has a list per metric, as long as
    its `step`. `plans` are those of the trial's structure, by device. `again` is the trial that was
    trained in its place, after a failure, `repeats` the trial that it is a repetition of. `saved`
    is the step that one under way is saved at, and how many it has."""

    run: str
    objective: Objective
    record: Record
    belongs: bool
    running: bool
    curve: Mapping[str, Sequence[float]]
    plans: Mapping[str, Plan]
    again: int | None = None
    repeats: int | None = None
    saved: tuple[int, int] | None = None


@dataclass(frozen=True)
class Context:
    """The facts of a run besides its records, as `RunView` has it. `ranges` are the searched
    ones; `warnings` are shown before those that follow from the records."""

    ranges: Sequence[Range] = ()
    hidden: int = 0
    running: int = 0
    wall_seconds: float | None = None
    warnings: Sequence[str] = ()
    next_command: str = ""
    plans: Mapping[tuple[str, str], Plan] = field(default_factory=dict)
    data: str = ""


def build_view(
    name: str,
    folder: str,
    objective: Objective,
    records: Iterable[Record],
    context: Context = Context(),
) -> RunView:
    """Summarize, rank and comment the records of a run."""
    kept = tuple(sorted(records, key=lambda record: record.trial.number))
    points = tuple(rank(summarize(kept, objective), objective))
    results = [record.result for record in kept if record.result is not None]
    return RunView(
        name=name,
        folder=folder,
        objective=objective,
        records=kept,
        points=points,
        best=best(points[:1], objective),  # They are ranked already.
        params=_columns(kept),
        hidden=context.hidden,
        running=context.running,
        warnings=(*context.warnings, *_comments(points, objective)),
        cost={
            "trials": len(results),
            "trial_epochs": math.fsum(result.epochs for result in results),
            "seconds": math.fsum(result.seconds for result in results),
            "wall_seconds": context.wall_seconds,
        },
        next_command=context.next_command,
        plans=context.plans,
        data=context.data,
        edges=_edges(points, context.ranges),
    )


COARSE = 3
"""Decimals of a value that has no more of them by rounding alone."""


def describe_repeatability(found: Repeatability, metric: str) -> str:
    """In a sentence whether the training repeats itself."""
    metric = one_line(metric)
    if found.difference is None:
        reason = f": {one_line(found.reason)}" if found.reason else ""
        ended = found.outcome.replace("_", " ")
        return f"trial {found.trial} completed, and {ended} when it was trained again{reason}"
    if found.exact:
        # Of noise in the fifth digit a metric of three says nothing.
        coarse = round(found.objective, COARSE) == found.objective
        digits = ", to the digits that it reports" if coarse else ""
        return f"the training repeats itself exactly{digits} ({metric} of trial {found.trial})"
    if not found.difference:
        same = f"trial {found.trial}, trained again, came to the same {metric}"
        if found.exact is None:
            return same
        return f"{same} by another course: the training does not repeat itself exactly"
    return (
        f"the training differs by {format_value(found.difference)} from run to run: smaller "
        f"differences mean nothing ({metric} of trial {found.trial}: "
        f"{format_value(found.objective, 6)}, again {format_value(found.again, 6)})"
    )


def _columns(records: Iterable[Record]) -> tuple[str, ...]:
    """Names in the order they first appear, those of a choice (`schedule.pct_start`) behind it."""
    names = list(dict.fromkeys(name for record in records for name in record.params))
    order = {name: index for index, name in enumerate(names)}

    def place(name: str) -> list[int]:
        parts = name.split(".")
        prefixes = (".".join(parts[:end]) for end in range(1, len(parts) + 1))
        return [order[prefix] for prefix in prefixes if prefix in order]

    return tuple(sorted(names, key=place))


def _matters(name: str, winner: PointSummary, points: Sequence[PointSummary]) -> bool:
    """Whether another value of a parameter was measured, and came to something else: of one that
    makes no difference, or was not varied yet, an end says nothing."""
    others = (
        point.objective
        for point in points
        if point.params.get(name) not in (None, winner.params.get(name))
    )
    return any(value != winner.objective for value in others)


def _edges(points: Sequence[PointSummary], ranges: Sequence[Range]) -> tuple[Edge, ...]:
    """The ranges at whose ends the best of ranked points lies."""
    if not points or points[0].objective is None:
        return ()
    searched = [part for part in ranges if _matters(part.name, points[0], points)]
    return tuple(find_edges(points[0].params, searched))


def _comments(points: Sequence[PointSummary], objective: Objective) -> list[str]:
    """Sentences on ranked points."""
    winner = best(points[:1], objective)
    if winner is None:
        return []
    comments = []
    tied = ties(points, objective)
    if tied:
        numbers = enumerate_numbers([point.point for point in tied])
        subject = f"point {numbers}" if len(tied) == 1 else f"points {numbers}"
        if max(len(point.trials) for point in (winner, *tied)) > 1:
            comments.append(f"{subject} cannot be told from the best (Student t, 95 %)")
        else:
            verb = "has" if len(tied) == 1 else "have"
            comments.append(f"{subject} {verb} the best's value exactly")
    measured = sum(point.objective is not None for point in points)
    if measured > 1 and len(winner.trials) == 1:
        comments.append("the best has one seed: a small lead over the next may be luck")
    return comments
