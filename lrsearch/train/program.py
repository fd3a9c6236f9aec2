"""K trainings of one structure that step together: one stacked model, one recorded program."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.backends import mha
from torch.func import vmap
from torch.nn.modules.batchnorm import _BatchNorm

from lrsearch import pulse
from lrsearch.data.trees import Tree, leaves, map_tree, replace_leaves
from lrsearch.schedules import Array
from lrsearch.train.averaging import normalizing, recalibration_batches
from lrsearch.train.batches import NOTHING, Batch, join, take
from lrsearch.train.criterion import CHUNK, Criterion, lane_of
from lrsearch.train.device import numbers_on, to_device
from lrsearch.train.draws import Noise
from lrsearch.train.graphs import Graph
from lrsearch.train.groups import divide_parameters, weight_decays
from lrsearch.train.lanes import LaneState, Skeleton, Tensors, stack_like
from lrsearch.train.metrics import SUMS, stacked_loss, sum_type
from lrsearch.train.resident import Resident
from lrsearch.train.rules import Rules
from lrsearch.train.stacked import LANE, beside
from lrsearch.train.stacked_optimizers import STACKED, clip_gradients
from lrsearch.train.streamed import Window
from lrsearch.train.tape import Tape, record
from lrsearch.train.transforms import Parts, augment, mixed_loss


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


def _copy(tensors: Tensors, lane: int) -> dict[str, Tensor]:
    return {name: each.clone() for name, each in _view(tensors, lane).items()}


def _view(tensors: Tensors, lane: int) -> dict[str, Tensor]:
    return {name: each[lane] for name, each in tensors.items()}


@contextlib.contextmanager
def _no_fastpath() -> Iterator[None]:
    """Attention's fast path, which evaluation may take, has no rule for lanes."""
    fast = mha.get_fastpath_enabled()
    mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        mha.set_fastpath_enabled(fast)


@dataclass(eq=False)
class _Recorded:
    """A step for one layout of its inputs; `graph` where the device has graphs."""

    tape: Tape
    noise: Noise
    graph: Graph | None = None

    @property
    def captured(self) -> torch.cuda.CUDAGraph | None:
        """The graph of it, once there is one."""
        return None if self.graph is None else self.graph.captured

    def replay(self, *inputs: Tensor) -> None:
        self.noise.draw()
        (self.graph or self.tape).replay(*inputs)


@dataclass(eq=False)
class _Evaluator:
    """Copies of some lanes' tensors, to evaluate those alone."""

    parameters: Tensors
    fixed: Tensors
    recalibration: _Recalibration | None = None


@dataclass(eq=False)
class _Recalibration:
    """A forward pass in training mode by an evaluator's lanes. `sums` are those of batch norm's
    statistics over the batches so far, `counts` the names of the numbers of batches."""

    forward: _Recorded
    generators: list[torch.Generator]
    sums: Tensors
    counts: tuple[str, ...]


