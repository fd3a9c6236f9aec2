"""`command` of a spec: its words and placeholders, and the patterns of the metrics that it
prints."""

from __future__ import annotations

import contextlib
import itertools
import re
import shlex
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from lrsearch.catalogue import METRICS
from lrsearch.errors import nearest, suggest
from lrsearch.reporting import LONGEST_NAME, is_name
from lrsearch.space import Dimension
from lrsearch.spec.arithmetic import Arithmetic
from lrsearch.spec.commandline import BRACES, GIVEN, placeholders, split_words
from lrsearch.spec.document import Path, as_mapping
from lrsearch.spec.foreign.advice import searched_names
from lrsearch.spec.foreign.lines import Line
from lrsearch.spec.foreign.words import find_alike, means
from lrsearch.spec.reader import Reader
from lrsearch.spec.values import show, write

PARAMETER_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

_BRACES = "write {{ and }} for braces"

_SHELL = ("|", "||", "&", "&&", ";", ">", ">>", "<", "2>", "2>&1")


def check_command(
    reader: Reader,
    text: Any,
    given: Sequence[str],
    dimensions: Mapping[str, Dimension],
    derived: Mapping[str, Arithmetic],
) -> None:
    """Faults and notes of a command line, `text`, whose parameters are `given`; `dimensions` are
    the searched ones, `derived` those that follow from others."""
    path: Path = ("command",)
    text = list(map(_unbraced, text)) if isinstance(text, list) else text
    if isinstance(text, list) and text and all(isinstance(word, str | int) for word in text):
        # Parts of a command line, rather than words: `- python train.py`, `- --lr {lr}`.
        parted = bool(re.search(r"\s", str(text[0])))
        held = reader.document.data
        joined = [str(word) if parted else _join_words(str(word), given, held) for word in text]
        hint = "write command: python train.py --lr {lr}; for example, as one text"
        parts = [word for word in joined if word]
        if None not in joined:
            meant, *_ = _read_placeholders(" ".join(parts), given)
            hint = reader.hint(path, [Line(path, meant)])
        reader.fault(path, f"{show(text)} is no command line, but a list", hint)
        return
    if not isinstance(text, str) or not text.strip():
        hint = "write command: python train.py --lr {lr}; for example, as one text"
        reader.fault(path, f"{show(text)} is no command line", hint)
        return
    if _check_placeholders(reader, text, given):
        return
    if "\0" in text:
        reader.fault(path, "a command line holds no NUL character")
        return
    try:
        words = split_words(text)
        names = placeholders(words)
    except ValueError as error:
        hint = _hint_braces(reader, text, given) if "lone" in str(error) else ""
        reader.fault(path, str(error), hint)
        return
    for name in names:
        promised = reader.is_promised(f"search.{name}", f"params.{name}")
        if name not in (*given, *GIVEN) and not promised:
            _fault_placeholder(reader, text, name, names, given)
    seeds = reader.document.data.get("seeds")
    several = f"seeds is {seeds}" if type(seeds) is int and seeds > 1 else ""
    if not several and reader.document.data.get("confirm"):
        several = "confirm measures the best again on fresh seeds"
    if "seed" not in names and several:
        reader.notes.append(
            f"{several}, and {{seed}} does not stand in the command: it must read "
            "LRSEARCH_SEED, or all of them train the same"
        )
    told = {*names}
    for name in reversed([*derived]):
        told |= {*derived[name].names} if name in told else set()
    for name in given:
        if name not in told and name not in derived and isinstance(name, str):
            variable = f"LRSEARCH_{name.upper()}"
            what = "searched" if name in dimensions else "fixed"
            reader.notes.append(
                f"{name} is {what} and does not stand in the command: it must read {variable}, "
                "or the file that LRSEARCH_PARAMS names"
                f"{_braced(reader, name, text, given)}"
            )
    shell = [word for word in words if word in _SHELL]
    if shell:
        reader.notes.append(
            f"no shell runs the command: it is given '{shell[0]}' as a word like any other; "
            "for a shell write sh -c '...'"
        )


def _fault_placeholder(
    reader: Reader, text: str, name: str, names: Sequence[str], given: Sequence[str]
) -> None:
    """Add a fault for a placeholder, one of the `names` in a command, that no parameter is of: or
    for the parameter, where its name is the slip, as lrr beside {lr}."""
    path: Path = ("command",)
    known = (*dict.fromkeys(given), *GIVEN)
    close = nearest(name, given)
    if close and means(name) and not means(close) and close not in names:
        top = reader.document.data
        head = next(each for each in ("search", "params") if close in as_mapping(top.get(each)))
        hint = reader.hint((head, close), [Line((head, name), top[head][close])])
        told = f"it stands nowhere in the command, which asks for {{{name}}}"
        reader.fault((head, close), told, hint)
        return
    line = Line(("params", name), 1, f"for example; {suggest('', known)}")
    hint = reader.hint(path, [line]) if PARAMETER_NAME.fullmatch(name) else _BRACES
    if close := nearest(name, known) or find_alike(
        name, [each for each in given if each not in names]
    ):
        meant = text.replace(f"{{{name}}}", f"{{{close}}}")
        hint = f"{reader.hint(path, [Line(path, meant)])}; {suggest('', known)}"
    reader.fault(path, f"unknown placeholder '{{{name}}}'", hint)


