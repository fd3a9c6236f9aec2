"""`search` of a spec."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from lrsearch import catalogue
from lrsearch.catalogue import Parameter
from lrsearch.errors import nearest, suggest
from lrsearch.space import Choice, Dimension, Float, Option, Space, get_path
from lrsearch.spec.components import (
    ARGUED,
    divides_calls,
    parameters_of,
    read_component,
    settle_mode,
)
from lrsearch.spec.data import read_transform_lists
from lrsearch.spec.document import Path, as_mapping
from lrsearch.spec.foreign.lines import Line
from lrsearch.spec.foreign.names import snake
from lrsearch.spec.foreign.ranges import Fixed, is_finite, read_foreign
from lrsearch.spec.foreign.schedules import left_out
from lrsearch.spec.foreign.translation import base_rate, translate_option
from lrsearch.spec.foreign.words import look_up
from lrsearch.spec.model import carries_rate, config_path
from lrsearch.spec.ranges import RANGE, is_range, make_choice, read_dimension
from lrsearch.spec.reader import Reader
from lrsearch.spec.train import read_warmup
from lrsearch.spec.values import show

# the whole


SEARCH = "write search: {lr: {min: 1e-4, max: 1.0, points: 9}}; for example"
"""The hint for what is searched and names no parameter."""


def read_search(
    reader: Reader, raw: Any, data: dict[str, Any], model: dict[str, Any], train: dict[str, Any]
) -> Space:
    """`search`, under the `data`, `model` and `train` that are fixed."""
    if raw is None:
        raw = {}
    if not isinstance(raw, Mapping):
        told = "is no mapping of searched parameters"
        listed = isinstance(raw, list) and any(isinstance(each, str | Mapping) for each in raw)
        found_lines = reader.advice(("parameters",), raw) if listed and _named(raw) else ""
        if found_lines:
            reader.fault(("search",), f"{show(raw)} {told}", found_lines)
        elif listed and all(isinstance(each, str) for each in raw):
            hint = "each has its values or its range: write search: {lr: {min: 1e-4, max: 1.0}}"
            reader.fault(("search",), f"{show(raw)} {told}", hint)
        else:
            reader.misshaped(("search",), raw, told, SEARCH)
        reader.promised.add("search")
        raw = {}
    found: dict[str, Dimension] = {}
    _descend(reader, ("search",), "", raw, {"data": data, "model": model, **train}, found)
    for path in found:
        above = [other for other in found if path.startswith(other + ".")]
        if above:
            place = reader.search_path(path)
            reader.fault(place, f"'{above[0]}' is searched as a whole: put this into its options")
    followed = found.get("schedule.metric")
    if isinstance(followed, Choice) and "schedule.mode" not in found:
        names = followed.values
        settle_mode(reader, reader.search_path("schedule.metric"), names, train["schedule"])
    _note_both(reader, found)
    found = _spread_rate(reader, found)
    if train:
        _check_missing(reader, found, train)
    return Space(tuple(found.items()))


def _argument_near(name: str, fixed: Mapping[str, Any]) -> str | None:
    """The argument of the built-in model or optimizer that a name is a slip of."""
    for head, table in (("model", catalogue.MODELS), ("optimizer", catalogue.OPTIMIZERS)):
        part = fixed.get(head)
        entry = table.get(part.get("name", "")) if isinstance(part, Mapping) else None
        if entry is not None and (close := nearest(name, entry.parameters)):
            return f"{head}.{close}"
    return None


def _named(raw: list[Any]) -> bool:
    """Whether the entries of a list say by a key `name` what they are, as in Ax and Ray."""
    return all(isinstance(each, Mapping) and isinstance(each.get("name"), str) for each in raw)


def _check_missing(
    reader: Reader, found: Mapping[str, Dimension], train: Mapping[str, Any]
) -> None:
    """Faults for required values that are neither fixed nor searched. A faulty range counts as
    searched."""
    sound = reader.sound("search.lr", "search.optimizer")
    sound = sound and not reader.is_promised("train.lr", "search.lr", "search")
    if "lr" not in found and "lr" not in train and sound:
        optimizers = found.get("optimizer")
        if not (isinstance(optimizers, Choice) and all(map(carries_rate, optimizers.options))):
            hint = (
                "write lr: 1e-2 under train, or lr: {min: 1e-4, max: 1.0, points: 9} under search"
            )
            reader.fault(("train",), "'lr' is missing: give it a value, or a range in search", hint)
    sound = reader.sound("search.budget") and not reader.is_promised(
        "train.budget", "search.budget", "search"
    )
    if "budget" not in found and "budget" not in train and sound:
        allowed = catalogue.TRAIN["budget"].allowed()
        told = f"'budget' is missing: it takes {allowed}"
        reader.fault(("train",), told, "write budget: 20ep under train")
    parts = [path for path in found if path.startswith("warmup.")]
    sound = reader.sound("train.warmup", "search.warmup.for")
    if parts and "warmup.for" not in found and not train["warmup"] and sound:
        allowed = catalogue.WARMUP["for"].allowed()
        reader.fault(reader.search_path(parts[0]), f"the warmup has no 'for': it takes {allowed}")


def _descend(
    reader: Reader,
    path: Path,
    prefix: str,
    raw: Mapping[str, Any],
    fixed: Mapping[str, Any],
    found: dict[str, Dimension],
) -> None:
    """Read the searched parameters of a mapping into `found`, by their dotted paths; `prefix` is
    the mapping's path, `fixed` has the components whose arguments they may be."""
    for key, value in raw.items():
        name = f"{prefix}{key}"
        inner = (*path, key)
        if name == "train" or name.startswith("train."):
            _fault_under_train(reader, inner, name, value)
            continue
        if name in found:
            reader.fault(inner, "searched twice")
            continue
        group = name in ("schedule", "optimizer", "warmup", "model")
        head, _, rest = name.rpartition(".")
        if head in catalogue.GROUPS and rest in ("name", "type") and isinstance(value, list):
            hint = reader.hint(inner, [Line(("search", head), value)])
            reader.fault(inner, f"options of {head} are searched by its own name", hint)
            continue
        if name in catalogue.GROUPS and (listed := _options_by_name(name, value)):
            hint = reader.hint(inner, [Line(inner, listed)])
            reader.fault(inner, f"{show(value)} is no list of options", hint)
            continue
        dimension: Dimension | None
        if name == "data.transforms":
            dimension = read_transform_lists(reader, inner, value, fixed["data"])
        elif group and _are_options(meant := read_foreign(value)):
            options = [translate_option(name, part, reader.document.data) for part in meant]
            told = [left_out(part, base_rate(reader.document.data)) for part in meant]
            remark = next(filter(None, told), "") if name == "schedule" else ""
            hint = reader.hint(inner, [Line(inner, options, remark)])
            reader.fault(inner, f"{show(value)} is no list of options", hint)
            continue
        elif isinstance(value, list) and group:
            dimension = read_options(reader, inner, name, value)
        elif (
            isinstance(value, Mapping)
            and not is_range(value)
            and (
                group
                or name in ("data", *(f"{each}.init_args" for each in ARGUED))
                or (name in ("loss", "step") and set(value) == {"init_args"})
            )
        ):
            _descend(reader, inner, f"{name}.", value, fixed, found)
            continue
        else:
            parameter = _find_parameter(reader, inner, name, fixed, value)
            if parameter is None:
                continue
            dimension = read_dimension(reader, inner, parameter, value)
        if dimension is not None:
            found[name] = dimension


