"""Plain PyTorch within a step, for which vmap has no rule, trains in lanes as it trains alone."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from devices import DEVICE
from test_draws import assert_lanes_train_as_alone
from test_train import cohort, config
from torch import Tensor
from torch.func import hessian, vmap

from lrsearch.train.engines.comparison import refuse
from lrsearch.train.engines.course import open_data
from lrsearch.train.lanes import plain, rules
from lrsearch.train.lanes.draws import Noise
from lrsearch.train.lanes.rules import Rules
from lrsearch.train.tape import record
from lrsearch.trial import Objective, Workplace

pytestmark = [
    pytest.mark.usefixtures("on_device"),
    pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad"),
]

CODE = """
import torch
import torch.nn.functional as F
from torch import nn
from torch.distributions import Normal
from torch.utils.checkpoint import checkpoint, checkpoint_sequential


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
            x = x.clone().requires_grad_(requires_grad=True)
            out = model(x)
            seen = torch.autograd.grad(out, x, torch.ones_like(out), create_graph=True)[0]
            by_sum, = torch.autograd.grad(out[:, 0].sum(), [x], create_graph=True)
        size = seen.flatten(1).norm(dim=1).mean() + by_sum.pow(2).mean()
        return F.cross_entropy(out, y) + 0.1 * size

class Adapts:
    # A step within the step, as of meta-learning; gradients are for training alone.
    def loss(self, model, batch):
        x, y = batch
        own = dict(model.named_parameters())
        first = F.cross_entropy(torch.func.functional_call(model, own, (x[::2],)), y[::2])
        seen = torch.autograd.grad(first, list(own.values()), create_graph=True)
        there = {name: each - 0.1 * slope for (name, each), slope in zip(own.items(), seen)}
        return F.cross_entropy(torch.func.functional_call(model, there, (x[1::2],)), y[1::2])

    def evaluate(self, model, batch):
        return {"loss": F.cross_entropy(model(batch[0]), batch[1])}

class Pulls:
    def loss(self, model, batch):
        x, y = batch
        own = lambda x: model.last(torch.tanh(model.first(x.flatten(1))))
        out, pull = torch.func.vjp(own, x)
        (seen,) = pull(torch.ones_like(out))
        return F.cross_entropy(out, y) + 0.1 * seen.flatten(1).norm(dim=1).mean()

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

class Sums(Net):
    def __init__(self, way):
        super().__init__()
        self.way = way

    def forward(self, x):
        hidden = self.norm(self.first(x.flatten(1)))
        total = {
            "zeros": lambda: torch.zeros(24),
            "numbers": lambda: torch.tensor([0.5] * 24),
            "a number": lambda: torch.as_tensor(0.5),
            "new numbers": lambda: hidden.new_tensor(0.5),
            "a copy": lambda: torch.linspace(0, 1, 24).clone(),
            "noise": lambda: torch.zeros(24).uniform_() if self.training else torch.ones(24),
            "does not fit": lambda: torch.zeros(24),
        }[self.way]()
        mean = hidden.mean(0) if total.dim() else hidden.mean()
        total += hidden if self.way == "does not fit" else mean
        seen = torch.tensor([1.0, 2.0])  # Of no lane's numbers, and changed in place all the same.
        seen /= seen.sum()
        return self.last(hidden - total) * seen[0]

class Whitens(Net):
    def forward(self, x):
        norm = nn.BatchNorm1d(24, affine=False).train(self.training)
        return self.last(norm(self.first(x.flatten(1))))

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

class Trails(Net):
    def __init__(self):
        super().__init__()
        self.register_buffer("now", torch.zeros(24))
        self.register_buffer("then", torch.zeros(24))
        self.register_buffer("steps", torch.tensor(0))

    def forward(self, x):
        hidden = torch.tanh(self.norm(self.first(x.flatten(1))))
        if self.training:
            mean = hidden.detach().mean(0)
            self.now, self.then = 0.9 * self.now + 0.1 * mean, self.now
            self.steps = self.steps + 1
        return self.last(hidden - self.now - 0.5 * self.then + 1 / (self.steps + 1))

