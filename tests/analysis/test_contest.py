"""Runs side by side: what may be compared, what pairs, and what is noise."""

import dataclasses
import math
import statistics

import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st
from test_report import ACCURACY, record

from lrsearch.analysis.confirmation import Confirmation, Finalist
from lrsearch.analysis.contest import Contender, compare_all, compare_two
from lrsearch.reports.contest import describe_difference
from lrsearch.reports.view import Context, build_view
from lrsearch.trial import Objective


def contender(name, values, first_seed=0, **more):
    """A run of one point, with a value a seed."""
    rows = [
        record(number, 1, {"lr": 0.1}, value, seed=first_seed + number - 1)
        for number, value in enumerate(values, start=1)
    ]
    view = build_view(name, name, ACCURACY, rows)
    return Contender(name, ACCURACY, view.answer, **more)


VALUES = st.lists(st.integers(0, 1000).map(lambda value: value / 1000), min_size=2, max_size=5)


@given(VALUES, st.data())
def test_paired_is_students_paired_test(values, data):
    other = [data.draw(st.integers(0, 1000)) / 1000 for _ in values]
    found = compare_two(contender("a", values), contender("b", other))
    differences = [right - left for left, right in zip(values, other, strict=True)]
    if len({*values}) == len({*other}) == 1:
        assert (found.verdict, found.interval) == ("unknown", None)
        return
    assert found.pairs == len(values)
    assert found.gap == pytest.approx(statistics.fmean(differences), abs=1e-12)
    if statistics.pstdev(differences) > 1e-9:
        error = scipy.stats.sem(differences)
        low, high = scipy.stats.t.interval(0.95, len(values) - 1, found.gap, error)
        assert found.interval == pytest.approx((low, high), rel=1e-3)
        assert (found.verdict == "noise") == (low <= 0 <= high)


def test_a_seed_that_moves_both_alike_cancels():
    one, other = [0.50, 0.70, 0.90], [0.52, 0.715, 0.921]
    paired = compare_two(contender("a", one), contender("b", other))
    assert (paired.verdict, paired.pairs) == ("better", 3)
    apart = compare_two(contender("a", one), contender("b", other, first_seed=7))
    assert (apart.verdict, apart.pairs) == ("noise", 0)
    assert apart.gap == pytest.approx(paired.gap)


def test_unpaired_is_welch_with_the_smaller_freedom():
    one, other = [0.5, 0.6, 0.7], [0.9, 0.91]
    found = compare_two(contender("a", one), contender("b", other, first_seed=9))
    error = math.sqrt(statistics.variance(one) / 3 + statistics.variance(other) / 2)
    reach = scipy.stats.t.ppf(0.975, 1) * error
    assert found.interval == pytest.approx((0.305 - reach, 0.305 + reach), rel=1e-3)


def test_a_goal_of_min_turns_the_verdict():
    loss = Objective("accuracy", "min")
    pair = [contender("a", [0.1, 0.11, 0.12]), contender("b", [0.5, 0.51, 0.52])]
    assert compare_two(*pair).verdict == "better"
    assert (
        compare_two(*(dataclasses.replace(each, objective=loss) for each in pair)).verdict
        == "worse"
    )


@pytest.mark.parametrize("count", [1, 4])
def test_seeds_without_a_difference_are_taken_to_vary_as_the_others(count):
    others = [0.9, 0.92, 0.94]
    found = compare_two(contender("a", [0.5] * count), contender("b", others, first_seed=9))
    reach = scipy.stats.t.ppf(0.975, 2) * 0.02 * math.sqrt(1 / count + 1 / 3)
    assert found.interval == pytest.approx((found.gap - reach, found.gap + reach), rel=1e-3)


def test_one_seed_each_tells_nothing():
    found = compare_two(contender("a", [0.5]), contender("b", [0.9]))
    assert (found.verdict, found.interval, found.gap) == ("unknown", None, pytest.approx(0.4))


def test_a_single_seed_varies_as_the_other_run_does():
    found = compare_two(contender("a", [0.5, 0.6]), contender("b", [0.9], first_seed=5))
    assert found.verdict == "noise" and found.interval is not None


def test_the_same_run_is_noise():
    assert compare_two(contender("a", [0.5, 0.6]), contender("b", [0.5, 0.6])).verdict == "noise"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"objective": Objective("f1", "max")}, "the objective is accuracy in one and f1"),
        ({"objective": Objective("accuracy", "max", "best")}, "values count at last in one"),
        ({"data_hash": "y"}, "the data are not the same"),
        (
            {"outside": "the loop a.b", "data_hash": ""},
            "by lrsearch, b by the loop a.b, of whose",
        ),
        ({"split": {"validation": 0.3}}, "other samples are held out: data.validation"),
    ],
)
def test_runs_that_are_not_comparable(changes, words):
    one = contender("a", [0.5, 0.6], data_hash="x", split={"validation": 0.2})
    found = compare_two(one, dataclasses.replace(one, name="b", **changes))
    assert (found.verdict, found.gap) == ("not comparable", None)
    assert words in found.reasons[0] and len(found.reasons) == 1


def test_what_may_have_measured_something_else_is_named_beside_the_verdict():
    one = contender("a", [0.5, 0.6], outside="the command a.py", sources={"x": "1", "y": "1"})
    same = dataclasses.replace(one, name="b")
    other = dataclasses.replace(same, outside="the command b.py", sources={"x": "1", "y": "2"})
    both = [compare_all([one, each])[0] for each in (same, other)]
    assert [(each.verdict, each.doubts) for each in both] == [
        ("noise", ()),
        ("noise", ("a is the command a.py, b is the command b.py", "y changed in between")),
    ]
    assert "if both measure the same: a is the command a.py" in describe_difference(both[1])


def test_every_pair_once():
    runs = [contender(name, [0.5, 0.6]) for name in "abc"]
    assert [(each.first, each.second) for each in compare_all(runs)] == [
        *(("a", "b"), ("a", "c"), ("b", "c"))
    ]


def test_confirmed_runs_are_compared_on_their_fresh_seeds():
    """The first run was luckier while it searched, and is worse on fresh seeds."""

    def confirmed(name, searched, fresh):
        values = dict(enumerate(fresh, start=1000))
        mean = statistics.fmean(fresh)
        own = Finalist(1, {"lr": 0.1}, searched, mean, (mean - 0.1, mean + 0.1), values)
        rows = [record(1, 1, {"lr": 0.1}, searched)]
        context = Context(confirmation=Confirmation((own,), seeds=len(fresh), over=True))
        return Contender(name, ACCURACY, build_view(name, name, ACCURACY, rows, context).answer)

    first = confirmed("a", 0.99, [0.90, 0.80, 0.85])
    found = compare_two(first, confirmed("b", 0.91, [0.92, 0.821, 0.869]))
    assert (found.verdict, found.pairs) == ("better", 3)
    assert found.gap == pytest.approx(0.02, abs=1e-12)
    # Beside values of a search there is nothing to pair.
    beside = compare_two(first, contender("c", [0.9, 0.8, 0.85]))
    assert (beside.verdict, beside.pairs) == ("noise", 0)
