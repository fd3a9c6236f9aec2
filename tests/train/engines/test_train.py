"""Real trainings by the solo engine, what prepare finds out, and what may be imported."""

import gc
import itertools
import math
import pickle
import random
import signal
import subprocess
import sys
import textwrap
from functools import partial

import numpy as np
import pytest
import safetensors.torch
import torch
import torch.nn.functional as F
from devices import (
    DEVICE,
    assert_same_numbers,
    assert_same_weights,
    close,
    exact,
    make_generator,
    noise_state,
    same_weights,
    set_noise,
)
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sklearn_metrics
from torch import nn

from lrsearch import catalogue, schedules
from lrsearch.catalogue import OPTIMIZER_PACKAGES as PACKAGES
from lrsearch.data import sources, splitting
from lrsearch.errors import DataError, ImportRefused, ModelError, UsageError
from lrsearch.train import device, randomness
from lrsearch.train.batches import resident
from lrsearch.train.engines.cohort import run_cohort
from lrsearch.train.engines.timetable import evaluation_steps, learning_rates
from lrsearch.train.models import activations, metrics, validation
from lrsearch.train.models.build import build_model
from lrsearch.train.optimizers.lion import Lion
from lrsearch.train.optimizers.registry import build_optimizer
from lrsearch.train.preparing.prepare import Preparation, prepare
from lrsearch.train.users import importing, isolation
from lrsearch.trial import (
    Cohort,
    Ended,
    Measured,
    Objective,
    Outcome,
    Plan,
    Reached,
    Started,
    Trial,
    Verdict,
    Workplace,
)

SGD = {
    "name": "sgd",
    "momentum": 0.9,
    "dampening": 0,
    "nesterov": True,
    "weight_decay": 5e-4,
}
ADAMW = {"name": "adamw", "beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": 0}
PLAIN = {"activation": "relu", "dropout": 0.0, "batch_norm": False}
MLP = {"name": "mlp", "hidden": [32], **PLAIN}
CNN = {"name": "cnn", "channels": [8, 16], **PLAIN}
RESNET = {"name": "resnet", "depth": 8, "width": 4, "activation": "relu", "batch_norm": True}


def config(model=MLP, source="digits", split=None, **train):
    defaults = {
        "budget": "4ep",
        "lr": 0.05,
        "batch_size": 64,
        "schedule": {"name": "cosine", "final": 0},
        "warmup": None,
        "optimizer": SGD,
        "loss": "mse" if source == "diabetes" else "cross_entropy",
        "label_smoothing": 0,
        "clip_norm": None,
        "layer_decay": None,
        "groups": None,
        "weight_decay_on": "all",
        "precision": "float32",
        "evaluate": "1ep",
    }
    splitting = {"validation": 0.2, "test": None, "standardize": True, "split_seed": 0}
    own = {"name": source} if isinstance(source, str) else source
    return {
        "data": {**own, **splitting, **(split or {})},
        "model": model,
        "train": {**defaults, **train},
    }


def cohort(*configs, place=None, objective=None, seeds=None, fold=None, **given):
    objective = objective or Objective("accuracy", "max")
    trials = tuple(
        Trial(number, f"key{number}", each, seeds[number] if seeds else 0, fold)
        for number, each in enumerate(configs)
    )
    return Cohort(trials, Plan(), place or Workplace(str(DEVICE)), objective, **given)


def run(*configs, **given):
    """The last events of a cohort's trials; nothing may wait for a verdict."""
    events = list(run_cohort(cohort(*configs, **given)))
    assert None not in events
    ended = [event for event in events if isinstance(event, Ended)]
    return ended[0] if len(configs) == 1 else ended


def placed_data(own):
    """A config's splits as the engine has them."""
    raw = resident.load_raw(own["data"], Workplace())
    return resident.place(raw, own["data"], None, DEVICE)


def facts(*configs, place=None):
    (found,) = prepare(Preparation(configs, place or Workplace(str(DEVICE))))
    return found


@pytest.fixture
def place(tmp_path):
    """A workplace whose folder holds modules, written by calling it with their dotted names."""

    def write(files=None, **modules):
        for name, content in {**(files or {}), **modules}.items():
            path = tmp_path.joinpath(*name.split("."))
            path.parent.mkdir(exist_ok=True, parents=True)
            path.with_suffix(".py").write_text(textwrap.dedent(content))
        return Workplace(str(DEVICE), str(tmp_path), ("nets", "package"))

    return write


def net(name, **arguments):
    return {"class_path": name, "init_args": arguments}


NETS = """
    import torch
    from torch import nn

    class Net(nn.Module):
        def __init__(self, in_features, num_classes, width=8):
            super().__init__()
            self.body = nn.Sequential(nn.Linear(in_features, width), nn.ReLU())
            self.head = nn.Linear(width, num_classes)

        def forward(self, x):
            return self.head(self.body(x.flatten(1)))
"""


# Training


@pytest.mark.parametrize(
    ("model", "train", "least"),
    [
        (MLP, {}, 0.94),
        (MLP, {"optimizer": ADAMW, "lr": 0.01}, 0.94),
        ({"name": "logistic"}, {}, 0.92),
        (CNN, {"lr": 0.1}, 0.92),
        (CNN | {"batch_norm": True, "dropout": 0.1}, {}, 0.95),
        (RESNET, {"lr": 0.1}, 0.95),
        (MLP, {"precision": "bfloat16"}, 0.94),
        (MLP, {"label_smoothing": 0.1, "clip_norm": 1}, 0.92),
    ],
)
def test_digits_are_learned(model, train, least):
    ended = run(config(model, **train))
    result = ended.result
    assert result.outcome is Outcome.COMPLETED and result.reason == ""
    assert result.last["accuracy"] > least
    assert result.steps == round(4 * 1438 / 64) and result.seconds > 0
    assert result.epochs == pytest.approx(4, abs=0.03)


def test_regression_is_learned_in_the_target_s_units():
    found = run(
        config(source="diabetes", budget="30ep", lr=0.01), objective=Objective("rmse", "min")
    )
    last = found.result.last
    assert set(last) == {"rmse", "mae", "r2", "loss"}
    assert 45 < last["rmse"] < 70 and 0.25 < last["r2"] < 0.65
    raw = sources.load({"name": "diabetes"}, resolver=lambda path: None)
    splits = splitting.split(raw, config(source="diabetes")["data"], None)
    assert last["loss"] == pytest.approx((last["rmse"] / splits.target_scale[0]) ** 2)


