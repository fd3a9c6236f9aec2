"""The watcher of a search: the interface of displays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from lrsearch.display import Axis, Outlook, Place
from lrsearch.trial import Objective, Outcome


class Watcher(Protocol):
    """The interface of a display, which shows the search while it runs."""

    def begin(self, total_trials: int | None, objective: Objective, workers: int) -> None:
        """The search starts."""

    def planned(self, total: int) -> None:
        """The number of trials has changed."""

    def awaits(self, outlook: Outlook) -> None:
        """The outlook on the trials to come has changed."""

    def draws(self, axis: Axis) -> None:
        """The objective is drawn over this axis."""

    def started(self, number: int, params: Mapping[str, Any]) -> None:
        """A worker begins a trial."""

    def placed(self, number: int, place: Place) -> None:
        """A trial that has begun has this place."""

    def stepped(self, number: int, fraction: float) -> None:
        """A trial has trained this share of its budget, and is not evaluated there."""

    def measured(self, number: int, fraction: float, value: float | None) -> None:
        """A trial has trained this share of its budget; `value` is its metric there."""

    def noticed(self, number: int, verdict: str) -> None:
        """A verdict is certain of a trial that still trains, such as "dead" or "stagnating"."""

    def ended(
        self,
        number: int,
        params: Mapping[str, Any],
        outcome: Outcome,
        value: float | None,
        seconds: float,
        reason: str = "",
        epochs: float = 0.0,
    ) -> None:
        """A trial is over. `epochs` are those that it trained itself, shared ones left out."""

    def best(self, params: Mapping[str, Any], value: float) -> None:
        """A point is the best so far."""

    def sweeps(self, total: int, workers: int) -> None:
        """Range tests begin, so many."""

    def sweeping(self, number: int, params: Mapping[str, Any], fraction: float) -> None:
        """A range test, by its number from 1, has come so far."""

    def swept(self, number: int, params: Mapping[str, Any], told: str, seconds: float) -> None:
        """A range test is over; `told` says what came of it."""

    def looked(
        self, number: int, params: Mapping[str, Any], told: str, value: float | None, seconds: float
    ) -> None:
        """The training that looks at the test part, which is none of the trials, is over: `told`
        says what came of it, `value` is its metric on the test part, None where there is none."""

    def note(self, text: str) -> None:
        """A note worth a line."""
