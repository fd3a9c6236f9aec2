"""Points chosen by conditions and put in another order: `--where "lr > 1e-3 and schedule ==
cosine"`, `--sort -lr`."""

from __future__ import annotations

import contextlib
import math
import operator
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lrsearch import catalogue, duration
from lrsearch.analysis.points import PointSummary
from lrsearch.diagnosis.agreement import VERBS
from lrsearch.errors import UsageError, nearest, suggest
from lrsearch.reports.text import format_value, last_parts, one_line
from lrsearch.reports.verdicts import by_point, in_words
from lrsearch.reports.view import RunView
from lrsearch.space import is_number
from lrsearch.spec.foreign.words import means
from lrsearch.terminal import quote
from lrsearch.trial import Outcome

_CONDITION = re.compile(
    r"""\s*("[^"]*"|[^\s<>=!"]+)\s*(==|!=|<=|>=|=|<|>)\s*("[^"]*"|'[^']*'|[^\s"'<>=!][^\s"']*)\s*"""
)

GRAMMAR = "conditions are a name, ==, !=, <, <=, > or >=, and a value, joined by and"

_RANKED = ("best", "rank", "top", "value", "score", "metric", "result")
"""Words for the order that points have by themselves."""

_CALLED = {
    **dict.fromkeys(("time", "duration", "runtime", "wall", "cost"), "seconds"),
    **dict.fromkeys(("trial", "trials", "number", "id", "index", "run"), "point"),
    **dict.fromkeys(("status", "state"), "outcome"),
    **dict.fromkeys(("epoch", "steps"), "epochs"),
    **dict.fromkeys(("diagnosis", "health"), "verdict"),
}
"""Words for what is known of each point, and its name."""

_SIGNS: dict[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq,
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}

_UNITS = ("sp", "ba", "ep", "dur")

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
        tests = _read(where, known, points)
        points = [point for point in points if all(test(point) for test in tests)]
        words.append(f"where {one_line(where)}")
    if sort is not None:
        falling = sort.startswith("-") and sort not in known
        name = sort.removeprefix("-") if falling else sort
        if name not in known:
            raise UsageError(
                f"no point has a '{one_line(name)}'",
                where="--sort",
                hint=_hint_order(sort, known, view) or suggest(name, known),
            )
        read = known[name]
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
        "outcome": lambda point: point.outcome and point.outcome.words,
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


def _read(
    text: str, known: dict[str, Read], points: Sequence[PointSummary]
) -> list[Callable[[PointSummary], bool]]:
    """The tests of conditions. Where these cannot be read, the error has those that may be
    meant."""
    try:
        return _parse(text, known, points)
    except UsageError as error:
        meant, hint = _mend(text, known, points), ""
        with contextlib.suppress(UsageError):
            if meant != text and _parse(meant, known, points):
                hint = f"write --where {quote(one_line(meant))}"
        if re.search(r"(\s|\|)(or|\|\|?)(\s|$)", text, re.IGNORECASE):
            hint = "report each side of 'or' by itself: all conditions must hold"
        raise UsageError(error.message, where=error.where, hint=hint or error.hint) from None


_MENDED = (
    (r"([\w.]+)\s+between\s+(\S+)\s+and\s+(\S+)", r"\1 >= \2 and \1 <= \3"),
    (r"([-\d.e]+)\s*<(=?)\s*([A-Za-z_][\w.]*)\s*<(=?)\s*(\S+)", r"\3 >\2 \1 and \3 <\4 \5"),
    (r"=>|≥|>>", ">="), (r"=<|≤|<<", "<="), (r"<>|=!|\bis not\b", "!="), (r"===|\bis\b", "=="),
    (r"(\d),(\d)", r"\1.\2"), (r"[()]", " "), (r"\s*[,;]\s*", " and "),
)  # fmt: skip
"""Forms of conditions elsewhere, and how they are written here."""


def _mend(text: str, known: dict[str, Read], points: Sequence[PointSummary]) -> str:
    """The conditions that a text may mean."""
    for pattern, written in _MENDED:
        text = re.sub(pattern, written, text)
    text = re.sub(r"(\d+\.?\d*|\.\d+) ?%", lambda found: f"{float(found[1]) / 100:.6g}", text)

    def complete(found: re.Match[str]) -> str:
        name, sign, value = found.groups()
        if name not in known:
            meant = means(name).rpartition(".")[2]
            name = meant if meant in known else nearest(name, known) or name
        units = {
            each.unit
            for each in map(_length, map(known[name], points) if name in known else ())
            if each is not None
        }
        unit = units.pop() if len(units) == 1 and _spells_number(value) else ""
        return f"{name} {sign} {value}{unit}"

    return " ".join(re.sub(r"([A-Za-z_][\w.]*)\s*([<>=!]+)\s*(\S+)", complete, text).split())


def _hint_order(text: str, known: dict[str, Read], view: RunView) -> str:
    """The words on an order that a text may mean, "" where that is unknown."""
    word, objective = text.strip("+- ").lower(), view.objective
    if word in _RANKED:
        return "the best stand first without --sort"
    if word == "worst":
        return f"write --sort {'-' * (objective.goal == 'min')}{objective.metric}"
    if meant := _meant_order(text, known):
        return f"write --sort {meant}"
    return ""


