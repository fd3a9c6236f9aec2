"""Saved states: a training goes on from one to the same numbers, bit by bit, or begins again."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from dataclasses import replace
from pathlib import Path

import pytest
import test_train
import torch
from devices import DEVICE, assert_same_numbers
from driving import Fork
from forking import Before
from test_averaging import SCHEDULE_FREE_SGD
from test_fused import PRODIGY, SCHEDULE_FREE, TEXT, as_fused, assert_same
from test_train import ADAMW, CNN, MLP, cohort, config, net
from typer.testing import CliRunner

from lrsearch import catalogue, pulse, states
from lrsearch.cli import app, interruptible
from lrsearch.errors import SpecError
from lrsearch.spec import read_spec
from lrsearch.states import Unusable
from lrsearch.store import read, saved_states
from lrsearch.train.engines import fused, saving
from lrsearch.train.engines.cohort import run_cohort
from lrsearch.train.users.memory import Unseen
from lrsearch.trial import (
    Ended,
    Measured,
    Noted,
    Objective,
    Outcome,
    Planned,
    Records,
    Saved,
    Started,
)
from lrsearch.tuner import events

place = test_train.place

NORMED = MLP | {"batch_norm": True, "dropout": 0.3}


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
    """From a state or two that the cohort hands over, and from where it is stopped, a trial comes
    to the end that it comes to undisturbed."""
    _, expected = go(run_cohort(given))
    assert all(each.result.outcome is Outcome.COMPLETED for each in expected.values()), expected
    events, ends = go(run_cohort(replace(given, save=0.0)))
    for number, end in expected.items():
        assert_same(ends[number], end)
    handed = [each for each in events if isinstance(each, Saved)]
    assert not [each for each in events if isinstance(each, Noted)]
    assert len(handed) >= least
    stopped = []
    for number, beats in enumerate(points):
        left = stop(run_cohort(replace(given, save=3600.0)), beats, monkeypatch)
        if left is not None:
            assert not [each for each in left if isinstance(each, Noted)], left
            over = {each.trial for each in left if isinstance(each, Ended)}
            found = [each for each in left if isinstance(each, Saved) and each.trial not in over]
            stopped += found[number % len(found) :][:1] if found else []
    assert stopped
    chosen = random.Random(0).sample(handed, min(2, len(points), len(handed))) + stopped
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


SHORT = {"budget": "2ep", "evaluate": "0.5ep"}
BUILT_IN = {
    "mlp": config(**SHORT),
    "dropout and batch norm": config(NORMED, clip_norm=1.0, label_smoothing=0.1, **SHORT),
    "plateau": config(NORMED, schedule=plateau(), lr=0.2, **SHORT),
    "warmup and decay": config(
        warmup={"for": "1ep", "shape": "linear", "start": 0.0}, layer_decay=0.9, **SHORT
    ),
    "augmented": config(
        CNN,
        {
            "name": "digits",
            "transforms": [{"name": "random_crop", "padding": 1}, {"name": "mixup", "alpha": 0.4}],
        },
        budget="2ep",
    ),
    "bfloat16": config(precision="bfloat16", **SHORT),
    "regression": config(source="diabetes", lr=0.01, budget="6ep"),
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


def test_lanes_draw_again_in_an_evaluation_that_was_left(place, tmp_path, monkeypatch):
    """They are evaluated one after the other: the first of them has drawn by then."""
    code = """
        import torch
        from torch import nn

        class Draws(nn.Linear):
            def forward(self, x):
                out = super().forward(x.flatten(1))
                return out if self.training else out + 0.1 * torch.randn_like(out)

        def make(in_features, num_classes):
            return Draws(in_features, num_classes)
    """
    own = config(net("nets.make"), budget="4ba", evaluate="2ba")
    given = as_fused(cohort(own, own, place=place(nets=code), seeds=[0, 1]), 2)
    _, expected = go(run_cohort(given))
    found = []
    for beats in range(6, 11):
        left = stop(run_cohort(replace(given, save=3600.0)), beats, monkeypatch)
        (event,) = [each for each in left if isinstance(each, Saved) and each.trial == 0]
        found += [(event.step, any(isinstance(each, Measured) for each in left))]
        again = replace(given, trials=given.trials[:1], states={0: write(tmp_path, event)})
        assert_same(go(run_cohort(again))[1][0], expected[0])
    assert found.count((2, False)) > 1  # Between its steps and what is measured of them.


@pytest.mark.parametrize("engine", ["solo", "fused"])
@pytest.mark.parametrize("name", catalogue.OPTIMIZERS)
def test_optimizers_go_on_bit_by_bit(name, engine, tmp_path, monkeypatch):
    known = {"schedule_free_adamw": SCHEDULE_FREE, "schedule_free_sgd": SCHEDULE_FREE_SGD}
    given = known.get(name, PRODIGY if name == "prodigy" else optimizer(name))
    if "weight_decay" in given:
        given = {**given, "weight_decay": 0.01}
    rate = {"prodigy": 1.0, "adadelta": 1.0, "schedule_free_sgd": 0.5}.get(name, 0.01)
    # The lowest rates of these are for few steps, and the model has a rank of one, two and four.
    model = CNN | {"channels": [4], "batch_norm": True}
    own = config(model, optimizer=given, lr=rate, budget="16ba", evaluate="6ba")
    trials = cohort(own, own, seeds=[3, 4])
    if engine == "fused":
        trials = as_fused(trials, 2)
    assert_goes_on(trials, tmp_path, monkeypatch, points=(9,))


@pytest.mark.parametrize("engine", ["solo", "fused", "one lane"])
def test_the_best_weights_go_on(engine, tmp_path, monkeypatch):
    """The best evaluation lies before the state that is gone on from, or behind it."""
    own = config(NORMED, lr=0.5, schedule={"name": "constant"}, budget="6ep", batch_size=128)
    given = cohort(own, own, objective=Objective("loss", "min", "best"), seeds=[0, 1])
    if engine == "one lane":  # As on a device with graphs.
        monkeypatch.setattr(fused, "fewest_lanes", lambda device: 1)
    if engine != "solo":
        given = as_fused(given, 2 if engine == "fused" else 1)
    assert_goes_on(given, tmp_path, monkeypatch, points=(5, 60))


@pytest.mark.parametrize("engine", ["solo", "fused"])
def test_text_goes_on(engine, tmp_path, monkeypatch):
    model = {
        "name": "char_transformer", "layers": 1, "heads": 2, "width": 16, "dropout": 0.1,
        "tied": True, "bias": False,
    }  # fmt: skip
    # Few samples to evaluate on: what is compared is how it goes on.
    text, few = {**TEXT, "samples": 600}, {"batch_size": 32}
    own = config(model, text, budget="30ba", evaluate="10ba", optimizer=ADAMW, lr=0.01, **few)
    given = cohort(own, own, objective=Objective("loss", "min"), seeds=[0, 1])
    if engine == "fused":
        given = as_fused(given, 2)
    assert_goes_on(given, tmp_path, monkeypatch, points=(7, 25))


# Code of the user's, which may remember

ODD = """
    import itertools
    import random

    import numpy as np
    import torch
    from torch import nn

    SEEN = []

    class Net(nn.Module):
        def __init__(self, in_features, num_classes, kind):
            super().__init__()
            self.kind, self.calls, self.history = kind, 0, []
            self.head = nn.Linear(in_features, num_classes)
            self.register_buffer("mean", torch.zeros(in_features))
            self.register_buffer("late", None, persistent=False)
            self.plain = torch.ones(1)
            self.rng = np.random.default_rng(3)
            self.drawn = torch.Generator().manual_seed(5)
            self.helper = Helper()
            self.ticks = itertools.count()
            if kind == "closure":
                seen = [0]
                def scale():
                    seen[0] += 1
                    return 1.0 + 0.01 * seen[0]
                self.scale = scale
            if kind == "hook":
                calls = itertools.count(1)
                self.head.weight.register_hook(lambda each: each / next(calls))

        def forward(self, x):
            x = x.flatten(1)
            if not self.training:
                return self.head(x - self.mean)
            self.calls += 1
            factor = 1.0
            if self.kind == "counter":
                factor = 1.0 + 0.01 * (self.calls % 7)
            elif self.kind == "list":
                self.history.append(float(x.mean()))
                factor = 1.0 + np.mean(self.history[-3:])
            elif self.kind == "buffer":
                self.mean = 0.9 * self.mean + 0.1 * x.mean(0)
                self.late = x.mean(0) if self.late is None else 0.5 * (self.late + x.mean(0))
                x = x - self.mean - self.late
            elif self.kind == "tensor":
                self.plain = self.plain * 0.99
                factor = self.plain
            elif self.kind == "numpy":
                factor = 1.0 + 0.1 * self.rng.standard_normal()
            elif self.kind == "generator":
                factor = 1.0 + 0.1 * torch.rand(1, generator=self.drawn)
            elif self.kind == "python":
                factor = 1.0 + 0.1 * random.random() + 0.1 * np.random.rand()
            elif self.kind == "inner":
                self.helper.value += 0.01
                factor = 1.0 + self.helper.value
            elif self.kind == "global":
                SEEN.append(1)
                factor = 1.0 + 0.01 * len(SEEN)
            elif self.kind == "class":
                Net.total = getattr(Net, "total", 0) + 1
                factor = 1.0 + 0.01 * Net.total
            elif self.kind == "count":
                factor = 1.0 + 0.01 * next(self.ticks)
            elif self.kind == "closure":
                factor = self.scale()
            elif self.kind == "replaced":
                self.helper = Helper(self.helper.value + 0.01)
                factor = 1.0 + self.helper.value
            return self.head(x * factor)

    class Helper:
        def __init__(self, value=0.0):
            self.value = value

    class Flat(nn.Module):
        '''Its weights lie in one piece of memory, as cuDNN wants those of recurrent layers.'''

        def __init__(self, in_features, num_classes):
            super().__init__()
            size = in_features * num_classes
            piece = 0.1 * torch.randn(size + num_classes)
            self.weight = nn.Parameter(piece[:size].view(num_classes, in_features))
            self.bias = nn.Parameter(piece[size:])

        def forward(self, x):
            return nn.functional.linear(x.flatten(1), self.weight, self.bias)

    class Iterating(Net):
        def __init__(self, in_features, num_classes):
            super().__init__(in_features, num_classes, "none")
            self.rates = iter([1.0, 2.0] * 1000)

        def forward(self, x):
            return super().forward(x) * (next(self.rates) if self.training else 1.0)

    class Shy:
        def __getattr__(self, name):
            raise RuntimeError("leave me alone")

        @property
        def __class__(self):
            raise RuntimeError("nobody's")

    class Hiding(Net):
        def __init__(self, in_features, num_classes):
            super().__init__(in_features, num_classes, "none")
            self.shy = [Shy()]

    class Loss(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("scale", torch.ones(()))
            self.steps = 0

        def forward(self, outputs, targets):
            if self.training:
                self.steps += 1
                self.scale.mul_(0.999)
            return nn.functional.cross_entropy(outputs * self.scale, targets) * (
                1.0 + 0.01 * (self.steps % 5)
            )

    class Shift:
        def __init__(self):
            self.steps = 0

        def __call__(self, x):
            self.steps += 1
            return x + 0.01 * (self.steps % 3)

    class Clever(torch.optim.Optimizer):
        def __init__(self, params, lr, odd=False):
            super().__init__(params, {"lr": lr})
            self.made, self.odd, self.norms = 0, odd, []

        @torch.no_grad()
        def step(self, closure=None):
            self.made += 1
            for group in self.param_groups:
                group["seen"] = group.get("seen", 0) + 1
                for each in group["params"]:
                    state = self.state[each]
                    if not state:
                        state["last"] = (torch.zeros_like(each), {"steps": 0})
                    last, numbers = state["last"]
                    numbers["steps"] += 1
                    last.mul_(0.9).add_(each.grad)
                    each.add_(last, alpha=-group["lr"] / (1 + 0.01 * self.made))
                    if self.odd:
                        state["fun"] = lambda: 1
            self.norms.append(self.made)
"""

REMEMBERED = ("counter", "list", "buffer", "tensor", "numpy", "generator", "python", "inner")
UNSEEN = {
    "global": "SEEN", "class": "total", "count": "ticks", "closure": "scale",
    "replaced": "helper", "hook": "what hooks of head.weight hold",
}  # fmt: skip


def one(own, where, **more):
    return cohort(own, place=replace(where, allowed=("odd",)), seeds=[3], **more)


@pytest.mark.parametrize("kind", REMEMBERED)
def test_what_a_model_remembers_goes_on(kind, place, tmp_path, monkeypatch):
    where = place(odd=ODD)
    own = config(net("odd.Net", kind=kind), evaluate="10ba", budget="2ep")
    assert_goes_on(one(own, where), tmp_path, monkeypatch, points=(4, 17))


@pytest.mark.parametrize("kind", UNSEEN)
def test_what_cannot_be_put_back_is_not_saved(kind, place):
    where = place(odd=ODD)
    own = config(net("odd.Net", kind=kind), evaluate="10ba", budget="2ep")
    events, ends = go(run_cohort(one(own, where, save=0.0)))
    assert ends[0].result.outcome is Outcome.COMPLETED, ends[0].result.traceback
    told = [each.text for each in events if isinstance(each, Noted)]
    assert len(told) == 1 and UNSEEN[kind] in told[0], told
    assert not [each for each in events if isinstance(each, Saved)]


def test_weights_in_one_piece_of_memory_go_on(place, tmp_path, monkeypatch):
    where = place(odd=ODD)
    own = config(net("odd.Flat"), evaluate="10ba", budget="2ep", optimizer=ADAMW, lr=0.01)
    assert_goes_on(one(own, where), tmp_path, monkeypatch, points=(4,))


@pytest.mark.parametrize(
    ("parts", "apart"),
    [
        (lambda whole: (whole[:3], whole[3:]), True),
        (lambda whole: (whole[3:], whole[:3]), True),
        (lambda whole: (whole[3:5], whole[:0], whole[5:], whole[:3]), True),
        (lambda whole: (whole[:4], whole[3:]), False),
        (lambda whole: (whole[1:3], whole), False),
        (lambda whole: (whole, whole.view(-1)), False),
        (lambda whole: (whole[::2], whole[1::2]), False),  # Between each other: taken for both.
        (lambda whole: (whole[:2].expand(9, -1, -1), whole[2:]), True),
    ],
)
def test_what_reaches_into_another_s_memory_is_not_saved(parts, apart):
    encoder = saving.Encoder(torch.device(DEVICE))
    given = [each.detach() for each in parts(torch.arange(12.0, device=DEVICE).view(6, 2))]
    with contextlib.nullcontext() if apart else pytest.raises(Unseen, match="share memory"):
        encoder.encode(given)


def test_complex_numbers_of_all_types_are_saved():
    device, header = torch.device(DEVICE), states.Header("", "solo", "cpu", "", 0, 0)
    for dtype in (torch.complex64, torch.complex128):
        given = torch.tensor([[1 + 2j, 3], [4j, 5]], dtype=dtype, device=device).t()
        encoder = saving.Encoder(device)
        content = encoder.encode(given)
        (found,) = saving.decode(states.State(header, {"list": [content]}, encoder.pack()), device)
        assert found.dtype is dtype and found.stride() == given.stride()
        assert torch.equal(found, given)


def test_an_iterator_is_not_saved(place):
    where = place(odd=ODD)
    own = config(net("odd.Iterating"), evaluate="10ba", budget="2ep")
    events, ends = go(run_cohort(one(own, where, save=0.0)))
    assert ends[0].result.outcome is Outcome.COMPLETED, ends[0].result.traceback
    told = [each.text for each in events if isinstance(each, Noted)]
    assert len(told) == 1 and "rates" in told[0], told
    assert not [each for each in events if isinstance(each, Saved)]


def test_what_will_not_be_looked_at_trains(place):
    where = place(odd=ODD)
    own = config(net("odd.Hiding"), evaluate="10ba", budget="2ep")
    events, ends = go(run_cohort(one(own, where, save=0.0)))
    assert ends[0].result.outcome is Outcome.COMPLETED, ends[0].result.traceback
    assert len([each for each in events if isinstance(each, Noted)]) == 1
    assert not [each for each in events if isinstance(each, Saved)]


def test_losses_transforms_and_optimizers_of_the_user_s_go_on(place, tmp_path, monkeypatch):
    where = place(odd=ODD)
    path = {"class_path": "odd.Loss", "init_args": {}}
    shift = {"transforms": [{"class_path": "odd.Shift", "init_args": {}}]}
    for own in (
        config(NORMED, loss=path, evaluate="10ba", budget="2ep"),
        config(NORMED, {"name": "digits", **shift}, evaluate="10ba", budget="2ep"),
        config(
            NORMED, optimizer={"class_path": "odd.Clever", "init_args": {}},
            evaluate="10ba", budget="2ep", schedule=plateau(),
        ),
        config(
            MLP, optimizer={"class_path": "torch.optim.LBFGS", "init_args": {"max_iter": 3}},
            evaluate="10ba", budget="1ep", lr=0.1,
        ),
    ):  # fmt: skip
        assert_goes_on(one(own, where), tmp_path, monkeypatch, points=(4, 17))


def test_an_optimizer_s_odd_objects_are_not_saved(place):
    where = place(odd=ODD)
    given = {"class_path": "odd.Clever", "init_args": {"odd": True}}
    own = config(optimizer=given, evaluate="10ba", budget="2ep")
    events, ends = go(run_cohort(one(own, where, save=0.0)))
    assert ends[0].result.outcome is Outcome.COMPLETED, ends[0].result.traceback
    told = [each.text for each in events if isinstance(each, Noted)]
    assert len(told) == 1 and "function" in told[0], told


STREAMED = """
    import numpy as np
    import torch
    from sklearn.datasets import load_digits
    from torch.utils.data import DataLoader, Dataset

    class Digits(Dataset):
        def __init__(self, kind):
            x, y = (torch.tensor(each[:600]) for each in load_digits(return_X_y=True))
            self.x, self.y, self.kind = x.float() / 16, y, kind
            self.reads, self.cache = 0, {}

        def __len__(self):
            return len(self.x)

        def __getitem__(self, index):
            if self.kind == "counts":
                self.reads += 1
            if self.kind == "caches":
                self.cache[int(index)] = self.x[index]
            shift = 0.001 * (self.reads % 7) + 0.01 * torch.randn(64)
            return self.x[index] + shift, int(self.y[index])

    def load(kind, workers=0):
        return DataLoader(Digits(kind), batch_size=8, shuffle=True, num_workers=workers)

    def ordered(kind):
        def make(batch_size):
            data = Digits(kind)
            order = torch.utils.data.WeightedRandomSampler(torch.ones(len(data)), 400)
            return DataLoader(data, batch_size=batch_size, sampler=order)
        return make, Digits(kind)
"""


def streamed(name, kind, **arguments):
    data = {
        "class_path": f"streams.{name}", "init_args": {"kind": kind, **arguments},
        **{key: each.default for key, each in catalogue.IMPORTED.items()}, "classes": 10,
    }  # fmt: skip
    lengths = {"batch_size": 16, "evaluate": "12ba", "budget": "24ba"}
    return config(NORMED, data, {"standardize": False}, **lengths)


@pytest.mark.parametrize("engine", ["solo", "fused"])
@pytest.mark.parametrize("workers", [0, 2])
def test_streamed_data_go_on(engine, workers, place, tmp_path, monkeypatch):
    where = replace(place(streams=STREAMED), allowed=("streams",))
    own = streamed("load", "plain", workers=workers)
    given = cohort(own, own, place=where, seeds=[0, 1])
    if engine == "fused":
        given = as_fused(given, 2)
    assert_goes_on(given, tmp_path, monkeypatch, points=(15,))


@pytest.mark.parametrize(
    ("name", "given", "lanes", "told"),
    [
        ("load", {"kind": "caches"}, 1, "cache"),
        ("load", {"kind": "counts"}, 1, "reads"),
        ("load", {"kind": "counts"}, 2, "reads"),
        ("load", {"kind": "counts", "workers": 2}, 1, "reads"),
        ("load", {"kind": "counts", "workers": 2}, 2, "reads"),
        ("ordered", {"kind": "plain"}, 1, "order"),
    ],
)
def test_data_that_remember_are_not_saved(name, given, lanes, told, place):
    where = replace(place(streams=STREAMED), allowed=("streams",))
    own = streamed(name, **given)
    if name == "ordered":
        own["data"]["validation"], own["train"]["evaluate"] = "source", "2ba"
    trials = cohort(own, *[own][: lanes - 1], place=where, save=0.0)
    events, ends = go(run_cohort(as_fused(trials, 2) if lanes > 1 else trials))
    assert ends[0].result.outcome is Outcome.COMPLETED, ends[0].result.traceback
    assert ends[0].result.engine == ("fused" if lanes > 1 else "solo")
    notes = {each.text for each in events if isinstance(each, Noted)}
    assert len(notes) == 1 and told in min(notes), notes
    assert not [each for each in events if isinstance(each, Saved)]


@pytest.mark.parametrize("raised", [MemoryError, torch.OutOfMemoryError])
@pytest.mark.parametrize("engine", ["solo", "fused"])
@pytest.mark.parametrize("where", ["encode", "pack"])
def test_a_state_that_finds_no_memory_ends_no_training(where, engine, raised, monkeypatch):
    given = cohort(config(budget="4ep"), config(budget="4ep", lr=0.02), seeds=[3, 4])
    given = as_fused(given, 2) if engine == "fused" else given
    _, expected = go(run_cohort(given))

    def full(*_):
        raise raised("no room for a copy")

    monkeypatch.setattr(saving.Encoder, where, full)
    events, ends = go(run_cohort(replace(given, save=0.0)))
    for number, end in expected.items():
        assert_same(ends[number], end)
        assert ends[number].result.engine == engine
    told = [each.text for each in events if isinstance(each, Noted)]
    assert len(told) == 2 and all("no room for a copy" in each for each in told), told
    assert not [each for each in events if isinstance(each, Planned)]


# What a state is


def handed_over(given):
    events, ends = go(run_cohort(replace(given, save=0.0)))
    return [each for each in events if isinstance(each, Saved)], ends


def unpack(content):
    """The state in a file of this content."""
    with tempfile.NamedTemporaryFile(buffering=0) as file:
        file.write(content)
        return states.read(file.name)


def test_every_cut_and_every_flipped_byte_is_seen():
    (state, *_), _ = handed_over(cohort(config(budget="2ep")))
    whole = state.content
    unpack(whole)
    ends = {*range(200), *range(0, len(whole), 97), *range(len(whole) - 200, len(whole))}
    for end in sorted(ends):
        with pytest.raises(Unusable):
            unpack(whole[:end])
    for at in sorted(ends):
        with pytest.raises(Unusable):
            unpack(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
    with pytest.raises(Unusable):
        unpack(whole + b"\0")


def resealed(content, change):
    """A state whose header and JSON are others, with a checksum that holds."""
    state = unpack(content)
    head = json.loads(content[len(states.MAGIC) : content.index(b"\n", len(states.MAGIC))])
    change(head)
    header = {key: head[key] for key in states._KINDS}
    return states.pack(states.Header(**header), head["content"], state.tensors)


def pairs(tree):
    return dict(tree["dict"])


@pytest.mark.parametrize(
    "change",
    [
        lambda head: head.update(key="another"),
        lambda head: head.update(engine="fused"),
        lambda head: head.update(device="xpu"),
        lambda head: head.update(torch="1.0"),
        lambda head: head.update(lrsearch="0.0.1"),
        lambda head: head.update(content=None),
        lambda head: head.update(content={"list": []}),
        lambda head: head.update(content={"eval": "1"}),
        lambda head: head["content"]["dict"].pop(0),
        lambda head: head["content"]["dict"].__setitem__(0, ["step", 10**9]),
        lambda head: head["content"]["dict"].__setitem__(0, ["step", -1]),
        lambda head: head["content"]["dict"].__setitem__(0, ["step", "ten"]),
        lambda head: pairs(head["content"])["model"]["dict"].pop(),
        lambda head: pairs(head["content"])["model"]["dict"][0].__setitem__(1, {"tensor": "1"}),
        lambda head: pairs(head["content"])["optimizer"]["dict"].pop(),
        lambda head: pairs(head["content"])["course"]["dict"].pop(),
    ],
)
def test_a_foreign_or_hostile_state_is_not_gone_on_from(change, tmp_path):
    given = cohort(config(budget="2ep"))
    (state, *_), ends = handed_over(given)
    path = tmp_path / "a.state"
    path.write_bytes(resealed(state.content, change))
    events, again = go(run_cohort(replace(given, states={0: str(path)}, save=0.0)))
    told = [each.text for each in events if isinstance(each, Noted)]
    assert len(told) == 1 and "begins again" in told[0], told
    assert_same(again[0], ends[0])


ODD_VALUES = {
    "a text in the curve": lambda tree: inner(tree, "course", "curve", "accuracy")[
        "list"
    ].__setitem__(-1, "x"),
    "a list in the curve": lambda tree: inner(tree, "course", "curve", "loss")["list"].__setitem__(
        0, {"list": [1]}
    ),
    "a truth in the curve": lambda tree: inner(tree, "course", "curve", "lr")["list"].__setitem__(
        0, True
    ),
    "a huge number in the curve": lambda tree: inner(tree, "course", "curve", "loss")[
        "list"
    ].__setitem__(0, 10**400),
    "a text for a metric's values": lambda tree: put(inner(tree, "course", "curve"), "lr", "12"),
    "a curve without losses": lambda tree: inner(tree, "course", "curve")["dict"].pop(1),
    "a curve without the objective": lambda tree: drop(inner(tree, "course", "curve"), "accuracy"),
    "steps that go back": lambda tree: inner(tree, "course", "curve", "step")["list"].__setitem__(
        0, 10**6
    ),
    "half a step in the curve": lambda tree: inner(tree, "course", "curve", "step")[
        "list"
    ].__setitem__(0, 0.5),
    "a curve of other steps": lambda tree: put(tree, "since", 0),
    "a step as a float": lambda tree: put(tree, "step", float(pairs(tree)["step"])),
    "an evaluation as a float": lambda tree: put(tree, "since", float(pairs(tree)["since"])),
    "other steps of the course": lambda tree: put(inner(tree, "course"), "steps", 1),
    "the lowest loss as a text": lambda tree: put(inner(tree, "course"), "lowest", "x"),
    "a text in the records": lambda tree: inner(tree, "course", "records", "loss")[
        "list"
    ].__setitem__(0, "x"),
    "more records of one kind": lambda tree: inner(tree, "course", "records", "lr")["list"].append(
        0.5
    ),
    "records of steps to come": lambda tree: inner(tree, "course", "records", "step")[
        "list"
    ].__setitem__(-1, 10**6),
    "records of one kind less": lambda tree: drop(inner(tree, "course", "records"), "update_ratio"),
    "no baseline": lambda tree: put(inner(tree, "course"), "baseline", None),
    "alike as a number": lambda tree: put(inner(tree, "course"), "alike", 1),
    "seconds that are none": lambda tree: put(inner(tree, "course"), "seconds", float("nan")),
    "seconds before the start": lambda tree: put(inner(tree, "course"), "seconds", -1e9),
    "a factor that is none": lambda tree: put(inner(tree, "course"), "factor", float("inf")),
    "the best as a text": lambda tree: put(tree, "best", "x"),
    "a best value without weights": lambda tree: put(tree, "best_state", {"dict": []}),
    "best weights that are none": lambda tree: [
        pair.__setitem__(1, 1.0)
        for part in inner(tree, "best_state").get("tuple", [inner(tree, "best_state")])
        for pair in part["dict"]
    ],
    "a plateau's scale as a text": lambda tree: put(inner(tree, "plateau"), "scale", "x"),
    "a plateau's best as a text": lambda tree: put(inner(tree, "plateau"), "best", "x"),
    "a plateau that waits half": lambda tree: put(inner(tree, "plateau"), "waiting", 0.5),
    "a plateau without": lambda tree: drop(inner(tree, "plateau"), "bad"),
}


def inner(tree, *names):
    """What a state's JSON has below these names."""
    for name in names:
        tree = pairs(tree)[name]
    return tree


def put(tree, name, value):
    assert name in pairs(tree)
    tree["dict"][:] = [[key, value if key == name else each] for key, each in tree["dict"]]


def drop(tree, name):
    tree["dict"][:] = [[key, each] for key, each in tree["dict"] if key != name]


@pytest.fixture(scope="module")
def with_plateau():
    """By engine a cohort whose state has all that a state may have, the state, and its ends."""
    found = {}

    def train(engine):
        if engine not in found:
            own = config(NORMED, schedule=plateau(), lr=0.2, budget="4ep", batch_size=128)
            given = cohort(own, own, objective=Objective("accuracy", "max", "best"))
            given = as_fused(given, 2) if engine == "fused" else given
            handed, ends = handed_over(given)
            found[engine] = given, [each for each in handed if each.trial == 0][-1], ends
        return found[engine]

    return train


@pytest.mark.parametrize("engine", ["solo", "fused"])
@pytest.mark.parametrize("name", ODD_VALUES)
def test_values_that_no_training_has_are_not_gone_on_from(name, engine, with_plateau, tmp_path):
    """Their checksum holds: whoever wrote them reckoned it anew."""
    given, state, ends = with_plateau(engine)
    path = tmp_path / "a.state"
    before = unpack(state.content).content

    def change(head):
        ODD_VALUES[name](head["content"])
        assert repr(head["content"]) != repr(before)

    path.write_bytes(resealed(state.content, change))
    first = replace(given, trials=given.trials[:1], states={0: str(path)})
    events, again = go(run_cohort(first))
    told = [each.text for each in events if isinstance(each, Noted)]
    assert len(told) == 1 and "begins again" in told[0], told
    assert_same(again[0], ends[0])


@pytest.mark.parametrize("engine", ["solo", "fused"])
def test_a_resealed_state_of_the_same_values_is_gone_on_from(engine, with_plateau, tmp_path):
    given, state, _ = with_plateau(engine)
    path = tmp_path / "a.state"
    path.write_bytes(resealed(state.content, lambda head: None))
    events, _ = go(run_cohort(replace(given, states={0: str(path)})))
    assert not [each for each in events if isinstance(each, Noted)]


@pytest.mark.parametrize("engine", ["solo", "fused"])
def test_states_of_versions_without_records_are_gone_on_from(engine, with_plateau, tmp_path):
    given, state, ends = with_plateau(engine)
    path, step = tmp_path / "a.state", unpack(state.content).header.step
    without = resealed(
        state.content, lambda head: drop(inner(head["content"], "course"), "records")
    )
    path.write_bytes(without)
    events, again = go(run_cohort(replace(given, states={0: str(path)})))
    assert not [each for each in events if isinstance(each, Noted)]
    later = [each > step for each in ends[0].records.step]
    assert any(later) and not all(later)
    kept = {
        name: tuple(itertools.compress(values, later)) if isinstance(values, tuple) else values
        for name, values in vars(ends[0].records).items()
    }
    assert_same(again[0], replace(ends[0], records=Records(**kept)))


READ_WITHIN = """
import resource, sys
from lrsearch import states
resource.setrlimit(resource.RLIMIT_AS, (2**28, 2**28))
# To read all zeros takes a multiple of it.
resource.setrlimit(resource.RLIMIT_CPU, (20, 20))
for path in sys.argv[1:]:
    try:
        states.read(path, tensors=False)
    except states.Unusable as error:
        print(error)
"""


def test_a_state_larger_than_memory_is_damaged(tmp_path):
    """Sparse files, which anyone may make as large as they like: none of their zeros are read."""
    (state, *_), _ = handed_over(cohort(config(budget="2ep")))
    content = state.content
    line = content.index(b"\n", len(states.MAGIC)) + 1
    paths = []
    for number, first in enumerate(
        (b"", states.MAGIC, content[: line - 1], content[:line], content[: line + 100], content)
    ):
        paths.append(tmp_path / f"{number}.state")
        paths[-1].write_bytes(first)
        os.truncate(paths[-1], 2**36)
    done = subprocess.run(
        [sys.executable, "-c", READ_WITHIN, *map(str, paths)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    told = done.stdout.splitlines()
    assert len(told) == len(paths)
    assert all(each.startswith(("it is damaged", "there is no memory")) for each in told), told


def test_a_state_is_looked_at_without_its_tensors(tmp_path):
    (state, *_), _ = handed_over(cohort(config(budget="2ep")))
    path = tmp_path / "a.state"
    path.write_bytes(state.content)
    whole, seen = states.read(path), states.read(path, tensors=False)
    assert seen == replace(whole, tensors=b"") and whole == unpack(state.content)
    damage(path)
    with pytest.raises(Unusable, match="checksum"):
        states.read(path, tensors=False)


def test_a_link_is_no_state(tmp_path):
    given = cohort(config(budget="2ep"))
    (state, *_), ends = handed_over(given)
    (tmp_path / "real").write_bytes(state.content)
    (tmp_path / "a.state").symlink_to(tmp_path / "real")
    os.mkfifo(tmp_path / "b.state")
    for name in ("a.state", "b.state", "none.state"):
        events, again = go(run_cohort(replace(given, states={0: str(tmp_path / name)})))
        assert any("begins again" in each.text for each in events if isinstance(each, Noted))
        assert_same(again[0], ends[0])


def test_saving_takes_a_bounded_share_of_the_time(monkeypatch):
    monkeypatch.setattr(saving, "SHARE", 50)
    now = iter([0.0, 1.0, 3.0, 102.0, 104.0, 303.0])
    monkeypatch.setattr(saving.time, "monotonic", lambda: next(now))
    saver = saving.Saver(0.5)
    assert saver.is_due()
    saver.note(1.0)  # From 1 s to 3 s: the next after 100 s more.
    assert not saver.is_due()
    assert saver.is_due()
    assert not saver.is_due(beside=4)
    monkeypatch.undo()
    assert not saving.Saver(None).is_due()


# The whole command, killed and asked to leave

SPEC = """
name: long
data: {class_path: held.load, validation: 0.25, classes: 10}
model: {name: mlp, hidden: [32], dropout: 0.2}
train: {budget: 4ep, batch_size: 16, optimizer: adamw, evaluate: 10ba}
search: {lr: {min: 1e-3, max: 1e-2, points: 2}}
save: 1h
"""

HELD = """
    import os
    import sys
    import time
    from pathlib import Path

    import torch
    from torch.utils.data import DataLoader, Dataset

    from lrsearch import pulse
    from lrsearch.data.built_in import read_digits  # Imports no scikit-learn.

    class Digits(Dataset):
        # Where there is a file `hold` a process that trains waits when it has read so many
        # samples, some evaluations among them, and says so by a file `held-PID`, until there is a
        # file `more`; and after as many again until it is asked to leave.

        def __init__(self):
            # With a quarter for validation an epoch is 30 batches.
            x, y = (torch.tensor(each[:640]) for each in read_digits().values())
            self.x, self.y = x.flatten(1).float(), y

        def __len__(self):
            return len(self.x)

        def __getitem__(self, index):
            if Path("hold").exists() and pulse.activity() == pulse.TRAINING:
                hold()
            # What changes whenever it is read is not kept in memory.
            return self.x[index] + 0.01 * torch.randn(64), int(self.y[index])

    def hold():
        # Counted where nobody looks: data that remember anything are not saved.
        sys.samples_read = count = getattr(sys, "samples_read", 0) + 1
        first = count == 1000
        if first or count == 2000:
            Path(f"held-{os.getpid()}" if first else f"last-{os.getpid()}").touch()
        while not pulse.asked() and (
            count >= 2000 or (first and Path("hold").exists() and not Path("more").exists())
        ):
            time.sleep(0.005)

    def load():
        return DataLoader(Digits(), batch_size=16, shuffle=True)
"""


def lay(folder, *changes, hold=False):
    """Put the spec and the data into a folder, with changes of the spec's text, from and to."""
    text = SPEC
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    (folder / "long.yaml").write_text(text)
    (folder / "held.py").write_text(textwrap.dedent(HELD))
    if hold:
        (folder / "hold").touch()
    return folder


INLINE = ("--executor", "inline")


@pytest.fixture
def start(nursery):
    """Begin a search, in a process group of its own."""

    def begin(folder, engine="solo", *more, spec="long.yaml", often=False, **settings):
        allowed = ("--allow-import", spec.replace("long", "held").removesuffix(".yaml"))
        line = ("grid", spec, "--device", DEVICE, "--engine", engine, *allowed, *more)
        given = {f"lrsearch.{name.replace('__', '.')}": each for name, each in settings.items()}
        return Fork(nursery, folder, *line, often=often, settings=given)

    return begin


def await_that(process, condition, what=""):
    """Wait until a condition of a search that runs is met."""
    deadline = time.monotonic() + 120
    while not condition():
        assert not process.ended(), (what, process.said())
        assert time.monotonic() < deadline, (what, process.said())
        time.sleep(0.01)


def await_text(process, path, text):
    await_that(
        process, lambda: path.exists() and text in path.read_text("utf-8", "replace"), (path, text)
    )


def await_said(process, text):
    await_that(process, lambda: text in process.said()[1], text)


def await_held(process, folder, many=1):
    """Wait until so many processes have trained for some batches, and wait."""
    await_that(process, lambda: len(list(folder.glob("held-*"))) >= many, "held")


def steps_saved(run):
    """The steps of the latest states, by trial."""
    return {
        number: states.read(paths[0]).header.step for number, paths in saved_states(run).items()
    }


def await_states(process, run, trials):
    """The steps at which so many trials are saved, once they are."""
    await_that(process, lambda: len(saved_states(run)) >= trials, "states")
    with contextlib.suppress(Unusable):  # Another takes its place now.
        return steps_saved(run)
    return steps_saved(run)


def curves(folder):
    found = sorted((folder / "curves").glob("*.json"))
    return {path.name: json.loads(path.read_text()) for path in found}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, nursery):
    """The curves of the search, by engine."""
    found = {}

    def search(engine):
        if engine not in found:
            folder = lay(tmp_path_factory.mktemp(engine))
            line = ("grid", "long.yaml", "--device", DEVICE, "--engine", engine, *INLINE)
            Fork(nursery, folder, *line, "--allow-import", "held").wait().check(0)
            found[engine] = curves(folder / "runs" / "long")
        return found[engine]

    return search


def report(folder, *arguments):
    """What `lrsearch report` prints, of the runs in a folder."""
    command = ["report", *arguments, "--runs", str(folder / "runs")]
    said = CliRunner().invoke(app, command, catch_exceptions=False)
    assert said.exit_code == 0, said.output
    return said.stdout


@pytest.mark.parametrize("engine", ["solo", "fused"])
@pytest.mark.parametrize("who", ["driver", "all", "inline"])
def test_sigterm_saves_what_is_under_way(engine, who, undisturbed, start, tmp_path):
    expected = undisturbed(engine)
    run = lay(tmp_path, ("save: 1h", "save: 0s"), hold=True) / "runs" / "long"
    more = INLINE if who == "inline" else ("--workers", "2")
    process = start(tmp_path, engine, *more)
    await_held(process, tmp_path, 2 if engine == "solo" and who != "inline" else 1)
    before = await_states(process, run, 1 if (engine, who) == ("solo", "inline") else 2)
    (tmp_path / "more").touch()
    await_that(
        process,
        lambda: len(list(tmp_path.glob("last-*"))) == len(list(tmp_path.glob("held-*"))),
        "more batches",
    )
    send = os.killpg if who == "all" else os.kill
    send(process.pid, signal.SIGTERM)
    err = process.wait().check(130).err
    assert "under way saved" in err, err
    assert err.splitlines()[-2].startswith("interrupted: every finished trial is kept"), err
    assert err.splitlines()[-1].strip().startswith("lrsearch grid long.yaml"), err
    assert read(run).closed == "interrupted"
    left = set(read(run).trials) - set(read(run).results)
    assert left and sorted(saved_states(run)) == sorted(left & before.keys())
    after = steps_saved(run)
    assert all(after[number] > before[number] for number in after), (before, after)
    shown = json.loads(report(tmp_path, "long", "--json"))["states"]
    assert shown["trials"] == len(after) and shown["bytes"] > 10_000
    assert "under way, in" in report(tmp_path, "long")
    for number, step in after.items():
        told = rf"saved +at step {step:,} of "
        assert re.search(told, report(tmp_path, "long", "--trial", str(number)))
        page = json.loads(report(tmp_path, "long", "--trial", str(number), "--json"))
        assert page["trial"]["saved"]["step"] == step < page["trial"]["saved"]["steps"]
    emptied = tmp_path / "runs" / "emptied"
    shutil.copytree(run, emptied)
    for path in (emptied / "states").iterdir():
        path.write_bytes(b"")
    assert "under way, in" not in report(tmp_path, "emptied")
    assert "saved  " not in report(tmp_path, "emptied", "--trial", str(min(after)))
    (tmp_path / "hold").unlink()
    # Workers go on from states that they are handed; inline that takes no start of theirs.
    err = start(tmp_path, engine, *(more if who == "driver" else INLINE)).wait().check(0).err
    assert "saved state" in err, err
    assert_same_numbers(curves(run), expected)
    assert not list((run / "states").iterdir())


@pytest.mark.parametrize(
    ("who", "number"), [(os.kill, signal.SIGTERM), (os.killpg, signal.SIGUSR1)]
)
def test_a_signal_to_end_saves_every_lane(who, number, start, tmp_path):
    run = lay(tmp_path, ("points: 2", "points: 4"), hold=True) / "runs" / "long"
    (tmp_path / "more").touch()
    process = start(tmp_path, "fused", "--lanes", "4", "--workers", "1")
    await_held(process, tmp_path)
    assert not saved_states(run)
    who(process.pid, number)
    err = process.wait().check(130).err
    assert "a second signal ends it" in err and "4 trials under way saved" in err, err
    assert sorted(steps_saved(run)) == [1, 2, 3, 4]


LINGERING = """
    import time
    from pathlib import Path

    from torch import nn

    from lrsearch import pulse

    class Net(nn.Module):
        def __init__(self, in_features, num_classes):
            super().__init__()
            self.head = nn.Linear(in_features, num_classes)
            self.calls = 0

        def forward(self, x):
            self.calls += 1
            if not self.training and self.calls > 30:
                Path("phase").write_text("evaluating")
                while not pulse.asked():
                    time.sleep(0.01)
            return self.head(x.flatten(1))
"""


def test_sigterm_within_an_evaluation_that_is_finished_saves(start, tmp_path):
    """The model counts its calls: an evaluation is not left in its midst."""
    (tmp_path / "slow.py").write_text(textwrap.dedent(LINGERING))
    (tmp_path / "slow.yaml").write_text(
        "name: slow\ndata: digits\nmodel: {class_path: slow.Net}\nsave: 1h\n"
        "train: {budget: 50ep, lr: 0.1, evaluate: 1ep}\n"
    )
    process = start(tmp_path, "solo", spec="slow.yaml")
    await_text(process, tmp_path / "phase", "evaluating")
    process.send(signal.SIGTERM)
    err = process.wait().check(130).err
    assert "1 trial under way saved" in err, err
    assert list(steps_saved(tmp_path / "runs" / "slow")) == [1]


@pytest.mark.parametrize(
    ("save", "told"),
    [
        ("null", "1 trial under way begins again"),
        ("1h", "1 trial under way begins again"),
        ("0s", "1 trial under way goes on from its last saved state"),
    ],
)
def test_what_becomes_of_what_was_not_saved_is_told(save, told, start, tmp_path):
    run = lay(tmp_path, ("save: 1h", f"save: {save}"), hold=True) / "runs" / "long"
    process = start(tmp_path, "solo", "--workers", "1", "--quiet")
    await_text(process, run / "journal.jsonl", '"started"')
    if save == "0s":
        await_states(process, run, 1)
    os.kill(process.pid, signal.SIGSTOP)  # Its worker is lost at the same time.
    os.kill(process.pid, signal.SIGTERM)
    children = workers_of(process)
    for worker in children:
        os.kill(worker, signal.SIGKILL)
    for worker in children:
        await_that(process, lambda worker=worker: is_over(worker), "a killed worker")
    os.kill(process.pid, signal.SIGCONT)
    err = process.wait().check(130).err
    assert children, err
    assert f"{told}\ninterrupted: every finished trial is kept; go on with\n" in err, err


def is_over(pid):
    """Whether a process has ended, also one that nobody has waited for."""
    path = Path(f"/proc/{pid}/stat")
    try:
        return path.read_text().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True


SLOW = """
    import time
    from pathlib import Path

    import numpy as np

    def load(seconds, where):
        Path("phase").write_text("loading")
        time.sleep(seconds)
        return np.eye(40, 8, dtype="float32"), np.arange(40) % 2
"""


@pytest.mark.parametrize("who", [os.kill, os.killpg])
def test_sigterm_while_data_are_loaded(who, start, tmp_path):
    (tmp_path / "slow.py").write_text(textwrap.dedent(SLOW))
    (tmp_path / "slow.yaml").write_text(
        "name: slow\ndata: {class_path: slow.load, init_args: {seconds: 300, where: x}}\n"
        "model: mlp\ntrain: {budget: 1ep, lr: 0.1}\n"
    )
    process = start(tmp_path, "solo", spec="slow.yaml")
    await_text(process, tmp_path / "phase", "loading")
    who(process.pid, signal.SIGTERM)
    process.wait().check(130)


MORTAL = """
    import os
    import signal
    from pathlib import Path

    import numpy as np

    def load(lives):
        with Path("deaths").open("a") as file:
            file.write("x")
        if Path("deaths").stat().st_size <= lives:
            print("the loader is about to die")
            os.kill(os.getpid(), signal.SIGKILL)
        return np.eye(40, 8, dtype="float32"), np.arange(40) % 2
"""


@pytest.mark.parametrize("lives", [1, 9])
@pytest.mark.parametrize("command", ["grid", "check"])
def test_a_worker_that_is_lost_while_it_loads_is_replaced_once(command, lives, nursery, tmp_path):
    (tmp_path / "mortal.py").write_text(textwrap.dedent(MORTAL))
    (tmp_path / "mortal.yaml").write_text(
        f"name: mortal\ndata: {{class_path: mortal.load, init_args: {{lives: {lives}}}}}\n"
        "model: mlp\ntrain: {budget: 1ep, lr: 0.1}\n"
    )
    more = ("--workers", "1") if command == "grid" else ("--deep",)
    line = (command, "mortal.yaml", "--device", DEVICE, *more, "--allow-import", "mortal")
    said = Fork(nursery, tmp_path, *line).wait()
    told = "loads the data and builds the model was lost: killed by SIGKILL: another one begins"
    assert command == "check" or told in said.err
    assert "Traceback" not in said.err
    if lives == 1:
        assert said.code == 0, said.err
    else:
        assert said.code == 1, said.err
        assert "and so was the one after it: killed by SIGKILL" in said.err
        assert "about to die" in said.err and "the same command tries again" in said.err
        assert (tmp_path / "deaths").read_text() == "xx"


@pytest.fixture(scope="module")
def killed(tmp_path_factory, nursery):
    """The folder of a search that was killed when its first trial had two states."""
    folder = lay(tmp_path_factory.mktemp("killed"), ("save: 1h", "save: 0s"), hold=True)
    line = ("grid", "long.yaml", "--device", DEVICE, "--engine", "solo", *INLINE)
    process = Fork(nursery, folder, *line, "--allow-import", "held", often=True)
    await_held(process, folder)
    process.send(signal.SIGKILL)
    process.wait().check(-signal.SIGKILL)
    assert len(saved_states(folder / "runs" / "long")[1]) == 2
    for path in (folder / "hold", *folder.glob("held-*")):
        path.unlink()
    return folder


def test_a_killed_search_goes_on_from_the_state_before_a_damaged_one(
    undisturbed, killed, start, tmp_path
):
    expected = undisturbed("solo")
    shutil.copytree(killed, tmp_path, dirs_exist_ok=True)
    run = tmp_path / "runs" / "long"
    state, before = saved_states(run)[1]
    damage(state)
    (run / "states" / "000001.state.tmp").write_bytes(b"torn")
    (run / "states" / "000077.state").write_bytes(before.read_bytes())
    err = start(tmp_path, "solo", *INLINE).wait().check(0).err
    assert "trial 1 goes on from the one before it" in err and "checksum" in err, err
    assert_same_numbers(curves(run), expected)
    assert not list((run / "states").iterdir())


def workers_of(process):
    """The processes that train, of a search that runs: their driver reads what they write. Another
    of its children may be what they are forked from."""
    listed = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    if not listed.exists() and not process.ended():
        process.send(signal.SIGKILL)
        pytest.skip("needs /proc")
    children = {int(each): Path(f"/proc/{each}/fd/1") for each in listed.read_text().split()}
    return [pid for pid, out in children.items() if str(out.readlink()).startswith("pipe:")]


@pytest.mark.parametrize("engine", ["solo", "fused"])
def test_a_killed_worker_s_trials_go_on_from_their_states(engine, undisturbed, start, tmp_path):
    expected = undisturbed(engine)
    run = lay(tmp_path, ("save: 1h", "save: 0s"), hold=True) / "runs" / "long"
    process = start(tmp_path, engine, "--workers", "1")
    last = 0
    for kills in (1, 2):
        await_held(process, tmp_path, kills)  # Each in a worker of its own.
        await_states(process, run, 1)
        await_that(process, lambda last=last: sum(steps_saved(run).values()) > last)
        last = sum(steps_saved(run).values())
        (worker,) = workers_of(process)
        if kills == 2:
            (tmp_path / "hold").unlink()
        os.kill(worker, signal.SIGKILL)
    err = process.wait().check(0).err
    assert err.count("in another worker (at step") == 2 and "SIGKILL" in err, err
    assert_same_numbers(curves(run), expected)
    assert not list((run / "states").iterdir())


DEADLY = """
    import os
    import signal
    import time
    from pathlib import Path

    import torch


    class Net(torch.nn.Module):
        def __init__(self, in_features, num_classes, last):
            super().__init__()
            self.linear = torch.nn.Linear(in_features, num_classes)
            self.made, self.last = 0, last

        def forward(self, x):
            if self.training:
                time.sleep(0.05)
                self.made += 1
                if self.made > self.last:
                    with Path("deaths").open("a") as file:
                        file.write("x")
                    os.kill(os.getpid(), signal.SIGKILL)
            return self.linear(x.flatten(1))
"""


def test_what_kills_its_worker_at_one_step_has_failed(start, tmp_path):
    """It goes on while that gets it further, and the seconds of all tries are counted."""
    (tmp_path / "deadly.py").write_text(textwrap.dedent(DEADLY))
    text = SPEC.replace("save: 1h", "save: 0s").replace("points: 2", "points: 1")
    for old, new in (
        (
            "{name: mlp, hidden: [32], dropout: 0.2}",
            "{class_path: deadly.Net, init_args: {last: 4}}",
        ),
        ("{class_path: held.load, validation: 0.25, classes: 10}", "digits"),
        ("evaluate: 10ba", "evaluate: 1ba"),
    ):
        assert old in text
        text = text.replace(old, new)
    (tmp_path / "deadly.yaml").write_text(text)
    run = tmp_path / "runs" / "long"
    err = start(tmp_path, "solo", "--workers", "1", spec="deadly.yaml").wait().check(1).err
    deaths = len((tmp_path / "deaths").read_text())
    # Its states are of the steps before, each of which may have been saved or not.
    assert 2 <= deaths <= 6 and err.count("in another worker") == deaths - 1, err
    (result,) = read(run).results.values()
    assert result.outcome is Outcome.FAILED and "killed by SIGKILL" in result.reason
    assert result.steps == 4 and result.seconds > 0.1
    assert not list((run / "states").iterdir())


def damage(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("left", ["damaged", "of another spec"])
def test_a_complete_search_leaves_no_states(left, killed, start, tmp_path):
    shutil.copytree(killed, tmp_path, dirs_exist_ok=True)
    run = tmp_path / "runs" / "long"
    if left == "damaged":
        lay(tmp_path)
        for path in saved_states(run)[1]:
            damage(path)
    else:
        lay(tmp_path, ("4ep", "2ep"))
    err = start(tmp_path, "solo", *INLINE).wait().check(0).err
    assert ("checksum" in err) == (left == "damaged"), err
    assert not list((run / "states").iterdir())
    shown = json.loads(report(tmp_path, "long", "--json"))["states"]
    assert shown == {"trials": 0, "bytes": 0}


def test_a_damaged_state_never_takes_the_place_of_a_good_one(killed, start, tmp_path):
    shutil.copytree(killed, tmp_path, dirs_exist_ok=True)
    (tmp_path / "hold").touch()
    (tmp_path / "more").touch()
    run = tmp_path / "runs" / "long"
    state, before = saved_states(run)[1]
    good = before.read_bytes()
    damage(state)
    process = start(tmp_path, "solo", *INLINE, "--set", "save=1h")
    await_that(process, lambda: not state.exists(), "the damaged state is gone")
    assert before.read_bytes() == good
    journal = run / "journal.jsonl"
    await_that(
        process, lambda: journal.read_text().count('"event":"started","trial":1') == 2, "begun"
    )
    await_held(process, tmp_path)  # It has trained on, and is saved again.
    process.send(signal.SIGTERM)
    err = process.wait().check(130).err
    assert "goes on from the one before it" in err, err
    assert good in [path.read_bytes() for path in saved_states(run)[1]]


@pytest.mark.parametrize("kind", ["link", "folder", "pipe"])
def test_what_stands_in_place_of_a_state_is_told(kind, killed, start, tmp_path):
    shutil.copytree(killed, tmp_path, dirs_exist_ok=True)
    run = tmp_path / "runs" / "long"
    path = saved_states(run)[1][0]
    path.rename(tmp_path / path.name)
    if kind == "link":
        path.symlink_to(tmp_path / path.name)
    else:
        (path.mkdir if kind == "folder" else lambda: os.mkfifo(path))()
    err = start(tmp_path, "solo", *INLINE).wait().check(0).err
    then = "goes on from the one before it"
    assert f"trial 1 {then}: its saved state cannot be used" in " ".join(err.split())
    assert f"states/000001.state is a {kind}, not a file" in " ".join(err.split()), err
    assert "from its saved state (at" in err
    left = list((run / "states").iterdir())
    assert kind == "folder" or not left


def test_a_link_in_place_of_the_states_is_refused(start, tmp_path):
    lay(tmp_path)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "000001.state").write_text("mine")
    run = tmp_path / "runs" / "long"
    run.mkdir(parents=True)
    (run / "states").symlink_to(elsewhere)
    err = start(tmp_path, "solo", *INLINE).wait().check(2).err
    assert "states is a link" in err, err
    assert (elsewhere / "000001.state").read_text() == "mine"


def search_limited(folder, most):
    """The search by a process whose files may have so many bytes."""
    command = [sys.executable, "-m", "lrsearch", "grid", "long.yaml", "--engine", "solo", *INLINE]
    return subprocess.run(
        [*command, "--device", str(DEVICE), "--allow-import", "held"],
        cwd=folder, capture_output=True, text=True,
        preexec_fn=Before(largest=most),
    )  # fmt: skip


def test_a_full_disk_for_states_ends_no_search(tmp_path):
    """A limit on the size of files that the journal keeps to, and a state does not."""
    lay(tmp_path, ("save: 1h", "save: 0s"), ("[32]", "[512]"), ("4ep", "1ep"))
    done = search_limited(tmp_path, 300_000)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("cannot be saved, and goes on") == 1, done.stderr
    assert len(read(tmp_path / "runs" / "long").results) == 2


def test_weights_that_do_not_fit_lose_no_result(start, tmp_path):
    """Those of 512 units take 150 kB."""
    lay(tmp_path, ("[32]", "[512]"), ("4ep", "1ep"))
    run = tmp_path / "runs" / "long"
    done = search_limited(tmp_path, 100_000)
    assert done.returncode == 1 and "cannot write" in done.stderr, done.stderr
    assert "weights of trial 1 are lost, what it measured is in the journal" in done.stderr
    kept = read(run)
    assert kept.closed == "StorageFull" and kept.results[1].outcome is Outcome.COMPLETED
    start(tmp_path, "solo", *INLINE).wait().check(0)
    assert len(read(run).results) == 2 and read(run).results[1] == kept.results[1]
    assert not list((run / "best").glob("trial-000001.*"))


def test_null_never_saves(start, tmp_path):
    run = lay(tmp_path, ("save: 1h", "save: null"), hold=True) / "runs" / "long"
    process = start(tmp_path, "solo", "--workers", "1")
    await_held(process, tmp_path)
    process.send(signal.SIGTERM)
    err = process.wait().check(130).err
    assert "saved" not in err.replace("save=null", ""), err
    assert not saved_states(run)


LONG = 600.0
"""Seconds that no test takes: who ends before does not wait for them."""


@pytest.fixture
def unanswered(start, tmp_path):
    """A search whose workers do not answer, once it was told to leave."""

    def begin(number, **settings):
        run = lay(tmp_path, hold=True) / "runs" / "long"
        process = start(tmp_path, "solo", "--workers", "1", **settings)
        await_text(process, run / "journal.jsonl", '"started"')
        for child in workers_of(process):
            os.kill(child, signal.SIGSTOP)
        process.send(number)
        await_said(process, "saving what is under way")
        return process

    return begin


def test_a_second_ctrl_c_kills(unanswered):
    process = unanswered(signal.SIGINT, tuner__events__SHORT=LONG)
    assert not process.ended()
    process.send(signal.SIGINT)
    process.wait().check(-signal.SIGINT)


def test_a_second_sigterm_kills_where_it_is_not_the_first_again(unanswered):
    """Who ends a job may signal its process, and then the whole group."""
    process = unanswered(
        signal.SIGTERM, tuner__events__PATIENCE=LONG, cli__interruptible__TWICE=0.0
    )
    assert not process.ended()
    process.send(signal.SIGTERM)
    process.wait().check(-signal.SIGTERM)


def test_a_second_sigterm_that_is_the_first_again_kills_nothing(unanswered, tmp_path):
    process = unanswered(
        signal.SIGTERM, tuner__events__PATIENCE=2.0, cli__interruptible__TWICE=LONG
    )
    process.send(signal.SIGTERM)
    process.wait().check(130)
    assert read(tmp_path / "runs" / "long").closed == "interrupted"


@pytest.mark.parametrize(
    ("number", "name"), [(signal.SIGTERM, "PATIENCE"), (signal.SIGINT, "SHORT")]
)
def test_workers_that_do_not_answer_are_not_waited_for(number, name, unanswered, tmp_path):
    other = {"PATIENCE": "SHORT", "SHORT": "PATIENCE"}[name]
    waits = {f"tuner__events__{name}": 0.5, f"tuner__events__{other}": LONG}
    unanswered(number, **waits).wait().check(130)
    assert read(tmp_path / "runs" / "long").closed == "interrupted"


def test_the_waits_are_shorter_for_who_presses_ctrl_c():
    assert 2.0 <= interruptible.TWICE < events.SHORT < events.PATIENCE <= 15.0


def test_save_is_a_time(tmp_path):
    path = tmp_path / "a.yaml"
    for given, seconds in (("5m", 300.0), ("0s", 0.0), ("null", None), ("1.5h", 5400.0)):
        path.write_text(SPEC.replace("save: 1h", f"save: {given}"))
        assert read_spec(path).save == seconds
    path.write_text(SPEC.replace("save: 1h\n", ""))
    assert read_spec(path).save == 300.0
    for given in ("300", "often", "false", "-1s", "[5m]", "5ep"):
        path.write_text(SPEC.replace("save: 1h", f"save: {given}"))
        with pytest.raises(SpecError, match=r"save: .*is no time"):
            read_spec(path)
    path.write_text("command: train --lr {lr}\nobjective: {metric: a, goal: max}\nsave: 5m\n"
                    "search: {lr: {min: 1e-3, max: 1}}\n")  # fmt: skip
    with pytest.raises(SpecError, match="'save' goes with data, model and train"):
        read_spec(path)


STUCK = """
    import time
    from pathlib import Path

    from torch import nn

    class Net(nn.Module):
        def __init__(self, in_features, num_classes):
            super().__init__()
            self.head = nn.Linear(in_features, num_classes)
            self.calls = 0

        def forward(self, x):
            self.calls += self.training
            if self.calls > 20:
                Path("phase").write_text("stuck")
                time.sleep(300)
            return self.head(x.flatten(1))
"""


@pytest.mark.parametrize(
    ("number", "name"), [(signal.SIGTERM, "PATIENCE"), (signal.SIGINT, "SHORT")]
)
def test_a_step_that_does_not_end_is_not_waited_for_inline(number, name, start, tmp_path):
    (tmp_path / "stuck.py").write_text(textwrap.dedent(STUCK))
    (tmp_path / "stuck.yaml").write_text(
        "name: stuck\ndata: digits\nmodel: {class_path: stuck.Net}\ntrain: {budget: 1ep, lr: 0.1}\n"
    )
    other = {"PATIENCE": "SHORT", "SHORT": "PATIENCE"}[name]
    waits = {f"tuner__events__{name}": 0.5, f"tuner__events__{other}": LONG}
    process = start(tmp_path, "solo", *INLINE, spec="stuck.yaml", **waits)
    await_text(process, tmp_path / "phase", "stuck")
    process.send(number)
    err = process.wait().check(130).err
    assert "go on with" in err, err
    assert read(tmp_path / "runs" / "stuck").closed == "interrupted"
