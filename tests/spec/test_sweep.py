"""Sweeps of Weights & Biases as specs, which `lrsearch check` finds sound."""

from pathlib import Path

import optuna
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
  weight-decay: {values: [0.0, 0.1]}
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
    assert "comments in it: parameters.optimizer, " in done.stdout
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
        "--layers={layers} --dropout={dropout} --epochs={epochs} --weight-decay={weight_decay}"
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


@pytest.fixture(params=["study.db", "study.journal"])
def storage(request, folder):
    from optuna.storages.journal import JournalFileBackend, JournalStorage

    held = f"sqlite:///{request.param}"
    if request.param.endswith("journal"):
        held = JournalStorage(JournalFileBackend(request.param))
    study = optuna.create_study(storage=held, study_name="mine", direction="maximize")

    def objective(trial):
        if trial.suggest_categorical("optimizer", ["sgd", "adam"]) == "sgd":
            trial.suggest_float("momentum", 0.0, 0.99)
        trial.suggest_int("width", 8, 64, step=8)
        trial.suggest_int("layers", 1, 4)
        return trial.suggest_float("lr", 1e-5, 1e-1, log=True)

    for kind in ("sgd", "adam"):
        study.enqueue_trial({"optimizer": kind})
    study.optimize(objective, n_trials=2)
    return request.param


def test_a_study_becomes_a_sound_spec(storage):
    done = call("init", "new.yaml", "--from-optuna", storage, "mine")
    assert "lrsearch bayes new.yaml --allow-import my_loop" in done.stdout
    Path("my_loop.py").write_text("def train(trial): pass")
    call("check", "new.yaml", "--allow-import", "my_loop")
    spec = read_spec(Path("new.yaml"))
    dimensions = dict(spec.space.dimensions)
    assert dimensions["lr"] == Float(1e-5, 0.1, log=True) and dimensions["layers"] == Int(1, 4)
    assert [each.value for each in dimensions["width"].options] == list(range(8, 65, 8))
    assert [each.value for each in dimensions["optimizer"].options] == ["sgd", "adam"]
    assert (spec.metric, spec.outside.goal) == ("value", "max")
    text = Path("new.yaml").read_text()
    assert "momentum" not in dimensions and "#   momentum (not part of every trial)" in text


def test_slips_in_a_study(storage):
    def refused(*arguments):
        return call("init", "new.yaml", "--from-optuna", *arguments, code=2).stderr

    assert "it has no study 'mien'\n  did you mean 'mine'?" in refused(storage, "mien")
    assert "cannot read none.db" in refused("none.db", "mine")
    assert "it is no storage of Optuna's" in refused("sweep.yaml", "mine")
    assert "cannot read none.db" in refused("sqlite:///none.db", "mine")
    assert not Path("none.db").exists() and not Path("new.yaml").exists()


def test_a_spec_that_is_there_stays(folder):
    Path("new.yaml").write_text("mine")
    call("init", "new.yaml", "--from-wandb", "sweep.yaml", code=2)
    assert Path("new.yaml").read_text() == "mine"
