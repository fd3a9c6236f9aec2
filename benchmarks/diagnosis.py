"""Which verdicts `lrsearch.diagnosis` has on trainings that were made to go wrong on purpose.

    python benchmarks/diagnosis.py [--mnist mnist.npz] [--text input.txt]
        [--deepobs deepobs_baselines.json.gz] [--folder DIR] [--minutes 9] [--tasks digits-mlp]

`failing.py` has the trainings: 28 tasks (mlp, cnn, resnet, transformer, mixer, recurrent and more),
each by one optimizer or two, sound and made to go wrong, labelled by how they were made; and once
more by their outcome, too, which may contradict that (`label_by_outcome`). `making.py` says by
their losses alone which came out as they were made to: tables have these apart, too. Each is judged
by its curve alone, and beside the trials of a search that it stands in: of seven rates, and where
the model is too small, of the sound model, too. The rules' limits were set on seven of the tasks;
the tables of the last four, which were judged once, are the result. Beside it stands what published
rules say of the same trainings: AutoTrainer's thresholds (Zhang et al. 2021) and the ratio of
updates to weights of CS231n's notes. `--deepobs` names DeepOBS's baselines (Schneider et al. 2019):
1,080 published trainings, of whose best nothing may be said to be lost.

What was trained is kept in `--folder`, and not trained again: a run that stops after `--minutes`,
or is stopped, is gone on with by the same command. Prints the tables and writes
`diagnosis-cpu.json` and a picture, `diagnosis-cpu.svg`, to `benchmarks/results/` (`--output DIR`).
Exit status 1 while something is left to train.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import itertools
import json
import math
import statistics
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import yaml
from failing import FRESH, SETTING, TASKS, Case, healthy, ladder, make, scatter, search, wrong
from making import ALL, COST, as_meant, double, find_best, find_end, find_missed

from lrsearch.diagnosis import compare, diagnose, read_signs
from lrsearch.spec.document import read_document
from lrsearch.spec.model import resolve
from lrsearch.spec.validate import validate
from lrsearch.train.engines.cohort import run_cohort
from lrsearch.trial import (
    Cohort,
    Ended,
    Objective,
    Outcome,
    Plan,
    Record,
    Records,
    Result,
    Trial,
    Workplace,
)

HERE = Path(__file__).resolve().parent
LANES = 8
LOSS = Objective("loss", "min")
SOURCES = {"npz": "mnist", "text": "text"}
"""The option that names the file of a data source."""

LONG = ("text-gru", "text-transformer", "text-lstm")
"""The tasks that take too long to be trained beside a search."""

VERDICTS = (
    "healthy", "diverged", "unstable", "oscillating", "stagnating", "too_slow", "overfitting",
    "underfitting", "dead",
)  # fmt: skip

# Training ------------------------------------------------------------------------------------


def train(cases: Sequence[Case], sources: Mapping[str, str]) -> list[dict[str, Any]]:
    """Train cases of one structure side by side; what each came to."""
    trials = []
    for number, case in enumerate(cases, 1):
        spec = json.loads(json.dumps(case.spec))
        source = SOURCES.get(spec["data"].get("name", ""))
        if source:
            spec["data"]["source"] = sources[source]
        text = yaml.safe_dump({"name": "case", **spec})
        read = validate(read_document(text, "case.yaml"), HERE, "case")
        trials.append(Trial(number, f"{number}", resolve(read, {}), case.seed))
    plan = Plan("fused", LANES) if len(trials) > 1 else Plan()
    workplace = Workplace("cpu", str(HERE), ("failing", "fresh", "unseen", "workloads"))
    found = {}
    for event in run_cohort(Cohort(tuple(trials), plan, workplace, LOSS)):
        if isinstance(event, Ended):
            result = event.result
            if result.outcome not in (Outcome.COMPLETED, Outcome.DIVERGED):
                raise RuntimeError(f"{cases[event.trial - 1]}: {result.reason} {result.traceback}")
            found[event.trial] = {
                "outcome": result.outcome.value,
                "steps": result.steps,
                "curve": event.curve,
                "records": vars(event.records),
            }
    return [found[number] for number in range(1, len(cases) + 1)]


def train_all(
    cases: Sequence[Case], folder: Path, sources: Mapping[str, str], until: float
) -> list[dict[str, Any]]:
    """What cases came to, in their order: those of a structure are trained together, and read back
    from the folder where they were trained before. Raises TimeoutError after `until`."""
    groups: dict[Any, list[Case]] = {}
    for case in cases:
        groups.setdefault(case.structure, []).append(case)
    found: dict[int, dict[str, Any]] = {}
    for group in groups.values():
        text = repr([(each.spec, each.seed) for each in group])
        digest = hashlib.sha256(text.encode()).hexdigest()[:12]
        path = folder / f"{group[0].task}-{group[0].optimizer}-{digest}.json"
        if not path.exists():
            if time.monotonic() > until:
                raise TimeoutError("there is more to train: the same command goes on")
            began = time.process_time()
            path.with_suffix(".tmp").write_text(json.dumps(train(group, sources)))
            path.with_suffix(".tmp").replace(path)
            spent = time.process_time() - began
            told = f"{group[0].task} {group[0].optimizer}, {group[0].how}: {len(group)}"
            print(f"{told} in {spent:.1f} CPU seconds", flush=True)
        for case, each in zip(group, json.loads(path.read_text()), strict=True):
            found[id(case)] = each
    return [found[id(case)] for case in cases]


def find_edge(
    name: str, optimizer: str, folder: Path, sources: Mapping[str, str], until: float
) -> float:
    """The largest rate of the ladder before one with which less than half is learned of what is
    learned with the best, of all seeds; where there are several, the first from it on that costs
    all of them something, 0 where none does."""
    edges = []
    for cases in ladder(name, optimizer):
        found = train_all(cases, folder, sources, until)
        ends = [
            each["curve"]["train_loss"][-1] if each["outcome"] == "completed" else math.inf
            for each in found
        ]
        start = max(found[0]["curve"]["loss"][0], found[0]["curve"]["train_loss"][0])
        limit = (start + min(ends)) / 2
        first = next(k for k, end in enumerate([*ends, math.nan]) if not end <= limit)
        edges.append(float(cases[max(0, first - 1)].spec["train"]["lr"]))
    if TASKS[name].edge_seeds == 1:
        return edges[0]
    return _find_cost(name, optimizer, min(edges), folder, sources, until)


def _find_cost(
    name: str,
    optimizer: str,
    edge: float,
    folder: Path,
    sources: Mapping[str, str],
    until: float,
) -> float:
    """The first rate from the edge on that costs all seeds something, where several are looked at;
    0 where none does."""
    sound = [healthy(name, optimizer), *ladder(name, optimizer, edge, 1.6**0.25, 6)]
    cases = [case for row in sound for case in row]
    came = train_all(cases, folder, sources, until)
    best = find_best(cases, came)
    costs: dict[float, list[float]] = {}
    for case, each in zip(cases, came, strict=True):
        if case.how != "sound":
            costs.setdefault(case.spec["train"]["lr"], []).append(min(find_missed(each, best)))
    fitting = (rate for rate, own in costs.items() if all(COST <= each < ALL for each in own))
    return min(fitting, default=0.0)


# What is said of it --------------------------------------------------------------------------


@dataclass(frozen=True)
class Judged:
    """A training and what is said of it: `verdicts` of ours, the surest first, and those of the
    published rules, in our words. `meant` says that it came out as it was made to (`making.py`)."""

    case: Case
    verdicts: tuple[str, ...]
    autotrainer: tuple[str, ...]
    ratio: tuple[str, ...]
    meant: bool = True


def judge(case: Case, came: Mapping[str, Any]) -> Judged:
    """What is said of a training. Of a sound one only `healthy` is right, of another each verdict
    that it is labelled with."""
    records = read_records(came["records"])
    result = Result(Outcome(came["outcome"]), came["steps"], 1.0, 1.0)
    config = {"train": {"lr": case.spec["train"]["lr"]}}
    found = diagnose(config, came["curve"], records, result, LOSS)
    return Judged(
        case, tuple(each.verdict for each in found), autotrainer(came), update_ratio(records)
    )


def judge_all(
    cases: Sequence[Case],
    came: Sequence[Mapping[str, Any]],
    folder: Path,
    sources: Mapping[str, str],
    until: float,
) -> list[Judged]:
    """What is said of the trainings of a task by an optimizer, each by its curve alone. Of tasks
    that take long sound ones are not trained with twice the budget, either."""
    sound = [case for case in cases if case.how == "sound" and case.task not in LONG]
    longer = train_all([double(case) for case in sound], folder, sources, until)
    doubled = {id(case): each for case, each in zip(sound, longer, strict=True)}
    best = find_best(cases, came)
    return [
        replace(judge(case, each), meant=as_meant(case, each, best, doubled.get(id(case))))
        for case, each in zip(cases, came, strict=True)
    ]


def find_company(
    cases: Sequence[Case], folder: Path, sources: Mapping[str, str], until: float
) -> dict[str, list[Record]]:
    """The trials of the searches that cases of a task and an optimizer stand in, by what a search
    has in common (`name_search`)."""
    found: dict[str, list[Record]] = {}
    for case in cases:
        if (name := name_search(case)) not in found:
            around = search(case)
            came = train_all(around, folder, sources, until)
            found[name] = [
                make_record(number, other, each)
                for number, (other, each) in enumerate(zip(around, came, strict=True), 1)
            ]
    return found


def enlarge(case: Case) -> list[Case]:
    """Sound trainings, whose model is not too small: by a case's schedule, and at a constant
    rate."""
    schedules = (case.spec["train"]["schedule"], {"name": "constant"})
    return [
        make(case.task, case.optimizer, "sound", ["healthy"], 0, schedule=each)
        for each in schedules
    ]


def name_search(case: Case) -> str:
    """The name of all that the trials of a search have in common: all but the rate."""
    train = {name: value for name, value in case.spec["train"].items() if name != "lr"}
    return json.dumps({**case.spec, "train": train}, sort_keys=True)


def make_record(number: int, case: Case, came: Mapping[str, Any]) -> Record:
    """A training as a report has it; its model and schedule are searched beside the rate."""
    records = read_records(came["records"])
    config = {"train": {"lr": case.spec["train"]["lr"]}}
    result = Result(Outcome(came["outcome"]), came["steps"], 1.0, 1.0)
    result = replace(
        result,
        verdicts=diagnose(config, came["curve"], records, result, LOSS),
        signs=read_signs(came["curve"], records, result, LOSS),
    )
    params = {
        "lr": case.spec["train"]["lr"],
        "model.kind": repr(case.spec["model"]),
        "schedule": repr(case.spec["train"]["schedule"]),
    }
    return Record(Trial(number, "", config, 0), 0, params, "grid", result)


def judge_among(
    judged: Judged, came: Mapping[str, Any], companies: Mapping[str, Sequence[Record]]
) -> Judged:
    """What is said of a training beside its neighbours in a search, and beside those of the sound
    model where its own is another: as a search through models has it. (Where no sound training of
    the task has its schedule, those of a constant rate: as one through schedules, too, has it.)"""
    case = judged.case
    own = make_record(0, case, came)
    company = [*companies[name_search(case)]]
    if case.how == "too small a model":
        sound = (companies.get(name_search(each), ()) for each in enlarge(case))
        company += [
            replace(each, trial=replace(each.trial, number=each.trial.number + len(company)))
            for each in next(filter(None, sound), ())
        ]
    result = compare([own, *company])[0].result
    told = tuple(each.verdict for each in (result and result.verdicts) or ())
    return replace(judged, verdicts=told)


def judge_scattered(
    cases: Sequence[Case], folder: Path, sources: Mapping[str, str], until: float
) -> tuple[list[Judged], list[Judged]]:
    """What is said of trainings with a weight decay by their curves alone, and in a random search
    through rate and weight decay, where no two trials differ in the rate alone."""
    alone, among = [], []
    for case in cases:
        around = scatter(case)
        came = train_all(around, folder, sources, until)
        records = [
            make_record(number, other, each)
            for number, (other, each) in enumerate(zip(around, came, strict=True))
        ]
        for each, other in zip(records, around, strict=True):
            each.params["weight_decay"] = other.spec["train"]["optimizer"]["weight_decay"]
        own = judge(case, came[0])
        result = compare(records)[0].result
        told = tuple(each.verdict for each in (result and result.verdicts) or ())
        alone.append(own)
        among.append(replace(own, verdicts=told))
    return alone, among


NO_BETTER, AS_GOOD = 0.98, 0.75
"""Share of the loss of a model that knows nothing from which on a training has ended no better;
share of the sound trainings of its task and optimizer that end no worse than one as good as
them."""


def label_by_outcome(
    cases: Sequence[Case], came: Sequence[Mapping[str, Any]]
) -> list[tuple[str, ...]]:
    """The labels of all trainings of a task by an optimizer that their outcome leaves: none of one
    that was made to go wrong and ended as well as three quarters of the sound ones do. One that did
    not end with a number has diverged, and of one that ended no better than a model that knows
    nothing `diverged` and `stagnating` are right, too. The validation loss at the end is the mean
    of the last tenth of the evaluations."""
    ends = [find_end(each) for each in came]
    sound = sorted(
        end for case, end in zip(cases, ends, strict=True) if case.labels[0] == "healthy"
    )
    enough = sound[math.ceil(AS_GOOD * len(sound)) - 1] if sound else -math.inf
    found = []
    for case, each, end in zip(cases, came, ends, strict=True):
        labels = case.labels
        known = (each["records"]["start"], each["records"]["baseline"])
        nothing = min(filter(math.isfinite, known), default=math.inf)
        if labels[0] == "healthy":
            pass
        elif not math.isfinite(end):
            labels = ("diverged",)
        elif end <= enough:
            labels = ()
        elif end >= NO_BETTER * nothing:
            labels = (*labels, "diverged", "stagnating")
        found.append(labels)
    return found


def read_records(stored: Mapping[str, Any]) -> Records:
    """Records as they were written to JSON."""
    return Records(
        **{name: tuple(each) if isinstance(each, list) else each for name, each in stored.items()}
    )


def is_right(labels: Sequence[str], verdicts: Sequence[str]) -> bool:
    """Whether a training of these labels is told right: a sound one by the first verdict, another
    by any."""
    told = verdicts[:1] if labels[0] == "healthy" else verdicts
    return any(each in labels for each in told)


ZETA, ETA, DELTA, THETA = 0.03, 0.2, 0.01, 0.7
"""AutoTrainer's defaults: how far an accuracy swings, for which share of the epochs; by how much it
rises at most where it is slow; the accuracy that is enough."""


def autotrainer(came: Mapping[str, Any]) -> tuple[str, ...]:
    """AutoTrainer's rules (Zhang et al. 2021, its `monitor.py`) at the end of a training, an
    evaluation for an epoch. It takes training and validation accuracy, here the latter; of its
    rules of gradients by layer only that of zeros is applied, where all are. It has no verdict on a
    regression, none of overfitting (which is switched off there) and none of a small model."""
    curve = came["curve"]
    losses = (*curve.get("train_loss", ()), *curve.get("loss", ()))
    if came["outcome"] == "diverged" or not all(map(math.isfinite, losses)) or losses[-1] >= 1e5:
        return ("diverged",)
    accuracy = curve.get("accuracy", ())
    if not accuracy:
        return ("healthy",)
    steps = [after - before for before, after in itertools.pairwise(accuracy)]
    slow = max(steps, default=0.0) < DELTA
    if slow or max(accuracy) < THETA:
        if not any(came["records"].get("gradient_norm", (1.0,))):
            return ("dead",)
        return ("too_slow", "stagnating") if slow else ("healthy",)
    inner = range(1, len(accuracy) - 1)
    tops = [accuracy[k] for k in inner if accuracy[k] >= max(accuracy[k - 1], accuracy[k + 1])]
    lows = [accuracy[k] for k in inner if accuracy[k] <= min(accuracy[k - 1], accuracy[k + 1])]
    swings = sum(top - low >= ZETA for top, low in zip(tops, lows, strict=False))
    unsteady = swings >= ETA * len(accuracy)
    return ("unstable", "oscillating") if unsteady else ("healthy",)


USUAL = 1e-3
"""The ratio of the size of updates to that of weights that CS231n's notes call a rough heuristic:
lower, and the rate might be too low; higher, and it is likely too high."""


def update_ratio(records: Records) -> tuple[str, ...]:
    """The verdicts that the ratio means where its median is ten times more, or less, than usual."""
    known = [each for each in records.update_ratio if math.isfinite(each)]
    middle = statistics.median(known) if known else math.inf
    if middle > 10 * USUAL:
        return ("diverged", "unstable", "oscillating")
    if middle < USUAL / 10:
        return ("too_slow", "stagnating", "dead")
    return ("healthy",)


# Tables --------------------------------------------------------------------------------------


def summarize(found: Sequence[Judged]) -> dict[str, Any]:
    """The tables of some trainings, as JSON: `matrix` has by label, and by the first verdict, how
    many; `ways` by how they were made how many, and how many are right by each rule; `errors` those
    that are wrong."""
    matrix: dict[str, Counter[str]] = {}
    ways: dict[str, Counter[str]] = {}
    errors = []
    for each in found:
        labels, first = each.case.labels, (each.verdicts or ("none",))[0]
        matrix.setdefault(labels[0], Counter())[first] += 1
        way = ways.setdefault(each.case.how, Counter())
        way["trainings"] += 1
        way["right"] += is_right(labels, each.verdicts)
        way["autotrainer"] += is_right(labels, each.autotrainer)
        way["update_ratio"] += is_right(labels, each.ratio)
        way["meant"] += each.meant
        way["right_as_meant"] += each.meant and is_right(labels, each.verdicts)
        if not is_right(labels, each.verdicts):
            task = f"{each.case.task} {each.case.optimizer}"
            errors.append(f"{task}, {each.case.how}: {' and '.join(each.verdicts) or 'none'}")
    trainings = len(found)
    right = {
        rule: sum(way[rule] for way in ways.values()) / trainings
        for rule in ("right", "autotrainer", "update_ratio")
    }
    sound = [each for each in found if each.case.labels[0] == "healthy"]
    meant = sum(way["meant"] for way in ways.values())
    return {
        "trainings": trainings,
        "meant": meant,
        "share_of_meant": sum(way["right_as_meant"] for way in ways.values()) / max(1, meant),
        "share": right,
        "wrong_ones": sum(each.case.labels[0] != "healthy" for each in found),
        "share_of_wrong_ones": {
            rule: sum(way[rule] for how, way in ways.items() if how != "sound")
            / max(1, trainings - len(sound))
            for rule in right
        },
        "healthy": len(sound),
        "healthy_called_lost": sum(bool({"diverged", "dead"} & {*each.verdicts}) for each in sound),
        "matrix": {label: dict(row) for label, row in matrix.items()},
        "ways": {how: dict(way) for how, way in ways.items()},
        "errors": errors,
    }


def show(title: str, table: Mapping[str, Any]) -> None:
    """Print the tables of `summarize`."""
    print(f"\n{title}: {table['trainings']} trainings")
    columns = [
        each for each in (*VERDICTS, "none") if any(each in row for row in table["matrix"].values())
    ]
    print(f"{'made to be':14}" + "".join(f"{each[:11]:>12}" for each in columns))
    for label in VERDICTS:
        if label in table["matrix"]:
            row = table["matrix"][label]
            print(f"{label:14}" + "".join(f"{row.get(each, 0) or '.':>12}" for each in columns))
    print(
        f"\n{'how it was made':28}{'trainings':>10}{'right':>8}{'AutoTrainer':>13}{'1e-3 rule':>11}"
        f"{'as meant':>10}{'right':>8}"
    )
    for how, way in table["ways"].items():
        names = ("trainings", "right", "autotrainer", "update_ratio", "meant", "right_as_meant")
        counts = (way[each] for each in names)
        print("{:28}{:>10}{:>8}{:>13}{:>11}{:>10}{:>8}".format(how, *counts))
    for name, shares in (("all", table["share"]), ("made wrong", table["share_of_wrong_ones"])):
        parts = (f"{shares[rule]:.1%}" for rule in ("right", "autotrainer", "update_ratio"))
        print("{:28}{:>10}{:>8}{:>13}{:>11}".format(name, "", *parts))
    print(f"of {table['meant']} that came out as meant right: {table['share_of_meant']:.1%}")
    print(f"healthy: {table['healthy']}, called diverged or dead: {table['healthy_called_lost']}")
    for line in table["errors"]:
        print(f"  wrong: {line}")


BASELINES = {
    "cifar10_3c3d": math.log(10),
    "cifar100_allcnnc": math.log(100),
    "fmnist_2c2d": math.log(10),
    "svhn_wrn164": math.log(10),
    "tolstoi_char_rnn": math.log(83),
}
"""The loss of all classes alike, of DeepOBS's problems of classification."""


