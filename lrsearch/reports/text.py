"""Numbers and other values in few characters. Exact values are in JSON and CSV."""

from __future__ import annotations

import math
import re
import shutil
import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from lrsearch.analysis.decimals import decimals_for as decimals_for
from lrsearch.catalogue import arguments_of
from lrsearch.spec.values import bare
from lrsearch.terminal import visible
from lrsearch.trial import Outcome

_DURATION = re.compile(r"([0-9.]+(?:e[-+]?[0-9]+)?)(ep|ba|sp|dur)")


def one_line(text: str) -> str:
    """The text on one line: runs of white space become a blank, invisible and control characters
    their escapes."""
    return visible(" ".join(text.split()))


def format_value(value: object, digits: int = 3) -> str:
    """A value in few characters: 0.0316, 1e-5, 64, true, null, [64,128], {name: cosine}, 0.05dur,
    [random_crop 1,mixup 0.2]; a text that reads as another value in quotes, as '64' and ''.

    A float of up to five significant digits is shown as it is (a user chose it), others with
    `digits`, and with two more just below one, or as many as it takes: 0.9996 must not read 1.
    """
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return _number(value, digits)
    if isinstance(value, Mapping):
        parts = (f"{one_line(str(key))}: {_format_inner(part)}" for key, part in value.items())
        return "{" + ", ".join(parts) + "}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "[" + ",".join(_format_part(part) for part in value) + "]"
    length = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if length:
        return _number(float(length[1]), digits) + length[2]
    return bare(value) if isinstance(value, str) else one_line(str(value))


def _format_inner(value: object) -> str:
    """A value within a list or a mapping."""
    return bare(value, listed=True) if isinstance(value, str) else format_value(value)


def _format_part(value: object) -> str:
    """An entry of a list; one with a name is shown as the name and its arguments' values: mixup
    0.2."""
    if not isinstance(value, Mapping) or not {"name", "class_path"} & value.keys():
        return _format_inner(value)
    name = str(value.get("name") or str(value.get("class_path")).rpartition(".")[2])
    return " ".join([one_line(name), *map(_format_inner, arguments_of(value).values())])


def _number(value: float, digits: int) -> str:
    if not math.isfinite(value):
        return str(value)
    if float(f"{value:.5g}") == value:
        digits = 5
    elif 0.99 < abs(value) < 1:
        digits = next((n for n in range(digits + 2, 16) if abs(float(f"{value:.{n}g}")) < 1), 16)
    rounded = float(f"{value:.{digits}g}")
    if math.isfinite(rounded):  # The largest numbers that there are round up to infinity.
        value = rounded
    if value == 0:
        return "0"
    if 1e-4 <= abs(value) < 1e6:
        decimals = max(0, digits - 1 - math.floor(math.log10(abs(value))))
        text = f"{value:.{decimals}f}"
        return text.rstrip("0").rstrip(".") if "." in text else text
    mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
    mantissa = mantissa.rstrip("0").rstrip(".") if "." in mantissa else mantissa
    return f"{mantissa}e{int(exponent)}"


def format_apart(values: Sequence[object]) -> list[str]:
    """The values with as many digits, from three on, as tell different ones apart."""
    texts: list[str] = []
    for digits in range(3, 13):
        texts = [format_value(each, digits) for each in values]
        if len(set(texts)) == len(set(map(repr, values))):
            break
    return texts


def format_fixed(value: float, decimals: int | None) -> str:
    """`value` with so many decimals, of a number below 0 with so many significant digits, the last
    of which may be 0, as in a column of others; with four of those where that is None."""
    if decimals is not None and decimals < 0 and not 1e-4 <= abs(value) < 1e6 and value != 0:
        mantissa, _, exponent = f"{value:.{-decimals - 1}e}".partition("e")
        return f"{mantissa}e{int(exponent)}" if exponent else mantissa
    if decimals is not None and decimals < 0:
        return format_value(float(value), -decimals)
    if decimals is None or abs(value) >= 1e6:
        return format_value(float(value), 4)
    return f"{value:z.{decimals}f}"


