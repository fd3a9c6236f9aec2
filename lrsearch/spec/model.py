"""The validated spec, and what follows from it: resolved configs, identities, trial keys."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Mapping
from dataclasses import field, replace
from pathlib import Path
from typing import Any

from lrsearch import catalogue, duration
from lrsearch.analysis.edges import Range
from lrsearch.catalogue import REQUIRED, Parameter
from lrsearch.frozen import frozen
from lrsearch.space import (
    Choice,
    Dimension,
    Option,
    Space,
    build,
    copy_tree,
    encode,
    get_path,
    same,
)
from lrsearch.spec.arithmetic import Arithmetic
from lrsearch.trial import Config, Objective, Point

TRAINING_VERSION = 1
"""Part of every trial key: raised when the same config comes to mean another training."""

SCHEDULING = ("schedule", "warmup")
"""Parameters of a loop that have the grammar of `train`."""

DEFAULTS = {"schedule": "constant", "optimizer": "sgd"}
"""Components of `train` where the spec names none."""


# the spec


@frozen
class RandomSettings:
    """`random:` of a spec."""

    trials: int = 40
    sampler: str = "random"


@frozen
class BayesSettings:
    """`bayes:` of a spec."""

    trials: int = 40
    startup: int = 8
    generation: int = 4
    start: str = "informed"
    model: str = "tpe"


@frozen
class ConfirmSettings:
    """`confirm:` of a spec: how many points are measured again, with how many fresh seeds."""

    top: int = 4
    seeds: int = 5


@frozen
class RefineSettings:
    """`refine:` of a spec: rounds at most, and the decades of the best value's interval that are
    narrow enough."""

    rounds: int = catalogue.SETTINGS["refine"]["rounds"].default
    width: float = catalogue.SETTINGS["refine"]["width"].default


@frozen
class Outside:
    """A training outside lrsearch: a `command` line, or a `loop`, the class path of a function.

    `goal` is that of the objective's metric, `metrics` the patterns that find metrics in what a
    command prints. `verify` asks for the best to be trained once more at the end, where that is
    cheap. `derived` are the parameters that follow from others, in an order in which they can be
    computed.
    """

    kind: str
    text: str
    goal: str
    metrics: Mapping[str, str] = field(default_factory=dict)
    verify: bool = True
    derived: Mapping[str, Arithmetic] = field(default_factory=dict)


@frozen
class Spec:
    """A spec as one file (and its overrides) gives it, checked."""

    name: str
    data: Mapping[str, Any]
    """The fixed values, every default filled; empty where the training is outside lrsearch."""
    model: Mapping[str, Any]
    train: Mapping[str, Any]
    """The fixed values, every default filled but that of the loss, which follows the data; of a
    training outside lrsearch the fixed parameters."""
    metric: str | None
    at: str
    space: Space
    random: RandomSettings
    bayes: BayesSettings
    seeds: int
    seed: int
    max_failures: int
    notes: tuple[str, ...]
    imports: tuple[str, ...]
    folder: Path
    source: str
    text: str
    document: Mapping[str, Any]
    """The plain values of the YAML that all of it came from."""
    outside: Outside | None = None
    goal: str | None = None
    """The goal of a metric that the catalogue lacks."""
    save: float | None = None
    """The seconds between two saved states of a training; None for never, and outside."""
    timeout: float | None = None
    """The most seconds of a trial."""
    start: str | None = None
    """Whether weights start from "scratch" or "pretrained"; None where the model's arguments tell.
    No config has it."""
    prune: Mapping[str, Any] = field(default_factory=lambda: {"name": catalogue.PRUNE})
    """The rule of early stopping, with its arguments."""
    confirm: ConfirmSettings | None = None
    refine: RefineSettings | None = None
    patience: int | None = None
    """The proposals without an improvement after which a search stops."""
    refined: tuple[Range, ...] = ()
    """The ranges of what is refined as they were given, of a spec that `search.refine.widen` has
    widened."""

    @property
    def kind(self) -> str | None:
        """The kind of a training outside lrsearch, "command" or "loop", None of one of ours."""
        return self.outside.kind if self.outside is not None else None

    @property
    def verifies(self) -> bool:
        """Whether the best is trained once more at the end, where that is cheap."""
        return self.outside is not None and self.outside.verify

    @property
    def derived(self) -> Mapping[str, Arithmetic]:
        """The parameters that follow from others, each behind those that it follows from."""
        return self.outside.derived if self.outside is not None else {}

    @property
    def task(self) -> str | None:
        """The data's task, None where only loading them can tell; the kind of one outside."""
        if self.kind is not None:
            return self.kind
        return "own" if self.train.get("step") is not None else self.data_task

    @property
    def data_task(self) -> str | None:
        """The task of the data themselves, even where a step of the user's defines its own; None as
        in `task`."""
        source = catalogue.DATA.get(self.data.get("name", ""))
        return (self.data.get("task") or source.task) if source else None

    @property
    def samples(self) -> int | None:
        """The data's size, None where only loading them can tell."""
        source = catalogue.DATA.get(self.data.get("name", ""))
        return source.samples if source else None

    @property
    def folds(self) -> int | None:
        """The number of folds, None for a single split."""
        validation = self.data.get("validation")
        return int(validation["folds"]) if isinstance(validation, Mapping) else None

    @property
    def trials_per_point(self) -> int:
        """Seeds times folds."""
        return self.seeds * (self.folds or 1)

    @property
    def train_samples(self) -> tuple[int, ...] | None:
        """Training samples of each fold, None where only loading the data can tell."""
        if self.samples is None:
            return None
        return catalogue.split_sizes(
            self.samples, self.folds or self.data["validation"], self.data["test"] or 0.0
        )[0]

    def objective(self, task: str) -> Objective:
        """The objective, the metric's default following the task."""
        if self.outside is not None:
            return Objective(self.metric or "", self.outside.goal, self.at)
        metric = self.metric or catalogue.default_metric(task)
        known = catalogue.METRICS.get(metric)
        return Objective(metric, known[0] if known else self.goal or "min", self.at)

    def config_path(self, path: str) -> str:
        """The dotted path in a resolved config of a path in `search`."""
        return config_path(path) if self.outside is None else f"params.{path}"

    def group(self, path: str) -> str:
        """The group of the catalogue that a path in `search` is of. Outside, a loop's schedule and
        warmup are those that `trial.lr_at` follows, and all others are of none, ""."""
        grouped = self.kind is None or (self.kind == "loop" and path in SCHEDULING)
        return path if grouped else ""


