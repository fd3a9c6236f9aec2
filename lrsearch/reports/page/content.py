"""The sections of a page in words and tables; each is left out where the run has nothing to say."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lrsearch import schedules
from lrsearch.analysis.answer import Answer
from lrsearch.analysis.reasons import merge_reasons
from lrsearch.diagnosis import HEALTHY
from lrsearch.reports.answer import (
    call_edge,
    choice,
    describe_edge,
    describe_law,
    first_notes,
    name_ties,
    tell_likely,
    tell_rates,
    tell_share,
    tell_ties,
    tell_trainings,
)
from lrsearch.reports.confirmation import describe_level, describe_state, find_again
from lrsearch.reports.lengths import list_lengths, tell_lengths
from lrsearch.reports.marks import Figure
from lrsearch.reports.page.figures import draw_curves
from lrsearch.reports.svg import sparkline
from lrsearch.reports.text import (
    count,
    cut,
    enumerate_numbers,
    format_fixed,
    format_params,
    format_value,
    one_line,
)
from lrsearch.reports.verdicts import advise as advise_all
from lrsearch.reports.verdicts import in_words, leading, named
from lrsearch.reports.view import RunView, describe_found, describe_repeatability
from lrsearch.terminal import command_line, visible
from lrsearch.trial import Outcome, Record

ADVICES = 3

BEST_CURVES = 10

MOST_FAILURES = 20
"""Reasons of failures that are listed, each with its first traceback."""

LONG = 4000
"""Characters of a traceback, or of another text of the user's, from its end."""


@dataclass(frozen=True)
class Making:
    """The making of a run, besides its view. `command` is the one that made it; `codes` are
    titles and texts to paste, YAML first, of the recommended point; `curves` are those of some
    trials, which may be fewer than all; `samples` those of the
    training part, 0 where nobody knows. `facts` are labels and values on the machine, the versions,
    data and code; `spec` is the text of the spec. `edge_command` begins the search that an edge
    asks for, by its words."""

    command: str = ""
    codes: Sequence[tuple[str, str]] = ()
    curves: Mapping[int, Mapping[str, Sequence[float]]] = field(default_factory=dict)
    samples: int = 0
    facts: Sequence[tuple[str, str]] = ()
    spec: str = ""
    edge_command: Sequence[str] = ()


@dataclass(frozen=True)
class Advice:
    """An advice: what to do, why, and the command that does it."""

    title: str
    evidence: str
    command: str = ""


@dataclass(frozen=True)
class Chip:
    """A verdict in a few words; `kind` is good, warn or plain."""

    text: str
    kind: str = "plain"


LONG_VALUE = 400
"""Characters of a value up to which it is shown; the spec has all of it."""


def shorten(text: str, most: int = LONG) -> str:
    """A text of the user's, made visible, its end where it is long."""
    shown = visible(text.replace("\r", "\n"))
    return shown if len(shown) <= most else "… " + shown[-most:]


# the answer, and what to do next


def describe_answer(view: RunView) -> dict[str, Any] | None:
    """The head of the page: value, interval, parameters and chips."""
    answer = view.answer
    if answer is None:
        return None
    return {
        "metric": one_line(view.objective.metric),
        "goal": "higher is better" if view.objective.goal == "max" else "lower is better",
        "value": format_fixed(answer.value, answer.decimals),
        "likely": tell_likely(answer, tell_trainings(answer)),
        "params": [
            (view.called[name], cut(format_value(value), LONG_VALUE))
            for name, value in answer.recommended.params.items()
        ],
        "point": answer.recommended.point,
        "chips": list(_chips(view, answer)),
        "rates": "; ".join([*tell_rates(answer), *map(one_line, answer.untrained)]),
        "choice": choice(answer),
    }


_NOTES = {"stopped": "Stopped", "refined": "Refined", "fresh": "Fresh seeds", "test": "Test part"}
"""The notes on an answer that stand in no other place of a page, by their labels there."""


def describe_notes(view: RunView) -> list[tuple[str, str]]:
    """Labels and texts of what a terminal says of the answer, and no figure."""
    return [(_NOTES[label], one_line(text)) for label, text in first_notes(view) if label in _NOTES]


