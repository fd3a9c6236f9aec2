"""Curves through noisy readings, held against the whole covariance of all of them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lrsearch.analysis.curve import (
    LEVEL,
    RATIOS,
    SCALE,
    SHAPE,
    Family,
    Readings,
    matern,
    reduce,
)


@st.composite
def readings(draw):
    places = sorted(draw(st.sets(st.integers(-8, 8), min_size=2, max_size=5)))
    count = len(places)
    means = draw(st.lists(st.floats(-1, 3), min_size=count, max_size=count))
    counts = draw(st.lists(st.integers(1, 3), min_size=count, max_size=count))
    scatter = 0.1 if max(counts) > 1 else 0.0
    return Readings(np.array(places) / 2, np.array(means), np.array(counts) * 1.0, scatter)


def covariance(curves, length, apart, ratio):
    """The covariance of the readings of all curves, in units of the curves' variance."""
    which = np.repeat(np.arange(len(curves)), [len(each.places) for each in curves])
    places = np.concatenate([each.places for each in curves])
    counts = np.concatenate([each.counts for each in curves])
    same = which[:, None] == which[None, :]
    smooth = (matern(places, places, length) + apart) * same + LEVEL
    return smooth + np.diag(ratio / counts)


@given(readings(), st.floats(0, 9), st.sampled_from([0.25, 1.0, math.inf]))
def test_the_sums_of_a_curve_are_those_of_its_whole_covariance(curve, variance, length):
    smooth = matern(curve.places, curve.places, length)
    found = reduce(smooth, curve.counts, curve.means, RATIOS).lift(variance)
    for row, ratio in enumerate(RATIOS):
        whole = smooth + variance + np.diag(ratio / curve.counts)
        inverse, ones = np.linalg.inv(whole), np.ones(len(curve.means))
        expected = [ones @ inverse @ ones, ones @ inverse @ curve.means]
        expected += [curve.means @ inverse @ curve.means, np.linalg.slogdet(whole)[1]]
        assert [own[row] for own in found] == pytest.approx(expected, rel=1e-6, abs=1e-6)


@settings(max_examples=12)
@given(st.lists(readings(), min_size=1, max_size=3))
def test_curves_share_a_mean_and_nothing_else_but_their_hyperparameters(curves):
    family, grid = Family(tuple(curves)), np.linspace(-4, 4, 5)
    means = np.concatenate([each.means for each in curves])
    sizes = [len(each.places) for each in curves]
    first, last = np.cumsum([0, *sizes])[:2]
    assert math.fsum(entry.weight for entry in family.weights) == pytest.approx(1, abs=0.25)
    weighed = []
    for entry in [each for each in family.weights if each.length < math.inf][:6]:
        whole = covariance(curves, entry.length, entry.apart, entry.ratio)
        scatter = sum(each.scatter for each in curves) / entry.ratio
        fit = means @ np.linalg.solve(whole, means) + scatter
        assert entry.scale == pytest.approx(SCALE + fit / 2, rel=1e-6)
        assert entry.shape == SHAPE + sum(each.counts.sum() for each in curves) / 2
        surplus = sum(each.counts.sum() - len(each.places) for each in curves)
        volume = np.linalg.slogdet(whole)[1] + surplus * math.log(entry.ratio)
        prior = -0.5 * (math.log(entry.ratio / 0.02) / 1.5) ** 2
        prior -= 0.5 * (math.log(entry.length) / 0.7) ** 2
        weighed.append(prior - volume / 2 - entry.shape * math.log(entry.scale))
        weighed[-1] -= math.log(entry.weight)
        # The first curve, given the readings of all.
        across = np.full((len(means), len(grid)), LEVEL)
        across[first:last] += matern(curves[0].places, grid, entry.length) + entry.apart
        left = matern(grid, grid, entry.length) + LEVEL + entry.apart
        left -= across.T @ np.linalg.solve(whole, across)
        middle, spread = family._posterior(0, grid, entry)
        assert middle == pytest.approx(across.T @ np.linalg.solve(whole, means), abs=1e-5)
        assert spread @ spread.T == pytest.approx(left, abs=1e-5)
    assert weighed == pytest.approx(weighed[:1] * len(weighed), abs=1e-5)
