"""How far a step of the fused engine is from the solo engine's, layer family by layer family.

    python benchmarks/equality.py [--device cuda] [--steps 100] [--family lstm]

Both engines are put into one state at each step of a real training on digits: it compares losses,
gradients (of the largest of the model), buffers, and from the same gradients the updated
parameters. After each family it prints a line (the largest difference over a tensor's largest
entry, a dtype) and writes the JSON; the whole table comes last. Exit status 1 where a family that
trains in lanes is beyond its tolerance. Convolutions are not in TF32: what is compared is the
engine.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

HERE = Path(__file__).resolve().parent
LAYERS = HERE.parent / "tests" / "train" / "lanes"
sys.path[:0] = [str(HERE.parent), str(LAYERS)]

import layers  # noqa: E402 (it stands among the tests)

from lrsearch.catalogue import OPTIMIZERS  # noqa: E402
from lrsearch.errors import UsageError  # noqa: E402
from lrsearch.spec.model import complete  # noqa: E402
from lrsearch.train.batches.batch import take  # noqa: E402
from lrsearch.train.batches.resident import Resident, load_raw, place  # noqa: E402
from lrsearch.train.device import describe_device, find_device, repeatable_dropout  # noqa: E402
from lrsearch.train.engines.comparison import refuse  # noqa: E402
from lrsearch.train.engines.start import build  # noqa: E402
from lrsearch.train.engines.timetable import learning_rates  # noqa: E402
from lrsearch.train.engines.training import Training  # noqa: E402
from lrsearch.train.lanes.program import Program, needs_of  # noqa: E402
from lrsearch.train.lanes.state import LaneState, Skeleton, initial_state  # noqa: E402
from lrsearch.train.optimizers.registry import STACKED  # noqa: E402
from lrsearch.train.randomness import batches, trial_seeds  # noqa: E402
from lrsearch.trial import Trial, Workplace  # noqa: E402

LANES = 3
TOLERANCES = {"float64": 1e-12, "float32": 1e-4}
FLOORS = {"float64": 1e-2, "float32": 1e-1}
"""Of the model's largest gradient: the least scale of a gradient's entries. Those that cancel, as a
bias's before batch norm, are rounding alone."""

BUILT_IN: dict[str, dict[str, Any]] = {
    "logistic": {"name": "logistic"},
    "mlp": {
        "name": "mlp",
        "hidden": [32],
        "activation": "relu",
        "dropout": 0.2,
        "batch_norm": False,
    },
    "mlp, batch norm": {
        "name": "mlp",
        "hidden": [32],
        "activation": "gelu",
        "dropout": 0.0,
        "batch_norm": True,
    },
    "resnet": {"name": "resnet", "depth": 8, "width": 4, "activation": "silu", "batch_norm": True},
    "cnn, batch norm": {
        "name": "cnn",
        "channels": [8, 16],
        "activation": "relu",
        "dropout": 0.2,
        "batch_norm": True,
    },
}
WORKPLACE = Workplace(folder=str(LAYERS), allowed=("layers",))


def make_trials(model: Mapping[str, Any], optimizer: str) -> list[Trial]:
    own = {"name": optimizer, **complete(OPTIMIZERS[optimizer].parameters, {})}
    train = {
        "budget": "100ba",
        "batch_size": 16,
        "schedule": {"name": "cosine", "final": 0.1},
        "warmup": None,
        "loss": "cross_entropy",
        "label_smoothing": 0.1,
        "layer_decay": None,
        "groups": None,
        "weight_decay_on": "all",
        "precision": "float32",
        "evaluate": "1ep",
    }
    data = {"name": "digits", "validation": 0.2, "test": None, "standardize": True, "split_seed": 0}
    rate = 0.05 if optimizer == "sgd" else 0.003
    return [
        Trial(
            lane,
            "",
            {
                "data": data,
                "model": model,
                "train": train
                | {
                    "lr": rate * (lane + 1) / 2,
                    "clip_norm": 0.5 * (lane + 1),
                    "optimizer": own | {"weight_decay": 0.01 * lane},
                },
            },
            lane,
        )
        for lane in range(LANES)
    ]


