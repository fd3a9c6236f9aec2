"""Notes on schedules and warmups that do nothing within the budget."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lrsearch import catalogue
from lrsearch.duration import budget_steps, evaluation_steps, warmup_steps
from lrsearch.duration import find as find_durations
from lrsearch.duration import parse as parse_duration
from lrsearch.space import Choice, encode, parameters, parse_name
from lrsearch.spec.cross_checks import any_samples, extreme_points
from lrsearch.spec.model import Spec, resolve
from lrsearch.spec.values import write

FEWEST = 4
"""The fewest steps of which it is said that a rate never changes among them."""

LEAST = 0.01
"""A change of the rate that counts, as a share of it."""


def note_flat(spec: Spec) -> list[str]:
    """Notes on schedules that leave the rate as it is, and warmups of no step, as far as the
    catalogue knows the data, or where all lengths are in units of the budget. A range is told of
    where both of its ends do nothing."""
    names = [
        parse_name(name) for name, part in parameters(spec.space) if not isinstance(part, Choice)
    ]
    ranged = {(each.head, each.option, each.argument) for each in names}
    flat: dict[str, list[str | None]] = {}
    unwarmed: dict[str, list[str | None]] = {}
    for point in extreme_points(spec.space):
        train = resolve(spec, point, spec.task)["train"]
        samples = min(spec.train_samples) if spec.train_samples else any_samples(train)
        if samples is None or train["batch_size"] > samples:
            continue
        chosen = encode(spec.space, point) or {}
        for head, found, note in (
            ("schedule", flat, _find_flat(train, samples)),
            ("warmup", unwarmed, _find_unwarmed(train, samples)),
        ):
            option = int(chosen[head]) if head in chosen else None
            given = (train[head] or {}).items()
            listed = [part for key, part in given if (head, option, key) not in ranged]
            found.setdefault(f"{option} {listed} {train['budget']}", []).append(note)
    return [*_rises(spec), *_first_of_each(flat), *_first_of_each(unwarmed)]


def _first_of_each(groups: Mapping[str, Sequence[str | None]]) -> list[str]:
    """The first note of each schedule or warmup all of whose points have one."""
    found = [told[0] for told in groups.values() if all(told)]
    first: dict[str, list[str]] = {}
    for note in filter(None, found):
        first.setdefault(note.partition(" ")[0], []).append(note)
    more = {name: len(set(notes)) - 1 for name, notes in first.items()}
    return [
        notes[0] + (f"; and {more[name]} more of its lengths" if more[name] else "")
        for name, notes in first.items()
    ]


def _rises(spec: Spec) -> list[str]:
    """Notes on a fixed schedule, or options of a searched one, that ends above the base rate."""
    found = []
    for schedule in spec.space.chosen("schedule", spec.train.get("schedule")):
        final = schedule.get("final") if isinstance(schedule, Mapping) else None
        if isinstance(final, int | float) and final > 1:
            found.append(
                f"{schedule['name']} ends above the base rate: final is a share of it, and "
                f"{final:g} raises the rate {final:g}-fold; a tenth is final: 0.1"
            )
    return found


def _find_unwarmed(train: Mapping[str, Any], samples: int) -> str | None:
    """The note on a warmup of no step."""
    size = {"samples": samples, "batch_size": train["batch_size"]}
    budget = budget_steps(parse_duration(train["budget"]), **size)
    warmup = train["warmup"]
    if warmup is None or not parse_duration(warmup["for"]).value:
        return None
    if warmup_steps(warmup, budget=budget, **size):
        return None
    return (
        f"a warmup of {warmup['for']} is less than a step of the {budget} in {train['budget']}: "
        "there is none; write warmup: 1ba, or more"
    )


def _find_flat(train: Mapping[str, Any], samples: int) -> str | None:
    """The note on a schedule that hardly changes the rate."""
    schedule = train["schedule"]
    name = schedule.get("name")
    lengths = any(find_durations(schedule))
    still = schedule.get("final") == 1 or schedule.get("div") == schedule.get("final_div") == 1
    if name is None or not (lengths or still):
        return None  # NumPy is not loaded for what is no question.
    if not _is_flat(train, samples):
        return None
    if name == "plateau":
        told = "has too few evaluations to ever change the rate"
    else:
        told = "never changes the rate by more than 1 %"
    note = f"{name} {told} in {train['budget']}"
    for argument, parameter in catalogue.SCHEDULES[name].parameters.items():
        usual = (
            list(parameter.default) if isinstance(parameter.default, tuple) else parameter.default
        )
        if usual == schedule.get(argument) or usual is catalogue.REQUIRED:
            continue
        if not _is_flat({**train, "schedule": {**schedule, argument: usual}}, samples):
            given = write(schedule[argument])
            return f"{note}: {argument} is {given}; write {argument}: {write(usual)}, or another"
    told_of = [
        f"{key} is {write(part)}" for key, part in schedule.items() if any(find_durations(part))
    ]
    return f"{note}: {' and '.join(told_of)}" if told_of else note


def _is_flat(train: Mapping[str, Any], samples: int) -> bool:
    """Whether a schedule leaves the rate as it is, all but a hundredth of it, in all steps after
    the warmup."""
    import numpy as np

    from lrsearch.schedules import ScheduleError, multipliers

    size: dict[str, Any] = {"samples": samples, "batch_size": train["batch_size"]}
    budget = budget_steps(parse_duration(train["budget"]), **size)
    schedule, warmup = train["schedule"], train["warmup"]
    ahead = warmup_steps(warmup, budget=budget, **size)
    if budget - ahead < FEWEST:
        return False
    if schedule["name"] == "plateau":
        return _is_idle(train, samples, budget, ahead)
    sampled = map(round, np.linspace(ahead, budget - 1, 500))
    found = {*range(ahead, min(ahead + 50, budget)), *sampled}
    steps = np.array(sorted(found), dtype=float)
    try:
        values = multipliers(schedule, warmup, budget=budget, steps=steps, **size)
    except ScheduleError:
        return False
    return bool(np.ptp(values) <= LEAST * np.max(values))


def _is_idle(train: Mapping[str, Any], samples: int, budget: int, ahead: int) -> bool:
    """Whether a plateau ends before its patience can: its first evaluation is its best so far, and
    after the last no step follows."""
    from lrsearch.schedules import make_plateau

    schedule = train["schedule"]
    if schedule["factor"] == 1:
        return True
    size = {"samples": samples, "batch_size": train["batch_size"], "budget": budget}
    state = make_plateau(schedule, train["warmup"], goal="min", evaluate=train["evaluate"], **size)
    counted = [each for each in evaluation_steps(train, samples) if ahead < each < budget]
    return len(counted) < state.patience + 2
