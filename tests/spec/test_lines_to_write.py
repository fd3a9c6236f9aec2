"""A value that is not allowed, a key that is missing: the fault has the line to write."""

import re

import pytest

from lrsearch.errors import SpecError
from lrsearch.spec.document import parse, read_document
from lrsearch.spec.unusual import unusual_trials
from lrsearch.spec.validate import validate

BASE = """\
name: x
data: digits
model: {name: mlp, hidden: [16]}
train:
  budget: 2ep
  lr: 0.1
"""


def fault_of(text, tmp_path):
    with pytest.raises(SpecError) as error:
        validate(read_document(text, "x.yaml"), tmp_path, text)
    return error.value.faults[0]


@pytest.mark.parametrize(
    ("line", "told", "written"),
    [
        ("seeds: 0", "0 is too small", "write seeds: 1"),
        ("confirm: none", "'none' is no mapping", "leave it out"),
        ("config: base.yaml", "unknown key", "leave 'config' out: a spec stands alone"),
        ("timeout: 1h30", "'1h30' is no time", "write timeout: 90m"),
        ("  lr_max: 0.1", "unknown key", "write lr: 0.1"),
        ("  clip_norm: 0.1 ; as usual", "is not a number", "write clip_norm: 0.1"),
        ("  warmup: 1dur", "leaves nothing", "write warmup: 0.05dur; for example"),
        ("  schedule: {name: plateau, metric: rmse}", "no metric of classification",
         "write metric: accuracy"),
        ("  loss: {name: cross_entropy, label_smoothing: 0.2}", "has no argument",
         "write loss: cross_entropy\n  write label_smoothing: 0.2 under train"),
        ("search: {lr: [0.1, 0.1, 0.01]}", "0.1 is listed twice", "write lr: [0.1, 0.01]"),
        ("search: {clip_norm: [1, 1, null]}", "1.0 is listed twice", "leave one of both out"),
        ("search: {lr: [1e-4, ..., 0.1]}", "is no range", "write lr: {min: 1e-4, max: 0.1}"),
        ("search: {lr: 'uniform(log(1e-4), log(0.1))'}", "is no range",
         "write lr: {min: 1e-4, max: 1.0, points: 9}; for example"),
        ("search: {lr: {min: 0.1, max: 1, points: 0}}", "0 is too small", "write points: 9"),
        ("search: {lr: {min: 0.1, max: 1, points: x}}", "'x' is not a number", "write points: 9"),
        ("search: {optimizer.momentum: {min: 0.9, max: 1.0}}", "1.0 is too large",
         "write max: 0.99"),
        ("objective: max accuracy", "unknown metric", "write objective: accuracy"),
        ("extends: base.yaml", "unknown key", "leave 'extends' out: a spec stands alone"),
        ("seeds: three", "'three' is not a number", "write seeds: 1; for example"),
        ("seeds: 2.6", "2.6 is not a whole number", "write seeds: 3"),
        ("timeout: 1ep", "", "write timeout: 10m; for example"),
        ("description: mine", "unknown key", "leave 'description' out; allowed: "),
        ("(seeds): 3", "unknown key", "did you mean 'seeds'?"),
        ("\uff53eeds: 3", "unknown key", "did you mean 'seeds'?"),
        ("seeds: &a 3", "anchors", "write seeds: 3"),
        ("seeds: !!int 3", "tags", "write seeds: 3"),
        # A key of one block of settings in another, or its name without its block.
        ("random: {startup: 8}", "unknown key", "write bayes: {startup: 8}"),
        ("random: {startup: 8}\nbayes: {startup: 8}", "unknown key",
         "leave 'startup' out: bayes has startup: 8 already"),
        ("random: {startup: 8}\nbayes: {startup: 4}", "unknown key",
         "write startup: 8 under bayes; in place of startup: 4 there"),
        ("random: {model: gp}\nbayes: {trials: 9}", "unknown key", "write model: gp under bayes"),
        ("bayes: {batch: 4}", "unknown key", "write generation: 4"),
        ("bayes: {sampler: sobol}", "unknown key", "write start: sobol"),
        ("refine: {iterations: 2}", "unknown key", "write rounds: 2"),
        ("confirm: {trials: 3}", "unknown key", "write seeds: 3"),
        ("bayes: {seeds: 3, top: 2}", "unknown key", "write confirm: {"),
        ("random trials: 12", "unknown key", "write random: {trials: 12}"),
        ("stop-patience: 12", "unknown key", "write stop: {patience: 12}"),
        # A comma within a key, values without commas, a number of layers, a merge key.
        ("search: {lr: {min: 0.1, max: 1, po,ints: 7}}", "a comma within", "write points: 7"),
        ("search: {budget: [100ba 200ba]}", "no commas", "write budget: [100ba, 200ba]"),
        ("search: {batch_size: [32sp, 64sp]}", "is not a number", "write batch_size: [32, 64]"),
        ("confirm: {<<: {top: 2, seeds: 3}, top: 4}", "merge keys", "write seeds: 3"),
        ("  hidden_layer_sizes: (64,)", "unknown key",
         "write model: {name: mlp, hidden: [64]} at the top level; in place of model: {"),
        ("  confirm: {top: 2}", "unknown key", "write confirm: {top: 2} at the top level"),
        # A mapping that is a text, a dash that is missing, shares in two numbers.
        ("  optimizer: 'name: sgd, momentum: 0.9'", "is a text",
         "write optimizer: {name: sgd, momentum: 0.9}"),
        ("objective: {metrics: [accuracy, loss]}", "unknown key", "write metric: accuracy"),
        ("search: lr", "no mapping", "write search: {lr: {min: 1e-4, max: 1.0, points: 9}}"),
        ("search: {lr: {min 0.1, max = 1}}", "lacks ':'", "write min: 0.1"),
        ("search: {optimizer__lr: [0.1, 1]}", "unknown parameter", "write lr: [0.1, 1]"),
        ("search: {batch_size: {min: 4096, max: 9999}}", "larger than the training set",
         "write batch_size: {min: 128, max: 1024}"),
        ("  batch_size: 1,024", "not a number", "write batch_size: 1024"),
        ("  batch_size: 2 048", "not a number", "write batch_size: 2048"),
        ("  clip_norm: 1.0 (norm)", "not a number", "write clip_norm: 1.0"),
        ("  clip_norm: O.5", "not a number", "write clip_norm: 0.5"),
        ("  warmup: {for: 2dur}", "leaves nothing", "write for: 0.05dur; for example"),
        ("  loss: mse", "no loss of classification", "write loss: cross_entropy"),
        ("  optimizer: LAMB", "unknown optimizer", "write optimizer: sgd; for example; allowed: "),
        ("  schedule: {name: piecewise}", "'points' is missing", "write points: [[0.5dur, 0.1]"),
        ("seed: -1", "-1 is too small", "write seed: 0"),
        ("confirm: {seeds: [1, 2, 3]}", "[1, 2, 3] is no number of seeds", "write seeds: 3"),
        ("search: {model: [{mlp: [128, 64]}, logistic]}", "'name' (or 'class_path') is missing",
         "write {name: mlp, hidden: [128, 64]}"),
        ("  schedule: {multistep: [1ep]}", "'name' (or 'class_path') is missing",
         "write schedule: {name: multistep, milestones: [1ep]}"),
        ("search: {optimizer: [SGD(momentum=0.9, nesterov=True), adam]}", "divided by its commas",
         "write optimizer: [{name: sgd, momentum: 0.9, nesterov: true}, adam]"),
        ("seed: 99999999999999999999", "is too large: it takes a whole number from 0 up to",
         "write seed: 2147483647"),
        ("bayes: {trials: 0}", "0 is too small", "write trials: 40"),
        ("  optimizer: {name: adam, clipnorm: 0.5}", "no argument 'clipnorm'",
         "write optimizer: adam; adam takes no clipnorm\n  write clip_norm: 0.5 under train"),
        ("  optimizer: {name: adamw, amsgrad: true}", "no argument 'amsgrad'",
         "write optimizer: adamw; adamw takes no amsgrad"),
        ("  warmup: {length: 1ep, type: linear}", "unknown key",
         "write warmup: {for: 1ep, shape: linear}"),
        ("confirm: {top: 100}", "100 is too large", "write top: 64"),
        ("prune: {name: asha, factor: 1}", "1 is too small", "write factor: 2"),
        ("max_failures: -2", "-2 is too small", "write max_failures: 0"),
        ("  batch_size: 32 samples", "'32 samples' is not a number", "write batch_size: 32"),
        ("seeds: 3 seeds", "'3 seeds' is not a number", "write seeds: 3"),
        ("  clip_norm: 0", "0 is too small", "write clip_norm: null"),
        ("  evaluate: never", "'never' is not a number and a unit", "write evaluate: 1dur;"),
        ("  schedule: false", "false names no schedule", "write schedule: constant"),
        ("  label_smoothing: 1", "1 is too large: it takes a number from 0 below 1",
         "write label_smoothing: 0.0; for example"),
        ("  label_smoothing: 5", "5 is too large", "write label_smoothing: 0.5"),
        ("  optimizer: {name: sgd, momentum: 95}", "95 is too large", "write momentum: 0.95"),
        ("  batch_size: 4096", "larger than the training set (1438", "write batch_size: 1024"),
        ("search: {batch_size: [32, 64, 2000]}", "a batch of 2000 is larger than the training set",
         "write batch_size: [32, 64]"),
        ("search: {batch_size: [1438, 2000]}", "larger than", "write batch_size: [1438]"),
        ("search: {batch_size: [2000, 3000]}", "larger than", "write batch_size: [1024]"),
        ("search: {batch_size: {min: 8, max: 2000}}", "larger than",
         "write batch_size: {min: 8, max: 1024}"),
        ("  batch_size: #64", "null is not a number",
         "what follows # is a comment: write batch_size: 64"),
        ("  evaluate: ep2", "'ep2' is not a number and a unit", "write evaluate: 2ep"),
        ("  warmup: 3ep", "135 steps, the whole budget has 90", "write warmup: 0.05dur"),
        ("  warmup: {for: 3ep}", "the whole budget has 90", "write for: 0.05dur"),
        ("  warmup: 100", "100 is not a number and a unit", "write warmup: 100ba; that is steps"),
        ("  schedule: {name: wsd, decay: 5ep}", "a decay of 224.688 steps", "write decay: 0.2dur"),
        ("  schedule: {name: multistep, milestones: [1.5ep, 1ep]}", "out of order",
         "write milestones: [1ep, 1.5ep]"),
        ("  schedule: {name: multistep, milestones: [30, 60]}", "30 is not a number and a unit",
         "write milestones: [30ba, 60ba]; that is steps"),
        ("  schedule: {name: multistep, milestones: [1ep, 3ep]}", "past the end of the training",
         "write milestones: [0.5dur, 0.75dur]"),
        ("  schedule: {name: cosine, warmup: 0.1dur}", "has no argument 'warmup'",
         "write schedule: cosine\n  write warmup: 0.1dur under train"),
        ("  <<: {batch_size: 8}", "merge keys are not allowed", "write batch_size: 8"),
        ("  evaluation_strategy: epoch", "unknown key", "write evaluate: 1ep"),
        ("  dropout: 0.1", "unknown key",
         "write model: {name: mlp, hidden: [16], dropout: 0.1} at the top level"),
        ("  batch_norm: 'yes'", "unknown key",
         "write model: {name: mlp, hidden: [16], batch_norm: true} at the top level"),
        ("  batch_norm: 1.5", "unknown key", "did you mean 'clip_norm'? allowed: "),
        ("  depth: 3", "unknown key", "leave 'depth' out; allowed: "),
        ("  optimizer: {name: adam, betas: '0.9, 0.98'}", "has no argument 'betas'",
         "write optimizer: {name: adam, beta1: 0.9, beta2: 0.98}"),
        ("  optimizer: SGD(momentum=0.9, nesterov=True)", "unknown optimizer",
         "write optimizer: {name: sgd, momentum: 0.9, nesterov: true}"),
        ("  optimizer: SGD(nesterov=True), Adam()", "unknown optimizer",
         "write optimizer: sgd; for example; allowed: sgd"),
        ("  optimizer: 'SGD(momentum={1, 2})'", "unknown optimizer",
         "write optimizer: sgd; for example; allowed: sgd"),
        ("  optimizer: 'SGD(momentum={[]: 1})'", "unknown optimizer",
         "write optimizer: sgd; for example; allowed: sgd"),
        ("  schedule: StepLR(step_size=1, gamma=0.5)", "unknown schedule",
         "write schedule: {name: step, every: 1ep, gamma: 0.5}"),
        ("  schedule: {name: CosineAnnealingWarmRestarts, T_0: 1}", "unknown schedule",
         "write schedule: {name: cosine_restarts, first: 1ep}"),
        ("  schedule: {name: cosine_restarts, first: 9ep}", "longer than the training",
         "write first: null"),
        ("  loss: SparseCategoricalCrossentropy(from_logits=True)", "is not one of",
         "write loss: cross_entropy"),
        ("  metrics: [accuracy]", "is no mapping", "leave it out: those are measured"),
        ("seed: [0, 1, 2]", "[0, 1, 2] is no seed", "write seeds: 3; seed says the first"),
        ("seed:", "null is not a number", "write seed: 0"),
        ("pruner: HyperbandPruner", "unknown key", "write prune: hyperband"),
        ("early_terminate: {type: hyperband, eta: 4}", "unknown key",
         "write prune: {name: hyperband, factor: 4}"),
        ("prune: {name: MedianPruner, n_startup_trials: 6, interval_steps: 2}", "unknown rule",
         "write prune: {name: median, startup: 6}; interval_steps is not in it"),
        ("prune: {name: PercentilePruner, percentile: 25}", "unknown rule",
         "write prune: {name: percentile, keep: 0.25}"),
        ("grid: {trials: 9}", "unknown key", "leave 'grid' out: it trains every point"),
        ("search: [lr, batch_size]", "is no mapping of searched", "each has its values"),
        ("search: [{name: lr, min: 0.1, max: 1}]", "is no mapping of searched",
         "write search: {lr: {min: 0.1, max: 1}}"),
        ("search: {dropuot: [0.1, 0.2]}", "unknown parameter", "write model.dropout: [0.1, 0.2]"),
        ("objective: minimize loss", "unknown metric", "write objective: loss"),
        ("objective: {minimize: loss}", "unknown key", "write objective: loss"),
        ("objective: {metrics: f1}", "unknown key", "write metric: f1"),
        ("objective: best rmse", "unknown metric", "write objective: accuracy"),
        ("sweep: {metod: x}", "unknown key", "leave 'sweep' out"),
        ("refit: true", "unknown key", "leave 'refit' out"),
        ("study: {direction: maximize, n_trials: 30}", "unknown key",
         "write objective: accuracy\n  write bayes: {trials: 30}"),
        ("scheduler: {name: ASHAScheduler, grace_period: 1}", "unknown key", "write prune: asha"),
        ("verify: true", "'verify' goes with", "leave it out: "),
        ("search: {schedule.name: [constant, cosine]}", "by its own name",
         "write schedule: [constant, cosine]"),
        ("search: {lr.min: 0.1, lr.max: 1}", "stand in braces", "write lr: {min: 0.1, max: 1}"),
        ("search: {lr: {min: 0.1, self.max: 1}}", "unknown key", "did you mean 'max'?"),
        ("search: {lr: fast}", "is no range and no list", "write lr: {min: 1e-4, max: 1.0"),
        ("search: {warmup: {min: 0, max: 0.1}}", "of the warmup's length",
         "write warmup.for: {min: 0.01dur, max: 0.1dur}"),
        ("search: {data.transforms: [flip]}", "no list of lists",
         "write data.transforms: [[], [flip]]"),
        ("  optimizer: {name: adam, betas: (0.9, 0.98)}", "has no argument 'betas'",
         "write optimizer: {name: adam, beta1: 0.9, beta2: 0.98}"),
        ("  betas: (0.9, 0.98)", "unknown key",
         "write optimizer: {name: adamw, beta1: 0.9, beta2: 0.98}; sgd takes no beta1"),
        ("  warmup: 500", "500 is not a number and a unit", "write warmup: 0.05dur; the training"),
        ("  warmup: 9 epochs", "is not a number and a unit", "write warmup: 0.05dur; the training"),
        ("  schedule: {name: multistep, milestones: [500, 600]}", "500 is not a number",
         "write milestones: [500ba, 600ba]; that is steps"),
        ("  step: 3", "3 names no code", "leave 'step' out; it takes a class path"),
        ("  loss: {class_pat: a.B}", "unknown key", "write class_path: a.B"),
        ("  clip_norm: ${CLIP}", "is not a number", "nothing is put in there: write clip_norm:"),
        ("search: {warmup: {for: 0.1dur}}", "is one value",
         "a searched parameter is a list [1, 2, 3] or a range {min: 1, max: 3, points: 3};\n"
         "  a fixed one is no part of search: write warmup: {for: 0.1dur} under train"),
        ("  optimizer: {class_path: SGD}", "is no dotted path",
         "write class_path: torch.optim.SGD"),
        ("  optimizer: {name: sgd, dampening: 0.1, nesterov: true}", "no dampening",
         "write dampening: 0"),
        ("  search: {lr: [0.1, 1]}", "unknown key", "write search: {lr: [0.1, 1]} at the top"),
        ("search: {lr: {min: 0.1, max: 1, points: [0.1, 1]}}", "is no number of points",
         "write lr: [0.1, 1]"),
        ("  optimizer: adawm", "unknown optimizer", "did you mean 'adamw'?"),
        ("search: {lt: [0.1, 1]}", "unknown parameter", "did you mean 'lr'?"),
        ("  loss: crss_entropy", "is not one of", "write loss: cross_entropy"),
        ("seeds: 1e9", "is too large", "write seeds: 1; for example"),
        ("search: {lr: {uato: true}}", "unknown key", "write auto: true"),
        ("  groups: [{mathc: a.*, lr: 0.1}]", "is not a mapping",
         "write groups: [{match: a.*, lr: 0.1}]"),
        ("search: {batch_size: (16, 32, 64)}", "is no range and no list",
         "write batch_size: [16, 32, 64]"),
        ("search: {batch_size: {16, 32}}", "is no range", "write batch_size: [16, 32]"),
        ("search: {batch_size: 16, 32, 64}", "stands between brackets",
         "write batch_size: [16, 32, 64]"),
        ("search: {lr: {{min: 0.1, max: 1}}}", "two braces", "write lr: {min: 0.1, max: 1}"),
        ("search: {lr: [min: 0.1, max: 1]}", "is no range", "write lr: {min: 0.1, max: 1}"),
        ("search: {lr: [0,001, 1.0]}", "decimal commas", "write lr: [0.001, 1.0]"),
        ("search: {warmup.steps: [10ba, 20ba]}", "no argument 'steps'",
         "write warmup.for: [10ba, 20ba]"),
        ("search: {model_dropout: [0.1, 0.2]}", "unknown parameter",
         "write model.dropout: [0.1, 0.2]"),
        ("objective: {accuracy: max}", "unknown key", "write objective: {metric: accuracy}"),
        ("objective: [metric: f1, at: best]", "no objective",
         "write objective: {metric: f1, at: best}"),
        ("random: trials=24", "no mapping", "write random: {trials: 24}"),
        ("  optimizer: {sgd, momentum: 0.9}", "is missing",
         "write optimizer: {name: sgd, momentum: 0.9}"),
        ("  optimizer: {class_path: sgd, momentum: 0.9}", "is built in", "write name: sgd"),
        ("  label_smoothing: 0.1}", "a sign that nothing opens", "write label_smoothing: 0.1"),
        ("  label_smoothing: {value: 0.1}", "is not a number", "write label_smoothing: 0.1"),
        ("dropout: 0.1", "unknown key", "write model: {name: mlp, hidden: [16], dropout: 0.1}"),
        ("  optimizer: {name: sgd, params: {momentum: 0.9}}", "stand beside its name",
         "write optimizer: {name: sgd, momentum: 0.9}"),
        ("  loss: {class_path: torch.nn.NLLLoss, reduction: sum}", "unknown key",
         "write init_args: {reduction: sum}"),
        ("  loss: {class_path: torch.nn.NLLLoss, init_agrs: {}}", "unknown key",
         "did you mean 'init_args'?"),
        ("  evaluate: every 50 steps", "not a number and a unit", "write evaluate: 50ba"),
    ],
)  # fmt: skip
def test_a_value_out_of_its_range_has_the_nearest_that_is_allowed(tmp_path, line, told, written):
    fault = fault_of(f"{BASE}{line}\n", tmp_path)
    assert fault.line == 7 and told in fault.message
    assert fault.hint.startswith(written) and bool(fault.hint) == bool(written)


