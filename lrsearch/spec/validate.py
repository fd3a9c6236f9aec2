"""A document checked against the catalogue, every fault of it at once."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path as FilePath
from typing import Any

from lrsearch import catalogue
from lrsearch.catalogue import REQUIRED, Entry, Parameter
from lrsearch.duration import budget_steps, warmup_steps
from lrsearch.duration import find as find_durations
from lrsearch.duration import parse as parse_duration
from lrsearch.errors import Fault, SpecError, nearest, suggest
from lrsearch.space import (
    Choice,
    Dimension,
    Float,
    Int,
    Option,
    Space,
    build,
    encode,
    parameters,
    same,
)
from lrsearch.spec import foreign, foreign_names
from lrsearch.spec.document import Document, Path
from lrsearch.spec.foreign import Line
from lrsearch.spec.foreign_ranges import Fixed, each, lasting, read_foreign, rejoin
from lrsearch.spec.model import (
    DEFAULTS,
    BayesSettings,
    RandomSettings,
    Spec,
    complete,
    complete_group,
    resolve,
)
from lrsearch.spec.own import BUILT_IN, KINDS, ONLY_OWN, is_own, read_foreign_own, read_own
from lrsearch.spec.unusual import unusual_rates
from lrsearch.spec.values import Unfit, check_duration, check_value, show, write

TOP_LEVEL = (
    "name",
    "data",
    "model",
    "train",
    "command",
    "loop",
    "params",
    "metrics",
    "timeout",
    "verify",
    "objective",
    "search",
    "random",
    "bayes",
    "seeds",
    "seed",
    "max_failures",
)
_GOES_ELSEWHERE = {
    "metrics": "metrics of your own stand under train",
    "verify": "lrsearch export --verify trains the best again",
}
"""What a key of a command or a loop is for built-in trainings."""
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
CLASS_PATH = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+")
_COUNT = Parameter("int", low=1, high=100_000)
_SETTINGS: dict[str, dict[str, Parameter]] = {
    "random": {
        "trials": Parameter("int", 40, low=1),
        "sampler": Parameter("text", "random", choices=("random", "sobol")),
    },
    "bayes": {
        "trials": Parameter("int", 40, low=1),
        "startup": Parameter("int", 8, low=1),
        "generation": Parameter("int", 4, low=1),
    },
}
_PLAIN: dict[str, Parameter] = {
    "seeds": Parameter("int", 1, low=1),
    "seed": Parameter("int", 0, low=0, high=2**31 - 1),
    "max_failures": Parameter("int", 10, low=0),
}
FIRST_SEED = 1
"""Of a command or a loop, where the spec says nothing."""
_LISTS = ("ints", "durations", "points")
"""Kinds whose values are lists themselves."""
MISSING: Any = object()
"""The value of a key that is not there."""
RISING = ("one_cycle", "triangular", "triangular2", "exp_range")
"""Schedules that begin below the base rate."""
IMPORTABLE = ("model", "schedule", "optimizer", "transform")
"""Mappings that may name code by its class path."""
ARGUED = (*IMPORTABLE, "loss", "step")
"""Whose `init_args` may be searched."""
_BINARY = re.compile(r"(?i)(binary_?cross_?entropy|bce)(_?(with)?_?logits)?(_?loss)?")
_TORCH_LOSSES = {"cross_entropy": "CrossEntropyLoss", "huber": "HuberLoss"}
"""Built-in losses that have arguments where torch has them."""
RANGE = ("min", "max", "points", "scale")
WIDE = 100
"""The ratio of a range's ends from which on a linear scale is worth a note."""
METRIC_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,31}")
"""A name of a metric of the user's."""


def validate(
    document: Document,
    folder: FilePath,
    text: str,
    *,
    arithmetic: bool = True,
    stored: bool = False,
) -> Spec:
    """The spec a document describes; without `arithmetic` all text of its parameters is text. A
    `stored` one has run: what may be a slip in its command is none. Raises SpecError with all its
    faults."""
    reader = Reader(document, folder)
    reader.arithmetic, reader.stored = arithmetic, stored
    spec = _read_spec(reader, text)
    if reader.faults or spec is None:
        raise SpecError(reader.faults)
    return spec


def validate_schedule(document: Document) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """The schedule and the warmup of a document that has them under `train`, every argument
    filled. Raises SpecError with all their faults."""
    reader = Reader(document, FilePath())
    train = document.data["train"]
    schedule = read_component(reader, "schedule", ("train", "schedule"), train["schedule"])
    warmup = read_warmup(reader, ("train", "warmup"), train.get("warmup"))
    if reader.faults:
        raise SpecError(reader.faults)
    return schedule, warmup


class Reader:
    """Reads a document part by part, collecting faults instead of stopping at the first."""

    def __init__(self, document: Document, folder: FilePath) -> None:
        self.document = document
        self.folder = folder
        self.faults: list[Fault] = list(document.faults)
        self.notes: list[str] = []
        self.imports: list[str] = []
        self.fixed = "train, model or data"
        self.arithmetic = True
        self.stored = False
        self.own_kind = False
        self.promised: set[str] = set()
        """Dotted paths that lines fill which a fault says to write."""

    def fault(self, path: Path, message: str, hint: str = "") -> None:
        """Add a fault at a path of the document."""
        self.faults.append(self.document.fault(path, message, hint))

    def lines(self, path: Path, found: foreign.Advice) -> str:
        """An advice as the hint of a fault at a path."""
        if isinstance(found, list):
            for line in found:
                dotted = ".".join(map(str, line.path))
                inner = line.value if isinstance(line.value, Mapping) else {}
                self.promised |= {dotted, *(f"{dotted}.{key}" for key in inner)}
        origins = self.document.origins
        option = any(path[:length] in origins for length in range(len(path) + 1))
        made = path not in self.document.lines
        option = option or (made and any(each[: len(path)] == path for each in origins))
        return foreign.show(found, path, option=option)

    def advice(self, path: Path, value: Any) -> str:
        """What to write in place of a key that is a word of another tool, or of another mapping;
        "" for a key that is neither."""
        top, source = self.document.data, self.document.source
        found = foreign.advise(path, value, top, own=self.own_kind, source=source)
        return self.lines(path, found)

    def is_promised(self, *keys: str) -> bool:
        """Whether a line that is to be written fills one of these, or a part of it."""
        return any(
            path == key or path.startswith(f"{key}.") for path in self.promised for key in keys
        )

    def unknown(self, path: Path, raw: Mapping[str, Any], allowed: tuple[str, ...]) -> None:
        """Faults for keys that are not allowed; which ones are is told once."""
        bare = []
        for key in raw:
            if key in allowed:
                continue
            hint = self.advice((*path, key), raw[key])
            if hint:
                self.fault((*path, key), "unknown key", hint)
            else:
                bare.append(key)
        for key in bare:
            close = nearest(key, allowed)
            hint = f"did you mean '{close}'?" if close else ""
            if self.own_kind and not path and not close:
                line = Line(("params", key), raw[key])
                self.fault((key,), "unknown key", self.lines((key,), [line]))
                continue
            hint = suggest(key, allowed) if key == bare[-1] else hint
            self.fault((*path, key), "unknown key", hint)

    def value(self, path: Path, parameter: Parameter, raw: Any) -> Any:
        """A value in its canonical form; as it is, and a fault, where it does not fit."""
        try:
            return check_value(parameter, raw)
        except Unfit as error:
            self.fault(path, str(error), self.lines(path, [Line(path, error.meant, error.remark)]))
        except ValueError as error:
            searched = path[0] == "train" and foreign.is_choice(".".join(map(str, path)), raw)
            line = Line(("search", str(path[-1])), raw)
            self.fault(path, str(error), self.lines(path, [line]) if searched else "")
        return raw

    def search_path(self, dotted: str) -> Path:
        """Where in the document a search path stands, however it was nested."""
        for path in self.document.lines:
            if path and path[0] == "search" and ".".join(map(str, path[1:])) == dotted:
                return path
        return ("search", dotted)

    def sound(self, *keys: str) -> bool:
        """Whether no fault was found at these keys or below them."""
        return not any(
            fault.key == key or fault.key.startswith(key + ".")
            for fault in self.faults
            for key in keys
        )


