"""Many trials side by side: the cohort's trials fill the lanes of one program."""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from lrsearch import pulse
from lrsearch.data.interrupts import any_but_interrupts
from lrsearch.errors import DataError
from lrsearch.train.batches.resident import Resident
from lrsearch.train.batches.streamed import Streamed, Window
from lrsearch.train.device import (
    check_alive,
    free_memory,
    is_out_of_memory,
    numbers_on,
    release,
)
from lrsearch.train.engines import solo
from lrsearch.train.engines.apart import set_apart, take_records, tell_apart, train_apart
from lrsearch.train.engines.course import (
    Event,
    Replies,
    check_sources,
    open_data,
    serialize,
    tell_late,
    validation_metrics,
    worth_keeping,
)
from lrsearch.train.engines.initial import Initial
from lrsearch.train.engines.lane import Lane, begin, dump, find_order, reach, restore
from lrsearch.train.engines.orders import advance
from lrsearch.train.engines.saving import (
    Encoder,
    Saver,
    begins_again,
    explain,
    save,
)
from lrsearch.train.engines.sharing import Sharing, cannot_share, tell_measured
from lrsearch.train.engines.telling import Events, Telling, tell_once
from lrsearch.train.lanes.graphs import fewest_lanes
from lrsearch.train.lanes.program import Kept, Program, needs_of
from lrsearch.train.lanes.state import LaneState
from lrsearch.train.tape import NotRecordable
from lrsearch.train.users.memory import Memory
from lrsearch.trial import (
    Cohort,
    Ended,
    Measured,
    Measurement,
    Noted,
    Outcome,
    Plan,
    Planned,
    Reached,
    Saved,
    Started,
    Trial,
    Verdict,
)


def run(cohort: Cohort, device: torch.device) -> Telling:
    """Train the cohort's trials side by side, see `cohort.run_cohort`.

    Where the lanes run out of memory their number is halved; where the program fails otherwise, or
    has the fewest lanes, the rest goes on solo. `Planned` says so, and trials that had not ended
    begin again.
    """
    yield from tell_once(_run(cohort, device))


