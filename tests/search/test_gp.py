"""The Gaussian process of `bayes`: its features, its values, and what it makes of them."""

import math
import random
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from statistics import fmean

import numpy as np
import pytest
from devices import DEVICE
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from lrsearch.cli import app
from lrsearch.search import Request, make_strategy
from lrsearch.search.features import Features
from lrsearch.search.gp import JUMP, MOST, NEAREST, GaussianProcess
from lrsearch.search.process import (
    FANTASIES,
    WORST,
    Process,
    _Posterior,
    covariance,
    fit,
    foresee,
    learn,
    measured_noise,
    spread_out,
    standardize,
    unit_of,
)
from lrsearch.search.start import Start
from lrsearch.search.strategy import point_key
from lrsearch.space import build, draw, encode, every_point, parameters
from lrsearch.spec.document import parse
from lrsearch.spec.validate import validate
from lrsearch.store import read
from lrsearch.trial import Objective, Outcome

LOSS = Objective("loss", "min")


def spec_of(search, seed=0, train="lr: 0.1", **bayes):
    more = "".join(f", {key}: {value}" for key, value in bayes.items())
    text = (
        f"name: s\ndata: digits\nmodel: mlp\ntrain: {{budget: 2ep, {train}}}\n"
        f"search: {{{search}}}\nseed: {seed}\nbayes: {{trials: 99, model: gp{more}}}\n"
    )
    return validate(parse(text, "s.yaml"), Path("/specs"), text)


def search(spec, measure, trials, objective=LOSS):
    """The points and values of a search over a function, low being good."""
    strategy = make_strategy("bayes", spec, objective)
    points, known = [], set()
    while len(points) < trials:
        index, room = len(points), trials - len(points)
        asked = Request(
            index, room, lambda p: point_key(p) in known, lambda p: point_key(p) in known
        )
        found = strategy.propose(asked)
        if not found:
            break
        points += found
        for point in found:
            known.add(point_key(point))
            value = measure(point)
            diverged = value is None
            outcome = Outcome.DIVERGED if diverged else Outcome.COMPLETED
            strategy.tell(point, outcome, value)
    return points


CONDITIONAL = (
    "lr: {min: 1e-4, max: 1.0}, batch_size: [16, 64, 256], "
    "optimizer: [{name: sgd, momentum: {min: 0.0, max: 0.99}}, adam], schedule: [constant, "
    "{name: step, gamma: {min: 0.05, max: 0.9}, every: {min: 0.1dur, max: 0.5dur}}, cosine]"
)

# features


@given(st.integers(0, 2**32 - 1))
def test_shares_become_the_points_that_the_space_draws(seed):
    spec = spec_of(CONDITIONAL + ", warmup.for: {min: 1ba, max: 9ba}, clip_norm: {min: 1, max: 1}")
    features = Features(spec.space)
    names = [name for name, _ in parameters(spec.space)]
    shares = np.random.default_rng(seed).random((8, len(names)))
    raw = features.raw(shares)
    assert features.raw(features.shares(raw)) == pytest.approx(raw)
    for row, numbers in zip(shares, raw, strict=True):
        told = dict(zip(names, map(float, numbers), strict=True))
        point = build(spec.space, lambda name, _, told=told: told[name])
        assert encode(spec.space, point) is not None
        drawn = encode(spec.space, draw(spec.space, dict(zip(names, map(float, row), strict=True))))
        again = encode(spec.space, point)
        assert again == pytest.approx(drawn, rel=1e-9)
        assert features.numbers(again)[0] == pytest.approx(numbers[0], rel=1e-9)


def test_a_point_of_choices_alone_keeps_its_shares():
    spec = spec_of("batch_size: [16, 64, 256, 1024], schedule: [constant, cosine, wsd]")
    features = Features(spec.space)
    rows = [features.numbers(encode(spec.space, each)) for each in every_point(spec.space)]
    shares = features.shares(np.asarray(rows))
    assert sorted(set(shares[:, 0])) == pytest.approx([0.125, 0.375, 0.625, 0.875])
    assert (features.raw(shares) == rows).all()


