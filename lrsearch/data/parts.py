"""Data that a function of the user's returns, in one form: parts of inputs, targets, weights.

A part is `(x, y)`, `(x, y, weight)`, one array (inputs alone), a mapping (its `labels` are the
targets, its `weight` the weights), a Dataset of such samples, or a DataLoader. torch is not
imported: its classes are recognized by their attributes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from lrsearch.data.interrupts import any_but_interrupts
from lrsearch.data.noise import get_states, same_states
from lrsearch.data.raised import tell_raised
from lrsearch.data.tables import NUMBERS, Array
from lrsearch.data.trees import Tree, leaves, map_tree, replace_leaves
from lrsearch.errors import DataError
from lrsearch.machine import find_memory

LABELS = ("labels", "label", "targets", "target", "y")
"""Names under which a mapping holds its targets; the first that it has counts."""

WEIGHTS = ("weight", "weights", "sample_weight")
"""Names under which a mapping holds its samples' weights."""

_SPLITS = {"train", "training", "val", "valid", "validation", "dev", "eval", "test"}
"""Names of parts, which a mapping of samples has not for its inputs."""

FORMS = (
    "a function of data returns (x, y) or (x, y, weight), a mapping with 'labels', a Dataset, a "
    "DataLoader or a function of batch_size that makes one; or two or three of these: training, "
    "validation, test"
)


@dataclass(frozen=True, eq=False)
class Part:
    """Samples: inputs, targets and weights (None without), whose arrays have one length. `names`
    are the keys of targets and weights where the samples are a mapping; `bare` says that the
    inputs stand alone."""

    x: Tree
    y: Any = None
    weight: Any = None
    names: tuple[str, str] | None = None
    bare: bool = False

    def rejoin(self) -> Tree:
        """The samples in the form they were given in."""
        if self.names is not None:
            both = zip(self.names, (self.y, self.weight), strict=True)
            return {**self.x, **{name: each for name, each in both if each is not None}}
        if self.bare:
            return self.x
        return (self.x, self.y) if self.weight is None else (self.x, self.y, self.weight)


@dataclass(frozen=True, eq=False)
class Stream:
    """Samples that are loaded batch by batch. `dataset` has `__len__` and `__getitem__`; `collate`
    makes a batch of a list of samples (None: each array is stacked), `workers` processes load.
    `make` is there where a DataLoader has an order of its own: it makes one for a batch size, and
    the loader's batches are taken as they come, of any size, about `drawn` samples a pass (None: as
    many as the dataset has). `reason` says why the samples are no part in memory, `fixed` whether a
    sample is the same at each reading."""

    dataset: Any
    collate: Callable[[list[Any]], Any] | None = None
    workers: int = 0
    make: Callable[[int], Any] | None = None
    reason: str = ""
    fixed: bool = True
    drawn: int | None = None

    def __len__(self) -> int:
        return len(self.dataset) if self.drawn is None else self.drawn


def divide(sample: Any) -> Part:
    """A sample, or a batch, as inputs, targets and weights."""
    if isinstance(sample, Mapping):
        label = next((name for name in LABELS if name in sample), "")
        weight = next((name for name in WEIGHTS if name in sample), "")
        rest = {key: each for key, each in sample.items() if key not in (label, weight)}
        return Part(rest, sample.get(label), sample.get(weight), (label, weight))
    if isinstance(sample, tuple | list):
        if len(sample) in (2, 3):
            return Part(*sample)
        raise ValueError(f"it has {len(sample)} entries: (x, y) or (x, y, weight) is needed")
    return Part(sample, bare=True)


def read_parts(result: Any, place: str) -> list[Part | Stream]:
    """The parts a function returned: one, or training, validation and perhaps test. Raises
    DataError for values that are no data."""
    parts = [result]
    if isinstance(result, Mapping) and "train" in result and result.keys() <= _SPLITS:
        raise DataError(
            f"returned a mapping of parts: {', '.join(result)}",
            where=place,
            hint="return them in a tuple: (training, validation) or (training, validation, test)",
        )
    if way := _hint_parts(result):
        kind = type(result).__name__
        raise DataError(f"returned a {kind} of {len(result)} entries", where=place, hint=way)
    if isinstance(result, tuple) and len(result) in (2, 3) and all(map(_is_part, result)):
        parts = list(result)
    names = ("training", "validation", "test") if len(parts) > 1 else ("",)
    return [
        _read_part(part, f"{place}, {name}" if name else place)
        for name, part in zip(names, parts, strict=False)
    ]


