"""The objective through the learning rate: where its best lies, how wide the good rates reach, and
where divergence begins. docs/answer.md has the rules and their sources."""

from __future__ import annotations

import bisect
import functools
import math
import statistics
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lrsearch.analysis.gauge import LARGEST, Gauge, bound, make_gauge
from lrsearch.analysis.groups import Group, find_rate, group, is_rate
from lrsearch.analysis.points import PointSummary, clip, columns
from lrsearch.frozen import frozen
from lrsearch.trial import Objective, Outcome

if TYPE_CHECKING:
    from lrsearch.analysis.curve import Array, Family

ENOUGH = 4
"""The fewest rates that a curve needs; one of them may lack a completed trial."""

WORSE = 1.0
"""The distance of a diverged point below the worst value, in units of `Gauge`."""

TAIL = 0.025
"""The share of drawn curves left out at each end of an interval of 95 %."""

PERCENT = 0.01
"""The share of the best value below which a loss of quality does not matter. It does not apply to
values below 0, whose 0 has no meaning."""

CLEAR = 4.0
"""Deviations of noise from which on a measured value is clearly worse than the best one, which is
the luckiest of several."""

UNSURE = 0.5
"""The same where noise is not known, as a share of the gap from the best to the median."""

BENDS = 3
"""Second differences that tell noise, at least."""

AROUND = 1.0
"""Decades to each side of the best that the sensitivity is taken over."""

SPLIT_SHIFT, SEED_SHIFT = 0.23, 0.12
"""Decades by which the best rate of one split of the data, and of one seed, lies off that of all of
them: standard deviations, which no reading of that split and seed shows. Set on measured tables."""


PLAIN = 0.06
"""The probability that the rate makes no difference from which on that is said: half as much again
as before any reading, since few readings say little against it."""


@frozen
class Basin:
    """The objective through the rate (the parameter `rate`), for points that have `params` in
    common.

    `readings` are the measured (rate, objective), None for one that diverged or learned nothing;
    `rates` with `middle`, `low` and `high` are the curve and its band of 95 %. `best` is the
    curve's best rate of those between the outermost at which its own points trained, `value` and
    `interval` the curve there, `best_lr` the interval of 95 % of the best rate wherever it was
    looked for, `at_ends` the shares of it on the lowest and the highest rate measured.
    `within_error` are the rates whose value is within one standard error of the best's,
    `within_percent` those that lose less than a hundredth of it, `safe_lr` the wider of the two,
    `decades` how wide that is. `diverges_at` is the lowest rate above the search's best one that
    diverged, beyond which fresh seeds may put the best,
    `idle_at` a lower one, above those that do as well, that learned nothing. `sensitivity`
    is the mean loss against the best over the decade to each side of it, as far as it was
    measured.
    """

    rate: str
    params: Mapping[str, Any]
    readings: tuple[tuple[float, float | None], ...]
    rates: tuple[float, ...]
    middle: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    best: float
    value: float
    interval: tuple[float, float]
    best_lr: tuple[float, float]
    at_ends: tuple[float, float]
    within_error: tuple[float, float]
    within_percent: tuple[float, float]
    diverges_at: float | None
    idle_at: float | None
    sensitivity: float
    spread: float
    """The standard deviation of the best rate's common logarithm."""
    flat: float
    """The probability that the rate makes no difference, and all that parts the readings of the
    run's curves is noise."""

    @property
    def safe_lr(self) -> tuple[float, float]:
        """The wider of `within_error` and `within_percent`."""
        return max(self.within_error, self.within_percent, key=lambda ends: ends[1] / ends[0])

    @property
    def close(self) -> bool:
        """Whether `safe_lr` are rates of which some are worse beyond the error, by less than a
        hundredth of the best value."""
        return self.safe_lr != self.within_error

    @property
    def reached(self) -> tuple[bool, bool]:
        """Whether `safe_lr` ends at the lowest and at the highest rate measured: what lies beyond
        may do as well."""
        low, high = self.safe_lr
        return low <= self.readings[0][0], high >= self.readings[-1][0]

    @property
    def open(self) -> tuple[bool, bool]:
        """Whether the interval of the best rate reaches the lowest and the highest rate."""
        return self.at_ends[0] > TAIL, self.at_ends[1] > TAIL

    @property
    def plain(self) -> bool:
        """Whether the rate may make no difference, which is then said."""
        return self.flat >= PLAIN

    @property
    def decades(self) -> float:
        """The width of `safe_lr`, as a logarithm to base 10."""
        low, high = self.safe_lr
        return math.log10(high / low)

    @property
    def fails_at(self) -> float | None:
        """The lowest rate above the best one that diverged or learned nothing."""
        return self.diverges_at if self.idle_at is None else self.idle_at

    @property
    def margin(self) -> float | None:
        """The factor from the best rate to divergence, None where nothing above it diverged."""
        rate = self.diverges_at
        return None if rate is None or rate < self.best else rate / self.best

    @property
    def beside(self) -> bool:
        """Whether `safe_lr` ends so near to a rate that failed that on another split it may fail,
        too."""
        return self.bound is not None and self.bound < self.safe_lr[1] * 10 ** (SPLIT_SHIFT - 1e-9)

    def begins(self, rate: float) -> bool:
        """Whether trainings fail from a rate on: above those that do as well, where more failed
        from it on than trained (`idle_at` is such a rate)."""
        above = [value for each, value in self.readings if each >= rate]
        most = rate == self.idle_at or 2 * above.count(None) > len(above)
        return most and rate > self.safe_lr[1]

    @property
    def bound(self) -> float | None:
        """The rate from which on trainings fail, None where there is none or it is no bound."""
        rate = self.fails_at
        return rate if rate is not None and self.begins(rate) else None

    def at(self, rate: float) -> tuple[float, float, float]:
        """The curve at a rate and both ends of its band. Beside a cliff that at the nearest place
        would be off by as much as the noise."""
        place = min(max(bisect.bisect_left(self.rates, rate), 1), len(self.rates) - 1)
        left, right = map(math.log, self.rates[place - 1 : place + 1])
        part = clip((math.log(rate) - left) / (right - left), (0.0, 1.0))
        columns = (own[place - 1 : place + 1] for own in (self.middle, self.low, self.high))
        middle, low, high = ((1 - part) * first + part * last for first, last in columns)
        return middle, low, high


