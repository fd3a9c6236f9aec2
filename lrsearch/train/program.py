"""K trainings of one structure that step together: one stacked model, one recorded program."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.backends import mha
from torch.func import vmap

from lrsearch.schedules import Array
from lrsearch.train.device import is_out_of_memory
from lrsearch.train.groups import divide_parameters, weight_decays
from lrsearch.train.lanes import LaneState, Skeleton, Tensors, stack_like
from lrsearch.train.metrics import (
    SUMS,
    stacked_loss,
    sum_type,
)
from lrsearch.train.resident import Resident
from lrsearch.train.rules import Noise, Rules
from lrsearch.train.solo import precision, widen
from lrsearch.train.stacked_optimizers import STACKED, clip_gradients
from lrsearch.train.tape import Tape, record

CHUNK = 512
"""Samples per forward pass of an evaluation (`Resident.chunk`), in every lane; fixed, so that
results do not follow the number of lanes."""


def needs_of(train: Mapping[str, Any]) -> frozenset[str]:
    """The terms of a step that a resolved `train` needs. A lane computes the same, bit by bit,
    when its neighbours need more."""
    optimizer = train["optimizer"]
    own = frozenset[str]().union(
        *(
            STACKED[optimizer["name"]].needs({**optimizer, "weight_decay": decay})
            for decay in weight_decays(train)
        )
    )
    smoothing = {"label_smoothing"} if train["label_smoothing"] else set()
    clipping = {"clip_norm"} if train["clip_norm"] is not None else set()
    layers = {"layer_decay"} if train["layer_decay"] is not None else set()
    return own | smoothing | clipping | layers


class _Captured:
    """A tape as one CUDA graph, so that a step is one launch. It owns its inputs."""

    def __init__(self, tape: Tape, inputs: Sequence[Tensor]) -> None:
        self.inputs = [each.clone() for each in inputs]
        self.graph = torch.cuda.CUDAGraph()
        with torch.no_grad(), torch.cuda.graph(self.graph):
            tape.run(*self.inputs)

    def replay(self, *inputs: Tensor) -> None:
        for own, given in zip(self.inputs, inputs, strict=True):
            own.copy_(given)
        self.graph.replay()


@dataclass(eq=False)
class _Recorded:
    """A step for one layout of its inputs; `captured` where the device has graphs."""

    tape: Tape
    noise: Noise
    captured: _Captured | None = None

    def replay(self, *inputs: Tensor) -> None:
        self.noise.draw()
        if self.captured is None:
            self.tape.replay(*inputs)
        else:
            self.captured.replay(*inputs)


@dataclass(eq=False)
class _Evaluator:
    """Copies of some lanes' tensors, to evaluate those alone."""

    parameters: Tensors
    fixed: Tensors


