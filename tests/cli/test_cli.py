"""The command line as a person uses it: mostly in this process, signals and pipes in others."""

from __future__ import annotations

import csv
import errno
import io
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import yaml
from devices import DEVICE, assert_same_numbers
from forking import Before
from typer.main import get_command
from typer.testing import CliRunner

from lrsearch import __version__
from lrsearch.catalogue import SCHEDULES
from lrsearch.cli import app, tree
from lrsearch.store import Run, read

ROOT = Path(__file__).parents[2]
COMMANDS = (
    "init",
    "check",
    "show",
    "schedules",
    "range",
    "grid",
    "random",
    "bayes",
    "refine",
    "confirm",
    "report",
    "list",
    "compare",
    "serve",
    "export",
    "repair",
)

SPEC = """\
name: small
data: {name: digits, standardize: true}
model: {name: logistic}
train:
  budget: 1ep
  batch_size: 256
  optimizer: {name: sgd, momentum: 0.9}
search:
  lr: {min: 1e-2, max: 1.0, points: 3}
  schedule: [constant, {name: step, gamma: {min: 0.1, max: 0.5, points: 2}}]
random: {trials: 4}
bayes: {trials: 4, startup: 2, generation: 2}
"""

COMMAND = """\
command: python train.py --lr {lr}
objective: {metric: loss, goal: min}
search: {lr: [0.1, 0.2, 0.4]}
"""

SCRIPT = """\
import json
import sys

lr = float(sys.argv[2])
print("loaded 12 images")
width = 0 if lr == 0.2 else 1
for step in range(8):
    print(json.dumps({"step": 10 * step, "loss": lr / (step + 1) / width}))
"""

TRAIN = ("--executor", "inline", "--device", str(DEVICE), "--engine", "solo")


class Said:
    """What a command printed, and its exit code."""

    def __init__(self, code: int, out: str, err: str, *, traces: bool = False) -> None:
        self.code, self.out, self.err = code, out, err
        assert "Traceback" not in (err if traces else out + err)

    def __repr__(self) -> str:
        return f"exit {self.code}\n--- stdout\n{self.out}\n--- stderr\n{self.err}"


def lrsearch(*arguments: object, **environment: str) -> Said:
    """Run a command in this process. What is no user's error is raised."""
    env = {"COLUMNS": "100", "LRSEARCH_RUNS": None, **environment}
    done = CliRunner().invoke(app, list(map(str, arguments)), env=env, catch_exceptions=False)
    return Said(done.exit_code, done.stdout, done.stderr, traces="--trial" in arguments)


def process(*arguments: object, **environment: str) -> subprocess.Popen[str]:
    """Start a command in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "lrsearch", *map(str, arguments)],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(started: subprocess.Popen[str]) -> Said:
    out, err = started.communicate(timeout=60)
    return Said(started.returncode, out, err)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with small.yaml and its grid in runs/."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "small.yaml").write_text(SPEC)
    done = lrsearch("grid", folder / "small.yaml", "--runs", folder / "runs", *TRAIN)
    assert done.code == 0
    return folder


@pytest.fixture
def here(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of `trained` that is the working directory."""
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with small.yaml and no runs."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small.yaml").write_text(SPEC)
    return tmp_path


def count_trials(folder: Path, name: str = "small") -> int:
    return len(read(folder / "runs" / name).results)


# Help and names -----------------------------------------------------------------------------


@pytest.mark.parametrize("command", [(), *((name,) for name in COMMANDS)])
def test_help_fits_80_columns(command: tuple[str, ...]) -> None:
    said = lrsearch(*command, "--help", COLUMNS="80", TERMINAL_WIDTH="80")
    assert said.code == 0
    assert max(map(len, said.out.splitlines())) <= 80
    assert "Usage: lrsearch" in said.out
    assert said.err == ""


def test_every_command_is_in_the_readme_and_every_option_has_help() -> None:
    group: Any = get_command(app)
    assert tuple(group.commands) == COMMANDS
    readme = (ROOT / "README.md").read_text()
    for name, command in group.commands.items():
        assert f"lrsearch {name}" in readme
        for parameter in command.params:
            assert parameter.help, f"{name} {parameter.name}"


def test_the_help_of_all_needs_no_command_s_module() -> None:
    for name, (place, told) in tree.COMMANDS.items():
        module, function = place.split(".")
        found = getattr(import_module(f"lrsearch.cli.{module}"), function)
        assert function == "make_command" or found.__doc__ == told, name
    whole, names = (
        CliRunner().invoke(each, ["--help"]).output for each in (app, tree.make_app(loaded=()))
    )
    assert whole == names and "grid" in names


def test_version() -> None:
    assert lrsearch("--version").out == f"lrsearch {__version__}\n"


def test_a_mistyped_name_is_answered_with_the_nearest(here: Path) -> None:
    for arguments, nearest in (
        (("gird", "small.yaml"), "grid"),
        (("grid", "small.yaml", "--quite"), "--quiet"),
        (("check", "smal.yaml"), "small.yaml"),
        (("report", "smal"), "small"),
        (("report", "smal.yaml"), "small.yaml"),
        (("grid", "small.yaml", "--device", "cpuu", "--executor", "inline"), "cpu"),
        (("check", "small.yaml", "--set", "train.budgt=2ep"), "budget"),
        (("grid", "small.yaml", "--require", "acuracy>0.5"), "accuracy"),
        (("grid", "small.yaml", "--engine", "fuse"), "did you mean 'fused'"),
    ):
        said = lrsearch(*arguments)
        assert said.code == 2
        assert said.out == ""
        assert nearest in said.err, said


# check and show -----------------------------------------------------------------------------


def test_check_reads_a_sound_spec_back(empty: Path) -> None:
    said = lrsearch("check", "small.yaml")
    assert said.code == 0
    assert said.out.startswith("ok\n")
    words = " ".join(said.out.split())
    for part in ("logistic", "digits", "1ep", "9 points", "lr (0.01 to 1, log, 3 points)"):
        assert part in words


def test_check_finds_all_faults_at_once(empty: Path) -> None:
    faults = """\
name: ../etc
data: {name: digitz}
model: {name: mlp, hiden: [4]}
train: {budget: 0ep, schedule: cosin, optimizer: {name: sdg}}
objective: {metric: rmse}
search:
  lr: {min: 1.0, max: 0.1}
  batch_size: [32, 0]
"""
    (empty / "bad.yaml").write_text(faults)
    said = lrsearch("check", "bad.yaml")
    assert said.code == 2
    lines = re.findall(r"bad\.yaml:(\d+): ", said.err)
    assert lines == sorted(lines, key=int)
    assert len(lines) >= 8
    for near in ("digits", "hidden", "cosine", "sgd"):
        assert f"did you mean '{near}'" in said.err


BAD_FILES: dict[str, tuple[str | bytes, str]] = {
    "an empty file": ("", "empty"),
    "a list": ("- lr\n- 0.1\n", "mapping"),
    "tabs": ("train:\n\tlr: 1\n", "tab"),
    "binary": (bytes(range(128, 256)) * 8, "UTF-8"),
    "a duplicate key": ("name: a\nname: b\n", "twice"),
    "no YAML": ("train: {lr: [1\n", "bad.yaml:"),
    "too much": ("# " + "x" * 70_000, "64 KiB"),
}


@pytest.mark.parametrize("kind", BAD_FILES)
def test_a_file_that_is_no_spec(empty: Path, kind: str) -> None:
    content, word = BAD_FILES[kind]
    data = content if isinstance(content, bytes) else content.encode()
    (empty / "bad.yaml").write_bytes(data)
    for command in ("check", "show", "bayes"):
        said = lrsearch(command, "bad.yaml")
        assert said.code == 2
        assert said.out == ""
        assert said.err.startswith("error: bad.yaml"), said
        assert word in said.err
        assert len(said.err) < 700