class Lends(Net):
    def __init__(self):
        super().__init__()
        self.kept = nn.Parameter(torch.zeros(24), requires_grad=False)

    def forward(self, x):
        if self.training:
            self.kept.data = self.first.bias.data
        return super().forward(x) + self.kept.mean()

class Checkpoints(Net):
    def __init__(self, way="plain"):
        super().__init__()
        self.way, self.drop = way, nn.Dropout(0.3)
        self.inner = nn.Sequential(nn.Linear(24, 24), self.drop, nn.Tanh(), nn.Linear(24, 24))

    def give(self):
        return Undropped(self.drop), Undropped(self.drop)

    def forward(self, x):
        h, inner = torch.tanh(self.norm(self.first(x.flatten(1)))), self.inner
        older, newer = {"use_reentrant": True}, {"use_reentrant": False}
        h = {
            "plain": lambda: inner(h),
            "reentrant": lambda: checkpoint(inner, h, **older),
            "other": lambda: checkpoint(inner, h, **newer),
            "in segments": lambda: checkpoint_sequential(inner, 2, h, **newer),
            "in segments, reentrant": lambda: checkpoint_sequential(inner, 2, h, **older),
            "in a context": lambda: checkpoint(inner, h, context_fn=self.give, **newer),
            "with other noise": lambda: checkpoint(inner, h, preserve_rng_state=False, **newer),
            "with other noise, reentrant": lambda: checkpoint(
                inner, h, preserve_rng_state=False, **older
            ),
        }[self.way]()
        return self.last(h)


class Undropped:
    def __init__(self, drop):
        self.drop = drop

    def __enter__(self):
        self.drop.p = 0.0

    def __exit__(self, *_):
        self.drop.p = 0.3


class Checking(Normal):
    _validate_args = True


class Unchecking(Normal):
    _validate_args = False


class Draws(Net):
    def __init__(self, way):
        super().__init__()
        self.way = way

    def forward(self, x):
        mean = super().forward(x)
        kind = {"checking": Checking, "unchecking": Unchecking}.get(self.way, Normal)
        given = {"validate_args": True} if self.way == "asked to" else {}
        return kind(mean, 1.0, **given).rsample() if self.training else mean