def test_what_is_searched_of_a_warmup_asks_no_training_that_is_none(tmp_path):
    text = "data: iris\nmodel: mlp\ntrain: sgd\nsearch: {lr: [0.1, 1], warmup: {name: linear}}"
    with pytest.raises(SpecError, match="'sgd' is no mapping"):
        validate(parse(text, "x.yaml"), tmp_path, text)


@pytest.mark.parametrize(
    ("data", "written"),
    [
        ("{name: iris, validation: {folds: five}}", "write folds: 2; for example"),
        ("{name: csv, source: a.csv, target: y, drop: 'b, c'}", "write drop: [b, c]"),
        ("{name: csv, source: a.csv, target: y, drop: '[b, c]'}", "write drop: [b, c]"),
        ("{name: csv, source: a.csv, target: y, drop: b (m)}", "write drop: [b (m)]"),
        (
            "{name: csv, source: a.csv, target: y, missing: ffill}",
            "write missing: drop; for example",
        ),
    ],
)
def test_a_line_for_data_is_one_that_they_take(tmp_path, data, written):
    (tmp_path / "a.csv").write_text("a,b,c,y\n1,2,3,4\n")
    text = f"data: {data}\nmodel: mlp\ntrain: {{budget: 2ep, lr: 0.1}}\n"
    assert fault_of(text, tmp_path).hint == written


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("data: iris\nmodel: cnn", ["write model: mlp"]),
        ("data: {name: csv, source: a.csv, target: y}\nmodel: {name: resnet, depth: 8}",
         ["write model: mlp"]),
        ("data: wine\nsearch: {model: [mlp, cnn]}", ["write mlp"]),
        ("data: {name: iris, transforms: [flip, {name: random_crop, padding: 1}]}\nmodel: mlp",
         ["write transforms: []", "write transforms: []"]),
        ("data: {name: iris, transforms: [flip, {name: noise, std: 1}]}\nmodel: cnn",
         ["write transforms: [{name: noise, std: 1}]", "write model: mlp"]),
        ("data: iris\nmodel: mlp\nsearch: {data.transforms: [[], [flip]]}", ["write []"]),
        ("data: digits\nmodel: cnn", []),
    ],
)  # fmt: skip
def test_what_is_for_images_is_none_for_rows_of_numbers(tmp_path, text, written):
    text = f"{text}\ntrain: {{budget: 2ep, lr: 0.1}}\nobjective: loss\n"
    try:
        validate(read_document(text, "x.yaml"), tmp_path, text)
        found = ()
    except SpecError as error:
        found = error.faults
    assert sorted(each.hint for each in found) == sorted(written)
    assert all("is for images [channels, height, width]" in each.message for each in found)


