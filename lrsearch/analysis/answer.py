"""The answer of a run: which point to use, what it is worth, and how sure that is."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, cast

from lrsearch.analysis.basin import Basin, find_basins
from lrsearch.analysis.confirmation import Confirmation, Finalist, bound_rates
from lrsearch.analysis.decimals import decimals_among
from lrsearch.analysis.edges import Edge, Range, find_edges, find_untrained
from lrsearch.analysis.groups import agrees, find_batch_size, find_rate, is_rate
from lrsearch.analysis.importance import Level, Share, find_importance, isolate
from lrsearch.analysis.law import Law, find_law
from lrsearch.analysis.lengths import NAME, Lengths, epochs_of, find_lengths
from lrsearch.analysis.points import PointSummary, clip, find_ends, rank, same, set_apart
from lrsearch.analysis.tied import POOLED, close, mean_interval, pool_noise, ties
from lrsearch.trial import Objective, Outcome

FINE = 0.1
"""Decades from trouble below which one point is no farther than another."""

DEARER = 1.5
"""The factor from which on one training costs more than another: times are no exact thing."""


SHORT = 1.0
"""Seconds of a training below which one is as cheap as another: such times are noise."""


@dataclass(frozen=True)
class Answer:
    """The answer of a run. `recommended` and `highest` (the best value) differ where points are
    tied: `why` says what decided. `value` is the recommended point's, `interval` that of 95 % of
    what it is worth: by its curve (`curved`), else by its seeds, None where there is neither.
    `tied` are the numbers of all points that cannot be told from the best, without the recommended
    one. `basins` come best first, `basin` is the recommended point's. `edges` are the ranges at
    whose ends the best lies (the highest; where it is confirmed the recommended one), `untrained`
    sentences on rates that were not trained, and among which the best may be.
    """

    recommended: PointSummary
    highest: PointSummary
    why: str
    value: float
    interval: tuple[float, float] | None
    curved: bool
    tied: tuple[int, ...]
    basins: tuple[Basin, ...]
    basin: Basin | None
    edges: tuple[Edge, ...]
    law: Law | None
    points: Sequence[PointSummary] = field(repr=False)
    """The points that it is the answer of."""
    objective: Objective = field(repr=False)
    steady: bool
    """Whether every point came to the same value."""
    lengths: Lengths | None = None
    """The best of each budget, where several were searched."""
    confirmation: Confirmation | None = None
    """Fresh measurements, which value, interval and ties are of where they hold."""
    untrained: tuple[str, ...] = ()
    split: bool = False
    """Whether all that was measured is known to be of one split of the data."""

    @cached_property
    def importance(self) -> tuple[Share, ...]:
        """The share of each parameter in the objective's variation, largest first."""
        return tuple(find_importance(set_apart(self.points), self.objective))

    @cached_property
    def levels(self) -> Mapping[str, Sequence[Level]]:
        """The best of each value of each parameter that has few."""
        return isolate(self.points, self.objective)

    @cached_property
    def decimals(self) -> int | None:
        """The decimals that the run's values are shown with, None where fixed ones do not suit
        them."""
        again = () if self.confirmation is None else self.confirmation.finalists
        fresh = [[v for v in each.scores.values() if v is not None] for each in again]
        return decimals_among(
            self.value,
            [each for point in self.points if (each := point.objective) is not None]
            + [each.mean for each in again if each.mean is not None],
            [point.spread for point in self.points if point.spread is not None]
            + [statistics.stdev(own) for own in fresh if len(own) > 1],
        )

    @property
    def confirmed(self) -> bool:
        """Whether the answer rests on fresh measurements."""
        return self.confirmation is not None and self.confirmation.holds

    @property
    def seedless(self) -> bool:
        """Whether it rests on fresh measurements in which no seed made a difference: of these
        nothing follows on other seeds."""
        return self.confirmation is not None and self.confirmed and self.confirmation.seedless

    @property
    def sure(self) -> bool:
        """Whether fresh measurements confirm it: more than one, whose seeds made a difference."""
        return self.confirmed and self.seeds > 1 and not self.seedless

    @property
    def finalist(self) -> Finalist | None:
        """The recommended point as it was measured again, None where it is not confirmed."""
        if self.confirmation is None or not self.confirmed:
            return None
        own = self.recommended.point
        return next(each for each in self.confirmation.finalists if each.point == own)

    @property
    def measured(self) -> PointSummary:
        """The recommended point with the measurements that the value is the mean of."""
        own = self.finalist
        return self.recommended if own is None else _measured_again(self.recommended, own)

    @property
    def spread(self) -> float | None:
        """The sample standard deviation of what the value is the mean of, None of one."""
        return self.measured.spread

    @property
    def seeds(self) -> int:
        """Seeds that the value is the mean of."""
        return self.finalist.seeds if self.finalist is not None else self.recommended.seeds


