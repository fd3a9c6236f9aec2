"""The parameters that curves are drawn through and parted by: which one is the learning rate, and
which points one curve is for."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping, Sequence
from typing import Any

from lrsearch import duration
from lrsearch.analysis.points import PointSummary, columns, same, written
from lrsearch.space import is_number

LEVELS = 5
"""Values of a number that part points into curves of their own: of more, as a range has when it is
drawn from, a curve takes all together."""

BATCHES = 12
"""Batch sizes, and lengths of training, that part points into curves of their own: more, as a range
has, are taken together, or each curve would have hardly any points."""

RATES = ("lr", "learning_rate", "learning-rate", "eta")
"""Names of a learning rate, the likeliest first."""

BUDGET = "budget"
"""The name of a searched length of training."""

_BATCHES = ("batch_size", "batch-size", "bs", "batch")


def find_rate(points: Sequence[PointSummary]) -> str | None:
    """The name of the learning rate among the parameters, None where there is none that varies."""
    return _find(points, RATES)


def find_batch_size(points: Sequence[PointSummary]) -> str | None:
    """The name of the batch size, None where it does not vary."""
    return _find(points, _BATCHES)


def _find(points: Sequence[PointSummary], known: Sequence[str]) -> str | None:
    for wanted in known:
        for name, own in columns(points).items():
            if name.rpartition(".")[2].lower() == wanted and _varies(own):
                return name
    return None


def _varies(own: Sequence[Any]) -> bool:
    """Whether two values of a parameter are rates, and differ."""
    values = (each for each in own if is_rate(each))
    first = next(values, None)
    return any(value != first for value in values)


def is_rate(value: Any) -> bool:
    """Whether a value is a positive number, of which there is a logarithm."""
    if type(value) is not float and (not isinstance(value, int | float) or value is True):
        return False
    return 0 < value < math.inf


def names_rate(name: str) -> bool:
    """Whether a parameter is a learning rate by its name, as `optimizer.lr` is."""
    return name.rpartition(".")[2].lower() in RATES


def read_number(value: object) -> tuple[float, str] | None:
    """A number and its unit, None for any other value. The unit of a plain number is "", that of a
    length of training such as `2.5ep` is `ep`."""
    if is_number(value):
        return float(value), ""
    if isinstance(value, str):
        with contextlib.suppress(ValueError):
            length = duration.parse(value)
            return length.value, length.unit
    return None


def is_length(value: object) -> bool:
    """Whether a value is a length of training, as `2.5ep` is."""
    found = read_number(value)
    return found is not None and bool(found[1])


def double(budget: object) -> object:
    """The doubling that a budget lies in, its end left out: `4ep to 8ep` for 5.3ep; any other value
    as it is."""
    found = read_number(budget)
    if found is None or not found[1] or not found[0] > 0:
        return budget
    low = 2.0 ** (math.frexp(found[0])[1] - 1)
    return f"{duration.Duration(low, found[1])} to {duration.Duration(2 * low, found[1])}"


def agrees(params: Mapping[str, Any], shared: Mapping[str, Any]) -> bool:
    """Whether a point's parameters have what points of one curve have in common (`group`)."""
    for name, value in shared.items():
        own = params.get(name)
        if own != value and (name != BUDGET or double(own) != value):
            return False
    return True


Group = tuple[dict[str, Any], list[PointSummary]]
"""The parameters that points of one curve have in common, and the points."""


def group(points: Sequence[PointSummary], rate: str | None = None) -> list[Group]:
    """The points that one curve is for, with what they have in common. The rate (by default the
    learning rate) does not part points, nor does a number of more than `LEVELS` values, or a batch
    size or a length of more than `BATCHES`. Of budgets, which the objective follows most of all,
    so many part points by doublings (`double`)."""
    rate = rate or find_rate(points)
    if rate is None:
        return []
    params = [point.params for point in points]
    if not _divided or _divided[0][0] != rate or not same(_divided[0][1], params):
        # The curves and their drawing ask for the same parts, of points of the same parameters.
        _divided[:] = [(rate, params, _divide(points, rate))]
    return [(shared, [points[place] for place in places]) for shared, places in _divided[0][2]]


Parts = list[tuple[dict[str, Any], list[int]]]
"""The parameters that points have in common, and their places."""

_divided: list[tuple[str, list[Mapping[str, Any]], Parts]] = []
"""The parts that were asked for last: by which rate, of points with which parameters."""


def _divide(points: Sequence[PointSummary], rate: str) -> Parts:
    known, batch = columns(points), find_batch_size(points)
    given = {name: [each for each in own if each is not ...] for name, own in known.items()}
    parting = [name for name, own in given.items() if name != rate and _parts(own, name == batch)]
    budgets = {repr(value): value for value in given.get(BUDGET, ())}
    # A loop's own parameter of that name may be a plain number.
    many = rate != BUDGET and len(budgets) > BATCHES and all(map(is_length, budgets.values()))
    if many:  # As many lengths part no points themselves.
        parting.append(BUDGET)
    parts = {name: known[name] for name in parting}
    if many:
        parts[BUDGET] = [double(None if each is ... else each) for each in parts[BUDGET]]
    rates = known.get(rate, [...] * len(points))
    keys = zip(*map(written, parts.values()), strict=True) if parts else [()] * len(points)
    found: dict[Any, tuple[dict[str, Any], list[int]]] = {}
    for place, (own, key) in enumerate(zip(rates, keys, strict=True)):
        if not is_rate(own):
            continue
        if key not in found:
            # In the order of its own parameters, whatever point stands first of all.
            params = points[place].params
            names = [*(name for name in params if name in parts), *([BUDGET] if many else [])]
            shared = {name: parts[name][place] for name in names}
            found[key] = shared, []
        found[key][1].append(place)
    return list(found.values())


def _parts(values: Sequence[Any], batch: bool) -> bool:
    """Whether the values of a parameter part points into curves of their own."""
    kinds = set(map(type, values))
    # Most are texts or numbers, all of a kind: the rest is told apart by what is written.
    plain = len(kinds) == 1 and kinds <= {str, int, float, bool}
    distinct = {value if plain else repr(value): value for value in values}
    units = {found[1] for found in map(read_number, distinct.values()) if found is not None}
    different = len(distinct)
    most = (BATCHES if batch or units - {""} else LEVELS) if units else different
    return 1 < different <= most
