"""Advice on a training that ends well but never reports the objective's metric."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from lrsearch.errors import TrainingError, nearest
from lrsearch.outside.listening import (
    LONGEST_MATCHED,
    as_number,
    find_object,
    match_lines,
    match_number,
    read_json,
    read_literal,
    read_number,
    repeats_settings,
)
from lrsearch.outside.parts import (
    BARS,
    PART,
    STEP,
    find_heading,
    fits,
    order_of,
    part_at,
    part_before,
    part_of,
)
from lrsearch.spec.commandline import split_words
from lrsearch.train.users.lines import plain_lines, read_text
from lrsearch.trial import Config, Objective, Trial

SHOWN = 10
"""Lines of each stream that are shown."""

_WIDTH = 160


def missing_metric(
    trial: Trial, objective: Objective, reported: Sequence[str], out: bytes, errors: bytes
) -> tuple[str, TrainingError]:
    """The reason that a trial failed for, and the error that ends a search in which no trial has
    reported the objective's metric. `reported` are the metrics it did report, `out` and `errors`
    the end of its output."""
    config = trial.config
    kind = "loop" if "loop" in config else "command"
    metric = objective.metric
    streams = [_lines(out), _lines(errors)]
    seen = [line for lines in streams for line in lines]
    printed = _printed(seen)
    told = ", ".join(reported) or "no metric at all"
    if printed and not reported:
        told += f", and printed {', '.join(printed[:SHOWN])}"
    reason = f"it never reported '{metric}'; it reported {told}"
    close = _closest(metric, [*reported, *printed])
    advice = []
    if close is not None:
        by = f"objective: {{metric: {close}, goal: {objective.goal}}}"
        advice.append(f"to compare by '{close}' instead, write\n  {by}")
    clue = ""
    if kind == "command" and close is None:
        clue, lines = _look(config, metric, seen)
        advice += lines
    add = "or add" if advice else "add"
    place = "loop" if kind == "loop" else "script"
    advice.append(f"{add} to the {place}, where it measures:\n  {_reporting(config, metric)}")
    for name, stream in zip(("output", "stderr"), streams, strict=True):
        if stream:
            shown = "\n".join(f"  {_cut(line)}" for line in stream[-SHOWN:])
            advice.append(f"the end of its {name}:\n{shown}")
    if not seen:
        advice.append("it printed nothing")
    advice.append("then give the same command again: it trains this one again")
    error = TrainingError(
        f"trial {trial.number} ended well and never reported '{metric}', by which points are "
        f"compared; it reported {told}",
        where=kind,
        hint="\n".join(advice).replace("\n", "\n  "),
    )
    return f"{reason}; {clue}" if clue else reason, error


def _lines(output: bytes) -> list[str]:
    """The lines of an output, without blank ones."""
    return [line.strip() for line in plain_lines(read_text(output)) if line]


def _cut(line: str) -> str:
    return line if len(line) <= _WIDTH else f"{line[: _WIDTH - 3]}..."


def _printed(seen: Sequence[str]) -> list[str]:
    """The names of the numbers in the mappings that were printed, those of the last one first."""
    objects = filter(None, map(find_object, reversed(seen)))
    names = (
        path
        for each in objects
        for path, value in _numbers(each.content)
        if as_number(value) is not None
    )
    return list(dict.fromkeys(names))


def _closest(metric: str, names: Sequence[str]) -> str | None:
    """The metric, of those reported or printed, that the user may mean: never a metric of
    validation for one of training, or the other way round."""
    part = part_of(metric)
    fit = [each for each in names if each != metric and fits(part, part_of(each))]
    meanings = (
        lambda name: _meaning(name) == _meaning(metric),
        lambda name: len(name) > 2 and (metric in name or name in metric),
        lambda name: _meaning(name)[-1] == _meaning(metric)[-1],
    )
    for means in meanings:
        close = sorted(filter(means, fit), key=lambda name: order_of(part, part_of(name)))
        if close:
            return close[0]
    named = {" ".join(_meaning(each)): each for each in reversed(fit)}
    slip = nearest(" ".join(_meaning(metric)), named)
    return named[slip] if slip is not None else None


def _numbers(content: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, object]]:
    for key, value in content.items():
        if isinstance(value, Mapping):
            yield from _numbers(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _look(config: Config, metric: str, seen: Sequence[str]) -> tuple[str, list[str]]:
    """Text in a command's output that looks like the metric: described in a few words, and the line
    to write."""
    patterns: Mapping[str, str] = config.get("metrics", {})
    clue, shown = "", seen
    if metric in patterns:
        given = f"metrics.{metric}, {_quote(patterns[metric])},"
        for at, line in reversed(list(enumerate(seen))):
            if match_lines(re.compile(patterns[metric]), seen, at)[0]:
                clue = f"the group of {given} is no number in {_cut(line)!r}"
                return clue, [clue]
        clue = f"{given} matches no line"
    else:
        for line in reversed(seen):
            words = _object_at_fault(line, metric, config["params"])
            if words:
                clue = f"{words}: {_cut(line)!r}"
                shown = [line]
                break
    # An object that was read separates the lines around it.
    text = ["" if find_object(line) else line[:LONGEST_MATCHED] for line in shown]
    text = [line.replace("\u2212", "-") for line in text]
    found = _find_pattern(metric, text) or _find_column(metric, text)
    bare = [line for line in text if read_number(line) is not None]
    found = found or _find_below(metric, text)
    if found is None and not clue and bare:
        return _tell_bare(metric, bare)
    if found is not None:
        pattern, line = found.text, found.line
        step = found.step or _step_pattern(line, seen)
        also = f", step: {_quote(step)}" if step is not None else ""
        written = f"metrics: {{{_key(metric)}: {_quote(pattern)}{also}}}"
        remarks = "".join(f"\n  ({remark})" for remark in found.remarks)
        written += remarks
        if clue:
            which = repr(_cut(line)) if shown is seen else "this line"
            return clue, [f"{clue}; for {which} write in the spec\n  {written}"]
        words = f"what it prints, {_cut(line)!r}, is no line of JSON: write in the spec"
        return f"'metrics' in the spec finds the number in {_cut(line)!r}", [
            f"{words}\n  {written}"
        ]
    return clue, [clue] if clue else []


def _find_below(metric: str, lines: Sequence[str]) -> _Pattern | None:
    """A regular expression that finds a number without a name below a line that ends with the
    metric's name; made from the last such line. None where there is none."""
    for at in range(len(lines) - 1, 0, -1):
        value = read_number(lines[at])
        for _, spelling in _spellings(metric) if value is not None else ():
            named = re.search(rf"(?i)(?<![A-Za-z]){spelling}(?=[^A-Za-z\d]*$)", lines[at - 1])
            said = part_before(lines[at - 1], *named.span()) if named else None
            if named is None or not fits(part_of(metric), str(said.lastgroup) if said else ""):
                continue
            word = f"{said[0]}.*?" if said is not None and said.end() <= named.start() else ""
            for number in _BARE:
                text = rf"{word}{re.escape(named[0])}\W*\n{number[1:]}"
                text = text.replace("\\ ", " ")
                if repr(match_lines(re.compile(text), lines, at)[1]) == repr(value):
                    return _Pattern(text, lines[at], part_of(lines[at - 1]))
    return None


