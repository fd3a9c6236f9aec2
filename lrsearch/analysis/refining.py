"""Refinement: the next values of a rate to train, from the points that there are.

A round looks at the curves of the objective through the rate (`basin.fit`). Those that may still
hold the best get further rates: spread over where a curve's best is likely to lie, which zooms in
as that becomes narrow, or beyond the end of what was searched where the best lies there. It is over
once the interval of the best rate is narrow enough, or what a better rate could still bring is less
than half the noise that a point surely has: the rule of Makarova et al. 2022 ("Automatic
termination for hyperparameter optimization", AutoML), who stop where the regret that is left falls
below the standard error of the estimate. All of it is a function of the points: the same points
give the same round.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field, replace
from typing import TYPE_CHECKING, Any

from lrsearch.analysis.basin import ENOUGH, TAIL, Fit, fit
from lrsearch.analysis.decimals import in_decimals
from lrsearch.analysis.edges import Range, extend
from lrsearch.analysis.groups import group, is_rate
from lrsearch.analysis.points import PointSummary, rank, set_apart
from lrsearch.catalogue import SETTINGS
from lrsearch.frozen import frozen
from lrsearch.terminal import short, visible_line
from lrsearch.trial import Objective, Outcome

if TYPE_CHECKING:
    from lrsearch.analysis.curve import Array

WIDTH: float = SETTINGS["refine"]["width"].default
"""Decades of the interval of the best rate under which a search is fine enough. Another split of
the data moves a best rate by more (`basin.SPLIT_SHIFT`), whatever is trained on this one."""

EACH = 3
"""Rates that a curve gets in a round."""

CURVES = 4
"""Curves that get rates in a round, the likeliest ones."""

CHANCE = 0.05
"""The probability to hold the best of all from which on a curve gets rates."""

OUT = 0.3
"""The share of drawn curves whose best lies on the end of what was measured from which on the best
is sought beyond it; it is, too, where the best value measured lies there."""

LEFT = 0.5
"""The share of the noise of a point under which what a better rate could bring is nothing to train
for."""

APART = 6
"""The part of `width` by which a new rate keeps off those measured."""

SPREAD = 0.05
"""The share of new rates that is even over the interval of the best rate, whatever is likely."""

DIGITS = 3
"""Significant digits of a proposed rate."""


@frozen
class Next:
    """A value of the refined parameter to train; all others are as those of the point numbered
    `point`."""

    point: int
    value: float


@frozen
class Round:
    """The decision of a round: the points to train `next`, none where refining is over, and `why`,
    in words. `kind` is "in" or "out" (where it goes on), "narrow", "noise" or "close" (where it is
    over), "few" (curves need more rates first), or "nothing" (there is nothing to refine).

    `interval` is that of 95 % of the best rate of the best curve on the run's own split and seeds,
    `best` its best rate, `value` the objective there, `curves` how many may hold the best; None and
    0 where there is no curve. `shared` are the parameters that its points have in common, where
    there are other curves.
    """

    name: str
    kind: str
    why: str
    next: tuple[Next, ...] = ()
    interval: tuple[float, float] | None = None
    best: float | None = None
    value: float | None = None
    curves: int = 0
    shared: Mapping[str, Any] = field(default_factory=dict)
    lost: bool = False
    """Whether nothing can be refined since every point diverged."""

    @property
    def decades(self) -> float | None:
        """The width of the interval, as a logarithm to base 10."""
        return None if self.interval is None else math.log10(self.interval[1] / self.interval[0])


@frozen
class _Curve:
    """A curve of the fit: all `points` of its group that have ended, the `grid` (log10 of rates,
    [n]), the curves `drawn` there [draws, n], the interval of the best rate in decades, and the
    sides (lowest, highest) that it may have its best beyond."""

    points: Sequence[PointSummary]
    grid: Array
    drawn: Array
    ends: tuple[float, float]
    sides: tuple[str, ...]

    @property
    def best(self) -> int:
        """The place of the best on the grid."""
        return int(self.drawn.mean(axis=0).argmin())


def refine(
    points: Sequence[PointSummary],
    objective: Objective,
    name: str,
    ranges: Sequence[Range] = (),
    *,
    width: float = WIDTH,
    among: Sequence[float] = (),
) -> Round:
    """The next round of refining the parameter `name`, a positive number, by the points so far.

    `ranges` are the searched ones of that name (several where options have their own): beyond them
    it goes as far as `extend` says. With `among` only these values are proposed, as from a table.
    """
    sound = [
        point
        for point in set_apart(points)
        if is_rate(point.params.get(name)) and point.outcome is not None
    ]
    measured = [point for point in rank(sound, objective) if point.objective is not None]
    if not measured:
        lost = any(point.outcome is Outcome.DIVERGED for point in sound)
        why = "every point diverged" if lost else f"no point with a value of {name} is finished"
        return Round(name, "nothing", why, lost=lost)
    fitted = fit(sound, objective, name)
    first = next(each for each in group(sound, name) if measured[0] in each[1])
    wanted = _wanted(first[1], name)
    if wanted:
        found = _fill(first[1], objective, (name, wanted), ranges, width, among)
        if found:
            why = f"a curve needs {ENOUGH} values of {name}"
            return Round(name, "few", why, found)
    if fitted is None:
        return Round(name, "nothing", _flat(name, measured))
    groups = {repr(shared): own for shared, own in group(sound, name)}
    curves = [
        _draw(fitted, index, groups[repr(shared)], objective)
        for index, (shared, _) in enumerate(fitted.groups)
    ]
    return _decide(fitted, curves, objective, ranges, width, among)


def _flat(name: str, measured: Sequence[PointSummary]) -> str:
    if len({point.objective for point in measured}) == 1:
        return "every point came to the same value"
    return f"there are too few values of {name}, and no others to try"


# where curves are


def _wanted(own: Sequence[PointSummary], name: str) -> int:
    """The number of rates that a group lacks for a curve."""
    sound = {point.params[name] for point in own if point.objective is not None}
    lost = {point.params[name] for point in own if point.fails}
    return max(0, ENOUGH - 1 - len(sound), ENOUGH - len(sound | lost))


def _fill(
    own: Sequence[PointSummary],
    objective: Objective,
    lacking: tuple[str, int],
    ranges: Sequence[Range],
    width: float,
    among: Sequence[float],
) -> tuple[Next, ...]:
    """Rates for a group that has too few for a curve: each the farthest from all others, below
    divergence, and between rates that were stopped early, beyond which there is less to learn."""
    name, wanted = lacking
    searched = _searched(own, name, ranges)
    values = [math.log10(point.params[name]) for point in own]
    lost = [point.params[name] for point in own if point.outcome is Outcome.DIVERGED]
    idle = [point.params[name] for point in own if point.outcome is Outcome.PRUNED]
    sound = [point.params[name] for point in own if point.objective is not None]
    high = min([searched.high, *(each for each in lost + idle if each > max(sound))])
    low = math.log10(max([searched.low, *(each for each in idle if each < min(sound))]))
    top = math.log10(high)
    places = [low + (top - low) * step / 32 for step in range(33)]
    found: list[float] = []
    for _ in range(wanted):
        held = [*values, *map(math.log10, found)]
        free = [each for each in places if _gap(each, held) >= width / APART]
        if not free:
            break
        place = max(free, key=lambda each: (round(_gap(each, held), 9), -each))
        found += [rate for rate in [_settle(place, searched, among, held)] if rate is not None]
    return _name(own, objective, found)


def _gap(place: float, held: Sequence[float]) -> float:
    return min((abs(place - each) for each in held), default=math.inf)


def _searched(own: Sequence[PointSummary], name: str, ranges: Sequence[Range]) -> Range:
    """The range that most of a group's rates lie in, widened to all that was measured."""
    rates = [float(point.params[name]) for point in own]
    alike = [each for each in ranges if each.name == name and each.low > 0]
    ends = alike[pick(alike, rates)] if alike else Range(name, min(rates), max(rates), "log")
    wider = replace(ends, low=min(ends.low, *rates), high=max(ends.high, *rates), listed=())
    return (
        wider if (wider.low, wider.high) == (ends.low, ends.high) else replace(wider, points=None)
    )


