"""Views and their renderings: tables, JSON, CSV, Markdown, progress, curves."""

import csv
import dataclasses
import io
import json
import math
import re
import subprocess
import sys
import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from rich.console import Console
from rich.table import Table
from rich.text import Text

from lrsearch.analysis.decimals import decimals_among
from lrsearch.analysis.edges import Range
from lrsearch.analysis.importance import Share
from lrsearch.reports.answer import evidence, first_notes, name_ties, tell_share, tell_ties
from lrsearch.reports.apart import abbreviate, tell_apart
from lrsearch.reports.curves import plot
from lrsearch.reports.live import Progress
from lrsearch.reports.machine import escape_markdown, to_csv, to_json, to_markdown, trial_json
from lrsearch.reports.page.content import describe_importance, describe_notes
from lrsearch.reports.rates import draw_rates
from lrsearch.reports.tables import open_console, result
from lrsearch.reports.text import (
    count,
    decimals_for,
    enumerate_numbers,
    fill,
    format_fixed,
    format_params,
    format_seconds,
    format_value,
    one_line,
    tell_interval,
)
from lrsearch.reports.trials import evenly, trial_page
from lrsearch.reports.view import Context, TrialView, build_view
from lrsearch.terminal import visible_line
from lrsearch.trial import Objective, Outcome, Plan, Record, Result, Trial

ACCURACY = Objective("accuracy", "max")
REASON = "RuntimeError: shapes [red](64x784)[/red] cannot be multiplied | " + "far too long " * 12


APART = (
    {
        f"{name}_{part}": 0 if part == "trials" else 0.0
        for name in ("again", "confirm", "test", "repeat")
        for part in ("trials", "epochs", "seconds")
    }
    | {"confirm_shared_epochs": 0.0, "killed_sessions": 0, "killed_trials": 0}
    | {"killed_seconds": 0.0}
)
"""The cost of what is apart from the trials, where there is none."""


def record(number, point, params, value=None, outcome=Outcome.COMPLETED, seed=0, **more):
    ended = None
    if outcome is not None:
        last = {"accuracy": value} if value is not None else {}
        ended = Result(outcome, 400, 20.0, 1.5, last=last, best=last, **more)
    return Record(Trial(number, f"key{number}", {}, seed), point, params, "grid", ended)


def params_of(point):
    """Five parameters, one of them living under one choice only."""
    params = {"lr": 10 ** (-4 + point / 10), "batch_size": 32 * point, "schedule": "cosine"}
    if point % 3 == 0:
        params |= {"schedule": "one_cycle", "schedule.pct_start": 0.1 + point / 100}
    return {**params, "optimizer.weight_decay": 10 ** (-6 + point / 12)}


def big_view(count=30, **more):
    records = []
    for point in range(1, count + 1):
        for seed in (0, 1):
            number = 2 * point - 1 + seed
            outcome, reason = Outcome.COMPLETED, ""
            if point % 10 == 4:
                outcome, reason = Outcome.DIVERGED, "training loss is nan after 40 steps"
            if point % 10 == 5:
                outcome, reason = Outcome.FAILED, REASON
            value = None
            if outcome is Outcome.COMPLETED:
                value = 0.9 + point / 1000 + (seed if point % 2 == 0 else -seed) / 100
            arguments = (number, point, params_of(point), value, outcome, seed)
            records.append(record(*arguments, reason=reason))
    return build_view("digits", "runs/digits", ACCURACY, records, Context(**more))


def rendered(view, width=80, all_rows=False):
    console = Console(width=width, file=io.StringIO())
    console.print(result(view, all_rows=all_rows))
    return console.file.getvalue()


def rows_of(text):
    """Lines of the table that begin with a point's number and its value."""
    return re.findall(r"^ +\d+ +(?:0\.\d+|diverged|failed|unfinished).*$", text, re.MULTILINE)


# -- text


@pytest.mark.parametrize(
    ("share", "interval", "told"),
    [
        (0.62, (0.51, 0.7), ("62%", "51% to 70%")),
        (0.998, (0.996, 0.9992), ("99.8%", "99.6% to 99.9%")),
        (0.0, (0.0, 0.003), ("0.0%", "0.0% to 0.3%")),
        (1.0, (1.0, 1.0), ("100%", "100%")),
        (0.9999999, (0.9999998, 1.0), ("100%", "100%")),
    ],
)
def test_a_share_has_the_decimals_that_tell_the_ends_of_its_interval_apart(share, interval, told):
    assert tell_share(Share("lr", share, interval)) == told


def test_columns_stand_where_they_stand_in_an_encoding_that_lacks_their_letters():
    written = io.BytesIO()
    stream = io.TextIOWrapper(written, encoding="latin-1", errors="backslashreplace")
    table = Table("name", "value", box=None)
    for name in ("plain", "Größe", "大きさ", "ş"):
        table.add_row(name, "1")
    console = open_console(stream)
    console.print(table)
    lines = written.getvalue().decode("latin-1").splitlines()
    assert len({line.rindex("1") for line in lines[1:]}) == 1
    assert [line.split()[0] for line in lines[1:]] == ["plain", "Größe", "??????", "?"]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.00316227766, "0.00316"),
        (1e-5, "1e-5"),
        (3.16227766e-6, "3.16e-6"),
        (0.1, "0.1"),
        (0.9995, "0.9995"),
        (0.99961234, "0.99961"),
        (0.99999999, "0.99999999"),
        (0.999996, "0.999996"),
        (-0.999999499, "-0.999999"),
        (1.0, "1"),
        (1000.0, "1000"),
        (2e7, "2e7"),
        (-0.25, "-0.25"),
        (0.0, "0"),
        (-0.0, "0"),
        (1.7976931348623157e308, "1.8e308"),
        (-1.7976931348623157e308, "-1.8e308"),
        (5e-324, "4.9407e-324"),
        (math.nan, "nan"),
        (64, "64"),
        (123456789, "123456789"),
        (True, "true"),
        (None, "null"),
        ((64, 128), "[64,128]"),
        ({"name": "cosine", "final": 0.1}, "{name: cosine, final: 0.1}"),
        ([{"name": "flip", "p": 0.5}, {"name": "mixup", "alpha": 0.2}], "[flip 0.5,mixup 0.2]"),
        ([{"class_path": "mine.Cut", "init_args": {"size": 3}}], "[Cut 3]"),
        ([{"match": "*.bias", "lr": 0.5}], "[{match: *.bias, lr: 0.5}]"),
        ("a\n\x1b[2Jb", '"a\\n\\x1b[2Jb"'),
    ],
)
def test_format_value(value, text):
    assert format_value(value) == text


