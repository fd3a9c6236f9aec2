"""Verdicts of trials: in the table, below it, on the page of a trial, as JSON."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from lrsearch.analysis.groups import is_rate, names_rate
from lrsearch.diagnosis import HEALTHY, Agreement, agreements, remedy
from lrsearch.diagnosis.agreement import TOLD, VERBS, holds, is_steady
from lrsearch.reports.cells import pick
from lrsearch.reports.curves import plot
from lrsearch.reports.text import format_value, one_line
from lrsearch.trial import Diagnosis, Outcome, Record, Records, Result

UNKNOWN = "too little to tell"


def in_words(verdict: str) -> str:
    """`too slow` of `too_slow`; of `too_high` it is the rate that is meant."""
    return "rate too high" if verdict == "too_high" else one_line(verdict.replace("_", " "))


def named(found: Diagnosis) -> str:
    """A verdict by its name for users: `too_high` where its neighbours alone call a trial
    oscillating."""
    return "too_high" if is_steady(found) else found.verdict


def leading(result: Result | None) -> str:
    """The first verdict of a result, as `named`, "" of none."""
    return named(result.verdicts[0]) if result is not None and result.verdicts else ""


def _named(result: Result) -> str:
    """The first verdict of a result; a training that blew up and whose outcome is another is told
    from those whose outcome says that they diverged."""
    verdict = leading(result)
    ends = {Outcome.COMPLETED: "yet trained to the end", Outcome.PRUNED: "and stopped early"}
    end = ends.get(result.outcome) if verdict == "diverged" else None
    return f"{verdict} {end}" if end else verdict


def by_point(records: Iterable[Record]) -> dict[int, str]:
    """The verdict of most of a point's trials, in words, by the point's number. Healthy points have
    none, nor have those that diverged, since their outcome says so."""
    found: dict[int, Counter[str]] = {}
    for record in records:
        verdict, result = leading(record.result), record.result
        if result is not None and result.outcome is Outcome.DIVERGED:
            verdict = HEALTHY  # The outcome says it.
        if verdict:
            found.setdefault(record.point, Counter())[verdict] += 1
    most = {point: counted.most_common(1)[0][0] for point, counted in found.items()}
    return {point: in_words(verdict) for point, verdict in most.items() if verdict != HEALTHY}


def count_first(records: Sequence[Record]) -> dict[str, int]:
    """The trials by their first verdict in words, most first, those without one last."""
    counted = Counter(
        in_words(_named(record.result)) or UNKNOWN
        for record in records
        if record.result and record.result.outcome in TOLD and record.result.verdicts is not None
    )
    return dict(sorted(counted.most_common(), key=lambda each: each[0] == UNKNOWN))


def describe_own(results: Sequence[Result]) -> str:
    """The verdict of most trials of a point, with its advice; "" where it is sound, or of a rate
    that neighbours call too high: it did better than they by what the search goes by."""
    counted = Counter(map(leading, results))
    verdict, many = counted.most_common(1)[0] if counted else ("", 0)
    if verdict in ("", "too_high", HEALTHY):
        return ""
    told = [(result.verdicts or ())[0].advice for result in results if leading(result) == verdict]
    share = f" in {many} of {len(results)} trainings" if len(results) > 1 else ""
    return f"{in_words(verdict)}{share}" + (f": {one_line(told[0])}" if told[0] else "")


def count_verdicts(records: Sequence[Record]) -> str:
    """Counts of the trials by their first verdict, the most frequent first, and of the further
    ones, which advice counts, too; "" where all are healthy, or nothing is known."""
    counted = count_first(records)
    if not set(counted) - {HEALTHY, UNKNOWN}:
        return ""
    parts = [f"{number} {verdict}" for verdict, number in counted.items()]
    told = [record.result for record in records if record.result and record.result.outcome in TOLD]
    unread = sum(result.verdicts is None for result in told)
    parts += [f"{unread} of before, not looked at"] if unread else []
    further = Counter(named(each) for result in told for each in (result.verdicts or ())[1:])
    beside = ", ".join(f"{number} {in_words(name)}" for name, number in further.most_common())
    return ", ".join(parts) + (f"; of these also {beside}" if beside else "")


def advise(records: Sequence[Record], within: Collection[int] | None = None) -> list[str]:
    """A sentence for each verdict that the trials of a search agree on; `within` are the numbers of
    trials of a recommended point, most of which have to have the verdict, and be of those that it
    is said of."""
    found = agreements(records)
    if within is not None:
        own = [each for each in records if each.trial.number in within]
        # What lower rates come to was measured, and they are not what is recommended.
        found = [each for each in found if not (each.verdict == "oscillating" and each.steady)]
        found = [each for each in found if 2 * sum(holds(each, one) for one in own) > len(own)]
    if not found:
        return []
    budgets = {str(each.trial.config.get("train", {}).get("budget", "")) for each in records}
    budget = budgets.pop() if len(budgets) == 1 else ""
    told = sum(each.result is not None for each in records)
    return [_sentence(each, budget, told, _which_rates(each, records)) for each in found]


_FAILING = ("diverged", "dead", "stagnating", "unstable", "oscillating")
"""Verdicts on trials at rates that are no way out of one that is too low."""


def _which_rates(found: Agreement, records: Sequence[Record]) -> str:
    """The rates that an agreement is on, as `remedy` takes them."""
    if not names_rate(found.name):
        return ""
    kind = found.kind
    if kind == "only":  # The lowest one that was searched is all up to it, too.
        own = (each.params[found.name] for each in records if found.name in each.params)
        rates = set(filter(is_rate, own))
        ends = {min(rates): "most", max(rates): "least"} if len(rates) > 1 else {}
        kind = ends.get(found.value, "")
    beyond = [
        each.result.verdicts[0].verdict in _FAILING
        for each in records
        if each.result and each.result.verdicts and each.params.get(found.name, 0) > found.value
    ]
    failing = found.verdict == "too_slow" and 2 * sum(beyond) > len(beyond)
    return "limit" if failing and kind == "most" else kind


def _sentence(found: Agreement, budget: str, told: int, rates: str) -> str:
    every = found.hits == found.among
    who = f"all {found.among} trials" if every else f"{found.hits} of {found.among} trials"
    if found.name:
        value = f"{one_line(found.name)} {format_value(found.value)}"
        who += f" with {value}" + {"least": " or more", "most": " or less", "only": ""}[found.kind]
    rest = f" ({found.untold} of all {told} are {UNKNOWN})" if found.untold else ""
    if found.verdict == "oscillating" and found.steady:
        return f"{who} learn less than others do at lower rates{rest}: {remedy('too_high')}"
    at = f" at {one_line(budget)}" if budget and found.verdict == "too_slow" else ""
    return f"{who} {VERBS[found.verdict][1]}{at}{rest}: {remedy(found.verdict, rates)}"


def verdict_facts(result: Result | None) -> Iterator[tuple[str, str, str]]:
    """Label, text and style of the lines that the page of a trial has on its verdicts."""
    if result is None or result.verdicts is None or result.outcome not in TOLD:
        return
    if not result.verdicts:
        yield "verdict", UNKNOWN, ""
    for each in result.verdicts:
        sound = each.verdict == HEALTHY
        text = f"{in_words(named(each))}, with a confidence of {each.confidence:.0%}"
        yield "verdict", text, "green" if sound else "yellow"
        if each.evidence:
            yield "evidence", _evidence(each.evidence), ""
        if each.advice:
            yield "advice", one_line(each.advice), ""


def _evidence(evidence: Mapping[str, float]) -> str:
    return ", ".join(f"{in_words(name)} {format_value(value)}" for name, value in evidence.items())


RECORDED = {"gradient_norm": "gradient norm", "update_ratio": "update ratio"}
"""The records that are drawn, by their titles."""


def record_curves(
    records: Records, width: int, height: int, encoding: str
) -> Iterator[tuple[str, str]]:
    """Title and drawing of what was recorded of single steps, on a logarithmic scale: it spans
    decades."""
    for name, title in RECORDED.items():
        pairs = [
            (step, value)
            for step, value in zip(records.step, getattr(records, name), strict=True)
            if value > 0 and value < float("inf")
        ]
        if len(pairs) < 2:
            continue
        ends = f"step {pairs[0][0]:,}", f"{pairs[-1][0]:,}"
        line = [math.log10(value) for _, value in pairs]
        drawn = plot(line, width=width, height=height, ends=ends, encoding=encoding)
        yield f"{title} (its power of ten)", drawn


def describe(result: Result | None) -> list[dict[str, Any]]:
    """The verdicts of a result as JSON has them; none where nobody has looked, either."""
    found = (result and result.verdicts) or ()
    return [pick(each, "verdict confidence evidence advice") for each in found]
