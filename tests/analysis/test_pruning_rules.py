"""Rules of early stopping: pure functions of losses."""

from __future__ import annotations

import itertools
import math
import statistics
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrsearch import catalogue
from lrsearch.analysis.pruning import (
    BRACKETS,
    NO_PROGRESS,
    PROGRESS,
    RULES,
    Progress,
    Reading,
    find_standstill,
    judging_step,
    rung_steps,
    signed_rank,
)
from lrsearch.duration import budget_steps, parse
from lrsearch.schedules import multipliers
from lrsearch.spec.model import complete_group
from lrsearch.train.engines.timetable import evaluation_steps

STOOD = Progress(start=2.3, baseline=2.303, first=2.31, training=2.29, validation=2.3, lowest=2.27)
"""A training of ten classes that has learned nothing."""

LOSS = st.floats(1e-3, 1e3)


@pytest.mark.parametrize(
    "changes",
    [
        {"training": 2.24},
        {"training": PROGRESS * 2.31},
        {"validation": PROGRESS * 2.3},
        {"validation": 2.25},
        {"start": 1.9},  # It began where the best constant prediction never comes.
        {"start": -2.3},
        {"lowest": -0.01},
        {"start": math.nan},
        {"baseline": math.nan},
        # Augmented losses are held against the first augmented one.
        {"first": 2.6, "training": 2.5},
        {"training": 24.0, "validation": 30.0},  # Whether it has diverged is another question.
    ],
)
def test_progress_and_what_cannot_be_judged_goes_on(changes):
    assert find_standstill(STOOD)
    assert find_standstill(replace(STOOD, **changes)) == ""


