"""The range test: short trainings whose rate rises, one a seed, side by side where they can be."""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lrsearch import divergence, pulse
from lrsearch.data.interrupts import any_but_interrupts
from lrsearch.errors import DataError
from lrsearch.train.batches.resident import Resident
from lrsearch.train.batches.streamed import Streamed, Window
from lrsearch.train.device import (
    check_alive,
    find_device,
    free_memory,
    is_out_of_memory,
    release,
    sum_type,
)
from lrsearch.train.engines.comparison import refuse
from lrsearch.train.engines.course import Data, check_sources, open_data
from lrsearch.train.engines.losing import find_loss, tell_error
from lrsearch.train.engines.orders import Order, advance
from lrsearch.train.engines.start import build
from lrsearch.train.engines.training import Training
from lrsearch.train.lanes.program import Program, needs_of
from lrsearch.train.lanes.state import Skeleton, initial_state
from lrsearch.train.models.criterion import Criterion, make_criterion
from lrsearch.train.optimizers.registry import STACKED
from lrsearch.train.randomness import seed_everything, trial_seeds
from lrsearch.train.tape import NotRecordable
from lrsearch.train.users import anew
from lrsearch.train.users.isolation import isolated
from lrsearch.trial import Sweep, Swept, Trial

LOOK = 8
"""Rates between two looks at the losses: each waits for the device, and what is lost ends there."""

LOST = 4
"""Rates in a row whose losses are far above the start, with which a sweep ends: the early rise of
a model that recovers is shorter."""

ASKED = "--engine solo asks for it"
ONE = "of one lane there is nothing to train side by side"


def sweep(payload: Sweep) -> Generator[Swept, Any, None]:
    """Yields the losses at the sweep's rates, once. Raises as `cohort.run_cohort`; what the
    training itself raises is the answer's `fault`."""
    device = find_device(payload.workplace.device)
    yield from isolated(_sweep(payload, device), device, payload.workplace)


def _sweep(payload: Sweep, device: torch.device) -> Generator[Swept, Any, None]:
    for trial in payload.trials:
        check_sources(payload, trial.config)
    pulse.enter("loading the data")
    data = open_data(payload, payload.trials[0], device)
    clock = pulse.clock()
    losses: list[list[float]] = []
    fault = raised = ""
    reason = _refuse_lanes(payload, data)
    lanes = min(payload.lanes or len(payload.trials), len(payload.trials))
    while not reason and not losses:
        pulse.enter(pulse.TRAINING)
        try:
            losses = _train_lanes(payload, data, lanes)
        except any_but_interrupts(DataError) as error:
            # As `fused.run`: of two lanes one is left, which is to train alone.
            lanes = (lanes + 1) // 2 if is_out_of_memory(error) else 1
            reason = "" if lanes > 1 else f"the fused program raised {tell_error(error)}"
            release(error)
            check_alive(device)
            free_memory(device)
    if reason:
        pulse.enter(pulse.TRAINING)
        try:
            for place, trial in enumerate(payload.trials):
                before = place * len(payload.rates) * payload.steps
                curve = _train_alone(payload, trial, data, before)
                losses.append(curve.losses)
                raised = raised or curve.raised
        except any_but_interrupts(DataError) as error:
            losses, fault = [], f"the training raised {tell_error(error)}"
            release(error)
    tried = max(map(len, losses), default=0)
    made = payload.steps * sum(map(len, losses))
    samples, batch = data.measure_epoch(payload.trials[0].config["train"]["batch_size"])
    yield Swept(
        payload.rates[:tried],
        tuple((*each, *[math.inf] * (tried - len(each))) for each in losses),
        "solo" if reason else "fused",
        reason,
        made,
        float(made * batch / samples),
        pulse.clock() - clock,
        fault,
        raised,
    )
    check_alive(device)


def _refuse_lanes(payload: Sweep, data: Data) -> str:
    """The reason why the sweep trains one seed after the other, or ""."""
    if payload.engine == "solo":
        return ASKED
    if payload.lanes == 1:
        return "--lanes 1 asks for it"
    if len(payload.trials) < 2:
        return ONE
    pulse.enter(pulse.TRYING)
    try:
        if isinstance(data, Streamed):
            size = payload.trials[0].config["train"]["batch_size"]
            data = Resident(**data.sample(size))
        return refuse(payload.trials, data, payload.workplace)
    except NotRecordable as error:
        return str(error)
    except any_but_interrupts() as error:  # A model that cannot be built tells when it trains.
        reason = f"trying it in lanes raised {tell_error(error)}"
        release(error)
        return reason


@dataclass
class _Curve:
    """A seed's losses so far, and whether it is lost. `factor` as in `divergence`. `raised` tells
    what its code raised when it was lost, "" where it raised nothing."""

    factor: float
    losses: list[float] = field(default_factory=list)
    lost: bool = False
    raised: str = ""

    @property
    def ceiling(self) -> float:
        """The largest loss that is not far above the loss's scale."""
        return self.factor * divergence.find_scale(self.losses[0], 0.0, min(self.losses))

    def take(self, losses: Sequence[float]) -> None:
        """Take the losses of the next rates; what comes once the seed is lost plays no part."""
        for loss in losses:
            if self.lost:
                return
            self.losses.append(loss)
            recent = self.losses[-LOST:]
            far = len(recent) == LOST and min(recent) > self.ceiling
            self.lost = far or not math.isfinite(loss)


