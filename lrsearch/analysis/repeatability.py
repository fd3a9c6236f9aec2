"""Whether a training that was repeated came to the same, and what a difference means."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lrsearch.trial import Objective, Outcome, Result

Curve = Mapping[str, Sequence[float]]


@dataclass(frozen=True)
class Repeatability:
    """A trial (its number) trained twice with one seed: its objective, and the repetition's,
    `again`, None where the repetition did not complete. `exact` says whether the objective's metric
    was equal at every step, not only at the end; None where a curve was lost."""

    trial: int
    objective: float
    again: float | None
    exact: bool | None
    outcome: Outcome
    reason: str = ""

    @property
    def difference(self) -> float | None:
        """The difference of the two objectives, None where there is only one."""
        return None if self.again is None else abs(self.again - self.objective)


def compare(
    trial: int,
    objective: Objective,
    results: tuple[Result, Result],
    curves: tuple[Curve, Curve],
) -> Repeatability | None:
    """Compare a trial's result and its repetition's, with the curve of each (empty where it is
    lost); None where the trial has no value of this objective."""
    value, again = (result.value(objective) for result in results)
    if value is None or not math.isfinite(value):
        return None
    courses = [_course(curve, objective.metric) for curve in curves]
    exact: bool | None = again == value
    if exact:
        exact = None if [] in courses else courses[0] == courses[1]
    return Repeatability(
        trial=trial,
        objective=value,
        again=again,
        exact=exact,
        outcome=results[1].outcome,
        reason=results[1].reason,
    )


def _course(curve: Curve, metric: str) -> list[tuple[float, float | None]]:
    """Steps and values, None for a value that is not a number: NaN never equals itself."""
    pairs = zip(curve.get("step", ()), curve.get(metric, ()), strict=False)
    return [(step, None if math.isnan(value) else value) for step, value in pairs]
