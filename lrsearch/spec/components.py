"""Schedules, optimizers, models, transforms: built-ins by name, code by its class path."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Container, Mapping, Sequence
from dataclasses import replace
from pathlib import Path as FilePath
from typing import Any

from lrsearch import catalogue
from lrsearch.catalogue import REQUIRED, Entry, Parameter
from lrsearch.errors import nearest, suggest
from lrsearch.space import Choice
from lrsearch.spec.document import Path, as_mapping
from lrsearch.spec.foreign import names as foreign_names
from lrsearch.spec.foreign.lines import Line
from lrsearch.spec.foreign.names import CLASS_PATH
from lrsearch.spec.foreign.ranges import read_foreign
from lrsearch.spec.foreign.schedules import left_out, translate_schedule
from lrsearch.spec.foreign.translation import base_rate, fixed_lines, optimizer_lines
from lrsearch.spec.foreign.words import look_up, means
from lrsearch.spec.likeness import find_named, nearest_path
from lrsearch.spec.model import DEFAULTS, complete
from lrsearch.spec.modules import torch_names
from lrsearch.spec.ranges import is_range, read_dimension, searched
from lrsearch.spec.reader import Reader
from lrsearch.spec.values import check_value, read_pairs, show

IMPORTABLE = ("model", "schedule", "optimizer", "transform")
"""Mappings that may name code by its class path."""

ARGUED = (*IMPORTABLE, "loss", "step")
"""Mappings whose `init_args` may be searched."""


def read_component(
    reader: Reader, group: str, path: Path, raw: Any, dimensions: list[Any] | None = None
) -> dict[str, Any]:
    """A built-in by its name, or code by its class path where the group takes any."""
    pairs = read_pairs(raw) if isinstance(raw, str) else None
    if pairs and "name" in pairs:
        reader.fault(path, f"{show(raw)} is a text", reader.hint(path, [Line(path, pairs)]))
        raw = pairs
    if isinstance(raw, Mapping):
        names = ("name", "class_path") if group in IMPORTABLE else ("name",)
        reader.slip(path, raw, names, near=True)
        raw = name_built_in(reader, path, raw, _BUILT_IN[group])
    if group == "schedule" and isinstance(raw, Mapping) and _is_scheduler(raw):
        hint = reader.hint((*path, "class_path"), _renamed(reader, group, path, raw))
        message = f"{raw['class_path']} changes an optimizer: code here gives a multiplier"
        reader.fault((*path, "class_path"), message, hint)
        return {}
    if group in IMPORTABLE and isinstance(raw, Mapping) and "class_path" in raw:
        rate = group == "optimizer" and dimensions is not None
        found = read_import(reader, path, raw, ("lr",) if rate else (), dimensions)
        if rate and "lr" in raw:
            known = {"lr": catalogue.TRAIN["lr"]}
            found |= read_arguments(reader, path, {"lr": raw["lr"]}, known, dimensions)
        if group == "optimizer" and "lr" in found["init_args"]:
            hint = "leave 'lr' out: the learning rate is train.lr"
            reader.fault((*path, "init_args", "lr"), "it is given by the schedule", hint)
        return found
    return read_named(reader, group, path, raw, dimensions)


def name_built_in(
    reader: Reader, path: Path, raw: Mapping[str, Any], table: Container[str]
) -> Mapping[str, Any]:
    """A mapping with the name of a built-in under `name` where it stands as a class path: a fault
    then."""
    name = raw.get("class_path")
    if not isinstance(name, str) or name not in table:
        return raw
    given = {key: part for key, part in raw.items() if key not in ("class_path", "init_args")}
    meant = {"name": name, **given, **as_mapping(raw.get("init_args"))}
    line = Line(path, meant) if "init_args" in raw else Line((*path, "name"), name)
    hint = reader.hint((*path, "class_path"), [line])
    reader.fault((*path, "class_path"), f"{name} is built in, and has a name alone", hint)
    return meant


def read_arguments(
    reader: Reader,
    path: Path,
    raw: Mapping[str, Any],
    known: Mapping[str, Parameter],
    dimensions: list[Any] | None = None,
) -> dict[str, Any]:
    """The given arguments, checked; those that are ranges or choices go to `dimensions`, if it is a
    list. If it is None, missing arguments get their defaults."""
    given: dict[str, Any] = {}
    for key, parameter in known.items():
        if key not in raw:
            dotted = ".".join(map(str, path))
            if parameter.default is REQUIRED and not reader.promised & {
                dotted,
                f"{dotted}.{key}",
            }:
                usual = reader.usual((*path, key), parameter)
                hint = reader.hint(path, [usual] if usual else None)
                reader.fault(path, f"'{key}' is missing: it takes {parameter.allowed()}", hint)
            continue
        inner = (*path, key)
        foreign_form = dimensions is not None and isinstance(raw[key], str | Mapping)
        if foreign_form and parameter.kind not in ("text", "any"):
            foreign_form = read_foreign(raw[key]) is not None
            if foreign_form:
                read_dimension(reader, inner, parameter, raw[key])
                continue
        if dimensions is not None and searched(parameter, raw[key]):
            dimension = read_dimension(reader, inner, parameter, raw[key])
            if dimension is not None:
                dimensions.append((key, dimension))
        else:
            given[key] = reader.value(inner, parameter, raw[key])
    return given if dimensions is not None else complete(known, given)


def read_named(
    reader: Reader, kind: str, path: Path, raw: Any, dimensions: list[Any] | None = None
) -> dict[str, Any]:
    """A built-in of a kind (a group of the catalogue, or transform) by its name, with its
    arguments; those that are searched go to `dimensions`."""
    table, word = _BUILT_IN[kind], {"prune": "rule of early stopping"}.get(kind, kind)
    given = raw
    raw = {"name": raw} if isinstance(raw, str) else raw
    if not isinstance(raw, Mapping):
        none = kind == "schedule" and (raw is None or raw is False)
        hint = reader.hint(path, [Line(path, "constant")]) if none else ""
        hint = hint or _suggest_name(reader, kind, path, "")
        reader.misshaped(path, raw, f"names no {word}", hint)
        return {}
    name = raw.get("name")
    if "name" not in raw:
        forms = "'name' (or 'class_path')" if kind in IMPORTABLE else "'name'"
        inner = next(iter(raw.values()), None) if len(raw) == 1 and {*raw} <= {*table} else 0
        if inner is None or isinstance(inner, Mapping):  # {sgd: {momentum: 0.9}}
            meant = {"name": next(iter(raw)), **(inner or {})}
            hint = reader.hint(path, [Line(path, meant)])
        elif isinstance(inner, list) and (listed := _find_listed(raw, table)):
            hint = reader.hint(path, [Line(path, listed)])
        elif (unnamed := find_unnamed(raw, table)) is not None:
            hint = reader.hint(path, [Line(path, unnamed)])
        else:
            hint = reader.hint(path, _renamed(reader, kind, path, given))
        names = ("name", "class_path") if kind in IMPORTABLE else ("name",)
        if hint or not reader.slip(path, raw, names):
            hint = hint or _suggest_name(reader, kind, path, "")
            reader.fault(path, f"{forms} is missing", hint)
            return {}
        if "class_path" in raw:
            return read_component(reader, kind, path, raw, dimensions)
        name = raw.get("name")
    if not isinstance(name, str) or name not in table:
        hint = reader.hint((*path, "name"), _renamed(reader, kind, path, given))
        close = nearest(name, table) if isinstance(name, str) and not hint else None
        hint = hint or _suggest_name(reader, kind, path, name)
        reader.fault((*path, "name"), f"unknown {word} {show(name)}", hint)
        if close is None:
            return {}
        name, raw = close, {**raw, "name": close}  # What is wrong with its arguments is told, too.
    known = parameters_of(reader, kind, name)
    raw = _flat(reader, path, raw, known)
    rate = kind == "optimizer" and dimensions is not None
    with_rate = {**known, "lr": catalogue.TRAIN["lr"]} if rate else known
    _check_arguments(reader, kind, path, raw, with_rate)
    for pair in table[name].either:
        if all(raw.get(key) is not None for key in pair):
            reader.fault((*path, pair[1]), f"{pair[0]} and {pair[1]} exclude each other")
    if name == "sgd" and raw.get("nesterov") is True and raw.get("dampening") not in (None, 0):
        reader.fault((*path, "dampening"), "nesterov takes no dampening", "write dampening: 0")
    places = {*reader.document.lines, *reader.document.origins}
    steady = not raw.get("momentum") and reader.search_path("optimizer.momentum") not in places
    if name == "sgd" and raw.get("nesterov") is True and steady:
        told = "nesterov changes nothing where momentum is 0, as it is unless given"
        reader.notes.append(f"{told}: write momentum: 0.9")
    arguments = read_arguments(reader, path, raw, with_rate if "lr" in raw else known, dimensions)
    found = dict(dimensions or ())
    if kind == "schedule" and name == "plateau" and "mode" not in found:
        metrics = [arguments.get("metric", known["metric"].default)]
        if isinstance(searched_metric := found.get("metric"), Choice):
            metrics = searched_metric.values
        settle_mode(reader, (*path, "metric"), metrics, arguments)
    return {"name": name, **arguments}


def _flat(
    reader: Reader, path: Path, raw: Mapping[str, Any], known: Container[str]
) -> Mapping[str, Any]:
    """A built-in whose arguments stand beside its name where they stand in a mapping of their own:
    a fault then."""
    for key in _CONTAINERS:
        if key not in known and isinstance(raw.get(key), Mapping) and raw[key]:
            rest = {name: part for name, part in raw.items() if name != key}
            meant = {**rest, **raw[key]}
            hint = reader.hint((*path, key), [Line(path, meant)])
            told = f"the arguments of {raw['name']} stand beside its name"
            reader.fault((*path, key), told, hint)
            return meant
    return raw


def find_unnamed(raw: Mapping[str, Any], table: Container[str]) -> dict[str, Any] | None:
    """The mapping that {sgd, momentum: 0.9} or {'sgd, momentum': 0.9} means, whose first word is a
    name of the table; None for any other."""
    if not raw:
        return None
    first = next(iter(raw))
    name, _, key = str(first).partition(",")
    if name not in table or (raw[first] is None) == bool(key):
        return None
    rest = {inner: part for inner, part in raw.items() if inner != first}
    return {"name": name, **({key.strip(): raw[first]} if key else {}), **rest}


def _find_listed(raw: Mapping[str, Any], table: Mapping[str, Entry]) -> dict[str, Any] | None:
    """The mapping that {mlp: [128, 64]} means, whose one key is a name of the table: its first
    argument that takes such a list; None where none does."""
    ((name, values),) = raw.items()
    for key, parameter in table[name].parameters.items():
        with contextlib.suppress(ValueError):
            check_value(parameter, values)
            return {"name": name, key: values}
    return None


def _suggest_name(reader: Reader, kind: str, path: Path, name: object) -> str:
    """The hint for a name that no built-in has, and that means none: the line of a usual one where
    none is near, and all that there are."""
    table = _BUILT_IN[kind]
    if nearest(str(name), table) is not None:
        return suggest(str(name), table)
    usual = {"model": "mlp", "prune": catalogue.PRUNE}.get(kind) or DEFAULTS.get(kind)
    bare = (each for each, entry in table.items() if not _needs(entry))
    line = Line(path, usual or next(bare), "for example")
    own = ", or {class_path: my_package.NAME}" if kind in IMPORTABLE else ""
    return f"{reader.hint(path, [line])}; {suggest('', table)}{own}"


def _needs(entry: Entry) -> bool:
    return any(each.default is REQUIRED for each in entry.parameters.values())


_NAMED = "each argument has its name: write init_args: {name: value}, or leave it out"

_BUILT_IN: dict[str, Mapping[str, Entry]] = {
    **catalogue.GROUPS,
    "transform": catalogue.TRANSFORMS,
    "prune": catalogue.PRUNING,
}
"""The built-in components of a kind, by name."""


def _check_arguments(
    reader: Reader, kind: str, path: Path, raw: Mapping[str, Any], known: Mapping[str, Parameter]
) -> None:
    """Faults for arguments that a built-in lacks; its own are listed once."""
    name = raw["name"]
    bare = [key for key in raw if key != "name" and key not in known]
    for key in list(bare):
        meant = look_up(foreign_names.snake(key), kind)
        if nearest(key, known) is not None and meant is None and not isinstance(raw[key], list):
            continue
        lines = _renamed(reader, kind, path, raw)
        if any(line.value == name and line.remark.endswith("is not in it") for line in lines):
            lines = []  # It has that name already, and the line would say nothing.
        if (*path, key) in reader.document.origins:  # Without that option it stands there already.
            lines = [line for line in lines if line.path != path]
            target = means(key)
            if not lines and target and not target.startswith(".".join(map(str, path))):
                lines = fixed_lines((*path, key), target, "", raw[key], reader.document.data)
        hint = reader.hint((*path, key), lines)
        hint = reader.advice((*path, key), raw[key]) if kind in ("model", "transform") else hint
        hint = hint or reader.misplaced((*path, key), raw[key])
        if hint:
            bare.remove(key)
            reader.fault((*path, key), f"{name} has no argument '{key}'", hint)
    for key in bare:
        close = reader.near(path, key, known)
        hint = reader.meant(path, key, close, raw[key]) or f"leave '{key}' out"
        hint = suggest(key, known, hint) if key == bare[-1] else hint
        reader.rename(path, raw, key, close)
        reader.fault((*path, key), f"{name} has no argument '{key}'", hint)


def parameters_of(reader: Reader, kind: str, name: str) -> Mapping[str, Parameter]:
    """The parameters of a built-in, a plateau's metric being any that is measured."""
    known = _BUILT_IN[kind][name].parameters
    if kind != "schedule" or name != "plateau":
        return known
    own, stepped = _users_metrics(reader)
    names = () if stepped else (*catalogue.METRICS, *own)
    return {**known, "metric": replace(known["metric"], choices=names)}


