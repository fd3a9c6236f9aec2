"""Optimizers from packages: evaluation at averaged weights, batch norm there, both engines."""

import importlib
import json
import os
import subprocess
import sys

import numpy as np
import pytest
import test_train
import torch
from devices import DEVICE, assert_same_numbers, assert_same_weights, exact, noise_state, same
from test_fused import (
    DROPOUT,
    NORMED,
    NORMED_CNN,
    PRODIGY,
    SCHEDULE_FREE,
    SHORT,
    SMOOTH,
    Together,
    as_fused,
    both,
    collect,
    differ,
    gather_batches,
    run_fused,
    tensors,
)
from test_train import MLP, SGD, cohort, config, facts, net, placed_data, run
from torch import nn
from torch.optim.swa_utils import update_bn

from lrsearch import catalogue
from lrsearch.catalogue import OPTIMIZER_PACKAGES as PACKAGES
from lrsearch.errors import ModelError
from lrsearch.train.batches.averaging import (
    BATCHES,
    normalizing,
    recalibrate,
    recalibration_batches,
)
from lrsearch.train.batches.batch import Batch
from lrsearch.train.engines.cohort import run_cohort
from lrsearch.train.engines.probe import probe
from lrsearch.train.engines.timetable import learning_rates
from lrsearch.train.engines.training import Training
from lrsearch.train.models.build import build_model
from lrsearch.train.optimizers import registry
from lrsearch.train.optimizers.registry import build_optimizer
from lrsearch.train.randomness import batches, trial_seeds
from lrsearch.trial import Objective, Outcome, Probe, Trial, Workplace

place = test_train.place

SCHEDULE_FREE_SGD = {
    "name": "schedule_free_sgd",
    "momentum": 0.9,
    "weight_decay": 1e-3,
    "r": 0.0,
    "weight_lr_power": 2.0,
}
CONSTANT = {"name": "constant"}
EVEN = SCHEDULE_FREE | {"eps": 0.01}
"""The gradient of a bias before batch norm is rounding alone: it stays small by this one."""
WARM = {"for": "0.2dur", "shape": "linear", "start": 0.0}
NOISY = NORMED | {"hidden": [32, 32], "dropout": 0.3} | SMOOTH  # Noise before a batch norm.
ENGINES = ("solo", "fused")


def averaged(model=NOISY, **train):
    """Schedule-free AdamW, which a warmup from zero makes weigh its steps."""
    own = {"optimizer": SCHEDULE_FREE, "lr": 0.01, "schedule": CONSTANT, "warmup": WARM}
    return config(model, **{"budget": "2ep", **own, **train})


def train(engine, *configs, **given):
    """The endings of a cohort by an engine, in the order of its trials."""
    own = cohort(*configs, **given)
    ended = collect(run_cohort(own if engine == "solo" else as_fused(own, 3)))[1]
    assert all(each.result.outcome is Outcome.COMPLETED for each in ended.values()), ended
    assert {each.result.engine for each in ended.values()} == {engine}
    return [ended[number] for number in sorted(ended)]


def loaded(own, weights):
    """The model of a config with saved weights."""
    model = build_model(own["model"], (1, 8, 8), 10, Workplace()).to(DEVICE)
    model.load_state_dict(weights)
    return model


def accuracy(model, data):
    with torch.no_grad():
        right = model.eval()(data.x_validation).argmax(1) == data.y_validation
    return right.double().mean().item()


# Where it is evaluated


def reference(own, seed=0):
    """A training by the package alone, as its documentation has it: the model at x, and at y."""
    from schedulefree import AdamWScheduleFree

    data, seeds = placed_data(own), trial_seeds(seed)
    torch.manual_seed(seeds.weights)
    model = build_model(own["model"], (1, 8, 8), 10, Workplace()).to(DEVICE)
    optimizer = AdamWScheduleFree(model.parameters(), lr=1.0)
    optimizer.train()
    order = batches(data.samples, own["train"]["batch_size"], seeds.order, DEVICE)
    for rate, index in zip(learning_rates(own["train"], data.samples), order, strict=False):
        optimizer.param_groups[0]["lr"] = float(rate)
        loss = nn.functional.cross_entropy(model(data.x_train[index]), data.y_train[index])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    y = {name: each.cpu().clone() for name, each in model.state_dict().items()}
    optimizer.eval()
    return {name: each.cpu() for name, each in model.state_dict().items()}, y


