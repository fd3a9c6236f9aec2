"""A person's own training: commands and loops, run for real in processes of their own."""

from __future__ import annotations

import contextlib
import csv
import hashlib
import itertools
import json
import math
import os
import pty
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from devices import DEVICE
from forking import Before
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from lrsearch import pulse
from lrsearch.cli import app
from lrsearch.errors import ModelError, SpecError
from lrsearch.outside import commands, keeper, loop_process
from lrsearch.outside.process import GRACE, KEPT, LONGEST_LINE, Channel, Lines, Notice
from lrsearch.outside.reported import MOST_ROWS, Reported
from lrsearch.space import Choice, draw, grid, parameters
from lrsearch.spec import read_spec
from lrsearch.spec.commandline import hears_seed, possible_files
from lrsearch.spec.summary import describe
from lrsearch.store import read
from lrsearch.trial import (
    Cohort,
    Ended,
    Measured,
    Objective,
    Outcome,
    Plan,
    Reached,
    Result,
    Trial,
    Verdict,
    Workplace,
)

ROOT = Path(__file__).parents[2]

SCRIPT = """\
import argparse, json, os, sys

parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float)
parser.add_argument("--batch-size", type=int)
parser.add_argument("--text", default="")
parser.add_argument("--seed", type=int, default=0)
args = parser.parse_args()
print("starting, with", args.text)
with open("seen.jsonl", "a") as seen:
    variables = {key: value for key, value in os.environ.items() if key.startswith("LRSEARCH_")}
    variables["params"] = json.load(open(os.environ["LRSEARCH_PARAMS"]))
    print(json.dumps([args.text, os.getcwd(), variables]), file=seen)
# Gradient descent on x**2 / 2, from 1: the best rate is 1.
x = 1.0 + 0.01 * args.seed
for step in range(1, 4):
    x -= args.lr * x
    print(json.dumps({"step": step, "loss": x * x / 2 + args.batch_size / 1000}))
"""

SPEC = """\
name: mine
command: {python} train.py --lr {{lr}} --batch-size {{batch_size}} --text {{text}} --seed {{seed}}
params: {{text: "a b; c"}}
objective: {{metric: loss, goal: min}}
search:
  lr: {{min: 1e-2, max: 1.0, points: 3}}
  batch_size: [32, 64]
bayes: {{trials: 5, startup: 2, generation: 1}}
random: {{trials: 3}}
"""

TRAIN = ("--allow-command", "--executor", "inline")


class Said:
    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err
        assert "Traceback" not in out + err

    def __repr__(self) -> str:
        return f"exit {self.code}\n--- stdout\n{self.out}\n--- stderr\n{self.err}"


def lrsearch(*arguments: object) -> Said:
    env = {"COLUMNS": "100", "LRSEARCH_RUNS": None}
    done = CliRunner().invoke(app, list(map(str, arguments)), env=env, catch_exceptions=False)
    return Said(done.exit_code, done.stdout, done.stderr)


def start(*arguments: object) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "lrsearch", *map(str, arguments)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a script and its spec, the current one."""
    (tmp_path / "train.py").write_text(SCRIPT)
    (tmp_path / "mine.yaml").write_text(SPEC.format(python=sys.executable))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path


def write(folder: Path, script: str, spec: dict[str, Any], name: str = "odd") -> None:
    (folder / f"{name}.py").write_text(script)
    whole = {
        "name": name,
        "command": f"{sys.executable} {name}.py {{kind}}",
        "objective": {"metric": "loss", "goal": "min"},
        **spec,
    }
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(whole, sort_keys=False))


def results(folder: Path, name: str) -> dict[str, Result]:
    """Results by the value of `kind`."""
    history = read(folder / "runs" / name)
    return {
        history.trials[number].config["params"]["kind"]: result
        for number, result in history.results.items()
    }


def wait_for(path: Path, seconds: float = 20.0) -> str:
    deadline = time.monotonic() + seconds
    while not (path.exists() and path.read_text().endswith("\n")):
        assert time.monotonic() < deadline, f"{path} never came"
        time.sleep(0.02)
    return path.read_text()


def alive(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            return False
        return not Path("/proc").is_dir()
    return state != "Z"


def gone(process: int, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while alive(process):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


# a command from end to end


def test_a_grid_of_a_command(here: Path) -> None:
    said = lrsearch("grid", "mine.yaml", *TRAIN, "--device", str(DEVICE))
    assert said.code == 0, said
    assert said.out.startswith("mine: loss 0.03200 (1 seed)"), said
    assert "lr=1 batch_size=32" in said.out
    seen = [json.loads(line) for line in (here / "seen.jsonl").read_text().splitlines()]
    assert len(seen) == 6
    text, folder, variables = seen[0]
    assert (text, folder) == ("a b; c", str(here.resolve())), "one word, in the spec's folder"
    assert variables["params"] == {"text": "a b; c", "lr": 0.01, "batch_size": 32}
    assert variables["LRSEARCH_LR"] == "0.01" and variables["LRSEARCH_BATCH_SIZE"] == "32"
    assert variables["LRSEARCH_SEED"] == "1" and variables["LRSEARCH_DEVICE"] == str(DEVICE)
    assert not Path(variables["LRSEARCH_PARAMS"]).parent.exists(), "nothing is left behind"
    curve = json.loads((here / "runs/mine/curves/000001.json").read_text())
    assert curve["step"] == [1, 2, 3] and len(curve["loss"]) == 3
    report = json.loads(lrsearch("report", "mine.yaml", "--json").out)
    assert {each["epochs"] for each in report["trials"]} == {None}, "nobody knows"
    assert {each["saved_epochs"] for each in report["trials"]} == {None}
    head, *rows = list(csv.reader(lrsearch("report", "mine.yaml", "--csv").out.splitlines()))
    assert {row[head.index("epochs")] for row in rows} == {""}
    lrsearch("export", "mine.yaml", "--format", "csv", "--output", "all.csv")
    head, *rows = list(csv.reader((here / "all.csv").read_text().splitlines()))
    assert len(rows) == 6 and {row[head.index("epochs")] for row in rows} == {""}
    again = lrsearch("grid", "mine.yaml", *TRAIN)
    assert again.out.split("cost")[0] == said.out.split("cost")[0]
    assert len((here / "seen.jsonl").read_text().splitlines()) == 6, "nothing is trained twice"


def test_strategies_share_their_trials_and_seeds_are_told(here: Path) -> None:
    assert lrsearch("grid", "mine.yaml", *TRAIN).code == 0
    said = lrsearch("bayes", "mine.yaml", *TRAIN, "--json", "--set", "seeds=2")
    assert said.code == 0, said
    report = json.loads(said.out)
    assert report["objective"] == {"metric": "loss", "goal": "min", "at": "last"}
    assert {trial["seed"] for trial in report["trials"]} == {1, 2}
    assert report["best"]["objective"] >= 0.032
    assert sum(point["strategy"] == "bayes" for point in report["points"]) == 5
    drawn = lrsearch("random", "mine.yaml", *TRAIN, "--workers", "2", "--executor", "local")
    assert drawn.code == 0 and "[3/3]" in drawn.err, drawn


def test_what_decides_a_measurement_is_in_the_key(here: Path) -> None:
    assert lrsearch("grid", "mine.yaml", *TRAIN, "--set", "search.batch_size=[32]").code == 0
    folded = (here / "mine.yaml").read_text().replace("command: ", "command: >\n  ")
    (here / "mine.yaml").write_text(folded)
    moved = lrsearch("grid", "mine.yaml", *TRAIN, "--set", "params.batch_size=32", "--dry-run")
    assert "would train 0 trials" in moved.out, "a parameter moves from searched to fixed"
    (here / "other.py").write_text("")
    assert "train 3 trials of" in lrsearch("grid", "mine.yaml", *TRAIN, "--dry-run").out
    (here / "train.py").write_text(SCRIPT + "# changed\n")
    said = lrsearch("grid", "mine.yaml", *TRAIN)
    assert said.code == 2 and "a file the command names has changed" in said.err
    (here / "train.py").write_text(SCRIPT)
    said = lrsearch("grid", "mine.yaml", *TRAIN, "--set", "params.text=other")
    assert said.code == 2 and 'params.text: "a b; c" stored, "other" in the spec' in said.err
    said = lrsearch("grid", "mine.yaml", *TRAIN, "--set", "search.extra=[1, 2]")
    assert said.code == 2 and "params.extra: not given, and searched now" in said.err


def test_export_is_a_spec_that_trains_to_the_same(here: Path) -> None:
    assert lrsearch("grid", "mine.yaml", *TRAIN).code == 0
    said = lrsearch("export", "mine.yaml", "--output", "best.yaml", "--verify", "--allow-command")
    assert said.code == 0 and "verified" in said.err, said
    assert "grid best.yaml --allow-command" in said.err
    best = yaml.safe_load((here / "best.yaml").read_text())
    assert best["params"] == {"text": "a b; c", "lr": 1.0, "batch_size": 32}
    trained = lrsearch("grid", "best.yaml", *TRAIN, "--json")
    assert json.loads(trained.out)["best"]["objective"] == pytest.approx(0.032)
    stored = yaml.safe_load((here / "runs/mine/best/spec.yaml").read_text())
    assert stored["params"] == best["params"]


def test_require_is_held_against_the_objective(here: Path) -> None:
    missed = lrsearch("grid", "mine.yaml", *TRAIN, "--require", "loss<0.03", "--quiet")
    assert missed.code == 3 and "not met: loss < 0.03" in missed.err
    assert lrsearch("grid", "mine.yaml", *TRAIN, "--require", "loss<0.04").code == 0
    other = lrsearch("grid", "mine.yaml", *TRAIN, "--require", "los<0.04")
    assert other.code == 2 and "did you mean 'loss'?" in other.err


def test_nothing_runs_before_it_is_allowed(here: Path) -> None:
    for command in ("check", "show"):
        assert lrsearch(command, "mine.yaml").code == 0
    assert "would train 6 trials" in lrsearch("grid", "mine.yaml", "--dry-run").out
    refused = lrsearch("grid", "mine.yaml")
    assert refused.code == 2 and "--allow-command" in refused.err
    assert not (here / "seen.jsonl").exists() and not (here / "runs").exists()
    assert lrsearch("grid", "mine.yaml", *TRAIN).code == 0
    trained = (here / "seen.jsonl").read_text()
    assert lrsearch("report", "mine.yaml").code == 0
    assert (here / "seen.jsonl").read_text() == trained


def on_a_terminal(answer: bytes, *arguments: str) -> tuple[int, str]:
    """A command's exit code and all that a terminal shows of it; `answer` is typed when asked."""
    terminal, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "lrsearch", *arguments],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        preexec_fn=Before(terminal=True),
    )
    os.close(theirs)
    shown = b""
    with contextlib.suppress(OSError):  # Linux' way to say that it is over
        while data := os.read(terminal, 4096):
            asked = b"[y/N]" in shown
            shown += data
            if b"[y/N]" in shown and not asked:
                os.write(terminal, answer)
    code = process.wait(60)
    os.close(terminal)
    return code, shown.decode()


