"""Trials that are near another in all parameters but the learning rate: in a search of several
continuous parameters none differs in the rate alone."""

from __future__ import annotations

import itertools
import math
import sys
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lrsearch.analysis.basin import names_rate
from lrsearch.trial import Record

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

WIDTH = 0.125
"""Share of the range of a parameter's values that two trials may be apart in it: of trials spread
evenly a quarter is within that of another."""

DECADE = 10.0
"""The ratio of the largest value of a parameter to the smallest from which on its scale is
logarithmic."""

MOST = 32
"""Trials, the nearest, that one is held against."""

CROWD = 256
"""Trials of a group among which the nearest are looked for, spread evenly over it: of a search of
thousands that many show what the rate does, and all pairs would take seconds."""

LARGEST = sys.float_info.max
"""The largest number that is one: a whole number may be larger."""

BLOCK = 256
"""Rows whose distances are in memory at once."""


def numbers_of(params: Mapping[str, Any]) -> dict[str, float]:
    """The parameters of a trial, but the rate, that are finite numbers."""
    return {
        name: float(value)
        for name, value in params.items()
        if _is_number(value) and not names_rate(name)
    }


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and -LARGEST <= value <= LARGEST


def find_near(records: Sequence[Record], wanted: Collection[int]) -> dict[int, list[int]]:
    """The numbers of the trials near each of the wanted ones, by the numbers of these, the nearest
    first; neighbours have all in common that is no number, the seed and the fold, too."""
    groups: dict[Any, list[tuple[int, list[float]]]] = {}
    kinds: dict[tuple[str, ...], list[str]] = {}
    for record in sorted(records, key=lambda each: each.trial.number):
        params, trial = record.params, record.trial
        names = kinds.get(given := tuple(params))
        if names is None:
            names = kinds[given] = sorted(name for name in given if not names_rate(name))
        own: list[float] = []
        common: list[object] = [trial.seed, trial.fold]
        for name in names:
            if _is_number(value := params[name]):
                own.append(float(value))
                common.append(name)
            else:
                common.append((name, repr(value)))
        groups.setdefault(tuple(common), []).append((trial.number, own))
    found: dict[int, list[int]] = {}
    for group in groups.values():
        if len(group) > 1 and group[0][1]:
            numbers = [number for number, _ in group]
            columns = list(zip(*(own for _, own in group), strict=True))
            for row, near in _find_rows(columns, [each in wanted for each in numbers]):
                found[numbers[row]] = [numbers[each] for each in near]
    return found


def _find_rows(
    columns: Sequence[Sequence[float]], wanted: Sequence[bool]
) -> list[tuple[int, Sequence[int]]]:
    """The rows of a group that are wanted, each with those near it by its `columns`."""
    import numpy as np

    scaled = [_scaled(np.array(column)) for column in columns]
    count = len(wanted)
    others = np.unique(np.linspace(0, count - 1, min(count, CROWD)).round().astype(int))
    found: list[tuple[int, Sequence[int]]] = []
    for rows in np.split(np.flatnonzero(wanted), range(BLOCK, count, BLOCK)):
        distance = np.zeros((len(rows), len(others)))
        for column in scaled:
            np.maximum(distance, np.abs(column[rows, None] - column[others]), out=distance)
        distance[rows[:, None] == others] = math.inf
        # Few are near: to sort these alone takes a tenth of the time.
        limit = np.full((len(rows), 1), WIDTH)
        if len(others) > MOST:
            limit = np.minimum(limit, np.partition(distance, MOST - 1)[:, MOST - 1 : MOST])
        places_near, which = np.nonzero(distance <= limit)
        order = np.lexsort((distance[places_near, which], places_near))
        near = others[which[order]].tolist()
        ends = np.searchsorted(places_near, np.arange(len(rows) + 1)).tolist()
        for row, (start, end) in zip(rows.tolist(), itertools.pairwise(ends), strict=True):
            found.append((row, near[start : min(end, start + MOST)]))
    return found


def _scaled(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Values by shares of their range, of their logarithms where they span a decade."""
    import numpy as np

    if values.min() > 0 and values.max() >= DECADE * values.min():
        values = np.log(values)
    span = values.max() - values.min()
    return (values - values.min()) / span if span > 0 else 0.0 * values
