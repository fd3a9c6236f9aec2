"""Executors as the command line asks for them: workers for the GPUs or the cores there are."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from lrsearch.errors import UsageError, suggest

if TYPE_CHECKING:
    from lrsearch.executors.port import Executor
    from lrsearch.spec import Spec
    from lrsearch.trial import Facts


def first_words(spec: Spec, place: Executor) -> str:
    """Words for what happens before a first trial."""
    from lrsearch.reports.text import count

    what = f"looking at the {spec.kind}" if spec.kind else "loading the data, building the model"
    return f"starting {count(place.capacity, 'worker')}, {what}"


def suit(
    place: Executor, closing: ExitStack, facts: Facts, gpus: Sequence[str] | None = None
) -> tuple[Executor, str]:
    """Workers for the device that `auto` has come to, and its name for them. They replace `place`
    where torch found another device than `gpus`, the GPUs that were found without torch."""
    from lrsearch.executors.local import Local

    found, seen = facts.device.partition(":")[0], find_gpus() if gpus is None else gpus
    if (found == "cpu") != bool(seen):
        return place, "auto"
    place.close()
    if found == "cpu":  # There are GPUs that this torch cannot use: the cores do the work.
        return closing.enter_context(Local(_count_cores(), environment=NO_GPU)), "cpu"
    count = sum(each.partition(":")[0] == found for each in facts.devices)
    each = [{VISIBLE: str(index)} for index in range(count if found == "cuda" else 0)]
    return closing.enter_context(Local(max(1, count), each=each)), "auto"


def make_executor(
    name: str, workers: int | None, device: str, gpus: Sequence[str] | None = None
) -> Executor:
    """The executor of that name; `gpus` are the GPUs to use, by default those of `find_gpus`.
    Raises UsageError for another name."""
    make = EXECUTORS.get(name)
    if make is None:
        hint = suggest(name, EXECUTORS)
        raise UsageError(f"unknown executor '{name}'", where="--executor", hint=hint)
    return make(workers, device, gpus)


def _make_inline(workers: int | None, device: str, gpus: Sequence[str] | None) -> Executor:
    from lrsearch.executors.inline import Inline

    return Inline()


def _make_local(workers: int | None, device: str, gpus: Sequence[str] | None) -> Executor:
    from lrsearch.executors.local import Local

    if device == "cpu":
        return Local(workers or _count_cores(), environment=NO_GPU)
    if device not in ("auto", "cuda"):
        return Local(workers or 1)
    seen = find_gpus() if gpus is None else gpus
    if not seen:
        return Local(workers or (_count_cores() if device == "auto" else 1))
    # One worker a GPU, which sees that one alone.
    return Local(workers or len(seen), each=[{VISIBLE: gpu} for gpu in seen])


EXECUTORS: Mapping[str, Callable[[int | None, str, Sequence[str] | None], Executor]] = {
    "local": _make_local,
    "inline": _make_inline,
}
"""Executors by name: the function that makes one for a number of workers, a device and the GPUs
there are."""

VISIBLE = "CUDA_VISIBLE_DEVICES"
"""The variable that says which GPUs a process may see, by their numbers or names."""

NO_GPU = {VISIBLE: ""}
"""The environment of a worker for the CPU: no code in it finds a GPU."""


def find_gpus(nodes: Path = Path("/dev"), environment: Mapping[str, str] = os.environ) -> list[str]:
    """The GPUs a worker may be given, as `VISIBLE` names them, found without torch: by that
    variable where it is set, or by the device nodes in a folder.

    Nodes are only counted. They have the numbers of the machine, while CUDA counts the GPUs that a
    process sees: in a container whose one GPU is /dev/nvidia5 that is number 0.
    """
    count = sum(1 for _ in nodes.glob("nvidia[0-9]*"))
    if not count and (nodes / "dxg").exists():  # In WSL there are no others; one is sure.
        count = 1
    visible = environment.get(VISIBLE)
    if visible is None:
        return [str(index) for index in range(count)]

    def exists(name: str) -> bool:
        return (
            bool(name)
            and not name.startswith("-")
            and not (count and name.isdigit() and int(name) >= count)
        )

    # As CUDA reads it: GPUs behind an invalid entry are not seen.
    names = itertools.takewhile(exists, (part.strip() for part in visible.split(",")))
    return list(dict.fromkeys(names))


def _count_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
