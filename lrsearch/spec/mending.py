"""Lines that are no YAML, and those that were meant: tried, and told only where YAML reads them."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lrsearch import catalogue
from lrsearch.spec.malformed import KNOWN, NAMED, ODD, TEXTS, TOPS, find_odd, quoted

if TYPE_CHECKING:
    import yaml

_LONGEST = 200
"""Characters of a line that is mended."""

_PAIRS = {"{": "}", "[": "]", "(": ")"}

_KEY = r"[A-Za-z_](?:[\w.-]*\w)?"
_ALONE = re.compile(rf"[^\w\[\]]*({_KEY})[^\w\[\]]*")
_SAID = tuple(
    (re.compile(pattern), meant)
    for pattern, meant in (
        (rf"(?:[-*+>|\u2022\u00b7\u2013\u2014]+|//|\d+[.)])\s*({_KEY}\s*:.*)", r"\1"),
        (
            rf"(?!{_KEY}\s*:(?:\s|$))({_KEY})"
            r"\s*(?:=+>|-+>|:=|:(?!//)|=|;|\s-\s|[-.,]\s|\sis\s|\s)\s*([\w.+~$/\\-]+|[\[{'\"].*)",
            r"\1: \2",
        ),
        (rf"({_KEY})\s*:[\s:]*:\s+(.*)", r"\1: \2"),
        (rf"({_KEY}:\s+[^\s:]+):", r"\1"),
        (rf"({_KEY}:\s+)`([^`]*)`", r"\1\2"),
    )
)
"""A key and its value behind a bullet, with another sign than a colon, or with one too many."""
_AROUND = tuple(
    (re.compile(pattern), meant)
    for pattern, meant in (
        # A key behind the braces that it belongs in: lr: {min: 1e-4, max: 1}, points: 5.
        (rf"({_KEY}:\s+{{.*)}}\s*,\s*({_KEY}:\s[^{{}}]*)", r"\1, \2}"),
        # Another sign for the one that opens: }min: 1e-4, max: 1}.
        (rf"((?:-|{_KEY}:)\s*)[\]}}(]([^{{}}]*:\s[^{{}}]*)\}}", r"\1{\2}"),
        (rf"({_KEY}:\s+)[^\w\s\[{{('\"$-]+\s*([\[{{].*)", r"\1\2"),
        (rf"({_KEY})\s*([\[{{])\s*:\s*(.*)", r"\1: \2\3"),
        # A quote alone before or behind what is closed: "[32, 64].
        (
            rf"((?:- )?(?:{_KEY}:\s+)?)(['\"])(\{{(?:(?!\2).)*:\s(?:(?!\2).)*\}}|\[(?:(?!\2).)*\])",
            r"\1\3",
        ),
        (rf"((?:- )?(?:{_KEY}:\s+)?(?:\{{.*\}}|\[.*\]))['\"]+", r"\1"),
        # Words behind what is closed: [32, 64] ; a note.
        (r"(.*[}\]])\s+(?![\s,:])[#;%/<|* -]*([^:{}\[\]]*)", r"\1  # \2"),
        # A key and its value behind a quote or other signs: 'lr: 0.1, **lr**: 0.1.
        (rf"[^\w\s]+({_KEY})[^\w\s:]*\s*(:\s.*)", r"\1\2"),
    )
)
"""A line with something around it, or behind it."""
_WITHIN = r"(?:[^()\[\]{}]|\[[^\[\]{}]*\]|\{[^\[\]{}]*\})*?"
_PARTS = rf"({_WITHIN}:\s{_WITHIN})"
_ROUND = re.compile(rf"\({_PARTS}[)}}\]]|\[{_PARTS}\}}|\{{{_PARTS}\]")
"""A mapping between brackets of another kind: (min: 1e-4, max: 1)."""
_SQUARE = re.compile(r"\{([^\[\]{}:]+)\]|\[([^\[\]{}:]+)\}")
"""A list between a bracket and a brace: {32, 64]."""
_NEXT = re.compile(rf"(?<=[\]}}'\"])\s*[,;]?\s*(?=({_KEY}):(?:\s|$)|-\s)")
"""The place behind a whole value where a further line begins: [1, 2] seeds: 3."""
_LINES = {
    *(*catalogue.TRAIN, *catalogue.SETTINGS, *TEXTS, *NAMED),
    *("train", "search", "objective", "source", "target"),
}
"""Keys that begin a line."""
_TWO = re.compile(rf"({_KEY}):\s+([^\s,;:]+)(\s*[,;]\s*|\s+)({_KEY}:\s.*)")
_INNER = re.compile(rf"({_KEY}):\s+({_KEY}:\s.*)")
_QUOTE = re.compile(
    r"(?:[^'\"]|(?<=\w)'|(?<![\w'\"])(['\"])(?:(?!\1).)*\1)*?(?<![\w'\"])(['\"])(?:(?!\2).)*$"
)
"""A line with a quote, the second group, that is not closed."""
_MISQUOTED = re.compile(
    r"(?<=[\s:,\[{(])(?:'[\"']|\"['\"]|(?P<one>['\"]))(?P<word>[\w./*-]+)"
    r"(?(one)(?!(?P=one)\s*(?:[,}\])]|$)))['\"]{1,2}(?=\s*(?:[,}\])]|$))"
)
"""A word between quotes that differ, or that are doubled: 'mse", ''mse''."""
_EATEN = re.compile(r"(?<=[:,\[{])\s+#\s*(?=[\w'\".+-]+\s*[,}\]])")
"""A sign that takes what follows it for a comment: {min: #1e-3, max: 1}."""
_COMMA = re.compile(r"(?<=[^\s,:{\[])[.;]?\s+(?=(?:[A-Za-z_][\w.-]*|'[^']*'|\"[^\"]*\")\s*:\s)")
_EQUAL = re.compile(rf"(?<=[{{,\s])({_KEY})\s*=\s*(?=\S)")
_NOTHING = re.compile(rf"({_KEY}):\s+(?:\{{\}}|~|null)")
_CUT = re.compile(r"([A-Za-z_]+)[^\w\s]([A-Za-z_]+)(\s.*)?")
_MARKED = re.compile(r"(?<=[:,\[{\s])\s*[&*!%@>|?]\s+(?=[\w\[{])")
_SIGNED = re.compile(
    r"(?<=[:,\[{\s])(?:[%@`!?|>*&]+(?=[\w.])|-\s+(?=[A-Za-z])|(?<=:\s)[\]}]+(?=[\w.]))"
)
"""A sign before a value within braces, where text in quotes is unlikely."""
_PUT = re.compile(r"(?<=[:,\[\s])(\$\{[^}]*\}|%\([^)]*\)\w|[?@%&*!|>](?=\s*[,}\]]))")
"""A variable of a template, or a sign alone, within braces."""
_COLONS = ((re.compile(r"(?<=:)\s+:+\s*(?=[\w.])"), " "),
           (re.compile(rf"({_KEY}:\s+[\w.+-]+)\s*:+(?=\s*[,}}])"), r"\1"),
           (re.compile(rf"({_KEY}:\s+[\w.+-]+):\s+(?={_KEY}:\s)"), r"\1, "),
           (re.compile(rf"({_KEY}:\s+[\w.+-]+):\s+[\w.]+(?=\s*[,}}])"), r"\1"),
           (re.compile(rf"(?<=[{{,])(\s*{_KEY})\s*;\s*(?=\S)"), r"\1: "))  # fmt: skip
