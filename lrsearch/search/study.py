"""A study of Optuna's read from its storage, as plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.storages.journal import JournalFileBackend, JournalStorage

from lrsearch.errors import UsageError, nearest, suggest


@dataclass(frozen=True)
class Study:
    """A study: its goal, its metric ("" where that has no name), the number of its trials, and what
    each of its parameters was drawn from, the latest where that changed: {low, high, log, step} or
    a list. `always` are those that every trial has."""

    goal: str
    metric: str
    trials: int
    drawn: Mapping[str, Any]
    always: frozenset[str]


def read_study(storage: str, name: str) -> Study:
    """Read a study by its name from a storage: a URL, or a file of SQLite or of Optuna's journal.
    Nothing is written. Raises UsageError for a storage or a study that is not there, and for one
    with several objectives or without trials."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    where = f"--from-optuna {storage}"
    file = storage.removeprefix("sqlite:///")  # Optuna would make one that is not there.
    kind = b"" if "://" in file else _begin(Path(file), where)
    try:
        held: Any = storage if "://" in storage else f"sqlite:///{file}"
        if kind and kind != _SQLITE:
            held = JournalStorage(JournalFileBackend(file))
        known = optuna.get_all_study_names(held)
        if name not in known:
            hint = suggest(name, known) if known else "there is no study in it: name another file"
            raise UsageError(f"it has no study '{name}'", where=where, hint=hint)
        study = optuna.load_study(study_name=name, storage=held)
        trials, directions = study.get_trials(deepcopy=False), study.directions
        named = study.metric_names or [""]
    except UsageError:
        raise
    except Exception as error:  # Each storage has errors of its own.
        text = " ".join(str(error).split())[:200]
        hint = f"a storage is a file, such as {STORAGE}, or a URL, such as sqlite:///{STORAGE}"
        message = f"it is no storage of Optuna's: {text}"
        raise UsageError(message, where=where, hint=hint) from error
    if len(directions) > 1:
        message = f"'{name}' has {len(directions)} objectives: a spec has one"
        raise UsageError(message, where=where, hint=_BY_HAND)
    drawn: dict[str, Any] = {}
    for trial in trials:
        drawn |= {key: _plain(part) for key, part in trial.distributions.items()}
    if not drawn:
        message = f"'{name}' has no trial with parameters yet"
        raise UsageError(message, where=where, hint=_BY_HAND)
    complete = [each for each in trials if each.distributions]
    always = frozenset(drawn).intersection(*(each.distributions for each in complete))
    goal = "max" if directions[0] == optuna.study.StudyDirection.MAXIMIZE else "min"
    return Study(goal, named[0], len(trials), drawn, always)


STORAGE = "study.db"
_BY_HAND = "to write what is searched yourself: lrsearch init new.yaml --from loop"

_SQLITE = b"SQLite format 3"
"""The beginning of a database of SQLite."""


def _begin(path: Path, where: str) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(len(_SQLITE))
    except OSError as error:
        files = [each.name for each in path.parent.iterdir()] if path.parent.is_dir() else []
        meant = nearest(path.name, files) if isinstance(error, FileNotFoundError) else None
        hint = f"did you mean '{path.with_name(meant)}'?" if meant else ""
        hint = hint or f"a storage is a file, such as {STORAGE}, or a URL of Optuna's"
        message = f"cannot read {path}: {error.strerror}"
        raise UsageError(message, where=where, hint=hint) from None


def _plain(part: BaseDistribution) -> Any:
    if isinstance(part, CategoricalDistribution):
        return list(part.choices)
    if isinstance(part, FloatDistribution | IntDistribution):
        whole = isinstance(part, IntDistribution)
        step = part.step if part.step is not None and not (whole and part.step == 1) else None
        return {
            **({"min": part.low, "max": part.high} if step is None else {}),
            **({"low": part.low, "high": part.high, "step": step} if step is not None else {}),
            **({"scale": "log" if part.log else "linear"} if step is None else {}),
        }
    return None
