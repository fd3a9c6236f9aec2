"""Listening to a command: the metrics in its output. Free of torch.

Without `metrics` in the spec they are objects of JSON, or Python's dicts, that end their line; with
`metrics` they are the matches of the patterns. A message is a mapping of names to numbers, with
perhaps a `step`.
"""

from __future__ import annotations

import ast
import contextlib
import json
import math
import re
import signal
import threading
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from lrsearch.errors import TrainingError
from lrsearch.space import is_number
from lrsearch.train.users.lines import decode

Message = dict[str, Any]

LONGEST_LITERAL = 1 << 14
"""The most characters of a Python dict that is read."""

LONGEST_MATCHED = 4096
"""Characters of a line, the first ones, that patterns are matched with."""

PATIENCE = 2.0
"""Seconds of computing that the patterns may take for one line."""

# objects


def read_json(text: str) -> Any:
    """The JSON that a whole text is, None for any other text."""
    try:
        try:
            return json.loads(text)
        except json.JSONDecodeError:
            return None
        except ValueError:  # Of more digits than Python reads as a whole number.
            return json.loads(text, parse_int=float)
    except (ValueError, RecursionError):
        return None


def read_literal(text: str) -> Any:
    """The Python dict that a whole text is, None for any other text."""
    if len(text) > LONGEST_LITERAL:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Of escapes that look wrong: it is not our code.
            return _evaluate(ast.parse(_HISTORY.sub("", text), mode="eval").body)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


_HISTORY = re.compile(r", grad_fn=<\w+>")
"""torch's note of a tensor's gradient, which Python cannot read."""

_WRAPPED = re.compile(r"(?:\w+\.)*(?:tensor|array|Array|b?float\d*|u?int\d*|Decimal)")
"""Wrappers in which numbers are shown: `tensor(0.5)`, `np.float64(0.5)`."""


def _evaluate(node: ast.expr) -> Any:
    """The value of an expression that is a literal, None for any other."""
    match node:
        case ast.Dict():
            keys = [key.value if isinstance(key, ast.Constant) else None for key in node.keys]
            pairs = zip(keys, map(_evaluate, node.values), strict=True)
            return {key: value for key, value in pairs if isinstance(key, str)}
        case ast.Constant():
            return node.value
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            value = _evaluate(operand)
            return -value if isinstance(value, int | float) else None
        case ast.Name(id=name) | ast.Attribute(attr=name) if name in ("nan", "inf"):
            return float(name)
        case ast.List(elts=parts) | ast.Tuple(elts=parts):
            return [_evaluate(part) for part in parts]
        case ast.Call(func=called, args=[first, *_]) if _WRAPPED.fullmatch(ast.unparse(called)):
            return _evaluate(first)
    return None


_MARK = re.compile(
    r"""
    \[[^\[\]]*\] | \([^()]*\)                          # [train], [12:00:00], (rank 0)
    | \d[\d/:.,T+-]*(?:Z|%|it/s|s/it|m?s)?(?![A-Za-z])  # dates, times, 40%, 5.1it/s
    | (?:trace|debug|info|notice|warn(?:ing)?|error|critical|fatal|stdout|stderr)\b
    | (?:mon|tue|wed|thu|fri|sat|sun|jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)\b
    | (?:am|pm|utc|gmt|cet|[iwef]\d{4})\b
    | (?:step|epoch|iter|iteration|eval|val|valid|validation|metrics)\b
    | [\w./-]+\.py\b | \w+(?:\.\w+)+(?![\w.]) | __main__\b | root\b | rank\s?\d+
    | (?<=:)[\w<>]+(?=:) | (?<=-\ )\w+(?=\ -) | [\w.-]+\s*(?=\|)   # INFO:name:, - name -, web-1 |
    | \w+:[\w<>]+:\d+                                  # module:function:12
    | [^\w\[(]+ | [\[(]
    """,
    re.VERBOSE | re.IGNORECASE,
)
"""A part of the prefix of a log's line, or of a bar's."""