def _chips(view: RunView, answer: Answer) -> Iterator[Chip]:
    yield Chip(describe_state(answer), "good" if answer.sure else "warn")
    if answer.steady:
        yield Chip("every point came to the same value", "warn")
    elif answer.tied:  # A table has the names of those measured again.
        yield Chip(tell_ties(answer) if answer.confirmed else name_ties(answer), "warn")
    for edge in answer.edges:
        yield Chip(f"{one_line(call_edge(answer, edge).name)} at the edge of the search", "warn")
    number = len(answer.recommended.trials)
    if not answer.confirmed:
        yield Chip(tell_trainings(answer) if number > 1 else "one training", "plain")
    own = [r for r in view.records if r.trial.number in answer.recommended.trials]
    # A rate that its neighbours call too high did better than they by what the search goes by.
    told = {leading(each.result) for each in own} - {"", "too_high"}
    for verdict in sorted(told):
        yield Chip(in_words(verdict), "good" if verdict == HEALTHY else "warn")


def advise(view: RunView, making: Making, *, live: bool = False) -> list[Advice]:
    """The advices, at most three, the most pressing first."""
    found = []
    if view.retry_command and view.answer is None:
        worst = next(iter(describe_failures(view)), None)
        why = f"{worst['trials']}: {worst['reason']}" if worst else "no trial came to its end"
        found.append(Advice("Mend what fails, and try again", why, view.retry_command))
    answer = view.answer
    for edge in [call_edge(answer, each) for each in answer.edges[:2]] if answer else ():
        words = [*making.edge_command, *(w for s in edge.settings for w in ("--set", s))]
        command = command_line(words) if making.edge_command and edge.settings else ""
        found.append(
            Advice(
                f"Search beyond {one_line(edge.name)} {format_value(edge.end)}",
                one_line(f"{edge}. Search {edge.line}" if command else describe_edge(edge)),
                command,
            )
        )
    found += _mend(view)
    words = view.next_command.split()
    if not words or (live and words[1:2] == ["report"]):  # A page that is live looks by itself.
        return found[:ADVICES]
    title, why = _STEPS.get(words[1] if len(words) > 1 else "", ("Go on with the search", ""))
    if words[1:2] == ["confirm"] and sum(each.objective is not None for each in view.points) == 1:
        why = "one training does not tell how much of its value it owes to its seed"
    why = why or one_line(view.standing[0] if view.standing else "the search is not done")
    return [*found[: ADVICES - 1], Advice(title, why, view.next_command)]


def _mend(view: RunView) -> list[Advice]:
    """The first that the trials agree on. Where a point is recommended, what is wrong with others
    alone, such as rates that diverge, is no matter to mend: a search finds its bounds so."""
    if view.answer is None:
        return [Advice("Mend what the trials agree on", one_line(text)) for text in view.advice[:1]]
    own = {*view.answer.recommended.trials}
    shared = advise_all(view.records, within=own)
    title = "Mend what holds the recommended point back"
    return [Advice(title, one_line(text)) for text in shared[:1]]


_STEPS = {
    "report": ("Look again later", "the search is under way"),
    "confirm": (
        "Confirm the best on fresh seeds",
        "the best of several values owes some of it to luck, which only fresh seeds can tell",
    ),
    "range": (
        "Find which rates are worth searching",
        "a short training whose rate rises tells from where on they diverge",
    ),
    "export": ("Keep the recommended setting as a spec", "nothing is left to search in it"),
}
"""Commands that a run asks for next: what they do, and why."""


# schedules


def describe_schedules(view: RunView, making: Making) -> list[dict[str, Any]]:
    """Each schedule at its own best rate, best first, with its curve in miniature; [] where one
    alone was searched. Those that were measured again come first, as fresh seeds have them."""
    answer = view.answer
    levels = answer.levels.get("schedule", ()) if answer else ()
    points = {point.point: point for point in view.points}
    configs = {record.trial.number: record.trial.config for record in view.records}
    found: list[dict[str, Any]] = []
    fresh = answer.confirmation if answer is not None else None
    order = list(fresh.finalists) if fresh is not None else []  # The best mean first.
    for level in levels:
        point = points[level.point]
        again = find_again(answer, "schedule", level.value) if answer is not None else None
        searched = view.show(level.objective)
        value, params, origin = searched, point.params, ""
        if again is not None:
            point = points.get(again.point or 0, point)  # A control may be none of the run.
            value, params = view.show(again.mean), again.params
            origin = f"{count(again.seeds, 'fresh seed')}; the search's best {searched}"
        elif answer is not None and answer.confirmed:
            origin = "of the search, not measured again"
        rest = {name: each for name, each in params.items() if name != "schedule"}
        config = configs.get(point.trials[0], {})
        found.append(
            {
                "name": cut(format_value(level.value), LONG_VALUE),
                "objective": value,
                "fresh": again is not None,
                "place": order.index(again) if again is not None else len(order),
                "origin": origin,
                "params": format_params(rest, called=view.called),
                "points": str(level.points),
                "curve": _miniature(config, making.samples),
            }
        )
    return sorted(found, key=lambda each: each["place"])


