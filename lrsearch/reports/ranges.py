"""Range tests as reports see them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lrsearch import sweeps
from lrsearch.reports.cells import pick
from lrsearch.reports.text import format_params, format_value, one_line


@dataclass(frozen=True)
class RangeView:
    """A range test as it is shown. `params` and `beside` as in `tuner.ranging.Structure`; `lr` and
    `loss` are the smoothed curve, `points` the rates of published rules by their names. `reason`
    says why it trained solo, `fault` why the training told nothing, `raised` what it raised once
    it was lost."""

    params: Mapping[str, Any]
    beside: Mapping[str, Any]
    found: sweeps.Interval | sweeps.Refusal
    points: Mapping[str, float | None]
    lr: Sequence[float]
    loss: Sequence[float]
    seeds: int
    steps: int
    engine: str
    reason: str
    epochs: float
    seconds: float
    fault: str = ""
    raised: str = ""


def read_range(note: Mapping[str, Any]) -> RangeView:
    """The view of a range test as the journal keeps it. Raises ValueError or the
    like for what is none."""
    tried = [float(rate) for rate in note["lr"]]
    losses = [[float(loss) for loss in each] for each in note["losses"]]
    fault = str(note.get("fault", ""))
    if fault:
        advice = "mend that, and give the same command again"
        found: sweeps.Interval | sweeps.Refusal = sweeps.Refusal(fault, advice)
    else:
        cap = note.get("cap")
        found = sweeps.find_interval(tried, losses, None if cap is None else float(cap))
    lr, loss = sweeps.find_curve(tried, losses)
    return RangeView(
        dict(note["params"]),
        dict(note["beside"]),
        found,
        sweeps.find_points(lr, loss),
        lr,
        loss,
        int(note["seeds"]),
        int(note["trained"]),
        str(note["engine"]),
        str(note["reason"]),
        float(note["epochs"]),
        float(note["seconds"]),
        fault,
        str(note.get("raised", "")),
    )


def describe_test(view: RangeView) -> dict[str, Any]:
    """A range test's entry in JSON."""
    found = view.found
    refused = found if isinstance(found, sweeps.Refusal) else None
    return {
        **pick(view, "params beside"),
        "interval": None if isinstance(found, sweeps.Refusal) else [found.low, found.high],
        "refused": refused and refused.reason,
        "advice": refused and refused.advice,
        "reason": None if refused else found.reason,
        "points": view.points,
        "curve": pick(view, "lr loss"),
        **pick(view, "seeds steps epochs seconds engine"),
        "engine_reason": view.reason,
        "raised": view.raised or None,
    }


def round_ends(found: sweeps.Interval) -> tuple[str, str]:
    """The ends of an interval to two significant digits: a sweep tells no more."""
    low, high = (format_value(float(f"{rate:.2g}")) for rate in (found.low, found.high))
    return low, high


def tell_range(view: RangeView) -> str:
    """The answer of a range test in a sentence, by all that tells it from others."""
    found, named = view.found, {**view.params, **view.beside}
    whose = f"{format_params(named)}: " if named else ""
    if isinstance(found, sweeps.Refusal):
        return f"{whose}no range of rates: {one_line(found.reason)}"
    low, high = round_ends(found)
    return f"{whose}lr {low} to {high}"