BAD_VALUES = {
    "unknown=1": "unknown",
    "search.lr=fast": "lr",
    "train.momentun=0.9": "unknown",
    "search.lr.min=5": "min",
    "search.lr.min=0": "above 0",
    "search.optimizer.weight_decay={min: 0, max: 0.1, points: 3}": "log",
    "search.lr.max=.nan": "finite",
    "search.lr.max=.inf": "finite",
    "search.lr.points=0": "points",
    "train.schedule=cosin": "did you mean 'cosine'",
    "train.optimizer.name=adm": "did you mean 'adam'",
    "model.name=mlpp": "did you mean 'mlp'",
    "data.name=digit": "did you mean 'digits'",
    "objective.metric=acuracy": "did you mean 'accuracy'",
    "train.optimizer.beta1=0.9": "beta1",
    "objective.metric=rmse": "no metric of classification",
    "train.budget=0ep": "budget",
    "train.budget=0": "budget",
    "name=../../etc": "name",
    "data.validation=1.5": "validation",
    "train.batch_size=true": "batch_size",
    "train.lr=-1": "lr",
}


@pytest.mark.parametrize("override", BAD_VALUES)
def test_a_value_that_makes_no_sense(empty: Path, override: str) -> None:
    overrides = ["--set", override]
    said = lrsearch("check", "small.yaml", *overrides)
    assert said.code == 2
    assert said.out == ""
    assert said.err.startswith("error: ")
    assert BAD_VALUES[override] in said.err, said


def test_show_draws_each_schedule(empty: Path) -> None:
    said = lrsearch("show", "small.yaml")
    assert said.code == 0
    assert said.out.count("⣀") + said.out.count("⠤") + said.out.count("⠉") > 20
    for title in ("constant", "gamma=0.1", "gamma=0.5", "0.01 to 1, log, 3 points"):
        assert title in said.out
    data = json.loads(lrsearch("show", "small.yaml", "--json").out)
    assert [part["name"] for part in data["parameters"]][:2] == ["lr", "schedule"]
    final = {part["title"].split("  (")[0]: part["multipliers"][-1] for part in data["schedules"]}
    assert final["constant"] == 1.0
    assert sorted(final.values())[0] == pytest.approx(0.01)
    assert (data["timeout"], data["save"]) == (None, 300.0)
    narrow = lrsearch("show", "small.yaml", "--width", "30").out
    drawn = [line for line in narrow.splitlines() if "┤" in line]
    assert drawn and max(map(len, drawn)) <= 30


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ((), ["A training under way is saved every 5m."]),
        (("timeout=3s", "save=1s"), ["A trial may take 3s: one", "is saved every 1s."]),
        (("timeout=5400s", "save=0s"), ["may take 90m: one", "saved at every evaluation."]),
        (("save=null",), ["No training is saved while it is under way."]),
    ],
)
def test_how_long_and_how_often_is_told(
    empty: Path, given: tuple[str, ...], told: list[str]
) -> None:
    overrides = [word for each in given for word in ("--set", each)]
    for command in ("check", "show"):
        said = lrsearch(command, "small.yaml", *overrides)
        out = " ".join(said.out.split())
        assert said.code == 0 and all(part in out for part in told), said
        assert ("A trial may take" in out) == any("timeout" in each for each in given)
    (empty / "own.yaml").write_text("command: echo {lr}\nobjective: loss\nsearch: {lr: [1, 2]}\n")
    assert "saved" not in lrsearch("check", "own.yaml").out + lrsearch("show", "own.yaml").out


# Searching ----------------------------------------------------------------------------------


def test_a_search_ends_with_a_table_and_a_second_one_trains_nothing(here: Path) -> None:
    before = count_trials(here)
    said = lrsearch("grid", "small.yaml", *TRAIN)
    assert said.code == 0
    assert said.out.startswith("small: accuracy 0.")
    assert re.search(r"^trials +9 completed", said.out, re.MULTILINE)
    assert "[" not in said.err, "no trial has a line"
    assert count_trials(here) == before == 9


def test_json_is_all_there_is_on_stdout(here: Path) -> None:
    said = lrsearch("random", "small.yaml", "--json", *TRAIN)
    assert said.code == 0
    assert json.loads(said.out)["run"] == "small"
    assert "[" in said.err, "progress goes to stderr"


def test_quiet_says_nothing_on_stderr(here: Path) -> None:
    said = lrsearch("random", "small.yaml", "--quiet", *TRAIN)
    assert said.code == 0
    assert said.err == ""
    assert said.out


def test_dry_run_trains_and_writes_nothing(empty: Path) -> None:
    for strategy, trials in (("grid", 9), ("random", 4), ("bayes", 2)):
        said = lrsearch(strategy, "small.yaml", "--dry-run", *TRAIN)
        assert said.code == 0
        assert f"would train {trials} trials" in said.out
        assert len(re.findall(r"^  lr=", said.out, re.MULTILINE)) == trials
    assert sorted(path.name for path in empty.iterdir()) == ["small.yaml"]


def test_dry_run_knows_what_is_measured(here: Path) -> None:
    files = {path: path.read_bytes() for path in (here / "runs").rglob("*") if path.is_file()}
    said = lrsearch("grid", "small.yaml", "--dry-run", *TRAIN)
    assert "would train 0 trials" in said.out
    said = lrsearch("grid", "small.yaml", "--dry-run", "--set", "search.lr.points=5", *TRAIN)
    assert "would train 6 trials" in said.out
    assert files == {
        path: path.read_bytes() for path in (here / "runs").rglob("*") if path.is_file()
    }


def test_a_dry_run_that_begins_anew_knows_nothing_of_the_old_run(here: Path) -> None:
    said = lrsearch("grid", "small.yaml", "--fresh", "--dry-run", *TRAIN)
    assert said.code == 0 and "0 points measured" in said.out and count_trials(here) == 9
    changed = ("--dry-run", "--set", "train.budget=3ep", *TRAIN)
    assert lrsearch("grid", "small.yaml", *changed).code == 2, "nothing stored belongs to it"
    other = lrsearch("grid", "small.yaml", "--fresh", *changed)
    assert other.code == 0, other.err


def test_trials_takes_the_place_of_the_spec_s(empty: Path) -> None:
    for strategy in ("random", "bayes"):
        run = (strategy, "small.yaml", "--runs", strategy, *TRAIN)
        done = lrsearch(*run, "--trials", "2")
        assert done.code == 0, done
        history = read(empty / strategy / "small")
        assert len(history.proposals) == len(history.results) == 2
        command = history.sessions[-1]["spec"]["command"]
        assert command[command.index("--trials") + 1] == "2"
        more = lrsearch(*command[1:], "--trials", "3")
        assert more.code == 0 and len(read(empty / strategy / "small").results) == 3
        # What the file says follows when nobody says otherwise.
        assert lrsearch(*run).code == 0 and len(read(empty / strategy / "small").results) == 4
        zero = lrsearch(*run, "--trials", "0")
        assert zero.code == 2 and "--trials: '0'" in zero.err and "write --trials" in zero.err
    grid = lrsearch("grid", "small.yaml", "--trials", "2")
    assert grid.code == 2 and "lrsearch random small.yaml --trials 2" in grid.err