def _users_metrics(reader: Reader) -> tuple[tuple[str, ...], bool]:
    """The names of the user's metrics, and whether a step measures others."""
    train = reader.document.data.get("train")
    if not isinstance(train, Mapping):
        return (), False
    metrics = train.get("metrics")
    own = tuple(map(str, metrics)) if isinstance(metrics, Mapping) else ()
    return own, train.get("step") is not None


def settle_mode(reader: Reader, path: Path, metrics: list[Any], plateau: dict[str, Any]) -> None:
    """Put into `plateau` the direction, `mode`, in which the metric it follows is better: the
    catalogue's, or the objective's goal for a metric of the user's."""
    mode = plateau.get("mode")
    objective = reader.document.data.get("objective")
    aim = as_mapping(objective)
    for name in metrics:
        if not isinstance(name, str) or not reader.sound(path):
            continue
        known = catalogue.METRICS.get(name)
        if known is not None and mode not in (None, known[0]):
            message = f"the goal of {name} is {known[0]}"
            reader.fault((*path[:-1], "mode"), message, "leave mode out")
        if known is not None or plateau.get("mode") is not None:
            continue
        if metrics == [name] == [aim.get("metric")] and aim.get("goal") in ("min", "max"):
            plateau["mode"] = aim["goal"]
            continue
        usual, other = foreign_names.usual_goals(name)
        hint = f"write schedule: {{name: plateau, metric: {name}, mode: {usual}}}, or mode: {other}"
        message = f"'mode' is missing: is a large '{name}' good, or a small one?"
        reader.fault(path, message, hint)


