"""`--dry-run`: what a search would train, without training it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from lrsearch.analysis.refining import describe_reason
from lrsearch.errors import UsageError
from lrsearch.reports.text import (
    count,
    decimals_for,
    format_fixed,
    format_params,
    format_seconds,
)
from lrsearch.search import count_trials
from lrsearch.search.refine import Refine
from lrsearch.spec.flattening import flatten
from lrsearch.spec.model import ConfirmSettings, Spec, settle_data, steps_of
from lrsearch.spec.summary import describe_confirming
from lrsearch.store import History
from lrsearch.terminal import visible_line
from lrsearch.trial import Config, Facts, Outcome, Trial
from lrsearch.tuner.finding import Found, Test, describe_found, foresee, look_up
from lrsearch.tuner.ledger import Ledger, content_of, go_on, settle
from lrsearch.tuner.preparing import representatives
from lrsearch.tuner.proposer import Proposer
from lrsearch.tuner.pruning import is_lifted
from lrsearch.tuner.racing import (
    Foreseen,
    Race,
    describe_joining,
    describe_race,
    describe_test,
    foresee_race,
    make_race,
    plan,
)
from lrsearch.tuner.refining import refuse_nothing, widened
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
    resume_pruned: bool = False,
) -> None:
    """Print the points the strategy would train next, and how long a trial is. `history` is that of
    the run in the folder, empty for a new run."""
    spec, ledger, found = _settle(spec, facts, history)
    if found.open:
        _show_tests(spec, strategy, facts, found.open)
        return
    spec = found.settle(spec)
    if found.ranges:
        ledger = Ledger(spec, ledger.content, history)
    measured = list(ledger.entries.values())
    if strategy == Refine.name:
        spec = widened(spec, facts)
        ledger = Ledger(spec, ledger.content, history)
        refuse_nothing(Proposer(spec, strategy, ledger))
        ledger = Ledger(spec, ledger.content, history)
    lifted = is_lifted(history)
    proposer = Proposer(
        spec,
        strategy,
        ledger,
        retry_failed=retry_failed,
        resume_pruned=resume_pruned,
        lifted=lifted,
    )
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
    if isinstance(proposer.strategy, Refine) and proposer.strategy.round is not None:
        print(f"  {visible_line(describe_reason(proposer.strategy.round))}")
        if spent := _foresee_cost(ledger, len(trials)):
            print(f"  {spent}")
    done = sum(ledger.judge(entry)[0] is not None for entry in measured)
    print(f"  {count(done, 'point')} measured in {visible_line(str(folder))}")
    failed = ledger.failed()
    if failed and not proposer.retry_failed:
        what = count(len(failed), "trial")
        print(f"  {what} failed before: --retry-failed trains what failed again")
    stopped = ledger.pruned()
    if stopped and not resume_pruned:
        what = count(len(stopped), "trial")
        print(f"  {what} stopped early: --resume-pruned trains what was stopped to its end")
    configs = [trial.config for trial in trials.values()]
    for ranged in filter(None, found.ranges.values()):
        print(f"  {visible_line(describe_found(ranged))}, as range tests have found")
    for line in describe_facts(spec, facts, configs):
        print(f"  {visible_line(line)}")
    for trial in list(points.values())[:SHOWN]:
        print("  " + format_params(flatten(spec.space, trial.config)))
    if len(points) > SHOWN:
        print(f"  and {len(points) - SHOWN} more")
    if spec.refine is not None and strategy != Refine.name:
        print(f"  and then up to {count(spec.refine.rounds, 'round')} of refinement")
    if spec.confirm is not None and (trials or not _is_confirmed(spec, ledger)):
        print(f"  {describe_confirming(spec.confirm)}")
    if spec.verifies and trials:
        print(f"  and the best again, if that takes less than {CHEAP:.0%} of all training by then")


def _settle(spec: Spec, facts: Facts, history: History) -> tuple[Spec, Ledger, Found]:
    """The spec as the run goes on with it, its ledger, and what its range tests have found. Raises
    SpecRefused for another run's spec."""
    spec = go_on(settle_data(spec, facts.settled), history)
    ledger = Ledger(spec, content_of(settle(facts, history)), history)
    ledger.refuse_stranger()
    return spec, ledger, look_up(spec, ledger.content, history)


def show_confirming(
    spec: Spec,
    strategy: str,
    facts: Facts,
    folder: Path,
    *,
    history: History,
    retry_failed: bool = False,
    resume_pruned: bool = False,
) -> None:
    """Print which points would be measured again, and what that costs at most, by the seconds that
    their trainings took. No point that was stopped early is among them. Raises
    UsageError where there is nothing to confirm."""
    spec, ledger, found = _settle(spec, facts, history)
    spec = found.settle(spec)
    ledger = Ledger(spec, ledger.content, history)
    race = _plan_race(spec, ledger)
    confirming = race.confirming
    foreseen = foresee_race(race, retry_failed=retry_failed)
    print(f"{strategy} would train {_describe_foreseen(foreseen)}")
    print(f"  {describe_race(race)}")
    if joining := describe_joining(race):
        print(f"  {joining}")
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


def _plan_race(spec: Spec, ledger: Ledger) -> Race:
    """The race of the points that would be measured again. Raises UsageError where there is nothing
    to confirm."""
    return make_race(plan(spec, ledger, spec.confirm or ConfirmSettings()), spec, ledger)


def _is_confirmed(spec: Spec, ledger: Ledger) -> bool:
    """Whether the confirmation of what is measured asks for nothing more."""
    with suppress(UsageError):  # There is nothing to confirm.
        race = _plan_race(spec, ledger)
        return not foresee_race(race).trials
    return False


def _describe_foreseen(foreseen: Foreseen) -> str:
    """The cost of a race, in words."""
    if not foreseen.trials:
        return "nothing: all that it asks for is measured"
    few = foreseen.trials == 1
    trials = "1 training" if few else f"at most {foreseen.trials} trainings"
    if foreseen.seconds is None:
        return trials
    return f"{trials}, about {format_seconds(foreseen.seconds)} by what these took in the search"


def _foresee_cost(ledger: Ledger, trials: int) -> str:
    """The cost of so many trials, if they take as long as those that completed did on average."""
    results = [
        result
        for number in ledger.entry_of
        if (result := ledger.history.results.get(number)) is not None
        and result.outcome is Outcome.COMPLETED
    ]
    if not results or not trials:
        return ""
    seconds = math.fsum(each.own_seconds for each in results) / len(results) * trials
    epochs = math.fsum(each.epochs for each in results) / len(results) * trials
    told = f"{count(epochs, 'epoch')}, " if epochs else ""
    return f"about {told}{format_seconds(seconds)} of training, as those before took"


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
