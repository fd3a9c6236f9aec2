"""When a loss counts as lost."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrsearch.divergence import FACTOR, PATIENCE, diverged

losses = st.lists(st.floats(0, 1e9), max_size=12)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_not_finite_is_lost_at_once(value):
    assert diverged(2.3, [value])
    assert diverged(2.3, [2.0, value])
    assert diverged(value, [])


@given(st.floats(1e-3, 1e3), losses)
def test_staying_within_the_factor_is_never_lost(start, values):
    assert not diverged(start, [min(value, start * FACTOR) for value in values])


@given(st.floats(1e-3, 1e3), st.floats(1.01, 1e6), st.integers(PATIENCE, 9))
def test_standing_far_above_is_lost_after_patience(start, times, evaluations):
    high = start * FACTOR * times
    assert diverged(start, [high] * evaluations)
    assert not diverged(start, [high] * (PATIENCE - 1))
    assert not diverged(start, [high] * (evaluations - 1) + [start])


def test_a_spike_on_its_way_back_is_left_alone():
    assert not diverged(2.3, [900.0, 300.0, 100.0])
    assert diverged(2.3, [900.0, 800.0, 700.0])


def test_only_the_latest_evaluations_count():
    assert not diverged(2.3, [1e3] * 10 + [1.0])


def test_a_start_of_nothing_leaves_room():
    assert not diverged(0.0, [1e-8, 1e-8, 1e-8])
    assert diverged(0.0, [1.0, 1.0, 1.0])


@given(st.floats(1e-3, 1e3), losses)
def test_at_the_end_only_the_last_loss_counts(start, values):
    falling = sorted(values, reverse=True)
    lost = bool(falling) and falling[-1] > start * FACTOR
    assert diverged(start, falling, ended=True) == lost


def test_falling_from_far_above_is_lost_if_it_ends_there():
    assert not diverged(2.3, [1e22, 1e15, 1e5])
    assert diverged(2.3, [1e22, 1e15, 1e5], ended=True)
