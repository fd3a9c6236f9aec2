"""What is said of a training by its curve: the rules, their invariances, what is too little."""

from __future__ import annotations

import itertools
import math
import operator
import random
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from lrsearch.diagnosis import agreements, diagnose, find_certain
from lrsearch.diagnosis.advice import advise
from lrsearch.diagnosis.agreement import _groups, _Range, _split
from lrsearch.diagnosis.course import Series, read_course
from lrsearch.diagnosis.rules import Reading, _spikes
from lrsearch.reports.verdicts import advise as advise_search
from lrsearch.trial import Diagnosis, Objective, Outcome, Record, Records, Result, Trial

LOSS = Objective("loss", "min")
BUDGET = 1000
START = math.log(10)


def decay(place, rate=8.0, floor=0.05):
    """A loss that falls as an exponential, from 1 at place 0 towards its floor."""
    return floor + (1 - floor) * math.exp(-rate * place)


TRAININGS = {
    "healthy": lambda p: (decay(p), decay(p, floor=0.08)),
    "too_slow": lambda p: (1 - 0.4 * p, 1 - 0.39 * p),
    "stagnating": lambda p: (1.0, 1.0),
    "overfitting": lambda p: (decay(p, floor=0.0), decay(p, 20.0, 0.2) + 0.25 * p),
    "underfitting": lambda p: (decay(p, floor=0.8), decay(p, floor=0.81)),
    "diverged": lambda p: (1 + 8 * p, 1 + 8 * p),
}
"""Training and validation losses by the share of the budget, in units of the start."""

VERDICTS = sorted({*TRAININGS, "oscillating", "unstable", "dead"})


def losses(verdict, place, index):
    if verdict == "oscillating":
        high = 0.25 if index % 2 else 0.1
        return decay(place, floor=high), decay(place, floor=high)
    if verdict == "unstable":
        jump = 0.6 if 0.5 <= place < 0.54 else 0.0
        return decay(place) + jump, decay(place)
    return TRAININGS.get(verdict, TRAININGS["stagnating"])(place)


def training(
    verdict, *, scale=1.0, unit=1, evaluations=25, recorded=200, noise=0.01, seed=0, start=True
):
    """A curve and records of such a training: losses times `scale`, steps times `unit`."""
    dice = random.Random(seed)
    size = scale * START
    steps = [round(BUDGET * unit * k / evaluations) for k in range(1, evaluations + 1)]
    curve = {"step": steps, "train_loss": [], "loss": [], "lr": [0.1] * evaluations}
    for index, step in enumerate(steps):
        middle = (index + 0.5) / evaluations
        curve["train_loss"].append(size * losses(verdict, middle, index)[0])
        curve["loss"].append(size * losses(verdict, step / (BUDGET * unit), index)[1])
    taken = sorted({max(1, round(BUDGET * unit * k / recorded)) for k in range(1, recorded + 1)})
    found = []
    for index, step in enumerate(taken):
        value = losses(verdict, step / (BUDGET * unit), index)[0]
        found.append(size * value * (1 + noise * dice.gauss(0, 1)))
    gradient = 0.0 if verdict == "dead" else 1.0
    records = Records(
        tuple(taken),
        tuple(found),
        (gradient * scale,) * len(taken),
        (1e-3 * gradient,) * len(taken),
        (0.1,) * len(taken),
        start=size if start else math.nan,
        baseline=size if start else math.nan,
    )
    return curve, records if recorded else Records(start=size if start else math.nan)


def told(curve, records, objective=LOSS, outcome=Outcome.COMPLETED, config=None):
    steps = int(curve["step"][-1]) if curve.get("step") else BUDGET
    result = Result(outcome, steps, 20.0, 1.0)
    return diagnose(config or {"train": {"lr": 0.1}}, curve, records, result, objective)


def names(found):
    return [each.verdict for each in found]


@pytest.mark.parametrize("verdict", VERDICTS)
def test_each_training_has_its_verdict(verdict):
    found = told(*training(verdict))
    assert names(found)[0] == verdict, found
    assert len(found) <= 2
    for each in found:
        assert 0.5 <= each.confidence <= 1 and each.advice
        assert all(math.isfinite(value) for value in each.evidence.values())


@pytest.mark.parametrize("verdict", sorted(set(VERDICTS) - {"dead", "unstable"}))
def test_a_curve_alone_tells_as_much_where_the_start_is_known(verdict):
    assert names(told(*training(verdict, recorded=0)))[0] == verdict


