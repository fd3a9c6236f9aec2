"""The advice on a key of a document that is a word of another tool, or of another mapping."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from lrsearch import catalogue
from lrsearch.duration import find_time, is_never, parse_time
from lrsearch.space import same
from lrsearch.spec.document import as_mapping
from lrsearch.spec.foreign import names
from lrsearch.spec.foreign.lines import Advice, Line, Path, merge
from lrsearch.spec.foreign.names import snake
from lrsearch.spec.foreign.objective import objective_lines
from lrsearch.spec.foreign.ranges import (
    HIGH,
    LOW,
    Fixed,
    is_finite,
    is_searched,
    number,
    read_foreign,
)
from lrsearch.spec.foreign.translation import (
    fixed_lines,
    into,
    is_choice,
    is_range,
    model_argument,
    search_lines,
)
from lrsearch.spec.foreign.words import (
    CONTAINERS,
    DEVICE_WORDS,
    FOLDER_WORDS,
    LEFT_OUT,
    LOCAL,
    RULE_WORDS,
    SAVE_WORDS,
    STOPPING_WORDS,
    STRATEGY_NAMES,
    STRATEGY_WORDS,
    TIME_LIMIT_WORDS,
    TIMEOUT_WORDS,
    WORKER_WORDS,
    device_of,
    is_device,
    look_up,
    means,
)
from lrsearch.spec.values import check_value, write
from lrsearch.terminal import quote

SAMPLERS = catalogue.SETTINGS["random"]["sampler"].choices


SHORT = 60
"""Characters of a line that is told beside another."""


def tell_beside(path: Path, lines: list[Line], top: Mapping[str, Any]) -> Advice:
    """The lines of an advice on the key at `path`, with what stands where they are to be written in
    another mapping of the document, if anything."""
    told = []
    for line in lines:
        old = None if line.path[:1] == path[:1] or line.remark else _at(top, line.path)
        key = line.path[-1]
        if old is not None and len(lines) == 1 and same(old, line.value):
            above = ".".join(map(str, line.path[:-1])) or "the spec"
            return f"leave '{path[-1]}' out: {above} has {key}: {write(old)} already"
        given = f"{key}: {write(old)}"
        given = given if len(given) <= SHORT else str(key)
        told.append(line if old is None else replace(line, remark=f"in place of {given} there"))
    return told


def of_settings(path: Path, value: Any, top: Mapping[str, Any]) -> list[Line]:
    """The line for a key of one block of settings in another, that with most of its keys, and for
    one that joins a block and its key: random trials; none for any other."""
    head, *rest = re.split(r"[ ._-]+", str(path[-1]))
    inner = "_".join(rest)
    if len(path) == 1 and inner in catalogue.SETTINGS.get(head, ()):
        return [into(head, inner, value, top)]
    block, word = str(path[0]), snake(str(path[-1]))
    if len(path) != 2 or block not in catalogue.SETTINGS or word in LOCAL.get(block, ()):
        return []
    beside, found = {*as_mapping(top.get(block))}, {}
    for home, table in catalogue.SETTINGS.items():
        with contextlib.suppress(ValueError):
            if word in table and home != block:
                check_value(table[word], value)
                found[home] = len(beside & {*table})
    home = max(found, key=lambda home: found[home], default="")
    alone = found.get(home, 0) < 2 and word in ("seeds", "trials")  # Words of many meanings.
    return [] if not home or alone else [into(home, word, value, top)]


def _section(path: Path) -> str:
    """The row of `LOCAL` for a key's mapping, or ""."""
    if len(path) < 2:
        return ""
    if "warmup" in path[:-1]:
        return "warmup"
    head = path[1] if path[0] == "search" and len(path) > 2 else path[0]
    return head if head in LOCAL else ""


