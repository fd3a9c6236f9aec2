"""Data that a function of the user's returns, checked: arrays as those of a file, all else as it
is."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from lrsearch.data.arrays import (
    Named,
    became_images,
    check_arrays,
    check_scales,
    digest,
    doubt_task,
    join_digests,
    plain_type,
    read_inputs,
    read_targets,
    refuse_kind,
    tell_dark,
    tell_unlearnt,
)
from lrsearch.data.interrupts import any_but_interrupts
from lrsearch.data.noise import get_states, set_states
from lrsearch.data.parts import Part, Stream, Typed, divide, map_part, plain, read_at, stack
from lrsearch.data.precision import keep_exact, tell_lost_targets
from lrsearch.data.raised import tell_raised
from lrsearch.data.raw import Portion, Raw
from lrsearch.data.tables import Array, show_labels
from lrsearch.data.trees import Tree, count, leaves, map_tree, replace_leaves
from lrsearch.errors import DataError

NAMES = ("train", "validation", "test")

RETURNED = ("the second returned", "the third returned")
"""Names of the parts behind the first."""

FINGERPRINTS = 64
"""Samples of a stream that its hash is made from, spread over the whole."""


def check_parts(
    place: str,
    parts: Sequence[Part | Stream],
    task: str | None,
    classes: int | None,
    *,
    images: bool | None,
) -> Raw:
    """Check parts (training, validation and test, as far as there are) and make the Raw of them.

    `task` is the spec's name for the kind of targets (None: decided by their type), `classes` the
    number of classes it names, `images` is as in `read_inputs`. Raises DataError for parts that do
    not fit together.
    """
    names = NAMES if len(parts) > 1 else ("",)
    for name, part in zip(names, parts, strict=False):
        if isinstance(part, Part):
            _check_third(place, name, part)
    raw = _check(place, parts, task, classes, images)
    return dataclasses.replace(raw, names=RETURNED[: len(parts) - 1], validates=len(parts) > 1)


def _check(
    place: str,
    parts: Sequence[Part | Stream],
    task: str | None,
    classes: int | None,
    images: bool | None,
) -> Raw:
    if any(isinstance(part, Stream) for part in parts):
        # One that could be kept in memory, as a validation split often can, goes along.
        return _check_streams(place, [_as_stream(part) for part in parts], task, classes)
    arrays = [part for part in parts if isinstance(part, Part)]
    if classes is not None:
        message = "the classes of what fits into memory are counted: leave out data.classes"
        raise DataError(message, where=place)
    if len(arrays) < 3 and all(map(_is_regular, arrays)) and task != "own":
        ends = ("_train", "_validation") if len(arrays) == 2 else ("",)
        given = [
            Named(f"x{end}", plain(part.x), f"y{end}", plain(part.y))
            for end, part in zip(ends, arrays, strict=True)
        ]
        raw = check_arrays(place, given, task=task, images=images)
        return _keep_given(raw, [part.y for part in given])
    return _check_trees(place, arrays, task, images)


def _check_third(place: str, name: str, part: Part) -> None:
    """Raises DataError for the third entry of a tuple, which is taken for weights, where it is more
    likely an index or another whole number of each sample."""
    if part.weight is None or part.names is not None:
        return
    third = plain(part.weight)
    if not isinstance(third, np.ndarray) or third.dtype.kind not in "iubf" or not third.size:
        return
    counted = third.size == len(third) > 2 and np.array_equal(
        np.sort(third.reshape(-1)), np.arange(len(third)) + third.min()
    )
    if third.dtype.kind == "f" and not counted:
        return
    told = f"{third.dtype} from {third.min():g} to {third.max():g}"
    cast = "weight.float()" if isinstance(part.weight, Typed) else 'weight.astype("float32")'
    # As numbers with a fraction those of an index would still read as one.
    ways = "" if counted else f"floating-point numbers, (x, y, {cast}), or "
    raise DataError(
        f"the third of (x, y, ...) would be the samples' weights, and it holds {told}"
        + (f", in the {name} part" if name else ""),
        where=place,
        hint=f"for weights return {ways}"
        'a mapping, {"x": x, "labels": y, "weight": weight}\n  an index is '
        'left out, (x, y), or for a step of your own {"x": x, "labels": y, "index": index}',
    )


class _Kept:
    """Arrays as a dataset of their samples."""

    def __init__(self, part: Part) -> None:
        self.samples = map_tree(plain, part.rejoin())
        y = plain(part.y)
        if isinstance(y, np.ndarray) and y.dtype.kind in "iu" and y.size == len(y) > 0:
            self.classes = range(int(y.max()) + 1)  # As many as the part that is kept has.

    def __len__(self) -> int:
        return count(self.samples)

    def __getitem__(self, index: int) -> Any:
        return map_tree(lambda each: each[index], self.samples)


def _as_stream(part: Part | Stream) -> Stream:
    if isinstance(part, Stream):
        return part
    return Stream(_Kept(part), reason="as the other part is")


def _given_of(y: Array | None, numbered: Any) -> Array | None:
    """Targets as they were given, where numbering the classes has changed them."""
    if y is None or y.dtype.kind not in "iub" or numbered.dtype.kind != "i":
        return None
    return None if np.array_equal(y, numbered) else y.astype(bool if y.dtype == bool else np.int64)


def _keep_given(raw: Raw, ys: Sequence[Array]) -> Raw:
    """The Raw with its targets as they were given, for a step of the user's. They count as data."""
    portions = [raw.whole, *([raw.held] if raw.held is not None else [])]
    given = [_given_of(y, part.y) for y, part in zip(ys, portions, strict=True)]
    if all(each is None for each in given):
        return raw
    hashed = {f"given {index}": each for index, each in enumerate(given) if each is not None}
    held = raw.held and dataclasses.replace(raw.held, given=given[1])
    before, plus, exact = raw.data_hash.partition("+")
    both = digest(hashed | {"": np.frombuffer(before.encode(), np.uint8)})
    return dataclasses.replace(raw, given=given[0], held=held, data_hash=both + plus + exact)


def _is_regular(part: Part) -> bool:
    """Whether inputs are such as a file holds: numbers of numpy, or of tensors without integers."""
    x, y = part.x, plain(part.y)
    if not isinstance(x, np.ndarray | Typed) or not isinstance(y, np.ndarray) or part.bare:
        return False
    kept = isinstance(x, Typed) and x.array.dtype.kind in "iu" and not _is_image(x.array)
    return part.weight is None and not kept and not _is_own(y)


def _is_image(x: Array) -> bool:
    return x.dtype == np.uint8 and x.ndim > 2


def _is_own(y: Array) -> bool:
    """Whether targets are neither one class nor some numbers a sample."""
    return y.ndim > 2 or (y.ndim == 2 and y.dtype.kind in "iub" and y.shape[1] > 1)


def _check_trees(place: str, parts: Sequence[Part], task: str | None, images: bool | None) -> Raw:
    names = NAMES[: len(parts)] if len(parts) > 1 else ("",)
    xs = [
        _read_x(place, f"x_{name}".strip("_"), part, images)
        for name, part in zip(names, parts, strict=True)
    ]
    for name, x in zip(names[1:], xs[1:], strict=True):
        if _outline(x) != _outline(xs[0]):
            raise DataError(
                f"samples of {name} are {_told(x)}, those of {names[0]} {_told(xs[0])}",
                where=place,
            )
    _check_scales(place, names, [part.x for part in parts], xs)
    ys = [plain(part.y) for part in parts]
    if any(y is None for y in ys) and any(y is not None for y in ys):
        raise DataError("some parts have targets and some have none", where=place)
    weights = [
        _read_weight(place, name, plain(part.weight))
        for name, part in zip(names, parts, strict=True)
    ]
    for name, x, y, weight in zip(names, xs, ys, weights, strict=True):
        _check_counts(place, name, x, y, weight)
    asked = task
    task, targets, labels = _read_y(place, dict(zip(names, ys, strict=True)), task)
    named = zip(leaves(parts[0].x, "x"), leaves(xs[0]), strict=True)
    notes = [told for (key, one), (_, x) in named for told in tell_dark(key, plain(one), x)]
    if asked is None and task in ("classification", "regression"):
        notes += doubt_task("the targets are", ys[0])
    if task == "classification":
        notes += tell_unlearnt([f"the {name} part" for name in names], targets, labels)
    if task == "own" and isinstance(ys[0], np.ndarray):
        notes += tell_lost_targets("the targets", ys[0])
    if task == "own" and labels:
        notes.append(f"the targets are text, numbered from 0: {show_labels(labels)}")
        labels = ()
    given = [
        _given_of(y, numbered) if labels else None for y, numbered in zip(ys, targets, strict=True)
    ]
    if labels and np.all(targets[0] == targets[0][0]):
        label = labels[int(targets[0][0])]
        raise DataError(
            f"the targets hold one class only ({label})",
            where=place,
            hint="if they are no classes, write task: own under data",
        )
    lost, exact = _keep_exact([part.x for part in parts], xs)
    portions = [
        Portion(x, y, weight, each, exact[index] if exact else None)
        for index, (x, y, weight, each) in enumerate(zip(xs, targets, weights, given, strict=True))
    ]
    first, lone = portions[0], parts[0].x
    outputs = len(labels)
    if task == "regression" and first.y is not None:
        outputs = int(first.y.shape[1])
    return Raw(
        place,
        first.x,
        first.y,
        portions[1] if len(portions) > 1 else None,
        task,
        outputs,
        labels,
        join_digests(_digest_portions(names, portions), exact),
        notes=tuple(notes),
        exact=first.exact,
        lost=tuple(lost),
        images=became_images(lone, first.x) if isinstance(lone, np.ndarray) else None,
        channelled=isinstance(lone, np.ndarray) and (lone.ndim, first.x.ndim) == (3, 4),
        weight=first.weight,
        given=first.given,
        tested=portions[2] if len(portions) > 2 else None,
        form=dataclasses.replace(parts[0], x=None, y=None, weight=None),
    )


