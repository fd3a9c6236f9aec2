"""The share of the objective's variation that each parameter explains: a functional analysis of
variance of first order (Stone 1994; Hutter et al. 2014 for hyperparameters) on the measured
points."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lrsearch.analysis.basin import TAIL, WORSE
from lrsearch.analysis.gauge import make_gauge
from lrsearch.analysis.groups import LEVELS, is_rate, read_number
from lrsearch.analysis.points import PointSummary, columns, rank, same, written
from lrsearch.trial import Objective, Outcome

if TYPE_CHECKING:
    from lrsearch.analysis.curve import Array

FEWEST = 12
"""Points below which nothing is said."""

MOST = 400
"""Points that are looked at, drawn at random where there are more."""

KNOTS = 5
"""Corners of the broken line that a number's effect is."""

RIDGES = (0.03, 0.3, 3.0, 30.0)
"""Strengths of the penalty that are tried."""

SHUFFLES = 199
"""Random orders of the values, which show what noise alone would explain."""

SIGNIFICANT = 0.02
"""The share of those that may explain as much for anything to be said."""

RESAMPLES = 200

WIDE, FEWER = 64, 80
"""Columns of a design from which on an interval is of fewer resamples: choices of hundreds of
values take as long again with the cube of their number."""


@dataclass(frozen=True)
class Share:
    """The share (0 to 1) of the objective's variation over the space that a parameter explains
    alone, with its interval of 95 % over resampled points."""

    name: str
    share: float
    interval: tuple[float, float]


@dataclass(frozen=True)
class Level:
    """A value of a choice, the best objective of its points, all else free, and its point; `points`
    is how many were measured."""

    value: Any
    objective: float
    point: int
    points: int


def isolate(points: Sequence[PointSummary], objective: Objective) -> dict[str, list[Level]]:
    """The best of each value of each parameter that has few values, best first."""
    measured = [point for point in points if point.objective is not None]
    ranked = rank(measured, objective)
    found = {}
    inside = same(ranked, points[: len(ranked)])  # As those of a report are, the best first.
    known = columns(points if inside else ranked)
    for name, column in known.items():
        values = column[: len(ranked)]
        kinds = {*map(type, values)}
        if kinds <= {str, int, float, type(...)} and any(
            len({*part} - {...}) > LEVELS for part in (values[: 4 * LEVELS], values)
        ):  # Of so many nothing is said; the first few show it of most.
            continue
        keys = written(values)
        firsts = dict(zip(reversed(keys), reversed(ranked), strict=True))
        counted = Counter(keys)  # In the order of their first points.
        if type(...) in kinds:
            del counted[... if keys is values else repr(...)]
        if 1 < len(counted) <= LEVELS:
            found[name] = [
                Level(first.params[name], first.objective, first.point, many)
                for key, many in counted.items()
                if (first := firsts[key]).objective is not None
            ]
    return found


def find_importance(points: Sequence[PointSummary], objective: Objective) -> list[Share]:
    """The share of each parameter, largest first; [] where there are too few points, or noise
    would explain as much. A point that diverged counts as a little worse than the worst."""
    gauge = make_gauge(points, objective)
    used = [p for p in points if p.objective is not None or p.outcome is Outcome.DIVERGED]
    kinds = dict.fromkeys(tuple(point.params) for point in used)
    names = dict.fromkeys(name for kind in kinds for name in kind)
    names = dict.fromkeys(name for name in names if _differs(used, name))
    if gauge is None or len(used) < FEWEST or not names:
        return []
    import numpy as np

    from lrsearch.analysis.curve import ends

    generator = np.random.default_rng(0)
    known = [point.objective for point in used if point.objective is not None]
    worst = gauge.worst(known)
    if len(used) > MOST:
        used = [used[int(index)] for index in generator.permutation(len(used))[:MOST]]
    y = np.array(
        [
            worst + WORSE
            if p.objective is None or gauge.is_blown(p.objective)
            else gauge.measure(p.objective)
            for p in used
        ]
    )
    blocks = {name: _block([_given(point, name) for point in used]) for name in names}
    design = np.concatenate([np.ones((len(used), 1)), *(each for each, _ in blocks.values())], 1)
    ridge, error = _choose(design, y[:, None])
    shuffled = np.stack([generator.permutation(y) for _ in range(SHUFFLES)], axis=1)
    as_good = int((_choose(design, shuffled)[1] <= error[0]).sum())
    if (as_good + 1) / (SHUFFLES + 1) > SIGNIFICANT:
        return []
    parts = [
        (rows.shape[1], spaced.T @ spaced / len(spaced), float(rows.any(axis=1).mean()))
        for rows, spaced in blocks.values()
    ]
    shares = _shares(design, y, parts, float(ridge[0]), np.ones(len(y)))
    resamples = RESAMPLES if design.shape[1] <= WIDE else FEWER
    resampled = np.array(
        [
            _shares(design, y, parts, float(ridge[0]), weights)
            for weights in generator.multinomial(len(y), [1 / len(y)] * len(y), resamples)
        ]
    )
    found = [
        Share(name, float(share), (min(float(low), share), max(float(high), share)))
        for name, share, low, high in zip(names, shares, *ends(resampled, TAIL), strict=True)
    ]
    return sorted(found, key=lambda share: -share.share)


