"""Edges: whether the best lies at the end of a searched range, and what to search then."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lrsearch.catalogue import usual_scale
from lrsearch.frozen import frozen
from lrsearch.space import is_number
from lrsearch.terminal import short

if TYPE_CHECKING:
    from lrsearch.analysis.basin import Basin

NEAR = 0.01
"""The share of a range, in its own scale, that counts as its end."""

BEYOND = 0.3
"""The share of the likely best rates that lie on an end, all beyond it among them, from which on
the best may lie beyond, wherever the best value was measured."""

TRAINED = 0.1
"""The share of a range at its end that may lack a trained rate: a range whose end was not trained
has no known edge there."""

FURTHER = 1.0
"""Decades by which a logarithmic range is extended, and a list whose values grow by factors at
most; a linear one by half its width."""


@frozen
class Range:
    """A searched range. `name` is the flat parameter, `scale` is log or linear. `least` and `most`
    are the bounds of the parameter itself, if it has any: no best lies beyond those; `open_low` and
    `open_high` say that it cannot take these themselves. Between `listed` values there are no
    others: only an end itself counts as one. `whole` are whole numbers. `points` is how many a grid
    has. `path` is its path in the spec's `search`, "" under an option, where no path leads."""

    name: str
    low: float
    high: float
    scale: str = "linear"
    least: float | None = None
    most: float | None = None
    listed: tuple[float, ...] = ()
    open_low: bool = False
    open_high: bool = False
    whole: bool = False
    points: int | None = None
    path: str = ""


@frozen
class Edge:
    """A range at whose end the best lies: `side` is lowest or highest, `near` says that the best is
    not that end itself, `far` that it is the curve which says so. `line` is the range to search as
    a line of the spec; `settings` the same for `--set`, none where no path leads there; `suggest`
    has its min and max, or values."""

    name: str
    side: str
    value: float
    low: float
    high: float
    near: bool
    far: bool
    line: str
    settings: tuple[str, ...]
    suggest: Mapping[str, Any]

    @property
    def end(self) -> float:
        """The end of the range."""
        return self.low if self.side == "lowest" else self.high

    @property
    def place(self) -> str:
        """The place of the best in words: `lr 1 is the highest searched`."""
        if self.far:
            reaches = f"the interval of the best {self.name} reaches the {self.side} searched"
            return f"{self.name} {short(self.value, 3)} was best, and {reaches}"
        return f"{self.name} {_number(self.value)} is {'near ' * self.near}the {self.side} searched"

    def __str__(self) -> str:
        low, high = _number(self.low), _number(self.high)
        return f"{self.place} ({low} to {high}): the best may lie beyond"


def find_edges(
    best_params: Mapping[str, Any], ranges: Sequence[Range], curve: Basin | None = None
) -> list[Edge]:
    """The ranges at whose end the best lies. Skipped are ranges of one value, those that are no
    numeric part of `best_params` (of another choice, say), and ends that nothing lies beyond, such
    as a momentum of 0 of the user's own. Of a rate its `curve` says more than the place of the best
    value does, which is the luckiest of several (`_open_end`)."""
    found = []
    for searched in ranges:
        value = best_params.get(searched.name)
        if not is_number(value):
            continue
        side = _end(float(value), searched)
        if curve is not None and searched.name == curve.rate:
            side = _open_end(float(value), searched, curve)
        if side and (edge := _edge(float(value), searched, side)).suggest:
            found.append(edge)
    return found


def _open_end(value: float, searched: Range, curve: Basin) -> str | None:
    """The end of a range of rates that the best may lie beyond by its curve: the interval of the
    best rate reaches it, and the best value was measured there, or many of the likely best rates
    lie there. Of two such ends it is the one where the best value was measured. Where noise alone
    could give the values, no rate is told from another."""
    sides = [
        (_end(value, searched) == side, share, side)
        for side, share, trained in _open_sides(searched, curve)
        if trained and (share >= BEYOND or _end(value, searched) == side)
    ]
    return max(sides)[2] if sides else None


def find_untrained(ranges: Sequence[Range], curve: Basin) -> list[str]:
    """Sentences on the ends of a range of rates that many of the likely best rates lie towards, and
    near which nothing was trained."""
    found = []
    for searched in ranges:
        for side, share, trained in _open_sides(searched, curve):
            if share >= BEYOND and not trained and not searched.listed:
                last, far = curve.rates[0], searched.low
                if side == "highest":
                    last, far = curve.rates[-1], searched.high
                found.append(
                    f"{searched.name} {short(last, 3)} is the {side} trained, and the interval of "
                    f"the best reaches it: more trials, to {short(far, 4)}, would tell"
                )
    return found


def _open_sides(searched: Range, curve: Basin) -> Iterator[tuple[str, float, bool]]:
    """The ends of a range of rates that the interval of the best one reaches and something lies
    beyond: the side, the share of the likely best rates on it, and whether rates were trained up
    to it. None where noise alone could give the values: no rate is told from another then."""
    if searched.name != curve.rate or curve.plain:
        return
    ends = (
        ("lowest", 0, searched.low, searched.least),
        ("highest", 1, searched.high, searched.most),
    )
    for side, place, end, bound in ends:
        share = _share(curve.rates[-place], searched)
        if share is not None and end != bound and curve.open[place]:
            yield side, curve.at_ends[place], abs(share - place) <= TRAINED


