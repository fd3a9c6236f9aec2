"""`train` of a spec."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from lrsearch import catalogue
from lrsearch.catalogue import REQUIRED, Parameter
from lrsearch.space import is_number
from lrsearch.spec.components import read_arguments, read_component, read_import
from lrsearch.spec.document import Path
from lrsearch.spec.foreign import names as foreign_names
from lrsearch.spec.foreign.lines import Line
from lrsearch.spec.foreign.names import CLASS_PATH
from lrsearch.spec.foreign.translation import precision
from lrsearch.spec.model import DEFAULTS, complete
from lrsearch.spec.reader import Reader
from lrsearch.spec.values import Unfit, check_duration, check_value, show

_BINARY = re.compile(r"(?i)(binary_?cross_?entropy|bce)(_?(with)?_?logits)?(_?loss)?")

_TORCH_LOSSES = {"cross_entropy": "CrossEntropyLoss", "huber": "HuberLoss"}
"""Built-in losses that have arguments where torch has them."""


def tell_measured(name: str) -> tuple[str, str]:
    """The message and the hint of a fault: a metric of the user's has the name of another value."""
    return f"'{name}' is measured already", "give it another name"


METRIC_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,31}")
"""A name of a metric of the user's."""


def read_train(reader: Reader, raw: Any) -> dict[str, Any]:
    """`train`, every default filled, and `start` where it is given. A new key is a row of
    `catalogue.TRAIN`, and one of `_KEYS` where it is not read as one value."""
    path: Path = ("train",)
    if not isinstance(raw, Mapping):
        if raw is None and reader.is_promised("train"):
            return {}  # What belongs there is told line by line.
        hint = "write train: {budget: 20ep, lr: 1e-2}"
        reader.misshaped(path, raw, "is no mapping of training values", hint)
        return {}
    reader.unknown(path, raw, (*catalogue.TRAIN, "schedule", "warmup", "optimizer", "start"))
    train: dict[str, Any] = {}
    for key, parameter in catalogue.TRAIN.items():
        if key in raw:
            read = _KEYS.get(key, Reader.value)
            train[key] = read(reader, (*path, key), parameter, raw[key])
        elif parameter.default is not REQUIRED:
            train[key] = parameter.default
    train["schedule"] = read_component(
        reader, "schedule", (*path, "schedule"), raw.get("schedule", DEFAULTS["schedule"])
    )
    train["warmup"] = read_warmup(reader, (*path, "warmup"), raw.get("warmup"))
    train["optimizer"] = read_component(
        reader, "optimizer", (*path, "optimizer"), raw.get("optimizer", DEFAULTS["optimizer"])
    )
    if train.get("step") is not None:
        _check_beside_step(reader, path, raw)
    if "start" in raw:
        train["start"] = reader.value((*path, "start"), catalogue.START, raw["start"])
    return train


def _read_precision(reader: Reader, path: Path, parameter: Parameter, raw: Any) -> Any:
    """Read a precision; a fault for another tool's word, such as bf16-mixed."""
    meant = precision(raw)
    if not meant:
        return reader.value(path, parameter, raw)
    hint = reader.hint(path, [Line(path, meant)])
    reader.fault(path, f"{show(raw)} is not {parameter.allowed()}", hint)
    return meant


def _read_loss(reader: Reader, path: Path, parameter: Parameter, raw: Any) -> Any:
    """Read a loss: a built-in by its name, or code."""
    if isinstance(raw, Mapping):
        built_in = isinstance(raw.get("name"), str) and raw["name"] in catalogue.LOSSES
        if built_in:
            return _read_named_loss(reader, path, raw)
        return _read_code(reader, path, parameter, raw)
    if not isinstance(raw, str):
        return reader.value(path, parameter, raw)
    of_torch = raw.startswith("nn.") or (raw.startswith("F.") and foreign_names.loss(raw))
    if CLASS_PATH.fullmatch(raw) and not of_torch:
        return _read_code(reader, path, parameter, raw)
    try:
        return check_value(parameter, raw)
    except ValueError as error:
        meant = foreign_names.loss(raw) or (error.meant if isinstance(error, Unfit) else None)
        hint = reader.hint(path, [Line(path, meant)] if meant else None)
        own = "one of your own is named by its class path, such as my_package.focal"
        hint = hint or f"write loss: null; that is the task's own; {own}"
        if _BINARY.fullmatch(raw):
            hint = (
                "leave the loss out: of two classes, a model that gives one logit a sample "
                "has binary cross entropy by default; or write torch.nn.BCEWithLogitsLoss"
            )
        reader.fault(path, str(error), hint)
        return raw


def _read_named_loss(reader: Reader, path: Path, raw: Mapping[str, Any]) -> Any:
    """Read a built-in loss that is written as a mapping: it has no arguments."""
    name = str(raw["name"])
    for key in raw:
        if key == "name":
            continue
        hint = "write its bare name"
        if name == "cross_entropy" and key == "label_smoothing":
            own = Line(("train", key), raw[key])
            hint = reader.hint((*path, key), [Line(path, name), own])
        elif name in _TORCH_LOSSES:
            given = show(raw[key]) if isinstance(raw[key], list | int | float) else "..."
            hint = (
                f"write loss: {{class_path: torch.nn.{_TORCH_LOSSES[name]}, "
                f"init_args: {{{key}: {given}}}}}"
            )
        reader.fault((*path, key), f"{name} has no argument '{key}'", hint)
    return name


