"""Curves through noisy readings, held against the whole covariance of all of them."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lrsearch.analysis.curve import (
    GROWTHS,
    LEVEL,
    PLAIN_SHAPE,
    PRIOR,
    RATIOS,
    SCALE,
    SHAPE,
    Family,
    gather,
    matern,
    reduce,
    weigh,
)


@st.composite
def readings(draw):
    """The readings of a curve, one to three a place."""
    places = sorted(draw(st.sets(st.integers(-8, 8), min_size=2, max_size=5)))
    values = st.lists(st.floats(-1, 3), min_size=1, max_size=3)
    return [(place / 2, value) for place in places for value in draw(values)]


def covariance(rows, curves, entry, repeats):
    """The covariance of all readings of all curves, in units of the curves' variance."""
    which = np.repeat(np.arange(len(rows)), [len(each) for each in rows])
    places = np.array([place for each in rows for place, _ in each])
    same = which[:, None] == which[None, :]
    smooth = (matern(places, places, entry.length) + entry.apart) * same + LEVEL
    sureness = np.concatenate(
        [np.repeat(each.sureness, each.counts.astype(int)) for each in curves]
    )
    noise = entry.ratio / sureness if entry.length < math.inf else np.full(len(places), repeats)
    return smooth + np.diag(noise)


@given(readings(), st.floats(0, 9), st.sampled_from([0.25, 1.0, math.inf]))
def test_the_sums_of_a_curve_are_those_of_its_whole_covariance(rows, variance, length):
    curve = gather(rows)
    smooth = matern(curve.places, curve.places, length)
    found = reduce(smooth, curve.counts, curve.means, RATIOS).lift(variance)
    for row, ratio in enumerate(RATIOS):
        whole = smooth + variance + np.diag(ratio / curve.counts)
        inverse, ones = np.linalg.inv(whole), np.ones(len(curve.means))
        expected = [ones @ inverse @ ones, ones @ inverse @ curve.means]
        expected += [curve.means @ inverse @ curve.means, np.linalg.slogdet(whole)[1]]
        assert [own[row] for own in found] == pytest.approx(expected, rel=1e-6, abs=1e-6)


@settings(max_examples=12)
@given(st.lists(readings(), min_size=1, max_size=3), st.sampled_from(GROWTHS))
def test_curves_share_a_mean_and_nothing_else_but_their_hyperparameters(rows, growth):
    """Each entry weighs what the density of all readings says, and gives the curve that they say;
    noise may grow with the distance from the best, but where there is nothing else."""
    repeats = 1.5
    curves = tuple(replace(gather(each), growth=growth) for each in rows)
    family, grid = Family(curves, repeats), np.linspace(-4, 4, 5)
    values = np.array([value for each in rows for _, value in each])
    assert math.fsum(entry.weight for entry in family.weights) == pytest.approx(1, abs=0.25)
    weighed = {True: [], False: []}
    entries = [each for each in family.weights if each.length < math.inf][:6]
    for entry in entries + [each for each in family.weights if each.length == math.inf]:
        whole, plain = covariance(rows, curves, entry, repeats), entry.length == math.inf
        fit = values @ np.linalg.solve(whole, values)
        shape, scale = SHAPE, SCALE
        if plain:
            shape, scale = PLAIN_SHAPE, (PLAIN_SHAPE - 1 / 3) * family.plain
        assert entry.scale == pytest.approx(scale + fit / 2, rel=1e-6)
        assert entry.shape == shape + len(values) / 2
        prior = PRIOR[entry.length][0 if plain else RATIOS.index(entry.ratio)]
        found = math.log(prior / entry.weight) - np.linalg.slogdet(whole)[1] / 2
        found += shape * math.log(scale) - math.lgamma(shape)
        found += math.lgamma(entry.shape) - entry.shape * math.log(entry.scale)
        # Of one curve nothing else is asked that would part a plain from others.
        weighed[plain and len(rows) > 1].append(found)
        # The first curve, given the readings of all.
        first = len(rows[0])
        places = np.array([place for place, _ in rows[0]])
        across = np.full((len(values), len(grid)), LEVEL)
        across[:first] += matern(places, grid, entry.length) + entry.apart
        left = matern(grid, grid, entry.length) + LEVEL + entry.apart
        left -= across.T @ np.linalg.solve(whole, across)
        middle, spread = family._posterior(0, grid, entry)
        assert middle == pytest.approx(across.T @ np.linalg.solve(whole, values), abs=1e-5)
        assert spread @ spread.T == pytest.approx(left, abs=1e-5)
    for own in weighed.values():
        assert own == pytest.approx(own[:1] * len(own), abs=1e-5)


@pytest.mark.parametrize("growth", [0.0, 1.0])
def test_seeds_say_whether_noise_grows_with_the_distance_from_the_best(growth):
    generator, places = np.random.default_rng(0), np.linspace(-4, 0, 9)
    found = []
    for _ in range(20):
        means = 0.5 * (places + 2) ** 2
        noise = 0.1 / np.cosh(means) ** growth * generator.normal(size=(4, 9))
        rows = [(x, y) for own in means + noise for x, y in zip(places, own, strict=True)]
        (curve,) = weigh([gather(rows)])
        found.append(curve.growth)
        assert Family((curve,), 4).noise == pytest.approx(0.1, rel=0.5)
    assert np.mean(found) == pytest.approx(growth, abs=0.2)
    assert weigh([gather(rows[:9])])[0].growth == 0
