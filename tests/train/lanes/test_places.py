"""What is computed by element, or summed by column, is the same wherever an element stands."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from devices import DEVICE
from torch import Tensor

from lrsearch.train.lanes.places import placeless
from lrsearch.train.tape import record

pytestmark = pytest.mark.cpu("its vectors are of so many elements")


def _backward(function: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    def run(x: Tensor) -> Tensor:
        x = x.detach().requires_grad_()
        return torch.autograd.grad(function(x).sum(), x)[0]

    return run


BY_ELEMENT: dict[str, Callable[[Tensor], Tensor]] = {
    "sigmoid": torch.sigmoid,
    "sigmoid, in place": lambda x: x.clone().sigmoid_(),
    "silu": F.silu,
    "silu, in place": lambda x: F.silu(x.clone(), inplace=True),
    "gelu": F.gelu,
    "gelu, by tanh": lambda x: F.gelu(x, approximate="tanh"),
    "mish": F.mish,
    "softplus": F.softplus,
    "elu, selu, celu": lambda x: F.elu(x) + F.selu(x) + F.celu(x),
    "power": lambda x: x.abs().pow(x),
    "power of a number": lambda x: x.abs() ** 2.5 + 2.3**x,
    "lerp": lambda x: torch.lerp(x, x * x, x.abs().clamp(max=1)),
    "logaddexp": lambda x: torch.logaddexp(x, -x) + torch.logaddexp2(x, -x),
    "angles": lambda x: torch.atan2(x, x * x) + torch.hypot(x, x * x) + x.sinh() + x.cosh(),
    "binary cross entropy": lambda x: F.binary_cross_entropy(
        x.tanh().abs(), x.cos().abs(), reduction="none"
    ),
    "transposed": lambda x: torch.sigmoid(x.view(-1, 1).t()).flatten(),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("name", BY_ELEMENT)
def test_an_element_hangs_on_no_place(name: str, dtype: torch.dtype) -> None:
    x = 3 * torch.randn(512, generator=torch.Generator().manual_seed(1)).to(dtype)
    for run in (BY_ELEMENT[name], _backward(BY_ELEMENT[name])):
        whole = run(x)
        with placeless(DEVICE):
            few = torch.cat([run(part.clone()) for part in x.split(37)])
        assert torch.equal(few, whole)


@pytest.mark.parametrize(
    "way",
    [
        lambda x: x.sum(0),
        lambda x: x.mean(0, keepdim=True).squeeze(0),
        lambda x: x.movedim(0, -1).sum(-1),
    ],
    ids=["sum", "mean", "transposed"],
)
def test_a_column_hangs_on_no_place(way: Callable[[Tensor], Tensor]) -> None:
    x = torch.randn(50, 192, generator=torch.Generator().manual_seed(1))
    whole = way(x)
    with placeless(DEVICE):
        few = torch.cat([way(part.contiguous()) for part in x.split(23, 1)])
        several = way(x[:, :46].contiguous().view(50, 2, 23))
    assert torch.equal(few, whole)
    assert torch.equal(several.flatten(), whole[:46])


def test_what_raises_alone_raises() -> None:
    """Whole numbers are not changed in place by what gives others."""
    for run in (lambda x: x.pow_(0.5), lambda x: x.sigmoid_(), lambda x: x.atan2_(x)):
        with placeless(DEVICE), pytest.raises(RuntimeError, match="can't be cast"):
            run(torch.tensor([1, 2, 3]))


def test_what_is_dropped_is_recorded() -> None:
    """A replay pads new numbers as the recording did."""

    def run(x: Tensor) -> list[Tensor]:
        with placeless(DEVICE):
            return [torch.sigmoid(x), x.view(5, 3).sum(0)]

    x = torch.randn(2, 15, generator=torch.Generator().manual_seed(1))
    tape, _ = record(run, [x[0].clone()], [])
    for again, anew in zip(tape.replay(x[1].clone()), run(x[1].clone()), strict=True):
        assert torch.equal(again, anew)
