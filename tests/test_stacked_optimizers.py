"""The stacked optimizers against torch.optim, and each lane against its neighbours."""

import math
import subprocess
import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_digits
from torch import nn

from lrsearch import catalogue
from lrsearch.train.optimizers import OPTIMIZERS, build_optimizer
from lrsearch.train.stacked_optimizers import STACKED, clip_gradients

TOLERANCES = {torch.float64: 1e-10, torch.float32: 1e-4}
STEPS, REPLACED, BLOCK = 200, 50, 20


def sgd(momentum=0.0, dampening=0.0, nesterov=False, weight_decay=0.0):
    return {
        "name": "sgd",
        "momentum": momentum,
        "dampening": dampening,
        "nesterov": nesterov,
        "weight_decay": weight_decay,
    }


def adam(name="adam", beta1=0.9, beta2=0.999, eps=1e-8, weight_decay=0.0):
    return {"name": name, "beta1": beta1, "beta2": beta2, "eps": eps, "weight_decay": weight_decay}


def adams(name):
    return [
        adam(name),
        adam(name, 0.0, 0.9, 1e-6, 1e-4),
        adam(name, 0.95, 0.0, 1e-3, 0.03),
        adam(name, 0.5, 0.95, 1e-7, 3e-3),
        adam(name, 0.8, 0.9999, 1e-10, 1e-2),
        adam(name, 0.3, 0.4, 0.1, 0.1),
        adam(name, 0.99, 0.99, 1e-5),
    ]


def schedule_free_sgd(momentum=0.9, weight_decay=0.0, r=0.0, weight_lr_power=2.0):
    return {
        "name": "schedule_free_sgd",
        "momentum": momentum,
        "weight_decay": weight_decay,
        "r": r,
        "weight_lr_power": weight_lr_power,
    }


def schedule_free_adamw(
    beta1=0.9, beta2=0.999, eps=1e-8, weight_decay=0.0, r=0.0, weight_lr_power=2.0
):
    own = adam("schedule_free_adamw", beta1, beta2, eps, weight_decay)
    return {**own, "r": r, "weight_lr_power": weight_lr_power}


def prodigy(beta1=0.9, beta2=0.999, beta3=None, eps=1e-8, weight_decay=0.0, **given):
    own = {
        "decoupled": True,
        "bias_correction": False,
        "safeguard_warmup": False,
        "d0": 1e-6,
        "d_coef": 1.0,
        "growth_rate": None,
    }
    return {**adam("prodigy", beta1, beta2, eps, weight_decay), "beta3": beta3, **own, **given}


CONFIGS = {
    "sgd": [
        sgd(),
        sgd(weight_decay=0.02),
        sgd(0.9),
        sgd(0.5, dampening=0.3, weight_decay=1e-2),
        sgd(0.8, nesterov=True, weight_decay=3e-3),
        sgd(nesterov=True, dampening=1.0),
        sgd(0.95, dampening=1.0, weight_decay=0.1),
        sgd(0.99, nesterov=True),
    ],
    "adam": adams("adam"),
    "adamw": adams("adamw"),
    "schedule_free_sgd": [
        schedule_free_sgd(),
        schedule_free_sgd(0.5, 0.02),
        schedule_free_sgd(0.95, r=1.0),
        schedule_free_sgd(0.8, 1e-2, 0.5, 0.0),
        schedule_free_sgd(0.1, 3e-3, 3.0, 1.0),
        schedule_free_sgd(0.99, 0.1, weight_lr_power=4.0),
        schedule_free_sgd(0.6, weight_lr_power=0.5),
    ],
    "schedule_free_adamw": [
        schedule_free_adamw(),
        schedule_free_adamw(0.5, 0.9, 1e-6, 1e-4),
        schedule_free_adamw(0.95, 0.0, 1e-3, 0.03, 1.0),
        schedule_free_adamw(0.8, 0.95, 1e-7, 3e-3, 0.5, 0.0),
        schedule_free_adamw(0.2, 0.9999, 1e-10, 1e-2, 3.0, 1.0),
        schedule_free_adamw(0.3, 0.4, 0.1, 0.1, 0.0, 4.0),
        schedule_free_adamw(0.99, 0.99, 1e-5),
    ],
    "prodigy": [
        prodigy(),
        prodigy(0.5, 0.9, 0.8, 1e-6, 1e-2, d0=1e-4),
        prodigy(0.95, 0.6, 0.9, 1e-3, 3e-3, d0=1e-3, d_coef=2.0),
        prodigy(0.8, weight_decay=3e-3, decoupled=False, growth_rate=1.3, d0=1e-4, d_coef=0.3),
        prodigy(0.9, 0.99, 0.999, safeguard_warmup=True, bias_correction=True, growth_rate=1.5),
        prodigy(0.0, 0.95, weight_decay=0.05, bias_correction=True, d_coef=0.5),
        prodigy(0.7, 0.99, weight_decay=0.01, d0=1e-3, d_coef=0.1),
    ],
}
LIMITS = [math.inf, 0.3, 0.05, 1.0, 0.7, math.inf, 0.2, 0.5]
BASE_RATES = {
    "sgd": 0.1,
    "adam": 0.01,
    "adamw": 0.01,
    "schedule_free_sgd": 0.5,
    "schedule_free_adamw": 0.01,
    # While its estimate grows it magnifies rounding: with larger rates or more weight decay the
    # package's own training in float32 leaves that in float64 by a hundredth.
    "prodigy": 0.5,
}


