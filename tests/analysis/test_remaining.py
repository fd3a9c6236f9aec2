"""The time that a search has left."""

from __future__ import annotations

import heapq
import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrsearch.analysis.remaining import Work, foresee

times = st.floats(1e-3, 1e5)
works = st.builds(
    Work,
    st.lists(times, max_size=20),
    times,
    st.lists(st.tuples(times, times, st.floats(0, 1)), max_size=8),
    st.integers(0, 50),
    st.integers(50, 100),
)


@given(works)
def test_a_range_is_one_and_nothing_unknown_is_told(work: Work) -> None:
    found = foresee(work)
    told = bool(work.ended) or any(share >= 0.1 for _, _, share in work.running)
    assert (found is not None) == told
    if found is not None:
        low, high = found
        assert 0 <= low <= high < math.inf


@given(works, st.integers(1, 50))
def test_more_to_come_takes_longer(work: Work, more: int) -> None:
    less = foresee(work)
    longer = foresee(Work(work.ended, work.elapsed, work.running, work.least, work.most + more))
    if less is not None and longer is not None:
        # Of many the mean is surer, and yet the whole takes no less.
        assert longer[0] == pytest.approx(less[0]) and longer[1] >= less[1] * (1 - 1e-9)


def test_equal_trials_have_a_narrow_range() -> None:
    low, high = foresee(Work([10.0] * 20, 100.0, [(5.0, 5.0, 0.5)] * 2, 18, 18)) or (0, 0)
    assert 80 < low < 95 < high < 115
    assert foresee(Work([10.0] * 4, 20.0, [], 0, 0)) == (0.0, 0.0)


def test_a_worker_that_stands_still_makes_no_hours_of_minutes() -> None:
    ended, coming = [3.0] * 12, 26
    for still in (0.0, 55.0, 600.0):
        left = foresee(Work(ended, 20.0 + still, [(1.5 + still, 1.5, 0.5), (1, 1, 0.3)], 26, 26))
        # By what moves the pace is that of before, or of one worker of two.
        assert left is not None and 25 < left[0] < left[1] < 100
    # It goes on, and its pace until then has the pause in it: that one of 13 is 40 times the
    # others' is no reason for the rest to be a thousand times what it is likely to be.
    left = foresee(Work(ended, 80.0, [(60.0, 60.0, 0.5), (1.0, 1.0, 0.3)], coming, coming))
    assert left is not None and left[1] < 20 * left[0]


def run(
    draw: random.Random, slots: int, trials: int, spread: float
) -> tuple[list[float], list[float], list[float]]:
    """The durations, begins and ends of trials, some of them pruned, side by side."""
    sigma = math.sqrt(math.log(1 + spread**2))
    took = [draw.lognormvariate(0, sigma) * draw.choice((1, 1, 1, 0.1)) for _ in range(trials)]
    free, begun, ended = [0.0] * slots, [], []
    for each in took:
        now = heapq.heappop(free)
        begun.append(now)
        ended.append(now + each)
        heapq.heappush(free, now + each)
    return took, begun, ended


@pytest.mark.parametrize("slots", [1, 2, 8])
@pytest.mark.parametrize("spread", [0.1, 0.5, 1.0])
def test_the_range_holds_in_most_searches(slots: int, spread: float) -> None:
    draw, held, asked = random.Random(0), 0, 0
    for _ in range(60):
        took, begun, ended = run(draw, slots, 40, spread)
        whole = max(ended)
        for at in (0.1, 0.3, 0.5, 0.7, 0.9):
            now = at * whole
            running = [
                (now - first, now - first, (now - first) / each)
                for each, first, last in zip(took, begun, ended, strict=True)
                if first <= now < last
            ]
            coming = sum(first > now for first in begun)
            over = [each for each, last in zip(took, ended, strict=True) if last <= now]
            found = foresee(Work(over, now, running, coming, coming))
            if found is not None:
                asked += 1
                held += found[0] <= whole - now <= found[1]
    assert asked > 250 and held / asked > 0.78, held / asked
