"""Random numbers in lanes: each lane draws what solo draws from a generator of the same state, in
every run and every replay of a step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from devices import (
    DEVICE,
    assert_same_numbers,
    assert_same_weights,
    make_generator,
    noise_state,
)
from hypothesis import given
from hypothesis import strategies as st
from test_train import cohort, config
from torch import Tensor, nn
from torch.func import vmap

from lrsearch.train.engines.cohort import run_cohort
from lrsearch.train.engines.comparison import refuse
from lrsearch.train.engines.course import open_data
from lrsearch.train.lanes.draws import Generators, Noise
from lrsearch.train.lanes.plain import mapped
from lrsearch.train.lanes.rules import Rules
from lrsearch.train.tape import NotRecordable, record
from lrsearch.trial import Cohort, Ended, Outcome, Plan, Workplace

pytestmark = pytest.mark.usefixtures("on_device")

HERE = Workplace(str(DEVICE), str(Path(__file__).parent), ("layers",))
SEEDS = (3, 1, 2)
Drawing = Callable[[Tensor], Tensor]


def mutated(x: Tensor) -> Tensor:
    """What comes is its own: to change it changes no later draw."""
    kept = x.new_empty(len(x), 1).bernoulli_(0.7)
    return x * kept.div_(0.7) + torch.rand_like(x).mul_(2).sub_(1)


def renamed(x: Tensor) -> Tensor:
    low = torch.randint(size=(4,), low=2, high=9)
    return x + torch.randint(high=5, size=(18,)) + torch.randint(3, size=(1,)) + low.sum()


def both_ends(x: Tensor) -> Tensor:
    return x * torch.randint_like(x, 2, 40) + torch.randint_like(x, 7, dtype=torch.int64)


def sampled(x: Tensor) -> Tensor:
    normal = torch.distributions.Normal(x.tanh(), 1 + x**2, validate_args=False)
    uniform = torch.distributions.Uniform(-1.0, 1.0, validate_args=False)
    return normal.rsample() + uniform.sample((18,))


def through_a_learned_share(x: Tensor) -> Tensor:
    noise = torch.randn_like(x)
    noise *= x  # In place, by what is differentiated.
    return noise


def into_an_empty_one(x: Tensor) -> Tensor:
    own = torch.empty(6, 1)
    own.normal_(1.0, 0.5)
    return x + own + torch.empty(x.shape, dtype=torch.float64).log_normal_(0.1, 0.2)


DRAWINGS: dict[str, Drawing] = {
    "rand": lambda x: x + torch.rand(18),
    "rand, of places": lambda x: x + torch.rand(6, 18) + torch.rand((6, 1), dtype=torch.float64),
    "rand, a number": lambda x: x * torch.rand(()),
    "randn, few": lambda x: x * torch.randn(6, 1),  # Of fewer than 16 torch draws pairs.
    "randn, many": lambda x: x + torch.randn(x.shape, dtype=x.dtype, device=x.device),
    "randn, few and odd": lambda x: x[:5] * torch.randn(5, 1) * torch.randn(3, 5, 1)[0],
    "rand_like": lambda x: x + torch.rand_like(x),
    "randn_like": lambda x: x + torch.randn_like(x) * torch.randn_like(x, dtype=torch.float64),
    "randn_like, turned": lambda x: x.T + torch.randn_like(x.T),
    "of what all share": lambda x: x + torch.rand_like(torch.ones(18)),
    "randint": lambda x: x * torch.randint(10, (6, 1)) + torch.randint(-3, 4, [18]),
    "randint, named": renamed,
    "randint_like": both_ends,
    "randperm": lambda x: x[torch.randperm(6)][:, torch.randperm(18)],
    "randperm, int32": lambda x: x + torch.randperm(18, dtype=torch.int32),
    "bernoulli": lambda x: x * torch.bernoulli(x.sigmoid()) + x.sigmoid().bernoulli(),
    "bernoulli, turned": lambda x: (
        torch.bernoulli(x.sigmoid().T) + torch.bernoulli(x.detach().T, 0.3)
    ),
    "bernoulli, wide": lambda x: torch.bernoulli(x.double().sigmoid()) + x,
    "bernoulli, narrow": lambda x: torch.bernoulli(x.sigmoid().bfloat16()) + x,
    "bernoulli_, of a tensor": lambda x: torch.empty_like(x).bernoulli_(x[0].sigmoid()) * x,
    "normal, of numbers": lambda x: x + torch.normal(1.0, 2.0, (6, 18), device=DEVICE),
    "normal, of means": lambda x: torch.normal(x.detach(), 0.5) + torch.normal(x.detach()) * x,
    "normal, of deviations": lambda x: x * torch.normal(0.1, x.detach() ** 2),
    "normal, of both": lambda x: x * torch.normal(x.detach()[0], x.detach() ** 2),
    "uniform_": lambda x: x + torch.empty_like(x).uniform_(-2, 3),
    "normal_": lambda x: x + x.new_empty(6, 1).normal_(mean=1.0, std=0.1),
    "random_": lambda x: x + torch.empty(18).random_(4) + x.new_zeros(18).random_(1, 9),
    "exponential_": lambda x: x + torch.zeros_like(x).exponential_(0.5),
    "into an empty one": into_an_empty_one,
    "nn.init": lambda x: (
        nn.init.normal_(torch.zeros_like(x), std=0.1)
        + x @ nn.init.kaiming_uniform_(torch.empty(18, 18, device=DEVICE))
    ),
    "in place": mutated,
    "in place, differentiated": through_a_learned_share,
    "distributions": sampled,
    "multinomial": lambda x: (
        x[torch.arange(6), torch.multinomial(x.exp(), 1)[:, 0]]
        + x[0, x.detach()[1].abs().multinomial(6)]
    ),
    "distributions, by torch.Tensor.new": lambda x: (
        torch.distributions.Laplace(x, 0.5, validate_args=False).rsample()
        + x.new().sum()
        + torch.distributions.Cauchy(0.0, x.exp(), validate_args=False).rsample().tanh()
    ),
    "distributions, of numbers": lambda x: (
        x * torch.distributions.Beta(0.4, 0.4, validate_args=False).sample()
        + x[0, torch.multinomial(torch.arange(18.0), 7, replacement=True)].sum()
        + torch.distributions.Gamma(torch.ones(18), 2.0, validate_args=False).sample()
        + torch.poisson(torch.full((6, 1), 3.0))
        + torch.distributions.StudentT(5.0, validate_args=False).sample((18,))
    ),
    "gumbel_softmax": lambda x: F.gumbel_softmax(x, tau=0.5),
    "gumbel_softmax, turned": lambda x: F.gumbel_softmax(x.T, dim=0),
    "dropout": lambda x: F.dropout(x, 0.3) + F.dropout1d(x.reshape(2, 3, 18), 0.5).view(6, 18),
    "dropout, of all": lambda x: x + F.dropout(x, 1.0) + torch.rand(18),
    "dropout, in place": lambda x: F.dropout(x * 2, 0.3, inplace=True),
    "dropout, of what a mask fills": lambda x: F.dropout(x.T.masked_fill(x.T > 1, x.sum()), 0.3),
    "dropout, of what all share": lambda x: x * F.dropout(torch.ones(18), 0.3),
    "alpha dropout": lambda x: F.alpha_dropout(x, 0.3, training=True),
    "feature alpha dropout": lambda x: F.feature_alpha_dropout(x, 0.3, training=True),
    "alpha dropout, in place": lambda x: F.alpha_dropout(x * 2, 0.3, training=True, inplace=True),
}


def generators() -> list[torch.Generator]:
    return [make_generator(seed) for seed in SEEDS]


def in_lanes(drawing: Drawing, noise: Noise, x: Tensor) -> list[Tensor]:
    """Outputs [lanes, ...] and the gradient of their squares (and of x)."""
    leaf = x.detach().requires_grad_()
    with torch.enable_grad(), Rules(noise), mapped():
        out = vmap(drawing, randomness="different")(leaf)
    (gradient,) = torch.autograd.grad((out**2).sum() + leaf.sum(), leaf)
    return [out.detach().clone(), gradient]  # The numbers themselves are drawn anew.


NEEDS_CPU = pytest.mark.cpu("a GPU's kernel compares probabilities with numbers of its own")

PROBABILITIES = {name for name in DRAWINGS if name.startswith("bernoulli")}
"""Drawn by tensors of them, in lanes on a CPU alone: a GPU's kernel compares them with numbers that
no other kernel gives."""


@pytest.mark.parametrize("name", DRAWINGS)
def test_each_lane_draws_what_solo_draws(name: str) -> None:
    drawing = DRAWINGS[name]
    if name in PROBABILITIES and DEVICE.type != "cpu":
        x = torch.randn(len(SEEDS), 6, 18)
        with pytest.raises(NotRecordable, match="by bernoulli, of a tensor of probabilities"):
            in_lanes(drawing, Noise(generators()), x)
        return
    batches = torch.randn(3, len(SEEDS), 6, 18, generator=make_generator(0))
    own = generators()
    noise = Noise(own)
    tape, first = record(lambda x: in_lanes(drawing, noise, x), [batches[0]], [])
    found = [first]
    for batch in batches[1:]:
        noise.draw()
        found.append(tape.replay(batch))
    for lane, seed in enumerate(SEEDS):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            for batch, (out, gradient) in zip(batches, found, strict=True):
                leaf = batch[lane].clone().requires_grad_()
                expected = drawing(leaf)
                (own_gradient,) = torch.autograd.grad((expected**2).sum() + leaf.sum(), leaf)
                assert out[lane].dtype is expected.dtype
                torch.testing.assert_close(out[lane], expected.detach(), rtol=1e-6, atol=1e-6)
                torch.testing.assert_close(gradient[lane], own_gradient, rtol=1e-5, atol=1e-5)
            # So much was drawn, and no more.
            assert torch.equal(noise_state(), own[lane].get_state())
    assert not torch.equal(found[1][0], found[2][0])


def test_what_is_drawn_is_bitwise_solo_s() -> None:
    """Not near it: rounding is no excuse where nothing is computed."""
    x = torch.zeros(len(SEEDS), 7, 33)
    for drawing in (torch.rand_like, torch.randn_like, lambda x: torch.randn(5, 9, 11)):
        with Rules(Noise(generators())):
            out = vmap(drawing, randomness="different")(x)
        for lane, seed in enumerate(SEEDS):
            with torch.random.fork_rng():
                torch.manual_seed(seed)
                assert torch.equal(out[lane], drawing(x[lane]))


@pytest.mark.parametrize(
    "drawing",
    [
        *(torch.normal, torch.randn_like, lambda x: torch.normal(x, x.exp())),
        *(lambda x: torch.normal(0.5, x.exp()), lambda x: torch.normal(x[0], x.exp().detach())),
        lambda x: x.clone().normal_(),
        pytest.param(lambda x: torch.bernoulli(x.sigmoid()), marks=NEEDS_CPU),
        pytest.param(lambda x: torch.empty_like(x).bernoulli_(x.sigmoid()), marks=NEEDS_CPU),
    ],
)
def test_what_is_drawn_by_outputs_has_the_derivatives_it_has_alone(drawing: Drawing) -> None:
    """Zeros by what it is drawn by, not none: an optimizer decays what has zeros."""
    leaf = torch.randn(len(SEEDS), 6, 18, dtype=torch.float64).requires_grad_()
    with torch.enable_grad(), Rules(Noise(generators())):
        out = vmap(drawing, randomness="different")(leaf)
        none = vmap(lambda x: drawing(x.detach()), randomness="different")(leaf)
    alone = drawing(leaf[0])
    assert out.requires_grad == alone.requires_grad and not none.requires_grad
    if alone.requires_grad:
        (gradient,) = torch.autograd.grad(out.exp().sum(), leaf)
        assert not gradient.any()


OWN = make_generator(0)


@pytest.mark.parametrize(
    ("drawing", "reason"),
    [
        (lambda x: x + torch.rand(18, generator=OWN), "from a generator of its own"),
        (lambda x: x + torch.empty_like(x).normal_(generator=OWN), "a generator of its own"),
        (lambda x: x + torch.rand(18, device="meta"), "on the meta, not where it trains"),
        (lambda x: x + torch.rand(18, out=torch.empty(18)), "rand with out="),
        (lambda x: x + torch.zeros(18).uniform_(), "into a tensor that all lanes share"),
        (lambda x: (x * 2)[:, 0].normal_(), "into a part of a tensor"),
        (lambda x: vmap(lambda y: y + torch.rand(18), randomness="same")(x), "of torch.func"),
        (lambda x: x + torch.poisson(x.detach().abs()), "that no lane could repeat"),
        (lambda x: x + torch.get_rng_state()[0], "the state of torch's random numbers"),
        (lambda x: x + torch.manual_seed(seed=1).seed(), "the state of torch's random numbers"),
        (
            lambda x: x[0, torch.multinomial(x.detach().abs(), 4, replacement=True)],
            "draws several numbers of the same probabilities, with replacement",
        ),
    ],
)
def test_what_cannot_be_drawn_in_lanes_says_so(drawing: Drawing, reason: str) -> None:
    x = torch.randn(len(SEEDS), 6, 18)
    with pytest.raises(NotRecordable, match=reason):
        record(lambda x: in_lanes(drawing, Noise(generators()), x), [x], [])


@pytest.mark.cpu("a GPU's kernel asserts it, and the process has lost the device")
def test_what_are_no_probabilities_raises_as_alone() -> None:
    x = torch.randn(len(SEEDS), 6, 18)

    def draw(x: Tensor) -> list[Tensor]:
        return in_lanes(lambda x: x + torch.multinomial(x.relu(), 1), Noise(generators()), x)

    tape, _ = record(draw, [x], [])
    x[1, 2] = -1.0
    with pytest.raises(RuntimeError, match="invalid multinomial"):
        tape.replay(x)


def test_nothing_is_drawn_in_evaluation() -> None:
    x = torch.randn(2, 6, 18)
    for name, reason in (("randn_like", "draws random numbers"), ("dropout", "uses dropout")):
        with pytest.raises(NotRecordable, match=f"{reason} in evaluation, too"):
            record(lambda x, name=name: in_lanes(DRAWINGS[name], Noise(()), x), [x], [])


def test_numbers_do_not_hold_the_graph_they_were_used_in() -> None:
    noise = Noise(generators())
    in_lanes(DRAWINGS["in place, differentiated"], noise, torch.randn(len(SEEDS), 6, 18))
    assert [each.numbers.grad_fn for each in noise.draws] == [None]
    assert noise.bytes == 4 * len(SEEDS) * 6 * 18


NOISY = ("Autoencodes", "Noisy", "DropsPaths", "DropsBlocks", "ShufflesFeatures", "Gumbel")


@pytest.mark.parametrize("name", NOISY)
def test_models_that_draw_train_in_lanes_as_alone(name: str) -> None:
    model = {"class_path": f"layers.{name}", "init_args": {}}
    configs = [config(model, lr=rate, budget="2ep", batch_size=32) for rate in (0.02, 0.05, 0.01)]
    assert_lanes_train_as_alone(cohort(*configs, place=HERE, seeds=[0, 1, 0]))


def assert_lanes_train_as_alone(job: Cohort) -> None:
    """Three trials are tried (steps and gradients are solo's), trained as solo trains, and bit by
    bit the same beside any neighbours, in any order."""
    torch.set_num_threads(1)
    data = open_data(job, job.trials[0], DEVICE)
    assert refuse(job.trials, data, job.workplace) == ""

    def train(plan: Plan, order: tuple[int, ...]) -> dict[int, Ended]:
        given = replace(job, plan=plan, trials=tuple(job.trials[at] for at in order))
        ended = {each.trial: each for each in run_cohort(given) if isinstance(each, Ended)}
        assert all(each.result.outcome is Outcome.COMPLETED for each in ended.values())
        assert all(each.result.engine == plan.engine for each in ended.values())
        return ended

    together = train(Plan("fused", 3), (0, 1, 2))
    other = train(Plan("fused", 2), (2, 0))  # Of one seed: they share each batch.
    alone = train(Plan("solo", 1), (0, 1, 2))
    for number, each in other.items():
        assert_same_numbers(each.curve, together[number].curve)
        assert_same_weights(each.weights, together[number].weights)
    for number, each in alone.items():
        assert each.curve.keys() == together[number].curve.keys()
        for name, values in each.curve.items():
            np.testing.assert_allclose(values, together[number].curve[name], rtol=1e-3, atol=1e-4)


LANES = st.integers(0, 4)
CHANGES = st.one_of(
    st.tuples(st.just("put"), LANES, st.integers(0, 2)),  # A seed.
    st.tuples(st.just("copy"), LANES, LANES),  # Another lane's state.
    st.tuples(st.just("alone"), LANES, st.integers(1, 3)),  # Numbers that one lane draws.
    st.tuples(st.just("step"), st.integers(1, 3), st.just(0)),  # Draws of all.
)


@given(st.lists(CHANGES, max_size=20))
def test_lanes_that_share_their_draws_have_each_its_own(
    changes: list[tuple[str, int, int]],
) -> None:
    own = [make_generator(9) for _ in range(5)]
    shared, drawn = Generators([make_generator(9) for _ in range(5)]), 0

    def fill(lane: Tensor, generator: torch.Generator) -> None:
        nonlocal drawn
        drawn += 1
        lane.uniform_(generator=generator)

    for kind, first, other in changes:
        if kind == "step":
            for _ in range(first):
                numbers = torch.empty(5, 3)
                shared.fill(numbers, fill)
                expected = [torch.rand(3, generator=each) for each in own]
                assert torch.equal(numbers, torch.stack(expected))
        elif kind == "alone":
            assert torch.equal(
                torch.rand(other, generator=shared.part(first)),
                torch.rand(other, generator=own[first]),
            )
        else:
            state = make_generator(other).get_state() if kind == "put" else own[other].get_state()
            shared.write(first, state)
            own[first].set_state(state)
        for lane, each in enumerate(own):
            assert torch.equal(shared.read(lane), each.get_state())


def test_numbers_of_one_state_are_drawn_once() -> None:
    """Lanes that are filled anew together, and among others that go on."""
    shared, drawn = Generators([make_generator() for _ in range(4)]), []

    def fill(lane: Tensor, generator: torch.Generator) -> None:
        drawn.append(generator)
        lane.uniform_(generator=generator)

    for put, expected in (((0, 1, 2, 3), 1), ((1, 2), 2), ((0,), 3)):
        for lane in put:
            shared.write(lane, make_generator(5).get_state())
        drawn.clear()
        numbers = torch.empty(4, 6)
        shared.fill(numbers, fill)
        assert len(drawn) == expected == len(numbers.unique(dim=0))
