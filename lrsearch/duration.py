"""Lengths of training: `20ep` epochs, `500ba` steps, `60000sp` samples, `0.1dur` of the budget."""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

_PATTERN = re.compile(r"\s*([0-9]*\.?[0-9]+(?:[eE][-+]?[0-9]+)?)\s*(ep|ba|sp|dur)\s*")
GRAMMAR = (
    "a number and a unit: 20ep (epochs), 500ba (steps), 60000sp (samples), 0.1dur (of the budget)"
)


@dataclass(frozen=True)
class Duration:
    """A non-negative, finite amount of training; `unit` is ep, ba, sp or dur."""

    value: float
    unit: str

    def __str__(self) -> str:
        return f"{self.value:.12g}{self.unit}"

    def steps(self, *, samples: int, batch_size: int, budget: int | None = None) -> float:
        """The optimizer steps it lasts, not rounded.

        `samples` is the size of the training split, `budget` the whole training in steps, which
        only `dur` needs. Raises ValueError for `dur` without a budget.
        """
        if self.unit == "ba":
            return self.value
        if self.unit == "ep":
            return self.value * samples / batch_size
        if self.unit == "sp":
            return self.value / batch_size
        if budget is None:
            raise ValueError(f"{self}: a share of the budget needs the budget")
        return self.value * budget


def parse(text: object) -> Duration:
    """Read a duration. Raises ValueError with the grammar for anything else."""
    # The pattern is quadratic in the length, and no duration is long.
    match = _PATTERN.fullmatch(text) if isinstance(text, str) and len(text) < 64 else None
    if match is None:
        raise ValueError(f"a duration is {GRAMMAR}")
    value = float(match[1])
    if not math.isfinite(value):
        raise ValueError("a duration is finite")
    return Duration(value, match[2])


_TIME = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?([smh])")
_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0}
_LONGEST = 1e9

TIMES = "a number above 0 and s, m or h: 90s, 10m, 1.5h"
"""The grammar of a time on the clock."""


def parse_time(text: object, *, zero: bool = False) -> float:
    """The seconds of a time such as 90s, 10m or 1.5h, perhaps of none at all (0s) with `zero`.
    Raises ValueError with the grammar for anything else."""
    match = _TIME.fullmatch(text) if isinstance(text, str) and len(text) < 64 else None
    seconds = float(match[1]) * _SECONDS[match[2]] if match else -1.0
    if not 0 <= seconds <= _LONGEST or (seconds == 0 and not zero):
        raise ValueError(f"it takes {TIMES}")
    return seconds


def find(value: object) -> Iterator[Duration]:
    """Every duration in a value, in the values of mappings and in lists."""
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list | tuple):
        for part in value:
            yield from find(part)
    elif isinstance(value, str):
        with contextlib.suppress(ValueError):
            yield parse(value)


def budget_steps(budget: Duration, *, samples: int, batch_size: int) -> int:
    """Steps of a whole training: round(epochs x samples / batch), at least one."""
    return max(1, round(budget.steps(samples=samples, batch_size=batch_size)))


def warmup_steps(
    warmup: Mapping[str, Any] | None, *, budget: int, samples: int, batch_size: int
) -> int:
    """Steps of a warmup. Raises ValueError where it leaves no step of the budget."""
    if warmup is None:
        return 0
    length = parse(warmup["for"])
    steps = round(length.steps(samples=samples, batch_size=batch_size, budget=budget))
    if steps >= budget:
        raise ValueError(f"a warmup of {length} is {steps} steps, the whole budget has {budget}")
    return steps