@given(
    verdict=st.sampled_from(VERDICTS),
    scale=st.floats(-8, 8).map(lambda power: 10**power),
    unit=st.integers(1, 500),
    denser=st.integers(1, 4),
    seed=st.integers(0, 5),
)
def test_no_unit_changes_a_verdict(verdict, scale, unit, denser, seed):
    """Losses times a number, steps of another unit, more evaluations."""
    plain = told(*training(verdict, seed=seed))
    other = told(*training(verdict, scale=scale, unit=unit, evaluations=25 * denser, seed=seed))
    assert names(other)[0] == names(plain)[0]
    if denser == 1:
        assert names(other) == names(plain)
        for left, right in zip(plain, other, strict=True):
            assert left.confidence == pytest.approx(right.confidence, abs=0.02)


@given(data=st.data())
def test_any_curve_has_a_verdict_or_none_and_never_an_error(data):
    number = st.floats(allow_nan=True, allow_infinity=True, width=32)
    length = data.draw(st.integers(0, 12))
    steps = sorted(data.draw(st.lists(st.integers(1, 99), min_size=length, max_size=length)))
    listed = data.draw(
        st.sets(st.sampled_from(["train_loss", "loss", "val_loss", "accuracy", "lr"]))
    )
    values = st.lists(number, min_size=length, max_size=length)
    curve = {"step": steps, **{name: data.draw(values) for name in sorted(listed)}}
    count = data.draw(st.integers(0, 15))
    columns = st.lists(number, min_size=count, max_size=count).map(tuple)
    records = Records(
        tuple(range(1, count + 1)),
        *(data.draw(columns) for _ in range(4)),
        start=data.draw(number),
        baseline=data.draw(number),
    )
    objective = Objective("accuracy", "max")
    for outcome in Outcome:
        for each in told(curve, records, objective, outcome):
            assert each.verdict in VERDICTS
            assert math.isfinite(each.confidence)
    assert find_certain(curve, records, objective, 0.5) in ("", "dead", "stagnating")


@pytest.mark.parametrize(
    "curve",
    [
        {},
        {"step": []},
        {"step": [10], "loss": [0.5], "train_loss": [0.4]},
        {"step": [10, 20], "loss": [0.5, math.nan], "train_loss": [0.4, math.nan]},
        {"step": list(range(1, 9)), "accuracy": [math.nan] * 8},
        {"step": list(range(1, 30)), "other": [1.0] * 29},
    ],
)
def test_too_little_to_tell(curve):
    assert told(curve, Records()) == ()


def test_a_gap_in_the_middle_is_no_reason_to_say_nothing():
    curve, records = training("healthy", recorded=0)
    curve["loss"][10] = curve["train_loss"][11] = math.nan
    assert names(told(curve, records)) == ["healthy"]


def test_what_has_failed_has_no_verdict_and_what_is_lost_has_one():
    curve, records = training("healthy")
    assert told(curve, records, outcome=Outcome.FAILED) == ()
    assert told(curve, records, outcome=Outcome.OUT_OF_MEMORY) == ()
    (lost,) = told({}, Records(), outcome=Outcome.DIVERGED)
    assert lost.verdict == "diverged" and lost.confidence == 1.0 and "0.01" in lost.advice


def test_a_constant_metric_of_a_loop_stagnates():
    curve = {"step": list(range(1, 30)), "accuracy": [0.1] * 29}
    assert names(told(curve, Records(), Objective("accuracy", "max"))) == ["stagnating"]


@pytest.mark.parametrize("goal", ["max", "min"])
def test_a_metric_is_turned_by_its_goal(goal):
    """A score that still rises at the end, or one that still falls, is too slow."""
    sign = 1 if goal == "max" else -1
    curve = {"step": list(range(1, 30)), "score": [sign * step / 30 for step in range(1, 30)]}
    assert names(told(curve, Records(), Objective("score", goal))) == ["too_slow"]
    worse = {**curve, "score": [-each for each in curve["score"]]}
    assert "too_slow" not in names(told(worse, Records(), Objective("score", goal)))


def test_a_metric_has_no_size_to_be_far_above():
    """Word error rates near 5 that fall by a little, and an accuracy that only trembles."""
    steps = list(range(1, 30))
    rates = {"step": steps, "wer": [5 - 0.1 * math.exp(-step / 4) for step in steps]}
    falling = {"step": steps, "wer": [5 + 0.1 * math.exp(-step / 3) for step in steps]}
    assert names(told(falling, Records(), Objective("wer", "min"))) == ["healthy"]
    assert "diverged" not in names(told(rates, Records(), Objective("wer", "min")))
    dice = random.Random(0)
    noisy = {"step": steps, "accuracy": [0.1 + 0.01 * dice.random() for _ in steps]}
    assert "diverged" not in names(told(noisy, Records(), Objective("accuracy", "max")))


