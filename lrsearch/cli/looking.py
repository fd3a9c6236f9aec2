"""A spec for the commands that check it or train: read, and what it names looked at."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lrsearch.spec import Spec, read_spec


def read_and_look(config: Path, overrides: Sequence[str]) -> Spec:
    """The spec. Raises as `read_spec` does, for what it names, too: missing files, code that is
    not there or takes other arguments. Nothing of it is run or imported."""
    return read_spec(config, overrides, columns=_columns)


def _columns(source: str) -> list[str] | None:
    from lrsearch.data.parquet import read_names

    return read_names(source)
