"""Learning-rate schedules: pure functions of the optimizer step, in multiples of the base rate.

`step` is 0-based: the multiplier of step s is used for the (s + 1)-th update. `total` counts
the steps from the end of the warmup to the end of the budget, so every decay ends exactly at
the budget: `final` is the value at step `total`, the one that would come after the last. The peak
of every schedule is exactly the base rate, unless its docstring says otherwise. Where libraries
differ, the convention is torch.optim.lr_scheduler's, stepped once an update, and the docstring
says how the others do it. Lengths are in steps, and need not be whole.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lrsearch import duration

Array = NDArray[np.float64]

_SLACK = 1e-9
"""Slack of a step: keeps a whole step whole, though it was computed as 0.1 * total."""

_ROUNDED = 0.5
"""The most by which the steps of a training are fewer than its budget, for being whole: a length
equal to the budget is as long, not longer."""


class ScheduleError(ValueError):
    """Raised for arguments that make no sense together or within the budget. `argument` is the one
    at fault, `warmup.for` the warmup's length."""

    def __init__(self, argument: str, message: str) -> None:
        super().__init__(message)
        self.argument = argument


# schedules


def constant(step: Array, total: int) -> Array:
    """The constant 1."""
    return np.ones_like(step)


def linear(step: Array, total: int, final: float) -> Array:
    """A line from 1 to `final` (torch LinearLR(1, final, total); Hugging Face's ends at 0)."""
    return 1.0 + (final - 1.0) * np.minimum(step / total, 1.0)


def polynomial(step: Array, total: int, power: float, final: float) -> Array:
    """A fall from 1 to `final` as the remaining share, to a power (torch PolynomialLR for `final`
    0; Keras and optax PolynomialDecay; Hugging Face gives the last rate itself, not a ratio)."""
    left = 1.0 - np.minimum(step / total, 1.0)
    return final + (1.0 - final) * left**power


def cosine(step: Array, total: int, final: float) -> Array:
    """Half a cosine from 1 to `final` (SGDR, Loshchilov & Hutter 2017, without restarts).

    As torch's CosineAnnealingLR up to T_max; past it torch rises again, this stays. optax counts a
    warmup inside its decay_steps, Keras before them, as here.
    """
    return _fall(np.minimum(step / total, 1.0), "cosine", final)


def cosine_restarts(
    step: Array,
    total: int,
    cycles: int,
    first: float | None,
    mult: float,
    peak_decay: float,
    final: float,
) -> Array:
    """Half a cosine again and again (SGDR, Loshchilov & Hutter 2017).

    Each cycle is `mult` times as long as the one before, the first `first` steps (torch
    CosineAnnealingWarmRestarts(T_0, T_mult)), or, where that is None, so long that `cycles` of them
    end with the budget (Hugging Face's hard restarts for `mult` 1). Each is `peak_decay` times as
    high above `final` as the one before (Keras' m_mul). Raises ScheduleError for a first cycle
    longer than the training or shorter than a step.
    """
    if first is None:
        if cycles > total:
            raise ScheduleError("cycles", f"{cycles} cycles do not fit into {total} steps")
        with np.errstate(over="ignore"):  # Then the first is nothing at all, and refused.
            whole = cycles if mult == 1 else (np.float64(mult) ** cycles - 1) / (mult - 1)
        first = total / float(whole)
        if first < 1:
            raise ScheduleError(
                "cycles", f"of {cycles} cycles the first would be shorter than a step"
            )
    if first > total + _ROUNDED:
        raise ScheduleError(
            "first", f"a first cycle of {first:g} steps is longer than the training ({total} steps)"
        )
    if first < 1:
        raise ScheduleError("first", f"a first cycle of {first:g} steps is shorter than a step")
    starts, length = [0.0], first
    while (start := _next_start(starts, first, mult, length)) < total - _SLACK:
        starts.append(start)
        length *= mult
    edges = np.array([*starts, _next_start(starts, first, mult, length)])
    cycle = np.searchsorted(edges[:-1], step + _SLACK, side="right") - 1
    share = np.clip((step - edges[cycle]) / np.diff(edges)[cycle], 0.0, 1.0)
    heights = (1.0 - final) * peak_decay**cycle
    result: Array = final + heights * 0.5 * (1.0 + np.cos(np.pi * share))
    return result


