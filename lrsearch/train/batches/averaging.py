"""Evaluation at averaged weights: schedule-free trains at one point and is evaluated at another.

Batch norm's running statistics belong to the weights they were gathered at. Before an evaluation
elsewhere they are gathered anew, as `torch.optim.swa_utils.update_bn` does: from batches in a fixed
order, the same for every trial, as the plain mean over the batches. The training's own statistics
are put back afterwards, bit by bit, so that an evaluation does not change the training.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from lrsearch import pulse
from lrsearch.train.batches.batch import Batch
from lrsearch.train.randomness import batches as draw_batches
from lrsearch.train.randomness import draws_kept

BATCHES = 50
"""The most batches that statistics are gathered from; never more than one epoch has."""


@runtime_checkable
class Averaging(Protocol):
    """An optimizer that keeps other weights to evaluate at; `eval` and `train` change between."""

    def eval(self) -> None:
        """Put the weights to evaluate at into the parameters."""

    def train(self) -> None:
        """Put the weights to train at into the parameters."""


def recalibration_batches(samples: int, size: int, device: torch.device) -> Iterator[Tensor]:
    """Indices of the batches that statistics are gathered from, int64 [size] each."""
    return itertools.islice(draw_batches(samples, size, 0, device), min(BATCHES, samples // size))


def normalizing(model: nn.Module) -> dict[str, _BatchNorm]:
    """The layers whose running statistics a forward pass would change now, by their names: a model
    may keep some in evaluation mode."""
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, _BatchNorm) and module.training and module.running_mean is not None
    }


@torch.no_grad()
def recalibrate(
    model: nn.Module, batches: Iterable[Batch], forward: Callable[[Batch], object]
) -> None:
    """Gather batch norm's running statistics at the model's present weights, passing batches
    forward; other buffers stay as they are, and so do layers that the model does not use."""
    model.train()
    layers = normalizing(model).values()
    if not layers:
        return
    before = _copies(model)
    momenta = [each.momentum for each in layers]
    try:
        for each in layers:
            each.reset_running_stats()
            each.momentum = None  # A cumulative mean.
        device = next(model.parameters()).device
        with draws_kept(device):
            for batch in batches:
                forward(batch)
                pulse.beat()
    finally:
        for each, momentum in zip(layers, momenta, strict=True):
            each.momentum = momentum
    counters = [each.num_batches_tracked for each in layers]
    tracked = [each for each in counters if each is not None]
    counts = iter(torch.stack(tracked).tolist() if tracked else ())  # One wait for all of them.
    gathered = {
        id(buffer)
        for each, counter in zip(layers, counters, strict=True)
        if counter is not None and next(counts)
        for buffer in each.buffers(recurse=False)
    }
    for buffer, held in before:
        if id(buffer) not in gathered:
            buffer.copy_(held)


@contextlib.contextmanager
def evaluation_weights(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    calibrate: Callable[[], None],
) -> Iterator[bool]:
    """Put the model at the weights its optimizer is evaluated at, and `calibrate` it there;
    afterwards put it back. Gives whether these weights differ from the ones it trains at."""
    if not isinstance(optimizer, Averaging):
        yield False
        return
    held = [(each, each.detach().clone()) for each in model.parameters()] + _copies(model)
    optimizer.eval()
    try:
        calibrate()
        yield True
    finally:
        optimizer.train()
        with torch.no_grad():
            for each, before in held:  # `train` would come back but for rounding.
                each.copy_(before)


def _copies(model: nn.Module) -> list[tuple[Tensor, Tensor]]:
    return [(each, each.clone()) for each in model.buffers()]