def _are_options(meant: Any) -> bool:
    """Whether a list has options of a group rather than numbers, which name none."""
    return isinstance(meant, list) and not any(map(is_finite, meant))


def _options_by_name(group: str, value: Any) -> list[Any]:
    """The options of {name: [sgd, adam]}, of {sgd: {momentum: 0.9}, adam: {}} or of a list of such
    mappings; none where a value is anything else."""
    known = catalogue.GROUPS[group]
    if isinstance(value, Mapping) and {*value} == {"name"} and isinstance(value["name"], list):
        return list(value["name"])
    whole = isinstance(value, Mapping)
    parts = [{key: part} for key, part in value.items()] if isinstance(value, Mapping) else value
    if not isinstance(parts, list) or not any(isinstance(part, Mapping) for part in parts):
        return []
    found: list[Any] = []
    named = 0
    for part in parts:
        key = next(iter(part)) if isinstance(part, Mapping) and len(part) == 1 else None
        inner = part[key] if key is not None else None
        if key in known and (inner is None or isinstance(inner, Mapping)):
            found.append({"name": key, **inner} if inner else key)
            named += 1
        elif whole:
            return []
        else:
            found.append(part)
    return found if named else []


def _fault_under_train(reader: Reader, path: Path, name: str, value: Any) -> None:
    """Fault `search: {train: {lr: ...}}`, or `train.lr` there: search names them without
    `train`."""
    inner = value if name == "train" and isinstance(value, Mapping) else {}
    if name != "train":
        inner, path = {name.removeprefix("train."): value}, path[:-1]
    for key, part in inner.items():
        place = (*path, key) if name == "train" else (*path, name)
        meant = read_foreign(part)
        line = Line(("search", str(key)), part if meant is None else meant)
        known = key.split(".")[0] in (*catalogue.TRAIN, "schedule", "optimizer", "warmup")
        found = [line] if known and not isinstance(meant, Fixed) else None
        hint = reader.hint(place, found) if found else reader.advice(("search", key), part)
        reader.fault(place, "what is searched is named without 'train'", hint)
    if not inner:
        reader.fault(path, "what is searched is named without 'train'", "write lr: [0.1, 0.01]")


