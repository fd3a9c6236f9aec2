"""The answer: basins, the batch-size law, importance, ties and what is recommended."""

import json
import math
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lrsearch.analysis import importance
from lrsearch.analysis.answer import find_answer
from lrsearch.analysis.basin import SEED_SHIFT, SPLIT_SHIFT, _read, find_basins, fit
from lrsearch.analysis.confirmation import Confirmation, Finalist
from lrsearch.analysis.edges import Range, extend, find_edges
from lrsearch.analysis.gauge import make_gauge
from lrsearch.analysis.groups import find_rate, group
from lrsearch.analysis.importance import find_importance, isolate
from lrsearch.analysis.law import BestRate, judge_law
from lrsearch.analysis.points import set_apart, summarize
from lrsearch.analysis.tied import close, ties
from lrsearch.reports.answer import (
    describe_basins,
    describe_law,
    details,
    evidence,
    to_plain,
)
from lrsearch.reports.rates import spell_failing
from lrsearch.reports.text import format_value, lay_out
from lrsearch.reports.view import Context, build_view
from lrsearch.spec import read_spec
from lrsearch.trial import Diagnosis, Objective, Outcome, Record, Result, Trial

LOSS, ACCURACY = Objective("loss", "min"), Objective("accuracy", "max")
RATES = [10 ** (-4 + 0.5 * step) for step in range(9)]


def records_of(rows, objective=LOSS, strategy="grid"):
    """Records of (params, values): one trial a value, None for one that diverged."""
    found = []
    for point, (params, values) in enumerate(rows, 1):
        for seed, value in enumerate(values):
            number = len(found) + 1
            outcome = Outcome.DIVERGED if value is None else Outcome.COMPLETED
            last = {} if value is None else {objective.metric: value}
            result = Result(outcome, 100, 5.0, 1.0, last=last, best=last)
            trial = Trial(number, str(number), {}, seed)
            found.append(Record(trial, point, params, strategy, result))
    return found


def points_of(rows, objective=LOSS):
    return summarize(records_of(rows, objective), objective)


def bowl(rate, best, width=1.0):
    return 1.0 + (math.log10(rate / best) / width) ** 2


def draws(count, noise=0.1, seeds=1, generator=None):
    """Searches of noisy bowls, with the best rate in truth."""
    generator = generator or np.random.default_rng(0)
    for _ in range(count):
        best = float(10 ** generator.uniform(-3.2, -0.8))
        rows = [
            ({"lr": rate}, [bowl(rate, best) + noise * generator.normal() for _ in range(seeds)])
            for rate in RATES
        ]
        yield best, points_of(rows)


# -- basins


@pytest.mark.parametrize(("noise", "seeds"), [(0.05, 1), (0.3, 1), (0.3, 4)])
def test_the_interval_of_the_best_rate_holds_in_19_of_20_noisy_bowls(monkeypatch, noise, seeds):
    # What another split would add is not in these: the curve alone must do it.
    monkeypatch.setattr("lrsearch.analysis.basin.SPLIT_SHIFT", 0.0)
    monkeypatch.setattr("lrsearch.analysis.basin.SEED_SHIFT", 0.0)
    held, widths, curve = [], [], []
    for best, points in draws(120, noise, seeds):
        (basin,) = find_basins(points, LOSS)
        low, high = basin.best_lr
        step = basin.rates[1] / basin.rates[0]
        held.append(low / step <= best <= high * step)
        widths.append(math.log10(high / low))
        _, bottom, top = basin.at(best)
        curve.append(min(bottom, top) <= 1.0 <= max(bottom, top))
    assert np.mean(held) >= 0.92 and np.mean(curve) >= 0.88
    assert np.median(widths) < (0.6 if noise < 0.1 else 1.0)


@pytest.mark.parametrize(("seeds", "rates"), [(1, 9), (1, 5), (3, 9)])
def test_on_a_plain_the_luckiest_reading_is_not_what_it_is_worth(seeds, rates):
    """Where no rate is better than another the interval of the highest value reaches what all are
    worth in most searches, also where half of the points or three seeds were measured, and the
    evidence says why."""
    generator, held, told = np.random.default_rng(1), [], []
    for _ in range(12):
        rows = [
            ({"lr": rate, "batch_size": size}, generator.normal(1.0, 0.02, seeds).tolist())
            for size in (32, 128)
            for rate in generator.choice(RATES, rates, replace=False).tolist()
        ]
        answer = find_answer(points_of(rows), LOSS)
        low, high = answer.interval
        held.append(low <= 1.0 <= high)
        told.append("noise alone could give such values" in evidence(answer))
        # Nor are rates then called worse than others by what a lucky one had.
        assert not (told[-1] and "is not among them" in evidence(answer))
    assert np.mean(held) >= 0.8 and np.mean(told) >= (0.5 if rates < 9 else 0.85)


@pytest.mark.parametrize("seeds", [1, 3])
def test_a_curve_of_averages_calls_no_point_lucky_for_what_else_it_has(seeds):
    """Where points of a curve differ in more than the rate, what a point is worth may be what was
    measured."""
    generator, held = np.random.default_rng(0), []
    for _ in range(6):
        rows = []
        for _ in range(24):
            rate, decay = 10 ** generator.uniform(-4, 0), 10 ** generator.uniform(-6, -1)
            worth = bowl(rate, 1e-2) + 0.3 * abs(math.log10(decay / 1e-3))
            values = (worth + 0.01 * generator.normal(size=seeds)).tolist()
            rows.append(({"lr": rate, "weight_decay": decay}, values, worth))
        answer = find_answer(points_of([row[:2] for row in rows]), LOSS)
        low, high = answer.interval
        assert low <= answer.value <= high and "luck" not in evidence(answer)
        held.append(low - 0.03 <= rows[answer.recommended.point - 1][2] <= high + 0.03)
    assert answer.curved and all(held)


def test_the_evidence_of_a_bowl_says_nothing_of_noise_alone():
    assert not any("noise alone" in evidence(find_answer(p, LOSS)) for _, p in draws(10))


def test_more_seeds_and_less_noise_make_the_interval_narrower():
    def width(noise, seeds):
        found = (find_basins(points, LOSS)[0] for _, points in draws(10, noise, seeds))
        return float(np.mean([math.log10(b.best_lr[1] / b.best_lr[0]) for b in found]))

    assert width(0.4, 6) < width(0.4, 1)
    assert width(0.05, 1) < width(0.4, 1)
    # Never below what other splits and seeds do to the best rate.
    assert width(0.001, 1) >= 3.5 * math.hypot(SPLIT_SHIFT, SEED_SHIFT)


def test_a_basin_says_where_its_best_is_how_wide_it_is_and_where_it_ends():
    rows = [({"lr": rate}, [bowl(rate, 1e-2)]) for rate in RATES[:7]]
    rows += [({"lr": rate}, [None]) for rate in RATES[7:]]
    (basin,) = find_basins(points_of(rows), LOSS)
    assert basin.best == pytest.approx(1e-2, rel=0.4) and basin.value == pytest.approx(1, abs=0.05)
    assert basin.diverges_at == pytest.approx(RATES[7])
    assert basin.margin == pytest.approx(RATES[7] / basin.best)
    # Within 1 % of a bowl of width 1: a tenth of a decade to each side.
    assert basin.within_percent[0] < 1e-2 < basin.within_percent[1]
    assert basin.within_percent[1] / basin.within_percent[0] == pytest.approx(10**0.2, rel=0.4)
    assert basin.decades >= math.log10(basin.within_percent[1] / basin.within_percent[0])
    # The mean of x squared over a decade to each side.
    assert basin.sensitivity == pytest.approx(1 / 3, abs=0.08)
    assert basin.safe_lr[1] < basin.diverges_at


@pytest.mark.parametrize("below", [(5, 4, 3, 2, 1), (5, 3, 2, 1.5, 1), (5, 4.9, 4.5, 3, 1)])
@pytest.mark.parametrize("seeds", [1, 3])
def test_what_was_measured_clearly_worse_never_does_as_well(below, seeds):
    """Beside a cliff the curve knows so little that it would call everything below it as good."""
    values = [*below, 1e4, 1e4, 1e4, 1e4]
    rows = [
        ({"lr": rate}, [value * (1 + 0.01 * seed) for seed in range(seeds)])
        for rate, value in zip(RATES, values, strict=True)
    ]
    (basin,) = find_basins(points_of(rows), LOSS)
    low, high = basin.safe_lr
    assert low <= basin.best <= high
    assert all(value <= 2.1 for rate, value in basin.readings if low <= rate <= high)