def pick(ranges: Sequence[Range], values: Sequence[float]) -> int:
    """The place of the range that most of the values lie in, the first of several."""
    inside = [sum(each.low <= value <= each.high for value in values) for each in ranges]
    return inside.index(max(inside))


def _settle(
    place: float, searched: Range, among: Sequence[float], held: Sequence[float]
) -> float | None:
    """The value to train at a place (log10): of few digits, in the bounds, or the nearest of those
    there are; None where that is measured."""
    value = float(f"{10**place:.{DIGITS}g}")
    # An end of the range stays what it is, to all its digits.
    for end in (searched.low, searched.high):
        value = end if math.isclose(value, end, rel_tol=1e-2) else value
    if among:
        value = min(among, key=lambda each: (abs(math.log10(each) - place), each))
    elif searched.whole:
        value = round(value)
    measured = any(math.isclose(10**each, value, rel_tol=1e-9) for each in held)
    return None if measured or value <= 0 else value


def _name(
    own: Sequence[PointSummary], objective: Objective, values: Sequence[float]
) -> tuple[Next, ...]:
    """New values for a group, all else as at its best point."""
    template = rank(own, objective)[0].point
    return tuple(Next(template, value) for value in sorted(values))


# a round


def _decide(
    fitted: Fit,
    curves: Sequence[_Curve],
    objective: Objective,
    ranges: Sequence[Range],
    width: float,
    among: Sequence[float],
) -> Round:
    import numpy as np

    # Curves are drawn apart: nothing joins the first draw of one to the first of another.
    lows = np.stack(
        [
            np.random.default_rng([index, 1]).permutation(curve.drawn.min(axis=1))
            for index, curve in enumerate(curves)
        ]
    )
    chances = np.bincount(lows.argmin(axis=0), minlength=len(curves)) / lows.shape[1]
    heights = [float(curve.drawn.mean(axis=0).min()) for curve in curves]
    top = heights.index(min(heights))
    order = sorted(range(len(curves)), key=lambda index: (-float(chances[index]), index))
    kept = [index for index in order if chances[index] >= CHANCE or index == top][:CURVES]
    best = curves[top]
    found: list[Next] = []
    out = False
    for index in kept:
        new, beyond = _seek(curves[index], fitted.rate, ranges, width, among)
        found += _name(curves[index].points, objective, new)
        out = out or (beyond and bool(new))
    low, high = (float(10**end) for end in best.ends)
    told: dict[str, Any] = {
        "interval": (low, high),
        "best": float(10 ** best.grid[best.best]),
        "value": fitted.gauge.value(heights[top]),
        "curves": len(kept),
        "shared": fitted.groups[top][0] if len(curves) > 1 else {},
    }
    name = fitted.rate
    # What a better value, of this curve or another, would bring on average.
    lows[top] = best.drawn.min(axis=1)
    gain = float((best.drawn[:, best.best] - lows[kept].min(axis=0)).mean())
    trials = max(1, min(len(p.scores) or p.done for p in fitted.groups[top][1]))
    noise = fitted.family.sure_noise / math.sqrt(trials)
    if out:
        return Round(
            name, "out", "the best lies on an end of what was searched", **told, next=tuple(found)
        )
    if found and gain <= LEFT * noise:
        why = "what a better value could bring is less than half the noise of a point"
        return Round(name, "noise", why, **told)
    if found:
        why = f"the interval is wider than {width:g} decades"
        if best.ends[1] - best.ends[0] <= width:
            why = "another curve may hold the best"
        return Round(name, "in", why, tuple(found), **told)
    if best.ends[1] - best.ends[0] <= width:
        return Round(name, "narrow", f"the interval is within {width:g} decades", **told)
    return Round(name, "close", "no further values are left between those measured", **told)


