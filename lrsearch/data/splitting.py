"""Training, validation and test splits of a source, and the preprocessing they share."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from lrsearch import catalogue
from lrsearch.data.drawing import hold_out, take_fold
from lrsearch.data.encoding import encode
from lrsearch.data.parts import Stream
from lrsearch.data.precision import feature_axes
from lrsearch.data.raw import Portion, Raw
from lrsearch.data.tables import Array
from lrsearch.data.trees import map_tree
from lrsearch.errors import DataError

_WHOLE = re.compile(r"-?[0-9]+")


# the splits


@dataclass(frozen=True, eq=False)
class Loaded:
    """Samples of a stream, by their indices; all of them, in the loader's order, where the loader
    has an order of its own."""

    stream: Stream
    index: Array

    def __len__(self) -> int:
        return len(self.index)


@dataclass(frozen=True, eq=False)
class Splits:
    """Samples ready to train on.

    Inputs are float32 [samples, ...]; text has inputs and targets int64 [samples, context]; a
    function of the user's gives a tree of arrays. Classes are int64 [samples]; regression targets
    float32 [samples, outputs], of zero mean and unit deviation over the training split, so that a
    learning rate means the same whatever the unit; `given` has them as they were. `target_scale`
    and `target_mean` [outputs] (float64, None for classes) turn outputs back into the targets' own
    units. Weights are float32 [samples], their mean over the training split one. `test` is None
    without one.
    """

    train: Portion | Loaded
    validation: Portion | Loaded
    test: Portion | Loaded | None
    task: str
    outputs: int
    target_scale: Array | None
    target_mean: Array | None = None


def folds(config: Mapping[str, Any]) -> tuple[int | None, ...]:
    """The folds of a resolved config's `data`: (0, ..., k - 1), or (None,) without folds."""
    validation = config["validation"]
    return tuple(range(validation["folds"])) if isinstance(validation, Mapping) else (None,)


def split(raw: Raw, config: Mapping[str, Any], fold: int | None, *, own: bool = False) -> Splits:
    """Split a source as its `validation`, `test`, seeds and `standardize` say.

    The test split is taken out first, then the fold or the validation split, each shuffled by
    `split_seed` and stratified for classes; `validation_seed`, where it is given, shuffles the
    latter in its place, so that the test split stays what it is. Sizes are those of
    `catalogue.split_sizes`. A source's own held-out part is used only where `validation` or `test`
    is "source". Standardizing subtracts the mean and divides by the deviation of the training
    split, per feature of flat samples and of sequences [time, features], per channel of images;
    constant features are only centred. A table has its numbers scaled alone, and a category that
    the training split lacks is all zeros. Text is cut in its order: training, validation, test,
    each in one piece. `own` leaves the targets of a regression as they were given, for a loss or a
    step of the user's. Raises DataError where the samples do not suffice.
    """
    if fold not in folds(config):
        raise ValueError(f"fold {fold} is not among {folds(config)}")
    validation, test = config["validation"], config.get("test")
    if "source" in (validation, test):
        _check_source(raw, validation, test)
    if raw.task == "language":
        return _cut(raw, validation, test)
    test_share = test if isinstance(test, float | int) else 0.0
    count = validation["folds"] if isinstance(validation, Mapping) else validation
    _, size, held_out = catalogue.split_sizes(
        len(raw), 0.0 if count == "source" else count, test_share
    )
    rest = np.arange(len(raw))
    tests: Array | None = None
    chosen: Array | None = None
    if test_share:
        rest, tests = _hold_out(raw, rest, held_out, "test", config)
    if fold is not None:
        rest, chosen = _take_fold(raw, rest, fold, count, config)
    elif validation != "source":
        rest, chosen = _hold_out(raw, rest, size, "validation", config)
    if raw.streams:
        return _split_streams(raw, config, rest, chosen, tests)
    whole = raw.whole if config["standardize"] else replace(raw.whole, exact=None)
    if raw.table is not None:
        whole = replace(whole, x=encode(raw.table, rest, standardize=config["standardize"]))
    validated = raw.held if chosen is None else whole.at(chosen)
    tested = None if tests is None else whole.at(tests)
    if test == "source":
        tested = raw.tested or raw.held
    assert validated is not None
    parts = [whole.at(rest), validated] + ([tested] if tested is not None else [])
    scale = mean = None
    if config["standardize"] and raw.table is None:
        parts = _standardize(raw, parts)
    if own:
        parts = [_as_given(part) for part in parts]
    elif raw.task == "regression":
        parts, scale, mean = _scale_targets(parts)
    parts = _scale_weights(raw.name, parts)
    return Splits(
        parts[0],
        parts[1],
        parts[2] if len(parts) == 3 else None,
        raw.task,
        raw.outputs,
        scale,
        mean,
    )


