"""Devices: which are available, which one a name means, and what each kind needs."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from lrsearch.errors import DeviceLost, UsageError, causes, suggest
from lrsearch.machine import describe_processor


def available_devices() -> tuple[str, ...]:
    """The devices of this machine: cpu, cuda:0, ..., mps."""
    cuda = (f"cuda:{index}" for index in range(torch.cuda.device_count()))
    return ("cpu", *cuda, *(["mps"] if torch.backends.mps.is_available() else []))


def find_device(name: str) -> torch.device:
    """The device of that name; "auto" takes cuda, mps or cpu, in this order.

    Raises UsageError, naming the available ones, for any other or an absent one.
    """
    names = available_devices()
    has_cuda = any(each.startswith("cuda") for each in names)
    if name == "auto":
        return torch.device("cuda" if has_cuda else "mps" if "mps" in names else "cpu")
    allowed = ("auto", *names, *(["cuda"] if has_cuda else []))
    if name not in allowed:
        why = _why_no_gpu() if name.startswith("cuda") and not has_cuda else ""
        raise UsageError(f"device '{name}' is not available{why}", hint=suggest(name, allowed))
    return torch.device(name)


def _why_no_gpu() -> str:
    """The reason why no GPU is found, as the end of a sentence."""
    if not torch.backends.cuda.is_built():  # type: ignore[no-untyped-call]
        return f": this torch ({torch.__version__}) is built without CUDA"
    if os.environ.get("CUDA_VISIBLE_DEVICES", "0").strip() in ("", "-1"):
        return ": CUDA_VISIBLE_DEVICES hides all GPUs"
    return f": this torch ({torch.__version__}) finds no GPU, or no driver that suits it"


def describe_device(device: torch.device) -> str:
    """The maker's name of the device."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return describe_processor()


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """Copy the tensor to a device without waiting: from pinned memory CUDA copies beside its
    computing."""
    if device.type == "cuda" and tensor.device.type == "cpu":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def numbers_on(device: torch.device, numbers: Sequence[int]) -> Tensor:
    """Indices on a device, int64 [numbers], as `to_device`."""
    return to_device(torch.tensor(numbers, dtype=torch.int64, device="cpu"), device)


_NO_MEMORY = (
    "CUDA error: out of memory",  # Of a context, a module, a graph: not of the allocator.
    "CUDA out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUSOLVER_STATUS_ALLOC_FAILED",
    "CUFFT_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
    "CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED",
    "MPS backend out of memory",
    "can't allocate memory",  # A CPU's allocator.
    "not enough memory: you tried to allocate",
)
"""Messages of out-of-memory errors that torch raises as plain RuntimeErrors."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the device or the machine is out of memory, by an error or one that it was raised
    from or while handling."""
    for each in causes(error):
        if isinstance(each, MemoryError | torch.OutOfMemoryError):
            return True
        if isinstance(each, RuntimeError) and any(text in str(each) for text in _NO_MEMORY):
            return True
    return False


def free_memory(device: torch.device) -> None:
    """Give back the GPU memory that torch keeps unused, for other processes and for large
    tensors."""
    if device.type == "cuda":
        with suppress(RuntimeError):  # As where a capture failed, or all has: it stays where it is.
            torch.cuda.empty_cache()


def has_room(device: torch.device, size: int) -> bool:
    """Whether a GPU has so many bytes free. Of other devices nobody asks."""
    if device.type == "cuda" and size > torch.cuda.mem_get_info(device)[0]:
        # Of what torch keeps unused a graph's memory is given to nobody else: the rest is freed.
        free_memory(device)
        return size <= torch.cuda.mem_get_info(device)[0]
    return True


def check_alive(
    device: torch.device, wait: Callable[[torch.device], object] = torch.cuda.synchronize
) -> None:
    """Raises DeviceLost where the device can compute no more, for any reason.

    An error on a GPU, such as an index out of range, ends this process's use of it: all later
    operations raise the same. To be called after an error, since it waits for the device.
    """
    if device.type != "cuda":
        return
    try:
        wait(device)
    except RuntimeError as error:
        line = str(error).strip().partition("\n")[0]
        raise DeviceLost(
            f"an error on the device has ended what this process can do with it: {line}",
            where=str(device),
            hint="workers of the local executor (--executor local) are replaced after that",
        ) from error


def sum_type(device: torch.device) -> torch.dtype:
    """The type sums are kept in: float64 where the device has it."""
    return torch.float32 if device.type == "mps" else torch.float64


def release(error: BaseException | None) -> None:
    """Free the frames of an error and of its causes: they hold the model and its activations, and
    the next trial needs the memory."""
    released: set[int] = set()
    while error is not None and id(error) not in released:
        released.add(id(error))
        traceback.clear_frames(error.__traceback__)
        error.__traceback__ = None
        error = error.__cause__ or error.__context__  # Errors that are not shown hold it as well.


# random numbers that lanes can repeat

ATTEND: Any = F.scaled_dot_product_attention
"""torch's own function."""

SHORT_ATTENTION = 256
"""The most places of a query and of its keys whose attention with dropout is computed by the
formula. There it takes a GPU hardly longer than its fused kernels, which draw their random numbers
by themselves, and a small model gains far more by lanes."""


def draws_by_itself(query: Tensor, key: Tensor, dropout: float) -> bool:
    """Whether a GPU's fused kernel draws the random numbers of dropout in attention between a query
    [..., places, width] and a key: no lane can repeat these."""
    if dropout == 0.0 or query.device.type != "cuda":
        return False
    # Nested tensors have places of several numbers, and kernels of their own.
    return query.is_nested or max(query.shape[-2], key.shape[-2]) > SHORT_ATTENTION


def _attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    *args: Any,
    **kwargs: Any,
) -> Tensor:
    """torch's function, by its formula where dropout is drawn and the sequence is short."""
    own = query.device.type != "cuda" or draws_by_itself(query, key, dropout_p)
    with sdpa_kernel(SDPBackend.MATH) if dropout_p > 0.0 and not own else nullcontext():
        out: Tensor = ATTEND(query, key, value, attn_mask, dropout_p, *args, **kwargs)
    return out


@contextmanager
def repeatable_dropout(device: torch.device) -> Iterator[None]:
    """Context of trainings on a device, alone and in lanes, in which attention of short sequences
    draws its dropout by the kernel that all dropout is drawn by."""
    if device.type != "cuda":
        yield
        return
    before = F.scaled_dot_product_attention
    F.scaled_dot_product_attention = _attend
    try:
        yield
    finally:
        F.scaled_dot_product_attention = before
