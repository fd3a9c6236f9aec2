"""Sources of arrays: built-in ones, NumPy archives and imported functions."""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np

from lrsearch import catalogue
from lrsearch.data import built_in
from lrsearch.data.arrays import Named, check_arrays, digest
from lrsearch.data.delimited import read_csv
from lrsearch.data.encoding import encode
from lrsearch.data.images import Images, folder_stamp, read_images, scale
from lrsearch.data.imported import check_parts
from lrsearch.data.interrupts import any_but_interrupts
from lrsearch.data.parquet import read_parquet
from lrsearch.data.parts import Part, Stream, read_parts
from lrsearch.data.precision import VERY_FAR, find_far
from lrsearch.data.raised import tell_raised
from lrsearch.data.raw import Portion, Raw
from lrsearch.data.subset import choose, describe_choice
from lrsearch.data.tables import Array, Table, show_labels, take_rows
from lrsearch.data.text import Windows, read_text
from lrsearch.errors import DataError, LrsearchError, suggest
from lrsearch.spec.sources import hint_members

_Asked = tuple[bool, bool | None]
"""Whether a validation part is wanted, and whether numbers of two dimensions are images."""

Resolver = Callable[[str], Callable[..., Any]]
"""A resolver gives the function that a class path names; importing is left to the caller."""


# loading


def load(config: Mapping[str, Any], *, resolver: Resolver) -> Raw:
    """The arrays of a resolved config's `data`, loaded once per process.

    Unsigned bytes with at least two dimensions per sample are images and scaled to 0..1; images of
    [height, width] get a channel axis; channels come first. Integer, boolean or text targets are
    classes (numbered in sorted order), floating ones regression targets, unless `task` says
    otherwise. A validation part that a NumPy archive holds is read where the spec's `validation`
    may use it. Raises DataError naming the source and what is wrong with it.
    """
    global _last
    own = {name: config[name] for name in sorted(config) if name not in _SPLITTING}
    function = resolver(own["class_path"]) if "class_path" in own else None
    stamp = _stamp(Path(own["source"])) if "source" in own else ""
    key = (json.dumps({**own, "images": None}), stamp, function)
    validated = own.get("name") == "npz" and config.get("validation") in (None, "source")
    asked = (validated, own.get("images"))
    if _last is None or _last[0] != key or not _serves(_last[2], _last[1], asked):
        _last = None  # Two large data sets need not fit side by side.
        _last = (key, asked, _read(own, function, validated))
    return _last[2]


def _serves(raw: Raw, before: _Asked, asked: _Asked) -> bool:
    """Whether the data read earlier are those that this request would read: an optional validation
    part may not exist, and an open choice may have come to the same."""
    part = before[0] == asked[0] or not (asked[0] or raw.validates)
    return part and (before[1] == asked[1] or raw.images == asked[1])


_SPLITTING = frozenset((*catalogue.SPLITTING, "validation", "test", "transforms"))
_last: tuple[object, _Asked, Raw] | None = None


def _stamp(path: Path) -> str:
    """A stamp that changes with the file, or the folder of images."""
    try:
        status = path.stat()
        if path.is_dir():
            return folder_stamp(str(path))
    except OSError:
        return ""  # Reading it says why.
    return f"{status.st_mtime_ns} {status.st_size}"


def _read(own: Mapping[str, Any], function: Callable[..., Any] | None, validated: bool) -> Raw:
    task, samples = own.get("task"), own.get("samples")
    if function is not None:
        place = own["class_path"]
        parts = _call(place, function, own.get("init_args") or {})
        return check_parts(place, parts, task, own.get("classes"), images=own.get("images"))
    name = own["name"]
    if name not in SOURCES:
        raise DataError(f"unknown data '{name}'", hint=suggest(name, SOURCES))
    passed = catalogue.DATA[name].parameters.keys() - {"samples", "shuffle", "task", "images"}
    arguments = {key: value for key, value in own.items() if key in passed}
    place = str(own.get("source", name))
    shuffle = bool(own.get("shuffle"))
    if name == "images":
        arguments["samples"] = samples  # It reads no more of them than these.
    elif name in ("csv", "parquet"):
        arguments["task"] = task
    elif name == "npz":
        arguments["validated"] = validated
    found = SOURCES[name](**arguments)
    if isinstance(found, Table):
        return _tabular(place, found, task, samples, shuffle=shuffle)
    if isinstance(found, Windows):
        return _windowed(place, found, samples)
    if isinstance(found, Images):
        return _pictured(place, found, task)
    if name != "npz":
        return check_arrays(place, [Named("x", found["x"], "y", found["y"])], task=task)
    raw = _archived(place, found, own)
    return raw if validated else replace(raw, unread=_find_unread(arguments["source"]))


