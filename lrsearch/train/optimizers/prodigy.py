"""Prodigy (Mishchenko & Defazio 2024).

In lanes the sums over all of a lane's parameters, and the estimate d that follows from them, stay
on the device as a number a lane. They are summed and kept in float64; tensors use them in the order
of operations of the authors' package, since the rounding of p0 - p decides the first estimates.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, optim

from lrsearch.schedules import Array
from lrsearch.train.optimizers.alone import from_package
from lrsearch.train.optimizers.kernels import Parameters
from lrsearch.train.optimizers.stacked import (
    Needs,
    Slots,
    StackedOptimizer,
    Tensors,
    beside,
    columns,
    root,
)

_build = from_package(
    "prodigy", "Prodigy", decoupled="decouple", bias_correction="use_bias_correction"
)


def alone(
    parameters: Parameters,
    lr: float,
    *,
    growth_rate: float | None,
    weight_decay: float,
    **config: Any,
) -> optim.Optimizer:
    """`prodigyopt.Prodigy` of the authors' package. A `growth_rate` of None is infinite."""
    made = _build(
        parameters, lr, growth_rate=math.inf if growth_rate is None else growth_rate, **config
    )
    # Given to its constructor, a decoupled decay is announced on stdout, trial after trial.
    for group in made.param_groups:
        group["weight_decay"] = weight_decay
    return made


# in lanes

_NUMBERS = (
    *("starts", "rate", "moves", "d0", "d_coef", "growth_rate", "safeguarded", "decay"),
    *("coupled_decay", "beta1", "share", "beta2", "square_share", "beta3", "eps", "no_mean"),
    *("corrected", "log_beta1", "log_beta2"),
)


def _tabulate(config: Mapping[str, Any], rates: Array, first: int) -> Array:
    beta1, beta2 = float(config["beta1"]), float(config["beta2"])
    beta3 = math.sqrt(beta2) if config["beta3"] is None else float(config["beta3"])
    growth_rate = config["growth_rate"]
    decay = float(config["weight_decay"])
    decoupled = bool(config["decoupled"])
    # At a rate of zero the package leaves everything as it is.
    moves = rates > 0

    def fading(beta: float) -> Array:
        return np.where(moves, beta, 1.0)

    return columns(
        (first + np.arange(len(rates)) == 1).astype(float),
        rates,
        moves.astype(float),
        float(config["d0"]),
        float(config["d_coef"]),
        math.inf if growth_rate is None else float(growth_rate),
        float(config["safeguard_warmup"]),
        decay if decoupled else 0.0,
        0.0 if decoupled else decay,
        fading(beta1),
        np.where(moves, 1.0 - beta1, 0.0),
        fading(beta2),
        np.where(moves, 1.0 - beta2, 0.0),
        fading(beta3),
        float(config["eps"]),
        float(beta1 == 0),
        float(config["bias_correction"]),
        # Logarithms, since in float32 1 - beta ** k would be left with few digits.
        math.log(beta1) if beta1 else -math.inf,
        math.log(beta2) if beta2 else -math.inf,
    )


def _needs(config: Mapping[str, Any]) -> frozenset[str]:
    if not config["weight_decay"] > 0:
        return frozenset()
    return frozenset({"decoupled_decay" if config["decoupled"] else "coupled_decay"})