def find_answer(
    points: Sequence[PointSummary],
    objective: Objective,
    ranges: Sequence[Range] = (),
    confirmation: Confirmation | None = None,
) -> Answer | None:
    """The answer of summarized points, None where none has a value. `ranges` are the searched ones,
    at whose ends it may lie."""
    ordered = rank(points, objective)
    # By their order curves are drawn: in another one the same points would give another answer.
    points = points if same(points, ordered) else ordered
    ranked = [point for point in ordered if point.objective is not None]
    if not ranked:
        return None
    highest = ranked[0]
    values = {point.objective for point in ranked}
    basins = find_basins(set_apart(points), objective)
    rate, batch_size = find_rate(points), find_batch_size(points)
    group = [highest, *ties(points, objective)]
    limits = find_ends(objective, [one for one in values if one is not None])
    recommended, why = _recommend([highest, *close(points, objective)], basins, rate)
    value = recommended.objective
    assert value is not None
    basin = _basin_of(recommended, basins)
    interval, curved = _worth(recommended, basin, ranked, limits)

    def choose(own: Sequence[PointSummary]) -> tuple[PointSummary, tuple[float, float] | None]:
        first = rank(own, objective)[0]
        chosen, _ = _recommend([first, *close(own, objective)], basins, rate)
        return chosen, _worth(chosen, _basin_of(chosen, basins), ranked, limits)[0]

    lengths = find_lengths(
        points,
        [point.point for point in group],
        lambda point: _basin_of(point, basins),
        rate,
        choose,
    )
    found = Answer(
        recommended=recommended,
        highest=highest,
        why=why,
        value=value,
        interval=interval,
        curved=curved,
        tied=tuple(sorted(point.point for point in group if point is not recommended)),
        basins=tuple(basins),
        basin=basin,
        edges=(),
        law=find_law(basins, batch_size, recommended.params),
        points=points,
        objective=objective,
        steady=len(values) == 1 and len(ranked) > 1,
        lengths=lengths,
        confirmation=confirmation,
    )
    if found.steady:  # Nothing says that the best lies anywhere.
        ranges = ()
    if confirmation is None or not found.confirmed:
        return _look_beyond(found, highest, ranges)
    found = rest_on(found, points, objective, confirmation)
    # Of what holds, not of what was the luckiest of the search.
    return _look_beyond(found, found.recommended, ranges)


def _look_beyond(answer: Answer, point: PointSummary, ranges: Sequence[Range]) -> Answer:
    """The answer with the ranges at whose ends a point lies."""
    searched = [part for part in ranges if _matters(part.name, point, answer.points)]
    curve = _basin_of(point, answer.basins)
    edges = [
        edge
        for edge in find_edges(point.params, searched, curve)
        if (curve is not None and edge.name == curve.rate)
        or not _is_rivalled(edge.name, point, answer)
    ]
    return replace(
        answer,
        edges=tuple(edges),
        untrained=tuple(find_untrained(searched, curve)) if curve is not None else (),
    )