@frozen
class Fit:
    """Curves of the objective through the parameter `rate`, on the scale of `gauge`: one of the
    `family` for each of the `groups`, over the decades of its `domains`."""

    rate: str
    gauge: Gauge
    groups: tuple[Group, ...]
    domains: tuple[tuple[float, float], ...]
    family: Family


def fit(
    points: Sequence[PointSummary], objective: Objective, rate: str | None = None
) -> Fit | None:
    """Fit a curve to each group of points with enough rates (by default the learning rate), None
    where there is no such group, or the objective does not vary."""
    gauge, rate = make_gauge(points, objective), rate or find_rate(points)
    if gauge is None or rate is None:
        return None
    groups = []
    for shared, own in group(points, rate):
        measured = [point for point in own if point.objective is not None]
        usable = measured + [point for point in own if point.fails]
        sound = [point for point in measured if not _is_lost(point, gauge)]
        if has_values(usable, rate, ENOUGH) and has_values(sound, rate, ENOUGH - 1):
            groups.append((shared, usable))
    if not groups:
        return None
    from lrsearch.analysis.curve import Family, gather, weigh

    known = [point.objective for point in points if point.objective is not None]
    optimizers = [own[0].params.get("optimizer") for _, own in groups]
    apart = {repr(each): each for each in optimizers}
    reach = {name: _domain(each, points, rate) for name, each in apart.items()}
    repeats = statistics.fmean(len(p.scores) for _, own in groups for p in own if p.scores)

    def join(gauge: Gauge) -> Family:
        lost = gauge.worst(known) + WORSE
        readings = [
            gather(
                _read(own, rate, gauge, lost),
                lost,
                [math.log10(p.params[rate]) for p in own if _stood_still(p)],
            )
            for _, own in groups
        ]
        return Family(weigh(readings), repeats, gauge.middle)

    family, finer = join(gauge), gauge.make_finer()
    if finer is not None:
        other = join(finer)
        scores = [p.scores.values() for _, own in groups for p in own if not _is_lost(p, gauge)]
        values = [each for own in scores for each in own]
        gain = other.likelihood - finer.stretch(values)
        if gain > family.likelihood - gauge.stretch(values):
            family, gauge = other, finer
    domains = tuple(reach[repr(each)] for each in optimizers)
    return Fit(rate, gauge, tuple(groups), domains, family)