def _draw(fitted: Fit, index: int, points: Sequence[PointSummary], objective: Objective) -> _Curve:
    import numpy as np

    from lrsearch.analysis.curve import CELLS, nearest_ends

    left, right = fitted.domains[index]
    grid = np.linspace(left, right, CELLS)
    drawn = fitted.family.draw(index, grid)
    bests = drawn.argmin(axis=1)
    first, last = nearest_ends(grid[bests], TAIL)
    shares = {"lowest": float((bests == 0).mean()), "highest": float((bests == CELLS - 1).mean())}
    sound = [point for point in points if point.objective is not None]
    first_rate = math.log10(rank(sound, objective)[0].params[fitted.rate])
    places = {"lowest": left, "highest": right}
    sides = tuple(
        side
        for side, share in shares.items()
        if share >= OUT or abs(first_rate - places[side]) < 1e-9
    )
    return _Curve(points, grid, drawn, (float(first), float(last)), sides)


def _seek(
    curve: _Curve, name: str, ranges: Sequence[Range], width: float, among: Sequence[float]
) -> tuple[list[float], bool]:
    """New rates for a curve, and whether they lie beyond what was searched; none where it is
    narrow enough, or has no room left."""
    searched = _searched(curve.points, name, ranges)
    held = [math.log10(point.params[name]) for point in curve.points]
    apart = width / APART
    found: list[float] = []

    def take(place: float) -> None:
        taken = [*held, *map(math.log10, found)]
        value = _settle(place, searched, among, taken)
        near = value is None or (not among and _gap(math.log10(value), taken) < apart / 2)
        if value is not None and not near:
            found.append(value)

    for side in curve.sides:
        for place in _beyond(curve, searched, side, apart):
            take(place)
    if found:
        return found, True
    if curve.ends[1] - curve.ends[0] <= width:
        return [], False
    for place in _within(curve, held, apart, among):
        take(place)
    return found, False