def test_a_time_is_no_budget(tmp_path):
    fault = fault_of(BASE.replace("2ep", "10min"), tmp_path)
    assert fault.message.endswith("a trial's time is limited by timeout, a search's by --time")


@pytest.mark.parametrize(
    ("given", "written"),
    [
        ("{k: 10}", "write validation: {folds: 10}"),
        ("{fraction: 0.3}", "write validation: 0.3"),
        ("{random_state: 42}", "write seed: 42 at the top level"),
        ("{size: 1000}", "leave 'size' out"),
        ("kfold", "write validation: {folds: 5}"),
        ("more", "write validation: 0.2; for example"),
    ],
)
def test_a_validation_part_in_other_words_keeps_its_number(tmp_path, given, written):
    text = BASE.replace("data: digits", f"data: {{name: digits, validation: {given}}}")
    assert fault_of(text, tmp_path).hint.startswith(written)


@pytest.mark.parametrize(("given", "written"), [("5%", "20ep; for example"), ("[10ep]", "10ep")])
def test_a_budget_of_no_unit_of_its_own_is_none(tmp_path, given, written):
    fault = fault_of(BASE.replace("2ep", given), tmp_path)
    assert fault.hint.startswith(f"write budget: {written}")


@pytest.mark.parametrize(
    ("momentum", "told"),
    [("", True), (", momentum: 0", True), (", momentum: 0.9", False), ("searched", False)],
)
def test_nesterov_without_momentum_is_told(tmp_path, momentum, told):
    own = "" if momentum == "searched" else momentum
    text = f"{BASE}  optimizer: {{name: sgd, nesterov: true{own}}}\n"
    text += "search: {optimizer.momentum: [0, 0.9]}\n" if momentum == "searched" else ""
    spec = validate(read_document(text, "x.yaml"), tmp_path, text)
    assert any("write momentum: 0.9" in note for note in spec.notes) is told