def has_values(points: Sequence[PointSummary], name: str, least: int) -> bool:
    """Whether points have so many different values of a parameter that all of them have."""
    # Of thousands a few show it nearly always.
    parts = points[: 4 * least], points
    return any(len({point.params[name] for point in part}) >= least for part in parts)


def find_basins(points: Sequence[PointSummary], objective: Objective) -> list[Basin]:
    """A basin for each group of points with enough rates, that of the best value first. Empty
    where no rate was searched, or the objective does not vary."""
    fitted = fit(points, objective)
    if fitted is None:
        return []
    basins = [
        _describe(fitted.family, index, shared, own, (fitted.rate, fitted.gauge, domain))
        for index, ((shared, own), domain) in enumerate(
            zip(fitted.groups, fitted.domains, strict=True)
        )
    ]
    return sorted(basins, key=lambda basin: fitted.gauge.measure(basin.value))


def _read(
    points: Sequence[PointSummary], rate: str, gauge: Gauge, lost: float
) -> list[tuple[float, float]]:
    """(log10 of the rate, place on the gauge) of every trial, what a seed or fold does to all
    points taken out."""
    effects = _find_effects(points, gauge) if any(len(p.scores) > 1 for p in points) else {}
    found = []
    for point in points:
        place = math.log10(point.params[rate])
        if _is_lost(point, gauge):
            if not _stood_still(point):
                found.append((place, lost))  # Once: that is how it counts, and no noise.
            continue
        own = [value - effects.get(key, 0.0) for key, value in point.scores.items()]
        found += [(place, each) for each in _places(own, gauge)]
    return found


def _places(values: Sequence[float], gauge: Gauge) -> list[float]:
    """The places of a point's values on the gauge, moved so that their mean is the place of their
    mean: the scale bends, and they would be nearer to the best by themselves."""
    places = list(map(gauge.measure, values))
    if len(places) < 2:  # As in most runs.
        return places
    mean = statistics.fmean(map(bound, values))
    off = gauge.measure(mean) - statistics.fmean(places)
    return [place + off for place in places]


