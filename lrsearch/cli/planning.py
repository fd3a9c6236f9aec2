"""`--dry-run`: what a search would train, without training it."""

from __future__ import annotations

from pathlib import Path

from lrsearch.report.text import format_params
from lrsearch.search import Request, make_strategy, trial_limit
from lrsearch.search.strategy import point_key
from lrsearch.spec.model import Spec, flatten, resolve, steps_of
from lrsearch.store import History, read
from lrsearch.trial import Facts, Point
from lrsearch.tuner.ledger import Content, Ledger

SHOWN = 25


def show_plan(spec: Spec, strategy: str, facts: Facts, folder: Path) -> None:
    """Print the points the strategy would train next, and how long a trial is."""
    history = read(folder) if (folder / "run.json").exists() else History()
    content = Content(facts.task, facts.data_hash, facts.source_hash)
    ledger = Ledger(spec, content, history)
    ledger.refuse_stranger()
    measured = {
        point_key(entry.point)
        for entry in ledger.entries.values()
        if entry.point is not None and all(number in history.results for number in entry.trials)
    }
    limit = trial_limit(strategy, spec)
    mine = {
        point_key(entry.point)
        for proposal in history.proposals
        if proposal.strategy == strategy
        and (entry := ledger.entry_of.get(proposal.trials[0])) is not None
        and entry.point is not None
    }

    def known(point: Point) -> bool:
        return point_key(point) in measured

    proposer = make_strategy(strategy, spec, spec.objective(facts.task))
    points = []
    proposed = set(mine)
    index = sum(1 for proposal in history.proposals if proposal.strategy == strategy)
    room = 10**9 if limit is None else max(0, limit - len(mine))
    while room > 0:
        generation = proposer.propose(
            Request(index, room, known, lambda point: point_key(point) in proposed)
        )
        if not generation:
            break
        points += generation
        proposed.update(map(point_key, generation))
        index += len(generation)
        room -= len(generation)
        if proposer.waits:
            break
    unmeasured = [point for point in points if not known(point)]
    steps = {
        steps_of(resolve(spec, point, facts.task), max(facts.train_samples)) for point in unmeasured
    }
    later = " in its next generation" if proposer.waits and room > 0 else ""
    trials = len(unmeasured) * spec.trials_per_point
    print(f"{strategy} would train {trials} trials of {len(unmeasured)} points{later}")
    print(
        f"  on {facts.device_name}, {len(points) - len(unmeasured)} points answered from {folder}"
    )
    if steps:
        print(f"  a trial takes {min(steps):,} to {max(steps):,} steps")
    for point in unmeasured[:SHOWN]:
        config = resolve(spec, point, facts.task)
        print("  " + format_params(flatten(spec.space, config)))
    if len(unmeasured) > SHOWN:
        print(f"  … and {len(unmeasured) - SHOWN} more")
