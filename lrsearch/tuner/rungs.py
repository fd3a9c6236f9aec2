"""Verdicts at rungs: trials that have reached one wait until all that must be compared have.

A verdict follows from journaled values, in the order of the search's points: it is the same with
any number of workers and lanes, and whatever was killed. It is journaled before it is told, and a
trial that comes to a rung a second time gets the verdict that stands there. Rungs are shares of a
training's own budget: points of several budgets are not compared with each other.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from lrsearch.analysis.pruning import RULES, RUNGS, Reading, Rule, rung_steps
from lrsearch.duration import evaluation_steps
from lrsearch.trial import Outcome, Reached, Result, Ruling, Trial, Verdict
from lrsearch.tuner.dispatch import Judges
from lrsearch.tuner.ledger import Entry
from lrsearch.tuner.proposer import Proposer
from lrsearch.tuner.pruning import Pruning
from lrsearch.tuner.session import Session

SMALL = 16
"""Points up to which halving pays: at sixteen trainings it was no better than none."""

Place = tuple[int, int]
"""The number of a trial, and the step of a rung."""


class Stand(Enum):
    """The standing of a point at a rung, where it has no value to compare there."""

    COMING = "coming"
    """A point of which a trial has not reached the rung, and may yet."""
    OUT = "out"
    """A point of which a trial has ended before, other than well: it will never have a value."""
    BESIDE = "beside"
    """A point that has gone past the rung without being compared, or has none."""


@dataclass
class Rungs(Judges):
    """The rungs of a search. `waiting` are the trials that wait at one: the handle of their job,
    and the step."""

    session: Session
    proposer: Proposer
    pruning: Pruning
    waiting: dict[int, tuple[int, int]] = field(default_factory=dict)
    told: bool = False
    _steps: dict[int, tuple[tuple[int, int], ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.settings: Mapping[str, Any] = self.session.spec.prune
        rule = RULES.get(self.settings["name"])
        self._rule = rule if self.pruning.on else None
        self.history, self.ledger = self.session.run.history, self.session.ledger
        self.sign = -1.0 if self.session.objective.goal == "max" else 1.0

    @property
    def rule(self) -> Rule | None:
        """The rule by which trials are compared, None where none is."""
        return self._rule

    def judged(self, trials: Iterable[Trial]) -> frozenset[int]:
        """The numbers of those trials that end where they make no progress."""
        return self.pruning.judged(trials)

    @property
    def start_only(self) -> bool:
        """Whether the points that a learning strategy begins with are compared, and no others: what
        its model proposes is too good to be told apart so early."""
        return self.rule is not None and self.rule.together and self.proposer.strategy.waits

    @property
    def population(self) -> int:
        """The number of points that are compared with each other, at most."""
        return self.session.spec.bayes.startup if self.start_only else self.settings["population"]

    @property
    def needs_more(self) -> bool:
        """Whether the first points are compared together, and not all of them are proposed."""
        return self.start_only and len(self.proposer.points) < self.population

    def describe(self, points: int) -> Iterator[str]:
        """Sentences on what the rule cannot do in a search of so many points, or does badly."""
        name = self.settings["name"]
        if name not in RULES:
            return
        if self.session.strategy == "refine":
            yield "prune: the points of a refinement are all trained to their end"
        elif not self.pruning.on:
            yield f"prune: {name} has nothing to compare one point with"
        elif name == "halving" and points > SMALL:
            yield (
                f"halving is for searches of about 10 trainings: of {points} points it may stop "
                "the one that would have been the best; prune: quarter loses next to none"
            )

    # the rungs of a trial

    def steps(self, trial: Trial) -> tuple[tuple[int, int], ...]:
        """The rungs of a trial, and the step of each."""
        if self.rule is None:
            return ()
        spec, facts, config = self.session.spec, self.session.facts, trial.config
        if spec.kind is not None:
            whole = int(self.settings["budget"])
            return rung_steps(range(1, whole + 1))
        train = config["train"]
        known = self._steps.get(trial.number)
        if known is not None:
            return known
        samples, size = facts.train_samples[trial.fold or 0], train["batch_size"]
        if facts.passes:  # Of a loader with an order of its own, where that was counted.
            samples, size = facts.passes.get(str(size), (0, 1.0))
        found: tuple[tuple[int, int], ...] = ()
        if samples:
            found = rung_steps(evaluation_steps({**train, "batch_size": size}, samples))
        self._steps[trial.number] = found
        return found

    def cohort(self, trials: Sequence[Trial]) -> tuple[int, ...]:
        """The steps at which trials of one structure wait for a verdict."""
        if self.rule is None or all(map(self.pruning.goes_on, trials)):
            return ()
        steps = tuple(step for _, step in self.steps(trials[0]))
        if not steps and not self.told:
            self.told = True
            self.session.watcher.note(
                f"prune: {self.settings['name']} compares nothing where nothing is evaluated "
                "between 1/9 of the budget and its end: evaluate: 0.1dur does"
            )
        return steps

    # reaching them

    def reach(self, handle: int, event: Reached) -> None:
        """Take a trial that waits at a rung; its value is journaled where it has none yet."""
        self.waiting[event.trial] = (handle, event.step)
        if not self.ledger.has_reached((event.trial, event.step)):
            value = event.value
            known = value is not None and not math.isnan(value)
            told = value if known else None
            self.session.run.reached(event.trial, event.step, told, self.ledger.measure)

    def forget(self, trial: int) -> None:
        """Forget a trial that has ended, or begins again."""
        self.waiting.pop(trial, None)

    def ruling(self, number: int, result: Result) -> Ruling | None:
        """The verdict that a trial ended by, None where it ended otherwise."""
        if result.outcome is not Outcome.PRUNED or result.rule:
            return None
        every = (ruling for (of, _), ruling in self.history.rulings.items() if of == number)
        return next((ruling for ruling in every if ruling.stop), None)

    # verdicts

    def decide(self, *, force: bool = False) -> None:
        """Answer the trials that wait for verdicts that can be given; with `force` by what has come
        until now, since nothing more comes."""
        if self.rule is None or not self.waiting:
            return
        self._answer()
        compared: dict[int, list[tuple[int, int]]] = {}
        fields = self._fields()
        places = {
            entry.number: (field, place)
            for field, points in enumerate(fields)
            for place, entry in enumerate(points)
        }
        for number, (_, step) in sorted(self.waiting.items()):
            trial = self.ledger.trials[number]
            rung = next(rung for rung, at in self.steps(trial) if at == step)
            field, place = places.get(self.ledger.entry_of[number].number, (0, None))
            alone = place is None or self._passes(trial, place)
            own: Reading | Stand = Stand.BESIDE
            if place is not None and not alone:
                own = self._stand(fields[field][place], place, rung)
            if own in (Stand.BESIDE, Stand.OUT):
                self._rule_alone(number, step, stop=own is Stand.OUT)
            elif place is not None:
                compared.setdefault(field, []).append((rung, place))
        for field, waiting in compared.items():
            self._compare_all(fields[field], sorted(set(waiting)), force=force)
        self._answer()
        if force:  # Seeds of their points have not begun, as when the time is over.
            for number, (_, step) in sorted(self.waiting.items()):
                self._rule_alone(number, step, stop=False)
            self._answer()

    def _fields(self) -> list[list[Entry]]:
        """The points that are compared with each other, by their budgets, each in the order of
        their proposals."""
        fields: dict[str, list[Entry]] = {}
        points = self.proposer.points
        for entry in points[: self.population] if self.start_only else points:
            train = entry.config.get("train", {})
            fields.setdefault(str(train.get("budget")), []).append(entry)
        return list(fields.values())

    def _compare_all(
        self, points: Sequence[Entry], waiting: Sequence[tuple[int, int]], *, force: bool
    ) -> None:
        """Give the verdicts on points of one budget that can be given; `waiting` are the rungs at
        which some wait, and their places."""
        assert self.rule is not None
        standing: dict[tuple[int, int], Reading | Stand] = {}
        for rung, members in self._populations(waiting, len(points)):
            for place in members:
                if (place, rung) not in standing:
                    standing[place, rung] = self._stand(points[place], place, rung)
            stands = [standing[place, rung] for place in members]
            if Stand.COMING in stands and not force:
                continue
            if self.rule.together and not force and not self._is_whole(members):
                continue
            readings = [each for each in stands if isinstance(each, Reading)]
            self._compare(rung, readings, [points[each.place] for each in readings], len(members))

    def _passes(self, trial: Trial, place: int) -> bool:
        """Whether a trial is compared with nobody, or goes on whatever comes of it."""
        assert self.rule is not None
        return self.pruning.goes_on(trial) or (self.rule.whole and place == 0)

    def _populations(
        self, waiting: Sequence[tuple[int, int]], points: int
    ) -> list[tuple[int, range]]:
        """The rungs at which points wait, with the places of those that are compared there."""
        assert self.rule is not None
        if not self.rule.together:
            return [(rung, range(place + 1)) for rung, place in waiting]
        size = self.population
        firsts = dict.fromkeys((rung, place // size * size) for rung, place in waiting)
        return [(rung, range(first, min(first + size, points))) for rung, first in firsts]

    def _is_whole(self, members: range) -> bool:
        """Whether no more points can come to a population."""
        full = len(members) >= self.population
        full = full or (self.start_only and len(self.proposer.points) >= self.population)
        return full or self.proposer.exhausted or not self.proposer.room

    def _numbers(self, entry: Entry) -> list[int]:
        """The trials of a point that count, by seed and fold."""
        trials = (self.ledger.trials[number] for number in self.ledger.latest(entry))
        return [t.number for t in sorted(trials, key=lambda t: (t.seed, t.fold or 0, t.number))]

    def _stand(self, entry: Entry, place: int, rung: int) -> Reading | Stand:
        """The standing of a point at a rung, whatever has come of the point since then."""
        values: list[float] = []
        found: set[Stand] = set()
        for number in self._numbers(entry):
            trial = self.ledger.trials[number]
            step = dict(self.steps(trial)).get(rung)
            result = self.history.results.get(number)
            if step is None or self.pruning.goes_on(trial):
                found.add(Stand.BESIDE)
            elif self.ledger.has_reached((number, step)):
                value = self.history.reached[number, step]
                if value is None:
                    found.add(Stand.BESIDE)
                else:
                    values.append(self.sign * value)
            elif result is None:
                found.add(Stand.COMING)
            else:
                well = result.outcome is Outcome.COMPLETED
                found.add(Stand.BESIDE if well else Stand.OUT)
        for kind in (Stand.OUT, Stand.COMING, Stand.BESIDE):
            if kind in found:
                return kind
        return Reading(place, tuple(values))

    def _compare(
        self, rung: int, readings: Sequence[Reading], entries: Sequence[Entry], members: int
    ) -> None:
        """Give verdicts on points that are compared: on all, or on the last of them."""
        assert self.rule is not None
        if not readings:
            return
        settings = {**self.settings, "population": members}
        stopped = self.rule.judge(readings, rung, settings)
        judged = list(zip(readings, entries, strict=True))
        rulings: dict[Place, Ruling] = {}
        for reading, entry in judged if self.rule.together else judged[-1:]:
            stop = reading.place in stopped and not (self.rule.whole and reading.place == 0)
            reason = ""
            if stop:
                value = self.sign * reading.mean
                reason = (
                    f"{self.session.objective.metric} is {value:.4g} at {RUNGS[rung]} of the "
                    f"budget, {self.rule.phrase} of {len(readings)} points there"
                )
            for number in self._numbers(entry):
                step = dict(self.steps(self.ledger.trials[number]))[rung]
                if (number, step) not in self.history.rulings:
                    rulings[number, step] = Ruling(stop, self.settings["name"], reason)
        if rulings:
            self.session.run.ruled(self.settings["name"], rulings)

    def _rule_alone(self, number: int, step: int, *, stop: bool) -> None:
        """Give a verdict on one trial: to go on, or to stop since its point has no value anyhow."""
        reason = "another trial of its point has ended early: the point will have no value"
        ruling = Ruling(stop, self.settings["name"], reason if stop else "")
        self.session.run.ruled(self.settings["name"], {(number, step): ruling})

    def _worth(self, number: int) -> float:
        """The mean value of the point of a trial that waits, where it waits, low being good."""
        numbers = self._numbers(self.ledger.entry_of[number])
        steps = {each: at for each, (_, at) in self.waiting.items()}
        reached = [self.history.reached.get((each, steps.get(each, -1))) for each in numbers]
        values = [self.sign * value for value in reached if value is not None]
        return math.fsum(values) / len(values) if values else math.inf

    def _answer(self) -> None:
        """Tell the trials that wait the verdicts that are journaled, those of the best points
        first: where there are fewer places than go on, these come to their end first."""
        order = sorted(self.waiting.items(), key=lambda each: (self._worth(each[0]), each[0]))
        for number, (handle, step) in order:
            ruling = self.history.rulings.get((number, step))
            if ruling is not None:
                del self.waiting[number]
                verdict = Verdict.STOP if ruling.stop else Verdict.GO_ON
                self.session.executor.reply(handle, number, verdict)