def _update(
    parameters: Tensors, gradients: Tensors, state: Slots, numbers: Tensors, needs: Needs
) -> None:
    """Step parameters [K, ...] by gradients [K, ...] and `p0`, `s`, `exp_avg`, `exp_avg_sq` [K,
    ...]; each of `numbers` is [K], and so is each of the lanes' `d`, `d_max`, `d_numerator` and
    `k`, in float64 where the device has it."""
    (d,), (d_max,), (numerator,), (made,) = (state[slot] for slot in _LANE_SLOTS)
    own = {name: number.to(d.dtype) for name, number in zip(_NUMBERS, numbers, strict=True)}
    start = own["starts"] * own["d0"]
    d.add_(start)
    d_max.add_(start)
    # Adam's corrections of the step after `made` others.
    steps = made + 1.0
    square_kept = -torch.expm1(own["log_beta2"] * steps)
    mean_kept = -torch.expm1(own["log_beta1"] * steps)
    correction = torch.where(own["corrected"] > 0, square_kept.sqrt() / mean_kept, 1.0)
    step_size = d * own["rate"] * correction
    scaled = d / own["d0"]
    sum_share = scaled * torch.where(own["safeguarded"] > 0, d * own["moves"], step_size)
    mean_share, square_share = d * own["share"], d * d * own["square_share"]

    first = parameters[0]
    lanes = len(d)

    def shape(number: Tensor, parameter: Tensor) -> Tensor:
        return beside(parameter, number)

    def cast(number: Tensor) -> Tensor:
        return number.to(first.dtype)

    beta1, beta2, beta3 = cast(own["beta1"]), cast(own["beta2"]), cast(own["beta3"])
    sum_share, mean_share, square_share = cast(sum_share), cast(mean_share), cast(square_share)
    coupled_decay = cast(own["coupled_decay"])
    dots, sizes = [], []
    for parameter, gradient, p0, s, mean, square in zip(
        parameters,
        gradients,
        *(state[slot] for slot in _SLOTS),
        strict=True,
    ):
        if "coupled_decay" in needs:
            gradient = torch.addcmul(gradient, parameter, shape(coupled_decay, parameter))
        work = p0 - parameter
        work.mul_(gradient)
        dots.append(work.reshape(lanes, -1).sum(1, dtype=d.dtype))
        mean.mul_(shape(beta1, parameter))
        mean.addcmul_(gradient, shape(mean_share, parameter))
        torch.mul(gradient, shape(square_share, parameter), out=work)
        square.mul_(shape(beta2, parameter)).addcmul_(work, gradient)
        s.mul_(shape(beta3, parameter)).addcmul_(gradient, shape(sum_share, parameter))
        sizes.append(s.abs().reshape(lanes, -1).sum(1, dtype=d.dtype))

    # Along the parameters of a lane: across the lanes the order of a sum depends on their place.
    denominator = torch.stack(sizes, 1).sum(1)
    # Without a gradient yet, or at a rate of zero, the package returns here.
    moving = (denominator != 0) & (own["moves"] > 0)
    grown = own["beta3"] * numerator + scaled * step_size * torch.stack(dots, 1).sum(1)
    estimate = own["d_coef"] * grown / denominator
    raised = torch.where(d == own["d0"], torch.fmax(d, estimate), d)
    most = torch.fmax(d_max, estimate)
    new = torch.fmin(most, raised * own["growth_rate"])
    # Without a mean the package steps by the gradient times the new estimate, not the old one.
    factor = torch.where(own["no_mean"] > 0, new / d, 1.0)
    rate = cast(torch.where(moving, -step_size * factor, 0.0))
    decay_rate = cast(torch.where(moving, -step_size * own["decay"], 0.0))
    numerator.copy_(torch.where(moving, grown, numerator))
    d_max.copy_(torch.where(moving, most, d_max))
    d.copy_(torch.where(moving, new, d))
    made.add_(moving)
    offset = cast(d * own["eps"])

    for parameter, mean, square in zip(
        parameters, state["exp_avg"], state["exp_avg_sq"], strict=True
    ):
        work = root(square, torch.empty_like(square)).add_(shape(offset, parameter))
        if "decoupled_decay" in needs:
            parameter.addcmul_(parameter, shape(decay_rate, parameter))
        parameter.addcdiv_(mean * shape(rate, parameter), work)


_SLOTS = ("p0", "s", "exp_avg", "exp_avg_sq")
_LANE_SLOTS = ("d", "d_max", "d_numerator", "k")


def _start(slot: str, parameter: Tensor) -> Tensor:
    return parameter.clone() if slot == "p0" else torch.zeros_like(parameter)


LANES = StackedOptimizer(
    *(_SLOTS, _NUMBERS, _tabulate, _needs, _update),
    start=_start,
    lane_slots=_LANE_SLOTS,
    by_entry=False,
)
