"""Masks of the lanes', and whether two of them choose the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from lrsearch.train.lanes.plain import axis_of, level_of_lanes, whole_of


def origin_of(mask: Tensor) -> object:
    """A mask's origin, to be held against others': two made by one comparison of the same are
    one."""
    made = getattr(mask, "_made_by", None)
    now = whole_of(mask)._version
    # By the id first: tensors are then compared only where they are one. It is kept, so that no
    # other gets its id.
    return made[1] if made is not None and made[0] == now else (id(mask), mask, now)


def compare(func: Callable[..., Any], *args: Any) -> Any:
    """A function whose result may be a mask, which then knows what it was made by."""
    out = func(*args)
    if isinstance(out, Tensor) and axis_of(out) is not None:
        parts = [origin_of(each) if isinstance(each, Tensor) else (each,) for each in args]
        name = func.__name__.strip("_")
        out._made_by = (whole_of(out)._version, (name, *parts))  # type: ignore[attr-defined]
    return out


def is_mask(value: Any) -> bool:
    """Whether an index is a mask of the lanes'."""
    return (
        issubclass(type(value), Tensor)  # What is chosen says that it is one.
        and value.dtype is torch.bool
        and value.dim() > 0
        and level_of_lanes() is not None
        and axis_of(value) is not None
    )


_COMPARING = ("eq", "ne", "gt", "ge", "lt", "le", "and", "or", "xor", "invert")
COMPARING = (
    *(getattr(Tensor, f"__{name}__") for name in _COMPARING),
    *(getattr(owner, name) for name in _COMPARING[:6] for owner in (torch, Tensor)),
    *(torch.isnan, Tensor.isnan, torch.isfinite, Tensor.isfinite),
)
"""Functions by which masks are made."""
