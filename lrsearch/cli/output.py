"""Results on stdout, in the form that the user asked for."""

from __future__ import annotations

import sys
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import typer

from lrsearch.analysis.points import PointSummary, last_metrics
from lrsearch.analysis.requirement import Requirement, parse_requirement
from lrsearch.catalogue import METRICS, title
from lrsearch.cli.closing import say, write_file
from lrsearch.cli.stored import open_stored, see, view_run
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


def meet(view: RunView, requirements: Sequence[Requirement]) -> None:
    """Exit with 1 where no trial completed, with 3 where a requirement is not met: by the best
    point, of the objective's metric by the confirmed value where there is one. Several, or one that
    a baseline sets, are all told of."""
    if view.best is None:
        say("error: no trial completed, so there is no best point")
        raise typer.Exit(1)
    checked = check_requirements(view, requirements)
    for each in checked:
        if not each.met or len(checked) > 1 or each.requirement.told:
            say(f"{'met' if each.met else 'not met'}: {each}")
    if not all(each.met for each in checked):
        raise typer.Exit(3)


def require_confirmed(view: RunView) -> None:
    """Exit with 1 where every finalist has lost a fresh training."""
    found = view.answer.confirmation if view.answer is not None else None
    if found is not None and found.over and found.winner is None:
        say("error: no finalist held on every fresh seed")
        raise typer.Exit(1)


@dataclass(frozen=True)
class Checked:
    """A requirement, and what was reached by `who`."""

    requirement: Requirement
    reached: float
    met: bool
    who: str = "the best point"

    def __str__(self) -> str:
        return f"{self.requirement}: {self.who} reached {self.reached:.6g}"


def check_requirements(view: RunView, requirements: Sequence[Requirement]) -> list[Checked]:
    """Check a run's best point, which there is, against requirements. Raises UsageError for a
    metric that the run does not measure."""
    assert view.best is not None
    metrics = _reached(view, view.best)
    who = {}
    if view.answer is not None and view.answer.confirmed:
        metrics[view.objective.metric] = view.answer.value
        who = {view.objective.metric: "on fresh seeds the recommended point"}
    met = [each.met(metrics) for each in requirements]
    return [
        Checked(each, metrics[each.metric], holds, who.get(each.metric, Checked.who))
        for each, holds in zip(requirements, met, strict=True)
    ]


def check_junit(path: Path) -> None:
    """Raises UsageError for the file of a test report that is named as another format."""
    from lrsearch.cli.endings import check_ending

    page = {".html": "or --html, which writes a page"}
    check_ending(path, "--junit", "XML", (".xml",), page)


def write_junit(view: RunView, requirements: Sequence[Requirement], path: Path) -> None:
    """Write a run's test report. Raises UsageError where it cannot be written."""
    from lrsearch.reports.junit import to_junit

    checked = check_requirements(view, requirements) if view.best is not None else []
    text = to_junit(view, [(e.requirement, e.reached, e.met, e.who) for e in checked])
    try:
        write_file(path, text.encode())
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}", where="--junit") from None


def _reached(view: RunView, point: PointSummary) -> dict[str, float]:
    """A point's metrics at the end of training; the objective's as the objective takes it."""
    metrics = dict(last_metrics(view.records, point.point))
    if point.objective is not None:
        metrics[view.objective.metric] = point.objective
    return metrics


def read_requirements(
    texts: Sequence[str] | None,
    known: Collection[str] | None,
    baseline: str | None,
    runs: Path,
) -> tuple[Requirement, ...]:
    """Read the requirements, those with a baseline settled by what the run of this name came to:
    its recommended point. Raises UsageError for what is none, for a baseline that is missing, that
    nothing compares with, that has no value or not this metric; RunError for one that is no run."""
    found = [parse_requirement(text, known) for text in texts or ()]
    relative = [each for each in found if each.relative]
    if relative and baseline is None:
        raise UsageError(
            "it compares with a baseline, and none is named",
            where=f"--require {relative[0]}",
            hint="add --baseline RUN, the run to compare with",
        )
    if baseline is None:
        return tuple(found)
    if not relative:
        raise UsageError(
            "no --require compares with it",
            where="--baseline",
            hint='such as --require "accuracy >= baseline - 0.01"',
        )
    view = view_run(open_stored(baseline, runs))
    if view.answer is None:
        raise UsageError(f"the run {view.name} has no completed point", where="--baseline")
    metrics = _reached(view, view.answer.recommended)
    metrics[view.objective.metric] = view.answer.value
    for each in relative:
        if each.metric not in metrics:
            raise UsageError(
                f"the run {view.name} does not measure '{each.metric}'",
                where=f"--baseline {baseline}",
                hint=suggest(each.metric, metrics),
            )
    return tuple(each.settle(metrics[each.metric]) if each.relative else each for each in found)


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
