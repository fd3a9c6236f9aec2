"""What is recorded of single steps: right in both engines, at the same steps, and without a trace
in what is trained."""

import contextlib
import math
from dataclasses import replace

import numpy as np
import pytest
import test_train
import torch
from devices import DEVICE, DRIFT, assert_same, assert_same_numbers, exact
from hypothesis import given
from hypothesis import strategies as st
from test_fused import (
    CHARS,
    NORMED_CNN,
    PRODIGY,
    SCHEDULE_FREE,
    TEXT,
    as_fused,
    collect,
    run_fused,
)
from test_states import STREAMED, optimizer, plateau, streamed
from test_train import ADAMW, CNN, MLP, NETS, cohort, config, net, placed_data, run

from lrsearch.train import recording
from lrsearch.train.batches.batch import take
from lrsearch.train.engines import sharing, solo, training
from lrsearch.train.engines.cohort import run_cohort
from lrsearch.train.engines.start import build
from lrsearch.train.engines.timetable import (
    APART,
    MOST_RECORDS,
    evaluation_steps,
    learning_rates,
    recorded_steps,
)
from lrsearch.train.lanes import program
from lrsearch.train.optimizers.registry import STACKED
from lrsearch.train.randomness import batches, seed_everything, trial_seeds
from lrsearch.trial import Ended, Measured, Objective, Outcome, Reached, Records, Verdict

place = test_train.place

NUMBERS = ("loss", "gradient_norm", "update_ratio", "lr")


def columns(records):
    return {name: getattr(records, name) for name in NUMBERS}


def assert_close(found, expected, rel=1e-4):
    rel = rel if exact() else DRIFT
    assert found.step == expected.step and found.step
    for name, values in columns(expected).items():
        assert getattr(found, name) == pytest.approx(values, rel=rel, abs=1e-7), name


@given(st.integers(1, 10**7))
def test_recorded_steps_are_spread_evenly_and_far_apart(budget):
    steps = recorded_steps(budget)
    assert (steps[0], steps[-1]) == (1, budget) and len(steps) <= MOST_RECORDS
    gaps = np.diff(steps)
    if budget > APART:
        assert gaps.min() >= APART and gaps.max() - gaps.min() <= 1
        assert len(steps) == MOST_RECORDS or gaps.min() < 2 * APART
    else:
        assert steps == (1, budget)[: min(budget, 2)]


# The numbers


def by_hand(own):
    """The records of a training on the first seed, by PyTorch alone, at every step."""
    trial = cohort(own).trials[0]
    train, data = own["train"], placed_data(own)
    model = build(trial, data, test_train.Workplace(str(DEVICE)))
    seed_everything(trial_seeds(0).noise)
    model.train()
    kind = {"sgd": torch.optim.SGD, "adamw": torch.optim.AdamW}[train["optimizer"]["name"]]
    given = {key: each for key, each in train["optimizer"].items() if key != "name"}
    if "beta1" in given:
        given["betas"] = given.pop("beta1"), given.pop("beta2")
    stepper = kind(model.parameters(), lr=1.0, **given)
    flat = torch.nn.utils.parameters_to_vector
    rates = learning_rates(train, data.samples)
    order = batches(data.samples, train["batch_size"], trial_seeds(0).order, DEVICE)
    rows = []
    for step in range(evaluation_steps(train, data.samples)[-1]):
        batch = take(data.train, next(order))
        loss = torch.nn.functional.cross_entropy(
            model(batch.x), batch.y, label_smoothing=train["label_smoothing"]
        )
        stepper.zero_grad()
        loss.backward()
        gradients = torch.cat([each.grad.flatten() for each in model.parameters()]).double()
        if train["clip_norm"] is not None:
            torch.nn.utils.clip_grad_norm_(model.parameters(), train["clip_norm"])
        before = flat(model.parameters()).detach().double()
        stepper.param_groups[0]["lr"] = float(rates[step])
        stepper.step()
        after = flat(model.parameters()).detach().double()
        ratio = (after - before).square().mean().sqrt() / before.square().mean().sqrt()
        rows.append((loss.item(), gradients.norm().item(), ratio.item(), float(rates[step])))
    return rows


BY_HAND = {
    "sgd": config(budget="34ba"),
    "clipped": config(budget="34ba", clip_norm=0.5, label_smoothing=0.1),
    "adamw": config(CNN, budget="34ba", optimizer=ADAMW, lr=1e-3),
    "wide": config(MLP | {"hidden": [1100, 70]}, budget="18ba"),
}


