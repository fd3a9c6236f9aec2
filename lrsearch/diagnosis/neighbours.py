"""Neighbours of a trial in its search: trials that differ from it in the learning rate alone, or in
other numbers by next to nothing, and, for the size of a model, the best of other models.

A curve by itself does not tell a rate that is too low from a small budget, nor one that is too high
from a small model. Trials at other rates do. docs/diagnosis.md has the reasons of the limits.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from operator import attrgetter
from typing import Any

from lrsearch.analysis.groups import is_rate, names_rate
from lrsearch.analysis.points import columns, written
from lrsearch.diagnosis.advice import HEALTHY, Witness, advise
from lrsearch.diagnosis.nearby import find_near
from lrsearch.diagnosis.rules import FIFTH
from lrsearch.frozen import alter
from lrsearch.trial import Diagnosis, Outcome, Record

BEHIND = 0.03
"""The share of what a neighbour at a lower rate learned that a trial has to miss for its rate to be
too high. Sound trainings miss less, also at twice the best rate."""

COSTLY = 0.1
"""The share missed from which on seeds alone do not explain the difference. Below it a rate is too
high only if the next higher rates lose as much again; and a swing costs nothing where none of them
does."""

MISSED = 1 / 3
"""The share missed that counts beside a neighbour at a higher rate, or of another model: at half of
the best rate a short training may miss a quarter."""

BEHIND_NEAR = 2 * BEHIND
"""The share missed that counts beside a neighbour whose other numbers are only near: they have a
part in it, too."""

APART = 1.5
"""The least ratio of the rates of two trials that also differ in other numbers, and of a trial at
the edge to the lower one that it gains nothing over. With closer rates it may not be the rate that
matters."""

NEAR, NOISIER = 5.0, 2.0
"""The ratio of rates at which one that learns nothing is near, and how many times a neighbour's
swing a rate swings that is at the edge of it: there whoever is no better than at a lower rate is
too high. No sound training of the first tasks is as near."""

CERTAIN = 0.75
"""Confidence from which on a swing is told where no lower rate ended better, too."""

LOST = ("diverged", "dead", "stagnating")
"""Verdicts that stay whatever neighbours do: the curve has learned nothing."""

TOO_HIGH = ("unstable", "oscillating")
"""Verdicts of rates that are too high."""

SLOW = (HEALTHY, "too_slow", "underfitting")
"""Verdicts that a rate which is too low may have by itself."""

MODEL = "model."
"""The beginning of the names of a model's parameters."""

SCHEDULE = ("schedule", "warmup")
"""The first parts of the names of a schedule's parameters. Models are compared at their best rates,
whatever the schedule."""


@dataclass(slots=True)
class Stand:
    """A trial as its neighbours see it: its `rate`, the parameters of its `model`, its losses at
    the end (or what is in their place), the loss of a model that has learned `nothing`, and how far
    the validation loss swings; nan where that is not known. `verdicts` are those by its own curve;
    `whole` says that it was trained to its end and measured. `params` are its parameters, where its
    neighbours differ in more than the rate; `schedule` are those of its schedule."""

    number: int
    rate: float
    model: Mapping[str, Any] = field(default_factory=dict)
    training: float = math.nan
    validation: float = math.nan
    nothing: float = math.nan
    swing: float = math.nan
    verdicts: tuple[Diagnosis, ...] = ()
    whole: bool = True
    params: Mapping[str, Any] = field(default_factory=dict)
    schedule: Mapping[str, Any] = field(default_factory=dict)
    sound: bool = field(init=False)
    """Whether it ended, and learned something."""
    order: tuple[float, float, int] = field(init=False)
    """Less of the better of two that are sound."""

    def __post_init__(self) -> None:
        # Both are asked for many times of each trial, of which a search may have thousands.
        end = self.validation if math.isfinite(self.validation) else self.training
        lost = not self.verdicts or self.verdicts[0].verdict in LOST
        self.sound = self.whole and math.isfinite(end) and not lost
        self.order = end, self.rate, self.number

    def missed(self, other: Stand | None) -> float:
        """The share of what the other trial learned that this one did not: the smaller of the
        shares by training and by validation loss, since a trial that only knows its training
        samples better has not learned more. -inf where there is nothing to compare."""
        if other is None:
            return -math.inf
        shares = []
        if math.isfinite(self.training) and math.isfinite(other.training):
            shares.append(_share(self.training, other.training, other.nothing))
        if math.isfinite(self.validation) and math.isfinite(other.validation):
            shares.append(_share(self.validation, other.validation, other.nothing))
        return min(shares, default=-math.inf)

    def tells(self, verdict: str) -> bool:
        """Whether its own curve has a verdict."""
        return any(each.verdict == verdict for each in self.verdicts)


