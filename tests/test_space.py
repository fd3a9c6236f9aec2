"""Spaces: points built and read back, draws, grids from coarse to fine."""

import itertools
import json
import math
import types

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from lrsearch.space import (
    Choice,
    Float,
    Int,
    Option,
    Space,
    automatic,
    build,
    corners,
    draw,
    draw_random,
    encode,
    ends,
    every_point,
    extremes,
    get_path,
    grid,
    grid_size,
    levels,
    options_above,
    parameters,
    parse_name,
    point_at,
    round_value,
    same,
    set_path,
    settle_ends,
    size,
    without_points,
)

SHARES = st.floats(0, 1)
POINTS = st.integers(1, 5)


@st.composite
def floats(draw):
    log = draw(st.booleans())
    unit = draw(st.sampled_from(["", "", "ep", "dur"]))
    ends = st.floats(1e-9, 1e6) if log else st.floats(-1e6 if not unit else 0, 1e6)
    low, high = sorted(round_value(draw(ends)) for _ in range(2))
    return Float(low, high, log, draw(POINTS), unit)


@st.composite
def ints(draw):
    log = draw(st.booleans())
    low = draw(st.integers(1 if log else -20, 50))
    return Int(low, low + draw(st.integers(0, 40)), log, draw(POINTS))


PLAIN = st.lists(
    st.one_of(st.integers(-5, 5), st.sampled_from(["a", "b", None, True, False, [1, 2], [1]])),
    min_size=1,
    max_size=3,
    unique_by=lambda value: json.dumps(value),
).map(lambda values: Choice(tuple(map(Option, values))))


@st.composite
def conditional(draw, depth=1):
    """Options that are mappings told apart by their name, each with a space of its own."""
    options = []
    for number in range(draw(st.integers(1, 3))):
        value = {"name": f"option{number}"}
        if draw(st.booleans()):
            value["fixed"] = draw(st.integers(0, 3))
        options.append(Option(value, draw(spaces(depth=depth - 1, least=0, most=2))))
    return Choice(tuple(options))


@st.composite
def spaces(draw, depth=2, least=1, most=3):
    kinds = [floats(), ints(), PLAIN] + ([conditional(depth=depth)] if depth > 0 else [])
    names = ["lr", "batch_size", "inner.deep", "momentum"]
    count = draw(st.integers(least, most))
    return Space(tuple((name, draw(st.one_of(kinds))) for name in names[:count]))


@st.composite
def spaces_and_shares(draw):
    space = draw(spaces())
    return space, {name: draw(SHARES) for name, _ in parameters(space)}


def text_of(point):
    """Tells True from 1, which == does not."""
    return json.dumps(point, sort_keys=True)


# points


@given(spaces_and_shares())
def test_a_drawn_point_is_inside_and_is_rebuilt_from_its_numbers(case):
    space, shares = case
    point = draw(space, shares)
    numbers = encode(space, point)
    assert numbers is not None
    assert text_of(build(space, lambda name, _: numbers[name])) == text_of(point)


@given(spaces_and_shares())
def test_only_the_parameters_of_chosen_options_have_numbers(case):
    space, shares = case
    asked = []

    def choose(name, dimension):
        asked.append(name)
        if isinstance(dimension, Choice):
            return min(int(shares[name] * len(dimension.options)), len(dimension.options) - 1)
        return dimension.at(shares[name])

    point = build(space, choose)
    assert sorted(encode(space, point)) == sorted(asked)
    assert set(asked) <= {name for name, _ in parameters(space)}


@pytest.mark.parametrize(
    ("name", "parts", "path"),
    [
        ("lr", ("lr", None, ""), "lr"),
        ("schedule.gamma", ("schedule", None, "gamma"), "schedule.gamma"),
        ("schedule[12].gamma", ("schedule", 12, "gamma"), "schedule.gamma"),
        ("model[0].init_args.x", ("model", 0, "init_args.x"), "model.init_args.x"),
    ],
)
def test_a_name_has_parts(name, parts, path):
    found = parse_name(name)
    assert (found.head, found.option, found.argument) == parts and found.path == path


@given(spaces())
def test_a_point_at_one_number_has_the_rest_at_its_beginning(space):
    for name, part in parameters(space):
        for raw in ends(part):
            asked = {}

            def choose(other, dimension, name=name, raw=raw, asked=asked):
                asked[other] = raw if other == name else 0
                if not isinstance(dimension, Choice):
                    return raw if other == name else dimension.low
                inside = name.startswith(f"{other}[")
                return int(name[len(other) + 1 :].split("]")[0]) if inside else asked[other]

            assert text_of(point_at(space, {name: raw})) == text_of(build(space, choose))
            assert name in asked