def judge_published(path: Path) -> dict[str, Any]:
    """The first verdicts on DeepOBS's trainings, by where in its problem a training ends: the best
    tenth, the better half, the worse half."""
    with gzip.open(path) as file:
        runs = [run for run in json.load(file) if "train_losses" in run]
    found: dict[str, Counter[str]] = {}
    for problem in sorted({run["testproblem"] for run in runs}):
        own = [run for run in runs if run["testproblem"] == problem]
        own.sort(key=lambda run: _number(run["test_losses"][-1]))
        for place, run in enumerate(own):
            training = [float(each) for each in run["train_losses"]]
            tested = [float(each) for each in run["test_losses"]]
            finite = all(map(math.isfinite, (*training, *tested)))
            outcome = Outcome.COMPLETED if finite else Outcome.DIVERGED
            epochs = len(training) - 1
            curve = {
                "step": list(range(1, epochs + 1)),
                "train_loss": training[1:],
                "loss": tested[1:],
            }
            records = Records(start=training[0], baseline=BASELINES.get(problem, math.nan))
            told = diagnose({}, curve, records, Result(outcome, epochs, 1.0, 1.0), LOSS)
            share = place / len(own)
            part = "best tenth" if share < 0.1 else "better half" if share < 0.5 else "worse half"
            found.setdefault(part, Counter())[told[0].verdict if told else "none"] += 1
    return {part: dict(row) for part, row in found.items()}