@pytest.mark.parametrize("odd", [None, 1e9], ids=["diverged", "blew up"])
def test_what_trained_to_nothing_never_does_as_well(odd):
    """A unit below the worst, which stands for a divergence, is within a hundredth of 1000; and on
    a plain the curve makes no difference between any two rates."""
    noise = np.random.default_rng(4).normal(size=9).tolist()
    level = [1e3 + 0.1 * off for off in noise]
    rows = [({"lr": rate}, [value]) for rate, value in zip(RATES, level, strict=True)]
    for lost in (0, 6, 7):
        rows[lost] = ({"lr": RATES[lost]}, [odd])
    if odd is None:  # A rate at which another point trains is no better for it.
        rows.append(({"lr": RATES[6]}, [1e3]))
    (basin,) = find_basins(points_of(rows), LOSS)
    low, high = basin.safe_lr
    assert RATES[0] < low <= basin.best <= high < RATES[6]
    assert (basin.diverges_at is None) is (odd is not None)


@pytest.mark.parametrize("beyond", [[], [None]], ids=["not tried", "diverged"])
def test_no_rate_does_as_well_that_none_of_its_own_points_trained_at(beyond):
    """Curves of two schedules share how far they reach, and not what was measured."""
    rates = [float(f"{10 ** (-4 + 0.815 * step):.3g}") for step in range(5)]
    rows = [({"lr": rate, "schedule": "cosine"}, [bowl(rate, 0.4)]) for rate in RATES]
    values = [bowl(rate, 0.4) for rate in rates]
    rows += [
        ({"lr": rate, "schedule": "wsd"}, [value])
        for rate, value in zip([*rates, 0.3], values + beyond, strict=False)
    ]
    answer = find_answer(points_of(rows), LOSS)
    own = next(basin for basin in answer.basins if basin.params["schedule"] == "wsd")
    assert own.safe_lr[0] < own.best <= own.safe_lr[1] == rates[-1]
    assert own.reached == (False, not beyond)
    # Beside what diverged the best rate ends, too.
    assert (own.best_lr[1] > rates[-1]) == (not beyond)
    # Nor is an end of what was tried told as one of what is good.
    told = next(row[3] for row in describe_basins(answer) if row[0] == "schedule=wsd")
    assert told.endswith(" ...") is own.reached[1]
    text = evidence(replace(answer, basin=own))
    assert (f"to {format_value(rates[-1])} (highest tried with schedule=wsd)" in text) is (
        own.reached[1]
    )


def test_a_curve_that_ends_in_divergence_is_read_from_what_trained():
    """The best of the curve that diverges first lies beyond, and no cliff stands in its way."""
    rows = [
        ({"lr": rate, "schedule": schedule}, [None if rate > first else bowl(rate, 0.4)])
        for schedule, first in (("cosine", 1), ("wsd", RATES[3]))
        for rate in RATES
    ]
    found = {basin.params["schedule"]: basin for basin in find_basins(points_of(rows), LOSS)}
    own = found["wsd"]
    assert own.best == own.safe_lr[1] == RATES[3] < own.best_lr[1]
    assert own.value == pytest.approx(bowl(RATES[3], 0.4), rel=0.15)
    assert found["cosine"].best == pytest.approx(0.4, rel=0.3)


@pytest.mark.parametrize("seeds", [1, 3])
def test_a_divergence_makes_no_more_rates_do_as_well(seeds):
    """Neither beside it nor on another curve, whose noise it says nothing of."""
    noise = np.random.default_rng(0).normal(size=(2, 9, seeds)).tolist()
    rows = [
        ({"lr": rate, "batch_size": size}, [bowl(rate, 1e-2) + 0.01 * each for each in own])
        for size, row in zip((32, 128), noise, strict=True)
        for rate, own in zip(RATES, row, strict=True)
    ]
    before = {basin.params["batch_size"]: basin for basin in find_basins(points_of(rows), LOSS)}
    for row in rows[16:]:
        row[1][:] = [None] * seeds
    for basin in find_basins(points_of(rows), LOSS):
        own = before[basin.params["batch_size"]]
        assert basin.decades == pytest.approx(own.decades, abs=0.12)
        assert basin.interval[1] - basin.interval[0] > own.interval[1] - own.interval[0]


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_value_that_is_not_finite_is_that_of_a_rate_that_was_tried(value):
    rows = [({"lr": rate}, [bowl(rate, 0.4) if rate < 0.2 else value]) for rate in RATES]
    (basin,) = find_basins(set_apart(points_of(rows)), LOSS)
    assert basin.diverges_at == RATES[7] and not any(basin.reached)
    assert basin.best_lr[1] < RATES[8]


def moved(scale, shift):
    """What an answer says of bowls of which one ends in divergence, their values moved: a negative
    scale makes the worst the best, by which they are then judged."""
    noise = np.random.default_rng(0).normal(size=(2, 9, 2)).tolist()
    rows = [
        (
            {"lr": rate, "batch_size": size},
            [scale * (bowl(rate, 0.03) + size / 400 + 0.02 * each) + shift for each in own],
        )
        for size, row in zip((32, 128), noise, strict=True)
        for rate, own in zip(RATES, row, strict=True)
    ]
    rows[-1][1][:] = [None, None]
    objective = Objective("score", "min" if scale > 0 else "max")
    ranges = [Range("lr", RATES[0], RATES[-1], "log"), Range("batch_size", 32, 128)]
    found = find_answer(points_of(rows, objective), objective, ranges)
    edges = list(map(str, found.edges))
    told = [
        [basin.best, *basin.best_lr, *basin.within_error, basin.diverges_at or 0, basin.plain]
        for basin in found.basins
    ]
    return (found.recommended.point, found.highest.point, found.tied, edges), told


@pytest.mark.parametrize(
    ("scale", "shift"), [(1, -1e6), (1e9, -1e10), (1e-12, 0), (-1e-9, 0), (-1, -1e5), (-1, 0.2)]
)
def test_a_metric_in_another_unit_or_from_another_zero_has_the_same_answer(scale, shift):
    """As log-likelihoods and scores are, far below 0 or far from 1; within a hundredth of the value
    has no meaning there."""
    chosen, basins = moved(1, 0)
    same, found = moved(scale, shift)
    assert chosen == same and len(basins) == len(found) == 2
    assert found == [pytest.approx(each, rel=0.02) for each in basins]


@pytest.mark.parametrize("lost", [2, 4, 6])
def test_only_what_lies_nearest_to_a_lone_divergence_does_not_do_as_well(lost):
    rows = [({"lr": rate}, [1e3 + bowl(rate, 1e-2)]) for rate in RATES]
    rows[lost][1][0] = None
    (basin,) = find_basins(points_of(rows), LOSS)
    beside = [math.sqrt(RATES[lost] * RATES[lost + off]) for off in (-1, 1)]
    low, high = basin.safe_lr
    assert high < beside[0] * 1.01 or low > beside[1] / 1.01
    assert RATES[1] < basin.best < RATES[6]


@pytest.mark.parametrize("lost", [(4, 6, 7), (2, 3), (0, 1, 2, 3, 4)])
def test_a_divergence_below_rates_that_train_is_no_cliff(lost):
    rows = [({"lr": rate}, [bowl(rate, RATES[5])]) for rate in RATES]
    for each in lost:
        rows[each][1][0] = None
    (basin,) = find_basins(points_of(rows), LOSS)
    assert RATES[4] < basin.best < basin.safe_lr[1] < RATES[6]


@pytest.mark.parametrize(("idle", "begins"), [((1, 2, 3, 7, 8), RATES[7]), ((7,), None)])
def test_what_learns_nothing_at_low_rates_is_no_cliff_and_begins_where_most_do(idle, begins):
    records = records_of([({"lr": rate}, [bowl(rate, RATES[5], 2)]) for rate in RATES])
    stopped = Result(Outcome.PRUNED, 30, 1.0, 1.0, rule="no_progress")
    for place in idle:
        records[place] = replace(records[place], result=stopped)
    (basin,) = find_basins(summarize(records, LOSS), LOSS)
    assert basin.idle_at == begins
    assert RATES[3] < basin.safe_lr[0] < RATES[5] < basin.safe_lr[1] < RATES[7]


