"""What data are taken for: numbers, classes, subsets, parts that validate, images and sequences."""

import json
import re
import zlib

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from keys import trial_key
from sklearn.datasets import load_breast_cancer, load_digits, load_iris
from test_own_code import own_data, raw_of
from test_tables import INLINE, lrsearch
from test_train import config, facts
from torch.utils.data import Dataset

from lrsearch.data.precision import find_far
from lrsearch.data.sources import load
from lrsearch.data.splitting import split
from lrsearch.data.understood import describe, find_validation
from lrsearch.errors import DataError, ModelError
from lrsearch.spec import read_spec
from lrsearch.spec.model import fill_config, identity, resolve, settle_data
from lrsearch.tuner.ledger import Content

CANCER, BENIGN = load_breast_cancer(return_X_y=True)
DIGITS, DIGIT = load_digits(return_X_y=True)
SPLITTING = {"validation": 0.2, "test": None, "standardize": False, "split_seed": 0}


def npz_data(path, **given):
    return {
        "name": "npz", "source": str(path), "task": None, "samples": None, "shuffle": False,
        "images": None, **SPLITTING, **given,
    }  # fmt: skip


def read(own):
    return load(own, resolver=lambda _: None)


def saved(tmp_path, **arrays):
    np.savez(tmp_path / "d.npz", **arrays)
    return tmp_path / "d.npz"


# digits


OFFSET = 1.7e9


def far_table(kind=np.float64):
    """Two features of which float32 holds nothing but the offset, and one that it holds."""
    x = np.column_stack([OFFSET + np.round(CANCER[:, 0]), OFFSET - CANCER[:, 1], CANCER[:, 2]])
    return x.astype(kind)


@pytest.mark.parametrize("kind", [np.float64, np.int64, np.uint64])
@pytest.mark.parametrize("form", ["npz", "function", "tensor", "weighted", "parts"])
def test_far_features_are_standardized_before_they_lose_their_digits(tmp_path, form, kind):
    if form in ("tensor", "weighted") and kind != np.float64:
        kind = np.float64  # Whole numbers of tensors are no measurements.
    x = far_table(kind)
    own = own_data(standardize=True)
    if form == "npz":
        own = npz_data(saved(tmp_path, x=x, y=BENIGN), standardize=True)
        raw = read(own)
    else:
        given = {
            "function": (x, BENIGN),
            "tensor": (torch.from_numpy(x.astype(np.float64)), torch.from_numpy(BENIGN)),
            "weighted": (x, BENIGN, np.ones(len(x))),
            "parts": ((x, BENIGN), (x[:100], BENIGN[:100])),
        }[form]
        raw = raw_of(given)
    train = split(raw, own, None).train
    rows = np.searchsorted(np.arange(len(x)), 0)
    assert rows == 0 and train.x.dtype == np.float32
    # The same as of the numbers without their offset, which float32 holds.
    near = raw_of((x.astype(np.float64) - [OFFSET, OFFSET, 0], BENIGN))
    expected = split(near, own, None).train
    np.testing.assert_allclose(train.x, expected.x, rtol=1e-5, atol=1e-4)
    assert raw.lost and "+" in raw.data_hash and "+" not in near.data_hash


def test_a_table_far_from_zero_is_as_one_near_it(tmp_path):
    far = np.column_stack([1e15 + 100 * np.round(CANCER[:, 0]), CANCER[:, 2]])
    near = far - [1e15, 0]
    found = []
    for name, x in (("far", far), ("near", near)):
        lines = [f"{a:.0f},{b!r},{k}" for (a, b), k in zip(x.tolist(), BENIGN, strict=True)]
        (tmp_path / f"{name}.csv").write_text("t,b,y\n" + "\n".join(lines))
        own = {
            "name": "csv", "source": str(tmp_path / f"{name}.csv"), "target": "y", "task": None,
            "drop": [], "categorical": [], "samples": None, "shuffle": False, "separator": ",",
            **SPLITTING, "standardize": True,
        }  # fmt: skip
        raw = read(own)
        found.append(split(raw, own, None).train.x)
        assert raw.lost == (("'t'",) if name == "far" else ())
    np.testing.assert_allclose(found[0], found[1], rtol=1e-5, atol=1e-5)


def test_whole_numbers_that_float64_does_not_hold_are_counted_from_the_first():
    nanoseconds = 1_700_000_000_000_000_000 + np.arange(300) * 7
    raw = raw_of((nanoseconds[:, None], np.arange(300) % 2))
    x = split(raw, own_data(standardize=True, validation=0.5), None).train.x[:, 0]
    assert len(np.unique(x)) == len(x) and abs(x.mean()) < 1e-5 and abs(x.std() - 1) < 1e-5


@given(st.floats(0, 1e12), st.floats(1e-3, 1e3))
def test_what_is_lost_is_what_lies_far(offset, deviation):
    x = (offset + deviation * np.linspace(-1, 1, 50))[:, None]
    spread = x.std()
    (lost,) = find_far(x)
    assert lost == (np.abs(x).max() > 4096 * spread)
    if not lost:  # Float32 leaves at least a thousand steps for a deviation.
        assert np.abs(x.astype(np.float32) - x).max() < spread / 1000


