"""A run as event files of TensorBoard's: a folder a trial, and the table of its HPARAMS tab.

The files are written by the package tensorboard alone, as torch.utils.tensorboard does: no torch is
needed. Trials of one point are one group of sessions, which the tab shows by their means.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lrsearch.reports.exporting.values import ENDED, ExportedRun, measurements, text_of


def write_events(run: ExportedRun, path: Path) -> None:
    """Write the run into a folder, of which `tensorboard --logdir` shows curves and a table."""
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    kinds = _kinds(run)
    _write(path, [(run.began, 0, _plugin("experiment", _experiment(run, kinds)))])
    for record, result in run.ended():
        data = HParamsPluginData()
        start = data.session_start_info
        start.group_name, start.start_time_secs = f"point {record.point}", run.began
        for name, value in run.settings(record).items():
            kind = kinds[name]
            setattr(
                start.hparams[text_of(name)],
                {"truth": "bool_value", "number": "number_value", "text": "string_value"}[kind],
                str(value) if kind == "text" else value,
            )
        events: list[tuple[float, int, Any]] = [(run.began, 0, _plugin("session_start_info", data))]
        last = max(result.steps, 1)
        for step, values in measurements(run.curve(record.trial.number)):
            moment = run.began + result.seconds * min(step / last, 1.0)
            events += [(moment, step, _scalar(name, value)) for name, value in values.items()]
            last = max(last, step)
        until = run.began + result.seconds
        for name, value in run.values(result).items():
            events.append((until, last, _scalar(f"result/{name}", value)))
        ended = HParamsPluginData()
        # 1 is success, 2 is failure: of a module that mypy cannot see.
        ended.session_end_info.status = 1 if result.outcome in ENDED else 2
        ended.session_end_info.end_time_secs = until
        events.append((until, last, _plugin("session_end_info", ended)))
        _write(path / f"trial-{record.trial.number:06d}", events)


def _kinds(run: ExportedRun) -> dict[str, str]:
    """Whether a setting is a number, a truth or a text in all trials that have it; text where they
    differ."""
    found: dict[str, set[str]] = {}
    for record, _ in run.ended():
        for name, value in run.settings(record).items():
            kind = "truth" if isinstance(value, bool) else "number"
            found.setdefault(name, set()).add("text" if isinstance(value, str) else kind)
    return {name: kinds.pop() if len(kinds) == 1 else "text" for name, kinds in found.items()}


def _experiment(run: ExportedRun, kinds: Mapping[str, str]) -> Any:
    from tensorboard.plugins.hparams import api_pb2
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    types = {
        "truth": api_pb2.DATA_TYPE_BOOL,
        "number": api_pb2.DATA_TYPE_FLOAT64,
        "text": api_pb2.DATA_TYPE_STRING,
    }
    data = HParamsPluginData()
    data.experiment.description = f"{run.view.name}, by lrsearch"
    data.experiment.time_created_secs = run.began
    for name, kind in kinds.items():
        data.experiment.hparam_infos.add(name=text_of(name), type=types[kind])
    metrics = dict.fromkeys(
        f"result/{name}" for _, result in run.ended() for name in run.values(result)
    )
    objective = run.view.objective.metric
    for tag in metrics:
        title = objective if tag == "result/objective" else tag.removeprefix("result/")
        info = data.experiment.metric_infos.add(display_name=text_of(title))
        info.name.tag = tag
    return data


def _plugin(kind: str, data: Any) -> Any:
    """The summary that the HPARAMS tab reads from an event."""
    from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
    from tensorboard.plugins.hparams import metadata

    tags = {
        "experiment": metadata.EXPERIMENT_TAG,
        "session_start_info": metadata.SESSION_START_INFO_TAG,
        "session_end_info": metadata.SESSION_END_INFO_TAG,
    }
    made = metadata.create_summary_metadata(data).SerializeToString()
    summary = Summary()
    summary.value.add(
        tag=tags[kind],
        metadata=SummaryMetadata.FromString(made),
        tensor=metadata.NULL_TENSOR,
    )
    return summary


def _scalar(name: str, value: float) -> Any:
    from tensorboard.compat.proto.summary_pb2 import Summary

    return Summary(value=[Summary.Value(tag=text_of(name), simple_value=value)])


def _write(folder: Path, events: list[tuple[float, int, Any]]) -> None:
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    writer = EventFileWriter(str(folder))
    for moment, step, summary in events:
        writer.add_event(Event(wall_time=moment, step=step, summary=summary))
    writer.close()
