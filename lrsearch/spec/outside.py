"""Trainings outside lrsearch: a spec with `command` or `loop` in place of data, model and train."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from graphlib import CycleError, TopologicalSorter
from typing import Any

from lrsearch import catalogue, duration
from lrsearch.catalogue import Parameter
from lrsearch.errors import nearest
from lrsearch.space import Choice, Dimension, Int, Option, Space, corners, ends
from lrsearch.spec.arithmetic import Arithmetic, NotArithmetic, placed_names, read_arithmetic
from lrsearch.spec.command import PARAMETER_NAME, check_command, read_patterns
from lrsearch.spec.commandline import GIVEN
from lrsearch.spec.components import is_class_path, read_component
from lrsearch.spec.document import Path, plain_scalar
from lrsearch.spec.foreign.lines import Line
from lrsearch.spec.foreign.ranges import is_searched, read_foreign
from lrsearch.spec.model import SCHEDULING, Outside, complete_group
from lrsearch.spec.objective import read_outside_objective
from lrsearch.spec.ranges import RANGE, make_choice, read_dimension
from lrsearch.spec.reader import Reader
from lrsearch.spec.search import SEARCH, read_options
from lrsearch.spec.train import read_warmup
from lrsearch.spec.values import read_pairs, show, write
from lrsearch.trial import Point

KINDS = ("command", "loop")

ONLY_OUTSIDE = ("params", "metrics", "verify")
"""Keys that only a spec with a command or a loop has."""

INSIDE = ("data", "model", "train")

_RATES = ("lr", "weight_decay")
"""Numbers by these names are real ones, whole or not."""


RESERVED = (*GIVEN, "params", "metrics", "runs")
"""Parameters of these names would hide a placeholder, or an environment variable of lrsearch."""


# the whole


def is_outside(top: Mapping[str, Any]) -> bool:
    """Whether a document describes a training outside lrsearch."""
    return any(kind in top for kind in KINDS)


def read_outside(reader: Reader, top: Mapping[str, Any]) -> dict[str, Any]:
    """Read the fields of a `Spec` of such a training, by name. Faults go to the reader."""
    reader.fixed_under = "params"
    kind = next(each for each in KINDS if each in top)
    if all(each in top for each in KINDS):
        reader.fault(("loop",), "command and loop exclude each other", "leave one of both out")
    for key in INSIDE:
        if key in top:
            reader.fault(
                (key,),
                f"'{key}' has no place beside {kind}, which brings its own",
                f"leave '{key}' out: values that the {kind} takes belong under params, or under "
                "search",
            )
    grouped = SCHEDULING if kind == "loop" else ()
    params = _read_params(reader, top.get("params"), grouped)
    dimensions = _read_search(reader, top.get("search"), grouped)
    # A faulty parameter's name is still known.
    parts = [each for each in (top.get("search"), top.get("params")) if isinstance(each, Mapping)]
    names = tuple(dict.fromkeys(name for part in parts for name in part))
    derived = _read_derived(reader, params, dimensions, names)
    for name in grouped:
        known = {*params, *dimensions, *derived, *names}
        if (name in params or name in dimensions) and "lr" not in known:
            place: Path = ("search" if name in dimensions else "params", name)
            hint = "write lr: {min: 1e-4, max: 1.0, points: 9} under search"
            if not reader.is_promised("search.lr", "params.lr"):
                told = f"a {name} needs a parameter lr, which it multiplies"
                reader.fault(place, told, hint)
    for name in dimensions:
        if name in params:
            reader.notes.append(f"{name} is both fixed and searched: the search wins")
    _check_names(reader, {**params, **derived}, dimensions)
    text = top[kind]
    if kind == "command":
        # A block of YAML ends with a new line or without one.
        text = text.strip() if isinstance(text, str) else text
        check_command(reader, text, names, dimensions, derived)
    elif is_class_path(reader, ("loop",), text):
        reader.imports.append(text)
    metric, goal, at = read_outside_objective(reader, top.get("objective"))
    patterns = read_patterns(reader, top.get("metrics"), kind, metric)
    verify = True
    if "verify" in top:
        verify = reader.value(("verify",), Parameter("bool"), top["verify"])
    outside = Outside(kind, str(text), goal, metrics=patterns, verify=verify, derived=derived)
    space = Space(tuple(dimensions.items()))
    fixed = {"data": {}, "model": {}, "train": params}
    return {**fixed, "outside": outside, "metric": metric, "at": at, "space": space}


def read_foreign_outside(reader: Reader, top: Mapping[str, Any]) -> None:
    """The faults of a document that has a command or a loop by a word of another tool."""
    _read_params(reader, top.get("params"), ())
    _read_search(reader, top.get("search"), ())
    if "objective" in top or not reader.is_promised("objective"):
        read_outside_objective(reader, top.get("objective"))


# parameters


def _read_params(reader: Reader, raw: Any, grouped: Sequence[str]) -> dict[str, Any]:
    if raw is None:
        return {}
    if not isinstance(raw, Mapping):
        pairs = read_pairs(raw)
        hint = reader.hint(("params",), [Line(("params",), pairs)] if pairs else None)
        hint = hint or "write params: {epochs: 5}; for example"
        reader.fault(("params",), f"{show(raw)} is no mapping of parameters to values", hint)
        if pairs is None:
            return {}
        raw = pairs
    found = {}
    for name, value in raw.items():
        path: Path = ("params", name)
        if name in grouped:
            group = read_warmup(reader, path, value) if name == "warmup" else None
            if name == "schedule":
                group = read_component(reader, name, path, value)
            _check_schedule(reader, path, name, group, Space(()))
            found[name] = group
        elif _check_name(reader, path, name):
            found[name] = _read_value(reader, path, name, value)
    return found


def _read_derived(
    reader: Reader,
    params: dict[str, Any],
    dimensions: Mapping[str, Dimension],
    known: Sequence[str],
) -> dict[str, Arithmetic]:
    """Fixed parameters that are arithmetic on others, taken out of `params`, in an order in which
    they can be computed."""
    found: dict[str, Arithmetic] = {}
    for name, value in params.items() if reader.arithmetic else ():
        path: Path = ("params", name)
        if isinstance(value, Mapping) and list(value.values()) == [None] and {*value} <= {*known}:
            quoted = f'{name}: "{{{next(iter(value))}}}"'
            reader.notes.append(
                f"params.{name} is a mapping; for a parameter's value write {quoted}"
            )
        elif _is_range(value):
            reader.notes.append(
                f"params.{name} is passed on as the mapping {write(value)}; a range that is "
                f"searched stands under search: write search: {{{name}: {write(value)}}}"
            )
        elif isinstance(value, Mapping | list):
            held = [each for each in known if f"{{{each}}}" in str(value)]
            if held:
                reader.notes.append(
                    f"params.{name} holds '{{{held[0]}}}', which is text there: only a whole "
                    "parameter follows from others"
                )
        if not isinstance(value, str):
            continue
        try:
            formula = read_arithmetic(value, known)
        except NotArithmetic as error:
            reader.fault(path, str(error), error.hint)
            continue
        if formula is not None and name in dimensions:
            hint = f"take it out of params, or out of search; it is '{formula}' there"
            reader.fault(path, f"'{name}' is searched, and follows from other parameters", hint)
        elif formula is not None:
            found[name] = replace(formula, real=type(_widen(name, 1)) is float)
        elif placed := placed_names(value):
            close = nearest(placed[0], known)
            if close is not None:
                meant = "" if close == placed[0] else f"; did you mean '{{{close}}}'?"
                reader.notes.append(
                    f"params.{name} is no arithmetic on parameters, but text, '{{{placed[0]}}}' in "
                    f"it, too{meant}"
                )
    try:
        order = [*TopologicalSorter({name: found[name].names for name in found}).static_order()]
    except CycleError as error:
        cycle = [str(name) for name in reversed(error.args[1])]
        reader.fault(("params", cycle[0]), f"it follows from itself: {' from '.join(cycle)}")
        return {}
    derived = {name: found[name] for name in order if name in found}
    for name in derived:
        del params[name]
    if not reader.faults:
        _check_values(reader, params, Space(tuple(dimensions.items())), derived)
    return derived


def _check_values(
    reader: Reader, params: Mapping[str, Any], space: Space, derived: Mapping[str, Arithmetic]
) -> None:
    """Compute derived parameters where the space may have no value for one: at every corner, then
    over the grid."""
    names = {name for formula in derived.values() for name in formula.names}
    searched = Space(tuple(each for each in space.dimensions if each[0] in names))
    faulty: set[str] = set()
    for point in itertools.chain(*(_sample(searched, grid=grid) for grid in (False, True))):
        values = {**params, **point}
        for name, formula in derived.items():
            try:
                values[name] = formula.compute(values)
            except ArithmeticError as error:
                values[name] = None
                if name not in faulty and not faulty.intersection(formula.names):
                    at = [f"{each}={show(values[each])}" for each in formula.names if each in point]
                    where = f" at {', '.join(at)}" if at else ""
                    message = f"{formula} has no value{where}: {error}"
                    reader.fault(("params", name), message)
                faulty.add(name)


def _sample(space: Space, *, grid: bool) -> Iterator[Point]:
    """Points of all ends and options of a space, and of its grid, up to `MAX_SAMPLE` of them."""
    axes = {
        name: [*ends(part), *(part.grid() if grid and not isinstance(part, Choice) else ())]
        for name, part in space.dimensions
    }
    return corners(space, axes, MAX_SAMPLE)


MAX_SAMPLE = 2000
"""The most points at which a derived parameter is computed to see that it has a value."""


# schedules and search


def _check_schedule(reader: Reader, path: Path, name: str, value: Any, space: Space) -> None:
    """Faults for parts of a schedule or a warmup that need more than a number of steps, and for a
    loop that names code or metrics of its own."""
    if not isinstance(value, Mapping) or not reader.sound(path):
        return
    if "class_path" in value:
        reader.fault(path, "a loop that has code for a schedule needs none of lrsearch's")
        return
    if value.get("name") == "plateau":
        reader.fault(path, "plateau follows evaluations: your loop has to do that by itself")
        return
    units = {name: getattr(part, "unit", "") for name, part in space.dimensions}
    for argument, given in {**complete_group(name, value), **units}.items():
        # A searched length has a unit only; any other argument's default counts, too.
        found = {given} if argument in units else {each.unit for each in duration.find(given)}
        for unit in sorted(found & {"ep", "sp"}):
            what = {"ep": "epochs", "sp": "samples"}[unit]
            message = f"'{argument}' is in {what}, and only the steps are known here"
            reader.fault(path, message, "give it in steps (100ba) or as a share (0.1dur)")


def _read_value(reader: Reader, path: Path, name: str, raw: Any) -> Any:
    value = reader.value(path, Parameter("any"), raw)
    bare = plain_scalar(value) if isinstance(value, str) else None
    if "loop" in reader.document.data and type(bare) in (int, float):
        reader.notes.append(f"{name} is text, for its quotes: for a number write {write(bare)}")
    if _holds_nul(value):
        reader.fault(path, "no value may hold a NUL character")
    return _widen(name, value)


def _widen(name: str, value: Any) -> Any:
    """A rate as a real number, so that 1 and 1.0 are one value."""
    return float(value) if name in _RATES and type(value) is int else value


def _holds_nul(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(_holds_nul(part) for part in (*value, *value.values()))
    if isinstance(value, list):
        return any(_holds_nul(part) for part in value)
    return isinstance(value, str) and "\0" in value


def _read_search(reader: Reader, raw: Any, grouped: Sequence[str]) -> dict[str, Dimension]:
    found: dict[str, Dimension] = {}
    if raw is None:
        return found
    if not isinstance(raw, Mapping):
        reader.fault(("search",), f"{show(raw)} is no mapping of searched parameters", SEARCH)
        return found
    for name, value in raw.items():
        path: Path = ("search", name)
        held = value if name in ("train", "params") and isinstance(value, Mapping) else {}
        if held and all(is_searched(part) or read_foreign(part) for part in held.values()):
            for key, part in value.items():
                meant = read_foreign(part)
                line = Line(("search", key), part if meant is None else meant)
                hint = reader.hint((*path, key), [line])
                reader.fault((*path, key), f"search has parameters alone, no '{name}'", hint)
            continue
        if name in grouped:
            options = read_options(reader, path, name, value) if isinstance(value, list) else None
            if not isinstance(value, list):
                hint = f"write {name}: [a, b]; an option may hold ranges of its own"
                reader.fault(path, f"a {name} is searched by a list of options", hint)
            for at, option in enumerate(options.options if options else ()):
                _check_schedule(reader, (*path, at), name, option.value, option.space)
            if options is not None:
                found[name] = options
            continue
        if not _check_name(reader, path, name):
            continue
        if isinstance(value, list):
            before = len(reader.faults)
            values = [_read_value(reader, (*path, at), name, v) for at, v in enumerate(value)]
            if len(reader.faults) > before:  # `read_dimension` would tell them again.
                continue
            dimension = _read_listed(reader, path, values)
        else:
            dimension = _read_range(reader, path, name, value)
        if dimension is not None:
            found[name] = dimension
    return found


def _read_range(reader: Reader, path: Path, name: str, raw: Any) -> Dimension | None:
    """A range of what is known by its name alone."""
    kind = "float" if name.rpartition(".")[2] in _RATES else "any"
    parameter = Parameter(kind, scale=catalogue.usual_scale(name))
    dimension = read_dimension(reader, path, parameter, raw)
    if isinstance(dimension, Int):
        _note_whole(reader, name, dimension)
    return dimension


def _read_listed(reader: Reader, path: Path, values: list[Any]) -> Dimension | None:
    """A list of values; ranges in those that are mappings are searched where one is chosen."""
    options = []
    for at, value in enumerate(values):
        inner: list[tuple[str, Dimension]] = []
        if isinstance(value, Mapping):
            value = _take_ranges(reader, (*path, at), value, inner)
        options.append(Option(value, Space(tuple(inner))))
    if any(option.space for option in options):
        return make_choice(reader, path, options)
    anything = Parameter("any", scale=catalogue.usual_scale(str(path[-1])))
    return read_dimension(reader, path, anything, values)


def _is_range(raw: Any) -> bool:
    """Whether a value looks like a whole range; two numbers by these names may be just that."""
    return isinstance(raw, Mapping) and {"min", "max"} <= {*raw} <= {*RANGE}


def _take_ranges(
    reader: Reader, path: Path, raw: Mapping[str, Any], found: list[Any], prefix: str = ""
) -> dict[str, Any]:
    """A mapping without its ranges, which go to `found`. One without `points` or `scale` may be a
    value of two numbers: it stays, and a note says so."""
    rest = {}
    for key, part in raw.items():
        inner, name = (*path, key), f"{prefix}{key}"
        if not isinstance(part, Mapping) or not PARAMETER_NAME.fullmatch(key):
            rest[key] = part
        elif _is_range(part):
            if "points" in part or "scale" in part:
                dimension = _read_range(reader, inner, name, part)
                found += [] if dimension is None else [(name, dimension)]
                continue
            line = write({**part, "points": 5})
            reader.notes.append(
                f"{'.'.join(map(str, inner))} is passed on as the mapping {write(part)}; a range "
                f"that is searched has points there: write {key}: {line}"
            )
            rest[key] = part
        else:
            rest[key] = _take_ranges(reader, inner, part, found, f"{name}.")
    return rest


# notes and names


def _note_whole(reader: Reader, name: str, dimension: Int) -> None:
    """Note that 0 and 1 may be meant as 0.0 and 1.0, for a parameter known by its name alone."""
    low, high, points = dimension.low, dimension.high, dimension.points or 0
    if high - low < 2 or points > high - low + 1:
        reader.notes.append(
            f"{name} is searched in whole numbers alone, since its ends are: for real ones write "
            f"{{min: {float(low)}, max: {float(high)}}}"
        )


def _check_name(reader: Reader, path: Path, name: str) -> bool:
    if not PARAMETER_NAME.fullmatch(name):
        last = re.sub(r"\W+", "_", name.rpartition(".")[2]).strip("_")
        value = reader.document.data
        for part in path:
            value = value.get(part) if isinstance(value, Mapping) else None
        meant = [Line((*path[:-1], last), value)] if PARAMETER_NAME.fullmatch(last) else None
        hint = reader.hint(path, meant)
        message = "a parameter's name is made of letters, digits and _, and starts with no digit"
        reader.fault(path, message, hint)
        return False
    if name.lower() in RESERVED:
        reader.fault(path, f"'{name}' is a name of lrsearch's own", "give it another name")
        return False
    return True


def _check_names(
    reader: Reader, params: Mapping[str, Any], dimensions: Mapping[str, Dimension]
) -> None:
    """Faults for two names that differ in case alone: they would share an environment variable."""
    seen: dict[str, str] = {}
    for name in dict.fromkeys((*params, *dimensions)):
        other = seen.setdefault(name.upper(), name)
        if other != name:
            path: Path = ("params" if name in params else "search", name)
            reader.fault(path, f"'{name}' and '{other}' differ in case alone")