"""A colon for a comma within braces, a second value, and another sign for a colon."""
_CUTS = re.compile(r"([A-Za-z_]+)[^\w\s:.,'\"]([A-Za-z_]+)(?=:\s)")
"""A key of braces with a sign in it."""
_DASHES = re.compile(r"(?<=:\s)-\s+([\w.]+(?:\s+-\s+[\w.]+)*)(?=\s*[,}])")
"""A list of dashes within braces: {hidden: - 64 - 32}."""
_TEXT = re.compile(r"(command|loop)\s*(?:=+>|-+>|:=|[=;,]|\sis\s)\s*(.+)")


@dataclass(frozen=True)
class Mended:
    """A text in which one `line`, from 1, is replaced by the `count` lines that were meant; `hint`
    has them. `told` names a slip that the parser only noticed further down."""

    text: str
    line: int
    count: int
    hint: str
    told: str = ""


def mend(
    text: str, error: yaml.MarkedYAMLError, told_line: int, places: Sequence[int]
) -> Mended | None:
    """The text with the line mended that the parser stopped at, so that it reads further; None
    where no line is known that does. `places` has the line of the file for each of the text's."""
    import yaml

    mark, context = error.problem_mark, error.context_mark
    stopped = mark.line + 1 if mark else told_line
    begun = context.line + 1 if context else stopped
    if "stream" in (error.problem or ""):
        stopped = begun  # What is not closed goes on to the end.
    lines = text.splitlines()
    late = told_line == (mark.line + 1 if mark else 0) != begun and "simple key" in (
        error.context or ""
    )
    first = (begun, told_line) if late else (told_line, begun)
    last = next((n for n in range(stopped - 1, 0, -1) if _has_words(lines[n - 1])), 0)
    numbers = [
        number
        for number in dict.fromkeys((*first, stopped, stopped - 1, begun - 1, last))
        if 0 < number <= len(lines) and len(lines[number - 1]) <= _LONGEST
    ]
    above = next((each for each in reversed(lines[: told_line - 1]) if each.strip()), "")
    given = lines[told_line - 1] if 0 < told_line <= len(lines) else ""
    goes_on = _indent(given) and not re.match(rf"\s*{_KEY}\s*[:={{]", given)
    if goes_on and re.match(r"\s*command:\s+\S", above):
        return None  # A text goes on there: its lines are told as one.
    found: tuple[tuple[float, int], Mended] | None = None
    # The other parser takes a tenth of the time, and stops at the same lines.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    line, column_there = _stops(text, loader)
    if mark is None or line != stopped:
        loader, column_there = yaml.SafeLoader, mark.column if mark else 0
    for candidates in (_rewritten_lines, _divided_lines, _moved_lines):
        for number in numbers:
            given = lines[number - 1]
            for meant in candidates(lines, number, begun, stopped):
                if len(meant) == 1 and _divide(meant[0])[0] == _divide(given)[0]:
                    continue
                whole = "\n".join([*lines[: number - 1], *meant, *lines[number:]]) + "\n"
                further = _stops(whole, loader)
                # On the line itself columns are other ones.
                column = column_there if mark and number < stopped else len(whole)
                if further <= (max(stopped, number) + len(meant) - 1, column):
                    continue
                if found is None or further > found[0]:
                    lacks = late or (number < told_line and ":" not in given)
                    fault = "lacks ':'"
                    if _bare(meant[0]) == _bare(given) and _indent(meant[0]) > _indent(given):
                        fault = "is the value of the key before it"
                    told = f"not valid YAML: '{given.strip()}' {fault}" if lacks else ""
                    place = places[number - 1] if not told and number != told_line else 0
                    hint = _hint(given, meant, place)
                    found = further, Mended(whole, number, len(meant), hint, told)
                if candidates is not _moved_lines:
                    return found[1]
    return found[1] if found else None


