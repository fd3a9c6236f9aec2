"""Where the arrays come from: built-in sources, NumPy archives and imported functions."""

from __future__ import annotations

import hashlib
import json
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np

from lrsearch import catalogue
from lrsearch.data.delimited import read_csv
from lrsearch.data.encoding import encode
from lrsearch.data.images import Images, folder_stamp, read_images, scale
from lrsearch.data.interrupts import is_interrupt
from lrsearch.data.parquet import read_parquet
from lrsearch.data.tables import Array, Table, first_rows
from lrsearch.data.text import Windows, read_text
from lrsearch.errors import DataError, LrsearchError, suggest

Pair = tuple[Array, Array]
Resolver = Callable[[str], Callable[..., Any]]
"""Gives the function a class path names; importing is the caller's business."""


@dataclass(frozen=True, eq=False)
class Raw:
    """A source's arrays, checked and of one form, before any split.

    `x` is float32 [samples, features] or [samples, channels, height, width]. `y` is int64
    [samples] with classes 0..outputs-1, or float64 [samples, outputs] for regression. Of text
    both are int64 [samples, context], and `labels` the characters. `held`
    is the source's own held-out pair, None where it has none. `labels` are the classes' names
    in the source. `data_hash` is a SHA-256 over the whole arrays (names, dtypes, shapes, bytes),
    taken before `samples` cuts them: the same content in another file has the same hash.
    `tested` is a second one, for the test, of a source that brings both.
    `table` is there for a source of columns, whose `x` is not scaled yet: a split encodes it anew.
    `notes` are for the person.
    """

    name: str
    x: Array
    y: Array
    held: Pair | None
    task: str
    outputs: int
    labels: tuple[str, ...]
    data_hash: str
    table: Table | None = None
    notes: tuple[str, ...] = ()
    tested: Pair | None = None


def load(config: Mapping[str, Any], *, resolver: Resolver) -> Raw:
    """The arrays of a resolved config's `data`, loaded once per process.

    Unsigned bytes with at least two dimensions per sample are images and scaled to 0..1; images
    of [height, width] get a channel axis; channels come first. Integer, boolean or text targets
    are classes (numbered in sorted order), floating ones regression targets. Raises DataError
    naming the source and what is wrong with it.
    """
    global _last
    own = {name: config[name] for name in sorted(config) if name not in _SPLITTING}
    function = resolver(own["class_path"]) if "class_path" in own else None
    stamp = _stamp(Path(own["source"])) if "source" in own else ""
    key = (json.dumps(own), stamp, function)
    if _last is None or _last[0] != key:
        _last = None  # Two large data sets need not fit side by side.
        _last = (key, _read(own, function))
    return _last[1]


_SPLITTING = frozenset((*catalogue.SPLITTING, "validation", "test"))
_last: tuple[object, Raw] | None = None


def _stamp(path: Path) -> str:
    """What changes when the file, or the folder of images, does."""
    try:
        status = path.stat()
        if path.is_dir():
            return folder_stamp(str(path))
    except OSError:
        return ""  # Reading it says why.
    return f"{status.st_mtime_ns} {status.st_size}"


def _read(own: Mapping[str, Any], function: Callable[..., Any] | None) -> Raw:
    if function is not None:
        place = own["class_path"]
        return _check(place, _imported(place, function, own.get("init_args") or {}), None)
    name = own["name"]
    if name not in SOURCES:
        raise DataError(f"unknown data '{name}'", hint=suggest(name, SOURCES))
    arguments = {key: value for key, value in own.items() if key not in ("name", "samples")}
    place = str(own.get("source", name))
    if name == "images":
        arguments["samples"] = own.get("samples")  # It reads no more of them than these.
    found = SOURCES[name](**arguments)
    if isinstance(found, Table):
        return _tabular(place, found, own.get("samples"))
    if isinstance(found, Windows):
        return _windowed(place, found, own.get("samples"))
    if isinstance(found, Images):
        return _pictured(place, found)
    return _check(place, found, own.get("samples"))


def _tabular(place: str, table: Table, samples: int | None) -> Raw:
    data_hash = table.digest()
    if samples is not None:
        table = first_rows(table, samples, place)
    labels = table.labels
    return Raw(
        place,
        encode(table, np.arange(len(table.y)), standardize=False),
        table.y,
        None,
        "classification" if labels else "regression",
        len(labels) or 1,
        labels,
        data_hash,
        table,
        table.notes,
    )


def _windowed(place: str, text: Windows, samples: int | None) -> Raw:
    """A text's samples and their targets, one character on."""
    data_hash = _digest(
        {"windows": text.windows, "vocabulary": np.array(list(map(ord, text.vocabulary)))}
    )
    if samples is not None and samples > len(text.windows):
        raise DataError(f"samples is {samples}, the text has {len(text.windows)}", where=place)
    windows, labels = text.windows[:samples], text.vocabulary
    x, y = windows[:, :-1], windows[:, 1:]
    return Raw(place, x, y, None, "language", len(labels), labels, data_hash)


