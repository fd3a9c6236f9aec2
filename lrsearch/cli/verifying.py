"""`export --verify`: the exported point trained again, alone."""

from __future__ import annotations

import math
from collections.abc import Sequence

import typer

from lrsearch.analysis.decimals import in_decimals
from lrsearch.cli import consent
from lrsearch.cli.closing import say
from lrsearch.cli.executors import make_executor
from lrsearch.cli.foreign import check_device
from lrsearch.cli.stored import StoredRun
from lrsearch.reports.live import Progress
from lrsearch.reports.text import count
from lrsearch.trial import Facts, Workplace
from lrsearch.tuner.verifying import LIMIT, SEEDS, Verification, verify

NOT_MET = 3


def check_point(
    run: StoredRun,
    point: int,
    *,
    device: str,
    workers: int | None,
    allow_import: Sequence[str] | None,
    allow_command: bool,
) -> None:
    """Train a point's trials by the solo engine and print on stderr how the objective compares;
    exits with 3 where it differs by more than seeds explain."""
    check_device(device)
    entry = next(each for each in run.ledger.entries.values() if each.number == point)
    trials = [run.ledger.trials[number] for number in run.ledger.latest(entry)]
    allowed = consent.allowed_imports(run.spec, allow_import)
    consent.allow_command(run.spec, allow_command)
    facts = Facts(**run.history.sessions[-1]["facts"])
    seeds = max(SEEDS, len({trial.seed for trial in trials}))
    with Progress() as progress, make_executor("local", workers, device) as executor:
        progress.start(f"training point {point} alone, with {count(seeds, 'seed')} ...")
        found = verify(
            trials,
            run.ledger,
            executor=executor,
            facts=facts,
            workplace=Workplace(device, str(run.spec.folder), allowed),
            note=progress.note,
        )
    for line in describe(found, run.ledger.objective.metric):
        say(line)
    if not found.agrees:
        raise typer.Exit(NOT_MET)


def describe(found: Verification, metric: str) -> list[str]:
    """Describe the comparison for the user."""
    lines = []
    for (seed, fold), alone in found.alone.items():
        where = f"seed {seed}" + ("" if fold is None else f", fold {fold}")
        given = found.measured.get((seed, fold), math.nan)
        before = "not measured" if (seed, fold) not in found.measured else _value(given)
        lines.append(f"  {where}: {metric} {_value(alone)} alone, {before} in the run")
    spread, difference = found.spread, found.difference
    if math.isnan(difference) or math.isnan(spread):
        return [*lines, "not verified: a training did not complete"]
    told = f"alone {difference:+.4g} against the run"
    limit = f"{LIMIT:g} times the deviation over seeds, {spread:.4g}"
    if found.agrees:
        return [*lines, f"verified: {told}, within {limit}"]
    return [*lines, f"not verified: {told}, more than {limit}"]


def _value(value: float | None) -> str:
    return "not completed" if value is None else in_decimals(value)
