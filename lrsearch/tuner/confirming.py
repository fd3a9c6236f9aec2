"""Confirming: the best points of a search and a control are trained again with fresh seeds, until
their race is over; then the recommended one looks at the test part, once.

The journal says which points, against which control and with which seeds; their trials stand in it
like any others, apart from the search: no strategy is told of them, and no point ranks by them.
Which trials come next follows from the values so far alone (`analysis.race`), round by round.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from lrsearch import pulse
from lrsearch.analysis.answer import find_answer
from lrsearch.analysis.confirmation import Confirmation, Finalist, choose_finalists
from lrsearch.analysis.points import PointSummary, summarize
from lrsearch.analysis.points import best as find_best
from lrsearch.analysis.race import Scores, judge, next_round, repeats
from lrsearch.errors import UsageError
from lrsearch.spec.model import (
    ConfirmSettings,
    Spec,
    canonical,
    fixed_config,
    identity,
    redraw,
    why_fixed,
)
from lrsearch.trial import (
    CONFIRM,
    WORST_FIRST,
    Config,
    Confirming,
    Outcome,
    Reached,
    Result,
    Ruling,
    Trial,
    combine,
)
from lrsearch.tuner.best import Unranked
from lrsearch.tuner.conclusions import Conclusions
from lrsearch.tuner.dispatch import Dispatch
from lrsearch.tuner.events import Listener
from lrsearch.tuner.ledger import Entry, Ledger
from lrsearch.tuner.memory import Memory
from lrsearch.tuner.saving import Saving
from lrsearch.tuner.session import Ending, Session
from lrsearch.tuner.testing import find_look, has_test, look_at_test

SEEDS = 1000
"""The least fresh seed; the first free thousand of seeds from there on is taken."""


# what is measured again


def plan(spec: Spec, ledger: Ledger, settings: ConfirmSettings) -> Confirming:
    """The points to measure again: those of the latest confirmation while the search has measured
    nothing since, so that the same command goes on, whatever interrupted it. Raises UsageError
    where no point has a value."""
    digest = _digest(ledger)
    latest = _latest(ledger)
    seeds = _fresh_seeds(spec, ledger, settings.seeds)
    if latest is not None and (latest.search, latest.top) == (digest, settings.top):
        return replace(latest, seeds=seeds)
    points = summarize(ledger.records(), ledger.objective)
    answer = find_answer(points, ledger.objective)
    if answer is None:
        raise nothing_to_confirm(spec)
    chosen = choose_finalists(points, ledger.objective, settings.top, answer.recommended.point)
    entries = {entry.number: entry for entry in ledger.entries.values()}
    configs: list[Config] = [entries[point.point].config for point in chosen]
    values = [point.objective for point in chosen]
    control = _find_control(spec, ledger)
    place = None
    if control is not None:
        texts = list(map(_text, configs))
        if control.text not in texts:
            configs.append(control.config)
            values.append(ledger.judge(control)[1] if control.trials else None)
            texts.append(control.text)
        place = texts.index(control.text)
    return Confirming(
        configs=tuple(configs),
        finalists=len(chosen),
        control=place,
        values=tuple(values),
        seeds=seeds,
        fixed=why_fixed(configs[0]),
        top=settings.top,
        search=digest,
    )


def has_value(ledger: Ledger) -> bool:
    """Whether a point has a value, which fresh seeds could confirm."""
    return any(ledger.judge(entry)[1] is not None for entry in ledger.entries.values())


def nothing_to_confirm(spec: Spec) -> UsageError:
    """The error for a run without a value."""
    return UsageError(
        "no point was trained to its end: there is nothing to confirm",
        where=spec.source,
        hint="search first; lrsearch report says how its trials ended",
    )


def _text(config: Config) -> str:
    return canonical(identity(config))


def _digest(ledger: Ledger) -> str:
    """The digest of all that the search has measured."""
    found = []
    for record in ledger.records():
        result = record.result
        if result is not None:
            value = result.value(ledger.objective)
            found.append([record.trial.key, result.outcome, None if value is None else repr(value)])
    return hashlib.sha256(json.dumps(sorted(found)).encode()).hexdigest()[:16]


def _latest(ledger: Ledger) -> Confirming | None:
    """The latest confirmation whose points all belong to the spec."""
    for each in reversed(ledger.history.confirming):
        if _belongs(each, ledger):
            return each
    return None


def _belongs(confirming: Confirming, ledger: Ledger) -> bool:
    """Whether all points of a confirmation belong to the spec."""
    configs = confirming.configs[: confirming.finalists]
    return all(_text(config) in ledger.entries for config in configs)


def _fresh_seeds(spec: Spec, ledger: Ledger, count: int) -> tuple[int, ...]:
    """Seeds that no search of the run has used, nor its spec names."""
    history = ledger.history
    used = {trial.seed for trial in history.trials.values() if trial.number not in history.apart}
    used |= {*range(spec.seed, spec.seed + spec.seeds)}
    named = (spec.data.get(name) for name in ("split_seed", "validation_seed"))
    used |= {each for each in named if each is not None}
    for first in itertools.count(SEEDS, SEEDS):
        seeds = range(first, first + max(count, SEEDS))
        if used.isdisjoint(seeds):
            return tuple(seeds[:count])
    raise AssertionError("numbers do not end")


def _find_control(spec: Spec, ledger: Ledger) -> Entry | None:
    """The point that the others are compared with: the spec's own fixed values, where they make up
    a training, else the first proposal of the run that was trained to its end."""
    config = fixed_config(spec, ledger.content.task)
    if config is not None:
        return ledger.find(config)
    for proposal in ledger.history.proposals:
        entry = ledger.entry_of.get(proposal.trials[0])
        if entry is not None and ledger.judge(entry)[1] is not None:
            return entry
    return None


# what was measured


@dataclass(frozen=True)
class Race:
    """A confirmation and what the journal has of it: the trial of a point (by its place), a seed
    (by its place) and a fold."""

    confirming: Confirming
    ledger: Ledger
    folds: tuple[int | None, ...]

    @property
    def seeds(self) -> int:
        """The number of fresh seeds at most."""
        return len(self.confirming.seeds)

    def key(self, point: int, seed: int, fold: int | None) -> tuple[Config, int, str]:
        """The config, the seed and the key of a trial."""
        own = self.confirming.seeds[seed]
        config = self.confirming.configs[point]
        config = config if self.confirming.fixed else redraw(config, own)
        return config, own, self.ledger.key_of(config, own, fold)

    def numbers(self, point: int, seed: int) -> list[int | None]:
        """The trials of a point with a seed, one a fold, None for one that is still to be made."""
        return [
            self.ledger.history.fresh.get(self.key(point, seed, fold)[2]) for fold in self.folds
        ]

    def value(self, point: int, seed: int) -> tuple[bool, float | None]:
        """Whether a point was measured with a seed, and the value, None where there is none."""
        outcome, value = self.combine(point, seed)
        return outcome is not None, value

    def combine(self, point: int, seed: int) -> tuple[Outcome | None, float | None]:
        """The outcome and the value of a point with a seed, as `trial.combine`."""
        results = self.ledger.history.results
        found = [results.get(number or 0) for number in self.numbers(point, seed)]
        return combine(found, self.ledger.objective)

    def follow(self) -> tuple[dict[int, dict[int, float | None]], tuple[tuple[int, int], ...]]:
        """The values that the race has asked for so far, by point and seed, and the pairs of its
        present round that are not measured; none where it is over. A round counts when it is
        complete, and values that it has not asked for do not count, so that neither the order of
        the results nor an interruption makes a difference."""
        scores: dict[int, dict[int, float | None]] = {}
        while True:
            pairs = self._next(scores)
            found = {pair: self.value(*pair) for pair in pairs}
            left = tuple(pair for pair in pairs if not found[pair][0])
            if left or not pairs:
                return scores, left
            for (point, seed), (_, value) in found.items():
                scores.setdefault(point, {})[seed] = value

    def ahead(self) -> tuple[tuple[int, int], ...]:
        """The pairs of the present round, the measured ones among them, and those that follow it
        if no point leaves the race."""
        scores, left = self.follow()
        pairs = self._next(scores) if left else ()
        first = max((seed for _, seed in pairs), default=0) + 1
        points = dict.fromkeys(point for point, _ in pairs)
        return pairs + tuple((each, seed) for seed in range(first, self.seeds) for each in points)

    def missing(self, pairs: Iterable[tuple[int, int]]) -> int:
        """The trials of some pairs that have no result."""
        results = self.ledger.history.results
        return sum(number not in results for pair in pairs for number in self.numbers(*pair))

    def _next(self, scores: Scores) -> tuple[tuple[int, int], ...]:
        """The pairs of the round that follows complete ones."""
        order = range(len(self.confirming.configs))
        if "data" not in self.confirming.configs[0] and repeats(scores):
            return ()
        return next_round(scores, order, self.ledger.objective, seeds=self.seeds)


def make_race(confirming: Confirming, spec: Spec, ledger: Ledger) -> Race:
    """The race of a confirmation under a spec."""
    folds = tuple(range(spec.folds)) if spec.folds else (None,)
    return Race(confirming, ledger, folds)


def find_confirmation(
    spec: Spec, ledger: Ledger, points: Sequence[PointSummary]
) -> Confirmation | None:
    """The confirmation that a run's answer may rest on, None without one: of those of what the
    search had measured at the latest, one that is over, of the most fresh seeds, then of the most
    points, then the latest. `points` are those of the run."""
    latest = _latest(ledger)
    if latest is None:
        return None
    same = [each for each in ledger.history.confirming if each.search == latest.search]
    races = [make_race(each, spec, ledger) for each in same if _belongs(each, ledger)]
    found = [read_confirmation(race, points) for race in races]
    ranks = [
        (each.over, race.seeds, race.confirming.top, place)
        for place, (each, race) in enumerate(zip(found, races, strict=True))
    ]
    return found[max(ranks)[-1]]


def read_confirmation(race: Race, points: Sequence[PointSummary]) -> Confirmation:
    """The outcome of a race so far."""
    confirming, ledger = race.confirming, race.ledger
    scores, left = race.follow()
    order = range(len(confirming.configs))
    searched = dict(enumerate(confirming.values))
    verdict = judge(
        scores, order, ledger.objective, control=confirming.control, search_values=searched
    )
    tied = {*verdict.tied, verdict.winner}
    numbers = {text: entry.number for text, entry in ledger.entries.items()}
    finalists = []
    for each in verdict.standings:
        place = each.point
        config, own = confirming.configs[place], scores.get(place, {})
        finalists.append(
            Finalist(
                point=numbers.get(_text(config)),
                params=ledger.flatten(config),
                searched=searched[place],
                mean=each.mean,
                interval=each.interval,
                scores={confirming.seeds[at]: value for at, value in sorted(own.items())},
                shrinkage=each.shrinkage,
                better=each.better,
                outcome=_worst(race, place, own) if each.mean is None and own else "",
                control=place == confirming.control,
                tied=place in tied,
            )
        )
    best = find_best(points, ledger.objective)
    held = {each.point for each in finalists if each.point is not None}
    ended = list(_trials(race, ended=True))
    results = ledger.history.results
    failed = [number for number in ended if results[number].outcome is Outcome.FAILED]
    tested = find_look(ledger.history, confirming.configs[0], ledger.content)
    return Confirmation(
        finalists=tuple(finalists),
        seeds=race.seeds,
        over=not left,
        current=best is None or best.point in held,
        fixed=confirming.fixed,
        trials=len(ended),
        left=len(left) * len(race.folds),
        failed=tuple(failed),
        epochs=math.fsum(results[number].epochs for number in ended),
        seconds=math.fsum(results[number].own_seconds for number in ended),
        steady=verdict.steady,
        seedless=verdict.seedless,
        tested=tested,
        tested_point=None if tested is None else numbers.get(_text(tested.config)),
    )


def _worst(race: Race, place: int, scores: Mapping[int, float | None]) -> str:
    """The worst outcome of a point's fresh trainings, in words."""
    found = {race.combine(place, seed)[0] for seed in scores}
    worst = next(outcome for outcome in WORST_FIRST if outcome in found)
    return "no value" if worst is Outcome.COMPLETED else worst.replace("_", " ")


