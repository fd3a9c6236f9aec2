"""Points chosen by conditions and put in another order: `--where "lr > 1e-3 and schedule ==
cosine"`, `--sort -lr`."""

from __future__ import annotations

import contextlib
import math
import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lrsearch import duration
from lrsearch.analysis.points import PointSummary
from lrsearch.errors import UsageError, suggest
from lrsearch.reports.apart import last_parts
from lrsearch.reports.text import format_value, one_line
from lrsearch.reports.verdicts import by_point
from lrsearch.reports.view import RunView

_CONDITION = re.compile(
    r"""\s*("[^"]*"|[^\s<>=!"]+)\s*(==|!=|<=|>=|=|<|>)\s*("[^"]*"|'[^']*'|[^\s"']+)\s*"""
)

GRAMMAR = "conditions are a name, ==, !=, <, <=, > or >=, and a value, joined by and"

_SIGNS: dict[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq,
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}

Read = Callable[[PointSummary], Any]
"""The value of a point by some name, None where it has none."""


@dataclass(frozen=True)
class Chosen:
    """The points that are shown in the place of all, and by which words they were chosen."""

    points: tuple[PointSummary, ...]
    words: str


def choose(view: RunView, where: str | None, sort: str | None) -> Chosen | None:
    """The points that meet the conditions `where`, in the order of the name `sort`, falling where
    a - stands before it; None where neither is given. Points without a value come last. Raises
    UsageError for what cannot be read, and names that no point has."""
    if where is None and sort is None:
        return None
    known = _readers(view)
    points, words = list(view.points), []
    if where is not None:
        tests = _parse(where, known)
        points = [point for point in points if all(test(point) for test in tests)]
        words.append(f"where {one_line(where)}")
    if sort is not None:
        falling = sort.startswith("-") and sort not in known
        read = _find(sort.removeprefix("-") if falling else sort, known, "--sort")
        valued = [point for point in points if _order(read(point)) is not None]
        rest = [point for point in points if _order(read(point)) is None]
        points = [
            *sorted(valued, key=lambda each: _order(read(each)) or (), reverse=falling),
            *rest,
        ]
        words.append(f"by {one_line(sort)}")
    told = f"{len(points)} of {len(view.points)} points, {', '.join(words)}"
    return Chosen(tuple(points), told)


def _readers(view: RunView) -> dict[str, Read]:
    """The names that points can be chosen by: parameters, whole or by their last part, the metric,
    and what is known of each point."""
    verdicts = by_point(view.records)
    found: dict[str, Read] = {
        "point": lambda point: point.point,
        "outcome": lambda point: point.outcome and point.outcome.replace("_", " "),
        "verdict": lambda point: verdicts.get(point.point, "healthy"),
        "strategy": lambda point: point.strategy,
        "seeds": lambda point: point.seeds,
        "epochs": lambda point: point.epochs,
        "seconds": lambda point: point.seconds,
        "objective": lambda point: point.objective,
        view.objective.metric: lambda point: point.objective,
    }
    short = last_parts(view.params)
    for name in reversed(view.params):
        for called in (short[name], name):
            found[called] = _reader(name)
    return found


def _reader(name: str) -> Read:
    return lambda point: point.params.get(name)


def _find(name: str, known: dict[str, Read], where: str) -> Read:
    if name not in known:
        raise UsageError(
            f"no point has a '{one_line(name)}'", where=where, hint=suggest(name, known)
        )
    return known[name]


def _parse(text: str, known: dict[str, Read]) -> list[Callable[[PointSummary], bool]]:
    tests, at = [], 0
    while True:
        found = _CONDITION.match(text, at)
        if found is None:
            raise UsageError(
                f"cannot read '{one_line(text[at:])}': {GRAMMAR}",
                where="--where",
                hint='--where "lr > 1e-3 and schedule == cosine"',
            )
        name, sign, value = found.groups()
        read = _find(name.strip('"'), known, "--where")
        quoted = value[0] in "\"'"
        tests.append(_test(read, sign, value[1:-1] if quoted else value, quoted))
        at = found.end()
        if at == len(text):
            return tests
        joined = re.compile(r"and\b|&&?", re.IGNORECASE).match(text, at)
        at = joined.end() if joined else at


def _test(read: Read, sign: str, value: str, quoted: bool) -> Callable[[PointSummary], bool]:
    wanted: float | None = None
    if not quoted:
        with contextlib.suppress(ValueError):
            wanted = float(value)
    compare = _SIGNS[sign]

    def test(point: PointSummary) -> bool:
        given = read(point)
        number = isinstance(given, int | float) and not isinstance(given, bool)
        if number and wanted is not None:
            # As it is shown, a rate has three digits.
            same = math.isclose(given, wanted, rel_tol=1e-9) or format_value(given) == value
            if sign in ("==", "=", "!="):
                return same == (sign != "!=")
            return compare(given, wanted) or (same and sign in ("<=", ">="))
        if sign not in ("==", "=", "!="):
            return _compare_lengths(compare, given, value)
        texts = {format_value(given), str(given)} if given is not None else {"", "null", "none"}
        return (value in texts) == (sign != "!=")

    return test


def _compare_lengths(compare: Callable[[Any, Any], bool], given: Any, value: str) -> bool:
    """Compare two lengths of training, which only those of one unit can be without the data."""
    one, other = _length(given), _length(value)
    if one is None or other is None or one[0] != other[0]:
        return False
    return compare(one, other)


def _length(value: Any) -> tuple[str, float] | None:
    """The unit and the number of a length of training, None of anything else."""
    with contextlib.suppress(ValueError):
        found = duration.parse(value)
        return found.unit, found.value
    return None


def _order(value: Any) -> tuple[int, str, float, str] | None:
    """The place of a value among others: numbers by size, then lengths of training by unit and
    size, then texts by letters; None of none."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return None
    if isinstance(value, int | float) and not isinstance(value, bool):
        return 0, "", float(value), ""
    if (length := _length(value)) is not None:
        return 1, *length, ""
    return 2, "", 0.0, format_value(value)
