"""A point of a run as a spec."""

from __future__ import annotations

from lrsearch.cli.stored import StoredRun
from lrsearch.reports.view import RunView
from lrsearch.spec.export import export_name, export_spec


def export_text(run: StoredRun, view: RunView, point: int, name: str | None = None) -> str:
    """A point of the run as a complete spec in YAML."""
    entries = {entry.number: entry for entry in run.ledger.entries.values()}
    name = name or export_name(run.spec.name)
    return export_spec(run.spec, entries[point].config, view.objective, name)