def test_what_was_learned_before_the_first_evaluation_is_no_stagnation():
    """Without a start a level curve may be that of a model that learned all in its first epoch."""
    curve, _ = training("healthy")
    level = {
        "step": curve["step"],
        "train_loss": [0.05 + 0.001 * (k % 3) for k in range(25)],
        "loss": [0.08 + 0.001 * (k % 2) for k in range(25)],
    }
    assert "stagnating" not in names(told(level, Records()))
    known = Records(start=0.05, baseline=math.nan)  # It had learned nothing.
    assert names(told(level, known)) == ["stagnating"]


@pytest.mark.parametrize(
    ("level", "swing", "told_so"), [(0.08, 0.003, False), (0.95, 0.01, False), (2.0, 0.3, True)]
)
def test_what_moves_a_little_is_no_swing_where_most_was_learned_before(level, swing, told_so):
    """Of a difference that is next to nothing any movement is many times as much."""
    values = [level + swing * (k % 2) - 1e-4 * k for k in range(25)]
    steps = list(range(1, 26))
    loss = {"step": steps, "loss": values}
    both = {**loss, "train_loss": [level / 20 - 1e-5 * k for k in range(25)]}
    metric, accuracy = {"step": steps, "accuracy": values}, Objective("accuracy", "max")
    for found in (told(loss, Records()), told(both, Records()), told(metric, Records(), accuracy)):
        assert ("oscillating" in names(found)) is told_so
        assert told_so or "unstable" not in names(found)
        assert all(each.evidence.get("swing", 0.0) <= 1 for each in found)
        assert all(each.evidence.get("gap", 0.0) <= 1 for each in found)
    if told_so:
        assert " of the first value reported from one " in found[0].advice
    # One that begins and ends at 0 has learned nothing, and its first value is no measure.
    found = told(
        {"step": steps, "accuracy": [0.0, *values[:-4], 0.0, 0.0, 0.0]}, Records(), accuracy
    )
    assert all(each.evidence.get("swing", 0.0) <= 100 for each in found)


@pytest.mark.parametrize("name", ["loss", "train_loss"])
@pytest.mark.parametrize("verdict", ["healthy", "too_slow", "diverged"])
def test_a_loss_of_0_before_anything_was_trained_is_no_start(name, verdict):
    """Anything is infinitely many times as much, and ends above it."""
    values = training(verdict)[0][name]
    without, beside = (
        told({"step": list(range(1, 27)), name: [first, first, *values[:24]]}, Records())
        for first in (math.nan, 0.0)
    )
    assert without == beside


def test_a_validation_loss_that_never_moves_beside_one_that_does():
    curve = {"step": list(range(1, 26)), "train_loss": [1 + 0.1 * (k % 3) for k in range(25)]}
    assert len(told({**curve, "loss": [2.0] * 25}, Records())) <= 2


def test_the_rate_of_the_advice_is_the_trials():
    curve, records = training("too_slow")
    (slow, *_) = told(curve, records)
    assert "(0.3)" in slow.advice


def test_what_is_lost_before_its_first_step_is_not_the_rate_s_doing():
    nan = math.nan
    records = Records((1, 21), (nan, nan), (nan, nan), (nan, nan), (0.1, 0.1))
    curve = {"step": [22], "train_loss": [nan], "loss": [nan], "lr": [0.1]}
    (found,) = told(curve, records, outcome=Outcome.DIVERGED)
    assert found.verdict == "diverged" and found.evidence == {"step": 0.0}
    assert "initial weights" in found.advice and "rate (" not in found.advice
    later = Records((1, 21), (2.3, nan), (1.0, nan), (0.1, nan), (0.1, 0.1))
    (found,) = told(curve, later, outcome=Outcome.DIVERGED)
    assert found.evidence == {"step": 22.0} and "a tenth of the rate" in found.advice


def test_a_high_start_that_comes_down_is_no_spike():
    steps = list(range(1, 401))
    loss = [0.5 + 22.5 * math.exp(-step / 60) for step in steps]
    records = Records(
        tuple(steps), tuple(loss), (1.0,) * 400, (1e-3,) * 400, (0.1,) * 400, 23.0, 2.3
    )
    ends = steps[15::16]
    curve = {"step": ends, "train_loss": [loss[end - 1] for end in ends], "lr": [0.1] * len(ends)}
    curve["loss"] = curve["train_loss"]
    assert "unstable" not in names(told(curve, records))