def test_a_search_that_its_time_stops_goes_on_by_the_same_command(
    empty: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (empty / "mine.yaml").write_text(COMMAND.replace("[0.1, 0.2, 0.4]", "[0.1, 0.3, 0.4, 0.5]"))
    # The time is over while the first trial trains, however slow the start was.
    (empty / "train.py").write_text("open('training', 'w').close()\n" + SCRIPT)

    def clock() -> float:
        return time.monotonic() + 3600 * (empty / "training").exists()

    run = ("grid", "mine.yaml", "--allow-command", "--workers", "1", "--time", "1h")
    with monkeypatch.context() as patched:
        patched.setattr("lrsearch.tuner.session.time", SimpleNamespace(monotonic=clock))
        done = lrsearch(*run)
    assert done.code == 0, done
    trained = count_trials(empty, "mine")
    assert trained == 1
    assert f"the time is over: {trained} of 4 trials are trained" in done.err
    said = f"was stopped by its time limit: {trained} of 4 trials are trained"
    assert said in " ".join(done.out.split()), done
    again = "lrsearch grid mine.yaml --time 1h --workers 1 --allow-command"
    assert re.search(rf"^next +{again}$", done.out, re.MULTILINE)
    assert lrsearch("report", "mine").out == done.out
    assert json.loads(lrsearch("list", "--json").out)["runs"][0]["state"] == "stopped"
    assert lrsearch(*run).code == 0
    assert count_trials(empty, "mine") == 4
    # Of another grid it counts those between its points, too: 4 were trained, 1 more is, 1 is left.
    text = (empty / "mine.yaml").read_text()
    other = text.replace("[0.1, 0.3, 0.4, 0.5]", "{min: 0.1, max: 0.5, points: 4}")
    (empty / "mine.yaml").write_text(other)
    (empty / "training").unlink()
    with monkeypatch.context() as patched:
        patched.setattr("lrsearch.tuner.session.time", SimpleNamespace(monotonic=clock))
        done = lrsearch(*run)
    assert "limit: 5 of 6 trials are trained" in " ".join(done.out.split()), done
    assert lrsearch(*run).code == 0
    assert "time limit" not in lrsearch("report", "mine").out
    before = lrsearch("grid", "mine.yaml", "--allow-command", "--time", "1ms", "--fresh")
    assert before.code == 2 and "90s, 10m, 1.5h" in before.err
    short = lrsearch("grid", "mine.yaml", "--allow-command", "--time", "0.001s", "--fresh")
    assert short.code == 1 and "no trial began" in short.err


@pytest.mark.parametrize("time", ["0s", "5", "-3m", "1e3s", "soon", "inf h", "1.5.5h"])
def test_what_is_no_time(empty: Path, time: str) -> None:
    said = lrsearch("random", "small.yaml", "--time", time)
    assert said.code == 2 and "90s, 10m, 1.5h" in said.err and not (empty / "runs").exists()


def test_a_lower_number_of_trials_hides_what_it_leaves(empty: Path) -> None:
    run = ("bayes", "small.yaml", *TRAIN)
    assert lrsearch(*run).code == 0
    journal = empty / "runs" / "small" / "journal.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    # As if it had been killed within its last generation of two.
    while b'"event":"proposed"' not in lines[-1]:
        lines.pop()
    journal.write_bytes(b"".join(lines))
    assert "2 points unfinished" in lrsearch("report", "small").out
    done = lrsearch(*run, "--trials", "2")
    assert done.code == 0 and count_trials(empty) == 2
    assert "unfinished" not in done.out and "interrupted" not in done.out, done
    assert lrsearch(*run).code == 0 and count_trials(empty) == 4


def test_require(here: Path) -> None:
    met = lrsearch("grid", "small.yaml", "--require", "accuracy>=0.5", *TRAIN)
    assert met.code == 0
    missed = lrsearch("grid", "small.yaml", "--require", "accuracy >= 0.999", "--quiet", *TRAIN)
    assert missed.code == 3
    assert re.fullmatch(
        r"not met: accuracy >= 0\.999: the best point reached 0\.\d+\n", missed.err
    ), missed
    assert missed.out.startswith("small: accuracy"), "the result is shown all the same"
    other = lrsearch("grid", "small.yaml", "--require", "loss<10", *TRAIN)
    assert other.code == 0


@pytest.mark.parametrize("condition", ["", "accuracy", "accuracy=0.9", "0.9<accuracy", "f1>nan"])
def test_require_has_a_grammar(empty: Path, condition: str) -> None:
    said = lrsearch("grid", "small.yaml", "--require", condition, *TRAIN)
    assert said.code == 2
    assert "--require" in said.err
    assert '"accuracy>=0.95"' in said.err


def test_a_required_metric_of_another_task_is_refused_before_training(empty: Path) -> None:
    said = lrsearch("grid", "small.yaml", "--require", "rmse<1", *TRAIN)
    assert said.code == 2
    assert "'rmse' is no metric of classification" in said.err
    generator = np.random.default_rng(0)
    np.savez("targets.npz", x=generator.normal(size=(99, 3)), y=generator.normal(size=99))
    (empty / "own.yaml").write_text(
        "data: {name: npz, source: targets.npz}\nmodel: {name: mlp}\n"
        "train: {budget: 1ep, lr: 0.1, batch_size: 16}\n"
    )
    said = lrsearch("grid", "own.yaml", "--require", "accuracy>0.5", *TRAIN)
    assert said.code == 2
    assert "'accuracy' is no metric of regression" in said.err
    assert not (empty / "runs").exists()


def test_no_completed_trial_is_exit_1(empty: Path) -> None:
    said = lrsearch(
        *("grid", "small.yaml", "--set", "train.lr=1e30", "--set", "model.name=mlp"), *TRAIN
    )
    assert said.code == 1
    assert "no trial completed" in said.err
    assert "diverged" in said.out
    assert "lrsearch range small.yaml --set" in said.out  # It tells which rates are worth it.


@pytest.mark.parametrize("command", ["grid", "random", "bayes"])
def test_lanes_are_refused_where_they_make_no_sense(empty: Path, command: str) -> None:
    for lanes, engine, words in (
        ("4", "solo", ("error: --lanes: the solo engine has no lanes", "--engine fused or auto")),
        ("1", "fused", ("--lanes", "equal to 2")),
        ("many", "auto", ("--lanes", "integer")),
    ):
        said = lrsearch(command, "small.yaml", "--lanes", lanes, "--engine", engine)
        assert (said.code, said.out) == (2, "")
        assert all(word in said.err for word in words), said
    assert not (empty / "runs").exists()


def test_what_was_asked_of_the_engine_is_asked_again(here: Path) -> None:
    more = (*TRAIN[:4], "--engine", "fused", "--lanes", "3", "--set", "search.lr.points=4")
    said = lrsearch("grid", "small.yaml", *more)
    assert said.code == 0, said
    assert re.search(r"^engine +6 trials fused, up to 3 lanes a program; 9 solo$", said.out, re.M)
    assert "fused: 3 lanes a program: " in said.err
    report = json.loads(lrsearch("report", "--json").out)
    assert {trial["engine"] for trial in report["trials"]} == {"solo", "fused"}
    (plan,) = report["plans"]
    assert (plan["device"], plan["engine"], plan["lanes"]) == (DEVICE.type, "fused", 3)
    assert plan["reason"] and re.fullmatch("[0-9a-f]{16}", plan["structure"])
    cut_last_results(here, 1)
    said = lrsearch("report", "small.yaml")
    assert f"--device {DEVICE} --executor inline --engine fused --lanes 3" in " ".join(
        said.out.split()
    )


def test_the_plans_of_hidden_trials_are_hidden(here: Path) -> None:
    both = ("--set", "search.batch_size=[128, 256]", "--set", "search.schedule=[constant]")
    fused = (*TRAIN[:4], "--engine", "fused", "--lanes", "2", "--set", "search.lr.points=4")
    assert lrsearch("grid", "small.yaml", *fused, *both).code == 0
    assert len(json.loads(lrsearch("report", "--json").out)["plans"]) == 2
    assert lrsearch("grid", "small.yaml", *TRAIN).code == 0
    assert len(json.loads(lrsearch("report", "--json").out)["plans"]) == 1


def test_fresh_sets_the_old_run_aside(here: Path) -> None:
    said = lrsearch("random", "small.yaml", "--fresh", *TRAIN)
    assert said.code == 0
    assert "the old run is now runs/small.1" in said.err
    assert count_trials(here, "small.1") == 9
    assert count_trials(here) == 4


def test_a_strange_spec_is_refused_with_both_ways_on(here: Path) -> None:
    said = lrsearch("grid", "small.yaml", "--set", "train.budget=2ep", *TRAIN)
    assert said.code == 2
    assert 'train.budget: "1ep" stored, "2ep" in the spec' in said.err
    assert "another name" in said.err and "--fresh" in said.err
    assert count_trials(here) == 9


def test_set_fixes_a_searched_name(here: Path) -> None:
    said = lrsearch("grid", "small.yaml", "--set", "train.lr=0.1", "--json", *TRAIN)
    assert said.code == 0
    points = json.loads(said.out)["points"]
    assert len(points) == 3
    assert {part["params"].get("lr", 0.1) for part in points} == {0.1}
    assert count_trials(here) == 9


def test_a_grid_needs_points_and_bounds(empty: Path) -> None:
    (empty / "open.yaml").write_text(SPEC.replace(", points: 3", ""))
    said = lrsearch("grid", "open.yaml", *TRAIN)
    assert said.code == 2
    assert "lr" in said.err and "points" in said.err
    said = lrsearch("grid", "small.yaml", "--set", "search.lr.points=40000", *TRAIN)
    assert said.code == 2
    assert "120,000 points" in said.err and "--yes" in said.err
    assert not (empty / "runs").exists()


def test_runs_go_where_they_are_told(empty: Path) -> None:
    spec = ("small.yaml", "--set", "search.schedule=[constant]", "--set", "search.lr.points=2")
    assert lrsearch("grid", *spec, "--runs", "one", *TRAIN).code == 0
    said = lrsearch("grid", *spec, *TRAIN, LRSEARCH_RUNS="two")
    assert (empty / "one/small/run.json").exists() and (empty / "two/small/run.json").exists()
    assert not (empty / "runs").exists()
    # The command it names to go on with works from here.
    (following,) = re.findall(r"^next +lrsearch ((?:.|\n)*?)\n\n", said.out, re.MULTILINE)
    assert following.startswith("confirm small.yaml ") and "--runs two" in following
    words = shlex.split(following)
    assert lrsearch(*words, "--top", "1", "--seeds", "1").code == 0
    (following,) = re.findall(
        r"^next +lrsearch (.*)$", lrsearch("report", LRSEARCH_RUNS="two").out, re.MULTILINE
    )
    assert lrsearch(*following.split()).code == 0
    assert (empty / "best.yaml").exists()
    assert lrsearch("report", LRSEARCH_RUNS="two").code == 0
    assert lrsearch("report", "small", "--runs", "one").code == 0


@pytest.mark.skipif(os.name != "posix", reason="a file in the place of a folder")
def test_a_runs_folder_that_cannot_be_used(empty: Path) -> None:
    (empty / "runs").write_text("a file")
    for command in (("grid", "small.yaml", *TRAIN), ("report", "small"), ("export", "small")):
        said = lrsearch(*command)
        assert said.code == 2
        assert said.err.startswith("error: ") and "runs" in said.err


NETS = """
from torch import nn

def build(in_features, num_classes, width=4):
    return nn.Sequential(
        nn.Flatten(), nn.Linear(in_features, width), nn.ReLU(), nn.Linear(width, num_classes)
    )
"""


def test_code_must_be_allowed(empty: Path) -> None:
    (empty / "my_nets.py").write_text(NETS)
    document = yaml.safe_load(SPEC)
    document["model"] = {"class_path": "my_nets.build"}
    document["search"] = {"model.init_args.width": [4, 8]}
    document["train"]["lr"] = 0.1
    (empty / "own.yaml").write_text(yaml.safe_dump({**document, "name": "own"}))
    said = lrsearch("check", "own.yaml")  # It imports nothing, and says what a search asks for.
    assert said.code == 0 and "a search imports code, and needs --allow-import my_nets" in said.out
    assert "needs" not in lrsearch("check", "own.yaml", "--allow-import", "my_nets").out
    for command in (("check", "own.yaml", "--deep"), ("grid", "own.yaml", *TRAIN)):
        said = lrsearch(*command)
        assert said.code == 2
        assert "my_nets.build" in said.err
        assert "--allow-import my_nets" in said.err
    for given, meant in (
        ("my_nets.build", "my_nets"),
        ("my_nets, a.b", "my_nets --allow-import a"),
        ("./my_nets.py", "my_package"),
    ):
        said = lrsearch("check", "own.yaml", "--allow-import", given)
        assert said.code == 2 and said.err.endswith(f" alone: --allow-import {meant}\n"), said
    said = lrsearch("grid", "own.yaml", "--allow-import", "my_nets", *TRAIN)
    assert said.code == 0, said
    assert re.search(r"^trials +2 completed", said.out, re.MULTILINE)
    (empty / "my_nets.py").unlink()
    assert lrsearch("report", "own.yaml").code == 0, "reading runs no user code"


# Reading ------------------------------------------------------------------------------------

NUMBER = (int, float)


def test_the_json_of_report_is_as_documented(here: Path) -> None:
    assert lrsearch("random", "small.yaml", "--set", "seeds=2", *TRAIN).code == 0
    said = lrsearch("report", "small", "--json")
    assert said.code == 0 and said.err == ""
    report = json.loads(said.out)
    # Who takes the number of a point for a trial's is told which trials that point has.
    own = [each["number"] for each in report["trials"] if each["point"] == 11]
    same, another = (lrsearch("report", "small", "--trial", each).out for each in (10, 11))
    assert own == [12, 13] and "point 11 is another: trials 12 and 13 (--trial 12)" in another
    assert "is another" not in same
    assert list(report) == [
        "format",
        "run",
        "objective",
        "answer",
        "confirmation",
        "cost",
        "points",
        "trials",
        "best",
        "plans",
        "data",
        "advice",
        "states",
        "repeatability",
        "ranges",
        "found_ranges",
        "stopped",
        "refinement",
        "standing",
        "warnings",
        "notes",
        "running",
        "hidden",
        "retry",
        "resume",
        "next",
    ]
    assert report["format"] == 1
    assert report["states"] == {"trials": 0, "bytes": 0}
    assert report["run"] == "small"
    assert report["objective"] == {"metric": "accuracy", "goal": "max", "at": "last"}
    point_types: dict[str, Any] = {
        "point": int,
        "strategy": str,
        "params": dict,
        "outcome": str,
        "objective": NUMBER,
        "spread": (*NUMBER, type(None)),
        "trials": list,
    }
    trial_types: dict[str, Any] = {
        "number": int,
        "point": int,
        "params": dict,
        "strategy": str,
        "seed": int,
        "fold": type(None),
        "outcome": str,
        "objective": NUMBER,
        "steps": int,
        "epochs": NUMBER,
        "shared_epochs": NUMBER,
        "seconds": NUMBER,
        "engine": str,
        "engine_reason": str,
        "reason": str,
        "rule": type(None),
        "saved_epochs": NUMBER,
        "verdicts": list,
    }
    for part, types in ((report["points"], point_types), (report["trials"], trial_types)):
        for item in part:
            assert list(item) == list(types)
            for name, kind in types.items():
                assert isinstance(item[name], kind), (name, item)
    objectives = [point["objective"] for point in report["points"]]
    assert objectives == sorted(objectives, reverse=True)
    first = report["points"][0]
    best = {name: first[name] for name in ("point", "params", "objective", "trials")}
    assert report["best"] == best
    numbers = [trial["number"] for trial in report["trials"]]
    assert numbers == list(range(1, len(numbers) + 1))
    assert sorted(n for point in report["points"] for n in point["trials"]) == numbers
    for trial in report["trials"]:
        schedule = trial["params"]["schedule"]
        assert set(trial["params"]) == {"lr", "schedule"} | (
            {"schedule.gamma"} if schedule == "step" else set()
        )
    assert {"trial_epochs", "seconds"} <= set(report["cost"])
    assert any(point["spread"] is not None for point in report["points"])


def test_reports_in_other_forms(here: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(lrsearch("report", "small", "--csv").out)))
    points = json.loads(lrsearch("report", "small", "--json").out)["points"]
    assert [float(row["objective"]) for row in rows] == [part["objective"] for part in points]
    assert [int(row["point"]) for row in rows] == [part["point"] for part in points]
    markdown = lrsearch("report", "small", "--markdown").out
    assert markdown.startswith("## small\n")
    assert sum(line.startswith("| ") for line in markdown.splitlines()) == 2 + len(points)
    said = lrsearch("report", "small", "--csv", "--json")
    assert said.code == 2 and "exclude" in said.err


