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


def tell_once(job: Telling) -> Telling:
    """Pass on the job's events without those that a trial which begins again repeats: its rungs are
    answered by the earlier verdicts."""
    begun: dict[int, int] = {}  # Trials, and the last step each was measured at.
    rungs: dict[int, int] = {}
    verdicts: dict[tuple[int, int], Verdict] = {}
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
                if isinstance(event, Started):
                    if event.trial in begun:
                        continue
                    begun[event.trial] = 0
                elif isinstance(event, Measured):
                    if event.measurement.step <= begun[event.trial]:
                        continue
                    begun[event.trial] = event.measurement.step
                elif isinstance(event, Reached):
                    if event.step <= rungs.get(event.trial, 0):
                        if (event.trial, event.step) in verdicts:
                            replies.append((event.trial, verdicts[event.trial, event.step]))
                        continue
                    rungs[event.trial] = event.step
                new.append(event)
            if new:
                came = (yield new[0] if len(new) == 1 else tuple(new)) or []
                verdicts |= {(trial, rungs.get(trial, 0)): verdict for trial, verdict in came}
                replies += came
