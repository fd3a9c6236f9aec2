"""Sweeps of Weights & Biases as specs, which `lrsearch check` finds sound."""

from pathlib import Path

import pytest
from test_exporting_runs import call

from lrsearch.space import Choice, Float, Int
from lrsearch.spec import read_spec

SWEEP = """\
program: train.py
method: random
metric: {name: val_loss, goal: minimize}
run_cap: 12
early_terminate: {type: hyperband, min_iter: 3}
parameters:
  learning_rate: {distribution: log_uniform_values, min: 1e-5, max: 1e-1}
  batch_size: {values: [16, 32, 64]}
  layers: {min: 1, max: 4}
  dropout: {distribution: uniform, min: 0.0, max: 0.5}
  epochs: {value: 5}
  optimizer: {parameters: {name: {values: [sgd, adam]}}}
  "=evil\\e[2J": {values: [1, 2]}
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("sweep.yaml").write_text(SWEEP)
    Path("train.py").write_text("")
    return tmp_path


def test_a_sweep_becomes_a_sound_spec(folder):
    done = call("init", "new.yaml", "--from-wandb", "sweep.yaml")
    assert "lrsearch random new.yaml --allow-command" in done.stdout
    call("check", "new.yaml")
    spec = read_spec(Path("new.yaml"))
    dimensions = dict(spec.space.dimensions)
    assert isinstance(dimensions["learning_rate"], Float) and dimensions["learning_rate"].log
    assert (dimensions["learning_rate"].low, dimensions["learning_rate"].high) == (1e-5, 0.1)
    assert [each.value for each in dimensions["batch_size"].options] == [16, 32, 64]
    assert isinstance(dimensions["batch_size"], Choice)
    assert isinstance(dimensions["layers"], Int)
    assert isinstance(dimensions["dropout"], Float) and not dimensions["dropout"].log
    assert spec.train["epochs"] == 5 and spec.random.trials == spec.bayes.trials == 12
    assert (spec.metric, spec.goal or spec.outside.goal) == ("val_loss", "min")
    assert spec.outside.text == (
        "python train.py --learning_rate={learning_rate} --batch_size={batch_size} "
        "--layers={layers} --dropout={dropout} --epochs={epochs}"
    )
    comments = [line for line in Path("new.yaml").read_text().splitlines() if line[0] == "#"]
    left = [line.split(":")[0] for line in comments if line.startswith("#   ")]
    assert left == [
        "#   parameters.optimizer",
        r"#   parameters.=evil\x1b[2J",
        "#   early_terminate",
    ]


def test_macros_of_a_command(folder):
    text = SWEEP + 'command: ["${env}", "${interpreter}", -u, "${program}", "${args_no_hyphens}"]\n'
    Path("sweep.yaml").write_text(text)
    call("init", "new.yaml", "--from-wandb", "sweep.yaml")
    assert read_spec(Path("new.yaml")).outside.text.startswith(
        "python -u train.py learning_rate={learning_rate} "
    )


@pytest.mark.parametrize(
    ("text", "arguments", "words"),
    [
        ("a: 1", [], "it is no sweep of Weights & Biases"),
        ("[1]", [], "it is no sweep of Weights & Biases"),
        (SWEEP, ["--from", "mlp"], "exclude each other"),
    ],
)
def test_slips(folder, text, arguments, words):
    Path("sweep.yaml").write_text(text)
    done = call("init", "new.yaml", "--from-wandb", "sweep.yaml", *arguments, code=2)
    assert words in done.stderr and not Path("new.yaml").exists()


def test_a_spec_that_is_there_stays(folder):
    Path("new.yaml").write_text("mine")
    call("init", "new.yaml", "--from-wandb", "sweep.yaml", code=2)
    assert Path("new.yaml").read_text() == "mine"