def _tell_bare(metric: str, numbers: Sequence[str]) -> tuple[str, list[str]]:
    """The advice on lines that are numbers without a name, such as a function's result is."""
    line = numbers[-1]
    clue = f"{_cut(line)!r} is a number without a name"
    if len(numbers) > 1:
        return clue, [f"{clue}, one of {len(numbers)}: print which it is"]
    for pattern in _BARE:
        # By their texts: nan equals nothing.
        if repr(match_number(re.compile(pattern), line)[1]) == repr(read_number(line)):
            written = f"metrics: {{{_key(metric)}: {_quote(pattern)}}}"
            return clue, [f"{clue}: where it is '{metric}', write in the spec\n  {written}"]
    return clue, [f"{clue}: print which it is"]


_BARE = (r"^([\d.]+)$", r"^([\d.,]+)$", r"^([\d.]+%)$")
"""Patterns of a line that is a number: a plain one, one with a decimal comma, a share."""


def _key(metric: str) -> str:
    return metric if re.fullmatch(r"[A-Za-z_]\w*", metric) else json.dumps(metric)


def _object_at_fault(line: str, metric: str, params: Mapping[str, object]) -> str:
    """The reason why an object that names the metric was not read, or ""."""
    if not re.search(rf"""["']{re.escape(metric)}["']\s*:""", line):
        return ""
    found = find_object(line)
    if found is not None and metric in found.content:
        if as_number(found.content[metric]) is None:
            return f"its '{metric}' is no number"
        if repeats_settings(found.content, params, metric):
            return (
                f"it repeats all parameters, '{metric}' among them: it was taken for the settings"
            )
    if found is not None:
        return ""
    start = line.find("{")
    for text in (line[start:], line[start : line.rfind("}") + 1]):
        if start >= 0 and (read_json(text) is not None or read_literal(text) is not None):
            return "JSON is read where it is all of its line, but for the prefix of a log"
    return "it is neither JSON nor a Python dict"


