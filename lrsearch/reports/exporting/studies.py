"""A run as a study of Optuna's, which optuna-dashboard opens.

A trial of the study is a point: its value is the point's objective, the mean over its seeds and
folds, so that the study's best trial is the run's best point and not its luckiest training. An
intermediate value is the mean at a step that all trainings of the point have. What single trainings
came to, with all of their intermediate values, is in the trial's user attributes where there are
several.
"""

from __future__ import annotations

import contextlib
import datetime
import logging
import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lrsearch import catalogue
from lrsearch.analysis.points import PointSummary
from lrsearch.reports.cells import plain
from lrsearch.reports.exporting.values import ExportedRun, average, scalar
from lrsearch.reports.text import format_value
from lrsearch.space import Choice, Dimension, Float, parameters
from lrsearch.trial import Outcome, Record

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.storages import BaseStorage
    from optuna.trial import FrozenTrial

JOURNALS = (".journal", ".log")
"""Suffixes of a file that is written as Optuna's journal; any other is a database of SQLite."""

_BAD = (Outcome.DIVERGED, Outcome.PRUNED, Outcome.OUT_OF_MEMORY)
"""Outcomes that Optuna is told as pruned: its samplers then stay away from such points, where they
would forget a trial that has failed."""


def write_study(run: ExportedRun, path: Path) -> None:
    """Write the run as a storage with one study."""
    import optuna
    from optuna.storages import RDBStorage
    from optuna.storages.journal import JournalFileBackend, JournalStorage

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    if path.suffixes and path.suffixes[-1] in JOURNALS:
        _fill(run, JournalStorage(JournalFileBackend(str(path))))
        return
    with contextlib.chdir(path.parent):  # In an address a folder's ? or % has a meaning.
        storage = RDBStorage(f"sqlite:///{path.name}")
        _fill(run, storage)
        storage.remove_session()
        storage.engine.dispose()


def _fill(run: ExportedRun, storage: BaseStorage) -> None:
    """Make the study in a storage."""
    import optuna

    directions = optuna.study.StudyDirection
    goal = directions.MAXIMIZE if run.view.objective.goal == "max" else directions.MINIMIZE
    study = optuna.create_study(storage=storage, study_name=run.name, direction=goal)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study.set_metric_names([run.view.objective.metric])
    study.set_user_attr("lrsearch:run", run.view.name)
    study.set_user_attr("lrsearch:spec", plain(run.document))
    named = name_parameters(run)
    for point in sorted(run.view.points, key=lambda each: each.point):
        if point.outcome is not None:
            study.add_trial(_trial(run, point, named))


@dataclass(frozen=True)
class Named:
    """A parameter in a study: its name, its distribution, and the values of its choices."""

    title: str
    distribution: BaseDistribution
    labels: tuple[Any, ...] = ()

    def value(self, raw: float) -> Any:
        """The value of a raw number of the space."""
        if self.labels:
            return self.labels[int(raw)]
        return int(raw) if _is_whole(self.distribution) else float(raw)


def _is_whole(distribution: BaseDistribution) -> bool:
    return type(distribution).__name__ == "IntDistribution"


def name_parameters(run: ExportedRun) -> dict[str, Named]:
    """The searched parameters by their ids. One that lives under an option of a choice is named
    after that, `schedule.one_cycle.pct_start`: it is part of the trials that have this option, as
    in a study whose objective asks for it there alone."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    found: dict[str, Named] = {}
    for name, dimension in parameters(run.space):
        title = name
        for choice, known in found.items():
            for index, label in enumerate(known.labels):
                if name.startswith(f"{choice}[{index}]."):
                    title = f"{known.title}.{label}.{name[len(f'{choice}[{index}].') :]}"
        if isinstance(dimension, Choice):
            labels = label_options(dimension)
            found[name] = Named(title, CategoricalDistribution(labels), labels)
            continue
        made: BaseDistribution
        if isinstance(dimension, Float):
            made = FloatDistribution(dimension.low, dimension.high, log=dimension.log)
        else:
            made = IntDistribution(dimension.low, dimension.high, log=dimension.log)
        found[name] = Named(_united(title, dimension), made)
    return found


def _united(title: str, dimension: Dimension) -> str:
    """The title of a parameter, with its unit where it is a duration: `schedule.step.every
    [dur]`."""
    unit = dimension.unit if isinstance(dimension, Float) else ""
    return f"{title} [{unit}]" if unit else title


def label_options(choice: Choice) -> tuple[Any, ...]:
    """The options of a choice as Optuna keeps them, no two alike: plain values as they are, a
    component by its name, or with its arguments where several have that name."""
    values = choice.values
    names = [catalogue.name_of(value) if isinstance(value, Mapping) else None for value in values]
    labels: list[Any] = []
    for value, name in zip(values, names, strict=True):
        if value is None or isinstance(value, str | int | float):
            label: Any = value if value is None else scalar(value)
        elif name is not None and names.count(name) == 1 and name not in values:
            label = str(name)
        else:
            label = format_value(value)
        while any(label == other and type(label) is type(other) for other in labels):
            label = f"{label} ({len(labels) + 1})"
        labels.append(label)
    # Optuna takes 1, 1.0 and true for one choice: these alone are told apart by their types.
    return tuple(_typed(label, labels) if labels.count(label) > 1 else label for label in labels)


def _typed(label: Any, labels: Sequence[Any]) -> str:
    """A label with its type, and as many blanks behind as make it unlike all others."""
    text = f"{format_value(label)} ({type(label).__name__})"
    while text in labels:
        text += " "
    return text


def _trial(run: ExportedRun, point: PointSummary, named: Mapping[str, Named]) -> FrozenTrial:
    from optuna.trial import TrialState, create_trial

    value = point.objective
    complete = point.outcome is Outcome.COMPLETED and value is not None and math.isfinite(value)
    state = TrialState.PRUNED if point.outcome in _BAD else TrialState.FAIL
    numbers = run.numbers.get(point.point) or {}
    records = [each for each in run.view.records if each.point == point.point]
    metric = run.view.objective.metric
    curves = [run.curve(each.trial.number) for each in records if each.result is not None]
    made = create_trial(
        state=TrialState.COMPLETE if complete else state,
        value=value if complete else None,
        params={named[key].title: named[key].value(raw) for key, raw in numbers.items()},
        distributions={named[key].title: named[key].distribution for key in numbers},
        intermediate_values=average(curves, metric),
        user_attrs=_attributes(run, point, records),
    )
    made.datetime_complete = datetime.datetime.fromtimestamp(run.began)
    made.datetime_start = made.datetime_complete - datetime.timedelta(seconds=point.seconds)
    return made


def _attributes(run: ExportedRun, point: PointSummary, records: Sequence[Record]) -> dict[str, Any]:
    found: dict[str, Any] = {
        "point": point.point,
        "trials": list(point.trials),
        "strategy": point.strategy,
        "outcome": str(point.outcome),
        "params": plain(point.params),
    }
    if point.reason:
        found["reason"] = scalar(point.reason)
    if point.spread is not None:
        found["spread"] = point.spread
    if len(records) > 1:
        for record in records:
            curve = run.curve(record.trial.number) if record.result is not None else {}
            result = record.result
            found[f"trial {record.trial.number}"] = plain(
                {
                    "seed": record.trial.seed,
                    "fold": record.trial.fold,
                    "outcome": result and str(result.outcome),
                    "objective": result and result.value(run.view.objective),
                    "intermediate": average([curve], run.view.objective.metric),
                }
            )
    return found