def test_a_person_is_asked_once_for_each_command(here: Path) -> None:
    grid = ("grid", "mine.yaml", "--quiet", "--set", "search.lr=[1.0]", "--executor", "inline")
    code, shown = on_a_terminal(b"n\n", *grid)
    assert code == 2 and "train.py --lr {lr}" in shown and not (here / "runs").exists()
    code, shown = on_a_terminal(b"y\n", *grid)
    assert code == 0 and "Allow it?" in shown
    code, shown = on_a_terminal(b"", *grid)
    assert code == 0 and "Allow it?" not in shown
    code, shown = on_a_terminal(b"n\n", *grid, "--set", "command=echo {lr} {batch_size}")
    assert code == 2 and "Allow it?" in shown, "another command is another question"


def test_a_command_hears_of_its_seed_or_does_not(tmp_path: Path) -> None:
    (tmp_path / "deaf.py").write_text("import random")
    (tmp_path / "own.py").write_text("import os; seed = os.environ['LRSEARCH_SEED']")
    os.mkfifo(tmp_path / "pipe")
    heard = {
        "python deaf.py --data pipe": False,
        "python deaf.py --seed {seed}": True,
        "python deaf.py --lr {lr}": False,
        "python own.py --lr {lr}": True,
        "sh -c 'python own.py --lr {lr}'": True,
        "sh -c 'python deaf.py --seed $LRSEARCH_SEED'": True,
    }
    assert {text: hears_seed(text, tmp_path) for text in heard} == heard


