"""The machine as the operating system tells of it: its processor, its memory, and whether
it may have an accelerator. Free of torch."""

from __future__ import annotations

import contextlib
import os
import platform
import sys
from pathlib import Path

_FILES = ("nvidia", "nvhost", "nvmap", "dxg", "kfd")
"""Beginnings of the names of devices on Linux without which torch has no GPU: NVIDIA's, those of
its boards, of Linux in Windows, and AMD's."""


def may_have_accelerator() -> bool:
    """Whether torch may find another device than the CPU here; torch itself knows for sure."""
    if sys.platform != "linux":
        return True
    try:
        return any(name.startswith(_FILES) for name in os.listdir("/dev"))  # noqa: PTH208
    except OSError:
        return True


def describe_processor() -> str:
    """The maker's name of the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(models, "") or platform.processor() or platform.machine()


def find_memory() -> int:
    """Bytes of memory of the machine, or of its container where that has less."""
    found = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        with contextlib.suppress(OSError, ValueError):  # Not Linux, or "max".
            found.append(int(Path(path).read_text()))
    return min(found)
