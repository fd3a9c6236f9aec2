"""Whether a training of the user's repeats itself: its seeds, and the best trained again."""

from __future__ import annotations

import json
import math
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from devices import DEVICE
from driving import Fork, Nursery
from typer.testing import CliRunner

from lrsearch.cli import app
from lrsearch.store import History, Run, read, read_curve
from lrsearch.trial import Outcome, Result, Trial
from lrsearch.tuner import repeating
from lrsearch.tuner.repeating import is_due

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
    # What is cheap is a matter of seconds, which decide nothing here but in the test of the rule.
    monkeypatch.setattr(repeating, "CHEAP", math.inf)
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
    found = search("grid", "own.yaml", "--executor", "inline", "--device", str(DEVICE))
    assert [each["seed"] for each in found["trials"]] == [0, 1]


def make_older(folder: Path, source: str, target: str, **document_has: Any) -> None:
    """A run with the lines of another, but as an older version wrote them: its sessions do not say
    what the seed is, nor the documents, and no training was repeated."""
    true = read(folder / "runs" / source)
    with Run.open(folder / "runs", target, spec_text="") as run:
        session = true.sessions[0]
        document = {key: part for key, part in session["spec"]["document"].items() if key != "seed"}
        document |= {"name": target, **document_has}
        told = {key: part for key, part in session["spec"].items() if key != "seed"}
        run.opened({**told, "document": document}, session["strategy"], session["facts"])
        for number in sorted({each.generation for each in true.proposals}):
            chosen = [each for each in true.proposals if each.generation == number]
            trials = [true.trials[each] for proposal in chosen for each in proposal.trials]
            run.proposed(number, session["strategy"], chosen, trials)
        for number, result in true.results.items():
            run.started(number)
            run.ended(number, result, read_curve(folder / "runs" / source, number))
        run.closed("finished", 1.0)


@pytest.mark.parametrize("strategy", ["grid", "random"])
def test_a_run_that_began_with_seed_zero_goes_on_with_it(here: Path, strategy: str) -> None:
    write(here, ASKS, random={"trials": 4})
    zero = search(strategy, "mine.yaml", *TRAIN, "--set", "seed=0", "--set", "name=new")
    make_older(here, "new", "older")
    stored = json.loads(lrsearch("report", "runs/older", "--json")[0])
    assert stored["points"] == zero["points"], "it opens and reports as before"
    assert "seed: 0" in lrsearch("export", "runs/older")[0]
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


# the best once more

EXACT = """\
import json, os, sys

lr = float(sys.argv[1])
with open("seen", "a") as seen:
    print(os.environ["LRSEARCH_TRIAL"], os.environ["LRSEARCH_SEED"], lr, file=seen)
for step in range(1, 4):
    print(json.dumps({"step": step, "loss": (lr - 0.1) ** 2 + 1 / step, "accuracy": 0.5}))
"""

NOISY = EXACT.replace("import json", "import random, json").replace(
    '+ 1 / step, "', '+ random.random() / 1000, "'
)
"""A script that draws without a seed, so that it ignores the one it is given."""

FOUR = {"lr": {"min": 0.01, "max": 1.0, "points": 4}}


def seen(folder: Path) -> list[list[str]]:
    return [line.split() for line in (folder / "seen").read_text().splitlines()]


def test_a_training_that_repeats_itself(here: Path) -> None:
    write(here, EXACT, search=FOUR, seeds=2)
    alone = search("grid", "mine.yaml", *TRAIN, "--set", "verify=false", "--set", "name=alone")
    assert alone["repeatability"] is None and len(seen(here)) == 8
    (here / "seen").unlink()
    out, err = lrsearch("grid", "mine.yaml", *TRAIN)
    assert "the training repeats itself exactly (loss of trial" in out and "8 completed" in out
    found = json.loads(lrsearch("report", "mine.yaml", "--json")[0])
    again = found.pop("repeatability")
    best = found["best"]
    number = best["trials"][0]
    first = next(each for each in found["trials"] if each["number"] == number)
    value = first["objective"]
    assert again == {
        "trial": number,
        "objective": value,
        "again": value,
        "difference": 0.0,
        "exact": True,
        "outcome": "completed",
        "reason": "",
    }
    *trained, last = seen(here)
    assert last == ["9", "1", f"{best['params']['lr']}"], "with a number of its own"
    assert [number, *last[1:]] in [[int(each[0]), *each[1:]] for each in trained]
    assert "trial 9 is trial" in err and "[9/9]" in err
    for name in ("points", "best"):
        assert found[name] == alone[name], "neither a point nor a seed more, and no other value"
    assert len(found["trials"]) == found["cost"]["trials"] == 8
    assert "repeats itself exactly" in lrsearch("report", "mine.yaml", "--markdown")[0]


