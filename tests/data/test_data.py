"""Sources, their checks, and splits."""

import itertools
import sys
import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrsearch import catalogue
from lrsearch.data import sources
from lrsearch.data.arrays import Named, check_arrays
from lrsearch.data.sources import load
from lrsearch.data.splitting import folds, split
from lrsearch.data.tables import show_labels
from lrsearch.errors import DataError, DataErrors

RNG = np.random.default_rng(0)


def config(name="digits", **given):
    defaults = {"validation": 0.2, "test": None, "standardize": False, "split_seed": 0}
    return {"name": name, **defaults, **given}


def read(config, function=None):
    return load(config, resolver=lambda path: function)


def npz(path, **arrays):
    np.savez(path, **arrays)
    return config("npz", source=str(path), samples=None)


def table(samples=40, features=3, classes=4):
    return RNG.normal(size=(samples, features)), np.arange(samples) % classes


def made(x, y, *held):
    """The Raw of arrays, by way of an imported function."""
    result = ((x, y), held) if held else (x, y)
    return read({**config(), "class_path": "made.load", "init_args": {}}, lambda: result)


# Sources


def test_digits_are_images_in_zero_to_one():
    raw = read(config())
    assert raw.x.shape == (1797, 1, 8, 8) and raw.x.dtype == np.float32
    assert raw.x.min() == 0.0 and raw.x.max() == 1.0
    assert raw.y.dtype == np.int64 and raw.outputs == 10 and raw.task == "classification"


def test_diabetes_is_a_regression_with_one_target():
    raw = read(config("diabetes"))
    assert raw.task == "regression" and raw.y.shape == (442, 1) and raw.outputs == 1
    assert raw.y.max() == 346.0


def test_npz_with_a_split_of_its_own(tmp_path):
    x, y = table()
    raw = read(
        npz(tmp_path / "a.npz", x_train=x[:30], y_train=y[:30], x_test=x[30:], y_test=y[30:])
    )
    np.testing.assert_allclose(raw.x, x[:30], rtol=1e-6)
    assert raw.held is not None and len(raw.held) == 10 and raw.held.y.tolist() == list(y[30:])


def test_byte_images_are_scaled_and_get_a_channel(tmp_path):
    x = RNG.integers(0, 256, size=(10, 5, 4), dtype=np.uint8)
    raw = read(npz(tmp_path / "a.npz", x=x, y=np.arange(10) % 2))
    assert raw.x.shape == (10, 1, 5, 4)
    np.testing.assert_allclose(raw.x[:, 0], x / 255, rtol=1e-6)
    flat = read(npz(tmp_path / "b.npz", x=x.reshape(10, 20), y=np.arange(10) % 2))
    np.testing.assert_array_equal(flat.x, x.reshape(10, 20))
    assert not raw.notes and not flat.notes
    (note,) = read(npz(tmp_path / "c.npz", x=x % 2, y=np.arange(10) % 2)).notes
    assert note.startswith("x holds bytes from 0 to 1, taken for images and divided by 255: where")


@pytest.mark.parametrize(
    ("y", "labels"),
    [
        ([7, 3, 7, 9], ("3", "7", "9")),
        (["dog", "cat", "dog", "elk"], ("cat", "dog", "elk")),
        ([b"dog", b"cat", b"dog", b"elk"], ("cat", "dog", "elk")),
        ([-1, -5, -1, 0], ("-5", "-1", "0")),
    ],
)
def test_labels_are_numbered_in_order(y, labels):
    raw = made(np.ones((4, 2)), np.array(y))
    assert raw.y.tolist() == [1, 0, 1, 2] and raw.labels == labels and raw.outputs == 3


def test_booleans_are_two_classes_and_a_column_of_labels_is_taken():
    raw = made(np.ones((3, 2)), np.array([[True], [False], [True]]))
    assert raw.y.tolist() == [1, 0, 1] and raw.outputs == 2