def test_digits_that_are_lost_are_said_and_others_keep_their_hash(tmp_path):
    path = saved(tmp_path, x=far_table(), y=BENIGN)
    told = {}
    for standardize in (False, True):
        told[standardize] = facts(
            {**config(), "data": npz_data(path, standardize=standardize)}
        ).notes
    (note,) = told[False]
    assert note.endswith("differ: x[:, 0], x[:, 1]; standardize: true takes their mean off first")
    assert told[True] == ()
    plain = raw_of((CANCER.astype(np.float64), BENIGN))
    assert plain.exact is None and plain.lost == () and "+" not in plain.data_hash
    # Only what is standardized is measured otherwise than before.
    raw = read(npz_data(path))
    content = Content("classification", raw.data_hash, {})
    of = {
        standardize: content.of(
            {"data": npz_data(path, standardize=standardize), "model": {}, "train": {}}
        )["data"]
        for standardize in (False, True)
    }
    assert of[True] == raw.data_hash and of[False] == raw.data_hash.partition("+")[0]


def test_a_large_scale_and_labels_taken_for_amounts_are_said(tmp_path):
    x = np.linspace(-700, 600, 40)[:, None]
    told = "the inputs are as large as 700 and trained on as they are: standardize: true"
    path = saved(tmp_path, x=x, y=x > 0)
    for standardize, loud in ((False, True), (True, False)):
        own = {**config(batch_size=8), "data": npz_data(path, standardize=standardize)}
        assert any(note.startswith(told) for note in facts(own).notes) is loud
    linear = {"class_path": "torch.nn.Linear", "init_args": {"in_features": 1, "out_features": 2}}
    own = {**config(batch_size=8), "data": npz_data(path), "model": linear}
    assert any(note.startswith(told) and "unless the model" in note for note in facts(own).notes)
    path = saved(tmp_path, x=x / 700, y=np.hstack([x > 0, x > 1, x < 99]).astype(float))
    bce = {"class_path": "torch.nn.BCEWithLogitsLoss", "init_args": {}}
    for loss, loud in (("mse", True), (bce, False)):
        own = {**config(batch_size=8, loss=loss), "data": npz_data(path, task="regression")}
        notes = [note for note in facts(own).notes if "zeros and ones" in note]
        assert [note.endswith("BCEWithLogitsLoss} under train") for note in notes] == [True] * loud


def test_a_class_that_nearly_all_samples_are_of_is_said(tmp_path):
    x = np.linspace(-1, 1, 100)[:, None]
    for rare in (4, 20):
        path = saved(tmp_path, x=x, y=(np.arange(100) < rare).astype(int))
        notes = facts({**config(batch_size=8), "data": npz_data(path)}).notes
        found = [note for note in notes if note.startswith("class '0' is 96.0% of the samples")]
        assert len(found) == (rare == 4), notes
        assert all(note.endswith("objective: f1 weighs classes alike") for note in found)


# classes


BIG = 2**53
KEPT = [
    ([0, 1, BIG, BIG + 1], np.int64, [0, 1, BIG, BIG + 1], np.uint64),
    ([-1, 2**62, 2**62 + 1], np.int64, [2**62, 2**62 + 1, 2**63 + 3], np.uint64),
    ([1, 2, 3], np.int8, [1, 2, 3], np.uint64),
    (["a", "b"], "U1", ["a", "bb"], "U2"),
    ([0, 1, 1], np.int64, [True, False], bool),
]


@pytest.mark.parametrize(("first", "one", "second", "other"), KEPT)
@pytest.mark.parametrize("form", ["npz", "function", "weighted"])
def test_no_two_classes_become_one(tmp_path, form, first, one, second, other):
    first, second = np.array(first, one), np.array(second, other)
    parts = [(np.ones((len(y), 2)), y) for y in (first, second)]
    if form == "npz":
        names = ("x_train", "y_train", "x_test", "y_test")
        raw = read(
            npz_data(saved(tmp_path, **dict(zip(names, (*parts[0], *parts[1]), strict=True))))
        )
    else:
        weighted = [(x, y, np.ones(len(y))) for x, y in parts]
        raw = raw_of(tuple(parts if form == "function" else weighted))
    both = [*first.tolist(), *second.tolist()]
    classes = sorted(set(both))
    assert raw.outputs == len(classes)
    assert [*raw.y.tolist(), *raw.held.y.tolist()] == [classes.index(each) for each in both]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (np.array(["a", "b"]), np.array([b"a", b"b"])),
        (np.array([1, 2]), np.array(["1", "2"])),
        (np.array([1, 2]), np.array([True, False])),
        (np.array([1, 2]), np.array([1.0, 2.0])),
    ],
)
def test_kinds_that_are_not_one_are_refused(first, second):
    x = np.ones((2, 2))
    with pytest.raises(DataError, match="of different kinds"):
        raw_of(((x, first), (x, second)))


def test_numbers_that_a_type_cannot_hold_are_refused():
    x = np.ones((3, 2))
    with pytest.raises(DataError, match="too large for int64"):
        raw_of((x, np.array([1, 2, 2**63 + 5], np.uint64)), task="own")
    with pytest.raises(DataError, match=r"from 2\*\*53 on"):
        raw_of((x, np.array([BIG, BIG + 1, BIG + 3])), task="regression")


AGES = np.arange(244) % 61 + 18


def aged(tmp_path, form, **given):
    x = CANCER[:244, :3]
    if form == "npz":
        return read(npz_data(saved(tmp_path, x=x, y=AGES), **given))
    if form == "function":
        return raw_of((x, AGES), **given)
    if form == "weighted":
        return raw_of((x, AGES, np.ones(244)), **given)
    lines = "\n".join(f"{a},{b},{k}" for (a, b, _), k in zip(x, AGES, strict=True))
    (tmp_path / "d.csv").write_text("a,b,age\n" + lines)
    table = {"name": "csv", "source": str(tmp_path / "d.csv"), "target": "age", "drop": [],
             "categorical": [], "samples": None, "separator": ",", "task": None}  # fmt: skip
    return read({**table, **SPLITTING, **given})