def needs(configs):
    return frozenset().union(*(STACKED[config["name"]].needs(config) for config in configs))


def new_state(optimizer, parameters):
    """A slot starts for all lanes as for one."""
    first = parameters[0]
    number = torch.zeros(len(first), dtype=torch.float64, device=first.device)
    return {
        slot: [optimizer.start(slot, each) for each in parameters] for slot in optimizer.slots
    } | {slot: [number.clone()] for slot in optimizer.lane_slots}


def curve(config, rates):
    return STACKED[config["name"]].curve(config, rates)


def tabulate(configs, curves, firsts, dtype):
    """The numbers of each step, [steps][scalars] tensors [K]; a lane's curve from its `first`."""
    table = np.stack(
        [
            STACKED[config["name"]].tabulate(config, own, first)
            for config, own, first in zip(configs, curves, firsts, strict=True)
        ],
        axis=2,
    )
    return [[torch.tensor(number, dtype=dtype) for number in step] for step in table]


def train(configs, parameters, gradients, rates, limits=None, state=None):
    """Steps from the first on; gradients per step. Returns parameters and state."""
    optimizer = STACKED[configs[0]["name"]]
    parameters = [each.clone() for each in parameters]
    state = state or new_state(optimizer, parameters)
    curves = [curve(config, own) for config, own in zip(configs, rates, strict=True)]
    numbers = tabulate(configs, curves, [1] * len(configs), parameters[0].dtype)
    for step, own in enumerate(gradients):
        used = own if limits is None else clip_gradients(own, limits)
        optimizer.update(parameters, used, state, numbers[step], needs(configs))
    return parameters, state


class Net(nn.Module):
    """Parameters of rank 0 to 2; the edge pixels of the digits give gradients of exactly zero."""

    def __init__(self):
        super().__init__()
        self.hidden, self.out = nn.Linear(64, 16), nn.Linear(16, 10)
        self.temperature = nn.Parameter(torch.ones(()))

    def forward(self, x):
        return self.out(torch.tanh(self.hidden(x))) * self.temperature


class Solo:
    """A lane as the solo engine trains it."""

    def __init__(self, config, limit, rates, seed, dtype):
        torch.manual_seed(seed)
        self.model = Net().to(dtype)
        self.parameters = list(self.model.parameters())
        self.limit, self.rates, self.step = limit, rates, 0
        self.curve = curve(config, rates)
        self.optimizer = build_optimizer(config, self.parameters, 1.0)

    def differentiate(self, x, y):
        self.model.zero_grad()
        F.cross_entropy(self.model(x), y).backward()
        return [parameter.grad.clone() for parameter in self.parameters]

    def update(self):
        if self.limit < math.inf:
            nn.utils.clip_grad_norm_(self.parameters, self.limit)
        self.optimizer.param_groups[0]["lr"] = self.rates[self.step]
        self.optimizer.step()
        self.step += 1

    def evaluated(self):
        """The parameters an evaluation is at."""
        if not hasattr(self.optimizer, "eval"):
            return self.parameters
        before = [each.detach().clone() for each in self.parameters]
        self.optimizer.eval()
        found = [each.detach().clone() for each in self.parameters]
        self.optimizer.train()
        with torch.no_grad():
            for each, held in zip(self.parameters, before, strict=True):
                each.copy_(held)
        return found


