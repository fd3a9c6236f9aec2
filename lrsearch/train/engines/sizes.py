"""Sizes of tensors' entries, and whether two tensors are equal."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor


def where_wide(tensor: Tensor) -> Tensor:
    """The device itself where it has float64, else the CPU (MPS has none)."""
    return tensor.cpu() if tensor.device.type == "mps" else tensor


def as_numbers(tensor: Tensor) -> Tensor:
    """A tensor in float64; a complex one as its real and imaginary parts."""
    wide = where_wide(tensor)
    return (torch.view_as_real(wide.resolve_conj()) if wide.is_complex() else wide).double()


def can_subtract(left: Tensor, right: Tensor) -> bool:
    """Whether two tensors can be subtracted as they are, and have a largest entry."""
    alike = left.shape == right.shape and left.dtype == right.dtype
    return alike and left.dtype in (torch.float32, torch.float64) and left.numel() > 0


def find_sizes(tensors: Sequence[Tensor]) -> list[float]:
    """The largest size of any entry of each, nan where one is nan, by one wait for the device."""
    if not tensors:
        return []
    found: list[float] = torch.stack(torch._foreach_norm(list(tensors), math.inf)).tolist()
    return found


def find_largest(tensors: Mapping[str, Tensor]) -> float:
    """The largest size of any entry."""
    return max(find_sizes([each for each in tensors.values() if each.numel()]), default=0.0)


def find_deviations(fixed: Mapping[str, Tensor]) -> dict[str, float]:
    """The largest deviation that each running mean of a batch norm is divided by, by the mean's
    name. Behind a layer that another norm comes before, a mean is rounding alone, and is compared
    as a share of the deviation."""
    variances = {
        name: fixed[f"{base}running_var"]
        for name in fixed
        for base, found, rest in [name.rpartition("running_mean")]
        if found and not rest and f"{base}running_var" in fixed
    }
    held = {name: each for name, each in variances.items() if each.numel()}
    return {
        name: math.sqrt(size)
        for name, size in zip(held, find_sizes(list(held.values())), strict=True)
    }


def are_equal(left: Tensor, right: Tensor) -> bool:
    """Whether two tensors are equal, nan equal to nan. That nearly all have none is used: to look
    for it costs ten times as much."""
    return torch.equal(left, right) or torch.allclose(
        left, right, rtol=0.0, atol=0.0, equal_nan=left.is_floating_point()
    )