_LONGEST_PREFIX = 400


def _is_prefix(text: str) -> bool:
    """Whether a text is a prefix such as logs and bars write, without words of a message."""
    at = 0
    while at < len(text):
        found = _MARK.match(text, at)
        if found is None or len(text) > _LONGEST_PREFIX:
            return False
        at = found.end()
    return True


@dataclass(frozen=True)
class Found:
    """An object that ends a line: its `content`, and whether it is `plain`, JSON without a
    prefix."""

    content: Message
    plain: bool


def find_object(text: str, *, after: bool = False) -> Found | None:
    """The object that ends a line. Before it may stand a prefix of a log or a bar; any text, where
    the line comes `after` one that it overwrites."""
    before, brace, rest = text.partition("{")
    if not brace or not rest.endswith("}") or not (after or _is_prefix(before)):
        return None
    content = read_json(brace + rest)
    if isinstance(content, dict):
        return Found(content, not before)
    content = read_literal(brace + rest)
    return Found(content, False) if isinstance(content, dict) else None


def widen(content: Message, objective: str) -> Message:
    """The content with the objective's metric as a number where its value is plainly one: text that
    reads as a number, a list of one number, or a number in an inner mapping (`eval.loss`). With it,
    text counts as a number elsewhere in the content, too."""
    number = as_number(_dig(content, objective))
    if number is None:
        return content
    found = {
        name: float(value) if isinstance(value, str) and _PLAIN.fullmatch(value.strip()) else value
        for name, value in content.items()
    }
    return found | {objective: number}


_PLAIN = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")


def _dig(content: Mapping[str, Any], name: str) -> Any:
    if name in content:
        return content[name]
    for key, value in content.items():
        if isinstance(value, Mapping) and name.startswith((f"{key}.", f"{key}/")):
            found = _dig(value, name[len(key) + 1 :])
            if found is not None:
                return found
    return None


def as_number(value: Any) -> float | int | None:
    """A number, also from text or from a list of one; None for any other value."""
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, str):
        return read_number(value)
    return value if is_number(value) else None


# numbers in text

_MINUS = "\u2212"
"""The sign that typography has for a minus."""

_DIGITS = r"(?:(?:[1-9]\d{0,2}(?:,\d{3})+(?!\d)|\d+)(?:\.\d*)?|\.\d+)(?:e[-+]?\d+)?"
_NUMBER = re.compile(_DIGITS, re.IGNORECASE)
_THOUSANDS = re.compile(r"[-+]?[1-9]\d{0,2}(?:,\d{3})+(?:\.\d*)?(?:[eE][-+]?\d+)?")
_COMMA = re.compile(r"[-+]?\d+,\d+")
_UNUSUAL = re.compile(
    rf"(?<![\w.])(?:[-+]?(?:nan|inf(?:inity)?)(?![\w.])|[-+]{_DIGITS}"
    r"|(?:\d+\.?\d*|\.\d+)e[-+]?\d+|[1-9]\d{0,2}(?:,\d{3})+(?!\d)(?:\.\d*)?)",
    re.IGNORECASE,
)
"""Numbers of which `[\\d.]+` finds a part, or nothing: signed, with an exponent, not finite."""


def read_number(text: str) -> float | None:
    """The number a text is, or None: `1,234.5` has thousands, `0,5` a decimal comma, 91% is 0.91,
    `nan` and `inf` are themselves."""
    body = text.strip().strip("'\"").replace(_MINUS, "-").rstrip(".,;: ")
    share = body.endswith("%")
    body = body.rstrip("% ")
    if _THOUSANDS.fullmatch(body):
        body = body.replace(",", "")
    elif _COMMA.fullmatch(body):
        body = body.replace(",", ".")
    try:
        value = float(body)
    except ValueError:
        return None
    return value / 100 if share else value


