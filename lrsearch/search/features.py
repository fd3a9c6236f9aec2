"""Points as rows of numbers, for a model of their values: many at once.

A parameter has a share of its range (0 to 1), a raw number as in `space`, and one column or more
of features. A parameter that does not live at a point, under an option that is not chosen, stands
in the middle of its range there: two points that both lack it do not differ in it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from lrsearch.search.start import rising
from lrsearch.space import (
    Choice,
    Dimension,
    Int,
    Space,
    encode,
    options_above,
    parameters,
    parse_name,
)
from lrsearch.trial import Point

Array = NDArray[np.float64]

RATE = re.compile(r"(?i)(.*[._\]])?(lr|learning_?rate)")
"""Ids of learning rates, a command's or a loop's included."""

BATCH = re.compile(r"(?i)(.*[._\]])?batch_?size")

MOMENTUM = re.compile(r"(?i)(.*[._\]])?(momentum|beta_?[12])")

DECADES = 2.0
"""The least width of a range of rates, in units of its feature: a narrower one is as wide."""

LENGTHS = {"rate": 1.0, "batch": 1.5, "share": 1.0, "one-hot": 1.2}
"""Median of a length's prior, in units of the feature, by what it is of."""

OWN = 8
"""The most options of a choice that have a length each: those of a longer one share theirs."""


@dataclass(frozen=True)
class _Column:
    """A feature of one parameter, whose place is `number`: a line through its raw number, or that
    one's logarithm; or whether the option `chosen` is."""

    number: int
    kind: str
    log: bool = False
    complement: bool = False
    offset: float = 0.0
    width: float = 1.0
    span: float = 1.0
    chosen: int | None = None
    values: tuple[float, ...] = ()

    def of(self, raw: Array) -> Array:
        """The feature at raw numbers."""
        if self.chosen is not None:
            return np.asarray(raw == self.chosen, dtype=np.float64)
        return np.asarray((self.scaled(raw) - self.offset) / self.width * self.span)

    def scaled(self, raw: Array) -> Array:
        """The raw number, or the value of an option, on the feature's scale."""
        value = np.asarray(self.values)[raw.astype(np.intp)] if self.values else raw
        if self.complement:
            return np.asarray(-np.log10(1.0 - value))
        return np.asarray(np.log10(value) if self.log else value, dtype=np.float64)


class Features:
    """The columns of a space. `groups` has the place of each one's length in `lengths`, the median
    lengths: a column has its own, but for the options of a choice of more than `OWN`."""

    def __init__(self, space: Space) -> None:
        self.space = space
        named = list(parameters(space))
        self.names = [name for name, _ in named]
        self.dimensions = [dimension for _, dimension in named]
        places = {name: place for place, name in enumerate(self.names)}
        self._above = [
            [(places[choice], option) for choice, option in options_above([name]).items()]
            for name in self.names
        ]
        self._columns: list[_Column] = []
        for place, (name, dimension) in enumerate(named):
            self._columns += _columns(place, name, dimension)
        many = [isinstance(part, Choice) and len(part.options) > OWN for part in self.dimensions]
        heads: dict[tuple[int, int], float] = {}
        for place, column in enumerate(self._columns):
            shared = column.chosen is not None and many[column.number]
            heads.setdefault((column.number, -1 if shared else place), LENGTHS[column.kind])
        self.lengths = np.asarray(list(heads.values()))
        places_of = {head: place for place, head in enumerate(heads)}
        self.groups = np.asarray(
            [
                places_of.get((column.number, place), places_of.get((column.number, -1), 0))
                for place, column in enumerate(self._columns)
            ],
            dtype=np.intp,
        )
        self._coupled = self._couple()
        self.choices = np.asarray([isinstance(part, Choice) for part in self.dimensions])
        self._orders = [
            np.asarray(rising(part)) if isinstance(part, Choice) else np.empty(0)
            for part in self.dimensions
        ]

    def _couple(self) -> list[tuple[int, int]]:
        """Columns of rates, each with those of momenta that multiply its steps."""
        found = []
        for place, column in enumerate(self._columns):
            if column.kind != "rate" or not column.log:
                continue
            rate = parse_name(self.names[column.number])
            for other, beside in enumerate(self._columns):
                momentum = parse_name(self.names[beside.number])
                last = (momentum.argument or momentum.head).rpartition(".")[2]
                near = momentum.head == "optimizer" or not momentum.argument
                apart = None not in (rate.option, momentum.option)
                if apart and rate.option != momentum.option:
                    continue
                if near and beside.complement and last.lower() == "momentum":
                    found.append((place, other))
        return found

    @cached_property
    def _middle(self) -> list[tuple[str, float]]:
        """The raw number of each parameter in the middle of its range, by its name."""
        numbers = self.raw(np.full((1, len(self.names)), 0.5))[0]
        return list(zip(self.names, map(float, numbers), strict=True))

    # between shares, raw numbers and features

    def raw(self, shares: Array) -> Array:
        """The raw numbers at shares, both [points, parameters]."""
        found = np.empty_like(shares)
        for place, part in enumerate(self.dimensions):
            share = shares[:, place]
            if isinstance(part, Choice):
                order = self._orders[place]
                found[:, place] = order[
                    np.minimum((share * len(order)).astype(int), len(order) - 1)
                ]
            else:
                found[:, place] = _at(part, share)
        return found

    def shares(self, raw: Array) -> Array:
        """The shares that `raw` makes these numbers of; an option's are the middle of its own."""
        found = np.empty(raw.shape)
        for place, part in enumerate(self.dimensions):
            numbers = raw[:, place]
            if isinstance(part, Choice):
                ranks = np.argsort(self._orders[place])[numbers.astype(int)]
                found[:, place] = (ranks + 0.5) / len(self._orders[place])
            else:
                found[:, place] = _share(part, numbers)
        return np.clip(found, 0.0, 1.0)

    def alive(self, raw: Array) -> NDArray[np.bool_]:
        """Whether each parameter lives at each point."""
        found = np.ones(raw.shape, dtype=bool)
        for place, above in enumerate(self._above):
            for choice, option in above:
                found[:, place] &= raw[:, choice] == option
        return found

    def matrix(self, raw: Array) -> Array:
        """The features of points, [points, columns]."""
        alive = self.alive(raw)
        middle = np.asarray([number for _, number in self._middle])
        found = np.empty((len(raw), len(self._columns)))
        plain = np.where(alive, raw, middle)
        for place, column in enumerate(self._columns):
            found[:, place] = column.of(plain[:, column.number])
            if column.chosen is not None:
                found[:, place] *= alive[:, column.number]
        for rate, momentum in self._coupled:
            beside, column = self._columns[momentum], self._columns[rate]
            steps = beside.scaled(plain[:, beside.number])
            there = alive[:, beside.number] & alive[:, column.number]
            found[:, rate] += np.where(there, steps / column.width * column.span, 0.0)
        return found

    def apart(self, raw: Array, known: Array) -> Array:
        """The least distance of each point from any known one, [points]: the largest difference in
        a parameter, as a share of its range; 1 between options."""
        alive, other = self.alive(raw), self.alive(known)
        shares, beside = self.shares(raw), self.shares(known)
        distance = np.zeros((len(raw), len(known)))
        for place, choice in enumerate(self.choices):
            both = alive[:, place, None] & other[None, :, place]
            differs = np.abs(shares[:, place, None] - beside[None, :, place])
            if choice or isinstance(self.dimensions[place], Int):
                differs = (raw[:, place, None] != known[None, :, place]).astype(np.float64)
            distance = np.maximum(distance, np.where(both, differs, 0.0))
        return np.asarray(distance.min(axis=1))

    def numbers(self, encoded: Mapping[str, float]) -> list[float]:
        """A row of raw numbers, of a point as `space.encode` has it; what does not live there is in
        the middle."""
        return [float(encoded.get(name, rest)) for name, rest in self._middle]