@pytest.mark.parametrize("name", ["training", "validation"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_no_number_stops_wherever_it_began(name, value):
    lost = replace(STOOD, **{"start": 0.1, name: value})
    assert find_standstill(lost) == f"the {name} loss is {value}"


@given(start=LOSS, unit=st.floats(1e-3, 1e3), fallen=st.floats(0.0, 2.0))
def test_no_unit_matters_and_either_fall_is_enough(start, unit, fallen):
    """A training whose loss is `fallen` of its start stops just where that is above 98%."""

    def judge(training, validation, times=1.0):
        return find_standstill(
            Progress(
                start=times * start,
                baseline=times * start,
                first=times * start,
                training=times * training * start,
                validation=times * validation * start,
                lowest=0.0,
            )
        )

    close = abs(fallen - PROGRESS) < 1e-6
    if not close:
        assert bool(judge(fallen, fallen)) == (fallen > PROGRESS)
        assert bool(judge(fallen, fallen, unit)) == (fallen > PROGRESS)
    assert not judge(PROGRESS / 2, fallen) and not judge(fallen, PROGRESS / 2)


def timetable(budget, evaluate, schedule="constant", warmup=None, samples=1000, size=10):
    """The evaluations of a training, and the rate of each of its steps."""
    train = {"budget": budget, "evaluate": evaluate, "batch_size": size}
    steps = budget_steps(parse(budget), samples=samples, batch_size=size)
    given = {"name": schedule} if isinstance(schedule, str) else schedule
    rates = multipliers(given, warmup, steps=None, budget=steps, samples=samples, batch_size=size)
    return evaluation_steps(train, samples), rates.tolist()


def warm(length):
    return {"for": length, "shape": "linear", "start": 0.01}


@pytest.mark.parametrize(
    ("budget", "evaluate", "warmup", "share"),
    [
        ("20ep", "1ep", None, 0.1),
        ("20ep", "1ep", warm("0.05dur"), 0.1),
        ("20ep", "1ep", warm("0.1dur"), 0.15),  # Its rate has only now come to its height.
        ("20ep", "1ep", warm("0.5dur"), 0.55),
        ("5ep", "1ep", None, 0.2),
        ("1ep", "5ba", None, 0.2),  # Twenty steps at least.
        ("1ep", "0.01ep", None, 0.2),
        ("2ep", "1ep", None, 0.5),
        ("1ep", "1ep", None, 0.0),  # Nothing is evaluated before its end.
        ("1ep", "0.1dur", None, 0.2),
        ("1ep", "0.1dur", warm("0.97dur"), 0.0),
        ("7ep", "0.34ep", None, 0.146),
    ],
)
def test_a_training_is_judged_at_the_first_evaluation_after_a_tenth(
    budget, evaluate, warmup, share
):
    evaluations, rates = timetable(budget, evaluate, warmup=warmup)
    assert judging_step(evaluations, rates) == pytest.approx(share * len(rates), abs=1)
    assert judging_step([20, 205], [1.0] * 205) == 20  # Half a step before a tenth is rounding.


def test_a_schedule_that_rises_by_itself_shifts_it():
    one_cycle = complete_group("schedule", {"name": "one_cycle", "pct_start": 0.3})
    evaluations, rates = timetable("20ep", "1ep", one_cycle)
    peak = rates.index(max(rates))
    judged = judging_step(evaluations, rates)
    assert judged in evaluations and peak + 0.05 * len(rates) <= judged < peak + 0.11 * len(rates)
    assert judging_step(evaluations, [0.0] * len(rates)) == 0
    assert judging_step(evaluations, [math.nan] * len(rates)) == 0


# points that are compared

DEFAULTS = {
    name: {key: each.default for key, each in catalogue.PRUNING[name].parameters.items()}
    for name in RULES
}
VALUES = st.lists(
    st.one_of(st.floats(-5, 5), st.sampled_from([0.0, 1.0, math.inf])), min_size=1, max_size=40
)


def judge(name, values, rung=0, **settings):
    """The places that stop, of points with these values (a number, or one a seed and fold)."""
    readings = [
        Reading(place, tuple(each) if isinstance(each, list) else (each,))
        for place, each in enumerate(values)
    ]
    given = {**DEFAULTS[name], "population": len(values), **settings}
    return RULES[name].judge(readings, rung, given)


def stopped(name, values, rung=0):
    """The places that stop where points come one after the other, or together."""
    if RULES[name].together:
        return judge(name, values, rung)
    ends = range(1, len(values) + 1)
    return {end - 1 for end in ends if end - 1 in judge(name, values[:end], rung)}


def test_every_rule_that_compares_is_one_of_the_catalogue_s():
    assert {*RULES, "none", NO_PROGRESS} == set(catalogue.PRUNING)
    assert catalogue.PRUNE == NO_PROGRESS


@pytest.mark.parametrize("name", sorted(RULES))
@given(values=VALUES, rung=st.sampled_from([0, 1]))
def test_the_contract_of_rules(name, values, rung):
    """The best of all never stops, nor do equals; nothing but the order of values matters."""
    found = stopped(name, values, rung)
    assert found <= set(range(len(values)))
    # Of a population many may have ended before the rung.
    assert judge(name, values, rung, population=3 * len(values)) <= found
    assert not RULES[name].together or not judge(name, [], rung)
    assert not any(values[place] == min(values) for place in found)
    assert stopped(name, [math.atan(each) for each in values], rung) == found
    assert not stopped(name, [values[0]] * len(values), rung)
    nans = [math.nan if each == math.inf else each for each in values]
    assert stopped(name, nans, rung) == found  # What is no number is as bad as can be.


@pytest.mark.parametrize("name", [name for name in sorted(RULES) if RULES[name].together])
@given(values=VALUES, order=st.randoms(use_true_random=False))
def test_the_order_of_points_that_are_compared_together_is_nothing(name, values, order):
    places = list(range(len(values)))
    order.shuffle(places)
    before = {places[each] for each in judge(name, [values[place] for place in places])}
    assert before == judge(name, values)


@given(values=st.lists(st.floats(-5, 5), min_size=1, max_size=40, unique=True))
def test_how_many_stop(values):
    n = len(values)
    worst = sorted(range(n), key=lambda place: -values[place])
    assert judge("quarter", values) == set(worst[: n // 4])
    assert judge("halving", values) == set(worst[: n - -(-n // 2)])
    assert judge("halving", values, 1) == set(worst[: n - -(-n // 4)])
    # ASHA keeps the best third of those so far; the median rule the better half of those before.
    *before, last = values
    better = sum(each < last for each in before)
    assert (n - 1 in judge("asha", values)) == (better >= max(1, n // 3))
    assert (n - 1 in judge("median", values)) == (n > 4 and better > 0.5 * (n - 1))
    # Hyperband is ASHA within a bracket, from the bracket's rung on.
    bracket, *rest = [BRACKETS[place % 17] for place in reversed(range(n))]
    own = [value for value, each in zip(reversed(before), rest, strict=True) if each == bracket]
    better = sum(each < last for each in own)
    for rung in (0, 1):
        stops = bracket <= rung and better >= max(1, (len(own) + 1) // 3)
        assert (n - 1 in judge("hyperband", values, rung)) == stops
    assert [BRACKETS.count(each) for each in range(3)] == [9, 5, 3]


@given(st.lists(st.integers(-6, 6).map(float), min_size=1, max_size=9))
def test_the_signed_rank_test_is_exact(gaps):
    """Against all signs of the ranks, one by one."""
    known = [each for each in gaps if each]
    ranks = [
        statistics.fmean(
            k + 1 for k, other in enumerate(sorted(map(abs, known))) if other == abs(g)
        )
        for g in known
    ]
    reached = sum(rank for rank, gap in zip(ranks, known, strict=True) if gap > 0)
    every = [
        sum(rank for rank, sign in zip(ranks, signs, strict=True) if sign) >= reached - 1e-9
        for signs in itertools.product([0, 1], repeat=len(ranks))
    ]
    assert signed_rank(gaps) == pytest.approx(statistics.fmean(every))
    assert signed_rank([*gaps, math.nan]) == 1.0


@given(
    st.lists(st.lists(st.integers(0, 9).map(float), min_size=5, max_size=5), min_size=2, max_size=6)
)
def test_wilcoxon_compares_with_the_best_until_then(values):
    *before, last = values
    best = min(before, key=statistics.fmean)
    worse = statistics.fmean(last) > statistics.fmean(best)
    gaps = [own - other for own, other in zip(last, best, strict=True)]
    found = judge("wilcoxon", values) == {len(values) - 1}
    assert found == (worse and signed_rank(gaps) <= DEFAULTS["wilcoxon"]["p"])
    assert Reading(0, tuple(last)).mean == statistics.fmean(last)


def test_wilcoxon_needs_seeds_that_agree():
    good, bad = [0.1, 0.2, 0.3, 0.4], [0.2, 0.35, 0.5, 0.65]
    assert judge("wilcoxon", [good, bad]) == {1}
    assert not judge("wilcoxon", [good, [0.2, 0.35, 0.5, 0.1]])
    assert not judge("wilcoxon", [bad, good])
    assert not judge("wilcoxon", [good[:3], bad[:3]])  # Three can tell nothing.
    assert not judge("wilcoxon", [good[:3], bad])  # They were not trained with the same seeds.


@pytest.mark.parametrize(
    ("budget", "evaluate", "expected"),
    [
        ("9ep", "1ep", ((0, 100), (1, 300))),
        ("10ep", "1ep", ((0, 200), (1, 400))),
        ("2ep", "1ep", ((1, 100),)),  # Both fall on one evaluation.
        ("1ep", "1ep", ()),
        ("1ep", "0.1dur", ((0, 20), (1, 40))),
        ("3ep", "3ep", ()),
    ],
)
def test_rungs_stand_at_evaluations(budget, evaluate, expected):
    train = {"budget": budget, "evaluate": evaluate, "batch_size": 10}
    assert rung_steps(evaluation_steps(train, 1000)) == expected
