"""The test part's value beside the interval of fresh seeds, and its own uncertainty."""

from __future__ import annotations

import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st
from test_report import ACCURACY, record

from lrsearch import trial
from lrsearch.analysis.confirmation import Confirmation, Finalist, find_share_interval
from lrsearch.reports.confirmation import confirmation_notes
from lrsearch.reports.page.content import describe_notes
from lrsearch.reports.view import Context, build_view
from lrsearch.trial import Objective


@given(st.integers(1, 5000), st.data())
def test_the_interval_of_a_share_is_wilsons(count, data):
    hits = data.draw(st.integers(0, count))
    known = scipy.stats.binomtest(hits, count).proportion_ci(0.95, method="wilson")
    assert find_share_interval(hits / count, count) == pytest.approx((known.low, known.high))


def told_of(value: float, samples: int, metric: str = "accuracy", seedless: bool = False) -> str:
    scores = dict(enumerate([0.95, 0.96, 0.97], start=1000))
    own = Finalist(1, {"lr": 0.1}, 0.96, 0.96, (0.94, 0.98), scores)
    tested = trial.Tested(9, {}, 0, None, "part", samples, {metric: value})
    found = Confirmation((own,), 3, over=True, tested=tested, tested_point=1, seedless=seedless)
    rows = [record(1, 1, {"lr": 0.1}, 0.96)]
    view = build_view("r", "r", ACCURACY, rows, Context(confirmation=found))
    assert view.answer is not None
    assert "Test part" in dict(describe_notes(view))
    return dict(confirmation_notes(view.answer, Objective(metric, "max")))["test"]


@pytest.mark.parametrize(
    ("value", "samples", "words"),
    [
        (0.95, 100, None),
        (
            0.92,
            100,
            "below what fresh seeds make likely, but so few samples leave 0.8500 to 0.9589",
        ),
        (1.0, 20, "above what fresh seeds make likely, but so few samples leave"),
        (
            0.80,
            1000,
            "and its samples leave 0.7741 to 0.8236 open: they differ from the validation",
        ),
        # What is no number of these samples, such as of words in texts, is not judged by them.
        (0.9234, 100, "one model's value"),
    ],
)
def test_a_test_part_outside_the_interval_is_told(value, samples, words):
    told = told_of(value, samples)
    assert f"on the test part ({samples} samples), looked at this once" in told
    assert told.endswith("once") if words is None else words in told


def test_what_is_no_share_of_the_samples_is_not_judged_by_their_number():
    assert "leave" not in told_of(0.8, 100, "r2") and "below" in told_of(0.8, 100, "r2")
    assert told_of(0.8, 100, seedless=True).endswith("once")
