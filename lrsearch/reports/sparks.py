"""Small drawings on one line: a curve, a bar, the lanes of programs."""

from __future__ import annotations

import math
from collections.abc import Sequence

from lrsearch.reports.curves import encodes

BLOCKS = "▁▂▃▄▅▆▇█"
PLAIN = "_.-:=+*#"
"""Levels from low to high; the second ones for encodings without blocks."""


def levels(encoding: str) -> str:
    """The characters of levels that an encoding has."""
    return BLOCKS if encodes(BLOCKS, encoding) else PLAIN


def spark(values: Sequence[float], width: int, encoding: str = "utf-8") -> str:
    """Draw values in at most `width` characters, one each where there is room, else the mean of
    neighbours: the least at the lowest level, the greatest at the highest. Infinite ones stand at
    the ends, and a blank for what is no number; equal values stand in the middle."""
    signs = levels(encoding)
    if width < 1:
        return ""
    columns = min(width, len(values))
    parts = (values[at * len(values) // columns : (at + 1) * len(values) // columns]
             for at in range(columns))  # fmt: skip
    means = [_mean(part) for part in parts]
    known = [each for each in means if math.isfinite(each)]
    low, high = min(known, default=0.0), max(known, default=0.0)
    return "".join(_sign(each, low, high, signs) for each in means)


def _mean(values: Sequence[float]) -> float:
    numbers = [value for value in values if not math.isnan(value)]
    # Halved before they are added, the largest floats have a mean, too.
    return math.fsum(value / len(numbers) for value in numbers) if numbers else math.nan


def _sign(value: float, low: float, high: float, signs: str) -> str:
    if math.isnan(value):
        return " "
    if math.isinf(value):
        return signs[-1] if value > 0 else signs[0]
    half = high / 2 - low / 2
    share = (value / 2 - low / 2) / half if half > 0 else 0.5
    return signs[min(len(signs) - 1, int(share * len(signs)))]


def bar(share: float, width: int, encoding: str = "utf-8") -> tuple[str, str]:
    """A bar's part that is done and the rest, `width` characters together."""
    done, rest = ("━", "━") if encodes("━", encoding) else ("#", "-")
    full = round(min(max(share, 0.0), 1.0) * width)
    return done * full, rest * (width - full)


def lanes(programs: Sequence[tuple[Sequence[float], int]], encoding: str = "utf-8") -> str:
    """A level for each lane of programs, by the share trained of the trial in it; of each program
    these shares are given, and its lanes. Those that are free are dots."""
    signs = levels(encoding)
    free = "·" if encodes("·", encoding) else "."

    def one(share: float) -> str:
        return signs[min(len(signs) - 1, int(share * len(signs)))]

    return " ".join(
        "".join(map(one, shares)) + free * (count - len(shares)) for shares, count in programs
    )