def test_events_curve_and_result_agree():
    own = config(budget="3ep")
    events = list(run_cohort(cohort(own)))
    assert events[0] == Started(0) and isinstance(events[-1], Ended)
    measured = events[1:-1]
    assert all(isinstance(each, Measured) and each.steps == 67 for each in measured)
    ended = events[-1]
    assert [each.measurement.step for each in measured] == ended.curve["step"] == [22, 45, 67]
    assert set(ended.curve) == {"step", "train_loss", "lr", "accuracy", "f1", "loss"}
    for index, each in enumerate(measured):
        for name, value in each.measurement.metrics.items():
            assert ended.curve[name][index] == value
    for name, last in ended.result.last.items():
        assert last == ended.curve[name][-1]
        choose = max if catalogue.METRICS[name][0] == "max" else min
        assert ended.result.best[name] == choose(ended.curve[name])
        at = ended.curve[name].index(ended.result.best[name])
        assert ended.result.best_step[name] == ended.curve["step"][at]
    assert pickle.loads(pickle.dumps(events)) == events


def test_rates_follow_schedule_and_warmup():
    warmup = {"for": "0.25dur", "shape": "linear", "start": 0}
    own = config(budget="40ba", evaluate="1ba", warmup=warmup, lr=0.2)
    expected = 0.2 * schedules.multipliers(
        own["train"]["schedule"], warmup, budget=40, samples=1438, batch_size=64
    )
    np.testing.assert_allclose(run(own).curve["lr"], expected, rtol=1e-12)


@pytest.mark.parametrize("extra", [{}, {"dropout": 0.3, "batch_norm": True}])
def test_trained_as_by_hand(extra):
    """The engine's steps equal a loop written out with torch's own optimizer and scheduler."""
    own = config(
        MLP | extra, budget="30ba", evaluate="10ba", lr=0.1, label_smoothing=0.1, clip_norm=0.5
    )
    ended = run(own, seeds=[7])
    placed = placed_data(own)
    seeds = randomness.trial_seeds(7)
    with torch.random.fork_rng():
        torch.manual_seed(seeds.weights)
        model = build_model(MLP | extra, (1, 8, 8), 10, Workplace()).to(DEVICE)
    torch.manual_seed(seeds.noise)
    optimizer = torch.optim.SGD(
        model.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4
    )
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 30)
    order = randomness.batches(placed.samples, 64, seeds.order, DEVICE)
    losses = []
    for index in itertools.islice(order, 30):
        loss = F.cross_entropy(
            model(placed.x_train[index]), placed.y_train[index], label_smoothing=0.1
        )
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        optimizer.step()
        scheduler.step()
        losses.append(loss.item())
    expected = np.reshape(losses, (3, 10)).mean(axis=1)
    np.testing.assert_allclose(ended.curve["train_loss"], expected, rtol=1e-4)
    kept = safetensors.torch.load(ended.weights)
    for name, value in model.state_dict().items():
        torch.testing.assert_close(kept[name], value.cpu(), rtol=1e-3, atol=1e-5)


PLAIN_OPTIMIZERS = {
    "sgd": partial(torch.optim.SGD, foreach=False),
    "adam": partial(torch.optim.Adam, foreach=False),
    "adamw": partial(torch.optim.AdamW, foreach=False),
    "amsgrad": partial(torch.optim.Adam, foreach=False, amsgrad=True),
    "nadam": partial(torch.optim.NAdam, foreach=False),
    "radam": partial(torch.optim.RAdam, foreach=False),
    "adamax": partial(torch.optim.Adamax, foreach=False),
    "rmsprop": partial(torch.optim.RMSprop, foreach=False),
    "adagrad": partial(torch.optim.Adagrad, foreach=False),
    "adadelta": partial(torch.optim.Adadelta, foreach=False),
    "adafactor": partial(torch.optim.Adafactor, foreach=False),
    "lion": Lion,
    "muon": partial(torch.optim.AdamW, foreach=False),  # Of what has rank 1.
}


def as_torch_s(name, arguments):
    """A resolved optimizer's arguments as torch names them."""
    given = dict(arguments)
    if "beta1" in given:
        given["betas"] = (given.pop("beta1"), given.pop("beta2"))
    if "decoupled" in given:
        given["decoupled_weight_decay"] = given.pop("decoupled")
    if "eps1" in given:
        given["eps"] = (given.pop("eps1"), given.pop("eps2"))
    if name == "muon":
        given = {key: given[key] for key in ("betas", "eps", "weight_decay")}
    return given


@pytest.mark.parametrize("name", [each for each in catalogue.OPTIMIZERS if each not in PACKAGES])
def test_optimizers_step_as_torch_s_plain_ones(name):
    defaults = {key: each.default for key, each in catalogue.OPTIMIZERS[name].parameters.items()}
    arguments = defaults | {"weight_decay": 0.1}
    left, right = (nn.Parameter(torch.linspace(-1, 1, 7)) for _ in range(2))
    ours = build_optimizer({"name": name, **arguments}, [left], 0.1)
    theirs = PLAIN_OPTIMIZERS[name]([right], lr=0.1, **as_torch_s(name, arguments))
    for step in range(5):
        for parameter, optimizer in ((left, ours), (right, theirs)):
            parameter.grad = torch.cos(parameter.detach() * step)
            optimizer.step()
    torch.testing.assert_close(left, right, rtol=1e-5, atol=1e-6)


def test_two_runs_are_bitwise_the_same():
    own = config(MLP | {"dropout": 0.3, "batch_norm": True}, budget="2ep")
    once, again = run(own), run(own)
    assert_same_numbers(once.curve, again.curve)
    assert_same_weights(once.weights, again.weights)
    # Nor does it matter which trials went before.
    assert_same_numbers(run(config(lr=0.3, budget="1ep"), own)[1].curve, once.curve)
    assert run(own, seeds=[1]).curve != once.curve


def test_thread_count_of_the_caller_does_not_matter():
    own = config(budget="1ep")
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        first = run(own)
        assert torch.get_num_threads() == 2
        torch.set_num_threads(1)
        assert_same_numbers(run(own).curve, first.curve)
    finally:
        torch.set_num_threads(before)


def test_each_stream_has_its_own_seed(place):
    where = place(
        nets=NETS
        + """
    seen = []

    class Nosy(Net):
        def __init__(self, in_features, num_classes):
            super().__init__(in_features, num_classes)
            seen.append(("weights", torch.initial_seed(), torch.get_num_threads()))

        def forward(self, x):
            assert self.training is torch.is_grad_enabled()
            seen.append(("noise", torch.initial_seed(), torch.get_num_threads()))
            return super().forward(x)
    """
    )
    ended = run(config(net("nets.Nosy"), budget="3ba", evaluate="1ba"), place=where, seeds=[3])
    assert ended.result.outcome is Outcome.COMPLETED, ended.result.traceback
    seeds = randomness.trial_seeds(3)
    expected = {("weights", seeds.weights, 1), ("noise", seeds.noise, 1)}
    assert set(sys.modules["nets"].seen) == expected and len(set(seeds)) == 3
    assert not set(seeds) & set(randomness.trial_seeds(4))


