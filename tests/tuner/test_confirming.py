"""Confirming: the best points of a run measured again, with fresh seeds and splits."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
import yaml
from devices import DEVICE
from typer.testing import CliRunner

from lrsearch import store
from lrsearch.cli import app
from lrsearch.data import splitting
from lrsearch.reports.text import format_fixed
from lrsearch.store import read
from lrsearch.train.batches.resident import load_raw
from lrsearch.trial import CONFIRM, Workplace

TRAIN = ("--executor", "inline", "--device", str(DEVICE))
SPEC: dict[str, Any] = {
    "name": "mine",
    "data": {"name": "wine", "validation": 0.3, "test": 0.2, "standardize": True},
    "model": "logistic",
    "train": {"budget": "30ba", "batch_size": 16},
    "objective": {"metric": "loss", "goal": "min"},
    "search": {"lr": {"min": 1e-3, "max": 10.0, "points": 6}},
}


def lrsearch(*arguments: object, code: int = 0, width: int = 100) -> tuple[str, str]:
    env = {"COLUMNS": str(width), "LRSEARCH_RUNS": None}
    done = CliRunner().invoke(app, list(map(str, arguments)), env=env, catch_exceptions=False)
    assert done.exit_code == code, (done.stdout, done.stderr)
    return done.stdout, done.stderr


def found(*arguments: object, code: int = 0) -> dict[str, Any]:
    """What a command prints as JSON."""
    document: dict[str, Any] = json.loads(lrsearch(*arguments, "--json", code=code)[0])
    return document


def write(folder: Path, **more: Any) -> None:
    spec = {key: part for key, part in {**SPEC, **more}.items() if part is not None}
    (folder / "mine.yaml").write_text(yaml.safe_dump(spec, sort_keys=False))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path


Made = tuple[Path, dict[str, Any]]


def made(tmp_path_factory: pytest.TempPathFactory, *commands: str, before: Path | None) -> Made:
    """A folder in which the plain spec has been run, on from another one, and what the last command
    printed."""
    place = tmp_path_factory.mktemp("made")
    if before is not None:
        shutil.copytree(before, place, dirs_exist_ok=True)
    document: dict[str, Any] = {}
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(place)
        patched.setenv("XDG_CONFIG_HOME", str(place / "config"))
        write(place)
        for command in commands:
            document = found(command, "mine.yaml", *TRAIN)
    return place, document


@pytest.fixture(scope="module")
def grid_made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return made(tmp_path_factory, "grid", before=None)


@pytest.fixture(scope="module")
def confirm_made(tmp_path_factory: pytest.TempPathFactory, grid_made: Made) -> Made:
    return made(tmp_path_factory, "confirm", before=grid_made[0])


@pytest.fixture
def searched(here: Path, grid_made: Made) -> dict[str, Any]:
    """The plain spec's run after its grid, and what that printed."""
    shutil.copytree(grid_made[0], here, dirs_exist_ok=True)
    return grid_made[1]


@pytest.fixture
def confirmed(here: Path, confirm_made: Made) -> dict[str, Any]:
    """The same confirmed, and what that printed."""
    shutil.copytree(confirm_made[0], here, dirs_exist_ok=True)
    return confirm_made[1]


# the whole way


def test_a_confirmation_stands_apart_from_the_search(here: Path, searched: dict[str, Any]) -> None:
    before = searched
    assert "next      lrsearch confirm mine.yaml" in lrsearch("report", "mine.yaml")[0]
    after = found("confirm", "mine.yaml", *TRAIN)
    for key in ("points", "trials", "best"):
        assert after[key] == before[key], key
    assert "not belong to this spec" not in lrsearch("report", "mine.yaml")[0]
    history = read(here / "runs" / "mine")
    fresh = [history.trials[number] for number in history.apart]
    assert {each.seed for each in fresh} == {1000, 1001, 1002, 1003, 1004}
    assert all(each.config["data"]["validation_seed"] == each.seed for each in fresh)
    assert {history.strategy[each.number] for each in fresh} == {CONFIRM}
    # No later search is told of them: it goes as it would have gone.
    resumed = found("grid", "mine.yaml", *TRAIN)
    assert resumed["points"] == before["points"] and resumed["confirmation"]["over"]
    more = ("--set", "random.trials=3")
    random = found("random", "mine.yaml", *TRAIN, *more)
    (here / "other").mkdir()
    apart = found("random", "mine.yaml", *TRAIN, *more, "--runs", "other")
    drawn = [each["params"] for each in random["points"] if each["strategy"] == "random"]
    assert [each for each in apart["points"] if each["params"] in drawn] and len(drawn) == 3


