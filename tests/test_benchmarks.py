"""The benchmark that holds the engines against each other runs, and can fail."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

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