def _read_spec(reader: Reader, text: str) -> Spec | None:
    top = reader.document.data
    if top is None:
        reader.fault((), "the file is empty: a spec has at least data, model and train")
        return None
    if not isinstance(top, Mapping):
        kind = "a list" if isinstance(top, list) else show(top)
        reader.fault((), f"a spec is a mapping (key: value), this is {kind}")
        return None
    words = [foreign.look_up(foreign_names.snake(str(key))) or ("", "") for key in top]
    reader.own_kind = is_own(top) or any(target in KINDS for target, _ in words)
    reader.unknown((), top, TOP_LEVEL)
    if is_own(top):
        return _read_outside(reader, top, text)
    if reader.own_kind:  # By a foreign word: there is no training to read more of.
        read_foreign_own(reader, top)
        return None
    for key in ONLY_OWN:
        if key in top:
            hint = _GOES_ELSEWHERE.get(key, "")
            message = f"'{key}' goes with {' or '.join(KINDS)}, which is missing"
            reader.fault((key,), message, hint)
    search = top.get("search")
    searched_model = isinstance(search, Mapping) and isinstance(search.get("model"), list)
    for key in BUILT_IN:
        there = key in top or (key == "model" and searched_model)
        if not there and not reader.is_promised(key):
            reader.fault((), f"'{key}' is missing")
    data = read_data(reader, top.get("data", MISSING))
    model = read_model(reader, ("model",), top.get("model", MISSING))
    train = read_train(reader, top.get("train", MISSING))
    metric, at, goal = read_objective(reader, top.get("objective"), train)
    space = read_search(reader, top.get("search"), data, model, train)
    changed = data.get("transforms") or "data.transforms" in dict(space.dimensions)
    if train.get("step") is not None and changed:
        place = ("data", "transforms")
        if not data.get("transforms"):
            place = reader.search_path("data.transforms")  # type: ignore[assignment]
        reader.fault(place, "a step is given whole samples: it augments them itself")
    note_peaks(reader, train, space)
    check_one_rate(reader, train, space)
    reader.notes += unusual_rates(train, space)
    check_task(reader, data, train, metric, space)
    check_sizes(reader, data, train, space)
    spec = _finish(
        reader,
        top,
        text,
        data=data,
        model=model,
        train=train,
        metric=metric,
        at=at,
        goal=goal,
        space=space,
    )
    if spec is not None:
        check_schedules(reader, spec)
        check_models(reader, spec)
    return spec


def _read_outside(reader: Reader, top: Mapping[str, Any], text: str) -> Spec | None:
    """A spec with `command` or `loop`."""
    reader.fixed = "params"
    own, params, metric, at, space = read_own(reader, top)
    return _finish(
        reader,
        top,
        text,
        data={},
        model={},
        train=params,
        own=own,
        metric=metric,
        at=at,
        space=space,
    )


def _finish(reader: Reader, top: Mapping[str, Any], text: str, **parts: Any) -> Spec | None:
    """The spec, with what every kind has; None where anything is at fault."""
    name = _read_name(reader, top)
    settings = {key: read_settings(reader, key, top.get(key)) for key in _SETTINGS}
    plain = {
        key: reader.value((key,), parameter, top[key]) if key in top else parameter.default
        for key, parameter in _PLAIN.items()
    }
    if parts.get("own") is not None:
        _settle_seed(reader, top, plain)
    if reader.faults:
        return None
    return Spec(
        name=name,
        **parts,
        random=RandomSettings(**settings["random"]),
        bayes=BayesSettings(**settings["bayes"]),
        **plain,
        notes=tuple(reader.notes),
        imports=tuple(dict.fromkeys(reader.imports)),
        folder=reader.folder,
        source=reader.document.source,
        text=text,
        document=top,
    )


def _settle_seed(reader: Reader, top: Mapping[str, Any], plain: dict[str, Any]) -> None:
    """The first seed of an own training, which counts them from 1: scripts take 0 for none."""
    if "seed" not in top:
        plain["seed"] = FIRST_SEED
    elif plain["seed"] == 0:
        reader.notes.append(
            "seed 0 is no seed to scripts that ask 'if seed:': leave it out, and seeds count "
            f"from {FIRST_SEED}"
        )


# parts


def _read_name(reader: Reader, top: Mapping[str, Any]) -> str:
    stem = FilePath(reader.document.source).stem
    name = top.get("name", stem)
    if isinstance(name, str) and NAME.fullmatch(name):
        return name
    rule = "a run's name starts with a letter or digit and has at most 64 of A-Z a-z 0-9 . _ -"
    if "name" not in top:
        reader.fault((), f"'name' is missing, and the file's own name '{stem}' cannot serve", rule)
    else:
        quote = "; quote it" if isinstance(name, int | float) else ""
        reader.fault(("name",), f"{show(name)} cannot name a run{quote}", rule)
    return ""


def read_data(reader: Reader, raw: Any) -> dict[str, Any]:
    """`data`: its name or class path, arguments, splits and transforms, every default filled."""
    if raw is MISSING:
        return {}
    path: Path = ("data",)
    given = raw
    raw = {"name": raw} if isinstance(raw, str) else raw
    if not isinstance(raw, Mapping):
        reader.fault(path, f"{show(raw)} names no data", suggest("", catalogue.DATA))
        return {}
    common = ("validation", "test", *catalogue.SPLITTING, "transforms")
    source: catalogue.Source | None = None
    if "class_path" in raw:
        own = read_import(reader, path, raw, (*catalogue.IMPORTED, *common))
        own |= read_arguments(reader, path, raw, catalogue.IMPORTED)
    else:
        name = raw.get("name", MISSING)
        meant = foreign_names.data(given)
        if name is MISSING:
            hint = reader.lines(path, [Line(path, meant)] if meant else None)
            hint = hint or suggest("", catalogue.DATA)
            reader.fault(path, "'name' (or 'class_path') is missing", hint)
            return {}
        source = catalogue.DATA.get(name) if isinstance(name, str) else None
        if source is None:
            hint = reader.lines((*path, "name"), [Line(path, meant)] if meant else None)
            hint = hint or suggest(str(name), catalogue.DATA)
            reader.fault((*path, "name"), f"unknown data {show(name)}", hint)
            return {}
        reader.unknown(path, raw, ("name", *source.parameters, *common))
        own = {"name": name, **read_arguments(reader, path, raw, source.parameters)}
        for key, parameter in source.parameters.items():
            if parameter.kind == "path" and isinstance(own.get(key), str):
                own[key] = _read_path(reader, (*path, key), own[key])
        if "target" in source.parameters:
            _check_columns(reader, path, own)
    own["validation"] = _read_open_validation(reader, raw, source)
    own["test"] = _read_test(reader, raw.get("test"), source)
    own |= read_arguments(reader, path, raw, catalogue.splitting(source))
    own["transforms"] = read_transforms(
        reader, (*path, "transforms"), raw.get("transforms"), source
    )
    if source is not None and source.ordered:
        _check_ordered(reader, path, own)
    validation, test = own["validation"], own["test"]
    if validation == "source" == test and source is not None and not source.own_test:
        reader.fault((*path, "test"), "the source's own split is the validation split already")
    if isinstance(validation, float) and isinstance(test, float) and validation + test >= 1:
        reader.fault(
            (*path, "test"),
            f"validation {validation:g} and test {test:g} leave nothing to train on",
        )
    return own


