"""How good the points are that strategies propose: tables of trainings, replayed through the real
strategies.

    python benchmarks/search_quality.py train --folder FOLDER --mnist FILE.npz   # our own tables
    python benchmarks/search_quality.py replay --lcbench DIR --deepobs FILE.json.gz
    python benchmarks/search_quality.py epochs --lcbench DIR --deepobs FILE.json.gz

`replay` asks strategies for points; every training is a full one. `epochs` runs whole searches by
the tuner with its early stopping (`search_engine.py`) beside Optuna's samplers and pruners, and
counts each epoch, of trainings that are stopped or diverge too: a value is known when its training
has come to its end. The seeds of a table are averaged. The regret of a search is 0 at the best
known point of its table and 1 at a median random one. What is not given (`--lcbench`, `--deepobs`)
or not installed (onnxruntime, which LCBench's surrogate needs) is skipped by name.
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

from search_engine import Meter, Over, search  # noqa: E402
from search_tables import (  # noqa: E402
    FINETUNED,
    INHOUSE,
    Course,
    Task,
    collect,
    deepobs,
    finetuned,
    inhouse,
    lcbench,
)

from lrsearch.search import Request, make_strategy  # noqa: E402
from lrsearch.search.start import rising  # noqa: E402
from lrsearch.search.strategy import point_key  # noqa: E402
from lrsearch.space import Choice, Dimension, Float, build  # noqa: E402
from lrsearch.trial import Objective, Outcome  # noqa: E402

RESULTS = HERE / "results"
AT = (4, 8, 16, 32)
"""Trainings after which the regret is looked at."""

OBJECTIVE = Objective("loss", "min")

WORST = 3.0
"""The regret of a search in which everything diverged, and the most that any counts."""

# tables of our own

_TABLE = """\
name: {name}
data: {data}
model: {{name: mlp, hidden: [{width}]}}
train: {{budget: {budget}ep, optimizer: {{name: sgd, momentum: 0.9}}}}
objective: loss
search:
  lr: [{rates}]
  batch_size: [16, 64, 256]
  schedule: [constant, cosine, step, one_cycle, wsd]
seeds: 3"""

_RATES = ", ".join(f"{10 ** (exponent / 3):.3g}" for exponent in range(-10, 3))
"""Thirteen rates from 5e-4 to 5, three a decade."""

_MNIST = "{name: npz, source: mnist.npz, samples: 10000, validation: 0.2, standardize: true}"

_MADE = {
    "digits": ("{name: digits, validation: 0.25, standardize: true}", 64, (5, 10, 20)),
    "mnist": (_MNIST, 32, (2, 6, 18)),
}
"""The data, the width of the hidden layer, and the budgets in epochs of each of our tables."""


def train(folder: Path, output: Path, names: Sequence[str], mnist: Path | None) -> None:
    """Train the tables of these names by `lrsearch grid`, which goes on where it was stopped; write
    them down. Tables that are stored and not trained now stay as they are."""
    tables = {}
    if output.exists():
        with gzip.open(output) as stored:
            tables = json.load(stored)
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        data, width, budgets = _MADE[name]
        if name == "mnist" and mnist is None:
            print("skipped mnist: no --mnist FILE.npz")
            continue
        for budget in budgets:
            run = f"{name}-{budget}"
            text = _TABLE.format(name=run, data=data, width=width, budget=budget, rates=_RATES)
            path = folder / f"{run}.yaml"
            path.write_text(text)
            # A table answers what a training stopped early would have come to.
            change = ["--set", "prune=none"]
            if name == "mnist":
                change += ["--set", f"data.source={json.dumps(str(mnist))}"]
            command = [sys.executable, "-m", "lrsearch", "grid", str(path), *change]
            command += ["--runs", str(folder), "--device", "cpu", "--quiet"]
            subprocess.run(command, check=True)
            tables[f"{run}ep"] = {"text": text, "curves": collect(folder / run, budget)}
            with gzip.GzipFile(output, "wb", mtime=0) as file:
                file.write(json.dumps(tables).encode())
            print(f"wrote {output}: {output.stat().st_size:,} bytes", flush=True)


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
        values: list[float] = []
        spent = -time.process_time()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            study = optuna.create_study(sampler=make_sampler(name, seed))
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


def make_sampler(name: str, seed: int) -> Any:
    """A sampler of Optuna's."""
    from optuna import samplers

    if name == "tpe":
        return samplers.TPESampler(seed=seed, multivariate=True, group=True)
    return {"random": samplers.RandomSampler, "gp": samplers.GPSampler}[name](seed=seed)


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