def tell_schedules(found: Sequence[Mapping[str, Any]]) -> str:
    """The two best schedules in a sentence; of those measured again what fresh seeds say, which is
    not held against the luck of a search."""
    fresh = [each for each in found if each["fresh"]]
    best = (fresh or found)[:2]
    if not best:
        return ""
    told = f"{best[0]['name']} comes to {best[0]['objective']}"
    told += f", {best[1]['name']} to {best[1]['objective']}, each" if best[1:] else ""
    return (
        f"{told} {'with its best finalist on fresh seeds' if fresh else 'at the best of all else'}."
    )


MINIATURE = 60


def _miniature(config: Mapping[str, Any], samples: int) -> str:
    """The curve of a config's schedule and warmup as SVG; "" where nobody knows it."""
    train = config.get("train")
    if train is None or "class_path" in train["schedule"] or train["schedule"]["name"] == "plateau":
        return ""
    import numpy as np

    from lrsearch.spec.model import steps_of

    samples = samples or 1000
    try:
        budget = steps_of(config, samples)
        steps = np.array(sorted({*np.linspace(0, budget - 1, MINIATURE).round().tolist()}))
        values = schedules.multipliers(
            train["schedule"],
            train["warmup"],
            budget=budget,
            samples=samples,
            batch_size=train["batch_size"],
            steps=steps,
        )
    except ValueError:  # Nobody trained it.
        return ""
    return sparkline(values.tolist())


# importance


def describe_importance(view: RunView) -> list[dict[str, Any]]:
    """Each parameter's share of the variation, largest first, and the best of its values."""
    answer = view.answer
    if answer is None or answer.steady:
        return []
    decimals = answer.decimals
    shares = {share.name: share for share in answer.importance}
    names = [*shares, *(name for name in answer.levels if name not in shares)]
    found = []
    for name in names:
        share, levels = shares.get(name), answer.levels.get(name, ())
        percent, between = ("", "") if share is None else tell_share(share)
        found.append(
            {
                "name": view.called.get(name) or one_line(name),
                "share": share,
                "percent": percent,
                "between": between,
                "levels": ", ".join(
                    f"{cut(format_value(level.value), LONG_VALUE)}: "
                    f"{describe_level(answer, name, level, decimals)}"
                    for level in levels
                ),
            }
        )
    return found


# curves and diagnosis


def typical(records: Sequence[Record], known: Mapping[int, Any]) -> dict[str, int]:
    """One trial of each verdict but healthy, whose curve is known: the surest."""
    found: dict[str, tuple[float, int]] = {}
    for record in records:
        result = record.result
        if result is None or not result.verdicts or record.trial.number not in known:
            continue
        first = result.verdicts[0]
        sure = (-first.confidence, record.trial.number)
        found[named(first)] = min(sure, found.get(named(first), sure))
    return {verdict: number for verdict, (_, number) in sorted(found.items())}


def best_trials(view: RunView) -> list[int]:
    """The trials with a value, best first."""
    sign = -1.0 if view.objective.goal == "max" else 1.0
    valued = []
    for record in view.records:
        value = record.result.value(view.objective) if record.result else None
        if value is not None and math.isfinite(value):
            valued.append((sign * value, record.trial.number))
    return [number for _, number in sorted(valued)]


def draw_best(view: RunView, making: Making) -> Figure | None:
    """The best ten curves in one panel."""
    params = {record.trial.number: record.params for record in view.records}
    numbers = [n for n in best_trials(view) if making.curves.get(n)][:BEST_CURVES]
    curves = [
        (format_params(params[number], called=view.called), number, making.curves[number])
        for number in numbers
    ]
    many = "the best trial" if len(curves) == 1 else f"the best {len(curves)} trials"
    many += " of the search" if view.confirmed else ""
    metric = view.objective.metric
    finding = f"{one_line(metric)} of {many}, by step."
    points = {record.trial.number: record.point for record in view.records}
    return draw_curves("best", finding, curves, metric, together=points)