def _trials(race: Race, *, ended: bool) -> Iterator[int]:
    """The trials of a race that have ended, or that have not."""
    results = race.ledger.history.results
    for place in range(len(race.confirming.configs)):
        for seed in range(race.seeds):
            for number in race.numbers(place, seed):
                if number is not None and (number in results) is ended:
                    yield number


# measuring


class _Unjudged:
    """The judges of trials that are all trained to their end."""

    rule = None

    def __init__(self) -> None:
        self.waiting: dict[int, tuple[int, int]] = {}

    def cohort(self, trials: Sequence[Trial]) -> tuple[int, ...]:
        """No steps to wait at."""
        return ()

    def judged(self, trials: Iterable[Trial]) -> frozenset[int]:
        """No trials."""
        return frozenset()

    def reach(self, handle: int, event: Reached) -> None:
        """Raises ValueError: no trial was told to wait."""
        raise ValueError(f"trial {event.trial} waits at step {event.step}, and nobody judges it")

    def forget(self, trial: int) -> None:
        """Forget nothing."""

    def ruling(self, number: int, result: Result) -> Ruling | None:
        """No verdict."""
        return None


class _Rounds:
    """The rounds of a race as `dispatch` sees them: the next one is not known yet."""

    waits = False
    room = 0


def confirm(session: Session, settings: ConfirmSettings) -> Ending:
    """Measure the best points of a run again, and look at the test part, as far as the journal has
    not got it yet. The session's ledger is that of the search, and stays as it is. Raises
    UsageError where there is nothing to confirm, and the errors of a search."""
    return _Confirming(session, settings).go()


