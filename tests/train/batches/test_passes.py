"""Loaders with an order of their own: each batch is trained on, as in a plain loop."""

from fractions import Fraction
from itertools import chain, pairwise

import numpy as np
import pytest
import torch
from devices import DEVICE, assert_same_numbers, assert_same_weights, close
from hypothesis import given
from hypothesis import strategies as st
from test_own_code import code, own_config, own_data, raw_of, write_nets
from test_tables import INLINE, lrsearch
from test_train import facts, run
from torch.nn import functional as F
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    SubsetRandomSampler,
    TensorDataset,
)

from lrsearch.errors import DataError, ModelError
from lrsearch.train.batches import resident
from lrsearch.train.batches.averaging import BATCHES
from lrsearch.train.batches.streamed import measure_pass
from lrsearch.train.engines.timetable import evaluation_steps, learning_rates
from lrsearch.train.models.build import build_model
from lrsearch.train.randomness import seed_everything, trial_seeds
from lrsearch.trial import Outcome

SOURCE = {"validation": "source"}
PLAIN = {"name": "sgd", "momentum": 0, "dampening": 0, "nesterov": False, "weight_decay": 0}

NETS = """
    import random

    import torch
    from sklearn.datasets import load_digits
    from torch import nn
    from torch.utils.data import DataLoader, IterableDataset, Sampler, TensorDataset

    x, y = load_digits(return_X_y=True)
    x, y = torch.tensor(x[:400] / 16, dtype=torch.float32), torch.tensor(y[:400])
    x[:, 0] = torch.arange(400) / 1000  # Each sample's number.
    held = TensorDataset(x[200:], y[200:])


    class Order(Sampler):
        def __len__(self):
            return 200

        def __iter__(self):
            return iter(range(199, -1, -1))


    class Buckets(Sampler):
        # Without a length, in batches of several sizes.
        def __init__(self, size, shuffle):
            self.size, self.shuffle = size, shuffle

        def __iter__(self):
            ends = [0, self.size, self.size + 40, 150, 200]
            parts = [range(*pair) for pair in zip(ends, ends[1:])]
            if self.shuffle:
                random.shuffle(parts)
            yield from parts


    class Endless(Sampler):
        def __iter__(self):
            while True:
                yield int(torch.randint(200, ()))


    class Rows(IterableDataset):
        classes = list(range(10))

        def __init__(self, claimed=200, endless=False):
            self.claimed, self.endless = claimed, endless

        def __len__(self):
            return self.claimed

        def __iter__(self):
            while True:
                yield from zip(x[:200], y[:200])
                if not self.endless:
                    return


    class Whole(Rows):
        # Batches already.
        def __iter__(self):
            yield from zip(x[:200].split(48), y[:200].split(48))


    class Table(TensorDataset):
        classes = list(range(10))


    def load(kind, **given):
        data = Table(x[:200], y[:200])

        def make(size):
            if kind == "order":
                return DataLoader(data, size, sampler=Order(), **given)
            if kind == "buckets":
                return DataLoader(data, batch_sampler=Buckets(size, **given))
            if kind == "endless":
                return DataLoader(data, size, sampler=Endless())
            if kind == "whole":
                return DataLoader(Whole(), batch_size=None)
            return DataLoader(Rows(**given), size, num_workers=2 if kind == "workers" else 0)

        return make, held


    class Net(nn.Module):
        def __init__(self, norm=False):
            super().__init__()
            self.norm = nn.BatchNorm1d(64) if norm else nn.Identity()
            self.line = nn.Linear(64, 10)

        def forward(self, x):
            if self.training:
                with open("seen.txt", "a") as file:
                    file.write(" ".join(str(round(v * 1000)) for v in x[:, 0].tolist()) + chr(10))
            return self.line(self.norm(x))
"""
PASSES = {
    "order": ({}, 64, [64, 64, 64, 8]),
    "order, larger than all": ({"kind": "order"}, 500, [200]),
    "order, drop_last": ({"kind": "order", "drop_last": True}, 64, [64, 64, 64]),
    "buckets": ({"shuffle": False}, 64, [64, 40, 46, 50]),
    "buckets, shuffled": ({"kind": "buckets", "shuffle": True}, 50, [50, 40, 60, 50]),
    "rows": ({}, 64, [64, 64, 64, 8]),
    "rows, of no known number": ({"kind": "rows", "claimed": 150}, 64, [64, 64, 64, 8]),
    "whole": ({}, 7, [48, 48, 48, 48, 8]),
}


