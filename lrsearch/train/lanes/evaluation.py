"""The evaluation of K lanes: the tensors they are evaluated at, and their validation sums."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.backends import mha
from torch.nn.modules.batchnorm import _BatchNorm

from lrsearch import pulse
from lrsearch.data.interrupts import any_but_interrupts
from lrsearch.data.trees import Tree, leaves, replace_leaves
from lrsearch.train.batches.averaging import normalizing, recalibration_batches
from lrsearch.train.batches.batch import Batch, copy, join, take
from lrsearch.train.batches.resident import Resident
from lrsearch.train.batches.streamed import Window
from lrsearch.train.device import is_out_of_memory, numbers_on, release, sum_type
from lrsearch.train.lanes.draws import Generators, Noise
from lrsearch.train.lanes.graphs import Recorded, replayable
from lrsearch.train.lanes.places import placeless
from lrsearch.train.lanes.stack import Stack, copy_all, copy_lane, view_lane
from lrsearch.train.lanes.state import Tensors, stack_like
from lrsearch.train.lanes.untouchable import refuse_reading, untouchable
from lrsearch.train.models.attributes import tensors_of
from lrsearch.train.models.criterion import CHUNK, lane_of
from lrsearch.train.models.metrics import SUMS, stacked_loss
from lrsearch.train.models.validation import in_chunks, validation_sums
from lrsearch.train.optimizers.stacked import StackedOptimizer, beside
from lrsearch.train.tape import NotRecordable, Tape, record

# the parts


@contextlib.contextmanager
def _no_fastpath() -> Iterator[None]:
    """Turn off attention's fast path, which evaluation may take and which has no rule for lanes."""
    fast = mha.get_fastpath_enabled()
    mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        mha.set_fastpath_enabled(fast)


@contextlib.contextmanager
def _no_nesting(model: nn.Module) -> Iterator[None]:
    """Refuse an encoder's padding mask: by the fast path the encoder nests what is not padding, and
    has zeros in the place of the rest, which no lane would have. Raises tape.NotRecordable."""

    def refuse(_: nn.Module, args: tuple[Any, ...], given: dict[str, Any]) -> None:
        asked = {**dict(zip(("src", "mask", "src_key_padding_mask"), args, strict=False)), **given}
        if asked.get("src_key_padding_mask") is not None and asked.get("mask") is None:
            raise NotRecordable("an encoder with a padding mask nests its samples in evaluation")

    encoders = [
        each
        for each in model.modules()
        if isinstance(each, nn.TransformerEncoder) and each.use_nested_tensor
    ]
    hooks = [each.register_forward_pre_hook(refuse, with_kwargs=True) for each in encoders]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _same_bytes(left: Tensor, right: Tensor) -> bool:
    """Whether two tensors of one type hold the same, nan included."""
    parts = [each.detach().reshape(-1).view(torch.uint8) for each in (left, right)]
    return torch.equal(*parts)


@dataclass(eq=False)
class _Evaluator:
    """Copies of some lanes' tensors, to evaluate these lanes alone."""

    parameters: Tensors
    fixed: Tensors
    recalibration: _Recalibration | None = None


@dataclass(eq=False)
class _Recalibration:
    """A forward pass in training mode by an evaluator's lanes. `sums` are sums of batch norm's
    statistics over the batches so far, `counts` the names of the buffers that count batches."""

    forward: Recorded
    generators: Generators
    sums: Tensors
    counts: tuple[str, ...]


# the evaluation