@pytest.mark.parametrize("decimals", [None, -5, 2, 4])
@example(0.125)
@given(st.floats(-1.79e308, 1.79e308) | st.sampled_from([math.inf, -math.inf, math.nan]))
def test_every_number_is_written_with_fixed_decimals(decimals, value):
    text = format_fixed(value, decimals)
    assert math.isnan(value) or float(text) == pytest.approx(value, rel=1e-3, abs=0.005 + 1e-9)
    assert not text.startswith("-") or float(text) < 0


@given(st.floats(1e-12, 1e12), st.sampled_from([-1, 1]))
def test_short_numbers_are_close_and_short(value, sign):
    text = format_value(sign * value)
    assert float(text) == pytest.approx(sign * value, rel=0.00501)
    assert len(text) <= 10


@given(st.floats(1e-300, 1e300))
def test_fixed_decimals_keep_four_digits(value):
    assert float(format_fixed(value, decimals_for(value))) == pytest.approx(value, rel=5.1e-4)


@pytest.mark.parametrize(
    ("values", "spreads", "shown"),
    [
        ([-1232.6, -1232.1, -1229.8, -1190.0], [], "-1232.6"),
        ([-1232.6, -1232.1, -1229.8, -1190.0], [0.04, 0.05], "-1232.60"),
        ([0.0, 0.25, 1.0, 2.25], [], "0.000"),
        ([0.0, 1e-320, 1.0, 1.0], [1e-310], "0.0000000"),
        ([0.9811, 0.98, 0.97, 0.9], [0.01], "0.9811"),
        ([2.345, 2.3452, 2.346, 2.4], [], "2.34500"),
        ([0.5, 0.5], [], "0.5000"),
        ([1000.0, 215.0, 0.1], [], "1000"),
        ([1e-9, 2e-9], [], "1.000e-9"),
        ([1000098.0, 1000398.0, 1002158.0], [], "1.0001e6"),
        ([1000098.0, 1000099.0, 1000158.0], [], "1.0000980e6"),
        ([-1234566.9, -1234566.8, -1234560.0], [0.1], "-1.2345669e6"),
        ([1.00009e-7, 1.00012e-7, 1.4e-7], [], "1.000090e-7"),
    ],
)
def test_decimals_tell_the_best_values_apart(values, spreads, shown):
    decimals = decimals_among(values[0], values, spreads)
    assert format_fixed(values[0], decimals) == shown


@given(st.text())
def test_one_line_is_one_visible_line(text):
    line = one_line(text)
    assert visible_line(line) == line and len(line.splitlines()) <= 1


def test_other_text(monkeypatch):
    assert format_params({"lr": 0.0316227, "batch_size": 64}) == "lr=0.0316 batch_size=64"
    # Also of a text as long as a spec may hold, without a look at each of its ends.
    for many in (9, 2**16):
        assert format_params({"a.for": "日本語" * many}, 8, {"a.for": "a"}) == "a=...本語"
    # It reaches to 0: what follows three digits of its width is not known.
    assert tell_interval((-0.0552, 0.16974), 5) == "-0.055 to 0.170"
    assert tell_interval((0.3012, 1.0), 4) == "0.3012 to 1.0000"
    monkeypatch.setenv("COLUMNS", "20")
    assert fill("日本語 " * 9).splitlines() == ["日本語 日本語 日本語"] * 3
    times = {0.004: "0.01s", 0.04: "0.04s", 9.94: "9.9s", 59.6: "1m 00s", 192: "3m 12s"}
    times |= {7500: "2h 05m"}
    assert {seconds: format_seconds(seconds) for seconds in times} == times
    assert format_seconds(3600 * 27) == "1d 03h"
    assert enumerate_numbers([3]) == "3" and enumerate_numbers([3, 9, 12]) == "3, 9 and 12"
    assert enumerate_numbers(range(1, 10)) == "1, 2, 3, 4, 5 and 4 more"


# -- view


def test_columns_keep_the_parts_of_a_choice_behind_it():
    view = big_view(4)
    assert view.params == (
        *("lr", "batch_size", "schedule", "schedule.pct_start", "optimizer.weight_decay"),
    )


def test_view_adds_up_and_comments():
    records = [record(n, n, {"lr": lr}, 0.9) for n, lr in ((1, 0.01), (2, 0.1))]
    records.append(record(3, 3, {"lr": 0.2}, outcome=None))
    ranges = [Range("lr", 0.01, 0.2, "log")]
    view = build_view(
        "r", "runs/r", ACCURACY, records, Context(searched=ranges, running=1, standing=["first"])
    )
    spent = {
        "trials": 2,
        "trial_epochs": 40.0,
        "shared_epochs": 0.0,
        "seconds": 3.0,
        "wall_seconds": None,
    }
    spent |= APART
    assert view.cost == {**spent, "range_epochs": 0.0, "range_seconds": 0.0, "saved_epochs": 0.0}
    assert view.best.point == 1 and [point.point for point in view.points] == [1, 2, 3]
    # Every point came to one value: the evidence says so, once.
    assert view.standing == ("first",) and not view.warnings and view.answer.steady
    assert draw_rates(view).finding.startswith("lr made no difference") and view.answer.levels
    assert describe_importance(view) == []
    # What was not trained yet is no worse than the end.
    assert view.answer.edges == ()
    worse = record(4, 4, {"lr": 0.15}, 0.5)
    view = build_view("r", "runs/r", ACCURACY, [*records, worse], Context(searched=ranges))
    # A point away from the end has the best value, too.
    assert view.answer.edges == ()
    (seeds,) = view.warnings
    # Of one seed each no others are known to be worse: the evidence says no more than that.
    assert "point 2 has the same value" in evidence(view.answer)
    more = dataclasses.replace(view.answer, tied=(2, 3))
    assert tell_ties(more) == "2 others have the same value"
    assert name_ties(more) == "points 2 and 3 have the same value"
    # Folds are trainings, too: a tie of theirs is no equal value.
    folded = [dataclasses.replace(each, trials=(1, 2)) for each in more.points]
    assert tell_ties(dataclasses.replace(more, points=folded)) == "tied for the best with 2 others"
    assert "one seed" in seeds
    records[1] = record(2, 2, {"lr": 0.1}, 0.8)
    view = build_view("r", "runs/r", ACCURACY, [*records, worse], Context(searched=ranges))
    (edge,) = view.answer.edges
    assert str(edge).startswith("lr 0.01 is the lowest searched")
    # The edge is said once, in a line of its own; alone the evidence has it, too.
    assert "lowest searched" not in dict(first_notes(view))["evidence"]
    assert evidence(view.answer).endswith("lr 0.01 is the lowest searched")
    # Its parameter has the name that the values have; the line to write has the key.
    name = "optimizer.momentum"
    records = [record(1, 1, {name: 0.5}, 0.9), record(2, 2, {name: 0.1}, 0.8)]
    searched = Context(searched=[Range(name, 0.1, 0.5, path=name)])
    view = build_view("r", "runs/r", ACCURACY, records, searched)
    told = dict(first_notes(view))["edge"]
    assert told.startswith("momentum 0.5 is the highest searched")
    assert f"Search {name}: " in told
    assert evidence(view.answer).endswith("; momentum 0.5 is the highest searched")