def test_a_number_in_place_of_a_block_is_not_moved_to_the_top_level(tmp_path):
    text = BASE.replace("data: digits", "data: {name: digits, train: 8}")
    assert fault_of(text, tmp_path).hint.startswith("leave 'train' out")


@pytest.mark.parametrize("key", ["data", "model", "train"])
def test_what_every_spec_has_is_told_with_a_line_that_is_valid(tmp_path, key):
    lines = {each.partition(":")[0]: each for each in BASE.splitlines() if each[0] != " "}
    lines["train"] = "train: {budget: 2ep, lr: 0.1}"
    text = "\n".join(each for name, each in lines.items() if name != key)
    fault = fault_of(text, tmp_path)
    assert fault.message == f"'{key}' is missing"
    written = fault.hint.removeprefix("write ").partition(", or ")[0]
    assert validate(parse(f"{text}\n{written}\n", "x.yaml"), tmp_path, text).name == "x"


@pytest.mark.parametrize("key", ["lr", "budget"])
def test_what_every_training_has_is_told_with_a_line(tmp_path, key):
    text = "\n".join(line for line in BASE.splitlines() if not line.startswith(f"  {key}:"))
    fault = fault_of(text, tmp_path)
    assert f"'{key}' is missing" in fault.message and fault.hint.startswith(f"write {key}: ")


