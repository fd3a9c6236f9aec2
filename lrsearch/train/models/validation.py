"""The evaluation of one model on the validation split."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from lrsearch import pulse
from lrsearch.data.trees import Tree
from lrsearch.train.batches.batch import copy, join
from lrsearch.train.batches.resident import Resident
from lrsearch.train.batches.streamed import Streamed, Window
from lrsearch.train.models.criterion import CHUNK, Criterion
from lrsearch.train.randomness import get_noise, set_noise

ALONE_CHUNK = 1024
"""Samples per forward pass of an evaluation (`Resident.chunk`) by a built-in loss; fixed, so that
results do not follow the batch. Code of the user's gets `criterion.CHUNK`, as in lanes."""


def chunk_of(data: Resident | Streamed | Window, criterion: Criterion) -> int:
    """Samples per forward pass of an evaluation."""
    return data.chunk(ALONE_CHUNK if criterion.stacks else CHUNK)


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
    sums: list[Tensor] = []
    seen: list[Any] = []
    targets: list[Tree] = []
    model.eval()
    with torch.no_grad():
        for kept in data.validation_batches(chunk_of(data, criterion)):
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
        values = criterion.measure(join(seen), join(targets))
        return torch.cat([total, torch.stack(values).to(total)])
