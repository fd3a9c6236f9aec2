"""Single steps of a training as they are recorded: loss, gradients, update and weights.

Nothing here waits for the device, draws a number or changes what is trained: what a step was stays
on the device, [4] numbers a step, until an evaluation reads numbers back anyway.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from lrsearch.states import Unusable, check_counts, check_numbers
from lrsearch.train.device import has_room, sum_type
from lrsearch.trial import RECORDED, Records

SMALL = 2**16
"""Entries of a tensor, in each lane, that is copied together with others: one operation for all of
them. Larger ones would need much memory in one piece."""

ROOM = 6
"""Times the weights' memory has to be free after the first gradients, or else they are not copied:
an optimizer's state takes up to twice the weights, what it makes on the way as much again, and the
copy what they take."""

DIGITS = 8
"""Digits of a recorded number: those that float32 has."""


@dataclass
class Recording:
    """The records of a training at the steps `due`: `own` are those that it keeps itself (None: all
    of them), the others are for trials that branch off it. `told` counts the records that were sent
    in an event."""

    due: Container[int] = frozenset()
    told: int = 0
    own: frozenset[int] | None = None
    _lists: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in RECORDED})
    _pending: list[tuple[int, float, Tensor]] = field(default_factory=list)

    def note(self, step: int, rate: float, row: Tensor) -> None:
        """Take a step's `Weights.row`, and its rate."""
        self._pending.append((step, rate, row))

    @property
    def rows(self) -> list[Tensor]:
        """The rows that are still on the device, [4] each."""
        return [row for _, _, row in self._pending]

    def take_in(self, numbers: Sequence[float]) -> None:
        """Take the numbers of all `rows`, one row after the other."""
        for place, (step, rate, _) in enumerate(self._pending):
            loss, norm, change, weights = numbers[4 * place : 4 * place + 4]
            ratio = change / weights if weights else math.nan
            row = (step, *map(_shorten, (loss, norm, ratio)), rate)
            for name, value in zip(RECORDED, row, strict=True):
                self._lists[name].append(value)
        self._pending = []

    def losses(self) -> list[tuple[int, float]]:
        """The own recorded steps so far, and the training loss of each."""
        steps, losses = (self._lists[name] for name in ("step", "loss"))
        return [(int(steps[place]), losses[place]) for place in self._own_places()]

    def _own_places(self, first: int = 0) -> list[int]:
        """The places of its own records, from one on."""
        steps, own = self._lists["step"], self.own
        return [
            place for place in range(first, len(steps)) if own is None or int(steps[place]) in own
        ]

    def flush(self) -> None:
        """Wait for the device, and take what is still there."""
        if self._pending:
            self.take_in(torch.cat(self.rows).tolist())

    def take(self) -> dict[str, list[float]]:
        """The records as a saved state keeps them, those still on the device included."""
        self.flush()
        return {name: list(values) for name, values in self._lists.items()}

    def put(self, saved: Mapping[str, Any] | None, made: int) -> None:
        """Go on from the records that a saved state has after so many steps; None, as in states of
        versions without records, makes the records begin later. Raises Unusable, or any error, for
        values that are no training's records."""
        if saved is None:
            return
        lists = {name: list(saved[name]) for name in RECORDED}
        check_counts(*lists["step"])
        for values in lists.values():
            check_numbers(*values)
        steps = [0, *lists["step"], made + 1]
        if {len(values) + 2 for values in lists.values()} != {len(steps)} or not all(
            before < after for before, after in itertools.pairwise(steps)
        ):
            raise Unusable("its records are none")
        self._lists = lists

    def adopt(self, made: int) -> None:
        """Keep those of a stem's records, of so many steps, that are due here. Raises Unusable
        where one of its own is missing."""
        steps = self._lists["step"]
        missing = (self.own or frozenset()) - set(map(int, steps))
        if any(steps and steps[0] <= step <= made for step in missing):
            raise Unusable("its steps were recorded for a training of another length")
        self._choose([place for place, step in enumerate(steps) if int(step) in self.due])

    def cut(self, step: int) -> None:
        """Drop the records behind a step."""
        steps = self._lists["step"]
        self._choose([place for place, each in enumerate(steps) if each <= step])

    def _choose(self, places: Sequence[int]) -> None:
        for name, values in self._lists.items():
            self._lists[name] = [values[place] for place in places]

    def tell(self, start: float, baseline: float, *, whole: bool = False) -> Records:
        """Records of its own that were not told yet, or the whole; all of them are told now."""
        first, self.told = 0 if whole else self.told, len(self._lists["step"])
        places = self._own_places(first)
        lists: dict[str, Any] = {
            name: tuple(values[place] for place in places) for name, values in self._lists.items()
        }
        return Records(**lists, start=start, baseline=baseline)


