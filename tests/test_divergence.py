"""When a loss counts as lost."""

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrsearch.divergence import (
    FACTOR,
    PATIENCE,
    SHORTEST,
    diverged,
    find_scale,
    recent_mean,
    recent_steps,
)

INTERVALS = (1, 2, 3, 7, 10, 25, 50)
numbers = st.floats(0, 1e9)
curves = st.lists(st.tuples(numbers, numbers), min_size=1, max_size=12)
FAR = 2 * FACTOR


def watch(training, validation, interval, scale=1.0):
    """Whether a training is called lost, evaluated so often; losses are those of every step."""
    budget = len(training)
    steps, means, states = [], [], []
    for step in [*range(interval, budget, interval), budget]:
        begin = steps[-1] if steps else 0
        means.append(math.fsum(training[begin:step]) / (step - begin))
        states.append(validation[step - 1])
        steps.append(step)
        if diverged(scale, steps, means, states, budget):
            return True
    return False


def lost(curve, scale=1.0, every=10, budget=None):
    """Whether it is at the last of some (training, validation) losses, so many steps apart."""
    steps = [every * (k + 1) for k in range(len(curve))]
    training, validation = zip(*curve, strict=True)
    return diverged(scale, steps, training, validation, budget or steps[-1])


# What a loss is held against


def test_the_largest_that_is_known_is_the_scale():
    assert find_scale(2.3, 1.0, 0.5) == 2.3
    assert find_scale(0.002, 2.3, 0.001) == 2.3
    assert find_scale(0.5, 1.0, -200.0) == 200.0
    assert find_scale(-400.0, 1.0, -5.0) == 400.0


# Losses


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_not_finite_is_lost_at_once(value):
    for curve in ([(value, 1.0)], [(1.0, value)], [(1.0, 1.0), (value, 1.0)]):
        assert lost(curve, budget=1000)
    assert lost([(1.0, 1.0)], scale=value)


@given(curves, st.integers(1, 2000), st.booleans())
def test_either_within_the_factor_is_never_lost(curve, budget, which):
    low = [
        (min(training, FACTOR), validation) if which else (training, min(validation, FACTOR))
        for training, validation in curve
    ]
    assert not lost(low, budget=budget)
    assert not lost(low)


@given(curves, st.floats(1e-3, 1e3), st.integers(-20, 20), st.integers(1, 2000))
def test_units_change_nothing(curve, scale, power, budget):
    times = 2.0**power
    scaled = [(training * times, validation * times) for training, validation in curve]
    assert lost(scaled, scale * times, budget=budget) == lost(curve, scale, budget=budget)


@given(curves, st.floats(1e-3, 1e3), st.floats(1, 1e6), st.integers(1, 2000))
def test_a_larger_scale_spares_more(curve, scale, times, budget):
    assert lost(curve, scale, budget=budget) >= lost(curve, scale * times, budget=budget)


@given(curves, st.floats(1, 1e6))
def test_at_the_end_higher_losses_are_no_better(curve, times):
    higher = [*curve[:-1], (curve[-1][0] * times, curve[-1][1] * times)]
    assert lost(higher) >= lost(curve)


def test_far_above_at_the_end_has_not_recovered():
    falling = [(1e22, 1e22), (1e15, 1e15), (1e5, 1e5)]
    assert not lost(falling, budget=100)
    assert lost(falling)


def test_the_mean_of_the_last_steps():
    steps, means = [10, 20, 100, 200], [5.0, 4.0, 3.0, 1.0]
    assert recent_mean(steps, means, 1010) == pytest.approx((80 * 3 + 100 * 1) / 180)
    assert recent_mean(steps, means, 1000) == recent_mean(steps, means, 10) == 1.0
    assert (recent_steps(steps, 1010), recent_steps(steps, 1000)) == (180, 100)


# How often it is looked at


@given(
    st.integers(1, 400), st.floats(0, 1), st.sampled_from(INTERVALS), st.floats(FAR, 1e6), st.data()
)
def test_far_above_to_the_end_is_lost_however_often_it_is_looked_at(
    budget, share, interval, high, data
):
    """The end, where it stays, being as long as the patience; before, it may do what it likes."""
    stays = min(budget, max(SHORTEST, math.ceil(PATIENCE * budget)) + round(share * budget))
    before = data.draw(st.lists(st.floats(0, 1e6), min_size=budget, max_size=budget))[stays:]
    losses = [*before, *[high] * stays]
    assert watch(losses, losses, interval)


@given(st.integers(1, 400), st.floats(0, 1), st.floats(0, 1), st.floats(FAR, 1e12))
def test_a_spike_that_recovers_is_spared_however_often_it_is_looked_at(budget, place, share, high):
    length = min(budget - 1, round(share * max(SHORTEST, PATIENCE * budget)))
    begin = round(place * (budget - 1 - length))
    losses = [*[1.0] * begin, *[high] * length, *[1.0] * (budget - begin - length)]
    for interval in INTERVALS:
        assert not watch(losses, losses, interval)


@given(st.integers(100, 400), st.floats(0, 1), st.floats(FAR, 1e6))
def test_a_long_stand_is_lost_however_often_it_is_looked_at(budget, place, high):
    """Of the patience and two intervals, whatever comes after."""
    intervals = [each for each in INTERVALS if each <= budget // 8]
    length = math.ceil(PATIENCE * budget) + 2 * max(intervals) + 1
    begin = round(place * (budget - length))
    losses = [*[1.0] * begin, *[high] * length, *[1.0] * (budget - begin - length)]
    assert [watch(losses, losses, each) for each in intervals] == [True] * len(intervals)


def test_sign_like_steps_of_a_huge_size_leave_and_return():
    pattern = [1e6, 2e6, 1.0, 1.5e6, 1.0, 1.2e6]
    losses = list(itertools.islice(itertools.cycle(pattern), 300))
    assert watch(losses, losses, 1)


def test_a_slow_way_back_is_left_alone():
    """Ten times as high for half of the training, halved every twentieth of it."""
    losses = [1e3 * 0.5 ** (step / 20) for step in range(400)]
    assert losses[100] > FACTOR > losses[-1]
    for interval in INTERVALS:
        assert not watch(losses, losses, interval)


def test_a_loss_of_training_alone_or_of_validation_alone_is_none():
    """Augmented batches, or batch norm's statistics."""
    high, low = [1e3] * 100, [0.01] * 100
    for interval in INTERVALS:
        assert not watch(high, low, interval)
        assert not watch(low, high, interval)
