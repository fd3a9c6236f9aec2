"""`--require`, several and by a baseline, and the test report for CI."""

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from xml.etree import ElementTree

import pytest
from test_exporting_runs import OLDER, call, report
from test_report import ACCURACY, record

from lrsearch.analysis.requirement import Requirement, parse_requirement
from lrsearch.reports.junit import to_junit
from lrsearch.reports.view import build_view
from lrsearch.trial import Outcome


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("older", "other"):
        shutil.copytree(OLDER, tmp_path / "runs" / name)
    return "older"


@pytest.mark.parametrize(
    ("text", "bound", "shown"),
    [
        ("accuracy>=baseline", 0.0, "accuracy >= baseline"),
        (" accuracy >= baseline - 0.01 ", -0.01, "accuracy >= baseline - 0.01"),
        ("loss<baseline+1e-3", 0.001, "loss < baseline + 0.001"),
    ],
)
def test_a_baseline_in_a_requirement(text, bound, shown):
    read = parse_requirement(text)
    assert (read.bound, read.relative, str(read)) == (bound, True, shown)
    settled = read.settle(0.5)
    assert (settled.bound, settled.relative) == (0.5 + bound, False)
    assert (
        str(settled)
        == f"{shown.split(' base')[0]} {0.5 + bound:.12g} ({read.told or shown.split(' ', 2)[2]})"
    )


@pytest.mark.parametrize(
    "text", ["accuracy >= baseline * 2", "accuracy >= baseline - x", "baseline"]
)
def test_what_is_no_requirement(run, text):
    done = call("report", run, "--require", text, "--baseline", "other", code=2)
    assert '"accuracy >= baseline - 0.01"' in done.stderr


def test_all_must_hold_and_each_is_shown(run):
    best = report(run)["best"]["objective"]
    both = call("report", run, "--require", "accuracy>0", "--require", "loss<1e9")
    assert [line.split(":")[0] for line in both.stderr.splitlines()] == ["met", "met"]
    one = call("report", run, "--require", "accuracy>1", "--require", "accuracy>0", code=3)
    assert one.stderr.splitlines() == [
        f"not met: accuracy > 1: the best point reached {best:.6g}",
        f"met: accuracy > 0: the best point reached {best:.6g}",
    ]
    assert one.stdout == call("report", run).stdout


def test_a_baseline_is_what_is_recommended_there(run):
    value = report("other")["answer"]["value"]
    arguments = ("report", run, "--baseline", "other", "--require")
    assert "met: accuracy >= " in call(*arguments, "accuracy >= baseline - 1e-9").stderr
    done = call(*arguments, "accuracy >= baseline + 0.5", code=3)
    assert f"accuracy >= {value + 0.5:.12g} (baseline + 0.5)" in done.stderr


def test_a_baseline_of_other_data_is_told(run):
    said = call("report", run, "--baseline", "other", "--require", "accuracy >= baseline").stderr
    assert "no baseline" not in said
    Path("iris.yaml").write_text(
        "data: iris\nmodel: logistic\ntrain: {budget: 2ba, lr: 0.1}\nobjective: accuracy\n"
    )
    arguments = ("--baseline", "other", "--require", "accuracy >= baseline - 1")
    note = "note: older is no baseline of iris: the data are not the same\n"
    assert note in call("grid", "iris.yaml", "--executor", "inline", "-q", *arguments).stderr
    assert note in call("report", "iris", *arguments).stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--require", "accuracy >= baseline"], "add --baseline RUN"),
        (["--baseline", "other"], "no --require compares with it"),
        (["--require", "accuracy > 0", "--baseline", "other"], "no --require compares with it"),
        (["--require", "rmse >= baseline", "--baseline", "other"], "does not measure 'rmse'"),
        (["--require", "accuracy >= baseline", "--baseline", "none"], "is not a run"),
        (["--require", "rmse > 0"], "does not measure it"),
        (["--require", "accuracy > 0", "--trial", "1"], "--require and --junit out"),
        (["--junit", "none/a.xml"], "cannot write none/a.xml"),
    ],
)
def test_slips(run, arguments, words):
    assert words in call("report", run, *arguments, code=2).stderr


def test_junit_has_a_case_for_each_requirement(run):
    more = ("--require", "accuracy>0", "--require", "accuracy>1")
    call("report", run, "--junit", "a.xml", *more, code=3)
    [suite] = ElementTree.parse("a.xml").getroot()
    assert suite.attrib["tests"] == "3" and suite.attrib["failures"] == "1"
    checked = datetime.fromisoformat(suite.attrib["timestamp"] + "+00:00")
    assert checked <= datetime.now(UTC) < checked + timedelta(hours=1)
    assert [case.attrib["name"] for case in suite] == [
        *("a point completed", "accuracy > 0", "accuracy > 1")
    ]
    assert [case.find("failure") is not None for case in suite] == [False, False, True]
    call("report", run, "--junit", "a.xml")
    assert ElementTree.parse("a.xml").getroot()[0].attrib["failures"] == "0"


def test_failed_trials_are_no_test_cases():
    hostile = "]]> <b>\x1b[2J\x00\ufffe \udcff"
    records = [
        record(1, 1, {"lr": 0.1}, 0.9),
        record(2, 2, {"lr": 0.2}, outcome=Outcome.FAILED, reason=hostile),
    ]
    view = build_view("a", "runs/a", ACCURACY, records)
    text = to_junit(view, [(Requirement("accuracy", ">=", 0.5), 0.9, True, "the best point")])
    [suite] = ElementTree.fromstring(text.encode())
    assert (len(suite), suite.attrib["failures"]) == (2, "0")
    told = suite[0].find("system-err").text
    assert told == r"trial 2 failed: ]]> <b>\x1b[2J\x00\ufffe \udcff"


def test_nothing_completed_is_a_failure():
    view = build_view("a", "f", ACCURACY, [record(1, 1, {"lr": 1}, outcome=Outcome.DIVERGED)])
    [suite] = ElementTree.fromstring(to_junit(view, []).encode())
    assert suite.attrib["failures"] == "1" and suite[0].find("failure") is not None