def test_it_is_repeated_once_and_its_number_is_never_another_s(here: Path) -> None:
    write(here, EXACT, search=FOUR, bayes={"trials": 6, "startup": 2, "generation": 2})
    first = search("grid", "mine.yaml", *TRAIN)
    again = search("grid", "mine.yaml", *TRAIN, "--retry-failed")
    assert {**again, "cost": 0} == {**first, "cost": 0}
    assert len(seen(here)) == 5
    search("bayes", "mine.yaml", *TRAIN)
    numbers = [each[0] for each in seen(here)]
    assert len(set(numbers)) == len(numbers) > 5
    history = read(here / "runs/mine")
    assert 5 not in history.trials and 6 in history.trials


def test_what_is_told_to_a_strategy_does_not_change(here: Path) -> None:
    """The same proposals with a repetition in between as without one."""
    write(here, NOISY.replace("random.random()", "lr"), search=FOUR)
    points = {}
    for verify in ("true", "false"):
        name = ("--set", f"name=run-{verify}", "--set", f"verify={verify}")
        for trials in (6, 12):
            settings = f"bayes={{trials: {trials}, startup: 3, generation: 3}}"
            search("bayes", "mine.yaml", *TRAIN, *name, "--set", settings)
        history = read(here / "runs" / f"run-{verify}")
        assert bool(history.repeated) == (verify == "true")
        points[verify] = [each.point for each in history.proposals]
    assert points["true"] == points["false"]


def test_a_training_whose_result_is_noise(here: Path) -> None:
    write(here, NOISY, search=FOUR)
    out, _ = lrsearch("grid", "mine.yaml", *TRAIN)
    found = json.loads(lrsearch("report", "mine.yaml", "--json")[0])
    again = found["repeatability"]
    history = read(here / "runs/mine")
    repeated = history.repeated[again["trial"]].last["loss"]
    assert again["again"] == repeated != again["objective"] == found["best"]["objective"]
    assert again["difference"] == abs(repeated - again["objective"]) > 0 and not again["exact"]
    assert "from run to run: smaller" in out and "differs by" in out
    # What another metric says decides where that one is the objective.
    other = ("--set", "objective={metric: accuracy, goal: max}", "--set", "verify=false")
    same = search("grid", "mine.yaml", *TRAIN, *other)["repeatability"]
    assert same["exact"] and same["objective"] == 0.5


def test_the_same_end_is_not_the_same_training(here: Path) -> None:
    """A metric of few values often ends alike by chance; its course tells."""
    script = NOISY.replace("0.5}", "lr if step == 3 else random.random()}")
    write(here, script, search=FOUR, objective={"metric": "accuracy", "goal": "max"})
    out, _ = lrsearch("grid", "mine.yaml", *TRAIN)
    again = json.loads(lrsearch("report", "mine.yaml", "--json")[0])["repeatability"]
    assert again["difference"] == 0.0 and not again["exact"]
    assert "does not repeat itself exactly" in " ".join(out.split())
    for curve in (here / "runs/mine/curves").iterdir():
        curve.unlink()
    lost = json.loads(lrsearch("report", "mine.yaml", "--json")[0])["repeatability"]
    assert lost["exact"] is None, "what is not known is not claimed"
    assert "exactly" not in lrsearch("report", "mine.yaml")[0]


def test_seeds_that_make_no_difference_are_told(here: Path) -> None:
    write(here, EXACT, seeds=2)
    out, _ = lrsearch("grid", "mine.yaml", *TRAIN)
    assert "no seed made a difference" in out
    assert (
        "seeds is 2, and {seed} does not stand in the command" in lrsearch("check", "mine.yaml")[0]
    )
    told = f"{sys.executable} train.py {{lr}} {{seed}}"
    write(here, EXACT, seeds=2, command=told)
    assert "{seed} does not stand" not in lrsearch("check", "mine.yaml")[0]
    write(here, ASKS, seeds=2, name="asks")
    assert "no seed made" not in lrsearch("grid", "mine.yaml", *TRAIN)[0]
    write(here, NOISY, seeds=2, name="noisy")
    assert "no seed made" not in lrsearch("grid", "mine.yaml", *TRAIN)[0]


