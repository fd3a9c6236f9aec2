"""Schedule-free SGD and AdamW (Defazio et al. 2024, The Road Less Scheduled).

As in the authors' package, a training holds y, where gradients are taken. Beside it the package
holds z, the sequence of plain steps; here it is z - y, which is zero at the start and needs a pass
less. The average x, where a lane is evaluated, is y + (1 - 1 / beta) (z - y).

With c the new iterate's share of the average and u the step's direction, a step is::

    y     <-  y + c (z - y) + rate (beta (1 - c) - 1) u
    z - y <-  (1 - c) (z - y) - rate beta (1 - c) u
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lrsearch.schedules import Array
from lrsearch.train.optimizers.alone import from_package
from lrsearch.train.optimizers.stacked import (
    Average,
    Needs,
    Number,
    alike,
    average_square,
    columns,
    needs_decay,
    scaled_root,
)

sgd_alone = from_package("schedule_free_sgd", "SGDScheduleFree")
adamw_alone = from_package("schedule_free_adamw", "AdamWScheduleFree")
# The packages' own warmups stay 0: the rate of each step is set from outside.

# in lanes

_SGD = ("share", "y_rate", "kept", "difference_rate", "decay")
_ADAM = (*_SGD, "beta2", "square_share", "root_scale", "eps")


def _curve(config: Mapping[str, Any], rates: Array) -> Array:
    """Rates and each new iterate's share of the average, shape [steps, 2]."""
    largest = np.maximum.accumulate(rates)
    steps = np.arange(1.0, len(rates) + 1)
    weights = steps ** float(config["r"]) * largest ** float(config["weight_lr_power"])
    sums = np.cumsum(weights)
    # As long as all rates were zero there is nothing to average.
    shares = np.divide(weights, sums, out=np.zeros_like(sums), where=sums != 0)
    return columns(rates, shares)


def _tabulate(config: Mapping[str, Any], curve: Array, first: int, beta: str) -> Array:
    rates, shares = curve.T
    mix, kept = float(config[beta]), 1.0 - shares
    return columns(
        shares,
        rates * (mix * kept - 1.0),
        kept,
        -rates * mix * kept,
        float(config["weight_decay"]),
    )


def _tabulate_adamw(config: Mapping[str, Any], curve: Array, first: int) -> Array:
    beta2 = float(config["beta2"])
    steps = first + np.arange(len(curve))
    own = columns(
        beta2, math.sqrt(1.0 - beta2), 1.0 / np.sqrt(1.0 - beta2**steps), float(config["eps"])
    )
    return np.concatenate([_tabulate(config, curve, first, "beta1"), own], 1)


def _step(
    parameter: Tensor,
    gradient: Tensor,
    number: Number,
    needs: Needs,
    difference: Tensor,
    square: Tensor | None = None,
) -> None:
    """Step a parameter [K, ...] by its gradient and its `z_minus_y` and, in Adam, `exp_avg_sq`."""
    step = gradient
    if square is not None:
        step = average_square(square, gradient, number)
        scaled_root(square, number("root_scale"), step).add_(number("eps"))
        torch.div(gradient, step, out=step)
    if "weight_decay" in needs:
        step = torch.addcmul(step, parameter, number("decay"))
    parameter.addcmul_(difference, number("share"))
    parameter.addcmul_(step, number("y_rate"))
    difference.mul_(number("kept"))
    difference.addcmul_(step, number("difference_rate"))


def _weight(config: Mapping[str, Any], beta: str) -> float:
    return 1.0 - 1.0 / float(config[beta])


SLOT = "z_minus_y"

SGD_LANES = alike(
    (SLOT,),
    _SGD,
    partial(_tabulate, beta="momentum"),
    needs_decay,
    _step,
    curve=_curve,
    average=Average(SLOT, partial(_weight, beta="momentum")),
)

ADAMW_LANES = alike(
    (SLOT, "exp_avg_sq"),
    _ADAM,
    _tabulate_adamw,
    needs_decay,
    _step,
    curve=_curve,
    average=Average(SLOT, partial(_weight, beta="beta1")),
)