def advise(path: Path, value: Any, top: Mapping[str, Any], *, outside: bool, source: str) -> Advice:
    """The advice on the key at `path` of the document `top`, and on its value there. `outside` says
    whether the spec has a command or a loop, `source` is its file. None where the word is
    unknown."""
    key = str(path[-1])
    word = snake(key)
    if path == ("grid",):
        told = "it trains every point, and points in a range says how many there are"
        return f"leave 'grid' out: {told}"
    command = f"lrsearch bayes {source}"
    if word in STRATEGY_WORDS or (word == "sampler" and value not in SAMPLERS):
        name = names.split(value)[0] or str(value)
        strategy = STRATEGY_NAMES.get(snake(name), "bayes")
        told = f"the command says the strategy: lrsearch {strategy} {source}"
        inside = outside and path[0] in ("params", "search")
        return None if inside else f"leave '{key}' out: {told}"
    end = "min" if word in LOW else "max" if word in HIGH else ""
    if path[0] == "search" and end and is_range(_at(top, path[:-1])):
        return [Line((*path[:-1], end), number(value))]
    found = [] if outside else _stopper(key, value, top)
    if found := found or _lines(path, value, top, outside):
        return found
    if len(path) == 1 and means(key) in ("command", "loop") and means(key) in top:
        return f"leave '{key}' out: '{means(key)}' names what is run"
    if word in STOPPING_WORDS and path[0] in ("random", "bayes"):
        many = number(value)
        patience = many if type(many) is int and many > 0 else 10
        return [Line(("stop", "patience"), patience, "which is the search's, not a training's")]
    if word in STOPPING_WORDS and not outside:
        rule = _rule(word, value)
        if rule is not None and "prune" not in top:
            return [Line(("prune",), rule)]
        at = into("objective", "at", "best", top)
        told = "a trial trains its whole budget: best takes its best evaluation"
        return [replace(at, remark=told)]
    if word in STOPPING_WORDS and not ("params" in path or "search" in path):
        return f"leave '{key}' out: whether a training ends early is its own affair"
    if outside and path[0] in ("params", "search"):
        return None
    if word in DEVICE_WORDS:
        given = device_of(word, value)
        known = given or (value if is_device(value) else None)
        told = f": {command} --device {known}" if known else ", if any"
        return f"leave '{key}' out: the command says the device{told}"
    if word in WORKER_WORDS:
        many = value if type(value) is int and value > 0 else "N"
        return f"leave '{key}' out: the command says how many: {command} --workers {many}"
    if word in FOLDER_WORDS:
        folder = value if isinstance(value, str) and value else "DIR"
        return f"leave '{key}' out: the command says where: {command} --runs {quote(folder)}"
    if word in TIMEOUT_WORDS and (len(path) == 1 or path[0] == "train"):
        return [Line(("timeout",), _time(value))]
    if word in TIME_LIMIT_WORDS and len(path) == 1:
        return f"leave '{key}' out: the command says it: {command} --time {_time(value) or '30m'}"
    if word in SAVE_WORDS and not outside and (len(path) == 1 or path[0] == "train"):
        if is_never(value):
            return [Line(("save",), None)]
        with contextlib.suppress(ValueError):
            # A bare number elsewhere counts steps or epochs.
            if word == "save" or (isinstance(value, str) and isinstance(number(value), str)):
                return [Line(("save",), find_time(value))]
    if word in LEFT_OUT:
        return f"leave '{key}' out: {LEFT_OUT[word]}"
    target = means(key)
    return None if target == ".".join(map(str, path)) else _place(target, value, outside)


def _stopper(key: str, value: Any, top: Mapping[str, Any]) -> list[Line]:
    """The line for a scheduler of Ray's, which stops trials and schedules no rate."""
    named = names.split(value)[0] if means(key) == "train.schedule" else ""
    rule = names.rule({"name": named}) if named and "prune" not in top else None
    told = "that is a rule by which trials end early"
    return [] if rule is None else [Line(("prune",), rule, told)]


def _rule(word: str, value: Any) -> Any:
    """The rule of early stopping that a word of other tools means with its value, None where it
    means a training's own patience."""
    if word not in RULE_WORDS:
        return None
    named = "none" if value in (False, None) else names.rule(value)
    given = as_mapping(value)
    return names.rule({"name": word, **given}) if named is None else named


def _time(value: Any) -> str | None:
    """A time in lrsearch's words, from any value that means one, None for no limit; an example for
    an unknown value."""
    if is_never(value):
        return None
    with contextlib.suppress(ValueError):
        meant = find_time(value)
        parse_time(meant)
        return meant
    return "10m"


def _place(target: str, value: Any, outside: bool) -> str | None:
    """The place of a word's meaning, in words, for a value without a known line."""
    head, _, key = target.partition(".")
    if head == "objective":
        return "write it under objective: {metric: ..., goal: max}, or goal: min"
    code = target != "train.step" or isinstance(value, str | Mapping)
    if outside or not key or target.count(".") > 1 or not code:
        return None  # A number is no step of the user's own.
    return f"write it as {key}, under {head}"


def _at(tree: Any, path: Path) -> Any:
    for key in path:
        tree = tree.get(key) if isinstance(tree, Mapping) else None
    return tree


def _lines(path: Path, value: Any, top: Mapping[str, Any], outside: bool) -> list[Line]:
    key = str(path[-1])
    word = snake(key)
    section = _section(path)
    searching = path[0] == "search" and len(path) > 1
    if word in CONTAINERS and isinstance(value, Mapping) and not section:
        inner = [
            part
            for name, each_ in value.items()
            for part in _lines(("search", name) if searching else (name,), each_, top, outside)
        ]
        return merge(inner)
    target, form = look_up(word, section) or ("", "")
    form = _budget_unit(top) if form == "as" else form
    if target == "data.source" and is_finite(number(value)):  # {train: 0.8}
        target, form = "data.validation", "rest"
    if searching and not outside and not target.startswith("train."):
        argument = model_argument(word, top)
        target, form = (f"model.{argument}", "") if argument else (target, form)
    if not target or (outside and path[0] in ("params", "search") and len(path) == 2):
        return []
    value = value if target.endswith(".betas") else _unwrap(value)
    if isinstance(value, Fixed):
        value, searching = value.value, False
    searched = searching or is_choice(target, value)
    searched = searched or (target.startswith(("train.", "model.")) and is_range(value))
    if target == "search":
        return _translate_search(value, top, outside)
    if target in ("command", "loop"):
        return _own_line(target, value, top)
    if target.startswith("objective."):
        return objective_lines(path, target, value, top, outside)
    if outside and target.split(".")[0] in ("train", "model", "data"):
        if isinstance(value, Mapping) and not is_range(value):
            return []
        held = "search" if searched and is_searched(value) else "params"
        return [Line((held, key), value)] if len(path) == 1 or path[0] != held else []
    if searched:
        return search_lines(target, form, value, top)
    return fixed_lines(path, target, form, value, top)


