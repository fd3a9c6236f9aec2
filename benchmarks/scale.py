"""What a run of many trials costs the commands that read it, and a search that goes on with it.

    python benchmarks/scale.py [--trials 5000,50000] [--only "report;grid"] [--folder DIR]

Builds a run of so many trials for each strategy, through the loop and the run folder's own
writer, with configs of a real spec, facts of real data, real keys and a curve a trial; only the
training takes no time and comes to made-up numbers, and proposals of bayes are drawn at random.
Then runs the commands, each a process of its own, `--repeats` times, and prints the medians of the
CPU seconds (of the process itself, and with its workers), of the seconds that passed, and its peak
memory. Writes them to `results/scale-cpu.json` (`--output DIR`), in the place of those of the same
command and size. `--folder DIR` keeps the runs there, and takes those that are there already.
`--only` measures the commands whose titles hold one of some texts, divided by semicolons.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import pty
import random
import shutil
import signal
import statistics
import struct
import subprocess
import sys
import tempfile
import termios
import threading
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from fcntl import ioctl
from pathlib import Path
from typing import Any

from lrsearch.executors.inline import Inline
from lrsearch.reports.live import Progress
from lrsearch.search.bayes import Bayes
from lrsearch.search.strategy import derive_seed
from lrsearch.spec import read_spec
from lrsearch.store import Run
from lrsearch.trial import Cohort, Ended, Measured, Measurement, Outcome, Result, Started, Workplace
from lrsearch.tuner.loop import tune
from lrsearch.tuner.preparing import prepare
from lrsearch.tuner.session import Asked

STRATEGIES = ("grid", "random", "bayes")

# 1,000 points for each value of lr.
SPEC = """
name: scale
data: {{name: digits, validation: 0.2, test: 0.1, standardize: true}}
model: {{name: mlp, hidden: [32]}}
train: {{budget: 5ep, evaluate: 1ep}}
search:
  lr: {{min: 1e-4, max: 1.0, points: {rates}}}
  batch_size: [16, 32, 64, 128, 256]
  optimizer:
    - {{name: sgd, momentum: {{min: 0.0, max: 0.99, points: 10}}}}
    - {{name: adamw, weight_decay: {{min: 1e-4, max: 1.0, points: 10}}}}
  schedule:
    - constant
    - {{name: cosine, final: {{min: 0.0, max: 0.5, points: 9}}}}
