"""Agreement of a search's trials: verdicts that go with the value of a parameter."""

from __future__ import annotations

import bisect
import itertools
import operator
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from lrsearch.analysis.points import columns
from lrsearch.trial import Diagnosis, Outcome, Record

FEWEST = 3
"""Trials with a verdict, and trials of a value, of which anything is said: two may be luck."""

MOST = 0.75
"""Share of the trials of a value that must have the verdict, and of the trials with the verdict
that must be of the value: more than chance, and most of what there is to explain."""

TIMES = 2.0
"""The least ratio of the share among a value's trials to the share among all others."""

VALUES = 12
"""Different values of a parameter of which each may be looked at by itself."""

ENDS = 40
"""Values of a parameter, spread evenly over those there are, that a range may begin or end at."""

TOLD = (Outcome.COMPLETED, Outcome.PRUNED, Outcome.DIVERGED)
"""The outcomes of trainings that say something of their parameters."""

VERBS = {
    "diverged": ("diverges", "diverge"),
    "unstable": ("is unstable", "are unstable"),
    "oscillating": ("oscillates", "oscillate"),
    "stagnating": ("stagnates", "stagnate"),
    "too_slow": ("is too slow", "are too slow"),
    "overfitting": ("overfits", "overfit"),
    "underfitting": ("underfits", "underfit"),
    "dead": ("is dead", "are dead"),
}


@dataclass(frozen=True)
class Agreement:
    """`hits` of `among` trials have a verdict: those whose parameter `name` is of a `kind`
    ("least" for values from `value` up, "most" for those up to it, "only" for itself); of all
    trials, where `name` is "". `steady` says that most do not swing: it is their neighbours that
    say that their rates are too high. Of `untold` trials besides there is too little to tell."""

    verdict: str
    hits: int
    among: int
    name: str = ""
    kind: str = ""
    value: Any = None
    steady: bool = False
    untold: int = 0


def agreements(records: Sequence[Record]) -> list[Agreement]:
    """Agreements, one for each verdict that several trials share: with the values of the parameter
    that explains the verdict best, where there is one; else with the share of all trials that have
    it."""
    # One of which there is too little to tell has no verdict, and is none of those that share one.
    judged = [each for each in records if _is_judged(each)]
    untold = sum(not each.result.verdicts for each in judged if each.result is not None)
    hits: dict[str, list[Record]] = {}
    for record in judged:
        for verdict in _names(record):
            hits.setdefault(verdict, []).append(record)
    known: dict[str, _Column | _Range] = {}
    found = []
    for verdict in VERBS:
        own = hits.get(verdict, ())
        if len(own) < FEWEST:
            continue
        known = known or _read_columns(records, judged)
        best = max(_candidates(verdict, known, own, len(judged)), default=None, key=_strength)
        if best is None and len(own) >= MOST * len(judged):
            best = Agreement(verdict, len(own), len(judged))
        if best is not None:
            steady = 2 * sum(map(_is_steady, own)) > len(own)
            found.append(replace(best, steady=steady, untold=untold))
    return found


def holds(found: Agreement, record: Record) -> bool:
    """Whether a trial has the verdict of an agreement, and is of the trials that it is on."""
    if found.verdict not in _names(record) or (found.name and found.name not in record.params):
        return False
    value = record.params.get(found.name)
    match found.kind:
        case "least":
            return bool(value >= found.value)
        case "most":
            return bool(value <= found.value)
        case "only":
            return bool(_key(value) == _key(found.value))
    return True


def _is_judged(record: Record) -> bool:
    """Whether somebody has looked at a training that says something of its parameters."""
    result = record.result
    return result is not None and result.verdicts is not None and result.outcome in TOLD


def _names(record: Record) -> set[str]:
    """The verdicts of a trial, without that of one which was lost before its first step: no
    parameter of the training has a part in it."""
    verdicts = (record.result and record.result.verdicts) or ()
    return {
        each.verdict
        for each in verdicts
        if each.verdict != "diverged" or each.evidence.get("step") != 0.0
    }


def is_steady(found: Diagnosis) -> bool:
    """Whether it is its neighbours alone that call a trial oscillating: they learned more at lower
    rates, and its own loss may go down all the way."""
    return found.verdict == "oscillating" and "swing" not in found.evidence


