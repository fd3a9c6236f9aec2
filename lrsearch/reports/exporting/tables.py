"""A run as tables: a row a trial, or a row an evaluation."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from lrsearch.reports.cells import cell, write_csv
from lrsearch.reports.exporting.values import ExportedRun, measurements, text_of
from lrsearch.trial import Result

TABLES = ("trials", "evaluations")
"""The tables of a run; the first is the one that is written where none is named."""

_BEFORE = ("trial", "point", "strategy", "seed", "fold")
_AFTER = ("outcome", "objective", "steps", "epochs", "seconds", "engine", "verdict", "reason")


def to_csv(run: ExportedRun) -> str:
    """A table of the run as CSV. Texts that a spreadsheet would run are made harmless."""
    head, *rows = _rows(run)
    return write_csv([head, *(tuple(None if v is None else _cell(v) for v in row) for row in rows)])


def _cell(value: Any) -> object:
    # A loss that is no number is one of the measurements, and says so in every reader of numbers.
    return value if isinstance(value, float) else cell(value)


def write_parquet(run: ExportedRun, path: Path) -> None:
    """Write a table of the run as Parquet. A column of numbers or of truths is one; any other holds
    text, lists and mappings as JSON."""
    import pyarrow
    import pyarrow.parquet

    head, *rows = _rows(run)
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(head)
    made = [_column(column, name) for column, name in zip(columns, head, strict=True)]
    types = {
        "text": pyarrow.string(),
        "truth": pyarrow.bool_(),
        "whole": pyarrow.int64(),
        "number": pyarrow.float64(),
    }
    arrays = [pyarrow.array(values, types[kind]) for kind, values in made]
    pyarrow.parquet.write_table(pyarrow.table(arrays, names=list(map(text_of, head))), path)


_WHOLE = ("trial", "point", "seed", "fold", "steps", "step")
_NUMBERS = ("objective", "epochs", "seconds")


def _column(values: Sequence[Any], name: str) -> tuple[str, list[Any]]:
    """The kind of a column, and its values in that kind. One of lrsearch's own has its kind also
    where it is empty, so that tables of several runs go together."""
    known = [value for value in values if value is not None]
    if not known and name in _WHOLE:
        return "whole", list(values)
    if not known and (name in _NUMBERS or name.startswith("metrics.")):
        return "number", list(values)
    if known and all(isinstance(value, bool) for value in known):
        return "truth", list(values)
    if known and all(type(value) is int and -(2**63) <= value < 2**63 for value in known):
        return "whole", list(values)
    if known and all(type(value) in (int, float) for value in known):
        return "number", [None if value is None else float(value) for value in values]
    return "text", [None if value is None else text_of(str(cell(value))) for value in values]


def _rows(run: ExportedRun) -> Iterator[tuple[Any, ...]]:
    """The head and the rows of a table. A value is None where there is none: a parameter of another
    choice, the outcome of an unfinished trial."""
    return _evaluations(run) if run.table == "evaluations" else _trials(run)


def _trials(run: ExportedRun) -> Iterator[tuple[Any, ...]]:
    view = run.view
    metrics = dict.fromkeys(name for _, result in run.ended() for name in result.last)
    yield (*_BEFORE, *_titles(run), *_AFTER, *_metrics(metrics))
    for record in view.records:
        result = record.result
        params = (record.params.get(name) for name in view.params)
        before = (record.trial.number, record.point, record.strategy)
        after: Sequence[Any] = [None] * (len(_AFTER) + len(metrics))
        if result is not None:
            value = result.value(view.objective)
            known = value is not None and math.isfinite(value)
            after = [
                *(str(result.outcome), value if known else None, result.steps, record.epochs),
                *(result.seconds, result.engine, _verdict(result), result.reason),
                *(result.last.get(name) for name in metrics),
            ]
        yield (*before, record.trial.seed, record.trial.fold, *params, *after)


def _evaluations(run: ExportedRun) -> Iterator[tuple[Any, ...]]:
    found = [
        (record, step, values)
        for record, _ in run.ended()
        for step, values in measurements(run.curve(record.trial.number))
    ]
    metrics = dict.fromkeys(name for _, _, values in found for name in values)
    yield (*_BEFORE, *_titles(run), "step", *_metrics(metrics))
    for record, step, values in found:
        params = (record.params.get(name) for name in run.view.params)
        before = (record.trial.number, record.point, record.strategy)
        after = (step, *(values.get(name) for name in metrics))
        yield (*before, record.trial.seed, record.trial.fold, *params, *after)


def _titles(run: ExportedRun) -> tuple[str, ...]:
    """The columns of the parameters, apart from ours: a script may have a parameter called seed."""
    return tuple(f"params.{name}" for name in run.view.params)


def _metrics(names: Iterable[str]) -> tuple[str, ...]:
    """The columns of metrics: one called lr stands beside the rate that was searched."""
    return tuple(f"metrics.{name}" for name in names)


def _verdict(result: Result) -> str:
    """The first verdict by its name in the records, "" of none."""
    return result.verdicts[0].verdict if result.verdicts else ""