def find_error(text: str) -> yaml.MarkedYAMLError | None:
    """The error at which the parser stops, found without reading all that stands before it; None
    where that is not certain."""
    import yaml

    found = _error(text, loader := getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    mark = None if found is None else found.context_mark or found.problem_mark
    if mark is None:
        return None
    lines, least = text.split("\n"), _indent(text.split("\n")[mark.line]) + 1
    for at in range(mark.line - 1, -1, -1):
        if _has_words(lines[at]) and _indent(lines[at]) < least:
            least = _indent(lines[at])  # What the line stands in, and one beside it.
        else:
            lines[at] = ""
    short = "\n".join(lines)
    if str(found) != str(_error(short, loader)):
        return None
    return _error(short, yaml.SafeLoader)


def _error(text: str, loader: Any) -> yaml.MarkedYAMLError | None:
    import yaml

    try:
        for _ in yaml.parse(text, Loader=loader):
            pass
    except yaml.MarkedYAMLError as error:
        return error
    except (yaml.YAMLError, ValueError, OverflowError):
        pass
    return None


def _stops(text: str, loader: Any) -> tuple[float, int]:
    """The line, from 1, and the column at which a text is no YAML, infinity where it is."""
    import yaml

    try:
        for _ in yaml.parse(text, Loader=loader):
            pass
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        return (mark.line + 1, mark.column) if mark else (0, 0)
    except (yaml.YAMLError, ValueError, OverflowError):
        return 0, 0
    return math.inf, 0


def _hint(given: str, meant: Sequence[str], line: int) -> str:
    """The lines to write, with their number where that is another than the fault's, and the blanks
    before them where these are other ones."""
    first, *others = map(_indent, meant)
    place = f" on line {line}" if line else ""
    if _indent(given) != first and not others:
        place += f", with {first or 'no'} blank{'s' if first != 1 else ''} before it"
    if not meant[0].strip():
        return "take it away" if not line else f"take line {line} away"
    hint = "\n  ".join(f"write {_bare(each)}{place}" for each in meant)
    for ahead in others:
        right = f", {ahead - first} blanks further right" if ahead > first else ""
        hint += f", on a line of its own{right}"
    return hint


_Candidates = Iterator[tuple[str, ...]]
"""Lines that may have been meant by one, the likeliest first."""


def _rewritten_lines(lines: Sequence[str], number: int, begun: int, stopped: int) -> _Candidates:
    """A line with its signs put right."""
    line = lines[number - 1]
    body, comment = _divide(line)
    indent, content = line[: len(line) - len(line.lstrip())], body.lstrip()
    above = next(
        (each for each in reversed(lines[: number - 1]) if _indent(each) < len(indent)), ""
    )
    if (
        above.startswith("metrics:") and not find_odd(content) and (text := quoted(content))
    ):  # Patterns are texts.
        yield (f"{indent}{text}{comment}",)
    before = next((each for each in reversed(lines[: number - 1]) if _has_words(each)), "")
    if content[:1] == "{" and re.match(rf"{indent}- ", before):  # An entry without its dash.
        yield (f"{indent}- {content}{comment}",)
    deeper = number < len(lines) and _indent(lines[number]) > _indent(line)
    inner = re.fullmatch(rf"({_KEY}):[\s,;]*({_KEY}:\s.*)", content)
    if deeper and inner and inner[1] not in NAMED:  # train: budget: 5ep above its other lines.
        yield (f"{indent}{inner[1]}:", f"{' ' * _indent(lines[number])}{inner[2]}{comment}")
    if _bare(before).endswith(":") and not re.match(rf"- |-?{_KEY}\s*:", content):
        yield (f"{' ' * (_indent(before) + 2)}{content}{comment}",)  # What the key before lacks.
    yield (_EATEN.sub(" ", line),)
    plain, own = _plain(lines, number, indent, content)
    yield (f"{own}{plain}{comment}",)
    once = [*dict.fromkeys(_rewritten(plain))]
    for meant in once:
        yield tuple(f"{own}{each}" for each in meant)
    for closed in _closed(lines, number, begun, plain):
        yield (f"{own}{closed}{comment}",)
    for first, *others in once:  # Two slips on one line.
        for closed in () if others else _closed(lines, number, begun, first):
            yield (f"{own}{closed}{comment}",)
        for meant in () if others else _rewritten(first):
            yield tuple(f"{own}{each}" for each in meant)
    match = _CUT.fullmatch(content)
    if match and match[1] + match[2] in KNOWN and deeper != bool(match[3]):
        # tr:ain above its block, or bud:get 20ep.
        yield (f"{indent}{match[1]}{match[2]}:{match[3] or ''}{comment}",)
    if deeper:
        match = _ALONE.fullmatch(content)
        match = match or (_NOTHING.fullmatch(content) if not indent else None)
        match = match or re.fullmatch(r"(train|search|params):\s+[^{\[\s].*", content)
        match = match or re.fullmatch(rf"({_KEY}):\s+[^\w\s'\"{{\[|>].*", content)
        if match:
            yield (f"{indent}{match[1]}:{comment}",)
    elif re.fullmatch(_KEY, content):  # A line that was cut off.
        yield (f"{indent}{content}:{comment}",)


def _divided_lines(lines: Sequence[str], number: int, begun: int, stopped: int) -> _Candidates:
    """A line whose value is the name in the mapping that the lines below it go on with."""
    body, comment = _divide(lines[number - 1])
    match = re.fullmatch(rf"( *)({'|'.join(NAMED)}):\s+([^\s{{\[].*)", body)
    width = _indent(lines[number]) if number < len(lines) else 0
    if match and width > len(match[1]):
        key = "for" if match[2] == "warmup" else "name"
        yield (f"{match[1]}{match[2]}:", f"{' ' * width}{key}: {match[3]}{comment}")


def _moved_lines(lines: Sequence[str], number: int, begun: int, stopped: int) -> _Candidates:
    """A line as far to the right as one above it, or its value taken for a text."""
    body, comment = _divide(lines[number - 1])
    content = body.strip()
    for other in _indents(lines, number) if re.match(r"-\s|.*?:(\s|$)", content) else ():
        if number < stopped and len(other) > _indent(body):
            continue  # Only what begins too far right makes that stop the parser further down.
        closed = ((each,) for each in _closed(lines, number, number, content))
        first = _balance(content)[0] if _find_closed(content)[0] else content
        for meant in dict.fromkeys(((first,), *_rewritten(content), *closed)):
            yield tuple(f"{other}{each}" for each in meant)
    # A mapping or a list is no text, whatever is wrong with it.
    braces = re.match(rf"{_KEY}:\s+[\[{{]", content)
    if (text := quoted(content)) and not text.startswith("'") and not braces:
        yield (f"{body[: _indent(body)]}{text}{comment}",)


def _divide(line: str) -> tuple[str, str]:
    """A line without its comment, and the comment with the blanks before it."""
    body, mark, rest = line.partition(" #")
    return (body.rstrip(" \t"), f"  #{rest}") if mark else (line.rstrip(" \t\r"), "")


def _has_words(line: str) -> bool:
    return bool(line.strip()) and not line.lstrip().startswith("#")


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip(" "))