def _renamed(reader: Reader, kind: str, path: Path, raw: Any) -> list[Line]:
    """Lines with the name here of a schedule, an optimizer, a model or a transform of another tool,
    with its arguments; empty where there is none."""
    if kind == "schedule":
        found = translate_schedule(raw, base_rate(reader.document.data))
        if found is None:
            return []
        value, warmup = found
        lines = [Line(path, value, left_out(raw, base_rate(reader.document.data)))]
        train = reader.document.data.get(path[0])
        if warmup and len(path) == 2 and path[0] != "search" and not train.get("warmup"):
            lines.append(Line((path[0], "warmup"), warmup))
        return lines
    if kind == "optimizer":
        value = foreign_names.optimizer(raw)
        if value is None:
            return []
        if path == ("train", "optimizer"):
            return optimizer_lines(reader.document.data)
        _, given = foreign_names.split(raw)
        rates = [part for key, part in given.items() if means(key) == "train.lr"]
        if rates and path[0] == "search":
            value = {"name": value} if isinstance(value, str) else value
            return [Line(path, {**value, "lr": rates[0]})]
        return [Line(path, value)]
    if kind == "prune":
        value = foreign_names.rule(raw)
        left = ", ".join(foreign_names.lost(raw, value))
        told = f"{left} {'are' if ', ' in left else 'is'} not in it" if left else ""
        return [] if value is None else [Line(path, value, told)]
    rename = foreign_names.transform if kind == "transform" else foreign_names.model
    value = rename(raw)
    return [] if value is None else [Line(path, value)]


