"""Parameters of other types than float32, and sparse gradients, trained as a plain loop would."""

import math

import pytest
import safetensors.torch
import torch
from devices import DEVICE, DRIFT, differ_by, exact, same
from test_own_code import code, own_config, write_nets
from torch.nn import functional as F

from lrsearch.spec.model import complete_group
from lrsearch.train.batches.resident import load_raw, place
from lrsearch.train.engines.comparison import refuse
from lrsearch.train.engines.solo import run_trial
from lrsearch.train.engines.testing import look
from lrsearch.train.randomness import batches, seed_everything, trial_seeds
from lrsearch.train.users.importing import resolve
from lrsearch.trial import Cohort, Looked, Noted, Objective, Outcome, Plan, Trial

NETS = """
    import torch
    from torch import nn


    class Low(nn.Module):
        def __init__(self, in_features, num_classes, dtype):
            super().__init__()
            self.dtype = getattr(torch, dtype)
            self.a = nn.Linear(in_features, num_classes).to(self.dtype)

        def forward(self, x):
            return self.a(x.flatten(1).to(self.dtype))


    class Fourier(nn.Module):
        "A filter of the rows' frequencies, as Fourier neural operators have."

        def __init__(self, num_classes):
            super().__init__()
            self.filter = nn.Parameter(torch.randn(8, 5, dtype=torch.complex64))
            self.head = nn.Linear(64, num_classes)

        def forward(self, x):
            waves = torch.fft.rfft(x.squeeze(1)) * self.filter
            return self.head(torch.fft.irfft(waves, n=8).flatten(1))


    class Bag(nn.Module):
        def __init__(self, num_classes):
            super().__init__()
            self.embed = nn.EmbeddingBag(17 * 64, num_classes, mode="sum", sparse=True)

        def forward(self, x):
            pixels = (x.flatten(1) * 16).round().long()
            return self.embed(pixels + 17 * torch.arange(64, device=x.device))


    class Gaps(nn.Module):
        "Weights that are every second column of a tensor."

        def __init__(self, in_features, num_classes):
            super().__init__()
            self.weight = nn.Parameter((torch.randn(num_classes, 2 * in_features) / 8)[:, ::2])

        def forward(self, x):
            return x.flatten(1) @ self.weight.T


    class SetsItself(nn.Module):
        "Weights that are set by the first batch that it sees."

        def __init__(self, num_classes):
            super().__init__()
            self.a, self.head, self.set = nn.Linear(64, 16), nn.Linear(16, num_classes), False

        def forward(self, x):
            h = self.a(x.flatten(1))
            if not self.set:
                self.set = True
                self.a.bias.data.sub_(h.detach().mean(0))
            return self.head(h.tanh())
"""
HELD = '''
    import torch
    from torch import nn
    from collections import UserDict


    class Closed(UserDict):
        def items(self):
            raise OSError("the file is closed")


    class Holds(nn.Module):
        """A spectrum of numbers that weights are seldom kept in, and neighbours; and a mapping
        that cannot be looked at."""

        def __init__(self, in_features, num_classes):
            super().__init__()
            self.closed = Closed()
            self.a = nn.Linear(in_features, num_classes, dtype=torch.float64)
            self.turn = nn.Parameter(torch.ones(num_classes, dtype=torch.complex128))
            self.register_buffer("near", torch.eye(num_classes).to_sparse())

        def forward(self, x):
            return (self.a(x.flatten(1).double()) * self.turn).real
'''
MODELS = {
    "bfloat16": (code("Low", dtype="bfloat16"), "its parameters are not all float32, but bfloat16"),
    "float16": (code("Low", dtype="float16"), "its parameters are not all float32, but float16"),
    "complex": (
        code("Fourier"),
        "its parameters are not all float32, but complex64 and float32; torch.view_as_complex "
        "makes complex numbers of real ones",
    ),
    "sparse": (code("Bag"), "it has sparse tensors"),
    "gaps": (code("Gaps"), ""),
    "set": (code("SetsItself"), "its forward changes a.bias in evaluation"),
}
OPTIMIZERS = {
    "sgd": lambda p: torch.optim.SGD(p, 0.1),
    "momentum": lambda p: torch.optim.SGD(p, 0.1, momentum=0.9),
    "adagrad": lambda p: torch.optim.Adagrad(p, 0.1, eps=1e-4),
    "adamw": lambda p: torch.optim.AdamW(p, 0.1, weight_decay=0.0, eps=1e-4),
}
CONFIGS = {
    "adagrad": {"name": "adagrad", "eps": 1e-4},
    "momentum": {"name": "sgd", "momentum": 0.9},
    "adamw": {"name": "adamw", "eps": 1e-4, "weight_decay": 0.0},
}


