"""Linear layers under vmap: one batched product for all lanes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from lrsearch.train.products import align, multiply


def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """torch.nn.functional.linear, by the rule below where each lane has a weight of its own."""
    if input.dim() < 1 or torch._C._functorch.maybe_get_level(weight) < 0 or transforms_itself():
        return F.linear(input, weight, bias)
    return apply(_Linear, input, weight, bias)


def transforms_itself() -> bool:
    """Whether code runs within a transform of torch.func of its own, inside of the lanes' vmap. The
    rules below are not differentiated twice, torch's are."""
    return len(torch._C._functorch.get_interpreter_stack() or ()) > 1


def lower(*given: Any) -> tuple[Any, ...]:
    """Cast tensors, and those in lists, to the type that autocast, if in force, gives a product;
    other values are unchanged."""
    return tuple(
        lower(*each)
        if isinstance(each, list | tuple)
        else each.to(torch.get_autocast_dtype(each.device.type))
        if isinstance(each, Tensor) and autocast_takes(each)
        else each
        for each in given
    )


def autocast_takes(tensor: Tensor) -> bool:
    """Whether autocast is in force and casts the tensor: it leaves float64 and integers alone."""
    casts = tensor.is_floating_point() and tensor.dtype is not torch.float64
    return casts and torch.is_autocast_enabled(tensor.device.type)


class _Linear(torch.autograd.Function):
    """torch.nn.functional.linear, lane by lane."""

    @staticmethod
    def forward(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return F.linear(x, weight, bias)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        """Keep nothing: only the rule below is ever differentiated."""

    @staticmethod
    def vmap(
        info: Any, in_dims: Sequence[int | None], x: Tensor, weight: Tensor, bias: Tensor | None
    ) -> tuple[Tensor, int]:
        lanes = info.batch_size
        x, weight = move(x, in_dims[0], lanes), move(weight, in_dims[1], lanes)
        if bias is not None:
            bias = move(bias, in_dims[2], lanes)
        x, weight, bias = lower(x, weight, bias)
        shape = x.shape[1:-1]
        out = apply(_Products, x.reshape(lanes, -1, x.shape[-1]), weight, bias)
        return out.reshape(lanes, *shape, out.shape[-1]), 0


class _Products(torch.autograd.Function):
    """x [K, n, in] times weights [K, out, in]: one batched product each way, and the weights'
    gradient comes out in their own layout, which autograd's does not."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        x, weight = align(x), align(weight)
        ctx.save_for_backward(x, weight)
        return multiply(x, weight.transpose(1, 2), bias)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        needs_x, needs_weight, needs_bias = ctx.needs_input_grad
        aligned = align(gradient)
        return (
            multiply(aligned, weight) if needs_x else None,
            multiply(aligned.transpose(1, 2), x) if needs_weight else None,
            gradient.sum(1) if needs_bias else None,
        )


def move(tensor: Tensor, dim: int | None, lanes: int) -> Tensor:
    """A tensor with its lanes first; one that all lanes share is expanded to them, without a
    copy."""
    return tensor.expand(lanes, *tensor.shape) if dim is None else tensor.movedim(dim, 0)


def apply(function: type[torch.autograd.Function], *args: Any) -> Tensor:
    """`function.apply`, typed."""
    return cast(Tensor, function.apply(*args))  # type: ignore[no-untyped-call]
