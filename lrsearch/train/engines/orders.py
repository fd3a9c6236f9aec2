"""Orders of data: the batches of a seed, for all lanes that read the same."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from functools import cached_property

import torch
from torch import Tensor

from lrsearch.train.batches.batch import Batch
from lrsearch.train.batches.streamed import Streamed, Window
from lrsearch.train.engines.course import Data
from lrsearch.train.lanes.program import Program
from lrsearch.train.randomness import batches


class Order:
    """The batches a seed makes of the data, from some step on; several lanes may read one order."""

    def __init__(self, data: Data, size: int, seed: int, first: int = 0) -> None:
        self.data, self.size, self.seed, self.first = data, size, seed, first

    @cached_property
    def _indices(self) -> Iterator[Tensor]:
        order = batches(self.data.samples, self.size, self.seed, self.data.device)
        return itertools.islice(order, self.first, None)

    @cached_property
    def _loaded(self) -> Iterator[Batch]:
        assert isinstance(self.data, Streamed)
        return self.data.batches(self.size, self.seed, self.first)

    def take(self, steps: int) -> Tensor:
        """Indices of the next so many batches, int64 [steps, batch]."""
        return torch.stack(list(itertools.islice(self._indices, steps)))

    def load(self) -> Batch:
        """The next batch itself."""
        return next(self._loaded)


def gather_batches(orders: Sequence[Order], steps: int) -> Tensor:
    """Indices of the next steps of lanes that read these orders: int64 [steps, batch] where it is
    one order for all, else [steps, lanes, batch]."""
    taken = {id(each): each for each in orders}
    found = {key: each.take(steps) for key, each in taken.items()}
    if len(found) == 1:
        return found[id(orders[0])]
    return torch.stack([found[id(each)] for each in orders], 1)


def advance(program: Program, orders: Sequence[Order], numbers: Tensor) -> None:
    """Make a program's steps with the next batches of the orders that its lanes read, one a lane;
    `numbers` as in `Program.advance`."""
    seen = program.data
    if not isinstance(seen, Window):
        program.advance(gather_batches(orders, len(numbers)), numbers)
        return
    distinct = list(dict.fromkeys(orders))
    for row in torch.split(numbers, 1):
        places = seen.show([each.load() for each in distinct], len(orders))
        index = [places[distinct.index(each)] for each in orders]
        rows = index[0] if len(distinct) == 1 else torch.stack(index)
        program.advance(rows.unsqueeze(0), row)