def _pictured(place: str, images: Images) -> Raw:
    """A folder's images, scaled. Only what was read has a hash: `samples` is before it here."""
    arrays = [array for part in images.parts() for array in part]
    data_hash = _digest({f"{index}": array for index, array in enumerate(arrays)})
    train, held, tested, *_ = (*((scale(x), y) for x, y in images.parts()), None, None)
    assert train is not None
    count, labels, notes = len(images.labels), images.labels, images.notes
    return Raw(place, *train, held, "classification", count, labels, data_hash, None, notes, tested)


def _sklearn(loader: str) -> dict[str, Array]:
    from sklearn import datasets

    x, y = getattr(datasets, loader)(return_X_y=True)
    return {"x": x, "y": y}


def _digits() -> dict[str, Array]:
    arrays = _sklearn("load_digits")
    return {"x": arrays["x"].reshape(-1, 1, 8, 8) / 16.0, "y": arrays["y"]}


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


def _npz(source: str) -> dict[str, Array]:
    try:
        archive = np.load(source, allow_pickle=False)
    except FileNotFoundError:
        raise DataError("there is no such file", where=source) from None
    except _UNREADABLE as error:
        raise DataError("not a readable NumPy archive (.npz)", where=source) from error
    if not isinstance(archive, np.lib.npyio.NpzFile):
        raise DataError("a single array, not a NumPy archive (.npz)", where=source)
    with archive:
        found = archive.files
        if "x_train" in found or "y_train" in found:
            wanted = ["x_train", "y_train"]
            wanted += ["x_test", "y_test"] if {"x_test", "y_test"} & set(found) else []
        else:
            wanted = ["x", "y"]
        missing = [name for name in wanted if name not in found]
        if missing:
            raise DataError(
                f"{' and '.join(missing)} missing; found: {', '.join(found) or 'nothing'}",
                where=source,
                hint="an archive holds x_train, y_train and perhaps x_test, y_test, or x and y",
            )
        arrays = {}
        for name in wanted:
            try:
                array = archive[name]
            except _UNREADABLE as error:
                raise DataError(f"{name} cannot be read: {error}", where=source) from error
            if not isinstance(array, np.ndarray):
                raise DataError(f"{name} is not an array", where=source)
            arrays[name] = array
    return arrays


SOURCES: dict[str, Callable[..., dict[str, Array] | Table | Windows | Images]] = {
    "digits": _digits,
    "breast_cancer": partial(_sklearn, "load_breast_cancer"),
    "wine": partial(_sklearn, "load_wine"),
    "iris": partial(_sklearn, "load_iris"),
    "diabetes": partial(_sklearn, "load_diabetes"),
    "npz": _npz,
    "csv": read_csv,
    "parquet": read_parquet,
    "text": read_text,
    "images": read_images,
}


def _imported(
    name: str, function: Callable[..., Any], arguments: Mapping[str, Any]
) -> dict[str, Array]:
    """The arrays of a function that returns (x, y) or ((x, y), (x_held, y_held))."""
    try:
        result = function(**arguments)
    except BaseException as error:  # A user's code may raise anything.
        if isinstance(error, LrsearchError) or is_interrupt(error):
            raise
        raise DataError(f"{type(error).__name__}: {error}", where=name) from error
    if not isinstance(result, tuple) or len(result) != 2:
        raise DataError(
            f"returned {type(result).__name__}; (x, y) or ((x, y), (x_held, y_held)) is needed",
            where=name,
        )
    names: tuple[str, ...] = ("x", "y")
    if all(isinstance(part, tuple) and len(part) == 2 for part in result):
        names = ("x_train", "y_train", "x_test", "y_test")
        result = (*result[0], *result[1])
    try:
        return {key: np.asarray(value) for key, value in zip(names, result, strict=True)}
    except BaseException as error:  # Objects of the user's turn themselves into arrays.
        if is_interrupt(error):
            raise
        raise DataError(f"its values make no arrays: {error}", where=name) from error


