"""Datasets of the user's that remember having been read.

All trials of a process read the same objects. What these count, and their random generators, are
put back before each trial, so that none is given other samples for those that read before it; a
cache that they fill stays.
"""

from __future__ import annotations

import operator
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from lrsearch.train.users.draws import DRAWS
from lrsearch.train.users.kept import of_draws
from lrsearch.train.users.memory import is_users

_GONE = object()


class Reader:
    """A dataset, or another object that gives samples, as it was before it was read."""

    def __init__(self, name: str, value: Any) -> None:
        self.name, self.value = name, value
        self._before = dict(vars(value))
        self._held = {key: _content(each) for key, each in self._before.items()}
        own = [(key, each) for key, each in self._before.items() if isinstance(each, DRAWS)]
        self._draws = [of_draws(key, each) for key, each in own]

    def changes(self) -> tuple[list[str], list[str]]:
        """The names of what it has counted or drawn from since, and of what else has changed."""
        now = vars(self.value)
        drawn = [each.name for each in self._draws if each.changed()]
        counted, others = [], []
        for key in {**self._before, **now}:
            old, new = self._before.get(key, _GONE), now.get(key, _GONE)
            if old is new:
                others += [key] if _differs(self._held[key], new) else []
            elif _is_count(old) and _is_count(new):
                counted += [key] if old != new else []
            else:
                others.append(key)
        return [*counted, *drawn], others

    def put_back(self) -> list[str]:
        """Put back what it has counted; returns the names of that which cannot be, since a cache
        that goes with it has grown, too."""
        counted, others = self.changes()
        if counted and others:
            return [f"{self.name}.{key}" for key in counted]
        for key in counted:
            if not isinstance(self._before[key], DRAWS):
                vars(self.value)[key] = self._before[key]
        for each in self._draws:
            assert each.restore is not None
            each.restore()
        return []


def _is_count(value: Any) -> bool:
    """Whether it is a number: a value that was None, or a flag, is set once, as of an open file."""
    return isinstance(value, int | float | np.number) and not isinstance(value, bool)


def _content(value: Any) -> Sequence[Any] | None:
    if isinstance(value, dict):
        return [*value, *value.values()]
    return list(value) if isinstance(value, list | set | deque | bytearray) else None


def _differs(before: Sequence[Any] | None, value: Any) -> bool:
    now = _content(value)
    if before is None or now is None:
        return False
    return len(before) != len(now) or not all(map(operator.is_, before, now))


def find_readers(streams: Sequence[Any]) -> list[Reader]:
    """The user's objects that give the samples of streams, wrapped by torch's or not."""
    found = []
    for place, stream in enumerate(streams):
        part = ("training", "validation", "test")[min(place, 2)]
        for name, value in (("dataset", stream.dataset), ("collate_fn", stream.collate)):
            inner = _unwrap(value)
            found += [Reader(f"the {part} {name}", each) for each in inner]
    return found


def _unwrap(value: Any) -> Iterator[Any]:
    """The user's object inside those of torch, such as a Subset."""
    ahead, seen = [value], 0
    while ahead and seen < 100:
        each = ahead.pop()
        seen += 1
        if is_users(type(each).__module__):
            if hasattr(each, "__dict__"):
                yield each
        else:
            ahead += [getattr(each, "dataset", None)] if hasattr(each, "dataset") else []
            ahead += getattr(each, "datasets", [])
