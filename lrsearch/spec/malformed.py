"""Text that is no YAML: where it stops being any, and which slip of the pen may be why."""

from __future__ import annotations

import contextlib
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from lrsearch import catalogue
from lrsearch.errors import Fault

if TYPE_CHECKING:
    import yaml

_QUOTES = "\u201c\u201d\u201e\u00ab\u00bb\u2018\u2019\u201a"
ODD = {
    **dict.fromkeys("\u00a0\u2007\u202f\u3000\u2002\u2003\u2009", "a plain blank"),
    **dict.fromkeys("\u200b\u200c\u200d\u2060\ufeff", "nothing"),
    **dict.fromkeys(_QUOTES, "a plain quote"),
    "\uff1a": "a colon and a blank",
    "\uff0c": "a comma",
}
"""Characters that look like others and mean nothing to YAML, and what to write in their place."""

_ASSIGNED = re.compile(r"\s*([A-Za-z_][\w.-]*)\s*=\s*(\S.*)")
_TIGHT = re.compile(r"\s*([A-Za-z_][\w.-]*):([^\s/:].*)")
_COLONS = re.compile(r"(['\"]).*?\1|:\s")

_QUOTING = {
    "unknown escape character": "between double quotes a backslash begins an escape: write the "
    "text between single quotes, such as 'loss: ([\\d.]+)'",
    "cannot start any token": "a text that begins with such a sign stands between quotes",
    "expected alphabetic or numeric": "a text that begins with such a sign stands between quotes",
}
"""Hints for text that YAML takes for another construct, by a part of YAML's own message."""

TEXTS = ("command", "loop", "name")
"""Keys whose values are texts."""

NAMED = ("data", "model", "optimizer", "schedule", "warmup", "prune")
"""Keys whose values are a name, or a mapping with more than that."""

TOPS = ("train", "search", "objective", "params", *catalogue.SETTINGS)
"""Keys that stand at the top level alone."""

KNOWN = {
    *(*catalogue.TRAIN, *TEXTS, *NAMED, *TOPS, *catalogue.WARMUP, "min", "max", "points", "auto"),
    *("metric", "goal", *(key for table in catalogue.SETTINGS.values() for key in table)),
    *(
        key
        for table in catalogue.GROUPS.values()
        for each in table.values()
        for key in each.parameters
    ),
}
"""Keys that a spec may have."""

LONGEST = 80
"""Characters of a line that are shown."""

_COLON = "text that has a colon and a blank in it stands between single quotes"

_ENTRY = re.compile(r"(\s*(?:- +)*)(?:([A-Za-z_][\w.-]*):\s+)?(\S.*?)\s*")
"""The line of a key, if any, and its value."""

_MAPPING = re.compile(r"\{[^{}]*\}")


def explain(text: str, error: yaml.MarkedYAMLError) -> tuple[int, str, str]:
    """The line, from 1, of what is wrong in a text that YAML's parser refuses, the fault in words,
    and a hint."""
    mark = error.problem_mark or error.context_mark
    line, problem = mark.line + 1 if mark else 0, error.problem or str(error)
    if "'\\t'" in problem:
        given = _line(text.splitlines(), line)
        if not given[: len(given) - len(given.lstrip())].count("\t"):
            told = "stands between the words: write a blank there"
            told = told if "\t" in given.strip() else "ends the line: take it away"
            return line, f"not valid YAML: a tab {told}", ""
        return line, "a tab cannot indent YAML: use spaces", ""
    told = f"{error.context}, {problem}" if error.context else problem
    begun = error.context_mark.line + 1 if error.context_mark else line
    lines = text.splitlines()
    found = (
        _find_odd(lines, begun, line)
        or _find_assignment(lines, begun, line)
        or _find_dash(lines, problem, begun, line)
        or _find_open(lines, error, begun, line)
        or _find_indentation(lines, problem, line)
    )
    if found is not None:
        return found
    hint = next((words for part, words in _QUOTING.items() if part in problem), "")
    given = _line(lines, line)
    if re.search(r":\s+(['\"]).*?\1\s+\S", given) and "<scalar>" in problem:
        hint = _quoted(given, "a text that begins with a quote ends with it")
    elif "mapping values are not allowed" in problem or "but got ':'" in problem:
        hint = _quoted(given, _COLON)
    return line, f"not valid YAML: {told}", hint


