"""Points, ties, edges of the search and required values."""

import itertools
import math
import statistics
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

from lrsearch.analysis.confirmation import find_share_interval
from lrsearch.analysis.curve import ends, nearest_ends
from lrsearch.analysis.edges import Range, find_edges
from lrsearch.analysis.points import best, columns, last_metrics, rank, summarize, written
from lrsearch.analysis.requirement import parse_requirement
from lrsearch.analysis.tied import student, ties
from lrsearch.errors import UsageError
from lrsearch.trial import Objective, Outcome, Record, Result, Trial

ACCURACY = Objective("accuracy", "max")
LOSS = Objective("loss", "min")
FINITE = st.floats(-1e3, 1e3)


def edges(params, ranges):
    return [str(edge) for edge in find_edges(params, ranges)]


def record(
    number,
    point=1,
    value=0.9,
    seed=0,
    fold=None,
    outcome=Outcome.COMPLETED,
    strategy="grid",
    **more,
):
    result = None
    if outcome is not None:
        last = {"accuracy": value, "loss": value} if value is not None else {}
        result = Result(outcome, 100, 5.0, 1.5, last=last, best={"accuracy": 1.0}, **more)
    return Record(
        Trial(number, f"key{number}", {}, seed, fold), point, {"lr": 0.1}, strategy, result
    )


def seeds_of(values, point, first=0):
    return [record(100 * point + i, point, v, first + i) for i, v in enumerate(values)]


@given(st.lists(FINITE, min_size=2, max_size=6))
def test_point_has_mean_and_sample_deviation_of_its_seeds(values):
    (point,) = summarize(seeds_of(values, 1), ACCURACY)
    assert point.objective == pytest.approx(np.mean(values), abs=1e-9)
    assert point.spread == pytest.approx(np.std(values, ddof=1), abs=1e-9)
    assert (point.seeds, point.folds, point.done) == (len(values), 0, len(values))
    assert point.epochs == 5.0 * len(values) and point.seconds == 1.5 * len(values)


def test_records_are_grouped_by_point_whatever_their_order():
    records = [record(4, 2), record(1, 1, 0.8, strategy="random"), record(3, 1, 0.6, seed=1)]
    first, second = summarize(records, ACCURACY)
    assert (first.point, first.trials, first.strategy) == (1, (1, 3), "random")
    assert first.objective == pytest.approx(0.7)
    assert (second.point, second.trials, second.spread) == (2, (4,), None)


@pytest.mark.parametrize(
    ("outcomes", "expected"),
    [
        ((Outcome.COMPLETED, Outcome.DIVERGED, Outcome.PRUNED), Outcome.DIVERGED),
        ((Outcome.FAILED, Outcome.OUT_OF_MEMORY, Outcome.COMPLETED), Outcome.FAILED),
        ((Outcome.DIVERGED, Outcome.OUT_OF_MEMORY), Outcome.OUT_OF_MEMORY),
        ((Outcome.PRUNED, Outcome.COMPLETED), Outcome.PRUNED),
        ((Outcome.FAILED, None), None),
    ],
)
def test_point_has_the_worst_outcome_and_then_no_value(outcomes, expected):
    records = [
        record(
            number, outcome=outcome, seed=number, **({"reason": str(outcome)} if outcome else {})
        )
        for number, outcome in enumerate(outcomes)
    ]
    (point,) = summarize(records, ACCURACY)
    assert point.outcome is expected
    assert point.objective is None and point.spread is None
    assert point.reason == (str(expected) if expected else "")


@pytest.mark.parametrize("value", [None, math.nan, math.inf])
def test_completed_point_without_a_finite_value_is_not_best(value):
    points = summarize([record(1, 1, value), record(2, 2, 0.1)], ACCURACY)
    assert points[0].outcome is Outcome.COMPLETED and points[0].objective is None
    assert best(points, ACCURACY).point == 2


def test_objective_at_best_reads_the_best_evaluation():
    (point,) = summarize([record(1, value=0.5)], Objective("accuracy", "max", "best"))
    assert point.objective == 1.0


