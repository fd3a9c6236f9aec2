"""Sweeps of Weights & Biases as specs, which `lrsearch check` finds sound."""

from pathlib import Path

import optuna
import pytest
from test_exporting_runs import call

from lrsearch.space import Choice, Float, Int
from lrsearch.spec import read_spec
from lrsearch.spec.document import read_document
from lrsearch.spec.foreign.sweep import read_sweep, write_study
from lrsearch.spec.foreign.sweep_checks import find_sweep_faults
from lrsearch.spec.outside import RESERVED

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
    Path("one.yaml").write_text("program: train.py\nmethod: random\nparameters: {a: {value: 1}}\n")
    fixed = call("init", "fixed.yaml", "--from-wandb", "one.yaml")
    assert "lrsearch grid fixed.yaml --allow-command" in fixed.stdout, (
        "random has nothing to search"
    )
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
    left = [line.split(":")[0] for line in comments if line.startswith("#   ") and line[4] != " "]
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
        ("", [], "it is no sweep of Weights & Biases: it is empty"),
        (SWEEP, ["--from", "mlp"], "exclude each other"),
    ],
)
def test_slips(folder, text, arguments, words):
    Path("sweep.yaml").write_text(text)
    done = call("init", "new.yaml", "--from-wandb", "sweep.yaml", *arguments, code=2)
    assert words in done.stderr and not Path("new.yaml").exists()


LR = "{distribution: log_uniform_values, min: 1e-5, max: 1e-1}"


def faults_of(text):
    return [
        (fault.line, fault.key, fault.message, fault.hint)
        for fault in find_sweep_faults(read_document(text, "sweep.yaml"))
    ]


def of_parameter(text):
    """The spec's range or list of a sweep's parameter."""
    sweep = f"program: a.py\nmethod: random\nparameters: {{p: {text}}}"
    assert faults_of(sweep) == []
    found, _ = read_sweep(read_document(sweep, "sweep.yaml").data, "sweep.yaml")
    return read_document(found, "").data["search"]["p"]