# names

_SAME = {
    "acc": "accuracy", "ppl": "perplexity", "prec": "precision", "err": "error", "losses": "loss",
}  # fmt: skip
_WRITTEN = {
    "accuracy": r"acc(?:uracy)?\.?", "perplexity": "(?:perplexity|ppl)", "error": "err(?:or)?",
    "precision": r"prec(?:ision)?\.?", "loss": "loss(?:es)?",
}  # fmt: skip
_TOP = ("accuracy", "precision", "top")
_JOINT = r"[\s_./@-]*"


def _meaning(name: str) -> tuple[str, ...]:
    """The words of a name that tell the quantity, equal in `val_acc`, `eval/accuracy` and
    `Accuracy`, and in `acc1`, `top-1` and `Acc@1`."""
    words = re.findall(r"[^\W\d_]+|\d+", PART.sub(" ", name).lower())
    words = [_SAME.get(word, word) for word in words] or [name.lower()]
    if len(words) > 1 and words[0] in _TOP and words[1].isdigit():
        rest = [word for word in words[2:] if word not in _TOP]
        return ("top", words[1], *rest)
    return tuple(words)


def _spellings(metric: str) -> Iterator[tuple[int, str]]:
    """Patterns that find a metric's name, the closest first, each with its distance."""
    words = re.findall(r"[^\W\d_]+|\d+", metric)
    if not words:
        return
    yield 0, _JOINT.join(map(re.escape, words))
    meaning = _meaning(metric)
    if meaning[0] == "top" and len(meaning) > 1:
        accuracy = r"(?:acc(?:uracy)?|prec(?:ision)?)"
        top = rf"(?:top|{accuracy}){_JOINT}{meaning[1]}(?:{_JOINT}{accuracy}\.?)?"
        yield 0, _JOINT.join((top, *map(re.escape, meaning[2:])))
        return
    written = [_WRITTEN.get(word, re.escape(word)) for word in meaning]
    yield 0, _JOINT.join(written) + ("(?:@1)?" if meaning == ("accuracy",) else "")
    last = re.findall(r"[^\W_]+", re.split(r"[./]", metric)[-1])
    if 1 < len(last) < len(words):
        yield 1, _JOINT.join(map(re.escape, last))
    if len(written) > 1 and not meaning[-1].isdigit():
        yield 1, rf"(?<![\w./-]){written[-1]}"


# patterns

_COMMA = r"\d+,\d+(?![\d.,])"
_NUMBER = (
    rf"[-+]?(?:[1-9]\d{{0,2}}(?:,\d{{3}})+(?!\d)(?:\.\d+)?|{_COMMA}|\d[\d.]*|\.\d+)(?:e[-+]?\d+)?"
)
_GAP = (
    r"(?:(?:[ _-]score)?\s*\([^()\n]{1,40}\)\s*[:=]\s*|(?:[ _-]score)?"
    r"[^\w\n]{0,60}?(?:\([^()\d\n]{1,20}\)[^\w\n]{0,20}?|(?:is|was|reached)\s+|[\w.]{0,9}"
    r"(?:tensor|float\d*)\()?|[^:=|,;\n]{1,60}[:=]\s*)"
)
"""Text that may stand between a name and its number: signs, or words up to a colon."""


