"""The best of each budget, and what is said of training longer."""

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_answer import ACCURACY, RATES, points_of, records_of

from lrsearch.analysis.answer import find_answer
from lrsearch.analysis.confirmation import Confirmation, Finalist
from lrsearch.analysis.groups import agrees, double, group
from lrsearch.analysis.importance import find_importance
from lrsearch.analysis.law import Law
from lrsearch.analysis.lengths import MOST
from lrsearch.analysis.points import summarize
from lrsearch.reports.answer import _budgets
from lrsearch.reports.lengths import (
    describe_lengths,
    list_lengths,
    tell_lengths,
)
from lrsearch.trial import Objective, Outcome, Record, Result, Trial

LOSS = Objective("loss", "min")


def trained(rows, objective=LOSS):
    """Points of (params, values), whose trainings have the epochs of their budgets."""
    found = []
    for point, (params, values) in enumerate(rows, 1):
        budget = params["budget"]
        epochs = float(budget[:-2]) / (1 if budget.endswith("ep") else 20)
        for seed, value in enumerate(values):
            number = len(found) + 1
            last = {} if value is None else {objective.metric: value}
            outcome = Outcome.DIVERGED if value is None else Outcome.COMPLETED
            result = Result(outcome, round(20 * epochs), epochs, 0.1, last=last, best=last)
            found.append(Record(Trial(number, "", {}, seed), point, params, "grid", result))
    return summarize(found, objective)


def bowls(budgets, gains, seeds=1, noise=0.0):
    """Bowls through the rate, whose best falls by the gain of each budget, and moves down."""
    return [
        (
            {"lr": rate, "budget": budget},
            [
                1 + (math.log10(rate) + 2 + 0.25 * place) ** 2 - gain + noise * (-1) ** (seed + at)
                for seed in range(seeds)
            ],
        )
        for place, (budget, gain) in enumerate(zip(budgets, gains, strict=True))
        for at, rate in enumerate(RATES)
    ]


BUDGETS = ["10ep", "5ep", "800ba", "20ep"]
"""800 steps are 40 epochs."""


def test_each_budget_has_its_best_the_shortest_first():
    answer = find_answer(trained(bowls(BUDGETS, [0.2, 0.1, 0.4, 0.3])), LOSS)
    rows = answer.lengths.rows
    assert [row.budget for row in rows] == ["5ep", "10ep", "20ep", "800ba"]
    assert [row.epochs for row in rows] == [5, 10, 20, 40]
    assert [row.points for row in rows] == [len(RATES)] * 4
    for row, place in zip(rows, (1, 0, 3, 2), strict=True):
        assert row.value == row.point.objective and row.point.params["budget"] == row.budget
        assert row.lr == min(RATES, key=lambda r: abs(math.log10(r) + 2 + 0.25 * place))
        low, high = row.best_lr
        assert low < 10 ** (-2 - 0.25 * place) < high
        assert row.interval[0] <= row.value + 0.05 and row.interval[1] >= row.value - 0.05
    values = [row.value for row in rows]
    assert values == sorted(values, reverse=True)
    assert answer.lengths.longer == "1600ba" and answer.lengths.enough is rows[-1]
    (told, seeds) = tell_lengths(answer)
    assert "search.budget=[5ep,10ep,20ep,800ba,1600ba]" in told and "one seed" in seeds


def test_a_shorter_budget_wins_where_it_is_tied():
    """Of trainings of less than a second the times say nothing, the budgets do."""
    rows = bowls(["40ep", "5ep", "10ep"], [0.5, 0.0, 0.5 - 1e-4], seeds=4, noise=0.01)
    answer = find_answer(trained(rows), LOSS)
    assert answer.highest.params["budget"] in ("40ep", "10ep")
    assert answer.lengths.enough.budget == "10ep" and answer.lengths.longer == ""
    assert [row.tied for row in answer.lengths.rows] == [False, True, True]
    assert tell_lengths(answer) == ["10ep is enough: longer ones cannot be told from it"]
    same = [({"lr": 0.1, "budget": budget}, [0.5, 0.6]) for budget in ("20ep", "5ep", "10ep")]
    answer = find_answer(trained(same), LOSS)
    assert answer.recommended.params["budget"] == "5ep" and answer.why == (
        "its budget is the shortest"
    )


def test_a_longer_budget_that_is_worse_brings_nothing():
    answer = find_answer(trained(bowls(["5ep", "10ep"], [0.3, 0.1])), LOSS)
    assert tell_lengths(answer)[0] == "5ep is enough: no longer one has a better value"


