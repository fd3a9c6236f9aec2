"""Benchmarks that others rely on run, and can fail."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from lrsearch.store import read

SCRIPT = Path(__file__).parent.parent / "benchmarks" / "equality.py"


def test_equality(tmp_path: Path) -> None:
    arguments = ["--steps", "3", "--family", "linear", "--output", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "equality-cpu.json").read_text())
    (row,) = found["families"].values()
    for dtype, tolerance in found["tolerances"].items():
        assert max(row[dtype].values()) <= tolerance
        assert row[dtype]["loss"] > 0 or row[dtype]["parameter"] > 0  # Two computations, not one.


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
