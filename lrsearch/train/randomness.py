"""Random streams: each drawn from the trial's seed, none shared with another trial."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from lrsearch.data.noise import States, get_states, set_states
from lrsearch.data.seeding import seed_libraries
from lrsearch.train.device import to_device


class Seeds(NamedTuple):
    """Independent seeds of one trial: its initial weights, its data order, its noise (dropout,
    augmentation, all that training draws)."""

    weights: int
    order: int
    noise: int


def trial_seeds(seed: int) -> Seeds:
    """Mix a trial's seed by numpy's SeedSequence, one spawn key a stream.

    The point and the fold are left out: trials with one seed share initial weights and order.
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
        # A user's code may have set another default device than the generator's.
        order = to_device(torch.randperm(samples, generator=generator, device="cpu"), device)
        stream = torch.cat([left, order]) if len(left) else order
        whole = len(stream) // size * size
        yield from torch.split(stream[:whole], size)
        left = stream[whole:]


def seed_everything(seed: int) -> None:
    """Seed all global generators; a user's code may draw from any of them."""
    seed_libraries(seed, np.random, torch)


def get_noise(device: torch.device) -> Tensor:
    """The state of torch's global generator for a device, bytes on the CPU."""
    if device.type == "cuda":
        return torch.cuda.get_rng_state(device)
    return torch.mps.get_rng_state() if device.type == "mps" else torch.get_rng_state()


def get_seed(device: torch.device) -> int:
    """The seed of torch's global generator for a device, as it was set last, be it by a state."""
    return torch.cuda.initial_seed() if device.type == "cuda" else torch.initial_seed()


def set_noise(state: Tensor, device: torch.device) -> None:
    """Set torch's global generator for a device to a state, which may come from a `torch.Generator`
    of that device."""
    if device.type == "cuda":
        torch.cuda.set_rng_state(state, device)
    elif device.type == "mps":
        torch.mps.set_rng_state(state)
    else:
        torch.set_rng_state(state)


def get_generators(device: torch.device) -> tuple[Any, Any, Tensor, Tensor | None]:
    """The states of the global generators: Python's, numpy's, torch's on the CPU and on the device
    (None where it is the CPU)."""
    accelerator = None if device.type == "cpu" else get_noise(device)
    return (*get_states(), accelerator)


def set_generators(states: tuple[Any, Any, Tensor, Tensor | None], device: torch.device) -> None:
    """Set the global generators to earlier states."""
    *plain, accelerator = states
    set_states(States(*plain))
    if accelerator is not None and device.type != "cpu":
        set_noise(accelerator, device)


@contextlib.contextmanager
def draws_kept(device: torch.device) -> Iterator[None]:
    """Context after which the global generators are as they were before."""
    before = get_generators(device)
    try:
        yield
    finally:
        set_generators(before, device)
