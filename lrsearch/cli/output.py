"""Results on stdout, in the form that the user asked for."""

from __future__ import annotations

import sys
from pathlib import Path

import typer

from lrsearch.analysis.points import last_metrics
from lrsearch.analysis.requirement import Requirement
from lrsearch.catalogue import METRICS, title
from lrsearch.cli.closing import say
from lrsearch.cli.stored import see, view_run
from lrsearch.errors import UsageError, suggest
from lrsearch.reports.view import RunView
from lrsearch.spec.model import Spec
from lrsearch.store import History


def read_result(folder: Path, history: History) -> RunView:
    """Read the result of a run that was searched: its history is the journal's."""
    return view_run(see(folder, history))


def show_result(view: RunView, *, json: bool, all_rows: bool) -> None:
    """Print a result."""
    if json:
        from lrsearch.reports.machine import to_json

        sys.stdout.write(to_json(view) + "\n")
    else:
        from lrsearch.reports.tables import open_console, result

        open_console(sys.stdout).print(result(view, all_rows=all_rows))


def meet(view: RunView, requirement: Requirement | None) -> None:
    """Exit with 1 where no trial completed, with 3 where the requirement is not met: by the best
    point, of the objective's metric by the confirmed value where there is one."""
    if view.best is None:
        say("error: no trial completed, so there is no best point")
        raise typer.Exit(1)
    if requirement is None:
        return
    metrics = dict(last_metrics(view.records, view.best.point))
    who = "the best point"
    if view.best.objective is not None:
        metrics[view.objective.metric] = view.best.objective
    if requirement.metric == view.objective.metric and view.answer and view.answer.confirmed:
        metrics[requirement.metric], who = view.answer.value, "on fresh seeds the recommended point"
    if not requirement.met(metrics):
        reached = metrics[requirement.metric]
        say(f"not met: {requirement}: {who} reached {reached:.6g}")
        raise typer.Exit(3)


def require_confirmed(view: RunView) -> None:
    """Exit with 1 where every finalist has lost a fresh training."""
    found = view.answer.confirmation if view.answer is not None else None
    if found is not None and found.over and found.winner is None:
        say("error: no finalist held on every fresh seed")
        raise typer.Exit(1)


def check_metric(requirement: Requirement, spec: Spec, task: str | None = None) -> None:
    """Raises UsageError for a required metric that data of this task do not have; of a training
    outside lrsearch only the objective's metric is known."""
    if spec.kind is not None:
        if requirement.metric != spec.metric:
            raise UsageError(
                f"'{requirement.metric}' is not the objective's metric, and no other is sure to be "
                f"reported by a {spec.kind}",
                where=f"--require {requirement}",
                hint=suggest(requirement.metric, [spec.metric or ""]),
            )
        return
    task = task or spec.task
    assert task is not None
    known = [name for name, (_, tasks, _) in METRICS.items() if task in tasks]
    known += spec.train["metrics"] or ()
    if spec.train["step"] is not None and spec.metric not in (None, "loss"):
        known.append(str(spec.metric))
    if requirement.metric not in known:
        raise UsageError(
            f"'{requirement.metric}' is no metric of {title(task)}",
            where=f"--require {requirement}",
            hint=suggest(requirement.metric, known),
        )
