"""Does the interval of a range test hold the best rate, and how far off are the published points?

    python benchmarks/range_test.py [--data DIR] [--only digits-mlp-adamw] [--minutes 10] [--quick]

Every combination of a model on its data and an optimizer is trained at 25 rates over six decades
with three seeds: the table says which rate is best by the objective, and which rates are within one
deviation of seeds of it. Beside it stands a range test as `lrsearch range` makes it. The JSON is
written after each combination, and one that it has is not trained again: stop it anywhere, and go
on. DIR has mnist.npz and tinyshakespeare.txt; without them their combinations are left out by name.

The constants of `lrsearch.sweeps` were set on the combinations at even places of the list alone;
those at odd places are what is reported. `--tune` sets them again: of a grid, the least median
width at which 95 % of the intervals hold the best rate. The rates of a table lie 0.25 decades
apart.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import math
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from lrsearch import sweeps  # noqa: E402
from lrsearch.executors.inline import Inline  # noqa: E402
from lrsearch.reports.live import Progress  # noqa: E402
from lrsearch.spec import read_spec  # noqa: E402
from lrsearch.spec.model import Spec, resolve, settle_data  # noqa: E402
from lrsearch.train.jobs import find_jobs  # noqa: E402
from lrsearch.trial import (  # noqa: E402
    Cohort,
    Ended,
    Facts,
    Outcome,
    Plan,
    Result,
    Swept,
    Trial,
    Workplace,
)
from lrsearch.tuner.preparing import prepare  # noqa: E402
from lrsearch.tuner.ranging import Manner, sweep_configs  # noqa: E402
from lrsearch.tuner.session import Means  # noqa: E402

RATES, SEEDS, DECADES = 25, 3, 6

TRIALS, MOST = 5, 100
"""Random trials of the interval that are compared with as many as it takes over all decades."""

KEPT = ("metric", "goal", "rates", "values", "epochs", "seconds")
"""What is stored of a table."""

MNIST = {"name": "npz", "source": "mnist.npz", "samples": 1500, "standardize": True}
TEXT = {"name": "text", "source": "tinyshakespeare.txt", "context": 32}
LETTERS = 100_000
"""Of the text, the first."""

TASKS: dict[str, dict[str, Any]] = {
    "digits-logistic": {"data": "digits", "model": "logistic", "budget": "10ep", "batch": 32},
    "digits-mlp": {"data": "digits", "model": {"name": "mlp", "hidden": [64, 32]}},
    "digits-cnn": {"data": "digits", "model": {"name": "cnn", "channels": [8, 16]}},
    "digits-resnet": {
        "data": "digits",
        "model": {"name": "resnet", "width": 4},
        "budget": "4ep",
    },
    "wine-logistic": {"data": "wine", "model": "logistic", "budget": "20ep", "batch": 16},
    "wine-mlp": {"data": "wine", "model": {"name": "mlp", "hidden": [32]}, "batch": 16},
    "cancer-logistic": {"data": "breast_cancer", "model": "logistic", "batch": 32},
    "cancer-mlp": {"data": "breast_cancer", "model": {"name": "mlp", "hidden": [64]}, "batch": 32},
    "diabetes-linear": {"data": "diabetes", "model": "logistic", "budget": "20ep", "batch": 32},
    "diabetes-mlp": {"data": "diabetes", "model": {"name": "mlp", "hidden": [32]}, "batch": 32},
    "mnist-mlp": {"data": MNIST, "model": {"name": "mlp", "hidden": [64]}, "batch": 32},
    "mnist-cnn": {"data": MNIST, "model": {"name": "cnn", "channels": [4, 8]}, "budget": "4ep"},
    "text-transformer": {
        "data": TEXT,
        "model": {"name": "char_transformer", "layers": 2, "heads": 2, "width": 32},
        "budget": "250ba",
        "batch": 8,
    },
}
"""What is trained: 10 epochs of batches of 64 where nothing else is said."""

OPTIMIZERS: dict[str, tuple[Any, float]] = {
    "sgd": ({"name": "sgd"}, 10.0),
    "momentum": ({"name": "sgd", "momentum": 0.9}, 10.0),
    "adamw": ({"name": "adamw"}, 1.0),
    "rmsprop": ({"name": "rmsprop"}, 1.0),
    "adafactor": ({"name": "adafactor"}, 10.0),
    "lion": ({"name": "lion"}, 1.0),
    "muon": ({"name": "muon"}, 10.0),
}
"""Each with the highest of its rates."""

COMBINATIONS = [f"{task}-{name}" for task, name in itertools.product(TASKS, OPTIMIZERS)]
FILES = {"mnist": "mnist.npz", "text": "tinyshakespeare.txt"}


def write_spec(name: str, data: Path, folder: Path, quick: bool) -> Spec:
    """The spec of a combination."""
    kind, _, optimizer = name.rpartition("-")
    task = TASKS[kind]
    source = task["data"] if isinstance(task["data"], Mapping) else {"name": task["data"]}
    source = dict(source)
    if source["name"] == "text":
        text = (data / source["source"]).read_text("utf-8")
        (folder / source["source"]).write_text(text[:LETTERS], "utf-8")
    elif "source" in source:
        source["source"] = str((data / source["source"]).resolve())
    if source["name"] not in ("npz", "text"):
        source["standardize"] = True
    document = {
        "name": name,
        "data": source,
        "model": task["model"],
        "train": {
            "budget": "10ba" if quick else task.get("budget", "10ep"),
            "lr": 1.0,
            "batch_size": 8 if quick else task.get("batch", 64),
            "optimizer": OPTIMIZERS[optimizer][0],
            "evaluate": "1dur",
        },
    }
    path = folder / f"{name}.yaml"
    path.write_text(json.dumps(document))
    return read_spec(path)


def train_table(
    spec: Spec, facts: Facts, executor: Inline, rates: Sequence[float], seeds: int
) -> list[list[Result]]:
    """The results of the spec at each rate with each seed, [rates][seeds]."""
    config = resolve(spec, {}, facts.task)
    trials = [
        Trial(number, "", {**config, "train": {**config["train"], "lr": rate}}, spec.seed + seed)
        for number, (rate, seed) in enumerate(itertools.product(rates, range(seeds)))
    ]
    objective = spec.objective(facts.task)
    bar = math.inf if objective.goal == "max" else -math.inf
    cohort = Cohort(tuple(trials), Plan("fused", len(rates)), Workplace("cpu"), objective, bar=bar)
    executor.submit(find_jobs(None).train, cohort)
    results: dict[int, Result] = {}
    while executor.busy:
        for _, event in executor.events():
            if isinstance(event, Ended):
                results[event.trial] = event.result
    return [[results[at * seeds + seed] for seed in range(seeds)] for at in range(len(rates))]


def measure(name: str, data: Path, quick: bool, known: Mapping[str, Any]) -> dict[str, Any]:
    """All that is trained of a combination, as it is stored; what is `known` of its table is kept,
    and the range test made anew."""
    begun = time.process_time()
    highest = OPTIMIZERS[name.rpartition("-")[2]][1]
    rates = np.geomspace(highest / 10**DECADES, highest, 5 if quick else RATES).tolist()
    workplace = Workplace("cpu")
    with tempfile.TemporaryDirectory() as folder, Inline() as executor:
        spec = write_spec(name, data, Path(folder), quick)
        facts = prepare(spec, executor, workplace)
        spec = settle_data(spec, facts.settled)
        objective = spec.objective(facts.task)
        if not known:
            table = train_table(spec, facts, executor, rates, SEEDS)
            known = {
                "metric": objective.metric,
                "goal": objective.goal,
                "rates": [_round(rate) for rate in rates],
                "values": [[_value(each, objective.metric) for each in row] for row in table],
                "epochs": [_round(sum(each.epochs for each in row)) for row in table],
                "seconds": round(time.process_time() - begun, 1),
            }
        manner = Manner(steps=1) if quick else Manner()
        given = [resolve(spec, {}, facts.task)]
        means = Means(executor, facts, workplace, Progress(quiet=True))
        ((_, swept),) = sweep_configs(spec, given, manner, means)
    return {**known, "sweep": _stored(swept)}


def _stored(swept: Swept) -> dict[str, Any]:
    return {
        "lr": [_round(rate, 6) for rate in swept.lr],
        "losses": [[_round(loss, 4) for loss in each] for each in swept.losses],
        "engine": swept.engine,
        "cap": swept.lr[-1] if swept.lr and swept.lr[-1] in sweeps.CAPS.values() else None,
        "epochs": _round(swept.epochs),
        "seconds": round(swept.seconds, 2),
    }


def _value(result: Result, metric: str) -> float | None:
    return _round(result.last[metric]) if result.outcome is Outcome.COMPLETED else None


def _round(value: float, digits: int = 5) -> float | None:
    return float(f"{value:.{digits}g}") if math.isfinite(value) else None


def collect(arguments: argparse.Namespace, path: Path) -> dict[str, Any]:
    """The combinations that are stored, and those of which there is time to train."""
    stored: dict[str, Any] = {}
    if path.exists():
        stored = json.loads(path.read_text())["combinations"]
    begun = time.monotonic()
    for name in [each for each in COMBINATIONS if each in (arguments.only or COMBINATIONS)]:
        if name in stored and not arguments.sweep:
            continue
        file = FILES.get(name.split("-")[0])
        if file is not None and not (arguments.data / file).exists():
            print(f"{name}: left out, there is no {arguments.data / file}", file=sys.stderr)
            continue
        if time.monotonic() - begun > 60 * arguments.minutes:
            print("no more is begun: the same command goes on", file=sys.stderr)
            break
        known = {key: part for key, part in stored.get(name, {}).items() if key in KEPT}
        stored[name] = measure(name, arguments.data, arguments.quick, known)
        write(path, {"combinations": stored})
        print(f"{name}: {stored[name]['seconds']} s", file=sys.stderr)
    return {name: stored[name] for name in COMBINATIONS if name in stored}


# judging


@dataclass(frozen=True)
class Row:
    """A combination, judged. `best` are the rates of the best mean over seeds, `good` those within
    a deviation of seeds of it; `off` are by rule the decades between its point and the nearest best
    rate, `averaged` the same of the rule as it is published, on an exponential average. `trials` is
    how many random trials over all decades are as good as `TRIALS` in the interval, `saved` the
    epochs of the others less those of the range test."""

    name: str
    best: tuple[float, ...]
    good: tuple[float, ...]
    found: sweeps.Interval | sweeps.Refusal
    points: Mapping[str, float | None]
    off: Mapping[str, float]
    averaged: Mapping[str, float]
    trials: int
    saved: float

    @property
    def holds(self) -> bool:
        """Whether the interval has a best rate."""
        return self._has(self.best)

    @property
    def holds_good(self) -> bool:
        """Whether it has one within a deviation of the best."""
        return self._has(self.good)

    def _has(self, rates: Sequence[float]) -> bool:
        found = self.found
        return isinstance(found, sweeps.Interval) and any(
            found.low * (1 - 1e-4) <= rate <= found.high * (1 + 1e-4) for rate in rates
        )

    @property
    def width(self) -> float:
        """Decades of the interval, NaN without one."""
        found = self.found
        return math.log10(found.high / found.low) if isinstance(found, sweeps.Interval) else nan


nan = math.nan


def judge(name: str, stored: Mapping[str, Any]) -> Row:
    """A stored combination, judged."""
    sign = 1.0 if stored["goal"] == "max" else -1.0
    values = [
        [-math.inf if value is None else sign * value for value in row] for row in stored["values"]
    ]
    means = [sum(row) / len(row) for row in values]
    top = max(means)
    first = [at for at, mean in enumerate(means) if mean == top]
    spread = max(float(np.std(values[at], ddof=1)) for at in first)
    rates = stored["rates"]
    best = tuple(rates[at] for at in first)
    sweep = stored["sweep"]
    losses = [[math.inf if loss is None else loss for loss in each] for each in sweep["losses"]]
    found = sweeps.find_interval(sweep["lr"], losses, sweep["cap"])
    points = sweeps.find_points(*sweeps.find_curve(sweep["lr"], losses))
    averaged = sweeps.find_points(*average(*sweeps.median_losses(sweep["lr"], losses)))
    trials, saved = 0, nan
    if isinstance(found, sweeps.Interval):
        inside = [
            mean for rate, mean in zip(rates, means, strict=True) if found.low <= rate <= found.high
        ]
        wanted = expect_best(inside, TRIALS) if inside else -math.inf
        numbers = range(TRIALS, MOST + 1)
        trials = next((n for n in numbers if expect_best(means, n) >= wanted), MOST)
        each = sum(stored["epochs"]) / len(rates) / len(values[0])
        saved = (trials - TRIALS) * each - sweep["epochs"]
    return Row(
        name,
        best,
        tuple(rates[at] for at, mean in enumerate(means) if mean >= top - spread),
        found,
        points,
        {rule: _off(rate, best) for rule, rate in points.items()},
        {rule: _off(rate, best) for rule, rate in averaged.items()},
        trials,
        saved / each if trials else nan,
    )


def _off(rate: float | None, best: Sequence[float]) -> float:
    """Decades between a point and the nearest best rate, below it negative."""
    if rate is None:
        return nan
    return min((math.log10(rate / each) for each in best), key=abs)


def average(lr: Sequence[float], losses: Sequence[float]) -> tuple[list[float], list[float]]:
    """The curve as fastai and Lightning smooth it: an exponential average that keeps 0.98 a step,
    without the weight of its beginning; up to four times its best."""
    keep, total, weight = 0.98 ** Manner().steps, 0.0, 0.0
    curve = []
    for loss in losses:
        total, weight = keep * total + (1 - keep) * loss, keep * weight + (1 - keep)
        curve.append(total / weight)
    return list(lr), curve


def expect_best(values: Sequence[float], draws: int) -> float:
    """The mean of the best of so many draws of these values, each as likely, with replacement."""
    ordered = sorted(values)
    count = len(ordered)
    shares = [((at + 1) / count) ** draws - (at / count) ** draws for at in range(count)]
    terms = (share * value for share, value in zip(shares, ordered, strict=True) if share > 1e-12)
    return math.fsum(terms)


def summarize(rows: Sequence[Row]) -> dict[str, Any]:
    """The figures of a table."""
    widths = [row.width for row in rows if not math.isnan(row.width)]
    saved = [row.saved for row in rows if not math.isnan(row.saved)]
    return {
        "combinations": len(rows),
        "refused": [f"{row.name}: {row.found.reason}" for row in rows if math.isnan(row.width)],
        "holds": sum(row.holds for row in rows),
        "holds_good": sum(row.holds_good for row in rows),
        "misses": [row.name for row in rows if not row.holds and not math.isnan(row.width)],
        "width": _quantiles(widths),
        "points": {rule: _distances([row.off[rule] for row in rows]) for rule in sweeps.RULES},
        "averaged": {
            rule: _distances([row.averaged[rule] for row in rows]) for rule in sweeps.RULES
        },
        "trials": _quantiles([row.trials for row in rows if row.trials]),
        "saved": _quantiles(saved),
        "saved_mean": round(float(np.mean(saved)), 1) if saved else None,
    }


def _quantiles(values: Sequence[float]) -> list[float] | None:
    return [round(float(np.quantile(values, q)), 2) for q in (0.5, 0.9)] if values else None


def _distances(off: Sequence[float]) -> dict[str, Any]:
    known = [each for each in off if not math.isnan(each)]
    return {
        "distance": _quantiles([abs(each) for each in known]),
        "shift": round(float(np.median(known)), 2) if known else None,
        "missing": len(off) - len(known),
    }


def describe(title: str, found: Mapping[str, Any]) -> Iterator[str]:
    """A table in lines."""
    total = found["combinations"]
    yield f"{title}: {total} combinations, {len(found['refused'])} refused"
    if found["width"] is None:
        return
    given = total - len(found["refused"])
    yield f"  the interval holds the best rate in {found['holds']} of {given}"
    yield f"  and one within a deviation of seeds of it in {found['holds_good']} of {given}"
    yield f"  missed: {', '.join(found['misses']) or 'none'}"
    width, trials, saved = found["width"], found["trials"], found["saved"]
    yield f"  width: median {width[0]} decades, 90% under {width[1]}"
    yield (
        f"  as good as {TRIALS} random trials of the interval are, over {DECADES} decades, "
        f"{trials[0]:g} at the median and {trials[1]:g} at 90%"
    )
    yield (
        f"  trainings saved, less the range test's: median {saved[0]}, 90% {saved[1]}, "
        f"mean {found['saved_mean']}"
    )
    yield "  decades to the best rate    lag-free: median 90% shift   averaged: median 90% shift"
    for rule in sweeps.RULES:
        cells = []
        for kind in ("points", "averaged"):
            each = found[kind][rule]
            near, far = each["distance"] or (nan, nan)
            cells.append(f"{near:10.2f} {far:6.2f} {each['shift'] or nan:+6.2f}")
        yield f"    {rule:18} {'   '.join(cells)}"


COLOURS = dict(
    zip(sweeps.RULES, ("#d62728", "#1f77b4", "#2ca02c", "#9467bd", "#ff7f0e"), strict=True)
)
LEFT, STEP, ROW = 170, 80, 14
"""Pixels of the names, of a decade and of a row."""


def draw(rows: Sequence[Row]) -> str:
    """The intervals and points relative to the best rate, as SVG."""
    low, high = -5, 3
    width, height = LEFT + STEP * (high - low) + 20, ROW * (len(rows) + 5)

    def across(rate: float, row: Row) -> float:
        decades = math.log10(rate / row.best[len(row.best) // 2])
        return round(LEFT + STEP * (min(max(decades, low), high) - low), 1)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        'font-family="sans-serif" font-size="10">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
    ]
    bottom = ROW * (len(rows) + 1)
    for decade in range(low, high + 1):
        x = LEFT + STEP * (decade - low)
        parts.append(f'<path d="M{x} {ROW // 2}V{bottom}" stroke="#e5e5e5"/>')
        parts.append(f'<text x="{x}" y="{bottom + ROW}" text-anchor="middle">{decade:+d}</text>')
    for place, row in enumerate(rows):
        y = ROW * (place + 1)
        parts.append(f'<text x="{LEFT - 8}" y="{y + 3}" text-anchor="end">{row.name}</text>')
        bars = [(row.best, 8, "black")]
        if isinstance(row.found, sweeps.Interval):
            bars.insert(0, ((row.found.low, row.found.high), 10, "#c8c8c8"))
        for ends, thick, colour in bars:
            first, last = (across(end, row) for end in (ends[0], ends[-1]))
            parts.append(
                f'<rect x="{first - 1}" y="{y - thick / 2}" width="{last - first + 2:.1f}" '
                f'height="{thick}" fill="{colour}"/>'
            )
        for rule, rate in row.points.items():
            if rate is not None:
                x = across(rate, row)
                parts.append(f'<circle cx="{x}" cy="{y}" r="3" fill="{COLOURS[rule]}"/>')
    y = bottom + 3 * ROW
    told = "decades from the best rate (black); grey: the interval"
    parts.append(f'<text x="{LEFT}" y="{y}">{told}</text>')
    for place, (rule, colour) in enumerate(COLOURS.items()):
        x = LEFT + 110 * place
        parts.append(f'<circle cx="{x}" cy="{y + ROW}" r="3" fill="{colour}"/>')
        parts.append(f'<text x="{x + 8}" y="{y + ROW + 3}">{rule}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def write(path: Path, content: Mapping[str, Any]) -> None:
    """Replace the JSON, a combination a line."""
    rows = [
        f"{json.dumps(name)}: {json.dumps(each, separators=(',', ':'))}"
        for name, each in content["combinations"].items()
    ]
    rest = {key: each for key, each in content.items() if key != "combinations"}
    text = json.dumps(rest, indent=1)[1:-1].strip()
    whole = '{"combinations": {\n' + ",\n".join(rows) + "\n}" + (f",\n{text}" if text else "")
    new = path.with_suffix(".new")
    new.write_text(whole + "}\n")
    new.replace(path)


GRID = {
    "DESCENT": (0.2, 0.25, 0.3, 0.35, 0.4, 0.5, 0.6),
    "RISE": (0.02, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2),
    "MARGIN": (0.0, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5),
}
"""Constants of `sweeps` that are set here, and what is tried for each."""

HELD = 0.95
"""Share of the intervals that is to hold the best rate."""


def tune(tuned: Mapping[str, Mapping[str, Any]]) -> None:
    """Set the constants of `GRID` by combinations, and print the best of them, narrowest first."""
    known = {}
    for name, stored in tuned.items():
        sweep = stored["sweep"]
        losses = [[math.inf if loss is None else loss for loss in each] for each in sweep["losses"]]
        known[name] = (judge(name, stored), sweep, losses, sweeps._read(sweep["lr"], losses))
    before = {name: getattr(sweeps, name) for name in GRID}, sweeps._read
    tried = []
    for values in itertools.product(*GRID.values()):
        for constant, value in zip(GRID, values, strict=True):
            setattr(sweeps, constant, value)
        rows = []
        for row, sweep, losses, read in known.values():
            sweeps._read = lambda *_, read=read: read  # No constant of these has a part in it.
            found = sweeps.find_interval(sweep["lr"], losses, sweep["cap"])
            rows.append(dataclasses.replace(row, found=found))
        holds = sum(row.holds for row in rows)
        if holds >= HELD * len(rows):
            width = round(float(np.nanmedian([row.width for row in rows])), 3)
            tried.append((width, holds, values))
    for name, value in before[0].items():
        setattr(sweeps, name, value)
    sweeps._read = before[1]
    for width, holds, values in sorted(tried)[:10]:
        constants = ", ".join(f"{n} {v:g}" for n, v in zip(GRID, values, strict=True))
        print(f"{width:.3f} decades, {holds} of {len(tuned)} hold: {constants}")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", type=Path, default=HERE.parent.parent / "shared" / "data")
    parser.add_argument("--output", type=Path, default=HERE / "results")
    parser.add_argument("--only", action="append")
    parser.add_argument("--minutes", type=float, default=math.inf)
    parser.add_argument("--quick", action="store_true", help="few rates and steps, to try it")
    parser.add_argument("--sweep", action="store_true", help="make the range tests anew")
    parser.add_argument("--tune", action="store_true", help="try other constants, and no more")
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    path = arguments.output / "range-cpu.json"
    stored = collect(arguments, path)
    if arguments.tune:
        return tune({name: stored[name] for name in COMBINATIONS[::2] if name in stored})
    rows = {name: judge(name, each) for name, each in stored.items()}
    halves = {
        title: [rows[name] for name in COMBINATIONS[half::2] if name in rows]
        for half, title in ((1, "reported"), (0, "tuned"))
    }
    found = {title: summarize(half) for title, half in halves.items()}
    write(path, {"combinations": stored, **found})
    for title in halves:
        print("\n".join(describe(title, found[title])))
    (arguments.output / "range-cpu.svg").write_text(draw(halves["reported"]))


if __name__ == "__main__":
    main()