def _share(mine: float, its: float, nothing: float) -> float:
    return (mine - its) / (nothing - its) if nothing > its else -math.inf


def compare(records: Sequence[Record]) -> list[Record]:
    """The records, each with the verdicts that remain when its neighbours are looked at; unchanged
    where none of the neighbours has learned anything."""
    companies: dict[Shared, list[Stand]] = {}
    for stand, shared in _stands(records):
        companies.setdefault(shared, []).append(stand)
    models, largest = _find_best_models(companies)
    found: dict[int, tuple[Diagnosis, ...]] = {}
    sizes: dict[int, tuple[Stand | None, Stand]] = {}
    for (model, others, _), company in companies.items():
        own, larger = models.get((model, others)), largest.get(others)
        if larger is None:
            continue
        found |= _judge_company(company)
        for each in company if larger is not own else ():
            sizes[each.number] = own, larger
            before = found.get(each.number, each.verdicts)
            verdicts = _judge_size(each, before, own, larger)
            if verdicts != before:
                found[each.number] = verdicts
    for place, best in _find_near_places(records, companies):
        verdicts = _judge_among(place, best, best)
        if place.own.number in sizes:
            verdicts = _judge_size(place.own, verdicts, *sizes[place.own.number])
        if verdicts != place.own.verdicts:
            found[place.own.number] = verdicts
    return [
        alter(each, result=alter(each.result, verdicts=found[each.trial.number]))
        if each.trial.number in found and each.result
        else each
        for each in records
    ]


def _find_best_models(
    companies: Mapping[Shared, Sequence[Stand]],
) -> tuple[dict[tuple[Any, Any], Stand], dict[Any, Stand]]:
    """The best trial of each model, by whichever schedule, and the best of all models with all else
    alike."""
    models: dict[tuple[Any, Any], Stand] = {}
    largest: dict[Any, Stand] = {}
    for (model, others, _), company in companies.items():
        if best := _best(company, models.get((model, others))):
            models[model, others] = best
            largest[others] = _best((best,), largest.get(others)) or best
    return models, largest


def _judge_company(company: Sequence[Stand]) -> dict[int, tuple[Diagnosis, ...]]:
    """The verdicts, by trial, that change where trials which differ in the rate alone are held
    against each other. Of searches of many numbers most trials have no such neighbour."""
    best = _best(company) if len(company) > 1 else None
    if best is None:
        return {}
    guide = _guide(company, best)
    judged = ((place.own, _judge_among(place, best, guide)) for place in place_among(company))
    return {own.number: found for own, found in judged if found != own.verdicts}


