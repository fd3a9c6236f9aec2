"""A table of named columns, the user's errors in one, and the kind of its target."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lrsearch.catalogue import CROSS_ENTROPY
from lrsearch.errors import DataError, DataErrors
from lrsearch.spec.document import plain_scalar
from lrsearch.spec.sources import OWN_NAME, suggest_column, twice

Array = NDArray[Any]

NUMBERS = (int, float, np.bool_, np.integer, np.floating)
"""Types of a number among objects."""
Place = Callable[[int], str]
"""A function that names a row's place from its index: `data.csv:7`, or `data.parquet, row 6`."""

MAX_CATEGORIES = 1000
MAX_NUMBER = float(np.finfo(np.float32).max)
MOST_EXACT = 2.0**53
"""The bound from which on not every whole number has a float64 of its own."""
MANY_CLASSES = 20
"""The number of classes above which whole numbers may well be a quantity."""
SHOWN_CLASSES = 8
"""Classes that are listed one by one."""
MISSING = frozenset(("", "na", "n/a", "nan", "null", "#n/a", "<na>", "+nan", "-nan"))
"""Cells that stand for a missing value, in lower case."""


@dataclass(frozen=True, eq=False)
class Column:
    """One column: either `numbers`, float64 [rows], or `codes`, int32 [rows], into `categories`. A
    gap is NaN, or -1."""

    name: str
    numbers: Array | None = None
    codes: Array | None = None
    categories: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Table:
    """A table's used columns.

    `numbers` is float64 [rows, columns], `codes` int32 [rows, columns] into the `categories` of
    each column; gaps are NaN, or -1, and `gaps` says how many there were and what became of them.
    `y` is int64 [rows] into `labels`; float64 [rows, 1] for regression, without labels; for the
    task `own` the target's numbers as they are, int64 or float32 [rows]. `names` are the names of
    the number columns, of the others, and of the target.
    """

    names: tuple[tuple[str, ...], tuple[str, ...], str]
    numbers: Array
    codes: Array
    categories: tuple[tuple[str, ...], ...]
    y: Array
    labels: tuple[str, ...]
    notes: tuple[str, ...]
    gaps: str = ""

    def fill(self, rows: Array) -> Array:
        """`numbers` with the mean of a column's values in these rows in the place of each gap; a
        column that has none there is zero everywhere."""
        gaps = np.isnan(self.numbers)
        if not gaps.any():
            return self.numbers
        counts = (~gaps[rows]).sum(axis=0)
        means = np.where(gaps, 0.0, self.numbers)[rows].sum(axis=0) / np.maximum(counts, 1)
        filled: Array = np.where(gaps, means, self.numbers)
        filled[:, counts == 0] = 0.0
        return filled

    def digest(self) -> str:
        """SHA-256 (hex) of the names and values: of the same content in another file the same."""
        head = json.dumps([self.names, self.categories, self.labels, self.y.shape])
        digest = hashlib.sha256(head.encode())
        for array, kind in ((self.numbers, "<f8"), (self.codes, "<i4"), (self.y, None)):
            digest.update(np.ascontiguousarray(array, dtype=kind).data)
        return digest.hexdigest()


def take_rows(table: Table, index: Array, where: str, rows: str) -> Table:
    """Some of a table's rows, its categories and classes kept. Raises DataError where these,
    called `rows`, have one target only."""
    y = table.y[index]
    hint = "shuffle: true under data has them drawn from all" if "first" in rows else ""
    _check_varied(table.names[2], y, table.labels, where, rows, hint)
    return replace(table, numbers=table.numbers[index], codes=table.codes[index], y=y)


def _check_varied(
    name: str, y: Array, labels: Sequence[str], where: str, rows: str = "", hint: str = ""
) -> None:
    """Raises DataError for a target that is the same in all of its rows."""
    if np.all(y == y[0]):
        value = y.reshape(-1)[0]
        what = f"one class only ('{labels[int(value)]}')" if labels else f"nothing but {value:g}"
        hint = hint or "there is nothing to learn: add rows of others, or name another target"
        raise DataError(f"the target '{name}' holds {what}{rows}", where=where, hint=hint)


def doubt_classes(what: str, values: Array) -> list[str]:
    """A sentence for whole numbers that became classes and may be a quantity: there are many, or
    they do not count on from each other. `values` are the targets, `what` is such as `y holds`."""
    numbers = np.unique(values)
    count = len(numbers)
    gaps = count > 2 and int(numbers[-1]) - int(numbers[0]) >= count
    if count <= MANY_CLASSES and not gaps:
        return []
    told = f"{what} whole numbers, taken as {count:,} classes"
    return [f"{told}: for a quantity write task: regression under data"]


