"""Ranges and choices: the values that one parameter is searched over."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from lrsearch import catalogue
from lrsearch.catalogue import Parameter
from lrsearch.errors import nearest
from lrsearch.space import Choice, Dimension, Float, Int, Option, same
from lrsearch.spec.document import Path, parse
from lrsearch.spec.foreign.lines import LONGEST, Line
from lrsearch.spec.foreign.ranges import Fixed, is_finite, number, read_foreign
from lrsearch.spec.model import DEFAULTS, complete_group
from lrsearch.spec.reader import Reader
from lrsearch.spec.settling import settle
from lrsearch.spec.values import AUTO, Unfit, check_duration, check_value, is_auto, show, write
from lrsearch.sweeps import HIGHEST, LOWEST
from lrsearch.terminal import short

_COUNT = Parameter("int", 9, low=1, high=100_000)

_LISTS = ("ints", "durations", "points")
"""Kinds whose values are lists themselves."""

RANGE = ("min", "max", "points", "scale")

EXAMPLE = {"min": 1e-4, "max": 1.0, "points": 9}
"""A range of rates, as one is written."""

WIDE = 100
"""The ratio of a range's ends from which on a linear scale gets a note."""


def read_dimension(reader: Reader, path: Path, parameter: Parameter, raw: Any) -> Dimension | None:
    """A range or a list of values of a parameter; a fault, and None, where it is neither."""
    if path in reader.document.unread:
        return None  # It has its fault.
    if parameter is catalogue.TRAIN["lr"] and isinstance(raw, Mapping) and not is_range(raw):
        reader.slip(path, raw, (AUTO,), near=True)
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
        return _read_list(reader, path, parameter, raw)
    if is_range(raw):
        return _read_range(reader, path, parameter, raw)
    if raw is None:
        hint = _example(path, parameter)
        reader.fault(path, "it is empty: there is nothing to search", hint)
        return None
    rate = parameter is catalogue.TRAIN["lr"] and not reader.outside
    slip = rate and isinstance(raw, str) and nearest(raw, [AUTO])
    told = "a searched parameter is a list [1, 2, 3] or a range {min: 1, max: 3, points: 3}"
    if slip:
        reader.fault(path, f"{show(raw)} is one value", reader.hint(path, [Line(path, AUTO)]))
    else:
        _fault_fixed(reader, path, parameter, raw, raw, told)
    return None


def _read_list(
    reader: Reader, path: Path, parameter: Parameter, raw: list[Any]
) -> Dimension | None:
    """A choice among listed values; a fault, and None, where it is none."""
    if not raw:
        hint = _example(path, parameter)
        reader.fault(path, "an empty list leaves nothing to choose from", hint)
        return None
    if len(raw) == 1 and _is_wrapped(parameter, raw[0]):
        told = "a list" if isinstance(raw[0], list) else "a range"
        hint = _settled(reader, path, parameter, raw[0])
        reader.fault(path, f"{told} stands in a list of its own", hint)
        return None
    parts = re.split(r"[\s;]+", str(raw[0]).strip()) if len(raw) == 1 else []
    if (
        len(parts) > 1
        and parameter.kind in ("float", "int", "duration")
        and all(part[:1].isdigit() for part in parts)
    ):
        numbers = [number(part) for part in parts]  # 32 64, or 5ep 10ep
        hint = _settled(reader, path, parameter, numbers)
        reader.fault(path, f"{show(raw)} has no commas between its values", hint)
        return None
    if any(map(is_auto, raw)) and parameter is catalogue.TRAIN["lr"]:
        hint = reader.hint(path, [Line(path, AUTO)])
        reader.fault(path, f"'{AUTO}' is a whole range, and no value of a list", hint)
        return None
    values: list[Any] = []
    faults: dict[int, str] = {}
    for index, part in enumerate(raw):
        with_its_own = (*path, index) in reader.document.unread
        try:
            values.append(part if with_its_own else check_value(parameter, part))
        except ValueError as error:
            faults[index] = str(error)
    if not faults:
        _note_ends(reader, path, raw)
        return make_choice(reader, path, [Option(value) for value in values])
    hint = _settled(reader, path, parameter, raw)
    for index, told in faults.items():
        reader.fault((*path, index), told, hint)
    return None


def _settled(reader: Reader, path: Path, parameter: Parameter, meant: Any, more: str = "") -> str:
    """The hint with the valid range or list that is meant; an example where there is none."""
    found = reader.settled(path, parameter, meant)
    if found is None:
        return _example(path, parameter)
    for part in meant if isinstance(meant, list) else [meant.get("max")]:
        more = more or _remark(reader, path, parameter, part)
    return reader.hint(path, [Line(path, found, more)])


