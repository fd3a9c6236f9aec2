"""The validated spec, and what follows from it: resolved configs, identities, trial keys."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from lrsearch import catalogue, duration
from lrsearch.catalogue import REQUIRED, Parameter
from lrsearch.space import Choice, Dimension, Option, Space, build, encode, get_path, same, set_path
from lrsearch.spec.arithmetic import Arithmetic
from lrsearch.trial import Config, Objective, Point

TRAINING_VERSION = 1
"""Part of every trial key: raised when the same config comes to mean another training."""

SCHEDULING = ("schedule", "warmup")
"""Parameters of a loop that have the grammar of `train`."""

DEFAULTS = {"schedule": "constant", "optimizer": "sgd"}
"""What `train` names where the spec names none."""


@dataclass(frozen=True)
class RandomSettings:
    """`random:` of a spec."""

    trials: int = 40
    sampler: str = "random"


@dataclass(frozen=True)
class BayesSettings:
    """`bayes:` of a spec."""

    trials: int = 40
    startup: int = 8
    generation: int = 4


@dataclass(frozen=True)
class Own:
    """A person's own training: a `command` line, or a `loop`, the class path of a function.

    `goal` is that of the objective's metric, `metrics` the patterns that find metrics in what a
    command prints. `verify` asks for the best to be trained
    once more at the end, where that is cheap. `derived` are the parameters that follow from others,
    each behind those that it follows from.
    """

    kind: str
    text: str
    goal: str
    metrics: Mapping[str, str] = field(default_factory=dict)
    verify: bool = True
    derived: Mapping[str, Arithmetic] = field(default_factory=dict)


@dataclass(frozen=True)
class Spec:
    """A spec as one file (and its overrides) gives it, checked.

    `data`, `model` and `train` are the fixed values with every default filled, except the loss
    and the metric, whose defaults follow the data. `document` is the plain YAML they came from.
    Where the training is the person's `own`, `data` and `model` are empty and `train` holds the
    fixed parameters. `goal` is that of a metric which the catalogue does not know,
    `timeout` the seconds that a trial may take, `save` those between two saved states of a
    training, None for never.
    """

    name: str
    data: Mapping[str, Any]
    model: Mapping[str, Any]
    train: Mapping[str, Any]
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
    own: Own | None = None
    goal: str | None = None
    save: float | None = None
    timeout: float | None = None

    @property
    def task(self) -> str | None:
        """The data's task, None where only loading them can tell; the kind of an own training."""
        if self.own is not None:
            return self.own.kind
        return "own" if self.train.get("step") is not None else self.data_task

    @property
    def data_task(self) -> str | None:
        """That of the data, whatever a step of the person's makes of them; None as in `task`."""
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
        """What is compared, the metric's default following the task."""
        if self.own is not None:
            return Objective(self.metric or "", self.own.goal, self.at)
        metric = self.metric or catalogue.default_metric(task)
        known = catalogue.METRICS.get(metric)
        return Objective(metric, known[0] if known else self.goal or "min", self.at)


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
    other value as it is."""
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

    With `task` None the loss may stay None. Of a person's own training: {"command", "params"},
    perhaps with "metrics", or {"loop", "params"}.
    """
    if spec.own is not None:
        params = copy.deepcopy(dict(spec.train))
        for path, value in point.items():
            params[path] = copy.deepcopy(complete_group(_own_group(spec.own, path), value))
        derive(spec.own, params)
        return _own_config(spec.own, params)
    config: dict[str, Any] = {
        "data": copy.deepcopy(dict(spec.data)),
        "model": copy.deepcopy(dict(spec.model)),
        "train": copy.deepcopy(dict(spec.train)),
    }
    for path, value in point.items():
        set_path(config, config_path(path), copy.deepcopy(complete_group(path, value)))
    train = config["train"]
    if train["warmup"] is not None:
        train["warmup"] = complete_group("warmup", train["warmup"])
    own_rate = train["optimizer"].pop("lr", None)
    if own_rate is not None:
        train["lr"] = own_rate
    train["lr"] = float(train["lr"])
    if train["loss"] is None and task is not None and train["step"] is None:
        train["loss"] = catalogue.default_loss(task)
    return config


def _own_config(own: Own, params: Mapping[str, Any]) -> dict[str, Any]:
    """A whole training of the user's own. Patterns are part of what it measures, where any are."""
    metrics = {"metrics": dict(own.metrics)} if own.metrics else {}
    return {own.kind: own.text, "params": params, **metrics}


def derive(own: Own, params: dict[str, Any]) -> str:
    """Put in what follows from other parameters, null where it has no value; why the first of
    these has none, or ""."""
    reason = ""
    for name, formula in own.derived.items():
        try:
            params[name] = formula.compute(params)
        except ArithmeticError as error:
            params[name] = None
            reason = reason or f"{name} = {formula} has no value: {error}"
    return reason


def _own_group(own: Own, path: str) -> str:
    """The group of the catalogue that a parameter of an own training is of: a loop's schedule and
    warmup are those that `trial.lr_at` follows. "" for all others."""
    return path if own.kind == "loop" and path in SCHEDULING else ""


