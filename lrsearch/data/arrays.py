"""Arrays of inputs and targets, checked and brought into one form."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from lrsearch.data.precision import keep_exact, tell_lost_targets
from lrsearch.data.raw import Portion, Raw
from lrsearch.data.subset import choose, describe_choice
from lrsearch.data.tables import (
    BCE,
    LABELS_OF,
    MOST_EXACT,
    NUMBERS,
    ONE_HOT,
    Array,
    doubt_classes,
    doubt_numbers,
    hint_loss,
    is_one_hot,
    show_labels,
)
from lrsearch.errors import Checks, DataError
from lrsearch.spec.values import show

# parts


class Named(NamedTuple):
    """The arrays of a part, and what the source calls them."""

    x_name: str
    x: Array
    y_name: str
    y: Array


ENDS = ("", "_held", "_tested")
"""Endings of the names under which the parts' arrays are hashed."""


def check_arrays(
    place: str,
    parts: Sequence[Named],
    samples: int | None = None,
    *,
    task: str | None,
    shuffle: bool = False,
    images: bool | None = None,
) -> Raw:
    """Check the arrays of parts (training, held out, test, as far as there are) and make the Raw of
    them.

    `task` is the spec's name for the kind of targets (None: decided by their type), `images` is as
    in `read_inputs`. `samples` of the first part are taken, the first or, with `shuffle`, drawn.
    Raises DataError for arrays that do not fit together.
    """
    first = parts[0]
    inputs, targets, labels = _read_parts(place, parts, task, images)
    hashed = {f"x{end}": each for end, each in zip(ENDS, inputs, strict=False)}
    hashed |= {f"y{end}": each for end, each in zip(ENDS, targets, strict=False)}
    lost, exact = keep_exact([part.x for part in parts], inputs)
    notes = tell_dark(first.x_name, first.x, inputs[0])
    notes += doubt_task(f"{first.y_name} holds", first.y) if task is None else []
    notes += tell_same([part.x_name for part in parts], inputs)
    if task == "own":
        notes += tell_lost_targets(first.y_name, first.y)
    found = task or ("classification" if labels else "regression")
    if found == "classification":
        notes += tell_unlearnt([part.y_name for part in parts], targets, labels)
    if found == "own" and labels:
        notes.append(f"{first.y_name} is text, numbered from 0: {show_labels(labels)}")
    labels = labels if found == "classification" else ()
    whole, y = len(inputs[0]), targets[0]
    index = np.arange(whole)
    taken = ""
    if samples is not None:
        if samples > whole:
            way = f"write samples: {whole}, or leave it out for all of them"
            message = f"samples is {samples}, {first.x_name} has {whole}"
            raise DataError(message, where=place, hint=way)
        index = choose(y, found, samples, shuffle=shuffle)
        taken, told = describe_choice(y, found, index, len(labels), shuffle=shuffle)
        notes += told
        inputs[0], targets[0] = inputs[0][index], y[index]
    if labels:
        _check_classes(place, first.y_name, targets[0], labels, None if shuffle else samples)
    portions = [Portion(x, y) for x, y in zip(inputs, targets, strict=True)]
    if exact:
        exact[0] = exact[0][index]
        portions = [
            Portion(part.x, part.y, exact=each) for part, each in zip(portions, exact, strict=True)
        ]
    train, held, tested, *_ = (*portions, None, None)
    assert train is not None and train.y is not None
    outputs = {"classification": len(labels), "own": 0}.get(found)
    return Raw(
        place,
        train.x,
        train.y,
        held,
        found,
        int(train.y.shape[1]) if outputs is None else outputs,
        labels,
        join_digests(digest(hashed), exact),
        notes=tuple(notes),
        tested=tested,
        exact=train.exact,
        lost=tuple(f"{first.x_name}{each}" for each in lost),
        taken=taken,
        images=became_images(first.x, inputs[0]),
        channelled=first.x.ndim == 3 and inputs[0].ndim == 4,
    )


