"""`lrsearch confirm`: the best points of a run measured again with fresh seeds."""

from __future__ import annotations

from dataclasses import fields
from typing import Annotated

import typer

from lrsearch.cli import options, searching
from lrsearch.trial import CONFIRM

Top = Annotated[
    int | None,
    options.unset(
        "--top", "N", "Points that are measured again, in place of the spec's (4).", min=1
    ),
]
Seeds = Annotated[
    int | None,
    options.unset(
        "--seeds", "N", "Fresh seeds of each at most, in place of the spec's (5).", min=1
    ),
]


def confirm(
    context: typer.Context,
    config: options.Config,
    set_: options.Set = None,
    top: Top = None,
    seeds: Seeds = None,
    time_: searching.Time = None,
    runs: options.Runs = options.USUAL_RUNS,
    workers: options.Workers = None,
    device: options.Device = "auto",
    executor: searching.ExecutorName = "local",
    engine: searching.Engine = "auto",
    lanes: searching.Lanes = None,
    allow_import: options.AllowImport = None,
    allow_command: options.AllowCommand = False,
    retry_failed: searching.RetryFailed = False,
    no_share: searching.NoShare = False,
    dry_run: searching.DryRun = False,
    require: options.Require = None,
    baseline: options.Baseline = None,
    quiet: searching.Quiet = False,
    json: options.Json = False,
    all_: options.All = False,
) -> None:
    """Train the best points again, with fresh seeds and splits: does the answer hold?"""
    arguments = {
        "trials": None,
        "fresh": False,
        "yes": False,
        "resume_pruned": False,
        "until": None,
        **locals(),
    }
    names = (each.name for each in fields(searching.ConfirmOptions))
    given = searching.ConfirmOptions(**{name: arguments[name] for name in names})
    searching.search(CONFIRM, given, searching.resuming(CONFIRM, given, context))