def _check(place: str, arrays: Mapping[str, Array], samples: int | None) -> Raw:
    """Arrays named x, y or x_train, y_train (and x_test, y_test) as a Raw."""
    names = ("x_train", "y_train") if "x_train" in arrays else ("x", "y")
    x_names = [name for name in (names[0], "x_test") if name in arrays]
    y_names = [name for name in (names[1], "y_test") if name in arrays]
    inputs = [_inputs(place, name, arrays[name]) for name in x_names]
    for x_name, y_name in zip(x_names, y_names, strict=True):
        left, right = arrays[x_name], arrays[y_name]
        if right.ndim == 0 or len(left) != len(right):
            count = len(right) if right.ndim else "no"
            raise DataError(
                f"{x_name} has {len(left)} samples, {y_name} {count} targets", where=place
            )
    if len(inputs) == 2 and inputs[0].shape[1:] != inputs[1].shape[1:]:
        raise DataError(
            f"samples of {x_names[0]} have shape {inputs[0].shape[1:]}, "
            f"those of x_test {inputs[1].shape[1:]}",
            where=place,
        )
    targets, labels = _targets(place, {name: arrays[name] for name in y_names})
    data_hash = _digest(
        dict(zip(("x", "x_held"), inputs, strict=False))
        | dict(zip(("y", "y_held"), targets, strict=False))
    )
    x, y = inputs[0], targets[0]
    if samples is not None:
        if samples > len(x):
            raise DataError(f"samples is {samples}, {x_names[0]} has {len(x)}", where=place)
        x, y = x[:samples], y[:samples]
    task = "classification" if labels else "regression"
    if labels and np.all(y == y[0]):
        raise DataError(
            f"{y_names[0]} holds one class only ({labels[int(y[0])]})"
            + (f" in its first {samples} samples" if samples is not None else ""),
            where=place,
        )
    held = (inputs[1], targets[1]) if len(inputs) == 2 else None
    outputs = len(labels) if labels else int(y.shape[1])
    return Raw(place, x, y, held, task, outputs, labels, data_hash)


def _inputs(place: str, name: str, x: Array) -> Array:
    if x.dtype.kind not in "fiub":
        raise DataError(f"{name} holds {x.dtype}, not numbers", where=place)
    if x.ndim < 2:
        raise DataError(
            f"{name} has shape {x.shape}; (samples, features) or images are needed", where=place
        )
    if x.size == 0:
        raise DataError(f"{name} is empty: its shape is {x.shape}", where=place)
    if x.ndim == 4 and x.shape[3] in (1, 3, 4) and min(x.shape[1:3]) > 4:
        raise DataError(
            f"{name} has shape {x.shape}, which reads as images of {x.shape[1]} channels",
            where=place,
            hint="channels come first: transpose (N, H, W, C) to (N, C, H, W)",
        )
    images = x.dtype == np.uint8 and x.ndim > 2
    with np.errstate(over="ignore"):
        x = np.ascontiguousarray(x, dtype=np.float32)
    if images:
        x = x / np.float32(255)
    if not np.isfinite(x).all():
        raise DataError(f"{name} holds values that are not finite (NaN or infinity)", where=place)
    return x[:, np.newaxis] if x.ndim == 3 else x


def _targets(place: str, arrays: Mapping[str, Array]) -> tuple[list[Array], tuple[str, ...]]:
    """The targets in their final form, and the names of the classes (none for regression)."""
    kinds = {"i": "classes", "u": "classes", "b": "classes", "U": "text", "S": "bytes", "f": "f"}
    for name, y in arrays.items():
        if y.dtype.kind not in kinds:
            raise DataError(
                f"{name} holds {y.dtype}; classes are integers or text, targets numbers",
                where=place,
            )
    if len({kinds[y.dtype.kind] for y in arrays.values()}) > 1:
        listed = ", ".join(f"{name} {y.dtype}" for name, y in arrays.items())
        raise DataError(f"the targets are of different kinds: {listed}", where=place)
    if next(iter(arrays.values())).dtype.kind == "f":
        return [_continuous(place, name, y) for name, y in arrays.items()], ()
    flat = []
    for name, y in arrays.items():
        if y.size != len(y):
            raise DataError(
                f"{name} has shape {y.shape}; one class per sample is needed, not one-hot rows",
                where=place,
            )
        flat.append(y.reshape(-1))
    classes, numbered = np.unique(np.concatenate(flat), return_inverse=True)
    labels = tuple(
        label.decode(errors="replace") if isinstance(label, bytes) else str(label)
        for label in classes.tolist()
    )
    cuts = np.cumsum([len(y) for y in flat])[:-1]
    return np.split(numbered.astype(np.int64), cuts), labels


def _continuous(place: str, name: str, y: Array) -> Array:
    if y.ndim > 2 or (y.ndim == 2 and y.shape[1] == 0):
        raise DataError(
            f"{name} has shape {y.shape}; (samples,) or (samples, targets) is needed", where=place
        )
    y = np.ascontiguousarray(y, dtype=np.float64).reshape(len(y), -1)
    if not np.isfinite(y).all():
        raise DataError(f"{name} holds values that are not finite (NaN or infinity)", where=place)
    return y


def _digest(arrays: Mapping[str, Array]) -> str:
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        digest.update(array.data)
    return digest.hexdigest()
