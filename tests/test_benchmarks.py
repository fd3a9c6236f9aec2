"""The benchmarks that a GPU is judged by: they run, can fail, and keep what they have."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from devices import DEVICE, same

from lrsearch.store import read

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
SCRIPT = BENCHMARKS / "equality.py"


def command(output: Path, *arguments: str) -> list[str]:
    own = ["--device", str(DEVICE), "--output", str(output), *arguments]
    return [sys.executable, str(SCRIPT), *own]


def written(output: Path) -> Path:
    return output / f"equality-{DEVICE.type}.json"


def test_equality(tmp_path: Path) -> None:
    families = ["--family", "linear", "--family", "gru"]
    done = subprocess.run(
        command(tmp_path, "--steps", "3", *families), capture_output=True, text=True, check=False
    )
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
    assert first.startswith("1/113 logistic: float64 "), first
    found = json.loads(written(tmp_path).read_text())
    assert "logistic" in found["families"] and found["of"] == 113


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


def throughput(output: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    own = ["--device", DEVICE.type, "--output", str(output), *arguments]
    command = [sys.executable, str(BENCHMARKS / "throughput.py"), *own]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_throughput_tells_of_each_run(tmp_path: Path) -> None:
    done = throughput(tmp_path, *SMALL, "--peers", "solo,hand-1", "--peer-points", "2")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr.count(" trial-epochs per second") == 2
    (path,) = tmp_path.glob("*.json")
    found = json.loads(path.read_text())
    assert (found["device"], found["skipped"]) == (DEVICE.type, [])
    peers = {each["key"]: each for each in found["workloads"]["digits-mlp"]["peers"]}
    assert peers.keys() == {"solo", "hand-1"}
    assert all(len(each["runs"]) == 1 and each["rate"] > 0 for each in peers.values())


def test_throughput_ends_when_its_minutes_are_over(tmp_path: Path) -> None:
    """What runs then is cut off, not awaited; what there is is written."""
    begun = time.monotonic()
    # So many points take an hour.
    done = throughput(tmp_path, *SMALL, "--points", "4096", "--epochs", "99", "--minutes", "0.2")
    assert done.returncode == 0, done.stdout + done.stderr
    assert time.monotonic() - begun < 150  # Most of it to begin, on a machine with much to do.
    (path,) = tmp_path.glob("*.json")
    (skipped,) = json.loads(path.read_text())["skipped"]
    assert "digits-mlp, lrsearch auto" in skipped and "0.2 minutes" in skipped


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


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
@pytest.mark.timeout(300)
def test_scale(tmp_path: Path) -> None:
    script = SCRIPT.with_name("scale.py")
    arguments = ["--trials", "1000", "--repeats", "1", "--only", "report --csv;repair"]
    places = ["--folder", str(tmp_path / "runs"), "--output", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, str(script), *arguments, *places],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "scale-cpu.json").read_text())
    assert set(found["built"]) == {"grid", "random", "bayes"}
    assert set(found["commands"]) == {"report --csv", "repair, sound", "repair"}
    for row in found["commands"].values():
        assert row["1000"]["own"] > 0 and row["1000"]["memory"] > 10
    # It is a run as any other, of as many trials, of which some went wrong.
    for strategy in found["built"]:
        history = read(tmp_path / "runs" / "1000" / strategy / "runs" / "scale")
        assert len(history.results) == 1000
        assert {each.outcome for each in history.results.values()} >= {"completed", "failed"}


def test_records_are_measured_side_by_side(tmp_path: Path) -> None:
    arguments = ["--quick", "--workload", "digits-mlp", "--lanes", "2", "--output", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, str(SCRIPT.with_name("records.py")), "--device", str(DEVICE), *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
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
