"""How honest the answer is: what it says of a search, held against what is true.

    python benchmarks/honesty.py train --folder FOLDER     # tables of real trainings, some minutes
    python benchmarks/honesty.py replay                    # searches that draw from them

`train` measures every point of a few grids with many seeds, on several splits, by `lrsearch grid`
itself; stopped, it goes on where it was. It writes the tables to `results/honesty-tables.json`.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from lrsearch.analysis.answer import find_answer
from lrsearch.analysis.basin import Basin, find_basins
from lrsearch.analysis.points import PointSummary, best, summarize
from lrsearch.trial import Objective, Outcome, Record, Result, Trial

RESULTS = Path(__file__).parent / "results"
TABLES = RESULTS / "honesty-tables.json"


@dataclass(frozen=True)
class Problem:
    """A grid that is measured in full: `splits` times `seeds` trainings a point. `tuned` says that
    the constants of the analysis may be set on it."""

    spec: dict[str, Any]
    splits: int = 8
    seeds: int = 5
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


def train(folder: Path, names: list[str]) -> None:
    """Measure what is missing of the tables."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        problem = PROBLEMS[name]
        for split in range(problem.splits):
            path = folder / f"{name}-{split}.yaml"
            data = {**problem.spec["data"], "split_seed": split}
            path.write_text(yaml.safe_dump({**problem.spec, "data": data, "seeds": problem.seeds}))
            command = [sys.executable, "-m", "lrsearch", "grid", str(path), "--quiet", "--json"]
            command += ["--runs", str(folder / "runs"), "--device", "cpu"]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            (folder / f"{name}-{split}.json").write_text(done.stdout)
            print(f"{name} {split}", flush=True)


def collect(folder: Path) -> dict[str, Any]:
    """The tables: by problem its goal and its points; of each its parameters, and by split the
    objective of each seed, null for one that diverged."""
    tables = {}
    for name, problem in PROBLEMS.items():
        points: dict[str, Any] = {}
        goal = ""
        for split in range(problem.splits):
            run = json.loads((folder / f"{name}-{split}.json").read_text())
            goal = run["objective"]["goal"]
            for trial in run["trials"]:
                key = json.dumps(trial["params"], sort_keys=True)
                point = points.setdefault(key, {"params": trial["params"], "values": {}})
                value = trial["objective"] if trial["outcome"] == "completed" else None
                point["values"].setdefault(str(split), []).append(value)
        tables[name] = {"goal": goal, "points": list(points.values())}
    return tables


@dataclass(frozen=True)
class Table:
    """A problem measured in full: `values` are [points, splits, seeds], as good as they are low,
    infinite where a training diverged; `params` are those of each point."""

    name: str
    objective: Objective
    params: list[dict[str, Any]]
    values: Any

    @property
    def sign(self) -> float:
        return -1.0 if self.objective.goal == "max" else 1.0

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
    tables = []
    for name, stored in json.loads(path.read_text()).items():
        sign = -1.0 if stored["goal"] == "max" else 1.0
        values = [
            [[math.inf if v is None else sign * v for v in seeds] for seeds in p["values"].values()]
            for p in stored["points"]
        ]
        params = [point["params"] for point in stored["points"]]
        tables.append(Table(name, Objective("value", stored["goal"]), params, np.array(values)))
    return tables


def search(table: Table, chosen: Any, split: int, seeds: Any) -> list[PointSummary]:
    """The points of a search that measured the `chosen` ones on one split with these seeds."""
    records = []
    for index in chosen:
        for seed in seeds:
            value = float(table.values[index, split, seed])
            lost = math.isinf(value)
            last = {} if lost else {"value": table.sign * value}
            outcome = Outcome.DIVERGED if lost else Outcome.COMPLETED
            number = len(records) + 1
            trial = Trial(number, str(number), {}, int(seed))
            result = Result(outcome, 1, 1.0, 1.0, last=last)
            records.append(Record(trial, int(index) + 1, table.params[index], "grid", result))
    return summarize(records, table.objective)


def tied_best(values: Any) -> list[int]:
    """Which rows of [rates, trainings] are as good as the best in truth: their paired difference
    is within two standard errors."""
    means = values.mean(axis=1)
    first = int(means.argmin())
    found = []
    for row in range(len(values)):
        if not np.isfinite(values[row]).all():
            continue
        gaps = values[row] - values[first]
        if gaps.mean() <= 2 * gaps.std(ddof=1) / math.sqrt(len(gaps)):
            found.append(row)
    return found