def test_noise_drawn_in_evaluation_does_not_shift_the_training_s(place):
    where = place(
        nets=NETS
        + """
    drawn = []

    class Noisy(Net):
        def forward(self, x):
            noise = torch.rand((), device=x.device)
            drawn.append((self.training, noise.item()))
            return super().forward(x) * noise
    """
    )
    run(config(net("nets.Noisy"), budget="1ba", evaluate="1ba"), place=where, seeds=[3])
    first = make_generator(randomness.trial_seeds(3).noise)
    expected = torch.rand((), generator=first, device=DEVICE).item()
    assert (True, expected) in sys.modules["nets"].drawn


def test_one_seed_means_the_same_start_whatever_the_point():
    slow, fast = run(
        config(budget="1ba", evaluate="1ba", lr=1e-9), config(budget="1ba", evaluate="1ba", lr=0.1)
    )
    assert_same_numbers(slow.curve["train_loss"], fast.curve["train_loss"])
    assert slow.curve["loss"] != fast.curve["loss"]


def test_callers_generators_are_left_alone():
    states = (random.getstate(), np.random.get_state()[1].copy(), torch.get_rng_state())
    noise = noise_state()
    job = run_cohort(cohort(config(MLP | {"dropout": 0.5}, budget="2ep")))
    curves = []
    for event in job:
        assert random.getstate() == states[0]
        assert (np.random.get_state()[1] == states[1]).all()
        assert torch.equal(torch.get_rng_state(), states[2])
        assert torch.equal(noise_state(), noise)
        curves.append(event)
    # Drawing between the events changes nothing.
    job = run_cohort(cohort(config(MLP | {"dropout": 0.5}, budget="2ep")))
    for event in job:
        torch.rand(3)
        torch.rand(3, device=DEVICE)
        last = event
    assert_same_numbers(last.curve, curves[-1].curve)
    torch.set_rng_state(states[2])
    set_noise(noise)


def test_folds_have_their_own_splits():
    own = config(split={"validation": {"folds": 3}}, budget="1ep")
    ended = [run(own, fold=fold) for fold in range(3)]
    assert len({each.curve["loss"][0] for each in ended}) == 3
    assert facts(own).train_samples == (1198, 1198, 1198)


def test_evaluations():
    own = config()["train"]
    for budget, evaluate, expected in [
        ("10ba", "3ba", (3, 6, 9, 10)),
        ("9ba", "3ba", (3, 6, 9)),
        ("9ba", "20ba", (9,)),
        ("6ba", "1.5ba", (2, 3, 4, 6)),
        ("3ba", "0.01dur", (1, 2, 3)),
        ("3ba", "0ba", (1, 2, 3)),
        ("2ep", "1ep", (16, 31)),
    ]:
        given = own | {"budget": budget, "evaluate": evaluate}
        assert evaluation_steps(given, 1000) == expected


@given(st.integers(1, 500), st.floats(0.01, 600))
def test_evaluations_rise_to_the_budget(budget, interval):
    given = config()["train"] | {"budget": f"{budget}ba", "evaluate": f"{interval:.4f}ba"}
    steps = evaluation_steps(given, 1000)
    assert steps[-1] == budget and all(a < b for a, b in itertools.pairwise((0, *steps)))
    assert len(learning_rates(given, 1000)) == budget