# configs


def complete(parameters: Mapping[str, Parameter], given: Mapping[str, Any]) -> dict[str, Any]:
    """Every parameter in the catalogue's order: the given value or the default."""
    filled = {}
    for name, parameter in parameters.items():
        value = given.get(name, parameter.default)
        if value is REQUIRED:
            continue
        filled[name] = list(value) if isinstance(value, tuple) else value
    return filled


def complete_group(path: str, given: Any) -> Any:
    """The mapping at `schedule`, `optimizer`, `warmup` or `model` with its defaults filled; any
    other value unchanged."""
    if not isinstance(given, Mapping):
        return given
    if path == "warmup":
        return complete(catalogue.WARMUP, given)
    if path not in catalogue.GROUPS or "name" not in given:
        return copy.deepcopy(dict(given))
    entry = catalogue.GROUPS[path][given["name"]]
    filled = {"name": given["name"], **complete(entry.parameters, given)}
    # An optimizer's own learning rate is train.lr once resolved.
    return filled | ({"lr": given["lr"]} if path == "optimizer" and "lr" in given else {})


def config_path(path: str) -> str:
    """The dotted path in a resolved config of a path in `search`."""
    return path if path.split(".")[0] in ("model", "data") else f"train.{path}"


def resolve(spec: Spec, point: Point, task: str | None = None) -> dict[str, Any]:
    """The whole training at a point: {"data", "model", "train"}, every default filled.

    With `task` None the loss may stay None. A training outside lrsearch resolves to {"command",
    "params"}, perhaps with "metrics", or {"loop", "params"}.
    """
    return copy_tree(_resolve(spec, point, task))  # type: ignore[no-any-return]


