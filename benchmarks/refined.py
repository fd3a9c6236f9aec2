"""What a user gets who searches, refines and confirms: the recommended point and the rates that do
as well, held against other splits of the data.

    python benchmarks/refined.py train --folder FOLDER     # tables of real trainings, half an hour
    python benchmarks/refined.py collect --folder FOLDER   # to results/refined-tables.json.gz
    python benchmarks/refined.py replay                    # searches that draw from them, minutes

A table has a rate each tenth of a decade, trained once on each of 64 splits: searches meet one of
the first, confirmations draw from the others, over which the truth is known.
"""

from __future__ import annotations

import argparse
import gzip
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import replays
import yaml
from tables import MLP, RESULTS, SGD, Table, search
from typer.testing import CliRunner

from lrsearch.analysis.answer import find_answer
from lrsearch.analysis.edges import Range
from lrsearch.analysis.refining import refine
from lrsearch.cli import app
from lrsearch.trial import Objective

TABLES = RESULTS / "refined-tables.json.gz"

SPLITS, FIRST, SEARCHED = 64, 5000, 24
"""Splits of a table, the first one's seed, and how many of them are searched."""

BEGIN, ROUNDS, STEP = 10, 3, 3
"""Rates at random of each batch size that a refinement begins with, its rounds at most, and the
step of a grid, in tenths of a decade."""

SEEDS = 5
"""Fresh seeds of a confirmation."""


def _spec(name: str, model: Any, optimizer: Any, budget: str, rates: tuple[float, float]) -> Any:
    points = round(10 * math.log10(rates[1] / rates[0])) + 1
    return {
        "data": {"name": name, "validation": 0.2, "standardize": True},
        "model": model,
        "train": {"budget": budget, "optimizer": optimizer, "batch_size": 32},
        "objective": {"metric": "loss"},
        "search": {"lr": {"min": rates[0], "max": rates[1], "points": points}},
    }


PROBLEMS: dict[str, dict[str, Any]] = {
    "diabetes-mlp": _spec("diabetes", MLP, SGD, "20ep", (1e-5, 1.0)),
    "breast-cancer-logistic": _spec("breast_cancer", "logistic", SGD, "20ep", (1e-4, 10.0)),
    "diabetes-linear": _spec("diabetes", "logistic", SGD, "20ep", (1e-5, 0.1)),
    "wine-mlp": _spec("wine", MLP, "adamw", "20ep", (1e-4, 1.0)),
    "breast-cancer-mlp": _spec("breast_cancer", MLP, SGD, "10ep", (1e-4, 1.0)),
    "iris-mlp": _spec("iris", MLP, "adamw", "20ep", (1e-4, 1.0)),
    "diabetes-mlp-adamw": _spec("diabetes", MLP, "adamw", "20ep", (1e-4, 1.0)),
    "digits-mlp": _spec("digits", MLP, SGD, "4ep", (1e-3, 1.0)),
}
PROBLEMS["diabetes-mlp-adamw"]["search"]["batch_size"] = [16, 64]
del PROBLEMS["diabetes-mlp-adamw"]["train"]["batch_size"]


