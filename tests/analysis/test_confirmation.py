"""Which points of a search are measured again."""

import math
import statistics

import pytest

from lrsearch.analysis.answer import find_answer
from lrsearch.analysis.basin import SPLIT_SHIFT
from lrsearch.analysis.confirmation import (
    Confirmation,
    Finalist,
    choose_finalists,
    find_beyond,
)
from lrsearch.analysis.edges import Range
from lrsearch.analysis.points import summarize
from lrsearch.reports.rates import spell_failing
from lrsearch.trial import Objective, Outcome, Record, Result, Trial

LOSS, ACCURACY = Objective("loss", "min"), Objective("accuracy", "max")


def points_of(rows):
    """Points, numbered from 1, of (place of the rate in decades, loss, others)."""
    found = []
    for number, (place, loss, *more) in enumerate(rows, 1):
        params = {"lr": 10**place, **dict(more)}
        outcome = Outcome.DIVERGED if loss is None else Outcome.COMPLETED
        last = {} if loss is None else {"loss": loss, "accuracy": -loss}
        result = Result(outcome, 1, 1.0, 1.0, last=last, best=last)
        found.append(Record(Trial(number, str(number), {}, 0), number, params, "grid", result))
    return found


# Refined about one rate: seven points a hair apart, then those that it began with.
CLUMP = [(-3.4 + 0.05 * step, 1.0 + 0.01 * step) for step in range(7)]
WIDE = [(-4.0, 1.3), (-2.8, 1.2), (-2.0, 1.5), (-1.0, None)]


@pytest.mark.parametrize("objective", [LOSS, ACCURACY], ids=str)
@pytest.mark.parametrize(
    ("rows", "top", "recommended", "chosen"),
    [
        (CLUMP + WIDE, 4, 1, [1, 6, 9, 8]),
        (CLUMP + WIDE, 2, 1, [1, 6]),
        # The recommended one has its place, and its neighbours have none.
        (CLUMP + WIDE, 3, 4, [1, 4, 9]),
        (CLUMP + WIDE, 2, 10, [1, 10]),
        (CLUMP + WIDE, 1, 4, [4]),
        # What is left goes to neighbours, and none without a value is taken.
        (CLUMP, 4, 1, [1, 2, 3, 6]),
        (CLUMP + WIDE, 99, 1, [1, 2, 3, 4, 5, 6, 7, 9, 8, 10]),
        # Points that differ in more than the rate are no neighbours.
        ([(*row, ("decay", n)) for n, row in enumerate(CLUMP)], 3, 1, [1, 2, 3]),
        # Where no rate varies all are taken as they come.
        ([(-2.0, 1.0 + n, ("width", n)) for n in range(4)], 3, 1, [1, 2, 3]),
    ],
)
def test_finalists_are_spread_along_the_rate(objective, rows, top, recommended, chosen):
    points = summarize(points_of(rows), objective)
    found = choose_finalists(points, objective, top, recommended)
    assert [point.point for point in found] == chosen


def test_neighbours_are_nearer_than_another_split_moves_a_best_rate():
    rows = [(-3.0, 1.0), (-3.0 + SPLIT_SHIFT - 0.001, 1.1), (-3.0 + SPLIT_SHIFT + 0.001, 1.2)]
    points = summarize(points_of(rows), LOSS)
    assert [point.point for point in choose_finalists(points, LOSS, 2, 1)] == [1, 3]


LADDER = [(-4.0 + 0.25 * step, 1.0 + 0.1 * step, ("batch", 1)) for step in range(9)]
LADDER += [(-1.0, None, ("batch", 1)), (-2.5, 1.0, ("batch", 2))]
GOOD, MIDDLE, BAD = [1.0, 1.2, 1.1], [1.1, 1.25, 1.2], [1.3, 1.4, 1.5]


@pytest.mark.parametrize("sign", [1.0, -1.0], ids=["min", "max"])
@pytest.mark.parametrize(
    ("raced", "joins"),
    [
        ({2: GOOD, 1: BAD}, 3),
        ({5: GOOD, 2: MIDDLE, 1: BAD}, 6),
        ({5: GOOD, 6: MIDDLE}, 1),
        # It is not the outermost, or nothing lies beyond that has a value and was not raced.
        ({2: GOOD, 1: MIDDLE, 3: BAD}, None),
        ({9: GOOD, 8: BAD}, None),
        # One lost on a fresh seed is worse.
        ({3: GOOD, 2: [1.0, None]}, 4),
        # No more than an error of their difference, one pair alone, or nothing to go by.
        ({2: GOOD, 1: [1.0, 1.3, 1.05]}, None),
        ({2: [1.0], 1: [2.0]}, None),
        ({2: GOOD, 1: GOOD}, None),
        ({2: GOOD}, None),
        ({2: GOOD, 11: BAD}, None),
        ({}, None),
    ],
)
def test_who_joins_beyond_the_best(raced, joins, sign):
    objective = LOSS if sign > 0 else ACCURACY
    points = summarize(points_of(LADDER), objective)
    known = {
        number: {1000 + at: value and sign * value for at, value in enumerate(values)}
        for number, values in raced.items()
    }
    found = find_beyond(points, objective, [(points[n - 1], own) for n, own in known.items()])
    assert (found and found.point) == joins


