"""Trial-epochs per second of lrsearch and of other ways to train the same list of points.

    python benchmarks/throughput.py [--mnist mnist.npz] [--workloads digits-mlp] [--quick]

Every peer is a fresh process (or several), timed from start to end: imports, probes and compilation
count; one before all of them, untimed, reads the libraries from the disk. docs/benchmarks.md says
what each row means. Prints a line and writes the JSON after each run, a workload's tables after its
last one, and, where matplotlib is installed, draws a picture. On a GPU `steps.py` comes first,
within a third of the minutes: how far a step is from what the device can. Exit status 1 where a
peer failed or the peers' metrics differ. This process does not use the GPU: where a GPU lets one
process in at a time, it is the peer that is measured.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import importlib.util
import itertools
import json
import math
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from peers import Job
from rich.console import Console
from rich.table import Table
from workloads import MOMENTUM, WORKLOADS, make_data

from lrsearch import __version__
from lrsearch.space import grid
from lrsearch.spec import read_spec
from lrsearch.spec.model import resolve
from lrsearch.train.batches.resident import load_raw, place
from lrsearch.train.engines.timetable import evaluation_steps
from lrsearch.trial import Workplace

HERE = Path(__file__).resolve().parent
SHARING = 4
"""Processes that share a GPU; on a CPU it is one a core."""

TOLERANCES = {"same order": (0.02, 0.01), "own order": (0.03, 0.03)}
"""Largest differences in validation accuracy, of the best point and of the mean over points, from
the loop by hand: of peers that train on the same batches (rounding parts them at high rates), and
of those that shuffle on their own, once trained as long as by default: before that, accuracies hang
on the order."""

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
Point = tuple[float, float]
"""Learning rate and momentum."""
Axes = tuple[list[float], list[float]]
"""The rates and the momenta of a grid."""


@dataclass(frozen=True)
class Settings:
    """What is asked for. `peer_points` are the points of the slower peers, `minutes` is the time
    after which nothing new is begun, and what runs is cut off."""

    device: str
    points: int
    epochs: int
    peer_points: int
    repeats: int
    minutes: float


# The other peers of a GPU get few points: one of them trains for about a second.
DEFAULTS = {
    "cpu": Settings("cpu", points=128, epochs=20, peer_points=16, repeats=5, minutes=math.inf),
    "cuda": Settings("cuda", points=256, epochs=20, peer_points=8, repeats=5, minutes=8.0),
}
QUICK: dict[str, Any] = {"points": 16, "epochs": 4, "peer_points": 4, "repeats": 1}
QUICK_CHOICE = {
    "workloads": {"digits-mlp", "digits-cnn"},
    "peers": {"auto", "fused", "solo", "hand-1", "graph"},
}
"""What `--quick` measures where nothing else is asked for: of peers, one by hand, and by CUDA
graphs where there are any."""


@dataclass(frozen=True)
class Peer:
    """A way to train. `threads` are those of each of its processes, None for torch's default;
    `whole` ones train every point, the others a share from which the whole is extrapolated."""

    key: str
    name: str
    loop: str
    processes: int = 1
    threads: int | None = None
    whole: bool = False

    @property
    def order(self) -> str:
        """Of the samples; a key of `TOLERANCES`."""
        return "own order" if self.loop == "optuna-loader" else "same order"


def choose_peers(device: str, cores: int) -> list[Peer]:
    """The peers of a device, in the order of the table."""
    cpu = device == "cpu"
    engines = [
        Peer(engine, f"lrsearch {engine}", "lrsearch", whole=cpu or engine != "solo")
        for engine in ("auto", "fused", "solo")
    ]
    if not cpu:
        return [
            *engines,
            Peer("hand", f"by hand, {SHARING} processes", "hand", SHARING),
            Peer("hand-1", "by hand, 1 process", "hand"),
            Peer("optuna", "Optuna", "optuna"),
            Peer("graph", "Optuna, CUDA graphs", "optuna-graph"),
            Peer("loader", "Optuna, DataLoader", "optuna-loader"),
        ]
    return [
        *engines,
        Peer("hand", f"by hand, {cores} processes", "hand", cores, 1, whole=True),
        Peer("hand-1", "by hand, 1 process", "hand", 1, 1),
        Peer("optuna", "Optuna", "optuna"),
        Peer("optuna-1", "Optuna, 1 thread", "optuna", 1, 1),
        Peer("loader", "Optuna, DataLoader", "optuna-loader"),
        Peer("shared", f"Optuna, {cores} processes", "optuna", cores, 1),
        Peer("ray", "Ray Tune, 1 CPU a trial", "ray", 1, 1),
    ]


@dataclass(frozen=True)
class Ratio:
    """How many times the rate of the best of `over` is `peer`'s. `over` empty means all others."""

    name: str
    peer: tuple[str, ...]
    over: tuple[str, ...]
    warm: bool = False
    targets: Mapping[str, float] = field(default_factory=dict)


