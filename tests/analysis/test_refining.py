"""Refinement: the next rates of a round, and when it is over."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_answer import LOSS, points_of

from lrsearch.analysis.edges import Range
from lrsearch.analysis.points import PointSummary
from lrsearch.analysis.refining import (
    APART,
    CURVES,
    EACH,
    Round,
    describe_round,
    find_before,
    find_rounds,
    refine,
)
from lrsearch.trial import Objective, Outcome

ENDS = (1e-4, 1.0)
RANGE = Range("lr", *ENDS, "log", least=0.0, open_low=True)
COARSE = [10.0**power for power in range(-4, 1)]

Row = tuple[dict[str, Any], list[float | None]]


def bowl(best: float) -> Callable[[dict[str, Any]], list[float | None]]:
    return lambda params: [1.0 + math.log10(params["lr"] / best) ** 2]


def go(
    measure: Callable[[dict[str, Any]], list[float | None]],
    starts: Sequence[dict[str, Any]],
    *,
    rounds: int = 12,
    ranges: Sequence[Range] = (RANGE,),
    objective: Objective = LOSS,
    **more: Any,
) -> tuple[list[Round], list[Row]]:
    """Refine until it is over: every round, and all that was measured."""
    rows: list[Row] = [(params, measure(params)) for params in starts]
    found = []
    for _ in range(rounds):
        found.append(refine(points_of(rows, objective), objective, "lr", ranges, **more))
        if not found[-1].next:
            break
        for each in found[-1].next:
            params = {**rows[each.point - 1][0], "lr": each.value}
            assert params not in [known for known, _ in rows], "it was measured already"
            rows.append((params, measure(params)))
    return found, rows


@given(st.floats(-3.5, -0.5), st.floats(0.3, 2.0))
def test_it_zooms_in_on_the_best_of_a_bowl(place: float, steep: float) -> None:
    best = 10**place
    rounds, rows = go(
        lambda params: [1 + steep * math.log10(params["lr"] / best) ** 2],
        [{"lr": rate} for rate in COARSE],
    )
    last = rounds[-1]
    assert last.kind in ("narrow", "noise") and last.interval is not None
    assert last.interval[0] / 1.2 <= best <= last.interval[1] * 1.2
    if last.kind == "narrow":
        assert last.decades is not None and last.decades <= 0.5
    nearest = min((params["lr"] for params, _ in rows), key=lambda r: abs(math.log10(r / best)))
    assert abs(math.log10(nearest / best)) < 0.3
    assert len(rows) <= len(COARSE) + 2 * EACH


def test_what_is_narrower_asks_for_more_rates() -> None:
    best = 10**-1.3
    wide, _ = go(bowl(best), [{"lr": rate} for rate in COARSE], width=1.0)
    narrow, rows = go(bowl(best), [{"lr": rate} for rate in COARSE], width=0.2)
    assert len(narrow) >= len(wide)
    assert wide[-1].kind == "narrow" and len(wide) == 2
    assert (narrow[-1].decades or 9) < (wide[-1].decades or 0)
    # New rates keep off those that there are.
    rates = sorted(math.log10(params["lr"]) for params, _ in rows)
    assert min(np.diff(rates)) >= 0.2 / APART / 2 - 1e-3


@pytest.mark.parametrize(("best", "side"), [(30.0, "high"), (1e-6, "low")])
def test_it_goes_out_at_an_edge_to_the_range_that_the_answer_suggests(
    best: float, side: str
) -> None:
    rounds, rows = go(bowl(best), [{"lr": rate} for rate in COARSE])
    first = rounds[0]
    assert first.kind == "out"
    values = [each.value for each in first.next]
    expected = [math.sqrt(10), 10.0] if side == "high" else [1e-5, math.sqrt(10) * 1e-5]
    assert values == pytest.approx(expected, rel=0.01)
    nearest = min((params["lr"] for params, _ in rows), key=lambda r: abs(math.log10(r / best)))
    assert abs(math.log10(nearest / best)) < 0.3


def test_the_bounds_of_the_parameter_are_kept() -> None:
    bounded = Range("lr", 1e-4, 1.0, "log", most=2.0)
    rounds, rows = go(bowl(30.0), [{"lr": rate} for rate in COARSE], ranges=[bounded])
    assert max(params["lr"] for params, _ in rows) == 2.0
    assert rounds[-1].next == ()


def test_rates_that_diverge_end_the_way_out() -> None:
    rounds, rows = go(
        lambda params: [None if params["lr"] > 1.5 else 3 - params["lr"]],
        [{"lr": rate} for rate in COARSE],
    )
    lost = [params["lr"] for params, (value,) in rows if value is None]
    assert lost and len(lost) <= 4 and rounds[-1].next == ()


def test_a_range_that_was_not_measured_to_its_end_is_searched_to_it_first() -> None:
    starts = [{"lr": rate} for rate in (1e-4, 3e-4, 1e-3, 3e-3, 1e-2)]
    rounds, _ = go(bowl(1.0), starts, rounds=1)
    assert rounds[0].kind == "out"
    assert [each.value for each in rounds[0].next] == pytest.approx([0.1, 1.0], rel=0.01)


def test_only_curves_that_may_hold_the_best_are_refined_at_their_best_other_values() -> None:
    def measure(params: dict[str, Any]) -> list[float | None]:
        worse = {32: 0.0, 128: 3.0}[params["batch_size"]]
        return [1 + worse + 0.002 * abs(params["decay"] - 6) + math.log10(params["lr"] / 0.03) ** 2]

    starts = [
        {"lr": rate, "batch_size": size, "decay": decay}
        for rate in COARSE
        for size in (32, 128)
        for decay in range(8)
    ]
    rows = [(params, measure(params)) for params in starts]
    found = refine(points_of(rows), LOSS, "lr", [RANGE])
    templates = [rows[each.point - 1][0] for each in found.next]
    assert templates and {each["batch_size"] for each in templates} == {32}
    assert {each["decay"] for each in templates} == {6}
    assert found.curves == 1
    assert found.shared == {"batch_size": 32}


def test_a_round_takes_no_more_than_four_curves() -> None:
    generator = np.random.default_rng(1)
    starts = [{"lr": rate, "schedule": f"s{at}"} for at in range(6) for rate in COARSE]
    rows: list[Row] = [
        (params, [bowl(0.03)(params)[0] or 0.0 + 0.3 * generator.normal()]) for params in starts
    ]
    found = refine(points_of(rows), LOSS, "lr", [RANGE], width=0.1)
    assert len({rows[each.point - 1][0]["schedule"] for each in found.next}) <= CURVES
    assert 0 < len(found.next) <= CURVES * EACH


def test_noise_ends_it_where_no_rate_could_do_better() -> None:
    generator = np.random.default_rng(0)
    starts = [{"lr": float(rate)} for rate in 10 ** np.linspace(-4, 0, 13)]
    rounds, rows = go(lambda _: [1 + 0.1 * generator.normal()], starts)
    assert rounds[-1].next == () and len(rows) < len(starts) + 4 * EACH
    seeds = [{"lr": float(rate)} for rate in 10 ** np.linspace(-4, 0, 9)]
    generator = np.random.default_rng(3)  # Its noise is the same however many rounds were made.
    steep = go(
        lambda params: [
            (bowl(0.03)(params)[0] or 0.0) + 0.3 * generator.normal() for _ in range(3)
        ],
        seeds,
    )[0][-1]
    assert steep.kind == "noise" and "noise" in steep.why


def test_too_few_rates_are_filled_up_below_divergence() -> None:
    rounds, rows = go(
        lambda params: [None if params["lr"] > 0.2 else bowl(0.01)(params)[0]],
        [{"lr": 0.01}, {"lr": 1.0}],
        rounds=1,
    )
    found = rounds[0]
    assert found.kind == "few" and len(rows) == 4
    assert all(each.value < 1.0 and each.point == 1 for each in found.next)


def test_a_lost_rate_below_one_that_trains_is_no_bound_of_those_that_are_filled_up() -> None:
    rows: list[Row] = [({"lr": 1e-4}, [2.0]), ({"lr": 1e-3}, [None]), ({"lr": 1e-2}, [1.0])]
    found = refine(points_of(rows), LOSS, "lr", [RANGE])
    assert found.kind == "few" and max(each.value for each in found.next) == 1.0
    higher = points_of([({"lr": 1e-2}, [1.0]), ({"lr": 0.1}, [None])])
    found = refine(higher, LOSS, "lr", [Range("lr", 5e-3, 1.0, "log")])
    assert found.next and max(each.value for each in found.next) < 0.1
    # What failed is no rate that a curve has, and none that it has lost.
    failed = [*points_of(rows[:1] + rows[2:]), *points_of([({"lr": 1e-3}, [None])])]
    failed[2] = replace(failed[2], point=3, outcome=Outcome.FAILED)
    assert len(refine(failed, LOSS, "lr", [RANGE]).next) == 2


def test_what_was_stopped_early_bounds_those_that_are_filled_up() -> None:
    rates = (1e-4, 1e-2, 3e-2, 0.2)
    stopped = points_of([({"lr": rate}, [1.0]) for rate in rates])
    for at in (0, -1):  # It learned nothing: what lies beyond does no better.
        stopped[at] = replace(stopped[at], outcome=Outcome.PRUNED, objective=None)
    found = refine(stopped, LOSS, "lr", [Range("lr", 1e-5, 100.0, "log")])
    assert found.kind == "few" and len(found.next) == 2
    assert all(1e-4 < each.value < 0.2 for each in found.next)


@pytest.mark.parametrize(
    ("rows", "why", "lost"),
    [
        ([], "no point", False),
        ([({"lr": 0.1}, [None]), ({"lr": 1.0}, [None])], "every point diverged", True),
        ([({"lr": rate}, [0.5]) for rate in COARSE], "the same value", False),
    ],
)
def test_where_nothing_can_be_refined_it_says_so(rows: list[Row], why: str, lost: bool) -> None:
    found = refine(points_of(rows), LOSS, "lr", [RANGE])
    assert (found.kind, found.next, found.lost) == ("nothing", (), lost)
    assert why in found.why


def test_the_same_points_give_the_same_round_in_any_order() -> None:
    generator = np.random.default_rng(3)
    rows: list[Row] = [
        ({"lr": rate}, [(bowl(0.02)({"lr": rate})[0] or 0.0) + 0.05 * generator.normal()])
        for rate in COARSE
    ]
    points: list[PointSummary] = points_of(rows)
    found = refine(points, LOSS, "lr", [RANGE])
    assert found == refine(points, LOSS, "lr", [RANGE])
    assert found.next and found.next == refine(list(reversed(points)), LOSS, "lr", [RANGE]).next
    # A point without a rate has no part in it, however good it is.
    rows.append(({"batch_size": 8}, [0.0]))
    assert refine(points_of(rows), LOSS, "lr", [RANGE]) == found


def test_values_of_a_table_are_all_that_is_proposed_from_it() -> None:
    table = [10 ** (-4 + 0.5 * step) for step in range(9)]
    rounds, rows = go(bowl(0.02), [{"lr": table[at]} for at in (0, 2, 4, 6, 8)], among=table)
    assert {params["lr"] for params, _ in rows} <= set(table)
    assert rounds[-1].next == ()
    first = min(table, key=lambda rate: abs(math.log10(rate / 0.02)))
    assert first in [params["lr"] for params, _ in rows]


def test_another_logarithmic_parameter_is_refined_alike() -> None:
    rows: list[Row] = [
        ({"optimizer.weight_decay": rate}, [1 + math.log10(rate / 0.004) ** 2]) for rate in COARSE
    ]
    searched = Range("optimizer.weight_decay", *ENDS, "log")
    found = refine(points_of(rows), LOSS, "optimizer.weight_decay", [searched])
    assert found.kind == "in" and all(4e-4 < each.value < 4e-2 for each in found.next)


def test_whole_numbers_stay_whole() -> None:
    rows: list[Row] = [
        ({"size": size}, [1 + math.log2(size / 50) ** 2]) for size in (4, 16, 64, 256, 1024)
    ]
    found = refine(
        points_of(rows), LOSS, "size", [Range("size", 4, 1024, "log", whole=True)], width=0.2
    )
    assert found.next and all(isinstance(each.value, int) for each in found.next)


def test_a_round_is_told_in_a_line() -> None:
    body = {
        "round": 2,
        "rounds": 3,
        "name": "lr",
        "metric": "loss",
        "state": "in",
        "why": "the interval is wider than 0.5 decades",
        "interval": [0.01, 0.1],
        "before": [0.001, 1.0],
        "best": 0.03,
        "value": 0.25,
        "curves": 1,
        "points": 3,
    }
    assert describe_round(body, False) == (
        "refine, round 2 of at most 3: the best lr lies between 0.01 and 0.1 "
        "(before: 0.001 and 1); loss 0.2500 at 0.03; "
        "trains 3 points: the interval is wider than 0.5 decades"
    )
    # As the tables of a report write it.
    assert "; loss 1.000 at 0.03; " in describe_round({**body, "value": 1.0}, False)
    assert "; loss 3.1e-5 at 0.03; " in describe_round({**body, "value": 3.1e-5}, False)
    none = describe_round({**body, "points": 0, "round": 0, "state": "narrow"}, False)
    assert none.startswith("refine, before any round: ")
    over = {**body, "points": 0, "round": 3, "state": "rounds"}
    assert describe_round(over, False).endswith("(--set refine.rounds=6 goes on)")
    # Another curve may hold the recommended point: whose best it is, is said, but by older rounds.
    shared = {"batch_size": 16, "schedule": "cosine", "momentum": 0.91234, "hidden": [8, 8]}
    assert "the best lr of batch_size=16 schedule=cosine momentum=0.912 hidden=[8, 8] lies " in (
        describe_round({**body, "shared": shared}, False)
    )


def test_an_interval_is_held_against_an_earlier_one_of_its_own_curve() -> None:
    small, large = {"batch_size": 32}, {"batch_size": 128}
    notes = [
        {"kind": "refine", "round": 1, "points": 2, "interval": [1, 8], "shared": small},
        {"kind": "refine", "round": 2, "points": 2, "interval": [2, 4], "shared": large},
    ]
    rounds = find_rounds(notes)
    assert find_before(rounds, (2, False), small) == [1, 8]
    assert find_before(rounds, (2, False), large) == [2, 4]
    assert find_before(rounds, (2, True), large) is None
    # An older run does not say whose interval it is.
    del notes[1]["shared"]
    assert find_before(find_rounds(notes), (2, False), small) == [2, 4]