def _matters(name: str, winner: PointSummary, points: Sequence[PointSummary]) -> bool:
    """Whether another value of a parameter was measured, and gave another result: where a parameter
    makes no difference, or was not varied yet, its best value at an end means nothing."""
    others = (
        point.objective
        for point in points
        if point.done and point.params.get(name) not in (None, winner.params.get(name))
    )
    return any(value != winner.objective for value in others)


def _is_rivalled(name: str, best: PointSummary, answer: Answer) -> bool:
    """Whether another value of a parameter cannot be told from the best point's: that of a tied
    point, or of a curve whose band reaches the best curve of its value. Of two values the better
    one always lies at an end, which alone says nothing of what lies beyond."""

    def is_other(params: Mapping[str, Any]) -> bool:
        return name in params and params[name] != best.params[name]

    group = {*answer.tied, answer.recommended.point, answer.highest.point}
    if any(point.point in group and is_other(point.params) for point in answer.points):
        return True
    again = answer.confirmation.finalists if answer.confirmation and answer.confirmed else ()
    if any(is_other(each.params) for each in again):
        return False
    curves = [basin for basin in answer.basins if name in basin.params]
    own = [basin.value for basin in curves if not is_other(basin.params)]
    reached = [basin.interval for basin in curves if is_other(basin.params)]
    if not own or not reached:
        return False
    if answer.objective.goal == "max":
        return max(high for _, high in reached) >= max(own)
    return min(low for low, _ in reached) <= min(own)


def rest_on(
    answer: Answer,
    points: Sequence[PointSummary],
    objective: Objective,
    confirmation: Confirmation,
) -> Answer:
    """The answer with what fresh measurements say in place of the search's: of the points that tie
    with the best mean, those within one standard error of it are as good a choice."""
    numbers = {point.point: point for point in points}
    winner = confirmation.winner
    again = {
        each.point: _measured_again(numbers[each.point], each)
        for each in confirmation.finalists
        if each.point in numbers and each.mean is not None and (each.tied or each is winner)
    }
    highest = rank(again.values(), objective)[0]
    near = close(again.values(), objective)
    rate, batch_size = find_rate(points), find_batch_size(points)
    basins = answer.basins
    if winner is not None and winner.seeds > 1 and not confirmation.seedless:
        others = {each.point: each.outcome for each in confirmation.finalists}
        worse = [numbers[each] for each in others if each in numbers.keys() - again.keys()]
        lost = {each for each, outcome in others.items() if outcome == Outcome.DIVERGED}
        basins = tuple(bound_rates(basin, [highest, *near], worse, lost) for basin in basins)
    chosen, why = _recommend([highest, *near], basins, rate)
    value = chosen.objective
    assert value is not None
    recommended = numbers[chosen.point]
    own = next(each for each in confirmation.finalists if each.point == chosen.point)
    return replace(
        answer,
        recommended=recommended,
        highest=numbers[highest.point],
        why=why,
        value=value,
        interval=own.interval,
        curved=False,
        tied=tuple(sorted(again.keys() - {chosen.point})),
        basins=basins,
        basin=_basin_of(recommended, basins),
        law=find_law(answer.basins, batch_size, recommended.params),
        steady=confirmation.steady,
    )


def _worth(
    point: PointSummary,
    basin: Basin | None,
    ranked: Sequence[PointSummary],
    limits: tuple[float, float],
) -> tuple[tuple[float, float] | None, bool]:
    """The interval of 95 % of what a point is worth, and whether its curve tells it. A curve whose
    points differ in more than the rate is one of averages: a point is worth what it says where all
    that parts them is noise, what was measured where nothing is, else what lies between."""
    rate = point.params.get(basin.rate) if basin is not None else None
    if basin is not None and is_rate(rate):
        ends = list(basin.at(cast(float, rate))[1:])
        own = [each for each in ranked if agrees(each.params, basin.params)]
        if any({**each.params, basin.rate: rate} != point.params for each in own):
            alike = [each for each in own if each.scores.keys() == point.scores.keys()]
            noise = pool_noise(alike[:POOLED]) if len(point.scores) > 1 else None
            ends += mean_interval(point, noise) or [cast(float, point.objective)]
        low, high = (clip(end, limits) for end in (min(ends), max(ends)))
        return ((low, high) if low < high else None), True  # Else the metric's end is all of it.
    interval = mean_interval(point)
    if interval is None:
        return None, False
    return (clip(interval[0], limits), clip(interval[1], limits)), False


