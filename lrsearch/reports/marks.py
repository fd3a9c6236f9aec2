"""Figures as values: scales, marks and panels, drawn by the page as SVG, by the terminal as text.

A `Panel` has two scales and marks in the units of the data; a `Figure` has panels on shared axes,
the sentence that it shows, and its table.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field

from lrsearch.catalogue import ENDS
from lrsearch.frozen import frozen
from lrsearch.reports.text import format_apart


@frozen
class Scale:
    """A scale from `low` to `high`, which differ; logarithmic ones are of positive numbers."""

    low: float
    high: float
    log: bool = False

    def place(self, value: float) -> float:
        """The place of a value, 0 at `low` and 1 at `high`; others lie outside."""
        if self.log:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)

    def value(self, place: float) -> float:
        """The value at a place: the inverse of `place`."""
        if self.log:
            return float(self.low * (self.high / self.low) ** place)
        return self.low + place * (self.high - self.low)

    def holds(self, value: float) -> bool:
        """Whether a value lies on the scale."""
        return math.isfinite(value) and self.low <= value <= self.high

    def clamp(self, value: float) -> float:
        """The value, or the end that it lies beyond."""
        return min(max(value, self.low), self.high)

    def ticks(self, most: int = 5) -> list[float]:
        """Round values on the scale, about so many, and two at least: powers of ten on a
        logarithmic one, where it spans two or more of them, or these with what stands between
        them, else steps of 1, 2 or 5."""
        found = (self._powers(most) or self._between(most)) if self.log else []
        return [value for value in found or self._steps(most) if self.holds(value)]

    def _powers(self, most: int) -> list[float]:
        powers = self._exponents()
        if len(powers) < 2:
            return []
        every = math.ceil(len(powers) / most)
        return [10.0**power for power in powers if (power - powers[0]) % every == 0]

    def _exponents(self, more: int = 0) -> range:
        slack = 1e-9
        first, last = math.log10(self.low), math.log10(self.high)
        return range(math.ceil(first - slack) - more, math.floor(last + slack) + 1)

    def _between(self, most: int) -> list[float]:
        for heads in ((1, 2, 5), (1, 3)):
            each = [float(f"{head}e{power}") for power in self._exponents(1) for head in heads]
            found = [value for value in each if self.low <= value <= self.high]
            if 2 <= len(found) <= most:
                return found
        return []

    def _steps(self, most: int) -> list[float]:
        rough = (self.high - self.low) / max(1, most)
        power = 10.0 ** math.floor(math.log10(rough))
        fitting = [each * power for each in (10, 5, 2, 1) if each * power >= rough * (1 - 1e-9)]
        for step in (fitting[-1], fitting[-1] / 2, fitting[-1] / 5, fitting[-1] / 10):
            first = math.ceil(self.low / step - 1e-9)
            last = math.floor(self.high / step + 1e-9)
            if last > first:
                break
        # Few of them, and whole multiples, which a sum of steps would not stay.
        return [float(f"{number * step:.12g}") for number in range(first, last + 1)]


HUGE = 1e300
"""Larger values are drawn at the end of an axis: no axis could reach to both sides of them."""


def clip(scale: Scale, metric: str, values: Iterable[float]) -> Scale:
    """The scale of some values of a metric without what lies beyond its ends: there is no accuracy
    of 1.04. A metric of the user's may have the name and other ends, as percents have."""
    low, high = ENDS.get(metric, (-math.inf, math.inf))
    if not all(low <= value <= high for value in values):
        return scale
    return Scale(max(scale.low, low), min(scale.high, high))


def spanning(
    values: Iterable[float], *, log: bool = False, room: float = 0.06, metric: str = ""
) -> Scale:
    """A scale that holds the values, with some room at both ends; huge values, and on a log scale
    tiny ones, are left out. Without values it is a default one; of a single value it is one around
    that value. Of values of a `metric` it ends where that does."""
    most = HUGE**0.5 if log else HUGE  # The ratio of two of them is a number, too.
    least = 1 / most if log else -most
    kept = [value for value in values if least <= value <= most]
    low, high = (min(kept), max(kept)) if kept else (0.1 if log else 0.0, 1.0)
    if log:
        factor = (high / low) ** room if high > low else 3.0
        return Scale(low / factor, high * factor, log=True)
    gap = room * (high - low)
    if not (low - gap < low and high < high + gap):  # They are one value, to the digits there are.
        gap = abs(high) * 0.05 or 1.0
    return clip(Scale(low - gap, high + gap), metric, kept)


# marks, in the units of the data; `kind` says what they mean, and so how they look


@frozen
class Points:
    """Points. `kind` is dot, cross (diverged), off (beyond the axis) or pick (the recommended
    one)."""

    places: Sequence[tuple[float, float]]
    kind: str = "dot"

    def sign(self, y: float, scale: Scale) -> str:
        """The sign of a point: its kind, `high` at the upper end of the axis."""
        return "high" if self.kind == "off" and scale.place(scale.clamp(y)) > 0.5 else self.kind


@frozen
class Line:
    """A line through points; `kind` is curve, faint, step or best."""

    places: Sequence[tuple[float, float]]
    kind: str = "curve"


@frozen
class Band:
    """The room between two lines, by (x, low, high)."""

    places: Sequence[tuple[float, float, float]]
    kind: str = "band"


@frozen
class Span:
    """The values of x from `low` to `high`, over the whole height: the basin, or what was not
    measured."""

    low: float
    high: float
    kind: str = "basin"


@frozen
class Rule:
    """A vertical line: a bound of the search, or where divergence begins."""

    x: float
    kind: str = "bound"


@frozen
class Bar:
    """An interval at x, upright; flat where it is one of x at `low` = `high`: (x, end) then."""

    x: float
    low: float
    high: float
    kind: str = "bar"


Mark = Points | Line | Band | Span | Rule | Bar


@frozen
class Panel:
    """A drawing on two scales. `title` and labels are plain text; `numbers` are the trials of the
    points that can be picked, by their places; `x_names` are labels in the place of numbers."""

    title: str
    x: Scale
    y: Scale
    marks: Sequence[Mark]
    x_label: str = ""
    y_label: str = ""
    numbers: Sequence[tuple[float, float, int]] = ()
    x_names: Sequence[tuple[float, str]] = ()


@frozen
class Figure:
    """Panels with their `finding`, one sentence on what they show; `key` says what the marks mean,
    by kind; `head` and `rows` are the same as a table; `notes` say what was left out."""

    name: str
    finding: str
    panels: Sequence[Panel]
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    key: Mapping[str, str] = field(default_factory=dict)
    notes: Sequence[str] = ()


def used_key(panels: Sequence[Panel], key: Mapping[str, str]) -> dict[str, str]:
    """The part of a key whose marks are in some panels."""
    kinds = {mark.kind for panel in panels for mark in panel.marks if _shows(mark)}
    return {kind: text for kind, text in key.items() if kind in kinds}


def _shows(mark: Mark) -> bool:
    return not isinstance(mark, Points | Line | Band) or len(mark.places) > 0


def label(scale: Scale, most: int = 5) -> list[tuple[float, str]]:
    """The ticks of a scale and their labels, with as many digits as tell them apart: 0.001 and 1e-5
    as they are on a logarithmic one, elsewhere with equally many decimals, 1.00 above 0.95."""
    values = scale.ticks(most)
    texts = format_apart(values)
    if not scale.log and not any("e" in text for text in texts):
        decimals = max(len(text.partition(".")[2]) for text in texts)
        texts = [f"{each:z.{decimals}f}" for each in values]
    return list(zip(values, texts, strict=True))
