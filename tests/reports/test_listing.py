"""The list of runs fits the terminal: what matters least is told in fewer words, or left out."""

import io
from dataclasses import replace

import pytest
from rich.console import Console

from lrsearch.reports.listing import RunLine, listing, tell_best
from lrsearch.trial import Objective, Outcome

LINES = [
    RunLine(
        name,
        f"runs/{name}",
        1.7e9,
        "done",
        "random",
        {Outcome.COMPLETED: 9613, Outcome.DIVERGED: 291, Outcome.FAILED: 96},
        objective=Objective("accuracy", "max"),
        best=0.98012,
        recommended=0.97791,
        decimals=4,
    )
    for name in ("older", "a-run-of-many-trials")
]


def shown(width, lines=LINES):
    stream = io.StringIO()
    Console(file=stream, width=width, color_system=None).print(listing(lines))
    return [line.rstrip() for line in stream.getvalue().splitlines()]


@pytest.mark.parametrize(
    ("width", "heads", "trials"),
    [
        (120, "run strategy state trials best written", "9613 completed, 291 diverged, 96 failed"),
        (80, "run strategy state trials best written", "10000"),
        (66, "run state trials best written", "10000"),
        (60, "run state trials best", "10000"),
        (45, "run state best", ""),
    ],
)
def test_a_narrow_terminal_has_a_line_a_run(width, heads, trials):
    head, *rows = shown(width)
    assert head.split() == heads.split()
    assert len(rows) == len(LINES) and all(len(row) <= width for row in rows)
    for row, line in zip(rows, LINES, strict=True):
        assert row.startswith(f"{line.name} ") and "accuracy 0.9779" in row
        assert trials in row and ("random" in row) == ("strategy" in heads)


def test_one_long_name_takes_no_column_from_the_others():
    long = replace(LINES[0], name="a-search-of-a-long-name" * 3)
    head, *rows = shown(80, [*LINES, long])
    assert head.split() == ["run", "strategy", "state", "trials", "best", "written"]
    assert rows[0].split() == shown(80)[1].split()


def test_no_width_loses_a_letter_of_a_name():
    for width in range(20, 60):
        text = "".join(row.partition("  ")[0].strip() for row in shown(width))
        assert "a-run-of-many-trials" in text


def test_what_cannot_be_read_stands_below_without_a_table():
    foreign = RunLine("x", "runs/x", 1.7e9, "foreign", reason="it is not a run")
    assert shown(80, [foreign]) == ["foreign  runs/x: it is not a run"]
    assert shown(80, [*LINES, foreign])[-1] == "foreign  runs/x: it is not a run"


def test_many_folders_that_are_no_runs_are_named_in_one_line():
    foreign = [RunLine(f"x{n}", f"a/x{n}", 1.7e9, "foreign", reason="") for n in range(40)]
    damaged = RunLine("y", "a/y", 1.7e9, "damaged", reason="line 3")
    lines = shown(120, [*foreign, damaged])
    assert lines == [
        "foreign  x0, x1, x2, x3, x4, x5, x6, x7 and 32 more are no runs",
        "damaged  a/y: line 3",
    ]
    assert len(shown(120, foreign[:8])) == 8


@pytest.mark.parametrize(
    ("value", "decimals", "told"),
    [(1.0, 3, "f1 1.000"), (0.991, 4, "f1 0.9910"), (2e-5, None, "f1 2e-5")],
)
def test_a_value_has_the_decimals_of_its_report(value, decimals, told):
    line = RunLine("x", "runs/x", 1.7e9, objective=Objective("f1", "max"), recommended=value)
    line = replace(line, decimals=decimals)
    assert tell_best(line) == told
