"""Random generators of the user's: their states, read, compared and put back."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import torch


def _put_bits(generator: Any, state: Any) -> None:
    generator.state = state


_Ways = tuple[Callable[[Any], Any], Callable[[Any, Any], object], Callable[[Any], object]]
_WAYS: dict[type, _Ways] = {
    torch.Generator: (
        torch.Generator.get_state,
        torch.Generator.set_state,
        lambda state: state.numpy().tobytes(),
    ),
    random.Random: (random.Random.getstate, random.Random.setstate, tuple),
    np.random.RandomState: (np.random.RandomState.get_state, np.random.RandomState.set_state, repr),
    np.random.Generator: (
        lambda generator: generator.bit_generator.state,
        lambda generator, state: _put_bits(generator.bit_generator, state),
        repr,
    ),
    np.random.BitGenerator: (lambda generator: generator.state, _put_bits, repr),
}
"""Class -> what reads a generator's state, what puts one back, and a state's comparable content."""

DRAWS = tuple(_WAYS)
"""Classes of random generators."""


def _ways(generator: object) -> _Ways:
    return next(ways for kind, ways in _WAYS.items() if isinstance(generator, kind))


def read_draws(generator: object) -> Any:
    """A copy of a generator's state."""
    return copy.deepcopy(_ways(generator)[0](generator))


def put_draws(generator: object, state: Any) -> None:
    """Put a generator back to a state."""
    _ways(generator)[1](generator, state)


def see_draws(generator: object) -> object:
    """A generator's state as a value to compare with its later one."""
    read, _, content = _ways(generator)
    return content(read(generator))