def divides_calls(reader: Reader, kind: str, path: Path, raw: Sequence[Any]) -> bool:
    """Whether entries of a list are parts of calls that their commas divide, as in
    [RandomCrop(8, padding=1)]: a fault then, with the list that is meant."""
    joined: list[Any] = []
    for part in raw:
        last = joined[-1] if joined else None
        if isinstance(last, str) and last.count("(") > last.count(")"):
            joined[-1] = f"{last}, {part}"
        else:
            joined.append(part)
    if len(joined) == len(raw):
        return False
    meant = []
    for index, part in enumerate(joined):
        called = isinstance(part, str) and "(" in part
        lines = _renamed(reader, kind, (*path, index), part) if called else []
        meant.append(lines[0].value if lines else part)
    hint = reader.hint(path, [Line(path, meant)])
    call = next(each for each in joined if each not in raw)
    reader.fault(path, f"{show(call)} is divided by its commas", hint)
    return True


def read_import(
    reader: Reader,
    path: Path,
    raw: Mapping[str, Any],
    others: tuple[str, ...],
    dimensions: list[Any] | None = None,
) -> dict[str, Any]:
    """Read code by its class path, with its `init_args`; `others` are further keys it may have.
    Ranges among the arguments go to `dimensions`, if it is a list."""
    known = ("class_path", "init_args", *others)
    raw = _inside(reader, path, raw, known)
    reader.unknown(path, raw, known)
    class_path = raw["class_path"]
    if is_class_path(reader, (*path, "class_path"), class_path):
        reader.imports.append(class_path)
    arguments = raw.get("init_args")
    if arguments is None:
        arguments = {}
    if not isinstance(arguments, Mapping):
        pairs = read_pairs(arguments)
        place = (*path, "init_args")
        hint = reader.hint(place, [Line(place, pairs)]) if pairs else _NAMED
        reader.fault(place, f"{show(arguments)} is no mapping of arguments", hint)
        arguments = pairs or {}
    given: dict[str, Any] = {}
    for key, value in arguments.items():
        inner = (*path, "init_args", key)
        anything = Parameter("any", scale=catalogue.usual_scale(key))
        if dimensions is not None and is_range(value):
            dimension = read_dimension(reader, inner, anything, value)
            if dimension is not None:
                dimensions.append((f"init_args.{key}", dimension))
        else:
            given[key] = reader.value(inner, anything, value)
            if isinstance(value, str) and value.lower() in ("no", "off", "yes", "on"):
                meant = "false" if value.lower() in ("no", "off") else "true"
                told = (
                    f"{'.'.join(map(str, inner))}: {value} is a text, which Python takes for true"
                )
                reader.notes.append(f"{told}: write {key}: {meant} for a truth value")
    return {"class_path": class_path, "init_args": given}