def test_several_seeds_replace_the_note_on_one():
    view = big_view()
    assert not view.warnings and "; tied for the best with points " in evidence(view.answer)


# -- tables


@pytest.mark.parametrize("width", [60, 80, 100, 120])
def test_no_line_is_wider_than_the_terminal_nor_ends_in_blanks(width):
    text = rendered(big_view(hidden=3, next_command="lrsearch confirm digits"), width)
    assert max(map(len, text.splitlines())) <= width
    assert not re.search(r" $", text, re.MULTILINE)


@pytest.mark.parametrize("width", [80, 120])
def test_five_parameters_fit_one_line_a_point(width):
    lines = rendered(big_view(), width).splitlines()
    rows = rows_of("\n".join(lines))
    assert len(rows) == 25
    # The header's last line is directly above the first row, the rows directly below each other.
    first = lines.index(rows[0])
    assert lines[first : first + 25] == rows
    assert " ".join(rows[0].split()) == "30 0.9350 0.0071 0.1 960 one_cycle 0.4 0.000316"
    assert lines[first + 25] == "  … and 5 more: --all"


def test_columns_move_together_before_the_table_is_given_up():
    params = {f"train.number_{letter}": 0.125 for letter in "abcdefg"}
    view = build_view("r", "f", ACCURACY, [record(1, 1, params, 0.5)])
    by_width = {width: rows_of(rendered(view, width))[0] for width in (74, 80, 100)}
    assert by_width[100].endswith("0.125     0.125     0.125")
    assert by_width[80].endswith("0.125    0.125    0.125")
    assert by_width[74].endswith("0.125   0.125   0.125")


def test_a_long_metric_takes_no_room_from_the_parameters():
    long = Objective("validation_macro_averaged_area_under_the_curve", "max")
    trial = Record(Trial(1, "k", {}, 0), 1, {"lr": 0.1, "width": 8}, "grid", None)
    text = rendered(build_view("r", "f", long, [trial]), 60)
    assert re.search(r"\n +1 +unfinished +0\.1 +8\n", text) and "parameters" not in text


def test_narrow_terminal_shows_parameters_as_text():
    text = rendered(big_view(), 60)
    assert len(rows_of(text)) == 25
    assert re.search(r"30 +0\.9350 +0\.0071 +lr=0\.1 batch_size=960", text)


def test_many_parameters_fall_back_to_text_at_80():
    params = {f"model.argument_number_{i}": f"value{i}" for i in range(9)}
    text = rendered(build_view("r", "f", ACCURACY, [record(1, 1, params, 0.5)]))
    assert max(map(len, text.splitlines())) <= 80
    assert all(f"argument_number_{i}=value{i}" in text for i in range(9))


def test_all_rows():
    text = rendered(big_view(), 120, all_rows=True)
    assert len(rows_of(text)) == 30 and "--all" not in text


def test_long_values_are_whole_where_there_is_room():
    name = "sgd_with_nesterov_momentum_and_cosine"
    records = [record(n, n, {"lr": n / 8, "kind": name}, n / 10) for n in (1, 2)]
    view = build_view("r", "f", ACCURACY, records)
    tables = [rendered(view, width).partition("  point")[2] for width in (80, 50)]
    assert name in tables[0] and f"…{name[-23:]}" in tables[1] and name not in tables[1]


def test_headline_counts_reasons_cost_and_what_next():
    view = big_view(hidden=2, wall_seconds=75.0, next_command="lrsearch confirm digits")
    text = " ".join(rendered(view, 120).split())
    assert text.startswith(
        "digits: accuracy 0.9350 (2 seeds, deviation 0.0071), point 30 lr=0.1 batch"
    )
    assert (
        text.index("evidence")
        < text.index("cost")
        < text.index("next")
        < text.index("point accuracy")
    )
    assert "trials 48 completed, 6 diverged, 6 failed" in text
    assert "failed trials 9, 10, 29, 30, 49 and 1 more: RuntimeError: shapes [red](64x784)" in text
    assert "cost 60 trials, 1200 epochs, 1m 30s of training; 1m 15s by the clock" in text
    assert "2 stored trials do not belong to this spec" in text
    assert "by the clock next lrsearch confirm digits " in text


def engine_notes(records, plans, **more):
    text = rendered(build_view("r", "f", ACCURACY, records, Context(plans=plans)), **more)
    told = "solo|fused|reasons|a structure:"
    return re.findall(rf"^(?:engine|  ) +(?=.*(?:{told}))(.*)$", text, re.MULTILINE)


def test_the_engine_is_named_where_not_all_is_plainly_solo():
    solo = [record(n, n, {"lr": 0.1 * n}, 0.5) for n in range(1, 4)]
    fused = [record(n, n, {"lr": 0.1 * n}, 0.5, engine="fused") for n in range(4, 9)]
    waiting = [record(9, 9, {"lr": 3.0}, outcome=None)]
    many, few = Plan("fused", 16, "2.1x"), Plan("fused", 4, "1.3x")
    tied = Plan("solo", 1, "[tied] weights")
    assert engine_notes(solo, {}) == []
    assert engine_notes(solo, {("a", "cpu"): Plan("solo", 1, "")}) == []
    assert engine_notes(fused + waiting, {("a", "cpu"): many, ("b", "cpu"): few}) == [
        "5 trials fused, up to 16 lanes a program"
    ]
    assert engine_notes(fused, {("a", "cuda"): Plan("fused", 1, "9x"), ("b", "cuda"): tied})[0] == (
        "5 trials fused, one lane a program"
    )
    assert engine_notes(solo, {("a", "cpu"): tied}) == ["solo: [tied] weights"]
    plans = {("a", "cpu"): tied, ("a", "cuda"): tied, ("b", "cpu"): many, ("c", "cpu"): many}
    assert engine_notes(solo + fused, plans) == [
        "5 trials fused, up to 16 lanes a program; 3 solo",
        "1 of 3 structures solo: [tied] weights",
        "(a structure: trials that differ in rates and other numbers alone)",
    ]