def _measured_again(point: PointSummary, finalist: Finalist) -> PointSummary:
    """The point with its fresh measurements alone."""
    known = {seed: value for seed, value in finalist.scores.items() if value is not None}
    return replace(
        point,
        objective=finalist.mean,
        spread=statistics.stdev(known.values()) if len(known) > 1 else None,
        seeds=len(known),
        folds=0,
        scores={(seed, None): value for seed, value in known.items()},
    )


def _basin_of(point: PointSummary, basins: Sequence[Basin]) -> Basin | None:
    """The basin that a point was read for."""
    for basin in basins:
        if agrees(point.params, basin.params):
            return basin
    return None


def _recommend(
    group: Sequence[PointSummary], basins: Sequence[Basin], rate: str | None
) -> tuple[PointSummary, str]:
    """The recommended one of points within one standard error, best first: the one farthest from
    trouble, then the cheapest, of several budgets the shortest, then the simplest; and the reason,
    "" where it is the first."""
    kept = list(group)
    reason = ""
    rooms = {point.point: _room(point, basins, rate) for point in kept}
    costs = {number: -cost for number, cost in _costs(kept).items()}
    # Times of short trainings are noise, and their budgets are not.
    apart = len({repr(point.params.get(NAME)) for point in kept}) > 1
    shortest = {point.point: -round(epochs_of(point), 3) if apart else 0.0 for point in kept}
    for words, worth in (
        ("it lies farthest from where the objective gets worse", rooms.__getitem__),
        (
            "it is the cheapest to train",
            costs.__getitem__,
        ),
        ("its budget is the shortest", shortest.__getitem__),
        ("its schedule is the simplest", {p.point: -_parts(p) for p in kept}.__getitem__),
    ):
        most = max(worth(point.point) for point in kept)
        left = [point for point in kept if worth(point.point) >= most - 1e-9]
        if kept[0] not in left:
            reason = reason or words
        kept = left
    return kept[0], reason if kept[0] is not group[0] else ""


def _room(point: PointSummary, basins: Sequence[Basin], rate: str | None) -> float:
    """Decades from a point's rate to the nearer end of the good rates, and to divergence, in steps
    of `FINE`; 0 where nothing is known."""
    basin = _basin_of(point, basins)
    if basin is None or rate is None or not is_rate(point.params.get(rate)):
        return 0.0
    own = float(point.params[rate])
    low, high = basin.safe_lr
    nearest = min(math.log10(own / low), math.log10(high / own))
    if basin.fails_at is not None:
        nearest = min(nearest, math.log10(basin.fails_at / own))
    return max(0.0, FINE * math.floor(nearest / FINE + 1e-9))


def _costs(points: Sequence[PointSummary]) -> dict[int, int]:
    """The cost of each point's training, in steps of the factor `DEARER`. Points that differ in
    broken numbers alone, as rates are, do the same work: what their times differ by is noise."""
    groups: dict[str, list[PointSummary]] = {}
    for point in points:
        whole = {name: each for name, each in point.params.items() if not isinstance(each, float)}
        groups.setdefault(repr(sorted(whole.items())), []).append(point)
    found: dict[int, int] = {}
    for alike in groups.values():
        seconds = statistics.median(point.seconds / max(1, point.done) for point in alike)
        cost = math.floor(math.log(max(seconds, SHORT)) / math.log(DEARER))
        found |= {point.point: cost for point in alike}
    return found


def _parts(point: PointSummary) -> int:
    """The number of values that a point's schedule has besides a constant rate."""
    named = [name for name in point.params if name.split(".")[0] in ("schedule", "warmup")]
    return len(named) - (point.params.get("schedule") == "constant")