@pytest.mark.parametrize("form", ["npz", "function", "weighted", "csv"])
def test_a_quantity_in_whole_numbers_is_doubted_in_the_same_words(tmp_path, form):
    words = "whole numbers, taken as 61 classes: for a quantity write task: regression under data"
    raw = aged(tmp_path, form)
    assert (raw.task, raw.outputs) == ("classification", 61)
    assert [note.endswith(words) for note in raw.notes].count(True) == 1
    for task, outputs in (("classification", 61), ("regression", 1), ("own", 0)):
        raw = aged(tmp_path, form, task=task)
        assert (raw.task, raw.outputs) == (task, outputs)
        assert not any(note.endswith(words) for note in raw.notes)
        if task != "classification":
            np.testing.assert_array_equal(raw.y.reshape(-1), AGES)
        assert raw.y.shape == ((244, 1) if task == "regression" else (244,))
        # Its unit is not that of the target, unless the loss is the user's.
        unit = ", which the loss takes in units of its deviation"
        assert (unit in describe(raw, own_data(), (48,), 0)) is (outputs == 1)
        assert "units of" not in describe(raw, own_data(), (48,), 0, own=True)


@pytest.mark.parametrize(
    ("values", "doubted"),
    [
        ([0, 1], False),
        ([-1, 1], False),
        ([1, 2, 3], False),
        ([100, 200, 300], True),
        ([3, 4, 6], True),
    ],
)
def test_few_whole_numbers_that_do_not_count_on_are_doubted(tmp_path, values, doubted):
    y = np.array(values)[np.arange(569) % len(values)]
    lines = [f"{left},{right}" for left, right in zip(CANCER[:, 0], y, strict=True)]
    (tmp_path / "d.csv").write_text("\n".join(["x,age", *lines]))
    table = {"name": "csv", "source": str(tmp_path / "d.csv"), "target": "age", "drop": [],
             "categorical": [], "separator": ",", "task": None, "samples": None}  # fmt: skip
    for raw in (read(npz_data(saved(tmp_path, x=CANCER, y=y))), read(table)):
        assert any("for a quantity" in note for note in raw.notes) is doubted


@pytest.mark.parametrize("form", ["npz", "function", "weighted"])
def test_classes_in_floating_point_are_doubted_too(tmp_path, form):
    y = BENIGN.astype(float)
    parts = {"function": (CANCER, y), "weighted": (CANCER, y, np.ones(569))}
    path = saved(tmp_path, x=CANCER, y=y)
    for task in (None, "classification", "regression"):
        raw = read(npz_data(path, task=task)) if form == "npz" else raw_of(parts[form], task=task)
        assert raw.task == (task or "regression")
        assert [
            note.endswith("for classes write task: classification under data") for note in raw.notes
        ] == ([] if task else [True])
    assert raw_of((CANCER, y + 0.5)).notes == () and read({"name": "diabetes"}).notes == ()


def test_a_quantity_that_spans_decades_is_said():
    x = np.arange(569.0)[:, None]
    (note,) = raw_of((x, 10 ** (x[:, 0] / 100))).notes
    assert note == (
        "y holds numbers from 1 to 478630, and the loss is that of the large: np.log10 of them in "
        "the file weighs all alike"
    ), note
    assert raw_of((x, x[:, 0] + 0.5)).notes == ()


def test_a_validation_part_that_is_the_training_part_is_said(tmp_path):
    parts = {"x_train": CANCER, "y_train": BENIGN, "x_val": CANCER, "y_val": BENIGN}
    (note,) = read(npz_data(saved(tmp_path, **parts), validation="source")).notes
    assert note.startswith("x_val holds the samples of x_train")
    parts |= {"x_val": CANCER[::-1], "y_val": BENIGN[::-1]}
    assert read(npz_data(saved(tmp_path, **parts), validation="source")).notes == ()


def test_targets_that_lose_digits_are_said():
    stamps = 1.7e9 + np.arange(569.0)
    (note,) = raw_of((CANCER, stamps), task="own").notes
    assert "the targets; take an offset off them" in note
    assert raw_of((CANCER, stamps - 1.7e9), task="own").notes == ()


def test_a_quantity_too_rare_to_split_names_the_way_out(tmp_path):
    own = npz_data(saved(tmp_path, x=CANCER[:30], y=np.arange(30) ** 2))
    with pytest.raises(DataError) as caught:
        split(read(own), own, None)
    assert "task: regression" in caught.value.hint
    own["task"] = "regression"
    assert split(read(own), own, None).outputs == 1


# targets of one's own


@pytest.mark.parametrize("source", ["digits", "breast_cancer", "wine", "iris", "diabetes"])
def test_built_in_data_take_any_task(source):
    own = {"name": source, "task": "own", **SPLITTING}
    raw = read(own)
    before = read({**own, "task": None})
    assert (raw.task, raw.outputs, raw.labels) == ("own", 0, ())
    np.testing.assert_allclose(raw.y, before.y.reshape(-1), rtol=1e-6)
    assert read({**own, "task": "regression"}).task == "regression"


def test_text_of_one_s_own_is_numbered_and_said(tmp_path):
    x, y = load_iris(return_X_y=True)
    names = np.array(["setosa", "versicolor", "virginica"])[y]
    raw = read(npz_data(saved(tmp_path, x=x, y=names), task="own"))
    assert raw.y.tolist() == y.tolist() and raw.task == "own"
    assert raw.notes == ("y is text, numbered from 0: setosa, versicolor, virginica",)