def test_a_tab_is_told_where_it_stands(tmp_path):
    for text, told in (
        (BASE.replace("  lr:", "\tlr:"), "a tab cannot indent YAML"),
        (BASE.replace("lr: 0.1", "lr:\t0.1"), "a tab stands between the words"),
    ):
        with pytest.raises(SpecError) as error:
            parse(text, "x.yaml")
        assert error.value.faults[0].line == 6 and told in str(error.value)


@pytest.mark.parametrize(
    ("given", "written"),
    [
        ("nets:Net", "write class_path: nets.Net"),
        ("./nets.py:Net", "write class_path: nets.Net"),
        ("pkg/nets.Net", "write class_path: pkg.nets.Net"),
        ("nets.Net()", "write class_path: nets.Net"),
        (
            "./pkg/nets.py",
            "write class_path: pkg.nets.NAME, with the name of a class or a function",
        ),
        ("nets", "write class_path: nets.NAME, with the name of a class or a function in it"),
        ("nets . Net", "write class_path: nets.Net"),
        ("nets::Net", "write class_path: nets.Net"),
        ("my nets", "write class_path: torch.nn.Linear; for example"),
    ],
)
def test_a_file_or_an_entry_point_is_told_its_dotted_path(tmp_path, given, written):
    model = f"model: {{class_path: '{given}'}}"
    fault = fault_of(BASE.replace("model: {name: mlp, hidden: [16]}", model), tmp_path)
    assert f"'{given}' is no dotted path such as my_package.nets.Net" in fault.message
    assert fault.hint.startswith(written) and bool(fault.hint) == bool(written)


