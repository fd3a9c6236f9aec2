"""The objective over the rate while a search fills it in, as a panel."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from lrsearch.reports.marks import Panel, Points, Rule, Scale, spanning

SHOWN = 0.8
"""The share of values, from the best on, that the objective's axis holds; others stand at its
end."""


KEY = {
    "pick": "best",
    "dot": "measured",
    "tie": "under way",
    "cross": "diverged",
    "off": "beyond the axis",
}
"""The meanings of the marks, by kind."""


@dataclass(frozen=True)
class Cloud:
    """Measurements over a rate: values by rate, None of those that diverged; the `running`
    trials with their latest value. The rate is named `name`, and searched from `low` to `high`."""

    name: str
    low: float
    high: float
    log: bool
    goal: str
    metric: str = ""
    measured: Sequence[tuple[float, float | None]] = ()
    running: Sequence[tuple[float, float]] = ()


def make_panel(cloud: Cloud) -> Panel | None:
    """The panel of a cloud: trials with a value as dots, the best one picked, crosses for those
    that diverged, circles for those under way. None where nothing has a value yet."""
    known = [
        (rate, value)
        for rate, value in cloud.measured
        if value is not None and math.isfinite(value)
    ]
    if not known:
        return None
    rates = [rate for rate, _ in (*cloud.measured, *cloud.running) if rate > 0 or not cloud.log]
    x = spanning([*rates, cloud.low, cloud.high], log=cloud.log, room=0.02)
    largest = cloud.goal == "max"
    values = sorted((value for _, value in known), reverse=largest)
    y = spanning(values[: max(2, math.ceil(SHOWN * len(values)))], metric=cloud.metric)
    worst = y.low if largest else y.high
    best = (max if largest else min)(known, key=lambda each: each[1])
    off = [rate for rate, value in known if not y.holds(value)]
    lost = [rate for rate, value in cloud.measured if value is None or not math.isfinite(value)]
    running = [(rate, y.clamp(value)) for rate, value in cloud.running if math.isfinite(value)]
    marks = (
        Rule(cloud.low),
        Rule(cloud.high),
        Points([(rate, worst) for rate in lost], "cross"),
        Points([(rate, worst) for rate in off], "off"),
        Points([each for each in known if y.holds(each[1])]),
        Points(running, "tie"),
        Points([(best[0], y.clamp(best[1]))], "pick"),
    )
    return Panel("", x, y, [_within(mark, x) for mark in marks], cloud.name, cloud.metric)


def _within(mark: Points | Rule, x: Scale) -> Points | Rule:
    """A mark without the points that have no place on a logarithmic axis."""
    if isinstance(mark, Rule) or not x.log:
        return mark
    return Points([each for each in mark.places if each[0] > 0], mark.kind)