def _read_parts(
    place: str, parts: Sequence[Named], task: str | None, images: bool | None
) -> tuple[list[Array], list[Array], tuple[str, ...]]:
    """The inputs and the targets of parts in their final form, and the names of the classes. Raises
    DataError with all that is wrong with them."""
    checks = Checks()
    read = [
        checks.attempt(read_inputs, place, part.x_name, part.x, images=images) for part in parts
    ]
    for part in parts:
        checks.attempt(_check_count, place, part)
    inputs = [each for each in read if each is not None]
    if len(inputs) == len(parts):
        checks.attempt(_check_shapes, place, parts, inputs)
    given = {part.y_name: part.y for part in parts if part.y.ndim}
    found_targets = checks.attempt(read_targets, place, given, task) if given else None
    checks.settle()
    assert found_targets is not None, "what is None has an error"
    return inputs, *found_targets


def _check_count(place: str, part: Named) -> None:
    """Raises DataError where a part has not one target a sample."""
    if part.x.ndim and (part.y.ndim == 0 or len(part.x) != len(part.y)):
        count = len(part.y) if part.y.ndim else "no"
        raise DataError(
            f"{part.x_name} has {len(part.x)} samples, {part.y_name} {count} targets",
            where=place,
            hint="each sample has one: leave out those that lack the other, where the file is made",
        )


def _check_shapes(place: str, parts: Sequence[Named], inputs: Sequence[Array]) -> None:
    """Raises DataError where samples have another scale or shape than the first part's."""
    first, *others = parts
    check_scales(place, [(part.x_name, part.x, x) for part, x in zip(parts, inputs, strict=True)])
    for part, x in zip(others, inputs[1:], strict=True):
        if x.shape[1:] != inputs[0].shape[1:]:
            raise DataError(
                f"samples of {first.x_name} have shape {inputs[0].shape[1:]}, "
                f"those of {part.x_name} {x.shape[1:]}",
                where=place,
                hint="bytes are images, which get a channel axis; of other numbers images: true "
                "under data says that they are"
                if first.x.shape[1:] == part.x.shape[1:]
                else "",
            )


def check_scales(place: str, parts: Sequence[tuple[str, Array, Array]]) -> None:
    """Raises DataError where bytes of images were scaled in some parts, and another part of other
    numbers has not their scale. A part is its name, its inputs as given and as read."""
    scaled = [given.dtype == np.uint8 and x.max() < given.max() for _, given, x in parts]
    name = next((name for (name, _, _), each in zip(parts, scaled, strict=True) if each), "")
    for (other, given, x), each in zip(parts, scaled, strict=True):
        if name and not each and not (x.min() >= 0 and x.max() <= 1):
            raise DataError(
                f"{name} holds bytes of images, which are scaled to 0 to 1, and {other} "
                f"{given.dtype} from {x.min():g} to {x.max():g}: they would not be of one scale",
                where=place,
                hint=f"give them one type, such as {other}.astype('uint8') of numbers up to 255",
            )


DARK = 25
"""The largest byte of images of which it is said that scaling leaves them nearly nothing."""


def tell_dark(name: str, given: Array, x: Array) -> list[str]:
    """A sentence on bytes that are scaled as images are, and are no shades of 0 to 255."""
    if given.dtype != np.uint8 or not x.max() < given.max() <= DARK:
        return []
    return [
        f"{name} holds bytes from {given.min()} to {given.max()}, taken for images and divided by "
        f"255: where they are no shades, {name}.astype('float32') is taken as it is"
    ]


def tell_same(names: Sequence[str], inputs: Sequence[Array]) -> list[str]:
    """Sentences on parts that hold the samples that are trained on."""
    same = [name for name, x in zip(names, inputs, strict=True) if np.array_equal(x, inputs[0])]
    told = f"the samples of {names[0]}: what is measured there says nothing of others"
    return [f"{name} holds {told}" for name in same[1:]]


def tell_unlearnt(
    names: Sequence[str], targets: Sequence[Array], labels: Sequence[str]
) -> list[str]:
    """Sentences on classes that a part has and the first, which is trained on, has not."""
    known, *others = (np.bincount(y, minlength=len(labels)) > 0 for y in targets)
    told = []
    for name, there in zip(names[1:], others, strict=True):
        missing = [labels[index] for index in np.flatnonzero(there & ~known).tolist()]
        if missing:
            held = show_labels(missing)
            told.append(f"{name} has classes that {names[0]} has not, and no model learns: {held}")
    return told


def _check_classes(place: str, name: str, y: Array, labels: Sequence[str], cut: int | None) -> None:
    """Raises DataError where classes, int64 [samples], are all the same. `cut` is their number
    where they are only the first samples of the data; None where they are all, or drawn."""
    if np.all(y == y[0]):
        raise DataError(
            f"{name} holds one class only ({labels[int(y[0])]})"
            + (f" in its first {cut} samples" if cut is not None else ""),
            where=place,
            hint="shuffle: true under data has them drawn from all samples"
            if cut is not None
            else "if they are no classes, write task: regression, or own, under data",
        )


def doubt_task(what: str, y: Array) -> list[str]:
    """Sentences on targets that may be meant for another task than their type says."""
    if y.dtype.kind in "iu":
        return doubt_classes(what, y)
    return doubt_numbers(what, y) if y.dtype.kind == "f" else []


def became_images(given: Array, x: Array) -> bool | None:
    """Whether numbers of two dimensions a sample became images; None for all other arrays, bytes
    too."""
    return x.ndim == 4 if given.ndim == 3 and given.dtype != np.uint8 else None


# inputs and targets


def read_inputs(place: str, name: str, x: Array, *, images: bool | None) -> Array:
    """Inputs in float32; bytes of images between 0 and 1, channels first.

    Bytes of two dimensions a sample, or more, are images, and with `images` other numbers, too;
    with `images` False no array is. Images of [height, width] get a channel axis. Raises DataError
    for values that are no array of finite numbers, a sample an entry.
    """
    if x.dtype.kind not in "fiub":
        raise refuse_kind(place, name, x, "numbers are needed")
    if x.ndim < 2:
        variable = name if name.isidentifier() else "x"
        raise DataError(
            f"{name} has shape {x.shape}; (samples, features) or images are needed",
            where=place,
            hint=f"of one feature a sample make it {variable}.reshape(-1, 1)" if x.ndim else "",
        )
    if x.size == 0:
        raise DataError(f"{name} is empty: its shape is {x.shape}", where=place)
    if images is not False and x.ndim == 4 and x.shape[3] in (1, 3, 4) and min(x.shape[1:3]) > 4:
        raise DataError(
            f"{name} has shape {x.shape}, which reads as images of {x.shape[1]} channels",
            where=place,
            hint="channels come first, (N, C, H, W): "
            f"{name if name.isidentifier() else 'x'}.transpose(0, 3, 1, 2); of what are no images "
            "write images: false under data",
        )
    scaled = x.dtype == np.uint8 and x.ndim > 2 and images is not False
    given = x
    with np.errstate(over="ignore"):
        x = np.ascontiguousarray(x, dtype=np.float32)
    if scaled:
        x = x / np.float32(255)
    _check_finite(place, name, given, x)
    return x[:, np.newaxis] if x.ndim == 3 and (images or scaled) else x


def _check_finite(place: str, name: str, given: Array, read: Array) -> None:
    """Raises DataError where numbers that were `read` of those `given`, entry by entry, are not
    finite: since these are not, or are too large for the type."""
    finite = np.isfinite(read)
    if finite.all():
        return
    at = tuple(map(int, np.unravel_index(int(finite.argmin()), finite.shape)))
    shown = name if name.isidentifier() else "x"
    if np.isfinite(given[at]):
        raise DataError(
            f"{name} holds {given[at]:g} at {list(at)}, which is too large for {read.dtype}",
            where=place,
            hint=f"bring it to a smaller unit, such as {shown} / np.abs({shown}).max()",
        )
    many = int((~finite.reshape(len(finite), -1).all(axis=1)).sum())
    rows = f"np.isfinite({shown})" + (f".reshape(len({shown}), -1).all(1)" * (finite.ndim > 1))
    raise DataError(
        f"{name} holds values that are not finite: {given[at]:g} at {list(at)}, in {many:,} of "
        f"{len(finite):,} samples",
        where=place,
        hint=f"fill them in, or leave these samples out: keep = {rows}, x[keep] and y[keep]",
    )


