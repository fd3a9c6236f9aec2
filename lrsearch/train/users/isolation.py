"""Isolation: the state of the process that a job has to itself while it runs."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch.backends import cudnn

from lrsearch.train.device import check_alive, repeatable_dropout
from lrsearch.train.randomness import get_generators, seed_everything, set_generators
from lrsearch.train.users import anew
from lrsearch.train.users.importing import importable
from lrsearch.train.users.kept import Kept
from lrsearch.train.users.settings import (
    CUDNN,
    precisions,
    read_folder,
    set_folder,
    set_precisions,
)
from lrsearch.trial import Workplace


@dataclass(frozen=True)
class _State:
    """A job's own part of a process's state: its threads, its generators, the settings of cuDNN,
    and the current folder."""

    threads: int
    generators: Any
    deterministic: bool
    benchmark: bool
    precisions: tuple[str, ...]
    folder: str | None


def _state(device: torch.device) -> _State:
    return _State(
        torch.get_num_threads(),
        _generators(device),
        cudnn.deterministic,
        cudnn.benchmark,
        precisions(*CUDNN),
        read_folder(),
    )


def _generators(device: torch.device) -> Any:
    """The states of the global generators; without the device's, where that is lost."""
    with _unless_lost(device):
        return get_generators(device)
    return get_generators(torch.device("cpu"))


@contextmanager
def _unless_lost(device: torch.device) -> Iterator[None]:
    """Pass over what a lost device raises: what a job has told by then must reach its caller before
    it is known."""
    try:
        yield
    except RuntimeError:
        try:
            check_alive(device)
        except Exception:  # DeviceLost.
            return
        raise


def _restore(state: _State, device: torch.device) -> None:
    torch.set_num_threads(state.threads)
    with _unless_lost(device):  # Its generator is the last that is set.
        set_generators(state.generators, device)
    cudnn.deterministic, cudnn.benchmark = state.deterministic, state.benchmark
    set_precisions(dict(zip(CUDNN, state.precisions, strict=True)))
    set_folder(state.folder)


def _compute_alike() -> None:
    """Make cuDNN compute in full float32, and the same each time.

    By default it rounds the inputs of convolutions and recurrent layers, and of no others, to TF32,
    whose mantissa has ten bits: engines, and layers, would differ by a thousandth. For speed there
    is bfloat16.
    """
    cudnn.deterministic, cudnn.benchmark = True, False
    set_precisions(dict.fromkeys(CUDNN, "ieee"))


def current(device: torch.device) -> AbstractContextManager[object]:
    """Make an accelerator the current one of its kind: streams, graphs and generators, and tensors
    that a user's code makes on "cuda", belong to that one."""
    return _Current(device) if device.type == "cuda" else nullcontext()


class _Current(torch.cuda.device):
    """A change of the current device; an error of a lost device must not hide the first error."""

    def __enter__(self) -> None:
        with suppress(RuntimeError):
            super().__enter__()  # type: ignore[no-untyped-call]

    def __exit__(self, *given: object) -> None:
        with suppress(RuntimeError):
            super().__exit__(*given)


def _numbered(device: torch.device) -> torch.device:
    """The device with its number, found in advance: after the device is lost, asking for it would
    raise."""
    if device.type != "cuda" or device.index is not None:
        return device
    return torch.device("cuda", torch.cuda.current_device())


@contextmanager
def _aside(device: torch.device, own: list[_State]) -> Iterator[None]:
    """Swap the process's state for `own` (a list of at most one), and back afterwards."""
    caller = _state(device)
    try:
        if own:
            _restore(own.pop(), device)
        else:
            torch.set_num_threads(1)  # The same sums in the same order, whatever the executor.
            seed_everything(0)
            _compute_alike()
        with repeatable_dropout(device):
            yield
        own.append(_state(device))
    finally:
        _restore(caller, device)


@contextmanager
def _noting_loss(device: torch.device) -> Iterator[None]:
    """Raise DeviceLost in the place of an error that has ended what the process can do with the
    device."""
    try:
        yield
    except RuntimeError:
        check_alive(device)
        raise


def isolated(
    job: Generator[Any, Any, None], device: torch.device, workplace: Workplace
) -> Generator[Any, Any, None]:
    """Run a job whose global generators, thread count and cuDNN are its own, whose device is the
    current one, and which can import from the workplace's folder.

    Between its events all that, and sys.path, are the caller's again, so jobs of one process can be
    interleaved. Raises DeviceLost where an error has ended what the process can do with the
    device. Changing over takes longer than a small step: a job that has several events at
    once yields them as a tuple, and is answered with the replies to all of them.
    """
    own: list[_State] = []
    replies: Any = None
    taken: list[Kept] | None = None
    device = _numbered(device)
    with closing(job):
        while True:
            with _noting_loss(device), importable(workplace), current(device), _aside(device, own):
                if taken is not None:
                    anew.put_back(workplace)
                    anew.put_in(taken)
                    taken = None
                try:
                    event = job.send(replies)
                except StopIteration:
                    return
                if event is None:  # It waits: another job may train meanwhile.
                    taken = anew.take_out(workplace)
            if isinstance(event, tuple):
                replies = []
                for each in event:
                    replies += (yield each) or []
            else:
                replies = yield event
