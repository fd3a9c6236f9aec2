"""The benchmark that holds the engines against each other runs, and can fail."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from devices import DEVICE

SCRIPT = Path(__file__).parent.parent / "benchmarks" / "equality.py"


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
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    import equality

    nan = float("nan")
    parts = dict.fromkeys(("loss", "gradient", "buffer", "parameter"), 0.0)
    for part in parts:
        for value, beyond in ((2e-4, ["float32"]), (nan, ["float32"]), (1e-4, [])):
            row = {"float64": parts, "float32": parts | {part: value}}
            assert equality.judge(row)[1] == beyond
    assert equality.judge({"raised": "KeyError: 1"}) == ("raised: KeyError: 1", ["raised"])
    assert equality.judge({"alone": "why"}) == ("alone: why", [])