def test_columns_are_of_the_rows_that_are_given_whatever_was_asked_for_before():
    rows = [record(1, 1), record(2, 2), record(3, 3)]
    rows = [replace(each, params={"lr": each.point, "a": 0.0}) for each in rows]
    for make in (list, tuple):
        for _ in range(2):
            assert columns(make(rows)) == {"lr": [1, 2, 3], "a": [0.0] * 3}
        whole = make(rows)
        assert columns(whole) is columns(whole)
        assert columns(make(rows[:2])) == {"lr": [1, 2], "a": [0.0] * 2}
        mixed = make([*rows[1:], replace(rows[0], params={"b": 5})])
        assert columns(mixed) == {"lr": [2, 3, ...], "a": [0.0, 0.0, ...], "b": [..., ..., 5]}
    rows.reverse()
    assert columns(rows)["lr"] == [3, 2, 1]
    rows.append(rows[0])
    assert columns(rows)["lr"] == [3, 2, 1, 3]


@pytest.mark.parametrize(
    "column",
    [
        [1, 1.0, True, "1", None, ...],
        [0.0, -0.0, 1.0, ...],
        [math.nan, float("nan"), 1.0],
        [0.1, 0.1, ..., 2.0],
        [math.inf, -math.inf, math.inf, ...],
        ["a", "b", "a"],
        [1, 2, 1],
        [[1], [1.0], [1]],
    ],
)
def test_values_are_told_apart_by_what_is_written(column):
    keys = written(column)
    for (one, first), (other, second) in itertools.combinations(zip(keys, column, strict=True), 2):
        assert (one == other and hash(one) == hash(other)) == (repr(first) == repr(second))


def test_rank_puts_best_first_then_ties_by_number_then_those_without_a_value():
    ends = [None, Outcome.FAILED, Outcome.OUT_OF_MEMORY, Outcome.PRUNED, Outcome.DIVERGED]
    records = [record(10 + i, 10 + i, outcome=end) for i, end in enumerate(ends)]
    records += [record(1, 1, 0.5), record(3, 3, 0.9), record(2, 2, 0.9)]
    points = summarize(records, ACCURACY)
    assert [p.point for p in rank(points, ACCURACY)] == [2, 3, 1, 14, 13, 12, 11, 10]
    assert [p.point for p in rank(points, LOSS)] == [1, 2, 3, 14, 13, 12, 11, 10]
    # Whoever changes an order that was given changes no other's.
    rank(points, LOSS).reverse()
    assert [p.point for p in rank(points, LOSS)] == [1, 2, 3, 14, 13, 12, 11, 10]
    points.append(replace(points[0], point=4, objective=0.7))
    assert [p.point for p in rank(points, LOSS)] == [1, 4, 2, 3, 14, 13, 12, 11, 10]
    assert best(points, LOSS).point == 1


@given(st.lists(FINITE, min_size=1, max_size=12), st.sampled_from([ACCURACY, LOSS]))
def test_nothing_is_better_than_the_best(values, objective):
    points = summarize([record(i, i, value) for i, value in enumerate(values)], objective)
    winner = best(points, objective)
    assert not any(objective.better(point.objective, winner.objective) for point in points)


def test_no_points_have_no_best_and_no_ties():
    unfinished = summarize([record(1, outcome=None)], ACCURACY)
    for points in ([], unfinished):
        assert best(points, ACCURACY) is None
        assert ties(points, ACCURACY) == []


@given(st.integers(1, 300), st.floats(1e-6, 0.5))
def test_student_quantiles(freedom, error):
    assert student(freedom, error) == pytest.approx(stats.t.ppf(1 - error / 2, freedom), rel=1e-5)


@pytest.mark.parametrize("freedom", range(1, 31))
def test_student_quantiles_of_95_percent(freedom):
    assert student(freedom) == pytest.approx(stats.t.ppf(0.975, freedom), rel=1e-5)


@given(st.lists(st.tuples(FINITE, FINITE), min_size=2, max_size=8))
def test_shared_seeds_tie_as_the_paired_t_test_says(pairs):
    left, right = zip(*pairs, strict=True)
    assume(statistics.stdev(a - b for a, b in pairs) > 1e-6)
    p = stats.ttest_rel(left, right).pvalue
    assume(abs(p - 0.05) > 1e-3)
    points = summarize(seeds_of(left, 1) + seeds_of(right, 2), ACCURACY)
    assert bool(ties(points, ACCURACY)) == (p > 0.05)


def test_pairing_finds_a_small_difference_that_every_seed_shows():
    values = [0.90, 0.93, 0.96]
    worse = [value - 0.01 + wobble for value, wobble in zip(values, (0, 1e-4, -1e-4), strict=True)]
    paired = summarize(seeds_of(values, 1) + seeds_of(worse, 2), ACCURACY)
    assert ties(paired, ACCURACY) == []
    unpaired = summarize(seeds_of(values, 1) + seeds_of(worse, 2, first=50), ACCURACY)
    assert [point.point for point in ties(unpaired, ACCURACY)] == [2]


