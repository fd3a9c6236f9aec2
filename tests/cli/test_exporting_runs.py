"""`lrsearch export --format`: places, options, and what is not installed."""

import csv
import io
import json
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from test_rooms import run_light
from typer.testing import CliRunner

from lrsearch.cli import app
from lrsearch.reports.exporting.formats import FORMATS

OLDER = Path(__file__).parents[1] / "tuner" / "older"


def call(*arguments, code=0):
    done = CliRunner().invoke(app, list(map(str, arguments)), env={"COLUMNS": "100"})
    assert done.exit_code == code, done.output
    return done


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(OLDER, tmp_path / "runs" / "older")
    return "older"


def report(run):
    return json.loads(call("report", run, "--json").stdout)


def test_csv_has_the_trials_of_the_report(run):
    rows = list(csv.DictReader(io.StringIO(call("export", run, "--format", "csv").stdout)))
    trials = report(run)["trials"]
    assert len(rows) == len(trials) > 3
    for row, trial in zip(rows, trials, strict=True):
        assert (int(row["trial"]), row["outcome"]) == (trial["number"], trial["outcome"])
        assert float(row["params.lr"]) == trial["params"]["lr"]
        assert row["objective"] == ("" if trial["objective"] is None else str(trial["objective"]))


def test_a_study_has_the_best_of_the_report(run):
    import optuna

    done = call("export", run, "--format", "optuna", "-o", "a.db", "--name", "mine")
    assert done.stderr.endswith("; look at it with: optuna-dashboard sqlite:///a.db\n")
    study = optuna.load_study(study_name="mine", storage="sqlite:///a.db")
    best = report(run)["best"]
    assert study.best_value == best["objective"]
    assert study.best_trial.user_attrs["point"] == best["point"]
    assert study.best_params["lr"] == best["params"]["lr"]


def test_a_file_that_is_there_stays(run):
    Path("a.csv").write_text("mine")
    done = call("export", run, "--format", "csv", "-o", "a.csv", code=2)
    assert "a.csv exists already\n  --force overwrites it" in done.stderr
    assert Path("a.csv").read_text() == "mine"
    call("export", run, "--format", "csv", "-o", "a.csv", "--force")
    assert Path("a.csv").read_text().startswith("trial,point,")
    assert sorted(path.name for path in Path().iterdir()) == ["a.csv", "runs"]


def test_a_folder_with_anything_in_it_stays(run):
    pytest.importorskip("tensorboard")
    Path("logs").mkdir()
    call("export", run, "--format", "tensorboard", "-o", "logs")
    assert len(list(Path("logs").iterdir())) > 3
    done = call("export", run, "--format", "tensorboard", "-o", "logs", "--force", code=2)
    assert "logs exists already\n  name a folder that does not" in done.stderr


def test_a_name_that_means_something_in_an_address_is_a_name(run):
    import optuna

    Path("p?q%41").mkdir()
    for name in ("a?b=1.db", "c%41d.db", "p?q%41/é x.db", f"{'x' * 240}.db"):
        done = call("export", run, "--format", "optuna", "-o", name)
        assert Path(name).stat().st_size > 10_000
    shutil.copyfile("a?b=1.db", "plain.db")
    assert len(optuna.load_study(study_name="older", storage="sqlite:///plain.db").trials) == 6
    done = call("export", run, "--format", "optuna", "-o", "a?b=1.db", "--force")
    assert done.stderr.endswith(" optuna-dashboard sqlite:///a%3Fb=1.db\n")
    assert not list(Path().rglob(".*"))


@pytest.mark.parametrize("name", ["csv", "optuna"])
def test_a_place_that_takes_no_file_is_told_without_a_traceback(run, name):
    if not Path("/proc/self").exists():
        pytest.skip("there is no folder that takes no file of the superuser's")
    place = f"/proc/a.{'db' if name == 'optuna' else name}"
    done = call("export", run, "--format", name, "-o", place, code=2)
    assert f"cannot write {place}: No such file or directory" in done.stderr


def test_a_file_that_cannot_grow_is_told_without_a_traceback(run):
    # SQLite's error comes inside of one of the library's.
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, before[1]))
    try:
        done = call("export", run, "--format", "optuna", "-o", "a.db", code=2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "cannot write a.db: disk I/O error" in done.stderr
    assert [path.name for path in Path().iterdir()] == ["runs"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--format", "optunna"], "there is no format optunna\n  did you mean 'optuna'?"),
        (["--format", "optuna"], "--format optuna --output older.db"),
        (["--format", "optuna", "--table", "trials"], "leave --table out"),
        (["--format", "csv", "--table", "steps"], "there is no table 'steps'"),
        (["--format", "csv", "--name", "x"], "leave --name out"),
        (["--format", "csv", "--best"], "leave --point, --best and --verify out"),
        (["--format", "csv", "-o", "none/a.csv"], "there is no folder none"),
        (["--format", "csv", "-o", "runs"], "runs is a folder: a file is written"),
        (["--table", "trials"], "add --format csv"),
    ],
)
def test_slips(run, arguments, words):
    assert words in call("export", run, *arguments, code=2).stderr


@pytest.mark.parametrize("name", [name for name in FORMATS if FORMATS[name].needs])
def test_what_is_not_installed_is_refused_by_the_line_that_installs_it(run, name, monkeypatch):
    module = FORMATS[name].needs[0]
    find = "lrsearch.cli.exporting.importlib.util.find_spec"
    monkeypatch.setattr(find, lambda each: None if each == module else True)
    done = call("export", run, "--format", name, "-o", "there", code=2)
    assert f"{module}, which is not installed\n  pip install " in done.stderr
    assert FORMATS[name].install in done.stderr and not Path("there").exists()


def test_a_library_that_cannot_be_loaded_is_no_traceback(run, tmp_path):
    (tmp_path / "pyarrow.py").write_text("raise ImportError('numpy is too new')")
    line = ["-m", "lrsearch", "export", run, "--format", "parquet", "-o", "a.parquet"]
    done = subprocess.run(
        [sys.executable, *line],
        capture_output=True,
        text=True,
        timeout=60,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
    )
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "cannot be imported: numpy is too new" in done.stderr


def test_a_table_needs_no_heavy_library(run, tmp_path):
    arguments = ("export", run, "--format", "csv", "-o", "a.csv")
    _, code, modules = run_light(tmp_path, *arguments)
    assert code == 0
    assert not {"torch", "optuna", "sklearn", "scipy", "pyarrow"} & set(modules)
