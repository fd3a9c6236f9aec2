"""A spec whose training is the person's own: `command` or `loop` in place of data, model, train."""

from __future__ import annotations

import itertools
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING, Any

from lrsearch import catalogue, duration
from lrsearch.catalogue import Parameter
from lrsearch.errors import nearest, suggest
from lrsearch.reporting import LONGEST_NAME, is_name
from lrsearch.space import Choice, Dimension, Int, Space, build
from lrsearch.spec.arithmetic import Arithmetic, NotArithmetic, placed_names, read_arithmetic
from lrsearch.spec.commandline import BRACES, GIVEN, placeholders, split_words
from lrsearch.spec.document import Path, plain_scalar
from lrsearch.spec.foreign import Line, means, searched_names
from lrsearch.spec.foreign_ranges import is_searched, read_foreign, rejoin
from lrsearch.spec.model import SCHEDULING, Own, complete_group
from lrsearch.spec.values import show, write

if TYPE_CHECKING:  # It is part of that reader, which imports this module.
    from lrsearch.spec.validate import _Reader as Reader

KINDS = ("command", "loop")
ONLY_OWN = ("params", "metrics", "verify")
"""Keys that a spec with data, model and train has not."""

BUILT_IN = ("data", "model", "train")

_RATES = ("lr", "weight_decay")
"""Numbers by these names are real ones, whole or not."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_RESERVED = (*GIVEN, "params", "metrics", "runs")
"""Parameters of these names would hide a placeholder, or an environment variable of lrsearch."""

_BRACES = "write {{ and }} for braces"
_SHELL = ("|", "||", "&", "&&", ";", ">", ">>", "<", "2>", "2>&1")


def is_own(top: Mapping[str, Any]) -> bool:
    """Whether a document describes a person's own training."""
    return any(kind in top for kind in KINDS)


def read_own(reader: Reader, top: Mapping[str, Any]) -> tuple[Own, dict[str, Any], str, str, Space]:
    """The training, its fixed parameters, the objective's metric and `at`, and the space. What is
    wrong goes to the reader's faults."""
    kind = next(each for each in KINDS if each in top)
    if all(each in top for each in KINDS):
        reader.fault(("loop",), "command and loop exclude each other")
    for key in BUILT_IN:
        if key in top:
            reader.fault(
                (key,),
                f"'{key}' has no place beside {kind}, which brings its own",
                f"values that the {kind} takes belong under params, or under search",
            )
    grouped = SCHEDULING if kind == "loop" else ()
    params = _read_params(reader, top.get("params"), grouped)
    dimensions = _read_search(reader, top.get("search"), grouped)
    # What is wrong with a parameter does not make its name unknown.
    parts = [each for each in (top.get("search"), top.get("params")) if isinstance(each, Mapping)]
    names = tuple(dict.fromkeys(name for part in parts for name in part))
    derived = _read_derived(reader, params, dimensions, names)
    for name in grouped:
        known = {*params, *dimensions, *derived}
        if (name in params or name in dimensions) and "lr" not in known:
            place: Path = ("search" if name in dimensions else "params", name)
            reader.fault(place, f"a {name} needs a parameter lr, which it multiplies")
    for name in dimensions:
        if name in params:
            reader.notes.append(f"{name} is both fixed and searched: the search wins")
    _check_names(reader, {**params, **derived}, dimensions)
    text = top[kind]
    if kind == "command":
        # A block of YAML ends with a new line or without one.
        text = text.strip() if isinstance(text, str) else text
        _check_command(reader, text, names, dimensions, derived)
    elif reader.is_class_path(("loop",), text):
        reader.imports.append(text)
    metric, goal, at = _read_objective(reader, top.get("objective"))
    patterns = _read_patterns(reader, top.get("metrics"), kind, metric)
    verify = True
    if "verify" in top:
        verify = reader.value(("verify",), Parameter("bool"), top["verify"])
    space = Space(tuple(dimensions.items()))
    own = Own(kind, str(text), goal, metrics=patterns, verify=verify, derived=derived)
    return own, params, metric, at, space


def read_foreign_own(reader: Reader, top: Mapping[str, Any]) -> None:
    """The faults of a document that has a command or a loop by a word of another tool."""
    _read_params(reader, top.get("params"), ())
    _read_search(reader, top.get("search"), ())
    if "objective" in top or not reader.is_promised("objective"):
        _read_objective(reader, top.get("objective"))