def _braced(reader: Reader, name: str, text: str, given: Sequence[str]) -> str:
    """Words on a parameter whose placeholder has two braces, which are one that is meant so."""
    double = f"{{{{{name}}}}}"
    if double not in text:
        return ""
    for each in given:
        text = text.replace(f"{{{{{each}}}}}", f"{{{each}}}")
    line = reader.hint(("command",), [Line(("command",), text)])
    return f"; {double} is the text {{{name}}} there, and a placeholder has one brace: {line}"


def _hint_braces(reader: Reader, text: str, given: Sequence[str]) -> str:
    """The hint for a command with a lone brace: the line with the placeholder that is meant."""
    text = re.sub(r"\{[A-Za-z_]\w*( \w+)+\}", lambda found: found[0].replace(" ", "_"), text)
    meant = re.sub(
        r"\{([A-Za-z_]\w*)(?![\w}])|(?<![\w{])([A-Za-z_]\w*)\}",
        lambda found: f"{{{nearest(found[1] or found[2], (*given, *GIVEN))}}}",
        text,
    )
    with contextlib.suppress(ValueError):
        if {*placeholders(split_words(meant))} <= {*given, *GIVEN}:
            return f"{reader.hint(('command',), [Line(('command',), meant)])}; {_BRACES}"
    return _BRACES


_BRACED = (
    r"(?<!\$)\{ *(?:[\w]+\.)+(NAME) *\}", r"(?<!\$)\{ +(NAME) *\}|(?<!\$)\{(NAME) +\}",
    r"(?<!\$)\{(NAME)[:!][^{}]*\}", r"(?<!\$)\{\w+\[['\"]?(NAME)['\"]?\]\}",
)  # fmt: skip
"""Placeholders in braces as other tools write them; lrsearch's are plain `{name}`."""

_VARIABLES = (r"\$\{(?:[\w]+[.:])*(NAME)\}", r"\$(NAME)\b", r"%\((NAME)\)[a-z]")
"""Placeholders as a shell and Python write them."""

_WORDS = (r"<(NAME)>", r"%(NAME)%", r"@(NAME)@")
"""Words that may be placeholders of other tools, and may be plain words."""

_HIDDEN = {"{{": "\ue000", "}}": "\ue001"}
"""Characters that stand for doubled braces while placeholders are looked for."""


def _check_placeholders(reader: Reader, text: str, given: Sequence[str]) -> bool:
    """Whether parameters stand in the command in a form of another tool; such places are faults. A
    stored command has run as it is."""
    if reader.stored:
        return False
    meant, found, left = _read_placeholders(text, given)
    if not found:
        reader.notes += [
            f"{told} in the command is given as it stands: the parameter would be {{{name}}}"
            for told, name in left
        ]
        return False
    path: Path = ("command",)
    hint = reader.hint(path, [Line(path, meant)])
    reader.fault(path, f"no parameter is put in for {', '.join(found)}", hint)
    return True


def _read_placeholders(
    text: str, given: Sequence[str]
) -> tuple[str, list[str], list[tuple[str, str]]]:
    """A command with lrsearch's placeholders for those in other tools' forms; these placeholders;
    and texts that may be placeholders, with the name of the parameter. Doubled braces are braces,
    and a variable in a script is the script's."""
    try:
        words = split_words(text)
    except ValueError:
        return text, [], []
    names = "|".join(map(re.escape, sorted((*given, *GIVEN), key=len, reverse=True)))
    meant = BRACES.sub(lambda part: _HIDDEN.get(part[0], part[0]), text)
    found: dict[str, None] = {}
    left: dict[tuple[str, str], None] = {}
    for style in (*_BRACED, *_VARIABLES, *_WORDS):
        pattern = re.compile(rf"(?<!\\)(?:{style.replace('NAME', names)})")
        told_names = {match[0]: _name_in(match) for match in pattern.finditer(meant)}
        for told, name in told_names.items():
            scripts = style not in _BRACED and _is_scripted(told, words)
            if style in _WORDS or scripts:
                if not re.search(rf"\b({name} *=|for {name}\b|read .*{name})", text):
                    left[told, name] = None
                continue
            found[told] = None
        meant = pattern.sub(
            lambda match: f"{{{_name_in(match)}}}" if match[0] in found else match[0], meant
        )
    if "${args}" in meant and "args" not in given and not _is_scripted("${args}", words):
        found["${args}"] = None
        meant = meant.replace("${args}", " ".join(f"--{name} {{{name}}}" for name in given))
    for braces, hidden in _HIDDEN.items():
        meant = meant.replace(hidden, braces)
    return meant, list(found), list(left)


def _name_in(match: re.Match[str]) -> str:
    """The parameter of a placeholder in a form of another tool."""
    return next(group for group in match.groups() if group)