def _read_code(reader: Reader, path: Path, parameter: Parameter, raw: Any) -> dict[str, Any] | None:
    """Read code by its class path, with or without arguments."""
    if raw is None:
        return None
    raw = {"class_path": raw} if isinstance(raw, str) else raw
    name = raw.get("name") if isinstance(raw, Mapping) else None
    if isinstance(name, str) and CLASS_PATH.fullmatch(name) and "class_path" not in raw:
        meant = {"class_path": name, **{key: raw[key] for key in raw if key != "name"}}
        hint = reader.hint((*path, "name"), [Line((*path, "class_path"), name)])
        reader.fault((*path, "name"), "code is named by its class path", hint)
        return read_import(reader, path, meant, ())
    if not isinstance(raw, Mapping) or "class_path" not in raw:
        known = f"one of {', '.join(parameter.choices)}, or " if parameter.choices else ""
        hint = f"leave '{path[-1]}' out; it takes {known}{catalogue.TRAIN['step'].allowed()}"
        if not isinstance(raw, Mapping) or not reader.slip(path, raw, ("class_path",)):
            reader.fault(path, f"{show(raw)} names no code", hint)
        return None
    return read_import(reader, path, raw, ())


def _read_metrics(
    reader: Reader, path: Path, parameter: Parameter, raw: Any
) -> dict[str, Any] | None:
    """Read metrics of the user's by their names, each code."""
    if raw is None:
        return None
    example = "write metrics: {top3: {class_path: my_package.top3}}"
    if not isinstance(raw, Mapping) or not raw:
        listed = isinstance(raw, list) and bool(raw)
        named = raw if listed else [raw]
        known = all(foreign_names.metric(each) for each in named)
        hint = "leave it out: those are measured by themselves" if known else example
        coded = all(isinstance(each, str) and CLASS_PATH.fullmatch(each) for each in named)
        meant = {str(each).rpartition(".")[2]: each for each in named} if coded else {}
        if meant:
            hint = reader.hint(path, [Line(path, meant)])
        reader.fault(path, f"{show(raw)} is no mapping of names to metrics", hint)
        if not meant:
            return None
        raw = meant
    found = {}
    for name, value in raw.items():
        inner = (*path, name)
        if not isinstance(name, str) or not METRIC_NAME.fullmatch(name):
            hint = "a metric's name has at most 32 letters, digits and _, no digit first"
            reader.fault(inner, f"{show(name)} cannot name a metric", hint)
        elif name == "loss" or name in catalogue.BESIDE:
            reader.fault(inner, *tell_measured(name))
        elif value is None:
            reader.fault(inner, "it has no class path", example)
        elif (code := _read_code(reader, inner, parameter, value)) is not None:
            found[name] = code
    return found


_KEYS: dict[str, Callable[[Reader, Path, Parameter, Any], Any]] = {
    "loss": _read_loss,
    "precision": _read_precision,
    "step": _read_code,
    "metrics": _read_metrics,
}
"""Functions that read a key of `train`; any other key is one value of its parameter."""


def _check_beside_step(reader: Reader, path: Path, raw: Mapping[str, Any]) -> None:
    """Faults for keys that a step of the user's replaces."""
    for key in ("loss", "label_smoothing", "metrics"):
        if raw.get(key) not in (None, 0):
            by = "its evaluate measures" if key == "metrics" else "it has a loss of its own"
            reader.fault((*path, key), f"'{key}' says nothing beside a step: {by}")


def read_warmup(reader: Reader, path: Path, raw: Any, dimensions: list[Any] | None = None) -> Any:
    """`warmup`, or one of its options, whose searched arguments go to `dimensions`."""
    if raw is None:
        return None
    if is_number(raw):
        reader.value(path, catalogue.WARMUP["for"], raw)
        return None
    if isinstance(raw, str) and raw in catalogue.WARMUP["shape"].choices:
        line = f"write warmup: {{for: 0.05dur, shape: {raw}}}"
        reader.fault(path, f"{show(raw)} does not say for how long", line)
        return None
    if isinstance(raw, str):
        reader.value(path, catalogue.WARMUP["for"], raw)
        raw = {"for": raw}
        if not reader.sound(path):
            return None
    if not isinstance(raw, Mapping):
        reader.fault(
            path,
            f"{show(raw)} is no warmup",
            "write warmup: {for: 0.05dur, shape: linear}, or warmup: null",
        )
        return None
    reader.unknown(path, raw, tuple(catalogue.WARMUP))
    length = raw.get("for")
    if isinstance(length, str) and length.endswith("dur") and _share_of(length) >= 1:
        place = (*path, "for") if (*path, "for") in reader.document.lines else path
        hint = reader.hint(place, [Line(place, "0.05dur", "for example")])
        reader.fault((*path, "for"), f"a warmup of {length} leaves nothing of the budget", hint)
    given = read_arguments(reader, path, raw, catalogue.WARMUP, dimensions)
    if given.get("shape") == "exponential" and given.get("start") == 0:
        reader.fault((*path, "start"), "an exponential warmup cannot start at 0")
    return given if dimensions is not None else complete(catalogue.WARMUP, given)


def _share_of(text: str) -> float:
    try:
        return check_duration(catalogue.WARMUP["for"], text).value
    except ValueError:
        return 0.0
