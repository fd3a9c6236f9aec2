"""Points chosen by conditions, and in another order."""

from dataclasses import replace

import pytest
from test_page import made
from test_report import big_view, rendered
from typer.testing import CliRunner

from lrsearch.cli import app
from lrsearch.errors import UsageError
from lrsearch.reports.choosing import choose


@pytest.fixture(scope="module")
def view():
    return made(40)[0]


def numbers(view, where=None, sort=None):
    return [point.point for point in choose(view, where, sort).points]


@pytest.mark.parametrize(
    ("where", "holds"),
    [
        ("lr > 1e-3", lambda p: p.params["lr"] > 1e-3),
        ("lr<=1e-3", lambda p: p.params["lr"] <= 1e-3),
        ("schedule == cosine", lambda p: p.params["schedule"] == "cosine"),
        ("schedule != 'cosine'", lambda p: p.params["schedule"] != "cosine"),
        (
            "schedule = cosine and lr > 1e-3 AND batch_size >= 32",
            lambda p: (
                p.params["schedule"] == "cosine"
                and p.params["lr"] > 1e-3
                and p.params["batch_size"] >= 32
            ),
        ),
        ("accuracy >= 0.9", lambda p: p.objective is not None and p.objective >= 0.9),
        ("outcome == diverged", lambda p: p.outcome == "diverged"),
        ('"outcome" != completed', lambda p: p.outcome != "completed"),
        ("verdict == 'too slow'", None),
    ],
)
def test_conditions(view, where, holds):
    found = numbers(view, where)
    if holds is None:
        assert 0 < len(found) < 40
    else:
        # In the order that they had, best first.
        assert found == [point.point for point in view.points if holds(point)]


def test_a_rate_is_found_as_it_is_shown(view):
    point = view.points[0]
    assert numbers(view, f"lr == {point.params['lr']}") == [point.point]


def test_budgets_are_lengths_and_no_words(view):
    budgets = ["10ep", "2ep", "100ep", "5ba"]
    points = [
        replace(point, params={**point.params, "budget": budgets[place % 4]})
        for place, point in enumerate(view.points)
    ]
    view = replace(view, points=points, params=(*view.params, "budget"))
    of = {point.point: point.params["budget"] for point in points}
    assert list(dict.fromkeys(of[number] for number in numbers(view, sort="budget"))) == [
        "5ba",
        "2ep",
        "10ep",
        "100ep",
    ]
    assert {of[number] for number in numbers(view, "budget >= 10ep")} == {"10ep", "100ep"}
    assert {of[number] for number in numbers(view, "budget < 10.0ep")} == {"2ep"}
    assert {of[number] for number in numbers(view, "budget == 10ep")} == {"10ep"}


def test_sorting_rises_or_falls_and_keeps_what_has_no_value_last(view):
    points = {point.point: point for point in view.points}
    rates = [points[number].params["lr"] for number in numbers(view, sort="lr")]
    assert rates == sorted(rates) and len(rates) == 40
    assert numbers(view, sort="-lr") == numbers(view, sort="lr")[::-1]
    values = [points[number].objective for number in numbers(view, sort="accuracy")]
    known = [value for value in values if value is not None]
    assert known == sorted(known) and values[len(known) :] == [None] * (40 - len(known))
    assert len(known) < 40
    assert [points[n].objective for n in numbers(view, sort="-accuracy")][-1] is None
    both = numbers(view, "lr > 1e-3", "batch_size")
    assert set(both) == set(numbers(view, "lr > 1e-3"))


def test_the_last_part_of_a_name_is_enough():
    view = big_view()
    assert numbers(view, "pct_start > 0.2") == numbers(view, "schedule.pct_start > 0.2") != []
    assert numbers(view, "weight_decay < 1e-5") != []


@pytest.mark.parametrize(
    ("sort", "hint"),
    [
        ("-acuracy", "write --sort -accuracy"),
        ("lr:desc", "write --sort -lr"),
        ("best", "the best stand first without --sort"),
        ("worst", "write --sort accuracy"),
        ("time", "write --sort seconds"),
        ("trial", "write --sort point"),
        ("zzz", "allowed: point, "),
    ],
)
def test_a_slip_of_an_order_is_told_the_order(view, sort, hint):
    with pytest.raises(UsageError, match="no point has a") as caught:
        choose(view, None, sort)
    assert caught.value.hint.startswith(hint)


@pytest.mark.parametrize("where", ["lr >", "", "lr > 1 or lr < 2", "> 3", "lr 3", "lr > 1 and"])
def test_what_cannot_be_read(view, where):
    with pytest.raises(UsageError, match="conditions are"):
        choose(view, where, None)