_CONTAINERS = ("init_args", "kwargs", "args", "params", "arguments", "parameters")
"""Keys that hold the arguments of what is named, here for code and elsewhere for all."""


def _inside(
    reader: Reader, path: Path, raw: Mapping[str, Any], known: Sequence[str]
) -> Mapping[str, Any]:
    """Code whose arguments stand in `init_args` where some stand beside its class path, or in a
    mapping of another name: faults then."""
    arguments = raw.get("init_args") or {}
    apart = {
        key: part
        for key, part in raw.items()
        if key not in known
        and (key in _CONTAINERS or nearest(str(key), known) is None)
        and not reader.advice((*path, key), part)
    }
    if not apart or not isinstance(arguments, Mapping) or not isinstance(raw, dict):
        return raw
    inner = dict(arguments)
    for key, part in apart.items():
        inner |= part if key in _CONTAINERS and isinstance(part, Mapping) else {key: part}
    hint = reader.hint((*path, next(iter(apart))), [Line((*path, "init_args"), inner)])
    for key in apart:
        reader.fault((*path, key), "unknown key", hint)
        del raw[key]
    raw["init_args"] = inner
    return raw


def is_class_path(reader: Reader, path: Path, raw: Any) -> bool:
    """Whether a text has the form of a class path; a fault where it has not."""
    if isinstance(raw, str) and CLASS_PATH.fullmatch(raw):
        return True
    example = "my_module.train" if path == ("loop",) else "my_package.nets.Net"
    hint = _dotted(path, raw, reader.folder)
    if path == ("loop",) and isinstance(raw, Mapping) and isinstance(raw.get("class_path"), str):
        given = as_mapping(raw.get("init_args"))
        own = [Line(("params", key), value) for key, value in given.items()]
        hint = reader.hint(path, [Line(path, raw["class_path"]), *own])
    reader.fault(path, f"{show(raw)} is no dotted path such as {example}", hint)
    return False


