"""The figures of a page: what each shows, drawn and as a table."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from lrsearch import sweeps
from lrsearch.analysis.law import Law
from lrsearch.reports.confirmation import confirmation_notes, describe_finalists, describe_state
from lrsearch.reports.marks import (
    HUGE,
    Bar,
    Figure,
    Line,
    Mark,
    Panel,
    Points,
    Scale,
    Span,
    spanning,
    used_key,
)
from lrsearch.reports.ranges import RangeView, round_ends, tell_range
from lrsearch.reports.rates import worst_end
from lrsearch.reports.text import (
    format_params,
    format_value,
    one_line,
)
from lrsearch.reports.view import RunView

TESTS = 4
"""Range tests that are drawn."""

# the range tests


def draw_tests(ranges: Sequence[RangeView]) -> Figure | None:
    """The range tests as strips over the rate; None where there are none."""
    drawn = [each for each in ranges if len(each.lr) > 1][:TESTS]
    if not drawn:
        return None
    panels = []
    for each in drawn:
        finite = [loss for loss in each.loss if math.isfinite(loss)]
        start = each.loss[0] if finite else 1.0
        y = spanning([loss for loss in finite if loss <= 1.5 * abs(start) + 1e-9] or finite)
        marks: list[Mark] = [Line(list(zip(each.lr, each.loss, strict=True)))]
        if not isinstance(each.found, sweeps.Refusal):
            marks.insert(0, Span(each.found.low, each.found.high))
        title = format_params({**each.params, **each.beside}) or "the spec's structure"
        x = Scale(each.lr[0], each.lr[-1], log=True)
        panels.append(Panel(title, x, y, marks, "lr", "training loss"))
    rows = [
        (
            format_params({**each.params, **each.beside}),
            one_line(each.found.reason)
            if isinstance(each.found, sweeps.Refusal)
            else " to ".join(round_ends(each.found)),
        )
        for each in ranges
    ]
    finding = f"{'A range test says' if len(ranges) == 1 else 'Range tests say'}: "
    finding += "; ".join(tell_range(each) for each in drawn) + "."
    notes = (
        [f"{len(ranges) - len(drawn)} more are in the table"] if len(ranges) > len(drawn) else []
    )
    key = used_key(panels, {"basin": "worth searching", "curve": "training loss as the rate rises"})
    return Figure("tests", finding, panels, ("structure", "lr"), rows, key, notes)


# the finalists


def draw_finalists(view: RunView) -> Figure | None:
    """The finalists: what the search measured, and the mean and interval of fresh seeds; None where
    nothing was measured again."""
    answer = view.answer
    if answer is None or answer.confirmation is None or not answer.confirmation.finalists:
        return None
    finalists, metric = answer.confirmation.finalists, view.objective.metric
    # A control that is far worse would leave no room to tell the others apart.
    close = [each for each in finalists if not each.control] or finalists
    values = [v for each in close for v in (each.searched, each.mean) if v is not None]
    ends = [end for each in close for end in each.interval or ()]
    y = spanning([*values, *ends], room=0.12, metric=metric)
    ends += [
        end
        for each in finalists
        if each.control and each.mean is not None and y.holds(each.mean)
        for end in each.interval or ()
    ]
    y = spanning([*values, *ends], room=0.12, metric=metric)
    marks: list[Mark] = []
    fresh: dict[str, list[tuple[float, float]]] = {}
    for place, each in enumerate(finalists, 1):
        if each.interval is not None and any(map(y.holds, each.interval)):
            marks.append(Bar(place, *each.interval, "fresh"))
        if each.searched is not None and y.holds(each.searched):
            fresh.setdefault("dot", []).append((place, each.searched))
        own = answer.confirmed and each.point == answer.recommended.point
        if each.mean is not None:
            kind = "off" if not y.holds(each.mean) else "pick" if own else "tie"
            fresh.setdefault(kind, []).append((place, y.clamp(each.mean)))
        elif each.outcome:
            fresh.setdefault("cross", []).append((place, worst_end(view, y)))
    marks += [Points(places, kind) for kind, places in fresh.items()]
    names = [
        (float(place), "control" if each.control else f"point {each.point}")
        for place, each in enumerate(finalists, 1)
    ]
    x = Scale(0.5, len(finalists) + 0.5)
    panel = Panel("", x, y, marks, x_names=names, y_label=one_line(metric))
    key = {
        "pick": "recommended, mean of its fresh seeds",
        "tie": "mean of fresh seeds",
        "fresh": "its interval of 95 %",
        "dot": "value of the search",
        "cross": "lost on a fresh seed",
        "off": "beyond the axis",
    }
    head, *rows = describe_finalists(answer)
    told = [each.params for each in finalists]
    rows = [
        (*row, format_params(params, called=view.called))
        for row, params in zip(rows, told, strict=True)
    ]
    said = [
        f"the control: {text}" if label == "control" else text
        for label, text in confirmation_notes(answer, view.objective)
        if label in ("shrinkage", "control")
    ]
    finding = "; ".join(said) or describe_state(answer)
    finding = f"{finding[:1].upper()}{finding[1:]}."
    kept = used_key([panel], key)
    return Figure("finalists", finding, [panel], (*head, "parameters"), rows, kept)


# the batch size


MOST_NAMED = 6
"""Batch sizes that stand on an axis by themselves."""


def draw_law(law: Law) -> Figure:
    """The best rates by batch size, and the zone beyond the largest, where nothing is known."""
    sizes = [best.batch_size for best in law.bests]
    rates = [end for best in law.bests for end in best.interval]
    reach = sizes[-1] * max(4.0, sizes[-1] / sizes[0]) ** 0.5
    x = Scale(sizes[0] / 1.5, reach, log=True)
    marks: list[Mark] = [
        Span(sizes[-1] * 1.06, reach, "unknown"),
        Line([(best.batch_size, best.lr) for best in law.bests], "step"),
        *(Bar(best.batch_size, *best.interval) for best in law.bests),
        Points([(best.batch_size, best.lr) for best in law.bests]),
    ]
    name = one_line(law.name)
    y, named = spanning(rates, log=True), [(float(size), format_value(size)) for size in sizes]
    named = named if len(named) <= MOST_NAMED else []  # Sizes that were measured, unless many.
    title = format_params(law.params)
    panel = Panel(title, x, y, marks, name, "best rate", x_names=named)
    rows = [
        (
            format_value(best.batch_size),
            format_value(best.lr),
            f"{format_value(best.interval[0])} to {format_value(best.interval[1])}",
        )
        for best in law.bests
    ]
    key = {
        "dot": "best rate",
        "bar": "its interval of 95 %",
        "unknown": "not measured: nothing is carried on into it",
    }
    first, last = (format_value(each.lr) for each in (law.bests[0], law.bests[-1]))
    at, to = format_value(sizes[0]), format_value(sizes[-1])
    ends = f"goes from {first} at {at} to {last} at {to}"
    ends = f"is {first} at {at} and at {to}" if first == last else ends
    law_of = "" if law.named is None else f"; it follows the {law.named} law"
    finding = f"The best rate {ends}{law_of}."
    return Figure("law", finding, [panel], (name, "best rate", "95 %"), rows, key)


# curves


def draw_curves(
    name: str,
    finding: str,
    curves: Sequence[tuple[str, int, Mapping[str, Sequence[float]]]],
    metric: str,
    *,
    together: Mapping[int, int] | None = None,
) -> Figure | None:
    """Curves of trials, by (title, number, curve): each in a panel, or `together` in one, by the
    points of the trials; None where none has two values of the metric."""
    kept = []
    for title, number, curve in curves:
        chosen = metric if metric in curve else "train_loss"
        # A command reports its steps as it likes.
        places = sorted(
            (float(step), float(value))
            for step, value in zip(curve.get("step", ()), curve.get(chosen, ()), strict=False)
            if abs(value) <= HUGE and abs(step) <= HUGE
        )
        if len(places) > 1:
            kept.append((title, number, chosen, places))
    if not kept:
        return None
    rows = [
        (
            str(number),
            one_line(title),
            one_line(chosen),
            f"{places[-1][0]:,.0f}",
            format_value(places[0][1], 4),
            format_value(places[-1][1], 4),
        )
        for title, number, chosen, places in kept
    ]
    head = ("trial", "", "metric", "steps", "first", "last")
    if together is not None:
        x = _steps([places for *_, places in kept])
        y = _near_the_end([places for *_, places in kept], metric)
        marks: list[Mark] = [Line(places, "faint") for *_, places in kept[:0:-1]]
        marks.append(Line(kept[0][-1], "best"))
        panel = Panel("", x, y, marks, "step", one_line(metric))
        number = kept[0][1]
        point = together.get(number, number)
        whose = f" (of point {point})" if point != number else ""
        key = {"best": f"trial {number}{whose}, the best", "faint": "the others"}
        return Figure(name, finding, [panel], head, rows, used_key([panel], key))
    panels = [
        Panel(
            f"{title}: trial {number}",
            _steps([places]),
            spanning((value for _, value in places), metric=chosen),
            [Line(places)],
            "step",
            one_line(chosen),
        )
        for title, number, chosen, places in kept
    ]
    return Figure(name, finding, panels, head, rows)


def _steps(curves: Sequence[Sequence[tuple[float, float]]]) -> Scale:
    """The scale of the steps, from 0 on."""
    ends = [place[0] for places in curves for place in (places[0], places[-1])]
    low, high = min(0.0, *ends), max(0.0, *ends)
    return Scale(low, high if high > low else low + 1.0)


def _near_the_end(curves: Sequence[Sequence[tuple[float, float]]], metric: str) -> Scale:
    """The scale of what curves come to: without a first tenth that is far from it."""
    values = [value for places in curves for step, value in places if step >= 0.1 * places[-1][0]]
    return spanning(values, metric=metric)