def test_the_answer_rests_on_fresh_seeds(
    here: Path, grid_made: Made, confirmed: dict[str, Any]
) -> None:
    searched, whole = grid_made[1], confirmed
    answer, confirmation = whole["answer"], whole["confirmation"]
    assert searched["answer"]["confirmed"] is False and answer["confirmed"] is True
    listed = json.loads(lrsearch("list", "--json")[0])["runs"][0]
    assert (listed["best"], listed["confirmed"]) == (whole["best"]["objective"], answer["value"])
    assert f"loss {answer['value']:.3f}" in lrsearch("list")[0]
    points = {each["point"]: each for each in confirmation["finalists"]}
    own = points[answer["recommended"]["point"]]
    assert (answer["value"], answer["interval"]) == (own["mean"], own["interval"])
    values = own["values"].values()
    assert own["mean"] == pytest.approx(sum(values) / len(values)) and len(values) == 5
    assert answer["interval"][0] < answer["value"] < answer["interval"][1]
    assert answer["shrinkage"] == pytest.approx(own["mean"] - own["search"])
    # Of a grid, which begins in a corner, the control is the point in its middle.
    assert answer["seeds"] == 5 and answer["control"]["params"]["lr"] == pytest.approx(0.2512, 1e-3)
    assert answer["evidence"].startswith("confirmed on 5 fresh seeds; likely ")
    # The search's best values are its luck: point 3 was the best of the grid, and is not.
    assert searched["answer"]["highest"]["point"] == 3 != answer["highest"]["point"]
    # A point that is clearly worse gets the first round's seeds alone.
    assert points[2]["seeds"] == 3
    text = lrsearch("report", "mine.yaml")[0]
    assert "(5 fresh seeds, deviation 0.0" in text.splitlines()[0]
    assert "), point 6" in text.splitlines()[0] and "measured again on fresh seeds" in text
    assert "next       lrsearch export mine.yaml" in text
    assert "| recommended, lowest |" in lrsearch("report", "mine.yaml", "--markdown")[0]
    again = found("confirm", "mine.yaml", *TRAIN)
    assert again["confirmation"] == confirmation, "nothing is trained twice"
    assert "would train nothing" in lrsearch("confirm", "mine.yaml", *TRAIN, "--dry-run")[0]
    for seeds, left in ((5, False), (7, True)):
        wanted = ("--set", f"confirm.seeds={seeds}", "--dry-run")
        dry = lrsearch("grid", "mine.yaml", *TRAIN, *wanted)[0]
        assert "would train 0 trials" in dry and ("measured again" in dry) is left
    more = found("confirm", "mine.yaml", *TRAIN, "--seeds", 7)["confirmation"]
    held = {each["point"]: each["values"] for each in more["finalists"]}
    assert held[6].items() > own["values"].items() and len(held[6]) == 7


def test_beyond_the_best_one_joins(here: Path) -> None:
    """Beside a control that is the spec's own values. Of two rates the lower is better on fresh
    seeds: the next one below joins, wherever a kill has left the journal."""
    write(here, train={**SPEC["train"], "lr": 0.05}, confirm={"top": 2, "seeds": 6})
    out, err = lrsearch("grid", "mine.yaml", *TRAIN, "--json")
    whole = json.loads(out)
    control = whole["answer"]["control"]
    assert control["point"] is None and control["params"] == {"lr": 0.05}
    finalists = whole["confirmation"]["finalists"]
    assert [each["point"] for each in finalists] == [6, 3, 5, None]
    assert "point 5 joins" in err and "who gets more seeds is decided anew" in err
    assert whole["confirmation"]["trials"] == 22
    assert whole["answer"]["confirmed"] and len(whole["points"]) == 6
    text = lrsearch("report", "mine.yaml")[0]
    assert "(lr=0.05), worse with probability" in text
    number = max(read(here / "runs" / "mine").apart)
    assert "measures point 5 again" in lrsearch("report", "mine.yaml", "--trial", number)[0]
    assert "measures the control again" in lrsearch("report", "mine.yaml", "--trial", 9)[0]
    lines = (here / "runs/mine/journal.jsonl").read_bytes().splitlines(keepends=True)
    joined = [at for at, line in enumerate(lines) if b'"event":"confirming"' in line][-1]
    for end in (joined, joined + 4):
        option = copied(here, f"cut{end}")
        journal = here / f"cut{end}/mine/journal.jsonl"
        journal.write_bytes(b"".join(lines[:end]))
        # Until it is measured the answer rests on the others.
        held = found("report", "mine.yaml", *option)["confirmation"]["finalists"]
        assert [each["point"] for each in held] == [6, 3, None]
        dry = lrsearch("confirm", "mine.yaml", *TRAIN, *option, "--dry-run")[0]
        assert "up to 1 point more joins" in dry
        assert values(found("confirm", "mine.yaml", *TRAIN, *option)) == values(whole)
    # None joins what an older version has confirmed.
    option = copied(here, "older")
    kept = b"".join(lines[:joined]).replace(b',"outward":true', b"").splitlines()
    bodies = [line.split(b",", 2)[2] for line in kept]
    numbered = [store._numbered(at, body) for at, body in enumerate(bodies, start=1)]
    (here / "older/mine/journal.jsonl").write_bytes(b"".join(numbered))
    again = found("confirm", "mine.yaml", *TRAIN, *option)["confirmation"]
    assert len(again["finalists"]) == 3 and again["trials"] == 16


