"""Comparison of lanes with training alone: whether a structure's trials can train in lanes is
tried, never guessed.

Two trainings take two steps side by side and alone, from the same states. A structure whose results
differ, whose step cannot be recorded, or which remembers its steps outside of tensors trains alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import vmap

from lrsearch import pulse
from lrsearch.data.interrupts import any_but_interrupts
from lrsearch.data.trees import Tree, leaves, map_tree
from lrsearch.train.batches.batch import Batch, copy, take
from lrsearch.train.batches.resident import Resident
from lrsearch.train.device import is_out_of_memory, release
from lrsearch.train.engines.course import state_of
from lrsearch.train.engines.obstacles import (
    explain,
    find_place,
    refuse_optimizer,
    tell_checks,
)
from lrsearch.train.engines.sizes import (
    are_equal,
    as_numbers,
    can_subtract,
    find_deviations,
    find_largest,
    find_sizes,
    where_wide,
)
from lrsearch.train.engines.solo import calibrate
from lrsearch.train.engines.start import build
from lrsearch.train.engines.timetable import by_rate, learning_rates
from lrsearch.train.engines.training import Training
from lrsearch.train.lanes.draws import Noise
from lrsearch.train.lanes.program import Program, needs_of
from lrsearch.train.lanes.rules import Rules
from lrsearch.train.lanes.state import LaneState, Skeleton, Tensors, initial_state
from lrsearch.train.lanes.untouchable import untouchable
from lrsearch.train.models.attributes import count_places, find_hooks, find_own, tensors_of
from lrsearch.train.models.criterion import Criterion, make_criterion
from lrsearch.train.models.validation import LEAST_CHUNK, validation_sums
from lrsearch.train.optimizers.registry import STACKED
from lrsearch.train.randomness import batches, get_noise, get_seed, set_noise, trial_seeds
from lrsearch.train.tape import NotRecordable, record
from lrsearch.trial import Trial, Workplace

STEPS = 2
"""Steps that are compared: a flag may first matter in the second step."""

GRAPH_STEPS = 3
"""Steps compared on a device with graphs: the third is the first that a CUDA graph replays, see
`graphs.Graph`."""

TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-4}
ROUNDING = 5e-2
"""The largest difference in float32 that is taken for rounding, where float64 shows none."""

LOW_TOLERANCE = 0.25
"""The same in bfloat16, where small layers' gradients differ by a tenth from rounding alone."""

FLOOR = 1e-1
"""The least scale on which gradients are compared, as a share of the model's largest: gradients
that cancel, as a bias's before batch norm, are rounding alone."""


# the comparison as a whole


class _Differs(Exception):
    """Raised for a difference between the engines, in words for the user."""


class _Rounds(_Differs):
    """Raised for a number that differs by more than the tolerance, both values being finite."""


def refuse(trials: Sequence[Trial], data: Resident, workplace: Workplace) -> str:
    """The reason why the trials of this structure cannot train in lanes, or "".

    A model that cannot be built raises as `build_model`.
    """
    train = trials[0].config["train"]
    optimizer = train["optimizer"]
    if optimizer.get("name") not in STACKED:
        return refuse_optimizer(optimizer)
    if data.epoch is not None and STACKED[optimizer["name"]].average is not None:
        return (
            f"{optimizer['name']} is evaluated at other weights than it trains, and what these "
            "need of the data is not at hand where batches are loaded one by one"
        )
    own = train["precision"]
    for each in dict.fromkeys(("float32", own)):
        if reason := _refuse([_with_precision(trial, each) for trial in trials], data, workplace):
            return reason
    return ""


def _with_precision(trial: Trial, kind: str) -> Trial:
    train = {**trial.config["train"], "precision": kind}
    return replace(trial, config={**trial.config, "train": train})


