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
from lrsearch.duration import budget_steps, parse_time, warmup_steps
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
    "save",
)
_GOES_ELSEWHERE = {
    "metrics": "metrics of your own stand under train",
    "verify": "lrsearch export --verify trains the best again",
}
"""What a key of a command or a loop is for built-in trainings."""
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_CLASS_PATH = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+")
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
SAVE = "5m"
"""How often a training under way is saved, where the spec says nothing."""
FIRST_SEED = 1
"""Of a command or a loop, where the spec says nothing."""
_LISTS = ("ints", "durations", "points")
"""Kinds whose values are lists themselves."""
_MISSING: Any = object()
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
_METRIC = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,31}")


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
    reader = _Reader(document, folder)
    reader.arithmetic, reader.stored = arithmetic, stored
    spec = reader.spec(text)
    if reader.faults or spec is None:
        raise SpecError(reader.faults)
    return spec


def validate_schedule(document: Document) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """The schedule and the warmup of a document that has them under `train`, every argument
    filled. Raises SpecError with all their faults."""
    reader = _Reader(document, FilePath())
    train = document.data["train"]
    schedule = reader.named_or_imported("schedule", ("train", "schedule"), train["schedule"])
    warmup = reader.warmup(("train", "warmup"), train.get("warmup"))
    if reader.faults:
        raise SpecError(reader.faults)
    return schedule, warmup


