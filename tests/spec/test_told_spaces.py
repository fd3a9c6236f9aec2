"""Spaces of a training outside lrsearch, as they are read and told: each value unlike the others,
each fault once, and each range either searched or told of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrsearch.errors import SpecError
from lrsearch.reports.text import format_value
from lrsearch.spec import read_spec
from lrsearch.spec.document import plain_scalar
from lrsearch.spec.model import Spec
from lrsearch.spec.priors import describe_start
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