"""
SGD = {"momentum": 0.9, "dampening": 0.0, "nesterov": False, "weight_decay": 0.0}


@pytest.fixture
def place(tmp_path: Path) -> Workplace:
    tmp_path.joinpath("own.py").write_text(CODE)
    return Workplace(str(DEVICE), str(tmp_path), ("own",))


def own(model: str, rate: float, step: str = "", way: str = "") -> dict[str, object]:
    given: dict[str, object] = {"budget": "2ep", "batch_size": 48}
    if step:
        given |= {"loss": None, "step": {"class_path": f"own.{step}", "init_args": {}}}
    path = {"class_path": f"own.{model}", "init_args": {"way": way} if way else {}}
    return config(path, lr=rate, optimizer={"name": "sgd", **SGD}, **given)


@pytest.mark.parametrize("step", ["Penalty", "Adapts", "Pulls", "Attribute"])
def test_gradients_within_a_step(place: Workplace, step: str) -> None:
    configs = [own("Net", rate, step) for rate in (0.02, 0.01, 0.005)]
    goal = Objective("loss", "min")
    assert_lanes_train_as_alone(cohort(*configs, place=place, seeds=[0, 1, 0], objective=goal))


@pytest.mark.parametrize("model", ["Spikes", "Bound", "Filled", "Follows", "Trails", "Whitens"])
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


WAYS = ("reentrant", "other", "in segments", "in segments, reentrant", "in a context")


@pytest.mark.parametrize("way", WAYS)
def test_a_checkpoint_with_noise_inside(place: Workplace, way: str) -> None:
    configs = [own("Checkpoints", rate, way=way) for rate in (0.02, 0.01, 0.005)]
    assert_lanes_train_as_alone(cohort(*configs, place=place, seeds=[0, 1, 0]))


def why_not(place: Workplace, model: str, way: str) -> str:
    job = cohort(*(own(model, rate, way=way) for rate in (0.02, 0.01)), place=place)
    return refuse(job.trials, open_data(job, job.trials[0], DEVICE), place)


@pytest.mark.parametrize("way", ["zeros", "numbers", "a number", "new numbers", "a copy", "noise"])
def test_what_begins_as_all_lanes_is_filled_by_each(place: Workplace, way: str) -> None:
    configs = [own("Sums", rate, way=way) for rate in (0.02, 0.01, 0.005)]
    assert_lanes_train_as_alone(cohort(*configs, place=place, seeds=[0, 1, 0]))


def test_a_sum_that_does_not_fit_is_refused(place: Workplace) -> None:
    assert "doesn't match the broadcast shape" in why_not(place, "Sums", "does not fit")


@pytest.mark.parametrize("way", ["with other noise", "with other noise, reentrant"])
def test_a_checkpoint_that_draws_anew_trains_alone(place: Workplace, way: str) -> None:
    """Its backward pass is that of other noise than its forward pass."""
    assert "the gradient of first.weight differs" in why_not(place, "Checkpoints", way)


@pytest.mark.parametrize("way", ["asked to", "checking"])
def test_a_distribution_that_is_made_to_check_trains_alone(place: Workplace, way: str) -> None:
    assert "unless made with validate_args=False" in why_not(place, "Draws", way)


@pytest.mark.parametrize("way", ["by torch's default", "unchecking"])
def test_a_distribution_that_need_not_check_trains_in_lanes(place: Workplace, way: str) -> None:
    assert why_not(place, "Draws", way) == ""


def test_another_torch_may_name_its_functions_otherwise(
    place: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What needs the missing ones trains alone, for a reason in words; all else in lanes."""
    missing = {f"{name}_of_another": value for name, value in plain._CHECKPOINTING.items()}
    monkeypatch.setattr(plain, "_CHECKPOINTING", missing)
    assert why_not(place, "Checkpoints", "plain") == ""
    for way in ("reentrant", "other", "in segments", "in segments, reentrant"):
        told = why_not(place, "Checkpoints", way)
        # The last are the words of torch before 2.13.
        known = ("as activation checkpointing does", "inside a transform", "has no rule for vmap")
        known += ("sets the state of torch's random numbers",)
        assert any(each in told for each in known), told


def test_what_is_compiled_runs_as_it_was_written() -> None:
    """A recording needs no compiler, which would take the recording itself apart."""
    compiled = torch.compile(
        lambda x: x + 1 if torch.compiler.is_compiling() else x, backend="eager"
    )
    with plain.mapped():
        assert compiled(torch.zeros(())) == 0


def test_a_negative_variance_loses_its_lane_alone() -> None:
    """A trial alone raises, which lanes cannot, and would go on with the least variance."""
    variance = torch.tensor([[1.0, 0.0], [1.0, -1.0]], requires_grad=True)
    zeros = torch.zeros(2)
    with Rules(Noise(())):
        found = vmap(lambda var: F.gaussian_nll_loss(zeros, zeros, var))(variance)
    assert found[1].isnan() and found[0] == F.gaussian_nll_loss(zeros, zeros, variance[0])
    (slope,) = torch.autograd.grad(found[0], variance)
    assert slope[0].isfinite().all() and not slope[1].any()


