"""Learning-rate schedules: pure functions of the optimizer step, in multiples of the base rate.

`step` is 0-based: the multiplier of step s is used for the (s + 1)-th update. `total` counts
the steps from the end of the warmup to the end of the budget, so every decay ends exactly at
the budget, and the peak of every schedule is exactly the base rate. Where libraries differ, the
convention is torch.optim.lr_scheduler's, stepped once an update.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lrsearch import duration

Array = NDArray[np.float64]


def constant(step: Array, total: int) -> Array:
    """1 throughout."""
    return np.ones_like(step)


def linear(step: Array, total: int, final: float) -> Array:
    """From 1 to `final` at `total` (torch LinearLR(1, final, total))."""
    return 1.0 + (final - 1.0) * np.minimum(step / total, 1.0)


def cosine(step: Array, total: int, final: float) -> Array:
    """Half a cosine from 1 to `final` at `total` (SGDR, Loshchilov & Hutter 2017, without
    restarts; torch CosineAnnealingLR up to T_max; past it torch rises again, this stays)."""
    progress = np.minimum(step / total, 1.0)
    return final + (1.0 - final) * 0.5 * (1.0 + np.cos(np.pi * progress))


def step_decay(step: Array, total: int, every: float, gamma: float) -> Array:
    """Times `gamma` after each `every` steps (torch StepLR)."""
    # The tolerance keeps a drop that falls on a whole step there, though every = 0.1 * total.
    return np.asarray(gamma ** np.floor(step / every + 1e-9), dtype=np.float64)


def exponential(step: Array, total: int, every: float, gamma: float) -> Array:
    """`gamma` to the power of step / `every`, falling at each step (torch ExponentialLR where
    `every` is one step)."""
    return np.asarray(gamma ** (step / every), dtype=np.float64)


def one_cycle(
    step: Array,
    total: int,
    pct_start: float,
    div: float,
    final_div: float,
    anneal: str,
    three_phase: bool,
) -> Array:
    """Up from 1 / `div` to 1 over `pct_start`, then down to 1 / (`div` x `final_div`) at the last
    step (torch OneCycleLR; `final_div` divides the initial rate, as there, not the maximum)."""
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


FUNCTIONS: dict[str, Callable[..., Array]] = {
    "constant": constant,
    "linear": linear,
    "cosine": cosine,
    "step": step_decay,
    "exponential": exponential,
    "one_cycle": one_cycle,
}


def multipliers(
    schedule: Mapping[str, Any],
    warmup: Mapping[str, Any] | None,
    *,
    budget: int,
    samples: int,
    batch_size: int,
    steps: Array | None = None,
) -> Array:
    """The multipliers of `steps` (0-based, ascending), or of every step, shape [budget].

    `schedule` and `warmup` are as a resolved spec has them, every argument filled. The warmup
    rises in a line from its `start` at step 0 to 1 at its end (torch LinearLR(start, 1, steps)).
    Raises ValueError for a warmup as long as the budget.
    """
    ahead = duration.warmup_steps(warmup, budget=budget, samples=samples, batch_size=batch_size)
    arguments = {name: value for name, value in schedule.items() if name != "name"}
    if "every" in arguments:
        length = duration.parse(arguments["every"])
        arguments["every"] = length.steps(samples=samples, batch_size=batch_size, budget=budget)
    if steps is None:
        steps = np.arange(budget, dtype=np.float64)
    rising, after = steps[steps < ahead], steps[steps >= ahead] - ahead
    values = FUNCTIONS[schedule["name"]](after, budget - ahead, **arguments)
    if warmup is None or not len(rising):
        return values
    rise = warmup["start"] + (1.0 - warmup["start"]) * rising / ahead
    return np.concatenate([rise, values])


def table(lanes: Sequence[Array]) -> Array:
    """Schedules of equal length side by side, shape [steps, lanes]."""
    return np.stack(lanes, axis=1)