CODE = """
import torch.nn.functional as F
from torch import nn


class One(nn.Module):
    def __init__(self, in_features):
        super().__init__()
        self.head = nn.Linear(in_features, 1)

    def forward(self, x):
        return self.head(x.flatten(1))


def bce(outputs, targets):
    assert targets.dim() == 1
    return F.binary_cross_entropy_with_logits(outputs.reshape(-1), targets.float())


def acc(outputs, targets):
    return ((outputs.reshape(-1) > 0) == targets).float().mean()
"""


@pytest.mark.parametrize("form", ["npz", "csv", "parquet", "breast_cancer"])
def test_the_remedy_that_an_error_names_works_where_it_is_named(tmp_path, monkeypatch, form):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(CODE)
    x = (CANCER - CANCER.mean(0)) / CANCER.std(0)
    data = {"name": form}
    if form == "npz":
        data["source"] = saved(tmp_path, x=x, y=BENIGN).name
    elif form == "csv":
        lines = "\n".join(f"{a},{b},{k}" for (a, b), k in zip(x[:, :2], BENIGN, strict=True))
        (tmp_path / "d.csv").write_text("a,b,y\n" + lines)
        data |= {"source": "d.csv", "target": "y"}
    elif form == "parquet":
        arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
        columns = {"a": x[:, 0], "b": x[:, 1], "y": BENIGN}
        parquet.write_table(arrow.table(columns), tmp_path / "d.parquet")
        data |= {"source": "d.parquet", "target": "y"}
    else:
        data["standardize"] = True
    doc = {
        "name": form, "data": data, "model": {"class_path": "mine.One"},
        "train": {"budget": "3ep", "lr": 0.1, "loss": "mine.bce", "metrics": {"acc": "mine.acc"}},
        "objective": {"metric": "acc", "goal": "max"},
    }  # fmt: skip
    (tmp_path / "s.yaml").write_text(json.dumps(doc))
    allowed = ("--allow-import", "mine")
    refused = lrsearch("grid", "s.yaml", *INLINE, *allowed)
    assert refused.code == 2 and "write task: own under data" in refused.err
    doc["data"]["task"] = "own"
    (tmp_path / "s.yaml").write_text(json.dumps(doc))
    said = lrsearch("grid", "s.yaml", *INLINE, *allowed, "--json", "--require", "acc>=0.75")
    assert said.code == 0, said
    assert "targets of your own kind (int64 from 0 to 1)" in json.loads(said.out)["data"]


# some of the samples


@pytest.mark.parametrize("form", ["npz", "csv"])
def test_the_first_of_a_sorted_file_are_said_and_others_are_drawn(tmp_path, form):
    order = np.argsort(DIGIT, kind="stable")
    x, y = DIGITS[order], DIGIT[order]
    if form == "npz":
        own = npz_data(saved(tmp_path, x=x, y=y), samples=400)
    else:
        lines = [",".join(map(str, [*row[:3], 1.5, f"c{k}"])) for row, k in zip(x, y, strict=True)]
        (tmp_path / "d.csv").write_text("a,b,c,d,y\n" + "\n".join(lines))
        own = {
            "name": "csv", "source": str(tmp_path / "d.csv"), "target": "y", "task": None,
            "drop": [], "categorical": [], "samples": 400, "separator": ",", **SPLITTING,
        }  # fmt: skip
    raw = read({**own, "shuffle": False})
    assert np.unique(raw.y).tolist() == [0, 1, 2] and raw.outputs == 10
    note = "the first 400 samples hold 3 of the 10 classes; shuffle: true under data has them drawn"
    assert sum(note in each for each in raw.notes) == 1
    assert "(of 1,797, the first: 3 of the 10 classes)" in describe(raw, own, (80,), 0)
    drawn = read({**own, "shuffle": True})
    shares = np.bincount(drawn.y, minlength=10) / 400
    np.testing.assert_allclose(shares, np.bincount(y) / len(y), atol=0.003)
    assert not any("classes;" in each for each in drawn.notes)
    np.testing.assert_array_equal(read({**own, "shuffle": True, "split_seed": 3}).x, drawn.x)
    assert drawn.data_hash == raw.data_hash


def test_the_first_of_targets_in_order_are_said(tmp_path):
    own = npz_data(saved(tmp_path, x=CANCER, y=np.sort(CANCER[:, 0])), samples=50)
    (note,) = read(own).notes
    assert "sorted by their targets, and the first 50 have the lowest" in note
    assert read({**own, "shuffle": True}).notes == ()


def test_fewer_drawn_than_classes(tmp_path):
    own = npz_data(saved(tmp_path, x=DIGITS, y=DIGIT), samples=5, shuffle=True)
    raw = read(own)
    assert len(raw.y) == 5 and "drawn 5 samples hold" in raw.notes[-1]


# the third of a tuple


class Indexed(Dataset):
    def __len__(self):
        return 40

    def __getitem__(self, index):
        return torch.from_numpy(DIGITS[index]), int(DIGIT[index]), index


class NoisyIndexed(Indexed):
    classes = tuple("0123456789")

    def __getitem__(self, index):
        x, *rest = super().__getitem__(index)
        return (x + torch.rand(64), *rest)