@pytest.fixture
def failing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with a run `mine` of a command that failed for one of three rates."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text(COMMAND)
    (tmp_path / "train.py").write_text(SCRIPT)
    assert lrsearch("grid", "mine.yaml", "--allow-command", "--workers", "1").code == 0
    return tmp_path


def test_a_failed_trial_says_what_to_do(failing: Path) -> None:
    again = "lrsearch grid mine.yaml --workers 1 --allow-command --retry-failed"
    for command in ((), ("grid", "mine.yaml", "--allow-command", "--workers", "1")):
        said = lrsearch(*command or ("report", "mine"))
        assert re.search(f"^retry +{re.escape(again)}$", said.out, re.M), said
    failed = "1 trial failed before: --retry-failed trains what failed again"
    assert failed in said.err
    dry = lrsearch("grid", "mine.yaml", "--allow-command", "--dry-run")
    assert failed in dry.out and "would train 0 trials" in dry.out
    dry = lrsearch("grid", "mine.yaml", "--allow-command", "--dry-run", "--retry-failed")
    assert failed not in dry.out and "would train 1 trial of 1 point" in dry.out
    retried = lrsearch(*again.split()[1:])
    assert retried.code == 0 and count_trials(failing, "mine") == 4
    # It is named once, though it was given already.
    assert re.search(f"^retry +{re.escape(again)}$", lrsearch("report", "mine").out, re.M)


