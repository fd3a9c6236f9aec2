"""The optimizers that torch does not have, or not in one piece."""

import math

import pytest
import torch
from torch import nn

from lrsearch.train.batches import Batch
from lrsearch.train.lion import Lion
from lrsearch.train.optimizers import build_optimizer
from lrsearch.train.solo import Training

GENERATOR = torch.Generator()
STEPS = 20


def draw(*shape):
    return torch.randn(shape, generator=GENERATOR, dtype=torch.float64)


@pytest.fixture(autouse=True)
def same_numbers():
    GENERATOR.manual_seed(0)


def drive(optimizer, parameters, gradients, rates):
    for own, rate in zip(gradients, rates, strict=True):
        for group in optimizer.param_groups:
            group["lr"] = rate
        for parameter, gradient in zip(parameters, own, strict=True):
            parameter.grad = gradient.clone()
        optimizer.step()


LIONS = [(0.9, 0.99, 0.0), (0.95, 0.98, 0.1), (0.0, 0.5, 0.01), (0.5, 0.0, 1.0)]
RATES = [0.01 / step for step in range(1, STEPS + 1)]


@pytest.mark.parametrize(("beta1", "beta2", "decay"), LIONS)
def test_lion_is_its_formula(beta1, beta2, decay):
    start, gradients = draw(3, 4), [draw(3, 4) for _ in range(STEPS)]
    parameter, mean, expected = nn.Parameter(start.clone()), torch.zeros(3, 4), start.clone()
    for gradient, rate in zip(gradients, RATES, strict=True):
        expected -= rate * (torch.sign(beta1 * mean + (1 - beta1) * gradient) + decay * expected)
        mean = beta2 * mean + (1 - beta2) * gradient
    lion = Lion([parameter], 1.0, (beta1, beta2), decay)
    drive(lion, [parameter], [[each] for each in gradients], RATES)
    torch.testing.assert_close(parameter.detach(), expected, rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(lion.state[parameter]["exp_avg"], mean, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(("beta1", "beta2", "decay"), LIONS)
def test_lion_is_that_of_lion_pytorch(beta1, beta2, decay):
    theirs = pytest.importorskip("lion_pytorch").Lion
    start, gradients = draw(3, 4), [[draw(3, 4)] for _ in range(STEPS)]
    left, right = nn.Parameter(start.clone()), nn.Parameter(start.clone())
    drive(Lion([left], 1.0, (beta1, beta2), decay), [left], gradients, RATES)
    other = theirs([right], lr=1.0, betas=(beta1, beta2), weight_decay=decay)
    drive(other, [right], gradients, RATES)
    torch.testing.assert_close(left, right, rtol=1e-12, atol=1e-14)


def test_lion_shows_what_is_lost():
    parameter = nn.Parameter(torch.ones(3))
    parameter.grad = torch.tensor([1.0, math.nan, 0.0])
    Lion([parameter], 0.1).step()
    torch.testing.assert_close(
        parameter.detach(), torch.tensor([0.9, math.nan, 1.0]), equal_nan=True
    )


MUON = {
    "name": "muon",
    "momentum": 0.9,
    "nesterov": True,
    "weight_decay": 0.05,
    "ns_steps": 4,
    "adjust_lr_fn": "original",
    "beta1": 0.8,
    "beta2": 0.99,
    "eps": 1e-6,
}


def muons(parameters, config):
    return [
        torch.optim.Muon(
            [each for each in parameters if each.dim() == 2],
            momentum=config["momentum"],
            nesterov=config["nesterov"],
            weight_decay=config["weight_decay"],
            ns_steps=config["ns_steps"],
            adjust_lr_fn=config["adjust_lr_fn"],
        ),
        torch.optim.AdamW(
            [each for each in parameters if each.dim() != 2],
            betas=(config["beta1"], config["beta2"]),
            eps=config["eps"],
            weight_decay=config["weight_decay"],
        ),
    ]


@pytest.mark.parametrize(
    "other",
    [{}, {"nesterov": False}, {"adjust_lr_fn": "match_rms_adamw", "ns_steps": 1}],
    ids=str,
)
def test_muon_is_torch_s_two(other):
    """Matrices by one, all other ranks by the other; one rate for both, which may change."""
    config = MUON | other
    shapes = [(4,), (3, 4), (), (2, 3, 2), (6, 2)]
    starts = [draw(*shape) for shape in shapes]
    gradients = [[draw(*shape) for shape in shapes] for _ in range(STEPS)]
    left, right = ([nn.Parameter(each.clone()) for each in starts] for _ in range(2))
    ours = build_optimizer(config, left, 1.0)
    drive(ours, left, gradients, RATES)
    theirs = muons(right, config)
    for rate, own in zip(RATES, gradients, strict=True):
        for parameter, gradient in zip(right, own, strict=True):
            parameter.grad = gradient.clone()
        for optimizer in theirs:
            optimizer.param_groups[0]["lr"] = rate
            optimizer.step()
    for mine, their in zip(left, right, strict=True):
        torch.testing.assert_close(mine, their, rtol=1e-12, atol=1e-14)
        slots = theirs[0].state[their] or theirs[1].state[their]
        assert ours.state[mine].keys() == slots.keys()


@pytest.mark.parametrize("shape", [(3, 4), (4,)])
def test_muon_of_one_kind_of_parameters(shape):
    parameter = nn.Parameter(torch.ones(shape))
    optimizer = build_optimizer(MUON, [parameter], 0.1)
    parameter.grad = torch.ones(shape)
    optimizer.step()
    assert parameter.isfinite().all() and (parameter != 1).all()


def test_a_training_s_rate_is_that_of_all_groups():
    model = nn.Linear(3, 2)
    train = {
        "optimizer": MUON | {"weight_decay": 0.0},
        "lr": 1.0,
        "clip_norm": None,
        "precision": "float32",
        "loss": "mse",
        "label_smoothing": 0.0,
        "layer_decay": None,
        "groups": None,
        "weight_decay_on": "all",
    }
    training = Training(model, train)
    before = [each.detach().clone() for each in model.parameters()]
    for rate, moves in ((0.0, False), (0.1, True)):
        training.compute_gradients(Batch(torch.ones(5, 3), torch.ones(5, 2)))
        training.update(rate)
        for each, start in zip(model.parameters(), before, strict=True):
            assert torch.equal(each, start) is not moves