@dataclass
class Tally:
    """What came of many replayed searches."""

    searches: int = 0
    basins: int = 0
    held: int = 0
    held_over_splits: int = 0
    widths: list[float] = field(default_factory=list)
    curve_held: int = 0
    misses: list[float] = field(default_factory=list)
    curve_misses: list[float] = field(default_factory=list)
    regrets: list[float] = field(default_factory=list)
    said: list[float] = field(default_factory=list)
    first_tied: int = 0
    sizes: list[int] = field(default_factory=list)

    def add(self, table: Table, points: list[PointSummary], split: int) -> None:
        """Hold a search's answer against the table."""
        basins = find_basins(points, table.objective)
        self.searches += 1
        truth = table.values[:, split].mean(axis=1)
        for shared, members in table.groups():
            for basin in basins:
                if all(basin.params.get(name, value) == value for name, value in shared.items()):
                    self._add_basin(table, basin, members, split)
        winner = best(points, table.objective)
        assert winner is not None and winner.objective is not None
        true = float(truth[winner.point - 1])
        if math.isfinite(true):
            # Positive: better than it is, in units of the deviation from seed to seed.
            noise = float(table.values[winner.point - 1, split].std(ddof=1)) or 1.0
            self.misses.append((true - table.sign * winner.objective) / noise)
            own = [b for b in basins if all(winner.params.get(n) == v for n, v in b.params.items())]
            answer = find_answer(points, table.objective)
            assert answer is not None
            best_true = float(truth.min())
            said = float(truth[answer.recommended.point - 1])
            if math.isfinite(said):
                self.regrets.append((true - best_true) / noise)
                self.said.append((said - best_true) / noise)
            group = {answer.recommended.point, *answer.tied}
            measured = [p.point for p in points if math.isfinite(truth[p.point - 1])]
            first = min(measured, key=lambda number: truth[number - 1])
            self.first_tied += first in group
            self.sizes.append(len(group))
            if own:
                middle, low, high = own[0].at(winner.params["lr"])
                self.curve_misses.append((true - table.sign * middle) / noise)
                self.curve_held += low <= table.sign * true <= high

    def _add_basin(self, table: Table, basin: Basin, members: list[int], split: int) -> None:
        rates = np.array([table.params[index]["lr"] for index in members])
        low, high = basin.best_lr
        inside = (rates >= low * 0.999) & (rates <= high * 1.001)
        self.basins += 1
        self.widths.append(math.log10(high / low))
        own = table.values[members]
        self.held += any(inside[row] for row in tied_best(own[:, split]))
        self.held_over_splits += any(
            inside[row] for row in tied_best(own.reshape(len(members), -1))
        )


def searches(table: Table, kind: str, number: int) -> Iterator[tuple[list[PointSummary], int]]:
    """Searches of one kind (the share of the grid and the seeds: 1x1, 0.5x1, 1x3), each on a split
    of its own."""
    share, _, seeds = kind.partition("x")
    generator = np.random.default_rng(0)
    _, splits, most = table.values.shape
    count = round(float(share) * len(table.params))
    for _ in range(number):
        split = int(generator.integers(splits))
        chosen = generator.choice(len(table.params), count, replace=False)
        drawn = generator.choice(most, int(seeds), replace=False)
        yield search(table, sorted(chosen), split, drawn), split


KINDS = ("1x1", "0.5x1", "1x3")


COLUMNS = {
    "best_lr_holds_over_splits": "best rate held, all splits",
    "best_lr_holds": "own split",
    "median_decades": "decades",
    "curve_holds": "value held",
    "best_value_misses_by": "best value too good by",
    "curve_misses_by": "its curve",
    "regret_of_highest": "regret of the highest",
    "regret_of_recommended": "recommended",
    "truly_best_is_tied": "truly best tied",
    "median_tie_group": "tied",
}


def replay(number: int, names: list[str]) -> None:
    """Replay searches, and write what came of them after each table and kind."""
    rows: dict[str, Any] = {}
    print("| table, search | " + " | ".join(COLUMNS.values()) + " |")
    print("| --- |" + " ---: |" * len(COLUMNS))
    for table in load():
        for kind in KINDS if table.name in names else ():
            tally = Tally()
            for points, split in searches(table, kind, number):
                tally.add(table, points, split)
            rows[f"{table.name}, {kind}"] = row = summarize_tally(tally)
            (RESULTS / "honesty.json").write_text(json.dumps(rows, indent=1) + "\n")
            cells = " | ".join(f"{row[name]:.2f}" for name in COLUMNS)
            print(f"| {table.name}, {kind} | {cells} |", flush=True)


def summarize_tally(tally: Tally) -> dict[str, float]:
    count, measured = max(1, tally.basins), max(1, len(tally.curve_misses))
    return {
        "searches": tally.searches,
        "curves": tally.basins,
        "best_lr_holds": tally.held / count,
        "best_lr_holds_over_splits": tally.held_over_splits / count,
        "median_decades": float(np.median(tally.widths or [math.nan])),
        "best_value_misses_by": float(np.mean(tally.misses)),
        "curve_misses_by": float(np.mean(tally.curve_misses or [math.nan])),
        "regret_of_highest": float(np.mean(tally.regrets)),
        "regret_of_recommended": float(np.mean(tally.said)),
        "truly_best_is_tied": tally.first_tied / max(1, len(tally.sizes)),
        "median_tie_group": float(np.median(tally.sizes)),
        "curve_holds": tally.curve_held / measured,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("what", choices=["train", "collect", "replay"])
    parser.add_argument("--searches", type=int, default=1000, help="of each kind and table")
    parser.add_argument("--folder", type=Path, default=Path("honesty"))
    parser.add_argument("--only", choices=PROBLEMS, nargs="*", default=list(PROBLEMS))
    given = parser.parse_args()
    if given.what == "train":
        train(given.folder, given.only)
    elif given.what == "replay":
        replay(given.searches, given.only)
    else:
        TABLES.write_text(json.dumps(collect(given.folder)) + "\n")


if __name__ == "__main__":
    main()
