"""Whether lanes that have ended make a smaller program at the right time.

    python benchmarks/compacting.py [--workloads digits-mlp] [--lanes 16] [--rounds 5]

Trains a workload of `throughput.py` in one program, of whose lanes some end early: half of them
soon, and the rest one after the other. In turn, by four rules: never make a smaller program, make
one whenever a lane has ended, make one once a fixed number of steps of the whole program is saved,
and by `Plan.smaller`, which the probe finds by what it measures. Prints for each the median
seconds, those as a multiple of the best, and the programs that were made.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
import tempfile
import time
from pathlib import Path

import torch

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE)]

from steps import PLACE, Task  # noqa: E402
from workloads import WORKLOADS  # noqa: E402

from lrsearch.train.device import find_device  # noqa: E402
from lrsearch.train.engines.cohort import run_cohort  # noqa: E402
from lrsearch.train.engines.probe import probe  # noqa: E402
from lrsearch.train.lanes.program import Program  # noqa: E402
from lrsearch.trial import Cohort, Objective, Plan, Probe, Trial, Workplace  # noqa: E402

FIXED = 50
"""Steps of a program that a smaller one must save by the fixed rule."""


def make_trials(task: Task, lanes: int, steps: int) -> tuple[Trial, ...]:
    """Trainings of which half end after a twelfth of the steps, the others one after the other."""
    half = lanes // 2
    later = [steps * (half + 2 * place) // (3 * half) for place in range(1, lanes - half + 1)]
    budgets = [max(1, steps // 12)] * half + later
    return tuple(
        task.trial(number, budget=f"{each}ba", evaluate=f"{max(1, steps // 12)}ba")
        for number, each in enumerate(budgets)
    )


def train(trials: tuple[Trial, ...], smaller: float, device: str) -> tuple[float, int]:
    """Seconds of a cohort's training, and the programs that it made."""
    made: list[int] = []
    make = Program.__init__

    def count(self: Program, *args: object, **kwargs: object) -> None:
        made.append(1)
        make(self, *args, **kwargs)  # type: ignore[arg-type]

    place = Workplace(device, PLACE.folder, PLACE.allowed)
    plan = Plan("fused", len(trials), smaller=smaller)
    cohort = Cohort(trials, plan, place, Objective("loss", "min"), share=False)
    Program.__init__ = count  # type: ignore[method-assign, assignment]
    try:
        begun = time.perf_counter()
        list(run_cohort(cohort))
        return time.perf_counter() - begun, len(made)
    finally:
        Program.__init__ = make  # type: ignore[method-assign]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--workloads", default="digits-mlp,digits-cnn,digits-transformer")
    parser.add_argument("--lanes", type=int, default=16)
    parser.add_argument("--steps", default="120,600", help="of the longest training")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    names = options.workloads.split(",")
    if unknown := set(names) - WORKLOADS.keys():
        parser.error(f"--workloads: {', '.join(sorted(unknown))} not among {', '.join(WORKLOADS)}")
    torch.set_num_threads(1)
    device = find_device(options.device)
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            task = Task(name, device, Path(folder), None)
            for steps in map(int, options.steps.split(",")):
                trials = make_trials(task, options.lanes, steps)
                place = Workplace(options.device, PLACE.folder, PLACE.allowed)
                (planned,) = probe(Probe(trials[-8:], options.lanes, "fused", None, place))
                rules = {
                    "never": math.inf,
                    "always": 0.0,
                    f"{FIXED} steps": float(FIXED * options.lanes),
                    "measured": planned.plan.smaller,
                }
                times: dict[str, list[float]] = {rule: [] for rule in rules}
                programs: dict[str, int] = {}
                for _ in range(options.rounds):
                    for rule, smaller in rules.items():
                        seconds, programs[rule] = train(trials, smaller, options.device)
                        times[rule].append(seconds)
                medians = {rule: statistics.median(each) for rule, each in times.items()}
                told = ", ".join(
                    f"{rule} {each:.2f} s ({each / min(medians.values()):.2f}, {programs[rule]})"
                    for rule, each in medians.items()
                )
                print(
                    f"{name}, {options.lanes} lanes, {steps} steps: {told}; measured: "
                    f"{planned.plan.smaller:.0f} steps",
                    flush=True,
                )
    return 0


if __name__ == "__main__":
    sys.exit(main())
