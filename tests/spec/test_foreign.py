"""Words of other tools: each gets the line to write, and with that line the spec is one."""

from __future__ import annotations

import contextlib
import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest
import test_schedules
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from test_cli import lrsearch

from lrsearch.errors import Fault, LrsearchError, SpecError
from lrsearch.spec import read_spec
from lrsearch.spec.document import Document, parse
from lrsearch.spec.foreign import words
from lrsearch.spec.foreign.ranges import number, read_foreign
from lrsearch.spec.foreign.schedules import translate_schedule
from lrsearch.spec.validate import validate
from lrsearch.spec.values import write


def built(top: str = "", train: str = "", search: str = "", data: str = "digits") -> str:
    """A spec with data, model and train."""
    lr = (
        ""
        if re.search(r"\blr:|learning_rate|parameters|hydra", top + train + search)
        else "lr: 0.1, "
    )
    budget = "" if re.search(r"budget|epochs|max_steps", top + train) else "budget: 2ep, "
    model = "" if re.search(r"\bmodel:", top) or "network" in top else "model: mlp\n"
    whole = f"data: {data}\n{model}train: {{{budget}{lr}{train}}}\n"
    return whole + (f"search: {{{search}}}\n" if search else "") + top


def own(top: str = "", search: str = "lr: [0.1, 0.2]", command: str = "python t.py {lr}") -> str:
    """A spec with a command."""
    objective = (
        "" if re.search("objective|metric|direction|mode|goal", top) else "objective: loss\n"
    )
    return f"command: {command}\n{objective}search: {{{search}}}\n{top}"