def test_a_blow_up_that_ends_no_better_than_it_began_has_diverged():
    curve, records = training("stagnating")
    curve["train_loss"][1] = 45.0
    curve["loss"][1] = 40.0
    assert names(told(curve, records)) == ["diverged"]
    curve, records = training("healthy")
    curve["train_loss"][0] = curve["loss"][0] = 45.0
    assert "unstable" in names(told(curve, records))


# -- while it trains


def test_what_has_learned_nothing_is_certain_after_a_while():
    curve, records = training("stagnating")
    assert find_certain(curve, records, LOSS, 0.5) == "stagnating"
    assert find_certain(curve, records, LOSS, 0.1) == ""
    assert find_certain(*training("dead"), LOSS, 0.5) == "dead"
    for verdict in set(VERDICTS) - {"dead", "stagnating"}:
        assert find_certain(*training(verdict), LOSS, 0.9) == ""


def test_a_warmup_is_waited_for():
    curve, records = training("stagnating")
    rising = tuple(1e-3 * 1.02**step for step in range(len(records.step)))
    warm = Records(**{**vars(records), "lr": rising})
    assert find_certain(curve, warm, LOSS, 0.5) == ""


# -- courses


def swinging(moves):
    """A training whose validation losses are moved by shares of the start, at the evaluations."""
    curve, records = training("healthy", evaluations=len(moves))
    curve["loss"] = [loss + move * START for loss, move in zip(curve["loss"], moves, strict=True)]
    return curve, records


@pytest.mark.parametrize(
    ("moves", "told_so"),
    [
        ([0.1 * (k % 2) for k in range(25)], True),
        ([0.005 * (k % 2) for k in range(25)], False),
        ([0.05 * abs(k % 6 - 3) for k in range(25)], True),  # As restarts that are too high.
        ([0.02 * k for k in range(25)], False),  # A slope is no swing,
        ([0.02 * abs(k - 16) for k in range(25)], False),  # nor is a bottom,
        ([0.02 * (12 - abs(k - 12)) for k in range(25)], False),  # or a top,
        ([0.5 * (k == 15) for k in range(25)], False),  # or one that stands out.
    ],
)
def test_a_swing_goes_back_and_forth(moves, told_so):
    assert ("oscillating" in names(told(*swinging(moves)))) is told_so


@pytest.mark.parametrize(
    ("course", "verdict", "seen"),
    [
        (
            lambda p: 15 * decay(p) + 8,
            "underfitting",
            "% of the loss of a model that knows nothing",
        ),
        (lambda p: 23 - 2 * p, "too_slow", "train longer"),
        (lambda p: 23.0, "stagnating", "did not come down: try ten times"),
        (
            lambda p: 15 * (1 - 5 * p) + 8 if p < 0.2 else 8.0,
            "stagnating",
            "from a bad start alone",
        ),
        (lambda p: 23 + 8 * p, "diverged", ""),
        (lambda p: 23 + 60 * p if p < 0.9 else 23, "diverged", ""),
        (lambda p: 23 * (1 - 2 * p) + 1 if p < 0.5 else 20 * p - 9, "diverged", "ended no better"),
    ],
)
def test_a_high_start_is_no_divergence(course, verdict, seen):
    """The start of inputs that are far too large is many times the loss of a model that knows
    nothing."""
    curve, records = training("stagnating", noise=0.0)
    values = {step: START * course(step / BUDGET) for step in (0, *curve["step"], *records.step)}
    curve["train_loss"] = curve["loss"] = [values[step] for step in curve["step"]]
    losses = tuple(values[step] for step in records.step)
    found = told(curve, replace(records, loss=losses, start=values[0]))
    assert names(found)[0] == verdict and seen in found[0].advice, found
    assert "rose by" not in found[0].advice


def test_a_loss_that_rose_for_good_diverged():
    """It stands, above where it began: to learn nothing would be to stay there."""
    curve, records = training("stagnating")
    for share, verdict in ((1.05, "stagnating"), (1.5, "diverged")):
        risen = {**curve, **{
            name: [START * (1 + (share - 1) * min(1, k / 3)) for k, _ in enumerate(values)]
            for name, values in curve.items() if "loss" in name
        }}  # fmt: skip
        assert names(told(risen, records)) == [verdict]


