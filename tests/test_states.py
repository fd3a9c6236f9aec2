"""Saved states: a training goes on from one to the same numbers, bit by bit, or begins again."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import random
from dataclasses import replace

import numpy as np
import pytest
import test_train
import torch
from test_averaging import SCHEDULE_FREE_SGD
from test_fused import PRODIGY, SCHEDULE_FREE, TEXT, as_fused, assert_same
from test_train import ADAMW, CNN, MLP, cohort, config, net

from lrsearch import catalogue, pulse, states
from lrsearch.states import Unusable
from lrsearch.train import saving
from lrsearch.train.cohort import run_cohort
from lrsearch.trial import Ended, Measured, Noted, Objective, Outcome, Saved, Started

place = test_train.place

NORMED = MLP | {"batch_norm": True, "dropout": 0.3}
PLATEAU = {
    "name": "plateau", "metric": "loss", "factor": 0.5, "patience": "1ep", "threshold": 0.5,
    "relative": True, "cooldown": "0ep", "least": 0.0, "rises": False, "most": None,
}  # fmt: skip


def optimizer(name, **given):
    defaults = {key: each.default for key, each in catalogue.OPTIMIZERS[name].parameters.items()}
    return {"name": name, **defaults, **given}


def plateau():
    known = catalogue.SCHEDULES["plateau"].parameters
    return {"name": "plateau", **{key: each.default for key, each in known.items()},
            "metric": "loss", "patience": "1ep", "threshold": 0.5}  # fmt: skip


@pytest.fixture(autouse=True)
def often(monkeypatch):
    """States cost these small trainings more than they may."""
    monkeypatch.setattr(saving, "SHARE", 0)


def go(job):
    """What a job says: all its events, and the ends of its trials by number."""
    events = list(job)
    return events, {each.trial: each for each in events if isinstance(each, Ended)}


def stop(job, beats, monkeypatch):
    """What a job says that is asked to leave at one of its beats; None where it ends before."""
    seen = itertools.count(1)
    monkeypatch.setattr(pulse, "INTERVAL", 0.0)
    pulse.listen(lambda _: pulse.ask() if next(seen) == beats else None)
    events = []
    try:
        for event in job:
            events.append(event)
    except pulse.Leave:
        return events
    finally:
        pulse.stay()
        pulse.listen(None)
    return None


def write(tmp_path, event):
    path = tmp_path / f"{event.trial}-{event.step}.state"
    path.write_bytes(event.content)
    return str(path)


def shown(end):
    """An end without the seconds that it took."""
    return replace(end, result=replace(end.result, seconds=0.0))


def assert_goes_on(given, tmp_path, monkeypatch, points=(2, 9, 31), least=2):
    """From each state that the cohort hands over, and from where it is stopped, its trials come to
    the ends that they come to undisturbed."""
    _, expected = go(run_cohort(given))
    assert all(each.result.outcome is Outcome.COMPLETED for each in expected.values()), expected
    events, ends = go(run_cohort(replace(given, save=0.0)))
    for number, end in expected.items():
        assert_same(ends[number], end)
    handed = [each for each in events if isinstance(each, Saved)]
    assert not [each for each in events if isinstance(each, Noted)]
    assert len(handed) >= least
    stopped = []
    for beats in points:
        left = stop(run_cohort(replace(given, save=3600.0)), beats, monkeypatch)
        if left is not None:
            assert not [each for each in left if isinstance(each, Noted)], left
            over = {each.trial for each in left if isinstance(each, Ended)}
            stopped += [each for each in left if isinstance(each, Saved) and each.trial not in over]
    assert stopped
    chosen = random.Random(0).sample(handed, min(3, len(handed))) + stopped
    for event in chosen:
        left = replace(
            given,
            trials=tuple(each for each in given.trials if each.number == event.trial),
            states={event.trial: write(tmp_path, event)},
            save=3600.0,
        )
        events, ends = go(run_cohort(left))
        first = next(each for each in events if not isinstance(each, Started))
        assert isinstance(first, Measured) and first.measurement.step == event.step, first
        assert_same(ends[event.trial], expected[event.trial])


BUILT_IN = {
    "mlp": config(),
    "dropout and batch norm": config(NORMED, clip_norm=1.0, label_smoothing=0.1),
    "plateau": config(NORMED, schedule=plateau(), lr=0.2),
    "warmup and decay": config(
        warmup={"for": "1ep", "shape": "linear", "start": 0.0}, layer_decay=0.9
    ),
    "augmented": config(
        CNN,
        {
            "name": "digits",
            "transforms": [{"name": "random_crop", "padding": 1}, {"name": "mixup", "alpha": 0.4}],
        },
    ),  # fmt: skip
    "bfloat16": config(precision="bfloat16"),
    "regression": config(source="diabetes", lr=0.01, budget="10ep"),
}


@pytest.mark.parametrize("engine", ["solo", "fused"])
@pytest.mark.parametrize("name", BUILT_IN)
def test_a_training_goes_on_bit_by_bit(name, engine, tmp_path, monkeypatch):
    own = BUILT_IN[name]
    other = {**own, "train": {**own["train"], "lr": own["train"]["lr"] / 2}}
    metric = Objective("rmse", "min") if name == "regression" else Objective("accuracy", "max")
    given = cohort(own, other, objective=metric, seeds=[3, 4])
    if engine == "fused":
        given = as_fused(given, 2)
    assert_goes_on(given, tmp_path, monkeypatch)


@pytest.mark.parametrize("engine", ["solo", "fused"])
@pytest.mark.parametrize("name", catalogue.OPTIMIZERS)
def test_optimizers_go_on_bit_by_bit(name, engine, tmp_path, monkeypatch):
    known = {"schedule_free_adamw": SCHEDULE_FREE, "schedule_free_sgd": SCHEDULE_FREE_SGD}
    given = known.get(name, PRODIGY if name == "prodigy" else optimizer(name))
    if "weight_decay" in given:
        given = {**given, "weight_decay": 0.01}
    rate = {"prodigy": 1.0, "adadelta": 1.0, "schedule_free_sgd": 0.5}.get(name, 0.01)
    # The lowest rates of these are for few steps, and the model has a rank of one, two and four.
    own = config(CNN | {"batch_norm": True}, optimizer=given, lr=rate, budget="2ep")
    own["train"]["evaluate"] = "10ba"
    trials = cohort(own, own, seeds=[3, 4])
    if engine == "fused":
        trials = as_fused(trials, 2)
    assert_goes_on(trials, tmp_path, monkeypatch, points=(13,))


@pytest.mark.parametrize("engine", ["solo", "fused"])
def test_the_best_weights_go_on(engine, tmp_path, monkeypatch):
    """The best evaluation lies before the state that is gone on from, or behind it."""
    own = config(NORMED, lr=0.5, schedule={"name": "constant"}, budget="6ep")
    given = cohort(own, own, objective=Objective("loss", "min", "best"), seeds=[0, 1])
    if engine == "fused":
        given = as_fused(given, 2)
    assert_goes_on(given, tmp_path, monkeypatch, points=(5, 120))


@pytest.mark.parametrize("engine", ["solo", "fused"])
def test_text_goes_on(engine, tmp_path, monkeypatch):
    model = {
        "name": "char_transformer", "layers": 1, "heads": 2, "width": 16, "dropout": 0.1,
        "tied": True, "bias": False,
    }  # fmt: skip
    own = config(model, TEXT, budget="60ba", evaluate="20ba", optimizer=ADAMW, lr=0.01)
    given = cohort(own, own, objective=Objective("loss", "min"), seeds=[0, 1])
    if engine == "fused":
        given = as_fused(given, 2)
    assert_goes_on(given, tmp_path, monkeypatch, points=(7, 50))