class Alone:
    """A training by the solo engine that goes on from any state."""

    def __init__(self, trial: Trial, data: Resident, dtype: torch.dtype) -> None:
        self.train = trial.config["train"]
        self.data = data
        self.model = build(trial, data, WORKPLACE).to(dtype)
        self.training = Training(self.model, self.train)
        self.named = {k: v for k, v in self.model.named_parameters() if v.requires_grad}

    def step(self, state: LaneState, row: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        Skeleton(self.model).load(state)
        set_noise(state.noise, self.data.device)
        self.model.train()
        for each in self.named.values():
            each.grad = None
        loss = self.training.compute_gradients(take(self.data.train, row))
        return loss, {k: v.grad.clone() for k, v in self.named.items() if v.grad is not None}

    def update(
        self, state: LaneState, gradients: Mapping[str, Tensor], rate: float
    ) -> dict[str, Tensor]:
        """The parameters after an update from a state, by these gradients."""
        optimizer = self.training.optimizer
        optimizer.state.clear()
        for name, parameter in self.named.items():
            parameter.grad = None
            if name in gradients:  # Laid out as the parameter, as autograd leaves it.
                parameter.grad = torch.empty_like(parameter).copy_(gradients[name])
            if state.step and parameter.grad is not None:
                own: dict[str, Any] = {slot: s[name].clone() for slot, s in state.slots.items()}
                if "exp_avg" in own:
                    # Beside the parameter, where a fused optimizer of a GPU reads it.
                    own["step"] = torch.tensor(float(state.step), device=parameter.device)
                if self.train["optimizer"].get("momentum") != 0:
                    optimizer.state[parameter] = own
        self.training.update(rate)
        return {name: each.detach().clone() for name, each in self.named.items()}


def set_noise(state: Tensor, device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.set_rng_state(state, device)
    else:
        torch.set_rng_state(state)


def differ(left: Tensor, right: Tensor, floor: float = 0.0) -> float:
    if not left.numel():
        return 0.0
    scale = max(float(left.abs().max()), floor) or 1.0
    return float((left - right).double().abs().max()) / scale


def measure(
    trials: list[Trial], data: Resident, dtype: torch.dtype, steps: int
) -> dict[str, float]:
    """Worst differences over the steps of a training."""
    trains = [each.config["train"] for each in trials]
    device = data.device
    alone = [Alone(each, data, dtype) for each in trials]
    model = build(trials[0], data, WORKPLACE).to(dtype)
    needs = frozenset[str]().union(*map(needs_of, trains))
    program = Program(Skeleton(model), trains[0], needs, data, LANES)
    optimizer = STACKED[trains[0]["optimizer"]["name"]]
    states = []
    for lane, trial in zip(alone, trials, strict=True):
        noise = torch.Generator(device).manual_seed(trial_seeds(trial.seed).noise).get_state()
        states.append(initial_state(lane.model, optimizer, noise))
    rates = [learning_rates(each, data.samples) for each in trains]
    orders = [
        batches(data.samples, trains[0]["batch_size"], trial_seeds(each.seed).order, device)
        for each in trials
    ]
    floor = FLOORS[str(dtype).removeprefix("torch.")]
    worst = dict.fromkeys(("loss", "gradient", "buffer", "parameter"), 0.0)

    def note(what: str, difference: float) -> None:
        if not difference <= worst[what]:  # A NaN stays.
            worst[what] = difference

    for step in range(steps):
        rows = torch.stack([next(each) for each in orders])
        for lane, state in enumerate(states):
            program.put(lane, state, trains[lane])
        losses, gradients = program.compute_gradients(rows)
        seen = [program.take(lane) for lane in range(LANES)]
        numbers = program.tabulate(
            [
                (train, [each[step : step + 1] for each in program.curves(train, own)], step)
                for train, own in zip(trains, rates, strict=True)
            ]
        )
        program.update(gradients, numbers[0])
        after = [program.take(lane) for lane in range(LANES)]
        for lane, single in enumerate(alone):
            loss, own = single.step(states[lane], rows[lane])
            note("loss", differ(loss, losses[lane]))
            largest = max(float(each.abs().max()) for each in own.values())
            for name, each in own.items():
                note("gradient", differ(each, gradients[name][lane], floor * largest))
            for name, each in Skeleton(single.model).fixed.items():
                note("buffer", differ(each, seen[lane].fixed[name]))
            theirs = {name: each[lane] for name, each in gradients.items()}
            for name, each in single.update(states[lane], theirs, float(rates[lane][step])).items():
                note("parameter", differ(each, after[lane].parameters[name]))
        for lane, state in enumerate(states):
            program.put(lane, state, trains[lane])
        program.advance(rows.unsqueeze(0), numbers)
        states = [program.take(lane) for lane in range(LANES)]
    return worst


def convert(data: Resident, dtype: torch.dtype) -> Resident:
    parts = {
        name: each.to(dtype)
        for name, each in vars(data).items()
        if isinstance(each, Tensor) and each.is_floating_point()
    }
    return Resident(**vars(data) | parts)


def write(path: Path, document: Mapping[str, Any]) -> None:
    """In one piece: whenever it is stopped, what there was is there."""
    fresh = path.with_suffix(".tmp")
    fresh.write_text(json.dumps(document, indent=1) + "\n")
    fresh.replace(path)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--family", action="append", choices=[*BUILT_IN, *layers.LAYERS])
    parser.add_argument("--output", type=Path, default=HERE / "results", metavar="DIR")
    options = parser.parse_args()
    try:
        device = find_device(options.device)
    except UsageError as error:
        parser.error(str(error))
    torch.set_num_threads(1)
    torch.backends.cudnn.allow_tf32 = False
    models = dict(BUILT_IN) | {
        name: {"class_path": "layers.layer", "init_args": {"family": name}}
        for name in sorted(layers.LAYERS)
    }
    models = {name: models[name] for name in options.family or models}
    options.output.mkdir(parents=True, exist_ok=True)
    path = options.output / f"equality-{device.type}.json"
    found: dict[str, Any] = {}
    document = {
        "device": describe_device(device),
        "steps": options.steps,
        "lanes": LANES,
        "tolerances": TOLERANCES,
        "of": len(models),
        "families": found,
    }
    wrong: list[str] = []
    for number, (name, model) in enumerate(models.items()):
        begun = time.monotonic()
        optimizer = ("sgd", "adam", "adamw")[number % 3]
        try:
            with repeatable_dropout(device):
                found[name] = compare(model, optimizer, device, options.steps)
        except Exception as error:  # The others are of interest, too.
            found[name] = {"raised": f"{type(error).__name__}: {error}"}
        write(path, document)
        said, beyond = judge(found[name])
        wrong += [f"{name} ({each})" for each in beyond]
        seconds = time.monotonic() - begun
        print(f"{number + 1}/{len(models)} {name}: {said} ({seconds:.1f} s)", flush=True)
    show(document)
    for each in wrong:
        print(f"beyond its tolerance: {each}")
    print(f"written {path}; {len(wrong)} beyond the tolerances")
    return 1 if wrong else 0


def compare(
    model: Mapping[str, Any], optimizer: str, device: torch.device, steps: int
) -> dict[str, Any]:
    """The worst differences of a family's steps, a dtype; or why it trains alone."""
    trials = make_trials(model, optimizer)
    config = trials[0].config["data"]
    data = place(load_raw(config, WORKPLACE), config, None, device)
    if reason := refuse(trials[:2], data, WORKPLACE):
        return {"alone": reason}
    row: dict[str, Any] = {}
    for dtype in TOLERANCES:
        kind = getattr(torch, dtype)
        with torch.random.fork_rng():
            own = model
            if "class_path" in model:
                own = {**model, "init_args": {**model["init_args"], "dtype": dtype}}
            row[dtype] = measure(make_trials(own, optimizer), convert(data, kind), kind, steps)
    return row


def judge(row: Mapping[str, Any]) -> tuple[str, list[str]]:
    """What a family's line says, and where it is beyond its tolerance."""
    for word in ("alone", "raised"):
        if word in row:
            return f"{word}: {row[word]}", [word] if word == "raised" else []
    # A NaN is the largest here, and beyond.
    worst = {dtype: float(np.max([*row[dtype].values()])) for dtype in TOLERANCES}
    beyond = [dtype for dtype, limit in TOLERANCES.items() if not worst[dtype] <= limit]
    words = (f"{key} {each:.1e}{' BEYOND' * (key in beyond)}" for key, each in worst.items())
    return ", ".join(words), beyond


def show(document: Mapping[str, Any]) -> None:
    """The table of all that was compared."""
    columns = [
        (dtype, part)
        for dtype in TOLERANCES
        for part in ("loss", "gradient", "buffer", "parameter")
    ]
    table = Table(title=f"{document['steps']} steps, {LANES} lanes, {document['device']}")
    table.add_column("family")
    for dtype, part in columns:
        table.add_column(f"{dtype}\n{part}", justify="right")
    for name, row in document["families"].items():
        if not {"alone", "raised"} & row.keys():
            table.add_row(name, *(f"{row[dtype][part]:.1e}" for dtype, part in columns))
    Console(width=None if sys.stdout.isatty() else 132).print(table)


if __name__ == "__main__":
    sys.exit(main())
