"""Products of the lanes' matrices, each lane's equal to the product alone."""

from __future__ import annotations

import torch
from torch import Tensor

ALIGNMENT = 16
"""Bytes by which matrices are aligned. On a CPU the last bits of a small product depend on where
its matrices begin within so many bytes: each lane's must begin alike, or lanes would depend on
their place."""


def multiply(left: Tensor, right: Tensor, bias: Tensor | None = None) -> Tensor:
    """Multiply [K, n, m] by [K, m, p], both aligned, and add the lanes' bias [K, p]: [K, n, p]."""
    rows, columns = left.shape[1], right.shape[2]
    if _is_aligned(left, rows * columns):
        if bias is None:
            return torch.bmm(left, right)
        return torch.baddbmm(bias.unsqueeze(1), left, right)
    out = torch.bmm(left, right, out=_empty(left, rows, columns))
    return out if bias is None else out.add_(bias.unsqueeze(1))


def align(lanes: Tensor) -> Tensor:
    """The same matrices [K, n, m], each aligned as the first is."""
    dense = 1 in lanes.stride()[1:]  # Else a product would copy them, and not align them.
    if dense and _is_aligned(lanes, lanes.stride(0)):
        return lanes
    return _empty(lanes, *lanes.shape[1:]).copy_(lanes)


def _is_aligned(like: Tensor, stride: int) -> bool:
    """Whether lanes that are so many elements apart are aligned alike."""
    return like.device.type != "cpu" or stride * like.element_size() % ALIGNMENT == 0


def _empty(like: Tensor, rows: int, columns: int) -> Tensor:
    """Aligned matrices [K, rows, columns]."""
    unit = ALIGNMENT // like.element_size()
    apart = -(-rows * columns // unit) * unit
    return like.new_empty(len(like), apart)[:, : rows * columns].view(-1, rows, columns)
