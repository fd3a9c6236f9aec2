"""Arrays of inputs and targets, checked and brought into one form."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import numpy as np

from lrsearch.data.raw import Portion, Raw
from lrsearch.data.tables import Array
from lrsearch.errors import DataError


def check_arrays(place: str, arrays: Mapping[str, Array], samples: int | None) -> Raw:
    """Arrays named x, y or x_train, y_train (and x_test, y_test) as a Raw."""
    names = ("x_train", "y_train") if "x_train" in arrays else ("x", "y")
    x_names = [name for name in (names[0], "x_test") if name in arrays]
    y_names = [name for name in (names[1], "y_test") if name in arrays]
    inputs = [read_inputs(place, name, arrays[name]) for name in x_names]
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
    targets, labels = read_targets(place, {name: arrays[name] for name in y_names})
    data_hash = digest(
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
    held = Portion(inputs[1], targets[1]) if len(inputs) == 2 else None
    outputs = len(labels) if labels else int(y.shape[1])
    return Raw(place, x, y, held, task, outputs, labels, data_hash)


def read_inputs(place: str, name: str, x: Array) -> Array:
    """Inputs in float32, images of bytes between 0 and 1, channels first. Raises DataError for
    what is no array of finite numbers, a sample an entry."""
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


def read_targets(place: str, arrays: Mapping[str, Array]) -> tuple[list[Array], tuple[str, ...]]:
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


def digest(arrays: Mapping[str, Array]) -> str:
    """SHA-256 of arrays: their names, types, shapes and bytes."""
    found = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        found.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        found.update(array.data)
    return found.hexdigest()