def evaluated(configs, parameters, state):
    """The parameters the lanes are evaluated at."""
    average = STACKED[configs[0]["name"]].average
    if average is None:
        return parameters
    weights = torch.tensor([average.weight(each) for each in configs], dtype=parameters[0].dtype)
    return [
        each + weights.view(-1, *[1] * (each.dim() - 1)) * held
        for each, held in zip(parameters, state[average.slot], strict=True)
    ]


def rate_curves(name, lanes):
    """Rates [lanes, STEPS], of other sizes and shapes, one exactly zero now and then."""
    steps = np.arange(STEPS)
    base = BASE_RATES[name] * 2.0 ** (np.arange(lanes) - lanes // 2)[:, None]
    rates = base * (0.55 + 0.45 * np.cos(steps / (7 + np.arange(lanes)[:, None])))
    rates[:, 30] = 0.0
    return rates


def difference(stacked, alone):
    """Largest difference over the largest entry, of lanes and of their parameters alone."""
    return max(
        float((each[lane] - own).abs().max() / own.abs().max())
        for lane, parameters in enumerate(alone)
        for each, own in zip(stacked, parameters, strict=True)
    )


@pytest.mark.parametrize("dtype", TOLERANCES, ids=str)
@pytest.mark.parametrize("name", STACKED)
def test_equals_torch(name, dtype):
    """Both get the same gradients, so that no difference is magnified by the training itself. One
    lane is replaced on the way, another optimizer in its place, and counts its steps from 1."""
    digits = load_digits()
    x, y = torch.tensor(digits.data / 16, dtype=dtype), torch.tensor(digits.target)
    configs, lanes = list(CONFIGS[name]), len(CONFIGS[name])
    rates = rate_curves(name, lanes)
    solos = [
        Solo(config, limit, own, seed, dtype)
        for seed, (config, limit, own) in enumerate(
            zip(configs, LIMITS[:lanes], rates, strict=True)
        )
    ]
    optimizer, limits = STACKED[name], torch.tensor(LIMITS[:lanes], dtype=dtype)
    parameters = [
        torch.stack([solo.parameters[index].detach().clone() for solo in solos])
        for index in range(len(solos[0].parameters))
    ]
    starts = [each.clone() for each in parameters]
    state = new_state(optimizer, parameters)
    generator = torch.Generator().manual_seed(0)
    worst = 0.0
    for step in range(STEPS):
        if step == REPLACED:
            configs[4], lane = configs[3], 4
            solos[lane] = Solo(configs[lane], LIMITS[lane], rates[lane], 99, dtype)
            for each, own in zip(parameters, solos[lane].parameters, strict=True):
                each[lane] = own.detach()
            for slot, fresh in new_state(optimizer, parameters).items():
                for each, own in zip(state[slot], fresh, strict=True):
                    each[lane] = own[lane]
        if step % BLOCK == 0 or step == REPLACED:
            ahead = [solo.curve[solo.step : solo.step + BLOCK] for solo in solos]
            firsts = [solo.step + 1 for solo in solos]
            numbers = iter(tabulate(configs, ahead, firsts, dtype))
        index = torch.randint(len(x), (32,), generator=generator)
        gradients = [solo.differentiate(x[index], y[index]) for solo in solos]
        stacked = [torch.stack(own) for own in zip(*gradients, strict=True)]
        for solo in solos:
            solo.update()
        with torch.no_grad():
            clipped = clip_gradients(stacked, limits)
            optimizer.update(parameters, clipped, state, next(numbers), needs(configs))
            worst = max(worst, difference(parameters, [solo.parameters for solo in solos]))
            if step % BLOCK == 0:
                averages = evaluated(configs, parameters, state)
                worst = max(worst, difference(averages, [solo.evaluated() for solo in solos]))
    assert worst <= TOLERANCES[dtype]
    assert all(not torch.equal(each, start) for each, start in zip(parameters, starts, strict=True))


rates_ = st.one_of(st.just(0.0), st.floats(1e-5, 1.0))
decays = st.one_of(st.just(0.0), st.floats(1e-4, 0.5))
momenta = st.one_of(st.just(0.0), st.floats(0.1, 0.99))
sgds = st.builds(sgd, momenta, st.just(0.0), st.booleans(), decays) | st.builds(
    sgd, momenta, st.floats(0.0, 1.0), st.just(False), decays
)


def adams_of(name):
    betas = st.floats(0.0, 0.999)
    return st.builds(adam, st.just(name), betas, betas, st.floats(1e-8, 1e-2), decays)


shares, powers = st.floats(0.1, 0.99), st.sampled_from([0.0, 1.0, 2.5])
betas, epsilons = st.floats(0.0, 0.999), st.floats(1e-8, 1e-2)
ANY = {
    "sgd": sgds,
    "adam": adams_of("adam"),
    "adamw": adams_of("adamw"),
    "schedule_free_sgd": st.builds(schedule_free_sgd, shares, decays, powers, powers),
    "schedule_free_adamw": st.builds(
        schedule_free_adamw, shares, betas, epsilons, decays, powers, powers
    ),
    "prodigy": st.builds(
        prodigy,
        st.one_of(st.just(0.0), betas),
        betas,
        st.none() | betas,
        epsilons,
        decays,
        decoupled=st.booleans(),
        bias_correction=st.booleans(),
        safeguard_warmup=st.booleans(),
        d0=st.floats(1e-6, 1e-2),
        growth_rate=st.none() | st.floats(1.0, 2.0),
    ),
}
SHAPES = [(3, 11), (), (1,), (37,)]


def used_state(name, config, state):
    """The state a lane goes on from: momentum buffers say nothing where there is no momentum."""
    return [] if name == "sgd" and config["momentum"] == 0 else state


@pytest.mark.parametrize("name", STACKED)
@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_lanes_do_not_see_each_other(name, data):
    """Among other lanes, and so with other needs, in another order: the same bits."""
    lanes = data.draw(st.integers(2, 20))
    configs = data.draw(st.lists(ANY[name], min_size=lanes, max_size=lanes))
    rates = np.array(data.draw(st.lists(rates_, min_size=lanes, max_size=lanes)))[:, None]
    chosen = data.draw(st.permutations(range(lanes)))[: data.draw(st.integers(2, lanes))]
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 1000)))
    dtype = data.draw(st.sampled_from(list(TOLERANCES)))

    def draw():
        return [torch.randn(lanes, *shape, generator=generator, dtype=dtype) for shape in SHAPES]

    start, gradients = draw(), [draw() for _ in range(3)]
    rates = np.repeat(rates, 3, axis=1)
    limits = torch.tensor([LIMITS[lane % 8] for lane in range(lanes)], dtype=dtype)
    together, state = train(configs, start, gradients, rates, limits)
    few, few_state = train(
        [configs[lane] for lane in chosen],
        [each[chosen] for each in start],
        [[each[chosen] for each in own] for own in gradients],
        rates[chosen],
        limits[chosen],
    )
    for place, lane in enumerate(chosen):
        pairs = list(zip(few, together, strict=True))
        for slot in used_state(name, configs[lane], state):
            pairs += zip(few_state[slot], state[slot], strict=True)
        assert all(torch.equal(own[place], other[lane]) for own, other in pairs)


