"""Tables in Parquet files, read with pyarrow."""

from __future__ import annotations

from collections.abc import Sequence
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
    source: str, target: str, task: str | None, drop: Sequence[str], categorical: Sequence[str]
) -> Table:
    """The table of a Parquet file: the columns' types say which are numbers and which, being text
    or booleans, are categories. Raises DataError as `read_csv` does, with rows counted from 1, for
    columns of any other type, and where pyarrow is not installed."""
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
            content = file.read()
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        told = tell_no_parquet(Path(source)) if Path(source).is_file() else ""
        told = told or " ".join(str(error).split())[:200]
        raise DataError("not a readable Parquet file", where=source, hint=told) from error
    names = [str(name) for name in content.column_names]
    used = choose_columns(names, target, drop, categorical, where=source)
    for index in used:
        if names[index].startswith("__index_level_"):
            raise DataError(
                f"column '{names[index]}' holds the row labels of a pandas table",
                where=source,
                hint=f"drop: [{names[index]}], or write the file with to_parquet(..., index=False)",
            )
    check_rows(content.num_rows, source)

    def place(row: int) -> str:
        return f"{source}, row {row + 1}"

    kinds = {index: _kind(names[index], content.column(index), source) for index in used}
    found = {}
    gaps = []
    for index in used:
        name, cells = names[index], content.column(index)
        if kinds[index] == "text" or name in categorical:
            texts = _texts(cells)
            missing = [row for row, text in enumerate(texts) if text.lower() in MISSING]
            if missing:
                gaps.append(Gap(name, len(missing), missing[0], texts[missing[0]]))
            values: dict[str, int] = {}
            codes = np.array([values.setdefault(text, len(values)) for text in texts], np.int32)
            found[index] = categorize(name, codes, list(values))
        else:
            numbers = _numbers(cells)
            missing_rows = np.isnan(numbers)
            if missing_rows.any():
                gaps.append(Gap(name, int(missing_rows.sum()), int(missing_rows.argmax()), ""))
            found[index] = Column(name, numbers=numbers)
    together = Together()
    with together.kept():
        check_gaps(gaps, target, place, content.num_rows)
    at = names.index(target)
    for index, column in found.items():
        with together.kept():
            if column.numbers is not None:
                known = np.where(np.isnan(column.numbers), 0.0, column.numbers)
                check_numbers(column.name, known, place)
            elif index != at:
                check_categories(column.name, len(column.categories), source)
    together.raise_all()
    if task == "regression" and found[at].numbers is None:
        raise DataError(
            f"the target '{target}' is {content.column(at).type}: regression needs numbers",
            where=source,
        )
    features = [column for index, column in found.items() if index != at]
    return assemble(features, found[at], kinds[at] == "whole", task, place)


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


def _texts(cells: Any) -> list[str]:
    """The cells as text without the blanks around it, empty where there is no value."""
    return ["" if cell is None else str(cell).strip() for cell in cells.to_pylist()]
