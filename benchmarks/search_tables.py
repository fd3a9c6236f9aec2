"""Tables of trainings, each with a spec that searches it: what `search_quality.py` replays.

A task answers a point with the curve of its training, an evaluation an epoch, low being good. It is
the seam for what decides on parts of trainings: `Course.epochs` has all that a rung may see.
"""

from __future__ import annotations

import gzip
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from pruning import stands_still

from lrsearch.space import draw_random, every_point, size
from lrsearch.spec import Spec
from lrsearch.spec.document import parse
from lrsearch.spec.validate import validate
from lrsearch.store import read, read_curve
from lrsearch.trial import Outcome, Point

HERE = Path(__file__).resolve().parent
INHOUSE = HERE / "results" / "search-tables.json.gz"
FINETUNED = HERE / "results" / "search-finetuned.json.gz"

RANDOM = 2000
"""Draws that the median of random points is of, and a surrogate's best known point."""


@dataclass(frozen=True)
class Course:
    """A training: its value after each epoch, low being good; not finite from where it diverged.

    `start` is its loss before the first step, None where nobody knows, and `training` and
    `validation` are its losses after each epoch, by which `no_progress` judges."""

    epochs: tuple[float, ...]
    start: float | None = None
    training: tuple[float, ...] = ()
    validation: tuple[float, ...] = ()

    @property
    def value(self) -> float:
        """The value at the end."""
        return self.epochs[-1]

    @property
    def outcome(self) -> Outcome:
        """The outcome of the whole training."""
        return Outcome.COMPLETED if math.isfinite(self.value) else Outcome.DIVERGED

    def stands_still(self, epoch: int) -> bool:
        """Whether it has made no progress after so many epochs; False where nobody knows."""
        if self.start is None:
            return False
        return stands_still(self.start, self.start, self.training, self.validation, epoch)


@dataclass(frozen=True)
class Task:
    """A table of trainings. `course(point)` looks one up."""

    name: str
    text: str
    course: Callable[[Point], Course]

    def spec(self, seed: int = 0, more: str = "") -> Spec:
        """The spec that searches it."""
        text = f"{self.text}\nseed: {seed}\n{more}"
        return validate(parse(text, f"{self.name}.yaml"), HERE, text)

    @cached_property
    def epochs(self) -> int:
        """The epochs of a whole training."""
        return int(self.spec().document["train"]["budget"].removesuffix("ep"))

    @cached_property
    def scale(self) -> tuple[float, float]:
        """The best known value, and that of a median random point, a diverged one being worst."""
        spec = self.spec()
        count = size(spec.space)
        if count is not None and count <= RANDOM:
            values = [self.course(point).value for point in every_point(spec.space)]
        else:
            generator = np.random.default_rng(0)
            points = [draw_random(spec.space, generator) for _ in range(RANDOM)]
            values = [self.course(point).value for point in points]
        finite = np.where(np.isfinite(values), values, np.inf)
        return float(finite.min()), float(np.median(finite))

    def regret(self, value: float) -> float:
        """The regret of a value: 0 the best known, 1 a median random point."""
        best, middle = self.scale
        return max(0.0, (value - best) / (middle - best))


# LCBench


_LCBENCH = """\
name: lcbench
data: digits
model: {class_path: lcbench.Net}
train: {budget: 52ep, optimizer: sgd}
objective: loss
search:
  lr: {min: 1e-4, max: 0.1}
  batch_size: {min: 16, max: 512}
  optimizer.momentum: {min: 0.1, max: 0.99}
  optimizer.weight_decay: {min: 1e-5, max: 0.1, scale: linear}
  model.init_args.num_layers: {min: 1, max: 5}
  model.init_args.max_units: {min: 64, max: 1024, scale: log}
  model.init_args.max_dropout: {min: 0.0, max: 1.0}"""

_INPUTS = (
    *("batch_size", "lr", "optimizer.momentum", "optimizer.weight_decay"),
    *("model.init_args.num_layers", "model.init_args.max_units", "model.init_args.max_dropout"),
)
"""The surrogate's inputs after the epoch, in its order."""


class Surrogate:
    """LCBench's surrogate of YAHPO (Pfisterer et al. 2022): 34 tasks, 52 epochs each."""

    def __init__(self, folder: Path) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(str(folder / "model.onnx"), options)
        encoding = json.loads((folder / "encoding.json").read_text())["OpenML_task_id"]
        space = json.loads((folder / "config_space.json").read_text())["hyperparameters"]
        names = set(space[0]["choices"])
        self.codes = {name: code for name, code in encoding.items() if name in names}

    def course(self, code: int, point: Point) -> Course:
        """The validation error of a training, in percent."""
        rows = np.empty((52, 8), dtype=np.float32)
        rows[:, 0] = np.arange(1, 53)
        rows[:, 1:] = [float(point[name]) for name in _INPUTS]
        fed = {"x_cat": np.full((52, 1), code, dtype=np.int32), "x_cont": rows}
        return Course(tuple(map(float, 100.0 - self.session.run(None, fed)[0][:, 1])))


