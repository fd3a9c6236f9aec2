"""Muon for matrices and AdamW for all other parameters, as one optimizer (Jordan et al. 2024)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, optim

from lrsearch.schedules import Array
from lrsearch.train.optimizers.adam import ADAMW
from lrsearch.train.optimizers.eager import make_eager
from lrsearch.train.optimizers.kernels import (
    Parameters,
    choose_kernels,
    list_groups,
    step_plainly_where_needed,
)
from lrsearch.train.optimizers.stacked import (
    Needs,
    Slots,
    StackedOptimizer,
    Tensors,
    beside,
    columns,
    lane_norms,
    shaper,
)
from lrsearch.train.products import align, multiply


def _choose(
    groups: Iterable[dict[str, Any]], wanted: Callable[[Tensor], bool]
) -> list[dict[str, Any]]:
    """The groups with only the wanted ones of their parameters."""
    chosen = [{**each, "params": list(filter(wanted, each["params"]))} for each in groups]
    return [each for each in chosen if each["params"]]


class MuonAdamW(optim.Optimizer):
    """`torch.optim.Muon` over the parameters of rank 2, `torch.optim.AdamW` over all others.

    It shares its groups and its state with these two.
    """

    def __init__(
        self,
        parameters: Parameters,
        lr: float,
        *,
        weight_decay: float,
        muon: dict[str, Any],
        adamw: dict[str, Any],
    ) -> None:
        every = list_groups(parameters)
        matrices = _choose(every, lambda each: each.dim() == 2)
        others = _choose(every, lambda each: each.dim() != 2)
        self.parts: list[optim.Optimizer] = []
        if matrices:
            self.parts.append(
                make_eager(optim.Muon)(matrices, lr=lr, weight_decay=weight_decay, **muon)
            )
        if others:
            own = make_eager(optim.AdamW)(
                choose_kernels(others), lr=lr, weight_decay=weight_decay, **adamw
            )
            step_plainly_where_needed(own)
            self.parts.append(own)
        # Groups are kept as the same objects: a rate set here is set there.
        super().__init__([group for part in self.parts for group in part.param_groups], {})
        for part in self.parts:
            part.state = self.state

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Step each parameter [...] by its gradient [...], in place."""
        loss = None if closure is None else torch.enable_grad()(closure)()
        for part in self.parts:
            part.step()
        return loss


def alone(
    parameters: Parameters,
    lr: float,
    *,
    weight_decay: float,
    beta1: float,
    beta2: float,
    eps: float,
    **muon: Any,
) -> optim.Optimizer:
    """`MuonAdamW` by the names of the catalogue."""
    return make_eager(MuonAdamW)(
        parameters,
        lr,
        weight_decay=weight_decay,
        muon=muon,
        adamw={"betas": (float(beta1), float(beta2)), "eps": eps},
    )


# in lanes

_NUMBERS = ("fresh", "ahead", "original_rate", "matched_rate")
_STEP = "newton_schulz_"

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Coefficients of the quintic iteration, as in torch.optim.Muon."""


def orthogonalize(lanes: Tensor, steps: int) -> Tensor:
    """Matrices [K, rows, columns] with singular values near one, in bfloat16.

    A Newton-Schulz iteration whose every result is rounded to bfloat16, as torch.optim.Muon has it.
    The products of rounded numbers are summed in float32: in bfloat16 a CPU may choose its way of
    summing by the number of lanes, and lanes would depend on each other.
    """
    a, b, c = COEFFICIENTS
    tall = lanes.shape[1] > lanes.shape[2]
    x = lanes.bfloat16()
    x = (x.transpose(1, 2) if tall else x).contiguous()
    x = x / beside(x, lane_norms(x.float()).bfloat16().clamp(min=1e-7))
    for _ in range(steps):
        wide = align(x.float())
        gram = multiply(wide, wide.transpose(1, 2)).bfloat16().float()
        square = multiply(align(gram), align(gram))
        change = square.mul_(c).add_(gram, alpha=b).bfloat16().float()
        x = multiply(align(change), wide).add_(wide, alpha=a).bfloat16()
    return x.transpose(1, 2) if tall else x


def _make_lanes(rest: StackedOptimizer) -> StackedOptimizer:
    """Muon for matrices; the other optimizer, with its arguments in the same config, for all other
    parameters."""

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
        parameters: Tensors, gradients: Tensors, state: Slots, numbers: Tensors, needs: Needs
    ) -> None:
        """Step matrices [K, rows, columns] by gradients and `momentum_buffer` of the same shapes,
        and all other parameters [K, ...] as `rest`; each of `numbers` is [K]."""
        named = dict(zip(_NUMBERS, numbers[len(rest.scalars) :], strict=True))
        steps = sum(each.startswith(_STEP) for each in needs)
        every = shaper((*rest.scalars, *_NUMBERS), numbers, parameters)
        sets = list(zip(parameters, gradients, every, strict=True))
        matrices = [each for each in sets if each[0].dim() == 3]
        for (parameter, gradient, number), buffer in zip(
            matrices, state["momentum_buffer"], strict=True
        ):
            buffer.lerp_(gradient, number("fresh"))
            ahead = torch.lerp(gradient, buffer, number("ahead"))
            step = orthogonalize(ahead, steps).to(parameter.dtype)
            rows, cols = parameter.shape[1:]
            rate = named["original_rate"] * math.sqrt(max(1.0, rows / cols))
            rate.add_(named["matched_rate"], alpha=0.2 * math.sqrt(max(rows, cols)))
            if "weight_decay" in needs:
                parameter.addcmul_(parameter, number("decay"))
            parameter.addcmul_(step, beside(parameter, rate))
        others = [each for each in sets if each[0].dim() != 3]
        rest.update(
            [parameter for parameter, _, _ in others],
            [gradient for _, gradient, _ in others],
            {slot: state[slot] for slot in rest.slots},
            numbers[: len(rest.scalars)],
            needs,
        )

    slots = ("momentum_buffer", *rest.slots)
    return StackedOptimizer(
        slots, (*rest.scalars, *_NUMBERS), tabulate, needs, update, start, by_entry=False
    )


LANES = _make_lanes(ADAMW)
