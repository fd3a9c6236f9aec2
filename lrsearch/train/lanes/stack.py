"""K models of one structure as one: stacked tensors, and a model's functions mapped over them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.func import vmap

from lrsearch.data.trees import Tree, leaves, map_tree
from lrsearch.train.batches.batch import Batch
from lrsearch.train.lanes.draws import Generators, Noise
from lrsearch.train.lanes.plain import as_traced, mapped
from lrsearch.train.lanes.rows import Joined, find_rows
from lrsearch.train.lanes.rules import Rules
from lrsearch.train.lanes.state import LaneState, Skeleton, Tensors, stack_like
from lrsearch.train.models.criterion import Criterion
from lrsearch.train.optimizers.stacked import StackedOptimizer


def copy_lane(tensors: Tensors, lane: int) -> dict[str, Tensor]:
    """Copies of one lane of stacked tensors."""
    views = view_lane(tensors, lane)
    made = {name: torch.empty_like(each) for name, each in views.items()}
    copy_all((made[name], each) for name, each in views.items())
    return made


def view_lane(tensors: Tensors, lane: int) -> dict[str, Tensor]:
    """One lane of stacked tensors, in their memory."""
    return {name: each[lane] for name, each in tensors.items()}


@torch.no_grad()
def copy_all(pairs: Iterable[tuple[Tensor, Tensor]]) -> None:
    """Copy into the first of each pair what the second holds, all of one type at once: a GPU is
    given a few operations, not one a tensor, of which a lane has hundreds."""
    found: dict[torch.dtype, tuple[list[Tensor], list[Tensor]]] = {}
    for into, source in pairs:
        targets, sources = found.setdefault(source.dtype, ([], []))
        targets.append(into)
        sources.append(source)
    for targets, sources in found.values():
        torch._foreach_copy_(targets, sources)


PARAMETERS = ""
"""The name by which the parameters are in `Stack.whole`, beside those of slots."""


class Stack:
    """The tensors of `lanes` trainings, each [lanes, ...], zeros to begin with: `parameters`,
    `fixed` and `slots` as in `LaneState`; each lane's `step` and `noise` are in `steps` and
    `generators`. With `rows` the parameters, in the given order, stand in `whole[""]` [lanes,
    length], and each slot in one by its name."""

    def __init__(
        self,
        skeleton: Skeleton,
        criterion: Criterion,
        optimizer: StackedOptimizer,
        lanes: int,
        order: Sequence[str],
    ) -> None:
        self.skeleton, self.criterion, self.lanes = skeleton, criterion, lanes
        self.fixed = stack_like(skeleton.fixed, lanes)
        slots = optimizer.initial_slots(skeleton.parameters)
        self.rows = (
            find_rows(skeleton.parameters, slots, order, lanes) if optimizer.by_entry else None
        )
        self.whole: dict[str, Tensor] = {}
        self.parameters = self._stack(PARAMETERS, skeleton.parameters)
        self.slots = {slot: self._stack(slot, each) for slot, each in slots.items()}
        first = next(iter(self.parameters.values()))
        self.device, self.dtype = first.device, first.dtype
        self.generators = Generators([torch.Generator(self.device) for _ in range(lanes)])
        self.steps = [0] * lanes
        self.owned = False
        """Whether tensors of no lane's numbers are made for each lane, since the model changes
        some of them in place: `out = torch.zeros(n); out[0] = x`."""

    def _stack(self, name: str, tensors: Tensors) -> dict[str, Tensor]:
        """Zeros, [lanes, ...] for each tensor of a lane's, in rows where there are such."""
        if self.rows is None:
            return stack_like(tensors, self.lanes)
        found = self.rows.zeros(next(iter(tensors.values())), self.lanes)
        self.whole[name] = found.whole
        return {each: found[each] for each in tensors}

    def join(self, gradients: Tensors) -> Tensors:
        """Gradients [lanes, ...] in rows, where the parameters are and all of them have one."""
        rows = self.rows
        if rows is None or isinstance(gradients, Joined) or gradients.keys() != rows.sizes.keys():
            return gradients
        return rows.join(gradients)

    # lanes as values

    def put(self, lane: int, state: LaneState) -> None:
        """Put a training in this place, to go on there."""
        parts = (
            (self.parameters, state.parameters),
            (self.fixed, state.fixed),
            *((self.slots[slot], state.slots[slot]) for slot in self.slots),
        )
        copy_all((stack[lane], given[name]) for own, given in parts for name, stack in own.items())
        self.steps[lane] = state.step
        self.generators.write(lane, state.noise)

    def take(self, lane: int, *, copied: bool = True) -> LaneState:
        """The training in this place: a copy, or else views that the next step changes."""
        take = copy_lane if copied else view_lane
        return LaneState(
            take(self.parameters, lane),
            take(self.fixed, lane),
            {slot: take(tensors, lane) for slot, tensors in self.slots.items()},
            self.steps[lane],
            self.generators.read(lane),
        )

    # the models

    def forward(self, parameters: Tensors, fixed: Tensors, x: Tree, noise: Noise) -> Any:
        """Outputs [lanes, samples, ...], in a type wide enough for a loss, of inputs [lanes,
        samples, ...] at stacked tensors [lanes, ...]."""
        return self.map(
            lambda model, x: self.criterion.forward(model, Batch(x)), parameters, fixed, noise, x
        )

    def evaluate_outputs(self, parameters: Tensors, fixed: Tensors, batch: Batch) -> list[Tensor]:
        """The tensors of `Criterion.evaluate_outputs` of two lanes, for parameters and fixed
        tensors [2, ...] and one batch [samples, ...]; outputs [2, samples, ...]."""
        found: list[Tensor] = self.map(
            lambda model, *parts: [
                each
                for _, each in leaves(self.criterion.evaluate_outputs(model, Batch(*parts)))
                if isinstance(each, Tensor)
            ],
            parameters,
            fixed,
            Noise(()),
            *self.spread(batch, 2),
        )
        return found

    def map(
        self,
        function: Callable[..., Any],
        parameters: Tensors,
        fixed: Tensors,
        noise: Noise,
        *given: Tree,
    ) -> Any:
        """Apply `function(model, *given)` to each lane's tensors and its entries of `given`, all
        [lanes, ...]."""

        def run(parameters: Tensors, fixed: Tensors, *parts: Tree) -> Any:
            return self.skeleton.apply(as_traced(function), parameters, fixed, *parts)

        with Rules(noise, self.owned), mapped():
            # "different": operations that still draw random numbers are refused by the recording.
            return vmap(run, randomness="different")(parameters, fixed, *given)

    def held(self) -> list[Tensor]:
        """Every tensor of the lanes' states, [lanes, ...] each."""
        parts = (self.parameters, self.fixed, *self.slots.values())
        return [each for part in parts for each in part.values()]

    def spread(self, tree: Tree, lanes: int | None = None) -> Tree:
        """Tensors expanded to [lanes, ...], without a copy."""
        lanes = self.lanes if lanes is None else lanes
        return map_tree(lambda each: each.expand(lanes, *each.shape), tree)
