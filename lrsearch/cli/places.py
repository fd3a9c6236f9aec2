"""Places that commands use where none is named."""

from __future__ import annotations

import os
from pathlib import Path

USUAL_RUNS = Path("runs")
"""The folder of runs; it is there from the first search on."""


def find_runs(text: str | Path) -> Path:
    """The folder of runs that a text names. A `~` is the user's home where no folder has that name:
    in quotes the shell leaves it."""
    path = Path(text)
    return path if path.exists() else Path(os.path.expanduser(path))  # noqa: PTH111