def _check_command(
    reader: Reader,
    text: Any,
    given: Sequence[str],
    dimensions: Mapping[str, Dimension],
    derived: Mapping[str, Arithmetic],
) -> None:
    path: Path = ("command",)
    if isinstance(text, list) and text and all(isinstance(word, str | int) for word in text):
        joined = [_join_words(str(word), given, reader.document.data) for word in text]
        hint = "write it as one text: python train.py --lr {lr}"
        parts = [word for word in joined if word]
        if None not in joined:
            meant, *_ = _read_placeholders(" ".join(parts), given)
            hint = reader.lines(path, [Line(path, meant)])
        reader.fault(path, f"{show(text)} is no command line, but a list", hint)
        return
    if not isinstance(text, str) or not text.strip():
        hint = "write it as one text: python train.py --lr {lr}"
        reader.fault(path, f"{show(text)} is no command line", hint)
        return
    if _check_placeholders(reader, text, given):
        return
    if "\0" in text:
        reader.fault(path, "a command line holds no NUL character")
        return
    try:
        words = split_words(text)
        names = placeholders(words)
    except ValueError as error:
        reader.fault(path, str(error), _BRACES if "lone" in str(error) else "")
        return
    known = (*dict.fromkeys(given), *GIVEN)
    for name in names:
        if name not in known and not reader.is_promised(f"search.{name}", f"params.{name}"):
            hint = suggest(name, known) if _NAME.fullmatch(name) else _BRACES
            reader.fault(path, f"unknown placeholder '{{{name}}}'", hint)
    seeds = reader.document.data.get("seeds")
    if "seed" not in names and type(seeds) is int and seeds > 1:
        reader.notes.append(
            f"seeds is {seeds}, and {{seed}} does not stand in the command: it must read "
            "LRSEARCH_SEED, or all of them train the same"
        )
    told = {*names}
    for name in reversed([*derived]):
        told |= {*derived[name].names} if name in told else set()
    for name in given:
        if name not in told and name not in derived and isinstance(name, str):
            variable = f"LRSEARCH_{name.upper()}"
            what = "searched" if name in dimensions else "fixed"
            reader.notes.append(
                f"{name} is {what} and does not stand in the command: it must read {variable}, "
                "or the file that LRSEARCH_PARAMS names"
            )
    shell = [word for word in words if word in _SHELL]
    if shell:
        reader.notes.append(
            f"no shell runs the command: it is given '{shell[0]}' as a word like any other; "
            "for a shell write sh -c '...'"
        )


_BRACED = (
    r"(?<!\$)\{ *(?:[\w]+\.)+(NAME) *\}", r"(?<!\$)\{ +(NAME) *\}|(?<!\$)\{(NAME) +\}",
    r"(?<!\$)\{(NAME)[:!][^{}]*\}", r"(?<!\$)\{\w+\[['\"]?(NAME)['\"]?\]\}",
)  # fmt: skip
"""How others write a placeholder in braces, which is none here."""

_VARIABLES = (r"\$\{(?:[\w]+[.:])*(NAME)\}", r"\$(NAME)\b", r"%\((NAME)\)[a-z]")
"""How a shell and Python write what is put in."""

_WORDS = (r"<(NAME)>", r"%(NAME)%", r"@(NAME)@")
"""What may stand for a placeholder, and may be a word like any other."""

_HIDDEN = {"{{": "\ue000", "}}": "\ue001"}
"""What stands for doubled braces while placeholders are looked for."""


def _check_placeholders(reader: Reader, text: str, given: Sequence[str]) -> bool:
    """Whether parameters stand in the command in a form of another tool; faults where they do. A
    stored command has run as it is."""
    if reader.stored:
        return False
    meant, found, left = _read_placeholders(text, given)
    if not found:
        reader.notes += [
            f"{told} in the command is given as it stands: the parameter would be {{{name}}}"
            for told, name in left
        ]
        return False
    path: Path = ("command",)
    hint = reader.lines(path, [Line(path, meant)])
    reader.fault(path, f"no parameter is put in for {', '.join(found)}", hint)
    return True


