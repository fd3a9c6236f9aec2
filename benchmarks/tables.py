"""Tables of real trainings that searches and confirmations are drawn from.

Each problem is a grid that lrsearch itself measures in full: on each of a few splits of the data
with a few seeds, which is what a search meets, and with fresh seeds of which each has a split of
its own, which is what a confirmation meets.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from lrsearch.analysis.points import PointSummary, summarize
from lrsearch.trial import Diagnosis, Objective, Outcome, Record, Result, Trial

RESULTS = Path(__file__).parent / "results"
TABLES = RESULTS / "honesty-tables.json"


@dataclass(frozen=True)
class Problem:
    """A grid that is measured in full: `splits` times `seeds` trainings a point, and `fresh` ones
    with a split and a seed of their own each. `tuned` says that the constants of the analysis may
    be set on it."""

    spec: dict[str, Any]
    splits: int = 8
    seeds: int = 5
    fresh: int = 48
    tuned: bool = False


def _spec(data: Any, model: Any, train: Any, metric: str, lr: tuple[float, float]) -> Any:
    return {
        "data": {"name": data, "validation": 0.25, "standardize": True},
        "model": model,
        "train": train,
        "objective": {"metric": metric},
        "search": {
            "lr": {"min": lr[0], "max": lr[1], "points": 9},
            "batch_size": [32, 128],
            "schedule": ["constant", {"name": "cosine", "final": 0.0}],
        },
    }


SGD = {"name": "sgd", "momentum": 0.9}
MLP = {"name": "mlp", "hidden": [32]}
PROBLEMS = {
    "digits-mlp": Problem(
        _spec("digits", MLP, {"budget": "6ep", "optimizer": SGD}, "accuracy", (1e-3, 3.0)),
        tuned=True,
    ),
    "breast-cancer-logistic": Problem(
        _spec(
            "breast_cancer",
            {"name": "logistic"},
            {"budget": "10ep", "optimizer": SGD},
            "loss",
            (1e-3, 10.0),
        ),
        tuned=True,
    ),
    "diabetes-mlp": Problem(
        _spec("diabetes", MLP, {"budget": "10ep", "optimizer": "adamw"}, "rmse", (1e-4, 1.0))
    ),
    "digits-cnn": Problem(
        _spec(
            "digits",
            {"name": "cnn", "channels": [8, 16]},
            {"budget": "3ep", "optimizer": "adamw"},
            "accuracy",
            (1e-4, 1.0),
        ),
        splits=6,
        seeds=4,
    ),
}


DIVERGED = Diagnosis("diverged", 1.0, {}, "")

FRESH = 1000
"""The first of the seeds that draw a split each."""


def runs(name: str) -> dict[str, dict[str, Any]]:
    """The specs of a problem's runs, by their names."""
    problem = PROBLEMS[name]
    specs = {}
    for split in range(problem.splits):
        data = {**problem.spec["data"], "split_seed": split}
        specs[f"{name}-{split}"] = {**problem.spec, "data": data, "seeds": problem.seeds}
    for seed in range(FRESH, FRESH + problem.fresh):
        data = {**problem.spec["data"], "split_seed": seed}
        specs[f"{name}-fresh-{seed - FRESH}"] = {**problem.spec, "data": data, "seed": seed}
    return specs


def train(folder: Path, names: list[str]) -> None:
    """Measure what is missing of the tables."""
    folder.mkdir(parents=True, exist_ok=True)
    for run, spec in [each for name in names for each in runs(name).items()]:
        path, written = folder / f"{run}.yaml", folder / f"{run}.json"
        if written.exists():
            continue
        path.write_text(yaml.safe_dump(spec))
        command = [sys.executable, "-m", "lrsearch", "grid", str(path), "--quiet", "--json"]
        command += ["--runs", str(folder / "runs"), "--device", "cpu"]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        written.write_text(done.stdout)
        print(run, flush=True)


def collect(folder: Path) -> dict[str, Any]:
    """The tables: by problem its goal, its metric and its points; of each its parameters, by split
    the objective of each seed, and the `fresh` ones. A training that diverged is null; one that is
    diagnosed as diverged though it was trained to its end is [value]."""
    tables = {}
    for name in PROBLEMS:
        points: dict[str, Any] = {}
        objective: dict[str, Any] = {}
        for written in runs(name):
            run = json.loads((folder / f"{written}.json").read_text())
            objective = run["objective"]
            part = written.removeprefix(f"{name}-").partition("-")[0]
            for trial in run["trials"]:
                key = json.dumps(trial["params"], sort_keys=True)
                point = points.setdefault(key, {"params": trial["params"], "values": {}})
                value = trial["objective"] if trial["outcome"] == "completed" else None
                lost = any(each["verdict"] == "diverged" for each in trial["verdicts"] or ())
                kept = [value] if lost and value is not None else value
                point["values"].setdefault(part, []).append(kept)
        metric, goal = objective["metric"], objective["goal"]
        tables[name] = {"metric": metric, "goal": goal, "points": list(points.values())}
    return tables


