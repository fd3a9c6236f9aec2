"""`report` and `list` without an option, which need no parser of the command line."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import lrsearch
from lrsearch.cli import plain_command
from lrsearch.cli.places import find_runs

ROOT = Path(lrsearch.__file__).parent
OLDER = Path(__file__).parents[1] / "tuner" / "older"

LOADED = """
import atexit, os, sys
def tell(code):
    sys.stdout.flush()
    names = sorted(name for name in sys.modules if not name.startswith("_"))
    print("\\n".join(names), file=sys.stderr, flush=True)
    leave(code)
leave, os._exit = os._exit, tell
from lrsearch.__main__ import main
main()
"""


@pytest.fixture
def runs(tmp_path):
    for name in ("one", "two"):
        shutil.copytree(OLDER, tmp_path / "runs" / name)
        os.utime(tmp_path / "runs" / name / "journal.jsonl", (1.7e9, 1.7e9 + len(name)))
    return tmp_path


def lrsearch_at(folder, *words, start=("-m", "lrsearch"), **more):
    environment = {"PATH": "", "HOME": str(folder), "PYTHONPATH": str(ROOT.parent), **more}
    return subprocess.run(
        [sys.executable, *start, *words],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        env=environment,
    )


@pytest.mark.parametrize(
    "words",
    [
        ["report"],
        ["report", "one"],
        ["report", "runs/two"],
        ["report", "nowhere"],
        ["report", "none.yaml"],
        ["report", "html"],
        ["report", "csv"],
        ["report", "a" * 300],
        ["report", ""],
        ["list"],
    ],
    ids=lambda words: " ".join(words)[:20],
)
def test_a_plain_command_says_what_the_parsed_one_does(runs, words):
    plain = lrsearch_at(runs, *words)
    # The same with an option that changes nothing.
    parsed = lrsearch_at(runs, *words, "--runs", "runs")
    assert not plain_command([*words, "--runs", "runs"])
    assert (plain.returncode, plain.stdout, plain.stderr) == (
        parsed.returncode,
        parsed.stdout,
        parsed.stderr,
    )
    assert plain.returncode == (0 if words[-1] in ("report", "one", "runs/two", "list") else 2)


def test_the_folder_of_the_environment_is_looked_in(runs):
    shutil.move(runs / "runs", runs / "others")
    found = lrsearch_at(runs, "report", "one", LRSEARCH_RUNS="others")
    assert found.returncode == 0 and found.stdout.startswith("older: accuracy")
    assert lrsearch_at(runs, "list", LRSEARCH_RUNS="others").stdout.count("grid") == 2
    assert "no runs in" in lrsearch_at(runs, "list", LRSEARCH_RUNS="").stdout


def test_a_tilde_in_quotes_is_the_home_where_no_folder_has_that_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert find_runs("~/runs") == tmp_path / "home" / "runs"
    (tmp_path / "~" / "runs").mkdir(parents=True)
    assert find_runs("~/runs") == Path("~/runs")


@pytest.mark.parametrize(
    "words", [["report", "--json"], ["reports"], ["-h"], [], ["report", "a", "b"], ["report", "a"]]
)
def test_any_other_command_line_is_parsed(words):
    assert plain_command(words) is None


def test_a_report_loads_what_it_shows_and_no_more(runs):
    done = lrsearch_at(runs, "report", "one", start=("-c", LOADED))
    assert done.returncode == 0, done.stderr
    loaded = set(done.stderr.split())
    assert {"lrsearch.reports.tables", "lrsearch.store"} <= loaded
    parsing = {"typer", "click", "pydantic", "yaml", "http", "email", "asyncio", "torch", "scipy"}
    assert not loaded & parsing
    rooms = ("executors", "train", "search", "outside", "data", "cli.searching", "cli.serving")
    unneeded = [f"lrsearch.{name}" for name in (*rooms, "tuner.dispatch", "reports.machine")]
    assert not [name for name in loaded if name.startswith(tuple(unneeded))]


def test_a_read_only_run_is_shown(runs):
    folder = runs / "runs" / "one"
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    for path in (*folder.rglob("*"), folder):
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        assert lrsearch_at(runs, "report", "one").returncode == 0
        assert json.loads(lrsearch_at(runs, "report", "one", "--json").stdout)["format"] == 1
    finally:
        for path in (folder, *folder.rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)
    after = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert after == before
