"""A run that was made before the rooms, range tests, records and diagnoses: it opens, reports and
goes on. `older/` is its folder as that version left it."""

import json
import shutil
from pathlib import Path

import pytest
from devices import DEVICE
from typer.testing import CliRunner

from lrsearch.cli import app
from lrsearch.search.start import Start
from lrsearch.spec import read_spec
from lrsearch.store import read, read_curve, read_records
from lrsearch.trial import Records

OLDER = Path(__file__).parent / "older"


@pytest.fixture
def older(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(OLDER, tmp_path / "runs" / "older")
    monkeypatch.chdir(tmp_path)
    shutil.copy(OLDER / "spec.yaml", "older.yaml")
    return tmp_path / "runs" / "older"


def lrsearch(*words: str) -> str:
    said = CliRunner().invoke(app, list(words))
    assert said.exit_code == 0, said.output
    return said.stdout


def test_an_older_run_reports_what_it_measured(older: Path) -> None:
    found = json.loads(lrsearch("report", "older", "--json"))
    values = {point["point"]: point["objective"] for point in found["points"]}
    ended = read(older).results
    assert values == {n: ended[n].last["accuracy"] for n in range(1, 7)} and len(values) == 6
    assert found["best"]["params"] == {"lr": 1.0, "schedule": "cosine"}
    assert round(found["best"]["objective"], 4) == 0.9443
    # Its curves, which have no records, are read for a diagnosis all the same.
    assert read_records(older, 1) == Records() and len(read_curve(older, 1)["step"]) == 2
    assert all(isinstance(trial["verdicts"], list) for trial in found["trials"])
    assert "accuracy 0.9443" in lrsearch("report", "older", "--trial", "6").replace(
        "0.94429", "0.9443"
    )
    assert "point,strategy" in lrsearch("report", "older", "--csv")


def test_an_older_run_goes_on_without_training_a_point_again(older: Path) -> None:
    before = (older / "journal.jsonl").read_bytes()
    run = ("grid", "older.yaml", "--executor", "inline", "--device", str(DEVICE), "--quiet")
    lrsearch(*run)
    assert len(read(older).trials) == 6 and len(read(older).results) == 6
    lrsearch(*run, "--set", "search.lr.points=4")
    history = read(older)
    assert len(history.results) == 6 + 4, "two rates in between are new"
    assert (older / "journal.jsonl").read_bytes().startswith(before)
    for number in (1, 6):
        assert read_curve(older, number)["step"]
    exported = lrsearch("export", "older")
    assert "schedule" in exported


def test_a_point_of_an_older_run_is_the_same_when_trained_now(older: Path, tmp_path: Path) -> None:
    lrsearch(
        "grid",
        "older.yaml",
        "--runs",
        "anew",
        "--executor",
        "inline",
        "--device",
        str(DEVICE),
        "-q",
    )
    then, now = read(older).results, read(tmp_path / "anew" / "older").results
    keys = [
        {t.key for t in read(each).trials.values()} for each in (older, tmp_path / "anew/older")
    ]
    assert keys[0] == keys[1], "a trial has the key that it had"
    for number, result in then.items():
        assert now[number].last["accuracy"] == pytest.approx(result.last["accuracy"], abs=0.006)


def test_a_search_that_began_at_random_goes_on_with_an_informed_start(older: Path) -> None:
    run = ("bayes", "older.yaml", "--executor", "inline", "--device", str(DEVICE), "--quiet")
    # As every version did before starts were informed.
    lrsearch(*run, "--trials", "3", "--set", "bayes.start=random", "--set", "bayes.startup=12")
    before = (older / "journal.jsonl").read_bytes()
    lrsearch(*run, "--trials", "9", "--set", "bayes.startup=12")
    history = read(older)
    assert (older / "journal.jsonl").read_bytes().startswith(before)
    mine = [each for each in history.proposals if each.strategy == "bayes"]
    assert [each.index for each in mine] == list(range(9))
    keys = [trial.key for trial in history.trials.values()]
    assert len(keys) == len(set(keys)), "nothing is trained twice"
    spec = read_spec(older.parent.parent / "older.yaml")
    # Six points were told before: the start has twelve in all, and its points go by their index.
    assert [dict(each.point) for each in mine[3:6]] == [Start(spec).point(i) for i in (3, 4, 5)]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "No such file"),
        ("{", "cannot be read"),
        ('{"step": [1, 2], "accuracy": [0.5]}', "cannot be read"),
        ('{"step": [1], "accuracy": [null]}', "cannot be read"),
        ('{"step": [1], "accuracy": [true]}', "cannot be read"),
    ],
)
def test_a_trial_whose_curve_is_lost_is_shown_without_it(
    older: Path, content: str | None, reason: str
) -> None:
    curve = older / "curves" / "000006.json"
    curve.unlink()
    if content is not None:
        curve.write_text(content)
    page = lrsearch("report", "older", "--trial", "6")
    assert "accuracy 0.94429" in page and reason in " ".join(page.split())
    found = json.loads(lrsearch("report", "older", "--trial", "6", "--json"))
    assert reason in found["curve_lost"] and found["curve"] == {} and found["trial"]["last"]
    assert lrsearch("report", "older").startswith("older: accuracy 0.9443")