@pytest.mark.parametrize("engine", ENGINES)
def test_weights_and_metrics_are_those_of_the_average(engine):
    own = averaged(MLP | SMOOTH)
    (found, _) = train(engine, own, own, seeds=[0, 1])
    x, y = reference(own)
    weights = tensors(found)
    apart = max(differ(each, x[name]) for name, each in y.items())
    for name, each in weights.items():
        plain = engine == "solo" and exact()
        assert differ(x[name], each) < 1e-4 * (0.01 if plain else 1), name
    assert apart > 0.02
    assert accuracy(loaded(own, weights), placed_data(own)) == pytest.approx(
        found.result.last["accuracy"]
    )


@pytest.mark.parametrize("at", ["last", "best"])
@pytest.mark.parametrize("engine", ENGINES)
def test_kept_weights_gave_the_objective(engine, at):
    """With the statistics of batch norm that it was evaluated with."""
    configs = [averaged(lr=rate, budget="3ep", evaluate="0.5ep") for rate in (0.01, 0.3, 1.0)]
    objective = Objective("accuracy", "max", at)
    for own, ended in zip(configs, train(engine, *configs, objective=objective), strict=True):
        model, data = loaded(own, tensors(ended)), placed_data(own)
        assert accuracy(model, data) == pytest.approx(getattr(ended.result, at)["accuracy"])


STABLE = {
    "sgd": (MLP | SMOOTH, {"optimizer": SCHEDULE_FREE_SGD, "lr": 0.5}),
    "sgd batch norm": (NORMED | SMOOTH, {"optimizer": SCHEDULE_FREE_SGD, "lr": 0.5}),
    "adamw": (DROPOUT | SMOOTH, {"optimizer": SCHEDULE_FREE}),
    "adamw both": (NOISY, {"optimizer": EVEN}),
    "sgd cnn both": (
        NORMED_CNN | SMOOTH | {"dropout": 0.2},
        {"optimizer": SCHEDULE_FREE_SGD, "lr": 0.1},
    ),
    "prodigy": (DROPOUT | SMOOTH, {"optimizer": PRODIGY, "lr": 1.0}),
}


@pytest.mark.parametrize("at", ["last", "best"])
@pytest.mark.parametrize("name", STABLE)
def test_fused_trainings_are_solo_s(name, at):
    model, own = STABLE[name]
    own = {"budget": "1.2ep", "evaluate": "0.3ep", "batch_size": 32, "split": SHORT, **own}
    configs = [averaged(model, **own), averaged(model, **own | {"lr": own.get("lr", 0.01) / 2})]
    configs.append(averaged(model, **own | {"clip_norm": 0.5}))
    pairs, _ = both(*configs, seeds=[0, 0, 1], objective=Objective("loss", "min", at))
    for alone, together in pairs:
        assert (alone.result.engine, together.result.engine) == ("solo", "fused")
        assert together.curve.keys() == alone.curve.keys()
        for metric, values in alone.curve.items():
            one = 0.0 if "loss" in metric else 0.005  # Rounding may decide about a sample.
            np.testing.assert_allclose(together.curve[metric], values, rtol=1e-3, atol=one)
        expected, found = tensors(alone), tensors(together)
        assert expected.keys() == found.keys()
        for key, value in expected.items():
            assert differ(value, found[key]) < 1e-3, key


# What an evaluation leaves alone


@pytest.mark.parametrize("optimizer", [SCHEDULE_FREE, SCHEDULE_FREE_SGD], ids=["adamw", "sgd"])
@pytest.mark.parametrize("engine", ENGINES)
def test_evaluations_have_no_part_in_training(engine, optimizer):
    """However often there is one, dropout's noise and batch norm included: the same bits."""
    configs = [averaged(optimizer=optimizer, evaluate=each) for each in ("2ep", "1ep", "3ba")]
    rare, some, often = train(engine, *configs)
    assert tensors(rare)["body.1.running_mean"].abs().sum() > 0
    for other in (some, often):
        assert_same_weights(other.weights, rare.weights)
        assert_same_numbers(other.curve["loss"][-1], rare.curve["loss"][-1])


