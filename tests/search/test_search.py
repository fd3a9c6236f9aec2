"""The contract every strategy keeps, and what is peculiar to each."""

import json
import math
from dataclasses import replace
from pathlib import Path
from statistics import fmean

import numpy as np
import pytest
from scipy.stats import qmc

from lrsearch.cli import app
from lrsearch.errors import UsageError
from lrsearch.search import (
    STRATEGIES,
    Request,
    check_search,
    count_trials,
    make_strategy,
    trial_limit,
)
from lrsearch.search.features import Nearest
from lrsearch.search.strategy import MAX_REPEATS, derive_seed, point_key
from lrsearch.space import encode, every_point, grid_size, size
from lrsearch.spec.document import parse
from lrsearch.spec.validate import validate
from lrsearch.trial import Objective, Outcome

ACCURACY = Objective("accuracy", "max")
LOSS = Objective("loss", "min")

SPACES = {
    "rate": "lr: {min: 1e-4, max: 1.0, points: 9}",
    "mixed": "lr: {min: 1e-4, max: 1.0, points: 5}, batch_size: [16, 32, 64], "
    "model.dropout: {min: 0, max: 0.5, points: 2}, warmup.for: {min: 1ba, max: 9ba, points: 2}",
    "whole": "batch_size: {min: 8, max: 256, points: 4}, schedule: [constant, cosine, linear]",
    "conditional": "lr: {min: 1e-3, max: 1.0, points: 3}, "
    "optimizer: [sgd, {name: adam, lr: {min: 1e-4, max: 1e-2, points: 2}}], "
    "schedule: [constant, {name: step, gamma: {min: 0.1, max: 0.9, points: 2}, "
    "every: {min: 0.1dur, max: 0.5dur, points: 2}}]",
}
FINITE = "batch_size: [16, 32], schedule: [constant, cosine, {name: linear, final: [0.1, 0.2]}]"
KINDS = ["grid", "random", "sobol", "informed", "bayes", "gp"]
SAMPLED = [kind for kind in KINDS if kind != "grid"]


def spec_of(search, seed=0, **settings):
    parts = {"bayes": {"startup": 6, "generation": 3}} | settings
    rest = "".join(f"{key}: {json.dumps(value)}\n" for key, value in parts.items())
    text = (
        "name: s\ndata: digits\nmodel: mlp\ntrain: {budget: 2ep, lr: 0.1}\n"
        f"search: {{{search}}}\nseed: {seed}\n{rest}"
    )
    return validate(parse(text, "s.yaml"), Path("/specs"), text)


def make(kind, spec, objective=ACCURACY):
    if kind in ("sobol", "informed"):
        return make_strategy(
            "random", replace(spec, random=replace(spec.random, sampler=kind)), objective
        )
    if kind == "gp":
        return make_strategy(
            "bayes", replace(spec, bayes=replace(spec.bayes, model=kind)), objective
        )
    return make_strategy(kind, spec, objective)


def rate_of(point):
    optimizer = point.get("optimizer")
    return point["lr"] if "lr" in point else (optimizer or {}).get("lr", 0.01)


def train(point):
    """Every outcome there is, decided by the point; the best rate is 10 ** -2."""
    rate = rate_of(point)
    if rate > 0.5:
        return Outcome.DIVERGED, None
    if point.get("batch_size") == 32:
        return Outcome.PRUNED, None
    if rate < 2e-4:
        return Outcome.FAILED, None
    return Outcome.COMPLETED, -((math.log10(rate) + 2.0) ** 2)


