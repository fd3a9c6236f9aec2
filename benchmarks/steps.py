"""How long a step takes alone and by 1 to 256 lanes, and how far that is from what the device can.

    python benchmarks/steps.py [--device cuda] [--quick] [--workloads digits-mlp] [--lanes 4,64]

Of the workloads of `throughput.py`: the median time of a step (of all lanes together), and how much
of it the host is busy. The floor is the longer one of two: the bytes that the operations of a step
read and write, over the rate at which the device copies, and their multiplications and additions,
over the rate of a large product of matrices; both rates are measured first. `of floor` is the floor
over the time: 1 for a step that could not be faster unless its operations were others. A step that
is captured replays as one launch on a GPU. `making` is what a program costs before it runs at that
speed, in such steps, and `again` what the second one costs; a probe measures that, and by two rows
what a smaller program gains: `Plan.smaller`. `same` says whether two programs came to the same
bits. Below stands how often the host waits for the device from one evaluation to the next: once is
what it should be. Prints a line and writes the JSON after each measurement.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE)]

from workloads import WORKLOADS, make_data  # noqa: E402

from lrsearch.errors import UsageError  # noqa: E402
from lrsearch.spec import read_spec  # noqa: E402
from lrsearch.spec.model import resolve  # noqa: E402
from lrsearch.train.batches.batch import take  # noqa: E402
from lrsearch.train.batches.resident import Resident, load_raw, place  # noqa: E402
from lrsearch.train.device import (  # noqa: E402
    describe_device,
    find_device,
    free_memory,
    is_out_of_memory,
    release,
)
from lrsearch.train.engines.cohort import run_cohort  # noqa: E402
from lrsearch.train.engines.start import build  # noqa: E402
from lrsearch.train.engines.timetable import learning_rates  # noqa: E402
from lrsearch.train.engines.training import Training  # noqa: E402
from lrsearch.train.lanes.program import Program, needs_of  # noqa: E402
from lrsearch.train.lanes.state import Skeleton, initial_state  # noqa: E402
from lrsearch.train.optimizers.registry import STACKED  # noqa: E402
from lrsearch.train.tape import kind_of  # noqa: E402
from lrsearch.trial import Cohort, Objective, Plan, Trial, Workplace  # noqa: E402

PLACE = Workplace(folder=str(HERE), allowed=("workloads",))
LANES = (0, 1, 4, 16, 64, 256)
"""Lanes that are measured; 0 is a training alone, without a program."""
BLOCK, ROUNDS = 20, 7
"""Steps that are timed together, and how often."""


class Work(TorchDispatchMode):
    """Counts the bytes that operations read and write, and multiplications and additions of
    products and convolutions, which are most of them."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # Else it is imported, which takes over a second.

    def __init__(self) -> None:
        super().__init__()
        self.bytes = self.operations = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if not kind_of(func).view:
            name = func._schema.name.removeprefix("aten::")
            read = _tensors((args, kwargs or {}))
            if name in ("index_select", "index", "embedding", "gather"):
                read = read[1:]  # Of what they choose from they read what they give.
            self.bytes += sum(map(_size, [*read, *_tensors(out)]))
            self.operations += _operations(name, args, out)
        return out


def _tensors(tree: Any) -> list[Tensor]:
    if isinstance(tree, Tensor):
        return [tree]
    if isinstance(tree, dict):
        tree = tree.values()
    elif not isinstance(tree, list | tuple):
        return []
    return [each for part in tree for each in _tensors(part)]


def _size(tensor: Tensor) -> int:
    """Bytes of the memory that a tensor shows: an expanded one shows some of it many times."""
    shown = [size for size, step in zip(tensor.shape, tensor.stride(), strict=True) if step]
    return math.prod(shown) * tensor.element_size()


def _operations(name: str, args: Any, out: Any) -> int:
    if name in ("mm", "bmm"):
        return int(2 * args[0].numel() * args[1].shape[-1])
    if name in ("addmm", "baddbmm"):
        return int(2 * args[1].numel() * args[2].shape[-1])
    if name in ("convolution", "cudnn_convolution", "conv_depthwise2d", "_conv_depthwise2d"):
        return int(2 * out.numel() * args[1][0].numel())
    if name == "convolution_backward":  # By the inputs and by the weights, where asked for.
        return int(2 * args[0].numel() * args[2][0].numel() * sum(args[-1][:2]))
    return 0


# time


def wait(device: torch.device) -> None:
    if device.type != "cpu":
        getattr(torch, device.type).synchronize()