_SECTION = re.compile(r"^\[[\w.]+\][ \t]*$", re.MULTILINE)
_KEYED = re.compile(r"^[ \t]*[\w-]+:(?:\s|$)", re.MULTILINE)
_SET = re.compile(r"^[\w.]+ *=.*", re.MULTILINE)
_PYTHON = re.compile(
    r"\s*(?:(?:import|from) [\w.]+(?: import.*)?|(?:def|class) \w+[(:].*|dict\(.*)$", re.M
)
_MARKUP = re.compile(r"\s*<[A-Za-z?!]")
_FIRST = "lrsearch init search.yaml --from mlp writes a first spec"


def find_language(text: str) -> tuple[int, str, str] | None:
    """The line, the fault and the hint for a text of another language; None for any other."""
    language, found, hint = "", None, _FIRST
    if _SECTION.search(text) and not _KEYED.search(text):
        language, found = "TOML", _SET.search(text)
        hint = "write [data] as data:, and a = 1 as a: 1, below it and further right"
    elif found := _PYTHON.match(text):
        language = "Python"
    elif found := _MARKUP.match(text):
        language = "XML or a web page"
    if found is None:
        return None
    line = text[: found.end()].count("\n") + 1
    return line, f"a spec is YAML, and this is {language}", hint


def written(value: object) -> str:
    """A plain value of YAML as it stands in braces."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {written(part)}" for key, part in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(written, value)) + "]"
    return (
        "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    )


def _quoted(line: str, rule: str) -> str:
    """A rule with the line to write where a text as a whole belongs in quotes."""
    match = _ENTRY.fullmatch(line.partition(" #")[0])
    text = quoted(line)
    if match is None or not text:
        return rule
    if rule == _COLON and not re.search(r":(?:\s|$)", match[3]):
        return ""  # It is another line that has one.
    return f"{rule}: write {text}"


def quoted(line: str) -> str:
    """A line's key with its value as one text in quotes, "" where that is long or a mapping."""
    match = _ENTRY.fullmatch(line.partition(" #")[0])
    if match is None or len(match[3]) > LONGEST or _MAPPING.fullmatch(match[3]):
        return ""
    return (f"{match[2]}: " if match[2] else "") + "'" + match[3].replace("'", "''") + "'"


def find_assigned(text: str) -> str:
    """The hint for text of lines such as `lr = 0.1`, "" for any other."""
    match = re.search(r"(?:^|\s)([A-Za-z_][\w.-]*)\s*=\s*(\S+)", text)
    return f"write {match[1]}: {_short(match[2])}" if match else ""


def find_odd(text: str) -> tuple[str, str] | None:
    """The fault and the hint for a text with a blank in it that is none to YAML."""
    char = next((char for char in text if ODD.get(char) == "a plain blank"), None)
    if char is None:
        return None
    name = unicodedata.name(char).lower()
    return f"a {name} (U+{ord(char):04X}) stands there", "write a plain blank in its place"


def is_in_odd_quotes(text: str) -> bool:
    """Whether a text stands between typographic quotes, which are letters to YAML."""
    return len(text) > 1 and text[0] in _QUOTES and text[-1] in _QUOTES


def _line(lines: list[str], number: int) -> str:
    return lines[number - 1] if 0 < number <= len(lines) else ""


def _find_odd(lines: list[str], begun: int, line: int) -> tuple[int, str, str] | None:
    """A character that looks like another, at the fault or on the line before it."""
    for number in range(line, max(0, min(begun, line) - 2), -1):
        for char in _line(lines, number).partition(" #")[0]:
            if char in ODD:
                name = unicodedata.name(char, "an invisible character").lower()
                told = f"not valid YAML: a {name} (U+{ord(char):04X}) stands there"
                return number, told, f"write {ODD[char]} in its place"
    return None