def config_of(model, optimizer):
    named = complete_group("optimizer", CONFIGS.get(optimizer, {"name": optimizer}))
    return own_config(
        {"name": "digits"},
        model,
        budget="60ba",
        evaluate="60ba",
        batch_size=64,
        lr=0.1,
        optimizer=named,
        schedule={"name": "constant"},
        clip_norm=None,
    )


def train_plainly(config, data, make, workplace):
    """The same weights, batches and rate in a loop as everybody writes it."""
    seeds = trial_seeds(0)
    seed_everything(seeds.weights)
    arguments = dict(config["model"]["init_args"])
    net = resolve(config["model"]["class_path"], workplace)
    if config["model"]["class_path"].rpartition(".")[2] in ("Low", "Gaps"):
        arguments["in_features"] = 64
    model = net(num_classes=10, **arguments).to(DEVICE)
    optimizer = make(model.parameters())
    rows = batches(data.samples, 64, seeds.order, DEVICE)
    for _ in range(60):
        chosen = next(rows)
        optimizer.zero_grad()
        F.cross_entropy(model(data.x_train[chosen]).float(), data.y_train[chosen]).backward()
        optimizer.step()
    return model


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("name", MODELS)
def test_a_trial_is_a_plain_loop(tmp_path, name, optimizer):
    workplace = write_nets(tmp_path, NETS)
    config = config_of(MODELS[name][0], optimizer)
    trial = Trial(0, "", config, 0)
    objective = Objective("accuracy", "max")
    cohort = Cohort((trial,), Plan(), workplace, objective)
    ended = list(run_trial(cohort, trial, DEVICE))[-1]
    data = place(load_raw(config["data"], workplace), config["data"], None, DEVICE,
                 config["train"])  # fmt: skip
    if name == "sparse" and optimizer == "adamw":
        assert ended.result.outcome is Outcome.FAILED
        assert "does not support sparse gradients" in ended.result.reason
        return
    assert ended.result.outcome is Outcome.COMPLETED, ended.result.reason
    plain = train_plainly(config, data, OPTIMIZERS[optimizer], workplace)
    found = safetensors.torch.load(ended.weights)
    expected = plain.state_dict()
    assert found.keys() == expected.keys()
    for key, each in expected.items():
        assert found[key].dtype == each.dtype
        if exact():
            torch.testing.assert_close(found[key], each, rtol=1e-5, atol=1e-5)
        else:
            own = each.cpu()
            assert same(found[key], own, DRIFT), f"{key}: {differ_by(found[key], own)}"
    with torch.no_grad():
        right = plain(data.x_validation).argmax(1) == data.y_validation
    accuracy = right.float().mean().item()
    tolerance = 1e-6 if exact() else DRIFT
    assert math.isclose(ended.result.last["accuracy"], accuracy, abs_tol=tolerance)
    assert accuracy > 0.15  # It learns, the embeddings slowly.


def test_weights_of_types_that_their_file_lacks_are_kept(tmp_path):
    workplace = write_nets(tmp_path, HELD)
    config = config_of(code("Holds"), "sgd")
    config["train"] |= {"budget": "2ba", "evaluate": "2ba"}
    config["data"] |= {"test": 0.2}
    trial = Trial(0, "", config, 0)
    *events, ended = look(Cohort((trial,), Plan(), workplace, Objective("accuracy", "max")))
    assert ended.result.outcome is Outcome.COMPLETED, ended.result.reason
    found = safetensors.torch.load(ended.weights)
    assert found.keys() == {"a.weight", "a.bias", "turn"}
    turn = torch.view_as_complex(found["turn"])
    assert turn.dtype is torch.complex128 and not (turn == 1).any()
    (told,) = [each.text for each in events if isinstance(each, Noted)]
    assert told.startswith("weights are kept without near: ")
    (looked,) = [each.metrics for each in events if isinstance(each, Looked)]
    assert math.isclose(looked["loss"], ended.result.last["loss"], rel_tol=0.3)


@pytest.mark.parametrize("name", MODELS)
def test_what_lanes_do_not_train_says_why(tmp_path, name):
    workplace = write_nets(tmp_path, NETS)
    model, reason = MODELS[name]
    config = config_of(model, "sgd")
    trials = [Trial(k, "", config, k) for k in range(2)]
    data = place(load_raw(config["data"], workplace), config["data"], None, DEVICE,
                 config["train"])  # fmt: skip
    found = refuse(trials, data, workplace)
    assert found.startswith(reason) and bool(found) == bool(reason)
