"""Sharing: steps that trials have in common are trained once, by the stem, and its state is copied
where another trial branches off.

A branch is a trial that goes on from its stem's state as from a saved one: to the same numbers, bit
by bit, on a CPU. A branch of another budget takes its stem's evaluations by its own: it may have
ended with one of them. Where the stem ends before the fork, or its state cannot be copied, the
branch trains by itself: nothing depends on sharing but the time.

What took long to come to is saved as a state of the branches that have begun with it, and of the
first that waits: from that the others go on, too, where the search is killed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import torch

from lrsearch.analysis.pruning import NO_PROGRESS
from lrsearch.machine import find_memory
from lrsearch.schedules import Plateau
from lrsearch.states import Header, State, Unusable
from lrsearch.train.device import is_out_of_memory
from lrsearch.train.engines.course import Course, Event
from lrsearch.train.engines.saving import Encoder, decode, load, save_stem
from lrsearch.train.engines.stems import LEAST, Branch, find_stems
from lrsearch.train.engines.timetable import recorded_steps
from lrsearch.train.recording import Recording
from lrsearch.train.users.memory import Unseen
from lrsearch.trial import (
    Cohort,
    Ended,
    Measured,
    Measurement,
    Noted,
    Outcome,
    Saved,
    Started,
    Trial,
)

ROOM = find_memory() // 32
"""Bytes of copied states that a worker keeps in memory at once: there may be a worker a core."""


@dataclass(frozen=True)
class _Copy:
    """A stem's state at a fork, `seconds` of training behind it."""

    state: State
    step: int
    seconds: float

    @property
    def size(self) -> int:
        return len(self.state.tensors)


