"""Divergence: whether a training is lost, from its losses.

A loss that is not finite is lost at once. A finite one is lost when training and validation have
both stood far above the scale of the loss for a share of the budget, and are not on their way back:
high learning rates often spike early and recover, and those must be left alone. What is still far
above when the training ends has not recovered.

Training losses are of augmented batches, of a model that drops units, and means over the steps
between two evaluations; validation losses are measured alike from the start to the end, but follow
batch norm's running statistics. Either alone may be high in a sound training. Steps count, not
evaluations: a training is no more lost for being looked at more often.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

FACTOR = 10.0
"""The factor by which a loss must exceed its scale."""

UNKNOWN_FACTOR = 1000.0
"""The same for a loss of the user's: it may be a sum over a batch, or of numbers of any size, and
may swing far above its start in a training that is only coarse."""

PATIENCE = 0.1
"""Share of the budget for which a loss must stay there."""

SHORTEST = 10
"""Steps of the patience, at least: spikes of a short training last as long as those of any
other."""

SHARE = 0.5
"""Share of the evaluations within the patience that must be far above: sign-like steps of a huge
size leave and return."""

RECOVERY = 0.5
"""A validation loss under this share of its highest within the patience is on its way back."""


def find_scale(start: float, baseline: float, lowest: float) -> float:
    """The scale of a loss: the largest of the loss before the first update, of `baseline`, the loss
    of a model that knows nothing (pretrained weights start with next to none), and of how far below
    zero the losses have come, as losses that are likelihoods do; each by its size."""
    return max(abs(start), baseline, -lowest)


def _find_patience(budget: int) -> float:
    """The steps, of so many in all, for which a loss must stand far above its scale."""
    return max(PATIENCE * budget, SHORTEST)


def recent_mean(steps: Sequence[float], losses: Sequence[float], budget: int) -> float:
    """The mean training loss over the last steps, as many as the patience, and of the interval in
    which they begin; `losses` are the means up to the evaluations at `steps`."""
    since, begun = steps[-1] - _find_patience(budget), [0, *steps[:-1]]
    parts = [
        ((end - begin) * loss, end - begin)
        for begin, end, loss in zip(begun, steps, losses, strict=True)
        if end > since
    ]
    return math.fsum(part for part, _ in parts) / sum(length for _, length in parts)


def recent_steps(steps: Sequence[float], budget: int) -> float:
    """The number of steps that `recent_mean` is the mean of."""
    since, begun = steps[-1] - _find_patience(budget), [0, *steps[:-1]]
    return steps[-1] - next(begin for begin, end in zip(begun, steps, strict=True) if end > since)


def diverged(
    scale: float,
    steps: Sequence[float],
    training: Sequence[float],
    validation: Sequence[float],
    budget: int,
    factor: float = FACTOR,
) -> bool:
    """Whether a training is lost, as of its last evaluation.

    `scale` comes from `find_scale`. `steps` are the steps of the evaluations so far, `training` the
    mean training losses up to each, `validation` the validation losses there; `budget` is the whole
    training in steps; `factor` times the scale is far above it.
    """
    if not all(map(math.isfinite, (scale, training[-1], validation[-1]))):
        return True
    ceiling, last = factor * scale, steps[-1]
    if validation[-1] <= ceiling or recent_mean(steps, training, budget) <= ceiling:
        return False
    if last >= budget:
        return True
    before = [k for k, step in enumerate(steps) if step <= last - _find_patience(budget)]
    window = validation[before[-1] :] if before else ()
    if not window or window[0] <= ceiling:
        return False
    above = sum(loss > ceiling for loss in window)
    return above >= SHARE * len(window) and window[-1] >= RECOVERY * max(window)
