"""Stochastic gradient descent, with or without momentum."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, optim

from lrsearch.schedules import Array
from lrsearch.train.optimizers.alone import from_torch
from lrsearch.train.optimizers.kernels import Parameters
from lrsearch.train.optimizers.stacked import Needs, Number, alike, columns

_build = from_torch(optim.SGD, fused=("cpu", "cuda"))


def alone(parameters: Parameters, lr: float, **config: Any) -> optim.Optimizer:
    """`torch.optim.SGD`. It refuses Nesterov's momentum without a momentum; a search may ask for
    that, and it makes no difference."""
    nesterov = config["nesterov"] and config["momentum"] > 0
    made = _build(parameters, lr, **{**config, "nesterov": nesterov})
    if config["momentum"] > 0:
        made.register_step_pre_hook(_leave_fused)
    return made


def _leave_fused(optimizer: optim.Optimizer, *_: object) -> None:
    """Make an optimizer leave its fused kernel for good once a parameter's first gradient comes
    after another's, as that of an expert which the first batch does not reach: the kernel starts
    the momentum buffers of all parameters, or of none."""
    if len(optimizer.state) == sum(len(group["params"]) for group in optimizer.param_groups):
        return  # All have begun, as in nearly every step.
    for group in optimizer.param_groups:
        if group["fused"]:
            stepped = [each for each in group["params"] if each.grad is not None]
            begun = {optimizer.state[each].get("momentum_buffer") is None for each in stepped}
            if len(begun) > 1:
                group["fused"] = None


_NUMBERS = ("momentum", "kept", "buffer_decay", "decay_rate", "gradient_rate", "buffer_rate")


def _parts(config: Mapping[str, Any]) -> tuple[float, float]:
    """The shares of the gradient and of the momentum buffer in a step."""
    momentum = float(config["momentum"])
    if momentum == 0:
        return 1.0, 0.0
    return (1.0, momentum) if config["nesterov"] else (0.0, 1.0)


def _needs(config: Mapping[str, Any]) -> frozenset[str]:
    gradient, buffer = _parts(config)
    terms = {
        "gradient": gradient,
        "momentum": buffer,
        "dampening": buffer * config["dampening"],
        "weight_decay": config["weight_decay"],
    }
    return frozenset(name for name, part in terms.items() if part > 0)


def _tabulate(config: Mapping[str, Any], rates: Array, first: int) -> Array:
    gradient, buffer = _parts(config)
    if gradient and buffer and config["dampening"]:
        raise ValueError("Nesterov momentum requires a momentum and zero dampening")
    decay = float(config["weight_decay"])
    steps = first + np.arange(len(rates))
    # The first gradient enters the buffer whole.
    kept = np.where(steps == 1, 1.0, 1.0 - config["dampening"])
    return columns(
        float(config["momentum"]),
        kept,
        kept * decay,
        -rates * gradient * decay,
        -rates * gradient,
        -rates * buffer,
    )


def _step(
    parameter: Tensor, gradient: Tensor, number: Number, needs: Needs, buffer: Tensor
) -> None:
    """Step a parameter [K, ...] by its gradient and its `momentum_buffer`."""
    # The decayed gradient is never formed: that would be a tensor more to write and read. Nor may
    # the order of the sums follow from `needs`.
    if "momentum" in needs:
        kept = gradient
        if "dampening" in needs:
            kept = gradient * number("kept")
        torch.addcmul(kept, buffer, number("momentum"), out=buffer)
        if "weight_decay" in needs:
            buffer.addcmul_(parameter, number("buffer_decay"))
    if "gradient" in needs:
        if "weight_decay" in needs:
            parameter.addcmul_(parameter, number("decay_rate"))
        parameter.addcmul_(gradient, number("gradient_rate"))
    if "momentum" in needs:
        parameter.addcmul_(buffer, number("buffer_rate"))


LANES = alike(("momentum_buffer",), _NUMBERS, _tabulate, _needs, _step)