def lcbench(folder: Path, half: int) -> list[Task]:
    """The tasks at even (0) or odd (1) positions of encoding.json."""
    surrogate = Surrogate(folder)

    def task(name: str, code: int) -> Task:
        return Task(f"lcbench-{name}", _LCBENCH, lambda point: surrogate.course(code, point))

    positions = enumerate(surrogate.codes.items())
    return [task(name, code) for place, (name, code) in positions if place % 2 == half]


# DeepOBS


_OPTIMIZERS = {
    "GradientDescentOptimizer": "sgd",
    "MomentumOptimizer": "{name: sgd, momentum: 0.9}",
    "AdamOptimizer": "adam",
}


def deepobs(path: Path) -> list[Task]:
    """The constant learning rates of DeepOBS (Schneider et al. 2019), by problem and optimizer."""
    with gzip.open(path) as file:
        runs = json.load(file)
    tables: dict[tuple[str, str], dict[float, Course]] = {}
    for run in runs:
        optimizer = run.get("optimizer", "")
        if optimizer not in _OPTIMIZERS or run.get("lr_sched_epochs"):
            continue
        errors = [1.0 - each for each in run.get("test_accuracies") or ()]
        values = errors if any(errors) else list(run["test_losses"])
        values = [each if math.isfinite(each) else math.inf for each in values]
        start, *training = map(float, run["train_losses"])
        validation = [float(each) for each in run["test_losses"]][1:]
        if not math.isfinite(validation[-1]):
            values[-1] = math.inf
        rate = float(f"{run['learning_rate']:.6g}")
        # The first value is of the time before the first step.
        course = Course(tuple(values[1:]), start, tuple(training), tuple(validation))
        tables.setdefault((run["testproblem"], optimizer), {})[rate] = course
    return [_rates(*names, table) for names, table in sorted(tables.items())]


def _rates(problem: str, optimizer: str, table: Mapping[float, Course]) -> Task:
    epochs = len(next(iter(table.values())).epochs)
    text = (
        "name: deepobs\ndata: digits\nmodel: mlp\nobjective: loss\n"
        f"train: {{budget: {epochs}ep, optimizer: {_OPTIMIZERS[optimizer]}}}\n"
        f"search: {{lr: {sorted(table)}}}"
    )
    label = f"{problem}-{optimizer.removesuffix('Optimizer').lower()}"
    return Task(label, text, lambda point: table[float(point["lr"])])


# tables of our own


def collect(run: Path, budget: int) -> dict[str, list[list[float | None]]]:
    """The validation losses of a run after each epoch, to four digits, by point and seed; None from
    where a training diverged."""
    curves: dict[str, list[list[float | None]]] = {}
    history = read(run)
    points = {number: each.point for each in history.proposals for number in each.trials}
    for number in sorted(history.results):
        curve = read_curve(run, number)["loss"]
        kept = [float(f"{value:.4g}") if math.isfinite(value) else None for value in curve]
        kept += [None] * (budget - len(kept))
        curves.setdefault(json.dumps(points[number], sort_keys=True), []).append(kept)
    return curves


def inhouse(path: Path = INHOUSE) -> list[Task]:
    """The tables that `search_quality.py train` made: the mean over the seeds. A network of ten
    classes that has learned nothing has the loss they begin with."""
    with gzip.open(path) as file:
        tables = json.load(file)
    return [_mean(name, table, math.log(10)) for name, table in tables.items()]


def finetuned(path: Path = FINETUNED) -> list[Task]:
    """The tables that `search_finetuned.py` made: the mean over the seeds."""
    with gzip.open(path) as file:
        tables = json.load(file)
    return [_mean(name, table, None) for name, table in tables.items()]


def _mean(name: str, table: Mapping[str, Any], start: float | None) -> Task:
    curves = {}
    for key, seeds in table["curves"].items():
        losses = tuple(np.mean([_finite(curve) for curve in seeds], axis=0).tolist())
        curves[key] = Course(losses, start, losses, losses)

    def course(point: Point) -> Course:
        return curves[json.dumps(point, sort_keys=True)]

    # A training of the table is the mean of its seeds, and counts once.
    return Task(name, table["text"].replace("\nseeds: 3", ""), course)


def _finite(curve: list[float | None]) -> list[float]:
    return [math.inf if each is None else each for each in curve]