def _remark(reader: Reader, path: Path, parameter: Parameter, value: Any) -> str:
    """The other meaning of a value without a unit; "" for any other value."""
    try:
        check_value(parameter, value)
    except Unfit as error:
        return reader.fitting(path, error)[1]
    except ValueError:
        pass
    return ""


def _example(path: Path, parameter: Parameter) -> str:
    """The hint with a list or a range that a parameter may have; "" where none is known."""
    usual = {
        "float": EXAMPLE if parameter.scale == "log" else [0.1, 0.2, 0.3],
        "int": [16, 32, 64] if parameter.scale == "log" else [1, 2, 3],
        "duration": ["5ep", "10ep"] if "dur" not in parameter.units else ["0.1dur", "0.2dur"],
        "ints": [[64], [128, 64]],
        "bool": [True, False],
        "any": [1, 2, 3],
    }
    shown = parse(parameter.search, "").data if parameter.search else usual.get(parameter.kind)
    shown = list(parameter.choices[:2]) or settle(parameter, shown)
    if shown is None:
        return ""
    return f"write {path[-1]}: {write(shown)}; for example"


def _is_wrapped(parameter: Parameter, part: Any) -> bool:
    """Whether the one entry of a list is the list, or the range, that is meant."""
    numbers = parameter.kind in ("float", "int", "duration")
    return numbers and (isinstance(part, list) or is_range(part))


def _fault_foreign(reader: Reader, path: Path, parameter: Parameter, raw: Any, meant: Any) -> None:
    """A fault for a range or a list in the form of another tool, with lrsearch's own."""
    if isinstance(meant, Fixed):
        _fault_fixed(reader, path, parameter, raw, meant.value)
        return
    keyed = isinstance(raw, Mapping) and any(part is not None for part in raw.values())
    strange = [key for key in raw if key not in RANGE] if keyed else []
    hint = _settled(reader, path, parameter, meant)
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
            value = reader.fitted(path, parameter, value)
        except ValueError:
            hint = _example(path, parameter) or more
            reader.fault(path, f"{show(raw)} is no range and no list", hint)
            return
    more = f"{more};\n  a fixed one is no part of search: " if more else ""
    hint = f"{more}a fixed one belongs under {reader.fixed_under}: {show(value)}"
    if path[0] == "search" and not any(isinstance(each, int) for each in path):
        head, _, rest = ".".join(map(str, path[1:])).partition(".")
        place: Path = ("params",) if reader.outside else ("train",)
        place = (*(() if head in ("model", "data") else place), head)
        top = reader.document.data
        for key in place:
            top = top.get(key) if isinstance(top, Mapping) else None
        if rest and head in (*catalogue.GROUPS, "warmup") and not isinstance(top, Mapping):
            named = top if isinstance(top, str) else DEFAULTS.get(head, "")
            value = {rest: value} if head == "warmup" else {"name": named, rest: value}
        elif rest:
            place = (*place, *rest.split("."))
        hint = more + reader.hint(path, [Line(place, value)])
    reader.fault(path, f"{show(raw)} is one value", hint)


def _note_ends(reader: Reader, path: Path, values: list[Any]) -> None:
    """A note on two values far apart, of what is searched on a log scale: other tools' lists of two
    are the ends of a range, a third its number of points."""
    name = str(path[-1])
    points = values[2] if len(values) == 3 and type(values[2]) is int else EXAMPLE["points"]
    if len(values) != 2 + (points is values[-1]) or catalogue.usual_scale(name) != "log":
        return
    ends = values[:2]
    low, high = sorted(ends) if all(type(each) is float for each in ends) else (0.0, 0.0)
    if low > 0 and high / low >= WIDE:
        line = write({"min": low, "max": high, "points": points})
        told = "two" if len(values) == 2 else "three"
        reader.notes.append(
            f"{name} is searched at these {told} values alone: for those between write {name}: "
            f"{line}"
        )


def make_choice(reader: Reader, path: Path, options: list[Option], group: str = "") -> Choice:
    """Make a choice of options, the defaults of its `group` filled; a fault where one is listed
    twice."""
    whole = [complete_group(group, option.value) for option in options]
    for index, option in enumerate(options):
        if any(
            same(whole[index], whole[number]) and option.space == earlier.space
            for number, earlier in enumerate(options[:index])
        ):
            told = f"{show(option.value)} is listed twice"
            values = [each.value for each in options]
            numbers = all(map(is_finite, values))
            hint = reader.hint(path, [Line(path, list(dict.fromkeys(values)))]) if numbers else ""
            reader.fault((*path, index), told, hint or "leave one of both out")
    return Choice(tuple(options))