def _hint_parts(result: Any) -> str:
    """The hint on what to return in place of parts, or samples, of another form; "" for any other
    result."""
    parts = "return a tuple a part: (x_train, y_train), (x_val, y_val)"
    if isinstance(result, Mapping):
        names = {str(key).lower().replace("_", "") for key in result}
        return parts if {"xtrain", "ytrain"} <= names else ""
    if isinstance(result, tuple) and len(result) in (4, 6):
        return parts + ", (x_test, y_test)" * (len(result) == 6)
    if not isinstance(result, list) or not result:
        return ""
    if len(result) in (2, 3) and not any(map(_is_array, result)):
        parted = all(hasattr(each, "__len__") and not isinstance(each, str) for each in result)
        if parted and not all(isinstance(each, list) for each in result):
            return "return parts in a tuple: (training, validation)"
    if all(isinstance(each, tuple) and len(each) in (2, 3) for each in result):
        return "of a list of samples (x, y) return columns: tuple(map(list, zip(*samples)))"
    return ""


def _is_part(value: Any) -> bool:
    """Whether a value is certainly a part: an array may also be one of `(x, y)`."""
    if isinstance(value, tuple | list):
        return isinstance(value, tuple) and len(value) in (2, 3)
    return isinstance(value, Mapping) or not _is_array(value)


def _is_array(value: Any) -> bool:
    return hasattr(value, "__array__") or np.isscalar(value)


def _read_part(value: Any, place: str) -> Part | Stream:
    if isinstance(value, Mapping | tuple):
        try:
            return map_part(_unlist(divide(value)), place)
        except ValueError as error:
            kind = "mapping" if isinstance(value, Mapping) else "tuple"
            raise DataError(f"returned a {kind}: {error}", where=place, hint=FORMS) from None
    if _is_array(value) and not np.isscalar(value):
        return map_part(divide(value), place)
    if _is_loader(value):
        return _take_apart(value, None, place)
    if hasattr(value, "__getitem__") and not isinstance(value, list | str | bytes):
        return _read_dataset(value, place)
    if callable(value):
        return _take_apart(_call(value, 2, place), value, place)
    if hasattr(value, "__iter__") and not hasattr(value, "__len__"):
        message = f"returned {type(value).__name__}, which can only be gone through once"
        raise DataError(message, where=place, hint=FORMS)
    raise DataError(f"returned {type(value).__name__}", where=place, hint=FORMS)


def _unlist(part: Part) -> Part:
    """The part with an array in place of a list of them, an entry a sample; several inputs become a
    tuple. Only batches of a DataLoader have them in lists."""

    def walk(tree: Any) -> Any:
        if isinstance(tree, Mapping):
            return {key: walk(each) for key, each in tree.items()}
        if isinstance(tree, tuple):
            return tuple(map(walk, tree))
        if isinstance(tree, list) and tree and all(map(_is_array, tree)):
            entries = [_as_array(each) for each in tree]
            if len({plain(each).shape for each in entries}) > 1:
                raise ValueError("a list of arrays of several shapes")
            return _joined(entries)
        return tree

    return replace(part, x=walk(part.x), y=walk(part.y), weight=walk(part.weight))


def map_part(part: Part, place: str) -> Part:
    """The part with arrays of numpy in place of all that can be made into arrays."""
    try:
        x = map_tree(_as_array, part.x)
        y, weight = (
            None if each is None else map_tree(_as_array, each) for each in (part.y, part.weight)
        )
    except any_but_interrupts() as error:  # Objects of the user's turn themselves into arrays.
        raise DataError(f"its values make no arrays: {error}", where=place) from error
    return Part(x, y, weight, part.names, part.bare)


@dataclass(frozen=True, eq=False)
class Typed:
    """Marks an array that was a tensor, or came from a Dataset: its type was chosen by the user, so
    its integers are no measurements."""

    array: Array


def _as_array(value: Any) -> Any:
    """An array of a tensor (wherever it is, whatever its precision), a list or a number."""
    if isinstance(value, Typed):
        return value
    if hasattr(value, "detach"):
        value = value.detach().cpu()
        if str(value.dtype) in ("torch.bfloat16", "torch.float16"):
            value = value.float()
        return Typed(np.asarray(value))
    if isinstance(value, np.ma.MaskedArray) and value.mask.any():
        raise ValueError("a masked array has values that are missing")
    array = np.asarray(value)
    if array.dtype == object:  # As of a table's column of text, or of what is no array at all.
        if array.ndim == 0:
            way = ": write .toarray()" if hasattr(value, "toarray") else ""
            raise ValueError(f"{type(value).__name__} is no array{way}")
        if all(isinstance(each, str) for each in array.flat):
            return array.astype(str)
        if all(isinstance(each, NUMBERS) for each in array.flat):  # Of a table of mixed columns.
            return np.array(array.tolist())
    return array


# Datasets and loaders

_LOADER = ("dataset", "batch_size", "collate_fn", "num_workers")


