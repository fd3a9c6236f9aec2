"""How good the points are that strategies propose: tables of trainings, replayed through the real
strategies.

    python benchmarks/search_quality.py train --folder FOLDER      # the tables of our own, minutes
    python benchmarks/search_quality.py replay --lcbench DIR --deepobs FILE.json.gz

Every training is a full one; seeds of a table are averaged. The regret of a search is 0 at the best
known point of its table and 1 at a median random one. What is not given (`--lcbench`, `--deepobs`)
or not installed (onnxruntime, which LCBench's surrogate needs; matplotlib) is skipped by name.
Constants of the strategies were chosen on the even tasks of LCBench alone.
"""

from __future__ import annotations

import argparse
import gzip
import importlib.util
import json
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE)]

from search_tables import INHOUSE, Task, deepobs, inhouse, lcbench  # noqa: E402

from lrsearch.search import Request, make_strategy  # noqa: E402
from lrsearch.search.start import rising  # noqa: E402
from lrsearch.search.strategy import point_key  # noqa: E402
from lrsearch.space import Choice, Dimension, Float, build  # noqa: E402
from lrsearch.store import read, read_curve  # noqa: E402
from lrsearch.trial import Objective, Outcome  # noqa: E402

RESULTS = HERE / "results"
AT = (4, 8, 16, 32)
"""Trainings after which the regret is looked at."""

OBJECTIVE = Objective("loss", "min")

WORST = 3.0
"""The regret of a search in which everything diverged, and the most that any counts."""

# tables of our own

_BUDGETS = (5, 10, 20)

_TABLE = """\
name: digits-{budget}
data: {{name: digits, validation: 0.25, standardize: true}}
model: {{name: mlp, hidden: [64]}}
train: {{budget: {budget}ep, optimizer: {{name: sgd, momentum: 0.9}}}}
objective: loss
search:
  lr: [{rates}]
  batch_size: [16, 64, 256]
  schedule: [constant, cosine, step, one_cycle, wsd]
seeds: 3"""

_RATES = ", ".join(f"{10 ** (exponent / 3):.3g}" for exponent in range(-10, 3))
"""Thirteen rates from 5e-4 to 5, three a decade."""


def train(folder: Path, output: Path) -> None:
    """Train the tables by `lrsearch grid`, which goes on where it was stopped; write them down."""
    tables = {}
    folder.mkdir(parents=True, exist_ok=True)
    for budget in _BUDGETS:
        text = _TABLE.format(budget=budget, rates=_RATES)
        path = folder / f"digits-{budget}.yaml"
        path.write_text(text)
        command = [sys.executable, "-m", "lrsearch", "grid", str(path), "--runs", str(folder)]
        subprocess.run([*command, "--device", "cpu", "--quiet"], check=True)
        run = folder / f"digits-{budget}"
        curves: dict[str, list[list[float | None]]] = {}
        history = read(run)
        points = {
            number: proposal.point for proposal in history.proposals for number in proposal.trials
        }
        for number in sorted(history.results):
            curve = read_curve(run, number)["loss"]
            kept = [float(f"{value:.4g}") if np.isfinite(value) else None for value in curve]
            kept += [None] * (budget - len(kept))
            curves.setdefault(json.dumps(points[number], sort_keys=True), []).append(kept)
        tables[f"digits-{budget}ep"] = {"text": text, "curves": curves}
    with gzip.open(output, "wt") as file:
        json.dump(tables, file)
    print(f"wrote {output}: {output.stat().st_size:,} bytes")


# searches

Proposer = Callable[[Task, int, int], tuple[list[float], float]]
"""(task, seed, trainings) -> the value of each training, and the CPU seconds of all proposals."""


def replay(more: str) -> Proposer:
    """Searches by a strategy of ours, `more` being its settings. A generation is told whole, in the
    order of its proposals, as the tuner does; a point proposed twice is trained once."""
    name = more.partition(":")[0]

    def search(task: Task, seed: int, trainings: int) -> tuple[list[float], float]:
        strategy = make_strategy(name, task.spec(seed, more), OBJECTIVE)
        known: set[str] = set()
        values: list[float] = []
        index = repeats = 0
        spent = -time.process_time()
        while len(values) < trainings:
            asked = Request(
                index=index,
                room=trainings - len(values),
                known=lambda point: point_key(point) in known,
                proposed=lambda point: point_key(point) in known,
                repeats=repeats,
            )
            points = strategy.propose(asked)
            if not points:
                break
            index += len(points)
            for point in points:
                repeats += 1
                if point_key(point) in known:
                    continue
                repeats = 0
                known.add(point_key(point))
                spent += time.process_time()
                course = task.course(point)
                spent -= time.process_time()
                values.append(course.value)
                finite = course.outcome is Outcome.COMPLETED
                strategy.tell(point, course.outcome, course.value if finite else None)
        return values, spent + time.process_time()

    return search