def test_export_writes_the_recommended_and_the_highest(here: Path) -> None:
    """Three rates in the middle differ by noise alone: the one in the middle is recommended."""
    flat = {"lr": {"min": 0.01, "max": 1.0, "points": 5}}
    write(here, **COMMAND, search=flat, seeds=2)
    noise = "random.Random(f'1 {lr} {seed}').random() / 100"
    script(here, f"0.5 + {noise} + (lr > 0.9) + (lr < 0.02)")
    found("grid", "mine.yaml", *ALLOW)
    answer = found("confirm", "mine.yaml", *ALLOW)["answer"]
    recommended, highest = answer["recommended"], answer["highest"]
    assert (recommended["point"], highest["point"], answer["tied"]) == (2, 5, [4, 5])
    assert recommended["params"] == {"lr": 0.1}
    assert recommended["why"] == "it lies farthest from where the objective gets worse"
    for given, point in (((), recommended), (("--best",), highest)):
        exported = yaml.safe_load(lrsearch("export", "mine.yaml", *given)[0])
        assert exported["params"]["lr"] == point["params"]["lr"]
    text = " ".join(lrsearch("report", "mine.yaml")[0].split())
    assert "point 5 was measured better" in text and recommended["why"] in text


# the test part


def test_the_test_part_is_looked_at_by_the_exported_training(
    here: Path, searched: dict[str, Any]
) -> None:
    out, err = lrsearch("confirm", "mine.yaml", *TRAIN, "--json")
    after = json.loads(out)
    first, cost = after["confirmation"]["test"], after["cost"]
    # It is none of the trials that were counted, and its value is that of the test part.
    loss = format_fixed(first["metrics"]["loss"], 4)
    told = rf"test part, once\ntrial \d+  loss {loss} on the test part \(36 samples\)  "
    assert re.search(told, err), err
    assert first["point"] == 6 and first["samples"] == 36
    # What the exported spec trains is the model that was looked at.
    history = read(here / "runs" / "mine")
    (tested,) = history.tested
    # Its training is in the cost, and has a number that the report knows.
    assert tested.result is not None and tested.result.steps == 30
    assert (cost["test_trials"], cost["test_epochs"]) == (1, tested.result.epochs)
    assert cost["test_seconds"] == tested.result.seconds > 0
    page = lrsearch("report", "mine.yaml", "--trial", tested.number)[0]
    assert "the look at the test part" in page and "30 steps" in page and "36 samples" in page
    trial = found("report", "mine.yaml", "--trial", tested.number)
    assert (trial["trial"]["point"], trial["trial"]["test"]["samples"]) == (6, 36)
    assert trial["trial"]["steps"] == 30 and trial["curve"]["step"][-1] == 30
    assert "1 training, " in lrsearch("report", "mine.yaml", "--markdown")[0]
    assert (tested.seed, tested.config["data"].get("validation_seed")) == (0, None)


def test_nobody_looks_at_the_test_part_for_another_point(here: Path) -> None:
    write(here, search={"lr": [0.01, 0.02]}, confirm={"top": 1, "seeds": 2})
    first = found("grid", "mine.yaml", *TRAIN)["confirmation"]["test"]
    more = ("--set", "search.lr=[0.01, 0.02, 1.0]")
    out, err = lrsearch("grid", "mine.yaml", *TRAIN, *more)
    assert "point 3 looks at" not in err and "is not looked at again by point 3" in err
    told = " ".join(out.split())
    assert "the test part was looked at by point 2 (loss" in told
    assert "is not looked at again by point 3: a second look would make it one more" in told
    again = found("report", "mine.yaml")
    assert again["answer"]["recommended"]["point"] == 3 and again["answer"]["confirmed"]
    assert again["confirmation"]["test"] == first
    dry = lrsearch("confirm", "mine.yaml", *TRAIN, *more, "--dry-run")[0]
    assert "the test part was looked at before, and is not looked at again" in dry