def _resolve(spec: Spec, point: Point, task: str | None) -> dict[str, Any]:
    """`resolve`, sharing parts with the spec and the point: the result must not be changed."""
    if spec.outside is not None:
        params = dict(spec.train)
        for path, value in point.items():
            params[path] = complete_group(spec.group(path), value)
        derive(spec.derived, params)
        return _outside_config(spec.outside, params)
    config: dict[str, Any] = {
        "data": dict(spec.data),
        "model": dict(spec.model),
        "train": dict(spec.train),
    }
    for path, value in point.items():
        *parents, last = config_path(path).split(".")
        tree = config
        for part in parents:
            inner = tree.get(part)
            tree[part] = dict(inner) if isinstance(inner, dict) else {}
            tree = tree[part]
        tree[last] = complete_group(path, value)
    train = config["train"]
    if train["warmup"] is not None:
        train["warmup"] = complete_group("warmup", train["warmup"])
    train["optimizer"] = dict(train["optimizer"])
    own_rate = train["optimizer"].pop("lr", None)
    if own_rate is not None:
        train["lr"] = own_rate
    train["lr"] = float(train["lr"])
    if train["loss"] is None and task is not None and train["step"] is None:
        train["loss"] = catalogue.default_loss(task)
    return config


def _outside_config(outside: Outside, params: Mapping[str, Any]) -> dict[str, Any]:
    """The resolved config of a training outside lrsearch. Patterns of metrics decide what it
    measures, and so are a part of it where there are any."""
    metrics = {"metrics": dict(outside.metrics)} if outside.metrics else {}
    return {outside.kind: outside.text, "params": params, **metrics}


def derive(derived: Mapping[str, Arithmetic], params: dict[str, Any]) -> str:
    """Compute the parameters that follow from others, null where one has no value. Returns why the
    first of these has none, or ""."""
    reason = ""
    for name, formula in derived.items():
        try:
            params[name] = formula.compute(params)
        except ArithmeticError as error:
            params[name] = None
            reason = reason or f"{name} = {formula} has no value: {error}"
    return reason


def locate(spec: Spec, config: Config, task: str | None = None) -> dict[str, Any] | None:
    """The point of the spec's space that resolves to `config`, None where there is none."""
    point: dict[str, Any] = {}
    for path, dimension in spec.space.dimensions:
        try:
            value = get_path(config, spec.config_path(path))
        except KeyError:
            return None
        if isinstance(dimension, Choice):
            found = _locate_option(spec.group(path), dimension, value, config)
            if found is None:
                return None
            value = found[0]
        point[path] = value
    numbers = encode(spec.space, point)
    if numbers is None:
        return None
    point = build(spec.space, lambda name, _: numbers[name])
    return point if same(identity(_resolve(spec, point, task)), identity(config)) else None


def _locate_option(path: str, dimension: Choice, value: Any, config: Config) -> tuple[Any] | None:
    """The option that equals `value` but for its defaults, in a 1-tuple."""
    for option in dimension.options:
        candidate = _strip(path, option, value, config)
        if candidate is None:
            continue
        alone = Space(((path, Choice((option,))),))
        if encode(alone, {path: candidate[0]}) is not None:
            return candidate
    return None


def _strip(path: str, option: Option, value: Any, config: Config) -> tuple[Any] | None:
    if not isinstance(option.value, Mapping) or not isinstance(value, Mapping):
        return (value,) if same(option.value, value) else None
    whole = dict(value)
    names = {name.split(".")[0] for name, _ in option.space.dimensions} | set(option.value)
    if path == "optimizer" and "lr" in names:
        whole["lr"] = config["train"]["lr"]
    candidate = {name: whole[name] for name in (*option.value, *names) if name in whole}
    return (candidate,) if same(complete_group(path, candidate), whole) else None


OPEN: dict[str, Any] = {"validation": 0.2, "images": None}
"""Keys of `data` that a spec may leave open (null) until the data are loaded, with their meaning in
runs of versions that did not record the outcome."""


# code and files that configs name