def _share(value: float, searched: Range) -> float | None:
    """The place of a value in a range, 0 at its low end and 1 at its high one; None of one outside,
    or in a range of one value."""
    low, high = searched.low, searched.high
    if searched.scale == "log":
        if value <= 0:
            return None
        value, low, high = math.log(value), math.log(low), math.log(high)
    if low == high:
        return None
    share = (value - low) / (high - low)
    # Room for rounding: a grid's ends come back from a logarithm. What lies outside was measured
    # before the range was narrowed.
    return share if -1e-9 <= share <= 1 + 1e-9 else None


def _end(value: float, searched: Range) -> str | None:
    share, near = _share(value, searched), 1e-9 + (0 if searched.listed else NEAR)
    if share is None:
        return None
    if share <= near and searched.low != searched.least:
        return "lowest"
    if share >= 1 - near and searched.high != searched.most:
        return "highest"
    return None


def _edge(value: float, searched: Range, side: str) -> Edge:
    suggest = extend(searched, side)
    values = suggest.get("values")
    name = searched.path or searched.name.rpartition(".")[2]
    changed = {
        key: part
        for key, part in suggest.items()
        if part != {"min": searched.low, "max": searched.high, "points": searched.points}.get(key)
        and key in ("min", "max", "points")
    }
    settings = [f"search.{searched.path}.{key}={_flow(part)}" for key, part in changed.items()]
    if values:
        settings = [f"search.{searched.path}={_flow(values)}"]
    return Edge(
        name=searched.name,
        side=side,
        value=value,
        low=searched.low,
        high=searched.high,
        near=value not in (searched.low, searched.high),
        far=_end(value, searched) != side,
        line=f"{name}: {_flow(values or suggest)}",
        settings=tuple(settings) if searched.path else (),
        suggest=suggest,
    )


def extend(searched: Range, side: str) -> dict[str, Any]:
    """The values to search instead where the best lies at an end: {"min", "max"} with "scale" and
    "points" where it needs such, or {"values"}; {} where the parameter goes no further. A grid
    keeps the values it had: its end moves by whole steps."""
    if searched.listed:
        return _extend_list(searched, side)
    low, high, steps = searched.low, searched.high, (searched.points or 0) - 1
    logarithmic = searched.scale == "log"
    if logarithmic:
        low, high = math.log10(low), math.log10(high)
    reach = FURTHER if logarithmic else (high - low) / 2
    if steps > 0:
        more = max(1, round(reach / ((high - low) / steps)))
        reach, steps = more * (high - low) / steps, steps + more
    end = low - reach if side == "lowest" else high + reach
    end = 10**end if logarithmic else end
    limited = _limit(end, searched, side)
    ends = (limited, searched.high) if side == "lowest" else (searched.low, limited)
    if ends[0] >= ends[1] or ends == (searched.low, searched.high):
        return {}
    if searched.whole:
        ends = (round(ends[0]), round(ends[1]))
    found: dict[str, Any] = {"min": ends[0], "max": ends[1]}
    if searched.points:
        # Cut short, its steps are others.
        whole = math.isclose(limited, end, rel_tol=1e-5)
        found["points"] = steps + 1 if whole and steps > 0 else searched.points
    if logarithmic:
        found["scale"] = "log"
    elif usual_scale(searched.name) == "log":  # Else the line, where it is pasted, would be of it.
        found["scale"] = "linear"
    return found


def _extend_list(searched: Range, side: str) -> dict[str, Any]:
    values = sorted(searched.listed)
    ends = (values[1], values[0]) if side == "lowest" else (values[-2], values[-1])
    growing = values[0] > 0 and (searched.whole or values[-1] / values[0] >= 4)
    further = 2 * ends[1] - ends[0]
    if growing:
        further = ends[1] * min(max(ends[1] / ends[0], 10**-FURTHER), 10**FURTHER)
    new = _limit(further, searched, side)
    if new in values:
        return {}
    longer = sorted([*values, new])
    return {"values": [round(value) if searched.whole else value for value in longer]}


def _limit(end: float, searched: Range, side: str) -> float:
    """An end inside what the parameter can take, in few digits; a whole number where it is one."""
    lowest = side == "lowest"
    old = searched.low if lowest else searched.high
    bound = searched.least if lowest else searched.most
    if lowest and bound is None and old >= 0:
        bound = 1 if searched.whole and old > 0 else 0  # As of sizes and shares.
    if bound is not None and (end < bound if lowest else end > bound):
        end = bound
    if end == bound and (searched.open_low if lowest else searched.open_high):
        end = (old + bound) / 2
    return round(end) if searched.whole else float(f"{end:.6g}")


def _number(value: float) -> str:
    """A number in four digits, a whole one in all it has: 65536, not 6.554e+04."""
    whole = abs(value) < 1e9 and float(value).is_integer()
    return f"{value:.0f}" if whole else short(value, 4)


def _flow(value: Any) -> str:
    """A value as YAML on one line."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_flow(part)}" for key, part in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_flow, value)) + "]"
    if isinstance(value, float):
        text = short(value, 12)
        # YAML 1.1 takes 1e-5 for text elsewhere; lrsearch takes it.
        return text if "." in text or "e" in text else f"{text}.0"
    return json.dumps(value)
