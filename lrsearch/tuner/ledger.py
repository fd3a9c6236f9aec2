"""The ledger: stored trials that belong to a spec, and the results at each of its points."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from operator import attrgetter
from statistics import fmean
from typing import Any

from lrsearch.errors import SpecRefused
from lrsearch.spec.commandline import named_files
from lrsearch.spec.comparison import Membership, differences
from lrsearch.spec.flattening import make_flattening
from lrsearch.spec.model import (
    METRICS_UNIT,
    Spec,
    argument_paths,
    canonical,
    class_paths,
    identity,
    key_of_text,
    locate,
    measures_scaled,
    rest_of_key,
)
from lrsearch.store import History, given_objective
from lrsearch.trial import Config, Facts, Outcome, Point, Record, Trial, combine

# content and earlier sessions


@dataclass(frozen=True)
class Content:
    """Content that a config only names: the task, and the SHA-256 of the data, of the user code
    behind each class path, and of files at each `path:` that this code is given, "" for none;
    at METRICS_UNIT a unit."""

    task: str
    data: str
    sources: Mapping[str, str]

    def of(self, config: Config) -> dict[str, Any]:
        """The hashes of all that this config names, as trial keys take them."""
        if "params" in config:
            files = (name for name in named_files(config) if name in self.sources)
            return {"source": {name: self.sources[name] for name in files}}
        if not self.sources:
            return self._plain[not config["data"].get("standardize")]
        names = {*class_paths(config), *(f"path:{text}" for text in argument_paths(config))}
        if measures_scaled(config):
            names.add(METRICS_UNIT)
        sources = {name: self.sources[name] for name in names if self.sources.get(name)}
        return {**self._plain[not config["data"].get("standardize")], "source": sources}

    @cached_property
    def _plain(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """The hashes that any config of ours names where no code or file is named, with data that
        are standardized and with others."""
        # Behind a + is the hash of digits that only standardizing uses.
        parts = self.data, self.data.partition("+")[0]
        standardized, others = ({"data": part, "source": {}} for part in parts)
        return standardized, others


def content_of(facts: Facts) -> Content:
    """The part of the facts that trial keys need."""
    return Content(facts.task, facts.data_hash, facts.source_hashes)


def settle(facts: Facts, history: History) -> Facts:
    """The facts without the content of paths that led nowhere, or were not read, when an earlier
    session of the run began: files there now were written by the code itself."""
    earlier = [session["facts"]["source_hashes"] for session in history.sessions]
    void = {name for each in earlier for name in each if not each[name]} & {*facts.source_hashes}
    return replace(facts, source_hashes={**facts.source_hashes, **dict.fromkeys(void, "")})


def find_settled(history: History) -> dict[str, Any]:
    """The settings of a run's spec that its `data` leave open: later sessions go on with them,
    whatever else they search. Empty for a run without measurements."""
    found: dict[str, Any] = {}
    if _measured(history, history.results):
        for session in history.sessions:
            found |= session["facts"].get("settled") or {}
    return found


def go_on(spec: Spec, history: History) -> Spec:
    """The spec as its run began. In versions whose sessions do not record a seed, all text of a
    parameter was text, and commands and loops counted seeds from 0 unless the spec said
    otherwise."""
    failed = history.results and not _measured(history, history.results)
    if spec.kind is None or failed:  # A run of failures has nothing to go on with.
        return spec
    silent = "seed" not in spec.document
    for session in history.sessions:
        begun = session["spec"]
        document = begun["document"]
        if spec.kind not in document:
            continue
        if silent and "seed" not in document:
            spec, silent = replace(spec, seed=begun.get("seed", 0)), False
        if "seed" not in begun:
            spec = _as_text(spec, document.get("params") or {})
    return spec


def describe_begun(given: Spec, spec: Spec) -> Iterator[str]:
    """Sentences on what differs in a spec that goes on, by `go_on`, from the one `given`."""
    if spec.seed != given.seed:
        yield (
            f"this run began with seed {spec.seed} and goes on with it; a new one, such as by "
            f"--fresh, begins with {given.seed}"
        )
    for name in sorted(given.derived.keys() - spec.derived.keys()):
        yield f"params.{name} was text when this run began, and is text here still"


def _as_text(spec: Spec, params: Mapping[str, Any]) -> Spec:
    """The spec with these parameters taken for text, where it has the same text."""
    assert spec.outside is not None
    derived = dict(spec.derived)
    texts = {name: each.text for name, each in derived.items() if params.get(name) == each.text}
    for name in texts:
        del derived[name]
    outside = replace(spec.outside, derived=derived)
    return replace(spec, train={**spec.train, **texts}, outside=outside)


# points and trials


@dataclass(eq=False)
class Entry:
    """A point of the run: its config and its trials.

    `number` counts the run's points from 1, in the order of their first trials, `text` is the
    canonical text of its config.
    """

    number: int
    config: Config
    text: str
    spec: Spec
    task: str
    trials: list[int] = field(default_factory=list)

    @cached_property
    def point(self) -> Point | None:
        """The point's place in the spec's space, None outside. Reports never need it."""
        return locate(self.spec, self.config, self.task)


def retrying(command: Sequence[str]) -> list[str]:
    """The command that trains failed trials again, from a search's command."""
    given = [part for part in command if part not in ("--retry-failed", "--fresh")]
    return [*given, "--retry-failed"]


