"""Results on stdout, in the form that was asked for."""

from __future__ import annotations

import sys
from pathlib import Path

import typer

from lrsearch.analysis.points import last_metrics
from lrsearch.analysis.requirement import Requirement
from lrsearch.catalogue import METRICS
from lrsearch.cli.stored import open_stored, view_run
from lrsearch.errors import UsageError, suggest
from lrsearch.report.view import RunView


def show_result(folder: Path, *, json: bool, all_rows: bool) -> RunView:
    """Print a run's result and return it."""
    view = view_run(open_stored(str(folder), folder.parent))
    if json:
        from lrsearch.report.machine import to_json

        sys.stdout.write(to_json(view) + "\n")
    else:
        from lrsearch.report.tables import open_console, result

        open_console(sys.stdout).print(result(view, all_rows=all_rows))
    return view


def meet(view: RunView, requirement: Requirement | None) -> None:
    """Exit with 1 where no trial completed, with 3 where the requirement is not met."""
    if view.best is None:
        print("error: no trial completed, so there is no best point", file=sys.stderr)
        raise typer.Exit(1)
    if requirement is None:
        return
    metrics = dict(last_metrics(view.records, view.best.point))
    if view.best.objective is not None:
        metrics[view.objective.metric] = view.best.objective
    if not requirement.met(metrics):
        reached = metrics[requirement.metric]
        print(
            f"not met: {requirement}: the best point reached {reached:.6g}",
            file=sys.stderr,
        )
        raise typer.Exit(3)


def check_metric(requirement: Requirement, task: str) -> None:
    """Raises UsageError for a required metric that data of this task do not have."""
    known = [name for name, (_, tasks, _) in METRICS.items() if task in tasks]
    if requirement.metric not in known:
        raise UsageError(
            f"'{requirement.metric}' is no metric of {task}",
            where=f"--require {requirement}",
            hint=suggest(requirement.metric, known),
        )