def clock(job: Callable[[], object], device: torch.device) -> tuple[float, float]:
    """Seconds that a job takes the device, and those until the host is done with it."""
    wait(device)
    begun = time.perf_counter()
    if device.type != "cuda":
        job()
        told = time.perf_counter() - begun
        wait(device)
        return time.perf_counter() - begun, told
    first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    first.record()
    job()
    last.record()
    told = time.perf_counter() - begun
    wait(device)
    return first.elapsed_time(last) / 1e3, told


def median_of(
    job: Callable[[], object], device: torch.device, rounds: int, steps: int
) -> tuple[float, float]:
    """The median seconds of a step of a job that makes so many, by the device and by the host."""
    times = [clock(job, device) for _ in range(rounds)]
    device_time, host_time = (statistics.median(each) / steps for each in zip(*times, strict=True))
    return device_time, host_time


@dataclass(frozen=True)
class Rates:
    """Bytes per second that the device copies (read and written), and its operations per second in
    a product of matrices."""

    copied: float
    operations: float


def measure_rates(device: torch.device) -> Rates:
    big = device.type != "cpu"
    source = torch.zeros(2**28 if big else 2**23, device=device)
    target = torch.empty_like(source)
    side = 8192 if big else 512
    left, right = (torch.randn(side, side, device=device) for _ in range(2))
    jobs = (lambda: target.copy_(source), lambda: torch.mm(left, right))
    seconds = []
    for job in jobs:
        job()
        seconds.append(median_of(job, device, ROUNDS, 1)[0])
    return Rates(2 * source.nbytes / seconds[0], 2 * side**3 / seconds[1])


# a workload


class Task:
    """A workload's data, and trainings of it by SGD with momentum."""

    def __init__(self, name: str, device: torch.device, folder: Path, mnist: Path | None) -> None:
        workload = WORKLOADS[name]
        self.device = device
        document = {
            "name": name,
            "data": make_data(name, folder, mnist),
            "model": dict(workload.model),
            "train": {
                "budget": "1000ba",
                "batch_size": workload.batch_size,
                "optimizer": {"name": "sgd", "momentum": 0.9},
                "lr": workload.lr[0],
                "evaluate": f"{BLOCK}ba",
            },
        }
        path = folder / f"{name}.yaml"
        path.write_text(yaml.safe_dump(document, sort_keys=False))
        spec = read_spec(path)
        raw = load_raw(dict(spec.data), PLACE)
        self.config = resolve(spec, {}, raw.task)
        self.train = self.config["train"]
        found = place(raw, self.config["data"], None, device, self.train)
        assert isinstance(found, Resident)
        self.data = found
        dice = torch.Generator().manual_seed(0)
        shape = BLOCK, workload.batch_size
        self.index = torch.randint(self.data.samples, shape, generator=dice).to(device)

    def trial(self, number: int, **train: Any) -> Trial:
        own = {**self.config, "train": {**self.train, **train}}
        return Trial(number, "", own, number)

    def alone(self) -> Callable[[], None]:
        """A block of steps of a training alone."""
        model = build(self.trial(0), self.data, PLACE)
        model.train()
        training = Training(model, self.train, PLACE)

        def block() -> None:
            for index in self.index.unbind(0):
                training.step(take(self.data.train, index), self.train["lr"])

        return block

    def program(self, lanes: int) -> tuple[Program, Callable[[], None]]:
        """A program of lanes that read their own batches, and a block of its steps."""
        model = build(self.trial(0), self.data, PLACE)
        optimizer = STACKED[self.train["optimizer"]["name"]]
        noise = torch.Generator(self.device).manual_seed(0).get_state()
        state = initial_state(model, optimizer, noise)
        needs = needs_of(self.train)
        program = Program(Skeleton(model), self.train, needs, self.data, lanes)
        for lane in range(lanes):
            program.put(lane, state, self.train)
        rates = learning_rates(self.train, self.data.samples)[:BLOCK]
        curves = program.curves(self.train, rates)
        numbers = program.tabulate([(self.train, curves, 0)] * lanes)
        size = self.index.shape[1]
        shifts = torch.arange(lanes, device=self.device).view(1, -1, 1)
        index = (self.index.view(BLOCK, 1, size) + shifts) % self.data.samples
        return program, lambda: program.advance(index, numbers)

    def measure(self, lanes: int, rates: Rates, rounds: int) -> dict[str, Any]:
        """A row of the table; raises what a step raises."""
        if not lanes:
            block = self.alone()
            block()
            seconds, host = median_of(block, self.device, rounds, BLOCK)
            return {"lanes": 0, "seconds": seconds, "host": host}
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        program, block, made = self._make(lanes)
        peak = torch.cuda.max_memory_allocated() if self.device.type == "cuda" else None
        first = [each.clone() for each in program.stack.held()]
        del program, block
        program, block, again = self._make(lanes)
        same = all(map(torch.equal, first, program.stack.held()))
        del first
        seconds, host = median_of(block, self.device, rounds, BLOCK)
        with Work() as work, torch.no_grad():
            (recorded,) = program._steps.values()
            index = self.index[:1].expand(lanes, -1).contiguous()
            recorded.tape.run(index, program.tabulate([self._first(program)] * lanes)[0])
        floors = {
            "bytes": work.bytes / rates.copied,
            "operations": work.operations / rates.operations,
        }
        return {
            "lanes": lanes,
            "seconds": seconds,
            "host": host,
            "bytes": work.bytes,
            "operations": work.operations,
            "floors": floors,
            "of_floor": max(floors.values()) / seconds,
            "launches": recorded.tape.operations,
            "captured": recorded.captured is not None,
            "reason": program.uncaptured,
            "making": max(0.0, made / seconds - BLOCK),
            "again": max(0.0, again / seconds - BLOCK),
            "same": same,
            "peak_bytes": peak,
        }

    def _make(self, lanes: int) -> tuple[Program, Callable[[], None], float]:
        """`program` after a block, and the seconds that both took."""
        begun = time.perf_counter()
        program, block = self.program(lanes)
        block()
        wait(self.device)
        return program, block, time.perf_counter() - begun

    def _first(self, program: Program) -> tuple[Any, Any, int]:
        rates = learning_rates(self.train, self.data.samples)[:1]
        return self.train, program.curves(self.train, rates), 0

    def count_waits(self) -> dict[str, int]:
        """How often the host waits from one evaluation to the next, by the file that does: what a
        longer training waits more than a shorter one."""

        def count(intervals: int) -> Counter[str]:
            budget = f"{intervals * BLOCK}ba"
            trials = tuple(self.trial(number, budget=budget) for number in range(4))
            device = Workplace(str(self.device), PLACE.folder, PLACE.allowed)
            metric = Objective("loss", "min")
            job = run_cohort(Cohort(trials, Plan("fused", 4), device, metric, share=False))
            return count_reads(lambda: list(job), self.device)

        found = count(4)
        found.subtract(count(3))
        return {name: number for name, number in sorted(found.items()) if number}


