"""A run as what trackers of experiments keep: a tracker's run is a trial, grouped by its point."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lrsearch.reports.exporting.values import ENDED, ExportedRun, measurements, scalar, text_of
from lrsearch.trial import Record, Result

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient


def write_wandb(run: ExportedRun, path: Path) -> None:
    """Write offline runs of Weights & Biases, for `wandb sync`. Nothing is sent anywhere."""
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    os.environ.setdefault("WANDB_SILENT", "true")
    import wandb

    path.mkdir(parents=True, exist_ok=True)
    settings = {"mode": "offline", "dir": str(path), "reinit": "finish_previous"}
    log_trials(run, wandb, failed={"exit_code": 1}, **settings)


def write_trackio(run: ExportedRun, path: Path) -> None:
    """Write a folder of trackio's. Nothing is sent anywhere, whatever trackio is told to do by its
    environment. Raises ImportError where it was imported before: it keeps to the folder of then."""
    for name in [name for name in os.environ if name.startswith("TRACKIO_")]:
        del os.environ[name]
    os.environ |= {"TRACKIO_DIR": str(path), "HF_HUB_OFFLINE": "1"}
    path.mkdir(parents=True, exist_ok=True)  # A run without a trial makes none.
    with contextlib.redirect_stdout(io.StringIO()):  # It says where it writes, and what shows it.
        import trackio

        if Path(trackio.utils.TRACKIO_DIR) != path:
            raise ImportError(f"it keeps to {trackio.utils.TRACKIO_DIR}")
        log_trials(run, trackio, embed=False, auto_log_gpu=False, auto_log_cpu=False)


def log_trials(
    run: ExportedRun, module: Any, failed: Mapping[str, Any] | None = None, **settings: Any
) -> None:
    """Log every trial by the calls that wandb and those modules share that take its place:
    `init`, `log`, `finish`, the last with the arguments `failed` for a trial that has failed."""
    for record, result in run.ended():
        module.init(
            project=run.name,
            group=f"point {record.point}",
            name=f"trial {record.trial.number}",
            config={text_of(name): value for name, value in run.settings(record).items()},
            **settings,
        )
        step = 0
        for step, values in measurements(run.curve(record.trial.number)):
            module.log({text_of(name): value for name, value in values.items()}, step=step)
        ended = {f"result/{name}": value for name, value in run.values(result).items()}
        module.log({**ended, **_told(record, result)}, step=max(step, result.steps))
        module.finish(**(failed or {} if result.outcome not in ENDED else {}))


def _told(record: Record, result: Result) -> dict[str, Any]:
    """The rest of what a trial came to, in words."""
    found = {"outcome": str(result.outcome), "point": record.point, "strategy": record.strategy}
    return found | ({"reason": scalar(result.reason)} if result.reason else {})


METRICS, PARAMS, LENGTH = 1000, 100, 5000
"""The most metrics and parameters that MLflow takes at once, and the longest of its values
(`mlflow.utils.validation`)."""

_UNNAMED = re.compile(r"[^\w\-. :/]", re.ASCII)
"""Characters that no name of MLflow's may have."""


def write_mlflow(run: ExportedRun, path: Path) -> None:
    """Write a database of MLflow's with one experiment. Its file stores are no longer written to by
    MLflow itself."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    from mlflow.tracking import MlflowClient

    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    with contextlib.chdir(path.parent):  # In an address a folder's ? or % has a meaning.
        _fill_mlflow(run, MlflowClient(tracking_uri=f"sqlite:///{path.name}"))


def _fill_mlflow(run: ExportedRun, client: MlflowClient) -> None:
    """Make the experiment and its runs."""
    from mlflow.entities import Metric, Param, RunTag

    # No file is kept beside the numbers; what is logged later goes where MLflow puts it by default.
    experiment = client.create_experiment(run.name, artifact_location="mlflow-artifacts:/")
    start = round(run.began * 1000)
    for record, result in run.ended():
        title = f"trial {record.trial.number}"
        made = client.create_run(experiment, start_time=start, run_name=title).info.run_id
        until = start + round(result.seconds * 1000)
        metrics = [
            Metric(_name(name), float(value), start + round(share * (until - start)), step)
            for name, value, step, share in _metrics(run, record, result)
        ]
        settings = run.settings(record)
        params = [Param(_name(name), _cut(value)) for name, value in settings.items()]
        tags = [RunTag(name, _cut(value)) for name, value in _told(record, result).items()]
        client.log_batch(made, tags=tags)
        for part in _batches(metrics, METRICS):
            client.log_batch(made, metrics=part)
        for part in _batches(params, PARAMS):
            client.log_batch(made, params=part)
        ended = "FINISHED" if result.outcome in ENDED else "FAILED"
        client.set_terminated(made, status=ended, end_time=until)


def _metrics(
    run: ExportedRun, record: Record, result: Result
) -> Iterator[tuple[str, float, int, float]]:
    """Name, value, step, and the share of the training that is over, of all numbers of a trial."""
    last = max(result.steps, 1)
    for step, values in measurements(run.curve(record.trial.number)):
        for name, value in values.items():
            yield name, value, step, min(step / last, 1.0)
    for name, value in run.values(result).items():
        yield f"result/{name}", value, result.steps, 1.0


def _name(name: str) -> str:
    """A name as MLflow takes it: other letters are underscores there."""
    return _UNNAMED.sub("_", name)[:250]


def _cut(value: Any) -> str:
    text = text_of(str(value))
    return text if len(text) <= LENGTH else f"{text[: LENGTH - 1]}…"


def _batches(values: Sequence[Any], most: int) -> Iterator[list[Any]]:
    rest = iter(values)
    while part := list(islice(rest, most)):
        yield part
