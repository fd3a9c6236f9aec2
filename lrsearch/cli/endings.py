"""Files whose names say another format than the one that is written into them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from lrsearch.errors import UsageError
from lrsearch.terminal import path_word, quote

_FORMATS = (
    *(".html", ".htm", ".pdf", ".md", ".csv", ".tsv", ".json", ".jsonl", ".xml", ".yaml", ".yml"),
    *(".py", ".ipynb", ".parquet", ".xlsx", ".xls", ".docx", ".png", ".jpg", ".svg", ".db"),
)
"""Endings of formats that a file is opened by."""


def check_ending(
    path: Path, option: str, content: str, own: Sequence[str], ways: Mapping[str, str]
) -> None:
    """Raises UsageError for a file with the ending of another format than that of the `content`,
    whose `own` endings these are; `ways` say by ending how that other format is had."""
    ending = path.suffix.lower()
    if ending not in _FORMATS or ending in own:
        return
    line = f"write {option} {quote(path_word(path.with_suffix(own[0])))}"
    told = f"{content} is written, and {path} is named as another format"
    raise UsageError(told, where=option, hint="; ".join([line, *filter(None, [ways.get(ending)])]))