def test_reasons_against_fusing_are_few_unless_all_is_asked():
    plans = {(f"{n}", "cpu"): Plan("solo", 1, f"reason {'abcde'[n]}") for n in range(5)}
    records = [record(1, 1, {"lr": 0.1}, 0.5)]
    found = engine_notes(records, plans)
    assert found[0] == "1 of 5 structures solo: reason a"
    assert len(found) == 5 and found[-2] == "… and 2 other reasons: --all"
    assert len(engine_notes(records, plans, all_rows=True)) == 6
    # Numbers alone make no other reason.
    plans |= {(f"{n}", "cpu"): Plan("solo", 1, f"{n} steps are too few") for n in range(5, 9)}
    found = engine_notes(records, plans, all_rows=True)
    assert len(found) == 7 and found[-2] == "4 of 9 structures solo: 5 to 8 steps are too few"
    # Neither does it, that some trials are of an earlier plan.
    few = {("a", "cpu"): Plan("solo", 1, "9 steps are too few")}
    records = [replaced(n, f"{n} steps are too few") for n in (1, 2)]
    assert engine_notes(records, few) == ["solo: 1 to 9 steps are too few"]
    assert engine_notes(records, few | {("b", "cpu"): Plan("fused", 4, "1.3x")})[0] == (
        "1 of 2 structures and 2 earlier trials solo: 1 to 9 steps are too few"
    )


def replaced(n, why):
    """The record of a trial that trained solo, by a plan that was replaced."""
    one = record(n, n, {"lr": 0.1 * n}, 0.5)
    return dataclasses.replace(one, result=dataclasses.replace(one.result, why=why))


def test_failure_reasons_are_few_unless_all_is_asked():
    records = [
        record(n, n, {"lr": 0.1 * n}, outcome=Outcome.FAILED, reason=f"E{n}: " + "x" * 400)
        for n in range(1, 6)
    ]
    view = build_view("r", "f", ACCURACY, records)
    text, whole = rendered(view), rendered(view, all_rows=True)
    assert "E3" in text and "E4" not in text and "2 other reasons" in text
    assert text.count("x") < 1000
    assert "E5" in whole and whole.count("x") == 2000


def test_markup_and_control_characters_stay_text():
    params = {"model.name": "[red]net[/red]", "lr": 0.1}
    records = [
        record(1, 1, params, 0.5),
        record(2, 2, params, outcome=Outcome.FAILED, reason="bad [red] :smile: \x1b[2J [/nothing]"),
    ]
    text = rendered(
        build_view("[bold]run", "f", ACCURACY, records, Context(standing=["[link]w"])), 120
    )
    assert "[bold]run: accuracy" in text
    assert text.count("[red]net[/red]") == 3  # headline and both rows
    assert "bad [red] :smile: \\x1b[2J [/nothing]" in text and "[link]w" in text
    assert "\x1b" not in text


def test_runs_without_a_value_read_well():
    def head(records):
        return rendered(
            build_view("r", "f", ACCURACY, records, Context(next_command="go"))
        ).splitlines()

    assert head([]) == ["r: no trials yet", "next  go"]
    waiting = head([record(1, 1, {"lr": 0.1}, outcome=None)])
    assert waiting[0] == "r: no point has been measured yet"
    assert "trials  1 waiting" in waiting
    lost = head([record(1, 1, {"lr": 0.1}, outcome=Outcome.DIVERGED)])
    assert lost[0] == "r: no point was trained to its end"
    told = to_markdown(build_view("r", "f", ACCURACY, [], Context(standing=["stopped"])))
    assert told.startswith("## r\n\nNo trials yet.\n\n- note: stopped\n")
    assert "      1  diverged  0.1" in lost


def test_one_point_without_parameters():
    text = rendered(build_view("r", "f", ACCURACY, [record(1, 1, {}, 0.5)]))
    assert text.startswith("r: accuracy 0.5000 (1 seed), point 1\n")
    assert "note" not in text


@pytest.mark.parametrize(
    ("columns", "width"),
    [("160", 160), ("70", 70), (None, 100), ("0", 100), ("wide", 100), ("99999", 100)],
)
def test_pipe_gets_plain_text_as_wide_as_asked_for(monkeypatch, columns, width):
    monkeypatch.delenv("COLUMNS", raising=False)
    if columns is not None:
        monkeypatch.setenv("COLUMNS", columns)
    stream = io.StringIO()
    open_console(stream).print(result(big_view()))
    lines = stream.getvalue().splitlines()
    assert "\x1b" not in stream.getvalue()
    assert width - 20 < max(map(len, lines)) <= width


@pytest.mark.parametrize("colours", ["", "1"])
def test_pipe_gets_no_blanks_at_the_ends_of_lines(monkeypatch, colours):
    monkeypatch.setenv("FORCE_COLOR", colours)
    stream = io.StringIO()
    table = Table("run", "state", box=None)
    table.add_row("a", "interrupted")
    table.add_row("b", "done", style="yellow")
    open_console(stream).print(table, Text("  two  words  "))
    plain = re.sub(r"\x1b\[[\d;]*m", "", stream.getvalue())
    assert (plain != stream.getvalue()) == bool(colours)
    assert [line.split() for line in plain.splitlines()] == [
        *(["run", "state"], ["a", "interrupted"], ["b", "done"], ["two", "words"])
    ]
    assert not any(line.endswith(" ") for line in plain.splitlines())


def test_terminal_that_knows_only_ascii():
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    open_console(stream).print(result(big_view()))
    stream.flush()
    text = stream.buffer.getvalue().decode("ascii")
    assert "0.9350 (2 seeds, deviation 0.0071)" in text and "... and 5 more: --all" in text


# -- machine


