"""A scrambled Sobol sequence, which covers a space more evenly than independent draws."""

from __future__ import annotations

from typing import Any

import numpy as np


class Sobol:
    """A sequence of points in [0, 1), shape [dimensions], of which each may be asked for by its
    index; those in ascending order come quickest."""

    def __init__(self, dimensions: int, seed: int) -> None:
        self._dimensions = dimensions
        self._seed = seed
        self._engine: Any = None
        self._position = 0

    def at(self, index: int) -> list[float]:
        """The numbers of the point at an index, from 0."""
        if self._engine is None or index < self._position:
            # scipy.stats takes most of a second to import, and only this sequence needs it.
            from scipy.stats import qmc

            generator = np.random.default_rng(self._seed)
            self._engine = qmc.Sobol(self._dimensions, scramble=True, rng=generator)
            self._position = 0
        if index > self._position:
            self._engine.fast_forward(index - self._position)
        self._position = index + 1
        return [float(share) for share in self._engine.random(1)[0]]