BCE = "loss: {class_path: torch.nn.BCEWithLogitsLoss}"
LABELS_OF = "for labels that a sample has or not write "
ONE_HOT = "for classes give their numbers, y.argmax(1)"


def is_one_hot(y: Any) -> bool:
    """Whether each row of targets [samples, classes] is zeros and a one."""
    if not isinstance(y, np.ndarray) or y.ndim != 2 or y.shape[1] < 2 or y.dtype.kind not in "fiub":
        return False
    return bool(((y == 0) | (y == 1)).all() and (y.sum(1) == 1).all())


def hint_loss(y: Any) -> str:
    """A hint on the loss of targets of several numbers a sample that say of which kind something
    is; "" for others."""
    if is_one_hot(y):
        return f"each row is one-hot: {ONE_HOT}"
    if not isinstance(y, np.ndarray) or y.size == len(y) or y.dtype.kind not in "fiub":
        return ""
    places = ", ".join(map(str, y.shape[1:]))
    hints = []
    if y.dtype.kind in "iu":
        hints.append(
            f"of a class at each place write loss: {{class_path: {CROSS_ENTROPY}}}, for outputs "
            f"[samples, classes, {places}]"
        )
    if ((y == 0) | (y == 1)).all():
        hints.append(
            f"of labels that a sample has or not write {BCE}, for outputs [samples, {places}]"
        )
    return "; ".join(hints)


WIDE, DECADES = (0.05, 0.95), 1000
"""Shares of the targets below two of them, and the ratio of these from which they span decades."""


def doubt_numbers(what: str, y: Array) -> list[str]:
    """A sentence for floating-point numbers that may be classes and became a regression, or that
    leave nothing to learn."""
    if is_one_hot(y):
        told = f"each row of the targets is one-hot, taken as a regression of {y.shape[1]} targets"
        return [f"{told}: {ONE_HOT}"]
    if y.size == len(y) and (y == y.flat[0]).all():
        return [f"{what} nothing but {y.flat[0]:g}: there is nothing to learn"]
    if y.size != len(y):
        return []
    count = len(np.unique(y))
    if not (y == np.round(y)).all() or not 1 < count <= MANY_CLASSES:
        low, high = np.quantile(y, WIDE)
        if not 0 < low * DECADES <= high or y.min() <= 0:
            return []
        told = f"{what} numbers from {y.min():g} to {y.max():g}, and the loss is that of the large"
        return [f"{told}: np.log10 of them in the file weighs all alike"]
    told = f"{what} {count} whole numbers written as floating-point ones, taken as a regression"
    return [f"{told}: for classes write task: classification under data"]


def show_labels(labels: Sequence[str]) -> str:
    """Classes in few words: `cat, dog` or `0 ... 9`."""
    if len(labels) > SHOWN_CLASSES:
        labels = (labels[0], labels[-1])
        return " ... ".join(map(_show_label, labels))
    return ", ".join(map(_show_label, labels))


def _show_label(label: str) -> str:
    """A class in no more than a few words; quotes where it is empty."""
    return (label if len(label) <= 40 else f"{label[:40]}...") or "''"


# what is wrong with columns


def choose_columns(
    names: Sequence[str],
    target: str,
    drop: Sequence[str],
    categorical: Sequence[str],
    *,
    where: str,
    hint: str = "",
) -> list[int]:
    """The indices of the columns to read, the target among them. Raises DataError for a name that
    stands twice or nowhere, and where nothing is left to learn from. `hint` says what else may be
    wrong where the target is missing."""
    for told in twice(names):
        raise DataError(told, where=where, hint=OWN_NAME)
    for key, wanted in (("target", (target,)), ("drop", drop), ("categorical", categorical)):
        for name in wanted:
            if name not in names:
                raise DataError(
                    f"data.{key} names a column '{name}' that is not there",
                    where=where,
                    hint=(hint if key == "target" else "") or suggest_column(name, names),
                )
    used = [index for index, name in enumerate(names) if name not in drop]
    if len(used) < 2:
        raise DataError(f"no column is left to predict '{target}' from", where=where)
    return used