def _run(cohort: Cohort, device: torch.device) -> Telling:
    left = {trial.number: trial for trial in cohort.trials}
    for trial in cohort.trials:
        check_sources(cohort, trial.config)
    lanes, fewest = cohort.plan.lanes, fewest_lanes(device)
    while left and lanes >= fewest:
        # Twenty trials in lanes of up to sixteen are two times ten, not sixteen and four.
        even = max(fewest, -(-len(left) // -(-len(left) // lanes)))
        lanes, reason = yield from _try(cohort, device, left, even)
        if not reason:
            break
        if left:
            fused = lanes >= fewest
            plan = replace(cohort.plan, lanes=lanes, reason=reason)
            yield Planned(plan if fused else Plan(reason=reason))
    yield from solo.run_trials(cohort, list(left.values()), device)


def _try(
    cohort: Cohort, device: torch.device, left: dict[int, Trial], lanes: int
) -> Generator[Events, Replies, tuple[int, str]]:
    """Train the rest of the cohort in so many lanes; returns the number of lanes to go on with
    after a failure, 0 for none, and why, "" where none is left but those that train alone."""
    replies: Replies | None = None
    with contextlib.closing(_Session(cohort, device, lanes).go(list(left.values()))) as session:
        while True:
            try:
                event = session.send(replies)  # type: ignore[arg-type]
            except StopIteration:
                return lanes, ""
            except any_but_interrupts(DataError) as error:  # Data are the run's affair.
                memory = is_out_of_memory(error)
                known = isinstance(error, NotRecordable)
                raised = f"the fused program raised {type(error).__name__}: {error}"
                reason = str(error) if known else raised
                release(error)
                break
            if isinstance(event, Ended):
                del left[event.trial]
            # Outside the try: errors thrown in here, as when a job is closed, are not the lanes'.
            replies = yield event
    check_alive(device)  # Else the rest would be blamed for it, alone.
    if not memory:
        return 0, reason
    free_memory(device)
    told = f"{lanes} lanes" if lanes > 1 else "a program of one lane"
    return -(-lanes // 2) if lanes > 1 else 0, f"{told} ran out of memory"


@dataclass(eq=False)
class _Session:
    """A cohort in a program of so many lanes; `pace` is the seconds per step."""

    cohort: Cohort
    device: torch.device
    lanes: int
    program: Program | None = None
    places: list[Lane | None] = field(default_factory=list)
    fresh: deque[Trial] = field(default_factory=deque)
    ready: deque[Lane] = field(default_factory=deque)
    parked: dict[int, Lane] = field(default_factory=dict)
    stopped: deque[Lane] = field(default_factory=deque)
    apart: dict[int, Noted] = field(default_factory=dict)
    """The notes, not told yet, on trials that are left to train alone."""
    memory: Memory | None = None
    """The memory of the user's data of having been read."""
    pace: float = 0.0

    def go(self, trials: list[Trial]) -> Telling:
        """Train the trials; an error leaves those that have not ended as they were."""
        pulse.enter("loading the data")
        self.data = open_data(self.cohort, trials[0], self.device)
        size = trials[0].config["train"]["batch_size"]
        self.seen: Resident | Window = (
            self.data if isinstance(self.data, Resident) else Window(self.data, size)
        )
        self.sharing = Sharing(self.cohort, trials, "fused", self.device)
        self.sharing.plan(self.data.samples)
        self.fresh.extend(each for each in trials if each.number not in self.sharing.branches)
        taken = self.cohort.save is not None or bool(self.sharing.branches)
        if taken and isinstance(self.data, Streamed):
            self.memory = Memory(self.data.objects)
        self.config = trials[0].config
        self.initial = Initial(self.cohort, self.device, self.data, self.lanes)
        self.criterion = self.initial.make_criterion(trials[0])
        self.needs = frozenset[str]().union(*(needs_of(each.config["train"]) for each in trials))
        pulse.enter(pulse.TRAINING)
        while self.fresh or self.ready or self.parked or self.stopped or any(self.places):
            try:
                yield from self._dismiss()
                yield from self._fill()
                if any(self.places):
                    # One that goes on from its saved state may stand before an evaluation.
                    if not any(lane is not None and lane.is_due for lane in self.places):
                        self._advance()
                    if any(self.places):
                        yield from self._look()
                    told, self.apart = self.apart, {}
                    yield from self._tell(tuple(told.values()))
                    if told and self.cohort.rungs:
                        yield from train_apart(self.cohort, told, self.device, self._tell)
                    yield from self._end_late()
                elif self.parked and not (self.fresh or self.ready or self.stopped):
                    yield from self._tell(None)
            except pulse.Leave:
                yield from self._hand_over()
                raise

    def _tell(self, events: Events) -> Telling:
        """Yield events, and take the verdicts on parked lanes, of any event; returns all."""
        for number, verdict in (replies := (yield events) or []):
            lane = self.parked.pop(number, None)
            if lane is not None:
                lane.passed = lane.step
                (self.ready if verdict is Verdict.GO_ON else self.stopped).append(lane)
        return replies

    # places

    def _fill(self) -> Telling:
        """Fill empty places with waiting lanes, or build a smaller program where many stay
        empty."""
        live = [place for place, lane in enumerate(self.places) if lane is not None]
        waiting = len(self.sharing.branches)
        coming = len(self.fresh) + len(self.ready) + len(self.parked) + waiting
        wanted = max(fewest_lanes(self.device), min(self.lanes, len(live) + coming))
        if self.program is None:
            self.places = [None] * wanted
        elif self._too_empty(wanted):
            self.ready.extendleft(reversed([self._take_out(place) for place in live]))
            # The old program's memory is freed first.
            self.program, self.places = None, [None] * wanted
        room = self.places.count(None) - len(self.ready)
        upcoming = tuple(Started(trial.number) for trial in list(self.fresh)[: max(0, room)])
        if upcoming:  # Together: should the worker die of one of them, none has begun alone.
            yield from self._tell(upcoming)
        lost: list[Ended] = []
        for place, held in enumerate(self.places):
            if held is not None or not (self.ready or self.fresh):
                continue
            clock = pulse.clock()
            told: list[Event] = []
            if self.ready:
                lane = self.ready.popleft()
            else:
                lane = self._begin(self.fresh.popleft())
                told = self._go_on(lane)
            if lane.lost is None:
                self._put_in(place, lane)
            lane.course.seconds += pulse.clock() - clock
            if told:
                yield from self._tell(tuple(told))
            if lane.lost is not None:
                lost.append(self._end(lane, *lane.lost))
                self.sharing.pass_on(lane.trial.number)
        for ended in lost:
            yield from self._close(ended)
        self.fresh.extend(self.sharing.take_freed())  # Now: they were not told to have begun.
        yield from self._tell(tuple(self.sharing.save()))

    def _too_empty(self, wanted: int) -> bool:
        """Whether the empty places would cost more steps than a program without them is worth."""
        remaining = max((lane.budget - lane.step for lane in self.places if lane), default=0)
        return (len(self.places) - wanted) * remaining > self.cohort.plan.smaller

    def _put_in(self, place: int, lane: Lane) -> None:
        """Put a lane into an empty place, to go on there."""
        self.program = self.program or Program(
            self.initial.skeleton,
            self.config["train"],
            self.needs,
            self.seen,
            len(self.places),
            self.criterion,
        )
        assert lane.state is not None
        self.program.put(place, lane.state, lane.trial.config["train"])
        if lane.total is not None:
            self.program.total[place] = lane.total
        lane.state = lane.total = None
        lane.curves = self.program.curves(lane.trial.config["train"], lane.rates)
        lane.order = find_order(lane, self.places, self.data)
        self.places[place] = lane

    def _take_out(self, place: int) -> Lane:
        """Take a lane out of its place, with all that it needs to go on in another."""
        lane = self.places[place]
        assert self.program is not None and lane is not None
        lane.state, lane.total = self.program.take(place), self.program.total[place].clone()
        lane.order, self.places[place] = None, None
        return lane

    def _begin(self, trial: Trial) -> Lane:
        return begin(
            trial, self.cohort, self.data, self.criterion, self.sharing, self.initial.of(trial)
        )

    def _go_on(self, lane: Lane) -> list[Event]:
        """Put a beginning lane at its saved state, or that of its stem, if there is one; returns
        the events to tell."""
        trial, number = lane.trial, lane.trial.number
        lane.saver = Saver(self.cohort.save)
        saved = number in self.cohort.states
        try:
            if (own := self.sharing.load(trial)) is not None:
                restore(lane, own, self.device)
                self.sharing.pass_by(number, lane.step)
                measurement = Measurement(lane.step, lane.course.last)
                return [Measured(number, measurement, lane.budget, lane.course.tell())]
            if (state := self.sharing.adopt(trial, lane.plateau)) is None:
                return []
            restore(lane, {**state, "rates": lane.rates}, self.device)
            lane.lost = lane.course.judge_again()
            return [*tell_measured(number, lane.course, lane.budget)]
        except Exception as error:
            if is_out_of_memory(error):
                raise
            fresh = self._begin(trial)  # It may have been put back in part.
            vars(lane).update({**vars(fresh), "saver": lane.saver})
            reason = explain(error)
            return [begins_again(trial, reason) if saved else cannot_share(number, reason)]

    def _take(self, lane: Lane, state: LaneState, total: Tensor) -> Saved | Noted:
        """The event with a lane's saved state."""
        at = (lane.step, lane.budget)
        return save(lane.trial, "fused", self.device, at, partial(self._dump, lane, state, total))

    def _dump(self, lane: Lane, state: LaneState, total: Tensor) -> tuple[Any, Encoder]:
        """The lane as a value. Raises Unseen for data that remember."""
        if isinstance(self.data, Streamed) and self.memory is not None:
            self.data.refuse_saving(self.memory)
        return dump(lane, state, total), Encoder(self.device)

    def _share(self) -> Telling:
        """Copy the states of lanes at which others branch off now, which may begin then."""
        assert self.program is not None
        for place, lane in enumerate(self.places):
            if lane is None or lane.step not in lane.forks:
                continue
            number, total = lane.trial.number, self.program.total[place]
            lane.copied = lane.step
            take = partial(self._dump, lane, self.program.take(place, copied=False), total)
            if refused := self.sharing.reach(number, lane.step, take):
                yield from self._tell(cannot_share(number, refused))
            # First: states that nobody has begun with take memory.
            self.fresh.extendleft(reversed(self.sharing.take_freed()))

    def _save_due(self) -> Telling:
        """Save the lanes that were evaluated now and are due to be saved."""
        assert self.program is not None
        live = sum(lane is not None for lane in self.places)
        for place, lane in enumerate(self.places):
            if lane is None or lane.since != lane.step or not lane.saver.is_due(beside=live):
                continue
            begun = time.monotonic()
            # Copied to the host at once: the device may have no room for another.
            state = self.program.take(place, copied=False)
            event = self._take(lane, state, self.program.total[place])
            yield from self._tell(event)
            lane.saver.note(begun)
            if isinstance(event, Noted):
                lane.saver.every = None

    def _hand_over(self) -> Telling:
        """Save all lanes that have begun, at their present steps."""
        for place, lane in enumerate(self.places):
            if lane is not None and lane.saver.every is not None and self.program is not None:
                state = self.program.take(place, copied=False)
                lane.step = lane.course.steps = state.step
                if lane.step:
                    yield self._take(lane, state, self.program.total[place])
        for lane in (*self.parked.values(), *self.ready):
            if lane.saver.every is not None and lane.state is not None and lane.total is not None:
                yield self._take(lane, lane.state, lane.total)
        yield from self.sharing.save(last=True)

    # steps

    def _advance(self) -> None:
        """Train all lanes up to the first stop of any."""
        assert self.program is not None
        clock = pulse.clock()
        live = [lane for lane in self.places if lane is not None]
        ahead = min(lane.next_stop() - lane.step for lane in live)
        steps = min(ahead, reach(live, self.cohort.timeout, self.pace))
        # An empty place repeats a neighbour's batches and numbers, which is harmless.
        filled = [lane or live[0] for lane in self.places]
        numbers = self.program.tabulate(
            [
                (
                    lane.trial.config["train"],
                    [each[lane.step : lane.step + steps] for each in lane.curves],
                    lane.step,
                )
                for lane in filled
            ]
        )
        self.program.due = [lane.course.recording.due if lane else () for lane in self.places]
        kept = self._keep()
        try:
            orders = [lane.order for lane in filled if lane.order is not None]
            advance(self.program, orders, numbers)
        except any_but_interrupts(DataError, NotRecordable, is_out_of_memory) as error:
            raising = self.program.find_raising() if kept else []
            if kept is None or not self._set_apart(raising, kept, error):
                raise
            release(error)
            return
        finally:
            if self.program is not None:
                take_records(self.program, self.places)
            self._charge(live, clock)
        for lane in live:
            lane.step += steps
            lane.course.steps = lane.step
        self.pace = (pulse.clock() - clock) / steps

    def _keep(self) -> Kept | None:
        """The state to put lanes back to when one raises; None on a GPU, of which that is the end,
        and of what is built in, which raises on no values: a copy takes memory."""
        assert self.program is not None
        criterion = self.criterion
        own = criterion.objects or criterion.measures or not criterion.stacks
        own = own or "class_path" in self.config["model"]
        return self.program.keep() if self.device.type == "cpu" and own else None

    def _set_apart(self, raising: Sequence[int], kept: Kept, error: BaseException) -> bool:
        """Have the lanes in some places, which raise this by themselves, train alone from their
        beginning. Returns whether the others stand where they were kept, to go on."""
        assert self.program is not None
        lost = set_apart(self.program, self.places, raising, kept, self.data)
        if lost is None:
            return False
        for lane in lost:
            self.apart[lane.trial.number] = tell_apart(lane, error)
            self.sharing.leave(lane.trial.number)
        self.fresh.extend(self.sharing.take_freed())
        if not any(self.places):
            self.program = None
        return True

    def _end_late(self) -> Telling:
        """End the lanes that have used up a trial's time limit."""
        for place, lane in enumerate(self.places):
            if lane is not None and lane.course.is_late(self.cohort):
                self.places[place] = None
                reason = tell_late(self.cohort, lane.step, lane.budget)
                yield from self._close(self._end(lane, Outcome.FAILED, reason))

    def _charge(self, live: list[Lane], clock: float) -> None:
        spent = pulse.clock() - clock
        for lane in live:
            lane.course.seconds += spent / len(live)

    def _look(self) -> Telling:
        """Evaluate the lanes that are due, and end, park, save or keep them."""
        assert self.program is not None
        clock = pulse.clock()
        live = [lane for lane in self.places if lane is not None]
        due = {
            place: lane
            for place, lane in enumerate(self.places)
            if lane is not None and lane.step in lane.evaluations and lane.since != lane.step
        }
        evaluated = self._evaluate(due)
        if self.program is None:  # All that were left have been set apart.
            return
        if due:
            places = numbers_on(self.device, list(due))
            sums = torch.cat([self.program.total[places].unsqueeze(1), evaluated], 1)
            self.program.total.index_fill_(0, places, 0.0)
            records = [row for lane in due.values() for row in lane.course.recording.rows]
            numbers = torch.cat([sums.flatten(), *records]).tolist()  # The one wait for the device.
            rows = [
                numbers[start : start + sums.shape[1]]
                for start in range(0, sums.numel(), sums.shape[1])
            ]
            del numbers[: sums.numel()]
            for lane in due.values():
                count = 4 * len(lane.course.recording.rows)
                lane.course.recording.take_in(numbers[:count])
                del numbers[:count]
            self._charge(live, clock)
            with pulse.unbroken():  # Or a lane would be saved that is half evaluated.
                measured = [
                    self._measure(lane, row) for lane, row in zip(due.values(), rows, strict=True)
                ]
                self._keep_best(due, measured)
                yield from self._tell(tuple(event for event, _ in measured))
                for place, (event, reason) in zip(due, measured, strict=True):
                    yield from self._conclude(place, event.measurement, reason)
        yield from self._share()
        yield from self._save_due()
        for place, waits in enumerate(self.places):
            if waits is not None and waits.step in waits.rungs and waits.passed != waits.step:
                self.parked[waits.trial.number] = self._take_out(place)
                value = waits.course.value(self.cohort.objective)
                yield from self._tell(Reached(waits.trial.number, waits.step, value))

    def _evaluate(self, due: dict[int, Lane]) -> Tensor:
        """The validation sums of the lanes that are due, [lanes, sums]; those of them that raise by
        themselves are set apart, and due no more."""
        program = self.program
        assert program is not None
        kept = self._keep() if due else None
        while due:
            try:
                return program.evaluate([*due])
            except any_but_interrupts(DataError, NotRecordable, is_out_of_memory) as error:
                raising = [place for place in due if kept and program.raises(place)]
                if kept is None or not self._set_apart(raising, kept, error):
                    raise
                release(error)
            for place in raising:
                del due[place]
        return torch.empty(0)

    def _keep_best(self, due: Mapping[int, Lane], measured: Sequence[tuple[Measured, str]]) -> None:
        """Copy the evaluated tensors of lanes that were measured as their best so far."""
        better = {
            place: lane
            for (place, lane), (event, reason) in zip(due.items(), measured, strict=True)
            if not reason and lane.best.beaten(event.measurement.metrics)
        }
        if better and self.program:
            kept = [lane.best_state for lane in better.values()]
            rooms = self.program.keep_evaluated(list(better), kept)
            for lane, room in zip(better.values(), rooms, strict=True):
                lane.best_state = room

    def _measure(self, lane: Lane, row: list[float]) -> tuple[Measured, str]:
        """A lane's evaluation from its sums, and why the lane is lost, or ""."""
        metrics = validation_metrics(row[1:], self.data, self.criterion)
        rate = float(lane.rates[lane.step - 1])
        metrics |= {"train_loss": row[0] / (lane.step - lane.since), "lr": rate}
        lane.since = lane.step
        measurement = Measurement(lane.step, metrics)
        lane.course.judge_by(self.criterion)
        reason = lane.course.measure(measurement, lane.budget)
        records = lane.course.tell()
        return Measured(lane.trial.number, measurement, lane.budget, records), reason

    def _conclude(self, place: int, measurement: Measurement, reason: str) -> Telling:
        """End a measured lane if it is lost, for that reason, or has used its budget."""
        lane = self.places[place]
        assert self.program is not None and lane is not None
        outcome = Outcome.DIVERGED
        if not reason:
            outcome, reason = Outcome.PRUNED, lane.course.stop_standing()
        if reason:
            total, state = self.program.total[place], self.program.take(place, copied=False)
            self.sharing.hand_on(
                lane.trial.number, lane.step, partial(self._dump, lane, state, total)
            )
            self.places[place] = None
            yield from self._close(self._end(lane, outcome, reason))
            return
        if lane.plateau is not None:
            train = lane.trial.config["train"]
            metric, before = train["schedule"]["metric"], lane.plateau.scale
            lane.plateau.observe(measurement.step, measurement.metrics[metric])
            if lane.plateau.scale != before:
                lane.rates[lane.step :] = lane.base[lane.step :] * lane.plateau.scale
                lane.curves = self.program.curves(train, lane.rates)
        if lane.step == lane.budget:
            ended = self._end(lane, Outcome.COMPLETED, "", place)
            self.places[place] = None
            yield from self._close(ended)

    def _close(self, ended: Ended) -> Telling:
        """Tell that a lane has ended, and so have the trials that end with it."""
        for event in (ended, *self.sharing.end(ended)):
            yield from self._tell(event)
        self.fresh.extend(self.sharing.take_freed())

    def _end(
        self,
        lane: Lane,
        outcome: Outcome,
        reason: str,
        place: int | None = None,
    ) -> Ended:
        """End a lane; `place` is its place, if it has come to its end."""
        result = lane.course.result(outcome, reason)
        weights = state = None
        if place is not None and self.program and worth_keeping(self.cohort, result):
            at_best = self.cohort.objective.at == "best"
            state = lane.best_state if at_best else self.program.evaluated(place)
        if state is not None:
            weights = serialize(self.initial.skeleton.state_dict(*state))
        lane.course.recording.flush()
        records = lane.course.tell(whole=True)
        return Ended(lane.trial.number, result, lane.course.curve, weights, records=records)

    def _dismiss(self) -> Telling:
        """End the lanes that a verdict stopped."""
        while self.stopped:
            lane = self.stopped.popleft()
            reason = f"stopped after {lane.step} of {lane.budget} steps"
            yield from self._close(self._end(lane, Outcome.PRUNED, reason))