def test_classes_are_counted_over_both_parts():
    raw = made(np.ones((4, 2)), np.array([0, 1, 0, 1]), np.ones((1, 2)), np.array([5]))
    assert raw.outputs == 3 and raw.held.y.tolist() == [2]


def test_floats_are_regression_targets():
    assert made(np.ones((3, 2)), np.array([0.0, 1.0, 2.0])).y.shape == (3, 1)
    assert made(np.ones((3, 2)), np.ones((3, 5), np.float32)).outputs == 5


def test_samples_takes_the_first_and_leaves_the_hash(tmp_path):
    x, y = table()
    whole = npz(tmp_path / "a.npz", x=x, y=y)
    cut = read({**whole, "samples": 10})
    assert len(cut.x) == len(cut.y) == 10 and cut.outputs == 4
    assert cut.data_hash == read(whole).data_hash
    with pytest.raises(DataError, match="samples is 41, x has 40"):
        read({**whole, "samples": 41})


def test_hash_is_of_the_content(tmp_path):
    x, y = table()
    one = read(npz(tmp_path / "a.npz", x=x, y=y)).data_hash
    np.savez_compressed(tmp_path / "b.npz", y=y, x=x)
    assert read(config("npz", source=str(tmp_path / "b.npz"), samples=None)).data_hash == one
    x[7, 1] += 1
    assert read(npz(tmp_path / "c.npz", x=x, y=y)).data_hash != one
    other = read(npz(tmp_path / "d.npz", x=x, y=(y + 1) % 4)).data_hash
    assert other != read(npz(tmp_path / "c.npz", x=x, y=y)).data_hash


def test_same_config_is_loaded_once_and_a_changed_file_again(tmp_path):
    x, y = table()
    own = npz(tmp_path / "a.npz", x=x, y=y)
    raw = read(own)
    assert read({**own, "standardize": True, "validation": {"folds": 3}}) is raw
    npz(tmp_path / "a.npz", x=x[:20], y=y[:20])
    assert len(read(own).x) == 20


# Malformed sources: each a DataError that names the file and what is wrong.


def test_files_that_are_no_archive(tmp_path):
    with pytest.raises(DataError, match=r"missing\.npz: there is no such file"):
        read(config("npz", source=str(tmp_path / "missing.npz"), samples=None))
    contents = {"text.npz": b"hello", "empty.npz": b"", "half.npz": b"PK\x03\x04 and no more"}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=f"{name}: not a readable"):
            read(config("npz", source=str(tmp_path / name), samples=None))
    np.save(tmp_path / "one.npy", np.ones(3))
    with pytest.raises(DataError, match=r"one\.npy: a single array"):
        read(config("npz", source=str(tmp_path / "one.npy"), samples=None))
    with pytest.raises(DataError, match="not a readable"):
        read(config("npz", source=str(tmp_path), samples=None))


def test_damaged_member(tmp_path):
    x, y = table(400)
    own = npz(tmp_path / "a.npz", x=x, y=y)
    content = bytearray((tmp_path / "a.npz").read_bytes())
    content[1000] ^= 255
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(DataError, match=r"a\.npz: x cannot be read: Bad CRC"):
        read(own)