def test_what_does_not_live_at_a_point_makes_no_difference_to_it():
    spec = spec_of(CONDITIONAL)
    features = Features(spec.space)
    names = [name for name, _ in parameters(spec.space)]
    shares = np.full((2, len(names)), 0.3)
    shares[:, names.index("schedule")] = 0.1  # constant, which has no numbers
    shares[:, names.index("optimizer")] = 0.9  # adam, which has no momentum
    inactive = [names.index(each) for each in names if "[" in each]
    shares[1, inactive] = 0.95
    one, two = features.matrix(features.raw(shares))
    assert one == pytest.approx(two)
    shares[:, names.index("schedule")] = 0.5  # step, whose numbers now count
    one, two = features.matrix(features.raw(shares))
    assert np.count_nonzero(np.abs(one - two) > 1e-9) == 2


def test_a_rate_is_known_by_the_steps_it_makes_with_its_momentum():
    spec = spec_of("lr: {min: 1e-4, max: 1.0}, optimizer.momentum: {min: 0.0, max: 0.99}")
    features = Features(spec.space)
    rows = features.matrix(np.asarray([[0.1, 0.0], [0.01, 0.9], [0.01, 0.0]]))
    assert rows[0, 0] == pytest.approx(rows[1, 0]) and rows[1, 0] - rows[2, 0] == pytest.approx(1.0)
    assert features.lengths.tolist() == [1.0, 1.0]
    apart = Features(
        spec_of(
            "optimizer: [{name: sgd, lr: {min: 1e-4, max: 1.0}, momentum: "
            "{min: 0.0, max: 0.99}}, {name: adam, lr: {min: 1e-4, max: 1.0}}]"
        ).space
    )
    assert len(apart._coupled) == 1, "adam's rate knows nothing of the momentum of sgd"


def test_a_narrow_range_of_rates_is_not_flat():
    wide, narrow = (
        Features(spec_of(f"lr: {{min: {low}, max: 1e-1}}").space) for low in ("1e-5", "5e-2")
    )
    for features, ends, span in ((wide, (1e-5, 0.1), 4.0), (narrow, (0.05, 0.1), 2.0)):
        rows = features.matrix(np.asarray(ends)[:, None])
        assert rows[1, 0] - rows[0, 0] == pytest.approx(span)


# values

VALUES_SEEN = st.one_of(st.integers(-8, 8).map(float), st.sampled_from([1e307, -1e307]))


@given(
    st.lists(st.floats(-5, 5), min_size=3, max_size=12, unique=True),
    st.floats(0.01, 100),
    st.floats(-100, 100),
)
def test_scale_and_offset_of_an_objective_change_nothing(values, scale, offset):
    told = np.asarray(values)
    if unit_of(told) < 1e-3:
        return
    plain = standardize(told)
    assert plain.min() == 0 and standardize(told * scale + offset) == pytest.approx(plain, abs=1e-6)
    assert (np.diff(plain[np.argsort(told)]) >= 0).all()


def test_no_value_is_worse_than_all_and_pruned_as_bad_as_the_worst():
    found = standardize(np.asarray([1.0, 2.0, 3.0, np.inf, np.nan, 1001.0]))
    assert found[:2].tolist() == [0.0, pytest.approx(2 / 3)]
    assert found[4] == found[5] < found[3] < found[5] + 1
    assert standardize(np.asarray([np.inf, np.nan])).tolist() == [1.0, 1.0]
    assert standardize(np.asarray([4.0, 4.0])).tolist() == [0.0, 0.0]


