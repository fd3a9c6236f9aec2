"""A document checked against the catalogue, every fault of it at once."""

from __future__ import annotations

import contextlib
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path as FilePath
from typing import Any

from lrsearch import catalogue
from lrsearch.duration import find_time, is_never, parse_time
from lrsearch.errors import FIRST_SPEC, Fault, SpecError, nearest
from lrsearch.spec.budgets import note_budgets
from lrsearch.spec.components import read_arguments, read_component
from lrsearch.spec.cross_checks import (
    check_images,
    check_models,
    check_one_rate,
    check_schedules,
    check_sizes,
    check_step,
    check_task,
    note_peaks,
)
from lrsearch.spec.data import read_data
from lrsearch.spec.document import ONE, Document, as_mapping
from lrsearch.spec.flat import note_flat
from lrsearch.spec.foreign.lines import Line
from lrsearch.spec.foreign.names import snake
from lrsearch.spec.foreign.words import look_up
from lrsearch.spec.malformed import find_assigned
from lrsearch.spec.model import (
    BayesSettings,
    ConfirmSettings,
    RandomSettings,
    RefineSettings,
    Spec,
    complete,
)
from lrsearch.spec.nesting import settle_blocks
from lrsearch.spec.objective import read_objective
from lrsearch.spec.outside import (
    INSIDE,
    KINDS,
    ONLY_OUTSIDE,
    is_outside,
    read_foreign_outside,
    read_outside,
)
from lrsearch.spec.pruning import note_prune, read_prune
from lrsearch.spec.reader import PLAIN, TOP_LEVEL, Reader
from lrsearch.spec.search import read_search
from lrsearch.spec.train import read_train, read_warmup
from lrsearch.spec.unusual import unusual_layers, unusual_rates
from lrsearch.spec.values import NOTHING, read_pairs, show

_GOES_ELSEWHERE = {
    "metrics": "metrics of your own stand under train",
    "params": "leave 'params' out: fixed values stand under train",
    "verify": "leave it out: lrsearch export --verify trains the best again",
}
"""Hints for keys of a command or a loop beside built-in trainings."""

_FIRST = {
    "data": "write data: digits, or one of "
    + ", ".join([*catalogue.DATA][1:])
    + ", or {class_path: my_package.load}",
    "model": "write model: mlp, or one of "
    + ", ".join(each for each in catalogue.MODELS if each != "mlp")
    + ", or {class_path: my_package.Net}",
    "train": "write train: {budget: 20ep, lr: 1e-2}",
}
"""Lines for keys that every spec of a built-in training has."""

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")

_WRITE: dict[str, dict[str, Any]] = {
    "random": {"trials": 40},
    "bayes": {"trials": 40},
    "refine": {"rounds": 3},
    "confirm": {"top": 4, "seeds": 5},
    "stop": {"patience": 10},
}
"""Settings to write where what is written is no mapping."""

SHOWN = 80
"""Characters of a text that is no spec that are shown."""

SAVE = "5m"
"""The time between two saved states of a training, if the spec names none."""

FIRST_SEED = 1
"""The first seed of a command or a loop, if the spec names none."""


# the whole


def validate(
    document: Document,
    folder: FilePath,
    text: str,
    *,
    arithmetic: bool = True,
    stored: bool = False,
) -> Spec:
    """The spec a document describes; without `arithmetic` all text of its parameters is text. A
    `stored` one has run: its command is not checked for slips. Raises SpecError with all its
    faults."""
    reader = Reader(document, folder, arithmetic, stored)
    spec = _read_spec(reader, text)
    if reader.faults or spec is None:
        raise SpecError(_told_once(reader.faults, document.faults))
    return spec


def _told_once(faults: Sequence[Fault], written: Sequence[Fault]) -> list[Fault]:
    """The faults without those of a line whose own place is at fault: that a key is unknown where
    its line was moved to says where it belongs. `written` are those of the text as YAML."""
    moved = {each.line for each in faults if _is_moved(each)}
    apart = {
        each.line: each
        for each in faults
        if each.line in moved
        and each.message == "unknown key"
        and not each.hint.startswith(("leave", "did you"))
    }
    faults = [
        replace(each, hint=apart[each.line].hint)
        if each.line in apart and _is_moved(each)
        else each
        for each in faults
        if each is not apart.get(each.line)
    ]
    told: list[Fault] = []
    of_text = {each for each in written if each.key and each.hint != ONE}
    places: dict[tuple[str, int], list[int]] = {}
    for each in faults:
        # What the text and what its value is wrong in, as *a for a number, is one fault.
        place = each.key, each.line
        if not places.get(place):
            if each in of_text:
                places.setdefault(place, []).append(len(told))
            told.append(each)
        else:
            at = places[place].pop(0)
            message = f"{told[at].message}; {each.message}"
            name = re.match(r"did you mean '([\w.]+)'\?", each.hint)
            hint = re.sub(r"(?<=^write )[\w.]+(?=:)", name[1], told[at].hint) if name else ""
            told[at] = replace(told[at], message=message, hint=hint or each.hint or told[at].hint)
    return [
        each if each.key else replace(each, hint=_last_word(each, told[at + 1 :]))
        for at, each in enumerate(told)
    ]


