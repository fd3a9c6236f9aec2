"""Tables in Parquet files, read with pyarrow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from lrsearch.data.tables import (
    MISSING,
    Array,
    Column,
    Gap,
    Table,
    Together,
    assemble,
    categorize,
    check_categories,
    check_gaps,
    check_numbers,
    check_rows,
    choose_columns,
    flow,
    needed,
    tell_gaps,
)
from lrsearch.errors import DataError
from lrsearch.spec.sources import tell_no_parquet


def read_names(source: str) -> list[str] | None:
    """The columns' names of a Parquet file, None where pyarrow is not installed or cannot read
    them."""
    try:
        import pyarrow.parquet
    except ImportError:
        return None
    try:
        return [str(name) for name in pyarrow.parquet.read_schema(source).names]
    except (pyarrow.ArrowException, OSError, ValueError):
        return None


def read_parquet(
    source: str,
    target: str,
    task: str | None,
    drop: Sequence[str],
    categorical: Sequence[str],
    missing: str | None = None,
) -> Table:
    """The table of a Parquet file: the columns' types say which are numbers and which, being text
    or booleans, are categories. Raises DataError as `read_csv` does, with rows counted from 1, for
    columns of any other type, and where pyarrow is not installed."""
    content = _read_file(source)
    names = [str(name) for name in content.column_names]
    used = choose_columns(names, target, drop, categorical, where=source)
    for index in used:
        if names[index].startswith("__index_level_"):
            raise DataError(
                f"column '{names[index]}' holds the row labels of a pandas table",
                where=source,
                hint=f"drop: [{names[index]}], or write the file with to_parquet(..., index=False)",
            )
    check_rows(content.num_rows, source, {})
    kinds = {index: _kind(names[index], content.column(index), source) for index in used}
    at = names.index(target)
    cells = {
        index: _texts(content.column(index))
        if kinds[index] == "text" or names[index] in categorical
        else _numbers(content.column(index))
        for index in used
    }
    absent = {index: _find_gaps(each) for index, each in cells.items()}
    whole = np.ones(content.num_rows, bool)
    for index in needed(used, at, missing):
        whole &= ~absent[index]
    kept = np.flatnonzero(whole)
    out = {names[index]: int(absent[index].sum()) for index in needed(used, at, missing)}
    out = {name: count for name, count in out.items() if count}
    check_rows(len(kept), source, out)

    def place(row: int) -> str:
        return f"{source}, row {kept[row] + 1}"

    found: dict[int, Column] = {}
    gaps = []
    for index in used:
        gone = absent[index][kept]
        found[index], gap = _read_column(names[index], cells[index][kept], gone)
        gaps += [gap] if gap is not None else []
    together = Together()
    with together.kept():
        check_gaps(gaps, target, place, len(kept), missing)
    for index, column in found.items():
        with together.kept():
            if column.numbers is not None:
                check_numbers(column.name, column.numbers, place)
            elif index != at:
                check_categories(column.name, len(column.categories), source)
    together.raise_all()
    if task == "regression" and found[at].numbers is None:
        raise DataError(
            f"the target '{target}' is {content.column(at).type}: regression needs numbers",
            where=source,
        )
    features = [column for index, column in found.items() if index != at]
    table = assemble(features, found[at], kinds[at] == "whole", task, place)
    told, notes = tell_gaps(out, content.num_rows - len(kept), gaps)
    return replace(table, notes=(*table.notes, *notes), gaps=told)


def _read_file(source: str) -> Any:
    """The table of pyarrow's that a file holds."""
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise DataError(
            "Parquet files are read by pyarrow, which is not installed",
            where=source,
            hint="pip install 'lrsearch[parquet]'",
        ) from error
    if not Path(source).exists():
        raise DataError("there is no such file", where=source)
    try:
        with pyarrow.parquet.ParquetFile(source) as file:
            return file.read()
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        told = tell_no_parquet(Path(source)) if Path(source).is_file() else ""
        told = told or " ".join(str(error).split())[:200]
        raise DataError("not a readable Parquet file", where=source, hint=told) from error


def _read_column(name: str, cells: Array, gone: Array) -> tuple[Column, Gap | None]:
    """A column of the rows that are kept, and its missing values, which `gone` says."""
    gap = None
    if gone.any():
        first = int(gone.argmax())
        gap = Gap(name, int(gone.sum()), first, cells[first] if cells.dtype == object else "")
    if cells.dtype != object:
        return Column(name, numbers=np.where(gone, np.nan, cells)), gap
    values: dict[str, int] = {}
    codes = [
        -1 if no else values.setdefault(text, len(values))
        for text, no in zip(cells, gone, strict=True)
    ]
    return categorize(name, np.array(codes, np.int32), list(values)), gap


def _kind(name: str, cells: Any, source: str) -> str:
    """The kind of a column: whole, number or text. Raises DataError for a column of any other
    type."""
    from pyarrow import types

    kind = cells.type
    if types.is_dictionary(kind):
        kind = kind.value_type
    if types.is_integer(kind):
        return "whole"
    if types.is_floating(kind) or types.is_decimal(kind):
        return "number"
    if (
        types.is_boolean(kind)
        or types.is_string(kind)
        or types.is_large_string(kind)
        or types.is_string_view(kind)
        or types.is_null(kind)
    ):
        return "text"
    way = "write it as one of these"
    if types.is_date(kind) or types.is_timestamp(kind):
        way = f"write days: (table[{name!r}] - table[{name!r}].min()).dt.days, in pandas"
    elif types.is_duration(kind):
        way = f"write seconds: table[{name!r}].dt.total_seconds(), in pandas"
    raise DataError(
        f"column '{name}' holds {kind}: numbers, text and booleans can be used",
        where=source,
        hint=f"drop it (drop: {flow([name])}), or {way}",
    )


def _numbers(cells: Any) -> Array:
    """float64 [rows], NaN where there is no value."""
    import pyarrow

    if pyarrow.types.is_dictionary(cells.type):
        cells = cells.cast(cells.type.value_type)
    return np.array(cells.cast(pyarrow.float64(), safe=False).to_numpy(), np.float64)


def _texts(cells: Any) -> Array:
    """The cells as text without the blanks around it, objects [rows], empty where there is no
    value."""
    texts = ["" if cell is None else str(cell).strip() for cell in cells.to_pylist()]
    return np.array(texts, object)


def _find_gaps(cells: Array) -> Array:
    """Find the rows in which a column has no value, bool [rows]."""
    if cells.dtype != object:
        return np.isnan(cells)
    return np.array([text.lower() in MISSING for text in cells], bool)