def _find_assignment(lines: list[str], begun: int, line: int) -> tuple[int, str, str] | None:
    """A line such as `lr = 0.1`, or `lr:0.1`, at the fault or right before it."""
    for number in dict.fromkeys((begun, line, line - 1)):
        given = _line(lines, number)
        for pattern, lack in ((_ASSIGNED, "':'"), (_TIGHT, "a blank after the colon")):
            match = pattern.fullmatch(given)
            if match and not re.search(r"[\w\"']:\s", given):
                told = f"not valid YAML: '{_short(given.strip())}' lacks {lack}"
                return number, told, f"write {match[1]}: {_short(match[2].strip())}"
    return None


def _find_dash(
    lines: list[str], problem: str, begun: int, line: int
) -> tuple[int, str, str] | None:
    """An entry of a list without a blank after its dash, or a list on the line of its key."""
    given = _ENTRY.fullmatch(_line(lines, line).partition(" #")[0])
    if "sequence entries are not allowed" in problem and given and given[2]:
        parts = [part for part in re.split(r"(?:^|\s)-\s+", given[3]) if part]
        told = "not valid YAML: a list on the line of its key stands between brackets"
        return line, told, f"write {given[2]}: [{_short(', '.join(parts))}]"
    for number in dict.fromkeys((begun, line - 1, line)):
        found = re.fullmatch(r"\s*-([^\s-].*)", _line(lines, number).partition(" #")[0])
        if found:
            told = f"not valid YAML: '-{_short(found[1].strip())}' lacks a blank after the dash"
            return number, told, f"write - {_short(found[1].strip())}"
    return None


def _is_closed(lines: list[str], begun: int, pair: str) -> bool:
    """Whether what is opened on a line is closed by what follows."""
    text = "\n".join(lines[begun - 1 :])
    return text.count(pair[0]) == text.count(pair[1])


def _find_open(
    lines: list[str], error: yaml.MarkedYAMLError, begun: int, line: int
) -> tuple[int, str, str] | None:
    """A brace, bracket or quote that is opened on one line and not closed there."""
    context, problem = error.context or "", error.problem or ""
    if "quoted scalar" in context and ("end of stream" in problem or begun < line):
        return begun, "not valid YAML: a quote that is opened there is not closed", ""
    signs = {"flow mapping": "{}", "flow sequence": "[]"}
    opened = next((pair for what, pair in signs.items() if what in context), None)
    if other := re.search(r"or '([\]}])', but got '([\]}])'", problem):
        told = f"not valid YAML: what is opened there ends with {other[1]}, not with {other[2]}"
        return line, told, f"close it with {other[1]}"
    if opened and begun < line and "but got" in problem and _is_closed(lines, begun, opened):
        told = "not valid YAML: a comma is missing before this line"
        return line, told, f"what stands between {opened[0]} and {opened[1]} has commas in between"
    if opened is None or (begun >= line and "stream end" not in problem):
        return None
    return (
        begun,
        f"not valid YAML: a {opened[0]} that is opened there is not closed",
        (f"close it with {opened[1]}"),
    )


