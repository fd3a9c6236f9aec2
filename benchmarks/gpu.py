"""Everything to check and measure on a GPU, in parts that are bounded: the most telling come first.

    python benchmarks/gpu.py [--device cuda] [--seconds 1000] [PART ...]

Parts, in their order: `cuda` (what no other device can answer: captures, replays, errors of the
device, memory), `steps` (a step by 1 to 256 lanes beside its floors), `search` (a search from the
command line), `quick` (trial-epochs per second beside loops by hand and CUDA graphs), `large`
(steps of larger models), `equality` (a step in lanes beside one alone, for each family of layers),
`tests` (engines, lanes and optimizers), `short` (`quick` for all workloads), `compact` (what empty
places cost). Each is a group of processes of its own, which is ended when its seconds, or those of
all, are over. What it says is in OUTPUT/PART.log; the lines that matter are printed as soon as it
has ended. The exit status is 1 where a part failed or was cut off.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
SMALL = "digits-mlp,digits-cnn,digits-transformer,mnist-mlp"
LARGE = "digits-large-cnn,images-resnet,text-64,text-384"
TESTS = "--dist worksteal --timeout=90 -rfE --tb=short -p no:cacheprovider"
GRACE = 8
"""Seconds in which a part that is ended may say what it has."""
MOST, WIDTH = 40, 250
"""Lines of a part that are printed, and characters of a line."""
NOISE = r"^(Traceback|  File |    [^ ]| +[\^~]+$|KeyboardInterrupt)"
FAILED = r"^(FAILED|ERROR) |lost the device|\d (passed|failed|error)"
JOURNALED = r'"(engine|device|lanes|captured\.\d+|making\.\d+|outcome)": ?("[a-z0-9_:]*"|[\d.]+)'


@dataclass(frozen=True)
class Part:
    """A command of at most so many seconds. Of its lines those that match `shown` are printed, or
    and the last, or those that do not match NOISE; of a journal, how its trials were trained."""

    seconds: int
    command: Sequence[str]
    shown: str = ""
    journal: Path | None = None


def list_parts(options: argparse.Namespace) -> dict[str, Part]:
    """The parts by name."""
    mnist = ["--mnist", str(options.mnist.absolute())] if options.mnist else []
    device = ["--device", options.device]
    graphs = ",graph" * (options.device != "cpu")

    def script(name: str, folder: str, more: str) -> list[str]:
        own = [*device, "--output", str(options.output / folder)]
        return [str(HERE / f"{name}.py"), *own, *more.split()]

    def tests(more: str) -> list[str]:
        own = f"-m pytest -n {options.jobs} {TESTS} {more}"
        return [*own.split(), *device]

    runs = options.output / "runs"
    search = ["-m", "lrsearch", "bayes", "configs/digits.yaml", *device, "--fresh", "--runs"]
    steps = f"--lanes 0,1,4,16,64,256 --workloads {SMALL}"
    large = f"--lanes 0,1,4,16,64 --workloads {LARGE}"
    quick = "--no-steps --quick --minutes 1.6 --workloads digits-mlp,digits-cnn"
    short = "--no-steps --minutes 1.7 --points 64 --epochs 5 --peer-points 2 --repeats 1"
    short += f" --peers auto,solo,hand-1{graphs}"
    compact = "--workloads digits-mlp,digits-cnn --lanes 16 --steps 600 --rounds 3"
    others = "--ignore=tests/train/test_cuda.py tests/train"
    equality = "BEYOND|beyond|raised|alone:"
    return {
        "cuda": Part(100, tests("tests/train/test_cuda.py"), FAILED),
        "steps": Part(105, [*script("steps", "steps", steps), *mnist]),
        "search": Part(55, [*search, str(runs)], journal=runs / "digits/journal.jsonl"),
        "quick": Part(105, [*script("throughput", "quick", quick), *mnist]),
        "large": Part(80, [*script("steps", "large", large), *mnist]),
        "equality": Part(235, script("equality", "equality", "--steps 5"), equality),
        "tests": Part(150, tests(others), FAILED),
        "short": Part(110, [*script("throughput", "short", short), *mnist]),
        "compact": Part(50, [str(HERE / "compacting.py"), *device, *compact.split()]),
    }


def run(part: Part, seconds: float, log: Path) -> tuple[int, str]:
    """Run a part for so many seconds at most; returns its status, and why it was ended."""
    paths = [str(HERE.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    own = {"PYTHONPATH": os.pathsep.join(paths), "PYTHONUNBUFFERED": "1"}
    command, told = [sys.executable, *part.command], ""
    with log.open("wb") as out:
        child = subprocess.Popen(
            command, cwd=HERE.parent, env=os.environ | own, stdin=subprocess.DEVNULL, stdout=out,
            stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        for sent, wait in ((signal.SIGINT, seconds), (signal.SIGKILL, GRACE)):
            try:
                child.wait(wait)
                break
            except subprocess.TimeoutExpired:
                told = told or "cut off"
            except KeyboardInterrupt:
                told = "interrupted"
            os.killpg(child.pid, sent)
        child.wait()
    with contextlib.suppress(ProcessLookupError):  # Nothing of it runs beside the next part.
        os.killpg(child.pid, signal.SIGKILL)
    return child.returncode, told


def show(part: Part, log: Path) -> None:
    """Print the lines of a part that matter."""
    lines = log.read_text(errors="replace").splitlines()
    found = [each for each in lines if each.strip() and not re.search(NOISE, each)]
    if part.shown:
        found = [each for each in found[:-1] if re.search(part.shown, each)] + found[-1:]
    found = found[-MOST:]
    if part.journal and part.journal.is_file():
        counted = Counter(re.findall(JOURNALED, part.journal.read_text()))
        found += [f"{count} x {': '.join(each)}" for each, count in counted.most_common(20)]
    for line in found:
        print(f"  {line[:WIDTH]}", flush=True)


def parse() -> argparse.Namespace:
    kept = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=kept)
    parser.add_argument("parts", nargs="*", metavar="PART", help="of those above; or all")
    parser.add_argument("--device", default="cuda")
    parser.add_argument(
        "--seconds", type=float, default=1000, help="that all parts may take (1000)"
    )
    parser.add_argument("--limit", type=float, default=600, help="the most that any part may take")
    parser.add_argument("--jobs", type=int, default=8, help="processes of the tests (8)")
    parser.add_argument("--mnist", type=Path, metavar="PATH", help="an mnist.npz")
    parser.add_argument(
        "--output", type=Path, default=Path(tempfile.gettempdir(), "lrsearch-gpu"), metavar="DIR"
    )
    options = parser.parse_args()
    options.output = options.output.absolute()
    known = list_parts(options)
    options.parts = options.parts or [*known]
    if unknown := [each for each in options.parts if each not in known]:
        parser.error(f"no part {', '.join(unknown)}; there are {', '.join(known)}")
    return options


def interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def main() -> int:
    begun, options, ended = time.monotonic(), parse(), []
    for each in (signal.SIGINT, signal.SIGTERM):  # A shell's background jobs ignore the former.
        signal.signal(each, interrupt)
    options.output.mkdir(parents=True, exist_ok=True)
    parts, wrong = list_parts(options), False
    for name in options.parts:
        spent, part = time.monotonic() - begun, parts[name]
        seconds = min(part.seconds, options.limit, options.seconds - spent - GRACE)
        if seconds < 1 or (ended and "interrupted" in ended[-1]):
            ended.append(f"{name}: left out")
            continue
        print(f"{name}: at {spent:.0f} s, at most {seconds:.0f} s", flush=True)
        log, clock = options.output / f"{name}.log", time.monotonic()
        status, told = run(part, seconds, log)
        show(part, log)
        took = f"{time.monotonic() - clock:.0f} s"
        ended.append(f"{name}: {', '.join(filter(None, (f'status {status}', took, told)))}")
        wrong |= bool(status or told)
    print("\n".join([*ended, f"logs and tables are in {options.output}"]), flush=True)
    return int(wrong)


if __name__ == "__main__":
    sys.exit(main())
