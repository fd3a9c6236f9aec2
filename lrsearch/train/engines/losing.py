"""Errors of trainings that are lost: what a user's code raises once the numbers have gone."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import nn

from lrsearch.data.interrupts import any_but_interrupts
from lrsearch.data.raised import tell_raised
from lrsearch.divergence import UNKNOWN_FACTOR
from lrsearch.train.device import is_out_of_memory
from lrsearch.train.recording import norm_of


def find_loss(
    error: BaseException,
    loss: float,
    ceiling: float,
    model: nn.Module,
    make: Callable[[], nn.Module],
) -> str:
    """The sign that a training which raised an error had been lost before, in words; "" where there
    is none, and the error is a fault of its own.

    `loss` is the mean of its last steps, `ceiling` how high one is that is far above the loss's
    scale, `make` draws the model's initial weights.
    """
    if is_out_of_memory(error):
        return ""
    if not math.isfinite(loss):
        return f"training loss was {loss}"
    if loss > ceiling:
        return f"training loss was {loss:.3g}"
    try:
        size = _size(model)
        if not math.isfinite(size):
            return "weights were no numbers"
        gradients = [each.grad for each in model.parameters() if each.grad is not None]
        if gradients and not math.isfinite(norm_of(gradients).item()):
            return "gradients were no numbers"
        times = size / _size(make())
    except any_but_interrupts():  # A second error explains nothing.
        return ""
    return f"weights had grown {times:.3g} times" if times > UNKNOWN_FACTOR else ""


def _size(model: nn.Module) -> float:
    with torch.no_grad():
        return float(norm_of([each.detach() for each in model.parameters()]).item())


def tell_error(error: BaseException) -> str:
    """An error in one line: its own words, of a bug in the user's code where it was raised."""
    return tell_raised(error).strip().partition("\n")[0]