@pytest.mark.parametrize("engine", ["solo", "fused"])
@pytest.mark.parametrize("name", BY_HAND)
def test_records_are_what_they_are_by_hand(name, engine):
    own = BY_HAND[name]
    end = run(own) if engine == "solo" else run_fused([own, own], 2)[0]
    assert end.result.engine == engine
    rows = by_hand(own)
    steps = recorded_steps(len(rows))
    lists = zip(*(rows[step - 1] for step in steps), strict=True)
    assert_close(end.records, Records(steps, *map(tuple, lists)))
    assert math.isfinite(end.records.start) and end.records.baseline == pytest.approx(math.log(10))


@pytest.mark.parametrize("name", STACKED)
def test_both_engines_record_the_same_of_every_optimizer(name):
    """The last of a step's three in lanes is seen after the update: no optimizer works in the
    memory of the gradients."""
    own = config(budget="3ba", optimizer=optimizer(name), lr=1e-2, schedule={"name": "constant"})
    for train in ({}, {"clip_norm": 0.01}):
        given = {**own, "train": {**own["train"], **train}}
        pair = [given, {**given, "train": {**given["train"], "lr": 1e-3}}]
        assert_close(run_fused(pair, 2)[0].records, run(given).records, rel=1e-3)


# Nothing is changed by it


CASES = {
    "dropout": config(MLP | {"dropout": 0.3}, clip_norm=0.3, label_smoothing=0.1),
    "augmented": config(
        NORMED_CNN,
        {
            "name": "digits",
            "transforms": [{"name": "random_crop", "padding": 1}, {"name": "mixup", "alpha": 0.4}],
        },
    ),
    "plateau": config(schedule=plateau(), lr=0.3),
    "averaged": config(
        MLP | {"batch_norm": True}, optimizer=SCHEDULE_FREE, lr=0.01, schedule={"name": "constant"}
    ),
    "prodigy": config(optimizer=PRODIGY, lr=1.0),
    "bfloat16": config(precision="bfloat16"),
    "text": config(CHARS | {"dropout": 0.1}, source=TEXT, budget="20ba", evaluate="10ba"),
}


def short(own):
    length = {"budget": "2ep", "batch_size": 128} if own["train"]["budget"] == "4ep" else {}
    return {**own, "train": {**own["train"], **length}}


@pytest.fixture
def every(monkeypatch):
    """Set how many steps of a budget are recorded."""

    def to(choose):
        monkeypatch.setattr(sharing, "recorded_steps", choose)

    return to


def every_step(budget):
    return range(1, budget + 1)


@pytest.mark.parametrize("engine", ["solo", "fused"])
@pytest.mark.parametrize("name", CASES)
def test_a_recorded_training_is_one_that_is_not(name, engine, every):
    own = short(CASES[name])
    given = cohort(own, own, seeds=[0, 1])
    given = as_fused(given, 2) if engine == "fused" else given
    ends = []
    for steps in ((lambda _: ()), every_step, recorded_steps):
        every(steps)
        ends.append(collect(run_cohort(given))[1])
    for number, end in ends[0].items():
        assert end.result.engine == engine and end.result.outcome is Outcome.COMPLETED, end
        assert end.records.step == ()
        assert_same_numbers(end.records.start, ends[1][number].records.start)
        assert ends[1][number].records.step == tuple(range(1, end.result.steps + 1))
        for other in ends[1:]:
            assert_same(replace(other[number], records=end.records), end)
        some, all_of_them = ends[2][number].records, ends[1][number].records
        assert some.step == recorded_steps(end.result.steps)
        if exact():
            for name, values in columns(all_of_them).items():
                assert getattr(some, name) == tuple(values[step - 1] for step in some.step)


def test_streamed_data_are_recorded(place):
    where = replace(place(streams=STREAMED), allowed=("streams",))
    own = streamed("load", "plain")
    alone, beside = run(own, place=where), run_fused([own, own], 2, place=where)[0]
    assert alone.records.step == recorded_steps(alone.result.steps)
    assert_close(beside.records, alone.records, rel=1e-2)


# Models and optimizers that are unlike others


