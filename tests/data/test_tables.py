"""Tables in CSV and Parquet files: what they become, what splits learn of them, what is wrong."""

import csv
import json
import re
import shutil
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from devices import DEVICE
from sklearn.datasets import load_wine
from typer.testing import CliRunner

from lrsearch.cli import app
from lrsearch.data.delimited import read_csv
from lrsearch.data.sources import load
from lrsearch.data.splitting import folds, split
from lrsearch.data.tables import Gap, check_gaps
from lrsearch.errors import DataError, SpecError
from lrsearch.spec import read_spec
from lrsearch.spec.model import identity
from lrsearch.store import read as read_run

RNG = np.random.default_rng(0)


def config(source, **given):
    """A resolved `data` of a table."""
    parquet = str(source).endswith(".parquet")
    own = {"name": "parquet" if parquet else "csv", "source": str(source), "target": "y"}
    own |= {"task": None, "drop": [], "categorical": [], "samples": None}
    own |= {} if parquet else {"separator": ","}
    own |= {"validation": 0.25, "test": None, "standardize": True, "split_seed": 0}
    return {**own, **given}


def raw_of(source, **given):
    return load(config(source, **given), resolver=lambda path: None)


def write(path, rows, **options):
    with Path(path).open("w", newline="") as file:
        csv.writer(file, **options).writerows(rows)
    return path


def columns(samples=40):
    """Two columns of numbers of different size, two of text, and classes."""
    return {
        "height": RNG.normal(170, 10, samples).tolist(),
        "sex": ["f" if row % 3 else "m" for row in range(samples)],
        "income": RNG.normal(5e4, 2e4, samples).round(2).tolist(),
        "town": [("Aix", "Bonn", "Cork", "Delft")[row % 4] for row in range(samples)],
        "y": ["yes" if row % 2 else "no" for row in range(samples)],
    }


def as_rows(table):
    return [list(table), *map(list, zip(*table.values(), strict=True))]


@pytest.fixture
def mixed(tmp_path):
    return write(tmp_path / "mixed.csv", as_rows(columns()))


# what a table becomes


def test_a_mixed_table_has_numbers_first_and_then_a_feature_a_category(tmp_path):
    table = columns()
    raw = raw_of(write(tmp_path / "a.csv", as_rows(table)))
    assert (raw.task, raw.labels, raw.outputs) == ("classification", ("no", "yes"), 2)
    assert raw.y.tolist() == [value == "yes" for value in table["y"]]
    expected = np.column_stack(
        [table["height"], table["income"]]
        + [np.equal(table["sex"], each) for each in ("f", "m")]
        + [np.equal(table["town"], each) for each in ("Aix", "Bonn", "Cork", "Delft")]
    )
    np.testing.assert_allclose(raw.x, expected, rtol=1e-6)
    assert raw.x.dtype == np.float32


@pytest.mark.parametrize(
    ("cells", "task", "found", "outputs"),
    [
        (["a", "b"], None, "classification", 2),
        (["1", "2"], None, "classification", 2),
        (["10", "9"], None, "classification", 2),
        (["1.0", "2"], None, "regression", 1),
        (["1e3", "2"], None, "regression", 1),
        (["1", "2"], "regression", "regression", 1),
        (["1.5", "2.5"], "classification", "classification", 2),
        (["-1", "+1"], None, "classification", 2),
        (["True", "False"], None, "classification", 2),
    ],
)
def test_the_target_says_the_task(tmp_path, cells, task, found, outputs):
    rows = [["x", "y"], *([str(row / 7), cells[row % 2]] for row in range(12))]
    raw = raw_of(write(tmp_path / "a.csv", rows), task=task)
    assert (raw.task, raw.outputs) == (found, outputs)
    if found == "regression":
        assert raw.y[:2, 0].tolist() == [float(cell) for cell in cells]
    elif cells[0].lstrip("+-").isdigit():  # whole numbers are in the order of their size
        assert [int(label) for label in raw.labels] == sorted(map(int, cells))


@pytest.mark.parametrize(
    ("cell", "told"),
    [
        (lambda row: f"u{row:02d}x", "of which nothing is learnt: drop: [k] leaves it out"),
        (lambda row: f"${row}.50", "such as '$0.50': write numbers in the file (plain ones)"),
        (lambda row: f"\u2212{row}.5", "write numbers in the file (plain ones)"),
        (lambda row: f"2024-01-{row + 1:02d}", "(dates, such as days since the first)"),
        (lambda row: f"0{row // 3}/03/2021 12:30", "'k' is dates, taken as 4 categories, such as"),
        (lambda row: f"2021-03-0{row // 4}T10:00:00Z", "or drop: [k] leaves it out"),
        (lambda row: 7 + row, "column 'k' counts the rows: drop: [k] leaves it out"),
        (lambda row: 7 + row * 5 % 12, "counts the rows, in another order: drop: [k]"),
        (lambda row: "abc"[row % 3], ""),
        (lambda row: row % 2, ""),
        (lambda row: row * 1.5, ""),
    ],
)
def test_columns_that_tell_rows_apart_are_noted(tmp_path, cell, told):
    rows = [["k", "y"], *([str(cell(row)), "ab"[row % 2]] for row in range(12))]
    notes = raw_of(write(tmp_path / "a.csv", rows)).notes[1:]
    assert [told in note for note in notes] == [True] if told else not notes


def test_a_mark_of_gaps_among_numbers_is_noted(tmp_path):
    rows = [["k", "y"], *(["?" if row % 5 == 0 else row / 7, "ab"[row % 2]] for row in range(20))]
    note = raw_of(write(tmp_path / "a.csv", rows)).notes[-1]
    assert "'k' is a number in 16 of 20 rows and text in others, such as '?': all are" in note
    assert len(raw_of(tmp_path / "a.csv", categorical=["k"]).notes) == 2


def test_classes_that_differ_in_capital_letters_are_noted(tmp_path):
    rows = [["x", "y"], *([row * 1.5, ("yes", "Yes", "no")[row % 3]] for row in range(12))]
    assert "capital letters alone: Yes, yes" in raw_of(write(tmp_path / "a.csv", rows)).notes[-1]