OPTUNA = ("optuna", "optuna-1")
GAINS = (
    Ratio("gain from fusing (lrsearch fused : solo)", ("fused",), ("solo",)),
    Ratio("gain from fusing, warm", ("fused",), ("solo",), warm=True),
    Ratio("gain from processes, warm (by hand : one by hand)", ("hand",), ("hand-1",), warm=True),
    Ratio("gain from data in memory, warm (Optuna : DataLoader)", OPTUNA, ("loader",), warm=True),
)
EVERYWHERE = dict.fromkeys(WORKLOADS, 0.95)
MLPS = ("digits-mlp", "mnist-mlp")
RATIOS = {
    "cpu": (
        *GAINS,
        Ratio("auto : fused or solo", ("auto",), ("fused", "solo"), targets=EVERYWHERE),
        Ratio(
            "auto : by hand",
            ("auto",),
            ("hand",),
            targets=EVERYWHERE | {"digits-mlp": 1.7, "mnist-mlp": 1.2},
        ),
        Ratio("auto : by hand, warm", ("auto",), ("hand",), warm=True, targets={"digits-mlp": 2.0}),
        Ratio(
            "auto : Optuna as written",
            ("auto",),
            ("optuna",),
            targets={"digits-mlp": 6.0, "mnist-mlp": 4.0},
        ),
        Ratio("auto : Optuna at its best thread count", ("auto",), OPTUNA),
        Ratio("auto : Optuna processes", ("auto",), ("shared",)),
        Ratio("auto : Optuna, DataLoader", ("auto",), ("loader",), targets=dict.fromkeys(MLPS, 15)),
        Ratio("auto : Ray Tune", ("auto",), ("ray",), targets=dict.fromkeys(MLPS, 15)),
    ),
    "cuda": (
        *GAINS,
        Ratio("auto : best alternative", ("auto",), (), targets=EVERYWHERE),
        Ratio(
            "auto : Optuna, warm",
            ("auto",),
            ("optuna",),
            warm=True,
            targets=dict.fromkeys(MLPS, 100) | {"digits-cnn": 8, "digits-transformer": 5},
        ),
        Ratio("auto : Optuna", ("auto",), ("optuna",)),
        Ratio("auto : Optuna, CUDA graphs, warm", ("auto",), ("graph",), warm=True),
        Ratio("auto : processes sharing the GPU, warm", ("auto",), ("hand",), warm=True),
    ),
}


class PeerFailed(Exception):
    """A peer that ended badly, or did not do what it was asked to."""


class TimeOver(Exception):
    """A peer that was cut off: the time for all is over."""


# One workload ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Task:
    """A workload ready to be trained: the rates and momenta of the whole grid, and of the part
    that the slower peers train. Its folder has a spec of each, and the arrays."""

    name: str
    folder: Path
    whole: Axes
    part: Axes
    evaluations: list[int]
    model: dict[str, Any]
    outputs: int

    def points(self, whole: bool) -> list[Point]:
        return list(itertools.product(*(self.whole if whole else self.part)))


def sides(points: int) -> tuple[int, int]:
    """The numbers of rates and of momenta of a grid of so many points: the momenta as many as the
    largest divisor that leaves at least as many rates."""
    momenta = max(part for part in range(1, points + 1) if points % part == 0 and part**2 <= points)
    return points // momenta, momenta


