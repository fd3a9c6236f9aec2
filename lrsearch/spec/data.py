"""`data` of a spec: its name or class path, arguments, splits and transforms."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Mapping
from pathlib import Path as FilePath
from typing import Any

from lrsearch import catalogue
from lrsearch.catalogue import Parameter
from lrsearch.errors import is_slip, nearest, suggest
from lrsearch.space import Dimension, Option, is_number
from lrsearch.spec.components import (
    divides_calls,
    find_unnamed,
    name_built_in,
    read_arguments,
    read_import,
    read_named,
)
from lrsearch.spec.document import Path
from lrsearch.spec.foreign import names as foreign_names
from lrsearch.spec.foreign.lines import Line
from lrsearch.spec.foreign.ranges import number as read_number
from lrsearch.spec.ranges import make_choice
from lrsearch.spec.reader import Reader
from lrsearch.spec.sources import read_header
from lrsearch.spec.values import show

_VARIABLE = re.compile(r"\$\w+|\$\{[^}]*\}|%[A-Z_]+%|\{\{")
"""A variable of a shell, or of a template, in a path."""


_DATA = (
    "write data: digits; for example; "
    + suggest("", catalogue.DATA)
    + ", or {class_path: my_package.load}"
)
"""The hint for data whose name means none."""


def read_data(reader: Reader, raw: Any) -> dict[str, Any]:
    """`data`: its name or class path, arguments, splits and transforms, every default filled."""
    path: Path = ("data",)
    given = raw
    raw = {"name": raw} if isinstance(raw, str) else raw
    if not isinstance(raw, Mapping):
        reader.misshaped(path, raw, "names no data", _DATA)
        return {}
    common = ("validation", "test", *catalogue.SPLITTING, "transforms")
    source: catalogue.Source | None = None
    reader.slip(path, raw, ("name", "class_path"), near=True)
    given = raw = name_built_in(reader, path, raw, catalogue.DATA) if raw is given else raw
    if "class_path" in raw:
        data = read_import(reader, path, raw, (*catalogue.IMPORTED, *common))
        data |= read_arguments(reader, path, raw, catalogue.IMPORTED)
    else:
        name = raw.get("name")
        meant = foreign_names.data(given)
        if "name" not in raw:
            inner = next(iter(raw.values()), None) if {*raw} <= {*catalogue.DATA} else 0
            if len(raw) == 1 and (inner is None or isinstance(inner, Mapping)):  # {iris: {}}
                meant = {"name": next(iter(raw)), **(inner or {})}
            meant = find_unnamed(raw, catalogue.DATA) or meant
            hint = reader.hint(path, [Line(path, meant)] if meant else None)
            if hint or not reader.slip(path, raw, ("name", "class_path")):
                hint = hint or _DATA
                reader.fault(path, "'name' (or 'class_path') is missing", hint)
            return {}
        source = catalogue.DATA.get(name) if isinstance(name, str) else None
        if source is None:
            meant = _with_target(reader, meant)
            near = nearest(str(name), catalogue.DATA)
            slip = near is not None and is_slip(str(name), near)
            line = Line(path, meant) if meant and not slip else None
            hint = reader.hint((*path, "name"), [line] if line else None)
            hint = hint or (suggest(str(name), catalogue.DATA) if near else _DATA)
            reader.fault((*path, "name"), f"unknown data {show(name)}", hint)
            if near is None or not slip:
                return {}
            raw = {**raw, "name": near}
            name = near
            source = catalogue.DATA[near]
        reader.unknown(path, raw, ("name", *source.parameters, *common))
        data = {"name": name, **read_arguments(reader, path, raw, source.parameters)}
        for key, parameter in source.parameters.items():
            if parameter.kind == "path" and isinstance(data.get(key), str):
                data[key] = _read_path(reader, (*path, key), data[key])
        if "target" in source.parameters:
            _check_columns(reader, path, data)
    data["validation"] = _read_open_validation(reader, raw, source)
    data["test"] = _read_test(reader, raw.get("test"), source)
    data |= read_arguments(reader, path, raw, catalogue.splitting(source))
    data["transforms"] = read_transforms(
        reader, (*path, "transforms"), raw.get("transforms"), source
    )
    if source is not None and source.ordered:
        _check_ordered(reader, path, data)
    validation, test = data["validation"], data["test"]
    if validation == "source" == test and source is not None and not source.own_test:
        reader.fault((*path, "test"), "the source's own split is the validation split already")
    if isinstance(validation, float) and isinstance(test, float) and validation + test >= 1:
        reader.fault(
            (*path, "test"),
            f"validation {validation:g} and test {test:g} leave nothing to train on",
            "write validation: 0.2\n  write test: 0.1",
        )
    return data


def _with_target(reader: Reader, meant: Any) -> Any:
    """A table that is meant, with its last column as the target where nothing names one."""
    if not isinstance(meant, Mapping) or meant.get("target") != foreign_names.COLUMN:
        return meant
    separator = meant.get("separator", ",")
    with contextlib.suppress(OSError):
        header = read_header(reader.folder / str(meant["source"]), separator)
        return {**meant, "target": header[1][-1]} if header and header[1][-1] else meant
    return meant


def read_transforms(
    reader: Reader, path: Path, raw: Any, source: catalogue.Source | None
) -> list[dict[str, Any]]:
    """`data.transforms`, each with its arguments filled."""
    if raw is None:
        return []
    if not isinstance(raw, list):
        hint = "it takes a list, such as [{name: flip, p: 0.5}]"
        named = raw.get("name") if isinstance(raw, Mapping) else raw
        if isinstance(named, str) and named in catalogue.TRANSFORMS:
            hint = reader.hint(path, [Line(path, [raw])])
        reader.fault(path, f"{show(raw)} is no list of transforms", hint)
        return []
    if divides_calls(reader, "transform", path, raw):
        return []
    found = []
    for index, part in enumerate(raw):
        place = (*path, index)
        if isinstance(part, Mapping) and "class_path" in part:
            found.append(read_import(reader, place, part, ()))
            continue
        found.append(read_named(reader, "transform", place, part))
        if found[-1] and source is not None and source.ordered:
            message = f"{found[-1]['name']} takes numbers, and text is characters"
            reader.fault(place, message, "one of your own may: {class_path: my_package.augment}")
    return found


def read_transform_lists(
    reader: Reader, path: Path, raw: Any, data: Mapping[str, Any]
) -> Dimension | None:
    """A choice of whole lists of transforms."""
    if not isinstance(raw, list) or any(isinstance(part, str | Mapping) for part in raw):
        meant = raw if isinstance(raw, list) else [raw]
        hint = reader.hint(path, [Line(path, [[], meant])])
        reader.fault(path, f"{show(raw)} is no list of lists of transforms", hint)
        return None
    if not raw:
        reader.fault(path, "an empty list leaves nothing to choose from")
        return None
    source = catalogue.DATA.get(data.get("name", ""))
    before = len(reader.faults)
    lists = [
        read_transforms(reader, (*path, index), part, source) for index, part in enumerate(raw)
    ]
    if len(reader.faults) > before:
        return None
    return make_choice(reader, path, [Option(part) for part in lists])


def _check_columns(reader: Reader, path: Path, data: Mapping[str, Any]) -> None:
    """Faults for columns of a table that are the target, dropped and categorical at once."""
    if not reader.sound("data.target", "data.drop", "data.categorical"):
        return
    target, drop, categorical = data.get("target"), data["drop"], data["categorical"]
    if target in drop:
        place = (*path, "drop")
        hint = reader.hint(place, [Line(place, [each for each in drop if each != target])])
        reader.fault((*place, drop.index(target)), f"{show(target)} is the target", hint)
    for index, name in enumerate(categorical):
        place = (*path, "categorical", index)
        others = [each for each in categorical if each != name]
        left = reader.hint(place[:-1], [Line(place[:-1], others)])
        if name == target:
            hint = f"{left}; to predict its values as classes, write task: classification"
            reader.fault(place, f"{show(name)} is the target", hint)
        elif name in drop:
            reader.fault(place, f"{show(name)} is dropped", left)


def _check_ordered(reader: Reader, path: Path, data: Mapping[str, Any]) -> None:
    """Faults for keys that mean nothing for text, which is split where it stands."""
    if data["standardize"]:
        reader.fault((*path, "standardize"), "characters have no mean", "write standardize: false")
    for name in ("split_seed", "validation_seed"):
        if data[name]:
            reader.fault((*path, name), "the splits of text are not drawn: leave it out")


def _read_path(reader: Reader, path: Path, raw: str) -> str:
    if re.match(r"[a-z][a-z0-9+]*://", raw):
        hint = (
            f"fetch it first, and write {path[-1]}: {raw.rstrip('/').rpartition('/')[2] or 'FILE'}"
        )
        reader.fault(path, f"{show(raw)} is an address, and nothing is fetched", hint)
        return raw
    if _VARIABLE.search(raw) and not (reader.folder / raw).exists():
        dotted = ".".join(map(str, path))
        meant = os.path.expandvars(raw)
        told = f"write {path[-1]}: {meant}" if meant != raw else "write the path itself"
        hint = f'{told}; or, for a shell: --set {dotted}="{raw}"'
        reader.fault(path, f"{show(raw)} has a variable, and nothing is put in there", hint)
        return raw
    try:
        return str((reader.folder / FilePath(raw).expanduser()).resolve())
    except (OSError, RuntimeError, ValueError) as error:  # ~nobody, a NUL, a loop of links
        reader.fault(path, f"{show(raw)} cannot be the path of a file: {error}")
        return raw


def _read_open_validation(
    reader: Reader, raw: Mapping[str, Any], source: catalogue.Source | None
) -> Any:
    """Read the validation part; None leaves it to the source, whose own part is used if it brings
    one."""
    if "validation" in raw:
        return _read_validation(reader, raw["validation"], source)
    return None if source is None or source.own_split else 0.2


def _read_validation(reader: Reader, raw: Any, source: catalogue.Source | None) -> Any:
    path: Path = ("data", "validation")
    if isinstance(raw, Mapping):
        if source is not None and source.ordered:
            message = "text is held out in one piece, not by folds: its neighbours would leak"
            reader.fault(path, message, reader.hint(path, [Line(path, 0.1, "for example")]))
            return 0.2
        if len(raw) == 1 and isinstance(raw.get(key := next(iter(raw))), str) and key in _PLACES:
            return _read_share(reader, path, raw[key], source, _SHARES)  # {source: photos/val}
        word = str(next(iter(raw))) if len(raw) == 1 else ""
        given = read_number(raw[word]) if word in raw and word != "folds" else None
        meant: Any = None
        if is_number(given) and 0 < given < 1 and _SHARE.search(word):
            meant = given
        elif type(given) is int and given > 1 and _FOLDS.search(word):
            meant = {"folds": given}
        if meant is not None and not is_slip(word, "folds"):
            reader.fault((*path, word), "unknown key", reader.hint(path, [Line(path, meant)]))
            return 0.2
        reader.unknown(path, raw, ("folds",))
        if "folds" not in raw:
            if not reader.is_promised("data.validation.folds"):
                reader.fault(path, "'folds' is missing", "write validation: {folds: 5}")
            return 0.2
        return {"folds": reader.value((*path, "folds"), Parameter("int", low=2), raw["folds"])}
    return _read_share(reader, path, raw, source, _SHARES)


_SHARE = re.compile(r"^(?!.*train).*(share|frac|ratio|size|split|portion|percent|pct|val)", re.I)
_FOLDS = re.compile(r"^(k|cv|.*splits?|.*fold.*)$", re.I)
"""Words elsewhere for a share, and for the number of folds."""
_PLACES = ("source", "path", "folder", "dir", "root")
"""Words for the place of the validation part."""

_SHARES = "a share such as 0.2, {folds: 5}, or source"


def _read_test(reader: Reader, raw: Any, source: catalogue.Source | None) -> Any:
    if raw is None:
        return None
    return _read_share(
        reader, ("data", "test"), raw, source, "a share such as 0.1, source, or null"
    )


def _usual_share(reader: Reader, path: Path, allowed: str) -> str:
    """The hint for a part of the data that is no share of them."""
    usual = 0.1 if path[-1] == "test" or "0.1" in allowed else 0.2
    return reader.hint(path, [Line(path, usual, f"for example; it takes {allowed}")])


def _read_share(
    reader: Reader, path: Path, raw: Any, source: catalogue.Source | None, allowed: str
) -> Any:
    if raw == "source":
        if source is not None and not source.own_split:
            allowed = "a share such as 0.1" if source.ordered else allowed
            hint = _usual_share(reader, path, allowed)
            reader.fault(path, "this data source has no split of its own", hint)
        return raw
    number = is_number(raw)
    if not number or not 0 < raw < 1:
        hint, share = _usual_share(reader, path, allowed), read_number(raw)
        folds = re.fullmatch(r"\s*(\d*)[ -]*k?[ -]*folds?\s*", raw if isinstance(raw, str) else "")
        if isinstance(raw, int) and not isinstance(raw, bool) and 1 < raw < 100:
            share = raw / 100
        parts = re.fullmatch(r"\s*([.\d]+)\s*[/:-]\s*([.\d]+)\s*%?\s*", str(raw))
        both = sorted(map(read_number, parts.groups())) if parts else []
        if both and all(map(is_number, both)) and sum(both) in (1, 100):  # 80/20
            share = both[0] / sum(both)
        if isinstance(raw, str) and is_slip(raw, "source"):
            hint = reader.hint(path, [Line(path, "source")])
        elif isinstance(share, float) and 0 < share < 1:
            hint = reader.hint(path, [Line(path, share)])
        elif folds and int(folds[1] or 5) > 1 and path[-1] == "validation":
            hint = reader.hint(path, [Line(path, {"folds": int(folds[1] or 5)})])
        elif beside := _beside(reader, raw):
            lines = [Line(("data", "source"), beside), Line(path, "source")]
            hint = reader.hint(path, lines)
        reader.fault(path, f"{show(raw)} is no share of the data", hint)
        return 0.2
    return float(raw)


def _beside(reader: Reader, part: Any) -> str:
    """The folder that holds the images of training and those of another part, "" where they stand
    in no common one by the names of splits."""
    data = reader.document.data["data"]
    given = data.get("source") if data.get("name") == "images" else None
    if not isinstance(given, str) or not isinstance(part, str):
        return ""
    train, other = FilePath(given), FilePath(part)
    named = train.name == "train" and other.name in (*_PARTS, "test")
    return str(train.parent) if named and train.parent == other.parent else ""


_PARTS = ("val", "validation", "valid", "dev")
"""Names of folders of images to validate with."""