def _digest_portions(names: Sequence[str], portions: Sequence[Portion]) -> str:
    """The digest of all arrays of the parts."""
    hashed: dict[str, Array] = {}
    for name, portion in zip(names, portions, strict=True):
        for label in ("x", "y", "weight", "given"):
            found = leaves(getattr(portion, label), label)
            hashed |= {f"{name} {key}": each for key, each in found if each is not None}
    return digest(hashed)


def _keep_exact(given: Sequence[Tree], xs: Sequence[Tree]) -> tuple[list[str], list[Array]]:
    """`precision.keep_exact` for inputs that may be several arrays. Those are not standardized: of
    them only the names of arrays that lose digits are returned."""
    if isinstance(xs[0], np.ndarray):
        lost, exact = keep_exact([plain(each) for each in given], xs)
        return ([f"x{each}" for each in lost], exact) if xs[0].dtype == np.float32 else ([], [])
    pairs = zip(leaves(given[0], "x"), leaves(xs[0], "x"), strict=True)
    return [
        f"{name}{each}"
        for (name, array), (_, x) in pairs
        if x.dtype == np.float32 and x.ndim > 1
        for each in keep_exact([plain(array)], [x])[0]
    ], []


def _check_scales(
    place: str, names: Sequence[str], given: Sequence[Tree], read: Sequence[Tree]
) -> None:
    """Raises DataError as `check_scales` does, for each array of the parts' samples."""
    columns = [
        [
            (key, plain(one), each)
            for (key, one), (_, each) in zip(leaves(g), leaves(r), strict=True)
        ]
        for g, r in zip(given, read, strict=True)
    ]
    for column in zip(*columns, strict=True):
        check_scales(
            place,
            [
                (f"x_{name}" + f".{key}" * bool(key), one, each)
                for name, (key, one, each) in zip(names, column, strict=True)
            ],
        )


def _outline(tree: Tree) -> list[tuple[str, tuple[int, ...], str]]:
    return [(name, each.shape[1:], each.dtype.kind) for name, each in leaves(tree, "x")]


def _form(tree: Tree, *, loose: bool) -> list[tuple[str, Any, str]]:
    """The outline of a part; without shapes for batches that a collate_fn makes, which may differ
    in shape."""
    return [(name, len(shape) if loose else shape, kind) for name, shape, kind in _outline(tree)]


def _told(tree: Tree) -> str:
    return ", ".join(f"{name} {each.dtype} {each.shape[1:]}" for name, each in leaves(tree, "x"))


def _read_x(place: str, name: str, part: Part, images: bool | None) -> Tree:
    """Inputs: a lone array of numpy as by `read_inputs`, others with the types they have."""
    if isinstance(part.x, np.ndarray):
        return read_inputs(place, name, part.x, images=images)
    found = []
    for key, each in leaves(part.x, name):
        array = plain(each)
        if array.ndim == 0:
            raise DataError(f"{key} is a single value: one for each sample is needed", where=place)
        found.append(_read_leaf(place, key, array, image=images is not False and _is_image(array)))
    if not found:
        raise DataError("a mapping without inputs", where=place)
    names = [key for key, _ in leaves(part.x, name)]
    if len(set(names)) < len(names):  # As {1: ..., "1": ...} has.
        twice = next(key for key in names if names.count(key) > 1)
        raise DataError(f"two of its keys read {twice}", where=place)
    return replace_leaves(part.x, found)


def _read_leaf(place: str, name: str, array: Array, *, image: bool = False) -> Array:
    """An array in float32, int64 or bool; images of bytes between 0 and 1."""
    if array.dtype.kind not in "fiub":
        raise refuse_kind(place, name, array, "numbers are needed")
    if array.size == 0:
        raise DataError(f"{name} is empty: its shape is {array.shape}", where=place)
    if image:
        return np.ascontiguousarray(array, np.float32) / np.float32(255)
    return plain_type(place, name, array)


def _read_weight(place: str, name: str, weight: Array | None) -> Array | None:
    if weight is None:
        return None
    what = f"the weights of {name}" if name else "the weights"
    if weight.dtype.kind not in "fiub" or weight.size != len(weight):
        message = f"{what} are {weight.dtype} of shape {weight.shape}; a number a sample is needed"
        raise DataError(message, where=place)
    weight = np.ascontiguousarray(weight, np.float32).reshape(-1)
    if not np.isfinite(weight).all() or (weight < 0).any() or not weight.any():
        message = f"{what} must be finite, not negative, and not all zero"
        raise DataError(message, where=place)
    return weight


def _check_counts(place: str, name: str, x: Tree, y: Any, weight: Array | None) -> None:
    size = count(x)
    what = f"of {name}: " if name else ""
    for key, each in leaves(x, "x"):
        if len(each) != size:
            raise DataError(
                f"{what}{key} has {len(each)} samples, {next(leaves(x, 'x'))[0]} {size}",
                where=place,
            )
    for key, each in (*leaves(y, "y"), ("weight", weight)):
        if each is not None and (np.ndim(plain(each)) == 0 or len(plain(each)) != size):
            given = len(plain(each)) if np.ndim(plain(each)) else "no"
            raise DataError(f"{what}{size} samples, {given} in {key}", where=place)
    if size < 2:
        raise DataError(f"{what}{size} sample; at least two are needed", where=place)


def _read_y(
    place: str, ys: dict[str, Any], task: str | None
) -> tuple[str, list[Any], tuple[str, ...]]:
    """The task, each part's targets, and the names of classes."""
    named = {f"y_{name}".strip("_"): y for name, y in ys.items()}
    every = list(named.values())
    if any(y is None for y in every):
        if task not in (None, "own"):
            raise DataError(f"data.task is {task}, and the samples have no targets", where=place)
        return "own", every, ()
    trees = [y for y in every if not isinstance(y, np.ndarray)]
    if task is None and (trees or any(map(_is_own, every))):
        task = "own"
    if task == "own" and trees:
        return task, [_own_targets(place, name, y) for name, y in named.items()], ()
    if trees:
        raise DataError(f"data.task is {task}, and the targets are several arrays", where=place)
    targets, labels = read_targets(place, named, task)
    return task or ("classification" if labels else "regression"), list(targets), labels


def _own_targets(place: str, name: str, y: Tree) -> Tree:
    return replace_leaves(y, (_read_leaf(place, key, plain(each)) for key, each in leaves(y, name)))


# streams


def _check_streams(
    place: str, streams: Sequence[Stream], task: str | None, classes: int | None
) -> Raw:
    """Check streams and make the Raw of them: the task and the number of classes come from two
    samples and from the dataset or the spec, the hash from some of the samples."""
    first = streams[0]
    batch = _first_batch(place, first)
    _check_third(place, "", batch)
    x, y, weight = (
        _read_batch(place, name, each)
        for name, each in (("x", batch.x), ("y", batch.y), ("weight", batch.weight))
    )
    single = isinstance(y, np.ndarray) and y.size == len(y)
    if task is None:
        task = "own"
        if single and y is not None:
            task = "regression" if y.dtype.kind == "f" else "classification"
    if task == "regression":
        task = "own"  # The targets' deviation is not known before they are all read.
    outputs = 0
    labels: tuple[str, ...] = ()
    if task == "classification":
        if not single:
            raise DataError("data.task is classification: a class a sample is needed", where=place)
        outputs = classes or _count_classes(first.dataset)
        if not outputs:
            raise DataError(
                f"how many classes {type(first.dataset).__name__} has is not known before all "
                f"of it is read, and it is loaded batch by batch ({first.reason})",
                where=place,
                hint="write their number under data, such as classes: 10, or give the dataset "
                "'classes', a list of their names",
            )
        labels = tuple(map(str, range(outputs)))
        _check_classes(place, "", y, outputs)
    elif classes is not None:
        raise DataError(f"data.classes is given, and the task is {task}", where=place)
    for name, stream in zip(NAMES[1:], streams[1:], strict=False):
        given = _first_batch(place, stream).x
        other = _read_batch(place, "x", given)
        loose = any(each.make is not None or each.collate is not None for each in (first, stream))
        if _form(other, loose=loose) != _form(x, loose=loose):
            raise DataError(
                f"samples of {name} are {_told(other)}, those of {NAMES[0]} {_told(x)}",
                where=place,
            )
        _check_scales(place, (NAMES[0], name), (batch.x, given), (x, other))
    hashed: dict[str, Array] = {}
    for name, stream in zip(NAMES, streams, strict=False):
        hashed |= _fingerprint(place, name, stream, outputs)
    if first.make is not None:
        hashed["passes"] = np.array(1)  # Before, batches of another size were left out.
    notes = tuple(
        f"{name or 'the samples'} ({len(stream):,}) are loaded batch by batch: {stream.reason}"
        for name, stream in zip(NAMES if len(streams) > 1 else ("",), streams, strict=False)
    )
    return Raw(
        place,
        x,
        y,
        None,
        task,
        outputs,
        labels,
        digest(hashed),
        weight=weight,
        form=dataclasses.replace(batch, x=None, y=None, weight=None),
        streams=tuple(streams),
        notes=notes,
    )


