"""Every point of the grid once, coarse to fine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lrsearch.search.strategy import Request, Unlearning
from lrsearch.space import Space, grid
from lrsearch.trial import Point


class Grid(Unlearning):
    """Proposes level after level of `space.grid`."""

    name = "grid"
    waits = False

    def __init__(self, space: Space) -> None:
        self._levels = grid(space)

    def propose(self, request: Request) -> list[dict[str, Any]]:
        """Propose the rest of the coarsest level that is not used up."""
        for level in self._levels:
            left = [point for point in level if not request.proposed(point)]
            if left:
                return left[: request.room]
        return []

    def count_left(self, proposed: Callable[[Point], bool]) -> int:
        """The number of its points that are not proposed yet."""
        return sum(not proposed(point) for level in self._levels for point in level)