@pytest.mark.parametrize(("slip", "meant"), [("comand: a {lr}", "command"), ("lopp: a.b", "loop")])
def test_a_slip_of_a_command_is_one_fault(tmp_path, slip, meant):
    fault = fault_of(
        f"{slip}\nobjective: {{metric: loss, goal: min}}\nsearch: {{lr: [1, 2]}}\n", tmp_path
    )
    assert fault.line == 1 and fault.hint.startswith(f"did you mean '{meant}'?")


def test_a_loop_by_its_file_is_told_its_dotted_path(tmp_path):
    text = "loop: ./mine.py\nobjective: loss\nsearch: {lr: [0.1, 1]}\n"
    fault = fault_of(text, tmp_path)
    assert (fault.line, fault.hint) == (
        1,
        "write loop: mine.NAME, with the name of the function in it",
    )


@pytest.mark.parametrize(
    ("lines", "key", "written"),
    [
        (
            ["objective: foo"],
            "objective",
            "write objective: {metric: foo, goal: max}, or goal: min",
        ),
        (
            ["objective: 3"],
            "objective",
            "write objective: {metric: loss, goal: min, at: last}, with",
        ),
        (["seeds: 1"], "", "write objective: {metric: loss, goal: min, at: last}, with a metric"),
        (
            ["objective: loss", r"metrics: {loss: 'l: \d+'}"],
            "metrics.loss",
            r"write loss: 'l: (\d+)'",
        ),
        (
            ["objective: loss", "metrics: {loss: '('}"],
            "metrics.loss",
            "write metrics: {loss: 'loss:",
        ),
        (
            ["objective: loss", r"metrics: {loss: '(a|b): ([[\d.]+)'}"],
            "metrics.loss",
            r"write loss: '(?:a|b): ([[\d.]+)'; a group",
        ),
        (
            ["objective: loss", r"metrics: {step: 's: (\d+)'}"],
            "metrics",
            r"write loss: 'loss: ([\d.]+)' under metrics; one group",
        ),
        (
            ["objective: {metric: los, goal: min}", r"metrics: {loss: 's: (\d+)'}"],
            "metrics",
            "write metric: loss under objective",
        ),
    ],
)
def test_the_objective_and_the_patterns_of_a_command_have_their_keys(tmp_path, lines, key, written):
    text = "\n".join(["command: echo {lr}", "search: {lr: [0.1, 1]}", *lines, ""])
    fault = fault_of(text, tmp_path)
    assert fault.key == key and fault.hint.startswith(written), fault


@pytest.mark.parametrize(
    ("data", "told", "written"),
    [
        ("{name: csv, target: y}", "'source' is missing", "write source: t.csv under data"),
        ("{name: csv, source: t.csv}", "'target' is missing", "write target: b under data"),
        ("{name: npz, source: .nan}", "nan is not the path", "write source: FILE.npz; for"),
        ("{name: csv, source: $HOME/a.csv, target: y}",
         "has a variable", "write source: /h/a.csv; or,"),
        ("{name: csv, source: '${X:y}/a.csv', target: y}",
         "has a variable", "write the path itself"),
        ("{name: csv, source: 'https://a.b/c.csv', target: y}",
         "is an address", "fetch it first"),
        ("{name: csv, source: a.csv, target: y, separator: tab}",
         "'tab' is not", 'write separator: "\\t"'),
        ("{name: csv, source: a.csv, target: [y]}",
         "[y] is not text", "write target: y"),
        ("{name: csv, source: a.csv, target: y, task: binary}",
         "'binary' is not", "write task: class"),
        ("{name: csv, source: a.csv, target: y, drop: [0]}",
         "0 is no column's", "write drop: ['0']"),
        ("{name: digits, validation: 0.6, test: 0.5}",
         "leave nothing", "write validation: 0.2\n  write test: 0.1"),
        ("{name: images, source: pets/train, validation: {source: pets/val}}",
         "'pets/val' is no share", "write source: pets\n  write validation: source"),
        ("{name: digits, transforms: [flip, RandomCrop(8, padding=1), flip]}",
         "divided by its commas",
         "write transforms: [flip, {name: random_crop, padding: 1}, flip]"),
        ("{name: images, source: pets/train, test: pets/test}",
         "'pets/test' is no share", "write source: pets\n  write test: source"),
        ("{name: digits, validation: {folds: 5000}}",
         "5000 folds of 1797", "write folds: 5"),
        ("{name: tasks.Rows, validation: 0.1}", "unknown data 'tasks.Rows'",
         "write data: {class_path: tasks.Rows, validation: 0.1}"),
    ],
)  # fmt: skip
def test_data_that_are_named_otherwise(tmp_path, monkeypatch, data, told, written):
    (tmp_path / "t.csv").write_text("a,b\n1,2\n")
    monkeypatch.setenv("HOME", "/h")
    monkeypatch.delenv("X", raising=False)
    fault = fault_of(BASE.replace("data: digits", f"data: {data}"), tmp_path)
    assert told in fault.message and fault.hint.startswith(written), fault


