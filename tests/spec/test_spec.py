"""Specs: YAML to values, every fault with its place, overrides, and what a point resolves to."""

import copy
import hashlib
import json
import math
import re
import string
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from keys import trial_key

from lrsearch import catalogue
from lrsearch.catalogue import REQUIRED
from lrsearch.duration import find_time, parse_time, write_time
from lrsearch.errors import ImportRefused, LrsearchError, SpecError, UsageError
from lrsearch.space import (
    Choice,
    Float,
    Int,
    Space,
    draw,
    draw_random,
    get_path,
    grid,
    parameters,
    round_value,
    same,
)
from lrsearch.spec import check_imports, needed_imports, read_spec
from lrsearch.spec.comparison import differences
from lrsearch.spec.cross_checks import task_faults
from lrsearch.spec.document import Document, parse, plain_scalar
from lrsearch.spec.export import export_name, export_spec
from lrsearch.spec.flattening import flatten
from lrsearch.spec.model import (
    TRAINING_VERSION,
    complete_group,
    config_path,
    fill_config,
    identity,
    locate,
    resolve,
    resolve_fixed,
    steps_of,
)
from lrsearch.spec.overrides import apply_override
from lrsearch.spec.summary import describe, first_point, schedule_points
from lrsearch.spec.validate import validate
from lrsearch.trial import Objective
from lrsearch.tuner.plans import structure

CONTENT = {"data": "d0", "source": "s0"}
FOLDER = Path("/specs")

BASE = """\
name: digits
data: {name: digits, validation: 0.2}
model: {name: mlp, hidden: [16]}
train:
  budget: 5ep
  lr: 0.1
  schedule: {name: cosine, final: 0.1}
  optimizer: {name: sgd, momentum: 0.9}
objective: accuracy
search:
  batch_size: [32, 64]
  label_smoothing: {min: 0.0, max: 0.2, points: 3}
"""


def read(text, *overrides, source="spec.yaml"):
    document = parse(text, source)
    for override in overrides:
        apply_override(document, override)
    return validate(document, FOLDER, text)


def faults(text, *overrides):
    with pytest.raises(SpecError) as error:
        read(text, *overrides)
    return error.value.faults


def small(search="", train="", data="digits", model="mlp"):
    """A spec with lr 0.1 and a budget of two epochs, more of `train` and `search` in flow form."""
    rest = f", {train}" if train else ""
    return (
        f"name: small\ndata: {data}\nmodel: {model}\n"
        f"train: {{budget: 2ep, lr: 0.1{rest}}}\nsearch: {{{search}}}\n"
    )


def points_of(spec, count=4, seed=0):
    generator = np.random.default_rng(seed)
    return [draw_random(spec.space, generator) for _ in range(count)]


# YAML to values


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 1e-3),
        ("1E5", 1e5),
        ("-.5", -0.5),
        ("5.", 5.0),
        ("3", 3),
        ("-3", -3),
        ("0", 0),
        ("no", "no"),
        ("off", "off"),
        ("yes", "yes"),
        ("true", True),
        ("False", False),
        ("~", None),
        ("null", None),
        (".inf", math.inf),
        ("1e999", math.inf),
        ("0x10", "0x10"),
        ("1_000", "1_000"),
        ("12:30", "12:30"),
        ("2001-01-01", "2001-01-01"),
        ("'1e-3'", "1e-3"),
        ('"true"', "true"),
    ],
)
def test_a_scalar_means_what_it_looks_like(text, value):
    found = parse(f"a: {text}", "f").data["a"]
    assert (found, type(found)) == (value, type(value))


def test_nan_is_read_as_one():
    assert math.isnan(parse("a: .nan", "f").data["a"])


def test_every_value_remembers_its_line():
    document = parse("a:\n  b:\n    - 1\n    -\n      c: 2\nd: {e: [\n 3]}\n", "f")
    assert document.data == {"a": {"b": [1, {"c": 2}]}, "d": {"e": [3]}}
    assert document.lines[("a", "b")] == 2
    assert document.lines[("a", "b", 1, "c")] == 5
    assert document.lines[("d", "e", 0)] == 7


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("a: 1\nb:\n  c: 2\n  d: 3\n  c: 4\n", 5, "b.c: given twice, first on line 3"),
        ("a: 1\nb:\n\tc: 2\n", 3, "a tab cannot indent YAML"),
        ("a: 1\nb: *c\n", 2, "aliases are not allowed (*c)"),
        ("a: &x 1\n", 1, "anchors are not allowed (&x)"),
        ("a: 1\nb: !!python/object:os.system x\n", 2, "tags are not allowed"),
        ("a: !x {b: 1}\n", 1, "tags are not allowed (!x)"),
        ("&k a: 1\n", 1, "not allowed"),
        ("a: 1\n---\nb: 2\n", 2, "one YAML document"),
        ("a: [1, 2\nb: 3\n", 1, "not valid YAML: a [ that is opened there is not closed"),
        ("a: 1\n? [b]\n: 2\n", 2, "a key is plain text"),
        ('a: 1\nb: "\\UFFFFFFFF"\n', 2, "an escape names no character"),
        ('a: 1\nb: "\\ud800"\n', 2, "an escape names half a character"),
        ("a: " + "[" * 33 + "]" * 33, 1, "nested deeper than 32"),
        ("a: 1\nb: \x00", 2, "a control character (U+0000)"),
        ("a: \udcff", 0, "not a text file"),
        ("a: " + "x" * 65536, 0, "64 KiB"),
    ],
    ids=lambda value: str(value)[:24].encode("unicode_escape").decode(),
)
def test_what_is_no_plain_yaml_is_refused_where_it_stands(text, line, words):
    with pytest.raises(SpecError) as error:
        parse(text, "f.yaml")
    (fault,) = error.value.faults
    assert fault.line == line and words in str(fault) and str(fault).startswith("f.yaml")


def test_all_of_them_come_at_once():
    with pytest.raises(SpecError) as error:
        parse("a: &x 1\nb: *x\nc: !!str 3\na: 2\n", "f")
    assert [fault.line for fault in error.value.faults] == [1, 2, 3, 4]


def test_the_deepest_and_the_longest_allowed_are_read():
    assert parse("a: " + "[" * 32 + "]" * 32, "f").data
    assert len(parse("a: " + "x" * (65536 - 3), "f").data["a"]) == 65533


def test_files_that_are_no_spec(tmp_path):
    for content, words in [
        (b"", "empty"),
        (b"# only a comment\n", "empty"),
        (b"- 1\n- 2\n", "this is a list"),
        (b"hello", "this is 'hello'"),
        (b"\xfe\x00\x80", "not a text file"),
        (b"a: 1\nb: \xe9", "spec.yaml:2: not a text file: byte 0xE9"),
        (b"a: \xe9", "if it is text, write iconv -f LATIN1 -t UTF-8"),
        (b"a: \x80", "if it is text, write iconv -f CP1252 -t UTF-8"),
        ("a: 1".encode("utf-16"), "in UTF-16"),
        ("seed: 1".encode("utf-16-le"), "iconv -f UTF-16LE -t UTF-8 "),
        ("seed: 1".encode("utf-16-be"), "iconv -f UTF-16BE -t UTF-8 "),
        (b"data = digits", "write data: digits"),
        (b"\x89PNG\r\n\x1a\n" + bytes(70000), "64 KiB"),
        (b"a: " + b"x" * 70000, "64 KiB"),
    ]:
        path = tmp_path / "spec.yaml"
        path.write_bytes(content)
        with pytest.raises(SpecError) as error:
            read_spec(path)
        assert words in str(error.value) and str(path) in str(error.value)


@pytest.mark.parametrize(
    ("name", "content", "told", "hint"),
    [
        ("train.py", "import torch\n", "this is Python", "--from command writes one"),
        ("a.csv", "a,b\n1,2\n", "this is a table", "write data: {name: csv, source: "),
        ("a.npz", "PK\0", "this is one of arrays", "write data: {name: npz, source: "),
    ],
)
def test_a_file_of_another_kind_is_told_as_one(tmp_path, name, content, told, hint):
    (tmp_path / name).write_text(content)
    with pytest.raises(SpecError) as error:
        read_spec(tmp_path / name)
    (fault,) = error.value.faults
    assert told in fault.message and hint in fault.hint
    (tmp_path / name).write_text(BASE)
    assert read_spec(tmp_path / name).train["lr"]


def test_a_byte_order_mark_is_no_part_of_a_spec(tmp_path):
    path = tmp_path / "spec.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + BASE.encode())
    spec = read_spec(path)
    assert spec.name == "digits" and spec.source == str(path) and spec.folder == tmp_path


def test_a_missing_file_names_the_nearest(tmp_path):
    (tmp_path / "digits.yaml").write_text(BASE)
    with pytest.raises(UsageError, match=r"no such file.*\n.*did you mean '.*digits.yaml'"):
        read_spec(tmp_path / "digit.yaml")
    with pytest.raises(UsageError, match="no such file"):
        read_spec(tmp_path / "nowhere" / "digit.yaml")
    with pytest.raises(UsageError, match=r"is a folder.*\n.*here are .*digits\.yaml"):
        read_spec(tmp_path)


# faults


