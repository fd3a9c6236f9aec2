"""Lengths of training: `20ep` epochs, `500ba` steps, `60000sp` samples, `0.1dur` of the budget."""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
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
    """The seconds of a time such as 90s, 10m or 1.5h; with `zero` also of 0s. Raises ValueError
    with the grammar for any other text."""
    match = _TIME.fullmatch(text) if isinstance(text, str) and len(text) < 64 else None
    seconds = float(match[1]) * _SECONDS[match[2]] if match else -1.0
    if not 0 <= seconds <= _LONGEST or (seconds == 0 and not zero):
        raise ValueError(f"it takes {TIMES}")
    return seconds


_FOREIGN = re.compile(r"([0-9]*\.?[0-9]+) ?([a-z]+)[ ,]*")
_NAMES = {
    **dict.fromkeys(("ms", "msec", "milliseconds"), 0.001),
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), 1.0),
    **dict.fromkeys(("m", "min", "mins", "minute", "minutes"), 60.0),
    **dict.fromkeys(("h", "hr", "hrs", "hour", "hours"), 3600.0),
    **dict.fromkeys(("d", "day", "days"), 86400.0),
    **dict.fromkeys(("w", "wk", "week", "weeks"), 604800.0),
}
_NEVER = {"never", "none", "no", "off", "false", "disabled", "disable", "inf", "infinity"}
_NEVER |= {"infinite", "unlimited", "forever"}


def is_never(value: object) -> bool:
    """Whether a value, in words or as infinity, means no limit of time: never, off, False."""
    return value is None or str(value).strip().lower() in _NEVER


def find_time(value: object) -> str:
    """The time that a number of seconds means, or a text such as 10 minutes, 1h30m, 1d or 01:30:00
    (hours, minutes, seconds; days before). Raises ValueError for an unknown form."""
    text = re.sub(r"(h ?[0-5]?[0-9])$", r"\1m", str(value).strip().lower())  # 1h30
    unknown = ValueError(f"it takes {TIMES}")
    if isinstance(value, bool) or len(text) >= 64:
        raise unknown
    with contextlib.suppress(ValueError):
        return write_time(float(text), "s")
    if _TIME.fullmatch(text):
        parse_time(text, zero=True)
        return text
    if re.fullmatch(r"[0-9]{1,6}(:[0-9]{1,2}){1,3}", text):
        parts = [int(part) for part in reversed(text.split(":"))]
        units = (1, 60, 3600, 86400)
        return write_time(sum(part * unit for part, unit in zip(parts, units, strict=False)), "s")
    parts_found = [match.groups() for match in _FOREIGN.finditer(text)]
    whole = re.fullmatch(f"({_FOREIGN.pattern})+", text)
    if whole is None or not all(unit in _NAMES for _, unit in parts_found):
        raise unknown
    seconds = sum(float(number) * _NAMES[unit] for number, unit in parts_found)
    return write_time(seconds)


def write_time(seconds: float, unit: str = "") -> str:
    """The text of a time, which `parse_time` reads back exactly: in a unit, or in the longest unit
    of which it is a whole number. Raises ValueError where it is negative, or too long for the
    grammar."""
    if not 0 <= seconds <= _LONGEST:
        raise ValueError(f"it takes {TIMES}")
    whole = (unit for unit in "hm" if seconds and seconds % _SECONDS[unit] == 0)
    unit = unit or next(whole, "s")
    number = format(Decimal(repr(seconds / _SECONDS[unit])), "f")
    return f"{number.removesuffix('.0')}{unit}"


def find(value: object) -> Iterator[Duration]:
    """Every duration in a value, in the values of mappings and in lists."""
    for text in texts(value):
        with contextlib.suppress(ValueError):
            yield parse(text)


def texts(value: object) -> Iterator[str]:
    """Every text in a value, in the values of mappings and in lists."""
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list | tuple):
        for part in value:
            yield from texts(part)
    elif isinstance(value, str):
        yield value


def budget_steps(budget: Duration, *, samples: int, batch_size: int) -> int:
    """Steps of a whole training: round(epochs x samples / batch), at least one."""
    return max(1, round(budget.steps(samples=samples, batch_size=batch_size)))


def evaluation_steps(train: Mapping[str, Any], samples: int) -> tuple[int, ...]:
    """The steps after which a resolved `train` is evaluated; the last is its whole budget.

    They are round(k x interval), the interval being at least one step. `samples` is the size of
    the training split. Raises ValueError for durations that cannot be read.
    """
    size = train["batch_size"]
    budget = budget_steps(parse(train["budget"]), samples=samples, batch_size=size)
    length = parse(train["evaluate"])
    interval = max(1.0, length.steps(samples=samples, batch_size=size, budget=budget))
    steps = (round(k * interval) for k in range(1, int(budget / interval) + 2))
    return (*(step for step in steps if step < budget), budget)


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
