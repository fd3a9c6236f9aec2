"""A spec whose training is the person's own: `command` or `loop` in place of data, model, train."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lrsearch import catalogue
from lrsearch.catalogue import Parameter
from lrsearch.errors import suggest
from lrsearch.space import Dimension, Space
from lrsearch.spec.commandline import GIVEN, placeholders, split_words
from lrsearch.spec.document import Path
from lrsearch.spec.model import Own
from lrsearch.spec.values import show

if TYPE_CHECKING:  # It is part of that reader, which imports this module.
    from lrsearch.spec.validate import _Reader as Reader

KINDS = ("command", "loop")
ONLY_OWN = ("params", "timeout")
"""Keys that a spec with data, model and train has not."""

BUILT_IN = ("data", "model", "train")

_RATES = ("lr", "weight_decay")
"""Numbers by these names are real ones, searched on a log scale unless told otherwise."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_RESERVED = (*GIVEN, "params", "metrics", "runs")
"""Parameters of these names would hide a placeholder, or an environment variable of lrsearch."""

_TIMEOUT = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?([smh])")
_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0}
_LONGEST = 1e9
_SHELL = ("|", "||", "&", "&&", ";", ">", ">>", "<", "2>", "2>&1")


def is_own(top: Mapping[str, Any]) -> bool:
    """Whether a document describes a person's own training."""
    return any(kind in top for kind in KINDS)


def read_own(reader: Reader, top: Mapping[str, Any]) -> tuple[Own, dict[str, Any], str, str, Space]:
    """The training, its fixed parameters, the objective's metric and `at`, and the space. What is
    wrong goes to the reader's faults."""
    kind = next(each for each in KINDS if each in top)
    if all(each in top for each in KINDS):
        reader.fault(("loop",), "command and loop exclude each other")
    for key in BUILT_IN:
        if key in top:
            reader.fault(
                (key,),
                f"'{key}' has no place beside {kind}, which brings its own",
                f"values that the {kind} takes belong under params, or under search",
            )
    params = _read_params(reader, top.get("params"))
    dimensions = _read_search(reader, top.get("search"))
    for name in dimensions:
        if name in params:
            reader.notes.append(f"{name} is both fixed and searched: the search wins")
    _check_names(reader, params, dimensions)
    text = top[kind]
    if kind == "command":
        _check_command(reader, text, params, dimensions)
    elif reader.is_class_path(("loop",), text):
        reader.imports.append(text)
    metric, goal, at = _read_objective(reader, top.get("objective"))
    timeout = _read_timeout(reader, top.get("timeout"))
    space = Space(tuple(dimensions.items()))
    return Own(kind, str(text), goal, timeout), params, metric, at, space


def _check_command(
    reader: Reader, text: Any, params: Mapping[str, Any], dimensions: Mapping[str, Dimension]
) -> None:
    path: Path = ("command",)
    if not isinstance(text, str) or not text.strip():
        hint = "write it as one text: python train.py --lr {lr}"
        reader.fault(path, f"{show(text)} is no command line", hint)
        return
    if "\0" in text:
        reader.fault(path, "a command line holds no NUL character")
        return
    try:
        words = split_words(text)
        names = placeholders(words)
    except ValueError as error:
        brace = "brace" in str(error) or "lone" in str(error)
        reader.fault(path, str(error), "write {{ and }} for braces" if brace else "")
        return
    known = (*dict.fromkeys((*dimensions, *params)), *GIVEN)
    for name in names:
        if name not in known:
            close = suggest(name, known)
            reader.fault(path, f"unknown placeholder '{{{name}}}'", close)
    for name in dimensions:
        if name not in names:
            variable = f"LRSEARCH_{name.upper()}"
            reader.notes.append(
                f"{name} is searched and does not stand in the command: it must read {variable}, "
                "or the file that LRSEARCH_PARAMS names"
            )
    shell = [word for word in words if word in _SHELL]
    if shell:
        reader.notes.append(
            f"no shell runs the command: it is given '{shell[0]}' as a word like any other; "
            "for a shell write sh -c '...'"
        )


def _read_params(reader: Reader, raw: Any) -> dict[str, Any]:
    if raw is None:
        return {}
    if not isinstance(raw, Mapping):
        reader.fault(("params",), f"{show(raw)} is no mapping of parameters to values")
        return {}
    return {
        name: _read_value(reader, ("params", name), name, value)
        for name, value in raw.items()
        if _check_name(reader, ("params", name), name)
    }


