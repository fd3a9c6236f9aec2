"""Early stopping on curves of whole trainings, by the rules that searches follow.

    python benchmarks/pruning.py [--deepobs deepobs_baselines.json.gz]
        [--tables search-tables.json.gz]

`no_progress` looks at DeepOBS's published trainings (Schneider et al. 2019: 8 problems by SGD,
momentum and Adam at 36 constant rates), test losses standing for validation losses: how many of the
best quarter of each problem it stops, by test accuracy where there is one.

All rules are held against full tables of digits and of MNIST by an MLP, with five schedules mixed,
which `search_quality.py train` makes: rate x batch size x schedule, 3 seeds, a validation loss an
epoch, for three budgets each. Populations of 32 points (of 8 for `halving`) are drawn from
each table, 400 times.
Lost is a point of the table's best twentieth that is stopped; epochs saved are shares of what the
population would have trained, those that diverge until they do. A seed is a training of its own;
`wilcoxon` sees all three, and a population's cost is that of its points.
"""

from __future__ import annotations

import argparse
import gzip
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lrsearch import catalogue
from lrsearch.analysis.pruning import (
    RULES,
    Progress,
    Reading,
    find_standstill,
    judging_step,
    rung_steps,
)

HERE = Path(__file__).resolve().parent
TABLES = HERE / "results" / "search-tables.json.gz"

POPULATION, DRAWS = 32, 400

CLASSES = {
    "cifar10_3c3d": 10,
    "cifar100_allcnnc": 100,
    "fmnist_2c2d": 10,
    "svhn_wrn164": 10,
    "tolstoi_char_rnn": 83,
}
"""Problems whose best constant prediction is known: all classes alike."""

STEPS = 1000
"""Steps of an epoch of the published trainings, about: each is judged at an evaluation."""


def stands_still(
    start: float,
    baseline: float,
    training: Sequence[float],
    tested: Sequence[float],
    epoch: int,
) -> bool:
    """Whether a training is stopped after an epoch, by the losses of each; `baseline` is nan where
    nobody knows."""
    losses = Progress(
        start=start,
        baseline=baseline if math.isfinite(baseline) else start,
        first=start,
        training=float(training[epoch - 1]),
        validation=float(tested[epoch - 1]),
        lowest=float(np.nanmin([start, *training[:epoch], *tested[:epoch]])),
    )
    return bool(find_standstill(losses))


def judged_epoch(epochs: int) -> int:
    """The epoch after which a training of so many at a constant rate is judged."""
    steps = [STEPS * epoch for epoch in range(1, epochs + 1)]
    return judging_step(steps, [1.0] * (STEPS * epochs)) // STEPS


def judge_published(path: Path) -> dict[str, float]:
    """The published trainings that `no_progress` stops."""
    with gzip.open(path) as file:
        runs = [run for run in json.load(file) if len(run.get("train_losses", ())) > 2]
    found = {"runs": len(runs), "stopped": 0, "best": 0, "lost": 0}
    saved = whole = 0
    for problem in sorted({run["testproblem"] for run in runs}):
        own = [run for run in runs if run["testproblem"] == problem]
        own.sort(key=_end)
        for place, run in enumerate(own):
            start, *training = (float(each) for each in run["train_losses"])
            tested = [float(each) for each in run["test_losses"]][1:]
            epoch = judged_epoch(len(training))
            baseline = math.log(CLASSES[problem]) if problem in CLASSES else math.nan
            stopped = stands_still(start, baseline, training, tested, epoch)
            whole += len(training)
            saved += stopped * (len(training) - epoch)
            found["stopped"] += stopped
            found["best"] += place < len(own) // 4
            found["lost"] += stopped and place < len(own) // 4
    return {**found, "saved": saved / whole}


def _end(run: Mapping[str, Any]) -> float:
    """The end of a training, less being better."""
    accuracies = run.get("test_accuracies")
    value = -float(accuracies[-1]) if accuracies else float(run["test_losses"][-1])
    return value if math.isfinite(value) else math.inf


Curves = Sequence[Sequence[float]]
"""The losses of a point, [seeds][epochs]; infinite from where it diverged."""


