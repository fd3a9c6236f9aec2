"""The faults of a sweep of Weights & Biases: words that W&B does not know, and values that its keys
do not take, each with the line to write.

The words are those of https://docs.wandb.ai/models/sweeps/sweep-config-keys.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from lrsearch.errors import Fault, nearest, suggest
from lrsearch.spec.document import Document
from lrsearch.spec.foreign.lines import Path
from lrsearch.spec.foreign.ranges import is_finite, read_foreign
from lrsearch.spec.values import show, write

_BOUNDS = (
    "uniform", "int_uniform", "q_uniform", "log_uniform_values", "q_log_uniform_values",
    "inv_log_uniform_values", "log_uniform", "q_log_uniform", "inv_log_uniform",
)  # fmt: skip
_NORMAL = ("normal", "q_normal", "log_normal", "q_log_normal")
EXPONENTS = ("log_uniform", "q_log_uniform", "inv_log_uniform")
"""Distributions whose min and max are natural logarithms of the bounds, of 1 / x for inv_."""
_HIGHEST = 700.0
"""The highest of these: e to the power of more is no number."""
MACROS = (
    "${env}", "${interpreter}", "${program}", "${args}", "${args_no_hyphens}",
    "${args_no_boolean_flags}",
)  # fmt: skip


@dataclass(frozen=True)
class _Key:
    """A key of a sweep: what its values are, in words, a usual one, and whether one is valid; the
    words that it may be, for a key that takes one of several."""

    told: str
    usual: Any
    fits: Callable[[Any], bool]
    words: tuple[str, ...] = ()


def _one_of(told: str, words: tuple[str, ...]) -> _Key:
    return _Key(told, words[0], lambda value: value in words, words)


def _mapping(usual: dict[str, Any]) -> _Key:
    return _Key("mapping", usual, lambda value: isinstance(value, Mapping) and bool(value))


def _are_words(value: Any) -> bool:
    return isinstance(value, list) and not any(isinstance(each, Mapping | list) for each in value)


def _is_count(value: Any) -> bool:
    return type(value) is int and value > 0


_ANY = _Key("value", 1, lambda value: True)
_NUMBER = _Key("number", 0.1, is_finite)
_TEXT = _Key("text", "val_loss", lambda value: isinstance(value, str) and bool(value))
_PARAMETER = {
    **dict.fromkeys(("value", "probabilities"), _ANY),
    "values": _Key("list of values", [1, 2], lambda value: isinstance(value, list) and bool(value)),
    "distribution": _one_of("distribution", (*_BOUNDS, *_NORMAL, "categorical", "constant")),
    **dict.fromkeys(("min", "max", "mu", "sigma"), _NUMBER),
    "q": _Key("step: a number above 0", 1, lambda value: is_finite(value) and value > 0),
    "parameters": _mapping({"width": {"values": [32, 64]}}),
}
_LR = {"lr": {"distribution": "log_uniform_values", "min": 1e-4, "max": 0.1}}
_TOP = {
    "program": _Key("file", "train.py", _TEXT.fits),
    "method": _one_of("method", ("bayes", "random", "grid")),
    "parameters": _mapping(_LR),
    "metric": _mapping({"name": "val_loss", "goal": "minimize"}),
    "command": _Key("list of words", ["${env}", "python", "${program}", "${args}"], _are_words),
    "run_cap": _Key("number of runs: a whole number from 1 up", 40, _is_count),
    "early_terminate": _mapping({"type": "hyperband", "min_iter": 3}),
    **dict.fromkeys(
        ("name", "description", "project", "entity", "controller", "job", "image_uri", "imageuri",
         "display_name"), _ANY,
    ),
}  # fmt: skip
_METRIC = {"name": _TEXT, "goal": _one_of("goal", ("minimize", "maximize")), "target": _NUMBER}
_STOPPING = {
    "type": _one_of("rule of early stopping", ("hyperband", "envelope")),
    **dict.fromkeys(("min_iter", "max_iter", "s", "eta", "strict"), _ANY),
}
_INNER = {"metric": (_METRIC, "name"), "early_terminate": (_STOPPING, "type")}
"""Mappings within a sweep: their keys, and the one that they need."""


def find_sweep_faults(document: Document) -> list[Fault]:
    """All faults of a sweep's document, those of its YAML among them."""
    return [*document.faults, *_top(document)]


def bounds_of(distribution: str, low: float, high: float) -> tuple[float, float]:
    """The least and the greatest value that a distribution of `EXPONENTS` draws."""
    if distribution.startswith("inv_"):
        low, high = -high, -low
    return float(f"{math.exp(low):.6g}"), float(f"{math.exp(high):.6g}")


def _top(document: Document) -> Iterator[Fault]:
    top = document.data
    if not isinstance(top, Mapping):
        found = "it is empty" if top is None else f"{write(top)[:60]} is no mapping"
        hint = "a sweep is a mapping with program, method, metric and parameters"
        yield document.fault((), f"it is no sweep of Weights & Biases: {found}", hint)
        return
    needed = ["method", "parameters", *([] if {"command", "job"} & {*top} else ["program"])]
    needed += ["program"] if "${program}" in str(top.get("command")) else []
    needed += ["metric"] if top.get("method") == "bayes" else []
    yield from _check(document, (), top, _TOP, needed)
    for key, (keys, own) in _INNER.items():
        if isinstance(top.get(key), Mapping) and top[key]:
            yield from _check(document, (key,), top[key], keys, [own])
    command = top.get("command")
    for index, word in enumerate(command if isinstance(command, list) else ()):
        if str(word).startswith("${") and word not in MACROS:
            meant = nearest(str(word), MACROS) or "${args}"
            hint = f"allowed: {', '.join(MACROS)}\n  write '{meant}'"
            yield document.fault(("command", index), f"'{word}' is no macro", hint)
    yield from _parameters(document, ("parameters",), top.get("parameters"))