# arguments


@dataclass(frozen=True)
class _Searched:
    """A searched argument, `rest` under `head`, such as `final` under `schedule`: its `path` in the
    document, its range or list, and the value that is `fixed` at the head."""

    path: Path
    head: str
    rest: str
    value: Any
    fixed: Any


def _find_parameter(
    reader: Reader, path: Path, name: str, fixed: Mapping[str, Any], value: Any
) -> Parameter | None:
    """The parameter a search path names, under the built-ins that are fixed; a fault, and None,
    where there is none, or none that may be searched."""
    head, _, rest = name.partition(".")
    if rest:
        if rest in RANGE and head in catalogue.TRAIN:  # lr.min: 1e-4, lr.max: 1.0
            given = reader.document.data["search"]
            whole = {each: given[f"{head}.{each}"] for each in RANGE if f"{head}.{each}" in given}
            hint = reader.hint(path, [Line(("search", head), whole)])
            reader.fault(path, "the ends of a range stand in braces, or below their name", hint)
            return None
        if head not in _HEADS:
            hint = reader.advice(path, value)
            if head == "init_args" and "class_path" in as_mapping(fixed.get("model")):
                hint = reader.hint(path, [Line(("search", f"model.{name}"), value)])
            hint = hint or suggest(head, (*catalogue.TRAIN, *_GROUPED))
            reader.fault(path, f"'{head}' has no arguments to search", hint)
            return None
        return _HEADS[head](reader, _Searched(path, head, rest, value, fixed.get(head)))
    if head == "warmup" and is_range(value):
        meant = reader.settled(path, catalogue.WARMUP["for"], value)
        hint = reader.hint(path, [Line(("search", "warmup.for"), meant)] if meant else None)
        reader.fault(path, "a range is one of the warmup's length", hint)
        return None
    if head in _GROUPED:
        message = f"'{head}' is searched by a list of options, or by its arguments"
        hint = f"such as {_GROUPED[head]}"
        if isinstance(value, str) and (known := catalogue.GROUPS.get(head)):
            place = ("model",) if head == "model" else ("train", head)
            alone = reader.hint(path, [Line(place, value)]) if value in known else ""
            hint = (
                f"{hint}; one alone is fixed: {alone}"
                if alone
                else f"{hint}; {suggest(value, known)}"
            )
        reader.fault(path, message, hint)
        return None
    if name not in catalogue.TRAIN:
        names = (*catalogue.TRAIN, "schedule", "warmup", "optimizer", "model", "data")
        hint = reader.advice(path, value)
        # optimizer/lr, train__lr
        plain = re.sub(r"^(warmup|model|optimizer|schedule|data)_(?!_)", r"\1.", name)
        plain = re.sub(r"__|/", ".", plain).removeprefix("train.").removeprefix("optimizer.")
        apart = plain in catalogue.TRAIN or plain.partition(".")[0] in names[-5:]
        if not hint and plain != name and apart:
            hint = reader.hint(path, [Line(("search", plain), value)])
        if not hint:
            close = reader.near(("search",), name, names)
            argument = None if close else _argument_near(name, fixed)
            if argument:
                reader.fault(
                    path,
                    "unknown parameter",
                    reader.hint(path, [Line(("search", argument), value)]),
                )
                return None
            meant = reader.meant(("search",), name, close, value)
            hint = suggest(name, names, meant or f"leave '{name}' out")
            reader.fault(path, "unknown parameter", hint)
            return catalogue.TRAIN.get(close or "")  # For what is wrong with its values.
        reader.fault(path, "unknown parameter", hint)
        return None
    if name in ("step", "metrics"):
        message = "points that are measured in different ways cannot be compared"
        own = "; its arguments may be searched: step.init_args.NAME" if name == "step" else ""
        hint = f"leave '{name}' out{own}"
        reader.fault(path, message, hint)
        return None
    if name == "loss" and fixed.get("step") is not None:
        reader.fault(path, "a step has a loss of its own: there is none to search")
        return None
    # Null stands for the task's default loss, which would be a second name of one point.
    parameter = catalogue.TRAIN[name]
    return replace(parameter, optional=False) if name == "loss" else parameter


