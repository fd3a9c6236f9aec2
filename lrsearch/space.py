"""The space a spec searches: ranges, whole numbers and choices that may carry spaces of their own.

A point is built by asking a `choose` function for one raw number per live parameter: a value
for `Float` and `Int`, an index for `Choice`. Every strategy is such a function, so all of them
share one way of turning numbers into values. A parameter's id is its path, with the option's
index where it lives only under that option: `schedule[2].pct_start`.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import field, replace
from typing import TYPE_CHECKING, Any, TypeGuard

from lrsearch.frozen import frozen
from lrsearch.trial import Point

if TYPE_CHECKING:  # commands that only read a spec start without it
    import numpy as np

DIGITS = 12
"""Significant digits of a proposed value: below them two values are one."""


def is_number(value: object) -> TypeGuard[int | float]:
    """Whether a value is a number; true and false, which Python counts among them, are none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def round_value(value: float) -> float:
    """`value` to `DIGITS` significant digits."""
    return float(f"{value:.{DIGITS}g}")


# dimensions


@frozen
class Float:
    """A range of real numbers, or of durations of one unit. An `auto` range has its ends from a
    range test; until that was run, they are the limits of the test."""

    low: float
    high: float
    log: bool = False
    points: int | None = None
    unit: str = ""
    auto: bool = False

    def value(self, raw: float) -> float | str:
        """The value of a raw number: rounded, inside the range, with its unit."""
        number = min(max(round_value(raw), self.low), self.high)
        return f"{number:.{DIGITS}g}{self.unit}" if self.unit else number

    def raw(self, value: object) -> float | None:
        """The number of a value, None where it lies outside."""
        if self.unit:
            if not isinstance(value, str) or not value.endswith(self.unit):
                return None
            try:
                value = float(value.removesuffix(self.unit))
            except ValueError:
                return None
        if not is_number(value):
            return None
        return float(value) if self.low <= value <= self.high else None

    def at(self, share: float) -> float:
        """The number at a share (0..1) of the range, on its scale."""
        if self.log:
            low, high = math.log(self.low), math.log(self.high)
            return math.exp(low + share * (high - low))
        return self.low + share * (self.high - self.low)

    def grid(self) -> list[float]:
        """The `points` numbers of its grid, evenly spaced on its scale, both ends among them; a
        single one is the middle. Numbers that round to the same value are listed once."""
        values = (min(max(round_value(raw), self.low), self.high) for raw in self.spread())
        return list(dict.fromkeys(values))

    def spread(self) -> list[float]:
        """The numbers of the grid before rounding."""
        count = self.points or 0
        if self.low == self.high:
            return [self.low][:count]
        if count == 1:
            return [self.at(0.5)]
        inner = [self.at(index / (count - 1)) for index in range(1, count - 1)]
        return [self.low, *inner, self.high] if count else []


@frozen
class Int:
    """A range of whole numbers."""

    low: int
    high: int
    log: bool = False
    points: int | None = None

    def value(self, raw: float) -> int:
        """The nearest whole number inside the range."""
        return min(max(round(raw), self.low), self.high)

    def raw(self, value: object) -> float | None:
        """The number of a value, None where it lies outside."""
        if isinstance(value, bool) or not isinstance(value, int):
            return None
        return value if self.low <= value <= self.high else None

    def at(self, share: float) -> float:
        """The number at a share (0..1) of the range; each whole number has an equal part of it
        (on a log scale its part of the logarithms)."""
        low, high = self.low - 0.5, self.high + 0.5
        if self.log:
            return low * math.exp(share * math.log(high / low))
        return low + share * (high - low)

    def grid(self) -> list[float]:
        """The `points` numbers of its grid on its scale, ends included, those that round to one
        kept once."""
        exact = Float(self.low, self.high, self.log, self.points).spread()
        return list(dict.fromkeys(float(self.value(raw)) for raw in exact))


@frozen
class Option:
    """An option of a choice: a value, and for a mapping the space that exists only under it, its
    paths relative to the mapping."""

    value: Any
    space: Space = field(default_factory=lambda: Space(()))