def test_member_that_is_no_array(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("x", "text")
        archive.writestr("y", "text")
    with pytest.raises(DataError, match="x is not an array"):
        read(config("npz", source=str(tmp_path / "a.npz"), samples=None))


def test_objects_are_never_unpickled(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.array([{"a": 1}, None], dtype=object), y=np.arange(2))
    with pytest.raises(DataError, match=r"a\.npz: x cannot be read: Object arrays"):
        read(config("npz", source=str(tmp_path / "a.npz"), samples=None))


X, Y = table()
BYTES = np.tile(np.arange(8, dtype=np.uint8), (40, 4, 1))


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"a": X, "b": Y}, "x and y missing; found: a, b\n  an archive holds x_train, y_train and"),
        (
            {"X_train": X, "labels_train": Y, "testX": X},
            r'savez\("NEW.npz", x_train=a\[\'X_train\'\], y_train=a\[\'labels_train\'\], x_test=a',
        ),
        ({}, "x and y missing; found: nothing"),
        (
            {"x_train": X},
            r"y_train missing; found: x_train\n.*for a step of your own that has none",
        ),
        ({"x_train": X, "y_train": Y, "x_test": X}, "y_test missing"),
        ({"x": X, "y": Y[:-1]}, "x has 40 samples, y 39 targets"),
        ({"x": X, "y": np.array(1)}, "x has 40 samples, y no targets"),
        ({"x": X[:0], "y": Y[:0]}, "x is empty"),
        ({"x": X[:, :0], "y": Y}, "x is empty"),
        ({"x": X[:, 0], "y": Y}, r"x has shape \(40,\).*\n.*x\.reshape\(-1, 1\)"),
        (
            {"x": np.where(np.isin(X, X[7]), np.nan, X), "y": Y},
            r"x holds values that are not finite: nan at \[7, 0\], in 1 of 40 samples\n.*"
            r"keep = np\.isfinite\(x\)\.reshape\(len\(x\), -1\)\.all\(1\), x\[keep\]",
        ),
        (
            {"x": np.full((40, 2), 1e300), "y": Y},
            r"x holds 1e\+300 at \[0, 0\], which is too large",
        ),
        (
            {"x": X, "y": np.where(Y > 1, np.inf, 0.5)},
            r"y holds values that are not finite: inf at \[2\], in 20 of 40 samples",
        ),
        ({"x": X.astype(str), "y": Y}, r"x holds text \(<U32\): numbers are needed"),
        ({"x": X + 1j, "y": Y}, r"x holds complex numbers \(complex128\): numbers"),
        ({"x": X, "y": Y + 1j}, r"y holds complex numbers \(complex128\): classes are"),
        ({"x": X, "y": np.zeros(40, int)}, r"y holds one class only \(0\)"),
        ({"x": X, "y": np.eye(4, dtype=int)[Y]}, r"not one-hot rows\n.*y\.argmax\(1\)"),
        ({"x": X, "y": (X > 0).astype(int)}, "task: regression under data, and loss: .*BCEWithLog"),
        ({"x": X, "y": np.full((40, 2, 2), 3)}, "write task: own under data; of a class at each"),
        ({"x": X, "y": np.ones((40, 2, 2))}, r"y has shape \(40, 2, 2\)"),
        (
            {"x_train": X, "y_train": Y, "x_test": X[:, :2], "y_test": Y},
            r"samples of x_train have shape \(3,\), those of x_test \(2,\)",
        ),
        (
            {"x_train": X, "y_train": Y, "x_test": X, "y_test": Y.astype(float)},
            r"different kinds: y_train int64, y_test float64\n.*y_test\.astype\('int64'\)",
        ),
        (
            {"x_train": BYTES, "y_train": Y, "x_test": BYTES.astype(float), "y_test": Y},
            "x_train holds bytes of images, which are scaled to 0 to 1, and x_test float64 from 0",
        ),
        (
            {"x_train": BYTES * 1.0, "y_train": Y, "x_test": BYTES, "y_test": Y},
            "x_test holds bytes of images, .* and x_train float64 from 0 to 7.*not be of one scale",
        ),
    ],
)
def test_malformed_arrays(tmp_path, arrays, message):
    with pytest.raises(DataError, match=message) as caught:
        read(npz(tmp_path / "bad.npz", **arrays))
    assert str(tmp_path / "bad.npz") in str(caught.value)