def read_transforms(
    reader: Reader, path: Path, raw: Any, source: catalogue.Source | None
) -> list[dict[str, Any]]:
    """`data.transforms`, each with its arguments filled."""
    if raw is None:
        return []
    if not isinstance(raw, list):
        hint = "it takes a list, such as [{name: flip, p: 0.5}]"
        reader.fault(path, f"{show(raw)} is no list of transforms", hint)
        return []
    found = []
    for index, part in enumerate(raw):
        place = (*path, index)
        if isinstance(part, Mapping) and "class_path" in part:
            found.append(read_import(reader, place, part, ()))
            continue
        found.append(read_named(reader, place, part, catalogue.TRANSFORMS, "transform"))
        if found[-1] and source is not None and source.ordered:
            message = f"{found[-1]['name']} takes numbers, and text is characters"
            reader.fault(place, message, "one of your own may: {class_path: my_package.augment}")
    return found


def read_transform_lists(
    reader: Reader, path: Path, raw: Any, data: Mapping[str, Any]
) -> Dimension | None:
    """A choice of whole lists of transforms."""
    if not isinstance(raw, list) or any(isinstance(part, str | Mapping) for part in raw):
        hint = "it is searched by a list of lists, such as [[], [flip]]"
        reader.fault(path, f"{show(raw)} is no list of lists of transforms", hint)
        return None
    if not raw:
        reader.fault(path, "an empty list leaves nothing to choose from")
        return None
    source = catalogue.DATA.get(data.get("name", ""))
    before = len(reader.faults)
    lists = [
        read_transforms(reader, (*path, index), part, source) for index, part in enumerate(raw)
    ]
    if len(reader.faults) > before:
        return None
    return make_choice(reader, path, [Option(part) for part in lists])


def _check_columns(reader: Reader, path: Path, own: Mapping[str, Any]) -> None:
    """What a table's keys say of one column excludes what they say of another."""
    if not reader.sound("data.target", "data.drop", "data.categorical"):
        return
    target, drop, categorical = own.get("target"), own["drop"], own["categorical"]
    if target in drop:
        reader.fault((*path, "drop", drop.index(target)), f"{show(target)} is the target")
    for index, name in enumerate(categorical):
        place = (*path, "categorical", index)
        if name == target:
            hint = "to predict its values as classes, write task: classification"
            reader.fault(place, f"{show(name)} is the target", hint)
        elif name in drop:
            reader.fault(place, f"{show(name)} is dropped")


def _check_ordered(reader: Reader, path: Path, own: Mapping[str, Any]) -> None:
    """What says nothing of data that are split where they stand."""
    if own["standardize"]:
        reader.fault((*path, "standardize"), "characters have no mean: nothing to standardize")
    if own["split_seed"]:
        reader.fault((*path, "split_seed"), "the splits of text are not drawn: leave it out")


def _read_path(reader: Reader, path: Path, raw: str) -> str:
    try:
        return str((reader.folder / FilePath(raw).expanduser()).resolve())
    except (OSError, RuntimeError, ValueError) as error:  # ~nobody, a NUL, a loop of links
        reader.fault(path, f"{show(raw)} cannot be the path of a file: {error}")
        return raw


def _read_open_validation(
    reader: Reader, raw: Mapping[str, Any], source: catalogue.Source | None
) -> Any:
    """What validates; None where it is a part of the source's, if that brings one."""
    if "validation" in raw:
        return _read_validation(reader, raw["validation"], source)
    return None if source is None or source.own_split else 0.2


def _read_validation(reader: Reader, raw: Any, source: catalogue.Source | None) -> Any:
    path: Path = ("data", "validation")
    if isinstance(raw, Mapping):
        if source is not None and source.ordered:
            message = "text is held out in one piece, not by folds: its neighbours would leak"
            reader.fault(path, message, "it takes a share such as 0.1")
            return 0.2
        reader.unknown(path, raw, ("folds",))
        if "folds" not in raw:
            reader.fault(path, "'folds' is missing")
            return 0.2
        return {"folds": reader.value((*path, "folds"), Parameter("int", low=2), raw["folds"])}
    return _read_share(reader, path, raw, source, "a share such as 0.2, {folds: 5}, or source")


def _read_test(reader: Reader, raw: Any, source: catalogue.Source | None) -> Any:
    if raw is None:
        return None
    return _read_share(
        reader, ("data", "test"), raw, source, "a share such as 0.1, source, or null"
    )


def _read_share(
    reader: Reader, path: Path, raw: Any, source: catalogue.Source | None, allowed: str
) -> Any:
    if raw == "source":
        if source is not None and not source.own_split:
            allowed = "a share such as 0.1" if source.ordered else allowed
            reader.fault(path, "this data source has no split of its own", f"it takes {allowed}")
        return raw
    number = isinstance(raw, int | float) and not isinstance(raw, bool)
    if not number or not 0 < raw < 1:
        reader.fault(path, f"{show(raw)} is no share of the data", f"it takes {allowed}")
        return 0.2
    return float(raw)


def read_model(
    reader: Reader, path: Path, raw: Any, dimensions: list[Any] | None = None
) -> dict[str, Any]:
    """`model`, or one of its options, whose searched arguments go to `dimensions`."""
    if raw is MISSING:
        return {}
    return read_component(reader, "model", path, raw, dimensions)


def read_component(
    reader: Reader, group: str, path: Path, raw: Any, dimensions: list[Any] | None = None
) -> dict[str, Any]:
    """A built-in by its name, or code by its class path where the group takes any."""
    if group == "schedule" and isinstance(raw, Mapping) and _is_scheduler(raw):
        hint = reader.lines((*path, "class_path"), _renamed(reader, group, path, raw))
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
            hint = "the learning rate is train.lr"
            reader.fault((*path, "init_args", "lr"), "it is given by the schedule", hint)
        return found
    return read_named(reader, path, raw, catalogue.GROUPS[group], group, dimensions)


def read_train(reader: Reader, raw: Any) -> dict[str, Any]:
    """`train`, every default filled."""
    if raw is MISSING:
        return {}
    path: Path = ("train",)
    if not isinstance(raw, Mapping):
        reader.fault(path, f"{show(raw)} is no mapping of training values")
        return {}
    reader.unknown(path, raw, (*catalogue.TRAIN, "schedule", "warmup", "optimizer"))
    train: dict[str, Any] = {}
    for key, parameter in catalogue.TRAIN.items():
        if key == "loss" and isinstance(raw.get(key), Mapping | str):
            train[key] = _read_loss(reader, (*path, key), parameter, raw[key])
        elif key == "step":
            train[key] = _read_code(reader, (*path, key), raw.get(key))
        elif key == "metrics":
            train[key] = _read_metrics(reader, (*path, key), raw.get(key))
        elif key == "precision" and (meant := foreign.precision(raw.get(key))):
            hint = reader.lines((*path, key), [Line((*path, key), meant)])
            reader.fault((*path, key), f"{show(raw[key])} is not {parameter.allowed()}", hint)
        elif key in raw:
            train[key] = reader.value((*path, key), parameter, raw[key])
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
    return train