@pytest.mark.parametrize("diverging", [(), (8,), (3, 8)])
@pytest.mark.parametrize("stopped", [True, False])
def test_the_rate_at_which_trainings_begin_to_learn_nothing_is_told(stopped, diverging):
    """A rate far too high may learn nothing long before one diverges. Such trainings are stopped,
    or come to the value of a net that knows nothing, and the best lies at none of them."""
    rows = [({"lr": rate}, [bowl(rate, 0.05, 2) if rate < 0.09 else 3.0]) for rate in RATES]
    records = records_of(
        [(*row[:1], [None]) if n in diverging else row for n, row in enumerate(rows)]
    )
    for place in (0, 6, 7, 8):
        own = records[place].result
        if place in diverging:
            continue
        rule = {"outcome": Outcome.PRUNED, "rule": "no_progress", "last": {}, "best": {}}
        told = {"verdicts": (Diagnosis("stagnating", 0.9, {}, ""),)}
        records[place] = replace(records[place], result=replace(own, **(rule if stopped else told)))
    answer = find_answer(summarize(records, LOSS), LOSS, [Range("lr", RATES[0], RATES[-1], "log")])
    basin = answer.basin
    assert basin.idle_at == basin.fails_at == RATES[6] and answer.edges == ()
    assert basin.diverges_at == (RATES[8] if diverging else None)
    assert RATES[2] < basin.safe_lr[0] < basin.safe_lr[1] < RATES[6]
    if stopped:
        assert RATES[0] < basin.best_lr[0] and basin.best_lr[1] < RATES[8]
    beyond = ", and divergence begins at 1" if diverging else ""
    assert evidence(answer).endswith(f"; trainings that learn nothing begin at 0.1{beyond}")
    head, row = describe_basins(answer)
    assert row[head.index("learns nothing")] == "0.1" and to_plain(answer)["basins"][0]["idle_at"]


@pytest.mark.parametrize(
    ("values", "ends"),
    [
        ([2.63, 0.3, 3.46, 2e4, 5e7], (0.0, 4.0)),
        ([0.9, 0.4, 0.25, 1e3, 1e8], (0.1, 1.0)),
        ([2.3, 2.3, 2.2, 1e-4, 1.1e-4, 1.2e-4, 2.31, 2.32, 2.4], (5e-5, 5e-4)),
    ],
    ids=["five rates", "of two leaps", "three that trained"],
)
def test_what_is_a_thousandfold_off_says_nothing_of_what_trained(values, ends):
    """The value's interval reached to the thousandfold of what was measured."""
    rows = [({"lr": rate}, [value]) for rate, value in zip(RATES, values, strict=False)]
    answer = find_answer(points_of(rows), LOSS)
    low, high = answer.interval
    assert ends[0] <= low <= answer.value <= high <= ends[1]
    # What is worse by less is one that trained.
    assert not make_gauge(points_of(rows), LOSS).is_blown(900 * answer.value)


@pytest.mark.parametrize(
    ("trained", "told"),
    [
        (RATES[:1], "1 of 9 rates trained, and it takes 3, so search 0.0001 and below"),
        (RATES[7:], "2 of 9 rates trained, and it takes 3, so search 0.316 and above"),
        ([RATES[3], RATES[7]], "2 of 9 rates trained, and it takes 3"),
        (RATES[:3], ""),
    ],
)
def test_why_there_is_no_curve_is_told_where_most_rates_diverged(trained, told):
    rows = [({"lr": r}, [bowl(r, 1e-2) if r in trained else None]) for r in RATES]
    parts = evidence(find_answer(points_of(rows), LOSS)).split("; ")
    assert [each for each in parts if "curve: " in each] == [f"no curve: {told}"] * bool(told)


def test_what_blew_up_is_no_rate_of_a_curve():
    rows = [({"lr": rate, "schedule": "cosine"}, [bowl(rate, 1e-2)]) for rate in RATES]
    values = [2.0, 1.0, 1e9, 1e9]
    rows += [
        ({"lr": rate, "schedule": "wsd"}, [value])
        for rate, value in zip(RATES[3:], values, strict=False)
    ]
    (basin,) = find_basins(points_of(rows), LOSS)
    assert basin.params["schedule"] == "cosine"


@pytest.mark.parametrize("share", [True, False], ids=["a share of it", "the same"])
def test_the_best_of_losses_over_decades_is_told_apart_where_noise_is_a_share_of_them(share):
    """By the median all low ones are alike, as they are where noise is the same at all of them."""
    noise = np.random.default_rng(0).normal(size=(2, 9)).tolist()
    rows = []
    for size, own in zip((32, 64), noise, strict=True):
        for rate, off in zip(RATES, own, strict=True):
            far = abs(math.log10(rate / 1e-2))
            loss = 10 ** (3 * far - 6) * math.exp(0.2 * off)
            loss = loss if share else abs(0.004 + 0.3 * far + 0.01 * off)
            rows.append(({"lr": rate, "batch_size": size}, [loss]))
    points = points_of(rows)
    usual, used = make_gauge(points, LOSS), fit(points, LOSS).gauge
    finer = usual.make_finer()
    assert finer is not None and used == (finer if share else usual)
    for basin in find_basins(points, LOSS):
        low, high = basin.safe_lr
        assert RATES[3] < low < 1e-2 < high < RATES[5]
    # What blew up is farther off than any of these, by either.
    assert used.is_blown(1e9) and not used.is_blown(1.0)


def test_noise_does_not_part_the_rates_that_do_as_well(monkeypatch):
    """All rates of a plateau, however the luckiest of them came out."""
    generator = np.random.default_rng(1)
    searches = []
    for _ in range(20):
        level = [float(generator.normal(1.0, 0.02)) for _ in range(7)]
        rows = [({"lr": r}, [v]) for r, v in zip(RATES, [*level, 1.5, 2.0], strict=True)]
        searches.append(points_of(rows))
    widths = [find_basins(each, LOSS)[0].decades for each in searches]
    monkeypatch.setattr("lrsearch.analysis.basin.CLEAR", math.inf)
    curves = [find_basins(each, LOSS)[0].decades for each in searches]
    assert sum(own < curve for own, curve in zip(widths, curves, strict=True)) <= 2


@given(st.sampled_from([0.001, 1.0, 1e6]), st.booleans())
@settings(max_examples=6)
def test_a_basin_is_the_same_in_any_unit_and_for_any_goal(unit, turned):
    rows = [({"lr": rate}, [bowl(rate, 1e-2) + 0.05 * (i % 3)]) for i, rate in enumerate(RATES)]
    (plain,) = find_basins(points_of(rows), LOSS)
    sign = -1.0 if turned else 1.0
    objective = ACCURACY if turned else LOSS
    moved = [(params, [sign * unit * value for value in values]) for params, values in rows]
    (basin,) = find_basins(points_of(moved, objective), objective)
    assert basin.best_lr == pytest.approx(plain.best_lr)
    assert basin.value == pytest.approx(sign * unit * plain.value)
    assert basin.interval == pytest.approx(sorted(sign * unit * end for end in plain.interval))


def test_what_a_seed_does_to_all_points_is_no_noise():
    shifts = [0.0, 5.0, -3.0]
    rows = [({"lr": r}, [bowl(r, 1e-2) + shift for shift in shifts]) for r in RATES]
    (basin,) = find_basins(points_of(rows), LOSS)
    assert basin.best == pytest.approx(1e-2, rel=0.5)
    assert basin.interval[1] - basin.interval[0] < 1.0


@given(st.lists(st.lists(st.floats(0, 9), min_size=3, max_size=3), min_size=4, max_size=9))
def test_the_seeds_of_a_point_lie_around_its_place(values):
    """The scale of curves bends: each seed by itself, and medians of what seeds do, would move
    points towards the best."""
    points = points_of([({"lr": r}, own) for r, own in zip(RATES, values, strict=False)])
    gauge = make_gauge(points, LOSS)
    if gauge is None:
        return
    found = _read(points, "lr", gauge, math.inf)
    for point in points:
        own = [at for place, at in found if place == math.log10(point.params["lr"])]
        blown = any(map(gauge.is_blown, point.scores.values()))
        middle = math.inf if blown else gauge.measure(point.objective)
        assert len(own) == 3 and np.mean(own) == pytest.approx(middle, abs=1e-9)


def test_a_seed_adds_to_the_metric_and_not_to_its_place_on_the_scale():
    """Where it adds the same to all, and nothing else is noise, all seeds lie at one place; of bad
    points, where it adds something else, nothing is learnt."""
    rows = [({"lr": r}, [bowl(r, 1e-2) + seed for seed in (0.0, 5.0, -3.0)]) for r in RATES]
    for _, values in rows[:2]:
        values[1] += 40.0
    points = points_of(rows)
    found = _read(points, "lr", make_gauge(points, LOSS), math.inf)
    for rate in RATES[2:]:
        own = [at for place, at in found if place == math.log10(rate)]
        assert own == pytest.approx(own[:1] * 3, abs=1e-9)