def test_what_is_verified_has_numbers_of_its_own(here: Path) -> None:
    """Files that the run's trials are named by are not written over."""
    write(here, EXACT, verify=False)
    search("grid", "mine.yaml", *TRAIN)
    lrsearch("export", "mine.yaml", "--verify", "--allow-command", "--workers", "1")
    assert [each[0] for each in seen(here)] == ["1", "2", "3", "4", "5", "6"]


def test_what_is_not_cheap_is_not_repeated(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repeating, "CHEAP", 0.0)
    write(here, EXACT)
    found = search("grid", "mine.yaml", *TRAIN)
    assert found["repeatability"] is None and len(seen(here)) == 3


@pytest.mark.parametrize(
    ("others", "own", "cheap"),
    [(92, 10, True), (90, 10, False), (0, 10, False), (0, 0, False), (20, 0, True)],
)
@pytest.mark.parametrize("seconds", [1e-3, 1.0, 1e3])
def test_a_tenth_of_what_was_trained_is_cheap(
    others: int, own: int, cheap: bool, seconds: float
) -> None:
    """However long it took on a machine that had other things to do."""

    def result(steps: int, seconds: float) -> Result:
        return Result(Outcome.COMPLETED, steps, 0.0, seconds)

    results = {1: result(others // 2, 1.0), 2: result(others // 2, 1.0), 3: result(own, seconds)}
    trial = Trial(number=3, key="", config={}, seed=0)
    assert is_due(History(results=results), trial) is cheap
    # What was confirmed meanwhile is no part of it: the same command would train it later.
    results[4] = result(1000, 1.0)
    assert is_due(History(results=results, apart={4}), trial) is cheap


@pytest.mark.parametrize(
    ("code", "outcome", "reason"),
    [
        ("sys.exit('no more')", "failed", "exit code 1: no more"),
        ("print('{\"loss\": NaN}')", "diverged", "loss is nan at step 1"),
        ("os.kill(os.getppid(), 9); import time; time.sleep(9)", "failed", "watched over it"),
    ],
)
def test_a_repetition_that_does_not_complete_says_so(
    here: Path, code: str, outcome: str, reason: str
) -> None:
    once = f"if int(os.environ['LRSEARCH_TRIAL']) > 4:\n    {code}\nfor step"
    write(here, EXACT.replace("for step", once), search=FOUR, max_failures=0)
    out, _ = lrsearch("grid", "mine.yaml", *TRAIN)
    assert f"completed, and {outcome} when it was trained again" in out and "4 completed" in out
    found = json.loads(lrsearch("report", "mine.yaml", "--json")[0])
    again = found["repeatability"]
    assert again["outcome"] == outcome and reason in again["reason"]
    assert again["again"] is None and again["difference"] is None
    assert found["best"]["objective"] == again["objective"]
    search("grid", "mine.yaml", *TRAIN)
    assert len(seen(here)) == 5, "it is not tried again"
    page, _ = lrsearch("report", "mine.yaml", "--trial", "5")
    assert f": {outcome}" in page and f"it is trial {again['trial']} once more" in page
    search("grid", "mine.yaml", *TRAIN, "--retry-failed")
    assert len(seen(here)) == 5 + (outcome == "failed"), "unless that is asked for"
    assert read(here / "runs/mine").repeating == {again["trial"]: 5}


def test_a_script_that_changes_before_the_repetition_costs_nothing(here: Path) -> None:
    last = "if int(os.environ['LRSEARCH_TRIAL']) == 4: open('train.py', 'a').write('#')\nfor step"
    write(here, EXACT.replace("for step", last), search=FOUR)
    out, err = lrsearch("grid", "mine.yaml", *TRAIN)
    assert "4 completed" in out and "it was not trained again: " in err
    assert not read(here / "runs/mine").repeated


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_repetition_that_is_killed_is_taken_up_again(
    here: Path, number: int, nursery: Nursery
) -> None:
    hangs = (
        "if int(os.environ['LRSEARCH_TRIAL']) > 4 and not os.path.exists('go'):\n"
        "    open('hangs', 'w').close(); import time; time.sleep(60)\nfor step"
    )
    write(here, EXACT.replace("for step", hangs), search=FOUR)
    command = ("grid", "mine.yaml", "--allow-command", "--workers", "2")
    driver = Fork(nursery, here, *command, settings={"lrsearch.tuner.repeating.CHEAP": math.inf})
    deadline = time.monotonic() + 60
    while not (here / "hangs").exists():
        assert not driver.ended() and time.monotonic() < deadline, driver.said()
        time.sleep(0.02)
    shown = json.loads(lrsearch("report", "mine.yaml", "--json")[0])
    assert shown["best"] and shown["repeatability"] is None
    driver.send(number)
    driver.wait(20)
    interrupted, _ = lrsearch("report", "mine.yaml")
    assert "the search was interrupted" in interrupted and "lrsearch grid mine.yaml" in interrupted
    (here / "go").touch()
    found = search(*command)
    assert found["repeatability"]["exact"] and found["points"] == shown["points"]
    assert [each[0] for each in seen(here)[4:]] == ["5", "5"], "under the number it had"
    assert search(*command)["repeatability"] == found["repeatability"]
    assert len(seen(here)) == 6


def test_an_older_run_opens_and_a_loop_repeats_itself(here: Path) -> None:
    write(here, EXACT, search=FOUR)
    search("grid", "mine.yaml", *TRAIN, "--set", "verify=false", "--set", "seed=0")
    make_older(here, "mine", "older")
    name = ("--set", "name=older")
    assert json.loads(lrsearch("report", "runs/older", "--json")[0])["repeatability"] is None
    found = search("grid", "mine.yaml", *TRAIN, *name)
    assert found["repeatability"]["exact"] and len(found["trials"]) == 4
    assert seen(here)[-1][:2] == ["5", "0"]
    (here / "mine_loop.py").write_text(
        "import numpy\ndef train(trial):\n    loss = numpy.random.rand() + trial.params['lr']\n"
        "    trial.report(1, loss=loss)\n"
    )
    loop = {"loop": "mine_loop.train", "objective": "loss", "search": {"lr": [0.1, 0.2]}}
    loop["seeds"] = 2
    (here / "loop.yaml").write_text(yaml.safe_dump(loop))
    allowed = ("--allow-import", "mine_loop", "--device", str(DEVICE))
    found = search("grid", "loop.yaml", *allowed, "--workers", "2")
    assert found["repeatability"]["exact"] and len(found["best"]["trials"]) == 2


def test_verify_is_for_commands_and_loops(here: Path) -> None:
    (here / "own.yaml").write_text(
        "data: iris\nmodel: logistic\ntrain: {budget: 2ba, lr: 0.1}\nverify: true\n"
    )
    _, err = lrsearch("check", "own.yaml", code=2)
    assert "'verify' goes with command or loop" in err and "lrsearch export --verify" in err
    write(here, EXACT)
    _, err = lrsearch("check", "mine.yaml", "--set", "verify=maybe", code=2)
    assert "'maybe' is not true or false" in err
    assert "trained once more" in lrsearch("check", "mine.yaml")[0]
    assert "trained once more" not in lrsearch("check", "mine.yaml", "--set", "verify=false")[0]


def test_lines_of_a_repetition_that_contradict_the_journal(here: Path) -> None:
    write(here, EXACT, search=FOUR)
    search("grid", "mine.yaml", *TRAIN)
    with Run.open(here / "runs", "mine", spec_text=None, create=False) as run:
        (trial,) = run.history.repeated
        result = run.history.repeated[trial]
        assert run.repeating(trial) == 5 and result.outcome is Outcome.COMPLETED
        with pytest.raises(ValueError, match="repeated already"):
            run.repeated(trial, result, {})
        with pytest.raises(ValueError, match="not ended"):
            run.append("repeating", {"trial": 99, "number": 100})
        other = next(each for each in run.history.results if each != trial)
        with pytest.raises(ValueError, match="another"):
            run.append("repeating", {"trial": other, "number": trial})
        live = run.history
    assert read(here / "runs/mine") == live
    assert lrsearch("repair", "runs/mine")[0].endswith("is sound: nothing to repair\n")