# waits

READS = (
    *(Tensor.tolist, Tensor.item, Tensor.__bool__, Tensor.__float__, Tensor.__int__),
    *(Tensor.nonzero, torch.nonzero, torch.equal, Tensor.numpy),
)


class Reading(TorchFunctionMode):
    """Counts what reads numbers of a tensor on the host, by the file of lrsearch that does."""

    def __init__(self) -> None:
        super().__init__()
        self.found: Counter[str] = Counter()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in READS:
            files = [Path(each.filename) for each in traceback.extract_stack()]
            own = [each.name for each in files if "lrsearch" in each.parts]
            self.found[own[-1] if own else ""] += 1
        return func(*args, **(kwargs or {}))


def count_reads(job: Callable[[], object], device: torch.device) -> Counter[str]:
    """What waits for the device in a job, by file: on a GPU all that torch warns of, elsewhere
    what reads numbers back."""
    if device.type != "cuda":
        with Reading() as reading:
            job()
        return reading.found
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            job()
        finally:
            torch.cuda.set_sync_debug_mode("default")
    # "called a synchronizing operation": torch also says, once, that this mode is a prototype.
    seen = [each for each in told if "a synchronizing" in str(each.message)]
    return Counter(Path(each.filename).name for each in seen)


# the whole


def describe(row: dict[str, Any]) -> str:
    """A row in words."""
    name = {0: "alone", 1: "1 lane"}.get(row["lanes"], f"{row['lanes']} lanes")
    if "raised" in row:
        return f"{name}: {row['raised']}"
    told = f"a step {1e3 * row['seconds']:.3f} ms, the host {1e3 * row['host']:.3f} ms"
    if not row["lanes"]:
        return f"{name}: {told}"
    floors = row["floors"]
    parts = [
        f"{name}: {told}",
        f"{row['gain']:.1f} times alone" if "gain" in row else "",
        f"floors {1e3 * floors['bytes']:.3f} ms ({row['bytes'] / 1e6:.0f} MB) and "
        f"{1e3 * floors['operations']:.3f} ms ({row['operations'] / 1e9:.2f} GFLOP)",
        f"of floor {row['of_floor']:.2f}",
        f"{row['launches']} operations{', captured' * row['captured']}",
        row["reason"],
        f"making {row['making']:.0f} steps, again {row['again']:.0f}",
        "same bits" if row["same"] else "other bits",
        f"peak {row['peak_bytes'] / 2**20:.0f} MiB" if row["peak_bytes"] else "",
    ]
    return ", ".join(filter(None, parts))