def settle_data(spec: Spec, settled: Mapping[str, Any]) -> Spec:
    """The spec with its open keys of `data` settled. `settled` comes from the run's facts, empty
    for a run that has none."""
    left = [key for key in OPEN if key in spec.data and spec.data[key] is None]
    found = {key: settled.get(key, OPEN[key]) for key in left}
    return replace(spec, data={**spec.data, **found}) if found else spec


_LATER = ("layer_decay", "groups", "weight_decay_on", "step", "metrics")


SILENT = {name: catalogue.TRAIN[name].default for name in _LATER}
"""Keys of `train` that an identity leaves out at these values."""

_ABSENT = tuple(catalogue.IMPORTED)

_PATHS = {
    name: [each for each, part in source.parameters.items() if part.kind == "path"]
    for name, source in catalogue.DATA.items()
}
"""The parameters that are paths, by the name of the data."""


def class_paths(config: Config) -> set[str]:
    """The class paths of the user's code that a config names."""
    return {part["class_path"] for part in (config["data"], *_code(config)) if _is_code(part)}


METRICS_UNIT = "train.metrics"
"""The name, among the hashes of a run's sources, of the unit in which metrics of the user's get the
targets of a regression beside a built-in loss. Older runs have none: their metrics got targets in
units of their deviation."""


def measures_scaled(config: Config) -> bool:
    """Whether metrics of the user's measure beside a built-in loss, which scales the targets of a
    regression."""
    train = config["train"]
    return bool(train.get("metrics")) and train.get("step") is None and not _is_code(train["loss"])


def _code(config: Config) -> list[Any]:
    """The parts of a config that may name the user's code, the data left out."""
    train = config["train"]
    parts = [train.get(name) for name in ("schedule", "optimizer", "loss", "step")]
    parts += [*(train.get("metrics") or {}).values(), *(config["data"].get("transforms") or ())]
    return [config["model"], *parts]


def _is_code(part: Any) -> bool:
    return isinstance(part, Mapping) and "class_path" in part


def argument_paths(config: Config) -> set[str]:
    """Texts that may be the path of a file or a folder, such as pretrained weights: texts in the
    `init_args` of a config's code. Data read by a function count by what it returns instead."""
    return {
        text
        for part in _code(config)
        if _is_code(part)
        for text in duration.texts(part.get("init_args"))
    }


# identities and keys


def fill_config(config: Config) -> Config:
    """A resolved config as an older version stored it, with the defaults of newer keys."""
    train = config.get("train", {})
    if not {"schedule", "optimizer"} <= train.keys():
        return config
    later, groups = {}, {}
    if not train.keys() >= SILENT.keys():
        later = {name: value for name, value in SILENT.items() if name not in train}
    for part in ("schedule", "optimizer"):
        if not _is_complete(part, train[part]):
            groups[part] = complete_group(part, train[part])
    data = config["data"]
    if not isinstance(data.get("transforms"), list):
        data = {**data, "transforms": data.get("transforms") or []}
    if "class_path" in data and "images" not in data:
        data = {**data, "images": True}  # As arrays (N, H, W) of a function were taken.
    if not later and not groups and data is config["data"]:
        return config
    return {**config, "data": data, "train": {**train, **later, **groups}}


def _is_complete(path: str, given: Any) -> bool:
    """Whether a group has exactly the catalogue's arguments, in its order, so that none is to be
    filled."""
    if not isinstance(given, dict):
        return False
    wanted = _WHOLE[path].get(given.get("name", ""))
    return wanted is not None and [*given] == wanted


_WHOLE = {
    path: {name: ["name", *entry.parameters] for name, entry in catalogue.GROUPS[path].items()}
    for path in ("schedule", "optimizer")
}
"""The names of a component's values in the catalogue's order, by its group and name."""