def _plain(lines: Sequence[str], number: int, indent: str, content: str) -> tuple[str, str]:
    """A line's content with plain characters for those that look like them, and the blanks before
    it."""
    plain = "".join(ODD_SIGNS.get(char, char) for char in content).replace("\t", " ").strip()
    plain = re.sub(r"(?<=\w)\uff1a\s*", ": ", plain).replace("\uff1a", ": ")
    before = next((each for each in reversed(lines[: number - 1]) if each.strip()), "")
    own = indent
    key = re.match(r"[-\s]*(\w*)", plain)
    if indent.strip(" "):  # Tabs, or blanks of another kind.
        own = before[: _indent(before)] + ("  " if before.rstrip().endswith(":") else "")
        own = "" if key and key[1] in TOPS else own
    return plain, own


ODD_SIGNS = {
    **{sign: {"a plain blank": " ", "nothing": "", "a plain quote": '"', "a comma": ", "}[meant]
       for sign, meant in ODD.items() if meant != "a colon and a blank"},
}  # fmt: skip
"""Plain characters for those that look like them."""


_PLACED_IN = re.compile(
    r"((?:^|[{,]\s*)[A-Za-z_]\w*:\s+)((?:[^,'\"{}\[\]]|\{\s*[A-Za-z_]\w*\s*\})+)(?=[,}]|$)"
)
"""A key, and its value, which may hold placeholders."""