def _make_curve(criterion: Criterion) -> _Curve:
    return _Curve(divergence.FACTOR if criterion.stacks else divergence.UNKNOWN_FACTOR)


def _portions(payload: Sweep) -> Iterator[tuple[int, int]]:
    """The rates between two looks, as the first and the one after the last."""
    for first in range(0, len(payload.rates), LOOK):
        yield first, min(first + LOOK, len(payload.rates))


def _train_alone(payload: Sweep, trial: Trial, data: Data, before: int) -> _Curve:
    """Train one seed at rising rates: its mean loss at each rate, up to the rate at which it is
    lost. An error of its code after that ends it, and is no fault. `before` are the steps of all
    seeds before it."""
    train, seeds = trial.config["train"], trial_seeds(trial.seed)
    anew.put_back(payload.workplace)
    model = build(trial, data, payload.workplace)
    criterion = make_criterion(
        trial.config, data.task, data.outputs, payload.workplace, data.device
    )
    seed_everything(seeds.noise)
    model.train()
    training = Training(model, train, payload.workplace, criterion)
    batches = data.batches(train["batch_size"], seeds.order)
    curve = _make_curve(criterion)
    for first, last in _portions(payload):
        totals = torch.zeros(last - first, dtype=sum_type(data.device), device=data.device)
        made = 0
        try:
            for place, rate in enumerate(payload.rates[first:last]):
                for _ in range(payload.steps):
                    totals[place] += training.step(next(batches), rate)
                    made += 1
                    pulse.beat(before + payload.steps * first + made)
        except any_but_interrupts(DataError) as error:
            place, begun = divmod(made, payload.steps)
            curve.take((totals[:place] / payload.steps).tolist())
            if curve.lost:  # Before that: what came later plays no part.
                release(error)
                break
            if not curve.losses:  # At the first rate nothing is lost yet.
                raise
            loss = totals[place].item() / begun if begun else curve.losses[-1]
            sign = find_loss(
                error, loss, curve.ceiling, model, lambda: build(trial, data, payload.workplace)
            )
            if not sign:
                raise
            rate = payload.rates[first + place]
            curve.raised = f"at lr {rate:.2g}, when {sign}, it raised {tell_error(error)}"
            curve.take([math.inf])
            release(error)
            break
        curve.take((totals / payload.steps).tolist())
        if curve.lost:
            break
    return curve


def _train_lanes(payload: Sweep, data: Data, lanes: int) -> list[list[float]]:
    """`_train_alone` of all seeds, so many at once."""
    losses = []
    for first in range(0, len(payload.trials), lanes):
        before = first * len(payload.rates) * payload.steps
        losses += _train_program(payload, payload.trials[first : first + lanes], data, before)
    return losses


def _train_program(
    payload: Sweep, trials: Sequence[Trial], data: Data, before: int
) -> list[list[float]]:
    """`_train_alone` of some seeds, side by side."""
    config = trials[0].config
    train, size = config["train"], config["train"]["batch_size"]
    criterion = make_criterion(config, data.task, data.outputs, payload.workplace, data.device)
    optimizer = STACKED[train["optimizer"]["name"]]
    states = []
    for trial in trials:
        anew.put_back(payload.workplace)
        model = build(trial, data, payload.workplace)
        noise = torch.Generator(data.device).manual_seed(trial_seeds(trial.seed).noise)
        states.append(initial_state(model, optimizer, noise.get_state()))
    seen = data if isinstance(data, Resident) else Window(data, size)
    # A program has two lanes at least: the second trains along where there is but one seed.
    filled = [*range(len(trials)), *[0] * (2 - len(trials))]
    program = Program(Skeleton(model), train, needs_of(train), seen, len(filled), criterion)
    for lane, place in enumerate(filled):
        program.put(lane, states[place], train)
    own = [Order(data, size, trial_seeds(trial.seed).order) for trial in trials]
    orders = [own[place] for place in filled]
    rates = np.repeat(np.asarray(payload.rates), payload.steps)
    curves = program.curves(train, rates)
    found = [_make_curve(criterion) for _ in trials]
    for first, last in _portions(payload):
        totals: list[Tensor] = []
        for place in range(first, last):
            begin, end = place * payload.steps, (place + 1) * payload.steps
            row = (train, [each[begin:end] for each in curves], begin)
            advance(program, orders, program.tabulate([row] * len(filled)))
            totals.append(program.total / payload.steps)
            program.total.zero_()
            pulse.beat(before + len(trials) * end)
        rows = torch.stack(totals, 1).tolist()
        for curve, losses in zip(found, rows, strict=False):
            curve.take(losses)
        if all(curve.lost for curve in found):
            break
    return [curve.losses for curve in found]