def _dotted(path: Path, raw: Any, folder: FilePath) -> str:
    """The hint for a path of a file, or of an entry point, in place of a class path."""
    named = {"model": "nn.Linear", "optimizer": "optim.SGD", "loss": "nn.CrossEntropyLoss"}
    example = next((named[each] for each in path if each in named), "")
    usual = f"write {path[-1]}: torch.{example}; for example" if example else ""
    if not isinstance(raw, str):
        return usual
    plain = re.sub(r"\(\)$", "", raw.strip("'\"`\u201c\u201d \t")).removeprefix("./")
    plain = re.sub(r"\.py(?=:|/|$)|/$", "", plain)
    plain = re.sub(r"\s*[./:]+\s*", ".", plain).strip(".").replace("-", "_")
    if path == ("loop",) and " " in plain:
        return f"write {Line(('command',), raw.strip()).show(path)[6:]} in its place"
    if CLASS_PATH.fullmatch(plain) and raw.strip()[-3:] != ".py":
        return f"write {path[-1]}: {nearest_path(plain, folder) or plain}"
    package = "optim" if "optimizer" in path else "nn"
    if plain in torch_names(package):
        return f"write {path[-1]}: torch.{package}.{plain}"
    if meant := find_named(plain, folder, classes=path[0] != "loop" and "metrics" not in path):
        return f"write {path[-1]}: {meant}"
    if re.fullmatch(r"[A-Za-z_][\w.]*", plain):
        what = "the function" if path == ("loop",) else "a class or a function"
        return f"write {path[-1]}: {plain}.NAME, with the name of {what} in it"
    return usual


_SCHEDULERS = ("torch.optim.lr_scheduler.", "keras.", "tensorflow.", "transformers.", "timm.")


def _is_scheduler(raw: Mapping[str, Any]) -> bool:
    """Whether a schedule's class path is that of another tool's scheduler."""
    path = raw.get("class_path")
    known = isinstance(path, str) and path.startswith(_SCHEDULERS)
    return known and translate_schedule(path) is not None