@given(spaces(), st.integers(0, 12))
def test_corners_are_all_combinations_of_ends_in_order(space, most):
    axes = {name: ends(part) for name, part in space.dimensions}
    count = math.prod(map(len, axes.values()))
    found = list(corners(space, axes, most))
    assert len(found) == min(most, count)
    for point, numbers in zip(found, itertools.product(*axes.values()), strict=False):
        assert text_of(point) == text_of(point_at(space, dict(zip(axes, numbers, strict=True))))


@given(floats(), SHARES)
def test_values_have_twelve_digits_and_stay_inside(dimension, share):
    value = dimension.value(dimension.at(share))
    number = float(value.removesuffix(dimension.unit)) if dimension.unit else value
    assert dimension.low <= number <= dimension.high
    assert number == round_value(number)
    assert dimension.raw(value) == number


def test_rounding_keeps_twelve_significant_digits():
    assert round_value(0.1 + 0.2) == 0.3
    assert round_value(1.23456789012345e-7) == 1.23456789012e-7
    assert round_value(1.0) != round_value(1.0 + 1e-11)


@pytest.mark.parametrize(
    ("dimension", "value"),
    [
        (Float(0.1, 1.0), 0.09),
        (Float(0.1, 1.0), 1.01),
        (Float(0.1, 1.0), "0.5"),
        (Float(0.0, 1.0), True),
        (Float(0.0, 1.0), math.nan),
        (Float(1, 5, unit="ep"), 3.0),
        (Float(1, 5, unit="ep"), "3ba"),
        (Float(1, 5, unit="ep"), "6ep"),
        (Float(1, 5, unit="ep"), "xep"),
        (Int(1, 5), 3.0),
        (Int(1, 5), 6),
        (Int(0, 1), True),
        (Choice((Option(1), Option("a"))), True),
        (Choice((Option(True),)), 1),
        (Choice((Option([1, 2]),)), [1]),
        (Choice((Option({"a": 1}),)), {"a": 1, "b": 2}),
    ],
)
def test_what_no_point_holds_is_outside(dimension, value):
    assert encode(Space((("p", dimension),)), {"p": value}) is None


@pytest.mark.parametrize(
    ("left", "right", "equal"),
    [
        ({"a": [True]}, {"a": [True]}, True),
        ({"a": True}, {"a": 1}, False),
        ({"a": [0, 1]}, {"a": [False, 1]}, False),
        ([1, 2], (1, 2.0), True),
        ([1, 2], [1, 2, 3], False),
        ({"a": 1}, {"a": 1, "b": 2}, False),
        ({"a": 1}, types.MappingProxyType({"a": 1.0}), True),
        ({"a": 1}, types.MappingProxyType({"a": True}), False),
    ],
)
def test_true_is_no_1_however_deep_it_stands(left, right, equal):
    assert same(left, right) is same(right, left) is equal


def test_extremes_are_the_lowest_and_the_highest_of_listed_numbers():
    assert extremes(Choice(tuple(map(Option, [0.1, 0.01, 1.0])))) == [1, 2]
    assert extremes(Choice(tuple(map(Option, ["a", "c", "b"])))) == [0, 1, 2]
    assert extremes(Float(0.1, 1.0)) == [0.1, 1.0] and extremes(Int(3, 3)) == [3]


def test_true_and_false_are_no_numbers_in_an_order():
    orders = [Choice(tuple(map(Option, values))).ordered for values in ([1, 2.0], [True, False])]
    assert orders == [True, False]


def test_the_end_of_all_shares_is_the_last_option_or_the_highest_value():
    space = Space((("a", Choice(tuple(map(Option, "xyz")))), ("b", Int(1, 4))))
    assert draw(space, {"a": 1.0, "b": 1.0}) == {"a": "z", "b": 4}


def test_of_several_parameters_the_first_says_under_which_option():
    assert options_above(["a[1].b[2].c", "a[0].d"]) == {"a": 1, "a[1].b": 2}


def test_ends_that_were_found_are_the_range_s_own():
    inner = Space((("lr", Float(1e-6, 10.0, True, auto=True)), ("momentum", Float(0.0, 1.0))))
    space = Space((("optimizer", Choice((Option("sgd"), Option({"name": "adam"}, inner)))),))
    settled = settle_ends(space, {"optimizer[1].lr": (0.01, 0.1)})
    found = dict(parameters(settled))
    assert found["optimizer[1].lr"] == Float(0.01, 0.1, True) and not automatic(settled)
    assert found["optimizer[1].momentum"] == Float(0.0, 1.0)


def test_a_point_without_a_parameter_is_outside():
    assert encode(Space((("lr", Float(0, 1)),)), {}) is None


