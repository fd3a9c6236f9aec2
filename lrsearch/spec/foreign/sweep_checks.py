"""The faults of a sweep of Weights & Biases: words that W&B does not know, and values that its
distributions do not take, each with the line to write.

The words are those of https://docs.wandb.ai/models/sweeps/sweep-config-keys.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from lrsearch.errors import Fault, nearest, suggest
from lrsearch.spec.document import Document
from lrsearch.spec.foreign.lines import Path
from lrsearch.spec.foreign.ranges import is_finite, read_foreign
from lrsearch.spec.values import show, write

METHODS = ("grid", "random", "bayes")
GOALS = ("minimize", "maximize")
_METRIC = ("name", "goal", "target")
_STOPPING = ("type", "min_iter", "max_iter", "s", "eta", "strict")
_PARAMETER = (
    "value", "values", "distribution", "min", "max", "q", "mu", "sigma", "probabilities",
    "parameters",
)  # fmt: skip
_TOP = (
    "program", "command", "method", "metric", "parameters", "name", "run_cap", "early_terminate",
    "description", "project", "entity", "controller", "job", "image_uri", "imageuri",
    "display_name",
)  # fmt: skip
_BOUNDS = (
    "uniform", "int_uniform", "q_uniform", "log_uniform_values", "q_log_uniform_values",
    "inv_log_uniform_values", "log_uniform", "q_log_uniform", "inv_log_uniform",
)  # fmt: skip
_NORMAL = ("normal", "q_normal", "log_normal", "q_log_normal")
DISTRIBUTIONS = ("categorical", "constant", *_BOUNDS, *_NORMAL)
EXPONENTS = ("log_uniform", "q_log_uniform", "inv_log_uniform")
"""Distributions whose min and max are natural logarithms of the bounds, of 1 / x for inv_."""
MACROS = (
    "${env}", "${interpreter}", "${program}", "${args}", "${args_no_hyphens}",
    "${args_no_boolean_flags}",
)  # fmt: skip
_FIRST: dict[str, str] = {
    "program": "train.py",
    "method": "bayes",
    "parameters": "{lr: {distribution: log_uniform_values, min: 1e-4, max: 0.1}}",
}
"""Lines of a sweep without which there is none."""


def find_sweep_faults(document: Document) -> list[Fault]:
    """All faults of a sweep's document, those of its YAML among them."""
    return [*document.faults, *_top(document)]


def bounds_of(distribution: str, low: float, high: float) -> tuple[float, float]:
    """The least and the greatest value that a distribution of `EXPONENTS` draws. Raises
    OverflowError."""
    if distribution.startswith("inv_"):
        low, high = -high, -low
    return float(f"{math.exp(low):.6g}"), float(f"{math.exp(high):.6g}")


def _top(document: Document) -> Iterator[Fault]:
    top = document.data
    if not isinstance(top, Mapping):
        found = "it is empty" if top is None else f"{write(top)[:60]} is no mapping"
        yield document.fault(
            (),
            f"it is no sweep of Weights & Biases: {found}",
            "a sweep is a mapping with program, method, metric and parameters",
        )
        return
    yield from _unknown(document, (), top, _TOP, strict=False)
    mistyped = {nearest(str(key), _TOP) for key in top if key not in _TOP}
    for key in ("program", "method", "parameters"):
        if key in top or key in mistyped:
            continue
        if key == "program" and ("command" in top or "job" in top):
            continue
        none = "it is no sweep of Weights & Biases: " if key == "parameters" else ""
        yield document.fault((), f"{none}'{key}' is missing", f"write {key}: {_FIRST[key]}")
    if not isinstance(top.get("program", ""), str):
        hint = f"write program: {_FIRST['program']}"
        yield document.fault(("program",), f"{show(top['program'])} is no file", hint)
    yield from _method(document, top)
    yield from _metric(document, top)
    yield from _command(document, top)
    if "run_cap" in top and not (type(top["run_cap"]) is int and top["run_cap"] > 0):
        message = f"{show(top['run_cap'])} is no number of runs: a whole number from 1 up"
        yield document.fault(("run_cap",), message, "write run_cap: 40")
    if "early_terminate" in top:
        yield from _stopping(document, top["early_terminate"])
    if "parameters" in top:
        faults = list(_parameters(document, ("parameters",), top["parameters"]))
        yield from faults or (_endless(document, top) if top.get("method") == "grid" else ())