class Program:
    """`lanes` (at least two) places for trainings that differ in numbers only.

    `train` is the resolved one of any of them, `needs` the union of `needs_of`. What stands in a
    place nobody has put a state into trains along and harms nobody.
    """

    def __init__(
        self,
        skeleton: Skeleton,
        train: Mapping[str, Any],
        needs: frozenset[str],
        data: Resident,
        lanes: int,
    ) -> None:
        if lanes < 2:
            raise ValueError("a program has two lanes or more")
        self.skeleton, self.train, self.needs, self.data = skeleton, train, needs, data
        self.lanes = lanes
        self.optimizer = STACKED[train["optimizer"]["name"]]
        self.parameters = stack_like(skeleton.parameters, lanes)
        self.fixed = stack_like(skeleton.fixed, lanes)
        self.slots = {
            slot: stack_like(each, lanes)
            for slot, each in self.optimizer.initial_slots(skeleton.parameters).items()
        }
        ranks = {name: each.dim() for name, each in skeleton.parameters.items()}
        self.groups = divide_parameters(ranks, train, layers="layer_decay" in needs)
        self.steps = [0] * lanes
        first = next(iter(self.parameters.values()))
        self.device, self.dtype = first.device, first.dtype
        self.smoothing = first.new_zeros(lanes)
        self.limits = torch.full_like(self.smoothing, torch.inf)
        self.total = torch.zeros(lanes, dtype=sum_type(self.device), device=self.device)
        """Each lane's training losses, summed since somebody set it to zero."""
        self.generators = [torch.Generator(self.device) for _ in range(lanes)]
        self._steps: dict[int, _Recorded] = {}
        self._evaluators: dict[int, _Evaluator] = {}
        self._forwards: dict[tuple[int, int], Tape] = {}

    # lanes as values

    @torch.no_grad()
    def put(self, lane: int, state: LaneState, train: Mapping[str, Any]) -> None:
        """Have a training go on in this place; `train` gives its numbers."""
        for own, given in (
            (self.parameters, state.parameters),
            (self.fixed, state.fixed),
            *((self.slots[slot], state.slots[slot]) for slot in self.slots),
        ):
            for name, stack in own.items():
                stack[lane].copy_(given[name])
        self.steps[lane] = state.step
        self.generators[lane].set_state(state.noise)
        self.smoothing[lane] = train["label_smoothing"]
        clip = train["clip_norm"]
        self.limits[lane] = torch.inf if clip is None else clip
        self.total[lane] = 0.0

    def take(self, lane: int) -> LaneState:
        """A copy of what stands in this place."""

        def copy(tensors: Tensors) -> dict[str, Tensor]:
            return {name: each[lane].clone() for name, each in tensors.items()}

        return LaneState(
            copy(self.parameters),
            copy(self.fixed),
            {slot: copy(tensors) for slot, tensors in self.slots.items()},
            self.steps[lane],
            self.generators[lane].get_state(),
        )

    # training

    def advance(self, index: Tensor, numbers: Tensor) -> None:
        """Make some steps. `index` are the samples of each, int64 [steps, batch] where all lanes
        read the same, or [steps, lanes, batch]; `numbers` what the optimizer's `tabulate` gives,
        [steps, groups x scalars, lanes]. Never waits for the device. Raises tape.NotRecordable."""
        for samples, scalars in zip(index.unbind(0), numbers.unbind(0), strict=True):
            recorded = self._steps.get(samples.dim())
            if recorded is None:
                self._steps[samples.dim()] = self._record(samples, scalars)
            else:
                recorded.replay(samples, scalars)
        for lane in range(self.lanes):
            self.steps[lane] += len(index)

    def _record(self, samples: Tensor, scalars: Tensor) -> _Recorded:
        """Make a step and record it."""
        noise = Noise(self.generators)
        tape, _ = record(self._step(noise), [samples, scalars], self._static())
        captured = None
        if self.device.type == "cuda":
            try:
                captured = _Captured(tape, [samples, scalars])
            except RuntimeError as error:
                # What cannot be captured runs operation by operation: slower, and the same.
                if is_out_of_memory(error):
                    raise
        return _Recorded(tape, noise, captured)

    def tabulate(self, lanes: Sequence[tuple[Mapping[str, Any], Array, int]]) -> Tensor:
        """`advance`'s numbers for lanes given by their resolved `train`, the rates of the next
        steps (as many of each), and the steps already made."""
        tables = [
            np.concatenate(
                [
                    self.optimizer.tabulate(
                        group.optimizer(train), rates * group.ratio(train), made + 1
                    )
                    for group in self.groups
                ],
                1,
            )
            for train, rates, made in lanes
        ]
        numbers = torch.from_numpy(np.stack(tables, -1)).to(self.dtype)
        if self.device.type == "cuda":  # From pinned memory the copy does not wait for the device.
            return numbers.pin_memory().to(self.device, non_blocking=True)
        return numbers.to(self.device)

    @property
    def bytes(self) -> int:
        """Memory of the lanes and of all that a step makes, which is not all there at once."""
        made = [each.tape.bytes for each in self._steps.values()]
        return sum(each.nbytes for each in self._held()) + max(made, default=0)

    def compute_gradients(
        self, index: Tensor, noise: Noise | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Losses [lanes] and (clipped) gradients of one batch; those of parameters that the model
        does not use are missing. Batch norm's statistics are brought up to date."""
        noise = noise or Noise(self.generators)
        x = self.data.x_train.index_select(0, index.flatten())
        y = self.data.y_train.index_select(0, index.flatten())
        x, y = x.reshape(*index.shape, *x.shape[1:]), y.reshape(*index.shape, *y.shape[1:])
        if index.dim() == 1:  # Seen by each lane, not copied: the same products either way.
            x = x.expand(self.lanes, *x.shape)
        leaves = {name: each.detach().requires_grad_() for name, each in self.parameters.items()}
        self.skeleton.model.train()
        with torch.enable_grad():
            outputs = self.forward(leaves, self.fixed, x, noise)
            losses = stacked_loss(
                self.train["loss"],
                widen(outputs),
                y,
                smoothing=self.smoothing if "label_smoothing" in self.needs else None,
            )
            # Their sum, whose gradients are each lane's own: to pass ones instead would import
            # sympy, half a second.
            found = torch.autograd.grad(losses.sum(), list(leaves.values()), allow_unused=True)
        gradients = {
            name: each for name, each in zip(leaves, found, strict=True) if each is not None
        }
        if "clip_norm" in self.needs:
            clipped = clip_gradients(list(gradients.values()), self.limits)
            gradients = dict(zip(gradients, clipped, strict=True))
        return losses.detach(), gradients

    def _step(self, noise: Noise) -> Any:
        def step(samples: Tensor, scalars: Tensor) -> list[Tensor]:
            losses, gradients = self.compute_gradients(samples, noise)
            self.update(gradients, scalars)
            self.total += losses
            return []

        return step

    @torch.no_grad()
    def update(self, gradients: Tensors, scalars: Tensor) -> None:
        """Step the optimizer by some gradients; `scalars` is a row of `advance`'s numbers."""
        each = len(self.optimizer.scalars)
        numbers = scalars.unbind(0)
        for place, group in enumerate(self.groups):
            names = [name for name in group.names if name in gradients]
            self.optimizer.update(
                [self.parameters[name] for name in names],
                [gradients[name] for name in names],
                {
                    slot: [held[name] for name in names if name in held]
                    for slot, held in self.slots.items()
                },
                numbers[place * each : (place + 1) * each],
                self.needs,
            )

    def forward(self, parameters: Tensors, fixed: Tensors, x: Tensor, noise: Noise) -> Tensor:
        """Outputs [lanes, samples, ...] of stacked tensors for inputs of the same layout."""
        low = self.train["precision"] == "bfloat16"
        with Rules(noise), precision(self.device, low):
            # "different": what draws random numbers all the same is refused by the recording.
            out: Tensor = vmap(self.skeleton.call, randomness="different")(parameters, fixed, x)
        return out

    def _held(self) -> list[Tensor]:
        parts = (self.parameters, self.fixed, *self.slots.values())
        return [each for part in parts for each in part.values()]

    def _static(self) -> list[Tensor]:
        data = [self.data.x_train, self.data.y_train]
        return [*self._held(), *data, self.smoothing, self.limits, self.total]

    # evaluation

    def evaluate(self, lanes: Sequence[int]) -> Tensor:
        """The summed loss and the sums the task's metrics are made of over the validation split,
        [len(lanes), sums]. Never waits for the device. Raises tape.NotRecordable."""
        size = max(2, 1 << (len(lanes) - 1).bit_length())
        if size >= self.lanes:
            every = self._evaluate(self.lanes, self.parameters, self.fixed)
            return every[torch.tensor(lanes, device=self.device)]
        chosen = torch.tensor([*lanes, *[lanes[-1]] * (size - len(lanes))], device=self.device)
        if size not in self._evaluators:
            self._evaluators[size] = _Evaluator(
                stack_like(self.skeleton.parameters, size), stack_like(self.skeleton.fixed, size)
            )
        own = self._evaluators[size]
        for held, copies in ((self.parameters, own.parameters), (self.fixed, own.fixed)):
            for name, each in held.items():
                torch.index_select(each, 0, chosen, out=copies[name])
        return self._evaluate(size, own.parameters, own.fixed)[: len(lanes)]

    def _evaluate(self, lanes: int, parameters: Tensors, fixed: Tensors) -> Tensor:
        count, size = SUMS[self.data.task], self.data.chunk(CHUNK)

        def sums(x: Tensor, y: Tensor) -> list[Tensor]:
            seen = x.expand(lanes, *x.shape)
            outputs = widen(self.forward(parameters, fixed, seen, Noise(())))
            loss = stacked_loss(self.train["loss"], outputs, y, reduction="sum")
            return [torch.cat([loss.to(sum_type(self.device)).unsqueeze(1), count(outputs, y)], 1)]

        self.skeleton.model.eval()
        found = []
        for x, y in zip(
            torch.split(self.data.x_validation, size),
            torch.split(self.data.y_validation, size),
            strict=True,
        ):
            tape = self._forwards.get((lanes, len(x)))
            if tape is None:
                static = [*parameters.values(), *fixed.values()]
                fast = mha.get_fastpath_enabled()
                mha.set_fastpath_enabled(False)  # It has no rule for lanes.
                try:
                    with torch.no_grad():
                        tape, out = record(sums, [x, y], static)
                finally:
                    mha.set_fastpath_enabled(fast)
                self._forwards[lanes, len(x)] = tape
            else:
                out = tape.replay(x, y)
            found += out
        return torch.stack(found).sum(0)
