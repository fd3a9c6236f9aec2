"""The proposer: the next points, from a strategy, the ledger and the journal."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lrsearch.analysis.points import PointSummary, summarize
from lrsearch.analysis.pruning import NO_PROGRESS
from lrsearch.analysis.stopping import Noise, Patience, find_noise, judge_patience
from lrsearch.search import Request, count_trials, make_strategy, trial_limit
from lrsearch.search.grid import Grid
from lrsearch.search.strategy import point_key
from lrsearch.spec.model import Spec, resolve
from lrsearch.trial import Outcome, Point, Proposal, Trial
from lrsearch.tuner.ledger import Entry, Ledger

UNSTOPPED = ("grid", "refine")
"""Strategies that patience does not stop: a grid is trained whole, and rounds end by a rule of
their own."""

Told = tuple[Entry, Outcome, float | None]


@dataclass(frozen=True)
class Generation:
    """Points proposed at once. `new` trials are to be journaled; `waiting` ones, new or older,
    have no result yet."""

    number: int
    proposals: tuple[Proposal, ...]
    new: tuple[Trial, ...]
    waiting: tuple[Trial, ...]


def describe_patience(found: Patience, patience: int, noise: Noise, start: int) -> str:
    """The reason of a search's end, in words; `start` are the proposals before it counts."""
    proposals = "1 proposal" if patience == 1 else f"{patience} proposals"
    size = f" ({noise.error:.2g}, by the {noise.basis})" if noise.basis else ""
    last = f"the last was proposal {found.latest} of {found.made}"
    if not found.latest:
        last = f"none of {found.made} was better than what was measured before"
    after = f" after the start of {start}" if found.latest < start else ""
    return f"no improvement beyond noise{size} in {proposals}{after}: {last}"