@pytest.mark.parametrize(
    ("old", "new", "line", "key", "words"),
    [
        ("  lr: 0.1", "  lr: fast", 6, "train.lr", "'fast' is not a number"),
        ("  lr: 0.1", "  lr: true", 6, "train.lr", "true is not a number"),
        ("  lr: 0.1", "  lr: '0.1'", 6, "train.lr", "write lr: 0.1"),
        ("  lr: 0.1", "  lr: .nan", 6, "train.lr", "nan is not finite"),
        ("  lr: 0.1", "  lr: .inf", 6, "train.lr", "inf is not finite"),
        ("  lr: 0.1", "  lr: 1e999", 6, "train.lr", "inf is not finite"),
        ("  lr: 0.1", "  lr: 0", 6, "train.lr", "0 is too small: it takes a number above 0"),
        ("  lr: 0.1", "  lr: " + "9" * 390, 6, "train.lr", "not finite"),
        ("  lr: 0.1", "  lr: {min: 1, max: 2}", 6, "train.lr", "is not a number"),
        ("  lr: 0.1\n", "", 4, "train", "'lr' is missing"),
        ("  lr: 0.1", "  learning_rate: 0.1\n  lr: 1", 6, "train.learning_rate", "unknown key"),
        ("  lr: 0.1", "  lr: 1\n  shedule: x", 7, "train.shedule", "did you mean 'schedule'?"),
        ("name: digits\n", "name: digits\nsede: 3\n", 2, "sede", "did you mean 'seed'?"),
        ("name: digits\n", "name: ../../etc\n", 1, "name", "cannot name a run"),
        ("name: digits\n", "name: 12\n", 1, "name", "12 cannot name a run; quote it"),
        ("name: digits\n", f"name: {'x' * 65}\n", 1, "name", "cannot name a run"),
        ("validation: 0.2", "validation: 1.5", 2, "data.validation", "1.5 is no share"),
        ("validation: 0.2", "validation: source", 2, "data.validation", "no split of its own"),
        ("validation: 0.2", "validation: {folds: 1}", 2, "data.validation.folds", "too small"),
        ("validation: 0.2", "validation: {folds: 1800}", 2, "data.validation.folds", "1800 folds"),
        ("0.2", "0.6, test: 0.4", 2, "data.test", "leave nothing to train on"),
        ("data: {name: digits", "data: {name: digitz", 2, "data.name", "did you mean 'digits'?"),
        ("data: {", "Data: {", 2, "Data", "did you mean 'data'?"),
        ("train:\n", "TRAIN:\n", 4, "TRAIN", "did you mean 'train'?"),
        ("0.2", "0.2, sorce: a", 2, "data.sorce", "unknown key"),
        ("name: mlp", "name: mpl", 3, "model.name", "unknown model 'mpl'"),
        ("name: mlp", "name: mpl", 3, "model.name", "did you mean 'mlp'?"),
        ("hidden: ", "hiden: ", 3, "model.hiden", "did you mean 'hidden'?"),
        ("[16]", "[16, 0]", 3, "model.hidden", "positive whole numbers"),
        ("cosine,", "cosin,", 7, "train.schedule.name", "did you mean 'cosine'?"),
        ("final: 0.1", "fnal: 0.1", 7, "train.schedule.fnal", "cosine has no argument 'fnal'"),
        ("final: 0.1", "fnal: 0.1", 7, "train.schedule.fnal", "did you mean 'final'?"),
        ("{name: sgd,", "{name: sdg,", 8, "train.optimizer.name", "did you mean 'sgd'?"),
        ("name: sgd,", "class_path: a.B,", 8, "train.optimizer.momentum", "unknown key"),
        ("momentum: 0.9", "betas: 1", 8, "train.optimizer.betas", "sgd has no argument"),
        ("momentum: 0.9", "lr: 1", 8, "train.optimizer.lr", "write lr: 1 under train"),
        ("momentum: 0.9", "momentum: 1", 8, "train.optimizer.momentum", "below 1"),
        ("budget: 5ep", "budget: 0ep", 5, "train.budget", "no training at all"),
        ("budget: 5ep", "budget: 5", 5, "train.budget", "such as 20ep"),
        ("budget: 5ep", "budget: 0.5dur", 5, "train.budget", "units ep, ba, sp"),
        ("budget: 5ep", "budget: 1e308ep", 5, "train.budget", "too long"),
        ("budget: 5ep", f"budget: {'1' * 50000}", 5, "train.budget", "such as 20ep"),
        ("  budget: 5ep\n", "", 4, "train", "'budget' is missing"),
        ("  lr: 0.1", "  lr: 1\n  warmup: 1dur", 7, "train.warmup.for", "nothing of the budget"),
        ("  lr: 0.1", "  lr: 1\n  warmup: {start: 0}", 7, "train.warmup", "'for' is missing"),
        ("  lr: 0.1", "  lr: 1\n  warmup: [1ep]", 7, "train.warmup", "[1ep] is no warmup"),
        ("  lr: 0.1", "  lr: 1\n  loss: mse", 7, "train.loss", "no loss of classification"),
        ("accuracy", "acuracy", 9, "objective", "write objective: accuracy"),
        ("accuracy", "rmse", 9, "objective.metric", "'rmse' is no metric of classification"),
        ("accuracy", "{metric: f1, at: end}", 9, "objective.at", "one of last, best"),
        ("batch_size:", "batchsize:", 11, "search.batchsize", "write batch_size: [32, 64]"),
        ("[32, 64]", "64", 11, "search.batch_size", "64 is one value"),
        ("[32, 64]", "[]", 11, "search.batch_size", "nothing to choose from"),
        ("[32, 64]", "[32, 32]", 11, "search.batch_size.1", "32 is listed twice"),
        ("[32, 64]", "[32, 1.5]", 11, "search.batch_size.1", "not a whole number"),
        ("[32, 64]", "[32, 2000]", 11, "search.batch_size", "larger than the training set (1438"),
        ("[32, 64]", "{min: 0, max: 8}", 11, "search.batch_size.min", "from 1"),
        ("max: 0.2", "max: -0.2", 12, "search.label_smoothing.max", "too small"),
        ("min: 0.0", "min: 0.5", 12, "search.label_smoothing.min", "min 0.5 is above max 0.2"),
        ("points: 3", "points: 0", 12, "search.label_smoothing.points", "from 1"),
        ("points: 3", "points: 100001", 12, "search.label_smoothing.points", "up to 100000"),
        ("points: 3", "point: 3", 12, "search.label_smoothing.point", "did you mean 'points'?"),
        ("points: 3", "scale: log", 12, "search.label_smoothing.min", "no place on a log scale"),
        ("min: 0.0, ", "", 12, "search.label_smoothing", "'min' is missing"),
        ("batch_size: [32, 64]", "lr: auot", 11, "search.lr", "write lr: auto"),
        ("batch_size: [32, 64]", "lr: [fast]", 11, "search.lr.0", "'fast' is not a number"),
        ("batch_size: [32, 64]", "momentum: [0.9]", 11, "search.momentum", "unknown parameter"),
        ("batch_size: [32, 64]", "schedule.final: [fast]", 11, "search.schedule.final.0", "fast"),
        ("batch_size: [32, 64]", "schedule.gamma: [1]", 11, "search.schedule.gamma", "cosine has"),
        ("batch_size: [32, 64]", "lr.x: [1]", 11, "search.lr.x", "no arguments to search"),
        ("batch_size: [32, 64]", "data.test: [0.1]", 11, "search.data.test", "cannot be compared"),
        ("batch_size: [32, 64]", "seed: [1]", 11, "search.seed", "unknown parameter"),
        ("batch_size: [32, 64]", "budget: [1ep, 1dur]", 11, "search.budget.1", "units ep"),
        ("batch_size: [32, 64]", "warmup.start: [0.1]", 11, "search.warmup.start", "no 'for'"),
        ("batch_size: [32, 64]", "loss: [null, huber]", 11, "search.loss.0", "null is not one of"),
        (
            "batch_size: [32, 64]",
            "schedule: [{nam: cosine}]",
            11,
            "search.schedule.0.nam",
            "write name: cosine",
        ),
        ("batch_size: [32, 64]", "schedule: [constnt, cosin]", 11, "search.schedule.0.name", ""),
        ("search:", "random: 40\nsearch:", 10, "random", "40 is no mapping"),
        ("search:", "random: {sampler: soobol}\nsearch:", 10, "random.sampler", "mean 'sobol'"),
        ("search:", "bayes: {trial: 4}\nsearch:", 10, "bayes.trial", "did you mean 'trials'?"),
        ("search:", "seeds: 0\nsearch:", 10, "seeds", "from 1"),
        ("search:", "seeds: 1e9\nsearch:", 10, "seeds", "from 1 up to 1000000"),
        ("search:", "seed: 2147483648\nsearch:", 10, "seed", "up to"),
    ],
)
def test_a_fault_is_named_on_its_line(old, new, line, key, words):
    assert BASE.count(old) == 1 or old in ("0.2", "min: 0.0", "accuracy")
    first, *others = faults(BASE.replace(old, new, 1))
    assert (first.line, first.key, first.source) == (line, key, "spec.yaml")
    assert words in str(first)
    # Two options without a known name are two faults, anything else is one.
    assert [other.key for other in others] == (
        ["search.schedule.1.name"] if "constnt" in new else []
    )


@pytest.mark.parametrize("missing", ["data", "model", "train"])
def test_a_missing_part_is_one_fault(missing):
    lines = [line for line in small().splitlines() if not line.startswith(missing)]
    (fault,) = faults("\n".join(lines))
    assert fault.message == f"'{missing}' is missing"


@pytest.mark.parametrize("search", ["lr: {min: 2, max: 1}", "lr: [fast]", "lr: {min: 0, max: 1}"])
def test_a_faulty_range_is_not_called_missing_too(search):
    text = small(search).replace(", lr: 0.1", "")
    assert [fault.key.split(".")[:2] for fault in faults(text)] == [["search", "lr"]]


def test_eight_faults_come_at_once_each_on_its_line():
    text = """\
name: a b
data: {name: digitz}
model: {name: mlp, hiden: [3]}
train:
  budget: 0ep
  lr: fast
  schedule: cosine
  precison: float32
  optimizer: {name: sgd, momentum: true}
search:
  lr: {min: 1, max: 1e-3}
"""
    found = faults(text)
    assert [(fault.line, fault.key) for fault in found] == [
        (1, "name"),
        (2, "data.name"),
        (3, "model.hiden"),
        (5, "train.budget"),
        (6, "train.lr"),
        (8, "train.precison"),
        (9, "train.optimizer.momentum"),
        (11, "search.lr.min"),
    ]
    with pytest.raises(SpecError) as error:
        read(text)
    assert str(error.value).count("spec.yaml:") == 8


@pytest.mark.parametrize(
    ("search", "key", "words"),
    [
        ("schedule: [constant, constant]", "search.schedule.1", "listed twice"),
        ("schedule: [cosine, {name: cosine, final: 0}]", "search.schedule.1", "listed twice"),
        ("optimizer: [sgd, adam], optimizer.momentum: [0.5]", None, "searched as a whole"),
        ("schedule: {min: 1, max: 2}", "search.schedule", "by a list of options"),
        ("model.hidden: {min: 1, max: 2}", "search.model.hidden", "no range of these"),
        ("precision: {min: 1, max: 2}", "search.precision", "no range of these"),
        ("budget: {min: 1ep, max: 50ba}", "search.budget.max", "not in the unit of min (ep)"),
        ("schedule: [{name: step, gamma: {min: 2, max: 1}}]", None, "too large"),
        (
            "lr: {min: 1, max: 2, scale: lin}",
            "search.lr",
            "write lr: {min: 1, max: 2, scale: linear}",
        ),
        ("lr: [1, 2], lr.x: [1]", "search.lr.x", "no arguments"),
        ("schedule: {final: [0.1]}, schedule.final: [0.2]", None, "no argument"),
        ("model: [{class_path: nodots}]", "search.model.0.class_path", "no dotted path"),
    ],
)
def test_faults_of_a_search(search, key, words):
    found = faults(small(search))
    assert any(words in str(fault) and key in (None, fault.key) for fault in found)


def test_a_warmup_as_long_as_the_budget_is_a_fault():
    assert read(small(train="warmup: 89ba"))
    (fault,) = faults(small(train="warmup: 90ba"))
    assert fault.key == "train.warmup.for"
    assert "90ba is 90 steps, the whole budget has 90" in fault.message


def test_a_name_searched_twice_is_a_fault():
    text = small("schedule: {final: [0.1]}, schedule.final: [0.2]", "schedule: cosine")
    (fault,) = faults(text)
    assert "searched twice" in fault.message


def test_a_metric_or_smoothing_of_the_other_task_is_a_fault():
    text = small("label_smoothing: [0.1]", "", "diabetes") + "objective: f1\n"
    assert [fault.key for fault in faults(text)] == ["search.label_smoothing", "objective.metric"]
    (fault,) = faults(small("", "loss: cross_entropy", "diabetes"))
    assert "no loss of regression" in fault.message and "mse, mae, huber" in fault.hint


@pytest.mark.parametrize("path", ["~nobody-has-this-name/a.npz", "a\\0b"])
def test_what_cannot_be_a_path_is_a_fault(path):
    (fault,) = faults(small(data=f'{{name: npz, source: "{path}"}}'))
    assert fault.key == "data.source" and "cannot be the path" in fault.message


def test_whole_numbers_without_measure_are_a_fault():
    huge = "9" * 390
    for search in (f"batch_size: {{min: 1, max: {huge}}}", f"batch_size: [{huge}]"):
        (fault,) = faults(small(search))
        assert "too large" in fault.message and len(str(fault)) < 1000


def test_a_file_whose_own_name_cannot_serve_needs_one():
    text = "data: digits\nmodel: mlp\ntrain: {budget: 1ep, lr: 1}\n"
    assert read(text, source="runs/good-name.yaml").name == "good-name"
    with pytest.raises(SpecError, match="'name' is missing, and the file's own name"):
        read(text, source="runs/a name.yaml")


# imports


def importing(*paths):
    models = ", ".join(f"{{class_path: {path}}}" for path in paths)
    return read(small(f"model: [{models}, mlp]"))


def test_only_lrsearch_and_torch_nn_are_free_to_import():
    assert needed_imports(importing("torch.nn.Linear", "lrsearch.x.Y")) == ()
    spec = importing("mine.nets.A", "torch.optim.SGD", "torch.nnx.B", "mine.C", "lrsearchx.D")
    assert needed_imports(spec) == ("mine", "torch", "lrsearchx")
    check_imports(spec, ("mine", "torch", "lrsearchx"))
    with pytest.raises(ImportRefused) as error:
        check_imports(spec, ("torch",))
    assert "mine.nets.A, mine.C, lrsearchx.D" in str(error.value)
    assert "--allow-import mine --allow-import lrsearchx" in error.value.hint