@pytest.mark.parametrize("dtype", TOLERANCES, ids=str)
@pytest.mark.parametrize("name", STACKED)
def test_terms_of_others_change_nothing(name, dtype):
    """Two lanes of one configuration, alone and among all the others."""
    configs, generator = CONFIGS[name], torch.Generator().manual_seed(0)
    lanes = len(configs)

    def draw():
        return [torch.randn(lanes, *shape, generator=generator, dtype=dtype) for shape in SHAPES]

    start, gradients = draw(), [draw() for _ in range(5)]
    rates = np.linspace(0.01, 0.05, 5)[None].repeat(lanes, 0)
    together, state = train(configs, start, gradients, rates)
    for lane, config in enumerate(configs):
        own = [[each[[lane, lane]] for each in step] for step in [start, *gradients]]
        alone, alone_state = train([config] * 2, own[0], own[1:], rates[:2])
        pairs = list(zip(alone, together, strict=True))
        for slot in used_state(name, config, state):
            pairs += zip(alone_state[slot], state[slot], strict=True)
        assert all(torch.equal(mine[0], theirs[lane]) for mine, theirs in pairs)


def test_needs():
    """No pass over memory more than a lane's numbers ask for."""
    expected = [
        {"gradient"},
        {"gradient", "weight_decay"},
        {"momentum"},
        {"momentum", "dampening", "weight_decay"},
        {"momentum", "gradient", "weight_decay"},
        {"gradient"},
    ]
    for config, terms in zip(CONFIGS["sgd"], expected, strict=False):
        assert STACKED["sgd"].needs(config) == terms
    for name in ("adam", "adamw", "schedule_free_sgd", "schedule_free_adamw"):
        assert STACKED[name].needs(adam(name)) == frozenset()
        assert STACKED[name].needs(adam(name, weight_decay=0.1)) == {"weight_decay"}
    assert STACKED["prodigy"].needs(prodigy()) == frozenset()
    assert STACKED["prodigy"].needs(prodigy(weight_decay=0.1)) == {"decoupled_decay"}
    coupled = prodigy(weight_decay=0.1, decoupled=False)
    assert STACKED["prodigy"].needs(coupled) == {"coupled_decay"}


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("name", STACKED)
def test_a_lost_lane_harms_no_other(name, value):
    configs, torch_seed = CONFIGS[name], torch.Generator().manual_seed(0)
    lanes = len(configs)
    start = [torch.randn(lanes, *shape, generator=torch_seed) for shape in SHAPES]
    gradients = [
        [torch.randn(lanes, *shape, generator=torch_seed) for shape in SHAPES] for _ in range(4)
    ]
    rates, limits = np.full((lanes, 4), 0.1), torch.tensor(LIMITS[:lanes])
    sound, sound_state = train(configs, start, gradients, rates, limits)
    gradients[1][0][3, 1, 4] = value
    lost, lost_state = train(configs, start, gradients, rates, limits)
    assert not lost[0][3].isfinite().all()
    others = [lane for lane in range(lanes) if lane != 3]
    tensors = [(lost, sound)] + [(lost_state[slot], sound_state[slot]) for slot in sound_state]
    for mine, theirs in tensors:
        for own, other in zip(mine, theirs, strict=True):
            assert other.isfinite().all()
            assert torch.equal(own[others], other[others])