QUIET, NOISY = [20.0, 21.0, 20.4], [12.0, 20.0, 15.0]


@pytest.mark.parametrize(
    ("worse", "tied"),
    [
        ([15.0, 15.4, 15.1], {2}),
        # Differences that are all the same say nothing of others.
        ([15.0, 16.0, 15.4], {2, 3}),
        ([20.5, 20.3, 20.7], {1, 2}),
    ],
)
def test_what_a_noisier_point_adds_ties_no_others(worse, tied):
    records = seeds_of(QUIET, 1) + seeds_of(NOISY, 2) + seeds_of(worse, 3)
    points = summarize(records, ACCURACY)
    assert {point.point for point in ties(points, ACCURACY)} == tied


def test_other_seeds_are_compared_by_both_variances():
    # Variances 1 and 4 over 3 and 4 seeds: s = sqrt(1/3 + 4/4), t = 4.303 with 2 degrees.
    reach = 4.303 * math.sqrt(4 / 3)
    base, wide = [-1.0, 0.0, 1.0], [-math.sqrt(6), 0.0, 0.0, math.sqrt(6)]
    assert statistics.variance(wide) == pytest.approx(4)
    for gap, tied in ((0.99 * reach, True), (1.01 * reach, False)):
        values = [value - gap for value in wide]
        points = summarize(seeds_of(base, 1) + seeds_of(values, 2, first=9), ACCURACY)
        assert bool(ties(points, ACCURACY)) is tied


@pytest.mark.parametrize("single_is_best", [True, False])
def test_single_trial_is_taken_to_vary_as_the_other(single_is_best):
    reach = 4.303 * math.sqrt(1 / 3 + 1)
    sign = 1 if single_is_best else -1
    for gap, tied in ((0.99 * reach, True), (1.01 * reach, False)):
        records = [*seeds_of([-1.0, 0.0, 1.0], 1), record(7, 2, sign * gap)]
        assert bool(ties(summarize(records, ACCURACY), ACCURACY)) is tied


def test_single_trials_tie_only_when_equal():
    records = [record(1, 1, 0.9), record(2, 2, 0.9), record(3, 3, 0.9 - 1e-6)]
    assert [point.point for point in ties(summarize(records, ACCURACY), ACCURACY)] == [2]


def test_folds_widen_the_interval():
    # Five folds of one seed: the variance of the gaps counts 1/5 + 1/4 instead of 1/5.
    wobble = [-2.0, -1.0, 0.0, 1.0, 2.0]
    plain = 2.776 * math.sqrt(2.5 / 5)
    widened = 2.776 * math.sqrt(2.5 * (1 / 5 + 1 / 4))
    for gap, tied in ((1.01 * plain, True), (0.99 * widened, True), (1.01 * widened, False)):
        records = [record(i, 1, 0.0, fold=i) for i in range(5)]
        records += [record(10 + i, 2, w - gap, fold=i) for i, w in enumerate(wobble)]
        points = summarize(records, ACCURACY)
        assert points[0].folds == 5 and points[0].seeds == 1
        assert bool(ties(points, ACCURACY)) is tied


@pytest.mark.parametrize(("right", "count"), [(0, 20), (20, 20), (50, 100), (3, 40)])
def test_the_interval_of_a_share_is_wilson_s(right, count):
    expected = stats.binomtest(right, count).proportion_ci(0.95, "wilson")
    found = find_share_interval(right / count, count)
    assert found == pytest.approx((expected.low, expected.high), abs=1e-6)
    assert 0.0 <= found[0] <= found[1] <= 1.0


def test_last_metrics_average_the_completed_trials_of_a_point():
    records = [record(1, 1, 0.8), record(2, 1, 0.9, seed=1), record(3, 2, 0.1)]
    records.append(record(4, 1, 0.0, seed=2, outcome=Outcome.PRUNED))
    assert last_metrics(records, 1) == pytest.approx({"accuracy": 0.85, "loss": 0.85})
    assert last_metrics(records, 9) == {}


@pytest.mark.parametrize(
    ("value", "end"),
    [(0.1, "the highest"), (0.0957, "near the highest"), (0.095, None), (0.001, "the lowest")],
)
def test_edge_of_a_logarithmic_range(value, end):
    found = edges({"lr": value}, [Range("lr", 1e-3, 1e-1, "log")])
    assert [f"is {end} searched (0.001 to 0.1)" in text for text in found] == [True] * bool(end)