@frozen
class Choice:
    """One of several values, in the order of the spec."""

    options: tuple[Option, ...]

    @property
    def values(self) -> list[Any]:
        """The values of the options."""
        return [option.value for option in self.options]

    @property
    def ordered(self) -> bool:
        """Whether the options are plain numbers, so that neighbours resemble each other."""
        return all(map(is_number, self.values))


Dimension = Float | Int | Choice
Choose = Callable[[str, Dimension], float]


@frozen
class Space:
    """Searched parameters by dotted path, in the order of the spec."""

    dimensions: tuple[tuple[str, Dimension], ...]

    def __bool__(self) -> bool:
        return bool(self.dimensions)

    def chosen(self, path: str, fixed: Any) -> list[Any]:
        """The values of a parameter: those that it is chosen from, or else the `fixed` one."""
        dimension = dict(self.dimensions).get(path)
        return dimension.values if isinstance(dimension, Choice) else [fixed]


# paths


def get_path(tree: Mapping[str, Any], path: str) -> Any:
    """The value at a dotted path. Raises KeyError where there is none."""
    value: Any = tree
    for part in path.split("."):
        if type(value) is not dict and not isinstance(value, Mapping):
            raise KeyError(path)
        value = value[part]
    return value


def set_path(tree: dict[str, Any], path: str, value: Any) -> None:
    """Put a value at a dotted path, making the mappings on the way."""
    *parents, last = path.split(".")
    for part in parents:
        if not isinstance(tree.get(part), dict):
            tree[part] = {}
        tree = tree[part]
    tree[last] = value


def copy_tree(value: Any) -> Any:
    """A copy of plain mappings and lists, with all that is inside them; anything else as it is."""
    kind = type(value)
    if kind is dict:
        return {key: copy_tree(part) for key, part in value.items()}
    return [copy_tree(part) for part in value] if kind is list else value


# points


def build(space: Space, choose: Choose, prefix: str = "") -> dict[str, Any]:
    """The point whose live parameters `choose` gives numbers for, asked in the spec's order."""
    return {path: _build(prefix + path, part, choose) for path, part in space.dimensions}


def _build(name: str, dimension: Dimension, choose: Choose) -> Any:
    raw = choose(name, dimension)
    if not isinstance(dimension, Choice):
        return dimension.value(raw)
    option = dimension.options[int(raw)]
    if not option.space:
        return option.value
    value = copy_tree(option.value)
    for path, inner in build(option.space, choose, f"{name}[{int(raw)}].").items():
        set_path(value, path, inner)
    return value


def encode(space: Space, point: Point, prefix: str = "") -> dict[str, float] | None:
    """The raw numbers that `build` makes `point` of, by parameter id; None if it lies outside."""
    numbers: dict[str, float] = {}
    for path, dimension in space.dimensions:
        if path not in point:
            return None
        inner = _encode(prefix + path, dimension, point[path])
        if inner is None:
            return None
        numbers |= inner
    return numbers


def _encode(name: str, dimension: Dimension, value: Any) -> dict[str, float] | None:
    if not isinstance(dimension, Choice):
        raw = dimension.raw(value)
        return None if raw is None else {name: raw}
    for index, option in enumerate(dimension.options):
        if not option.space:
            if same(option.value, value):
                return {name: index}
            continue
        if not isinstance(value, Mapping):
            continue
        try:
            inner_point = {path: get_path(value, path) for path, _ in option.space.dimensions}
        except KeyError:
            continue
        inner = encode(option.space, inner_point, f"{name}[{index}].")
        if inner is None:
            continue
        rebuilt = copy_tree(option.value)
        for path, part in inner_point.items():
            set_path(rebuilt, path, part)
        if same(rebuilt, value):
            return {name: index, **inner}
    return None


_ATOMS = (str, int, float, bool, type(None))


def same(left: Any, right: Any) -> bool:
    """Equality that tells true from 1, and lists from tuples no more than JSON does."""
    if type(left) is type(right) and type(left) in _ATOMS:  # As nearly always.
        return bool(left == right)
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, Mapping) and isinstance(right, Mapping):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list | tuple) and isinstance(right, list | tuple):
        return len(left) == len(right) and all(map(same, left, right))
    return bool(left == right)


_OPTION = re.compile(r"\[(\d+)\]")


# parameters by id