def test_a_gradient_that_was_never_there_is_gone():
    """It is as large as ever, and a millionth of the loss, whatever that is measured in."""
    curve, records = training("stagnating")
    for size in (1e-3, 1.0, 1e3):
        for share, verdict in ((1e-9, "dead"), (1e-3, "stagnating")):
            faint = tuple(share * START * size for _ in records.step)
            scaled = {name: [size * each for each in values] if "loss" in name else values
                      for name, values in curve.items()}  # fmt: skip
            more = {"start": size * records.start, "baseline": size * records.baseline}
            losses = tuple(size * each for each in records.loss)
            own = replace(records, loss=losses, gradient_norm=faint, **more)
            assert names(told(scaled, own)) == [verdict]


def test_a_batch_that_stands_out_is_no_spike():
    """Its samples may be odd, such as those of data with outliers."""
    curve, records = training("healthy")
    odd = [loss * (20 if k in (60, 110, 150) else 1) for k, loss in enumerate(records.loss)]
    assert max(odd[60:]) > START / 2
    assert names(told(curve, replace(records, loss=tuple(odd)))) == ["healthy"]


@pytest.mark.parametrize(("values", "spikes"), [(20, 0), (32, 1)])
def test_two_neighbours_tell_no_spike(values, spikes):
    """Of 20 values two lie within a tenth of the training on either side of another."""
    places = tuple((k + 1) / values for k in range(values))
    curve, records = training("healthy", recorded=0)
    reading = Reading(read_course(curve, records, LOSS, BUDGET))
    middle = values // 2
    series = Series(places, tuple(START if k == middle else 0.2 for k in range(values)))
    assert len(_spikes(series, reading)) == spikes


def test_names_of_losses():
    curve = {"step": [1, 2], "loss": [3.0, 2.0], "val_loss": [4.0, 3.0]}
    course = read_course(curve, Records(), LOSS, 2)
    assert course.training.values == (3.0, 2.0) and course.validation.values == (4.0, 3.0)
    alone = read_course({"step": [1, 2], "loss": [3.0, 2.0]}, Records(), LOSS, 2)
    assert not alone.training and alone.validation.values == (3.0, 2.0)


def test_a_loop_that_reports_each_step_is_read_in_parts():
    steps = list(range(1, 10_001))
    curve = {"step": steps, "train_loss": [decay(step / 10_000) for step in steps]}
    course = read_course(curve, Records(), LOSS, 10_000)
    assert 256 < len(course.training) <= 512 and course.training.places[-1] == 1 - 0.5 / 10_000
    assert course.training.mean(0.4, 0.6) == pytest.approx(decay(0.5), rel=0.1)
    assert names(told(curve, Records(start=1.0))) == ["healthy"]


def test_the_error_of_a_mean_is_that_of_its_noise():
    dice = random.Random(1)
    places = tuple((k + 1) / 1000 for k in range(1000))
    noisy = Series(places, tuple(5 * place + dice.gauss(0, 1) for place in places))
    assert noisy.error(0.5, 1) == pytest.approx(1 / math.sqrt(500), rel=0.1)
    assert Series(places, places).error(0, 1) < 1e-4
    line = stats.linregress(noisy.places[500:], noisy.values[500:])
    slope, doubt = noisy.slope(0.5, 1)
    assert slope == pytest.approx(line.slope) and doubt == pytest.approx(line.stderr, rel=0.1)
    # Of two fifths as long as each other the errors add up, as variances do.
    curve, records = training("healthy")
    reading = Reading(read_course(curve, records, LOSS, BUDGET))
    doubts = reading.drop(noisy) - reading.certain_drop(noisy)
    assert doubts == pytest.approx(2 * math.sqrt(2 / 200), rel=0.15)


def test_where_nothing_was_measured_the_mean_is_that_of_both_sides():
    series = Series((0.2, 0.4, 0.8), (1.0, 2.0, 6.0))
    assert series.mean(0.5, 0.7) == 4.0
    assert series.mean(0.0, 0.1) == 1.0 and series.mean(0.85, 0.9) == 6.0


# -- a whole search


def record(number, params, *verdicts, **evidence):
    found = tuple(Diagnosis(each, 0.9, evidence, "") for each in verdicts)
    result = Result(Outcome.COMPLETED, 10, 1.0, 1.0, verdicts=found)
    return Record(Trial(number, f"{number}", {}, 0), number, params, "grid", result)


def test_trials_that_were_lost_before_they_began_agree_on_nothing():
    assert agreements([record(k, {"lr": 0.1 * k}, "diverged", step=9.0) for k in range(1, 7)])
    assert not agreements([record(k, {"lr": 0.1 * k}, "diverged", step=0.0) for k in range(1, 7)])


