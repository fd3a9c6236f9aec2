"""`--dry-run`: what a search would train, without training it."""

from __future__ import annotations

from pathlib import Path

from lrsearch.report.text import count, format_params
from lrsearch.spec.model import Spec, flatten, steps_of
from lrsearch.store import History, read
from lrsearch.trial import Facts, Trial
from lrsearch.tuner.ledger import Ledger, content_of, settle
from lrsearch.tuner.proposer import Proposer

SHOWN = 25


def show_plan(
    spec: Spec, strategy: str, facts: Facts, folder: Path, *, retry_failed: bool = False
) -> None:
    """Print the points the strategy would train next, and how long a trial is."""
    history = read(folder) if (folder / "run.json").exists() else History()
    ledger = Ledger(spec, content_of(settle(facts, history)), history)
    ledger.refuse_stranger()
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
    print(f"  on {facts.device_name}; {count(done, 'point')} measured in {folder}")
    failed = ledger.failed()
    if failed and not proposer.retry_failed:
        what = count(len(failed), "trial")
        print(f"  {what} failed before: --retry-failed trains what failed again")
    steps = set()
    if spec.own is None:
        samples = max(facts.train_samples)
        steps = {steps_of(trial.config, samples) for trial in trials.values()}
    if steps:
        few, many = min(steps), max(steps)
        print(f"  a trial takes {few:,} steps" if few == many else f"  {few:,} to {many:,} steps")
    for trial in list(points.values())[:SHOWN]:
        print("  " + format_params(flatten(spec.space, trial.config)))
    if len(points) > SHOWN:
        print(f"  and {len(points) - SHOWN} more")