def _find_indentation(lines: list[str], problem: str, line: int) -> tuple[int, str, str] | None:
    """A line that stands neither below the key before it nor within it."""
    colons = len(
        [found for found in _COLONS.finditer(_line(lines, line) + " ") if found[0][0] == ":"]
    )
    within = "mapping values are not allowed" in problem and colons < 2
    beside = "<block end>" in problem and "block mapping start" in problem
    before = next((at for at in range(line - 1, 0, -1) if _bare(_line(lines, at))), 0)
    if not before or not (within or beside):
        return None
    own, other = (_indent(_line(lines, number)) for number in (line, before))
    if own == other:
        return None
    above = _ENTRY.fullmatch(_bare(_line(lines, before)))
    if own > other and above is not None and above[2]:
        told = f"'{above[2]}' has a value on its line, and this line is within it"
        if above[2] == "command" or re.match(r"[^\[{].*[^\s,] [^\s,]", above[3]):
            text = f"{above[3]} {_bare(_line(lines, line)).strip()}".replace("'", "''")
            line_ = f"write {above[2]}: '{text}'" if len(text) <= LONGEST else _COLON
            return line, f"not valid YAML: {told}", f"a long text goes on in quotes: {line_}"
        if above[2] in NAMED:
            own_key = "for" if above[2] == "warmup" else "name"
            hint = f"below '{above[2]}:' alone write {own_key}: {_short(above[3])}, indented, too"
            return line, f"not valid YAML: {told}", hint
    told = f"this line is indented by {own}, the one before it by {other}"
    hint = "the keys of one mapping stand right below each other, those within it further right"
    return line, f"not valid YAML: {told}", hint


def _bare(line: str) -> str:
    return line.partition("#")[0].strip()


