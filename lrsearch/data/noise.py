"""The global random generators, from which user code may draw while it gives data."""

from __future__ import annotations

import random
import sys
from typing import Any, NamedTuple

import numpy as np


class States(NamedTuple):
    """States of the generators of Python, of numpy, and of torch on the CPU (None where it is not
    imported)."""

    python: Any
    numpy: Any
    torch: Any


def get_states() -> States:
    """Read the states of the generators."""
    torch = sys.modules.get("torch")
    drawn = None if torch is None else torch.get_rng_state()
    return States(random.getstate(), np.random.get_state(), drawn)


def set_states(states: States) -> None:
    """Set the generators to earlier states."""
    random.setstate(states.python)
    np.random.set_state(states.numpy)
    torch = sys.modules.get("torch")
    if torch is not None and states.torch is not None:
        torch.set_rng_state(states.torch)


def same_states(left: States, right: States) -> bool:
    """Whether no number was drawn between the two states."""
    return left.python == right.python and all(
        np.array_equal(one, other)
        for one, other in zip(
            (*left.numpy, *_bytes(left)), (*right.numpy, *_bytes(right)), strict=True
        )
    )


def _bytes(states: States) -> tuple[Any, ...]:
    return (states.torch is None, () if states.torch is None else states.torch.numpy())