@pytest.fixture
def nets(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return write_nets(tmp_path, NETS)


def loader_config(name, budget="3ep", **train):
    given, size, _ = PASSES[name]
    return own_config(
        code("load", **{"kind": name, **given}),
        code("Net"),
        SOURCE,
        **{
            "batch_size": size,
            "budget": budget,
            "optimizer": PLAIN,
            "schedule": {"name": "constant"},
            **train,
        },
    )


def read_seen(folder):
    """The samples of each batch that was trained on; what a start-up passed forward is none."""
    text = (folder / "seen.txt").read_text()
    return [list(map(int, line.split())) for line in text.splitlines()]


@pytest.mark.parametrize("name", PASSES)
def test_every_batch_of_every_pass_is_trained_on(name, nets, tmp_path):
    sizes = PASSES[name][2]
    found = run(loader_config(name), place=nets)
    assert found.result.outcome is Outcome.COMPLETED, found.result.traceback
    assert (found.result.steps, found.result.epochs) == (3 * len(sizes), 3.0)
    assert found.curve["step"] == [len(sizes), 2 * len(sizes), 3 * len(sizes)]
    seen = read_seen(tmp_path)
    assert len(seen) == found.result.steps
    whole = set() if "drop_last" in name else set(range(200))
    for epoch in range(3):
        taken = seen[epoch * len(sizes) : (epoch + 1) * len(sizes)]
        assert sorted(map(len, taken)) == sorted(sizes)
        if "shuffled" not in name:
            assert [*map(len, taken)] == sizes
        each = {*chain.from_iterable(taken)}
        assert len(each) == sum(sizes) and whole <= each


@pytest.mark.parametrize("name", ["order", "buckets", "rows"])
def test_a_training_is_a_plain_loop_s(name, nets):
    """Each step's loss is its batch's mean, whatever its size."""
    own = loader_config(name, lr=0.3, evaluate="1ba", budget="2ep")
    found = run(own, place=nets)
    raw = resident.load_raw(own["data"], nets)
    seed_everything(trial_seeds(0).weights)
    model = build_model(own["model"], (64,), 10, nets).to(DEVICE)
    optimizer = torch.optim.SGD(model.parameters(), 0.3)
    losses = []
    for _ in range(2):
        for x, y in raw.streams[0].make(own["train"]["batch_size"]):
            optimizer.zero_grad()
            loss = F.cross_entropy(model.train()(x.to(DEVICE)), y.to(DEVICE))
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    assert found.curve["train_loss"] == close(losses)
    assert len(losses) == found.result.steps


def test_durations_are_passes_of_the_loader(nets):
    """200 samples in 4 batches, of 50 on average."""
    for budget, steps in (("5ep", 20), ("0.5ep", 2), ("7ba", 7), ("600sp", 12), ("625sp", 12)):
        found = run(loader_config("buckets", budget), place=nets).result
        assert (found.steps, found.epochs) == (steps, steps / 4), budget
    shaped = loader_config(
        "buckets",
        "10ep",
        evaluate="100sp",
        lr=1.0,
        schedule={"name": "step", "every": "4ep", "gamma": 0.1},
        warmup={"for": "1ep", "shape": "linear", "start": 0.0},
    )
    found = run(shaped, place=nets)
    assert found.curve["step"] == [*range(2, 41, 2)]
    rates = dict(zip(found.curve["step"], found.curve["lr"], strict=True))
    assert rates[2] == pytest.approx(0.25) and rates[4] == pytest.approx(0.75)
    # The schedule goes on after the warmup: 4 passes of 4 steps each.
    assert rates[20] == pytest.approx(1.0) and rates[22] == pytest.approx(0.1)
    assert rates[36] == pytest.approx(0.1) and rates[38] == pytest.approx(0.01)


def test_a_warmup_as_long_as_the_passes_is_refused(nets):
    own = loader_config("buckets", "3ep", warmup={"for": "12ba", "shape": "linear", "start": 0.0})
    with pytest.raises(DataError, match="12 steps, the whole budget has 12"):
        facts(own, place=nets)
    # Counted by samples and batch_size it would have 9.
    own["train"]["warmup"]["for"] = "11ba"
    facts(own, place=nets)


def test_all_batch_sizes_of_a_search_see_the_same_data(nets, tmp_path):
    for size in (16, 64, 128, 150, 300):
        (tmp_path / "seen.txt").unlink(missing_ok=True)
        own = loader_config("order", "2ep", batch_size=size)
        facts(own, place=nets)
        found = run(own, place=nets).result
        assert (found.steps, found.epochs) == (2 * -(-200 // size), 2.0)
        seen = read_seen(tmp_path)[-found.steps :]
        assert [*chain.from_iterable(seen)] == 2 * [*range(199, -1, -1)]


def test_a_loader_without_an_end_has_an_epoch_of_its_length(nets):
    for arguments in ({"kind": "endless"}, {"kind": "rows", "endless": True}):
        own = own_config(code("load", **arguments), code("Net"), SOURCE, batch_size=50)
        found = run(own, place=nets).result
        assert (found.steps, found.epochs) == (16, 4.0), found.reason


def test_workers_that_give_all_of_it_each_make_longer_passes(nets):
    own = own_config(code("load", kind="workers"), code("Net"), SOURCE, batch_size=64)
    raw = resident.load_raw(own["data"], nets)
    assert measure_pass(raw.streams[0], 64) == (400, 50)


def test_a_loader_that_gives_no_batch_says_so(nets):
    own = loader_config("order, drop_last", batch_size=201)
    with pytest.raises(ModelError, match="gives no batch at batch_size 201") as caught:
        facts(own, place=nets)
    assert caught.value.where and "drop_last" in caught.value.hint


def test_a_sampler_that_raises_is_the_user_s(nets):
    own = own_config(code("load", kind="buckets", surprise=1), code("Net"), SOURCE)
    with pytest.raises((DataError, ModelError), match="raised TypeError"):
        facts(own, place=nets)


def test_calibration_takes_no_more_than_a_pass(nets):
    own = loader_config("buckets")
    raw = resident.load_raw(own["data"], nets)
    data = resident.place(raw, own["data"], None, DEVICE, own["train"])
    assert [each.samples for each in data.calibration(64)] == [64, 40, 46, 50]
    assert len([*data.calibration(100)]) == 4 < BATCHES


def test_counting_a_pass_draws_nothing_from_a_trial(nets):
    own = loader_config("buckets, shuffled")
    raw = resident.load_raw(own["data"], nets)
    seed_everything(3)
    before = torch.rand(2), np.random.rand()
    seed_everything(3)
    assert measure_pass(raw.streams[0], 50) == (200, 50)
    assert torch.equal(torch.rand(2), before[0]) and np.random.rand() == before[1]
    first, second = (run(own, place=nets, seeds=[4]) for _ in range(2))
    assert_same_numbers(first.curve, second.curve)
    assert_same_weights(first.weights, second.weights)


class Cuts:
    """A batch sampler of given sizes."""

    def __init__(self, sizes):
        self.sizes = sizes

    def __iter__(self):
        ends = np.cumsum([0, *self.sizes])
        return iter([[*range(*pair)] for pair in pairwise(ends)])


@given(st.lists(st.integers(1, 20), min_size=1, max_size=30), st.integers(1, 20), st.integers(1, 9))
def test_an_epoch_is_as_many_steps_as_there_are_batches(sizes, epochs, size):
    total = sum(sizes)
    table = TensorDataset(torch.zeros(total + 2, 3), torch.zeros(total + 2, dtype=torch.int64))
    table.classes = ["a", "b"]
    raw = raw_of(
        (lambda _: DataLoader(table, batch_sampler=Cuts(sizes)), table), validation="source"
    )
    samples, mean = measure_pass(raw.streams[0], size)
    assert (samples, mean) == (total, Fraction(total, len(sizes)))
    train = {"budget": f"{epochs}ep", "evaluate": "1ep", "batch_size": mean, "lr": 1.0}
    train |= {"schedule": {"name": "constant"}, "warmup": None}
    steps = evaluation_steps(train, samples)
    assert steps == tuple(len(sizes) * (k + 1) for k in range(epochs))
    assert len(learning_rates(train, samples)) == steps[-1]
    assert evaluation_steps({**train, "budget": f"{total * epochs}sp"}, samples) == steps


# Whose order it is


def table(**given):
    data = TensorDataset(torch.arange(40.0).reshape(20, 2), torch.arange(20) % 2)
    return DataLoader(data, **{name: make(data) for name, make in given.items()})


SOME = SubsetRandomSampler([1, 2])


@pytest.mark.parametrize(
    ("loader", "told"),
    [
        (
            lambda: table(batch_sampler=lambda _: BatchSampler(SOME, 2, False)),
            "SubsetRandomSampler",
        ),
        (lambda: table(sampler=lambda data: RandomSampler(data, num_samples=7)), "of 7 samples"),
        (lambda: table(sampler=lambda data: RandomSampler(data, True)), "with replacement"),
        (lambda: table(batch_sampler=lambda _: Cuts([3, 4])), "Cuts"),
    ],
)
def test_an_order_that_leaves_samples_out_is_no_plain_one(loader, told):
    """What its sampler says would be dropped in silence."""
    with pytest.raises(DataError, match=rf"an order of its own \(.*{told}\) and a fixed batch"):
        raw_of(loader())
    raw = raw_of((lambda size: loader(), loader().dataset), classes=2, validation="source")
    assert raw.streams[0].make is not None


@pytest.mark.parametrize(
    "loader",
    [
        lambda: table(),
        lambda: table(sampler=RandomSampler),
        lambda: table(batch_sampler=lambda d: BatchSampler(RandomSampler(d), 3, drop_last=True)),
        lambda: table(batch_sampler=lambda d: BatchSampler(SequentialSampler(d), 3, False)),
    ],
)
def test_a_plain_order_is_the_trial_s(loader):
    assert raw_of(loader()).streams == ()
    assert raw_of(loader()).data_hash == raw_of(loader().dataset).data_hash


def test_only_an_order_of_its_own_changes_what_the_data_are_known_by():
    """Runs from before had other batches; those with any other data keep their trials."""

    def stack(samples):
        return tuple(torch.stack(each) for each in zip(*samples, strict=True))

    data = TensorDataset(torch.arange(40.0).reshape(20, 2), torch.arange(20) % 2)
    data.classes = ["even", "odd"]
    streamed = DataLoader(data, collate_fn=stack)

    def own(size):
        return DataLoader(data, size, sampler=SubsetRandomSampler(range(20)))

    def known(*parts):
        return raw_of(parts, validation="source").data_hash[:16]

    assert known(data, data) == "7be72120a87be612"
    assert known(streamed, streamed) == known(streamed, own) == "5b51385a8c8c98fd"
    assert known(own, own) == known(own, streamed) == "705ce2823eab7f02"


def test_a_stream_without_a_length_says_what_is_needed():
    class Rows(IterableDataset):
        def __iter__(self):
            return iter([(torch.zeros(2), 0)] * 5)

    with pytest.raises(DataError, match="the length of Rows is unknown") as caught:
        raw_of((lambda size: DataLoader(Rows(), size), (np.zeros((4, 2)), np.arange(4) % 2)))
    assert "give it a __len__" in caught.value.hint


def test_what_would_be_trained_counts_passes(nets, tmp_path):
    (tmp_path / "own.yaml").write_text(
        "data: {class_path: nets.load, init_args: {kind: order}, validation: source}\n"
        "model: {class_path: nets.Net}\n"
        "train: {budget: 10ep, lr: 0.1, loss: cross_entropy}\n"
        "search: {batch_size: [64, 500]}\n"
    )
    said = lrsearch(
        "grid", str(tmp_path / "own.yaml"), "--dry-run", "--allow-import", "nets", *INLINE
    )
    assert "10 to 40 steps" in said.out, said.err


def test_a_batch_sampler_is_told_the_pass():
    class Turning(Cuts):
        def set_epoch(self, epoch):
            self.sizes = self.sizes[epoch:] + self.sizes[:epoch]

    data = TensorDataset(torch.zeros(9, 3), torch.arange(9) % 2)
    data.classes = ["a", "b"]
    raw = raw_of(
        (lambda _: DataLoader(data, batch_sampler=Turning([2, 3, 4])), data), validation="source"
    )
    config = own_data(validation="source")
    batches = resident.place(raw, config, None, DEVICE).batches(7, 0)
    assert [next(batches).samples for _ in range(9)] == [2, 3, 4, 3, 4, 2, 4, 2, 3]