@given(st.integers(1, 50), st.integers(1, 50), st.integers(0, 5))
def test_batches_are_cut_from_shuffled_epochs(samples, size, seed):
    size = min(size, samples)
    stream = randomness.batches(samples, size, seed, DEVICE)
    taken = list(itertools.islice(stream, 3 * samples // size + 1))
    assert all(len(batch) == size for batch in taken)
    flat = torch.cat(taken).tolist()
    for epoch in range(3):
        whole = flat[epoch * samples : (epoch + 1) * samples]
        assert sorted(whole) == list(range(samples))[: len(whole)] or len(whole) < samples
    again = itertools.islice(randomness.batches(samples, size, seed, DEVICE), len(taken))
    assert all(torch.equal(a, b) for a, b in zip(taken, again, strict=True))


def test_batches_do_not_follow_a_default_device():
    expected = next(randomness.batches(10, 4, 0, DEVICE))
    with torch.device("meta"):  # As torch.set_default_device in a user's module.
        assert torch.equal(next(randomness.batches(10, 4, 0, DEVICE)), expected)


# Outcomes


def test_a_huge_rate_diverges():
    lost, fine = run(config(lr=1e6, evaluate="10ba"), config())
    assert lost.result.outcome is Outcome.DIVERGED
    assert lost.result.reason.startswith("training loss is") and "steps" in lost.result.reason
    assert lost.result.steps < 90 and lost.weights is None
    assert fine.result.outcome is Outcome.COMPLETED


def test_a_validation_loss_that_is_not_finite_is_lost():
    # One step so far that the training loss, taken before it, knows nothing.
    lost = run(config(budget="1ba", lr=1e38))
    assert math.isfinite(lost.curve["train_loss"][0])
    assert lost.result.outcome is Outcome.DIVERGED
    assert lost.result.reason in {f"validation loss is {x} after 1 steps" for x in ("nan", "inf")}


def test_a_lucky_first_batch_is_no_start():
    """Of single samples some have next to no loss; what follows is not ten times as bad."""
    own = config(
        {"name": "logistic"}, "diabetes", budget="0.5ep", batch_size=1, lr=1e-3, evaluate="0.1ep"
    )
    ended = run(*[own] * 24, seeds=range(24), objective=Objective("rmse", "min"))
    assert [each.result.reason for each in ended] == [""] * 24


def test_the_start_is_the_loss_over_samples_of_the_training_split(monkeypatch):
    monkeypatch.setattr(validation, "ALONE_CHUNK", 100)
    own = config({"name": "logistic"}, lr=1e3, label_smoothing=0.1, evaluate="10ba")
    reason = run(own).result.reason
    placed = placed_data(own)
    with torch.random.fork_rng():
        torch.manual_seed(randomness.trial_seeds(0).weights)
        model = build_model({"name": "logistic"}, (1, 8, 8), 10, Workplace()).to(DEVICE)
    chosen = [k * placed.samples // 100 for k in range(100)]
    expected = F.cross_entropy(
        model(placed.x_train[chosen]), placed.y_train[chosen], label_smoothing=0.1
    )
    assert reason.endswith(f"more than 10 times its start of {expected.item():.3g}")


def test_user_errors_end_their_trial_only(place):
    where = place(
        nets=NETS
        + """
    class Broken(Net):
        def forward(self, x):
            if self.training and torch.is_grad_enabled():
                raise KeyError("lost thing")
            return super().forward(x)

    class Quits(Net):
        def forward(self, x):
            raise SystemExit(3)

    class Hungry(Net):
        def forward(self, x):
            return super().forward(x) + torch.empty(2**60)[0]

    class Greedy(Net):
        def __init__(self, num_classes):
            raise MemoryError("no room")
    """
    )
    names = ("Broken", "Quits", "Hungry", "Greedy", "Absent", "Net")
    configs = [config(net(f"nets.{name}"), budget="1ep") for name in names]
    ended = run(*configs, place=where)
    outcomes = [each.result.outcome.value for each in ended]
    memory = ["out_of_memory"] * 2
    assert outcomes == ["failed", "failed", *memory, "failed", "completed"]
    broken = ended[0].result
    assert broken.reason.startswith("KeyError: 'lost thing' (nets.py, line ")
    assert broken.steps == 0
    assert 'raise KeyError("lost thing")' in broken.traceback
    assert ended[1].result.reason.startswith("SystemExit: 3 (nets.py, line ")
    assert "allocate memory" in ended[2].result.reason
    assert "nets has no 'Absent'" in ended[4].result.reason


RAISES = """
    class Strange(BaseException):
        pass

    def loads(kind):
        raise {"strange": Strange, "exit": GeneratorExit, "keyboard": KeyboardInterrupt}[kind]("me")

    class Raises(Net):
        def __init__(self, in_features, num_classes, kind, at):
            super().__init__(in_features, num_classes)
            self.kind, self.at = kind, at
            if at == "once":
                loads(kind)

        def forward(self, x):
            if self.at == "forward" or self.at == "evaluation" and not self.training:
                loads(self.kind)
            return super().forward(x)
"""


@pytest.fixture
def as_in_a_worker():
    """SIGINT is ignored there, so a KeyboardInterrupt is the code's own."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("kind", ["strange", "exit", "keyboard"])
def test_nothing_that_user_code_raises_ends_the_run(place, as_in_a_worker, kind):
    where = place(nets=NETS + RAISES, package="import nets\nnets.loads('strange')")
    name = {"strange": "Strange", "exit": "GeneratorExit", "keyboard": "KeyboardInterrupt"}[kind]
    places = ("once", "forward", "evaluation")
    configs = [config(net("nets.Raises", kind=kind, at=at), budget="1ep") for at in places]
    for ended in run(*configs, place=where):
        assert ended.result.outcome is Outcome.FAILED
        assert f"{name}: me" in ended.result.reason
        assert 'raise {"strange": Strange' in ended.result.traceback
    with pytest.raises(ModelError, match=f"nets.Raises: tried on a first batch it raised {name}: "):
        facts(configs[1], place=where)
    with pytest.raises(ModelError, match=f"nets.Raises: {name}: me"):
        facts(configs[0], place=where)
    with pytest.raises(DataError, match=f"nets.loads: {name}: me"):
        source = {"class_path": "nets.loads", "init_args": {"kind": kind}}
        facts(config(source=source), place=where)
    with pytest.raises(ModelError, match="importing package raised Strange: me"):
        importing.resolve("package.Net", where)


def test_ctrl_c_interrupts_where_it_can_arrive(place):
    where = place(
        nets=NETS
        + """
    import os, signal

    class Interrupted(Net):
        def forward(self, x):
            os.kill(os.getpid(), signal.SIGINT)
            return super().forward(x)
    """
    )
    own = config(net("nets.Interrupted"))
    threads, path = torch.get_num_threads(), list(sys.path)
    for job in (
        run_cohort(cohort(own, place=where)),
        prepare(Preparation((own,), where)),
    ):
        with pytest.raises(KeyboardInterrupt):
            list(job)
    assert (torch.get_num_threads(), sys.path) == (threads, path)


def test_a_closed_job_ends_at_once():
    job = run_cohort(cohort(config(), config()))
    while not isinstance(next(job), Measured):
        pass
    job.close()
    assert list(job) == []


def test_splits_that_are_over_are_gone_before_others_are_placed(monkeypatch):
    """A device may not have room for both."""
    own, kept = config(split={"validation": {"folds": 2}})["data"], []
    raw, move = resident.load_raw(own, Workplace()), resident._to_device

    def watch(*given):
        kept.append(len(resident._kept))
        return move(*given)

    monkeypatch.setattr(resident, "_to_device", watch)
    for capacity, expected in ((0, [0, 0]), (resident.CAPACITY, [0, 1])):
        monkeypatch.setattr(resident, "CAPACITY", capacity)
        monkeypatch.setattr(resident, "_kept", type(resident._kept)())
        kept.clear()
        placed = [resident.place(raw, own, fold, DEVICE) for fold in range(2)]
        assert kept[::2] == expected and placed[1] in resident._kept.values()


def test_an_ended_trial_leaves_no_tensors(place):
    where = place(
        nets=NETS
        + """
    import weakref
    alive = []

    class Broken(Net):
        def forward(self, x):
            big = torch.zeros(1000)
            alive.append(weakref.ref(big))
            error = KeyError("lost thing")  # The error holds the frame and the frame the error.
            raise error
    """
    )
    gc.disable()
    try:
        run(config(net("nets.Broken")), place=where)
        assert [reference() for reference in sys.modules["nets"].alive] == [None]
    finally:
        gc.enable()


@pytest.mark.parametrize("fails", [False, True])
def test_a_model_whose_parts_refer_to_each_other_is_gone_with_its_trial(fails, place):
    where = place(
        nets=NETS
        + """
    import weakref
    import torch._C._functorch as functorch
    functorch.alive = []  # Globals of its own are put back between trials.

    class Around(Net):
        def __init__(self, in_features, num_classes, fails):
            super().__init__(in_features, num_classes)
            self.fails, self.own = fails, [self]
            functorch.alive += [weakref.ref(each) for each in self.parameters()]

        def forward(self, x):
            if self.fails and self.training:
                raise KeyError("lost thing")
            return super().forward(x)
    """
    )
    gc.disable()
    try:
        ended = run(config(net("nets.Around", fails=fails), budget="2ba"), place=where)
        outcome = Outcome.FAILED if fails else Outcome.COMPLETED
        assert ended.result.outcome is outcome, ended.result.traceback
        alive = sys.modules["nets"].functorch.alive
        assert len(alive) == 4 and not any(each() is not None for each in alive)
    finally:
        gc.enable()


def walk(job, answers):
    """All events of a job, each `None` and `Reached` answered by the next of `answers`."""
    events, replies = [], None
    while True:
        try:
            event = job.send(replies)
        except StopIteration:
            return events
        events.append(event)
        waits = event is None or isinstance(event, Reached)
        replies = answers.pop(0) if waits else [] if events else None


def test_a_trial_waits_at_its_rungs():
    own = config(budget="60ba", evaluate="20ba")
    go, stop = Verdict.GO_ON, Verdict.STOP
    both = cohort(own, own, rungs=(20, 40, 60))
    # The first goes on at once, then after others' verdicts and silence; the second is stopped.
    answers = [[(0, go)], [], [(1, stop)], [], [(1, stop), (0, go)], [(1, stop)]]
    events = walk(run_cohort(both), answers)
    assert answers == []
    kinds = ["None" if each is None else type(each).__name__ for each in events]
    assert kinds == [
        *("Started", "Measured", "Reached", "Measured", "Reached", "None", "None", "None"),
        *("Measured", "Ended", "Started", "Measured", "Reached", "Ended"),
    ]
    first, second = (each for each in events if isinstance(each, Ended))
    assert first.result.outcome is Outcome.COMPLETED
    assert second.result.outcome is Outcome.PRUNED and second.result.steps == 20
    assert second.weights is None and second.curve["step"] == [20]
    # Waiting changes nothing.
    assert_same_numbers(first.curve, run(own).curve)


def test_weights_come_back_when_they_reach_the_bar():
    own = config(budget="1ep")
    ended = run(own)
    value = ended.result.last["accuracy"]
    model = build_model(MLP, (1, 8, 8), 10, Workplace()).to(DEVICE)
    model.load_state_dict(safetensors.torch.load(ended.weights))
    placed = placed_data(own)
    with torch.no_grad():
        right = model(placed.x_validation).argmax(1) == placed.y_validation
    assert right.double().mean().item() == pytest.approx(value)
    assert_same_weights(run(own, bar=value).weights, ended.weights)
    assert run(own, bar=value + 0.01).weights is None
    lowest = Objective("loss", "min", "best")
    assert run(own, objective=lowest, bar=1e-9).weights is None
    assert run(own, objective=lowest, bar=1e9).weights is not None


@pytest.mark.parametrize("metric", ["loss", "accuracy"])
def test_weights_at_best_are_those_of_the_best_evaluation(metric):
    # A high rate that stays: the last evaluation is not the best.
    schedule = {"name": "constant"}
    own = config(MLP | {"batch_norm": True}, evaluate="5ba", lr=3.0, schedule=schedule)
    objective = Objective(metric, catalogue.METRICS[metric][0], "best")
    ended = run(own, objective=objective)
    result = ended.result
    assert result.best_step[metric] < result.steps
    assert result.best[metric] != result.last[metric]
    model = build_model(MLP | {"batch_norm": True}, (1, 8, 8), 10, Workplace()).to(DEVICE).eval()
    model.load_state_dict(safetensors.torch.load(ended.weights))
    placed = placed_data(own)
    with torch.no_grad():
        outputs = model(placed.x_validation)
    right = (outputs.argmax(1) == placed.y_validation).double().mean()
    value = {"accuracy": right, "loss": F.cross_entropy(outputs, placed.y_validation)}[metric]
    assert value.item() == close(result.best[metric])
    last = run(own, objective=Objective(metric, objective.goal, "last"))
    assert not same_weights(last.weights, ended.weights)
    # At this rate rounding soon makes another training.
    rows = None if exact() else 2
    for name, values in ended.curve.items():
        assert_same_numbers(last.curve[name][:rows], values[:rows])


def saved(path, seed):
    x = np.random.default_rng(seed).normal(size=(60, 4))
    np.savez(path, x=x, y=np.arange(60) % 3)


def test_data_that_changed_end_the_run(tmp_path):
    saved(tmp_path / "a.npz", 0)
    source = {"name": "npz", "source": str(tmp_path / "a.npz"), "samples": None}
    own = config(source=source, batch_size=8)
    given = {"data_hash": facts(own).data_hash}
    assert run(own, **given).result.outcome is Outcome.COMPLETED
    job = run_cohort(cohort(own, own, **given))
    events = []
    with pytest.raises(DataError, match=r"a\.npz: the data are not those the run began with"):
        for event in job:
            events.append(event)
            if isinstance(event, Ended):
                saved(tmp_path / "a.npz", 1)
    # The first trial ended as it should, the second never.
    assert [each.trial for each in events if isinstance(each, Ended)] == [0]
    assert events[-1] == Started(1)
    (tmp_path / "a.npz").unlink()
    with pytest.raises(DataError, match="there is no such file"):
        run(own, **given)


def test_a_function_that_returns_other_data_each_time_ends_the_run(place):
    from lrsearch.data import sources

    where = place(
        package="""
    import os
    import numpy as np

    def load():
        random = np.random.default_rng(int.from_bytes(os.urandom(8), "big"))
        return random.normal(size=(60, 4)), np.arange(60) % 3
    """
    )
    own = config(source={"class_path": "package.load"}, batch_size=8)
    found = facts(own, place=where)
    given = {"data_hash": found.data_hash, "source_hashes": found.source_hashes}
    assert run(own, place=where, **given).result.outcome is Outcome.COMPLETED
    sources._last = None  # As in another process.
    with pytest.raises(DataError, match=r"package\.load: the data are not those"):
        run(own, place=where, **given)


def test_code_that_changed_ends_the_run(place):
    where = place(nets="import helper\nclass Net(helper.Net): pass", helper=NETS)
    own = config(net("nets.Net"), budget="1ep")
    given = {"place": where, "source_hashes": facts(own, place=where).source_hashes}
    first = run(own, **given)
    assert first.result.outcome is Outcome.COMPLETED
    place(helper=NETS + "    # changed")
    assert_same_numbers(run(own, **given).curve, first.curve)  # It still has the code of before.
    importing.forget_imports()  # As in another process.
    job = run_cohort(cohort(own, **given))
    assert next(job) == Started(0)
    with pytest.raises(ModelError, match=r"nets\.Net: the source code is not what the run began"):
        next(job)
    place(nets="1 / 0")
    importing.forget_imports()
    with pytest.raises(ModelError, match="importing nets raised ZeroDivisionError"):
        run(own, **given)


def test_tied_weights_can_be_saved(place):
    where = place(
        nets="""
    from torch import nn

    class Tied(nn.Module):
        def __init__(self, in_features, num_classes):
            super().__init__()
            self.a = nn.Linear(in_features, in_features)
            self.b = nn.Linear(in_features, in_features)
            self.b.weight = self.a.weight
            self.head = nn.Linear(in_features, num_classes)

        def forward(self, x):
            return self.head(self.b(self.a(x.flatten(1)).tanh()))
    """
    )
    kept = safetensors.torch.load(run(config(net("nets.Tied")), place=where).weights)
    assert torch.equal(kept["a.weight"], kept["b.weight"])


# Metrics


@given(st.integers(2, 5), st.integers(1, 60), st.integers(0, 999))
def test_classification_metrics_equal_scikit_learn_s(classes, samples, seed):
    dice = torch.Generator().manual_seed(seed)
    outputs = torch.randn(samples, classes, generator=dice)
    targets = torch.randint(0, classes, (samples,), generator=dice)
    sums = metrics.classification_sums(outputs.to(DEVICE), targets.to(DEVICE))
    found = metrics.classification_metrics(sums.tolist())
    predicted = outputs.argmax(1)
    assert found["accuracy"] == pytest.approx(sklearn_metrics.accuracy_score(targets, predicted))
    expected = sklearn_metrics.f1_score(targets, predicted, average="macro")
    assert found["f1"] == pytest.approx(expected)


@given(st.integers(1, 3), st.integers(2, 60), st.integers(0, 999))
def test_regression_metrics_equal_scikit_learn_s(targets, samples, seed):
    random = np.random.default_rng(seed)
    scale = random.uniform(0.1, 100, targets)
    true, predicted = (random.normal(size=(samples, targets)) for _ in range(2))
    sums = metrics.regression_sums(
        torch.tensor(predicted, device=DEVICE), torch.tensor(true, device=DEVICE)
    ).tolist()
    spread = ((true - true.mean(axis=0)) ** 2).sum(axis=0)
    found = metrics.regression_metrics(sums, samples, scale.tolist(), spread.tolist())
    true, predicted = true * scale + 5, predicted * scale + 5
    root = sklearn_metrics.root_mean_squared_error(true, predicted)
    assert found["rmse"] == pytest.approx(root)
    assert found["mae"] == pytest.approx(sklearn_metrics.mean_absolute_error(true, predicted))
    assert found["r2"] == pytest.approx(sklearn_metrics.r2_score(true, predicted))


def test_r2_of_a_constant_target_is_scikit_learn_s():
    for error, expected in ((0.0, 1.0), (1.0, 0.0)):
        assert metrics.regression_metrics([error, error], 1, [1.0], [0.0])["r2"] == expected


def test_a_model_s_metrics_over_several_chunks(monkeypatch):
    monkeypatch.setattr(validation, "ALONE_CHUNK", 100)
    noisy = MLP | {"dropout": 0.5, "batch_norm": True}
    own = config(noisy, budget="1ep", label_smoothing=0.2)
    ended = run(own)
    placed = placed_data(own)
    model = build_model(noisy, (1, 8, 8), 10, Workplace()).to(DEVICE).eval()
    model.load_state_dict(safetensors.torch.load(ended.weights))
    with torch.no_grad():
        outputs = model(placed.x_validation).double().cpu()
    targets = placed.y_validation.cpu()
    loss = sklearn_metrics.log_loss(targets, outputs.softmax(1), labels=range(10))
    assert ended.result.last["loss"] == close(loss, rel=1e-5)
    f1 = sklearn_metrics.f1_score(targets, outputs.argmax(1), average="macro")
    assert ended.result.last["f1"] == pytest.approx(f1)


@pytest.mark.parametrize("loss", ["mse", "mae", "huber"])
def test_regression_losses(loss):
    own = config(source="diabetes", loss=loss, lr=0.01)
    ended = run(own, objective=Objective("loss", "min"))
    placed = placed_data(own)
    model = build_model(MLP, (10,), 1, Workplace()).to(DEVICE)
    model.load_state_dict(safetensors.torch.load(ended.weights))
    with torch.no_grad():
        error = (model(placed.x_validation) - placed.y_validation).double().abs()
    expected = {
        "mse": error.square(),
        "mae": error,
        "huber": torch.where(error < 1, error.square() / 2, error - 0.5),
    }[loss]
    assert ended.result.last["loss"] == close(expected.mean().item(), rel=1e-5)


# Models


@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 28, 28), (3, 7, 1), (2, 1, 1)])
@pytest.mark.parametrize("batch_norm", [True, False])
def test_built_in_models_take_images(shape, batch_norm):
    arguments = {"activation": "gelu", "dropout": 0.5, "batch_norm": batch_norm}
    for model in (
        {"name": "logistic"},
        {"name": "mlp", "hidden": [5, 4], **arguments},
        {"name": "mlp", "hidden": [], **arguments},
        {"name": "cnn", "channels": [4, 8, 8], **arguments},
        RESNET | {"depth": 14, "batch_norm": batch_norm},
    ):
        built = build_model(model, shape, 7, Workplace()).to(DEVICE)
        outputs = built(torch.randn(3, *shape, device=DEVICE))
        assert outputs.shape == (3, 7)
        outputs.sum().backward()
        assert all(each.grad is not None for each in built.parameters())


@pytest.mark.parametrize("activation", activations.ACTIVATIONS)
def test_activations_are_their_own(activation):
    built = build_model(MLP | {"activation": activation}, (4,), 2, Workplace())
    assert type(built.body[1]) is activations.ACTIVATIONS[activation]


def test_constructors_get_sizes_unless_given(place):
    where = place(
        nets="""
    from torch import nn

    def make(in_channels, num_classes, **others):
        assert others == {"extra": 1}
        return nn.Sequential(nn.Flatten(), nn.Linear(64 * in_channels, num_classes))
    """
    )
    built = build_model(net("nets.make", extra=1), (1, 8, 8), 10, where)
    assert built[1].in_features == 64 and built[1].out_features == 10
    built = build_model(net("nets.make", extra=1, in_channels=2), (1, 8, 8), 10, where)
    assert built[1].in_features == 128
    free = build_model(net("torch.nn.Linear", in_features=4, out_features=2), (4,), 2, where)
    assert isinstance(free, nn.Linear)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (net("nets.Net", widht=3), "takes no argument 'widht'\n  did you mean 'width'"),
        (net("nets.Net", width="x"), "nets.Net: TypeError: "),
        (net("nets.Other"), "nets.Other is a class, but no subclass of torch.nn.Module"),
        (net("nets.number"), "nets.number gives int, not a torch.nn.Module"),
        (
            net("nets.built"),
            "neither a class nor a function, but a value of type Net (nets.py, line",
        ),
        (net("nets.Nett"), "nets has no 'Nett'\n  did you mean 'Net'"),
        (net("package.nest.Net"), "there is no 'nest' in package\n  did you mean 'nets'"),
        (net("nets"), "'nets' is no class path"),
        (net("torch.nn.Liner"), "torch.nn has no 'Liner'\n  did you mean 'Linear'?"),
        (net("package.wrong.Net"), "importing package.wrong raised ZeroDivisionError"),
        (net("package.needy.Net"), "importing package.needy raised ModuleNotFoundError: No module"),
        (net("package.needy.Net"), "-m pip install something_that_is_not_there"),
        ({"name": "mpl"}, "unknown model 'mpl'\n  did you mean 'mlp'"),
    ],
)
def test_models_that_cannot_be_built(place, model, message):
    where = place(
        {
            "nets": NETS
            + "\n    class Other: pass\n    def number(): return 3\n    built = Net(1, 1)\n",
            "package.nets": NETS,
            "package.__init__": "",
            "package.wrong": "1 / 0",
            "package.needy": "import something_that_is_not_there",
        }
    )
    with pytest.raises(ModelError) as caught:
        build_model(model, (64,), 10, where)
    assert message in str(caught.value)


LAZY = """
    from torch import nn

    def lazy(num_classes):
        return nn.Sequential(
            nn.Flatten(), nn.LazyLinear(8), nn.LazyBatchNorm1d(), nn.ReLU(),
            nn.LazyLinear(num_classes),
        )

    class Unused(nn.Sequential):
        def __init__(self, num_classes):
            super().__init__(nn.Flatten(), nn.LazyLinear(num_classes))
            self.spare = nn.LazyLinear(3)

        def forward(self, x):
            return self[1](self[0](x))

    def misfit(num_classes):
        return nn.Sequential(nn.LazyLinear(8), nn.Linear(7, num_classes))
"""


def test_lazy_modules_get_their_sizes_and_are_trained(place):
    where = place(nets=LAZY)
    own = config(net("nets.lazy"), budget="2ep")
    assert facts(own, place=where).parameters == 64 * 8 + 8 + 2 * 8 + 8 * 10 + 10
    ended = run(own, place=where)
    assert ended.result.outcome is Outcome.COMPLETED and ended.result.last["accuracy"] > 0.7
    again = run(config(lr=0.3, budget="1ep"), own, place=where)[1]
    assert_same_weights(again.weights, ended.weights)
    model = build_model(net("nets.lazy"), (1, 8, 8), 10, where)
    assert all(each.training for each in model.modules())
    assert torch.equal(model[2].running_mean, torch.zeros(8))
    lazy = net("torch.nn.LazyLinear", out_features=3)
    assert facts(config(lazy, "iris")).parameters == 4 * 3 + 3


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "nets.Unused",
            "modules that its forward never calls have no size: spare.weight, spare.bias",
        ),
        ("nets.misfit", "lazy modules get their sizes in a forward pass, which raised RuntimeErr"),
    ],
)
def test_lazy_modules_that_get_no_size(place, name, message):
    where = place(nets=LAZY)
    with pytest.raises(ModelError, match=f"{name}: .*{message}"):
        facts(config(net(name)), place=where)


# Importing


def test_a_missing_module_names_the_nearest(place):
    where = place(nets=NETS)
    typo = Workplace(str(DEVICE), where.folder, ("netz",))
    with pytest.raises(ModelError, match="there is no 'netz'") as caught:
        importing.resolve("netz.Net", typo)
    assert "did you mean 'nets'" in str(caught.value)


def test_nothing_is_imported_before_it_is_allowed(place):
    where = place(nets=NETS, evil="import sys; sys.evil_ran = True\ndef make(): pass")
    with pytest.raises(ImportRefused, match="needs the module 'evil'") as caught:
        importing.resolve("evil.make", where)
    assert not hasattr(sys, "evil_ran") and "--allow-import evil" in str(caught.value)
    for path in ("os.system", "builtins.eval", "torch.load", "torch.hub.load", "netsx.Net"):
        with pytest.raises(ImportRefused):
            importing.resolve(path, where)


def test_what_an_allowed_module_passes_on_is_not_allowed(place):
    where = place(
        nets=NETS + "\n    import os, functools\n    run = functools.partial(os.system)\n"
    )
    for path in ("nets.os.system", "nets.run", "nets.torch.load", "nets.nn.init.normal_"):
        with pytest.raises((ImportRefused, ModelError)):
            importing.resolve(path, where)
    assert importing.resolve("nets.nn.Linear", where) is nn.Linear


@pytest.mark.parametrize(
    "path",
    [
        "torch.nn.functional.relu",
        "torch.nn.init.normal_",
        "torch.nn.Parameter",
        "torch.nn.modules.module.torch.load",
        "torch.nn.utils.clip_grad_norm_",
        "torch.nn",
    ],
)
def test_only_module_classes_of_torch_nn_are_free(path):
    with pytest.raises(ImportRefused):
        importing.resolve(path, Workplace())


def test_the_folder_is_on_the_path_only_meanwhile(place):
    before = list(sys.path)
    importing.resolve("nets.Net", place(nets=NETS))
    assert sys.path == before


def test_each_folder_has_its_own_modules(tmp_path):
    found = []
    for name in ("one", "two", "one"):
        (tmp_path / name).mkdir(exist_ok=True)
        (tmp_path / name / "nets.py").write_text(f"def make(): return {name!r}")
        made = importing.resolve(
            "nets.make", Workplace(str(DEVICE), str(tmp_path / name), ("nets",))
        )
        found.append(made())
    assert found == ["one", "two", "one"]


def test_source_hash_covers_what_is_imported_locally(place):
    files = {
        "package.__init__": "from .nets import Net",
        "package.nets": "from package.deep import blocks\nclass Net: pass",
        "package.deep.blocks": "import helper\nimport torch, json",
        "package.unused": "",
        "helper": "",
        "other": "",
    }
    where = place(files)
    paths = ["package.Net", "torch.nn.Linear"]

    def found():
        importing.forget_imports()
        (each,) = importing.source_hashes(paths, where).values()
        return each

    first = found()
    assert len(first) == 64
    for name, counts in [
        ("package.__init__", True),
        ("package.nets", True),
        ("package.deep.blocks", True),
        ("helper", True),
        ("package.unused", False),
        ("other", False),
    ]:
        place({name: files[name] + "\n# changed"})
        assert (found() != first) is counts, name
        place({name: files[name]})
    assert importing.source_hashes(["torch.nn.Linear"], where) == {}


def test_each_class_path_has_the_hash_of_its_own_source(place):
    where = place({"nets": NETS, "package.nets": NETS, "package.__init__": ""})
    paths = ["nets.Net", "package.nets.Net"]
    first = importing.source_hashes(paths, where)
    assert list(first) == paths
    place(nets=NETS + "    # changed")
    # What was imported before is still what it was.
    assert importing.source_hashes(paths, where) == first
    importing.forget_imports()
    again = importing.source_hashes(paths, where)
    assert {path for path in paths if again[path] != first[path]} == {"nets.Net"}


def test_prepare_sees_the_code_as_it_is_now(place):
    where = place(nets="import helper\n" + textwrap.dedent(NETS), helper="")
    own = config(net("nets.Net"))
    first = facts(own, place=where)
    place(nets="import helper\n" + textwrap.dedent(NETS).replace("width=8", "width=16"))
    second = facts(own, place=where)
    assert second.parameters > first.parameters
    place(helper="# changed")
    assert facts(own, place=where).source_hashes != second.source_hashes


def test_code_imported_late_is_found(place):
    where = place(
        nets=NETS
        + """
    class Late(Net):
        def __init__(self, in_features, num_classes):
            import helper
            super().__init__(in_features, num_classes, helper.WIDTH)

        def forward(self, x):
            from deeper import twice
            return twice(super().forward(x))
    """,
        package="""
    def load():
        import numbers_of_mine
        return numbers_of_mine.X, numbers_of_mine.Y
    """,
        helper="WIDTH = 3",
        deeper="def twice(x): return 2 * x",
        numbers_of_mine="X = [[n, -n] for n in range(40)]\nY = [n % 2 for n in range(40)]",
    )
    before = list(sys.path)
    own = config(net("nets.Late"), source={"class_path": "package.load"}, batch_size=8)
    assert facts(own, place=where).parameters == 2 * 3 + 3 + 3 * 2 + 2
    paths = []
    for event in run_cohort(cohort(own, place=where)):
        paths.append(list(sys.path))
        last = event
    assert last.result.outcome is Outcome.COMPLETED, last.result.traceback
    assert all(each == before for each in paths)


# Preparing


def test_facts_of_digits():
    found = facts(config(split={"test": 0.1}), config(CNN, loss=None))
    assert (found.task, found.outputs, found.input_shape) == ("classification", 10, (1, 8, 8))
    assert found.train_samples == (1258,) and found.validation_samples == (359,)
    assert found.test_samples == 180
    assert found.parameters == 64 * 32 + 32 + 32 * 10 + 10
    assert found.source_hashes == {} and len(found.data_hash) == 64
    assert "cpu" in found.devices and found.device == str(DEVICE) and found.device_name
    assert set(found.versions) == {"torch", "numpy", "python"}
    assert pickle.loads(pickle.dumps(found)) == found


def test_facts_of_imported_code(place):
    where = place(
        nets=NETS,
        package="""
    import numpy as np
    def load(samples):
        x = np.random.normal(size=(samples, 4))  # Unseeded, yet the same for everyone.
        return x, x[:, :2].astype(np.float32)
    """,
    )
    source = {"class_path": "package.load", "init_args": {"samples": 50}}
    own = config(net("nets.Net"), source=source, loss="mse", batch_size=8)
    found = facts(own, place=where)
    assert (found.task, found.outputs, found.input_shape) == ("regression", 2, (4,))
    assert set(found.source_hashes) == {"nets.Net", "package.load"}
    assert {len(each) for each in found.source_hashes.values()} == {64}
    assert run(own, place=where, objective=Objective("r2", "max")).result.last["r2"] < 1
    from lrsearch.data import sources

    with isolation._aside(DEVICE, []):
        np.random.seed(5)
        sources._last = None
        assert resident.load_raw(own["data"], where).data_hash == found.data_hash


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        (
            {"batch_size": 5000},
            DataError,
            "is larger than the training set (1438 samples)\n  write batch_size: 1024 under",
        ),
        (
            {"batch_size": 1438, "split": {"validation": {"folds": 5}}},
            DataError,
            "batch_size 1438 is larger than the training set (1437 samples)",
        ),
        (
            {"loss": "mse"},
            DataError,
            "the loss mse is for regression and targets of your own kind, the data are for cl",
        ),
        ({"source": "diabetes", "loss": "cross_entropy"}, DataError, "allowed: mse, mae, huber"),
        ({"source": "diabetes", "label_smoothing": 0.1}, DataError, "label_smoothing needs"),
        (
            {"warmup": {"for": "4ep", "shape": "linear", "start": 0}},
            DataError,
            "a warmup of 4ep is 90 steps, the whole budget has 90",
        ),
        (
            {"schedule": {"name": "exponential", "every": "0ba", "gamma": 0.5}},
            DataError,
            "the schedule exponential gives rates that are no numbers",
        ),
        (
            {"model": net("torch.nn.Linear", in_features=9, out_features=10)},
            ModelError,
            "torch.nn.Linear: the model does not take samples of shape (1, 8, 8): mat1",
        ),
        (
            {"model": net("torch.nn.Linear", in_features=8, out_features=10)},
            ModelError,
            "the model gives [2, 1, 8, 10] for 2 samples; [2, 10] is needed (10 classes)",
        ),
        (
            {"model": net("torch.nn.LSTM", input_size=8, hidden_size=3), "source": "iris"},
            ModelError,
            "the model does not take samples of shape (4,)",
        ),
        (
            {"model": net("torch.nn.GRU", input_size=4, hidden_size=5), "source": "iris"},
            ModelError,
            "the model gives a tuple of [2, 5], [1, 5] for 2 samples",
        ),
        (
            {"model": CNN, "source": "wine"},
            ModelError,
            "cnn is for images [channels, height, width]: write model: mlp",
        ),
        ({"model": net("torch.nn.Flatten")}, ModelError, "no parameters to train"),
    ],
)
def test_what_prepare_refuses(given, error, message):
    with pytest.raises(error) as caught:
        facts(config(), config(**given)) if "source" not in given else facts(config(**given))
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("key", "layer", "read", "told"),
    [
        ("in_features", "GRU(in_features, 4, batch_first=True)", "x.squeeze(1))[0][:, -1]", "64"),
        ("in_features", "Linear(in_features, 4)", "x).mean((1, 2))", "64"),
        ("in_channels", "Conv1d(in_channels, 4, 1)", "x.squeeze(1)).mean(2)", "1"),
    ],
)
def test_a_size_that_the_data_filled_in_otherwise_than_meant_is_found(
    place, key, layer, read, told
):
    where = place(
        nets=NETS
        + f"""
    class Wide(nn.Module):
        def __init__(self, {key}=8, num_classes=10):
            super().__init__()
            self.layer, self.head = nn.{layer}, nn.Linear(4, num_classes)
        def forward(self, x):
            return self.head(self.layer({read})
    """
    )
    with pytest.raises(ModelError, match=r"does not take samples of shape \(1, 8, 8\)") as caught:
        facts(config(net("nets.Wide")), place=where)
    line = f"{key} was filled in as {told}: write {key}: 8 in its init_args"
    assert caught.value.hint == line
    facts(config(net("nets.Wide", **{key: 8})), place=where)


def test_different_data_in_one_run_are_refused():
    with pytest.raises(DataError, match="iris and digits hold different data"):
        facts(config(), config(source="iris"))


def test_errors_of_forward_are_told_before_any_trial_and_end_one_that_begins(place):
    where = place(
        nets=NETS
        + """
    class Broken(Net):
        def forward(self, x):
            raise RuntimeError("boom")
    """
    )
    own = config(net("nets.Broken"))
    with pytest.raises(ModelError, match="a first batch it raised RuntimeError: boom"):
        facts(own, place=where)
    assert run(own, place=where).result.reason.startswith("RuntimeError: boom (nets.py, line ")


def test_devices():
    assert str(device.find_device("cpu")) == "cpu"
    assert device.find_device(str(DEVICE)) == DEVICE
    assert str(device.find_device("auto")) in (*device.available_devices(), "cuda")
    for name in ("cuda:99", "cpux", ""):
        with pytest.raises(UsageError, match=f"device '{name}' is not available") as caught:
            facts(config(), place=Workplace(name))
        assert "cpu" in caught.value.hint


def test_why_there_is_no_gpu_is_told(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    for built, visible, why in (
        (False, "0", "is built without CUDA"),
        (True, "0,1", "finds no GPU"),
        (True, "-1", "CUDA_VISIBLE_DEVICES hides all GPUs"),
    ):
        monkeypatch.setattr(torch.backends.cuda, "is_built", lambda built=built: built)
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        with pytest.raises(UsageError, match=rf"^device 'cuda' is not available: .*{why}"):
            device.find_device("cuda")


def test_what_a_driver_needs_is_free_of_torch():
    code = (
        "import sys, lrsearch.data, lrsearch.train.jobs, lrsearch.train.engines.timetable;"
        "sys.exit(bool({'torch', 'sklearn'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
