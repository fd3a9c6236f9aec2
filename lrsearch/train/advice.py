"""What to do about a training that ends well and never reports what points are compared by."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence

from lrsearch.errors import TrainingError, nearest
from lrsearch.spec.commandline import split_words
from lrsearch.train.listening import (
    as_number,
    find_object,
    match_number,
    plain_lines,
    read_json,
    read_literal,
    read_text,
    repeats_settings,
)
from lrsearch.trial import Config, Objective, Trial

SHOWN = 10
"""Lines of each stream that are shown."""

_WIDTH = 160


def missing_metric(
    trial: Trial, objective: Objective, reported: Sequence[str], out: bytes, errors: bytes
) -> tuple[str, TrainingError]:
    """The reason a trial failed for, and the error that ends a search of which nobody has reported
    the metric. `reported` are the metrics it did report, `out` and `errors` the last of its
    output."""
    config = trial.config
    kind = "loop" if "loop" in config else "command"
    metric = objective.metric
    told = ", ".join(reported) or "no metric at all"
    reason = f"it never reported '{metric}'; it reported {told}"
    streams = [_lines(out), _lines(errors)]
    seen = [line for lines in streams for line in lines]
    close = _closest(metric, reported, seen)
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
    """The lines of an output that say something."""
    return [line.strip() for line in plain_lines(read_text(output)) if line]


def _cut(line: str) -> str:
    return line if len(line) <= _WIDTH else f"{line[: _WIDTH - 3]}..."


def _closest(metric: str, reported: Sequence[str], seen: Sequence[str]) -> str | None:
    """The reported metric that may be meant, or one inside of a mapping that was printed."""
    last = re.split(r"[\W_]", metric)[-1]
    objects = filter(None, map(find_object, reversed(seen)))
    printed = [
        path
        for each in objects
        for path, value in _numbers(each.content)
        if as_number(value) is not None
    ]
    names = list(dict.fromkeys((*reported, *printed)))
    for name in names:
        inside = len(name) > 2 and (metric in name or name in metric)
        if name != metric and (inside or re.split(r"[\W_]", name)[-1] == last):
            return name
    close = nearest(metric, reported)
    return close if close != metric else None


def _numbers(content: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, object]]:
    for key, value in content.items():
        if isinstance(value, Mapping):
            yield from _numbers(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _look(config: Config, metric: str, seen: Sequence[str]) -> tuple[str, list[str]]:
    """What in a command's output looks like the metric: in a few words, and what to write."""
    patterns: Mapping[str, str] = config.get("metrics", {})
    clue, shown = "", seen
    if metric in patterns:
        given = f"metrics.{metric}, {patterns[metric]!r},"
        for line in reversed(seen):
            matched, _ = match_number(re.compile(patterns[metric]), line)
            if matched:
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
    found = _find_pattern(metric, [line for line in shown if find_object(line) is None])
    if found is not None:
        pattern, line = found
        step = next(filter(None, map(_step_pattern, (line, *seen))), None)
        also = f", step: {_quote(step)}" if step is not None else ""
        name = metric if re.fullmatch(r"[A-Za-z_]\w*", metric) else json.dumps(metric)
        written = f"metrics: {{{name}: {_quote(pattern)}{also}}}"
        if clue:
            which = repr(_cut(line)) if shown is seen else "this line"
            return clue, [f"{clue}; for {which} write in the spec\n  {written}"]
        words = f"what it prints, {_cut(line)!r}, is no line of JSON: write in the spec"
        return f"'metrics' in the spec finds the number in {_cut(line)!r}", [
            f"{words}\n  {written}"
        ]
    return clue, [clue] if clue else []


def _object_at_fault(line: str, metric: str, params: Mapping[str, object]) -> str:
    """Why an object that names the metric was not read, or ""."""
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


_SHORT = {"accuracy": "acc", "perplexity": "ppl", "precision": "prec"}


def _spellings(metric: str) -> Iterator[str]:
    words = [word for word in re.split(r"[\W_]+", metric) if word]
    if words:
        yield r"[\s_./@-]*".join(map(re.escape, words))
        yield re.escape(words[-1])
        if words[-1].lower() in _SHORT:
            yield _SHORT[words[-1].lower()] + r"(?:\.|@\d+)?"


_VALIDATION = re.compile(r"(?i)val|test|eval|dev\b|held")


def _find_pattern(metric: str, lines: Sequence[str]) -> tuple[str, str] | None:
    """A regular expression that finds the metric's number, and the line it is made of: the last
    that names the metric best, of several numbers that of a validation. None where no line does."""
    own = bool(_VALIDATION.match(metric))
    chosen: tuple[tuple[int, bool], str, str] | None = None
    for line in reversed(lines):
        for rank, spelling in enumerate(_spellings(metric)):
            for each in re.finditer(
                rf"(?i)((?:\b[A-Za-z]+[ _-])?(?<![A-Za-z]){spelling}(?![A-Za-z])"
                rf"[^\d\n]{{0,24}}?)([-+]?(?:\d[\d.]*|\.\d+)(?:e[-+]?\d+)?)(.?)",
                line,
            ):
                before, _, behind = each.groups()
                training = not _VALIDATION.search(line[: each.end(1)]) or "train" in before.lower()
                if training and own:  # The metric's own name says that it is not this one.
                    continue
                literal = re.sub(r"([\\.^$*+?{}\[\]|()])", r"\\\1", before)
                literal = re.sub(r"\s+", lambda gap: " " if gap[0] == " " else r"\s+", literal)
                group = r"(\d+)" if behind == "/" else r"([\d.]+)"
                pattern = literal + group + (behind if behind in ("%", "/") else "")
                if match_number(re.compile(pattern), line)[1] is None:
                    continue
                if chosen is None or (rank, training) < chosen[0]:
                    chosen = (rank, training), pattern, line
    return chosen[1:] if chosen is not None else None


def _step_pattern(line: str) -> str | None:
    found = re.search(r"(?i)\b((?:epoch|step|iter(?:ation)?)[:=# ]{0,3}\[?)\d+", line)
    return found[1].replace("[", r"\[") + r"(\d+)" if found else None


def _quote(pattern: str) -> str:
    return "'" + pattern.replace("'", "''") + "'"


def _reporting(config: Config, metric: str) -> str:
    """The line that reports the metric, in the language of the training as far as it shows."""
    named = re.fullmatch(r"[A-Za-z_]\w*", metric)
    variable = re.sub(r"\W+", "_", metric).strip("_") or "value"
    if "loop" in config:
        given = f"{metric}={variable}" if named else f"**{{{json.dumps(metric)}: {variable}}}"
        return f"trial.report(step, {given})"
    words = split_words(config["command"])
    if any(re.search(r"python|\.py\b", word) for word in words):
        return f'print(json.dumps({{"step": step, {json.dumps(metric)}: {variable}}}))'
    return f'a line such as {{"step": 3, {json.dumps(metric)}: 0.5}} on its stdout'