@pytest.mark.parametrize(
    ("command", "files"),
    [
        ("python train.py --config=conf/{name}.yaml", ["train.py", "conf/small.yaml"]),
        ("python -m pack.main", ["pack/main.py"]),
        ("python -m pack", ["pack/__main__.py"]),
        ("sh -c 'cd . && python train.py --to pack/main.py'", ["train.py", "pack/main.py"]),
        ("bash -lc 'python -m pack.main 2>&1|tee train.py>conf/small.yaml'", ["pack/main.py"]),
        ("cat ../outside.txt conf missing.py '{name}.txt'", []),
    ],
)
def test_the_files_that_a_command_names(tmp_path: Path, command: str, files: list[str]) -> None:
    folder = tmp_path / "spec"
    for name in ("train.py", "conf/small.yaml", "pack/main.py", "pack/__main__.py"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    (tmp_path / "outside.txt").write_text("")
    found = commands.file_hashes({"command": command, "params": {"name": "small"}}, str(folder))
    assert found == {name: hashlib.sha256(name.encode()).hexdigest() for name in files}
    for name in files:
        (folder / name).write_text("changed")
    again = commands.file_hashes({"command": command, "params": {"name": "small"}}, str(folder))
    assert all(again[name] != found[name] for name in files)


@pytest.mark.parametrize(
    ("command", "files"),
    [
        ("python {kind}-{size}.txt", ["a[1]-5.txt", "a[1]-7.txt", "b-5.txt", "b-77.txt"]),
        ("python t.py --at={kind}.yaml", ["a[1].yaml", "b.yaml"]),
        ("sh -c 'python t.py {kind}-5.txt'", ["a[1]-5.txt", "b-5.txt"]),
        ("python -m {kind}", ["b.py"]),
        ("python t.py {kind}-{one}.csv", ["b-3.csv"]),
        ("python t.py {size}", ["5"]),
        ("python t.py {size} {seed}.txt {{kind}}.yaml", ["5", "{kind}.yaml"]),
    ],
)
def test_the_files_that_some_point_names(tmp_path: Path, command: str, files: list[str]) -> None:
    """Any number stands for all of its range, a text for itself, and so does a number alone, or
    any file would do."""
    there = ["a[1]-5.txt", "a[1]-7.txt", "a1-5.txt", "b-5.txt", "b-77.txt", "c-5.txt", "b.py"]
    there += ["b-3.csv", "b-4.csv"]
    for name in (*there, "a[1].yaml", "b.yaml", "c.yaml", "{kind}.yaml", "5", "6", "5.txt"):
        (tmp_path / name).write_text("")
    ends: list[dict[str, Any]] = [
        {"kind": "b", "size": 5, "one": 3},
        {"kind": "a[1]", "size": 9, "one": 3},
    ]
    configs = [{"command": command, "params": each} for each in ends]
    found = {name for name in possible_files(configs, str(tmp_path)) if (tmp_path / name).exists()}
    assert found - {"t.py"} == set(files)


# how a trial may end

ODD = """\
import ctypes, json, os, signal, subprocess, sys, time

kind = sys.argv[1]
if kind != "after":
    print("output of", kind)
    print("complaint of", kind, file=sys.stderr)
if kind == "crash":
    ctypes.string_at(0)
if kind == "code":
    sys.exit(3)
if kind == "after":
    print(json.dumps({"loss": 3.0}))
    sys.exit(4)
if kind == "raise":
    raise ValueError("no good")
if kind == "nan":
    print(json.dumps({"step": 7, "loss": float("nan")}))
    time.sleep(100)
if kind == "hang":
    time.sleep(100)
if kind == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    open("stubborn.pid", "w").write(f"{os.getpid()}\\n")
    while True:
        time.sleep(1)
if kind == "parent":
    child = subprocess.Popen(["sleep", "100"])
    open("child.pid", "w").write(f"{child.pid}\\n")
    print(json.dumps({"loss": 3.0}))
if kind == "flood":
    for _ in range(50):
        print("x" * 1_000_000)
    print(json.dumps({"loss": 4.0}))
    for _ in range(5):
        print("{" + "y" * 1_000_000, file=sys.stderr)
if kind == "file":
    with open(os.environ["LRSEARCH_METRICS"], "a") as metrics:
        print(json.dumps({"step": 5, "loss": 6.0, "accuracy": 0.5}), file=metrics)
if kind == "unended":
    sys.stdout.write(json.dumps({"loss": 5.0}))
if kind == "daemon":
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            open("daemon.pid", "w").write(f"{os.getpid()}\\n")
            time.sleep(100)
        os._exit(0)
    os.wait()
    while not os.path.exists("daemon.pid"):
        time.sleep(0.01)
    print(json.dumps({"loss": 7.0}))
if kind == "gush":
    with open(os.environ["LRSEARCH_METRICS"], "a") as metrics:
        subprocess.run(["yes", '{"loss": 1}'], stdout=metrics)
if kind == "told":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    print(json.dumps({"loss": 8.0}))
    sys.stdout.flush()
    os.kill(os.getppid(), signal.SIGTERM)
    time.sleep(100)
if kind == "spoof":  # What the process of a loop says to lrsearch is no word of a command.
    with open(os.environ["LRSEARCH_METRICS"], "a") as metrics:
        for stream in (sys.stdout, metrics):
            print('["lrsearch", "changed", "x"]', file=stream)
            print('["lrsearch", "raised", "x"]', file=stream)
    print(json.dumps({"loss": 9.0}))
if kind == "mute":
    print(json.dumps({"los": 1.0, "name": "x", "flag": True}))
"""


LATE = ["hang", "stubborn", "gush"]
"""Ways to end that only a timeout ends."""


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """Two runs of every way to end, by itself and by its timeout, which no busy machine decides;
    and what the commands printed."""
    folder = tmp_path_factory.mktemp("odd")
    kinds = dict.fromkeys(re.findall(r'kind == "(\w+)"', ODD))
    ended = {"max_failures": 20, "search": {"kind": [each for each in kinds if each not in LATE]}}
    write(folder, ODD, ended)
    write(folder, ODD, {"timeout": "3s", "search": {"kind": LATE}}, "late")
    before = Path.cwd()
    os.chdir(folder)
    try:
        runs = [
            start("grid", f"{name}.yaml", "--allow-command", "--workers", workers)
            for name, workers in (("odd", 2), ("late", 3))
        ]
        said = [each.communicate(timeout=120)[1].decode() for each in runs]
    finally:
        os.chdir(before)
    assert [each.returncode for each in runs] == [0, 1], said  # None of those that are late ends.
    yield folder, "".join(said)


def ended_so(folder: Path, kind: str) -> Result:
    """The result of a way to end."""
    return results(folder, "late" if kind in LATE else "odd")[kind]


@pytest.mark.parametrize(
    ("kind", "outcome", "reason"),
    [
        ("crash", "failed", "killed by SIGSEGV"),
        ("code", "failed", "exit code 3: complaint of code"),
        ("after", "failed", "exit code 4"),
        ("raise", "failed", "exit code 1: ValueError: no good (odd.py, line 15)"),
        ("nan", "diverged", "loss is nan at step 7"),
        ("mute", "failed", "it never reported 'loss'; it reported los"),
        ("hang", "failed", "it was not done after its timeout of 3 seconds"),
        ("stubborn", "failed", "it was not done after its timeout of 3 seconds"),
        ("gush", "failed", "it was not done after its timeout of 3 seconds"),
        ("told", "failed", "stopped from outside, by a signal to its keeper"),
    ],
)
def test_a_trial_that_fails_says_why(
    odd: tuple[Path, str], kind: str, outcome: str, reason: str
) -> None:
    result = ended_so(odd[0], kind)
    assert (result.outcome, result.reason) == (outcome, reason)
    if outcome == "failed" and kind != "after":
        assert f"complaint of {kind}" in result.traceback
    assert reason in odd[1]


@pytest.mark.parametrize(
    ("kind", "loss", "steps"),
    [
        ("parent", 3, 1),
        ("flood", 4, 1),
        ("unended", 5, 1),
        ("file", 6, 5),
        ("daemon", 7, 1),
        ("spoof", 9, 1),
    ],
)
def test_no_trial_is_harmed_by_another(
    odd: tuple[Path, str], kind: str, loss: float, steps: int
) -> None:
    result = ended_so(odd[0], kind)
    assert (result.outcome, result.last["loss"], result.steps) == ("completed", loss, steps)


def test_nothing_of_a_trial_outlives_it(odd: tuple[Path, str]) -> None:
    for name in ("stubborn.pid", "child.pid", "daemon.pid"):
        if name != "daemon.pid" or sys.platform == "linux":
            assert gone(int((odd[0] / name).read_text()), 10.0), name


def test_a_parameter_that_the_command_lacks_is_told(tmp_path: Path) -> None:
    spec = {
        "command": "python train.py {lr}",
        "objective": "loss",
        "params": {"epochs": 3},
        "search": {"lr": [0.1, 0.2], "wd": [0.0, 0.1]},
    }
    (tmp_path / "train.py").touch()
    (tmp_path / "s.yaml").write_text(yaml.safe_dump(spec))
    notes = " ".join(read_spec(tmp_path / "s.yaml").notes)
    assert (
        "epochs is fixed and does not stand in the command: it must read LRSEARCH_EPOCHS" in notes
    )
    assert "wd is searched and does not stand in the command" in notes and "lr is" not in notes


def test_output_is_bounded() -> None:
    lines: list[bytes] = []
    stream = Lines(lambda line, _: lines.append(line))
    for _ in range(40):
        stream.feed(b"x" * LONGEST_LINE)
    stream.feed(b'\n{"loss": 1}\n{"lo')
    stream.feed(b'ss": 2}')
    stream.finish()
    assert lines == [b'{"loss": 1}', b'{"loss": 2}']
    assert len(stream.text()) <= KEPT


def test_a_curve_is_bounded_and_keeps_its_ends() -> None:
    course = Reported()
    for step in range(3 * MOST_ROWS):
        assert course.take({"step": step, "loss": 1.0 / (step + 1)}) == ""
    curve = course.curve()
    assert len(curve["step"]) <= MOST_ROWS
    assert curve["step"][-1] == course.step == 3 * MOST_ROWS - 1
    assert curve["step"][0] == 0
    gaps = {after - before for before, after in itertools.pairwise(curve["step"][:-1])}
    assert gaps == {4.0}, "as dense at the start as at the end"


def test_lines_of_one_step_are_one_row() -> None:
    course = Reported()
    for line in ({"step": 2, "loss": 2.0}, {"step": 2, "accuracy": 0.5}, {"accuracy": 0.6}):
        course.take(line)
    curve = course.curve()
    assert curve["step"] == [2, 3] and curve["accuracy"] == [0.5, 0.6]
    assert curve["loss"][0] == 2.0 and curve["loss"][1] != curve["loss"][1]
    assert course.take({"loss": 10**400}) == "loss is inf at step 4"
    assert course.take({"note": "x", "ok": True, "loss": None}) == ""


@pytest.mark.parametrize(
    ("steps", "counted"),
    [
        ([(1, 0), (1, 1), (2, 0), (2, 1), (3, 0)], [0, 1, 2, 3, 4]),
        ([(1, 10), (1, 20), (2, 10), (2, 20)], [10, 20, 30, 40]),
        ([(0, 94), (1, 94), (2, 94)], [94, 188, 282]),
        ([(1, 93), (1, 94), (2, 95), (2, 96)], [93, 94, 95, 96]),
        ([(1, 1), (1, 3), (1, 2), (2, 4)], [1, 3, 2, 4]),  # Two processes.
        ([(None, 1), (None, 2), (None, 1)], [1, 2, 1]),
    ],
)
def test_a_step_that_begins_again_each_epoch_is_counted_on(steps, counted) -> None:
    course, apart = Reported("loss"), Reported("loss")
    for epoch, step in steps:
        own = {} if epoch is None else {"epoch": epoch}
        course.take({"step": step, "loss": 1.0, **own})
        # As patterns find them: the epoch in a line of its own, at the step before.
        apart.take({"step": max(apart._counted.latest, 0), **own})
        apart.take({"step": step, "loss": 1.0})
    assert course.curve()["step"] == counted
    losses = apart.curve()["loss"]
    assert [at for at, x in zip(apart.curve()["step"], losses, strict=True) if x == x] == counted


def test_of_metrics_that_are_not_finite_the_objective_and_the_loss_are_lost() -> None:
    course = Reported("accuracy")
    assert course.take({"accuracy": 0.5, "perplexity": math.inf, "std": math.nan}) == ""
    assert course.take({"accuracy": 0.6, "perplexity": 3.0}) == ""
    assert course.last["perplexity"] == course.best["perplexity:max"] == 3.0
    assert "std:min" not in course.best and course.lost == {}
    assert course.take({"train_loss": math.nan}) == "train_loss is nan at step 3"
    assert Reported("accuracy").take({"accuracy": math.nan}) == "accuracy is nan at step 1"


def test_a_part_of_a_step_is_none() -> None:
    course = Reported()
    for line in ({"step": 0.5, "loss": 3.0}, {"step": 0.75, "loss": 2.0}, {"step": 9.0, "loss": 1}):
        course.take(line)
    assert course.curve() == {"step": [1, 2, 9], "loss": [3.0, 2.0, 1.0]}


def test_the_best_is_that_of_the_goal(here: Path) -> None:
    script = "import json\nfor cost in (3, 1, 2): print(json.dumps({'cost': cost}))\n"
    write(here, script, {"search": {"kind": ["a"]}})
    found = {}
    for goal in ("min", "max"):
        for at in ("last", "best"):
            chosen = f"objective={{metric: cost, goal: {goal}, at: {at}}}"
            said = lrsearch("grid", "odd.yaml", *TRAIN, "--json", "--set", chosen)
            found[goal, at] = json.loads(said.out)["best"]["objective"]
    assert found == {
        ("min", "last"): 2,
        ("min", "best"): 1,
        ("max", "last"): 2,
        ("max", "best"): 3,
    }


# who dies first

SLOW = """\
import json, os, signal, sys, time

if sys.argv[1] == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
elif sys.argv[1] == "polite":
    def leave(*_):
        open("left", "w").write("in order\\n")
        sys.exit(0)
    signal.signal(signal.SIGTERM, leave)
print(json.dumps({"step": 1, "loss": 1.0}))
if sys.argv[1] == "quick":
    sys.exit()
open("pid.part", "w").write(f"{os.getpid()}\\n")
os.replace("pid.part", "pid")
if not os.path.exists("go"):
    time.sleep(100)
"""


@pytest.mark.parametrize(
    ("kind", "number"),
    [("polite", signal.SIGINT), ("stubborn", signal.SIGKILL), ("plain", signal.SIGKILL)],
)
def test_a_command_ends_with_its_driver_and_the_search_goes_on(
    here: Path, kind: str, number: int
) -> None:
    write(here, SLOW, {"search": {"kind": ["quick", kind]}})
    arguments = ("grid", "odd.yaml", "--allow-command", "--workers", "1")
    driver = start(*arguments)
    process = int(wait_for(here / "pid"))
    driver.send_signal(number)
    _, said = driver.communicate(timeout=20)
    if number == signal.SIGINT:
        assert driver.returncode == 130 and b"go on with\n  lrsearch grid" in said
        assert wait_for(here / "left", 5.0) == "in order\n"
    assert gone(process, GRACE + 2.0)
    assert [result.outcome for result in results(here, "odd").values()] == ["completed"]
    (here / "go").touch()
    again = lrsearch(*arguments)
    assert again.code == 0 and "[1/1]" in again.err, "the finished trial stays"
    assert {kind: each.outcome for kind, each in results(here, "odd").items()} == {
        "quick": "completed",
        kind: "completed",
    }


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks a parent up in /proc")
@pytest.mark.parametrize(
    ("place", "reason"),
    [
        (1, "whoever watched over it was killed"),
        (2, "the worker process was lost: killed by SIGKILL"),
    ],
    ids=["keeper", "worker"],
)
def test_a_command_ends_with_whoever_runs_it(here: Path, place: int, reason: str) -> None:
    write(here, SLOW, {"search": {"kind": ["plain", "quick"]}})
    driver = start("grid", "odd.yaml", "--allow-command", "--workers", "1")
    process = int(wait_for(here / "pid"))
    parents = [process]
    for _ in range(2):  # the keeper, and its worker
        status = Path(f"/proc/{parents[-1]}/status").read_text()
        parents.append(int(re.findall(r"PPid:\s+(\d+)", status)[0]))
    os.kill(parents[place], signal.SIGKILL)
    _, said = driver.communicate(timeout=20)
    assert driver.returncode == 0, said
    assert gone(process, GRACE + 2.0) and gone(parents[1], GRACE + 2.0)
    found = results(here, "odd")
    assert found["plain"].reason == reason
    assert found["quick"].outcome == "completed"


# verdicts

PRUNED = """\
import time
from lrsearch import Stopped

def train(trial):
    try:
        for step in range(1, 1000):
            trial.report(step, loss=1.0 / step)
            time.sleep(0.02)
    except Stopped:
        with open("stopped", "w") as file:
            file.write(f"{step}\\n")
        raise
"""


@pytest.mark.parametrize("kind", ["command", "loop"])
def test_a_verdict_stops_a_trial(here: Path, kind: str) -> None:
    (here / "my_loop.py").write_text(PRUNED)
    (here / "endless.py").write_text(
        "import json, time\nfor step in range(1, 1000):\n"
        "    print(json.dumps({'step': step, 'loss': 1 / step}))\n    time.sleep(0.02)\n"
    )
    text = "my_loop.train" if kind == "loop" else f"{sys.executable} endless.py"
    trial = Trial(1, "", {kind: text, "params": {}}, seed=0)
    hashes = {}
    if kind == "loop":
        from lrsearch.train.users.importing import source_hashes

        hashes = source_hashes([text], Workplace(str(DEVICE), str(here), ("my_loop",)))
    cohort = Cohort(
        (trial,),
        Plan(),
        Workplace(str(DEVICE), str(here), ("my_loop",)),
        Objective("loss", "min"),
        rungs=(5, 10),
        source_hashes=hashes,
    )
    job = commands.run(cohort)
    events: list[Any] = []
    replies: Any = None
    try:
        while True:
            event = job.send(replies)
            events.append(event)
            replies = None
            if isinstance(event, Reached):
                replies = [(1, Verdict.GO_ON if event.step == 5 else Verdict.STOP)]
    except StopIteration:
        pass
    assert [event.step for event in events if isinstance(event, Reached)] == [5, 10]
    assert any(isinstance(event, Measured) for event in events)
    ended = events[-1]
    assert isinstance(ended, Ended) and ended.result.outcome is Outcome.PRUNED
    assert 10 <= ended.result.steps < 1000 and ended.curve["step"][-1] == ended.result.steps
    if kind == "loop":
        assert int((here / "stopped").read_text()) < 1000


def test_the_time_in_which_all_was_stopped_is_no_trial_s(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a cluster suspends a job, its clocks go on: no trial is over its timeout by that."""
    (here / "waits.py").write_text(
        "import json, pathlib, time\nprint(json.dumps({'step': 1, 'loss': 1.0}), flush=True)\n"
        "while not pathlib.Path('go').exists():\n    time.sleep(0.01)\n"
    )
    trial = Trial(1, "", {"command": f"{sys.executable} waits.py", "params": {}}, seed=0)
    workplace = Workplace(str(DEVICE), str(here))
    job = commands.run(Cohort((trial,), Plan(), workplace, Objective("loss", "min"), timeout=500.0))
    assert any(isinstance(event, Measured) for event in job)
    for name in ("monotonic", "perf_counter"):
        clock = getattr(time, name)
        monkeypatch.setattr(time, name, lambda clock=clock: clock() + 1000)
    pulse.wake()  # As at SIGCONT.
    (here / "go").touch()
    *_, ended = job
    assert isinstance(ended, Ended) and ended.result.outcome is Outcome.COMPLETED
    assert 0 < ended.result.seconds < 500


@pytest.mark.parametrize(
    ("kind", "text", "name"),
    [
        ("command", f"{sys.executable} train.py --lr 1 --batch-size 1", "train.py"),
        ("loop", "my_loop.train", "my_loop.train"),
    ],
)
def test_what_changes_meanwhile_is_not_measured(
    here: Path, kind: str, text: str, name: str
) -> None:
    (here / "my_loop.py").write_text(LOOP)
    trial = Trial(1, "", {kind: text, "params": {}}, seed=0)
    workplace = Workplace(str(DEVICE), str(here), ("my_loop",))
    objective = Objective("loss", "min")
    cohort = Cohort((trial,), Plan(), workplace, objective, source_hashes={name: "another"})
    with pytest.raises(ModelError, match="changed meanwhile"):
        list(commands.run(cohort))
    assert not (here / "seen.jsonl").exists()


def test_a_file_that_the_trials_write_is_told_apart(here: Path) -> None:
    script = "import sys; open(sys.argv[2], 'w').write(sys.argv[1]); print('{\"loss\": 1}')"
    command = f"{sys.executable} odd.py {{kind}}"
    write(here, script, {"search": {"kind": ["a", "b"]}, "command": f"{command} out.txt"})
    said = lrsearch("grid", "odd.yaml", *TRAIN)
    assert said.code == 2 and "out.txt: it is not what the run began with" in said.err
    assert "out-{trial}.txt" in said.err
    apart = ("--set", f"command={command} out-{{trial}}.txt", "--set", "name=apart")
    assert lrsearch("grid", "odd.yaml", *TRAIN, *apart).code == 0
    assert {each.name for each in here.glob("out-*")} == {"out-1.txt", "out-2.txt"}
    assert "would train 0 trials" in lrsearch("grid", "odd.yaml", *apart, "--dry-run").out


def test_files_of_any_point_are_known_before_the_first_trial(here: Path) -> None:
    """Of combined options, of a range's inner values, and of no others."""
    for name in ("a-1", "a-5", "b-5", "b-9", "b-9x", "c-1"):
        (here / f"{name}.txt").write_text(name)
    (here / "5").write_text("")
    script = "import sys; print('{\"loss\": %d}' % len(open(sys.argv[2]).read()))"
    command = f"{sys.executable} odd.py {{kind}} {{kind}}-{{size}}.txt"
    search = {"kind": ["b", "a"], "size": {"min": 5, "max": 9, "points": 2}}
    write(here, script, {"search": search, "command": command})
    (here / "a-9.txt").write_text("a-9")
    (here / "b-7.txt").write_text("b-7")
    drawn = lrsearch("random", "odd.yaml", *TRAIN, "--set", "random={trials: 10}", "--quiet")
    assert "changed meanwhile" not in drawn.err, drawn
    said = lrsearch("grid", "odd.yaml", *TRAIN)
    assert said.code == 0, said
    (here / "a-9.txt").write_text("changed")
    again = lrsearch("grid", "odd.yaml", *TRAIN)
    assert again.code == 0 and "[1/1]" in again.err, "one file, one trial"


def test_a_faulty_range_does_not_make_its_name_unknown(here: Path) -> None:
    (here / "bad.yaml").write_text(
        f"command: {sys.executable} t.py {{n}}\nobjective: loss\nsearch: {{n: []}}\n"
    )
    said = lrsearch("check", "bad.yaml")
    assert said.code == 2 and "empty list" in said.err and "placeholder" not in said.err


# a loop

LOOP = """\
import random
import sys
import tempfile

import numpy

AT_IMPORT = random.random(), numpy.random.rand()


def train(trial):
    print('{"loss": 77}')
    kind = trial.params["kind"]
    if kind == "text":
        trial.report(1, loss="small")
    assert kind in ("good", "same")
    import torch
    from torch import nn
    draws = *AT_IMPORT, random.random(), numpy.random.rand(), torch.rand(1).item()
    model = nn.Linear(1, 1).to(trial.device)
    x = torch.linspace(-1, 1, 16, device=trial.device).reshape(-1, 1)
    for step in range(1, 41):
        loss = ((model(x) - 3 * x) ** 2).mean()
        for each, slope in zip(model.parameters(), torch.autograd.grad(loss, model.parameters())):
            each.data -= 0.1 * slope  # An optimizer takes torch a second to import.
        trial.report(step, loss=loss, drawn=sum(draws))


def none():
    pass


def rows(trial):
    yield trial


class Trainer:
    def __init__(self, trial):
        pass
"""


def loop_spec(**more: Any) -> str:
    spec = {
        "name": "odd",
        "loop": "my_loop.train",
        "objective": {"metric": "loss"},
        "search": {"kind": ["good", "same", "text"]},
    }
    return yaml.safe_dump(spec | more)


def test_a_loop(here: Path) -> None:
    (here / "my_loop.py").write_text(LOOP)
    (here / "odd.yaml").write_text(loop_spec())
    refused = lrsearch("grid", "odd.yaml")
    assert refused.code == 2 and "--allow-import my_loop" in refused.err
    allowed = ("--allow-import", "my_loop", "--device", str(DEVICE))
    said = lrsearch("grid", "odd.yaml", *allowed, "--executor", "inline")
    assert said.code == 0, said
    found = results(here, "odd")
    assert found["good"].outcome == "completed" and found["good"].steps == 40
    assert found["good"].last["loss"] < 1.0, "what it prints is no report"
    assert found["same"].last == found["good"].last, "it draws the same, and measures the same"
    line = 1 + LOOP.splitlines().index('        trial.report(1, loss="small")')
    told = f"TypeError: report: loss is no number but str (my_loop.py, line {line})"
    assert found["text"].reason == told
    lines = found["text"].traceback.splitlines()
    assert lines[:1] == ["Traceback (most recent call last):"] and "in train" in lines[1], lines
    (here / "my_loop.py").write_text(LOOP + "\n# changed\n")
    changed = lrsearch("grid", "odd.yaml", *allowed, "--executor", "inline")
    assert changed.code == 2 and "the source of the loop has changed" in changed.err


ODD_LOOP = """\
import multiprocessing
import os
import signal
import threading
import time

from lrsearch import Stopped


def train(trial):
    kind = trial.params["kind"]
    trial.report(1, loss=0.5)
    if kind == "interrupts":
        raise KeyboardInterrupt
    if kind == "gives up":
        raise Stopped
    if kind in ("ended", "ended politely"):
        os.kill(os.getpid(), signal.SIGTERM)
        try:
            trial.report(2, loss=0.1)
        except Stopped:
            if kind == "ended":
                raise
    if kind == "forks":
        context = multiprocessing.get_context("fork")
        with context.Pool(2) as pool:
            total = sum(pool.map(abs, range(3)))
        process = context.Process(target=time.sleep, args=(100,))
        process.start()
        process.terminate()
        process.join()
        trial.report(2, loss=total)
    if kind == "thread":
        def late():
            time.sleep(0.2)
            trial.report(2, loss=4.0)
        threading.Thread(target=late).start()
    if kind == "unnamed":
        trial.report(2, **{"": 0.1})
    if kind == "half":
        trial.report(2.5, loss=0.1)
"""


def test_how_a_loop_may_end(here: Path) -> None:
    (here / "my_loop.py").write_text(ODD_LOOP)
    kinds = [
        "interrupts",
        "gives up",
        "ended",
        "ended politely",
        "forks",
        "thread",
        "half",
        "unnamed",
    ]
    (here / "odd.yaml").write_text(loop_spec(search={"kind": kinds}, timeout="20s"))
    said = lrsearch("grid", "odd.yaml", "--allow-import", "my_loop", "--workers", "2")
    assert said.code == 0, said
    found = {
        kind: re.sub(r" \(my_loop.py, line \d+\)$", "", result.reason)
        if result.outcome == "failed"
        else result.last["loss"]
        for kind, result in results(here, "odd").items()
    }
    told = "stopped from outside, by SIGTERM"
    assert found == {
        "interrupts": "KeyboardInterrupt",
        "gives up": "it raised lrsearch.Stopped, though nobody stops it: to end earlier, return",
        "ended": told,
        "ended politely": told,
        "forks": 3.0,
        "thread": 4.0,
        "half": "TypeError: report: a step is a whole number, not float",
        "unnamed": "ValueError: report: a metric's name has 1 to 100 printable characters: ''",
    }


SCHEDULED = """\
def train(trial):
    for step in range(100):
        trial.report(step, loss=abs(trial.lr_at(step, 100)))
    try:
        trial.lr_at(100, 100)
    except ValueError as error:
        assert "0 to 99" in str(error)
"""


def test_a_loop_follows_the_schedules_it_searches(here: Path) -> None:
    from lrsearch.schedules import multipliers

    (here / "my_loop.py").write_text(SCHEDULED)
    cosine = {"name": "cosine", "final": {"min": 0.1, "max": 0.3, "points": 1}}
    search = {"schedule": [cosine]}
    (here / "odd.yaml").write_text(loop_spec(search=search, params={"lr": 2, "warmup": "10ba"}))
    arguments = ("grid", "odd.yaml", "--allow-import", "my_loop", "--executor", "inline")
    said = lrsearch(*arguments, "--json")
    assert said.code == 0, said
    report = json.loads(said.out)
    shown = [point["params"] for point in report["points"]]
    assert shown == [{"schedule": "cosine", "schedule.final": 0.2}]
    curve = json.loads((here / "runs/odd/curves/000001.json").read_text())
    expected = 2 * multipliers(
        {"name": "cosine", "final": 0.2},
        {"for": "10ba", "shape": "linear", "start": 0.01},
        budget=100,
        samples=1,
        batch_size=1,
    )
    assert curve["loss"] == pytest.approx(list(expected))
    assert "1 point measured" in lrsearch(*arguments, "--dry-run").out
    exported = yaml.safe_load(lrsearch("export", "odd.yaml").out)
    assert exported["params"]["schedule"] == {"name": "cosine", "final": 0.2}
    fixed = ("--set", "params.schedule={name: cosine, final: 0.2}", "--dry-run")
    assert "would train 0 trials" in lrsearch(*arguments, *fixed).out


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"params": {"lr": 1, "schedule": "exponential"}}, "'every' is in epochs"),
        ({"params": {"lr": 1, "warmup": "60sp"}}, "'for' is in samples"),
        ({"params": {"schedule": "cosine"}}, "a schedule needs a parameter lr"),
        ({"search": {"lr": [1], "schedule": ["plateau"]}}, "plateau follows evaluations"),
        ({"search": {"lr": [1], "schedule": ["cosin"]}}, "did you mean 'cosine'?"),
        ({"search": {"lr": [1], "schedule": "cosine"}}, "searched by a list of options"),
        (
            {"search": {"lr": [1], "schedule": [{"name": "step", "every": {"min": "1ep"}}]}},
            "'max' is missing",
        ),
        (
            {
                "search": {
                    "lr": [1],
                    "schedule": [{"name": "step", "every": {"min": "1ep", "max": "2ep"}}],
                }
            },
            "'every' is in epochs",
        ),
    ],
)
def test_a_schedule_that_a_loop_cannot_follow(here: Path, more: dict[str, Any], told: str) -> None:
    (here / "odd.yaml").write_text(loop_spec(**{"search": {}} | more))
    said = lrsearch("check", "odd.yaml", "--allow-import", "my_loop")
    assert said.code == 2 and told in said.err, said


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("my_loop.none", "cannot be called with the trial"),
        ("my_loop.Trainer", "is a class"),
        ("my_loop.rows", "is a generator"),
        ("my_loop.trian", "write loop: my_loop.train"),
        ("my_lop.train", "write loop: my_loop.train"),
    ],
)
def test_a_loop_that_is_none_is_found_before_training(here: Path, path: str, told: str) -> None:
    (here / "my_loop.py").write_text(LOOP)
    (here / "odd.yaml").write_text(loop_spec(loop=path))
    allow = ("--allow-import", path.partition(".")[0], "--executor", "inline")
    said = lrsearch("grid", "odd.yaml", *allow)
    assert said.code == 2 and told in said.err, said
    assert not (here / "runs").exists()