@dataclass(frozen=True)
class _Pattern:
    """A regular expression that finds a metric's number, the line it is made from, the part of the
    data that the line names, remarks, and an expression that finds the step."""

    text: str
    line: str
    part: str
    remarks: tuple[str, ...] = ()
    step: str | None = None


def _find_pattern(metric: str, lines: Sequence[str]) -> _Pattern | None:
    """A regular expression that finds the metric's number, made from the last line that names the
    metric best; of several numbers a validation's. None where no line names the metric, or where
    the pattern could not tell the metric's part of the data from another."""
    wanted = part_of(metric)
    chosen: tuple[tuple[int, ...], re.Match[str], str, int] | None = None
    for at, line in reversed(list(enumerate(lines))):
        for nearness, (tier, spelling) in enumerate(_spellings(metric)):
            for found in re.finditer(
                rf"(?i)((?:\b[A-Za-z]+[ _-])?(?<![A-Za-z]){spelling}(?![A-Za-z\d@]|[_-]\d)"
                rf"{_GAP})({_NUMBER})(?!\d|[A-Za-z]{{2}}|%\|[^|]*\|\s*\d)(\s?\(\s*{_NUMBER}\)|.?)",
                line,
            ):
                said = part_before(line, *found.span(1))
                part = part_at(lines, at, *found.span(1))
                # A loss beside no word of its part is of training where it comes with a step.
                sure = part or wanted != "train" or _steps(line) or re.search(r"\d/\d", line)
                if not fits(wanted, part) or not sure:
                    continue
                of = "val" if not wanted and (part == "test" or _sums_up(found)) else part
                order = order_of(wanted or "val", of)
                rank = (tier, _is_best(line, found.end(1)), order, nearness)
                if chosen is not None and chosen[0] <= rank:
                    continue
                text = _write_pattern(found, said)
                if text is not None:
                    chosen = rank, found, text, at
    return _tell_apart(wanted, *chosen[1:], lines) if chosen is not None else None


def _sums_up(found: re.Match[str]) -> bool:
    """Whether a line is the summary of a validation, as of torch's examples: ` * Acc@1 70.1`."""
    return found.string.startswith("*") and "@" in found[1] and not PART.search(found.string)


def _is_best(line: str, end: int) -> bool:
    """Whether a number is announced as the best so far, which is no new measurement."""
    return bool(re.search(r"(?i)(?<![a-z])best(?![a-z])", line[:end]))


def _write_pattern(found: re.Match[str], said: re.Match[str] | None) -> str | None:
    """The regular expression for a name and its number; of `0.5 (0.4)`, a value and its average, it
    finds the average. It begins with the word for the part of the data where without the word it
    would find another number. None where it does not find the number even then."""
    before, number, behind = found.groups()
    literal = re.sub(r"([\\.^$*+?{}\[\]|()])", r"\\\1", before)
    literal = re.sub(r"\s+", lambda gap: " " if gap[0] == " " else r"\s+", literal)
    average = re.fullmatch(rf"(?i)\s?\(\s*({_NUMBER})\)", behind)
    if average is not None:
        name = re.sub(r"(?: |\\s\+)$", "", literal)
        text, number = rf"{name}\s+[\d.]+\s*\(\s*([\d.]+)", average[1]
    else:
        plain = r"([\d.,]+)" if re.fullmatch(rf"[-+]?{_COMMA}", number) else r"([\d.]+)"
        text = literal + (r"(\d+)" if behind == "/" and number.isdigit() else plain)
        text += behind if behind in ("%", "/") else ""
    text, number = _last_of_several(found, literal, text, number)
    written = [text]
    if said is not None and said.end() <= found.start(1):
        written.append(f"{said[0]}.*?{text}")
    for each in written:
        value = match_number(re.compile(each), found.string)[1]
        if value is not None and value == read_number(number):
            return each
    return None