def _next_start(starts: Sequence[float], first: float, mult: float, length: float) -> float:
    """The start of the cycle after those given, in one multiplication where all are equally
    long."""
    return len(starts) * first if mult == 1 else starts[-1] + length


def step_decay(step: Array, total: int, every: float, gamma: float) -> Array:
    """A factor of `gamma` after each `every` steps (torch StepLR; Keras ExponentialDecay,
    staircase)."""
    return np.asarray(gamma ** np.floor(step / every + _SLACK), dtype=np.float64)


def multistep(step: Array, total: int, milestones: Sequence[float], gamma: float) -> Array:
    """A factor of `gamma` at each milestone (torch MultiStepLR; He et al. 2016 drop tenfold at 50 %
    and 75 % of the training). Raises ScheduleError for milestones that do not rise or lie past the
    end."""
    _check_rising("milestones", milestones, total)
    passed = np.searchsorted(np.array(milestones), step + _SLACK, side="right")
    return np.asarray(gamma ** passed.astype(np.float64), dtype=np.float64)


def exponential(
    step: Array, total: int, every: float, gamma: float, final: float | None = None
) -> Array:
    """`gamma` to the power of step / `every`, falling at each step (torch ExponentialLR where
    `every` is one step; Keras ExponentialDecay); or, where `final` is given, from 1 to that."""
    if final is not None:
        return np.asarray(final ** (step / total), dtype=np.float64)
    return np.asarray(gamma ** (step / every), dtype=np.float64)


def inverse_time(step: Array, total: int, rate: float, every: float, staircase: bool) -> Array:
    """1 / (1 + rate x step / every), at each step or (`staircase`) after each `every` (Keras
    InverseTimeDecay; Robbins & Monro 1951 for the sum of rates to diverge)."""
    passed = step / every
    return 1.0 / (1.0 + rate * (np.floor(passed + _SLACK) if staircase else passed))


def inverse_sqrt(step: Array, total: int, timescale: float) -> Array:
    """1 / sqrt(1 + step / timescale) (Vaswani et al. 2017, whose timescale is the warmup; Hugging
    Face with the same timescale). Noam's own form is multiplied by width^-0.5: that is in `lr`."""
    return 1.0 / np.sqrt(1.0 + step / timescale)


def one_cycle(
    step: Array,
    total: int,
    pct_start: float,
    div: float,
    final_div: float,
    anneal: str,
    three_phase: bool,
) -> Array:
    """A rise from 1 / `div` to 1 over `pct_start`, then a fall to 1 / (`div` x `final_div`) at the
    last step (Smith & Topin 2018; torch OneCycleLR: `final_div` divides the initial rate, as there,
    where fastai divides the maximum)."""
    low, bottom = 1.0 / div, 1.0 / (div * final_div)
    last = total - 1.0
    first = pct_start * total - 1.0
    if three_phase:
        ends, values = [first, 2 * pct_start * total - 2.0, last], [low, 1.0, low, bottom]
    else:
        ends, values = [first, last], [low, 1.0, bottom]
    result = np.full_like(step, bottom)
    # As in torch: a step takes the first phase whose end it has not passed, so the phases are
    # laid from the last to the first.
    for index in range(len(ends) - 1, -1, -1):
        begin = ends[index - 1] if index else 0.0
        width = ends[index] - begin
        share = (step - begin) / width if width > 0 else np.ones_like(step)
        left, right = values[index], values[index + 1]
        if anneal == "cos":
            value = right + (left - right) * 0.5 * (1.0 + np.cos(np.pi * share))
        else:
            value = left + (right - left) * share
        result = np.where(step <= ends[index], value, result)
    return result


def triangular(step: Array, total: int, base: float, half: float) -> Array:
    """A rise from `base` to 1 in `half` steps, a fall in as many, again and again (Smith 2017;
    torch CyclicLR, mode triangular). Its peak is 1 where `half` is a whole number of steps, as for
    the next two schedules."""
    _, height = _triangle(step, total, half)
    return base + (1.0 - base) * height