def test_trainings_that_blew_up_are_no_measure_of_those_that_did_not():
    """However many they are; beyond what is reckoned with there is no curve."""
    rows = [({"lr": rate}, [bowl(rate, 1e-2)]) for rate in RATES]
    few = [(params, [1e99 if at > 4 else value]) for at, (params, (value,)) in enumerate(rows)]
    least = [make_gauge(points_of(each), LOSS).size for each in (rows, few)]
    assert least == [1.0, 1.0]
    more = [(params, [value * 1e148]) for params, (value,) in rows]
    assert find_basins(points_of(more), LOSS) == []


def test_a_curve_at_a_rate_lies_between_its_places():
    """Beside a cliff the nearest of them is off by as much as the noise."""
    rows = [({"lr": rate}, [1 + 9 * abs(math.log10(rate) + 2)]) for rate in RATES]
    (basin,) = find_basins(points_of(rows), LOSS)
    rates, curve = basin.rates[9:12], basin.middle[9:12]
    assert [basin.at(rate)[0] for rate in rates] == pytest.approx(curve)
    assert basin.at(math.sqrt(rates[0] * rates[1]))[0] == pytest.approx((curve[0] + curve[1]) / 2)
    ends = basin.at(RATES[0] / 10), basin.at(RATES[-1] * 10)
    assert [end[0] for end in ends] == pytest.approx([basin.middle[0], basin.middle[-1]])


def test_a_plateau_that_ends_in_divergence_is_a_plain():
    """What stands for a divergence is no bend of what lies beside it: no end is an edge, and the
    rates that do as well go on to the last that was measured."""
    noise = np.random.default_rng(3).normal(size=6).tolist()
    rows = [({"lr": rate}, [1 + 0.01 * off]) for rate, off in zip(RATES, noise, strict=False)]
    rows += [({"lr": rate}, [None]) for rate in RATES[6:]]
    answer = find_answer(points_of(rows), LOSS, [Range("lr", RATES[0], RATES[-1], "log")])
    (basin,) = answer.basins
    assert basin.plain and answer.edges == () and answer.untrained == ()
    low, high = answer.interval
    assert low < 1 < high and high - low < 0.06
    assert basin.safe_lr == pytest.approx((RATES[0], RATES[5]), rel=0.4)
    assert basin.diverges_at == pytest.approx(RATES[6])


@pytest.mark.parametrize(("gap", "seeds", "told"), [(0.0, 1, 0), (0.0, 3, 0), (0.2, 1, 1)])
def test_an_end_of_a_list_is_an_edge_where_no_other_value_could_be_the_best(gap, seeds, told):
    """Of two batch sizes the better one always lies at an end."""
    noise = np.random.default_rng(2).normal(size=(2, 9, seeds)).tolist()
    rows = [
        (
            {"lr": rate, "m": size},
            [bowl(rate, 1e-2) + (size > 32) * gap + 0.01 * off for off in own],
        )
        for size, each in zip((32, 128), noise, strict=True)
        for rate, own in zip(RATES, each, strict=True)
    ]
    ranges = [Range("m", 32, 128, listed=(32, 128), whole=True, path="m")]
    assert len(find_answer(points_of(rows), LOSS, ranges).edges) == told


def test_points_are_parted_by_choices_and_few_numbers_only():
    rows = [
        ({"lr": rate, "batch_size": size, "schedule": name, "gamma": rate * size}, [1.0])
        for rate in RATES
        for size in (32, 64)
        for name in ("constant", "cosine")
    ]
    groups = group(points_of(rows))
    assert sorted(map(repr, (shared for shared, _ in groups))) == sorted(
        repr({"batch_size": size, "schedule": name})
        for size in (32, 64)
        for name in ("constant", "cosine")
    )
    assert all(len(own) == len(RATES) for _, own in groups)


@pytest.mark.parametrize(
    "rows",
    [
        [],
        [({"lr": 0.1}, [0.5])],
        [({"lr": rate}, [None]) for rate in RATES],
        [({"lr": rate}, [0.5, 0.5]) for rate in RATES],
        [({"lr": rate}, [math.nan]) for rate in RATES],
        [({"lr": rate}, [0.1 * i]) for i, rate in enumerate(RATES[:3])],
        [({"lr": 0.1, "batch_size": 2**i}, [float(i)]) for i in range(6)],
        [({"schedule": name}, [float(i)]) for i, name in enumerate(("a", "b", "c"))],
        [({"lr": -(rate)}, [rate]) for rate in RATES],
        [({"lr": str(rate)}, [rate]) for rate in RATES],
    ],
)
def test_where_a_curve_has_nothing_to_say_there_is_none(rows):
    points = points_of(rows)
    assert find_basins(points, LOSS) == []
    answer = find_answer(points, LOSS)
    assert (answer is None) == all(point.objective is None for point in points)
    if answer is not None:
        assert answer.law is None and answer.importance == () and answer.basin is None
        json.dumps(to_plain(answer))
        assert answer.steady == (len(points) > 1 and len({p.objective for p in points}) == 1)


def test_odd_values_do_not_stop_it():
    rows = [({"lr": rate}, [bowl(rate, 1e-2)]) for rate in RATES]
    for odd in (1e300, -1e300, 0.0, 1e-300):
        points = points_of([*rows, ({"lr": 0.03}, [odd])])
        answer = find_answer(points, LOSS)
        assert answer is not None and math.isfinite(answer.value)
        for basin in answer.basins:
            assert RATES[0] * 0.99 <= basin.best_lr[0] <= basin.best_lr[1] <= RATES[-1] * 1.01


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("odd", [1e30, 1e38, 1e306, sys.float_info.max, -sys.float_info.max])
@pytest.mark.parametrize("scale", [1.0, 1e-30, 5e-324, 1e300])
def test_the_largest_and_smallest_numbers_have_an_answer(odd, scale):
    rows = [({"lr": rate}, [scale * bowl(rate, 0.01)]) for rate in RATES]
    rows[2][1][0] = odd
    answer = find_answer(points_of(rows), LOSS)
    assert answer is not None and answer.value == min(value for _, (value,) in rows)
    json.dumps(to_plain(answer), allow_nan=False)
    assert all(math.isfinite(value) for basin in answer.basins for value in basin.middle)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("odd", [1e100, 1e160, 1e300, sys.float_info.max])
def test_seeds_of_the_largest_numbers_have_an_answer(odd):
    """As of a loop whose loss blows up at the highest rates."""
    rows = [({"lr": rate}, [bowl(rate, 0.01), bowl(rate, 0.01) + 0.01]) for rate in RATES]
    for _, values in rows[-2:]:
        values[:] = [odd, odd / 3]
    points = points_of(rows)
    assert points[-1].objective == pytest.approx(odd / 1.5)
    answer = find_answer(points, LOSS)
    assert answer is not None and answer.highest == min(points, key=lambda p: p.objective)
    json.dumps(to_plain(answer), allow_nan=False)


def test_batch_sizes_of_a_range_share_a_curve_and_a_dozen_do_not():
    rows = [
        ({"lr": rate, "batch_size": 16 + (7 * place + number) % 13}, [bowl(rate, 1e-2)])
        for place, rate in enumerate(RATES)
        for number in range(13)
    ]
    points = points_of(rows)
    (curve,) = find_basins(points, LOSS)
    assert curve.params == {} and len(curve.readings) == len(rows)
    fewer = points_of([row for row in rows if row[0]["batch_size"] > 16])
    assert [shared for shared, _ in group(fewer)] == [
        {"batch_size": size} for size in dict.fromkeys(each.params["batch_size"] for each in fewer)
    ]
    assert len(find_basins(fewer, LOSS)) == 12


def test_a_rate_goes_by_other_names():
    rows = [({"learning_rate": rate, "a.lr": 0.1}, [bowl(rate, 1e-2)]) for rate in RATES]
    points = points_of(rows)
    assert find_rate(points) == "learning_rate"
    assert len(find_basins(points, LOSS)) == 1


def test_very_many_points_are_as_quick():
    generator = np.random.default_rng(0)
    rates = 10 ** generator.uniform(-4, 0, 1500)
    noisy = [(float(r), bowl(r, 1e-2) + 0.3 * generator.normal()) for r in rates]
    (basin,) = find_basins(points_of([({"lr": r}, [v]) for r, v in noisy]), LOSS)
    assert basin.best == pytest.approx(1e-2, rel=1.0)


# -- the law of the batch size


