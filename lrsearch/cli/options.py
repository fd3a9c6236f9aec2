"""Arguments and options that several commands share."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from lrsearch.cli.places import USUAL_RUNS as USUAL_RUNS
from lrsearch.cli.places import find_runs


def unset(name: str, metavar: str, help: str, *short: str, **more: Any) -> Any:
    """An option that is None unless it is given, so that there is no default to show."""
    return typer.Option(name, *short, metavar=metavar, help=help, show_default=False, **more)


Config = Annotated[
    Path, typer.Argument(metavar="CONFIG", help="The spec, a YAML file.", show_default=False)
]
Target = Annotated[
    str | None,
    typer.Argument(
        metavar="RUN",
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


def _read_folder(text: str | Path) -> Path:
    """The folder that a text names. Raises BadParameter for an empty one, as an unset variable of
    the shell is, which would be the present folder."""
    if isinstance(text, str) and not text.strip():
        raise typer.BadParameter("it is empty, and --runs takes a folder; the present one is .")
    if str(text).startswith("--"):
        told = f"'{text}' is an option: --runs takes a folder"
        raise typer.BadParameter(f"{told}; one of that name is ./{text}")
    return find_runs(text)


def _check_folder(value: Path) -> Path:
    """The value as it is. Raises BadParameter for a file, and a path below one."""
    there = next((each for each in (value, *value.parents) if os.path.lexists(each)), value)
    if there.is_symlink() and not there.exists():
        told = f"{there} is a link to {there.readlink()}, which is not there"
        raise typer.BadParameter(f"{told}, and --runs takes a folder")
    if there.exists() and not there.is_dir():
        raise typer.BadParameter(f"{there} is a file, and --runs takes a folder")
    return value


def read_file(text: str | Path) -> Path:
    """The file to write that a text names. Raises BadParameter for a dash, which elsewhere is
    standard output: several of the options that name a file print beside it."""
    if str(text) == "-":
        raise typer.BadParameter("- is no file: standard output is /dev/stdout, that file is ./-")
    return Path(text)


Runs = Annotated[
    Path,
    typer.Option(
        "--runs",
        envvar="LRSEARCH_RUNS",
        metavar="DIR",
        help="Where runs are kept.",
        parser=_read_folder,
        callback=_check_folder,
    ),
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
Require = Annotated[
    list[str] | None,
    unset(
        "--require",
        "CONDITION",
        'Exit with 3 unless the best point meets it, such as "accuracy>=0.95", or '
        '"accuracy >= baseline - 0.01". Repeatable: all must hold.',
    ),
]
Baseline = Annotated[
    str | None,
    unset("--baseline", "RUN", "The run whose recommended value is the baseline of --require."),
]
Junit = Annotated[
    Path | None,
    unset(
        "--junit",
        "FILE",
        "Write a test report for CI: a test case for each --require.",
        parser=read_file,
    ),
]
Html = Annotated[
    Path | None,
    unset(
        "--html",
        "FILE",
        "Write the report as a page: one file, to be opened without a network.",
        parser=read_file,
    ),
]
Output = Annotated[
    Path | None,
    unset("--output", "FILE", "The file to write. Default: print.", "-o", parser=read_file),
]
Workers = Annotated[
    int | None,
    unset("--workers", "N", "Worker processes. Default: one a GPU, or one a CPU core.", min=1),
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
        "run: csv, parquet, optuna, tensorboard, wandb, trackio or mlflow.",
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