ROWS: list[tuple[str, str, str]] = [
    # top level
    (built("lr: 0.3", "label_smoothing: 0.1"), "lr", "write lr: 0.3 under train"),
    (built("epochs: 10"), "epochs", "write budget: 10ep under train"),
    (built("max_steps: 500"), "max_steps", "write budget: 500ba under train"),
    (built("metric: accuracy"), "metric", "write objective: accuracy"),
    (built("metric: {name: val_acc, goal: maximize}"), "metric", "write objective: accuracy"),
    (built("walltime: 2h"), "walltime", "write timeout: 2h"),
    (built("deadline: 90"), "deadline", "write timeout: 90s"),
    (built("max_runtime: 1000000"), "max_runtime", "write timeout: 1000000s"),
    (built("deadline: none"), "deadline", "write timeout: null"),
    (built("total_time: 600"), "total_time", "lrsearch bayes spec.yaml --time 600s"),
    (built(train="timeout: 5min"), "train.timeout", "write timeout: 5m at the top level"),
    (built(train="save: 5"), "train.save", "write save: 5s at the top level"),
    (built("checkpoint_interval: 10 min"), "checkpoint_interval", "write save: 10m"),
    (built("save_strategy: 'no'"), "save_strategy", "write save: null"),
    (built("checkpointing: false"), "checkpointing", "write save: null"),
    (built("save: 1h30m"), "save", "write save: 90m"),
    (built("timeout: 1d"), "timeout", "write timeout: 24h"),
    (built("direction: maximize"), "direction", "write objective: accuracy"),
    (built("monitor: val_loss\nmode: min"), "monitor", "write objective: loss"),
    (built("trials: 30"), "trials", "write bayes: {trials: 30}"),
    (built("n_trials: 30"), "n_trials", "write bayes: {trials: 30}"),
    (built("bayes: {n_trials: 30}"), "bayes.n_trials", "write trials: 30"),
    (built("num_samples: 30"), "num_samples", "write bayes: {trials: 30}"),
    (built("batch_size: 64"), "batch_size", "write batch_size: 64 under train"),
    (built("bs: 64"), "bs", "write batch_size: 64 under train"),
    (built("optimizer: Adam"), "optimizer", "write optimizer: adam under train"),
    (built("scheduler: CosineAnnealingLR"), "scheduler", "write schedule: cosine under train"),
    (built("val_split: 0.1"), "val_split", "write data: {name: digits, validation: 0.1}"),
    (built("n_splits: 5"), "n_splits", "write data: {name: digits, validation: {folds: 5}}"),
    (built("random_seed: 7"), "random_seed", "write seed: 7"),
    (built("n_seeds: 3"), "n_seeds", "write seeds: 3"),
    (built("device: cuda"), "device", "lrsearch bayes spec.yaml --device cuda"),
    (built("accelerator: gpu"), "accelerator", "lrsearch bayes spec.yaml --device cuda"),
    (built("n_jobs: 4"), "n_jobs", "lrsearch bayes spec.yaml --workers 4"),
    (built("method: random"), "method", "lrsearch random spec.yaml"),
    (built("sampler: TPESampler"), "sampler", "lrsearch bayes spec.yaml"),
    (built("sampler: sobol"), "sampler", "write random: {sampler: sobol}"),
    (built("output_dir: out"), "output_dir", "lrsearch bayes spec.yaml --runs out"),
    (built("early_stopping: true"), "early_stopping", "write objective: {at: best}"),
    (built("patience: 3"), "patience", "write objective: {at: best}"),
    (built("study_name: mine"), "study_name", "write name: mine"),
    (built("network: mlp"), "network", "write model: mlp"),
    (
        built("trainer: {max_epochs: 5, gradient_clip_val: 1.0}"),
        "trainer",
        "write budget: 5ep under train\n  write clip_norm: 1.0 under train",
    ),
    (
        built("parameters: {lr: {distribution: log_uniform_values, min: 1e-4, max: 1e-1}}"),
        "parameters",
        "write search: {lr: {min: 1e-4, max: 0.1, scale: log}}",
    ),
    (
        built("hydra: {sweeper: {params: {lr: 'interval(1e-4, 1e-1)'}}}"),
        "hydra",
        "write search: {lr: {min: 1e-4, max: 0.1}}",
    ),
    # train
    (built(train="weight_decay: 1e-3"), "train.weight_decay",
     "write optimizer: {name: sgd, weight_decay: 1e-3}"),
    (built(train="momentum: 0.9"), "train.momentum", "write optimizer: {name: sgd, momentum: 0.9}"),
    (built(train="momentum: 0.9, wd: 1e-3, nesterov: true"), "train.wd",
     "write optimizer: {name: sgd, momentum: 0.9, weight_decay: 1e-3, nesterov: true}"),
    (built(train="optimizer: adam, momentum: 0.9"), "train.momentum",
     "write optimizer: {name: sgd, momentum: 0.9}; adam takes no momentum"),
    (built(train="betas: [0.9, 0.98], optimizer: AdamW"), "train.betas",
     "write optimizer: {name: adamw, beta1: 0.9, beta2: 0.98}"),
    (built(train="num_epochs: 3"), "train.num_epochs", "write budget: 3ep"),
    (built(train="budget: 10"), "train.budget",
     "write budget: 10ep; that is epochs, 10ba is steps"),
    (built(train="budget: 10 epochs"), "train.budget", "write budget: 10ep"),
    (built(train="budget: 500 steps"), "train.budget", "write budget: 500ba"),
    (built(train="learning_rate: 0.1"), "train.learning_rate", "write lr: 0.1"),
    (built(train="lr: '1e-3'"), "train.lr", "write lr: 1e-3"),
    (built(train='lr: "0,1"'), "train.lr", "write lr: 0.1"),
    (built(train="lr: 10^-3"), "train.lr", "write lr: 1e-3"),
    (built(train="batch_size: '64'"), "train.batch_size", "write batch_size: 64"),
    (built(train="batchsize: 64"), "train.batchsize", "write batch_size: 64"),
    (built(train="warmup_steps: 10"), "train.warmup_steps", "write warmup: 10ba"),
    (built(train="warmup_ratio: 0.1"), "train.warmup_ratio", "write warmup: 0.1dur"),
    (built(train="warmup: {steps: 10}"), "train.warmup.steps", "write warmup: {for: 10ba}"),
    (built(train="warmup: 1"), "train.warmup", "write warmup: 1ep; that is epochs, 1ba is steps"),
    (built(train="warmup: 0.1"), "train.warmup", "write warmup: 0.1dur"),
    (built(search="optimizer: {lr: [0.1, 0.2]}"), "search.optimizer.lr",
     "write lr: [0.1, 0.2] under search"),
    (built(train="optimizer: {name: adam, lr: 0.3}"), "train.optimizer.lr",
     "write lr: 0.3 under train"),
    (built(train="grad_clip: 1.0"), "train.grad_clip", "write clip_norm: 1.0"),
    (built(train="max_norm: 5"), "train.max_norm", "write clip_norm: 5"),
    (built(train="criterion: CrossEntropyLoss"), "train.criterion", "write loss: cross_entropy"),
    (built(train="loss: nn.CrossEntropyLoss"), "train.loss", "write loss: cross_entropy"),
    (built(train="fp16: true"), "train.fp16", "write precision: bfloat16"),
    (built(train="precision: bf16-mixed"), "train.precision", "write precision: bfloat16"),
    (built(train="seed: 3"), "train.seed", "write seed: 3 at the top level"),
    (built(train="early_stopping: true"), "train.early_stopping",
     "write objective: {at: best} at the top level"),
    (built(train="step_size: 1, gamma: 0.1"), "train.step_size",
     "write schedule: {name: step, every: 1ep, gamma: 0.1}"),
    (built(train="schedule: CosineAnnealingLR"), "train.schedule.name", "write schedule: cosine"),
    (built(train="schedule: {name: CosineAnnealingLR, T_max: 100, eta_min: 1e-3}"),
     "train.schedule.name", "write schedule: {name: cosine, final: 0.01}"),
    (built(train="schedule: {class_path: torch.optim.lr_scheduler.StepLR, init_args: "
           "{step_size: 1, gamma: 0.5}}"),
     "train.schedule.class_path", "write schedule: {name: step, every: 1ep, gamma: 0.5}"),
    (built(train="schedule: {_target_: torch.optim.lr_scheduler.OneCycleLR, max_lr: 0.1}"),
     "train.schedule", "write schedule: one_cycle"),
    (built(train="schedule: constant_with_warmup"), "train.schedule.name",
     "write schedule: constant\n  write warmup: 0.05dur under train"),
    (built(train="optimizer: Adam"), "train.optimizer.name", "write optimizer: adam"),
    (built(train="optimizer: AdamW"), "train.optimizer.name", "write optimizer: adamw"),
    (built(train="optimizer: SGD"), "train.optimizer.name", "write optimizer: sgd"),
    (built(train="optimizer: RMSprop"), "train.optimizer.name", "write optimizer: rmsprop"),
    (built(train="optimizer: torch.optim.Adam"), "train.optimizer.name", "write optimizer: adam"),
    (built(train="optimizer: {type: Adam, betas: [0.9, 0.98]}"), "train.optimizer",
     "write optimizer: {name: adam, beta1: 0.9, beta2: 0.98}"),
    # objective
    (built("objective: {metric: accuracy, mode: max}"), "objective.mode", "write goal: max"),
    (built("objective: val_acc"), "objective.metric", "write objective: accuracy"),
    (built("objective: maximize"), "objective.metric", "write objective: accuracy"),
    (built("objective: {metric: accuracy, goal: maximize}"), "objective.goal", "write goal: max"),
    (built("objective: {metric: accuracy, goal: minimize}"), "objective.goal",
     "leave it out: the goal of accuracy is max"),
    (built(train="metric: acc"), "train.metric", "write objective: accuracy at the top level"),
    (built(train="direction: maximize"), "train.direction", "write objective: accuracy at"),
    (built("trainer: {monitor: val_acc, mode: max}"), "trainer", "write objective: accuracy"),
    (built("training_args: {metric_for_best_model: f1, greater_is_better: true}"),
     "training_args", "write objective: f1"),
    (built("sweep: {metric: {name: val_acc, goal: maximize}}"), "sweep",
     "write objective: accuracy"),
    (built("parameters: {direction: maximize, batch_size: [16, 32]}", "lr: 0.1"), "parameters",
     "write objective: accuracy"),
    (own("trainer: {monitor: top5, mode: max}"), "trainer",
     "write objective: {metric: top5, goal: max}"),
    # arguments of schedules
    (built(train="schedule: {name: cosine, eta_min: 1e-3}"), "train.schedule.eta_min",
     "write schedule: {name: cosine, final: 0.01}"),
    (built(train="schedule: {type: cosine, min_lr: 1e-3}"), "train.schedule",
     "write schedule: {name: cosine, final: 0.01}"),
    (built(train="lr: 0.1, schedule: {name: polynomial, end_learning_rate: 1e-2}"),
     "train.schedule.end_learning_rate", "write schedule: {name: polynomial, final: 0.1}"),
    (built(train="schedule: {name: linear, end_factor: 0.2}"), "train.schedule.end_factor",
     "write schedule: {name: linear, final: 0.2}"),
    (built(train="schedule: {name: plateau, monitor: val_acc, min_lr: 0.01}"),
     "train.schedule.min_lr", "write schedule: {name: plateau, min: 0.1, metric: accuracy}"),
    (built(search="lr: [0.1, 0.2], schedule: [constant, {name: cosine, eta_min: 1e-3}]"),
     "search.schedule.1.eta_min", "write cosine; eta_min is a share of lr here: add final to it"),
    (built(train="budget: 40ep, schedule: {name: step, step_size: 30, gamma: 0.1}"),
     "train.schedule.step_size", "write schedule: {name: step, every: 30ep, gamma: 0.1}"),
    (built(train="budget: 40ep, schedule: {name: cosine_restarts, T_0: 10}"), "train.schedule.T_0",
     "write schedule: {name: cosine_restarts, first: 10ep}"),
    (built(train="schedule: {name: CyclicLR, step_size_up: 20, base_lr: 0.01, max_lr: 0.1}"),
     "train.schedule.name", "write schedule: {name: triangular, half: 20ba, base: 0.1}"),
    (built(train="budget: 3000ba, eval_interval: 500"), "train.eval_interval",
     "write evaluate: 500ba"),
    (built(train="max_steps: 3000, eval_interval: 500"), "train.eval_interval",
     "write evaluate: 500ba"),
    (built(train="eval_interval: 1"), "train.eval_interval", "write evaluate: 1ep"),
    (built(train="budget: 100ba, schedule: {name: cosine, warmup_iters: 10}"),
     "train.schedule.warmup_iters", "write schedule: cosine\n  write warmup: 10ba under train"),
    (built(train="budget: 90ep, schedule: {name: multistep, milestones: [30, 60ep]}"),
     "train.schedule.milestones", "write milestones: [30ep, 60ep]; those are epochs"),
    (built("lr_gamma: 0.5\nlr_step_size: 1"), "lr_gamma",
     "write schedule: {name: step, gamma: 0.5, every: 1ep} under train"),
    (built(train="lr_scheduler: null"), "train.lr_scheduler", "write schedule: constant"),
    (built(train="scheduler: false"), "train.scheduler", "write schedule: constant"),
    # values that need another form, or another place
    (built(train="bs: [32, 64]"), "train.bs", "write batch_size: [32, 64] under search"),
    (built("lr: [0.1, 0.2]", "lr: 0.1"), "lr", "write lr: [0.1, 0.2] under search"),
    (built(train="lr: [0.1, 0.2]"), "train.lr", "write lr: [0.1, 0.2] under search"),
    (built(train="lr: {min: 0.1, max: 1.0}"), "train.lr",
     "write lr: {min: 0.1, max: 1.0} under search"),
    (built(train="budget: [1ep, 2ep]"), "train.budget", "write budget: [1ep, 2ep] under search"),
    (built(train="grad_clip: 0"), "train.grad_clip", "write clip_norm: null"),
    (built("budget: 10", "budget: 2ep"), "budget",
     "write budget: 10ep under train; that is epochs, 10ba is steps"),
    (built(train="budget: 2ep, warmup: 1 epochs"), "train.warmup", "write warmup: 1ep"),
    (built(train="budget: 200ba, warmup: {steps: 100, type: linear}"), "train.warmup.type",
     "write warmup: {for: 100ba, shape: linear}"),
    (built(train="optimizer: {name: adam, momentum: 0.9}"), "train.optimizer.momentum",
     "write optimizer: adam; adam takes no momentum"),
    (built("model: resnet18"), "model.name",
     "write model: {class_path: torchvision.models.resnet18}"),
    (built("objective: rmse_", data="diabetes").replace("rmse_", "mse"), "objective.metric",
     "write objective: rmse"),
    (built("hydra: {sweeper: {params: {optimizer: 'adam,sgd', batch_size: '16,32'}}}",
           "lr: 0.1"), "hydra", "write search: {optimizer: [adam, sgd], batch_size: [16, 32]}"),
    (built("parameters: [{name: lr, type: range, bounds: [0.1, 1.0], log_scale: true}, "
           "{name: batch_size, type: fixed, value: 3}]"), "parameters",
     "write search: {lr: {min: 0.1, max: 1.0, scale: log}}\n  write batch_size: 3 under train"),
    (built("parameters: {lr: {min: 0.1, max: 1.0}, strange: {a: 1}}"), "parameters",
     "write search: {lr: {min: 0.1, max: 1.0}}; strange is not in it"),
    (built("search_space: {batch_size: {_type: choice, _value: [16, 32]}}", "lr: 0.1"),
     "search_space", "write search: {batch_size: [16, 32]}"),
    (built(search="lr: {min_value: 0.1, max_value: 1.0, sampling: log}"), "search.lr.min_value",
     "write lr: {min: 0.1, max: 1.0, scale: log}"),
    (built(search="lr: {distribution: log_normal, mu: -7, sigma: 1}"), "search.lr.distribution",
     "write lr: {min: 1.2341e-4, max: 0.00673795, scale: log}"),
    (built(search="lr: 'hp.lognormal(\"lr\", -7, 1)'"), "search.lr",
     "write lr: {min: 1.2341e-4, max: 0.00673795, scale: log}"),
    (built(search="lr: 'stats.uniform(0.1, 0.3)'"), "search.lr",
     "write lr: {min: 0.1, max: 0.4, scale: linear}"),
    (own(search="lr: {min: 0.1, max: 1.0}, x: -5--2", command="python t.py {lr} {x}"),
     "search.x", "write x: {min: -5, max: -2}"),
    (own("batch_size: [16, 32]"), "batch_size", "write batch_size: [16, 32] under search"),
    (built("gpus: 0"), "gpus", "--device cpu"),
    (built("gpus: 1"), "gpus", "--device cuda"),
    (built("gpus: -1"), "gpus", "--device cuda"),
    (built("gpu: 1"), "gpu", "--device cuda:1"),
    (built("no_cuda: true"), "no_cuda", "--device cpu"),
    # data and model
    (built(data="houses.csv"), "data.name",
     "write data: {name: csv, source: houses.csv, target: column_to_predict}"),
    (built(data="{name: houses.csv, test: 0.1}"), "data.name",
     "write data: {name: csv, source: houses.csv, target: column_to_predict, test: 0.1}"),
    (built(data="{path: a.npz, classes: 3, validation: 0.1}"), "data",
     "write data: {name: npz, source: a.npz, validation: 0.1}"),
    (built(data="{name: csv, path: houses.csv, label: price}"), "data.path",
     "write source: houses.csv"),
    (built(data="{name: npz, file: a.npz}"), "data.file", "write source: a.npz"),
    (built(data="{name: images, dir: photos}"), "data.dir", "write source: photos"),
    (built(data="{path: a.npz}"), "data", "write data: {name: npz, source: a.npz}"),
    (built(data="{name: csv, source: a.csv, target: y, dropna: true}"), "data.dropna",
     "write missing: drop"),
    (built(data="{name: csv, source: a.csv, target: y, imputer: SimpleImputer}"), "data.imputer",
     "write missing: mean"),
    (built(data="my.load"), "data.name", "write data: {class_path: my.load}"),
    (built(data="{name: digits, test_size: 0.3}"), "data.test_size", "write validation: 0.3"),
    (built(data="{name: digits, shuffle: true}"), "data.shuffle", "leave 'shuffle' out"),
    (built("model: net.Net"), "model.name", "write model: {class_path: net.Net}"),
    (built("model: nn.Linear"), "model.name", "write model: {class_path: torch.nn.Linear}"),
    (built("model: MLP"), "model.name", "write model: mlp"),
    (built("model: {_target_: net.Net, width: 3}"), "model",
     "write model: {class_path: net.Net, init_args: {width: 3}}"),
    (built("model: {name: mlp, hidden_size: 64}"), "model.hidden_size", "write hidden: [64]"),
    (built("model: {name: mlp, num_classes: 10}"), "model.num_classes", "it is filled in from"),
    # search
    (built(search="train: {lr: [0.1, 0.2]}"), "search.train.lr",
     "write lr: [0.1, 0.2] under search"),
    (built(search="train.lr: [0.1, 0.2]"), "search.train.lr", "write lr: [0.1, 0.2]"),
    (built(search="weight_decay: [0.1, 0.2]"), "search.weight_decay",
     "write optimizer.weight_decay: [0.1, 0.2]"),
    (built(search="learning_rate: {min: 0.1, max: 1.0}"), "search.learning_rate",
     "write lr: {min: 0.1, max: 1.0}"),
    (built(search="epochs: [1, 2]"), "search.epochs", "write budget: [1ep, 2ep]"),
    (built(search="lr: [1e-4..1e-1]"), "search.lr", "write lr: {min: 1e-4, max: 0.1}"),
    (built(search="lr: 1e-4..1e-1"), "search.lr", "write lr: {min: 1e-4, max: 0.1}"),
    (built(search="lr: 1e-4 - 1e-1"), "search.lr", "write lr: {min: 1e-4, max: 0.1}"),
    (built(search="lr: ['1e-3', 1e-2]"), "search.lr.0", "write lr: [1e-3, 0.01]"),
    (built(search="lr: {min: 1e-4, max: 1e-1, num: 5}"), "search.lr.num",
     "write lr: {min: 1e-4, max: 0.1, points: 5}"),
    (built(search="lr: {min: 1e-4, max: 1e-1, log: true}"), "search.lr.log",
     "write lr: {min: 1e-4, max: 0.1, scale: log}"),
    (built(search="lr: {low: 1e-4, high: 1e-1, log: true}"), "search.lr.low",
     "write lr: {min: 1e-4, max: 0.1, scale: log}"),
    (built(search="lr: {from: 1e-4, to: 1e-1}"), "search.lr.from", "{min: 1e-4, max: 0.1}"),
    (built(search="lr: {start: 0.1, stop: 0.3, step: 0.1}"), "search.lr.start",
     "write lr: [0.1, 0.2, 0.3]"),
    (built(search="lr: {values: [0.1, 0.2]}"), "search.lr.values", "write lr: [0.1, 0.2]"),
    (built(search="lr: {distribution: log_uniform_values, min: 1e-4, max: 0.1}"),
     "search.lr.distribution", "write lr: {min: 1e-4, max: 0.1, scale: log}"),
    (built(search="lr: {type: loguniform, min: 1e-4, max: 0.1}"), "search.lr.type",
     "write lr: {min: 1e-4, max: 0.1, scale: log}"),
    (built(search="lr: {type: float, low: 1e-4, high: 0.1}"), "search.lr.type",
     "write lr: {min: 1e-4, max: 0.1}"),
    (built(search="lr: loguniform(1e-4, 1e-1)"), "search.lr",
     "write lr: {min: 1e-4, max: 0.1, scale: log}"),
    (built(search="lr: 'tune.loguniform(1e-4, 1e-1)'"), "search.lr", "scale: log}"),
    (built(search="lr: 'np.logspace(1e-4, 1, 4)'"), "search.lr", "{min: 1e-4, max: 1, points: 4"),
    (built(search="lr: 'np.logspace(-4, 0, 4)'"), "search.lr", "{min: 1e-4, max: 1.0, points: 4"),
    (built(search="lr: \"(1e-4, 0.1, 'log-uniform')\""), "search.lr",
     "lr: {min: 1e-4, max: 0.1, scale: log}"),
    (built(search="lr: 'hp.loguniform(\"lr\", np.log(1e-4), np.log(0.1))'"), "search.lr",
     "lr: {min: 1e-4, max: 0.1, scale: log}"),
    (built(search="lr: 'Float(\"lr\", (1e-4, 0.1), log=True)'"), "search.lr",
     "lr: {min: 1e-4, max: 0.1, scale: log}"),
    (built(search="lr: 'slice(1e-4, 0.1)'"), "search.lr", "lr: {min: 1e-4, max: 0.1}"),
    (built(search="lr: {grid_search: [0.1, 0.2]}"), "search.lr.grid_search",
     "write lr: [0.1, 0.2]"),
    (built(search="lr: 'tag(log, interval(1e-4, 1e-1))'"), "search.lr", "scale: log}"),
    (built(search="batch_size: choice(16, 32)"), "search.batch_size",
     "write batch_size: [16, 32]"),
    (built(search="batch_size: 'range(16, 64, 16)'"), "search.batch_size",
     "write batch_size: [16, 32, 48]"),
    (built(search="batch_size: {value: 16}"), "search.batch_size",
     "write batch_size: 16 under train"),
    (built(search="lr: {_target_: ray.tune.loguniform, lower: 1e-4, upper: 0.1}"),
     "search.lr._target_", "scale: log}"),
    (built(search="learning_rate: auto"), "search.learning_rate", "write lr: auto"),
    (built(search="optimizer: {values: [Adam, SGD]}"), "search.optimizer",
     "write optimizer: [adam, sgd]"),
    (built(search="optimizer: [Adam, sgd]"), "search.optimizer.0.name", "write adam"),
    (built(search="schedule: [constant, {name: StepLR, step_size: 1}]"), "search.schedule.1.name",
     "write {name: step, every: 1ep}"),
    # a command
    (own("epochs: 3"), "epochs", "write epochs: 3 under params"),
    (own("warmup: 3"), "warmup", "write warmup: 3 under params"),
    (own("momentum: 0.9"), "momentum", "write momentum: 0.9 under params"),
    (own("whatever_it_is: 3"), "whatever_it_is", "write whatever_it_is: 3 under params"),
    (own("metric: val_loss"), "metric", "write objective: {metric: val_loss, goal: min}"),
    (own("direction: maximize\nmetric: top5"), "direction",
     "write objective: {metric: top5, goal: max}"),
    (own("objective: {metric: cost, mode: min}"), "objective.mode", "write goal: min"),
    (own("objective: {metric: cost, goal: minimize}"), "objective.goal", "write goal: min"),
    (own("n_trials: 9"), "n_trials", "write bayes: {trials: 9}"),
    (own("time_limit: 90"), "time_limit", "write timeout: 90s"),
    (own("walltime: '01:30:00'"), "walltime", "write timeout: 5400s"),
    (own("timeout: 10 minutes"), "timeout", "write timeout: 10m"),
    (own(search="lr: {low: 1e-4, high: 1e-1, log: true}"), "search.lr.low", "scale: log}"),
    (own(search="lr: loguniform(1e-4, 1e-1)"), "search.lr", "scale: log}"),
    (own(search="lr: 'suggest_float(\"lr\", 1e-4, 1e-1, log=True)'"), "search.lr", "scale: log}"),
    (own(search="lr: {min: '1e-4', max: '1e-1'}"), "search.lr.min", "write lr: {min: 1e-4, max"),
    (own(search="params: {lr: [0.1, 0.2]}"), "search.params.lr", "write lr: [0.1, 0.2]"),
    (own(search="lr: {value: 0.1}"), "search.lr", "write lr: 0.1 under params"),
    (own(command="python t.py --lr $lr"), "command", "write command: python t.py --lr {lr}"),
    (own(command="python t.py --lr ${lr}"), "command", "python t.py --lr {lr}"),
    (own(command="python t.py --lr=%(lr)s"), "command", "python t.py --lr={lr}"),
    (own(command="python t.py {lr} --seed $seed"), "command", "python t.py {lr} --seed {seed}"),
    (own(command="python t.py --lr {args.lr}"), "command", "python t.py --lr {lr}"),
    (own(command="'python t.py --lr {lr:.4f}'"), "command", "python t.py --lr {lr}"),
    (own(command="[python, t.py, '${args}']"), "command", "python t.py --lr {lr}"),
    (own(command="[python, t.py, --lr, '${lr}', '{{x}}']"), "command",
     "write command: python t.py --lr {lr} {{x}}"),
    (
        "program: src/run.py\ncommand: ['${env}', python, '${program}', '${args}']\n"
        "objective: loss\nparameters: {lr: {values: [0.1]}, bs: {value: 3}}\n",
        "command",
        "write command: python src/run.py --lr {lr} --bs {bs}",
    ),
    (
        "program: t.py\nmethod: bayes\nmetric: {name: val_loss, goal: minimize}\n"
        "parameters:\n  lr: {distribution: log_uniform_values, min: 1e-4, max: 1e-1}\n"
        "  batch_size: {values: [16, 32]}\n  epochs: {value: 3}\n",
        "program",
        "write command: python t.py --lr {lr} --batch_size {batch_size} --epochs {epochs}",
    ),
]  # fmt: skip


