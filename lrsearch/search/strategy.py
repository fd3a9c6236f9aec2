"""The interface of strategies: they propose points and learn the points' results.

A strategy keeps nothing that the journal does not have: told the same points in the same order and
asked at the same index, it proposes the same.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from lrsearch.analysis.points import PointSummary
from lrsearch.space import Space, draw_random, every_point, size
from lrsearch.trial import Outcome, Point

MAX_REPEATS = 20
"""Known proposals in a row after which a random unknown point is drawn instead."""

Partial = tuple[tuple[float, float], ...]
"""Shares of a point's budget, and what its objective was after each."""

SMALL = 10_000
"""The size of a space up to which its being used up is noticed."""


@dataclass(frozen=True)
class Request:
    """A generation asked of a strategy.

    `index` is the number of proposals it has made before, `room` how many more it may make,
    `known` says whether a point is measured or waiting, `proposed` whether this strategy has
    proposed it, `repeats` how many of its latest proposals in a row were known already.
    `generations` is the number of generations it has made before; `measured()` gives every point of
    the space that has a trial, with what its trials came to.
    """

    index: int
    room: int
    known: Callable[[Point], bool]
    proposed: Callable[[Point], bool]
    repeats: int = 0
    generations: int = 0
    measured: Callable[[], Sequence[tuple[Point, PointSummary]]] = tuple


class Strategy(Protocol):
    """The interface of a strategy. `waits` says that a generation needs the results of the one
    before."""

    name: str
    waits: bool

    def tell(
        self,
        point: Point,
        outcome: Outcome,
        value: float | None,
        replicates: tuple[float, ...] = (),
        partial: Partial = (),
    ) -> None:
        """Learn a point's outcome; `value` is the objective of a completed one, `replicates` what
        it is the mean of, one a seed and fold, in the same order for every point; `partial` is what
        it was worth where trainings are compared, of a stopped one up to there."""

    def propose(self, request: Request) -> list[dict[str, Any]]:
        """The points of the next generation, at most `request.room`; none when it has no more."""


class Unlearning:
    """The part of strategies that keep no results: they follow none, or ask for them when they
    propose."""

    def tell(self, *told: Any, **more: Any) -> None:
        """Learn nothing."""


def derive_seed(seed: int, strategy: str, index: int) -> int:
    """The 32-bit seed of one proposal, from the spec's seed, the strategy and its index."""
    entropy = [seed, zlib.crc32(strategy.encode()), index]
    return int(np.random.SeedSequence(entropy).generate_state(1)[0])


def point_key(point: Point) -> str:
    """A text that two points share exactly when they are equal."""
    return json.dumps(point, sort_keys=True)


FIRST = 4
"""The most that a model proposes at once before it has seen a proposal of its own."""


def generation_size(generation: int, startup: int, told: int) -> int:
    """The number of points that a model proposes at once after it was told `told` points. During
    the start these are the points left of the start, so that such a generation ends with it. Then a
    few points, which teach the model more than any later ones. From then on no more than it knows
    of: further points would be little better than those of the start."""
    if told < startup:
        return min(generation, startup - told)
    few = FIRST if told < startup + FIRST else told
    return min(generation, few, told)


class Repeats:
    """Replaces proposals once too many in a row are known, and notices an exhausted space."""

    def __init__(self, space: Space, seed: int, strategy: str) -> None:
        self.space = space
        self.seed = seed
        self.strategy = strategy
        self._left: dict[str, dict[str, Any]] | None = None

    def fill(
        self,
        request: Request,
        count: int,
        draw: Callable[[int], dict[str, Any]],
        instead: Callable[[Point, Mapping[str, Point]], str] | None = None,
    ) -> list[dict[str, Any]]:
        """Make up to `count` proposals; `draw` gives the proposal of an index. Where the points of
        the space are counted, `instead` chooses among those left, by their keys, the one that
        is proposed in place of a known one."""
        points: list[dict[str, Any]] = []
        pending: set[str] = set()
        repeats = request.repeats
        total = size(self.space)
        small = total is not None and total <= SMALL
        if small and self._left is None:
            # From here on points become known by being proposed, so none is looked at again.
            each = every_point(self.space)
            self._left = {point_key(point): point for point in each if not request.known(point)}
        while len(points) < min(count, request.room):
            if self._left is not None and not self._left:
                break
            index = request.index + len(points)
            point = draw(index)
            key = point_key(point)
            if (key in pending or request.known(point)) and self._left and instead is not None:
                key, repeats = instead(point, self._left), 0
                point = self._left[key]
            elif key in pending or request.known(point):
                if repeats >= MAX_REPEATS:
                    fresh = self._unknown(index, pending, request.known)
                    if fresh is None:
                        break
                    point, key, repeats = fresh, point_key(fresh), 0
                else:
                    repeats += 1
            else:
                repeats = 0
            pending.add(key)
            if self._left is not None:
                self._left.pop(key, None)
            points.append(point)
        return points

    def _unknown(
        self, index: int, pending: set[str], known: Callable[[Point], bool]
    ) -> dict[str, Any] | None:
        generator = np.random.default_rng(derive_seed(self.seed, self.strategy + "/new", index))
        if self._left is not None:
            left = list(self._left.values())
            return left[int(generator.integers(len(left)))] if left else None
        for _ in range(1000):
            point = draw_random(self.space, generator)
            if point_key(point) not in pending and not known(point):
                return point
        return None