class _Reader:
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

    def spec(self, text: str) -> Spec | None:
        top = self.document.data
        if top is None:
            self.fault((), "the file is empty: a spec has at least data, model and train")
            return None
        if not isinstance(top, Mapping):
            kind = "a list" if isinstance(top, list) else show(top)
            self.fault((), f"a spec is a mapping (key: value), this is {kind}")
            return None
        words = [foreign.look_up(foreign_names.snake(str(key))) or ("", "") for key in top]
        self.own_kind = is_own(top) or any(target in KINDS for target, _ in words)
        self.unknown((), top, TOP_LEVEL)
        if is_own(top):
            return self.own(top, text)
        if self.own_kind:  # By a foreign word: there is no training to read more of.
            read_foreign_own(self, top)
            self.timeout(top.get("timeout"))
            return None
        for key in ONLY_OWN:
            if key in top:
                hint = _GOES_ELSEWHERE.get(key, "")
                message = f"'{key}' goes with {' or '.join(KINDS)}, which is missing"
                self.fault((key,), message, hint)
        search = top.get("search")
        searched_model = isinstance(search, Mapping) and isinstance(search.get("model"), list)
        for key in BUILT_IN:
            there = key in top or (key == "model" and searched_model)
            if not there and not self.is_promised(key):
                self.fault((), f"'{key}' is missing")
        data = self.data(top.get("data", _MISSING))
        model = self.model(("model",), top.get("model", _MISSING))
        train = self.train(top.get("train", _MISSING))
        metric, at, goal = self.objective(top.get("objective"), train)
        space = self.search(top.get("search"), data, model, train)
        changed = data.get("transforms") or "data.transforms" in dict(space.dimensions)
        if train.get("step") is not None and changed:
            place = ("data", "transforms")
            if not data.get("transforms"):
                place = self.search_path("data.transforms")  # type: ignore[assignment]
            self.fault(place, "a step is given whole samples: it augments them itself")
        self.note_peaks(train, space)
        self.one_rate(train, space)
        self.notes += unusual_rates(train, space)
        self.task(data, train, metric, space)
        self.lengths(data, train, space)
        spec = self.finish(
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
            self.schedules(spec)
            self.models(spec)
        return spec

    def own(self, top: Mapping[str, Any], text: str) -> Spec | None:
        """A spec with `command` or `loop`."""
        self.fixed = "params"
        own, params, metric, at, space = read_own(self, top)
        return self.finish(
            top, text, data={}, model={}, train=params, own=own, metric=metric, at=at, space=space
        )

    def finish(self, top: Mapping[str, Any], text: str, **parts: Any) -> Spec | None:
        """The spec, with what every kind has; None where anything is at fault."""
        name = self.name(top)
        settings = {key: self.settings(key, top.get(key)) for key in _SETTINGS}
        plain = {
            key: self.value((key,), parameter, top[key]) if key in top else parameter.default
            for key, parameter in _PLAIN.items()
        }
        save = self.save(top)
        if parts.get("own") is not None:
            self.own_seed(top, plain)
        timeout = self.timeout(top.get("timeout"))
        if self.faults:
            return None
        return Spec(
            name=name,
            **parts,
            random=RandomSettings(**settings["random"]),
            bayes=BayesSettings(**settings["bayes"]),
            **plain,
            save=save,
            timeout=timeout,
            notes=tuple(self.notes),
            imports=tuple(dict.fromkeys(self.imports)),
            folder=self.folder,
            source=self.document.source,
            text=text,
            document=top,
        )

    def save(self, top: Mapping[str, Any]) -> float | None:
        """The seconds between two saved states of a training, None for never."""
        given = top.get("save", SAVE)
        if given is None:
            return None
        if "save" in top and is_own(top):
            kind = next(each for each in KINDS if each in top)
            hint = f"what a {kind} trains only its own code can save: leave it out"
            self.fault(("save",), "'save' goes with data, model and train", hint)
            return None
        try:
            return parse_time(given, zero=True)
        except ValueError as error:
            hint = f"{error}; 0s saves at every evaluation, null never"
            self.fault(("save",), f"{show(given)} is no time", hint)
            return None

    def timeout(self, raw: Any) -> float | None:
        """The seconds that a trial may take."""
        if raw is None:
            return None
        try:
            return parse_time(raw)
        except ValueError as error:
            counted = isinstance(raw, int | float) and not isinstance(raw, bool) and raw > 0
            hint = f"write timeout: {raw:g}s" if counted else str(error)
            self.fault(("timeout",), f"{show(raw)} is no time", hint)
            return None

    def own_seed(self, top: Mapping[str, Any], plain: dict[str, Any]) -> None:
        """The first seed of an own training, which counts them from 1: scripts take 0 for none."""
        if "seed" not in top:
            plain["seed"] = FIRST_SEED
        elif plain["seed"] == 0:
            self.notes.append(
                "seed 0 is no seed to scripts that ask 'if seed:': leave it out, and seeds count "
                f"from {FIRST_SEED}"
            )

    # parts

    def name(self, top: Mapping[str, Any]) -> str:
        stem = FilePath(self.document.source).stem
        name = top.get("name", stem)
        if isinstance(name, str) and NAME.fullmatch(name):
            return name
        rule = "a run's name starts with a letter or digit and has at most 64 of A-Z a-z 0-9 . _ -"
        if "name" not in top:
            self.fault(
                (), f"'name' is missing, and the file's own name '{stem}' cannot serve", rule
            )
        else:
            quote = "; quote it" if isinstance(name, int | float) else ""
            self.fault(("name",), f"{show(name)} cannot name a run{quote}", rule)
        return ""

    def data(self, raw: Any) -> dict[str, Any]:
        if raw is _MISSING:
            return {}
        path: Path = ("data",)
        given = raw
        raw = {"name": raw} if isinstance(raw, str) else raw
        if not isinstance(raw, Mapping):
            self.fault(path, f"{show(raw)} names no data", suggest("", catalogue.DATA))
            return {}
        common = ("validation", "test", *catalogue.SPLITTING, "transforms")
        source: catalogue.Source | None = None
        if "class_path" in raw:
            own = self.import_path(path, raw, (*catalogue.IMPORTED, *common))
            own |= self.arguments(path, raw, catalogue.IMPORTED)
        else:
            name = raw.get("name", _MISSING)
            meant = foreign_names.data(given)
            if name is _MISSING:
                hint = self.lines(path, [Line(path, meant)] if meant else None)
                hint = hint or suggest("", catalogue.DATA)
                self.fault(path, "'name' (or 'class_path') is missing", hint)
                return {}
            source = catalogue.DATA.get(name) if isinstance(name, str) else None
            if source is None:
                hint = self.lines((*path, "name"), [Line(path, meant)] if meant else None)
                hint = hint or suggest(str(name), catalogue.DATA)
                self.fault((*path, "name"), f"unknown data {show(name)}", hint)
                return {}
            self.unknown(path, raw, ("name", *source.parameters, *common))
            own = {"name": name, **self.arguments(path, raw, source.parameters)}
            for key, parameter in source.parameters.items():
                if parameter.kind == "path" and isinstance(own.get(key), str):
                    own[key] = self.file((*path, key), own[key])
            if "target" in source.parameters:
                self.columns(path, own)
        own["validation"] = self.open_validation(raw, source)
        own["test"] = self.test(raw.get("test"), source)
        own |= self.arguments(path, raw, catalogue.splitting(source))
        own["transforms"] = self.transforms((*path, "transforms"), raw.get("transforms"), source)
        if source is not None and source.ordered:
            self.ordered(path, own)
        validation, test = own["validation"], own["test"]
        if validation == "source" == test and source is not None and not source.own_test:
            self.fault((*path, "test"), "the source's own split is the validation split already")
        if isinstance(validation, float) and isinstance(test, float) and validation + test >= 1:
            self.fault(
                (*path, "test"),
                f"validation {validation:g} and test {test:g} leave nothing to train on",
            )
        return own

    def transforms(
        self, path: Path, raw: Any, source: catalogue.Source | None
    ) -> list[dict[str, Any]]:
        """`data.transforms`, each with its arguments filled."""
        if raw is None:
            return []
        if not isinstance(raw, list):
            hint = "it takes a list, such as [{name: flip, p: 0.5}]"
            self.fault(path, f"{show(raw)} is no list of transforms", hint)
            return []
        found = []
        for index, part in enumerate(raw):
            place = (*path, index)
            if isinstance(part, Mapping) and "class_path" in part:
                found.append(self.import_path(place, part, ()))
                continue
            found.append(self.named(place, part, catalogue.TRANSFORMS, "transform"))
            if found[-1] and source is not None and source.ordered:
                message = f"{found[-1]['name']} takes numbers, and text is characters"
                self.fault(place, message, "one of your own may: {class_path: my_package.augment}")
        return found

    def transform_lists(self, path: Path, raw: Any, data: Mapping[str, Any]) -> Dimension | None:
        """A choice of whole lists of transforms."""
        if not isinstance(raw, list) or any(isinstance(part, str | Mapping) for part in raw):
            hint = "it is searched by a list of lists, such as [[], [flip]]"
            self.fault(path, f"{show(raw)} is no list of lists of transforms", hint)
            return None
        if not raw:
            self.fault(path, "an empty list leaves nothing to choose from")
            return None
        source = catalogue.DATA.get(data.get("name", ""))
        before = len(self.faults)
        lists = [self.transforms((*path, index), part, source) for index, part in enumerate(raw)]
        if len(self.faults) > before:
            return None
        return self.choice(path, [Option(part) for part in lists])

    def columns(self, path: Path, own: Mapping[str, Any]) -> None:
        """What a table's keys say of one column excludes what they say of another."""
        if not self.sound("data.target", "data.drop", "data.categorical"):
            return
        target, drop, categorical = own.get("target"), own["drop"], own["categorical"]
        if target in drop:
            self.fault((*path, "drop", drop.index(target)), f"{show(target)} is the target")
        for index, name in enumerate(categorical):
            place = (*path, "categorical", index)
            if name == target:
                hint = "to predict its values as classes, write task: classification"
                self.fault(place, f"{show(name)} is the target", hint)
            elif name in drop:
                self.fault(place, f"{show(name)} is dropped")

    def ordered(self, path: Path, own: Mapping[str, Any]) -> None:
        """What says nothing of data that are split where they stand."""
        if own["standardize"]:
            self.fault((*path, "standardize"), "characters have no mean: nothing to standardize")
        if own["split_seed"]:
            self.fault((*path, "split_seed"), "the splits of text are not drawn: leave it out")

    def file(self, path: Path, raw: str) -> str:
        try:
            return str((self.folder / FilePath(raw).expanduser()).resolve())
        except (OSError, RuntimeError, ValueError) as error:  # ~nobody, a NUL, a loop of links
            self.fault(path, f"{show(raw)} cannot be the path of a file: {error}")
            return raw

    def open_validation(self, raw: Mapping[str, Any], source: catalogue.Source | None) -> Any:
        """What validates; None where it is a part of the source's, if that brings one."""
        if "validation" in raw:
            return self.validation(raw["validation"], source)
        return None if source is None or source.own_split else 0.2

    def validation(self, raw: Any, source: catalogue.Source | None) -> Any:
        path: Path = ("data", "validation")
        if isinstance(raw, Mapping):
            if source is not None and source.ordered:
                message = "text is held out in one piece, not by folds: its neighbours would leak"
                self.fault(path, message, "it takes a share such as 0.1")
                return 0.2
            self.unknown(path, raw, ("folds",))
            if "folds" not in raw:
                self.fault(path, "'folds' is missing")
                return 0.2
            return {"folds": self.value((*path, "folds"), Parameter("int", low=2), raw["folds"])}
        return self.share(path, raw, source, "a share such as 0.2, {folds: 5}, or source")

    def test(self, raw: Any, source: catalogue.Source | None) -> Any:
        if raw is None:
            return None
        return self.share(("data", "test"), raw, source, "a share such as 0.1, source, or null")

    def share(self, path: Path, raw: Any, source: catalogue.Source | None, allowed: str) -> Any:
        if raw == "source":
            if source is not None and not source.own_split:
                allowed = "a share such as 0.1" if source.ordered else allowed
                self.fault(path, "this data source has no split of its own", f"it takes {allowed}")
            return raw
        number = isinstance(raw, int | float) and not isinstance(raw, bool)
        if not number or not 0 < raw < 1:
            self.fault(path, f"{show(raw)} is no share of the data", f"it takes {allowed}")
            return 0.2
        return float(raw)

    def model(self, path: Path, raw: Any, dimensions: list[Any] | None = None) -> dict[str, Any]:
        if raw is _MISSING:
            return {}
        return self.named_or_imported("model", path, raw, dimensions)

    def named_or_imported(
        self, group: str, path: Path, raw: Any, dimensions: list[Any] | None = None
    ) -> dict[str, Any]:
        """A built-in by its name, or code by its class path where the group takes any."""
        if group == "schedule" and isinstance(raw, Mapping) and _is_scheduler(raw):
            hint = self.lines((*path, "class_path"), self.renamed(group, path, raw))
            message = f"{raw['class_path']} changes an optimizer: code here gives a multiplier"
            self.fault((*path, "class_path"), message, hint)
            return {}
        if group in IMPORTABLE and isinstance(raw, Mapping) and "class_path" in raw:
            rate = group == "optimizer" and dimensions is not None
            found = self.import_path(path, raw, ("lr",) if rate else (), dimensions)
            if rate and "lr" in raw:
                known = {"lr": catalogue.TRAIN["lr"]}
                found |= self.arguments(path, {"lr": raw["lr"]}, known, dimensions)
            if group == "optimizer" and "lr" in found["init_args"]:
                hint = "the learning rate is train.lr"
                self.fault((*path, "init_args", "lr"), "it is given by the schedule", hint)
            return found
        return self.named(path, raw, catalogue.GROUPS[group], group, dimensions)

    def train(self, raw: Any) -> dict[str, Any]:
        if raw is _MISSING:
            return {}
        path: Path = ("train",)
        if not isinstance(raw, Mapping):
            self.fault(path, f"{show(raw)} is no mapping of training values")
            return {}
        self.unknown(path, raw, (*catalogue.TRAIN, "schedule", "warmup", "optimizer"))
        train: dict[str, Any] = {}
        for key, parameter in catalogue.TRAIN.items():
            if key == "loss" and isinstance(raw.get(key), Mapping | str):
                train[key] = self.loss((*path, key), parameter, raw[key])
            elif key == "step":
                train[key] = self.code((*path, key), raw.get(key))
            elif key == "metrics":
                train[key] = self.metrics((*path, key), raw.get(key))
            elif key == "precision" and (meant := foreign.precision(raw.get(key))):
                hint = self.lines((*path, key), [Line((*path, key), meant)])
                self.fault((*path, key), f"{show(raw[key])} is not {parameter.allowed()}", hint)
            elif key in raw:
                train[key] = self.value((*path, key), parameter, raw[key])
            elif parameter.default is not REQUIRED:
                train[key] = parameter.default
        train["schedule"] = self.named_or_imported(
            "schedule", (*path, "schedule"), raw.get("schedule", DEFAULTS["schedule"])
        )
        train["warmup"] = self.warmup((*path, "warmup"), raw.get("warmup"))
        train["optimizer"] = self.named_or_imported(
            "optimizer", (*path, "optimizer"), raw.get("optimizer", DEFAULTS["optimizer"])
        )
        if train.get("step") is not None:
            self.beside_step(path, raw)
        return train

    def loss(self, path: Path, parameter: Parameter, raw: Any) -> Any:
        """A built-in by its name, or code."""
        name = raw.get("name") if isinstance(raw, Mapping) else None
        if isinstance(name, str) and name in catalogue.LOSSES:
            return self.named_loss(path, raw)
        abbreviated = isinstance(raw, str) and raw.startswith("nn.")
        if not isinstance(raw, str) or (_CLASS_PATH.fullmatch(raw) and not abbreviated):
            return self.code(path, raw)
        try:
            return check_value(parameter, raw)
        except ValueError as error:
            meant = foreign_names.loss(raw)
            hint = self.lines(path, [Line(path, meant)] if meant else None)
            hint = hint or "one of your own is named by its class path, such as my_package.focal"
            if _BINARY.fullmatch(raw):
                hint = (
                    "leave the loss out: of two classes, a model that gives one logit a sample "
                    "has binary cross entropy by default; or write torch.nn.BCEWithLogitsLoss"
                )
            self.fault(path, str(error), hint)
            return raw

    def named_loss(self, path: Path, raw: Mapping[str, Any]) -> Any:
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
            self.fault((*path, key), f"{name} has no argument '{key}'", hint)
        return name

    def code(self, path: Path, raw: Any) -> dict[str, Any] | None:
        """Code by its class path, with or without arguments."""
        if raw is None:
            return None
        raw = {"class_path": raw} if isinstance(raw, str) else raw
        if not isinstance(raw, Mapping) or "class_path" not in raw:
            known = f"one of {', '.join(catalogue.LOSSES)}, or " if path[-1] == "loss" else ""
            hint = f"it takes {known}{catalogue.TRAIN['step'].allowed().removesuffix(', or null')}"
            self.fault(path, f"{show(raw)} names no code", hint)
            return None
        return self.import_path(path, raw, ())

    def metrics(self, path: Path, raw: Any) -> dict[str, Any] | None:
        if raw is None:
            return None
        example = "write {top3: {class_path: my_package.top3}}"
        if not isinstance(raw, Mapping) or not raw:
            self.fault(path, f"{show(raw)} is no mapping of names to metrics", example)
            return None
        found = {}
        for name, value in raw.items():
            inner = (*path, name)
            if not isinstance(name, str) or not _METRIC.fullmatch(name):
                hint = "a metric's name has at most 32 letters, digits and _, no digit first"
                self.fault(inner, f"{show(name)} cannot name a metric", hint)
            elif name in catalogue.METRICS or name in catalogue.BESIDE:
                self.fault(inner, f"'{name}' is measured already", "give it another name")
            elif value is None:
                self.fault(inner, "it has no class path", example)
            elif (code := self.code(inner, value)) is not None:
                found[name] = code
        return found

    def beside_step(self, path: Path, raw: Mapping[str, Any]) -> None:
        """What a step of the user's takes the place of."""
        for key in ("loss", "label_smoothing", "metrics"):
            if raw.get(key) not in (None, 0):
                by = "its evaluate measures" if key == "metrics" else "it has a loss of its own"
                self.fault((*path, key), f"'{key}' says nothing beside a step: {by}")

    def warmup(self, path: Path, raw: Any, dimensions: list[Any] | None = None) -> Any:
        if raw is None:
            return None
        if isinstance(raw, int | float) and not isinstance(raw, bool):
            self.value(path, catalogue.WARMUP["for"], raw)
            return None
        if isinstance(raw, str):
            self.value(path, catalogue.WARMUP["for"], raw)
            raw = {"for": raw}
            if not self.sound(".".join(map(str, path))):
                return None
        if not isinstance(raw, Mapping):
            self.fault(
                path, f"{show(raw)} is no warmup", "write {for: 0.05dur, shape: linear}, or null"
            )
            return None
        self.unknown(path, raw, tuple(catalogue.WARMUP))
        length = raw.get("for")
        if isinstance(length, str) and length.endswith("dur") and self._share(length) >= 1:
            self.fault((*path, "for"), f"a warmup of {length} leaves nothing of the budget")
        given = self.arguments(path, raw, catalogue.WARMUP, dimensions)
        if given.get("shape") == "exponential" and given.get("start") == 0:
            self.fault((*path, "start"), "an exponential warmup cannot start at 0")
        return given if dimensions is not None else complete(catalogue.WARMUP, given)

    @staticmethod
    def _share(text: str) -> float:
        try:
            return check_duration(catalogue.WARMUP["for"], text).value
        except ValueError:
            return 0.0

    def objective(self, raw: Any, train: Mapping[str, Any]) -> tuple[str | None, str, str | None]:
        path: Path = ("objective",)
        raw = {"metric": raw} if isinstance(raw, str) else raw
        if raw is None:
            return None, "last", None
        if not isinstance(raw, Mapping):
            self.fault(path, f"{show(raw)} is no objective", "write {metric: accuracy, at: last}")
            return None, "last", None
        self.unknown(path, raw, ("metric", "goal", "at"))
        metric, goal = raw.get("metric"), raw.get("goal")
        own = tuple(train.get("metrics") or ())
        stepped = train.get("step") is not None and isinstance(metric, str)
        if metric is not None and not (stepped and _METRIC.fullmatch(metric)):
            known = (*catalogue.METRICS, *own)
            meant = foreign_names.metric(metric)
            if metric not in known and (meant or foreign_names.goal(metric)):
                lines = foreign.objective(self.document.data, own=False)
                self.fault(
                    (*path, "metric"), f"unknown metric {show(metric)}", self.lines(path, lines)
                )
                return None, "last", None
            metric = self.value((*path, "metric"), Parameter("text", choices=known), metric)
        if goal is not None:
            goal = self.goal((*path, "goal"), goal)
        usual = catalogue.METRICS.get(metric) if isinstance(metric, str) else None
        if usual is None and goal is None and (metric in own or stepped):
            message = f"'goal' is missing: is a large '{metric}' good, or a small one?"
            self.fault(path, message, f"write {{metric: {metric}, goal: max}}, or goal: min")
        elif usual is not None and goal not in (None, usual[0]):
            self.fault((*path, "goal"), f"the goal of {metric} is {usual[0]}: leave it out")
        elif metric is None and goal is not None:
            self.fault((*path, "goal"), "a goal goes with a metric, which is missing")
        at = Parameter("text", "last", choices=("last", "best"))
        return metric, self.value((*path, "at"), at, raw.get("at", "last")), goal

    def goal(self, path: Path, raw: Any) -> Any:
        """min or max."""
        meant = foreign_names.goal(raw)
        if meant is not None and raw not in ("min", "max"):
            hint = self.lines(path, [Line(path, meant)])
            self.fault(path, f"{show(raw)} is not one of min, max", hint)
            return meant
        return self.value(path, Parameter("text", choices=("min", "max")), raw)

    def settings(self, key: str, raw: Any) -> dict[str, Any]:
        if raw is None:
            raw = {}
        if not isinstance(raw, Mapping):
            self.fault((key,), f"{show(raw)} is no mapping", "write {trials: 40}")
            raw = {}
        self.unknown((key,), raw, tuple(_SETTINGS[key]))
        return complete(_SETTINGS[key], self.arguments((key,), raw, _SETTINGS[key]))

    # what they are made of

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
        try:
            return check_value(parameter, raw)
        except Unfit as error:
            self.fault(path, str(error), self.lines(path, [Line(path, error.meant, error.remark)]))
        except ValueError as error:
            searched = path[0] == "train" and foreign.is_choice(".".join(map(str, path)), raw)
            line = Line(("search", str(path[-1])), raw)
            self.fault(path, str(error), self.lines(path, [line]) if searched else "")
        return raw

    def arguments(
        self,
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
                if parameter.default is REQUIRED and not self.promised & {
                    dotted,
                    f"{dotted}.{key}",
                }:
                    self.fault(path, f"'{key}' is missing: it takes {parameter.allowed()}")
                continue
            inner = (*path, key)
            foreign_form = dimensions is not None and isinstance(raw[key], str | Mapping)
            if foreign_form and parameter.kind not in ("text", "any"):
                foreign_form = read_foreign(raw[key]) is not None
                if foreign_form:
                    self.dimension(inner, parameter, raw[key])
                    continue
            if dimensions is not None and searched(parameter, raw[key]):
                dimension = self.dimension(inner, parameter, raw[key])
                if dimension is not None:
                    dimensions.append((key, dimension))
            else:
                given[key] = self.value(inner, parameter, raw[key])
        return given if dimensions is not None else complete(known, given)

    def named(
        self,
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
            self.fault(path, f"{show(raw)} names no {kind}", known)
            return {}
        name = raw.get("name", _MISSING)
        if name is _MISSING:
            forms = "'name' (or 'class_path')" if kind in IMPORTABLE else "'name'"
            hint = self.lines(path, self.renamed(kind, path, given))
            self.fault(path, f"{forms} is missing", hint or known)
            return {}
        if not isinstance(name, str) or name not in table:
            hint = self.lines((*path, "name"), self.renamed(kind, path, given))
            hint = hint or suggest(str(name), table)
            self.fault((*path, "name"), f"unknown {kind} {show(name)}", hint)
            return {}
        entry = self.parameters_of(kind, name)
        rate = kind == "optimizer" and dimensions is not None
        known_here = {**entry, "lr": catalogue.TRAIN["lr"]} if rate else entry
        bare = [key for key in raw if key != "name" and key not in known_here]
        for key in list(bare):
            meant = foreign.look_up(foreign_names.snake(key), kind)
            if nearest(key, known_here) is not None and meant is None:
                continue
            hint = self.lines((*path, key), self.renamed(kind, path, given))
            hint = self.advice((*path, key), raw[key]) if kind in ("model", "transform") else hint
            if hint:
                bare.remove(key)
                self.fault((*path, key), f"{name} has no argument '{key}'", hint)
        for key in bare:
            close = nearest(key, known_here)
            hint = f"did you mean '{close}'?" if close else ""
            hint = suggest(key, known_here) if key == bare[-1] else hint
            self.fault((*path, key), f"{name} has no argument '{key}'", hint)
        for pair in table[name].either:
            if all(raw.get(key) is not None for key in pair):
                self.fault((*path, pair[1]), f"{pair[0]} and {pair[1]} exclude each other")
        if name == "sgd" and raw.get("nesterov") is True and raw.get("dampening") not in (None, 0):
            self.fault((*path, "dampening"), "nesterov momentum takes no dampening: write 0")
        if rate and "lr" not in raw:
            known_here = entry
        given = self.arguments(path, raw, known_here, dimensions)
        if kind == "schedule" and name == "plateau":
            metrics = [given.get("metric", entry["metric"].default)]
            searched_metric = dict(dimensions or ()).get("metric")
            if isinstance(searched_metric, Choice):
                metrics = [option.value for option in searched_metric.options]
            if "mode" not in dict(dimensions or ()):
                self.follow((*path, "metric"), metrics, given)
        return {"name": name, **given}

    def parameters_of(self, kind: str, name: str) -> Mapping[str, Parameter]:
        """The parameters of a built-in, a plateau's metric being any that is measured."""
        table: Mapping[str, Entry] = (
            catalogue.TRANSFORMS if kind == "transform" else catalogue.GROUPS[kind]
        )
        known = table[name].parameters
        if kind != "schedule" or name != "plateau":
            return known
        own, stepped = self.own_metrics()
        names = () if stepped else (*catalogue.METRICS, *own)
        return {**known, "metric": replace(known["metric"], choices=names)}

    def own_metrics(self) -> tuple[tuple[str, ...], bool]:
        """The names of the user's metrics, and whether a step measures others."""
        top = self.document.data
        train = top.get("train") if isinstance(top, Mapping) else None
        if not isinstance(train, Mapping):
            return (), False
        metrics = train.get("metrics")
        own = tuple(map(str, metrics)) if isinstance(metrics, Mapping) else ()
        return own, train.get("step") is not None

    def follow(self, path: Path, metrics: list[Any], plateau: dict[str, Any]) -> None:
        """Whether up or down is good of the metrics that a plateau follows: the catalogue says it
        of its own, `mode`, or the objective's goal, of the user's. It is put into `plateau`."""
        mode = plateau.get("mode")
        objective = self.document.data.get("objective")
        aim = objective if isinstance(objective, Mapping) else {}
        for name in metrics:
            if not isinstance(name, str) or not self.sound(".".join(map(str, path))):
                continue
            known = catalogue.METRICS.get(name)
            if known is not None and mode not in (None, known[0]):
                message = f"the goal of {name} is {known[0]}: leave mode out"
                self.fault((*path[:-1], "mode"), message)
            if known is not None or plateau.get("mode") is not None:
                continue
            if metrics == [name] == [aim.get("metric")] and aim.get("goal") in ("min", "max"):
                plateau["mode"] = aim["goal"]
                continue
            hint = f"write {{name: plateau, metric: {name}, mode: max}}, or mode: min"
            message = f"'mode' is missing: is a large '{name}' good, or a small one?"
            self.fault(path, message, hint)

    def renamed(self, kind: str, path: Path, raw: Any) -> list[Line]:
        """What a schedule, an optimizer, a model or a transform of another tool is called here,
        with its arguments; nothing where it has no other name."""
        if kind == "schedule":
            found = foreign_names.schedule(raw, self.rate())
            if found is None:
                return []
            value, warmup = found
            lines = [Line(path, value, foreign_names.left_out(raw, self.rate()))]
            train = self.document.data.get(path[0])
            if warmup and len(path) == 2 and path[0] != "search" and not train.get("warmup"):
                lines.append(Line((path[0], "warmup"), warmup))
            return lines
        if kind == "optimizer":
            value = foreign_names.optimizer(raw)
            if value is None:
                return []
            if path == ("train", "optimizer"):
                return foreign.optimizer(self.document.data)
            _, given = foreign_names.split(raw)
            rates = [part for key, part in given.items() if foreign.means(key) == "train.lr"]
            if rates and path[0] == "search":
                value = {"name": value} if isinstance(value, str) else value
                return [Line(path, {**value, "lr": rates[0]})]
            return [Line(path, value)]
        rename = foreign_names.transform if kind == "transform" else foreign_names.model
        value = rename(raw)
        return [] if value is None else [Line(path, value)]

    def rate(self) -> Any:
        """The base rate, where the document fixes one."""
        return foreign.base_rate(self.document.data)

    def import_path(
        self,
        path: Path,
        raw: Mapping[str, Any],
        others: tuple[str, ...],
        dimensions: list[Any] | None = None,
    ) -> dict[str, Any]:
        self.unknown(path, raw, ("class_path", "init_args", *others))
        class_path = raw["class_path"]
        if self.is_class_path((*path, "class_path"), class_path):
            self.imports.append(class_path)
        arguments = raw.get("init_args")
        if arguments is None:
            arguments = {}
        if not isinstance(arguments, Mapping):
            self.fault((*path, "init_args"), f"{show(arguments)} is no mapping of arguments")
            arguments = {}
        given: dict[str, Any] = {}
        for key, value in arguments.items():
            inner = (*path, "init_args", key)
            anything = Parameter("any", scale=catalogue.usual_scale(key))
            if dimensions is not None and is_range(value):
                dimension = self.dimension(inner, anything, value)
                if dimension is not None:
                    dimensions.append((f"init_args.{key}", dimension))
            else:
                given[key] = self.value(inner, anything, value)
        return {"class_path": class_path, "init_args": given}

    def is_class_path(self, path: Path, raw: Any) -> bool:
        """Whether it has the form of a class path; a fault where it has not."""
        if isinstance(raw, str) and _CLASS_PATH.fullmatch(raw):
            return True
        self.fault(path, f"{show(raw)} is no dotted path such as my_package.nets.Net")
        return False

    # search

    def search(
        self, raw: Any, data: dict[str, Any], model: dict[str, Any], train: dict[str, Any]
    ) -> Space:
        if raw is None:
            raw = {}
        if not isinstance(raw, Mapping):
            self.fault(("search",), f"{show(raw)} is no mapping of searched parameters")
            raw = {}
        found: dict[str, Dimension] = {}
        self.descend(("search",), "", raw, {"data": data, "model": model, **train}, found)
        for path in found:
            above = [other for other in found if path.startswith(other + ".")]
            if above:
                place = self.search_path(path)
                self.fault(place, f"'{above[0]}' is searched as a whole: put this into its options")
        followed = found.get("schedule.metric")
        if isinstance(followed, Choice) and "schedule.mode" not in found:
            names = [option.value for option in followed.options]
            self.follow(self.search_path("schedule.metric"), names, train["schedule"])
        self.note_both(found)
        found = self.spread_rate(found, train)
        # A faulty range is not a missing one.
        sound = self.sound("search.lr", "search.optimizer")
        sound = sound and not self.is_promised("train.lr", "search.lr", "search")
        if "lr" not in found and "lr" not in train and train and sound:
            optimizers = found.get("optimizer")
            if not (isinstance(optimizers, Choice) and all(map(_own_rate, optimizers.options))):
                self.fault(("train",), "'lr' is missing: give it a value, or a range in search")
        sound = self.sound("search.budget") and not self.is_promised(
            "train.budget", "search.budget", "search"
        )
        if "budget" not in found and "budget" not in train and train and sound:
            allowed = catalogue.TRAIN["budget"].allowed()
            self.fault(("train",), f"'budget' is missing: it takes {allowed}")
        parts = [path for path in found if path.startswith("warmup.")]
        sound = self.sound("train.warmup", "search.warmup.for")
        if parts and "warmup.for" not in found and train and not train["warmup"] and sound:
            allowed = catalogue.WARMUP["for"].allowed()
            self.fault(self.search_path(parts[0]), f"the warmup has no 'for': it takes {allowed}")
        return Space(tuple(found.items()))

    def search_path(self, dotted: str) -> Path:
        """Where in the document a search path stands, however it was nested."""
        for path in self.document.lines:
            if path and path[0] == "search" and ".".join(map(str, path[1:])) == dotted:
                return path
        return ("search", dotted)

    def descend(
        self,
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
                self.under_train(inner, name, value)
                continue
            if name in found:
                self.fault(inner, "searched twice")
                continue
            group = name in ("schedule", "optimizer", "warmup", "model")
            dimension: Dimension | None
            if name == "data.transforms":
                dimension = self.transform_lists(inner, value, fixed["data"])
            elif group and isinstance(meant := read_foreign(value), list):
                options = [foreign.option(name, part, self.document.data) for part in meant]
                told = [foreign_names.left_out(part, self.rate()) for part in meant]
                remark = next(filter(None, told), "") if name == "schedule" else ""
                hint = self.lines(inner, [Line(inner, options, remark)])
                self.fault(inner, f"{show(value)} is no list of options", hint)
                continue
            elif isinstance(value, list) and group:
                dimension = self.options(inner, name, value)
            elif (
                isinstance(value, Mapping)
                and not is_range(value)
                and (
                    group
                    or name in ("data", *(f"{each}.init_args" for each in ARGUED))
                    or (name in ("loss", "step") and set(value) == {"init_args"})
                )
            ):
                self.descend(inner, f"{name}.", value, fixed, found)
                continue
            else:
                parameter = self.leaf(inner, name, fixed, value)
                if parameter is None:
                    continue
                dimension = self.dimension(inner, parameter, value)
            if dimension is not None:
                found[name] = dimension

    def under_train(self, path: Path, name: str, value: Any) -> None:
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
            hint = self.lines(place, found) if found else self.advice(("search", key), part)
            self.fault(place, "what is searched is named without 'train'", hint)
        if not inner:
            self.fault(path, "what is searched is named without 'train'", "write lr: [0.1, 0.01]")

    def leaf(self, path: Path, name: str, fixed: Mapping[str, Any], value: Any) -> Parameter | None:
        """The parameter a search path names, under the built-ins that are fixed."""
        head, _, rest = name.partition(".")
        known: Mapping[str, Parameter] = catalogue.TRAIN
        owner = "train"
        if head in ("schedule", "optimizer", "warmup", "model", "data") and not rest:
            self.fault(
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
                    self.fault(path, message, "searchable here: data.transforms")
                    return None
                if rest.split(".")[0] in ("validation", "test", "split_seed", "name"):
                    self.fault(
                        path,
                        "points measured on different data cannot be compared",
                        "searchable here: data.standardize, data.transforms",
                    )
                    return None
                if rest.startswith("transforms."):
                    hint = "searched are whole lists, such as data.transforms: [[], [flip]]"
                    self.fault(path, "an argument of a transform is not searched alone", hint)
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
                self.fault(path, f"'{head}' has no argument '{rest}'", hint)
                return None
            elif head in catalogue.GROUPS:
                imported = "class_path" in fixed.get(head, {})
                if imported and rest.startswith("init_args."):
                    return Parameter("any", scale=catalogue.usual_scale(rest))
                name_of = fixed.get(head, {}).get("name")
                if name_of is None:
                    if imported:
                        self.fault(path, "unknown key", f"write {head}.init_args.{rest}")
                    return None
                known, owner = self.parameters_of(head, name_of), f"{head} {name_of}"
            else:
                names = (*catalogue.TRAIN, "schedule", "optimizer", "warmup", "model", "data")
                hint = self.advice(path, value) or suggest(head, names)
                self.fault(path, f"'{head}' has no arguments to search", hint)
                return None
        final = rest or name
        if final not in known:
            names = (
                (*known, "schedule", "warmup", "optimizer", "model", "data")
                if owner == "train"
                else tuple(known)
            )
            what = "unknown parameter" if owner == "train" else f"{owner} has no argument '{final}'"
            self.fault(path, what, self.advice(path, value) or suggest(final, names))
            return None
        if name in ("step", "metrics"):
            message = "points that are measured in different ways cannot be compared"
            hint = "its arguments may be searched: step.init_args.NAME" if name == "step" else ""
            self.fault(path, message, hint)
            return None
        if name == "loss" and fixed.get("step") is not None:
            self.fault(path, "a step has a loss of its own: there is none to search")
            return None
        if name == "loss":
            # Null stands for the task's default, which would be a second name of one point.
            return replace(known[final], optional=False)
        return known[final]

    def dimension(self, path: Path, parameter: Parameter, raw: Any) -> Dimension | None:
        meant = read_foreign(raw)
        if parameter.kind == "any" and isinstance(raw, list) and parameter.scale != "log":
            # Of one's own parameter a text such as 1-3 may be what it says.
            meant = meant if ".." in str(raw[:1]) or "(" in str(raw[:1]) else None
        if meant is not None:
            self.foreign_range(path, parameter, raw, meant)
            return None
        if isinstance(raw, list):
            if not raw:
                self.fault(path, "an empty list leaves nothing to choose from")
                return None
            before = len(self.faults)
            values = [self.value((*path, index), parameter, part) for index, part in enumerate(raw)]
            if len(self.faults) > before:
                return None
            return self.choice(path, [Option(value) for value in values])
        if is_range(raw):
            return self.range(path, parameter, raw)
        self.fault(
            path,
            f"{show(raw)} is one value",
            "a searched parameter is a list [1, 2, 3] or a range {min: 1, max: 3, points: 3}; "
            f"a fixed one belongs under {self.fixed}",
        )
        return None

    def foreign_range(self, path: Path, parameter: Parameter, raw: Any, meant: Any) -> None:
        """A fault for a range or a list in the form of another tool, with lrsearch's own."""
        if isinstance(meant, Fixed):
            hint = f"a fixed one belongs under {self.fixed}: {show(meant.value)}"
            if path[0] == "search" and len(path) == 2:
                place: Path = ("params",) if self.own_kind else ("train",)
                if str(path[1]).split(".")[0] in ("model", "data"):
                    place = ()
                name = tuple(str(path[1]).split("."))
                hint = self.lines(path, [Line((*place, *name), meant.value)])
            self.fault(path, f"{show(raw)} is one value", hint)
            return
        if parameter.kind == "duration":
            unit = parameter.units[0]
            meant = each(lambda part: lasting(part, unit) or part, meant)
        strange = [key for key in raw if key not in RANGE] if isinstance(raw, Mapping) else []
        hint = self.lines(path, [Line(path, meant)])
        told = "unknown key" if strange else f"{show(raw)} is no range and no list"
        if not strange and isinstance(raw, Mapping):
            written = write(raw)
            told = f"{written if len(written) <= foreign.LONGEST else show(raw)} is no range"
        self.fault((*path, strange[0]) if strange else path, told, hint)

    def choice(self, path: Path, options: list[Option], group: str = "") -> Choice:
        whole = [complete_group(group, option.value) for option in options]
        for index, option in enumerate(options):
            for number, earlier in enumerate(options[:index]):
                if same(whole[index], whole[number]) and option.space == earlier.space:
                    self.fault((*path, index), f"{show(option.value)} is listed twice")
        return Choice(tuple(options))

    def options(self, path: Path, group: str, raw: list[Any]) -> Choice | None:
        if not raw:
            self.fault(path, "an empty list leaves nothing to choose from")
            return None
        before = len(self.faults)
        options = []
        for index, part in enumerate(raw):
            inner = (*path, index)
            dimensions: list[tuple[str, Dimension]] = []
            value: Any
            if group == "warmup":
                value = self.warmup(inner, part, dimensions)
            else:
                value = self.named_or_imported(group, inner, part, dimensions)
            options.append(Option(value, Space(tuple(dimensions))))
        # A faulty option is compared with nothing: it has one fault already.
        return None if len(self.faults) > before else self.choice(path, options, group)

    def range(self, path: Path, parameter: Parameter, raw: Mapping[str, Any]) -> Dimension | None:
        before = len(self.faults)
        self.unknown(path, raw, RANGE)
        for end in ("min", "max"):
            if end not in raw:
                self.fault(path, f"'{end}' is missing from the range")
        if parameter.kind not in ("float", "int", "duration", "any"):
            self.fault(path, f"no range of these: list the values; each is {parameter.allowed()}")
        scale = Parameter("text", parameter.scale, choices=("linear", "log"))
        log = self.value((*path, "scale"), scale, raw.get("scale", parameter.scale)) == "log"
        points = raw.get("points")
        if len(self.faults) > before:
            return None
        if points is not None:
            points = self.value((*path, "points"), _COUNT, points)
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
                hint = self.lines(place, [Line(place, error.meant, error.remark)])
                self.fault(place, str(error), hint)
            except ValueError as error:
                self.fault((*path, end), str(error))
        if len(ends) < 2:
            return None
        low, high = ends
        if low > high:
            self.fault((*path, "min"), f"min {show(raw['min'])} is above max {show(raw['max'])}")
            return None
        if parameter.every > 1:
            self.fault(
                path,
                f"between its ends not all are allowed: list the values; {parameter.allowed()}",
            )
            return None
        if log and low <= 0 and parameter.low is None and "scale" not in raw:
            # Of a name alone nobody knows that 0 is out of place.
            self.notes.append(
                f"{path[-1]} is searched on a linear scale, since a log scale has no "
                f"{raw['min']}: for one start above 0"
            )
            log = False
        if log and low <= 0:
            self.fault(
                (*path, "min"),
                f"min {low:g} has no place on a log scale",
                "start above 0, write scale: linear, or list the values",
            )
            return None
        if len(self.faults) > before:
            return None
        if not log and "scale" not in raw and low > 0 and high / low >= WIDE:
            line = write({**raw, "scale": "log"})
            self.notes.append(
                f"{path[-1]} is searched on a linear scale, of which nine tenths lie above "
                f"{write(raw['max'])} / 10: for even parts write {path[-1]}: {line}"
            )
        if kind == "int":
            return Int(low, high, log, points)
        return Float(low, high, log, points, unit)

    def spread_rate(
        self, found: dict[str, Dimension], train: Mapping[str, Any]
    ) -> dict[str, Dimension]:
        """Where some options of an optimizer choice carry their own learning rate, give the
        others the common one too, so that no point has a rate that is not used."""
        optimizers = found.get("optimizer")
        if not isinstance(optimizers, Choice) or not any(map(_own_rate, optimizers.options)):
            return found
        if "lr" not in found:
            return found
        if all(map(_own_rate, optimizers.options)):
            self.notes.append("lr is not searched apart: every optimizer option has its own")
        common = found["lr"]
        options = tuple(
            option
            if _own_rate(option)
            else Option(option.value, Space((*option.space.dimensions, ("lr", common))))
            for option in optimizers.options
        )
        rest = {path: part for path, part in found.items() if path != "lr"}
        return {**rest, "optimizer": Choice(options)}

    def note_both(self, found: Mapping[str, Dimension]) -> None:
        for path in found:
            parts = tuple(path.split("."))
            place = parts if parts[0] in ("model", "data") else ("train", *parts)
            value: Any = self.document.data
            for part in place:
                value = value.get(part, _MISSING) if isinstance(value, Mapping) else _MISSING
            if value is not _MISSING and path != "model":
                self.notes.append(f"{path} is both fixed and searched: the search wins")

    def note_peaks(self, train: Mapping[str, Any], space: Space) -> None:
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
            self.notes += [
                f"{name} rises by itself: after a warmup it peaks a second time" for name in rising
            ]

    def one_rate(self, train: Mapping[str, Any], space: Space) -> None:
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
            self.fault(self.search_path("layer_decay"), message)
        elif train.get("layer_decay") is not None:
            self.fault(("train", "layer_decay"), message)
        searched_groups = ranges.get("groups")
        groups, place = [train.get("groups")], ("train", "groups")
        if isinstance(searched_groups, Choice):
            place = self.search_path("groups")  # type: ignore[assignment]
            groups = [option.value for option in searched_groups.options]
        rates = [
            part.get("lr", 1)
            for each in groups
            if isinstance(each, list)
            for part in each
            if isinstance(part, Mapping)
        ]
        if any(rate not in (0, 1) for rate in rates):
            self.fault(place, message, "a group's lr may be 0 there, or left out")

    # what needs several parts

    def sound(self, *keys: str) -> bool:
        """Whether no fault was found at these keys or below them."""
        return not any(
            fault.key == key or fault.key.startswith(key + ".")
            for fault in self.faults
            for key in keys
        )

    def task(
        self, data: Mapping[str, Any], train: Mapping[str, Any], metric: Any, space: Space
    ) -> None:
        """Metric and losses against the task, where the catalogue knows it."""
        source = catalogue.DATA.get(data.get("name", ""))
        task = data.get("task") or (source.task if source else None)
        if train.get("step") is not None:
            task = "own"
        if task not in catalogue.TASKS:
            return
        for path, message, hint in task_faults(train, metric, space, task):
            if self.sound(".".join(map(str, path))):
                self.fault(path, message, hint)

    def lengths(self, data: Mapping[str, Any], train: Mapping[str, Any], space: Space) -> None:
        """Warmups and batches against the budget and the data, where the catalogue knows them."""
        source = catalogue.DATA.get(data.get("name", ""))
        if source is None or source.samples is None or not self.sound("data") or not train:
            return
        validation = data["validation"]
        folds = validation["folds"] if isinstance(validation, Mapping) else None
        if folds and folds > source.samples:
            message = f"{folds} folds of {source.samples} samples"
            self.fault(("data", "validation", "folds"), message)
            return
        sizes, held_out, _ = catalogue.split_sizes(
            source.samples, folds or validation, data["test"] or 0.0
        )
        samples = min(sizes)
        if samples < 1 or held_out < 1:
            use = "train on" if samples < 1 else "validate with"
            message = f"of {source.samples} samples none is left to {use}"
            self.fault(("data", "validation"), message)
            return
        ranges = dict(space.dimensions)
        batches: list[tuple[Path, Any]] = [(("train", "batch_size"), train["batch_size"])]
        if "batch_size" in ranges:
            place = self.search_path("batch_size")
            batches = [(place, value) for value in _extremes(ranges["batch_size"])]
        for place, batch in batches:
            if self.sound(".".join(map(str, place))) and batch > samples:
                message = f"a batch of {batch} is larger than the training set ({samples} samples)"
                self.fault(place, message)

    def schedules(self, spec: Spec) -> None:
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
            place = self.argument_path(spec.space, point, head, argument)
            key = ".".join(map(str, place)), message.partition(" ")[0]
            if key not in told:
                told.add(key)
                self.fault(place, message)

    def models(self, spec: Spec) -> None:
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
            place = self.argument_path(spec.space, point, "model", argument)
            if self.sound(".".join(map(str, place))):
                self.fault(place, message, hint)

    def argument_path(self, space: Space, point: Mapping[str, Any], head: str, name: str) -> Path:
        """Where in the document the argument of a schedule or warmup at a point stands."""
        ranges = dict(space.dimensions)
        chosen = ranges.get(head)
        if isinstance(chosen, Choice):
            numbers = encode(space, point) or {}
            return (*self.search_path(head), int(numbers.get(head, 0)), name)
        if f"{head}.{name}" in ranges:
            return self.search_path(f"{head}.{name}")
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
