"""Rates and sizes that are allowed and seldom meant: worth a sentence, no fault."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

from lrsearch.space import Choice, Dimension, Float, Int, Space, grid_size
from lrsearch.spec.model import Spec
from lrsearch.spec.values import write

AROUND_ONE = (0.1, 10.0)
"""Rates that prodigy is given, least and most."""


HIGHEST_RATE = 100.0
"""The highest rate that is anything but a slip."""

MOST_TRIALS = 100_000
"""The most trials that somebody may mean: a second each is more than a day."""

MOST_WEIGHTS = 10**10
"""The most weights of a layer: 40 GB, and as much again for its gradient."""


def unusual_trials(spec: Spec, *strategies: str) -> list[str]:
    """A sentence for each of these strategies that has more trials than anybody waits for."""
    grid = grid_size(spec.space) * spec.trials_per_point
    found = []
    if grid > MOST_TRIALS and "grid" in strategies:
        found.append(
            f"a grid of {grid:,} trials is more than anybody waits for: lrsearch bayes trains "
            f"{spec.bayes.trials} of them, or write fewer points"
        )
    for name, settings in (("random", spec.random), ("bayes", spec.bayes)):
        if settings.trials > MOST_TRIALS and name in strategies:
            found.append(
                f"{name}: {settings.trials:,} trials are more than anybody waits for; the default "
                "is trials: 40"
            )
    return found


def unusual_layers(spec: Spec) -> list[str]:
    """A sentence on a layer that hardly any machine has the memory for."""
    found = []
    widths = spec.model.get("hidden", ()) if isinstance(spec.model, Mapping) else ()
    layers = [a * b for a, b in itertools.pairwise(widths) if type(a) is type(b) is int]
    if layers and max(layers) > MOST_WEIGHTS:
        found.append(
            f"hidden: {write(list(widths))} has a layer of {max(layers):,} weights, which take "
            f"{max(layers) * 4 / 1e9:,.0f} GB: a model that learns such data is far smaller"
        )
    return found


def unusual_rates(train: Mapping[str, Any], space: Space) -> list[str]:
    """A sentence for each optimizer that the spec trains at unusual rates."""
    ranges = dict(space.dimensions)
    lr = ranges.get("lr", train.get("lr"))
    falling = list(dict.fromkeys(_falling(train, ranges)))
    # What code of the user's makes of a rate nobody knows.
    known = all(map(_named, space.chosen("schedule", train.get("schedule"))))
    notes: dict[str, None] = {}
    for name, rate in _optimizers(train, ranges, lr):
        highest = max(_ends(rate), default=0.0)
        if highest > HIGHEST_RATE and known and name not in ("", "prodigy"):
            notes[
                f"lr reaches {write(highest)}: trainings at rates above {HIGHEST_RATE:g} hardly "
                "ever learn"
            ] = None
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
        return [each for each in rate.values if isinstance(each, int | float)]
    if isinstance(rate, int | float):
        return [rate]
    if isinstance(rate, Float) and rate.auto:
        return []  # Nobody knows them yet.
    return [rate.low, rate.high] if isinstance(rate, Float | Int) else []