class Search:
    """A strategy and its journal: what it proposed, what came of it, and each request made."""

    def __init__(self, strategy, measure=train):
        self.strategy = strategy
        self.measure = measure
        self.points = []
        self.told = []
        self.cuts = []  # before each generation: what had been told, and the request
        self.repeats = 0

    def request(self, room):
        known = {point_key(point) for point in self.points}
        return Request(
            index=len(self.points),
            room=room,
            known=lambda point: point_key(point) in known,
            proposed=lambda point: point_key(point) in known,
            repeats=self.repeats,
        )

    def step(self, room=10**9):
        request = self.request(room)
        self.cuts.append((list(self.told), request))
        generation = self.strategy.propose(request)
        for point in generation:
            new = point_key(point) not in map(point_key, self.points)
            self.points.append(point)
            self.repeats = 0 if new else self.repeats + 1
            if new:
                self.told.append((point, *self.measure(point)))
                self.strategy.tell(*self.told[-1])
        return generation

    def go(self, trials):
        while len(self.points) < trials and self.step(trials - len(self.points)):
            pass
        return self.points


# what all of them promise


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("space", SPACES)
def test_the_same_seed_gives_the_same_points_inside_the_space(kind, space):
    spec = spec_of(SPACES[space])
    points = Search(make(kind, spec)).go(20)
    assert points == Search(make(kind, spec)).go(20)
    assert len(points) == min(20, grid_size(spec.space) if kind == "grid" else 20)
    assert all(encode(spec.space, point) is not None for point in points)
    # The journal must give back what was proposed.
    assert all(json.loads(json.dumps(point)) == point for point in points)


@pytest.mark.parametrize("kind", SAMPLED)
@pytest.mark.parametrize("space", SPACES)
def test_another_seed_gives_other_points(kind, space):
    one, two = (Search(make(kind, spec_of(SPACES[space], seed))).go(8) for seed in (0, 1))
    assert one != two


def test_strategies_do_not_share_draws():
    seeds = [derive_seed(seed, name, index) for seed in (0, 1) for name in "ab" for index in (0, 1)]
    assert len(set(seeds)) == 8 and all(0 <= seed < 2**32 for seed in seeds)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("space", [*SPACES, "finite"])
@pytest.mark.parametrize("objective", [ACCURACY, LOSS], ids=["max", "min"])
def test_a_resumed_strategy_goes_on_as_one_never_stopped(kind, space, objective):
    spec = spec_of((SPACES | {"finite": FINITE})[space])
    whole = Search(make(kind, spec, objective))
    generations = []
    while len(whole.points) < 24 and (generation := whole.step(24 - len(whole.points))):
        generations.append(generation)
    outcomes = {outcome for _, outcome, _ in whole.told}
    assert Outcome.COMPLETED in outcomes and (len(outcomes) > 1 or space == "whole")
    for (told, request), generation in zip(whole.cuts, generations, strict=False):
        resumed = make(kind, spec, objective)
        for point, outcome, value in json.loads(json.dumps(told)):
            resumed.tell(point, Outcome(outcome), value)
        assert resumed.propose(request) == generation


@pytest.mark.parametrize("kind", KINDS)
def test_no_more_is_proposed_than_there_is_room_for(kind):
    strategy = make(kind, spec_of(SPACES["rate"]))
    assert len(Search(strategy).step(2)) == 2
    assert Search(strategy).step(0) == []


@pytest.mark.parametrize("kind", KINDS)
def test_an_exhausted_space_ends_the_search(kind):
    spec = spec_of(FINITE)
    search = Search(make(kind, spec))
    points = search.go(500)
    assert size(spec.space) == 8 == len(set(map(point_key, points)))
    assert len(points) < 500 and search.step() == []
    # A resumed search that finds all of them measured proposes nothing either.
    request = Request(0, 10, known=lambda _: True, proposed=lambda _: kind == "grid")
    assert make(kind, spec).propose(request) == []


@pytest.mark.parametrize("kind", SAMPLED)
@pytest.mark.parametrize("before", [0, 15, 20])
def test_after_twenty_known_proposals_an_unknown_one_comes(kind, before):
    bayes = {"generation": 60, "startup": 60}
    spec = spec_of("batch_size: {min: 1, max: 1000, scale: linear}", bayes=bayes)

    def known(point):
        return point["batch_size"] != 777

    points = make(kind, spec).propose(Request(0, 50, known, known, repeats=before))
    wasted = 0 if kind in ("bayes", "gp") else MAX_REPEATS - before
    assert [known(point) for point in points] == [True] * wasted + [False]


