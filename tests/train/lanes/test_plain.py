"""Plain PyTorch within a step, for which vmap has no rule, trains in lanes as it trains alone."""

from __future__ import annotations

from pathlib import Path

import pytest
from devices import DEVICE
from test_draws import assert_lanes_train_as_alone
from test_train import cohort, config

from lrsearch.train.engines.comparison import refuse
from lrsearch.train.engines.course import open_data
from lrsearch.trial import Objective, Workplace

pytestmark = pytest.mark.usefixtures("on_device")

CODE = """
import torch
import torch.nn.functional as F
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.norm, self.last = nn.Linear(64, 24), nn.BatchNorm1d(24), nn.Linear(24, 10)

    def forward(self, x):
        return self.last(torch.tanh(self.norm(self.first(x.flatten(1)))))

class Penalty:
    def loss(self, model, batch):
        x, y = batch
        with torch.enable_grad():
            x = x.clone().requires_grad_(True)
            out = model(x)
            seen = torch.autograd.grad(out, x, torch.ones_like(out), create_graph=True)[0]
            by_sum, = torch.autograd.grad(out[:, 0].sum(), [x], create_graph=True)
        size = seen.flatten(1).norm(dim=1).mean() + by_sum.pow(2).mean()
        return F.cross_entropy(out, y) + 0.1 * size

class Attribute:
    def loss(self, model, batch):
        x, y = batch
        with torch.enable_grad():
            x = x.detach()
            x.requires_grad = True
            slope = torch.autograd.grad(model(x).logsumexp(1).sum(), x, retain_graph=True)[0]
        return F.cross_entropy(model(x.detach() + 0.1 * slope.sign()), y)

class Shared:
    def loss(self, model, batch):
        x, y = batch
        with torch.enable_grad():
            point = torch.zeros(1, 64).requires_grad_(True)
            hidden = torch.tanh(model.first(point))
            slope = torch.autograd.grad(hidden.sum(), point, create_graph=True)[0]
        return F.cross_entropy(model(x), y) + slope.pow(2).mean()

class Spike(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, width):
        ctx.save_for_backward(x)
        ctx.width = width
        return (x > 0).to(x.dtype), x.clamp(min=0)

    @staticmethod
    def backward(ctx, gradient, other):
        (x,) = ctx.saved_tensors
        return gradient / (1 + ctx.width * x.abs()) ** 2 + other * (x > 0), None

class Spikes(Net):
    def forward(self, x):
        fired, kept = Spike.apply(self.norm(self.first(x.flatten(1))), 3.0)
        return self.last(fired + 0.1 * kept)

spike = Spike.apply  # As many write, so that it is bound before the lanes are.

class Bound(Net):
    def forward(self, x):
        fired, kept = spike(self.norm(self.first(x.flatten(1))), 3.0)
        return self.last(fired + 0.1 * kept)

class Filled(Net):
    def forward(self, x):
        hidden = self.norm(self.first(x.flatten(1)))
        out = torch.zeros(len(x), 2, 24)
        out[:, 0] = hidden
        out[:, 1].add_(torch.rand_like(hidden) if self.training else 0.5)
        share = torch.ones(24)
        share[3:5] = torch.sigmoid(hidden.mean(0)[3:5])
        chosen = torch.zeros(len(x), 24).scatter_(1, hidden.argmax(1, keepdim=True), 1.0)
        return self.last(torch.tanh(out.sum(1)) * share + chosen)

class Follows(Net):
    def __init__(self):
        super().__init__()
        self.slow, self.slower = nn.Linear(64, 24), nn.Linear(64, 24)
        for each in (*self.slow.parameters(), *self.slower.parameters()):
            each.requires_grad_(False)

    def forward(self, x):
        if self.training:
            for fast, slow in zip(self.first.parameters(), self.slow.parameters()):
                slow.data = slow.data * 0.9 + fast.data * 0.1
            for fast, slow in zip(self.first.parameters(), self.slower.parameters()):
                slow.data.mul_(0.9).add_(fast.data, alpha=0.1)
        followed = torch.tanh(self.slow(x.flatten(1)) - self.slower(x.flatten(1).neg()))
        return super().forward(x) + 0.1 * self.last(followed)

class Lends(Net):
    def __init__(self):
        super().__init__()
        self.kept = nn.Parameter(torch.zeros(24), requires_grad=False)

    def forward(self, x):
        if self.training:
            self.kept.data = self.first.bias.data
        return super().forward(x) + self.kept.mean()
"""
SGD = {"momentum": 0.9, "dampening": 0.0, "nesterov": False, "weight_decay": 0.0}


@pytest.fixture
def place(tmp_path: Path) -> Workplace:
    tmp_path.joinpath("own.py").write_text(CODE)
    return Workplace(str(DEVICE), str(tmp_path), ("own",))


def own(model: str, rate: float, step: str = "") -> dict[str, object]:
    given: dict[str, object] = {"budget": "2ep", "batch_size": 48}
    if step:
        given |= {"loss": None, "step": {"class_path": f"own.{step}", "init_args": {}}}
    path = {"class_path": f"own.{model}", "init_args": {}}
    return config(path, lr=rate, optimizer={"name": "sgd", **SGD}, **given)


@pytest.mark.parametrize("step", ["Penalty", "Attribute"])
def test_gradients_within_a_step(place: Workplace, step: str) -> None:
    configs = [own("Net", rate, step) for rate in (0.02, 0.01, 0.005)]
    goal = Objective("loss", "min")
    assert_lanes_train_as_alone(cohort(*configs, place=place, seeds=[0, 1, 0], objective=goal))


@pytest.mark.parametrize("model", ["Spikes", "Bound", "Filled", "Follows"])
def test_what_vmap_has_no_rule_for(place: Workplace, model: str) -> None:
    configs = [own(model, rate) for rate in (0.02, 0.01, 0.005)]
    assert_lanes_train_as_alone(cohort(*configs, place=place, seeds=[0, 1, 0]))


@pytest.mark.parametrize(
    ("model", "step", "reason"),
    [("Net", "Shared", "gradients of what all lanes share"), ("Lends", "", "share their memory")],
)
def test_what_lanes_would_mix_up_is_refused(
    place: Workplace, model: str, step: str, reason: str
) -> None:
    job = cohort(own(model, 0.01, step), own(model, 0.02, step), place=place)
    assert reason in refuse(job.trials, open_data(job, job.trials[0], DEVICE), place)