def _rewritten(content: str) -> Iterator[tuple[str, ...]]:
    """A line's content with the slips mended that one line shows."""
    if (text := _PLACED_IN.sub(_quote, content)) != content:
        yield (text,)
    yield (_MISQUOTED.sub(r"'\g<word>'", content),)
    yield from _parted(content)
    if match := re.fullmatch(r"(?:-|\*\s+)([^\s-][^:]*|[^\s*-].*)", content):
        yield (f"- {match[1]}",)
    yield (_MARKED.sub(" ", re.sub(rf"({_KEY}):([&*!%@])", r"\1: \2", content)),)
    if match := re.fullmatch(rf"({_KEY}):\s+-\s+(.*)", content):
        parts = [part for part in re.split(r"(?:^|\s)-\s+", match[2]) if part]
        yield (f"{match[1]}: [{', '.join(parts)}]",)
    yield (re.sub(r'"([^"\']*\\[^"\']*)"', r"'\1'", content),)  # "\d" has no such escape.
    for pattern, meant in _SAID:
        if match := pattern.fullmatch(content):
            yield (match.expand(meant),)
    if match := _TWO.fullmatch(content):
        sign = match[3].strip()
        blocks = ("data", "model", "train", "search", "objective", *TEXTS)
        if match[1] in NAMED and sign != ";" and match[4].partition(":")[0] not in blocks:
            key = "for" if match[1] == "warmup" else "name"
            yield (f"{match[1]}: {{{key}: {match[2]}, {match[4]}}}",)
        elif (
            (sign == ";" and match[1] != "command")
            or match[4].partition(":")[0] in _LINES
            or (match[1] not in TEXTS and (sign or match[2][:1].isdigit()))
        ):
            yield (f"{match[1]}: {match[2]}", match[4])
    if (match := _INNER.fullmatch(content)) and match[1] not in TEXTS:
        yield (f"{match[1]}: {{{match[2]}}}",)
    if re.search(r"[}\]][.,;:|!\\]+$", content):
        yield (content.rstrip(".,;:|!\\"),)
    for pattern, meant in _AROUND:
        if match := pattern.fullmatch(content):
            yield (match.expand(meant),)
    texts = content.startswith(TEXTS)
    if re.search(r"[{\[]" if texts else r"[{\[(]", content):
        plain = _ROUND.sub(r"{\1\2\3}", _SIGNED.sub("", _PUT.sub(r"'\1'", content)))
        if len(re.findall(r"[\[{]", plain)) == len(re.findall(r"[\]}]", plain)):
            plain = _SQUARE.sub(r"[\1\2]", plain)
        plain = _DASHES.sub(_listed, _CUTS.sub(_join_known, plain))
        for pattern, meant in _COLONS:
            plain = pattern.sub(meant, plain)
        begin = len(re.split(r"[(\[{]", plain)[0]) + 1
        inner = re.sub(r"(?<=[\w\]}'\"])\s+(?:&\s*)?(?=[\[{])", ", ", plain[begin:])
        yield (plain[:begin] + inner,)
        if re.search(r"(?:^|[\s,\[{])\([^()]*:\s", content):
            yield (_balance(content.translate({40: "{", 41: "}"}))[0],)
    if match := _TEXT.fullmatch(content):
        yield (f"{match[1]}: {match[2]}",)


