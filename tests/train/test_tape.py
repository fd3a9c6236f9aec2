"""Recorded programs: a replay is the function run again, or the recording is refused."""

import functools
import gc
import math
import re
import weakref

import numpy as np
import pytest
import torch
from devices import DEVICE, make_generator
from torch.func import vmap

from lrsearch.train.tape import NotRecordable, record, unrecorded

pytestmark = pytest.mark.usefixtures("on_device")


def twice(function, static=(), inputs=2):
    """Record with some inputs, replay with others; found and expected outputs, the latter of the
    function itself, with the static tensors as they were in between."""
    generator = make_generator(0)
    given = [torch.randn(4, 3, generator=generator) for _ in range(2 * inputs)]
    tape, first = record(function, given[:inputs], static)
    before = [each.clone() for each in static]
    found = tape.replay(*given[inputs:])
    after = [each.clone() for each in static]
    for each, value in zip(static, before, strict=True):
        each.copy_(value)
    expected = list(function(*given[inputs:]))
    for each, value in zip(static, after, strict=True):
        assert torch.equal(each, value)
    assert not all(torch.equal(each, other) for each, other in zip(first, found, strict=True))
    return found, expected


def some():
    return torch.linspace(-1, 1, 12).reshape(4, 3)


def gradients(x, y):
    x = x.detach().requires_grad_()
    loss = (torch.tanh(x @ y.T).exp().log_softmax(1) ** 2).sum() + x.std()
    return torch.autograd.grad(loss, [x])


def several(x, y):
    values, indices = x.sort(1)
    parts = torch.cat([x, y]).split([3, 5])
    mean, deviation = torch.var_mean(x, 1)
    return [values, y.gather(1, indices), parts[1].contiguous(), mean * deviation]


def in_place(x, y):
    out = torch.zeros(4, 3)
    out[1] = x[2]
    out[:, 0] += y[:, 1]
    out.relu_().clamp_(max=0.5)
    return [out, out.T.contiguous()]


def written_out(x, y):
    out = torch.empty(4, 3)
    torch.add(x, y, out=out)
    return [torch.addcmul(out, x, y, value=math.pi)]


def odd_numbers(x, y):
    return [
        x.masked_fill(y > 0, math.inf),
        torch.where(x > 0, math.nan, y).nan_to_num(-1.0),
        x.clamp(min=-0.1, max=None),
        torch.full((2,), 1e-300, dtype=torch.float64) * x.sum(),
    ]


def literals(x, y):
    return [x * torch.tensor([1.0, 2.0, 3.0]), x[:, [2, 0]], x[torch.tensor([1, 1, 0])]]


def counted(x, y):
    count, weights = torch.tensor(0), torch.tensor([1.0, 3.0, 4.0])
    count += 2
    weights /= weights.sum()
    return [x * count + weights * y, torch.tensor(0)]


def turned(x, y):
    own = x * 2
    own.t_()
    return [own @ y]


def detached(x, y):
    own = x * 2
    alias = own.detach()
    alias.mul_(3)  # Of one memory: both change.
    return [own, alias + y]


def mapped(x, y):
    return [vmap(lambda a, b: torch.linalg.vector_norm(a - b, keepdim=True))(x, y)]


def masked(x, y):
    places = torch.arange(4)
    allowed = (places[:, None] >= places) & torch.ones(4, 4, dtype=torch.bool).tril()
    own = torch.zeros_like(x)
    return [(x @ y.T).masked_fill(~allowed, -math.inf).softmax(1) + own.mean() + own.add(1)[:, :1]]


def read_back(x, y):
    """Of what is the same each time."""
    places = torch.arange(4)
    times = x.repeat_interleave(torch.tensor([1, 2, 1, 2]), 0)
    return [x * places.max().item(), times[places[places > 1]], torch.cov(x + y)]


def changed_later(x, y):
    own = torch.zeros(4, 3)
    before = own + 1
    own.add_(x)
    return [before + y, own + y, before * own]


def changed_in_part(x, y):
    own = torch.ones(4, 3)
    row, other = own[1], own[2] * 2
    later = row.unsqueeze(0) + 1
    row.add_(x[0])
    return [own * 1, later * y, other + y[0], own.T.flatten() + 1]


