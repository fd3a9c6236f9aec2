"""Adam and its relatives: AdamW, AMSGrad, NAdam, RAdam and Adamax."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lrsearch.schedules import Array
from lrsearch.train.optimizers.stacked import (
    Needs,
    Number,
    StackedOptimizer,
    add_decay,
    alike,
    average_square,
    columns,
    needs_decay,
    root,
    scaled_root,
)

_LARGEST = 1e38
"""A number near float32's largest."""

# Adam (Kingma and Ba 2015), AdamW (Loshchilov and Hutter 2019), AMSGrad (Reddi et al. 2018)

_ADAM = ("share", "beta2", "square_share", "decay", "root_scale", "offset")


def _tabulate_adam(config: Mapping[str, Any], rates: Array, first: int, decoupled: bool) -> Array:
    beta1, beta2 = float(config["beta1"]), float(config["beta2"])
    steps = first + np.arange(len(rates))
    # A step is mean / (root_scale * sqrt(square) + offset), the rate divided into the denominator.
    with np.errstate(divide="ignore", over="ignore"):
        inverse = (1.0 - beta1**steps) / rates
        root_scale = inverse / np.sqrt(1.0 - beta2**steps)
        offset = inverse * config["eps"]
    # A rate of zero, or as good as: no step, and no product of zero and infinity.
    still = root_scale > _LARGEST
    decay = float(config["weight_decay"])
    return columns(
        1.0 - beta1,
        beta2,
        math.sqrt(1.0 - beta2),
        -rates * decay if decoupled else decay,
        np.where(still, 1.0, root_scale),
        np.where(still, math.inf, offset),
    )


def _step_adam(
    parameter: Tensor,
    gradient: Tensor,
    number: Number,
    needs: Needs,
    mean: Tensor,
    square: Tensor,
    largest: Tensor | None = None,
    *,
    decoupled: bool = False,
) -> None:
    """Step a parameter [K, ...] by its gradient and its `exp_avg` and `exp_avg_sq`, and in
    AMSGrad its largest so far."""
    if "weight_decay" in needs:
        decay = number("decay")
        if decoupled:
            parameter.addcmul_(parameter, decay)
        else:
            gradient = torch.addcmul(gradient, parameter, decay)
    mean.lerp_(gradient, number("share"))
    work = average_square(square, gradient, number)
    if largest is not None:
        square = torch.maximum(largest, square, out=largest)
    scaled_root(square, number("root_scale"), work).add_(number("offset"))
    parameter.addcdiv_(mean, work, value=-1)


def _adam(*more: str, decoupled: bool = False) -> StackedOptimizer:
    tabulate = partial(_tabulate_adam, decoupled=decoupled)
    step = partial(_step_adam, decoupled=decoupled)
    return alike(("exp_avg", "exp_avg_sq", *more), _ADAM, tabulate, needs_decay, step)


ADAM = _adam()
ADAMW = _adam(decoupled=True)
AMSGRAD = _adam("max_exp_avg_sq")


def _needs_kind_of_decay(config: Mapping[str, Any]) -> frozenset[str]:
    kind = "decoupled_decay" if config["decoupled"] else "weight_decay"
    return frozenset({kind} if config["weight_decay"] > 0 else ())


def _decays(config: Mapping[str, Any], rates: Array) -> tuple[float, Array | float]:
    """The weight decays added to the gradient and to the parameter itself, one of which is 0."""
    decay = float(config["weight_decay"])
    return (0.0, -rates * decay) if config["decoupled"] else (decay, 0.0)


# NAdam (Dozat 2016)

_NADAM = (
    *("share", "beta2", "square_share", "decay", "decoupled_decay"),
    *("root_scale", "eps", "gradient_rate", "mean_rate"),
)


def _tabulate_nadam(config: Mapping[str, Any], rates: Array, first: int) -> Array:
    beta1, beta2 = float(config["beta1"]), float(config["beta2"])
    every = np.arange(1, first + len(rates) + 1)
    momenta = beta1 * (1.0 - 0.5 * 0.96 ** (every * float(config["momentum_decay"])))
    # torch keeps the product of all momenta in float32, whatever the parameters' dtype.
    products = np.multiply.accumulate(momenta[:-1].astype(np.float32))[first - 1 :].astype(float)
    momentum, following, steps = momenta[first - 1 : -1], momenta[first:], every[first - 1 : -1]
    return columns(
        1.0 - beta1,
        beta2,
        math.sqrt(1.0 - beta2),
        *_decays(config, rates),
        1.0 / np.sqrt(1.0 - beta2**steps),
        float(config["eps"]),
        -rates * (1.0 - momentum) / (1.0 - products),
        -rates * following / (1.0 - products * following),
    )