def _number(value: Any) -> float:
    return float(value) if value is not None and math.isfinite(float(value)) else math.inf


def draw(table: Mapping[str, Any], judged: str) -> str:
    """The matrix as a picture, an SVG: a row for what a training was made to be, a column for what
    it is told to be; `judged` says by what."""
    rows = [each for each in VERDICTS if each in table["matrix"]]
    columns = [
        each for each in (*VERDICTS, "none") if any(each in table["matrix"][row] for row in rows)
    ]
    side, left, top = 64, 130, 60
    width, height = left + side * len(columns) + 20, top + 40 * len(rows) + 40
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        'font-family="sans-serif" font-size="11">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
        f'<text x="{left}" y="18" font-size="13">told to be (columns), made to be (rows): '
        f"{table['trainings']} trainings {judged}, {table['share']['right']:.0%} right</text>",
    ]
    for index, column in enumerate(columns):
        place = left + side * index + side / 2
        parts.append(f'<text x="{place}" y="{top - 8}" text-anchor="middle">{column}</text>')
    for line, row in enumerate(rows):
        counts = table["matrix"][row]
        total = sum(counts.values())
        y = top + 40 * line
        parts.append(f'<text x="{left - 8}" y="{y + 24}" text-anchor="end">{row} ({total})</text>')
        for index, column in enumerate(columns):
            share = counts.get(column, 0) / total
            same = row == column or {row, column} == {"unstable", "oscillating"}
            colour = "34,113,178" if same else "213,94,0"
            x = left + side * index
            parts.append(
                f'<rect x="{x}" y="{y}" width="{side - 2}" height="38" '
                f'fill="rgba({colour},{share:.2f})" stroke="#ddd"/>'
            )
            if counts.get(column):
                ink = "white" if share > 0.5 else "black"
                parts.append(
                    f'<text x="{x + side / 2}" y="{y + 24}" text-anchor="middle" '
                    f'fill="{ink}">{counts[column]}</text>'
                )
    return "\n".join([*parts, "</svg>"]) + "\n"


