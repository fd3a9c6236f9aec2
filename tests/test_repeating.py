"""Whether a training of the user's repeats itself: its seeds, and the best trained again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from lrsearch.cli import app
from lrsearch.store import Run, read
from lrsearch.trial import Outcome

TRAIN = ("--allow-command", "--executor", "inline")


def lrsearch(*arguments: object, code: int = 0) -> tuple[str, str]:
    env = {"COLUMNS": "100", "LRSEARCH_RUNS": None}
    done = CliRunner().invoke(app, list(map(str, arguments)), env=env, catch_exceptions=False)
    assert done.exit_code == code, (done.stdout, done.stderr)
    return done.stdout, done.stderr


def search(*arguments: object, code: int = 0) -> dict[str, Any]:
    """The report of a search as JSON."""
    found: dict[str, Any] = json.loads(lrsearch(*arguments, "--json", "--quiet", code=code)[0])
    return found


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path


def write(folder: Path, script: str, **more: Any) -> None:
    (folder / "train.py").write_text(script)
    spec = {
        "name": "mine",
        "command": f"{sys.executable} train.py {{lr}}",
        "objective": {"metric": "loss", "goal": "min"},
        "search": {"lr": {"min": 0.01, "max": 1.0, "points": 3}},
    }
    (folder / "mine.yaml").write_text(yaml.safe_dump({**spec, **more}, sort_keys=False))


# seeds

ASKS = """\
import json, os, random, sys

seed = int(os.environ["LRSEARCH_SEED"])
if seed:
    random.seed(seed)
print(json.dumps({"loss": float(sys.argv[1]) + random.random(), "seed": seed}))
"""
"""A script to which 0 is no seed."""


def test_a_script_that_takes_zero_for_no_seed_is_given_one(here: Path) -> None:
    write(here, ASKS)
    found = search("grid", "mine.yaml", *TRAIN)
    again = search("grid", "mine.yaml", *TRAIN, "--fresh")
    assert [each["seed"] for each in found["trials"]] == [1, 1, 1]
    assert found["points"] == again["points"]
    several = search("grid", "mine.yaml", *TRAIN, "--set", "seeds=3", "--set", "name=several")
    assert {each["seed"] for each in several["trials"]} == {1, 2, 3}
    assert "if seed:" not in lrsearch("check", "mine.yaml")[0]
    given = ("--set", "seed=0", "--set", "name=given")
    assert "scripts that ask 'if seed:'" in lrsearch("check", "mine.yaml", *given)[0]
    assert {each["seed"] for each in search("grid", "mine.yaml", *TRAIN, *given)["trials"]} == {0}


def test_seeds_of_lrsearch_s_own_training_count_from_zero(here: Path) -> None:
    spec = "data: iris\nmodel: logistic\ntrain: {budget: 2ba, lr: 0.1}\nseeds: 2\n"
    (here / "own.yaml").write_text(spec)
    found = search("grid", "own.yaml", "--executor", "inline", "--device", "cpu")
    assert [each["seed"] for each in found["trials"]] == [0, 1]


def make_older(folder: Path, source: str, target: str, **params: Any) -> None:
    """A run with the lines of another, but as an older version wrote them: its sessions do not say
    what the seed is, nor the documents, and no training was repeated."""
    true = read(folder / "runs" / source)
    with Run.open(folder / "runs", target, spec_text="") as run:
        session = true.sessions[0]
        document = {key: part for key, part in session["spec"]["document"].items() if key != "seed"}
        document |= {"name": target}
        if params:
            document["params"] = params
        told = {key: part for key, part in session["spec"].items() if key != "seed"}
        run.opened({**told, "document": document}, session["strategy"], session["facts"])
        for number in sorted({each.generation for each in true.proposals}):
            chosen = [each for each in true.proposals if each.generation == number]
            trials = [true.trials[each] for proposal in chosen for each in proposal.trials]
            run.proposed(number, session["strategy"], chosen, trials)
        for number, result in true.results.items():
            run.started(number)
            run.ended(number, result, {"step": [1.0], "loss": [result.last["loss"]]})
        run.closed("finished", 1.0)


@pytest.mark.parametrize("strategy", ["grid", "random"])
def test_a_run_that_began_with_seed_zero_goes_on_with_it(here: Path, strategy: str) -> None:
    write(here, ASKS, random={"trials": 4})
    zero = search(strategy, "mine.yaml", *TRAIN, "--set", "seed=0", "--set", "name=new")
    make_older(here, "new", "older")
    stored = json.loads(lrsearch("report", "runs/older", "--json")[0])
    assert stored["points"] == zero["points"], "it opens and reports as before"
    name = ("--set", "name=older")
    planned = lrsearch(strategy, "mine.yaml", *TRAIN, *name, "--dry-run")[0]
    assert "would train 0 trials" in planned
    out, err = lrsearch(strategy, "mine.yaml", *TRAIN, *name, "--set", "seeds=2", "--json")
    assert "began with seed 0" in err
    resumed = json.loads(out)
    assert {each["seed"] for each in resumed["trials"]} == {0, 1}
    assert len(resumed["trials"]) == 2 * len(zero["trials"]), "no point is trained again"
    assert {each["seed"] for each in search(strategy, "mine.yaml", *TRAIN, *name)["trials"]} == {
        0,
        1,
    }
    explicit = search(strategy, "mine.yaml", *TRAIN, *name, "--set", "seed=5")
    assert {each["seed"] for each in explicit["trials"]} == {0, 1, 5}
    assert "would train 0" in lrsearch(strategy, "mine.yaml", *TRAIN, *name, "--dry-run")[0]
