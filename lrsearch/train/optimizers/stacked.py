"""What an optimizer of K lanes is, and what those that follow are made with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lrsearch.schedules import Array
from lrsearch.train.models.metrics import sum_type

LANE = ""
"""In place of a parameter's name: state that a lane has once."""


def zeros(slot: str, parameter: Tensor) -> Tensor | None:
    """The start of a slot that every parameter has."""
    return torch.zeros_like(parameter)


def _rates(config: Mapping[str, Any], rates: Array) -> Array:
    return rates


@dataclass(frozen=True)
class Average:
    """Evaluation at `parameter + weight(config) * state[slot]`."""

    slot: str
    weight: Callable[[Mapping[str, Any]], float]


@dataclass(frozen=True)
class StackedOptimizer:
    """An optimizer of K lanes.

    `slots` names its state tensors, as torch.optim does; `start(slot, parameter)` is what stands in
    one before a lane's first step, for a parameter of one lane, or None where it has no such slot.
    `scalars` names the numbers of a lane and step that `update` takes.

    `tabulate(config, rates, first)` gives them, shape [steps, len(scalars)], from one lane's
    resolved `train.optimizer` and its learning rates, shape [steps]; `first` (from 1) is the number
    of the lane's update the first rate is for. Raises ValueError where torch.optim would.

    `needs(config)` says which terms a lane needs. A term that only other lanes need changes none of
    a lane's finite parameters, nor any state it uses.

    `update(parameters, gradients, state, numbers, needs)` makes a step: parameters, gradients and
    state tensors have shape [K, ...], `numbers` has a tensor [K] per scalar, of the parameters'
    dtype, and `needs` is the union over the lanes. A slot's tensors are those of the parameters
    that have it, in their order. Parameters and state change in place, gradients are only read:
    two may be one tensor, as those of `a` and `b` in `a + b` are.

    `lane_slots` names state that is one number a lane, in float64 where the device has it, zero at
    the start; `update` gets each as a list of one tensor [K].

    `curve(config, rates)` gives, from the rates of a whole training, what `tabulate` takes a slice
    of in their place, shape [steps, ...]: for numbers that follow from all the rates before.

    `average` says where a lane is evaluated, if not at its parameters.
    """

    slots: tuple[str, ...]
    scalars: tuple[str, ...]
    tabulate: Callable[[Mapping[str, Any], Array, int], Array]
    needs: Callable[[Mapping[str, Any]], frozenset[str]]
    update: Callable[
        [
            Sequence[Tensor],
            Sequence[Tensor],
            Mapping[str, Sequence[Tensor]],
            Sequence[Tensor],
            frozenset[str],
        ],
        None,
    ]
    start: Callable[[str, Tensor], Tensor | None] = zeros
    lane_slots: tuple[str, ...] = ()
    curve: Callable[[Mapping[str, Any], Array], Array] = _rates
    average: Average | None = None

    def initial_slots(self, parameters: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
        """One lane's state before its first step, by slot and parameter."""
        slots: dict[str, dict[str, Tensor]] = {}
        for slot in self.slots:
            starts = {name: self.start(slot, each) for name, each in parameters.items()}
            slots[slot] = {name: each for name, each in starts.items() if each is not None}
        device = next(iter(parameters.values())).device
        for slot in self.lane_slots:
            slots[slot] = {LANE: torch.zeros((), dtype=sum_type(device), device=device)}
        return slots


def needs_decay(config: Mapping[str, Any]) -> frozenset[str]:
    """`needs` of an optimizer whose weight decay is its only term that a lane may lack."""
    return frozenset({"weight_decay"} if config["weight_decay"] > 0 else ())


def beside(parameter: Tensor, number: Tensor) -> Tensor:
    """Numbers [K] in the shape [K, 1, ...] that goes with a parameter."""
    return number.view(-1, *[1] * (parameter.dim() - 1))


def shaper(names: Sequence[str], numbers: Sequence[Tensor]) -> Callable[[str, Tensor], Tensor]:
    """A function (name of a scalar, parameter) -> the lanes' numbers beside that parameter."""
    named = dict(zip(names, numbers, strict=True))
    shaped: dict[tuple[str, int], Tensor] = {}

    def shape(name: str, parameter: Tensor) -> Tensor:
        key = name, parameter.dim()
        if key not in shaped:  # Each view is an operation; parameters of one rank share it.
            shaped[key] = beside(parameter, named[name])
        return shaped[key]

    return shape


def columns(*values: Array | float) -> Array:
    """A table of scalars, [steps, scalars], from one value or one a step for each."""
    return np.stack(np.broadcast_arrays(*values), axis=1)