RULES = ("none", "no_progress", "quarter", "halving", "median", "asha", "hyperband")
"""Rules of early stopping that `epochs` compares."""

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

# searches of so many epochs

Searcher = Callable[[Task, int, int], Meter]
"""(task, seed, epochs) -> what came of a search."""

UNENDING = 500
"""More trials than the epochs of any search are enough for."""


def ours(strategy: str, rule: str, settings: str = "") -> Searcher:
    """Searches by our tuner, with a rule of early stopping."""
    more = f"{strategy}: {{trials: {UNENDING}{settings}}}\nprune: {rule}"
    return lambda task, seed, epochs: search(task, seed, strategy, more, epochs)


def optuna_study(sampler: str, pruner: str = "none") -> Searcher:
    """Searches by a sampler and a pruner of Optuna's, which sees the value of every epoch."""

    def run(task: Task, seed: int, epochs: int) -> Meter:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        space, meter = task.spec().space, Meter(epochs)
        pruners = {
            "none": optuna.pruners.NopPruner,
            "median": optuna.pruners.MedianPruner,
            "hyperband": lambda: optuna.pruners.HyperbandPruner(1, task.epochs, 3),
        }
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            study = optuna.create_study(
                sampler=make_sampler(sampler, seed), pruner=pruners[pruner]()
            )
            while meter.trainings < UNENDING:
                trial = study.ask()
                point = build(space, lambda key, part, trial=trial: suggest(trial, key, part))
                try:
                    state, value = _train(trial, meter.look_up(task, point), meter, pruner)
                except Over:
                    break
                study.tell(trial, value, state)
        return meter

    return run


def _train(trial: Any, course: Course, meter: Meter, pruner: str) -> tuple[Any, float | None]:
    """Train a trial of Optuna's until it ends, diverges or is pruned."""
    from optuna.trial import TrialState

    for epoch, value in enumerate(course.epochs, 1):
        meter.train()
        if not np.isfinite(value):
            return TrialState.PRUNED, None
        if pruner != "none" and epoch < len(course.epochs):
            trial.report(value, epoch)
            if trial.should_prune():
                return TrialState.PRUNED, None
    meter.end(course.value)
    return TrialState.COMPLETE, course.value


_GP = ", model: gp"
SEARCHERS: dict[str, Searcher] = {
    "random, none": ours("random", "none"),
    "random, no_progress": ours("random", "no_progress"),
    "random, asha": ours("random", "asha"),
    "random informed, none": ours("random", "none", ", sampler: informed"),
    "random informed, quarter": ours("random", "quarter", ", sampler: informed"),
    "random informed, asha": ours("random", "asha", ", sampler: informed"),
    **{f"tpe, {rule}": ours("bayes", rule) for rule in RULES},
    **{f"gp, {rule}": ours("bayes", rule, _GP) for rule in RULES},
    "gp, random start, none": ours("bayes", "none", f"{_GP}, start: random"),
    "gp, random start, halving": ours("bayes", "halving", f"{_GP}, start: random"),
    "gp, sobol start, none": ours("bayes", "none", f"{_GP}, start: sobol"),
    "gp, sobol start, halving": ours("bayes", "halving", f"{_GP}, start: sobol"),
    "Optuna random": optuna_study("random"),
    "Optuna TPE": optuna_study("tpe"),
    "Optuna TPE, MedianPruner": optuna_study("tpe", "median"),
    "Optuna TPE, HyperbandPruner": optuna_study("tpe", "hyperband"),
    "Optuna GPSampler": optuna_study("gp"),
}

EQUAL = 16
"""Full trainings whose epochs a search of `epochs` has, at most."""

DRAWN = (
    *("tpe, none", "tpe, asha", "gp, none", "gp, halving", "gp, asha"),
    *("Optuna random", "Optuna TPE", "Optuna TPE, MedianPruner"),
    *("Optuna TPE, HyperbandPruner", "Optuna GPSampler"),
)
"""Searches of `epochs` that are in the picture."""

SLOW = ("Optuna GPSampler",)
"""Methods that are tried with `--slow-seeds` seeds."""