def tell_interval(ends: tuple[float, float], decimals: int | None) -> str:
    """An interval in words, with as many decimals more as tell its ends apart; one that reaches to
    0, or about so far, with three digits of its width: what follows is not known."""
    low, width = ends[0], ends[1] - ends[0]
    near = low < 0 < ends[1] or min(map(abs, ends)) < width / 10
    if decimals is not None and decimals > 0 and near and width < math.inf:
        decimals = min(decimals, max(0, 2 - math.floor(math.log10(width))))
    texts = [format_fixed(end, decimals) for end in ends]
    for more in range(1, 4):
        if decimals is not None and texts[0] == texts[1] and ends[0] < ends[1]:
            texts = [
                format_fixed(end, decimals + (more if decimals >= 0 else -more)) for end in ends
            ]
    return " to ".join(texts)


def format_params(
    params: Mapping[str, Any], most: int | None = None, called: Mapping[str, str] | None = None
) -> str:
    """`lr=0.0316 batch_size=64`; of values wider than `most` columns the end. `called` are the
    names to show, those of `last_parts` where it is not given."""
    called = last_parts([*params]) if called is None else called
    return " ".join(
        f"{called.get(name) or one_line(name)}="
        f"{format_value(value) if most is None else cut_begin(format_value(value), most)}"
        for name, value in params.items()
    )


def cut_begin(text: str, most: int, dots: str = "...") -> str:
    """The text, its beginning left out where it is wider than so many columns."""
    if len(text) <= most and text.isascii():
        return text
    from rich.cells import cell_len  # What is for other programs needs no rich.

    if cell_len(text) <= most:
        return text
    room, begin = most - len(dots), len(text)
    while begin and (room := room - cell_len(text[begin - 1])) >= 0:
        begin -= 1
    return dots + text[begin:]


def cut(text: str, most: int) -> str:
    """The text, its end left out where it is longer than `most`."""
    return text if len(text) <= most else f"{text[: most - 3]}..."


def last_parts(names: Sequence[str]) -> dict[str, str]:
    """The last part of each dotted name, or all of it where two end alike."""
    # A warmup's `for` says nothing alone.
    short = {name: name.removesuffix(".for").rpartition(".")[2] for name in names}
    last = Counter(short.values())
    return {name: one_line(part if last[part] == 1 else name) for name, part in short.items()}


def tell_epochs(worth: float, shared: float, saved: float = 0.0) -> str:
    """The epochs that trainings are worth, divided into those that were trained and those shared
    with another trial, and the epochs saved besides: `56 epochs (32 trained, 24 shared)`."""
    parts = []
    if shared:
        parts += [f"{format_value(worth - shared, 4)} trained", f"{format_value(shared, 4)} shared"]
    if saved:
        parts.append(f"{format_value(saved, 4)} more saved by stopping early")
    told = f" ({', '.join(parts)})" if parts else ""
    return f"{count(worth, 'epoch')}{told}"


def format_seconds(seconds: float) -> str:
    """0.04s, 1.3s, 42s, 3m 12s, 2h 05m, 1d 03h."""
    if 0 < seconds < 0.095:  # It is not nothing.
        return f"{max(seconds, 0.01):.2f}s"
    if seconds < 9.95:
        return f"{seconds:.1f}s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m {whole % 60:02d}s"
    minutes = whole // 60
    if minutes < 24 * 60:
        return f"{minutes // 60}h {minutes % 60:02d}m"
    hours = minutes // 60
    return f"{hours // 24}d {hours % 24:02d}h"


def tell_span(low: float, high: float) -> str:
    """A range of seconds in words: `2m 10s to 3m 20s`, one of them where they read alike."""
    ends = [format_seconds(low), format_seconds(high)]
    if low <= 0:
        return f"up to {ends[1]}"
    return ends[0] if ends[0] == ends[1] else " to ".join(ends)


def format_bytes(size: int) -> str:
    """812 B, 1.3 kB, 42 MB, 1.7 GB."""
    value, units = float(size), ["B", "kB", "MB", "GB", "TB"]
    while value >= 999.5 and len(units) > 1:
        value, units = value / 1000, units[1:]
    digits = 1 if value < 9.95 and units[0] != "B" else 0
    return f"{value:.{digits}f} {units[0]}"