def triangular2(step: Array, total: int, base: float, half: float) -> Array:
    """`triangular` with half the height after each cycle (torch CyclicLR, mode triangular2)."""
    cycle, height = _triangle(step, total, half)
    return base + (1.0 - base) * height * 0.5**cycle


def exp_range(
    step: Array, total: int, base: float, half: float, gamma: float, every: float
) -> Array:
    """`triangular` with a height that falls by `gamma` over each `every` (torch CyclicLR, mode
    exp_range, where `every` is one step). Its first peak is gamma^(half / every) of the way up."""
    _, height = _triangle(step, total, half)
    return base + (1.0 - base) * height * gamma ** (step / every)


def _triangle(step: Array, total: int, half: float) -> tuple[Array, Array]:
    """The number of the cycle, from 0, and the height within it."""
    if half > total + _ROUNDED:
        raise ScheduleError(
            "half", f"half a cycle of {half:g} steps is longer than the training ({total} steps)"
        )
    cycle = np.floor(step / (2 * half) + _SLACK)
    return cycle, np.maximum(1.0 - np.abs(step / half - 2 * cycle - 1.0), 0.0)


def wsd(step: Array, total: int, decay: float, shape: str, final: float) -> Array:
    """1, then down to `final` over the last `decay` steps (warmup-stable-decay, Hu et al. 2024;
    `sqrt` is Hägele et al. 2024's 1 - sqrt). Equal to Hugging Face's, but that their warmup begins
    at the ratio the decay ends with; here the warmup has a start of its own. Raises ScheduleError
    for a decay longer than the training."""
    if decay > total + _ROUNDED:
        raise ScheduleError(
            "decay", f"a decay of {decay:g} steps is longer than the training ({total} steps)"
        )
    decay = min(decay, total)
    return _fall(np.clip((step - (total - decay)) / decay, 0.0, 1.0), shape, final)


def _fall(share: Array, shape: str, final: float) -> Array:
    """The multiplier of a fall from 1 to `final`, while `share` goes from 0 to 1."""
    left = {
        "linear": lambda: 1.0 - share,
        "cosine": lambda: 0.5 * (1.0 + np.cos(np.pi * share)),
        "sqrt": lambda: 1.0 - np.sqrt(share),
    }[shape]()
    return final + (1.0 - final) * left


def tanh(step: Array, total: int, lower: float, upper: float, final: float) -> Array:
    """A fall from 1 to `final` along a hyperbolic tangent from `lower` to `upper` (HTD, Hsueh et
    al. 2019). The paper's, and timm's, is not scaled, and with -6 and 3 goes from 0.999997 to
    0.0025: this one begins at 1 and ends at `final` exactly. Raises ScheduleError where `lower` is
    not below."""
    if lower >= upper:
        raise ScheduleError("lower", f"lower {lower:g} is not below upper {upper:g}")
    share = np.minimum(step / total, 1.0)
    top, bottom = math.tanh(lower), math.tanh(upper)
    left = (bottom - np.tanh(lower + (upper - lower) * share)) / (bottom - top)
    return final + (1.0 - final) * left


def piecewise(step: Array, total: int, points: Sequence[tuple[float, float]], join: str) -> Array:
    """Values from moments on (`stepped`: 1 before the first; torch has it as LambdaLR, Keras as
    PiecewiseConstantDecay, whose boundaries still have the value before), or joined by lines
    (`linear`: the first value before the first point, the last after the last). Its peak is the
    largest given value. Raises ScheduleError for moments that do not rise or lie past the end."""
    moments = [moment for moment, _ in points]
    _check_rising("points", moments, total)
    values = np.array([value for _, value in points])
    if join == "linear":
        return np.asarray(np.interp(step, moments, values), dtype=np.float64)
    passed = np.searchsorted(np.array(moments), step + _SLACK, side="right")
    held: Array = np.concatenate([[1.0], values])[passed]
    return held


def _check_rising(argument: str, moments: Sequence[float], total: int) -> None:
    for earlier, later in itertools.pairwise(moments):
        if later <= earlier:
            raise ScheduleError(
                argument, f"out of order: step {later:g} comes after step {earlier:g}"
            )
    if moments[-1] > total + _ROUNDED:
        raise ScheduleError(
            argument, f"step {moments[-1]:g} is past the end of the training ({total} steps)"
        )