# the examples


@pytest.mark.parametrize(
    ("name", "allow"), [("command", ["--allow-command"]), ("loop", ["--allow-import", "my_loop"])]
)
def test_the_examples_train(name: str, allow: list[str], tmp_path: Path) -> None:
    """By the README's commands, of one point."""
    path = f"configs/{name}.yaml"
    assert f"lrsearch grid {path} {' '.join(allow)}" in (ROOT / "README.md").read_text()
    one = ["--set", "search.lr=[0.1]", "--set", "search.batch_size=[32]"]
    one += ["--set", "params.epochs=3", "--device", str(DEVICE)]
    said = lrsearch("grid", ROOT / path, *allow, *one, "--runs", tmp_path)
    assert said.code == 0 and "trials  1 completed" in said.out, said
    report = json.loads(lrsearch("report", tmp_path / name, "--json").out)
    assert report["best"]["objective"] > 0.85


# what is wrong with a spec

BAD = [
    ("command: {py} t.py\nloop: a.b\nobjective: loss", ["loop: command and loop exclude"]),
    (
        "command: {py} t.py\ndata: digits\ntrain: {lr: 1}\nobjective: loss",
        ["'data' has no place beside command", "'train' has no place"],
    ),
    (
        "command: {py} t.py {lrr}\nobjective: loss\nsearch: {lr: [1]}",
        ["unknown placeholder '{lrr}'", "t.py {lr}; allowed: lr, seed"],
    ),
    (
        "command: {py} t.py {lr} {bs}\nobjective: loss\nsearch: {lr: [1], batch_size: [1, 2]}",
        ["unknown placeholder '{bs}'", "t.py {lr} {batch_size}; allowed: "],
    ),
    (
        "command: {py} t.py {lr}\nobjective: val_loss\nsearch: {lr: [1]}",
        ["write objective: {metric: val_loss, goal: min}, or goal: max"],
    ),
    ("command: '{py} t.py {'\nobjective: loss", ["a lone '{'", "{{ and }}"]),
    ('command: "{py} \'t.py"\nobjective: loss', ["no closing quotation"]),
    ("command: [a, b]\nobjective: loss", ["is no command line"]),
    ("command: nosuch_program\nobjective: loss", ["there is no program 'nosuch_program'"]),
    ("command: ./nosuch\nobjective: loss", ["the program ./nosuch does not exist"]),
    ("command: ~/t.py\nobjective: loss", ["what ~ stands for"]),
    ("command: X=1 {py} t.py\nobjective: loss", ["no program 'X=1'", "write env X=1"]),
    ("command: cd x && {py} t.py\nobjective: loss", ["no program 'cd'", "write sh -c"]),
    ("command: awk '{print $1}' t.py\nobjective: loss", ["'{print $1}'", "{{ and }}"]),
    ("command: ./train.py\nobjective: loss", ["not executable", "chmod +x ./train.py"]),
    ("command: {py} t.py", ["'objective' is missing"]),
    ("command: {py} t.py\nobjective: cost", ["'goal' is missing", "goal: max"]),
    ("command: {py} t.py\nobjective: {metric: cost, goal: up}", ["'up' is not one of min, max"]),
    ("command: {py} t.py\nobjective: loss\ntimeout: 10x", ["'10x' is no time", "10m"]),
    ("command: {py} t.py\nobjective: loss\ntimeout: 0s", ["'0s' is no time"]),
    ("command: {py} t.py\nobjective: loss\nsearch: {train.lr: [1]}", ["write lr"]),
    ("command: {py} t.py\nobjective: loss\nsearch: {seed: [1]}", ["a name of lrsearch's own"]),
    (
        "command: {py} t.py\nobjective: loss\nsearch: {lr: 3}",
        ["write lr: 3 under params"],
    ),
    ("command: {py} t.py\nobjective: loss\nsearch: {lr: [1], LR: [2]}", ["in case alone"]),
    ('command: {py} t.py\nobjective: loss\nparams: {a: "\\0"}', ["NUL"]),
    ("loop: mine\nobjective: loss", ["'mine' is no dotted path"]),
    (
        "loop: {class_path: a.b, init_args: {epochs: 5}}\nobjective: loss",
        ["is no dotted path", "write loop: a.b\n", "write epochs: 5 under params"],
    ),
    ("comand: {py} t.py\nobjective: loss", ["did you mean 'command'?"]),
    ("data: digits\nmodel: mlp\ntrain: {budget: 1ep, lr: 1}\nparams: {a: 1}", ["params: 'params'"]),
]


