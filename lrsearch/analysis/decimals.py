"""The decimals that values of a metric are shown with."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable

from lrsearch.terminal import short

DIGITS = 4
"""The significant digits that a value is shown with."""


def decimals_for(best: float) -> int | None:
    """Decimals that show `best` with `DIGITS` significant digits, for its whole column; these
    digits themselves, below 0, where fixed decimals do not suit its size, and None of 0. Just below
    one it has up to four more, lest it reads 1."""
    if best == 0 or not math.isfinite(best):
        return None
    if not 1e-3 <= abs(best) < 1e6:
        return -DIGITS
    least = max(0, DIGITS - 1 - math.floor(math.log10(abs(best))))
    most = least + 4 if abs(best) < 1 else least
    return next((n for n in range(least, most) if round(abs(best), n) < 1), most)


MORE = 4
"""The most decimals beyond those of the best value alone."""


def decimals_among(best: float, values: Iterable[float], spreads: Iterable[float]) -> int | None:
    """Decimals that show `best` as `decimals_for` does, and that tell it from the better quarter of
    the other `values` and show the middle of their `spreads`: values near -1234 that differ by
    tenths, say. Of a best value of 0 the middle of the others sets them."""
    given = list(values)
    gaps = sorted(abs(best - value) for value in given if abs(best - value) > 1e-12 * abs(best))
    shown = abs(best) or (statistics.median(gaps) if gaps else 0.0)
    base = decimals_for(shown)
    known = [spread for spread in spreads if spread > 1e-12 * abs(best)]
    sizes = [statistics.median(known)] if known else []
    sizes += [gaps[len(gaps) // 4]] if gaps else []
    if base is None or not sizes or not math.isfinite(min(sizes)):
        return base
    needed = math.ceil(math.log10(3) - math.log10(min(sizes)))
    if base < 0:  # Digits.
        return min(base, -min(MORE - base, needed + 1 + math.floor(math.log10(shown))))
    return max(base, min(base + MORE, needed))


def in_decimals(value: float) -> str:
    """A value with the decimals that a column of which it is the best would have."""
    decimals = decimals_for(value)
    if decimals is None or decimals < 0:
        return short(value, 4)
    return f"{value:z.{decimals}f}"
