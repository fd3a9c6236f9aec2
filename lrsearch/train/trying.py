"""Whether a structure's trials can train in lanes: found by trying, never guessed.

Two trainings take two steps side by side and alone, from the same states. What differs, what
cannot be recorded and what remembers its steps outside of tensors trains alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from lrsearch.data.interrupts import is_interrupt
from lrsearch.train.course import release
from lrsearch.train.device import is_out_of_memory
from lrsearch.train.fused import build
from lrsearch.train.lanes import LaneState, Skeleton, Tensors, initial_state
from lrsearch.train.program import CHUNK, Program, needs_of
from lrsearch.train.randomness import batches, trial_seeds
from lrsearch.train.resident import Resident
from lrsearch.train.rules import Noise
from lrsearch.train.solo import Training, precision, validation_sums, widen
from lrsearch.train.stacked_optimizers import STACKED
from lrsearch.train.tape import NotRecordable
from lrsearch.train.timetable import learning_rates
from lrsearch.trial import Trial, Workplace

STEPS = 2
"""A flag may first matter in the second step."""

TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-4}
LOW_TOLERANCE = 5e-2
"""Largest difference over a tensor's largest entry; the second in bfloat16."""

FLOOR = 1e-2
"""Gradients are compared on a scale of at least this share of the model's largest: those that
cancel, as a bias's before batch norm, are rounding alone."""


class _Differs(Exception):
    """What differs between the engines, in words for a person."""


def refuse(trials: Sequence[Trial], data: Resident, workplace: Workplace) -> str:
    """Why the trials of this structure cannot train in lanes, or "".

    A model that cannot be built raises as `build_model`.
    """
    # Other weights in the second lane, whatever its seed: what mixes lanes up must show.
    pair = [trials[0], replace(trials[1 % len(trials)], seed=trials[0].seed + 1)]
    models = [build(each, data, workplace) for each in (*pair, trials[0])]
    for name, module in models[0].named_modules():
        if _has_hooks(module):
            return f"hooks are registered on its {name or 'outermost'} module"
    try:
        _Trial(pair, models[:2], Skeleton(models[2]), data).compare()
    except (NotRecordable, _Differs) as error:
        return str(error)
    except BaseException as error:  # A user's code may raise anything.
        if is_interrupt(error) or isinstance(error, GeneratorExit):
            raise
        memory = is_out_of_memory(error)
        text = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
        release(error)
        return "two lanes run out of memory" if memory else f"it does not run under vmap ({text})"
    return ""


def _has_hooks(module: nn.Module) -> bool:
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return any(getattr(module, kind) for kind in kinds) or any(
        each._backward_hooks for each in module.parameters(recurse=False)
    )


@dataclass(frozen=True)
class _Step:
    """One training's step: its loss, gradients, and the fixed tensors after the forward pass."""

    loss: Tensor
    gradients: Tensors
    fixed: Tensors


