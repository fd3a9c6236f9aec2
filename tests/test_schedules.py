"""lrsearch.schedules against torch, Hugging Face and Keras, over whole budgets, and by itself."""

import ast
import math
import re
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch.optim import lr_scheduler

from lrsearch import catalogue, duration, schedules
from lrsearch.catalogue import REQUIRED
from lrsearch.schedules import Plateau, ScheduleError
from lrsearch.spec.alone import read_schedule

EXACT = {"rtol": 0, "atol": 1e-12}
DOCS = (Path(__file__).parent.parent / "docs" / "schedules.md").read_text()

ratios = st.floats(0.0, 1.0)
totals = st.integers(1, 120)


def optimizer_of(rate=1.0):
    return torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=rate)


def torch_rates(build, steps):
    """What torch's scheduler sets for each of the first `steps` updates, from a base rate of 1.

    By its closed form where it has one: step by step it multiplies one rate by the next ratio, and
    its rounding adds up.
    """
    optimizer = optimizer_of()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scheduler = build(optimizer)
        rates = []
        for step in range(steps):
            if hasattr(scheduler, "_get_closed_form_lr"):
                scheduler.last_epoch = step
                rates += scheduler._get_closed_form_lr()
                continue
            rates.append(optimizer.param_groups[0]["lr"])
            if step + 1 < steps:
                optimizer.step()
                scheduler.step()
    return np.array(rates, dtype=np.float64)


def ours(schedule, budget, warmup=None, samples=1000, batch_size=10):
    return schedules.multipliers(
        schedule, warmup, budget=budget, samples=samples, batch_size=batch_size
    )


def named(name, **given):
    """A schedule with the catalogue's defaults filled."""
    known = catalogue.SCHEDULES[name].parameters
    filled = {key: part.default for key, part in known.items()} | given
    assert REQUIRED not in filled.values() and filled.keys() == known.keys()
    return {"name": name} | filled


def warm(text, start=0.0, shape="linear"):
    return {"for": text, "shape": shape, "start": start}


# torch


@given(totals, ratios)
def test_linear(total, final):
    expected = torch_rates(lambda o: lr_scheduler.LinearLR(o, 1.0, final, total), total)
    np.testing.assert_allclose(ours(named("linear", final=final), total), expected, **EXACT)


@given(totals, st.floats(0.3, 5.0))
def test_polynomial(total, power):
    expected = torch_rates(lambda o: lr_scheduler.PolynomialLR(o, total, power), total)
    np.testing.assert_allclose(ours(named("polynomial", power=power), total), expected, **EXACT)


@given(totals, st.floats(0.0, 2.0))
def test_cosine(total, final):
    expected = torch_rates(lambda o: lr_scheduler.CosineAnnealingLR(o, total, eta_min=final), total)
    np.testing.assert_allclose(ours(named("cosine", final=final), total), expected, **EXACT)


@given(totals, st.data(), st.integers(1, 3), ratios)
def test_cosine_restarts(total, data, mult, final):
    first = data.draw(st.integers(1, total))
    expected = torch_rates(
        lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, first, mult, eta_min=final), total
    )
    schedule = named("cosine_restarts", first=f"{first}ba", mult=float(mult), final=final)
    np.testing.assert_allclose(ours(schedule, total), expected, **EXACT)


@given(totals, st.integers(1, 40), st.floats(0.05, 1.0))
def test_step(total, every, gamma):
    expected = torch_rates(lambda o: lr_scheduler.StepLR(o, every, gamma), total)
    schedule = named("step", every=f"{every}ba", gamma=gamma)
    np.testing.assert_allclose(ours(schedule, total), expected, **EXACT)


@given(totals, st.data(), st.floats(0.05, 1.0))
def test_multistep(total, data, gamma):
    moments = sorted(data.draw(st.sets(st.integers(0, total), min_size=1, max_size=5)))
    expected = torch_rates(lambda o: lr_scheduler.MultiStepLR(o, moments, gamma), total)
    schedule = named("multistep", milestones=[f"{each}ba" for each in moments], gamma=gamma)
    np.testing.assert_allclose(ours(schedule, total), expected, **EXACT)


