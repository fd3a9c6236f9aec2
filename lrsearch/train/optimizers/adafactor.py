"""Adafactor (Shazeer and Stern 2018)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, optim

from lrsearch.schedules import Array
from lrsearch.train.optimizers.eager import make_eager
from lrsearch.train.optimizers.kernels import Parameters
from lrsearch.train.optimizers.stacked import (
    Needs,
    Slots,
    StackedOptimizer,
    Tensors,
    beside,
    columns,
    lane_norms,
    needs_decay,
)


def alone(
    parameters: Parameters, lr: float, *, eps1: float | None, eps2: float, **config: Any
) -> optim.Optimizer:
    """`torch.optim.Adafactor`."""
    return make_eager(optim.Adafactor)(parameters, lr=lr, eps=(eps1, eps2), **config)


_NUMBERS = ("share", "most", "decay", "eps1", "eps1_square", "precise", "eps2", "clipping")


def _start(slot: str, parameter: Tensor) -> Tensor | None:
    """Zeros for a slot: `row_var` [..., rows, 1] and `col_var` [..., 1, columns] of a parameter
    with two dimensions or more, `variance` [...] of any other."""
    if (slot == "variance") == (parameter.dim() > 1):
        return None
    shape = list(parameter.shape)
    if slot != "variance":
        shape[-1 if slot == "row_var" else -2] = 1
    return parameter.new_zeros(shape)


def _tabulate(config: Mapping[str, Any], rates: Array, first: int) -> Array:
    steps = (first + np.arange(len(rates))).astype(float)
    eps1 = config["eps1"]
    return columns(
        steps ** float(config["beta2_decay"]),
        np.minimum(rates, 1.0 / np.sqrt(steps)),
        -rates * float(config["weight_decay"]),
        float(eps1 or 0.0),
        float(eps1 or 0.0) ** 2,
        float(eps1 is None),
        float(config["eps2"]),
        float(config["d"]),
    )


def _estimate_squares(
    gradient: Tensor, share: Tensor, least: Tensor, rows: Iterator[Tensor], cols: Iterator[Tensor]
) -> Tensor:
    """An estimate of the squares, [K, ..., rows, columns], from the factors brought up to date: the
    mean square of each row times that of each column, over that of all. `share` and `least` are [K,
    1, ...]."""
    row, col = next(rows), next(cols)
    for factor, dim in ((row, -1), (col, -2)):
        mean = torch.linalg.vector_norm(gradient, dim=dim, keepdim=True).square_()
        factor.lerp_(mean.div_(gradient.shape[dim]), share)
    whole = torch.maximum(row.mean(dim=-2, keepdim=True), least)
    return (row * col).div_(whole)


def _update(
    parameters: Tensors, gradients: Tensors, state: Slots, numbers: Tensors, needs: Needs
) -> None:
    """Step parameters [K, ...] by gradients [K, ...]. Parameters of two dimensions or more have
    `row_var` [K, ..., rows, 1] and `col_var` [K, ..., 1, columns], others `variance` [K, ...]; each
    of `numbers` is [K]."""
    named = dict(zip(_NUMBERS, numbers, strict=True))
    # Where none is given it is the precision of the parameters' type.
    eps = torch.finfo(numbers[0].dtype).eps
    least = torch.add(named["eps1"], named["precise"], alpha=eps)
    least_square = torch.add(named["eps1_square"], named["precise"], alpha=eps * eps)
    rows, cols = iter(state["row_var"]), iter(state["col_var"])
    variances = iter(state["variance"])
    for parameter, gradient in zip(parameters, gradients, strict=True):
        root = math.sqrt(parameter[0].numel())
        scale = torch.maximum(lane_norms(parameter) / root, named["eps2"]) * named["most"]
        if "weight_decay" in needs:
            parameter.addcmul_(parameter, beside(parameter, named["decay"]))
        share = beside(parameter, named["share"])
        if parameter.dim() > 2:
            floor = beside(parameter, least)
            estimate = _estimate_squares(gradient, share, floor, rows, cols)
        else:
            estimate = next(variances).lerp_(gradient * gradient, share)
        step = torch.maximum(estimate, beside(parameter, least_square)).rsqrt_().mul_(gradient)
        excess = (lane_norms(step) / root / named["clipping"]).clamp_(min=1.0)
        parameter.addcmul_(step, beside(parameter, scale.div_(excess).neg_()))


LANES = StackedOptimizer(
    ("row_var", "col_var", "variance"),
    _NUMBERS,
    _tabulate,
    needs_decay,
    _update,
    _start,
    by_entry=False,
)