class _Trial:
    """Two trainings, alone (a module each) and in the lanes of programs."""

    def __init__(
        self, pair: Sequence[Trial], models: Sequence[nn.Module], skeleton: Skeleton, data: Resident
    ) -> None:
        self.trains = [each.config["train"] for each in pair]
        self.data, self.skeleton, self.models = data, skeleton, models
        self.device = data.x_train.device
        self.exact = self.device.type == "cpu"
        self.needs = needs_of(self.trains[0]) | needs_of(self.trains[1])
        self.low = self.trains[0]["precision"] == "bfloat16"
        dtype = next(iter(skeleton.parameters.values())).dtype
        self.tolerance = LOW_TOLERANCE if self.low else TOLERANCE.get(dtype, LOW_TOLERANCE)
        self.optimizer = STACKED[self.trains[0]["optimizer"]["name"]]
        seeds = [trial_seeds(each.seed) for each in pair]
        self.states = [
            initial_state(
                model,
                self.optimizer.slots,
                torch.Generator(self.device).manual_seed(seed.noise).get_state(),
            )
            for model, seed in zip(models, seeds, strict=True)
        ]
        orders = [
            batches(data.samples, self.trains[0]["batch_size"], seed.order, self.device)
            for seed in seeds
        ]
        self.rows = [torch.stack([next(each) for each in orders]) for _ in range(STEPS)]

    def compare(self) -> None:
        """Raises what speaks against lanes."""
        program = Program(self.skeleton, self.trains[0], self.needs, self.data, 2)
        states, first = self.states, list(self.states)
        remembered: dict[str, object] = {}
        for step, rows in enumerate(self.rows):
            alone = [self._step_alone(lane, states[lane], rows[lane]) for lane in range(2)]
            if step:
                self._compare_memory(remembered)
            remembered = _memory(self.models[0])
            self._put(program, states, (0, 1))
            losses, gradients = program.compute_gradients(rows)
            for lane, single in enumerate(alone):
                self._compare_step(single, losses[lane], gradients, program, lane)
            numbers = self._tabulate(program, (0, 1), step)
            program.update(gradients, numbers[0])
            expected = [program.take(lane) for lane in range(2)]
            self._put(program, states, (0, 1))
            program.advance(rows.unsqueeze(0), numbers)
            states = [program.take(lane) for lane in range(2)]
            for lane in range(2):
                self._compare_states("a recorded step", expected[lane], states[lane])
            first = first if step else states
        self._compare_outputs(program, states)
        if self.exact:
            self._compare_neighbours(program, first)

    def _put(self, program: Program, states: Sequence[LaneState], lanes: Sequence[int]) -> None:
        for place, lane in enumerate(lanes):
            program.put(place, states[lane], self.trains[lane])

    def _tabulate(self, program: Program, lanes: Sequence[int], step: int) -> Tensor:
        rows = []
        for train in (self.trains[lane] for lane in lanes):
            rates = learning_rates(train, self.data.samples)
            at = min(step, len(rates) - 1)
            rows.append((train["optimizer"], rates[at : at + 1], step))
        return program.tabulate(rows)

    def _step_alone(self, lane: int, state: LaneState, row: Tensor) -> _Step:
        model = self.models[lane]
        self._load(model, state)
        model.train()
        training = Training(model, self.trains[lane])
        x, y = self.data.x_train.index_select(0, row), self.data.y_train.index_select(0, row)
        loss = training.compute_gradients(x, y)
        named = dict(model.named_parameters())
        gradients = {name: each.grad for name, each in named.items() if each.grad is not None}
        for each in named.values():
            each.grad = None
        fixed = {name: each.detach().clone() for name, each in Skeleton(model).fixed.items()}
        return _Step(loss, gradients, fixed)

    def _load(self, model: nn.Module, state: LaneState) -> None:
        Skeleton(model).load(state)
        if self.device.type == "cuda":
            torch.cuda.set_rng_state(state.noise, self.device)
        else:
            torch.set_rng_state(state.noise)

    # comparing

    def _compare_step(
        self, alone: _Step, loss: Tensor, gradients: Tensors, program: Program, lane: int
    ) -> None:
        self._agree("the loss", alone.loss, loss)
        if alone.gradients.keys() != gradients.keys():
            names = sorted(alone.gradients.keys() ^ gradients.keys())
            raise _Differs(f"in lanes other parameters get gradients: {', '.join(names[:3])}")
        # Sparse ones cannot be stacked, and would have been refused by name when recorded.
        dense = {name: each.to_dense() for name, each in alone.gradients.items()}
        largest = max((float(each.abs().max()) for each in dense.values()), default=0.0)
        for name, each in dense.items():
            self._agree(f"the gradient of {name}", each, gradients[name][lane], FLOOR * largest)
        if alone.fixed.keys() != program.fixed.keys():
            raise _Differs("its forward adds or removes buffers")
        for name, each in alone.fixed.items():
            self._agree(f"the buffer {name}", each, program.fixed[name][lane])

    def _compare_states(self, what: str, expected: LaneState, found: LaneState) -> None:
        parts = [(expected.parameters, found.parameters), (expected.fixed, found.fixed)]
        parts += [(each, found.slots[slot]) for slot, each in expected.slots.items()]
        for left, right in parts:
            for name, each in left.items():
                if not self.exact:
                    self._agree(f"{name} after {what}", each, right[name])
                elif not _equal(each, right[name]):
                    raise _Differs(f"{what} gives another {name}")

    def _compare_memory(self, before: Mapping[str, object]) -> None:
        after = _memory(self.models[0])
        changed = [name for name in {**before, **after} if before.get(name) != after.get(name)]
        if changed:
            raise _Differs(f"its forward changes {changed[0]}, which is no tensor changed in place")

    def _compare_outputs(self, program: Program, states: Sequence[LaneState]) -> None:
        """Of evaluations: outputs of a chunk, and the summed loss over the validation split."""
        self._put(program, states, (0, 1))
        recorded, replayed = program.evaluate([0, 1]), program.evaluate([0, 1])
        x = self.data.x_validation[:CHUNK]
        self.skeleton.model.eval()
        with torch.no_grad():
            seen = x.expand(2, *x.shape)
            outputs = program.forward(program.parameters, program.fixed, seen, Noise(()))
        for lane, state in enumerate(states):
            self._load(self.models[lane], state)
            sums = validation_sums(self.models[lane], self.data, self.trains[lane])
            with torch.no_grad(), precision(self.device, self.low):
                alone = widen(self.models[lane](x))
            self._agree("an evaluation's output", alone, widen(outputs[lane]))
            self._agree("the validation loss", sums[0], recorded[lane][0])
            self._agree("the replayed validation loss", recorded[lane][0], replayed[lane][0])

    def _compare_neighbours(self, program: Program, expected: Sequence[LaneState]) -> None:
        """A lane must come out the same, bit by bit, whoever trains beside it."""
        lanes, rows = (1, 0, 0), self.rows[0]
        three = Program(self.skeleton, self.trains[0], self.needs, self.data, 3)
        self._put(three, self.states, lanes)
        three.advance(rows[list(lanes)].unsqueeze(0), self._tabulate(three, lanes, 0))
        for place, lane in enumerate(lanes):
            self._compare_states("a step beside others", expected[lane], three.take(place))
        numbers = self._tabulate(program, (0, 0), 0)
        self._put(program, self.states, (0, 0))
        program.advance(rows[:1], numbers)
        self._compare_states("a step on a shared batch", expected[0], program.take(0))

    def _agree(self, what: str, alone: Tensor, fused: Tensor, floor: float = 0.0) -> None:
        left, right = alone.double(), fused.double()
        if left.shape != right.shape:
            raise _Differs(f"in lanes {what} has another shape")
        if not left.numel():
            return
        scale = max(float(left.abs().nan_to_num(0.0, 0.0, 0.0).max()), floor)
        both = torch.isfinite(left) & torch.isfinite(right)
        same = both | (left == right) | (left.isnan() & right.isnan())
        worst = float((left - right)[both].abs().max()) if bool(both.any()) else 0.0
        if not bool(same.all()) or worst > self.tolerance * scale:
            share = worst / scale if scale else math.inf
            raise _Differs(f"in lanes {what} differs, by {share:.1g} of its largest entry")


def _equal(left: Tensor, right: Tensor) -> bool:
    return torch.allclose(left, right, rtol=0.0, atol=0.0, equal_nan=left.is_floating_point())


def _memory(model: nn.Module) -> dict[str, object]:
    """What a module holds beside the contents of its tensors, by attribute: identities, the
    values of plain things, and how often a tensor that is no parameter or buffer was changed."""
    found: dict[str, object] = {}
    for prefix, module in model.named_modules():
        for name, value in vars(module).items():
            path = f"{prefix}.{name}" if prefix else name
            if name in ("_parameters", "_buffers", "_modules"):
                found |= {f"{prefix}.{key}".strip("."): id(each) for key, each in value.items()}
            else:
                found[path] = _fingerprint(value)
    return found


def _fingerprint(value: Any) -> object:
    if isinstance(value, bool | int | float | str | None | complex):
        return value
    if isinstance(value, Tensor):
        return id(value), value._version
    if isinstance(value, Mapping):
        return id(value), tuple((id(key), id(each)) for key, each in value.items())
    if isinstance(value, Sequence | set | frozenset):
        return id(value), tuple(id(each) for each in value)
    return id(value)