@pytest.mark.parametrize("less", [("--seeds", "2"), ("--top", "1", "--seeds", "2")])
def test_a_smaller_confirmation_names_no_other_point(
    here: Path, confirmed: dict[str, Any], less: tuple[str, ...]
) -> None:
    err = lrsearch("confirm", "mine.yaml", *TRAIN, *less)[1]
    assert "is not looked at again" not in err
    again = found("report", "mine.yaml")["answer"]
    assert again["recommended"] == confirmed["answer"]["recommended"]


def test_what_comes_after_a_confirmation_is_not_confirmed(here: Path) -> None:
    write(here, **COMMAND, search={"lr": [1.0, 2.0, 3.0]})
    script(here, "lr + seed * 7 % 10 / 10")
    found("grid", "mine.yaml", *ALLOW)
    assert found("confirm", "mine.yaml", *ALLOW)["answer"]["confirmed"]
    more = ("--set", "search.lr=[0.5, 1.0, 2.0, 3.0]")
    answer = found("grid", "mine.yaml", *ALLOW, *more)["answer"]
    assert answer["confirmed"] is False and answer["value"] < 1.5
    assert "not confirmed: point 4 has come since, and is the best now" in answer["evidence"]
    assert "next lrsearch confirm" in " ".join(lrsearch("report", "mine.yaml")[0].split())
    before = read(here / "runs/mine").apart
    whole = found("confirm", "mine.yaml", *ALLOW, *more)
    after = read(here / "runs/mine")
    assert whole["answer"]["confirmed"] and whole["answer"]["recommended"]["point"] == 4
    new = [after.trials[number].config["params"]["lr"] for number in after.apart - before]
    assert set(new) == {0.5}, "what was trained counts"


def test_the_test_part_is_measured_at_the_exported_model(here: Path) -> None:
    """By hand, from the weights that the search kept of the same training."""
    write(here, search={"lr": [0.5]}, objective="accuracy")
    found("grid", "mine.yaml", *TRAIN)
    (stored,) = (here / "runs/mine/best").glob("*.safetensors")
    weights = safetensors.numpy.load_file(stored)
    found("confirm", "mine.yaml", *TRAIN, "--seeds", 2)
    (tested,) = read(here / "runs/mine").tested
    raw = load_raw(tested.config["data"], Workplace())
    part = splitting.split(raw, tested.config["data"], None).test
    matrix, bias = (weights[name] for name in sorted(weights, key=lambda name: -weights[name].ndim))
    logits = part.x @ matrix.T + bias
    logits -= logits.max(1, keepdims=True)
    logs = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    assert tested.samples == len(part.y) == 36
    assert tested.metrics["accuracy"] == pytest.approx((logits.argmax(1) == part.y).mean())
    assert tested.metrics["loss"] == pytest.approx(-logs[np.arange(36), part.y].mean(), rel=1e-4)


@pytest.mark.parametrize(
    "more",
    [
        {
            "objective": {"metric": "accuracy", "at": "best"},
            "test": 0.2,
            "validation": {"folds": 2},
        },
        {"class_path": "own.parts", "validation": "source", "test": "source"},
    ],
    ids=["folds, at best", "loaded batch by batch"],
)
def test_the_test_part_of_other_kinds_of_data(here: Path, more: dict[str, Any]) -> None:
    (here / "own.py").write_text(
        "import torch\nfrom torch.utils.data import TensorDataset, DataLoader\n"
        "def parts():\n"
        "    x = torch.randn(90, 4, generator=torch.Generator().manual_seed(0))\n"
        "    y = (x.sum(1) > 0).long()\n"
        "    sets = [TensorDataset(x[i:i + 30], y[i:i + 30]) for i in (0, 30, 60)]\n"
        "    return tuple(DataLoader(each, batch_size=10) for each in sets)\n"
    )
    more = dict(more)
    objective = more.pop("objective", "accuracy")
    whole = {"name": "wine", "standardize": True} if "class_path" not in more else {}
    write(here, data={**whole, **more}, objective=objective, confirm={"top": 2, "seeds": 2})
    document = found("grid", "mine.yaml", *TRAIN, "--allow-import", "own")
    test = document["confirmation"]["test"]
    assert test["samples"] == (30 if "class_path" in more else 36)
    assert test["metrics"]["accuracy"] > 0.5
    (tested,) = read(here / "runs/mine").tested
    assert tested.fold == (None if "class_path" in more else 0)
    reason = document["confirmation"]["reason"]
    assert reason == ("the validation part is the data's own" if "class_path" in more else None)