def count(number: float, noun: str) -> str:
    """`1 trial`, `2 trials`, `0.5 epochs`."""
    text = format_value(number, 4)
    return f"{text} {noun}" if text == "1" else f"{text} {noun}s"


def spell_ending(outcome: Outcome | None) -> str:
    """The text in the place of a value that there is none of."""
    if outcome is None:
        return "unfinished"
    return "not finite" if outcome is Outcome.COMPLETED else outcome.words


def tell_outcomes(ended: Mapping[Outcome, int], **others: int) -> str:
    """Numbers of trials by their outcomes, then the `others`: `13 completed, 1 running`."""
    told = {**{each.words: ended.get(each, 0) for each in Outcome}, **others}
    return ", ".join(f"{number} {words}" for words, number in told.items() if number > 0)


def enumerate_numbers(numbers: Sequence[int], limit: int = 5) -> str:
    """`3`, `3 and 9`, `3, 9 and 12`, `3, 9, 12, 15, 20 and 7 more`."""
    shown = [str(number) for number in numbers[:limit]]
    if len(numbers) > limit:
        return f"{', '.join(shown)} and {len(numbers) - limit} more"
    return " and ".join([", ".join(shown[:-1]), shown[-1]]) if len(shown) > 1 else shown[0]


WIDEST = 100
"""The most columns of a paragraph, however wide the terminal is."""


def fill(text: str) -> str:
    """Break a paragraph into lines that fit the terminal, and are no longer than `WIDEST`."""
    columns = min(WIDEST, shutil.get_terminal_size((WIDEST, 24)).columns)
    if not text.isascii():  # Of other scripts some characters are two columns wide.
        from rich.console import Console
        from rich.text import Text

        lines = Text(text).wrap(Console(width=columns), columns)
        return "\n".join(line.plain.rstrip() for line in lines)
    return textwrap.fill(text, columns, break_long_words=False, break_on_hyphens=False)


BELOW = 2
"""Tables that stand below one whose columns do not fit."""


def without_empty(rows: Sequence[Sequence[str]]) -> list[Sequence[str]]:
    """The rows of a table, the first its head, without columns in which no cell says anything."""
    columns = enumerate(zip(*rows, strict=True))
    kept = [place for place, column in columns if any(column[1:]) or len(rows) == 1]
    return [[row[place] for place in kept] for row in rows]


def lay_out(rows: Sequence[Sequence[str]], width: int) -> list[str]:
    """Rows in columns, without empty ones. Those that do not fit stand in up to `BELOW` further
    tables, behind the first one again; what has no room there is left out, which is said. A first
    column wider than half of the width stands in lines of its own, above those of the others."""
    from rich.cells import cell_len  # What is for other programs needs no rich.

    rows = without_empty(rows)
    sizes = [max(map(cell_len, column)) for column in zip(*rows, strict=True)]
    above = [row[0] for row in rows] if len(sizes) > 1 and sizes[0] > width // 2 else []
    if above:
        rows, sizes[0] = [["", *row[1:]] for row in rows], 0
    tables: list[list[int]] = []
    left: list[str] = []
    for place in range(1, len(sizes)):
        wide = 0 if not tables else sum(sizes[each] + 2 for each in tables[-1]) + sizes[place]
        if tables and wide <= width:
            tables[-1].append(place)
        elif not tables or (len(tables) <= BELOW and sizes[0] + 2 + sizes[place] <= width):
            tables.append([0, place])
        else:
            left.append(rows[0][place])
    lines = []
    for number, table in enumerate(tables or [[0]]):
        for line, row in enumerate(rows):
            if number and not any(row[place] for place in table[1:]):
                continue
            lines += above[line : line + 1] if line else []
            cells = (row[place] + " " * (sizes[place] - cell_len(row[place])) for place in table)
            lines.append("  ".join(cells))
    told = f"(no room for: {', '.join(left)}; a wider terminal or --json has them)"
    return [*(line.rstrip() for line in lines), *([told] if left else [])]