def check_rows(rows: int, where: str, out: Mapping[str, int]) -> None:
    """Raises DataError for a table that is too short to split. `out` has the columns by whose gaps
    rows were left out."""
    if rows < 2 and out:
        raise DataError(
            f"all rows but {rows} have gaps: {list_gaps(out)}",
            where=where,
            hint=f"drop: {flow([max(out, key=out.__getitem__)])} leaves out the column with most",
        )
    if rows == 0:
        hint = "write rows below the names of the columns, two at the least"
        raise DataError("the table has columns, but no rows", where=where, hint=hint)
    if rows == 1:
        hint = "training and validation need two at the least"
        raise DataError("the table has one row only", where=where, hint=hint)


class Together:
    """The faults of a table, told all at once: within `kept` an error is kept, and raised with the
    others by `raise_all`."""

    MOST = 10

    def __init__(self) -> None:
        self.found: list[DataError] = []
        self.more = 0

    def add(self, error: DataError) -> None:
        """Keep an error; of very many their number."""
        if len(self.found) < self.MOST:
            self.found.append(error)
        else:
            self.more += 1

    @contextlib.contextmanager
    def kept(self) -> Iterator[None]:
        """A part of the work after whose error the rest goes on."""
        try:
            yield
        except DataError as error:
            self.add(error)

    def raise_all(self) -> None:
        """Raises DataError where there was one, the first ten of several by their lines."""
        if len(self.found) == 1:
            raise self.found[0]
        if self.found:
            raise DataErrors(sorted(self.found, key=_line_of), self.more)


def _line_of(error: DataError) -> int:
    match = re.search(r"\d+$", error.where)
    return int(match[0]) if match else 0


@dataclass(frozen=True)
class Gap:
    """Missing values of a column: their number, and the row and text of the first."""

    name: str
    count: int
    row: int
    shown: str


def needed(used: Sequence[int], target: int, missing: str | None) -> Sequence[int]:
    """The columns a gap in which leaves its row out, as `missing` says: where gaps are filled, that
    is the target, of which nothing may be made up."""
    return {"drop": used, "mean": [target]}.get(missing or "", ())


def list_gaps(counts: Mapping[str, int]) -> str:
    """Columns with the numbers of their gaps, ten at most."""
    listed = ", ".join(f"'{name}' ({count:,})" for name, count in [*counts.items()][:10])
    return listed + (f" and {len(counts) - 10} more" if len(counts) > 10 else "")


def tell_gaps(out: Mapping[str, int], rows: int, gaps: Sequence[Gap]) -> tuple[str, list[str]]:
    """Say what became of gaps, in few words and as notes: `rows` were left out, for those of
    columns in `out`, and `gaps` are filled."""
    filled = sum(gap.count for gap in gaps)
    told = [f"{rows:,} row{'s' * (rows != 1)} with gaps left out"] * bool(rows)
    told += [f"{filled:,} gap{'s' * (filled != 1)} filled"] * bool(gaps)
    notes = [f"{told[0]}: {list_gaps(out)}"] if rows else []
    if gaps:
        counts = {gap.name: gap.count for gap in gaps}
        way = "with the training part's mean, categories with none"
        notes.append(f"{told[-1]} {way}: {list_gaps(counts)}")
    return ", ".join(told), notes


def check_gaps(
    gaps: Sequence[Gap], target: str, place: Place, rows: int, missing: str | None
) -> None:
    """Raises DataError where values are missing, for all such columns at once, or, where they are
    to be filled, for a column without any value; `rows` is how many there are in the table."""
    if missing is not None:
        empty = [gap.name for gap in gaps if gap.count == rows]
        if empty:
            many = f"column{'s' * (len(empty) > 1)} {', '.join(map(repr, empty[:10]))}"
            raise DataError(
                f"{many}: no value in any row", where=place(0), hint=f"write drop: {flow(empty)}"
            )
        return
    if not gaps:
        return
    first, *others = sorted(gaps, key=lambda gap: (gap.row, gap.name))
    shown = f"it reads '{first.shown}'" if first.shown else "it is empty"
    many = f"one of {first.count:,} such rows" if first.count > 1 else "the only such row"
    text = f"column '{first.name}' has no value here: {shown} ({many})"
    if others:
        listed = list_gaps({gap.name: gap.count for gap in others})
        text += f"; others with missing values: {listed}"
    droppable = [gap.name for gap in (first, *others) if gap.name != target]
    few = max(gap.count for gap in gaps) * 2 <= rows
    columns = len(droppable) == len(gaps) <= 10
    ways = ["missing: drop under data leaves such rows out"] * (few or not columns)
    ways += ["missing: mean fills gaps with the training part's mean"] * (few and bool(droppable))
    ways += [f"drop: {flow(droppable)} leaves out the column{'s' * (len(gaps) > 1)}"] * columns
    raise DataError(text, where=place(first.row), hint="; or ".join(ways))