def changed_unsaid(x, y):
    mean, variance = torch.zeros(3), torch.ones(3)
    out = torch.native_batch_norm(x, None, None, mean, variance, True, 0.1, 1e-5)[0]
    torch.batch_norm_update_stats(y, mean, variance, 0.1)
    return [out, mean + y, variance * y]


def read_the_same(x, y):
    """Values that are the same each time, and shapes that depend on them."""
    mask = torch.eye(4).bool()
    mask[0, 1] = True
    rates = torch.linspace(0, 1, 3).tolist()
    return [
        (x @ y.T)[~mask] * mask.sum().item(),
        x[:, torch.arange(3) > 0] * rates[1] if mask.any() else y,
        x.repeat_interleave(torch.tensor([1, 2, 1, 2]), 0),
        torch.cov(x),
    ]


OWN = torch.library.Library("lrsearch_tests", "DEF")
OWN.define("grow(Tensor sums, Tensor x) -> Tensor")
OWN.impl("grow", lambda sums, x: sums.add_(x) * 1, "CompositeExplicitAutograd")


def changed_by_others(x, y):
    sums = torch.zeros(4, 3)
    return [torch.ops.lrsearch_tests.grow(sums[1:], x[1:]), sums + y]


@pytest.mark.parametrize(
    "function",
    [
        *(gradients, several, in_place, written_out, odd_numbers, literals, counted),
        *(turned, detached, mapped, masked, read_back, changed_later, changed_in_part),
        *(changed_unsaid, changed_by_others, read_the_same),
    ],
)
def test_a_replay_is_the_function_again(function):
    found, expected = twice(function)
    assert len(found) == len(expected)
    for left, right in zip(found, expected, strict=True):
        torch.testing.assert_close(left, right, rtol=0, atol=0, equal_nan=True)


def test_numbers_are_changed_in_place_on_the_device_that_they_lie_on():
    """On an accelerator, too; those of its host are brought there once."""

    def function(x, device):
        with unrecorded():
            made = torch.tensor([1.0, 2.0], device=device)
        count = torch.ops.aten.lift_fresh(made)  # As torch.tensor does, but for this stand-in.
        count += 1
        return [x * count]

    away, host = torch.device("meta"), torch.Generator().device
    there = torch.ones(2, device=away)
    tape, _ = record(functools.partial(function, device=away), [there], [])
    assert tape.operations == 3 and not tape.host
    with pytest.raises(NotRecordable, match="changes a tensor in place that is neither"):
        record(functools.partial(function, device=host), [there], [])


def test_static_tensors_are_read_and_changed_where_they_are():
    weight, count = some(), torch.zeros((), dtype=torch.int64)
    table = torch.arange(12.0).reshape(3, 4)

    def function(x):
        own = weight.detach().requires_grad_()
        view, lower = own.view(2, 6), own[2:].T
        (gradient,) = torch.autograd.grad((x.view(2, 6) * view).sum() + lower.square().sum(), own)
        with torch.no_grad():
            weight.sub_(gradient, alpha=0.1)
            weight[0].mul_(0.5)
            weight.T[1].add_(1)
            count.add_(1)
        # A view made before the change, and one made after it.
        return [view + 0, weight.T @ x, table.T @ weight.T * count]

    found, expected = twice(function, [weight, count], inputs=1)
    for left, right in zip(found, expected, strict=True):
        assert torch.equal(left, right)


def test_views_of_what_stays_are_made_once():
    weight = some()
    tape, _ = record(lambda x: [weight.detach().view(2, 6).T @ x], [torch.ones(2, 1)], [weight])
    assert tape.operations == 1
    weight.mul_(2)
    assert torch.equal(tape.replay(torch.ones(2, 1))[0], weight.view(2, 6).T @ torch.ones(2, 1))


def test_what_depends_on_nothing_is_made_once():
    """Not what is handed out, be it a view, which its reader may change."""
    tape, _ = record(lambda x: [masked(x, x)[0]], [torch.ones(4, 3)], [])
    called = re.findall(r"(f\d+)\(", tape.source)
    assert len(called) == tape.operations == 6, tape.source
    for made in (
        lambda: torch.ones(2),
        lambda: torch.ones(3, 2)[1],
        lambda: torch.ones(2).detach(),
    ):
        tape, (ones, _) = record(lambda x, made=made: [made(), x + 1], [torch.ones(2)], [])
        ones.zero_()
        tape.replay(torch.ones(2))[0].zero_()
        assert tape.replay(torch.ones(2))[0].tolist() == [1.0, 1.0]