def test_edge_sentence():
    assert edges({"lr": 0.1}, [Range("lr", 1e-3, 0.1, "log")]) == [
        "lr 0.1 is the highest searched (0.001 to 0.1): the best may lie beyond"
    ]


@given(st.floats(0, 1))
def test_edge_of_a_linear_range_is_one_percent_of_it(share):
    assume(min(abs(share - 0.01), abs(share - 0.99)) > 1e-6)
    found = edges({"x": 5 + 20 * share}, [Range("x", 5, 25)])
    assert bool(found) == (share < 0.01 or share > 0.99)


def test_edges_skip_what_says_nothing():
    ranges = [
        Range("schedule.pct_start", 0.1, 0.4),  # of another choice
        Range("same", 3, 3),
        Range("smoothing", 0.0, 0.3, least=0.0),  # nothing lies below 0
        Range("momentum", 0.5, 1.0, most=1.0),
        Range("nesterov", 0, 1),
    ]
    params = {"momentum": 1.0, "same": 3, "smoothing": 0.0, "nesterov": True}
    assert edges(params, ranges) == []
    assert len(edges({"smoothing": 0.3}, ranges)) == 1


@pytest.mark.parametrize(
    ("text", "value", "met"),
    [
        ("accuracy>=0.95", 0.95, True),
        ("accuracy>0.95", 0.95, False),
        (" loss <= 1e-2 ", 0.01, True),
        ("loss<0.01", 0.0099, True),
        ("accuracy>=0.95", 0.9499, False),
        ("r2 > -1", math.nan, False),
    ],
)
def test_requirement(text, value, met):
    requirement = parse_requirement(text)
    assert requirement.met({requirement.metric: value}) is met
    assert parse_requirement(str(requirement)) == requirement


@pytest.mark.parametrize("text", ["val loss<0.5", "  val loss  < .5 ", "val loss < baseline"])
def test_the_metric_of_a_requirement_may_have_blanks(text: str) -> None:
    requirement = parse_requirement(text, ("val loss",))
    assert requirement.metric == "val loss" and requirement.comparison == "<"
    assert parse_requirement(str(requirement), None) == requirement


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("acuracy>=0.95", "did you mean 'accuracy'"),
        ("accuracy", ">=, >, <=, <"),
        ("accuracy=0.9", ">=, >, <=, <"),
        ("accuracy>=high", "a number"),
        ("accuracy>=nan", "a number"),
        ("", "a number"),
        ("0.9<=accuracy", "a number"),
    ],
)
def test_malformed_requirement_is_a_usage_error(text, said):
    with pytest.raises(UsageError) as caught:
        parse_requirement(text)
    assert said in str(caught.value) and repr(text) in str(caught.value)


def test_requirement_on_a_metric_the_run_does_not_measure():
    with pytest.raises(UsageError, match="rmse"):
        parse_requirement("accuracy>=0.9").met({"rmse": 1.0, "loss": 0.5})


@pytest.mark.parametrize("scale", ["linear", "log"])
def test_a_best_outside_the_range_is_on_no_edge_of_it(scale: str) -> None:
    searched = Range("lr", 1e-3, 0.05, scale)
    assert edges({"lr": 0.05}, [searched])
    assert not edges({"lr": 0.5}, [searched])
    assert not edges({"lr": 1e-4}, [searched])


def test_of_listed_values_only_the_ends_are_ends() -> None:
    rates = Range("lr", 1e-5, 1.0, listed=(1e-5, 1.0))
    assert not edges({"lr": 1e-4}, [rates])
    assert not edges({"lr": 0.999}, [rates])
    assert "is the lowest searched" in edges({"lr": 1e-5}, [rates])[0]
    assert "is the highest searched" in edges({"lr": 1.0}, [rates])[0]


@pytest.mark.parametrize("count", [1, 2, 80, 200, 1200])
def test_ends_are_the_quantiles_of_numpy(count):
    drawn = np.random.default_rng(count).normal(size=(count, 3)).round(count % 7)
    shares = [0.025, 0.975]
    assert np.array_equal(ends(drawn, 0.025), np.quantile(drawn, shares, axis=0))
    nearest = np.quantile(drawn[:, 0], shares, method="nearest")
    assert nearest_ends(drawn[:, 0], 0.025) == tuple(nearest)