def _beyond(curve: _Curve, searched: Range, side: str, apart: float) -> list[float]:
    """Places beyond an end of what was measured: halfway to the end of the range and that end, or
    of the extended range where that is measured up to its end."""
    here = float(curve.grid[0] if side == "lowest" else curve.grid[-1])
    end = searched.low if side == "lowest" else searched.high
    if abs(math.log10(end) - here) < apart:
        suggest = extend(searched, side)
        end = suggest.get("min" if side == "lowest" else "max", end)
    if not end > 0 or abs(math.log10(end) - here) < apart:
        return []
    there = math.log10(end)
    return [(here + there) / 2, there]


def _within(
    curve: _Curve, held: Sequence[float], apart: float, among: Sequence[float]
) -> list[float]:
    """Places spread over where the curve's best is likely to lie, away from those measured."""
    import numpy as np

    values = np.log10(np.array(sorted(among)))
    nearest = np.abs(curve.grid[:, None] - values[None, :]).argmin(axis=1) if among else None
    low, high = curve.ends
    inside = (curve.grid >= low - 1e-9) & (curve.grid <= high + 1e-9)
    counts = np.bincount(curve.drawn.argmin(axis=1), minlength=len(curve.grid)) / len(curve.drawn)
    weights = np.where(inside, counts + SPREAD / inside.sum(), 0.0)
    found: list[float] = []
    for step in range(EACH):
        taken = np.array([*held, *found])
        free = np.abs(curve.grid[:, None] - taken[None, :]).min(axis=1) >= apart - 1e-9
        if nearest is not None:  # A place counts as that value which it stands for.
            free = np.abs(values[nearest][:, None] - taken[None, :]).min(axis=1) > 1e-9
        left = np.where(free, weights, 0.0)
        if not left.sum() > 0:
            break
        ends = np.cumsum(left) / left.sum()
        # Of three the middle one first, then one to each side of it.
        share = (0.5, 1 / 6, 5 / 6)[step % 3]
        place = int(np.searchsorted(ends, share))
        found.append(float(curve.grid[place] if nearest is None else values[nearest[place]]))
    return found