def test_many_classes_of_whole_numbers_are_noted(tmp_path):
    rows = [["x", "y"], *([row * 2, row // 2] for row in range(60))]
    path = write(tmp_path / "a.csv", rows)
    assert (
        "taken as 30 classes: for a quantity write task: regression under data"
        in raw_of(path).notes[-1]
    )
    assert all(len(raw_of(path, task=task).notes) == 1 for task in ("classification", "regression"))


def test_drop_categorical_and_samples(mixed, tmp_path):
    whole = raw_of(mixed)
    left = raw_of(mixed, drop=["height", "town"])
    np.testing.assert_array_equal(left.x, whole.x[:, 1:4])
    cut = raw_of(mixed, samples=10)
    np.testing.assert_array_equal(cut.x, whole.x[:10])
    assert cut.data_hash == whole.data_hash != left.data_hash
    splits = split(cut, config(mixed), None)
    assert len(splits.train.x) + len(splits.validation.x) == 10
    rows = [["zip", "y"], *([f"0{row % 3}", row % 2] for row in range(12))]
    numbers = raw_of(write(tmp_path / "zip.csv", rows))
    assert numbers.x.shape == (12, 1)
    forced = raw_of(tmp_path / "zip.csv", categorical=["zip"])
    assert forced.x.shape == (12, 3) and forced.table.categories == (("00", "01", "02"),)


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_line_endings_marks_and_quotes_do_not_matter(tmp_path, mixed, ending, mark):
    rows = as_rows(columns())
    rows[1][3] = 'Aix, "les\nBains"'
    path = write(tmp_path / "b.csv", rows, lineterminator=ending)
    path.write_bytes(mark + path.read_bytes() + ending.encode() * 2)
    raw = raw_of(path)
    assert len(raw.x) == 40
    assert raw.table.names == (("height", "income"), ("sex", "town"), "y")
    assert 'Aix, "les\nBains"' in raw.table.categories[1]


def test_another_separator_and_blanks_around_cells(tmp_path):
    rows = [["x", "town", "y"], *([row, ("Aix", "Bonn")[row % 2], row % 2] for row in range(8))]
    plain = raw_of(write(tmp_path / "a.csv", rows))
    for mark in (";", "\t", "|"):
        spaced = [[f"  {cell} " for cell in row] for row in rows]
        write(tmp_path / "b.csv", spaced, delimiter=mark)
        other = raw_of(tmp_path / "b.csv", separator=mark)
        assert other.data_hash == plain.data_hash


def test_the_hash_is_of_the_content(tmp_path):
    rows = as_rows(columns())
    one = raw_of(write(tmp_path / "a.csv", rows)).data_hash
    assert raw_of(write(tmp_path / "b.csv", rows, quoting=csv.QUOTE_ALL)).data_hash == one
    seen = {one}
    for place, value in (((3, 0), 171.0), ((3, 3), "Essen"), ((3, 4), "yes"), ((0, 1), "gender")):
        changed = [list(row) for row in rows]
        assert changed[place[0]][place[1]] != value
        changed[place[0]][place[1]] = value
        seen.add(raw_of(write(tmp_path / "c.csv", changed)).data_hash)
    assert len(seen) == 5


def test_large_numbers_keep_their_differences(tmp_path):
    """Seconds since 1970 differ by less than float32 can tell, until they are standardized."""
    rows = [["seconds", "y"], *([1_700_000_000 + row, row % 2] for row in range(40))]
    train = split(raw_of(write(tmp_path / "a.csv", rows)), config("a.csv"), None).train.x
    assert len(np.unique(train)) == len(train)


def test_files_longer_than_a_chunk(tmp_path):
    """Text may begin late: what a column is, its rows all say."""
    count = 45_000
    rows = [["x", "code", "y"]]
    rows += ([row, row % 5 if row < 21_000 else f"c{row % 7}", row % 2] for row in range(count))
    raw = raw_of(write(tmp_path / "a.csv", rows))
    assert raw.x.shape == (count, 13) and raw.x[:, 0].tolist() == list(range(count))
    assert (raw.x[:, 1:].sum(axis=1) == 1).all()
    assert raw.table.categories[0][:6] == ("0", "1", "2", "3", "4", "c0")


# splits


def test_every_fold_learns_from_its_own_training_split(tmp_path):
    table = columns(60)
    path = write(tmp_path / "a.csv", as_rows(table))
    own = config(path, validation={"folds": 4}, test=0.1)
    raw = raw_of(path)
    plain = {"height": raw.x[:, 0], "income": raw.x[:, 1]}
    seen = []
    for fold in folds(own):
        splits = split(raw, own, fold)
        assert {part.x.shape[1] for part in (splits.train, splits.validation, splits.test)} == {8}
        x = splits.train.x
        np.testing.assert_allclose(x[:, :2].mean(axis=0), 0, atol=1e-5)
        np.testing.assert_allclose(x[:, :2].std(axis=0), 1, rtol=1e-4)
        assert set(np.unique(x[:, 2:])) == {0.0, 1.0}
        # Which rows trained, told by the one-to-one order of heights.
        unscaled = split(raw, {**own, "standardize": False}, fold)
        mean = unscaled.train.x[:, 0].mean(dtype=np.float64)
        deviation = unscaled.train.x[:, 0].std(dtype=np.float64)
        for scaled, bare in zip(
            (splits.validation, splits.test), (unscaled.validation, unscaled.test), strict=True
        ):
            expected = (bare.x[:, 0] - mean) / deviation
            np.testing.assert_allclose(scaled.x[:, 0], expected, atol=1e-4)
            assert np.isin(bare.x[:, 0], plain["height"]).all()
        seen.append(mean)
    assert len(set(seen)) == 4


def test_validation_and_test_rows_change_nothing_that_is_learnt(tmp_path):
    table = columns(60)
    path = write(tmp_path / "a.csv", as_rows(table))
    own = config(path, test=0.2)
    raw = raw_of(path)
    before = split(raw, own, None)
    heights = np.array(table["height"], np.float32)
    trained = np.isin(heights, split(raw, {**own, "standardize": False}, None).train.x[:, 0])
    poisoned = {key: list(cells) for key, cells in table.items()}
    for row in np.flatnonzero(~trained):
        poisoned["height"][row] = 1e9
        poisoned["income"][row] = -1e9
    write(path, as_rows(poisoned))
    after = split(raw_of(path), own, None)
    np.testing.assert_array_equal(after.train.x, before.train.x)
    assert (after.validation.x[:, 0] > 1e6).all() and (after.test.x[:, 1] < -1e3).all()


def test_a_category_of_the_validation_split_alone_is_all_zeros(tmp_path):
    table = columns(40)
    table["town"][7] = "Essen"
    path = write(tmp_path / "a.csv", as_rows(table))
    raw = raw_of(path)
    own = config(path, validation={"folds": 4})
    widths, zeros, ones = set(), 0, 0
    for fold in folds(own):
        splits = split(raw, own, fold)
        widths.add(splits.train.x.shape[1])
        towns = slice(4, 9)
        ones += int(splits.train.x[:, 8].sum())
        zeros += int((splits.validation.x[:, towns].sum(axis=1) == 0).sum())
        assert (splits.train.x[:, towns].sum(axis=1) == 1).all()
        assert splits.validation.x[:, 8].sum() == 0
    assert (widths, zeros, ones) == ({9}, 1, 3)


def test_a_constant_column_is_centred_and_noted(tmp_path):
    rows = [["x", "same", "one", "y"], *([row * 2, 0.1, "a", row % 2] for row in range(12))]
    ids = [["x", "id", "y"], *([row * 2, 2**62 + row * 7, row % 2] for row in range(12))]
    (note,) = raw_of(write(tmp_path / "b.csv", ids)).notes[1:]
    assert note == "column 'id' holds numbers from 2**53 on: whole ones are not told apart"
    raw = raw_of(write(tmp_path / "a.csv", rows))
    assert raw.notes == (
        "12 rows: 'y' (2 classes) from 2 columns of numbers, 'one' (1 category)",
        "column 'same' is the same in every row (0.1)",
        "column 'one' is the same in every row (a)",
    )
    train = split(raw, config("a.csv"), None).train.x
    np.testing.assert_allclose(train[:, 1:], [[0, 1]] * len(train), atol=1e-7)
    huge = [["x", "same", "y"], *([row * 2, 10**30, row % 2] for row in range(12))]
    train = split(raw_of(write(tmp_path / "c.csv", huge)), config("c.csv"), None).train.x
    assert not train[:, 1].any()  # Its mean is rounded by some 1e14.


def test_regression_targets_are_scaled_as_elsewhere(tmp_path):
    rows = [["x", "y"], *([row, 1000.5 + 3 * row] for row in range(40))]
    splits = split(raw_of(write(tmp_path / "a.csv", rows)), config("a.csv"), None)
    assert splits.train.y.mean() == pytest.approx(0, abs=1e-6)
    assert splits.train.y.std() == pytest.approx(1, rel=1e-5)
    assert splits.target_scale[0] == pytest.approx(3 * 11.5, rel=0.2)


# training


def wine(path):
    data = load_wine()
    head = [*data.feature_names, "strong", "grower"]
    strong = np.where(data.data[:, 0] > 13, "strong", "light")
    rows = zip(data.data, strong, data.target, strict=True)
    return write(path, [head, *([*x, text, f"grower {y}"] for x, text, y in rows)])


SPEC = """\
name: table
data: {name: csv, source: wine.csv, target: grower}
model: logistic
train: {budget: 5ep, batch_size: 16}
search: {lr: [0.03, 0.1]}
"""


class Said:
    def __init__(self, code, out, err):
        self.code, self.out, self.err = code, out, err
        assert "Traceback" not in out + err

    def __repr__(self):
        return f"exit {self.code}\n{self.out}\n{self.err}"


def lrsearch(*arguments, columns=100):
    done = CliRunner().invoke(
        app, [*map(str, arguments)], env={"COLUMNS": str(columns)}, catch_exceptions=False
    )
    return Said(done.exit_code, done.stdout, done.stderr)


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    wine(tmp_path / "wine.csv")
    (tmp_path / "table.yaml").write_text(SPEC)
    return tmp_path


INLINE = ("--executor", "inline", "--device", str(DEVICE))


def test_a_table_is_trained_and_fused_as_alone(here):
    found = {}
    for engine in ("solo", "fused"):
        said = lrsearch(
            "grid", "table.yaml", *INLINE, "--engine", engine, "--fresh", "--json",
            "--set", "objective=loss", "--set", "data.validation={folds: 3}",
        )  # fmt: skip
        assert said.code == 0, said
        trials = json.loads(said.out)["trials"]
        assert len(trials) == 6 and {trial["engine"] for trial in trials} == {engine}
        found[engine] = [trial["objective"] for trial in sorted(trials, key=lambda t: t["number"])]
        words = " ".join(said.err.split())
        assert "178 rows: 'grower' (3 classes) from 13 columns of numbers, 'strong' (2" in words
    np.testing.assert_allclose(found["fused"], found["solo"], rtol=1e-4)
    assert max(found["solo"]) < 0.5  # it has learnt: a guess is log(3)


def test_a_regression_on_a_table_is_trained(here):
    """Alcohol follows from the other measurements to a good part."""
    said = lrsearch(
        "grid", "table.yaml", *INLINE, "--json",
        "--set", "data.target=alcohol", "--set", "data.drop=[grower, strong]",
        "--set", "model={name: mlp, hidden: [16]}", "--set", "train.loss=mse",
        "--set", "objective=r2", "--set", "train.budget=20ep",
    )  # fmt: skip
    assert said.code == 0, said
    best = json.loads(said.out)["best"]
    assert 0.3 < best["objective"] < 1


def test_results_follow_the_content_and_not_the_path(here):
    def measured(*sets):
        arguments = [part for each in sets for part in ("--set", each)]
        said = lrsearch("grid", "table.yaml", *INLINE, *arguments)
        assert said.code == 0, said
        return len(read_run(here / "runs" / "table").results)

    assert measured() == 2
    (here / "elsewhere").mkdir()
    (here / "wine.csv").rename(here / "elsewhere" / "other.csv")
    source = "data.source=elsewhere/other.csv"
    assert measured(source) == 2
    text = (here / "elsewhere" / "other.csv").read_text()
    (here / "elsewhere" / "other.csv").write_text(text.replace("14.23", "14.24", 1))
    said = lrsearch("grid", "table.yaml", *INLINE, "--set", source)
    assert said.code == 2 and "data" in said.err
    assert lrsearch("grid", "table.yaml", *INLINE, "--set", source, "--fresh").code == 0


# what is wrong, through the command line

GOOD = [["id", "age", "town", "y"]] + [
    [row, 20 + row % 7, ("Aix", "Bonn")[row % 2], ("no", "yes")[row % 2]] for row in range(30)
]


def edited(*edits, rows=GOOD):
    """Rows with some cells (row, column, value) replaced."""
    found = [list(row) for row in rows]
    for row, column, value in edits:
        found[row][column] = value
    return found


def text_of(rows, **options):
    lines = [",".join(map(str, row)) for row in rows]
    return "\n".join(lines) + "\n"


POINTS = (
    """sed -E -e ':a' -e 's/("[^",]*[0-9])\\.([0-9]{3}[.,])/\\1\\2/' -e 'ta' """
    """-e 's/("[^",]*[0-9]),([0-9])/\\1.\\2/' -e 'ta' OLD > NEW"""
)

BAD = {
    "several faults": (
        "x,z,y\n1,,0\n2\n3,5,1\n" + "4,inf,1\n" * 9 + "x,z,y\n" + "5,1e99,0\n" * 9,
        "",
        "bad.csv:2: column 'z' has no value here: it is empty (the only such row) missing: drop "
        "under data leaves such rows out; or missing: mean fills gaps with the training part's "
        "mean; or drop: [z] leaves out the column bad.csv:3: this row has 1 cell, the header 3 "
        "cells give it the cells that it lacks, or take it out: sed 3d OLD > NEW bad.csv:14: "
        "column 'x' is a number in 20 of 21 rows, but here it reads 'x' bad.csv:14: column 'z' is "
        "a number in 19 of 21 rows, but here it reads 'z' bad.csv:14: column 'y' is a number in "
        "20 of 21 rows, but here it reads 'y' the names stand there again: take the line out: "
        "sed 14d OLD > NEW",
    ),
    "more rows than are told": (
        "x,y\n" + "1\n" * 30 + "1,0\n2,1\n" * 5,
        "",
        "bad.csv:11: this row has 1 cell, the header 2 cells give it the cells that it lacks, or "
        "take it out: sed 11d OLD > NEW and 20 more faults like these",
    ),
    "empty file": ("", "", "bad.csv: the file is empty"),
    "only blank lines": ("\n\n", "", "bad.csv: the file is empty"),
    "header only": ("id,age,y\n", "", "bad.csv: the table has columns, but no rows"),
    "one row": ("id,age,y\n1,2,a\n", "", "bad.csv: the table has one row only"),
    "no header": (
        "1,2,0\n3,4,1\n5,6,0\n",
        "",
        "bad.csv:1: the first line names the columns, but this one holds numbers: 1, 2, 0",
    ),
    "no header, with text": (
        "5.1,3.5,setosa\n4.9,3.0,other\n",
        "",
        "bad.csv:1: data.target names a column 'y' that is not there the first line has to name "
        "the columns; it reads: 5.1, 3.5, setosa",
    ),
    "another separator": (
        text_of(GOOD).replace(",", ";"),
        "",
        "not there the columns are not divided by ',': write separator: \";\"",
    ),
    "target": (
        text_of(GOOD),
        "data.target=Y1",
        "bad.csv:1: data.target names a column 'Y1' that is not there "
        "write target: y; its columns: id, age, town, y",
    ),
    "drop": (
        text_of(GOOD),
        "data.drop=[idd]",
        "data.drop names a column 'idd' that is not there write id; its",
    ),
    "categorical": (text_of(GOOD), "data.categorical=[twon]", "write town; its"),
    "all dropped": (text_of(GOOD), "data.drop=[id, age, town]", "no column is left to predict 'y'"),
    "column twice": (
        text_of(edited((0, 2, "age"))),
        "",
        "bad.csv:1: two columns are named 'age': the 2nd and the 3rd",
    ),
    "column without a name": (
        text_of(edited((0, 0, ""))),
        "",
        "bad.csv:1: the 1st column has no name row numbers?",
    ),
    "short row": (
        text_of([*GOOD[:5], [1, 2, "Aix"], *GOOD[5:]]),
        "",
        "bad.csv:6: this row has 3 cells, the header 4 cells",
    ),
    "long row": (
        text_of([*GOOD, [1, 2, "Aix", "no", ""]]),
        "",
        "bad.csv:32: this row has 5 cells, the header 4 cells a ',' too many at the end?",
    ),
    "row names": (
        text_of([*GOOD[:5], ["r5", *GOOD[5]], *GOOD[6:]]),
        "",
        "bad.csv:6: this row has 5 cells, the header 4 cells a cell that holds the separator needs "
        "double quotes around it, and a column of row numbers a name",
    ),
    "empty cells": (
        text_of(edited((4, 1, ""), (9, 1, ""), (6, 2, "NA"))),
        "",
        "bad.csv:5: column 'age' has no value here: it is empty (one of 2 such rows); others with "
        "missing values: 'town' (1) missing: drop under data leaves such rows out; or missing: "
        "mean fills gaps with the training part's mean; or drop: [age, town] leaves out the "
        "columns",
    ),
    "names that YAML would misread": (
        text_of(
            [["Größe in m²", "null", "y"], *([["", row][row > 0]] * 2 + [row] for row in range(30))]
        ),
        "",
        """bad.csv:2: column 'Größe in m²' has no value here: it is empty (the only such row); """
        """others with missing values: 'null' (1) missing: drop under data leaves such rows out; """
        """or missing: mean fills gaps with the training part's mean; """
        """or drop: ["Größe in m²", "null"] leaves out the columns""",
    ),
    "nan": (
        text_of(edited((4, 1, "NaN"))),
        "",
        "bad.csv:5: column 'age' has no value here: it reads 'NaN' (the only such row) "
        "missing: drop under data leaves such rows out; or missing: mean fills gaps with the "
        "training part's mean; or drop: [age] leaves out the column",
    ),
    "missing target": (
        text_of(edited((3, 3, ""))),
        "",
        "bad.csv:4: column 'y' has no value here: it is empty (the only such row) missing: "
        "drop under data leaves such rows out",
    ),
    "infinite": (
        text_of(edited((7, 1, "-inf"))),
        "",
        "bad.csv:8: column 'age' reads '-inf', which is no finite number",
    ),
    "too large": (
        text_of(edited((7, 1, "1e999"))),
        "",
        "bad.csv:8: column 'age' holds inf, which is not finite",
    ),
    "too large for float32": (
        text_of(edited((7, 1, "1e99"))),
        "",
        "bad.csv:8: column 'age' holds 1e+99, which is too large for float32",
    ),
    "text among numbers": (
        text_of(edited((11, 1, "unknown"))),
        "",
        "bad.csv:12: column 'age' is a number in 29 of 30 rows, but here it reads 'unknown' "
        "correct the cell",
    ),
    "decimal comma": (
        text_of(edited((11, 1, '"21,5"'))),
        "",
        "bad.csv:12: column 'age' is a number in 29 of 30 rows, but here it reads '21,5' numbers "
        "have a decimal point here",
    ),
    "decimal commas everywhere": (
        text_of([["x", "y"], *([f'"{row},5"', row % 2] for row in range(30))]),
        "",
        "bad.csv:2: column 'x' reads '0,5', which is no number numbers have a decimal point here, "
        f"and nothing between thousands: {POINTS}; if it is no slip, name it in categorical: [x]",
    ),
    "thousands in quotes": (
        text_of([["x", "y"], *([f'"1,{row:03d}"', row % 2] for row in range(30))]),
        "",
        "reads '1,000', which is no number numbers have a decimal point here, and nothing between "
        """thousands: sed -E -e ':a' -e 's/("[^",]*[0-9]),([0-9]{3})/\\1\\2/' -e 'ta' OLD""",
    ),
    "a target with decimal commas": (
        text_of([["x", "y"], *([row, f'"{row % 3},5"'] for row in range(30))]),
        "",
        "bad.csv:2: column 'y' reads '0,5', which is no number numbers have a decimal point here, "
        f"and nothing between thousands: {POINTS}; if it is no slip, write task: classification",
    ),
    "classes that floats cannot hold": (
        text_of([["x", "y"], *([row, 2**53 - 1 + row % 3] for row in range(30))]),
        "",
        "bad.csv:3: the target 'y' has classes that are whole numbers from 2**53 on",
    ),
    "one quantity": (
        text_of([["x", "y"], *([row, 1.5] for row in range(30))]),
        "",
        "bad.csv:2: the target 'y' holds nothing but 1.5",
    ),
    "one quantity in the first rows": (
        text_of([["x", "y"], *([row, row // 9 + 0.5] for row in range(30))]),
        "data.samples=5",
        "bad.csv: the target 'y' holds nothing but 0.5 in its first 5 rows",
    ),
    "blanks between cells": (text_of(GOOD).replace(",", " "), "", 'write separator: " "'),
    "several blanks in the header": (
        "x  k  y\n1 2 0\n",
        "data.separator=' '",
        "bad.csv:1: several blanks in a row divide the columns divide cells by one blank each: tr",
    ),
    "several blanks in a row": (
        "x k y\n1 2 0\n1  2 1\n",
        "data.separator=' '",
        "bad.csv:3: this row has 4 cells, the header 3 cells divide cells by one blank each: tr",
    ),
    "a separator too many": (
        text_of([[*row, ""] for row in GOOD]),
        "",
        "bad.csv:1: the 5th column has no name a ',' at the end of each line? take it away",
    ),
    "a huge cell": (
        text_of(edited((4, 2, "x" * 200_000))),
        "",
        "bad.csv:5: not readable as CSV: a cell has more than 131,072 characters is there a quote",
    ),
    "utf-16 without a mark": (
        text_of(GOOD).encode("utf-16-le"),
        "",
        "bad.csv: no text, but UTF-16 convert it: iconv -f UTF-16LE -t UTF-8 OLD > NEW",
    ),
    "regression on text": (
        text_of(GOOD),
        "data.task=regression",
        "bad.csv:2: the target 'y' reads 'no', which is no number: regression needs numbers",
    ),
    "one class": (
        text_of(edited(*((row, 3, "no") for row in range(1, 31)))),
        "",
        "the target 'y' holds one class only ('no')",
    ),
    "class with one row": (
        text_of(edited((8, 3, "perhaps"))),
        "",
        "bad.csv:9: class 'perhaps' of the target 'y' has one row only: it cannot be in training "
        "and in validation",
    ),
    "a quantity in whole numbers": (
        text_of(GOOD),
        "data.target=id",
        "bad.csv:2: class '0' of the target 'id' has one row only (so have 29 other classes): it "
        "cannot be in training and in validation if the column is a quantity, write task: regr",
    ),
    "a quantity that is called classes": (
        text_of(GOOD),
        "data={name: csv, source: bad.csv, target: id, task: classification}",
        "cannot be in training and in validation if the column is a quantity, write task: regr",
    ),
    "too many categories": (
        text_of([["name", "y"], *([f"n{row}", row % 2] for row in range(1001))]),
        "",
        "bad.csv: column 'name' is text with more than 1,000 different values: too many for "
        "categories a name, an id or a date says little: drop it (drop: [name])",
    ),
    "open quote": (
        text_of(edited((11, 2, '"Aix'))),
        "",
        "bad.csv:12: not readable as CSV: unexpected end of data is there a quote on this line",
    ),
    "more samples than rows": (
        text_of(GOOD),
        "data.samples=31",
        "bad.csv: samples is 31, the table has 30 rows",
    ),
    "one class in the first rows": (
        text_of([["x", "y"], *([row, row // 9] for row in range(27))]),
        "data.samples=5",
        "the target 'y' holds one class only ('0') in its first 5 rows",
    ),
    "latin-1": (
        text_of(edited((3, 2, "Köln"))).encode("latin-1"),
        "",
        "bad.csv:4: not UTF-8 text: byte 0xf6 on this line",
    ),
    "letters of Windows": (
        text_of(edited((3, 2, "Aix \u2013"))).encode("cp1252"),
        "",
        "byte 0x96 on this line convert it, such as with: iconv -f CP1252 -t UTF-8",
    ),
    "utf-16": (text_of(GOOD).encode("utf-16"), "", "no text, but UTF-16 convert it: iconv -f UTF"),
    "utf-32": (text_of(GOOD).encode("utf-32"), "", "bad.csv: no text, but UTF-32"),
    "packed by another": (b"BZh91AY&SY\0", "", "bad.csv: no text, but a bzip2 archive unpack it"),
    "a pointer": (b"version https://git-lfs.github.com/spec/v1\n", "", "fetch the file: git lfs"),
    "a web page": (b"\n<!DOCTYPE html><p>404\n", "", "it is a web page: fetch the table itself"),
    "JSON lines": (b'{"a": 1, "y": 2}\n', "", "it is JSON: write a table of it, with to_csv"),
    "a Parquet file": (b"PAR1" + bytes(100), "", "no text, but a Parquet file"),
    "own split": (text_of(GOOD), "data.validation=source", "no split of its own"),
    "target dropped": (
        text_of(GOOD),
        "data.drop=[id, y]",
        "data.drop.1: 'y' is the target",
    ),
    "target categorical": (
        text_of(GOOD),
        "data.categorical=[y]",
        "data.categorical.0: 'y' is the target write --set 'data.categorical=[]'; to predict "
        "its values as classes, write task",
    ),
    "dropped and categorical": (
        text_of(GOOD),
        "data={name: csv, source: bad.csv, target: y, drop: [id], categorical: [id]}",
        "data.categorical.0: 'id' is dropped",
    ),
    "a list that is none": (
        text_of(GOOD),
        "data.drop=id",
        "data.drop: 'id' is not a list of column names, such as [id, name]",
    ),
    "a number for a name": (text_of(GOOD), "data.drop=[2019]", "2019 is no column's name; quote"),
    "a name twice": (text_of(GOOD), "data.drop=[id, id]", "data.drop: 'id' is listed twice"),
    "separator": (text_of(GOOD), "data.separator='\\t'", "is not one character write --set"),
    "task": (text_of(GOOD), "data.task=regresion", "did you mean 'regression'?"),
    "key": (text_of(GOOD), "data.traget=y", "write --set data.target=y; allowed: "),
    "a fold larger than a class": (
        text_of(edited((8, 3, "perhaps"), (9, 3, "perhaps"))),
        "data.validation={folds: 5}",
        "class perhaps has too few samples for the validation split: 2, at least 5 are needed",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_message(tmp_path, monkeypatch, name):
    content, override, message = BAD[name]
    monkeypatch.chdir(tmp_path)
    Path("bad.csv").write_bytes(content if isinstance(content, bytes) else content.encode())
    Path("table.yaml").write_text(
        SPEC.replace("source: wine.csv, target: grower", "source: bad.csv, target: y")
    )
    extra = ["--set", override] if override else []
    said = lrsearch("grid", "table.yaml", *INLINE, "--dry-run", *extra, columns=80)
    assert said.code == 2 and not said.out, said
    # Wrapped lines are joined, and the folder does not matter.
    assert message in " ".join(said.err.split()).replace(f"{tmp_path}/", ""), said
    assert not Path("runs").exists()


@pytest.mark.parametrize("source", ["none.csv", ".", "~nobody-has-this-name/a.csv"])
def test_no_such_file(here, source):
    (here / "table.yaml").write_text(SPEC.replace("wine.csv", source))
    said = lrsearch("grid", "table.yaml", *INLINE)
    words = "there is no such file|it is a folder, and a file|cannot be the path"
    assert said.code == 2 and any(word in " ".join(said.err.split()) for word in words.split("|"))


@pytest.mark.skipif(not shutil.which("sed"), reason="there is no sed")
@pytest.mark.parametrize(
    ("separator", "cell", "number"),
    [
        (",", '"0,5"', 0.5),
        (";", "-0,5", -0.5),
        (",", '"1,234,567.5"', 1234567.5),
        (";", "1.234.567,125", 1234567.125),
        (",", '"1.234,5"', 1234.5),
    ],
)
def test_the_command_that_writes_numbers_anew_does(tmp_path, monkeypatch, separator, cell, number):
    monkeypatch.chdir(tmp_path)
    rows = [("x", "z", "y"), *((cell, cell, "ab"[row % 2]) for row in range(9))]
    Path("OLD").write_text("\n".join(map(separator.join, rows)))
    with pytest.raises(DataError) as error:
        read_csv("OLD", "y", None, [], [], separator)
    subprocess.run(re.search("sed .* NEW", str(error.value))[0], shell=True, check=True)
    numbers = read_csv("NEW", "y", None, [], [], separator).numbers
    assert numbers.shape == (9, 2) and (numbers == number).all()


def test_few_numbers_among_text_are_categories(tmp_path):
    """Nine in ten cells that are numbers are no slip yet."""
    rows = [["size", "y"], *(["36" if row else "XL", row % 2] for row in range(10))]
    assert raw_of(write(tmp_path / "a.csv", rows)).table.categories == (("36", "XL"),)
    rows.insert(1, ["37", 0])
    with pytest.raises(DataError, match="in 10 of 11 rows, but here it reads 'XL'"):
        raw_of(write(tmp_path / "a.csv", rows))
    assert raw_of(tmp_path / "a.csv", categorical=["size"]).x.shape == (11, 3)


def test_the_task_is_known_before_the_file_is_read(tmp_path):
    path = tmp_path / "table.yaml"
    path.write_text(SPEC + "objective: accuracy\n")
    assert read_spec(path).task is None
    assert read_spec(path, ["data.task=classification"]).task == "classification"
    with pytest.raises(SpecError, match="'accuracy' is no metric of regression"):
        read_spec(path, ["data.task=regression"])


def test_exported_specs_are_read_back(here):
    (here / "table.yaml").write_text(SPEC.replace("grower}", "grower, categorical: [ash]}"))
    assert lrsearch("grid", "table.yaml", *INLINE).code == 0
    said = lrsearch("export", "table.yaml", "--output", "best.yaml")
    assert said.code == 0, said
    spec = read_spec(here / "best.yaml")
    assert spec.data["categorical"] == ["ash"] and spec.data["standardize"] is True


def test_what_looks_like_a_decimal_comma_may_be_a_category(tmp_path):
    rows = [["x", "y"], *([f"{row % 3},5", row % 2] for row in range(12))]
    path = write(tmp_path / "a.csv", rows)
    assert raw_of(path, categorical=["x"]).table.categories == (("0,5", "1,5", "2,5"),)
    rows = [["x", "y"], *([row, 2**60 + row * 2**20] for row in range(9))]
    quantity = write(tmp_path / "b.csv", rows)
    assert raw_of(quantity, task="regression").task == "regression"


def test_a_quoted_cell_may_follow_a_blank(tmp_path):
    text = "town, y\n" + '"Aix, west", no\n "Bonn, east", yes\n' * 4
    (tmp_path / "a.csv").write_text(text)
    assert raw_of(tmp_path / "a.csv").table.categories == (("Aix, west", "Bonn, east"),)


def test_lines_are_those_of_an_editor(tmp_path):
    """Whatever came before: blank lines, cells of several lines, or many rows."""
    rows = edited((2, 2, '"Aix,\nles\nBains"'), (9, 1, ""))
    (tmp_path / "a.csv").write_text("\n" + text_of(rows).replace("\n3,", "\n\n3,"))
    # The header is on line 2; row 9 without what was put in is on line 10.
    with pytest.raises(DataError, match=r"a\.csv:14: column 'age'") as caught:
        raw_of(tmp_path / "a.csv")
    lines = (tmp_path / "a.csv").read_text().split("\n")
    assert caught.value.where.endswith(":14") and lines[13] == "8,,Aix,no"
    rows = [["x", "y"], *([row, row % 2] for row in range(50_000))]
    for row, cell in ((30_000, ""), (45_000, "inf"), (41_000, "?")):
        path = write(tmp_path / "b.csv", edited((row, 0, cell), rows=rows))
        with pytest.raises(DataError, match=rf"b\.csv:{row + 1}: column 'x'"):
            raw_of(path)


# gaps


GAPS = {
    "a": [1.0, 2.0, None, 4.0, 5.0, 60.0, 7.0, 8.0] * 3,
    "town": ["Aix", "Bonn", "Aix", None, "Bonn", "Aix", "Bonn", "Aix"] * 3,
    "y": ["no", "yes", "no", "yes", "no", "yes", "no", None] + ["yes", "no"] * 8,
}


def with_gaps(path, words, **changed):
    """A table with gaps, each written as one of some words."""
    table = GAPS | changed
    shown = iter(words * 99)
    rows = [[next(shown) if cell is None else cell for cell in row] for row in as_rows(table)]
    return write(path, rows)


def test_rows_with_gaps_are_left_out(tmp_path):
    path = with_gaps(tmp_path / "a.csv", ["", "NA", "nan"])
    raw = raw_of(path, missing="drop")
    whole = [each for each in zip(*GAPS.values(), strict=True) if None not in each]
    same = write(tmp_path / "b.csv", [list(GAPS), *whole])
    assert raw.data_hash == raw_of(same).data_hash and len(raw) == len(whole) == 17
    assert raw.taken == "7 rows with gaps left out"
    assert raw.notes[-1] == "7 rows with gaps left out: 'a' (3), 'town' (3), 'y' (1)"
    # A fault is told with the line that it has in the file.
    path = with_gaps(path, [""], a=[*GAPS["a"][:-1], 1e99])
    with pytest.raises(DataError, match=r"a\.csv:25: column 'a' holds 1e\+99"):
        raw_of(path, missing="drop")


def test_gaps_are_filled_from_training_rows_alone(tmp_path):
    own = config(with_gaps(tmp_path / "a.csv", ["", "NaN"]), missing="mean", standardize=False)
    raw = load(own, resolver=lambda path: None)
    # Of a target nothing is made up.
    assert len(raw) == 23 and raw.taken == "1 row with gaps left out, 6 gaps filled"
    parts = split(raw, own, None)
    known = [each for each in parts.train.x[:, 0] if each in {1.0, 2.0, 4.0, 5.0, 60.0, 7.0, 8.0}]
    filled = np.float32(np.mean(known))
    gaps = [x for part in (parts.train, parts.validation) for x in part.x if x[0] == filled]
    assert len(known) < len(parts.train) and len(gaps) == 3
    # A gap among categories is none of them.
    assert sum(x[1:].sum() == 0 for part in (parts.train, parts.validation) for x in part.x) == 3
    scaled = split(raw, {**own, "standardize": True}, None).train.x
    assert scaled[:, 0].mean() == pytest.approx(0, abs=1e-6)
    assert scaled[:, 0].std() == pytest.approx(1, rel=1e-5) and np.isfinite(raw.x).all()


def test_a_column_without_a_value_in_training_says_nothing(tmp_path):
    rows = [["a", "b", "y"], *([row, "", row % 2] for row in range(12))]
    table = raw_of(write(tmp_path / "a.csv", [*rows, [3, 9, 0]]), missing="mean").table
    assert not table.fill(np.arange(12))[:, 1].any()
    for missing, told in (
        ("mean", r"a\.csv:2: column 'b': no value in any row\n  write drop: \[b\]"),
        ("drop", r"all rows but 0 have gaps: 'b' \(12\)\n  drop: \[b\] leaves out"),
    ):
        with pytest.raises(DataError, match=told):
            raw_of(write(tmp_path / "a.csv", rows), missing=missing)


def test_runs_from_before_gaps_could_be_told_stay_valid():
    given = {"data": config("a.csv"), "model": {}, "train": {"schedule": {}}}
    now = {**given, "data": {**given["data"], "missing": None}}
    other = {**given, "data": {**given["data"], "missing": "drop"}}
    assert identity(now) == identity(given) != identity(other)


# Parquet


@pytest.fixture
def parquet():
    return pytest.importorskip("pyarrow.parquet")


def save(parquet, path, table):
    import pyarrow

    table = pyarrow.table(table) if isinstance(table, dict) else table
    parquet.write_table(table, path, row_group_size=7)
    return path


def test_parquet_is_the_same_table(parquet, tmp_path):
    import pyarrow

    table = columns()
    one = raw_of(write(tmp_path / "a.csv", as_rows(table)))
    path = save(parquet, tmp_path / "a.parquet", table)
    assert raw_of(path).data_hash == one.data_hash
    np.testing.assert_array_equal(raw_of(path).x, one.x)
    arrow = pyarrow.table(table)
    for name in ("town", "y"):
        place = arrow.column_names.index(name)
        arrow = arrow.set_column(place, name, arrow.column(name).dictionary_encode())
    assert raw_of(save(parquet, path, arrow)).data_hash == one.data_hash
    own = config(path, validation={"folds": 3})
    for fold in folds(own):
        left, right = split(raw_of(path), own, fold), split(one, own, fold)
        np.testing.assert_array_equal(left.validation.x, right.validation.x)


@pytest.mark.parametrize("missing", ["drop", "mean"])
def test_gaps_in_parquet_are_the_same(parquet, tmp_path, missing):
    path = save(parquet, tmp_path / "a.parquet", GAPS)
    one, other = (
        raw_of(with_gaps(tmp_path / "a.csv", ["n/a"]), missing=missing),
        raw_of(path, missing=missing),
    )
    assert (one.data_hash, one.taken, one.notes) == (other.data_hash, other.taken, other.notes)
    np.testing.assert_array_equal(one.x, other.x)
    if missing == "drop":
        save(parquet, path, GAPS | {"a": [*GAPS["a"][:-1], 1e99]})
        with pytest.raises(DataError, match="row 24: column 'a' holds"):
            raw_of(path, missing=missing)


def test_parquet_types_decide(parquet, tmp_path):
    import pyarrow

    rows = 20
    table = {
        "small": pyarrow.array(range(rows), pyarrow.int8()),
        "text": [str(row % 3) for row in range(rows)],
        "flag": [row % 2 == 0 for row in range(rows)],
        "exact": pyarrow.array([Decimal(f"{row // 10}.25") for row in range(rows)]),
        "y": pyarrow.array([row % 4 for row in range(rows)], pyarrow.uint8()),
    }
    path = save(parquet, tmp_path / "a.parquet", table)
    raw = raw_of(path)
    assert raw.table.names == (("small", "exact"), ("text", "flag"), "y")
    assert raw.labels == ("0", "1", "2", "3") and raw.x.shape == (rows, 2 + 3 + 2)
    assert raw_of(path, task="regression").outputs == 1
    assert raw_of(path, target="exact").task == "regression"
    assert raw_of(path, target="flag").labels == ("False", "True")
    assert raw_of(path, categorical=["small"]).x.shape == (rows, 20 + 1 + 3 + 2)


def test_bad_parquet_files(parquet, tmp_path, monkeypatch):
    import datetime

    import pyarrow

    monkeypatch.chdir(tmp_path)
    rows = 20
    good = {"x": [float(row) for row in range(rows)], "y": [row % 2 for row in range(rows)]}
    day = [datetime.date(2024, 1, 1 + row) for row in range(rows)]
    names = pyarrow.Table.from_arrays([pyarrow.array(good["x"])] * 2, names=["y", "y"])
    cases = [
        ({**good, "x": [None, *good["x"][1:]]}, {}, "a.parquet, row 1: column 'x' has no value"),
        ({**good, "x": [*good["x"][1:], float("nan")]}, {}, "row 20: column 'x' has no value"),
        ({**good, "x": [*good["x"][1:], float("inf")]}, {}, "row 20: column 'x' holds inf"),
        ({**good, "t": ["", *"ab" * 9, "c"]}, {}, "row 1: column 't' has no value"),
        (
            {**good, "d": day},
            {},
            r"column 'd' holds date32\[day\]: numbers, text and boo.*\n.*days: \(table\['d'\]",
        ),
        ({**good, "n": [[1]] * rows}, {}, "column 'n' holds list"),
        ({**good, "y": ["a"] * rows}, {"task": "regression"}, "the target 'y' is string: regress"),
        ({**good, "y": ["a"] * rows}, {}, "holds one class only"),
        ({"x": [], "y": []}, {}, "the table has columns, but no rows"),
        (good, {"target": "z"}, "data.target names a column 'z' that is not there"),
        (good, {"drop": ["x"]}, "no column is left"),
        (names, {}, "two columns are named 'y'"),
        ({**good, "__index_level_0__": good["y"]}, {}, "holds the row labels of a pandas table"),
    ]
    for table, given, message in cases:
        with pytest.raises(DataError, match=message):
            raw_of(save(parquet, "a.parquet", table), **given)
    assert raw_of(save(parquet, "a.parquet", {**good, "d": day}), drop=["d"]).x.shape == (20, 1)
    Path("a.parquet").write_text("x,y\n1,2\n")
    with pytest.raises(DataError, match=r"not a readable .*\n.*'x,y': read text with .*name: csv"):
        raw_of("a.parquet")
    with pytest.raises(DataError, match="there is no such file"):
        raw_of("none.parquet")


def test_parquet_without_pyarrow(here, monkeypatch):
    for name in ("pyarrow", "pyarrow.parquet"):
        monkeypatch.setitem(sys.modules, name, None)  # what `import` takes for not installed
    (here / "table.yaml").write_text(SPEC.replace("name: csv", "name: parquet"))
    said = lrsearch("grid", "table.yaml", *INLINE)
    assert said.code == 2 and "pip install 'lrsearch[parquet]'" in said.err, said


def test_a_column_mostly_empty_is_to_be_dropped_alone():
    for count, more in ((20, False), (10, True)):
        with pytest.raises(DataError) as caught:
            check_gaps([Gap("z", count, 1, "")], "y", str, 30, None)
        assert caught.value.hint.endswith("drop: [z] leaves out the column")
        assert ("missing: drop under data" in caught.value.hint) is more