KEPT = torch.tensor([True, False, True])
"""As an attribute of a module that is no buffer."""


def chosen_by_masks(x, y):
    mask = torch.ones(4, 3).tril().bool()
    x = x.detach().requires_grad_()
    put = torch.zeros(4, 3)
    put[mask] = y[mask] * 2
    out = (x.T[:, mask.any(1)] * y.T[:, mask[:, 2]].sum()).square().sum() + x[mask].exp().sum()
    out = out + x[:, ~KEPT].sum() * KEPT.sum().item()
    return [put, out.detach(), *torch.autograd.grad(out, x)]


def test_masks_that_stay_are_counted_once():
    """A GPU would be waited for at each replay, which cannot be captured."""
    found, expected = twice(chosen_by_masks)
    for left, right in zip(found, expected, strict=True):
        assert torch.equal(left, right)
    tape, _ = record(chosen_by_masks, [some(), some()], [])
    read = set(re.findall(r"\w+", tape.source)) & tape.run.__globals__.keys()
    held = [tape.run.__globals__[name] for name in read]
    assert not [
        each for each in held if isinstance(each, torch.Tensor) and each.dtype is torch.bool
    ]
    with pytest.raises(NotRecordable, match="shape of a result"):
        record(lambda x: [x[:, KEPT]], [some()], [KEPT])


def test_hidden_changes_are_made_again():
    """native_batch_norm changes the running statistics, and its schema does not say so."""
    mean, variance = torch.zeros(3), torch.ones(3)

    def function(x):
        return [torch.native_batch_norm(x, None, None, mean, variance, True, 0.1, 1e-5)[0]]

    found, expected = twice(function, [mean, variance], inputs=1)
    assert torch.equal(found[0], expected[0])
    assert mean.abs().min() > 0


def test_what_is_unrecorded_is_done_once():
    seen = []
    noise = torch.zeros(3)

    def function(x):
        with unrecorded():
            seen.append(float(x.sum()))
            noise.uniform_()
        return [x * noise]

    tape, _ = record(function, [torch.ones(4, 3)], [])
    noise.fill_(2.0)
    assert torch.equal(tape.replay(torch.ones(4, 3))[0], torch.full((4, 3), 2.0))
    assert len(seen) == 1


ELSEWHERE, TABLE = torch.zeros(3, device=DEVICE), torch.ones(3, 3, device=DEVICE)


def by_numpy(x):
    """A tensor over memory of the recording's own, that no operation made."""
    return [torch.from_numpy((x * 2).numpy()) + 1]


def read_once_changed(x):
    own = torch.zeros(3)
    own.add_(x[0])
    return [x * own.sum().item()]