# notes

KIND = "refine"
"""The kind of the journal's notes that say what a round has learnt."""


def find_rounds(notes: Iterable[Mapping[str, Any]]) -> dict[tuple[int, bool], Mapping[str, Any]]:
    """The notes on a run's rounds among all of its notes, by their number and whether they trained
    points; of each the latest."""
    found: dict[tuple[int, bool], Mapping[str, Any]] = {}
    for body in notes:
        if body.get("kind") == KIND:
            key = (int(body["round"]), bool(body["points"]))
            found.pop(key, None)
            found[key] = body
    return found


def find_before(
    rounds: Mapping[tuple[int, bool], Mapping[str, Any]],
    place: tuple[int, bool],
    shared: Mapping[str, Any],
) -> Any:
    """The interval that the latest of the `rounds` that trained points, but that at `place`, had of
    the curve of the same `shared` parameters; None where there is none. Intervals of two curves do
    not compare."""
    earlier = [body for key, body in rounds.items() if key[1] and key != place]
    own = [body for body in earlier if body.get("shared", shared) == shared]
    return own[-1]["interval"] if own else None


def describe_round(body: Mapping[str, Any], one_split: bool) -> str:
    """Say in a line what a round has learnt, and why it goes on or ends; `body` is as the journal's
    note has it. Of a search on one split of the data its interval is that split's alone."""
    parts = []
    if body["interval"] is not None:
        best = _name_best(body["name"], body.get("shared", {}))
        parts.append(f"{best} lies between {_span(body['interval'])}")
        if body["before"] is not None:
            parts[0] += f" (before: {_span(body['before'])})"
        value = f"{body['metric']} {in_decimals(body['value'])} at {short(body['best'], 3)}"
        curves = f", {body['curves']} curves may hold the best" if body["curves"] > 1 else ""
        parts.append(value + curves)
    points = "1 point" if body["points"] == 1 else f"{body['points']} points"
    if body["points"]:
        parts.append(f"trains {points}: {body['why']}")
        head = f"refine, round {body['round']} of at most {body['rounds']}"
    else:
        rounds = "1 round" if body["round"] == 1 else f"{body['round']} rounds"
        head = f"refine, after {rounds}" if body["round"] else "refine, before any round"
        parts.append(f"ends: {body['why']}")
    if body["state"] == "rounds":
        parts[-1] += f" (--set refine.rounds={2 * body['rounds']} goes on)"
    if one_split and body["interval"] is not None:
        parts.append("the interval is of the search's split alone")
    return f"{head}: {'; '.join(parts)}"


def describe_reason(found: Round) -> str:
    """Say in a line where the best lies by now, and why a refinement goes on or ends."""
    if found.interval is None:
        return found.why
    best = _name_best(found.name, found.shared)
    return f"{best} lies between {_span(found.interval)}: {found.why}"


def _name_best(name: str, shared: Mapping[str, Any]) -> str:
    """Words for what an interval is of: the best lr of batch_size=16 schedule=cosine. Another
    curve may hold the recommended point, whose rate lies elsewhere then."""
    parts = [f"{key}={_tell(value)}" for key, value in shared.items()]
    return visible_line(f"the best {name}{' of ' if parts else ''}{' '.join(parts)}")


def _tell(value: Any) -> str:
    if isinstance(value, str):
        return value
    return short(value, 3) if isinstance(value, float) else json.dumps(value, ensure_ascii=False)


def _span(ends: Sequence[float]) -> str:
    return f"{short(ends[0], 3)} and {short(ends[1], 3)}"