@pytest.mark.parametrize(("text", "told"), BAD, ids=[text.split("\n")[0] for text, _ in BAD])
def test_a_faulty_spec_is_refused_before_anything_trains(
    here: Path, text: str, told: list[str]
) -> None:
    (here / "bad.yaml").write_text(text.replace("{py}", sys.executable) + "\n")
    for command in (("check", "bad.yaml"), ("grid", "bad.yaml", *TRAIN)):
        said = lrsearch(*command)
        assert said.code == 2, said
        for words in told:
            assert words in said.err, said
        assert "bad.yaml" in said.err
    assert not (here / "runs").exists()


def test_what_is_only_odd_is_a_note(here: Path) -> None:
    (here / "odd.yaml").write_text(
        f"command: {sys.executable} train.py | tee log\nobjective: loss\n"
        "params: {width: 3}\nsearch: {width: [1, 2]}\n"
    )
    said = lrsearch("check", "odd.yaml")
    assert said.code == 0, said
    assert "width is both fixed and searched" in said.out
    assert "LRSEARCH_WIDTH" in said.out and "no shell" in said.out


def test_whole_ends_may_be_meant_as_real_ones(here: Path) -> None:
    for text, noted in (
        ("{min: 0, max: 1}", True),
        ("{min: 1, max: 8, points: 20}", True),
        ("{min: 1, max: 8, points: 8}", False),
        ("{min: 0.0, max: 1.0, points: 5}", False),
    ):
        said = lrsearch("check", "mine.yaml", "--set", f"search.batch_size={text}")
        assert said.code == 0 and ("whole numbers alone" in said.out) == noted, said


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (("--engine", "fused"), "--engine: the trials of a command train one by one"),
        (("--lanes", "4"), "--lanes: the trials of a command train one by one"),
        (("--device", "gpu"), "unknown device 'gpu'"),
    ],
)
def test_options_that_make_no_sense(here: Path, more: tuple[str, ...], told: str) -> None:
    said = lrsearch("grid", "mine.yaml", *TRAIN, *more)
    assert said.code == 2 and told in said.err
    assert not (here / "runs").exists()