class Evaluation:
    """The evaluation of a stack's lanes on the validation split of `data`.

    Lanes are evaluated where they train, or at the average that `optimizer` keeps, for which batch
    norm's statistics are gathered anew, from batches of the size in `train`.
    """

    def __init__(
        self,
        stack: Stack,
        data: Resident | Window,
        train: Mapping[str, Any],
        optimizer: StackedOptimizer,
    ) -> None:
        self.stack, self.data, self.train, self.optimizer = stack, data, train, optimizer
        self.criterion, self.device = stack.criterion, stack.device
        self.weights = torch.zeros(stack.lanes, dtype=stack.dtype, device=stack.device)
        """Weights of the optimizer's `average`, [lanes]."""
        self.singly = False
        """Whether lanes are evaluated one after the other, as alone: the user's code cannot be
        mapped over them there, since it reads values back, say, or draws random numbers."""
        self._left: set[str] | None = None
        """The attributes in which evaluations made singly leave tensors; None before the first."""
        self._evaluators: dict[int, _Evaluator] = {}
        self._forwards: dict[tuple[object, ...], tuple[Tape, Tree]] = {}
        self._averaged: dict[int, tuple[_Evaluator, int]] = {}
        """The copies with a lane's average, and its place in them, until the lane goes on."""

    @torch.no_grad()
    def put(self, lane: int, train: Mapping[str, Any]) -> None:
        """Take from a lane's `train` the weight of its average."""
        if self.optimizer.average is not None:
            self.weights[lane].fill_(self.optimizer.average.weight(train["optimizer"]))
        self.forget()

    def forget(self) -> None:
        """Forget the computed averages, since a lane has gone on."""
        self._averaged.clear()

    def evaluate(self, lanes: Sequence[int]) -> Tensor:
        """The summed loss and the sums for the task's metrics over the validation split, float64
        [len(lanes), sums]. Waits for the device in the user's code alone. Raises NotRecordable for
        code that remembers something of a lane's evaluation, which others would read."""
        if not self.singly:
            try:
                return self._evaluate_together(lanes)
            except any_but_interrupts(is_out_of_memory) as error:
                release(error)
            self.singly = True
        if self.optimizer.average is not None and not self._averaged.keys() >= set(lanes):
            self._average(lanes)  # Before an evaluation draws: training's batches come first.
        generators = self.stack.generators
        states = [generators.read(lane) for lane in lanes]
        try:
            return torch.stack([*self._evaluate_singly(lanes)])
        except pulse.Leave:  # Who goes on evaluates all of them again, from where they stood.
            for lane, state in zip(lanes, states, strict=True):
                generators.write(lane, state)
            raise

    def _evaluate_singly(self, lanes: Sequence[int]) -> Iterator[Tensor]:
        """The sums of lanes one after the other, of code that remembers nothing in between: what an
        evaluation leaves in an attribute neither another one nor a step may read."""
        model = self.stack.skeleton.model.eval()
        left, seen = self._left, self._remember()
        for lane in lanes:
            held = tensors_of(model, left or ()).keys() & (left or set())
            with untouchable(model, held):
                found = self._evaluate_lane(lane)
            yield found
            if self._left is None or lane == lanes[-1]:  # To look takes as long as a small model.
                now = self._remember()
                changed = {name for name in {**seen, **now} if seen.get(name) != now.get(name)}
                self._refuse_memory(changed - (left or set()))
                left, seen = (left or set()) | changed, now
        self._left = left

    def _remember(self) -> dict[str, object]:
        return self.criterion.remember(self.stack.skeleton.model)

    def _refuse_memory(self, changed: set[str]) -> None:
        """Raise NotRecordable for attributes that an evaluation made singly has changed, unless
        they hold tensors that training writes before it reads them, from the first time on."""
        model = self.stack.skeleton.model
        for name in sorted(changed):
            if self._left is not None or name not in tensors_of(model, changed):
                raise NotRecordable(f"its evaluation changes {name}, which other lanes would read")
        if changed:
            rows = torch.arange(self.train["batch_size"], device=self.device)
            refuse_reading(changed, model, copy(take(self.data.train, rows)), self.criterion)

    def _evaluate_lane(self, lane: int) -> Tensor:
        """The sums of one lane, [sums], by the module itself, which has the lane's tensors and
        random numbers."""
        parameters, fixed, place = self._evaluated_at(lane)
        model = self.stack.skeleton.fill(view_lane(parameters, place), view_lane(fixed, place))
        own = {**self.stack.skeleton.parameters, **self.stack.skeleton.fixed}
        # By their contents and places: `.data` and numpy change a tensor, and no version of it.
        before = {
            name: (each._version, each.data_ptr(), each.clone()) for name, each in own.items()
        }
        generator = self.stack.generators.part(lane)
        found = validation_sums(model, self.data, self.criterion, generator)
        for name, each in own.items():
            *known, held = before[name]
            if [each._version, each.data_ptr()] != known or not _same_bytes(each, held):
                raise NotRecordable(f"its forward changes {name} in evaluation, too")
        return found

    def _evaluate_together(self, lanes: Sequence[int]) -> Tensor:
        """The sums of these lanes by one program. Raises what the user's code raises under vmap,
        and tape.NotRecordable."""
        if self.optimizer.average is not None:
            average, size = self._average(lanes)
            return self._evaluate(size, average.parameters, average.fixed)[: len(lanes)]
        size = max(2, 1 << (len(lanes) - 1).bit_length())
        if size >= self.stack.lanes:
            every = self._evaluate(self.stack.lanes, self.stack.parameters, self.stack.fixed)
            return every[numbers_on(self.device, lanes)]
        own, _ = self._choose(lanes, size)
        return self._evaluate(size, own.parameters, own.fixed)[: len(lanes)]

    def evaluated(self, lane: int) -> tuple[Tensors, Tensors]:
        """Copies of the parameters and fixed tensors that `evaluate` uses for a place, [...]
        each."""
        parameters, fixed, place = self._evaluated_at(lane)
        return copy_lane(parameters, place), copy_lane(fixed, place)

    def _evaluated_at(self, lane: int) -> tuple[Tensors, Tensors, int]:
        """Stacked parameters and fixed tensors [lanes, ...], and the place of a lane in them."""
        if self.optimizer.average is None:
            return self.stack.parameters, self.stack.fixed, lane
        if lane not in self._averaged:
            self._average([lane])
        own, place = self._averaged[lane]
        return own.parameters, own.fixed, place

    @torch.no_grad()
    def keep_evaluated(
        self, lanes: Sequence[int], kept: Sequence[tuple[Tensors, Tensors] | None]
    ) -> list[tuple[Tensors, Tensors]]:
        """`evaluated` of several places, in few operations for any number of them. A place with
        earlier copies in `kept` gets its new ones there."""
        if self.optimizer.average is not None and not self._averaged.keys() >= set(lanes):
            self._average(lanes)  # All at once: the next takes the place of those before.
        new = iter(self._make_room(sum(each is None for each in kept)))
        rooms = [next(new) if each is None else each for each in kept]
        views: dict[int, Sequence[Tensor]] = {}
        pairs: list[tuple[Tensor, Tensor]] = []
        for lane, room in zip(lanes, rooms, strict=True):
            *parts, place = self._evaluated_at(lane)
            for stacks, own in zip(parts, room, strict=True):
                for name, stack in stacks.items():
                    if id(stack) not in views:
                        views[id(stack)] = stack.unbind(0)
                    pairs.append((own[name], views[id(stack)][place]))
        copy_all(pairs)
        return rooms

    # copies of lanes

    def _make_room(self, lanes: int) -> list[tuple[Tensors, Tensors]]:
        """Memory for the parameters and fixed tensors of some lanes."""
        if not lanes:
            return []
        parts = [
            {name: each.new_empty((lanes, *each.shape[1:])).unbind(0) for name, each in of.items()}
            for of in (self.stack.parameters, self.stack.fixed)
        ]
        rooms = [
            [{n: each[lane] for n, each in of.items()} for of in parts] for lane in range(lanes)
        ]
        return [(parameters, fixed) for parameters, fixed in rooms]

    def _choose(self, lanes: Sequence[int], size: int) -> tuple[_Evaluator, Tensor]:
        """Copies of so many lanes, the last one repeated, and their numbers, int64 [size]."""
        chosen = numbers_on(self.device, [*lanes, *[lanes[-1]] * (size - len(lanes))])
        if size not in self._evaluators:
            self._evaluators[size] = _Evaluator(
                stack_like(self.stack.skeleton.parameters, size),
                stack_like(self.stack.skeleton.fixed, size),
            )
        own = self._evaluators[size]
        stack = self.stack
        for held, copies in ((stack.parameters, own.parameters), (stack.fixed, own.fixed)):
            for name, each in held.items():
                torch.index_select(each, 0, chosen, out=copies[name])
        return own, chosen

    # averages

    @torch.no_grad()
    def _average(self, lanes: Sequence[int]) -> tuple[_Evaluator, int]:
        """An evaluator at the optimizer's average of these lanes, and its size."""
        average = self.optimizer.average
        assert average is not None
        size = min(self.stack.lanes, max(2, 1 << (len(lanes) - 1).bit_length()))
        own, chosen = self._choose(lanes, size)
        weights = self.weights[chosen]
        for name, each in own.parameters.items():
            held = self.stack.slots[average.slot][name][chosen]
            each.addcmul_(held, beside(each, weights))
        self._recalibrate(own, [*lanes, *[lanes[-1]] * (size - len(lanes))], chosen)
        self._averaged = {lane: (own, place) for place, lane in enumerate(lanes)}
        return own, size

    def _recalibrate(self, own: _Evaluator, lanes: Sequence[int], chosen: Tensor) -> None:
        """Gather batch norm's statistics at an evaluator's parameters, as `averaging.recalibrate`.

        With a momentum of one a forward pass leaves the batch's own statistics in the buffers,
        whose mean over the batches is taken here.
        """
        self.stack.skeleton.model.train()
        layers = normalizing(self.stack.skeleton.model)
        if not layers:
            return
        samples = self.data.samples
        indices = recalibration_batches(samples, self.train["batch_size"], self.device)
        known = own.recalibration
        if known is None:
            known = own.recalibration = self._record_recalibration(own, layers, len(lanes))
        for place, lane in enumerate(lanes):
            known.generators.write(place, self.stack.generators.read(lane))
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
                torch.index_select(self.stack.fixed[name], 0, chosen, out=each)

    def _record_recalibration(
        self, own: _Evaluator, layers: Mapping[str, _BatchNorm], lanes: int
    ) -> _Recalibration:
        """The forward pass of so many lanes that gathers these layers' statistics."""
        prefixes = {name: f"{name}." if name else "" for name in layers}
        sums = {
            f"{prefix}{statistic}": torch.zeros_like(own.fixed[f"{prefix}{statistic}"])
            for prefix in prefixes.values()
            for statistic in ("running_mean", "running_var")
        }
        generators = Generators([torch.Generator(self.device) for _ in range(lanes)])
        noise = Noise(generators)

        def forward(samples: Tensor) -> list[Tensor]:
            batch = self.stack.spread(take(self.data.train, samples), lanes)
            with placeless(self.device):
                self.stack.map(
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
        return _Recalibration(replayable(tape, noise, self.device), generators, sums, counts)

    def _evaluate(self, lanes: int, parameters: Tensors, fixed: Tensors) -> Tensor:
        """The sums of so many lanes at stacked tensors [lanes, ...]: [lanes, sums]."""
        compute = partial(self._sum_up, lanes, parameters, fixed)
        return in_chunks(compute, self.data, self.criterion, CHUNK)

    def _sum_up(self, lanes: int, parameters: Tensors, fixed: Tensors, size: int) -> Tensor:
        outline: list[Tree] = []  # Of the outputs, which a recording gives one after the other.

        def sums(*given: Tensor) -> list[Tensor]:
            seen = Batch(*replace_leaves(tuple(form), given))
            with placeless(self.device):
                found, outputs = self._sums(lanes, parameters, fixed, seen)
            outline.append(outputs)
            return [found, *(each for _, each in leaves(outputs))]

        self.stack.skeleton.model.eval()
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
                with torch.no_grad(), _no_fastpath(), _no_nesting(self.stack.skeleton.model):
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
                torch.stack(
                    self.criterion.measure(*self.data.in_own_units(lane_of(outputs, lane), whole))
                )
                for lane in range(lanes)
            ]
        return torch.cat([total, torch.stack(values).to(total)], 1)

    def _sums(
        self, lanes: int, parameters: Tensors, fixed: Tensors, batch: Batch
    ) -> tuple[Tensor, Tree]:
        """`Criterion.sums` of each lane: [lanes, sums], and the outputs."""
        if not self.criterion.stacks:
            found: tuple[Tensor, Tree] = self.stack.map(
                lambda model, *parts: self.criterion.sums(model, Batch(*parts)),
                parameters,
                fixed,
                Noise(()),
                *self.stack.spread(batch, lanes),
            )
            return found
        outputs = self.stack.forward(
            parameters, fixed, self.stack.spread(batch.x, lanes), Noise(())
        )
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
