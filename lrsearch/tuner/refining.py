"""Refinement: the rounds that a run knows of, and sentences on them."""

from __future__ import annotations

from lrsearch.analysis.refining import KIND, describe_round, find_before, find_rounds
from lrsearch.errors import UsageError
from lrsearch.search.refine import Refine, widen
from lrsearch.spec.model import RefineSettings, Spec
from lrsearch.store import Run
from lrsearch.terminal import command_line, path_word
from lrsearch.trial import Facts
from lrsearch.tuner.proposer import Proposer


def widened(spec: Spec, facts: Facts) -> Spec:
    """The spec that refining works on."""
    inside = spec.kind is None
    return widen(spec, min(facts.train_samples, default=None) if inside else None)


def refuse_nothing(proposer: Proposer) -> None:
    """Raises UsageError where a refinement, asked for by itself, has nothing to begin with. The
    proposer is spent by it."""
    strategy, spec = proposer.strategy, proposer.spec
    if proposer.unfinished().waiting:
        return
    proposer.propose()
    assert isinstance(strategy, Refine) and strategy.round is not None
    if strategy.round.kind != "nothing":
        return
    config = path_word(spec.source)
    line = command_line(["lrsearch", "bayes", config])
    hint = f"search first, and refine what was found: {line}"
    if strategy.round.lost:
        line = command_line(["lrsearch", "range", config])
        hint = f"which values are worth searching is found by: {line}"
    raise UsageError(
        f"there is nothing to refine: {strategy.round.why}", where=spec.source, hint=hint
    )


def note_round(run: Run, spec: Spec, proposer: Proposer) -> str:
    """Journal what the proposer has just decided for a round, once, and say it; "" of another
    strategy."""
    strategy = proposer.strategy
    if not isinstance(strategy, Refine) or strategy.round is None:
        return ""
    found, settings = strategy.round, spec.refine or RefineSettings()
    place = (proposer.generations, bool(found.next))
    known = find_rounds(run.history.notes)
    body = {
        "round": place[0],
        "rounds": settings.rounds,
        "name": found.name,
        "metric": proposer.ledger.objective.metric,
        "state": found.kind,
        "why": found.why,
        "interval": found.interval and list(found.interval),
        "before": find_before(known, place, found.shared),
        "best": found.best,
        "value": found.value,
        "curves": found.curves,
        "shared": found.shared,
        "points": len(found.next),
    }
    if {**body, "kind": KIND} != {key: known.get(place, {}).get(key) for key in (*body, "kind")}:
        run.noted(KIND, body)
    return describe_round(body, spec.kind is None and spec.folds is None)
