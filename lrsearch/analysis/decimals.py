"""The decimals that values of a metric are shown with."""

from __future__ import annotations

import math


def decimals_for(best: float, digits: int = 4) -> int | None:
    """Decimals that show `best` with so many significant digits, for its whole column; None where
    fixed decimals do not suit its size. Just below one it has up to four more, lest it reads 1."""
    if not 1e-3 <= abs(best) < 1e6:
        return None
    least = max(0, digits - 1 - math.floor(math.log10(abs(best))))
    most = least + 4 if abs(best) < 1 else least
    return next((n for n in range(least, most) if round(abs(best), n) < 1), most)


def in_decimals(value: float) -> str:
    """A value with the decimals that a column of which it is the best would have."""
    decimals = decimals_for(value)
    return f"{value:.4g}" if decimals is None else f"{value:z.{decimals}f}"
