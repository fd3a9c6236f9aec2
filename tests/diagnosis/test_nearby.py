"""What trials say of one another that differ in the rate and, next to nothing, in other numbers."""

from __future__ import annotations

import itertools
import math
import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrsearch.diagnosis import compare
from lrsearch.diagnosis.nearby import CROWD, MOST, WIDTH, find_near
from lrsearch.trial import Diagnosis, Outcome, Record, Result, Trial


def trial(number, rate, loss, *verdicts, seed=0, outcome="completed", **params):
    """A trial that ended with this loss, where one that knows nothing has a loss of 2."""
    signs = {"training": loss, "validation": loss, "nothing": 2.0}
    found = tuple(Diagnosis(each, 0.6, {}, "as it was") for each in verdicts or ("healthy",))
    result = Result(Outcome(outcome), 100, 1.0, 1.0, verdicts=found, signs=signs)
    given = {"lr": rate, **{name.replace("__", "."): value for name, value in params.items()}}
    return Record(Trial(number, str(number), {}, seed), number, given, "random", result)


def first(records, number):
    [found] = [each for each in compare(records) if each.trial.number == number]
    return found.result.verdicts[0]


def find_all(records):
    """The numbers of the trials near each of them."""
    found = {}
    for places, others, near in find_near(records, range(len(records))):
        for place, row in zip(places.tolist(), near, strict=True):
            number = records[place].trial.number
            found[number] = [records[each].trial.number for each in others[row].tolist()]
    return found


ENDS = [trial(90, 1e-3, 0.2, decay=1e-6), trial(91, 1.2e-3, 0.2, decay=1e-2)]
"""Trials that say how wide the range of `decay` is: four decades, of which half a one is near."""


def test_a_near_trial_at_another_rate_says_where_to_go() -> None:
    good = trial(1, 0.01, 0.2, decay=1.1e-4)
    high = first([*ENDS, good, trial(2, 0.1, 1.1, decay=1e-4)], 2)
    assert high.verdict == "oscillating" and high.evidence["neighbour"] == 1
    assert high.advice == (
        "the rate is too high, and it missed 50% of what trial 1 learned at lr 0.01, "
        "decay 0.00011: try rates around 0.01"
    )
    low = first([*ENDS, good, trial(2, 0.001, 1.1, decay=1e-4)], 2)
    assert low.verdict == "too_slow" and low.evidence["missed"] == pytest.approx(0.5)
    lost = first([*ENDS, good, trial(2, 1.0, 2.0, "diverged", decay=1e-4)], 2)
    assert lost.advice.endswith("trial 1 learned at lr 0.01, decay 0.00011: try rates around that")
    # Two things differ: what would do for the rate alone does not.
    assert first([*ENDS, good, trial(2, 0.1, 0.28, decay=1e-4)], 2).verdict == "healthy"
    assert first([*ENDS, good, trial(2, 0.1, 0.28, decay=1.1e-4)], 2).verdict == "oscillating"


def test_who_is_not_near() -> None:
    good, own = trial(1, 0.01, 0.2, decay=1.1e-4), trial(2, 0.1, 1.1, decay=1e-4)
    assert first([*ENDS, good, own], 2).verdict == "oscillating"
    for other in (
        trial(1, 0.01, 0.2, decay=1e-3),
        trial(1, 0.08, 0.2, decay=1.1e-4),  # As good as the same rate.
        trial(1, 0.01, 0.2, decay=1.1e-4, seed=1),
        trial(1, 0.01, 0.2, decay=1.1e-4, schedule="cosine"),
        trial(1, 0.01, 0.2, decay=1.1e-4, outcome="pruned"),
        trial(1, 0.01, 0.2),
    ):
        assert first([*ENDS, other, own], 2) == own.result.verdicts[0]
    # Rates by just the factor from which on they tell.
    for rate, lower in ((0.75, 0.5), (0.74, 0.5)):
        own, good = trial(2, rate, 1.1, decay=1e-4), trial(1, lower, 0.2, decay=1.1e-4)
        assert (first([*ENDS, good, own], 2).verdict == "oscillating") == (rate == 0.75)
        own, good = trial(2, lower, 1.1, decay=1e-4), trial(1, rate, 0.2, decay=1.1e-4)
        assert (first([*ENDS, good, own], 2).verdict == "too_slow") == (rate == 0.75)
    own, good = trial(2, 0.1, 1.1, decay=1e-4), trial(1, 0.01, 0.2, decay=1.1e-4)
    # One that differs in the rate alone says more, whatever others say.
    exact = trial(3, 0.2, 1.2, decay=1e-4)
    assert first([*ENDS, good, own, exact], 2).verdict == "healthy"