def test_fresh_seeds_of_a_shorter_budget_are_not_contradicted():
    """Where the recommended point is of a shorter budget nothing is said for longer ones."""
    points = trained(bowls(["5ep", "10ep"], [0.0, 0.1]))
    found = find_answer(points, LOSS)
    assert tell_lengths(found)[0].startswith("the longest, 10ep, has the best value: a longer one")
    shorter = next(each.point for each in found.lengths.rows if each.budget == "5ep")
    again = [
        Finalist(each.point, each.params, each.objective, mean, None, {9: mean})
        for each, mean in ((shorter, 1.0), (found.highest, 1.5))
    ]
    confirmed = find_answer(points, LOSS, (), Confirmation(tuple(again), 1, over=True))
    assert tell_lengths(confirmed)[0].endswith("of the search; on fresh seeds 5ep does as well")


@pytest.mark.parametrize(
    "rows",
    [
        [({"lr": 0.1}, [0.5]), ({"lr": 0.2}, [0.6])],
        [({"lr": 0.1, "budget": "5ep"}, [0.5]), ({"lr": 0.2, "budget": "5ep"}, [0.6])],
        [({"budget": 5}, [0.5]), ({"budget": 10}, [0.6])],
        [({"budget": "small"}, [0.5]), ({"budget": "large"}, [0.6])],
        [({"budget": "5ep"}, [0.5]), ({"budget": "10ep"}, [None])],
    ],
)
def test_where_one_budget_has_a_value_nothing_is_said(rows):
    answer = find_answer(points_of(rows), LOSS)
    assert answer.lengths is None


def test_a_budget_without_a_value_is_listed():
    rows = [*bowls(["5ep", "10ep"], [0.0, 0.1]), ({"lr": 1.0, "budget": "20ep"}, [None])]
    answer = find_answer(trained(rows), LOSS)
    last = answer.lengths.rows[-1]
    assert (last.budget, last.value, last.point, last.tied) == ("20ep", None, None, False)
    assert answer.lengths.longer == ""
    assert list_lengths(answer, LOSS)[-1][:2] == ("20ep", "none")


@pytest.mark.parametrize("width", [80, 120])
def test_the_table_fits(width):
    answer = find_answer(trained(bowls(BUDGETS, [0.2, 0.1, 0.4, 0.3], seeds=3, noise=0.01)), LOSS)
    title, lines = describe_lengths(answer, LOSS, width - 2)
    assert title.startswith("what training longer brings")
    assert [line.split()[0] for line in lines[:5]] == ["budget", "5ep", "10ep", "20ep", "800ba"]
    assert all(len(line) <= width - 2 for line in lines[:5])
    assert "recommended" in lines[4]


def drawn(many, longest=8.0):
    """Points of a range of budgets, from an epoch on; the loss falls by 0.1 a doubling."""
    budgets = [longest ** (place / (many - 1)) for place in range(many)]
    return [
        ({"lr": RATES[at % len(RATES)], "budget": f"{budget!r}ep"},
         [1 + (math.log10(RATES[at % len(RATES)]) + 2) ** 2 - 0.1 * math.log2(budget)])
        for at, budget in enumerate(budgets)
    ]  # fmt: skip


def test_a_range_of_budgets_is_told_by_doublings():
    points = trained(drawn(60, longest=7.9))
    answer = find_answer(points, LOSS)
    rows = answer.lengths.rows
    assert [row.span for row in rows] == ["1ep to 2ep", "2ep to 4ep", "4ep to 8ep"]
    for place, row in enumerate(rows):
        own = [p for p in points if 2**place <= float(p.params["budget"][:-2]) < 2 ** (place + 1)]
        assert len(own) == row.points and row.point in own and row.tied is (place == 2)
        assert row.budget == row.point.params["budget"]
    # Curves are parted alike, and each budget's is the one that it is told by.
    for row, basin in zip(rows, sorted(answer.basins, key=lambda b: b.params["budget"]),
                          strict=True):  # fmt: skip
        assert basin.params == {"budget": row.span}
        assert row.best_lr == basin.best_lr
    assert [row[0] for row in list_lengths(answer, LOSS)[1:]] == [row.span for row in rows]
    (told, _) = tell_lengths(answer)
    assert "4ep to 8ep, have the best value" in told and "budget: [7.9ep, 15.8ep]" in told