def test_data_are_imported_with_the_same_leave():
    spec = read(small(data="{class_path: mine.load, init_args: {n: 3}, validation: {folds: 3}}"))
    assert spec.imports == ("mine.load",) and spec.folds == 3 and spec.task is None
    assert spec.data["init_args"] == {"n": 3} and spec.train_samples is None


# overrides


def test_an_override_is_read_like_the_file():
    spec = read(BASE, "train.lr=1e-3", "seed=7", "data.standardize=true", "model.hidden=[8, 4]")
    assert (spec.train["lr"], spec.seed) == (1e-3, 7)
    assert spec.data["standardize"] is True and spec.model["hidden"] == [8, 4]


def test_an_override_of_a_searched_name_fixes_it():
    spec = read(BASE, "train.batch_size=16")
    assert spec.train["batch_size"] == 16
    assert [path for path, _ in spec.space.dimensions] == ["label_smoothing"]
    assert not spec.notes


def test_an_override_reaches_into_a_bare_name():
    bare = BASE.replace("{name: cosine, final: 0.1}", "cosine")
    assert read(bare, "train.schedule.final=0.3").train["schedule"] == {
        "name": "cosine",
        "final": 0.3,
    }
    spec = read(small(), "data.validation=0.5", "train.optimizer=adam", "train.optimizer.eps=1e-6")
    assert spec.data["validation"] == 0.5 and spec.train["optimizer"]["eps"] == 1e-6


def test_an_override_of_a_searched_range_refines_it():
    spec = read(BASE, "search.label_smoothing.points=5")
    assert dict(spec.space.dimensions)["label_smoothing"] == Float(0.0, 0.2, False, 5)
    dotted = BASE.replace("batch_size: [32, 64]", "optimizer.momentum: {min: 0, max: 0.5}")
    spec = read(dotted, "search.optimizer.momentum.max=0.9")
    assert dict(spec.space.dimensions)["optimizer.momentum"] == Float(0.0, 0.9, False)
    spec = read(BASE, "search.lr={min: 1e-3, max: 1}", "search.batch_size=[8]")
    assert dict(spec.space.dimensions)["lr"] == Float(1e-3, 1.0, True)
    assert not read(BASE, "search=").space


@pytest.mark.parametrize("search", ["optimizer.momentum: [0.1]", "optimizer: {momentum: [0.1]}"])
def test_fixing_stops_dotted_and_nested_searches(search):
    spec = read(small(search), "train.optimizer.momentum=0.5")
    assert not spec.space and spec.train["optimizer"]["momentum"] == 0.5
    assert not read(small(search), "train.optimizer=adam").space


def test_fixing_stops_what_is_below():
    text = small("model.hidden: [[3], [4]], data.standardize: [true, false]")
    spec = read(text, "model=logistic")
    assert [path for path, _ in spec.space.dimensions] == ["data.standardize"]


@pytest.mark.parametrize("text", ["train.lr", "=3", "train..lr=3", ".=3", ""])
def test_what_is_no_override_is_refused(text):
    with pytest.raises(UsageError, match="is no override"):
        read(BASE, text)


@pytest.mark.parametrize(
    ("override", "key", "words"),
    [
        ("train.lr=fast", "train.lr", "'fast' is not a number"),
        ("train.lr.x=1", "train.lr", "nothing can be set inside"),
        ("train.shedule=cosine", "train.shedule", "write --set train.schedule=cosine; allowed: "),
        ("train.lr=[1", "train.lr", "not valid YAML"),
        ("train.lr=&a 1", "train.lr", "anchors are not allowed"),
        ("name=\udcff", "", "not a text file"),
        ("search.batch_size.0=3", "search.batch_size", "nothing can be set inside"),
        ("search.label_smoothing.points=0", "search.label_smoothing.points", "from 1"),
        ("data.source=~nobody-has-this-name/a", "data.source", "unknown key"),
    ],
)
def test_a_fault_of_an_override_names_the_override(override, key, words):
    (fault,) = faults(BASE, override)
    assert (fault.line, fault.key, fault.source) == (0, key, f"--set {override}")
    assert words in str(fault)


def test_what_is_searched_as_a_whole_is_fixed_as_a_whole():
    text = small("schedule: [constant, cosine]")
    (fault,) = faults(text, "train.schedule.final=0.1")
    assert "'schedule' is searched as a whole" in fault.message
    spec = read(text, "train.schedule={name: cosine, final: 0.1}")
    assert spec.train["schedule"]["final"] == 0.1 and not spec.space


