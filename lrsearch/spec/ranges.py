"""Ranges and choices: the values that one parameter is searched over."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lrsearch import catalogue
from lrsearch.catalogue import Parameter
from lrsearch.errors import nearest
from lrsearch.space import Choice, Dimension, Float, Int, Option, same
from lrsearch.spec.document import Path
from lrsearch.spec.foreign.lines import LONGEST, Line
from lrsearch.spec.foreign.ranges import Fixed, each, is_numeric, lasting, number, read_foreign
from lrsearch.spec.model import complete_group
from lrsearch.spec.reader import Reader
from lrsearch.spec.values import AUTO, Unfit, check_duration, check_value, is_auto, show, write
from lrsearch.sweeps import HIGHEST, LOWEST

_COUNT = Parameter("int", low=1, high=100_000)

_LISTS = ("ints", "durations", "points")
"""Kinds whose values are lists themselves."""

RANGE = ("min", "max", "points", "scale")

EXAMPLE = {"min": 1e-4, "max": 1.0, "points": 9}
"""A range of rates, as one is written."""

WIDE = 100
"""The ratio of a range's ends from which on a linear scale gets a note."""


def read_dimension(reader: Reader, path: Path, parameter: Parameter, raw: Any) -> Dimension | None:
    """A range or a list of values of a parameter; a fault, and None, where it is neither."""
    if is_auto(raw):
        return _read_auto(reader, path, parameter, raw)
    meant = read_foreign(raw)
    if parameter.kind == "any" and isinstance(raw, list) and parameter.scale != "log":
        # For a parameter outside lrsearch a text such as 1-3 may be just that text.
        meant = meant if ".." in str(raw[:1]) or "(" in str(raw[:1]) else None
    if meant is not None:
        _fault_foreign(reader, path, parameter, raw, meant)
        return None
    if isinstance(raw, list):
        if not raw:
            hint = (
                "list the values, such as [1, 2, 3], or write a range {min: 1, max: 3, points: 3}"
            )
            reader.fault(path, "an empty list leaves nothing to choose from", hint)
            return None
        if len(raw) == 1 and _is_wrapped(parameter, raw[0]):
            told = "a list" if isinstance(raw[0], list) else "a range"
            hint = reader.hint(path, [Line(path, raw[0])])
            reader.fault(path, f"{told} stands in a list of its own", hint)
            return None
        numbers = [number(part) for part in str(raw[0]).split()] if len(raw) == 1 else []
        if len(numbers) > 1 and parameter.kind != "any" and all(map(is_numeric, numbers)):
            hint = reader.hint(path, [Line(path, numbers)])
            reader.fault(path, f"{show(raw)} has no commas between its values", hint)
            return None
        before = len(reader.faults)
        if any(map(is_auto, raw)) and parameter.kind == "float":
            hint = reader.hint(path, [Line(path, AUTO)])
            reader.fault(path, f"'{AUTO}' is a whole range, and no value of a list", hint)
            return None
        values = [reader.value((*path, index), parameter, part) for index, part in enumerate(raw)]
        if len(reader.faults) > before:
            return None
        return make_choice(reader, path, [Option(value) for value in values])
    if is_range(raw):
        return _read_range(reader, path, parameter, raw)
    if raw is None:
        example = EXAMPLE if parameter.scale == "log" else [1, 2, 3]
        hint = f"list the values or write a range, such as {path[-1]}: {write(example)}"
        reader.fault(path, "it is empty: there is nothing to search", hint)
        return None
    rate = parameter is catalogue.TRAIN["lr"] and not reader.outside
    slip = rate and isinstance(raw, str) and nearest(raw, [AUTO])
    told = f"did you mean '{AUTO}'? " if slip else ""
    told += "a searched parameter is a list [1, 2, 3] or a range {min: 1, max: 3, points: 3}"
    if slip:
        reader.fault(path, f"{show(raw)} is one value", told)
    else:
        _fault_fixed(reader, path, parameter, raw, raw, told)
    return None


def _is_wrapped(parameter: Parameter, part: Any) -> bool:
    """Whether the one entry of a list is the list, or the range, that is meant."""
    numbers = parameter.kind in ("float", "int", "duration")
    return numbers and (isinstance(part, list) or is_range(part))


def _fault_foreign(reader: Reader, path: Path, parameter: Parameter, raw: Any, meant: Any) -> None:
    """A fault for a range or a list in the form of another tool, with lrsearch's own."""
    if isinstance(meant, Fixed):
        _fault_fixed(reader, path, parameter, raw, meant.value)
        return
    if parameter.kind == "duration":
        unit = parameter.units[0]
        meant = each(lambda part: lasting(part, unit) or part, meant)
    strange = [key for key in raw if key not in RANGE] if isinstance(raw, Mapping) else []
    hint = reader.hint(path, [Line(path, meant)])
    told = "unknown key" if strange else f"{show(raw)} is no range and no list"
    if not strange and isinstance(raw, Mapping):
        written = write(raw)
        told = f"{written if len(written) <= LONGEST else show(raw)} is no range"
    reader.fault((*path, strange[0]) if strange else path, told, hint)


