"""Reports of a training outside lrsearch: its metrics, their bests and its curve."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from lrsearch.reporting import is_name
from lrsearch.space import is_number
from lrsearch.trial import Measured, Measurement, Trial

LOSSES = ("loss", "train_loss")
"""Metrics that are not finite once the training is lost, whatever the objective; of all others this
may be said of one evaluation, as of a perplexity that is too large for a float."""

MOST_ROWS = 10_000
"""The most rows of a curve; from longer ones every second, fourth, ... row is kept, and the
last."""


@dataclass
class _Counted:
    """A counter of a training's steps by the steps that it reports. `offset` is what was counted
    before its step last began again; `first` is the first step since then, `latest` the last one
    with a metric, `epoch` the epoch of that."""

    offset: int = 0
    first: int | None = None
    latest: int = -1
    epoch: float = math.inf
    present: float = math.inf

    def count(
        self, given: float | None, before: int, metrics: Mapping[str, float], row: Iterable[str]
    ) -> int:
        """The step of a report behind one of step `before` with the metrics of `row`; `given` is
        its own, if it is a whole number from 0."""
        names = metrics.keys() - {"epoch"}
        self.present = metrics.get("epoch", self.present)
        if given is None or not given.is_integer() or not 0 <= given < 2**53:
            return before + 1
        step = int(given)
        again = step < self.latest or (step == self.latest and not names.isdisjoint(row))
        if names and again and self.present > self.epoch:
            self.offset, self.first = before + (self.first == 0), None
        if names:
            self.first = step if self.first is None else self.first
            self.latest, self.epoch = step, self.present
        return self.offset + step


@dataclass
class Reported:
    """The metrics that a trial has reported so far, of which `objective` is the objective's.
    `fresh` says whether there are some not yet passed on; `lost` has, by metric, the reason why the
    training is lost. A step that begins again while an `epoch` beside it rises is counted on."""

    objective: str = ""
    step: int = 0
    last: dict[str, float] = field(default_factory=dict)
    best: dict[str, float] = field(default_factory=dict)
    best_step: dict[str, int] = field(default_factory=dict)
    fresh: bool = False
    lost: dict[str, str] = field(default_factory=dict)
    _rows: list[tuple[int, dict[str, float]]] = field(default_factory=list)
    _stride: int = 1
    _begun: int = 0
    _counted: _Counted = field(default_factory=_Counted)

    def take(self, message: Mapping[str, Any]) -> str:
        """Take a line of metrics: its numbers, at its `step` (a whole number from 0) or the next
        one. Returns why the training is lost with it, or ""."""
        numbers = {
            name: _number(value)
            for name, value in message.items()
            if name != "step" and is_name(name)
        }
        metrics = {name: value for name, value in numbers.items() if value is not None}
        if not metrics:
            return ""
        before = self.step
        row = self._rows[-1][1] if self._rows else ()
        self.step = self._counted.count(_number(message.get("step")), before, metrics, row)
        if self._rows and self.step == before:
            self._rows[-1][1].update(metrics)
        else:
            self._begin_row(metrics)
        self.fresh = True
        for name, value in metrics.items():
            if name in self.lost:
                continue
            self.last[name] = value
            if not math.isfinite(value):
                if name in (self.objective, *LOSSES):
                    self.lost[name] = f"{name} is {value} at step {self.step}"
                continue
            # Which way is better, the spec says, and may say otherwise one day.
            for end, beats in (("min", value.__lt__), ("max", value.__gt__)):
                key = f"{name}:{end}"
                if key not in self.best or beats(self.best[key]):
                    self.best[key], self.best_step[key] = value, self.step
        return next(iter(self.lost.values()), "")

    def join(self, other: Reported) -> str:
        """Take the metrics that another report has and this one lacks, at their steps. Returns why
        the training is lost with them, or ""."""
        names = other.last.keys() - self.last.keys()
        news = [
            (step, {name: value for name, value in metrics.items() if name in names})
            for step, metrics in other._rows
        ]
        if self._rows:
            rows: dict[int, dict[str, float]] = {}
            for step, metrics in self._rows + [row for row in news if row[1]]:
                rows.setdefault(step, {}).update(metrics)
            self._rows = sorted(rows.items())
            if len(self._rows) > MOST_ROWS:
                del self._rows[1:-1:2]
        else:
            self._rows = news
        self.step = max((self.step, *(step for step, metrics in news if metrics)))
        self.last |= {name: other.last[name] for name in other.last if name in names}
        for key in other.best:
            if key.rpartition(":")[0] in names:
                self.best[key], self.best_step[key] = other.best[key], other.best_step[key]
        self.lost |= {name: other.lost[name] for name in other.lost if name in names}
        return next(iter(self.lost.values()), "")

    def _begin_row(self, metrics: Mapping[str, float]) -> None:
        """Rows stay as far apart as the stride, from the first to the last, which always stays."""
        if self._rows and (self._begun - 1) % self._stride:
            self._rows.pop()
        self._rows.append((self.step, dict(metrics)))
        self._begun += 1
        if len(self._rows) > MOST_ROWS:
            self._stride *= 2
            del self._rows[1:-1:2]

    def measured(self, trial: Trial) -> Measured:
        """The latest measurement."""
        self.fresh = False
        return Measured(trial.number, Measurement(self.step, dict(self.last)), 0)

    def curve(self) -> dict[str, list[float]]:
        """The curve: a list a metric, as long as `step`; NaN where a line lacked it."""
        if not self._rows:
            return {}
        curve: dict[str, list[float]] = {"step": [float(step) for step, _ in self._rows]}
        for name in self.last:
            curve[name] = [metrics.get(name, math.nan) for _, metrics in self._rows]
        return curve


def _number(value: Any) -> float | None:
    if not is_number(value):
        return None
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf
