"""What lrsearch itself costs a trial: propose, journal, tell and show, with training that takes
no time.

    python benchmarks/bookkeeping.py [TRIALS]

Prints milliseconds a trial for random and for bayes; of bayes, the time inside Optuna's sampler
is taken out and shown apart. Everything else is the real thing: the loop, the run folder with
its fsyncs, the progress display (plain lines into a file).
"""

from __future__ import annotations

import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

from lrsearch.executors.inline import Inline
from lrsearch.reports.live import Progress
from lrsearch.search.bayes import Bayes
from lrsearch.spec import read_spec
from lrsearch.store import Run, read
from lrsearch.trial import (
    Cohort,
    Ended,
    Facts,
    Measured,
    Measurement,
    Outcome,
    Result,
    Started,
    Workplace,
)
from lrsearch.tuner.loop import tune
from lrsearch.tuner.session import Asked

SPEC = """
name: {name}
data: digits
model: mlp
train: {{budget: 10ep}}
search:
  lr: {{min: 1e-4, max: 1.0}}
  batch_size: {{min: 16, max: 256}}
  optimizer:
    - {{name: sgd, momentum: {{min: 0.0, max: 0.99}}}}
    - {{name: adamw, weight_decay: {{min: 1e-4, max: 1.0}}}}
random: {{trials: {trials}}}
bayes: {{trials: {trials}}}
"""
EVALUATIONS = 10


def instant(cohort: Cohort) -> Generator[object, Any, None]:
    """A cohort whose trials take no time and report `EVALUATIONS` measurements each."""
    for trial in cohort.trials:
        value = -((math.log10(trial.config["train"]["lr"]) + 1.5) ** 2)
        metrics = {"accuracy": value, "f1": value, "loss": -value, "train_loss": 1.0, "lr": 0.1}
        yield Started(trial.number)
        for step in range(EVALUATIONS):
            yield Measured(trial.number, Measurement(step + 1, metrics), EVALUATIONS)
        shown = {name: metrics[name] for name in ("accuracy", "f1", "loss")}
        result = Result(Outcome.COMPLETED, EVALUATIONS, 10.0, 0.0, last=shown, best=shown)
        curve = {name: [value] * EVALUATIONS for name, value in metrics.items()}
        yield Ended(trial.number, result, curve)


class Instant(Inline):
    """Runs `instant` whatever it is asked to run."""

    def submit(self, function: str, payload: object, *, clean: bool = False) -> int:
        return super().submit(f"{__name__}:instant", payload, clean=clean)


class Clock:
    """Adds up the time inside a function."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def wrap(self, function: Any) -> Any:
        def timed(*args: Any) -> Any:
            begun = time.perf_counter()
            try:
                return function(*args)
            finally:
                self.seconds += time.perf_counter() - begun

        return timed


def measure(strategy: str, trials: int, folder: Path, sampler: Clock) -> float:
    """Seconds of a whole search of `trials` trials."""
    path = folder / f"{strategy}.yaml"
    path.write_text(SPEC.format(name=strategy, trials=trials))
    spec = read_spec(path)
    facts = Facts(
        task="classification",
        data_hash="0",
        source_hashes={},
        train_samples=(1438,),
        validation_samples=(359,),
        test_samples=0,
        input_shape=(1, 8, 8),
        outputs=10,
        device="cpu",
        devices=("cpu",),
        device_name="none",
        versions={},
        parameters=0,
    )
    original = Bayes._ask
    Bayes._ask = sampler.wrap(original)  # type: ignore[method-assign]
    try:
        with (
            Run.open(folder, strategy, spec_text=spec.text) as run,
            Instant() as executor,
            (folder / "progress").open("w") as stream,
        ):
            begun = time.perf_counter()
            tune(
                spec,
                strategy,
                run=run,
                executor=executor,
                facts=facts,
                workplace=Workplace(),
                watcher=Progress(stream),
                asked=Asked("solo"),
            )
            return time.perf_counter() - begun
    finally:
        Bayes._ask = original  # type: ignore[method-assign]


def main() -> None:
    trials = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    # Beside this file, not in a temporary folder that may be memory: fsync is part of the cost.
    with tempfile.TemporaryDirectory(dir=Path(__file__).parent) as name:
        folder = Path(name)
        print(f"{trials} trials, milliseconds a trial")
        for strategy in ("random", "bayes"):
            sampler = Clock()
            seconds = measure(strategy, trials, folder, sampler)
            own = (seconds - sampler.seconds) / trials * 1e3
            asked = sampler.seconds / trials * 1e3
            print(f"{strategy:7} own {own:6.2f}   sampler {asked:6.2f}")
        begun = time.perf_counter()
        count = len(read(folder / "random").results)
        print(f"reading {count} trials back: {(time.perf_counter() - begun) * 1e3:.0f} ms in all")
        command = [sys.executable, "-m", "lrsearch", "report", str(folder / "random")]
        begun = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        print(f"lrsearch report of them: {time.perf_counter() - begun:.2f} s, start-up included")


if __name__ == "__main__":
    main()
