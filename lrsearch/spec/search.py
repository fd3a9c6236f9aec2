"""`search` of a spec."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from lrsearch import catalogue
from lrsearch.catalogue import Parameter
from lrsearch.errors import suggest
from lrsearch.space import Choice, Dimension, Option, Space
from lrsearch.spec.components import ARGUED, parameters_of, read_component, settle_mode
from lrsearch.spec.data import read_transform_lists
from lrsearch.spec.document import Path
from lrsearch.spec.foreign.lines import Line
from lrsearch.spec.foreign.ranges import Fixed, read_foreign, rejoin
from lrsearch.spec.foreign.schedules import left_out
from lrsearch.spec.foreign.translation import base_rate, translate_option
from lrsearch.spec.ranges import is_range, make_choice, read_dimension
from lrsearch.spec.reader import MISSING, Reader
from lrsearch.spec.train import read_warmup
from lrsearch.spec.values import show


def read_search(
    reader: Reader, raw: Any, data: dict[str, Any], model: dict[str, Any], train: dict[str, Any]
) -> Space:
    """`search`, under the `data`, `model` and `train` that are fixed."""
    if raw is None:
        raw = {}
    if not isinstance(raw, Mapping):
        reader.fault(("search",), f"{show(raw)} is no mapping of searched parameters")
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
        names = [option.value for option in followed.options]
        settle_mode(reader, reader.search_path("schedule.metric"), names, train["schedule"])
    _note_both(reader, found)
    found = _spread_rate(reader, found, train)
    # A faulty range is not a missing one.
    sound = reader.sound("search.lr", "search.optimizer")
    sound = sound and not reader.is_promised("train.lr", "search.lr", "search")
    if "lr" not in found and "lr" not in train and train and sound:
        optimizers = found.get("optimizer")
        if not (isinstance(optimizers, Choice) and all(map(_own_rate, optimizers.options))):
            reader.fault(("train",), "'lr' is missing: give it a value, or a range in search")
    sound = reader.sound("search.budget") and not reader.is_promised(
        "train.budget", "search.budget", "search"
    )
    if "budget" not in found and "budget" not in train and train and sound:
        allowed = catalogue.TRAIN["budget"].allowed()
        reader.fault(("train",), f"'budget' is missing: it takes {allowed}")
    parts = [path for path in found if path.startswith("warmup.")]
    sound = reader.sound("train.warmup", "search.warmup.for")
    if parts and "warmup.for" not in found and train and not train["warmup"] and sound:
        allowed = catalogue.WARMUP["for"].allowed()
        reader.fault(reader.search_path(parts[0]), f"the warmup has no 'for': it takes {allowed}")
    return Space(tuple(found.items()))


def _descend(
    reader: Reader,
    path: Path,
    prefix: str,
    raw: Mapping[str, Any],
    fixed: Mapping[str, Any],
    found: dict[str, Dimension],
) -> None:
    for key, value in rejoin(raw).items():
        name = f"{prefix}{key}"
        inner = (*path, key)
        if name == "train" or name.startswith("train."):
            _fault_under_train(reader, inner, name, value)
            continue
        if name in found:
            reader.fault(inner, "searched twice")
            continue
        group = name in ("schedule", "optimizer", "warmup", "model")
        dimension: Dimension | None
        if name == "data.transforms":
            dimension = read_transform_lists(reader, inner, value, fixed["data"])
        elif group and isinstance(meant := read_foreign(value), list):
            options = [translate_option(name, part, reader.document.data) for part in meant]
            told = [left_out(part, base_rate(reader.document.data)) for part in meant]
            remark = next(filter(None, told), "") if name == "schedule" else ""
            hint = reader.lines(inner, [Line(inner, options, remark)])
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


def _fault_under_train(reader: Reader, path: Path, name: str, value: Any) -> None:
    """`search: {train: {lr: ...}}`, or `train.lr` there: search names them without `train`."""
    inner = value if name == "train" and isinstance(value, Mapping) else {}
    if name != "train":
        inner, path = {name.removeprefix("train."): value}, path[:-1]
    for key, part in rejoin(inner).items():
        place = (*path, key) if name == "train" else (*path, name)
        meant = read_foreign(part)
        line = Line(("search", str(key)), part if meant is None else meant)
        known = key.split(".")[0] in (*catalogue.TRAIN, "schedule", "optimizer", "warmup")
        found = [line] if known and not isinstance(meant, Fixed) else None
        hint = reader.lines(place, found) if found else reader.advice(("search", key), part)
        reader.fault(place, "what is searched is named without 'train'", hint)
    if not inner:
        reader.fault(path, "what is searched is named without 'train'", "write lr: [0.1, 0.01]")


def _find_parameter(
    reader: Reader, path: Path, name: str, fixed: Mapping[str, Any], value: Any
) -> Parameter | None:
    """The parameter a search path names, under the built-ins that are fixed."""
    head, _, rest = name.partition(".")
    known: Mapping[str, Parameter] = catalogue.TRAIN
    owner = "train"
    if head in ("schedule", "optimizer", "warmup", "model", "data") and not rest:
        reader.fault(
            path,
            f"'{head}' is searched by a list of options, or by its arguments",
            "such as "
            + {"data": "data.standardize", "model": "model.hidden", "warmup": "warmup.for"}.get(
                head, f"{head}: [a, b]"
            ),
        )
        return None
    if rest:
        if head == "data":
            named = catalogue.DATA.get(fixed.get("data", {}).get("name", ""))
            if named is not None and named.ordered:
                message = "points measured on different data cannot be compared"
                reader.fault(path, message, "searchable here: data.transforms")
                return None
            if rest.split(".")[0] in ("validation", "test", "split_seed", "name"):
                reader.fault(
                    path,
                    "points measured on different data cannot be compared",
                    "searchable here: data.standardize, data.transforms",
                )
                return None
            if rest.startswith("transforms."):
                hint = "searched are whole lists, such as data.transforms: [[], [flip]]"
                reader.fault(path, "an argument of a transform is not searched alone", hint)
                return None
            known = {"standardize": catalogue.SPLITTING["standardize"]}
            owner = "data"
        elif head == "warmup":
            known, owner = catalogue.WARMUP, "warmup"
        elif head in ("loss", "step"):
            found = fixed.get(head)
            if isinstance(found, Mapping) and rest.startswith("init_args."):
                return Parameter("any", scale=catalogue.usual_scale(rest))
            hint = f"name it under train: {head}: {{class_path: ...}}"
            if isinstance(found, Mapping):
                hint = f"write {head}.init_args.{rest}"
            reader.fault(path, f"'{head}' has no argument '{rest}'", hint)
            return None
        elif head in catalogue.GROUPS:
            imported = "class_path" in fixed.get(head, {})
            if imported and rest.startswith("init_args."):
                return Parameter("any", scale=catalogue.usual_scale(rest))
            name_of = fixed.get(head, {}).get("name")
            if name_of is None:
                if imported:
                    reader.fault(path, "unknown key", f"write {head}.init_args.{rest}")
                return None
            known, owner = parameters_of(reader, head, name_of), f"{head} {name_of}"
        else:
            names = (*catalogue.TRAIN, "schedule", "optimizer", "warmup", "model", "data")
            hint = reader.advice(path, value) or suggest(head, names)
            reader.fault(path, f"'{head}' has no arguments to search", hint)
            return None
    final = rest or name
    if final not in known:
        names = (
            (*known, "schedule", "warmup", "optimizer", "model", "data")
            if owner == "train"
            else tuple(known)
        )
        what = "unknown parameter" if owner == "train" else f"{owner} has no argument '{final}'"
        reader.fault(path, what, reader.advice(path, value) or suggest(final, names))
        return None
    if name in ("step", "metrics"):
        message = "points that are measured in different ways cannot be compared"
        hint = "its arguments may be searched: step.init_args.NAME" if name == "step" else ""
        reader.fault(path, message, hint)
        return None
    if name == "loss" and fixed.get("step") is not None:
        reader.fault(path, "a step has a loss of its own: there is none to search")
        return None
    if name == "loss":
        # Null stands for the task's default, which would be a second name of one point.
        return replace(known[final], optional=False)
    return known[final]


def read_options(reader: Reader, path: Path, group: str, raw: list[Any]) -> Choice | None:
    """A choice among options of a group: schedules, optimizers, warmups or models."""
    if not raw:
        reader.fault(path, "an empty list leaves nothing to choose from")
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


def _spread_rate(
    reader: Reader, found: dict[str, Dimension], train: Mapping[str, Any]
) -> dict[str, Dimension]:
    """Where some options of an optimizer choice carry their own learning rate, give the
    others the common one too, so that no point has a rate that is not used."""
    optimizers = found.get("optimizer")
    if not isinstance(optimizers, Choice) or not any(map(_own_rate, optimizers.options)):
        return found
    if "lr" not in found:
        return found
    if all(map(_own_rate, optimizers.options)):
        reader.notes.append("lr is not searched apart: every optimizer option has its own")
    common = found["lr"]
    options = tuple(
        option
        if _own_rate(option)
        else Option(option.value, Space((*option.space.dimensions, ("lr", common))))
        for option in optimizers.options
    )
    rest = {path: part for path, part in found.items() if path != "lr"}
    return {**rest, "optimizer": Choice(options)}


def _note_both(reader: Reader, found: Mapping[str, Dimension]) -> None:
    for path in found:
        parts = tuple(path.split("."))
        place = parts if parts[0] in ("model", "data") else ("train", *parts)
        value: Any = reader.document.data
        for part in place:
            value = value.get(part, MISSING) if isinstance(value, Mapping) else MISSING
        if value is not MISSING and path != "model":
            reader.notes.append(f"{path} is both fixed and searched: the search wins")


def _own_rate(option: Option) -> bool:
    named = isinstance(option.value, Mapping) and "lr" in option.value
    return named or any(path == "lr" for path, _ in option.space.dimensions)