def _read_loss(reader: Reader, path: Path, parameter: Parameter, raw: Any) -> Any:
    """A built-in by its name, or code."""
    name = raw.get("name") if isinstance(raw, Mapping) else None
    if isinstance(name, str) and name in catalogue.LOSSES:
        return _read_named_loss(reader, path, raw)
    abbreviated = isinstance(raw, str) and raw.startswith("nn.")
    if not isinstance(raw, str) or (CLASS_PATH.fullmatch(raw) and not abbreviated):
        return _read_code(reader, path, raw)
    try:
        return check_value(parameter, raw)
    except ValueError as error:
        meant = foreign_names.loss(raw)
        hint = reader.lines(path, [Line(path, meant)] if meant else None)
        hint = hint or "one of your own is named by its class path, such as my_package.focal"
        if _BINARY.fullmatch(raw):
            hint = (
                "leave the loss out: of two classes, a model that gives one logit a sample "
                "has binary cross entropy by default; or write torch.nn.BCEWithLogitsLoss"
            )
        reader.fault(path, str(error), hint)
        return raw


def _read_named_loss(reader: Reader, path: Path, raw: Mapping[str, Any]) -> Any:
    """A built-in that is written as a mapping: it has no arguments."""
    name = str(raw["name"])
    for key in raw:
        if key == "name":
            continue
        hint = "write its bare name"
        if name == "cross_entropy" and key == "label_smoothing":
            hint = "write label_smoothing beside loss, under train"
        elif name in _TORCH_LOSSES:
            given = show(raw[key]) if isinstance(raw[key], list | int | float) else "..."
            hint = (
                f"write loss: {{class_path: torch.nn.{_TORCH_LOSSES[name]}, "
                f"init_args: {{{key}: {given}}}}}"
            )
        reader.fault((*path, key), f"{name} has no argument '{key}'", hint)
    return name


def _read_code(reader: Reader, path: Path, raw: Any) -> dict[str, Any] | None:
    """Code by its class path, with or without arguments."""
    if raw is None:
        return None
    raw = {"class_path": raw} if isinstance(raw, str) else raw
    if not isinstance(raw, Mapping) or "class_path" not in raw:
        known = f"one of {', '.join(catalogue.LOSSES)}, or " if path[-1] == "loss" else ""
        hint = f"it takes {known}{catalogue.TRAIN['step'].allowed().removesuffix(', or null')}"
        reader.fault(path, f"{show(raw)} names no code", hint)
        return None
    return read_import(reader, path, raw, ())


def _read_metrics(reader: Reader, path: Path, raw: Any) -> dict[str, Any] | None:
    if raw is None:
        return None
    example = "write {top3: {class_path: my_package.top3}}"
    if not isinstance(raw, Mapping) or not raw:
        reader.fault(path, f"{show(raw)} is no mapping of names to metrics", example)
        return None
    found = {}
    for name, value in raw.items():
        inner = (*path, name)
        if not isinstance(name, str) or not METRIC_NAME.fullmatch(name):
            hint = "a metric's name has at most 32 letters, digits and _, no digit first"
            reader.fault(inner, f"{show(name)} cannot name a metric", hint)
        elif name in catalogue.METRICS or name in catalogue.BESIDE:
            reader.fault(inner, f"'{name}' is measured already", "give it another name")
        elif value is None:
            reader.fault(inner, "it has no class path", example)
        elif (code := _read_code(reader, inner, value)) is not None:
            found[name] = code
    return found


def _check_beside_step(reader: Reader, path: Path, raw: Mapping[str, Any]) -> None:
    """What a step of the user's takes the place of."""
    for key in ("loss", "label_smoothing", "metrics"):
        if raw.get(key) not in (None, 0):
            by = "its evaluate measures" if key == "metrics" else "it has a loss of its own"
            reader.fault((*path, key), f"'{key}' says nothing beside a step: {by}")


def read_warmup(reader: Reader, path: Path, raw: Any, dimensions: list[Any] | None = None) -> Any:
    """`warmup`, or one of its options, whose searched arguments go to `dimensions`."""
    if raw is None:
        return None
    if isinstance(raw, int | float) and not isinstance(raw, bool):
        reader.value(path, catalogue.WARMUP["for"], raw)
        return None
    if isinstance(raw, str):
        reader.value(path, catalogue.WARMUP["for"], raw)
        raw = {"for": raw}
        if not reader.sound(".".join(map(str, path))):
            return None
    if not isinstance(raw, Mapping):
        reader.fault(
            path, f"{show(raw)} is no warmup", "write {for: 0.05dur, shape: linear}, or null"
        )
        return None
    reader.unknown(path, raw, tuple(catalogue.WARMUP))
    length = raw.get("for")
    if isinstance(length, str) and length.endswith("dur") and _share_of(length) >= 1:
        reader.fault((*path, "for"), f"a warmup of {length} leaves nothing of the budget")
    given = read_arguments(reader, path, raw, catalogue.WARMUP, dimensions)
    if given.get("shape") == "exponential" and given.get("start") == 0:
        reader.fault((*path, "start"), "an exponential warmup cannot start at 0")
    return given if dimensions is not None else complete(catalogue.WARMUP, given)


def _share_of(text: str) -> float:
    try:
        return check_duration(catalogue.WARMUP["for"], text).value
    except ValueError:
        return 0.0


def read_objective(
    reader: Reader, raw: Any, train: Mapping[str, Any]
) -> tuple[str | None, str, str | None]:
    """Metric, `at` and goal of `objective`, None where they follow the data or the metric."""
    path: Path = ("objective",)
    raw = {"metric": raw} if isinstance(raw, str) else raw
    if raw is None:
        return None, "last", None
    if not isinstance(raw, Mapping):
        reader.fault(path, f"{show(raw)} is no objective", "write {metric: accuracy, at: last}")
        return None, "last", None
    reader.unknown(path, raw, ("metric", "goal", "at"))
    metric, goal = raw.get("metric"), raw.get("goal")
    own = tuple(train.get("metrics") or ())
    stepped = train.get("step") is not None and isinstance(metric, str)
    if metric is not None and not (stepped and METRIC_NAME.fullmatch(metric)):
        known = (*catalogue.METRICS, *own)
        meant = foreign_names.metric(metric)
        if metric not in known and (meant or foreign_names.goal(metric)):
            lines = foreign.objective(reader.document.data, own=False)
            reader.fault(
                (*path, "metric"), f"unknown metric {show(metric)}", reader.lines(path, lines)
            )
            return None, "last", None
        metric = reader.value((*path, "metric"), Parameter("text", choices=known), metric)
    if goal is not None:
        goal = read_goal(reader, (*path, "goal"), goal)
    usual = catalogue.METRICS.get(metric) if isinstance(metric, str) else None
    if usual is None and goal is None and (metric in own or stepped):
        message = f"'goal' is missing: is a large '{metric}' good, or a small one?"
        reader.fault(path, message, f"write {{metric: {metric}, goal: max}}, or goal: min")
    elif usual is not None and goal not in (None, usual[0]):
        reader.fault((*path, "goal"), f"the goal of {metric} is {usual[0]}: leave it out")
    elif metric is None and goal is not None:
        reader.fault((*path, "goal"), "a goal goes with a metric, which is missing")
    at = Parameter("text", "last", choices=("last", "best"))
    return metric, reader.value((*path, "at"), at, raw.get("at", "last")), goal


