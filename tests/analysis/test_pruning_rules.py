"""Rules of early stopping: pure functions of losses."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrsearch.analysis.pruning import PROGRESS, Progress, find_standstill, judging_step
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
    assert not find_standstill(replace(STOOD, **changes))


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
        ("2ep", "1ep", None, 0.5),
        ("1ep", "1ep", None, 0.0),  # Nothing is evaluated before its end.
        ("1ep", "0.1dur", None, 0.1),
        ("1ep", "0.1dur", warm("0.97dur"), 0.0),
        ("7ep", "0.34ep", None, 0.146),
    ],
)
def test_a_training_is_judged_at_the_first_evaluation_after_a_tenth(
    budget, evaluate, warmup, share
):
    evaluations, rates = timetable(budget, evaluate, warmup=warmup)
    assert judging_step(evaluations, rates) == pytest.approx(share * len(rates), abs=1)


def test_a_schedule_that_rises_by_itself_shifts_it():
    one_cycle = complete_group("schedule", {"name": "one_cycle", "pct_start": 0.3})
    evaluations, rates = timetable("20ep", "1ep", one_cycle)
    peak = rates.index(max(rates))
    judged = judging_step(evaluations, rates)
    assert judged in evaluations and peak + 0.05 * len(rates) <= judged < peak + 0.11 * len(rates)
    assert judging_step(evaluations, [0.0] * len(rates)) == 0
    assert judging_step(evaluations, [math.nan] * len(rates)) == 0
