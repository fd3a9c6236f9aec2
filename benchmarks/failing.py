"""What `diagnosis.py` trains: tasks that train soundly, and ways to make them go wrong on purpose.

A case is labelled by how it is made, before anything looks at its curve. Data and models that no
spec alone can make are here, too: inputs of a bad scale, units that are dead from the start, and a
deep network of sigmoids.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import sklearn.datasets
import torch
from torch import Tensor, nn
from workloads import Transformer

from lrsearch.train.models.built_in import CNN, MLP
from lrsearch.train.models.resnet import ResNet
from lrsearch.train.models.transformer import CharTransformer

SCHEDULES = (
    {"name": "constant"},
    {"name": "cosine", "final": 0.0},
    {"name": "linear", "final": 0.1},
    {"name": "wsd", "decay": "0.2dur"},
)

OTHERS = (
    {"name": "constant"},
    {"name": "one_cycle"},
    {"name": "wsd", "decay": "0.4dur", "shape": "sqrt"},
    {"name": "exponential", "final": 0.03},
)
"""Schedules of the sound trainings of a task."""

COSINE = {"name": "cosine", "final": 0.0}
STEP = {"name": "step", "gamma": 0.3}
FALLING = {"name": "exponential", "final": 0.05}


@dataclass(frozen=True)
class Task:
    """A spec that trains soundly: its `rates` by optimizer; `tiny` are the model's arguments that
    leave it too small, `little` the data's that leave some 100 samples to train on, `large` the
    model's for these. `scaled` names the data for `scaled_inputs`, "" where there are none;
    `schedules` are those of the sound ones, `restarts` the multiples of the rate at the edge that
    these begin at, and an edge is where so many seeds agree on it (`edge_seeds`); `short` are
    what a budget that is too short is divided by, `plain` are the settings that leave
    regularisation away, `small` the schedules of models that are too small; a `plateau` is trained
    on where a deep model takes the data."""

    data: Mapping[str, Any]
    model: Mapping[str, Any]
    batch_size: int
    steps: int
    rates: Mapping[str, float]
    tiny: Mapping[str, Any]
    little: Mapping[str, Any]
    large: Mapping[str, Any] = field(default_factory=dict)
    scaled: str = ""
    train: Mapping[str, Any] = field(default_factory=dict)
    loss: Any = "cross_entropy"
    schedules: Sequence[Mapping[str, Any]] = SCHEDULES
    restarts: tuple[float, float] = (1.5, 2.0)
    edge_seeds: int = 1
    short: tuple[int, int] = (20, 30)
    plain: Mapping[str, Any] = field(default_factory=dict)
    small: Sequence[Mapping[str, Any]] = SCHEDULES[:2]
    plateau: bool = False


DIGITS = {"name": "digits", "standardize": True}
TINY = {"name": "mlp", "hidden": [1], "activation": "tanh"}
"""A model of one unit: ten classes do not come apart through it."""

TASKS = {
    # Rules and constants are set on these ...
    "digits-mlp": Task(
        DIGITS,
        {"name": "mlp", "hidden": [64, 64]},
        32,
        900,
        {"sgd": 0.02, "adamw": 1e-3},
        TINY,
        {"validation": 0.944},
        {"hidden": [256, 256]},
        "digits",
    ),
    "diabetes-mlp": Task(
        {"name": "diabetes", "standardize": True},
        {"name": "mlp", "hidden": [8]},
        32,
        250,
        {"sgd": 0.005, "adamw": 2.5e-3},
        {"dropout": 0.9},
        {"validation": 0.77},
        {"hidden": [256, 256]},
        "diabetes",
        loss="mse",
    ),
    "digits-cnn": Task(
        DIGITS,
        {"name": "cnn", "channels": [8, 16]},
        32,
        500,
        {"sgd": 0.02, "adamw": 3e-3},
        TINY,
        {"validation": 0.944},
        {},
        "digits",
    ),
    "digits-transformer": Task(
        DIGITS,
        {"class_path": "workloads.Transformer"},
        32,
        700,
        {"sgd": 0.02, "adamw": 2e-3},
        TINY,
        {"validation": 0.944},
    ),
    "friedman-mlp": Task(
        {"class_path": "failing.load", "init_args": {"name": "friedman"}, "validation": 0.2},
        {"name": "mlp", "hidden": [32, 32]},
        32,
        500,
        {"sgd": 0.02, "adamw": 6e-3},
        {"dropout": 0.9},
        {"class_path": "failing.load", "init_args": {"name": "friedman"}, "validation": 0.9},
        {"hidden": [256, 256]},
        "friedman",
        loss="mse",
    ),
    "mnist-mlp": Task(
        {"name": "npz", "samples": 2500, "standardize": True, "validation": 0.2},
        {"name": "mlp", "hidden": [64], "batch_norm": True, "activation": "gelu",
         "dropout": 0.2},
        64,
        400,
        {"sgd": 0.03, "adamw": 2e-3},
        TINY,
        {"validation": 0.95},
        {"hidden": [256]},
    ),
    "text-gru": Task(
        {"name": "text", "context": 24, "validation": 0.1, "samples": 5000},
        {"class_path": "failing.Recurrent", "init_args": {"kind": "GRU"}},
        16,
        1200,
        {"sgd": 0.2, "adamw": 6e-3},
        {"width": 2},
        {"samples": 110},
    ),
    # ... looked at on these ...
    "cancer-mlp": Task(
        {"name": "breast_cancer", "standardize": True},
        {"name": "mlp", "hidden": [32, 32]},
        32,
        250,
        {"sgd": 0.01, "adamw": 1e-3},
        {"dropout": 0.95},
        {"validation": 0.82},
        {"hidden": [256, 256]},
        "breast_cancer",
    ),
    "mnist-cnn": Task(
        {"name": "npz", "samples": 2500, "standardize": True, "validation": 0.2},
        {"name": "cnn", "channels": [4, 8]},
        32,
        300,
        {"sgd": 0.03, "adamw": 5e-3},
        TINY,
        {"samples": 125, "validation": 0.2},
    ),
    "digits-resnet": Task(
        DIGITS,
        {"name": "resnet", "depth": 8, "width": 8},
        64,
        250,
        {"sgd": 0.05, "adamw": 3e-3},
        {"width": 1},
        {"validation": 0.944},
    ),
    "text-transformer": Task(
        {"name": "text", "context": 32, "validation": 0.1, "samples": 6000},
        {"name": "char_transformer", "layers": 2, "heads": 2, "width": 48},
        16,
        700,
        {"sgd": 0.3, "adamw": 4e-3},
        {"width": 2, "layers": 1},
        {"samples": 110},
        train={"clip_norm": 1.0},
    ),
    # ... on these, which were judged once, before what they showed was mended ...
    "wine-mlp": Task(
        {"name": "wine", "standardize": True},
        {"name": "mlp", "hidden": [16], "activation": "tanh"},
        16,
        250,
        {"sgd": 0.03, "adamw": 8e-3},
        {"dropout": 0.9},
        {"validation": 0.5},
        {"hidden": [256, 256]},
        "wine",
    ),
    "mnist-crops": Task(
        {"name": "npz", "samples": 2500, "standardize": True, "validation": 0.2,
         "transforms": [{"name": "random_crop", "padding": 2}]},
        {"name": "cnn", "channels": [6, 12], "batch_norm": True},
        64,
        250,
        {"sgd": 0.03, "adamw": 5e-3},
        TINY,
        {"validation": 0.95, "transforms": []},
    ),
    "digits-autoencoder": Task(
        {"class_path": "failing.load", "init_args": {"name": "pixels"}, "validation": 0.2},
        {"name": "mlp", "hidden": [48, 12, 48]},
        32,
        1500,
        {"sgd": 0.05, "adamw": 3e-3},
        {"hidden": [1]},
        {"class_path": "failing.load", "init_args": {"name": "pixels"}, "validation": 0.944},
        {"hidden": [256, 64, 256]},
        "pixels",
        loss="mse",
    ),
    "text-lstm": Task(
        {"name": "text", "context": 32, "validation": 0.1, "samples": 6000},
        {"class_path": "failing.Recurrent", "init_args": {"kind": "LSTM", "width": 48}},
        16,
        900,
        {"sgd": 0.6, "adamw": 8e-3},
        {"width": 2},
        {"samples": 110},
        train={"clip_norm": 1.0},
    ),
    # ... these, too, before neighbours were looked at ...
    "digits-gru": Task(
        DIGITS,
        {"class_path": "failing.Rows"},
        32,
        600,
        {"sgd": 0.1, "adamw": 6e-3},
        {"width": 1},
        {"validation": 0.944},
    ),
    "friedman2-mlp": Task(
        {"class_path": "failing.load", "init_args": {"name": "friedman2"}, "validation": 0.2},
        {"name": "mlp", "hidden": [48, 48], "activation": "gelu"},
        64,
        600,
        {"sgd": 0.025, "adamw": 1.3e-3},
        {"dropout": 0.9},
        {"class_path": "failing.load", "init_args": {"name": "friedman2"}, "validation": 0.95},
        {"hidden": [256, 256]},
        "friedman2",
        loss="mse",
    ),
    # ... three more, judged once, before budgets were made by a rule ...
    "classes-mlp": Task(
        {"class_path": "failing.load", "init_args": {"name": "classes"}, "validation": 0.2},
        {"name": "mlp", "hidden": [48, 48], "activation": "silu"},
        32,
        600,
        {"rmsprop": 1e-3, "sgd": 0.01},
        TINY,
        {"class_path": "failing.load", "init_args": {"name": "classes"}, "validation": 0.975},
        {"hidden": [256, 256]},
        "classes",
    ),
    "digits-mixer": Task(
        DIGITS,
        {"class_path": "failing.Mixer"},
        48,
        900,
        {"lion": 3e-4},
        {"width": 1},
        {"validation": 0.944},
        {"width": 48},
    ),
    "images-autoencoder": Task(
        {"class_path": "failing.load", "init_args": {"name": "images"}, "validation": 0.2},
        {"name": "mlp", "hidden": [32, 8, 32], "activation": "tanh"},
        32,
        800,
        {"adam": 2e-3},
        {"hidden": [1]},
        {"class_path": "failing.load", "init_args": {"name": "images"}, "validation": 0.9},
        {"hidden": [256, 64, 256]},
        "images",
        loss="mse",
    ),
    # ... four more, judged once, before schedules other than the constant one were made wrong ...
    "waves-conv": Task(
        {"class_path": "unseen.load", "init_args": {"name": "waves"}, "validation": 0.25},
        {"class_path": "unseen.Signals"},
        32,
        1200,
        {"nesterov": 0.014, "rmsprop": 2.8e-3},
        {"width": 1},
        {"class_path": "unseen.load", "init_args": {"name": "waves"}, "validation": 0.97},
        {"width": 24},
        "unseen.waves",
        schedules=OTHERS,
        restarts=(1.0, 1.5),
        edge_seeds=3,
        short=(60, 80),
    ),
    "table-wide": Task(
        {"class_path": "unseen.load", "init_args": {"name": "table"}, "validation": 0.25},
        {"class_path": "unseen.WideDeep"},
        32,
        2400,
        {"lion": 6e-4, "adamax": 1.6e-2},
        {"width": 1},
        {"class_path": "unseen.load", "init_args": {"name": "table"}, "validation": 0.95},
        {"width": 128},
        "unseen.table",
        loss="mse",
        schedules=OTHERS,
        restarts=(1.0, 1.5),
        edge_seeds=3,
    ),
    "mnist-patches": Task(
        {"name": "npz", "samples": 2500, "standardize": True, "validation": 0.2},
        {"class_path": "unseen.Patches", "init_args": {"layers": 1}},
        32,
        800,
        {"muon": 8e-3},
        {"width": 2},
        {"samples": 130, "validation": 0.2},
        schedules=OTHERS,
        restarts=(1.0, 1.5),
        edge_seeds=3,
    ),
    "text-causal": Task(
        {"name": "text", "context": 24, "validation": 0.1, "samples": 5000},
        {"class_path": "unseen.Causal"},
        16,
        1200,
        {"radam": 1.2e-2},
        {"width": 1},
        {"samples": 110},
        {"width": 64},
        schedules=OTHERS,
        restarts=(1.0, 1.5),
        edge_seeds=3,
    ),
    # ... and reported on these, which were judged once, when all was set.
    "arm-gated": Task(
        {"class_path": "fresh.load", "init_args": {"name": "arm"}, "validation": 0.25},
        {"class_path": "fresh.Gated"},
        32,
        2000,
        {"nadam": 4.2e-3, "adamw_long": 4.2e-3},
        {"width": 1},
        {"class_path": "fresh.load", "init_args": {"name": "arm"}, "validation": 0.975},
        {"width": 128},
        "fresh.arm",
        {"schedule": {"name": "inverse_sqrt"}},
        "huber",
        ({"name": "inverse_sqrt"}, {"name": "polynomial"}, {"name": "constant"}, COSINE),
        (0.35, 0.5),
        3,
        small=({"name": "inverse_sqrt"}, {"name": "polynomial"}),
        plateau=True,
    ),
    "shapes-inverted": Task(
        {"class_path": "fresh.load", "init_args": {"name": "shapes"}, "validation": 0.25},
        {"class_path": "fresh.Inverted"},
        32,
        1200,
        {"nesterov_decay": 0.1, "amsgrad": 1.4e-2},
        {"width": 1},
        {"class_path": "fresh.load", "init_args": {"name": "shapes"}, "validation": 0.967},
        {"width": 24},
        "fresh.shapes",
        {"label_smoothing": 0.1, "warmup": "0.1dur", "schedule": COSINE},
        schedules=(COSINE, {"name": "multistep"}, {"name": "constant"}, {"name": "tanh"}),
        restarts=(1.0, 1.5),
        edge_seeds=3,
        plain={"label_smoothing": 0.0, "optimizer": {"weight_decay": 0.0}},
        small=(COSINE, {"name": "multistep"}),
        plateau=True,
    ),
    "tags-lstm": Task(
        {"class_path": "fresh.load", "init_args": {"name": "tags"}, "validation": 0.25},
        {"class_path": "fresh.Tagger"},
        16,
        700,
        {"adam": 1e-2, "adagrad": 7e-2},
        {"width": 1},
        {"class_path": "fresh.load", "init_args": {"name": "tags"}, "validation": 0.967},
        {"width": 32},
        "",
        {"clip_norm": 1.0, "schedule": STEP},
        {"class_path": "torch.nn.CrossEntropyLoss"},
        schedules=(STEP, {"name": "constant"}, {"name": "linear", "final": 0.0}, COSINE),
        restarts=(1.0, 1.5),
        edge_seeds=3,
        small=(STEP, {"name": "constant"}),
    ),
    "clients-residual": Task(
        {"class_path": "fresh.load", "init_args": {"name": "clients"}, "validation": 0.2},
        {"class_path": "fresh.Residual"},
        64,
        2000,
        {"rmsprop_momentum": 3e-4, "sgd_plain": 0.4},
        {"width": 2},
        {"class_path": "fresh.load", "init_args": {"name": "clients"}, "validation": 0.993},
        {"width": 64, "dropout": 0.0},
        "fresh.clients",
        {"schedule": FALLING},
        schedules=(FALLING, {"name": "constant"}, COSINE, {"name": "inverse_time"}),
        restarts=(1.0, 1.5),
        edge_seeds=3,
        short=(100, 150),
        small=(FALLING, {"name": "constant"}),
        plateau=True,
    ),
}  # fmt: skip

FRESH = tuple(TASKS)[-4:]
"""The tasks that were judged once, when all was set."""

SETTING = tuple(TASKS)[:7]
"""The tasks that rules were set on."""

OPTIMIZERS = {
    "sgd": {"name": "sgd", "momentum": 0.9},
    "adamw": {"name": "adamw"},
    "adam": {"name": "adam"},
    "rmsprop": {"name": "rmsprop"},
    "lion": {"name": "lion"},
    "nesterov": {"name": "sgd", "momentum": 0.9, "nesterov": True},
    "adamax": {"name": "adamax"},
    "nadam": {"name": "nadam"},
    "radam": {"name": "radam"},
    "muon": {"name": "muon"},
    "adamw_long": {"name": "adamw", "beta2": 0.95, "weight_decay": 0.1},
    "nesterov_decay": {"name": "sgd", "momentum": 0.9, "nesterov": True, "weight_decay": 5e-4},
    "amsgrad": {"name": "amsgrad"},
    "adagrad": {"name": "adagrad"},
    "sgd_plain": {"name": "sgd"},
    "rmsprop_momentum": {"name": "rmsprop", "momentum": 0.9},
}
"""Optimizers by name; a task's `rates` say which it is trained by."""