@pytest.mark.parametrize(
    "result",
    [
        (DIGITS, DIGIT, np.arange(1797)),
        (DIGITS, DIGIT, np.random.default_rng(0).permutation(1797).astype(float)),
        (DIGITS, DIGIT, list(range(1797))),
        (torch.from_numpy(DIGITS), torch.from_numpy(DIGIT), torch.arange(1797)),
        (DIGITS, DIGIT, DIGIT > 3),
        ((DIGITS, DIGIT), (DIGITS[:9], DIGIT[:9], np.arange(9))),
        Indexed(),
        NoisyIndexed(),
    ],
    ids=["range", "order", "list", "tensor", "flags", "second", "dataset", "stream"],
)
def test_an_index_is_no_weight(result):
    with pytest.raises(DataError, match="would be the samples' weights, and it holds") as caught:
        raw_of(result)
    assert '"weight": weight}' in caught.value.hint and "(x, y)" in caught.value.hint


def test_both_remedies_for_a_third_work():
    weight = np.arange(1797) % 3 + 1
    raw = raw_of({"x": DIGITS, "labels": DIGIT, "weight": weight})
    np.testing.assert_array_equal(raw.weight, weight)
    assert "weights from 1 to 3" in describe(raw, own_data(), (359,), 0)
    assert raw_of((DIGITS, DIGIT, weight / 2)).weight is not None
    raw = raw_of({"x": DIGITS, "labels": DIGIT, "index": np.arange(1797)})
    assert raw.weight is None and raw.x["index"].dtype == np.int64


# what validates


def parts_of(tmp_path, *ends):
    cuts = {"_train": slice(0, 300), "_test": slice(450, 569)}
    arrays = {}
    for end in ends:
        rows = cuts.get(end, slice(300, 450))
        arrays |= {f"x{end}": CANCER[rows], f"y{end}": BENIGN[rows]}
    return saved(tmp_path, **arrays)


@pytest.mark.parametrize("name", ["_val", "_valid", "_validation", "_dev"])
def test_a_validation_part_of_an_archive_validates(tmp_path, name):
    path = parts_of(tmp_path, "_train", name, "_test")
    own = npz_data(path, validation=None)
    raw = read(own)
    assert find_validation(raw, own) == "source"
    own["validation"] = "source"
    assert read(own) is raw  # Read once, whichever way it is asked for.
    assert len(split(raw, own, None).validation) == 150
    assert len(split(raw, {**own, "test": "source"}, None).test) == 119
    told = describe(raw, own, (150,), 0)
    assert f"validation: its own part (x{name}), 150 samples" in told
    assert "x_test (119) is held back: test: source takes it" in told
    # With a share it is what it was: neither read nor part of the hash.
    share = read(npz_data(path))
    assert share.data_hash == read(npz_data(parts_of(tmp_path, "_train", "_test"))).data_hash
    assert share.data_hash != raw.data_hash and share.names == ("x_test",)
    told = describe(share, {**own, "validation": 0.2}, (30,), 0)
    assert f"x{name} is not used: validation: source takes it" in told
    assert told.endswith("x_test (119) is held back: test: source takes it")


def test_a_test_part_is_not_looked_at(tmp_path):
    own = npz_data(parts_of(tmp_path, "_train", "_test"), validation=None)
    raw = read(own)
    assert find_validation(raw, own) == 0.2
    told = describe(raw, {**own, "validation": 0.2}, (60,), 0)
    assert "validation: a share of 0.2, 60 samples; x_test (119) is held back" in told
    with pytest.raises(DataError, match="which is the validation part"):
        read(npz_data(parts_of(tmp_path, "_train", "_val", "_dev"), validation=None))
    with pytest.raises(DataError, match="y_val missing"):
        read(npz_data(saved(tmp_path, x=CANCER, y=BENIGN, x_val=CANCER), validation=None))


def test_a_second_part_that_is_asked_for_as_the_test_does_not_validate():
    two, three = ((CANCER, BENIGN),) * 2, ((CANCER, BENIGN),) * 3
    for result, test, expected in (
        (two, None, "source"),
        (two, "source", 0.2),
        (two, 0.1, "source"),
        (three, "source", "source"),
        ((CANCER, BENIGN), None, 0.2),
    ):
        own = own_data(validation=None, test=test)
        assert find_validation(raw_of(result, validation=None, test=test), own) == expected
    for asked in ({"folds": 3}, 0.3, "source"):
        assert find_validation(raw_of(two), own_data(validation=asked)) == asked