def test_a_stopped_training_is_foreseen_by_the_one_that_stood_nearest():
    nan = math.nan
    way = [((0.1, 2.0), (0.33, 1.4)), ((0.12, 3.0), (0.35, 2.6)), ((0.12, 2.25),), ((0.34, 2.7),)]
    found = foresee(np.asarray([1.0, 2.0, nan, nan]), way)
    assert found == pytest.approx([1.0, 2.0, 1.25, 2.1])
    late = foresee(np.asarray([1.0, 2.0, nan]), [*way[:2], ((0.1, 1.5),)])
    assert late[2] == 1.0, "no better than the best: it was stopped since others led"
    unseen = [((0.9, 2.0),), (), ((0.11, nan),)]
    assert np.isnan(foresee(np.asarray([1.0, nan, nan, nan]), [((0.1, 1.0),), *unseen])[1:]).all()
    assert np.isnan(foresee(np.asarray([np.inf, nan]), way[:2])[1]), "nothing has come to its end"


@given(st.lists(st.tuples(VALUES_SEEN, VALUES_SEEN, st.booleans()), min_size=1, max_size=9))
def test_what_is_foreseen_is_finite_and_moves_with_the_objective(told):
    values = np.asarray([math.nan if stopped else end for _, end, stopped in told])
    way = [((0.1, worth),) for worth, _, _ in told]
    found = foresee(values, way)
    known = np.isfinite(values)
    assert (found[known] == values[known]).all()
    assert np.isfinite(found).all() == known.any()
    if known.any():
        assert found.min() == values[known].min()
        turned = foresee(4.0 * values, [((share, 4.0 * worth),) for ((share, worth),) in way])
        assert turned == pytest.approx(4.0 * found)


def test_one_huge_value_and_rounding_teach_no_more_than_a_bad_one():
    plain = standardize(np.asarray([1.0, 2.0, 3.0, 1e30, -np.inf]))
    assert plain[:3].tolist() == [0.0, pytest.approx(2 / 3), pytest.approx(4 / 3)]
    assert plain[3] == WORST < plain[4]
    assert np.isfinite(standardize(np.asarray([-1e308, 0.0, 1e308, 1.7e308]))).all()
    rounded = standardize(np.asarray([0.1, 0.1 + 1e-17, 0.1, 0.1 + 3e-17, 0.9]))
    assert rounded == pytest.approx([0, 0, 0, 0, 1]), "the unit is no rounding of a plateau"


def test_a_seed_that_is_better_at_every_point_is_no_noise():
    generator = np.random.default_rng(0)
    points, seeds = np.linspace(0, 5, 40)[:, None], np.asarray([0.0, 3.0, -2.0])[None]
    noise = 0.1 * generator.standard_normal((40, 3))

    def told(rows):
        return measured_noise([tuple(row) for row in rows])

    assert told(points + seeds) == pytest.approx(0.0, abs=1e-12)
    assert told(points + seeds + noise) == pytest.approx(0.01 / 3, rel=0.5)
    assert told(points[:, :1]) is None and told((points + seeds)[:2]) is None


def modelled(features, values, noise=None):
    columns = np.arange(features.shape[1])
    lengths, level = learn(features, values, np.ones(len(columns)), columns, noise)
    return fit(features, values, lengths, level)


def test_the_model_passes_through_values_without_noise_and_doubts_what_is_far():
    features = np.linspace(0, 4, 9)[:, None]
    model = modelled(features, np.square(features[:, 0] - 2), noise=1e-8)
    mean, deviation = model.predict(np.asarray([[0.5], [2.0], [40.0]]))
    assert mean[0, :2] == pytest.approx([2.25, 0.0], abs=0.05)
    assert deviation[2] > 10 * deviation[0]
    gain = model.improvement(np.asarray([[2.0], [40.0]]))
    assert gain[0] < 0.01 < gain[1], "nothing is to be gained where it was measured"


def test_a_noisy_function_is_known_to_be_noisy_and_a_flat_number_to_be_flat():
    generator = np.random.default_rng(0)
    features = generator.uniform(0, 3, (60, 2))
    smooth = np.sin(2 * features[:, 0])
    columns = np.arange(2)
    lengths, quiet = learn(features, smooth, np.ones(2), columns)
    noisy = learn(features, smooth + 0.5 * generator.standard_normal(60), np.ones(2), columns)[1]
    assert lengths[1] > 2 * lengths[0] and quiet < 1e-3 and noisy > 0.02