def train(folder: Path, names: Sequence[str]) -> None:
    """Measure the tables: a run of each split, which stopped goes on where it was."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        rows: list[Any] = []
        for seed in range(FIRST, FIRST + SPLITS):
            spec = {**PROBLEMS[name], "name": f"{name}-{seed}", "seed": seed}
            spec["data"] = {**spec["data"], "validation_seed": seed}
            path = folder / f"{name}.yaml"
            path.write_text(yaml.safe_dump(spec, sort_keys=False))
            words = ["grid", str(path), "--quiet", "--json", "--runs", str(folder / "runs")]
            words += ["--device", "cpu", "--executor", "inline"]
            done = CliRunner().invoke(app, words, catch_exceptions=False)
            if done.exit_code:
                raise SystemExit(done.stderr)
            found = json.loads(done.stdout)
            done_ones = (trial["outcome"] == "completed" for trial in found["trials"])
            rows.append(
                [
                    [trial["params"], trial["objective"] if completed else None]
                    for trial, completed in zip(found["trials"], done_ones, strict=True)
                ]
            )
        written = {"objective": found["objective"], "rows": rows}
        (folder / f"{name}.json").write_text(json.dumps(written))
        print(name, flush=True)


def collect(folder: Path) -> dict[str, Any]:
    """The tables: by problem its metric, its goal, its points and the values of each, by split;
    null where the training diverged."""
    tables = {}
    for name in PROBLEMS:
        run = json.loads((folder / f"{name}.json").read_text())
        values: dict[str, list[float | None]] = {}
        for row in run["rows"]:
            for params, value in row:
                kept = None if value is None else float(f"{value:.6g}")
                values.setdefault(json.dumps(params, sort_keys=True), []).append(kept)
        keys = sorted(values)
        tables[name] = {
            "metric": run["objective"]["metric"],
            "goal": run["objective"]["goal"],
            "params": [json.loads(key) for key in keys],
            "values": [values[key] for key in keys],
        }
    return tables


def load() -> list[Table]:
    """The stored tables."""
    found = []
    for name, stored in json.loads(gzip.decompress(TABLES.read_bytes())).items():
        sign = -1.0 if stored["goal"] == "max" else 1.0
        rows = [[math.inf if v is None else sign * v for v in own] for own in stored["values"]]
        values, objective = np.array(rows), Objective(stored["metric"], stored["goal"])
        own = values[:, :SEARCHED, None]
        lost = np.zeros(own.shape, bool)
        found.append(Table(name, objective, stored["params"], own, values[:, SEARCHED:], lost))
    return found


def search_one(table: Table, split: int, generator: Any, refined: bool) -> replays.Search:
    """A search on one split: a grid, or rates at random which are then refined."""
    groups = table.groups()
    rates = sorted({params["lr"] for params in table.params})
    searched = Range("lr", rates[0], rates[-1], "log", points=len(rates))
    chosen = [at for _, own in groups for at in own[::STEP]]
    if refined:
        count = BEGIN * len(groups)
        chosen = [int(at) for at in generator.choice(len(table.params), count, replace=False)]
    for _ in range(ROUNDS if refined else 0):
        points = search(table, chosen, split, [0])
        new = []
        for each in refine(points, table.objective, "lr", [searched], among=rates).next:
            wanted = {**table.params[each.point - 1], "lr": each.value}
            new.append(table.params.index(wanted))
        chosen += [at for at in dict.fromkeys(new) if at not in chosen]
    points = search(table, chosen, split, [0])
    answer = find_answer(points, table.objective)
    assert answer is not None
    return replays.Search(points, split, answer)


def judge(table: Table, refined: bool, splits: int, confirmations: int) -> replays.Row:
    """What confirmed answers say, held against the table: the `regret` of the recommended point in
    deviations of a training; whether `best_lr`, and the rates that do as well, hold a rate that is
    truly the best, their `decades`, and the share of the latter that is worse by two deviations and
    2 %, `false`; the trainings of a confirmation, and how many points joined it."""
    tally: dict[str, list[float]] = {}
    truth = table.truth
    for split in range(splits):
        for repeat in range(2):
            one = search_one(table, split, np.random.default_rng([split, repeat]), refined)
            generator = np.random.default_rng([split, repeat, 1])
            for _ in range(confirmations):
                done = replays.confirm(table, one, SEEDS, generator)
                basin = done.answer.basin
                if not done.answer.confirmed or basin is None:
                    continue
                members = next(own for _, own in table.groups() if done.recommended in own)
                rates = np.array([table.params[at]["lr"] for at in members])
                best = rates[replays.tied_best(table.fresh[members])]
                worst = max(2 * table.noise, 0.02 * abs(truth[members].min()))
                row = {"regret": (truth[done.recommended] - truth.min()) / table.noise}
                for name, (low, high) in (("best_lr", basin.best_lr), ("safe_lr", basin.safe_lr)):
                    row[f"{name}_holds"] = _inside(best, low, high).any()
                    row[f"{name}_decades"] = math.log10(high / low)
                good = _inside(rates, *basin.safe_lr)
                wrong = truth[members][good] > truth[members].min() + worst
                row["false"] = wrong.mean() if good.any() else 0.0
                row |= {"trained": done.trained, "joined": len(done.order) - done.begun}
                for name, value in row.items():
                    tally.setdefault(name, []).append(float(value))
    found: replays.Row = {name: float(np.mean(values)) for name, values in tally.items()}
    return {"confirmations": len(tally["regret"]), **found}


def _inside(rates: Any, low: float, high: float) -> Any:
    return (rates >= low * 0.999) & (rates <= high * 1.001)


def replay(tables: Sequence[Table], output: Path, splits: int, confirmations: int) -> None:
    """Judge tables, and write and print what came of each."""
    rows: dict[str, replays.Row] = {}
    for table in tables:
        for kind in ("refined", "grid"):
            row = judge(table, kind == "refined", splits, confirmations)
            rows[f"{table.name}, {kind}"] = row
            told = ", ".join(f"{key} {value:.3g}" for key, value in row.items())
            print(f"{table.name}, {kind}: {told}", flush=True)
        (output / "refined.json").write_text(json.dumps(rows, indent=1) + "\n")


def main() -> None:
    """Train, collect or replay."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("what", choices=["train", "collect", "replay"])
    parser.add_argument("--folder", type=Path, default=Path("refined"))
    parser.add_argument("--output", type=Path, default=RESULTS)
    parser.add_argument("--only", choices=PROBLEMS, nargs="*", default=list(PROBLEMS))
    given = parser.parse_args()
    if given.what == "train":
        train(given.folder, given.only)
    elif given.what == "collect":
        TABLES.write_bytes(gzip.compress(json.dumps(collect(given.folder)).encode(), mtime=0))
    else:
        replay([each for each in load() if each.name in given.only], given.output, SEARCHED, 4)


if __name__ == "__main__":
    main()
