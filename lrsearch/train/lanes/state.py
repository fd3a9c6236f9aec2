"""A training's state as a value, and models stacked into lanes."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from lrsearch.train.optimizers.stacked import StackedOptimizer
from lrsearch.train.tape import NotRecordable

Tensors = Mapping[str, Tensor]


@dataclass(frozen=True)
class LaneState:
    """All that a training is between two steps, by either engine.

    `parameters` are those that are trained, `fixed` the others and the buffers, each by its name
    in the module; `slots` the optimizer's state, by slot ("exp_avg") and those parameters that have
    it, or `stacked.LANE`. `step` counts the updates made, `noise` is the state of the generator
    that all random numbers of a training are drawn from.
    """

    parameters: Tensors
    fixed: Tensors
    slots: Mapping[str, Tensors]
    step: int
    noise: Tensor


class _Within(nn.Module):
    """A module whose forward calls a function with another module and any arguments."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return function(self.model, *arguments)


class Skeleton:
    """A module as a function of its tensors. It is used as it is, never copied: copies untie tied
    weights."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        named = dict(model.named_parameters())  # Tied ones once, by their first name.
        self.parameters = {name: each for name, each in named.items() if each.requires_grad}
        rest = {name: each for name, each in named.items() if not each.requires_grad}
        self.fixed: dict[str, Tensor] = {**rest, **dict(model.named_buffers())}
        firsts = {id(each): name for name, each in {**self.parameters, **self.fixed}.items()}
        every = itertools.chain(
            model.named_parameters(remove_duplicate=False),
            model.named_buffers(remove_duplicate=False),
        )
        self._first = {name: firsts[id(each)] for name, each in every}
        self._within = _Within(model)

    def apply(
        self,
        function: Callable[..., Any],
        parameters: Tensors,
        fixed: Tensors,
        *arguments: Any,
    ) -> Any:
        """`function(model, *arguments)`, the model having these tensors in place of its own; what
        it puts in the place of one is copied into that."""
        given = {**parameters, **fixed}
        tensors = {f"model.{name}": given[first] for name, first in self._first.items()}
        # functional_call's own tying goes by the tensors' hashes, and does nothing under vmap.
        out = functional_call(self._within, tensors, (function, *arguments), tie_weights=False)
        # functional_call leaves there what the module holds at its end.
        ends = [(each, tensors[f"model.{name}"]) for name, each in given.items()]
        changed = [(own, now) for own, now in ends if now is not own]
        if any((now.shape, now.dtype) != (own.shape, own.dtype) for own, now in changed):
            raise NotRecordable("its forward puts a tensor of another shape or type in a buffer")
        with torch.no_grad():
            for own, now in [(own, now.clone()) for own, now in changed]:
                own.copy_(now)
        return out

    def load(self, state: LaneState) -> nn.Module:
        """The module itself, with a lane's tensors copied into its own."""
        return self.fill(state.parameters, state.fixed)

    @torch.no_grad()
    def fill(self, parameters: Tensors, fixed: Tensors) -> nn.Module:
        """The module itself, with these tensors copied into its own."""
        given = {**parameters, **fixed}
        for name, each in {**self.parameters, **self.fixed}.items():
            each.copy_(given[name])
        return self.model

    def state_dict(self, parameters: Tensors, fixed: Tensors) -> dict[str, Tensor]:
        """The module's state dict with these tensors: tied ones under each of their names."""
        own = {**self.parameters, **self.fixed}
        given = {**parameters, **fixed}
        names = {id(each): name for name, each in own.items()}
        state = self.model.state_dict(keep_vars=True)
        return {key: given[names[id(each)]] for key, each in state.items() if id(each) in names}


def initial_state(model: nn.Module, optimizer: StackedOptimizer, noise: Tensor) -> LaneState:
    """The state of a model before its first step; copies."""
    skeleton = Skeleton(model)
    parameters = {name: each.detach().clone() for name, each in skeleton.parameters.items()}
    fixed = {name: each.detach().clone() for name, each in skeleton.fixed.items()}
    return LaneState(parameters, fixed, optimizer.initial_slots(parameters), 0, noise)


def stack_like(tensors: Tensors, lanes: int) -> dict[str, Tensor]:
    """Zeros, [lanes, ...] for each tensor, contiguous."""
    return {
        name: torch.zeros((lanes, *each.shape), dtype=each.dtype, device=each.device)
        for name, each in tensors.items()
    }
