"""The timetable of a training: its steps, its evaluations and its rates. Free of torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lrsearch import catalogue, duration, schedules
from lrsearch.trial import Trial, Workplace

MOST_RECORDS = 256
"""Steps of a training that are recorded."""

APART = 20
"""Steps from one that is recorded to the next, at least: a record costs up to half a step of a
small model, see `benchmarks/records.py`, and so less than 3% of the time."""


evaluation_steps = duration.evaluation_steps


def recorded_steps(budget: int) -> tuple[int, ...]:
    """The steps of a training of so many that are recorded, the first being 1: the first, the last,
    and as many evenly between them as are allowed, at least `APART` from each other."""
    gaps = max(1, min(MOST_RECORDS, (budget - 1) // APART + 1) - 1)
    return tuple(dict.fromkeys(1 + gap * (budget - 1) // gaps for gap in range(gaps + 1)))


def learning_rates(
    train: Mapping[str, Any], samples: int, workplace: Workplace | None = None
) -> schedules.Array:
    """The rate of every step, shape [budget]; of a schedule that follows a metric, before that has
    been measured. A schedule's own code is imported as the workplace allows. Raises ValueError
    where the durations, the warmup or the schedule make no sense together."""
    schedule = train["schedule"]
    function: Callable[..., float] | None = None
    if "class_path" in schedule:
        # Here alone: what names no code of its own needs neither torch nor an import.
        from lrsearch.train.users.importing import resolve

        function = resolve(schedule["class_path"], workplace or Workplace())
    multipliers = schedules.multipliers(
        schedule, train["warmup"], steps=None, function=function, **_size(train, samples)
    )
    return multipliers * float(train["lr"])


def make_plateau(train: Mapping[str, Any], samples: int) -> schedules.Plateau | None:
    """The plateau of a resolved `train` whose schedule is `plateau`: a factor on
    `learning_rates`."""
    schedule = train["schedule"]
    if schedule.get("name") != "plateau":
        return None
    known = catalogue.METRICS.get(schedule["metric"])
    goal = known[0] if known else schedule["mode"]  # For a metric of the user's.
    return schedules.make_plateau(
        schedule,
        train["warmup"],
        goal=goal,
        evaluate=train["evaluate"],
        **_size(train, samples),
    )


def _size(train: Mapping[str, Any], samples: int) -> dict[str, int]:
    size = train["batch_size"]
    length = duration.parse(train["budget"])
    budget = duration.budget_steps(length, samples=samples, batch_size=size)
    return {"budget": budget, "samples": samples, "batch_size": size}


def by_rate(trials: Sequence[Trial]) -> list[Trial]:
    """Trials, those of the lowest rates first: one that is lost at once may raise what no other
    would, and is no structure to try."""
    return sorted(trials, key=lambda each: float(each.config["train"]["lr"]))