@pytest.mark.parametrize("kind", ["bayes", "gp"])
def test_bayes_wastes_no_proposal_on_a_known_point_while_others_are_left(kind):
    spec = spec_of(FINITE.replace("cosine", "cosine, wsd") + ", clip_norm: {min: 1, max: 1}")
    points = Search(make(kind, spec)).go(size(spec.space))
    assert len(set(map(point_key, points))) == len(points) == size(spec.space)
    # What something else measured is no proposal's worth either.
    known = {point_key(point) for point in points[::2]}
    asked = Request(0, 99, lambda point: point_key(point) in known, lambda _: False)
    found = make(kind, spec).propose(asked)
    assert found and not known & set(map(point_key, found))


def test_in_place_of_a_known_point_the_nearest_one_left_is_proposed():
    text = (
        "lr: [0.1, 1.0, 0.01], batch_size: {min: 1, max: 5, scale: linear}, "
        "optimizer: [adam, {name: sgd, momentum: [0.0, 0.5, 0.9]}]"
    )
    spec = spec_of(text)
    point = {"lr": 0.1, "batch_size": 3, "optimizer": {"name": "sgd", "momentum": 0.5}}
    left = {point_key(each): each for each in every_point(spec.space)}
    nearest = Nearest(spec.space)
    assert nearest.find(point, left) == point_key(point)

    def among(**fixed):
        """The nearest of the other points that are equal in these."""
        rest = [each for each in left.values() if each != point]
        rest = [each for each in rest if all(each.get(key) == fixed[key] for key in fixed)]
        return left[nearest.find(point, {point_key(each): each for each in rest})]

    # A fifth of a range; a place of three in a list; another option with all that it has in common.
    assert among()["batch_size"] in (2, 4) and among()["lr"] == 0.1
    assert among(batch_size=3)["optimizer"]["name"] == "sgd"
    assert among(batch_size=3, optimizer=point["optimizer"])["lr"] in (0.01, 1.0)
    adam = {"name": "adam"}
    assert among(optimizer=adam) == point | {"optimizer": adam}
    assert among(lr=1.0, optimizer=adam)["batch_size"] == 3


@pytest.mark.parametrize("kind", SAMPLED)
def test_an_endless_space_is_left_for_unknown_points_too(kind):
    bayes = {"generation": 60, "startup": 60}
    spec = spec_of("lr: {min: 0.001, max: 1.0, scale: linear}", bayes=bayes)

    def known(point):
        return point["lr"] < 0.99

    found = make(kind, spec).propose(Request(0, 60, known, known))
    runs = "".join("k" if known(point) else "n" for point in found).split("n")
    assert len(found) == 60 and max(map(len, runs)) <= MAX_REPEATS and len(runs) >= 3
    fresh = [point["lr"] for point in found if not known(point)]
    assert len(set(fresh)) == len(fresh)


def test_only_bayes_waits_for_results():
    waits = {kind: make(kind, spec_of(SPACES["rate"])).waits for kind in KINDS}
    assert waits == {kind: kind in ("bayes", "gp") for kind in KINDS}


# grid


@pytest.mark.parametrize("space", SPACES)
def test_a_grid_proposes_every_point_once_coarse_to_fine(space):
    spec = spec_of(SPACES[space])
    points = Search(make("grid", spec)).go(10**6)
    assert len(set(map(point_key, points))) == len(points) == grid_size(spec.space)


def test_the_levels_of_a_grid_are_its_generations():
    search = Search(make("grid", spec_of(SPACES["rate"])))
    rates = [[point["lr"] for point in search.step()] for _ in range(3)]
    assert rates[0] == [1e-4, 1e-2, 1.0]
    assert rates[1] == [1e-3, 1e-1]
    assert [round(math.log10(rate), 6) for rate in rates[2]] == [-3.5, -2.5, -1.5, -0.5]
    assert search.step() == []