def _check_source(raw: Raw, validation: Any, test: Any) -> None:
    """Raises DataError where a split that the spec asks for is not there."""
    if raw.held is None and len(raw.streams) < 2:
        raise DataError(
            "the data bring no split of their own",
            where=raw.name,
            hint="take a share, such as validation: 0.2",
        )
    if validation == test and raw.tested is None and len(raw.streams) < 3:
        raise DataError(
            "validation and test are both the source's own split",
            where=raw.name,
            hint="take one of them as a share, such as validation: 0.2",
        )


def take(raw: Raw, index: Array, *, own: bool = False) -> Portion:
    """Some samples before any split, `own` as in `split`."""
    part = raw.whole.at(index)
    return _as_given(part) if own else part


def _as_given(part: Portion) -> Portion:
    """Targets in the types of a model's outputs, not scaled."""

    def single(each: Array) -> Array:
        return each.astype(np.float32) if each.dtype == np.float64 else each

    return replace(part, y=None if part.y is None else map_tree(single, part.y))


def _split_streams(
    raw: Raw, config: Mapping[str, Any], rest: Array, chosen: Array | None, tests: Array | None
) -> Splits:
    first, *others = raw.streams
    if config["standardize"]:
        raise DataError(
            "what is loaded batch by batch has no mean before it is all read",
            where=raw.name,
            hint="leave out standardize: the function may do it",
        )
    if first.make is not None and (chosen is not None or tests is not None):
        raise DataError(
            f"it brings its own order ({first.reason}), of which no share can be held out",
            where=raw.name,
            hint="return a validation part, too",
        )
    parts: list[Loaded | None] = [
        Loaded(first, rest),
        Loaded(others[0], np.arange(len(others[0]))) if chosen is None else Loaded(first, chosen),
        None if tests is None else Loaded(first, tests),
    ]
    if config.get("test") == "source":
        parts[2] = Loaded(others[-1], np.arange(len(others[-1])))
    train, validation, test = parts
    assert train is not None and validation is not None
    return Splits(train, validation, test, raw.task, raw.outputs, None)


# indices


def _cut(raw: Raw, validation: float, test: float | None) -> Splits:
    """The first samples to train on, then those to validate with, then those of the test."""
    ((train, *_), validated, tested) = catalogue.split_sizes(len(raw.x), validation, test or 0.0)
    sizes = {"training": train, "validation": validated} | (
        {} if test is None else {"test": tested}
    )
    for name, size in sizes.items():
        if size < 1:
            raise DataError(
                f"of {len(raw.x)} samples of {raw.x.shape[1]} + 1 characters none is left for the "
                f"{name} split",
                where=raw.name,
                hint="give a longer text, a shorter context or other shares",
            )
    ends = [train, train + validated]
    assert raw.y is not None
    parts = [
        Portion(x, y) for x, y in zip(np.split(raw.x, ends), np.split(raw.y, ends), strict=True)
    ]
    held = parts[2] if test is not None else None
    return Splits(parts[0], parts[1], held, raw.task, raw.outputs, None)


def _hold_out(
    raw: Raw, rest: Array, size: int, name: str, config: Mapping[str, Any]
) -> tuple[Array, Array]:
    """The indices that stay, and `size` of them held out."""
    if not 0 < size < len(rest):
        raise DataError(
            f"{name} {config[name]} of {len(raw)} samples is {size}",
            where=raw.name,
            hint=_suggest_share(raw, rest, name, 1),
        )
    y = _stratify(raw, rest, 2, name, config)
    try:
        kept, chosen = hold_out(len(rest), size, y, _seed(config, name))
    except ValueError as error:
        many = "" if size == 1 else "s"
        raise DataError(
            f"a {name} split of {size} sample{many} cannot hold every class: {error}",
            where=raw.name,
            hint=_suggest_share(raw, rest, name, 1 if y is None else len(np.unique(y))),
        ) from error
    return rest[kept], rest[chosen]


def _suggest_share(raw: Raw, rest: Array, name: str, least: int) -> str:
    """The hint with the least share, in hundredths, that leaves `least` samples for the part and
    for what stays; another way where there is none."""
    for share in range(1, 100):
        held = round(len(raw) * (share / 100))
        if held >= least and len(rest) - held >= least:
            return f"write {name}: {share / 100:g}, or give more samples"
    ways = ["give more samples"]
    if raw.task == "classification" and all(map(_WHOLE.fullmatch, raw.labels)):
        ways.append("if the targets are a quantity, write task: regression under data")
    return "; ".join(ways)