def read_goal(reader: Reader, path: Path, raw: Any) -> Any:
    """min or max."""
    meant = foreign_names.goal(raw)
    if meant is not None and raw not in ("min", "max"):
        hint = reader.lines(path, [Line(path, meant)])
        reader.fault(path, f"{show(raw)} is not one of min, max", hint)
        return meant
    return reader.value(path, Parameter("text", choices=("min", "max")), raw)


def read_settings(reader: Reader, key: str, raw: Any) -> dict[str, Any]:
    """The settings of a strategy, `random` or `bayes`, every default filled."""
    if raw is None:
        raw = {}
    if not isinstance(raw, Mapping):
        reader.fault((key,), f"{show(raw)} is no mapping", "write {trials: 40}")
        raw = {}
    reader.unknown((key,), raw, tuple(_SETTINGS[key]))
    return complete(_SETTINGS[key], read_arguments(reader, (key,), raw, _SETTINGS[key]))


# what they are made of


def read_arguments(
    reader: Reader,
    path: Path,
    raw: Mapping[str, Any],
    known: Mapping[str, Parameter],
    dimensions: list[Any] | None = None,
) -> dict[str, Any]:
    """The given arguments, checked; those that are ranges or choices go to `dimensions`,
    where that is a list. Without it the defaults of those not given are filled."""
    given: dict[str, Any] = {}
    for key, parameter in known.items():
        if key not in raw:
            dotted = ".".join(map(str, path))
            if parameter.default is REQUIRED and not reader.promised & {
                dotted,
                f"{dotted}.{key}",
            }:
                reader.fault(path, f"'{key}' is missing: it takes {parameter.allowed()}")
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
    reader: Reader,
    path: Path,
    raw: Any,
    table: Mapping[str, Entry],
    kind: str,
    dimensions: list[Any] | None = None,
) -> dict[str, Any]:
    """A built-in by its name, with its arguments."""
    given = raw
    raw = {"name": raw} if isinstance(raw, str) else raw
    known = suggest("", table)
    if not isinstance(raw, Mapping):
        reader.fault(path, f"{show(raw)} names no {kind}", known)
        return {}
    name = raw.get("name", MISSING)
    if name is MISSING:
        forms = "'name' (or 'class_path')" if kind in IMPORTABLE else "'name'"
        hint = reader.lines(path, _renamed(reader, kind, path, given))
        reader.fault(path, f"{forms} is missing", hint or known)
        return {}
    if not isinstance(name, str) or name not in table:
        hint = reader.lines((*path, "name"), _renamed(reader, kind, path, given))
        hint = hint or suggest(str(name), table)
        reader.fault((*path, "name"), f"unknown {kind} {show(name)}", hint)
        return {}
    entry = parameters_of(reader, kind, name)
    rate = kind == "optimizer" and dimensions is not None
    known_here = {**entry, "lr": catalogue.TRAIN["lr"]} if rate else entry
    bare = [key for key in raw if key != "name" and key not in known_here]
    for key in list(bare):
        meant = foreign.look_up(foreign_names.snake(key), kind)
        if nearest(key, known_here) is not None and meant is None:
            continue
        hint = reader.lines((*path, key), _renamed(reader, kind, path, given))
        hint = reader.advice((*path, key), raw[key]) if kind in ("model", "transform") else hint
        if hint:
            bare.remove(key)
            reader.fault((*path, key), f"{name} has no argument '{key}'", hint)
    for key in bare:
        close = nearest(key, known_here)
        hint = f"did you mean '{close}'?" if close else ""
        hint = suggest(key, known_here) if key == bare[-1] else hint
        reader.fault((*path, key), f"{name} has no argument '{key}'", hint)
    for pair in table[name].either:
        if all(raw.get(key) is not None for key in pair):
            reader.fault((*path, pair[1]), f"{pair[0]} and {pair[1]} exclude each other")
    if name == "sgd" and raw.get("nesterov") is True and raw.get("dampening") not in (None, 0):
        reader.fault((*path, "dampening"), "nesterov momentum takes no dampening: write 0")
    if rate and "lr" not in raw:
        known_here = entry
    given = read_arguments(reader, path, raw, known_here, dimensions)
    if kind == "schedule" and name == "plateau":
        metrics = [given.get("metric", entry["metric"].default)]
        searched_metric = dict(dimensions or ()).get("metric")
        if isinstance(searched_metric, Choice):
            metrics = [option.value for option in searched_metric.options]
        if "mode" not in dict(dimensions or ()):
            settle_mode(reader, (*path, "metric"), metrics, given)
    return {"name": name, **given}


def parameters_of(reader: Reader, kind: str, name: str) -> Mapping[str, Parameter]:
    """The parameters of a built-in, a plateau's metric being any that is measured."""
    table: Mapping[str, Entry] = (
        catalogue.TRANSFORMS if kind == "transform" else catalogue.GROUPS[kind]
    )
    known = table[name].parameters
    if kind != "schedule" or name != "plateau":
        return known
    own, stepped = _users_metrics(reader)
    names = () if stepped else (*catalogue.METRICS, *own)
    return {**known, "metric": replace(known["metric"], choices=names)}


def _users_metrics(reader: Reader) -> tuple[tuple[str, ...], bool]:
    """The names of the user's metrics, and whether a step measures others."""
    top = reader.document.data
    train = top.get("train") if isinstance(top, Mapping) else None
    if not isinstance(train, Mapping):
        return (), False
    metrics = train.get("metrics")
    own = tuple(map(str, metrics)) if isinstance(metrics, Mapping) else ()
    return own, train.get("step") is not None


def settle_mode(reader: Reader, path: Path, metrics: list[Any], plateau: dict[str, Any]) -> None:
    """Whether up or down is good of the metrics that a plateau follows: the catalogue says it
    of its own, `mode`, or the objective's goal, of the user's. It is put into `plateau`."""
    mode = plateau.get("mode")
    objective = reader.document.data.get("objective")
    aim = objective if isinstance(objective, Mapping) else {}
    for name in metrics:
        if not isinstance(name, str) or not reader.sound(".".join(map(str, path))):
            continue
        known = catalogue.METRICS.get(name)
        if known is not None and mode not in (None, known[0]):
            message = f"the goal of {name} is {known[0]}: leave mode out"
            reader.fault((*path[:-1], "mode"), message)
        if known is not None or plateau.get("mode") is not None:
            continue
        if metrics == [name] == [aim.get("metric")] and aim.get("goal") in ("min", "max"):
            plateau["mode"] = aim["goal"]
            continue
        hint = f"write {{name: plateau, metric: {name}, mode: max}}, or mode: min"
        message = f"'mode' is missing: is a large '{name}' good, or a small one?"
        reader.fault(path, message, hint)


def _renamed(reader: Reader, kind: str, path: Path, raw: Any) -> list[Line]:
    """What a schedule, an optimizer, a model or a transform of another tool is called here,
    with its arguments; nothing where it has no other name."""
    if kind == "schedule":
        found = foreign_names.schedule(raw, base_rate(reader))
        if found is None:
            return []
        value, warmup = found
        lines = [Line(path, value, foreign_names.left_out(raw, base_rate(reader)))]
        train = reader.document.data.get(path[0])
        if warmup and len(path) == 2 and path[0] != "search" and not train.get("warmup"):
            lines.append(Line((path[0], "warmup"), warmup))
        return lines
    if kind == "optimizer":
        value = foreign_names.optimizer(raw)
        if value is None:
            return []
        if path == ("train", "optimizer"):
            return foreign.optimizer(reader.document.data)
        _, given = foreign_names.split(raw)
        rates = [part for key, part in given.items() if foreign.means(key) == "train.lr"]
        if rates and path[0] == "search":
            value = {"name": value} if isinstance(value, str) else value
            return [Line(path, {**value, "lr": rates[0]})]
        return [Line(path, value)]
    rename = foreign_names.transform if kind == "transform" else foreign_names.model
    value = rename(raw)
    return [] if value is None else [Line(path, value)]