def test_a_trial_is_shown(failing: Path) -> None:
    number = next(
        number
        for number, result in read(failing / "runs" / "mine").results.items()
        if result.outcome == "failed"
    )
    said = lrsearch("report", "mine.yaml", "--trial", number)
    assert said.code == 0 and said.err == ""
    reason = "exit code 1: ZeroDivisionError: float division by zero (train.py, line 8)"
    for part in (
        *(f"mine, trial {number} of point", ": failed", "lr=0.2", f"reason   {reason}", "seed 1"),
        *("python train.py --lr 0.2", "Traceback (most recent call last)", "loaded 12 images"),
    ):
        assert part in " ".join(said.out.replace("seed     ", "seed ").split(" ")), part
    found = json.loads(lrsearch("report", "mine", "--trial", number, "--json").out)["trial"]
    assert (found["outcome"], found["reason"]) == ("failed", reason)
    assert "ZeroDivisionError" in found["traceback"] and found["output"] == "loaded 12 images"
    well = json.loads(lrsearch("report", "mine", "--trial", "1", "--json").out)
    assert well["trial"]["outcome"] == "completed"
    assert well["curve"]["step"] == [0, 10, 20, 30, 40, 50, 60, 70]
    assert "step 0" in lrsearch("report", "mine", "--trial", "1").out
    best = lrsearch("report", "mine", "--trial", "best", "--json")
    assert json.loads(best.out) == well
    assert best.err == "note: trial 1 is the trial of the recommended point, 1\n"
    last = lrsearch("report", "mine", "--trial", "last", "--json")
    assert (json.loads(last.out)["trial"]["number"], last.err) == (3, "")
    for arguments, message in (
        (("--trial", "4"), "its trials are 1 to 3"),
        (("--trial", "#2"), "write --trial 2"),
        (("--trial", "1", "--csv"), "leave --csv"),
    ):
        said = lrsearch("report", "mine", *arguments)
        assert said.code == 2 and message in said.err


def test_what_a_model_prints_is_kept_where_it_fails(empty: Path) -> None:
    (empty / "nets.py").write_text(
        """\
import sys

from torch import nn


class Net(nn.Linear):
    def __init__(self, in_features, num_classes, fault):
        super().__init__(in_features, num_classes)
        self.fault = fault

    def forward(self, x):
        if self.training:
            print(f"{self.fault} {x.shape[1:]}")
            print("aside", file=sys.stderr)
            assert not self.fault, "no good"
        return super().forward(x.flatten(1))
"""
    )
    (empty / "nets.yaml").write_text(
        "data: digits\nmodel: {class_path: nets.Net}\n"
        "train: {budget: 2ba, lr: 0.1, batch_size: 64}\n"
        "search: {model.init_args.fault: [0, 1]}\n"
    )
    # Workers, and this process.
    for executor in ("local", "inline"):
        run = ("--runs", executor, "--executor", executor, "--engine", "solo")
        said = lrsearch("grid", "nets.yaml", "--allow-import", "nets", *run, "--json")
        assert said.code == 0
        trials = json.loads(said.out)["trials"]
        found = [
            json.loads(
                lrsearch("report", "nets", "--runs", executor, "--trial", t["number"], "--json").out
            )["trial"]
            for t in trials
        ]
        failed = next(each for each in found if each["outcome"] == "failed")
        assert failed["reason"].startswith("AssertionError: no good (nets.py, line ")
        assert failed["output"] == "1 torch.Size([1, 8, 8])\naside"
        assert "nets.py" in failed["traceback"]
        assert [each["output"] for each in found if each is not failed] == [""]


def test_a_run_is_held_while_its_data_are_loaded(here: Path) -> None:
    (here / "held.py").write_text(
        "from pathlib import Path\n\n\ndef load():\n"
        f"    print('held:', Path({str(here / 'held' / '.held.starting')!r}).exists())\n"
        "    return {}\n"
    )
    (here / "held.yaml").write_text(
        "data: {class_path: held.load}\nmodel: mlp\ntrain: {budget: 1ep, lr: 0.1}\n"
    )
    run = ("held.yaml", "--allow-import", "held", "--runs", "held", *TRAIN)
    for more, told in (((), "held: True"), (("--dry-run",), "held: False")):
        said = lrsearch("grid", *run, *more)
        assert said.code == 2 and told in said.out + said.err
        assert not (here / "held").exists()  # Nothing is left of what was never begun.


def test_report_finds_its_run(here: Path) -> None:
    (here / "sub").mkdir()
    (here / "small").mkdir()  # A folder that is no run hides none.
    by_name = lrsearch("report", "small").out
    assert by_name.startswith("small: ")
    for target in ("small.yaml", "runs/small", here / "runs" / "small"):
        assert lrsearch("report", target, "--json").out == lrsearch("report", "small", "--json").out
    assert lrsearch("report").out == by_name, "the newest"
    # Of a spec file only the name counts, and what it says otherwise is noted.
    (here / "sub" / "other.yaml").write_text("name: small\nnonsense: 1\n")
    whole = " ".join(lrsearch("report", "sub/other.yaml").out.split())
    head, _, told = whole.partition("note sub/other.yaml is not valid")
    assert head + told.partition("is shown here ")[2] == " ".join(by_name.split())
    assert "evidence" in told, "it stands where the answer is read"
    said = lrsearch("report", "--runs", "nowhere")
    assert said.code == 2 and "no runs in nowhere" in said.err


@pytest.mark.parametrize("command", ["report", "export", "repair"])
def test_a_run_that_is_not_there_is_answered_with_those_that_are(here: Path, command: str) -> None:
    for name in ("smalls", "wine", "tall"):
        shutil.copytree("runs/small", f"runs/{name}")
    shutil.copytree("runs", "elsewhere")
    (here / "specs").mkdir()
    (here / "new.yaml").write_text(SPEC.replace("name: small", "name: wines"))
    for target, said in (
        ("nothing", "runs in runs: "),
        ("runs/nothing", "runs in runs: "),
        ("runs/small_", "did you mean 'small'? runs in runs: small, smalls, tall, wine"),
        ("elsewhere/nothing", "runs in elsewhere: "),
        ("nowhere/smalls", "runs in runs: smalls, small, "),
        ("nothing.yaml", "runs in runs: "),
        ("wine.yaml", "did you mean 'wine'? runs in runs: wine, "),
        ("new.yaml", "did you mean 'wine'? runs in runs: wine, "),
        ("new", "did you mean the spec new.yaml?"),
        ("specs", "specs is not a run\n  runs in runs: "),
    ):
        done = lrsearch(command, target)
        assert (done.code, done.out) == (2, ""), (target, done)
        assert said in done.err, (target, done)
        assert all(name in done.err for name in ("small", "smalls", "wine", "tall"))
    assert "nothing was searched with new.yaml yet" in lrsearch(command, "new.yaml").err
    shutil.rmtree("runs")
    assert "there are no runs in runs" in lrsearch(command, "runs/nothing").err
    assert "there are no runs in runs" in lrsearch(command, "nothing.yaml").err