def locate(spec: Spec, config: Config, task: str | None = None) -> dict[str, Any] | None:
    """The point of the spec's space that resolves to `config`, None where there is none."""
    point: dict[str, Any] = {}
    for path, dimension in spec.space.dimensions:
        try:
            value = get_path(config, config_path(path) if spec.own is None else f"params.{path}")
        except KeyError:
            return None
        if isinstance(dimension, Choice):
            group = path if spec.own is None else _own_group(spec.own, path)
            found = _locate_option(group, dimension, value, config)
            if found is None:
                return None
            value = found[0]
        point[path] = value
    numbers = encode(spec.space, point)
    if numbers is None:
        return None
    point = build(spec.space, lambda name, _: numbers[name])
    return point if same(identity(resolve(spec, point, task)), identity(config)) else None


def _locate_option(path: str, dimension: Choice, value: Any, config: Config) -> tuple[Any] | None:
    """The option that `value` is once its defaults are left out again, in a 1-tuple."""
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
"""What of `data` a spec may leave open (null) until they are loaded, and what it meant in runs that
do not say what it came to."""


def settle_data(spec: Spec, settled: Mapping[str, Any]) -> Spec:
    """The spec with what its data were found to be, in place of what it leaves open. `settled` is
    that of the run's facts, empty of a run that has none."""
    left = [key for key in OPEN if key in spec.data and spec.data[key] is None]
    found = {key: settled.get(key, OPEN[key]) for key in left}
    return replace(spec, data={**spec.data, **found}) if found else spec


_LATER = ("layer_decay", "groups", "weight_decay_on", "step", "metrics")


_ABSENT = tuple(catalogue.IMPORTED)


def class_paths(config: Config) -> set[str]:
    """The class paths of the user's code that a config names."""
    return {part["class_path"] for part in (config["data"], *_code(config)) if _is_code(part)}


def _code(config: Config) -> list[Any]:
    """All but the data that a config may name the user's code for."""
    train = config["train"]
    parts = [train.get(name) for name in ("schedule", "optimizer", "loss", "step")]
    parts += [*(train.get("metrics") or {}).values(), *(config["data"].get("transforms") or ())]
    return [config["model"], *parts]


def _is_code(part: Any) -> bool:
    return isinstance(part, Mapping) and "class_path" in part


def argument_paths(config: Config) -> set[str]:
    """Texts that may be the path of a file or a folder, such as pretrained weights: those in the
    `init_args` of a config's code. What a function of data reads is known by what it returns."""
    return {
        text for part in _code(config) if _is_code(part) for text in _texts(part.get("init_args"))
    }


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list | tuple):
        for part in value:
            yield from _texts(part)
    elif isinstance(value, str):
        yield value


def fill_config(config: Config) -> Config:
    """A resolved config as an older version stored it, with the defaults of what came since."""
    train = config.get("train", {})
    if not {"schedule", "optimizer"} <= train.keys():
        return config
    later = {name: catalogue.TRAIN[name].default for name in _LATER if name not in train}
    groups = {part: complete_group(part, train[part]) for part in ("schedule", "optimizer")}
    data = {**config["data"], "transforms": config["data"].get("transforms") or []}
    if "class_path" in data:
        data.setdefault("images", True)  # As arrays (N, H, W) of a function were taken.
    return {**config, "data": data, "train": {**train, **later, **groups}}


def identity(config: Config) -> dict[str, Any]:
    """What of a config decides the measurement: a file's path does not, its content does. What
    runs of before did not have is left out where it says nothing: no measurement is lost to it."""
    if "params" in config:
        return dict(config)
    data = dict(config["data"])
    source = catalogue.DATA.get(data.get("name", ""))
    for name, parameter in (source.parameters if source else {}).items():
        if parameter.kind == "path":
            data.pop(name, None)
    if "class_path" in data:
        data = {key: part for key, part in data.items() if key not in _ABSENT or part is not None}
    elif data.get("name") not in ("csv", "parquet") and data.get("task") is None:
        data.pop("task", None)  # Only these two have had it from the beginning.
    if not data.get("shuffle"):
        data.pop("shuffle", None)
    data.pop("images", None)  # The shape of the samples is part of the data's hash.
    if not data.get("transforms"):
        data.pop("transforms", None)
    train = {
        key: part
        for key, part in config["train"].items()
        if key not in _LATER or part != catalogue.TRAIN[key].default
    }
    train["schedule"] = {key: part for key, part in train["schedule"].items() if part is not None}
    return {"data": data, "model": config["model"], "train": train}