def test_prodigy_s_estimate_outlives_a_gradient_that_is_no_number():
    """As in the package, where only the parameter itself is lost."""
    config, generator = prodigy(d0=0.1), torch.Generator().manual_seed(0)
    start = [torch.randn(2, 5, generator=generator) for _ in range(2)]
    gradients = [[torch.randn(2, 5, generator=generator) for _ in range(2)] for _ in range(3)]
    gradients[1][0][:, 2] = math.nan
    parameters = [nn.Parameter(each[0].clone()) for each in start]
    solo = build_optimizer(config, parameters, 1.0)
    for own in gradients:
        for parameter, each in zip(parameters, own, strict=True):
            parameter.grad = each[0].clone()
        solo.step()
    (_, after), state = train([config] * 2, start, gradients, np.ones((2, 3)))
    torch.testing.assert_close(after[0], parameters[1].detach())
    assert float(state["d"][0][0]) == pytest.approx(solo.param_groups[0]["d"])
    assert float(state["d_max"][0][0]) == pytest.approx(solo.param_groups[0]["d_max"])


@pytest.mark.parametrize("dtype", TOLERANCES, ids=str)
@pytest.mark.parametrize("rate", [0.0, 5e-324, 1e-45, 1e-40])
@pytest.mark.parametrize("name", STACKED)
def test_a_rate_of_zero_moves_nothing(name, rate, dtype):
    """And one that float32 can hardly hold next to nothing; zeros among the gradients included."""
    configs = CONFIGS[name]
    lanes = len(configs)
    start = [torch.linspace(-2, 2, 9, dtype=dtype).roll(2).repeat(lanes, 1)]
    start[0][:, 0] = 0.0
    gradients = [[torch.linspace(-1, 1, 9, dtype=dtype).repeat(lanes, 1)]] * 3
    assert (gradients[0][0] == 0).any()
    rates = np.full((lanes, 3), rate)
    rates[0] = 0.1
    (after,), state = train(configs, start, gradients, rates)
    assert (after[1:] - start[0][1:]).abs().max() <= 20 * rate
    assert not torch.equal(after[0], start[0][0])
    assert all(each.isfinite().all() and each.any() for slot in state.values() for each in slot)