def base_rate(reader: Reader) -> Any:
    """The base rate, where the document fixes one."""
    return foreign.base_rate(reader.document.data)


def read_import(
    reader: Reader,
    path: Path,
    raw: Mapping[str, Any],
    others: tuple[str, ...],
    dimensions: list[Any] | None = None,
) -> dict[str, Any]:
    """Code by its class path, with its `init_args`; `others` are further keys it may have.
    Ranges among the arguments go to `dimensions`, where that is a list."""
    reader.unknown(path, raw, ("class_path", "init_args", *others))
    class_path = raw["class_path"]
    if is_class_path(reader, (*path, "class_path"), class_path):
        reader.imports.append(class_path)
    arguments = raw.get("init_args")
    if arguments is None:
        arguments = {}
    if not isinstance(arguments, Mapping):
        reader.fault((*path, "init_args"), f"{show(arguments)} is no mapping of arguments")
        arguments = {}
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
    return {"class_path": class_path, "init_args": given}


def is_class_path(reader: Reader, path: Path, raw: Any) -> bool:
    """Whether it has the form of a class path; a fault where it has not."""
    if isinstance(raw, str) and CLASS_PATH.fullmatch(raw):
        return True
    reader.fault(path, f"{show(raw)} is no dotted path such as my_package.nets.Net")
    return False


# search


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
            options = [foreign.option(name, part, reader.document.data) for part in meant]
            told = [foreign_names.left_out(part, base_rate(reader)) for part in meant]
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


def read_dimension(reader: Reader, path: Path, parameter: Parameter, raw: Any) -> Dimension | None:
    """A range or a list of values of a parameter; a fault, and None, where it is neither."""
    meant = read_foreign(raw)
    if parameter.kind == "any" and isinstance(raw, list) and parameter.scale != "log":
        # Of one's own parameter a text such as 1-3 may be what it says.
        meant = meant if ".." in str(raw[:1]) or "(" in str(raw[:1]) else None
    if meant is not None:
        _fault_foreign(reader, path, parameter, raw, meant)
        return None
    if isinstance(raw, list):
        if not raw:
            reader.fault(path, "an empty list leaves nothing to choose from")
            return None
        before = len(reader.faults)
        values = [reader.value((*path, index), parameter, part) for index, part in enumerate(raw)]
        if len(reader.faults) > before:
            return None
        return make_choice(reader, path, [Option(value) for value in values])
    if is_range(raw):
        return _read_range(reader, path, parameter, raw)
    reader.fault(
        path,
        f"{show(raw)} is one value",
        "a searched parameter is a list [1, 2, 3] or a range {min: 1, max: 3, points: 3}; "
        f"a fixed one belongs under {reader.fixed}",
    )
    return None


def _fault_foreign(reader: Reader, path: Path, parameter: Parameter, raw: Any, meant: Any) -> None:
    """A fault for a range or a list in the form of another tool, with lrsearch's own."""
    if isinstance(meant, Fixed):
        hint = f"a fixed one belongs under {reader.fixed}: {show(meant.value)}"
        if path[0] == "search" and len(path) == 2:
            place: Path = ("params",) if reader.own_kind else ("train",)
            if str(path[1]).split(".")[0] in ("model", "data"):
                place = ()
            name = tuple(str(path[1]).split("."))
            hint = reader.lines(path, [Line((*place, *name), meant.value)])
        reader.fault(path, f"{show(raw)} is one value", hint)
        return
    if parameter.kind == "duration":
        unit = parameter.units[0]
        meant = each(lambda part: lasting(part, unit) or part, meant)
    strange = [key for key in raw if key not in RANGE] if isinstance(raw, Mapping) else []
    hint = reader.lines(path, [Line(path, meant)])
    told = "unknown key" if strange else f"{show(raw)} is no range and no list"
    if not strange and isinstance(raw, Mapping):
        written = write(raw)
        told = f"{written if len(written) <= foreign.LONGEST else show(raw)} is no range"
    reader.fault((*path, strange[0]) if strange else path, told, hint)


def make_choice(reader: Reader, path: Path, options: list[Option], group: str = "") -> Choice:
    """A choice of options; a fault where one is listed twice, defaults of its `group` filled."""
    whole = [complete_group(group, option.value) for option in options]
    for index, option in enumerate(options):
        for number, earlier in enumerate(options[:index]):
            if same(whole[index], whole[number]) and option.space == earlier.space:
                reader.fault((*path, index), f"{show(option.value)} is listed twice")
    return Choice(tuple(options))


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


def _read_range(
    reader: Reader, path: Path, parameter: Parameter, raw: Mapping[str, Any]
) -> Dimension | None:
    before = len(reader.faults)
    reader.unknown(path, raw, RANGE)
    for end in ("min", "max"):
        if end not in raw:
            reader.fault(path, f"'{end}' is missing from the range")
    if parameter.kind not in ("float", "int", "duration", "any"):
        reader.fault(path, f"no range of these: list the values; each is {parameter.allowed()}")
    scale = Parameter("text", parameter.scale, choices=("linear", "log"))
    log = reader.value((*path, "scale"), scale, raw.get("scale", parameter.scale)) == "log"
    points = raw.get("points")
    if len(reader.faults) > before:
        return None
    if points is not None:
        points = reader.value((*path, "points"), _COUNT, points)
    kind = parameter.kind
    if kind == "any":
        whole = type(raw["min"]) is int and type(raw["max"]) is int
        kind = "int" if whole else "float"
        parameter = Parameter(kind, scale=parameter.scale)
    unit = ""
    ends: list[Any] = []
    for end in ("min", "max"):
        try:
            if kind == "duration":
                length = check_duration(parameter, raw[end])
                if unit and length.unit != unit:
                    raise ValueError(f"{show(raw[end])} is not in the unit of min ({unit})")
                unit = length.unit
                ends.append(length.value)
            else:
                ends.append(check_value(parameter, raw[end]))
        except Unfit as error:
            place = (*path, end)
            hint = reader.lines(place, [Line(place, error.meant, error.remark)])
            reader.fault(place, str(error), hint)
        except ValueError as error:
            reader.fault((*path, end), str(error))
    if len(ends) < 2:
        return None
    low, high = ends
    if low > high:
        reader.fault((*path, "min"), f"min {show(raw['min'])} is above max {show(raw['max'])}")
        return None
    if parameter.every > 1:
        reader.fault(
            path,
            f"between its ends not all are allowed: list the values; {parameter.allowed()}",
        )
        return None
    if log and low <= 0 and parameter.low is None and "scale" not in raw:
        # Of a name alone nobody knows that 0 is out of place.
        reader.notes.append(
            f"{path[-1]} is searched on a linear scale, since a log scale has no "
            f"{raw['min']}: for one start above 0"
        )
        log = False
    if log and low <= 0:
        reader.fault(
            (*path, "min"),
            f"min {low:g} has no place on a log scale",
            "start above 0, write scale: linear, or list the values",
        )
        return None
    if len(reader.faults) > before:
        return None
    if not log and "scale" not in raw and low > 0 and high / low >= WIDE:
        line = write({**raw, "scale": "log"})
        reader.notes.append(
            f"{path[-1]} is searched on a linear scale, of which nine tenths lie above "
            f"{write(raw['max'])} / 10: for even parts write {path[-1]}: {line}"
        )
    if kind == "int":
        return Int(low, high, log, points)
    return Float(low, high, log, points, unit)


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


