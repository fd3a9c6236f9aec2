"""Stacked optimizers that look at a parameter as a whole: Adafactor and Muon."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lrsearch.schedules import Array
from lrsearch.train.lanes.rules import align, multiply
from lrsearch.train.optimizers.stacked import StackedOptimizer, beside, columns, needs_decay, shaper

State = Mapping[str, Sequence[Tensor]]


def _lane_norms(lanes: Tensor) -> Tensor:
    """The norm of each lane's entries, [K]."""
    norms: Tensor = torch.linalg.vector_norm(lanes.reshape(len(lanes), -1), dim=1)
    return norms


# Adafactor (Shazeer and Stern 2018)

_ADAFACTOR = (*("share", "most", "decay", "eps1", "eps1_square", "precise", "eps2", "clipping"),)


def _start_adafactor(slot: str, parameter: Tensor) -> Tensor | None:
    """Averages over rows and columns of the last two dimensions, of fewer over nothing."""
    if (slot == "variance") == (parameter.dim() > 1):
        return None
    shape = list(parameter.shape)
    if slot != "variance":
        shape[-1 if slot == "row_var" else -2] = 1
    return parameter.new_zeros(shape)


def _tabulate_adafactor(config: Mapping[str, Any], rates: Array, first: int) -> Array:
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
    """From the factors, brought up to date: the mean square of each row times that of each
    column, over that of all."""
    row, col = next(rows), next(cols)
    for factor, dim in ((row, -1), (col, -2)):
        mean = torch.linalg.vector_norm(gradient, dim=dim, keepdim=True).square_()
        factor.lerp_(mean.div_(gradient.shape[dim]), share)
    whole = torch.maximum(row.mean(dim=-2, keepdim=True), least)
    return (row * col).div_(whole)


def _update_adafactor(
    parameters: Sequence[Tensor],
    gradients: Sequence[Tensor],
    state: State,
    numbers: Sequence[Tensor],
    needs: frozenset[str],
) -> None:
    named = dict(zip(_ADAFACTOR, numbers, strict=True))
    # Where none is given it is the precision of the parameters' type.
    eps = torch.finfo(numbers[0].dtype).eps
    least = torch.add(named["eps1"], named["precise"], alpha=eps)
    least_square = torch.add(named["eps1_square"], named["precise"], alpha=eps * eps)
    rows, cols = iter(state["row_var"]), iter(state["col_var"])
    variances = iter(state["variance"])
    for parameter, gradient in zip(parameters, gradients, strict=True):
        root = math.sqrt(parameter[0].numel())
        scale = torch.maximum(_lane_norms(parameter) / root, named["eps2"]) * named["most"]
        if "weight_decay" in needs:
            parameter.addcmul_(parameter, beside(parameter, named["decay"]))
        share = beside(parameter, named["share"])
        if parameter.dim() > 2:
            floor = beside(parameter, least)
            estimate = _estimate_squares(gradient, share, floor, rows, cols)
        else:
            estimate = next(variances).lerp_(gradient * gradient, share)
        step = torch.maximum(estimate, beside(parameter, least_square)).rsqrt_().mul_(gradient)
        excess = (_lane_norms(step) / root / named["clipping"]).clamp_(min=1.0)
        parameter.addcmul_(step, beside(parameter, scale.div_(excess).neg_()))


ADAFACTOR = StackedOptimizer(
    ("row_var", "col_var", "variance"),
    _ADAFACTOR,
    _tabulate_adafactor,
    needs_decay,
    _update_adafactor,
    _start_adafactor,
)

# Muon (Jordan et al. 2024)

_MUON = ("fresh", "ahead", "original_rate", "matched_rate")
_STEP = "newton_schulz_"

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of the quintic iteration, as in torch.optim.Muon."""


def orthogonalize(lanes: Tensor, steps: int) -> Tensor:
    """Matrices [K, rows, columns] with singular values near one, in bfloat16.

    A Newton-Schulz iteration whose every result is rounded to bfloat16, as torch.optim.Muon has
    it. The products of rounded numbers are summed in float32: in bfloat16 a CPU may choose its way
    of summing by the number of lanes, and they would see each other.
    """
    a, b, c = COEFFICIENTS
    tall = lanes.shape[1] > lanes.shape[2]
    x = lanes.bfloat16()
    x = (x.transpose(1, 2) if tall else x).contiguous()
    x = x / beside(x, _lane_norms(x.float()).bfloat16().clamp(min=1e-7))
    for _ in range(steps):
        wide = align(x.float())
        gram = multiply(wide, wide.transpose(1, 2)).bfloat16().float()
        square = multiply(align(gram), align(gram))
        change = square.mul_(c).add_(gram, alpha=b).bfloat16().float()
        x = multiply(align(change), wide).add_(wide, alpha=a).bfloat16()
    return x.transpose(1, 2) if tall else x


def muon(rest: StackedOptimizer) -> StackedOptimizer:
    """Muon for matrices; the other optimizer, whose parameters are in the same config, for what
    has another rank."""

    def start(slot: str, parameter: Tensor) -> Tensor | None:
        if parameter.dim() == 2:
            return torch.zeros_like(parameter) if slot == "momentum_buffer" else None
        return rest.start(slot, parameter) if slot in rest.slots else None

    def needs(config: Mapping[str, Any]) -> frozenset[str]:
        steps = {f"{_STEP}{step}" for step in range(config["ns_steps"])}
        return rest.needs(config) | steps

    def tabulate(config: Mapping[str, Any], rates: Array, first: int) -> Array:
        momentum = float(config["momentum"])
        original = config["adjust_lr_fn"] == "original"
        own = columns(
            1.0 - momentum,
            momentum if config["nesterov"] else 1.0,
            -rates * original,
            -rates * (not original),
        )
        return np.concatenate([rest.tabulate(config, rates, first), own], axis=1)

    def update(
        parameters: Sequence[Tensor],
        gradients: Sequence[Tensor],
        state: State,
        numbers: Sequence[Tensor],
        needs: frozenset[str],
    ) -> None:
        shape = shaper((*rest.scalars, *_MUON), numbers)
        named = dict(zip(_MUON, numbers[len(rest.scalars) :], strict=True))
        steps = sum(each.startswith(_STEP) for each in needs)
        pairs = list(zip(parameters, gradients, strict=True))
        matrices = [pair for pair in pairs if pair[0].dim() == 3]
        for (parameter, gradient), buffer in zip(matrices, state["momentum_buffer"], strict=True):
            buffer.lerp_(gradient, shape("fresh", parameter))
            ahead = torch.lerp(gradient, buffer, shape("ahead", parameter))
            step = orthogonalize(ahead, steps).to(parameter.dtype)
            rows, cols = parameter.shape[1:]
            rate = named["original_rate"] * math.sqrt(max(1.0, rows / cols))
            rate.add_(named["matched_rate"], alpha=0.2 * math.sqrt(max(rows, cols)))
            if "weight_decay" in needs:
                parameter.addcmul_(parameter, shape("decay", parameter))
            parameter.addcmul_(step, beside(parameter, rate))
        others = [pair for pair in pairs if pair[0].dim() != 3]
        rest.update(
            [parameter for parameter, _ in others],
            [gradient for _, gradient in others],
            {slot: state[slot] for slot in rest.slots},
            numbers[: len(rest.scalars)],
            needs,
        )

    slots = ("momentum_buffer", *rest.slots)
    return StackedOptimizer(slots, (*rest.scalars, *_MUON), tabulate, needs, update, start)