def _find_near_places(
    records: Sequence[Record], companies: Mapping[Shared, Sequence[Stand]]
) -> Iterator[tuple[Place, Stand]]:
    """The places of trials that no other differs from in the rate alone, among those that are near
    in all else, and the best of these."""
    stands = {each.number: each for company in companies.values() for each in company}
    single = {
        each.number
        for company in companies.values()
        if len({each.rate for each in company}) == 1
        for each in company
    }
    if not single:
        return
    import numpy as np

    by_place = [stands.get(each.trial.number) for each in records]
    for stand, record in zip(by_place, records, strict=True):
        if stand is not None:
            stand.params = record.params
    ranked: list[Stand | None] = []
    ranked += sorted((each for each in stands.values() if each.sound), key=attrgetter("order"))
    place_of = {each.number: place for place, each in enumerate(ranked) if each is not None}
    unknown = len(ranked)
    ranked.append(None)
    rank = np.array([place_of.get(each.trial.number, unknown) for each in records])
    rate = np.array([math.nan if each is None else each.rate for each in by_place])
    with np.errstate(over="ignore"):
        above = rate * APART
    for places, others, near in find_near(records, single):
        worth = np.where(near, rank[others], unknown)
        is_lower = above[others] <= rate[places, None]
        is_higher = rate[others] >= above[places, None]
        found = [np.where(each, worth, unknown).min(axis=1) for each in (is_lower, is_higher)]
        best = np.minimum(np.minimum(*found), rank[places])
        ends = zip(places.tolist(), *(each.tolist() for each in (*found, best)), strict=True)
        for place, lower, higher, first in ends:
            own, guide = by_place[place], ranked[first]
            # Where neither is, nothing follows.
            if min(lower, higher) < unknown and own is not None and guide is not None:
                yield Place(own, ranked[lower], ranked[higher], None, near=True), guide


Shared = tuple[Any, Any, Any]
"""Values that neighbours have in common, of all but the rate: the model's, the others, and the
schedule's."""


def _stands(records: Sequence[Record]) -> Iterator[tuple[Stand, Shared]]:
    """The records as their neighbours see them, those with a verdict and one known rate; and what
    neighbours have in common."""
    known = columns(records)
    rates = [own for name, own in known.items() if names_rate(name)]
    models = {name: own for name, own in known.items() if name.startswith(MODEL)}
    schedules = {name: own for name, own in known.items() if name.split(".")[0] in SCHEDULE}
    model, plan = (
        [written(own) for name, own in each.items() if not names_rate(name)]
        for each in (models, schedules)
    )
    others = [
        written(own)
        for name, own in known.items()
        if not names_rate(name) and name not in models and name not in schedules
    ]
    nothing, completed = [()] * len(records), Outcome.COMPLETED
    keys = zip(*model, strict=True) if model else nothing
    rest = zip(*others, strict=True) if others else nothing
    plans = zip(*plan, strict=True) if plan else nothing
    whose = zip(*rates, strict=True) if rates else nothing
    rows = zip(records, whose, keys, rest, plans, strict=True)
    for place, (record, own, key, more, schedule) in enumerate(rows):
        result, trial = record.result, record.trial
        if result is None or not result.verdicts:
            continue
        rate: Any = own[0] if len(own) == 1 else None
        if len(own) > 1 and len(given := [each for each in own if each is not ...]) == 1:
            (rate,) = given
        if not is_rate(rate):
            continue
        sign = result.signs.get
        stand = Stand(
            trial.number,
            float(rate),
            {name: own[place] for name, own in models.items() if own[place] is not ...},
            sign("training", math.nan),
            sign("validation", math.nan),
            sign("nothing", math.nan),
            sign("swing", math.nan),
            result.verdicts,
            result.outcome is completed,
            schedule={name: own[place] for name, own in schedules.items() if own[place] is not ...},
        )
        yield stand, (key, (more, trial.seed, trial.fold), schedule)


def _best(stands: Iterable[Stand], best: Stand | None = None) -> Stand | None:
    """The best sound one of some trials and of `best`."""
    for each in stands:
        if each.sound and (best is None or each.order < best.order):
            best = each
    return best


def _guide(company: Iterable[Stand], best: Stand) -> Stand:
    """The best of a company whose own curve does not say that its rate is too high, where it is as
    good as the best: its rate is safer to go to."""
    steady = _best(each for each in company if not any(map(each.tells, TOO_HIGH)))
    return steady if steady is not None and steady.missed(best) < BEHIND else best


@dataclass(slots=True)
class Place:
    """A trial among those that differ from it in the rate: the best of the lower and of the higher
    rates, and the next higher one that learned nothing, where it is near. `near` says that they
    differ in other numbers, too, which are near."""

    own: Stand
    lower: Stand | None
    higher: Stand | None
    edge: Stand | None
    near: bool = False


