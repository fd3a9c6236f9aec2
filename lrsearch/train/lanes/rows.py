"""The parameters of a lane in one row, so that an optimizer is a few operations for all of them.

On a GPU a step of a small model is as long as its launches are many, and of those by AdamW two
thirds are the optimizer's, by nine for each parameter.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

KINDS = ("cuda",)
"""Kinds of devices whose lanes have rows. On a CPU, whose operations cost little beside their
numbers, parameters stay where they always were: the last bits of products hang on that."""

MOST = 2**23
"""Entries of all lanes up to which rows gain: launches of more are as long as their numbers are
many, and gradients are copied."""

UNIT = 4
"""Entries by whose multiples parameters begin: kernels read so many at once."""


class Rows:
    """The places of parameters in a row, by their names and shapes in a lane."""

    def __init__(self, shapes: Mapping[str, Sequence[int]]) -> None:
        self.shapes = shapes
        self.sizes = {name: math.prod(shape) for name, shape in shapes.items()}
        self.begins: dict[str, int] = {}
        self.length = 0
        for name, size in self.sizes.items():
            self.begins[name] = self.length
            self.length += -(-size // UNIT) * UNIT

    def zeros(self, like: Tensor, lanes: int) -> Joined:
        """Zeros for so many lanes."""
        return Joined(self, like.new_zeros(lanes, self.length))

    def part(self, rows: Tensor, names: Sequence[str]) -> Tensor:
        """The part of rows [lanes, length] with parameters that stand side by side."""
        begin, last = self.begins[names[0]], names[-1]
        return rows[:, begin : self.begins[last] + -(-self.sizes[last] // UNIT) * UNIT]

    def join(self, tensors: Mapping[str, Tensor]) -> Joined:
        """Copies of the parameters' gradients [lanes, ...]."""
        parts: list[Tensor] = []
        for name, size in self.sizes.items():
            each = tensors[name]
            parts.append(each.reshape(len(each), -1))
            if rest := -size % UNIT:
                parts.append(each.new_zeros(len(each), rest))
        return Joined(self, torch.cat(parts, 1))


class Joined(Mapping[str, Tensor]):
    """Tensors [lanes, ...] by the parameters' names, in rows [lanes, length], the `whole`."""

    def __init__(self, rows: Rows, whole: Tensor) -> None:
        self.rows, self.whole = rows, whole

    def __getitem__(self, name: str) -> Tensor:
        begin = self.rows.begins[name]
        place = self.whole[:, begin : begin + self.rows.sizes[name]]
        return place.view(len(place), *self.rows.shapes[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self.rows.shapes)

    def __len__(self) -> int:
        return len(self.rows.shapes)


def find_rows(
    parameters: Mapping[str, Tensor],
    slots: Mapping[str, Mapping[str, Tensor]],
    order: Sequence[str],
    lanes: int,
) -> Rows | None:
    """Rows of these parameters of one lane in this order, or None where they stay apart: `slots`
    are those of an optimizer that steps by entries."""
    first = parameters[order[0]]
    alike = all(
        (each.dtype, each.device) == (first.dtype, first.device)
        for part in (parameters, *slots.values())
        for each in part.values()
    )
    whole = all(part.keys() == parameters.keys() for part in slots.values())
    if first.device.type not in KINDS or not alike or not whole or len(order) < 2:
        return None
    rows = Rows({name: tuple(parameters[name].shape) for name in order})
    return rows if rows.length * lanes <= MOST and min(rows.sizes.values()) > 0 else None
