"""Whether a training of `failing.py` came out as it was made to, by its losses alone: before
anything is said of it."""

from __future__ import annotations

import copy
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from failing import EVALUATIONS, Case

NEAR, FAR, ALL = 0.1, 1 / 3, 0.9
"""Shares of what the best sound training learned: a sound one misses no more than the first, nor
brings twice its budget more; who learned too little misses the second, who learned nothing the
third."""

COST, KNOWN = 0.03, 0.02
"""The same: a rate that is too high costs the first; of training losses the second is equal."""


def as_meant(
    case: Case,
    came: Mapping[str, Any],
    best: Mapping[str, Any],
    doubled: Mapping[str, Any] | None = None,
) -> bool:
    """Whether a training did what its way of being made should do to it, beside the best of the
    sound ones of its task and optimizer, and, of a sound one, the same with twice the budget."""
    validation, training = find_missed(came, best)
    missed = min(validation, training)
    if case.how == "sound":
        longer = min(find_missed(came, doubled)) if doubled else 0.0
        return missed <= NEAR and longer <= NEAR
    match case.how:
        case "far too high a rate":
            return not missed < 1
        case "far too low a rate" | "too short a budget":
            return missed >= FAR
        case "too small a model":
            return FAR <= missed <= 1
        case "100 samples":
            return validation >= NEAR and training <= KNOWN
        case "a rate at the edge" | "restarts at the edge":
            return COST <= missed < ALL
    return missed >= ALL


def find_missed(came: Mapping[str, Any], best: Mapping[str, Any]) -> tuple[float, float]:
    """The shares of what another training learned that one missed, by validation and by training
    loss at the end, the mean of the last tenth of the evaluations; infinite where it did not end,
    -inf where the other has learned nothing."""
    known = (best["records"]["start"], best["records"]["baseline"])
    nothing = min(filter(math.isfinite, known), default=math.inf)
    validation, training = (
        (find_end(came, name) - its) / (nothing - its) if nothing > its else -math.inf
        for name in ("loss", "train_loss")
        for its in [find_end(best, name)]
    )
    return validation, training


def find_end(came: Mapping[str, Any], name: str = "loss") -> float:
    """A loss at the end, inf where it diverged."""
    losses = came["curve"][name]
    if came["outcome"] == "diverged":
        return math.inf
    return statistics.fmean(losses[-max(1, len(losses) // 10) :])


def find_best(cases: Sequence[Case], came: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """The sound training that ends with the lowest validation loss."""
    sound = (each for case, each in zip(cases, came, strict=True) if case.how == "sound")
    return min(sound, key=find_end)


def double(case: Case) -> Case:
    """A training with twice the budget, all else alike; schedules are stretched."""
    train = copy.deepcopy({**case.spec["train"]})
    steps = 2 * int(train["budget"].removesuffix("ba"))
    train |= {"budget": f"{steps}ba", "evaluate": f"{max(1, round(steps / EVALUATIONS))}ba"}
    return replace(case, how=f"doubled {case.how}", spec={**case.spec, "train": train})