def _read_range(
    reader: Reader, path: Path, parameter: Parameter, raw: Mapping[str, Any]
) -> Dimension | None:
    """A range of numbers or durations. A parameter of any kind gets a range of whole numbers where
    both ends are whole."""
    reader.unknown(path, raw, RANGE)
    before = len(reader.faults)
    for end in ("min", "max"):
        if end not in raw and not reader.is_promised(".".join(map(str, (*path, end)))):
            filled = _complete_range(parameter, raw)
            hint = reader.hint(path, [Line(path, filled)]) if filled else ""
            reader.fault(path, f"'{end}' is missing from the range", hint)
    if parameter.kind not in ("float", "int", "duration", "any"):
        told = f"no range of these: list the values; each is {parameter.allowed()}"
        reader.fault(path, told, _example(path, parameter))
    scale = Parameter("text", parameter.scale, choices=("linear", "log"))
    log = reader.value((*path, "scale"), scale, raw.get("scale", parameter.scale)) == "log"
    points = raw.get("points")
    if len(reader.faults) > before or not {"min", "max"} <= raw.keys():
        return None
    if isinstance(points, list):
        hint = _settled(reader, path, parameter, points)
        reader.fault((*path, "points"), f"{show(points)} is no number of points", hint)
        return None
    if points is not None:
        points = reader.value((*path, "points"), _COUNT, points)
    if parameter.kind == "any":
        whole = type(raw["min"]) is int and type(raw["max"]) is int
        parameter = Parameter("int" if whole else "float", scale=parameter.scale)
    parameter = replace(parameter, optional=False)
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
        hint = _settled(reader, path, parameter, {**raw, "scale": "log"}, "or scale: linear")
        reader.fault((*path, "min"), f"min {short(low)} has no place on a log scale", hint)
    if not reader.sound(path):
        return None
    if low == high:
        line = f"{path[-1]}: {write(raw['min'])}"
        reader.notes.append(
            f"{path[-1]} is searched from {write(raw['min'])} to the same: it has one value, "
            f"whatever points says; a fixed one belongs under {reader.fixed_under}: {line}"
        )
    if not log and "scale" not in raw and low > 0 and high / low >= WIDE:
        line = write({**raw, "scale": "log"})
        reader.notes.append(
            f"{path[-1]} is searched on a linear scale, of which nine tenths lie above "
            f"{write(raw['max'])} / 10: for even parts write {path[-1]}: {line}"
        )
    ranged = (
        Int(low, high, log, points)
        if parameter.kind == "int"
        else Float(low, high, log, points, unit)
    )
    if points == 1 and low < high:
        reader.notes.append(
            f"{path[-1]} has one point, and a grid trains at {ranged.value(ranged.grid()[0])} "
            f"alone: for several write {path[-1]}: {write({**raw, 'points': EXAMPLE['points']})}"
        )
    return ranged


def _complete_range(parameter: Parameter, raw: Mapping[str, Any]) -> dict[str, Any] | None:
    """A range whose other end is missing, with an example of one; None where that has no number."""
    (given,) = [raw[end] for end in ("min", "max") if end in raw]
    if not is_finite(given) or given <= 0:
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
    return {**ends, **{key: part for key, part in raw.items() if key in ("points", "scale")}}


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
    faults: dict[Path, ValueError] = {}
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
        except ValueError as error:
            faults[place] = error
    if faults:
        _fault_ends(reader, path, parameter, raw, faults)
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


def _fault_ends(
    reader: Reader,
    path: Path,
    parameter: Parameter,
    raw: Mapping[str, Any],
    faults: Mapping[Path, ValueError],
) -> None:
    """Faults for the ends of a range that are not valid: for one alone its own line, for both the
    whole range."""
    found = reader.settled(path, parameter, raw)
    hint = _settled(reader, path, parameter, raw)
    for place, error in faults.items():
        end = str(place[-1])
        if found and len(faults) == 1 and {**found, end: None} == {**raw, end: None}:
            positive = end == "min" and is_finite(raw[end]) and raw[end] <= 0
            more = "or another above 0" if positive and parameter.open_low else ""
            remark = _remark(reader, path, parameter, raw[end])
            hint = reader.hint(place, [Line(place, found[end], remark or more)])
        reader.fault(place, str(error), hint)


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
