"""The benchmarks that a GPU is judged by: they run, can fail, and keep what they have."""

from __future__ import annotations

import ast
import functools
import importlib
import json
import math
import re
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from devices import DEVICE, same
from test_executors import gone

from lrsearch.store import read

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
SCRIPT = BENCHMARKS / "equality.py"


def command(output: Path, *arguments: str) -> list[str]:
    own = ["--device", str(DEVICE), "--output", str(output), *arguments]
    return [sys.executable, str(SCRIPT), *own]


def written(output: Path) -> Path:
    return output / f"equality-{DEVICE.type}.json"


@pytest.fixture
def run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs a script in this process, which has imported torch; what it starts is a fork."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))

    def call(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        monkeypatch.setattr(sys, "argv", [f"{name}.py", *arguments])
        code = importlib.import_module(name).main()
        said = capsys.readouterr()
        return subprocess.CompletedProcess(sys.argv, code or 0, said.out, said.err)

    return call


def test_equality(run: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path) -> None:
    families = ["--family", "linear", "--family", "gru"]
    done = run("equality", *command(tmp_path, "--steps", "3", *families)[2:])
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(written(tmp_path).read_text())
    assert list(found["families"]) == ["linear", "gru"] and found["of"] == 2
    assert len(done.stdout.splitlines()) >= 2
    for line, (name, row) in zip(done.stdout.splitlines(), found["families"].items(), strict=False):
        assert name in line
        for dtype, tolerance in found["tolerances"].items():
            worst = max(row[dtype].values())
            assert f"{dtype} {worst:.1e}" in line and worst <= tolerance
            assert row[dtype]["loss"] > 0 or row[dtype]["parameter"] > 0  # Two computations.


def test_what_was_compared_is_there_whenever_it_is_stopped(tmp_path: Path) -> None:
    """A time limit ends it anywhere: a line and the JSON come after each family."""
    running = subprocess.Popen(
        command(tmp_path, "--steps", "2"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert running.stdout is not None
    first = running.stdout.readline()
    running.kill()
    running.communicate()
    assert first.startswith("1/116 logistic: float64 "), first
    found = json.loads(written(tmp_path).read_text())
    assert "logistic" in found["families"] and found["of"] == 116


def test_a_difference_beyond_its_tolerance_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import equality

    nan = float("nan")
    parts = dict.fromkeys(("loss", "gradient", "buffer", "parameter"), 0.0)
    for part in parts:
        for value, beyond in ((2e-4, ["float32"]), (nan, ["float32"]), (1e-4, [])):
            row = {"float64": parts, "float32": parts | {part: value}}
            assert equality.judge(row)[1] == beyond
    assert equality.judge({"raised": "KeyError: 1"}) == ("raised: KeyError: 1", ["raised"])
    assert equality.judge({"alone": "why"}) == ("alone: why", [])


SMALL = ("--quick", "--workloads", "digits-mlp", "--points", "4", "--epochs", "1")


@pytest.fixture(scope="module", autouse=True)
def known_machine() -> Iterator[None]:
    """A process of its own tells of the machine: one, and not one a test."""
    with pytest.MonkeyPatch.context() as patched:
        patched.syspath_prepend(str(BENCHMARKS))
        import throughput

        patched.setattr(throughput, "ask_machine", functools.cache(throughput.ask_machine))
        yield


def throughput_of(output: Path, *arguments: str) -> list[str]:
    own = ["--device", DEVICE.type, "--no-steps", "--output", str(output)]
    return ["throughput", *own, *arguments]


def test_throughput_tells_of_each_run(
    run: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    done = run(*throughput_of(tmp_path, *SMALL, "--peers", "solo,hand-1", "--peer-points", "2"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr.count(" trial-epochs per second") == 2
    (path,) = tmp_path.glob("*.json")
    found = json.loads(path.read_text())
    assert (found["device"], found["skipped"]) == (DEVICE.type, [])
    peers = {each["key"]: each for each in found["workloads"]["digits-mlp"]["peers"]}
    assert peers.keys() == {"solo", "hand-1"}
    assert all(len(each["runs"]) == 1 and each["rate"] > 0 for each in peers.values())


def test_throughput_ends_when_its_minutes_are_over(
    run: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    """What runs then is cut off, not awaited; what there is is written."""
    import throughput

    throughput.ask_machine(DEVICE.type)  # Its answer takes as long as there are minutes.
    begun = time.monotonic()
    # So many points take an hour.
    given = (*SMALL, "--points", "4096", "--epochs", "99", "--minutes", "0.05")
    done = run(*throughput_of(tmp_path, *given))
    assert done.returncode == 0, done.stdout + done.stderr
    assert time.monotonic() - begun < 150  # Most of it to begin, on a machine with much to do.
    (path,) = tmp_path.glob("*.json")
    (skipped,) = json.loads(path.read_text())["skipped"]
    assert "digits-mlp, lrsearch auto" in skipped and "0.05 minutes" in skipped


ENDLESS = """
import os, signal, subprocess, sys, time
held = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3600)"])
print("held", held.pid, flush=True)
try:
    os.kill(os.getppid(), signal.SIGTERM)
    time.sleep(3600)
except KeyboardInterrupt:
    print("told at its end", flush=True)
"""


def test_parts_for_a_gpu_tell_what_they_have_and_leave_nothing_behind(
    tmp_path: Path,
    run: Callable[..., subprocess.CompletedProcess[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Cut off when their time is over, or with all others when the whole is asked to end."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    gpu: Any = importlib.import_module("gpu")
    journal = tmp_path / "journal"
    journal.write_text('{"engine": "fused", "lanes": 4}\n' * 3)
    parts = {
        "slow": gpu.Part(1, ["-c", "import time; time.sleep(3600)"]),
        "told": gpu.Part(99, ["-c", "print('FAILED a\\nno\\nlast')"], "FAILED", journal=journal),
        "wrong": gpu.Part(99, ["-c", "raise SystemExit(7)"]),
        "endless": gpu.Part(3600, ["-c", ENDLESS]),
        "after": gpu.Part(99, ["-c", "print('never')"]),
    }
    monkeypatch.setattr(gpu, "list_parts", lambda _: parts)
    monkeypatch.setattr(gpu, "GRACE", 30)
    signals = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(each, signal.SIG_IGN) for each in signals]  # As in a background job.
    try:
        done = run("gpu", "--output", str(tmp_path), "--seconds", "9999")
    finally:
        for each, own in zip(signals, before, strict=True):
            signal.signal(each, own)
    said = [each.strip() for each in done.stdout.splitlines()]
    assert done.returncode == 1 and "never" not in said and "told at its end" in said
    at = said.index("FAILED a")
    assert said[at : at + 4] == ["FAILED a", "last", '3 x engine: "fused"', "3 x lanes: 4"]
    (held,) = (int(each.split()[1]) for each in said if each.startswith("held"))
    assert gone(held)
    ends = [re.sub(r"-\d|\d+ s", "", each) for each in said[-6:-1]]
    assert ends == [
        "slow: status , , cut off", "told: status 0, ", "wrong: status 7, ",
        "endless: status 0, , interrupted", "after: left out",
    ]  # fmt: skip


def test_throughput_leaves_the_gpu_to_its_peers() -> None:
    """To describe a GPU is to be on it, and it may let in one process at a time."""
    source = (BENCHMARKS / "throughput.py").read_text()
    calls = [each for each in ast.walk(ast.parse(source)) if isinstance(each, ast.Call)]
    names = {ast.unparse(each.func) for each in calls}
    assert "torch.device" in names
    assert not {each for each in names if "cuda" in each or each == "describe_device"}


@pytest.mark.cpu("the peers named are those of a CPU")
@pytest.mark.parametrize(
    ("given", "workloads", "peers"),
    [
        (["--quick"], {"digits-mlp", "digits-cnn"}, {"auto", "fused", "solo", "hand-1"}),
        (["--quick", "--workloads", "mnist-mlp", "--peers", "ray"], {"mnist-mlp"}, {"ray"}),
    ],
)
def test_quick_is_few(
    monkeypatch: pytest.MonkeyPatch, given: list[str], workloads: set[str], peers: set[str]
) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import throughput

    options, settings, machine = throughput.parse(
        [*given, "--device", DEVICE.type, "--minutes", "2"]
    )
    assert (set(options.workloads), set(options.peers)) == (workloads, peers)
    assert (settings.points, settings.repeats, settings.minutes) == (16, 1, 2.0)
    assert machine.device == "cpu" and machine.device_name


def test_steps_are_held_against_what_the_device_can(
    run: Callable[..., subprocess.CompletedProcess[str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import steps

    monkeypatch.setattr(steps, "BLOCK", 4)
    few = ("--quick", "--lanes", "0,1,4", "--workloads", "digits-mlp", "--output", str(tmp_path))
    done = run("steps", "--device", str(DEVICE), *few)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / f"steps-{DEVICE.type}.json").read_text())
    own = found["workloads"]["digits-mlp"]
    alone, one, four = own["rows"]
    assert (alone["lanes"], one["lanes"], four["lanes"]) == (0, 1, 4)
    assert 4 * one["operations"] == four["operations"] and "1 lane: a step" in done.stdout
    assert four["of_floor"] == max(four["floors"].values()) / four["seconds"]
    assert four["gain"] == alone["seconds"] * 4 / four["seconds"]
    assert own["waits"] == {"fused.py": 1} and "1 in fused.py" in done.stdout
    # Of each layer the product forward and that of the weights' gradients, and but for the first
    # that of its inputs' gradients.
    layers = ((64, 128), (128, 128), (128, 10))
    products = sum(2 * 32 * a * b * (2 + (a != 64)) for a, b in layers)
    assert four["operations"] == 4 * products
    # The weights and momenta are read and written at least.
    assert four["bytes"] > 4 * 4 * 4 * sum(a * b + b for a, b in layers)


def test_waits_and_times_of_a_gpu_are_taken_from_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """What torch says there is said by this test, where there is no GPU."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import steps
    import torch

    class Event:
        def __init__(self, enable_timing: bool) -> None:
            assert enable_timing

        def record(self) -> None:
            modes.append("record")

        def elapsed_time(self, other: Event) -> float:
            return 5.0

    def job() -> None:
        modes.append("job")
        warnings.warn("called a synchronizing CUDA operation", stacklevel=1)

    modes: list[str] = []
    device = torch.device(type="cuda")  # Of this alone: nothing is trained here.
    monkeypatch.setattr(torch.cuda, "set_sync_debug_mode", modes.append)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: modes.append("wait"))
    monkeypatch.setattr(torch.cuda, "Event", Event)
    assert steps.count_reads(job, device) == {Path(__file__).name: 1}
    assert modes == ["warn", "job", "default"]
    modes.clear()
    with warnings.catch_warnings(action="ignore"):
        seconds, host = steps.clock(job, device)
    assert seconds == 5e-3 and host > 0
    assert modes == ["wait", "record", "job", "record", "wait"]


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
@pytest.mark.timeout(300)
def test_scale(
    run: Callable[..., subprocess.CompletedProcess[str]],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    scale = importlib.import_module("scale")
    # A fifth of the points a rate: what is built and what it costs is found all the same.
    monkeypatch.setattr(scale, "PER_RATE", 200)
    monkeypatch.setattr(scale, "SPEC", scale.SPEC.replace("[16, 32, 64, 128, 256]", "[16]"))
    arguments = ["--trials", "400", "--repeats", "1", "--only", "report --csv;repair"]
    places = ["--folder", str(tmp_path / "runs"), "--output", str(tmp_path)]
    done = run("scale", *arguments, *places)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "scale-cpu.json").read_text())
    assert set(found["built"]) == {"grid", "random", "bayes"}
    assert set(found["commands"]) == {"report --csv", "repair, sound", "repair"}
    for row in found["commands"].values():
        assert row["400"]["own"] > 0 and row["400"]["memory"] > 10
    # It is a run as any other, of as many trials, of which some went wrong.
    for strategy in found["built"]:
        history = read(tmp_path / "runs" / "400" / strategy / "runs" / "scale")
        assert len(history.results) == 400
        assert {each.outcome for each in history.results.values()} >= {"completed", "failed"}


def test_records_are_measured_side_by_side(
    run: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    arguments = ["--quick", "--workload", "digits-mlp", "--lanes", "2", "--output", str(tmp_path)]
    done = run("records", "--device", str(DEVICE), *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / f"records-{DEVICE.type}.json").read_text())
    assert found["workloads"].keys() == {"digits-mlp"}
    for engine in ("solo", "2 lanes"):
        row = found["workloads"]["digits-mlp"][engine]
        assert row["cost"].keys() == {"recorded", "every step"}
        assert all(value > 0 for value in row["microseconds"].values())
        assert engine in done.stdout and f"{row['microseconds']['none']:.0f} \u00b5s" in done.stdout


def test_what_is_not_recorded_there_trains_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """All three kinds come to the same weights: they differ in records alone."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import records

    made: list[object] = []
    for name in ("Training", "Program", "Silent"):
        kind = getattr(records, name)

        def make(*given: object, kind: Any = kind) -> object:
            made.append(kind(*given))
            return made[-1]

        monkeypatch.setattr(records, name, make)
    trial = records.make_trial("digits-mlp")
    data = records.open_data(trial, DEVICE)
    for block in (records.alone(trial, data, 18), records.beside(trial, data, 18, 2)):
        for kind in records.KINDS:
            block(kind)
    *alone, first, second, third = made
    for each in alone:
        assert all(map(same, each.parameters, alone[0].parameters))  # type: ignore[attr-defined]
    weights = [[*each.stack.parameters.values()] for each in (first, second, third)]  # type: ignore[attr-defined]
    assert all(map(same, weights[0], weights[1])) and all(map(same, weights[0], weights[2]))


def test_the_range_test_s_table_is_judged_and_goes_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import range_test

    one = ["range_test.py", "--quick", "--output", str(tmp_path), "--data", str(tmp_path)]
    names = ["wine-logistic-sgd", "wine-logistic-momentum", "mnist-mlp-sgd"]
    monkeypatch.setattr(sys, "argv", [*one, *(part for name in names for part in ("--only", name))])
    range_test.main()
    said = capsys.readouterr()
    assert "mnist-mlp-sgd: left out" in said.err and "reported: 1 combinations" in said.out
    path = tmp_path / "range-cpu.json"
    stored = json.loads(path.read_text())
    assert list(stored["combinations"]) == names[:2] and stored["tuned"]["combinations"] == 1
    assert len(stored["combinations"][names[0]]["values"]) == 5
    # What is stored is not trained again.
    range_test.main()
    assert "wine" not in capsys.readouterr().err
    assert (tmp_path / "range-cpu.svg").read_text().startswith("<svg")
    again = json.loads(path.read_text())
    assert again["combinations"] == stored["combinations"]

    # A table whose best rate is known.
    rates = [10.0 ** (place / 4 - 5) for place in range(25)]
    lr = list(range_test.sweeps.make_rates())
    fall = [2.3 - 2 * (rate > 1e-3) + 4 * (rate > 1) for rate in lr]
    values = [[0.9 if at == 12 else 0.1 - 0.001 * at] * 2 for at in range(25)]
    table = {
        "goal": "max",
        "rates": rates,
        "values": values,
        "epochs": [20.0] * 25,
        "sweep": {"lr": lr, "losses": [fall] * 3, "cap": None, "epochs": 10.0},
    }
    row = range_test.judge("known", table)
    assert row.best == (rates[12],) == (1e-2,) and row.holds and row.holds_good
    assert row.off["minimum_10"] == pytest.approx(math.log10(row.points["minimum_10"] / 1e-2))
    width = sum(row.found.low <= rate <= row.found.high for rate in rates)
    assert 9 <= width <= 17 and range_test.TRIALS < row.trials < range_test.MOST
    assert row.saved == pytest.approx(row.trials - range_test.TRIALS - 1)  # A test costs a trial.
    values[12], values[2] = [0.1, 0.1], [0.9, 0.9]
    assert not range_test.judge("known", table).holds
    assert range_test.expect_best([0.0, 1.0], 2) == pytest.approx(0.75)


def test_the_honesty_of_an_answer_is_judged_by_a_truth_that_is_known(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On a table of two points far apart and one that equals the better of them."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import numpy as np
    import replays
    import tables

    from lrsearch.trial import Objective

    rng = np.random.default_rng(0)
    means = np.array([0.2, 0.2, 0.9, 0.5])
    params = [{"lr": rate, "schedule": "constant"} for rate in (0.01, 0.03, 0.1, 0.3)]
    values = means[:, None, None] + rng.normal(0, 0.01, (4, 3, 4))
    fresh = means[:, None] + rng.normal(0, 0.01, (4, 400))
    fresh[3, 0] = math.inf
    table = tables.Table("t", Objective("loss", "min"), params, values, fresh, values > 2)
    assert table.noise == pytest.approx(0.01, rel=0.2) and table.truth[3] < 0.6
    assert replays.tied_best(fresh) == [0, 1]  # The row with a diverged training is never as good.

    found = list(replays.searches(table, "1x1", 5))
    row = replays.judge_confirmations(table, found, 4)
    assert row["truly_best_is_tied"] > 0.9 and row["interval_holds"] > 0.8
    assert row["regret"] < 1 and 2 <= row["tie_group"] < 3
    assert 0 < row["saved"] < 0.25  # Two of four stop after three of four seeds.
    assert replays.judge_equals(table, found, 4) < 0.1
    lost = replace(table, fresh=np.full((4, 400), math.inf))
    done = replays.confirm(lost, found[0], 4, np.random.default_rng(0))
    assert not done.answer.confirmed and done.recommended == found[0].answer.recommended.point - 1
    others = replays.judge_others(table, [4, 12], 3)
    assert others.keys() == {"optuna", "random"} and others["optuna"][1] < 1


def test_a_refined_and_confirmed_answer_is_judged_by_other_splits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import refined
    import replays

    table = next(each for each in refined.load() if each.name == "breast-cancer-logistic")
    assert table.fresh.shape[1] == refined.SPLITS - refined.SEARCHED == 40
    row = refined.judge(table, True, 1, 1)
    assert row["confirmations"] == 2 and 0 <= row["regret"] < 5
    assert 12 <= row["trained"] <= 9 * refined.SEEDS
    # Without a rate that is the best over the splits nothing holds it.
    monkeypatch.setattr(replays, "tied_best", lambda values: [])
    row = refined.judge(table, False, 1, 1)
    assert row["best_lr_holds"] == row["safe_lr_holds"] == 0 < row["safe_lr_decades"]


def test_a_plain_that_is_made_up_is_told_from_a_bowl(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import made_up
    import replays

    monkeypatch.setattr(replays, "CONFIRMATIONS", 1)
    table = made_up.make("bowl", made_up.CASES["bowl"])
    assert table.truth[:9].argmin() == 4  # 1e-2, as it was made.
    monkeypatch.setitem(made_up.CASES, "bowl", replace(made_up.CASES["bowl"], kinds=["1x1"]))
    monkeypatch.setitem(made_up.CASES, "plain", replace(made_up.CASES["plain"], kinds=["1x1"]))
    made_up.replay(["plain", "bowl"], 6, tmp_path)
    plain, bowl = json.loads((tmp_path / "made-up.json").read_text())["tables"].values()
    assert plain["noise_told"] > 0.6 and bowl["noise_told"] == 0
    assert plain["decades"] > 3 and bowl["decades"] < 1.6
    assert bowl["value_held"] == 1 and bowl["width"] > 2 * plain["width"] and bowl["edge"] == 0


def test_trainings_of_which_all_runs_but_one_in_twenty_are_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import replays

    courses = [[(4, False), (8, True)]] * 19
    assert replays._count_for([*courses, [(4, False), (9, False)]]) == 8
    assert replays._count_for([*courses, [(4, False)], [(4, False)]]) is None
    assert replays._count_for([[(4, True), (8, False), (9, True)]] * 3) == 9


def test_searches_of_tables_count_every_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the tuner and its rules, and by Optuna: of what diverges or is stopped as far as it came.
    Rates up to 0.06 learn, the nearer to it the better; of those above one stands still, and the
    highest diverges in its second epoch."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import search_engine
    import search_quality
    import search_tables

    rates = [0.001, 0.002, 0.004, 0.008, 0.016, 0.03, 0.06, 0.12, 0.25]

    def course(point: Any) -> search_tables.Course:
        place = rates.index(point["lr"])
        values = tuple(1.0 - 0.1 * place - 0.01 * epoch for epoch in range(9))
        if place == 7:
            values = (2.0,) * 9
        if place == 8:
            values = (1.0,) + (math.inf,) * 8
        return search_tables.Course(values, 2.0, values, values)

    text = (
        "name: known\ndata: digits\nmodel: mlp\nobjective: loss\n"
        f"train: {{budget: 9ep, batch_size: 100, optimizer: sgd}}\nsearch: {{lr: {rates}}}"
    )
    task = search_tables.Task("known", text, course)
    best = 1.0 - 0.1 * 6 - 0.01 * 8

    whole = search_quality.ours("random", "none")(task, 0, 999)
    assert (whole.spent, whole.trainings, len(whole.ends)) == (8 * 9 + 2, 9, 8)
    assert whole.best(whole.spent) == pytest.approx(best) and whole.best(1) == math.inf
    assert task.regret(whole.best(whole.spent)) == 0
    judged = search_quality.ours("random", "no_progress")(task, 0, 999)
    assert (judged.spent, len(judged.ends)) == (7 * 9 + 1 + 2, 7)

    halved = search_engine.search(task, 0, "grid", "prune: halving", 999)
    # The first goes to its end, and is the first to. The lowest rates are no good at a ninth.
    assert halved.ends[0] == (9, pytest.approx(1.0 - 0.08))
    assert sorted(value for _, value in halved.ends[1:]) == pytest.approx([best, best + 0.1])
    assert halved.spent == 9 + 2 * 9 + 2 * 3 + 4  # Four were stopped after an epoch.

    for name in ("random, none", "tpe, halving", "Optuna TPE, MedianPruner", "Optuna random"):
        short = search_quality.SEARCHERS[name](task, 0, 20)
        assert short.spent == 20 and short.trainings >= 3
    row = search_quality.count(search_quality.SEARCHERS["random, none"])
    found = search_quality.measure([task], row, 2, 4)
    (lines,) = [list(search_quality.table("known", {"random, none": found}, 4, "tpe"))]
    assert len(lines) == 3 and lines[0].startswith("| known | 4 | seeds | CPU")


def test_a_start_of_fine_tuning_is_no_worse_than_random(monkeypatch: pytest.MonkeyPatch) -> None:
    """On each stored table of it, after 4 and 8 trainings."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import search_quality
    import search_tables

    tasks = search_tables.finetuned()
    assert len(tasks) == 4
    means = {}
    for name in ("random", "random informed"):
        row = search_quality.follow(search_quality.METHODS[name])
        found = search_quality.measure(tasks, row, 8, 8)["regret"]
        means[name] = [[sum(run[at] for run in runs) / 8 for at in (0, 1)] for runs in found]
    for plain, informed in zip(means["random"], means["random informed"], strict=True):
        assert informed[0] < plain[0] and informed[1] < plain[1]