@pytest.mark.parametrize(
    ("line", "written"),
    [
        ("batch_size: [32, 64, 0]", "batch_size: [32, 64]"),
        ("batch_size: [-32]", "batch_size: [32]"),
        ("batch_size: [32; 64]", "batch_size: [32, 64]"),
        ("batch_size: {min: 0, max: 64}", "min: 1"),
        ("lr: {min: -3, max: 0, scale: log10}", "lr: {min: 1e-3, max: 1.0, scale: log}"),
        ("lr: {min: -4, max: -1, scale: log}", "lr: {min: 1e-4, max: 0.1, scale: log}"),
        ("lr: [0.1, 1e999, auto 1]", "lr: [0.1]"),
        ("lr: 0.1 0.01", "lr: [0.1, 0.01]"),
        ("lr: [1e-3.0, 1e -2, 0.1# x]", "lr: [1e-3, 0.01, 0.1]"),
        ("model.hidden: [64 x 32, [16]]", "model.hidden: [[64, 32], [16]]"),
        ("budget: [32 64]", "budget: [32ba, 64ba]"),
        ("budget: {min: 0.5, max: 1.5}", "budget: {min: 0.5ep, max: 1.5ep}"),
        ("budget: {min: 0, max: 64}", "budget: {min: 6.4ba, max: 64ba}"),
        ("model.hidden: [32, 64]", "model.hidden: [[32], [64]]"),
        ("model.dropout: {min: 10, max: 50}", "model.dropout: {min: 0.1, max: 0.5}"),
        ("clip_norm: {min: 0, max: 1}", "min: 1e-4"),
        ("label_smoothing: [auto, 0.1]", "label_smoothing: [0.1]"),
        ("optimizer.momentum: 95", "optimizer: {name: sgd, momentum: 0.95} under train"),
        ("batch_size: 32 samples", "batch_size: 32 under train"),
        ("schedule: {values: [cosine, constant]}", "schedule: [cosine, constant]"),
    ],
)
def test_what_is_told_to_write_under_search_passes_itself(tmp_path, line, written):
    with pytest.raises(SpecError) as error:
        validate(parse(f"{BASE}search:\n  {line}\n", "x.yaml"), tmp_path, "")
    hint = error.value.faults[0].hint
    assert f"write {written}" in hint
    written, _, under = written.partition(" under ")
    if written.startswith("min:"):  # Of a range, its end alone.
        written = re.sub("min: [^,]*", written, line)
    mended = f"{BASE}  {written}\n" if under else f"{BASE}search:\n  {written}\n"
    assert validate(parse(mended, "x.yaml"), tmp_path, mended).name == "x"


@pytest.mark.parametrize(
    "line",
    [
        "schedule: foo",
        "lr: {min: x, max: 1}",
        "model: {hidden: {min: 1}}",
        "clip_norm: {min: null, max: 1}",
    ],
)
def test_what_means_nothing_valid_has_no_line_of_its_own(tmp_path, line):
    with pytest.raises(SpecError) as error:
        validate(parse(f"{BASE}search:\n  {line}\n", "x.yaml"), tmp_path, "")
    hints = [each.hint for each in error.value.faults]
    assert all("write " not in each or "; for example" in each for each in hints), hints


def test_lines_beside_an_empty_key_that_are_its_own_are_indented(tmp_path):
    for lines, key in (
        ("search:\n  lr:\n  min: 0.1\n  max: 1\n", "search.lr"),
        ("  warmup:\n  for: 0.1dur\n  shape: cosine\n", "train.warmup"),
        ("objective:\nmetric: accuracy\nat: best\n", "objective"),
    ):
        fault = fault_of(BASE + lines, tmp_path)
        first = 7 if key == "search.lr" else 6
        assert (fault.key, fault.line) == (key, first + 1)
        assert fault.hint == f"indent lines {first + 2} to {first + 3} by two blanks"