def _is_steady(record: Record) -> bool:
    """Whether a trial oscillates by its neighbours alone."""
    verdicts = (record.result and record.result.verdicts) or ()
    return any(map(is_steady, verdicts))


def _strength(found: Agreement) -> tuple[float, int]:
    # Among equals the smaller claim, which leaves more of the others out.
    return found.hits * found.hits / found.among, -found.among


_Column = tuple[Callable[[Any], Any] | None, dict[Any, Any], Counter[Any]]
"""Values of a parameter: what makes a key of one (None where each is its own), by their keys the
values themselves, and the trials that have each."""


@dataclass(frozen=True)
class _Range:
    """Numbers of which a parameter has many: in order, and the trials below each and below the
    end."""

    values: Sequence[float]
    below: Sequence[int]


def _key(value: Any) -> Any:
    """A value as a key: a list is none, and true would be 1."""
    return value if type(value) in (int, float) else repr(value)


def _read_columns(
    records: Sequence[Record], judged: Sequence[Record]
) -> dict[str, _Column | _Range]:
    """The values of the judged ones of all records; the names in the order in which they have
    them."""
    found: dict[str, _Column | _Range] = {}
    known = columns(records)
    told = list(map(_is_judged, records))
    for name in dict.fromkeys(itertools.chain.from_iterable(each.params for each in judged)):
        own = [value for value in itertools.compress(known[name], told) if value is not ...]
        numbers = set(map(type, own)) <= {int, float}
        make = None if numbers or set(map(type, own)) == {str} else _key
        keys = [*map(make, own)] if make else own
        first = dict(zip(reversed(keys), reversed(own), strict=True))
        counted = Counter(keys)
        if len(counted) > VALUES and numbers:  # For all verdicts at once.
            order = sorted(counted)
            below = [0, *itertools.accumulate(map(counted.__getitem__, order))]
            found[name] = _Range([first[key] for key in order], below)
        else:
            found[name] = make, first, counted
    return found


def _candidates(
    verdict: str, known: Mapping[str, _Column | _Range], own: Sequence[Record], judged: int
) -> Iterator[Agreement]:
    """Agreements on a verdict that `own` of so many judged trials have."""
    for name, column in known.items():
        values = [each.params[name] for each in own if name in each.params]
        if isinstance(column, _Range):
            groups = _split(column, values)
        else:
            make, first, among_all = column
            counted = Counter(map(make, values) if make else values)
            rows = [(first[key], counted.get(key, 0), among) for key, among in among_all.items()]
            groups = _groups(rows)
        for kind, value, hits, among in groups:
            others = judged - among
            if among < FEWEST or not others:
                continue
            rest = (len(own) - hits) / others
            if hits >= MOST * max(among, len(own)) and hits / among >= TIMES * rest:
                yield Agreement(verdict, hits, among, name, kind, value)


def _split(column: _Range, values: list[float]) -> Iterator[tuple[str, Any, int, int]]:
    """The groups that a range falls into, as `_groups` gives them, with `values` as its hits."""
    values.sort()
    below = column.below
    for place in sorted({k * len(column.values) // ENDS for k in range(ENDS)}):
        value = column.values[place]
        least = len(values) - bisect.bisect_left(values, value)
        yield "least", value, least, below[-1] - below[place]
        yield "most", value, bisect.bisect_right(values, value), below[place + 1]


def _groups(counted: list[tuple[Any, int, int]]) -> Iterator[tuple[str, Any, int, int]]:
    """The groups that values fall into, each given with its hits and its trials: kind, value, hits,
    trials."""
    if len(counted) <= VALUES:
        for value, hits, among in counted:
            yield "only", value, hits, among
    if not all(type(value) in (int, float) for value, _, _ in counted):
        return
    counted.sort(key=operator.itemgetter(0))
    hits_below = [0, *itertools.accumulate(hits for _, hits, _ in counted)]
    below = [0, *itertools.accumulate(among for _, _, among in counted)]
    for place in sorted({k * len(counted) // ENDS for k in range(ENDS)}):
        value = counted[place][0]
        yield "least", value, hits_below[-1] - hits_below[place], below[-1] - below[place]
        yield "most", value, hits_below[place + 1], below[place + 1]