_GROUPED = {
    "schedule": "schedule: [a, b]",
    "optimizer": "optimizer: [a, b]",
    "warmup": "warmup.for",
    "model": "model.hidden",
    "data": "data.standardize",
}
"""Groups searched whole by a list of options, or by their arguments, with an example."""


_SPLIT = ("validation", "test", "split_seed", "validation_seed", "name")


def _find_of_data(reader: Reader, searched: _Searched) -> Parameter | None:
    """Find an argument of the data. Splits are not searched, nor is text, which is cut in its
    order."""
    source = catalogue.DATA.get((searched.fixed or {}).get("name", ""))
    ordered = source is not None and source.ordered
    if ordered or searched.rest.split(".")[0] in _SPLIT:
        message = "points measured on different data cannot be compared"
        known = "data.transforms" if ordered else "data.standardize, data.transforms"
        out = f"leave it out: searchable here {'is' if ordered else 'are'} {known}"
        reader.fault(searched.path, message, out)
        return None
    if searched.rest.startswith("transforms."):
        hint = "searched are whole lists, such as data.transforms: [[], [flip]]"
        reader.fault(searched.path, "an argument of a transform is not searched alone", hint)
        return None
    known_here = {"standardize": catalogue.SPLITTING["standardize"]}
    return _find_argument(reader, searched, known_here, "data")


def _find_of_warmup(reader: Reader, searched: _Searched) -> Parameter | None:
    """Find an argument of the warmup."""
    return _find_argument(reader, searched, catalogue.WARMUP, "warmup")


def _find_of_code(reader: Reader, searched: _Searched) -> Parameter | None:
    """Find an argument of the user's loss or step."""
    head, rest, coded = searched.head, searched.rest, isinstance(searched.fixed, Mapping)
    if coded and rest.startswith("init_args."):
        return Parameter("any", scale=catalogue.usual_scale(rest))
    hint = f"name it under train: {head}: {{class_path: ...}}"
    if coded:
        hint = f"write {head}.init_args.{rest}"
    reader.fault(searched.path, f"'{head}' has no argument '{rest}'", hint)
    return None