# Batch norm


@pytest.mark.parametrize("engine", ENGINES)
def test_statistics_are_gathered_at_the_average_as_update_bn_does(engine):
    own = averaged(NORMED | SMOOTH, batch_size=16)
    for ended in train(engine, own, own, seeds=[0, 1]):
        weights, data = tensors(ended), placed_data(own)
        model = loaded(own, weights)
        indices = list(recalibration_batches(data.samples, 16, DEVICE))
        assert len(indices) == BATCHES and len(torch.cat(indices).unique()) == BATCHES * 16
        update_bn([data.x_train[index] for index in indices], model)
        for name, each in model.state_dict().items():
            assert differ(each.cpu(), weights[name]) < 1e-5, name
        assert weights["body.1.num_batches_tracked"] == BATCHES


def test_no_more_than_an_epoch_is_gathered_from():
    assert [len(each) for each in recalibration_batches(10, 4, DEVICE)] == [4, 4]
    assert len(torch.cat(list(recalibration_batches(10, 4, DEVICE))).unique()) == 8


def test_training_statistics_stay_those_of_y():
    """In lanes a state that is taken out is as it was, whatever was evaluated."""
    configs = [averaged(budget="40ba", lr=0.01 * (k + 1)) for k in range(5)]
    data = placed_data(configs[0])
    trials = [Trial(k, "", own, k) for k, own in enumerate(configs)]
    together = Together(trials, data)
    together.put(together.initial)
    together.program.advance(gather_batches(together.orders, 20), together.tabulate(0, 20))
    before = together.take()
    known = together.program.evaluate(range(5))
    places = [together.program.evaluated(lane) for lane in range(5)]
    for lanes in ((3,), (1, 4), (4, 0, 2)):
        assert same(together.program.evaluate(lanes), known[list(lanes)])
        for lane in (*lanes, 0):
            for mine, theirs in zip(together.program.evaluated(lane), places[lane], strict=True):
                assert all(same(mine[name], theirs[name]) for name in theirs)
    for state, other in zip(before, together.take(), strict=True):
        assert state.fixed.keys() == other.fixed.keys()
        assert all(torch.equal(state.fixed[name], other.fixed[name]) for name in state.fixed)
        assert torch.equal(state.noise, other.noise)
    name = "body.1.running_mean"
    assert differ(before[0].fixed[name], places[0][1][name]) > 0.01
    together.program.advance(gather_batches(together.orders, 1), together.tabulate(20))
    assert not torch.equal(together.program.evaluated(0)[1][name], places[0][1][name])


class Partly(nn.Module):
    """Batch norm in use, kept in evaluation mode, and never called; and a buffer of its own."""

    def __init__(self):
        super().__init__()
        self.used, self.frozen, self.idle = (nn.BatchNorm1d(4, momentum=0.3) for _ in range(3))
        self.drop = nn.Dropout(0.5)
        self.register_buffer("seen", torch.zeros(()))

    def train(self, mode=True):
        super().train(mode)
        self.frozen.eval()
        return self

    def forward(self, x):
        if self.training:
            self.seen += 1
        return self.frozen(self.drop(self.used(x)))


def test_only_layers_that_train_are_calibrated():
    model = Partly().to(DEVICE)
    with torch.no_grad():
        for each in (model.used, model.frozen, model.idle):
            each.running_mean.fill_(5.0)
            each.num_batches_tracked.fill_(7)
    x = torch.randn(40, 4, generator=torch.Generator().manual_seed(0)).to(DEVICE)
    noise = noise_state()
    indices = recalibration_batches(40, 10, x.device)
    recalibrate(model, [Batch(x[index]) for index in indices], lambda batch: model(batch.x))
    assert list(normalizing(model)) == ["used", "idle"]
    assert torch.equal(noise_state(), noise)
    assert model.seen == 0 and model.used.momentum == 0.3
    for each in (model.frozen, model.idle):
        assert (each.running_mean == 5).all() and each.num_batches_tracked == 7
    torch.testing.assert_close(model.used.running_mean, x.mean(0))
    assert model.used.num_batches_tracked == 4