ODD = """
    import torch
    from torch import nn


    class Odd(nn.Module):
        def __init__(self, in_features, num_classes, kind):
            super().__init__()
            self.kind = kind
            self.head = nn.Linear(in_features, num_classes)
            self.other = None
            if kind == "unused":
                self.other = nn.Linear(3, 3)
            if kind == "sparse":
                self.other = nn.Embedding(17, num_classes, sparse=True)
            if kind == "complex":
                self.other = nn.Parameter(torch.full((num_classes,), 1 + 2j))
            if kind == "low":
                self.other = nn.Parameter(torch.ones(num_classes, dtype=torch.bfloat16))
            if kind == "tied":
                self.first = nn.Linear(in_features, in_features)
                self.second = nn.Linear(in_features, in_features)
                self.second.weight = self.first.weight
            if kind == "zeros":
                nn.init.zeros_(self.head.weight)
                nn.init.zeros_(self.head.bias)

        def forward(self, x):
            x = x.flatten(1)
            if self.kind == "sparse":
                return self.head(x) + self.other(x.sum(1).long() % 17)
            if self.kind == "complex":
                return self.head(x) * self.other.abs()
            if self.kind == "low":
                return self.head(x) * self.other.float()
            if self.kind == "tied":
                x = self.second(self.first(x).tanh())
            return self.head(x)


    class Twice(torch.optim.SGD):
        def step(self, closure):
            loss = closure()
            with torch.no_grad():
                for each in self.param_groups[0]["params"]:
                    each.add_(100.0)
            closure()
            with torch.no_grad():
                for each in self.param_groups[0]["params"]:
                    each.sub_(100.0)
            super().step()
            return loss
"""


def entries(tensor):
    """The numbers in a tensor, in float64; a complex one's as two."""
    tensor = tensor.detach()
    tensor = tensor.coalesce().values() if tensor.is_sparse else tensor
    return (torch.view_as_real(tensor) if tensor.is_complex() else tensor).double().flatten()


@pytest.fixture
def watched(monkeypatch):
    """The norms of gradients and of weights at each step of a training, seen beside it."""
    seen = []

    class Watched(training.Training):
        def compute_gradients(self, batch):
            clip, self.clip = self.clip, None
            loss = super().compute_gradients(batch)
            self.clip = clip
            own = [entries(each.grad) for each in self.parameters if each.grad is not None]
            weights = torch.cat([entries(each) for each in self.parameters])
            seen.append((torch.cat(own).norm().item(), weights, loss.item()))
            return loss

    monkeypatch.setattr(solo, "Training", Watched)
    return seen


@pytest.mark.parametrize("kind", ["unused", "sparse", "complex", "low", "tied", "zeros"])
def test_odd_parameters_are_recorded(kind, place, watched, every):
    every(every_step)
    where = place(nets=ODD)
    plain = net("torch.optim.SGD") if kind in ("sparse", "complex", "low") else None
    more = {"optimizer": plain} if plain else {}
    own = config(net("nets.Odd", kind=kind), budget="4ba", **more)
    end = run(own, place=where)
    assert end.result.outcome is Outcome.COMPLETED, end.result
    norms, weights, losses = zip(*watched, strict=True)
    assert end.records.gradient_norm == pytest.approx(norms, rel=1e-2 if kind == "low" else 1e-5)
    assert end.records.loss == pytest.approx(losses)
    for step in range(3):
        change = (weights[step + 1] - weights[step]).norm()
        if kind == "zeros" and not step:
            assert math.isnan(end.records.update_ratio[0])
        else:
            expected = (change / weights[step].norm()).item()
            assert end.records.update_ratio[step] == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("name", ["torch.optim.LBFGS", "nets.Twice"])
def test_an_optimizer_that_looks_again_is_recorded_where_it_began(name, place, watched, every):
    every(every_step)
    own = config(MLP | {"activation": "tanh"}, budget="3ba", optimizer=net(name), clip_norm=0.1)
    end = run(own, place=place(nets=ODD))
    assert end.result.outcome is Outcome.COMPLETED, end.result
    looks = len(watched) // 3
    assert looks > 1
    first = watched[0]
    assert end.records.gradient_norm[0] == pytest.approx(first[0], rel=1e-5)
    assert end.records.loss[0] == pytest.approx(first[2])
    assert 0 < end.records.update_ratio[0] < 1


def test_a_step_of_the_user_s_own_is_recorded(place):
    code = """
        import torch

        def loss(model, batch):
            x, _ = batch
            return torch.nn.functional.mse_loss(model(x), x.flatten(1))
    """
    where = place(nets=code, package=NETS)
    model = net("package.Net", num_classes=64)
    own = config(model, {"name": "digits"}, loss=None, step=net("nets.loss"), budget="18ba")
    own["data"] |= {"task": "own"}
    end = run(own, place=where, objective=Objective("loss", "min"))
    assert end.result.outcome is Outcome.COMPLETED, end.result
    assert end.records.step == (1, 18) and all(
        math.isfinite(value) for values in columns(end.records).values() for value in values
    )