def test_an_option_is_told_by_all_its_values():
    space = Space(
        (
            (
                "schedule",
                Choice(
                    (
                        Option({"name": "cosine"}),
                        Option({"name": "cosine", "final": 0.5}),
                        Option({"name": "cosine"}, Space((("final", Float(0.0, 0.4)),))),
                    )
                ),
            ),
        )
    )
    assert encode(space, {"schedule": {"name": "cosine"}}) == {"schedule": 0}
    assert encode(space, {"schedule": {"name": "cosine", "final": 0.5}}) == {"schedule": 1}
    inner = {"schedule": 2, "schedule[2].final": 0.3}
    assert encode(space, {"schedule": {"name": "cosine", "final": 0.3}}) == inner
    assert encode(space, {"schedule": {"name": "cosine", "final": 0.45}}) is None
    assert encode(space, {"schedule": {"name": "linear", "final": 0.3}}) is None
    assert encode(space, {"schedule": "cosine"}) is None


def test_building_a_point_leaves_the_option_as_it_was():
    option = Option({"name": "a"}, Space((("inner.x", Int(1, 9)),)))
    space = Space((("p", Choice((option,))),))
    assert build(space, lambda name, _: 0 if name == "p" else 7) == {
        "p": {"name": "a", "inner": {"x": 7}}
    }
    assert option.value == {"name": "a"}


def test_paths_are_set_and_read():
    tree = {"a": 1}
    set_path(tree, "b.c", 2)
    set_path(tree, "a.d", 3)
    assert tree == {"a": {"d": 3}, "b": {"c": 2}}
    assert get_path(tree, "a.d") == 3
    for missing in ("x", "b.x", "b.c.d"):
        with pytest.raises(KeyError):
            get_path(tree, missing)


# draws


@pytest.mark.parametrize("log", [False, True])
def test_real_ranges_are_drawn_uniformly_on_their_scale(log):
    space = Space((("lr", Float(1e-5, 10.0, log)),))
    generator = np.random.default_rng(3)
    values = np.array([draw_random(space, generator)["lr"] for _ in range(2000)])
    shares = np.log10(values / 1e-5) / 6 if log else (values - 1e-5) / (10.0 - 1e-5)
    assert stats.kstest(shares, "uniform").pvalue > 0.01


def test_whole_numbers_are_drawn_equally_often():
    space = Space((("n", Int(2, 6)),))
    generator = np.random.default_rng(0)
    counts = np.bincount([draw_random(space, generator)["n"] for _ in range(5000)])[2:]
    assert len(counts) == 5 and stats.chisquare(counts).pvalue > 0.01


def test_whole_numbers_on_a_log_scale_have_their_part_of_the_logarithms():
    space = Space((("n", Int(1, 8, log=True)),))
    generator = np.random.default_rng(0)
    counts = np.bincount([draw_random(space, generator)["n"] for _ in range(5000)], minlength=9)[1:]
    edges = np.log(np.arange(0.5, 9))
    expected = 5000 * np.diff(edges) / (edges[-1] - edges[0])
    assert stats.chisquare(counts, expected).pvalue > 0.01


def test_options_are_drawn_equally_often():
    space = Space((("c", Choice((Option("a"), Option("b"), Option("c")))),))
    generator = np.random.default_rng(1)
    names = [draw_random(space, generator)["c"] for _ in range(3000)]
    assert stats.chisquare([names.count(name) for name in "abc"]).pvalue > 0.01


def test_the_widest_log_range_has_a_middle():
    dimension = Float(1e-300, 1e300, True, 3)
    assert dimension.value(dimension.at(0)) == pytest.approx(1e-300)
    assert dimension.grid() == [1e-300, pytest.approx(1.0), 1e300]


# grids


@given(spaces())
def test_a_grid_has_every_point_once(space):
    points = [point for level in grid(space) for point in level]
    assert len(points) == grid_size(space)
    assert len({text_of(point) for point in points}) == len(points)
    assert all(encode(space, point) is not None for point in points)


