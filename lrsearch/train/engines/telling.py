"""Telling: the events of a job, of which several may come at once and each is told once."""

from __future__ import annotations

import contextlib
from collections.abc import Generator
from typing import Any

from lrsearch.train.engines.course import Event, Replies
from lrsearch.trial import Measured, Reached, Started, Verdict

Events = Event | tuple[Event, ...]
Telling = Generator[Events, Replies, Any]
"""A job that tells several events at once, see `isolation.isolated`."""


class _Told:
    """The events that were passed on: of each trial that has begun the step it was last measured
    at, its last rung, and the verdicts at rungs, by trial and step."""

    def __init__(self) -> None:
        self.measured: dict[int, int] = {}
        self.rungs: dict[int, int] = {}
        self.verdicts: dict[tuple[int, int], Verdict] = {}

    def is_new(self, event: Event) -> bool:
        """Whether an event was not passed on before; it counts as passed on from now."""
        if isinstance(event, Started):
            if event.trial in self.measured:
                return False
            self.measured[event.trial] = 0
        elif isinstance(event, Measured):
            if event.measurement.step <= self.measured[event.trial]:
                return False
            self.measured[event.trial] = event.measurement.step
        elif isinstance(event, Reached):
            if event.step <= self.rungs.get(event.trial, 0):
                return False
            self.rungs[event.trial] = event.step
        return True

    def answer(self, event: Event) -> Replies:
        """The earlier verdict that a repeated event waits for; [] for any other event."""
        if not isinstance(event, Reached) or (event.trial, event.step) not in self.verdicts:
            return []
        return [(event.trial, self.verdicts[event.trial, event.step])]


def tell_once(job: Telling) -> Telling:
    """Pass on the job's events without those that a trial which begins again repeats: its rungs are
    answered by the earlier verdicts."""
    told = _Told()
    replies: Replies | None = None
    with contextlib.closing(job):
        while True:
            try:
                events = job.send(replies)  # type: ignore[arg-type]
            except StopIteration:
                return
            new: list[Event] = []
            replies = []
            for event in events if isinstance(events, tuple) else (events,):
                if told.is_new(event):
                    new.append(event)
                else:
                    replies += told.answer(event)
            if new:
                came = (yield new[0] if len(new) == 1 else tuple(new)) or []
                told.verdicts |= {(trial, told.rungs.get(trial, 0)): each for trial, each in came}
                replies += came
