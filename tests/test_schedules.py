"""lrsearch.schedules against torch.optim.lr_scheduler, over whole budgets."""

import math
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.optim import lr_scheduler

from lrsearch import catalogue, duration, schedules

ratios = st.floats(0.0, 2.0)
totals = st.integers(1, 120)


def torch_rates(build, steps):
    """What torch's scheduler sets for each of the first `steps` updates, from a base rate of 1."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scheduler = build(optimizer)
        rates = []
        for step in range(steps):
            rates.append(optimizer.param_groups[0]["lr"])
            if step + 1 < steps:
                optimizer.step()
                scheduler.step()
    return np.array(rates)


def ours(schedule, budget, warmup=None, samples=1000, batch_size=10):
    return schedules.multipliers(
        schedule, warmup, budget=budget, samples=samples, batch_size=batch_size
    )


@given(totals, ratios)
@settings(max_examples=30, deadline=None)
def test_linear(total, final):
    expected = (
        torch_rates(lambda o: lr_scheduler.LinearLR(o, 1.0, final, total), total)
        if final <= 1
        else 1 + (final - 1) * np.arange(total) / total
    )
    np.testing.assert_allclose(
        ours({"name": "linear", "final": final}, total), expected, rtol=1e-9, atol=1e-12
    )


@given(totals, ratios)
@settings(max_examples=30, deadline=None)
def test_cosine(total, final):
    expected = torch_rates(lambda o: lr_scheduler.CosineAnnealingLR(o, total, eta_min=final), total)
    np.testing.assert_allclose(
        ours({"name": "cosine", "final": final}, total), expected, rtol=1e-7, atol=1e-9
    )


@given(totals, st.integers(1, 40), st.floats(0.05, 1.0))
@settings(max_examples=30, deadline=None)
def test_step(total, every, gamma):
    expected = torch_rates(lambda o: lr_scheduler.StepLR(o, every, gamma), total)
    schedule = {"name": "step", "every": f"{every}ba", "gamma": gamma}
    np.testing.assert_allclose(ours(schedule, total), expected, rtol=1e-9)


@given(totals, st.floats(0.5, 1.0))
@settings(max_examples=30, deadline=None)
def test_exponential(total, gamma):
    expected = torch_rates(lambda o: lr_scheduler.ExponentialLR(o, gamma), total)
    schedule = {"name": "exponential", "every": "1ba", "gamma": gamma}
    np.testing.assert_allclose(ours(schedule, total), expected, rtol=1e-9)


@given(
    st.integers(4, 120),
    st.floats(0.0, 0.95),
    st.floats(1.0, 100.0),
    st.floats(1.0, 1e4),
    st.sampled_from(["cos", "linear"]),
    st.booleans(),
)
@settings(max_examples=80, deadline=None)
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
    schedule = {
        "name": "one_cycle",
        "pct_start": pct_start,
        "div": div,
        "final_div": final_div,
        "anneal": anneal,
        "three_phase": three_phase,
    }
    np.testing.assert_allclose(ours(schedule, total), expected, rtol=1e-6, atol=1e-9)


@given(st.integers(2, 120), st.floats(0.01, 1.0), st.floats(0.0, 0.99), ratios)
@settings(max_examples=30, deadline=None)
def test_warmup_then_cosine(budget, start, share, final):
    ahead = round(share * budget)
    if ahead >= budget:
        return
    warmup = {"for": f"{share:.17f}dur", "shape": "linear", "start": start}
    rates = ours({"name": "cosine", "final": final}, budget, warmup)
    rise = torch_rates(lambda o: lr_scheduler.LinearLR(o, start, 1.0, max(ahead, 1)), ahead)
    fall = torch_rates(
        lambda o: lr_scheduler.CosineAnnealingLR(o, budget - ahead, eta_min=final), budget - ahead
    )
    np.testing.assert_allclose(rates, np.concatenate([rise, fall]), rtol=1e-7, atol=1e-9)


def test_warmup_in_each_unit():
    # 1000 samples in batches of 10: an epoch is 100 steps.
    for text, steps in (("0.5ep", 50), ("50ba", 50), ("500sp", 50), ("0.25dur", 50)):
        warmup = {"for": text, "shape": "linear", "start": 0.0}
        assert duration.warmup_steps(warmup, budget=200, samples=1000, batch_size=10) == steps
        rates = ours({"name": "constant"}, 200, warmup)
        assert rates[0] == 0.0 and rates[49] < 1.0 and (rates[50:] == 1.0).all()


def test_warmup_as_long_as_the_budget_is_refused():
    with pytest.raises(ValueError, match="200 steps, the whole budget has 200"):
        duration.warmup_steps({"for": "2ep"}, budget=200, samples=1000, batch_size=10)


def test_every_in_epochs_and_in_the_budget():
    by_epoch = ours({"name": "step", "every": "1ep", "gamma": 0.1}, 300)
    by_share = ours({"name": "step", "every": "0.1dur", "gamma": 0.5}, 300)
    assert [by_epoch[0], by_epoch[99]] == [1.0, 1.0]
    assert math.isclose(by_epoch[100], 0.1) and math.isclose(by_epoch[299], 0.01)
    drops = np.flatnonzero(np.diff(by_share)) + 1
    assert drops.tolist() == list(range(30, 300, 30))


@pytest.mark.parametrize("name", sorted(schedules.FUNCTIONS))
def test_peak_is_the_base_rate_with_defaults(name):
    defaults = {key: each.default for key, each in catalogue.SCHEDULES[name].parameters.items()}
    rates = ours({"name": name, **defaults}, 200)
    assert len(rates) == 200 and math.isclose(rates.max(), 1.0, rel_tol=1e-3)


def test_table_has_a_column_per_lane():
    lanes = [ours({"name": "constant"}, 5), ours({"name": "linear", "final": 0.0}, 5)]
    table = schedules.table(lanes)
    assert table.shape == (5, 2)
    assert table[:, 1].tolist() == pytest.approx([1.0, 0.8, 0.6, 0.4, 0.2])