def test_runs_are_listed(here: Path) -> None:
    for number, name in enumerate(("first", "cut", "noted", "torn", "odd", "newer")):
        shutil.copytree("runs/small", f"runs/{name}")
        os.utime(f"runs/{name}/journal.jsonl", (number, 1_000_000_000 + number))
    journal = here / "runs" / "cut" / "journal.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    assert b'"closed"' in lines[-1] and b'"ended"' in lines[-2]
    journal.write_bytes(b"".join(lines[:-2]))
    os.utime(journal, (0, 1_000_000_001))
    damaged = here / "runs" / "torn" / "journal.jsonl"
    damaged.write_bytes(damaged.read_bytes().replace(b'"started"', b'"Started"', 1))
    (here / "runs" / "newer" / "run.json").write_text('{"format": 99, "lrsearch": "9.0"}')
    (here / "runs" / "odd" / "journal.jsonl").write_bytes(b"")
    (here / "runs" / "notes").mkdir()
    (here / "runs" / "notes" / "a.txt").write_text("mine")
    (here / "runs" / ".hidden").mkdir()
    (here / "runs" / "README").write_text("no folder")
    with Run.open(Path("runs"), "cut", spec_text=None):
        assert "the search is under way" in lrsearch("report", "runs/cut").out
    assert "the search is under way" not in lrsearch("report", "runs/cut").out
    os.utime(journal, (0, 1_000_000_001))
    with Run.open(Path("runs"), "noted", spec_text=None):
        said = lrsearch("list", "--json")
    assert said.code == 0 and said.err == ""
    found = json.loads(said.out)
    assert found["format"] == 1
    runs = {run["name"]: run for run in found["runs"]}
    states = {"small": "done", "first": "done", "cut": "interrupted", "noted": "running"}
    states |= {"odd": "empty", "torn": "damaged", "newer": "unreadable", "notes": "foreign"}
    assert {name: run["state"] for name, run in runs.items()} == states
    times = [run["written"] for run in found["runs"]]
    assert times == sorted(times, reverse=True)
    assert [run["name"] for run in found["runs"] if run["written"] < "2002"][-2:] == [
        "cut",
        "first",
    ]
    best = json.loads(lrsearch("report", "small", "--json").out)["best"]["objective"]
    whole = runs["small"]
    assert (whole["strategy"], whole["best"]) == ("grid", best)
    assert (whole["trials"], whole["unfinished"]) == ({"completed": 9}, 0)
    assert whole["objective"] == {"metric": "accuracy", "goal": "max", "at": "last"}
    assert (runs["cut"]["trials"], runs["cut"]["unfinished"]) == ({"completed": 8}, 1)
    assert "lrsearch repair runs/torn" in runs["torn"]["reason"]
    assert "update lrsearch" in runs["newer"]["reason"]

    said = lrsearch("list")
    assert max(map(len, said.out.splitlines())) <= 100
    for name in runs:
        assert name in said.out
    assert "8 completed, 1 unfinished" in said.out and "2001-09-09" in said.out
    assert lrsearch("list", "--runs", "runs/notes").out == "there are no runs in runs/notes\n"
    nowhere = lrsearch("list", LRSEARCH_RUNS="nowhere")
    assert nowhere.code == 2 and "no runs in nowhere" in nowhere.err


def test_a_folder_of_runs_means_the_newest(here: Path) -> None:
    assert lrsearch("report", "runs").out == lrsearch("report").out


def test_export_trains_to_the_same_objective(here: Path) -> None:
    best = json.loads(lrsearch("report", "--json").out)["best"]
    printed = lrsearch("export", "small.yaml")
    written = lrsearch("export", "small.yaml", "--output", "best.yaml")
    assert (printed.code, written.code) == (0, 0)
    assert written.out == "" and "lrsearch grid best.yaml" in written.err
    assert (here / "best.yaml").read_text() == printed.out
    again = lrsearch("grid", "best.yaml", "--json", *TRAIN)
    assert json.loads(again.out)["run"] == "small-best"
    assert_same_numbers(json.loads(again.out)["best"]["objective"], best["objective"])
    refused = lrsearch("export", "small.yaml", "--output", "best.yaml")
    assert refused.code == 2 and "--force" in refused.err
    assert lrsearch("export", "small.yaml", "--output", "best.yaml", "--force").code == 0


def test_export_writes_the_recommended_point_or_that_of_the_best_value(here: Path) -> None:
    answer = json.loads(lrsearch("report", "small", "--json").out)["answer"]
    for option, kind in (((), "recommended"), (("--best",), "highest")):
        named = lrsearch("export", "small", "--point", str(answer[kind]["point"]))
        assert named.code == 0 and lrsearch("export", "small", *option).out == named.out
    both = lrsearch("export", "small", "--best", "--point", "1")
    assert both.code == 2 and "--point and --best exclude each other" in both.err