def faults_of(text: str) -> tuple[Fault, ...]:
    document = parse(text, "spec.yaml")
    with pytest.raises(SpecError) as caught:
        validate(document, Path("/specs"), text)
    return caught.value.faults


def put(tree: Any, path: list[str], value: Any) -> None:
    for key in path[:-1]:
        tree = tree[int(key)] if isinstance(tree, list) else tree.setdefault(key, {})
    if isinstance(tree, list):
        tree[int(path[-1])] = value
    else:
        tree[path[-1]] = value


def steps_to(tree: Any, dotted: str) -> list[str]:
    """The keys of a fault's path; those that hold dots stand as they are."""
    parts, found = dotted.split("."), []
    while parts:
        length = next(
            (n for n in range(len(parts), 0, -1)
             if isinstance(tree, dict) and ".".join(parts[:n]) in tree), 1,
        )  # fmt: skip
        key = ".".join(parts[:length])
        found.append(key)
        parts = parts[length:]
        if isinstance(tree, dict):
            tree = tree.get(key)
        elif isinstance(tree, list) and key.isdigit():
            tree = tree[int(key)]
    return found


def remove(tree: Any, path: list[str]) -> None:
    *above, last = path
    outer = tree
    for key in above:
        tree = tree[int(key)] if isinstance(tree, list) else tree.get(key)
        if not isinstance(tree, dict | list):
            return
    if isinstance(tree, dict):
        tree.pop(last, None)
        if not tree and above:
            remove(outer, above)


def follow(text: str) -> Document:
    """The document after doing what every fault says, read as a user reads it."""
    data = parse(text, "spec.yaml").data
    whole = copy.deepcopy(data)
    written: list[tuple[list[str], Any]] = []
    for fault in faults_of(text):
        path = steps_to(data, fault.key)
        keeps = False
        for line in fault.hint.split("\n  "):
            if not line.startswith("write "):
                assert line.startswith("leave "), fault
                continue
            body = line.removeprefix("write ").partition("; ")[0]
            body, _, place = body.partition(" under ")
            top = body.endswith(" at the top level")
            found = parse(body.removesuffix(" at the top level"), "line").data
            if not isinstance(found, dict) or body.startswith("{"):
                at = next(n for n in range(len(path), 0, -1) if path[n - 1].isdigit())
                written.append((path[:at], found))
                keeps = True
                continue
            ((key, value),) = found.items()
            if place or top:
                target = [*([place] if place else []), key]
            elif key in path:
                target = path[: len(path) - path[::-1].index(key)]
                keeps = True
            else:
                target = [*path[:-1], key]
            written.append((target, value))
        if not keeps:
            remove(whole, path)
    for target, value in written:
        if len(target) > 1 and not isinstance(whole.get(target[0]), dict | list):
            whole[target[0]] = {}
        put(whole, target, value)
    if whole.get("search") == {}:
        del whole["search"]
    return Document("spec.yaml", whole)


@pytest.mark.parametrize(("text", "key", "line"), ROWS, ids=[f"{k}: {t}"[-60:] for t, k, _ in ROWS])
def test_a_foreign_word_is_told_the_line_and_the_line_is_right(
    text: str, key: str, line: str
) -> None:
    told = {fault.key: fault.hint for fault in faults_of(text)}
    assert key in told, told
    assert line in told[key], told[key]
    document = follow(text)
    assert validate(document, Path("/specs"), ""), document.data


SAMPLES: dict[str, str] = {
    "train.lr": "0.1", "train.batch_size": "64", "train.optimizer": "Adam",
    "train.schedule": "StepLR", "train.loss": "CrossEntropyLoss", "train.clip_norm": "1.0",
    "train.label_smoothing": "0.1", "train.layer_decay": "0.9", "train.precision": "bf16",
    "train.precision on": "true", "train.optimizer.weight_decay": "1e-3",
    "train.optimizer.momentum": "0.9", "train.optimizer.beta1": "0.8",
    "train.optimizer.beta2": "0.99", "train.optimizer.eps": "1e-7",
    "train.optimizer.betas": "[0.9, 0.99]", "train.schedule.final": "0.001",
    "train.schedule.gamma": "0.5", "train.schedule.step_size": "1",
    "train.schedule.milestones": "[1]", "train.schedule.pct_start": "0.4",
    "train.schedule.t_max": "10", "data": "iris", "data.validation": "0.3",
    "data.validation folds": "3", "data.validation rest": "0.8", "data.test": "0.1",
    "data.standardize": "true", "model": "MLP", "objective.metric": "val_acc",
    "objective.goal": "maximize", "bayes.trials": "20", "bayes.startup": "5", "seed": "3",
    "seeds count": "2", "max_failures": "3", "name": "mine",
    "search": "{lr: {min: 0.1, max: 1.0}}", "train.evaluate ep": "1", "train.evaluate as": "1",
    "train.evaluate ba": "5",
    "train.warmup ba": "5", "train.warmup ep": "1", "train.warmup dur": "0.1",
    "train.budget ep": "2", "train.budget ba": "50",
}  # fmt: skip
"""A value that each kind of word is given elsewhere."""


@pytest.mark.parametrize("word", words.WORDS)
def test_every_word_of_the_table_is_told_a_line_that_is_right(word: str) -> None:
    """At the top level of a spec with data, and beside a command."""
    target, form = words.WORDS[word]
    if target not in ("command", "loop"):
        sample = SAMPLES[f"{target} {form}".strip()]
        data = "data: digits\n" if target != "data" else ""
        model = "model: mlp\n" if target != "model" else ""
        budget = "" if target == "train.budget" else "budget: 100ba, "
        lr = "" if target in ("train.lr", "search") else "lr: 0.1"
        text = f"{data}{model}train: {{{budget}{lr}}}\n{word}: {sample}\n"
        (fault,) = faults_of(text)
        assert fault.key == word and fault.hint.startswith("write "), fault
        assert validate(follow(text), Path("/specs"), ""), word
    sample = "{lr: [0.1, 0.2]}" if target == "search" else "t.py"
    if target not in ("command", "loop", "search"):
        sample = SAMPLES[f"{target} {form}".strip()]
    search = "search: {lr: [0.1, 0.2]}\n" if target != "search" else ""
    objective = "objective: loss\n" if target != "objective.metric" else ""
    command = "command: python t.py\n" if target not in ("command", "loop") else ""
    text = f"{command}{objective}{search}{word}: {sample}\n"
    found = faults_of(text)
    assert found[0].key == word and found[0].hint, found
    assert validate(follow(text), Path("/specs"), ""), word


LISTED = re.findall(r"`([A-Z]\w+)(?:\(\w+(?:, \w+)*\))?`", test_schedules.DOCS)
HUGGING, KERAS = test_schedules.table("Hugging Face"), test_schedules.table("Keras")


def test_every_schedule_of_the_documents_by_its_name_is_told_its_own() -> None:
    """The tables of docs/schedules.md: the names of Hugging Face, Keras and torch."""
    lines = [row.values for row in (*HUGGING, *KERAS)]
    assert len(lines) == 23 and len(LISTED) > 20
    for name, arguments, line, *_ in lines:
        wanted = parse(f"a: {line}", "line").data["a"]["schedule"]
        wanted = wanted if isinstance(wanted, str) else wanted.get("name", wanted.get("class_path"))
        words = {"staircase": True} if "staircase" in str(arguments) else {}
        found = translate_schedule({"name": name, **words}, 0.1)
        assert found is not None, name
        value = found[0]
        value = value if isinstance(value, str) else value.get("name", value.get("class_path"))
        assert value == wanted, (name, value, wanted)
    for name in LISTED:
        found = translate_schedule(name, 0.1)
        assert found is not None, name
        text = built(train=f"schedule: {name}")
        if "class_path" in str(found):
            assert "write schedule: {class_path: " in faults_of(text)[0].hint
            continue
        assert faults_of(text)[0].hint.startswith("write schedule: "), name
        assert validate(follow(text), Path("/specs"), "")


def test_all_faults_come_at_once_and_the_list_of_keys_once() -> None:
    text = built("foo: 1\nbar: 2\nbaz: 3\nlr: 0.2", "lr: 0.1, qux: 1, quux: 2")
    with pytest.raises(SpecError) as caught:
        validate(parse(text, "spec.yaml"), Path("/specs"), text)
    said = str(caught.value)
    assert said.count("unknown key") == 6
    assert said.count("allowed: name, data") == 1 and said.count("allowed: budget") == 1
    text = built(train="momentum: 0.9, wd: 1e-3")
    with pytest.raises(SpecError) as caught:
        validate(parse(text, "spec.yaml"), Path("/specs"), text)
    assert str(caught.value).count("write optimizer") == 1