def _join_known(match: re.Match[str]) -> str:
    """A key without the sign in it where that is one."""
    return match[1] + match[2] if match[1] + match[2] in KNOWN else match[0]


def _listed(match: re.Match[str]) -> str:
    """A list between brackets for one of dashes."""
    return "[" + re.sub(r"\s+-\s+", ", ", match[1]) + "]"


def _quote(match: re.Match[str]) -> str:
    """A value in braces, in quotes where it is no placeholder alone."""
    alone = re.fullmatch(r"[^{}]*|\{\s*\w+\s*\}", match[2].strip())
    return match[0] if alone else f"{match[1]}'{match[2].strip()}'"


def _parted(content: str) -> Iterator[tuple[str, ...]]:
    """The lines that stand on one, of which all but the last are whole."""
    parts, begin = [], 0
    for found in _NEXT.finditer(content):
        first = content[begin : found.start()]
        begins = found[1] in _LINES or content[:1] == content[found.end()] == "-"
        whole = re.match(rf"- |{_KEY}:\s", first) and not _QUOTE.match(first)
        if begins and whole and not _balance(first)[1]:
            parts.append(first)
            begin = found.end()
    if parts:
        yield (*parts, content[begin:])


def _closed(lines: Sequence[str], number: int, begun: int, content: str) -> Iterator[str]:
    """A line's content with what stands between braces put right: commas, colons, closing signs."""
    above = "\n".join(map(_bare, lines[begun - 1 : number - 1])) if begun < number else ""
    if not re.search(r"[\[\]{}]", above + content):
        if match := _QUOTE.match(content):
            yield content + match[2]
        return
    if match := _QUOTE.match(content):
        cut = re.search(r"[,}\]]", content[match.start(2) :])
        at = match.start(2) + cut.start() if cut else len(content)
        content = content[:at].rstrip() + match[2] + content[at:]
    # A line that begins within braces is all between them.
    begin = 0 if _balance(above)[1] else len(re.split(r"[\[{]", content)[0])
    joined = re.sub(rf"\s*(?:; |\u3001|&|\band\b)\s*(?={_KEY}:\s)", ", ", content[begin:])
    divided = re.sub(r",(?:\s*,)+", ",", _COMMA.sub(", ", re.sub(r"; (?![\[{])", ", ", joined)))
    divided = content[:begin] + divided
    yield from _balanced(re.sub(r"(?<=[a-z])[\]}](?=[a-z]+$)", "", content))
    for each in dict.fromkeys((content, divided, _EQUAL.sub(r"\1: ", divided))):
        yield each
        opened = _balance(above)[1]
        mended, left = _balance(each, opened)
        gap = " " if mended.endswith(":") else ""
        yield mended + gap + "".join(_PAIRS[sign] for sign in reversed(left))
        if opened or left:
            yield f"{each},"


