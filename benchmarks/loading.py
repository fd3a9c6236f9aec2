"""What lanes gain where samples are loaded batch by batch: one reading of a batch serves them all.

    python benchmarks/loading.py [POINTS] [REPEATS]

A small network learns digits that are rotated at random by each reading, on the CPU, as a Dataset's
augmentation is. Trains the same points by `--engine solo` and `--engine fused`, in turn, each a
whole command, start and probe included; prints seconds and their ratio. Nothing else should run
meanwhile.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

DATA = """
import torch
from scipy.ndimage import rotate
from sklearn.datasets import load_digits
from torch.utils.data import Dataset


class Rotated(Dataset):
    classes = list(range(10))

    def __init__(self, start, spread):
        digits = load_digits()
        self.x, self.y, self.spread = digits.images[start::2] / 16, digits.target[start::2], spread

    def __len__(self):
        return len(self.y)

    def __getitem__(self, index):
        x = self.x[index]
        if self.spread:
            x = rotate(x, float(torch.randn(()) * self.spread), reshape=False, order=1)
        return torch.from_numpy(x[None].astype("float32")), int(self.y[index])


def load():
    return Rotated(0, 10.0), Rotated(1, 0.0)
"""

SPEC = """
name: loading
data: {{class_path: rotated.load, validation: source}}
model: {{name: cnn, channels: [8, 16]}}
train: {{budget: 10ep, batch_size: 32, evaluate: 5ep}}
search: {{lr: {{min: 0.01, max: 0.3, points: {points}}}}}
"""


def run(folder: Path, engine: str) -> tuple[float, float]:
    """Seconds of a whole search, and the best point's accuracy."""
    options = ["--engine", engine, "--allow-import", "rotated", "--fresh", "--json", "--quiet"]
    begun = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "lrsearch", "grid", "loading.yaml", *options],
        cwd=folder,
        check=True,
        capture_output=True,
        text=True,
    )
    seconds = time.perf_counter() - begun
    found = json.loads(done.stdout)
    engines = {each["engine"] for each in found["trials"]}
    if engines != {engine}:
        raise SystemExit(f"--engine {engine} trained {' and '.join(sorted(engines))}")
    return seconds, found["best"]["objective"]


def main() -> None:
    """Measure and print."""
    points = int(sys.argv[1]) if len(sys.argv) > 1 else 16
    repeats = int(sys.argv[2]) if len(sys.argv) > 2 else 3
    times: dict[str, list[float]] = {"solo": [], "fused": []}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "rotated.py").write_text(DATA)
        (folder / "loading.yaml").write_text(SPEC.format(points=points))
        for repeat in range(repeats):
            for engine, found in times.items():
                seconds, best = run(folder, engine)
                found.append(seconds)
                print(f"{repeat + 1}  {engine:5}  {seconds:6.1f} s  accuracy {best:.4f}")
    solo, fused = (statistics.median(each) for each in times.values())
    print(f"{points} points: solo {solo:.1f} s, fused {fused:.1f} s, {solo / fused:.2f} times")


if __name__ == "__main__":
    main()