def test_json_has_the_documented_shape():
    records = [
        record(1, 1, {"lr": 0.1, "model.hidden": [64, 128]}, 0.5),
        record(2, 2, {"lr": math.inf}, math.nan),
        record(3, 3, {"lr": 0.3}, outcome=None),
        record(4, 4, {"lr": 0.012345678901}, 0.75, seed=3),
        record(5, 5, {"lr": 9.0}, outcome=Outcome.FAILED, reason="no [red]"),
    ]
    plans = {("a1", "cuda"): Plan("fused", 16, "2.1x"), ("b2", "cpu"): Plan("solo", 1, "tied")}
    view = build_view("r", "runs/r", ACCURACY, records, Context(wall_seconds=4.5, plans=plans))
    text = to_json(view)
    assert "NaN" not in text and "Infinity" not in text
    found = json.loads(text)
    keys = ["format", "run", "objective", "answer", "confirmation", "cost", "points", "trials"]
    keys += ["best"]
    keys += ["plans", "data", "advice", "states", "repeatability", "ranges", "found_ranges"]
    keys += ["stopped", "refinement", "standing", "warnings", "notes", "running", "hidden"]
    keys += ["retry", "resume", "next"]
    assert list(found) == keys
    assert found["warnings"] == [*view.warnings] != [] and found["next"] is None
    assert (found["format"], found["run"]) == (1, "r")
    assert found["objective"] == {"metric": "accuracy", "goal": "max", "at": "last"}
    assert [point["point"] for point in found["points"]] == [4, 1, 2, 5, 3]
    assert found["points"][0] == {
        "point": 4,
        "strategy": "grid",
        "params": {"lr": 0.012345678901},
        "outcome": "completed",
        "objective": 0.75,
        "spread": None,
        "trials": [4],
    }
    assert found["points"][-1]["outcome"] is None
    assert [trial["number"] for trial in found["trials"]] == [1, 2, 3, 4, 5]
    assert found["trials"][0]["params"]["model.hidden"] == [64, 128]
    assert found["trials"][1]["objective"] is None and found["trials"][1]["params"]["lr"] is None
    assert found["trials"][2] == {
        "number": 3,
        "point": 3,
        "params": {"lr": 0.3},
        "strategy": "grid",
        "seed": 0,
        "fold": None,
        "outcome": None,
        "objective": None,
        "steps": None,
        "epochs": None,
        "shared_epochs": None,
        "seconds": None,
        "engine": None,
        "engine_reason": "",
        "rule": None,
        "saved_epochs": 0.0,
        "reason": "",
        "verdicts": [],
    }
    fourth = found["trials"][3]
    assert (fourth["seed"], fourth["steps"], fourth["epochs"]) == (3, 400, 20.0)
    assert (fourth["seconds"], fourth["engine"], fourth["reason"]) == (1.5, "solo", "")
    assert (found["trials"][4]["outcome"], found["trials"][4]["reason"]) == ("failed", "no [red]")
    best = {"point": 4, "params": {"lr": 0.012345678901}, "objective": 0.75, "trials": [4]}
    assert found["best"] == best
    spent = {
        "trials": 4,
        "trial_epochs": 80.0,
        "shared_epochs": 0.0,
        "seconds": 6.0,
        "wall_seconds": 4.5,
    }
    spent |= APART
    spent |= {"range_epochs": 0.0, "range_seconds": 0.0, "saved_epochs": 0.0}
    assert found["cost"] == spent
    assert found["plans"] == [
        {"structure": "a1", "device": "cuda", "engine": "fused", "lanes": 16, "reason": "2.1x"},
        {"structure": "b2", "device": "cpu", "engine": "solo", "lanes": 1, "reason": "tied"},
    ]


def test_json_has_every_note_of_the_terminal_as_it_stands_there():
    rows = [(rate, size) for size in (32, 64) for rate in range(9)]
    records = [
        record(
            2 * at + seed, at, {"lr": 10 ** (rate / 2 - 4), "batch_size": size}, value, seed=seed
        )
        for at, (rate, size) in enumerate(rows, 1)
        for seed, value in enumerate((0.5 + rate / 20, 0.5 + rate / 20 + (at % 3 - 1) / 500))
    ]
    failed = record(50, 30, {"lr": 0.5, "batch_size": 32}, outcome=Outcome.FAILED, reason="no")
    ranges = [Range("lr", 1e-4, 1.0, "log", path="lr")]
    told = {"standing": ["the search was interrupted"], "stopped": "no improvement"}
    view = dataclasses.replace(
        build_view(
            "r",
            "f",
            ACCURACY,
            [*records, failed],
            Context(searched=ranges, hidden=2, running=1, **told),
        ),
        retry_command="lrsearch grid c.yaml --retry-failed",
        whole_command="lrsearch grid c.yaml --resume-pruned",
        advice=("lower rates may train",),
    )
    found = json.loads(to_json(view))
    notes = [(each["label"], each["text"]) for each in found["notes"]]
    notes += [("note", each) for each in found["warnings"]]
    notes += [("advice", each) for each in found["advice"]]
    notes += [(name, found[name]) for name in ("retry", "resume")]
    labels = {label for label, _ in notes}
    assert {"note", "edge", "evidence", "stopped", "advice"} <= labels
    shown = [line.split(maxsplit=1) for line in rendered(view, 2000).splitlines()]
    for label, text in notes:
        assert f"{label} {text}".split(maxsplit=1) in shown
    named = [label for label, _ in notes if label]
    assert len(named) == sum(line[:1] == [label] for line in shown for label in labels)
    assert (found["hidden"], found["running"]) == (2, 1)
    assert found["answer"]["spread"] == view.answer.spread is not None
    assert found["answer"]["curved"] is view.answer.curved is True
    assert [each["value"] for each in found["answer"]["edges"]] == [1.0]
    assert describe_notes(view) == [("Stopped", "no improvement")]


def test_json_without_a_best():
    assert json.loads(to_json(build_view("r", "f", ACCURACY, [])))["best"] is None


def test_csv_has_one_exact_row_a_point():
    view = big_view()
    rows = list(csv.DictReader(io.StringIO(to_csv(view))))
    assert [int(row["point"]) for row in rows] == [point.point for point in view.points]
    first = rows[0]
    assert float(first["lr"]) == params_of(30)["lr"]
    assert float(first["objective"]) == view.best.objective
    assert (first["seeds"], first["trials"], first["outcome"]) == ("2", "59 60", "completed")
    assert rows[1]["schedule"] == "one_cycle" or rows[1]["schedule.pct_start"] == ""
    failed = next(row for row in rows if row["outcome"] == "failed")
    assert failed["reason"] == REASON and failed["objective"] == ""


def test_csv_tells_lists_null_and_missing_apart():
    params = {"model.hidden": [64, 128], "clip_norm": None, "name": 'a,"b"\nc', "nesterov": True}
    records = [record(1, 1, params, 0.5), record(2, 2, {"name": "b"}, 0.25)]
    first, second = csv.DictReader(io.StringIO(to_csv(build_view("r", "f", ACCURACY, records))))
    assert (first["model.hidden"], first["clip_norm"]) == ("[64, 128]", "null")
    assert (first["name"], first["nesterov"]) == ('a,"b"\nc', "true")
    assert (second["model.hidden"], second["clip_norm"]) == ("", "")


def test_markdown_is_one_table_whatever_the_text():
    text = to_markdown(big_view(12))
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert len(table) == 2 + 12
    columns = {len(re.findall(r"(?<!\\)\|", line)) for line in table}
    assert columns == {5 + 4 + 1}  # Each point has as many trials: they have no column.
    assert "\\[red\\](64x784)\\[/red\\] cannot be multiplied \\|" in text
    assert "Best accuracy 0.9170 (2 seeds, deviation 0.0071) with lr=0.00158" in text
    assert "\n- evidence: not confirmed" in text and "\n- cost: 24 trials" in text
    assert "; tied for the best with points " in text