@pytest.mark.parametrize("where", ["schedule > 1", "lr > x", "lr > '0.1'", "lr < 2ep"])
def test_what_can_be_neither_larger_nor_smaller(view, where):
    with pytest.raises(UsageError, match="compares nothing") as caught:
        choose(view, where, None)
    assert "texts are == or !=" in caught.value.hint


def test_budgets_are_compared_and_sorted_as_lengths():
    view = made(12, params=lambda point: {"budget": ["10ep", "2ep", "4ep"][point % 3]})[0]
    budgets = {point.point: point.params["budget"] for point in view.points}
    assert {budgets[number] for number in numbers(view, "budget > 2ep")} == {"4ep", "10ep"}
    assert {budgets[number] for number in numbers(view, "budget <= 4ep")} == {"2ep", "4ep"}
    told = [budgets[number] for number in numbers(view, sort="budget")]
    assert told == ["2ep"] * 4 + ["4ep"] * 4 + ["10ep"] * 4
    for where in ("budget > 2", "budget > 20ba"):
        with pytest.raises(UsageError, match=r"budget is (10|2|4)ep and the like"):
            choose(view, where, None)


def test_an_unknown_name_is_answered_by_the_nearest(view):
    with pytest.raises(UsageError, match="no point has a 'shedule'") as caught:
        choose(view, "shedule == cosine", None)
    assert caught.value.hint == "write --where 'schedule == cosine'"
    with pytest.raises(UsageError, match="no point has a 'rate'"):
        choose(view, None, "rate")


@pytest.mark.parametrize(
    ("where", "meant"),
    [
        ("lr => 1e-3", "lr >= 1e-3"),
        ("lr =< 1e-3", "lr <= 1e-3"),
        ("lr >> 1e-3", "lr >= 1e-3"),
        ("learning_rate > 1e-3", "lr > 1e-3"),
        ("(lr > 1e-3)", "lr > 1e-3"),
        ("lr > 0,01", "lr > 0.01"),
        ("lr > 1e-3, schedule == cosine", "lr > 1e-3 and schedule == cosine"),
        ("lr between 1e-3 and 1e-2", "lr >= 1e-3 and lr <= 1e-2"),
        ("1e-3 < lr <= 1e-2", "lr > 1e-3 and lr <= 1e-2"),
        ("accuracy >= 95%", "accuracy >= 0.95"),
        ("shedule is cosine", "schedule == cosine"),
    ],
)
def test_slips_are_answered_by_what_is_meant(view, where, meant):
    with pytest.raises(UsageError) as caught:
        choose(view, where, None)
    assert caught.value.hint == f"write --where '{meant}'"
    assert numbers(view, meant)


@pytest.mark.parametrize(
    ("where", "hint"),
    [
        ("lr > 1e-3 or lr < 1e-4", "report each side of 'or' by itself"),
        ("outcome == complete", "did you mean 'completed'?"),
        ("outcome != prunned", "did you mean 'pruned'?"),
        ("schedule == cosin", "did you mean 'cosine'?"),
        ("verdict == healty", "did you mean 'healthy'?"),
    ],
)
def test_words_that_no_point_can_have(view, where, hint):
    with pytest.raises(UsageError) as caught:
        choose(view, where, None)
    assert hint in caught.value.hint


@pytest.mark.parametrize("where", ["lr > 1.2.3%", "lr > %", "lr > .%", "lr > 1e-3%"])
def test_a_number_that_is_none_is_an_error_of_the_users(view, where):
    with pytest.raises(UsageError):
        choose(view, where, None)


def test_words_that_points_may_have_choose_none(view):
    for where in ("outcome == 'out of memory'", "schedule == linear", "verdict == dead"):
        assert numbers(view, where) == []


def test_a_length_takes_the_unit_of_the_others():
    view = made(12, params=lambda point: {"budget": ["10ep", "2ep", "4ep"][point % 3]})[0]
    with pytest.raises(UsageError) as caught:
        choose(view, "budget > 2", None)
    assert caught.value.hint == "write --where 'budget > 2ep'"


def test_the_answer_stays_that_of_all_points(view):
    from io import StringIO

    from rich.console import Console

    from lrsearch.reports.tables import result

    console = Console(width=80, file=StringIO())
    console.print(result(view, chosen=choose(view, "lr < 1e-3", "-lr")))
    text = console.file.getvalue()
    whole = rendered(view)
    assert text.split("\n")[0] == whole.split("\n")[0]
    assert "of 40 points, where lr < 1e-3, by -lr" in text and "of 40 points" not in whole


def test_other_forms_refuse_them(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said = CliRunner().invoke(app, ["report", "x", "--where", "lr > 1", "--json"])
    assert said.exit_code == 2 and "for the table and --csv" in said.stderr