def test_a_model_without_batch_norm_is_not_run():
    def forward(x):
        raise AssertionError("called")

    recalibrate(nn.Linear(2, 2), [Batch(torch.zeros(2, 2))], forward)


SHARED = """
    import torch
    from torch import nn

    class Shared(nn.Module):
        def __init__(self, in_features, num_classes):
            super().__init__()
            self.first = nn.Linear(in_features, 8)
            self.second = nn.Linear(8, 8)
            self.norm = nn.BatchNorm1d(8)
            self.head = nn.Linear(8, num_classes)

        def forward(self, x):
            x = self.norm(self.first(x.flatten(1))).tanh()
            return self.head(self.norm(self.second(x)).tanh())
"""


def test_lanes_are_refused_where_they_calibrate_otherwise(place):
    """Statistics of a layer that is called twice are the mean of both calls."""
    own = averaged(net("nets.Shared"), budget="30ep")
    planned = ask(own, place=place(nets=SHARED))
    assert planned.plan.engine == "solo"
    assert planned.plan.reason.startswith("in lanes the buffer norm.running_mean, calibrated diff")


def ask(*configs, engine="fused", **given):
    own = cohort(*configs, **given)
    (planned,) = probe(Probe(own.trials, 64, engine, None, own.workplace))
    return planned


@pytest.mark.parametrize("own", [averaged(), averaged(optimizer=PRODIGY, lr=1.0)], ids=["x", "p"])
def test_lanes_are_tried_and_measured(own):
    assert ask(own, own).plan.engine == "fused"
    low = replace_train(own, precision="bfloat16")
    assert ask(low, low).plan.engine == "fused"


def replace_train(own, **train):
    return {**own, "train": {**own["train"], **train}}


def test_an_optimizer_without_a_version_for_lanes_trains_alone(monkeypatch):
    monkeypatch.delitem(registry.STACKED, "prodigy")
    own = averaged(optimizer=PRODIGY, lr=1.0)
    planned = ask(own, own)
    assert planned.plan.engine == "solo"
    assert planned.plan.reason == "prodigy has no form for lanes"
    assert run(own).result.outcome is Outcome.COMPLETED


def test_a_lost_lane_ends_alone():
    configs = [averaged(lr=1e30), averaged()]
    lost, sound = (run_fused(configs, 2)[number] for number in (0, 1))
    assert lost.result.outcome is Outcome.DIVERGED
    assert_same_weights(sound.weights, run_fused([averaged()], 2)[0].weights)


# The packages


OWN = {
    "schedule_free_sgd": lambda kinds, parameters: kinds.SGDScheduleFree(
        parameters, 0.3, momentum=0.7, weight_decay=0.1, r=1.0, weight_lr_power=1.5, foreach=False
    ),
    "schedule_free_adamw": lambda kinds, parameters: kinds.AdamWScheduleFree(
        parameters, 0.3, (0.7, 0.9), 1e-4, 0.1, r=1.0, weight_lr_power=1.5, foreach=False
    ),
    "prodigy": lambda kinds, parameters: kinds.Prodigy(
        parameters, 0.3, (0.7, 0.9), 0.8, 1e-4, 0.1, False, True, True, 0.01, 0.7, 1.2
    ),
}
GIVEN = {
    "momentum": 0.7,
    "beta1": 0.7,
    "beta2": 0.9,
    "beta3": 0.8,
    "eps": 1e-4,
    "weight_decay": 0.1,
    "r": 1.0,
    "weight_lr_power": 1.5,
    "decoupled": False,
    "bias_correction": True,
    "safeguard_warmup": True,
    "d0": 0.01,
    "d_coef": 0.7,
    "growth_rate": 1.2,
}


