"""Edges: whether the best lies at the end of a searched range."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

NEAR = 0.01
"""The share of a range, in its own scale, that counts as its end."""


@dataclass(frozen=True)
class Range:
    """A searched range. `name` is the flat parameter, `scale` is log or linear. `least` and `most`
    are the bounds of the parameter itself, if it has any: no best lies beyond those. Between
    `listed` values there are no others: only an end itself counts as one."""

    name: str
    low: float
    high: float
    scale: str = "linear"
    least: float | None = None
    most: float | None = None
    listed: bool = False


def edges(best_params: Mapping[str, Any], ranges: Sequence[Range]) -> list[str]:
    """A sentence for each range at whose end the best lies. Skipped are ranges of one value, and
    those that are no numeric part of `best_params` (of another choice, say)."""
    found = []
    for searched in ranges:
        value = best_params.get(searched.name)
        if isinstance(value, bool) or not isinstance(value, int | float):
            continue
        end = _end(float(value), searched)
        if end:
            near = "" if value in (searched.low, searched.high) else "near "
            found.append(
                f"{searched.name} {value:.4g} is {near}the {end} searched "
                f"({searched.low:.4g} to {searched.high:.4g}): the best may lie beyond"
            )
    return found


def _end(value: float, searched: Range) -> str | None:
    low, high = searched.low, searched.high
    if searched.scale == "log":
        if value <= 0:
            return None
        value, low, high = math.log(value), math.log(low), math.log(high)
    if low == high:
        return None
    # Room for rounding: a grid's ends come back from a logarithm.
    share, near = (value - low) / (high - low), 1e-9 + (0 if searched.listed else NEAR)
    if not -1e-9 <= share <= 1 + 1e-9:
        return None  # measured before the range was narrowed
    if share <= near and searched.low != searched.least:
        return "lowest"
    if share >= 1 - near and searched.high != searched.most:
        return "highest"
    return None
