"""The objective through the learning rate, as the page and the terminal draw it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lrsearch.analysis.answer import Answer
from lrsearch.analysis.basin import ENOUGH, PERCENT, Basin, has_values
from lrsearch.analysis.confirmation import Finalist
from lrsearch.analysis.groups import agrees, find_rate, group, is_rate
from lrsearch.analysis.points import PointSummary, set_apart
from lrsearch.reports.characters import Pieces, draw_figure
from lrsearch.reports.marks import (
    Band,
    Bar,
    Figure,
    Line,
    Mark,
    Panel,
    Points,
    Rule,
    Scale,
    Span,
    clip,
    spanning,
    used_key,
)
from lrsearch.reports.text import (
    count,
    format_params,
    format_value,
    last_parts,
    one_line,
    spell_ending,
)
from lrsearch.reports.view import RunView
from lrsearch.trial import Outcome

PANELS = 12
"""Combinations of batch size, schedule and other choices that are drawn, the best first."""

SHOWN = 4
"""The most combinations that a terminal shows, of those that matter."""

ALL = "all points"
"""The title of a combination where points differ in nothing else than the rate."""

TOGETHER = "all combinations"
"""The title of combinations that are drawn together, none of which has `FEW` rates."""

ROWS = 50
"""Points of a combination, and combinations drawn together, that the table has."""

FEW = 3
"""Rates of a combination from which on a drawing of it says more than the table."""

LONG = 60
"""Columns of a value in a title: of a wider one it has the end."""

FAR = 6
"""Times the middle gap to the best within a decade of it: what is worse is not drawn."""

KEY = {
    "pick": "recommended",
    "dot": "measured",
    "bar": "its trainings, from worst to best",
    "tie": "mean of fresh seeds",
    "fresh": "its interval of 95 %",
    "curve": "curve",
    "band": "its band of 95 %",
    "basin": "rates that do as well",
    "lost": "trainings fail from here",
    "cross": "diverged, or learned nothing",
    "off": "beyond the axis",
    "bound": "end of the search",
}
"""The meaning of marks, by kind."""

Combination = tuple[Mapping[str, Any], Sequence[PointSummary], Basin | None]
"""The values that points have in common, the points, and their curve where they have one."""


def draw_rates(view: RunView, *, most: int = PANELS, telling: bool = False) -> Figure | None:
    """The objective through the logarithm of the rate, a panel each batch size, schedule and other
    choice, on shared axes, the recommended one first and then the best; at most so many, and of
    `telling` ones only those that matter (see `matters`). None where no rate was searched, or
    nothing is to be drawn. Beside others that of the recommended point is drawn however few its
    rates are."""
    rate, answer = find_rate(view.points), view.answer
    if rate is None or answer is None:
        return None
    apart = every = _combine(view, rate)
    whole = [point for _, points, _ in apart for point in points]
    together = has_values(whole, rate, FEW) and not any(
        has_values(points, rate, FEW) for _, points, _ in apart
    )
    if together:  # As of many parameters drawn at random: a point in each would show nothing.
        every = [({}, whole, None)]
    if telling:
        groups = [each for each in every if matters(view.answer, each, rate)]
    else:
        groups = [each for each in every if _shows(view, each, rate)] or every
    if not groups:
        return None
    if every[0] not in groups:
        groups.insert(0, every[0])  # A drawing without what is recommended misleads.
    drawn = groups[:most]
    rates = [float(p.params[rate]) for _, points, _ in drawn for p in points]
    x = spanning([*rates, *(view.bounds or ())], log=True, room=0.04)
    y = _heights(view, drawn)
    numbers = _numbers(view)
    panels = [
        Panel(
            title=format_params(each[0], LONG, view.called) or (TOGETHER if together else ALL),
            x=x,
            y=y,
            marks=list(_rate_marks(view, rate, each, y)),
            x_label=one_line(rate),
            y_label=one_line(view.objective.metric),
            numbers=[
                (float(p.params[rate]), _height(view, p, y), n)
                for p in each[1]
                for n in numbers.get(p.point, ())
                if p.objective is not None or p.fails
            ],
        )
        for each in drawn
    ]
    notes = _left_out(len(every), len(groups), len(drawn), telling)
    if together:
        notes = [f"{count(len(apart), 'combination')}, none of {FEW} rates or more: drawn together"]
    notes += [*_without_value(view), *_blown(view, drawn)]
    head, *rows = describe_basins(answer) if answer.basins else [()]
    if not rows:
        head, rows = _point_rows(view, rate, apart[:ROWS] if together else drawn)
    return Figure(
        "rates", _rate_finding(answer, rate), panels, head, rows, used_key(panels, KEY), notes
    )


def plot_rates(view: RunView, *, width: int, encoding: str) -> tuple[str, list[Pieces]] | None:
    """The combinations that matter in characters, at most `SHOWN`: a title and lines. None where
    there is nothing to draw."""
    figure = draw_rates(view, most=SHOWN, telling=True)
    if figure is None:
        return None
    first = figure.panels[0]
    title = f"{first.y_label} by {first.x_label}"
    if first.title == TOGETHER:
        title += f", {TOGETHER} together"
    elif len(figure.panels) == 1 and first.title != ALL:
        title += f" with {first.title}"
    return title, draw_figure(figure, width=width, encoding=encoding)


def _combine(view: RunView, rate: str) -> list[Combination]:
    """The combinations that something is known of, the recommended one first, then the best."""
    answer = view.answer
    basins = {repr(basin.params): basin for basin in (answer.basins if answer else ())}
    groups = [
        (shared, points, basins.get(repr(shared)))
        for shared, points in group(view.points, rate)
        if any(point.objective is not None or point.fails for point in points)
    ]
    order = {point.point: place for place, point in enumerate(view.points)}
    if answer is not None:
        order[answer.recommended.point] = -1
    return sorted(groups, key=lambda each: min(order[point.point] for point in each[1]))


def matters(answer: Answer | None, combination: Combination, rate: str) -> bool:
    """Whether a combination of at least `FEW` rates may be the best: one of its points is
    recommended, the highest, a finalist or tied with these; or its curve reaches, at its best and
    within its band of 95 %, the value of the best curve; or it has no curve to tell."""
    _, points, basin = combination
    if answer is None or answer.steady or not has_values(points, rate, FEW):
        return False
    again = answer.confirmation.finalists if answer.confirmation is not None else ()
    told = {each.point for each in again if not each.control}
    told |= {answer.recommended.point, answer.highest.point, *answer.tied}
    if basin is None or any(point.point in told for point in points):
        return True
    low, high = basin.interval
    return low <= answer.basins[0].value <= high


def _shows(view: RunView, combination: Combination, rate: str) -> bool:
    """Whether a drawing of a combination shows more than a point or two: it has `FEW` rates, or was
    measured again."""
    shared, points, _ = combination
    return has_values(points, rate, FEW) or bool(_finalists(view, shared))


def _left_out(every: int, groups: int, drawn: int, telling: bool) -> list[str]:
    """Sentences on the combinations that are not drawn."""
    if every == drawn:
        return []
    few = f"of fewer than {FEW} rates"
    told = {"may be the best, too" if telling else "none of them better": groups - drawn}
    told[f"worse, or {few}" if telling else few] = every - groups
    more = f" (report --html FILE draws up to {PANELS})" * telling
    return [f"{count(every - drawn, 'combination')} not drawn: {_share_out(told)}{more}"]


def _share_out(told: Mapping[str, int]) -> str:
    """The words with their numbers, one alone without."""
    kept = {words: number for words, number in told.items() if number}
    return "; ".join(words if len(kept) == 1 else f"{n} {words}" for words, n in kept.items())


def _without_value(view: RunView) -> list[str]:
    """A sentence on the points that have no place in a drawing: what a training reached until it
    was stopped is no measure of it."""
    words = {
        Outcome.PRUNED: "stopped early",
        Outcome.FAILED: "failed",
        Outcome.OUT_OF_MEMORY: "out of memory",
    }
    found = Counter(point.outcome for point in view.points if not point.fails)
    told = {word: found[each] for each, word in words.items()}
    if not (many := sum(told.values())):
        return []
    return [f"{count(many, 'point')} without a value not drawn: {_share_out(told)}"]


def _blown(view: RunView, drawn: Sequence[Combination]) -> list[str]:
    """A sentence on the points that diverged and yet have a value, where they are drawn."""
    found = sum(p.lost and p.objective is not None for _, points, _ in drawn for p in points)
    if not found:
        return []
    curved = any(basin for _, _, basin in drawn)
    own = f": the curve goes by that, not by {'its value' if found == 1 else 'their values'}"
    return [f"{count(found, 'point')} diverged, though trained to the end{own if curved else ''}"]


def spell_span(ends: tuple[float, float]) -> str:
    """The ends of a span of rates: `0.01 to 0.1`, one of them where they read alike."""
    low, high = map(format_value, ends)
    return low if low == high else f"{low} to {high}"


def spell_safe(answer: Answer, basin: Basin) -> str:
    """The rates that do as well: `0.01 to 0.1 (highest tried)` where a higher one, which nobody
    tried, may do so, too, and `(highest tried with batch_size=32)` where others tried one."""
    known = (point.params.get(basin.rate) for point in answer.points)
    rates = [float(rate) for rate in known if rate is not None and is_rate(rate)]
    sides = zip(("lowest", "highest"), (min(rates), max(rates)), basin.reached, strict=True)
    own = f" with {format_params(basin.params)}"
    ends = list(map(format_value, basin.safe_lr))
    told = [
        end + f" ({side} tried{own * (last not in basin.safe_lr)})" * reached
        for end, (side, last, reached) in zip(ends, sides, strict=True)
    ]
    # Of two ends that read alike one is told, the one that says more.
    return max(told, key=len) if ends[0] == ends[1] else " to ".join(told)


def spell_close(answer: Answer, basin: Basin) -> str:
    """Words on where the rates that do as well do so, and how far from the best they are, ""
    within the error."""
    # Of fresh splits the best rate may lie elsewhere.
    split = " on this split" * answer.split
    return f"{split}, to within {PERCENT:.0%} of the value" if basin.close else split


def spell_failing(basin: Basin) -> str:
    """A sentence on the rate from which on trainings fail; "" where none above the best did."""
    told = []
    idle, rate = map(_spell_known, (basin.idle_at, basin.diverges_at))
    if basin.bound is not None and rate == idle:
        told = [f"trainings fail from {rate} on: some diverge, some learn nothing"]
    else:
        for begin, verb, at in (
            ("trainings that learn nothing begin", "learned nothing", basin.idle_at),
            ("divergence begins", "diverged", basin.diverges_at),
        ):
            if at is not None and basin.begins(at):
                told.append(f"{begin} at {format_value(at)}")
            elif at is not None:
                told.append(f"{format_value(at)} {verb}, though higher rates trained")
    near = ", on another split perhaps lower" if basin.beside else ""
    return ", and ".join(told) + near


def spell_uncurved(answer: Answer) -> str:
    """A sentence on why the recommended point has no curve where enough rates were tried for one;
    "" where it has one, or fewer were tried."""
    points = set_apart(answer.points)
    name = find_rate(points)
    if name is None or answer.basin is not None:
        return ""
    own = next((o for s, o in group(points, name) if agrees(answer.recommended.params, s)), [])
    trained = {point.params[name] for point in own if point.objective is not None}
    failed = {point.params[name] for point in own if point.fails} - trained
    if not trained or len(trained) >= ENOUGH - 1 or len(trained | failed) < ENOUGH:
        return ""
    told = f"no curve: {len(trained)} of {len(trained | failed)} rates trained"
    told += f", and it takes {ENOUGH - 1}"
    if max(trained) < min(failed):
        told += f", so search {format_value(max(trained))} and below"
    elif min(trained) > max(failed):
        told += f", so search {format_value(min(trained))} and above"
    return told


def describe_basins(answer: Answer, *, most: int | None = None) -> list[tuple[str, ...]]:
    """Rows of a table of all basins, the first its head; of values longer than `most` characters
    the end."""
    basins = answer.basins
    called = last_parts(list(dict.fromkeys(name for each in basins for name in each.params)))
    beyond = [
        " (... or beyond)" if any(map(any, own)) else ""
        for own in ([each.open for each in basins], [each.reached for each in basins])
    ]
    heads = (f"95 %{beyond[0]}", f"do as well{beyond[1]}")
    idle = any(each.idle_at is not None for each in basins)
    failing = ("learns nothing", "diverges") if idle else ("diverges",)
    rows: list[tuple[str, ...]] = [("", "best rate", *heads, "decades", *failing, "sensitivity")]
    for basin in basins:
        rows.append(
            (
                format_params(basin.params, most, called),
                format_value(basin.best),
                _open_ends(spell_span(basin.best_lr), basin.open),
                _open_ends(spell_span(basin.safe_lr), basin.reached),
                f"{basin.decades:.1f}",
                *[_spell_known(basin.idle_at)] * idle,
                _spell_known(basin.diverges_at),
                format_value(basin.sensitivity),
            )
        )
    return rows


def _spell_known(rate: float | None) -> str:
    return "" if rate is None else format_value(rate)


def _open_ends(span: str, ends: tuple[bool, bool]) -> str:
    """A span with dots at the ends that it may go on beyond."""
    return f"{'... ' * ends[0]}{span}{' ...' * ends[1]}"


def frame_basin(basin: Basin) -> tuple[float, float]:
    """The values that a drawing reaches from and to."""
    measured = [value for _, value in basin.readings if value is not None]
    near = [
        value
        for rate, value in basin.readings
        if value is not None and abs(math.log10(rate / basin.best)) <= 1
    ]
    near = near if len(near) > 1 else measured
    gaps = sorted(abs(value - basin.value) for value in near)
    far = FAR * gaps[len(gaps) // 2]
    shown = [value for value in near if abs(value - basin.value) <= far]
    shown += [basin.value, *basin.interval]
    low, high = min(shown), max(shown)
    room = 0.05 * (high - low) or 0.01 * abs(high) or 1.0
    return low - room, high + room


def _numbers(view: RunView) -> dict[int, list[int]]:
    """The first trial of each point, which stands for it where a point is picked."""
    return {point.point: [point.trials[0]] for point in view.points if point.trials}


def _heights(view: RunView, groups: Sequence[Combination]) -> Scale:
    """The objective's scale: what the curves say near their best, or else all but the worst fifth
    of the values; what fresh seeds say widens it, by no more than half of it at either end, but
    for the recommended point's value, which is always on it. The
    rest is drawn at the end of the axis."""
    frames = [frame_basin(basin) for _, _, basin in groups if basin]
    values = sorted(
        point.objective
        for _, points, _ in groups
        for point in points
        if point.objective is not None
    )
    if frames:
        found = _spanned(frames, largest=view.objective.goal == "max")
    else:
        if view.objective.goal == "max":
            values.reverse()
        found = spanning(values[: max(2, math.ceil(0.8 * len(values)))])
    room = (found.high - found.low) / 2
    ends = [
        min(max(end, found.low - room), found.high + room)
        for shared, _, _ in groups
        for each in _finalists(view, shared)
        if not each.control and each.mean is not None
        for end in (each.interval or (each.mean,))
    ]
    answer = view.answer
    if answer is not None and any(p is answer.recommended for _, own, _ in groups for p in own):
        # Its mark stands where it was measured, whatever that takes, and whole.
        gap = 0.05 * (max(found.high, answer.value) - min(found.low, answer.value))
        ends += [answer.value - gap, answer.value + gap]
    low, high = min([found.low, *ends]), max([found.high, *ends])
    # What differs by less than a thousandth is level, and no drawing makes a valley of it; below 0
    # there is no such share.
    more = max(0.0, 0.001 * high - (high - low)) / 2
    return clip(Scale(low - more, high + more), view.objective.metric, values)


def _spanned(frames: Sequence[tuple[float, float]], *, largest: bool) -> Scale:
    """The scale of several curves' frames, the best first. Its worse end is at most the height of
    the first beyond it: another of few points may be anywhere, and what is to be told apart would
    be one line."""
    low, high = min(low for low, _ in frames), max(high for _, high in frames)
    first, last = frames[0]
    room = last - first
    return Scale(max(low, first - room), high) if largest else Scale(low, min(high, last + room))


def _finalists(view: RunView, shared: Mapping[str, Any]) -> list[Finalist]:
    """The points measured again, the control too, that have some values in common."""
    answer = view.answer
    if answer is None or answer.confirmation is None:
        return []
    return [each for each in answer.confirmation.finalists if agrees(each.params, shared)]


def worst_end(view: RunView, y: Scale) -> float:
    """The end of the objective's scale that stands for what is worse, or has no value."""
    return y.low if view.objective.goal == "max" else y.high


