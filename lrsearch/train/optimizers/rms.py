"""Steps by the root of mean squares, or of all squares: RMSprop, Adagrad and Adadelta."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lrsearch.schedules import Array
from lrsearch.train.optimizers.stacked import (
    Needs,
    Number,
    add_decay,
    alike,
    average_square,
    columns,
    needs_decay,
    root,
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


def _step_rmsprop(
    parameter: Tensor,
    gradient: Tensor,
    number: Number,
    needs: Needs,
    square: Tensor,
    buffer: Tensor,
    mean: Tensor,
) -> None:
    """Step a parameter [K, ...] by its gradient, `square_avg`, `momentum_buffer`, `grad_avg`."""
    gradient = add_decay(parameter, gradient, number, needs)
    work = average_square(square, gradient, number)
    variance = square
    if "centered" in needs:
        mean.lerp_(gradient, number("share"))
        torch.mul(mean, number("centered"), out=work)
        variance = torch.addcmul(square, work, mean)
    root(variance, work).add_(number("eps"))
    torch.div(gradient, work, out=work)
    if "momentum" in needs:
        torch.addcmul(work, buffer, number("momentum"), out=buffer)
        work = buffer
    parameter.addcmul_(work, number("rate"))


RMSPROP = alike(
    ("square_avg", "momentum_buffer", "grad_avg"),
    _RMSPROP,
    _tabulate_rmsprop,
    _rmsprop_needs,
    _step_rmsprop,
)

# Adagrad (Duchi et al. 2011)

_ADAGRAD = ("decay", "eps", "rate")


def _tabulate_adagrad(config: Mapping[str, Any], rates: Array, first: int) -> Array:
    made = first - 1 + np.arange(len(rates))
    rate = -rates / (1.0 + made * float(config["lr_decay"]))
    return columns(float(config["weight_decay"]), float(config["eps"]), rate)


def _step_adagrad(
    parameter: Tensor, gradient: Tensor, number: Number, needs: Needs, total: Tensor
) -> None:
    """Step a parameter [K, ...] by its gradient and its `sum` of squares."""
    gradient = add_decay(parameter, gradient, number, needs)
    total.addcmul_(gradient, gradient)
    work = root(total, torch.empty_like(total)).add_(number("eps"))
    torch.div(gradient, work, out=work)
    parameter.addcmul_(work, number("rate"))


ADAGRAD = alike(("sum",), _ADAGRAD, _tabulate_adagrad, needs_decay, _step_adagrad)

# Adadelta (Zeiler 2012)

_ADADELTA = ("beta2", "square_share", "decay", "eps", "rate")


def _tabulate_adadelta(config: Mapping[str, Any], rates: Array, first: int) -> Array:
    rho = float(config["rho"])
    decay, eps = float(config["weight_decay"]), float(config["eps"])
    return columns(rho, math.sqrt(1.0 - rho), decay, eps, -rates)


def _step_adadelta(
    parameter: Tensor, gradient: Tensor, number: Number, needs: Needs, square: Tensor, moved: Tensor
) -> None:
    """Step a parameter [K, ...] by its gradient and its `square_avg` and `acc_delta`."""
    gradient = add_decay(parameter, gradient, number, needs)
    eps = number("eps")
    work = average_square(square, gradient, number)
    torch.add(square, eps, out=work).rsqrt_().mul_(gradient).div_((moved + eps).rsqrt_())
    parameter.addcmul_(work, number("rate"))
    average_square(moved, work, number)


ADADELTA = alike(
    ("square_avg", "acc_delta"), _ADADELTA, _tabulate_adadelta, needs_decay, _step_adadelta
)