class Program:
    """`lanes` (at least two) places for trainings that differ in numbers only.

    `train` is the resolved one of any of them, `needs` the union of `needs_of`; `criterion` is the
    loss, which one of ours needs not be given. What stands in a place nobody has put a state into
    trains along and harms nobody.
    """

    def __init__(
        self,
        skeleton: Skeleton,
        train: Mapping[str, Any],
        needs: frozenset[str],
        data: Resident | Window,
        lanes: int,
        criterion: Criterion | None = None,
    ) -> None:
        if lanes < 2:
            raise ValueError("a program has two lanes or more")
        self.skeleton, self.train, self.needs, self.data = skeleton, train, needs, data
        self.lanes = lanes
        self.criterion = criterion or Criterion(train, data.task)
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
        self._forwards: dict[tuple[object, ...], tuple[Tape, Tree]] = {}
        self.weights = first.new_zeros(lanes)
        """Of the optimizer's `average`."""
        self._averaged: dict[int, tuple[_Evaluator, int]] = {}
        """Where a lane's average stands, until the lane goes on."""

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
        # Filled, not assigned, which copies a number from the host and waits.
        self.smoothing[lane].fill_(train["label_smoothing"])
        clip = train["clip_norm"]
        self.limits[lane].fill_(torch.inf if clip is None else clip)
        self.total[lane].fill_(0.0)
        if self.optimizer.average is not None:
            self.weights[lane].fill_(self.optimizer.average.weight(train["optimizer"]))
        self._averaged.clear()

    def take(self, lane: int, *, copied: bool = True) -> LaneState:
        """What stands in this place: a copy, or else what the next step changes."""
        take = _copy if copied else _view
        return LaneState(
            take(self.parameters, lane),
            take(self.fixed, lane),
            {slot: take(tensors, lane) for slot, tensors in self.slots.items()},
            self.steps[lane],
            self.generators[lane].get_state(),
        )

    # training

    def advance(self, index: Tensor, numbers: Tensor) -> None:
        """Make some steps. `index` are the samples of each, int64 [steps, batch] where all lanes
        read the same, or [steps, lanes, batch]; `numbers` what the optimizer's `tabulate` gives,
        [steps, groups x scalars, lanes]. Never waits for the device. Raises tape.NotRecordable, and
        pulse.Leave between two steps, those made being counted in `steps`."""
        self._averaged.clear()
        for samples, scalars in zip(index.unbind(0), numbers.unbind(0), strict=True):
            recorded = self._steps.get(samples.dim())
            if recorded is None:
                self._steps[samples.dim()] = self._record(samples, scalars)
            else:
                recorded.replay(samples, scalars)
            for lane in range(self.lanes):
                self.steps[lane] += 1
            pulse.beat()

    def _record(self, samples: Tensor, scalars: Tensor) -> _Recorded:
        """Make a step and record it."""
        noise = Noise(self.generators)
        tape, _ = record(self._step(noise), [samples, scalars], self._static())
        return self._recorded(tape, noise)

    def _recorded(self, tape: Tape, noise: Noise) -> _Recorded:
        return _Recorded(tape, noise, Graph(tape) if self.device.type == "cuda" else None)

    @property
    def uncaptured(self) -> str:
        """Why a step of those made so far is not launched as one on a device that can, or ""."""
        graphs = (each.graph for each in self._steps.values())
        return next((each.reason for each in graphs if each is not None and each.reason), "")

    def curves(self, train: Mapping[str, Any], rates: Array) -> list[Array]:
        """What the optimizer makes of the rates of a whole training, for each group of parameters;
        `tabulate` takes slices of it."""
        return [
            self.optimizer.curve(
                group.optimizer(train),
                rates if group.ratio(train) == 1.0 else rates * group.ratio(train),
            )
            for group in self.groups
        ]

    def tabulate(self, lanes: Sequence[tuple[Mapping[str, Any], Sequence[Array], int]]) -> Tensor:
        """`advance`'s numbers for lanes given by their resolved `train`, the next steps (as many
        of each) of their `curves`, and the steps already made."""
        tables = [
            np.concatenate(
                [
                    self.optimizer.tabulate(group.optimizer(train), curve, made + 1)
                    for group, curve in zip(self.groups, curves, strict=True)
                ],
                1,
            )
            for train, curves, made in lanes
        ]
        return to_device(torch.from_numpy(np.stack(tables, -1)).to(self.dtype), self.device)

    @property
    def bytes(self) -> int:
        """Memory of the lanes and of all that a step makes, which is not all there at once."""
        made = [each.tape.bytes + each.noise.bytes for each in self._steps.values()]
        return sum(each.nbytes for each in self._held()) + max(made, default=0)

    def compute_gradients(
        self, index: Tensor, noise: Noise | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Losses [lanes] and (clipped) gradients of one batch; those of parameters that the model
        does not use are missing. Batch norm's statistics are brought up to date."""
        noise = noise or Noise(self.generators)
        batch = take(self.data.train, index.flatten())
        if index.dim() > 1:
            shape = tuple(index.shape)
            batch = Batch(
                *(map_tree(lambda each: each.unflatten(0, shape), part) for part in batch)
            )
        given = {name: each.detach().requires_grad_() for name, each in self.parameters.items()}
        self.skeleton.model.train()
        with torch.enable_grad():
            losses = self._losses(given, batch, noise, shared=index.dim() == 1)
            # Their sum, whose gradients are each lane's own: to pass ones instead would import
            # sympy, half a second.
            found = torch.autograd.grad(losses.sum(), list(given.values()), allow_unused=True)
        gradients = {
            name: each for name, each in zip(given, found, strict=True) if each is not None
        }
        if "clip_norm" in self.needs:
            clipped = clip_gradients(list(gradients.values()), self.limits)
            gradients = dict(zip(gradients, clipped, strict=True))
        return losses.detach(), gradients

    def _losses(self, parameters: Tensors, batch: Batch, noise: Noise, *, shared: bool) -> Tensor:
        """Each lane's training loss of its batch, or of the one that all share."""
        transforms = self.criterion.transforms
        if shared and (transforms or not self.criterion.stacks):
            batch, shared = Batch(*self._spread(batch)), False
        if not self.criterion.stacks:
            out: Tensor = self._map(
                lambda model, *parts: self.criterion.training_loss(model, Batch(*parts)),
                parameters,
                self.fixed,
                noise,
                *batch,
            )
            return out
        # Seen by each lane, not copied: the same products either way.
        x = self._spread(batch.x) if shared else batch.x
        parts: Parts = ((batch.y, batch.weight, NOTHING),)
        if transforms:
            with Rules(noise):
                x, parts = vmap(partial(augment, transforms), randomness="different")(batch)
        outputs = self.forward(parameters, self.fixed, x, noise)
        return mixed_loss(partial(self._stacked_loss, outputs), x, parts)

    def _stacked_loss(self, outputs: Any, batch: Batch) -> Tensor:
        return stacked_loss(
            self.criterion.name,
            self.criterion.as_classes(outputs, lanes=True),
            batch.y,
            smoothing=self.smoothing if "label_smoothing" in self.needs else None,
            weight=batch.weight if isinstance(batch.weight, Tensor) else None,
        )

    def _spread(self, tree: Tree, lanes: int | None = None) -> Tree:
        """Tensors that each lane sees, none of which is copied."""
        lanes = self.lanes if lanes is None else lanes
        return map_tree(lambda each: each.expand(lanes, *each.shape), tree)

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
                    # What a lane has once, or those of the parameters that have it.
                    slot: [held[name] for name in (LANE, *names) if name in held]
                    for slot, held in self.slots.items()
                },
                numbers[place * each : (place + 1) * each],
                self.needs,
            )

    def forward(self, parameters: Tensors, fixed: Tensors, x: Tree, noise: Noise) -> Any:
        """Outputs [lanes, samples, ...], wide enough for a loss, of stacked tensors for inputs of
        the same layout."""
        return self._map(
            lambda model, x: self.criterion.forward(model, Batch(x)), parameters, fixed, noise, x
        )

    def evaluate_outputs(self, parameters: Tensors, fixed: Tensors, batch: Batch) -> Any:
        """`Criterion.evaluate_outputs` of each of two lanes."""
        return self._map(
            lambda model, *parts: self.criterion.evaluate_outputs(model, Batch(*parts)),
            parameters,
            fixed,
            Noise(()),
            *self._spread(batch, 2),
        )

    def _map(
        self,
        function: Callable[..., Any],
        parameters: Tensors,
        fixed: Tensors,
        noise: Noise,
        *given: Tree,
    ) -> Any:
        """`function(model, *given)` of each lane, by its tensors and entries of what is given."""

        def run(parameters: Tensors, fixed: Tensors, *parts: Tree) -> Any:
            return self.skeleton.apply(function, parameters, fixed, *parts)

        with Rules(noise):
            # "different": what draws random numbers all the same is refused by the recording.
            return vmap(run, randomness="different")(parameters, fixed, *given)

    def _held(self) -> list[Tensor]:
        parts = (self.parameters, self.fixed, *self.slots.values())
        return [each for part in parts for each in part.values()]

    def _static(self) -> list[Tensor]:
        return [*self._held(), *self.data.tensors, self.smoothing, self.limits, self.total]

    # evaluation

    def evaluate(self, lanes: Sequence[int]) -> Tensor:
        """The summed loss and the sums the task's metrics are made of over the validation split,
        [len(lanes), sums]. Never waits for the device. Raises tape.NotRecordable."""
        if self.optimizer.average is not None:
            average, size = self._average(lanes)
            return self._evaluate(size, average.parameters, average.fixed)[: len(lanes)]
        size = max(2, 1 << (len(lanes) - 1).bit_length())
        if size >= self.lanes:
            every = self._evaluate(self.lanes, self.parameters, self.fixed)
            return every[numbers_on(self.device, lanes)]
        own, _ = self._choose(lanes, size)
        return self._evaluate(size, own.parameters, own.fixed)[: len(lanes)]

    def evaluated(self, lane: int) -> tuple[Tensors, Tensors]:
        """Copies of the parameters and fixed tensors that `evaluate` evaluates a place at."""
        parameters, fixed, place = self._evaluated_at(lane)
        return _copy(parameters, place), _copy(fixed, place)

    def _evaluated_at(self, lane: int) -> tuple[Tensors, Tensors, int]:
        if self.optimizer.average is None:
            return self.parameters, self.fixed, lane
        if lane not in self._averaged:
            self._average([lane])
        own, place = self._averaged[lane]
        return own.parameters, own.fixed, place

    @torch.no_grad()
    def keep_evaluated(
        self, lanes: Sequence[int], kept: Sequence[tuple[Tensors, Tensors] | None]
    ) -> list[tuple[Tensors, Tensors]]:
        """`evaluated` of several places, in few operations however many they are. Each is copied
        into what it has `kept` before, where it has."""
        if self.optimizer.average is not None and not self._averaged.keys() >= set(lanes):
            self._average(lanes)  # All at once: the next takes the place of those before.
        new = iter(self._make_room(sum(each is None for each in kept)))
        rooms = [next(new) if each is None else each for each in kept]
        views: dict[int, Sequence[Tensor]] = {}
        pairs: dict[torch.dtype, tuple[list[Tensor], list[Tensor]]] = {}
        for lane, room in zip(lanes, rooms, strict=True):
            *parts, place = self._evaluated_at(lane)
            for stacks, own in zip(parts, room, strict=True):
                for name, stack in stacks.items():
                    if id(stack) not in views:
                        views[id(stack)] = stack.unbind(0)
                    into, source = pairs.setdefault(stack.dtype, ([], []))
                    into.append(own[name])
                    source.append(views[id(stack)][place])
        for into, source in pairs.values():
            torch._foreach_copy_(into, source)
        return rooms

    def _make_room(self, lanes: int) -> list[tuple[Tensors, Tensors]]:
        """Memory for the parameters and fixed tensors of some lanes."""
        if not lanes:
            return []
        parts = [
            {name: each.new_empty((lanes, *each.shape[1:])).unbind(0) for name, each in of.items()}
            for of in (self.parameters, self.fixed)
        ]
        rooms = [
            [{n: each[lane] for n, each in of.items()} for of in parts] for lane in range(lanes)
        ]
        return [(parameters, fixed) for parameters, fixed in rooms]

    def _choose(self, lanes: Sequence[int], size: int) -> tuple[_Evaluator, Tensor]:
        """Copies of so many lanes, the last one repeated, and their numbers."""
        chosen = numbers_on(self.device, [*lanes, *[lanes[-1]] * (size - len(lanes))])
        if size not in self._evaluators:
            self._evaluators[size] = _Evaluator(
                stack_like(self.skeleton.parameters, size), stack_like(self.skeleton.fixed, size)
            )
        own = self._evaluators[size]
        for held, copies in ((self.parameters, own.parameters), (self.fixed, own.fixed)):
            for name, each in held.items():
                torch.index_select(each, 0, chosen, out=copies[name])
        return own, chosen

    @torch.no_grad()
    def _average(self, lanes: Sequence[int]) -> tuple[_Evaluator, int]:
        """An evaluator at the optimizer's average of these lanes, and its size."""
        average = self.optimizer.average
        assert average is not None
        size = min(self.lanes, max(2, 1 << (len(lanes) - 1).bit_length()))
        own, chosen = self._choose(lanes, size)
        weights = self.weights[chosen]
        for name, each in own.parameters.items():
            held = self.slots[average.slot][name][chosen]
            each.addcmul_(held, beside(each, weights))
        self._recalibrate(own, [*lanes, *[lanes[-1]] * (size - len(lanes))], chosen)
        self._averaged = {lane: (own, place) for place, lane in enumerate(lanes)}
        return own, size

    def _recalibrate(self, own: _Evaluator, lanes: Sequence[int], chosen: Tensor) -> None:
        """Gather batch norm's statistics at an evaluator's parameters, as `averaging.recalibrate`.

        With a momentum of one a forward pass leaves the batch's own statistics in the buffers,
        whose mean over the batches is taken here.
        """
        self.skeleton.model.train()
        layers = normalizing(self.skeleton.model)
        if not layers:
            return
        samples = self.data.samples
        indices = recalibration_batches(samples, self.train["batch_size"], self.device)
        known = own.recalibration
        if known is None:
            known = own.recalibration = self._record_recalibration(own, layers, len(lanes))
        for generator, lane in zip(known.generators, lanes, strict=True):
            generator.set_state(self.generators[lane].get_state())
        for each in known.sums.values():
            each.zero_()
        count = 0
        for index in indices:
            known.forward.replay(index)
            pulse.beat()
            count += 1
        for name, each in own.fixed.items():
            if name in known.sums:
                torch.div(known.sums[name], count, out=each)
            elif name in known.counts:
                each.fill_(count)
            else:
                torch.index_select(self.fixed[name], 0, chosen, out=each)

    def _record_recalibration(
        self, own: _Evaluator, layers: Mapping[str, _BatchNorm], lanes: int
    ) -> _Recalibration:
        prefixes = {name: f"{name}." if name else "" for name in layers}
        sums = {
            f"{prefix}{statistic}": torch.zeros_like(own.fixed[f"{prefix}{statistic}"])
            for prefix in prefixes.values()
            for statistic in ("running_mean", "running_var")
        }
        generators = [torch.Generator(self.device) for _ in range(lanes)]
        noise = Noise(generators)

        def forward(samples: Tensor) -> list[Tensor]:
            batch = self._spread(take(self.data.train, samples), lanes)
            self._map(
                lambda model, *parts: self.criterion.visit(model, Batch(*parts)),
                own.parameters,
                own.fixed,
                noise,
                *batch,
            )
            for name, each in sums.items():
                each += own.fixed[name]
            return []

        held = [*own.parameters.values(), *own.fixed.values(), *sums.values(), *self.data.tensors]
        index = next(
            recalibration_batches(self.data.samples, self.train["batch_size"], self.device)
        )
        momenta = [each.momentum for each in layers.values()]
        try:
            for each in layers.values():
                each.momentum = 1.0
            with _no_fastpath():
                tape, _ = record(forward, [index], held)
        finally:
            for each, momentum in zip(layers.values(), momenta, strict=True):
                each.momentum = momentum
        counts = tuple(f"{prefix}num_batches_tracked" for prefix in prefixes.values())
        return _Recalibration(self._recorded(tape, noise), generators, sums, counts)

    def _evaluate(self, lanes: int, parameters: Tensors, fixed: Tensors) -> Tensor:
        size = self.data.chunk(CHUNK)
        outline: list[Tree] = []  # Of the outputs, which a recording gives one after the other.

        def sums(*given: Tensor) -> list[Tensor]:
            seen = Batch(*replace_leaves(tuple(form), given))
            found, outputs = self._sums(lanes, parameters, fixed, seen)
            outline.append(outputs)
            return [found, *(each for _, each in leaves(outputs))]

        self.skeleton.model.eval()
        totals: list[Tensor] = []
        seen: list[list[Tensor]] = []
        targets: list[Tree] = []
        for batch in self.data.validation_batches(size):
            pulse.beat()
            form = batch
            inputs = [each for _, each in leaves(tuple(batch))]
            key = (lanes, *(tuple(each.shape) for each in inputs))
            known = self._forwards.get(key)
            if known is None:
                static = [*parameters.values(), *fixed.values()]
                with torch.no_grad(), _no_fastpath():
                    tape, out = record(sums, inputs, static)
                self._forwards[key] = tape, outline[-1]
            else:
                out = known[0].replay(*inputs)
            totals.append(out[0])
            if self.criterion.measures:
                targets.append(batch.y)
            seen.append(out[1:])
        total = torch.stack(totals).sum(0)
        if not self.criterion.measures:
            return total
        with torch.no_grad():
            joined = [torch.cat(each, 1) for each in zip(*seen, strict=True)]
            outputs = replace_leaves(next(iter(self._forwards.values()))[1], joined)
            whole = join(targets)
            values = [
                torch.stack(self.criterion.measure(lane_of(outputs, lane), whole))
                for lane in range(lanes)
            ]
        return torch.cat([total, torch.stack(values).to(total)], 1)

    def _sums(
        self, lanes: int, parameters: Tensors, fixed: Tensors, batch: Batch
    ) -> tuple[Tensor, Tree]:
        """`Criterion.sums` of each lane: [lanes, sums], and the outputs."""
        if not self.criterion.stacks:
            found: tuple[Tensor, Tree] = self._map(
                lambda model, *parts: self.criterion.sums(model, Batch(*parts)),
                parameters,
                fixed,
                Noise(()),
                *self._spread(batch, lanes),
            )
            return found
        outputs = self.forward(parameters, fixed, self._spread(batch.x, lanes), Noise(()))
        logits = self.criterion.as_classes(outputs, lanes=True)
        loss = stacked_loss(
            self.criterion.name,
            logits,
            batch.y,
            reduction="sum",
            weight=batch.weight if isinstance(batch.weight, Tensor) else None,
        )
        parts = [loss.to(sum_type(self.device)).unsqueeze(1)]
        if self.data.task in SUMS:
            parts.append(SUMS[self.data.task](logits, batch.y))
        return torch.cat(parts, 1), outputs if self.criterion.measures else ()