def _height(view: RunView, point: PointSummary, y: Scale) -> float:
    return worst_end(view, y) if point.objective is None else y.clamp(point.objective)


def _rate_marks(view: RunView, rate: str, combination: Combination, y: Scale) -> Iterator[Mark]:
    shared, points, basin = combination
    if basin is not None:
        yield Span(*basin.safe_lr)
        yield Band(list(zip(basin.rates, basin.low, basin.high, strict=True)))
        yield Line(list(zip(basin.rates, basin.middle, strict=True)))
        if basin.bound is not None:
            yield Rule(basin.bound, "lost")
    for end in view.bounds or ():
        yield Rule(end)
    for point in points:
        if len(point.scores) > 1 and point.objective is not None and len(points) <= 60:
            scores = point.scores.values()
            yield Bar(float(point.params[rate]), min(scores), max(scores))
    known = [(float(p.params[rate]), p.objective, p) for p in points if p.objective is not None]
    measured = [(a, b) for a, b, point in known if not point.lost]
    yield Points([(a, b) for a, b in measured if y.holds(b)])
    beyond = [(a, y.clamp(b)) for a, b in measured if not y.holds(b)]
    # The curve takes these for diverged, and so runs far from them (see `set_apart`).
    yield Points([(a, y.clamp(b)) for a, b, point in known if point.lost], "cross")
    lost = [float(p.params[rate]) for p in points if p.fails]
    again = [each for each in _finalists(view, shared) if is_rate(each.params.get(rate))]
    for each in again:
        if each.interval is not None and each.interval[0] <= y.high and each.interval[1] >= y.low:
            yield Bar(float(each.params[rate]), *each.interval, "fresh")
    fresh = [(float(e.params[rate]), e.mean) for e in again if e.mean is not None]
    yield Points([(a, b) for a, b in fresh if y.holds(b)], "tie")
    beyond += [(a, y.clamp(b)) for a, b in fresh if not y.holds(b)]
    lost += [float(each.params[rate]) for each in again if each.outcome]
    yield Points(beyond, "off")
    yield Points([(a, worst_end(view, y)) for a in dict.fromkeys(lost)], "cross")
    answer = view.answer
    if answer is not None and any(p is answer.recommended for p in points):
        yield Points([(float(answer.recommended.params[rate]), answer.value)], "pick")