def _last_of_several(found: re.Match[str], literal: str, text: str, number: str) -> tuple[str, str]:
    """The expression and its number; of a list of numbers, or of objects, that its line holds, as
    a whole training's, those of the last."""
    rest = found.string[found.start(2) :]
    listed = re.match(rf"(?:{_NUMBER}\s*,\s*)+({_NUMBER})\s*\]", rest)
    if listed is not None and literal.endswith(r"\["):
        return rf"{literal}[^\]]*?([\d.]+)\s*\]", listed[1]
    same = re.findall(rf"{literal}({_NUMBER})", found.string)
    if re.search(r"\}\s*,\s*\{", rest) and same:
        return f".*{text}", same[-1]
    return text, number


def _tell_apart(
    wanted: str, found: re.Match[str], text: str, at: int, lines: Sequence[str]
) -> _Pattern | None:
    """The pattern, with a word of its line that excludes lines of other parts of the data, where
    the pattern alone would match these; with a remark where no word excludes them."""
    line = found.string
    value = match_number(re.compile(text), line)[1]
    if _sums_up(found):
        text = rf"^\*\s+{text}"
    part, best = part_at(lines, at, *found.span(1)), _is_best(line, found.end(1))
    said = part_before(line, *found.span(1))
    other = _other_part(text, part, best, lines)
    telling = [said, re.search(r"[A-Za-z]{2,}", line)]
    longer = [f"{word[0]}.*?{text}" for word in telling if word and word.end() <= found.start(1)]
    above = None if said else find_heading(lines, at)
    if above is not None:
        between = r"\n" + r".*\n" * (above[2] - 1)
        indent = r"\W*" if not re.search(r"\w", line[: found.start()]) else r".*?"
        longer.insert(0, f"{above[1]}.*{between}{indent}{text}")
    if found.start() == 0:
        longer.append(f"^{text}")
    for each in longer if other is not None else ():
        same = match_lines(re.compile(each), lines, at)[1] == value
        if same and _other_part(each, part, best, lines) is None:
            text, other = each, None
            break
    remarks = []
    if other is not None:
        if wanted:
            return None
        remarks.append(f"it also matches {_cut(other)!r}")
    if part == "train" and not wanted:
        remarks.append("it is a value of training")
    if best:
        remarks.append("it is the best of a training, not its last")
    if found[3] == "/" and found[2].isdigit():
        remarks.append(f"the value is a count, {found[2]}, not a share")
    return _Pattern(text, line, part, tuple(remarks))


def _other_part(text: str, part: str, best: bool, lines: Sequence[str]) -> str | None:
    """The last line that a pattern matches and that is about another part of the data, or differs
    in being the best so far, or counts to another end, as the bars of training and of validation
    do; None where there is none."""
    pattern = re.compile(text)
    ends: set[tuple[str, ...]] = set()
    for at, line in reversed(list(enumerate(lines))):
        if not match_lines(pattern, lines, at)[0]:
            continue
        found = pattern.search(line)
        start, end = (found.start(), found.start(1)) if found else (0, len(line))
        if part_at(lines, at, start, end) != part or _is_best(line, end) != best:
            return line
        ends.add(tuple(re.findall(r"(?<![\d/.])\d+/(\d+)(?![\d/.])", line)))
        if not part and len(ends) > 1:
            return line
    return None


_BETWEEN = {rf"\s*[{BARS}]\s*": BARS, r"\t": "", r"\s{2,}": "", r"\s*,\s*": ",", r"\s+": ""}
"""Patterns for what stands between the names in a table's header, and the signs that stand between
the numbers of a row; without a sign blanks do."""

_BAR = re.compile(r":?\s*\d+%\|.*")
"""A bar of tqdm's, which may have a table's header for its name."""

_DIGIT = re.compile(r"\d|nan|inf", re.IGNORECASE)


def _find_column(metric: str, lines: Sequence[str]) -> _Pattern | None:
    """A regular expression that finds the metric's number in the rows of a table, by the place of
    its name in the header; made from the last row. None where there is no such table."""
    wanted = part_of(metric)
    for at, header in enumerate(lines):
        for between, signs in _BETWEEN.items():
            names = _cells(_BAR.sub("", header), between)
            fit = [
                (order_of(wanted or "val", part_of(name)), place)
                for place, name in enumerate(names)
                if len(names) > 1 and _meaning(name) == _meaning(metric)
                if fits(wanted, part_of(name))
            ]
            if not fit:
                continue
            if found := _find_row(names, min(fit)[1], lines[at + 1 :], between, signs):
                return found
    return None


