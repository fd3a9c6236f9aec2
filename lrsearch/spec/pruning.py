"""`prune` of a spec: the rule by which trainings end early."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lrsearch import catalogue
from lrsearch.errors import suggest
from lrsearch.spec.components import read_named
from lrsearch.spec.foreign.lines import Line
from lrsearch.spec.reader import Reader
from lrsearch.spec.values import show

PATH = ("prune",)


def read_prune(reader: Reader, top: Mapping[str, Any]) -> dict[str, Any]:
    """The rule of early stopping by its name, with its arguments."""
    raw = top.get("prune", catalogue.PRUNE)
    if PATH in reader.document.empty or raw is None or raw is False:
        message = "'prune' is empty" if PATH in reader.document.empty else f"{show(raw)} is no rule"
        lines = [Line(PATH, "none", "every training goes to its end")]
        reader.fault(PATH, message, reader.hint(PATH, lines) or suggest("", catalogue.PRUNING))
        return {}
    return read_named(reader, "prune", PATH, raw)
