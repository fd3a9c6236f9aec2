"""When a training is lost: losses in, yes or no out.

A loss that is not finite is lost at once. A finite one is lost when it has stood far above
its start for several evaluations in a row and is not on its way back: high learning rates
often spike early and recover, and those must be left alone. What is still far above its start
when the training ends has not recovered.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

FACTOR = 10.0
"""How many times its start a loss must exceed; a spike at a usable rate rarely passes 5."""

PATIENCE = 3
"""Evaluations in a row it must stand there."""


def diverged(start: float, losses: Sequence[float], *, ended: bool = False) -> bool:
    """Whether a training with these losses is lost.

    `start` is the loss before the first update, over enough samples to stand for the data,
    `losses` the training losses at the evaluations so far, oldest first; `ended` says that the
    last of them is the training's last. `recovering` means the last loss is under half the
    highest of the window.
    """
    if not math.isfinite(start):
        return True
    if not losses:
        return False
    if not math.isfinite(losses[-1]):
        return True
    ceiling = FACTOR * max(abs(start), 1e-8)
    if ended:
        return losses[-1] > ceiling
    window = losses[-PATIENCE:]
    if len(window) < PATIENCE:
        return False
    recovering = window[-1] < 0.5 * max(window)
    return all(loss > ceiling for loss in window) and not recovering