def replay(name: str, points: Sequence[Curves]) -> tuple[list[bool], int, int]:
    """Train a population under a rule: which points are stopped, the epochs trained, and those of
    whole trainings. `no_progress` is always there, as in a search."""
    epochs = len(points[0][0])
    spent = [sum(_length(curve) for curve in each) for each in points]
    full = sum(spent)
    stopped = [False] * len(points)

    def stop(place: int, epoch: int) -> None:
        stopped[place] = True
        spent[place] = sum(min(epoch, _length(curve)) for curve in points[place])

    if name != "none":
        start = math.log(10)
        epoch = judged_epoch(epochs)
        for place, curves in enumerate(points):
            if all(math.isfinite(curve[epoch - 1]) for curve in curves) and any(
                stands_still(start, start, curve, curve, epoch) for curve in curves
            ):
                stop(place, epoch)
    if name in RULES:
        rule = RULES[name]
        given = {k: v.default for k, v in catalogue.PRUNING[name].parameters.items()}
        settings = {**given, "population": len(points)}
        for rung, epoch in rung_steps(range(1, epochs + 1)):
            readings: list[Reading] = []
            lost: set[int] = set()
            for place, curves in enumerate(points):
                values = tuple(curve[epoch - 1] for curve in curves)
                if stopped[place] or not all(map(math.isfinite, values)):
                    continue
                readings.append(Reading(place, values))
                if not rule.together and place in rule.judge(readings, rung, settings):
                    lost.add(place)
            if rule.together and readings:
                lost = set(rule.judge(readings, rung, settings))
            for place in lost:
                if not (rule.whole and place == 0):
                    stop(place, epoch)
    return stopped, sum(spent), full


def _length(curve: Sequence[float]) -> int:
    """The epochs that a training takes: to its end, or until it diverges."""
    return next((k + 1 for k, each in enumerate(curve) if not math.isfinite(each)), len(curve))


def judge_tables(path: Path) -> dict[str, dict[str, float]]:
    """Each rule's losses and savings over all tables, and the worst table's."""
    with gzip.open(path) as file:
        tables = json.load(file)
    found: dict[str, dict[str, float]] = {}
    for name in ("none", "no_progress", *RULES):
        lost: dict[str, list[int]] = {}
        spent = full = 0
        for title, table in tables.items():
            every = [
                [[math.inf if each is None else each for each in curve] for curve in seeds]
                for seeds in table["curves"].values()
            ]
            generator = np.random.default_rng(0)
            tally = lost.setdefault(title, [0, 0])
            for draw in range(DRAWS):
                size = catalogue.PRUNING[name].parameters.get("population")
                many = size.default if size is not None else POPULATION
                chosen = generator.permutation(len(every))[:many]
                seed = draw % len(every[0])
                # One training a point; the test over seeds has all of them.
                seen = [each if name == "wilcoxon" else [each[seed]] for each in every]
                ends = np.array([np.mean([curve[-1] for curve in each]) for each in seen])
                best = set(np.argsort(ends)[: max(1, len(every) // 20)].tolist())
                stopped, trained, whole = replay(name, [seen[place] for place in chosen])
                spent, full = spent + trained, full + whole
                for place, gone in zip(chosen.tolist(), stopped, strict=True):
                    tally[0] += place in best
                    tally[1] += place in best and gone
        good, gone = (sum(each[k] for each in lost.values()) for k in (0, 1))
        found[name] = {
            "saved": 1 - spent / full,
            "lost": gone / good,
            "worst": max(each[1] / each[0] for each in lost.values()),
        }
    return found


def main() -> None:
    """Print what the rules save and lose, of the curves that there are."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--deepobs", type=Path, default=Path("deepobs_baselines.json.gz"))
    parser.add_argument("--tables", type=Path, default=TABLES)
    given = parser.parse_args()
    if given.deepobs.is_file():
        found = judge_published(given.deepobs)
        print(
            f"no_progress on {found['runs']:g} published trainings: stops {found['stopped']:g}, "
            f"saves {found['saved']:.0%} of the epochs, loses {found['lost']:g} of "
            f"{found['best']:g} of the best quarter"
        )
    else:
        print("skipped DeepOBS's trainings: --deepobs names them (fsschneider/DeepOBS_Baselines)")
    if given.tables.is_file():
        print(f"{'rule':12} {'saved':>6} {'top 5% lost':>12} {'worst table':>12}")
        for name, row in judge_tables(given.tables).items():
            print(f"{name:12} {row['saved']:>6.1%} {row['lost']:>12.1%} {row['worst']:>12.1%}")
    else:
        print("skipped the tables: search_quality.py train makes them, --tables names them")


if __name__ == "__main__":
    main()