def measured(exponent, generator, spread, sizes=(16, 32, 64, 128, 256)):
    bests = []
    for size in sizes:
        rate = 1e-3 * size**exponent * 10 ** (spread * generator.normal())
        bests.append(BestRate(size, rate, (rate / 2, rate * 2), spread, False))
    return judge_law("batch_size", {}, bests)


@pytest.mark.parametrize(
    ("exponent", "name"), [(0.0, "constant"), (0.5, "square root"), (1.0, "linear")]
)
@pytest.mark.parametrize("spread", [0.02, 0.1, 0.3, 1.0])
def test_a_wrong_law_is_hardly_ever_named(exponent, name, spread):
    generator = np.random.default_rng(0)
    laws = [measured(exponent, generator, spread) for _ in range(1000)]
    wrong = np.mean([law.named not in (None, name) for law in laws])
    assert wrong <= 0.05
    if spread == 0.02:
        assert np.mean([law.named == name for law in laws]) > 0.9
    inside = [law.exponent[1] <= exponent <= law.exponent[2] for law in laws]
    assert np.mean(inside) == pytest.approx(0.95, abs=0.03)


def test_a_saturating_law_is_named_where_no_other_will_do():
    sizes = (4, 16, 64, 256, 1024)
    rates = [1 / (1 + 64 / size) for size in sizes]
    bests = [BestRate(b, r, (r, r), 0.02, False) for b, r in zip(sizes, rates, strict=True)]
    assert judge_law("batch_size", {}, bests).named == "saturating"


def test_the_law_is_not_carried_past_what_was_measured():
    law = measured(0.5, np.random.default_rng(0), 0.0, (32, 128))
    assert law.rate_at(64) == pytest.approx(1e-3 * 8)
    assert law.rate_at(129) is None and law.rate_at(16) is None
    assert law.rate_at(128) == pytest.approx(law.bests[-1].lr)


def test_an_open_best_rate_names_no_law():
    bests = [BestRate(b, b / 1e3, (b / 2e3, b / 500), 0.01, b == 64) for b in (16, 32, 64)]
    law = judge_law("batch_size", {}, bests)
    assert law.named is None and law.misfits == {}


def test_the_law_of_a_run_in_words_says_what_was_equal():
    rows = [
        ({"lr": rate, "batch_size": size}, [bowl(rate, 1e-2 * size / 32)])
        for rate in RATES
        for size in (32, 128)
    ]
    records = records_of(rows)
    answer = find_answer(summarize(records, LOSS), LOSS)
    assert answer.law is not None and [b.batch_size for b in answer.law.bests] == [32, 128]
    text = " ".join(describe_law(answer.law, records))
    assert "at equal steps (at equal epochs" in text and "search.batch_size=[32,128,512]" in text
    assert all(record.result is not None for record in records)
    foreign = [replace(one, result=replace(one.result, epochs=0.0)) for one in records]
    text = " ".join(describe_law(answer.law, foreign))
    assert "as the training counts them" in text and "at equal epochs" not in text
    assert json.loads(json.dumps(to_plain(answer)))["law"]["largest"] == 128


# -- importance


def sampled(generator, count=40, rate=0.0, size=0.0, noise=1.0):
    rows = []
    for _ in range(count):
        place, batch = float(generator.uniform(-2, 2)), int(generator.choice([32, 64]))
        name = str(generator.choice(["constant", "cosine", "step"]))
        value = rate * place**2 + size * (batch == 64) + noise * float(generator.normal())
        rows.append(({"lr": 10**place, "batch_size": batch, "schedule": name}, [value]))
    return points_of(rows)


def test_noise_alone_has_no_importance():
    generator = np.random.default_rng(0)
    spoke = [bool(find_importance(sampled(generator), LOSS)) for _ in range(150)]
    assert np.mean(spoke) <= 0.06


def test_importance_finds_what_matters():
    generator = np.random.default_rng(0)
    for rate, size, first in ((1.0, 0.0, "lr"), (0.0, 3.0, "batch_size")):
        shares = find_importance(sampled(generator, 60, rate, size, 0.2), LOSS)
        assert shares[0].name == first and shares[0].share > 0.6
        assert all(0 <= s.interval[0] <= s.share <= s.interval[1] <= 1 for s in shares)
        assert next(s.share for s in shares if s.name == "schedule") < 0.05
        assert sum(s.share for s in shares) <= 1 + 1e-9


def test_isolation_has_the_best_of_each_value():
    rows = [({"schedule": "a", "lr": 0.1}, [3.0]), ({"schedule": "b", "lr": 0.2}, [1.0])]
    rows += [({"schedule": "a", "lr": 0.3}, [2.0]), ({"schedule": "b", "lr": 0.4}, [None])]
    levels = isolate(points_of(rows), LOSS)["schedule"]
    assert [(each.value, each.objective, each.point, each.points) for each in levels] == [
        ("b", 1.0, 2, 1),
        ("a", 2.0, 3, 2),
    ]


# -- ties and what is recommended


@pytest.mark.parametrize("count", [2, 9])
def test_the_best_in_truth_is_seldom_told_from_the_best_measured(count):
    generator = np.random.default_rng(0)
    left_out = 0
    for _ in range(400):
        rows = [({"lr": r}, list(generator.normal(size=4))) for r in RATES[:count]]
        points = points_of(rows)
        group = {point.point for point in ties(points, LOSS)}
        first = min(points, key=lambda point: point.objective)
        # All are equal in truth, so any of them may be called the best.
        left_out += 1 not in group | {first.point}
        assert {point.point for point in close(points, LOSS)} <= group
    assert left_out / 400 <= 0.06


def test_among_close_points_the_middle_of_the_basin_is_recommended():
    wobble = [0.02, -0.02, 0.01, -0.01]
    flat = {3: 0.0, 4: 0.001, 5: 0.0005}
    rows = []
    for index, rate in enumerate(RATES):
        level = flat.get(index, 0.2 * abs(index - 4))
        turned = [w * (1 if index % 2 else -1) for w in wobble]
        rows.append(({"lr": rate}, [1 + level + w for w in turned]))
    answer = find_answer(points_of(rows), LOSS)
    assert answer.highest.point == 4 and answer.recommended.point == 5
    assert "farthest" in answer.why and 4 in answer.tied and 5 not in answer.tied
    assert answer.value == answer.recommended.objective


def test_one_seed_recommends_the_highest():
    for _, points in draws(5):
        answer = find_answer(points, LOSS)
        assert answer.recommended is answer.highest and answer.why == ""
        assert answer.interval[0] < answer.interval[1] and answer.curved


# -- edges


@pytest.mark.parametrize(
    ("searched", "side", "found"),
    [
        (Range("lr", 1e-3, 1.0, "log"), "highest", {"min": 1e-3, "max": 10.0, "scale": "log"}),
        (
            Range("lr", 1e-3, 1.0, "log", points=7),
            "lowest",
            {"min": 1e-4, "max": 1.0, "points": 9, "scale": "log"},
        ),
        (Range("m", 0.5, 0.9, most=1.0, open_high=True), "highest", {"min": 0.5, "max": 0.95}),
        (Range("d", 0.1, 0.5, least=0.0), "lowest", {"min": 0.0, "max": 0.5}),
        (Range("n", 2, 6, whole=True), "highest", {"min": 2, "max": 8}),
        (Range("lr", 0.1, 0.5), "highest", {"min": 0.1, "max": 0.7, "scale": "linear"}),
        (Range("b", 32, 128, listed=(32, 64, 128), whole=True), "lowest", [16, 32, 64, 128]),
        (Range("b", 32, 128, listed=(32, 64, 128), whole=True), "highest", [32, 64, 128, 256]),
        (Range("b", 1, 2, listed=(1, 2), whole=True), "lowest", None),
        (Range("x", 0.1, 0.3, listed=(0.1, 0.2, 0.3)), "highest", [0.1, 0.2, 0.3, 0.4]),
        (Range("lr", 1e-4, 0.1, listed=(1e-4, 0.1)), "highest", [1e-4, 0.1, 1.0]),
        (Range("lr", 1e-4, 0.1, listed=(1e-4, 0.1)), "lowest", [1e-5, 1e-4, 0.1]),
    ],
)
def test_a_range_is_extended_at_its_end(searched, side, found):
    suggested = extend(searched, side)
    if isinstance(found, dict):
        assert suggested == pytest.approx(found) if "scale" not in found else suggested == found
    else:
        assert suggested.get("values") == (pytest.approx(found) if found else None)


