"""The fused engine against the solo engine, and each lane against its neighbours."""

import contextlib
import copy
import gc
import itertools
import math
import random
import sys
import time
import weakref
from dataclasses import replace
from pathlib import Path

import devices
import numpy as np
import pytest
import safetensors.torch
import test_train
import torch
from devices import (
    DEVICE,
    DRIFT,
    ROUNDING,
    assert_same,
    assert_same_numbers,
    assert_same_weights,
    close,
    differ_by,
    exact,
    find_chance,
    make_generator,
    noise_state,
    same,
    set_noise,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from test_train import (
    ADAMW,
    CNN,
    MLP,
    NETS,
    RESNET,
    SGD,
    cohort,
    config,
    net,
    placed_data,
    saved,
)
from torch.backends import mha

from lrsearch import catalogue
from lrsearch.errors import DataError, ModelError
from lrsearch.train.batches.batch import take
from lrsearch.train.engines import fused, initial
from lrsearch.train.engines.cohort import run_cohort
from lrsearch.train.engines.course import open_data
from lrsearch.train.engines.orders import Order, gather_batches
from lrsearch.train.engines.start import build
from lrsearch.train.engines.sweep import sweep
from lrsearch.train.engines.timetable import learning_rates
from lrsearch.train.engines.training import Training
from lrsearch.train.lanes import evaluation
from lrsearch.train.lanes.draws import Noise
from lrsearch.train.lanes.program import Program, needs_of
from lrsearch.train.lanes.state import LaneState, Skeleton, initial_state
from lrsearch.train.models import metrics, validation
from lrsearch.train.optimizers.registry import STACKED
from lrsearch.train.randomness import trial_seeds
from lrsearch.train.users import importing
from lrsearch.trial import (
    Ended,
    Measured,
    Objective,
    Outcome,
    Plan,
    Planned,
    Reached,
    Started,
    Sweep,
    Trial,
    Verdict,
)

place = test_train.place

ADAM = {**ADAMW, "name": "adam"}
SCHEDULE_FREE = {**ADAMW, "name": "schedule_free_adamw", "r": 0.0, "weight_lr_power": 2.0}
PRODIGY = {
    **ADAMW,
    "name": "prodigy",
    "beta3": None,
    "decoupled": True,
    "bias_correction": True,
    "safeguard_warmup": False,
    "d0": 1e-3,
    "d_coef": 1.0,
    "growth_rate": None,
}
LOGISTIC = {"name": "logistic"}
DROPOUT = MLP | {"dropout": 0.3}
NORMED = MLP | {"batch_norm": True}
NORMED_CNN = CNN | {"channels": [4, 8], "batch_norm": True}
CHARS = {
    "name": "char_transformer",
    "layers": 1,
    "heads": 2,
    "width": 16,
    "dropout": 0.0,
    "tied": True,
    "bias": False,
}
LICENSE = Path(__file__).parents[3] / "LICENSE"
TEXT = {"name": "text", "source": str(LICENSE), "context": 16, "samples": None}


def as_fused(given, lanes, smaller=math.inf):
    return replace(given, plan=Plan("fused", lanes, smaller=smaller))


def collect(job):
    """All events of a job, and the last ones of its trials by their numbers."""
    events = list(job)
    return events, {each.trial: each for each in events if isinstance(each, Ended)}


def run_fused(configs, lanes, **given):
    return collect(run_cohort(as_fused(cohort(*configs, **given), lanes)))[1]


# Step by step, from the same state


class Alone:
    """A training by the solo engine, whose state can be taken out and put in."""

    def __init__(self, trial, data, dtype):
        self.train = trial.config["train"]
        self.data = data
        self.model = build(trial, data, test_train.Workplace()).to(dtype)
        self.skeleton = Skeleton(self.model)
        self.named = dict(self.model.named_parameters())
        self.training = Training(self.model, self.train)
        # Adagrad of torch before 2.13 has its slots from the start.
        self.begun = copy.deepcopy(dict(self.training.optimizer.state))

    def put(self, state):
        self.skeleton.load(state)
        optimizer = self.training.optimizer
        optimizer.state.clear()
        for parameter, slots in zip(self.named.values(), self.begun.values(), strict=False):
            optimizer.state[parameter] = copy.deepcopy(slots)
        set_noise(state.noise)
        # Before its first step an optimizer has no slots; sgd without momentum never has.
        own = self.train["optimizer"]
        if not state.step or (own["name"] == "sgd" and own["momentum"] == 0):
            return
        counted = count(own, state.step)
        groups = optimizer.param_groups
        fused = {id(each) for group in groups if group.get("fused") for each in group["params"]}
        for name, parameter in self.named.items():
            slots = {slot: held[name].clone() for slot, held in state.slots.items() if name in held}
            # Where torch has it: a fused optimizer counts on the device.
            device = DEVICE if id(parameter) in fused else None
            numbers = {key: torch.tensor(value, device=device) for key, value in counted.items()}
            optimizer.state[parameter] = slots | numbers

    def take(self, step):
        """Slots that this training does not use are missing."""
        slots = {}
        for name, parameter in self.named.items():
            for slot, held in self.training.optimizer.state[parameter].items():
                if slot not in ("step", "mu_product") and held is not None:
                    slots.setdefault(slot, {})[name] = held.clone()
        parameters = {name: each.detach().clone() for name, each in self.named.items()}
        fixed = {name: each.clone() for name, each in self.skeleton.fixed.items()}
        return LaneState(parameters, fixed, slots, step, noise_state())

    def compute_gradients(self, index):
        self.model.train()
        loss = self.training.compute_gradients(take(self.data.train, index))
        return loss, {name: each.grad for name, each in self.named.items()}

    def update(self, gradients, rate):
        for name, each in self.named.items():
            each.grad = gradients[name].clone()
        self.training.update(rate)


def count(optimizer, steps):
    """What torch keeps beside an optimizer's slots after so many steps."""
    if optimizer["name"] == "sgd":
        return {}
    if optimizer["name"] != "nadam":
        return {"step": float(steps)}
    product = np.float32(1)
    for step in range(1, steps + 1):
        momentum = 1 - 0.5 * 0.96 ** (step * optimizer["momentum_decay"])
        product *= np.float32(optimizer["beta1"] * momentum)
    return {"step": float(steps), "mu_product": product}


class Together:
    """Trials in the lanes of a program, driven by hand."""

    def __init__(self, trials, data, dtype=torch.float32):
        self.trials, self.data = trials, data
        self.trains = [each.config["train"] for each in trials]
        needs = frozenset().union(*(needs_of(each) for each in self.trains))
        self.models = [build(each, data, test_train.Workplace()).to(dtype) for each in trials]
        self.program = Program(Skeleton(self.models[0]), self.trains[0], needs, data, len(trials))
        self.rates = [learning_rates(each, data.samples) for each in self.trains]
        optimizer = STACKED[self.trains[0]["optimizer"]["name"]]
        self.initial = [
            initial_state(
                model,
                optimizer,
                make_generator(trial_seeds(trial.seed).noise).get_state(),
            )
            for model, trial in zip(self.models, trials, strict=True)
        ]
        size = self.trains[0]["batch_size"]
        seeds = [trial_seeds(each.seed).order for each in trials]
        shared = {seed: Order(data, size, seed) for seed in seeds}
        self.orders = [shared[seed] for seed in seeds]

    def put(self, states):
        for lane, state in enumerate(states):
            self.program.put(lane, state, self.trains[lane])

    def take(self):
        return [self.program.take(lane) for lane in range(len(self.trials))]

    def tabulate(self, step, steps=1):
        return self.program.tabulate(
            [
                (
                    train,
                    [own[step : step + steps] for own in self.program.curves(train, rates)],
                    step,
                )
                for train, rates in zip(self.trains, self.rates, strict=True)
            ]
        )


def doubled(data):
    """Float tensors of a split in float64."""
    return replace(
        data,
        **{
            name: each.double()
            for name, each in vars(data).items()
            if isinstance(each, torch.Tensor) and each.is_floating_point()
        },
    )


TOLERANCES = {torch.float64: 1e-12, torch.float32: 1e-4}
FLOORS = {torch.float64: 1e-2, torch.float32: 1e-1}
STEPS = {torch.float64: 25, torch.float32: 8}
"""Rounding hides the least in float64, which goes through more than an epoch of 23 batches at most.
A ResNet takes longer to learn something."""
SHORT = {"validation": 0.6}
"""A split after which an epoch is short."""

CLIPPED = {"clip_norm": 0.5, "label_smoothing": 0.1}
SGDS = [
    CLIPPED,
    {"lr": 0.01, "optimizer": SGD | {"momentum": 0.0, "weight_decay": 0.01}},
    {"lr": 0.2, "optimizer": SGD | {"nesterov": False, "dampening": 0.1}, "clip_norm": 1.0},
    {"label_smoothing": 0.3, "schedule": {"name": "constant"}},
]
ADAMS = [
    {"lr": 0.01, **CLIPPED},
    {"lr": 0.001, "optimizer": {"weight_decay": 0.1}},
    {"lr": 0.003, "optimizer": {"beta1": 0.5, "beta2": 0.9, "eps": 1e-6}, "clip_norm": 0.1},
]


def adams(base):
    return [{**each, "optimizer": base | each.get("optimizer", {})} for each in ADAMS]


def regressed(given):
    return [{key: each[key] for key in each if key != "label_smoothing"} for each in given]


GROUPS = {
    "groups": [
        {"match": "body.0.*", "lr": 0.5, "weight_decay": 0.02},
        {"match": "head.bias", "weight_decay": 0.3},
    ],
    "weight_decay_on": "matrices",
}
LAYERED = [
    {**each, **GROUPS, "layer_decay": decay}
    for each, decay in zip(adams(ADAMW), (None, 0.5, 0.8), strict=True)
]
LAYERED_SGDS = [
    {**each, "layer_decay": decay} for each, decay in zip(SGDS, (0.3, None, 1.0, 0.7), strict=True)
]

STRUCTURES = {
    "mlp groups": (NORMED, "digits", LAYERED, {}),
    "cnn layers": (NORMED_CNN, "digits", LAYERED_SGDS, {"batch_size": 32}),
    "logistic": (LOGISTIC, "digits", SGDS, {}),
    "mlp": (MLP, "digits", adams(ADAMW), {}),
    "mlp dropout": (DROPOUT, "digits", adams(ADAM), {}),
    "mlp batch norm": (NORMED, "digits", SGDS, {}),
    "mlp both": (NORMED | {"dropout": 0.3, "activation": "silu"}, "digits", adams(ADAMW), {}),
    "cnn": (CNN, "digits", adams(ADAM), {"batch_size": 32}),
    "cnn batch norm": (NORMED_CNN, "digits", SGDS, {"batch_size": 32}),
    "cnn both": (NORMED_CNN | {"dropout": 0.2}, "digits", adams(ADAMW), {"batch_size": 32}),
    "mse": (MLP | {"activation": "tanh"}, "diabetes", regressed(SGDS), {"loss": "mse"}),
    "mae": (NORMED, "diabetes", regressed(adams(ADAM)), {"loss": "mae"}),
    "huber": (DROPOUT, "diabetes", regressed(adams(ADAMW)), {"loss": "huber"}),
    "resnet": (RESNET, "digits", [SGDS[0] | {"lr": 0.2}, SGDS[1] | {"lr": 0.1}], {"batch_size": 8}),
    "char transformer": (CHARS, TEXT, adams(ADAMW)[:2], {"batch_size": 8}),
}


RATES = {
    "amsgrad": 0.01,
    "nadam": 0.01,
    "radam": 0.1,
    "adamax": 0.02,
    "rmsprop": 3e-3,
    "adagrad": 0.05,
    "adadelta": 10.0,
    "adafactor": 0.05,
    "lion": 0.01,
    "muon": 0.05,
}


def default(name):
    known = catalogue.OPTIMIZERS[name].parameters
    return {"name": name} | {key: each.default for key, each in known.items()}


def differ(left, right, floor=0.0):
    """Largest difference over the largest entry."""
    scale = max(left.abs().max().item(), floor) if left.numel() else 1.0
    return (left - right).double().abs().max().item() / (scale or 1.0) if left.numel() else 0.0


def differ_all(left, right, floor=0.0):
    """The largest of `differ` over tensors of the same names."""
    assert left.keys() == right.keys()
    names = [name for name in left if left[name].numel()]
    if not names:
        return 0.0
    mine, theirs = ([each[name].double() for name in names] for each in (left, right))
    scales = torch.stack(torch._foreach_norm(mine, math.inf)).clamp(min=floor)
    gaps = torch.stack(torch._foreach_norm(torch._foreach_sub(mine, theirs), math.inf))
    return (gaps / torch.where(scales == 0, 1.0, scales)).max().item()


def test_differences_are_found_all_at_once():
    left = {"a": torch.tensor([1.0, -4.0]), "b": torch.zeros(2), "c": torch.zeros(0)}
    right = {"a": torch.tensor([1.5, -4.0]), "b": torch.tensor([0.0, 0.25]), "c": torch.zeros(0)}
    for floor, expected in ((0.0, 0.25), (8.0, 0.0625), (0.5, 0.5)):
        assert differ_all(left, right, floor) == expected
        assert expected == max(differ(left[name], right[name], floor) for name in left)


@pytest.mark.parametrize("dtype", TOLERANCES, ids=["float64", "float32"])
@pytest.mark.parametrize("name", STRUCTURES)
def test_each_step_is_solo_s(name, dtype):
    """Losses, gradients, buffers, and from the same gradients parameters and slots, at each of
    the steps. The gradient of a bias before batch norm cancels and is rounding alone, in float32
    up to 2e-6 of the model's largest: hence `FLOORS`, the least scale of a gradient's entries."""
    model, source, trains, common = STRUCTURES[name]
    long = dtype is torch.float64
    steps = 30 if name == "resnet" and long else STEPS[dtype]
    split = None if source is TEXT else SHORT
    configs = [
        config(model, source, split, budget=f"{steps}ba", **common, **each) for each in trains
    ]
    # Two lanes have a seed in common, or all have: those read shared batches.
    shared = "both" in name or name == "logistic"
    worst, loss = compare_steps(configs, dtype, steps, shared)
    assert max(worst.values()) <= TOLERANCES[dtype], worst
    # It has learned something meanwhile: the states were those of a real training.
    start = 4.2 if source is TEXT else {"digits": 2.4, "diabetes": 1.1}[source]
    assert loss < 0.9 * start or not long


@pytest.mark.parametrize("dtype", TOLERANCES, ids=["float64", "float32"])
@pytest.mark.parametrize("name", RATES)
def test_each_step_of_an_optimizer_is_solo_s(name, dtype):
    """As above, with the catalogue's numbers and a decay; a model with parameters of ranks 1, 2
    and 4."""
    model = CNN | {"channels": [4], "activation": "tanh"}
    long = dtype is torch.float64
    steps = 20 if long else STEPS[dtype]
    configs = [
        config(model, budget=f"{steps}ba", batch_size=32, lr=RATES[name] * factor, optimizer=own)
        for factor, own in ((1.0, default(name)), (0.3, default(name) | {"weight_decay": 0.02}))
    ]
    worst, loss = compare_steps(configs, dtype, steps, shared=False)
    # Its iteration is in bfloat16, of three digits, and sums in another order.
    matrices = {"parameter": 1e-2 if exact() else ROUNDING[torch.bfloat16]}
    matrices = matrices if name == "muon" else {}
    for what, difference in worst.items():
        assert difference <= matrices.get(what, TOLERANCES[dtype]), worst
    assert loss < 2.2 or not long


def compare_steps(configs, dtype, steps, shared):
    """The largest differences of steps by both engines from the same states, and the last loss."""
    data = placed_data(configs[0])
    data = doubled(data) if dtype is torch.float64 else data
    trials = [Trial(k, "", own, 0 if shared else k // 2) for k, own in enumerate(configs)]
    fused_ones = Together(trials, data, dtype)
    alone = [Alone(each, data, dtype) for each in trials]
    states = fused_ones.initial
    worst = dict.fromkeys(("loss", "gradient", "buffer", "parameter", "slot"), 0.0)

    def note(what, difference):
        worst[what] = max(worst[what], difference)

    with torch.random.fork_rng():
        for step in range(steps):
            index = gather_batches(fused_ones.orders, 1)[0]
            fused_ones.put(states)
            losses, gradients = fused_ones.program.compute_gradients(index)
            after_forward = fused_ones.take()
            numbers = fused_ones.tabulate(step)
            fused_ones.program.update(gradients, numbers[0])
            expected = fused_ones.take()
            for lane, single in enumerate(alone):
                single.put(states[lane])
                loss, own = single.compute_gradients(index if index.dim() == 1 else index[lane])
                note("loss", differ(loss, losses[lane]))
                theirs = {key: each[lane] for key, each in gradients.items()}
                largest = max(each.abs().max().item() for each in own.values())
                note("gradient", differ_all(own, theirs, FLOORS[dtype] * largest))
                single.update(theirs, float(fused_ones.rates[lane][step]))
                done = single.take(step + 1)
                note("buffer", differ_all(done.fixed, after_forward[lane].fixed))
                note("parameter", differ_all(done.parameters, expected[lane].parameters))
                for slot, held in done.slots.items():
                    note("slot", differ_all(held, expected[lane].slots[slot]))
                # The noise is solo's: so much was drawn, and no more.
                assert torch.equal(done.noise, after_forward[lane].noise)
            # What is recorded and run again is the same, bit by bit.
            fused_ones.put(states)
            fused_ones.program.advance(index.unsqueeze(0), numbers)
            states = fused_ones.take()
            for state, other in zip(states, expected, strict=True):
                assert_states(state, replace(other, step=step + 1))
    return worst, losses.mean()


def assert_states(left, right, tolerance=None):
    """Bit by bit on the CPU; elsewhere to rounding, or to a tolerance, but for what is chance."""
    chance = find_chance((*left.parameters, *left.fixed))
    assert left.step == right.step and torch.equal(left.noise, right.noise)
    for what, mine, theirs in (
        ("parameter", left.parameters, right.parameters),
        ("buffer", left.fixed, right.fixed),
        *((slot, left.slots[slot], right.slots[slot]) for slot in left.slots),
    ):
        for name, each in mine.items():
            if exact():
                if not torch.equal(each, theirs[name]):  # Where one is a NaN the other is, too.
                    torch.testing.assert_close(each, theirs[name], rtol=0, atol=0, equal_nan=True)
            elif name not in chance:
                told = differ_by(each, theirs[name])
                assert same(each, theirs[name], tolerance), f"{what} {name}: {told}"


@pytest.mark.parametrize(
    ("model", "biases"),
    [
        (NORMED | {"hidden": [32, 16], "dropout": 0.2}, {"body.0.bias", "body.4.bias"}),
        (NORMED_CNN, {"convolutions.0.bias", "convolutions.1.bias"}),
        (MLP, set()),
    ],
    ids=["mlp", "cnn", "plain"],
)
def test_what_is_chance_has_a_gradient_of_rounding_alone(model, biases, monkeypatch):
    monkeypatch.setattr(devices, "exact", lambda: False)
    own = config(model, batch_size=32)
    together = Together([Trial(0, "", own, 0), Trial(1, "", own, 1)], placed_data(own))
    together.put(together.initial)
    _, gradients = together.program.compute_gradients(gather_batches(together.orders, 1)[0])
    sizes = {name: float(each.abs().max()) for name, each in gradients.items()}
    assert {name for name, size in sizes.items() if size < 1e-4 * max(sizes.values())} == biases
    state = together.initial[0]
    chance = find_chance((*state.parameters, *state.fixed))
    assert chance & sizes.keys() == biases and len(chance) == 2 * len(biases)
    assert all(name.endswith("running_mean") for name in chance - biases)


# Whole trajectories


def both(*configs, lanes=4, **given):
    """The last events of a cohort's trials by solo and by fused, and the events of fused."""
    own = cohort(*configs, **given)
    _, alone = collect(run_cohort(own))
    events, together = collect(run_cohort(as_fused(own, lanes)))
    assert alone.keys() == together.keys()
    return [(alone[number], together[number]) for number in alone], events


def tensors(ended):
    return safetensors.torch.load(ended.weights)


# A relu whose input is zero but for rounding tells the engines apart.
SMOOTH = {"activation": "tanh"}
TRAJECTORIES = {
    "logistic": (LOGISTIC, "digits", {}),
    "mlp": (MLP | SMOOTH, "digits", {"label_smoothing": 0.1, "clip_norm": 1}),
    "mlp dropout": (DROPOUT | SMOOTH, "digits", {"optimizer": ADAMW, "lr": 0.005}),
    "mlp batch norm": (NORMED | SMOOTH, "digits", {}),
    "cnn both": (NORMED_CNN | SMOOTH | {"dropout": 0.2}, "digits", {"budget": "30ba"}),
    "regression": (DROPOUT | SMOOTH, "diabetes", {"optimizer": ADAM, "lr": 0.005}),
}


# What is kept of a training is the same code for all.
@pytest.mark.parametrize(
    ("name", "at"), [*((name, "best") for name in TRAJECTORIES), ("cnn both", "last")]
)
def test_trainings_at_stable_rates_are_solo_s(name, at):
    model, source, train = TRAJECTORIES[name]
    own = {"budget": "1.7ep", "evaluate": "0.25ep", "batch_size": 32, **train}
    rates = [own.get("lr", 0.05) * factor for factor in (0.3, 1.0, 0.6, 0.1, 0.8)]
    configs = [config(model, source, SHORT, **{**own, "lr": rate}) for rate in rates]
    objective = Objective("loss", "min", at)
    pairs, events = both(*configs, seeds=[0, 0, 1, 1, 2], objective=objective)
    assert Planned not in {type(each) for each in events}
    for alone, together in pairs:
        assert together.result.outcome is Outcome.COMPLETED
        assert (alone.result.engine, together.result.engine) == ("solo", "fused")
        for field in ("outcome", "steps", "epochs", "best_step", "reason", "traceback"):
            assert getattr(together.result, field) == getattr(alone.result, field), field
        assert together.curve.keys() == alone.curve.keys()
        assert together.curve["step"] == alone.curve["step"]
        assert together.curve["lr"] == alone.curve["lr"]
        for metric, values in alone.curve.items():
            np.testing.assert_allclose(together.curve[metric], values, rtol=1e-4, atol=1e-7)
        for kind in ("last", "best"):
            found, expected = getattr(together.result, kind), getattr(alone.result, kind)
            assert found == pytest.approx(expected, rel=1e-4)
        found, expected = tensors(together), tensors(alone)
        assert found.keys() == expected.keys()
        for key, value in expected.items():
            assert found[key].dtype is value.dtype
            assert differ(value, found[key]) < 1e-4, key


def test_weights_are_those_of_the_best_evaluation():
    """At a rate that is far too high in the end: the last evaluation is not the best."""
    schedule = {"name": "piecewise", "points": [["0.8dur", 60.0]], "join": "stepped"}
    own = config(NORMED, evaluate="5ba", lr=0.05, schedule=schedule)
    objective = Objective("accuracy", "max", "best")
    for ended in run_fused([own] * 3, 2, seeds=[0, 1, 2], objective=objective).values():
        result = ended.result
        assert result.best_step["accuracy"] < result.steps
        assert result.best["accuracy"] > result.last["accuracy"]
        model = test_train.build_model(NORMED, (1, 8, 8), 10, test_train.Workplace())
        model = model.to(DEVICE).eval()
        model.load_state_dict(tensors(ended))
        data = placed_data(own)
        with torch.no_grad():
            right = model(data.x_validation).argmax(1) == data.y_validation
        assert right.double().mean().item() == pytest.approx(result.best["accuracy"])


@pytest.mark.parametrize("optimizer", [SGD, SCHEDULE_FREE], ids=lambda each: each["name"])
@pytest.mark.parametrize("looked", [True, False])
def test_what_lanes_are_evaluated_at_is_kept_together_as_one_by_one(optimizer, looked):
    configs = [config(NORMED, lr=0.01 * k, optimizer=optimizer) for k in range(1, 6)]
    trials = [Trial(k, "", own, k) for k, own in enumerate(configs)]
    together = Together(trials, placed_data(configs[0]))
    program = together.program
    together.put(together.initial)
    kept = dict.fromkeys(range(5))

    def assert_kept(lanes):
        if looked:  # As a search does; else the averages are made when they are asked for.
            program.evaluate(range(5))
        rooms = program.keep_evaluated(lanes, [kept[lane] for lane in lanes])
        for lane, room in zip(lanes, rooms, strict=True):
            assert kept[lane] is None or kept[lane] is room, "in the memory it has"
            kept[lane] = room
            for found, expected in zip(room, program.evaluated(lane), strict=True):
                assert found.keys() == expected.keys()
                for name, each in expected.items():
                    assert torch.equal(found[name], each) and found[name].dtype is each.dtype

    for lanes in ([1, 3], [0, 1, 2, 3], [4], [3, 0]):
        others = copy.deepcopy({k: each for k, each in kept.items() if k not in lanes})
        index = gather_batches(together.orders, 3)
        program.advance(index, together.tabulate(0, 3))
        assert_kept(lanes)
        for lane, held in others.items():
            for before, now in zip(held or (), kept[lane] or (), strict=True):
                assert all(torch.equal(now[name], each) for name, each in before.items())


def test_weights_come_back_when_they_reach_the_bar():
    configs = [config(lr=rate, budget="1ep") for rate in (1e-4, 0.1, 0.01, 0.05)]
    ended = run_fused(configs, 4)
    values = sorted(each.result.last["accuracy"] for each in ended.values())
    for bar, kept in ((values[2], 2), (values[2] + 1e-6, 1), (2.0, 0), (None, 4)):
        again = run_fused(configs, 4, bar=bar)
        for number, each in again.items():
            reached = bar is None or each.result.last["accuracy"] >= bar
            assert_same_weights(each.weights, ended[number].weights if reached else None)
        assert sum(each.weights is not None for each in again.values()) == kept


def test_tied_weights_and_buffers_are_saved_as_solo_s(place):
    where = place(
        nets=NETS
        + """
    class Tied(Net):
        def __init__(self, in_features, num_classes):
            super().__init__(in_features, num_classes, in_features)
            self.again = nn.Linear(in_features, in_features)
            self.again.weight = self.body[0].weight
            self.register_buffer("scale", torch.ones(3))
            self.register_buffer("unsaved", torch.ones(3), persistent=False)

        def forward(self, x):
            return self.head(self.again(self.body(x.flatten(1))).tanh())
    """
    )
    own = config(net("nets.Tied"), budget="40ba", evaluate="20ba")
    for alone, together in both(own, own, seeds=[0, 1], place=where)[0]:
        assert together.result.engine == "fused"
        found, expected = tensors(together), tensors(alone)
        assert found.keys() == expected.keys() and "scale" in found and "unsaved" not in found
        assert torch.equal(found["again.weight"], found["body.0.weight"])
        for key, value in expected.items():
            assert differ(value, found[key]) < 1e-4, key


def test_bfloat16_is_near_solo_s():
    configs = [config(lr=rate, budget="2ep", precision="bfloat16") for rate in (0.05, 0.1)]
    wide = run_fused([config(lr=rate, budget="2ep") for rate in (0.05, 0.1)], 2)
    for alone, together in both(*configs)[0]:
        last, loss = together.result.last, alone.result.last["loss"]
        assert last["loss"] == pytest.approx(loss, rel=0.03) and last["accuracy"] > 0.85
        # That it is low precision shows.
        assert last["loss"] != pytest.approx(wide[together.trial].result.last["loss"], rel=1e-5)


def test_divergence_is_solo_s():
    configs = [
        config(lr=1e6, evaluate="10ba"),
        config(lr=0.05, budget="1ep"),
        config(budget="1ba", lr=1e38),
        config(LOGISTIC, lr=1e3, label_smoothing=0.1, evaluate="10ba"),
    ]
    for own in configs:
        ((alone, together),) = both(own)[0]
        assert together.result.outcome is alone.result.outcome
        assert together.result.steps == alone.result.steps
        assert together.result.reason.split(" of ")[-1] == alone.result.reason.split(" of ")[-1]
        assert (together.weights is None) is (alone.weights is None)


def test_seconds_are_shared_out():
    configs = [config(budget="3ep", lr=0.01 * (k + 1)) for k in range(10)]
    run_fused(configs[:2], 2)
    begun = time.perf_counter()
    ended = run_fused(configs, 4)
    wall = time.perf_counter() - begun
    seconds = [each.result.seconds for each in ended.values()]
    assert min(seconds) > 0
    assert 0.7 * wall < sum(seconds) <= wall


# Lanes do not see each other


LANES = {
    "mlp": (MLP, {"optimizer": SGD}),
    "mlp dropout": (DROPOUT, {"optimizer": SGD | {"nesterov": False}}),
    "mlp batch norm": (NORMED, {"optimizer": ADAMW, "lr": 0.01}),
    "cnn batch norm": (
        NORMED_CNN | {"channels": [4]},
        {"budget": "20ba", "evaluate": "5ba", "batch_size": 16},
    ),
    "adam": (MLP, {"optimizer": ADAM, "lr": 0.003}),
    # Each evaluation goes through the training samples, of which these have few.
    "schedule free": (
        NORMED | {"hidden": [32, 32], "dropout": 0.3},
        {"source": "wine", "optimizer": SCHEDULE_FREE, "lr": 0.01},
    ),
    "prodigy": (MLP, {"optimizer": PRODIGY, "lr": 1.0}),
}
LOST = {"lr": 1e38}


def structure(name):
    """A function making configs of a structure: 24 steps, evaluated each 6 unless it says so."""
    model, common = LANES[name]

    def make(**train):
        own = {"budget": "24ba", "evaluate": "6ba", "batch_size": 32, **common, **train}
        given = {key: own.pop(key) for key in ("weight_decay", "momentum") if key in own}
        optimizer = own.get("optimizer", SGD)
        own["optimizer"] = optimizer | {key: given[key] for key in given if key in optimizer}
        return config(model, **own)

    return make


@pytest.fixture(scope="module")
def alone():
    """The ending of a trial that has only an empty lane beside it."""
    known = {}

    def train(own, seed=0):
        key = repr(own), seed
        if key not in known:
            known[key] = run_fused([own], 2, seeds=[seed])[0]
        return known[key]

    return train


@pytest.mark.parametrize("name", LANES)
def test_neighbours_change_nothing(name, alone):
    """Other numbers of lanes, another order, seeds of their own, needs that a lane does not have,
    one that diverges, a slot refilled out of step, lanes evaluated alone, a smaller program."""
    make = structure(name)
    plain, decayed = make(), make(weight_decay=0.1)
    clipped, smooth = make(clip_norm=0.1), make(label_smoothing=0.2)
    lost, odd = make(**LOST), make(evaluate="5ba", schedule={"name": "constant"})
    short, still = make(budget="12ba"), make(momentum=0.0)
    assert alone(lost).result.outcome is Outcome.DIVERGED and alone(lost).result.steps < 7
    cases = [
        ([(plain, 0), (plain, 0)], 2),
        ([(plain, 0), (decayed, 0), (plain, 1)], 3),
        ([(plain, 1), (decayed, 0), (plain, 0), (odd, 0), (smooth, 0)], 5),
        ([(lost, 0), (plain, 0), (clipped, 0)], 3),
        ([(lost, 1), *[(plain, 0), (smooth, 2), (clipped, 0), (still, 1)] * 2], 4),
        ([(odd, 0), (plain, 0), (lost, 0), (short, 1), (plain, 1), (still, 0), (odd, 2)], 3),
        ([(short, seed) for seed in range(7)] + [(odd, 0), (plain, 3)], 9),
        ([(plain, 0), (clipped, 0), (decayed, 0), (smooth, 0), (still, 0), *[(short, 0)] * 3], 8),
    ]
    # What an engine does is the same for all; buffers and noise are what lanes could confuse.
    for chosen, lanes in cases if name in ("mlp batch norm", "mlp dropout") else cases[2:5:2]:
        seeds = [seed for _, seed in chosen]
        found = run_fused([own for own, _ in chosen], lanes, seeds=seeds)
        for number, (own, seed) in enumerate(chosen):
            assert_same(found[number], alone(own, seed))


@pytest.mark.parametrize("name", ["mlp batch norm", "mlp dropout"])
@given(data=st.data())
@settings(max_examples=8)
def test_any_cohort_trains_each_trial_alike(name, alone, data):
    make = structure(name)
    kinds = [
        {},
        LOST,
        {"budget": "12ba"},
        {"evaluate": "5ba", "clip_norm": 0.3},
        {"label_smoothing": 0.2},
        {"weight_decay": 0.1},
    ]
    drawn = st.tuples(st.sampled_from(range(len(kinds))), st.sampled_from(range(3)))
    chosen = data.draw(st.lists(drawn, min_size=1, max_size=9))
    lanes = data.draw(st.integers(2, 9))
    configs = [make(**kinds[kind]) for kind, _ in chosen]
    found = run_fused(configs, lanes, seeds=[seed for _, seed in chosen])
    for number, (own, (_, seed)) in enumerate(zip(configs, chosen, strict=True)):
        assert_same(found[number], alone(own, seed))


def count_programs(monkeypatch):
    """A list that the lanes of each program built from now on are appended to."""
    sizes = []
    build_program = Program.__init__

    def count(self, skeleton, train, needs, data, lanes, criterion=None):
        sizes.append(lanes)
        build_program(self, skeleton, train, needs, data, lanes, criterion)

    monkeypatch.setattr(Program, "__init__", count)
    return sizes


def test_a_smaller_program_goes_on_where_the_larger_stopped(alone, monkeypatch):
    """In the middle of an evaluation's interval, too; and never for fewer steps than it is
    worth."""
    sizes = count_programs(monkeypatch)
    make = structure("mlp dropout")
    long = make(budget="120ba", evaluate="50ba")
    short = make(budget="30ba", evaluate="30ba")
    chosen = [(short, 0), (long, 0), *[(short, seed) for seed in range(1, 6)], (long, 1)]
    given = cohort(*[own for own, _ in chosen], seeds=[seed for _, seed in chosen])
    found = collect(run_cohort(as_fused(given, 8, 6 * 90 - 1)))[1]
    assert sizes == [8, 2]
    for number, (own, seed) in enumerate(chosen):
        assert_same(found[number], alone(own, seed))
    sizes.clear()
    collect(run_cohort(as_fused(cohort(make(budget="40ba"), *[short] * 7), 8, 6 * 10)))
    assert sizes == [8]


# A lane's state is a value


def advance(together, states, step, steps):
    """States after some more steps from these, which stand at `step`."""
    together.put(states)
    if step:
        gather_batches(together.orders, step)
    index = gather_batches(together.orders, steps)
    together.program.advance(index, together.tabulate(step, steps))
    return together.take()


@pytest.mark.parametrize(
    "optimizer", [SGD, ADAM, ADAMW, SCHEDULE_FREE, PRODIGY], ids=lambda each: each["name"]
)
def test_a_state_goes_on_in_another_program(optimizer):
    model = NORMED | {"dropout": 0.3}
    configs = [
        config(model, budget="40ba", lr=0.01 * (k + 1), optimizer=optimizer, clip_norm=clip)
        for k, clip in enumerate((None, 0.5, None, 0.1))
    ]
    data = placed_data(configs[0])
    trials = [
        Trial(k, "", own, seed)
        for k, (own, seed) in enumerate(zip(configs, (0, 1, 1, 2), strict=True))
    ]
    first = Together(trials, data)
    middle = advance(first, first.initial, 0, 20)
    kept = copy.deepcopy(middle)
    first.put([middle[0]] * 4)
    expected = advance(Together(trials, data), middle, 20, 20)
    # It was a copy that was taken out, and one that was put in.
    for left, right in zip(middle, kept, strict=True):
        assert_states(left, right)
    straight = Together(trials, data)
    for left, right in zip(advance(straight, straight.initial, 0, 40), expected, strict=True):
        assert_states(left, right, DRIFT)
    for order in ((2, 0), (3, 1, 2, 0, 1), (1, 1, 2)):
        others = Together([trials[lane] for lane in order], data)
        moved = advance(others, [middle[lane] for lane in order], 20, 20)
        for lane, state in zip(order, moved, strict=True):
            assert_states(state, expected[lane], DRIFT)


@pytest.mark.parametrize("name", ["sgd", "adamw", "nadam", "adafactor", "muon"])
def test_a_state_goes_on_in_the_other_engine(name):
    model = DROPOUT | {"activation": "tanh"}
    own = config(model, budget="40ba", lr=2e-3, optimizer=default(name))
    if name == "sgd":  # Others make much of gradients that are rounding alone, see `FLOORS`.
        own = config(model | {"batch_norm": True}, budget="40ba", lr=0.02)
    data = placed_data(own)
    trials = [Trial(0, "", own, 0), Trial(1, "", own, 0)]
    with torch.random.fork_rng():
        alone = Alone(trials[0], data, torch.float32)
        together = Together(trials, data)
        states = together.initial
        order = Order(data, 64, trial_seeds(0).order)
        alone.put(states[0])
        for index, rate in zip(order.take(20), together.rates[0], strict=False):
            _, gradients = alone.compute_gradients(index)
            alone.update(dict(gradients), float(rate))
        half = alone.take(20)
        for index, rate in zip(order.take(20), together.rates[0][20:], strict=True):
            _, gradients = alone.compute_gradients(index)
            alone.update(dict(gradients), float(rate))
        expected = alone.take(40)
    (found, other) = advance(together, [half, half], 20, 20)
    assert_states(found, other, DRIFT)
    assert torch.equal(found.noise, expected.noise)
    for mine, theirs in (
        (found.parameters, expected.parameters),
        *((found.slots[slot], expected.slots[slot]) for slot in expected.slots),
        (found.fixed, expected.fixed),
    ):
        assert differ_all(theirs, mine, 1.0) < 1e-3


# Rungs

GO, STOP = Verdict.GO_ON, Verdict.STOP


def pursue(job, decide, delay=0):
    """All events of a job whose trials get their verdicts as a tuner gives them: once all that
    have not ended are at a rung; or, with a delay, each by itself so many events later."""
    events, left, waiting, due = [], None, {}, []
    replies = None
    while True:
        try:
            event = job.send(replies)
        except StopIteration:
            assert not waiting and not due
            return events
        events.append(event)
        left = (left or set()) | ({event.trial} if isinstance(event, Started) else set())
        due = [(number, step, later - 1) for number, step, later in due]
        if isinstance(event, Ended):
            assert event.trial not in waiting
            left.discard(event.trial)
        elif isinstance(event, Reached) and delay:
            due.append((event.trial, event.step, delay))
        elif isinstance(event, Reached):
            waiting[event.trial] = event.step
        if event is None:
            assert due or waiting, "it waits for nothing"
            due = [(number, step, 0) for number, step, _ in due]
            if not delay:
                # All that have begun wait: the places of some are others' meanwhile.
                assert waiting.keys() == left
                due = [(number, waiting[number], 0) for number in sorted(waiting)]
                waiting.clear()
        replies = [(number, decide(number, step)) for number, step, later in due if later <= 0]
        due = [each for each in due if each[2] > 0]


@pytest.mark.parametrize("delay", [0, 2, 5])
@pytest.mark.parametrize("name", ["mlp dropout", "mlp batch norm", "schedule free"])
def test_parked_lanes_go_on_as_if_nothing_had_been(name, delay, alone):
    """More trials than lanes, rungs in the middle of an evaluation's interval, one that diverges,
    verdicts that come with any event."""
    make = structure(name)
    configs = [make(), make(clip_norm=0.1), make(**LOST), make(label_smoothing=0.2)]
    configs += [make(), make(weight_decay=0.1), make(budget="12ba")]
    seeds = [0, 0, 1, 2, 1, 0, 0]
    given = cohort(*configs, seeds=seeds, rungs=(4, 9, 18, 24))
    events = pursue(run_cohort(as_fused(given, 3)), lambda number, step: GO, delay)
    ended = {each.trial: each for each in events if isinstance(each, Ended)}
    for number, (own, seed) in enumerate(zip(configs, seeds, strict=True)):
        assert_same(ended[number], alone(own, seed))
        reached = [
            each.step for each in events if isinstance(each, Reached) and each.trial == number
        ]
        expected = {2: [4], 6: [4, 9]}.get(number, [4, 9, 18])
        assert reached == expected


@pytest.mark.parametrize("delay", [0, 2])
def test_stopped_lanes_end_pruned_as_solo_s(delay, alone):
    make = structure("mlp dropout")
    configs = [make(lr=0.01 * (k + 1)) for k in range(7)]
    stops = {(1, 9), (4, 9), (5, 18), (6, 9)}

    def decide(number, step):
        return STOP if (number, step) in stops else GO

    given = cohort(*configs, rungs=(9, 18))
    events = pursue(run_cohort(as_fused(given, 3)), decide, delay)
    ended = {each.trial: each for each in events if isinstance(each, Ended)}
    for number, own in enumerate(configs):
        single = replace(given, trials=given.trials[number : number + 1])
        solo_s = pursue(run_cohort(single), decide, 1)[-1]
        found, expected = ended[number].result, solo_s.result
        assert found.outcome is expected.outcome and found.steps == expected.steps
        assert (found.reason, found.epochs) == (expected.reason, expected.epochs)
        assert ended[number].curve["step"] == solo_s.curve["step"]
        whole = alone(own)
        for key, values in ended[number].curve.items():
            assert_same_numbers(values, whole.curve[key][: len(values)])
        stopped = any(number == each for each, _ in stops)
        assert found.outcome is (Outcome.PRUNED if stopped else Outcome.COMPLETED)
        assert_same_weights(ended[number].weights, None if stopped else whole.weights)


def test_a_program_is_not_made_smaller_for_lanes_that_come_back(monkeypatch):
    """Three wait at their rung until the fourth has ended, and then need their places."""
    sizes = count_programs(monkeypatch)
    make = structure("mlp")
    configs = [make(budget="300ba", evaluate="12ba", lr=0.01 * (k + 1)) for k in range(4)]
    job = run_cohort(as_fused(cohort(*configs, rungs=(10,)), 4, 200))
    ended, replies = [], None
    with contextlib.suppress(StopIteration):
        while True:
            event = job.send(replies)
            replies = [(3, GO)] if event == Reached(3, 10) else []
            if isinstance(event, Ended):
                ended.append(event.trial)
                replies = [(number, GO) for number in range(3)]
    assert ended == [3, 0, 1, 2] and sizes == [4, 3]


# What does not go as planned

FRAIL = (
    NETS
    + """
    import weakref
    import torch._C._functorch as functorch
    functorch.seen, functorch.alive = [], []  # Globals of its own are put back between trials.

    def count_lanes(x):
        if not functorch.is_batchedtensor(x):
            return 0
        return functorch.get_unwrapped(x).shape[functorch.maybe_get_bdim(x)]

    ERRORS = {"memory": MemoryError, "device": torch.OutOfMemoryError, "key": KeyError}

    class Hungry(Net):
        '''Raises when it sees more than so many lanes.'''

        def __init__(self, in_features, num_classes, most, kind="memory"):
            super().__init__(in_features, num_classes)
            self.most, self.kind = most, kind

        def forward(self, x):
            if count_lanes(x) > self.most:
                raise ERRORS[self.kind]("no room")
            return super().forward(x)

    class Later(Net):
        '''Raises when a second program of four lanes' training steps is recorded.'''

        def __init__(self, in_features, num_classes, kind):
            super().__init__(in_features, num_classes)
            self.kind = kind

        def forward(self, x):
            if count_lanes(x) == 4 and self.training:
                functorch.seen.append(x.shape)
                if len(functorch.seen) == 2:
                    raise ERRORS[self.kind]("no room")
            return super().forward(x)

    class Wide(Net):
        '''Raises in evaluation where all lanes have many samples.'''

        def __init__(self, in_features, num_classes, most):
            super().__init__(in_features, num_classes)
            self.most = most

        def forward(self, x):
            if max(1, count_lanes(x)) * len(x) > self.most and not self.training:
                raise torch.OutOfMemoryError("no room")
            return super().forward(x)

    class Unlucky(Net):
        '''Cannot be built of one seed.'''

        def __init__(self, in_features, num_classes, seed):
            if torch.initial_seed() == seed:
                raise ValueError("a bad seed")
            super().__init__(in_features, num_classes)

    class Broken(Net):
        def forward(self, x):
            if count_lanes(x) > 1:
                big = torch.zeros(1000)
                functorch.alive.append(weakref.ref(big))
                error = KeyError("lost thing")  # The error holds the frame and the frame the error.
                raise error
            return super().forward(x)
"""
)


def frail(name, **arguments):
    """A function making configs of one of these models."""

    def make(**train):
        own = {"budget": "20ba", "evaluate": "10ba", **train}
        return config(net(f"nets.{name}", **arguments), **own)

    return make


def plans(events):
    return [(each.plan.engine, each.plan.lanes) for each in events if isinstance(each, Planned)]


def assert_told_once(events, numbers):
    """Each trial is started once, then measured at rising steps, then ended once."""
    for number in numbers:
        own = [each for each in events if getattr(each, "trial", None) == number]
        assert isinstance(own[0], Started) and isinstance(own[-1], Ended)
        assert all(isinstance(each, Measured | Reached) for each in own[1:-1])
        steps = [each.measurement.step for each in own if isinstance(each, Measured)]
        assert steps == sorted(set(steps))
        rungs = [each.step for each in own if isinstance(each, Reached)]
        assert rungs == sorted(set(rungs))
        curve = own[-1].curve
        assert not curve or curve["step"] == steps


@pytest.mark.parametrize("kind", ["memory", "device"])
@pytest.mark.parametrize(
    ("most", "expected"),
    [
        (8, []),
        (3, [("fused", 4), ("fused", 2)]),
        (2, [("fused", 4), ("fused", 2)]),
        (1, [("fused", 4), ("fused", 2), ("solo", 1)]),
    ],
)
def test_lanes_halve_when_memory_is_short(place, monkeypatch, most, expected, kind):
    monkeypatch.setattr(fused, "fewest_lanes", lambda device: 2)
    where = place(nets=FRAIL)
    make = frail("Hungry", most=most, kind=kind)
    configs = [make(lr=0.01 * (k + 1)) for k in range(8)]
    own = cohort(*configs, place=where)
    events, ended = collect(run_cohort(as_fused(own, 8)))
    assert plans(events) == expected
    reasons = [each.plan.reason for each in events if isinstance(each, Planned)]
    assert reasons == [f"{lanes} lanes ran out of memory" for lanes in (8, 4, 2)[: len(expected)]]
    assert_told_once(events, range(8))
    # All ran in fewer lanes; where one at a time, as solo does.
    engine = "solo" if most == 1 else "fused"
    others = collect(run_cohort(own if most == 1 else as_fused(own, 2)))[1]
    for number, each in ended.items():
        assert each.result.engine == engine
        assert_same(each, others[number])


@pytest.mark.parametrize("engine", ["fused", "solo"])
def test_evaluations_take_fewer_samples_at_once_when_memory_is_short(place, monkeypatch, engine):
    """On a GPU, and down to a few: what trains need not fit a validation split."""
    monkeypatch.setattr(validation, "HALVING", (DEVICE.type,))
    make = frail("Wide", most=4 * 40 if engine == "fused" else 40)
    plan = Plan(engine, 4 if engine == "fused" else 1)
    own = cohort(*[make(lr=0.01 * (k + 1)) for k in range(4)], place=place(nets=FRAIL))
    events, ended = collect(run_cohort(replace(own, plan=plan)))
    assert plans(events) == []
    room = frail("Wide", most=10**9)
    usual = cohort(*[room(lr=0.01 * (k + 1)) for k in range(4)], place=own.workplace)
    found = collect(run_cohort(replace(usual, plan=plan)))[1]
    for number, each in ended.items():
        assert (each.result.engine, each.result.outcome) == (engine, Outcome.COMPLETED)
        assert each.result.last == pytest.approx(found[number].result.last, rel=1e-5)


def test_a_range_test_halves_its_lanes_when_memory_is_short(place):
    """Four are too many; it then finds what a range test of two at a time does."""
    make = frail("Hungry", most=3)
    trials = cohort(*[make()] * 4, place=(where := place(nets=FRAIL)), seeds=range(4)).trials
    short, two = (
        next(sweep(Sweep(trials, (1e-3, 1e-2, 1e-1), 2, "auto", lanes, where)))
        for lanes in (None, 2)
    )
    assert (short.engine, short.reason) == (two.engine, two.reason) == ("fused", "")
    assert_same_numbers(short.losses, two.losses)


def test_an_odd_number_of_lanes_is_halved_to_two_at_least(place, monkeypatch):
    monkeypatch.setattr(fused, "fewest_lanes", lambda device: 2)
    where = place(nets=FRAIL)
    configs = [frail("Hungry", most=2)(lr=0.01 * (k + 1)) for k in range(3)]
    events, ended = collect(run_cohort(as_fused(cohort(*configs, place=where), 3)))
    assert plans(events) == [("fused", 2)] and len(ended) == 3
    # One trial has two lanes, too.
    single = cohort(frail("Hungry", most=1)(), place=where)
    events, ended = collect(run_cohort(as_fused(single, 8)))
    (planned,) = [each.plan for each in events if isinstance(each, Planned)]
    assert planned == Plan("solo", 1, "2 lanes ran out of memory")
    assert ended[0].result.outcome is Outcome.COMPLETED and ended[0].result.engine == "solo"


@pytest.mark.parametrize("most", [1, 0])
def test_where_there_are_graphs_lanes_are_halved_to_one(place, monkeypatch, most):
    """A trial alone has one from the beginning."""
    monkeypatch.setattr(fused, "fewest_lanes", lambda device: 1)
    where = place(nets=FRAIL)
    configs = [frail("Hungry", most=most)(lr=0.01 * (k + 1)) for k in range(3)]
    events, ended = collect(run_cohort(as_fused(cohort(*configs, place=where), 3)))
    reason = "a program of one lane ran out of memory"
    expected = [Plan("fused", 2, "3 lanes ran out of memory"),
                Plan("fused", 1, "2 lanes ran out of memory"), Plan("solo", 1, reason)]  # fmt: skip
    found = [each.plan for each in events if isinstance(each, Planned)]
    assert found == expected[: 3 - most]
    engine = "fused" if most else "solo"
    assert {each.result.engine for each in ended.values()} == {engine} and len(ended) == 3
    events, ended = collect(run_cohort(as_fused(cohort(configs[0], place=where), 8)))
    assert [each.plan for each in events if isinstance(each, Planned)] == expected[2 : 3 - most]
    assert (ended[0].result.outcome, ended[0].result.engine) == (Outcome.COMPLETED, engine)


@pytest.mark.parametrize("kind", ["memory", "key"])
def test_what_fails_midway_keeps_what_has_ended(place, kind):
    where = place(nets=FRAIL)
    make = frail("Later", kind=kind)
    configs = [make(lr=0.1, budget="20ba" if k < 2 else "40ba") for k in range(4)]
    configs += [make(lr=0.02 * (k + 1)) for k in range(4)]
    own = cohort(*configs, place=where)
    sys.modules.pop("nets", None)
    importing.forget_imports()
    events, ended = collect(run_cohort(as_fused(own, 4)))
    before = list(itertools.takewhile(lambda each: not isinstance(each, Planned), events))
    assert [each.trial for each in before if isinstance(each, Ended)] == [0, 1]
    assert_told_once(events, range(8))
    (planned,) = [each.plan for each in events if isinstance(each, Planned)]
    if kind == "memory":
        assert planned == Plan("fused", 2, "4 lanes ran out of memory")
    else:
        assert planned == Plan("solo", 1, "the fused program raised KeyError: 'no room'")
    fused_ones = collect(run_cohort(as_fused(own, 2)))[1]
    alone = collect(run_cohort(own))[1]
    for number, each in ended.items():
        engine = "fused" if number < 2 or kind == "memory" else "solo"
        assert each.result.engine == engine
        assert_same(each, (fused_ones if engine == "fused" else alone)[number])


@pytest.mark.parametrize("delay", [0, 1, 4])
@pytest.mark.parametrize("kind", ["memory", "key"])
def test_verdicts_outlast_a_program(place, kind, delay):
    """Trials that begin again do not ask twice, and are not left waiting."""
    where = place(nets=FRAIL)
    make = frail("Later", kind=kind)
    configs = [make(lr=0.01 * (k + 1), budget="40ba") for k in range(8)]
    own = cohort(*configs, place=where, rungs=(5, 15, 25), seeds=[0] * 4 + [1] * 4)
    importing.forget_imports()
    stops = {(0, 5), (6, 15)}

    def decide(number, step):
        return STOP if (number, step) in stops else GO

    # Solo has one trial under way: it cannot wait for the others.
    events = pursue(run_cohort(as_fused(own, 4)), decide, delay or (1 if kind == "key" else 0))
    assert_told_once(events, range(8))
    ended = {each.trial: each for each in events if isinstance(each, Ended)}
    assert len(plans(events)) == 1
    for number in range(8):
        steps = dict(stops).get(number, 40)
        assert ended[number].result.steps == steps
        pruned = ended[number].result.outcome is Outcome.PRUNED
        assert pruned is (steps < 40)


def test_errors_of_one_trial_end_that_trial_only(place):
    where = place(nets=FRAIL)
    make = frail("Unlucky", seed=trial_seeds(3).weights)
    configs = [make(lr=0.01 * (k + 1)) for k in range(5)]
    own = cohort(*configs, place=where, seeds=[0, 1, 3, 0, 2])
    events, ended = collect(run_cohort(as_fused(own, 4)))
    assert plans(events) == [("solo", 1)]
    assert_told_once(events, range(5))
    outcomes = [ended[number].result.outcome.value for number in range(5)]
    assert outcomes == ["completed", "completed", "failed", "completed", "completed"]
    assert "ValueError: a bad seed" in ended[2].result.reason
    assert "a bad seed" in ended[2].result.traceback


as_in_a_worker = test_train.as_in_a_worker


@pytest.mark.parametrize("kind", ["strange", "exit", "keyboard"])
@pytest.mark.parametrize("at", ["once", "forward", "evaluation"])
def test_nothing_that_user_code_raises_ends_the_run(place, as_in_a_worker, kind, at):
    where = place(nets=NETS + test_train.RAISES)
    name = {"strange": "Strange", "exit": "GeneratorExit", "keyboard": "KeyboardInterrupt"}[kind]
    configs = [config(net("nets.Raises", kind=kind, at=at), budget="1ep")] * 2
    events, ended = collect(run_cohort(as_fused(cohort(*configs, place=where), 2)))
    assert plans(events) == [("solo", 1)] and len(ended) == 2
    for each in ended.values():
        assert each.result.outcome is Outcome.FAILED and f"{name}: me" in each.result.reason


def test_ctrl_c_interrupts_where_it_can_arrive(place):
    where = place(
        nets=NETS
        + """
    import os, signal
    begun = []

    class Interrupted(Net):
        def forward(self, x):
            if self.training and not begun:
                begun.append(True)
                os.kill(os.getpid(), signal.SIGINT)
            return super().forward(x)
    """
    )
    threads, path = torch.get_num_threads(), list(sys.path)
    with pytest.raises(KeyboardInterrupt):
        list(run_cohort(as_fused(cohort(*[config(net("nets.Interrupted"))] * 2, place=where), 2)))
    assert (torch.get_num_threads(), sys.path) == (threads, path)


def test_data_and_code_that_changed_end_the_run(place, tmp_path):
    saved(tmp_path / "a.npz", 0)
    source = {"name": "npz", "source": str(tmp_path / "a.npz"), "samples": None}
    where = place(nets=NETS)
    own = config(net("nets.Net"), source=source, batch_size=8)
    found = test_train.facts(own, place=where)
    given = {"data_hash": found.data_hash, "source_hashes": found.source_hashes, "place": where}
    ended = run_fused([own, own], 2, **given)
    assert [each.result.outcome for each in ended.values()] == [Outcome.COMPLETED] * 2
    saved(tmp_path / "a.npz", 1)
    job = run_cohort(as_fused(cohort(own, own, **given), 2))
    with pytest.raises(DataError, match=r"a\.npz: the data are not those the run began with"):
        next(job)
    place(nets=NETS + "    # changed")
    importing.forget_imports()
    job = run_cohort(as_fused(cohort(own, own, **given), 2))
    with pytest.raises(ModelError, match=r"nets\.Net: the source code is not what the run began"):
        next(job)


# A job among others


def steps_of(job, count):
    return list(itertools.islice(job, count))


def test_a_closed_job_leaves_nothing_behind():
    states = (random.getstate(), np.random.get_state()[1].copy(), torch.get_rng_state())
    noise = noise_state()
    threads, path, fast = torch.get_num_threads(), list(sys.path), mha.get_fastpath_enabled()
    own = config(DROPOUT, budget="2ep", evaluate="5ba")
    for count in (1, 3, 5, 12):
        job = run_cohort(as_fused(cohort(*[own] * 5, seeds=range(5)), 3))
        steps_of(job, count)
        job.close()
        assert list(job) == []
        assert random.getstate() == states[0]
        assert (np.random.get_state()[1] == states[1]).all()
        assert torch.equal(torch.get_rng_state(), states[2])
        assert torch.equal(noise_state(), noise)
        assert (torch.get_num_threads(), sys.path) == (threads, path)
        assert mha.get_fastpath_enabled() is fast


def test_jobs_of_one_process_do_not_see_each_other(alone):
    """Nor what is drawn between their events."""
    make, other = structure("mlp dropout"), structure("mlp batch norm")
    jobs = [
        run_cohort(as_fused(cohort(make(), make(**LOST), make(clip_norm=0.1)), 2)),
        run_cohort(as_fused(cohort(other(), other(weight_decay=0.1)), 2)),
        run_cohort(cohort(make(), other())),
    ]
    events = [[] for _ in jobs]
    left = dict(enumerate(jobs))
    while left:
        for number, job in list(left.items()):
            event = next(job, None)
            if event is None:
                del left[number]
            else:
                events[number].append(event)
            torch.rand(3)
            torch.rand(3, device=DEVICE)
    first, second, solo_s = (
        {each.trial: each for each in own if isinstance(each, Ended)} for own in events
    )
    expected = [make(), make(**LOST), make(clip_norm=0.1)], [other(), other(weight_decay=0.1)]
    for found, configs in zip((first, second), expected, strict=True):
        for number, own in enumerate(configs):
            assert_same(found[number], alone(own))
    straight = collect(run_cohort(cohort(make(), other())))[1]
    for number, each in straight.items():
        assert_same(solo_s[number], each)


@pytest.mark.parametrize("lanes", [1, 2, 3, 8])
def test_events_by_either_engine(lanes):
    """`lanes` of 1 is solo."""
    configs = [config(lr=rate, budget="3ep") for rate in (0.1, 1e38, 0.01, 0.05, 0.2)]
    own = cohort(*configs)
    events, ended = collect(run_cohort(own if lanes == 1 else as_fused(own, lanes)))
    assert_told_once(events, range(5))
    assert len(events) == sum(map(len, (configs, ended))) + sum(
        isinstance(each, Measured) for each in events
    )
    for number, each in ended.items():
        measured = [e for e in events if isinstance(e, Measured) and e.trial == number]
        assert all(event.steps == 67 for event in measured)
        assert set(each.curve) == {"step", "train_loss", "lr", "accuracy", "f1", "loss"}
        for index, event in enumerate(measured):
            row = {name: values[index] for name, values in each.curve.items()}
            np.testing.assert_equal(
                {"step": event.measurement.step, **event.measurement.metrics}, row
            )
        for name, last in each.result.last.items():
            np.testing.assert_equal(last, each.curve[name][-1])
        finite = [value for value in each.curve["accuracy"] if value == value]
        assert each.result.best["accuracy"] == max(finite)
    outcomes = [ended[number].result.outcome.value for number in range(5)]
    assert outcomes == ["completed", "diverged", *["completed"] * 3]
    # Never more under way than there are lanes.
    under_way = itertools.accumulate(
        isinstance(each, Started) - isinstance(each, Ended) for each in events
    )
    assert max(under_way) == min(lanes, 5)


def test_nothing_is_kept_of_what_is_over(place):
    where = place(nets=FRAIL)
    kept = []
    build_program = Program.__init__

    def watch(self, *arguments):
        build_program(self, *arguments)
        kept.extend(weakref.ref(each) for each in self.stack.held())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Program, "__init__", watch)
        gc.collect()
        gc.disable()
        try:
            run_fused([config(net("nets.Broken"))] * 2, 2, place=where)
            alive = sys.modules["nets"].functorch.alive
            assert len(kept) == 8 and alive and not any(each() for each in [*kept, *alive])
            run_fused([config(budget="1ep", lr=rate) for rate in (0.1, 0.2)], 2)
            assert len(kept) == 16 and [each() for each in kept] == [None] * 16
            # Nor of the numbers that lanes have drawn, which are as many as their activations.
            build_noise = Noise.__init__

            def watch_noise(self, *arguments):
                build_noise(self, *arguments)
                kept.append(weakref.ref(self))

            patch.setattr(Noise, "__init__", watch_noise)
            run_fused([config(MLP | {"dropout": 0.3}, budget="1ep")] * 2, 2)
            assert len(kept) > 24 and not any(each() for each in kept)
        finally:
            gc.enable()


def test_initial_weights_are_kept_of_no_more_seeds_than_there_are_lanes(monkeypatch):
    """They lie on the device, beside the program."""
    made, most, make = [], [], initial.initial_state

    def watch(*given):
        most.append(sum(each() is not None for each in made))
        state = make(*given)
        made.append(weakref.ref(state))
        return state

    monkeypatch.setattr(initial, "initial_state", watch)
    run_fused([config(LOGISTIC, budget="2ba")] * 6, 2, seeds=[0, 1, 2, 0, 2, 3])
    # Of four seeds one is made again.
    assert len(made) == 5 and max(most) == 2


# Metrics


@given(st.data())
def test_stacked_losses_are_torch_s_lane_by_lane(data):
    name = data.draw(st.sampled_from(sorted(metrics.LOSSES)))
    lanes, samples, outputs = (data.draw(st.integers(low, 6)) for low in (1, 1, 2))
    dice = torch.Generator().manual_seed(data.draw(st.integers(0, 999)))
    size = data.draw(st.sampled_from([1.0, 30.0]))
    shape = lanes, samples, outputs
    given_outputs = size * torch.randn(shape, generator=dice, dtype=torch.float64).to(DEVICE)
    shared = data.draw(st.booleans())
    if name == "cross_entropy":
        targets = torch.randint(0, outputs, shape[:2], generator=dice).to(DEVICE)
        shares = st.lists(st.sampled_from([0.0, 0.1, 0.9, 1.0]), min_size=lanes, max_size=lanes)
        smoothing = data.draw(st.none() | shares)
    else:
        targets = torch.randn(shape, generator=dice, dtype=torch.float64).to(DEVICE)
        smoothing = None
    targets = targets[0] if shared else targets
    given_smoothing = smoothing
    if smoothing is not None:
        given_smoothing = torch.tensor(smoothing, dtype=torch.float64, device=DEVICE)
    for reduction in ("mean", "sum"):
        leaves, others = (given_outputs.clone().requires_grad_() for _ in range(2))
        found = metrics.stacked_loss(
            name,
            leaves,
            targets,
            smoothing=given_smoothing,
            reduction=reduction,
        )
        expected = torch.stack(
            [
                metrics.LOSSES[name](
                    others[lane],
                    targets if shared else targets[lane],
                    reduction=reduction,
                    **({} if smoothing is None else {"label_smoothing": smoothing[lane]}),
                )
                for lane in range(lanes)
            ]
        )
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
        found.sum().backward()
        expected.sum().backward()
        torch.testing.assert_close(leaves.grad, others.grad, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_a_lane_without_smoothing_does_not_see_that_others_have_it(reduction):
    outputs = torch.randn(4, 7, 5, generator=torch.Generator().manual_seed(0)).to(DEVICE)
    targets = torch.arange(7, device=DEVICE) % 5
    outputs[1] = 3e38 * (2 * torch.nn.functional.one_hot(targets, 5) - 1)  # Logarithms of zero.
    outputs[2, 0, 0] = torch.inf
    gradients = []
    for smoothing in (None, torch.tensor([0.0, 0.0, 0.0, 0.3], device=DEVICE)):
        leaves = outputs.clone().requires_grad_()
        losses = metrics.stacked_loss(
            "cross_entropy", leaves, targets, smoothing=smoothing, reduction=reduction
        )
        losses.sum().backward()
        gradients.append((losses.detach()[:3], leaves.grad[:3]))
    assert gradients[0][0][1] == 0
    for mine, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=0, equal_nan=True)


@given(st.integers(1, 4), st.integers(1, 40), st.integers(2, 5), st.integers(0, 999))
def test_sums_of_lanes_are_those_of_each(lanes, samples, outputs, seed):
    dice = torch.Generator().manual_seed(seed)
    given_outputs = torch.randn(lanes, samples, outputs, generator=dice).to(DEVICE)
    classes = torch.randint(0, outputs, (samples,), generator=dice).to(DEVICE)
    targets = torch.randn(samples, outputs, generator=dice).to(DEVICE)
    for count, own in (
        (metrics.classification_sums, classes),
        (metrics.regression_sums, targets),
    ):
        found = count(given_outputs, own)
        assert found.dtype is torch.float64
        for lane in range(lanes):
            expected = count(given_outputs[lane], own)
            torch.testing.assert_close(found[lane], expected, rtol=1e-14, atol=0)
    right = (given_outputs.argmax(-1) == classes).sum(-1)
    rows = metrics.classification_sums(given_outputs, classes).unflatten(-1, (3, outputs))
    assert torch.equal(rows[:, 0].sum(-1), right.double())
    assert torch.equal(
        rows[:, 2], torch.bincount(classes, minlength=outputs).double().expand(lanes, -1)
    )
    for lane in range(lanes):
        chosen = torch.bincount(given_outputs[lane].argmax(-1), minlength=outputs)
        assert torch.equal(rows[lane, 1], chosen.double())
    error = (given_outputs - targets).double()
    expected = torch.cat([error.square().sum(1), error.abs().sum(1)], 1)
    torch.testing.assert_close(metrics.regression_sums(given_outputs, targets), expected)


@pytest.mark.parametrize("source", ["digits", "diabetes"])
def test_an_evaluation_is_over_all_chunks(monkeypatch, source):
    monkeypatch.setattr(evaluation, "CHUNK", 50)
    model = NORMED | {"dropout": 0.5}
    loss = {} if source == "diabetes" else {"label_smoothing": 0.2}
    own = config(model, source, budget="1ep", lr=0.01, **loss)
    objective = Objective("loss", "min")
    ((alone, together),) = both(own, objective=objective)[0]
    assert together.result.last == close(alone.result.last, rel=1e-5)
    assert set(together.result.last) <= set(catalogue.METRICS)
    assert len(open_data(cohort(own), cohort(own).trials[0], DEVICE).x_validation) > 50