def _balanced(content: str) -> Iterator[str]:
    """A line's content without a sign that opens twice, or with the one that opens what is only
    closed: behind a key, the nearest first."""
    if len(re.findall(r"[\[{]", content)) == len(re.findall(r"[\]}]", content)):
        yield _balance(content)[0]
    for sign, end in _PAIRS.items():
        if content.count(sign) > content.count(end):
            yield content.replace(sign * 2, sign)
    sign, at = _find_closed(content)
    if sign and content[-2:] == _PAIRS[sign] * 2:
        yield content[:-1]
    for match in reversed([*re.finditer(rf"{_KEY}:\s+|^-\s+", content[:at])]) if sign else ():
        inner = content[match.end() :]
        keyed = bool(re.match(rf"{_KEY}:\s", inner))
        if keyed if sign == "{" else ": " not in content[match.end() : at]:
            yield content[: match.end()] + sign + inner


def _find_closed(content: str) -> tuple[str, int]:
    """The sign that a line's content lacks, which is only closed, and where; "" for none."""
    opened: list[str] = []
    for at, char in enumerate(content):
        if char in "[{":
            opened.append(char)
        elif char in "]}":
            sign = next(sign for sign, end in _PAIRS.items() if end == char)
            if sign not in opened:
                return sign, at
            opened.pop()
    return "", 0


def _bare(line: str) -> str:
    return _divide(line)[0].strip()


def _balance(text: str, opened: Sequence[str] = ()) -> tuple[str, list[str]]:
    """A text with closing signs that fit what they close, those that close nothing left out, and
    the opening signs that none closes."""
    stack, made, quote = list(opened), "", ""
    for char in text:
        if quote:
            quote = "" if char == quote else quote
        elif char in "'\"" and (not made or not made[-1].isalnum()):
            quote = char
        elif char in _PAIRS:
            stack.append(char)
        elif char in _PAIRS.values():
            if not stack:
                continue
            # A sign that closes what stands further out leaves one out before it.
            while len(stack) > 1 and _PAIRS[stack[-1]] != char and _PAIRS[stack[-2]] == char:
                made += _PAIRS[stack.pop()]
            char = _PAIRS[stack.pop()]
        made += char
    return made, stack


_ENTERED = re.compile(rf" *- {_KEY}:\s")


def _indents(lines: Sequence[str], number: int) -> list[str]:
    """The indentations of the lines above, the nearest to that of a line first, and that of the
    line below where it is less."""
    own = _indent(lines[number - 1])
    if re.split(r"\W", lines[number - 1].lstrip(" -"))[0] in TOPS:
        return [""] if own else []
    below = next((_indent(line) for line in lines[number:] if _has_words(line)), own)
    above = {_indent(line) for line in lines[: number - 1] if line.strip()} - {own}
    above |= {min(below, own)} - {own}
    # Keys of an entry stand where its first one does, behind the dash.
    above |= {_indent(line) + 2 for line in lines[: number - 1] if _ENTERED.match(line)} - {own}
    return [" " * each for each in sorted(above, key=lambda each: (abs(each - own), -each))]
