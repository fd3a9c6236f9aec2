"""Spaces of a training outside lrsearch, as they are read and told: each value unlike the others,
each fault once, and each range either searched or told of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from lrsearch.cli import app
from lrsearch.errors import SpecError
from lrsearch.reports.text import format_value
from lrsearch.space import grid, parameters
from lrsearch.spec import read_spec
from lrsearch.spec.document import plain_scalar
from lrsearch.spec.flattening import flatten
from lrsearch.spec.model import Spec
from lrsearch.spec.priors import describe_start
from lrsearch.spec.searched import find_searched
from lrsearch.spec.summary import describe_dimension
from lrsearch.spec.values import bare

HEAD = """\
name: told
loop: mine.train
objective: {metric: loss, goal: min}
"""


def read(folder: Path, search: str, more: str = "") -> Spec:
    (folder / "told.yaml").write_text(f"{HEAD}{more}search: {{{search}}}\n")
    return read_spec(folder / "told.yaml")


# values


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("", "''"),
        (" ", "' '"),
        ("a b", "a b"),
        ("a  b", "'a  b'"),
        ("a\tb", '"a\\tb"'),
        ("a\\tb", "a\\tb"),
        ("1", "'1'"),
        ("1e-3", "'1e-3'"),
        ("null", "'null'"),
        ("true", "'true'"),
        ("'", "''''"),
        ("sgd", "sgd"),
        ("0.1dur", "0.1dur"),
        ("{x}", "'{x}'"),
        ("ü/..", "ü/.."),
        ("--lr", "--lr"),
        (["a,b"], "['a,b']"),
        (["a", "b"], "[a,b]"),
        ("[a,b]", "'[a,b]'"),
        (["1", 1], "['1',1]"),
        ({"k": "1, l: 2"}, "{k: '1, l: 2'}"),
    ],
)
def test_texts_are_quoted_where_they_would_read_as_something_else(value: Any, shown: str) -> None:
    assert format_value(value) == shown


SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-99, 99), st.text("a1 ,'[]{}:\t-.e\\t\x1b", max_size=5)
)
VALUES = st.one_of(
    SCALARS,
    st.lists(SCALARS, max_size=3),
    st.dictionaries(st.sampled_from("kl"), SCALARS, max_size=2),
)


@given(VALUES, VALUES)
def test_two_values_are_never_shown_alike(one: Any, other: Any) -> None:
    alike = repr(one) == repr(other)
    assert (format_value(one) == format_value(other)) == alike
    if isinstance(one, str) and bare(one) == one:
        assert plain_scalar(one) == one


def test_the_values_of_a_list_are_told_apart(tmp_path: Path) -> None:
    listed = '"", " ", "a  b", "1", 1, {k: "1"}, {k: 1}, ["a,b"], [a, b]'
    _, dimension = read(tmp_path, f"tag: [{listed}]").space.dimensions[0]
    shown = "'', ' ', 'a  b', '1', 1, {k: '1'}, {k: 1}, ['a,b'], [a, b]"
    assert describe_dimension(dimension) == shown


# faults


@pytest.mark.parametrize(
    ("search", "faults"),
    [
        ("clip: [.inf, 1.0]", ["inf is not finite"]),
        ("clip: [1.0, [.nan, 2]]", ["nan is not finite"]),
        ('text: ["a\\0", b]', ["no value may hold a NUL character"]),
        ("clip: [.inf, -.inf]", ["inf is not finite", "-inf is not finite"]),
    ],
)
def test_a_fault_in_a_list_is_told_once(tmp_path: Path, search: str, faults: list[str]) -> None:
    with pytest.raises(SpecError) as caught:
        read(tmp_path, search)
    assert [each.message for each in caught.value.faults] == faults


# where a search begins


@pytest.mark.parametrize(
    ("search", "startup", "told"),
    [
        ("lr: {min: 0.1, max: 1}", 3, "3 points of bayes keep to the middle of the ranges: what"),
        ("lr: {min: 0.1, max: 1}", 1, "first point of bayes keeps to the middle of the ranges"),
        ("lr: [0.1, 0.2, 0.3]", 3, "keep to the middle of the lists of numbers: what"),
        # Of two, both are in the middle.
        ("lr: [0.1, 0.2]", 3, "bayes cover the space evenly: no range is searched"),
        ("tag: [a, b, c]", 1, "bayes covers the space evenly: no range is searched"),
        ("lr: {min: 0.1, max: 0.1}", 3, "bayes cover the space evenly: no range is searched"),
    ],
)
def test_no_middle_is_told_of_where_there_is_none(
    tmp_path: Path, search: str, startup: int, told: str
) -> None:
    more = f"bayes: {{trials: 6, startup: {startup}}}\n"
    (said,) = describe_start(read(tmp_path, search, more))
    assert told in said


def test_one_point_is_no_points(tmp_path: Path) -> None:
    for points, told in ((1, ", 1 point"), (2, ", 2 points")):
        space = read(tmp_path, f"lr: {{min: 0.1, max: 1, points: {points}}}").space
        assert describe_dimension(space.dimensions[0][1]).endswith(told)


# ranges within values

OPTIONS = """optimizer: [
  {name: sgd, momentum: {min: 0.5, max: 0.9, points: 2}, nested: {p: {min: 1, max: 3, points: 3}}},
  {name: adam, betas: [0.9, 0.99], clip: {min: 0, max: 1}}, lion]"""


def test_ranges_within_values_are_searched(tmp_path: Path) -> None:
    spec = read(tmp_path, OPTIONS)
    names = [name for name, _ in parameters(spec.space)]
    assert names == ["optimizer", "optimizer[0].momentum", "optimizer[0].nested.p"]
    points = [point["optimizer"] for batch in grid(spec.space) for point in batch]
    sgd = [
        {"name": "sgd", "momentum": momentum, "nested": {"p": p}}
        for momentum in (0.5, 0.9)
        for p in (1, 2, 3)
    ]
    adam = {"name": "adam", "betas": [0.9, 0.99], "clip": {"min": 0, "max": 1}}
    expected = [*sgd, adam, "lion"]
    assert len(points) == len(expected) and all(each in points for each in expected)
    flat = [flatten(spec.space, {"loop": "", "params": {"optimizer": each}}) for each in points]
    assert {"optimizer": "sgd", "optimizer.momentum": 0.5, "optimizer.nested.p": 1} in flat


@pytest.mark.parametrize(
    ("search", "more", "noted"),
    [
        (
            OPTIONS,
            "",
            "search.optimizer.1.clip is passed on as the mapping {min: 0, max: 1}; a range that is "
            "searched has points there: write clip: {min: 0, max: 1, points: 5}",
        ),
        (
            "lr: [1.0]",
            "params: {momentum: {min: 0.5, max: 0.9, points: 2}}\n",
            "params.momentum is passed on as the mapping {min: 0.5, max: 0.9, points: 2}; a range "
            "that is searched stands under search: write search: {momentum: {min: 0.5, max: 0.9, "
            "points: 2}}",
        ),
    ],
)
def test_what_looks_like_a_range_and_is_none_is_told_of(
    tmp_path: Path, search: str, more: str, noted: str
) -> None:
    assert noted in read(tmp_path, search, more).notes


@pytest.mark.parametrize(
    ("search", "key", "message"),
    [
        ("a: [{b: {min: 2, max: 1, points: 3}}]", "search.a.0.b.min", "min 2 is above max 1"),
        ("a: [{b: {min: 1, max: 2, points: x}}]", "search.a.0.b.points", "'x' is not a number"),
        ("a: [{b: {min: 1, max: 2, points: 2}}, {b: {min: 1, max: 2, points: 2}}]",
         "search.a.1", "is listed twice"),
    ],
)  # fmt: skip
def test_faults_of_a_range_within_a_value(
    tmp_path: Path, search: str, key: str, message: str
) -> None:
    with pytest.raises(SpecError) as caught:
        read(tmp_path, search)
    (fault,) = caught.value.faults
    assert fault.key == key and message in fault.message


def test_the_values_of_an_option_are_told(tmp_path: Path) -> None:
    (_, dimension), *_ = read(tmp_path, OPTIONS).space.dimensions
    assert describe_dimension(dimension) == (
        "sgd (with its momentum, nested.p), adam (betas [0.9, 0.99]; clip {min: 0, max: 1}), lion"
    )


def test_a_search_trains_what_is_within_values(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(
        "def train(trial):\n"
        "    chosen = trial.params['optimizer']\n"
        "    trial.report(1, loss=chosen['momentum'] if chosen != 'lion' else 9.0)\n"
    )
    options = "[{name: sgd, momentum: {min: 0.25, max: 0.75, points: 3}}, lion]"
    (tmp_path / "told.yaml").write_text(f"{HEAD}verify: false\nsearch: {{optimizer: {options}}}\n")
    for strategy in ("grid", "random"):
        given = [strategy, "told.yaml", "-q", "--executor", "inline", "--allow-import", "mine"]
        given += ["--trials", "2"] if strategy == "random" else []
        found = CliRunner().invoke(app, given)
        assert found.exit_code == 0, found.output
    assert "optimizer=sgd momentum=0.25" in found.output


def test_a_rate_within_an_option_is_called_as_in_the_points(tmp_path: Path) -> None:
    """So that it is refined, and its ends are told."""
    rate = "lr: {min: 0.01, max: 1, points: 2}"
    spec = read(tmp_path, f"optimizer: [{{name: sgd, {rate}}}, {{name: adam, {rate}}}]")
    point = {"name": "sgd", "lr": 0.01}
    flat = flatten(spec.space, {"loop": "", "params": {"optimizer": point}})
    assert {each.name for each in find_searched(spec)} <= {*flat}