def _short(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


_CONFLICT = re.compile(r"\s*(<{7}|\|{7}|={7}|>{7})(\s.*)?")
_FENCE = re.compile(r"\s*(```|~~~)\s*\w*\s*")


def without_marks(text: str) -> tuple[str, list[tuple[int, str, str]]]:
    """A text with empty lines for those of a merge that was not finished and of Markdown: the first
    version and the first block of code stay. Beside it the line, the fault and the hint of each."""
    lines, told = text.split("\n"), []
    marks = [(at, match[1][0]) for at, each in enumerate(lines) if (match := _CONFLICT.match(each))]
    begun, cut = -1, -1
    for at, sign in marks:
        if sign == "<":
            begun, cut = at, -1
        elif begun >= 0 and sign == ">":
            cut = at if cut < 0 else cut
            middle = max(each for each, _ in marks if each < at)
            kept = f"keep {_span(begun + 1, cut)} or {_span(middle + 1, at)}"
            hint = (
                f"{kept}, and take the signs on lines {begun + 1}, {middle + 1} and {at + 1} away"
            )
            told.append((begun + 1, "not valid YAML: a merge is not finished there", hint))
            lines[begun] = ""
            lines[cut : at + 1] = [""] * (at + 1 - cut)
            begun = -1
        elif cut < 0:
            cut = at
    fences = [at for at, each in enumerate(lines) if _FENCE.fullmatch(each)]
    if fences:
        last = max(at for at, each in enumerate(lines) if each.strip()) + 1
        stop = fences[1] if len(fences) > 1 else last
        for begin, end in ((0, fences[0] + 1), (stop, last)):
            if begin < end:
                hint = f"take {_span(begin, end)} away"
                told.append((begin + 1, "not valid YAML: that is Markdown around a spec", hint))
                lines[begin:end] = [""] * (end - begin)
    return "\n".join(lines), told


def _span(begin: int, end: int) -> str:
    """Lines in words, by their indices; `end` is the first that is none of them."""
    return f"lines {begin + 1} to {end}" if end > begin + 1 else f"line {begin + 1}"


_BEHIND = re.compile(r"( *(?:- +)*[A-Za-z_][\w.-]*:)(\s+)(\S.*)")
"""A key that begins a line, the blanks behind its colon, and its value."""


def plain_blanks(text: str, source: str) -> tuple[str, list[Fault]]:
    """A text with plain blanks before its lines, and the faults of those that began with others,
    which are letters to YAML."""
    lines, faults = text.split("\n"), []
    for at, line in enumerate(lines):
        odd = find_odd(line[: len(line) - len(line.lstrip())])
        if odd is not None:
            above = next((each for each in reversed(lines[:at]) if each.strip()), "")
            width = len(above) - len(above.lstrip()) + 2 * above.rstrip().endswith(":")
            lines[at] = " " * width + line.strip()
            hint = f"write {line.strip()}, with {width or 'no'} blanks before it"
            faults.append(Fault(at + 1, "", f"not valid YAML: {odd[0]}", source, hint))
        elif (match := _BEHIND.fullmatch(line)) and (odd := find_odd(match[2])):
            lines[at] = f"{match[1]} {match[3]}"
            hint = f"write {lines[at].strip().removeprefix('- ')}"
            faults.append(Fault(at + 1, "", f"not valid YAML: {odd[0]}", source, hint))
    return "\n".join(lines), faults


def no_text(error: Exception, text: str, source: str) -> Fault:
    """The fault of a text with a character that YAML does not have."""
    place, char = getattr(error, "position", None), getattr(error, "character", None)
    if place is None or not isinstance(char, int) or unicodedata.category(chr(char)) != "Cc":
        reason = getattr(error, "reason", str(error))
        return Fault(0, "", f"not a text file: {reason}", source)
    told = f"a control character (U+{char:04X}) stands there, and YAML has none"
    line = len(re.findall(r"\r\n|\r|\n", text[:place])) + 1
    return Fault(line, "", told, source, "take it away")


def again(slip: Fault, line: int, hint: str) -> Fault:
    """An earlier slip, with the line to write that is written there now."""
    if slip.line != line or not hint.startswith("write ") or not slip.hint.startswith("write "):
        return slip
    hint, moved = re.sub(r" on line \d+", "", hint), re.search(", with [^,]*$", slip.hint)
    return replace(slip, hint=hint + (moved[0] if moved and ", with " not in hint else ""))


def doubt(text: str, path: tuple[str | int, ...]) -> tuple[str, str]:
    """The fault and the hint for a whole number that begins with 0: octal for YAML 1.1, decimal for
    1.2, and often meant as a text."""
    decimal, octal = int(text), set(text) <= set("+-01234567")
    other = f", which is {int(text, 8)} where it is read as octal" if octal else ""
    key = f"{path[-1]}: " if path and isinstance(path[-1], str) else ""
    told = f"{text} begins with 0{other if octal and int(text, 8) != decimal else ''}"
    return told, f"write {key}{decimal}, or {key}'{text}' for a text"


def without_end(text: str, path: tuple[str | int, ...]) -> str:
    """A plain text without the signs at its end that nothing in it opens, between the brackets that
    it lacks where it is a list; "" for any other text, and what may be one of the user's own."""
    match = re.fullmatch(r"([^\[\](){}'\"<>|:]*[\w.])\s*([\]},;\\]+)", text)
    own = {"command", "metrics", "params", "init_args"} & {*path}
    key = next((part for part in reversed(path) if isinstance(part, str)), "").rpartition(".")[2]
    if match is None or own or key not in KNOWN:
        return ""
    return f"[{match[1]}]" if match[2] == "]" and "," in match[1] else match[1]


_PLAIN = re.compile(
    r"(?!.*(---|\.\.\.|[:-][ \t]+#\S))[\w .,:;#'\"\[\]{}()+/=<\n-]*", re.ASCII | re.DOTALL
)
"""The texts of which both parsers of PyYAML make the same, but for the place of a value that is not
there, which is asked for before a comment alone."""


def read_events(text: str) -> Iterator[Any]:
    """The events of YAML's parser for a text."""
    import yaml

    if _PLAIN.fullmatch(text) and hasattr(yaml, "CSafeLoader"):
        # A tenth of the time. What is no YAML is told in the words of the other.
        with contextlib.suppress(yaml.YAMLError):
            yield from [*yaml.parse(text, Loader=yaml.CSafeLoader)]
            return
    mark: Any = None
    try:
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            mark = event.end_mark
            yield event
    except (ValueError, OverflowError):
        # PyYAML hands "\UFFFFFFFF" to chr() unchecked.
        problem = "an escape names no character"
        raise yaml.MarkedYAMLError(problem=problem, problem_mark=mark) from None