def test_a_path_on_the_command_line_is_relative_to_the_caller(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = small(data="{name: npz, source: here.npz}")
    assert read(text).data["source"] == str(FOLDER / "here.npz")
    assert read(text, "data.source=there.npz").data["source"] == str(tmp_path / "there.npz")


def test_an_override_beside_an_empty_file():
    spec = read("", "name=a", "data=digits", "model=mlp", "train.budget=1ep", "train.lr=1")
    assert (spec.name, spec.train["budget"], spec.train["lr"]) == ("a", "1ep", 1.0)


# the grammar


@pytest.mark.parametrize(
    ("search", "noted"),
    [("lr: [1e-4, 0.1]", True), ("lr: [0.01, 0.1]", False), ("lr: [1e-4, 0.01, 0.1]", False)],
)
def test_two_rates_far_apart_are_said_to_be_no_range(search, noted):
    """Put in, the range of the note is searched, and noted no more."""
    line = "lr: {min: 1e-4, max: 0.1, points: 9}"
    note = f"lr is searched at these two values alone: for those between write {line}"
    assert (note in read(small(search)).notes) == noted
    assert not any("alone" in each for each in read(small(line)).notes)


def test_a_name_both_fixed_and_searched_is_noted():
    text = small("lr: [1, 2], optimizer.momentum: [0.5]", "optimizer: {name: sgd, momentum: 0.9}")
    spec = read(text)
    assert spec.notes == (
        "lr is both fixed and searched: the search wins",
        "optimizer.momentum is both fixed and searched: the search wins",
    )
    config = resolve(spec, {"lr": 2.0, "optimizer.momentum": 0.5})
    assert config["train"]["lr"] == 2.0 and config["train"]["optimizer"]["momentum"] == 0.5


def test_a_range_of_one_value_is_noted():
    (note,) = read(small("optimizer.momentum: {min: 0.5, max: 0.5, points: 3}")).notes
    assert "it has one value, whatever points says" in note and note.endswith("momentum: 0.5")


def test_rates_that_an_optimizer_is_not_made_for_are_noted():
    def notes(search="", train="", *overrides):
        return read(small(search, train), *overrides).notes

    falls = (
        "schedule_free_sgd averages its weights in place of a schedule that falls: "
        "cosine beside it is unusual"
    )
    assert notes(train="optimizer: schedule_free_sgd") == ()
    assert notes(train="optimizer: sgd, schedule: cosine") == ()
    assert notes(train="optimizer: schedule_free_sgd, schedule: cosine") == (falls,)
    assert notes("schedule: [constant, cosine], optimizer: [sgd, schedule_free_sgd]") == (falls,)
    both = notes("schedule: [linear, constant, step]", "optimizer: schedule_free_adamw")
    assert both == (falls.replace("_sgd", "_adamw").replace("cosine", "linear or step"),)
    far = (
        "prodigy estimates the size of its steps itself and lr multiplies it: "
        "values far from 1 are unusual"
    )
    prodigy = "optimizer: prodigy"
    assert notes("", prodigy) == notes("", prodigy, "train.lr=10") == ()
    assert notes("", prodigy, "train.lr=0.05") == notes("", prodigy, "train.lr=20") == (far,)
    assert notes("lr: {min: 1e-4, max: 1}", prodigy)[1:] == (far,)
    assert notes("lr: {min: 0.3, max: 3}", prodigy)[1:] == ()
    assert notes("lr: [1, 10, 100]", prodigy)[1:] == (far,)
    own = "optimizer: [adam, {name: prodigy, lr: %s}], lr: {min: 1e-4, max: 1e-2}"
    assert far not in notes(own % "{min: 0.5, max: 2}") + notes(own % 1.0)
    assert far in notes(own % "{min: 0.01, max: 2}") and far in notes(own % 0.01)


def test_bare_names_are_mappings_with_a_name():
    long = """\
name: digits
data: {name: digits}
model: {name: mlp}
train: {budget: 5ep, lr: 0.1, schedule: {name: cosine}, warmup: {for: 1ep}, optimizer: {name: adam}}
objective: {metric: f1}
search: {schedule: [{name: constant}, {name: cosine}], warmup: [null, {for: 1ep}]}
"""
    short = """\
name: digits
data: digits
model: mlp
train: {budget: 5ep, lr: 0.1, schedule: cosine, warmup: 1ep, optimizer: adam}
objective: f1
search: {schedule: [constant, cosine], warmup: [null, 1ep]}
"""
    left, right = read(long), read(short)
    assert replace(left, text="", document={}) == replace(right, text="", document={})


def test_dotted_and_nested_search_keys_are_the_same():
    dotted = read(
        small(
            "optimizer.momentum: [0.1, 0.5], model.hidden: [[3], [4, 5]], schedule.final: "
            "{min: 0, max: 1}, data.standardize: [true], warmup.for: {min: 1ba, max: 9ba}",
            "schedule: cosine",
        )
    )
    nested = read(
        small(
            "optimizer: {momentum: [0.1, 0.5]}, model: {hidden: [[3], [4, 5]]}, schedule: {final: "
            "{min: 0, max: 1}}, data: {standardize: [true]}, warmup: {for: {min: 1ba, max: 9ba}}",
            "schedule: cosine",
        )
    )
    assert dotted.space == nested.space
    assert len(dotted.space.dimensions) == 5


def test_arguments_of_imported_models_are_searched():
    text = small(
        "model.init_args.width: {min: 2, max: 8, points: 3}, model: {init_args: {rate: "
        "{min: 0.5, max: 2.0, scale: log}, kind: [a, b]}}",
        model="{class_path: mine.Net, init_args: {width: 4, bias: true}}",
    )
    spec = read(text)
    found = dict(spec.space.dimensions)
    assert found["model.init_args.width"] == Int(2, 8, False, 3)
    assert found["model.init_args.rate"] == Float(0.5, 2.0, True)
    config = resolve(spec, first_point(spec.space))
    assert config["model"] == {
        "class_path": "mine.Net",
        "init_args": {"width": 2, "bias": True, "rate": 0.5, "kind": "a"},
    }


def test_ranges_of_durations_keep_their_unit():
    spec = read(small("budget: {min: 1ep, max: 4ep, points: 4}, warmup.for: {min: 1ba, max: 8ba}"))
    found = dict(spec.space.dimensions)
    assert found["budget"] == Float(1.0, 4.0, False, 4, "ep")
    assert found["warmup.for"] == Float(1.0, 8.0, False, None, "ba")
    budgets = [
        point["budget"] for level in grid_of(small("budget: [1ep, 40ba]")) for point in level
    ]
    assert budgets == ["1ep", "40ba"]


def grid_of(text):
    return grid(read(text).space)


def test_the_scale_of_a_range_follows_the_parameter():
    spec = read(
        small(
            "lr: {min: 0.1, max: 1}, optimizer.weight_decay: {min: 1e-5, max: 1}, "
            "optimizer.momentum: {min: 0, max: 0.5}, batch_size: {min: 8, max: 64, scale: linear}"
        )
    )
    log = {path: dimension.log for path, dimension in spec.space.dimensions}
    assert log == {
        "lr": True,
        "optimizer.weight_decay": True,
        "optimizer.momentum": False,
        "batch_size": False,
    }


def test_optimizers_without_a_rate_of_their_own_get_the_common_range():
    text = small(
        "lr: {min: 0.01, max: 1}, optimizer: [sgd, {name: adam, lr: {min: 1e-4, max: 1e-2}}, "
        "{name: adamw, lr: 0.005}]"
    ).replace(", lr: 0.1", "")
    spec = read(text)
    assert [name for name, _ in parameters(spec.space)] == [
        "optimizer",
        "optimizer[0].lr",
        "optimizer[1].lr",
    ]
    ranges = dict(parameters(spec.space))
    assert ranges["optimizer[0].lr"] == Float(0.01, 1.0, True)
    assert ranges["optimizer[1].lr"] == Float(1e-4, 1e-2, True)
    rates = {
        name: resolve(spec, {"optimizer": {"name": name, "lr": lr}})["train"]["lr"]
        for name, lr in [("sgd", 0.5), ("adamw", 0.005)]
    }
    assert rates == {"sgd": 0.5, "adamw": 0.005}
    config = resolve(spec, {"optimizer": {"name": "adam", "lr": 0.002}})
    assert "lr" not in config["train"]["optimizer"] and config["train"]["lr"] == 0.002
    assert flatten(spec.space, config) == {"optimizer": "adam", "lr": 0.002}


def test_a_common_rate_that_no_option_uses_is_noted():
    spec = read(small("lr: [1, 2], optimizer: [{name: sgd, lr: 0.5}, {name: adam, lr: 0.1}]"))
    assert [path for path, _ in spec.space.dimensions] == ["optimizer"]
    assert any("every optimizer option has its own" in note for note in spec.notes)


def test_every_default_is_filled():
    spec = read("name: a\ndata: digits\nmodel: mlp\ntrain: {budget: 1ep, lr: 1}\n")
    assert resolve(spec, {}, "classification") == {
        "data": {
            "name": "digits",
            "task": None,
            "validation": 0.2,
            "test": None,
            "standardize": False,
            "split_seed": 0,
            "validation_seed": None,
            "transforms": [],
        },
        "model": {
            "name": "mlp",
            "hidden": [128],
            "activation": "relu",
            "dropout": 0.0,
            "batch_norm": False,
        },
        "train": {
            "budget": "1ep",
            "lr": 1.0,
            "batch_size": 32,
            "loss": "cross_entropy",
            "label_smoothing": 0.0,
            "clip_norm": None,
            "layer_decay": None,
            "groups": None,
            "weight_decay_on": "all",
            "precision": "float32",
            "step": None,
            "metrics": None,
            "evaluate": "1ep",
            "schedule": {"name": "constant"},
            "warmup": None,
            "optimizer": {
                "name": "sgd",
                "momentum": 0.0,
                "dampening": 0.0,
                "nesterov": False,
                "weight_decay": 0.0,
            },
        },
    }
    assert (spec.metric, spec.at, spec.seeds, spec.seed, spec.max_failures) == (
        None,
        "last",
        1,
        0,
        10,
    )
    assert spec.objective("classification") == Objective("accuracy", "max", "last")
    assert spec.objective("regression").goal == "min"


def test_a_choice_replaces_the_whole_mapping_and_leaves_the_warmup():
    spec = read(
        small(
            "schedule: [constant, {name: one_cycle, pct_start: {min: 0.1, max: 0.3}}]",
            "schedule: {name: cosine, final: 0.5}, warmup: 0.1dur",
        )
    )
    train = resolve(spec, {"schedule": {"name": "one_cycle", "pct_start": 0.2}})["train"]
    assert train["schedule"] == {
        "name": "one_cycle",
        "pct_start": 0.2,
        "div": 25.0,
        "final_div": 1e4,
        "anneal": "cos",
        "three_phase": False,
    }
    assert train["warmup"] == {"for": "0.1dur", "shape": "linear", "start": 0.01}


# every entry of the catalogue


def written(parameter):
    """A value of a parameter that its default is not, where it has another."""
    if parameter.choices and parameter.kind == "int":
        return min(map(int, parameter.choices))
    if parameter.choices:
        others = [each for each in parameter.choices if each != parameter.default]
        return (others or parameter.choices)[-1]
    return {
        "float": 2.5 if parameter.high is None or parameter.low == 1 else parameter.high - 0.75,
        "int": 3 if parameter.every == 1 else int(parameter.low) + parameter.every,
        "bool": parameter.default is not True,
        "ints": [5, 7],
        "path": "/data/file.npz",
        "sides": [24, 32],
        "text": "label",
        "columns": ["a", "b"],
        "character": ";",
        "duration": "2ba",
        "durations": ["2ba", "3ba"],
        "points": [["2ba", 0.5], ["0.5dur", 2.0]],
        "groups": [{"match": "*.bias", "lr": 0.5, "weight_decay": 0.0}],
    }[parameter.kind]


@pytest.mark.parametrize(
    ("group", "name"),
    [(group, name) for group, table in catalogue.GROUPS.items() for name in table],
)
def test_every_builtin_can_be_written_and_is_completed(group, name):
    known = catalogue.GROUPS[group][name].parameters
    bare, whole = {"name": name}, {"name": name}
    whole |= {key: written(parameter) for key, parameter in known.items()}
    if {"nesterov", "dampening"} <= whole.keys():
        whole["dampening"] = 0.0  # the two exclude each other
    if "lower" in whole:
        whole["lower"] = -2.5
    if "metric" in whole:
        whole["metric"] = "accuracy"
    for _, key in catalogue.GROUPS[group][name].either:
        whole[key] = None
    bare |= {key: whole[key] for key, part in known.items() if part.default is REQUIRED}
    tasks = catalogue.GROUPS[group][name].tasks
    data = "digits" if "classification" in tasks else "{name: text, source: a.txt}"
    usual = "mlp" if "classification" in tasks else "char_transformer"
    found = []
    for form in (bare, whole):
        text = json.dumps(form)
        given = {"model": text} if group == "model" else {"train": f"{group}: {text}"}
        spec = read(small(data=data, **given))
        found.append(spec.model if group == "model" else spec.train[group])
        searched = read(small(f"{group}: [{text}]", data=data, model=usual))
        config = resolve(searched, first_point(searched.space))
        assert (config["model"] if group == "model" else config["train"][group]) == found[-1]
    assert found[0] == bare | {
        key: list(part.default) if isinstance(part.default, tuple) else part.default
        for key, part in known.items()
        if part.default is not REQUIRED
    }
    assert found[1] == whole


@pytest.mark.parametrize("name", catalogue.DATA)
def test_every_source_can_be_written(name):
    known = catalogue.DATA[name].parameters
    given = {"name": name} | {key: written(part) for key, part in known.items()}
    given |= {"categorical": ["c"]} if "categorical" in given else {}  # no dropped column
    given |= {"task": "classification"} if "task" in given else {}  # which the model takes
    model = "char_transformer" if catalogue.DATA[name].task == "language" else "mlp"
    spec = read(small(data=json.dumps(given), model=model))
    assert {key: spec.data[key] for key in given} == given
    required = {key: given[key] for key, part in known.items() if part.default is REQUIRED}
    bare = read(small(data=json.dumps({"name": name} | required), model=model))
    assert bare.data["standardize"] is catalogue.DATA[name].standardize
    for key in required:
        lacking = json.dumps({k: v for k, v in given.items() if k != key})
        (fault,) = faults(small(data=lacking, model=model))
        assert f"'{key}' is missing" in fault.message


CODE = {"step", "metrics"}
"""Of `train`, what names the user's code: in tests/test_own_code.py."""


@pytest.mark.parametrize("name", catalogue.METRICS)
def test_every_metric_serves_its_tasks(name):
    goal, tasks, _ = catalogue.METRICS[name]
    for task, data, model in (
        ("classification", "iris", "mlp"),
        ("regression", "diabetes", "mlp"),
        ("language", "{name: text, source: a.txt}", "char_transformer"),
    ):
        text = small(data=data, model=model) + f"objective: {name}\n"
        if task in tasks:
            assert read(text).objective(task) == Objective(name, goal)
        else:
            assert [fault.key for fault in faults(text)] == ["objective.metric"]


@pytest.mark.parametrize("name", [*sorted(catalogue.TRAIN.keys() - CODE), *catalogue.WARMUP])
def test_every_training_value_can_be_written_and_searched(name):
    parameter = catalogue.TRAIN.get(name) or catalogue.WARMUP[name]
    value = "cross_entropy" if name == "loss" else written(parameter)
    warmup = name in catalogue.WARMUP
    given = {"budget": "4ep", "lr": 0.1} | ({} if warmup else {name: value})
    if warmup:
        given["warmup"] = {"for": "1ba", name: value}
    text = f"name: a\ndata: digits\nmodel: mlp\ntrain: {json.dumps(given)}\n"
    fixed = resolve(read(text), {}, "classification")["train"]
    assert (fixed["warmup"] if warmup else fixed)[name] == value
    path = f"warmup.{name}" if warmup else name
    spec = read(text + f"search: {{{path}: [{json.dumps(value)}]}}")
    assert resolve(spec, first_point(spec.space), "classification")["train"] == fixed


# points and configs

PARTS = {
    "lr": ["lr: {min: 1e-4, max: 1.0, points: 3}", "lr: [1, 0.1]"],
    "batch_size": ["batch_size: [16, 64]", "batch_size: {min: 8, max: 64, points: 2}"],
    "optimizer": [
        "optimizer: [sgd, {name: sgd, momentum: 0.9, nesterov: true}]",
        "optimizer: [sgd, {name: adam, lr: {min: 1e-4, max: 1e-2, points: 2}, "
        "beta1: [0.8, 0.9]}, {name: adamw, lr: 0.3}]",
        "optimizer.momentum: {min: 0, max: 0.9, points: 2}",
        "optimizer: {weight_decay: [0, 1e-4], nesterov: [true, false]}",
    ],
    "schedule": [
        "schedule: [constant, {name: cosine, final: 0.5}, "
        "{name: one_cycle, pct_start: {min: 0.1, max: 0.45, points: 2}, anneal: [cos, linear]}]",
        "schedule: [{name: step, every: {min: 0.1dur, max: 0.5dur, points: 2}}, exponential]",
        "schedule.final: {min: 0, max: 0.2, points: 2}",
    ],
    "warmup": [
        "warmup: [null, {for: {min: 1ba, max: 9ba, points: 2}}, {for: 0.1dur, start: [0, 0.5]}]",
        "warmup.for: [1ba, 4ba]",
    ],
    "model": [
        "model: [logistic, {name: mlp, hidden: [[8], [8, 4]], dropout: {min: 0, max: 0.5, "
        "points: 2}}, {class_path: mine.Net, init_args: {n: {min: 1, max: 3, points: 2}, k: a}}]",
        "model.hidden: [[8], [16, 8]]",
        "model: {batch_norm: [true, false], dropout: [0, 0.5]}",
    ],
    "data": ["data.standardize: [true, false]"],
    "rest": ["clip_norm: [null, 1.0], label_smoothing: {min: 0, max: 0.1, points: 2}"],
    "budget": ["budget: {min: 1ep, max: 4ep, points: 2}", "budget: [1ep, 500ba]"],
}


@st.composite
def specs(draw):
    """A valid spec that searches up to three things at once."""
    keys = draw(st.lists(st.sampled_from(sorted(PARTS)), unique=True, max_size=3))
    chosen = [draw(st.sampled_from(PARTS[key])) for key in keys]
    warmup = draw(st.sampled_from(["null", "{for: 3ba, start: 0.1}"]))
    return read(small(", ".join(chosen), f"schedule: cosine, warmup: {warmup}"))


def assert_located(spec, point):
    config = resolve(spec, point, "classification")
    found = locate(spec, config, "classification")
    assert json.dumps(found, sort_keys=True) == json.dumps(point, sort_keys=True)
    assert differences(spec, config, "classification") == []


@given(specs(), st.data())
@settings(max_examples=60)
def test_a_config_is_found_again_at_its_point(spec, data):
    names = [name for name, _ in parameters(spec.space)]
    assert_located(spec, draw(spec.space, {name: data.draw(st.floats(0, 1)) for name in names}))


@given(specs())
def test_every_point_of_a_grid_is_found_again(spec):
    points = [point for level in grid(spec.space) for point in level]
    for point in points[:: max(1, len(points) // 25)]:
        assert_located(spec, point)


def test_a_config_outside_the_space_is_at_no_point():
    spec = read(small("lr: {min: 0.01, max: 1}, schedule: [constant, {name: cosine, final: 0.5}]"))
    inside = resolve(spec, {"lr": 0.5, "schedule": {"name": "cosine", "final": 0.5}})
    assert locate(spec, inside) == {"lr": 0.5, "schedule": {"name": "cosine", "final": 0.5}}
    for path, value in [
        ("lr", 2.0),
        ("schedule", {"name": "cosine", "final": 0.4}),
        ("schedule", {"name": "linear", "final": 0.5}),
        ("batch_size", 64),
        ("budget", "3ep"),
    ]:
        outside = copy.deepcopy(inside)
        outside["train"][path] = value
        assert locate(spec, outside) is None
    belonging = copy.deepcopy(inside)
    belonging["train"]["lr"] = 2.0
    assert differences(spec, belonging) == [] != differences(spec, outside)


def test_differences_name_what_departs():
    stored = resolve(read(small(train="optimizer: {name: sgd, momentum: 0.5}")), {})
    other = small(train="optimizer: {name: sgd, momentum: 0.9}").replace("2ep", "4ep")
    assert differences(read(other), stored) == [
        'train.budget: "2ep" stored, "4ep" in the spec',
        "train.optimizer.momentum: 0.5 stored, 0.9 in the spec",
    ]
    assert differences(read(small(data="wine")), stored)[0] == (
        'data.name: "digits" stored, "wine" in the spec'
    )
    warm = read(small(train="warmup: 1ep"))
    assert differences(warm, stored)[0].startswith("train.warmup: null stored, {")


@pytest.mark.parametrize(
    ("fixed", "searched", "point"),
    [
        ("optimizer: {momentum: 0.9, name: sgd}", "optimizer.momentum: [0.9, 0.5]", None),
        ("batch_size: 64", "batch_size: {min: 32, max: 64}", {"batch_size": 64}),
        ("clip_norm: 1", "clip_norm: [null, 1.0]", {"clip_norm": 1.0}),
        ("schedule: cosine", "schedule: [cosine, constant]", None),
        ("schedule: step", "schedule: [{name: step, gamma: [0.1]}]", None),
        ("warmup: 0.10dur", "warmup.for: [0.1dur]", None),
        ("optimizer: adam", "optimizer: [{name: adam, lr: [0.1]}]", None),
        ("loss: cross_entropy", "loss: [cross_entropy]", None),
    ],
)
def test_a_value_moved_from_train_to_search_stays_the_same_training(fixed, searched, point):
    before, after = read(small(train=fixed)), read(small(searched))
    stored = resolve(before, {}, "classification")
    found = resolve(after, point or first_point(after.space), "classification")
    assert trial_key(found, CONTENT, 0, None) == trial_key(stored, CONTENT, 0, None)
    assert differences(after, stored, "classification") == []
    assert locate(after, stored, "classification") is not None


def key_of(text, seed=0, fold=None, content=CONTENT, task="classification"):
    return trial_key(resolve(read(text), {}, task), content, seed, fold)


def test_a_trial_key_holds_all_that_is_measured_and_nothing_else():
    base = key_of(small())
    assert len(base) == 64 and set(base) <= set(string.hexdigits.lower())
    same = [
        small().replace("name: small", "name: other"),
        small() + "objective: {metric: f1, at: best}\nseeds: 3\nseed: 5\nbayes: {trials: 9}\n",
        small(train="loss: cross_entropy, batch_size: 32.0"),
        small(data="{validation: 0.2, name: digits, test: null}"),
        small(data="{name: digits, transforms: []}"),
    ]
    assert {key_of(text) for text in same} == {base}
    others = [
        key_of(small(), seed=1),
        key_of(small(), fold=0),
        key_of(small(), content={**CONTENT, "data": "d1"}),
        key_of(small(), content={**CONTENT, "source": "s1"}),
        key_of(small(data="{name: digits, split_seed: 1}")),
        key_of(small(data="{name: digits, standardize: true}")),
        key_of(small(data="{name: digits, transforms: [flip]}")),
        key_of(small(data="{name: digits, transforms: [{name: flip, p: 0.4}]}")),
        key_of(small(data="{name: digits, transforms: [flip, mixup]}")),
        key_of(small(data="{name: digits, transforms: [mixup, flip]}")),
        key_of(small(model="{name: mlp, dropout: 0.1}")),
        key_of(small(train="label_smoothing: 0.1")),
        key_of(small().replace("2ep", "3ep")),
    ]
    assert len({base, *others}) == 1 + len(others)


def test_a_files_path_is_not_its_content():
    one, two, cut = (
        small(data=f"{{name: npz, source: {source}}}") for source in ("a.npz", "b.npz", "a.npz")
    )
    cut = cut.replace("a.npz", "a.npz, samples: 50")
    assert key_of(one) == key_of(two) != key_of(cut)
    assert differences(read(two), resolve(read(one), {})) == []
    assert "source" in resolve(read(one), {})["data"]
    assert "source" not in identity(resolve(read(one), {}))["data"]


def test_a_trial_key_outlives_the_journal():
    spec = read(small(PARTS["optimizer"][1] + ", " + PARTS["schedule"][0]))
    for point in points_of(spec):
        config = resolve(spec, point, "classification")
        stored = json.loads(json.dumps(config))
        assert trial_key(stored, CONTENT, 0, None) == trial_key(config, CONTENT, 0, None)


def test_flat_values_are_those_in_which_points_differ():
    spec = read(
        small(
            "lr: [1, 2], schedule: [constant, {name: cosine, final: 0.5}, {name: cosine, final: "
            "0.1}, {name: one_cycle, pct_start: {min: 0.1, max: 0.3}, div: 10}]"
        )
    )

    def flat(**schedule):
        return flatten(spec.space, resolve(spec, {"lr": 1.0, "schedule": schedule}))

    assert flat(name="constant") == {"lr": 1.0, "schedule": "constant"}
    assert flat(name="cosine", final=0.5)["schedule.final"] == 0.5
    assert flat(name="one_cycle", div=10.0, pct_start=0.2) == {
        "lr": 1.0,
        "schedule": "one_cycle",
        "schedule.pct_start": 0.2,
    }


# summaries


def test_a_spec_is_read_back_in_words():
    text = BASE + "  schedule: [constant, {name: cosine, final: {min: 0, max: 1, points: 2}}]\n"
    assert describe(read(text + "seeds: 2\n")) == (
        "Run 'digits' trains mlp on digits, budget 5ep a trial. "
        "Validation: a share of 0.2, 359 of 1,797 samples. "
        "It searches batch_size (32, 64); label_smoothing (0 to 0.2, linear, 3 points); "
        "schedule (constant, cosine (with its final)). "
        "The grid has 18 points. A point is 2 trials (2 seeds). "
        "A trial takes 112 to 225 steps. "
        "Points are compared by validation accuracy, last of the training. "
        "A training under way is saved every 5m."
    )


def test_a_grid_alone_is_told_nothing_of_how_bayes_begins():
    begins = "points of bayes lean to what is usual from scratch: small batches first. "
    assert begins not in describe(read(BASE))
    assert begins in describe(read(BASE + "bayes: {trials: 12}\n"))
    assert begins in describe(read(BASE.replace(", points: 3", "")))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (small(), "It searches nothing: grid trains its one point. The grid has 1 point."),
        (small("lr: {min: 0.1, max: 1}"), "No grid: lr has no 'points'"),
        (small("lr: {min: 0.1, max: 1}"), "lr (0.1 to 1, log)"),
        (small("budget: {min: 1ep, max: 2ep}"), "; the budget of a trial is searched"),
        (small("budget: {min: 1ep, max: 2ep}"), "A trial takes 45 to 90 steps"),
        (small(data="{name: digits, validation: {folds: 5}}"), "A point is 5 trials (5 folds)"),
        (small(data="{class_path: a.b}"), "the task's usual metric"),
        (
            small(data="{class_path: a.b, test: 0.1}"),
            "Validation: the data's own validation part if they bring one, else a share of 0.2; "
            "test: a share of 0.1.",
        ),
        (small(data="{name: npz, source: a.npz, validation: source}"), "n: the data's own part."),
        (small(data="{name: csv, source: a.csv, target: y}"), "Validation: a share of 0.2."),
        (small(data="{class_path: a.b}"), "are known when the data load"),
        (small(data="diabetes"), "compared by validation loss"),
    ],
)
def test_what_a_summary_says(text, words):
    assert words.lower() in describe(read(text)).lower()


def test_the_first_point_has_the_lowest_values_and_first_options():
    spec = read(
        small("lr: {min: 0.1, max: 1}, budget: {min: 2ep, max: 3ep}, optimizer: [adam, sgd]")
    )
    assert first_point(spec.space) == {"lr": 0.1, "budget": "2ep", "optimizer": {"name": "adam"}}


def test_schedules_are_shown_at_the_ends_of_their_ranges():
    spec = read(small("schedule: [constant, {name: cosine, final: {min: 0, max: 1}}], lr: [1, 2]"))
    found = [point["schedule"] for point in schedule_points(spec.space, {"lr": 1.0})]
    assert found == [
        {"name": "constant"},
        {"name": "cosine", "final": 0.0},
        {"name": "cosine", "final": 1.0},
    ]
    assert schedule_points(read(small("lr: [1]")).space, {"lr": 1.0}) == [{"lr": 1.0}]


def test_steps_are_epochs_times_samples_over_the_batch():
    config = resolve(read(small()), {})
    assert steps_of(config, 1000) == round(2 * 1000 / 32)
    config["train"]["budget"] = "1ba"
    assert steps_of(config, 1000) == 1


# export


@given(specs(), st.integers(0, 2**16))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_an_exported_point_is_a_spec_of_that_point_alone(tmp_path, spec, seed):
    (point,) = points_of(spec, 1, seed)
    config = resolve(spec, point, "classification")
    path = tmp_path / "best.yaml"
    path.write_text(export_spec(spec, config, Objective("f1", "max", "best"), "small-best"))
    back = read_spec(path)
    assert not back.space
    assert (back.name, back.metric, back.at, back.seeds) == ("small-best", "f1", "best", spec.seeds)
    again = resolve(back, {}, "classification")
    assert identity(again) == identity(config)
    keys = {trial_key(part, CONTENT, 3, None) for part in (config, again)}
    assert len(keys) == 1


@pytest.mark.parametrize("value", ["1e-3", "08", "no", "null", "~", "a: b", "\x85", "a\n", "", "é"])
def test_a_text_is_exported_so_that_it_is_read_back(value):
    document = small(model="{class_path: mine.Net, init_args: {mode: " + json.dumps(value) + "}}")
    spec = read(document)
    text = export_spec(spec, resolve(spec, {}), Objective("accuracy", "max"), "1e-3")
    back = read(text)
    assert back.model == spec.model and back.name == "1e-3"


def test_an_export_leaves_out_what_is_as_usual():
    data = "{name: csv, source: a.csv, target: y, standardize: false}"
    spec = read(small(data=data), "train.schedule={name: cosine, final: 0.1}")
    text = export_spec(spec, resolve(spec, {}, "classification"), Objective("loss", "min"), "best")
    document = parse(text, "best.yaml").data
    # A choice of what is usual stays said where it is the answer.
    train = {"budget": "2ep", "lr": 0.1, "batch_size": 32, "schedule": {"name": "cosine"}}
    train["schedule"]["final"] = 0.1
    assert document["train"] == {**train, "optimizer": {"name": "sgd"}, "loss": "cross_entropy"}
    assert document["model"] == {"name": "mlp"}
    assert document["data"].keys() == {"name", "source", "target", "validation", "standardize"}


def test_an_exported_file_keeps_the_data_it_names():
    spec = read(small(data="{name: npz, source: there/a.npz, validation: source, test: 0.1}"))
    text = export_spec(spec, resolve(spec, {}), Objective("loss", "min"), "best")
    back = validate(parse(text, "best.yaml"), Path("/elsewhere"), text)
    assert back.data == spec.data


@pytest.mark.parametrize("save", ["1.5s", "0s", "90m", "null", "5m"])
def test_an_exported_spec_is_saved_as_often(save):
    spec = read(BASE, f"save={save}")
    text = export_spec(
        spec, resolve(spec, {}, "classification"), spec.objective("classification"), "x"
    )
    assert validate(parse(text, "x.yaml"), FOLDER, text).save == spec.save
    assert ("save:" in text) == (save != "5m")


def test_an_exported_name_has_at_most_64_characters():
    assert export_name("digits") == "digits-best"
    assert export_name("x" * 64) == "x" * 59 + "-best"


# anything at all

WHOLE = parse(small(", ".join(parts[0] for parts in PARTS.values())), "f").data
WHOLE |= {"objective": {"metric": "f1", "at": "best"}, "random": {"trials": 4}, "seeds": 2}
IMPORTED = parse(
    small(
        "model.init_args.a: [1, 2], model: {init_args: {b: {min: 1, max: 3}}}, " + PARTS["data"][0],
        "warmup: {for: 1ba}, optimizer: adam",
        "{class_path: mine.load, init_args: {n: 3}, validation: {folds: 3}, test: 0.1}",
        "{class_path: mine.Net, init_args: {a: 1}}",
    ),
    "f",
).data
TABLES = (catalogue.TRAIN, catalogue.WARMUP, *catalogue.GROUPS.values(), catalogue.METRICS)
WORDS = sorted(
    {name for table in TABLES for name in table}
    | {
        key
        for table in catalogue.GROUPS.values()
        for entry in table.values()
        for key in entry.parameters
    }
    | {"name", "class_path", "init_args", "min", "max", "points", "scale", "log", "at", "folds"}
    | {"5ep", "0.1dur", "1dur", "100ba", "x.Y", "", "model.hidden", "warmup.for", "optimizer.lr"}
)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 40),
    st.integers(),
    st.floats(),
    st.sampled_from(WORDS),
    st.text(max_size=6),
)
KEYS = st.sampled_from(WORDS) | st.text(max_size=4)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=6,
)