def _find(name: str, known: dict[str, Read]) -> Read:
    if name not in known:
        raise UsageError(
            f"no point has a '{one_line(name)}'", where="--where", hint=suggest(name, known)
        )
    return known[name]


def _meant_order(text: str, known: Mapping[str, Read]) -> str:
    """The order that words such as `lr desc`, `+lr` or another tool's name mean, "" where that is
    unknown."""
    first = re.split(r"[\s,;:]+", text.strip("+- "))[0]
    name = first if first in known else means(first).rpartition(".")[2]
    name = name if name in known else _CALLED.get(first.lower(), "")
    name = name if name in known else nearest(first, known) or ""
    falling = text.startswith("-") or re.search(r"\b(desc|falling|reverse)", text.lower())
    return f"{'-' if falling else ''}{name}" if name in known else ""


def _parse(
    text: str, known: dict[str, Read], points: Iterable[PointSummary]
) -> list[Callable[[PointSummary], bool]]:
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
        read = _find(name.strip('"'), known)
        quoted = value[0] in "\"'"
        plain = value[1:-1] if quoted else value
        if sign in ("<", "<=", ">", ">="):
            _refuse_disorder(name.strip('"'), sign, plain, map(read, points), quoted)
        else:
            _refuse_slip(name.strip('"'), plain, map(read, points))
        tests.append(_test(read, sign, plain, quoted))
        at = found.end()
        if at == len(text):
            return tests
        joined = re.compile(r"and\b|&&?", re.IGNORECASE).match(text, at)
        at = joined.end() if joined else at


def _refuse_disorder(name: str, sign: str, value: str, given: Iterable[Any], quoted: bool) -> None:
    """Raise UsageError where there are values and none can be larger or smaller than `value`: a
    condition that no point can meet would read as a finding."""
    known = [each for each in given if each is not None]
    length = None if quoted else _length(value)
    if length is not None:
        ordered = any(each is not None and each.unit == length.unit for each in map(_length, known))
    else:
        ordered = not quoted and _spells_number(value) and any(map(is_number, known))
    if known and not ordered:
        raise UsageError(
            f"{one_line(name)} {sign} {one_line(value)} compares nothing: {one_line(name)} is "
            f"{format_value(known[0])} and the like",
            where="--where",
            hint="numbers are larger or smaller than numbers, lengths than lengths of their unit "
            "(budget > 2ep); texts are == or !=",
        )


def _refuse_slip(name: str, value: str, given: Iterable[Any]) -> None:
    """Raise UsageError for a word that no point has and that is a slip of one that points have, or
    may have: points chosen by it would read as a finding."""
    known = [each for each in given if each is not None]
    words = {each for each in known if isinstance(each, str) and _length(each) is None}
    if not known or len(words) < len(set(map(repr, known))) or value in words:
        return
    if name == "outcome":
        words |= {each.words for each in Outcome}
    built_in = {each for group in catalogue.GROUPS.values() for each in group}
    built_in |= set(map(in_words, [*VERBS, "too_high"])) if name == "verdict" else set()
    if value not in words | built_in and nearest(value, words):
        raise UsageError(
            f"no point has {one_line(name)} '{one_line(value)}'",
            where="--where",
            hint=suggest(value, sorted(words)),
        )


def _spells_number(text: str) -> bool:
    with contextlib.suppress(ValueError):
        return math.isfinite(float(text)) or "inf" in text.lower()
    return False


def _length(value: Any) -> duration.Duration | None:
    """The duration that a parameter's value is, None where it is none."""
    try:
        return duration.parse(value)
    except ValueError:
        return None


def _test(read: Read, sign: str, value: str, quoted: bool) -> Callable[[PointSummary], bool]:
    wanted: float | None = None
    if not quoted:
        with contextlib.suppress(ValueError):
            wanted = float(value)
    compare = _SIGNS[sign]

    def test(point: PointSummary) -> bool:
        given = read(point)
        if is_number(given) and wanted is not None:
            # As it is shown, a rate has three digits.
            same = math.isclose(given, wanted, rel_tol=1e-9) or format_value(given) == value
            if sign in ("==", "=", "!="):
                return same == (sign != "!=")
            return compare(given, wanted) or (same and sign in ("<=", ">="))
        if sign not in ("==", "=", "!="):
            left, right = _length(given), _length(value)
            if left is None or right is None or left.unit != right.unit:
                return False
            return compare(left.value, right.value)
        texts = {format_value(given), str(given)} if given is not None else {"", "null", "none"}
        return (value in texts) == (sign != "!=")

    return test


def _order(value: Any) -> tuple[int, float, str] | None:
    """The place of a value among others: numbers by size, then lengths by unit and size, then texts
    by letters; None of none."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return None
    if is_number(value):
        return 0, float(value), ""
    if (length := _length(value)) is not None:
        return 1 + _UNITS.index(length.unit), length.value, ""
    return 1 + len(_UNITS), 0.0, format_value(value)