class Nearest:
    """The nearest of the points that are left of a space: that which differs least from another by
    the sum over parameters of their differences as shares of their range, 1 between options."""

    def __init__(self, space: Space) -> None:
        self._features = Features(space)
        self._plain = [
            isinstance(part, Choice) and not part.ordered for part in self._features.dimensions
        ]
        self._rows: dict[str, list[float]] = {}

    def find(self, point: Point, left: Mapping[str, Point]) -> str:
        """The key of the nearest to a point of the space; of several the first."""
        for key in left.keys() - self._rows.keys():
            self._rows[key] = self._row(left[key])
        raw = np.asarray([self._row(point), *(self._rows[key] for key in left)])
        shares, alive = self._features.shares(raw), self._features.alive(raw)
        differs = np.where(self._plain, raw[1:] != raw[0], np.abs(shares[1:] - shares[0]))
        apart = np.where(alive[1:] & alive[0], differs, 0.0).sum(axis=1)
        return list(left)[int(np.argmin(apart))]

    def _row(self, point: Point) -> list[float]:
        return self._features.numbers(encode(self._features.space, point) or {})


def _columns(place: int, name: str, dimension: Dimension) -> list[_Column]:
    """The columns of one parameter."""
    kind = "rate" if RATE.fullmatch(name) else "batch" if BATCH.fullmatch(name) else "share"
    values: tuple[float, ...] = ()
    if isinstance(dimension, Choice):
        if not dimension.ordered:
            return [
                _Column(place, "one-hot", chosen=option) for option in range(len(dimension.options))
            ]
        values = tuple(float(option.value) for option in dimension.options)
        low, high = min(values), max(values)
        log = low > 0 and (kind != "share" or high >= 10 * low)
    else:
        low, high = float(dimension.low), float(dimension.high)
        log = low > 0 and (kind != "share" or dimension.log)
    if MOMENTUM.fullmatch(name) and 0 <= low <= high < 1:
        first, last = -np.log10(1 - low), -np.log10(1 - high)
        width = float(last - first) or 1.0
        return [_Column(place, kind, False, True, float(first), width, 1.0, None, values)]
    if not log:
        kind, span = "share", 1.0
    first, last = (np.log10(low), np.log10(high)) if log else (low, high)
    width = float(last - first) or 1.0
    span = {"rate": max(width, DECADES), "batch": width, "share": 1.0}[kind]
    return [_Column(place, kind, log, False, float(first), width, span, None, values)]


def _at(dimension: Dimension, share: Array) -> Array:
    """`Dimension.at` for an array, whole numbers rounded."""
    assert not isinstance(dimension, Choice)
    low, high = float(dimension.low), float(dimension.high)
    whole = isinstance(dimension.low, int) and not hasattr(dimension, "unit")
    if whole:
        low, high = low - 0.5, high + 0.5
    if dimension.log:
        low = max(low, 0.5) if whole else low
        found = low * np.exp(share * np.log(high / low))
    else:
        found = low + share * (high - low)
    found = np.rint(found) if whole else found
    return np.asarray(np.clip(found, dimension.low, dimension.high))


def _share(dimension: Dimension, raw: Array) -> Array:
    """The share of a range at raw numbers."""
    assert not isinstance(dimension, Choice)
    low, high = float(dimension.low), float(dimension.high)
    if low == high:
        return np.full(raw.shape, 0.5)
    if dimension.log:
        return np.asarray(np.log(raw / low) / np.log(high / low))
    return (raw - low) / (high - low)