def test_faults_of_arrays_that_know_nothing_of_each_other_come_at_once():
    holes = X.copy()
    holes[3] = np.nan
    parts = [
        Named("x_train", holes, "y_train", Y[:-1]),
        Named("x_val", X.astype(str), "y_val", Y.astype(object)),
    ]
    with pytest.raises(DataErrors) as caught:
        check_arrays("bad.npz", parts, task=None)
    told = [each.message.partition(":")[0] for each in caught.value.errors]
    assert told == [
        "x_train holds values that are not finite",
        "x_val holds text (<U32)",
        "x_train has 40 samples, y_train 39 targets",
        "y_val holds objects (object)",
    ]


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_images_with_their_channels_last(channels):
    x = np.ones((40, 6, 5, channels))
    with pytest.raises(DataError, match=r"\(N, C, H, W\): x\.transpose\(0, 3, 1, 2\); of what"):
        made(x, Y)
    assert made(x.transpose(0, 3, 1, 2), Y).x.shape == (40, channels, 6, 5)


@pytest.mark.parametrize("shape", [(3, 28, 3), (64, 4, 4), (64, 1, 1), (4, 9, 1), (9, 9, 2)])
def test_images_that_may_have_their_channels_first(shape):
    assert made(np.ones((40, *shape)), Y).x.shape == (40, *shape)


def test_classes_that_are_not_trained_on(tmp_path):
    labels = np.array(["", "b" * 50, "c"])[np.arange(40) % 3]
    train = {"x_train": X[labels != "c"], "y_train": labels[labels != "c"]}
    parts = {**train, "x_test": X, "y_test": labels}
    told = "y_test has classes that y_train has not, and no model learns: c"
    assert told in read(npz(tmp_path / "a.npz", **parts)).notes
    assert show_labels(("", "b" * 50)) == f"'', {'b' * 40}..."
    assert not read(npz(tmp_path / "b.npz", **train, x_test=X[:2], y_test=labels[:2])).notes


def test_one_class_among_the_first_samples(tmp_path):
    own = npz(tmp_path / "a.npz", x=X, y=np.sort(Y))
    with pytest.raises(DataError, match="in its first 5 samples"):
        read({**own, "samples": 5})


class Tensor:
    """What is taken for a tensor: its type was chosen."""

    def __init__(self, array):
        self.array, self.dtype = array, array.dtype
        self.detach = self.cpu = lambda: self

    def __array__(self, dtype=None, copy=None):
        return self.array


class Opaque:
    def __array__(self, dtype=None, copy=None):
        raise RuntimeError("no array of mine")


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda: [1, 2], "returned list"),
        (lambda: (X, Y, X), r"the weights are float64 of shape \(40, 3\); a number a sample"),
        (
            lambda: (X, X, Y, Y),
            r"a tuple of 4 entries\n  return a tuple a part: \(x_train, y_train\)",
        ),
        (
            lambda: {"X_train": X, "y_train": Y, "n": Y},
            "a dict of 3 entries\n  return a tuple a part",
        ),
        (lambda: [(X, Y), (X, Y)], r"return parts in a tuple: \(training, validation\)"),
        (lambda: [(X[0], 0)] * 4, r"tuple\(map\(list, zip\(\*samples\)\)\)"),
        (lambda batch_size: 1, "return lambda batch_size: DataLoader"),
        (
            lambda: ((Tensor(BYTES), Y), (Tensor(BYTES * 1.0), Y)),
            "x_train holds bytes of images, .* and x_validation float64 from 0 to 7",
        ),
        (
            lambda: (({"a": BYTES, "y": Y}), ({"a": BYTES * 1.0, "y": Y})),
            r"x_train\.a holds bytes of images, .* and x_validation\.a float64",
        ),
        (
            lambda: ((Tensor(BYTES), Y), (Tensor(BYTES / 255), Y)),
            r"shape \(1, 4, 8\), those of x_validation \(4, 8\)\n.*images: true under data",
        ),
        (lambda: ([[1.0], [1.0, 2.0]], [0, 1]), "make no arrays"),
        (lambda: 1 / 0, "ZeroDivisionError: division by zero"),
        (lambda: sys.exit("enough"), "SystemExit: enough"),
        (lambda: (Opaque(), Y), "make no arrays: no array of mine"),
    ],
)
def test_functions_that_return_something_else(function, message):
    with pytest.raises(DataError, match=message) as caught:
        read({**config(), "class_path": "my.load", "init_args": {}}, function)
    assert caught.value.where == "my.load"


