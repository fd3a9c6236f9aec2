"""The optimizers that torch does not have, or not in one piece."""

import math
import subprocess
import sys

import pytest
import torch
from devices import DEVICE, exact
from torch import nn

from lrsearch import catalogue
from lrsearch.spec.model import complete_group
from lrsearch.train.batches.batch import Batch
from lrsearch.train.engines.training import Training
from lrsearch.train.optimizers.lion import Lion
from lrsearch.train.optimizers.registry import OPTIMIZERS, build_optimizer

pytestmark = pytest.mark.usefixtures("on_device")

GENERATOR = torch.Generator(DEVICE)
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
    matrices = [each for each in parameters if each.dim() == 2]
    others = [each for each in parameters if each.dim() != 2]
    muon = {name: config[name] for name in ("momentum", "nesterov", "ns_steps", "adjust_lr_fn")}
    decay = config["weight_decay"]
    found = [torch.optim.Muon(matrices, weight_decay=decay, **muon)] if matrices else []
    if others:
        found.append(torch.optim.AdamW(others, betas=betas(config), **numbers(config), **PLAIN))
    return found


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


# Parameters and gradients of every kind, against plain loops.


def schedule_free(name, parameters, config):
    package = pytest.importorskip("schedulefree")
    if name == "schedule_free_sgd":
        made = package.SGDScheduleFree(
            parameters, lr=1.0, momentum=config["momentum"], weight_decay=config["weight_decay"]
        )
    else:
        made = package.AdamWScheduleFree(parameters, lr=1.0, betas=betas(config), **numbers(config))
    made.train()
    return made


def betas(config):
    return config["beta1"], config["beta2"]


def numbers(config, *names):
    return {name: config[name] for name in ("eps", "weight_decay", *names)}


PLAIN = {"foreach": False, "fused": False}
REFERENCES = {
    "sgd": lambda p, c: torch.optim.SGD(
        p, **{key: c[key] for key in ("momentum", "dampening", "nesterov", "weight_decay")}, **PLAIN
    ),
    "adam": lambda p, c: torch.optim.Adam(p, betas=betas(c), **numbers(c), **PLAIN),
    "adamw": lambda p, c: torch.optim.AdamW(p, betas=betas(c), **numbers(c), **PLAIN),
    "amsgrad": lambda p, c: torch.optim.Adam(
        p, betas=betas(c), amsgrad=True, **numbers(c), **PLAIN
    ),
    "nadam": lambda p, c: torch.optim.NAdam(
        p, betas=betas(c), **numbers(c, "momentum_decay"), foreach=False
    ),
    "radam": lambda p, c: torch.optim.RAdam(p, betas=betas(c), **numbers(c), foreach=False),
    "adamax": lambda p, c: torch.optim.Adamax(p, betas=betas(c), **numbers(c), foreach=False),
    "rmsprop": lambda p, c: torch.optim.RMSprop(
        p, **numbers(c, "alpha", "momentum", "centered"), foreach=False
    ),
    "adagrad": lambda p, c: torch.optim.Adagrad(p, **numbers(c, "lr_decay"), **PLAIN),
    "adadelta": lambda p, c: torch.optim.Adadelta(p, **numbers(c, "rho"), foreach=False),
    "adafactor": lambda p, c: torch.optim.Adafactor(
        p, d=c["d"], eps=(c["eps1"], c["eps2"]), weight_decay=c["weight_decay"], foreach=False
    ),
    "lion": lambda p, c: pytest.importorskip("lion_pytorch").Lion(
        p, betas=betas(c), weight_decay=c["weight_decay"]
    ),
    "schedule_free_sgd": lambda p, c: schedule_free("schedule_free_sgd", p, c),
    "schedule_free_adamw": lambda p, c: schedule_free("schedule_free_adamw", p, c),
    "prodigy": lambda p, c: pytest.importorskip("prodigyopt").Prodigy(
        p, betas=betas(c), weight_decay=c["weight_decay"], use_bias_correction=c["bias_correction"]
    ),
    "muon": muons,
}
DENSE = ("float32", "float64", "bfloat16", "float16", "complex64", "complex128")
LAYOUTS = ("transposed", "channels_last", "every second column")
TOLERANCES = {"float64": 1e-12, "complex128": 1e-12, "bfloat16": 2e-2, "float16": 3e-3}