def test_trials_at_rates_that_are_too_high_need_not_swing():
    for swings, steady in ((0, True), (2, True), (3, False), (5, False)):
        records = [record(k, {"lr": 0.001 * k}, "healthy") for k in range(1, 6)]
        for k in range(5):
            evidence = {"swing": 0.1} if k < swings else {"missed": 0.5}
            records.append(record(10 + k, {"lr": 0.1 * (k + 1)}, "oscillating", **evidence))
        (found,) = agreements(records)
        assert (found.hits, found.kind, found.value) == (5, "least", 0.1)
        assert found.steady is steady
        (told,) = advise_search(records)
        assert told.startswith("all 5 trials with lr 0.1 or more ")
        assert ("oscillate" in told) is not steady and "lower rates" in told
        # Of a point that is recommended it was measured that lower rates are no better.
        assert bool(advise_search(records, within={14})) is not steady


def test_who_agrees_says_of_how_many():
    records = [record(k, {"lr": 0.1}, "stagnating") for k in range(5)]
    (told,) = advise_search(records)
    assert told.startswith("all 5 trials stagnate: ")
    others = [record(10 + k, {"lr": 0.01}) for k in range(79)]
    (told,) = advise_search([*records, *others])
    assert told.startswith("all 5 trials with lr 0.1 stagnate (79 of all 84 are too little to ")
    assert told.endswith(": lower rates may learn"), "it is the highest of two"
    # Trials of which there is too little to tell do not share a verdict: they may have learned.
    others = [record(10 + k, {"lr": 0.1}) for k in range(79)]
    assert advise_search([*records, *others]) == []
    # What failed says nothing of a parameter, and is none of these.
    others = [replace(each, result=replace(each.result, outcome=Outcome.FAILED)) for each in others]
    (told,) = advise_search([*records, *others])
    assert told.startswith("all 5 trials stagnate: ")


@pytest.mark.parametrize(
    ("low", "middle", "high", "told"),
    [
        ("stagnating", "healthy", "healthy", ("lr 0.04 or less stagnate: higher rates may learn",)),
        ("healthy", "healthy", "stagnating", ("lr 0.09 or more stagnate: lower rates may learn",)),
        ("too_slow", "healthy", "healthy", ("0.04 or less are too slow: a larger budget, or h",)),
        ("too_slow", "too_slow", "diverged",
         ("or more diverge: lower", "are too slow: a larger budget, or the higher of these rates")),
    ],
)  # fmt: skip
def test_trials_that_agree_are_not_sent_where_nothing_trains(low, middle, high, told):
    each = (*4 * [low], *4 * [middle], *4 * [high])
    records = [record(k, {"lr": 0.01 * k}, verdict) for k, verdict in enumerate(each, 1)]
    found = advise_search(records)
    assert len(found) == len(told) and all(map(operator.contains, found, told)), found


def test_trials_agree_on_a_rate():
    records = [
        record(k, {"lr": 10 ** (k / 4 - 4), "batch_size": 32 if k % 2 else 64},
               "diverged" if k >= 12 and k != 14 else "healthy")
        for k in range(20)
    ]  # fmt: skip
    (found,) = agreements(records)
    assert (found.verdict, found.name, found.kind) == ("diverged", "lr", "least")
    assert (found.hits, found.among) == (7, 8) and found.value == pytest.approx(0.1)


def test_trials_agree_on_a_choice_or_all_of_them():
    records = [
        record(k, {"batch_size": (32, 128, 512)[k % 3], "schedule": "cosine"},
               "too_slow" if k % 3 == 2 else "healthy")
        for k in range(12)
    ]  # fmt: skip
    (found,) = agreements(records)
    assert (found.name, found.kind, found.value) == ("batch_size", "only", 512)
    assert (found.hits, found.among) == (4, 4)
    (found,) = agreements([record(k, {"lr": 0.1 * k}, "overfitting") for k in range(5)])
    assert (found.name, found.hits, found.among) == ("", 5, 5)


numbers = st.lists(st.one_of(st.integers(0, 30), st.floats(0, 30)), min_size=13, max_size=120)


@given(numbers, st.integers(0, 2**32))
def test_a_range_is_split_as_its_values_are(values, seed):
    hits = random.Random(seed).choices([True, False], k=len(values))
    counted, hit = Counter(values), Counter(itertools.compress(values, hits))
    order = sorted(counted)
    column = _Range(order, [0, *itertools.accumulate(counted[key] for key in order)])
    split = list(_split(column, [*itertools.compress(values, hits)]))
    whole = list(_groups([(key, hit[key], many) for key, many in counted.items()]))
    assert split == [each for each in whole if each[0] != "only"]


