"""K trainings of one structure that step together: one stacked model, one recorded program."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.func import vmap

from lrsearch import pulse
from lrsearch.data.interrupts import any_but_interrupts
from lrsearch.data.trees import map_tree
from lrsearch.schedules import Array
from lrsearch.train.batches.batch import NOTHING, Batch, take
from lrsearch.train.batches.resident import Resident
from lrsearch.train.batches.streamed import Window
from lrsearch.train.batches.transforms import Parts, augment, mixed_loss
from lrsearch.train.device import is_out_of_memory, release, sum_type, to_device
from lrsearch.train.lanes.draws import Noise
from lrsearch.train.lanes.evaluation import Evaluation
from lrsearch.train.lanes.graphs import Lead, Recorded, replayable
from lrsearch.train.lanes.places import placeless
from lrsearch.train.lanes.plain import fills_what_is_shared
from lrsearch.train.lanes.rows import Joined
from lrsearch.train.lanes.rules import Rules
from lrsearch.train.lanes.stack import PARAMETERS, Stack, copy_all
from lrsearch.train.lanes.state import LaneState, Skeleton, Tensors
from lrsearch.train.models.criterion import Criterion
from lrsearch.train.models.metrics import stacked_loss
from lrsearch.train.optimizers.groups import divide_parameters, weight_decays
from lrsearch.train.optimizers.registry import STACKED
from lrsearch.train.optimizers.stacked import LANE, clip_gradients
from lrsearch.train.recording import Weights, norm_of, room_for_copies
from lrsearch.train.tape import record


def needs_of(train: Mapping[str, Any]) -> frozenset[str]:
    """The terms of a step that a resolved `train` needs. A lane's results are equal, bit by bit,
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


@dataclass(frozen=True, eq=False)
class Kept:
    """Copies of tensors beside these, the states of the lanes' generators, their steps, and whether
    they are evaluated singly."""

    tensors: Sequence[tuple[Tensor, Tensor]]
    noise: Sequence[Tensor]
    steps: Sequence[int]
    singly: bool


