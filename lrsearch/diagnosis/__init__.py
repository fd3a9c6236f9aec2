"""Diagnosis of a training: the verdict on it, and advice.

Curves and records in, verdicts out: pure functions, which know no run and load no torch.
"""

from __future__ import annotations

import math
from typing import Any

from lrsearch.analysis.pruning import NO_PROGRESS, PROGRESS
from lrsearch.diagnosis.advice import HEALTHY, advise, remedy
from lrsearch.diagnosis.agreement import Agreement, agreements
from lrsearch.diagnosis.course import Curve, read_course
from lrsearch.diagnosis.neighbours import compare
from lrsearch.diagnosis.rules import Found, find_hopeless, judge, measure_end
from lrsearch.trial import Config, Diagnosis, Objective, Outcome, Records, Result

__all__ = [
    "HEALTHY",
    "Agreement",
    "agreements",
    "compare",
    "diagnose",
    "find_certain",
    "read_signs",
    "remedy",
]


def diagnose(
    config: Config, curve: Curve, records: Records, result: Result, objective: Objective
) -> tuple[Diagnosis, ...]:
    """The one or two verdicts of an ended trial, the surest first; none where there is too little
    to tell, or where it failed."""
    if result.outcome in (Outcome.FAILED, Outcome.OUT_OF_MEMORY):
        return ()
    course = read_course(curve, records, objective, result.steps)
    if result.outcome is Outcome.DIVERGED:
        # A step's loss is that before its update: the first is the initial weights' alone.
        first = records.step[:1] == (1,) and not math.isfinite(records.loss[0])
        found = [Found("diverged", math.inf, {"step": 0.0 if first else float(result.steps)})]
    else:
        found = judge(course, whole=result.outcome is Outcome.COMPLETED)
        if not found and result.rule == NO_PROGRESS:  # It was too short for any other rule.
            fell = 1 - course.training.mean(0.5, 1) / course.first if course.first > 0 else 0.0
            evidence = {"learned": fell, "limit": 1 - PROGRESS}
            found = [Found("stagnating", 1.0, evidence if math.isfinite(fell) else {})]
    rate = course.rate if math.isfinite(course.rate) else _given_rate(config)
    return tuple(
        Diagnosis(
            each.verdict,
            round(1 - 0.5 / max(1.0, each.margin), 3),
            {name: float(value) for name, value in each.evidence.items()},
            advise(
                each.verdict,
                each.evidence,
                rate,
                beside=[other.verdict for other in found if other is not each],
            ),
        )
        for each in found
    )


def read_signs(
    curve: Curve, records: Records, result: Result, objective: Objective
) -> dict[str, float]:
    """The numbers of a trial by which it is compared with its neighbours (`compare`): its training
    and validation loss at the end, that of a model that knows nothing, and the swing of the
    validation loss from one evaluation to the next; those that are known."""
    if result.outcome in (Outcome.FAILED, Outcome.OUT_OF_MEMORY):
        return {}
    return measure_end(read_course(curve, records, objective, result.steps))


EARLIEST = 0.3
"""Share of its budget that a training is given before it is told to be hopeless: a third or so,
where the rungs of pruning are. At a tenth of it none of the best tenth of 1,080 published curves
had come down by less than 2 % of its start; a warmup takes its time beyond that."""

SURE = 2.0
"""The multiple of its limit that a rule must reach in a training that is not over."""


def find_certain(curve: Curve, records: Records, objective: Objective, share: float) -> str:
    """The verdict that is certain of a training after a share of its budget, or "": one that has
    learned nothing, at a rate that has stood at its highest for a while."""
    if share < EARLIEST:
        return ""
    found = find_hopeless(read_course(curve, records, objective, 0))
    return found.verdict if found is not None and found.margin >= SURE else ""


def _given_rate(config: Config) -> float:
    """The rate that a config names, nan where it names none."""
    rate: Any = {**config.get("params", {}), **config.get("train", {})}.get("lr")
    return float(rate) if type(rate) in (int, float) else math.nan