@pytest.mark.parametrize(
    ("option", "line"),
    [
        ("learning_rate=0.1", "write --set train.lr=0.1"),
        ("train.epochs=10", "write --set train.budget=10ep"),
        ("train.momentum=0.9", "write --set 'train.optimizer={name: sgd, momentum: 0.9}'"),
        ("search.lr={low: 0.1, high: 1.0}", "write --set 'search.lr={min: 0.1, max: 1.0}'"),
        ("train.schedule=CosineAnnealingLR", "write --set train.schedule=cosine"),
        ("n_trials=5", "write --set 'bayes={trials: 5}'"),
        ("train.metric=acc", "write --set objective=accuracy"),
    ],
)
def test_an_override_is_told_the_override_to_write(tmp_path: Path, option: str, line: str) -> None:
    (tmp_path / "spec.yaml").write_text(built())
    said = lrsearch("check", tmp_path / "spec.yaml", "--set", option)
    assert said.code == 2 and line in said.err, said
    (mended,) = re.findall(r"write --set (.+?)(?:;.*)?$", said.err, re.MULTILINE)
    assert lrsearch("check", tmp_path / "spec.yaml", "--set", mended.strip("'")).code == 0


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ("run SPEC", "write lrsearch bayes SPEC"),
        ("optimize SPEC", "write lrsearch bayes SPEC"),
        ("sweep SPEC", "write lrsearch bayes SPEC"),
        ("tune SPEC", "write lrsearch bayes SPEC"),
        ("train SPEC", "write lrsearch bayes SPEC"),
        ("search SPEC", "write lrsearch bayes SPEC"),
        ("SPEC", "write lrsearch bayes SPEC"),
        ("grid-search SPEC", "write lrsearch grid SPEC"),
        ("tpe SPEC", "write lrsearch bayes SPEC"),
        ("validate SPEC", "write lrsearch check SPEC"),
        ("results", "write lrsearch report"),
        ("bayes SPEC --n-trials 10", "10"),
        ("random SPEC -n 10", "10"),
        ("bayes SPEC --epochs 10", "write --set train.budget=10ep"),
        ("bayes SPEC --max-steps=100", "write --set train.budget=100ba"),
        ("bayes SPEC --timeout 600", "write --time 600s"),
        ("random SPEC --max-time=1h", "write --time 1h"),
        ("random SPEC --walltime 5min", "write --time 5m"),
        ("random SPEC --time 5min", "write --time 5m"),
        ("grid SPEC --save 5", "write --set save=5s"),
        ("grid SPEC --set save=never", "write --set save=null"),
        ("grid SPEC --set timeout=", "write --set timeout=null"),
        ("ls", "write lrsearch list"),
        ("bayes SPEC -j 4", "write --workers 4"),
        ("bayes SPEC -j4", "write --workers 4"),
        ("bayes SPEC --n-jobs 4", "write --workers 4"),
        ("bayes SPEC --lr 0.1", "write --set train.lr=0.1"),
        ("bayes SPEC --learning-rate 0.1", "write --set train.lr=0.1"),
        ("bayes SPEC --batch-size 64", "write --set train.batch_size=64"),
        ("bayes SPEC --optimizer Adam", "write --set train.optimizer=adam"),
        ("bayes SPEC --seed 3", "write --set seed=3"),
        ("bayes SPEC --gpu", "write --device cuda"),
        ("bayes SPEC --gpu 1", "write --device cuda:1"),
        ("bayes SPEC --gpus 2", "write --device cuda"),
        ("bayes SPEC --cpu", "write --device cpu"),
        ("bayes SPEC --device gpu", "write --device cuda"),
        ("bayes SPEC --device gpu:0", "write --device cuda:0"),
        ("grid --config SPEC", "write the file alone: lrsearch grid SPEC"),
        ("bayes SPEC --output out", "write --runs out"),
        ("bayes SPEC --metric val_acc", "write --set objective=accuracy"),
        ("bayes SPEC --direction maximize", "write --set objective=accuracy"),
        ("bayes SPEC --budget 10", "write --set train.budget=10ep"),
        ("bayes SPEC --max-time 00:01:00:00", "write --time 3600s"),
        ("bayes SPEC --max-time never", "write --time 30m"),
        ("bayes SPEC --gpus 0", "write --device cpu"),
        ("grid SPEC --n-trials 5", "a grid trains all of its points"),
        ("check SPEC --n-trials 5", "write --set bayes.trials=5"),
        ("show SPEC --n-trials 5", "write --set bayes.trials=5"),
        ("trial SPEC 1", "write lrsearch report SPEC --trial 1"),
        ("check SPEC --set search.optimizer=[Adam,SGD]", "\n  write adam\n"),
        ("check SPEC --set lr.min=1", "--set lr.min=1: lr: unknown key"),
        ("bayes SPEC --resume", "the same command goes on"),
        ("bayes SPEC --overwrite", "write --fresh"),
    ],
)
def test_a_foreign_command_or_option_is_told_what_to_write(
    tmp_path: Path, arguments: str, line: str
) -> None:
    path = tmp_path / "spec.yaml"
    path.write_text(built())
    said = lrsearch(*(str(path) if each == "SPEC" else each for each in arguments.split()))
    assert said.code == 2 and line.replace("SPEC", str(path)) in said.err, said
    assert said.err.startswith("error: ") and not list(tmp_path.glob("runs"))


@pytest.mark.parametrize(
    ("word", "hint"),
    [("val_size: 300", "write it as validation, under data"),
     ("test_size: 200", "write it as validation, under data"),
     ("epochs: 0", "write it as budget, under train"),
     ("n_trials: 0", "write it as trials, under bayes"),
     ("no_cuda: false", "leave 'no_cuda' out: the command says the device, if any"),
     ("cpu: false", "leave 'cpu' out: the command says the device, if any"),
     ("devices: 1", "leave 'devices' out: the command says the device, if any"),
     ("mode: train", "write it under objective: {metric: ..., goal: max}, or goal: min"),
     ("monitor: null", "write it under objective: {metric: ..., goal: max}, or goal: min"),
     ("name_: x", "did you mean 'name'?"),
     ("bayes: {step: 3}", "leave 'step' out; allowed: trials, startup"),
     ("random: {step: 3}", "leave 'step' out; allowed: trials, sampler"),
     ("metric: strange", "write it under objective: {metric: ..., goal: max}, or goal: min")],
)  # fmt: skip
def test_a_value_of_which_nobody_knows_is_told_its_key_alone(word: str, hint: str) -> None:
    text = built(train="lr: 0.1, budget: 2ep") + word
    (fault,) = faults_of(text)
    assert fault.hint.startswith(hint)


def test_a_long_value_is_not_shown() -> None:
    text = built(f"parameters: {{lr: {{values: {[n / 1000 for n in range(1, 300)]}}}}}")
    (fault,) = faults_of(text)
    assert fault.hint == "write it as search (it is too long to show)"


def test_a_goal_alone_says_nothing_of_a_metric_of_one_s_own() -> None:
    hints = {fault.key: fault.hint for fault in faults_of(own("direction: maximize"))}
    assert hints["direction"].startswith("write it under objective: {metric: ...")


def test_an_end_by_another_word_is_told_the_end_and_keeps_its_value(tmp_path: Path) -> None:
    (tmp_path / "spec.yaml").write_text(built(search="lr: {min: 0.1, max: 2}"))
    said = lrsearch("check", tmp_path / "spec.yaml", "--set", "search.lr.low=1")
    assert said.err.endswith("write --set search.lr.min=1\n"), said