def test_columns_of_words_stand_on_the_left_in_markdown():
    lines = to_markdown(big_view(3)).splitlines()
    head = next(place for place, line in enumerate(lines) if line.startswith("| point"))
    sides = zip(*(line.strip("| ").split(" | ") for line in lines[head : head + 2]), strict=True)
    assert {name for name, side in sides if side == "---"} == {"schedule", "outcome"}


@pytest.mark.parametrize(
    ("number", "told"), [(1, "1 epoch"), (1.0, "1 epoch"), (0.5, "0.5 epochs"), (2, "2 epochs")]
)
def test_one_has_no_plural(number, told):
    assert count(number, "epoch") == told


def test_markdown_has_the_rate_drawn_as_the_terminal_has_it():
    values = (0.2, 0.5, 0.7, 0.8, 0.82, 0.75, 0.6, 0.3)
    rows = [record(n, n, {"lr": 10 ** (n / 2 - 5)}, value) for n, value in enumerate(values, 1)]
    text = to_markdown(build_view("digits", "runs/digits", ACCURACY, rows))
    [drawing] = re.findall(r"\naccuracy by lr\n\n```text\n(.*?)\n```\n\n\| point", text, re.DOTALL)
    lines = drawing.splitlines()
    assert drawing.count("●") >= 4 and "◆ recommended" in drawing and "```" not in drawing
    assert max(map(len, lines)) <= 80


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("ends (--set refine.rounds=6 goes on)", "ends (`--set refine.rounds=6` goes on)"),
        ("(--set 'b=[1, 2]' --set c.max=9.0)", "(`--set 'b=[1, 2]' --set c.max=9.0`)"),
        ("it's (--set 'a=b c')", "it's (`--set 'a=b c'`)"),
        ("next: lrsearch bayes 's p.yaml'", "next: `lrsearch bayes 's p.yaml'`"),
        ("(--set 'a=x`y')", "(--set 'a=x\\`y')"),
    ],
)
def test_what_is_pasted_is_code_without_the_words_around_it(text, told):
    assert escape_markdown(text) == told


def test_machine_formats_need_no_rich():
    code = "import sys, lrsearch.reports.machine; sys.exit('rich' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# -- one trial


def trial_view(outcome=Outcome.FAILED, rows=6, **more):
    config = {
        "data": {"name": "digits", "test": None},
        "model": {"name": "mlp", "hidden": (64, 32)},
        "train": {"lr": 0.1, "clip_norm": None, "transforms": []},
    }
    last = {"accuracy": 0.75, "loss": 0.5}
    ended = Result(
        outcome,
        60,
        2.0,
        12.5,
        last=last,
        best={"accuracy": 0.8125},
        best_step={"accuracy": 40},
        **more,
    )
    curve = {
        "step": [10 * (row + 1) for row in range(rows)],
        "accuracy": [0.5 + row / 20 for row in range(rows)],
        "loss": [1 / (row + 1) for row in range(rows)],
        "note": [math.nan] * rows,
    }
    trial = Record(Trial(7, "key7", config, 3, 1), 4, {"lr": 0.1}, "bayes", ended)
    return TrialView(
        "digits",
        ACCURACY,
        trial,
        True,
        False,
        curve,
        {"cpu": Plan("fused", 8, "3.1 times as fast")},
    )


def page(view, width=80):
    console = Console(width=width, file=io.StringIO())
    console.print(trial_page(view))
    return console.file.getvalue()


@pytest.mark.parametrize("width", [60, 80, 120])
@pytest.mark.parametrize("rows", [0, 1, 4, 5, 300])
def test_a_trial_says_all_that_is_known_of_it(width, rows):
    trace = 'Traceback (most recent call last):\n\tFile "[red]x.py", line 1\nValueError: \x1b[2J'
    view = trial_view(rows=rows, reason="ValueError: no\nway", traceback=trace, output="epoch 1\n")
    text = page(view, width)
    assert max(map(len, text.splitlines())) <= width and "\x1b" not in text
    words = " ".join(text.split())
    for part in (
        *("trial 7 of point 4: failed", "lr=0.1", "ValueError: no way", "seed 3, fold 1"),
        *("proposed by bayes", "60 steps, 2 epochs, in 12s, solo"),
        *("plan fused, 8 lanes: 3.1 times as fast (cpu)", "name=mlp hidden=[64,32]"),
        *("accuracy 0.75 (best 0.8125 at step 40)", 'File "[red]x.py", line 1', "epoch 1"),
    ):
        assert part in words
    assert "clip_norm" not in text and "transforms" not in text
    assert ("step 10" in words) is (rows > 4)
    assert ("step accuracy" in words) is (0 < rows <= 4)


def test_a_trial_without_a_result():
    view = trial_view()
    waiting = dataclasses.replace(view.record, result=None)
    for running, said in ((True, ": running"), (False, ": not trained yet")):
        shown = dataclasses.replace(view, record=waiting, running=running, curve={}, belongs=False)
        text = page(shown)
        assert text.splitlines()[0] == f"digits, trial 7{said}"
        assert "does not belong" in text


def test_a_trial_as_json():
    found = json.loads(trial_json(trial_view(reason="why", traceback="trace", output="out")))
    assert (found["format"], found["run"], found["objective"]["metric"]) == (
        1,
        "digits",
        "accuracy",
    )
    trial = found["trial"]
    assert (trial["number"], trial["point"], trial["seed"], trial["fold"]) == (7, 4, 3, 1)
    assert (trial["outcome"], trial["reason"], trial["objective"]) == ("failed", "why", None)
    assert (trial["traceback"], trial["output"]) == ("trace", "out")
    assert trial["config"]["model"] == {"name": "mlp", "hidden": [64, 32]}
    assert found["curve"]["step"] == [10, 20, 30, 40, 50, 60]
    assert found["curve"]["note"] == [None] * 6
    assert found["plans"][0]["lanes"] == 8


@given(
    steps=st.lists(st.integers(0, 10**6), min_size=2, max_size=50, unique=True),
    slope=st.floats(-5, 5),
    number=st.integers(2, 60),
)
def test_values_evenly_apart_stay_on_their_lines(steps, slope, number):
    steps.sort()
    pairs = [(step, slope * step) for step in steps]
    first, last = steps[0], steps[-1]
    for index, value in enumerate(evenly(pairs, number)):
        at = first + (last - first) * index / (number - 1)
        assert value == pytest.approx(slope * at, rel=1e-6, abs=1e-3)