@given(st.integers(0, 2**32 - 1), st.integers(2, 12), st.integers(1, 4))
def test_the_climb_goes_by_the_density_s_own_slope(seed, points, columns):
    generator = np.random.default_rng(seed)
    groups = np.asarray([*range(columns), columns - 1])
    features = generator.random((points, columns + 1))
    posterior = _Posterior(
        features, generator.standard_normal(points), np.ones(columns), groups, None
    )
    place = generator.uniform(-1, 1, columns + 1)
    gradient = posterior.descend(place)[1]
    for number in range(columns + 1):
        step = np.zeros(columns + 1)
        step[number] = 1e-5
        slope = (posterior.descend(place + step)[0] - posterior.descend(place - step)[0]) / 2e-5
        assert gradient[number] == pytest.approx(slope, rel=1e-3, abs=1e-4)


def test_a_point_that_waits_is_as_if_it_had_been_measured_at_each_of_its_draws():
    generator = np.random.default_rng(3)
    features, values = generator.random((9, 2)), generator.standard_normal(9)
    model = modelled(features, values)
    points = generator.random((2, 2))
    waiting = model.await_value(points[:1], generator).await_value(points[1:], generator)
    assert isinstance(waiting, Process) and waiting.values.shape == (FANTASIES, 11)
    assert (waiting.values[:, :9] == values).all() and len(set(waiting.values[:, 9])) == FANTASIES
    inverse = waiting.triangle.T @ waiting.triangle
    whole = covariance(waiting.features, waiting.features, model.lengths)
    whole[np.diag_indices(11)] = 1.0 + model.noise
    assert inverse @ whole == pytest.approx(np.eye(11), abs=1e-6)
    mean, deviation = model.predict(points[:1])
    drawn = waiting.values[:, 9]
    assert abs(drawn.mean() - mean[0, 0]) < 0.2 * deviation[0]
    assert drawn.std() == pytest.approx(deviation[0], rel=0.3)
    after = waiting.predict(points)[1]
    assert (after < 0.1 * model.predict(points)[1]).all(), "what waits is as good as known"


def test_the_covariance_is_matern_s():
    left, right = np.asarray([[0.0, 0.0]]), np.asarray([[3.0, 8.0]])
    distance = math.sqrt(5) * 5  # by lengths 1 and 2: (3, 4)
    expected = (1 + distance + distance**2 / 3) * math.exp(-distance)
    found = covariance(left, right, np.asarray([1.0, 2.0]))
    assert found[0, 0] == pytest.approx(expected)