def test_chance_is_no_agreement():
    dice = random.Random(0)
    records = [
        record(k, {"lr": dice.random(), "batch_size": dice.choice([32, 64])},
               dice.choice(["healthy", "healthy", "unstable"]))
        for k in range(40)
    ]  # fmt: skip
    assert agreements(records) == []
    assert agreements([record(k, {"lr": k}, "dead") for k in range(2)]) == []


@pytest.mark.parametrize(
    ("first", "verdict", "seen"),
    [(2.5, "stagnating", "rose by"), (3.0, "diverged", "ended no better")],
)
def test_a_loss_that_rose_asks_for_lower_rates_by_the_rate_it_was_trained_with(
    first, verdict, seen
):
    """A training that was stopped early: the one recorded step is the first of its warmup."""
    steps = list(range(2, 22, 2))
    losses = [first + 0.01 * place for place in range(10)]
    curve = {"step": steps, "loss": losses, "train_loss": losses, "lr": [0.5] * 10}
    records = Records(
        step=(1,),
        loss=(2.3,),
        gradient_norm=(0.4,),
        update_ratio=(1e-3,),
        lr=(0.005,),
        start=2.3,
        baseline=2.3,
    )
    (found,) = diagnose({}, curve, records, Result(Outcome.PRUNED, 20, 1.0, 1.0), LOSS)[:1]
    assert found.verdict == verdict
    assert seen in found.advice and "a tenth of the rate (0.05)" in found.advice


def test_a_peak_that_no_recorded_step_shows_is_one() -> None:
    steps = tuple(range(1, 401, 4))
    records = Records(
        steps, tuple(2.5 for _ in steps), tuple(1.0 for _ in steps), tuple(1e-3 for _ in steps),
        tuple(1.0 for _ in steps), START, START,
    )  # fmt: skip
    curve = {"step": [200, 400], "train_loss": [1e9, 2.5], "loss": [2.6, 2.5], "lr": [1.0, 1.0]}
    result = Result(Outcome.PRUNED, 400, 1.0, 1.0, rule="no_progress", whole=4000)
    [found] = diagnose({}, curve, records, result, LOSS)
    assert found.verdict == "diverged" and found.evidence["peak"] > 1e8


EVALUATED = [k / 25 for k in range(1, 26)]


def judged(train, valid, rate=lambda _: 0.1):
    """The verdicts on a training whose losses, in units of the start, and rate are functions of the
    place, at 25 evaluations of a thousand steps."""
    curve = {
        "step": [round(BUDGET * place) for place in EVALUATED],
        "train_loss": [START * train(place - 0.02) for place in EVALUATED],
        "loss": [START * valid(place) for place in EVALUATED],
        "lr": [rate(place) for place in EVALUATED],
    }
    return names(told(curve, Records(start=START, baseline=START)))


def test_what_a_decaying_rate_leaves_is_too_slow_not_underfitting() -> None:
    """A loss that falls as the sum of a cosine's rates, far from its end: it stands at last, since
    the rate is next to nothing there."""

    def at(place):
        return math.exp(-0.1 * (place + math.sin(math.pi * place) / math.pi))

    assert judged(at, at, lambda place: 1e-4 * (1 + math.cos(math.pi * place)))[0] == "too_slow"
    # Of one that has come to its end by a rate that stays the model is to blame.
    assert judged(*2 * [lambda place: 0.9 + 0.1 * math.exp(-9 * place)]) == ["underfitting"]


def test_a_rate_that_is_zero_at_last_tells_no_slope() -> None:
    """By the sum of the rates all evaluations lie at one place then."""

    def loss(place):
        return 0.2 - 1e-4 * place

    for spent in (0.04, 0.3, 0.52):
        rate = lambda place, end=spent: 0.1 * (place <= end)  # noqa: E731
        assert judged(loss, loss, rate) == ["healthy"]
    assert math.isnan(Series((0.6, 0.6, 0.6), (3.0, 2.0, 1.0)).slope(0.5, 1)[0])
    assert math.isnan(Series((0.6, 0.9), (3.0, 2.0)).slope(0.5, 1)[0])
    assert Series((0.6, 0.8, 1.0), (3.0, 2.0, 1.0)).slope(0.5, 1)[0] == pytest.approx(-5)


