"""Places that commands use where none is named."""

from __future__ import annotations

from pathlib import Path

USUAL_RUNS = Path("runs")
"""The folder of runs; it is there from the first search on."""
