"""The answer of a run in words and drawings: what comes first in every rendering."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from lrsearch.analysis.answer import Answer
from lrsearch.analysis.basin import Basin
from lrsearch.analysis.edges import Edge
from lrsearch.analysis.groups import agrees, is_rate
from lrsearch.analysis.importance import Share
from lrsearch.analysis.law import BEYOND, SATURATING, Law
from lrsearch.analysis.points import columns
from lrsearch.analysis.refining import describe_round
from lrsearch.reports.cells import pick
from lrsearch.reports.confirmation import (
    confirmation_notes,
    describe_finalists,
    describe_level,
    describe_state,
    find_again,
    plain_control,
    title_levels,
    title_of,
)
from lrsearch.reports.lengths import describe_lengths, plain_lengths
from lrsearch.reports.rates import (
    describe_basins,
    spell_close,
    spell_failing,
    spell_safe,
    spell_span,
    spell_uncurved,
)
from lrsearch.reports.text import (
    count,
    enumerate_numbers,
    format_fixed,
    format_params,
    format_seconds,
    format_value,
    last_parts,
    lay_out,
    one_line,
    tell_epochs,
    tell_interval,
)
from lrsearch.reports.verdicts import describe_own
from lrsearch.reports.view import RunView
from lrsearch.terminal import command_line
from lrsearch.trial import Outcome, Record

LONGEST = 24
"""Characters of a value in the table of curves, of which a longer one keeps the end."""


def call_edge(answer: Answer, edge: Edge) -> Edge:
    """An edge by the name that tables and sentences have for its parameter."""
    return replace(edge, name=last_parts([*columns(answer.points)]).get(edge.name, edge.name))


def describe_edge(edge: Edge) -> str:
    """An edge in a sentence, with what to search instead."""
    text = f"{edge}. Search {edge.line}"
    if edge.settings:
        words = [word for each in edge.settings for word in ("--set", each)]
        text += f" ({command_line(words)})"
    return text


def tell_trainings(answer: Answer) -> str:
    """The trainings that the value is the mean of: `3 seeds`, `1 seed x 5 folds`, `5 fresh
    seeds`."""
    folds = answer.recommended.folds
    seeds = count(answer.seeds, "fresh seed" if answer.confirmed else "seed")
    return f"{seeds} x {folds} folds" if folds else seeds


def tell_ties(answer: Answer) -> str:
    """The count of the points that are tied for the best, without the recommended one."""
    others = count(len(answer.tied), "other")
    if _differ(answer):
        return f"tied for the best with {others}"
    return f"{others} {'has' if len(answer.tied) == 1 else 'have'} the same value"


def name_ties(answer: Answer) -> str:
    """The points that are tied for the best, without the recommended one, by their numbers."""
    numbers = enumerate_numbers(answer.tied)
    points = f"point{'s' * (len(answer.tied) > 1)} {numbers}"
    if _differ(answer):
        return f"tied for the best with {points}"
    return f"{points} {'has' if len(answer.tied) == 1 else 'have'} the same value"


def _differ(answer: Answer) -> bool:
    """Whether tied points have values of their own. Of one training each they are no more than
    those of the same value: others may be as good."""
    own = [each for each in answer.points if each.point in answer.tied]
    return answer.confirmed or any(len(each.trials) > 1 for each in (answer.recommended, *own))


def evidence(answer: Answer, *, alone: bool = True) -> str:
    """The evidence of the answer, in one line; unless it stands `alone`, its edges are told of in
    lines of their own."""
    parts = [describe_state(answer)]
    if answer.steady:
        parts.append("every point came to the same value: there is nothing to choose by")
    if likely := tell_likely(answer, "these" if answer.confirmed else tell_trainings(answer)):
        parts.append(f"likely {likely}")
    if answer.tied and not answer.steady:  # A table has the names of those measured again.
        parts.append(tell_ties(answer) if answer.confirmed else name_ties(answer))
    parts += tell_rates(answer)
    for edge in answer.edges if alone else ():
        if not _is_own(answer, edge):
            continue  # It is the highest point's, said above.
        parts.append(one_line(call_edge(answer, edge).place))
    parts += map(one_line, answer.untrained if alone else ())
    return "; ".join(parts)


def tell_likely(answer: Answer, basis: str) -> str:
    """The interval of the answer's value, and by which measurements: `0.94 to 0.97 by its curve`,
    else by the `basis`; "" where nothing is certain."""
    if answer.interval is None:
        return ""
    low, high = answer.interval
    basis = "its curve" if answer.curved and not answer.confirmed else basis
    outside = "" if low <= answer.value <= high else ", what was measured being luck"
    return f"{tell_interval(answer.interval, answer.decimals)} by {basis}{outside}"


def tell_rates(answer: Answer) -> list[str]:
    """Phrases on the rates that do as well as the recommended one, and on those that fail."""
    parts = []
    if answer.basin is not None:
        (low, high), rates = answer.basin.safe_lr, spell_safe(answer, answer.basin)
        own = answer.recommended.params.get(answer.basin.rate)
        told = f"rates from {rates} {'may ' * answer.basin.plain}do as well"
        if format_value(low) == format_value(high):
            rates, told = f"about {rates}", f"only rates about {rates} do as well"
        told += spell_close(answer, answer.basin)
        shown = format_value(own)
        # A rate may lie beyond an end by less than what is shown of both.
        alike = shown in (format_value(low), format_value(high))
        if own is not None and is_rate(own) and not low <= own <= high and not alike:
            parts.append(f"the curve's best rates are {rates}, and {shown} is not among them")
        else:
            parts.append(told)
            parts += _tell_outside(answer, answer.basin)
        if answer.basin.plain:
            luck = "" if answer.confirmed else ", and the best value luck"
            values = "the search's values" if answer.confirmed else "such values"
            parts.append(
                f"noise alone could give {values}: perhaps none of these rates is better{luck}"
            )
        if failing := spell_failing(answer.basin):
            parts.append(failing)
    elif few := spell_uncurved(answer):
        parts.append(few)
    return parts


def _tell_outside(answer: Answer, basin: Basin) -> Iterator[str]:
    """Say of the points that are tied and whose rates are not among those that do as well what that
    means."""
    low, high = basin.safe_lr
    ends = (format_value(low), format_value(high))
    own = (point for point in answer.points if point.point in answer.tied)
    rates = (each.params.get(basin.rate) for each in own if agrees(each.params, basin.params))
    known = (rate for rate in rates if rate is not None and is_rate(rate))
    many = sum(not low <= rate <= high and format_value(rate) not in ends for rate in known)
    if many and _differ(answer):
        points = count(many, "tied point") + (" lies" if many == 1 else " lie")
        yield f"{points} outside these: not shown to be worse"


def _is_own(answer: Answer, edge: Edge) -> bool:
    """Whether the recommended point lies on the edge, which is that of the highest value."""
    return answer.recommended.params.get(edge.name) == edge.value


def choice(answer: Answer) -> str:
    """The reason why another point is recommended than the one of the highest value; "" where it is
    the same."""
    if answer.recommended is answer.highest or answer.steady:
        return ""
    highest, decimals = answer.highest, answer.decimals
    value = highest.objective
    if answer.confirmation is not None and answer.confirmed:
        winner = answer.confirmation.winner
        value = None if winner is None else winner.mean
    assert value is not None
    own = answer.recommended.point
    if value == answer.value:
        # The evidence says which these are.
        return f"of the points of this value {own} is recommended, since {answer.why}"
    better = f"was measured better ({format_fixed(value, decimals)})"
    told = f"cannot be told from point {own}, which is recommended since {answer.why}"
    return f"point {highest.point} {better}, but {told}"


def describe_law(law: Law, records: Sequence[Record], *, alone: bool = True) -> Iterator[str]:
    """Sentences on how the best rate follows the batch size; unless they stand `alone`, a table has
    the rates."""
    name = one_line(law.name)
    bests = "; ".join(
        f"{format_value(best.batch_size)}: {format_value(best.lr)} ({spell_span(best.interval)})"
        for best in law.bests
    )
    shared = f" with {format_params(law.params)}"
    shared = shared if law.params else ""
    at = _budgets(law, records)
    yield f"best rates by {name}{shared}, {at}: {bests}" if alone else at
    if not law.misfits:
        yield "no law is named: an interval reaches the end of what was measured"
    elif law.named is None:
        least = min(law.misfits.values())
        fitting = [each for each, misfit in law.misfits.items() if misfit - least <= BEYOND]
        yield f"no law is named: {_listed(fitting)} fit alike within noise"
    else:
        form = "a / (1 + b / batch size)" if law.named == SATURATING else f"the {law.named} law"
        yield f"{form} fits, all others are worse beyond noise"
    first, last = law.bests[0], law.bests[-1]
    middle = round(math.sqrt(first.batch_size * last.batch_size))
    between = law.rate_at(middle)
    told = ""
    if (
        law.misfits
        and between is not None
        and middle not in [each.batch_size for each in law.bests]
    ):
        told = f"between them take the rate in between: {format_value(between)} at {middle}; "
    yield (
        f"{told}beyond {format_value(last.batch_size)} keep {format_value(last.lr)}, or measure: "
        f"no law is carried on past what was measured (--set {_larger(law, records)})"
    )


def _larger(law: Law, records: Sequence[Record]) -> str:
    """The setting that measures the next larger batch size, too."""
    sizes = sorted({record.params[law.name] for record in records if law.name in record.params})
    following = round(sizes[-1] ** 2 / sizes[-2])
    listed = ",".join(map(format_value, [*sizes, following]))
    return command_line([f"search.{law.name}=[{listed}]"])


def _listed(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else names[0]


def _budgets(law: Law, records: Sequence[Record]) -> str:
    """Whether trainings of different batch sizes had equal epochs, equal steps, or neither."""
    ends: dict[Any, tuple[set[int], set[float]]] = {}
    completed = Outcome.COMPLETED
    for record in records:
        result = record.result
        if result is None or result.outcome is not completed:
            continue
        if not agrees(record.params, law.params):
            continue
        if law.name in record.params and result.steps:
            own = ends.setdefault(record.params[law.name], (set(), set()))
            own[0].add(result.steps)
            own[1].add(round(result.epochs, 1))
    means = [[sum(part) / len(part) for part in pair] for pair in ends.values()]
    if len(means) > 1:
        steps, epochs = ([each[place] for each in means] for place in (0, 1))
        if max(steps) <= 1.02 * min(steps):
            if not max(epochs):  # Of a command or a loop only what it calls a step is known.
                return "at equal steps as the training counts them, be they updates or epochs"
            return "at equal steps (at equal epochs a larger batch has fewer: another question)"
        if 0 < max(epochs) <= 1.05 * min(epochs):
            return "at equal epochs (at equal steps a larger batch sees more: another question)"
    return "at budgets that differ"


def describe_cost(view: RunView) -> str:
    """The cost of the run, in a line."""
    cost = view.cost
    trials, epochs, seconds = (cost[key] or 0.0 for key in ("trials", "trial_epochs", "seconds"))
    parts = [count(int(trials), "trial")]
    if epochs:  # Those of a training outside lrsearch are not known.
        shared, saved = (float(cost.get(f"{key}_epochs") or 0.0) for key in ("shared", "saved"))
        parts.append(tell_epochs(float(epochs), shared, saved))
    text = ", ".join([*parts, f"{format_seconds(seconds)} of training"])
    if again := int(cost.get("again_trials") or 0):
        were = "was" if again == 1 else "were"
        text += (
            f" ({_spent(cost, 'again')} of it in {count(again, 'training')} that {were} made again)"
        )
    if cost["range_seconds"]:
        epochs, seconds = (cost[key] or 0.0 for key in ("range_epochs", "range_seconds"))
        spent = [count(float(epochs), "epoch")] if epochs else []
        text += f"; {', '.join([*spent, format_seconds(seconds)])} of range tests"
    if cost["confirm_trials"]:
        text += f"; {_trainings(cost, 'confirm')} of confirming"
    if cost.get("test_trials"):
        text += f"; {_trainings(cost, 'test')} for the test part"
    if cost.get("repeat_trials"):
        text += f"; {_trainings(cost, 'repeat')} of repeating the best"
    wall = cost.get("wall_seconds")
    text = text if wall is None else f"{text}; {format_seconds(wall)} by the clock"
    if killed := int(cost.get("killed_sessions") or 0):
        cut = count(int(cost.get("killed_trials") or 0), "training")
        # How long a session lasted is journaled when it is closed: of others the last is known that
        # they said of themselves, if they did.
        lost = float(cost.get("killed_seconds") or 0.0)
        what = f"at least {format_seconds(lost)}" if lost else "without the time"
        text += f"; {what} of {count(killed, 'killed session')} and {cut} cut off by that"
    return text


def _trainings(cost: Mapping[str, float | None], name: str) -> str:
    """The number of trainings of a kind and their seconds."""
    many = count(int(cost[f"{name}_trials"] or 0), "training")
    return f"{many}, {format_seconds(cost[f'{name}_seconds'] or 0.0)}"


def _spent(cost: Mapping[str, float | None], name: str) -> str:
    """The epochs, where they are known, and the seconds of a kind."""
    epochs, seconds = cost[f"{name}_epochs"] or 0.0, cost[f"{name}_seconds"] or 0.0
    known = f"{count(float(epochs), 'epoch')}, " if epochs else ""
    return known + format_seconds(seconds)


def first_notes(view: RunView) -> Iterator[tuple[str, str]]:
    """Labels and texts of what follows the value and the recommended values."""
    for each in view.standing:
        yield "note", one_line(each)
    answer = view.answer
    if answer is None:
        return
    for edge in answer.edges:
        whose = "" if _is_own(answer, edge) else f"of point {view.points[0].point}: "
        yield "edge", whose + describe_edge(call_edge(answer, edge))
    for text in answer.untrained:
        yield "edge", one_line(text)
    yield "evidence", evidence(answer, alone=False)
    if text := choice(answer):
        yield "", text
    numbers = {*answer.recommended.trials}
    own = [each.result for each in view.records if each.trial.number in numbers and each.result]
    if text := describe_own(own):
        yield "verdict", text
    if view.stopped:
        yield "stopped", view.stopped
    if view.rounds:
        told = describe_round(view.rounds[-1], view.one_split)
        yield "refined", told.removeprefix("refine, ")
    yield from confirmation_notes(answer, view.objective)


def details(view: RunView, width: int) -> Iterator[tuple[str, list[str]]]:
    """Titles and lines of what the answer rests on: finalists, all curves in a table, the law of
    the batch size, the parameters' importance."""
    answer = view.answer
    if answer is None:
        return
    metric = one_line(view.objective.metric)
    if answer.confirmation is not None:
        yield title_of(answer.confirmation), lay_out(describe_finalists(answer), width)
    if answer.basins:
        rows = describe_basins(answer, most=LONGEST)
        yield "the best rate, and the rates that do as well", lay_out(rows, width)
    if answer.lengths is not None:
        yield describe_lengths(answer, view.objective, width)
    if answer.law is not None:
        yield (
            f"the rate by {one_line(answer.law.name)}",
            list(describe_law(answer.law, view.records)),
        )
    if answer.importance:
        rows = [("", "share", "95 %", title_levels(answer))]
        decimals, names = answer.decimals, last_parts([each.name for each in answer.importance])
        for share in answer.importance:
            best = ", ".join(
                f"{format_value(each.value)}: {describe_level(answer, share.name, each, decimals)}"
                for each in answer.levels.get(share.name, ())
            )
            rows.append((names[share.name], *tell_share(share), best))
        yield f"how much of {metric}'s variation each parameter explains", lay_out(rows, width)


