"""`lrsearch refine`, `--until` and `stop` on the command line: what is said, shown and refused."""

from __future__ import annotations

import json
import shutil

import pytest
from click.testing import Result
from devices import DEVICE
from typer.testing import CliRunner

from lrsearch.cli import app

SPEC = """
name: small
data: {name: digits, standardize: true}
model: logistic
train: {budget: 1ep, batch_size: 256, optimizer: {name: sgd, momentum: 0.9}}
search: {lr: {min: 1e-4, max: 1e-2, points: 4}}
random: {trials: 30}
"""


def call(*words: str) -> Result:
    trains = words[0] in ("grid", "random", "bayes", "refine")
    more = ("--executor", "inline", "--device", str(DEVICE)) if trains else ()
    return CliRunner().invoke(app, [*words, *more])


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    folder = tmp_path_factory.mktemp("searched")
    (folder / "s.yaml").write_text(SPEC)
    call("grid", str(folder / "s.yaml"), "--runs", str(folder / "runs"), "--quiet")
    return folder


@pytest.fixture
def here(searched, tmp_path, monkeypatch):
    shutil.copytree(searched, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_refine_without_a_search_names_the_command_that_makes_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "s.yaml").write_text(SPEC)
    found = call("refine", "s.yaml")
    assert found.exit_code == 2 and "lrsearch bayes s.yaml" in found.stderr
    assert not (tmp_path / "runs").exists()
    for words, told in (
        (("--fresh",), "lrsearch bayes s.yaml --fresh"),
        (("--set", "seeds=2"), "search first: lrsearch bayes s.yaml --set seeds=2"),
        (("--trials", "3"), "--set refine.rounds=3"),
    ):
        refused = call("refine", "s.yaml", *words)
        assert refused.exit_code == 2 and told in refused.stderr


def test_refine_says_first_what_it_would_train_and_what_that_costs(here):
    planned = call("refine", "s.yaml", "--dry-run")
    assert planned.exit_code == 0 and "refine would train 2 trials of 2 points first" in (
        planned.stdout
    )
    assert "the best lies on an end of what was searched" in planned.stdout
    assert "epochs" in planned.stdout and "as those before took" in planned.stdout
    assert "lr=0.215" in planned.stdout
    found = call("refine", "s.yaml", "--json")
    assert found.exit_code == 0, found.stderr
    report = json.loads(found.stdout)
    first, *_, last = report["refinement"]
    assert first["points"] == 2 and first["state"] == "out" and first["before"] is None
    assert last["points"] == 0 and last["told"] in found.stderr
    assert "the interval is of the search's split alone" in last["told"]
    assert report["stopped"] is None
    own = [point["params"]["lr"] for point in report["points"] if point["strategy"] == "refine"]
    assert len(own) == sum(each["points"] for each in report["refinement"]) and max(own) > 1e-2
    # The edge of the grid is none any more, or lies where the refinement ended.
    assert all(edge["suggest"]["max"] > max(own) for edge in report["answer"]["edges"])
    shown = call("report", "s.yaml")
    assert "refined" in shown.stdout and "a refinement went there" in shown.stdout
    assert "the interval is of the search's split alone" in " ".join(shown.stdout.split())
    assert "refined" in call("report", "s.yaml", "--markdown").stdout
    assert call("report", "s.yaml", "--html", "s.html").exit_code == 0
    assert "Refined" in (here / "s.html").read_text()
    done = call("refine", "s.yaml", "--dry-run")
    assert "refine would train 0 trials" in done.stdout


def test_the_next_command_names_the_spec_where_it_is_now(here, searched):
    (here / "s.yaml").rename(here / "moved.yaml")
    (here / "runs").rename(here / "old runs")
    begun = searched / "s.yaml"
    begun.rename(searched / "away.yaml")
    try:
        shown = call("report", "moved.yaml", "--runs", "old runs", "--json")
    finally:
        (searched / "away.yaml").rename(begun)
    told = json.loads(shown.stdout)["next"]
    assert told.startswith("lrsearch confirm moved.yaml --device ")
    assert told.endswith(" --executor inline --runs 'old runs'") and str(searched) not in told
    shown = call("report", "moved.yaml", "--runs", "old runs", "--json")
    assert str(begun) in json.loads(shown.stdout)["next"], "as it was given, where that is there"


def test_a_plan_of_a_search_names_the_rounds_after_it(here):
    planned = call("grid", "s.yaml", "--set", "refine={rounds: 2}", "--dry-run")
    assert "and then up to 2 rounds of refinement" in planned.stdout


@pytest.mark.parametrize(
    ("until", "told"),
    [
        ("acuracy>=0.9", "did you mean 'accuracy'?"),
        ("loss<=0.1", "which is accuracy, not loss"),
        ("accuracy<=0.9", 'write --until "accuracy>=0.9"'),
        ("accuracy<0.9", 'write --until "accuracy>=0.9"'),
        ("accuracy>=95", 'write --until "accuracy>=0.95"'),
        ("accuracy >= 98 %", '--until "accuracy >=0.98"'),
        ("accuracy>1", "nothing meets it"),
        ("accuracy=0.9", 'write --until "accuracy>=0.9", or <='),
        ("accuracy", "a requirement is a metric"),
    ],
)
def test_what_can_end_no_search_is_refused(here, until, told):
    found = call("grid", "s.yaml", "--until", until)
    assert found.exit_code == 2 and told in found.stderr and "--until" in found.stderr


