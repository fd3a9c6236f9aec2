"""The race of finalists over fresh seeds, and its judgement."""

import random
import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from lrsearch.analysis.race import LEAST, MISS, judge, next_round, student_share
from lrsearch.analysis.tied import sound
from lrsearch.trial import Objective

ACCURACY, LOSS = Objective("accuracy", "max"), Objective("loss", "min")

VALUES = st.one_of(st.none(), st.integers(0, 8).map(lambda n: n / 8), st.floats(0, 1))


@st.composite
def tables(draw, values=VALUES):
    """A value for each of some points and seeds, [points][seeds]."""
    points, seeds = draw(st.integers(1, 5)), draw(st.integers(1, 7))
    row = st.lists(values, min_size=seeds, max_size=seeds)
    return draw(st.lists(row, min_size=points, max_size=points))


def race(table, objective, shuffle=None):
    """Run a race to its end over the values of a table. With `shuffle`, results come one by one in
    a random order, and the race is asked after each."""
    order = list(range(1, len(table) + 1))
    scores = {}
    while left := list(next_round(scores, order, objective, seeds=len(table[0]))):
        while left:
            pair = left.pop(shuffle.randrange(len(left)) if shuffle else 0)
            scores.setdefault(pair[0], {})[pair[1]] = table[pair[0] - 1][pair[1]]
            if left and shuffle:
                now = next_round(scores, order, objective, seeds=len(table[0]))
                assert sorted(now) == sorted(left)
    return scores, order


@given(tables(), st.sampled_from([ACCURACY, LOSS]), st.randoms(use_true_random=False))
def test_a_race_is_the_same_in_whatever_order_results_come(table, objective, shuffle):
    scores, order = race(table, objective)
    mixed, _ = race(table, objective, shuffle)
    assert mixed == scores
    assert judge(mixed, order, objective, 1) == judge(scores, order, objective, 1)


@given(tables(), st.sampled_from([ACCURACY, LOSS]))
def test_everyone_gets_the_first_seeds_and_nobody_more_than_all(table, objective):
    scores, order = race(table, objective)
    seeds = len(table[0])
    for point in order:
        assert list(scores[point]) == list(range(len(scores[point])))
        assert min(LEAST, seeds) <= len(scores[point]) <= seeds
    verdict = judge(scores, order, objective)
    assert sorted(each.point for each in verdict.standings) == order
    most = max(len(own) for own in scores.values())
    if verdict.winner is not None:
        # The trainings went to those that could not be told from the best.
        assert len(scores[verdict.winner]) == most
        assert all(len(scores[point]) == most for point in verdict.tied)


@given(tables())
def test_a_point_without_a_value_for_one_seed_never_wins(table):
    scores, order = race(table, ACCURACY)
    verdict = judge(scores, order, ACCURACY)
    lost = {point for point in order if None in scores[point].values()}
    assert verdict.winner not in lost and not lost & set(verdict.tied)
    assert (verdict.winner is None) == (lost == set(order))
    for each in verdict.standings:
        assert (each.mean is None) == (each.point in lost)
        if each.mean is not None:
            own = list(scores[each.point].values())
            assert each.mean == pytest.approx(statistics.fmean(own)) and each.seeds == len(own)


@given(tables(st.floats(0, 1)))
def test_a_race_to_the_top_is_one_to_the_bottom_of_the_negatives(table):
    metric = Objective("mine", "max")
    scores, order = race(table, metric)
    negative, _ = race([[-value for value in row] for row in table], Objective("mine", "min"))
    assert {p: len(own) for p, own in scores.items()} == {p: len(o) for p, o in negative.items()}
    searched = dict.fromkeys(order, 0.5)
    one = judge(scores, order, metric, 1, searched)
    other = judge(negative, order, Objective("mine", "min"), 1, dict.fromkeys(order, -0.5))
    assert one.tied == other.tied
    for left, right in zip(one.standings, other.standings, strict=True):
        assert left.point == right.point and left.mean == -right.mean
        assert left.better == right.better and left.shrinkage == right.shrinkage
        assert left.shrinkage == pytest.approx(0.5 - left.mean)


def test_whoever_is_clearly_worse_stops_and_the_others_go_on():
    noise = np.random.default_rng(0).normal(0, 0.01, (4, 8))
    # What a seed does to all points is far more than what the third one lacks, and is no noise.
    table = np.array([[0.9], [0.9], [0.8], [0.9]]) + noise + np.array([0, 9, 1, 5, 3, 8, 2, 7])
    scores, order = race(table.tolist(), Objective("score", "max"))
    assert [len(scores[point]) for point in order] == [8, 8, 3, 8]


def test_one_left_ends_the_race():
    table = [[0.9, 0.91, 0.9, 0.9, 0.91], [0.1, 0.11, 0.1, 0.1, 0.1]]
    scores, order = race(table, ACCURACY)
    assert [len(scores[point]) for point in order] == [LEAST, LEAST]
    verdict = judge(scores, order, ACCURACY, 2)
    assert verdict.winner == 1 and verdict.tied == ()
    assert verdict.standings[0].better > 0.999 and verdict.standings[1].better is None


def test_a_metric_that_never_varies_ties_all_and_makes_nothing_certain():
    scores, order = race([[0.7] * 5] * 3, ACCURACY)
    verdict = judge(scores, order, ACCURACY, 3)
    assert verdict.steady and verdict.seedless and verdict.tied == (2, 3)
    assert [each.interval for each in verdict.standings] == [None] * 3
    # Nor do the seeds of one point that all came to the end of the metric, beside others.
    scores, order = race([[1.0] * 5, [0.9, 0.91, 0.92, 0.93, 0.94]], ACCURACY)
    first, second = judge(scores, order, ACCURACY).standings
    assert first.interval is None and second.interval is not None
    assert [each.better for each in verdict.standings] == [None] * 3