def test_a_longer_grid_keeps_the_values_it_had():
    for side in ("lowest", "highest"):
        searched = Range("lr", 1e-3, 1.0, "log", points=7)
        new = extend(searched, side)
        grid = np.geomspace(new["min"], new["max"], new["points"])
        for value in np.geomspace(1e-3, 1.0, 7):
            assert np.isclose(grid, value, rtol=1e-5).any()


SPEC = """\
name: edged
data: digits
model: mlp
train: {budget: 1ep}
search:
  lr: {min: 1e-3, max: 1.0, points: 7}
  batch_size: [32, 64, 128]
  optimizer.momentum: {min: 0.5, max: 0.9}
"""


def test_what_an_edge_suggests_is_a_spec(tmp_path):
    from lrsearch.spec.searched import find_searched

    path = tmp_path / "spec.yaml"
    path.write_text(SPEC)
    spec = read_spec(path)
    best = {"lr": 1.0, "batch_size": 32, "optimizer.momentum": 0.9}
    edges = find_edges(best, find_searched(spec))
    assert [edge.side for edge in edges] == ["highest", "lowest", "highest"]
    longer = read_spec(path, [setting for edge in edges for setting in edge.settings])
    wider = {edge.name: edge for edge in find_searched(longer)}
    assert wider["lr"].high == 10 and wider["lr"].points == 9
    assert wider["batch_size"].listed == (16, 32, 64, 128)
    assert 0.9 < wider["optimizer.momentum"].high < 1
    pasted = "".join(f"  {edge.line}\n" for edge in edges)
    path.write_text(SPEC.partition("search:\n")[0] + "search:\n" + pasted)
    assert find_searched(read_spec(path)) == find_searched(longer)


LOOP = """\
name: edged
loop: mine.train
objective: loss
search:
  lr: [0.1, 0.2]
  eta: {min: 0.1, max: 0.4, points: 4, scale: linear}
  dropout: [0.1, 0.2]
"""


def test_no_rate_of_a_loop_is_searched_at_0(tmp_path):
    from lrsearch.spec.searched import find_searched

    path = tmp_path / "spec.yaml"
    path.write_text(LOOP)
    searched = find_searched(read_spec(path))
    edges = find_edges({"lr": 0.1, "eta": 0.1, "dropout": 0.1}, searched)
    assert [edge.suggest.get("values", edge.suggest.get("min")) for edge in edges] == [
        [0.05, 0.1, 0.2], 0.05, [0.0, 0.1, 0.2]
    ]  # fmt: skip


def test_an_end_that_nothing_lies_beyond_is_no_edge(tmp_path):
    from lrsearch.spec.searched import find_searched

    path = tmp_path / "spec.yaml"
    searched = (
        "momentum: [0, 0.5, 0.9]\n  layers: [1, 2, 4]\n  decay: {min: 0, max: 0.1, points: 3}"
    )
    path.write_text(f"{LOOP.partition('  lr:')[0]}  {searched}\n")
    ranges = find_searched(read_spec(path))
    lowest = {"momentum": 0, "layers": 1, "decay": 0.0}
    assert find_edges(lowest, ranges) == []
    highest = find_edges({"momentum": 0.9, "layers": 4, "decay": 0.1}, ranges)
    assert [edge.name for edge in highest] == ["momentum", "layers", "decay"]
    assert all(edge.line and edge.settings for edge in highest)


@pytest.mark.parametrize(
    ("searched", "best", "suggested"),
    [
        ("momentum: [0.0, 0.9]", 0.9, [0.0, 0.9, 0.95]),
        ("beta1: [0.9, 0.99]", 0.99, [0.9, 0.99, 0.995]),
        ("dropout: {min: 0.2, max: 0.8, points: 3}", 0.8, 0.9),
        ("dropout: [0.2, 0.3]", 0.2, [0.1, 0.2, 0.3]),
        ("momentum: [1, 2]", 2, [1, 2, 4]),  # It is none: a share is below 1.
        ("temperature: [0.5, 0.9]", 0.9, [0.5, 0.9, 1.3]),
        ("ema_decay: {min: 0.5, max: 0.98, points: 3}", 0.98, 0.99),
        ("tau: [0.9, 0.99]", 0.99, [0.9, 0.99, 0.995]),
    ],
)
def test_a_share_of_a_loop_is_searched_below_1(tmp_path, searched, best, suggested):
    """What bears the name of a share is one, in a training of the user's, too."""
    from lrsearch.spec.searched import find_searched

    path = tmp_path / "spec.yaml"
    path.write_text(f"{LOOP.partition('  lr:')[0]}  {searched}\n")
    (edge,) = find_edges({searched.partition(":")[0]: best}, find_searched(read_spec(path)))
    assert edge.suggest.get("values", edge.suggest.get("max")) == suggested


SEARCHED = Range("lr", 1e-4, 1.0, "log", points=9, path="lr")


@pytest.mark.parametrize(
    ("decades", "best", "noise", "told"),
    [
        (8, -0.1, 0.0, "lr 0.56 was best, and the interval of the best lr reaches the highest"),
        (8, 1.0, 0.0, "lr 0.56 was best, and the interval of the best lr reaches the highest"),
        (8, -5.0, 0.0, "lr 0.0001 is the lowest searched"),
        (8, -2.0, 0.0, ""),
        (9, 1.0, 0.0, "lr 1 is the highest searched"),
        (5, 1.0, 0.0, "lr 0.1 is the highest trained, and the interval of the best reaches it"),
        (9, None, 0.02, ""),  # A plain, on whose end the luckiest value lies.
    ],
)
def test_an_edge_of_the_rate_follows_from_its_curve(decades, best, noise, told):
    """The best may lie beyond where the interval of the best rate reaches the end of the range,
    wherever the best value was measured; not where noise alone could give the values."""
    places = {5: [-4, -3.2, -2.4, -1.6, -1], 8: [-4, -3.3, -2.6, -2, -1.4, -0.9, -0.5, -0.25]}
    places = places.get(decades, [-4 + 0.5 * step for step in range(9)])
    generator = np.random.default_rng(1)
    values = [1.0 if best is None else 1 + (place - best) ** 2 / 4 for place in places]
    values = [value + noise * generator.normal() for value in values]
    if best is None:
        values[-1] = min(values) - 1e-3
    rates = [float(f"{10**place:.2g}") for place in places]
    rows = [({"lr": rate}, [value]) for rate, value in zip(rates, values, strict=True)]
    answer = find_answer(points_of(rows), LOSS, [SEARCHED])
    assert answer.highest.params["lr"] in (rates[0], rates[-1]) or told == ""
    found = [*map(str, answer.edges), *answer.untrained]
    assert len(found) == bool(told) and "".join(found).startswith(told)
    assert not told or bool(answer.edges) == ("trained" not in told)


def test_of_a_confirmed_answer_the_edge_is_that_of_what_holds():
    rows = [({"m": 4}, [0.1]), ({"m": 8}, [0.11]), ({"m": 65536}, [0.5])]
    sizes = (4, 8, 65536)
    points, ranges = points_of(rows), [Range("m", 4, 65536, listed=sizes, whole=True, path="m")]
    (edge,) = find_answer(points, LOSS, ranges).edges
    assert str(edge) == "m 4 is the lowest searched (4 to 65536): the best may lie beyond"
    again = [
        Finalist(each.point, each.params, each.objective, mean, None, {9: mean})
        for each, mean in zip(reversed(points[:2]), (0.1, 0.3), strict=True)
    ]
    confirmed = find_answer(points, LOSS, ranges, Confirmation(tuple(again), 1, over=True))
    assert confirmed.recommended.point == 2 and confirmed.edges == ()


def test_of_two_open_ends_the_edge_is_that_of_the_best_value():
    places = [-4 + 0.5 * step for step in range(9)]
    rows = [({"lr": 10**each}, [9 - (each + 2) ** 2 + 0.1 * (each + 4)]) for each in places]
    points = points_of(rows)
    (edge,) = find_answer(points, LOSS, [SEARCHED]).edges
    assert edge.side == "lowest" and not edge.far
    again = [
        Finalist(each.point, each.params, each.objective, mean, None, {9: mean})
        for each, mean in ((points[8], 4.9), (points[0], 5.1))
    ]
    confirmed = find_answer(points, LOSS, [SEARCHED], Confirmation(tuple(again), 1, over=True))
    (edge,) = confirmed.edges
    assert confirmed.basin.at_ends[0] > confirmed.basin.at_ends[1] > 0.025
    assert edge.side == "highest" and not edge.far