def plateau(step: Array, total: int, **arguments: Any) -> Array:
    """The constant 1 until a metric no longer improves: later multipliers are no function of the
    step. `Plateau` has the factor that is multiplied in."""
    return np.ones_like(step)


FUNCTIONS: dict[str, Callable[..., Array]] = {
    "constant": constant,
    "linear": linear,
    "polynomial": polynomial,
    "cosine": cosine,
    "cosine_restarts": cosine_restarts,
    "step": step_decay,
    "multistep": multistep,
    "exponential": exponential,
    "inverse_time": inverse_time,
    "inverse_sqrt": inverse_sqrt,
    "one_cycle": one_cycle,
    "triangular": triangular,
    "triangular2": triangular2,
    "exp_range": exp_range,
    "wsd": wsd,
    "tanh": tanh,
    "piecewise": piecewise,
    "plateau": plateau,
}

LENGTHS: dict[str, tuple[str, ...]] = {
    "cosine_restarts": ("first",),
    "step": ("every",),
    "multistep": ("milestones",),
    "exponential": ("every",),
    "inverse_time": ("every",),
    "inverse_sqrt": ("timescale",),
    "triangular": ("half",),
    "triangular2": ("half",),
    "exp_range": ("half", "every"),
    "wsd": ("decay",),
    "piecewise": ("points",),
    "plateau": ("patience", "cooldown"),
}
"""The arguments that are durations, or contain some."""

WARMUPS: dict[str, Callable[[Array, float], Array]] = {
    "linear": lambda share, start: start + (1.0 - start) * share,
    "exponential": lambda share, start: np.asarray(start ** (1.0 - share), dtype=np.float64),
    "cosine": lambda share, start: start + (1.0 - start) * 0.5 * (1.0 - np.cos(np.pi * share)),
}
"""Shapes of a warmup: its multiplier, rising from `start` while `share` goes from 0 to 1."""


# multipliers of a training


def multipliers(
    schedule: Mapping[str, Any],
    warmup: Mapping[str, Any] | None,
    *,
    budget: int,
    samples: int,
    batch_size: int,
    steps: Array | None = None,
    function: Callable[..., float] | None = None,
) -> Array:
    """The multipliers of `steps` (0-based, ascending), or of every step, shape [budget].

    `schedule` and `warmup` are as a resolved spec has them, every argument filled. The warmup
    rises from its `start` at step 0 to 1 at its end (linear: torch LinearLR(start, 1, steps);
    Hugging Face's start at 0). `function` is the one that a schedule's class path names: it is
    called with each step's progress, from 0 to below 1, and the schedule's init_args. Raises
    ScheduleError for a warmup as long as the budget, and for arguments that do not fit it.
    """
    try:
        ahead = duration.warmup_steps(warmup, budget=budget, samples=samples, batch_size=batch_size)
    except ValueError as error:
        raise ScheduleError("warmup.for", str(error)) from None
    if steps is None:
        steps = np.arange(budget, dtype=np.float64)
    rising, after = steps[steps < ahead], steps[steps >= ahead] - ahead
    if "class_path" in schedule:
        values = _call(function, after / (budget - ahead), schedule)
    else:
        arguments = in_steps(schedule, budget, samples, batch_size)
        values = FUNCTIONS[schedule["name"]](after, budget - ahead, **arguments)
    if warmup is None or not len(rising):
        return values
    return np.concatenate([WARMUPS[warmup["shape"]](rising / ahead, warmup["start"]), values])


def in_steps(
    schedule: Mapping[str, Any], budget: int, samples: int, batch_size: int
) -> dict[str, Any]:
    """A built-in schedule's arguments, their durations in steps."""

    def convert(value: Any) -> Any:
        if isinstance(value, str):
            length = duration.parse(value)
            return length.steps(samples=samples, batch_size=batch_size, budget=budget)
        return [convert(each) for each in value] if isinstance(value, list | tuple) else value

    arguments = {name: value for name, value in schedule.items() if name != "name"}
    lengths = LENGTHS.get(schedule["name"], ())
    return arguments | {name: convert(arguments[name]) for name in lengths}