def _last_word(fault: Fault, others: Sequence[Fault]) -> str:
    """The hint of a fault of a text: that of the last one which writes the same key on its line."""
    key = re.match(r"write ([\w.]+): ", fault.hint)
    same = [
        each.hint
        for each in others
        if key and not fault.key and not fault.hint.endswith("before it")
        if each.line == fault.line and each.hint.startswith(key[0])
    ]
    return same[-1] if same else fault.hint


def _is_moved(fault: Fault) -> bool:
    return not fault.key and fault.hint.endswith(" before it")


def validate_schedule(document: Document) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """The schedule and the warmup of a document that has them under `train`, every argument
    filled. Raises SpecError with all their faults."""
    reader = Reader(document, FilePath())
    train = document.data["train"]
    schedule = read_component(reader, "schedule", ("train", "schedule"), train["schedule"])
    warmup = read_warmup(reader, ("train", "warmup"), train.get("warmup"))
    if reader.faults:
        raise SpecError(reader.faults)
    return schedule, warmup


def _read_spec(reader: Reader, text: str) -> Spec | None:
    """The spec of a whole document; None where anything is at fault."""
    top = reader.document.data
    if top is None:
        hint = "lrsearch init NEW.yaml --from mlp writes a first spec"
        reader.fault((), "the file is empty: a spec has at least data, model and train", hint)
        return None
    if not isinstance(top, Mapping):
        kind = "a list" if isinstance(top, list) else _shorten(show(top))
        hint = "take the dashes away" if isinstance(top, list) else find_assigned(str(top))
        if isinstance(top, str) and re.search(r"\[\w+\] \w+ = ", top):
            told, hint = (
                "a spec is YAML, and this is TOML",
                "write [data] as data:, and a = 1 as a: 1",
            )
            reader.fault((), told, f"{hint}, below it and further right")
            return None
        hint = hint or FIRST_SPEC
        reader.fault((), f"a spec is a mapping (key: value), this is {kind}", hint)
        return None
    top = settle_blocks(reader, top)
    words = [look_up(snake(str(key))) or ("", "") for key in top]
    slips = [] if "train" in top else [key for key in top if key not in TOP_LEVEL]
    named = [*(target for target, _ in words), *(nearest(str(key), TOP_LEVEL) for key in slips)]
    reader.outside = is_outside(top) or any(each in KINDS for each in named)
    reader.unknown((), top, TOP_LEVEL)
    if is_outside(top):
        return _finish(reader, top, text, read_outside(reader, top))
    if reader.outside:  # By a foreign word: there is no training to read more of.
        read_foreign_outside(reader, top)
        _read_timeout(reader, top.get("timeout"))
        return None
    spec = _finish(reader, top, text, _read_inside(reader, top))
    if spec is not None:
        check_schedules(reader, spec)
        check_models(reader, spec)
        check_images(reader, spec)
        if not reader.faults:
            notes = (*spec.notes, *note_budgets(spec), *note_flat(spec), *unusual_layers(spec))
            spec = replace(spec, notes=notes)
    return spec


def _shorten(text: str) -> str:
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."