class _Confirming:
    """The loop over the rounds of a race."""

    def __init__(self, session: Session, settings: ConfirmSettings) -> None:
        self.session, self.run, self.watcher = session, session.run, session.watcher
        self.spec, self.searched = session.spec, session.ledger
        confirming = plan(self.spec, session.ledger, settings)
        if confirming not in self.run.history.confirming[-1:]:
            self.run.confirming(confirming)
        self.race = make_race(confirming, self.spec, session.ledger)
        self.ledger = session.ledger.set_apart([])
        own = replace(session, ledger=self.ledger)
        self.saving = Saving(self.run, session.facts, self.watcher)
        best = Unranked(session.objective)
        self.conclusions = Conclusions(own, best, Memory(own), self.saving)
        self.dispatch = Dispatch(own, _Rounds(), self.conclusions, _Unjudged())
        self.listener = Listener(own, self.dispatch)

    def go(self) -> Ending:
        """Measure round by round to the end of the race, and look at the test part."""
        # Here alone: commands that only read runs need no numpy.
        from lrsearch.tuner import outlook

        race, asked = self.race, self.session.asked
        own = replace(self.session, strategy=CONFIRM)
        if asked.retry_failed:
            self._retry()
        _, left = race.follow()
        self.watcher.note(describe_race(race) if left else "confirmed before: nothing is left")
        most = race.missing(race.ahead())
        self.watcher.begin(most, self.session.objective, self.session.executor.capacity)
        outlook.draw(self.session)
        outlook.show(own, least=race.missing(left))
        self.saving.begin([self.run.history.trials[number] for number in self._under_way(left)])
        racing = {point for point, _ in race.ahead()}
        while left and not asked.is_over_time():
            self._measure(left)
            _, left = race.follow()
            ahead = race.ahead()
            following = {point for point, _ in ahead}
            if left and (out := racing - following):
                self.watcher.note(self._describe_out(out, left))
            racing = following
            self.watcher.planned(self.conclusions.trained + race.missing(ahead))
            outlook.show(own, least=self.conclusions.trained + race.missing(left))
        if left:
            return Ending(self.conclusions.trained, "time")
        return Ending(self.conclusions.trained, "finished" if self._look() else "time")

    def _under_way(self, left: Sequence[tuple[int, int]]) -> list[int]:
        """The trials of a round that are made and have not ended."""
        results = self.run.history.results
        numbers = (number for pair in left for number in self.race.numbers(*pair))
        return [number for number in numbers if number is not None and number not in results]

    def _retry(self) -> None:
        """Make new trials for those that failed."""
        history = self.run.history
        failed = [
            number
            for number in _trials(self.race, ended=True)
            if history.results[number].outcome is Outcome.FAILED
        ]
        first = history.next_number
        again = [replace(history.trials[each], number=first + at) for at, each in enumerate(failed)]
        if again:
            self.run.proposed(0, CONFIRM, (), again)

    def _measure(self, left: Sequence[tuple[int, int]]) -> None:
        """Train the trials of a round that have no result, as far as there is time."""
        history = self.run.history
        new: list[Trial] = []
        for point, seed in left:
            for fold, number in zip(self.race.folds, self.race.numbers(point, seed), strict=True):
                if number is None:
                    config, own, key = self.race.key(point, seed, fold)
                    new.append(Trial(history.next_number + len(new), key, config, own, fold))
        if new:
            self.run.proposed(1 + min(seed for _, seed in left), CONFIRM, (), new)
        waiting = [history.trials[number] for number in self._under_way(left)]
        for trial in waiting:
            self.ledger.ask(trial)
        self.dispatch.take(waiting)
        while True:
            if pulse.asked() and not self.dispatch.jobs:
                raise KeyboardInterrupt
            self.dispatch.hand_out()
            self.dispatch.submit()
            if not self.dispatch.jobs:
                break
            self.listener.listen()

    def _describe_out(self, out: set[int], left: Sequence[tuple[int, int]]) -> str:
        """A sentence on the points that get no more seeds."""
        scores, _ = self.race.follow()
        known = {text: entry.number for text, entry in self.searched.entries.items()}
        names: dict[str, list[str]] = {"lost": [], "clearly worse": []}
        for place in sorted(out):
            number = known.get(_text(self.race.confirming.configs[place]))
            why = "lost" if None in scores[place].values() else "clearly worse"
            names[why].append("the control" if number is None else f"point {number}")
        told = [
            f"{' and '.join(each)} {'is' if len(each) == 1 else 'are'} {why}"
            for why, each in names.items()
            if each
        ]
        seeds = min(seed for _, seed in left)
        return f"after {seeds} seeds {', '.join(told)}: no more seeds there"

    # the test part

    def _look(self) -> bool:
        """Look at the test part with the recommended point, where that was never looked at; returns
        whether there was time for it."""
        if not has_test(self.spec):
            return True
        points = summarize(self.searched.records(), self.session.objective)
        confirmation = read_confirmation(self.race, points)
        answer = find_answer(points, self.session.objective, confirmation=confirmation)
        if answer is None or not answer.confirmed:
            return True
        number = answer.recommended.point
        entry = next(each for each in self.searched.entries.values() if each.number == number)
        before = confirmation.tested
        if before is not None:
            if confirmation.tested_point != number:
                self.watcher.note(
                    f"the test part was looked at by point {confirmation.tested_point}, and is not "
                    f"looked at again by point {number}"
                )
            return True
        if self.session.asked.is_over_time():
            return False
        look_at_test(self.session, self.dispatch, entry)
        return True


