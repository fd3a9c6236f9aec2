"""Draws of the samples that a held-out part or a fold has: scikit-learn's, number for number.

They depend on the seed alone, whatever version of scikit-learn is installed, and a worker has them
without its import, which takes longer than many trainings.
"""

from __future__ import annotations

import numpy as np

from lrsearch.data.tables import Array


def hold_out(count: int, held: int, classes: Array | None, seed: int) -> tuple[Array, Array]:
    """The indices that stay and the `held` that do not, of `count` samples: those of
    `sklearn.model_selection.train_test_split`, with `classes` [count] in their shares. Raises
    ValueError where a class has one sample, or a part has fewer samples than there are classes.
    """
    draw = np.random.RandomState(seed)
    if classes is None:
        order = draw.permutation(count)
        return order[held:], order[:held]
    _, numbers, sizes = np.unique(classes, return_inverse=True, return_counts=True)
    if sizes.min() < 2:
        raise ValueError("a class has a single sample")
    for size in (count - held, held):
        if size < len(sizes):
            be = "is" if size == 1 else "are"
            raise ValueError(f"{size} {be} fewer than the {len(sizes)} classes")
    members = np.split(np.argsort(numbers, kind="stable"), np.cumsum(sizes)[:-1])
    staying = _apportion(sizes, count - held, draw)
    leaving = _apportion(sizes - staying, held, draw)
    kept, chosen = [], []
    for those, many, others in zip(members, staying, leaving, strict=True):
        order = those[draw.permutation(len(those))]
        kept.append(order[:many])
        chosen.append(order[many : many + others])
    return draw.permutation(np.concatenate(kept)), draw.permutation(np.concatenate(chosen))


def _apportion(sizes: Array, count: int, draw: np.random.RandomState) -> Array:
    """The number of samples, of `count`, that each class has: its share rounded down, and one more
    where the remainder is largest; ties are drawn."""
    shares = sizes / sizes.sum() * count
    whole = np.floor(shares)
    left = int(count - whole.sum())
    if left > 0:
        remainders = shares - whole
        for value in np.unique(remainders)[::-1]:
            (tied,) = np.where(remainders == value)
            more = min(len(tied), left)
            whole[draw.choice(tied, size=more, replace=False)] += 1
            left -= more
            if left == 0:
                break
    found: Array = whole.astype(int)
    return found


def take_fold(
    count: int, fold: int, folds: int, classes: Array | None, seed: int
) -> tuple[Array, Array]:
    """The indices, in their order, that stay and those of fold `fold` of `folds`, of `count`
    samples: those of `sklearn.model_selection.KFold`, or of `StratifiedKFold` with `classes`
    [count], with `shuffle` and the seed."""
    draw = np.random.RandomState(seed)
    if classes is None:
        order = np.arange(count)
        draw.shuffle(order)
        ends = np.cumsum([count // folds + (each < count % folds) for each in range(folds)])
        numbers = np.empty(count, int)
        numbers[order] = np.searchsorted(ends, np.arange(count), side="right")
    else:
        numbers = _stratify(classes, folds, draw)
    return np.flatnonzero(numbers != fold), np.flatnonzero(numbers == fold)


def _stratify(classes: Array, folds: int, draw: np.random.RandomState) -> Array:
    """The fold of each sample, classes in their shares in each."""
    # Classes are numbered in the order in which they first appear.
    _, first, sorted_numbers = np.unique(classes, return_index=True, return_inverse=True)
    numbers = np.argsort(np.argsort(first))[sorted_numbers]
    ordered = np.sort(numbers)
    sizes = [np.bincount(ordered[each::folds], minlength=len(first)) for each in range(folds)]
    found = np.empty(len(classes), int)
    for number, of_class in enumerate(np.transpose(sizes)):
        blocks = np.arange(folds).repeat(of_class)
        draw.shuffle(blocks)
        found[numbers == number] = blocks
    return found
