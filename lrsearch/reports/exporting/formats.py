"""The formats that a whole run is exported to: a row each.

A format is added here and in docs/exporting.md; its writer is given values alone (`ExportedRun`),
imports its library when it is called, and writes into a file or a folder that does not exist yet.
"""

from __future__ import annotations

import re

from lrsearch.reports.exporting.events import write_events
from lrsearch.reports.exporting.studies import JOURNALS, write_study
from lrsearch.reports.exporting.tables import to_csv, write_parquet
from lrsearch.reports.exporting.trackers import write_mlflow, write_trackio, write_wandb
from lrsearch.reports.exporting.values import Format
from lrsearch.terminal import command_line, quote


def _dashboard(path: str) -> str:
    return command_line(["optuna-dashboard", path if path.endswith(JOURNALS) else _address(path)])


def _address(path: str) -> str:
    """The address of a database in SQLite; what has a meaning there is escaped, as SQLAlchemy
    does."""
    return "sqlite:///" + re.sub("[%?]", lambda found: f"%{ord(found[0]):02X}", path)


FORMATS: dict[str, Format] = {
    "csv": Format(
        "a table, safe to open in a spreadsheet", text=to_csv, tables=True, suffix=".csv"
    ),
    "parquet": Format(
        "a table for pandas, polars, DuckDB",
        write_parquet,
        needs=("pyarrow",),
        install="lrsearch[parquet]",
        tables=True,
        suffix=".parquet",
    ),
    "optuna": Format(
        "a storage with a study: SQLite, or a journal where the file ends in .journal or .log",
        write_study,
        needs=("optuna",),
        install="optuna",
        named=True,
        suffix=".db",
        opened=_dashboard,
    ),
    "tensorboard": Format(
        "a folder of events, with hparams",
        write_events,
        folder=True,
        needs=("tensorboard",),
        install="tensorboard",
        opened=lambda path: command_line(["tensorboard", "--logdir", path]),
    ),
    "wandb": Format(
        "a folder of offline runs of Weights & Biases",
        write_wandb,
        folder=True,
        needs=("wandb",),
        install="wandb",
        named=True,
        opened=lambda path: f"wandb sync {quote(path)}/wandb/offline-run-*",
    ),
    "trackio": Format(
        "a folder of trackio's, which looks as Weights & Biases does",
        write_trackio,
        folder=True,
        needs=("trackio",),
        install="trackio",
        named=True,
        opened=lambda path: f"TRACKIO_DIR={quote(path)} trackio show",
    ),
    "mlflow": Format(
        "a database of MLflow's, in SQLite",
        write_mlflow,
        needs=("mlflow", "sqlalchemy", "alembic"),
        install="mlflow",
        named=True,
        suffix=".db",
        opened=lambda path: command_line(["mlflow", "ui", "--backend-store-uri", _address(path)]),
    ),
}