@pytest.mark.parametrize("validation", [0.3, {"folds": 3}])
def test_a_redrawn_split_leaves_the_test_part_alone(validation: Any) -> None:
    source = {"name": "wine", "task": None, "standardize": False, "split_seed": 4}
    config = {**source, "validation": validation, "test": 0.2}
    raw = load_raw(config, Workplace())
    fold = 0 if isinstance(validation, dict) else None
    plain = splitting.split(raw, config, fold)
    redrawn = [
        splitting.split(raw, {**config, "validation_seed": seed}, fold) for seed in (1, 1, 2)
    ]
    for each in redrawn:
        assert np.array_equal(each.test.x, plain.test.x)
        assert len(each.train) == len(plain.train)
    first, again, other = (each.validation.x for each in redrawn)
    assert np.array_equal(first, again) and not np.array_equal(first, other)
    assert not np.array_equal(first, plain.validation.x)
    whole = {tuple(row) for each in (redrawn[0].train, redrawn[0].validation) for row in each.x}
    assert not whole & {tuple(row) for row in plain.test.x}


def test_folds_stay_folds(here: Path) -> None:
    write(here, data={**SPEC["data"], "validation": {"folds": 3}}, confirm={"top": 1, "seeds": 2})
    whole = found("grid", "mine.yaml", *TRAIN)
    history = read(here / "runs" / "mine")
    fresh = [history.trials[number] for number in history.apart]
    places = {(each.seed, each.fold) for each in fresh}
    assert places == {(seed, fold) for seed in (1000, 1001) for fold in range(3)}
    assert len(fresh) == 2 * 2 * 3 and whole["confirmation"]["trials"] == 12
    own = whole["confirmation"]["finalists"][0]
    (config,) = {
        json.dumps(e.config)
        for e in fresh
        if e.seed == 1000 and e.config["train"]["lr"] == own["params"]["lr"]
    }
    values = [
        history.results[e.number].last["loss"] for e in fresh if json.dumps(e.config) == config
    ]
    assert own["values"]["1000"] == pytest.approx(sum(values) / 3)


# bad input


def test_nothing_searched_is_said(here: Path) -> None:
    write(here)
    _, err = lrsearch("confirm", "mine.yaml", *TRAIN, code=2)
    assert "nothing was searched with mine.yaml yet" in err and "lrsearch bayes mine.yaml" in err
    assert not (here / "runs" / "mine").exists()


def test_a_run_without_a_value_has_nothing_to_confirm(here: Path) -> None:
    write(here, **COMMAND)
    script(here, "float('nan')")
    lrsearch("grid", "mine.yaml", *ALLOW, code=1)
    sessions = len(read(here / "runs/mine").sessions)
    for more in ((), ("--dry-run",)):
        _, err = lrsearch("confirm", "mine.yaml", *ALLOW, *more, code=2)
        assert "no point was trained to its end: there is nothing to confirm" in err
    assert len(read(here / "runs/mine").sessions) == sessions


def test_fewer_points_than_asked_for(here: Path) -> None:
    write(here, search={"lr": {"min": 0.1, "max": 1.0, "points": 2}})
    found("grid", "mine.yaml", *TRAIN)
    out, err = lrsearch("confirm", "mine.yaml", *TRAIN, "--top", 9, "--seeds", 3)
    assert "confirming 2 points (of the 9 asked for no more have a value) on up to 3" in err
    assert "confirmed on 3 fresh seeds" in out


def test_one_seed_gives_no_interval(here: Path, searched: dict[str, Any]) -> None:
    whole = found("confirm", "mine.yaml", *TRAIN, "--seeds", 1)
    assert whole["answer"]["interval"] is None and whole["answer"]["confirmed"]
    assert "measured on 1 fresh seed, of which there is no interval" in whole["answer"]["evidence"]
    assert all(each["interval"] is None for each in whole["confirmation"]["finalists"])


def test_a_changed_spec_is_refused_as_a_search_refuses_it(
    here: Path, searched: dict[str, Any]
) -> None:
    _, err = lrsearch("confirm", "mine.yaml", *TRAIN, "--set", "train.budget=31ba", code=2)
    assert '"30ba" stored, "31ba" in the spec' in err
    assert not read(here / "runs" / "mine").confirming


def test_a_slip_is_answered_with_what_to_write(here: Path) -> None:
    write(here, confirm={"top": 0})
    assert "confirm.top: 0 is too small" in lrsearch("check", "mine.yaml", code=2)[1]
    write(here, confirm=3)
    assert "write confirm: {top: 3}" in lrsearch("check", "mine.yaml", code=2)[1]
    write(here, confirm={"seedz": 3})
    assert "did you mean 'seeds'" in lrsearch("check", "mine.yaml", code=2)[1]
    write(here, confirm={"seed": 3})  # Which is a key of its own at the top, and means another.
    assert "did you mean 'seeds'" in lrsearch("check", "mine.yaml", code=2)[1]