def note_peaks(reader: Reader, train: Mapping[str, Any], space: Space) -> None:
    """Notes on schedules that rise by themselves, after a warmup."""
    ranges = dict(space.dimensions)
    warm = train.get("warmup") is not None or any(p.split(".")[0] == "warmup" for p in ranges)
    schedule = ranges.get("schedule")
    named = [train.get("schedule")]
    if isinstance(schedule, Choice):
        named = [option.value for option in schedule.options]
    rising = {
        str(part.get("name")): None
        for part in named
        if isinstance(part, Mapping) and part.get("name") in RISING
    }
    if warm:
        reader.notes += [
            f"{name} rises by itself: after a warmup it peaks a second time" for name in rising
        ]


def check_one_rate(reader: Reader, train: Mapping[str, Any], space: Space) -> None:
    """Prodigy estimates one size of steps for all parameters, and refuses several rates."""
    ranges = dict(space.dimensions)
    chosen = ranges.get("optimizer")
    named = [train.get("optimizer")]
    if isinstance(chosen, Choice):
        named = [option.value for option in chosen.options]
    if not any(isinstance(each, Mapping) and each.get("name") == "prodigy" for each in named):
        return
    message = "prodigy has one rate for all parameters"
    if "layer_decay" in ranges:
        reader.fault(reader.search_path("layer_decay"), message)
    elif train.get("layer_decay") is not None:
        reader.fault(("train", "layer_decay"), message)
    searched_groups = ranges.get("groups")
    groups, place = [train.get("groups")], ("train", "groups")
    if isinstance(searched_groups, Choice):
        place = reader.search_path("groups")  # type: ignore[assignment]
        groups = [option.value for option in searched_groups.options]
    rates = [
        part.get("lr", 1)
        for each in groups
        if isinstance(each, list)
        for part in each
        if isinstance(part, Mapping)
    ]
    if any(rate not in (0, 1) for rate in rates):
        reader.fault(place, message, "a group's lr may be 0 there, or left out")


# what needs several parts


def check_task(
    reader: Reader, data: Mapping[str, Any], train: Mapping[str, Any], metric: Any, space: Space
) -> None:
    """Metric and losses against the task, where the catalogue knows it."""
    source = catalogue.DATA.get(data.get("name", ""))
    task = data.get("task") or (source.task if source else None)
    if train.get("step") is not None:
        task = "own"
    if task not in catalogue.TASKS:
        return
    for path, message, hint in task_faults(train, metric, space, task):
        if reader.sound(".".join(map(str, path))):
            reader.fault(path, message, hint)


def check_sizes(
    reader: Reader, data: Mapping[str, Any], train: Mapping[str, Any], space: Space
) -> None:
    """Warmups and batches against the budget and the data, where the catalogue knows them."""
    source = catalogue.DATA.get(data.get("name", ""))
    if source is None or source.samples is None or not reader.sound("data") or not train:
        return
    validation = data["validation"]
    folds = validation["folds"] if isinstance(validation, Mapping) else None
    if folds and folds > source.samples:
        message = f"{folds} folds of {source.samples} samples"
        reader.fault(("data", "validation", "folds"), message)
        return
    sizes, held_out, _ = catalogue.split_sizes(
        source.samples, folds or validation, data["test"] or 0.0
    )
    samples = min(sizes)
    if samples < 1 or held_out < 1:
        use = "train on" if samples < 1 else "validate with"
        message = f"of {source.samples} samples none is left to {use}"
        reader.fault(("data", "validation"), message)
        return
    ranges = dict(space.dimensions)
    batches: list[tuple[Path, Any]] = [(("train", "batch_size"), train["batch_size"])]
    if "batch_size" in ranges:
        place = reader.search_path("batch_size")
        batches = [(place, value) for value in _extremes(ranges["batch_size"])]
    for place, batch in batches:
        if reader.sound(".".join(map(str, place))) and batch > samples:
            message = f"a batch of {batch} is larger than the training set ({samples} samples)"
            reader.fault(place, message)


def check_schedules(reader: Reader, spec: Spec) -> None:
    """Warmups and the lengths of schedules against the budget, as far as the catalogue knows
    the data, or where all lengths are in units of the budget."""
    told: set[tuple[str, str]] = set()
    for point in _extreme_points(spec.space):
        train = resolve(spec, point, spec.task)["train"]
        samples = min(spec.train_samples) if spec.train_samples else _any_samples(train)
        if samples is None or train["batch_size"] > samples:
            continue
        found = _misfit(train, samples)
        if found is None:
            continue
        head, argument, message = found
        place = _argument_path(reader, spec.space, point, head, argument)
        key = ".".join(map(str, place)), message.partition(" ")[0]
        if key not in told:
            told.add(key)
            reader.fault(place, message)


def check_models(reader: Reader, spec: Spec) -> None:
    """Built-in models against the task, where the catalogue knows it, and their arguments
    against each other."""
    for point in _model_points(spec.space):
        model = resolve(spec, point, spec.task)["model"]
        if "class_path" in model:
            continue
        task = spec.data_task
        refusal = catalogue.model_refusal(model["name"], task) if task else None
        found = ("name", *refusal) if refusal else catalogue.model_fault(model)
        if found is None:
            continue
        argument, message, hint = found
        if argument == "width" and "model.width" not in dict(spec.space.dimensions):
            argument = "heads" if "model.heads" in dict(spec.space.dimensions) else argument
        place = _argument_path(reader, spec.space, point, "model", argument)
        if reader.sound(".".join(map(str, place))):
            reader.fault(place, message, hint)


def _argument_path(
    reader: Reader, space: Space, point: Mapping[str, Any], head: str, name: str
) -> Path:
    """Where in the document the argument of a schedule or warmup at a point stands."""
    ranges = dict(space.dimensions)
    chosen = ranges.get(head)
    if isinstance(chosen, Choice):
        numbers = encode(space, point) or {}
        return (*reader.search_path(head), int(numbers.get(head, 0)), name)
    if f"{head}.{name}" in ranges:
        return reader.search_path(f"{head}.{name}")
    return (head, name) if head == "model" else ("train", head, name)


MOST_CORNERS = 4096
"""Combinations of extremes that are looked at, shared out over the schedules and warmups; of each
at least `FEWEST_CORNERS`, as far as there are."""

FEWEST_CORNERS = 16