@pytest.mark.parametrize("scale", [1e-40, 1e-30, 1e-12, 1e25])
@pytest.mark.parametrize("name", STACKED)
def test_gradients_of_extreme_sizes(name, scale):
    """Denormals, squares that underflow and squares that overflow float32: as torch has it."""
    config = {**CONFIGS[name][0], "weight_decay": 0.0}
    pattern = torch.tensor([1.0, -0.5, 0.0, 0.25]) * scale
    gradients = [pattern, pattern / 3, torch.ones(4), -torch.ones(4)]
    parameter = nn.Parameter(torch.tensor([0.0, 1.0, -1.0, 0.5]))
    start = [parameter.detach().clone().repeat(2, 1)]
    optimizer = build_optimizer(config, [parameter], 1e-3)
    for each in gradients:
        parameter.grad = each.clone()
        optimizer.step()
    (after,), _ = train(
        [config] * 2, start, [[each.repeat(2, 1)] for each in gradients], np.full((2, 4), 1e-3)
    )
    assert parameter.isfinite().all()
    torch.testing.assert_close(after[1], parameter.detach(), rtol=1e-5, atol=1e-9)


def test_gradients_are_only_read():
    """Autograd may give one tensor twice, or the caller's own."""
    shared = torch.randn(2, 5)
    before = shared.clone()
    for name, configs in CONFIGS.items():
        start = [torch.randn(2, 5), torch.randn(2, 5)]
        own = [configs[4], configs[3]]
        once, _ = train(own, start, [[shared, shared]], np.full((2, 1), 0.1))
        twice, _ = train(own, start, [[shared, shared.clone()]], np.full((2, 1), 0.1))
        assert all(map(torch.equal, once, twice)), name
    clip_gradients([shared, shared], torch.tensor([0.1, 0.1]))
    assert torch.equal(shared, before)