class Program:
    """A program of `lanes` places for trainings that differ in numbers only. From two on a lane's
    results do not depend on their number; see `graphs.fewest_lanes`.

    `train` is the resolved one of any of them, `needs` the union of `needs_of`; `criterion` is the
    loss, by default the one of `train`. An empty place is stepped along and changes nothing for the
    others.
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
        if lanes < 1:
            raise ValueError("a program has a lane at least")
        self.train, self.needs, self.data = train, needs, data
        self.optimizer = STACKED[train["optimizer"]["name"]]
        self.criterion = criterion or Criterion(train, data.task)
        ranks = {name: each.dim() for name, each in skeleton.parameters.items()}
        self.groups = divide_parameters(ranks, train, layers="layer_decay" in needs)
        order = [name for group in self.groups for name in group.names]
        self.stack = Stack(skeleton, self.criterion, self.optimizer, lanes, order)
        device = self.stack.device
        self.smoothing = torch.zeros(lanes, dtype=self.stack.dtype, device=device)
        self.limits = torch.full_like(self.smoothing, torch.inf)
        self.total = torch.zeros(lanes, dtype=sum_type(device), device=device)
        """Each lane's training losses, [lanes], summed since they were last set to zero."""
        self.evaluation = Evaluation(self.stack, data, train, self.optimizer)
        self.due: Sequence[Container[int]] = [()] * lanes
        """The steps of each lane that are recorded, the first being 1."""
        self.noted: list[tuple[int, int, Tensor]] = []
        """Place, step and `Weights.row` of the steps recorded since somebody took them."""
        self._copies: list[Tensor] = []
        """The memory of what `keep` keeps of steps."""
        self._room: bool | None = None
        self._lead = Lead(device)
        self._steps: dict[int, Recorded] = {}
        self._replayed: tuple[Recorded, Tensor, Tensor] | None = None
        """The step that was made last, if it was a replay, with its samples and scalars."""

    # lanes as values

    @torch.no_grad()
    def put(self, lane: int, state: LaneState, train: Mapping[str, Any]) -> None:
        """Put a training in this place, to go on there; `train` gives its numbers."""
        self.stack.put(lane, state)
        # Filled, not assigned, which copies a number from the host and waits.
        self.smoothing[lane].fill_(train["label_smoothing"])
        clip = train["clip_norm"]
        self.limits[lane].fill_(torch.inf if clip is None else clip)
        self.total[lane].fill_(0.0)
        self.evaluation.put(lane, train)

    def take(self, lane: int, *, copied: bool = True) -> LaneState:
        """The training in this place: a copy, or else views that the next step changes."""
        return self.stack.take(lane, copied=copied)

    # training

    def advance(self, index: Tensor, numbers: Tensor) -> None:
        """Make some steps. `index` has the samples of each, int64 [steps, batch] where all lanes
        read the same, or [steps, lanes, batch]; `numbers` come from `tabulate`, [steps, groups x
        scalars, lanes]. Waits for no step but one long before. Raises tape.NotRecordable, and
        pulse.Leave between two steps; `stack.steps` then counts those made."""
        self.evaluation.forget()
        for samples, scalars in zip(index.unbind(0), numbers.unbind(0), strict=True):
            steps = self.stack.steps
            places = [place for place, due in enumerate(self.due) if steps[place] + 1 in due]
            if places:
                self._make_recorded(samples, scalars, places)
            else:
                self._make(samples, scalars)
            for lane in range(self.stack.lanes):
                steps[lane] += 1
            self._lead.keep()
            pulse.beat()

    def _make(self, samples: Tensor, scalars: Tensor) -> list[Tensor]:
        """Make a step on samples, int64 [batch] or [lanes, batch], with scalars [groups x scalars,
        lanes], and record its operations at the first; returns the outputs of `_step`."""
        recorded = self._steps.get(samples.dim())
        self._replayed = None if recorded is None else (recorded, samples, scalars)
        if recorded is not None:
            return recorded.replay(samples, scalars)
        kept = self.keep(forward=True)
        noise = Noise(self.stack.generators)
        try:
            tape, outputs = record(self._step(noise), [samples, scalars], self._static())
        except any_but_interrupts() as error:
            if self.stack.owned or not fills_what_is_shared(error):
                raise
            release(error)
            self.stack.owned = True
            self.put_back(kept)
            return self._make(samples, scalars)
        self._steps[samples.dim()] = replayable(tape, noise, self.stack.device)
        return outputs

    @torch.no_grad()
    def keep(self, *, forward: bool = False) -> Kept:
        """Copies of what steps change, or of what a forward pass may change, the model's tensors;
        and the generators' states. Those of steps are good until the next of them: one memory
        serves all, since to ask for another each time takes as long as to copy."""
        states = [self.stack.generators.read(lane) for lane in range(self.stack.lanes)]
        singly = self.evaluation.singly
        if forward:
            model = [*self.stack.parameters.values(), *self.stack.fixed.values()]
            copies = [(each, each.clone()) for each in model]
            return Kept(copies, states, [*self.stack.steps], singly)
        held = [*self.stack.held(), self.total]
        if [each.shape for each in self._copies] != [each.shape for each in held]:
            self._copies = [torch.empty_like(each) for each in held]
        tensors = list(zip(held, self._copies, strict=True))
        copy_all((copy, each) for each, copy in tensors)
        return Kept(tensors, states, [*self.stack.steps], singly)

    @torch.no_grad()
    def put_back(self, kept: Kept) -> None:
        """Undo what was done since `keep`."""
        copy_all(kept.tensors)
        for lane, state in enumerate(kept.noise):
            self.stack.generators.write(lane, state)
        self.stack.steps[:] = kept.steps
        # What one lane raises says nothing of the others, which round otherwise one by one.
        self.evaluation.singly = kept.singly

    @torch.no_grad()
    def find_raising(self) -> list[int]:
        """The places whose lanes raise by themselves in the step that has just raised: it is made
        with each lane's tensors, batch and noise in all places. What this changes is to be put
        back. None where the step was not replayed."""
        if self._replayed is None:
            return []
        recorded, samples, scalars = self._replayed
        draws = [each.numbers for each in recorded.noise.draws]
        held = [(each, each.clone()) for each in (*self.stack.held(), self.total, *draws)]
        found = []
        for lane in range(self.stack.lanes):
            copy_all((each, copy[lane].expand_as(each)) for each, copy in held)
            rows = samples if samples.dim() == 1 else samples[lane].expand_as(samples).contiguous()
            try:
                recorded.tape.replay(rows, scalars)
            except any_but_interrupts(is_out_of_memory) as error:
                release(error)
                found.append(lane)
        return found

    def _make_recorded(self, samples: Tensor, scalars: Tensor, places: Sequence[int]) -> None:
        """Make a step that is a recorded one of the lanes in some places."""
        held = list(self.stack.parameters.values())
        if self._room is None:
            self._room = room_for_copies(held)
        # Lanes together are as few operations as one, and what a lane has is the same. A GPU waits
        # for operations, not for numbers.
        spans = _runs(places) if self.stack.device.type == "cpu" else [(0, self.stack.lanes)]
        parts = [[each[first:last] for each in held] for first, last in spans]
        before = [Weights(part, lanes=True, room=self._room) for part in parts]
        losses, *gradients = self._make(samples, scalars)
        for (first, last), part, weights in zip(spans, parts, before, strict=True):
            norms = norm_of([each[first:last] for each in gradients], lanes=True)
            rows = weights.row(losses[first:last], norms, part).unbind(0)
            self.noted += [
                (place, self.stack.steps[place] + 1, rows[place - first])
                for place in places
                if first <= place < last
            ]

    @property
    def uncaptured(self) -> str:
        """The reason why a step made so far is not one launch on a device with graphs, or ""."""
        graphs = (each.graph for each in self._steps.values())
        return next((each.reason for each in graphs if each is not None and each.reason), "")

    @property
    def low(self) -> bool:
        """Whether a step made so far rounds to 16 bits, as by autocast."""
        return any(each.tape.low for each in self._steps.values())

    def curves(self, train: Mapping[str, Any], rates: Array) -> list[Array]:
        """The optimizer's values of the rates of a whole training, [steps, ...] for each group of
        parameters; `tabulate` takes slices of them."""
        return [
            self.optimizer.curve(
                group.optimizer(train),
                rates if group.ratio(train) == 1.0 else rates * group.ratio(train),
            )
            for group in self.groups
        ]

    def tabulate(self, lanes: Sequence[tuple[Mapping[str, Any], Sequence[Array], int]]) -> Tensor:
        """The numbers for `advance`, [steps, groups x scalars, lanes], for lanes given by their
        resolved `train`, the next steps (as many of each) of their `curves`, and the steps already
        made."""
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
        return to_device(
            torch.from_numpy(np.stack(tables, -1)).to(self.stack.dtype), self.stack.device
        )

    @property
    def bytes(self) -> int:
        """Bytes of the lanes, of what is kept of them, and of all that a step allocates, not all at
        once; with a recorded step's weights before and after it, and its gradients in a row."""
        made = [each.tape.bytes + each.noise.bytes for each in self._steps.values()]
        copied = 3 * sum(each.nbytes for each in self.stack.parameters.values())
        held = sum(each.nbytes for each in self.stack.held())
        kept = held if self.stack.device.type == "cpu" else 0
        return held + kept + max(made, default=0) + copied

    def compute_gradients(
        self, index: Tensor, noise: Noise | None = None
    ) -> tuple[Tensor, Tensors]:
        """Losses [lanes] and (clipped) gradients [lanes, ...], by parameter name, of a batch:
        `index` is int64 [batch] or [lanes, batch]. Parameters that the model does not use have
        none. Updates batch norm's statistics."""
        with placeless(self.stack.device):
            return self._differentiate(index, noise)[:2]

    def _differentiate(
        self, index: Tensor, noise: Noise | None = None
    ) -> tuple[Tensor, Tensors, list[Tensor]]:
        """`compute_gradients`, and the gradients before clipping."""
        noise = noise or Noise(self.stack.generators)
        batch = take(self.data.train, index.flatten())
        if index.dim() > 1:
            shape = tuple(index.shape)
            batch = Batch(
                *(map_tree(lambda each: each.unflatten(0, shape), part) for part in batch)
            )
        given = {
            name: each.detach().requires_grad_() for name, each in self.stack.parameters.items()
        }
        self.stack.skeleton.model.train()
        with torch.enable_grad():
            losses = self._losses(given, batch, noise, shared=index.dim() == 1)
            # Their sum, whose gradients are each lane's own: to pass ones instead would import
            # sympy, half a second.
            found = torch.autograd.grad(losses.sum(), list(given.values()), allow_unused=True)
        gradients = {
            name: each for name, each in zip(given, found, strict=True) if each is not None
        }
        every = self.stack.join(self._hooked(gradients, noise))
        seen = [every.whole] if isinstance(every, Joined) else [*every.values()]
        if "clip_norm" in self.needs:
            clipped = clip_gradients(seen, self.limits)
            if isinstance(every, Joined):
                every = Joined(every.rows, *clipped)
            else:
                every = dict(zip(every, clipped, strict=True))
        return losses.detach(), every, seen

    @torch.no_grad()
    def _hooked(self, gradients: Tensors, noise: Noise) -> Tensors:
        """Gradients [lanes, ...] as the hooks leave them that are registered on parameters."""
        own: Mapping[str, Any] = self.stack.skeleton.parameters
        hooks = {name: [*(own[name]._backward_hooks or {}).values()] for name in gradients}
        given = {name: each for name, each in gradients.items() if hooks[name]}
        if not given:
            return gradients

        def change(_: object, parts: dict[str, Tensor]) -> dict[str, Tensor]:
            for name, gradient in parts.items():
                for hook in hooks[name]:
                    found = hook(gradient)
                    gradient = gradient if found is None else found
                parts[name] = gradient
            return parts

        found = self.stack.map(change, self.stack.parameters, self.stack.fixed, noise, given)
        return {**gradients, **found}

    def _losses(self, parameters: Tensors, batch: Batch, noise: Noise, *, shared: bool) -> Tensor:
        """Each lane's training loss [lanes] of its own batch [lanes, samples, ...], or of one that
        all share, [samples, ...]."""
        transforms = self.criterion.transforms
        if shared and (transforms or not self.criterion.stacks):
            batch, shared = Batch(*self.stack.spread(batch)), False
        if not self.criterion.stacks:
            out: Tensor = self.stack.map(
                lambda model, *parts: self.criterion.training_loss(model, Batch(*parts)),
                parameters,
                self.stack.fixed,
                noise,
                *batch,
            )
            return out
        # Seen by each lane, not copied: the same products either way.
        x = self.stack.spread(batch.x) if shared else batch.x
        parts: Parts = ((batch.y, batch.weight, NOTHING),)
        if transforms:
            with Rules(noise):
                x, parts = vmap(partial(augment, transforms), randomness="different")(batch)
        outputs = self.stack.forward(parameters, self.stack.fixed, x, noise)
        return mixed_loss(partial(self._stacked_loss, outputs), x, parts)

    def _stacked_loss(self, outputs: Any, batch: Batch) -> Tensor:
        """Each lane's loss [lanes] of outputs [lanes, samples, ...]."""
        return stacked_loss(
            self.criterion.name,
            self.criterion.as_classes(outputs, lanes=True),
            batch.y,
            smoothing=self.smoothing if "label_smoothing" in self.needs else None,
            weight=batch.weight if isinstance(batch.weight, Tensor) else None,
        )

    def _step(self, noise: Noise) -> Any:
        """The function of a step that is recorded: samples int64 [batch] or [lanes, batch], scalars
        [groups x scalars, lanes]; it returns the losses [lanes] and the gradients before clipping,
        [lanes, ...] each."""

        def step(samples: Tensor, scalars: Tensor) -> list[Tensor]:
            """Losses are added to `total`, [lanes]."""
            with placeless(self.stack.device):
                losses, gradients, seen = self._differentiate(samples, noise)
            self.update(gradients, scalars)
            self.total += losses
            return [losses, *seen]

        return step

    @torch.no_grad()
    def update(self, gradients: Tensors, scalars: Tensor) -> None:
        """Step the optimizer by gradients [lanes, ...], by parameter name; `scalars` is a row of
        `advance`'s numbers, [groups x scalars, lanes]."""
        gradients = self.stack.join(gradients)
        each = len(self.optimizer.scalars)
        numbers = scalars.unbind(0)
        for place, group in enumerate(self.groups):
            own = numbers[place * each : (place + 1) * each]
            if isinstance(gradients, Joined):
                part = partial(gradients.rows.part, names=group.names)
                whole = {key: [part(held)] for key, held in self.stack.whole.items()}
                parameters, found = whole.pop(PARAMETERS), [part(gradients.whole)]
                self.optimizer.update(parameters, found, whole, own, self.needs)
                continue
            names = [name for name in group.names if name in gradients]
            # State that a lane has once, or that of the parameters that have the slot.
            slots = {
                slot: [held[name] for name in (LANE, *names) if name in held]
                for slot, held in self.stack.slots.items()
            }
            with placeless(self.stack.device):
                self.optimizer.update(
                    [self.stack.parameters[name] for name in names],
                    [gradients[name] for name in names],
                    slots,
                    own,
                    self.needs,
                )

    def _static(self) -> list[Tensor]:
        """The tensors that a recording refers to: their memory must stay in place."""
        own = (self.smoothing, self.limits, self.total)
        return [*self.stack.held(), *self.data.tensors, *own]

    # evaluation

    def evaluate(self, lanes: Sequence[int]) -> Tensor:
        """The validation sums of these lanes, [len(lanes), sums], see
        `Evaluation.evaluate`."""
        return self.evaluation.evaluate(lanes)

    def raises(self, lane: int) -> bool:
        """Whether a lane's evaluation raises by itself."""
        try:
            self.evaluate([lane])
        except any_but_interrupts(is_out_of_memory) as error:
            release(error)
            return True
        return False

    def evaluated(self, lane: int) -> tuple[Tensors, Tensors]:
        """Copies of the tensors a lane is evaluated at, [...] each, see `Evaluation.evaluated`."""
        return self.evaluation.evaluated(lane)

    def keep_evaluated(
        self, lanes: Sequence[int], kept: Sequence[tuple[Tensors, Tensors] | None]
    ) -> list[tuple[Tensors, Tensors]]:
        """Copies of the tensors these lanes are evaluated at, see `Evaluation.keep_evaluated`."""
        return self.evaluation.keep_evaluated(lanes, kept)


def _runs(places: Sequence[int]) -> list[tuple[int, int]]:
    """Ascending places as the fewest spans, from the first to behind the last of each."""
    begins = [place for place in places if place - 1 not in places]
    ends = [place + 1 for place in places if place + 1 not in places]
    return list(zip(begins, ends, strict=True))
