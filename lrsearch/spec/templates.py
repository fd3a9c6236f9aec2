"""First specs, commented, for `lrsearch init`: their purposes, and the files they come with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Template:
    """A spec to begin with. `files` stand beside it, by name; `allow` has the options that a
    command to train needs, `first` the user's preparations."""

    doc: str
    spec: str
    files: Mapping[str, str] = field(default_factory=dict)
    allow: str = ""
    first: str = ""


_SEARCH = """\

search:                   # what is searched; everything above is fixed
  lr: {min: 1e-3, max: 1.0, points: 7}      # log scale; points are for grid alone
  batch_size: [32, 128]
  schedule: [constant, cosine, {name: wsd, decay: 0.2dur}]        # lrsearch schedules

random: {trials: 24, sampler: informed}   # begins at usual rates; or sobol, random
bayes: {trials: 24, startup: 8, generation: 4}
seeds: 1                  # more seeds, more certainty: each point trains once a seed
"""

_FOUND = _SEARCH.replace(
    "  lr: {min: 1e-3, max: 1.0, points: 7}      # log scale; points are for grid alone\n",
    """\
  lr: {auto: true, points: 7}     # a range test finds the rates first; or {min: 1e-3, max: 1.0}
""",
)
"""The search for a model of the user's own, whose usual rates are unknown."""

_TRAIN = """\
train:
  budget: 20ep            # 20ep epochs, 500ba steps, 60000sp samples
  warmup: 0.05dur         # a share of the budget
  optimizer: {name: sgd, momentum: 0.9, weight_decay: 5e-4}       # or adamw, lion, muon ...
"""

_SAVE = """\
save: 5m                  # how often a training under way is saved: it goes on from there
"""

_MODEL = '''\
"""A model of your own: any torch.nn.Module."""

import torch
from torch import nn


class Net(nn.Module):
    """Two layers. `in_features` and `num_classes` are filled in from the data."""

    def __init__(self, in_features: int, num_classes: int, width: int = 64) -> None:
        super().__init__()
        self.hidden = nn.Linear(in_features, width)
        self.head = nn.Linear(width, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[batch, ...] to [batch, num_classes]."""
        return self.head(torch.relu(self.hidden(x.flatten(1))))
'''

_LOOP = '''\
"""A training loop of your own, called once a trial."""

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.functional import cross_entropy


def train(trial):
    """`trial` has params, seed and device; report metrics as often as you like."""
    images, labels = load_digits(return_X_y=True)
    x = torch.tensor(images / 16.0, dtype=torch.float32, device=trial.device)
    y = torch.tensor(labels, device=trial.device)
    held_out = torch.arange(len(x), device=trial.device) % 5 == 0

    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10)).to(trial.device)
    optimizer = torch.optim.SGD(model.parameters(), lr=trial.params["lr"], momentum=0.9)
    for epoch in range(1, trial.params["epochs"] + 1):
        order = torch.randperm(int((~held_out).sum())).to(trial.device)
        for index in order.split(trial.params["batch_size"]):
            optimizer.zero_grad()
            cross_entropy(model(x[~held_out][index]), y[~held_out][index]).backward()
            optimizer.step()
        with torch.no_grad():
            outputs = model(x[held_out])
        accuracy = (outputs.argmax(dim=1) == y[held_out]).float().mean()
        trial.report(epoch, loss=cross_entropy(outputs, y[held_out]), accuracy=accuracy)
'''

_SCRIPT = '''\
"""A training script that knows nothing of lrsearch: it prints a line of JSON an epoch."""

import argparse
import json

from sklearn.datasets import load_digits
from sklearn.linear_model import SGDClassifier
from sklearn.metrics import log_loss
from sklearn.model_selection import train_test_split

parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float, required=True)
parser.add_argument("--alpha", type=float, default=1e-4)
parser.add_argument("--epochs", type=int, default=5)
parser.add_argument("--seed", type=int, default=0)
args = parser.parse_args()

x, y = load_digits(return_X_y=True)
x_train, x_test, y_train, y_test = train_test_split(x / 16.0, y, random_state=0, stratify=y)
model = SGDClassifier(
    loss="log_loss",
    learning_rate="constant",
    eta0=args.lr,
    alpha=args.alpha,
    random_state=args.seed,
)
for epoch in range(1, args.epochs + 1):
    model.partial_fit(x_train, y_train, classes=range(10))
    loss = log_loss(y_test, model.predict_proba(x_test), labels=range(10))
    print(json.dumps({"step": epoch, "loss": loss, "accuracy": model.score(x_test, y_test)}))
'''

TEMPLATES: dict[str, Template] = {
    "mlp": Template(
        "a built-in model on built-in data, to see how it goes",
        """\
# A search on scikit-learn's digits: put your data and model in its place.
data:
  name: digits            # or iris, wine, breast_cancer, diabetes, npz, csv ...: docs/spec.md
  validation: 0.2
  standardize: true
model: {name: mlp, hidden: [128]}     # or logistic, cnn
"""
        + _TRAIN
        + "objective: {metric: accuracy, at: last}   # of the validation split\n"
        + _SAVE
        + _SEARCH,
    ),
    "csv": Template(
        "a table: a CSV file with a column to predict",
        """\
# A search on a table. The first line of the file names the columns.
data:
  name: csv
  source: data.csv        # beside this file
  target: target          # the column to predict: text or whole numbers are classes
  validation: 0.2
model: {name: mlp, hidden: [128]}
"""
        + _TRAIN
        + _SAVE
        + _SEARCH,
        first="name your file and its target in it, under data",
    ),
    "module": Template(
        "a torch.nn.Module of your own",
        """\
# A search for a model of your own: my_model.py stands beside this file.
data: {name: digits, validation: 0.2, standardize: true}
model: {class_path: my_model.Net, init_args: {width: 64}}
"""
        + _TRAIN
        + _SAVE
        + _FOUND,
        {"my_model.py": _MODEL},
        "--allow-import my_model",
    ),
    "loop": Template(
        "a training loop of your own, in Python",
        """\
# A search for a training loop of your own: my_loop.py stands beside this file.
loop: my_loop.train       # def train(trial): trial.params, trial.seed, trial.report(...)
params: {epochs: 5}       # fixed; the searched ones join them
objective: {metric: accuracy, goal: max, at: last}    # by a name that the loop reports
timeout: 10m              # of a trial; one that takes longer has failed

search:
  lr: {min: 1e-3, max: 1.0, points: 7}      # log scale; points are for grid alone
  batch_size: [32, 128]

random: {trials: 16, sampler: informed}   # begins in the middle of the ranges; or sobol, random
bayes: {trials: 16, startup: 6, generation: 2}
""",
        {"my_loop.py": _LOOP},
        "--allow-import my_loop",
    ),
    "command": Template(
        "any script, which prints its metrics as lines of JSON",
        """\
# A search for a script: train.py stands beside this file and knows nothing of lrsearch.
command: python train.py --lr {lr} --alpha {alpha} --seed {seed}
objective: {metric: loss, goal: min, at: last}        # by a name that the script prints
timeout: 10m              # of a trial; one that takes longer has failed

search:
  lr: {min: 1e-3, max: 1.0, points: 7}      # log scale; points are for grid alone
  alpha: {min: 1e-5, max: 1e-2, points: 3, scale: log}

random: {trials: 16, sampler: informed}   # begins in the middle of the ranges; or sobol, random
bayes: {trials: 16, startup: 6, generation: 2}
""",
        {"train.py": _SCRIPT},
        "--allow-command",
    ),
}
"""Templates by the names that `--from` takes."""
