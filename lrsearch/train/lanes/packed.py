"""Packed sequences under vmap: how many places are packed depends on the lengths, so that they are
what a mask chooses of the padded ones."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from lrsearch.train.lanes.chosen import Chosen, choose, origin_of
from lrsearch.train.lanes.draws import Noise
from lrsearch.train.lanes.plain import axis_of, level_of_lanes
from lrsearch.train.lanes.recurrent import recur
from lrsearch.train.tape import NotRecordable, unrecorded


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
    with unrecorded():
        # A recurrent layer looks at the first of these, for the states that it begins with.
        sizes: Any = torch.full((1,), x.shape[1], device="cpu")
    sizes.told = (within, lengths)
    return data, sizes


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
    return data.like(out.flatten(0, 1)), *ends


def pad(data: Any, sizes: Any, batch_first: bool, value: float, length: int) -> Any:
    """torch._VF._pad_packed_sequence, to a length that is given: the longest one depends on
    values."""
    within, lengths = _tell(data, sizes)
    if length < len(within):
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
    told: tuple[Tensor, Tensor] | None = getattr(sizes, "told", None)
    if not isinstance(data, Chosen) or told is None:
        raise NotRecordable("it makes a PackedSequence by itself, of what is no packed one's")
    return told
