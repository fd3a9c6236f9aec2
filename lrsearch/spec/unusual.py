"""Rates that an optimizer allows and is seldom given: worth a sentence, no fault."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from lrsearch.space import Choice, Dimension, Float, Int, Space

AROUND_ONE = (0.1, 10.0)
"""Rates that prodigy is given, least and most."""


def unusual_rates(train: Mapping[str, Any], space: Space) -> list[str]:
    """A sentence for each optimizer that the spec trains at unusual rates."""
    ranges = dict(space.dimensions)
    lr = ranges.get("lr", train.get("lr"))
    falling = list(dict.fromkeys(_falling(train, ranges)))
    notes: dict[str, None] = {}
    for name, rate in _optimizers(train, ranges, lr):
        if name.startswith("schedule_free_") and falling:
            notes[
                f"{name} averages its weights in place of a schedule that falls: "
                f"{' or '.join(falling)} beside it is unusual"
            ] = None
        if name == "prodigy" and any(
            not AROUND_ONE[0] <= each <= AROUND_ONE[1] for each in _ends(rate)
        ):
            notes[
                "prodigy estimates the size of its steps itself and lr multiplies it: "
                "values far from 1 are unusual"
            ] = None
    return list(notes)


def _named(value: object) -> str:
    return str(value.get("name", "")) if isinstance(value, Mapping) else ""


def _falling(train: Mapping[str, Any], ranges: Mapping[str, Dimension]) -> Iterator[str]:
    schedule = ranges.get("schedule")
    if isinstance(schedule, Choice):
        names = [_named(option.value) for option in schedule.options]
    else:
        names = [_named(train.get("schedule"))]
    yield from (name for name in names if name and name != "constant")


def _optimizers(
    train: Mapping[str, Any], ranges: Mapping[str, Dimension], lr: object
) -> Iterator[tuple[str, object]]:
    """The optimizers by name, each with its rate: a number or a dimension."""
    optimizer = ranges.get("optimizer")
    if not isinstance(optimizer, Choice):
        yield _named(train.get("optimizer")), lr
        return
    for option in optimizer.options:
        own = dict(option.space.dimensions).get("lr")
        if own is None and isinstance(option.value, Mapping):
            own = option.value.get("lr")
        yield _named(option.value), lr if own is None else own


def _ends(rate: object) -> list[float]:
    if isinstance(rate, Choice):
        values = rate.values
        return [float(each) for each in values if isinstance(each, int | float)]
    if isinstance(rate, int | float):
        return [float(rate)]
    if isinstance(rate, Float) and rate.auto:
        return []  # Nobody knows them yet.
    return [rate.low, rate.high] if isinstance(rate, Float | Int) else []
