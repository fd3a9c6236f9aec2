"""One trial of a run folder as `report --trial` sees it."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable
from dataclasses import replace

from lrsearch.cli.closing import say
from lrsearch.cli.diagnosing import complete, diagnosed, read_course
from lrsearch.cli.stored import StoredRun, curve_of, view_run
from lrsearch.errors import UsageError
from lrsearch.reports.text import one_line
from lrsearch.reports.view import TrialView
from lrsearch.spec.flattening import flatten
from lrsearch.store import is_locked, saved_states
from lrsearch.trial import CONFIRM, Record, Records, Tested, Trial

_BEST = ("best", "recommended", "top", "winner", "answer", "1st")

_ENDS = ("highest", "lowest")
"""Words for the point of the best value, by its goal."""

_LAST = ("last", "latest", "newest", "current")
"""Words for a trial that has a number."""


def find_number(text: str, open_run: Callable[[], StoredRun]) -> int:
    """The number of a trial, or of the one that a word such as best means: the first trial of a
    point, which is said. Raises UsageError for any other text."""
    with contextlib.suppress(ValueError):
        if (number := int(text)) > 0:
            return number
    word, hint = text.strip().lower(), "write --trial 3"
    if word in (*_BEST, *_ENDS, *_LAST):
        run = open_run()
        answer = None if word in _LAST else view_run(run).answer
        if answer is not None:
            point = answer.highest if word in _ENDS else answer.recommended
            which = word if word in _ENDS else "recommended"
            number = point.trials[0]
            first = "trial" if len(point.trials) == 1 else "first trial"
            say(f"note: trial {number} is the {first} of the {which} point, {point.point}")
            return number
        if word in _LAST and run.history.trials:
            return max(run.history.trials)
        hint = "no point was trained to its end yet"
    elif found := re.search(r"[1-9]\d*", text):
        hint = f"write --trial {found[0]}"
    told = f"'{one_line(text)}' is no number of a trial, which are 1, 2, 3 and so on"
    raise UsageError(told, where="--trial", hint=hint)


def view_trial(run: StoredRun, number: int) -> TrialView:
    """A trial of the run, also one that does not belong to its spec as it is now. Raises
    UsageError for a number that no trial has."""
    history, ledger = run.history, run.ledger
    repeats = next((of for of, again in history.repeating.items() if again == number), None)
    if repeats is not None:
        original = view_trial(run, repeats)
        once_more = replace(
            original.record,
            trial=replace(original.record.trial, number=number),
            result=history.repeated.get(repeats),
        )
        return replace(
            original,
            record=once_more,
            running=False,
            curve=curve_of(run, number),
            records=Records(),
            again=None,
            repeats=repeats,
            namesake=(),
        )
    trial = history.trials.get(number)
    look = next((each for each in history.tested if each.number == number), None)
    if look is not None and trial is None:
        return _view_look(run, look)
    if trial is None:
        looks = [each.number for each in history.tested]
        last = max((*history.trials, *history.repeating.values(), *looks), default=0)
        raise UsageError(
            f"no trial {number} in {run.folder}",
            where="--trial",
            hint=f"its trials are 1 to {last}" if last else "it has no trials yet",
        )
    entry = ledger.entry_of.get(number)
    result = history.results.get(number)
    if result is not None:
        result = diagnosed(run.folder, trial, result, ledger.objective)
    from lrsearch.tuner.plans import structure_keys
    from lrsearch.tuner.racing import find_point

    known = history.fresh if number in history.apart else history.by_key
    curve, steps, lost = read_course(run.folder, number) if result else ({}, Records(), "")
    keys, latest = structure_keys(trial), known[trial.key]
    record = Record(
        trial=trial,
        point=entry.number if entry else 0,
        params=flatten(run.spec.space, trial.config),
        strategy=history.strategy[number],
        result=result,
    )
    own = ledger.records()
    namesake = [each.trial.number for each in own if each.point == number]
    if entry is not None:  # Its neighbours have a part in its verdicts.
        records = [record if each.trial.number == number else each for each in own]
        others = complete(run.folder, records, ledger.objective)
        record = next((each for each in others if each.trial.number == number), record)
    return TrialView(
        run.spec.name,
        ledger.objective,
        record,
        belongs=entry is not None,
        running=number in history.running and is_locked(run.folder),
        curve=curve,
        lost=lost,
        plans={device: plan for (each, device), plan in history.plans.items() if each in keys},
        again=latest if latest != number else None,
        fresh=number in history.apart,
        confirms=find_point(ledger, trial) if number in history.apart else None,
        saved=_position(run, number) if result is None else None,
        records=steps,
        namesake=() if {number, latest} & {*namesake} else tuple(namesake),
    )


def _view_look(run: StoredRun, look: Tested) -> TrialView:
    """The training that looked at the test part."""
    from lrsearch.tuner.racing import find_point

    ledger = run.ledger
    key = ledger.key_of(look.config, look.seed, look.fold)
    trial = Trial(look.number, key, look.config, look.seed, look.fold)
    point = find_point(ledger, trial)
    params = flatten(run.spec.space, look.config)
    return TrialView(
        run.spec.name,
        ledger.objective,
        Record(trial, point or 0, params, CONFIRM, look.result),
        belongs=point is not None,
        running=False,
        curve=curve_of(run, look.number),
        plans={},
        look=look,
    )


def _position(run: StoredRun, number: int) -> tuple[int, int] | None:
    """The step of its latest usable state that a trial is saved at, and its steps."""
    from lrsearch.states import Unusable
    from lrsearch.states import read as read_state

    for path in saved_states(run.folder).get(number, ()):
        with contextlib.suppress(Unusable):
            header = read_state(path, tensors=False).header
            if header.key == run.history.trials[number].key:
                return header.step, header.steps
    return None