def _unknown(
    document: Document,
    path: Path,
    given: Mapping[str, Any],
    known: Sequence[str],
    *,
    strict: bool = True,
) -> Iterator[Fault]:
    """Keys that a mapping does not have; unless `strict` only those near to one that is missing."""
    for key, value in given.items():
        meant = nearest(str(key), known)
        if key in known or (not strict and (meant is None or meant in given)):
            continue
        hint = suggest(str(key), known)
        if meant is not None and meant not in given:
            named = {meant if each == key else each: part for each, part in given.items()}
            line = f"{path[-1]}: {write(named)}" if path else f"{key_line(meant, value)}"
            hint += f"\n  write {line}"
        yield document.fault((*path, key), f"unknown key '{key}'", hint)


def key_line(key: str, value: Any) -> str:
    """A line `key: value`, or `key:` where the value is a mapping of many lines."""
    return f"{key}:" if isinstance(value, Mapping) else f"{key}: {write(value)}"


def _allowed(given: Any, allowed: Iterable[str], key: str, usual: str) -> str:
    """The hint of a word that is none of those allowed."""
    known = list(allowed)
    meant = nearest(str(given), known) or usual
    return f"allowed: {', '.join(known)}\n  write {key}: {meant}"


def _method(document: Document, top: Mapping[str, Any]) -> Iterator[Fault]:
    method = top.get("method", "bayes")
    if method in METHODS:
        return
    hint = _allowed(method, METHODS, "method", "bayes")
    if method == "hyperband":
        hint += "\n  hyperband stops trainings early: write prune: {name: hyperband, budget: 90} in"
        hint += " the spec, where its last report is of step 90"
    yield document.fault(("method",), f"{show(method)} is no method", hint)


def _metric(document: Document, top: Mapping[str, Any]) -> Iterator[Fault]:
    metric, usual = top.get("metric"), "{name: val_loss, goal: minimize}"
    if "metric" not in top:
        if top.get("method") == "bayes" and not any(nearest(str(k), ["metric"]) for k in top):
            yield document.fault((), "'metric' is missing", f"write metric: {usual}")
        return
    if not isinstance(metric, Mapping):
        meant = {"name": metric, "goal": "minimize"} if isinstance(metric, str) else None
        hint = f"write metric: {write(meant) if meant else usual}, or goal: maximize"
        yield document.fault(("metric",), f"{show(metric)} is no mapping", hint)
        return
    yield from _unknown(document, ("metric",), metric, _METRIC)
    if not isinstance(metric.get("name", ""), str) or metric.get("name") == "":
        message = f"{show(metric['name'])} is no name of a metric"
        yield document.fault(("metric", "name"), message, "write name: val_loss")
    elif "name" not in metric and not any(nearest(str(key), ["name"]) for key in metric):
        yield document.fault(("metric",), "'name' is missing", f"write metric: {usual}")
    if metric.get("goal", "minimize") not in GOALS:
        hint = _allowed(metric["goal"], GOALS, "goal", GOALS["max" in str(metric["goal"])])
        yield document.fault(("metric", "goal"), f"{show(metric['goal'])} is no goal", hint)
    if "target" in metric and not is_finite(metric["target"]):
        message = f"{show(metric['target'])} is no number"
        yield document.fault(("metric", "target"), message, "write target: 0.1")


def _command(document: Document, top: Mapping[str, Any]) -> Iterator[Fault]:
    command = top.get("command", ["${program}"])
    usual = ["${env}", "python", "${program}", "${args}"]
    if not isinstance(command, list) or not command:
        words = command.split() if isinstance(command, str) else usual
        if not any(str(word).startswith("${args") for word in words):
            words = [*words, "${args}"]
        message = f"{show(command)} is no list of words"
        yield document.fault(("command",), message, f"write command: {write(words)}")
        return
    for index, word in enumerate(command):
        if isinstance(word, Mapping | list):
            yield document.fault(("command", index), f"{show(word)} is no word", "write a text")
        elif str(word).startswith("${") and str(word).endswith("}") and word not in MACROS:
            meant = "${args}" if "json" in word else nearest(str(word), MACROS)
            known = word.startswith(("${args_json", "${envvar:"))
            message = f"'{word}' has no counterpart" if known else f"'{word}' is no macro"
            hint = f"allowed: {', '.join(MACROS)}"
            if word.startswith("${envvar:"):
                hint += "\n  a command has the environment that lrsearch has: read it there"
            elif meant:
                hint += f"\n  write '{meant}'"
            yield document.fault(("command", index), message, hint)
    if "${program}" in command and "program" not in top and "command" in top:
        message = "'program' is missing, which '${program}' stands for"
        yield document.fault((), message, f"write program: {_FIRST['program']}")