# -- progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch):
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")


def go_through(progress):
    """Three trials, the last of which is still running at the end."""
    progress.note("a note")
    progress.begin(40, ACCURACY, 2)
    params = {"lr": 0.0316227766, "batch_size": 64}
    progress.started(11, params)
    progress.measured(11, 0.5, 0.91)
    progress.ended(11, params, Outcome.COMPLETED, 0.97222, 1.3)
    progress.best(params, 0.97222)
    progress.started(12, params)
    progress.ended(12, params, Outcome.FAILED, None, 0.2, "RuntimeError: [red]\nboom")
    progress.started(13, {"lr": 0.5})
    progress.measured(13, 0.25, 0.875)
    progress.planned(50)


PLAIN = """\
a note
[ 1/40] trial 11  accuracy 0.9722  1.3s  lr=0.0316 batch_size=64
[ 2/40] trial 12  failed  0.2s  lr=0.0316 batch_size=64  RuntimeError: [red] boom
"""


def test_off_a_terminal_each_finished_trial_has_a_plain_line():
    stream = io.StringIO()
    with Progress(stream) as progress:
        go_through(progress)
    assert stream.getvalue() == PLAIN


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_terminal_that_wants_no_animation_gets_plain_lines(monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    stream = Terminal()
    with Progress(stream) as progress:
        go_through(progress)
    assert stream.getvalue() == PLAIN


@pytest.mark.parametrize("kind", [io.StringIO, Terminal])
def test_quiet_shows_nothing(kind):
    stream = kind()
    with Progress(stream, quiet=True) as progress:
        go_through(progress)
    assert stream.getvalue() == ""


def test_unknown_total_shows_the_count_alone():
    stream = io.StringIO()
    with Progress(stream) as progress:
        progress.begin(None, ACCURACY, 1)
        progress.ended(1, {}, Outcome.OUT_OF_MEMORY, None, 61, "")
    assert stream.getvalue() == "[1] trial 1  out of memory  1m 01s\n"


def test_terminal_shows_lines_that_stay_and_a_part_that_moves(monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    now = [0.0]
    stream = Terminal()
    with Progress(stream, clock=lambda: now[0]) as progress:
        go_through(progress)
        now[0] = 90.0
        progress.measured(13, 0.5, 0.875)
    raw = stream.getvalue()
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", raw)
    for line in PLAIN.splitlines():
        assert line in text
    last = text[text.rindex("trial 13") :]
    assert re.search(r"trial 13  lr=0\.5 .* 50%  accuracy 0\.8750", last)
    assert re.search(r"best  accuracy 0\.9722  lr=0\.0316 batch_size=64", last)
    assert re.search(r"2/50 .*1m 30s, \S+.* to \S+.* left, 1\.7 trials/min, 2 workers", last)
    assert raw.count("\x1b[?25l") == raw.count("\x1b[?25h") > 0  # the cursor is back


def test_lines_for_running_trials_are_bounded(monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("LINES", "12")
    stream = Terminal()
    with Progress(stream) as progress:
        progress.begin(100, ACCURACY, 1)
        for number in range(1, 65):
            progress.started(number, {"lr": 0.1})
    last = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", stream.getvalue())
    frame = last[last.rindex("trial 1 ") :]
    assert frame.count("trial ") == 3
    assert "and 61 more running" in frame and "0/100" in frame


def test_printing_is_not_one_redraw_a_line():
    stream = Terminal()
    with Progress(stream) as progress:
        progress.begin(500, ACCURACY, 1)
        for number in range(1, 501):
            progress.ended(number, {}, Outcome.COMPLETED, 0.5, 1.0)
    assert "[500/500] trial 500" in stream.getvalue()
    assert len(re.findall(r" workers?", stream.getvalue())) < 50


def test_a_start_that_takes_long_moves_on_a_terminal():
    now = [0.0]
    stream = Terminal()
    with Progress(stream, clock=lambda: now[0]) as progress:
        progress.start("starting 2 workers, loading")
        for second in range(8):
            now[0] = second + 0.3
            time.sleep(0.3)
        progress.note("480 images")
        progress.begin(3, ACCURACY, 2)
        time.sleep(0.6)
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", stream.getvalue())
    turning = re.findall(r"(\S) starting 2 workers, loading  ([\d.]+)s", text)
    assert len({sign for sign, _ in turning}) > 3 and len({at for _, at in turning}) > 3
    assert "480 images" in text
    assert "starting" not in text[text.rindex("0/3") :], "it is over when the search begins"


@pytest.mark.parametrize("name", ["NO_COLOR", "TERM", None])
def test_a_start_is_one_plain_line_where_nothing_may_move(monkeypatch, name):
    if name:
        monkeypatch.setenv(name, "dumb")
    stream = Terminal() if name else io.StringIO()
    with Progress(stream) as progress:
        progress.start("starting")
        time.sleep(0.6)
        progress.begin(3, ACCURACY, 2)
    assert stream.getvalue() == "starting\n"
    quiet = Terminal()
    with Progress(quiet, quiet=True) as progress:
        progress.start("starting")
    assert quiet.getvalue() == ""


LONG = {
    "lr": 0.0316227766,
    "batch_size": 64,
    "schedule": "one_cycle",
    "schedule.pct_start": 0.3,
    "optimizer.weight_decay": 5e-4,
    "optimizer.momentum": 0.9,
    "model.init_args.weights": "checkpoints/resnet/epoch_09/model.pt",
    "label_smoothing": 0.1,
}


def another(value):
    """Another value of its kind, as near as one gets."""
    if isinstance(value, str):
        return value[:-4] + "x" + value[-3:]
    return value + 1 if isinstance(value, int) else value * 1.001


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("name", LONG)
def test_no_two_live_lines_look_alike(monkeypatch, width, name):
    """Whatever they differ in, however little; also by their trials' numbers alone removed."""
    monkeypatch.setenv("COLUMNS", str(width))
    stream = Terminal()
    with Progress(stream) as progress:
        progress.begin(3, ACCURACY, 2)
        for number, value in ((1, LONG[name]), (2, another(LONG[name]))):
            progress.started(number, {**LONG, name: value})
            progress.measured(number, 0.5, 0.9123)
    last = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", stream.getvalue())
    rows = re.findall(r"trial [12]  (\S.*)", last[last.rindex("trial 1 ") :])
    assert len(rows) == 2 and rows[0] != rows[1], rows
    assert all(len(row) <= width for row in rows)


@pytest.mark.parametrize("width", [80, 120])
def test_lines_that_stay_keep_every_parameter(monkeypatch, width):
    monkeypatch.setenv("COLUMNS", str(width))
    stream = Terminal()
    with Progress(stream) as progress:
        progress.begin(40, ACCURACY, 2)
        for number, smoothing in ((1, 0.1), (2, 0.2)):
            params = {**LONG, "label_smoothing": smoothing}
            progress.started(number, params)
            progress.ended(number, params, Outcome.COMPLETED, 0.97222, 1.3)
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", stream.getvalue())
    lines = " ".join(text.split())
    assert re.search(r"\[ 1/40\] trial 1 .*?(ls|label_smoothing)=0\.1 ", lines)
    assert re.search(r"\[ 2/40\] trial 2 .*?(ls|label_smoothing)=0\.2 ", lines)


names = st.from_regex(r"[a-z]{1,9}([._][a-z]{1,9}){0,3}", fullmatch=True)
values = st.one_of(
    st.integers(0, 10**6), st.floats(1e-6, 10), st.sampled_from(["sgd", "adam", "a/b/c" * 9, None])
)


def name_of(text):
    return [part.partition("=")[0] for part in text.split(" ")]


@given(st.data(), st.integers(20, 200))
def test_what_differs_is_told_apart(data, width):
    keys = data.draw(st.lists(names, min_size=1, max_size=6, unique=True))
    rows = data.draw(
        st.lists(st.fixed_dictionaries(dict.fromkeys(keys, values)), min_size=1, max_size=12)
    )
    rows = [{key: row[key] for key in keys} for row in rows]
    shown = tell_apart(rows, width)
    assert len(shown) == len(rows) and max(map(len, shown)) <= width
    whole = tell_apart(rows, 1000)  # With more digits than alone, where these tell it apart.
    if max(map(len, whole)) <= width:
        assert shown == whole, "nothing is left out where all fits"
    assert [name_of(text) for text in whole] == [name_of(format_params(row)) for row in rows]
    for left, first in zip(rows, shown, strict=True):
        for right, second in zip(rows, shown, strict=True):
            if left == right:
                assert first == second
    one = rows[0]
    for key in keys:  # A single difference is always seen.
        other = {**one, key: data.draw(values)}
        if format_value(one[key]) != format_value(other[key]):
            first, second = tell_apart([one, other], width)
            assert first != second, (one, other)


@given(st.lists(names, min_size=1, max_size=12, unique=True))
def test_short_names_are_different_names(given_names):
    short = abbreviate(given_names)
    assert list(short) == given_names and len(set(short.values())) == len(given_names)


def test_short_names_are_those_that_people_use():
    assert abbreviate(list(LONG)) == {
        "lr": "lr",
        "batch_size": "bs",
        "schedule": "sched",
        "schedule.pct_start": "ps",
        "optimizer.weight_decay": "wd",
        "optimizer.momentum": "momen",
        "model.init_args.weights": "weigh",
        "label_smoothing": "ls",
    }


# -- curves


def body(text):
    """The drawn part of each line, behind the axis."""
    return [re.split(r"[┤|]", line, maxsplit=1)[1] for line in text.splitlines()]


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "no-such-encoding"])
@given(values=st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=200))
def test_plot_stays_in_its_frame_and_reaches_both_ends(encoding, values):
    text = plot(values, width=40, height=5, encoding=encoding)
    lines = text.splitlines()
    assert len(lines) == 5 and max(map(len, lines)) <= 40
    assert text.isascii() == (encoding != "utf-8")
    drawn = body(text)
    assert any(line.strip() for line in drawn)
    if max(values) > min(values):
        assert drawn[0].strip() and drawn[-1].strip()
        assert all(line.strip() for line in drawn)  # joined without a gap


