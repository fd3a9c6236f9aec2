"""The race of a confirmation, as the journal tells it: which points are measured again, with which
seeds, what came of it so far, and what it may still take. `confirming` has it run.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from lrsearch.analysis.answer import find_answer
from lrsearch.analysis.confirmation import Confirmation, Finalist, choose_finalists, find_beyond
from lrsearch.analysis.groups import find_rate
from lrsearch.analysis.points import PointSummary, summarize
from lrsearch.analysis.points import best as find_best
from lrsearch.analysis.race import Scores, judge, next_round, repeats
from lrsearch.errors import UsageError
from lrsearch.space import Choice, Dimension, Space, encode, parameters
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
    WORST_FIRST,
    Config,
    Confirming,
    Outcome,
    Point,
    Trial,
    combine,
)
from lrsearch.tuner.ledger import Entry, Ledger
from lrsearch.tuner.testing import find_look

SEEDS = 1000
"""The least fresh seed; the first free thousand of seeds from there on is taken."""


# what is measured again


def plan(spec: Spec, ledger: Ledger, settings: ConfirmSettings) -> Confirming:
    """The points to measure again: those of the latest confirmation while the search has measured
    nothing since, so that the same command goes on, whatever interrupted it, and those that join
    it by what it has measured. Raises UsageError where no point has a value."""
    digest = _digest(ledger)
    latest = _latest(ledger)
    seeds = _fresh_seeds(spec, ledger, settings.seeds)
    if latest is not None and (latest.search, latest.top) == (digest, settings.top):
        known, found = None, replace(latest, seeds=seeds)
        while found != known:
            known, found = found, _widen(make_race(found, spec, ledger))
        return found
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
        texts = list(map(text_of, configs))
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
        outward=settings.top > 1,
    )


def _widen(race: Race) -> Confirming:
    """The points of a race, and where it is over, seeds matter, and its best lies at the rates' end
    the one that joins them, as long as these are not twice as many as were asked for."""
    confirming, ledger = race.confirming, race.ledger
    many, top = confirming.finalists, confirming.top
    if not confirming.outward or many >= 2 * top:
        return confirming
    points = {point.point: point for point in summarize(ledger.records(), ledger.objective)}
    found = read_confirmation(race, list(points.values()))
    if not found.over or found.winner is None or found.seedless:
        return confirming
    # A training that failed says nothing of its rate: it may be trained again.
    sound = (each for each in found.finalists if each.outcome != Outcome.FAILED)
    raced = [(points[n], each.scores) for each in sound if (n := each.point) is not None]
    joining = find_beyond(list(points.values()), ledger.objective, raced)
    if joining is None:
        return confirming
    entry = next(each for each in ledger.entries.values() if each.number == joining.point)
    configs, values = list(confirming.configs), list(confirming.values)
    # Before a control that is none of the points.
    configs.insert(many, entry.config)
    values.insert(many, joining.objective)
    control = confirming.control
    return replace(
        confirming,
        configs=tuple(configs),
        values=tuple(values),
        finalists=many + 1,
        control=control + 1 if control is not None and control >= many else control,
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


def text_of(config: Config) -> str:
    """The text that tells a config of a point from others."""
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
    return all(text_of(config) in ledger.entries for config in configs)


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
    a training, else the first proposal of the run that was trained to its end; of a grid, which
    begins in a corner, the one nearest to its middle."""
    config = fixed_config(spec, ledger.content.task)
    if config is not None:
        return ledger.find(config)
    first = ""
    found: list[tuple[float, Entry]] = []
    for proposal in ledger.history.proposals:
        entry = ledger.entry_of.get(proposal.trials[0])
        if entry is None or ledger.judge(entry)[1] is None:
            continue
        first = first or proposal.strategy
        if first != "grid":
            return entry
        if proposal.strategy == first:
            found.append((_off_middle(spec.space, proposal.point), entry))
    return min(found, key=lambda each: each[0])[1] if found else None


def _off_middle(space: Space, point: Point) -> float:
    """The distance of a point from the middle of a grid, in shares of its sides; of options that
    are no numbers the first counts as the middle."""
    numbers = encode(space, point)
    if numbers is None:
        return math.inf
    return math.fsum(
        (_share(dimension, numbers[name]) - 0.5) ** 2
        for name, dimension in parameters(space)
        if name in numbers
    )


def _share(dimension: Dimension, number: float) -> float:
    """The place of a raw number within its dimension, from 0 to 1."""
    if isinstance(dimension, Choice):
        if not dimension.ordered:
            return 0.5 if number == 0 else 1.0
        values = dimension.values
        places = sorted(values)
        return places.index(values[int(number)]) / max(len(places) - 1, 1)
    low, high = float(dimension.low), float(dimension.high)
    if low == high:
        return 0.5
    if dimension.log:
        low, high, number = math.log(low), math.log(high), math.log(number)
    return (number - low) / (high - low)


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
                point=numbers.get(text_of(config)),
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
    ended = list(ended_trials(race))
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
        tested_point=None if tested is None else numbers.get(text_of(tested.config)),
    )


def _worst(race: Race, place: int, scores: Mapping[int, float | None]) -> str:
    """The worst outcome of a point's fresh trainings, in words."""
    found = {race.combine(place, seed)[0] for seed in scores}
    worst = next(outcome for outcome in WORST_FIRST if outcome in found)
    return "no value" if worst is Outcome.COMPLETED else worst.words


def ended_trials(race: Race) -> Iterator[int]:
    """The trials of a race that have ended."""
    results = race.ledger.history.results
    for place in range(len(race.confirming.configs)):
        for seed in range(race.seeds):
            for number in race.numbers(place, seed):
                if number in results:
                    yield number


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


def describe_joining(race: Race) -> str:
    """The points that may join a race, in a sentence; "" where there can be none."""
    confirming, ledger = race.confirming, race.ledger
    points = summarize(ledger.records(), ledger.objective)
    many = min(2 * confirming.top, sum(point.objective is not None for point in points))
    many -= confirming.finalists
    if not confirming.outward or many < 1 or find_rate(points) is None:
        return ""
    joins = "1 point more joins" if many == 1 else f"{many} points more join"
    return f"up to {joins}, where the best of these is an outermost one along the rate"


def find_point(ledger: Ledger, trial: Trial) -> int | None:
    """The point that a fresh trial measures again, by its number; None of another's."""
    config = trial.config
    if "data" in config:
        own = ledger.spec.data.get("validation_seed")
        config = {**config, "data": {**config["data"], "validation_seed": own}}
    entry = ledger.entries.get(text_of(config))
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
        entry = ledger.entries.get(text_of(race.confirming.configs[point]))
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
