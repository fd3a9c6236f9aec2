"""Early stopping: which trainings end before their budget is used, as pure functions.

`find_standstill` looks at one training alone: whether it has made no progress at all. At a tenth of
the budget a training loss above 98 % of its start belonged to none of the best quarter of 1,080
published curves (DeepOBS, Schneider et al. 2019; `benchmarks/pruning.py`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from lrsearch import divergence

NO_PROGRESS = "no_progress"
"""The name of the rule that looks at one training alone."""

SHARE = 0.1
"""Share of the budget after which a training is judged by its progress."""

RISEN = 0.05
"""Share of the budget for which the rate has stood at its highest by then, where it rises first."""

PROGRESS = 0.98
"""Share of its start that a loss must have come below."""

FLOOR = 0.9
"""Share of the loss of the best constant prediction that a start below it is near the floor: such
a training, as of pretrained weights, has little way to go."""

ROUNDED = 0.5
"""Steps by which an evaluation may come before a share of the budget, being rounded."""


def judging_step(evaluations: Sequence[int], rates: Sequence[float]) -> int:
    """The step of the evaluation at which a training is judged by its progress, 0 for never.

    `evaluations` are the steps after which it is evaluated, the last of which is its whole budget,
    `rates` the rate of every step. A training whose rate rises first, as in a warmup, has had its
    highest rate for a while by then.
    """
    budget = evaluations[-1]
    peak = max(rates, default=0.0)
    if not 0 < peak < math.inf:
        return 0
    risen = next(step for step, rate in enumerate(rates) if rate >= peak)
    least = max(SHARE * budget, risen + RISEN * budget if risen else 0.0) - ROUNDED
    return next((step for step in evaluations[:-1] if step >= least), 0)


@dataclass(frozen=True)
class Progress:
    """The losses of a training that is judged.

    `start` is the loss before the first step and `baseline` that of the best constant prediction,
    both measured as validation losses are; `first` is the training loss of the first batch as it
    was trained, augmented, say (nan where nobody knows); `training` is the mean training loss of
    the latest steps, measured like `first`; `validation` the latest validation loss; `lowest` the
    lowest of all losses so far.
    """

    start: float
    baseline: float
    first: float
    training: float
    validation: float
    lowest: float


def find_standstill(losses: Progress) -> str:
    """The reason to say that a training makes no progress, or "" where it does, or cannot be
    judged: where it began near the floor, or its loss can be negative. One that stands far above
    its scale is left to `divergence`: it may be on its way back, and if not it has diverged.

    Like is compared with like: training losses with the first one as trained (or with the start
    where that was higher), validation losses with the start. Progress in either is enough.
    """
    start, first = losses.start, losses.first
    if not math.isfinite(losses.training) or not math.isfinite(losses.validation):
        name = "validation" if math.isfinite(losses.training) else "training"
        value = losses.validation if name == "validation" else losses.training
        return f"the {name} loss is {value}"
    known = math.isfinite(start) and math.isfinite(losses.baseline)
    if not known or min(start, losses.lowest) < 0 or start < FLOOR * losses.baseline:
        return ""
    begun = max(start, first) if math.isfinite(first) else start
    if losses.training <= PROGRESS * begun or losses.validation <= PROGRESS * start:
        return ""
    if losses.training > divergence.FACTOR * divergence.find_scale(start, losses.baseline, 0.0):
        return ""
    return (
        f"the training loss is {losses.training:.3g} after a start of {begun:.3g}, and the "
        f"validation loss {losses.validation:.3g} after {start:.3g}"
    )