def _is_loader(value: Any) -> bool:
    return all(hasattr(value, name) for name in _LOADER)


def _call(function: Callable[..., Any], batch_size: int, place: str) -> Any:
    """The DataLoader that a function makes for a batch size."""
    try:
        made = function(batch_size)
    except any_but_interrupts() as error:
        message = f"making a DataLoader raised {tell_raised(error)}"
        raise DataError(message, where=place) from error
    if not _is_loader(made):
        message = f"called with a batch size it gives {type(made).__name__}, not a DataLoader"
        raise DataError(message, where=place, hint=FORMS)
    return made


def _take_apart(loader: Any, make: Callable[[int], Any] | None, place: str) -> Part | Stream:
    """Take a DataLoader apart into its dataset and its way to collate. The order is the trial's
    own, unless the loader has one that is neither shuffled nor the dataset's."""
    dataset, workers = loader.dataset, int(loader.num_workers)
    kind = _name_order(loader)
    ordered = kind in ("RandomSampler", "SequentialSampler")
    if hasattr(dataset, "__getitem__") and ordered:
        collate = loader.collate_fn
        if getattr(collate, "__name__", "") == "default_collate":
            return _read_dataset(dataset, place, workers=workers)
        size = _check_length(dataset, place)
        if loader.batch_size is None:
            raise DataError(
                "its DataLoader has no batch_size: what its dataset gives is taken for batches",
                where=place,
                hint="return one whose dataset gives samples; what it gives is one of the spec's "
                "batch_size",
            )
        return Stream(
            dataset,
            collate,
            workers,
            reason="its DataLoader has a collate_fn",
            fixed=_is_fixed(Stream(dataset, collate), size, place),
        )
    if make is None:
        if _is_iterable(dataset):
            raise _refuse_iterable(dataset, place, "the dataset of its DataLoader, ")
        raise DataError(
            f"its DataLoader has an order of its own ({kind}) and a fixed batch size",
            where=place,
            hint="return a function of batch_size that makes it",
        )
    size = _check_length(dataset, place)
    sampler = loader.sampler
    drawn = len(sampler) if hasattr(sampler, "__len__") else size
    reason = "its DataLoader has an order of its own"
    return Stream(dataset, loader.collate_fn, workers, make, reason, False, drawn)


def _is_iterable(dataset: Any) -> bool:
    return any(each.__name__ == "IterableDataset" for each in type(dataset).__mro__)


def _refuse_iterable(dataset: Any, place: str, of: str = "") -> DataError:
    """The error for an IterableDataset, or a DataLoader `of` one, with what to return instead."""
    name = type(dataset).__name__
    told = f"{of}{name} is an IterableDataset, whose samples have no places"
    hint = f"return a function in its place: lambda batch_size: DataLoader({name}(...), batch_size)"
    if not place.endswith((", training", ", validation", ", test")):
        hint += "; and a validation part beside it"
    if not hasattr(dataset, "__len__"):
        hint += f"; and give {name} a __len__, by which epochs are counted"
    return DataError(told, where=place, hint=hint)


def _name_order(loader: Any) -> str:
    """The source of a DataLoader's order: its sampler; its batch sampler where this is no plain
    one; or a sampler which draws another number of samples, or some of them twice."""
    batches = getattr(loader, "batch_sampler", None)
    if type(batches).__name__ not in ("BatchSampler", "NoneType"):
        return type(batches).__name__
    # Of one given as batch_sampler the loader's own sampler says nothing.
    sampler: Any = getattr(batches, "sampler", getattr(loader, "sampler", None))
    kind = type(sampler).__name__
    if kind == "RandomSampler":
        if getattr(sampler, "replacement", False):
            return f"{kind} with replacement"
        if hasattr(loader.dataset, "__len__") and len(sampler) != len(loader.dataset):
            return f"{kind} of {len(sampler)} samples"
    return kind


def _check_length(dataset: Any, place: str) -> int:
    try:
        size = len(dataset)
    except any_but_interrupts() as error:
        raise DataError(
            f"the length of {type(dataset).__name__} is unknown: {tell_raised(error)}",
            where=place,
            hint="epochs are counted by it: give it a __len__",
        ) from error
    if size < 2:
        raise DataError(
            f"{type(dataset).__name__} has {size} sample{'s' if size != 1 else ''}; at least two "
            "are needed",
            where=place,
        )
    return size


SHARE = 0.25
"""Share of the machine's memory up to which samples are kept in memory."""


