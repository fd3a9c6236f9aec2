"""YAML text to plain values that remember their lines.

PyYAML's pure parser gives events with marks; the values are built here, because YAML 1.1 reads
`1e-3` as text and `no` as false, keeps the last of two equal keys, and expands aliases.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from lrsearch.catalogue import TRAIN
from lrsearch.errors import Fault, SpecError
from lrsearch.spec.commas import NUMBER, WHOLE, follows, lists_on, with_points
from lrsearch.spec.malformed import (
    KNOWN,
    TEXTS,
    again,
    doubt,
    explain,
    find_language,
    find_odd,
    is_in_odd_quotes,
    no_text,
    plain_blanks,
    read_events,
    without_end,
    without_marks,
    written,
)

MAX_BYTES = 64 * 1024
MAX_DEPTH = 32
MOST_MENDED = 30
"""Lines of a text that are mended; one with more of them is another kind of file."""

_TIGHT = re.compile(
    r"([A-Za-z_][\w.]*)(?:\s*:(?!//)(?:=\s*)?|\s*(?:=>?|;|\uff1a)\s*|\s+(?=[-+.\d]*\d))(\S+)"
)
"""A key and its value without a blank, or without a colon, between them: {min:1e-4, max 1}."""
_BLANK = re.compile(r"([A-Za-z_][\w.]*)\s+(\S+)")
_CUT = re.compile(r"([A-Za-z_]+):(\w+)\s+(\S+)")
"""A key with its colon within its name: mom:entum 0.9."""
_GLUED = re.compile(r"([A-Za-z_][\w.]*):(?!//)([^\s/:].*)")
"""The same on a line of its own, or a key of braces: lr:{min: 1e-4, max: 1}."""
_SPACED = re.compile(r"([A-Za-z_][\w.]*)\s*[\s=]\s*(\S+)")
"""A key and its value on a line of their own without a colon: lr 0.1."""
_UNPARTED = re.compile(r"([A-Za-z_][\w.]*)(?:\s*=\s*|\s+)([\[{].*)")
"""A key of a block and its list or mapping without a colon."""
_MARKED = re.compile(r"[&*!%@]\s*(\w[\w.-]*)")
"""A value behind a sign that means something else to YAML."""
_MIXED = re.compile(r"[\w.]+(?:\s\w+)?\W*[\s\W](?:\{\s*\w+|['\"][\w ]+)")
"""The key that YAML reads where a colon is missing before: params -> {epochs: 5}."""
_DASHED = re.compile(r"-[^\s-].*")
"""An entry of a list without a blank after its dash."""
_EATEN = re.compile(r"[ \t]+#(\S+)[ \t]*$", re.MULTILINE)
_OCTAL = re.compile(r"[-+]?0[0-9]+")
_WORDS: dict[str, Any] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), float("inf")),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), float("-inf")),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), float("nan")),
}

ONE = "leave one of both out"
"""The hint for a key that is given twice."""

_PUT_IN = re.compile(r"\{\{[^{}\n]*\}\}")
"""A variable of a template, which YAML takes for a mapping whose key is one: {{lr}}."""

_HALVES = re.compile("[\ud800-\udfff]")

Path = tuple[str | int, ...]


def as_mapping(value: Any) -> Mapping[str, Any]:
    """A value of a document that is to be a mapping; an empty one in place of any other value."""
    return value if isinstance(value, Mapping) else {}


@dataclass
class Document:
    """A file's plain values and where each stands.

    `lines` has the line (from 1) of every path; `origins` names the `--set` a path came from;
    `faults` are its faults as YAML that plain values do not show: keys given twice, aliases, tags.
    `empty` are the paths with no value, which plain values show as null, `eaten` the comments that
    stand there in their place, `doubled` the line and the value of what is given twice, `unread`
    the paths of aliases and tags, whose values are none.
    """

    source: str
    data: Any
    lines: dict[Path, int] = field(default_factory=dict)
    origins: dict[Path, str] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    empty: set[Path] = field(default_factory=set)
    unread: set[Path] = field(default_factory=set)
    eaten: dict[Path, str] = field(default_factory=dict)
    doubled: dict[Path, tuple[int, Any]] = field(default_factory=dict)

    def fault(self, path: Path, message: str, hint: str = "") -> Fault:
        """A fault at a path, or at the nearest of its ancestors that stands in the text."""
        key = ".".join(str(part) for part in path)
        for length in range(len(path), -1, -1):
            if path[:length] in self.origins:
                return Fault(0, key, message, self.origins[path[:length]], hint)
            if length == len(path) and path and path not in self.lines:
                within = [each for each in self.origins if each[:length] == path]
                if within:  # Made by what is set in it.
                    return Fault(0, key, message, self.origins[within[0]], hint)
            if path[:length] in self.lines:
                return Fault(self.lines[path[:length]], key, message, self.source, hint)
        return Fault(0, key, message, self.source, hint)


def plain_scalar(text: str) -> Any:
    """The value of an unquoted scalar: null, true, false, a number, or text."""
    if text in _WORDS:
        return _WORDS[text]
    if WHOLE.fullmatch(text):
        return int(text) if len(text) < 400 else text
    if NUMBER.fullmatch(text):
        return float(text)
    return text


def parse(text: str, source: str) -> Document:
    """Read one YAML document. Raises SpecError with every duplicate key, alias and tag, or with
    the one place where the text stops being YAML."""
    document = read_document(text, source)
    if document.faults:
        raise SpecError(document.faults)
    return document


def read_document(text: str, source: str) -> Document:
    """Read one YAML document, its faults kept in it. A line that is no YAML is a fault, and read as
    what it was meant to be. Raises SpecError only where nobody knows what that is, or for a text
    that is too long."""
    import yaml  # Stored specs, which most commands read, are no YAML.

    if len(text.encode("utf-8", "surrogatepass")) > MAX_BYTES:
        raise SpecError([Fault(0, "", "a spec has at most 64 KiB", source)])
    from lrsearch.spec.mending import find_error, mend

    if other := find_language(text):
        raise SpecError([Fault(other[0], "", other[1], source, other[2])])
    text, slips = plain_blanks(text, source)
    lines: list[int] = []
    seen = {text}
    while True:
        document = Document(source, None)
        builder = _Builder(document, text)
        try:
            if lines and (found := find_error(text)):
                raise found
            builder.read(read_events(text))
        except yaml.MarkedYAMLError as error:
            bare, marks = without_marks(text) if not lines else (text, [])
            if marks:
                slips += [Fault(line, "", told, source, hint) for line, told, hint in marks]
                text = bare
                continue
            line, problem, hint = explain(text, error)
            lines = lines or [*range(1, text.count("\n") + 3)]
            mended = mend(text, error, line, lines) if len(slips) < MOST_MENDED else None
            if mended is None or mended.text in seen:
                with contextlib.suppress(yaml.YAMLError):  # For what is read before it.
                    builder.faults.clear()
                    builder.read(read_events(text))
                told = [each for each in builder.faults if each.line != line]
                told = [replace(each, line=_place(lines, each.line)) for each in told]
                fault = Fault(_place(lines, line), "", problem, source, hint)
                raise SpecError([*slips, *told, fault]) from None
            place = _place(lines, mended.line if mended.told else line)
            slips = [again(each, _place(lines, mended.line), mended.hint) for each in slips]
            slips.append(Fault(place, "", mended.told or problem, source, mended.hint))
            text = mended.text
            seen.add(text)
            lines[mended.line - 1 : mended.line] = [lines[mended.line - 1]] * mended.count
            continue
        except yaml.YAMLError as error:
            raise SpecError([no_text(error, text, source)]) from None
        if slips:
            document.lines = {path: _place(lines, at) for path, at in document.lines.items()}
            faults = [replace(each, line=_place(lines, each.line)) for each in document.faults]
            document.faults = [*slips, *faults]
        return document


def _place(lines: Sequence[int], line: int) -> int:
    """The line of the file that a line of its mended text stands for."""
    return lines[line - 1] if 0 < line <= len(lines) else line


def _line(event: Any) -> int:
    return int(event.start_mark.line) + 1


class _Builder:
    def __init__(self, document: Document, text: str) -> None:
        self.document = document
        self.text = text
        self.faults = document.faults
        self.anchored: dict[str, Any] = {}

    def read(self, events: Iterator[Any]) -> None:
        import yaml

        documents = 0
        for event in events:
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    told = "a spec is one YAML document, this is another"
                    self._fault(
                        event, "", told, "leave out what follows: it may be a file of its own"
                    )
                    return
            elif isinstance(event, yaml.NodeEvent):
                self.document.data = self._value(event, events, ())

    def _fault(self, event: Any, key: str, message: str, hint: str = "") -> None:
        self.faults.append(Fault(_line(event), key, message, self.document.source, hint))

    def _value(self, event: Any, events: Iterator[Any], path: Path) -> Any:
        import yaml

        key = ".".join(str(part) for part in path)
        self.document.lines.setdefault(path, _line(event))
        if len(path) > MAX_DEPTH:
            fault = Fault(
                _line(event),
                ".".join(str(part) for part in path[:3]) + "...",
                f"nested deeper than {MAX_DEPTH} levels",
                self.document.source,
            )
            raise SpecError([*self.faults, fault])
        if isinstance(event, yaml.AliasEvent):
            anchor = str(event.anchor)
            hint = self._hint_value(path, self.anchored.get(anchor, anchor))
            told = f"aliases are not allowed (*{anchor}): write it out"
            self._fault(event, key, told, hint)
            if anchor in self.anchored:
                self.document.unread.add(path)
                return None
            return anchor
        value = event.value if isinstance(event, yaml.ScalarEvent) else None
        if event.anchor is not None:
            self.anchored[event.anchor] = value
            hint = self._hint_value(path, value) or f"take &{event.anchor} away"
            told = f"anchors are not allowed (&{event.anchor}): write it out"
            self._fault(event, key, told, hint)
        if event.tag is not None:
            value = event.tag.lstrip("!") if value == "" else value  # !true for true
            hint = self._hint_value(path, value) or "take the tag away"
            told = f"tags are not allowed ({event.tag}): a spec is plain data"
            self._fault(event, key, told, hint)
            if value is not None:
                return plain_scalar(value)
        if isinstance(event, yaml.ScalarEvent):
            if _HALVES.search(event.value):
                self._fault(event, key, "an escape names half a character")
            if not event.style and is_in_odd_quotes(event.value):
                told = "typographic quotes are none of YAML's: write plain ones"
                self._fault(event, key, told, self._hint_value(path, event.value[1:-1]))
                return plain_scalar(event.value[1:-1])
            if not event.style and (meant := without_end(event.value, path)):
                told = f"'{event.value}' ends with a sign that nothing opens"
                self._fault(event, key, told, self._hint_value(path, meant))
                parts = [part.strip() for part in meant.strip("[]").split(",")]
                return plain_scalar(meant) if meant[0] != "[" else [*map(plain_scalar, parts)]
            if not event.style and (glued := self._glued(event, path)) is not None:
                return glued
            if not event.style and _OCTAL.fullmatch(event.value):
                told, hint = doubt(event.value, path)
                named = path in (("name",), ("command",))
                hint = f"write {path[-1]}: '{event.value}'" if named else hint
                self._fault(event, key, told, hint)
                if named:
                    return event.value
            if event.value == "":
                self.document.empty.add(path)
                # Its mark stands right behind the colon.
                mark = event.start_mark
                if mark and (comment := _EATEN.match(self.text, mark.index)):
                    self.document.eaten[path] = comment[1]
            return plain_scalar(event.value) if not event.style else event.value
        if isinstance(event, yaml.SequenceStartEvent):
            return self._list(event, events, path)
        if event.flow_style and (put := _PUT_IN.match(self.text, event.start_mark.index)):
            self._mapping(event, events, path)
            return self._unput(event, put[0], path)
        return self._mapping(event, events, path)

    def _unput(self, event: Any, put: str, path: Path) -> Any:
        """A variable of a template as a text, or the mapping that stands between two braces too
        many: {{min: 1, max: 2}}."""
        inner = read_document(put[1:-1], "").data if ": " in put else None
        if not isinstance(inner, dict) or not all(
            type(part) in (bool, int, float, str) for part in inner.values()
        ):
            return put
        key = f"{path[-1]}: " if path and isinstance(path[-1], str) else ""
        dotted = ".".join(map(str, path))
        self._fault(event, dotted, "it stands between two braces", f"write {key}{put[1:-1]}")
        self.document.lines |= {(*path, name): _line(event) for name in inner}
        return inner

    def _hint_value(self, path: Path, value: Any) -> str:
        """The hint to write a value as it is, "" where there is none, or it does not read so."""
        value = written(value) if isinstance(value, dict | list) else value
        if value and value[0] in "[{":
            return f"write {path[-1]}: {value}" if path and isinstance(path[-1], str) else ""
        if value is None or not re.fullmatch(r"[\w.+/-][\w.+/ -]*", value):
            return ""
        key = f"{path[-1]}: " if path and isinstance(path[-1], str) else ""
        return f"write {key}{value}"

    def _glued(self, event: Any, path: Path) -> Any:
        """The mapping or the list that lines such as `lr:0.1` or `-32` mean, which are one text to
        YAML; None for any other text."""
        start, end = event.start_mark, event.end_mark
        alone = not self.text[: start.index].rpartition("\n")[2].strip() if start else False
        if not alone or not event.value or (path and path[-1] in TEXTS) or path[:1] == ("metrics",):
            return None
        lines = [line.strip() for line in self.text[start.index : end.index].splitlines()]
        lines = [line for line in lines if line]
        lone = len(lines) == 1
        if (spaced := self._spaced(event, path, lines)) is not None:
            return spaced
        listed = [_DASHED.fullmatch(lines[0]), *(line.startswith("-") for line in lines[1:])]
        if all(listed) and not (lone and isinstance(plain_scalar(lines[0]), int | float)):
            parts = [line.removeprefix("-").strip() for line in lines]
            for at, line in enumerate(lines):
                if _DASHED.fullmatch(line):
                    told = f"'{line}' lacks a blank after the dash"
                    key, hint = ".".join(map(str, path)), f"write - {parts[at]}"
                    self.faults.append(
                        Fault(_line(event) + at, key, told, self.document.source, hint)
                    )
            return [plain_scalar(part) for part in parts]
        found = [_GLUED.fullmatch(line) for line in lines]
        if lone and len(path) == 1 and found == [None]:
            found = [_UNPARTED.fullmatch(lines[0])]
        mapping: dict[str, Any] = {}
        for at, match in enumerate(found):
            if match is None or not all(found):
                return None
            inner = (*path, match[1])
            self.document.lines[inner] = _line(event) + at
            told = f"'{match[0]}' lacks a blank after the colon"
            dotted = ".".join(map(str, inner))
            fault = Fault(_line(event) + at, dotted, told, self.document.source)
            self.faults.append(replace(fault, hint=f"write {match[1]}: {match[2]}"))
            mapping[match[1]] = plain_scalar(match[2])
        return mapping

    def _spaced(self, event: Any, path: Path, lines: Sequence[str]) -> dict[str, Any] | None:
        """The mapping that several lines without colons mean, of which one is a key of `train`."""
        said = [match for line in lines if (match := _SPACED.fullmatch(line))]
        if len(lines) < 2 or len(said) < len(lines) or not any(each[1] in TRAIN for each in said):
            return None
        for line, (whole, key, value) in enumerate(
            ((m[0], m[1], m[2]) for m in said), _line(event)
        ):
            dotted = ".".join(map(str, (*path, key)))
            told, hint = f"'{whole}' lacks ':'", f"write {key}: {value}"
            self.faults.append(Fault(line, dotted, told, self.document.source, hint))
            self.document.lines[(*path, key)] = line
        return {each[1]: plain_scalar(each[2]) for each in said}

    def _list(self, event: Any, events: Iterator[Any], path: Path) -> list[Any]:
        import yaml

        items: list[Any] = []
        begun: list[Any] = []
        before = len(self.faults)
        while not isinstance(item := next(events), yaml.SequenceEndEvent):
            begun.append(item)
            items.append(self._value(item, events, (*path, len(items))))
        if not (meant := with_points(begun)):
            return items
        del self.faults[before:]
        named = f"{path[-1]}: " if path and isinstance(path[-1], str) else ""
        told = "a comma ends a value, and these look like decimal commas"
        key = ".".join(str(part) for part in path)
        self._fault(event, key, told, f"write {named}[{', '.join(meant)}]")
        return [float(each) for each in meant]

    def _mapping(self, begun: Any, events: Iterator[Any], path: Path) -> dict[str, Any]:
        import yaml

        mapping: dict[str, Any] = {}
        before: Any = None
        call = ""  # The key of a text that YAML cut at its commas: {lr: loguniform(1e-4, 1)}
        while not isinstance(name := next(events), yaml.MappingEndEvent):
            if not isinstance(name, yaml.ScalarEvent | yaml.AliasEvent):
                if not _PUT_IN.match(self.text, name.start_mark.index - 1):
                    told = "a key is plain text"
                    self._fault(name, ".".join(map(str, path)), told, "take it away")
                self._value(name, events, (*path, "?"))
                self._value(next(events), events, (*path, "?"))
                continue
            last = next(events)
            if call and getattr(last, "value", last) == "" and isinstance(name, yaml.ScalarEvent):
                mapping[call] += f", {name.value}"
            elif isinstance(name, yaml.ScalarEvent) and mapping and follows(before, name):
                self._join(before, name, path, mapping)
                before = None
            elif begun.flow_style and lists_on(mapping, name, last):
                self._bracket(name, path, mapping)
            elif begun.flow_style and (cut := self._cut(name, path, mapping)):
                self.document.lines[*path, cut] = _line(name)
                value = self._value(last, events, (*path, cut))
                told, hint = (
                    f"'{cut}' has a comma within its name",
                    f"write {cut}: {written(value)}",
                )
                self._fault(name, ".".join(map(str, (*path, cut))), told, hint)
                mapping[cut] = value
            elif (entry := self._odd_entry(name, last, events, path)) is not None:
                mapping |= entry
            else:
                mapping |= self._entry(name, last, events, path, mapping)
                before = last
            if call and call != next(reversed(mapping)):
                self._open(name, path, call, str(mapping[call]))
            plain = begun.flow_style and not getattr(last, "style", None)
            call = next(reversed(mapping), "") if plain else ""
            text = mapping.get(call)
            call = call if isinstance(text, str) and text.count("(") > text.count(")") else ""
        if (*path, "<<") in self.document.unread:
            self._unmerge(path, mapping)
        return mapping

    def _entry(
        self, name: Any, last: Any, events: Iterator[Any], path: Path, mapping: dict[str, Any]
    ) -> dict[str, Any]:
        """A key and its value, none for a key that the mapping has already."""
        key, inner = ".".join(map(str, path)), (*path, name.value)
        if _HALVES.search(name.value):
            self._fault(name, key, "an escape names half a character")
        if name.value in mapping:
            told = f"given twice, first on line {self.document.lines[inner]}"
            self._fault(name, ".".join(map(str, inner)), told, ONE)
            again = self._value(last, events, (*inner, "?"))
            self.document.doubled[inner] = (_line(name), again)
            return {}
        self.document.lines[inner] = _line(name)
        before = len(self.faults)
        value = self._value(last, events, inner)
        if (anchor := getattr(last, "anchor", None)) and isinstance(value, dict | list):
            self.anchored[anchor] = value
        if name.value == "<<" and not name.style:
            del self.faults[before:]
            value = self.anchored.get(anchor or "", value)
            self.document.unread.add(inner)
        return {name.value: value}

    def _unmerge(self, path: Path, mapping: dict[str, Any]) -> None:
        """Put what a merge key names in its place, and add its fault."""
        inner, merged = (*path, "<<"), mapping.pop("<<")
        parts = merged.items() if isinstance(merged, dict) else ()
        left = {key: part for key, part in parts if key not in mapping}
        hint = "\n  ".join(f"write {key}: {written(part)}" for key, part in left.items())
        told = "merge keys are not allowed (<<): write out what is merged"
        self.faults.append(self.document.fault(inner, told, hint or "take it away"))
        for key in left:
            self.document.lines[*path, key] = self.document.lines[inner]
        mapping |= left

    def _open(self, name: Any, path: Path, key: str, text: str) -> None:
        """Add a fault for a text with a bracket that a comma ends before it is closed."""
        if re.match(r"[\w.]*\(", text):
            told = f"a bracket that is opened there is not closed: '{text}' ends at a comma"
            hint = f"write {key}: {text}), or {key}: '{text}' for a text"
            self._fault(name, ".".join(map(str, (*path, key))), told, hint)

    def _bracket(self, name: Any, path: Path, mapping: dict[str, Any]) -> None:
        """Make the list that {channels: 16, 32} means, whose brackets are missing."""
        key = next(reversed(mapping))
        told, dotted = "a list stands between brackets", ".".join(map(str, (*path, key)))
        last = self.faults[-1] if self.faults else None
        if last and (last.key, last.message) == (dotted, told):
            self.faults.pop()
        values = mapping[key] if isinstance(mapping[key], list) else [mapping[key]]
        mapping[key] = [*values, plain_scalar(name.value)]
        self._fault(name, dotted, told, f"write {key}: [{', '.join(map(str, mapping[key]))}]")

    def _cut(self, name: Any, path: Path, mapping: dict[str, Any]) -> str:
        """The known key that a comma has cut in two, its first part taken out: {po,ints: 9}; "" for
        any other."""
        first = next(reversed(mapping), "")
        whole = f"{first}{getattr(name, 'value', '')}"
        if (*path, first) not in self.document.empty or whole not in KNOWN or whole in mapping:
            return ""
        del mapping[first]
        return whole

    def _join(self, number: Any, name: Any, path: Path, mapping: dict[str, Any]) -> None:
        """Make the number that {lr: 0,001} means, which is {lr: 0, 001: null}."""
        place = next(reversed(mapping))
        whole = f"{number.value}.{name.value}"
        told = f"{number.value},{name.value} has a decimal comma, and a comma ends a value"
        hint = f"write {place}: {whole}"
        one = place in ("min", "max", "points") or number.value.lstrip("+-")[0] == "0"
        if path[:1] == ("search",) and not one:
            told = f"{number.value},{name.value} has a comma, which ends a value"
            hint = f"write {place}: [{number.value}, {name.value}], or {place}: {whole}"
        elif len(name.value) == 3 and number.value.lstrip("+-")[0] != "0":
            hint = f"write {place}: {number.value}{name.value}, or {place}: {whole}"
        self._fault(name, ".".join(map(str, (*path, place))), told, hint)
        mapping[place] = float(whole)

    def _behind(self, name: Any) -> str:
        """The value behind the key that begins a line, as it stands there; "" for other keys."""
        begin = self.text.rfind("\n", 0, name.start_mark.index) + 1
        if self.text[begin : name.start_mark.index].strip(" &!*"):
            return ""
        line = self.text[name.end_mark.index :].partition("\n")[0].partition(" #")[0]
        return line.lstrip(": ").rstrip()

    def _odd_entry(
        self, name: Any, last: Any, events: Iterator[Any], path: Path
    ) -> dict[str, Any] | None:
        """The entry that is meant by a key with a colon, a sign or an odd blank within it; None for
        any other key."""
        import yaml

        shown = str(getattr(last, "value", ""))
        sign = name.anchor or getattr(name, "tag", None)
        if sign is not None:
            # &lr: 0.1 has the anchor lr, {!lr: 0.1} the tag !lr: and the key 0.1.
            given = getattr(name, "value", "")
            key = given if given and not sign.endswith(":") else sign.strip("!:")
            value = self._value(last, events, (*path, key))
            value = plain_scalar(given) if given != key and given else value
            self.document.lines[*path, key] = _line(name)
            told = f"anchors, aliases and tags are not allowed (before '{key}')"
            hint = f"write {key}: {self._behind(name) or shown or given}".strip()
            self._fault(name, ".".join(map(str, (*path, key))), told, hint)
            return {key: value}
        if name.style:
            return None
        shown = self._behind(name) or shown
        nothing = isinstance(last, yaml.ScalarEvent) and last.value == "" and not last.style
        key, told, meant = "", "", shown
        entry: Any = None
        joined = name.value.replace(":", "")
        own = "init_args" in path  # Keys of the user's code may be any text.
        cut = _CUT.fullmatch(name.value) if nothing and not own else None
        if cut and cut[1] + cut[2] in KNOWN:
            told, key, meant = (
                f"'{name.value}' has a colon within its name",
                cut[1] + cut[2],
                cut[3],
            )
            entry = plain_scalar(meant)
        elif nothing and (
            (tight := _TIGHT.fullmatch(name.value))
            or ((tight := _BLANK.fullmatch(name.value)) and not own and tight[1] in KNOWN)
        ):
            lacks = "a blank after the colon" if ":" in name.value else "':'"
            told, (key, meant) = f"'{name.value}' lacks {lacks}", tight.groups()
            entry = plain_scalar(meant)
        elif not own and ":" in name.value and joined in KNOWN:
            # mom:entum: 0.9, or tr:ain: above its block.
            told, key = f"'{name.value}' has a colon within its name", joined
            entry = self._value(last, events, (*path, key))
        elif not own and (glued := _GLUED.fullmatch(name.value)) and glued[2][0] != "=":
            told, (key, meant) = f"'{name.value}' lacks a blank after the colon", glued.groups()
            value = self._value(last, events, (*path, name.value))
            marked = _MARKED.fullmatch(meant) if value is None else None  # {name:& sgd}
            meant = marked[1] if marked else meant if value is None else f"{meant}: {value}"
            entry = plain_scalar(meant) if marked else {}
            if not marked:
                self.document.unread.add((*path, key))
        elif not own and _MIXED.fullmatch(name.value):
            told = f"the key '{name.value}' has a sign in it that begins a value"
            raise yaml.MarkedYAMLError(None, None, told, name.start_mark)
        elif odd := find_odd(name.value):
            plain = re.sub(r"\s+", " ", name.value).strip()
            key, colon, meant = plain.partition(": ") if nothing else (plain, "", "")
            value = self._value(last, events, (*path, key))
            self.document.lines[(*path, key)] = _line(name)
            hint = f"write {key}: {meant or shown}".strip()
            self._fault(name, ".".join(map(str, (*path, key))), odd[0], hint)
            return {key: plain_scalar(meant) if colon else value}
        if not key:
            return None
        self._fault(name, ".".join(map(str, (*path, key))), told, f"write {key}: {meant}".strip())
        self.document.lines[(*path, key)] = _line(name)
        return {key: entry}