def place_among(company: Sequence[Stand]) -> list[Place]:
    """The place of each trial of a company, in one pass through the rates from either end: a search
    may have thousands."""
    rates: dict[float, list[Stand]] = {}
    for each in sorted(company, key=attrgetter("rate", "number")):
        rates.setdefault(each.rate, []).append(each)
    lower: list[Stand | None] = [None]
    for stands in rates.values():
        lower.append(_best(stands, lower[-1]))
    higher: list[Stand | None] = [None]
    lost: list[Stand | None] = [None]
    for stands in reversed(rates.values()):
        higher.append(_best(stands, higher[-1]))
        blind = (each for each in stands if each.verdicts[0].verdict in LOST)
        lost.append(next(blind, lost[-1]))
    found = []
    for place, stands in enumerate(rates.values()):
        above = len(rates) - place - 1
        edge = lost[above]
        for own in stands:
            near = edge if edge is not None and edge.rate <= NEAR * own.rate else None
            found.append(Place(own, lower[place], higher[above], near))
    return found


def _judge_among(place: Place, best: Stand, guide: Stand) -> tuple[Diagnosis, ...]:
    """The verdicts on a trial among those that differ from it in the rate, of which `best` is the
    best, and `guide` the one to go to."""
    own, lower, higher, edge = place.own, place.lower, place.higher, place.edge
    if own.verdicts[0].evidence.get("step") == 0.0:
        return own.verdicts  # It was lost before its first step: no rate has a part in it.
    if own.verdicts[0].verdict in LOST:
        return (_told(own.verdicts[0], own, _witness(own, guide)), *own.verdicts[1:])
    if not own.sound:
        return own.verdicts
    by_lower, by_higher = own.missed(lower), own.missed(higher)
    slow = all(each.verdict in SLOW for each in own.verdicts)
    apart = lower and own.rate >= APART * lower.rate  # Of nearly equal rates none is the higher.
    at_edge = edge and lower and apart and by_lower >= 0 and own.swing >= NOISIER * lower.swing
    behind = BEHIND_NEAR if place.near else BEHIND
    # Beyond a rate that is too high all is worse still: what seeds differ by does not go on.
    goes_on = edge or by_lower >= COSTLY or -by_higher >= by_lower
    if lower and by_lower >= by_higher and ((by_lower >= behind and goes_on) or at_edge):
        beyond = edge.rate if edge else math.nan
        return _too_high(own, lower, _witness(own, lower, missed=by_lower, beyond=beyond))
    if slow and higher and by_higher >= MISSED:
        ahead = guide if guide.rate > own.rate else higher
        return _too_low(own, higher, _witness(own, ahead, missed=own.missed(ahead)))
    # With a model that is too small no rate does better.
    small = own.tells("underfitting") and not best.tells("underfitting")
    if small and slow and higher and best is higher and by_higher > 0:
        return _too_low(own, higher, _witness(own, higher, missed=by_higher))
    free = lower and not edge and by_lower < BEHIND and by_higher > -COSTLY
    return _settled(own, lower, higher or edge, free=bool(free))


def _judge_size(
    own: Stand, found: tuple[Diagnosis, ...], best: Stand | None, larger: Stand
) -> tuple[Diagnosis, ...]:
    """The verdicts `found` on a trial, and whether its model is too small: `best` is the best of
    its model, None where no rate has learned anything, `larger` the best of all models."""
    names = [each.verdict for each in found]
    lost = own.verdicts[0].verdict in LOST and "stagnating" not in names
    if not own.whole or lost or "overfitting" in names:
        return found
    missed, rest = own.missed(larger), best.missed(larger) if best else 1.0
    # One that still falls comes further: as far as by as many steps at the same speed, at most.
    for each in best.verdicts if best else ():
        if each.verdict == "too_slow":
            rest -= each.evidence.get("fall", math.inf) / FIFTH * (1 - rest)
    if missed < MISSED or rest < MISSED * missed:
        return found
    schedule = larger.schedule if larger.schedule != own.schedule else {}
    witness = Witness(larger.number, larger.rate, missed, {**larger.model, **schedule})
    others = [each for each in found if each.verdict not in (HEALTHY, "underfitting")]
    return (*others[:1], _by("underfitting", own, witness, MISSED))