def _fault_fixed(
    reader: Reader, path: Path, parameter: Parameter, raw: Any, value: Any, more: str = ""
) -> None:
    """A fault for one value where a range or a list belongs, with where it is fixed, if it can
    be."""
    if parameter.kind != "any":
        try:
            check_value(parameter, value)
        except ValueError as error:
            if not isinstance(error, Unfit):
                reader.fault(path, f"{show(raw)} is no range and no list", more)
                return
    more = f"{more};\n  a fixed one is no part of search: " if more else ""
    hint = f"{more}a fixed one belongs under {reader.fixed_under}: {show(value)}"
    if path[0] == "search" and len(path) == 2:
        place: Path = ("params",) if reader.outside else ("train",)
        if str(path[1]).split(".")[0] in ("model", "data"):
            place = ()
        name = tuple(str(path[1]).split("."))
        hint = more + reader.hint(path, [Line((*place, *name), value)])
    reader.fault(path, f"{show(raw)} is one value", hint)


def make_choice(reader: Reader, path: Path, options: list[Option], group: str = "") -> Choice:
    """Make a choice of options, the defaults of its `group` filled; a fault where one is listed
    twice."""
    whole = [complete_group(group, option.value) for option in options]
    for index, option in enumerate(options):
        if any(
            same(whole[index], whole[number]) and option.space == earlier.space
            for number, earlier in enumerate(options[:index])
        ):
            reader.fault(
                (*path, index), f"{show(option.value)} is listed twice", "leave one of both out"
            )
    return Choice(tuple(options))


def _read_range(
    reader: Reader, path: Path, parameter: Parameter, raw: Mapping[str, Any]
) -> Dimension | None:
    """A range of numbers or durations. A parameter of any kind gets a range of whole numbers where
    both ends are whole."""
    before = len(reader.faults)
    reader.unknown(path, raw, RANGE)
    for end in ("min", "max"):
        if end not in raw and not reader.is_promised(".".join(map(str, (*path, end)))):
            filled = _complete_range(parameter, raw)
            hint = reader.hint(path, [Line(path, filled)]) if filled else ""
            reader.fault(path, f"'{end}' is missing from the range", hint)
    if parameter.kind not in ("float", "int", "duration", "any"):
        reader.fault(path, f"no range of these: list the values; each is {parameter.allowed()}")
    scale = Parameter("text", parameter.scale, choices=("linear", "log"))
    log = reader.value((*path, "scale"), scale, raw.get("scale", parameter.scale)) == "log"
    points = raw.get("points")
    if len(reader.faults) > before:
        return None
    if isinstance(points, list):
        hint = reader.hint(path, [Line(path, points)])
        reader.fault((*path, "points"), f"{show(points)} is no number of points", hint)
        return None
    if points is not None:
        points = reader.value((*path, "points"), _COUNT, points)
    if parameter.kind == "any":
        whole = type(raw["min"]) is int and type(raw["max"]) is int
        parameter = Parameter("int" if whole else "float", scale=parameter.scale)
    ends = _read_ends(reader, path, parameter, raw)
    if ends is None:
        return None
    low, high, unit = ends
    if log and low <= 0 and parameter.low is None and "scale" not in raw:
        # From a name alone it does not follow that 0 is out of place.
        reader.notes.append(
            f"{path[-1]} is searched on a linear scale, since a log scale has no "
            f"{raw['min']}: for one start above 0"
        )
        log = False
    if log and low <= 0:
        reader.fault(
            (*path, "min"),
            f"min {low:g} has no place on a log scale",
            "start above 0, write scale: linear, or list the values",
        )
    if len(reader.faults) > before:
        return None
    if not log and "scale" not in raw and low > 0 and high / low >= WIDE:
        line = write({**raw, "scale": "log"})
        reader.notes.append(
            f"{path[-1]} is searched on a linear scale, of which nine tenths lie above "
            f"{write(raw['max'])} / 10: for even parts write {path[-1]}: {line}"
        )
    if parameter.kind == "int":
        return Int(low, high, log, points)
    return Float(low, high, log, points, unit)