def _read_placeholders(
    text: str, given: Sequence[str]
) -> tuple[str, list[str], list[tuple[str, str]]]:
    """A command with lrsearch's placeholders for those in forms of other tools, these, and what
    may be one or not, with the name of its parameter. Doubled braces are braces, and a variable
    in a script is the script's."""
    try:
        words = split_words(text)
    except ValueError:
        return text, [], []
    names = "|".join(map(re.escape, sorted((*given, *GIVEN), key=len, reverse=True)))
    meant = BRACES.sub(lambda part: _HIDDEN.get(part[0], part[0]), text)
    found: dict[str, None] = {}
    left: dict[tuple[str, str], None] = {}
    for style in (*_BRACED, *_VARIABLES, *_WORDS):
        pattern = re.compile(rf"(?<!\\)(?:{style.replace('NAME', names)})")
        told_names = {match[0]: _name_in(match) for match in pattern.finditer(meant)}
        for told, name in told_names.items():
            scripts = style not in _BRACED and _is_scripted(told, words)
            if style in _WORDS or scripts:
                if not re.search(rf"\b({name} *=|for {name}\b|read .*{name})", text):
                    left[told, name] = None
                continue
            found[told] = None
        meant = pattern.sub(
            lambda match: f"{{{_name_in(match)}}}" if match[0] in found else match[0], meant
        )
    if "${args}" in meant and "args" not in given and not _is_scripted("${args}", words):
        found["${args}"] = None
        meant = meant.replace("${args}", " ".join(f"--{name} {{{name}}}" for name in given))
    for braces, hidden in _HIDDEN.items():
        meant = meant.replace(hidden, braces)
    return meant, list(found), list(left)


def _name_in(match: re.Match[str]) -> str:
    """The parameter of a placeholder in a form of another tool."""
    return next(group for group in match.groups() if group)


def _is_scripted(text: str, words: Sequence[str]) -> bool:
    """Whether a text stands in scripts alone: behind `-c`, or in words of several words."""
    holding = [
        re.fullmatch(r"-[a-z]*c", before) or re.search(r"\s", word)
        for before, word in itertools.pairwise(["", *words])
        if text in word
    ]
    return bool(holding) and all(holding)


def _join_words(word: str, given: Sequence[str], top: Mapping[str, Any]) -> str | None:
    """A word of a command that is a list, those of W&B's sweeps included; None for one of these
    that no command line says."""
    if word in ("${args}", "${args_no_boolean_flags}", "${args_no_hyphens}"):
        dashes = "" if word == "${args_no_hyphens}" else "--"
        names = dict.fromkeys([*given, *searched_names(top)])
        equals = " " if dashes else "="
        return " ".join(f"{dashes}{name}{equals}{{{name}}}" for name in names)
    if word in ("${env}", "${interpreter}", "/usr/bin/env"):
        return "python" if word == "${interpreter}" else ""
    if word == "${program}":
        named = [part for key, part in top.items() if key != "command" and means(key) == "command"]
        return named[0] if len(named) == 1 and isinstance(named[0], str) else None
    if word.startswith("${args"):
        return None
    return shlex.quote(word) if " " in word else word


