"""Which of 1,080 real trainings are called diverged, and how many of them wrongly.

    python benchmarks/divergence.py path/to/deepobs_baselines.json.gz

DeepOBS's baselines (Schneider et al. 2019): 8 problems by SGD, momentum and Adam at 36 constant
rates, training and test losses of each epoch. Each is judged as if it were evaluated after every
epoch, and after every 2, 5 and 10. Wrong is a verdict on a finite training that ends in the better
half of its problem's, or under 0.8 of the loss's scale; missed is a training that ends above three
times that. The constants of `lrsearch.divergence` were set on the first half of the problems.
"""

from __future__ import annotations

import gzip
import json
import math
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from lrsearch.divergence import diverged, find_scale

INTERVALS = (1, 2, 5, 10)
BASELINES = {  # The loss of all classes alike; 1 where nothing is known, as for a user's own.
    "cifar10_3c3d": math.log(10),
    "cifar100_allcnnc": math.log(100),
    "fmnist_2c2d": math.log(10),
    "svhn_wrn164": math.log(10),
    "tolstoi_char_rnn": math.log(83),
}


def judge(training: Any, tested: Any, scale: float, interval: int) -> bool:
    """Whether a training is called diverged; losses are those of each epoch, [epochs + 1]."""
    budget = len(training) - 1
    ends = [*range(interval, budget, interval), budget]
    begun = [0, *ends[:-1]]
    means = [float(training[a + 1 : b + 1].mean()) for a, b in zip(begun, ends, strict=True)]
    states = [float(tested[end]) for end in ends]
    return any(
        diverged(scale, ends[:k], means[:k], states[:k], budget) for k in range(1, len(ends) + 1)
    )


def main(path: Path) -> None:
    if not path.is_file():
        print(f"skipped: there is no {path} (fsschneider/DeepOBS_Baselines, MIT)")
        return
    with gzip.open(path) as file:
        runs = [run for run in json.load(file) if "train_losses" in run]
    problems = sorted({run["testproblem"] for run in runs})
    print(f"{'runs':>9}  {'called at 1/2/5/10':18} {'wrong':>6} {'missed':>7} {'differ':>7}")
    for half in (problems[::2], problems[1::2]):
        found: Counter[Any] = Counter()
        for problem in half:
            own = [run for run in runs if run["testproblem"] == problem]
            tests = [np.array(run["test_losses"], float) for run in own]
            middle = float(np.median([np.nan_to_num(each[-1], nan=np.inf) for each in tests]))
            for run, tested in zip(own, tests, strict=True):
                training = np.array(run["train_losses"], float)
                scale = find_scale(float(training[0]), BASELINES.get(problem, 1.0), 0.0)
                last = tested[-1] if np.isfinite(tested).all() else math.inf
                verdicts = [judge(training, tested, scale, each) for each in INTERVALS]
                found.update(each for each, lost in zip(INTERVALS, verdicts, strict=True) if lost)
                found["runs"] += 1
                found["half"] += any(verdicts) and last < middle
                found["learned"] += any(verdicts) and last < 0.8 * scale
                found["missed"] += not any(verdicts) and last > 3 * scale
                found["differ"] += len({*verdicts}) > 1
        called = "/".join(str(found[each]) for each in INTERVALS)
        wrong = f"{found['half']} + {found['learned']}"
        counts = f"{wrong:>6} {found['missed']:7} {found['differ']:7}"
        print(f"{found['runs']:9}  {called:18} {counts}  {', '.join(half)}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "deepobs_baselines.json.gz"))