def resuming_pruned(command: Sequence[str]) -> list[str]:
    """The command that trains stopped trials to their end, from a search's command."""
    given = [part for part in command if part not in ("--resume-pruned", "--fresh")]
    return [*given, "--resume-pruned"]


def _measured(history: History, numbers: Iterable[int]) -> bool:
    """Whether any of these trials has ended other than by failing or running out of memory."""
    ended = (history.results[number] for number in numbers if number in history.results)
    return any(result.outcome not in (Outcome.FAILED, Outcome.OUT_OF_MEMORY) for result in ended)


class Ledger:
    """A run's history seen through one spec. Measured trials that do not belong to it are counted
    in `hidden` and otherwise left alone."""

    def __init__(self, spec: Spec, content: Content, history: History) -> None:
        self.spec = spec
        self.content = content
        self.history = history
        self.objective = spec.objective(content.task)
        self.entries: dict[str, Entry] = {}
        self.entry_of: dict[int, Entry] = {}
        self.trials: dict[int, Trial] = {}
        self.hidden = 0
        folds: Sequence[int | None] = range(spec.folds) if spec.folds else [None]
        seeds = range(spec.seed, spec.seed + spec.seeds)
        self.wanted = [(seed, fold) for seed in seeds for fold in folds]
        self._asked = frozenset(self.wanted)
        self._judged: dict[int, tuple[Outcome | None, float | None]] = {}
        self._judged_measured: dict[int, tuple[Outcome | None, float | None]] = {}
        self._read = 0
        self._rungs: dict[int, list[tuple[int, float]]] = {}
        self._rests: dict[tuple[object, ...], str] = {}
        self._others: frozenset[int] = frozenset()
        self.flatten = make_flattening(spec.space)
        membership = Membership(spec, content.task)
        config: Config | None = None
        text, belongs = "", False
        for trial in history.trials.values():
            if trial.number in history.apart:  # No strategy is told of it.
                continue
            mine = False
            if trial.config is not config:  # As it is of the seeds and folds of one proposal.
                config = trial.config
                guess = membership.guess(config)
                mine = guess is not None and self._owns(trial, guess[0])
                text, belongs = guess if guess is not None and mine else membership.read(config)
            if belongs and (mine or self._owns(trial, text)):
                self.add(trial, self._entry(config, text))
            elif trial.number in history.results:
                self.hidden += 1

    def _owns(self, trial: Trial, text: str) -> bool:
        """Whether a trial has the key of a config of this canonical text under this content."""
        return trial.key == self._hash(trial.config, text, trial.seed, trial.fold)

    def set_apart(self, trials: Iterable[Trial]) -> Ledger:
        """A ledger of the same run that holds these trials alone, each of them asked for."""
        apart = copy.copy(self)
        apart.entries, apart.entry_of, apart.trials = {}, {}, {}
        apart._judged, apart._judged_measured = {}, {}
        apart._others = frozenset(self.entry_of)
        apart._asked = frozenset()
        for trial in trials:
            apart.ask(trial)
        return apart

    def ask(self, trial: Trial) -> None:
        """Take a trial that is asked for whatever the spec's seeds are."""
        self._asked |= {(trial.seed, trial.fold)}
        self.add(trial, self.find(trial.config))

    @property
    def numbers(self) -> frozenset[int]:
        """The trials of the spec, with those of the ledger that this one was set apart from."""
        return self._others | self.entry_of.keys()

    def key_of(self, config: Config, seed: int, fold: int | None) -> str:
        """The key of any trial under this content."""
        return self._hash(config, canonical(identity(config)), seed, fold)

    def _hash(self, config: Config, text: str, seed: int, fold: int | None) -> str:
        content = self.content.of(config)
        place = (content.get("data"), *content["source"].items(), seed, fold)
        if place not in self._rests:  # There are few of them.
            self._rests[place] = rest_of_key(content, seed, fold)
        return key_of_text(text, self._rests[place])

    def _entry(self, config: Config, text: str) -> Entry:
        known = self.entries.get(text)
        if known is not None:
            return known
        return Entry(len(self.entries) + 1, config, text, self.spec, self.content.task)

    def find(self, config: Config) -> Entry:
        """Find the point of a config; a new one where there is none, which the ledger keeps from
        its first trial on."""
        return self._entry(config, canonical(identity(config)))

    def key(self, entry: Entry, seed: int, fold: int | None) -> str:
        """The key of a trial at a point under this content."""
        for number in entry.trials:
            trial = self.trials[number]
            if (trial.seed, trial.fold) == (seed, fold):
                return trial.key
        return self._hash(entry.config, entry.text, seed, fold)

    def add(self, trial: Trial, entry: Entry) -> None:
        """Take a trial that belongs to the spec, at its point."""
        self.entries.setdefault(entry.text, entry)
        entry.trials.append(trial.number)
        self.entry_of[trial.number] = entry
        self.trials[trial.number] = trial
        self._forget(entry)

    def note_result(self, number: int) -> Entry:
        """A trial of the ledger has ended; its point."""
        entry = self.entry_of[number]
        self._forget(entry)
        return entry

    def _forget(self, entry: Entry) -> None:
        self._judged.pop(entry.number, None)
        self._judged_measured.pop(entry.number, None)

    def latest(self, entry: Entry) -> list[int]:
        """The entry's trials that count: the last of those repeated after a failure; of trials
        without a result only those with the spec's seeds and folds."""
        if len(entry.trials) == 1:
            (number,) = entry.trials
            return [number] if number in self.history.results or self._is_asked(number) else []
        chosen = {self.trials[number].key: number for number in entry.trials}
        return sorted(
            number
            for number in chosen.values()
            if number in self.history.results or self._is_asked(number)
        )

    def _is_asked(self, number: int) -> bool:
        trial = self.trials[number]
        return (trial.seed, trial.fold) in self._asked

    def is_whole(self, entry: Entry) -> bool:
        """Whether every seed and fold that the spec asks for has a result."""
        done = {
            (self.trials[number].seed, self.trials[number].fold)
            for number in self.latest(entry)
            if number in self.history.results
        }
        return self._asked <= done

    def is_open(self, entry: Entry) -> bool:
        """Whether a trial that counts has no result yet."""
        if len(entry.trials) == 1:
            (number,) = entry.trials
            return number not in self.history.results and self._is_asked(number)
        return any(number not in self.history.results for number in self.latest(entry))

    def judge(self, entry: Entry) -> tuple[Outcome | None, float | None]:
        """The outcome and objective of a point; no outcome while a trial of it has none."""
        judged = self._judged.get(entry.number)
        if judged is None:
            results = [self.history.results.get(number) for number in self.latest(entry)]
            judged = self._judged[entry.number] = combine(results, self.objective)
        return judged

    def judge_measured(self, entry: Entry) -> tuple[Outcome | None, float | None]:
        """Judge a point as `judge`, by those of its trials that have a result."""
        judged = self._judged_measured.get(entry.number)
        if judged is None:
            results = (self.history.results.get(number) for number in self.latest(entry))
            known = [result for result in results if result is not None]
            judged = self._judged_measured[entry.number] = combine(known, self.objective)
        return judged

    def _by_place(self, entry: Entry) -> dict[tuple[int, int | None], int]:
        """The latest of the entry's trials with each seed and fold."""
        return {(self.trials[each].seed, self.trials[each].fold): each for each in entry.trials}

    def replicates(self, entry: Entry) -> tuple[float, ...]:
        """The objectives of a point's completed trials, in the order of the spec's seeds and
        folds."""
        by_place = self._by_place(entry)
        found = []
        for place in self.wanted:
            result = self.history.results.get(by_place.get(place, -1))
            value = result.value(self.objective) if result is not None else None
            if value is not None:
                found.append(value)
        return tuple(found)

    @property
    def measure(self) -> str:
        """The objective in words, as the journal has it beside a value at a rung."""
        return f"{self.objective.metric} {self.objective.goal} {self.objective.at}"

    def has_reached(self, place: tuple[int, int]) -> bool:
        """Whether a trial is known to have reached a rung, by its value of this objective: another
        one's is nothing to compare with. Older versions did not say whose it was: that of their
        spec."""
        known = (self.measure, given_objective(self.spec.document))
        return self.history.reached_by.get(place) in known

    def partial(self, entry: Entry) -> tuple[tuple[float, float], ...]:
        """The rungs that all trials of a point have reached: the share of the budget, and the mean
        of their objectives there."""
        if self._read < self.history.lines:
            self._read, self._rungs = self.history.lines, {}
            for (number, step), value in sorted(self.history.reached.items()):
                if value is not None and self.has_reached((number, step)):
                    self._rungs.setdefault(number, []).append((step, value))
        by_place = self._by_place(entry)
        worth: list[list[tuple[float, float]]] = []
        for place in self.wanted:
            number = by_place.get(place, -1)
            result = self.history.results.get(number)
            if result is None or result.outcome not in (Outcome.COMPLETED, Outcome.PRUNED):
                return ()
            whole = result.steps if result.outcome is Outcome.COMPLETED else result.whole
            if not whole:  # As of a command that told no budget.
                return ()
            worth.append([(step / whole, value) for step, value in self._rungs.get(number, ())])
        # A point is worth something at a rung where all its seeds and folds are.
        rungs = zip(*worth, strict=False)
        return tuple((fmean(s for s, _ in rung), fmean(v for _, v in rung)) for rung in rungs)

    def records(self) -> list[Record]:
        """The trials that belong to the spec, as a report takes them."""
        found = []
        for entry in self.entries.values():
            params = self.flatten(entry.config)
            for number in self.latest(entry):
                trial, result = self.trials[number], self.history.results.get(number)
                strategy = self.history.strategy[number]
                found.append(Record(trial, entry.number, params, strategy, result))
        return sorted(found, key=attrgetter("trial.number"))

    @property
    def _stored_sources(self) -> Mapping[str, str]:
        """The hashes of the sources as the last session found them."""
        stored: Mapping[str, str] = self.history.sessions[-1]["facts"]["source_hashes"]
        return stored

    def _changed_files(self) -> list[str]:
        """The files that `init_args` name by path and that have changed since the last session."""
        stored = self._stored_sources
        names = {*stored, *self.content.sources}
        changed = (name for name in names if stored.get(name) != self.content.sources.get(name))
        return sorted(name.removeprefix("path:") for name in changed if name.startswith("path:"))

    def failed(self) -> list[int]:
        """The numbers of the failed trials that count, in order."""
        return self._ended_by(Outcome.FAILED)

    def pruned(self) -> list[int]:
        """The numbers of the trials that count and were stopped early, in order."""
        return self._ended_by(Outcome.PRUNED)

    def _ended_by(self, outcome: Outcome) -> list[int]:
        return sorted(
            number
            for number, result in self.history.results.items()
            if result.outcome is outcome
            and (entry := self.entry_of.get(number)) is not None
            and number in self.latest(entry)
        )

    def _has(self, number: int, outcome: Outcome) -> bool:
        result = self.history.results.get(number)
        return result is not None and result.outcome is outcome

    def is_pruned(self, number: int) -> bool:
        """Whether a trial was stopped early."""
        return self._has(number, Outcome.PRUNED)

    def surplus(self, strategy: str, limit: int | None) -> set[int]:
        """The points, by number, that a strategy proposed beyond its present limit of proposals,
        and no other strategy has proposed."""
        proposals = self.history.proposals
        mine = sum(proposal.strategy == strategy for proposal in proposals)
        if limit is None or mine <= limit:
            return set()
        made = 0
        wanted: set[int] = set()
        beyond: set[int] = set()
        for proposal in proposals:
            entry = self.entry_of.get(proposal.trials[0])
            if entry is None or entry.point is None:
                continue
            made += proposal.strategy == strategy
            asked = proposal.strategy != strategy or made <= limit
            (wanted if asked else beyond).add(entry.number)
        return beyond - wanted

    @property
    def only_failures(self) -> bool:
        """Whether trials that belong to the spec have failed, and none has ended in another way."""
        return bool(self.failed()) and not _measured(self.history, self.entry_of)

    def refuse_stranger(self) -> None:
        """Raises SpecRefused where the folder holds measurements and no trial belongs to the spec.
        Where all trials failed there is nothing to protect."""
        searched = self.history.results.keys() - self.history.apart
        if self.entries or not _measured(self.history, searched):
            return
        last = self.history.trials[max(searched)]
        found = differences(self.spec, last.config, self.content.task)
        stored, now = (each.get("images") for each in (last.config.get("data", {}), self.spec.data))
        if None not in (stored, now) and stored != now:  # Else it is known by the data's hash.
            found.append(f"data.images: {json.dumps(stored)} stored, {json.dumps(now)} in the spec")
        if not found:
            changed = "the content of the data or the source of the code it names"
            if self.spec.kind == "loop":
                changed = "the source of the loop"
            elif self.spec.kind == "command":
                changed = "a file the command names"
            elif METRICS_UNIT in {*self.content.sources} - {*self._stored_sources}:
                changed = "the unit in which train.metrics get the targets, once their deviation,"
            elif files := self._changed_files():
                changed = f"the content of {' and '.join(files)}, which the init_args name,"
            found = [f"{changed} has changed"]
        shown = "\n  ".join(found[:8]) + (f"\n  and {len(found) - 8} more" if found[8:] else "")
        raise SpecRefused(
            f"run '{self.spec.name}' holds {len(searched)} trials, "
            f"none of which belongs to this spec:\n  {shown}",
            where=self.spec.source,
            hint=f"{self._way_back(last)}give the spec another name (--set "
            f"name={self.spec.name[:62]}-2), or set the old run aside with --fresh (it is renamed, "
            "nothing is deleted)",
        )

    def _way_back(self, last: Trial) -> str:
        """Lines to write so that a stored trial of other defaults belongs to the spec again."""
        data, stored = self.spec.data, last.config.get("data", {})
        if data.get("validation") == "source" and isinstance(stored["validation"], float):
            line = f"validation: {stored['validation']:g}"
        elif data.get("images") is False and stored.get("images"):
            line = "images: true"
        else:
            return ""
        return f"write {line} under data to go on with them, "