COMMAND = {
    "data": None,
    "model": None,
    "train": None,
    "command": f"{sys.executable} train.py {{lr}}",
}
ALLOW = ("--allow-command", "--executor", "inline")


def script(folder: Path, loss: str) -> None:
    # Each trial is an interpreter, of which json and random are half.
    (folder / "train.py").write_text(
        f"import os, {'random, ' * ('random' in loss)}sys\n"
        "lr, seed = float(sys.argv[1]), int(os.environ['LRSEARCH_SEED'])\n"
        f"loss = str({loss}).replace('nan', 'NaN')\n"
        """print(f'{{"step": 1, "loss": {loss}}}')\n"""
    )


def test_a_command_that_ignores_its_seed_is_noticed(here: Path) -> None:
    write(here, **COMMAND)
    script(here, "abs(lr - 0.3)")
    before = found("grid", "mine.yaml", *ALLOW)
    out, err = lrsearch("confirm", "mine.yaml", *ALLOW, "--top", 2)
    told = " ".join(out.split())
    # Of a further point it would say what the search has said.
    assert "no seed made a difference" in told and "joins" not in err
    # One value for all seeds says nothing on others: no certainty is made of it.
    assert "which made no difference: they confirm nothing" in told
    assert not any(word in told for word in ("confirmed on", "likely", "with probability", ">0.9"))
    assert "lrsearch drew no other splits: the command is given another seed" in told
    # And no list calls confirmed what confirms nothing.
    [line] = found("list")["runs"]
    assert line["confirmed"] is None and line["recommended"] is not None
    assert "confirmed" not in lrsearch("list")[0]
    whole = found("report", "mine.yaml")
    # Though only the seeds are others, they are no seeds of the search.
    assert whole["points"] == before["points"] and whole["trials"] == before["trials"]
    assert whole["confirmation"]["seedless"] and whole["answer"]["interval"] is None


def test_a_metric_that_never_varies_ties_all(here: Path) -> None:
    write(here, **COMMAND)
    script(here, "0.5")
    found("grid", "mine.yaml", *ALLOW)
    whole = found("confirm", "mine.yaml", *ALLOW, "--seeds", 9)
    # Further seeds would be repeats of a training that uses none.
    assert {len(each["values"]) for each in whole["confirmation"]["finalists"]} == {3}
    answer = whole["answer"]
    assert answer["interval"] is None and len(answer["tied"]) == 4
    assert "every point came to the same value" in answer["evidence"]
    told = " ".join(lrsearch("report", "mine.yaml")[0].split())
    assert told.count("came to the same value") == 1, "the evidence says it of all points"


def test_a_point_that_is_lost_on_a_fresh_seed_is_not_recommended(here: Path) -> None:
    """The best of the search diverges for one fresh seed of five."""
    write(here, **COMMAND)
    script(here, "float('nan') if lr > 5 and seed == 1001 else 1 / lr + os.urandom(1)[0] / 25600")
    searched = found("grid", "mine.yaml", *ALLOW)
    whole = found("confirm", "mine.yaml", *ALLOW)
    lost = searched["answer"]["highest"]["point"]
    (entry,) = (each for each in whole["confirmation"]["finalists"] if each["point"] == lost)
    assert entry["mean"] is None and entry["outcome"] == "diverged"
    assert whole["answer"]["confirmed"] and whole["answer"]["recommended"]["point"] != lost
    assert lost not in whole["answer"]["tied"]
    assert f"point {lost} diverged" in lrsearch("report", "mine.yaml")[0]


def test_all_lost_is_no_answer(here: Path) -> None:
    write(here, **COMMAND)
    script(here, "float('nan') if seed >= 1000 else lr")
    found("grid", "mine.yaml", *ALLOW)
    out, err = lrsearch("confirm", "mine.yaml", *ALLOW, code=1)
    assert "no finalist held on every fresh seed" in err
    assert "not confirmed: no finalist held" in " ".join(out.split())
    assert found("report", "mine.yaml")["answer"]["confirmed"] is False


def test_failed_trainings_are_trained_again_when_asked(here: Path) -> None:
    write(here, **COMMAND)
    script(
        here,
        "sys.exit(3) if seed == 1002 and not os.path.exists('mended') else "
        "lr + os.urandom(1)[0] / 256",
    )
    found("grid", "mine.yaml", *ALLOW)
    lrsearch("confirm", "mine.yaml", *ALLOW, code=1)
    assert "--retry-failed trains what failed again" in " ".join(
        lrsearch("report", "mine.yaml")[0].split()
    )
    (here / "mended").touch()
    assert not found("confirm", "mine.yaml", *ALLOW, code=1)["answer"]["confirmed"]
    whole = found("confirm", "mine.yaml", *ALLOW, "--retry-failed")
    assert whole["answer"]["confirmed"] and whole["answer"]["seeds"] == 5


