"""The searched ranges of a spec, with the bounds of their parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lrsearch import catalogue
from lrsearch.analysis.edges import Range
from lrsearch.analysis.groups import names_rate
from lrsearch.space import Choice, Dimension, Float, parameters, parse_name
from lrsearch.spec.model import Spec


def find_searched(spec: Spec, samples: int | None = None) -> list[Range]:
    """The searched ranges and lists of numbers, with the bounds of each parameter: the best may lie
    on their ends. `samples` are those of the training part, which no batch exceeds."""
    found = []
    for name, dimension in parameters(spec.space):
        parts = parse_name(name)
        flat = parts.path
        if flat == "optimizer.lr" and spec.kind is None:  # As `flatten` calls it.
            flat = "lr"
        path = name if parts.option is None else ""
        known = _parameter(spec, name)
        bounds = (known.low, known.high) if known else (None, None)
        # Of a loop's or a constructor's parameters no bounds are known: a rate is never 0, and what
        # is called like a share of the catalogue's, such as a momentum, is one.
        open_ends = (known.open_low, known.open_high) if known else (names_rate(name), False)
        if known is None and _is_share(flat, dimension):
            bounds, open_ends = (0.0, 1.0), (False, True)
        if name == "batch_size" and samples and spec.kind is None:
            bounds = (bounds[0], samples)
        more: dict[str, Any] = {"path": path, "least": bounds[0], "most": bounds[1]}
        more |= dict(zip(("open_low", "open_high"), open_ends, strict=True))
        if isinstance(dimension, Choice):
            if not dimension.ordered or len(dimension.options) < 2:
                continue
            values = dimension.values
            more["whole"] = all(isinstance(value, int) for value in values)
            listed = tuple(map(float, values))
            found.append(Range(flat, min(listed), max(listed), listed=listed, **more))
            continue
        if isinstance(dimension, Float) and dimension.unit:
            continue
        more |= {"whole": not isinstance(dimension, Float), "points": dimension.points}
        low, high = float(dimension.low), float(dimension.high)
        found.append(Range(flat, low, high, "log" if dimension.log else "linear", **more))
    return found


def _is_share(flat: str, dimension: Dimension) -> bool:
    """Whether all that is searched of a parameter is below 1, as its name says it must be, or as it
    is of decays, whose values crowd below 1."""
    if isinstance(dimension, Choice):
        values = dimension.values if dimension.ordered else [1]
    else:
        values = [dimension.low, dimension.high]
    if not all(0 <= value < 1 for value in values):
        return False
    name = flat.rpartition(".")[2].lower()
    named = name in catalogue.SHARES or not _AVERAGES.isdisjoint(name.split("_"))
    return named or min(values) >= _CROWDED


_AVERAGES = frozenset(("momentum", "ema", "polyak", "averaging", "swa", "dropout"))
"""Words in the names of shares below 1 of the user's own, such as ema_decay."""

_CROWDED = 0.9
"""The least value from which on a range below 1 is taken for one of decays."""


def _parameter(spec: Spec, name: str) -> catalogue.Parameter | None:
    """The catalogue's entry of a parameter by its id in the space."""
    if spec.kind is not None:
        return None
    parts = parse_name(name)
    if parts.head not in catalogue.GROUPS:
        return catalogue.TRAIN.get(name)
    chosen = dict(spec.space.dimensions).get(parts.head)
    value = spec.model if parts.head == "model" else spec.train.get(parts.head)
    if parts.option is not None and isinstance(chosen, Choice):
        value = chosen.options[parts.option].value
    title = value.get("name") if isinstance(value, Mapping) else None
    entry = catalogue.GROUPS[parts.head].get(title) if title else None
    return entry.parameters.get(parts.argument) if entry else None