@dataclass(frozen=True)
class Case:
    """A training. `labels` are the verdicts that are right for how it was made, the first of them
    the one it was made for; `how` is the way. `spec` has the parts of a spec, `seed` is the
    trial's."""

    task: str
    optimizer: str
    labels: tuple[str, ...]
    how: str
    spec: Mapping[str, Any]
    seed: int

    @property
    def structure(self) -> tuple[Any, ...]:
        """Equal of cases that may train side by side."""
        train = self.spec["train"]
        return (
            self.task, self.how, self.optimizer, train["batch_size"], train["budget"],
            repr(self.spec["model"]), repr(self.spec["data"]),
        )  # fmt: skip


def make(name: str, family: str, how: str, labels: Sequence[str], seed: int, **more: Any) -> Case:
    """A case of a task: the sound spec and what is changed in it. Of `more`, `data` and `model` are
    laid over the task's (with a name or a class path put in its place), `steps` is the budget, the
    rest is `train`'s."""
    task = TASKS[name]
    data, model = (
        _laid(own, given)
        for own, given in ((task.data, more.pop("data", {})), (task.model, more.pop("model", {})))
    )
    steps = more.pop("steps", task.steps)
    chosen = {**OPTIMIZERS[family], **more.pop("optimizer", {})}
    train = {
        "budget": f"{steps}ba",
        "evaluate": f"{max(1, round(steps / EVALUATIONS))}ba",
        "batch_size": task.batch_size,
        "lr": task.rates[family],
        "schedule": {"name": "constant"},
        "loss": task.loss,
        "optimizer": chosen,
        **task.train,
        **more,
    }
    spec = {"data": data, "model": model, "train": train}
    return Case(name, family, tuple(labels), how, spec, seed)


