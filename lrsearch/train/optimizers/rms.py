"""Steps by the root of mean squares, or of all squares: RMSprop, Adagrad and Adadelta."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from lrsearch.schedules import Array
from lrsearch.train.optimizers.stacked import (
    Needs,
    Slots,
    StackedOptimizer,
    Tensors,
    add_decay,
    average_square,
    columns,
    needs_decay,
    root,
    shaper,
)

# RMSprop (Hinton 2012; centered: Graves 2013)

_RMSPROP = (
    *("beta2", "square_share", "share", "decay", "centered"),
    *("eps", "momentum", "rate"),
)


def _rmsprop_needs(config: Mapping[str, Any]) -> frozenset[str]:
    terms = {name for name in ("weight_decay", "momentum", "centered") if config[name]}
    return frozenset(terms)


def _tabulate_rmsprop(config: Mapping[str, Any], rates: Array, first: int) -> Array:
    alpha = float(config["alpha"])
    return columns(
        alpha,
        math.sqrt(1.0 - alpha),
        1.0 - alpha,
        float(config["weight_decay"]),
        -float(config["centered"]),
        float(config["eps"]),
        float(config["momentum"]),
        -rates,
    )


def _update_rmsprop(
    parameters: Tensors, gradients: Tensors, state: Slots, numbers: Tensors, needs: Needs
) -> None:
    """Step parameters [K, ...] by gradients [K, ...], `square_avg`, `momentum_buffer` and
    `grad_avg` [K, ...]; each of `numbers` is [K]."""
    shape = shaper(_RMSPROP, numbers)
    slots = (state[slot] for slot in RMSPROP.slots)
    for parameter, gradient, square, buffer, mean in zip(
        parameters, gradients, *slots, strict=True
    ):
        gradient = add_decay(parameter, gradient, shape, needs)
        work = average_square(square, gradient, parameter, shape)
        variance = square
        if "centered" in needs:
            mean.lerp_(gradient, shape("share", parameter))
            torch.mul(mean, shape("centered", parameter), out=work)
            variance = torch.addcmul(square, work, mean)
        root(variance, work).add_(shape("eps", parameter))
        torch.div(gradient, work, out=work)
        if "momentum" in needs:
            torch.addcmul(work, buffer, shape("momentum", parameter), out=buffer)
            work = buffer
        parameter.addcmul_(work, shape("rate", parameter))


RMSPROP = StackedOptimizer(
    ("square_avg", "momentum_buffer", "grad_avg"),
    _RMSPROP,
    _tabulate_rmsprop,
    _rmsprop_needs,
    _update_rmsprop,
)

# Adagrad (Duchi et al. 2011)

_ADAGRAD = ("decay", "eps", "rate")


def _tabulate_adagrad(config: Mapping[str, Any], rates: Array, first: int) -> Array:
    made = first - 1 + np.arange(len(rates))
    rate = -rates / (1.0 + made * float(config["lr_decay"]))
    return columns(float(config["weight_decay"]), float(config["eps"]), rate)


def _update_adagrad(
    parameters: Tensors, gradients: Tensors, state: Slots, numbers: Tensors, needs: Needs
) -> None:
    """Step parameters [K, ...] by gradients [K, ...] and their squares' `sum` [K, ...]; each of
    `numbers` is [K]."""
    shape = shaper(_ADAGRAD, numbers)
    for parameter, gradient, total in zip(parameters, gradients, state["sum"], strict=True):
        gradient = add_decay(parameter, gradient, shape, needs)
        total.addcmul_(gradient, gradient)
        work = root(total, torch.empty_like(total)).add_(shape("eps", parameter))
        torch.div(gradient, work, out=work)
        parameter.addcmul_(work, shape("rate", parameter))


ADAGRAD = StackedOptimizer(("sum",), _ADAGRAD, _tabulate_adagrad, needs_decay, _update_adagrad)

# Adadelta (Zeiler 2012)

_ADADELTA = ("beta2", "square_share", "decay", "eps", "rate")


def _tabulate_adadelta(config: Mapping[str, Any], rates: Array, first: int) -> Array:
    rho = float(config["rho"])
    decay, eps = float(config["weight_decay"]), float(config["eps"])
    return columns(rho, math.sqrt(1.0 - rho), decay, eps, -rates)


def _update_adadelta(
    parameters: Tensors, gradients: Tensors, state: Slots, numbers: Tensors, needs: Needs
) -> None:
    """Step parameters [K, ...] by gradients [K, ...], `square_avg` and `acc_delta` [K, ...]; each
    of `numbers` is [K]."""
    shape = shaper(_ADADELTA, numbers)
    for parameter, gradient, square, moved in zip(
        parameters, gradients, state["square_avg"], state["acc_delta"], strict=True
    ):
        gradient = add_decay(parameter, gradient, shape, needs)
        eps = shape("eps", parameter)
        work = average_square(square, gradient, parameter, shape)
        torch.add(square, eps, out=work).rsqrt_().mul_(gradient).div_((moved + eps).rsqrt_())
        parameter.addcmul_(work, shape("rate", parameter))
        average_square(moved, work, parameter, shape)


ADADELTA = StackedOptimizer(
    ("square_avg", "acc_delta"), _ADADELTA, _tabulate_adadelta, needs_decay, _update_adadelta
)
