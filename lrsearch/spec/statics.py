"""Faults of all that a spec names, found without running or importing anything."""

from __future__ import annotations

import importlib.util
from collections.abc import Container, Mapping
from pathlib import Path

from lrsearch import catalogue
from lrsearch.errors import Fault
from lrsearch.spec.code import code_faults, code_notes, find_groups
from lrsearch.spec.document import Document
from lrsearch.spec.model import Spec
from lrsearch.spec.scripts import command_faults
from lrsearch.spec.sources import ColumnNames, source_faults


def find_faults(
    document: Document, folder: Path, columns: ColumnNames, told: Container[str] = ()
) -> list[Fault]:
    """Faults of the files, programs and code that a document names, even if other parts are faulty.
    `folder` is the spec's; `columns` reads the columns of a Parquet file; `told` are the keys that
    have faults already. Doubts are no faults: a spec that trains has none."""
    return [
        *source_faults(document, folder, columns),
        *code_faults(document, folder),
        *package_faults(document),
        *command_faults(document, folder, told="command" in told),
    ]


def find_notes(document: Document, folder: Path) -> list[str]:
    """Notes on the code that a document without faults names, found as its faults are."""
    return code_notes(document, folder)


def package_faults(document: Document) -> list[Fault]:
    """Optimizers whose package is not installed."""
    faults = []
    for place, value in find_groups(document, "optimizer"):
        name = value.get("name") if isinstance(value, Mapping) else value
        package = catalogue.OPTIMIZER_PACKAGES.get(name) if isinstance(name, str) else None
        if package is not None and importlib.util.find_spec(package) is None:
            message = f"{name} comes from the package {package}, which is not installed"
            faults.append(document.fault(place, message, "pip install 'lrsearch[optimizers]'"))
    return faults


def unlooked(spec: Spec) -> list[str]:
    """Names in a spec that only loading and importing can tell of, in words."""
    found = []
    if "source" in spec.data:
        found.append(f"what is in {Path(spec.data['source']).name}")
    names = [each for each in spec.imports if not each.startswith("lrsearch.")]
    return [*found, *dict.fromkeys(names)]
