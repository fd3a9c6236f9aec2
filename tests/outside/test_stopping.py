"""Early stopping of commands and loops: they wait, go on or end."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from typer.testing import CliRunner

from lrsearch.cli import app
from lrsearch.store import read
from lrsearch.trial import Outcome
from lrsearch.tuner import repeating

HEARD = '''
import json
import pathlib
import time


def is_heard(number, step):
    """Whether the search knows that a trial has come to a step."""
    for line in pathlib.Path("runs/outside/journal.jsonl").read_text().splitlines():
        known = json.loads(line)
        if known["event"] == "reached" and (known["trial"], known["step"]) == (number, step):
            return True


def wait_at(number, step):
    while number <= 8 and step in (1, 3) and not is_heard(number, step):
        time.sleep(0.01)
'''

LOOP = (
    HEARD
    + '''
import lrsearch


def train(trial):
    """Its accuracy is that of its rate, and rises."""
    try:
        for step in range(1, 10):
            trial.report(step, accuracy=trial.params["lr"] * step / 9)
            wait_at(trial.number, step)
    except lrsearch.Stopped:
        pathlib.Path(f"stopped-{trial.number}").write_text(str(step))
        raise
'''
)

COMMAND = (
    HEARD
    + """
import signal
import sys

rate, number = float(sys.argv[1]), int(sys.argv[2])


def leave(*_):
    pathlib.Path(f"stopped-{number}").write_text("SIGTERM")
    sys.exit(1)


signal.signal(signal.SIGTERM, leave)
for step in range(1, 10):
    print(json.dumps({"step": step, "accuracy": rate * step / 9}), flush=True)
    wait_at(number, step)
"""
)

SPEC = """
name: outside
{kind}
objective: {{metric: accuracy, goal: max}}
search: {{lr: [0.1, 0.9, 0.2, 0.8, 0.3, 0.7, 0.4, 0.6]}}
prune: {{name: quarter, budget: 9}}
"""

KINDS = {
    "loop": ("loop: mine.train", ("--allow-import", "mine")),
    "command": ("command: python mine.py {{lr}} {{trial}}", ("--allow-command",)),
}


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_what_is_stopped_is_told(kind, tmp_path, monkeypatch):
    """And the repetition of the best, which is none of the search's, waits for nobody."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(repeating, "CHEAP", math.inf)
    text, options = KINDS[kind]
    Path("mine.py").write_text(LOOP if kind == "loop" else COMMAND)
    Path("outside.yaml").write_text(SPEC.format(kind=text.replace("{{", "{").replace("}}", "}")))
    done = CliRunner().invoke(
        app, ["grid", "outside.yaml", "--executor", "inline", "--quiet", "--json", *options]
    )
    assert done.exit_code == 0, done.output
    history = read(tmp_path / "runs" / "outside")
    stopped = {n: r for n, r in history.results.items() if r.outcome is Outcome.PRUNED}
    assert {history.trials[n].config["params"]["lr"] for n in stopped} == {0.1, 0.2, 0.3}
    for number, result in stopped.items():
        assert result.rule == "quarter" and result.steps < 9
        assert Path(f"stopped-{number}").exists()
    assert len(list(tmp_path.glob("stopped-*"))) == 3
    assert [each.outcome.value for each in history.repeated.values()] == ["completed"]
    others = [r for n, r in history.results.items() if n not in stopped]
    assert {(r.outcome.value, r.steps) for r in others} == {("completed", 9)}
    shown = json.loads(done.stdout)
    assert [each["rule"] for each in shown["trials"]].count("quarter") == 3
    assert shown["answer"]["recommended"]["params"]["lr"] == 0.9


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_rule_has_to_know_how_long_a_whole_training_is(kind, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text, _ = KINDS[kind]
    spec = SPEC.format(kind=text.replace("{{", "{").replace("}}", "}"))
    Path("mine.py").write_text(LOOP if kind == "loop" else COMMAND)
    Path("outside.yaml").write_text(spec.replace(", budget: 9", ""))
    done = CliRunner().invoke(app, ["check", "outside.yaml"])
    assert done.exit_code == 2
    said = " ".join(done.output.split())
    assert f"of a {kind} nobody knows how long a whole training is" in said
    assert "write prune: {name: quarter, budget: 90}" in said
    Path("outside.yaml").write_text(spec.replace("budget: 9", "budget: 9ep"))
    done = CliRunner().invoke(app, ["check", "outside.yaml"])
    assert done.exit_code == 2 and "write budget: 9\n" in done.output
