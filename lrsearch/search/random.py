"""Independent draws; or a scrambled Sobol sequence, which covers the space more evenly, or covers
more of what is likely to be good."""

from __future__ import annotations

from typing import Any

import numpy as np

from lrsearch.search.sobol import Sobol
from lrsearch.search.start import Start
from lrsearch.search.strategy import Repeats, Request, Unlearning, derive_seed
from lrsearch.space import Space, draw, draw_random, parameters

GENERATION = 64
"""Points proposed at once: their number changes none of them."""


class Random(Unlearning):
    """Proposal i depends on the spec, the seed and i alone. `start`, where it is given, has the
    points."""

    name = "random"
    waits = False

    def __init__(
        self, space: Space, seed: int, sampler: str = "random", start: Start | None = None
    ) -> None:
        self.space = space
        self.seed = seed
        self.start = start
        self.sampler = sampler
        self._repeats = Repeats(space, seed, self.name)
        self._names = [name for name, _ in parameters(space)]
        self._sobol = Sobol(len(self._names), seed)

    def propose(self, request: Request) -> list[dict[str, Any]]:
        """Propose up to `GENERATION` draws."""
        draw_one = self._draw_sobol if self.sampler == "sobol" else self._draw
        if self.start is not None:
            draw_one = self.start.point
        return self._repeats.fill(request, GENERATION, draw_one)

    def _draw(self, index: int) -> dict[str, Any]:
        generator = np.random.default_rng(derive_seed(self.seed, self.name, index))
        return draw_random(self.space, generator)

    def _draw_sobol(self, index: int) -> dict[str, Any]:
        return draw(self.space, dict(zip(self._names, self._sobol.at(index), strict=True)))