@given(st.integers(1, 70))
def test_levels_halve_the_gaps(count):
    fineness = levels(count)
    assert len(fineness) == count
    if count < 3:
        assert fineness == [0] * count
        return
    coarse = [index for index in range(count) if fineness[index] == 0]
    assert coarse == [0, (count - 1) // 2, count - 1]
    for level in range(max(fineness) + 1):
        present = [index for index in range(count) if fineness[index] <= level]
        widest = max(right - left for left, right in itertools.pairwise(present))
        assert widest <= math.ceil((count - 1) / 2 ** (level + 1))


def test_a_grid_begins_with_the_ends_and_the_middle():
    space = Space((("lr", Float(1e-4, 1.0, True, 9)), ("batch", Choice((Option(1), Option(2))))))
    first = grid(space)[0]
    assert [point["lr"] for point in first[::2]] == [1e-4, 0.01, 1.0]
    assert [point["batch"] for point in first[:2]] == [1, 2]


def test_a_points_level_is_that_of_its_finest_value():
    space = Space((("a", Float(0, 4, False, 5)), ("b", Float(0, 4, False, 5))))
    found = grid(space)
    assert [len(level) for level in found] == [9, 16]
    assert {"a": 0.0, "b": 1.0} in found[1] and {"a": 2.0, "b": 4.0} in found[0]


def test_plain_numbers_go_coarse_to_fine_and_names_do_not():
    numbers = Choice(tuple(map(Option, (16, 32, 64, 128, 256))))
    names = Choice(tuple(map(Option, "abcde")))
    assert [[part["p"] for part in level] for level in grid(Space((("p", numbers),)))] == [
        [16, 64, 256],
        [32, 128],
    ]
    assert [[part["p"] for part in level] for level in grid(Space((("p", names),)))] == [
        list("abcde")
    ]


@given(
    st.floats(1e-6, 1e-2).map(round_value),
    st.floats(0.1, 1e3).map(round_value),
    st.booleans(),
    st.integers(2, 12),
)
def test_twice_as_fine_a_grid_keeps_every_value(low, high, log, count):
    coarse, fine = (
        Space((("lr", Float(low, high, log, points)),)) for points in (count, 2 * count - 1)
    )
    coarse_values = [point["lr"] for level in grid(coarse) for point in level]
    fine_values = [point["lr"] for level in grid(fine) for point in level]
    assert len(fine_values) == 2 * count - 1 and set(coarse_values) <= set(fine_values)


def test_a_grid_is_even_on_its_scale_and_one_value_is_the_middle():
    values = [Float(1e-4, 1.0, True, 5).value(raw) for raw in Float(1e-4, 1.0, True, 5).grid()]
    assert values == [1e-4, 1e-3, 1e-2, 1e-1, 1.0]
    assert Float(0.0, 1.0, False, 1).grid() == [0.5]
    assert Float(0.01, 1.0, True, 1).grid() == [pytest.approx(0.1)]
    assert Int(1, 4, False, 9).grid() == [1, 2, 3, 4]
    assert Float(2.0, 2.0, False, 5).grid() == [2.0]
    assert Float(1.0, 1.0 + 2e-11, False, 9).grid() == [1.0, 1.0 + 1e-11, 1.0 + 2e-11]
    assert Int(10**15, 10**15 + 4, False, 3).grid() == [10**15, 10**15 + 2, 10**15 + 4]


def test_ranges_without_points_are_named_by_their_ids():
    inner = Option({"name": "a"}, Space((("x", Float(0, 1)), ("y", Int(1, 2, points=2)))))
    space = Space((("lr", Float(0, 1)), ("c", Choice((Option({"name": "b"}), inner)))))
    assert without_points(space) == ["lr", "c[1].x"]


# finite spaces


@st.composite
def finite_spaces(draw):
    inner = Space((("n", Int(1, draw(st.integers(1, 4)))),))
    options = (Option({"name": "a"}), Option({"name": "b"}, inner))
    low = draw(st.integers(-3, 3))
    return Space(
        (
            ("k", Int(low, low + draw(st.integers(0, 6)), points=2)),
            ("c", draw(st.sampled_from([Choice(options), Choice((Option("x"), Option(True)))]))),
            ("f", Float(0.5, 0.5)),
        )
    )


@given(finite_spaces(), st.randoms(use_true_random=False))
def test_every_point_of_a_finite_space_is_listed_once(space, random):
    points = every_point(space)
    texts = {text_of(point) for point in points}
    assert len(points) == size(space) == len(texts)
    generator = np.random.default_rng(random.randrange(1000))
    assert all(text_of(draw_random(space, generator)) in texts for _ in range(20))


def test_a_range_of_one_duration_has_it_as_its_only_point():
    space = Space((("budget", Float(3.0, 3.0, unit="ep")), ("n", Int(1, 2, log=True))))
    assert every_point(space) == [{"budget": "3ep", "n": 1}, {"budget": "3ep", "n": 2}]


@pytest.mark.parametrize("log", [False, True])
def test_the_ends_of_a_range_of_whole_numbers_have_as_wide_a_part_as_the_rest(log):
    whole = Int(1, 4, log)
    assert [whole.at(0.0), whole.at(1.0)] == pytest.approx([0.5, 4.5])
    assert whole.at(0.5) == pytest.approx(math.sqrt(0.5 * 4.5) if log else 2.5)


def test_a_space_with_a_real_range_has_no_size():
    inner = Option({"name": "a"}, Space((("x", Float(0, 1)),)))
    for space in (Space((("lr", Float(0, 1)),)), Space((("c", Choice((inner,))),))):
        assert size(space) is None
        with pytest.raises(ValueError):
            every_point(space)


def test_an_empty_space_is_one_point():
    assert not Space(())
    assert size(Space(())) == grid_size(Space(())) == 1
    assert grid(Space(())) == [[{}]] and every_point(Space(())) == [{}]