@pytest.mark.parametrize("name", PACKAGES)
def test_arguments_reach_the_package(name):
    left, right = (nn.Parameter(torch.linspace(-1, 1, 7, device=DEVICE)) for _ in range(2))
    arguments = {key: GIVEN[key] for key in catalogue.OPTIMIZERS[name].parameters}
    defaults = catalogue.OPTIMIZERS[name].parameters.items()
    assert all(GIVEN[key] != each.default for key, each in defaults)
    ours = build_optimizer({"name": name, **arguments}, [left], 0.3)
    theirs = OWN[name](importlib.import_module(PACKAGES[name]), [right])
    if hasattr(theirs, "eval"):
        theirs.train()
    for step in range(5):
        for parameter, optimizer in ((left, ours), (right, theirs)):
            parameter.grad = torch.cos(parameter.detach() * step)
            optimizer.step()
    torch.testing.assert_close(left, right, rtol=1e-5, atol=1e-6)
    assert not torch.equal(right, torch.linspace(-1, 1, 7, device=DEVICE))


def test_prodigy_says_nothing(capfd):
    parameter = nn.Parameter(torch.ones(2, device=DEVICE))
    own = averaged(optimizer=PRODIGY | {"weight_decay": 0.1})
    optimizer = Training(nn.ParameterList([parameter]), own["train"]).optimizer
    assert optimizer.param_groups[0]["weight_decay"] == 0.1
    assert capfd.readouterr().out == ""


@pytest.mark.parametrize("name", PACKAGES)
def test_a_missing_package_is_found_before_anything_trains(name, monkeypatch):
    own = averaged(
        optimizer={"schedule_free_sgd": SCHEDULE_FREE_SGD, "prodigy": PRODIGY}.get(
            name, SCHEDULE_FREE
        )
    )
    facts(own)
    monkeypatch.setitem(sys.modules, PACKAGES[name], None)
    facts(averaged(optimizer=SGD))
    with pytest.raises(ModelError, match=r"pip install 'lrsearch\[optimizers\]'") as raised:
        facts(averaged(optimizer=SGD), own)
    assert f"the optimizer {name}: the package {PACKAGES[name]}" in str(raised.value)


SPEC = """\
name: average
data: {name: digits, standardize: true}
model: {name: mlp, hidden: [32], activation: tanh, batch_norm: true}
train: {budget: 3ep, batch_size: 64}
search:
  optimizer:
    - {name: schedule_free_sgd, lr: 1.0}
    - {name: schedule_free_adamw, lr: 0.01}
    - {name: prodigy, lr: 1.0}
seeds: 2
"""


def grid(folder, *more, **environment):
    command = [sys.executable, "-m", "lrsearch", "grid", "average.yaml", "--executor", "inline"]
    (folder / "average.yaml").write_text(SPEC)
    return subprocess.run(
        [*command, "--device", str(DEVICE), *more],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_grid_by_either_engine(tmp_path):
    found = {}
    for engine in ENGINES:
        folder = tmp_path / engine
        folder.mkdir()
        done = grid(folder, "--engine", engine, "--json")
        assert done.returncode == 0, done.stderr
        report = json.loads(done.stdout)
        assert {each["engine"] for each in report["trials"]} == {engine}
        found[engine] = {
            json.dumps(each["params"], sort_keys=True): each["objective"]
            for each in report["points"]
        }
    assert len(found["solo"]) == 3
    assert found["solo"] == pytest.approx(found["fused"], abs=0.01)
    assert min(found["solo"].values()) > 0.8


def test_a_grid_without_the_package_trains_nothing(tmp_path):
    (tmp_path / "absent").mkdir()
    (tmp_path / "absent" / "prodigyopt.py").write_text("raise ImportError('not here')\n")
    path = os.pathsep.join([str(tmp_path / "absent"), os.environ.get("PYTHONPATH", "")])
    done = grid(tmp_path, "--engine", "fused", PYTHONPATH=path)
    assert done.returncode == 2
    assert "the optimizer prodigy: the package prodigyopt" in done.stderr
    assert "pip install 'lrsearch[optimizers]'" in done.stderr
    journal = tmp_path / "runs" / "average" / "journal.jsonl"
    assert not journal.exists() or '"started"' not in journal.read_text()
