"""The steps of a training: how many, where it is evaluated, at which rates. Free of torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lrsearch import duration, schedules


def evaluation_steps(train: Mapping[str, Any], samples: int) -> tuple[int, ...]:
    """The steps after which a resolved `train` is evaluated; the last is its whole budget.

    They are round(k x interval), the interval being at least one step. `samples` is the size of
    the training split. Raises ValueError for durations that cannot be read.
    """
    size = train["batch_size"]
    budget = duration.budget_steps(
        duration.parse(train["budget"]), samples=samples, batch_size=size
    )
    length = duration.parse(train["evaluate"])
    interval = max(1.0, length.steps(samples=samples, batch_size=size, budget=budget))
    steps = (round(k * interval) for k in range(1, int(budget / interval) + 2))
    return (*(step for step in steps if step < budget), budget)


def learning_rates(train: Mapping[str, Any], samples: int) -> schedules.Array:
    """The rate of every step, shape [budget]. Raises ValueError where the durations, the warmup
    or the schedule make no sense together."""
    size = train["batch_size"]
    budget = duration.budget_steps(
        duration.parse(train["budget"]), samples=samples, batch_size=size
    )
    multipliers = schedules.multipliers(
        train["schedule"], train["warmup"], budget=budget, samples=samples, batch_size=size
    )
    return multipliers * float(train["lr"])
