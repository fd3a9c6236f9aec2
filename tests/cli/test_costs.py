"""The cost of a run: all that was trained, also what was trained again."""

from __future__ import annotations

import json
import math
import sys
import time
from pathlib import Path

import pytest
import typer
import yaml
from test_cli import TRAIN, lrsearch

from lrsearch.cli.checking import describe_sharing
from lrsearch.cli.costs import add_up, find_spent
from lrsearch.reports.answer import describe_cost
from lrsearch.reports.view import Context, build_view
from lrsearch.spec import read_spec
from lrsearch.store import History, fold, read
from lrsearch.trial import Objective, Outcome, Record, Result, Trial
from lrsearch.tuner.foreseeing import Sharing

SPEC = {
    "data": {"name": "iris", "validation": 0.2},
    "model": "logistic",
    "train": {"budget": "200ba", "batch_size": 16, "evaluate": "20ba"},
    "search": {"lr": [1e-7, 0.03, 0.3]},
}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(SPEC))
    return tmp_path


def trained(*more: str) -> dict[str, float]:
    said = lrsearch("grid", "mine.yaml", *TRAIN, *more, "--json")
    cost: dict[str, float] = json.loads(said.out)["cost"]
    return cost


def test_what_was_trained_before_it_was_trained_to_its_end_counts(here: Path) -> None:
    first = trained()
    assert first["saved_epochs"] > 0 and first["again_trials"] == 0
    after = trained("--resume-pruned")
    results = read(here / "runs" / "mine").results.values()
    assert len(results) == 4 and sum(each.outcome == "pruned" for each in results) == 1
    assert after["trial_epochs"] == pytest.approx(math.fsum(each.epochs for each in results))
    assert after["seconds"] == pytest.approx(math.fsum(each.own_seconds for each in results))
    assert (after["trials"], after["again_trials"], after["saved_epochs"]) == (3, 1, 0)
    stopped = [each.epochs for each in results if each.outcome == "pruned"]
    assert after["again_epochs"] == pytest.approx(math.fsum(stopped))
    for form in ((), ("--markdown",)):
        said = " ".join(lrsearch("report", "mine.yaml", *form).out.split())
        assert "of it in 1 training that was made again)" in said


def test_steps_that_trials_have_in_common_were_trained_once(here: Path) -> None:
    results = [
        Result(Outcome.COMPLETED, 100, 10.0, 5.0),
        Result(Outcome.COMPLETED, 50, 5.0, 3.0, shared_epochs=4.0, shared_seconds=2.0),
    ]
    records = [
        Record(Trial(number, str(number), {}, 0), number, {"lr": number}, "grid", result)
        for number, result in enumerate(results)
    ]
    objective = Objective("loss", "min", "last")
    view = build_view("r", "r", objective, records)
    assert add_up(view.cost) == (11.0, 6.0)
    told = "15 epochs (11 trained, 4 shared)"
    assert f"2 trials, {told}, 6.0s" in describe_cost(view)
    # What `check` foresees of such a grid is told by the same words.
    spec = read_spec(here / "mine.yaml")
    assert f"2 trials, {told}: " in describe_sharing(spec, Sharing(2, 15.0, 4.0))
    # Fresh trainings share, too, and are told apart from those of the search.
    fresh = dict(zip((8, 9), results, strict=True))
    spent = find_spent(History(results=fresh, apart={8, 9}))
    assert (spent["confirm_epochs"], spent["confirm_shared_epochs"]) == (15.0, 4.0)
    both = build_view("r", "r", objective, records, Context(spent=spent))
    assert add_up(both.cost) == (22.0, 12.0)


def test_a_session_that_was_killed_is_told() -> None:
    history = History()
    opened = {"event": "opened", "facts": {}, "strategy": "grid"}
    trial = {"number": 1, "key": "k", "config": 0, "seed": 0, "fold": None}
    proposal = {"index": 0, "point": {}, "trials": [1]}
    config = {"command": "true", "params": {}}
    fold(history, opened)
    fold(
        history,
        {
            "event": "proposed", "strategy": "grid", "generation": 1, "configs": [config],
            "trials": [trial], "proposals": [proposal],
        },
    )  # fmt: skip
    fold(history, {"event": "started", "trial": 1})
    fold(history, {**opened, "lost": 42.0})
    assert (history.killed, history.cut, history.lost) == (1, 1, 42.0)
    fold(history, {"event": "closed", "reason": "interrupted", "seconds": 3.0})
    fold(history, opened)  # The one before was closed: nothing of it is unknown.
    assert (history.killed, history.cut) == (1, 1)
    spent = {"killed_sessions": 2, "killed_trials": 1}
    view = build_view("r", "r", Objective("loss", "min", "last"), [], Context(spent=spent))
    assert describe_cost(view).endswith(
        "without the time of 2 killed sessions and 1 training cut off by that"
    )
    spent["killed_seconds"] = 42.0
    view = build_view("r", "r", Objective("loss", "min", "last"), [], Context(spent=spent))
    assert "; at least 42s of 2 killed sessions and 1 training cut off" in describe_cost(view)


def test_the_wait_for_an_answer_costs_nothing(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user who reads the question for an hour has neither spent it nor used up a time limit."""
    (here / "train.py").write_text("print('loss=0.5')\n")
    spec = {
        "command": f"{sys.executable} train.py {{lr}}",
        "metrics": {"loss": "loss=(.*)"},
        "objective": {"metric": "loss", "goal": "min"},
        "search": {"lr": [0.1, 0.2]},
    }
    (here / "mine.yaml").write_text(yaml.safe_dump(spec))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(here / "config"))
    real, waited = time.monotonic, [0.0]

    def answered(*_: object, **__: object) -> bool:
        waited[0] = 3600.0
        return True

    monkeypatch.setattr(time, "monotonic", lambda: real() + waited[0])
    monkeypatch.setattr(typer, "confirm", answered)
    wrapper = "typer.testing._NamedTextIOWrapper.isatty"
    monkeypatch.setattr(wrapper, lambda _: True, raising=False)
    said = lrsearch("grid", "mine.yaml", "--time", "30m", "--quiet", "--json")
    assert waited == [3600.0], "it was asked"
    found = json.loads(said.out)
    assert [each["outcome"] for each in found["trials"]] == ["completed"] * 2
    assert found["cost"]["wall_seconds"] < 1800
