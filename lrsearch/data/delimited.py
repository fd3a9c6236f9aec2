"""Tables in text files: a row a line, the first line being the columns' names."""

from __future__ import annotations

import csv
import io
import re
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np

from lrsearch.data.tables import (
    MAX_CATEGORIES,
    MISSING,
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
from lrsearch.data.utf8 import read_utf8
from lrsearch.errors import DataError
from lrsearch.spec.sources import (
    NUMBER,
    START,
    hint_no_table,
    misread,
    number_header,
    unnamed,
)

_WHOLE = re.compile(r"[+-]?[0-9]+")
_INFINITE = re.compile(r"[+-]?inf(?:inity)?", re.IGNORECASE)
_CHUNK = 20_000
_SLIP = 0.9
"""The share of numbers above which a column is one of numbers, and any other cell in it a
mistake."""


@dataclass
class _Survey:
    """A survey of one column's cells: counts, and of each unusual kind the first row with its
    text."""

    name: str
    numbers: int = 0
    whole: bool = True
    text: tuple[int, str] | None = None
    infinite: tuple[int, str] | None = None
    missing: tuple[int, str] | None = None
    missing_count: int = 0

    def add(self, cells: Sequence[str], start: int) -> None:
        """Take in the cells of rows from `start` on."""
        if all(map(NUMBER.fullmatch, cells)):
            self.numbers += len(cells)
            self.whole = self.whole and all(map(_WHOLE.fullmatch, cells))
            return
        for cell, count in Counter(cells).items():
            if NUMBER.fullmatch(cell):
                self.numbers += count
                self.whole = self.whole and _WHOLE.fullmatch(cell) is not None
            elif cell.lower() in MISSING:
                self.missing = self.missing or (start + cells.index(cell), cell)
                self.missing_count += count
            elif _INFINITE.fullmatch(cell):
                self.infinite = self.infinite or (start + cells.index(cell), cell)
                self.numbers += count
                self.whole = False
            else:
                self.text = self.text or (start + cells.index(cell), cell)


class _File:
    """A text file's rows, read as often as needed; `lines` has the line each begins on. A row with
    a gap in one of the columns `needed` is left out, and counted in `out`."""

    def __init__(self, source: str, separator: str) -> None:
        self.source = source
        self.text = read_utf8(source)
        self.separator = separator
        self.lines = array("q")
        self.together = Together()
        self.needed: Sequence[int] = ()
        self.out: Counter[int] = Counter()
        self.left_out = 0

    def place(self, row: int) -> str:
        """The place of a row for messages: `data.csv:7`."""
        return f"{self.source}:{self.lines[row]}"

    def rows(self) -> Iterator[tuple[int, list[str]]]:
        """The line each row begins on, and its cells without the blanks around them. Raises
        DataError where the quotes do not fit."""
        reader = csv.reader(
            io.StringIO(self.text, newline=""),
            delimiter=self.separator,
            skipinitialspace=self.separator != " ",
            strict=True,
        )
        line = 1
        while True:
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                place, hint = f"{self.source}:{line}", ""
                told = str(error)
                if "limit" in told:
                    told = f"a cell has more than {csv.field_size_limit():,} characters"
                if reader.line_num > line or "limit" in str(error):
                    hint = "is there a quote on this line that none closes?"
                elif '"' in told:
                    hint = "a quoted cell ends before the separator; quotes inside are doubled"
                hint = hint_no_table(self.text[:START]) or hint
                raise DataError(f"not readable as CSV: {told}", where=place, hint=hint) from error
            if cells:
                yield line, list(map(str.strip, cells))
            line = reader.line_num + 1

    def chunks(self, width: int) -> Iterator[list[tuple[str, ...]]]:
        """Blocks of rows as columns, without the header. A row of another length than the header is
        an error that is kept, and left out."""
        rows = islice(self.rows(), 1, None)
        self.lines = array("q")
        self.out.clear()
        self.left_out = 0
        while chunk := list(islice(rows, _CHUNK)):
            for line, cells in chunk:
                if len(cells) != width:
                    told = DataError(
                        f"this row has {_cells(len(cells))}, the header {_cells(width)}",
                        where=f"{self.source}:{line}",
                        hint=_hint_cells(cells, width, self.separator, line),
                    )
                    self.together.add(told)
            chunk = [each for each in chunk if len(each[1]) == width and self._keeps(each[1])]
            self.lines.extend(line for line, _ in chunk)
            if chunk:
                yield list(zip(*(cells for _, cells in chunk), strict=True))

    def _keeps(self, cells: Sequence[str]) -> bool:
        gaps = [index for index in self.needed if cells[index].lower() in MISSING]
        self.out.update(gaps)
        self.left_out += bool(gaps)
        return not gaps


_SQUEEZE = "divide cells by one blank each: tr -s ' ' < OLD > NEW"


def _hint_cells(cells: Sequence[str], width: int, separator: str, line: int) -> str:
    """The hint for a row of another length than the header."""
    if len(cells) < width:
        return f"give it the cells that it lacks, or take it out: {_without(line)}"
    if separator == " " and "" in cells:
        return _SQUEEZE
    if len(cells) == width + 1 and cells[-1] == "":
        return f"a '{separator}' too many at the end? take it away"
    hint = "a cell that holds the separator needs double quotes around it"
    return f"{hint}, and a column of row numbers a name" if len(cells) == width + 1 else hint


def _without(line: int) -> str:
    return f"sed {line}d OLD > NEW"


def _cells(count: int) -> str:
    return f"{count} cell{'s' if count != 1 else ''}"


def read_csv(
    source: str,
    target: str,
    task: str | None,
    drop: Sequence[str],
    categorical: Sequence[str],
    separator: str,
    missing: str | None = None,
) -> Table:
    """The table of a UTF-8 text file (RFC 4180, any separator; a byte order mark is taken).

    A column in which every cell is a number is one of numbers; any other, such as text, is one of
    categories. Where values are missing `missing` says what becomes of them; None raises DataError,
    as do, with file and line, a file that is no table, numbers that are not finite, text among
    numbers, and too many categories.
    """
    file = _File(source, separator)
    line, names = _header(file)
    head = f"{source}:{line}"
    if separator == " " and names.count("") > 1:
        raise DataError("several blanks in a row divide the columns", where=head, hint=_SQUEEZE)
    used = choose_columns(
        names, target, drop, categorical, where=head, hint=misread(names, target, separator)
    )
    for told, hint in unnamed(names, separator):
        raise DataError(told, where=head, hint=hint)
    file.needed = needed(used, names.index(target), missing)
    surveys = {index: _Survey(names[index]) for index in used}
    with file.together.kept():
        for columns in file.chunks(len(names)):
            start = len(file.lines) - len(columns[0])
            for index, survey in surveys.items():
                survey.add(columns[index], start)
    rows = len(file.lines)
    out = {names[index]: count for index, count in file.out.most_common()}
    if not file.together.found:
        check_rows(rows, source, out)
    gaps = [
        Gap(each.name, each.missing_count, *each.missing)
        for each in surveys.values()
        if each.missing
    ]
    with file.together.kept():
        check_gaps(gaps, target, file.place, rows, missing)
    forced, numeric = set(categorical), set()
    for index, survey in surveys.items():
        with file.together.kept():
            if survey.name not in forced and _holds_numbers(survey, rows, target, task, file):
                numeric.add(index)
    file.together.raise_all()
    table = _convert(file, len(names), surveys, numeric, target, task)
    told, notes = tell_gaps(out, file.left_out, gaps)
    notes += [
        f"column '{each.name}' is a number in {each.numbers:,} of {rows:,} rows and text in "
        f"others, such as '{_cut(each.text[1])}': all are categories; leave cells without a value "
        "empty"
        for each in surveys.values()
        if each.text and each.name not in {*forced, target} and 2 * each.numbers > rows
    ]
    return replace(table, notes=(*table.notes, *notes), gaps=told)


def _holds_numbers(survey: _Survey, rows: int, target: str, task: str | None, file: _File) -> bool:
    """Whether a column is one of numbers. Raises DataError where most of its cells are, but not
    all."""
    here = survey.name == target
    if survey.text is None:
        # Infinite targets are classes as little as they are numbers.
        if survey.infinite is not None:
            row, shown = survey.infinite
            raise DataError(
                f"column '{survey.name}' reads '{shown}', which is no finite number",
                where=file.place(row),
                hint="correct the cell, or take the row out of the file",
            )
        return True
    row, shown = survey.text
    shown = _cut(shown)
    if here and task == "regression":
        raise DataError(
            f"the target '{target}' reads '{shown}', which is no number: regression needs numbers",
            where=file.place(row),
            hint=_decimal(shown, file.separator) or _heading(survey, file),
        )
    comma = _decimal(shown, file.separator)
    slip = survey.numbers > _SLIP * rows
    if (slip or comma) and not (here and task == "classification"):
        name = f"name it in categorical: {flow([survey.name])}"
        way = f"if it is no slip, {'write task: classification' if here else name}"
        told = f"column '{survey.name}' reads '{shown}', which is no number"
        if slip:
            told = (
                f"column '{survey.name}' is a number in {survey.numbers:,} of {rows:,} rows, "
                f"but here it reads '{shown}'"
            )
        remedy = comma or "correct the cell or take the row out of the file"
        if heading := _heading(survey, file):
            raise DataError(told, where=file.place(row), hint=heading)
        raise DataError(told, where=file.place(row), hint=f"{remedy}; {way}")
    return False


def _cut(shown: str) -> str:
    return shown if len(shown) <= 40 else shown[:40] + "..."


def _heading(survey: _Survey, file: _File) -> str:
    """The hint where a cell holds its column's name: the header stands there again."""
    if survey.text is None or survey.text[1] != survey.name:
        return ""
    line = file.lines[survey.text[0]]
    return f"the names stand there again: take the line out: {_without(line)}"


def _decimal(shown: str, separator: str) -> str:
    """The hint for a number with a comma, and the command that writes such ones anew."""
    if not re.fullmatch(r"[+-]?[0-9][0-9.]*(?:,[0-9]+)+(?:\.[0-9]+)?", shown):
        return ""
    rule = "numbers have a decimal point here, and nothing between thousands"
    grouped = shown.count(",") > 1 or bool(re.search(r",[0-9]{3}\.", shown))
    # Who has decimal commas divides cells by another sign: "1,234" is no 1.234.
    whole = re.fullmatch(r"[+-]?[1-9]\d{0,2},\d{3}", shown)
    grouped = grouped or (separator == "," and whole is not None)
    # Between cells that a comma divides only those in quotes have one.
    before = '("[^",]*[0-9])' if separator == "," else "([0-9])"
    steps = [f"s/{before},([0-9]{{3}})/\\1\\2/"]
    if not grouped:
        # Points between thousands go while the comma still tells them from a decimal point.
        steps = [f"s/{before}\\.([0-9]{{3}}[.,])/\\1\\2/", f"s/{before},([0-9])/\\1.\\2/"]
    again = " ".join(f"-e '{step}' -e 'ta'" for step in steps)
    return f"{rule}: sed -E -e ':a' {again} OLD > NEW"


def _convert(
    file: _File,
    width: int,
    surveys: dict[int, _Survey],
    numeric: set[int],
    target: str,
    task: str | None,
) -> Table:
    numbers = {index: array("d") for index in numeric}
    codes = {index: array("i") for index in surveys if index not in numeric}
    values: dict[int, dict[str, int]] = {index: {} for index in codes}
    for columns in file.chunks(width):
        for index, survey in surveys.items():
            cells: Sequence[str] = columns[index]
            if survey.missing is not None:
                cells = ["nan" if cell.lower() in MISSING else cell for cell in cells]
            if index in numeric:
                numbers[index].extend(map(float, cells))
                continue
            known = values[index]
            codes[index].extend(
                [-1 if cell == "nan" else known.setdefault(cell, len(known)) for cell in cells]
            )
            if len(known) > MAX_CATEGORIES and surveys[index].name != target:
                check_categories(surveys[index].name, len(known), file.source)
    found = {}
    for index, survey in surveys.items():
        if index in numeric:
            column = np.frombuffer(numbers[index])
            with file.together.kept():
                check_numbers(survey.name, column, file.place)
            found[index] = Column(survey.name, numbers=column)
        else:
            column = np.frombuffer(codes[index], dtype=np.int32)
            found[index] = categorize(survey.name, column, list(values[index]))
    file.together.raise_all()
    at = next(index for index, survey in surveys.items() if survey.name == target)
    features = [column for index, column in found.items() if index != at]
    return assemble(features, found[at], surveys[at].whole, task, file.place)


def _header(file: _File) -> tuple[int, list[str]]:
    """The line of the columns' names, and the names. Raises DataError for an empty file, and for a
    file that begins with numbers."""
    first = next(file.rows(), None)
    if first is None:
        raise DataError("the file is empty", where=file.source)
    line, names = first
    if message := number_header(names):
        raise DataError(
            message, where=f"{file.source}:{line}", hint="write a line of names above it"
        )
    return line, names