def check_numbers(name: str, numbers: Array, place: Place) -> None:
    """Raises DataError for a number that is infinite or too large for float32."""
    wrong = np.abs(numbers) > MAX_NUMBER
    if wrong.any():
        row = int(wrong.argmax())
        number = float(numbers[row])
        what = "not finite" if not np.isfinite(number) else "too large for float32"
        raise DataError(
            f"column '{name}' holds {number:g}, which is {what}",
            where=place(row),
            hint=f"correct or remove the row, or drop the column (drop: {flow([name])})",
        )


def check_categories(name: str, count: int, where: str) -> None:
    """Raises DataError for more categories than make sense in one column."""
    if count > MAX_CATEGORIES:
        raise DataError(
            f"column '{name}' is text with more than {MAX_CATEGORIES:,} different values: "
            "too many for categories",
            where=where,
            hint=f"a name, an id or a date says little: drop it (drop: {flow([name])})",
        )


def flow(names: Sequence[str]) -> str:
    """Names as a YAML list; in quotes where they would be read as anything but this text."""
    return f"[{', '.join(map(_in_yaml, names))}]"


def _in_yaml(name: str) -> str:
    plain = name.replace("_", "").isalnum() and not name[0].isdigit()
    if plain and plain_scalar(name) == name:  # null and true are no text.
        return name
    return json.dumps(name, ensure_ascii=False)


# columns of both kinds, and the whole


def categorize(name: str, codes: Array, values: Sequence[str]) -> Column:
    """A column of categories, in the order of their text whatever the rows' order was."""
    order = sorted(range(len(values)), key=values.__getitem__)
    place = np.full(len(values) + 1, -1, np.int32)  # Its end is where a gap, -1, finds itself.
    place[order] = np.arange(len(values), dtype=np.int32)
    return Column(name, codes=place[codes], categories=tuple(values[index] for index in order))


def assemble(
    columns: Sequence[Column], target: Column, whole: bool, task: str | None, place: Place
) -> Table:
    """The table of checked columns. `whole` says that a target of numbers is written as whole
    numbers, which are classes unless `task` says otherwise. Raises DataError for a target that is
    the same everywhere, for a class with one row, and for classes that are numbers beyond the exact
    ones."""
    notes = []
    for column in columns:
        values = column.numbers if column.numbers is not None else column.codes
        assert values is not None
        large = column.numbers is not None and (np.abs(column.numbers) >= MOST_EXACT).any()
        if (values == values[0]).all() and not large:
            shown = f"{values[0]:g}" if column.numbers is not None else column.categories[0]
            notes.append(f"column '{column.name}' is the same in every row ({shown})")
        if large:
            notes.append(
                f"column '{column.name}' holds numbers from 2**53 on: whole ones are not told apart"
            )
    notes += [told for column in columns for told in _doubt_column(column)]
    numeric = [column for column in columns if column.numbers is not None]
    others = [column for column in columns if column.numbers is None]
    y, labels = _understand(target, whole, task, place)
    rows = len(y)
    count = len(numeric)
    parts = [
        *([f"{count} column{'s' if count > 1 else ''} of numbers"] if count else []),
        *(f"'{each.name}' ({_categories(len(each.categories))})" for each in others[:8]),
        *([f"{len(others) - 8} more of categories"] if len(others) > 8 else []),
    ]
    kind = f"{len(labels)} classes" if labels else "regression"
    kind = "targets of your own kind" if task == "own" else kind
    notes.insert(0, f"{rows:,} rows: '{target.name}' ({kind}) from {', '.join(parts)}")
    if target.numbers is not None and task is None:
        doubted = f"'{target.name}' holds"
        notes += doubt_classes(doubted, target.numbers) if labels else doubt_numbers(doubted, y)
    notes += _doubt_labels(target.name, labels)
    if labels and task == "own":
        notes.append(f"'{target.name}' is text, numbered from 0: {show_labels(labels)}")
    return Table(
        (tuple(each.name for each in numeric), tuple(each.name for each in others), target.name),
        _stack([each.numbers for each in numeric], rows, np.float64),
        _stack([each.codes for each in others], rows, np.int32),
        tuple(each.categories for each in others),
        y,
        labels,
        tuple(notes),
    )