def describe_race(race: Race) -> str:
    """The points that are measured again, in a sentence."""
    confirming = race.confirming
    points = "the best point" if confirming.finalists == 1 else f"{confirming.finalists} points"
    if confirming.finalists < confirming.top:
        points += f" (of the {confirming.top} asked for no more have a value)"
    control = " and a control" if len(confirming.configs) > confirming.finalists else ""
    few = race.seeds == 1
    seeds = "1 fresh seed" if few else f"up to {race.seeds} fresh seeds"
    own = ("with" if few else "each with") + " a split of its own"
    if len(race.folds) > 1:
        own = own.replace("a split", f"{len(race.folds)} folds")
    return f"confirming {points}{control} on {seeds}{'' if confirming.fixed else f', {own}'}"


def find_point(ledger: Ledger, trial: Trial) -> int | None:
    """The point that a fresh trial measures again, by its number; None of another's."""
    config = trial.config
    if "data" in config:
        own = ledger.spec.data.get("validation_seed")
        config = {**config, "data": {**config["data"], "validation_seed": own}}
    entry = ledger.entries.get(_text(config))
    return None if entry is None else entry.number


# what it would cost


@dataclass(frozen=True)
class Foreseen:
    """The trainings that a race may still take: their number, and the seconds of these, None where
    no training of the run has told."""

    trials: int
    seconds: float | None


