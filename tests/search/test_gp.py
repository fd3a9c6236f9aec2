"""The Gaussian process of `bayes`: its features, its values, and what it makes of them."""

import math
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
from lrsearch.search.gp import (
    MOST,
    GaussianProcess,
    _most_telling,
    _Told,
    covariance,
    fit,
    measured_noise,
    standardize,
    unit_of,
)
from lrsearch.search.start import Start
from lrsearch.search.strategy import point_key
from lrsearch.space import build, draw, encode, parameters
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
@settings(max_examples=30, deadline=None)
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


@given(
    st.lists(st.floats(-5, 5), min_size=3, max_size=12, unique=True),
    st.floats(0.01, 100),
    st.floats(-100, 100),
)
@settings(max_examples=60, deadline=None)
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


def test_a_seed_that_is_better_at_every_point_is_no_noise():
    generator = np.random.default_rng(0)
    points, seeds = np.linspace(0, 5, 40)[:, None], np.asarray([0.0, 3.0, -2.0])[None]
    noise = 0.1 * generator.standard_normal((40, 3))

    def told(rows):
        return measured_noise([tuple(row) for row in rows])

    assert told(points + seeds) == pytest.approx(0.0, abs=1e-12)
    assert told(points + seeds + noise) == pytest.approx(0.01 / 3, rel=0.5)
    assert told(points[:, :1]) is None and told((points + seeds)[:2]) is None


def test_the_model_passes_through_values_without_noise_and_doubts_what_is_far():
    generator = np.random.default_rng(1)
    features = np.linspace(0, 4, 9)[:, None]
    values = np.square(features[:, 0] - 2)
    model = fit(features, values, np.ones(1), generator, noise=1e-8)
    mean, deviation = model.predict(np.asarray([[0.5], [2.0], [40.0]]))
    assert (model.weights @ mean)[:2] == pytest.approx([2.25, 0.0], abs=0.05)
    assert (model.weights @ deviation)[2] > 10 * (model.weights @ deviation)[0]
    believed = model.believe(np.asarray([[0.25]]))
    assert believed.mean(np.asarray([[0.25]])) == pytest.approx(
        model.mean(np.asarray([[0.25]])), abs=1e-3
    )
    gain = model.improvement(np.asarray([[2.0], [40.0]]))
    assert gain[0] < 0.01 < gain[1], "nothing is to be gained where it was measured"


def test_the_covariance_is_matern_s():
    left, right = np.asarray([[0.0, 0.0]]), np.asarray([[3.0, 8.0]])
    distance = math.sqrt(5) * 5  # by lengths 1 and 2: (3, 4)
    expected = (1 + distance + distance**2 / 3) * math.exp(-distance)
    found = covariance(left, right, np.asarray([[1.0, 2.0]]))
    assert found[0, 0, 0] == pytest.approx(expected)


def test_of_many_points_the_best_and_the_latest_are_told():
    told = [_Told((float(place),), float(place)) for place in range(MOST + 100)]
    kept = [int(each.value) for each in _most_telling(told)]
    assert len(kept) == MOST and kept == sorted(kept)
    assert kept[: MOST // 2] == list(range(MOST // 2)) and kept[-1] == MOST + 99


# searches


def bowl(point):
    x, y = math.log10(point["lr"]) + 1.5, math.log10(point["optimizer.weight_decay"]) + 4.0
    return x * x + y * y


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
