"""Verdicts that are certain while a trial is under way, so that the user can stop."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from lrsearch.diagnosis import find_certain
from lrsearch.trial import Measured, Objective, Records

LOOKS = 10
"""Looks at a trial in its training, spread evenly: each reads all so far."""


@dataclass
class _Seen:
    curve: dict[str, list[float]] = field(default_factory=dict)
    records: dict[int, tuple[float, ...]] = field(default_factory=dict)
    ends: tuple[float, float] = (float("nan"), float("nan"))
    looks: int = 0
    verdict: str = ""


class Signs:
    """Signs of the trials under way."""

    def __init__(self, objective: Objective) -> None:
        self.objective = objective
        self.trials: dict[int, _Seen] = {}

    def take(self, event: Measured) -> str:
        """Take an evaluation; the verdict that is certain with it and was not before, or ""."""
        seen = self.trials.setdefault(event.trial, _Seen())
        step, metrics = event.measurement.step, event.measurement.metrics
        if any(each >= step for each in seen.curve.get("step", ())):  # It goes on from a state.
            kept = sum(each < step for each in seen.curve["step"])
            seen.curve = {name: values[:kept] for name, values in _aligned(seen.curve).items()}
        if metrics:  # None where it goes on from a state before its first evaluation.
            for name, value in {"step": float(step), **metrics}.items():
                seen.curve.setdefault(name, []).append(value)
        records = event.records
        if records.step:
            seen.ends = records.start, records.baseline
        rows = (records.loss, records.gradient_norm, records.update_ratio, records.lr)
        seen.records |= dict(zip(records.step, zip(*rows, strict=True), strict=True))
        if not event.steps or not seen.curve or seen.verdict or step >= event.steps:
            return ""
        looks = LOOKS * step // event.steps
        if looks <= seen.looks:
            return ""
        seen.looks = looks
        seen.verdict = find_certain(
            _aligned(seen.curve), _gathered(seen), self.objective, step / event.steps
        )
        return seen.verdict

    def forget(self, trial: int) -> None:
        """The trial has ended, or begins again."""
        self.trials.pop(trial, None)


def _aligned(curve: Mapping[str, list[float]]) -> dict[str, list[float]]:
    """The curve without metrics that some evaluations lack: which ones, cannot be told."""
    length = len(curve["step"])
    return {name: values for name, values in curve.items() if len(values) == length}


def _gathered(seen: _Seen) -> Records:
    steps = sorted(seen.records)
    if not steps:
        return Records()
    columns = zip(*(seen.records[step] for step in steps), strict=True)
    loss, gradient, ratio, rate = (tuple(column) for column in columns)
    return Records(tuple(steps), loss, gradient, ratio, rate, *seen.ends)