def _read_params(reader: Reader, raw: Any, grouped: Sequence[str]) -> dict[str, Any]:
    if raw is None:
        return {}
    if not isinstance(raw, Mapping):
        reader.fault(("params",), f"{show(raw)} is no mapping of parameters to values")
        return {}
    found = {}
    for name, value in raw.items():
        path: Path = ("params", name)
        if name in grouped:
            group = reader.warmup(path, value) if name == "warmup" else None
            if name == "schedule":
                group = reader.named_or_imported(name, path, value)
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
    """What of the fixed parameters is arithmetic on others, taken out of them; each behind those
    that it follows from."""
    found: dict[str, Arithmetic] = {}
    for name, value in params.items() if reader.arithmetic else ():
        path: Path = ("params", name)
        if _is_unquoted(value, known):
            quoted = f'{name}: "{{{next(iter(value))}}}"'
            reader.notes.append(
                f"params.{name} is a mapping; for a parameter's value write {quoted}"
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


def _is_unquoted(value: Any, known: Sequence[str]) -> bool:
    """Whether YAML took `{name}` of a parameter for a mapping."""
    return isinstance(value, Mapping) and list(value.values()) == [None] and {*value} <= {*known}


def _check_values(
    reader: Reader, params: Mapping[str, Any], space: Space, derived: Mapping[str, Arithmetic]
) -> None:
    """Compute what is derived where the space can be expected to have no value for it: at every
    corner, then over the grid."""
    names = {name for formula in derived.values() for name in formula.names}
    searched = Space(tuple(each for each in space.dimensions if each[0] in names))
    faulty: set[str] = set()
    for point in itertools.chain(*(_sample(searched, ends) for ends in (True, False))):
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


def _sample(space: Space, ends: bool) -> Iterator[dict[str, Any]]:
    """Points of all its ends and options, or of its grid, up to `MAX_SAMPLE` of them."""
    axes = []
    for _, part in space.dimensions:
        if isinstance(part, Choice):
            axes.append([float(index) for index in range(len(part.options))])
        else:
            axes.append([part.low, part.high, *(() if ends else part.grid())])
    for raw in itertools.islice(itertools.product(*axes), MAX_SAMPLE):
        numbers = dict(zip((name for name, _ in space.dimensions), raw, strict=True))

        def choose(name: str, _: Dimension, numbers: dict[str, float] = numbers) -> float:
            return numbers.get(name, 0.0)

        yield build(space, choose)


MAX_SAMPLE = 2000
"""Points at which a derived parameter is computed to see that it has a value."""


def _check_schedule(reader: Reader, path: Path, name: str, value: Any, space: Space) -> None:
    """What of a schedule or a warmup means nothing where only steps are known, and a loop that
    brings its own code and its own metrics."""
    if not isinstance(value, Mapping) or not reader.sound(".".join(map(str, path))):
        return
    if "class_path" in value:
        reader.fault(path, "a loop that has code for a schedule needs none of lrsearch's")
        return
    if value.get("name") == "plateau":
        reader.fault(path, "plateau follows evaluations: your loop has to do that by itself")
        return
    units = {name: getattr(part, "unit", "") for name, part in space.dimensions}
    for argument, given in {**complete_group(name, value), **units}.items():
        # Of a searched one the unit is all there is; the default of another counts, too.
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
        reader.fault(("search",), f"{show(raw)} is no mapping of searched parameters")
        return found
    for name, value in rejoin(raw).items():
        path: Path = ("search", name)
        held = value if name in ("train", "params") and isinstance(value, Mapping) else {}
        if held and all(is_searched(part) or read_foreign(part) for part in held.values()):
            for key, part in value.items():
                meant = read_foreign(part)
                line = Line(("search", key), part if meant is None else meant)
                hint = reader.lines((*path, key), [line])
                reader.fault((*path, key), f"search has parameters alone, no '{name}'", hint)
            continue
        if name in grouped:
            options = reader.options(path, name, value) if isinstance(value, list) else None
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
            values = [_read_value(reader, (*path, at), name, v) for at, v in enumerate(value)]
            dimension = reader.dimension(path, Parameter("any"), values)
        else:
            kind = "float" if name in _RATES else "any"
            parameter = Parameter(kind, scale=catalogue.usual_scale(name))
            dimension = reader.dimension(path, parameter, value)
            if isinstance(dimension, Int):
                _note_whole(reader, name, dimension)
        if dimension is not None:
            found[name] = dimension
    return found


def _note_whole(reader: Reader, name: str, dimension: Int) -> None:
    """Where nobody knows what a parameter is, 0 and 1 may be meant as 0.0 and 1.0."""
    low, high, points = dimension.low, dimension.high, dimension.points or 0
    if high - low < 2 or points > high - low + 1:
        reader.notes.append(
            f"{name} is searched in whole numbers alone, since its ends are: for real ones write "
            f"{{min: {float(low)}, max: {float(high)}}}"
        )


def _check_name(reader: Reader, path: Path, name: str) -> bool:
    if not _NAME.fullmatch(name):
        last = name.rpartition(".")[2]
        hint = f"write {last}" if _NAME.fullmatch(last) else ""
        message = "a parameter's name is made of letters, digits and _, and starts with no digit"
        reader.fault(path, message, hint)
        return False
    if name.lower() in _RESERVED:
        reader.fault(path, f"'{name}' is a name of lrsearch's own", "give it another name")
        return False
    return True


def _check_names(
    reader: Reader, params: Mapping[str, Any], dimensions: Mapping[str, Dimension]
) -> None:
    """Two names that differ in case alone would share an environment variable."""
    seen: dict[str, str] = {}
    for name in dict.fromkeys((*params, *dimensions)):
        other = seen.setdefault(name.upper(), name)
        if other != name:
            path: Path = ("params" if name in params else "search", name)
            reader.fault(path, f"'{name}' and '{other}' differ in case alone")


def _read_objective(reader: Reader, raw: Any) -> tuple[str, str, str]:
    path: Path = ("objective",)
    example = "write {metric: loss, goal: min, at: last}, with a metric that it reports"
    if raw is None:
        if not reader.is_promised("objective"):
            reader.fault(path if "objective" in reader.document.data else (), _MISSING, example)
        return "", "min", "last"
    raw = {"metric": raw} if isinstance(raw, str) else raw
    if not isinstance(raw, Mapping):
        reader.fault(path, f"{show(raw)} is no objective", example)
        return "", "min", "last"
    reader.unknown(path, raw, ("metric", "goal", "at"))
    metric = raw.get("metric")
    if metric is None and reader.is_promised("objective"):
        return "", "min", "last"
    if not isinstance(metric, str) or not metric.strip() or metric == "step":
        told = "'metric' is missing" if metric is None else f"{show(metric)} is no metric"
        reader.fault((*path, "metric") if "metric" in raw else path, told, example)
        metric = ""
    known = catalogue.METRICS.get(metric)
    goal = raw.get("goal")
    if goal is None:
        if known is None and metric and not reader.is_promised("objective"):
            message = f"'goal' is missing: is a large '{metric}' good, or a small one?"
            reader.fault(path, message, f"write {{metric: {metric}, goal: max}}, or goal: min")
        goal = known[0] if known else "min"
    goal = reader.goal((*path, "goal"), goal)
    at = Parameter("text", "last", choices=("last", "best"))
    return metric, goal, reader.value((*path, "at"), at, raw.get("at", "last"))


_MISSING = "'objective' is missing: your own training says by its metrics how good it is"


def _read_patterns(reader: Reader, raw: Any, kind: str, objective: str) -> dict[str, str]:
    """The regular expressions that find metrics in what a command prints."""
    path: Path = ("metrics",)
    if raw is None:
        return {}
    if kind == "loop":
        how = f"trial.report(step, {objective or 'loss'}=...)"
        hint = f"a loop reports by {how}; what it prints is not read"
        reader.fault(path, "'metrics' finds metrics in what a command prints", hint)
        return {}
    name = objective or "loss"
    example = f"write {{{name}: '{name}: ([\\d.]+)'}}: one group, which is the number"
    if not isinstance(raw, Mapping) or not raw:
        reader.fault(path, f"{show(raw)} is no mapping of metrics to patterns", example)
        return {}
    found = {}
    for metric, pattern in raw.items():
        place: Path = (*path, metric)
        if not is_name(metric):
            allowed = f"1 to {LONGEST_NAME} printable characters"
            reader.fault(path, f"{show(metric)} is no metric's name", f"it has {allowed}")
        elif (wrong := _check_pattern(pattern, example)) is not None:
            reader.fault(place, *wrong)
        else:
            found[metric] = pattern
    if objective and objective not in raw:
        hint = suggest(objective, [each for each in raw if each != "step"])
        message = f"the objective's metric '{objective}' has no pattern"
        reader.fault(path, message, f"add {objective}: '...', or compare by another; {hint}")
    return found


_DIGITS = re.compile(r"\[[^\]]*\\d[^\]]*\][+*]?|\\d[+*]?(?:\\\.\\d[+*]?)?|\\S[+*]")
"""The part of a pattern that stands for a number."""


def _check_pattern(pattern: Any, example: str) -> tuple[str, str] | None:
    """What is wrong with a pattern, and what to do; None where nothing is."""
    if not isinstance(pattern, str):
        return f"{show(pattern)} is no pattern", example
    try:
        groups = re.compile(pattern).groups
    except (re.error, OverflowError, RecursionError) as error:
        return f"{show(pattern)} is no regular expression: {error}", example
    if groups == 1:
        return None
    if groups:
        message = f"{show(pattern)} has {groups} groups, and one says which part is the number"
        return message, "a group that is not the number is written (?:...)"
    message = f"{show(pattern)} has no group to say which part is the number"
    grouped = _DIGITS.sub(lambda found: f"({found[0]})", pattern, count=1)
    return message, f"write '{grouped}'" if grouped != pattern else example