def _stopping(document: Document, given: Any) -> Iterator[Fault]:
    path, usual = ("early_terminate",), "{type: hyperband, min_iter: 3}"
    if not isinstance(given, Mapping):
        message = f"{show(given)} is no mapping"
        yield document.fault(path, message, f"write early_terminate: {usual}")
        return
    yield from _unknown(document, path, given, _STOPPING)
    if given.get("type") not in ("hyperband", "envelope"):
        if "type" in given:
            hint = _allowed(given["type"], ("hyperband",), "type", "hyperband")
            message = f"{show(given['type'])} is no rule of early stopping"
            yield document.fault((*path, "type"), message, hint)
        elif not any(nearest(str(key), ["type"]) for key in given):
            yield document.fault(path, "'type' is missing", f"write early_terminate: {usual}")


def _parameters(document: Document, path: Path, given: Any) -> Iterator[Fault]:
    if not isinstance(given, Mapping) or not given:
        found = "it has no parameters" if given in (None, {}) else "its parameters are no mapping"
        hint = f"write parameters: {_FIRST['parameters']}"
        yield document.fault(path, f"it is no sweep of Weights & Biases: {found}", hint)
        return
    for key, value in given.items():
        yield from _parameter(document, (*path, key), value)


def _parameter(document: Document, path: Path, given: Any) -> Iterator[Fault]:
    name = str(path[-1])
    if not isinstance(given, Mapping) or not given:
        found = read_foreign(given) if isinstance(given, str) else given
        line: dict[str, Any]
        if isinstance(found, list) and found:
            line, message = {"values": found}, f"{show(given)} is no mapping"
        elif isinstance(found, Mapping) and found:
            line, message = _as_sweeps_write(found), f"{show(given)} is no mapping"
        elif given in (None, {}, [], ""):
            line, message = {"values": [1, 2]}, "it is empty"
        else:
            line, message = {"value": given}, f"{show(given)} is one value, and no mapping"
        yield document.fault(path, message, f"write {name}: {write(line)}")
        return
    if "parameters" in given:
        yield from _unknown(document, path, given, _PARAMETER)
        yield from _parameters(document, (*path, "parameters"), given["parameters"])
        return
    unknown = list(_unknown(document, path, given, _PARAMETER))
    yield from unknown
    if not unknown:
        yield from _distribution(document, path, given)


def _endless(document: Document, top: Mapping[str, Any]) -> Iterator[Fault]:
    """The parameters of a sweep over a grid that have no end of values."""
    for name, given in top["parameters"].items():
        distribution = given.get("distribution", _usual(given))
        if "parameters" in given or distribution not in (*_BOUNDS, *_NORMAL):
            continue
        if distribution not in ("int_uniform", "q_uniform"):
            low, high = given.get("min", 1e-4), given.get("max", 0.1)
            values = [low, float(f"{math.sqrt(low * high):.3g}"), high] if low > 0 else [low, high]
            hint = f"write {name}: {write({'values': values})}, or method: random"
            yield document.fault(("parameters", name), f"a grid of {distribution} has no end", hint)


def _as_sweeps_write(found: Mapping[str, Any]) -> dict[str, Any]:
    """A range of lrsearch's as a sweep has it."""
    logarithmic = found.get("scale") == "log"
    distribution = {"distribution": "log_uniform_values"} if logarithmic else {}
    return {**distribution, "min": found["min"], "max": found["max"]}