def match_number(pattern: re.Pattern[str], text: str) -> tuple[bool, float | None]:
    """Whether a pattern matches, and the number in its group. Where the group holds a part of a
    number alone, such as 1.2 of 1.2e-05 or 0 of 0.91, the whole number counts; where the pattern
    fails since the number has a sign, an exponent, or is `nan`, that number counts."""
    if _MINUS not in pattern.pattern:
        text = text.replace(_MINUS, "-")
    for missing in ("0.0000", "0") if _UNUSUAL.search(text) else ():
        plain, places = _write_plainly(text, missing)
        found = pattern.search(plain)
        if found is not None and found[1] is not None:
            at = found.start(1)
            values = (value for start, end, value in places if start <= at < end)
            return True, next(values, _group(found))
    found = pattern.search(text)
    if found is None:
        return False, None
    return True, _group(found)


def match_lines(
    pattern: re.Pattern[str], lines: Sequence[str], at: int
) -> tuple[bool, float | None]:
    """`match_number` with the line of an index, and where that does not match, together with as
    many lines before it as the pattern has line feeds; [^\\n] only excludes them. What these lines
    before hold alone is no match: it was one with them."""
    above, alone = _lines_above(pattern.pattern), match_number(pattern, lines[at])
    if alone[0] or not above:
        return alone
    window = lines[max(0, at - above) : at + 1]
    if pattern.search("\n".join(window[:-1])):
        return False, None
    return match_number(pattern, "\n".join(window))


def _lines_above(pattern: str) -> int:
    """The number of line feeds in a pattern: it is matched with so many lines before a line."""
    return len(_LINE_FEED.findall(pattern))


_LINE_FEED = re.compile(r"\\n|\n")


def _group(found: re.Match[str]) -> float | None:
    if found[1] is None:
        return None
    start, end = found.span(1)
    whole = _NUMBER.match(found.string, start)
    if whole is not None and whole.end() > end == found.end():
        return read_number(whole[0])
    return read_number(found[1])


def _write_plainly(text: str, missing: str) -> tuple[str, list[tuple[int, int, float]]]:
    """The text with unusual numbers written as plain decimals, without their sign, and their
    places; `missing` stands for a number that is not finite."""
    parts: list[str] = []
    places: list[tuple[int, int, float]] = []
    at = length = 0
    for found in _UNUSUAL.finditer(text):
        value = float(found[0].replace(",", ""))
        shown = format(Decimal(repr(abs(value))), "f") if math.isfinite(value) else missing
        parts += [text[at : found.start()], shown]
        length += found.start() - at
        places.append((length, length + len(shown), value))
        length, at = length + len(shown), found.end()
    return "".join([*parts, text[at:]]), places


# streams


_SEAM = re.compile(r"(?<=\})(?=\{)")

_MOST_AT_ONCE = 64


class Objects:
    """Reader of the objects on the lines of one stream. Any JSON object alone on a line of stdout
    counts; all others must hold the objective's metric, or a step."""

    def __init__(
        self,
        take: Callable[[Message], object],
        objective: str,
        params: Mapping[str, Any],
        *,
        plain: bool = True,
    ) -> None:
        self._take = take
        self._objective = objective
        self._params = params
        self._plain = plain
        self._after = False
        self._first = True

    def line(self, line: bytes, ended: bool) -> None:
        """Read a line, `ended` or to be overwritten."""
        after, self._after = self._after, not ended
        if b"{" not in line or b"}" not in line:
            return
        text = decode(line)
        found = find_object(text, after=after)
        if found is not None:
            self._take_found(found)
            return
        # Processes that print at once: the objects come first, and then their line feeds.
        *pieces, rest = _SEAM.split(text, _MOST_AT_ONCE)
        for piece in filter(None, map(find_object, (*pieces, rest) if pieces else ())):
            self._take_found(piece)

    def _take_found(self, found: Found) -> None:
        content = widen(found.content, self._objective)
        if not (self._plain and found.plain):
            held = as_number(content.get(self._objective)) is not None
            if not held and not (self._plain and "step" in content):
                return
        if self._first and repeats_settings(content, self._params, self._objective):
            return
        self._first = False
        self._take(content)

    def finish(self) -> None:
        """Read to the end: there are no more lines."""


