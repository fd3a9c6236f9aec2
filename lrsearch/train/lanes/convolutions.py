"""Convolutions under vmap, whose kernel on a CPU must not depend on the number of lanes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch._functorch.pyfunctorch import temporarily_clear_interpreter_stack
from torch.func import vmap

from lrsearch.train.lanes.linear import move
from lrsearch.train.lanes.plain import axis_of, count_lanes, level_of_lanes, whole_of

FEW = 8
"""Channels of all lanes below which oneDNN takes another kernel, where a lane has 2 or 3, as images
in colour have; its sums have another order."""


def convolve(
    func: Callable[..., Tensor],
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *args: Any,
    **kwargs: Any,
) -> Tensor:
    """A convolution, also a transposed one, of torch.nn.functional: of few channels on a CPU with
    lanes of zeros beside, which are dropped."""
    level, channels = level_of_lanes(), weight.shape[1]
    given = [each for each in (input, weight, bias) if each is not None]
    axes = [axis_of(each) for each in given]
    if level is None or input.device.type != "cpu" or channels not in (2, 3) or None in axes:
        return func(input, weight, bias, *args, **kwargs)
    lanes = count_lanes()
    more = max(-(-FEW // channels) - lanes, 0)

    def widen(each: Tensor, axis: int | None) -> Tensor:
        every = move(whole_of(each), axis, lanes)
        return torch.cat([every, every.new_zeros(more, *every.shape[1:])]) if more else every

    def run(*each: Tensor) -> Tensor:
        return func(*each, *[None] * (3 - len(each)), *args, **kwargs)

    with temporarily_clear_interpreter_stack():
        # Laid out alike, as their gradients are, whether there is something to be dropped or not.
        found = vmap(run, out_dims=1)(*map(widen, given, axes))
        out = found.narrow(1, 0, lanes).contiguous()
    return torch._C._functorch._add_batch_dim(out, 1, level)
