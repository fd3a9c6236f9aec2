"""Ranges and lists as they are meant, made valid: what a fault tells to write passes itself."""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from lrsearch import duration
from lrsearch.catalogue import Parameter
from lrsearch.space import same
from lrsearch.spec.foreign.ranges import is_finite, lasting, number
from lrsearch.spec.values import Unfit, check_value

Fit = Callable[[Parameter, Any], Any]
"""Gives a value that is valid in place of one. Raises ValueError where there is none."""

RANGED = ("float", "int", "duration", "any")
"""Kinds of which there are ranges."""

MOST_POINTS = 100_000
"""Points of a range on a grid, at most."""

_LOGARITHMIC = re.compile("log|^ln|exp|reciprocal")
_BASES = (("2", 2.0), ("ln", math.e), ("e", math.e))
"""Parts of the names of logarithmic scales, and their bases; of all others it is 10."""

_HIGHEST_POWER = 6
"""The highest exponent of 10 that the end of a range of exponents has."""

_SPAN = 1e-4
"""The lower end over the upper one of a range that is given none above 0."""


def fit(parameter: Parameter, value: Any) -> Any:
    """The value where it is valid, else what it means. Raises ValueError where that is nothing
    valid."""
    try:
        check_value(parameter, value)
    except Unfit as error:
        check_value(parameter, error.meant)
        return error.meant
    return value


def settle(parameter: Parameter, meant: Any, fitted: Fit = fit) -> Any:
    """The valid range or list nearest to one that is meant; None where there is none."""
    parameter = replace(parameter, optional=parameter.optional and isinstance(meant, list))
    if isinstance(meant, list):
        return _settle_list(parameter, meant, fitted) or None
    if not isinstance(meant, Mapping) or not {"min", "max"} <= meant.keys():
        return None
    if parameter.kind not in RANGED or parameter.every > 1:
        return None
    with contextlib.suppress(ValueError, ArithmeticError):
        return _settle_range(parameter, meant, fitted)
    return None


def _settle_list(parameter: Parameter, meant: list[Any], fitted: Fit) -> list[Any]:
    """Every value once; one beyond the ends of what is allowed is left out, as if unsaid, unless
    all are."""
    found: list[Any] = []
    beyond: list[Any] = []
    for part in meant:
        with contextlib.suppress(ValueError):
            value = fitted(parameter, part)
            ends = (parameter.low, parameter.high, parameter.default)
            moved = is_finite(part) and is_finite(value) and value != part and value in ends
            kept = beyond if moved else found
            known = [check_value(parameter, each) for each in kept]
            if not any(same(check_value(parameter, value), each) for each in known):
                kept.append(value)
    return found or beyond


def _settle_range(parameter: Parameter, meant: Mapping[str, Any], fitted: Fit) -> dict[str, Any]:
    """Both ends valid and in order, above 0 on a log scale; exponents as what they are exponents
    of. Raises ValueError where an end means nothing valid."""
    scale = str(meant.get("scale", parameter.scale)).lower()
    log = _LOGARITHMIC.search(scale) is not None
    low, high = number(meant["min"]), number(meant["max"])
    if "scale" in meant and log and _are_exponents(low, high):
        base = next((base for part, base in _BASES if part in scale.replace("log10", "")), 10.0)
        low, high = (float(f"{base**end:.6g}") for end in (low, high))
        if parameter.kind == "int":
            low, high = round(low), round(high)
    if (log or parameter.open_low) and is_finite(low) and is_finite(high) and max(low, high) < 0:
        raise ValueError("logarithms, of which nobody knows the base")
    if parameter.kind == "duration":
        low, high = _settle_lengths(parameter, low, high, fitted)
    else:
        if parameter.open_high and high == parameter.high and is_finite(low) and low < high:
            high = float(f"{high - (high - low) / 10:.3g}")
        high = _end(parameter, high, fitted)
        none = is_finite(low) and low <= 0 and (parameter.open_low or log)
        if none and is_finite(high) and high > 0 and parameter.kind != "int":
            low = float(f"{high * _SPAN:.1g}")
        low = _end(parameter, low, fitted)
    found = {"min": low, "max": high}
    if parameter.kind != "duration":
        if low > high:
            found = {"min": high, "max": low}
        if log and found["min"] <= 0:
            raise ValueError("nothing there is above 0")
    points = number(meant.get("points"))
    if is_finite(points) and 1 <= points <= MOST_POINTS and points == int(points):
        found["points"] = int(points)
    if "scale" in meant and (log or scale.startswith(("lin", "uniform"))):
        found["scale"] = "log" if log else "linear"
    return found


def _are_exponents(low: Any, high: Any) -> bool:
    """Whether ends on a log scale, which has no 0, are exponents: {min: -4, max: -1}."""
    return is_finite(low) and is_finite(high) and low < high <= _HIGHEST_POWER and low < 0


def _end(parameter: Parameter, end: Any, fitted: Fit) -> Any:
    """An end of a range: beyond what is allowed, the last that is."""
    if is_finite(end):
        if parameter.low is not None and end < parameter.low and not parameter.open_low:
            end = parameter.low
        if parameter.high is not None and end > parameter.high and not parameter.open_high:
            end = parameter.high
        if parameter.kind == "int" and end == int(end):
            end = int(end)
    return fitted(parameter, end)


def _settle_lengths(parameter: Parameter, low: Any, high: Any, fitted: Fit) -> tuple[str, str]:
    """Both ends in the unit of one, that of the upper one where neither has one."""
    high = fitted(parameter, high)
    unit = duration.parse(high).unit
    if is_finite(low):
        low = lasting(low, unit)
        if low is None or duration.parse(low).value == 0:
            low = lasting(float(f"{duration.parse(high).value / 10:.2g}"), unit)
    low = fitted(parameter, low)
    ends = sorted((duration.parse(end) for end in (low, high)), key=lambda each: each.value)
    if ends[0].unit != ends[1].unit:
        raise ValueError("the ends are in two units")
    return str(ends[0]), str(ends[1])