def test_a_grid_goes_on_with_what_it_has_not_proposed():
    strategy = make("grid", spec_of(SPACES["rate"]))
    done = {1e-4, 1.0, 1e-3}
    request = Request(3, 99, lambda _: True, lambda point: point["lr"] in done)
    assert strategy.propose(request) == [{"lr": 0.01}]


# random


def test_a_random_draw_depends_on_its_index_alone():
    spec = spec_of(SPACES["mixed"])
    for kind in ("random", "sobol", "informed"):
        whole = Search(make(kind, spec)).go(12)
        strategy = make(kind, spec)
        for index in (7, 3, 11, 0):
            request = Request(index, 1, lambda _: False, lambda _: False)
            assert strategy.propose(request) == [whole[index]]


def test_sobol_covers_the_space_better_than_random_draws():
    def discrepancy(kind, seed):
        spec = spec_of("lr: {min: 1e-4, max: 1}, model.dropout: {min: 0, max: 0.9}", seed)
        points = Search(make(kind, spec)).go(64)
        shares = [[math.log10(p["lr"]) / 4 + 1, p["model.dropout"] / 0.9] for p in points]
        return qmc.discrepancy(np.clip(shares, 0, 1))

    sobol, random = ([discrepancy(kind, seed) for seed in range(5)] for kind in ("sobol", "random"))
    assert max(sobol) < min(random) and fmean(sobol) < 0.2 * fmean(random)


# bayes


def bowl(point):
    """One narrow valley in two logarithms; the worst corner is at 13."""
    x = math.log10(point["lr"]) + 1.5
    y = math.log10(point["optimizer.weight_decay"]) + 4.0
    return x * x + y * y


BOWL = "lr: {min: 1e-4, max: 1.0}, optimizer.weight_decay: {min: 1e-6, max: 1e-1}"


@pytest.mark.parametrize("objective", [ACCURACY, LOSS], ids=["max", "min"])
def test_bayes_finds_a_valley_that_random_draws_miss(objective):
    sign = -1.0 if objective.goal == "max" else 1.0

    def regret(kind, seed):
        spec = spec_of(BOWL, seed, bayes={"startup": 8, "generation": 2})
        search = Search(
            make(kind, spec, objective), lambda point: (Outcome.COMPLETED, sign * bowl(point))
        )
        values = list(map(bowl, search.go(40)))
        return min(values), fmean(values[20:])

    bayes, random = ([regret(kind, seed) for seed in range(5)] for kind in ("bayes", "random"))
    best, later = (
        fmean(part[index] for part in bayes) / fmean(part[index] for part in random)
        for index in (0, 1)
    )
    assert best < 0.5 and later < 0.7


def test_bayes_leaves_a_region_that_diverges():
    def share(outcome):
        hits = total = 0
        for seed in range(6):
            spec = spec_of(SPACES["rate"], seed, bayes={"startup": 6, "generation": 1})
            strategy = make("bayes", spec)
            for step in range(8):
                strategy.tell({"lr": 0.15 + 0.1 * step}, outcome, None)
                strategy.tell({"lr": 2e-4 * 2**step}, Outcome.COMPLETED, 0.9)
            for index in range(16, 28):
                (point,) = strategy.propose(Request(index, 1, lambda _: False, lambda _: False))
                hits += point["lr"] > 0.15
                total += 1
        return hits / total

    # The upper fifth of the range; a failed point says nothing of where it lies.
    assert share(Outcome.DIVERGED) < 0.05 < share(Outcome.FAILED)


