"""Devices: which there are, and the one that is meant."""

from __future__ import annotations

import platform
from pathlib import Path

import torch

from lrsearch.errors import UsageError, suggest


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


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the device or the machine has no memory left."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    # The CPU and MPS allocators raise plain RuntimeErrors.
    text = str(error)
    return isinstance(error, RuntimeError) and (
        "can't allocate memory" in text or "MPS backend out of memory" in text
    )
