"""Devices: which there are, and the one that is meant."""

from __future__ import annotations

import platform
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import torch
from torch import Tensor

from lrsearch.errors import DeviceLost, UsageError, causes, suggest


def available_devices() -> tuple[str, ...]:
    """The devices of this machine: cpu, cuda:0, ..., mps."""
    cuda = (f"cuda:{index}" for index in range(torch.cuda.device_count()))
    return ("cpu", *cuda, *(["mps"] if torch.backends.mps.is_available() else []))


def find_device(name: str) -> torch.device:
    """The device of that name; "auto" takes cuda, mps or cpu, in this order.

    Raises UsageError, naming those there are, for any other or an absent one.
    """
    names = available_devices()
    has_cuda = any(each.startswith("cuda") for each in names)
    if name == "auto":
        return torch.device("cuda" if has_cuda else "mps" if "mps" in names else "cpu")
    allowed = ("auto", *names, *(["cuda"] if has_cuda else []))
    if name not in allowed:
        raise UsageError(f"device '{name}' is not available", hint=suggest(name, allowed))
    return torch.device(name)


def describe_device(device: torch.device) -> str:
    """The maker's name of the device."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(models, "") or platform.processor() or platform.machine()


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """The tensor on a device, which is not waited for: from pinned memory CUDA copies beside what
    it computes."""
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
"""What is said in errors that torch raises as plain RuntimeErrors."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the device or the machine has no memory left: says the error, or one that it was
    raised from or while handling."""
    for each in causes(error):
        if isinstance(each, MemoryError | torch.OutOfMemoryError):
            return True
        if isinstance(each, RuntimeError) and any(text in str(each) for text in _NO_MEMORY):
            return True
    return False


def free_memory(device: torch.device) -> None:
    """Have the memory that torch keeps of a GPU without using it given back, for other processes
    and for what needs it in one piece."""
    if device.type == "cuda":
        with suppress(RuntimeError):  # As where a capture failed, or all has: it stays where it is.
            torch.cuda.empty_cache()


def has_room(device: torch.device, size: int) -> bool:
    """Whether a GPU has so many bytes free, those included that torch keeps of it without using
    them. Of other devices nobody asks."""
    if device.type != "cuda":
        return True
    kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return size <= torch.cuda.mem_get_info(device)[0] + kept


def check_alive(
    device: torch.device, wait: Callable[[torch.device], object] = torch.cuda.synchronize
) -> None:
    """Raises DeviceLost where nothing can be computed on the device any more, whatever it is.

    An error on a GPU, such as an index out of range, ends what this process can do with it: all
    that comes after raises the same. To be called after an error, since it waits for the device.
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