_STEPS = ("step", "epoch", "iter", "iteration", "global_step")


def repeats_settings(content: Message, params: Mapping[str, Any], objective: str) -> bool:
    """Whether an object without a step only prints the trial's parameters: it has all of them, and
    another value that is no number. An object with the objective's metric, which is no parameter,
    is a report, whatever else it repeats."""
    if not params or any(key in content for key in _STEPS):
        return False
    if objective not in params and as_number(content.get(objective)) is not None:
        return False
    repeated = all(name in content and content[name] == value for name, value in params.items())
    others = (value for name, value in content.items() if name not in params)
    return repeated and any(isinstance(each, str | bool | list | dict | None) for each in others)


class Patterns:
    """Reader of the numbers that the patterns of `metrics` find on the lines of one stream.

    Metrics belong to the last step found; where there is none, one that comes again begins the
    next. Of lines that overwrite each other the last counts. A pattern with line feeds is matched
    with the lines before, too, blank ones left out.
    """

    def __init__(self, take: Callable[[Message], object], metrics: Mapping[str, str]) -> None:
        self._take = take
        self._patterns = {name: re.compile(pattern) for name, pattern in metrics.items()}
        most = max(map(_lines_above, metrics.values()), default=0)
        self._above: deque[str] = deque(maxlen=most)
        self._step: int | None = None
        self._count = 0
        self._row: set[str] = set()
        self._held: dict[str, float] = {}

    def line(self, line: bytes, ended: bool) -> None:
        """Read a line, `ended` or to be overwritten. Raises TrainingError where the patterns take
        too long."""
        text = decode(line[: 4 * LONGEST_MATCHED])[:LONGEST_MATCHED]
        found = self._find(text)
        step = found.pop("step", None)
        if step is not None:
            before = self._step
            whole = step.is_integer() and 0 <= step < 2**53
            after = int(step) if whole else (before or 0) + 1
            if after != before:
                self.finish()
            self._step = after
        self._held |= found
        if ended:
            self.finish()
            if text:
                self._above.append(text)

    def _find(self, text: str) -> dict[str, float]:
        found: dict[str, float] = {}
        lines = [*self._above, text]
        name = ""
        try:
            with _limited(PATIENCE):
                for name, pattern in self._patterns.items():
                    _, value = match_lines(pattern, lines, len(lines) - 1)
                    if value is not None:
                        found[name] = value
        except _TooSlow:
            raise TrainingError(
                f"the pattern {self._patterns[name].pattern!r} takes more than {PATIENCE:g} "
                f"seconds for one line: {text[:80]!r}",
                where=f"metrics.{name}",
                hint="what is repeated inside of what is repeated, such as (a+)+, tries every "
                "division of the text: write it plainly, such as 'loss: ([\\d.]+)'",
            ) from None
        return found

    def finish(self) -> None:
        """Pass on the numbers found that no line overwrote."""
        held, self._held = self._held, {}
        if not held:
            return
        if self._step is None:
            if not self._count or self._row & held.keys():
                self._count += 1
                self._row = set()
            self._row |= held.keys()
        self._take({**held, "step": self._count if self._step is None else self._step})


class _TooSlow(Exception):
    pass


@contextlib.contextmanager
def _limited(seconds: float) -> Iterator[None]:
    """Limit the seconds of computing within: raises _TooSlow after them. Matching checks for
    signals as it goes, and these reach the main thread alone: in any other thread there is no
    limit."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(*_: object) -> None:
        raise _TooSlow

    before = signal.signal(signal.SIGVTALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0.0)
        signal.signal(signal.SIGVTALRM, before)