@pytest.mark.parametrize("height", [0.08, 0.12, 0.16])
def test_what_a_rate_settles_by_as_it_decays_is_not_too_slow(height: float) -> None:
    """A loss that stands as high above its floor as its rate swings it, as that of noisy batches
    does: warmup-stable-decay and one-cycle bring it down last, whatever the budget."""

    def rate(place):
        return min(1.0, (1 - place) / 0.4)

    def loss(floor, height):
        return lambda place: floor + 0.5 * math.exp(-8 * place) + height * rate(place)

    assert judged(loss(0.1, 2 * height), loss(0.22, height), rate) == ["healthy"]
    # By a rate that stays, as much would go on.
    assert judged(loss(0.1, 0.3), loss(0.22, 0.3)) == ["too_slow"]


@pytest.mark.parametrize("fall", [0.0, 0.1])
def test_noise_does_not_hide_what_the_validation_loss_still_gains(fall: float) -> None:
    """A budget that is far too short: single batches are as noisy as half of what was learned, and
    the validation loss falls on by a line, less sure from fifth to fifth than over the last
    half."""

    def loss(place):
        return 1 - 0.2 * (1 - math.exp(-9 * place)) - fall * place

    slow = 0
    for seed in range(10):
        dice = random.Random(seed)
        found = judged(
            lambda place, dice=dice: loss(place) + 0.1 * dice.gauss(0, 1),
            lambda place, dice=dice: loss(place) + 0.004 * dice.gauss(0, 1),
        )
        slow += "too_slow" in found
    assert slow >= 9 if fall else slow <= 1


def test_who_has_little_left_to_learn_is_not_too_slow() -> None:
    """Losses that fall by a line, by 8 % of what they learned a fifth, to shares of their start."""

    def to(left, below=0.0):
        return lambda place: (
            left - below + (1 - left) * (0.6 * math.exp(-20 * place) + 0.4 * (1 - place))
        )

    assert judged(to(0.1), to(0.1)) == ["healthy"]
    assert judged(to(0.5), to(0.5)) == ["too_slow"]
    assert judged(to(0.1, 0.15), to(0.1, 0.15)) == ["too_slow"], "How far may it fall below zero?"


@pytest.mark.parametrize(("floor", "verdict"), [(0.03, "healthy"), (1e-4, "overfitting")])
def test_the_more_is_known_by_heart_the_less_of_a_gap_tells_it(floor: float, verdict: str) -> None:
    def loss(end):
        return lambda place: decay(place, 12.0, end)

    assert judged(loss(floor), loss(0.13 + floor)) == [verdict]
    assert judged(loss(floor), loss(0.06)) == ["healthy"], "It generalizes."


def test_what_blew_up_before_the_first_evaluation_is_not_learned() -> None:
    places = [k / 25 for k in range(1, 26)]
    losses = [1e12 if k == 0 else 0.5 * START for k in range(25)]
    curve = {
        "step": [round(1000 * place) for place in places],
        "loss": losses,
        "train_loss": losses,
    }
    course = read_course(curve, Records(start=START, baseline=START), LOSS, 1000)
    assert Reading(course).learned < START


def test_a_share_of_next_to_nothing_is_no_number_of_percent() -> None:
    told = advise("overfitting", {"rise": 283.19, "gap": 0.3, "learned": 0.001}, 0.1)
    assert "%" not in told.replace("30%", "") and "is over 10 times the first value" in told
    assert "30% of it above" in told
    assert "by up to over 10 times what was" in advise("unstable", {"spikes": 2, "height": 11}, 0.1)


def test_advice_on_one_verdict_does_not_contradict_the_other() -> None:
    def told(verdict, *beside):
        return advise(verdict, {"fall": 0.1, "rise": 0.2, "gap": 0.3}, 0.1, beside=beside)

    assert "three times the rate" in told("too_slow")
    assert "three times the rate" in told("too_slow", "underfitting")
    for other in ("oscillating", "unstable", "overfitting"):
        assert "three times the rate" not in told("too_slow", other)
    assert "train less" in told("overfitting") and "train less" not in told(
        "overfitting", "too_slow"
    )


@pytest.mark.parametrize("height", [0.0, 0.19])
def test_a_peak_without_a_spike_is_told_as_a_peak(height: float) -> None:
    evidence = {"spikes": 1, "height": height, "peak": 7.16, "limit": 0.2}
    told = advise("unstable", evidence, 0.1)
    assert told.startswith("the loss stood at 7.16 times its size, from which it recovered: ")
    assert "jump" not in told
    assert "1 jump by up to 35% of" in advise("unstable", evidence | {"height": 0.35}, 0.1)


def test_of_hardly_anything_learned_the_inputs_are_looked_at_before_the_model_grows() -> None:
    for left, first in ((0.93, "look at the scale of the inputs"), (0.8, "try a larger model")):
        assert advise("underfitting", {"left": left}, 0.1).partition(": ")[2].startswith(first)