def _shorten(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")


class Weights:
    """The weights before an update, of which only the norm is known without `room` for a copy.

    `parameters` are those that are trained; with `lanes` they, and all tensors given later, have a
    first dimension K.
    """

    @torch.no_grad()
    def __init__(
        self, parameters: Sequence[Tensor], *, lanes: bool = False, room: bool = True
    ) -> None:
        self.lanes = lanes
        pieces = _pieces(parameters, lanes=lanes, copied=room)
        self.norm, self.copies = _join_norms(pieces), pieces if room else []

    @torch.no_grad()
    def row(self, loss: Tensor, gradient_norm: Tensor, parameters: Sequence[Tensor]) -> Tensor:
        """The numbers after the update: loss, norm of the gradients, of the update and of the
        weights before it, [4] or [K, 4]."""
        change = torch.full_like(self.norm, math.nan)
        if self.copies:
            now = _pieces(parameters, lanes=self.lanes)
            pairs = zip(self.copies, now, strict=True)
            change = _join_norms([each.sub_(other) for each, other in pairs])
        numbers = (loss, gradient_norm, change, self.norm)
        return torch.stack([each.to(loss.device, sum_type(loss.device)) for each in numbers], -1)


@torch.no_grad()
def norm_of(tensors: Sequence[Tensor], *, lanes: bool = False) -> Tensor:
    """The norm of all entries, [], or with a first dimension K of each lane's, [K]."""
    return _join_norms(_pieces(tensors, lanes=lanes))


def room_for_copies(parameters: Sequence[Tensor]) -> bool:
    """Whether there is memory for a copy of the weights, whatever else a step may need."""
    if not parameters:
        return False
    size = sum(each.numel() * each.element_size() for each in parameters)
    return has_room(parameters[0].device, ROOM * size)


def _pieces(tensors: Sequence[Tensor], *, lanes: bool, copied: bool = False) -> list[Tensor]:
    """All entries in a few rows, each [entries] or [K, entries]: the small tensors as one, which is
    a copy, and each larger one, of which it may be a view."""
    shape = tensors[0].shape[:1] if lanes else ()
    small: list[Tensor] = []
    large: list[Tensor] = []
    for each in tensors:
        row = _as_real(each).reshape(*shape, -1)
        alike = row.shape[-1] < SMALL and row.device == tensors[0].device
        (small if alike else large).append(row)
    if copied:
        large = [each.clone() for each in large]
    return [*([torch.cat(small, -1)] if small else []), *large]


def _as_real(tensor: Tensor) -> Tensor:
    """The entries of a tensor as numbers of 32 bits or more, those that are complex as two."""
    strided = tensor.layout is torch.strided
    if strided and tensor.dtype in (torch.float32, torch.float64):
        return tensor
    if not strided:
        tensor = tensor.coalesce().values()
    if tensor.is_complex():
        tensor = torch.view_as_real(tensor.resolve_conj())
    return tensor if tensor.dtype.itemsize >= 4 else tensor.float()


def _join_norms(pieces: Sequence[Tensor]) -> Tensor:
    norms: list[Tensor] = [torch.linalg.vector_norm(each, dim=-1) for each in pieces]
    if len(norms) == 1:
        return norms[0]
    device = norms[0].device
    wide = [each.to(device, sum_type(device)) for each in norms]
    joined: Tensor = torch.linalg.vector_norm(torch.stack(wide, -1), dim=-1)
    return joined
