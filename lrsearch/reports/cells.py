"""Values as JSON takes them, and as cells of CSV that no spreadsheet runs."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lrsearch.terminal import visible


def plain(value: Any) -> Any:
    """A value as JSON takes it, None for numbers that are not finite."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    return value


def pick(value: object, names: str) -> dict[str, Any]:
    """The attributes of a value that have these names, as entries of a document."""
    return {name: getattr(value, name) for name in names.split()}


def write_json(document: Mapping[str, Any]) -> str:
    """A document as JSON for other programs; numbers that are not finite are null."""
    return json.dumps(plain(document), indent=2, allow_nan=False)


def cell(value: Any) -> object:
    """A value in one cell: texts and finite numbers as they are, the rest as JSON."""
    if isinstance(value, str) or type(value) in (int, float):
        return value if not isinstance(value, float) or math.isfinite(value) else "null"
    return json.dumps(plain(value))


_FORMULA = re.compile(r"\s*[\t\r\n=+@\uff1d\uff0b\uff0d\uff20-]")
"""The beginning of a text that a spreadsheet takes for a formula (OWASP's list): tabs and line
ends, and =, +, - and @, also of full width, with blanks before them or without."""

_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
"""A text that is a number, as of a parameter of a command: whatever its sign, it is no formula."""

_QUOTED = re.compile(r"[\",;\t\r\n]|^[\s']|\s$")
"""Text of a cell that needs quotes: separators, also those where a comma is a decimal point; line
ends; and characters that readers strip."""


def write_csv(rows: Iterable[Sequence[object]], *, raw: bool = False) -> str:
    """Rows as CSV by RFC 4180, with line feeds between them. A cell of None is empty. A text that a
    spreadsheet would run as a formula has a single quote before it, and control characters other
    than line ends and tabs are written as their escapes; `raw` leaves texts as they are."""
    return "".join(",".join(_field(each, raw) for each in row) + "\n" for row in rows)


def _field(value: object, raw: bool) -> str:
    """A cell of CSV. The csv module leaves a lone carriage return unquoted where rows end in line
    feeds, and cannot tell which cells are numbers."""
    if value is None:
        return ""
    text = str(value)
    if isinstance(value, str) and not raw:
        text = "\r".join(map(visible, text.split("\r")))
    # Of numbers -inf alone begins like a formula and is none that a spreadsheet knows.
    if not raw and _FORMULA.match(text) and not _NUMBER.fullmatch(text):
        text = f"'{text}"
    return '"' + text.replace('"', '""') + '"' if _QUOTED.search(text) else text