def _find_effects(points: Sequence[PointSummary], gauge: Gauge) -> dict[Any, float]:
    """The effect of each seed and fold that most points have: what it adds to the metric of the
    better half, the median; bad points are noisier."""
    measured = [point for point in points if point.objective is not None]
    measured.sort(key=lambda point: -gauge.sign * (point.objective or 0.0))
    common = max((frozenset(point.scores) for point in measured), key=len, default=frozenset())
    known = [point.scores for point in measured if common <= point.scores.keys()]
    effects = {}
    for key in common if len(common) > 1 else ():
        better = known[: (len(known) + 1) // 2]
        effects[key] = statistics.median(
            [own[key] - statistics.fmean(own.values()) for own in better]
        )
    # They add to nothing, as medians need not: else they would move all points.
    middle = statistics.fmean(effects.values()) if effects else 0.0
    return {key: each - middle for key, each in effects.items()}


def _domain(optimizer: Any, points: Sequence[PointSummary], rate: str) -> tuple[float, float]:
    """Decades that the best rate may lie in: those measured by any point of the optimizer."""
    known = columns(points)
    rates = known[rate]
    if "optimizer" in known:
        of = [None if each is ... else each for each in known["optimizer"]]
        rates = [each for own, each in zip(of, rates, strict=True) if own == optimizer]
    rates = [each for each in rates if is_rate(each)]
    return math.log10(min(rates)), math.log10(max(rates))


def _describe(
    family: Family,
    index: int,
    shared: Mapping[str, Any],
    points: Sequence[PointSummary],
    scale: tuple[str, Gauge, tuple[float, float]],
) -> Basin:
    import numpy as np

    from lrsearch.analysis.curve import CELLS, ends, nearest_ends

    rate, gauge, (left, right) = scale
    grid, step = np.linspace(left, right, CELLS, retstep=True)
    trained = [math.log10(p.params[rate]) for p in points if not _is_lost(p, gauge)]
    lowest, highest = min(trained), max(trained)
    for end in (lowest, highest):  # These are places of the grid, to the last bit.
        grid[np.abs(grid - end).argmin()] = end
    tried = (lowest <= grid) & (grid <= highest)

    def cells(rates: Sequence[float]) -> Any:
        """The places of the grid that are nearest to rates."""
        return np.abs(grid[:, None] - np.array(list(map(math.log10, rates)))).argmin(axis=0)

    sound = tried & ~family.is_lost(index, grid)
    sound[cells(_find_lost(points, rate, gauge))] = False
    sound &= grid < math.log10(_find_cliff(points, rate, gauge)) - 1e-9
    drawn = family.draw(index, grid)
    middle, (low, high) = drawn.mean(axis=0), ends(drawn, TAIL)
    moved = np.random.default_rng(index).normal(0, _shift(points), len(drawn))
    # What other curves tried says how this one may go on, and not that it does so.
    best = int(np.where(sound if sound.any() else tried, middle, math.inf).argmin())
    above = [p for p in points if p.params[rate] > 10 ** grid[best] * (1 + 1e-9)]
    clear, most = _find_clear(above, rate, float(grid[best]))
    last = min(right, clear) if most else right
    bests = np.clip(grid[drawn.argmin(axis=1)] + moved, left, last)
    first, last = nearest_ends(bests, TAIL)
    values = np.array([gauge.value(float(place)) for place in middle])
    reach = [gauge.value(float(each[best])) for each in (low, high)]
    gaps = np.abs(values - values[best])
    near = np.abs(grid - grid[best]) <= AROUND + 1e-9
    # A curve through a cliff may run below what was measured beside it. Where there may be noise
    # alone there is no cliff, and neighbours say too little of the noise.
    sound[cells(find_worse(points, rate, gauge) if family.flat < PLAIN else [])] = False
    measured = [(float(p.params[rate]), p.objective) for p in points]
    lost = [p.params[rate] for p in above if p.outcome is Outcome.DIVERGED]
    sound &= grid <= clear + 1e-9
    readings = sorted(measured, key=lambda each: (each[0], each[1] is None, each[1] or 0.0))
    rate_at = functools.partial(_rate_at, [own for own, _ in readings])

    def around(good: Any) -> tuple[float, float]:
        first, last = _around(good, best)
        return rate_at(grid[first]), rate_at(grid[last])

    # A cliff makes curves wide, which no rate is better for.
    calm = family.calm.draw(index, grid)
    level = calm.mean(axis=0)
    error_ends = around((level <= level[best] + calm[:, best].std()) & sound)
    percent_ends = around((gaps <= PERCENT * max(0.0, values[best])) & sound)
    return Basin(
        rate=rate,
        params=dict(shared),
        readings=tuple(readings),
        rates=tuple((10.0**grid).tolist()),
        middle=tuple(values.tolist()),
        low=_values(gauge, high if gauge.sign > 0 else low),
        high=_values(gauge, low if gauge.sign > 0 else high),
        best=rate_at(grid[best]),
        value=float(values[best]),
        interval=(min(reach), max(reach)),
        best_lr=(rate_at(first), rate_at(last)),
        at_ends=(float((bests < left + step / 2).mean()), float((bests > right - step / 2).mean())),
        within_error=error_ends,
        within_percent=percent_ends,
        diverges_at=float(min(lost)) if lost else None,
        idle_at=_find_idle(points, rate, max(error_ends[1], percent_ends[1])),
        sensitivity=float(gaps[near].mean()),
        spread=float(bests.std()),
        flat=family.flat,
    )


def _rate_at(known: Sequence[float], place: float) -> float:
    """The rate at a place of the grid: at its ends one that was measured, to the last bit."""
    found = 10 ** float(place)
    first, last = (bisect.bisect(known, found * (1 + off)) for off in (-1e-8, 1e-8))
    near = known[first:last]
    return next((own for own in near if math.isclose(own, found, rel_tol=1e-9)), found)


def _is_lost(point: PointSummary, gauge: Gauge) -> bool:
    """Whether a point diverged, or blew up for a seed."""
    return point.objective is None or any(map(gauge.is_blown, point.scores.values()))


def _stood_still(point: PointSummary) -> bool:
    """Whether a point that a curve is for has no value, and did not diverge: how far that is from
    the others says nothing of how fast curves bend."""
    return point.objective is None and point.outcome is not Outcome.DIVERGED


def _find_clear(above: Sequence[PointSummary], rate: str, best: float) -> tuple[float, bool]:
    """The decade up to which no rate is near to the lowest of those `above` the best that failed,
    at least the best one's; and whether most from there on failed. On another split rates fail from
    a lower one on, by as much as its best rate lies off."""
    failing = min((p.params[rate] for p in above if p.fails), default=math.inf)
    beyond = [p.fails for p in above if p.params[rate] >= failing]
    return max(best, math.log10(failing) - SPLIT_SHIFT), 2 * sum(beyond) > len(beyond)


def _find_idle(points: Sequence[PointSummary], rate: str, least: float) -> float | None:
    """The lowest rate above `least` that learned nothing, None where one as low diverged, or as
    many trained from there on as did not: then nothing begins there."""
    above = [point for point in points if point.params[rate] > least]
    lost = [p.params[rate] for p in above if p.fails and not p.idle]
    idle = min((p.params[rate] for p in above if p.idle), default=math.inf)
    if idle >= min(lost, default=math.inf):
        return None
    failed = [p.fails or p.idle for p in above if p.params[rate] >= idle]
    return idle if 2 * sum(failed) > len(failed) else None


def _find_lost(points: Sequence[PointSummary], rate: str, gauge: Gauge) -> list[float]:
    """The rates of which all points are lost."""
    sound = {point.params[rate] for point in points if not _is_lost(point, gauge)}
    return [at for point in points if (at := point.params[rate]) not in sound]


def _find_cliff(points: Sequence[PointSummary], rate: str, gauge: Gauge) -> float:
    """The lowest rate of two lost points in a row from which on more are lost than not, infinite
    where there is none above one that trained. One that trained beyond is a chance, as is one that
    is lost alone; what learned nothing is none, as low rates have it too."""
    balance, cliff, beyond = 0, math.inf, False
    tried = [point for point in points if not _stood_still(point)]
    states = sorted((point.params[rate], _is_lost(point, gauge)) for point in tried)
    first = next((at for at, lost in states if not lost), math.inf)
    for at, lost in reversed(states):
        balance += 1 if lost else -1
        if lost and beyond and balance > 0 and at > first:
            cliff = float(at)
        beyond = lost
    return cliff


def find_worse(points: Sequence[PointSummary], rate: str, gauge: Gauge) -> list[float]:
    """The rates whose best measured value is clearly worse than the best of all: by `CLEAR` times
    the noise, that of the seeds or, where that is more, of neighbours along the rate, by their
    second differences (Gasser et al. 1986); by `UNSURE` of the gap from the best to the median
    where neither is known. What lies within a hundredth of the best is never worse."""
    measured: dict[float, float] = {}
    for point in points:
        if point.objective is not None:
            gap = -gauge.sign * point.objective
            at = float(point.params[rate])
            measured[at] = min(gap, measured.get(at, math.inf))
    if not measured:
        return []
    best = min(measured.values())
    middle = statistics.median(measured.values())
    # Where trainings blow up values say nothing of the noise at the others.
    better = [value for _, value in sorted(measured.items()) if value <= middle]
    triples = zip(better, better[1:], better[2:], strict=False)
    bends = [min(abs(first - 2 * second + third), LARGEST) for first, second, third in triples]
    spreads = [
        statistics.stdev(map(bound, point.scores.values())) / math.sqrt(len(point.scores))
        for point in points
        if point.objective is not None and len(point.scores) > 1
    ]
    noise = [statistics.median(bends) / 0.6745 / math.sqrt(6)] if len(bends) >= BENDS else []
    noise += [statistics.median(spreads)] if spreads else []
    limit = CLEAR * max(noise) if noise else UNSURE * (middle - best)
    limit = max(limit, PERCENT * max(0.0, -gauge.sign * best))
    return [at for at, value in measured.items() if value - best > limit]


def _shift(points: Sequence[PointSummary]) -> float:
    """The standard deviation, in decades, of what the seeds and splits of these points add to their
    best rate."""
    splits = max(1, min(point.folds for point in points))
    seeds = max(1, min(len(point.scores) or point.done for point in points))
    return math.hypot(SPLIT_SHIFT / math.sqrt(splits), SEED_SHIFT / math.sqrt(seeds))


def _values(gauge: Gauge, places: Array) -> tuple[float, ...]:
    return tuple(gauge.value(float(place)) for place in places)


def _around(good: Any, best: int) -> tuple[int, int]:
    """The first and the last place around the best one that are good without a gap."""
    first = last = best
    while first > 0 and good[first - 1]:
        first -= 1
    while last + 1 < len(good) and good[last + 1]:
        last += 1
    return first, last
