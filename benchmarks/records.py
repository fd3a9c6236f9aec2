"""What it costs to record single steps: the time of a step with records and without, side by side.

    python benchmarks/records.py [--device cuda] [--quick] [--lanes 8] [--workload digits-mlp]

Both engines train three small models, for which a record costs the most: once without records (in
lanes by a program that gives no gradients), once as trainings are recorded, every `APART` steps,
once at every step; block by block in turn, so that what else the machine does falls on all alike.
A block ends where an evaluation would read the records. Of each the median time of a step over the
blocks; what it costs is the median over the rounds of what a block takes longer than the one
without records beside it. Where few steps are recorded that is less than a busy machine swings by,
so the cost that counts is that of a record at every step, divided by the `APART` steps between two.
Prints a table and writes JSON. Exit status 1 where it is more than the 3% of a step that it may be,
unless it was `--quick`, whose figures say little.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent)]

from lrsearch import catalogue  # noqa: E402
from lrsearch.spec.model import complete  # noqa: E402
from lrsearch.train.batches.batch import take  # noqa: E402
from lrsearch.train.batches.resident import Resident, load_raw, place  # noqa: E402
from lrsearch.train.device import describe_device, find_device  # noqa: E402
from lrsearch.train.engines.start import build  # noqa: E402
from lrsearch.train.engines.timetable import APART  # noqa: E402
from lrsearch.train.engines.training import Training  # noqa: E402
from lrsearch.train.lanes.program import Program, needs_of  # noqa: E402
from lrsearch.train.lanes.state import Skeleton, initial_state  # noqa: E402
from lrsearch.train.optimizers.registry import STACKED  # noqa: E402
from lrsearch.train.randomness import batches  # noqa: E402
from lrsearch.train.recording import Recording  # noqa: E402
from lrsearch.trial import Trial, Workplace  # noqa: E402

ALLOWED = 0.03
"""The share of a step that records may cost."""

KINDS = {"none": 0, "recorded": APART, "every step": 1}
"""The ways to train: steps from one record to the next, 0 for no records."""

TEXT = {"name": "text", "source": str(HERE.parent / "LICENSE"), "context": 32, "samples": None}
WORKLOADS: dict[str, tuple[Mapping[str, Any], Mapping[str, Any], int]] = {
    "digits-mlp": ({"name": "digits"}, {"name": "mlp", "hidden": [128, 128]}, 32),
    "digits-cnn": (
        {"name": "digits"},
        {"name": "cnn", "channels": [16, 32], "batch_norm": True},
        32,
    ),
    "text-transformer": (
        TEXT,
        {"name": "char_transformer", "layers": 2, "heads": 2, "width": 32},
        16,
    ),
}
"""Data, model and batch size."""

Block = Callable[[str], None]
"""Trains one of the `KINDS` for a block of steps."""


def make_trial(name: str) -> Trial:
    """A training of SGD with momentum, whose steps are the cheapest."""
    data, model, size = WORKLOADS[name]
    entry = catalogue.MODELS[str(model["name"])]
    train = {
        "budget": "100000ba",
        "batch_size": size,
        "lr": 1e-3,
        "schedule": {"name": "constant"},
        "warmup": None,
        "optimizer": {"name": "sgd", **complete(catalogue.OPTIMIZERS["sgd"].parameters, {})},
        "loss": "cross_entropy",
        "label_smoothing": 0.0,
        "clip_norm": None,
        "layer_decay": None,
        "groups": None,
        "weight_decay_on": "all",
        "precision": "float32",
        "evaluate": "1ep",
    }
    splits = {"validation": 0.2, "test": None, "standardize": data["name"] == "digits"}
    own = {**data, **splits, "split_seed": 0}
    filled = {"name": model["name"], **complete(entry.parameters, model)}
    return Trial(0, "", {"data": own, "model": filled, "train": train}, 0)


def open_data(trial: Trial, device: torch.device) -> Resident:
    config = trial.config["data"]
    data = place(load_raw(config, Workplace()), config, None, device)
    assert isinstance(data, Resident)
    return data


class Due:
    """The steps of a training of which every so many is recorded, from 1; of 0 none is."""

    def __init__(self, apart: int) -> None:
        self.apart = apart

    def __contains__(self, step: object) -> bool:
        return bool(self.apart) and isinstance(step, int) and (step - 1) % self.apart == 0


def alone(trial: Trial, data: Resident, steps: int) -> Block:
    """Blocks of the solo engine."""
    train = trial.config["train"]
    trainings = {}
    for kind in KINDS:
        model = build(trial, data, Workplace())
        model.train()
        trainings[kind] = Training(model, train)
    order = batches(data.samples, train["batch_size"], 0, data.device)
    indices = list(itertools.islice(order, steps))

    def block(kind: str) -> None:
        training, due, recording = trainings[kind], Due(KINDS[kind]), Recording()
        total = torch.zeros((), dtype=torch.float64, device=data.device)
        for step, index in enumerate(indices, 1):
            batch = take(data.train, index)
            if step in due:
                loss, row = training.recorded_step(batch, 1e-3)
                recording.note(step, 1e-3, row)
            else:
                loss = training.step(batch, 1e-3)
            total += loss
        torch.cat([total.reshape(1), *recording.rows]).tolist()

    return block


class Silent(Program):
    """A program as it would be if nothing were recorded."""

    def _step(self, noise: Any) -> Any:
        step = super()._step(noise)
        return lambda *given: step(*given)[:0]


def beside(trial: Trial, data: Resident, steps: int, lanes: int) -> Block:
    """Blocks of the fused engine, of lanes that began together."""
    train, optimizer = trial.config["train"], STACKED["sgd"]
    programs = {}
    for kind in KINDS:
        model = build(trial, data, Workplace())
        made = Program if KINDS[kind] else Silent
        program = made(Skeleton(model), train, needs_of(train), data, lanes)
        noise = torch.Generator(data.device).get_state()
        state = initial_state(model, optimizer, noise)
        for lane in range(lanes):
            program.put(lane, state, train)
        program.due = [Due(KINDS[kind])] * lanes
        programs[kind] = program
    order = batches(data.samples, train["batch_size"], 0, data.device)
    index = torch.stack([next(order) for _ in range(steps)])

    def block(kind: str) -> None:
        program = programs[kind]
        program.stack.steps[:] = [0] * lanes
        curves = program.curves(train, np.full(steps, 1e-3))
        program.advance(index, program.tabulate([(train, curves, 0)] * lanes))
        rows: list[Tensor] = [row for _, _, row in program.noted]
        torch.cat([program.total, *rows]).tolist()
        program.noted = []

    return block


def measure(block: Block, steps: int, rounds: int) -> dict[str, Any]:
    """Microseconds of a step of each kind, and the costs of records as shares of a step."""
    for kind in KINDS:
        block(kind)  # Records, captures, and warms up.
        block(kind)
    taken: dict[str, list[float]] = {kind: [] for kind in KINDS}
    orders = itertools.cycle(itertools.permutations(KINDS))
    for _, order in zip(range(rounds), orders, strict=False):
        for kind in order:
            clock = time.perf_counter()
            block(kind)
            taken[kind].append((time.perf_counter() - clock) / steps)
    costs = {
        kind: statistics.median(
            one / bare - 1 for one, bare in zip(times, taken["none"], strict=True)
        )
        for kind, times in taken.items()
        if kind != "none"
    }
    microseconds = {kind: 1e6 * statistics.median(times) for kind, times in taken.items()}
    expected = costs["every step"] / APART
    return {"microseconds": microseconds, "cost": costs, "expected": expected}


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--lanes", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--workload", action="append", choices=WORKLOADS)
    parser.add_argument("--quick", action="store_true", help="two short rounds")
    parser.add_argument("--output", type=Path, default=HERE / "results", metavar="DIR")
    options = parser.parse_args()
    device = find_device(options.device)
    steps, rounds = (APART, 2) if options.quick else (4 * APART, options.rounds)
    of = f"of {APART}"
    table = Table("workload", "engine", "step", "all recorded", f"one {of}", "cost", f"all {of}")
    found: dict[str, Any] = {}
    for name in options.workload or WORKLOADS:
        trial = make_trial(name)
        data = open_data(trial, device)
        engines = {
            "solo": alone(trial, data, steps),
            f"{options.lanes} lanes": beside(trial, data, steps, options.lanes),
        }
        for engine, block in engines.items():
            row = found.setdefault(name, {})[engine] = measure(block, steps, rounds)
            times, costs = row["microseconds"], row["cost"]
            cells = [f"{times[kind]:.0f} µs" for kind in ("none", "every step", "recorded")]
            cells += [f"{100 * costs['recorded']:+.1f}%", f"{100 * row['expected']:+.1f}%"]
            table.add_row(name, engine, *cells)
    Console().print(table)
    options.output.mkdir(parents=True, exist_ok=True)
    content = {
        "device": describe_device(device),
        "torch": str(torch.__version__),
        "threads": torch.get_num_threads(),
        "apart": APART,
        "allowed": ALLOWED,
        "steps": steps,
        "rounds": rounds,
        "workloads": found,
    }
    path = options.output / f"records-{device.type}.json"
    path.write_text(json.dumps(content, indent=1) + "\n")
    worst = max(row["expected"] for each in found.values() for row in each.values())
    return int(worst > ALLOWED and not options.quick)


if __name__ == "__main__":
    sys.exit(main())