def _find_of_component(reader: Reader, searched: _Searched) -> Parameter | None:
    """Find an argument of the schedule, the optimizer or the model, built-in or the user's."""
    head, rest, fixed = searched.head, searched.rest, searched.fixed or {}
    if "class_path" in fixed and rest.startswith("init_args."):
        return Parameter("any", scale=catalogue.usual_scale(rest))
    name = fixed.get("name")
    if name is not None:
        known = parameters_of(reader, head, name)
        return _find_argument(reader, searched, known, f"{head} {name}")
    if "class_path" in fixed:
        line = Line(("search", f"{head}.init_args.{rest}"), searched.value)
        reader.fault(searched.path, "unknown key", reader.hint(searched.path, [line]))
    return None


def _find_argument(
    reader: Reader, searched: _Searched, known: Mapping[str, Parameter], owner: str
) -> Parameter | None:
    """Find the argument among the `known` ones of its `owner`; a fault where there is none."""
    if searched.rest in known:
        return known[searched.rest]
    message = f"{owner} has no argument '{searched.rest}'"
    near = nearest(searched.rest, known) is not None
    told = suggest(searched.rest, tuple(known), "" if near else "leave it out")
    word, *_ = look_up(snake(searched.rest), searched.head) or [""]
    *_, group, argument = ["", "", *word.split(".")]
    if argument in known and group == searched.head:  # warmup.steps
        meant = reader.settled(searched.path, known[argument], searched.value) or searched.value
        line = Line(("search", f"{group}.{argument}"), meant)
        reader.fault(searched.path, message, reader.hint(searched.path, [line]))
        return None
    hint = reader.advice(searched.path, searched.value) or told
    if searched.head == "optimizer" and searched.rest == "lr":
        hint = reader.hint(searched.path, [Line(("search", "lr"), searched.value)])
    reader.fault(searched.path, message, hint)
    return None


_HEADS: dict[str, Callable[[Reader, _Searched], Parameter | None]] = {
    "data": _find_of_data,
    "warmup": _find_of_warmup,
    "loss": _find_of_code,
    "step": _find_of_code,
    **dict.fromkeys(catalogue.GROUPS, _find_of_component),
}
"""Functions that find an argument, by what it is an argument of."""


# options of a group


def read_options(reader: Reader, path: Path, group: str, raw: list[Any]) -> Choice | None:
    """A choice among options of a group: schedules, optimizers, warmups or models."""
    if not raw:
        reader.fault(path, "an empty list leaves nothing to choose from")
        return None
    if divides_calls(reader, group, path, raw):
        return None
    before = len(reader.faults)
    options = []
    for index, part in enumerate(raw):
        inner = (*path, index)
        dimensions: list[tuple[str, Dimension]] = []
        value: Any
        if group == "warmup":
            value = read_warmup(reader, inner, part, dimensions)
        else:
            value = read_component(reader, group, inner, part, dimensions)
        options.append(Option(value, Space(tuple(dimensions))))
    # A faulty option is compared with nothing: it has one fault already.
    return None if len(reader.faults) > before else make_choice(reader, path, options, group)


def _spread_rate(reader: Reader, found: dict[str, Dimension]) -> dict[str, Dimension]:
    """Give the common learning rate to the options of an optimizer that have none of their own,
    where others have, so that no point has an unused rate; and where it is to be found, since the
    rates of one optimizer are none of another's."""
    optimizers, common = found.get("optimizer"), found.get("lr")
    if not isinstance(optimizers, Choice) or common is None:
        return found
    found_apart = isinstance(common, Float) and common.auto
    if not found_apart and not any(map(carries_rate, optimizers.options)):
        return found
    if all(map(carries_rate, optimizers.options)):
        reader.notes.append("lr is not searched apart: every optimizer option has its own")
    options = tuple(
        option
        if carries_rate(option)
        else Option(option.value, Space((*option.space.dimensions, ("lr", common))))
        for option in optimizers.options
    )
    rest = {path: part for path, part in found.items() if path != "lr"}
    return {**rest, "optimizer": Choice(options)}


def _note_both(reader: Reader, found: Mapping[str, Dimension]) -> None:
    """Notes on parameters that are both fixed and searched; searched models are no change of a
    fixed one."""
    for path in found:
        with contextlib.suppress(KeyError):
            get_path(reader.document.data, config_path(path))
            if path != "model":
                reader.notes.append(f"{path} is both fixed and searched: the search wins")