def paths(tree, prefix=()):
    yield prefix
    if isinstance(tree, dict | list):
        for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree):
            yield from paths(value, (*prefix, key))


PATHS = sorted({".".join(map(str, path)) for path in (*paths(WHOLE), *paths(IMPORTED)) if path})


@st.composite
def mutants(draw):
    """A valid spec in which one or two nodes are replaced, added or taken away."""
    tree = copy.deepcopy(draw(st.sampled_from([WHOLE, IMPORTED])))
    for _ in range(draw(st.integers(1, 2))):
        *parents, last = draw(st.sampled_from([path for path in paths(tree) if path]))
        node = tree
        for key in parents:
            node = node[key]
        value = copy.deepcopy(draw(VALUES))
        action = draw(st.sampled_from(["replace", "add", "remove"]))
        if action == "add" and isinstance(node[last], dict):
            node[last][draw(KEYS)] = value
        elif action == "add" and isinstance(node[last], list):
            node[last].append(value)
        elif action == "remove":
            del node[last]
        else:
            node[last] = value
    return tree


def read_or_refuse(make):
    """Whatever is no spec is refused; whatever is one can be described and trained."""
    try:
        spec = make()
    except LrsearchError as error:
        assert str(error)
        return
    describe(spec)
    task = spec.task or "classification"
    for point in (first_point(spec.space), *points_of(spec, 2)):
        config = resolve(spec, point, task)
        assert steps_of(config, 1000) >= 1
        assert differences(spec, config, task) == []
        located = locate(spec, config, task)
        assert located is not None
        assert identity(resolve(spec, located, task)) == identity(config)
        trial_key(config, CONTENT, 0, None)


