"""A run as the writers of other tools' formats take it."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lrsearch.reports.cells import plain
from lrsearch.reports.view import RunView
from lrsearch.space import Space
from lrsearch.trial import Outcome, Record, Result

ENDED = {Outcome.COMPLETED, Outcome.DIVERGED, Outcome.PRUNED}
"""Outcomes of trainings that went as they should; other tools call all of them finished."""


@dataclass(frozen=True)
class ExportedRun:
    """A run to export.

    `curve` reads the curve of a trial by its number: a list per metric, all as long as `step`.
    `space` is what the spec searches, `numbers` has the raw numbers of each point in it, by the
    point's number and the parameter's id; None of a point that lies outside. `name` is what the
    run is called there, `document` the plain YAML of its spec, `table` which of its tables is asked
    for.
    """

    view: RunView
    space: Space
    curve: Callable[[int], Mapping[str, Sequence[float]]]
    numbers: Mapping[int, Mapping[str, float] | None]
    name: str
    document: Mapping[str, Any] = field(default_factory=dict)
    table: str = "trials"
    began: float = field(default_factory=time.time)
    """The moment, in seconds since 1970, that what has no moment of its own is dated by."""

    def ended(self) -> Iterator[tuple[Record, Result]]:
        """The trials with a result, by number."""
        for record in self.view.records:
            if record.result is not None:
                yield record, record.result

    def settings(self, record: Record) -> dict[str, Any]:
        """The searched values of a trial by name, its seed and its fold."""
        found = {name: scalar(value) for name, value in record.params.items()}
        own: dict[str, Any] = {"seed": record.trial.seed}
        if record.trial.fold is not None:
            own["fold"] = record.trial.fold
        # A loop may have a parameter of the name seed: then it is that parameter's.
        return {**own, **found}

    def values(self, result: Result) -> dict[str, float]:
        """The numbers of a trial: its objective, where it has one, and its cost."""
        value = result.value(self.view.objective)
        found = {} if value is None else {"objective": value}
        first = next(iter(self.view.records), None)  # All are of one spec.
        if first is None or not first.is_outside:
            found["epochs"] = result.epochs
        return {**found, "seconds": result.seconds}


@dataclass(frozen=True)
class Format:
    """A format that a run is exported to, by `write` into a file or a folder, or as `text`.

    `needs` are the modules that it is written with, `install` the packages that bring them.
    `named` says that the run has a name there, `tables` that it has several tables. `suffix` is
    that of a usual file; `opened` makes, of the path, the command line that shows what was
    written.
    """

    doc: str
    write: Callable[[ExportedRun, Path], None] | None = None
    text: Callable[[ExportedRun], str] | None = None
    folder: bool = False
    needs: Sequence[str] = ()
    install: str = ""
    named: bool = False
    tables: bool = False
    suffix: str = ""
    opened: Callable[[str], str] | None = None


def scalar(value: Any) -> Any:
    """A value as a number, truth or text: lists, mappings and null are written as JSON."""
    if isinstance(value, str):
        return text_of(value)
    return value if isinstance(value, int | float) else json.dumps(plain(value))


def text_of(text: str) -> str:
    r"""The text as every library takes it: a byte that is no UTF-8 as its escape, `\udcff`."""
    return str(text).encode("utf-8", "backslashreplace").decode()


def measurements(
    curve: Mapping[str, Sequence[float]],
) -> Iterator[tuple[int, dict[str, float]]]:
    """The steps of a curve and the metrics measured there; those that were not are left out."""
    names = [name for name in curve if name != "step"]
    for place, step in enumerate(curve.get("step", ())):
        found = {name: curve[name][place] for name in names}
        yield int(step), {name: value for name, value in found.items() if value is not None}


def average(curves: Sequence[Mapping[str, Sequence[float]]], metric: str) -> dict[int, float]:
    """The mean of a metric over several curves, at the steps that all of them have."""
    each = [
        {step: found[metric] for step, found in measurements(curve) if metric in found}
        for curve in curves
    ]
    shared = [step for step in each[0] if all(step in other for other in each)] if each else []
    return {step: math.fsum(one[step] for one in each) / len(each) for step in shared}