@pytest.mark.parametrize(
    ("old", "new", "line", "key", "message", "write"),
    [
        ("log_uniform_values", "log_uniform_value", 7, "parameters.learning_rate.distribution",
         "'log_uniform_value' is no distribution", "write distribution: log_uniform_values"),
        ("distribution: uniform", "distribution: unifrom", 10, "parameters.dropout.distribution",
         "'unifrom' is no distribution", "write distribution: uniform"),
        ("method:", "metod:", 2, "metod", "unknown key 'metod'", "write method: random"),
        ("parameters:\n", "paramters:\n", 6, "paramters", "unknown key 'paramters'",
         "write parameters:"),
        ("method: random", "method: hyperband", 2, "method", "'hyperband' is no method",
         "write prune: {name: hyperband, budget: 90}"),
        ("method: random\n", "", 1, "", "'method' is missing", "write method: bayes"),
        ("program: train.py\n", "", 1, "", "'program' is missing", "write program: train.py"),
        ("goal: minimize", "goal: maximise", 3, "metric.goal", "'maximise' is no goal",
         "write goal: maximize"),
        ("name: val_loss", "nam: val_loss", 3, "metric.nam", "unknown key 'nam'",
         "write metric: {name: val_loss, goal: minimize}"),
        ("{name: val_loss, goal: minimize}", "val_loss", 3, "metric", "'val_loss' is no mapping",
         "write metric: {name: val_loss, goal: minimize}"),
        ("run_cap: 12", "run_cap: many", 4, "run_cap", "'many' is no number of runs",
         "write run_cap: 40"),
        ("type: hyperband", "type: hyperbnd", 5, "early_terminate.type",
         "'hyperbnd' is no rule", "write type: hyperband"),
        ("min_iter", "min_itr", 5, "early_terminate.min_itr", "unknown key 'min_itr'",
         "write early_terminate: {type: hyperband, min_iter: 3}"),
        ("values: [16, 32, 64]", "vales: [16, 32]", 8, "parameters.batch_size.vales",
         "unknown key 'vales'", "write batch_size: {values: [16, 32]}"),
        ("values: [16, 32, 64]", "values: 16", 8, "parameters.batch_size.values",
         "16 is no list of values", "write batch_size: {values: [16]}"),
        ("values: [16, 32, 64]", "values: []", 8, "parameters.batch_size.values",
         "an empty list leaves nothing to choose from", "write batch_size: {values: "),
        ("{values: [16, 32, 64]}", "[16, 32]", 8, "parameters.batch_size",
         "[16, 32] is no mapping", "write batch_size: {values: [16, 32]}"),
        ("{value: 5}", "5", 11, "parameters.epochs", "5 is one value", "write epochs: {value: 5}"),
        ("min: 1, max: 4", "min: 4, max: 1", 9, "parameters.layers.min", "min 4 is above max 1",
         "write layers: {min: 1, max: 4}"),
        ("min: 1, max: 4", "min: 4, max: 4", 9, "parameters.layers", "both 4",
         "write layers: {value: 4}"),
        ("min: 1, max: 4", "min: 1", 9, "parameters.layers", "'max' is missing",
         "write layers: {min: 1, max: 10}"),
        ("min: 1e-5, max", "min: 0, max", 7, "parameters.learning_rate.min",
         "min 0 has no place on a log scale", "write learning_rate: {distribution: "),
        ("log_uniform_values", "log_uniform", 7, "parameters.learning_rate.distribution",
         "exponents: these are values from 1.00001 to 1.10517",
         f"write learning_rate: {LR.replace('1e-1', '0.1')} for these bounds"),
        ("{values: [sgd, adam]}", "{value: [sgd]}, b: {distribution: unifrom}", 13,
         "parameters.optimizer.parameters.b.distribution", "'unifrom' is no distribution",
         "write distribution: "),
    ],
)  # fmt: skip
def test_a_slip_is_told_with_its_place_and_the_line_to_write(old, new, line, key, message, write):
    assert SWEEP.count(old) == 1 and faults_of(SWEEP) == []
    ((*place, told, hint),) = faults_of(SWEEP.replace(old, new))
    assert place == [line, key] and message in told
    # What is to be written is a line of YAML, and mends it.
    assert write in hint and " write " in f" {hint}"


def test_all_slips_are_told_at_once_and_nothing_is_written(folder):
    Path("sweep.yaml").write_text(SWEEP.replace("method", "metod").replace("uniform,", "unifrom,"))
    done = call("init", "new.yaml", "--from-wandb", "sweep.yaml", code=2)
    assert "sweep.yaml:2: metod" in done.stderr and "sweep.yaml:10: parameters." in done.stderr
    assert not Path("new.yaml").exists()


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ("{distribution: log_uniform, min: -5, max: -1}",
         {"min": 0.00673795, "max": 0.367879, "scale": "log"}),
        ("{distribution: inv_log_uniform, min: 1, max: 5}",  # log(1 / x) is what is even.
         {"min": 0.00673795, "max": 0.367879, "scale": "log"}),
        ("{distribution: inv_log_uniform_values, min: 0.01, max: 0.1}",
         {"min": 0.01, "max": 0.1, "scale": "log"}),
        ("{distribution: uniform, min: 0, max: 1}", {"min": 0.0, "max": 1.0, "scale": "linear"}),
        ("{distribution: q_uniform, min: 0, max: 1, q: 0.5}", [0.0, 0.5, 1.0]),
        ("{distribution: normal}", {"min": -2.0, "max": 2.0}),
        ("{distribution: normal, mu: 0, sigma: 1}", {"min": -2.0, "max": 2.0}),
        ("{distribution: q_normal, mu: 10, sigma: 3}", {"min": 4, "max": 16}),
        ("{distribution: q_normal, mu: 10, sigma: 3, q: 0.5}", {"min": 4.0, "max": 16.0}),
        ("{distribution: q_log_uniform_values, min: 16, max: 512, q: 16}",
         {"min": 16, "max": 512, "scale": "log"}),
        ("{distribution: q_log_uniform, min: -2, max: 3.5}",
         {"min": 1, "max": 33, "scale": "log"}),
        ("{distribution: q_log_uniform_values, min: 0.1, max: 0.9, q: 0.2}",
         {"min": 0.1, "max": 0.9, "scale": "log"}),
        ("{min: 1, max: 4}", {"min": 1, "max": 4}),
    ],
)  # fmt: skip
def test_a_distribution_is_the_range_that_it_draws_from(given, found):
    read = of_parameter(given)
    # A whole number is another thing to a search than a broken one.
    assert read == found and [*map(type, read)] == [*map(type, found)]
    if isinstance(found, dict):
        assert type(read["min"]) is type(found["min"])


