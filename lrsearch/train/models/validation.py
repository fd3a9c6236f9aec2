"""The evaluation of one model on the validation split."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from lrsearch import pulse
from lrsearch.data.interrupts import any_but_interrupts
from lrsearch.data.trees import Tree
from lrsearch.train.batches.batch import copy, join
from lrsearch.train.batches.resident import Resident
from lrsearch.train.batches.streamed import Streamed, Window
from lrsearch.train.device import free_memory, is_out_of_memory, release
from lrsearch.train.models.criterion import CHUNK, Criterion
from lrsearch.train.randomness import get_noise, set_noise

ALONE_CHUNK = 1024
"""Samples per forward pass of an evaluation (`Resident.chunk`) by a built-in loss; fixed, so that
results do not follow the batch. Code of the user's gets `criterion.CHUNK`, as in lanes, and so does
a model that norms by the batch it evaluates."""


LEAST_CHUNK = 16
"""Samples that memory has to do for."""

HALVING = ("cuda", "mps")
"""Kinds of devices on which memory that is short makes smaller chunks. On a CPU it must not: the
last bits of a sum hang on them."""


def in_chunks(
    compute: Callable[[int], Tensor],
    data: Resident | Streamed | Window,
    criterion: Criterion,
    most: int | None = None,
) -> Tensor:
    """The result of `compute`, which is given the samples per forward pass of an evaluation: `most`
    is `CHUNK` in lanes. What trains may not fit so many at once: they are halved where a GPU runs
    out of memory, for all evaluations by this criterion. Raises that error where few are still too
    many."""
    usual = most or (ALONE_CHUNK if criterion.stacks else CHUNK)
    while True:
        size = data.chunk(usual) // criterion.parts

        def is_final(error: BaseException, size: int = size) -> bool:
            halves = data.device.type in HALVING and is_out_of_memory(error)
            return not halves or size <= LEAST_CHUNK

        try:
            return compute(size)
        except any_but_interrupts(is_final) as error:
            release(error)
        criterion.parts *= 2
        free_memory(data.device)


def validation_sums(
    model: nn.Module,
    data: Resident | Streamed | Window,
    criterion: Criterion,
    generator: torch.Generator | None = None,
) -> Tensor:
    """The summed loss and the sums for the task's metrics over the validation split, and the values
    of the user's metrics, [sums + metrics]. What is drawn there comes from torch's global generator
    for the device, or from one of the same device in its place."""
    if generator is not None:
        others = get_noise(data.device)
        set_noise(generator.get_state(), data.device)
        try:
            found = validation_sums(model, data, criterion)
            generator.set_state(get_noise(data.device))
        finally:
            set_noise(others, data.device)
        return found
    most = CHUNK if _counts_batch(model) else None
    return in_chunks(partial(_sum_up, model, data, criterion), data, criterion, most)


def _counts_batch(model: nn.Module) -> bool:
    """Whether a layer norms by the batch in evaluation, too: then it has to be that of lanes."""
    return any(
        isinstance(each, _BatchNorm) and each.running_mean is None for each in model.modules()
    )


def _sum_up(
    model: nn.Module, data: Resident | Streamed | Window, criterion: Criterion, size: int
) -> Tensor:
    sums: list[Tensor] = []
    seen: list[Any] = []
    targets: list[Tree] = []
    model.eval()
    with torch.no_grad():
        for kept in data.validation_batches(size):
            pulse.beat()
            batch = copy(kept)  # A user's code may change it in place.
            found, outputs = criterion.sums(model, batch)
            sums.append(found)
            if criterion.measures:
                seen.append(outputs)
                targets.append(batch.y)
        total = torch.stack(sums).sum(0)
        if not criterion.measures:
            return total
        values = criterion.measure(*data.in_own_units(join(seen), join(targets)))
        return torch.cat([total, torch.stack(values).to(total)])
