"""The watcher of a search: the interface of displays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from lrsearch.trial import Objective, Outcome


class Watcher(Protocol):
    """Shows the search while it runs."""

    def begin(self, total_trials: int | None, objective: Objective, workers: int) -> None:
        """The search starts."""

    def planned(self, total: int) -> None:
        """The number of trials has changed."""

    def started(self, number: int, params: Mapping[str, Any]) -> None:
        """A worker begins a trial."""

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
    ) -> None:
        """A trial is over."""

    def best(self, params: Mapping[str, Any], value: float) -> None:
        """A point is the best so far."""

    def note(self, text: str) -> None:
        """A note worth a line."""