def write(path: Path, document: dict[str, Any]) -> None:
    """In one piece: whenever it is stopped, what there was is there."""
    fresh = path.with_suffix(".tmp")
    fresh.write_text(json.dumps(document, indent=1) + "\n")
    fresh.replace(path)


def measure_all(
    task: Task, lanes: Sequence[int], rates: Rates, rounds: int
) -> Iterator[dict[str, Any]]:
    """The rows of a workload, up to the lanes that do not fit."""
    alone = math.nan
    for count in lanes:
        try:
            row = task.measure(count, rates, rounds)
        except Exception as error:
            yield {"lanes": count, "raised": f"{type(error).__name__}: {error}"}
            memory = is_out_of_memory(error)
            release(error)
            free_memory(task.device)
            if memory:
                return
            continue
        if not count:
            alone = row["seconds"]
        elif math.isfinite(alone):
            row["gain"] = alone * count / row["seconds"]
        yield row


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--workloads", metavar="A,B", help=f"of {', '.join(WORKLOADS)}")
    parser.add_argument("--lanes", metavar="N,N", default=",".join(map(str, LANES)))
    parser.add_argument("--mnist", type=Path, metavar="PATH", help="an mnist.npz")
    parser.add_argument("--minutes", type=float, default=math.inf, help="begin nothing new after")
    parser.add_argument("--quick", action="store_true", help="few lanes and workloads, two rounds")
    parser.add_argument("--output", type=Path, default=HERE / "results", metavar="DIR")
    options = parser.parse_args()
    options.workloads = options.workloads.split(",") if options.workloads else list(WORKLOADS)
    if unknown := set(options.workloads) - WORKLOADS.keys():
        parser.error(f"--workloads: {', '.join(sorted(unknown))} not among {', '.join(WORKLOADS)}")
    try:
        options.lanes = [int(each) for each in options.lanes.split(",")]
        options.device = find_device(options.device)
    except (UsageError, ValueError) as error:
        parser.error(str(error))
    return options


def main() -> int:
    begun = time.monotonic()
    options = parse()
    device, names, lanes = options.device, options.workloads, options.lanes
    torch.set_num_threads(1)
    torch.backends.cudnn.allow_tf32 = False
    rounds = ROUNDS
    if options.quick:
        names, lanes, rounds = names[:2], [each for each in lanes if each in (0, 1, 4, 64)], 2
    rates = measure_rates(device)
    print(
        f"{describe_device(device)}: copies {rates.copied / 1e9:.0f} GB/s, float32 products "
        f"{rates.operations / 1e12:.2f} TFLOP/s",
        flush=True,
    )
    found: dict[str, Any] = {}
    document = {
        "device": describe_device(device),
        "torch": str(torch.__version__),
        "rates": {"copied": rates.copied, "operations": rates.operations},
        "workloads": found,
    }
    options.output.mkdir(parents=True, exist_ok=True)
    path = options.output / f"steps-{device.type}.json"
    wrong = 0
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            if time.monotonic() - begun > 60 * options.minutes:
                print(f"skipped from {name} on: {options.minutes:g} minutes are over")
                break
            if name == "mnist-mlp" and options.mnist is None:
                print(f"skipped {name}: no file was given (--mnist PATH)")
                continue
            print(f"{name}:", flush=True)
            rows: list[dict[str, Any]] = []
            found[name] = {"rows": rows}
            try:
                task = Task(name, device, Path(folder), options.mnist)
                for row in measure_all(task, lanes, rates, rounds):
                    rows.append(row)
                    print(f"  {describe(row)}", flush=True)
                    write(path, document)
                found[name]["waits"] = waits = task.count_waits()
                told = ", ".join(f"{count} in {file}" for file, count in waits.items())
                print(f"  waits from one evaluation to the next: {told or 'none'}", flush=True)
            except Exception as error:  # The others are worth their minutes all the same.
                traceback.print_exc()
                rows.append({"lanes": 0, "raised": f"{type(error).__name__}: {error}"})
                release(error)
                free_memory(device)
            wrong += sum("raised" in row for row in rows)
            write(path, document)
    print(f"written {path}")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