def test_what_belongs_to_a_name_that_is_a_slip_is_read_on_and_kept(tmp_path):
    (tmp_path / "a.csv").write_text("a,b,y\n1,2,3\n")
    data = "{nmae: csv, source: a.csv, target: y, dorp: [a]}"
    text = BASE.replace("digits", data).replace("{name: mlp", "{name: mpl, hiden: [8], dropout: 2")
    with pytest.raises(SpecError) as error:
        validate(read_document(text, "x.yaml"), tmp_path, text)
    told = [(fault.key, fault.hint.partition(" allowed")[0]) for fault in error.value.faults]
    assert told == [
        ("data.nmae", "write name: csv"),
        ("data.dorp", "did you mean 'drop'?"),
        ("model.name", "did you mean 'mlp'?"),
        ("model.hiden", "did you mean 'hidden'?"),
        ("model.dropout", "write dropout: 0.2"),
    ]


def test_a_file_of_another_language_and_a_spec_below_a_key_are_told_as_such(tmp_path):
    for text, told in (
        ('[data]\nname = "digits"\n', "this is TOML"),
        ("import torch\n", "this is Python"),
        ("<config/>\n", "this is XML"),
        ("spec:\n  " + BASE.replace("\n", "\n  "), "the whole spec stands below it"),
    ):
        assert told in fault_of(text, tmp_path).message


def test_a_word_for_a_truth_value_is_a_text_to_code_and_noted(tmp_path):
    loss = "  loss: {class_path: torch.nn.CrossEntropyLoss, init_args: {reduce: no, size: 2}}\n"
    spec = validate(read_document(BASE + loss, "x.yaml"), tmp_path, BASE + loss)
    (note,) = [each for each in spec.notes if "reduce" in each]
    assert note.endswith("write reduce: false for a truth value")


@pytest.mark.parametrize(
    ("inner", "written"),
    [
        ("layers: 2", "write hidden: [64, 64]"),
        ("layers: 2, units: 32", "write hidden: [32, 32]"),
        ("units: 32", "write hidden: [32]"),
        ("train: {budget: 2ep, lr: 0.1}", "write train: {budget: 2ep, lr: 0.1} at the top level"),
    ],
)
def test_keys_in_a_model_that_are_none_of_its_arguments(tmp_path, inner, written):
    text = f"name: x\ndata: digits\nmodel: {{name: mlp, {inner}}}\n"
    text += "" if "train" in inner else "train: {budget: 2ep, lr: 0.1}\n"
    assert fault_of(text, tmp_path).hint == written


@pytest.mark.parametrize(
    ("part", "written"),
    [
        ("validation: 70/30", "write validation: 0.3"),
        ("train: 0.8", "write validation: 0.2"),
        ("standardize: StandardScaler", "write standardize: true; for example"),
    ],
)
def test_parts_of_the_data_in_other_words(tmp_path, part, written):
    text = f"data: {{name: digits, {part}}}\nmodel: mlp\ntrain: {{budget: 2ep, lr: 0.1}}\n"
    assert fault_of(text, tmp_path).hint == written


def test_a_target_by_its_number_is_the_column_of_that_place(tmp_path):
    (tmp_path / "a.csv").write_text("age,rooms,price\n1,2,3\n")
    text = "data: {name: csv, source: a.csv, target: 1}\nmodel: mlp\n"
    text += "train: {budget: 2ep, lr: 0.1}\n"
    assert fault_of(text, tmp_path).hint == "write target: rooms; for example"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (BASE + "search: {lr: {min: 1, max: 1e10}}\n", "lr reaches 1e10: "),
        (BASE.replace("[16]", "[1000000, 1000000]"), "which take 4,000 GB"),
    ],
)
def test_numbers_that_nobody_means_have_a_note(tmp_path, text, told):
    notes = validate(read_document(text, "x.yaml"), tmp_path, text).notes
    assert any(told in each for each in notes), notes
    assert not validate(read_document(BASE, "x.yaml"), tmp_path, BASE).notes


@pytest.mark.parametrize(
    "part",
    [
        "optimizer: prodigy",  # It has a note of its own.
        "optimizer: {class_path: torch.optim.LBFGS}",
        "schedule: {class_path: ours.warmed}",
    ],
)
def test_rates_on_a_scale_of_their_own_have_no_note_on_high_ones(tmp_path, part):
    text = BASE.replace("lr: 0.1", f"lr: 1e4\n  {part}")
    notes = validate(read_document(text, "x.yaml"), tmp_path, text).notes
    assert text != BASE and not any("hardly ever" in each for each in notes)


def test_more_trials_than_anybody_waits_for_are_told_of_the_strategy_alone(tmp_path):
    text = BASE + "search: {lr: {min: 0.1, max: 1, points: 90000}, batch_size: [8, 16]}\n"
    text += "bayes: {trials: 1000000}\n"
    spec = validate(read_document(text, "x.yaml"), tmp_path, text)
    assert not any("trials" in each for each in spec.notes)
    told = {each: unusual_trials(spec, each) for each in ("grid", "random", "bayes")}
    assert told["random"] == []
    assert "180,000 trials" in told["grid"][0] and "1,000,000 trials" in told["bayes"][0]
    assert unusual_trials(spec, *told) == told["grid"] + told["bayes"]


@pytest.mark.parametrize(
    ("entries", "written"),
    [
        ("    - constant\n    {name: step, every: 1ep}", "write - {name: step, every: 1ep}"),
        (
            "    - constant\n    - name: step\n    every: 1ep",
            "write every: 1ep, with 6 blanks before it",
        ),
    ],
)
def test_entries_of_a_block_list(tmp_path, entries, written):
    text = f"{BASE}search:\n  schedule:\n{entries}\n  batch_size: [8, 16]\n"
    assert fault_of(text, tmp_path).hint == written