def _extreme_points(space: Space) -> Iterator[dict[str, Any]]:
    """Points with every schedule and warmup, their arguments, batch sizes and budgets at their
    ends, in all combinations as far as those are not too many."""
    ranges = dict(space.dimensions)
    heads = ("schedule", "warmup", "batch_size", "budget")
    counts = {
        name: len(part.options) if isinstance(part := ranges.get(name), Choice) else 1
        for name in ("schedule", "warmup")
    }
    most = max(FEWEST_CORNERS, MOST_CORNERS // math.prod(counts.values()))
    for chosen in itertools.product(*(range(count) for count in counts.values())):
        index = dict(zip(counts, chosen, strict=True))
        ends: dict[str, list[float]] = {}
        for name, part in parameters(space):
            first = name.split(".")[0]
            head, bracket, rest = first.partition("[")
            if head not in heads or name in counts:
                continue
            if not bracket or int(rest.partition("]")[0]) == index.get(head):
                ends[name] = _ends(part)
        corners = itertools.product(*ends.values())
        for corner in itertools.islice(corners, most):
            numbers = dict(zip(ends, corner, strict=True)) | index
            yield build(
                space,
                lambda name, part, numbers=numbers: (  # type: ignore[misc]
                    numbers.get(name, 0 if isinstance(part, Choice) else part.low)
                ),
            )


def _ends(dimension: Dimension) -> list[float]:
    """The raw numbers of a dimension's extremes; of a choice that has no order, of every option."""
    if not isinstance(dimension, Choice):
        return list(dict.fromkeys((dimension.low, dimension.high)))
    places = range(len(dimension.options))
    if not dimension.ordered:
        return list(places)
    by_value = sorted(places, key=lambda place: dimension.options[place].value)
    return list(dict.fromkeys((by_value[0], by_value[-1])))


MAX_MODELS = 1000


def _model_points(space: Space) -> Iterator[dict[str, Any]]:
    """Points with every combination of what is searched of the model, up to `MAX_MODELS`; of a
    range its ends, and one of the many between."""
    values: dict[str, tuple[float, ...]] = {}
    for name, part in parameters(space):
        if name.split(".")[0].split("[")[0] == "model":
            if isinstance(part, Choice):
                values[name] = tuple(range(len(part.options)))
            else:
                values[name] = (part.low, part.high, min(part.low + 1, part.high))
    for numbers in itertools.islice(itertools.product(*values.values()), MAX_MODELS):
        chosen = dict(zip(values, numbers, strict=True))

        def choose(name: str, part: Dimension, chosen: Mapping[str, float] = chosen) -> float:
            return chosen.get(name, 0 if isinstance(part, Choice) else part.low)

        yield build(space, choose)


def _any_samples(train: Mapping[str, Any]) -> int | None:
    """A number of samples to measure lengths by where nobody knows it: it does not matter while
    all are in the budget's unit or shares of it. None where some are not."""
    units = {each.unit for each in find_durations((train["schedule"], train["warmup"]))}
    return (
        10_000 * train["batch_size"]
        if units <= {parse_duration(train["budget"]).unit, "dur"}
        else None
    )


def _misfit(train: Mapping[str, Any], samples: int) -> tuple[str, str, str] | None:
    """What of a schedule or warmup does not fit its budget: schedule or warmup, the argument, and
    the message."""
    size: dict[str, Any] = {"samples": samples, "batch_size": train["batch_size"]}
    budget = budget_steps(parse_duration(train["budget"]), **size)
    schedule = train["schedule"]
    warmup = train["warmup"]
    try:
        warmup_steps(warmup, budget=budget, **size)
    except ValueError as error:
        return "warmup", "for", str(error)
    if warmup is not None and warmup["shape"] == "exponential" and warmup["start"] == 0:
        return "warmup", "start", "an exponential warmup cannot start at 0"
    checked = any(find_durations(schedule)) or schedule.get("name") in ("cosine_restarts", "tanh")
    if "class_path" in schedule or not checked:
        return None
    import numpy as np

    from lrsearch.schedules import ScheduleError, multipliers

    try:
        multipliers(schedule, train["warmup"], budget=budget, steps=np.empty(0), **size)
    except ScheduleError as error:
        return "schedule", error.argument, str(error)
    return None


def task_faults(
    train: Mapping[str, Any], metric: str | None, space: Space, task: str
) -> list[tuple[Path, str, str]]:
    """What of a spec belongs to another task: (path, message, hint) each. For data that only
    loading can tell the task of, it is called again then."""
    found: list[tuple[Path, str, str]] = []
    metrics = [name for name, (_, tasks, _) in catalogue.METRICS.items() if task in tasks]
    losses = [name for name, (tasks, _) in catalogue.LOSSES.items() if task in tasks]
    measured = [*metrics, *(train.get("metrics") or ())]
    stepped = train.get("step") is not None
    if metric is not None and metric not in measured and not stepped:
        message = f"'{metric}' is no metric of {catalogue.title(task)}"
        found.append((("objective", "metric"), message, suggest("", measured)))
    ranges = dict(space.dimensions)
    values: list[tuple[Path, Any]] = [(("train", "loss"), train.get("loss"))]
    searched_losses = ranges.get("loss")
    if isinstance(searched_losses, Choice):
        values = [(("search", "loss"), option.value) for option in searched_losses.options]
    for place, loss in values:
        if isinstance(loss, str) and loss not in losses:
            message = f"'{loss}' is no loss of {catalogue.title(task)}"
            found.append((place, message, suggest("", losses)))
    schedules: list[tuple[Path, Any]] = [(("train", "schedule"), train.get("schedule"))]
    chosen = ranges.get("schedule")
    if isinstance(chosen, Choice):
        schedules = [
            (("search", "schedule", index), option.value)
            for index, option in enumerate(chosen.options)
        ]
    named: list[tuple[Path, Any]] = [
        ((*place, "metric"), schedule["metric"])
        for place, schedule in schedules
        if isinstance(schedule, Mapping) and "metric" in schedule
    ]
    searched_metrics: dict[Path, Any] = {
        ("search", "schedule.metric"): ranges.get("schedule.metric")
    }
    if isinstance(chosen, Choice):
        searched_metrics |= {
            ("search", "schedule", index, "metric"): dict(option.space.dimensions).get("metric")
            for index, option in enumerate(chosen.options)
        }
    for place, dimension in searched_metrics.items():
        if isinstance(dimension, Choice):
            named += [(place, option.value) for option in dimension.options]
    for place, name in named:
        if name not in measured and not (stepped and name not in catalogue.METRICS):
            message = f"'{name}' is no metric of {catalogue.title(task)}"
            found.append((place, message, suggest("", measured)))
    coded = isinstance(train.get("loss"), Mapping)
    if (task in ("regression", "own") or coded) and (
        train.get("label_smoothing") or "label_smoothing" in ranges
    ):
        top = "search" if "label_smoothing" in ranges else "train"
        message, hint = "label smoothing is for classification", ""
        if coded:
            message = "label smoothing is for the loss cross_entropy, not for one of your own"
        if coded and train["loss"]["class_path"] == "torch.nn.CrossEntropyLoss":
            hint = "write loss.init_args.label_smoothing"
        found.append(((top, "label_smoothing"), message, hint))
    return found


def is_range(raw: Any) -> bool:
    """Whether a value is written as a range."""
    return isinstance(raw, Mapping) and ("min" in raw or "max" in raw)


def searched(parameter: Parameter, raw: Any) -> bool:
    """Whether an option's argument is a range or a choice rather than one value."""
    if is_range(raw):
        return True
    if not isinstance(raw, list):
        return False
    if parameter.kind not in _LISTS:
        return True
    parts = [part for part in raw if isinstance(part, list)]
    return bool(parts) and (
        parameter.kind != "points" or all(isinstance(each, list) for part in parts for each in part)
    )


_SCHEDULERS = ("torch.optim.lr_scheduler.", "keras.", "tensorflow.", "transformers.", "timm.")


def _is_scheduler(raw: Mapping[str, Any]) -> bool:
    """Whether a schedule's class path is that of another tool's scheduler."""
    path = raw.get("class_path")
    known = isinstance(path, str) and path.startswith(_SCHEDULERS)
    return known and foreign_names.schedule(path) is not None


def _own_rate(option: Option) -> bool:
    named = isinstance(option.value, Mapping) and "lr" in option.value
    return named or any(path == "lr" for path, _ in option.space.dimensions)


def _extremes(dimension: Dimension) -> list[Any]:
    if isinstance(dimension, Choice):
        return [option.value for option in dimension.options]
    return [dimension.high]
