"""Verdicts where they are shown: the table, below it, a trial's page, JSON, the live display."""

from __future__ import annotations

import io
import json
import math
import re
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from types import MappingProxyType

import pytest
from rich.console import Console
from typer.testing import CliRunner

from lrsearch.cli import app
from lrsearch.reports.answer import first_notes
from lrsearch.reports.live import Progress
from lrsearch.reports.machine import to_json, trial_json
from lrsearch.reports.tables import result
from lrsearch.reports.trials import trial_page
from lrsearch.reports.verdicts import by_point, count_verdicts
from lrsearch.reports.view import TrialView, build_view
from lrsearch.store import Run, read
from lrsearch.trial import (
    Diagnosis,
    Measured,
    Measurement,
    Objective,
    Outcome,
    Record,
    Records,
    Result,
    Trial,
)
from lrsearch.tuner.signs import Signs

ACCURACY = Objective("accuracy", "max")


def diagnosis(verdict):
    return Diagnosis(verdict, 0.875, {"fall": 0.22, "limit": 0.06}, f"of {verdict}: do better")


def record(number, params, *verdicts, outcome=Outcome.COMPLETED, point=None, looked=True):
    last = {"accuracy": 0.9} if outcome is Outcome.COMPLETED else {}
    found = tuple(map(diagnosis, verdicts)) if looked else None
    ended = Result(outcome, 400, 20.0, 1.5, last=last, best=last, verdicts=found)
    config = {"train": {"budget": "20ep", "lr": 0.1}}
    return Record(Trial(number, "key", config, 0), point or number, params, "grid", ended)


def shown(view, width=80):
    console = Console(width=width, file=io.StringIO())
    console.print(result(view))
    return console.file.getvalue()


def search():
    """Nine trials: those of batch 512 are too slow, one diverged, one overfits."""
    records = []
    for number in range(1, 10):
        params = {"lr": 0.01 * number, "batch_size": (32, 128, 512)[number % 3]}
        verdict, outcome = "healthy", Outcome.COMPLETED
        if number % 3 == 2:
            verdict = "too_slow"
        elif number == 7:
            verdict, outcome = "diverged", Outcome.DIVERGED
        elif number == 4:
            verdict = "overfitting"
        records.append(record(number, params, verdict, outcome=outcome))
    return build_view("digits", "runs/digits", ACCURACY, records)


def test_the_table_has_a_column_of_verdicts_and_their_counts():
    text = shown(search())
    head = next(line for line in text.splitlines() if line.startswith("  point"))
    assert head.split() == ["point", "accuracy", "lr", "batch_size", "verdict"]
    rows = {line.split()[0]: line.rstrip() for line in text.splitlines() if line[:7].strip()}
    assert rows["5"].endswith("512  too slow") and rows["4"].endswith("128  overfitting")
    # Its outcome says it already, and of what is healthy there is nothing to say.
    assert rows["7"].endswith("128") and rows["3"].endswith("32")
    (counts,) = [line for line in text.splitlines() if line.startswith("verdicts")]
    assert counts.split("verdicts")[1].strip() == "4 healthy, 3 too slow, 1 overfitting, 1 diverged"
    flat = " ".join(text.split())
    assert "all 3 trials with batch_size 512 are too slow at 20ep: a larger budget" in flat
    assert max(map(len, text.splitlines())) <= 80


def test_what_blew_up_and_has_another_outcome_is_counted_apart():
    lost = record(1, {"lr": 1.0}, "diverged", outcome=Outcome.COMPLETED)
    ended = record(2, {"lr": 2.0}, "diverged", outcome=Outcome.DIVERGED)
    assert count_verdicts([lost, ended, ended]) == "2 diverged, 1 diverged yet trained to the end"
    pruned = record(3, {"lr": 3.0}, "diverged", outcome=Outcome.PRUNED)
    assert count_verdicts([ended, ended, pruned]) == "2 diverged, 1 diverged and stopped early"


def test_where_all_are_healthy_nothing_is_said():
    view = build_view("a", "a", ACCURACY, [record(k, {"lr": k}, "healthy") for k in (1, 2, 3, 4)])
    assert "verdict" not in shown(view) and "advice" not in shown(view)
    old = build_view("a", "a", ACCURACY, [record(k, {"lr": k}, looked=False) for k in (1, 2)])
    assert "verdict" not in shown(old)


