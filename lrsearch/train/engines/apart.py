"""Lanes of a program as each other's neighbours: their records, and those that are set apart, since
what the user's code raises on one lane's numbers is no other lane's affair."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Container, Generator, Sequence

import torch

from lrsearch.train.engines import solo
from lrsearch.train.engines.course import Data, Event, Replies
from lrsearch.train.engines.lane import Lane, find_order
from lrsearch.train.engines.losing import tell_error
from lrsearch.train.engines.telling import Events, Telling
from lrsearch.train.lanes.program import Kept, Program
from lrsearch.train.randomness import get_generators, set_generators
from lrsearch.train.tape import NotRecordable
from lrsearch.trial import Cohort, Noted


def set_apart(
    program: Program,
    places: list[Lane | None],
    raising: Sequence[int],
    kept: Kept,
    data: Data,
) -> list[Lane] | None:
    """Put a program's lanes back, and empty the places that raise by themselves; returns the lanes
    taken out of these. The others read of the data again what they have read since. Returns None,
    and does nothing, where several lanes raise and no other is there, which is no lane's affair,
    and where nobody knows which raises."""
    live = {place: lane for place, lane in enumerate(places) if lane is not None}
    sound = {place: lane for place, lane in live.items() if place not in raising}
    if not raising or (len(live) > 1 and not sound):
        return None
    program.put_back(kept)
    program.noted = []
    for place in raising:
        places[place] = None
        if sound:  # An empty place is stepped along: with the numbers it has it would raise again.
            like, lane = next(iter(sound.items()))
            program.put(place, program.take(like), lane.trial.config["train"])
    for lane in sound.values():
        lane.order = None
    for lane in sound.values():
        lane.order = find_order(lane, places, data)
    return [live[place] for place in raising if place in live]


def take_records(program: Program, places: Sequence[Lane | None]) -> None:
    """Have the lanes take what the program has recorded of them; it stays on the device."""
    for place, step, row in program.noted:
        if (lane := places[place]) is not None:
            lane.course.recording.note(step, float(lane.rates[step - 1]), row)
    program.noted = []


def train_apart(
    cohort: Cohort,
    numbers: Container[int],
    device: torch.device,
    tell: Callable[[Event], Generator[Events, Replies, Replies]],
) -> Telling:
    """Train the trials that were set apart from lanes that wait for each other at rungs: up to
    where they raised they repeat what they told, and are answered by the verdicts of then. Raises
    NotRecordable where one goes on beyond that, and would wait for those that wait for it."""
    replies: Replies | None = None
    kept = get_generators(device)
    trials = [each for each in cohort.trials if each.number in numbers]
    with contextlib.closing(solo.run_trials(cohort, trials, device)) as training:
        while True:
            try:
                event = training.send(replies)  # type: ignore[arg-type]
            except StopIteration:
                break
            if event is None:
                raise NotRecordable("a trial raised in lanes and not alone, and waits at a rung")
            replies = yield from tell(event)
    set_generators(kept, device)


def tell_apart(lane: Lane, error: BaseException) -> Noted:
    """A note on a lane that was set apart."""
    number = lane.trial.number
    return Noted(number, f"trial {number} trains alone: in lanes it raised {tell_error(error)}")