@given(mutants())
@settings(max_examples=60)
def test_a_damaged_spec_is_refused_or_works(tree):
    read_or_refuse(lambda: validate(Document("f.yaml", tree), FOLDER, ""))


@given(mutants())
def test_a_damaged_file_is_refused_or_works(tree):
    read_or_refuse(lambda: read(yaml.safe_dump(tree, sort_keys=False)))


@pytest.mark.parametrize("value", [[1], [["a"]], {"a": 1}, [{"a": [1]}], True, None, "a", -1.5])
@pytest.mark.parametrize("name", [*catalogue.DATA, None])
def test_data_with_a_wrong_value_are_refused_or_work(name, value):
    """Lists and mappings among them, which no table can be asked for."""
    source = catalogue.DATA.get(name)
    known = source.parameters if source else catalogue.IMPORTED
    given = {"name": name} if source else {"class_path": "nets.load"}
    given |= {key: written(part) for key, part in known.items() if part.default is REQUIRED}
    model = "char_transformer" if source and source.task == "language" else "mlp"
    for key in (*given, *known, *catalogue.splitting(source), "validation", "test", "transforms"):
        text = small(data=json.dumps(given | {key: value}), model=model)
        read_or_refuse(lambda text=text: read(text))


PIECES = ["name: ", "- ", "{", "}", "[", "]", "\n", "  ", "x", "&a ", "*a", "!!str ", "? ", "| "]
PIECES += ["> ", "'", '"', "\t", "---\n", "...\n", "%YAML 1.1\n", "\\U", "1e-3", ": ", ", ", "#"]


@given(st.text(max_size=40) | st.lists(st.sampled_from(PIECES), max_size=25).map("".join))
@settings(max_examples=60)
def test_any_text_is_refused(text):
    with pytest.raises(SpecError):
        read(text)


@given(st.binary(max_size=60))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_are_refused(tmp_path, content):
    path = tmp_path / "spec.yaml"
    path.write_bytes(content)
    with pytest.raises(SpecError):
        read_spec(path)


@given(
    st.lists(
        st.one_of(
            st.text(max_size=12),
            st.tuples(
                st.sampled_from(PATHS) | st.sampled_from(WORDS).map("train.{}".format),
                st.text(max_size=8)
                | VALUES.map(lambda value: yaml.safe_dump(value, default_flow_style=True)),
            ).map("=".join),
        ),
        min_size=1,
        max_size=3,
    ),
    st.sampled_from([WHOLE, IMPORTED]),
)
@settings(max_examples=60)
def test_any_override_is_refused_or_works(overrides, tree):
    def make():
        document = Document("f.yaml", copy.deepcopy(tree))
        for override in overrides:
            apply_override(document, override)
        return validate(document, FOLDER, "")

    read_or_refuse(make)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_written_by_python_is_read_back(value):
    assert plain_scalar(repr(value)) == value
    assert plain_scalar(f"{round_value(value):.12g}") == round_value(value)


def test_the_specs_that_are_damaged_are_whole():
    for tree in (WHOLE, IMPORTED):
        assert validate(Document("f.yaml", tree), FOLDER, "").space


def test_a_key_given_twice_hides_no_other_fault(tmp_path):
    path = tmp_path / "twice.yaml"
    path.write_text(small().replace("model: mlp", "model: mlp\nmodel: cnn").replace("0.1", "fast"))
    with pytest.raises(SpecError) as error:
        read_spec(path)
    assert [(fault.line, fault.key) for fault in error.value.faults] == [
        (4, "model"),
        (5, "train.lr"),
    ]


def test_a_searched_model_needs_no_fixed_one():
    text = small("model: [logistic, {name: mlp, hidden: [8]}]").replace("model: mlp\n", "")
    spec = read(text)
    names = [
        resolve(spec, point, "classification")["model"]["name"] for point in points_of(spec, 9)
    ]
    assert set(names) == {"logistic", "mlp"}
    assert describe(spec)


def test_every_option_shows_its_rate_where_one_has_its_own():
    spec = read(
        small("optimizer: [{name: sgd, lr: {min: 0.1, max: 1}}, {name: adam, lr: 0.001}, adamw]")
    )
    shown = {}
    for point in points_of(spec, 30):
        flat = flatten(spec.space, resolve(spec, point, "classification"))
        shown.setdefault(flat["optimizer"], set()).add(flat["lr"])
    assert shown["adam"] == {0.001}
    assert shown["adamw"] == {0.1}
    assert len(shown["sgd"]) > 1