def test_a_loss_is_good_where_it_is_low(here):
    for until, told in (("loss>=1", '"loss<=1"'), ("loss<-1", "no loss is below")):
        found = call("grid", "s.yaml", "--set", "objective=loss", "--until", until)
        assert found.exit_code == 2 and told in found.stderr, found.stderr


def test_until_that_is_met_already_trains_nothing_and_says_so(here):
    best = json.loads(call("report", "s.yaml", "--json").stdout)["best"]["objective"]
    found = call("random", "s.yaml", "--until", f"accuracy>={best!r}", "--json")
    assert found.exit_code == 0
    report = json.loads(found.stdout)
    assert report["cost"]["trials"] == 4
    assert report["stopped"].startswith("accuracy >= 0.")
    assert "is met by point" in report["stopped"]
    assert "without --until the same command goes on" in report["stopped"]
    shown = call("report", "s.yaml").stdout
    assert "stopped" in shown and "lrsearch confirm" in shown
    assert "done" in call("list").stdout


def test_a_search_whose_proposals_are_all_made_says_so_and_how_to_get_more(here):
    again = call("grid", "s.yaml")
    assert again.exit_code == 0 and "all points of the grid are trained already" in again.stderr
    call("random", "s.yaml", "--trials", "2")
    again = call("random", "s.yaml", "--trials", "2")
    said = " ".join(again.stderr.split())
    assert "all 2 proposals of random were made before: to go on, write random:" in said
    assert "random: {trials: 4} (--trials 4)" in said
    # What is to be written does go on, and says nothing of the kind.
    more = call("random", "s.yaml", "--trials", "4")
    assert more.exit_code == 0 and "made before" not in more.stderr


def test_patience_stands_in_the_answer_with_what_goes_on(here):
    found = call("random", "s.yaml", "--set", "stop.patience=3", "--json")
    assert found.exit_code == 0
    report = json.loads(found.stdout)
    assert "no improvement beyond noise" in report["stopped"]
    line = "To go on, write stop: {patience: 6} (--set stop.patience=6)"
    assert report["stopped"].endswith(line)
    assert report["cost"]["trials"] < 34
    assert "stopped" in call("report", "s.yaml").stdout


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ("refine.rounds=0", "a whole number from 1"),
        ("refine.width=-1", "a number above 0"),
        ("refine=4", "'refine={rounds: 4}'"),
        ("refine=true", "'refine={rounds: 3}'"),
        ("stop.patience=-3", "a whole number from 1"),
        ("stop=7", "'stop={patience: 7}'"),
        ("stop.patients=7", "write --set stop.patience=7; allowed: patience"),
        ("bayes.patience=7", "'stop={patience: 7}'"),
    ],
)
def test_settings_that_make_no_sense_are_answered_with_what_to_write(here, setting, told):
    found = call("check", "s.yaml", "--set", setting)
    assert found.exit_code == 2 and told in found.stderr, found.stderr


def test_check_reads_the_ends_of_a_search_back(here):
    found = call("check", "s.yaml", "--set", "stop.patience=3", "--set", "refine={rounds: 1}")
    text = " ".join(found.stdout.split())
    assert "random and bayes end after 3 proposals without an improvement beyond noise" in text
    assert "Up to 1 round refine what a search has found" in text


def test_an_edge_of_one_optimizer_is_none_where_a_refinement_went_beyond_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rates = "[{name: sgd, lr: {min: 1e-3, max: 1.0, points: 4}}, adam]"
    text = SPEC.replace("optimizer: {name: sgd, momentum: 0.9}", "lr: 1e-4")
    text = text.replace("{lr: {min: 1e-4, max: 1e-2, points: 4}}", f"{{optimizer: {rates}}}")
    (tmp_path / "s.yaml").write_text(text)
    grid = json.loads(call("grid", "s.yaml", "--json").stdout)
    assert [edge["side"] for edge in grid["answer"]["edges"]] == ["highest"]
    found = json.loads(call("refine", "s.yaml", "--json").stdout)
    most = max(point["params"]["lr"] for point in found["points"])
    assert most > 1.0
    best = found["answer"]["highest"]["params"]["lr"]
    assert bool(found["answer"]["edges"]) == (best == most)


MANY = f"{{auto: true, points: 4}}, model.hidden: {[[size] for size in range(1, 70)]}"
"""Rates to be found for more structures than are tested."""


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("points: 4", "points: 4 ", ""),
        ("1ep", "1.0ep", ""),
        ("1ep", "2ep", "(train.budget), which is shown here: lrsearch grid s.yaml | would find "
         "none of its trials here, and refuse to begin"),
        ("min: 1e-4", "min: 1e-3", "(search.lr), which is shown here: lrsearch grid s.yaml | "
         "would go on with 2 of its 4 points"),
        ("{min: 1e-4, max: 1e-2, points: 4}", MANY, "model, search.lr, search.model.hidden), which"
         "|would refuse to begin: the spec has more than 64 structures, each of which takes a"),
        ("budget", "bugdet", "s.yaml is not valid (lrsearch check s.yaml says why), and what"),
    ],
)  # fmt: skip
def test_a_spec_that_changed_since_its_run_is_told_with_what_a_search_would_do(
    here, old, new, told
):
    spec = SPEC.replace("model: logistic", "model: mlp") if new == MANY else SPEC
    (here / "s.yaml").write_text(spec.replace(old, new))
    shown = " ".join(call("report", "s.yaml").stdout.split())
    assert ("s.yaml differs" in shown or "s.yaml is not" in shown) == bool(told)
    assert all(part in shown for part in told.split("|")), shown