def _distribution(document: Document, path: Path, given: Mapping[str, Any]) -> Iterator[Fault]:
    """The faults of a parameter whose keys are known."""
    name, distribution = str(path[-1]), given.get("distribution")
    if "distribution" in given and distribution not in DISTRIBUTIONS:
        hint = _allowed(distribution, DISTRIBUTIONS, "distribution", _usual(given))
        message = f"{show(distribution)} is no distribution"
        yield document.fault((*path, "distribution"), message, hint)
        return
    if distribution is None:
        distribution = _usual(given)
    if "values" in given and (not isinstance(given["values"], list) or not given["values"]):
        values = read_foreign(given["values"]) if isinstance(given["values"], str) else None
        if not isinstance(values, list):
            values = [given["values"]] if given["values"] not in ([], {}, None, "") else [1, 2]
        message = f"{show(given['values'])} is no list of values"
        if given["values"] == []:
            message = "an empty list leaves nothing to choose from"
        hint = f"write {name}: {write({**given, 'values': values})}"
        yield document.fault((*path, "values"), message, hint)
        return
    alone = {"categorical": ["values"], "constant": ["value"]}.get(distribution, [])
    needed = ["min", "max"] if distribution in _BOUNDS else alone
    missing = [key for key in needed if key not in given]
    if missing:
        whole = {**given, **{key: _missing(key, given) for key in missing}}
        message = f"{distribution} needs {' and '.join(needed)}"
        message = f"{' and '.join(map(repr, missing))} is missing: {message}"
        yield document.fault(path, message, f"write {name}: {write(whole)}")
        return
    numbers = [key for key in ("min", "max", "q", "mu", "sigma") if key in given]
    wrong = [key for key in numbers if not is_finite(given[key])]
    for key in wrong:
        message = f"{show(given[key])} is no number"
        yield document.fault((*path, key), message, f"write {key}: {_number_like(key)}")
    if not wrong and distribution in _BOUNDS:
        yield from _bounds(document, path, given, distribution)


def _usual(given: Mapping[str, Any]) -> str:
    """The distribution that W&B takes where none is said."""
    if "values" in given:
        return "categorical"
    if "value" in given:
        return "constant"
    if "mu" in given or "sigma" in given:
        return "normal"
    whole = type(given.get("min")) is int and type(given.get("max")) is int
    return "int_uniform" if whole else "uniform"


def _missing(key: str, given: Mapping[str, Any]) -> Any:
    """A value for a key that is missing, on the right side of the other bound."""
    other: Any = given.get("max" if key == "min" else "min")
    if not is_finite(other):
        return {"values": [1, 2], "value": 1, "min": 1e-4, "max": 0.1}[key]
    if other <= 0:
        return other - 1 if key == "min" else other + 1
    return other * 10 if key == "max" else other // 10 or 1 if type(other) is int else other / 1000


def _number_like(key: str) -> str:
    return {"min": "1e-4", "max": "0.1", "q": "8", "mu": "0", "sigma": "1"}[key]


def _bounds(
    document: Document, path: Path, given: Mapping[str, Any], distribution: str
) -> Iterator[Fault]:
    """The faults of numeric bounds."""
    name, low, high = str(path[-1]), given["min"], given["max"]

    def line(**changed: Any) -> str:
        return f"{name}: {write({**given, **changed})}"

    if low > high:
        message = f"min {write(low)} is above max {write(high)}"
        hint = f"write {line(min=high, max=low)}"
        yield document.fault((*path, "min"), message, hint)
    elif low == high:
        message = f"min and max are both {write(low)}: there is nothing to search"
        yield document.fault(path, message, f"write {name}: {{value: {write(low)}}}")
    elif "log" in distribution and distribution not in EXPONENTS and low <= 0:
        message = f"min {write(low)} has no place on a log scale"
        hint = f"start above 0: write {line(min=high / 1000)}"
        yield document.fault((*path, "min"), message, hint)
    elif distribution in EXPONENTS and low >= 0 and not (distribution[0] == "i" and high > 1):
        values = distribution.replace("uniform", "uniform_values")
        message = f"min and max of {distribution} are exponents: these"
        hint = f"write {line(distribution=values)} for these bounds" if low > 0 else ""
        try:
            ends = bounds_of(distribution, low, high)
            message += f" are values from {write(ends[0])} to {write(ends[1])}"
            other = line(distribution=values, min=ends[0], max=ends[1])
            hint += f"{', or ' if hint else 'write '}{other} for those"
        except OverflowError:
            message += " are beyond all numbers"
        yield document.fault((*path, "distribution"), message, hint)
    elif distribution == "int_uniform" and not (type(low) is int and type(high) is int):
        message = "int_uniform takes whole numbers"
        yield document.fault(path, message, f"write {line(distribution='uniform')}")
    if "q" in given and given["q"] <= 0:
        message = f"{write(given['q'])} is no step"
        yield document.fault((*path, "q"), message, f"write {line(q=1)}")