def _call(
    function: Callable[..., float] | None, progress: Array, schedule: Mapping[str, Any]
) -> Array:
    path, arguments = schedule["class_path"], schedule.get("init_args") or {}
    if function is None:
        raise ScheduleError("class_path", f"{path} is known only where it is imported: in training")
    values = np.array([float(function(share, **arguments)) for share in progress.tolist()])
    if not (np.isfinite(values).all() and (values >= 0).all()):
        worst = float(values[~(np.isfinite(values) & (values >= 0))][0])
        raise ScheduleError("class_path", f"{path} gives {worst:g}, no multiple of a rate")
    return values


# the plateau


@dataclass
class Plateau:
    """The factor on the rates of `plateau`, which follows a metric: the one schedule with a state.

    `observe` is called with each evaluation after the warmup; `scale` is the factor of the steps
    that follow. When the metric has not improved for more than `patience` evaluations the factor is
    multiplied by `factor`, down to `least`, and the next `cooldown` evaluations do not count (torch
    ReduceLROnPlateau). With `rises` it is divided by `factor`, up to `most`, when the metric has
    improved more than `patience` times in a row (GreedyLR, Subramanian et al. 2025).

    An improvement is one by more than `threshold`, of the best's size where `relative`. torch
    compares with best x (1 - threshold), which for a negative metric calls what is worse better.
    """

    goal: str
    factor: float
    patience: int
    threshold: float
    relative: bool
    cooldown: int
    least: float
    rises: bool
    most: float
    ahead: int
    """The warmup, in steps: evaluations up to its end are not counted."""
    scale: float = 1.0
    best: float | None = None
    bad: int = 0
    good: int = 0
    waiting: int = 0

    def observe(self, step: int, value: float) -> None:
        """Take the metric's value after `step` steps; NaN is no improvement."""
        if step <= self.ahead:
            return
        if self._improves(value):
            self.best, self.bad, self.good = value, 0, self.good + 1
        else:
            self.bad, self.good = self.bad + 1, 0
        if self.waiting:
            self.waiting, self.bad, self.good = self.waiting - 1, 0, 0
        if self.bad > self.patience:
            self.scale = max(self.scale * self.factor, self.least)
            self.waiting, self.bad = self.cooldown, 0
        elif self.rises and self.good > self.patience:
            self.scale = min(self.scale / self.factor, self.most)
            self.good = 0

    def take(self) -> dict[str, Any]:
        """The state as a saved training keeps it."""
        return {name: getattr(self, name) for name in _PLATEAU_STATE}

    def put(self, saved: Mapping[str, Any]) -> None:
        """Go on from a saved state."""
        for name in _PLATEAU_STATE:
            setattr(self, name, saved[name])

    def _improves(self, value: float) -> bool:
        if self.best is None:
            return math.isfinite(value)
        margin = self.threshold * (abs(self.best) if self.relative else 1.0)
        if self.goal == "max":
            return value > self.best + margin
        return value < self.best - margin


_PLATEAU_STATE = ("scale", "best", "bad", "good", "waiting")


def make_plateau(
    schedule: Mapping[str, Any],
    warmup: Mapping[str, Any] | None,
    *,
    goal: str,
    evaluate: str,
    budget: int,
    samples: int,
    batch_size: int,
) -> Plateau:
    """The state of a resolved `plateau` schedule before the first step.

    `goal` is its metric's, `evaluate` the duration between two evaluations: patience and cooldown
    are rounded to as many evaluations.
    """
    size = {"samples": samples, "batch_size": batch_size, "budget": budget}
    interval = max(1.0, duration.parse(evaluate).steps(**size))
    patience, cooldown = (
        round(duration.parse(schedule[name]).steps(**size) / interval)
        for name in ("patience", "cooldown")
    )
    return Plateau(
        goal=goal,
        factor=schedule["factor"],
        patience=patience,
        threshold=schedule["threshold"],
        relative=schedule["threshold_mode"] == "rel",
        cooldown=cooldown,
        least=schedule["min"],
        rises=schedule["rises"],
        most=schedule["max"],
        ahead=duration.warmup_steps(warmup, **size),
    )