def test_a_grid_has_an_end():
    grid = SWEEP.replace("random", "grid").replace(LR, "{values: [1]}")
    ((line, key, message, hint),) = faults_of(grid)
    assert (line, key, message) == (10, "parameters.dropout", "a grid of uniform has no end")
    assert hint.startswith("write dropout: {values: [0.0, 0.5]}")
    whole = "program: a.py\nmethod: grid\nparameters: {p: {min: 1, max: 3}}"
    found, _ = read_sweep(read_document(whole, "").data, "")
    assert read_document(found, "").data["search"]["p"] == [1, 2, 3]


def test_what_is_lost_is_told_with_what_to_write():
    text = SWEEP.replace("goal: minimize", "goal: minimize, target: 0.1")
    text = text.replace("[16, 32, 64]", "[16, 32], probabilities: [0.1, 0.9]")
    _, left = read_sweep(read_document(text, "").data, "sweep.yaml")
    remarks = {each.name: each.remark for each in left}
    assert "--until 'val_loss<=0.1'" in remarks["metric.target"]
    assert "parameters.batch_size.probabilities" in remarks
    assert "prune: {name: hyperband, budget: 90}" in remarks["early_terminate"]
    assert "optimizer_name: [sgd, adam]" in remarks["parameters.optimizer"]


@pytest.mark.parametrize("name", [*RESERVED, "Seed", "RUN"])
@pytest.mark.parametrize("values", ["{values: [1, 2, 3]}", "{value: 7}", "{min: 0, max: 900}"])
def test_a_parameter_by_a_name_of_our_own(folder, name, values):
    text = f"program: train.py\nmethod: random\nparameters: {{p: {{values: [1, 2]}}, {name}: "
    Path("sweep.yaml").write_text(f"{text}{values}}}\n")
    call("init", "new.yaml", "--from-wandb", "sweep.yaml")
    call("check", "new.yaml")
    spec = read_spec(Path("new.yaml"))
    inner = "seed" if name.lower() == "seed" else f"{name}_"
    assert f"--{name}={{{inner}}}" in spec.outside.text
    if inner == "seed":
        seeds = {"{values: [1, 2, 3]}": (3, 1), "{value: 7}": (1, 7)}.get(values, (1, 1))
        assert (spec.seeds, spec.seed) == seeds


@pytest.mark.parametrize(
    "parameters",
    [
        "{a: {values: [1, 1.0, true, 1, null, null]}}",
        "{a: {values: ['{x} / 10', '{', '}}']}, b: {value: '{x} / 10'}}",
        "{a: {distribution: q_uniform, min: 0, max: 1000000, q: 1}}",
        "{Lr: {values: [1, 2]}, lr: {values: [1, 2]}, LR: {value: 3}}",
        "{a-b: {values: [1, 2]}, a_b: {values: [1, 2]}}",
        "{seed: {values: [1, 2]}, Seed: {values: [3, 4]}}",
        "{a: {distribution: q_log_normal, mu: 0, sigma: 0.01}}",
    ],
)
def test_whatever_a_sweep_has_its_spec_is_sound(folder, parameters):
    Path("sweep.yaml").write_text(f"program: train.py\nmethod: random\nparameters: {parameters}\n")
    call("init", "new.yaml", "--from-wandb", "sweep.yaml")
    call("check", "new.yaml")
    command = read_spec(Path("new.yaml")).outside.text
    given = read_document(f"p: {parameters}", "").data["p"]
    assert [word.split("=")[0] for word in command.split()[2:]] == [f"--{key}" for key in given]


