"""Training, validation and test splits of a source, and the preprocessing they share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from lrsearch import catalogue
from lrsearch.data.encoding import encode
from lrsearch.data.sources import Pair, Raw
from lrsearch.data.tables import Array
from lrsearch.errors import DataError


@dataclass(frozen=True, eq=False)
class Splits:
    """Arrays ready to train on.

    Inputs are float32 [samples, ...], of text int64 [samples, context], and so are its targets.
    Classes are int64 [samples]; regression targets float32
    [samples, outputs], of zero mean and unit deviation over the training split, so that a
    learning rate means the same whatever the unit. `target_scale` [outputs] (float64, None for
    classes) turns a difference back into the target's own units. `test` is None without one.
    """

    train: Pair
    validation: Pair
    test: Pair | None
    task: str
    outputs: int
    target_scale: Array | None


def folds(config: Mapping[str, Any]) -> tuple[int | None, ...]:
    """The folds of a resolved config's `data`: (0, ..., k - 1), or (None,) without folds."""
    validation = config["validation"]
    return tuple(range(validation["folds"])) if isinstance(validation, Mapping) else (None,)


def split(raw: Raw, config: Mapping[str, Any], fold: int | None) -> Splits:
    """Split a source as its `validation`, `test`, `split_seed` and `standardize` say.

    The test split is taken out first, then the fold or the validation split, each shuffled by
    `split_seed` and stratified for classes; sizes are those of `catalogue.split_sizes`. A
    source's own held-out part is used only where `validation` or `test` is "source"; of two
    the first is for validation, the second for the test. Standardizing subtracts
    the mean and divides by the deviation of the training split, per feature of flat samples and
    per channel of images; what does not vary is only centred. Of a table it scales the numbers
    alone, and a category that the training split lacks is all zeros. Text is cut in its order:
    training, validation, test, each in one piece. Raises DataError where the samples do not
    suffice.
    """
    if fold not in folds(config):
        raise ValueError(f"fold {fold} is not among {folds(config)}")
    validation, test = config["validation"], config.get("test")
    if "source" in (validation, test):
        if raw.held is None:
            raise DataError(
                "the data bring no split of their own",
                where=raw.name,
                hint="take a share, such as validation: 0.2",
            )
        if validation == test and raw.tested is None:
            raise DataError(
                "validation and test are both the source's own split",
                where=raw.name,
                hint="take one of them as a share, such as validation: 0.2",
            )
    if raw.task == "language":
        return _cut(raw, validation, test)
    test_share = test if isinstance(test, float | int) else 0.0
    count = validation["folds"] if isinstance(validation, Mapping) else validation
    _, size, held_out = catalogue.split_sizes(
        len(raw.x), 0.0 if count == "source" else count, test_share
    )
    rest = np.arange(len(raw.x))
    tests: Array | None = None
    chosen: Array | None = None
    if test_share:
        rest, tests = _hold_out(raw, rest, held_out, "test", config)
    if fold is not None:
        rest, chosen = _take_fold(raw, rest, fold, count, config)
    elif validation != "source":
        rest, chosen = _hold_out(raw, rest, size, "validation", config)
    x = raw.x
    if raw.table is not None:
        x = encode(raw.table, rest, standardize=config["standardize"])
    train = (x[rest], raw.y[rest])
    validated = raw.held if chosen is None else (x[chosen], raw.y[chosen])
    tested = (x[tests], raw.y[tests]) if tests is not None else None
    if test == "source":
        tested = raw.tested if raw.tested is not None else raw.held
    assert validated is not None
    pairs = [train, validated] + ([tested] if tested is not None else [])
    scale = None
    if config["standardize"] and raw.table is None:
        pairs = _standardize(pairs)
    if raw.task == "regression":
        pairs, scale = _scale_targets(pairs)
    return Splits(
        pairs[0], pairs[1], pairs[2] if len(pairs) == 3 else None, raw.task, raw.outputs, scale
    )


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
    parts = list(zip(np.split(raw.x, ends), np.split(raw.y, ends), strict=True))
    held = parts[2] if test is not None else None
    return Splits(parts[0], parts[1], held, raw.task, raw.outputs, None)


def _hold_out(
    raw: Raw, rest: Array, size: int, name: str, config: Mapping[str, Any]
) -> tuple[Array, Array]:
    """The indices that stay, and `size` of them held out."""
    from sklearn.model_selection import train_test_split

    if not 0 < size < len(rest):
        raise DataError(f"{name} {config[name]} of {len(raw.x)} samples is {size}", where=raw.name)
    y = _stratify(raw, rest, 2, name)
    try:
        kept, chosen = train_test_split(
            rest, test_size=size, stratify=y, random_state=config["split_seed"]
        )
    except ValueError as error:
        raise DataError(
            f"a {name} split of {size} samples cannot hold every class: {error}", where=raw.name
        ) from error
    return kept, chosen


def _take_fold(
    raw: Raw, rest: Array, fold: int, count: int, config: Mapping[str, Any]
) -> tuple[Array, Array]:
    from sklearn.model_selection import KFold, StratifiedKFold

    if count > len(rest):
        raise DataError(f"{count} folds of {len(rest)} samples", where=raw.name)
    y = _stratify(raw, rest, count, "validation")
    kind = KFold if y is None else StratifiedKFold
    cut = kind(n_splits=count, shuffle=True, random_state=config["split_seed"])
    kept, chosen = list(cut.split(rest, y))[fold]
    return rest[kept], rest[chosen]


def _stratify(raw: Raw, rest: Array, needed: int, name: str) -> Array | None:
    """The classes to stratify by, each with at least `needed` samples; None for regression."""
    if raw.task == "regression":
        return None
    y: Array = raw.y[rest]
    present, counts = np.unique(y, return_counts=True)
    rarest = int(counts.argmin())
    if counts[rarest] < needed:
        raise DataError(
            f"class {raw.labels[int(present[rarest])]} has too few samples for the {name} split: "
            f"{counts[rarest]}, at least {needed} are needed",
            where=raw.name,
        )
    return y


def _standardize(pairs: list[Pair]) -> list[Pair]:
    x = pairs[0][0]
    axes = (0, *range(2, x.ndim))
    mean = x.mean(axis=axes, dtype=np.float64, keepdims=True)
    deviation = x.std(axis=axes, dtype=np.float64, keepdims=True)
    # Rounding leaves a constant column a deviation a little above zero; its range is exactly zero.
    deviation[np.ptp(x, axis=axes, keepdims=True) == 0] = 1.0
    mean, deviation = mean.astype(np.float32), deviation.astype(np.float32)
    return [((x - mean) / deviation, y) for x, y in pairs]


def _scale_targets(pairs: list[Pair]) -> tuple[list[Pair], Array]:
    y = pairs[0][1]
    mean, scale = y.mean(axis=0), y.std(axis=0)
    scale[np.ptp(y, axis=0) == 0] = 1.0
    return [(x, ((y - mean) / scale).astype(np.float32)) for x, y in pairs], scale