def test_a_small_range_is_no_matter_of_logarithms() -> None:
    ends = [trial(90, 1e-3, 0.2, momentum=0.5), trial(91, 1.2e-3, 0.2, momentum=0.9)]
    own = trial(2, 0.1, 1.1, momentum=0.7)
    assert first([*ends, trial(1, 0.01, 0.2, momentum=0.74), own], 2).verdict == "oscillating"
    assert first([*ends, trial(1, 0.01, 0.2, momentum=0.76), own], 2).verdict == "healthy"


points = st.tuples(st.floats(-4, 0), st.floats(-6, -2), st.floats(0.05, 2.5))


@given(st.lists(points, min_size=2, max_size=30), st.integers(-3, 3))
def test_neither_order_nor_unit_matters(rows, power) -> None:
    records = [
        trial(k, 10**rate, loss, decay=10**decay) for k, (rate, decay, loss) in enumerate(rows)
    ]
    found = {each.trial.number: each for each in compare(records)}
    shuffled = random.Random(0).sample(records, len(records))
    assert {each.trial.number: each for each in compare(shuffled)} == found
    near = find_all(records)
    for number, others in near.items():
        assert number not in others and len(others) <= MOST
        assert all(number in near[each] for each in others) or len(rows) > MOST
    moved = [
        replace(each, params={**each.params, "decay": each.params["decay"] * 2.0**power})
        for each in records
    ]
    for number, others in find_all(moved).items():
        # Of two that stand at the edge of what is near rounding decides.
        assert set(others) ^ set(near[number]) <= _at_edge(records, number)


@given(st.lists(st.tuples(st.integers(0, 20), st.floats(0, 1)), min_size=2, max_size=60))
def test_the_nearest_are_found_and_of_equals_those_of_lower_numbers(rows) -> None:
    records = [trial(k, 0.01, 0.2, decay=a, momentum=b) for k, (a, b) in enumerate(rows)]
    places = []
    for own in zip(*rows, strict=True):
        logarithmic = min(own) > 0 and max(own) >= 10 * min(own)
        own = [math.log(each) for each in own] if logarithmic else own
        span = max(own) - min(own) or 1.0
        places.append([(each - min(own)) / span for each in own])
    for number, others in find_all(records).items():
        apart = {k: max(abs(own[k] - own[number]) for own in places) for k in range(len(rows))}
        del apart[number]
        # Rounding decides between those that are as far but for it.
        assert len(others) == len(set(others)) <= MOST
        told = [apart[each] for each in others]
        assert all(each <= WIDTH + 1e-9 for each in told)
        left = {k: each for k, each in apart.items() if k not in others}
        bound = max(told, default=WIDTH) if len(others) == MOST else WIDTH
        assert all(each >= bound - 1e-9 for each in left.values())
        if len(others) == MOST:
            for one, other in itertools.product(others, left):
                assert rows[one] != rows[other] or one < other


def test_of_a_crowd_the_nearest_are_found_in_each_group() -> None:
    draw = random.Random(3)
    records = [
        trial(k, 0.01, 0.2, momentum=draw.randrange(33) / 32, schedule=draw.choice("ab"))
        for k in range(700)
    ]
    draw.shuffle(records)
    found = find_all(records)
    assert found.keys() == set(range(700))
    for group in ("a", "b"):
        own = sorted(
            (each.trial.number, each.params["momentum"])
            for each in records
            if each.params["schedule"] == group
        )
        step = (len(own) - 1) / (CROWD - 1)
        crowd = [own[round(step * k)] for k in range(CROWD)]
        assert {0.0, 1.0} <= {value for _, value in own}  # All differences are exact.
        for number, value in own:
            near = [
                (abs(its - value), other)
                for other, its in crowd
                if other != number and abs(its - value) <= WIDTH
            ]
            assert sorted(found[number]) == sorted(other for _, other in sorted(near)[:MOST])


def _at_edge(records, number):
    values = [math.log(each.params["decay"]) for each in records]
    plain = [each.params["decay"] for each in records]
    found = set()
    for column in (values, plain):
        span = max(column) - min(column) or 1.0
        shares = [abs(each - column[number]) / span for each in column]
        found |= {k for k, share in enumerate(shares) if abs(share - WIDTH) < 1e-6}
    return found