# the scale of a range that says none

LOG = (
    "lr", "learning_rate", "max_lr", "encoder_lr", "base_learning_rate", "learningRate", "maxLR",
    "LR", "wd", "head_wd", "weight_decay", "text_weight_decay", "weightDecay", "eps", "adam_eps",
    "batch_size", "per_device_train_batch_size", "batch_size_per_gpu", "batchSize",
)  # fmt: skip
LINEAR = (
    "num_steps", "reps", "warmup_steps", "fwd", "crowd", "lr_decay", "momentum", "dropout",
    "batch", "epsilon_greedy", "weight", "decay",
)  # fmt: skip


def owning(search: dict[str, Any], **more: Any) -> str:
    whole = {"loop": "t.train", "objective": "loss", "search": search, **more}
    return yaml.safe_dump(whole, sort_keys=False)


def read_own(folder: Path, text: str) -> Any:
    (folder / "own.yaml").write_text(text)
    return read_spec(folder / "own.yaml")


@pytest.mark.parametrize("name", [*LOG, *LINEAR])
def test_a_name_says_the_scale(tmp_path: Path, name: str) -> None:
    """Of parameters of a loop, and of arguments of one's own code, alone or within an option."""
    log = name in LOG
    ends = {"min": 0.001, "max": 0.1, "points": 3}
    spec = read_own(tmp_path, owning({name: ends}))
    middle = pytest.approx(0.01 if log else 0.0505)
    assert spec.space.dimensions[0][1].grid() == [0.001, middle, 0.1]
    words = f"{name} (0.001 to 0.1, {'log' if log else 'linear'}, 3 points)"
    assert words in describe(spec)
    noted = [note for note in spec.notes if "linear scale" in note]
    line = f"{name}: {{min: 1e-3, max: 0.1, points: 3, scale: log}}"
    assert [line in note for note in noted] == ([] if log else [True])
    part = {"class_path": "torch.nn.Linear", "init_args": {name: ends}}
    for search in (
        {"model": [part, "mlp"]},
        {f"model.init_args.{name}": ends},
        {"model": {"init_args": {name: ends}}},
    ):
        whole = {
            "data": "digits",
            "model": {"class_path": "torch.nn.Linear"},
            "train": {"budget": "1ep", "lr": 1.0},
            "search": search,
        }
        spec = read_own(tmp_path, yaml.safe_dump(whole))
        (found,) = [part for _, part in parameters(spec.space) if not isinstance(part, Choice)]
        assert found.log == log, search
    # What is said stands.
    spec = read_own(tmp_path, owning({name: {**ends, "scale": "linear"}}))
    assert not spec.space.dimensions[0][1].log and not spec.notes