_DATE = re.compile(r"\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}([T ].*)?")
_MARKED = re.compile(
    r"[^\w.]{0,3}\d[\d.,_ ]*([eEdD][-+]?\d+)?[^\w.]{0,3}[a-zA-Z]{0,3}|0x[0-9a-fA-F]+"
)
"""A number with a sign of another alphabet, a currency or a unit."""

FEWEST = 10
"""Rows below which that each has a value of its own says nothing."""


def _doubt_column(column: Column) -> list[str]:
    """A sentence for a column of text of which most rows have a value of their own, for one of
    dates, and for one of numbers that count the rows: none says anything of rows that are not in
    the table."""
    name, numbers, codes = column.name, column.numbers, column.codes
    left = f"drop: {flow([name])} leaves it out"
    if numbers is not None:
        if len(numbers) >= FEWEST and (np.diff(np.sort(numbers)) == 1).all():
            steps = np.diff(numbers)
            order = "" if (steps == steps[0]).all() else ", in another order"
            return [f"column '{name}' counts the rows{order}: {left}"]
        return []
    assert codes is not None
    alone = int((np.bincount(codes[codes >= 0]) == 1).sum())
    dates = len(column.categories) > 2 and all(map(_DATE.fullmatch, column.categories))
    if len(codes) < FEWEST or not (dates or 2 * alone > len(codes)):
        return []
    told = f"and {alone:,} of {len(codes):,} rows have a value of their own"
    if dates:
        told = f"taken as {_categories(len(column.categories))}"
    told = f"column '{name}' is {'dates' if dates else 'text'}, {told}"
    if dates or all(map(_MARKED.fullmatch, column.categories)):
        what = "dates, such as days since the first" if dates else "plain ones"
        shown = column.categories[0]
        return [f"{told}, such as '{shown}': write numbers in the file ({what}), or {left}"]
    return [f"{told}, of which nothing is learnt: {left}"]


def _doubt_labels(name: str, labels: Sequence[str]) -> list[str]:
    """A sentence for classes that differ in capital letters alone."""
    alike: dict[str, list[str]] = {}
    for label in labels:
        alike.setdefault(label.casefold(), []).append(label)
    same = next((each for each in alike.values() if len(each) > 1), None)
    if same is None:
        return []
    return [f"'{name}' has classes that differ in capital letters alone: {', '.join(same)}"]


def _categories(count: int) -> str:
    return f"{count:,} categor{'ies' if count != 1 else 'y'}"


def _stack(arrays: Sequence[Array | None], rows: int, kind: Any) -> Array:
    stacked = np.empty((rows, len(arrays)), kind)
    for index, array in enumerate(arrays):
        stacked[:, index] = array
    return stacked


def _understand(
    target: Column, whole: bool, task: str | None, place: Place
) -> tuple[Array, tuple[str, ...]]:
    numbers, name = target.numbers, target.name
    y: Array
    if numbers is not None and (task == "regression" or (task is None and not whole)):
        y = numbers.reshape(-1, 1)
        _check_varied(name, y, (), place(0))
        return y, ()
    if numbers is not None and task == "own" and not whole:
        _check_varied(name, numbers, (), place(0))
        return numbers.astype(np.float32), ()
    labels = target.categories
    if numbers is not None:
        large = np.abs(numbers) >= MOST_EXACT
        if large.any():
            raise DataError(
                f"the target '{name}' has classes that are whole numbers from 2**53 on, "
                "which are not told apart exactly",
                where=place(int(large.argmax())),
                hint="write them as text, such as with a letter before the number",
            )
        if task == "own":
            _check_varied(name, numbers, (), place(0))
            return numbers.astype(np.int64), ()
        values, y = np.unique(numbers, return_inverse=True)
        labels = tuple(f"{value:.0f}" if whole else f"{value:g}" for value in values)
    else:
        assert target.codes is not None
        y = target.codes
    y = y.reshape(-1).astype(np.int64)
    _check_varied(name, y, labels, place(0))
    if task == "own":
        return y, labels
    counts = np.bincount(y, minlength=len(labels))
    if counts.min() < 2:
        rare = int(counts.argmin())
        alone = int((counts < 2).sum())
        many = f" (so have {alone - 1:,} other classes)" if alone > 1 else ""
        quantity = numbers is not None and (task is None or 2 * alone > len(labels))
        raise DataError(
            f"class '{labels[rare]}' of the target '{name}' has one row only{many}: "
            "it cannot be in training and in validation",
            where=place(int((y == rare).argmax())),
            hint="if the column is a quantity, write task: regression"
            if quantity
            else "take such rows out of the file",
        )
    return y, labels