EVALUATIONS = 25
"""Evaluations of a training."""


def _laid(own: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    if {"class_path", "name"} & given.keys():
        return dict(given)
    if "class_path" not in own:
        return {**own, **given}
    arguments = {**own.get("init_args", {}), **given}
    return {**own, "init_args": arguments} if arguments else dict(own)


def healthy(name: str, optimizer: str) -> list[Case]:
    """Thirteen sound trainings: four schedules, three rates, seeds of their own."""
    cases = []
    rate, schedules = TASKS[name].rates[optimizer], TASKS[name].schedules
    for index in range(13):
        schedule = schedules[index % len(schedules)]
        times = (1.0, 0.5, 2.0)[index % 3]
        cases.append(
            make(name, optimizer, "sound", ["healthy"], 100 + index, lr=rate * times,
                 schedule=schedule)
        )  # fmt: skip
    return cases


def wrong(name: str, optimizer: str, edge: float) -> list[Case]:
    """The trainings of a task that are made to go wrong, two or more for each way; `edge` is the
    largest rate that it trains with at all, 0 where there is none that costs something."""
    task, cases = TASKS[name], []

    def add(how: str, labels: Sequence[str], **more: Any) -> None:
        cases.append(make(name, optimizer, how, labels, len(cases), **copy.deepcopy(more)))

    rate = task.rates[optimizer]
    adam = (
        OPTIMIZERS[optimizer]["name"] != "sgd"
    )  # Its steps are of the size of the rate, whatever the gradient.
    for times in (1e3, 3e3):
        add("far too high a rate", ["diverged"], lr=rate * times * (100 if adam else 1))
    for times in (0.01, 0.005):
        add("far too low a rate", ["too_slow"], lr=rate * times)
    for share in task.short:
        add("too short a budget", ["too_slow"], steps=max(10, task.steps // share))
    for times in (1e-6, 1e-7):
        add("a rate of next to nothing", ["stagnating"], lr=rate * times)
    if task.scaled:
        for scale in (1e-5, 1e-6):
            add("inputs of a bad scale", ["stagnating"], data=_load(task, scale=scale))
    own = task.model.get("class_path", "").startswith("unseen.") and task.data.get("name") != "text"
    if task.model.get("name") == "mlp" or own or task.plateau:
        model = {"class_path": "failing.DeepSigmoid"}
        for seed in (20, 21):
            settings = {} if adam else {"optimizer": {"momentum": 0.0}}
            cases.append(
                make(name, optimizer, "a plateau", ["stagnating"], seed, model=dict(model),
                     lr=rate if not adam else rate * 0.1, **settings)
            )  # fmt: skip
    for bias in (False, False, True):
        # Units of tanh are one below zero where they are dead: the layer behind has a bias of them.
        learns = bias or task.model.get("activation") == "tanh"
        labels = ["dead", "stagnating"] if learns else ["dead"]
        add("units dead from the start", labels, model=_dead(task, bias))
    for steps in (task.steps, 2 * task.steps):
        add("100 samples", ["overfitting"], data=task.little, model=task.large, steps=steps,
            batch_size=16, **task.plain)  # fmt: skip
    for schedule in task.small:
        add("too small a model", ["underfitting"], model=task.tiny, schedule=schedule)
    if not edge:
        return cases
    for _ in range(2):
        add("a rate at the edge", ["oscillating", "unstable"], lr=edge)
    for times in task.restarts:
        restarts = {"name": "cosine_restarts", "cycles": 4}
        high = ["unstable", "oscillating"]
        add("restarts at the edge", high, lr=edge * times, schedule=restarts)
    return cases


def _load(task: Task, **more: Any) -> dict[str, Any]:
    module, _, name = task.scaled.rpartition(".")
    arguments = {"name": name, **more}
    path = f"{module or 'failing'}.load"
    return {"class_path": path, "init_args": arguments, "validation": 0.2}


def _dead(task: Task, bias: bool) -> dict[str, Any]:
    given = dict(task.model)
    module, _, kind = given.pop("class_path", "").lower().rpartition(".")
    arguments = {"kind": given.pop("name", kind), "bias": bias, "arguments": given}
    if kind:
        del arguments["arguments"]
        arguments |= {"arguments": given["init_args"]} if "init_args" in given else {}
    path = f"{module}.Rectified" if module in ("unseen", "fresh") else "failing.Dead"
    return {"class_path": path, "init_args": arguments}


def ladder(
    name: str, optimizer: str, first: float = 0.0, factor: float = 1.6, rates: int = 13
) -> list[list[Case]]:
    """Trainings at rates from the sound one, or another `first`, up, each 1.6 times the one before:
    by seed."""
    low = first or TASKS[name].rates[optimizer]
    return [
        [
            make(name, optimizer, "ladder", ["?"], 50 + seed, lr=float(f"{low * factor**step:.6g}"))
            for step in range(rates)
        ]
        for seed in range(TASKS[name].edge_seeds)
    ]


FACTORS = tuple(4.0**k for k in range(-3, 4))
"""The rates of a search, as multiples of a task's sound one."""


def search(case: Case) -> list[Case]:
    """The trainings of a search that a case stands in: all but the rate and the seed are its
    own."""
    rate = TASKS[case.task].rates[case.optimizer]
    found = []
    for factor in FACTORS:
        spec = copy.deepcopy({**case.spec})
        spec["train"]["lr"] = float(f"{rate * factor:.6g}")
        found.append(replace(case, labels=("?",), how=f"around {case.how}", spec=spec, seed=70))
    return found


SCATTERED = 24
"""Trials of a random search through rate and weight decay."""


def scatter(case: Case) -> list[Case]:
    """A case with a weight decay in the middle of its range, and the trainings of a random search
    through rate and weight decay that it stands in: no two differ in the rate alone."""
    rate = TASKS[case.task].rates[case.optimizer]
    draw = np.random.default_rng(5)
    rates = [case.spec["train"]["lr"], *(rate * 64 ** draw.uniform(-1, 1, SCATTERED))]
    decays = [3e-5, *(10 ** draw.uniform(-6, -3, SCATTERED))]
    found = []
    for lr, decay in zip(rates, decays, strict=True):
        spec = copy.deepcopy({**case.spec})
        spec["train"]["lr"] = float(f"{lr:.6g}")
        spec["train"]["optimizer"]["weight_decay"] = float(f"{decay:.6g}")
        found.append(replace(case, how=f"scattered {case.how}", spec=spec, seed=70))
    return [replace(found[0], how=case.how, seed=case.seed), *found[1:]]


# Data and models that are not sound ----------------------------------------------------------


def load(
    name: str, scale: float = 1.0, outliers: int = 0
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """The data of scikit-learn's of that name, standardized, times a scale, and so many `outliers`
    in a thousand samples times thirty once more: (x, y). `friedman` are Friedman's 1,000 noisy
    samples of a function, `friedman2` 2,000 of his second, `pixels` the digits that are to
    come out as they went in; `classes` are 4,000 samples of six classes, a cluster each,
    `images` 1,000 smooth images of eight numbers each, which are to come out as they went in."""
    if name == "friedman":
        x, y = sklearn.datasets.make_friedman1(1000, noise=1.0, random_state=0)
        y = (y - y.mean()) / y.std()
    elif name == "friedman2":
        x, y = sklearn.datasets.make_friedman2(2000, noise=100.0, random_state=0)
        y = (y - y.mean()) / y.std()
    elif name == "classes":
        x, y = sklearn.datasets.make_classification(
            4000,
            20,
            n_informative=12,
            n_classes=6,
            n_clusters_per_class=1,
            class_sep=1.5,
            random_state=0,
        )
    elif name == "images":
        x = y = _images(1000)
    else:
        source = "digits" if name == "pixels" else name
        x, y = getattr(sklearn.datasets, f"load_{source}")(return_X_y=True)
    x = (x - x.mean(0)) / (x.std(0) + 1e-6)
    if name in ("pixels", "images"):
        y = x
    x = scale * x
    if outliers:
        x[:: 1000 // outliers] *= 30
    if name == "digits":
        x = x.reshape(-1, 1, 8, 8)
    kind = np.int64 if y.dtype.kind == "i" else np.float32
    return x.astype(np.float32), y.astype(kind)


def _images(samples: int) -> np.ndarray[Any, Any]:
    """Images of 8 x 8 that blend smooth ones, which eight numbers each decide, not linearly."""
    draw = np.random.default_rng(0)
    code = draw.standard_normal((samples, 8))
    waves = np.outer(np.linspace(0, 1, 8), np.arange(1, 9)).ravel()[:64]
    basis = np.cos(np.pi * waves[None] * np.arange(1, 17)[:, None])
    mixed = np.tanh(code @ draw.standard_normal((8, 16)))
    return mixed @ basis + 0.1 * draw.standard_normal((samples, 64))


class DeepSigmoid(nn.Module):
    """Ten layers of sigmoids, through which next to no gradient comes (Glorot & Bengio 2010)."""

    def __init__(self, in_features: int, num_classes: int) -> None:
        super().__init__()
        widths = [in_features] + 10 * [32]
        layers: list[nn.Module] = [nn.Flatten()]
        for before, after in itertools.pairwise(widths):
            layers += [nn.Linear(before, after), nn.Sigmoid()]
        self.body = nn.Sequential(*layers, nn.Linear(widths[-1], num_classes))

    def forward(self, x: Tensor) -> Tensor:
        """[batch, ...] to [batch, num_classes]."""
        out: Tensor = self.body(x)
        return out


class Recurrent(nn.Module):
    """A recurrent model of characters: `kind` is GRU or LSTM."""

    def __init__(self, in_features: int, num_classes: int, kind: str, width: int = 32) -> None:
        super().__init__()
        self.embedding = nn.Embedding(num_classes, width)
        self.cells = getattr(nn, kind)(width, width, batch_first=True)
        self.head = nn.Linear(width, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Places in the vocabulary, int64 [batch, context], to [batch, context, num_classes]."""
        out: Tensor = self.head(self.cells(self.embedding(x))[0])
        return out


class Rows(nn.Module):
    """A recurrent model that reads an 8x8 image row by row."""

    def __init__(self, num_classes: int, width: int = 32) -> None:
        super().__init__()
        self.cells = nn.GRU(8, width, batch_first=True)
        self.head = nn.Linear(width, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Images [batch, 1, 8, 8] to [batch, num_classes]."""
        out: Tensor = self.head(self.cells(x.squeeze(1))[0][:, -1])
        return out


class Mixer(nn.Module):
    """An MLP-mixer (Tolstikhin et al. 2021) of the sixteen patches of an 8x8 image."""

    def __init__(self, num_classes: int, width: int = 24) -> None:
        super().__init__()
        self.patches = nn.Conv2d(1, width, 2, stride=2)
        self.over_places = nn.Sequential(nn.Linear(16, 32), nn.GELU(), nn.Linear(32, 16))
        self.over_channels = nn.Sequential(nn.Linear(width, 48), nn.GELU(), nn.Linear(48, width))
        self.norms = nn.ModuleList([nn.LayerNorm(width), nn.LayerNorm(width)])
        self.head = nn.Linear(width, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Images [batch, 1, 8, 8] to [batch, num_classes]."""
        seen = self.patches(x).flatten(2).transpose(1, 2)  # [batch, places, channels]
        seen = seen + self.over_places(self.norms[0](seen).transpose(1, 2)).transpose(1, 2)
        seen = seen + self.over_channels(self.norms[1](seen))
        out: Tensor = self.head(seen.mean(1))
        return out


BELOW = -30.0
"""The bias of a unit that is never above zero."""


class Dead(nn.Module):
    """A sound model behind which units are dead from the start: rectified, with biases far below
    zero. Of an MLP or a CNN they are the last hidden ones, so that nothing learns but the output's
    `bias`, where it has one; of others the outputs themselves, as where a last layer is rectified
    by mistake."""

    def __init__(
        self,
        num_classes: int,
        kind: str,
        bias: bool = False,
        arguments: Mapping[str, Any] | None = None,
        in_features: int = 1,
        in_channels: int = 1,
    ) -> None:
        super().__init__()
        given = {**(arguments or {})}
        self.rectified = kind not in ("mlp", "cnn")
        if kind == "mlp":
            own = {"activation": "relu", "dropout": 0.0, "batch_norm": False, **given}
            self.model: nn.Module = MLP(in_features, num_classes, **own)
            self._kill(self.model.body)
        elif kind == "cnn":
            own = {"activation": "relu", "dropout": 0.0, "batch_norm": False, **given}
            self.model = CNN(in_channels, num_classes, **own)
            self._kill(self.model)
        elif kind == "resnet":
            own = {"depth": 8, "width": 8, "activation": "relu", "batch_norm": True, **given}
            self.model = ResNet(in_channels, num_classes, **own)
        elif kind == "char_transformer":
            own = {"dropout": 0.0, "tied": True, "bias": False, **given}
            self.model = CharTransformer(in_features, num_classes, **own)
        elif kind == "recurrent":
            self.model = Recurrent(in_features, num_classes, **(arguments or {}))
        elif kind in ("rows", "mixer"):
            self.model = {"rows": Rows, "mixer": Mixer}[kind](num_classes)
        else:
            self.model = Transformer(num_classes)
        if not self.rectified and not bias:
            self.model.head = nn.Linear(self.model.head.in_features, num_classes, bias=False)

    @torch.no_grad()
    def _kill(self, body: nn.Module) -> None:
        norms = nn.BatchNorm1d | nn.BatchNorm2d  # One behind a layer takes its bias out again.
        found = [each for each in body.modules() if isinstance(each, norms)]
        found = found or [
            each
            for name, each in body.named_modules()
            if isinstance(each, nn.Linear | nn.Conv2d) and name != "head"
        ]
        found[-1].bias.fill_(BELOW)

    def forward(self, x: Tensor) -> Tensor:
        """What the model takes, to its outputs."""
        out: Tensor = self.model(x)
        return torch.relu(out + BELOW) if self.rectified else out