# figures

Row = Callable[[Task, int, int], tuple[list[float], float]]
"""(task, seed, the most full trainings) -> the best value at each of AT, and the CPU milliseconds a
training."""


def follow(method: Proposer) -> Row:
    """The best values after so many full trainings."""

    def row(task: Task, seed: int, most: int) -> tuple[list[float], float]:
        values, spent = method(task, seed, most)
        best = np.minimum.accumulate(values)
        return [float(best[min(at, len(best)) - 1]) for at in AT], 1000 * spent / len(values)

    return row


def count(searcher: Searcher) -> Row:
    """The best values known after as many epochs as so many full trainings have."""

    def row(task: Task, seed: int, most: int) -> tuple[list[float], float]:
        spent = -time.process_time()
        meter = searcher(task, seed, most * task.epochs)
        spent += time.process_time() - meter.looking
        return [meter.best(at * task.epochs) for at in AT], 1000 * spent / meter.trainings

    return row


def measure(tasks: Sequence[Task], row: Row, seeds: int, most: int) -> dict[str, Any]:
    """Regrets [task][seed][place of AT] and the CPU milliseconds a training."""
    regrets, cpu = [], []
    for task in tasks:
        rows = []
        for seed in range(seeds):
            values, spent = row(task, seed, most)
            rows.append([round(min(WORST, task.regret(value)), 4) for value in values])
            cpu.append(spent)
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


def table(name: str, found: Mapping[str, Any], most: int, against: str) -> Iterator[str]:
    """A table of one family in Markdown: mean, and median with quartiles over runs."""
    places = [place for place, at in enumerate(AT) if at <= most]
    heads = [f"{AT[place]}" for place in places]
    yield (
        f"| {name} | "
        + " | ".join([*heads, "seeds", "CPU a training", f"p against {against}"])
        + " |"
    )
    yield "| --- " * (len(heads) + 4) + "|"
    for method, each in found.items():
        runs = np.asarray(each["regret"]).reshape(-1, len(AT))
        cells = []
        for place in places:
            low, middle, high = np.quantile(runs[:, place], (0.25, 0.5, 0.75))
            cells.append(f"{runs[:, place].mean():.3f}; {middle:.3f} ({low:.2f} to {high:.2f})")
        p = compare(each, found[against], places[-1]) if against in found else None
        last = [str(each["seeds"]), f"{each['cpu_ms']} ms", "" if p is None else f"{p:.1g}"]
        yield f"| {method} | " + " | ".join([*cells, *last]) + " |"


PANEL, HEIGHT, LEFT = 300, 260, 46
"""Pixels of a panel, and of its axes' names."""

TICKS = (0.0, 0.01, 0.05, 0.1, 0.2, 0.4, 0.7, 1.0)
"""Regrets that are named, up to the highest that is drawn."""

COLOURS = (
    *("#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd", "#8c564b"),
    *("#e377c2", "#7f7f7f", "#bcbd22", "#17becf", "#393b79", "#637939"),
)


