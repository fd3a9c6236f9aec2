"""Diagnoses of the trials of a run: beside each other, and of those whose journal has none, which
older versions wrote."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from lrsearch.diagnosis import compare, diagnose, read_signs
from lrsearch.errors import LrsearchError
from lrsearch.store import read_curve, read_records
from lrsearch.trial import Objective, Record, Records, Result, Trial

MOST = 300
"""Curves that a report reads for it: each is a file, of which a thousand take about a second."""


def complete(folder: Path, records: Iterable[Record], objective: Objective) -> list[Record]:
    """The records with what their neighbours say of their verdicts, and those that were never
    diagnosed with verdicts by their curves, as far as these can be read; nothing is read where they
    are too many."""
    kept = list(records)
    missing = [each for each in kept if each.result is not None and each.result.verdicts is None]
    if len(missing) > MOST:
        return compare(kept)
    found = {
        each.trial.number: diagnosed(folder, each.trial, each.result, objective)
        for each in missing
        if each.result is not None
    }
    return compare(
        [
            replace(each, result=found.get(each.trial.number, each.result)) if found else each
            for each in kept
        ]
    )


def diagnosed(folder: Path, trial: Trial, result: Result, objective: Objective) -> Result:
    """The result with verdicts by the trial's curve; as it is where it has some, or the curve
    cannot be read."""
    if result.verdicts is not None:
        return result
    try:
        curve, records = read_curve(folder, trial.number), read_records(folder, trial.number)
    except LrsearchError:  # It is no part of the journal, and may be lost.
        return result
    return replace(
        result,
        verdicts=diagnose(trial.config, curve, records, result, objective),
        signs=read_signs(curve, records, result, objective),
    )


def read_course(folder: Path, number: int) -> tuple[Mapping[str, list[float]], Records, str]:
    """Read the curve of a trial and the records of its steps; and why there are none, "" where
    there are: their file may be lost, and the journal has all the rest of the trial."""
    try:
        return read_curve(folder, number), read_records(folder, number), ""
    except LrsearchError as error:
        where = f"{error.where}: " if error.where else ""
        return {}, Records(), f"{where}{error.message}"
