"""Tables of fine-tuning: networks that were pretrained on one half of the classes of MNIST, trained
further on the other half.

    python benchmarks/search_finetuned.py --folder FOLDER --mnist FILE.npz

`lrsearch grid` pretrains a network on 10,000 samples of the digits 0 to 4, and then trains its
layers, with a head of their own, on 1,000 of the digits 5 to 9 (another 2,000 judge): 13 rates,
three a decade, times 3 batch sizes, 3 seeds, by two optimizers with two budgets each.
`search_quality.py` replays what comes of it.
"""

from __future__ import annotations

import argparse
import gzip
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE)]

from search_tables import FINETUNED, collect  # noqa: E402

_NET = '''
"""A network of 64 hidden units twice; those of `weights` are pretrained, the head is not."""

from pathlib import Path

import safetensors.torch
from torch import nn


class Net(nn.Module):
    def __init__(self, num_classes, weights=None):
        super().__init__()
        layers = nn.Flatten(), nn.Linear(784, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU()
        self.body = nn.Sequential(*layers)
        self.head = nn.Linear(64, num_classes)
        if weights is not None:
            known = safetensors.torch.load_file(Path(__file__).parent / weights)
            body = {key: value for key, value in known.items() if key.startswith("body.")}
            self.load_state_dict(body, strict=False)

    def forward(self, x):
        return self.head(self.body(x))
'''

_PRETRAINED = """\
name: pretrained
data: {name: npz, source: first.npz, validation: 0.1, standardize: true}
model: {class_path: finetuned.Net}
train: {budget: 10ep, batch_size: 64, optimizer: {name: sgd, momentum: 0.9}}
objective: loss
prune: none
search:
  lr: [0.03]"""

_TUNED = """\
name: {name}
data: {{name: npz, source: second.npz, validation: source, standardize: true}}
model: {{class_path: finetuned.Net, init_args: {{weights: pretrained.safetensors}}}}
train: {{budget: {budget}ep, start: pretrained, optimizer: {optimizer}}}
objective: loss
search:
  lr: [{rates}]
  batch_size: [8, 32, 128]"""

_OPTIMIZERS = {
    "sgd": ("{name: sgd, momentum: 0.9}", range(-10, 3)),
    "adamw": ("adamw", range(-15, -2)),
}
"""Optimizers and their rates, in thirds of a decade: for SGD those of the tables from scratch."""

_BUDGETS = (2, 6)


def split(mnist: Path, folder: Path) -> None:
    """Write the samples: digits 0 to 4 to `first.npz`, 5 to 9 to `second.npz`."""
    with np.load(mnist) as held:
        x, y = held["x_train"], held["y_train"]
    first, second = np.flatnonzero(y < 5)[:10_000], np.flatnonzero(y >= 5)[:3000]
    np.savez(folder / "first.npz", x_train=x[first], y_train=y[first])
    few, rest = second[:1000], second[1000:]
    parts = {"x_train": x[few], "y_train": y[few], "x_test": x[rest], "y_test": y[rest]}
    np.savez(folder / "second.npz", **parts)


def train(folder: Path, mnist: Path, output: Path) -> None:
    """Train the tables, which goes on where it was stopped; write them down."""
    folder.mkdir(parents=True, exist_ok=True)
    split(mnist, folder)
    (folder / "finetuned.py").write_text(_NET)

    def grid(name: str, text: str, *change: str) -> Path:
        path = folder / f"{name}.yaml"
        path.write_text(text)
        command = [sys.executable, "-m", "lrsearch", "grid", str(path), "--runs", str(folder)]
        command += ["--device", "cpu", "--quiet", "--allow-import", "finetuned", *change]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        return folder / name

    best = grid("pretrained", _PRETRAINED) / "best"
    (weights,) = best.glob("*.safetensors")
    (folder / "pretrained.safetensors").write_bytes(weights.read_bytes())
    tables: dict[str, Any] = {}
    for optimizer, (line, exponents) in _OPTIMIZERS.items():
        rates = ", ".join(f"{10 ** (each / 3):.3g}" for each in exponents)
        for budget in _BUDGETS:
            name = f"finetuned-{optimizer}-{budget}"
            text = _TUNED.format(name=name, budget=budget, optimizer=line, rates=rates)
            run = grid(name, text, "--set", "prune=none", "--set", "seeds=3")
            tables[f"{name}ep"] = {"text": text, "curves": collect(run, budget)}
    with gzip.GzipFile(output, "wb", mtime=0) as file:
        file.write(json.dumps(tables).encode())
    print(f"wrote {output}: {output.stat().st_size:,} bytes")


def main() -> None:
    """Make the tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--mnist", type=Path, required=True, help="Keras' mnist.npz")
    parser.add_argument("--output", type=Path, default=FINETUNED)
    options = parser.parse_args()
    train(options.folder, options.mnist, options.output)


if __name__ == "__main__":
    main()