LOAD = """
import numpy as np
from sklearn.datasets import load_breast_cancer

x, y = load_breast_cancer(return_X_y=True)
x = (x - x.mean(0)) / x.std(0)


def two():
    # The second part's classes are turned round: only what is measured on it is that bad.
    return (x[:400], y[:400]), (x[400:], 1 - y[400:])


def one():
    return x, y
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "made.py").write_text(LOAD)
    (tmp_path / "s.yaml").write_text(
        "data: {class_path: made.two}\nmodel: logistic\ntrain: {budget: 3ep, lr: 0.1}\n"
        "search: {lr: [0.1, 0.2]}\n"
    )
    return tmp_path


ALLOWED = ("--allow-import", "made")


def test_a_user_s_own_part_validates_and_is_said_everywhere(here):
    said = lrsearch("check", "s.yaml", *ALLOWED)
    assert "the data's own validation part if they bring one, else a share of 0.2" in " ".join(
        said.out.split()
    )
    sentence = "validation: its own part (the second returned), 169 samples"
    said = lrsearch("grid", "s.yaml", *INLINE, *ALLOWED, "--json")
    assert said.code == 0 and sentence in said.err, said
    found = json.loads(said.out)
    assert sentence in found["data"] and found["best"]["objective"] < 0.2
    assert sentence in " ".join(lrsearch("report", "s.yaml").out.split())
    assert json.loads(lrsearch("report", "s.yaml", "--json").out)["data"] == found["data"]
    again = lrsearch("grid", "s.yaml", *INLINE, *ALLOWED, "--json")
    assert [each["number"] for each in json.loads(again.out)["trials"]] == [1, 2]
    assert "validation: source" in lrsearch("export", "s.yaml").out
    shared = lrsearch(
        "grid", "s.yaml", *INLINE, *ALLOWED, "--json", "--set", "data.validation=0.2", "--fresh"
    )
    found = json.loads(shared.out)
    assert found["best"]["objective"] > 0.9
    assert "the second returned (169) is not used: validation: source takes it" in found["data"]
    refused = lrsearch("grid", "s.yaml", *INLINE, *ALLOWED)
    assert refused.code == 2, refused
    assert "write validation: 0.2 under data to go on with them" in refused.err


def test_runs_of_before_open_as_they_were_and_others_keep_their_keys(here):
    (here / "s.yaml").write_text((here / "s.yaml").read_text().replace("made.two", "made.one"))
    spec = read_spec(here / "s.yaml")
    assert spec.data["validation"] is None
    usual = settle_data(spec, {})
    assert usual.data["validation"] == 0.2
    shared = read_spec(here / "s.yaml", ("data.validation=0.2",))
    content = {"data": "", "source": {}}
    point = {"lr": 0.1}
    keys = {
        trial_key(resolve(each, point, "classification"), content, 0, None)
        for each in (usual, settle_data(spec, {"validation": 0.2}), shared)
    }
    assert len(keys) == 1
    other = settle_data(spec, {"validation": "source"})
    assert trial_key(resolve(other, point, "classification"), content, 0, None) not in keys
    assert lrsearch("grid", "s.yaml", *INLINE, *ALLOWED).code == 0
    forget_facts(here / "runs" / "s" / "journal.jsonl", "settled", "data")
    said = lrsearch("report", "s.yaml", "--json")
    found = json.loads(said.out)
    assert said.code == 0 and len(found["points"]) == 2 and found["data"] is None
    assert re.search("^data ", lrsearch("report", "s.yaml").out, re.MULTILINE) is None
    for more in ((), ("--set", "data.validation=0.2")):
        said = lrsearch("grid", "s.yaml", *INLINE, *ALLOWED, "--json", *more)
        assert [each["number"] for each in json.loads(said.out)["trials"]] == [1, 2]


def forget_facts(journal, *names):
    """Make a journal one of before its sessions had these facts."""
    lines = []
    for number, line in enumerate(journal.read_text().splitlines(), 1):
        whole = json.loads(line)
        for name in names:
            whole.get("facts", {}).pop(name, None)
        rest = {key: each for key, each in whole.items() if key not in ("n", "crc")}
        text = json.dumps(rest, separators=(",", ":"), ensure_ascii=False)[1:]
        lines.append(f'{{"n":{number},"crc":"{zlib.crc32(f"{number},{text}".encode()):08x}",{text}')
    journal.write_text("\n".join(lines) + "\n")


# images and sequences


NETS = """
import numpy as np
import torch

rng = np.random.default_rng(0)
x = rng.normal(size=(200, 12, 3))
y = x[:, -1, 0] * 2


def sequences(kind="array"):
    return (torch.from_numpy(x), torch.from_numpy(y)) if kind == "tensor" else (x, y)


def pictures():
    return x.astype("float32"), (x[:, 0, 0] > 0).astype(int)


