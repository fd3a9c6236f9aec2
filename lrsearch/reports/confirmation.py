"""A confirmation in words, as a table, and as JSON has it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lrsearch.analysis.answer import Answer
from lrsearch.analysis.confirmation import Confirmation, Finalist, find_share_interval
from lrsearch.analysis.importance import Level
from lrsearch.analysis.points import columns
from lrsearch.reports.cells import pick
from lrsearch.reports.text import (
    count,
    decimals_for,
    enumerate_numbers,
    format_fixed,
    format_params,
    last_parts,
    one_line,
    tell_interval,
)
from lrsearch.trial import Objective

SEED_UNUSED = (
    "no seed made a difference: the training may not use the one that it is given "
    "({seed} in a command, or LRSEARCH_SEED; trial.seed in a loop)"
)
"""A sentence on trainings that come to one value, whatever their seed."""


def describe_state(answer: Answer) -> str:
    """Whether the answer is confirmed, and why not."""
    found = answer.confirmation
    if found is None:
        return "not confirmed on fresh seeds"
    if answer.confirmed:
        own = count(answer.seeds, "fresh seed")
        if answer.seeds == 1:
            return f"measured on {own}, of which there is no interval"
        if answer.seedless:
            return f"measured again on {own}, which made no difference: they confirm nothing"
        return f"confirmed on {own}"
    if not found.over:
        return f"not confirmed yet: {count(found.trials, 'fresh training')} so far"
    if found.winner is None:
        return "not confirmed: no finalist held on every fresh seed"
    return f"not confirmed: point {answer.highest.point} has come since, and is the best now"


def confirmation_notes(answer: Answer, objective: Objective) -> Iterator[tuple[str, str]]:
    """Labels and texts of what fresh measurements say beside the value."""
    found = answer.confirmation
    if found is None:
        return
    own, decimals = answer.finalist, answer.decimals
    if own is not None:
        if own.searched is not None and own.shrinkage is not None:
            yield "shrinkage", _describe_shrinkage(own, decimals)
        if (control := found.control) is not None:
            called = last_parts(list(columns(answer.points)))
            which = format_params(control.params, called=called)
            yield "control", _describe_control(own, control, decimals, which)
    lost = [each for each in found.finalists if each.outcome]
    if lost:
        named = "; ".join(f"{_name(each)} {each.outcome}" for each in lost)
        yield "fresh", f"on a fresh seed, and so not recommended: {named}"
    if found.failed:
        noun = "trial" if len(found.failed) == 1 else "trials"
        numbers = enumerate_numbers(list(found.failed))
        yield "fresh", f"{noun} {numbers} failed: --retry-failed trains what failed again"
    if found.fixed:
        yield "fresh", f"lrsearch drew no other splits: {found.fixed}"
    if found.steady and found.over:
        if not answer.steady:  # The evidence says so of all points.
            yield "fresh", "every training came to the same value: there is nothing to tell apart"
    elif found.seedless:
        yield "fresh", SEED_UNUSED
    yield from _test_notes(answer, found, objective)


def find_again(answer: Answer, name: str, value: Any) -> Finalist | None:
    """The finalist of the best fresh mean of those with a value of a parameter, None where the
    answer is not confirmed or none was measured again."""
    if answer.confirmation is None or not answer.confirmed:
        return None
    missing = object()
    again = (each for each in answer.confirmation.finalists if each.mean is not None)
    return next((each for each in again if each.params.get(name, missing) == value), None)


def describe_level(answer: Answer, name: str, level: Level, decimals: int | None) -> str:
    """The best of a value of a parameter: what the search has measured, and of fresh seeds."""
    again = find_again(answer, name, level.value)
    told = format_fixed(level.objective, decimals)
    if again is None or again.mean is None:
        return told
    return f"{told} ({format_fixed(again.mean, decimals)})"


def title_levels(answer: Answer) -> str:
    """The head of the best of each value of a parameter."""
    fresh = " in the search (fresh seeds)" if answer.confirmed else ""
    return f"best of each value{fresh}, all else free"


def _name(finalist: Finalist) -> str:
    return "the control" if finalist.point is None else f"point {finalist.point}"


def _describe_shrinkage(own: Finalist, decimals: int | None) -> str:
    assert own.searched is not None and own.shrinkage is not None
    searched = format_fixed(own.searched, decimals)
    gap = format_fixed(abs(own.shrinkage), decimals)
    if not gap.strip("0."):  # What is shown as nothing, such as the last bits of a mean.
        return f"the search had measured {searched}, the same"
    if own.shrinkage > 0:
        return f"the search had measured {searched}, {gap} too good"
    return f"the search had measured {searched}, {gap} worse than fresh seeds do"


def _describe_control(own: Finalist, control: Finalist, decimals: int | None, which: str) -> str:
    number = "" if control.point is None else f"point {control.point}, "
    if control is own:
        return f"it is the recommended point itself ({which})"
    if control.mean is None:
        return f"{control.outcome or 'not measured'} ({number}{which})"
    told = f"{format_fixed(control.mean, decimals)} ({number}{which})"
    if own.better is None:
        return told
    told += f", worse with probability {_probability(own.better)}"
    if control.tied and own.better > LIKELY:
        told += ": too little to rule out a tie, as the best of several may be so by luck"
    return told


LIKELY = 0.9
"""The probability from which on points that are tied read as if they were not."""


def _probability(share: float) -> str:
    """A probability in words: none is certain."""
    if share > 0.999:
        return "above 0.999"
    return "below 0.001" if share < 0.001 else f"{share:.3f}"


def _brief(share: float) -> str:
    """A probability in a table."""
    return f"{share:.3f}" if 0.001 <= share <= 0.999 else (">0.999" if share > 0.5 else "<0.001")


def _test_notes(
    answer: Answer, found: Confirmation, objective: Objective
) -> Iterator[tuple[str, str]]:
    tested = found.tested
    if tested is None:
        return
    value = tested.metrics.get(objective.metric)
    shown = "no value" if value is None else format_fixed(value, decimals_for(value))
    metric, samples = one_line(objective.metric), count(tested.samples, "sample")
    if found.tested_point == answer.recommended.point:
        told = f"{metric} {shown} on the test part ({samples}), looked at this once"
        yield "test", told + _describe_gap(answer, objective, value, tested.samples)
        return
    whose = "another training" if found.tested_point is None else f"point {found.tested_point}"
    yield (
        "test",
        f"the test part was looked at by {whose} ({metric} {shown}), and is not looked at again by "
        f"point {answer.recommended.point}: a second look would make it one more validation part",
    )


def _describe_gap(answer: Answer, objective: Objective, value: float | None, samples: int) -> str:
    """Say that a test part's value lies outside the answer's interval, and whether its size alone
    explains that; "" where it lies inside, or where there is no interval."""
    if value is None or answer.interval is None or not answer.sure:
        return ""
    low, high = answer.interval
    if low <= value <= high:
        return ""
    side = "below" if value < low else "above"
    told = f": {side} what fresh seeds make likely"
    if objective.metric != "accuracy" or abs(value * samples - round(value * samples)) > 1e-3:
        return f"{told} on validation parts; it is one model's value"  # No share of the samples.
    least, most = find_share_interval(value, samples)
    own = " to ".join(format_fixed(end, decimals_for(value)) for end in (least, most))
    if least <= high and low <= most:
        return f"{told}, but so few samples leave {own} open"
    return f"{told}, and its samples leave {own} open: they differ from the validation parts"


def describe_finalists(answer: Answer) -> list[tuple[str, ...]]:
    """Rows of a table of the finalists, the first its head."""
    found = answer.confirmation
    assert found is not None
    decimals = answer.decimals

    def number(value: float | None) -> str:
        return "" if value is None else format_fixed(value, decimals)

    several = len({each.seeds for each in found.finalists}) > 1
    rows: list[tuple[str, ...]] = [
        ("point", "", "fresh", "95 %", "better", "search", "too good by", "seeds")
    ]
    for each in found.finalists:
        rows.append(
            (
                "" if each.point is None else str(each.point),
                ", ".join(_roles(answer, each)),
                each.outcome or number(each.mean),
                "" if each.interval is None else tell_interval(each.interval, decimals),
                "" if each.better is None else _brief(each.better),
                number(each.searched),
                number(each.shrinkage),
                str(each.seeds) if several else "",
            )
        )
    return rows


def _roles(answer: Answer, finalist: Finalist) -> Iterator[str]:
    if answer.confirmed and finalist.point == answer.recommended.point:
        yield "recommended"
    elif answer.confirmed and finalist.tied:
        yield "tied"
    if answer.confirmed and finalist.point == answer.highest.point:
        yield "highest" if answer.objective.goal == "max" else "lowest"
    if finalist.control:
        yield "control"


def title_of(found: Confirmation) -> str:
    """The title of the table of finalists."""
    splits = "" if found.fixed else ", each with a split of its own"
    against = ""
    if found.control is not None and any(each.better is not None for each in found.finalists):
        against = "better: the probability of being better than the control"
        tied = [each.better for each in found.finalists if each.tied and each.better is not None]
        odd = found.control.tied and any(max(share, 1 - share) > LIKELY for share in tied)
        if odd:
            against += "; tied: not clearly worse than the best, which may be so by luck"
        against = f" ({against})"
    seeds = {each.seeds for each in found.finalists}
    many = count(seeds.pop(), "fresh seed") if len(seeds) == 1 else "fresh seeds"
    return f"measured again on {many}{splits}{against}"


def to_plain(answer: Answer) -> dict[str, Any] | None:
    """The confirmation as JSON has it, None without one."""
    found = answer.confirmation
    if found is None:
        return None
    return {
        **pick(found, "over current seeds"),
        "redrawn": not found.fixed,
        "reason": found.fixed or None,
        **pick(found, "seedless steady trials failed"),
        "finalists": [
            {
                **pick(each, "point params control"),
                "search": each.searched,
                **pick(each, "mean interval seeds"),
                "values": each.scores,
                **pick(each, "shrinkage tied better"),
                "outcome": each.outcome or None,
            }
            for each in found.finalists
        ],
        "test": found.tested
        and {
            "point": found.tested_point,
            "trial": found.tested.number,
            **pick(found.tested, "samples metrics"),
        },
    }


def plain_control(answer: Answer) -> dict[str, Any] | None:
    """The control of a confirmed answer as JSON has it."""
    control = answer.confirmation.control if answer.confirmation is not None else None
    if control is None or not answer.confirmed:
        return None
    return {**pick(control, "point params"), "value": control.mean}
