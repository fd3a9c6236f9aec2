"""Which points of a search are measured again."""

import pytest

from lrsearch.analysis.basin import SPLIT_SHIFT
from lrsearch.analysis.confirmation import choose_finalists, find_beyond
from lrsearch.analysis.points import summarize
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