_ABSENT = object()
"""The value of a parameter that a point does not have; null is a value like others."""


def _given(point: PointSummary, name: str) -> Any:
    return point.params.get(name, _ABSENT)


def _differs(points: Sequence[PointSummary], name: str) -> bool:
    """Whether a parameter has two values."""
    values = (repr(_given(point, name)) for point in points)
    first = next(values, None)
    return any(value != first for value in values)


def _block(values: Sequence[Any]) -> tuple[Array, Array]:
    """A parameter's columns at each point, [points, columns], and at places spread evenly over its
    values, [places, columns], of a mean of 0; a point without the parameter has zeros."""
    import numpy as np

    given = [value for value in values if value is not _ABSENT]
    read = [read_number(value) for value in given]
    numbers = [each[0] for each in read if each is not None]
    alike = len(numbers) == len(given) and len({each[1] for each in read if each}) == 1
    if alike and len(set(numbers)) > LEVELS:
        logarithmic = all(map(is_rate, numbers)) and max(numbers) > 20 * min(numbers)
        ease = math.log if logarithmic else float
        low, high = ease(min(numbers)), ease(max(numbers))
        knots = np.linspace(0, 1, KNOTS)
        at = iter(numbers)
        shares = np.array(
            [np.nan if v is _ABSENT else (ease(next(at)) - low) / (high - low) for v in values]
        )
        even = np.linspace(0, 1, 41)
        spaced = np.clip(1 - np.abs(even[:, None] - knots) * (KNOTS - 1), 0, None)
        rows = np.clip(1 - np.abs(shares[:, None] - knots) * (KNOTS - 1), 0, None)
    else:
        levels = list(dict.fromkeys(map(repr, given)))
        rows = np.array(
            [
                [np.nan if v is _ABSENT else float(repr(v) == level) for level in levels]
                for v in values
            ]
        )
        spaced = np.eye(len(levels))
    middle = spaced.mean(axis=0)
    return np.nan_to_num(rows - middle), spaced - middle


def _penalty(design: Array, ridge: float) -> Array:
    import numpy as np

    penalty = ridge * np.eye(design.shape[1])
    penalty[0, 0] = 1e-9  # The mean is free.
    return penalty


def _choose(design: Array, y: Array) -> tuple[Array, Array]:
    """The penalty that predicts a point left out best, for each column of `y` [points, columns],
    and the mean square of its errors."""
    import numpy as np

    errors = []
    for ridge in RIDGES:
        inner = design.T @ design + _penalty(design, ridge)
        root = np.linalg.solve(inner, design.T)
        leverage = (design * root.T).sum(axis=1)
        left = (y - design @ (root @ y)) / np.maximum(1 - leverage, 1e-6)[:, None]
        errors.append((left**2).mean(axis=0))
    stacked = np.stack(errors)
    best = stacked.argmin(axis=0)
    return np.array(RIDGES)[best], stacked.min(axis=0)


def _shares(
    design: Array,
    y: Array,
    blocks: Sequence[tuple[int, Array, float]],
    ridge: float,
    weights: Array,
) -> list[float]:
    """Each parameter's variance over its values as a share of all: theirs and what is left. What
    noise adds to the estimate of a variance is taken off. `blocks` has each parameter's number of
    columns, their mean products over evenly spread places [columns, columns], and the share of the
    points that have it."""
    import numpy as np

    weighted = design * weights[:, None]
    inner = design.T @ weighted
    inverse = np.linalg.inv(inner + _penalty(design, ridge))
    fitted = inverse @ (weighted.T @ y)
    left = y - design @ fitted
    spent = float((inverse * inner).sum())  # The trace of their product: both are symmetric.
    whole = float(weights.sum())
    rest = float((weights * left**2).sum()) / max(whole - spent, 1.0)
    # Its products are the covariance of what is fitted, of which only the parameters' own are used.
    root = weighted @ inverse
    variances, start = [], 1
    for many, products, present in blocks:
        own = slice(start, start + many)
        start = own.stop
        raw = float(fitted[own] @ products @ fitted[own])
        noise = rest * float(((root[:, own] @ products) * root[:, own]).sum())
        variances.append(max(raw - noise, 0.0) * present)
    total = sum(variances) + rest
    return [variance / total if total > 0 else 0.0 for variance in variances]
