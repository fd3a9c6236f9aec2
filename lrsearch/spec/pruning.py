"""`prune` of a spec: the rule by which trainings end early."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lrsearch import catalogue
from lrsearch.errors import suggest
from lrsearch.spec.components import read_named
from lrsearch.spec.document import Path, as_mapping
from lrsearch.spec.foreign.lines import Line
from lrsearch.spec.reader import Reader
from lrsearch.spec.values import show

PATH: Path = ("prune",)

ALONE = ("none", catalogue.PRUNE)
"""Rules that compare no points."""

PROCESSES = 8
"""The population of a command or a loop, if none is given: each that waits is a process."""

WILCOXON = 4
"""Trials of a point below which a signed-rank test can tell nothing at its usual level: of three
the least probability is an eighth."""


def read_prune(reader: Reader, top: Mapping[str, Any], kind: str | None) -> dict[str, Any]:
    """The rule of early stopping by its name, with its arguments; `kind` is that of a training
    outside lrsearch."""
    raw = top.get("prune", catalogue.PRUNE)
    if PATH in reader.document.empty or raw is None or raw is False:
        message = "'prune' is empty" if PATH in reader.document.empty else f"{show(raw)} is no rule"
        lines = [Line(PATH, "none", "every training goes to its end")]
        reader.fault(PATH, message, reader.hint(PATH, lines) or suggest("", catalogue.PRUNING))
        return {}
    found = read_named(reader, "prune", PATH, raw)
    name = found.get("name")
    if name is None or name in ALONE:
        return found
    if kind is not None and found.get("budget") is None:
        reader.fault(
            PATH,
            f"of a {kind} nobody knows how long a whole training is, and {name} compares at 1/9 "
            "and 1/3 of it",
            f"write prune: {{name: {name}, budget: 90}} where its last report is of step 90",
        )
    given = as_mapping(raw)
    if kind is not None and "population" in found and "population" not in given:
        found["population"] = min(found["population"], PROCESSES)
    if kind is None and found.get("budget") is not None:
        hint = "leave it out: it is for a command or a loop"
        reader.fault((*PATH, "budget"), "the budget is train.budget", hint)
    return found


def note_prune(reader: Reader, prune: Mapping[str, Any], per_point: int) -> None:
    """Notes on a rule that can do nothing here."""
    if prune.get("name") == "wilcoxon" and per_point < WILCOXON:
        reader.notes.append(
            f"wilcoxon compares points seed by seed and fold by fold, and stops nothing with "
            f"{per_point} of them: seeds: {WILCOXON} is the least"
        )