def _find_row(
    names: Sequence[str], place: int, rows: Sequence[str], between: str, signs: str
) -> _Pattern | None:
    """The pattern for the cell at a place of the last row that has one for each name; None where no
    row has."""
    for index, row in reversed(list(enumerate(rows))):
        # The names may have blanks, the numbers below them have none.
        cells = _cells(row, between if signs else r"\s+")
        found = None
        if len(cells) == len(names) + 1 and cells[0] in (str(index), str(index + 1)):
            # The rows are numbered, as pandas does, in a column without a name.
            found = _write_column(["row", *names], cells, place + 1, row, signs)
        # A row may begin with a word, not so where any sentence looks like a header.
        elif len(cells) == len(names) and all(map(_DIGIT.search, cells[between != r"\s+" :])):
            found = _write_column(names, cells, place, row, signs)
        if found is not None:
            return found
    return None


def _cells(line: str, between: str) -> list[str]:
    return re.split(between, line.strip(f" \t{BARS}"))


def _write_column(
    names: Sequence[str], cells: Sequence[str], place: int, row: str, signs: str
) -> _Pattern | None:
    """The pattern for a cell of a row, after as many numbers, or words as they are, as stand before
    it. None where it finds no number there."""
    joint = next((rf"\s*{re.escape(each)}\s*" for each in signs if each in row), r"\s+")
    before = [
        r"[\d.:%]+" if _DIGIT.search(cell) else re.sub(r"([\\.^$*+?{}\[\]|()])", r"\\\1", cell)
        for cell in cells[:place]
    ]
    text = r"^\W*" + joint.join([*before, r"([\d.]+)"])
    value = match_number(re.compile(text), row)[1]
    if value is None or value != read_number(cells[place].rstrip("% ")):
        return None
    counted = _meaning(names[0])[0] in ("epoch", "step", "iter", "iteration")
    step = rf"^\W*(\d+){joint}[\d.]" if counted and place and cells[0].isdigit() else None
    part = part_of(names[place])
    return _Pattern(text, row, part, ("it is a value of training",) * (part == "train"), step)


def _steps(line: str) -> list[str]:
    """Patterns for numbers in a line that may be steps."""
    found = [each[1] for each in STEP.finditer(line)]
    return [re.sub(r"\s{2,}", r"\\s+", each.replace("[", r"\[")) + r"(\d+)" for each in found]


def _step_pattern(line: str, seen: Sequence[str]) -> str | None:
    """The pattern of the step, in the line itself or another, patterns whose numbers grow first;
    never one whose number decreases over the lines: that counts within an epoch."""
    chosen: tuple[tuple[bool, bool], str] | None = None
    for text in dict.fromkeys(step for each in (line, *seen) for step in _steps(each)):
        numbers = [int(found[1]) for found in map(re.compile(text).search, seen) if found]
        if not numbers or numbers != sorted(numbers):
            continue
        rank = numbers[0] == numbers[-1], text not in _steps(line)
        if chosen is None or rank < chosen[0]:
            chosen = rank, text
    return chosen[1] if chosen is not None else None


def _quote(pattern: str) -> str:
    return "'" + pattern.replace("'", "''") + "'"


def _reporting(config: Config, metric: str) -> str:
    """The line that reports the metric, in the training's own language as far as its command shows
    it."""
    named = re.fullmatch(r"[A-Za-z_]\w*", metric)
    variable = re.sub(r"\W+", "_", metric).strip("_") or "value"
    if "loop" in config:
        given = f"{metric}={variable}" if named else f"**{{{json.dumps(metric)}: {variable}}}"
        return f"trial.report(step, {given})"
    words = split_words(config["command"])
    if any(re.search(r"python|\.py\b", word) for word in words):
        return f'print(json.dumps({{"step": step, {json.dumps(metric)}: {variable}}}))'
    return f'a line such as {{"step": 3, {json.dumps(metric)}: 0.5}} on its stdout'