def test_plot_of_a_line_is_a_diagonal():
    text = plot(range(5), width=8, height=5, encoding="ascii")
    assert text == "4 |    *\n  |   *\n  |  *\n  | *\n0 |*"


def test_plot_keeps_a_spike_among_many_values():
    values = [0.0] * 10_000
    values[7_777] = 1.0
    top = body(plot(values, width=42, height=4, encoding="ascii"))[0]
    assert top.strip() and abs(top.index("*") - 0.7777 * 39) <= 1


def test_plot_joins_a_jump():
    text = plot([0] * 4 + [1] * 4, width=11, height=4, encoding="ascii")
    assert text == "1 |    ****\n  |    *\n  |    *\n0 |****"


def test_plot_leaves_a_gap_where_a_value_is_not_finite():
    text = plot([1, 1, math.nan, 1, 1], width=8, height=1, encoding="ascii")
    assert text == "1 |** **"


def test_plot_labels_and_given_range():
    text = plot([0.5, 0.5], width=20, height=3, low=0, high=1, ends=("0", "end"), encoding="ascii")
    lines = text.splitlines()
    assert lines[0].startswith("1 |") and lines[2].startswith("0 |") and "*" in lines[1]
    assert lines[3] == "   0" + " " * 13 + "end"


def test_plot_tells_the_ends_of_its_axis_apart():
    lines = plot([1.096123, 1.095834], width=20, height=3, encoding="ascii").splitlines()
    assert lines[0].startswith("1.0961 |") and lines[2].startswith("1.0958 |")


def test_plot_of_nothing_is_refused():
    with pytest.raises(ValueError, match="no finite value"):
        plot([math.nan])


def test_values_that_only_the_spec_has_beyond_the_best_are_named():
    records = [record(n, n, {"batch_size": size}, 0.9 - n / 100) for n, size in ((1, 32), (2, 64))]
    ranges = [Range("batch_size", 16, 64, listed=(16, 32, 64), whole=True)]
    view = build_view("r", "runs/r", ACCURACY, records, Context(searched=ranges))
    assert view.standing[0].startswith("batch_size 16 was not trained yet")
    records.append(record(3, 3, {"batch_size": 16}, 0.5))
    view = build_view("r", "runs/r", ACCURACY, records, Context(searched=ranges))
    assert not any("not trained yet" in each for each in view.standing)


def test_a_point_of_the_same_value_is_not_called_better():
    from types import SimpleNamespace

    from lrsearch.reports.answer import choice

    own, other = SimpleNamespace(point=10), SimpleNamespace(point=4, objective=0.9)
    answer = SimpleNamespace(
        recommended=own, highest=other, steady=False, value=0.9, decimals=4,
        confirmation=None, confirmed=False, why="its schedule is the simplest",
    )  # fmt: skip
    same = "of the points of this value 10 is recommended, since its schedule is the simplest"
    assert choice(answer) == same
    answer.value = 0.8
    assert choice(answer).startswith("point 4 was measured better (0.9")