def test_an_export_that_fails_leaves_the_file_as_it_was(here: Path) -> None:
    """Also one that is reached by a link; what is no file is written to where it stands."""
    Path("kept.yaml").write_text("mine")
    Path("kept.yaml").chmod(0o640)
    Path("link.yaml").symlink_to("kept.yaml")
    script = """
import resource, sys
from lrsearch.__main__ import main
resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
sys.argv = ["lrsearch", "export", "small.yaml", "--output", "link.yaml", "--force"]
main()
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode in (1, 2) and "link.yaml" in done.stderr, done.stderr
    assert Path("kept.yaml").read_text() == "mine"
    assert lrsearch("export", "small.yaml", "--output", "link.yaml", "--force").code == 0
    assert Path("link.yaml").is_symlink() and Path("kept.yaml").stat().st_mode & 0o777 == 0o640
    assert Path("kept.yaml").read_text() == lrsearch("export", "small.yaml").out
    assert not list(Path().glob("*.tmp"))


def test_export_another_point_under_another_name(here: Path) -> None:
    points = json.loads(lrsearch("report", "--json").out)["points"]
    worst = points[-1]
    text = lrsearch("export", "small", "--point", worst["point"], "--name", "worst").out
    document = yaml.safe_load(text)
    assert document["name"] == "worst"
    assert float(document["train"]["lr"]) == worst["params"]["lr"]
    assert document["train"]["schedule"]["name"] == worst["params"]["schedule"]
    said = lrsearch("export", "small", "--point", "99")
    assert said.code == 2 and "1 to 9" in said.err
    said = lrsearch("export", "small", "--name", "../x")
    assert said.code == 2 and "--name" in said.err


def test_repair_says_what_it_did(here: Path) -> None:
    sound = lrsearch("repair", "small")
    assert sound.code == 0 and "nothing to repair" in sound.out
    journal = here / "runs" / "small" / "journal.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    last = max(i for i, line in enumerate(lines) if b'"event":"ended"' in line)
    lines[last] = lines[last].replace(b'"seconds"', b'"secondz"', 1)
    journal.write_bytes(b"".join(lines))
    damaged = lrsearch("report", "small")
    assert damaged.code == 2
    assert f"line {last + 1} is damaged" in damaged.err
    assert "lrsearch repair runs/small" in damaged.err
    mended = lrsearch("repair", "small")
    assert mended.code == 0
    assert f"{len(lines) - 1} sound lines kept, 1 line not or not wholly (" in mended.out
    assert "journal.jsonl.damaged-1" in mended.out
    assert "8 completed" in lrsearch("report", "small").out
    assert lrsearch("grid", "small.yaml", *TRAIN).code == 0
    assert count_trials(here) == 9


# Other processes ----------------------------------------------------------------------------


def start_long(folder: Path, *more: str) -> tuple[subprocess.Popen[str], list[str]]:
    """A search that takes long, once it has measured something; and its command."""
    document = yaml.safe_load(SPEC)
    document["train"]["budget"] = "10ep"
    document["random"] = {"trials": 500}
    (folder / "long.yaml").write_text(yaml.safe_dump({**document, "name": "long"}))
    command = ["random", str(folder / "long.yaml"), "--runs", str(folder / "runs"), *more]
    command += ["--engine", "solo"]  # Side by side they would soon be done.
    searching = process(*command)
    journal = folder / "runs" / "long" / "journal.jsonl"
    deadline = time.monotonic() + 60
    while not (journal.exists() and journal.read_text().count('"event":"ended"') >= 2):
        assert searching.poll() is None and time.monotonic() < deadline, finish(searching)
        time.sleep(0.05)
    return searching, command


def test_ctrl_c_keeps_what_is_measured_and_says_how_to_go_on(tmp_path: Path) -> None:
    options = ("--workers", "1", "--device", str(DEVICE), "--engine", "solo", "--fresh")
    searching, command = start_long(tmp_path, *options)
    try:
        locked = lrsearch(*command)
        assert locked.code == 2
        assert "another lrsearch is writing" in locked.err and "lrsearch report" in locked.err
        # Between two trials of its one worker none is running.
        for _ in range(20):
            meanwhile = lrsearch("report", "long", "--runs", tmp_path / "runs")
            assert meanwhile.code == 0
            if re.search(r"\d+ completed, 1 running, \d+ waiting", meanwhile.out):
                break
        else:
            pytest.fail(f"never seen running: {meanwhile}")
    finally:
        searching.send_signal(signal.SIGINT)
    said = finish(searching)
    assert said.code == 130
    assert said.out == ""
    kept = count_trials(tmp_path, "long")
    assert kept >= 2
    following = said.err.splitlines()[-1].split()
    assert following[0] == "lrsearch"
    assert "--fresh" not in following, "it would set the run aside that it goes on with"
    assert said.err.splitlines()[-2].startswith("interrupted: every finished trial is kept")
    report = lrsearch("report", "long", "--runs", tmp_path / "runs").out
    assert "was interrupted" in report
    resumed = lrsearch(*following[1:], *TRAIN, "--json", "--set", f"random.trials={kept + 2}")
    assert resumed.code == 0, resumed
    history = read(tmp_path / "runs" / "long")
    assert history.closed == "finished"
    assert set(history.results) == set(range(1, kept + 3)), "what was proposed beyond waits"


def test_sigterm_is_taken_like_ctrl_c(tmp_path: Path) -> None:
    searching, _ = start_long(tmp_path, *TRAIN)
    searching.send_signal(signal.SIGTERM)
    said = finish(searching)
    assert said.code == 130
    assert "interrupted" in said.err
    assert read(tmp_path / "runs" / "long").closed == "interrupted"


def test_piped_output_is_plain(here: Path) -> None:
    # Behind --, too, a word is the command.
    said = finish(process("--", "report", "small", FORCE_COLOR="", TERM="xterm-256color"))
    assert said.code == 0
    assert "\x1b" not in said.out + said.err
    wrong = finish(process("report", "--nonsense", TERM="xterm-256color"))
    assert wrong.code == 2
    assert "\x1b" not in wrong.out + wrong.err


def test_a_closed_pipe_is_no_error(here: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)  # as `head` does, once it has seen enough
    command = [sys.executable, "-m", "lrsearch", "report", "small", "--json"]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, "")


# What a reviewer found ----------------------------------------------------------------------


def cut_last_results(folder: Path, count: int) -> None:
    """Leave the journal as a kill would have that came before the last `count` results."""
    journal = folder / "runs" / "small" / "journal.jsonl"
    lines = journal.read_text().splitlines(keepends=True)
    ends = [index for index, line in enumerate(lines) if '"event":"ended"' in line]
    journal.write_text("".join(lines[: ends[-count]]))


def test_a_closed_stderr_neither_stops_a_search_nor_hides_its_exit_code(here: Path) -> None:
    cut_last_results(here, 2)
    read_end, write_end = os.pipe()
    os.close(read_end)
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "lrsearch",
            "grid",
            "small.yaml",
            *TRAIN,
            "--require",
            "accuracy>0.99999",
        ],
        stdout=subprocess.DEVNULL,
        stderr=write_end,
    )
    os.close(write_end)
    assert done.returncode == 3
    assert count_trials(here) == 9


def test_dry_run_shows_what_was_left_unfinished(here: Path) -> None:
    cut_last_results(here, 2)
    said = lrsearch("grid", "small.yaml", *TRAIN, "--dry-run")
    assert "2 trials of 2 points" in said.out
    assert count_trials(here) == 7


def test_dry_run_shows_the_generation_that_will_be_trained(here: Path) -> None:
    more = (*TRAIN, "--set", "bayes.startup=99")
    said = lrsearch("bayes", "small.yaml", *more, "--dry-run")
    assert said.err.startswith("note: bayes.startup 99 is more than its ")
    shown = [line.split("lr=")[1].split()[0] for line in said.out.splitlines() if "lr=" in line]
    assert lrsearch("bayes", "small.yaml", *more).code == 0
    first = [
        proposal.point["lr"]
        for proposal in read(here / "runs" / "small").proposals
        if proposal.strategy == "bayes"
    ][: len(shown)]
    assert shown
    assert [float(f"{rate:.3g}") for rate in first] == [float(f"{float(x):.3g}") for x in shown]


def test_report_names_the_command_that_resumes(here: Path) -> None:
    cut_last_results(here, 2)
    said = lrsearch("report", "small.yaml")
    assert "interrupted" in said.out
    assert re.search(r"next +lrsearch grid ", said.out)
    # A search of another kind that ends does not finish the grid.
    assert lrsearch("bayes", "small.yaml", *TRAIN).code == 0
    assert re.search(r"next +lrsearch grid ", lrsearch("report", "small.yaml").out)
    assert lrsearch("grid", "small.yaml", *TRAIN).code == 0
    assert re.search(r"next +lrsearch confirm ", lrsearch("report", "small.yaml").out)


def test_a_best_outside_the_present_search_is_called_so(here: Path) -> None:
    said = lrsearch(
        "grid", "small.yaml", *TRAIN, "--set", "search.lr={min: 1e-4, max: 1e-3, points: 1}"
    )
    assert said.code == 0
    assert "outside what the spec searches now" in said.out


def test_check_in_json(empty: Path) -> None:
    sound = json.loads(lrsearch("check", "small.yaml", "--json").out)
    assert sound["ok"] is True and sound["faults"] == [] and sound["name"] == "small"
    said = lrsearch("check", "small.yaml", "--json", "--set", "train.budget=0ep")
    faults = json.loads(said.out)["faults"]
    assert said.code == 2
    assert [fault["key"] for fault in faults] == ["train.budget"]
    said = lrsearch("check", "smal.yaml", "--json")
    assert said.code == 2 and "smal.yaml" in json.loads(said.out)["faults"][0]["message"]


def test_next_names_this_run_though_its_name_was_set(empty: Path) -> None:
    renamed = ("--set", "name=other", "--set", "search.lr.points=2")
    said = lrsearch("grid", "small.yaml", *TRAIN, *renamed)
    assert re.search(r"next +lrsearch confirm small.yaml --set name=other", said.out)
    again = ("--top", "1", "--seeds", "1")
    said = lrsearch("confirm", "small.yaml", *TRAIN, *renamed, *again)
    following = re.search(r"next +lrsearch (export .*)", said.out)
    assert following and "runs/other" in following[1]
    assert lrsearch(*following[1].split()).code == 0
    assert yaml.safe_load(Path("best.yaml").read_text())["name"] == "other-best"
    # Of a spec with nothing left to search nothing is exported over itself.
    assert "next" not in lrsearch("grid", "best.yaml", *TRAIN).out


def test_resuming_keeps_what_was_set(here: Path) -> None:
    assert lrsearch("random", "small.yaml", *TRAIN, "--set", "random.trials=2").code == 0
    assert lrsearch("grid", "small.yaml", *TRAIN, "--set", "search.lr.points=4").code == 0
    cut_last_results(here, 1)
    said = lrsearch("report", "small.yaml")
    assert re.search(r"next +lrsearch grid small.yaml --set search.lr.points=4", said.out)


@pytest.mark.parametrize("command", ["grid", "check"])
def test_a_stderr_that_was_never_open(here: Path, command: str) -> None:
    cut_last_results(here, 1)
    more = TRAIN if command == "grid" else ()
    arguments = [sys.executable, "-m", "lrsearch", command, "small.yaml", *more]
    closed = {"stdout": subprocess.PIPE, "text": True, "preexec_fn": Before(closed=(2,))}
    assert subprocess.run(arguments, **closed).returncode == 0
    done = subprocess.run([*arguments[:4], "none.yaml"], **closed)
    assert (done.returncode, done.stdout) == (2, "")


def test_weights_that_were_not_kept_are_missed(here: Path) -> None:
    for path in (here / "runs" / "small" / "best").glob("*.safetensors"):
        path.unlink()
    assert "has no weights" in lrsearch("grid", "small.yaml", *TRAIN).err
    # Once, also where a refinement follows.
    refined = lrsearch("grid", "small.yaml", *TRAIN, "--set", "refine.rounds=1").err
    assert refined.count("has no weights") == 1


def test_weights_are_kept_where_the_disk_has_room_for_those_of_one_trial(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree(here / "runs" / "small")
    opens, refused = os.open, []

    def open_with_room_for_one(path: Path, *more: int) -> int:
        if str(path).endswith(".safetensors.tmp") and list(Path(path).parent.glob("*rs")):
            refused.append(path)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return opens(path, *more)

    monkeypatch.setattr(os, "open", open_with_room_for_one)
    said = lrsearch("grid", "small.yaml", *TRAIN)
    assert said.code == 0 and "has no weights" not in said.err, said
    assert refused and len(list((here / "runs" / "small" / "best").glob("*.safetensors"))) == 1


def test_ctrl_c_before_the_old_run_is_set_aside_keeps_fresh(here: Path) -> None:
    searching = process("grid", "small.yaml", "--device", str(DEVICE), "--workers", "1", "--fresh")
    assert searching.stderr is not None
    assert searching.stderr.readline().startswith("starting")
    searching.send_signal(signal.SIGINT)
    said = finish(searching)
    assert said.code == 130
    assert said.err.splitlines()[-1].endswith(
        f"lrsearch grid small.yaml --workers 1 --device {DEVICE} --fresh"
    )
    assert sorted(path.name for path in (here / "runs").iterdir()) == ["small"]


# schedules


def test_schedules_are_listed() -> None:
    said = lrsearch("schedules")
    listed = json.loads(lrsearch("schedules", "--json").out)["schedules"]
    assert {each["name"] for each in listed} == set(SCHEDULES)
    assert all(re.search(rf"^{each['name']} ", said.out, re.MULTILINE) for each in listed)
    (points,) = (each for each in listed if each["name"] == "piecewise")
    assert points["params"]["points"]["default"] == "required"


@pytest.mark.parametrize("name", sorted(SCHEDULES))
def test_a_schedule_is_shown(name: str) -> None:
    own = ("--set", "points=[[0.5dur, 0.1]]") if name == "piecewise" else ()
    said = lrsearch("schedules", name, *own, "--set", "warmup=0.1dur")
    assert said.code == 0
    for key, part in SCHEDULES[name].parameters.items():
        rows = re.findall(rf"^{key} .*", said.out, re.MULTILINE)
        assert part.search.split(" ")[0] in rows[0]
    assert SCHEDULES[name].source in said.out and "1,000 steps" in said.out
    assert max(map(len, said.out.splitlines())) <= 100


def test_a_schedule_as_numbers() -> None:
    """The grammar is that of a spec; so are the numbers, which `show` draws."""
    given = ("--set", "pct_start=0.4", "--set", "warmup=10ba", "--steps", 100)
    said = lrsearch("schedules", "one_cycle", *given, "--steps-per-epoch", 10, "--json")
    found = json.loads(said.out)
    assert found.keys() == {"name", "params", "multipliers"}
    assert (found["name"], found["params"]["pct_start"]) == ("one_cycle", 0.4)
    assert found["params"]["warmup"] == {"for": "10ba", "shape": "linear", "start": 0.01}
    assert len(found["multipliers"]) == 100 and found["multipliers"][0] == 0.01
    full = ("--set", "train.warmup.for=1ep", "--set", "train.schedule.pct_start=0.4")
    by_epoch = (*full, "--steps", 100)
    again = lrsearch("schedules", "one_cycle", *by_epoch, "--steps-per-epoch", 10, "--json")
    assert json.loads(again.out)["multipliers"] == found["multipliers"]
    by_sample = ("--set", "warmup.for=320sp", "--set", "pct_start=0.4", "--steps", 100)
    again = lrsearch("schedules", "one_cycle", *by_sample, "--batch-size", 32, "--json")
    assert json.loads(again.out)["multipliers"] == found["multipliers"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("one_cycl",), "did you mean 'one_cycle'?"),
        (("cosine", "--set", "finl=0.1"), "--set finl=0.1: train.schedule.finl: cosine has no"),
        (("cosine", "--set", "final"), "write its value, too: --set final=VALUE"),
        (("cosine", "--set", "warmup=2000ba"), "warmup.for: a warmup of 2000ba is 2000 steps"),
        (("cosine", "--set", "warmup.shape=cosin"), "did you mean 'cosine'?"),
        (("piecewise",), "'points' is missing"),
        (("multistep", "--set", "milestones=[2ep, 1ep]"), "multistep.milestones: out of order"),
        (("step", "--set", "gamma=2"), "too large"),
        (("--set", "final=1"), "--set needs a schedule"),
    ],
)
def test_schedules_that_do_not_exist(arguments: tuple[str, ...], message: str) -> None:
    said = lrsearch("schedules", *arguments)
    assert said.code == 2 and message in " ".join(said.err.split()) and not said.out


def test_show_draws_every_kind_of_schedule(tmp_path: Path) -> None:
    path = tmp_path / "five.yaml"
    path.write_text(
        "data: digits\nmodel: mlp\n"
        "train: {budget: 10ep, lr: 0.1, warmup: {for: 1ep, shape: cosine}}\n"
        "search: {schedule: [cosine, {name: wsd, shape: sqrt}, {class_path: own.decay}, plateau,\n"
        "  {name: cosine_restarts, cycles: [2, 3]}]}\n"
    )
    said = lrsearch("show", path)
    assert said.code == 0 and "known in training" in said.out and "init_args" not in said.out
    drawn = json.loads(lrsearch("show", path, "--json").out)["schedules"]
    names = [each["title"].split()[0] for each in drawn]
    assert names == ["cosine", "wsd", "own.decay", "plateau", "cosine_restarts", "cosine_restarts"]
    assert [each["multipliers"] is None for each in drawn] == [False, False, True, *[False] * 3]


@pytest.mark.parametrize("value", ["3", "null", "[1]", "{z: 2}", "{name: 1}"])
@pytest.mark.parametrize("name", ["name: a", "name: null", "class_path: b.c", "class_path: 3"])
def test_a_users_parameter_may_have_any_keys(tmp_path: Path, name: str, value: str) -> None:
    """Those of the catalogue's components among them, whatever stands there."""
    path = tmp_path / "any.yaml"
    part = f"{{{name}, init_args: {value}}}"
    path.write_text(
        "command: echo {seed} {lr}\nobjective: {metric: loss, goal: min}\n"
        f"search: {{lr: [1, 2], part: [1, {part}], parts: [[{part}], [{{{name}}}]]}}\n"
    )
    for command in (("check",), ("show",), ("grid", "--dry-run", "--runs", tmp_path / "runs")):
        said = lrsearch(command[0], path, *command[1:])
        assert said.code == 0 and "Traceback" not in said.err, said


def test_a_range_within_an_option_by_class_path(tmp_path: Path) -> None:
    """Searched, reported and exported like any other."""
    path = tmp_path / "imported.yaml"
    path.write_text(
        "data: digits\nmodel: logistic\ntrain: {budget: 1ep, lr: 0.1, batch_size: 256}\n"
        "search:\n  optimizer:\n    - sgd\n    - class_path: torch.optim.SGD\n"
        "      init_args: {momentum: {min: 0.1, max: 0.9, points: 2}, nesterov: true}\n"
    )
    said = lrsearch("grid", path, "--runs", tmp_path / "runs", *TRAIN)
    assert said.code == 0 and "trials  3 completed" in said.out
    run = tmp_path / "runs" / "imported"
    assert "torch.optim.SGD" in lrsearch("report", run, "--csv").out
    points = json.loads(lrsearch("report", run, "--json").out)["points"]
    found = {each["params"].get("optimizer.init_args.momentum") for each in points}
    assert found == {None, 0.1, 0.9}
    assert lrsearch("export", run).code == 0
