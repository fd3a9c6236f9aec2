"""Random streams: each drawn from the trial's seed, none shared with another trial."""

from __future__ import annotations

import random
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor


class Seeds(NamedTuple):
    """Independent seeds of one trial: its initial weights, its data order, its noise (dropout)."""

    weights: int
    order: int
    noise: int


def trial_seeds(seed: int) -> Seeds:
    """Mix a trial's seed by numpy's SeedSequence, one spawn key a stream.

    Neither the point nor the fold goes in: trials with one seed share initial weights and order.
    """
    mixed = (np.random.SeedSequence(seed, spawn_key=(stream,)) for stream in range(3))
    # 63 bits: what every torch generator takes as a non-negative seed.
    return Seeds(*(int(each.generate_state(1, np.uint64)[0] >> 1) for each in mixed))


def batches(samples: int, size: int, seed: int, device: torch.device) -> Iterator[Tensor]:
    """Indices of one batch after another, int64 [size] on the device, without end. `size` is at
    most `samples`.

    All are of the same size, cut from one stream of shuffled epochs, so that a batch may straddle
    two of them; each epoch holds every sample once. One epoch is kept at a time.
    """
    generator = torch.Generator().manual_seed(seed)
    left = torch.empty(0, dtype=torch.int64, device=device)
    while True:
        order = torch.randperm(samples, generator=generator)
        if device.type == "cuda":  # From pinned memory the copy does not wait for the device.
            order = order.pin_memory().to(device, non_blocking=True)
        else:
            order = order.to(device)
        stream = torch.cat([left, order]) if len(left) else order
        whole = len(stream) // size * size
        yield from torch.split(stream[:whole], size)
        left = stream[whole:]


def seed_everything(seed: int) -> None:
    """Seed all global generators; a user's code may draw from any of them."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def _state(device: torch.device) -> tuple[Any, ...]:
    accelerator = None
    if device.type in ("cuda", "mps"):
        module = getattr(torch, device.type)
        accelerator = (
            module.get_rng_state(device) if device.type == "cuda" else (module.get_rng_state())
        )
    return (
        torch.get_num_threads(),
        random.getstate(),
        np.random.get_state(),
        torch.get_rng_state(),
        accelerator,
    )


def _restore(state: tuple[Any, ...], device: torch.device) -> None:
    threads, python, numpy, cpu, accelerator = state
    torch.set_num_threads(threads)
    random.setstate(python)
    np.random.set_state(numpy)
    torch.set_rng_state(cpu)
    if device.type == "cuda":
        torch.cuda.set_rng_state(accelerator, device)
    elif device.type == "mps":
        torch.mps.set_rng_state(accelerator)


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


def isolated(job: Generator[Any, Any, None], device: torch.device) -> Generator[Any, Any, None]:
    """Run a job whose global generators and thread count are its own.

    Between its events they are the caller's again, so jobs of one process can be interleaved.
    """
    own: list[tuple[Any, ...]] = []
    replies: Any = None
    try:
        while True:
            with _aside(device, own):
                try:
                    event = job.send(replies)
                except StopIteration:
                    return
            replies = yield event
    finally:
        job.close()
