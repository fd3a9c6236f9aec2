"""The probe: a job that tries how a structure's trials are best run, and measures, in the
worker."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import replace
from typing import Any

import torch

from lrsearch import pulse
from lrsearch.data.interrupts import any_but_interrupts
from lrsearch.train.batches.batch import take
from lrsearch.train.batches.resident import Resident
from lrsearch.train.batches.streamed import Streamed
from lrsearch.train.device import (
    check_alive,
    find_device,
    free_memory,
    is_out_of_memory,
    release,
)
from lrsearch.train.engines.comparison import refuse
from lrsearch.train.engines.course import Data, check_sources, open_data
from lrsearch.train.engines.start import build
from lrsearch.train.engines.timetable import by_rate, evaluation_steps, learning_rates
from lrsearch.train.engines.training import Training
from lrsearch.train.lanes.graphs import fewest_lanes
from lrsearch.train.lanes.program import Program, needs_of
from lrsearch.train.lanes.state import LaneState, Skeleton, initial_state
from lrsearch.train.models.criterion import make_criterion
from lrsearch.train.optimizers.registry import STACKED
from lrsearch.train.randomness import batches, trial_seeds
from lrsearch.train.tape import NotRecordable
from lrsearch.train.users.isolation import isolated
from lrsearch.trial import Plan, Planned, Probe

WORTH_STEPS = 1000
"""Steps a worker must have ahead to make a probe worth its own cost, some dozens."""

SHARE = 0.03
"""Share of the trials' training time that may be spent on measuring."""

GAIN = 0.97
"""The most of solo's time that fused may take, and of fewer lanes' time that more lanes may."""