def _read_value(reader: Reader, path: Path, name: str, raw: Any) -> Any:
    value = reader.value(path, Parameter("any"), raw)
    if _holds_nul(value):
        reader.fault(path, "no value may hold a NUL character")
    return _widen(name, value)


def _widen(name: str, value: Any) -> Any:
    """A rate as a real number, so that 1 and 1.0 are one value."""
    return float(value) if name in _RATES and type(value) is int else value


def _holds_nul(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(_holds_nul(part) for part in (*value, *value.values()))
    if isinstance(value, list):
        return any(_holds_nul(part) for part in value)
    return isinstance(value, str) and "\0" in value


def _read_search(reader: Reader, raw: Any) -> dict[str, Dimension]:
    found: dict[str, Dimension] = {}
    if raw is None:
        return found
    if not isinstance(raw, Mapping):
        reader.fault(("search",), f"{show(raw)} is no mapping of searched parameters")
        return found
    for name, value in raw.items():
        path: Path = ("search", name)
        if not _check_name(reader, path, name):
            continue
        if isinstance(value, list):
            values = [_read_value(reader, (*path, at), name, v) for at, v in enumerate(value)]
            dimension = reader.dimension(path, Parameter("any"), values)
        else:
            scale = "log" if name in _RATES else "linear"
            kind = "float" if name in _RATES else "any"
            dimension = reader.dimension(path, Parameter(kind, scale=scale), value)
        if dimension is not None:
            found[name] = dimension
    return found


def _check_name(reader: Reader, path: Path, name: str) -> bool:
    if not _NAME.fullmatch(name):
        last = name.rpartition(".")[2]
        hint = f"write {last}" if _NAME.fullmatch(last) else ""
        message = "a parameter's name is made of letters, digits and _, and starts with no digit"
        reader.fault(path, message, hint)
        return False
    if name.lower() in _RESERVED:
        reader.fault(path, f"'{name}' is a name of lrsearch's own", "give it another name")
        return False
    return True


def _check_names(
    reader: Reader, params: Mapping[str, Any], dimensions: Mapping[str, Dimension]
) -> None:
    """Two names that differ in case alone would share an environment variable."""
    seen: dict[str, str] = {}
    for name in dict.fromkeys((*params, *dimensions)):
        other = seen.setdefault(name.upper(), name)
        if other != name:
            path: Path = ("params" if name in params else "search", name)
            reader.fault(path, f"'{name}' and '{other}' differ in case alone")


def _read_objective(reader: Reader, raw: Any) -> tuple[str, str, str]:
    path: Path = ("objective",)
    example = "write {metric: loss, goal: min, at: last}, with a metric that it reports"
    if raw is None:
        reader.fault(path if "objective" in reader.document.data else (), _MISSING, example)
        return "", "min", "last"
    raw = {"metric": raw} if isinstance(raw, str) else raw
    if not isinstance(raw, Mapping):
        reader.fault(path, f"{show(raw)} is no objective", example)
        return "", "min", "last"
    reader.unknown(path, raw, ("metric", "goal", "at"))
    metric = raw.get("metric")
    if not isinstance(metric, str) or not metric.strip() or metric == "step":
        told = "'metric' is missing" if metric is None else f"{show(metric)} is no metric"
        reader.fault((*path, "metric") if "metric" in raw else path, told, example)
        metric = ""
    known = catalogue.METRICS.get(metric)
    goal = raw.get("goal")
    if goal is None:
        if known is None and metric:
            message = f"'goal' is missing: is a large '{metric}' good, or a small one?"
            reader.fault(path, message, f"write {{metric: {metric}, goal: max}}, or goal: min")
        goal = known[0] if known else "min"
    goal = reader.value((*path, "goal"), Parameter("text", choices=("min", "max")), goal)
    at = Parameter("text", "last", choices=("last", "best"))
    return metric, goal, reader.value((*path, "at"), at, raw.get("at", "last"))


_MISSING = "'objective' is missing: your own training says by its metrics how good it is"


def _read_timeout(reader: Reader, raw: Any) -> float | None:
    if raw is None:
        return None
    match = _TIMEOUT.fullmatch(raw) if isinstance(raw, str) else None
    seconds = float(match[1]) * _SECONDS[match[2]] if match else 0.0
    if match is None or not 0 < seconds <= _LONGEST:
        hint = "it takes a number above 0 and s, m or h: 90s, 10m, 1.5h"
        reader.fault(("timeout",), f"{show(raw)} is no time", hint)
        return None
    return seconds