def test_a_path_inside_a_mapping_given_by_set_is_relative_to_here(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    spec = read(small(), "data={name: npz, source: here.npz}")
    assert spec.data["source"] == str(tmp_path / "here.npz")


def test_an_exported_spec_says_where_its_code_was():
    spec = read(small(model="{class_path: nets.Net}"))
    text = export_spec(
        spec, resolve(spec, {}, "classification"), spec.objective("classification"), "x"
    )
    head = text.splitlines()[0]
    assert head.startswith("#") and "--allow-import nets" in head and str(FOLDER) in head
    spec = read(small())
    text = export_spec(
        spec, resolve(spec, {}, "classification"), spec.objective("classification"), "x"
    )
    assert not text.startswith("#")


# schedules against the budget


@pytest.mark.parametrize(
    ("search", "train", "key", "message"),
    [
        (
            "",
            "schedule: {name: multistep, milestones: [1.5ep, 1ep]}",
            "train.schedule.milestones",
            "out of order",
        ),
        (
            "",
            "schedule: {name: multistep, milestones: [3ep]}",
            "train.schedule.milestones",
            "past the end",
        ),
        (
            "",
            "schedule: {name: cosine_restarts, first: 3ep}",
            "train.schedule.first",
            "longer than",
        ),
        (
            "",
            "schedule: {name: cosine_restarts, cycles: 5000}",
            "train.schedule.cycles",
            "do not fit",
        ),
        (
            "",
            "schedule: {name: cosine_restarts, cycles: 2, first: 1ep}",
            "train.schedule.first",
            "exclude",
        ),
        (
            "",
            "schedule: {name: exponential, gamma: 0.5, final: 0.1}",
            "train.schedule.final",
            "exclude",
        ),
        ("", "schedule: {name: wsd, decay: 3ep}", "train.schedule.decay", "longer than"),
        ("", "schedule: {name: step, gamma: 1.5}", "train.schedule.gamma", "too large"),
        (
            "",
            "schedule: {name: multistep, milestones: []}",
            "train.schedule.milestones",
            "not a list of durations",
        ),
        ("", "schedule: {name: piecewise}", "train.schedule", "'points' is missing"),
        (
            "",
            "schedule: {name: piecewise, points: [[1ep, -1]]}",
            "train.schedule.points",
            "too small",
        ),
        (
            "",
            "schedule: {name: piecewise, points: [1ep, 0.1]}",
            "train.schedule.points",
            "not a list of [duration",
        ),
        (
            "",
            "schedule: {name: plateau, metric: r2}",
            "train.schedule.metric",
            "no metric of classification",
        ),
        ("", "layer_decay: 0", "train.layer_decay", "too small"),
        ("", "layer_decay: 0.5, optimizer: prodigy", "train.layer_decay", "one rate for all"),
        (
            "layer_decay: [0.5, 1], optimizer: [sgd, prodigy]",
            "",
            "search.layer_decay",
            "one rate for all",
        ),
        (
            "",
            "optimizer: prodigy, groups: {a.weight: {lr: 0.1}}",
            "train.groups",
            "one rate for all",
        ),
        ("", "groups: {}", "train.groups", "not a mapping of patterns"),
        ("", "groups: {a.weight: 0.1}", "train.groups", "gives neither lr nor weight_decay"),
        ("", "groups: {a.weight: {rate: 0.1}}", "train.groups", "unknown key 'rate'"),
        ("", "groups: [{lr: 0.1}]", "train.groups", "not a mapping of patterns"),
        ("", "groups: [{match: a, lr: 1}, {match: a, lr: 2}]", "train.groups", "twice"),
        (
            "optimizer: [sgd, prodigy], groups: [null, {a: {lr: 0.1}}]",
            "",
            "search.groups",
            "one rate for all",
        ),
        ("schedule.metric: [loss, r2]", "schedule: plateau", "search.schedule.metric", "no metric"),
        (
            "schedule: [constant, {name: plateau, metric: [loss, rmse]}]",
            "",
            "search.schedule.1.metric",
            "no metric of",
        ),
        (
            "schedule: [{name: wsd, decay: [0.1dur, 1.5dur, 0.2dur]}]",
            "",
            "search.schedule.0.decay",
            "longer than",
        ),
        (
            "budget: [20ep, 1ep, 4ep], batch_size: [32, 512]",
            "warmup: 30ba",
            "train.warmup.for",
            "a warmup of 30ba is 30 steps",
        ),
        (
            "schedule: [{name: tanh, lower: {min: -3, max: 3}, upper: {min: 2, max: 4}}]",
            "",
            "search.schedule.0.lower",
            "not below",
        ),
        (
            "warmup.shape: [linear, exponential]",
            "warmup: {for: 3ba, start: 0}",
            "train.warmup.start",
            "cannot start at 0",
        ),
        ("", "groups: {a.weight: {lr: -1}}", "train.groups", "too small"),
        ("", "schedule: {name: cosin}", "train.schedule.name", "unknown schedule 'cosin'"),
        ("", "warmup: 3ep", "train.warmup.for", "the whole budget has"),
        (
            "",
            "warmup: {for: 1ep, shape: exponential, start: 0}",
            "train.warmup.start",
            "cannot start at 0",
        ),
        (
            "schedule: [constant, {name: wsd, decay: {min: 1ep, max: 3ep}}]",
            "",
            "search.schedule.1.decay",
            "longer than",
        ),
        (
            "schedule: [constant, {name: plateau, metric: mae}]",
            "",
            "search.schedule.1.metric",
            "no metric of",
        ),
        (
            "schedule.decay: {min: 1ep, max: 3ep}",
            "schedule: wsd",
            "search.schedule.decay",
            "longer than",
        ),
        ("warmup.for: {min: 1ep, max: 2ep}", "", "search.warmup.for", "the whole budget has"),
        ("warmup: [null, 1ep, 2ep]", "", "search.warmup.2.for", "the whole budget has"),
        ("batch_size: [32, 718]", "warmup: 4ba", "train.warmup.for", "a warmup of 4ba is 4 steps"),
    ],
    ids=lambda text: text[:30],
)
def test_schedules_that_do_not_fit_name_their_line(search, train, key, message):
    (fault,) = faults(small(search, train))
    assert fault.key == key and message in fault.message
    assert fault.line == (5 if key.startswith("search") else 4)


def test_the_order_of_groups_is_part_of_what_is_measured():
    """The first pattern that matches counts."""
    one = "{'*': {lr: 0.0}, '*.bias': {lr: 1.0}}"
    other = "{'*.bias': {lr: 1.0}, '*': {lr: 0.0}}"
    first, second = (resolve(read(small(train=f"groups: {each}")), {}) for each in (one, other))
    assert trial_key(first, CONTENT, 0, None) != trial_key(second, CONTENT, 0, None)
    assert differences(read(small(train=f"groups: {one}")), second)
    spec = read(small(f"groups: [null, {one}, {other}]"))
    points = [point for level in grid(spec.space) for point in level]
    flat = [flatten(spec.space, resolve(spec, point))["groups"] for point in points]
    assert len({json.dumps(each) for each in flat}) == 3
    listed = "[{match: '*', lr: 0.0}, {match: '*.bias', lr: 1.0}]"
    assert resolve(read(small(train=f"groups: {listed}")), {}) == first


def test_a_class_path_takes_the_place_of_a_built_in():
    for train in ("", "optimizer: adam", "optimizer: {name: sgd, momentum: 0.9}"):
        spec = read(
            small(train=train),
            "train.optimizer.class_path=torch.optim.LBFGS",
            "train.optimizer.init_args={max_iter: 2}",
        )
        assert spec.train["optimizer"] == {
            "class_path": "torch.optim.LBFGS",
            "init_args": {"max_iter": 2},
        }


def test_an_imported_option_carries_its_own_rate():
    spec = read(
        small("optimizer: [sgd, {class_path: own.Lion, lr: {min: 1e-4, max: 1e-3, points: 2}}]")
    )
    points = [point for level in grid(spec.space) for point in level]
    assert [resolve(spec, point)["train"]["lr"] for point in points] == [0.1, 1e-4, 1e-3]
    assert all(locate(spec, resolve(spec, point)) == point for point in points)


def test_lengths_in_the_budget_s_unit_are_checked_without_data():
    npz = "{name: npz, source: x.npz}"
    (fault,) = faults(small(train="warmup: 2ep", data=npz))
    assert fault.key == "train.warmup.for"
    (fault,) = faults(small(train="schedule: {name: multistep, milestones: [1.2dur]}", data=npz))
    assert fault.key == "train.schedule.milestones"
    read(small(train="warmup: 1000000ba", data=npz))  # Only the data's size can tell.


def test_searched_lists_of_lengths():
    spec = read(
        small(
            "schedule: [{name: multistep, milestones: [[0.5dur], [0.3dur, 0.6dur]]}, "
            "{name: piecewise, points: [[[0.1dur, 1]], [[0.2dur, 1], [1ep, 0.5]]]}]"
        )
    )
    found = [
        resolve(spec, point)["train"]["schedule"] for level in grid(spec.space) for point in level
    ]
    assert [each.get("milestones") or each["points"] for each in found] == [
        ["0.5dur"],
        ["0.3dur", "0.6dur"],
        [["0.1dur", 1.0]],
        [["0.2dur", 1.0], ["1ep", 0.5]],
    ]
    spec = read(small("schedule.milestones: [[0.5dur], [0.3dur, 0.6dur]]", "schedule: multistep"))
    assert len([point for level in grid(spec.space) for point in level]) == 2


def test_a_schedule_of_your_own():
    spec = read(
        small(
            "schedule.init_args.power: {min: 1.0, max: 3.0, points: 3}",
            "schedule: {class_path: own.decay, init_args: {power: 2.0, low: 0.1}}",
        )
    )
    assert needed_imports(spec) == ("own",)
    config = resolve(spec, {"schedule.init_args.power": 3.0})
    assert config["train"]["schedule"] == {
        "class_path": "own.decay",
        "init_args": {"power": 3.0, "low": 0.1},
    }
    assert locate(spec, config) == {"schedule.init_args.power": 3.0}
    (fault,) = faults(small("schedule.power: [1, 2]", "schedule: {class_path: own.decay}"))
    assert "write schedule.init_args.power" in fault.hint


def test_what_older_runs_did_not_have_takes_no_measurement_away():
    spec = read(small(train="schedule: exponential"))
    config = resolve(spec, {})
    older = copy.deepcopy(config)
    assert older["train"]["schedule"].pop("final") is None
    for key in ("layer_decay", "groups", "weight_decay_on"):
        del older["train"][key]
    assert trial_key(older, CONTENT, 0, None) == trial_key(config, CONTENT, 0, None)
    assert not differences(spec, older)
    assert structure(older, None) == structure(config, None)
    assert fill_config(older) == config == fill_config(config)


# What is computed in few steps, held against the formula it stands for ------------------------


DRAWN = draw
"""By another name, where `draw` is hypothesis's."""


@st.composite
def trained(draw):
    """A spec, and the config of one of its points."""
    spec = draw(specs())
    shares = {name: draw(st.floats(0, 1)) for name, _ in parameters(spec.space)}
    return spec, resolve(spec, DRAWN(spec.space, shares), "classification")


@given(trained(), st.dictionaries(st.text(), st.text()), st.integers(), st.none() | st.integers(0))
def test_a_trial_key_is_the_hash_of_one_object(case, content, seed, fold):
    _, config = case
    whole = {
        "version": TRAINING_VERSION,
        "config": identity(config),
        "content": content,
        "seed": seed,
        "fold": fold,
    }
    text = json.dumps(whole, sort_keys=True, separators=(",", ":"))
    assert trial_key(config, content, seed, fold) == hashlib.sha256(text.encode()).hexdigest()


def _flattened(space, config):
    flat = {}
    for path, dimension in space.dimensions:
        try:
            value = get_path(config, config_path(path))
        except KeyError:
            continue
        if not isinstance(value, dict):
            flat[path] = value
            continue
        title = value.get("name", value.get("class_path"))
        if title is not None:
            flat[path] = title
        options = [each.value for each in dimension.options if isinstance(each.value, dict)]
        spaces = [each.space for each in dimension.options if isinstance(each.value, dict)]
        alike = [
            (option, inner)
            for option, inner in zip(options, spaces, strict=True)
            if option.get("name", option.get("class_path")) == title
        ]
        for option, inner in alike:
            names = [name for name, _ in inner.dimensions]
            names += [
                name
                for name, part in option.items()
                if name not in ("name", "class_path")
                and (title is None or any(not same(o.get(name), part) for o, _ in alike))
            ]
            for name in names:
                if (path, name) != ("optimizer", "lr"):
                    flat[f"{path}.{name}"] = get_path(value, name)
        carry = [
            "lr" in each.value or "lr" in dict(each.space.dimensions)
            for each in (dimension.options if isinstance(dimension, Choice) else ())
            if isinstance(each.value, dict)
        ]
        if path == "optimizer" and any(carry):
            flat["lr"] = config["train"]["lr"]
    return flat


@given(trained())
@settings(max_examples=60)
def test_params_are_all_in_which_points_differ(case):
    spec, config = case
    assert flatten(spec.space, config) == _flattened(spec.space, config)


def _filled(config):
    train, data = config["train"], config["data"]
    later = ("layer_decay", "groups", "weight_decay_on", "step", "metrics")
    return {
        **config,
        "data": {**data, "transforms": data.get("transforms") or []},
        "train": {
            **train,
            **{name: catalogue.TRAIN[name].default for name in later if name not in train},
            **{part: complete_group(part, train[part]) for part in ("schedule", "optimizer")},
        },
    }


@given(trained(), st.data())
def test_a_stored_config_is_filled_with_what_came_since(case, data):
    _, config = case
    stored = json.loads(json.dumps(config))
    for part in (stored["train"], stored["data"], stored["train"]["optimizer"]):
        later = {"layer_decay", "groups", "step", "metrics", "transforms", "nesterov", "betas"}
        for name in data.draw(st.sets(st.sampled_from(sorted(later)))) & part.keys():
            del part[name]
    before = copy.deepcopy(stored)
    filled = fill_config(stored)
    assert json.dumps(filled) == json.dumps(_filled(stored))  # In the same order, too.
    assert stored == before


def _departing(stored, present, path, searched, found):
    if path in searched:
        return
    if isinstance(stored, dict) and isinstance(present, dict):
        if stored == present:
            return
        for name in dict.fromkeys((*present, *stored)):
            inner = f"{path}.{name}" if path else name
            _departing(stored.get(name), present.get(name), inner, searched, found)
    elif not same(stored, present):
        below = any(name.startswith(path + ".") for name in searched)
        if not (below and (stored is None or present is None)):
            left, right = json.dumps(stored), json.dumps(present)
            found.append(f"{path}: {left} stored, {right} in the spec")


VALUES = st.sampled_from([None, True, False, 0, 1, 1.0, 0.5, "a", [1], [True], {}, {"name": "x"}])


@given(trained(), st.data())
@settings(max_examples=60)
def test_differences_are_found_wherever_they_are(case, data):
    spec, config = case
    for _ in range(data.draw(st.integers(0, 3))):
        part = config[data.draw(st.sampled_from(["data", "model", "train"]))]
        name = data.draw(st.sampled_from([*part, "other"]))
        if name == "name":
            continue  # Of what there is not, no more is known.
        if name in ("schedule", "optimizer") and isinstance(part.get(name), dict):
            part = part[name]
            name = data.draw(st.sampled_from([*part, "other"]))
        part[name] = data.draw(VALUES)
    searched = {config_path(path) for path, _ in spec.space.dimensions}
    optimizers = dict(spec.space.dimensions).get("optimizer")
    if isinstance(optimizers, Choice) and any(
        "lr" in dict(option.space.dimensions) or "lr" in option.value
        for option in optimizers.options
        if isinstance(option.value, dict)
    ):
        searched.add("train.lr")
    found = []
    fixed = identity(resolve_fixed(spec, "classification"))
    _departing(identity(config), fixed, "", searched, found)
    assert differences(spec, config, "classification") == found


def _spoil(value):
    """Change all that can be changed inside a value."""
    for part in value.values() if isinstance(value, dict) else value:
        if isinstance(part, dict | list):
            _spoil(part)
    value.clear()


@given(specs(), st.data())
def test_a_config_shares_nothing_with_its_spec(spec, data):
    shares = {name: data.draw(st.floats(0, 1)) for name, _ in parameters(spec.space)}
    point = draw(spec.space, shares)
    config = resolve(spec, point)
    text = json.dumps(config)
    _spoil(config)
    assert json.dumps(resolve(spec, point)) == text


ATOMS = st.none() | st.booleans() | st.integers(-2, 2) | st.floats(-2, 2) | st.sampled_from("ab")
TREES = st.recursive(
    ATOMS,
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.tuples(inner)
        | st.dictionaries(st.sampled_from("ab"), inner, max_size=2)
    ),
    max_leaves=5,
)


