"""Datasets that remember having been read: what they count is put back before each trial."""

import pytest
from devices import DEVICE, assert_same_numbers
from test_own_code import own_config, write_nets
from test_train import MLP, cohort, run

from lrsearch.train.batches import resident
from lrsearch.train.engines.cohort import run_cohort
from lrsearch.train.tape import NotRecordable
from lrsearch.train.users import importing
from lrsearch.trial import Noted

NETS = """
    import numpy as np
    import torch
    from sklearn.datasets import load_digits
    from torch.utils.data import DataLoader, Dataset, IterableDataset, Subset

    found = load_digits()
    X, Y = (found.images[:128, None] / 16).astype("float32"), found.target[:128]
    SCALE, EPOCH, SHARED = torch.ones(1), 0, {"epoch": 0, "seen": {}}


    class Counts(Dataset):
        classes = list(range(10))

        def __init__(self, kind):
            self.kind, self.reads, self.cache = kind, 0, {}
            self.draws = np.random.default_rng(0)

        def __len__(self):
            return len(Y)

        def __getitem__(self, index):
            if self.kind == "draws":
                return X[index] + self.draws.normal(0, 0.1, X[0].shape).astype("float32"), Y[index]
            if "cache" in self.kind:
                self.cache[index] = X[index]
            if "reads" in self.kind:
                self.reads += 1
            if self.kind == "scale":  # As a curriculum does that a model follows.
                SCALE.mul_(0.9)
            if self.kind == "epoch":
                global EPOCH
                EPOCH += 1
            if self.kind == "shared":
                SHARED["epoch"] += 1
                SHARED["seen"][index] = 1
            noise = np.random.rand() / 100
            return (X[index] * (1 + noise + self.reads / 1000)).astype("float32"), Y[index]


    class Epochs(IterableDataset):
        classes = list(range(10))

        def __init__(self):
            self.epoch = 0

        def __len__(self):
            return len(Y)

        def __iter__(self):
            self.epoch += 1
            for index in np.random.RandomState(self.epoch).permutation(len(Y)):
                yield X[index], Y[index]


    class Net(torch.nn.Module):
        def __init__(self, leaves):
            super().__init__()
            self.layer, self.leaves, self.left = torch.nn.Linear(64, 10), leaves, None

        def forward(self, x):
            found = self.layer(x.flatten(1))
            if self.leaves:
                self.left = found
            return found


    def counts(kind):
        return Subset(Counts(kind), range(100)), Subset(Counts(kind), range(100, 128))


    def epochs():
        own, held = Epochs(), Epochs()
        return lambda size: DataLoader(own, size), lambda size: DataLoader(held, size)
"""

SHORT = {"budget": "12ba", "evaluate": "6ba", "batch_size": 16}
SOURCE = {"validation": "source"}


@pytest.fixture
def nets(tmp_path):
    return write_nets(tmp_path, NETS)


def code(name, **arguments):
    return {"class_path": f"nets.{name}", "init_args": arguments}


CASES = {
    **{kind: code("counts", kind=kind) for kind in ("draws", "reads", "cache")},
    "epochs": code("epochs"),
}


@pytest.mark.parametrize("kind", CASES)
def test_every_trial_is_given_the_same_samples(nets, kind):
    own = own_config(CASES[kind], MLP, SOURCE, **SHORT)
    importing.forget_imports()
    _, second, third = run(own, own, own, seeds=[1, 0, 0], place=nets)
    importing.forget_imports()
    alone = run(own, own, seeds=[0, 5], place=nets)[0]
    assert_same_numbers(second.curve, third.curve)
    assert_same_numbers(alone.curve, third.curve)


def test_samples_are_the_same_for_a_model_that_leaves_something(nets):
    """It is made anew after the look at its loss, the data are not."""
    models = [code("Net", leaves=each) for each in (False, True)]
    own = [own_config(CASES["draws"], model, SOURCE, **SHORT) for model in models]
    importing.forget_imports()
    plain, leaving = run(*own, seeds=[0, 0], place=nets)
    assert_same_numbers(plain.curve, leaving.curve)


def test_a_cache_stays_and_what_is_counted_beside_it_is_named(nets):
    notes = {}
    for kind in ("cache", "cache and reads"):
        importing.forget_imports()
        own = own_config(code("counts", kind=kind), MLP, SOURCE, **SHORT)
        events = list(run_cohort(cohort(own, own, seeds=[0, 1], place=nets)))
        notes[kind] = " ".join(each.text for each in events if isinstance(each, Noted))
    assert notes["cache"] == ""
    assert "the training dataset.reads" in notes["cache and reads"]


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("reads", "the training dataset.reads changes as it is read"),
        ("draws", "the training dataset.draws changes as it is read"),
        ("scale", "SCALE changes as samples are read"),
        ("epoch", "EPOCH changes as samples are read"),
        ("shared", "SHARED.epoch changes as samples are read"),
        ("cache", ""),
    ],
)
def test_lanes_do_not_share_what_is_counted(nets, kind, told):
    own = own_config(code("counts", kind=kind), MLP, SOURCE, **SHORT)
    importing.forget_imports()
    data = resident.place(resident.load_raw(own["data"], nets), own["data"], None, DEVICE)
    if told:
        with pytest.raises(NotRecordable, match=told):
            data.sample(16)
    else:
        data.sample(16)