def optuna_sampler(name: str) -> Proposer:
    """Searches by Optuna's samplers, one proposal at a time; a diverged training is told as
    pruned."""

    def search(task: Task, seed: int, trainings: int) -> tuple[list[float], float]:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        space = task.spec().space
        kinds = {
            "random": lambda: optuna.samplers.RandomSampler(seed=seed),
            "tpe": lambda: optuna.samplers.TPESampler(seed=seed, multivariate=True, group=True),
            "gp": lambda: optuna.samplers.GPSampler(seed=seed),
        }
        values: list[float] = []
        spent = -time.process_time()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            study = optuna.create_study(sampler=kinds[name]())
            for _ in range(trainings):
                trial = study.ask()
                point = build(space, lambda key, part, trial=trial: suggest(trial, key, part))
                spent += time.process_time()
                course = task.course(point)
                spent -= time.process_time()
                values.append(course.value)
                if course.outcome is Outcome.COMPLETED:
                    study.tell(trial, course.value)
                else:
                    study.tell(trial, state=optuna.trial.TrialState.PRUNED)
        return values, spent + time.process_time()

    return search


def suggest(trial: Any, name: str, part: Dimension) -> float:
    """The raw number of a parameter that an Optuna trial takes; a list of numbers is a range of
    its places, which is kinder to Optuna than a choice."""
    if isinstance(part, Choice):
        places = rising(part)
        if part.ordered:
            return places[trial.suggest_int(name, 0, len(places) - 1)]
        return int(trial.suggest_categorical(name, places))
    draw = trial.suggest_float if isinstance(part, Float) else trial.suggest_int
    return float(draw(name, part.low, part.high, log=part.log))


METHODS: dict[str, Proposer] = {
    "random": replay("random: {trials: 99}"),
    "random sobol": replay("random: {trials: 99, sampler: sobol}"),
    "random informed": replay("random: {trials: 99, sampler: informed}"),
    "tpe, random start": replay("bayes: {trials: 99, start: random}"),
    "tpe": replay("bayes: {trials: 99}"),
    "tpe, generation 16": replay("bayes: {trials: 99, generation: 16}"),
    "gp, sobol start": replay("bayes: {trials: 99, model: gp, start: sobol}"),
    "gp": replay("bayes: {trials: 99, model: gp}"),
    "gp, generation 16": replay("bayes: {trials: 99, model: gp, generation: 16}"),
    "Optuna random": optuna_sampler("random"),
    "Optuna TPE": optuna_sampler("tpe"),
    "Optuna GPSampler": optuna_sampler("gp"),
}

SLOW = ("Optuna GPSampler",)
"""Methods that are tried with `--slow-seeds` seeds."""


# figures


def measure(tasks: Sequence[Task], method: Proposer, seeds: int, most: int) -> dict[str, Any]:
    """Regrets [task][seed][place of AT] and the CPU milliseconds a proposal."""
    regrets, cpu = [], []
    for task in tasks:
        rows = []
        for seed in range(seeds):
            values, spent = method(task, seed, most)
            best = np.minimum.accumulate(values)
            row = [min(WORST, task.regret(float(best[min(at, len(best)) - 1]))) for at in AT]
            rows.append([round(each, 4) for each in row])
            cpu.append(1000 * spent / len(values))
        regrets.append(rows)
    return {"regret": regrets, "cpu_ms": round(statistics.median(cpu), 2), "seeds": seeds}


def compare(one: Mapping[str, Any], two: Mapping[str, Any], place: int) -> float | None:
    """The p of Wilcoxon's signed-rank test over tasks, each the mean of its seeds; None where
    there are too few."""
    from scipy.stats import wilcoxon

    means = [
        [statistics.fmean(row[place] for row in rows) for rows in each["regret"]]
        for each in (one, two)
    ]
    differences = [a - b for a, b in zip(*means, strict=True)]
    if len(differences) < 6 or not any(differences):
        return None
    return float(wilcoxon(differences).pvalue)


def table(name: str, found: Mapping[str, Any], most: int) -> Iterator[str]:
    """A table of one family in Markdown: mean, and median with quartiles over runs."""
    places = [place for place, at in enumerate(AT) if at <= most]
    heads = [f"{AT[place]}" for place in places]
    yield f"| {name} | " + " | ".join(heads) + " | seeds | CPU a proposal | p against tpe |"
    yield "| --- " * (len(heads) + 4) + "|"
    for method, each in found.items():
        runs = np.asarray(each["regret"]).reshape(-1, len(AT))
        cells = []
        for place in places:
            low, middle, high = np.quantile(runs[:, place], (0.25, 0.5, 0.75))
            cells.append(f"{runs[:, place].mean():.3f}; {middle:.3f} ({low:.2f} to {high:.2f})")
        p = compare(each, found["tpe"], places[-1]) if "tpe" in found else None
        last = [str(each["seeds"]), f"{each['cpu_ms']} ms", "" if p is None else f"{p:.1g}"]
        yield f"| {method} | " + " | ".join([*cells, *last]) + " |"