def test_a_training_that_failed_widens_no_race(here: Path) -> None:
    """The best one fails on a fresh seed, which leaves an outermost one: nothing says that what
    lies beyond is better. Once it is trained again it is the best."""
    write(here, **COMMAND, search={"lr": [0.1, 1.0, 10.0, 100.0]}, confirm={"top": 2, "seeds": 3})
    script(
        here,
        "sys.exit(3) if lr == 10 and seed == 1001 and not os.path.exists('mended') else "
        "abs(lr - 10) + seed / 1e4",
    )
    lrsearch("grid", "mine.yaml", *ALLOW)
    (here / "mended").touch()
    whole = found("confirm", "mine.yaml", *ALLOW, "--retry-failed")
    assert len(whole["confirmation"]["finalists"]) == 3
    assert whole["answer"]["recommended"]["params"] == {"lr": 10.0}


def test_seeds_that_a_search_has_used_are_not_fresh(here: Path) -> None:
    write(here, **COMMAND, search={"lr": [0.1, 0.2]}, seed=1500)
    script(here, "lr + os.urandom(1)[0] / 256")
    few = ("--top", 1, "--seeds", 2)
    found("grid", "mine.yaml", *ALLOW)
    found("confirm", "mine.yaml", *ALLOW, *few)
    history = read(here / "runs" / "mine")
    assert {history.trials[number].seed for number in history.apart} == {2000, 2001}
    # A search that comes to use them trains for itself.
    later = ("--set", "seed=2000")
    searched = found("grid", "mine.yaml", *ALLOW, *later)
    used = [each for each in searched["trials"] if each["seed"] == 2000]
    assert len(used) == 2 and all(each["outcome"] == "completed" for each in used)
    found("confirm", "mine.yaml", *ALLOW, *few, *later)
    history = read(here / "runs" / "mine")
    assert {3000, 3001} < {history.trials[number].seed for number in history.apart}


# interruptions


def copied(here: Path, name: str) -> tuple[str, str]:
    """A copy of the run, and the option that leads to it."""
    shutil.copytree(here / "runs", here / name)
    return "--runs", name


def test_the_time_is_kept_and_the_same_command_goes_on(
    here: Path, searched: dict[str, Any]
) -> None:
    stopped = copied(here, "stopped")
    whole = found("confirm", "mine.yaml", *TRAIN)
    lrsearch("confirm", "mine.yaml", *TRAIN, *stopped, "--time", "0.001s")
    text = " ".join(lrsearch("report", "mine.yaml", *stopped)[0].split())
    assert "confirming was stopped by its time limit after 0 fresh trainings" in text
    assert "next lrsearch confirm mine.yaml" in text and "not confirmed yet" in text
    again = found("confirm", "mine.yaml", *TRAIN, *stopped)
    assert again["confirmation"] == whole["confirmation"]
    # Once more it says that nothing is left, and announces no training.
    told = lrsearch("confirm", "mine.yaml", *TRAIN, *stopped)[1]
    assert "confirmed before: nothing is left" in told and "on up to" not in told


def values(document: dict[str, Any]) -> Any:
    """The answer and the confirmation without the numbers that trials were given."""
    confirmation = dict(document["confirmation"])
    tested = confirmation.pop("test")
    return document["answer"], confirmation, {**tested, "trial": None}


def test_a_kill_at_any_line_of_the_journal_changes_nothing(
    here: Path, confirmed: dict[str, Any]
) -> None:
    """A journal cut behind a line is what a kill leaves there."""
    whole = confirmed
    lines = (here / "runs/mine/journal.jsonl").read_bytes().splitlines(keepends=True)
    first = next(at for at, line in enumerate(lines) if b'"event":"confirming"' in line)
    assert len(lines) > first + 40
    for at, end in enumerate([first, first + 1, first + 7, first + 30, len(lines) - 2]):
        name = f"cut{at}"
        option = copied(here, name)
        (here / name / "mine" / "journal.jsonl").write_bytes(b"".join(lines[:end]))
        before = read(here / name / "mine")
        had = len(before.apart & before.results.keys())
        out, err = lrsearch("confirm", "mine.yaml", *TRAIN, *option, "--json")
        again = json.loads(out)
        assert values(again) == values(whole), end
        trained = read(here / name / "mine").apart
        trials = whole["confirmation"]["trials"]
        assert len(trained) == trials, "nothing is trained twice"
        # It counts what it trains itself: at most all points with all seeds, in the end exactly.
        counted = [tuple(map(int, each)) for each in re.findall(r"^\[ *(\d+)/(\d+)\]", err, re.M)]
        assert [number for number, _ in counted] == list(range(1, 1 + trials - had)), end
        if 0 < had < 3 * 4:  # Within the first round nobody has left the race.
            assert counted[0][1] == 4 * 5 - had
        assert not counted or counted[-1][1] == trials - had