random: {{trials: {trials}}}
bayes: {{trials: {trials}, generation: 100}}
max_failures: {trials}
"""
PER_RATE = 1000
EVALUATIONS = 5
LEFT = 100
"""Trials to go where a search has something to do."""


def come_to(cohort: Cohort) -> Generator[object, Any, None]:
    """A cohort whose trials take no time; what each comes to depends on its key alone."""
    for trial in cohort.trials:
        dice = random.Random(trial.key)
        train = trial.config["train"]
        best = 0.98 - 0.05 * (math.log10(train["lr"]) + 1.5) ** 2 + 0.01 * dice.gauss(0, 1)
        course = [max(0.1, best * (1 - 0.5**step)) for step in range(1, EVALUATIONS + 1)]
        curve: dict[str, list[float]] = {"step": [], "accuracy": [], "f1": [], "loss": []}
        yield Started(trial.number)
        for step, value in enumerate(course, 1):
            metrics = {"accuracy": value, "f1": 0.99 * value, "loss": 1 / value + dice.random()}
            metrics |= {"train_loss": 1 / value, "lr": train["lr"]}
            for name, number in {"step": step, **metrics}.items():
                curve.setdefault(name, []).append(number)
            yield Measured(trial.number, Measurement(step, metrics), EVALUATIONS)
        last = {name: curve[name][-1] for name in ("accuracy", "f1", "loss")}
        seconds = dice.uniform(0.2, 0.4)
        chance = dice.random()
        if chance < 0.96:
            steps = dict.fromkeys(last, EVALUATIONS)
            result = Result(Outcome.COMPLETED, EVALUATIONS, 5.0, seconds, "solo", last, last, steps)
        elif chance < 0.99:
            reason = "the loss is not finite at step 4"
            result = Result(Outcome.DIVERGED, 4, 4.0, seconds, last=last, best=last, reason=reason)
        else:
            reason = "ValueError: a sample is too large"
            result = Result(Outcome.FAILED, 0, 0.0, seconds, reason=reason, traceback=reason * 40)
        yield Ended(trial.number, result, curve)


class Instant(Inline):
    """Prepares for real, and has trials come to something at once."""

    def submit(self, function: str, payload: object, *, clean: bool = False) -> int:
        if isinstance(payload, Cohort):
            function = f"{__name__}:come_to"
        return super().submit(function, payload, clean=clean)


def draw(self: Bayes, index: int) -> dict[str, Any]:
    """A point drawn at random in the place of one that TPE proposes, which takes minutes a
    thousand."""
    from numpy.random import default_rng

    from lrsearch.space import draw_random

    return draw_random(self.space, default_rng(derive_seed(self.seed, self.name, index)))


def build(root: Path, strategy: str, trials: int) -> float:
    """A run of a strategy's trials under `root`, and its spec; the seconds a trial took."""
    root.mkdir(parents=True)
    path = root / "scale.yaml"
    path.write_text(SPEC.format(rates=trials // PER_RATE, trials=trials))
    spec = read_spec(path)
    workplace = Workplace("cpu", str(spec.folder))
    asked = Bayes._ask
    Bayes._ask = draw  # type: ignore[method-assign]
    try:
        with Instant() as executor, (root / "progress").open("w") as stream:
            facts = prepare(spec, executor, workplace)
            with Run.open(root / "runs", spec.name, spec_text=spec.text) as run:
                begun = time.perf_counter()
                tune(
                    spec,
                    strategy,
                    run=run,
                    executor=executor,
                    facts=facts,
                    workplace=workplace,
                    watcher=Progress(stream),
                    asked=Asked("solo", command=["lrsearch", strategy, "scale.yaml"]),
                )
                return (time.perf_counter() - begun) / trials
    finally:
        Bayes._ask = asked  # type: ignore[method-assign]


@dataclass
class Cost:
    """What a process took: CPU seconds of its own, and with those it started; seconds; its
    peak memory in MB."""

    own: float = 0.0
    cpu: float = 0.0
    wall: float = 0.0
    memory: float = 0.0
    output: list[bytes] = field(default_factory=list, repr=False)


def run(
    folder: Path,
    arguments: Sequence[str],
    *,
    terminal: bool = False,
    until: bytes | None = None,
) -> Cost:
    """Run a command in a folder to its end, or until it says `until`, and see what it takes.
    With a `terminal` that is what it prints on."""
    cost, begun = Cost(), time.perf_counter()
    ours, theirs = pty.openpty() if terminal else os.pipe()
    if terminal:
        ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
    process = subprocess.Popen(
        [sys.executable, "-m", "lrsearch", *arguments],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs,
        env=os.environ | {"COLUMNS": "", "OMP_NUM_THREADS": "1"},
    )
    os.close(theirs)
    said = threading.Event()

    def listen() -> None:
        while True:
            try:
                part = os.read(ours, 1 << 16)
            except OSError:  # A terminal whose other end is closed.
                part = b""
            if not part:
                return
            cost.output.append(part)
            if until is not None and until in b"".join(cost.output[-2:]):
                said.set()

    listener = threading.Thread(target=listen)
    listener.start()
    while True:
        # What a process has used is told until it is waited for, and its peak until it ends.
        state = _look(process.pid, cost)
        if said.is_set() and cost.wall == 0.0:
            cost.wall = time.perf_counter() - begun
            os.kill(process.pid, signal.SIGINT)
            break
        if state == "Z":
            break
        time.sleep(0.01)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    listener.join()
    os.close(ours)
    cost.cpu = usage.ru_utime + usage.ru_stime
    cost.wall = cost.wall or time.perf_counter() - begun
    if process.returncode != (0 if until is None else 130):
        raise SystemExit(b"".join(cost.output).decode() + f"{arguments}: {process.returncode}")
    return cost


def _look(pid: int, cost: Cost) -> str:
    """Note what a process has used so far; its state."""
    state, *numbers = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    cost.own = (int(numbers[10]) + int(numbers[11])) / os.sysconf("SC_CLK_TCK")
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            cost.memory = int(line.split()[1]) / 1024
    return state


def _spoil(folder: Path) -> None:
    """Lose a byte of a line in the middle of the journal."""
    journal = folder / "journal.jsonl"
    data = bytearray(journal.read_bytes())
    data[data.index(b'"event":"started"', len(data) // 2)] ^= 1
    journal.write_bytes(data)


def _cut(folder: Path) -> None:
    """Have the last trials not begun, as where a search was killed."""
    journal = folder / "journal.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    while b'"event":"ended"' not in lines[-1]:
        lines.pop()
    journal.write_bytes(b"".join(lines[: -2 * LEFT]))


def measure(
    folder: Path, repeats: int, only: Sequence[str], keep: Callable[[str, Cost], None]
) -> None:
    """Hand to `keep` what each command costs over the runs in a folder, the medians of some
    repeats."""
    copy = folder / f"copy-{os.getpid()}"

    def take(
        title: str,
        arguments: Sequence[str],
        *,
        where: str = "grid",
        first: Callable[[Path], None] | None = None,
        **options: Any,
    ) -> None:
        if only and not any(part in title for part in only):
            return
        costs = []
        for _ in range(repeats):
            place = folder / where
            if first is not None:
                # A copy on which what was written before leaves no trace; curves are not read.
                place = copy
                shutil.rmtree(place, ignore_errors=True)
                ignored = shutil.ignore_patterns("0*.json")
                shutil.copytree(folder / where, place, ignore=ignored)
                first(place / "runs" / "scale")
            costs.append(run(place, arguments, **options))
        shutil.rmtree(copy, ignore_errors=True)
        names = ("own", "cpu", "wall", "memory")
        keep(title, Cost(*(statistics.median(getattr(each, n) for each in costs) for n in names)))

    take("report", ["report"])
    take("report, terminal", ["report"], terminal=True)
    take("report --all", ["report", "--all"])
    take("report --json", ["report", "--json"])
    take("report --csv", ["report", "--csv"])
    take("report --markdown", ["report", "--markdown"])
    take("report --trial 1000", ["report", "--trial", "1000"])
    take("list", ["list"])
    take("check", ["check", "scale.yaml"])
    take("export", ["export"])
    take("repair, sound", ["repair", "scale"])
    take("repair", ["repair", "scale"], first=_spoil)
    alone = ["--workers", "1", "--engine", "solo"]
    for strategy in STRATEGIES:
        line = [strategy, "scale.yaml", *alone]
        take(f"{strategy}, nothing to do", line, where=strategy, first=lambda _: None)
    started = {"until": f"/{LEFT}] trial".encode()}
    take("grid, 100 to go", ["grid", "scale.yaml", *alone], first=_cut, **started)
    for strategy in ("random", "bayes"):
        title, line = f"{strategy}, 100 more", [strategy, "scale.yaml", *alone]
        line += [
            "--trials",
            str(len(list((folder / strategy / "runs/scale/curves").iterdir())) + LEFT),
        ]
        take(title, line, where=strategy, first=lambda _: None, **started)


def main() -> None:
    """Build, measure, print and keep."""
    parser = argparse.ArgumentParser(description="What commands cost over runs of many trials.")
    parser.add_argument("--trials", default="5000,50000", help="thousands, such as 5000,50000")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", default="", help="commands whose titles hold one of these")
    parser.add_argument("--folder", type=Path, help="where the runs are kept")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results")
    given = parser.parse_args()
    only = [part for part in given.only.split(";") if part]
    sizes = [int(part) for part in given.trials.split(",")]
    if any(size % PER_RATE or size < PER_RATE for size in sizes):
        parser.error(f"--trials are multiples of {PER_RATE}")
    given.output.mkdir(parents=True, exist_ok=True)
    path = given.output / "scale-cpu.json"
    results: dict[str, Any] = {"format": 1, "built": {}, "commands": {}}
    if path.exists():
        results = json.loads(path.read_text())
    with tempfile.TemporaryDirectory(dir=Path(__file__).parent) as temporary:
        root = given.folder or Path(temporary)
        for size in sizes:

            def keep(title: str, cost: Cost, size: int = size) -> None:
                print(
                    f"{title:24} {size:7,} trials: CPU {cost.own:6.2f} s, with workers "
                    f"{cost.cpu:6.2f} s, wall {cost.wall:6.2f} s, memory {cost.memory:5.0f} MB",
                    flush=True,
                )
                figures = {name: round(value, 2) for name, value in vars(cost).items() if value}
                row = results["commands"].setdefault(title, {})
                row[str(size)] = {"repeats": given.repeats, **figures}
                path.write_text(json.dumps(results, indent=1) + "\n")

            for strategy in STRATEGIES:
                place = root / str(size) / strategy
                if not place.exists():
                    seconds = build(place, strategy, size)
                    results["built"].setdefault(strategy, {})[str(size)] = round(1e3 * seconds, 3)
                    print(f"{size} trials by {strategy}: {1e3 * seconds:.2f} ms each", flush=True)
            measure(root / str(size), given.repeats, only, keep)


if __name__ == "__main__":
    main()