def foresee_race(race: Race, *, retry_failed: bool = False) -> Foreseen:
    """The trainings that a race takes at most, if no point leaves it."""
    results, ledger = race.ledger.history.results, race.ledger
    pairs = dict.fromkeys(race.ahead())
    again = set(_failed(race)) if retry_failed else set()
    for point in sorted({point for point, _ in again}):
        pairs |= dict.fromkeys((point, seed) for seed in range(race.seeds))
    trials, seconds = 0, 0.0
    all_seconds = [each.seconds for each in results.values()]
    for point, seed in pairs:
        entry = ledger.entries.get(_text(race.confirming.configs[point]))
        own = [results[number].seconds for number in (entry.trials if entry else ())
               if number in results]  # fmt: skip
        found = [results.get(number or 0) for number in race.numbers(point, seed)]
        missing = found.count(None) + sum(
            each.outcome is Outcome.FAILED for each in found if each and (point, seed) in again
        )
        trials += missing
        if missing:
            seconds += missing * statistics.median(own or all_seconds or [math.nan])
    return Foreseen(trials, seconds if math.isfinite(seconds) else None)


def _failed(race: Race) -> Iterator[tuple[int, int]]:
    """The pairs of which a training has failed."""
    pairs = itertools.product(range(len(race.confirming.configs)), range(race.seeds))
    return (pair for pair in pairs if race.combine(*pair)[0] is Outcome.FAILED)


def describe_test(race: Race) -> str:
    """The lot of the test part, in a sentence."""
    config, ledger = race.confirming.configs[0], race.ledger
    tested = find_look(ledger.history, config, ledger.content)
    if tested is None:
        return "the recommended point then looks at the test part, once: one more training"
    return "the test part was looked at before, and is not looked at again"