def test_few_budgets_are_told_one_by_one():
    answer = find_answer(trained(drawn(MOST)), LOSS)
    assert len(answer.lengths.rows) == MOST
    assert all(row.span == row.longest == row.budget for row in answer.lengths.rows)
    assert re.fullmatch(r"\d\.\d\dep", list_lengths(answer, LOSS)[4][0])
    spans = {"5.3ep": "4ep to 8ep", "8ep": "8ep to 16ep", "1000ba": "512ba to 1024ba"}
    for text, span in {**spans, "0.3ep": "0.25ep to 0.5ep", 5: 5, "0ep": "0ep", None: None}.items():
        assert double(text) == span


@pytest.mark.parametrize("name", ["budget", "warmup.for"])
def test_a_range_of_lengths_explains_as_a_number_does(name):
    unit = "ep" if name == "budget" else "dur"
    rows = [({"lr": params["lr"], name: params["budget"].replace("ep", unit)}, values)
            for params, values in drawn(400)]  # fmt: skip
    plain = [({"lr": params["lr"], name: float(params[name].removesuffix(unit))}, values)
             for params, values in rows]  # fmt: skip
    assert find_importance(points_of(rows), LOSS) == find_importance(points_of(plain), LOSS)
    assert {share.name for share in find_importance(points_of(rows), LOSS)} == {"lr", name}
    told = {repr(shared) for shared, _ in group(points_of(rows))}
    assert len(told) == (4 if name == "budget" else 1)


def test_a_plain_number_that_is_called_budget_parts_no_points():
    rows = [({"lr": RATES[at % len(RATES)], "budget": at}, [0.5]) for at in range(60)]
    assert [shared for shared, _ in group(points_of(rows))] == [{}]


@pytest.mark.parametrize("many", [6, 60])
def test_points_of_a_curve_agree_in_what_they_share_in_whatever_order_they_come(many):
    rows = [
        ({"lr": RATES[at % len(RATES)], **options, **params}, values)
        for at, (params, values) in enumerate(drawn(many))
        for options in ({"schedule": "one_cycle", "schedule.pct_start": [0.1, 0.3][at % 2]},
                        {"schedule": "cosine", "schedule.final": [0.0, 0.1][at % 2]})
    ]  # fmt: skip
    points = points_of([({**params, "optimizer": "sgd" if at % 3 else "adam"}, values)
                        for at, (params, values) in enumerate(rows)])  # fmt: skip
    groups = group(points)
    for point in points:
        assert [point in own for _, own in groups] == [agrees(point.params, s) for s, _ in groups]
    # Drawings find the curve of a group by what it shares.
    assert {repr(s) for s, _ in groups} == {repr(s) for s, _ in group(points[::-1])}


lengths = st.lists(
    st.tuples(st.sampled_from(["1ep", "2ep", "40ba", "3ep"]), st.floats(0, 1)),
    min_size=2,
    max_size=12,
)


@given(lengths)
def test_the_answer_is_the_best_of_its_rows(pairs):
    rows = [({"lr": 0.1 * (at + 1), "budget": budget}, [value, value + 0.01])
            for at, (budget, value) in enumerate(pairs)]  # fmt: skip
    answer = find_answer(trained(rows, ACCURACY), ACCURACY)
    if answer.lengths is None:
        assert len({budget for budget, _ in pairs}) == 1
        return
    found = answer.lengths.rows
    assert sum(row.points for row in found) == len(pairs)
    assert [row.epochs for row in found] == sorted(row.epochs for row in found)
    own = next(row for row in found if row.budget == answer.recommended.params["budget"])
    assert own.tied
    assert answer.lengths.enough.epochs == min(row.epochs for row in found if row.tied)


def test_laws_tell_of_the_epochs_of_their_own_budget_alone():
    """Where one batch size was trained for another budget, too, the means over all would differ."""
    sizes = [({"lr": 0.1, "batch_size": size, "budget": budget}, [0.5])
             for size, budget in ((32, "5ep"), (32, "10ep"), (64, "5ep"))]  # fmt: skip
    records = records_of(sizes)
    ends = {"5ep": 5.0, "10ep": 10.0}
    records = [
        Record(r.trial, r.point, r.params, r.strategy,
               Result(Outcome.COMPLETED, 100 * int(r.params["batch_size"] == 32) + 100,
                      ends[r.params["budget"]], 1.0))
        for r in records
    ]  # fmt: skip
    law = Law("batch_size", {"budget": "5ep"}, (), {}, None, None)
    assert "at equal epochs" in _budgets(law, records)
    assert _budgets(Law("batch_size", {}, (), {}, None, None), records) == "at budgets that differ"