def test_gradients_of_any_layout():
    """As autograd may give them: transposed, and expanded from one number."""
    start = [torch.randn(2, 4, 3)]
    transposed, expanded = torch.randn(2, 3, 4).mT, torch.randn(2, 1, 1).expand(2, 4, 3)
    limits, rates = torch.tensor([0.5, math.inf]), np.full((2, 2), 0.1)
    for configs in CONFIGS.values():
        plain = [[transposed.contiguous()], [expanded.contiguous()]]
        other, _ = train(configs[3:5], start, plain, rates, limits)
        own, _ = train(configs[3:5], start, [[transposed], [expanded]], rates, limits)
        torch.testing.assert_close(own, other, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("dtype", TOLERANCES, ids=str)
def test_clipping_equals_torch(dtype):
    generator = torch.Generator().manual_seed(0)
    limits = torch.tensor([0.1, 1e3, 2.0, 5.0, math.inf], dtype=dtype)
    gradients = [
        torch.randn(5, *shape, generator=generator, dtype=dtype) * 3 for shape in [(4, 5), (), (7,)]
    ]
    clipped = clip_gradients(gradients, limits)
    for lane, limit in enumerate(limits.tolist()):
        parameters = [nn.Parameter(torch.zeros_like(each[lane])) for each in gradients]
        for parameter, each in zip(parameters, gradients, strict=True):
            parameter.grad = each[lane].clone()
        nn.utils.clip_grad_norm_(parameters, limit)
        for parameter, each in zip(parameters, clipped, strict=True):
            torch.testing.assert_close(each[lane], parameter.grad, rtol=1e-5, atol=0)
    assert torch.equal(clipped[0][4], gradients[0][4])
    assert not torch.equal(clipped[0][3], gradients[0][3])


def test_clipping_leaves_unlimited_lanes_alone():
    """Bit for bit, whatever their norm, and whatever becomes of the others."""
    generator = torch.Generator().manual_seed(0)
    gradients = [torch.randn(6, 3, 4, generator=generator), torch.randn(6, generator=generator)]
    limits = torch.tensor([math.inf, math.inf, math.inf, 0.5, 0.5, 0.5])
    sound = clip_gradients(gradients, limits)
    gradients[0][0] *= 1e30  # Its norm overflows.
    gradients[0][1, 1, 1] = math.nan
    gradients[0][2] *= 1e-42
    gradients[0][3, 2, 2] = math.nan
    gradients[0][4] *= 1e30
    clipped = clip_gradients(gradients, limits)
    for own, each in zip(clipped, gradients, strict=True):
        assert torch.equal(own[:3].view(torch.int32), each[:3].view(torch.int32))
    assert all(each[3].isnan().all() for each in clipped)  # As torch does.
    assert all((each[4] == 0).all() for each in clipped)
    assert all(torch.equal(own[5], each[5]) for own, each in zip(clipped, sound, strict=True))


def test_names():
    assert set(STACKED) == set(OPTIMIZERS) == set(CONFIGS)


@pytest.mark.parametrize("name", STACKED)
def test_slots_and_scalars(name):
    entry = catalogue.OPTIMIZERS[name].parameters
    config = {"name": name} | {own: parameter.default for own, parameter in entry.items()}
    optimizer = STACKED[name]
    table = optimizer.tabulate(config, curve(config, np.linspace(0.1, 0.0, 9))[2:], 3)
    assert table.shape == (7, len(optimizer.scalars))
    assert table.dtype == np.float64
    parameter = nn.Parameter(torch.ones(2))
    parameter.grad = torch.ones(2)
    solo = build_optimizer(CONFIGS[name][2], [parameter], 0.1)
    solo.step()
    slots = {"z" if slot == "z_minus_y" else slot for slot in optimizer.slots}
    assert slots == set(solo.state[parameter]) - {"step"}
    assert set(optimizer.lane_slots) <= set(solo.param_groups[0])


@pytest.mark.parametrize("name", STACKED)
def test_state_equals_torch(name):
    """A lane's state can be moved to the solo engine."""
    configs = [config for config in CONFIGS[name] if name != "sgd" or config["momentum"]][:2]
    gradients = [[torch.randn(2, 6)] for _ in range(5)]
    start = [torch.randn(2, 6)]
    _, state = train(configs, start, gradients, np.full((2, 5), 0.01))
    for lane, config in enumerate(configs):
        parameter = nn.Parameter(start[0][lane].clone())
        solo = build_optimizer(config, [parameter], 0.01)
        for (own,) in gradients:
            parameter.grad = own[lane].clone()
            solo.step()
        expected = dict(solo.state[parameter])
        if "z_minus_y" in state:
            expected["z_minus_y"] = expected["z"] - parameter.detach()
        for slot in STACKED[name].slots:
            torch.testing.assert_close(state[slot][0][lane], expected[slot], rtol=1e-4, atol=1e-6)
        for slot in STACKED[name].lane_slots:
            number = float(solo.param_groups[0][slot])
            assert float(state[slot][0][lane]) == pytest.approx(number, rel=1e-4)


def test_refuses_what_torch_refuses():
    config = sgd(0.9, dampening=0.1, nesterov=True)
    with pytest.raises(ValueError, match="Nesterov") as own:
        STACKED["sgd"].tabulate(config, np.ones(3), 1)
    with pytest.raises(ValueError, match="Nesterov") as theirs:
        build_optimizer(config, [torch.zeros(1)], 0.1)
    assert str(own.value) == str(theirs.value)


@pytest.mark.parametrize("name", STACKED)
def test_reads_no_number_back(name):
    """On the meta device there is none to read."""
    optimizer, configs = STACKED[name], CONFIGS[name]
    parameters = [torch.empty(len(configs), *shape, device="meta") for shape in SHAPES]
    clipped = clip_gradients(parameters, torch.empty(len(configs), device="meta"))
    numbers = [torch.empty(len(configs), device="meta") for _ in optimizer.scalars]
    state = new_state(optimizer, parameters)
    optimizer.update(parameters, clipped, state, numbers, needs(configs))


def test_imports_no_compiler():
    """torch._dynamo takes a second or more, and comes with the first torch.optim optimizer."""
    code = """
import sys, torch
from lrsearch.train.stacked_optimizers import STACKED, clip_gradients
optimizer, weight = STACKED["adam"], torch.ones(2, 3)
state = {slot: [torch.zeros(2, 3)] for slot in optimizer.slots}
gradients = clip_gradients([weight], torch.ones(2))
optimizer.update([weight], gradients, state, [torch.ones(2)] * 6, frozenset({"weight_decay"}))
sys.exit("torch._dynamo" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
