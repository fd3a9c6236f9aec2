"""Which stored trials belong to a spec, and what is measured at each of its points."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from lrsearch.errors import SpecRefused
from lrsearch.spec.model import Spec, differences, flatten, identity, locate, trial_key
from lrsearch.store import History
from lrsearch.trial import Config, Objective, Outcome, Point, Record, Trial, combine


@dataclass(frozen=True)
class Content:
    """What a config only names: the task and the SHA-256 of the data and of user modules."""

    task: str
    data: str
    source: str

    @property
    def hashes(self) -> dict[str, str]:
        """As trial keys take them."""
        return {"data": self.data, "source": self.source}


@dataclass
class Entry:
    """A point of the run: its config and its trials.

    `number` counts the run's points from 1, in the order of their first trials.
    """

    number: int
    config: Config
    spec: Spec
    task: str
    trials: list[int] = field(default_factory=list)

    @cached_property
    def point(self) -> Point | None:
        """Its place in the spec's space, None outside. A report never asks."""
        return locate(self.spec, self.config, self.task)


def config_key(config: Config) -> str:
    """A text that two configs share exactly when they train the same."""
    return json.dumps(identity(config), sort_keys=True)


class Ledger:
    """A run's history seen through one spec. Measured trials that do not belong to it are counted
    in `hidden` and otherwise left alone."""

    def __init__(self, spec: Spec, content: Content, history: History) -> None:
        self.spec = spec
        self.content = content
        self.history = history
        self.entries: dict[str, Entry] = {}
        self.entry_of: dict[int, Entry] = {}
        self.hidden = 0
        belongs: dict[str, bool] = {}
        for trial in history.trials.values():
            key = config_key(trial.config)
            if key not in belongs:
                belongs[key] = not differences(spec, trial.config, content.task)
            if belongs[key] and trial.key == self.key(trial.config, trial.seed, trial.fold):
                self.add(trial, key)
            elif trial.number in history.results:
                self.hidden += 1

    def key(self, config: Config, seed: int, fold: int | None) -> str:
        """The trial key of a config under this content."""
        return trial_key(config, self.content.hashes, seed, fold)

    def add(self, trial: Trial, key: str | None = None) -> Entry:
        """Take a trial that belongs to the spec."""
        key = key or config_key(trial.config)
        entry = self.entries.get(key)
        if entry is None:
            entry = Entry(len(self.entries) + 1, trial.config, self.spec, self.content.task)
            self.entries[key] = entry
        entry.trials.append(trial.number)
        self.entry_of[trial.number] = entry
        return entry

    def wanted(self) -> list[tuple[int, int | None]]:
        """The seed and fold of every trial of a point under the spec."""
        folds: Iterable[int | None] = range(self.spec.folds) if self.spec.folds else [None]
        seeds = range(self.spec.seed, self.spec.seed + self.spec.seeds)
        return [(seed, fold) for seed in seeds for fold in folds]

    def latest(self, entry: Entry) -> list[int]:
        """The entry's trials, of those repeated after a failure only the last."""
        keys = {self.history.trials[number].key: number for number in entry.trials}
        return sorted(keys.values())

    def judge(self, entry: Entry, objective: Objective) -> tuple[Outcome | None, float | None]:
        """The outcome and objective of a point; no outcome while a trial of it has none."""
        results = [self.history.results.get(number) for number in self.latest(entry)]
        return combine(results, objective)

    def records(self) -> list[Record]:
        """The trials that belong, as a report takes them."""
        flat: dict[int, Mapping[str, Any]] = {}
        found = []
        for entry in self.entries.values():
            flat[entry.number] = flatten(self.spec.space, entry.config)
            for number in self.latest(entry):
                found.append(
                    Record(
                        trial=self.history.trials[number],
                        point=entry.number,
                        params=flat[entry.number],
                        strategy=self.history.strategy[number],
                        result=self.history.results.get(number),
                    )
                )
        return sorted(found, key=lambda record: record.trial.number)

    def refuse_stranger(self) -> None:
        """Raises SpecRefused where the folder holds results and none belongs to the spec."""
        if self.entries or not self.history.results:
            return
        last = self.history.trials[max(self.history.results)]
        found = differences(self.spec, last.config, self.content.task)
        if not found:
            found = ["the content of the data or the source of the model has changed"]
        shown = "\n  ".join(found[:8]) + (f"\n  and {len(found) - 8} more" if found[8:] else "")
        raise SpecRefused(
            f"run '{self.spec.name}' holds {len(self.history.results)} trials, "
            f"none of which belongs to this spec:\n  {shown}",
            where=self.spec.source,
            hint="give the spec another name, or set the old run aside with --fresh "
            "(it is renamed, nothing is deleted)",
        )