@pytest.mark.parametrize("engine", ["solo", "fused"])
def test_without_room_for_a_copy_the_rest_is_recorded(engine, monkeypatch):
    own = config(budget="18ba")
    expected = run_fused([own, own], 2)[0] if engine == "fused" else run(own)
    for module in (training, program):
        monkeypatch.setattr(module, "room_for_copies", lambda _: False)
    end = run_fused([own, own], 2)[0] if engine == "fused" else run(own)
    assert all(map(math.isnan, end.records.update_ratio)) and len(end.records.step) == 2
    kept = replace(expected.records, update_ratio=end.records.update_ratio)
    assert_same(end, replace(expected, records=kept))


@pytest.mark.parametrize("where", ["Weights", "norm_of"])
def test_what_cannot_be_recorded_ends_no_training(where, monkeypatch):
    own = config(budget="18ba")
    expected = run(own)

    def fail(*_, **__):
        raise RuntimeError("a kernel is missing")

    monkeypatch.setattr(training, where, fail)
    end = run(own)
    assert_same(replace(end, records=expected.records), expected)
    assert_same_numbers(end.records.loss, expected.records.loss)
    assert all(map(math.isnan, end.records.gradient_norm + end.records.update_ratio))


def test_room_is_asked_of_the_whole_of_the_weights(monkeypatch):
    asked = []
    monkeypatch.setattr(recording, "has_room", lambda _, size: bool(asked.append(size)))
    weights = [torch.zeros(3, 5), torch.zeros(7, dtype=torch.float64)]
    assert not recording.room_for_copies(weights) and asked == [recording.ROOM * (60 + 56)]
    assert not recording.room_for_copies([])


# Whatever becomes of the training


@pytest.mark.parametrize("engine", ["solo", "fused"])
def test_evaluations_tell_of_what_is_new_and_the_end_of_all(engine):
    own = config(budget="100ba", evaluate="30ba")
    given = cohort(own, own, seeds=[0, 1])
    events, ends = collect(run_cohort(as_fused(given, 2) if engine == "fused" else given))
    for number, end in ends.items():
        told = [each for each in events if isinstance(each, Measured) and each.trial == number]
        for column, values in {"step": end.records.step, **columns(end.records)}.items():
            parts = [getattr(each.records, column) for each in told]
            assert sum(parts, ()) == values
        ranges = [(each.measurement.step - 30, each.measurement.step) for each in told]
        for each, (before, now) in zip(told, ranges, strict=True):
            assert each.records.step and all(before < step <= now for step in each.records.step)
            assert (each.records.start, each.records.baseline) == (
                end.records.start, end.records.baseline,
            )  # fmt: skip


@pytest.mark.parametrize("engine", ["solo", "fused"])
def test_who_is_stopped_between_evaluations_has_the_records_until_then(engine):
    """Nothing of it was told by an evaluation yet."""
    own = config(budget="100ba", evaluate="100ba")
    given = cohort(own, own, rungs=(40,))
    job = run_cohort(as_fused(given, 2) if engine == "fused" else given)
    ends, replies = [], None
    with contextlib.suppress(StopIteration):
        while True:
            event = job.send(replies)
            ends += [event] if isinstance(event, Ended) else []
            reached = [event] if isinstance(event, Reached) else []
            replies = [(each.trial, Verdict.STOP) for each in reached]
    whole = run(own) if engine == "solo" else run_fused([own, own], 2)[0]
    for end in ends:
        assert end.result.outcome is Outcome.PRUNED and end.result.steps == 40
        count = sum(step <= 40 for step in recorded_steps(100))
        assert count == 2
        for name, values in columns(whole.records).items():
            assert_same_numbers(getattr(end.records, name), values[:count])
    assert len(ends) == 2


def test_a_training_that_fails_has_the_records_until_then(place):
    code = """
        from torch import nn

        class Net(nn.Linear):
            calls = 0

            def __init__(self, in_features, num_classes):
                super().__init__(in_features, num_classes)

            def forward(self, x):
                self.calls += self.training
                if self.calls > 21:
                    raise ValueError("no more")
                return super().forward(x.flatten(1))
    """
    end = run(config(net("nets.Net"), budget="41ba", evaluate="41ba"), place=place(nets=code))
    assert end.result.outcome is Outcome.FAILED and "no more" in end.result.reason
    assert end.records.step == recorded_steps(41)[:2] == (1, 21) and all(
        map(math.isfinite, end.records.gradient_norm)
    )
    assert end.curve == {}


@pytest.mark.parametrize("engine", ["solo", "fused"])
def test_a_training_that_diverges_is_recorded_to_its_end(engine):
    own = config(budget="40ba", evaluate="40ba", lr=1e20)
    end = run(own) if engine == "solo" else run_fused([own, own], 2)[0]
    assert end.result.outcome is Outcome.DIVERGED
    assert end.records.step == recorded_steps(40)
    assert math.isfinite(end.records.loss[0]) and not math.isfinite(end.records.loss[-1])