class Sharing:
    """The common steps of a cohort's trials. `branches` has those trials that wait for their stem,
    by number; `left` those that have not ended. `engine` and `device` are those they train on."""

    def __init__(
        self, cohort: Cohort, trials: Sequence[Trial], engine: str, device: torch.device
    ) -> None:
        self.cohort, self.engine, self.device = cohort, engine, device
        self.left = {trial.number: trial for trial in trials}
        self.branches: dict[int, Branch] = {}
        self._freed: list[Trial] = []
        self._copies: dict[int, _Copy] = {}
        self._adopted: dict[int, _Copy] = {}
        self._begun: dict[int, _Copy] = {}
        self._kept: set[int] = set()
        self._wholes: dict[int, int] = {}
        self._size: tuple[int, float | Fraction | None] | None = None
        self._off = not cohort.share or len(trials) < 2

    def plan(self, samples: int, batch: float | Fraction | None = None) -> None:
        """Find who branches off whom, at the first call: `samples` is the size of an epoch, `batch`
        that of a batch, as in `find_stems`."""
        if self._size is None and not self._off:
            self._size = samples, batch
            self.branches = self._find(tuple(self.left.values()))

    def _find(self, trials: Sequence[Trial]) -> dict[int, Branch]:
        if self._off or self._size is None:
            return {}
        # A trial waits at its rungs under its own number.
        most = min(self.cohort.rungs, default=None)
        begun = {number: self.cohort.saved.get(number, 0) for number in self.cohort.states}
        judged = self.cohort.judged
        found = find_stems(trials, *self._size, begun=begun, judged=judged, most=most)
        self._wholes |= {number: branch.whole for number, branch in found.items()}
        return found

    def forks(self, number: int) -> frozenset[int]:
        """The steps of a trial at which others branch off."""
        return frozenset(each.fork for each in self.branches.values() if each.stem == number)

    def make_recording(self, number: int, budget: int) -> Recording:
        """The records of a training of so many steps, before its first one: its own, and those of
        all trials that branch off it, up to the forks."""
        return Recording(self._recorded(number, budget), own=frozenset(recorded_steps(budget)))

    def _recorded(self, number: int, budget: int) -> frozenset[int]:
        found = set(recorded_steps(budget))
        for each, branch in self.branches.items():
            if branch.stem == number:
                theirs = self._recorded(each, branch.whole)
                found.update(step for step in theirs if step <= branch.fork)
        return frozenset(found)

    def has_part(self, number: int) -> bool:
        """Whether a trial's state is copied, or goes on from another's copy or a file."""
        saved = number in self.cohort.states
        return saved or number in self._copies or bool(self.forks(number))

    def find_next(self) -> Trial:
        """The trial to train next, where they train in turn: one that goes on from a state in
        memory, else the first."""
        ready = [each for each in self.left.values() if each.number not in self.branches]
        return next((each for each in ready if each.number in self._copies), ready[0])

    # stems

    def reach(self, number: int, step: int, take: Callable[[], tuple[Any, Encoder]]) -> str:
        """Copy the state of a stem for those that branch off at this step. `take` gives the state's
        tree, and the encoder that takes it. Returns why it could not be copied, else ""."""
        waiting = self._waiting(number, step)
        if not waiting:
            return ""
        kept = {id(each): each.size for each in self._copies.values()}
        try:
            tree, encoder = take()
            content = encoder.encode(tree)
            head = Header(self.left[number].key, "", "", str(torch.__version__), step, step)
            seconds = tree["course"]["seconds"]
            copy = _Copy(State(head, content, encoder.pack()), step, seconds)
        except Exception as error:  # Of objects of the user's, too.
            self._off = not is_out_of_memory(error)
            self._free(waiting)
            reason = str(error).partition("\n")[0]
            return reason if isinstance(error, Unseen) else f"{type(error).__name__}: {reason}"
        if sum(kept.values()) + copy.size > ROOM:
            self._free(waiting)
            return "their states take more memory than there is for it"
        for trial in waiting:
            del self.branches[trial.number]
            self._copies[trial.number] = copy
        self._freed += waiting
        return ""

    def hand_on(self, number: int, step: int, take: Callable[[], tuple[Any, Encoder]]) -> str:
        """Copy the state of a stem that ends at this step, before its forks. Branches of another
        budget do not end with it, and go on from this state. `take` and the answer are those of
        `reach`."""
        if step < LEAST:
            return ""
        for trial in self._regroup(self._unlike(number)):
            self.branches[trial.number] = Branch(number, step, alike=False)
        return self.reach(number, step, take)

    def pass_on(self, number: int) -> None:
        """Give the state that a branch began with to the trials that wait for it: it has ended
        before their forks, and they do not end with it."""
        copy = self._adopted.pop(number, None)
        if copy is not None:
            freed = self._regroup(self._unlike(number))
            self._copies |= {each.number: copy for each in freed}
            self._freed += freed

    def _regroup(self, numbers: Sequence[int]) -> list[Trial]:
        """Have trials wait for each other, no longer for their stem; returns those that wait for no
        other trial."""
        for each in numbers:
            del self.branches[each]
        ordered = [trial for each, trial in self.left.items() if each in numbers]
        found = self._find(ordered)
        self.branches |= found
        return [each for each in ordered if each.number not in found]

    def _unlike(self, number: int, *, alike: bool = True) -> list[int]:
        """The trials that branch off one, or off its branches, and do not end where it ends."""
        found = []
        for each, branch in self.branches.items():
            if branch.stem == number:
                same = alike and branch.alike
                found += ([] if same else [each]) + self._unlike(each, alike=same)
        return found

    def pass_by(self, number: int, step: int) -> None:
        """Free the trials that branch off a trial before this step, from which it goes on."""
        ahead = [each for each in self.branches.values() if each.stem == number]
        if late := {each.fork for each in ahead if each.fork < step}:
            self._free([trial for fork in sorted(late) for trial in self._waiting(number, fork)])

    def leave(self, number: int) -> None:
        """Free those that still wait for a trial, which begins again elsewhere."""
        self.left.pop(number, None)
        self._copies.pop(number, None)
        self._free(self._waiting(number))

    def end(self, ended: Ended) -> list[Event]:
        """Free those that still wait for a trial that has ended; returns their events where they
        have ended with it.

        A training that diverged, or made no progress, before a fork is that of the branch, too,
        which ends alike if it is of the same budget.
        """
        self.left.pop(ended.trial, None)
        self._copies.pop(ended.trial, None)
        waiting = self._waiting(ended.trial)
        lost = ended.result.outcome is Outcome.DIVERGED or ended.result.rule == NO_PROGRESS
        alike = [each for each in waiting if lost and self.branches[each.number].alike]
        events: list[Event] = []
        for trial in alike:
            del self.branches[trial.number]
            result = replace(
                ended.result,
                shared_epochs=ended.result.epochs,
                shared_seconds=ended.result.seconds,
            )
            own = replace(ended, trial=trial.number, result=result)
            events += [Started(trial.number), own, *self.end(own)]
        if others := [each for each in waiting if each.number in self.branches]:
            self._free(others)
        return events

    def _waiting(self, number: int, step: int | None = None) -> list[Trial]:
        return [
            self.left[each]
            for each, branch in self.branches.items()
            if branch.stem == number and step in (None, branch.fork)
        ]

    def _free(self, trials: Sequence[Trial]) -> None:
        """Have trials train without their stem: the steps that they have in common with each other
        are still trained once."""
        for trial in trials:
            del self.branches[trial.number]
        if self._off:  # Nobody is waited for.
            trials = [*trials, *(self.left[each] for each in self.branches)]
            self.branches = {}
        chosen = {each.number for each in trials}
        ordered = [each for number, each in self.left.items() if number in chosen]
        found = self._find(ordered)
        self.branches |= found
        self._freed += [each for each in ordered if each.number not in found]

    def take_freed(self) -> list[Trial]:
        """Take those that need not wait any more."""
        freed, self._freed = self._freed, []
        return freed

    # branches

    def load(self, trial: Trial) -> Any:
        """The tree of the state that a trial itself was saved at; None where there is none, and
        where that is its stem's, which `adopt` then gives. Raises Unusable."""
        if trial.number not in self.cohort.states:
            return None
        state, stem = load(self.cohort, trial, self.engine, self.device)
        if stem is None:
            saved = decode(state, self.device)
            if not isinstance(saved, dict):
                raise Unusable("it says what no version of lrsearch writes")
            return saved
        self._copies[trial.number] = _Copy(stem, stem.header.step, math.inf)
        self._kept.add(trial.number)
        return None

    def adopt(self, trial: Trial, plateau: Plateau | None) -> dict[str, Any] | None:
        """The tree of the state that a branch begins with, once; None for a trial that begins at
        its first step. Raises Unusable. `plateau` is the branch's own, before its first step."""
        copy = self._copies.pop(trial.number, None)
        if copy is None:
            return None
        self._adopted = {trial.number: copy}
        self._begun[trial.number] = copy
        saved: dict[str, Any] = dict(decode(copy.state, self.device))
        course = saved["course"]
        shared = {"shared": copy.step, "shared_seconds": course["seconds"]}
        saved |= {"course": {**course, **shared}, "plateau": None}
        if plateau is not None:
            curve, followed = course["curve"], trial.config["train"]["schedule"]["metric"]
            for step, value in zip(curve.get("step", ()), curve.get(followed, ()), strict=True):
                plateau.observe(step, value)
            if plateau.scale != 1.0:
                raise Unusable("its plateau has changed the rate before")
            saved["plateau"] = plateau.take()
        return saved

    def save(self, *, last: bool = False) -> Generator[Saved | Noted, object, None]:
        """Yield the events that have trials saved which begin with copies, now or later: those that
        have begun since the last call, and the first that waits for each copy. A copy that took
        less than the time between two saved states is not worth it, unless it is the `last`
        call."""
        own, self._begun = self._begun, {}
        waiting = {each: self._copies[each] for each in self.left if each in self._copies}
        firsts = {id(copy): (each, copy) for each, copy in reversed(waiting.items())}
        for number, copy in [*own.items(), *firsts.values()]:
            every = self.cohort.save
            worth = every is not None and (last or copy.seconds >= every)
            if worth and number in self.left and number not in self._kept:
                self._kept.add(number)
                at = copy.step, self._wholes[number]
                yield save_stem(self.left[number], self.engine, self.device, at, copy.state)


def tell_measured(trial: int, course: Course, steps: int) -> list[Measured]:
    """The evaluations of a branch's stem, as its own, the last with its records; `steps` is the
    whole budget."""
    names = [name for name in course.curve if name != "step"]
    told = [
        Measured(
            trial,
            Measurement(int(step), {name: course.curve[name][place] for name in names}),
            steps,
        )
        for place, step in enumerate(course.curve.get("step", ()))
    ]
    return [*told[:-1], replace(told[-1], records=course.tell())] if told else []


def cannot_share(trial: int, reason: str) -> Noted:
    """The event with the reason why a stem's state could not be copied, or not be gone on from."""
    return Noted(trial, f"trials train the steps that they have in common themselves: {reason}")