def lay_out(layout):
    """A tensor whose entries lie otherwise in memory."""
    if layout == "transposed":
        return torch.randn(9, 7, generator=GENERATOR).t()
    if layout == "channels_last":
        whole = torch.randn(2, 3, 4, 4, generator=GENERATOR)
        return whole.to(memory_format=torch.channels_last)
    return torch.randn(7, 18, generator=GENERATOR)[:, ::2]


def train_by(make, start, gradients):
    """The parameters after some steps, or what was raised."""
    parameters = [nn.Parameter(each.clone(memory_format=torch.preserve_format)) for each in start]
    for parameter, each in zip(parameters, start, strict=True):
        if each.stride() != parameter.stride():  # No copy keeps the gaps between its entries.
            parameter.data = torch.empty(each.size()[0], 2 * each.size()[1], dtype=each.dtype)[
                :, ::2
            ].copy_(each)
    try:
        optimizers = make(parameters)
        optimizers = optimizers if isinstance(optimizers, list) else [optimizers]
        for rate, own in zip(RATES, gradients, strict=False):
            for optimizer in optimizers:
                for group in optimizer.param_groups:
                    group["lr"] = rate
            for parameter, gradient in zip(parameters, own, strict=True):
                parameter.grad = None if gradient is None else gradient.clone()
            for optimizer in optimizers:
                optimizer.step()
    except (RuntimeError, ValueError, TypeError, NotImplementedError) as error:
        return error
    return [each.detach() for each in parameters]


def check_against_plain(name, start, gradients, tolerance, **numbers):
    config = complete_group("optimizer", {"name": name, **numbers})
    ours = train_by(lambda parameters: build_optimizer(config, parameters, 1.0), start, gradients)
    theirs = train_by(lambda parameters: REFERENCES[name](parameters, config), start, gradients)
    if isinstance(theirs, Exception):
        assert type(ours) is type(theirs), f"plain torch raises {theirs}"
        return theirs
    assert not isinstance(ours, Exception), f"plain torch trains, and this raises {ours}"
    for mine, their, before in zip(ours, theirs, start, strict=True):
        if not exact() and name == "prodigy" and before.dtype is torch.float16:
            # Its first mean squares, of 1e-15, are zero in float16, and so is what is added to
            # them: a CPU then moves nothing, and a GPU divides by zero.
            assert torch.equal(mine.isfinite(), their.isfinite())
            continue
        assert their.isfinite().all(), their
        # Steps that are small for a low precision may all be lost in rounding; so may prodigy's
        # first, of 1e-6, and on a GPU other numbers are drawn.
        small = before.dtype in (torch.bfloat16, torch.float16)
        assert not torch.equal(their, before) or small or (not exact() and name == "prodigy")
        torch.testing.assert_close(mine, their, rtol=tolerance, atol=tolerance)
    return None


def arguments(name, dtype="float32"):
    """Numbers that matter, and an eps that the type can hold."""
    known = catalogue.OPTIMIZERS[name].parameters
    given = {"weight_decay": 0.01, "eps": 1e-3 if dtype == "float16" else 1e-8}
    return {key: value for key, value in given.items() if key in known and name != "prodigy"}


def test_every_optimizer_has_a_plain_reference():
    assert REFERENCES.keys() == OPTIMIZERS.keys()


@pytest.mark.parametrize("dtype", DENSE)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_parameters_of_any_type_train_as_by_a_plain_loop(name, dtype):
    kind = getattr(torch, dtype)
    start = [torch.randn(7, 9, generator=GENERATOR).to(kind) for _ in range(2)]
    start.append(torch.randn(5, generator=GENERATOR).to(kind))
    gradients = [
        [torch.randn(each.shape, generator=GENERATOR).to(kind) for each in start] for _ in RATES
    ]
    raised = check_against_plain(
        name, start, gradients, TOLERANCES.get(dtype, 1e-5), **arguments(name, dtype)
    )
    if not kind.is_complex:
        assert raised is None
    elif name in ("sgd", "adam", "adamw", "amsgrad", "adagrad"):
        assert raised is None, "torch trains complex parameters by these"


@pytest.mark.parametrize("alike", [True, False])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_parameters_lie_in_memory_as_they_like(name, layout, alike):
    start = [lay_out(layout)]
    gradients = [
        [lay_out(layout) if alike else torch.randn(start[0].shape, generator=GENERATOR)]
        for _ in RATES
    ]
    assert check_against_plain(name, start, gradients, 1e-5, **arguments(name)) is None