def _rate_finding(answer: Answer, rate: str) -> str:
    name, basin = one_line(rate), answer.basin
    if answer.steady:
        return f"{name} made no difference: every point came to the same value."
    if basin is None:
        own = answer.recommended.params.get(rate)
        if not is_rate(own):
            return f"{name} makes no curve: too few of its values were measured."
        return f"The recommended {name} is {format_value(own)}; too few were measured for a curve."
    low, high = basin.safe_lr
    verb, best = "may do" if basin.plain else "does", format_value(basin.best)
    end = f" as well as the curve's best, {best}{spell_close(answer, basin)}"
    rates = spell_safe(answer, basin)
    told = f"{name} from {rates} {verb}{end}"
    if format_value(low) == format_value(high):
        told = f"Only {name} about {rates} {verb}{end}"
    if basin.plain:
        told += (
            ", by the curve; noise alone could give such values: perhaps none of these is better"
        )
    if failing := spell_failing(basin):
        told += f"; {failing}"
    return f"{told}."


def _spell_reading(point: PointSummary) -> str:
    if point.objective is not None:
        return format_value(point.objective, 4)
    return "learned nothing" if point.idle else spell_ending(point.outcome)


def _point_rows(
    view: RunView, rate: str, groups: Sequence[Combination]
) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    rows: list[tuple[str, ...]] = [
        (
            format_params(shared, called=view.called),
            format_value(point.params[rate]),
            _spell_reading(point),
        )
        for shared, points, _ in groups
        for point in points[:ROWS]
    ]
    return ("", one_line(rate), one_line(view.objective.metric)), rows
