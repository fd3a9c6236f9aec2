"""The outlook of a search for its display: the axis of its rates, and the trials that may come."""

from __future__ import annotations

from dataclasses import replace

from lrsearch.analysis.groups import is_rate
from lrsearch.analysis.race import LEAST
from lrsearch.analysis.refining import CURVES, EACH
from lrsearch.display import Axis, Outlook
from lrsearch.search.refine import Refine, find_refined
from lrsearch.spec.model import RefineSettings, Spec
from lrsearch.trial import CONFIRM, Outcome
from lrsearch.tuner.ledger import Ledger
from lrsearch.tuner.session import Asked, Session
from lrsearch.tuner.testing import has_test


def show(session: Session, *, made: int = 0, least: int | None = None) -> None:
    """Show the outlook of a session's strategy: `look_ahead`, and of a race the `least` trainings
    that are sure."""
    outlook = look_ahead(session.spec, session.strategy, session.asked, made=made)
    session.watcher.awaits(replace(outlook, least=least))


def draw(session: Session) -> None:
    """Draw the objective over the rate, where one is searched."""
    axis = find_axis(session.spec, session.ledger)
    if axis is not None:
        session.watcher.draws(axis)


def find_axis(spec: Spec, ledger: Ledger) -> Axis | None:
    """The axis of what `refine` would refine, the learning rate first of all, with the points of
    the ledger that have a value or diverged; None where a spec searches neither rates nor a
    logarithmic range."""
    ranges = find_refined(spec)
    if not ranges:
        return None
    name, measured = ranges[0].name, []
    for entry in ledger.entries.values():
        outcome, value = ledger.judge(entry)
        rate = ledger.flatten(entry.config).get(name)
        # What was pruned or failed has no place among values: it would stand there as diverged.
        placed = outcome in (Outcome.COMPLETED, Outcome.DIVERGED)
        if placed and rate is not None and is_rate(rate):
            measured.append((float(rate), value))
    low, high = min(each.low for each in ranges), max(each.high for each in ranges)
    return Axis(name, low, high, True, tuple(measured))


def look_ahead(spec: Spec, strategy: str, asked: Asked, *, made: int = 0) -> Outlook:
    """The trials that may follow those that a strategy has planned, from its spec alone: of a
    refinement none where it finds nothing to refine, at most all rates of its rounds, of which so
    many are `made`; of a race at least one point's first seeds, at most every seed of all points;
    of the test part one look."""
    least = most = 0
    if strategy == Refine.name or (spec.refine is not None and strategy != CONFIRM):
        rounds = (spec.refine or RefineSettings()).rounds
        most += max(0, rounds - made) * EACH * CURVES * spec.trials_per_point
    if spec.confirm is not None and strategy != CONFIRM:
        settings, folds = spec.confirm, spec.folds or 1
        least += min(LEAST, settings.seeds) * folds
        most += (settings.top + 1) * settings.seeds * folds
    if (spec.confirm is not None or strategy == CONFIRM) and has_test(spec):
        most += 1
    deadline = None if asked.time_limit is None else asked.begun + asked.time_limit
    early = asked.until is not None or (spec.patience is not None and strategy != "grid")
    return Outlook(None, (least, most), deadline, early and strategy != CONFIRM)