def draw_typical(view: RunView, making: Making) -> Figure | None:
    """One curve of each verdict."""
    known = {number: curve for number, curve in making.curves.items() if curve}
    found = typical(view.records, known)
    if set(found) == {HEALTHY}:  # The best are typical of them.
        return None
    curves = [(in_words(verdict), number, known[number]) for verdict, number in found.items()]
    metric = "loss" if any("loss" in curve for *_, curve in curves) else view.objective.metric
    finding = "The surest trial of each verdict."
    return draw_curves("typical", finding, curves, metric)


# how it was measured


def describe_failures(view: RunView) -> list[dict[str, str]]:
    """The reasons of failures, most frequent first, with the first traceback and output of each."""
    groups = view.group_reasons(Outcome.FAILED, Outcome.OUT_OF_MEMORY)
    ordered = sorted(groups.items(), key=lambda each: -len(each[1]))
    found = []
    for reason, records in ordered[:MOST_FAILURES]:
        first = records[0].result
        assert first is not None
        numbers = enumerate_numbers([record.trial.number for record in records])
        found.append(
            {
                "trials": f"{'trial' if len(records) == 1 else 'trials'} {numbers}",
                "reason": shorten(reason, 500),
                "traceback": shorten(first.traceback),
                "output": shorten(first.output),
            }
        )
    return found


def describe_making(view: RunView, making: Making) -> list[tuple[str, str]]:
    """Labels and values of how the run was measured."""
    found = (
        [("objective", _objective(view, ours=bool(view.data or making.samples)))]
        if view.records
        else []
    )
    if view.data:
        found.append(("data", one_line(view.data)))
    found += [(name, shorten(value, 500)) for name, value in making.facts]
    seeds = sorted({record.trial.seed for record in view.records})
    folds = {record.trial.fold for record in view.records} - {None}
    if seeds:
        found.append(("seed" if len(seeds) == 1 else "seeds", enumerate_numbers(seeds, 8)))
    if folds:
        found.append(("folds", str(len(folds))))
    engines = Counter(record.result.engine for record in view.records if record.result)
    if engines:
        told = ", ".join(f"{count(number, 'trial')} {name}" for name, number in engines.items())
        found.append(("engine", told))
    reasons = merge_reasons(plan.reason for plan in view.plans.values() if plan.reason)
    found += [("plan", shorten(one_line(reason), 300)) for reason in list(reasons)[:5]]
    found += [("range", describe_found(each)) for each in view.found]
    if view.repeatability is not None:
        found.append(
            ("repeats itself", describe_repeatability(view.repeatability, view.objective.metric))
        )
    return found


def _objective(view: RunView, *, ours: bool) -> str:
    objective = view.objective
    at = "at the end of training" if objective.at == "last" else "best over the training"
    part = "on the validation part" if ours else "as the training reports it"
    return f"{one_line(objective.metric)}, {objective.goal}, {at}, {part}"


def list_unmeasured(view: RunView) -> list[str]:
    """Sentences on what the run did not measure."""
    found = []
    if view.answer is not None:
        if not view.answer.confirmed:
            found.append("Nothing is confirmed on fresh seeds.")
        again = view.answer.confirmation
        if view.answer.split if again is None else again.fixed:
            found.append("Another split of the data moves all values, and the best rate, together.")
        law = view.answer.law
        if law is not None:
            largest = format_value(law.bests[-1].batch_size)
            found.append(f"No batch size above {largest}: no law is carried on past it.")
    waiting = sum(record.result is None for record in view.records)
    if waiting:
        found.append(
            f"{count(waiting, 'trial')} {'has' if waiting == 1 else 'have'} no result yet."
        )
    if view.hidden:
        verb = "does" if view.hidden == 1 else "do"
        found.append(
            f"{count(view.hidden, 'stored trial')} {verb} not belong to the spec as it is now."
        )
    return found


def describe_budgets(view: RunView) -> dict[str, Any] | None:
    """The head, the rows and the sentences on the budgets, None where one alone was searched."""
    answer = view.answer
    if answer is None or answer.lengths is None:
        return None
    head, *rows = list_lengths(answer, view.objective)
    told = [text[:1].upper() + text[1:] + "." for text in tell_lengths(answer)]
    return {"head": list(head), "rows": [list(row) for row in rows], "told": told}


def law_sentences(view: RunView) -> list[str]:
    """Sentences on what the batch sizes say."""
    answer = view.answer
    if answer is None or answer.law is None:
        return []
    told = describe_law(answer.law, view.records, alone=False)
    return [text[:1].upper() + text[1:] + "." for text in told]
