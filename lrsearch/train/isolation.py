"""What a job has to itself while it runs."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from lrsearch.train.importing import importable
from lrsearch.train.randomness import get_generators, seed_everything, set_generators
from lrsearch.trial import Workplace


def _state(device: torch.device) -> tuple[Any, ...]:
    return torch.get_num_threads(), get_generators(device)


def _restore(state: tuple[Any, ...], device: torch.device) -> None:
    threads, generators = state
    torch.set_num_threads(threads)
    set_generators(generators, device)


@contextmanager
def _aside(device: torch.device, own: list[tuple[Any, ...]]) -> Iterator[None]:
    """Swap the generators' state for `own` (a list of at most one), and back."""
    caller = _state(device)
    try:
        if own:
            _restore(own.pop(), device)
        else:
            torch.set_num_threads(1)  # The same sums in the same order, whatever the executor.
            seed_everything(0)
        yield
        own.append(_state(device))
    finally:
        _restore(caller, device)


def isolated(
    job: Generator[Any, Any, None], device: torch.device, workplace: Workplace
) -> Generator[Any, Any, None]:
    """Run a job whose global generators and thread count are its own, and which can import from
    the workplace's folder.

    Between its events they, and sys.path, are the caller's again, so jobs of one process can be
    interleaved. Changing over takes longer than a small step: a job that has several events at
    once yields them as a tuple, and is answered with the replies to all of them.
    """
    own: list[tuple[Any, ...]] = []
    replies: Any = None
    try:
        while True:
            with importable(workplace), _aside(device, own):
                try:
                    event = job.send(replies)
                except StopIteration:
                    return
            if isinstance(event, tuple):
                replies = []
                for each in event:
                    replies += (yield each) or []
            else:
                replies = yield event
    finally:
        job.close()
