"""Packed sequences under vmap: how many places are packed depends on the lengths, so that they are
what a mask chooses of the padded ones."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from lrsearch.train.lanes.chosen import Chosen, Count, choose, settle
from lrsearch.train.lanes.draws import Noise
from lrsearch.train.lanes.masks import origin_of
from lrsearch.train.lanes.plain import axis_of, level_of_lanes
from lrsearch.train.lanes.recurrent import recur
from lrsearch.train.tape import NotRecordable


class _Sizes:
    """The batch sizes of packed sequences, which depend on the lengths. A recurrent layer looks at
    the first alone, and padding holds their number against the length that is given."""

    device = torch.device("cpu")

    def __init__(self, within: Tensor, lengths: Tensor) -> None:
        self.within, self.lengths = within, lengths

    def __getitem__(self, place: Any) -> int:
        return int(self.within.shape[1]) if place == 0 else int(_refuse())

    def __getattr__(self, name: str) -> Any:
        return _refuse()

    __len__ = __iter__ = __bool__ = lambda self: _refuse()

    @classmethod
    def __torch_function__(cls, *_: Any) -> Any:
        return _refuse()

    def size(self, dim: int = 0) -> Count:
        """The longest sequence's length."""
        return _Longest(self.lengths[0])


def _refuse() -> Any:
    raise NotRecordable("it reads the batch sizes of packed sequences, which depend on values")


class _Longest(Count):
    """The longest length, which `pad` holds against the one that is given."""

    def __gt__(self, other: object) -> bool:
        return False


def pack(input: Tensor, lengths: Tensor, batch_first: bool) -> Any:
    """torch._VF._pack_padded_sequence. Lengths in no descending order, or of zero, at which a trial
    alone raises, lose their lane."""
    if level_of_lanes() is None or axis_of(input) is None:
        return torch._VF._pack_padded_sequence(input, lengths, batch_first)
    x = input.transpose(0, 1) if batch_first else input
    lengths = lengths.to(x.device)
    sound = (lengths > 0).all() & (lengths[1:] <= lengths[:-1]).all() & (lengths[0] <= len(x))
    within = torch.arange(len(x), device=x.device).unsqueeze(1) < lengths
    data = choose(torch.where(sound, x, math.nan) if x.is_floating_point() else x, within)
    data.origin = (origin_of(lengths), len(x))
    return data, _Sizes(within, lengths)


def recur_packed(
    noise: Noise,
    func: Callable[..., Any],
    cell: Callable[..., tuple[Tensor, ...]],
    data: Any,
    sizes: Any,
    hx: Any,
    params: Sequence[Tensor],
    *given: Any,
) -> Any:
    """A recurrent layer of packed sequences, with the arguments of torch.lstm and its like."""
    within, _ = _tell(data, sizes)
    _, layers, rate, train, _ = given
    if layers > 1 and rate > 0.0 and train:
        raise NotRecordable(
            "it uses dropout between recurrent layers of packed sequences, which draws a number "
            "for each place that is packed"
        )
    x = data.rows.unflatten(0, within.shape)
    out, *ends = recur(noise, func, cell, x, hx, params, *given, False, within=within)
    return settle(out.flatten(0, 1), data.mask, data.origin), *ends


def pad(data: Any, sizes: Any, batch_first: bool, value: float, length: int) -> Any:
    """torch._VF._pad_packed_sequence, to a length that is given: the longest one depends on
    values."""
    within, lengths = _tell(data, sizes)
    if isinstance(length, Count) or length < len(within):
        raise NotRecordable(
            "it pads packed sequences to the longest of a batch, which depends on values; with "
            f"pad_packed_sequence(..., total_length={len(within)}) it trains in lanes"
        )
    out = data.filled(value).unflatten(0, within.shape)
    more = out.new_full((length - len(within), *out.shape[1:]), value)
    out = torch.cat([out, more]) if len(more) else out
    return out.transpose(0, 1) if batch_first else out, lengths


def _tell(data: Any, sizes: Any) -> tuple[Tensor, Tensor]:
    """The places [time, batch] that are of a sequence, as a mask, and the lengths."""
    if not isinstance(data, Chosen) or not isinstance(sizes, _Sizes):
        raise NotRecordable("it makes a PackedSequence by itself, of what is no packed one's")
    return sizes.within, sizes.lengths
