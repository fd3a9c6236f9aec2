"""Lanes set apart: what the user's code raises on one lane's numbers is no other lane's affair."""

from __future__ import annotations

from collections.abc import Sequence

from lrsearch.train.engines.lane import Lane
from lrsearch.train.engines.losing import tell_error
from lrsearch.train.lanes.program import Kept, Program


def set_apart(
    program: Program, places: list[Lane | None], raising: Sequence[int], kept: Kept
) -> list[Lane] | None:
    """Put a program's lanes back, and empty the places that raise by themselves; returns the lanes
    taken out of these. None, and nothing is done, where several lanes raise and no other is there,
    which is no lane's affair, and where nobody knows which raises."""
    live = {place: lane for place, lane in enumerate(places) if lane is not None}
    sound = {place: lane for place, lane in live.items() if place not in raising}
    if not raising or (len(live) > 1 and not sound):
        return None
    program.put_back(kept)
    program.noted = []
    for place in raising:
        places[place] = None
        if (
            sound
        ):  # An empty place is stepped along: by the numbers that it has it would raise again.
            like, lane = next(iter(sound.items()))
            program.put(place, program.take(like), lane.trial.config["train"])
    return [live[place] for place in raising if place in live]


def tell_apart(lane: Lane, error: BaseException) -> str:
    """A note on a lane that was set apart."""
    return f"trial {lane.trial.number} trains alone: in lanes it raised {tell_error(error)}"
