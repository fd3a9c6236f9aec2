"""Commas that are decimal ones: to YAML they end a value."""

from __future__ import annotations

import itertools
import re
from typing import Any

WHOLE = re.compile(r"[-+]?[0-9]+")
NUMBER = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")


def _is_whole(event: Any) -> bool:
    import yaml

    plain = isinstance(event, yaml.ScalarEvent) and not event.style
    return plain and WHOLE.fullmatch(event.value) is not None


def follows(number: Any, key: Any) -> bool:
    """Whether a key without a value is the fraction of the whole number right before its comma."""
    import yaml

    digits = _is_whole(number) and isinstance(key, yaml.ScalarEvent) and key.value.isdecimal()
    return digits and bool(key.start_mark.index == number.end_mark.index + 1)


def with_points(events: list[Any]) -> list[str]:
    """The numbers of a list such as [0,1, 0,01], whose every other comma has no blank behind it, or
    [0,001, 1], in which one goes on with a 0; none for any other list, as [16,32, 64,128], of which
    no number begins with 0."""
    tight = [
        _is_whole(one) and _is_whole(other) and other.start_mark.index == one.end_mark.index + 1
        for one, other in itertools.pairwise(events)
    ]
    begun = [each.value.lstrip("+-")[:1] == "0" if _is_whole(each) else False for each in events]
    others = len(events) > 3 and any(begun[::2])
    every = others and len(events) % 2 == 0 and tight == [True, False] * (len(tight) // 2) + [True]
    found: list[str] = []
    for at, event in enumerate(events):
        value = getattr(event, "value", None)
        if not isinstance(value, str):
            return []
        behind = at > 0 and tight[at - 1] and found[-1].lstrip("+-") == "0" and len(value) > 1
        if (every and at % 2) or (behind and begun[at]):
            found[-1] += f".{value}"
        else:
            found.append(value)
    return found if len(found) < len(events) and all(map(NUMBER.fullmatch, found)) else []


MOST_LISTED = 50
"""The most values of a list whose brackets are missing."""


def lists_on(mapping: dict[str, Any], key: Any, last: Any) -> bool:
    """Whether a key of braces is a number more of the value before it: {channels: 16, 32}."""
    import yaml

    plain = isinstance(key, yaml.ScalarEvent) and not key.style and NUMBER.fullmatch(key.value)
    value = mapping[next(reversed(mapping))] if mapping else None
    before = value[-1] if isinstance(value, list) and 0 < len(value) < MOST_LISTED else value
    return bool(plain) and getattr(last, "value", None) == "" and type(before) in (int, float)
