import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from sklearn.model_selection import KFold, StratifiedKFold, train_test_split
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from lrsearch.data.drawing import hold_out, take_fold
from lrsearch.data.encoding import encode
from lrsearch.data.precision import VERY_FAR, find_far
from lrsearch.data.tables import Table

SEEDS = st.integers(0, 2**32 - 1)
CLASSES = st.lists(st.integers(-3, 4), min_size=2, max_size=60).map(np.array)


def same(found, expected):
    for mine, theirs in zip(found, expected, strict=True):
        assert mine.dtype == theirs.dtype and mine.tolist() == theirs.tolist()


@given(st.integers(2, 200), st.data(), SEEDS)
def test_held_out_samples_are_scikit_learn_s(count, data, seed):
    held = data.draw(st.integers(1, count - 1))
    expected = train_test_split(np.arange(count), test_size=held, random_state=seed)
    same(hold_out(count, held, None, seed), expected)
    by_size = train_test_split(np.arange(count), train_size=count - held, random_state=seed)
    same(hold_out(count, held, None, seed), by_size)


@given(CLASSES, st.data(), SEEDS)
@example(np.repeat(np.arange(4), 6), None, 1)  # All shares have the same remainder.
def test_held_out_classes_are_scikit_learn_s(classes, data, seed):
    count = len(classes)
    held = data.draw(st.integers(1, count - 1)) if data else 10
    index = np.arange(count)
    try:
        expected = train_test_split(index, test_size=held, stratify=classes, random_state=seed)
    except ValueError:
        with pytest.raises(ValueError, match=r"single sample|fewer than the \d classes"):
            hold_out(count, held, classes, seed)
    else:
        same(hold_out(count, held, classes, seed), expected)


@given(st.integers(2, 60), st.data(), SEEDS)
def test_folds_are_scikit_learn_s(count, data, seed):
    folds = data.draw(st.integers(2, count))
    cut = KFold(folds, shuffle=True, random_state=seed).split(np.arange(count))
    for fold, expected in enumerate(cut):
        same(take_fold(count, fold, folds, None, seed), expected)


@given(CLASSES, st.integers(2, 7), SEEDS)
def test_folds_of_classes_are_scikit_learn_s(classes, folds, seed):
    classes = np.tile(classes, folds)  # Enough of each for every fold.
    cut = StratifiedKFold(folds, shuffle=True, random_state=seed).split(classes, classes)
    for fold, expected in enumerate(cut):
        same(take_fold(len(classes), fold, folds, classes, seed), expected)


NUMBERS = st.floats(-1e12, 1e12) | st.sampled_from([0.1, 0.3, 1e9, 1e9 + 1e-7])


@given(st.integers(2, 30), st.integers(0, 3), st.integers(0, 2), st.booleans(), st.data())
def test_tables_are_encoded_as_scikit_learn_does(count, numeric, others, standardize, data):
    numbers = [data.draw(st.lists(NUMBERS, min_size=count, max_size=count)) for _ in range(numeric)]
    numbers = np.array(numbers, float).reshape(numeric, count).T.copy()
    if data.draw(st.booleans()) and numeric:
        numbers[:, 0] = numbers[0, 0]
    codes = data.draw(
        st.lists(st.lists(st.integers(0, 3), min_size=others, max_size=others),
                 min_size=count, max_size=count)
    )  # fmt: skip
    codes = np.array(codes, np.int32).reshape(count, others)
    rows = np.array(sorted(data.draw(st.sets(st.integers(0, count - 1), min_size=1))))
    categories = tuple(tuple("abcd") for _ in range(others))
    table = Table(((), (), "y"), numbers, codes, categories, np.zeros(count), (), ())
    expected = np.zeros((count, numeric + 4 * others), np.float32)
    if numeric:
        far = standardize and find_far(numbers, VERY_FAR)  # They are counted from the first row.
        near = np.where(far, numbers - numbers[rows[0]], numbers)
        scaled = StandardScaler().fit(near[rows]).transform(near)
        expected[:, :numeric] = scaled if standardize else numbers
    if others:
        encoder = OneHotEncoder(categories=[range(4)] * others, sparse_output=False)
        found = encoder.fit(codes[rows]).transform(codes)
        for column in range(others):  # A category that no training row has is all zeros.
            unseen = ~np.isin(range(4), codes[rows, column])
            found[:, 4 * column : 4 * column + 4][:, unseen] = 0
        expected[:, numeric:] = found
    np.testing.assert_array_equal(encode(table, rows, standardize=standardize), expected)