@frozen
class ParameterName:
    """A parameter's id in parts: `schedule[2].gamma` is the argument `gamma` under option 2 of
    `schedule`. The option is None for a parameter under none, the argument "" for one that is no
    argument."""

    head: str
    option: int | None
    argument: str

    @property
    def path(self) -> str:
        """The id without the option: `schedule.gamma`."""
        return f"{self.head}.{self.argument}" if self.argument else self.head


def parse_name(name: str) -> ParameterName:
    """The parts of a parameter's id."""
    first, _, argument = name.partition(".")
    head, bracket, rest = first.partition("[")
    return ParameterName(head, int(rest.partition("]")[0]) if bracket else None, argument)


def ends(dimension: Dimension) -> list[float]:
    """The raw numbers of both ends of a range, or of every option of a choice."""
    if isinstance(dimension, Choice):
        return list(range(len(dimension.options)))
    return [dimension.low, dimension.high]


def extremes(dimension: Dimension) -> list[float]:
    """The raw numbers of a dimension's ends, of a choice among numbers the lowest and highest."""
    found = ends(dimension)
    if isinstance(dimension, Choice) and dimension.ordered:
        by_value = sorted(found, key=lambda index: dimension.options[int(index)].value)
        found = [by_value[0], by_value[-1]]
    return list(dict.fromkeys(found))


def point_at(space: Space, numbers: Mapping[str, float]) -> dict[str, Any]:
    """The point at raw numbers by parameter id. All other parameters are at their first option or
    lowest value, except that choices take the options that the given parameters live under."""
    return _build_at(space, numbers, options_above(numbers))


def corners(
    space: Space, axes: Mapping[str, Sequence[float]], most: int
) -> Iterator[dict[str, Any]]:
    """The points at all combinations of the raw numbers in `axes`, by parameter id, up to `most`;
    the last axis changes first."""
    above = options_above(axes)
    for numbers in itertools.islice(itertools.product(*axes.values()), most):
        yield _build_at(space, dict(zip(axes, numbers, strict=True)), above)


def options_above(names: Iterable[str]) -> dict[str, int]:
    """The options that parameters live under, by the ids of their choices, the outermost first."""
    above: dict[str, int] = {}
    for name in names:
        for option in _OPTION.finditer(name):
            above.setdefault(name[: option.start()], int(option[1]))
    return above


def _build_at(
    space: Space, numbers: Mapping[str, float], above: Mapping[str, int]
) -> dict[str, Any]:
    def choose(name: str, dimension: Dimension) -> float:
        if name in numbers:
            return numbers[name]
        return above.get(name, 0) if isinstance(dimension, Choice) else dimension.low

    return build(space, choose)


def change_dimensions(
    space: Space, change: Callable[[str, Dimension], Dimension], prefix: str = ""
) -> Space:
    """The space with each dimension changed, by its id; options keep their own."""
    found = []
    for path, part in space.dimensions:
        part = change(prefix + path, part)
        if isinstance(part, Choice):
            part = Choice(
                tuple(
                    Option(
                        option.value,
                        change_dimensions(option.space, change, f"{prefix}{path}[{at}]."),
                    )
                    for at, option in enumerate(part.options)
                )
            )
        found.append((path, part))
    return Space(tuple(found))


def parameters(space: Space, prefix: str = "") -> Iterator[tuple[str, Dimension]]:
    """Every parameter with its id, those under options included, in a fixed order."""
    for path, dimension in space.dimensions:
        yield prefix + path, dimension
        if isinstance(dimension, Choice):
            for index, option in enumerate(dimension.options):
                yield from parameters(option.space, f"{prefix}{path}[{index}].")


def draw(space: Space, shares: Mapping[str, float]) -> dict[str, Any]:
    """The point at the given shares (0..1) of every parameter in `parameters`."""

    def choose(name: str, dimension: Dimension) -> float:
        share = shares[name]
        if isinstance(dimension, Choice):
            count = len(dimension.options)
            return min(int(share * count), count - 1)
        return dimension.at(share)

    return build(space, choose)


# drawing and counting


def draw_random(space: Space, generator: np.random.Generator) -> dict[str, Any]:
    """A point drawn uniformly, log-uniformly where the scale is log."""
    return draw(space, {name: float(generator.random()) for name, _ in parameters(space)})


