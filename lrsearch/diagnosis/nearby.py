"""Trials that are near another in all parameters but the learning rate: in a search of several
continuous parameters none differs in the rate alone."""

from __future__ import annotations

import math
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lrsearch.analysis.groups import names_rate
from lrsearch.analysis.points import columns
from lrsearch.trial import Record

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Near = tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.bool_]]

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
        if type(value) in _NUMBERS and -LARGEST <= value <= LARGEST and not names_rate(name)
    }


_NUMBERS = (int, float)


def find_near(records: Sequence[Record], wanted: Collection[int]) -> Iterator[Near]:
    """The trials near each of the wanted ones, which are given by their numbers; neighbours have
    all in common that is no number, the seed and the fold, too. Each part of the answer has the
    places among the records of some wanted ones [n], those of others [m], and which of these are
    near each [n, m]: the nearest, no more than `MOST`, of equals those of lower numbers."""
    import numpy as np

    known = {name: own for name, own in columns(records).items() if not names_rate(name)}
    marks = {
        name: [
            _IS_NUMBER
            if type(value) in _NUMBERS and -LARGEST <= value <= LARGEST
            else value is not ... and repr(value)
            for value in own
        ]
        for name, own in known.items()
    }
    trials = [each.trial for each in records]
    keys = zip([(each.seed, each.fold) for each in trials], *marks.values(), strict=True)
    groups: dict[Any, list[int]] = {}
    for place, key in enumerate(keys):
        groups.setdefault(key, []).append(place)
    for (_, *given), group in groups.items():
        names = [name for name, mark in zip(known, given, strict=True) if mark is _IS_NUMBER]
        if len(group) > 1 and names:
            group.sort(key=lambda place: trials[place].number)
            numbers = [np.array([float(known[name][each]) for each in group]) for name in names]
            asked = np.array([trials[place].number in wanted for place in group])
            places = np.array(group)
            for rows, others, near in _find_rows(numbers, asked):
                yield places[rows], places[others], near


_IS_NUMBER = object()
"""The mark of a number among the values that neighbours have in common."""


def _find_rows(columns: Sequence[NDArray[np.float64]], wanted: NDArray[np.bool_]) -> Iterator[Near]:
    """The rows of a group that are wanted, and those near each by its `columns`."""
    import numpy as np

    scaled = [_scaled(column) for column in columns]
    count = len(wanted)
    # In place of `numpy.unique`, which imports masked arrays.
    spread = np.linspace(0, count - 1, min(count, CROWD)).round().astype(int)
    others = np.array(sorted({*spread.tolist()}))
    for rows in np.split(np.flatnonzero(wanted), range(BLOCK, count, BLOCK)):
        distance = np.zeros((len(rows), len(others)))
        for column in scaled:
            apart = column[rows, None] - column[others]
            np.maximum(distance, np.abs(apart, out=apart), out=distance)
        distance[rows[:, None] == others] = math.inf
        near = distance <= WIDTH
        crowded = near.sum(axis=1) > MOST
        if crowded.any():
            near[crowded] = _nearest(distance[crowded])
        yield rows, others, near


def _nearest(distance: NDArray[np.float64]) -> NDArray[np.bool_]:
    """The nearest in each row of distances, `MOST` of them, of equals the first."""
    import numpy as np

    limit = np.partition(distance, MOST - 1)[:, MOST - 1 : MOST]
    nearer, at = distance < limit, distance == limit
    room = MOST - nearer.sum(axis=1, keepdims=True)
    found: NDArray[np.bool_] = nearer | (at & (at.cumsum(axis=1) <= room))
    return found


def _scaled(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Values by shares of their range, of their logarithms where they span a decade."""
    import numpy as np

    if values.min() > 0 and values.max() >= DECADE * values.min():
        values = np.log(values)
    span = values.max() - values.min()
    return (values - values.min()) / span if span > 0 else 0.0 * values