def _find_unread(source: str) -> tuple[str, ...]:
    """The inputs of validation parts in an archive that were not read."""
    with np.load(source, allow_pickle=False) as archive:
        return tuple(name for end in VALIDATION if (name := f"x{end}") in archive.files)


# sources


def _archived(place: str, arrays: Mapping[str, Array], own: Mapping[str, Any]) -> Raw:
    """A NumPy archive's parts. Arrays (N, H, W) are images of one channel, unless told not to."""
    ends = [end for end in ("_train", "", *VALIDATION, "_test") if f"x{end}" in arrays]
    parts = [Named(f"x{end}", arrays[f"x{end}"], f"y{end}", arrays[f"y{end}"]) for end in ends]
    raw = check_arrays(
        place,
        parts,
        own.get("samples"),
        task=own.get("task"),
        shuffle=bool(own.get("shuffle")),
        images=own.get("images") is not False,
    )
    names = tuple(part.x_name for part in parts[1:])
    return replace(raw, names=names, validates=any(end in VALIDATION for end in ends))


def _tabular(
    place: str, table: Table, task: str | None, samples: int | None, *, shuffle: bool
) -> Raw:
    data_hash = table.digest()
    found = task or ("classification" if table.labels else "regression")
    notes, told = table.notes, [table.gaps]
    if samples is not None:
        if samples > len(table.y):
            message = f"samples is {samples}, the table has {len(table.y)} rows"
            raise DataError(message, where=place)
        index = choose(table.y, found, samples, shuffle=shuffle)
        taken, doubts = describe_choice(table.y, found, index, len(table.labels), shuffle=shuffle)
        told.append(taken)
        notes += tuple(doubts)
        rows = "" if shuffle else f" in its first {samples} rows"
        table = take_rows(table, index, place, rows)
    labels = table.labels if found == "classification" else ()
    every = np.arange(len(table.y))
    numbers = table.fill(every)
    lost = find_far(numbers)
    if find_far(numbers, VERY_FAR).any():
        data_hash += "+counted from a row"  # Their mean was not exact before.
    return Raw(
        place,
        encode(table, every, standardize=False),
        table.y,
        None,
        found,
        {"classification": len(labels), "regression": 1}.get(found, 0),
        labels,
        data_hash,
        table,
        notes,
        lost=tuple(f"'{table.names[0][index]}'" for index in np.flatnonzero(lost)),
        taken=", ".join(filter(None, told)),
    )


def _windowed(place: str, text: Windows, samples: int | None) -> Raw:
    """A text's samples; their targets are the same text one character on."""
    data_hash = digest(
        {"windows": text.windows, "vocabulary": np.array(list(map(ord, text.vocabulary)))}
    )
    if samples is not None and samples > len(text.windows):
        raise DataError(f"samples is {samples}, the text has {len(text.windows)}", where=place)
    windows, labels = text.windows[:samples], text.vocabulary
    x, y = windows[:, :-1], windows[:, 1:]
    return Raw(place, x, y, None, "language", len(labels), labels, data_hash)