def _alike(left, right):
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(_alike(left[key], right[key]) for key in left)
    if isinstance(left, list | tuple) and isinstance(right, list | tuple):
        return len(left) == len(right) and all(map(_alike, left, right))
    return bool(left == right)


@given(TREES, TREES)
def test_values_are_the_same_where_json_says_so(left, right):
    assert same(left, right) == _alike(left, right)
    assert same(left, copy.deepcopy(left))


@pytest.mark.parametrize(
    ("key", "line", "hint"),
    [
        *(("both", f": {word}", "write {key}: null") for word in ("never", "no", "off", "false")),
        *(("both", f": {word}", "write {key}: null") for word in ("None", "unlimited", ".inf")),
        ("both", ": 5", "write {key}: 5s"),
        ("both", ": 1e6", "write {key}: 1000000s"),
        ("both", ": '5'", "write {key}: 5s"),
        ("both", ": 5min", "write {key}: 5m"),
        ("both", ": 10 minutes", "write {key}: 10m"),
        ("both", ": 1d", "write {key}: 24h"),
        ("both", ": 1h 30 min", "write {key}: 90m"),
        ("both", ": 500ms", "write {key}: 0.5s"),
        ("both", ": '00:05:30'", "write {key}: 330s"),
        ("both", ": 5M", "write {key}: 5m"),
        ("both", ":", "'{key}' is empty\n  write {key}: null; that is "),
        ("both", ": # soon", "'{key}' is empty"),
        ("both", ": ''", "'{key}' is empty"),
        ("both", ": -5", "it takes a number above 0 and s, m or h: 90s, 10m, 1.5h"),
        ("both", ": 3ep", "it takes a number above 0 and s, m or h"),
        ("both", ": 999999d", "it takes a number above 0 and s, m or h"),
        ("save", ": 0", "write save: 0s; that is at every evaluation; null is never"),
        ("save", ": true", "write save: 5m; which is the default"),
        ("timeout", ": 0", "it takes a number above 0 and s, m or h"),
    ],
)
def test_a_slip_in_a_time_gets_the_line_to_write(tmp_path, key, line, hint):
    for name in ("save", "timeout") if key == "both" else (key,):
        text = f"data: iris\nmodel: mlp\ntrain: {{budget: 1ep, lr: 0.1}}\n{name}{line}\n"
        (tmp_path / "s.yaml").write_text(text)
        with pytest.raises(SpecError) as error:
            read_spec(tmp_path / "s.yaml")
        assert hint.format(key=name) in str(error.value)
        assert "s.yaml:4" in str(error.value)
        written = re.search(rf"write ({name}: [^;\n]+)", str(error.value))
        if written:  # And that line is one.
            (tmp_path / "s.yaml").write_text(text.replace(f"{name}{line}", written[1]))
            read_spec(tmp_path / "s.yaml")


def test_an_empty_time_of_the_command_line_is_no_null(tmp_path):
    path = tmp_path / "s.yaml"
    path.write_text("data: iris\nmodel: mlp\ntrain: {budget: 1ep, lr: 0.1}\nsave:\n")
    for key in ("save", "timeout"):
        with pytest.raises(
            SpecError, match=rf"'{key}' is empty\n  write --set {key}=null; that is"
        ):
            read_spec(path, ["save=1s", f"{key}="])
        assert getattr(read_spec(path, ["save=1s", f"{key}=null"]), key) is None


@given(st.floats(0.01, 1e6), st.sampled_from("smh"))
def test_a_written_time_is_read_as_itself(seconds, unit):
    read = parse_time(write_time(seconds, unit))
    assert read == pytest.approx(seconds, rel=1e-6)
    assert parse_time(find_time(str(seconds))) == pytest.approx(seconds, rel=1e-6)


def test_a_timeout_is_one_key_for_every_kind_of_training(tmp_path):
    built_in = "data: iris\nmodel: mlp\ntrain: {budget: 1ep, lr: 0.1}\n"
    for kind in (built_in, "command: python x.py\nobjective: loss\n"):
        for written, seconds in (("90s", 90.0), ("1.5h", 5400.0), ("null", None)):
            (tmp_path / "s.yaml").write_text(f"{kind}timeout: {written}\n")
            assert read_spec(tmp_path / "s.yaml").timeout == seconds
        (tmp_path / "s.yaml").write_text(f"{kind}timeout: 90\n")
        with pytest.raises(SpecError) as error:
            read_spec(tmp_path / "s.yaml")
        assert "timeout: 90 is no time\n  write timeout: 90s" in str(error.value)
        (tmp_path / "s.yaml").write_text(f"{kind}time_limit: 20m\n")
        with pytest.raises(SpecError) as error:
            read_spec(tmp_path / "s.yaml")
        assert "write timeout: 20m" in str(error.value)


# slips that are told once, with the line to write


RANGE = "{min: 1e-3, max: 1.0, points: 4}"


@pytest.mark.parametrize(
    ("old", "new", "key", "told"),
    [
        ("model: ", "modle: ", "modle", "did you mean 'model'?"),
        ("data: ", "dtaa: ", "dtaa", "did you mean 'data'?"),
        ("train:", "trian:", "trian", "did you mean 'train'?"),
        ("budget: ", "budgt: ", "train.budgt", "did you mean 'budget'?"),
        ("lr: {min", "rl: {min", "search.rl", "did you mean 'lr'?"),
        ("search:", "serach:", "serach", "did you mean 'search'?"),
        ("min: 1e-3", "mim: 1e-3", "search.lr.mim", "did you mean 'min'?"),
        ("max: 1.0", "mx: 1.0", "search.lr.mx", "did you mean 'max'?"),
        ("name: digits", "nmae: digits", "data.nmae", "write name: digits"),
        ("name: mlp", "nam: mlp", "model.nam", "write name: mlp"),
        ("{name: mlp, hidden: [32]", "{classpath: a.B", "model.classpath", "write class_path: a.B"),
        ("name: sgd", "nme: sgd", "train.optimizer.nme", "write name: sgd"),
        ("digits}", "digits, validation: {fold: 5}}", "data.validation.fold", "mean 'folds'?"),
        ("digits}", "digits, validation: sorce}", "data.validation", "write validation: source"),
        ("points: 4", "points: 4, scale: lgo", "search.lr.scale", "did you mean 'log'?"),
        ("min: 1e-3, max: 1.0", "min: 1, max: 0.1", "search.lr.min", "min: 0.1, max: 1"),
        ("min: 1e-3", "min: 0", "search.lr.min", "write min: 1e-4"),
        (RANGE, "[[0.1, 1]]", "search.lr", "write lr: [0.1, 1]"),
        (RANGE, "[{min: 0.1, max: 1}]", "search.lr", "{min: 0.1, max: 1}"),
        (RANGE, "[0.1, 0.1, 1]", "search.lr.1", "listed twice"),
        (RANGE, "", "search.lr", "there is nothing to search"),
        (RANGE, "0.1", "search.lr", "write lr: 0.1 under train"),
        ("search:\n", "search:\n  - ", "search", "write search: {lr: {min: 1e-3"),
        ("{name: digits}", "[digits]", "data", "write data: digits; it is no list"),
        ("{name: digits}", "", "data", "it is empty"),
        ("{name: mlp, hidden: [32]}", "", "model", "it is empty"),
        ("{name: mlp, hidden: [32]}", "[mlp, cnn]", "model", "[mlp, cnn] under search"),
        ("{name: sgd}", "[sgd, adam]", "train.optimizer", "optimizer: [sgd, adam] under search"),
        ("digits}", "digits, validation: 20%}", "data.validation", "write validation: 0.2"),
        ("digits}", "digits, validation: 20}", "data.validation", "write validation: 0.2"),
        ("digits}", "digits, test: 1.0}", "data.test", "a share such as 0.1"),
        ("search:", "seeds: [1, 2]\nsearch:", "seeds", "write seeds: 2"),
        ("search:", "name: my run\nsearch:", "name", "write name: my-run"),
        ("search:", "name: \u201cx\u201d\nsearch:", "name", "typographic quotes"),
        ("4ep", "4ep\n  evaluate: every epoch", "train.evaluate", "write evaluate: 1ep"),
        ("4ep", "4ep\n  search: {lr: [1]}", "train.search", "search: {lr: [1]} at the top level"),
        ("4ep", "4ep\n  schedule: {name: multistep, at: [1ep]}", "train.schedule.at", "allowed"),
        ("search:\n", "search:\n  schedule: cosine\n", "search.schedule", "schedule: cosine under"),
        ("hidden: [32]", "hidden: '32,64'", "model.hidden", "write hidden: [32, 64]"),
        ("budget: 4ep", "budget: 1k", "train.budget", "1000ba is steps"),
        ("budget: 4ep", "budget: 4ep\n  clip_norm: None", "train.clip_norm", "clip_norm: null"),
        ("search:", "seed: 0x1F\nsearch:", "seed", "up to 2147483647\n  write seed: 31"),
        ("search:", "bayes: {model: pg}\nsearch:", "bayes.model", "did you mean 'gp'?"),
        ("search:", "bayes: {model: gaussian process}\nsearch:", "bayes.model", "write model: gp"),
        ("search:", "seed: !!int 3\nsearch:", "seed", "tags are not allowed"),
        ("search:", "seed: *a\nsearch:", "seed", "aliases are not allowed"),
    ],
)  # fmt: skip
def test_a_slip_is_told_once(old, new, key, told):
    text = (
        "data: {name: digits}\nmodel: {name: mlp, hidden: [32]}\ntrain:\n  budget: 4ep\n"
        "  optimizer: {name: sgd}\nsearch:\n  lr: " + RANGE + "\n"
    )
    assert text.count(old) == 1
    (fault,) = faults(text.replace(old, new))
    assert fault.key == key and told in str(fault), str(fault)


def test_what_measures_targets_of_one_s_own_is_told() -> None:
    ((path, message, hint),) = task_faults({"loss": "mse"}, "accuracy", Space(()), "own")
    assert path == ("objective", "metric")
    assert message == "'accuracy' is no metric of targets of your own kind"
    assert "write metrics: {accuracy: my_package.accuracy} under train; allowed: loss" in hint