@pytest.mark.parametrize("shared", [True, False])
def test_a_fill_by_a_tensor_s_number_is_one_operation_of_all_lanes(shared: bool) -> None:
    """torch's own rule fills lane after lane, and a GPU is waited for to read each number."""

    def fill(x: Tensor, number: Tensor) -> Tensor:
        out = torch.masked_fill(input=x, mask=x > 0, value=number).clone()
        out = out.masked_fill_(mask=x < -1, value=2 * number)
        out[x > 1] = number.double()
        out[:, 0][x[:, 0] > 0.5] = 3
        return out.masked_fill(x[0] > 0, torch.tensor(1.0, device=x.device).sum())

    dice = torch.Generator().manual_seed(0)
    x, number = (torch.randn(each, generator=dice) for each in ((3, 4, 5), () if shared else (3,)))
    x, number = (each.to(DEVICE).requires_grad_() for each in (x, number))
    numbers = number.expand(3)
    axes = (0, None if shared else 0)

    def lanes(*given: Tensor) -> Tensor:
        with Rules(Noise(())):
            return vmap(fill, in_dims=axes)(*given)

    alone = torch.stack([fill(each, own) for each, own in zip(x, numbers, strict=True)])
    found = lanes(x, number)
    assert torch.equal(found, alone)
    gradients = (torch.autograd.grad(each.square().sum(), (x, number)) for each in (found, alone))
    torch.testing.assert_close(*gradients)
    with torch.no_grad():
        tape, _ = record(lambda *given: [lanes(*given)], [x.detach(), number.detach()], [])
    assert "aten.masked_fill" not in str([*tape.run.__globals__.values()])


# What a GPU computes of all lanes at once


@pytest.mark.cpu("what a GPU does is done there")
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("axis", [0, 1])
def test_batch_norm_and_pooling_of_all_lanes_are_each_lane_s_own(
    training: bool, affine: bool, axis: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one pass, without the weights' multiplication beside it."""
    monkeypatch.setattr(rules, "TOGETHER", ("cpu",))
    dice = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.rand(shape, generator=dice, dtype=torch.float64, requires_grad=True)

    x, weight, bias = draw(3, 4, 2, 8, 8), draw(3, 2), draw(3, 2)
    own = [weight, bias] if affine else [None, None]

    def apply(x: Tensor, mean: Tensor, variance: Tensor, *own: Tensor | None) -> Tensor:
        out = F.batch_norm(x, mean, variance, *own, training=training)
        return F.adaptive_avg_pool2d(F.avg_pool2d(F.max_pool2d(out, 2), 2), (1, 2)).exp()

    def statistics() -> list[Tensor]:
        return [torch.zeros(3, 2, dtype=torch.float64), torch.ones(3, 2, dtype=torch.float64)]

    held, expected = statistics(), statistics()
    alone = torch.stack(
        [
            apply(x[k], *(each[k] for each in expected), *(e if e is None else e[k] for e in own))
            for k in range(3)
        ]
    )
    places = (axis, 0, 0, *([0, 0] if affine else [None, None]))
    with Rules(Noise(())):
        lanes = vmap(apply, in_dims=places)(x.movedim(0, axis), *held, *own)
    torch.testing.assert_close(lanes, alone)
    torch.testing.assert_close(held, expected)
    inputs = [x, *(each for each in own if each is not None)]
    found, wanted = (torch.autograd.grad(each.square().sum(), inputs) for each in (lanes, alone))
    torch.testing.assert_close(found, wanted)

    def step(x: Tensor) -> list[Tensor]:
        with torch.no_grad(), Rules(Noise(())):
            return [vmap(apply, in_dims=places)(x, *held, *own)]

    tape, _ = record(step, [x.detach().movedim(0, axis).contiguous()], [*held, weight, bias])
    called = [str(each) for each in tape.run.__globals__.values()]
    assert "aten.native_batch_norm.default" in called and "aten.mul.Tensor" not in called
    # Lanes beside each other need no copies.
    assert axis == 0 or "aten.clone.default" not in called


def test_second_derivatives_by_forward_over_reverse_are_recorded() -> None:
    """Of these functorch makes zeros that no operation tells of."""
    weights = torch.randn(3, 4, device=DEVICE, requires_grad=True)
    first, other = torch.randn(2, 4, device=DEVICE).unbind(0)

    def curve(weight: Tensor, x: Tensor) -> Tensor:
        return hessian(lambda x: (x * weight).tanh().square().sum())(x).square().sum()

    def step(x: Tensor) -> list[Tensor]:
        return [*torch.autograd.grad(vmap(curve, (0, None))(weights, x).sum(), weights)]

    tape, out = record(step, [first], [weights])
    assert torch.equal(out[0], step(first)[0])
    assert torch.equal(tape.replay(other)[0], step(other)[0])