_OTHERS = {
    "U": ("text", "number it by a vocabulary, or encode each of its values as columns"),
    "S": ("bytes", "decode them into numbers"),
    "c": ("complex numbers", "give their parts: np.stack([{0}.real, {0}.imag], 1), or abs({0})"),
    "M": ("moments", "give numbers, such as days: ({0} - {0}.min()) / np.timedelta64(1, 'D')"),
    "m": ("spans of time", "give numbers, such as seconds: {0} / np.timedelta64(1, 's')"),
    "V": ("records", "give its fields as columns: np.stack([{0}[f] for f in {0}.dtype.names], 1)"),
    "O": ("objects", "make it an array of numbers: {0}.astype('float32')"),
}
"""Arrays of no real numbers, by numpy's kinds of types: their name, and what to write for one."""


def refuse_kind(place: str, name: str, array: Array, needed: str) -> DataError:
    """The error for an array of another kind than real numbers; of objects with the first that is
    no number."""
    kind, hint = _OTHERS.get(array.dtype.kind, ("values", ""))
    told = f"{kind} ({array.dtype})"
    odd = next((each for each in np.ndenumerate(array) if not isinstance(each[1], NUMBERS)), None)
    if array.dtype.kind == "O" and odd is not None:
        at, value = odd
        plain = value is None or isinstance(value, str)
        told = f"{kind}, {show(value) if plain else type(value).__name__} at {list(at)}"
        hint = "fill what is missing, or leave those samples out" if value is None else hint
    variable = name if name.isidentifier() else "x"
    return DataError(f"{name} holds {told}: {needed}", where=place, hint=hint.format(variable))


KINDS = {"b": "booleans", "i": "classes", "u": "classes", "U": "text", "S": "bytes", "f": "f"}
"""The kinds of targets, by numpy's kinds of types."""


def read_targets(
    place: str, arrays: Mapping[str, Array], task: str | None
) -> tuple[list[Array], tuple[str, ...]]:
    """The targets in their final form, and the names of the classes (none for numbers).

    Targets of a classification become int64 [samples], numbered in their order over all arrays; of
    a regression float64 [samples, targets]. With the task `own` numbers keep their values, in
    float32, int64 or bool, and text is numbered. Raises DataError for targets of another task, of
    several kinds, or beyond such a type's range.
    """
    checks = Checks()
    for name, y in arrays.items():
        checks.attempt(_check_kind, place, name, y, task)
    checks.settle()
    kinds = {KINDS[y.dtype.kind] for y in arrays.values()}
    if kinds == {"booleans", "classes"} and all(np.isin(y, (0, 1)).all() for y in arrays.values()):
        kinds = {"classes"}  # Written in two ways.
    numbers = kinds <= {"booleans", "classes", "f"}
    if len(kinds) > 1 and not (numbers and task == "regression"):
        listed = ", ".join(f"{name} {y.dtype}" for name, y in arrays.items())
        first = next(iter(arrays.values()))
        odd = next(
            name for name, y in arrays.items() if KINDS[y.dtype.kind] != KINDS[first.dtype.kind]
        )
        way = f"give them one type, such as {odd}.astype('{first.dtype}')"
        raise DataError(f"the targets are of different kinds: {listed}", where=place, hint=way)
    if task == "own" and numbers:
        return [plain_type(place, name, y) for name, y in arrays.items()], ()
    if task == "regression" or (task is None and kinds == {"f"}):
        found = [checks.attempt(_continuous, place, name, y) for name, y in arrays.items()]
        checks.settle()
        return [each for each in found if each is not None], ()
    flat = []
    for name, y in arrays.items():
        if y.size != len(y):
            told = f"{name} has shape {y.shape}; one class per sample is needed, not one-hot rows"
            way = f"write task: own under data; {hint_loss(y)}"
            if y.ndim == 2 and ((y == 0) | (y == 1)).all():
                way = f"{LABELS_OF}task: regression under data, and {BCE} under train"
            raise DataError(told, where=place, hint=ONE_HOT if is_one_hot(y) else way)
        flat.append(y.reshape(-1))
    classes, numbered = np.unique(_concatenate(flat), return_inverse=True)
    labels = tuple(
        label.decode(errors="replace") if isinstance(label, bytes) else str(label)
        for label in classes.tolist()
    )
    cuts = np.cumsum([len(y) for y in flat])[:-1]
    return np.split(numbered.reshape(-1).astype(np.int64), cuts), labels


