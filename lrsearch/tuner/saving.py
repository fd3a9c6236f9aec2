"""The saved states of trials under way: written as workers hand them over, found again later."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lrsearch import states
from lrsearch.errors import RunError, StorageFull
from lrsearch.states import Header, Unusable
from lrsearch.store import Run, odd_states, saved_states
from lrsearch.trial import Facts, Saved, Trial
from lrsearch.tuner.watcher import Watcher

SHARE = 0.02
"""Share of a session's time that may be spent on writing states."""

FIRST = 5.0
"""Seconds that may be spent on writing at once."""

SHOWN = 5
"""Trials whose progress a note names."""


@dataclass(frozen=True)
class _Found:
    """The saved state of a trial: its file, the engine that must go on from it, and its step."""

    path: Path
    engine: str
    step: int


class Saving:
    """The states of a session's trials."""

    def __init__(self, run: Run, facts: Facts, watcher: Watcher) -> None:
        self._run, self._facts, self._watcher = run, facts, watcher
        self._found: dict[int, _Found] = {}
        self._lost: dict[int, int] = {}
        self._stored: set[int] = set()
        self._told: set[str] = set()
        self._begun = time.monotonic()
        self._spent = 0.0

    def begin(self, waiting: Sequence[Trial]) -> None:
        """Drop states of trials that are not under way, and find those that the trials to be
        trained go on from."""
        history = self._run.history
        self._run.drop_states(history.trials.keys() - history.results.keys())
        stored, odd = saved_states(self._run.folder), odd_states(self._run.folder)
        self._stored = set(stored)
        shares: list[float] = []
        for trial in waiting:
            reasons, files = list(odd.get(trial.number, ())), stored.get(trial.number, [])
            found = len(reasons) + len(files)
            bad: list[Path] = []
            for path in files:
                try:
                    header = self._look(path, trial)
                except Unusable as error:
                    reasons.append(str(error))
                    bad.append(path)
                    continue
                self._found[trial.number] = _Found(path, header.engine, header.step)
                for each in bad:  # The next would have that take the place of the one that is good.
                    self._run.drop_state(trial.number, only=each)
                shares.append(header.step / max(1, header.steps))
                break
            if reasons:
                then = "begins again" if len(reasons) == found else ""
                then = then or "goes on from the one before it"
                self.tell(f"trial {trial.number} {then}: its saved state cannot be used: "
                          f"{reasons[0]}")  # fmt: skip
        if shares:
            self._watcher.note(_describe(shares))

    def _look(self, path: Path, trial: Trial) -> Header:
        header = states.read(path, tensors=False).header
        version = self._facts.versions.get("torch", "")
        device = self._facts.device.partition(":")[0]
        states.check(header, key=trial.key, engine=header.engine, device=device, torch=version)
        return header

    def engine(self, trial: Trial) -> str | None:
        """The engine that a trial has to go on by, None where it has no state."""
        found = self._found.get(trial.number)
        return None if found is None else found.engine

    def step(self, trial: int) -> int:
        """The step at which a trial is saved, 0 where it is not."""
        found = self._found.get(trial)
        return 0 if found is None else found.step

    def advanced(self, trial: int, engine: str) -> bool:
        """Whether a trial that lost its worker can go on by an engine from a state that is newer
        than at its last loss. The call counts as a loss."""
        found = self._found.get(trial)
        if found is None or found.engine != engine or found.step <= self._lost.get(trial, 0):
            return False
        self._lost[trial] = found.step
        return True

    def holds(self, trial: int) -> bool:
        """Whether a trial of this number has a state that it can go on from."""
        return trial in self._found

    def find(self, trials: Sequence[Trial], engine: str) -> dict[int, str]:
        """The files of the states from which these trials go on, by one engine."""
        files = {}
        for trial in trials:
            found = self._found.get(trial.number)
            if found is not None and found.engine == engine:
                files[trial.number] = str(found.path.absolute())
            elif found is not None:
                self.tell(
                    f"trial {trial.number} begins again: its saved state is of the {found.engine} "
                    f"engine, and it trains by the {engine} one now"
                )
        return files

    def take(self, event: Saved, *, last: bool = False) -> bool:
        """Write a state, unless that takes too much of the time; the `last` one is written even
        then. A full disk does not end the search. Returns whether the state was written."""
        begun = time.monotonic()
        if not last and self._spent > FIRST + SHARE * (begun - self._begun):
            return False
        self._stored.add(event.trial)
        written = False
        try:
            path = self._run.save_state(event.trial, event.content)
        except (StorageFull, RunError) as error:
            text = f"a training under way cannot be saved, and goes on: {error.message}"
            self.tell(text, about=type(error).__name__)
        else:
            self._found[event.trial] = _Found(path, event.engine, event.step)
            written = True
        self._spent += time.monotonic() - begun
        return written

    def tell(self, text: str, *, about: str = "") -> None:
        """Tell the user something once; with a subject once about it."""
        if (about or text) not in self._told:
            self._told.add(about or text)
            self._watcher.note(text)

    def drop(self, trial: int) -> None:
        """Delete the states of a trial that has ended."""
        self._found.pop(trial, None)
        if trial in self._stored:
            self._stored.discard(trial)
            self._run.drop_state(trial)

    def finish(self) -> None:
        """Delete the remaining states once all is trained: they are of another spec's trials. Those
        of a confirmation are kept, since it goes on."""
        history = self._run.history
        self._run.drop_states(history.apart - history.results.keys())


def _describe(shares: Sequence[float]) -> str:
    shown = [f"{share:.0%}" for share in shares[:SHOWN]]
    shown += ["..."] if len(shares) > SHOWN else []
    if len(shares) == 1:
        return f"1 trial goes on from its saved state (at {shown[0]})"
    return f"{len(shares)} trials go on from their saved states (at {', '.join(shown)})"