@dataclass(frozen=True)
class Table:
    """A problem measured in full. `values` are [points, splits, seeds] and `fresh` [points,
    trainings], as good as they are low, infinite where a training diverged; `lost` says which of
    `values` are diagnosed as diverged. `params` are those of each point."""

    name: str
    objective: Objective
    params: list[dict[str, Any]]
    values: Any
    fresh: Any
    lost: Any

    @property
    def sign(self) -> float:
        """-1 where more is better."""
        return -1.0 if self.objective.goal == "max" else 1.0

    @property
    def truth(self) -> Any:
        """The mean of each point over fresh seeds and splits, [points]. A training that diverged
        counts as the worst of those that did not."""
        finite = np.isfinite(self.fresh)
        return np.where(finite, self.fresh, self.fresh[finite].max()).mean(axis=1)

    @property
    def noise(self) -> float:
        """The standard deviation of a training of a good point, what its split and its seed do to
        all points taken out: over the eight best points that never diverged."""
        steady = np.flatnonzero(np.isfinite(self.fresh).all(axis=1))
        best = self.fresh[steady[np.argsort(self.truth[steady])[:8]]]
        rest = best - best.mean(axis=0) - best.mean(axis=1, keepdims=True) + best.mean()
        freedom = (best.shape[0] - 1) * (best.shape[1] - 1)
        return math.sqrt(float((rest**2).sum()) / freedom)

    @property
    def spread(self) -> float:
        """The standard deviation of the best point's trainings over fresh seeds and splits."""
        return float(self.fresh[int(self.truth.argmin())].std(ddof=1))

    def groups(self) -> list[tuple[dict[str, Any], list[int]]]:
        """The points of each batch size and schedule, by their rates."""
        found: dict[str, tuple[dict[str, Any], list[int]]] = {}
        for index, params in enumerate(self.params):
            shared = {name: value for name, value in params.items() if name != "lr"}
            found.setdefault(repr(shared), (shared, []))[1].append(index)
        for _, members in found.values():
            members.sort(key=lambda index: self.params[index]["lr"])
        return list(found.values())


def load(path: Path = TABLES) -> list[Table]:
    """The stored tables."""
    tables = []
    for name, stored in json.loads(path.read_text()).items():
        sign = -1.0 if stored["goal"] == "max" else 1.0

        def measure(value: Any, sign: float = sign) -> float:
            value = value[0] if isinstance(value, list) else value
            return math.inf if value is None else sign * value

        kept = [point["values"] for point in stored["points"]]
        splits = [[seeds for key, seeds in own.items() if key != "fresh"] for own in kept]
        tables.append(
            Table(
                name,
                Objective(stored["metric"], stored["goal"]),
                [point["params"] for point in stored["points"]],
                np.array([[[measure(v) for v in seeds] for seeds in own] for own in splits]),
                np.array([[measure(value) for value in own["fresh"]] for own in kept]),
                np.array([[[isinstance(v, list) for v in seeds] for seeds in o] for o in splits]),
            )
        )
    return tables


def search(table: Table, chosen: Any, split: int, seeds: Any) -> list[PointSummary]:
    """The points of a search that measured the `chosen` ones on one split with these seeds: the
    same for all, or [chosen, seeds] of each."""
    records = []
    drawn = np.broadcast_to(seeds, (len(chosen), np.shape(seeds)[-1]))
    for index, own in zip(chosen, drawn, strict=True):
        for seed in own:
            value = float(table.values[index, split, seed])
            diverged = math.isinf(value)
            last = {} if diverged else {table.objective.metric: table.sign * value}
            outcome = Outcome.DIVERGED if diverged else Outcome.COMPLETED
            verdicts = (DIVERGED,) if table.lost[index, split, seed] else ()
            number = len(records) + 1
            trial = Trial(number, str(number), {}, int(seed))
            result = Result(outcome, 1, 1.0, 1.0, last=last, verdicts=verdicts)
            records.append(Record(trial, int(index) + 1, table.params[index], "grid", result))
    return summarize(records, table.objective)