def list_lanes(least: int, most: int, kind: str) -> list[int]:
    """The numbers of lanes that are measured on a kind of device, ascending: few, which the trials
    at hand fill, up to `most`.

    A CPU's caches make one of them the best, which may be any. A GPU is busier the more there are,
    until it is full: there two in a row are far apart, and the last is `most` itself, by which all
    trials begin together.
    """
    few = {min(least, 4), min(most, 4)}
    if kind == "cpu":
        return sorted(few | {2**power for power in range(2, 7) if 2**power <= most})
    lanes = min(most, 512)
    few |= {lanes}
    while (lanes := -(-lanes // 4)) > 8:
        few |= {lanes}
    return sorted(few)


def probe(payload: Probe) -> Generator[Planned, Any, None]:
    """Yields the plan for a structure's trials, once. Raises as `cohort.run_cohort`, except that a
    model which cannot be built, or fails, is left to its trials: they train solo."""
    device = find_device(payload.workplace.device)
    yield from isolated(_probe(payload, device), device, payload.workplace)


def _probe(payload: Probe, device: torch.device) -> Generator[Planned, Any, None]:
    for trial in payload.trials:
        check_sources(payload, trial.config)
    pulse.enter("loading the data")
    data = open_data(payload, payload.trials[0], device)
    pulse.enter(pulse.TRYING)
    planned = _plan(payload, data, device)
    free_memory(device)  # The largest program's: other processes may share the device.
    yield planned
    check_alive(device)


def _plan(payload: Probe, data: Data, device: torch.device) -> Planned:
    train = payload.trials[0].config["train"]
    samples, batch = data.measure_epoch(train["batch_size"])
    trains = [{**each.config["train"], "batch_size": batch} for each in payload.trials]
    budgets = [evaluation_steps(each, samples)[-1] for each in trains]
    steps = max(payload.share, payload.expected) * sum(budgets) // len(budgets)
    if payload.engine == "auto" and steps < WORTH_STEPS:
        reason = (
            f"{steps} steps a structure are too few to gain by lanes, which are tried from "
            f"{WORTH_STEPS} on"
        )
        return Planned(Plan("solo", 1, reason, lasting=False))
    begun = time.perf_counter()
    try:
        if isinstance(data, Streamed):
            data = Resident(**data.sample(train["batch_size"]))
        reason = refuse(payload.trials, data, payload.workplace)
        if reason:
            return Planned(Plan("solo", 1, reason))
        found = _Measurer(payload, data, device, steps, sum(budgets) / len(budgets)).choose()
        trying = {"trying": time.perf_counter() - begun}
        return replace(found, figures={**found.figures, **trying})
    except NotRecordable as error:
        return Planned(Plan("solo", 1, str(error)))
    except any_but_interrupts() as error:
        text = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
        release(error)
        return Planned(Plan("solo", 1, f"trying it in lanes raised {text}"))


MAKING = ", its share of the program's making counted"


def singly(reason: str) -> str:
    """A note on a GPU that launches the operations of a step one by one, for that reason; ""
    without one."""
    return f", each operation of a step being launched by itself: {reason}" if reason else ""


def find_cost(
    figures: Mapping[str, float], lanes: int, filled: int, budget: float
) -> tuple[float, float]:
    """Seconds per trial and step in a program of so many lanes, of which trials of so many steps
    fill some at most, by a probe's figures: those of the steps, and with a share of its making."""
    full = min(lanes, filled)
    step = figures[f"fused.{lanes}"] * lanes / full
    return step, step + figures.get(f"making.{lanes}", 0.0) / (full * budget)


def find_smaller(figures: Mapping[str, float], lanes: int) -> float:
    """The steps, summed over the empty places of a program of so many lanes, from which on another
    one without them is worth its making: `Plan.smaller`.

    A step of k lanes takes a + b k. Two numbers of lanes tell b, the seconds that an empty place
    takes; by one alone a is taken for nothing. To make the next program takes as long as the
    quickest that was made: the first of a process makes more than itself.
    """
    measured = (int(name.partition(".")[2]) for name in figures if name.startswith("fused."))
    few = min(measured)
    step, least = (each * figures[f"fused.{each}"] for each in (lanes, few))
    each = (step - least) / (lanes - few) if few < lanes else step / lanes
    making = min(time for name, time in figures.items() if name.startswith("making."))
    return making / each if each > 0 else math.inf


class _Measurer:
    """Seconds per trial and step, alone and by so many lanes; `steps` are those ahead of a worker,
    `budget` those of a trial. At once a worker trains `filled` trials of the structure: two where
    there are two, see `plans.divide`."""

    def __init__(
        self, payload: Probe, data: Resident, device: torch.device, steps: int, budget: float
    ) -> None:
        self.payload, self.data, self.device, self.steps = payload, data, device, steps
        self.budget = budget
        self.trials = payload.trials
        self.filled = max(payload.share, min(2, len(self.trials)))
        self.fewest = fewest_lanes(device)
        self.train = self.trials[0].config["train"]
        self.figures: dict[str, float] = {}
        self.measured: list[int] = []
        self.uncaptured = ""
        place = payload.workplace
        config = self.trials[0].config
        self.criterion = make_criterion(config, data.task, data.outputs, place, device)
        self.model = build(self.trials[0], data, payload.workplace)
        seed = trial_seeds(self.trials[0].seed)
        self.state: LaneState = initial_state(
            self.model,
            STACKED[self.train["optimizer"]["name"]],
            torch.Generator(device).manual_seed(seed.noise).get_state(),
        )
        self.batch = next(batches(data.samples, self.train["batch_size"], seed.order, device))

    def choose(self) -> Planned:
        """Choose the plan; returns it with the measurements."""
        gradients = self._measure_solo(update=False)
        lanes = self._choose_lanes(gradients)
        if not lanes:
            told = "two lanes run" if self.fewest > 1 else "a program of one lane runs"
            return Planned(Plan("solo", 1, f"{told} out of memory"), self.figures)
        # By the lanes that these trials fill: more may pay later.
        most = min(lanes, max(self.fewest, self.filled))
        few = max(each for each in self.measured if each <= most)
        step, whole = find_cost(self.figures, few, self.filled, self.budget)
        alone = gradients
        if self.payload.engine == "auto" and whole > GAIN * gradients:
            # Only now: the first optimizer of a process imports much of torch.
            alone = self._measure_solo(update=True)
        self.figures["solo"] = alone
        if self.payload.engine == "auto" and whole > GAIN * alone:
            dear, told = (step, "") if step > GAIN * alone else (whole, MAKING)
            reason = f"in lanes a step takes {dear / alone:.2f} times as long{told}"
            return Planned(Plan("solo", 1, reason + singly(self.uncaptured)), self.figures)
        than = "one at a time" if self.filled > 1 else "solo"
        reason = f"{alone / step:.1f} times as fast as {than}"
        smaller = find_smaller(self.figures, few)
        if math.isfinite(smaller):
            self.figures["smaller"] = smaller
        plan = Plan("fused", lanes, reason + singly(self.uncaptured), smaller=smaller)
        return Planned(plan, self.figures)

    def _choose_lanes(self, alone: float) -> int:
        """The number of lanes that takes the least time a lane; 0 where the fewest do not fit."""
        share = SHARE * self.steps * alone
        deadline = time.perf_counter() + share
        # No trial leaves a place empty, but where a program has to have one more.
        least = max(self.fewest, self.filled)
        asked = self.payload.lanes
        if asked is not None:
            candidates = [min(asked, least)]
        else:
            candidates = list_lanes(least, max(least, self.payload.later), self.device.type)
        best, misses = 0, 0
        for lanes in candidates:
            if not self._measure_lanes(lanes):
                break
            if not best or self.figures[f"fused.{lanes}"] < GAIN * self.figures[f"fused.{best}"]:
                best, misses = lanes, 0
            else:
                misses += 1
            if len(self.measured) == 1 and self.device.type != "cpu":
                # The first of a process loads a GPU's kernels, which the trials' would do else.
                deadline = time.perf_counter() + share
            # Timings are noisy: one that gains nothing may be followed by one that does, but hardly
            # where that has four times as many lanes.
            patience = 1 if self.device.type == "cpu" else 0
            if misses > patience or time.perf_counter() > deadline or self._memory_short(lanes):
                break
        if asked is not None and best:
            return asked
        lanes = candidates[0]
        while not best and lanes > self.fewest:
            lanes = -(-lanes // 2)
            best = lanes if self._measure_lanes(lanes) else 0
        return best

    def _measure_solo(self, *, update: bool) -> float:
        Skeleton(self.model).load(self.state)
        self.model.train()
        training = Training(self.model, self.train, self.payload.workplace, self.criterion)
        rate = float(learning_rates(self.train, self.data.epoch_samples, self.payload.workplace)[0])

        def step() -> None:
            training.compute_gradients(take(self.data.train, self.batch))
            if update:
                training.update(rate)
            for each in training.parameters:
                each.grad = None

        return self._time(step)

    def _measure_lanes(self, lanes: int) -> bool:
        """Measure a program of so many lanes; returns whether it fits in memory."""
        try:
            self._measure_program(lanes)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            release(error)
            free_memory(self.device)
            return False
        self.measured.append(lanes)
        return True

    def _measure_program(self, lanes: int) -> None:
        chosen = self.trials[:lanes]
        needs = frozenset[str]().union(*(needs_of(each.config["train"]) for each in chosen))
        train = by_rate(self.trials)[0].config["train"]  # At which most steps can be made.
        begun = time.perf_counter()
        skeleton = Skeleton(self.model)
        program = Program(skeleton, self.train, needs, self.data, lanes, self.criterion)
        for lane in range(lanes):
            program.put(lane, self.state, train)
        rates = learning_rates(train, self.data.epoch_samples, self.payload.workplace)[:1]
        numbers = program.tabulate([(train, program.curves(train, rates), 0)] * lanes)
        index = self.batch.unsqueeze(0)
        steps = 2 if self.fewest == 1 else 1  # It is recorded, and captured where there are graphs.
        for _ in range(steps):
            self._wait(lambda: program.advance(index, numbers))
        made = time.perf_counter() - begun
        seconds = self._time(lambda: program.advance(index, numbers))
        self.figures[f"fused.{lanes}"] = seconds / lanes
        self.figures[f"bytes.{lanes}"] = float(program.bytes)
        self.figures[f"making.{lanes}"] = max(0.0, made - steps * seconds)
        if self.fewest == 1:
            self.uncaptured = program.uncaptured
            self.figures[f"captured.{lanes}"] = float(not self.uncaptured)

    def _time(self, step: Callable[[], None]) -> float:
        """The shortest time of a few steps, after one that warms up."""
        self._wait(step)
        shortest, begun, count = math.inf, time.perf_counter(), 0
        while count < 3 or (count < 20 and time.perf_counter() - begun < 0.02):
            clock = time.perf_counter()
            self._wait(step)
            shortest = min(shortest, time.perf_counter() - clock)
            count += 1
        return shortest

    def _wait(self, step: Callable[[], None]) -> None:
        step()
        pulse.beat()
        if self.device.type != "cpu":
            getattr(torch, self.device.type).synchronize()

    def _memory_short(self, lanes: int) -> bool:
        """Whether twice the lanes might not fit in memory beside the other workers."""
        if self.device.type != "cpu":
            return False  # On such a device trying raises when memory is short.
        free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        workers = os.cpu_count() or 1
        return 2 * self.figures[f"bytes.{lanes}"] > 0.5 * free / workers