def _refuse(trials: Sequence[Trial], data: Resident, workplace: Workplace) -> str:
    reason, rounding = _compare(trials, data, workplace)
    if not rounding or trials[0].config["train"]["precision"] != "float32":
        return reason
    # In float32 solo may be the one that is off: sums over an image's pixels before batch norm, or
    # a relu whose input is zero but for rounding. In float64 what differs is another function, but
    # for what the model rounds itself, as by float() behind an autocast of its own.
    if _compare(trials, _double(data), workplace, torch.float64, TOLERANCE[torch.float32])[0]:
        return reason
    return _compare(trials, data, workplace, tolerance=ROUNDING)[0]


def _double(data: Resident) -> Resident:
    """The same splits in float64."""

    def widen(each: Any) -> Any:
        if not isinstance(each, Tensor):
            return each
        each = where_wide(each)
        return each.double() if each.is_floating_point() else each

    trees = ("x_train", "y_train", "w_train", "x_validation", "y_validation", "w_validation")
    return replace(data, **{name: map_tree(widen, getattr(data, name)) for name in trees})


def _compare(
    trials: Sequence[Trial],
    data: Resident,
    workplace: Workplace,
    dtype: torch.dtype | None = None,
    tolerance: float | None = None,
) -> tuple[str, bool]:
    """The reason against lanes, or "", and whether rounding alone may cause it. `dtype` is the type
    for the models, where it is not their own."""
    first, *others = by_rate(trials)
    # Other weights in the second lane, whatever its seed: what mixes lanes up must show.
    pair = [first, replace((others or [first])[0], seed=first.seed + 1)]
    models = [build(each, data, workplace) for each in (*pair, trials[0])]
    models = [each if dtype is None else each.to(dtype) for each in models]
    try:
        _check(models[0])
        trial = _Comparison(pair, models[:2], Skeleton(models[2]), data, workplace)
        trial.tolerance = tolerance or trial.tolerance
        trial.compare()
    except _Differs as error:
        # A model's own float64 rounds far less: what differs there is another function.
        rounds = isinstance(error, _Rounds) and trial.tolerance != TOLERANCE[torch.float64]
        return str(error), rounds
    except NotRecordable as error:
        return f"{tell_checks(error) or error}{find_place(error, models)}", False
    except any_but_interrupts(GeneratorExit) as error:
        if is_out_of_memory(error):
            reason = "two lanes run out of memory"
        else:
            reason = f"{tell_checks(error) or explain(error)}{find_place(error, models)}"
        release(error)
        return reason, False
    return "", False


def _check(model: nn.Module) -> None:
    """Raises the reasons against lanes that can be seen without a trial step."""
    for name, module in model.named_modules():
        if hooks := find_hooks(module, name):
            raise _Differs(hooks)
    skeleton = Skeleton(model)
    types = {str(each.dtype).removeprefix("torch.") for each in skeleton.parameters.values()}
    if not types:
        raise _Differs("it has no parameters to train")
    if types not in ({"float32"}, {"float64"}):
        told = " and ".join(sorted(types))
        real = "; torch.view_as_complex makes complex numbers of real ones" * ("complex" in told)
        raise _Differs(f"its parameters are not all float32, but {told}{real}")
    for name, each in skeleton.fixed.items():
        if each.layout is not torch.strided:
            raise _Differs(f"its buffer {name} is sparse; made dense, by to_dense(), it has lanes")
    known = skeleton.state_dict(skeleton.parameters, skeleton.fixed)
    if extra := sorted(state_of(model).keys() ^ known.keys()):
        raise _Differs(f"its state dict has {extra[0]}, which is no parameter and no buffer")


# steps side by side


@dataclass(frozen=True)
class _Step:
    """One training's step up to the update: its loss, gradients, parameters and fixed tensors."""

    loss: Tensor
    gradients: Tensors
    parameters: Tensors
    fixed: Tensors


