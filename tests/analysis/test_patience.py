"""The end of a search by its own rule: patience, and the noise that an improvement must exceed."""

from __future__ import annotations

import math
import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_answer import ACCURACY, LOSS, RATES, bowl, points_of

from lrsearch.analysis.stopping import find_noise, judge_patience
from lrsearch.analysis.tied import POOLED

VALUES = st.lists(st.one_of(st.none(), st.integers(-20, 20).map(float)), max_size=30)
NOISE = st.sampled_from([0.0, 0.5, 3.0])
GOALS = st.sampled_from(["max", "min"])


@pytest.mark.parametrize(
    ("values", "noise", "latest"),
    [
        ([0.5], 0.0, 1),
        ([0.5, 0.6, 0.55], 0.0, 2),
        ([0.5, 0.6, 0.65], 0.2, 1),
        # Small steps add up to one beyond the noise.
        ([0.5, 0.6, 0.65, 0.75], 0.2, 4),
        ([None, 0.5, None, 0.5], 0.0, 2),
        ([None, None], 0.0, 0),
    ],
)
def test_an_improvement_is_one_beyond_noise(values, noise, latest):
    found = judge_patience(values, 5, noise, "max")
    assert (found.made, found.latest, found.left) == (len(values), latest, 5 - len(values) + latest)
    turned = [None if value is None else -value for value in values]
    assert judge_patience(turned, 5, noise, "min") == found


def test_what_was_measured_before_is_to_be_bettered():
    assert judge_patience([0.5, 0.6], 3, 0.0, "max", [0.55, 0.2]).latest == 2
    assert judge_patience([0.5, 0.6], 3, 0.1, "max", [0.55, 0.2]).latest == 0
    assert judge_patience([0.5, 0.6, 0.1], 3, 0.1, "max", [0.55]).over


@given(VALUES, st.integers(1, 8), st.integers(0, 12), NOISE, GOALS)
def test_a_start_exhausts_no_patience(values, patience, start, noise, goal):
    found = judge_patience(values, patience, noise, goal, (), start)
    plain = judge_patience(values, patience, noise, goal)
    assert (found.made, found.latest) == (plain.made, plain.latest)
    assert not (found.over and len(values) < start + patience)
    # Past the start only what failed to improve since then counts.
    assert found.over == (plain.over and len(values) - start >= patience)


@given(VALUES, st.integers(1, 8), NOISE, GOALS)
def test_no_search_is_over_before_as_many_failed(values, patience, noise, goal):
    found = judge_patience(values, patience, noise, goal)
    assert found.over == (len(values) - found.latest >= patience)
    if found.over:
        return
    # So many more may be proposed at once: not one of them is too many, and then it is over.
    worst = -99.0 if goal == "max" else 99.0
    for more in range(found.left):
        assert not judge_patience([*values, *[None] * more], patience, noise, goal).over
    more_values = [*values, *[worst] * found.left] if found.latest else [None] * patience
    assert judge_patience(more_values, patience, noise, goal).over


@given(VALUES, st.integers(1, 8), NOISE, GOALS)
def test_units_play_no_part(values, patience, noise, goal):
    scaled = [None if value is None else 8 * value + 1024 for value in values]
    first = judge_patience(values, patience, noise, goal)
    assert judge_patience(scaled, patience, 8 * noise, goal) == first


def test_the_noise_of_seeds_is_that_of_a_difference_of_means():
    generator = np.random.default_rng(0)
    effects = generator.normal(size=4)  # What a seed does to all cancels.
    rows = [
        ({"lr": rate}, list(0.01 * at + 5 * effects + 0.1 * generator.normal(size=4)))
        for at, rate in enumerate(RATES[:8])
    ]
    found = find_noise(points_of(rows), LOSS)
    table = np.array([values for _, values in rows])
    left = table - table.mean(axis=0) - table.mean(axis=1)[:, None] + table.mean()
    square = float((left**2).sum()) / (7 * 3)
    assert found.basis == "seeds"
    assert found.error == pytest.approx(math.sqrt(2 * square / 4))
    assert found.error == pytest.approx(0.1 * math.sqrt(2 / 4), rel=0.4)


def test_the_noise_of_seeds_is_that_of_the_best_measured_alike():
    """Of two seeds each; the others are worse and noisier, or have a seed more."""
    rates = [10.0**-at for at in range(POOLED + 3)]
    best = [[at, at + 0.1 * (-1) ** at] for at in range(POOLED)]
    others = [[50.0, 50.5], [60.5, 60.0], [0.1, 3.0, -2.8]]
    rows = [({"lr": rate}, values) for rate, values in zip(rates, best + others, strict=True)]
    found = find_noise(points_of(rows), LOSS)
    assert found.basis == "seeds" and found.error > 0
    assert found == find_noise(points_of(rows[:POOLED]), LOSS)


def test_the_noise_of_single_trainings_is_read_from_the_curve():
    found = {}
    for noise in (0.02, 0.3):
        errors = []
        for seed in range(8):
            generator = np.random.default_rng(seed)
            rates = 10 ** np.linspace(-4, 0, 24)
            rows = [
                ({"lr": float(rate)}, [bowl(rate, 0.01) + noise * generator.normal()])
                for rate in rates
            ]
            each = find_noise(points_of(rows), LOSS)
            assert each.basis == "curve"
            errors.append(each.error)
        found[noise] = statistics.median(errors)
    # Sure to be exceeded in nine of ten cases, and of the right size.
    assert 0.5 * 0.3 * math.sqrt(2) < found[0.3] < 1.2 * 0.3 * math.sqrt(2)
    assert found[0.02] < found[0.3] / 3


@pytest.mark.parametrize("rows", [[], [({"batch_size": 8}, [0.5]), ({"batch_size": 16}, [0.6])]])
def test_where_nothing_tells_the_noise_every_improvement_counts(rows):
    assert find_noise(points_of(rows, ACCURACY), ACCURACY).error == 0.0
