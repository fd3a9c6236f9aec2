"""Streams that nobody reads, or that take no more, and files that say what was never written."""

import json
import os
import pty
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from lrsearch.cli import app
from lrsearch.store import Run, read

SPEC = """
data: iris
model: {name: mlp, hidden: [4]}
train: {budget: 60ba, batch_size: 8, evaluate: 2ba}
search: {lr: [0.01, 0.1, 1.0]}
"""
COMMAND = [sys.executable, "-m", "lrsearch"]
GRID = [*COMMAND, "grid", "small.yaml", "--executor", "inline", "--engine", "solo"]


@pytest.fixture
def here(tmp_path, monkeypatch):
    (tmp_path / "small.yaml").write_text(SPEC)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
    monkeypatch.delenv("LRSEARCH_RUNS", raising=False)
    return tmp_path


@pytest.fixture
def run(here):
    subprocess.run([*GRID, "--quiet"], check=True, capture_output=True, timeout=200)
    return here / "runs" / "small"


def results(here):
    return len(read(here / "runs" / "small").results)


full = pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")


@full
def test_progress_that_cannot_be_written_costs_no_trial(here):
    with Path("/dev/full").open("w") as stream:
        done = subprocess.run(GRID, stdout=subprocess.PIPE, stderr=stream, timeout=200)
    assert done.returncode == 0 and b"3 completed" in done.stdout
    assert results(here) == 3


def test_a_terminal_that_goes_away_costs_no_trial(here):
    ours, theirs = pty.openpty()
    started = subprocess.Popen(
        GRID, stdout=subprocess.PIPE, stderr=theirs, start_new_session=True, text=True
    )
    os.close(theirs)
    while b"trial 1" not in os.read(ours, 4096):
        pass
    os.close(ours)
    out, _ = started.communicate(timeout=200)
    assert started.returncode == 0 and "3 completed" in out
    assert results(here) == 3


@pytest.mark.parametrize("form", [[], ["--json"]])
def test_a_reader_that_leaves_changes_no_exit_code(run, form):
    for arguments, code in (
        ([*GRID, *form, "--require", "accuracy>1"], 3),
        ([*GRID, *form], 0),
        ([*COMMAND, "report", "small.yaml", *form], 0),
    ):
        reading, writing = os.pipe()
        os.close(reading)
        done = subprocess.run(arguments, stdout=writing, stderr=subprocess.PIPE, timeout=200)
        os.close(writing)
        assert done.returncode == code, done.stderr
        assert b"Traceback" not in done.stderr and b"Exception ignored" not in done.stderr


@full
@pytest.mark.parametrize(
    "arguments",
    [
        [*COMMAND, "report", "small.yaml"],
        [*COMMAND, "report", "small.yaml", "--json"],
        [*COMMAND, "list"],
        [*COMMAND, "check", "small.yaml"],
        [*COMMAND, "show", "small.yaml"],
        GRID,
    ],
    ids=lambda arguments: " ".join(arguments[3:5]),
)
def test_a_full_disk_behind_stdout_is_said(run, arguments):
    with Path("/dev/full").open("w") as stream:
        done = subprocess.run(
            arguments, stdout=stream, stderr=subprocess.PIPE, text=True, timeout=200
        )
    assert done.returncode == 1
    (told,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert told == "error: cannot write the result to stdout: No space left on device"
    assert "Traceback" not in done.stderr and "Exception ignored" not in done.stderr


def test_too_few_files_to_open_are_said(here):
    def limit():
        resource.setrlimit(resource.RLIMIT_NOFILE, (14, 14))

    done = subprocess.run(
        [*COMMAND, "grid", "small.yaml", "--workers", "2"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=limit,
        timeout=200,
    )
    assert done.returncode == 1 and "ulimit -n" in done.stderr, done.stderr
    assert "Traceback" not in done.stderr


ODD = ['{"format": 1e999}', "[" * 100_000, '{"format": [1]}', "null", '{"format": "x"}', "\0", "{}"]


@pytest.mark.parametrize("text", ODD, ids=lambda text: text[:20])
def test_an_odd_run_json_is_damage_that_repair_mends(run, text):
    (run / "run.json").write_text(text)
    for command in (["report", "small"], ["export", "small"]):
        said = CliRunner().invoke(app, command)
        assert said.exit_code == 2 and "lrsearch repair" in said.stderr, said.stderr
    said = CliRunner().invoke(app, ["list"])
    assert said.exit_code == 0 and "damaged" in said.stdout
    said = CliRunner().invoke(app, ["repair", "small"])
    assert said.exit_code == 0 and "run.json was damaged or missing" in said.stdout
    assert CliRunner().invoke(app, ["report", "small"]).exit_code == 0


BODIES = [
    {"spec": {}, "strategy": "grid", "facts": {}},
    {"spec": None, "strategy": 3, "facts": []},
    {"spec": {"source": 1, "document": [], "folder": {}}, "strategy": "grid", "facts": 0},
    {"strategy": "grid"},
]


@pytest.mark.parametrize("body", BODIES, ids=repr)
def test_a_sound_line_that_says_nonsense_is_named(run, body):
    with Run.open(run.parent, "small", spec_text=None) as opened:
        opened.append("opened", body)
    for command in (["report", "small"], ["export", "small"]):
        said = CliRunner().invoke(app, command)
        assert said.exit_code == 2, said.output
        assert said.stderr.startswith("error: ") and not isinstance(said.exception, TypeError)
    assert "unreadable" in CliRunner().invoke(app, ["list"]).stdout


@pytest.mark.parametrize(
    "text", ["[]", '{"/a": 3}', '{"/a": [1]}', '{"/a": null}', "[" * 100_000, "{", "\udcff"]
)
def test_an_odd_file_of_consents_is_named(here, monkeypatch, text):
    home = here / "home" / "lrsearch"
    home.mkdir(parents=True)
    (home / "allowed.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    monkeypatch.setattr("typer.get_app_dir", lambda name: str(home))
    said = CliRunner().invoke(app, ["check", "small.yaml"])
    assert said.exit_code == 2 and "allowed.json" in said.stderr, said.output
    (home / "allowed.json").write_text(json.dumps({str(here): ["nets"]}))
    assert CliRunner().invoke(app, ["check", "small.yaml"]).exit_code == 0