def test_a_noisy_point_hides_no_other_that_is_clearly_worse():
    """The last one is eight times as noisy, and its mean the worst of the three."""
    noise = [0.3, -1.1, 0.9, -0.4, 0.2]
    table = [
        noise,
        [7.5 + each for each in (0.6, -1.2, 1.3, -0.1, -0.3)],
        [8 + 8 * each for each in (1.2, -1.4, 0.3, -0.9, 0.8)],
    ]
    scores, order = race(table, LOSS)
    assert judge(scores, order, LOSS).tied == (3,)


def test_a_training_that_ignores_its_seed_is_noticed():
    scores, order = race([[0.7] * 5, [0.8] * 5], ACCURACY)
    verdict = judge(scores, order, ACCURACY, 1)
    assert verdict.seedless and not verdict.steady
    assert (verdict.winner, verdict.tied, verdict.standings[0].better) == (2, (), 1.0)
    one = judge({1: {0: 0.7}, 2: {0: 0.7}}, order, ACCURACY)
    assert not one.seedless  # Nobody asked two seeds.


def test_one_seed_says_no_more_than_its_value():
    scores, order = race([[0.7], [0.8], [0.8]], ACCURACY)
    verdict = judge(scores, order, ACCURACY, 1, {2: 0.9})
    assert (verdict.winner, verdict.tied) == (2, (3,))
    first = verdict.standings[0]
    assert (first.interval, first.better) == (None, None)
    assert first.shrinkage == pytest.approx(0.1)


def test_a_round_under_way_decides_nothing():
    table = [[0.9, 0.91, 0.9, 0.92], [0.9, 0.9, 0.91, 0.5], [0.1] * 4]
    scores = {p: dict(enumerate(row[:LEAST])) for p, row in enumerate(table, start=1)}
    before = judge(scores, [1, 2, 3], ACCURACY)
    scores[2][LEAST] = 0.5  # Of the fourth seed, which point 1 has not met yet.
    assert judge(scores, [1, 2, 3], ACCURACY) == before
    assert next_round(scores, [1, 2, 3], ACCURACY, seeds=4) == ((1, 3),)


def test_nothing_measured_has_no_winner():
    verdict = judge({}, [1, 2], ACCURACY, 2)
    assert verdict.winner is None and not verdict.steady and not verdict.seedless


@given(st.integers(2, 9), st.integers(0, 2**32 - 1))
def test_interval_and_probability_are_students(seeds, seed):
    rng = np.random.default_rng(seed)
    scores, order = race(rng.normal(0, 1, (2, seeds)).tolist(), Objective("score", "max"))
    verdict = judge(scores, order, Objective("score", "max"), 2)
    first = next(each for each in verdict.standings if each.point == 1)
    own, other = (list(scores[point].values()) for point in order)
    expected = stats.t.interval(1 - MISS, len(own) - 1, np.mean(own), stats.sem(own))
    assert first.interval == pytest.approx(expected, rel=2e-3)
    test = stats.ttest_rel(own, other, alternative="greater")
    assert first.better == pytest.approx(1 - test.pvalue, abs=1e-9)


@pytest.mark.parametrize("freedom", range(1, 14))
def test_share_of_students_distribution(freedom):
    for value in (-30.0, -2.0, -0.3, 0.0, 0.7, 4.0):
        assert student_share(value, freedom) == pytest.approx(
            stats.t.cdf(value, freedom), abs=1e-12
        )


@pytest.mark.parametrize("count", [2, 5])
def test_equal_points_are_seldom_told_apart_and_the_best_is_seldom_lost(count):
    rng = np.random.default_rng(count)
    lost = different = 0
    for _ in range(400):
        table = rng.normal(0, 1, (count, 5)) + rng.normal(0, 2, 5)
        scores, order = race(table.tolist(), Objective("score", "max"))
        verdict = judge(scores, order, Objective("score", "max"))
        together = {verdict.winner, *verdict.tied}
        lost += 1 not in together  # All are the best in truth: any of them stands for it.
        different += (1 in together) != (2 in together)
    assert lost <= 0.05 * 400 and different <= 0.05 * 400


def test_shuffled_results_do_not_need_the_order_of_a_dictionary():
    """Seeds that came in late are no other seeds."""
    values = {0: 0.91, 1: 0.9, 2: 0.93}
    late = dict(random.Random(1).sample(sorted(values.items()), 3))
    other = {0: 0.8, 1: 0.83, 2: 0.81}
    one, two = ({1: own, 2: other} for own in (values, late))
    assert judge(one, [1, 2], ACCURACY, 2) == judge(two, [1, 2], ACCURACY, 2)


def test_of_two_points_neither_blew_up_where_one_was_lucky_to_vary_little():
    scores = {0: {0: 0.900, 1: 0.901, 2: 0.900}, 1: {0: 0.910, 1: 0.895, 2: 0.925}}
    verdict = judge(scores, [0, 1], ACCURACY)
    assert {verdict.winner, *verdict.tied} == {0, 1}
    assert sound([[0.9, 0.901, 0.9], [0.91, 0.895, 0.925]]) == [True, True]
    assert sound([[0.9, 0.901, 0.9], [0.901, 0.9, 0.899], [0.1, 0.901, 0.9]]) == [True, True, False]
