"""Values that a display of a search under way is told."""

from __future__ import annotations

from collections.abc import Sequence

from lrsearch.frozen import frozen


@frozen
class Place:
    """The place of a trial under way."""

    job: int = 0
    """The handle of the job that it trains in."""
    lanes: int = 1
    """The lanes of its program; 1 for a trial that trains alone."""
    steps: int = 0
    """The steps of its whole budget, 0 where that is not known."""
    epochs: float = 0.0
    """The epochs of its whole budget, 0 where that is not known."""
    shared: float = 0.0
    """The share of its budget that another trial trains for it."""


@frozen
class Axis:
    """The searched rate, or the parameter in its place, over which the objective is drawn."""

    name: str
    """The parameter's flat name."""
    low: float
    high: float
    log: bool
    measured: Sequence[tuple[float, float | None]] = ()
    """Values that were measured before, each with its objective; None for one that diverged."""


@frozen
class Outlook:
    """The trials to come, as far as that can be told."""

    least: int | None = None
    """The trials, of those planned, that are trained whatever happens; None for all of them. A race
    may need fewer than it has planned."""
    later: tuple[int, int] = (0, 0)
    """The least and the largest number of trials that follow those planned."""
    deadline: float | None = None
    """The `time.monotonic()` after which no trial begins."""
    early: bool = False
    """Whether the search may end early, as where it stops at a wanted value."""
