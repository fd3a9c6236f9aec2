"""Confirming: the best points of a search and a control are trained again with fresh seeds, until
their race is over; then the recommended one looks at the test part, once.

The journal says which points, against which control and with which seeds; their trials stand in it
like any others, apart from the search: no strategy is told of them, and no point ranks by them.
Which trials come next follows from the values so far alone (`analysis.race`), round by round.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import replace

from lrsearch import pulse
from lrsearch.analysis.answer import find_answer
from lrsearch.analysis.points import summarize
from lrsearch.spec.model import ConfirmSettings
from lrsearch.trial import CONFIRM, Outcome, Trial
from lrsearch.tuner.best import Unranked
from lrsearch.tuner.conclusions import Conclusions
from lrsearch.tuner.dispatch import Dispatch, Judges
from lrsearch.tuner.events import Listener
from lrsearch.tuner.memory import Memory
from lrsearch.tuner.racing import (
    Race,
    describe_race,
    ended_trials,
    find_confirmation,
    make_race,
    plan,
    text_of,
)
from lrsearch.tuner.saving import Saving
from lrsearch.tuner.session import Ending, Session
from lrsearch.tuner.testing import has_test, look_at_test


class _Rounds:
    """The rounds of a race as `dispatch` sees them: the next one is not known yet."""

    waits = False
    room = 0


def confirm(session: Session, settings: ConfirmSettings) -> Ending:
    """Measure the best points of a run again, and look at the test part, as far as the journal has
    not got it yet. The session's ledger is that of the search, and stays as it is. Raises
    UsageError where there is nothing to confirm, and the errors of a search."""
    return _Confirming(session, settings).go()


class _Confirming:
    """The loop over the rounds of a race."""

    def __init__(self, session: Session, settings: ConfirmSettings) -> None:
        self.session, self.run, self.watcher = session, session.run, session.watcher
        self.spec, self.searched, self.settings = session.spec, session.ledger, settings
        self.race = self._plan()
        self.ledger = session.ledger.set_apart([])
        own = replace(session, ledger=self.ledger)
        self.saving = Saving(self.run, session.facts, self.watcher)
        best = Unranked(session.objective)
        self.conclusions = Conclusions(own, best, Memory(own), self.saving)
        self.dispatch = Dispatch(own, _Rounds(), self.conclusions, Judges())
        self.listener = Listener(own, self.dispatch)

    def go(self) -> Ending:
        """Measure round by round to the end of the race, and look at the test part."""
        # Here alone: commands that only read runs need no numpy.
        from lrsearch.tuner import outlook

        race, asked = self.race, self.session.asked
        own = replace(self.session, strategy=CONFIRM)
        if asked.retry_failed:
            self._retry()
        _, left = race.follow()
        self.watcher.note(describe_race(race) if left else "confirmed before: nothing is left")
        most = race.missing(race.ahead())
        self.watcher.begin(most, self.session.objective, self.session.executor.capacity)
        outlook.draw(self.session)
        outlook.show(own, least=race.missing(left))
        self.saving.begin([self.run.history.trials[number] for number in self._under_way(left)])
        racing = {point for point, _ in race.ahead()}
        while left and not asked.is_over_time():
            self._measure(left)
            left = self._follow(racing)
            ahead = self.race.ahead()
            racing = {point for point, _ in ahead}
            self.watcher.planned(self.conclusions.trained + self.race.missing(ahead))
            outlook.show(own, least=self.conclusions.trained + self.race.missing(left))
        if left:
            return Ending(self.conclusions.trained, "time")
        return Ending(self.conclusions.trained, "finished" if self._look() else "time")

    def _plan(self) -> Race:
        """The race of the points to measure again, which the journal then knows."""
        confirming = plan(self.spec, self.searched, self.settings)
        if confirming not in self.run.history.confirming[-1:]:
            self.run.confirming(confirming)
        return make_race(confirming, self.spec, self.searched)

    def _follow(self, racing: Set[int]) -> tuple[tuple[int, int], ...]:
        """The pairs of the round after one that is done, none where the race is over, with a word
        on which of the points `racing` are out and which ones join."""
        _, left = self.race.follow()
        if left:
            if out := racing - {point for point, _ in self.race.ahead()}:
                self.watcher.note(self._describe_out(out, left))
            return left
        many = self.race.confirming.finalists
        self.race = self._plan()
        for config in self.race.confirming.configs[many : self.race.confirming.finalists]:
            number = self.searched.entries[text_of(config)].number
            self.watcher.note(
                f"point {number} joins: its rate lies beyond the best of these, an outermost one; "
                "who gets more seeds is decided anew"
            )
        return self.race.follow()[1]

    def _under_way(self, left: Sequence[tuple[int, int]]) -> list[int]:
        """The trials of a round that are made and have not ended."""
        results = self.run.history.results
        numbers = (number for pair in left for number in self.race.numbers(*pair))
        return [number for number in numbers if number is not None and number not in results]

    def _retry(self) -> None:
        """Make new trials for those that failed."""
        history = self.run.history
        failed = [
            number
            for number in ended_trials(self.race)
            if history.results[number].outcome is Outcome.FAILED
        ]
        first = history.next_number
        again = [replace(history.trials[each], number=first + at) for at, each in enumerate(failed)]
        if again:
            self.run.proposed(0, CONFIRM, (), again)

    def _measure(self, left: Sequence[tuple[int, int]]) -> None:
        """Train the trials of a round that have no result, as far as there is time."""
        history = self.run.history
        new: list[Trial] = []
        for point, seed in left:
            for fold, number in zip(self.race.folds, self.race.numbers(point, seed), strict=True):
                if number is None:
                    config, own, key = self.race.key(point, seed, fold)
                    new.append(Trial(history.next_number + len(new), key, config, own, fold))
        if new:
            self.run.proposed(1 + min(seed for _, seed in left), CONFIRM, (), new)
        waiting = [history.trials[number] for number in self._under_way(left)]
        for trial in waiting:
            self.ledger.ask(trial)
        self.dispatch.take(waiting)
        while True:
            if pulse.asked() and not self.dispatch.jobs:
                raise KeyboardInterrupt
            self.dispatch.hand_out()
            self.dispatch.submit()
            if not self.dispatch.jobs:
                break
            self.listener.listen()

    def _describe_out(self, out: Set[int], left: Sequence[tuple[int, int]]) -> str:
        """A sentence on the points that get no more seeds."""
        scores, _ = self.race.follow()
        known = {text: entry.number for text, entry in self.searched.entries.items()}
        names: dict[str, list[str]] = {"lost": [], "clearly worse": []}
        for place in sorted(out):
            number = known.get(text_of(self.race.confirming.configs[place]))
            why = "lost" if None in scores[place].values() else "clearly worse"
            names[why].append("the control" if number is None else f"point {number}")
        told = [
            f"{' and '.join(each)} {'is' if len(each) == 1 else 'are'} {why}"
            for why, each in names.items()
            if each
        ]
        seeds = min(seed for _, seed in left)
        return f"after {seeds} seeds {', '.join(told)}: no more seeds there"

    # the test part

    def _look(self) -> bool:
        """Look at the test part with the recommended point, where that was never looked at; returns
        whether there was time for it."""
        if not has_test(self.spec):
            return True
        points = summarize(self.searched.records(), self.session.objective)
        # As a report has it: by fewer seeds than before another point may be the best.
        confirmation = find_confirmation(self.spec, self.searched, points)
        answer = find_answer(points, self.session.objective, confirmation=confirmation)
        if confirmation is None or answer is None or not answer.confirmed:
            return True
        number = answer.recommended.point
        entry = next(each for each in self.searched.entries.values() if each.number == number)
        before = confirmation.tested
        if before is not None:
            if confirmation.tested_point != number:
                self.watcher.note(
                    f"the test part was looked at by point {confirmation.tested_point}, and is not "
                    f"looked at again by point {number}"
                )
            return True
        if self.session.asked.is_over_time():
            return False
        look_at_test(self.session, self.dispatch, entry)
        return True