BOWL = [(-4.0 + 0.25 * step, 1.0 + (-0.5 + 0.25 * step) ** 2) for step in range(13)]
SEARCHED = Range("lr", 1e-4, 1e-1, "log", points=13, path="lr")


def confirm(points, fresh, objective=LOSS, **more):
    """The answer with the fresh values of points, by number; those tied that are within 0.5."""
    means = {at: None if None in own else statistics.fmean(own) for at, own in fresh.items()}
    best = min(mean for mean in means.values() if mean is not None)
    again = [
        Finalist(
            at,
            points[at - 1].params,
            points[at - 1].objective,
            means[at],
            None,
            {1000 + seed: value for seed, value in enumerate(own)},
            tied=means[at] is not None and means[at] < best + 0.5,
            outcome="" if means[at] is not None else "diverged",
        )
        for at, own in sorted(fresh.items(), key=lambda each: means[each[0]] or math.inf)
    ]
    held = Confirmation(tuple(again), len(fresh[again[0].point]), over=True, **more)
    return find_answer(points, objective, [SEARCHED], held)


def test_what_fresh_seeds_say_of_a_curve_s_rates():
    points = sorted(summarize(points_of(BOWL), LOSS), key=lambda point: point.point)
    before = find_answer(points, LOSS, [SEARCHED]).basin
    assert before.best < 1e-3 and before.best_lr[1] < 10**-1.5
    # Fresh splits put the best at 0.01, beyond what does as well on the search's own.
    fresh = {3: [2.0, 2.1, 2.2], 6: [1.4, 1.45, 1.5], 9: [1.0, 1.1, 1.3], 11: [2.0, 1.9, 2.2]}
    after = confirm(points, fresh)
    assert after.recommended.point == 9 and after.basin is after.basins[0]
    basin = after.basin
    for low, high in (basin.best_lr, basin.safe_lr):
        # Halfway to the next worse ones at most; the tied one between is none.
        assert 10**-2.751 < low < 1e-2 <= high <= 10**-1.749
    assert basin.safe_lr[0] <= basin.best <= basin.safe_lr[1] and not any(basin.open)
    # What lost a training to divergence bounds them as well.
    lost = confirm(points, {3: [1.0, 1.1, 1.3], 5: [1.0, None]}).basin
    assert before.best_lr[1] > lost.best_lr[1] == pytest.approx(10**-3.25)
    # A higher one that diverged keeps them at a distance, and is the first that fails.
    lost = confirm(points, {3: [1.0, 1.1, 1.3], 4: [1.0, None]}).basin
    assert lost.diverges_at == pytest.approx(10**-3.25) and lost.begins(lost.diverges_at) is False
    assert lost.safe_lr[1] == lost.best_lr[1] == pytest.approx(10 ** (-3.25 - SPLIT_SHIFT))
    # One seed, or seeds that make no difference, say nothing.
    assert confirm(points, {at: own[:1] for at, own in fresh.items()}).basin == before
    assert confirm(points, fresh, seedless=True).basin == before


@pytest.mark.parametrize("parted", ["failed in the search", "worse on fresh seeds"])
def test_rates_that_do_as_well_never_reach_past_one_that_does_not(parted):
    """Two good finalists say nothing of the rates between them where one is known to be bad."""
    fails = parted == "failed in the search"
    rows = [*BOWL[:6], (BOWL[6][0], None if fails else BOWL[6][1]), *BOWL[7:]]
    points = sorted(summarize(points_of(rows), LOSS), key=lambda point: point.point)
    fresh = {3: [1.0, 1.1, 1.3], 9: [1.2, 1.05, 1.2]} | ({} if fails else {7: [4.0, 4.1, 4.2]})
    low, high = confirm(points, fresh).basin.safe_lr
    assert low <= points[2].params["lr"] <= high < points[6].params["lr"]


def test_a_confirmed_best_beyond_a_rate_that_failed_has_it_named():
    rows = [*BOWL[:6], (BOWL[6][0], None), *BOWL[7:11], *((at, None) for at, _ in BOWL[11:])]
    points = sorted(summarize(points_of(rows), LOSS), key=lambda point: point.point)
    before = find_answer(points, LOSS, [SEARCHED]).basin
    assert before.best < before.diverges_at == points[6].params["lr"]
    after = confirm(points, {3: [2.0, 2.1, 2.2], 9: [1.0, 1.1, 1.3]})
    assert after.basin.best > after.basin.diverges_at == before.diverges_at
    assert before.margin > 1 and after.basin.margin is None
    assert spell_failing(after.basin) == "0.00316 diverged, though higher rates trained"


def test_a_best_mean_at_the_end_of_the_rates_is_an_edge():
    points = sorted(summarize(points_of(BOWL), LOSS), key=lambda point: point.point)
    assert find_answer(points, LOSS, [SEARCHED]).edges == ()
    fresh = {3: [2.0, 2.1, 2.2], 9: [1.6, 1.7, 1.8], 13: [1.0, 1.1, 1.3]}
    after = confirm(points, fresh)
    (edge,) = after.edges
    assert after.recommended.point == 13 and edge.side == "highest"
    assert after.basin.open == (False, True) and after.basin.reached == (False, True)