@pytest.mark.parametrize("first", ["sparse", "none", "dense"])
@pytest.mark.parametrize(
    ("name", "momentum"), [*((name, 0.0) for name in OPTIMIZERS), ("sgd", 0.9)]
)
def test_sparse_gradients_train_where_a_plain_loop_trains_them(name, first, momentum):
    """The first gradient may be sparse, not be there yet, or be dense."""
    start = [torch.randn(6, 4, generator=GENERATOR), torch.randn(3, generator=GENERATOR)]
    gradients = []
    for step, _ in enumerate(RATES):
        rows = torch.randint(0, 6, (1, 3), generator=GENERATOR)
        sparse = torch.sparse_coo_tensor(rows, torch.randn(3, 4, generator=GENERATOR), (6, 4))
        given = sparse if step else {"sparse": sparse, "dense": sparse.to_dense()}.get(first)
        dense = torch.randn(3, generator=GENERATOR)
        gradients.append([torch.zeros(6, 4).to_sparse() if given is None else given, dense])
    numbers = {"momentum": momentum} if name == "sgd" else {}
    raised = check_against_plain(name, start, gradients, 1e-5, **numbers)
    if name in ("sgd", "adagrad"):
        assert raised is None


@pytest.mark.parametrize("when", [[0], [3], [1, 2, 5, 7, 8], [0, 1, 4]], ids=str)
@pytest.mark.parametrize(
    ("name", "own"),
    [
        *((name, {}) for name in OPTIMIZERS),
        ("sgd", {"momentum": 0.9}),
        ("sgd", {"momentum": 0.5, "dampening": 0.3}),
        ("sgd", {"momentum": 0.9, "nesterov": True}),
        ("rmsprop", {"momentum": 0.9, "centered": True}),
    ],
)
def test_a_parameter_s_gradients_may_come_late_and_go(name, own, when):
    """As those of an expert that some batches do not reach."""
    start = [torch.randn(shape, generator=GENERATOR) for shape in [(6, 4), (4, 3), (3,), (5,)]]
    gradients = [
        [
            torch.randn(each.shape, generator=GENERATOR) if place % 2 or step in when else None
            for place, each in enumerate(start)
        ]
        for step, _ in enumerate(RATES)
    ]
    assert check_against_plain(name, start, gradients, 1e-5, **arguments(name), **own) is None


@pytest.mark.parametrize("shape", [(1, 9), (4, 1, 3, 1)])
def test_a_dimension_of_one_entry_has_no_say_in_the_kernel(shape):
    """Its stride is whatever it is: measurements must not change by it."""
    parameter = nn.Parameter(torch.zeros(shape))
    optimizer = build_optimizer(complete_group("optimizer", {"name": "sgd"}), [parameter], 0.1)
    gradient = torch.ones(shape)
    strides = [
        5 if size == 1 else stride for size, stride in zip(shape, gradient.stride(), strict=True)
    ]
    parameter.grad = gradient.as_strided(shape, strides)
    optimizer.step()
    assert optimizer.param_groups[0]["fused"] is True
    assert torch.equal(parameter.detach(), torch.full(shape, -0.1))


def test_no_optimizer_of_torch_s_shape_needs_its_compiler():
    """Torch's own would import it, which takes as long as importing torch."""
    code = """
import sys, torch
from lrsearch import catalogue
from lrsearch.train.optimizers.registry import build_optimizer
for name in set(catalogue.OPTIMIZERS) - set(catalogue.OPTIMIZER_PACKAGES):
    parameters = catalogue.OPTIMIZERS[name].parameters
    config = {own: parameter.default for own, parameter in parameters.items()}
    model = torch.nn.Linear(3, 2)
    optimizer = build_optimizer({"name": name, **config}, model.parameters(), 0.1)
    before = model.weight.clone()
    model(torch.ones(4, 3)).sum().backward()
    optimizer.step()
    assert not torch.equal(model.weight, before) and model.weight.is_leaf
sys.exit("torch._dynamo" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_hooks_of_a_step_are_called():
    parameter = nn.Parameter(torch.ones(3))
    parameter.grad = torch.ones(3)
    config = {name: each.default for name, each in catalogue.OPTIMIZERS["sgd"].parameters.items()}
    optimizer, seen = build_optimizer({"name": "sgd", **config}, [parameter], 0.5), []
    optimizer.register_step_pre_hook(lambda *_: seen.append(parameter.tolist()))
    optimizer.register_step_post_hook(lambda *_: seen.append(parameter.tolist()))
    optimizer.step()
    assert seen == [[1.0] * 3, [0.5] * 3] and parameter.requires_grad