def test_function_gets_its_arguments():
    own = {**config(), "class_path": "my.load", "init_args": {"samples": 8}}
    raw = read(own, lambda samples: (X[:samples], Y[:samples]))
    assert len(raw.x) == 8
    with pytest.raises(DataError, match="TypeError"):
        read(own, lambda: (X, Y))


# Splits


@given(
    st.integers(40, 300),
    st.one_of(st.floats(0.1, 0.5), st.integers(2, 5)),
    st.sampled_from([None, 0.1, 0.25]),
    st.booleans(),
    st.integers(0, 9),
)
def test_sizes_and_disjointness(samples, validation, test, classes, seed):
    # Each sample carries its own number, which says where it went.
    x = np.arange(samples, dtype=np.float64)[:, None]
    raw = made(x, np.arange(samples) % 3 if classes else x)
    grammar = {"folds": validation} if isinstance(validation, int) else validation
    own = config(validation=grammar, test=test, split_seed=seed)
    trains, last, held_out = catalogue.split_sizes(samples, validation, test or 0.0)
    validated = []
    tests = set()
    for fold, size in zip(folds(own), trains, strict=True):
        splits = split(raw, own, fold)
        parts = [splits.train.x, splits.validation.x] + ([splits.test.x] if test else [])
        numbers = [part[:, 0].tolist() for part in parts]
        assert len(numbers[0]) == size
        assert sorted(itertools.chain(*numbers)) == list(range(samples))
        validated += numbers[1]
        tests.add(tuple(sorted(numbers[2])) if test else ())
    assert len(numbers[1]) == last and len(tests) == 1 and len(tests.pop()) == held_out
    assert len(set(validated)) == len(validated)
    if isinstance(validation, int):
        assert len(validated) == samples - held_out


def test_classes_are_stratified():
    raw = made(np.ones((200, 1)), np.repeat([0, 1], [150, 50]))
    for own in (config(validation=0.2, test=0.1), config(validation={"folds": 4})):
        for fold in folds(own):
            splits = split(raw, own, fold)
            for part in filter(None, (splits.train, splits.validation, splits.test)):
                assert np.mean(part.y) == pytest.approx(0.25, abs=0.02)


def test_split_seed_decides():
    raw = read(config())
    again, other = split(raw, config(), None), split(raw, config(split_seed=1), None)
    np.testing.assert_array_equal(split(raw, config(), None).train.x, again.train.x)
    assert not np.array_equal(again.train.x, other.train.x)
    one, two = (
        split(raw, config(split_seed=seed, validation={"folds": 3}), 0).train.x for seed in (0, 1)
    )
    assert not np.array_equal(one, two)


def test_the_source_s_own_part_is_used_only_when_asked_for():
    x = np.arange(50.0)[:, None]
    raw = made(x[:40], Y, x[40:], Y[:10])
    validated = split(raw, config(validation="source", test=0.1), None)
    assert validated.validation.x[:, 0].tolist() == list(range(40, 50))
    assert len(validated.train.x) == 36 and len(validated.test.x) == 4
    tested = split(raw, config(validation={"folds": 4}, test="source"), 1)
    assert tested.test.x[:, 0].tolist() == list(range(40, 50))
    assert len(tested.train.x) == 30 and len(tested.validation.x) == 10
    untouched = split(raw, config(), None)
    assert untouched.test is None
    assert max(untouched.train.x.max(), untouched.validation.x.max()) < 40


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"validation": "source"}, "bring no split of their own"),
        ({"test": "source"}, "bring no split of their own"),
        ({"validation": "source", "test": "source"}, "bring no split of their own"),
        ({"validation": 0.001}, "validation 0.001 of 40 samples is 0\n  write validation: 0.02"),
        ({"test": 0.01}, "test 0.01 of 40 samples is 0\n  write test: 0.02"),
        (
            {"validation": 0.05},
            "a validation split of 2 samples cannot hold every class.*\n  write validation: 0.09",
        ),
        (
            {"validation": {"folds": 11}},
            "class 0 has too few samples for the validation split: 10.*\n  write .*{folds: 10}",
        ),
        ({"validation": {"folds": 41}}, "41 folds of 40 samples\n  write validation: {folds: 5}"),
    ],
)
def test_splits_that_cannot_be(given, message):
    raw = made(X, Y)
    own = config(**given)
    with pytest.raises(DataError, match=message):
        split(raw, own, folds(own)[0])


