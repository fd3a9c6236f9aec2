"""A spec for the commands that check it or train: read, and the files and code that it names looked
at."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lrsearch.spec import Spec, read_spec


def read_and_look(config: Path, overrides: Sequence[str]) -> Spec:
    """Read a spec. Raises as `read_spec` does, also for missing files, and code that is missing or
    takes other arguments. No user code is run or imported."""
    return read_spec(config, overrides, columns=_columns)


def _columns(source: str) -> list[str] | None:
    from lrsearch.data.parquet import read_names

    return read_names(source)