@given(totals, st.floats(0.5, 1.0))
def test_exponential(total, gamma):
    expected = torch_rates(lambda o: lr_scheduler.ExponentialLR(o, gamma), total)
    schedule = named("exponential", every="1ba", gamma=gamma)
    np.testing.assert_allclose(ours(schedule, total), expected, **EXACT)
    to_an_end = named("exponential", final=max(gamma**total, 1e-300))
    np.testing.assert_allclose(ours(to_an_end, total), expected, **EXACT)


@given(
    st.integers(4, 120),
    st.floats(0.0, 0.95),
    st.floats(1.0, 100.0),
    st.floats(1.0, 1e4),
    st.sampled_from(["cos", "linear"]),
    st.booleans(),
)
def test_one_cycle(total, pct_start, div, final_div, anneal, three_phase):
    # torch divides by zero where a phase's length is nothing at all.
    if three_phase:
        pct_start = min(pct_start, 0.45)
    ends = [pct_start * total - 1, 2 * pct_start * total - 2 if three_phase else total - 1]
    if abs(ends[0]) < 1e-6 or abs(ends[1] - ends[0]) < 1e-6:
        return
    expected = torch_rates(
        lambda o: lr_scheduler.OneCycleLR(
            o,
            max_lr=1.0,
            total_steps=total,
            pct_start=pct_start,
            anneal_strategy=anneal,
            cycle_momentum=False,
            div_factor=div,
            final_div_factor=final_div,
            three_phase=three_phase,
        ),
        total,
    )
    schedule = named(
        "one_cycle",
        pct_start=pct_start,
        div=div,
        final_div=final_div,
        anneal=anneal,
        three_phase=three_phase,
    )
    np.testing.assert_allclose(ours(schedule, total), expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", ["triangular", "triangular2", "exp_range"])
@given(totals, st.data(), ratios, st.floats(0.9, 1.0))
def test_cyclic(name, total, data, base, gamma):
    half = data.draw(st.integers(1, total))
    own = {"gamma": gamma, "every": "1ba"} if name == "exp_range" else {}
    expected = torch_rates(
        lambda o: lr_scheduler.CyclicLR(
            o, base, 1.0, half, mode=name, gamma=gamma, cycle_momentum=False
        ),
        total,
    )
    schedule = named(name, base=base, half=f"{half}ba", **own)
    np.testing.assert_allclose(ours(schedule, total), expected, **EXACT)


@given(st.integers(2, 120), st.floats(0.01, 1.0), st.floats(0.0, 0.99), ratios)
def test_warmup_then_cosine(budget, start, share, final):
    ahead = round(share * budget)
    if ahead >= budget:
        return
    rates = ours(named("cosine", final=final), budget, warm(f"{share:.17f}dur", start))
    rise = torch_rates(lambda o: lr_scheduler.LinearLR(o, start, 1.0, max(ahead, 1)), ahead)
    fall = torch_rates(
        lambda o: lr_scheduler.CosineAnnealingLR(o, budget - ahead, eta_min=final), budget - ahead
    )
    np.testing.assert_allclose(rates, np.concatenate([rise, fall]), **EXACT)


# Where torch has none: the formulas


@given(totals, st.data(), ratios)
def test_wsd(total, data, final):
    decay = data.draw(st.integers(1, total))
    step = np.arange(total)
    share = np.maximum(step - (total - decay), 0) / decay
    for shape, left in (
        ("linear", 1 - share),
        ("cosine", (1 + np.cos(math.pi * share)) / 2),
        ("sqrt", 1 - np.sqrt(share)),
    ):
        rates = ours(named("wsd", decay=f"{decay}ba", shape=shape, final=final), total)
        np.testing.assert_allclose(rates, left * (1 - final) + final, **EXACT)


@given(totals, st.floats(-8.0, 0.0), st.floats(0.1, 5.0))
def test_tanh(total, lower, upper):
    share = np.arange(total + 1) / total
    htd = 0.5 * (1 - np.tanh(lower + (upper - lower) * share))
    expected = (htd - htd[-1]) / (htd[0] - htd[-1])
    schedule = named("tanh", lower=lower, upper=upper)
    np.testing.assert_allclose(ours(schedule, total), expected[:-1], rtol=0, atol=1e-9)
    usual = ours(named("tanh"), total)
    np.testing.assert_allclose(usual, 0.5 * (1 - np.tanh(-6 + 9 * share))[:-1], atol=0.0025)


@given(totals, st.floats(1.0, 60.0))
def test_inverse_sqrt(total, timescale):
    rates = ours(named("inverse_sqrt", timescale=f"{timescale}ba"), total)
    at = duration.parse(f"{timescale}ba").value
    np.testing.assert_allclose(rates, [(at / (at + s)) ** 0.5 for s in range(total)], **EXACT)


def test_piecewise():
    points = [["0.1dur", 0.5], ["1ep", 2.0], ["150ba", 0.0]]
    stepped = ours(named("piecewise", points=points, join="stepped"), 200)
    assert stepped[[0, 19, 20, 99, 100, 149, 150, 199]].tolist() == [1, 1, 0.5, 0.5, 2, 2, 0, 0]
    lines = ours(named("piecewise", points=points, join="linear"), 200)
    assert lines[[0, 20, 100, 125, 150, 199]].tolist() == [0.5, 0.5, 2, 1, 0, 0]
    assert math.isclose(lines[60], 1.25)


def test_restarts_with_cycles_end_with_the_budget():
    rates = ours(named("cosine_restarts", cycles=3, mult=2.0, peak_decay=0.5, final=0.1), 70)
    assert np.flatnonzero(np.diff(rates) > 0).tolist() == [9, 29]
    assert rates[[0, 10, 30]] == pytest.approx([1.0, 0.55, 0.325], abs=1e-12)
    assert rates[69] == pytest.approx(0.1, abs=1e-3) and rates.min() > 0.1


@pytest.mark.parametrize("shape", schedules.WARMUPS)
def test_warmups_rise_from_their_start_to_the_base_rate(shape):
    rates = ours({"name": "constant"}, 200, warm("50ba", 0.04, shape))
    assert rates[0] == pytest.approx(0.04, abs=1e-15) and (rates[50:] == 1.0).all()
    assert (np.diff(rates[:51]) > 0).all()
    middle = {"linear": 0.52, "cosine": 0.52, "exponential": 0.2}[shape]
    assert rates[25] == pytest.approx(middle, abs=1e-12)


def test_warmup_in_each_unit():
    # 1000 samples in batches of 10: an epoch is 100 steps.
    for text, steps in (("0.5ep", 50), ("50ba", 50), ("500sp", 50), ("0.25dur", 50)):
        assert duration.warmup_steps(warm(text), budget=200, samples=1000, batch_size=10) == steps
        rates = ours({"name": "constant"}, 200, warm(text))
        assert rates[0] == 0.0 and rates[49] < 1.0 and (rates[50:] == 1.0).all()


def test_every_in_epochs_and_in_the_budget():
    by_epoch = ours(named("step", every="1ep"), 300)
    by_share = ours(named("step", every="0.1dur", gamma=0.5), 300)
    assert [by_epoch[0], by_epoch[99]] == [1.0, 1.0]
    assert math.isclose(by_epoch[100], 0.1) and math.isclose(by_epoch[299], 0.01)
    drops = np.flatnonzero(np.diff(by_share)) + 1
    assert drops.tolist() == list(range(30, 300, 30))


# What holds for all


def shares(low=0.0, high=1.0):
    """Durations as shares of the budget, so that shapes do not follow its length."""
    return st.integers(math.ceil(low * 40), int(high * 40)).map(lambda part: f"{part / 40}dur")


lengths = shares(0.05)
ARGUMENTS = {
    "constant": {},
    "linear": {"final": ratios},
    "polynomial": {"power": st.floats(0.3, 4), "final": ratios},
    "cosine": {"final": ratios},
    "cosine_restarts": {
        "cycles": st.integers(1, 4),
        "first": st.none() | lengths,
        "mult": st.floats(1, 2.5),
        "peak_decay": st.floats(0.1, 1),
        "final": ratios,
    },
    "step": {"every": lengths, "gamma": st.floats(0.05, 1)},
    "multistep": {
        "milestones": st.sets(lengths, min_size=1, max_size=4).map(
            lambda each: sorted(each, key=lambda text: float(text[:-3]))
        ),
        "gamma": st.floats(0.05, 1),
    },
    "exponential": {
        "every": lengths,
        "gamma": st.floats(0.05, 1),
        "final": st.none() | st.floats(1e-3, 1),
    },
    "inverse_time": {"rate": st.floats(0, 10), "every": lengths, "staircase": st.booleans()},
    "inverse_sqrt": {"timescale": lengths},
    "one_cycle": {
        "pct_start": st.floats(0.1, 0.45),
        "div": st.floats(1, 50),
        "final_div": st.floats(1, 1e4),
        "anneal": st.sampled_from(["cos", "linear"]),
        "three_phase": st.booleans(),
    },
    "triangular": {"base": ratios, "half": lengths},
    "triangular2": {"base": ratios, "half": lengths},
    "exp_range": {"base": ratios, "half": lengths, "gamma": st.floats(0.3, 1), "every": lengths},
    "wsd": {
        "decay": lengths,
        "shape": st.sampled_from(["linear", "cosine", "sqrt"]),
        "final": ratios,
    },
    "tanh": {"lower": st.floats(-8, 0), "upper": st.floats(0.5, 5), "final": ratios},
    "piecewise": {
        "points": st.lists(
            st.tuples(shares(), ratios), min_size=1, max_size=4, unique_by=lambda p: p[0]
        ).map(lambda pairs: sorted(map(list, pairs), key=lambda pair: float(pair[0][:-3]))),
        "join": st.sampled_from(["stepped", "linear"]),
    },
    "plateau": {},
}
ANY = st.sampled_from(sorted(ARGUMENTS)).flatmap(
    lambda name: st.fixed_dictionaries({"name": st.just(name), **ARGUMENTS[name]})
)
warmups = st.none() | st.builds(
    warm, shares(0, 0.5), st.floats(0.001, 1), st.sampled_from(sorted(schedules.WARMUPS))
)
RISING = ("one_cycle", "triangular", "triangular2", "exp_range")
AS_GIVEN = ("piecewise", "exp_range")


def fits(schedule, ahead):
    """Whether no moment of it lies behind the end, which a warmup of `ahead` steps moves ahead."""
    return not ahead or not schedules.LENGTHS.get(schedule["name"])


def test_every_schedule_has_arguments_here():
    assert set(ARGUMENTS) == set(schedules.FUNCTIONS) == set(catalogue.SCHEDULES)
    for name, drawn in ARGUMENTS.items():
        assert name == "plateau" or drawn.keys() == catalogue.SCHEDULES[name].parameters.keys()


def filled(schedule):
    return named(**schedule) if schedule["name"] == "plateau" else schedule


@given(ANY, warmups)
@settings(max_examples=60)
def test_multiples_of_a_rate(schedule, warmup):
    """Never negative, never above the peak, which is the base rate."""
    schedule, budget = filled(schedule), 400
    ahead = duration.warmup_steps(warmup, budget=budget, samples=1000, batch_size=10)
    if not fits(schedule, ahead):
        return
    rates = ours(schedule, budget, warmup)
    assert rates.shape == (budget,) and np.isfinite(rates).all() and (rates >= 0).all()
    assert rates.max() <= 1.0 + 1e-12
    if schedule["name"] not in AS_GIVEN and not (ahead and schedule["name"] in RISING):
        # one_cycle's last rising step is a whole one only by chance, and a rise as long as the
        # budget is at its peak one step after the last.
        slack = 0.05 if schedule["name"] in RISING else 1e-12
        assert rates[ahead:].max() >= 1.0 - slack
    if schedule["name"] not in (*RISING, "piecewise", "multistep"):
        assert rates[ahead] == pytest.approx(1.0, abs=1e-12)


@given(ANY, st.sampled_from([2, 5]))
@settings(max_examples=60)
@example({"name": "wsd", "decay": "0.55dur", "shape": "sqrt", "final": 0.0}, 5)
def test_the_shape_does_not_follow_the_batch_size_or_the_budget(schedule, times):
    """But for rounding, of which a root that begins to fall makes 1e-8."""
    schedule = filled(schedule)
    if schedule["name"] == "one_cycle":  # Ends with its last step, by torch's convention.
        return
    rates = ours(schedule, 200, samples=1000, batch_size=50)
    finer = ours(schedule, 200 * times, samples=1000, batch_size=50 // times)
    np.testing.assert_allclose(finer[::times], rates, rtol=0, atol=1e-7)
    longer = ours(schedule, 200 * times, samples=1000, batch_size=50)
    np.testing.assert_allclose(longer[::times], rates, rtol=0, atol=1e-7)


@given(ANY)
@settings(max_examples=60)
def test_ends_where_it_says(schedule):
    """At `final` one step after the last, whatever else is given; one_cycle with the last."""
    name = schedule["name"]
    if name == "one_cycle":
        bottom = 1 / (schedule["div"] * schedule["final_div"])
        assert ours(schedule, 100)[-1] == pytest.approx(bottom, rel=1e-9)
    elif "final" in schedule and schedule["final"] is not None and not schedule.get("first"):
        arguments = {key: part for key, part in schedule.items() if key != "name"}
        arguments |= {"decay": 20.0} if name == "wsd" else {}
        arguments |= {"every": 20.0} if name == "exponential" else {}
        (end,) = schedules.FUNCTIONS[name](np.array([100.0]), 100, **arguments)
        assert end == pytest.approx(schedule["final"], abs=1e-12)


JUMPING = ("cosine_restarts", "step", "multistep")


@given(ANY, warmups)
@settings(max_examples=60)
def test_continuous_where_it_should_be(schedule, warmup):
    """Four times the steps, no jump of more than half the size: powers below one are steep."""
    schedule = filled(schedule)
    stepped = schedule.get("staircase") or schedule.get("join") == "stepped"
    if schedule["name"] in JUMPING or stepped or (warmup and schedule["name"] in RISING):
        return
    if not fits(schedule, float(warmup["for"][:-3]) if warmup else 0):
        return
    jumps = [np.abs(np.diff(ours(schedule, 1000 * k, warmup))).max() for k in (1, 4)]
    if schedule["name"] != "polynomial":
        assert jumps[1] <= 0.55 * jumps[0] + 1e-9


# What does not fit


@pytest.mark.parametrize(
    ("schedule", "argument", "message"),
    [
        (named("multistep", milestones=["80ba", "20ba"]), "milestones", "out of order"),
        (named("multistep", milestones=["20ba", "20ba"]), "milestones", "out of order"),
        (named("multistep", milestones=["0.5dur", "2ep"]), "milestones", "past the end"),
        (named("piecewise", points=[["2ep", 1.0]], join="linear"), "points", "past the end"),
        (named("cosine_restarts", first="2ep"), "first", "longer than the training"),
        (named("cosine_restarts", first="0.5ba"), "first", "shorter than a step"),
        (named("cosine_restarts", cycles=101), "cycles", "do not fit into 100 steps"),
        (named("cosine_restarts", cycles=20, mult=2.0), "cycles", "shorter than a step"),
        (named("wsd", decay="101ba"), "decay", "longer than the training"),
        (named("triangular", half="101ba"), "half", "longer than the training"),
        (named("tanh", lower=1.0, upper=1.0), "lower", "not below"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_does_not_fit_is_named(schedule, argument, message):
    with pytest.raises(ScheduleError, match=message) as error:
        ours(schedule, 100)
    assert error.value.argument == argument


def test_as_many_cycles_as_steps_fit():
    assert set(ours(named("cosine_restarts", cycles=100), 100)) == {1.0}


@pytest.mark.parametrize(
    ("schedule", "argument"),
    [
        (named("cosine_restarts", first="1ep"), "first"),
        (named("triangular", half="1ep"), "half"),
        (named("wsd", decay="1ep"), "decay"),
        (named("multistep", milestones=["1ep"]), "milestones"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_as_long_as_the_budget_fits_though_steps_are_whole(schedule, argument):
    """An epoch of 100.4 batches is trained in 100 steps, and is no longer than itself; one of 100.6
    batches is longer."""
    assert len(ours(schedule, 100, samples=1004)) == 100
    with pytest.raises(ScheduleError) as error:
        ours(schedule, 100, samples=1006)
    assert error.value.argument == argument


def test_rounding_neither_begins_a_cycle_late_nor_one_past_the_end():
    """The start of the 22nd of 28 cycles in 36 steps is computed as 27.000000000000004, the end of
    the last of 11 cycles in 15 steps as 14.999999999999998."""
    assert ours(named("cosine_restarts", cycles=28), 36)[27] == 1.0
    ends = schedules.cosine_restarts(np.array([14.0, 15.0]), 15, 11, None, 1.0, 1.0, 0.0)
    assert ends[0] > 0.5 and ends[1] == pytest.approx(0.0, abs=1e-9)


def test_warmup_as_long_as_the_budget_is_refused():
    with pytest.raises(ScheduleError, match="200 steps, the whole budget has 200") as error:
        ours({"name": "constant"}, 200, warm("2ep"))
    assert error.value.argument == "warmup.for"


# Plateau


def plateau(**given):
    known = {
        "goal": "min",
        "factor": 0.5,
        "patience": 2,
        "threshold": 1e-4,
        "relative": True,
        "cooldown": 0,
        "least": 0.0,
        "rises": False,
        "most": 1.0,
        "ahead": 0,
    }
    return Plateau(**known | given)


def follow(state, values):
    scales = []
    for step, value in enumerate(values, 1):
        state.observe(step, value)
        scales.append(state.scale)
    return scales


metrics = st.lists(
    st.sampled_from([0.5, 0.7, 0.75, 0.9, 0.9001, 1.0, 1.5, math.nan, math.inf]), max_size=60
)


@given(
    metrics,
    st.sampled_from(["min", "max"]),
    st.integers(0, 4),
    st.integers(0, 3),
    st.booleans(),
    st.sampled_from([0.0, 1e-3, 0.2]),
    st.sampled_from([0.0, 0.1]),
)
@settings(max_examples=60)
def test_plateau_is_torch_s(values, goal, patience, cooldown, relative, threshold, least):
    if goal == "max":  # torch takes infinity for the best of all, for good.
        values = [value for value in values if not math.isinf(value)]
    optimizer = optimizer_of()
    theirs = lr_scheduler.ReduceLROnPlateau(
        optimizer,
        goal,
        factor=0.5,
        patience=patience,
        threshold=threshold,
        threshold_mode="rel" if relative else "abs",
        cooldown=cooldown,
        min_lr=least,
        eps=0,
    )
    expected = []
    for value in values:
        theirs.step(value)
        expected.append(optimizer.param_groups[0]["lr"])
    own = plateau(
        goal=goal,
        patience=patience,
        threshold=threshold,
        relative=relative,
        cooldown=cooldown,
        least=least,
    )
    assert follow(own, values) == pytest.approx(expected, abs=1e-12)


@given(st.lists(st.floats(-10, 10), max_size=60), st.booleans(), st.booleans())
@settings(max_examples=60)
def test_a_plateau_is_one_upside_down_too(values, relative, rises):
    """What torch's relative mode gets wrong for negative metrics."""
    given = {"relative": relative, "threshold": 0.1, "rises": rises, "most": 4.0, "patience": 1}
    up = follow(plateau(goal="max", **given), values)
    assert up == follow(plateau(goal="min", **given), [-value for value in values])


def test_a_negative_metric_improves_downwards():
    falling = [-1.0, -1.2, -1.5, -2.0, -3.0, -5.0]
    assert follow(plateau(patience=0, threshold=0.1), falling) == [1.0] * 6
    assert follow(plateau(patience=0, threshold=0.1, goal="max"), falling)[-1] == 0.5**5


def test_a_plateau_waits_for_the_warmup():
    assert follow(plateau(patience=0, ahead=3), [1.0, 2.0, 2.0, 2.0, 2.0]) == [1, 1, 1, 1, 0.5]


def test_patience_is_a_length_of_training():
    """In evaluations it is rounded, however unevenly they fall on steps."""
    for evaluate, patience, expected in (
        ("1ep", "5ep", 5),
        ("2ep", "5ep", 2),
        ("0.1dur", "0.3dur", 3),
    ):
        state = schedules.make_plateau(
            named("plateau", patience=patience, cooldown=patience),
            warm("0.1dur"),
            goal="min",
            evaluate=evaluate,
            budget=450,
            samples=1437,
            batch_size=32,
        )
        assert (state.patience, state.cooldown, state.ahead) == (expected, expected, 45)


# Your own


def test_a_function_of_progress():
    asked = []

    def decay(progress, power):
        asked.append(progress)
        return (1 - progress) ** power

    schedule = {"class_path": "own.decay", "init_args": {"power": 2}}
    size = {"budget": 50, "samples": 1000, "batch_size": 10}
    rates = schedules.multipliers(schedule, warm("10ba"), function=decay, **size)
    assert asked == [step / 40 for step in range(40)]
    np.testing.assert_allclose(rates[10:], ours(named("polynomial", power=2.0), 40), **EXACT)
    with pytest.raises(ScheduleError, match="imported"):
        schedules.multipliers(schedule, None, **size)
    for wrong in (-0.1, math.nan, math.inf):
        with pytest.raises(ScheduleError, match=r"own\.decay gives"):
            schedules.multipliers(schedule, None, function=lambda *_, w=wrong, **__: w, **size)


# The tables of docs/schedules.md


def table(title):
    """The rows of a table: a name, its arguments, the spec's line, and what stands behind it."""
    part = DOCS.split(f"## Coming from {title}")[1].split("\n## ")[0]
    found = []
    for line in part.splitlines():
        row = re.fullmatch(r"\| `(\w+)`(?: \((.*)\))? \| `(\{.*\})`(.*) \|", line)
        if row:
            found.append(pytest.param(*row.groups(), id=f"{row[1]}-{row[2]}"))
    return found


def arguments(text):
    """What stands in brackets: keyword arguments, and words."""
    parts = re.split(r", (?![^\[]*\])", re.sub(r"callback; ", "", text or ""))
    pairs = [part.split("=", 1) for part in parts if "=" in part]
    return {key: ast.literal_eval(value) for key, value in pairs}


def read_line(text):
    """The schedule and warmup of a spec's line, completed, and the length between evaluations."""
    train = yaml.safe_load(text)
    schedule = train["schedule"]
    schedule = {"name": schedule} if isinstance(schedule, str) else schedule
    sets = [
        f"{key}={yaml.safe_dump(part, default_flow_style=True)}" for key, part in schedule.items()
    ]
    if "warmup" in train:
        sets.append(f"warmup={yaml.safe_dump(train['warmup'], default_flow_style=True)}")
    sets = [each.removesuffix("\n").removesuffix("\n...") for each in sets]
    return *read_schedule(schedule["name"], sets), train.get("evaluate")


def follow_plateau(schedule, values, rate):
    goal = catalogue.METRICS[schedule["metric"]][0]
    size = {"budget": 100, "samples": 100, "batch_size": 1}
    state = schedules.make_plateau(schedule, None, goal=goal, evaluate="1ba", **size)
    return [rate * scale for scale in follow(state, values)]


LOSSES = [1 / (1 + step) for step in range(40)] + [0.5] * 14 + [0.02, 0.01] * 5 + [0.3] * 8


@pytest.mark.parametrize(("name", "given", "line", "behind"), table("Hugging Face"))
def test_hugging_face(name, given, line, behind):
    optimization = pytest.importorskip("transformers.optimization")
    rate = 0.1
    optimizer = optimizer_of(rate)
    options = arguments(given)
    schedule, warmup, _ = read_line(line)
    scheduler = optimization.get_scheduler(
        name,
        optimizer,
        num_warmup_steps=10,
        num_training_steps=100,
        scheduler_specific_kwargs=options,
    )
    expected = []
    if schedule["name"] == "plateau":
        for value in LOSSES:
            scheduler.step(value)
            expected.append(optimizer.param_groups[0]["lr"])
        assert follow_plateau(schedule, LOSSES, rate) == pytest.approx(expected, abs=1e-12)
        assert len(set(expected)) > 3
        return
    for _ in range(100):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    rates = rate * ours(schedule, 100, warmup)
    if behind:
        assert behind == ", one step behind"
        rates, expected = rates[1:], expected[:-1]
    np.testing.assert_allclose(rates, expected, **EXACT)


def test_every_name_of_hugging_face_is_there():
    utils = pytest.importorskip("transformers.trainer_utils")
    rows = {row.values[0] for row in table("Hugging Face")}
    known = {
        "linear", "cosine", "cosine_with_restarts", "polynomial", "constant",
        "constant_with_warmup", "inverse_sqrt", "reduce_lr_on_plateau", "cosine_with_min_lr",
        "cosine_warmup_with_min_lr", "warmup_stable_decay", "greedy",
    }  # fmt: skip
    assert rows == known and {each.value for each in utils.SchedulerType} <= known


def keras_cosine(step, decay_steps, alpha=0.0, warmup_steps=0, **_):
    if step < warmup_steps:
        return step / warmup_steps
    share = min(step - warmup_steps, decay_steps) / decay_steps
    return (1 - alpha) * 0.5 * (1 + math.cos(math.pi * share)) + alpha


def keras_restarts(step, first_decay_steps, t_mul, m_mul, alpha):
    done = step / first_decay_steps
    cycle = math.floor(math.log(1 - done * (1 - t_mul)) / math.log(t_mul) + 1e-12)
    share = (done - (1 - t_mul**cycle) / (1 - t_mul)) / t_mul**cycle
    return (1 - alpha) * 0.5 * m_mul**cycle * (1 + math.cos(math.pi * share)) + alpha


def keras_piecewise(step, boundaries, values):
    passed = sum(step > boundary for boundary in boundaries)
    return values[passed] / values[0]


def whole(share, staircase):
    return math.floor(share) if staircase else share


KERAS = {
    "ExponentialDecay": lambda step, decay_steps, decay_rate, staircase=False: (
        decay_rate ** whole(step / decay_steps, staircase)
    ),
    "PiecewiseConstantDecay": keras_piecewise,
    "PolynomialDecay": lambda step, end_learning_rate, power: (
        (1 - end_learning_rate / 0.1) * (1 - min(step, 100) / 100) ** power
        + end_learning_rate / 0.1
    ),
    "InverseTimeDecay": lambda step, decay_steps, decay_rate, staircase=False: (
        1 / (1 + decay_rate * whole(step / decay_steps, staircase))
    ),
    "CosineDecay": lambda step, **given: keras_cosine(step, **{"decay_steps": 100} | given),
    "CosineDecayRestarts": keras_restarts,
}
"""The formulas of Keras 3's keras/src/optimizers/schedules/learning_rate_schedule.py, over the base
rate."""


@pytest.mark.parametrize(("name", "given", "line", "behind"), table("Keras"))
def test_keras(name, given, line, behind):
    if "class_path" in line:
        assert name == "LearningRateScheduler"
        return
    schedule, warmup, _ = read_line(line)
    options = arguments(given)
    if name == "ReduceLROnPlateau":
        best, waited, rate, expected = math.inf, 0, 0.1, []
        for value in LOSSES:
            if value < best - options["min_delta"]:
                best, waited = value, 0
            else:
                waited += 1
                if waited >= options["patience"]:
                    rate, waited = 0.1 * rate, 0
            expected.append(rate)
        assert follow_plateau(schedule, LOSSES, 0.1) == pytest.approx(expected, rel=1e-12)
        return
    expected = [KERAS[name](step, **options) for step in range(100)]
    np.testing.assert_allclose(ours(schedule, 100, warmup), expected, **EXACT)


def test_every_class_of_keras_is_there():
    rows = {row.values[0] for row in table("Keras")}
    assert rows == set(KERAS) | {"LearningRateScheduler", "ReduceLROnPlateau"}