def automatic(space: Space) -> list[str]:
    """The ids of the ranges whose ends a range test is still to find."""
    return [name for name, part in parameters(space) if isinstance(part, Float) and part.auto]


def settle_ends(space: Space, found: Mapping[str, tuple[float, float]]) -> Space:
    """The space with the ends that range tests have `found`, by the ids of their ranges."""

    def settle(name: str, dimension: Dimension) -> Dimension:
        if name not in found or not isinstance(dimension, Float):
            return dimension
        low, high = found[name]
        return replace(dimension, low=low, high=high, auto=False)

    return change_dimensions(space, settle)


def size(space: Space) -> int | None:
    """The number of points, None for infinitely many."""
    total = 1
    for _, dimension in space.dimensions:
        count = _size(dimension)
        if count is None:
            return None
        total *= count
    return total


def _size(dimension: Dimension) -> int | None:
    if isinstance(dimension, Choice):
        counts = [size(option.space) for option in dimension.options]
        return None if None in counts else sum(count for count in counts if count is not None)
    if dimension.low == dimension.high:
        return 1
    return dimension.high - dimension.low + 1 if isinstance(dimension, Int) else None


def every_point(space: Space) -> list[dict[str, Any]]:
    """All the points of a finite space. Raises ValueError for one that `size` says is not."""
    if size(space) is None:
        raise ValueError("a space with a range of real numbers has no end")
    return [point for level in grid(change_dimensions(space, _fill)) for point in level]


def _fill(_: str, dimension: Dimension) -> Dimension:
    """The dimension with all its values in a grid."""
    if isinstance(dimension, Int):
        return Int(dimension.low, dimension.high, False, dimension.high - dimension.low + 1)
    if isinstance(dimension, Float):
        return Float(dimension.low, dimension.high, False, 1, dimension.unit)
    return dimension


# grids


def without_points(space: Space) -> list[str]:
    """The ids of the ranges a grid cannot enumerate because they name no `points`."""
    return [
        name
        for name, dimension in parameters(space)
        if not isinstance(dimension, Choice) and dimension.points is None
    ]


def grid_size(space: Space) -> int:
    """The number of points of the grid, computed without making them."""
    total = 1
    for _, dimension in space.dimensions:
        if isinstance(dimension, Choice):
            total *= sum(grid_size(option.space) for option in dimension.options)
        else:
            total *= len(dimension.grid())
    return total


def levels(count: int) -> list[int]:
    """The fineness of each of `count` evenly spaced values: 0 for both ends and the middle, then
    one more for each halving."""
    result = [0] * count

    def halve(left: int, right: int, level: int) -> None:
        if right - left < 2:
            return
        middle = (left + right) // 2
        result[middle] = level
        halve(left, middle, level + 1)
        halve(middle, right, level + 1)

    halve(0, count - 1, 0)
    return result


def grid(space: Space) -> list[list[dict[str, Any]]]:
    """Every point of the grid once, in levels from coarse to fine, so that stopping early still
    covers the space. A point's level is that of its finest value; within a level points are in
    the spec's order."""
    by_level: dict[int, list[dict[str, Any]]] = {}
    for numbers, level in _grid(space, ""):
        point = build(space, lambda name, _, numbers=numbers: numbers[name])  # type: ignore[misc]
        by_level.setdefault(level, []).append(point)
    return [by_level[level] for level in sorted(by_level)]


def _grid(space: Space, prefix: str) -> Iterator[tuple[dict[str, float], int]]:
    axes = [list(_axis(prefix + path, dimension)) for path, dimension in space.dimensions]
    for combination in itertools.product(*axes):
        numbers: dict[str, float] = {}
        for part, _ in combination:
            numbers |= part
        yield numbers, max((level for _, level in combination), default=0)


def _axis(name: str, dimension: Dimension) -> Iterator[tuple[dict[str, float], int]]:
    if not isinstance(dimension, Choice):
        values = dimension.grid()
        for raw, level in zip(values, levels(len(values)), strict=True):
            yield {name: raw}, level
        return
    fineness = levels(len(dimension.options)) if dimension.ordered else [0] * len(dimension.options)
    for index, option in enumerate(dimension.options):
        for inner, level in _grid(option.space, f"{name}[{index}]."):
            yield {name: index, **inner}, max(level, fineness[index])