def _check_kind(place: str, name: str, y: Array, task: str | None) -> None:
    """Raises DataError where targets are of no known kind, or not of the spec's task."""
    if y.dtype.kind not in KINDS:
        raise refuse_kind(place, name, y, "classes are integers or text, targets numbers")
    _check_task(place, task, y)


def _check_task(place: str, task: str | None, y: Array) -> None:
    """Raises DataError where targets are not of the spec's task."""
    if task == "classification" and not (y.dtype.kind != "f" or _is_whole(y)):
        needed = "classes are whole numbers or text"
    elif task == "regression" and y.dtype.kind not in "iubf":
        needed = "numbers are needed"
    else:
        return
    message = f"data.task is {task}, and the targets are {y.dtype}: {needed}"
    raise DataError(message, where=place)


def _is_whole(y: Array) -> bool:
    """Whether numbers are whole, and small enough that float64 tells them apart."""
    return bool((np.abs(y) < MOST_EXACT).all() and (y == np.round(y)).all())


def _concatenate(flat: Sequence[Array]) -> Array:
    """Join the classes of several arrays; no class becomes another's on the way."""
    flat = [y.astype(np.int64) if y.dtype.kind == "f" else y for y in flat]
    joined = np.concatenate(flat)
    if joined.dtype.kind == "f":  # As numpy makes of int64 beside uint64.
        return np.concatenate([y.astype(object) for y in flat])
    return joined


def plain_type(place: str, name: str, array: Array) -> Array:
    """Numbers in float32, int64 or bool, of any shape. Raises DataError for numbers beyond such a
    type's range."""
    kinds: dict[str, Any] = {"f": np.float32, "b": np.bool_}
    if array.dtype.kind == "u" and array.size and int(array.max()) > np.iinfo(np.int64).max:
        raise DataError(f"{name} holds {array.max()}, which is too large for int64", where=place)
    with np.errstate(over="ignore"):
        found = np.ascontiguousarray(array, dtype=kinds.get(array.dtype.kind, np.int64))
    if found.dtype.kind == "f":
        _check_finite(place, name, array, found)
    return found


def _continuous(place: str, name: str, y: Array) -> Array:
    if y.ndim > 2 or (y.ndim == 2 and y.shape[1] == 0):
        raise DataError(
            f"{name} has shape {y.shape}; (samples,) or (samples, targets) is needed", where=place
        )
    numbers = np.ascontiguousarray(y, dtype=np.float64).reshape(len(y), -1)
    _check_finite(place, name, y, numbers.reshape(y.shape))
    if y.dtype.kind in "iu" and np.abs(numbers).max() >= MOST_EXACT:
        raise DataError(
            f"{name} holds whole numbers from 2**53 on, which are not told apart exactly",
            where=place,
            hint="take an offset off them",
        )
    return numbers


# hashes


def join_digests(data_hash: str, exact: Sequence[Array]) -> str:
    """The hash of data; behind a + follows the hash of the digits of inputs that float32 lacks."""
    if not exact:
        return data_hash
    return (
        f"{data_hash}+{digest({f'x{end}': each for end, each in zip(ENDS, exact, strict=False)})}"
    )


def digest(arrays: Mapping[str, Array]) -> str:
    """SHA-256 of arrays: their names, types, shapes and bytes."""
    found = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        found.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        found.update(array.data)
    return found.hexdigest()
