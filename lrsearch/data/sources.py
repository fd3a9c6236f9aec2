"""Where the arrays come from: built-in sources, NumPy archives and imported functions."""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np

from lrsearch import catalogue
from lrsearch.data.arrays import check_arrays, digest
from lrsearch.data.delimited import read_csv
from lrsearch.data.encoding import encode
from lrsearch.data.images import Images, folder_stamp, read_images, scale
from lrsearch.data.imported import check_parts
from lrsearch.data.interrupts import is_interrupt
from lrsearch.data.parquet import read_parquet
from lrsearch.data.parts import Part, Stream, read_parts
from lrsearch.data.raw import Portion, Raw
from lrsearch.data.tables import Array, Table, first_rows
from lrsearch.data.text import Windows, read_text
from lrsearch.errors import DataError, LrsearchError, suggest

Resolver = Callable[[str], Callable[..., Any]]
"""Gives the function a class path names; importing is the caller's business."""


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


_SPLITTING = frozenset((*catalogue.SPLITTING, "validation", "test", "transforms"))
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
        parts = _call(place, function, own.get("init_args") or {})
        return check_parts(place, parts, own.get("task"), own.get("classes"))
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
    return check_arrays(place, found, own.get("samples"))


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
    data_hash = digest(
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
    data_hash = digest({f"{index}": array for index, array in enumerate(arrays)})
    train, *others = (Portion(scale(x), y) for x, y in images.parts())
    held, tested, *_ = (*others, None, None)
    return Raw(
        place,
        train.x,
        train.y,
        held,
        "classification",
        len(images.labels),
        images.labels,
        data_hash,
        notes=images.notes,
        tested=tested,
    )


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


def _call(
    name: str, function: Callable[..., Any], arguments: Mapping[str, Any]
) -> list[Part | Stream]:
    """The parts of what a function of the user's returns."""
    try:
        result = function(**arguments)
    except BaseException as error:  # A user's code may raise anything.
        if isinstance(error, LrsearchError) or is_interrupt(error):
            raise
        raise DataError(f"{type(error).__name__}: {error}", where=name) from error
    return read_parts(result, name)
