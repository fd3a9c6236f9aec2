"""`--dry-run`: what a search would train, without training it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from lrsearch.reports.text import count, decimals_for, format_fixed, format_params, format_seconds
from lrsearch.search import count_trials
from lrsearch.spec.flattening import flatten
from lrsearch.spec.model import ConfirmSettings, Spec, settle_data, steps_of
from lrsearch.spec.summary import describe_confirming
from lrsearch.store import History
from lrsearch.terminal import visible_line
from lrsearch.trial import Config, Facts, Trial
from lrsearch.tuner.confirming import (
    Foreseen,
    describe_race,
    describe_test,
    foresee_race,
    make_race,
    plan,
)
from lrsearch.tuner.finding import Test, describe_found, foresee, look_up
from lrsearch.tuner.ledger import Ledger, content_of, go_on, settle
from lrsearch.tuner.preparing import representatives
from lrsearch.tuner.proposer import Proposer
from lrsearch.tuner.repeating import CHEAP
from lrsearch.tuner.testing import has_test

SHOWN = 25


def show_plan(
    spec: Spec,
    strategy: str,
    facts: Facts,
    folder: Path,
    *,
    history: History,
    retry_failed: bool = False,
) -> None:
    """Print the points the strategy would train next, and how long a trial is. `history` is that of
    the run in the folder, empty for a new run."""
    spec = settle_data(spec, facts.settled)
    spec = go_on(spec, history)
    ledger = Ledger(spec, content_of(settle(facts, history)), history)
    ledger.refuse_stranger()
    found = look_up(spec, ledger.content, history)
    if found.open:
        _show_tests(spec, strategy, facts, found.open)
        return
    spec = found.settle(spec)
    if found.ranges:
        ledger = Ledger(spec, ledger.content, history)
    measured = list(ledger.entries.values())
    proposer = Proposer(spec, strategy, ledger, retry_failed=retry_failed)
    trials: dict[int, Trial] = {trial.number: trial for trial in proposer.unfinished().waiting}
    # A strategy that learns proposes no further before these have their results.
    while not (proposer.waits and trials):
        generation = proposer.propose()
        if generation is None:
            break
        trials |= {trial.number: trial for trial in generation.waiting}
    points = {ledger.entry_of[number].number: trial for number, trial in trials.items()}
    planned = f"{count(len(trials), 'trial')} of {count(len(points), 'point')}"
    later = " first, and then what it learns from them" if proposer.waits and trials else ""
    print(f"{strategy} would train {planned}{later}")
    done = sum(ledger.judge(entry)[0] is not None for entry in measured)
    print(f"  {count(done, 'point')} measured in {visible_line(str(folder))}")
    failed = ledger.failed()
    if failed and not proposer.retry_failed:
        what = count(len(failed), "trial")
        print(f"  {what} failed before: --retry-failed trains what failed again")
    configs = [trial.config for trial in trials.values()]
    for ranged in filter(None, found.ranges.values()):
        print(f"  {visible_line(describe_found(ranged))}, as range tests have found")
    for line in describe_facts(spec, facts, configs):
        print(f"  {visible_line(line)}")
    for trial in list(points.values())[:SHOWN]:
        print("  " + format_params(flatten(spec.space, trial.config)))
    if len(points) > SHOWN:
        print(f"  and {len(points) - SHOWN} more")
    if spec.confirm is not None:
        print(f"  {describe_confirming(spec.confirm)}")
    if spec.verifies and trials:
        print(f"  and the best again, if that takes less than {CHEAP:.0%} of all training by then")


def show_confirming(
    spec: Spec,
    strategy: str,
    facts: Facts,
    folder: Path,
    *,
    history: History,
    retry_failed: bool = False,
) -> None:
    """Print which points would be measured again, and what that costs at most, by the seconds that
    their trainings took. Raises UsageError where there is nothing to confirm."""
    spec = go_on(settle_data(spec, facts.settled), history)
    ledger = Ledger(spec, content_of(settle(facts, history)), history)
    ledger.refuse_stranger()
    spec = look_up(spec, ledger.content, history).settle(spec)
    ledger = Ledger(spec, ledger.content, history)
    race = make_race(plan(spec, ledger, spec.confirm or ConfirmSettings()), spec, ledger)
    confirming = race.confirming
    foreseen = foresee_race(race, retry_failed=retry_failed)
    print(f"{strategy} would train {_describe_foreseen(foreseen)}")
    print(f"  {describe_race(race)}")
    print(f"  fresh seeds {confirming.seeds[0]} to {confirming.seeds[-1]}")
    if confirming.fixed:
        print(f"  the splits stay: {confirming.fixed}")
    if has_test(spec):
        print(f"  {describe_test(race)}")
    for line in describe_facts(spec, facts, confirming.configs):
        print(f"  {visible_line(line)}")
    decimals = decimals_for(confirming.values[0] or 0.0)
    for place, config in enumerate(confirming.configs):
        value = confirming.values[place]
        shown = "" if value is None else f"  ({format_fixed(value, decimals)} in the search)"
        label = "control  " if place == confirming.control else ""
        print(f"  {label}{format_params(ledger.flatten(config))}{shown}")


def _describe_foreseen(foreseen: Foreseen) -> str:
    """The cost of a race, in words."""
    if not foreseen.trials:
        return "nothing: all that it asks for is measured"
    few = foreseen.trials == 1
    trials = "1 training" if few else f"at most {foreseen.trials} trainings"
    if foreseen.seconds is None:
        return trials
    return f"{trials}, about {format_seconds(foreseen.seconds)} by what these took in the search"


def _show_tests(
    spec: Spec, strategy: str, facts: Facts, tests: Mapping[str, Sequence[Test]]
) -> None:
    """Print which range tests come first, and how much is trained then; at which rates nobody
    knows."""
    many = count_trials(strategy, spec)
    points = count(many // spec.trials_per_point, "point")
    print(f"{strategy} would make range tests first, and then train {count(many, 'trial')}")
    for line in (*foresee(spec, tests), f"Then come {points}, at rates of what was found"):
        print("  " + visible_line(line))
    for line in describe_facts(spec, facts):
        print(f"  {visible_line(line)}")


def describe_facts(spec: Spec, facts: Facts, configs: Sequence[Config] | None = None) -> list[str]:
    """Facts known before the first trial, a line each: the device, the data, the model, and the
    steps of a training by any of `configs`, by default the spec's own."""
    lines = [f"on {facts.device_name}"]
    if spec.kind is not None:
        return lines
    searched = any(path.split(".")[0] == "model" for path, _ in spec.space.dimensions)
    parameters = f"{facts.parameters:,} parameters of the {'first ' if searched else ''}model"
    lines += [facts.data, parameters]
    configs = representatives(spec) if configs is None else configs
    steps = {_count_steps(config, facts) for config in configs}
    if steps and 0 not in steps:
        lines.append(f"a trial takes {_spread(sorted(steps))} steps")
    return lines


def _count_steps(config: Config, facts: Facts) -> int:
    """The steps of a training; 0 where the batches of a loader with an order of its own were not
    counted for this batch size."""
    if not facts.passes:
        return steps_of(config, max(facts.train_samples))
    samples, mean = facts.passes.get(str(config["train"]["batch_size"]), (0, 1.0))
    counted = {**config, "train": {**config["train"], "batch_size": mean}}
    return steps_of(counted, samples) if samples else 0


def _spread(numbers: Sequence[int]) -> str:
    low, high = min(numbers), max(numbers)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"