def spread(values: Sequence[float], count: int) -> list[float]:
    """`count` of the values (or all), evenly spaced, both ends included."""
    if count >= len(values):
        return list(values)
    if count == 1:
        return [values[len(values) // 2]]
    return [values[round(k * (len(values) - 1) / (count - 1))] for k in range(count)]


def prepare(name: str, settings: Settings, mnist: Path | None, folder: Path) -> Task:
    """Write the specs and the arrays of a workload."""
    workload = WORKLOADS[name]
    folder.mkdir()
    counts = sides(settings.points)
    data = make_data(name, folder, mnist)
    document: dict[str, Any] = {
        "name": name,
        "data": data,
        "model": dict(workload.model),
        "train": {
            "budget": f"{settings.epochs}ep",
            "batch_size": workload.batch_size,
            "optimizer": {"name": "sgd"},
        },
        "objective": {"metric": "accuracy", "at": "last"},
        "prune": "none",  # The peers stop none.
        "search": {
            "lr": {"min": workload.lr[0], "max": workload.lr[1], "points": counts[0]},
            "optimizer.momentum": {"min": MOMENTUM[0], "max": MOMENTUM[1], "points": counts[1]},
        },
    }
    path = folder / "whole.yaml"
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    spec = read_spec(path)
    points = [point for level in grid(spec.space) for point in level]
    lrs, momenta = (sorted({point[axis] for point in points}) for axis in document["search"])
    few = sides(settings.peer_points)
    part = spread(lrs, few[0]), spread(momenta, few[1])
    document["search"] = dict(zip(document["search"], part, strict=True))
    (folder / "part.yaml").write_text(yaml.safe_dump(document, sort_keys=False))

    raw = load_raw(dict(spec.data), Workplace())
    config = resolve(spec, points[0], raw.task)
    arrays = place(raw, config["data"], None, torch.device("cpu"))
    names = ("x_train", "y_train", "x_validation", "y_validation")
    np.savez(folder / "arrays.npz", **{name: getattr(arrays, name).numpy() for name in names})
    return Task(
        name,
        folder,
        (lrs, momenta),
        part,
        evaluations=list(evaluation_steps(config["train"], arrays.samples)),
        model=dict(config["model"]),
        outputs=arrays.outputs,
    )


# One run of a peer ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Run:
    """What one run of a peer took: `wall` seconds from start to end. `times` are those of
    `peers.py`, one list a process; `points` has each trained point's accuracy; `plans` are those
    that lrsearch wrote down."""

    wall: float
    times: Sequence[Sequence[float]]
    points: Mapping[Point, float]
    plans: tuple[Mapping[str, Any], ...] = ()

    @property
    def warm(self) -> float:
        """Trials per second from the first's beginning to the last's end."""
        end = max(times[-1] for times in self.times)
        return len(self.points) / (end - min(times[0] for times in self.times))

    @property
    def steady(self) -> float:
        """Trials per second of all processes together, without the first trial of each, in which
        a library may yet load something. One that has a single trial has no other to go by."""
        rates = []
        for times in self.times:
            counted = times[1:] if len(times) > 2 else times
            rates.append((len(counted) - 1) / (counted[-1] - counted[0]))
        return sum(rates)

    def seconds(self, count: int) -> float:
        """The wall time of `count` points: measured, or extrapolated by the steady rate."""
        return self.wall + (count - len(self.points)) / self.steady


def run_peer(peer: Peer, task: Task, device: str, cores: int, deadline: float = math.inf) -> Run:
    """Time a peer once. Raises PeerFailed, or TimeOver at the deadline, of `time.monotonic`."""
    with tempfile.TemporaryDirectory(dir=task.folder) as name:
        run = (_run_lrsearch if peer.loop == "lrsearch" else _run_loop)(
            peer, task, device, cores, Path(name), deadline
        )
    if set(run.points) != set(task.points(peer.whole)):
        raise PeerFailed(f"it trained {len(run.points)} points, and not those it was given")
    return run


def _run_lrsearch(
    peer: Peer, task: Task, device: str, cores: int, folder: Path, deadline: float
) -> Run:
    spec = task.folder / ("whole.yaml" if peer.whole else "part.yaml")
    command = [sys.executable, "-m", "lrsearch", "grid", str(spec), "--runs", str(folder)]
    command += ["--engine", peer.key, "--device", device, "--quiet", "--json"]
    command += ["--allow-import", "workloads"]
    seen: list[tuple[float, bytes]] = []
    over = threading.Event()
    journal = folder / task.name / "journal.jsonl"
    watch = threading.Thread(target=_follow, args=(journal, over, seen))
    watch.start()
    try:
        wall = _launch([command], None, folder, deadline)
    finally:
        over.set()
        watch.join()
    result = json.loads((folder / "0.out").read_text())
    ended = [trial["outcome"] for trial in result["trials"]]
    if set(ended) != {"completed"}:
        raise PeerFailed(f"trials ended otherwise than completed: {sorted(set(ended))}")
    lines = [(moment, json.loads(line)) for moment, line in seen]
    begun = min(moment for moment, line in lines if line["event"] == "started")
    times = [begun, *(moment for moment, line in lines if line["event"] == "ended")]
    plans = tuple(line["plan"] for _, line in lines if line["event"] == "planned")
    points = {
        (each["params"]["lr"], each["params"]["optimizer.momentum"]): each["objective"]
        for each in result["points"]
    }
    return Run(wall, [times], points, plans)


def _follow(path: Path, over: threading.Event, seen: list[tuple[float, bytes]]) -> None:
    """Note when each line of a growing file was first seen, to a fiftieth of a second."""
    size, rest, last = 0, b"", False
    while not last:
        last = over.wait(0.02)
        if path.exists() and path.stat().st_size > size:
            with path.open("rb") as file:
                file.seek(size)
                fresh = file.read()
            moment = time.time()
            size += len(fresh)
            *lines, rest = (rest + fresh).split(b"\n")
            seen += [(moment, line) for line in lines]


def _run_loop(
    peer: Peer, task: Task, device: str, cores: int, folder: Path, deadline: float
) -> Run:
    points = task.points(peer.whole)
    lrs, momenta = task.whole if peer.whole else task.part
    commands = []
    for number in range(peer.processes):
        job = Job(
            loop=peer.loop,
            device=device,
            threads=peer.threads,
            arrays=str(task.folder / "arrays.npz"),
            model=task.model,
            outputs=task.outputs,
            evaluations=task.evaluations,
            batch_size=WORKLOADS[task.name].batch_size,
            seed=0,
            lrs=lrs,
            momenta=momenta,
            points=[list(point) for point in points[number :: peer.processes]],
            cores=cores,
            together=0 if peer.whole else peer.processes,
            storage=str(folder / "study") if peer.processes > 1 else "",
            result=str(folder / f"{number}.json"),
        )
        path = folder / f"job-{number}.json"
        path.write_text(json.dumps(asdict(job)))
        commands.append([sys.executable, str(HERE / "peers.py"), str(path)])
    wall = _launch(commands, peer.threads, folder, deadline)
    results = [
        json.loads((folder / f"{number}.json").read_text()) for number in range(peer.processes)
    ]
    values = [value for result in results for value in result["values"]]
    if len(values) != len(points):
        raise PeerFailed(f"it trained {len(values)} trials for {len(points)} points")
    times = [each for result in results for each in result["times"] if len(each) > 1]
    return Run(wall, times, {(lr, momentum): value for lr, momentum, value in values})


def _launch(
    commands: Sequence[Sequence[str]], threads: int | None, folder: Path, deadline: float
) -> float:
    """Run commands side by side; the seconds from the first start to the last end. Their outputs
    go to 0.out, 0.err, 1.out ... Raises PeerFailed or TimeOver."""
    environment = {name: value for name, value in os.environ.items() if name not in THREADS}
    if threads is not None:
        environment |= dict.fromkeys(THREADS, str(threads))
    environment["PYTHONPATH"] = os.pathsep.join(
        [str(HERE.parent), str(HERE), *filter(None, [environment.get("PYTHONPATH")])]
    )
    # What one run compiled must not be there for the next.
    environment |= {
        "TORCHINDUCTOR_CACHE_DIR": str(folder / "inductor"),
        "TRITON_CACHE_DIR": str(folder / "triton"),
        "RAY_USAGE_STATS_ENABLED": "0",
    }
    outputs = [
        ((folder / f"{number}.out").open("w"), (folder / f"{number}.err").open("w"))
        for number in range(len(commands))
    ]
    processes: list[subprocess.Popen[bytes]] = []
    begun = time.perf_counter()
    try:
        for command, (out, err) in zip(commands, outputs, strict=True):
            processes.append(subprocess.Popen(command, stdout=out, stderr=err, env=environment))
        codes = [process.wait(_left(deadline)) for process in processes]
        wall = time.perf_counter() - begun
    except subprocess.TimeoutExpired:
        raise TimeOver from None
    finally:
        for process in processes:
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(3)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
        for pair in outputs:
            for file in pair:
                file.close()
    for number, code in enumerate(codes):
        if code:
            said = (folder / f"{number}.err").read_text(errors="replace").strip().splitlines()
            raise PeerFailed(f"exit status {code}: " + "\n".join(said[-8:]))
    return wall


def _left(deadline: float) -> float | None:
    """The seconds until then, as `wait` takes them."""
    return max(0.0, deadline - time.monotonic()) if math.isfinite(deadline) else None


def best_threads(peer: Peer, task: Task, cores: int, deadline: float) -> int | None:
    """1 or None (torch's default), whichever trains a few short trials faster."""
    lrs, momenta = task.part
    few = replace(task, part=(lrs[:2], momenta[:1]), evaluations=task.evaluations[:2])
    rates = {
        threads: run_peer(replace(peer, threads=threads), few, "cpu", cores, deadline).steady
        for threads in (1, None)
    }
    return 1 if rates[1] > rates[None] else None


# What came of it ------------------------------------------------------------------------------


@dataclass
class Row:
    """A peer's runs of one workload; `failure` says why there are no more."""

    peer: Peer
    runs: list[Run] = field(default_factory=list)
    failure: str = ""
    differs: str = ""

    def seconds(self, count: int) -> float:
        return statistics.median(run.seconds(count) for run in self.runs)

    def rate(self, count: int, epochs: int, *, warm: bool = False) -> float:
        """Trial-epochs per second of `count` points; warm: while it trains."""
        if warm:
            return epochs * statistics.median(
                run.warm if len(run.points) == count else run.steady for run in self.runs
            )
        return count * epochs / self.seconds(count)


def find_reference(rows: Sequence[Row]) -> Row | None:
    """The row whose accuracies the others must reach: the first by hand, or else that ran."""
    ran = [row for row in rows if row.runs]
    return next((row for row in ran if row.peer.loop == "hand"), ran[0] if ran else None)


def compare(rows: Sequence[Row], settings: Settings) -> None:
    """Note in each row how its accuracies differ from the reference's."""
    reference = find_reference(rows)
    for row in rows:
        if row.peer.order == "own order" and settings.epochs < DEFAULTS[settings.device].epochs:
            continue
        for run in row.runs:
            assert reference is not None
            told = describe_difference(
                run.points, reference.runs[0].points, *TOLERANCES[row.peer.order]
            )
            row.differs = row.differs or told


def describe_difference(
    found: Mapping[Point, float],
    expected: Mapping[Point, float],
    best_tolerance: float,
    mean_tolerance: float,
) -> str:
    """How two peers' accuracies differ by more than the tolerances at the points both have."""
    common = sorted(set(found) & set(expected))
    left, right = [found[point] for point in common], [expected[point] for point in common]
    best, mean = max(left) - max(right), statistics.fmean(left) - statistics.fmean(right)
    told = []
    # Written so that a NaN differs.
    if not abs(best) <= best_tolerance:
        told.append(f"best differs by {best:+.4f}")
    if not abs(mean) <= mean_tolerance:
        told.append(f"mean differs by {mean:+.4f}")
    return ", ".join(told)


def measure_ratios(
    name: str, rows: Mapping[str, Row], settings: Settings
) -> list[tuple[str, float, float | None]]:
    """The ratios of a workload whose peers ran: name, value, target."""
    found = []
    for ratio in RATIOS[settings.device]:
        over = ratio.over or tuple(key for key in rows if key not in ratio.peer)
        left, right = (
            [
                rows[key].rate(settings.points, settings.epochs, warm=ratio.warm)
                for key in keys
                if key in rows and rows[key].runs
            ]
            for keys in (ratio.peer, over)
        )
        if left and right:
            found.append((ratio.name, max(left) / max(right), ratio.targets.get(name)))
    return found


def describe_plan(plan: Mapping[str, Any]) -> str:
    """How lrsearch ran the trials."""
    return f"{plan['lanes']} lanes" if plan["engine"] == "fused" else str(plan["engine"])


def show(console: Console, task: Task, rows: Sequence[Row], settings: Settings) -> None:
    """The workload's two tables."""
    shared = task.points(whole=False)
    reference = find_reference(rows)
    table = Table(
        title=f"{task.name}: {settings.points} points x {settings.epochs} epochs, "
        f"trial-epochs per second",
        caption=f"medians; ~: extrapolated from fewer points; accuracy over {len(shared)} points "
        f"that all trained, compared with {reference.peer.name if reference else 'nothing'}",
    )
    table.add_column("peer")
    for column in ("runs", "seconds", "rate", "warm rate", "best", "mean"):
        table.add_column(column, justify="right")
    table.add_column("note")
    for row in rows:
        failed = [f"FAILED: {row.failure.splitlines()[-1]}"] if row.failure else []
        if not row.runs:
            table.add_row(row.peer.name, "0", *[""] * 5, *(failed or ["not begun"]))
            continue
        last = row.runs[-1]
        extrapolated = len(last.points) < settings.points
        mark = "~" if extrapolated else ""
        values = [last.points[point] for point in shared]
        notes = list(dict.fromkeys(describe_plan(plan) for plan in last.plans))
        if extrapolated:
            notes.append(f"from {len(last.points)} points")
        if row.peer.loop != "lrsearch" and settings.device == "cpu":
            notes.append("default threads" if row.peer.threads is None else "1 thread each")
        notes += [f"DIFFERS: {row.differs}"] if row.differs else []
        notes += failed
        table.add_row(
            row.peer.name,
            str(len(row.runs)),
            f"{mark}{row.seconds(settings.points):.1f}",
            f"{mark}{row.rate(settings.points, settings.epochs):.1f}",
            f"{row.rate(settings.points, settings.epochs, warm=True):.1f}",
            f"{max(values):.4f}",
            f"{statistics.fmean(values):.4f}",
            "; ".join(notes),
        )
    console.print(table)
    full = DEFAULTS[settings.device]
    sized = settings.points >= full.points and settings.epochs >= full.epochs
    ratios = Table(
        title=f"{task.name}: ratios of these rates",
        caption=None
        if sized
        else f"the targets are for {full.points} points x {full.epochs} epochs",
    )
    for column in ("", "ratio", "target", ""):
        ratios.add_column(column, justify="right" if column else "left")
    for name, value, target in measure_ratios(
        task.name, {row.peer.key: row for row in rows}, settings
    ):
        wanted = verdict = ""
        if target is not None:
            wanted = f"{target:g}"
            verdict = "" if not sized else "met" if value >= target else "MISSED"
        ratios.add_row(name, f"{value:.2f}", wanted, verdict)
    console.print(ratios)


def to_document(
    tasks: Sequence[Task],
    rows: Mapping[str, Sequence[Row]],
    settings: Settings,
    skipped: Sequence[str],
    machine: Machine,
) -> dict[str, Any]:
    """Everything measured, as JSON has it."""
    packages = ("torch", "numpy", "optuna", "ray")
    return {
        "format": 1,
        "device": settings.device,
        "device_name": machine.device_name,
        "cores": machine.cores,
        "versions": {"lrsearch": __version__, "python": platform.python_version()}
        | {name: version for name in packages if (version := _version(name))},
        "settings": {
            **asdict(settings),
            "minutes": settings.minutes if math.isfinite(settings.minutes) else None,
        },
        "tolerances": TOLERANCES,
        "skipped": list(skipped),
        "workloads": {
            task.name: {
                "steps": task.evaluations[-1],
                "peers": [_row(row, settings) for row in rows[task.name]],
                "ratios": [
                    {"name": name, "ratio": value, "target": target}
                    for name, value, target in measure_ratios(
                        task.name, {row.peer.key: row for row in rows[task.name]}, settings
                    )
                ],
            }
            for task in tasks
        },
    }


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _row(row: Row, settings: Settings) -> dict[str, Any]:
    points, epochs = settings.points, settings.epochs
    medians = {}
    if row.runs:
        medians = {
            "seconds": row.seconds(points),
            "rate": row.rate(points, epochs),
            "warm_rate": row.rate(points, epochs, warm=True),
        }
    return {
        **asdict(row.peer),
        "extrapolated": any(len(run.points) < points for run in row.runs),
        "failure": row.failure,
        "differs": row.differs,
        **medians,
        "runs": [
            {
                "wall": run.wall,
                "times": run.times,
                "plans": run.plans,
                "points": [[*point, value] for point, value in run.points.items()],
            }
            for run in row.runs
        ],
    }


def draw(document: Mapping[str, Any], path: Path) -> None:
    """A picture of a document: bars of the rates, dots where a peer is while it trains."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    workloads = document["workloads"]
    figure, axes = pyplot.subplots(
        len(workloads), 1, figsize=(8, 3 * len(workloads)), squeeze=False, layout="constrained"
    )
    for axis, (name, workload) in zip(axes[:, 0], workloads.items(), strict=True):
        peers = [peer for peer in reversed(workload["peers"]) if peer["runs"]]
        names = [peer["name"] for peer in peers]
        bars = axis.barh(names, [peer["rate"] for peer in peers], color="tab:blue")
        for bar, peer in zip(bars, peers, strict=True):
            if peer["extrapolated"]:
                bar.set(facecolor="tab:gray", edgecolor="white", hatch="//")
        axis.plot([peer["warm_rate"] for peer in peers], names, "k.")
        axis.bar_label(bars, fmt="%.0f", padding=6)
        axis.set_title(name)
        axis.set_xlabel("trial-epochs per second (dot: warm; hatched: extrapolated)")
    figure.suptitle(f"{document['device_name']}, {document['cores']} cores")
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


# The whole ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Machine:
    """Its device's kind and name, and the cores that this process may use."""

    device: str
    device_name: str
    cores: int


ASK = """\
import sys
from lrsearch.errors import UsageError
from lrsearch.train.device import describe_device, find_device
try:
    found = find_device(sys.argv[1])
except UsageError as error:
    sys.exit(str(error))
print(found.type, describe_device(found), sep="\\n")
"""


def ask_machine(device: str) -> Machine:
    """What a process of its own finds of a device: to ask takes a place on a GPU. Raises
    ValueError where there is none."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(HERE.parent), *sys.path])}
    command = [sys.executable, "-c", ASK, device]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        raise ValueError(done.stderr.strip())
    kind, _, name = done.stdout.strip().partition("\n")
    if kind not in DEFAULTS:  # Of Apple's GPUs there are no peers.
        return ask_machine("cpu")
    return Machine(kind, name, count_cores())


def parse(
    arguments: Sequence[str] | None = None,
) -> tuple[argparse.Namespace, Settings, Machine]:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--mnist", type=Path, metavar="PATH", help="an mnist.npz")
    parser.add_argument("--workloads", metavar="A,B", help=f"of {', '.join(WORKLOADS)}")
    parser.add_argument("--peers", metavar="A,B", help="by the keys in the JSON: auto,hand,ray ...")
    for name, meaning in (
        ("points", "of the grid"),
        ("epochs", "of each trial"),
        ("peer_points", "of the slower peers, from which they are extrapolated"),
        ("repeats", "of everything, in turn"),
    ):
        defaults = ", ".join(f"{getattr(each, name)} on {key}" for key, each in DEFAULTS.items())
        option = "--" + name.replace("_", "-")
        parser.add_argument(option, type=_whole, metavar="N", help=f"{meaning} ({defaults})")
    parser.add_argument(
        "--steps", action=argparse.BooleanOptionalAction, help="steps.py first (on cuda)"
    )
    parser.add_argument("--minutes", type=float, help="stop after so many (8 on cuda)")
    parser.add_argument(
        "--quick", action="store_true", help="few points, peers and workloads, one repeat"
    )
    parser.add_argument("--output", type=Path, default=HERE / "results", metavar="DIR")
    options = parser.parse_args(arguments)
    try:
        machine = ask_machine(options.device)
    except ValueError as error:
        parser.error(f"--device {options.device}: {error}")
    device = machine.device
    peers = [peer.key for peer in choose_peers(device, 1)]
    usual = [name for name, each in WORKLOADS.items() if device != "cpu" or not each.large]
    for option, known, chosen in (
        ("workloads", list(WORKLOADS), usual),
        ("peers", peers, peers),
    ):
        if getattr(options, option) is not None:
            chosen = getattr(options, option).split(",")
        elif options.quick:
            chosen = [name for name in known if name in QUICK_CHOICE[option]]
        if unknown := set(chosen) - set(known):
            parser.error(f"--{option}: {', '.join(sorted(unknown))} not among {', '.join(known)}")
        setattr(options, option, [name for name in known if name in chosen])
    settings = replace(DEFAULTS[device], **(QUICK if options.quick else {}))
    given = {name: getattr(options, name) for name in vars(settings) if name != "device"}
    settings = replace(settings, **{name: each for name, each in given.items() if each is not None})
    settings = replace(settings, peer_points=min(settings.peer_points, settings.points))
    return options, settings, machine


def _whole(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is no whole number from 1")
    return int(text)


def measure(
    tasks: Sequence[Task],
    rows: Mapping[str, Sequence[Row]],
    settings: Settings,
    machine: Machine,
    console: Console,
    path: Path,
    skipped: list[str],
    deadline: float,
) -> None:
    """Run every peer on every workload in turn, forth and back. Tell of each run, write `path`
    after it, and show the workload's tables when the last of its runs is over."""

    def write() -> None:
        for each in rows.values():
            compare(each, settings)
        document = to_document(tasks, rows, settings, skipped, machine)
        fresh = path.with_suffix(".tmp")
        fresh.write_text(json.dumps(document, indent=1) + "\n")
        fresh.replace(path)

    aside = Console(stderr=True, highlight=False, width=132)
    shown: set[str] = set()
    try:
        for repeat in range(settings.repeats):
            for task in tasks:
                turn = rows[task.name] if repeat % 2 == 0 else rows[task.name][::-1]
                for row in turn:
                    if row.failure:
                        continue
                    at = f"{task.name}, {row.peer.name}, repeat {repeat + 1}"
                    if time.monotonic() > deadline:
                        skipped.append(f"all from {at} on: {settings.minutes:g} minutes are over")
                        return
                    aside.print(f"{repeat + 1}/{settings.repeats} {task.name}, {row.peer.name} ...")
                    try:
                        run_row(row, task, settings, machine.cores, deadline)
                    except PeerFailed as error:
                        row.failure = str(error)
                        aside.print(f"  failed: {error}", markup=False)
                    except TimeOver:
                        skipped.append(f"{at} and on: {settings.minutes:g} minutes were over")
                        aside.print("  cut off")
                        return
                    else:
                        run = row.runs[-1]
                        rate = row.rate(settings.points, settings.epochs)
                        aside.print(
                            f"  {len(run.points)} points in {run.wall:.2f} s; "
                            f"{rate:.1f} trial-epochs per second"
                        )
                    write()
                if repeat == settings.repeats - 1:
                    shown.add(task.name)
                    show(console, task, rows[task.name], settings)
    finally:
        write()
        for task in tasks:
            if task.name not in shown and any(row.runs for row in rows[task.name]):
                show(console, task, rows[task.name], settings)


def warm_up(peer: Peer, task: Task, settings: Settings, machine: Machine, deadline: float) -> None:
    """Train a few points, and forget how long it took. What the first process that trains finds on
    the disk, those after it find in memory: it would wait some seconds for them all."""
    if peer.loop == "lrsearch":
        peer = replace(peer, key="fused")  # It needs what solo does, and more.
    with contextlib.suppress(PeerFailed, TimeOver):  # Its own run, or the next, tells of it.
        run_peer(replace(peer, whole=False), task, settings.device, machine.cores, deadline)


def run_row(row: Row, task: Task, settings: Settings, cores: int, deadline: float) -> None:
    """Add a run to a row. Raises PeerFailed or TimeOver."""
    if row.peer.key == "loader" and settings.device == "cpu" and not row.runs:
        row.peer = replace(row.peer, threads=best_threads(row.peer, task, cores, deadline))
    row.runs.append(run_peer(row.peer, task, settings.device, cores, deadline))


def run_steps(options: argparse.Namespace, settings: Settings, machine: Machine) -> None:
    """Run `steps.py` for the same workloads, as a process of its own, which prints by itself."""
    command = [sys.executable, str(HERE / "steps.py"), "--device", machine.device]
    command += ["--workloads", ",".join(options.workloads), "--output", str(options.output)]
    command += ["--quick"] if options.quick else []
    command += ["--mnist", str(options.mnist)] if options.mnist else []
    limit = 20 * settings.minutes if math.isfinite(settings.minutes) else None
    with contextlib.suppress(subprocess.TimeoutExpired):  # What it has measured is written.
        subprocess.run(command, check=False, timeout=limit)


def count_cores() -> int:
    """The cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def main() -> int:
    begun = time.monotonic()
    options, settings, machine = parse()
    console = Console(width=None if sys.stdout.isatty() else 132)
    skipped = []
    peers = [
        peer for peer in choose_peers(machine.device, machine.cores) if peer.key in options.peers
    ]
    if "ray" in options.peers and importlib.util.find_spec("ray") is None:
        peers = [peer for peer in peers if peer.key != "ray"]
        skipped.append("Ray Tune: ray is not installed (the extra `bench` has it)")
    mnist = options.mnist.absolute() if options.mnist else None
    if "mnist-mlp" in options.workloads and not (mnist and mnist.is_file()):
        options.workloads.remove("mnist-mlp")
        skipped.append(f"mnist-mlp: no {mnist or 'file was given (--mnist PATH)'}")
    options.output.mkdir(parents=True, exist_ok=True)
    if machine.device != "cpu" if options.steps is None else options.steps:
        run_steps(options, settings, machine)
    stem = f"cpu-{machine.cores}-cores" if machine.device == "cpu" else machine.device_name
    stem = re.sub(r"[^a-z0-9]+", "-", stem.lower()).strip("-")
    path = options.output.absolute() / f"{stem}.json"
    # Beside the results, not in a folder that may be memory: writing is part of the cost.
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        tasks = [prepare(name, settings, mnist, Path(folder, name)) for name in options.workloads]
        rows = {task.name: [Row(peer) for peer in peers] for task in tasks}
        deadline = begun + 60 * settings.minutes
        if peers and tasks:
            warm_up(peers[0], tasks[0], settings, machine, deadline)
        measure(tasks, rows, settings, machine, console, path, skipped, deadline)
    for line in skipped:
        console.print(f"skipped {line}", markup=False)
    console.print(f"written {path}")
    if importlib.util.find_spec("matplotlib") is None:
        console.print("skipped the picture: matplotlib is not installed (the extra `bench` has it)")
    elif any(row.runs for each in rows.values() for row in each):
        draw(json.loads(path.read_text()), path.with_suffix(".png"))
        console.print(f"written {path.with_suffix('.png')}")
    every = [row for each in rows.values() for row in each]
    return 1 if any(row.failure or row.differs for row in every) else 0


if __name__ == "__main__":
    sys.exit(main())
