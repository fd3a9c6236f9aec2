"""Operations whose last bits hang on an element's place, and so on the number of lanes and on the
lane's place among them, made not to.

A CPU computes as many elements at once as its vectors hold, and those that are left one by one: by
another sigmoid, of which the last bit may differ. What is left is computed in whole vectors, too,
with zeros beside, which are dropped.
"""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload, OpOverloadPacket
from torch.utils._python_dispatch import TorchDispatchMode

from lrsearch.train.tape import kind_of, unrecorded

_aten = torch.ops.aten

VECTORS = 128
"""Bytes that an operation on elements takes at once: two of the longest vectors."""

COLUMNS = 256
"""Bytes of columns that are summed at once: four of them."""

_BY_ELEMENT = {
    *(_aten.sigmoid, _aten.silu, _aten.gelu, _aten.softplus, _aten.mish),
    *(_aten.elu, _aten.celu, _aten.selu),
    *(_aten.silu_backward, _aten.gelu_backward, _aten.softplus_backward, _aten.elu_backward),
    *(_aten.mish_backward, _aten.binary_cross_entropy, _aten.binary_cross_entropy_backward),
    *(_aten.logit_backward, _aten.pow, _aten.hypot, _aten.atan2, _aten.lerp),
    *(_aten.logaddexp, _aten.logaddexp2, _aten.exp2, _aten.sinh, _aten.cosh, _aten.atanh),
}
"""Operations by element of which the two ways differ, as tried on torch 2.13; arithmetic, exp, log,
tanh and the like do not."""

_SUMS = (_aten.sum.dim_IntList, _aten.mean.dim)


def placeless(device: torch.device) -> contextlib.AbstractContextManager[object]:
    """Context in which no operation's last bits hang on an element's place. Other devices than a
    CPU compute each element alike."""
    return _Padded() if device.type == "cpu" else contextlib.nullcontext()


class _Padded(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        # Else its first operation would import torch._dynamo, which takes over a second.
        return False

    def __torch_dispatch__(
        self, func: OpOverload, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if (packet := _find_packet(func)) is not None:
            given = [each for each in (*args, *kwargs.values()) if isinstance(each, Tensor)]
            inside = bool(kind_of(func).writes)
            with unrecorded():  # For where its result lies, on which later numbers hang.
                like = args[0] if inside else func(*args, **kwargs)
            if _leaves_over(like, given):
                found = _pad(packet, like, args, kwargs)
                return _aten.copy_.default(args[0], found) if inside else found
        if func in _SUMS and not kwargs and (columns := _count_columns(args[0], args[1])):
            return _sum(func, columns, *args)
        return func(*args, **kwargs)


# by element


@functools.cache
def _find_packet(func: OpOverload) -> OpOverloadPacket | None:
    """The operation by element that this one is, also where it works in place; None for any
    other."""
    name = func._schema.name.removeprefix("aten::").removesuffix("_")
    into = any(each.is_out for each in func._schema.arguments)
    packet: OpOverloadPacket | None = getattr(_aten, name, None)
    return None if into or packet not in _BY_ELEMENT else packet


def _leaves_over(like: Tensor, given: Sequence[Tensor]) -> bool:
    """Whether vectors leave over elements of a row that lanes may share: the nearest ones, as far
    as the result and all tensors given lie alike. In the order of its dimensions a result's row is
    a lane's own unless it is the whole, as that of a gate of some that were computed as one. Whole
    numbers have no last bits."""
    form = (like.dtype, like.shape)
    rounds = like.is_floating_point() or like.is_complex()
    if not rounds or not _is_dense(like) or any((each.dtype, each.shape) != form for each in given):
        return False
    row = 1
    for at in sorted(range(like.dim()), key=like.stride):
        strides = {each.stride(at) for each in given if any(_strides(each))}
        if like.shape[at] > 1 and not strides <= {like.stride(at)}:
            break
        row *= like.shape[at]
    own = row < like.numel() and like.is_contiguous()
    return not own and row * like.element_size() % VECTORS != 0


def _strides(tensor: Tensor) -> list[int]:
    """The strides of the dimensions longer than one."""
    pairs = zip(tensor.shape, tensor.stride(), strict=True)
    return [stride for size, stride in pairs if size != 1]


def _is_dense(tensor: Tensor) -> bool:
    """Whether the elements fill their memory, in any order."""
    apart = 1
    for at in sorted(range(tensor.dim()), key=tensor.stride):
        if tensor.shape[at] != 1 and tensor.stride(at) != apart:
            return False
        apart *= tensor.shape[at]
    return apart > 0


def _pad(
    packet: OpOverloadPacket, like: Tensor, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> Tensor:
    count, strides = like.numel(), _strides(like)
    more = -count % (VECTORS // like.element_size())

    def widen(each: Any) -> Any:
        if not isinstance(each, Tensor):
            return each
        if any(own := _strides(each)) and own != strides:
            there = _aten.new_empty_strided.default(each, [*like.shape], [*like.stride()])
            each = _aten.copy_.default(there, each)
        flat = _as(each, [count], [int(any(_strides(each)))])
        flat = _aten.constant_pad_nd.default(flat, [0, more])
        # The order counts: what lies in its own, oneDNN computes, where it has the operation.
        return flat if like.is_contiguous() else _as(flat, [2, (count + more) // 2], [1, 2])

    out = packet(*map(widen, args), **{name: widen(each) for name, each in kwargs.items()})
    return _as(out, like.shape, like.stride())


def _as(tensor: Tensor, shape: Sequence[int], strides: Sequence[int]) -> Tensor:
    view: Tensor = _aten.as_strided.default(tensor, [*shape], [*strides])
    return view


# sums


def _count_columns(tensor: Tensor, dims: Sequence[int] | None) -> int:
    """The number of columns that are summed, where all that is summed lies beyond them and they
    leave some over; 0 for any other sum."""
    if not dims or not tensor.is_floating_point() or not _is_dense(tensor):
        return 0
    summed = {each % tensor.dim() for each in dims}
    columns = math.prod(size for at, size in enumerate(tensor.shape) if at not in summed)
    beside = all(tensor.stride(at) >= columns for at in summed if tensor.shape[at] > 1)
    whole = columns * tensor.element_size() % COLUMNS == 0
    return columns if beside and not whole and 1 < columns < tensor.numel() else 0


def _sum(
    func: OpOverload, columns: int, tensor: Tensor, dims: Sequence[int], keep: bool = False
) -> Tensor:
    rows = _as(tensor, (tensor.numel() // columns, columns), (columns, 1))
    more = -columns % (COLUMNS // tensor.element_size())
    sums = func(_aten.constant_pad_nd.default(rows, [0, more]), [0])
    reduced = {each % tensor.dim() for each in dims}
    kept = [
        (1, 1) if at in reduced else pair
        for at, pair in enumerate(zip(tensor.shape, tensor.stride(), strict=True))
        if keep or at not in reduced
    ]
    return _as(sums, [size for size, _ in kept], [stride for _, stride in kept])