class Lstm(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn, self.head = torch.nn.LSTM(3, 8, batch_first=True), torch.nn.Linear(8, 1)

    def forward(self, x):
        assert x.dim() == 3, "a sequence is needed"
        return self.head(self.rnn(x)[0][:, -1])


class Cnn(torch.nn.Module):
    def __init__(self, in_channels, num_classes):
        super().__init__()
        self.net = torch.nn.Sequential(
            torch.nn.Conv2d(in_channels, 4, 3, padding=1), torch.nn.AdaptiveAvgPool2d(2),
            torch.nn.Flatten(), torch.nn.Linear(16, num_classes),
        )
        assert in_channels == 1, "one channel is needed"

    def forward(self, x):
        return self.net(x)


class Nothing(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.head = torch.nn.Linear(5, 1)

    def forward(self, x):
        return self.head(x)
"""


def train_spec(data, model):
    return {
        "name": "s", "data": data, "model": model, "train": {"budget": "2ep", "lr": 0.01},
    }  # fmt: skip


@pytest.mark.parametrize("source", ["array", "tensor", "npz", "npz told"])
def test_sequences_train(tmp_path, monkeypatch, source):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nets.py").write_text(NETS)
    data = {"class_path": "nets.sequences", "init_args": {"kind": source}}
    if source.startswith("npz"):
        x = np.random.default_rng(0).normal(size=(200, 12, 3))
        data = {"name": "npz", "source": saved(tmp_path, x=x, y=x[:, -1, 0]).name}
    if source == "npz told":
        data["images"] = False
    doc = train_spec({**data, "standardize": True}, {"class_path": "nets.Lstm"})
    (tmp_path / "s.yaml").write_text(json.dumps(doc))
    said = lrsearch("grid", "s.yaml", *INLINE, "--allow-import", "nets", "--json")
    assert said.code == 0, said
    assert "200 samples of shape (12, 3), regression" in json.loads(said.out)["data"]


@pytest.mark.parametrize("model", ["cnn", "resnet", "nets.Cnn"])
@pytest.mark.parametrize("source", ["function", "npz", "npz told"])
def test_images_without_a_channel_train(tmp_path, monkeypatch, source, model):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nets.py").write_text(NETS)
    data = {"class_path": "nets.pictures"}
    if source.startswith("npz"):
        x = DIGITS.reshape(-1, 8, 8)[:200] / 16
        data = {"name": "npz", "source": saved(tmp_path, x=x, y=DIGIT[:200] % 2).name}
    if source == "npz told":
        data["images"] = True
    net = {"class_path": model} if "." in model else {"name": model}
    (tmp_path / "s.yaml").write_text(json.dumps(train_spec(data, net)))
    said = lrsearch("grid", "s.yaml", *INLINE, "--allow-import", "nets", "--json")
    assert said.code == 0, said
    assert "200 samples of shape (1, " in json.loads(said.out)["data"]


def test_a_model_that_takes_neither_is_told_of_both(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nets.py").write_text(NETS)
    for data, told in (
        ({"class_path": "nets.sequences"}, "for images of one channel write images: true"),
        ({"class_path": "nets.sequences", "images": True}, "for sequences write images: false"),
    ):
        doc = train_spec(data, {"class_path": "nets.Nothing"})
        (tmp_path / "s.yaml").write_text(json.dumps(doc))
        said = lrsearch("grid", "s.yaml", *INLINE, "--allow-import", "nets")
        assert said.code == 2 and told in " ".join(said.err.split()), said


@pytest.mark.parametrize(
    ("source", "layer"),
    [("npz", "LSTM(8, 8, batch_first=True)"), ("function", "Conv1d(8, 10, 3)")],
)
def test_bytes_that_a_model_takes_for_sequences_are_told_of(tmp_path, monkeypatch, source, layer):
    monkeypatch.chdir(tmp_path)
    x = (DIGITS.reshape(-1, 8, 8) * 16).astype(np.uint8)
    np.savez(tmp_path / "d.npz", x=x, y=DIGIT)
    (tmp_path / "nets.py").write_text(
        f"""
import numpy as np
from torch import nn

def load():
    return tuple(np.load("d.npz").values())

class Net(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.layer, self.head = nn.{layer}, nn.LazyLinear(num_classes)

    def forward(self, x):
        out = self.layer(x)
        return self.head((out[0] if isinstance(out, tuple) else out).flatten(1))
""".replace(
            "nn.LazyLinear(num_classes)", f"nn.Linear({64 if 'LSTM' in layer else 60}, num_classes)"
        )
    )
    data = {"name": "npz", "source": "d.npz"} if source == "npz" else {"class_path": "nets.load"}
    for images, code in ((None, 2), (False, 0)):
        doc = train_spec({**data, "images": images}, {"class_path": "nets.Net"})
        (tmp_path / "s.yaml").write_text(json.dumps(doc))
        said = lrsearch("check", "s.yaml", "--deep", "--allow-import", "nets")
        assert said.code == code, said
        assert ("write images: false under data" in " ".join(said.err.split())) is (code == 2)


def test_sequences_are_standardized_by_feature():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(100, 12, 3)) * [1, 10, 100] + [5, 0, -7]
    raw = raw_of((x, np.arange(100) % 2))
    train = split(raw, own_data(standardize=True), None).train.x
    assert train.shape == (80, 12, 3)
    np.testing.assert_allclose(train.mean((0, 1)), 0, atol=1e-5)
    np.testing.assert_allclose(train.std((0, 1)), 1, atol=1e-5)


def test_sequences_of_before_were_images():
    result = (DIGITS.reshape(-1, 8, 8), DIGIT)
    older = {key: each for key, each in own_data().items() if key != "images"}
    stored = fill_config({**config(), "data": older})
    assert load(stored["data"], resolver=lambda _: lambda: result).x.shape[1:] == (1, 8, 8)
    assert identity(stored) == identity({**config(), "data": older})
    assert "images" not in fill_config(config())["data"]


def test_what_was_left_open_is_read_once(tmp_path):
    calls = []

    def made():
        calls.append(None)
        return DIGITS.reshape(-1, 8, 8), DIGIT

    own = own_data(images=None, validation=None)
    raw = load(own, resolver=lambda _: made)
    assert raw.images is False and raw.x.ndim == 3
    settled = {**own, "images": False, "validation": 0.2}
    assert load(settled, resolver=lambda _: made) is raw and len(calls) == 1
    assert load({**settled, "images": True}, resolver=lambda _: made).x.shape[1:] == (1, 8, 8)
    own = npz_data(saved(tmp_path, x=DIGITS.reshape(-1, 8, 8), y=DIGIT), validation=None)
    raw = read(own)
    assert raw.images is True and read({**own, "images": True, "validation": 0.2}) is raw


def test_bytes_are_images_unless_told_not_to(tmp_path):
    x = np.random.default_rng(0).integers(0, 256, (20, 6, 5), dtype=np.uint8)
    for load_it in (
        lambda images: raw_of((x, np.arange(20) % 2), images=images),
        lambda images: read(npz_data(saved(tmp_path, x=x, y=np.arange(20) % 2), images=images)),
    ):
        assert load_it(None).x.shape == load_it(True).x.shape == (20, 1, 6, 5)
        assert load_it(None).x.max() == 1.0
        assert load_it(False).x.shape == (20, 6, 5) and load_it(False).x.max() > 1
        assert load_it(None).data_hash == load_it(True).data_hash != load_it(False).data_hash


def test_the_sentence_is_the_same_for_every_source(tmp_path):
    x, y = load_iris(return_X_y=True)
    built_in = facts(config(source="iris")).data
    archived = {**config(), "data": npz_data(saved(tmp_path, x=x, y=y))}
    assert facts(archived).data == built_in
    assert built_in == (
        "150 samples of shape (4,), 3 classes (0, 1, 2); validation: a share of 0.2, 30 samples"
    )
    raw = raw_of((x, y))
    assert describe(raw, own_data(), (30,), 0) == built_in
    folds = describe(raw, own_data(validation={"folds": 4}), (37, 37, 38, 38), 0)
    assert folds.endswith("validation: 4 folds of 37 or 38 samples")
    tested = describe(raw, own_data(test=0.1), (30,), 15)
    assert tested.endswith("a share of 0.2, 30 samples; test: a share of 0.1, 15 samples")


def test_errors_of_models_are_still_theirs(tmp_path):
    own = config({"class_path": "torch.nn.Flatten", "init_args": {}})
    with pytest.raises(ModelError, match="no parameters"):
        facts(own)


# of all that a search tries, and of what a run began with


WAYS = """
import importlib
import numpy as np
import torch

x = np.random.default_rng(0).normal(size=(200, 8, 8)).astype("float32")


def pictures():
    return x, (x[:, 0, 0] > 0).astype(int)


def helped():
    return importlib.import_module("helper_x").get()


def measured():
    return x[:, 0, :5], x[:, 0, 0] * 2


def likelihood(outputs, y):
    return torch.nn.functional.gaussian_nll_loss(outputs[:, :1], y, outputs[:, 1:].exp())


def masked():
    return x[:, 0], (x[:, 0, 0] > 0).astype(int), x[:, 0, 1] > 0


class Conv(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.net = torch.nn.Sequential(
            torch.nn.Conv2d(1, 4, 3), torch.nn.Flatten(), torch.nn.Linear(144, 2)
        )

    def forward(self, x):
        return self.net(x)


class Lstm(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn, self.head = torch.nn.LSTM(8, 8, batch_first=True), torch.nn.Linear(8, 2)

    def forward(self, x):
        return self.head(self.rnn(x)[0][:, -1])


class Wide(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.head = torch.nn.Linear(5, 2)

    def forward(self, x):
        return self.head(x)


def step(model, batch):
    return torch.nn.functional.cross_entropy(model(batch[0]), batch[1])
"""


@pytest.fixture
def ways(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ways.py").write_text(WAYS)

    def search(models, *more, function="pictures", **train):
        models = [{"class_path": each} if "." in each else {"name": each} for each in models]
        doc = {
            "name": "s", "data": {"class_path": f"ways.{function}"}, "search": {"model": models},
            "train": {"budget": "1ep", "lr": 0.01, **train},
        }  # fmt: skip
        (tmp_path / "s.yaml").write_text(json.dumps(doc))
        said = lrsearch("grid", "s.yaml", *INLINE, "--allow-import", "ways", "--json", *more)
        return said, " ".join(said.err.split())

    return search


@pytest.mark.parametrize("models", [["mlp", "cnn"], ["cnn", "mlp"], ["mlp", "ways.Conv"]])
def test_images_follow_all_options_and_go_on_holding(ways, models):
    said, told = ways(models)
    assert said.code == 0 and "200 samples of shape (1, 8, 8)" in told, said
    said, told = ways(["mlp"])
    assert said.code == 0 and "images: true under data is what this run began with" in told, said
    assert {each["number"] for each in json.loads(said.out)["trials"]} <= {1, 2}
    said, told = ways(["mlp"], "--set", "data.images=false")
    assert said.code == 2 and "data.images: true stored, false in the spec" in told, said


def test_options_that_take_samples_in_no_common_way_are_named(ways):
    said, told = ways(["ways.Lstm", "mlp", "cnn"])
    assert said.code == 2 and "cnn takes samples of two dimensions with a channel axis" in told
    assert "ways.Lstm without one alone" in told and "images: true" in told


@pytest.mark.parametrize(("model", "shape"), [("Conv", "(1, 8, 8)"), ("Lstm", "(8, 8)")])
def test_a_step_is_tried_both_ways(ways, model, shape):
    said, told = ways([f"ways.{model}"], step="ways.step")
    assert said.code == 0 and f"200 samples of shape {shape}" in told, said


def test_a_step_that_takes_neither_is_told_of_images(ways):
    said, told = ways(["ways.Wide"], step="ways.step")
    assert said.code == 2 and "for images of one channel write images: true" in told, said


def test_a_module_beside_imported_at_run_time_is_named_with_its_option(ways, tmp_path):
    text = WAYS[: WAYS.index("def helped")] + "\n\ndef get():\n    return pictures()\n"
    (tmp_path / "helper_x.py").write_text(text)
    said, told = ways(["mlp"], function="helped")
    assert said.code == 2 and "--allow-import helper_x" in told, said
    assert ways(["mlp"], "--allow-import", "helper_x", function="helped")[0].code == 0
    (tmp_path / "helper_x.py").unlink()
    told = ways(["mlp"], "--fresh", function="helped")[1]
    assert "No module named 'helper_x'" in told and "--allow-import helper_x" not in told


def test_a_mask_in_the_place_of_weights_is_told_both_ways(ways):
    told = ways(["mlp"], function="masked")[1]
    assert '(x, y, weight.astype("float32"))' in told and '"labels": y, "weight": weight' in told


def test_a_regression_s_outputs_of_another_width_are_told_of_before_training(ways):
    said, told = ways(["ways.Wide"], function="measured", loss="ways.likelihood")
    assert said.code == 2 and "gives [2, 2] for 2 samples; [2, 1] is needed" in told, said
    assert "metrics of a regression need that shape; for a loss that takes other outputs" in told