def test_where_all_points_came_to_one_value_no_end_is_an_edge():
    """A divergence beside them does not say that the best lies away from it."""
    for values, edges in (((0.1, 0.1, None), 0), ((0.1, 0.2, None), 1)):
        rows = [({"m": size}, [value]) for size, value in zip((4, 8, 16), values, strict=True)]
        ranges = [Range("m", 4, 16, listed=(4, 8, 16), whole=True, path="m")]
        answer = find_answer(points_of(rows), LOSS, ranges)
        assert len(answer.edges) == edges and answer.steady is not bool(edges)


# -- renderings


def shown_view(**more):
    rows = [
        ({"lr": rate, "batch_size": size}, [bowl(rate, 1e-2)] if rate < 0.5 else [None])
        for rate in RATES
        for size in (32, 128)
    ]
    ranges = [Range("batch_size", 32, 128, listed=(32, 128), whole=True, path="batch_size")]
    return build_view("r", "runs/r", LOSS, records_of(rows), Context(searched=ranges, **more))


def test_the_answer_is_the_same_whatever_the_order_of_the_points():
    """Confirming, reports and lists have them in orders of their own."""
    noise = np.random.default_rng(5).normal(size=(2, 9)).tolist()
    rows = [
        ({"lr": rate, "batch_size": size}, [bowl(rate, 1e-2) + 0.1 * off])
        for size, own in zip((32, 64), noise, strict=True)
        for rate, off in zip(RATES, own, strict=True)
    ]
    points = points_of(rows)
    found, turned = (find_answer(each, LOSS) for each in (points, points[::-1]))
    assert to_plain(found) == to_plain(turned)


def test_the_answer_says_its_evidence_in_a_line():
    view = shown_view()
    text = evidence(view.answer)
    assert text.startswith("not confirmed on fresh seeds; likely ") and "\n" not in text
    assert "do as well on this split" in text and "divergence begins at 1" in text
    records = view.records
    # Folds are several splits, and what a command splits by its seed nobody knows.
    for trial in ({"fold": 0}, {"config": {"params": {}}}):
        others = [replace(own, trial=replace(own.trial, **trial)) for own in records]
        answer = build_view("r", "runs/r", LOSS, others, Context()).answer
        assert " do as well" in evidence(answer) and "split" not in evidence(answer)
    rows = describe_basins(view.answer)
    assert len(rows) == 3 and all(len(row) == len(rows[0]) for row in rows)
    assert not any("..." in row[2] for row in rows)


@settings(max_examples=15)
@given(st.floats(-6, -2), st.floats(0.5, 3.0), st.booleans())
def test_the_best_at_an_end_of_what_was_measured_is_among_the_rates_that_do_as_well(
    start, width, falling
):
    """The ends of a curve are measured rates to the last bit, though it is drawn over logarithms,
    and an end that is shown is never said to lie outside itself."""
    rates = [float(f"{10 ** (start + width * step / 4):.12g}") for step in range(5)]
    losses = [1.0 + 0.3 * step for step in range(5)]
    rows = [
        ({"lr": rate}, [loss])
        for rate, loss in zip(rates, reversed(losses) if falling else losses, strict=True)
    ]
    answer = build_view("r", "runs/r", LOSS, records_of(rows), Context()).answer
    (basin,) = answer.basins
    end = rates[-1] if falling else rates[0]
    assert answer.recommended.params["lr"] == end
    assert basin.best == basin.safe_lr[falling] == basin.best_lr[falling] == end
    assert "do as well" in evidence(answer) and "not among them" not in evidence(answer)
    head, row = describe_basins(answer)
    assert "..." in row[2] and head[2] == "95 % (... or beyond)", "What the dots say is above them."


@pytest.mark.parametrize(("beside", "told"), [(1 - 1e-5, False), (0.9, True)])
def test_a_rate_that_reads_like_an_end_is_not_said_to_lie_outside(beside, told):
    answer = shown_view().answer
    low = answer.basin.safe_lr[0]
    point = replace(answer.recommended, params={**answer.recommended.params, "lr": low * beside})
    assert ("not among them" in evidence(replace(answer, recommended=point))) == told


def test_columns_that_have_no_room_stand_below_or_are_named():
    view = shown_view()
    title = "the best rate, and the rates that do as well"
    wide, narrow = (dict(details(view, width))[title] for width in (200, 66))
    assert "sensitivity" in wide[0] and len(wide) == 3
    # What does not fit stands below, behind the names again.
    assert len(narrow) == 6 and max(map(len, narrow)) <= 66
    assert "sensitivity" not in narrow[0] and "sensitivity" in narrow[3]
    assert [line.split()[0] for line in narrow[1:3]] == [line.split()[0] for line in narrow[4:]]
    words = sorted(" ".join(wide).split())
    assert sorted({*" ".join(narrow).split()}) == sorted({*words})
    rows = [("", "one", "empty", "two"), ("long", "1", "", "2" * 16), ("more", "1", "", "")]
    *_, told = lay_out(rows, 20)
    assert told == "(no room for: two; a wider terminal or --json has them)"
    # A long name, of wide characters, stands above its row; a row without a cell is left out below.
    rows = [("", "one", "two"), ("日本語" * 3, "1", "2" * 16), ("more", "1", "")]
    assert [line.split() for line in lay_out(rows, 20)] == [
        *(["one"], ["日本語" * 3], ["1"], ["more"], ["1"]),
        *(["two"], ["日本語" * 3], ["2" * 16]),
    ]


def test_the_answer_as_json_has_the_documented_keys():
    plain = json.loads(json.dumps(to_plain(shown_view().answer)))
    keys = ["recommended", "highest", "value", "interval", "curved", "seeds", "spread", "confirmed"]
    keys += [
        "tied",
        "control",
        "shrinkage",
        "evidence",
        "basins",
        "edges",
        "untrained",
        "budgets",
        "law",
        "importance",
        "levels",
    ]
    assert list(plain) == keys
    assert plain["confirmed"] is False and plain["control"] is None
    assert plain["shrinkage"] is None
    assert {"point", "params"} <= plain["recommended"].keys()
    assert {"params", "best_lr", "safe_lr", "diverges_at", "sensitivity"} <= plain["basins"][
        0
    ].keys()