def _relabel(judged: Sequence[Judged], labels: Sequence[tuple[str, ...]]) -> list[Judged]:
    """The trainings by other labels, without those that have none."""
    return [
        replace(each, case=replace(each.case, labels=own))
        for each, own in zip(judged, labels, strict=True)
        if own
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--mnist", help="the archive mnist.npz")
    parser.add_argument("--text", help="a text, such as Tiny Shakespeare")
    parser.add_argument("--deepobs", type=Path, help="deepobs_baselines.json.gz")
    parser.add_argument("--folder", type=Path, default=Path("runs/diagnosis"))
    parser.add_argument("--output", type=Path, default=HERE / "results")
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument(
        "--tasks", default=",".join(TASKS), help="by commas, of " + ", ".join(TASKS)
    )
    quick = ",".join(name for name in TASKS if name not in LONG)
    parser.add_argument(
        "--searches",
        default=quick,
        help="the tasks whose trainings are judged beside others of a search, too, which takes as "
        "long again and more; default: all but the first three of text",
    )
    parser.add_argument(
        "--scattered",
        default="diabetes-mlp,cancer-mlp,wine-mlp",
        help="the tasks whose trainings are judged in a random search, too",
    )
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    given.folder.mkdir(parents=True, exist_ok=True)
    given.output.mkdir(parents=True, exist_ok=True)
    sources = {
        name: str(Path(path).resolve())
        for name, path in (("mnist", given.mnist), ("text", given.text))
        if path
    }
    until = time.monotonic() + 60 * given.minutes
    judged: list[Judged] = []
    ended: list[Judged] = []
    among: list[Judged] = []
    among_ended: list[Judged] = []
    scattered: tuple[list[Judged], list[Judged]] = ([], [])
    for name in given.tasks.split(","):
        source = SOURCES.get(TASKS[name].data.get("name", ""))
        if source and source not in sources:
            print(f"skipped {name}: --{source} names its data")
            continue
        for optimizer in TASKS[name].rates:
            try:
                edge = find_edge(name, optimizer, given.folder, sources, until)
                cases = wrong(name, optimizer, edge) + healthy(name, optimizer)
                came = train_all(cases, given.folder, sources, until)
                own = judge_all(cases, came, given.folder, sources, until)
            except TimeoutError as error:
                print(error)
                return 1
            labels = label_by_outcome(cases, came)
            judged += own
            ended += _relabel(own, labels)
            if name in given.scattered.split(","):
                try:
                    found = judge_scattered(cases, given.folder, sources, until)
                except TimeoutError as error:
                    print(error)
                    return 1
                for parts, more in zip(scattered, found, strict=True):
                    parts.extend(more)
            if name in given.searches.split(","):
                try:
                    companies = find_company(cases, given.folder, sources, until)
                except TimeoutError as error:
                    print(error)
                    return 1
                own = [judge_among(*each, companies) for each in zip(own, came, strict=True)]
                among += own
                among_ended += _relabel(own, labels)
    document: dict[str, Any] = {"format": 1}
    looked = [name for name in TASKS if name not in (*SETTING, *FRESH)]
    parts = {
        "set": ("the tasks that limits were set on", SETTING),
        "looked_at": ("tasks that were looked at meanwhile", looked),
        "reported": ("tasks that were judged once, when all was set", FRESH),
    }
    for part, (title, names) in parts.items():
        made = [each for each in judged if each.case.task in names]
        if made:
            left = [each for each in ended if each.case.task in names]
            document[part] = summarize(made) | {"by_outcome": summarize(left)}
            show(f"{title}, labelled as they were made", document[part])
            show(f"{title}, labelled by their outcome, too", document[part]["by_outcome"])
        made = [each for each in among if each.case.task in names]
        if made:
            left = [each for each in among_ended if each.case.task in names]
            alone = [each for each in judged if each.case.task in {own.case.task for own in made}]
            table = summarize(made) | {"by_outcome": summarize(left), "alone": summarize(alone)}
            document[part]["among_neighbours"] = table
            show(f"{title}, beside their neighbours in a search", table)
            show("the same, labelled by their outcome, too", table["by_outcome"])
    if scattered[0]:
        alone, near = map(summarize, scattered)
        document["scattered"] = near | {"alone": alone}
        show("in a random search of two continuous parameters, by the curve alone", alone)
        show("in a random search of two continuous parameters, beside the near ones", near)
    sound = [each for each in judged if each.case.labels[0] == "healthy"]
    lost = sum(bool({"diverged", "dead"} & {*each.verdicts}) for each in sound)
    document["healthy"] = {"trainings": len(sound), "called_diverged_or_dead": lost}
    print(f"\nof {len(sound)} healthy trainings {lost} are called diverged or dead")
    if given.deepobs is not None and given.deepobs.is_file():
        document["deepobs"] = judge_published(given.deepobs)
        print("\nDeepOBS's trainings, by where in their problem they end")
        for part, row in document["deepobs"].items():
            counts = ", ".join(f"{row[each]} {each}" for each in VERDICTS if each in row)
            print(f"  {part}: {counts}")
    else:
        print("skipped DeepOBS's trainings: --deepobs names them")
    path = given.output / "diagnosis-cpu.json"
    path.write_text(json.dumps(document, indent=1) + "\n")
    print(f"written {path}")
    if table := document.get("reported", document.get("set")):
        beside = table.get("among_neighbours")
        by = "beside neighbours" if beside else "by their curves alone"
        path.with_suffix(".svg").write_text(draw(beside or table, by))
        print(f"written {path.with_suffix('.svg')}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