class _Comparison:
    """Two trainings, alone (a module each) and in the lanes of programs."""

    def __init__(
        self,
        pair: Sequence[Trial],
        models: Sequence[nn.Module],
        skeleton: Skeleton,
        data: Resident,
        workplace: Workplace,
    ) -> None:
        self.workplace = workplace
        self.trains = [each.config["train"] for each in pair]
        self.data, self.skeleton, self.models = data, skeleton, models
        self.device = data.device
        self.criterion, *self.criteria = (
            make_criterion(each.config, data.task, data.outputs, workplace, self.device)
            for each in (pair[0], *pair)
        )
        self.exact = self.device.type == "cpu"
        self.needs = needs_of(self.trains[0]) | needs_of(self.trains[1])
        self.low = self.trains[0]["precision"] == "bfloat16"
        dtype = next(iter(skeleton.parameters.values())).dtype
        self.tolerance = LOW_TOLERANCE if self.low else TOLERANCE[dtype]
        self.optimizer = STACKED[self.trains[0]["optimizer"]["name"]]
        steps = GRAPH_STEPS if self.device.type == "cuda" else STEPS
        seeds = [trial_seeds(each.seed) for each in pair]
        self.states = [
            initial_state(
                model,
                self.optimizer,
                torch.Generator(self.device).manual_seed(seed.noise).get_state(),
            )
            for model, seed in zip(models, seeds, strict=True)
        ]
        orders = [
            batches(data.samples, self.trains[0]["batch_size"], seed.order, self.device)
            for seed in seeds
        ]
        self.rows = [torch.stack([next(each) for each in orders]) for _ in range(steps)]
        self.written: set[str] = set()  # Attributes that each step writes before it reads them.

    def compare(self) -> None:
        """Raises the reasons against lanes. Operations come in the order of a real training."""
        self._try_transforms()
        program = self._program(2)
        if self.optimizer.lane_slots and len(program.groups) > 1:
            raise _Differs(
                "its optimizer estimates one number from all parameters, which groups part"
            )
        states, first = self.states, list(self.states)
        for model, state in zip(
            (*self.models, self.skeleton.model), (*states, states[0]), strict=True
        ):
            self._evaluate(model, state, take(self.data.train, self.rows[0][0]))
        remembered: dict[str, object] = {}
        for step, rows in enumerate(self.rows):
            pulse.beat()
            self.criteria[0].follow(self.models[0].train())
            seen = self._remember()
            alone = [self._step_alone(lane, states[lane], rows[lane]) for lane in range(2)]
            now = self._remember()
            if step:
                now = self._find_written(remembered, now, alone[0], states[0], rows[0])
                self._compare_memory(remembered, now)
            remembered = now
            numbers = self._tabulate(program, (0, 1), step)
            self._put(program, states, (0, 1))
            program.advance(rows.unsqueeze(0), numbers)
            if program.low and self.tolerance == ROUNDING:
                self.tolerance = LOW_TOLERANCE
            found = [program.take(lane) for lane in range(2)]
            self._put(program, states, (0, 1))
            losses, gradients = program.compute_gradients(rows)
            try:
                for lane, single in enumerate(alone):
                    self._compare_step(single, losses[lane], gradients, program, lane)
                program.update(gradients, numbers[0])
                states = found
                for lane in range(2):
                    self._compare_states("a recorded step", program.take(lane), states[lane])
            except _Differs as error:  # What it remembers explains more than by how much.
                changed = self._find_change(seen, remembered) or self._find_evaluated(rows[0])
                if changed:
                    raise type(error)(changed) from None
                own = find_own(*self.models)
                raise type(error)("; ".join(filter(None, (str(error), own)))) from None
            first = first if step else states
        self._compare_outputs(program, states)
        if self.exact:
            self._compare_neighbours(program, first)

    def _try_transforms(self) -> None:
        """Raises the reasons against a transform of the user's, by its name, so that it is not
        looked for in the model."""
        if not self.criterion.transforms:
            return
        rows = self.rows[0]
        x: Tensor = take(self.data.train, rows.flatten()).x
        x = x.reshape(*rows.shape, *x.shape[1:])
        for each in self.criterion.transforms:
            if each.code is None:
                continue
            noise = Noise([torch.Generator(self.device) for _ in rows])
            change = vmap(each.function, randomness="different")
            remembered = self._remember(self.criterion)
            try:
                with torch.no_grad(), Rules(noise):
                    record(lambda x, change=change: [change(x)], [x], [])
            except any_but_interrupts(is_out_of_memory) as error:
                known = isinstance(error, NotRecordable)
                reason = str(error) if known else explain(error)
                release(error)
                raise _Differs(f"the transform {each.name}: {reason}") from None
            self._compare_memory(remembered, self._remember(self.criterion))

    def _program(self, lanes: int) -> Program:
        return Program(self.skeleton, self.trains[0], self.needs, self.data, lanes, self.criterion)

    def _put(self, program: Program, states: Sequence[LaneState], lanes: Sequence[int]) -> None:
        for place, lane in enumerate(lanes):
            program.put(place, states[lane], self.trains[lane])

    def _tabulate(self, program: Program, lanes: Sequence[int], step: int) -> Tensor:
        rows = []
        for train in (self.trains[lane] for lane in lanes):
            # A training may end sooner than the trying.
            rates = learning_rates(train, self.data.epoch_samples, self.workplace)
            curves = program.curves(train, np.pad(rates, (0, GRAPH_STEPS), mode="edge"))
            rows.append((train, [each[step : step + 1] for each in curves], step))
        return program.tabulate(rows)

    def _step_alone(self, lane: int, state: LaneState, row: Tensor) -> _Step:
        model = self.models[lane]
        self._load(model, state)
        model.train()
        training = Training(model, self.trains[lane], self.workplace, self.criteria[lane])
        places = count_places(model)
        seeded = get_seed(self.device)
        loss = training.compute_gradients(take(self.data.train, row))
        if get_seed(self.device) != seeded:
            raise _Differs("it seeds torch's random numbers, as by torch.manual_seed")
        for name, each in model.named_buffers():
            if each.grad_fn is not None:
                raise _Differs(f"its forward leaves a graph in the buffer {name}, without detach()")
        named = dict(model.named_parameters())
        if count_places(model) < places:
            raise _Differs("its forward makes tensors of its own share their memory, as by .data")
        gradients = {name: each.grad for name, each in named.items() if each.grad is not None}
        for each in named.values():
            each.grad = None
        now = Skeleton(model)
        parameters = {name: each.detach().clone() for name, each in now.parameters.items()}
        fixed = {name: each.detach().clone() for name, each in now.fixed.items()}
        return _Step(loss, gradients, parameters, fixed)

    @torch.no_grad()
    def _evaluate(self, model: nn.Module, state: LaneState, batch: Batch) -> Tree:
        """A module's outputs, or the values that a step measures with it; raises where that changes
        the module's tensors."""
        self._load(model, state)
        model.eval()
        out = self.criteria[0].evaluate_outputs(model, batch)
        before, now = {**state.parameters, **state.fixed}, Skeleton(model)
        for name, each in {**now.parameters, **now.fixed}.items():
            if name not in before or not are_equal(each, before[name]):
                raise _Differs(f"its forward changes {name} in evaluation, too")
        return out

    def _load(self, model: nn.Module, state: LaneState) -> None:
        Skeleton(model).load(state)
        set_noise(state.noise, self.device)

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
        floor = FLOOR * find_largest(dense)
        pairs = [
            (f"the gradient of {name}", each, gradients[name][lane], floor)
            for name, each in dense.items()
        ]
        if alone.fixed.keys() == program.stack.fixed.keys():
            deviations = find_deviations(alone.fixed)
            pairs += [
                (f"the buffer {name}", each, program.stack.fixed[name][lane], least)
                for name, each in alone.fixed.items()
                for least in [FLOOR * deviations.get(name, 0.0)]
            ]
            pairs += [  # A forward may change these, too.
                (f"the parameter {name}", each, program.stack.parameters[name][lane], 0.0)
                for name, each in alone.parameters.items()
            ]
        self._agree_all(pairs)
        if alone.fixed.keys() != program.stack.fixed.keys():
            raise _Differs("its forward adds or removes buffers")

    def _compare_states(self, what: str, expected: LaneState, found: LaneState) -> None:
        parts = [(expected.parameters, found.parameters, 0.0), (expected.fixed, found.fixed, 0.0)]
        for slot, held in expected.slots.items():
            # Where gradients cancel their slots, like themselves, hold rounding alone.
            floor = 0.0 if self.exact else FLOOR * find_largest(held)
            parts.append((held, found.slots[slot], floor))
        pairs = [
            (name, each, right[name], floor)
            for left, right, floor in parts
            for name, each in left.items()
        ]
        if not self.exact:
            self._agree_all(
                [(f"{name} after {what}", own, other, floor) for name, own, other, floor in pairs]
            )
            return
        for name, own, other, _ in pairs:
            if not are_equal(own, other):
                raise _Differs(f"{what} differs in {name}")

    def _remember(self, criterion: Criterion | None = None) -> dict[str, object]:
        """Content of what the user's code remembers; buffers are compared by value instead."""
        known = (criterion or self.criteria[0]).remember(self.models[0])
        return {name: each for name, each in known.items() if name not in self.skeleton.fixed}

    def _compare_memory(self, before: Mapping[str, object], after: Mapping[str, object]) -> None:
        if changed := self._find_change(before, after):
            raise _Differs(changed)

    def _find_change(self, before: Mapping[str, object], after: Mapping[str, object]) -> str:
        """The reason against lanes that a memory of the user's code is, where it has changed."""
        for name in {**before, **after}:
            if name not in self.written and before.get(name) != after.get(name):
                other = "; draw by torch.rand instead" if name.startswith("the state of ") else ""
                return f"its forward changes {name}, which no recording repeats{other}"
        return ""

    def _find_evaluated(self, row: Tensor) -> str:
        """The reason against lanes that a memory of evaluations is, as `_find_change`; "" where
        they raise, which explains no difference."""
        seen = []
        try:
            for state in self.states:
                self._evaluate(self.models[0], state, take(self.data.train, row))
                seen.append(self._remember())
        except any_but_interrupts(is_out_of_memory, _Differs) as error:
            release(error)
            return ""
        return self._find_change(*seen)

    def _find_written(
        self,
        before: Mapping[str, object],
        now: dict[str, object],
        alone: _Step,
        state: LaneState,
        row: Tensor,
    ) -> dict[str, object]:
        """Find the tensors that the first lane's step leaves in attributes, for its loss or for
        nobody, and that it does not read before: a recording makes them anew as it does. Returns
        what is remembered after that."""
        changed = {name for name in before if now.get(name) != before[name]}
        changed &= tensors_of(self.models[0], changed).keys()
        if not changed:
            return now
        try:
            with untouchable(self.models[0], changed) as left:
                again = self._step_alone(0, state, row)
            self._agree("the loss", alone.loss, again.loss)
            for name, each in alone.gradients.items():
                self._agree(f"the gradient of {name}", each, again.gradients[name])
            self.written |= changed.difference(left)
        except any_but_interrupts(is_out_of_memory) as error:
            release(error)
        return self._remember()

    def _compare_outputs(self, program: Program, states: Sequence[LaneState]) -> None:
        """Compare evaluations: outputs of some samples, and the summed loss over the validation
        split."""
        self._put(program, states, (0, 1))
        recorded = program.evaluate([0, 1])
        after = [program.take(lane).noise for lane in range(2)]
        self._put(program, states, (0, 1))  # It may have drawn random numbers.
        replayed = program.evaluate([0, 1])
        places = [program.evaluated(lane) for lane in range(2)]
        parameters, fixed = (
            {name: torch.stack([each[name] for each in pair]) for name in pair[0]}
            for pair in zip(*places, strict=True)
        )
        batch = copy(next(self.data.validation_batches(self.data.chunk(LEAST_CHUNK))))
        self.skeleton.model.eval()
        with torch.no_grad():
            outputs = (
                None
                if program.evaluation.singly
                else program.stack.evaluate_outputs(parameters, fixed, batch)
            )
        for lane, state in enumerate(states):
            evaluated = self._evaluated_alone(lane, state, *places[lane])
            alone = self._evaluate(self.models[lane], evaluated, batch)
            if outputs is not None:
                tensors = [each for each in leaves(alone) if isinstance(each[1], Tensor)]
                for (name, left), right in zip(tensors, outputs, strict=True):
                    what = f"an evaluation's output {name}".rstrip()
                    self._agree(what, left, right[lane])
            remembered = self._remember()
            set_noise(state.noise, self.device)
            with untouchable(self.models[lane], self.written):
                sums = validation_sums(self.models[lane], self.data, self.criteria[lane])
            self._compare_memory(remembered, self._remember())
            if not torch.equal(get_noise(self.device), after[lane]):
                raise _Differs("in lanes an evaluation draws other random numbers")
            self._agree("the validation loss", sums[0], recorded[lane][0])
            if not self.criterion.stacks or self.criterion.measures:
                self._agree("a metric", sums[1:], recorded[lane][1:])
            self._agree("the replayed validation loss", recorded[lane][0], replayed[lane][0])
            self._compare_states("an evaluation", state, program.take(lane))

    def _evaluated_alone(
        self, lane: int, state: LaneState, parameters: Tensors, fixed: Tensors
    ) -> LaneState:
        """The state at which a lane's evaluation takes place; its batch norm is calibrated
        alone."""
        if self.optimizer.average is None:
            return state
        model = self.models[lane]
        self._load(model, replace(state, parameters=parameters))
        calibrate(model, self.data, self.trains[lane], self.criteria[lane])
        own = {name: each.detach().clone() for name, each in Skeleton(model).fixed.items()}
        for name, each in own.items():
            self._agree(f"the buffer {name}, calibrated", each, fixed[name])
        return replace(state, parameters=parameters, fixed=own)

    def _compare_neighbours(self, program: Program, expected: Sequence[LaneState]) -> None:
        """Compare a lane's results beside different neighbours: they must be equal, bit by bit."""
        lanes, rows = (1, 0, 0), self.rows[0]
        three = self._program(3)
        self._put(three, self.states, lanes)
        three.advance(rows[list(lanes)].unsqueeze(0), self._tabulate(three, lanes, 0))
        for place, lane in enumerate(lanes):
            self._compare_states("a step beside other lanes", expected[lane], three.take(place))
        numbers = self._tabulate(program, (0, 0), 0)
        self._put(program, self.states, (0, 0))
        program.advance(rows[:1], numbers)
        self._compare_states("a step on a shared batch", expected[0], program.take(0))

    def _agree_all(self, pairs: Sequence[tuple[str, Tensor, Tensor, float]]) -> None:
        """`_agree` of each; what holds only finite numbers is looked at all at once, by one wait
        for the device."""
        plain = [
            (place, left, right, floor)
            for place, (_, left, right, floor) in enumerate(pairs)
            if can_subtract(left, right)
        ]
        left = [each for _, each, _, _ in plain]
        off = torch._foreach_sub(left, [each for _, _, each, _ in plain]) if plain else ()
        sizes = find_sizes([*off, *left])
        sound = {
            place
            for (place, _, _, floor), worst, scale in zip(
                plain, sizes[: len(plain)], sizes[len(plain) :], strict=True
            )
            if worst <= self.tolerance * max(scale, floor) < math.inf
        }
        for place, pair in enumerate(pairs):
            if place not in sound:
                self._agree(*pair)

    def _agree(self, what: str, alone: Tensor, fused: Tensor, floor: float = 0.0) -> None:
        left, right = as_numbers(alone), as_numbers(fused)
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
            kind = _Rounds if bool(same.all()) else _Differs
            raise kind(f"in lanes {what} differs, by {share:.1g} of its largest entry")
