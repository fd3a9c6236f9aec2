"""A loss that holds the outputs of each sample against the targets of all, as [samples, 1] and
[samples] do together, is found by trying."""

from __future__ import annotations

import copy
from dataclasses import replace

import torch
from torch import Tensor, nn

from lrsearch.data.interrupts import any_but_interrupts
from lrsearch.data.parts import divide
from lrsearch.train.batches.batch import Batch, select, take
from lrsearch.train.models.criterion import Criterion

SAMPLES = 3
"""Samples that are tried with the targets of each."""


ROUNDING = 1e-5
"""A difference of losses, over the largest of them, that is no rounding of float32."""


@torch.no_grad()
def tell_pairs(criterion: Criterion, model: nn.Module, batch: Batch) -> list[str]:
    """A note on a loss or a step of the user's whose value for some samples is the mean over all
    pairs of one's outputs and another's targets, and not that over each's own; none where it cannot
    be told, as of one that draws random numbers or compares samples."""
    if criterion.stacks or isinstance(batch.weight, Tensor) or batch.samples < SAMPLES:
        return []
    aside = copy.copy(criterion)  # The memory of the user's objects belongs to the trainings.
    model.eval()
    try:
        aside.step, aside.loss_code = copy.deepcopy((criterion.step, criterion.loss_code))
        some = take(batch, torch.linspace(0, batch.samples - 1, SAMPLES).long())
        whole = aside.loss(model, some).double()
        pairs = torch.stack(
            [
                _loss_of_pair(aside, model, some, torch.tensor([one]), torch.tensor([other]))
                for one in range(SAMPLES)
                for other in range(SAMPLES)
            ]
        ).double()
    except any_but_interrupts():
        return []
    every, own = pairs.mean(), pairs.view(SAMPLES, SAMPLES).diagonal().mean()
    apart = (every - own).abs()  # Little, where outputs hardly differ yet.
    if not (apart > ROUNDING * pairs.abs().max() and (whole - every).abs() < 0.02 * apart):
        return []
    where = "train.loss" if criterion.step is None else "train.step"
    return [
        f"{where}: it holds the outputs of each sample against the targets of all, as where shapes "
        "[samples, 1] and [samples] meet: give both one shape, such as outputs.squeeze(1)"
    ]


def _loss_of_pair(
    criterion: Criterion, model: nn.Module, batch: Batch, one: Tensor, other: Tensor
) -> Tensor:
    """The loss of a sample with the targets of another."""
    if criterion.step is None:
        return criterion.loss(model, Batch(select(batch.x, one), select(batch.y, other)))
    part = divide(batch.x)
    mixed = replace(part, x=select(part.x, one), y=select(part.y, other), weight=None)
    return criterion.loss(model, Batch(mixed.rejoin()))