def test_bayes_is_told_a_point_once_and_failed_or_foreign_ones_not_at_all():
    spec = spec_of(SPACES["rate"], bayes={"startup": 3, "generation": 2})
    told = [({"lr": 10 ** (-step / 5)}, Outcome.COMPLETED, step % 7) for step in range(1, 19)]
    plain, noisy = make("bayes", spec), make("bayes", spec)
    for part in told:
        plain.tell(*part)
        noisy.tell(*part)
        noisy.tell(*part)
        noisy.tell({"lr": 0.5}, Outcome.FAILED, None)
        noisy.tell({"lr": 50.0}, Outcome.COMPLETED, 9.0)
        noisy.tell({"batch_size": 4}, Outcome.COMPLETED, 9.0)
    requests = [Request(index, 2, lambda _: False, lambda _: False) for index in (18, 20, 22)]
    assert [plain.propose(part) for part in requests] == [noisy.propose(part) for part in requests]


@pytest.mark.parametrize("kind", ["bayes", "gp"])
@pytest.mark.parametrize(
    ("startup", "generation", "sizes"),
    [
        (8, 4, [4, 4, 4, 4, 4]),
        (8, 16, [8, 4, 12, 16, 16]),
        (6, 4, [4, 2, 4, 4, 4]),
        (2, 5, [2, 2, 4, 5, 5]),
        (1, 3, [1, 1, 2, 3, 3]),
    ],
)
def test_a_generation_ends_with_the_start_and_grows_with_what_is_known(
    kind, startup, generation, sizes
):
    """After the start a few, so that a model soon learns what came of its own proposals."""
    spec = spec_of(SPACES["mixed"], bayes={"startup": startup, "generation": generation})
    search = Search(make(kind, spec), lambda point: (Outcome.COMPLETED, rate_of(point)))
    assert [len(search.step()) for _ in sizes] == sizes
    assert len(search.step(2)) == min(2, generation)
    assert len(set(map(point_key, search.points))) == len(search.points)


@pytest.mark.parametrize("kind", ["bayes", "gp"])
def test_a_large_generation_begins_as_a_small_one(kind):
    """The first 4 of a generation know what those of one of 4 know."""
    found = []
    for generation in (4, 16):
        spec = spec_of(SPACES["conditional"], bayes={"startup": 8, "generation": generation})
        found.append(Search(make(kind, spec)).go(20))
    assert found[0][:16] == found[1][:16]
    assert found[0][16:] != found[1][16:]


# what can be searched


def test_a_grid_needs_points_in_every_range():
    spec = spec_of("lr: {min: 0.1, max: 1}, schedule: [{name: cosine, final: {min: 0, max: 1}}]")
    with pytest.raises(UsageError) as error:
        check_search("grid", spec)
    assert "lr, schedule[0].final have none" in error.value.message
    assert "--set search.lr.points=9" in error.value.hint
    check_search("random", spec)
    check_search("bayes", spec)


def test_a_large_grid_must_be_asked_for():
    ranges = "lr: {min: 0.1, max: 1, points: 1000}, label_smoothing: {min: 0, max: 0.5, points: %d}"
    check_search("grid", spec_of(ranges % 100))
    with pytest.raises(UsageError, match="the grid has 101,000 points"):
        check_search("grid", spec_of(ranges % 101))
    check_search("grid", spec_of(ranges % 101), large=True)


def test_nothing_to_search_is_one_point_for_a_grid_alone():
    spec = spec_of("")
    check_search("grid", spec)
    assert Search(make("grid", spec)).go(9) == [{}]
    for name in ("random", "bayes"):
        with pytest.raises(UsageError, match=f"{name} has nothing to search"):
            check_search(name, spec)


def test_how_much_a_strategy_searches():
    spec = spec_of(FINITE, seeds=2, random={"trials": 7}, bayes={"trials": 9})
    assert [trial_limit(name, spec) for name in STRATEGIES] == [None, 7, 9, None]
    assert [count_trials(name, spec) for name in STRATEGIES] == [16, 14, 18, 0]
    with pytest.raises(KeyError):
        make_strategy("gird", spec, ACCURACY)


def test_every_strategy_has_a_command():
    commands = {command.name for command in app.registered_commands}
    assert commands >= set(STRATEGIES)