@pytest.mark.parametrize(
    ("verdicts", "told"),
    [
        (["overfitting"], "overfitting: of overfitting: do better"),
        (
            ["too_slow", "healthy", "too_slow"],
            "too slow in 2 of 3 trainings: of too_slow: do bette",
        ),
        (["healthy", "too_slow", "healthy"], ""),
        ([None], ""),
    ],
)
def test_the_answer_has_the_verdict_on_the_point_that_it_recommends(verdicts, told):
    own = [
        record(number, {"lr": 0.1}, *([verdict] if verdict else []), point=1)
        for number, verdict in enumerate(verdicts, 1)
    ]
    own = [replace(r, trial=replace(r.trial, seed=n)) for n, r in enumerate(own)]
    other = record(9, {"lr": 0.3}, "stagnating", point=2)
    other = replace(other, result=replace(other.result, last={"accuracy": 0.1}))
    notes = dict(first_notes(build_view("run", "runs/run", ACCURACY, [*own, other])))
    assert notes.get("verdict", "").startswith(told) and bool(told) == ("verdict" in notes)


def test_the_table_gives_up_the_verdicts_before_its_columns():
    params = {f"a_long_name_{letter}": 1.0 for letter in "abcdef"}
    records = [record(k, {**params, "lr": k / 7}, "too_slow") for k in (1, 2)]
    wide, narrow = (shown(build_view("a", "a", ACCURACY, records), width) for width in (140, 78))
    assert "  verdict" in wide and "too slow" in wide
    assert max(map(len, narrow.splitlines())) <= 78


def test_a_point_has_the_verdict_of_most_of_its_trials():
    verdicts = ["too_slow", "too_slow", "healthy"]
    records = [record(k, {}, verdict, point=1) for k, verdict in enumerate(verdicts, 1)]
    assert by_point(records) == {1: "too slow"}
    assert by_point(records[1:]) in ({1: "too slow"}, {})


def test_a_blow_up_that_was_trained_to_its_end_is_named():
    ended, lost = (
        record(1, {}, "diverged", outcome=outcome)
        for outcome in (Outcome.COMPLETED, Outcome.DIVERGED)
    )
    assert by_point([ended]) == {1: "diverged"} and by_point([lost]) == {}


def test_counts_name_what_is_not_known():
    records = [record(1, {}, "too_slow"), record(2, {}), record(3, {}, looked=False)]
    records.append(record(4, {}, outcome=Outcome.FAILED))
    assert count_verdicts(records) == (
        "1 too slow, 1 too little to tell, 1 of before, not looked at"
    )


def test_what_advice_counts_stands_among_the_counts():
    overfit = [record(k, {"lr": 0.1}, "oscillating", "overfitting") for k in (1, 2, 3)]
    text = " ".join(shown(build_view("a", "a", ACCURACY, overfit), 120).split())
    assert "3 rate too high; of these also 3 overfitting" in text  # None swings.
    assert "all 3 trials overfit" in text


NO_RECORDS = Records()


def page(records=NO_RECORDS, *verdicts):
    steps = list(range(10, 110, 10))
    curve = {"step": steps, "accuracy": [k / 100 for k in steps], "loss": [1.0] * 10}
    view = TrialView(
        "digits", ACCURACY, record(7, {"lr": 0.1}, *verdicts), True, False, curve, {},
        records=records,
    )  # fmt: skip
    console = Console(width=80, file=io.StringIO())
    console.print(trial_page(view))
    return view, console.file.getvalue()


def test_the_page_of_a_trial_has_verdict_evidence_advice_and_the_recorded_steps():
    steps = tuple(range(1, 65))
    falling = tuple(10.0 ** (-k / 16) for k in steps)
    records = Records(steps, falling, falling, (math.nan, 0.0, *falling[2:]), falling, 2.3, 2.3)
    view, text = page(records, "too_slow", "unstable")
    lines = text.splitlines()
    assert "verdict   too slow, with a confidence of 88%" in lines
    assert "evidence  fall 0.22, limit 0.06" in lines
    assert "advice    of too_slow: do better" in lines
    assert "verdict   unstable, with a confidence of 88%" in lines
    assert (
        "gradient norm (its power of ten)" in lines and "update ratio (its power of ten)" in lines
    )
    assert max(map(len, lines)) <= 80
    stored = json.loads(trial_json(view))
    assert [each["verdict"] for each in stored["trial"]["verdicts"]] == ["too_slow", "unstable"]
    assert stored["trial"]["verdicts"][0]["evidence"] == {"fall": 0.22, "limit": 0.06}
    assert stored["records"]["update_ratio"][:2] == [None, 0.0]
    view, text = page()
    assert "verdict  too little to tell" in text and "gradient" not in text
    assert json.loads(trial_json(view))["records"] == {}