def draw(results: Mapping[str, Any], drawn: Sequence[str]) -> str:
    """A picture in SVG: the median regret of each of the `drawn` methods by trainings, Optuna's
    dashed, and a panel a family. Its axis is that of the square root."""
    rows = -(-len(drawn) // len(results))
    width, height = PANEL * len(results) + 20, HEIGHT + 80 + 16 * rows
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        'font-family="sans-serif" font-size="11">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
    ]

    def line(method: str, path: str) -> str:
        dash = ' stroke-dasharray="5 3"' if method.startswith("Optuna") else ""
        colour = COLOURS[drawn.index(method) % len(COLOURS)]
        return f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="1.6"{dash}/>'

    def lift(regret: float) -> float:
        return 30 + HEIGHT * (1 - float(np.sqrt(min(regret, TICKS[-1]))))

    for panel, (name, part) in enumerate(results.items()):
        places = [place for place, at in enumerate(AT) if at <= part["most"]]
        left, right = PANEL * panel + LEFT, PANEL * (panel + 1)
        across = [left + (right - left) * place / (len(places) - 1) for place in places]
        parts.append(f'<text x="{(left + right) / 2}" y="18" text-anchor="middle">{name}</text>')
        for regret in TICKS:
            y = lift(regret)
            parts.append(f'<path d="M{left} {y:.1f}H{right}" stroke="#e5e5e5"/>')
            text = f'<text x="{left - 4}" y="{y + 4:.1f}" text-anchor="end">{regret:g}</text>'
            parts.append(text)
        for x, place in zip(across, places, strict=True):
            text = f'<text x="{x}" y="{HEIGHT + 46}" text-anchor="middle">{AT[place]}</text>'
            parts.append(text)
        for method in drawn:
            if method in part["methods"]:
                runs = np.asarray(part["methods"][method]["regret"]).reshape(-1, len(AT))
                middles = map(lift, np.median(runs, axis=0)[places])
                ends = zip(across, middles, strict=True)
                parts.append(line(method, "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in ends)))
    for place, method in enumerate(drawn):
        x, y = LEFT + PANEL * (place // rows), HEIGHT + 72 + 16 * (place % rows)
        parts.append(line(method, f"M{x} {y - 4}H{x + 24}"))
        parts.append(f'<text x="{x + 30}" y="{y}">{method}</text>')
    words = "median regret by trainings' worth"
    parts.append(f'<text x="{width - 10}" y="{height - 6}" text-anchor="end">{words}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


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
        yield "in-house, schedules mixed", inhouse(), 32
    else:
        print(f"skipped our own tables: no {INHOUSE}, which train makes")
    if FINETUNED.exists():
        yield "fine-tuning", finetuned(), 16
    else:
        print(f"skipped fine-tuning: no {FINETUNED}, which search_finetuned.py makes")


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    training = commands.add_parser("train")
    training.add_argument("--folder", type=Path, required=True)
    training.add_argument("--mnist", type=Path, help="Keras' mnist.npz")
    training.add_argument("--tables", nargs="+", choices=tuple(_MADE), default=list(_MADE))
    for command, methods in (("replay", METHODS), ("epochs", SEARCHERS)):
        one = commands.add_parser(command)
        one.add_argument("--lcbench", type=Path)
        one.add_argument("--deepobs", type=Path)
        one.add_argument("--half", choices=("odd", "even"), default="odd")
        one.add_argument("--seeds", type=int, default=16)
        one.add_argument("--slow-seeds", type=int, default=1)
        one.add_argument("--families", default="", help="beginnings of names, by commas")
        one.add_argument("--methods", default="", help="by semicolons; default all")
        output = "search-quality.json" if command == "replay" else "search-epochs.json"
        one.add_argument("--output", type=Path, default=RESULTS / output)
        one.set_defaults(table=methods)
    options = parser.parse_args(arguments)
    if options.command != "train":
        chosen = [each.strip() for each in options.methods.split(";") if each.strip()]
        wrong = [each for each in chosen if each not in options.table]
        if wrong:
            known = "; ".join(options.table)
            parser.error(f"unknown methods: {'; '.join(wrong)}; there are {known}")
        options.methods = chosen or list(options.table)
    return options


def main() -> None:
    """Train the tables of our own, or replay all there are."""
    options = parse()
    if options.command == "train":
        train(options.folder, INHOUSE, options.tables, options.mnist)
        return
    counted = options.command == "epochs"
    stored = options.output.exists()
    results: dict[str, Any] = json.loads(options.output.read_text()) if stored else {}
    for name, tasks, most in families(options):
        if not name.startswith(tuple(options.families.split(","))):
            continue
        most = min(most, EQUAL) if counted else most
        part = results.setdefault(name, {"tasks": [], "most": most, "methods": {}})
        part["tasks"] = [task.name for task in tasks]
        for method in options.methods:
            seeds = options.slow_seeds if method in SLOW else options.seeds
            found = options.table[method]
            part["methods"][method] = measure(
                tasks, count(found) if counted else follow(found), seeds, most
            )
            part["methods"] = {
                key: part["methods"][key] for key in options.table if key in part["methods"]
            }
            print(f"{name}: {method} done", file=sys.stderr, flush=True)
            # What was measured is kept whenever it is stopped.
            options.output.write_text(json.dumps(results, separators=(",", ":")) + "\n")
    against = "Optuna TPE" if counted else "tpe"
    for name, part in results.items():
        print()
        print("\n".join(table(name, part["methods"], part["most"], against)))
    drawn = DRAWN if counted else tuple(METHODS)
    options.output.with_suffix(".svg").write_text(draw(results, drawn))


if __name__ == "__main__":
    main()