def _complete_range(parameter: Parameter, raw: Mapping[str, Any]) -> dict[str, Any] | None:
    """A range whose other end is missing, with an example of one; None where that has no number."""
    (given,) = [raw[end] for end in ("min", "max") if end in raw]
    if not is_numeric(given) or given <= 0:
        return None
    whole = type(given) is int and parameter.kind != "float"
    ratio = 4 if whole or parameter.scale != "log" else 1000
    low = max(1, given // ratio) if whole else float(f"{given / ratio:.6g}")
    low, high = (given, given * ratio) if "min" in raw else (low, given)
    ends = {"min": low, "max": high}
    try:
        for end in ends.values():
            check_value(parameter, end)
    except ValueError:
        return None
    return {**ends, **{key: part for key, part in raw.items() if key not in ends}}


def _read_auto(reader: Reader, path: Path, parameter: Parameter, raw: Any) -> Dimension | None:
    """A range of rates whose ends a range test finds: `auto`, or {auto: true, points: 9}."""
    if reader.outside:
        kind = "loop" if "loop" in reader.document.data else "command"
        known = "; lrsearch range finds one where the loop asks trial.lr_at"
        told = f"or another range, or a list{known if kind == 'loop' else ''}"
        hint = reader.hint(path, [Line(path, EXAMPLE, told)])
        message = f"the range test behind '{AUTO}' trains the model itself, and only the {kind} can"
        reader.fault(path, message, hint)
        return None
    if parameter is not catalogue.TRAIN["lr"]:
        hint = f"give {path[-1]} a list of values, or a range with min and max"
        reader.fault(path, f"'{AUTO}' is for the learning rate, lr: a range test finds it", hint)
        return None
    before = len(reader.faults)
    if raw == AUTO:
        raw = {AUTO: True}
    raw = raw if isinstance(raw, Mapping) else {AUTO: raw}
    points = raw.get("points")
    meant: Any = {AUTO: True, "points": points} if type(points) is int else AUTO
    ends = [key for key in ("min", "max") if key in raw]
    if ends:
        message = f"'{ends[0]}' beside {AUTO}: the range test finds both ends"
        reader.fault((*path, ends[0]), message, reader.hint(path, [Line(path, meant)]))
        return None
    reader.unknown(path, raw, (AUTO, "points", "scale"))
    wanted = raw[AUTO]
    if wanted is not True:
        if type(wanted) is int and wanted > 1:
            meant = {AUTO: True, "points": wanted}
        told = f"{show(wanted)} is no range"
        if wanted is False:
            told, meant = f"without {AUTO} a range has min and max", EXAMPLE
        reader.fault(path, told, reader.hint(path, [Line(path, meant)]))
    if raw.get("scale", "log") != "log":
        message = f"the range of {AUTO} is searched on a log scale: leave it out"
        reader.fault((*path, "scale"), message, reader.hint(path, [Line(path, meant)]))
    if points is not None:
        points = reader.value((*path, "points"), _COUNT, points)
    if len(reader.faults) > before:
        return None
    return Float(LOWEST, HIGHEST, True, points, auto=True)


def _read_ends(
    reader: Reader, path: Path, parameter: Parameter, raw: Mapping[str, Any]
) -> tuple[Any, Any, str] | None:
    """The ends of a range as numbers, and their unit; a fault, and None, where they are none."""
    unit = ""
    ends: list[Any] = []
    for end in ("min", "max"):
        place = (*path, end)
        try:
            if parameter.kind == "duration":
                length = check_duration(parameter, raw[end])
                if unit and length.unit != unit:
                    raise ValueError(f"{show(raw[end])} is not in the unit of min ({unit})")
                unit = length.unit
                ends.append(length.value)
            else:
                ends.append(check_value(parameter, raw[end]))
        except Unfit as error:
            reader.fault(place, str(error), reader.unfit(place, parameter, error))
        except ValueError as error:
            reader.fault(place, str(error), _suggest_low(reader, place, parameter, raw))
    if len(ends) < 2:
        return None
    low, high = ends
    if low > high:
        turned = {**raw, "min": raw["max"], "max": raw["min"]}
        message = f"min {show(raw['min'])} is above max {show(raw['max'])}"
        reader.fault((*path, "min"), message, reader.hint(path, [Line(path, turned)]))
        return None
    if parameter.every > 1:
        message = f"between its ends not all are allowed: list the values; {parameter.allowed()}"
        reader.fault(path, message)
        return None
    return low, high, unit


def _suggest_low(reader: Reader, path: Path, parameter: Parameter, raw: Mapping[str, Any]) -> str:
    """The hint for a `min` that is not above 0, where all values are; "" for any other end."""
    low, high = raw["min"], raw["max"]
    numbers = isinstance(low, int | float) and isinstance(high, int | float)
    if path[-1] != "min" or not numbers or not parameter.open_low or low > 0 or not high > 0:
        return ""
    return reader.hint(path, [Line(path, float(f"{high * 1e-4:.1g}"), "or another above 0")])


def is_range(raw: Any) -> bool:
    """Whether a value is written as a range."""
    return isinstance(raw, Mapping) and ("min" in raw or "max" in raw)


def searched(parameter: Parameter, raw: Any) -> bool:
    """Whether an option's argument is a range or a choice rather than one value."""
    if is_range(raw):
        return True
    if is_auto(raw):
        return parameter is catalogue.TRAIN["lr"] or isinstance(raw, Mapping)
    if not isinstance(raw, list):
        return False
    if parameter.kind not in _LISTS:
        return True
    parts = [part for part in raw if isinstance(part, list)]
    return bool(parts) and (
        parameter.kind != "points" or all(isinstance(each, list) for part in parts for each in part)
    )
