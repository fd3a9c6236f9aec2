"""The answer of a run in words and drawings: what comes first in every rendering."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lrsearch.analysis.answer import Answer
from lrsearch.analysis.basin import Basin
from lrsearch.analysis.edges import Edge
from lrsearch.analysis.law import BEYOND, SATURATING, Law
from lrsearch.analysis.refining import describe_round
from lrsearch.reports.confirmation import (
    confirmation_notes,
    describe_finalists,
    describe_state,
    plain_control,
    title_of,
)
from lrsearch.reports.curves import encodes, raster
from lrsearch.reports.text import (
    count,
    decimals_for,
    format_fixed,
    format_params,
    format_seconds,
    format_value,
    one_line,
)
from lrsearch.reports.view import RunView
from lrsearch.terminal import command_line
from lrsearch.trial import Outcome, Record

ROWS = 9
"""Lines of a drawing."""

FAR = 6
"""Times the middle gap to the best within a decade of it: what is worse is not drawn."""

WIDTH = 80
"""Characters of a drawing at most."""


def describe_edge(edge: Edge) -> str:
    """An edge in a sentence, with what to search instead."""
    text = str(edge)
    if edge.line:
        text += f". Search {edge.line}"
    if edge.settings:
        words = [word for each in edge.settings for word in ("--set", each)]
        text += f" ({command_line(words)})"
    return text


def evidence(answer: Answer) -> str:
    """The evidence of the answer, in one line."""
    parts = [describe_state(answer)]
    if answer.steady:
        parts.append("every point came to the same value: there is nothing to choose by")
    if answer.interval is not None:
        basis = "its curve" if answer.curved else count(answer.seeds, "seed")
        basis = "these" if answer.confirmed else basis
        parts.append(f"likely {_span(answer.interval, answer.value)} by {basis}")
    if answer.tied and not answer.steady:
        others = "other" if len(answer.tied) == 1 else "others"
        parts.append(f"tied with {len(answer.tied)} {others}")
    if answer.basin is not None:
        low, high = answer.basin.safe_lr
        parts.append(f"rates from {format_value(low)} to {format_value(high)} do as well")
        if answer.basin.diverges_at is not None:
            parts.append(f"divergence begins at {format_value(answer.basin.diverges_at)}")
    for edge in answer.edges:
        if not _is_own(answer, edge):
            continue  # It is the highest point's, said above.
        near = "near " if edge.near else ""
        value = format_value(edge.value)
        parts.append(f"{one_line(edge.name)} {value} is {near}the {edge.side} searched")
    return "; ".join(parts)


def _is_own(answer: Answer, edge: Edge) -> bool:
    """Whether the recommended point lies on the edge, which is that of the highest value."""
    return answer.recommended.params.get(edge.name) == edge.value


def choice(answer: Answer) -> str:
    """The reason why another point is recommended than the one of the highest value; "" where it is
    the same."""
    if answer.recommended is answer.highest or answer.steady:
        return ""
    highest, decimals = answer.highest, decimals_for(answer.value)
    value = highest.objective
    if answer.confirmation is not None and answer.confirmed:
        winner = answer.confirmation.winner
        value = None if winner is None else winner.mean
    assert value is not None
    better = f"was measured better ({format_fixed(value, decimals)})"
    if value == answer.value:
        better = "has the same value"
    own = answer.recommended.point
    told = f"cannot be told from point {own}, which is recommended since {answer.why}"
    return f"point {highest.point} {better}, but {told}"


def _span(ends: tuple[float, float], like: float) -> str:
    decimals = decimals_for(like)
    return " to ".join(format_fixed(end, decimals) for end in ends)


def _rates(ends: tuple[float, float]) -> str:
    return f"{format_value(ends[0])} to {format_value(ends[1])}"


def describe_law(law: Law, records: Sequence[Record]) -> Iterator[str]:
    """Sentences on how the best rate follows the batch size."""
    name = one_line(law.name)
    bests = "; ".join(
        f"{format_value(best.batch_size)}: {format_value(best.lr)} ({_rates(best.interval)})"
        for best in law.bests
    )
    shared = f" with {format_params(law.params)}" if law.params else ""
    yield f"best rates by {name}{shared}, {_budgets(law, records)}: {bests}"
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
        told = f"between them take the rate in between: {format_value(between)} at {middle}. "
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
    for record in records:
        result = record.result
        if result is None or result.outcome is not Outcome.COMPLETED:
            continue
        if law.name in record.params and result.steps:
            own = ends.setdefault(record.params[law.name], (set(), set()))
            own[0].add(result.steps)
            own[1].add(round(result.epochs, 1))
    means = [[sum(part) / len(part) for part in pair] for pair in ends.values()]
    if len(means) > 1:
        steps, epochs = ([each[place] for each in means] for place in (0, 1))
        if max(steps) <= 1.02 * min(steps):
            return "at equal steps (at equal epochs a larger batch has fewer: another question)"
        if 0 < max(epochs) <= 1.05 * min(epochs):
            return "at equal epochs (at equal steps a larger batch sees more: another question)"
    return "at budgets that differ"


def describe_basins(answer: Answer) -> list[tuple[str, ...]]:
    """Rows of a table of all basins, the first its head."""
    rows: list[tuple[str, ...]] = [
        ("", "best rate", "95 %", "do as well", "decades", "diverges", "sensitivity")
    ]
    for basin in answer.basins:
        ends = ("… " if basin.open_low else "", " …" if basin.open_high else "")
        rows.append(
            (
                format_params(basin.params),
                format_value(basin.best),
                f"{ends[0]}{_rates(basin.best_lr)}{ends[1]}",
                _rates(basin.safe_lr),
                f"{basin.decades:.1f}",
                "" if basin.diverges_at is None else format_value(basin.diverges_at),
                format_value(basin.sensitivity),
            )
        )
    return rows


def draw_basin(
    basin: Basin, recommended: float | None, *, width: int = WIDTH, encoding: str = "utf-8"
) -> list[str]:
    """The objective through the rate, in lines: the curve, its band of 95 %, the points, and the
    recommended one; a line stands where divergence begins. What is far worse than the values
    within a decade of the best is cut off."""
    marks = list("░━●◆┊" if encodes("░━●◆┊┤", encoding) else ":-o#!")
    band, line, point, star, edge = marks
    bottom, top = frame_basin(basin)
    labels = [format_value(float(top), 4), *[""] * (ROWS - 2), format_value(float(bottom), 4)]
    margin = max(map(len, labels))
    columns = max(16, min(width, WIDTH) - margin - 2)
    left, right = math.log10(basin.rates[0]), math.log10(basin.rates[-1])
    cells = [[" "] * columns for _ in range(ROWS)]

    def column(rate: float) -> int:
        share = (math.log10(rate) - left) / (right - left)
        return min(max(round(share * (columns - 1)), 0), columns - 1)

    def row(value: float) -> int:
        return round((top - value) / (top - bottom) * (ROWS - 1))

    for place in range(columns):
        rate = 10 ** (left + (right - left) * place / (columns - 1))
        _, low, high = basin.at(rate)
        for each in range(max(row(high), 0), min(row(low), ROWS - 1) + 1):
            cells[each][place] = band
    inside = [value if bottom <= value <= top else math.nan for value in basin.middle]
    for place, rows in enumerate(raster(inside, columns, ROWS, bottom, top)):
        for each in rows:
            cells[each][place] = line
    if basin.diverges_at is not None:
        for each in range(ROWS):
            cells[each][column(basin.diverges_at)] = edge
    for rate, value in basin.readings:
        if value is not None and bottom <= value <= top:
            cells[row(value)][column(rate)] = star if rate == recommended else point
    axis = "┤" if encodes("┤", encoding) else "|"
    lines = [
        f"{label:>{margin}} {axis}{''.join(part)}".rstrip()
        for label, part in zip(labels, cells, strict=True)
    ]
    first, last = format_value(basin.rates[0]), format_value(basin.rates[-1])
    lines.append(f"{'':{margin + 2}}{first}{last:>{columns - len(first)}}")
    told = [f"{point} measured", f"{line} curve", f"{band} its band of 95 %"]
    if any(rate == recommended for rate, _ in basin.readings):
        told.insert(0, f"{star} recommended")
    if basin.diverges_at is not None:
        told.append(f"{edge} divergence begins")
    outside = sum(value is not None and not bottom <= value <= top for _, value in basin.readings)
    if outside:
        told.append(f"{count(outside, 'measured point')} outside")
    indent = " " * (margin + 2)
    return [
        *lines,
        *textwrap.wrap(
            "  ".join(told), columns + margin + 2, initial_indent=indent, subsequent_indent=indent
        ),
    ]


def frame_basin(basin: Basin) -> tuple[float, float]:
    """The values that a drawing reaches from and to."""
    measured = [value for _, value in basin.readings if value is not None]
    near = [
        value
        for rate, value in basin.readings
        if value is not None and abs(math.log10(rate / basin.best)) <= 1
    ]
    near = near if len(near) > 1 else measured
    gaps = sorted(abs(value - basin.value) for value in near)
    far = FAR * gaps[len(gaps) // 2]
    shown = [value for value in near if abs(value - basin.value) <= far]
    shown += [basin.value, *basin.interval]
    low, high = min(shown), max(shown)
    room = 0.05 * (high - low) or 0.01 * abs(high) or 1.0
    return low - room, high + room


def describe_cost(view: RunView) -> str:
    """The cost of the run, in a line."""
    cost = view.cost
    trials, epochs, seconds = (cost[key] or 0.0 for key in ("trials", "trial_epochs", "seconds"))
    parts = [count(int(trials), "trial")]
    if epochs:  # Those of a training outside lrsearch are not known.
        parts.append(f"{format_value(float(epochs), 4)} epochs")
    shared, saved = cost.get("shared_epochs"), cost.get("saved_epochs")
    if shared:
        parts[-1] += f" ({format_value(float(shared), 4)} of them shared)"
    if saved:
        parts[-1] += f" ({format_value(float(saved), 4)} more saved by stopping early)"
    text = ", ".join([*parts, f"{format_seconds(seconds)} of training"])
    if again := int(cost.get("again_trials") or 0):
        were = "was" if again == 1 else "were"
        text += (
            f" ({_spent(cost, 'again')} of it in {count(again, 'training')} that {were} made again)"
        )
    if cost["range_seconds"]:
        epochs, seconds = (cost[key] or 0.0 for key in ("range_epochs", "range_seconds"))
        spent = [f"{format_value(float(epochs), 4)} epochs"] if epochs else []
        text += f", and {', '.join([*spent, format_seconds(seconds)])} of range tests"
    if cost["confirm_trials"]:
        text += f", and {_trainings(cost, 'confirm')} of confirming"
    if cost.get("test_trials"):
        text += f", and {_trainings(cost, 'test')} for the look at the test part"
    if cost.get("repeat_trials"):
        text += f", and {_trainings(cost, 'repeat')} once more, to compare"
    wall = cost.get("wall_seconds")
    text = text if wall is None else f"{text} in {format_seconds(wall)}"
    if killed := int(cost.get("killed_sessions") or 0):
        cut = count(int(cost.get("killed_trials") or 0), "training")
        text += f", without what {count(killed, 'killed session')} lost: {cut}"
    return text


def _trainings(cost: Mapping[str, float | None], name: str) -> str:
    """The number of trainings of a kind and their seconds."""
    many = count(int(cost[f"{name}_trials"] or 0), "training")
    return f"{many}, {format_seconds(cost[f'{name}_seconds'] or 0.0)}"


def _spent(cost: Mapping[str, float | None], name: str) -> str:
    """The epochs, where they are known, and the seconds of a kind."""
    epochs, seconds = cost[f"{name}_epochs"] or 0.0, cost[f"{name}_seconds"] or 0.0
    known = f"{format_value(float(epochs), 4)} epochs, " if epochs else ""
    return known + format_seconds(seconds)


def first_notes(view: RunView) -> Iterator[tuple[str, str]]:
    """Labels and texts of what follows the value and the recommended values."""
    answer = view.answer
    if answer is None:
        return
    for edge in answer.edges:
        whose = "" if _is_own(answer, edge) else f"of point {view.points[0].point}: "
        yield "edge", whose + describe_edge(edge)
    yield "evidence", evidence(answer)
    if text := choice(answer):
        yield "", text
    if view.stopped:
        yield "stopped", view.stopped
    if view.rounds:
        yield "refined", describe_round(view.rounds[-1]).removeprefix("refine, ")
    yield from confirmation_notes(answer, view.objective)


def details(view: RunView, width: int, encoding: str) -> Iterator[tuple[str, list[str]]]:
    """Titles and lines of what the answer rests on: the recommended point's curve (or the best
    one), all curves in a table, the law of the batch size, the parameters' importance."""
    answer = view.answer
    if answer is None:
        return
    metric = one_line(view.objective.metric)
    if answer.confirmation is not None:
        yield title_of(answer.confirmation), _table(describe_finalists(answer), width)
    if answer.basins:
        basin = answer.basin or answer.basins[0]
        own = answer.recommended.params.get(basin.rate) if basin is answer.basin else None
        shared = f" with {format_params(basin.params)}" if basin.params else ""
        title = f"{metric} by {one_line(basin.rate)}{shared}"
        yield title, draw_basin(basin, own, width=width, encoding=encoding)
        yield "the best rate, and the rates that do as well", _table(describe_basins(answer), width)
    if answer.law is not None:
        yield (
            f"the rate by {one_line(answer.law.name)}",
            list(describe_law(answer.law, view.records)),
        )
    if answer.importance:
        rows = [("", "share", "95 %", "best of each value, all else free")]
        for share in answer.importance:
            levels = answer.levels.get(share.name, ())
            best = ", ".join(
                f"{format_value(level.value)} {format_value(level.objective, 4)}"
                for level in levels
            )
            low, high = share.interval
            rows.append(
                (one_line(share.name), f"{share.share:.0%}", f"{low:.0%} to {high:.0%}", best)
            )
        yield f"how much of {metric}'s variation each parameter explains", _table(rows, width)


