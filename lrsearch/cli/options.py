"""Arguments and options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Config = Annotated[Path, typer.Argument(help="The spec, a YAML file.", show_default=False)]
Target = Annotated[
    str | None,
    typer.Argument(
        help="A spec, a run's folder or a run's name. Without it: the newest run.",
        show_default=False,
    ),
]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="PATH=VALUE",
        help="Override a value of the spec, such as train.lr=0.1. Repeatable.",
    ),
]
Runs = Annotated[
    Path, typer.Option("--runs", envvar="LRSEARCH_RUNS", metavar="DIR", help="Where runs are kept.")
]
AllowImport = Annotated[
    list[str] | None,
    typer.Option(
        "--allow-import",
        metavar="NAME",
        help="Let the spec import code of this top-level module. Repeatable.",
    ),
]
AllowCommand = Annotated[
    bool, typer.Option("--allow-command", help="Let the spec run its command.")
]
Workers = Annotated[
    int | None,
    typer.Option(
        "--workers",
        min=1,
        metavar="N",
        help="Worker processes. Default: one a GPU, or one a CPU core.",
        show_default=False,
    ),
]
Device = Annotated[
    str, typer.Option("--device", metavar="NAME", help="auto, cpu, cuda, cuda:0 or mps.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]
All = Annotated[bool, typer.Option("--all", help="Show every point, not only the best.")]
Width = Annotated[
    int | None, typer.Option("--width", min=20, help="Columns of a curve.", show_default=False)
]
Format = Annotated[
    str,
    typer.Option(
        "--format",
        metavar="FORMAT",
        help="A point: yaml, a spec; or code: pytorch, lightning, huggingface or keras. The whole "
        "run: csv, parquet, optuna, tensorboard, wandb or mlflow.",
    ),
]
Table = Annotated[
    str | None,
    typer.Option(
        "--table",
        help="Of csv and parquet: trials (the default) or evaluations, a row each.",
        show_default=False,
    ),
]