def test_json_has_the_verdicts_of_each_trial():
    document = json.loads(to_json(search()))
    assert document["format"] == 1 and len(document["advice"]) == 1
    verdicts = {each["number"]: each["verdicts"] for each in document["trials"]}
    assert verdicts[5] == [
        {
            "verdict": "too_slow",
            "confidence": 0.875,
            "evidence": {"fall": 0.22, "limit": 0.06},
            "advice": "of too_slow: do better",
        }
    ]
    old = build_view("a", "a", ACCURACY, [record(1, {}, looked=False)])
    assert json.loads(to_json(old))["trials"][0]["verdicts"] == []


# -- in the journal


def test_the_journal_keeps_verdicts_and_runs_of_before_have_none(tmp_path: Path):
    trials = [Trial(k, f"key{k}", {"params": {}}, 0) for k in (1, 2, 3)]
    told = (Diagnosis("unstable", 0.9, {"peak": math.inf, "spikes": 2.0}, "slower"),)
    with Run.open(tmp_path, "run", spec_text="") as run:
        run.proposed(0, "grid", [], trials)
        for trial, verdicts in zip(trials, (told, (), None), strict=True):
            ended = Result(Outcome.COMPLETED, 4, 1.0, 1.0, verdicts=verdicts)
            run.ended(trial.number, ended, {"step": [4], "loss": [0.5]})
        kept = run.history.results
    assert [kept[k].verdicts for k in (1, 2, 3)] == [told, (), None]
    assert read(tmp_path / "run").results == kept
    lines = (tmp_path / "run" / "journal.jsonl").read_text().splitlines()
    assert '"verdicts"' not in lines[-1] and '"verdicts":[]' in lines[-2]


SPEC = """\
name: slow
data: {name: digits, standardize: true}
model: {name: mlp, hidden: [16]}
train: {budget: 10ep, batch_size: 64, schedule: constant}
search: {lr: [1e-9, 5e-4, 1e20], seed_of_none: [0]}
"""


@pytest.fixture
def searched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run of three rates: of next to nothing, too low, and far too high."""
    monkeypatch.chdir(tmp_path)
    text = SPEC.replace(", seed_of_none: [0]", "")
    Path("slow.yaml").write_text(text)
    done = CliRunner().invoke(
        app, ["grid", "slow.yaml", "--executor", "inline", "--engine", "solo", "--quiet"]
    )
    assert done.exit_code == 0, done.output
    return tmp_path / "runs" / "slow"


def test_a_search_diagnoses_its_trials_and_old_runs_are_read_by_their_curves(searched: Path):
    def verdicts():
        done = CliRunner().invoke(app, ["report", "slow.yaml", "--json"])
        assert done.exit_code == 0, done.output
        trials = json.loads(done.stdout)["trials"]
        return {each["params"]["lr"]: each["verdicts"] for each in trials}

    found = verdicts()
    assert [each["verdict"] for each in found[1e20]] == ["diverged"]
    assert found[5e-4][0]["verdict"] == "too_slow" and "(0.0015)" in found[5e-4][0]["advice"]
    history = read(searched)
    assert all(each.verdicts for each in history.results.values())
    for number, ended in history.results.items():
        if ended.outcome is Outcome.COMPLETED:
            text = CliRunner().invoke(app, ["report", "slow.yaml", "--trial", str(number)]).stdout
            assert "verdict" in text and "advice" in text
    # As an older version left it: no verdicts in the journal.
    whole = dict(history.results)
    _forget(searched)
    assert all(each.verdicts is None for each in read(searched).results.values())
    assert verdicts() == found and whole.keys() == read(searched).results.keys()
    for path in (searched / "curves").iterdir():
        path.unlink()
    assert {len(each) for each in verdicts().values()} == {0}


def test_a_trial_keeps_the_verdict_of_the_version_that_trained_it(searched: Path):
    """Rules change: where a run goes on with others, every rendering tells the journal's."""
    number = next(n for n, r in read(searched).results.items() if r.outcome is Outcome.COMPLETED)
    of_another = asdict(diagnosis("overfitting"))
    _forget(searched, {number: [of_another]})

    def said(*words):
        done = CliRunner().invoke(app, ["report", "slow.yaml", *words])
        assert done.exit_code == 0, done.output
        return done.stdout

    trials = {each["number"]: each for each in json.loads(said("--json"))["trials"]}
    assert trials[number]["verdicts"] == [of_another]
    alone = json.loads(said("--trial", str(number), "--json"))
    assert alone["trial"]["verdicts"] == [of_another]
    assert re.search(
        r"verdict +overfitting, with a confidence of 88%", said("--trial", str(number))
    )
    counts = next(line for line in said().splitlines() if line.startswith("verdicts"))
    assert "1 overfitting" in counts
    said("--html", "page.html")
    assert "overfitting" in Path("page.html").read_text("utf-8")