def _check(
    document: Document,
    path: Path,
    given: Mapping[str, Any],
    keys: Mapping[str, _Key],
    needed: list[str],
) -> Iterator[Fault]:
    """Faults of a mapping: unknown keys, at the top slips of known ones alone, values that a key
    does not take, and keys that are missing."""
    slips = set()
    for name, value in given.items():
        key, known = keys.get(name), [each for each in keys if each not in given]
        if key is None:
            meant = nearest(str(name), known)
            slips.add(meant)
            named = {meant if each == name else each: part for each, part in given.items()}
            line = f"{path[-1]}: {write(named)}" if path else f"{meant}: {write(value)}"
            hint = suggest(str(name), keys) + (f"\n  write {line}" if meant else "")
            if path or meant:
                yield document.fault((*path, name), f"unknown key '{name}'", hint)
        elif not key.fits(value):
            told, usual = f"{show(value)} is no {key.told}", key.usual
            if key.words:
                usual = nearest(str(value), key.words) or usual
            elif isinstance(usual, list) and not isinstance(value, list | Mapping) and value:
                usual = str(value).split() if name == "command" else [value]
            elif name == "metric" and isinstance(value, str):
                usual = {**usual, "name": value}
            allowed = f"allowed: {', '.join(key.words)}\n  " if key.words else ""
            yield document.fault((*path, name), told, f"{allowed}write {name}: {write(usual)}")
    for name in needed:
        if name not in given and name not in slips:
            told = "it is no sweep of Weights & Biases: " if name == "parameters" else ""
            hint = f"write {name}: {write(keys[name].usual)}"
            yield document.fault(path, f"{told}'{name}' is missing", hint)


def _parameters(document: Document, path: Path, given: Any) -> Iterator[Fault]:
    for key, value in given.items() if isinstance(given, Mapping) else ():
        inner = (*path, key)
        if not isinstance(value, Mapping) or not value:
            found = read_foreign(value) if isinstance(value, str) else value
            line: Any = {"value": value}
            if isinstance(found, list) or found in (None, {}, ""):
                line = {"values": found or [1, 2]}
            elif isinstance(found, Mapping):
                line = found
            yield document.fault(
                inner, f"{show(value)} is no mapping", f"write {key}: {write(line)}"
            )
            continue
        faults = list(_check(document, inner, value, _PARAMETER, []))
        yield from faults
        if "parameters" in value:
            yield from _parameters(document, (*inner, "parameters"), value["parameters"])
        elif not faults:
            yield from _distribution(document, inner, value)


def _distribution(document: Document, path: Path, given: Mapping[str, Any]) -> Iterator[Fault]:
    """The fault of a parameter whose values are valid each by itself."""
    name, kind = str(path[-1]), str(given.get("distribution") or _usual(given))
    alone = {"categorical": ["values"], "constant": ["value"]}.get(kind, [])
    needed = ["min", "max"] if kind in _BOUNDS else alone
    missing = [key for key in needed if key not in given]
    if missing:
        whole = {**given, **{key: _missing(key, given) for key in missing}}
        told = f"{' and '.join(map(repr, missing))} is missing: {kind} needs {' and '.join(needed)}"
        yield document.fault(path, told, f"write {name}: {write(whole)}")
    if missing or kind not in _BOUNDS:
        return
    low, high = given["min"], given["max"]
    beyond = max(abs(low), abs(high)) > _HIGHEST
    changed: dict[str, Any] = {}
    message = ""
    if low > high:
        message, changed = f"min {write(low)} is above max {write(high)}", {"min": high, "max": low}
    elif low == high:
        message = f"min and max are both {write(low)}: there is nothing to search"
        given = {"value": low}
    elif kind in EXPONENTS and (beyond or (low >= 0 and not (kind[0] == "i" and high > 1))):
        ends = [] if beyond else map(write, bounds_of(kind, low, high))
        told = f"these are values from {' to '.join(ends)}" if ends else "these are beyond numbers"
        message = f"min and max of {kind} are exponents: {told}"
        changed = {"distribution": kind.replace("uniform", "uniform_values")}
    elif "log" in kind and kind not in EXPONENTS and low <= 0:
        message, changed = f"min {write(low)} has no place on a log scale", {"min": high / 1000}
    if message:
        yield document.fault(path, message, f"write {name}: {write({**given, **changed})}")


def _usual(given: Mapping[str, Any]) -> str:
    """The distribution that W&B takes where none is said."""
    if "values" in given:
        return "categorical"
    if "value" in given:
        return "constant"
    return "normal" if "mu" in given or "sigma" in given else "uniform"


def _missing(key: str, given: Mapping[str, Any]) -> Any:
    """A value for a key that is missing, on the right side of the other bound."""
    other = given.get("max" if key == "min" else "min")
    if other is None:
        return {"values": [1, 2], "value": 1, "min": 1e-4, "max": 0.1}[key]
    if other <= 0:
        return other - 1 if key == "min" else other + 1
    return other * 10 if key == "max" else other / 1000
