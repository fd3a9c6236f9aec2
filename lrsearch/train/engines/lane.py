"""A trial of the fused engine as a value: its progress, and the state it goes on with."""

from __future__ import annotations

import bisect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lrsearch.analysis.pruning import judging_step
from lrsearch.schedules import Array, Plateau
from lrsearch.states import Unusable
from lrsearch.train.engines.course import BestSoFar, Course, Data
from lrsearch.train.engines.orders import Order
from lrsearch.train.engines.saving import Saver, check_steps, put_plateau
from lrsearch.train.engines.sharing import Sharing
from lrsearch.train.engines.timetable import evaluation_steps, learning_rates, make_plateau
from lrsearch.train.lanes.state import LaneState, Tensors
from lrsearch.train.models.criterion import Criterion
from lrsearch.train.randomness import trial_seeds
from lrsearch.trial import Cohort, Outcome, Trial

SEGMENT = 512
"""Steps prepared at once, at most."""


@dataclass(eq=False)
class Lane:
    """A trial that has begun."""

    trial: Trial
    course: Course
    base: Array
    """The rates of its schedule, one a step."""
    rates: Array
    """The same rates, times the scale of a plateau."""
    stops: tuple[int, ...]
    """The steps of its evaluations, rungs and forks, ascending."""
    evaluations: frozenset[int]
    rungs: frozenset[int]
    best: BestSoFar
    state: LaneState | None
    """The state that it goes on with; None while it stands in the program, which then has it."""
    total: Tensor | None = None
    """The sum of the losses since its last evaluation; None while it stands in the program."""
    order: Order | None = None
    step: int = 0
    since: int = 0
    """The step of its last evaluation."""
    best_state: tuple[Tensors, Tensors] | None = None
    """The parameters and the fixed tensors of its best evaluation."""
    curves: list[Array] = field(default_factory=list)
    """The optimizer's values of its rates, for each of the program's groups of parameters."""
    plateau: Plateau | None = None
    saver: Saver = field(default_factory=lambda: Saver(None))
    forks: frozenset[int] = frozenset()
    """The steps at which other trials branch off."""
    passed: int = 0
    """The last rung that a verdict let it pass."""
    copied: int = 0
    """The last fork at which it was copied."""
    lost: tuple[Outcome, str] | None = None
    """Outcome and reason of one that has ended before its fork."""

    @property
    def budget(self) -> int:
        """The steps of the whole training."""
        return self.stops[-1]

    @property
    def is_due(self) -> bool:
        """Whether it is to be evaluated, is copied, or waits at a rung, before its next step."""
        evaluation = self.step in self.evaluations and self.since != self.step
        copied = self.step in self.forks and self.copied != self.step
        return evaluation or copied or (self.step in self.rungs and self.passed != self.step)

    def next_stop(self) -> int:
        """The next step at which it is evaluated or waits for a verdict."""
        return self.stops[bisect.bisect_right(self.stops, self.step)]


def begin(
    trial: Trial,
    cohort: Cohort,
    data: Data,
    criterion: Criterion,
    sharing: Sharing,
    initial: tuple[LaneState, Sequence[float]],
) -> Lane:
    """A trial before its first step: at its `initial` state, with `start.start_losses` there."""
    train, samples = trial.config["train"], data.samples
    state, (start, baseline) = initial
    evaluations = evaluation_steps(train, samples)
    rungs = frozenset(rung for rung in cohort.rungs if rung < evaluations[-1])
    forks = sharing.forks(trial.number)
    course = Course(
        "fused",
        samples=samples,
        batch=train["batch_size"],
        start=start,
        baseline=baseline,
        objective=cohort.objective.metric,
        recording=sharing.make_recording(trial.number, evaluations[-1]),
    )
    base = learning_rates(train, samples, cohort.workplace)
    course.whole = evaluations[-1]
    if trial.number in cohort.judged and criterion.stacks:
        course.judged = judging_step(evaluations, base.tolist())
    plateau = make_plateau(train, samples)
    return Lane(
        trial,
        course,
        base,
        base if plateau is None else base.copy(),
        tuple(sorted({*evaluations, *rungs, *forks})),
        frozenset(evaluations),
        rungs,
        BestSoFar(cohort.objective),
        state,
        plateau=plateau,
        forks=forks,
    )


def dump(lane: Lane, state: LaneState, total: Tensor) -> dict[str, Any]:
    """The lane as a saved state keeps it, with the given state and sum of losses."""
    return {
        **{name: getattr(state, name) for name in ("parameters", "fixed", "slots", "noise")},
        "step": lane.step,
        "since": lane.since,
        "total": total,
        "course": lane.course.take(),
        "plateau": None if lane.plateau is None else lane.plateau.take(),
        "rates": None if lane.plateau is None else lane.rates,
        "best": lane.best.value,
        "best_state": lane.best_state,
    }


def restore(lane: Lane, saved: Mapping[str, Any], device: torch.device) -> None:
    """Put a lane at the state from `dump`. Raises Unusable, or any error, for another
    training's."""
    assert lane.state is not None
    check_steps(saved, lane.budget)
    step, since = saved["step"], saved["since"]
    parts = [(lane.state.parameters, saved["parameters"]), (lane.state.fixed, saved["fixed"])]
    parts += [(each, saved["slots"][slot]) for slot, each in lane.state.slots.items()]
    if saved["best_state"] is not None:
        kept = saved["best_state"]
        parts += [(lane.state.parameters, kept[0]), (lane.state.fixed, kept[1])]
    for own, given in parts:
        shapes = [{key: (each.shape, each.dtype) for key, each in part.items()}
                  for part in (own, given)]  # fmt: skip
        if shapes[0] != shapes[1]:
            raise Unusable("its tensors are those of another model")
    lane.state = LaneState(
        saved["parameters"], saved["fixed"], saved["slots"], step, saved["noise"]
    )
    torch.Generator(device).set_state(lane.state.noise)  # Raises where it is none.
    lane.total, lane.step, lane.since = saved["total"].reshape(()), step, since
    lane.course.put(saved["course"])
    lane.course.steps = step
    if lane.plateau is not None:
        put_plateau(lane.plateau, saved["plateau"])
        lane.rates = np.asarray(saved["rates"], np.float64).reshape(lane.base.shape)
    lane.best_state = saved["best_state"]
    lane.best.put(saved["best"], state=lane.best_state is not None)


def find_order(lane: Lane, places: Sequence[Lane | None], data: Data) -> Order:
    """A lane's data order; the one of a lane with the same seed at the same step."""
    for other in places:
        same = other and (other.trial.seed, other.step) == (lane.trial.seed, lane.step)
        if other is not None and same and other.order is not None:
            return other.order
    size, seed = lane.trial.config["train"]["batch_size"], trial_seeds(lane.trial.seed).order
    return Order(data, size, seed, lane.step)


def reach(live: Sequence[Lane], timeout: float | None, pace: float) -> int:
    """Steps until the clock is looked at next: at most those that fit, at so many seconds a step,
    before the first lane's time is over."""
    if timeout is None:
        return SEGMENT
    if not pace:
        return 1
    left = min(timeout - lane.course.seconds for lane in live) * len(live)
    return max(1, min(SEGMENT, int(left / pace)))