class Proposer:
    """One strategy over one run. It reads the history and never writes: its caller journals the
    proposals, or only shows them.

    With `retry_failed`, or where all trials have failed so far, failed trials are trained again.
    With `resume_pruned` those that were stopped early are trained on; where `lifted` says that the
    rule on progress no longer holds, so are those that it stopped. `made` counts the strategy's
    proposals in the present space, `limit` is the most it may make (None: as many as there are).
    `exhausted` says that no more points are left, `stopped` why the search ended before its limit,
    "" where it did not.
    """

    def __init__(
        self,
        spec: Spec,
        strategy: str,
        ledger: Ledger,
        *,
        retry_failed: bool = False,
        resume_pruned: bool = False,
        lifted: bool = False,
    ) -> None:
        self.spec = spec
        self.name = strategy
        self.ledger = ledger
        self.history = ledger.history
        self.retry_failed = retry_failed or ledger.only_failures
        self.resume_pruned, self.lifted = resume_pruned, lifted
        self.strategy = make_strategy(strategy, spec, ledger.objective)
        self.limit = trial_limit(strategy, spec)
        self.patience = None if strategy in UNSTOPPED else spec.patience
        self._budgets = "budget" in dict(spec.space.dimensions)
        self.exhausted = False
        self.stopped = ""
        self.made = 0
        self._index = 0
        self._repeats = 0
        self._generation = 0
        self._made_in: set[int] = set()
        self._next_number = self.history.next_number
        self._new: dict[str, Trial] = {}
        self._known: set[str] = set()
        self._mine: dict[str, Entry] = {}
        self._own: dict[int, Entry] = {}
        self._told: list[Told] = []
        self._read_history()

    @property
    def waits(self) -> bool:
        """Whether a generation needs the results of the one before."""
        return self.strategy.waits or self.patience is not None

    @property
    def generations(self) -> int:
        """The number of generations that the strategy has made in the present space."""
        return len(self._made_in)

    @property
    def points(self) -> list[Entry]:
        """The points that it has proposed in the present space, in order, each once."""
        return list(self._mine.values())

    @property
    def room(self) -> int:
        """The number of proposals that it may still make."""
        return 10**9 if self.limit is None else max(0, self.limit - self.made)

    def foresee(self) -> int:
        """The number of proposals to come, of which some may be measured already; 0 where only
        results can tell. A grid that has others now may have been proposed points between them."""
        if isinstance(self.strategy, Grid):
            return self.strategy.count_left(lambda point: point_key(point) in self._mine)
        points = count_trials(self.name, self.spec) // self.spec.trials_per_point
        return max(0, points - self.made)

    def _read_history(self) -> None:
        for entry in self.ledger.entries.values():
            existing, missing = self._trials(entry)
            # What another strategy proposed and left untrained is as new as what nobody proposed.
            left = missing or [each for each in existing if each.number not in self.history.results]
            if entry.point is not None and not left:
                self._known.add(point_key(entry.point))
        seen: set[int] = set()
        for proposal, line in zip(self.history.proposals, self.history.proposed_at, strict=True):
            self._generation = max(self._generation, proposal.generation)
            new = not seen.issuperset(proposal.trials)
            seen.update(proposal.trials)
            if proposal.strategy != self.name:
                continue
            self._index = max(self._index, proposal.index + 1)
            found = self.ledger.entry_of.get(proposal.trials[0])
            if found is None or found.point is None:
                continue
            self.made += 1
            self._made_in.add(proposal.generation)
            self._repeats = 0 if new else self._repeats + 1
            self._take(found, self._measured_before(found, line))

    def _take(self, entry: Entry, measured: bool) -> None:
        """Note a proposal of this strategy. A point without a measurement by then counts as its
        own."""
        assert entry.point is not None
        key = point_key(entry.point)
        if key not in self._mine:
            self._mine[key] = entry
            if not measured:
                self._own[entry.number] = entry

    def _measured_before(self, entry: Entry, line: int) -> bool:
        """Whether a point had all of the spec's seeds and folds measured before a line of the
        journal."""
        for seed, fold in self.ledger.wanted:
            number = self.history.by_key.get(self.ledger.key(entry, seed, fold))
            if number is None or self.history.ended_at.get(number, line) >= line:
                return False
        return True

    # proposing

    def unfinished(self) -> Generation:
        """Points that this strategy proposed earlier and that lack a result, or one with the spec's
        present seeds and folds; up to its present limit, which may have been higher."""
        new: dict[str, Trial] = {}
        waiting: dict[int, Trial] = {}
        surplus = self.ledger.surplus(self.name, self.limit)
        for key, entry in self._mine.items():
            if entry.number in surplus:
                continue
            existing, missing = self._trials(entry)
            self._add(missing, entry, new)
            self._known.add(key)
            for trial in (*existing, *missing):
                if trial.number not in self.history.results:
                    waiting[trial.number] = trial
        return Generation(0, (), tuple(new.values()), tuple(waiting.values()))

    def propose(self) -> Generation | None:
        """The next generation, None when there is none. A strategy that waits must have the result
        of every earlier proposal."""
        points: list[dict[str, Any]] = []
        room = self._patient_room()
        if room:
            if self.strategy.waits:
                self._tell()
            points = self.strategy.propose(
                Request(
                    index=self._index,
                    room=room,
                    known=lambda point: point_key(point) in self._known,
                    proposed=lambda point: point_key(point) in self._mine,
                    repeats=self._repeats,
                    generations=len(self._made_in),
                    measured=self._summaries,
                )
            )
        if not points:
            self.exhausted = True
            return None
        return self._generate(points)

    def _patient_room(self) -> int:
        """The number of proposals that may be made now. A strategy whose proposals follow no
        results makes just as many as may fail to improve, so that it ends exactly there. One that
        learns from results makes whole generations, since their size is part of what it
        proposes."""
        if self.patience is None or not self.room:
            return self.room
        if self.strategy.waits and any(map(self.ledger.is_open, self._mine.values())):
            return self.room  # Points that are begun together are judged together.
        own = [
            self.ledger.judge(entry)[1]
            for proposal in self.history.proposals
            if proposal.strategy == self.name
            and (entry := self.ledger.entry_of.get(proposal.trials[0])) is not None
            and entry.point is not None
        ]
        # What came after its last, as a refinement's points, is nothing that it followed: however
        # often it is asked, it has come to the same end.
        last = max(self._own, default=math.inf)
        others = [
            value
            for entry in self.ledger.entries.values()
            if entry.number not in self._own and entry.point is not None and entry.number < last
            if (value := self.ledger.judge_measured(entry)[1]) is not None
        ]
        objective = self.ledger.objective
        summaries = (summary for _, summary in self._summaries() if summary.point <= last)
        noise = find_noise(summaries, objective)
        # Points of other strategies shorten the start: what proposes then has seen them.
        start = max(0, self.spec.bayes.startup - len(others)) if self.name == "bayes" else 0
        found = judge_patience(own, self.patience, noise.error, objective.goal, others, start)
        if found.over:
            self.stopped = describe_patience(found, self.patience, noise, start)
            return 0
        return self.room if self.strategy.waits else min(self.room, found.left)

    def _generate(self, points: Sequence[Mapping[str, Any]]) -> Generation:
        self._generation += 1
        proposals: list[Proposal] = []
        new: dict[str, Trial] = {}
        waiting: dict[int, Trial] = {}
        for offset, point in enumerate(points):
            entry = self.ledger.find(resolve(self.spec, point, self.ledger.content.task))
            existing, missing = self._trials(entry)
            self._add(missing, entry, new)
            trials = [*existing, *missing]
            left = [trial for trial in trials if trial.number not in self.history.results]
            waiting |= {trial.number: trial for trial in left}
            numbers = tuple(trial.number for trial in trials)
            index = self._index + offset
            proposals.append(Proposal(self.name, self._generation, index, point, numbers))
            self._repeats = 0 if missing else self._repeats + 1
            key = point_key(point)
            self._known.add(key)
            if key not in self._mine:
                self._mine[key] = entry
                if left:
                    self._own[entry.number] = entry
        self._index += len(points)
        self.made += len(points)
        self._made_in.add(self._generation)
        return Generation(
            self._generation, tuple(proposals), tuple(new.values()), tuple(waiting.values())
        )

    def _add(self, trials: Sequence[Trial], entry: Entry, new: dict[str, Trial]) -> None:
        for trial in trials:
            self.ledger.add(trial, entry)
            new[trial.key] = self._new[trial.key] = trial
        self._next_number += len(trials)

    def _trials(self, entry: Entry) -> tuple[list[Trial], list[Trial]]:
        """The trials of a point that exist, and those that must be made."""
        existing: list[Trial] = []
        missing: list[Trial] = []
        for seed, fold in self.ledger.wanted:
            key = self.ledger.key(entry, seed, fold)
            number = self.history.by_key.get(key)
            new = self._new.get(key)
            if new is not None and not self._given_up(new.number):
                existing.append(new)
            elif number is None or self._given_up(number):
                trial = Trial(self._next_number + len(missing), key, entry.config, seed, fold)
                missing.append(trial)
            else:
                existing.append(self.history.trials[number])
        return existing, missing

    def _given_up(self, number: int) -> bool:
        """Whether a failed trial is to be tried again, or a stopped one trained to its end."""
        result = self.history.results.get(number)
        if result is None or result.outcome not in (Outcome.FAILED, Outcome.PRUNED):
            return False
        if result.outcome is Outcome.FAILED:
            return self.retry_failed
        return self.resume_pruned or (self.lifted and result.rule == NO_PROGRESS)

    def _summaries(self) -> list[tuple[Point, PointSummary]]:
        """The points of the space with what their trials came to, by number."""
        entries = {entry.number: entry for entry in self.ledger.entries.values()}
        found = []
        for summary in summarize(self.ledger.records(), self.ledger.objective):
            point = entries[summary.point].point
            if point is not None:
                found.append((point, summary))
        return found

    # telling

    def _tell(self) -> None:
        """Tell the strategy what the journal knows."""
        known = self._canonical()
        if known[: len(self._told)] != self._told:
            # A failed trial that was repeated, say: what was told cannot be taken back.
            self.strategy = make_strategy(self.name, self.spec, self.ledger.objective)
            self._told = []
        for entry, outcome, value in known[len(self._told) :]:
            assert entry.point is not None
            replicates = self.ledger.replicates(entry)
            # Shares of several budgets are not compared: a third of 40 epochs says nothing of 5.
            partial = () if self._budgets else self.ledger.partial(entry)
            self.strategy.tell(entry.point, outcome, value, replicates, partial)
        self._told = known

    def _canonical(self) -> list[Told]:
        """The points to tell, in an order that timing, interruptions and the moment of asking do
        not change: first those that were measured when this strategy proposed them, with their
        results then; then the others in the order it proposed them."""
        found: list[Told] = []
        for entry in self.ledger.entries.values():
            if entry.number not in self._own and entry.point is not None:
                outcome, value = self.ledger.judge_measured(entry)
                if outcome is not None:
                    found.append((entry, outcome, value))
        for entry in self._own.values():
            outcome, value = self.ledger.judge(entry)
            if outcome is not None:
                found.append((entry, outcome, value))
        return found