def _read_inside(reader: Reader, top: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a `Spec` of built-in trainings, by name."""
    for key in ONLY_OUTSIDE:
        if key in top:
            hint = _GOES_ELSEWHERE.get(key, "")
            if key == "params" and "search" not in top and isinstance(top[key], Mapping):
                hint = reader.hint((key,), [Line(("search",), top[key])])
            message = f"'{key}' goes with {' or '.join(KINDS)}, which is missing"
            reader.fault((key,), message, hint)
    search = top.get("search")
    searched_model = isinstance(search, Mapping) and isinstance(search.get("model"), list)
    for key in INSIDE:
        there = key in top or (key == "model" and searched_model)
        there = there or any(key in as_mapping(top.get(other)) for other in INSIDE)  # Told there.
        if not there and not reader.is_promised(key):
            reader.fault((), f"'{key}' is missing", _FIRST[key])
    data = read_data(reader, top["data"]) if "data" in top else {}
    model = read_component(reader, "model", ("model",), top["model"]) if "model" in top else {}
    train = read_train(reader, top["train"]) if "train" in top else {}
    start = train.pop("start", None)
    metric, at, goal = read_objective(reader, top.get("objective"), train)
    space = read_search(reader, top.get("search"), data, model, train)
    check_step(reader, data, train, space)
    note_peaks(reader, train, space)
    check_one_rate(reader, train, space)
    reader.notes += unusual_rates(train, space)
    check_task(reader, data, train, metric, space)
    check_sizes(reader, data, train, space)
    return {
        "data": data,
        "model": model,
        "train": train,
        "metric": metric,
        "at": at,
        "goal": goal,
        "space": space,
        "start": start,
    }


def _finish(
    reader: Reader, top: Mapping[str, Any], text: str, parts: Mapping[str, Any]
) -> Spec | None:
    """The spec, with the fields common to all kinds; None where anything is at fault."""
    name = _read_name(reader, top)
    settings = {key: read_settings(reader, key, top.get(key)) for key in catalogue.SETTINGS}
    confirms = top.get("confirm") is not None or ("confirm",) in reader.document.empty
    many = top.get("seeds")
    if isinstance(many, list) and many:
        hint = reader.hint(("seeds",), [Line(("seeds",), len(many), "seed says the first")])
        reader.fault(("seeds",), f"{show(many)} is no number of seeds", hint)
        top = {key: value for key, value in top.items() if key != "seeds"}
    if isinstance(first := top.get("seed"), list) and first:
        line = Line(("seeds",), len(first)) if "seeds" not in top else Line(("seed",), first[0])
        hint = reader.hint(("seed",), [replace(line, remark="seed says the first")])
        reader.fault(("seed",), f"{show(first)} is no seed", hint)
        top = {key: value for key, value in top.items() if key != "seed"}
    plain = {
        key: reader.value((key,), parameter, top[key]) if key in top else parameter.default
        for key, parameter in PLAIN.items()
    }
    save = _read_save(reader, top)
    outside = parts.get("outside")
    prune = read_prune(reader, top, None if outside is None else outside.kind)
    if outside is not None:
        _settle_seed(reader, top, plain)
    timeout = _read_timeout(reader, top.get("timeout"))
    if reader.faults:
        return None
    folds = parts["data"].get("validation") if parts["data"] else None
    per_point = plain["seeds"] * (folds["folds"] if isinstance(folds, Mapping) else 1)
    note_prune(reader, prune, per_point)
    return Spec(
        name=name,
        **parts,
        random=RandomSettings(**settings["random"]),
        bayes=BayesSettings(**settings["bayes"]),
        confirm=ConfirmSettings(**settings["confirm"]) if confirms else None,
        refine=RefineSettings(**settings["refine"]) if top.get("refine") is not None else None,
        patience=settings["stop"]["patience"],
        **plain,
        save=save,
        timeout=timeout,
        prune=prune,
        notes=tuple(reader.notes),
        imports=tuple(dict.fromkeys(reader.imports)),
        folder=reader.folder,
        source=reader.document.source,
        text=text,
        document=top,
    )


# single keys


def _read_save(reader: Reader, top: Mapping[str, Any]) -> float | None:
    """The seconds between two saved states of a training, None for never."""
    if top.get("save", SAVE) is not None and "save" in top and is_outside(top):
        kind = next(each for each in KINDS if each in top)
        hint = f"what a {kind} trains only its own code can save: leave it out"
        reader.fault(("save",), "'save' goes with data, model and train", hint)
        return None
    if top.get("save") is True:
        hint = reader.hint(("save",), [Line(("save",), SAVE, "which is the default")])
        reader.fault(("save",), "true is no time", hint)
        return None
    save = _read_time(reader, "save", top.get("save", SAVE), zero=True)
    return save if not is_outside(top) else None


def _read_timeout(reader: Reader, raw: Any) -> float | None:
    """The seconds that a trial may take."""
    return _read_time(reader, "timeout", raw)


def _read_time(reader: Reader, key: str, raw: Any, *, zero: bool = False) -> float | None:
    """The seconds of a key that is a time or null; with `zero` also none at all."""
    path = (key,)
    if path in reader.document.empty:
        remark = f"that is {_NULL[key]}, or a time such as {key}: {SAVE}"
        reader.fault(path, f"'{key}' is empty", reader.hint(path, [Line(path, None, remark)]))
        return None
    if raw is None:
        return None
    try:
        return parse_time(raw, zero=zero)
    except ValueError as error:
        usual = Line(path, SAVE if key == "save" else "10m", f"for example; {error}")
        hint = reader.hint(path, [usual])
    if is_never(raw):
        hint = reader.hint(path, [Line(path, None)])
    else:
        with contextlib.suppress(ValueError):
            meant = find_time(raw)
            seconds = parse_time(meant, zero=zero)
            remark = "" if seconds else "that is at every evaluation; null is never"
            hint = reader.hint(path, [Line(path, meant, remark)])
    reader.fault(path, f"{show(raw)} is no time", hint)
    return None


_NULL = {"save": "never", "timeout": "as long as it takes"}
"""The meaning of null for a key that is a time."""


def _settle_seed(reader: Reader, top: Mapping[str, Any], plain: dict[str, Any]) -> None:
    """The first seed of a training outside lrsearch. Seeds begin at 1 there: scripts take 0 for
    none."""
    if "seed" not in top:
        plain["seed"] = FIRST_SEED
    elif plain["seed"] == 0:
        reader.notes.append(
            "seed 0 is no seed to scripts that ask 'if seed:': leave it out, and seeds count "
            f"from {FIRST_SEED}"
        )


def _plain_name(name: str) -> str:
    """The letters of a name that a run's has, "" where there are none."""
    ascii_ = unicodedata.normalize("NFKD", name.replace("ß", "ss"))
    ascii_ = "".join(char for char in ascii_ if not unicodedata.combining(char))
    return re.sub(r"[^A-Za-z0-9._-]+", "-", ascii_).strip("-._")[:64]


def _read_name(reader: Reader, top: Mapping[str, Any]) -> str:
    stem = FilePath(reader.document.source).stem
    name = top.get("name", stem)
    if (isinstance(name, str) and NAME.fullmatch(name)) or ("name",) in reader.document.unread:
        return str(name)
    rule = "a run's name starts with a letter or digit and has at most 64 of A-Z a-z 0-9 . _ -"
    if "name" not in top:
        told = f"'name' is missing, and the file's own name '{stem}' cannot serve"
        hint = reader.hint((), [Line(("name",), _plain_name(stem) or "my-run")])
        reader.fault((), told, f"{hint}; {rule}")
    else:
        plain = _plain_name(str(name))
        usual = reader.hint(("name",), [Line(("name",), "my-run", "for example")])
        out = "leave it out: the run is called as the file is"
        hint = f"{out if name is None else usual}; {rule}"
        if isinstance(name, str | int | float) and NAME.fullmatch(plain):
            hint = f"{reader.hint(('name',), [Line(('name',), plain)])}; {rule}"
        quote = "; quote it" if isinstance(name, int | float) else ""
        reader.fault(("name",), f"{show(name)} cannot name a run{quote}", hint)
    return ""


def read_settings(reader: Reader, key: str, raw: Any) -> dict[str, Any]:
    """The settings under a key, such as `random` or `refine`, every default filled."""
    if (key,) in reader.document.empty and key not in ("random", "bayes"):
        hint = reader.hint((key,), [Line((key,), _WRITE[key], "or null for none")])
        reader.fault((key,), f"'{key}' is empty", hint)
    if raw is None:
        raw = {}
    known = catalogue.SETTINGS[key]
    if not isinstance(raw, Mapping):
        whole = isinstance(raw, int) and not isinstance(raw, bool) and raw > 0
        named = next((inner for inner, each in known.items() if raw in each.choices), None)
        named = named or (next(iter(known)) if whole else None)
        pairs = read_pairs(raw) or {}
        meant = pairs if pairs.keys() & known.keys() else {}
        line = Line((key,), {named: raw} if named else meant or _WRITE[key])
        hint = reader.hint((key,), [line])
        hint = "leave it out" if str(raw).strip().lower() in NOTHING else hint
        reader.fault((key,), f"{show(raw)} is no mapping", hint)
        raw = meant
    if "seeds" in known and isinstance(many := raw.get("seeds"), list) and many:
        hint = reader.hint((key, "seeds"), [Line((key, "seeds"), len(many))])
        reader.fault((key, "seeds"), f"{show(many)} is no number of seeds", hint)
        raw = {name: part for name, part in raw.items() if name != "seeds"}
    reader.unknown((key,), raw, tuple(known))
    found = complete(known, read_arguments(reader, (key,), raw, known))
    trials, startup = found.get("trials", 0), found.get("startup", 0)
    if reader.sound((key,)) and "startup" in raw and startup > trials:
        reader.notes.append(
            f"{key}.startup {startup} is more than its {trials} trials: none is proposed by what "
            f"others measured. Write startup: {max(1, trials // 4)}"
        )
    return found
