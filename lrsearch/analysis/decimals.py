"""The decimals that values of a metric are shown with."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable


def decimals_for(best: float, digits: int = 4) -> int | None:
    """Decimals that show `best` with so many significant digits, for its whole column; None where
    fixed decimals do not suit its size. Just below one it has up to four more, lest it reads 1."""
    if not 1e-3 <= abs(best) < 1e6:
        return None
    least = max(0, digits - 1 - math.floor(math.log10(abs(best))))
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
    base = decimals_for(best)
    if best == 0 and gaps:
        base = decimals_for(statistics.median(gaps))
    known = [spread for spread in spreads if spread > 1e-12 * abs(best)]
    sizes = [statistics.median(known)] if known else []
    sizes += [gaps[len(gaps) // 4]] if gaps else []
    if base is None or not sizes or not math.isfinite(min(sizes)):
        return base
    # Of a best value of 0 they may be so small that 3 is infinitely many of them.
    return max(base, min(base + MORE, math.ceil(math.log10(3 / max(min(sizes), 1e-300)))))


def in_decimals(value: float) -> str:
    """A value with the decimals that a column of which it is the best would have."""
    decimals = decimals_for(value)
    return f"{value:.4g}" if decimals is None else f"{value:z.{decimals}f}"