def test_an_option_for_a_command_sets_its_parameter(tmp_path: Path) -> None:
    (tmp_path / "spec.yaml").write_text(own())
    said = lrsearch("bayes", tmp_path / "spec.yaml", "--lr", "0.3")
    assert "write --set params.lr=0.3" in said.err, said


def test_a_slip_is_left_to_the_nearest_name(tmp_path: Path) -> None:
    (tmp_path / "spec.yaml").write_text(built())
    said = lrsearch("bayes", tmp_path / "spec.yaml", "--wrkers", "3")
    assert said.code == 2 and "--workers" in said.err and "write" not in said.err
    (fault,) = faults_of(built(train="shedule: cosine"))
    assert fault.hint.startswith("did you mean 'schedule'?")
    (fault,) = faults_of(built(search="lr: {min: 0.1, max: 1.0, point: 3}"))
    assert fault.hint.startswith("did you mean 'points'?")


@given(low=st.floats(1e-9, 1e3), ratio=st.floats(1.001, 1e6))
def test_a_range_keeps_its_numbers_in_every_form(low: float, ratio: float) -> None:
    high = low * ratio
    plain = {"min": low, "max": high}
    for form in (f"{low!r}..{high!r}", f"{low!r} - {high!r}", f"({low!r}, {high!r})"):
        assert read_foreign(form) == plain
    log = {**plain, "scale": "log"}
    for mapping in (
        {"low": low, "high": high, "log": True},
        {"distribution": "log_uniform_values", "min": low, "max": high},
        {"_target_": "ray.tune.loguniform", "lower": low, "upper": high},
        {"loguniform": [low, high]},
    ):
        assert read_foreign(mapping) == log
    assert parse(f"a: {write(log)}", "f").data["a"] == log
    for call in ("loguniform", "tune.loguniform", "suggest_loguniform"):
        assert read_foreign(f"{call}({low!r}, {high!r})") == log


@given(st.one_of(st.floats(allow_nan=False), st.integers(), st.text(), st.booleans(), st.none()))
def test_what_is_written_reads_as_it_was(value: Any) -> None:
    if isinstance(value, str) and not value.isprintable():
        return
    for whole in ({"a": [value]}, {"a": value}):
        assert parse(write(whole), "f").data == whole
    found = parse(f"a: {write(value, block=True)}", "f").data["a"]
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize(
    "value",
    [{"min": 1, "max": 2}, {"min": 0.1, "max": 1.0, "scale": "log", "points": 3}, [1, 2], "cosine",
     ["sgd", "adam"], {"name": "cosine"}, {"class_path": "a.B"}, 3, None, "5ep", [[16], [32]],
     {"min": "1ep", "max": "2ep"}],
)  # fmt: skip
def test_lrsearch_s_own_forms_are_no_foreign_ones(value: Any) -> None:
    assert read_foreign(value) is None


@pytest.mark.parametrize("text", ["['1-3']", "['a|b', c]", "[1, 2, log]", "['crop(32, 4)']"])
def test_texts_of_one_s_own_parameters_stay_texts(text: str) -> None:
    spec = own(search=f"lr: [0.1], shape: {text}")
    found = validate(parse(spec, "spec.yaml"), Path("/specs"), spec)
    assert [option.value for option in found.space.dimensions[1][1].options] == (
        parse(f"a: {text}", "f").data["a"]
    )


@pytest.mark.parametrize(
    "command",
    ["sh -c 'for lr in 1 2; do echo $lr {lr}; done'", "sh -c 'lr={lr}; python t.py $lr'",
     "python t.py --lr {lr} --out $HOME", "python t.py {lr} '{{lr}}'",
     "sh -c 'lr={lr}; python t.py --lr ${{lr}}'", "python t.py {lr} ${{run}}",
     "python t.py {lr} '{{seed: 1}}' '{{lr:.3f}}' '{{ seed }}'",
     "sh -c 'args={lr}; python t.py ${{args}}'", "python t.py {lr} <device> %seed% @lr@",
     "sh -c 'read seed; python t.py {lr} $seed'", f"{'a' * 300} {{lr}}", f"./{'a' * 300} {{lr}}"],
)  # fmt: skip
def test_a_script_s_own_variables_are_its_own(command: str) -> None:
    spec = own(command=f'"{command}"')
    assert validate(parse(spec, "spec.yaml"), Path("/specs"), spec)


def test_words_that_may_be_placeholders_are_noted_and_stored_ones_are_not_judged() -> None:
    spec = own(command="python t.py {lr} <device>")
    (note,) = validate(parse(spec, "spec.yaml"), Path("/specs"), spec).notes
    assert note.startswith("<device> in the command is given as it stands")
    spec = own(command="python t.py $lr ${seed} --lr {lr}")
    assert faults_of(spec)
    assert validate(parse(spec, "spec.yaml"), Path("/specs"), "", stored=True).notes == ()


@pytest.mark.parametrize(
    "text",
    [built(search="batch_size: 'range(1, 5, 0)', lr: 'uniform(1/0, 2)'"),
     built(train="loss: {name: [mse]}"),
     built("hyperparameters: [{name: [x], type: range, bounds: [1, 2]}]"),
     built("space: {space: {lr: [1, 2]}}"), built("parameters: {space: {clip_norm: [a]}}"),
     built(train="schedule: {name: ConstantLR, factor: 1/3}"),
     built(train="schedule: {name: PiecewiseConstantDecay, boundaries: ['1000'], "
           "values: ['0.1', '0.01']}"),
     built(train="schedule: {name: PiecewiseConstantDecay, boundaries: [a, null], "
           "values: [{a: 1}, x]}")],
)  # fmt: skip
def test_what_no_form_has_is_a_fault(text: str) -> None:
    assert faults_of(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [("1e-3", 1e-3), ("0,1", 0.1), ("5%", 0.05), ("1/128", 1 / 128), ("10^-3", 1e-3),
     ("1_000", 1000), ("2**10", 1024), ("5k", 5000), ("cosine", "cosine"), ("1-2-x", "1-2-x")],
)  # fmt: skip
def test_a_number_in_other_words(text: str, value: Any) -> None:
    assert number(text) == value


COMING = (Path(__file__).parents[2] / "docs" / "coming-from.md").read_text()


@pytest.mark.parametrize(
    ("there", "here"),
    re.findall(r"^\| `([a-z].+)` \| `(.+?)`(?: under `train`)? \|$", COMING, re.MULTILINE),
)
def test_the_document_of_other_tools_says_what_check_says(there: str, here: str) -> None:
    searched = here.split(":")[0] in ("lr", "batch_size", "optimizer.weight_decay")
    row = next(line for line in COMING.splitlines() if line.startswith(f"| `{there}`"))
    searched = searched and "under `train`" not in row
    text = built(search="x: 1") if searched else built(there)
    if searched:
        text = text.replace("{x: 1}", "").rstrip() + f"\n  {there}\n"
        text = text.replace("lr: 0.1, ", "") if here.startswith("lr") else text
    hints = [fault.hint for fault in faults_of(text)]
    assert any(f"write {here}" in hint for hint in hints), hints
    assert ("under train" in hints[0]) == ("under `train`" in row)
    assert validate(follow(text), Path("/specs"), "")


def test_the_document_has_rows() -> None:
    assert COMING.count("\n| `") >= 25


ANY = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(-3, 300), st.floats(allow_nan=True),
        st.sampled_from(["Adam", "a..b", "1..2", "loguniform(1, 2)", "f(", "max", "val_acc", "",
                         "10%", "x.csv", "net.Net", "hp.choice()", "range()", "tag(log)", "0"]),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(["name", "type", "min", "max", "low", "high", "value", "values", "lr",
                             "params", "sweeper", "_target_", "log", "step", "num", "T_max", "wd"]),
            inner, max_size=3,
        ),
    ),
    max_leaves=6,
)  # fmt: skip