def trial_key(config: Config, content: Mapping[str, Any], seed: int, fold: int | None) -> str:
    """SHA-256 (hex) of everything that decides what a trial measures. `content` has the hashes of
    the data and of user code, which a config only names."""
    whole = {
        "version": TRAINING_VERSION,
        "config": identity(config),
        "content": dict(content),
        "seed": seed,
        "fold": fold,
    }
    text = json.dumps(whole, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def differences(spec: Spec, config: Config, task: str | None = None) -> list[str]:
    """Where a stored config departs from what the spec fixes: `train.budget: 20ep stored, 5ep in
    the spec`. Empty when the config belongs to the spec, inside its space or not."""
    return make_comparison(spec, task)(config)


def make_comparison(spec: Spec, task: str | None = None) -> Callable[[Config], list[str]]:
    """`differences` of many configs from one spec."""
    present = identity(resolve_fixed(spec, task))
    searched = {config_path(path) for path, _ in spec.space.dimensions}
    if spec.own is not None:
        own, names = spec.own, [name for name, _ in spec.space.dimensions]
        return lambda config: _compare_own(config, present, names, own)
    optimizers = dict(spec.space.dimensions).get("optimizer")
    if isinstance(optimizers, Choice) and any(_carries_rate(part) for part in optimizers.options):
        searched.add("train.lr")

    def compare(config: Config) -> list[str]:
        found: list[str] = []
        _compare(identity(config), present, "", searched, found)
        return found

    return compare


def _compare_own(config: Config, present: Config, names: Sequence[str], own: Own) -> list[str]:
    found: list[str] = []
    searched = {f"params.{name}" for name in (*names, *own.derived)}
    _compare(identity(config), present, "", searched, found)
    # No parameter of an own training has a default that would stand for it.
    given = config.get("params", {})
    found += [f"params.{name}: not given, and searched now" for name in names if name not in given]
    if not found and own.derived:
        params = dict(given)
        derive(own, params)
        for name, formula in own.derived.items():
            if name not in given or not same(given[name], params[name]):
                stored = json.dumps(given[name]) if name in given else "not given"
                found.append(f"params.{name}: {stored} stored, {formula} in the spec")
    return found


def resolve_fixed(spec: Spec, task: str | None) -> dict[str, Any]:
    """The config of the spec's fixed values alone, what is searched at any value."""
    if spec.own is not None:
        return _own_config(spec.own, spec.train)
    train = dict(spec.train)
    if train["loss"] is None and task is not None and train["step"] is None:
        train["loss"] = catalogue.default_loss(task)
    return {"data": spec.data, "model": spec.model, "train": train}


def _carries_rate(option: Option) -> bool:
    own = {path for path, _ in option.space.dimensions}
    return "lr" in own or (isinstance(option.value, Mapping) and "lr" in option.value)


def _compare(stored: Any, present: Any, path: str, searched: set[str], found: list[str]) -> None:
    if path in searched:
        return
    if isinstance(stored, Mapping) and isinstance(present, Mapping):
        # Values are canonical by now, so Python's equality is enough where it holds.
        if stored == present:
            return
        for name in dict.fromkeys((*present, *stored)):
            inner = f"{path}.{name}" if path else str(name)
            _compare(stored.get(name), present.get(name), inner, searched, found)
    elif not same(stored, present):
        if any(name.startswith(path + ".") for name in searched) and (
            stored is None or present is None
        ):
            # warmup.for is searched while the fixed warmup is null: the search makes the mapping.
            return
        left, right = (json.dumps(value, default=str) for value in (stored, present))
        found.append(f"{path}: {left} stored, {right} in the spec")


def flatten(space: Space, config: Config) -> dict[str, Any]:
    """Every value in which points of the space can differ, flat: {"lr": 0.1, "schedule":
    "one_cycle", "schedule.pct_start": 0.3}. An optimizer's own rate is `lr`."""
    flat: dict[str, Any] = {}
    own = "params" in config
    for path, dimension in space.dimensions:
        try:
            value = get_path(config, f"params.{path}" if own else config_path(path))
        except KeyError:
            continue
        if not isinstance(value, Mapping):
            flat[path] = value
            continue
        title = value.get("name", value.get("class_path"))
        if title is not None:
            flat[path] = title
        for name in _distinguishing(dimension, title):
            if path == "optimizer" and name == "lr" and not own:
                continue
            try:
                flat[f"{path}.{name}"] = get_path(value, name)
            except KeyError:
                continue
        options = dimension.options if isinstance(dimension, Choice) else ()
        if path == "optimizer" and any(map(_carries_rate, options)) and not own:
            # Where one option has its own rate, the rates of all may differ.
            flat["lr"] = config["train"]["lr"]
    return flat


def _distinguishing(dimension: Dimension, title: Any) -> list[str]:
    """The arguments in which a choice's options of one name can differ from each other."""
    if not isinstance(dimension, Choice):
        return []
    alike = [
        option
        for option in dimension.options
        if isinstance(option.value, Mapping)
        and option.value.get("name", option.value.get("class_path")) == title
    ]
    names: dict[str, None] = {}
    for option in alike:
        names |= dict.fromkeys(path for path, _ in option.space.dimensions)
        for name, value in option.value.items():
            if name in ("name", "class_path"):
                continue
            if title is None or any(not same(other.value.get(name), value) for other in alike):
                names[name] = None
    return list(names)


def steps_of(config: Config, samples: int) -> int:
    """The optimizer steps of a training on `samples` training samples."""
    train = config["train"]
    budget = duration.parse(train["budget"])
    return duration.budget_steps(budget, samples=samples, batch_size=train["batch_size"])