def _budget_unit(top: Mapping[str, Any]) -> str:
    """The unit of a document's budget: steps where any word gives it in these, else epochs."""
    train = top.get("train")
    for part in (train, top):
        for key, value in as_mapping(part).items():
            target, form = look_up(snake(str(key))) or ("", "")
            if target == "train.budget" and (form or str(value)[-2:]) == "ba":
                return "ba"
    return "ep"


def _unwrap(value: Any) -> Any:
    found = read_foreign(value) if isinstance(value, Mapping | str) else None
    if isinstance(value, str) and not isinstance(found, Mapping):
        return value
    return value if found is None else found


def _translate_search(value: Any, top: Mapping[str, Any], outside: bool) -> list[Line]:
    """The lines of a mapping of searched parameters by another name, Hydra's own included."""
    for key in ("sweeper", "params"):
        if isinstance(value, Mapping) and isinstance(value.get(key), Mapping):
            value = value[key]
    if isinstance(value, list):  # Ax, Ray's points: [{name: lr, type: range, bounds: [...]}]
        value = {
            part["name"]: part
            for part in value
            if isinstance(part, Mapping) and isinstance(part.get("name"), str)
        }
    if not isinstance(value, Mapping):
        return []
    searched: dict[str, Any] = {}
    fixed: list[Line] = []
    left: list[str] = []
    for key, part in value.items():
        name = str(key).rpartition(".")[2] if outside else str(key)
        inner = _unwrap_all(part)
        plain = inner.value if isinstance(inner, Fixed) else inner
        if outside:
            if is_searched(inner):
                searched[name] = inner
            elif isinstance(plain, Mapping):
                left.append(name)
            else:
                fixed.append(Line(("params", name), plain))
            continue
        known = catalogue.TRAIN if name in catalogue.TRAIN else ()
        if name in known and is_searched(inner):
            searched[name] = inner
        elif name in known:
            fixed.append(Line(("train", name), plain))
        else:
            found = inner if isinstance(inner, list) else part
            lines = _lines(("search", name), found, top, outside)
            left += [] if lines else [name]
            for line in lines:
                if line.path[0] == "search" and len(line.path) > 1:
                    searched[str(line.path[1])] = line.value
                else:
                    fixed.append(line)
    lines = [Line(("search", name), part) for name, part in searched.items()]
    if not isinstance(top.get("search"), Mapping) and searched:
        lines = [Line(("search",), searched)]
    params = {str(line.path[1]): line.value for line in fixed if line.path[0] == "params"}
    if params and not isinstance(top.get("params"), Mapping):
        fixed = [line for line in fixed if line.path[0] != "params"]
        fixed.append(Line(("params",), params))
    whole = merge([*lines, *fixed])
    if whole and left:
        told = f"{', '.join(left[:5])} {'is' if len(left) == 1 else 'are'} not in it"
        whole[0] = replace(whole[0], remark=told)
    return whole


def _unwrap_all(value: Any) -> Any:
    """A searched parameter's value in lrsearch's form, from any other tool's."""
    found = read_foreign(value)
    return value if found is None else found


def _own_line(kind: str, value: Any, top: Mapping[str, Any]) -> list[Line]:
    """A command of a script's name, with an option for each parameter that is searched."""
    if not isinstance(value, str) or kind in top:
        return []
    if kind == "loop":
        return [Line(("loop",), value if "." in value else f"my_module.{value}")]
    if " " in value.strip():
        return [Line(("command",), value)]
    return [Line(("command",), " ".join([_runner(value), *searched_options(top)]))]


def _runner(script: str) -> str:
    return f"python {script}" if script.endswith(".py") else script


def searched_options(top: Mapping[str, Any]) -> list[str]:
    """`--lr {lr}` for each parameter that a document searches or fixes, by whatever words."""
    return [f"--{name} {{{name}}}" for name in searched_names(top)]


def searched_names(top: Mapping[str, Any]) -> list[str]:
    """The names of the parameters that a document searches or fixes, by whatever words."""
    found: dict[str, None] = {}
    for key, value in top.items():
        target = means(str(key))
        if key in ("search", "params") or target == "search":
            for line in _translate_search(value, {}, outside=True):
                found |= dict.fromkeys(line.value)
    return list(found)