def test_a_class_with_a_single_sample():
    raw = made(X, np.array(["a"] * 20 + ["b"] * 19 + ["rare"]))
    with pytest.raises(DataError, match=r"class rare has too few samples .* 1, at least 2"):
        split(raw, config(), None)


def test_standardize_by_the_training_split_alone():
    x = RNG.normal(3.0, 5.0, size=(60, 2))
    x = np.column_stack([x, np.full(60, 0.1)])  # The third feature does not vary.
    raw = made(x, np.arange(60) % 2)
    plain, scaled = (split(raw, config(standardize=each), None) for each in (False, True))
    np.testing.assert_allclose(scaled.train.x.mean(axis=0), 0.0, atol=1e-6)
    np.testing.assert_allclose(scaled.train.x.std(axis=0), [1.0, 1.0, 0.0], atol=1e-5)
    mean, deviation = plain.train.x.mean(axis=0), plain.train.x.std(axis=0)
    expected = (plain.validation.x - mean)[:, :2] / deviation[:2]
    np.testing.assert_allclose(scaled.validation.x[:, :2], expected, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(scaled.validation.x[:, 2], 0.0, atol=1e-6)


def test_images_are_standardized_per_channel():
    x = RNG.normal(size=(50, 2, 4, 4)) * np.array([1.0, 10.0])[:, None, None] + 7
    train = split(made(x, np.arange(50) % 2), config(standardize=True), None).train.x
    np.testing.assert_allclose(train.mean(axis=(0, 2, 3)), 0.0, atol=1e-5)
    np.testing.assert_allclose(train.std(axis=(0, 2, 3)), 1.0, atol=1e-5)
    assert not np.allclose(train.mean(axis=0), 0.0, atol=1e-3)


def test_regression_targets_are_scaled_by_the_training_split():
    raw = read(config("diabetes"))
    splits = split(raw, config("diabetes", test=0.1), None)
    assert splits.train.y.dtype == np.float32
    np.testing.assert_allclose(splits.train.y.mean(), 0.0, atol=1e-6)
    np.testing.assert_allclose(splits.train.y.std(), 1.0, rtol=1e-5)
    together = np.concatenate([splits.train.y, splits.validation.y, splits.test.y])
    own_units = np.sort(together[:, 0] * splits.target_scale)
    np.testing.assert_allclose(np.diff(own_units), np.diff(np.sort(raw.y[:, 0])), atol=1e-3)


def test_loading_leaves_no_trace_in_the_source():
    raw = read(config())
    before = raw.x.copy()
    split(raw, config(standardize=True, validation={"folds": 3}), 2)
    np.testing.assert_array_equal(raw.x, before)


def test_a_fold_that_is_not_there_is_a_bug():
    raw = read(config())
    with pytest.raises(ValueError, match="fold 3"):
        split(raw, config(validation={"folds": 3}), 3)
    with pytest.raises(ValueError, match="fold None"):
        split(raw, config(validation={"folds": 3}), None)


def test_unknown_source_names_the_nearest():
    with pytest.raises(DataError, match="did you mean 'digits'"):
        read(config("digit"))
    assert set(sources.SOURCES) == set(catalogue.DATA)