def _take_fold(
    raw: Raw, rest: Array, fold: int, count: int, config: Mapping[str, Any]
) -> tuple[Array, Array]:
    if count > len(rest):
        raise DataError(
            f"{count} folds of {len(rest)} samples",
            where=raw.name,
            hint=f"write validation: {{folds: {min(5, len(rest))}}}" if len(rest) > 1 else "",
        )
    y = _stratify(raw, rest, count, "validation", config)
    kept, chosen = take_fold(len(rest), fold, count, y, _seed(config, "validation"))
    return rest[kept], rest[chosen]


def _seed(config: Mapping[str, Any], name: str) -> int:
    """The seed that the validation or the test part is drawn by."""
    own = config.get("validation_seed") if name == "validation" else None
    return int(config["split_seed"] if own is None else own)


def _stratify(
    raw: Raw, rest: Array, needed: int, name: str, config: Mapping[str, Any]
) -> Array | None:
    """The classes to stratify by, each with at least `needed` samples; None where there are no
    classes, or they are not known before loading."""
    if raw.task != "classification" or raw.streams:
        return None
    assert raw.y is not None
    y: Array = raw.y[rest]
    present, counts = np.unique(y, return_counts=True)
    rarest = int(counts.argmin())
    if counts[rarest] < needed:
        whole = config.get("task") is None and all(map(_WHOLE.fullmatch, raw.labels))
        ways = ["give it more samples, or leave it out"]
        if needed > 2 and counts[rarest] > 1:
            ways = [f"write {name}: {{folds: {counts[rarest]}}}, or {ways[0]}"]
        if whole:
            ways.append("if the targets are a quantity, write task: regression under data")
        raise DataError(
            f"class {raw.labels[int(present[rarest])]} has too few samples for the {name} split: "
            f"{counts[rarest]}, at least {needed} are needed",
            where=raw.name,
            hint="; ".join(ways),
        )
    return y


# scaling


def _standardize(raw: Raw, parts: list[Portion]) -> list[Portion]:
    x = parts[0].x
    if not isinstance(x, np.ndarray) or x.dtype != np.float32:
        raise DataError(
            "only a single array of numbers is standardized",
            where=raw.name,
            hint="leave out standardize: the function may do it",
        )
    axes = feature_axes(x.ndim)
    if parts[0].exact is not None:
        return _standardize_exact(parts, parts[0].exact, axes)
    mean = x.mean(axis=axes, dtype=np.float64, keepdims=True)
    deviation = x.std(axis=axes, dtype=np.float64, keepdims=True)
    # Rounding leaves a constant column a deviation a little above zero; its range is exactly zero.
    deviation[np.ptp(x, axis=axes, keepdims=True) == 0] = 1.0
    mean, deviation = mean.astype(np.float32), deviation.astype(np.float32)
    return [replace(part, x=(part.x - mean) / deviation) for part in parts]


def _standardize_exact(parts: list[Portion], exact: Array, axes: tuple[int, ...]) -> list[Portion]:
    """Standardize in float64, from the inputs as they came. Each feature is counted from its first
    number on, so that none is too far from zero for its mean and deviation."""
    first = exact[tuple(slice(0, 1) if axis in axes else slice(None) for axis in range(exact.ndim))]
    x = exact - first
    mean, deviation = x.mean(axis=axes, keepdims=True), x.std(axis=axes, keepdims=True)
    deviation[np.ptp(x, axis=axes, keepdims=True) == 0] = 1.0
    found = []
    for part in parts:
        assert part.exact is not None
        scaled = ((part.exact - first - mean) / deviation).astype(np.float32)
        found.append(replace(part, x=scaled, exact=None))
    return found


def _scale_targets(parts: list[Portion]) -> tuple[list[Portion], Array, Array]:
    y = parts[0].y
    assert y is not None
    mean, scale = y.mean(axis=0), y.std(axis=0)
    scale[np.ptp(y, axis=0) == 0] = 1.0
    scaled = [
        replace(part, y=((part.y - mean) / scale).astype(np.float32), given=part.y)
        for part in parts
    ]
    return scaled, scale, mean


def _scale_weights(name: str, parts: list[Portion]) -> list[Portion]:
    """The training split's weights with a mean of one, so that a rate means the same whatever their
    unit; the other splits' in the same unit."""
    weight = parts[0].weight
    if weight is None:
        return parts
    if any(not np.any(part.weight) for part in parts):
        raise DataError(
            "the weights of the training, the validation or the test split are all zero",
            where=name,
            hint="give more samples a weight, or another split_seed",
        )
    mean = np.float32(weight.mean(dtype=np.float64))
    return [
        part if part.weight is None else replace(part, weight=part.weight / mean) for part in parts
    ]