def test_seeds_of_a_study_are_ours(folder):
    drawn = {
        "x": {"min": 0.0, "max": 1.0, "scale": "linear"},
        "seed": {"min": 0, "max": 4, "scale": "linear"},
        "trial": [1, 2],
    }
    text, left = write_study(drawn, drawn.keys(), ("", "min"), 3, "study.db mine")
    Path("new.yaml").write_text(text)
    Path("my_loop.py").write_text("def train(trial): pass")
    call("check", "new.yaml")
    spec = read_document(text, "").data
    assert spec["seeds"] == 5 and spec["search"]["trial_"] == [1, 2]
    assert left[0].remark.startswith("here it is trial.seed; ")


def test_what_a_command_is_given_otherwise_is_told():
    text = SWEEP.replace("{value: 5}", "{value: true}").replace(
        "{parameters: {name:", "{parameters: {a: {parameters: {b: {value: 3}}}, name:"
    )
    _, left = read_sweep(read_document(text, "").data, "")
    remarks = {each.name: each.remark for each in left}
    assert "where W&B writes True" in remarks["parameters.epochs"]
    inner = "optimizer_a_b: [3], optimizer_name: [sgd, adam]"
    assert inner in remarks["parameters.optimizer"]


def test_macros_that_are_none():
    sweep = SWEEP + 'command: [python, "${programm}", "--c={a}", "${args}"]\n'
    ((line, key, message, hint),) = faults_of(sweep)
    assert (line, key) == (15, "command.1") and "'${programm}' is no macro" in message
    assert "write '${program}'" in hint
    found, _ = read_sweep(read_document(sweep.replace("programm", "program"), "").data, "")
    assert " '--c={{a}}' " in read_document(found, "").data["command"]  # No parameter's name.


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


def test_parameters_of_a_study_as_a_spec_has_them():
    drawn = {
        "mixed": [1, 1.0, True, "a", None],
        "one": {"min": 3, "max": 3, "scale": "linear"},
        "optimizer.lr": {"min": 0.1, "max": 0.2, "scale": "linear"},
    }
    text, left = write_study(drawn, drawn.keys(), ("", "min"), 3, "study.db mine")
    spec = read_document(text, "").data
    assert spec["search"]["mixed"] == [1, True, "a", None] and spec["params"] == {"one": 3}
    assert [*map(type, spec["search"]["mixed"])] == [int, bool, str, type(None)]
    assert spec["search"]["optimizer_lr"] == drawn["optimizer.lr"]
    assert [(each.name, each.remark) for each in left] == [
        ("optimizer.lr", "here it is optimizer_lr: params[optimizer_lr]")
    ]


def test_slips_in_a_study(storage):
    def refused(*arguments):
        return call("init", "new.yaml", "--from-optuna", *arguments, code=2).stderr

    assert "it has no study 'mien'\n  did you mean 'mine'?" in refused(storage, "mien")
    assert "cannot read none.db" in refused("none.db", "mine")
    assert "it is no storage of Optuna's" in refused("sweep.yaml", "mine")
    assert "cannot read none.db" in refused("sqlite:///none.db", "mine")
    assert f"did you mean '{storage}'?" in refused(storage.replace("study", "stduy"), "mine")
    optuna.create_study(storage="sqlite:///other.db", study_name="empty")
    said = refused("other.db", "empty")
    assert "'empty' has no trial with parameters yet" in said and "init new.yaml --from" in said
    optuna.delete_study(storage="sqlite:///other.db", study_name="empty")
    assert "there is no study in it" in refused("other.db", "mine")
    done = call("init", "new.yaml", "--from-optuna", storage, code=2)
    assert "--from-optuna needs STORAGE STUDY" in done.stderr
    assert not Path("none.db").exists() and not Path("new.yaml").exists()


def test_a_spec_that_is_there_stays(folder):
    Path("new.yaml").write_text("mine")
    call("init", "new.yaml", "--from-wandb", "sweep.yaml", code=2)
    assert Path("new.yaml").read_text() == "mine"