def test_a_view_without_a_curve_loads_no_numpy():
    code = (
        "import sys, lrsearch.reports.tables as t, lrsearch.reports.view as v\n"
        "from lrsearch.trial import *\n"
        "r = [Record(Trial(n, str(n), {}, 0), n, {'lr': 0.1 * n}, 'grid', Result(\n"
        "    Outcome.COMPLETED, 1, 1.0, 1.0, last={'loss': 0.5 * n})) for n in (1, 2)]\n"
        "view = v.build_view('r', 'f', Objective('loss', 'min'), r)\n"
        "t.open_console(sys.stdout).print(t.result(view))\n"
        "sys.exit('numpy' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_no_interval_goes_beyond_what_the_metric_can_be():
    values = [0.2, 0.5, 0.9, 0.97, 0.995, 0.999, 0.96, 0.99, 0.1]
    rows = [({"lr": rate}, [value]) for rate, value in zip(RATES, values, strict=True)]
    found = find_answer(points_of(rows, ACCURACY), ACCURACY)
    assert found.curved and found.interval[1] == 1.0 == max(found.basins[0].high)
    assert found.basins[0].interval[1] <= 1.0
    # In percent it has no such end.
    rows = [(params, [100 * value]) for params, (value,) in rows]
    percent = find_answer(points_of(rows, ACCURACY), ACCURACY)
    assert percent.interval[1] > 100.0
    assert percent.interval[0] == pytest.approx(100 * found.interval[0])
    # Of seeds alone, too.
    seeds = find_answer(points_of([({"lr": 0.1}, [0.9, 0.99, 1.0])], ACCURACY), ACCURACY)
    assert seeds.interval is not None and seeds.interval[1] == 1.0


def test_points_that_share_a_rate_may_have_diverged_and_not():
    rows = [
        ({"lr": rate, "decay": decay}, [None if decay > 0.5 and rate > 0.05 else bowl(rate, 1e-2)])
        for rate in RATES
        for decay in (0.0, 0.1, 0.2, 0.3, 0.4, 0.6)
    ]
    answer = find_answer(points_of(rows), LOSS)
    assert answer.curved and answer.basin.diverges_at == pytest.approx(0.1)
    assert None in [value for rate, value in answer.basin.readings if rate == pytest.approx(0.1)]


def test_a_rate_of_zero_has_no_place_on_the_curve():
    rows = [({"lr": rate}, [bowl(rate or 1e-9, 1e-2) - 50 * (not rate)]) for rate in (0.0, *RATES)]
    answer = find_answer(points_of(rows), LOSS)
    assert answer.recommended.params == {"lr": 0.0} and not answer.curved


def test_null_is_a_value_like_others():
    rows = [
        ({"lr": rate, "clip": clip}, [1.0 + (clip is None) + 0.01 * (seed % 3)])
        for seed, rate in enumerate(RATES)
        for clip in (None, 1.0)
    ]
    shares = {each.name: each.share for each in find_importance(points_of(rows), LOSS)}
    assert shares["clip"] > 0.8


def test_what_does_the_same_work_costs_the_same():
    """Two rates of one batch size, whose times are noise, and a larger batch."""
    from lrsearch.analysis.answer import _costs
    from lrsearch.analysis.points import PointSummary
    from lrsearch.trial import Outcome

    def point(number, lr, size, seconds):
        params = {"lr": lr, "batch_size": size}
        return PointSummary(
            number, "grid", params, Outcome.COMPLETED, 0.9, None, (number,), 1.0, seconds, 1
        )

    points = [point(1, 0.1, 32, 1.0), point(2, 0.2, 32, 9.0), point(3, 0.1, 64, 90.0)]
    costs = _costs(points)
    assert costs[1] == costs[2] < costs[3]
    quick = _costs([point(1, 0.1, 32, 0.01), point(2, 0.1, 64, 0.9)])
    assert quick[1] == quick[2]


# -- trainings that blew up


def test_one_that_blew_up_widens_nothing_beside_it():
    rows = [({"lr": rate}, [bowl(rate, 1e-2) + 0.01 * seed for seed in range(3)]) for rate in RATES]
    for value in (1e30, 1e308, None):
        told = [*rows[:8], ({"lr": RATES[8]}, [2.0, value, 1.0])]
        (basin,) = find_basins(points_of(told), LOSS)
        assert 0.9 < basin.interval[0] < basin.interval[1] < 1.2, value
        assert 1e-3 < basin.safe_lr[0] < 1e-2 < basin.safe_lr[1] < 1e-1


def test_the_noise_of_one_that_blew_up_is_nobody_elses():
    rows = [
        ({"x": x}, [1 + 0.1 * x + 0.001 * (x * seed % 3) for seed in range(3)]) for x in range(5)
    ]
    before = [point.point for point in ties(points_of(rows), LOSS)]
    blown = [*rows, ({"x": 9}, [5.0, 1e30, 4.0])]
    assert [point.point for point in ties(points_of(blown), LOSS)] == before == []
    # Where its median is as good, one seed in three decides nothing.
    blown[-1] = ({"x": 9}, [1.0, 1e30, 1.0])
    assert [point.point for point in ties(points_of(blown), LOSS)] == [6]
    # The best one's own noise always counts.
    noisy = [({"x": 0}, [0.1, 1.5, 0.9]), *rows[1:]]
    assert len(ties(points_of(noisy), LOSS)) == 4


def test_divergence_begins_above_the_best_rate():
    rows = [({"lr": rate}, [bowl(rate, 1e-2)]) for rate in RATES[1:7]]
    low = ({"lr": RATES[0]}, [None])
    assert find_basins(points_of([low, *rows]), LOSS)[0].diverges_at is None
    both = [low, *rows, ({"lr": RATES[7]}, [None])]
    (basin,) = find_basins(points_of(both), LOSS)
    assert basin.diverges_at == pytest.approx(RATES[7]) and basin.begins(RATES[7])
    assert spell_failing(basin) == "divergence begins at 0.316"
    assert basin.bound == basin.diverges_at
    # Where as many trained above it, one that diverged is no bound.
    (basin,) = find_basins(points_of([*both, ({"lr": RATES[8]}, [2.0])]), LOSS)
    assert spell_failing(basin) == "0.316 diverged, though higher rates trained"
    assert basin.bound is None and replace(basin, idle_at=0.2).bound == 0.2


@pytest.mark.parametrize("lost", ["diverged", "stopped"])
def test_what_is_told_to_be_good_ends_well_below_what_failed(lost):
    """Another split moves the rate that trainings fail from as it moves the best one."""
    rates = [10 ** (-4 + 0.1 * step) for step in range(31)]
    rows = [({"lr": rate}, [bowl(rate, 1e-2)]) for rate in rates]
    free = find_basins(points_of(rows), LOSS)[0]
    assert free.best_lr[1] > 10**-1.8 and free.safe_lr[1] > 10**-1.95
    records = records_of([*rows[:23], *(({"lr": rate}, [None]) for rate in rates[23:])])
    if lost == "stopped":
        rule = {"outcome": Outcome.PRUNED, "rule": "no_progress"}
        records[23:] = [replace(r, result=replace(r.result, **rule)) for r in records[23:]]
    (basin,) = find_basins(summarize(records, LOSS), LOSS)
    assert basin.bound == rates[23] and basin.best < 10**-1.93
    ends = basin.safe_lr[1], basin.best_lr[1], basin.within_percent[1]
    assert max(ends) <= rates[23] / 10**SPLIT_SHIFT * 1.001 and not basin.beside
    assert not spell_failing(basin).endswith("perhaps lower")
    # What was measured best may lie nearer, which is said.
    (basin,) = find_basins(points_of([*rows[:20], ({"lr": rates[20]}, [None])]), LOSS)
    assert rates[18] < basin.best == basin.safe_lr[1] == basin.best_lr[1] <= rates[19]
    assert basin.safe_lr[0] < basin.best
    assert spell_failing(basin) == "divergence begins at 0.01, on another split perhaps lower"


def test_a_best_rate_beyond_one_that_diverged_by_chance_is_no_end():
    rows = [
        ({"lr": rate}, [None if at == 5 else bowl(rate, 1e-2)]) for at, rate in enumerate(RATES)
    ]
    (basin,) = find_basins(points_of(rows), LOSS)
    assert basin.best < RATES[5] == basin.diverges_at < basin.best_lr[1]
    assert spell_failing(basin) == "0.0316 diverged, though higher rates trained"


def test_of_values_beyond_all_reckoning_no_rate_does_as_well():
    rows = [({"lr": rate}, [-1.7e308 if at == 3 else 1e300]) for at, rate in enumerate(RATES)]
    assert find_basins(points_of(rows), LOSS) == []


def test_seeds_that_made_no_difference_make_nothing_certain():
    rows = [({"lr": rate}, [0.5 + at / 10] * 2) for at, rate in enumerate(RATES[:2])]
    view = build_view("x", "x", LOSS, records_of(rows))
    assert "likely" not in evidence(view.answer)


def test_a_choice_of_hundreds_of_values_is_resampled_less_often(monkeypatch):
    """Each resample takes as long as the cube of their number."""
    calls = []

    def count(*given):
        calls.append(given)
        return shares(*given)

    shares = importance._shares
    monkeypatch.setattr(importance, "_shares", count)
    found = {}
    for many in (2, 80):
        calls.clear()
        rows = [
            ({"lr": RATES[i % 9], "schedule": f"s{i % many}"}, [bowl(RATES[i % 9], 1e-2)])
            for i in range(160)
        ]
        found[many] = find_importance(points_of(rows), LOSS)
        assert len(calls) == 1 + (importance.RESAMPLES if many == 2 else importance.FEWER)
    assert all(each[0].name == "lr" and each[0].share > 0.8 for each in found.values())


def test_a_share_is_that_of_the_whole_covariance():
    """By the formula written out, with every product of matrices."""
    generator = np.random.default_rng(0)
    design = np.concatenate([np.ones((30, 1)), generator.normal(size=(30, 7))], 1)
    y, weights = generator.normal(size=30), generator.integers(0, 3, 30).astype(float)
    spaced = [generator.normal(size=(9, 4)), generator.normal(size=(5, 3))]
    inner = design.T @ (design * weights[:, None])
    inverse = np.linalg.inv(inner + importance._penalty(design, 0.3))
    fitted = inverse @ design.T @ (weights * y)
    spent = np.trace(inverse @ inner)
    rest = (weights * (y - design @ fitted) ** 2).sum() / (weights.sum() - spent)
    doubt = rest * inverse @ design.T @ np.diag(weights**2) @ design @ inverse
    variances = []
    for own, each in zip((slice(1, 5), slice(5, 8)), spaced, strict=True):
        noise = np.trace(each @ doubt[own, own] @ each.T)
        variances.append(max((((each @ fitted[own]) ** 2).sum() - noise) / len(each), 0.0))
    blocks = [(each.shape[1], each.T @ each / len(each), 1.0) for each in spaced]
    found = importance._shares(design, y, blocks, 0.3, weights)
    assert max(found) > 0
    assert found == pytest.approx([each / (sum(variances) + rest) for each in variances])