def on_an_alias(x):
    own = x * 2
    own.detach().t_()
    return [own]


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (lambda x: [x * x.sum().item()], "reads values back"),
        (lambda x: [x if x.sum() > 0 else -x], "reads values back"),
        (lambda x: [x * float(torch.equal(x, x))], "reads values back"),
        (lambda x: [x[x > 0]], "shape of a result depends on values"),
        (lambda x: [x.nonzero()], "shape of a result depends on values"),
        (lambda x: [(x > 0).int().unique()], "shape of a result depends on values|reads values"),
        (read_once_changed, "reads values back"),
        (lambda x: [x * (torch.zeros(3).add_(x[0]) * 2).sum().item()], "reads values back"),
        (lambda x: [x[torch.ones(4).bool().logical_and_(x[:, 0] > 0)]], "shape of a result"),
        (lambda x: [x * torch.zeros(3).add_(x[0])[0].item()], "reads values back"),
        (lambda x: [x.repeat_interleave((x[:, 0] > 0) + 1, 0)], "shape of a result"),
        (lambda x: [x + torch.rand(3)], "draws random numbers"),
        (lambda x: [torch.nn.functional.dropout(x)], "draws random numbers"),
        (lambda x: [torch.nn.functional.rrelu(x, training=True)], "draws random numbers"),
        (lambda x: [x * torch.randint(3, (3,))], "draws random numbers"),
        (lambda x: [x[torch.randperm(4)]], "draws random numbers"),
        (lambda x: [torch.normal(x, 1.0)], "draws random numbers"),
        (lambda x: [x + ELSEWHERE.add_(1)], "neither parameter, buffer nor its own"),
        (lambda x: [torch.sum(x, 0, out=ELSEWHERE)], "neither parameter, buffer nor its own"),
        (lambda x: [x @ TABLE.t_()], "neither parameter, buffer nor its own"),
        (lambda x: [x.mul_(2)], "changes its input in place"),
        (lambda x: [x.view(-1)[2:].zero_()], "changes its input in place"),
        (lambda x: [x.to_sparse().to_dense()], "sparse|shape of a result"),
        (lambda x: [torch.eye(4).to_sparse() @ x], "sparse|shape of a result"),
        (on_an_alias, "changes the shape of a tensor in place"),
    ],
)
def test_what_a_replay_would_get_wrong_is_refused(function, reason):
    with pytest.raises(NotRecordable, match=reason):
        record(function, [some()], [])


def test_a_static_tensor_may_not_change_its_shape():
    square = torch.ones(3, 3)
    with pytest.raises(NotRecordable, match="changes the shape of a tensor in place"):
        record(lambda x: [x @ square.t_()], [some()], [square])


def test_memory_of_its_own_that_no_operation_made_is_refused():
    def function(x):
        own = x * 2
        with unrecorded():
            stranger = torch.tensor([])
            stranger.set_(own.untyped_storage(), 0, own.shape)
        return [stranger + 1]

    with pytest.raises(NotRecordable, match="by ways that cannot be recorded"):
        record(function, [some()], [])


def test_what_fails_leaves_nothing_in_force():
    with pytest.raises(NotRecordable):
        record(lambda x: [x * x.sum().item()], [some()], [])
    with pytest.raises(ZeroDivisionError), unrecorded():
        raise ZeroDivisionError
    tape, _ = record(lambda x: [x * 2], [some()], [])
    assert tape.operations == 1 and torch.rand(1).item() >= 0


def test_a_replay_holds_no_more_than_it_needs():
    """Results that nobody needs any more are given back on the way, and all at the end."""
    alive = []

    class Counting(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            out = func(*args, **(kwargs or {}))
            alive.append(weakref.ref(out))
            most.append(sum(each() is not None for each in alive))
            return out

    def chain(x):
        for _ in range(10):
            x = x * 2
        return [x]

    tape, _ = record(chain, [some()], [])
    most: list[int] = []
    with Counting():
        out = tape.replay(some())
    assert max(most) < 6
    assert torch.equal(out[0], some() * 1024)
    assert tape.operations == 10 and tape.bytes == 10 * 48


def test_a_tape_that_is_gone_holds_nothing():
    def make():
        weight = torch.ones(3)
        return record(lambda x: [x * weight], [some()], [weight])[0], weakref.ref(weight)

    tape, kept = make()
    assert kept() is not None
    gc.disable()  # Memory is given back at once, not when the collector comes by.
    try:
        del tape
        assert kept() is None
    finally:
        gc.enable()


def test_recordings_of_one_structure_are_compiled_once():
    """Their source is the same, whatever they hold: each has its own weights and numbers."""

    def make(scale):
        weight = torch.full((3,), scale)
        return record(lambda x: [(x * weight).clamp(max=scale) + scale], [some()], [weight])[0]

    first, second = make(0.5), make(2.5)
    assert first.source == second.source and first.run.__code__ is second.run.__code__
    for tape, scale in ((first, 0.5), (second, 2.5)):
        expected = (some() * scale).clamp(max=scale) + scale
        torch.testing.assert_close(tape.replay(some()), [expected])


@pytest.mark.cpu("numpy reads only the host's memory")
def test_replays_differ_from_numpy_s_constants():
    """Why a structure is tried for two steps: what comes from the host stands still."""
    tape, first = record(by_numpy, [some()], [])
    assert np.array_equal(tape.replay(some() * 5)[0], first[0])