def _forget(folder: Path, others: Mapping[int, list[object]] = MappingProxyType({})) -> None:
    """Write a run's journal anew without its verdicts, or with others of some trials."""
    from lrsearch import store

    lines = []
    for number, line in enumerate((folder / "journal.jsonl").read_bytes().splitlines(), 1):
        _, _, content = store._decode(line)
        if content["event"] == "ended":
            given = others.get(content["trial"])
            if given is not None:
                content["result"]["verdicts"] = given
            elif not others:
                del content["result"]["verdicts"]
        event = content.pop("event")
        lines.append(store._encode(number, event, content))
    (folder / "journal.jsonl").write_bytes(b"".join(lines))


# -- while it trains


def evaluations(loss, steps=100, every=5):
    for step in range(every, steps + 1, every):
        metrics = {"loss": loss(step / steps), "train_loss": loss(step / steps), "lr": 0.1}
        records = Records((step,), (metrics["loss"],), (1.0,), (1e-3,), (0.1,), 2.3, 2.3)
        yield Measured(4, Measurement(step, metrics), steps, records)


def test_what_stands_still_is_told_once_and_what_learns_never():
    signs = Signs(Objective("loss", "min"))
    told = [signs.take(each) for each in evaluations(lambda place: 2.3)]
    assert [each for each in told if each] == ["stagnating"]
    assert 5 <= told.index("stagnating") <= 8  # At a third of the budget or so.
    signs.forget(4)
    assert not any(signs.take(each) for each in evaluations(lambda place: 2.3 - 2 * place))


def test_a_trial_that_goes_on_from_a_state_is_watched_all_the_same():
    def stays(place):
        return 2.3

    before = Measured(4, Measurement(3, {}), 100)  # Saved before its first evaluation.
    signs = Signs(Objective("loss", "min"))
    told = [signs.take(each) for each in [before, *evaluations(stays)]]
    assert [each for each in told if each] == ["stagnating"]
    signs.forget(4)
    whole = list(evaluations(stays))
    # Its worker is lost, and another one begins with the state saved at the second.
    again = [*whole[:4], whole[1], *whole[2:]]
    told = [signs.take(each) for each in again]
    assert [each for each in told if each] == ["stagnating"]
    assert signs.trials[4].curve["step"] == [each.measurement.step for each in whole]


def test_the_display_names_a_verdict_and_prints_the_first_few():
    stream = io.StringIO()
    with Progress(stream) as progress:
        progress.begin(9, ACCURACY, 1)
        for number in range(1, 6):
            progress.started(number, {"lr": 0.1})
            progress.measured(number, 0.4, 0.1)
            progress.noticed(number, "stagnating")
        console = Console(width=80, file=io.StringIO())
        console.print(*progress._frame(20, 80))
        frame = console.file.getvalue()
    lines = stream.getvalue().splitlines()
    assert len(lines) == 3
    assert lines[0].startswith("trial 1 is stagnating so far, at 40% of its budget; Ctrl-C ends")
    assert frame.count("stagnating") == 5 and "accuracy 0.1000, stagnating" in frame