def _witness(own: Stand, other: Stand, **more: Any) -> Witness:
    """Another trial as an advice names it, with the parameters of both."""
    return Witness(other.number, other.rate, params=(own.params, other.params), **more)


def _too_high(own: Stand, other: Stand, witness: Witness) -> tuple[Diagnosis, ...]:
    """A rate at which less is learned than at a lower one, of both losses."""
    high = [_told(each, own, witness) for each in own.verdicts if each.verdict in TOO_HIGH]
    # Without a swing of its own among the evidence, words for users say "rate too high".
    return tuple([*(high or [_by("oscillating", own, witness, BEHIND)]), *_kept(own, other)][:2])


def _too_low(own: Stand, other: Stand, witness: Witness) -> tuple[Diagnosis, ...]:
    """A rate at which less is learned than at a higher one by the same budget."""
    return tuple([_by("too_slow", own, witness, MISSED), *_kept(own, other)][:2])


def _kept(own: Stand, other: Stand) -> list[Diagnosis]:
    """The verdicts that a better rate leaves: a loss that stays high there, too, is no matter of
    the rate."""
    stay = {"overfitting"} | ({"underfitting"} if other.tells("underfitting") else set())
    return [each for each in own.verdicts if each.verdict in stay]


def _settled(
    own: Stand, lower: Stand | None, higher: Stand | None, *, free: bool
) -> tuple[Diagnosis, ...]:
    """The verdicts on a rate that no other rate is better than. Swings that cost nothing (it is
    `free` of costs) are no verdict. The other rates are not worth trying; among the `higher` ones
    there may be a rate at which nothing is learned."""
    kept = []
    for each in own.verdicts:
        if each.verdict == "oscillating" and free:
            continue
        if each.verdict in TOO_HIGH and lower and own.order < lower.order:
            if each.verdict == "oscillating" and each.confidence < CERTAIN:
                continue
            each = _told(each, own, _witness(own, lower, better=False))
        if each.verdict == "too_slow" and higher and (own.order < higher.order or not higher.sound):
            each = _told(each, own, _witness(own, higher, better=False))
        kept.append(each)
    if kept or lower is None:
        return tuple(kept)
    return (_by(HEALTHY, own, _witness(own, lower, better=False), 1.0),)


class _Told(Diagnosis):
    """A diagnosis whose evidence and advice name a neighbour, too: they are worked out where they
    are asked for, which is for few of thousands of trials."""

    told: tuple[Mapping[str, float], float, Witness]

    def __init__(
        self, verdict: str, confidence: float, known: Mapping[str, float], rate: float, by: Witness
    ) -> None:
        vars(self).update(verdict=verdict, confidence=confidence, told=(known, rate, by))

    @cached_property
    def evidence(self) -> Mapping[str, float]:
        known, _, witness = self.told
        return {**known, **witness.evidence}

    @cached_property
    def advice(self) -> str:
        _, rate, witness = self.told
        return advise(self.verdict, self.evidence, rate, witness)


def _told(found: Diagnosis, own: Stand, witness: Witness) -> Diagnosis:
    """A diagnosis whose evidence and advice name a neighbour, too."""
    return _Told(found.verdict, found.confidence, found.evidence, own.rate, witness)


def _by(verdict: str, own: Stand, witness: Witness, limit: float) -> Diagnosis:
    """A diagnosis by a neighbour; of a verdict that the trial's own curve has, too, the confidence
    of whichever is surer, and the evidence of both."""
    before = next((each for each in own.verdicts if each.verdict == verdict), None)
    margin = witness.missed / limit if math.isfinite(witness.missed) else 1.0
    confidence = max(round(1 - 0.5 / max(1.0, margin), 3), before.confidence if before else 0.0)
    known = (before.evidence if before else None) or {"limit": limit}
    return _Told(verdict, confidence, known, own.rate, witness)