def _pictured(place: str, images: Images, task: str | None) -> Raw:
    """A folder's images, scaled. The hash is of the images that were read: `samples` is applied
    before it."""
    arrays = [array for part in images.parts() for array in part]
    data_hash = digest({f"{index}": array for index, array in enumerate(arrays)})
    train, *others = (Portion(scale(x), y) for x, y in images.parts())
    held, tested, *_ = (*others, None, None)
    notes, labels = images.notes, images.labels
    if task == "own":
        notes += (f"the folders are numbered from 0: {show_labels(labels)}",)
        labels = ()
    return Raw(
        place,
        train.x,
        train.y,
        held,
        task or "classification",
        len(labels),
        labels,
        data_hash,
        notes=notes,
        tested=tested,
        names=tuple(f"{name}/" for name in images.names),
        validates=bool(images.names) and images.names[0] != "test",
        taken=images.taken,
    )


_UNREADABLE = (
    ValueError,  # arrays of objects, damaged headers
    EOFError,
    OSError,
    MemoryError,  # a header that promises more than there is
    RuntimeError,  # an encrypted member, or (NotImplementedError) an unknown compression
    UnpicklingError,
    zipfile.BadZipFile,
    zlib.error,
)


def _npz(source: str, validated: bool) -> dict[str, Array]:
    """The arrays of an archive that are data, those of a validation part where it may be
    `validated` with."""
    try:
        archive = np.load(source, allow_pickle=False)
    except FileNotFoundError:
        raise DataError("there is no such file", where=source) from None
    except _UNREADABLE as error:
        raise DataError("not a readable NumPy archive (.npz)", where=source) from error
    if not isinstance(archive, np.lib.npyio.NpzFile):
        raise DataError("a single array, not a NumPy archive (.npz)", where=source)
    with archive:
        arrays = {}
        for name in _choose_members(archive.files, source, validated):
            try:
                array = archive[name]
            except _UNREADABLE as error:
                objects = "allow_pickle" in str(error)
                way = f"save it as numbers or text: {name}.astype(float), or {name}.astype(str)"
                raise DataError(
                    f"{name} cannot be read: {error}", where=source, hint=way if objects else ""
                ) from error
            if not isinstance(array, np.ndarray):
                raise DataError(f"{name} is not an array", where=source)
            arrays[name] = array
    return arrays


VALIDATION = ("_val", "_valid", "_validation", "_dev")
"""Endings of the names of a validation part's arrays, x_val and y_val."""


def _choose_members(found: Sequence[str], source: str, validated: bool) -> list[str]:
    """The names of an archive's arrays that are data. Raises DataError where one of a pair is
    missing."""
    split = "x_train" in found or "y_train" in found
    ends = ["_train" if split else ""]
    named = [end for end in VALIDATION if {f"x{end}", f"y{end}"} & set(found)]
    validating = named if validated else []
    if len(validating) > 1:
        names = " and ".join(f"x{end}" for end in validating)
        raise DataError(f"there are {names}: which is the validation part?", where=source)
    ends += validating
    if split and {"x_test", "y_test"} & set(found):
        ends.append("_test")
    wanted = [f"{letter}{end}" for end in ends for letter in "xy"]
    missing = [name for name in wanted if name not in found]
    if missing:
        raise DataError(
            f"{' and '.join(missing)} missing; found: {', '.join(found) or 'nothing'}",
            where=source,
            hint=hint_members(found),
        )
    return wanted


SOURCES: dict[str, Callable[..., dict[str, Array] | Table | Windows | Images]] = {
    "digits": built_in.read_digits,
    "breast_cancer": built_in.read_breast_cancer,
    "wine": built_in.read_wine,
    "iris": built_in.read_iris,
    "diabetes": built_in.read_diabetes,
    "npz": _npz,
    "csv": read_csv,
    "parquet": read_parquet,
    "text": read_text,
    "images": read_images,
}


def _call(
    name: str, function: Callable[..., Any], arguments: Mapping[str, Any]
) -> list[Part | Stream]:
    """The parts that a function of the user's returns."""
    try:
        result = function(**arguments)
    except any_but_interrupts(LrsearchError) as error:
        way = ""
        if isinstance(error, TypeError) and "'batch_size'" in str(error):
            way = "return a function of batch_size: return lambda batch_size: DataLoader(...)"
        raise DataError(tell_raised(error), where=name, hint=way) from error
    return read_parts(result, name)