def tell_share(share: Share) -> tuple[str, str]:
    """A parameter's share of the variation and its interval, with the decimals that tell its ends
    apart."""
    low, high = share.interval
    numbers = (share.share, low, high)
    forms = ([f"{each:.{digits}%}" for each in numbers] for digits in range(4))
    own, *ends = next((each for each in forms if each[1] != each[2]), [f"{low:.0%}"] * 3)
    return own, " to ".join(dict.fromkeys(ends))


def to_plain(answer: Answer) -> dict[str, Any]:
    """The answer as JSON has it."""
    return {
        "recommended": {**pick(answer.recommended, "point params"), "why": answer.why or None},
        "highest": pick(answer.highest, "point params"),
        **pick(answer, "value interval curved seeds spread confirmed tied"),
        "control": plain_control(answer),
        "shrinkage": None if answer.finalist is None else answer.finalist.shrinkage,
        "evidence": evidence(answer),
        "basins": [
            {
                "params": basin.params,
                "points": len(basin.readings),
                **pick(basin, "best best_lr"),
                "open": dict(zip(("low", "high"), basin.open, strict=True)),
                "safe_lr": basin.safe_lr,
                "reached": dict(zip(("low", "high"), basin.reached, strict=True)),
                **pick(basin, "within_error within_percent decades diverges_at idle_at margin"),
                **pick(basin, "sensitivity value interval"),
                "noise_alone": basin.flat,
            }
            for basin in answer.basins
        ],
        "edges": [
            {
                **pick(edge, "name side value"),
                "suggest": {**edge.suggest, "line": edge.line, "set": edge.settings},
            }
            for edge in answer.edges
        ],
        "untrained": answer.untrained,
        "budgets": None if answer.lengths is None else plain_lengths(answer.lengths),
        "law": None if answer.law is None else _plain_law(answer.law),
        "importance": [pick(share, "name share interval") for share in answer.importance],
        "levels": {
            name: [
                {
                    **pick(level, "value objective"),
                    "fresh": (again := find_again(answer, name, level.value)) and again.mean,
                    **pick(level, "point points"),
                }
                for level in levels
            ]
            for name, levels in answer.levels.items()
        },
    }


def _plain_law(law: Law) -> dict[str, Any]:
    return {
        **pick(law, "name params"),
        "best": [
            {**pick(best, "batch_size lr interval"), "open": best.open_} for best in law.bests
        ],
        **pick(law, "misfits named"),
        "exponent": law.exponent
        and {"value": law.exponent[0], "interval": [law.exponent[1], law.exponent[2]]},
        "largest": law.bests[-1].batch_size,
    }