def _read_batch(place: str, name: str, tree: Tree) -> Tree:
    if tree is None:
        return None
    named = ((key, plain(each)) for key, each in leaves(tree, name))
    return replace_leaves(
        tree,
        (
            _read_leaf(place, key, each, image=name == "x" and _is_image(each))
            for key, each in named
        ),
    )


def _first_batch(place: str, stream: Stream) -> Part:
    """Two samples, as a batch of arrays."""
    if stream.make is None and stream.collate is None:
        return stack([read_at(stream, index, place) for index in range(2)])
    if stream.make is None:
        return read_at(stream, 0, place)
    try:
        batch = next(iter(stream.make(2)), None)
        if batch is None:
            raise DataError("its DataLoader gives no batch", where=place)
        return map_part(divide(batch), place)
    except any_but_interrupts(DataError) as error:
        message = f"its DataLoader raised {tell_raised(error)}"
        raise DataError(message, where=place) from error


def _count_classes(dataset: Any) -> int:
    """The number of classes that a dataset gives as its own, 0 where it gives none."""
    names: Any = getattr(dataset, "classes", None)
    if hasattr(names, "__len__"):
        return len(names)
    inner = getattr(dataset, "dataset", None)  # As a Subset has it.
    return 0 if inner is None else _count_classes(inner)


def _check_classes(place: str, name: str, y: Array, classes: int) -> None:
    """Raises DataError for a target that is none of the classes."""
    for wrong in (int(each) for each in y.flat if not 0 <= each < classes):
        of = f" of {name}" if name else ""
        message = f"a target{of} is {wrong}; the {classes} classes are 0 to {classes - 1}"
        way = "number them from 0" + ", such as y - 1" * (wrong == classes)
        way += f", or write classes: {wrong + 1} under data" * (wrong > 0)
        raise DataError(message, where=place, hint=way)


def _fingerprint(place: str, name: str, stream: Stream, classes: int) -> dict[str, Array]:
    """A few of a stream's samples; only their types where samples differ between readings with
    equal generators, or cannot be read one by one. Raises DataError for a target among them that is
    none of the `classes`, where these are counted."""
    length = {f"{name} length": np.array(len(stream))}
    before = get_states()
    try:
        first = _some_of(place, name, stream, classes)
        if not stream.fixed:
            set_states(before)
        again = first if stream.fixed else _some_of(place, name, stream, classes)
    except DataError:
        if stream.make is None:
            raise
        first, again = {}, {"": np.array(0)}
    if digest(first) == digest(again):
        return length | first
    batch = _first_batch(place, stream)
    kinds = [(key, plain(each).dtype.str) for key, each in leaves(batch.rejoin())]
    return length | {f"{name} kinds": np.array([ord(each) for each in str(kinds)])}


def _some_of(place: str, name: str, stream: Stream, classes: int) -> dict[str, Array]:
    size = len(stream.dataset)
    found: dict[str, Array] = {}
    for index in sorted({each * size // FINGERPRINTS for each in range(FINGERPRINTS)}):
        sample = read_at(stream, index, place)
        if classes and sample.y is not None:
            _check_classes(place, name, plain(sample.y), classes)
        for key, each in leaves(sample.rejoin()):
            found[f"{name} {index} {key}"] = plain(each)
    return found