@given(
    words=st.dictionaries(st.sampled_from([*words.WORDS, *words.HOMES, "trainer", "x"]), ANY,
                          max_size=4),
    place=st.sampled_from(["", "train", "search", "data", "model", "objective", "bayes", "params"]),
    kind=st.sampled_from(["built", "command", "neither"]),
)  # fmt: skip
@settings(max_examples=60)
def test_nothing_foreign_breaks_the_reader(words: dict[str, Any], place: str, kind: str) -> None:
    tree: dict[str, Any] = {}
    if kind == "built":
        tree = {"data": "digits", "model": "mlp", "train": {"budget": "2ep", "lr": 0.1}}
    elif kind == "command":
        tree = {"command": "python t.py {lr} $wd", "objective": "loss", "search": {"lr": [0.1]}}
    inner = tree.get(place)
    if place:
        tree[place] = {**(inner if isinstance(inner, dict) else {}), **words}
    else:
        tree |= words
    try:
        validate(Document("spec.yaml", copy.deepcopy(tree)), Path("/specs"), "")
    except SpecError as error:
        assert error.faults and str(error)


LONG = (
    *(
        "1",
        "1_",
        "1e",
        "1.",
        "1,",
        "1 - ",
        "a|",
        "a.b",
        "(",
        " ",
        "[1 , ",
        "{lr",
        "$lr ",
        "-",
        "ep",
    ),
    *("=", "%(lr)s", "<lr>", "${lr}", "{{lr}} ", "@lr@"),
)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("part", LONG)
def test_long_texts_are_refused_at_once(tmp_path: Path, part: str) -> None:
    """No pattern that looks for foreign words tries all ways to divide one."""
    text = json.dumps(part * (40_000 // len(part)) + "x")
    train = "data: digits\nmodel: mlp\ntrain: {budget: BUDGET, lr: LR}\nsearch: {batch_size: BATCH}"
    own = "command: COMMAND\nobjective: OBJECTIVE\nsearch: {lr: VALUE}"
    usual = {"BUDGET": "2ep", "LR": "0.1", "BATCH": "[8]"}
    usual |= {"COMMAND": "t {lr}", "OBJECTIVE": "loss", "VALUE": "[0.1]"}
    for long in usual:
        document = train if long in train else own
        for key, value in {**usual, long: text}.items():
            document = document.replace(key, value)
        (tmp_path / "s.yaml").write_text(document)
        with contextlib.suppress(LrsearchError):
            read_spec(tmp_path / "s.yaml")


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("\u22121", -1), ("1e\u22123", 1e-3), ("\uff15", 5), ("\u00bd", 0.5), ("0x1F", 31),
        ("10\u207b\u00b3", 1e-3), ("3\u00d710\u207b\u2074", 3e-4), ("0.1f", 0.1), ("1'000", 1000),
        ("1_000", 1000),
        ("1 - 1e-3", 0.999), ("5 %", 0.05), ("1,5", 1.5), ("2k", 2000),
    ],
)  # fmt: skip
def test_a_number_in_another_hand_is_read(text, meant):
    assert number(text) == meant


@pytest.mark.parametrize(
    "text",
    ["2024-11-12", "10-3", "1e-3-1", "1--2", "1.2.3", "1.2.3%", "..k", "f", "-", "1:30", "9" * 500],
)
def test_what_is_no_number_is_left_alone(text):
    assert number(text) == text


SMALL = "data: iris\nmodel: logistic\ntrain: {budget: 5ep, lr: 0.1}\n"


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        # Options by their names, and components in a mapping of their own.
        ("", "search: {optimizer: {name: [sgd, adam]}}", "optimizer: [sgd, adam]"),
        ("", "search: {optimizer: {sgd: {momentum: 0.9}, adam: {}}}",
         "optimizer: [{name: sgd, momentum: 0.9}, adam]"),
        ("", "search: {schedule: [cosine: {final: 0.1}, linear]}",
         "schedule: [{name: cosine, final: 0.1}, linear]"),
        ("lr: 0.1", "lr: 0.1, optimizer: {sgd: {momentum: 0.9}}",
         "optimizer: {name: sgd, momentum: 0.9}"),
        ("logistic", "{mlp: {hidden: [8]}}", "model: {name: mlp, hidden: [8]}"),
        ("iris", "{iris: {validation: 0.3}}", "data: {name: iris, validation: 0.3}"),
        # Ranges.
        ("", "search: {lr: {min: 1e-4}}", "lr: {min: 1e-4, max: 0.1}"),
        ("", "search: {lr: {max: 1, points: 5}}", "lr: {min: 1e-3, max: 1, points: 5}"),
        ("", "search: {batch_size: {min: 8}}", "batch_size: {min: 8, max: 32}"),
        ("", "search: {batch_size: 2^3..2^5}", "batch_size: {min: 8, max: 32}"),
        ("", "search: {lr: 'range(1e-4, 1e-1)'}", "lr: {min: 1e-4, max: 0.1}"),
        # Lists for one value.
        ("lr: 0.1", "lr: '0.1, 0.2'", "lr: [0.1, 0.2] under search"),
        ("lr: 0.1", "lr: 0.1, batch_size: '16,32'", "batch_size: [16, 32] under search"),
        # Blanks and commas.
        ("{budget: 5ep, lr: 0.1}", "{budget:5ep, lr: 0.1}", "budget: 5ep"),
        ("lr: 0.1", "lr: 0,1", "lr: 0.1"),
    ],
)  # fmt: skip
def test_the_line_that_is_told_mends_it(old, new, line, tmp_path):
    """Pasted in place of what is at fault, it is a spec."""
    text = SMALL.replace(old, new) if old else f"{SMALL}{new}\n"
    (tmp_path / "s.yaml").write_text(text)
    with pytest.raises(SpecError) as error:
        read_spec(tmp_path / "s.yaml")
    (fault,) = error.value.faults
    assert fault.hint.startswith(f"write {line}"), str(fault)
    key, _, value = fault.hint.removeprefix("write ").removesuffix(" under search").partition(": ")
    document = yaml.safe_load(SMALL)
    head = "search" if fault.hint.endswith("search") else fault.key.split(".")[0]
    if head in ("train", "search"):
        document.setdefault(head, {})[key] = yaml.safe_load(value)
    else:
        document[key] = yaml.safe_load(value)
    (tmp_path / "s.yaml").write_text(yaml.safe_dump(document))
    assert read_spec(tmp_path / "s.yaml").train["budget"] == "5ep"


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("$LR", "--set train.lr=$LR"),
        ("fast", "not a number: it takes a number above 0\n  write lr: 0.01; for example"),
        ("-0.3", "too small: it takes a number above 0\n  write lr: 0.3"),
    ],
)
def test_what_a_value_means_is_told_where_that_is_known(value, told, tmp_path):
    (tmp_path / "s.yaml").write_text(SMALL.replace("0.1", value))
    with pytest.raises(SpecError) as error:
        read_spec(tmp_path / "s.yaml")
    (fault,) = error.value.faults
    assert told in str(fault)


@pytest.mark.parametrize("value", ["{}", "true", "powers of two", "a b"])
def test_what_cannot_be_fixed_is_not_told_to_be(value, tmp_path):
    (tmp_path / "s.yaml").write_text(f"{SMALL}search: {{lr: {value}}}\n")
    with pytest.raises(SpecError) as error:
        read_spec(tmp_path / "s.yaml")
    (fault,) = error.value.faults
    assert "is no range and no list" in fault.message and "under train" not in fault.hint
