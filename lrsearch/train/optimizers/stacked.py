"""An optimizer of K lanes: its interface, and parts that several share.

Stacked optimizers compute the same as those `alone`, in an order that touches memory less often.
All that follows from a lane's hyperparameters and step count alone is computed beforehand in
float64, by `tabulate`; `update` is a fixed list of tensor operations: it reads nothing back, and
its effect on a lane depends on no other lane, bit for bit, with two lanes or more. Where a lane's
hyperparameters leave a term out, the term stays in and is multiplied by zero: the order of the sums
is the same whatever the other lanes need.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lrsearch.schedules import Array
from lrsearch.train.device import sum_type

Tensors = Sequence[Tensor]
"""Parameters, gradients, or a slot's tensors, shape [K, ...] each."""

Slots = Mapping[str, Tensors]
"""A state's tensors by slot."""

Needs = frozenset[str]
"""The terms of a step that some lane needs."""

LANE = ""
"""The name under which state that a lane has once stands, in place of a parameter's."""


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

    `slots` names its state tensors, as torch.optim does; `start(slot, parameter)` is the tensor of
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
    that have it, in their order. Parameters and state change in place, gradients are only read: two
    may be one tensor, as those of `a` and `b` in `a + b` are.

    `lane_slots` names state that is one number a lane, in float64 where the device has it, zero at
    the start; `update` gets each as a list of one tensor [K].

    `curve(config, rates)` gives, from the rates of a whole training, the values that `tabulate`
    gets a slice of in their place, shape [steps, ...]: for numbers that follow from all earlier
    rates.

    `average` says where a lane is evaluated, if not at its parameters.

    One that steps `by_entry` does the same to each entry, whatever parameter it is of.
    """

    slots: tuple[str, ...]
    scalars: tuple[str, ...]
    tabulate: Callable[[Mapping[str, Any], Array, int], Array]
    needs: Callable[[Mapping[str, Any]], Needs]
    update: Callable[[Tensors, Tensors, Slots, Tensors, Needs], None]
    start: Callable[[str, Tensor], Tensor | None] = zeros
    lane_slots: tuple[str, ...] = ()
    curve: Callable[[Mapping[str, Any], Array], Array] = _rates
    average: Average | None = None
    by_entry: bool = True

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


def needs_decay(config: Mapping[str, Any]) -> Needs:
    """The `needs` of an optimizer whose weight decay is the only term that a lane may lack."""
    return frozenset({"weight_decay"} if config["weight_decay"] > 0 else ())


def beside(parameter: Tensor, number: Tensor) -> Tensor:
    """Numbers [K] in the shape [K, 1, ...] that goes with a parameter."""
    return number.view(-1, *[1] * (parameter.dim() - 1))


Number = Callable[[str], Tensor]
"""A scalar's numbers [K] by its name, as [K, 1, ...] beside the parameter that is stepped."""


def shaper(
    names: Sequence[str], numbers: Sequence[Tensor], parameters: Sequence[Tensor]
) -> list[Number]:
    """The `Number` of each of the parameters."""
    named = dict(zip(names, numbers, strict=True))
    # Each view is an operation; parameters of one rank share it.
    shaped = functools.cache(lambda rank, name: named[name].view(-1, *[1] * (rank - 1)))
    return [functools.partial(shaped, each.dim()) for each in parameters]


def alike(
    slots: tuple[str, ...],
    scalars: tuple[str, ...],
    tabulate: Callable[[Mapping[str, Any], Array, int], Array],
    needs: Callable[[Mapping[str, Any]], Needs],
    step: Callable[..., None],
    **more: Any,
) -> StackedOptimizer:
    """The optimizer that makes `step(parameter, gradient, number, needs, *state)` for each
    parameter [K, ...], with its gradient and, in the order of the slots, its state of the same
    shape."""

    def update(
        parameters: Tensors, gradients: Tensors, state: Slots, numbers: Tensors, needs: Needs
    ) -> None:
        """Step all parameters [K, ...]."""
        every = shaper(scalars, numbers, parameters)
        held = (state[slot] for slot in slots)
        for parameter, gradient, number, *own in zip(
            parameters, gradients, every, *held, strict=True
        ):
            step(parameter, gradient, number, needs, *own)

    return StackedOptimizer(slots, scalars, tabulate, needs, update, **more)


def columns(*values: Array | float) -> Array:
    """A table of scalars, [steps, scalars], from a value, or one a step, for each."""
    return np.stack(np.broadcast_arrays(*values), axis=1)


# parts of a step that several have


def add_decay(parameter: Tensor, gradient: Tensor, number: Number, needs: Needs) -> Tensor:
    """The gradient with weight decay, [K, ...]; a decoupled decay is applied to the parameter [K,
    ...]."""
    if "decoupled_decay" in needs:
        parameter.addcmul_(parameter, number("decoupled_decay"))
    if "weight_decay" in needs:
        return torch.addcmul(gradient, parameter, number("decay"))
    return gradient


def average_square(square: Tensor, gradient: Tensor, number: Number) -> Tensor:
    """Bring the average of squares [K, ...] up to date; returns a tensor [K, ...] to work in."""
    work = gradient * number("square_share")
    # Not a lerp: where a square overflows, infinity less infinity would make it NaN.
    square.mul_(number("beta2")).addcmul_(work, work)
    return work


def root(square: Tensor, out: Tensor) -> Tensor:
    """The square root [K, ...], written to `out`. A CPU's torch.sqrt is MKL's: five times slower
    for zeros, thirty times for denormals."""
    return torch.rsqrt(square, out=out).reciprocal_()


def scaled_root(square: Tensor, scale: Tensor, out: Tensor) -> Tensor:
    """The square root [K, ...] times `scale` [K, 1, ...], written to `out`, as `root` without a
    pass over memory."""
    torch.rsqrt(square, out=out)
    return torch.div(scale, out, out=out)


def lane_norms(lanes: Tensor) -> Tensor:
    """The norm of each lane's entries, [K]."""
    norms: Tensor = torch.linalg.vector_norm(lanes.reshape(len(lanes), -1), dim=1)
    return norms


def clip_gradients(gradients: Sequence[Tensor], limits: Tensor) -> list[Tensor]:
    """Scale each lane's gradients to a norm of at most its limit, as `clip_grad_norm_` does.

    Gradients have shape [K, ...] and are only read, limits [K]; the norm is over all gradients of a
    lane. A limit of infinity leaves them as they are, even where their norm overflows or is NaN.
    """
    norms = [torch.linalg.vector_norm(each.reshape(len(limits), -1), dim=1) for each in gradients]
    norm = torch.linalg.vector_norm(torch.stack(norms, dim=1), dim=1)
    factors = (limits / (norm + 1e-6)).clamp(max=1.0).masked_fill(limits == math.inf, 1.0)
    return [each * beside(each, factors) for each in gradients]