def _is_scripted(text: str, words: Sequence[str]) -> bool:
    """Whether a text stands in scripts alone: behind `-c`, or in a word that holds several."""
    holding = [
        re.fullmatch(r"-[a-z]*c", before) or re.search(r"\s", word)
        for before, word in itertools.pairwise(["", *words])
        if text in word
    ]
    return bool(holding) and all(holding)


def _join_words(word: str, given: Sequence[str], top: Mapping[str, Any]) -> str | None:
    """Join the words of a command that is a list, as in W&B's sweeps, too; None where an entry
    cannot be a word of a command line."""
    if word in ("${args}", "${args_no_boolean_flags}", "${args_no_hyphens}"):
        dashes = "" if word == "${args_no_hyphens}" else "--"
        names = dict.fromkeys([*given, *searched_names(top)])
        equals = " " if dashes else "="
        return " ".join(f"{dashes}{name}{equals}{{{name}}}" for name in names)
    if word in ("${env}", "${interpreter}", "/usr/bin/env"):
        return "python" if word == "${interpreter}" else ""
    if word == "${program}":
        named = [part for key, part in top.items() if key != "command" and means(key) == "command"]
        return named[0] if len(named) == 1 and isinstance(named[0], str) else None
    if word.startswith("${args"):
        return None
    return shlex.quote(word) if re.search(r"[\s'\"\\]", word) else word


def _unbraced(word: Any) -> Any:
    """The text `{lr}`, which YAML takes for a mapping of a name to nothing."""
    if isinstance(word, Mapping) and list(word.values()) == [None]:
        return f"{{{next(iter(word))}}}"
    return word


def read_patterns(reader: Reader, raw: Any, kind: str, objective: str) -> dict[str, str]:
    """The regular expressions that find metrics in what a command prints."""
    path: Path = ("metrics",)
    if raw is None:
        return {}
    if kind == "loop":
        how = f"trial.report(step, {objective or 'loss'}=...)"
        hint = f"a loop reports by {how}; what it prints is not read"
        reader.fault(path, "'metrics' finds metrics in what a command prints", hint)
        return {}
    name = objective or "loss"
    example = f"write metrics: {{{name}: '{name}: ([\\d.]+)'}}; one group, which is the number"
    if not isinstance(raw, Mapping) or not raw:
        reader.fault(path, f"{show(raw)} is no mapping of metrics to patterns", example)
        return {}
    found = {}
    for metric, pattern in raw.items():
        place: Path = (*path, metric)
        if not is_name(metric):
            allowed = f"1 to {LONGEST_NAME} printable characters"
            reader.fault(path, f"{show(metric)} is no metric's name", f"it has {allowed}")
        elif (wrong := _check_pattern(metric, pattern, example)) is not None:
            reader.fault(place, *wrong)
        else:
            found[metric] = pattern
    if objective and objective not in raw:
        close = nearest(objective, [each for each in found if each != "step"])
        line = Line((*path, objective), f"{objective}: ([\\d.]+)", "one group, which is the number")
        if close and objective in METRICS:  # The pattern's name is the slip.
            line = Line((*path, objective), found[close], f"in the place of {close}")
        elif close:
            line = Line(("objective", "metric"), close)
        message = f"the objective's metric '{objective}' has no pattern"
        reader.fault(path, message, reader.hint(path, [line]))
    return found


_DIGITS = re.compile(r"\[[^\]]*\\d[^\]]*\][+*]?|\\d[+*]?(?:\\\.\\d[+*]?)?|\\S[+*]")
"""The part of a pattern that stands for a number."""


def count_groups(pattern: str) -> int:
    """The number of groups of a regular expression. Raises re.error where it is none."""
    with warnings.catch_warnings():  # That some day [[ may be a set in a set.
        warnings.simplefilter("ignore", FutureWarning)
        return re.compile(pattern).groups


def _check_pattern(metric: str, pattern: Any, example: str) -> tuple[str, str] | None:
    """The fault of a pattern, and the hint; None for a sound one."""
    if not isinstance(pattern, str):
        return f"{show(pattern)} is no pattern", example
    try:
        groups = count_groups(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        return f"{show(pattern)} is no regular expression: {error}", example
    if groups == 1:
        return None
    if groups:
        message = f"{show(pattern)} has {groups} groups, and one says which part is the number"
        others = re.sub(r"(?<!\\)\((?!\?|\[?[^()]*\\[dS])", "(?:", pattern)
        line = f"write {write({metric: others})[1:-1]}; " if count_groups(others) == 1 else ""
        return message, f"{line}a group that is not the number is written (?:...)"
    message = f"{show(pattern)} has no group to say which part is the number"
    grouped = _DIGITS.sub(lambda found: f"({found[0]})", pattern, count=1)
    if grouped == pattern and re.search(r"(?<!\\)[\w=: ]$", pattern):  # The text before the number.
        grouped += r"\W*([\d.]+)" if pattern[-1:].isalnum() else r"([\d.]+)"
    return message, f"write {write({metric: grouped})[1:-1]}" if grouped != pattern else example