def _step_nadam(
    parameter: Tensor, gradient: Tensor, number: Number, needs: Needs, mean: Tensor, square: Tensor
) -> None:
    """Step a parameter [K, ...] by its gradient and its `exp_avg` and `exp_avg_sq`."""
    gradient = add_decay(parameter, gradient, number, needs)
    mean.lerp_(gradient, number("share"))
    work = average_square(square, gradient, number)
    scaled_root(square, number("root_scale"), work).add_(number("eps"))
    step = gradient * number("gradient_rate")
    step.addcmul_(mean, number("mean_rate"))
    parameter.addcdiv_(step, work)


NADAM = alike(("exp_avg", "exp_avg_sq"), _NADAM, _tabulate_nadam, _needs_kind_of_decay, _step_nadam)

# RAdam (Liu et al. 2020)

_RADAM = (
    *("share", "beta2", "square_share", "decay", "decoupled_decay"),
    *("rectified", "eps", "rate"),
)


def _tabulate_radam(config: Mapping[str, Any], rates: Array, first: int) -> Array:
    beta1, beta2 = float(config["beta1"]), float(config["beta2"])
    steps = first + np.arange(len(rates))
    correction = 1.0 - beta2**steps
    # The length of a plain average as noisy as the exponential one; over 5 its variance is finite.
    longest = 2.0 / (1.0 - beta2) - 1.0
    length = longest - 2.0 * steps * beta2**steps / correction
    rectified = length > 5.0
    known = np.where(rectified, length, longest)  # Elsewhere it is not used.
    square = correction * (known - 4.0) * (known - 2.0) * longest
    if rectified.any():
        square /= (longest - 4.0) * (longest - 2.0) * known
    adapted = np.sqrt(np.where(rectified, square, 1.0))
    return columns(
        1.0 - beta1,
        beta2,
        math.sqrt(1.0 - beta2),
        *_decays(config, rates),
        rectified.astype(float),
        float(config["eps"]),
        -rates / (1.0 - beta1**steps) * adapted,
    )


def _step_radam(
    parameter: Tensor, gradient: Tensor, number: Number, needs: Needs, mean: Tensor, square: Tensor
) -> None:
    """Step a parameter [K, ...] by its gradient and its `exp_avg` and `exp_avg_sq`."""
    gradient = add_decay(parameter, gradient, number, needs)
    mean.lerp_(gradient, number("share"))
    work = root(square, average_square(square, gradient, number))
    work.add_(number("eps"))
    work.masked_fill_(number("rectified") == 0, 1.0)
    torch.div(mean, work, out=work)
    parameter.addcmul_(work, number("rate"))


RADAM = alike(("exp_avg", "exp_avg_sq"), _RADAM, _tabulate_radam, _needs_kind_of_decay, _step_radam)

# Adamax (Kingma and Ba 2015)

_ADAMAX = ("share", "beta2", "decay", "eps", "rate")


def _tabulate_adamax(config: Mapping[str, Any], rates: Array, first: int) -> Array:
    beta1 = float(config["beta1"])
    steps = first + np.arange(len(rates))
    return columns(
        1.0 - beta1,
        float(config["beta2"]),
        float(config["weight_decay"]),
        float(config["eps"]),
        -rates / (1.0 - beta1**steps),
    )


def _step_adamax(
    parameter: Tensor, gradient: Tensor, number: Number, needs: Needs, mean: Tensor, largest: Tensor
) -> None:
    """Step a parameter [K, ...] by its gradient and its `exp_avg` and `exp_inf`."""
    gradient = add_decay(parameter, gradient, number, needs)
    mean.lerp_(gradient, number("share"))
    work = gradient.abs().add_(number("eps"))
    torch.maximum(largest.mul_(number("beta2")), work, out=largest)
    torch.div(mean, largest, out=work)
    parameter.addcmul_(work, number("rate"))


ADAMAX = alike(("exp_avg", "exp_inf"), _ADAMAX, _tabulate_adamax, needs_decay, _step_adamax)