def test_a_confirmation_that_is_killed_goes_on(here: Path) -> None:
    write(here, **COMMAND, confirm={"top": 3, "seeds": 4})
    script(here, "lr + seed * 7 % 10 / 10")
    (here / "train.py").write_text(
        (here / "train.py").read_text() + "import time\ntime.sleep(0.05 * (seed > 1000))\n"
    )
    words = ["-m", "lrsearch", "grid", "mine.yaml", "--allow-command", "--workers", "1", "--quiet"]
    with subprocess.Popen([sys.executable, *words], cwd=here, stdout=subprocess.DEVNULL) as process:
        journal = here / "runs/mine/journal.jsonl"
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            text = journal.read_text() if journal.exists() else ""
            confirming = text.find('"event":"confirming"')
            if confirming > 0 and text.count('"event":"ended"', confirming) >= 3:
                break
            time.sleep(0.01)
        process.kill()
    history = read(here / "runs/mine")
    assert history.closed is None and history.confirming
    before = {number: history.results[number] for number in history.apart & history.results.keys()}
    assert 3 <= len(before) < 16
    assert "lrsearch grid mine.yaml" in lrsearch("report", "mine.yaml")[0]
    resumed = found("grid", "mine.yaml", *ALLOW)
    assert resumed["answer"]["confirmed"]
    after = read(here / "runs/mine")
    assert {number: after.results[number] for number in before} == before
    keys = [after.trials[number].key for number in after.apart]
    assert len(keys) == len(set(keys))
    alone = found("grid", "mine.yaml", *ALLOW, "--runs", "alone")
    assert alone["answer"]["value"] == resumed["answer"]["value"]
    assert values_of(alone) == values_of(resumed)


def values_of(document: dict[str, Any]) -> list[Any]:
    return [(each["params"], each["values"]) for each in document["confirmation"]["finalists"]]


def test_workers_and_lanes_make_no_difference(here: Path) -> None:
    """Points of one structure share a program where they have one split."""
    write(here, train={"budget": "30ba", "batch_size": 16}, objective="accuracy")
    found("grid", "mine.yaml", *TRAIN)
    lanes, workers = copied(here, "lanes"), copied(here, "workers")
    few = ("--top", 2, "--seeds", 2)
    alone = found("confirm", "mine.yaml", *TRAIN, *few, "--engine", "solo")
    fused = found("confirm", "mine.yaml", *TRAIN, *few, *lanes, "--engine", "fused")
    both = ("--device", str(DEVICE), "--workers", 2, "--engine", "solo", *few)
    local = found("confirm", "mine.yaml", *both, *workers)
    assert values(local) == values(alone)
    assert values_of(fused) == values_of(alone)
    history = read(here / "lanes" / "mine")
    engines = {history.results[number].engine for number in history.apart}
    assert engines == {"fused"}


# older runs

OLDER = Path(__file__).parent / "older"


def test_a_run_made_before_opens_and_is_confirmed(here: Path, searched: dict[str, Any]) -> None:
    """A journal of searches alone, as older versions wrote it: without the new key of `data`."""
    journal = here / "runs/mine/journal.jsonl"
    text = journal.read_text()
    assert ',"validation_seed":null' in text
    lines = [
        store._numbered(number, line.split(",", 2)[2].encode())
        for number, line in enumerate(
            text.replace(',"validation_seed":null', "").splitlines(), start=1
        )
    ]
    journal.write_bytes(b"".join(lines))
    assert found("report", "mine.yaml")["confirmation"] is None
    whole = found("confirm", "mine.yaml", *TRAIN)
    assert whole["answer"]["confirmed"] and len(whole["trials"]) == 6


def test_a_smaller_confirmation_replaces_no_larger_one(
    here: Path, searched: dict[str, Any]
) -> None:
    first = found("confirm", "mine.yaml", *TRAIN, "--seeds", 2, "--top", 2)["answer"]
    second = found("confirm", "mine.yaml", *TRAIN, "--seeds", 1, "--top", 1)["answer"]
    assert first["seeds"] == 2 and second == first