def _read_dataset(dataset: Any, place: str, workers: int = 0) -> Part | Stream:
    """A Dataset's samples as arrays, or a stream where they change between two readings, are
    too many to keep, or differ in shape."""
    if _is_iterable(dataset):
        raise _refuse_iterable(dataset, place)
    size = _check_length(dataset, place)
    tensors = getattr(dataset, "tensors", None)
    if type(dataset).__name__ == "TensorDataset" and isinstance(tensors, tuple):
        return map_part(divide(tensors if len(tensors) > 1 else tensors[0]), place)
    first = _sample_at(dataset, 0, place)
    if not _is_fixed(Stream(dataset), size, place):
        return Stream(
            dataset, None, workers, reason="a sample differs each time it is read", fixed=False
        )
    # Bytes of images become float32.
    taken = sum(each.size * max(4, each.itemsize) for _, each in leaves(_flat(first)))
    if taken * size > SHARE * find_memory():
        gigabytes = taken * size / 2**30
        return Stream(dataset, None, workers, reason=f"its samples take {gigabytes:.1f} GiB")
    samples = [first, *(_sample_at(dataset, index, place) for index in range(1, size))]
    shapes = _shapes(first)
    for index, sample in enumerate(samples):
        if _shapes(sample) != shapes:
            raise DataError(
                f"sample {index} of {type(dataset).__name__} has {_told(_shapes(sample))}, sample "
                f"0 has {_told(shapes)}",
                where=place,
                hint="return a DataLoader of it, with a collate_fn that makes batches of such",
            )
    if len(dataset) != size:
        raise DataError(f"{type(dataset).__name__} has changed its length", where=place)
    whole = stack(samples)
    return replace(whole, x=map_tree(lambda each: Typed(plain(each)), whole.x))


def _sample_at(dataset: Any, index: int, place: str) -> Part:
    """One sample, as arrays. Raises DataError for what reading it raises."""
    try:
        return map_part(divide(dataset[index]), place)
    except any_but_interrupts(DataError) as error:
        raise DataError(
            f"reading sample {index} of {type(dataset).__name__} raised {tell_raised(error)}",
            where=place,
        ) from error


def read_at(stream: Stream, index: int, place: str) -> Part:
    """A sample of a stream, with the next one where a collate_fn makes a batch of samples of any
    kind. Raises DataError for what reading it raises."""
    dataset, collate = stream.dataset, stream.collate
    if collate is None:
        return _sample_at(dataset, index, place)
    what = f"reading samples of {type(dataset).__name__}"
    try:
        samples = [dataset[each % len(dataset)] for each in (index, index + 1)]
        what = "its collate_fn"
        return map_part(divide(collate(samples)), place)
    except any_but_interrupts(DataError) as error:
        message = f"{what} raised {tell_raised(error)}"
        raise DataError(message, where=place) from error


TWICE = 64
"""Samples that are read twice, to see whether they change: an augmentation may leave most as they
are. One that changes a tenth of them, by a generator of its own, is missed three times in a
million."""


def _is_fixed(stream: Stream, size: int, place: str) -> bool:
    """Whether samples are the same at each reading, and draw no random numbers."""
    before = get_states()
    same = all(
        _same_part(*(read_at(stream, index, place) for _ in range(2)))
        for index in sorted({each * size // TWICE for each in range(TWICE)})
    )
    return same and same_states(before, get_states())


def _flat(part: Part) -> Tree:
    both = {"x": part.x, "y": part.y, "weight": part.weight}
    return map_tree(plain, {key: each for key, each in both.items() if each is not None})


def plain(value: Any) -> Any:
    """The array, without its mark."""
    return value.array if isinstance(value, Typed) else value


def _shapes(part: Part) -> list[tuple[str, tuple[int, ...], str]]:
    return [(name, each.shape, each.dtype.kind) for name, each in leaves(_flat(part))]


def _told(shapes: Sequence[tuple[str, tuple[int, ...], str]]) -> str:
    return ", ".join(f"{name} of shape {shape}" for name, shape, _ in shapes)


def _same_part(left: Part, right: Part) -> bool:
    """Whether two samples, or batches, are the same to the bit."""
    pairs = list(leaves(_flat(left))), list(leaves(_flat(right)))
    return _shapes(left) == _shapes(right) and all(
        one.tobytes() == other.tobytes() for (_, one), (_, other) in zip(*pairs, strict=True)
    )


def stack(samples: Sequence[Part]) -> Part:
    """A batch of samples of one shape."""
    first = samples[0]

    def join(pick: Callable[[Part], Tree]) -> Tree:
        columns = zip(*([each for _, each in leaves(pick(part))] for part in samples), strict=True)
        return replace_leaves(pick(first), map(_joined, columns))

    return Part(
        join(lambda part: part.x),
        None if first.y is None else join(lambda part: part.y),
        None if first.weight is None else join(lambda part: part.weight),
        first.names,
        first.bare,
    )


def _joined(column: Sequence[Any]) -> Any:
    whole = np.stack([plain(each) for each in column])
    return Typed(whole) if isinstance(column[0], Typed) else whole
