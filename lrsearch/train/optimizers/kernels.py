"""Torch's fused optimizer kernels, used where their results are those of its plain loops.

On a CPU the fused ones are the fastest of torch's variants, for small models by 6 to 20 % of a
step. Torch 2.13 takes them for any parameter of floating point, and is wrong for some:
`_fused_sgd_` leaves most of a bfloat16 or float16 tensor as it was, those of Adam and Adagrad round
it otherwise or overflow, and all of them read memory in a row, which a parameter that is every
second column of a tensor is not. They refuse complex parameters and sparse gradients, which plain
loops train.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn, optim

Parameters = Iterable[nn.Parameter] | Iterable[dict[str, Any]]

EQUAL = (torch.float32, torch.float64)
"""Types of parameters for which fused and plain kernels were shown equal."""


def list_groups(parameters: Parameters) -> list[dict[str, Any]]:
    """Parameters, or groups of them as torch.optim takes them, as groups."""
    given: list[Any] = list(parameters)
    if given and isinstance(given[0], dict):
        return [{**group, "params": list(group["params"])} for group in given]
    return [{"params": given}]


def choose_kernels(
    parameters: Parameters, devices: tuple[str, ...] = ("cpu", "cuda")
) -> list[dict[str, Any]]:
    """The parameters as groups, each with the `fused` that suits all its parameters; None leaves
    the choice between plain kernels to torch. `devices` are those that have the fused one."""

    def suits(parameter: Tensor) -> bool:
        return parameter.device.type in devices and _is_plain(parameter)

    return [
        {**group, "fused": True if all(map(suits, group["params"])) else None}
        for group in list_groups(parameters)
    ]


def _is_plain(parameter: Tensor) -> bool:
    if parameter.layout is not torch.strided:
        return False
    # Strides survive in a copy exactly where no memory lies between a tensor's entries.
    dense = torch.empty_like(parameter, device="meta").stride() == parameter.stride()
    return dense and parameter.dtype in EQUAL


def step_plainly_where_needed(optimizer: optim.Optimizer) -> None:
    """Make an optimizer leave fused kernels for good once a gradient is sparse, or lies otherwise
    in memory than its parameter: that is known only when the gradient is there."""
    if any(group["fused"] for group in optimizer.param_groups):
        optimizer.register_step_pre_hook(_leave_fused)


def _leave_fused(optimizer: optim.Optimizer, *_: object) -> None:
    for group in optimizer.param_groups:
        if group["fused"] and any(map(_is_unlike, group["params"])):
            group["fused"] = None


def _is_unlike(parameter: Tensor) -> bool:
    gradient = parameter.grad
    if gradient is None:
        return False
    if gradient.layout is not torch.strided:
        return True
    if gradient.stride() == parameter.stride():
        return False
    # Where a dimension has one entry its stride says nothing, and autograd keeps no count of it.
    strides = zip(gradient.shape, gradient.stride(), parameter.stride(), strict=True)
    return any(size > 1 and own != other for size, own, other in strides)