def identity(config: Config) -> dict[str, Any]:
    """The part of a config that decides the measurement: a file's content belongs to it, its path
    does not. Keys that older runs lack are left out at their defaults, so that no measurement is
    lost."""
    if "params" in config:
        return dict(config)
    data = dict(config["data"])
    for name in _PATHS.get(data.get("name", ""), ()):
        data.pop(name, None)
    if "class_path" in data:
        data = {key: part for key, part in data.items() if key not in _ABSENT or part is not None}
    elif data.get("name") not in ("csv", "parquet") and data.get("task") is None:
        data.pop("task", None)  # Only these two sources have had it from the beginning.
    if not data.get("shuffle"):
        data.pop("shuffle", None)
    for name in ("missing", "validation_seed"):
        if data.get(name) is None:
            data.pop(name, None)
    data.pop("images", None)  # The shape of the samples is part of the data's hash.
    if not data.get("transforms"):
        data.pop("transforms", None)
    train = {
        key: part
        for key, part in config["train"].items()
        if key not in SILENT or part != SILENT[key]
    }
    train["schedule"] = schedule_identity(train["schedule"])
    return {"data": data, "model": config["model"], "train": train}


def schedule_identity(schedule: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a schedule that decides the measurement."""
    return {key: part for key, part in schedule.items() if part is not None}


_JSON = json.JSONEncoder(sort_keys=True, separators=(",", ":"))


def canonical(whole: Config) -> str:
    """The text of an identity, which two configs share exactly when they train the same."""
    return _JSON.encode(whole)


def rest_of_key(content: Mapping[str, Any], seed: int, fold: int | None) -> str:
    """The text of all that a trial key holds besides the config."""
    whole = {"content": dict(content), "fold": fold, "seed": seed, "version": TRAINING_VERSION}
    return _JSON.encode(whole)


def key_of_text(config: str, rest: str) -> str:
    """The trial key of a config by its canonical text: the SHA-256 of one sorted JSON object, of
    which "config" comes first."""
    return hashlib.sha256(f'{{"config":{config},{rest[1:]}'.encode()).hexdigest()


# other splits


def why_fixed(config: Config) -> str:
    """The reason why a training's validation part cannot be drawn anew, in words; "" where it
    can."""
    if "params" in config:
        kind = next(name for name in ("command", "loop") if name in config)
        return f"the {kind} is given another seed, and splits its data itself"
    data = config["data"]
    source = catalogue.DATA.get(data.get("name", ""))
    if source is not None and source.ordered:
        return "text is cut in its order"
    if data["validation"] == "source":
        return "the validation part is the data's own"
    return ""


def redraw(config: Config, seed: int) -> Config:
    """The training with another validation part, or other folds, drawn by a seed; as it is where
    `why_fixed` has a reason. The test part stays what it is."""
    if why_fixed(config):
        return config
    return {**config, "data": {**config["data"], "validation_seed": seed}}


def fixed_config(spec: Spec, task: str | None) -> dict[str, Any] | None:
    """The training of the spec's fixed values alone, without its search; None where they do not
    make up a training."""
    if spec.outside is not None:
        if not all(path in spec.train for path, _ in spec.space.dimensions):
            return None
        params = dict(spec.train)
        return None if derive(spec.derived, params) else _outside_config(spec.outside, params)
    if not spec.model or any(spec.train.get(name) is None for name in ("lr", "budget")):
        return None
    return resolve(replace(spec, space=Space(())), {}, task)


# optimizers and steps


def resolve_fixed(spec: Spec, task: str | None) -> dict[str, Any]:
    """The config of the spec's fixed values alone; searched ones are at any of their values."""
    if spec.outside is not None:
        return _outside_config(spec.outside, spec.train)
    train = dict(spec.train)
    if train["loss"] is None and task is not None and train["step"] is None:
        train["loss"] = catalogue.default_loss(task)
    return {"data": spec.data, "model": spec.model, "train": train}


def carry_rates(dimension: Dimension | None) -> bool:
    """Whether an optimizer of a choice has a learning rate of its own."""
    return isinstance(dimension, Choice) and any(map(carries_rate, dimension.options))


def carries_rate(option: Option) -> bool:
    """Whether an option of an optimizer has its own learning rate, or searches it."""
    own = {path for path, _ in option.space.dimensions}
    return "lr" in own or (isinstance(option.value, Mapping) and "lr" in option.value)


def steps_of(config: Config, samples: int) -> int:
    """The optimizer steps of a training on `samples` training samples."""
    train = config["train"]
    budget = duration.parse(train["budget"])
    return duration.budget_steps(budget, samples=samples, batch_size=train["batch_size"])