def draw(results: Mapping[str, Any], output: Path) -> None:
    """A picture: the mean regret of each method by trainings, a panel a family."""
    if importlib.util.find_spec("matplotlib") is None:
        print("no picture: matplotlib is not installed")
        return
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "search"
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, len(results), figsize=(5 * len(results), 4), squeeze=False)
    for axis, (name, part) in zip(axes[0], results.items(), strict=True):
        for method, each in part["methods"].items():
            runs = np.asarray(each["regret"]).reshape(-1, len(AT))
            places = [place for place, at in enumerate(AT) if at <= part["most"]]
            trainings = [AT[place] for place in places]
            style = "--" if method.startswith("Optuna") else "-"
            axis.plot(trainings, runs[:, places].mean(0), style, marker="o", label=method)
        axis.set(title=name, xlabel="full trainings", xscale="log", ylabel="mean regret")
        axis.set_xticks(trainings, [str(each) for each in trainings])
    axes[0][-1].legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(output, metadata={"Date": None})
    print(f"wrote {output}")


def families(options: argparse.Namespace) -> Iterator[tuple[str, list[Task], int]]:
    """The families that there are, each with its tasks and the most trainings of a search."""
    lacking = importlib.util.find_spec("onnxruntime") is None
    if options.lcbench is None or lacking:
        reason = "onnxruntime is not installed" if options.lcbench else "no --lcbench DIR"
        print(f"skipped lcbench: {reason}")
    else:
        half = {"odd": 1, "even": 0}[options.half]
        yield f"lcbench-{options.half}", lcbench(options.lcbench, half), 32
    if options.deepobs is None:
        print("skipped deepobs: no --deepobs FILE")
    else:
        rates = deepobs(options.deepobs)
        # Where more than half of the rates diverge, a median random point has no value.
        yield "deepobs", [task for task in rates if np.isfinite(task.scale[1])], 16
    if INHOUSE.exists():
        yield "digits, schedules mixed", inhouse(), 32
    else:
        print(f"skipped our own tables: no {INHOUSE}, which train makes")


def main() -> None:
    """Train the tables of our own, or replay all there are."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    training = commands.add_parser("train")
    training.add_argument("--folder", type=Path, required=True)
    replaying = commands.add_parser("replay")
    replaying.add_argument("--lcbench", type=Path)
    replaying.add_argument("--deepobs", type=Path)
    replaying.add_argument("--half", choices=("odd", "even"), default="odd")
    replaying.add_argument("--seeds", type=int, default=16)
    replaying.add_argument("--slow-seeds", type=int, default=1)
    replaying.add_argument("--families", default="", help="beginnings of names, by commas")
    replaying.add_argument("--methods", default=",".join(METHODS).replace(", ", "_"))
    replaying.add_argument("--output", type=Path, default=RESULTS / "search-quality.json")
    options = parser.parse_args()
    if options.command == "train":
        train(options.folder, INHOUSE)
        return
    chosen = [each.replace("_", ", ") for each in options.methods.split(",")]
    wrong = [each for each in chosen if each not in METHODS]
    if wrong:
        parser.error(f"unknown methods: {', '.join(wrong)}; there are {', '.join(METHODS)}")
    stored = options.output.exists()
    results: dict[str, Any] = json.loads(options.output.read_text()) if stored else {}
    for name, tasks, most in families(options):
        if not name.startswith(tuple(options.families.split(","))):
            continue
        part = results.setdefault(name, {"tasks": [], "most": most, "methods": {}})
        part["tasks"] = [task.name for task in tasks]
        for method in chosen:
            seeds = options.slow_seeds if method in SLOW else options.seeds
            part["methods"][method] = measure(tasks, METHODS[method], seeds, most)
            part["methods"] = {
                key: part["methods"][key] for key in METHODS if key in part["methods"]
            }
            print(f"{name}: {method} done", file=sys.stderr, flush=True)
            # What was measured is kept whenever it is stopped.
            options.output.write_text(json.dumps(results, separators=(",", ":")) + "\n")
    for name, part in results.items():
        print()
        print("\n".join(table(name, part["methods"], part["most"])))
    draw(results, options.output.with_suffix(".svg"))


if __name__ == "__main__":
    main()