def _table(rows: Sequence[Sequence[str]], width: int) -> list[str]:
    """Rows in columns, the last ones left out where they do not fit, which is said."""
    from rich.cells import cell_len  # What is for other programs needs no rich.

    columns = list(zip(*rows, strict=True))
    left: list[str] = []
    while True:
        widths = [max(map(cell_len, column)) for column in columns]
        if sum(widths) + 2 * len(widths) <= width or len(columns) < 3:
            break
        left.insert(0, columns.pop()[0])
    told = f"(no room for: {', '.join(left)}; a wider terminal or --json has them)"
    return [
        *(
            "  ".join(
                cell + " " * (size - cell_len(cell)) for cell, size in zip(row, widths, strict=True)
            ).rstrip()
            for row in zip(*columns, strict=True)
        ),
        *([told] if left else []),
    ]


def to_plain(answer: Answer) -> dict[str, Any]:
    """The answer as JSON has it."""
    return {
        "recommended": {
            "point": answer.recommended.point,
            "params": answer.recommended.params,
            "why": answer.why or None,
        },
        "highest": {"point": answer.highest.point, "params": answer.highest.params},
        "value": answer.value,
        "interval": answer.interval,
        "seeds": answer.seeds,
        "confirmed": answer.confirmed,
        "tied": answer.tied,
        "control": plain_control(answer),
        "shrinkage": None if answer.finalist is None else answer.finalist.shrinkage,
        "evidence": evidence(answer),
        "basins": [
            {
                "params": basin.params,
                "points": len(basin.readings),
                "best": basin.best,
                "best_lr": basin.best_lr,
                "open": {"low": basin.open_low, "high": basin.open_high},
                "safe_lr": basin.safe_lr,
                "within_error": basin.within_error,
                "within_percent": basin.within_percent,
                "decades": basin.decades,
                "diverges_at": basin.diverges_at,
                "margin": basin.margin,
                "sensitivity": basin.sensitivity,
                "value": basin.value,
                "interval": basin.interval,
            }
            for basin in answer.basins
        ],
        "edges": [
            {
                "name": edge.name,
                "side": edge.side,
                "suggest": {**edge.suggest, "line": edge.line, "set": edge.settings},
            }
            for edge in answer.edges
        ],
        "law": None if answer.law is None else _plain_law(answer.law),
        "importance": [
            {"name": share.name, "share": share.share, "interval": share.interval}
            for share in answer.importance
        ],
        "levels": {
            name: [
                {
                    "value": level.value,
                    "objective": level.objective,
                    "point": level.point,
                    "points": level.points,
                }
                for level in levels
            ]
            for name, levels in answer.levels.items()
        },
    }


def _plain_law(law: Law) -> dict[str, Any]:
    return {
        "name": law.name,
        "params": law.params,
        "best": [
            {
                "batch_size": best.batch_size,
                "lr": best.lr,
                "interval": best.interval,
                "open": best.open_,
            }
            for best in law.bests
        ],
        "misfits": law.misfits,
        "named": law.named,
        "exponent": law.exponent
        and {"value": law.exponent[0], "interval": [law.exponent[1], law.exponent[2]]},
        "largest": law.bests[-1].batch_size,
    }