def test_a_log_scale_that_cannot_be_is_a_linear_one_and_said(tmp_path: Path) -> None:
    for name, low in itertools.product(("lr", "wd", "weight_decay", "max_lr"), (0.0, -1.0)):
        spec = read_own(tmp_path, owning({name: {"min": low, "max": 0.1}}))
        assert not spec.space.dimensions[0][1].log
        (note,) = spec.notes
        assert note.startswith(f"{name} is searched on a linear scale, since")
        with pytest.raises(SpecError, match="no place on a log scale"):
            read_own(tmp_path, owning({name: {"min": low, "max": 0.1, "scale": "log"}}))


def test_whole_numbers_on_a_log_scale(tmp_path: Path) -> None:
    spec = read_own(tmp_path, owning({"batch_size": {"min": 8, "max": 512, "points": 7}}))
    points = [point["batch_size"] for level in grid(spec.space) for point in level]
    assert sorted(points) == [8, 16, 32, 64, 128, 256, 512]
    drawn = [draw(spec.space, {"batch_size": share})["batch_size"] for share in (0.0, 0.5, 0.999)]
    assert all(type(size) is int for size in drawn)
    assert drawn[0] == 8 and 55 < drawn[1] < 75 and 500 < drawn[2] <= 512


@given(
    low=st.floats(1e-6, 10),
    ratio=st.floats(1.01, 1e6),
    name=st.sampled_from(["width", "lr", "eps"]),
)
def test_a_wide_linear_range_is_noted_with_a_line_that_is_none(
    low: float, ratio: float, name: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    high = low * ratio
    folder = tmp_path_factory.getbasetemp()
    spec = read_own(folder, owning({name: {"min": low, "max": high}}))
    assert len(spec.notes) == (name == "width" and high / low >= 100)
    for note in spec.notes:
        text = note.partition(": for even parts write ")[2]
        again = read_own(folder, f"loop: t.train\nobjective: loss\nsearch:\n  {text}\n")
        assert text.startswith("width: ") and not again.notes
        (part,) = (part for _, part in again.space.dimensions)
        assert (part.low, part.high, part.log) == (low, high, True)


@pytest.mark.parametrize(
    ("low", "high", "middle"), [(8, 512, "64"), (1e-4, 1e-2, "0.001"), (0.5, 0.5, None)]
)
def test_a_range_of_one_point_is_noted(
    low: float, high: float, middle: str | None, tmp_path: Path
) -> None:
    raw = {"min": low, "max": high, "points": 1, "scale": "log"}
    (note,) = read_own(tmp_path, owning({"width": raw})).notes
    assert (f"a grid trains at {middle} alone: for several write width: {{min: " in note) == bool(
        middle
    )


def test_a_run_of_before_goes_on(here: Path) -> None:
    """Points are values: a scale that became another keeps what was measured."""
    text = (here / "mine.yaml").read_text().replace("--lr {lr}", "--lr {max_lr}")
    before = "max_lr: {min: 1e-2, max: 1.0, points: 3, scale: linear}"
    text = text.replace("lr: {min: 1e-2, max: 1.0, points: 3}", before)
    (here / "mine.yaml").write_text(text)
    for strategy in ("grid", "random", "bayes"):
        assert lrsearch(strategy, "mine.yaml", *TRAIN).code == 0
    stored = read(here / "runs" / "mine")
    old = {trial.key: trial.number for trial in stored.trials.values()}
    (here / "mine.yaml").write_text(text.replace(", scale: linear", ""))
    told = lrsearch("report", "mine.yaml", "--json")
    assert len(json.loads(told.out)["trials"]) == len(old)
    said = lrsearch("grid", "mine.yaml", *TRAIN)
    assert said.code == 0, said
    for strategy in ("random", "bayes"):
        said = lrsearch(strategy, "mine.yaml", *TRAIN, "--set", f"{strategy}.trials=8")
        assert said.code == 0, said
    trials = read(here / "runs" / "mine").trials
    assert {trial.key: trial.number for trial in trials.values()}.items() >= old.items()
    assert len({trial.key for trial in trials.values()}) == len(trials)
    # Of the grid the ends stand, its middle is new; what was drawn goes on behind what was.
    new = [trial for trial in trials.values() if trial.number not in old.values()]
    middle = [each for each in new if each.config["params"]["max_lr"] == 0.1]
    assert len(middle) == 2 and len(new) <= 2 + 5 + 3


SPOOFING = """\
import os
import subprocess
import sys
import tempfile

GRANDCHILD = '''
import os
for descriptor in range(3, 64):
    try:
        os.write(descriptor, b'["changed", "grandchild"]\\\\n{"loss": -1}\\\\n')
        open("reached", "a").write(f"{descriptor}\\\\n")
    except OSError:
        pass
'''


def spoof(text, write):
    for line in ('["lrsearch", "changed", "x"]', '["changed", "x"]', '["raised", "x"]', text):
        write(line + "\\n")


def train(trial):
    kind = trial.params["kind"]
    fake = '{"step": 9, "loss": -1.0}'
    trial.report(1, loss=0.5)
    if kind == "prints":
        spoof(fake, sys.stdout.write)
        spoof(fake, sys.stderr.write)
    if kind == "file":
        with open(os.environ["LRSEARCH_METRICS"], "a") as metrics:
            spoof('["lrsearch", "raised", "y"]', metrics.write)
    if kind == "descriptors":
        for descriptor in range(3, 64):
            for line in ('["changed", "x"]\\n', fake + "\\n", "no end"):
                try:
                    os.write(descriptor, line.encode())
                except OSError:
                    pass
    if kind == "grandchild":
        subprocess.run([sys.executable, "-c", GRANDCHILD], close_fds=False, check=True)
    if kind == "arguments":
        assert len(sys.argv) == 1, sys.argv
    if kind in ("closes", "closes at the end", "reopens"):
        os.closerange(3, 256)
    if kind == "reopens":
        mine = [open(f"user{place}", "w") for place in range(8)]
    if kind != "closes at the end":
        trial.report(2, loss=0.25)
"""


def test_nothing_but_the_trial_s_own_reports_is_taken_for_them(here: Path) -> None:
    (here / "my_loop.py").write_text(SPOOFING)
    kinds = re.findall(r'kind == "(\w+)"', SPOOFING)
    kinds += ["none", "closes", "closes at the end"]
    (here / "odd.yaml").write_text(
        loop_spec(search={"kind": kinds}, objective={"metric": "loss", "goal": "min"}, verify=False)
    )
    said = lrsearch("grid", "odd.yaml", "--allow-import", "my_loop", "--workers", "2")
    assert said.code == 0, said
    found = results(here, "odd")
    closed = "exit code 1: RuntimeError: the descriptor that trial.report writes to is closed"
    for kind in kinds:
        result = found[kind]
        if kind in ("closes", "closes at the end", "reopens"):
            assert result.outcome == "failed" and result.reason.startswith(closed), result.reason
            assert "os.closerange" in result.reason
        else:
            assert (result.outcome, result.reason) == ("completed", ""), (kind, result.reason)
            assert result.steps == 2 and result.last == {"loss": 0.25}, kind
            assert result.best["loss:min"] == 0.25
    assert not (here / "reached").exists(), "a grandchild has a descriptor of lrsearch's"
    assert all(not file.read_bytes() for file in here.glob("user*")), "a report in a user's file"


STUCK = """\
import os, sys, time
open("pids", "w").write(f"{os.getpid()} {os.getppid()}")
print('{"loss": 2.0}')
sys.stdout.flush()
while not os.path.exists("go"):
    time.sleep(0.05)
"""


@pytest.fixture
def stuck(here: Path) -> Iterator[tuple[subprocess.Popen[bytes], int, int]]:
    """A search whose one command waits for a file `go`, the command's process and its keeper's,
    which is stopped."""
    write(here, STUCK, {"search": {"kind": ["a"]}, "verify": False})
    driver = start("grid", "odd.yaml", "--allow-command", "--workers", "1")
    pids = here / "pids"
    end = time.monotonic() + 30
    while not (pids.exists() and len(pids.read_text().split()) == 2):
        assert time.monotonic() < end
        time.sleep(0.05)
    command, keeper = map(int, pids.read_text().split())
    os.kill(keeper, signal.SIGSTOP)
    yield driver, command, keeper
    driver.kill()
    driver.communicate()


def test_a_stopped_keeper_blocks_no_search(
    here: Path, stuck: tuple[subprocess.Popen[bytes], int, int]
) -> None:
    driver, command, keeper = stuck
    (here / "go").touch()
    _, said = driver.communicate(timeout=30)
    assert driver.returncode == 0, said
    assert results(here, "odd")["a"].outcome == "completed"
    assert gone(command, 10.0) and gone(keeper, 10.0)


@pytest.mark.skipif(sys.platform != "linux", reason="needs a signal at the parent's end")
def test_a_stopped_keeper_ends_with_its_driver(
    stuck: tuple[subprocess.Popen[bytes], int, int],
) -> None:
    driver, command, keeper = stuck
    driver.kill()
    assert gone(command, 10.0) and gone(keeper, 10.0)


def test_a_keeper_that_is_stopped_again_and_again_is_killed(here: Path) -> None:
    script = (
        "import os, signal, time\n"
        "open('pid', 'w').write(f'{os.getpid()} {os.getppid()}')\n"
        "while True:\n"
        "    os.kill(os.getppid(), signal.SIGSTOP)\n"
        "    time.sleep(0.001)\n"
    )
    write(here, script, {"search": {"kind": ["a"]}, "timeout": "2s", "verify": False})
    begun = time.monotonic()
    said = lrsearch("grid", "odd.yaml", "--allow-command", "--workers", "1")
    assert said.code == 1 and time.monotonic() - begun < 60
    assert results(here, "odd")["a"].reason == "it was not done after its timeout of 2 seconds"
    command, keeper = map(int, (here / "pid").read_text().split())
    assert gone(command, 5.0) and gone(keeper, 5.0)


def test_a_keeper_deletes_its_folder_and_nothing_that_a_link_names(tmp_path: Path) -> None:
    scratch, kept = tmp_path / "scratch", tmp_path / "kept"
    for folder in (scratch / "own" / "deep", kept):
        folder.mkdir(parents=True)
        (folder / "file").write_text("")
    (scratch / "folder").symlink_to(kept)
    (scratch / "file").symlink_to(kept / "file")
    (scratch / "nowhere").symlink_to(tmp_path / "none")
    for _ in range(2):  # The worker may have been there before.
        keeper._delete(str(scratch))
        assert not scratch.exists() and (kept / "file").exists()


@given(st.lists(st.binary(max_size=80) | st.just(b'["changed", "x"]\n'), max_size=4))
def test_garbage_in_the_channel_is_no_message_and_hides_none(garbage: list[bytes]) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        channel = Channel(scratch)
        assert list(Path(scratch).iterdir()) == [], "it has no name"
        own = loop_process.Channel(os.dup(channel.writing), channel.token)
        for place, each in enumerate(garbage):
            os.write(channel.writing, each)
            own.write(json.dumps({"step": place, "loss": 1.0}))
        os.write(channel.writing, b'["raised", "x"]')
        own.write(json.dumps(["raised", "ValueError: no"]))
        found: list[object] = []
        stream = Lines(lambda line, _: found.append(channel.parse(line, "loss")))
        stream.feed(channel.file.read())
        stream.finish()
        said = [each for each in found if each is not None]
        reports = [{"step": place, "loss": 1.0} for place in range(len(garbage))]
        assert said == [*reports, Notice("ValueError: no")]
        for descriptor in (channel.writing, own._descriptor):
            os.close(descriptor)
        channel.file.close()