@given(st.integers(0, 2**32 - 1), st.integers(1, 40))
def test_the_covariance_of_mixed_points_is_one(seed, count):
    """Positive semi-definite, whatever the lengths, points twice and options' numbers included."""
    generator = np.random.default_rng(seed)
    features = Features(spec_of(CONDITIONAL).space)
    raw = features.raw(generator.random((count, len(features.names))))
    rows = features.matrix(np.vstack([raw, raw[: count // 2]]))
    lengths = np.exp(2 * generator.standard_normal(rows.shape[1]))
    found = covariance(rows, rows, lengths)
    assert np.isfinite(found).all() and found.max() <= 1 + 1e-9
    assert np.linalg.eigvalsh((found + found.T) / 2).min() > -1e-7 * len(rows)
    model = fit(rows, generator.standard_normal(len(rows)), lengths, 1e-6)
    assert all(np.isfinite(each).all() for each in model.predict(rows))


def test_of_many_points_the_best_are_told_and_others_from_all_over():
    generator = np.random.default_rng(0)
    features = generator.random((MOST + 100, 2))
    values = np.square(features - 0.1).sum(1)
    kept = spread_out(features, values, MOST)
    assert len(set(kept)) == MOST and kept == sorted(kept)
    best = set(np.argsort(values)[: MOST // 2])
    assert best < set(kept)
    corner = features[sorted(set(kept) - best)].max(0)
    assert (corner > 0.95).all() and spread_out(features, values, 999) == [*range(MOST + 100)]


# searches


def bowl(point):
    x, y = math.log10(point["lr"]) + 1.5, math.log10(point["optimizer.weight_decay"]) + 4.0
    return x * x + y * y


def begun(spec, shares, taken=lambda point: False):
    """A strategy that was told a bowl at these shares of its space, and what it begins with."""
    strategy = make_strategy("bayes", spec, LOSS)
    for raw, each in zip(strategy._features.raw(np.asarray(shares)), shares, strict=True):
        value = sum((share - 0.4) ** 2 for share in each)
        strategy.tell(strategy._point(raw)[0], Outcome.COMPLETED, value)
    return strategy, strategy._begin(Request(len(shares), 9, taken, taken))


def test_what_is_proposed_gains_more_than_any_of_many_draws():
    """The candidates around the best ones are better than those from all over."""
    space = (
        "lr: {min: 1e-5, max: 1.0}, batch_size: {min: 8, max: 512}, "
        "label_smoothing: {min: 0.0, max: 0.5}"
    )
    generator = np.random.default_rng(0)
    strategy, known = begun(spec_of(space), generator.random((12, 3)))
    _, numbers = strategy._choose(known, generator)
    raw = strategy._features.raw(generator.random((2048, 3)))
    gain = known.model.improvement(strategy._features.matrix(np.vstack([raw, [numbers]])))
    assert gain[-1] > gain[:-1].max()


def test_candidates_around_a_point_lie_as_far_as_they_are_told_to():
    strategy, _ = begun(
        spec_of("lr: {min: 1e-4, max: 1.0}, schedule: [constant, cosine, wsd]"),
        [[0.5, 0.5], [0.1, 0.1]],
    )
    center = strategy._features.raw(np.asarray([[0.5, 0.5]]))
    found = strategy._around(center, (0.1, 0.02), 4000, np.random.default_rng(0))
    rates = strategy._features.shares(found)[:, 0]
    assert len(found) == 8000 and rates.mean() == pytest.approx(0.5, abs=0.01)
    for deviation, part in zip((0.1, 0.02), (rates[:4000], rates[4000:]), strict=True):
        assert part.std() == pytest.approx(deviation, rel=0.05)
    # Of those that jump to any option a third jumps to its own.
    other = found[4000:, 1] != center[0, 1]
    assert other.mean() == pytest.approx(JUMP * 2 / 3, abs=0.02)
    wide = strategy._around(center, (5.0,), 100, np.random.default_rng(0))
    assert {0.0, 1.0} <= {*strategy._features.shares(wide)[:, 0].round(9)}


def test_a_candidate_beside_a_known_point_is_the_last_resort():
    """After one that is neither known nor beside one; before one that is known."""
    taken = set()
    space = spec_of("lr: {min: 1e-4, max: 1.0}")
    strategy, known = begun(space, [[0.2], [0.5]], lambda point: point_key(point) in taken)

    def first(*shares):
        raw = strategy._features.raw(np.asarray(shares)[:, None])
        _, numbers = strategy._first(raw, known)
        return float(strategy._features.shares(np.asarray([numbers]))[0, 0])

    near = 0.5 + NEAREST / 2
    assert first(0.5, near, 0.9, 0.7) == pytest.approx(0.9)
    assert first(0.5, near, 0.2 + NEAREST / 3) == pytest.approx(near)
    assert strategy._first(known.raw, known)[1] == [*known.raw[0]]
    taken.add(point_key(strategy._point(strategy._features.raw(np.asarray([[0.9]]))[0])[0]))
    assert first(near, 0.9, 0.7) == pytest.approx(0.7)
    assert first(0.9, near) == pytest.approx(near)


def test_it_finds_a_valley_closer_than_tpe():
    ranges = "lr: {min: 1e-4, max: 1.0}, optimizer.weight_decay: {min: 1e-6, max: 1e-1}"
    best = {
        model: fmean(
            min(map(bowl, search(replace(spec, bayes=replace(spec.bayes, model=model)), bowl, 24)))
            for spec in (spec_of(ranges, seed) for seed in range(4))
        )
        for model in ("gp", "tpe")
    }
    assert best["gp"] < 0.3 * best["tpe"] and best["gp"] < 0.02


def test_it_finds_the_numbers_of_an_option():
    def value(point):
        gamma = point["schedule"].get("gamma")
        worse = 1.0 if gamma is None else abs(gamma - 0.3)
        adam = point["optimizer"]["name"] == "adam"
        return worse + abs(math.log10(point["lr"]) + 1) + adam

    found = [min(map(value, search(spec_of(CONDITIONAL, seed), value, 32))) for seed in range(3)]
    assert fmean(found) < 0.25, "without the option's number it is 1 at least"


def test_it_leaves_a_region_that_diverges_and_goes_on_when_all_did():
    def value(point):
        rate = point["lr"]
        return None if rate > 0.02 else abs(math.log10(rate) + 2.5)

    points = search(spec_of("lr: {min: 1e-4, max: 1.0}", startup=6), value, 24)
    assert sum(point["lr"] > 0.02 for point in points[12:]) <= 3
    lost = search(spec_of("lr: {min: 1e-4, max: 1.0}", startup=6), lambda _: None, 12)
    rates = sorted(math.log10(point["lr"]) for point in lost)
    assert max(b - a for a, b in pairwise(rates)) < 1.5, "it looks elsewhere"


def test_a_pruned_point_is_avoided_less_than_one_that_diverged():
    spec = spec_of("lr: {min: 1e-4, max: 1.0}")
    told = {}
    for outcome in (Outcome.PRUNED, Outcome.DIVERGED):
        strategy = make_strategy("bayes", spec, LOSS)
        for step in range(8):
            strategy.tell({"lr": 1e-4 * 2**step}, Outcome.COMPLETED, 1.0 - step / 10)
        strategy.tell({"lr": 0.5}, outcome, None)
        told[outcome] = standardize(np.asarray([each.value for each in strategy._told.values()]))
    assert told[Outcome.PRUNED][-1] == told[Outcome.PRUNED][:-1].max()
    assert told[Outcome.DIVERGED][-1] > told[Outcome.DIVERGED][:-1].max()


def test_a_generation_that_the_start_begins_ends_with_it_and_has_no_point_twice():
    spec = spec_of("lr: {min: 1e-4, max: 1.0}, batch_size: [16, 32]", startup=6, generation=4)
    strategy = make_strategy("bayes", spec, LOSS)
    assert isinstance(strategy, GaussianProcess)
    points, sizes = [], []
    for _ in range(5):
        asked = Request(len(points), 99, lambda _: False, lambda _: False)
        found = strategy.propose(asked)
        for point in found:
            strategy.tell(point, Outcome.COMPLETED, abs(math.log10(point["lr"]) + 2))
        points += found
        sizes.append(len(found))
    assert sizes == [4, 2, 4, 4, 4]
    assert points[:6] == [Start(spec).point(index) for index in range(6)]
    assert len(set(map(point_key, points))) == 18


def test_a_plateau_is_not_measured_at_one_place_again_and_again():
    def value(point):
        return round(abs(math.log10(point["lr"]) + 2), 0)

    points = search(spec_of("lr: {min: 1e-4, max: 1.0}"), value, 28)
    rates = sorted(math.log10(point["lr"]) / 4 for point in points[8:])
    assert min(b - a for a, b in pairwise(rates)) >= 0.02 - 1e-9


VALUES = st.one_of(
    st.floats(-5, 5),
    st.sampled_from([None, math.nan, math.inf, 1e30, -1e30, 1e308, -1e308, 0.5, 0.5, 5e-324]),
)


@given(st.lists(VALUES, min_size=1, max_size=12), st.booleans(), st.integers(0, 99))
def test_whatever_the_values_proposals_are_new_points_of_the_space(values, pruned, seed):
    spec = spec_of(CONDITIONAL + ", clip_norm: {min: 1, max: 1}", seed, startup=1)
    strategy, known = make_strategy("bayes", spec, LOSS), set()
    for index, value in enumerate(values):
        point = Start(spec).point(index)
        known.add(point_key(point))
        outcome = Outcome.PRUNED if pruned and value is None else Outcome.COMPLETED
        strategy.tell(point, outcome, value, (value, value) if value is not None else ())
    asked = Request(len(values), 99, lambda p: point_key(p) in known, lambda _: False)
    found = strategy.propose(asked)
    keys = set(map(point_key, found))
    assert len(keys) == len(found) == min(4, len(values)) and not keys & known
    assert all(encode(spec.space, point) is not None for point in found)


@given(st.permutations(range(12)), st.integers(0, 99))
@settings(max_examples=10)
def test_the_order_in_which_points_are_told_makes_no_difference(order, seed):
    spec = spec_of(CONDITIONAL, seed)
    start = Start(spec)
    points = [start.point(index) for index in range(12)]
    found = []
    for places in (range(12), order):
        strategy = make_strategy("bayes", spec, LOSS)
        for place in places:
            value = math.sin(place)
            outcome = Outcome.PRUNED if place == 5 else Outcome.COMPLETED
            strategy.tell(points[place], outcome, value, (value - 0.1, value + place / 50))
        found.append(strategy.propose(Request(12, 99, lambda p: p in points, lambda _: False)))
    assert found[0] == found[1]


ODD_SPACES = {
    "one": "lr: {min: 1e-5, max: 1.0}",
    "numbers": "lr: {min: 1, max: 9}, batch_size: {min: 1, max: 9}, model.hidden: [[3], [4], [5]]",
    "choices": "lr: [0.1, 0.2], optimizer: [sgd, adam, adamw, rmsprop], schedule: [constant, "
    "cosine, one_cycle, wsd, linear]",
    "ten": "lr: {min: 1e-4, max: 1.0}, batch_size: {min: 8, max: 512}, model.dropout: "
    "{min: 0.0, max: 0.9}, optimizer.momentum: {min: 0.0, max: 0.99}, optimizer.weight_decay: "
    "{min: 1e-6, max: 0.1}, clip_norm: {min: 0.1, max: 9.0}, warmup.for: {min: 1ba, max: 4ba}, "
    "warmup.start: {min: 0.0, max: 0.9}, optimizer.dampening: {min: 0.0, max: 0.9}, "
    "label_smoothing: {min: 0.0, max: 0.9}",
}

ODD_VALUES = {
    "a constant": lambda draw, _: 1.0,
    "noise": lambda draw, _: draw.random(),
    "half without": lambda draw, place: None if place > 0.5 else place,
    "heavy tails": lambda draw, place: 10 ** (24 * draw.random() - 12) if place > 0.3 else -place,
    "nearly all the same": lambda draw, place: 1e300 * (1.0 + 1e-13 * place),
}


@pytest.mark.parametrize("space", ODD_SPACES)
@pytest.mark.parametrize("values", ODD_VALUES)
def test_odd_tables_are_searched_without_a_point_twice(space, values):
    spec = spec_of(ODD_SPACES[space], train="" if "lr:" in ODD_SPACES[space] else "lr: 0.1")
    names = [name for name, _ in parameters(spec.space)]
    features = Features(spec.space)

    def value(point):
        row = np.asarray([features.numbers(encode(spec.space, point))])
        share = features.shares(row)[0, names.index("lr")]
        return ODD_VALUES[values](random.Random(point_key(point)), share)

    points = search(spec, value, 20)
    assert all(encode(spec.space, point) is not None for point in points)
    later = [point_key(point) for point in points[8:]]
    assert len(later) == 12 == len(set(later) - set(map(point_key, points[:8])))


def test_it_computes_on_one_thread_whatever_there_are():
    from threadpoolctl import threadpool_info, threadpool_limits

    seen = []

    def known(_):
        seen.append({each["num_threads"] for each in threadpool_info() if "blas" in str(each)})
        return False

    spec = spec_of("lr: {min: 1e-4, max: 1.0}", startup=2)
    strategy = make_strategy("bayes", spec, LOSS)
    with threadpool_limits(2, "blas"):
        for rate in (0.1, 0.01, 0.001):
            strategy.tell({"lr": rate}, Outcome.COMPLETED, rate)
        strategy.propose(Request(3, 99, known, lambda _: False))
    assert seen and set.union(*seen) == {1}


def test_hundreds_of_choices_are_proposed_one_after_another():
    names = ", ".join(f"{{name: step, gamma: 0.5, every: {each}ba}}" for each in range(1, 401))
    spec = spec_of(f"lr: {{min: 1e-3, max: 1.0}}, schedule: [{names}]", train="lr: 0.1")
    features = Features(spec.space)
    assert len(features.lengths) == 2 and len(features.groups) == 401
    strategy, known = make_strategy("bayes", spec, LOSS), []
    for index in range(10):
        known.append(Start(spec).point(index))
        strategy.tell(known[-1], Outcome.COMPLETED, abs(math.log10(known[-1]["lr"]) + 1))
    found = strategy.propose(Request(10, 99, lambda point: point in known, lambda _: False))
    assert len(set(map(point_key, found))) == 4 and not [each for each in found if each in known]


def test_a_failed_point_is_not_proposed_again():
    spec = spec_of("lr: [0.1, 0.03, 0.01, 0.003, 0.001], batch_size: [16, 32]", startup=2)
    strategy = make_strategy("bayes", spec, LOSS)
    failed = {"lr": 0.01, "batch_size": 16}
    for rate in (0.1, 0.03, 0.003, 0.001):
        point = {"lr": rate, "batch_size": 16}
        strategy.tell(point, Outcome.COMPLETED, abs(math.log10(rate) + 2))
    strategy.tell(failed, Outcome.FAILED, None)
    found = strategy.propose(Request(5, 99, lambda point: point == failed, lambda _: False))
    assert len(found) == 4 and failed not in found


def test_a_small_space_is_searched_to_its_end_without_a_repeat():
    spec = spec_of("lr: [0.1, 0.01, 0.001], batch_size: {min: 8, max: 10}", startup=3)
    points = search(spec, lambda point: point["lr"] * point["batch_size"], 50)
    assert len(set(map(point_key, points))) == 9
    later = list(map(point_key, points[3:]))
    assert len(set(later)) == len(later) and not {*later} & {*map(point_key, points[:3])}


@pytest.mark.parametrize("startup", [1, 50])
def test_a_startup_of_one_point_or_of_all(startup):
    spec = spec_of("lr: {min: 1e-4, max: 1.0}", startup=startup)
    points = search(spec, lambda point: abs(math.log10(point["lr"]) + 2), 20)
    assert len(set(map(point_key, points))) == 20


def test_a_search_of_two_seeds_goes_on_as_one_never_stopped(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "s.yaml").write_text(
        "data: {name: digits, standardize: true}\nmodel: logistic\n"
        "train: {budget: 1ep, batch_size: 64}\nseeds: 2\n"
        "search: {lr: {min: 1e-4, max: 1.0}, schedule: [constant, {name: step, gamma: "
        "{min: 0.1, max: 0.9}}]}\nbayes: {trials: 9, startup: 4, generation: 2, model: gp}\n"
    )

    def points(runs, *trials):
        for count in trials:
            words = ("bayes", "s.yaml", "--trials", str(count), "--runs", runs, "--quiet")
            more = ("--executor", "inline", "--device", str(DEVICE))
            done = CliRunner().invoke(app, [*words, *more])
            assert done.exit_code == 0, done.output
        history = read(tmp_path / runs / "s")
        return [(each.index, dict(each.point)) for each in history.proposals]

    assert points("whole", 8) == points("parts", 4, 6, 8)
