"""A run for other programs: JSON, CSV, Markdown. Values are exact."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lrsearch.analysis.refining import describe_round
from lrsearch.reports.answer import describe_cost, first_notes, tell_trainings, to_plain
from lrsearch.reports.cells import cell, pick, write_csv, write_json
from lrsearch.reports.characters import WIDTH
from lrsearch.reports.characters import plain as plain_line
from lrsearch.reports.confirmation import describe_finalists, title_of
from lrsearch.reports.confirmation import to_plain as plain_confirmation
from lrsearch.reports.lengths import list_lengths, tell_lengths, title_lengths
from lrsearch.reports.ranges import RangeView, describe_test, tell_range
from lrsearch.reports.rates import plot_rates
from lrsearch.reports.text import format_params, format_value, one_line, without_empty
from lrsearch.reports.verdicts import describe
from lrsearch.reports.view import RunView, TrialView, describe_found, describe_repeatability
from lrsearch.trial import Objective, Plan, Ranged, Record

FORMAT = 1
"""The version of the JSON's shape; raised when a reader of the old one would misread it."""


def to_json(view: RunView) -> str:
    """The run as JSON, format 1: points best first, trials by number.

    Numbers that are not finite are null. An unfinished point or trial has a null `outcome`; an
    unfinished trial's steps, epochs, seconds and engine are null, too.
    """
    objective, best, again = view.objective, view.best, view.repeatability
    document = {
        "format": FORMAT,
        "run": view.name,
        "objective": vars(objective),
        "answer": None if view.answer is None else to_plain(view.answer),
        "confirmation": None if view.answer is None else plain_confirmation(view.answer),
        "cost": view.cost,
        "points": [
            pick(point, "point strategy params outcome objective spread trials")
            for point in view.points
        ],
        "trials": [describe_trial(record, objective) for record in view.records],
        "best": best and pick(best, "point params objective trials"),
        "plans": [
            {"structure": structure, **_describe_plan(device, plan)}
            for (structure, device), plan in view.plans.items()
        ],
        "data": view.data or None,
        "advice": view.advice,
        "states": {"trials": view.saved[0], "bytes": view.saved[1]},
        "repeatability": again
        and pick(again, "trial objective again difference exact outcome reason"),
        "ranges": [describe_test(each) for each in view.ranges],
        "found_ranges": [_describe_found(found) for found in view.found],
        "stopped": view.stopped or None,
        "refinement": [_describe_round(body, view.one_split) for body in view.rounds],
        "standing": view.standing,
        "warnings": view.warnings,
        "notes": [{"label": label, "text": text} for label, text in first_notes(view)],
        "running": view.running,
        "hidden": view.hidden,
        "retry": view.retry_command or None,
        "resume": view.whole_command or None,
        "next": view.next_command or None,
    }
    return write_json(document)


def ranges_json(name: str, views: Sequence[RangeView]) -> str:
    """Range tests as JSON, format 1, a structure each. What is not finite is null."""
    structures = [describe_test(view) for view in views]
    document = {"format": FORMAT, "run": name, "structures": structures}
    return write_json(document)


def unsearched_json(name: str, views: Sequence[RangeView]) -> str:
    """A run of range tests alone as JSON, format 1: that of a run without points and trials, whose
    objective and cost nobody knows."""
    unknown = "objective answer confirmation best cost data repeatability stopped retry resume next"
    none = "points trials plans advice found_ranges refinement standing warnings notes"
    document = {
        "format": FORMAT,
        "run": name,
        **dict.fromkeys(unknown.split()),
        **{key: [] for key in none.split()},
        "states": {"trials": 0, "bytes": 0},
        "ranges": [describe_test(view) for view in views],
        **dict.fromkeys(("running", "hidden"), 0),
    }
    return write_json(document)


def ranges_markdown(name: str, views: Sequence[RangeView]) -> str:
    """A heading, and the range tests as a list."""
    told = markdown_list(f"range test: {tell_range(view)}" for view in views)
    return f"## {escape_markdown(name)}\n\n{told}\n"


def trial_json(view: TrialView) -> str:
    """The trial as JSON, format 1: its entry of `report --json`, and the whole config, the metrics,
    the traceback, the end of its output and its curve. Numbers that are not finite are null."""
    trial, result = view.record.trial, view.record.result
    document = {
        "format": FORMAT,
        "run": view.run,
        "objective": vars(view.objective),
        "trial": {
            **describe_trial(view.record, view.objective),
            "point": view.record.point if view.belongs else None,
            "repeats": view.repeats,
            "fresh": view.fresh,
            "confirms": view.confirms,
            "test": view.look and pick(view.look, "samples metrics"),
            "saved": {"step": view.saved[0], "steps": view.saved[1]} if view.saved else None,
            "config": trial.config,
            "last": result.last if result else {},
            "best": result.best if result else {},
            "best_step": result.best_step if result else {},
            "traceback": result.traceback if result else "",
            "output": result.output if result else "",
        },
        "plans": [_describe_plan(device, plan) for device, plan in view.plans.items()],
        "curve": view.curve,
        "curve_lost": view.lost or None,
        "records": vars(view.records) if view.records.step else {},
    }
    return write_json(document)


def _describe_round(body: Mapping[str, Any], one_split: bool) -> dict[str, Any]:
    kept = ("round", "name", "interval", "before", "best", "value", "curves", "points", "state")
    told = {"why": body["why"], "told": describe_round(body, one_split)}
    return {**{key: body[key] for key in kept}, "shared": body.get("shared", {}), **told}


def _describe_found(found: Ranged) -> dict[str, Any]:
    ends = {"name": found.name, "min": found.low, "max": found.high, "margin": found.margin}
    tests = [
        {**pick(each, "params interval"), "refused": each.refused or None} for each in found.tests
    ]
    return {**ends, "tests": tests}


def _describe_plan(device: str, plan: Plan) -> dict[str, Any]:
    return {"device": device, **pick(plan, "engine lanes reason")}


def describe_trial(record: Record, objective: Objective) -> dict[str, Any]:
    """A trial's entry in the JSON of a run."""
    trial, result = record.trial, record.result
    return {
        "number": trial.number,
        "point": record.point,
        "params": record.params,
        "strategy": record.strategy,
        "seed": trial.seed,
        "fold": trial.fold,
        "outcome": result and result.outcome,
        "objective": result and result.value(objective),
        "steps": result and result.steps,
        "epochs": record.epochs,
        "shared_epochs": None if record.is_outside else result and result.shared_epochs,
        "seconds": result and result.seconds,
        "engine": result and result.engine,
        "engine_reason": result.why if result else "",
        "reason": result.reason if result else "",
        "rule": (result.rule or None) if result else None,
        "saved_epochs": None if record.is_outside else result.saved_epochs if result else 0.0,
        "verdicts": describe(result),
    }


def to_csv(view: RunView, *, raw: bool = False) -> str:
    r"""One row a point, best first, by RFC 4180 with line feeds between rows.

    Columns: point, strategy, one a parameter by its full name, outcome, objective, spread, seeds,
    trials (numbers, blanks between), epochs, seconds (sums over trials), reason. A cell is empty
    where there is no value: a parameter of another choice, the outcome of an unfinished point.
    Lists, mappings, booleans and null are written as JSON.

    A text that a spreadsheet would run as a formula has a single quote before it, and control
    characters other than line ends and tabs are written as their escapes (`\x1b`); `raw` leaves
    texts as they are.
    """
    after = ("outcome", "objective", "spread", "seeds", "trials", "epochs", "seconds", "reason")
    rows: list[Sequence[object]] = [("point", "strategy", *view.params, *after)]
    outside = any(record.is_outside for record in view.records)
    for point in view.points:
        params = (cell(point.params[n]) if n in point.params else None for n in view.params)
        trials = " ".join(str(number) for number in point.trials)
        rows.append(
            (
                *(point.point, point.strategy, *params),
                *(point.outcome, point.objective, point.spread, point.seeds),
                *(trials, None if outside else point.epochs, point.seconds, point.reason),
            )
        )
    return write_csv(rows, raw=raw)


def to_markdown(view: RunView) -> str:
    """A heading, the objective through the rate as text, a GitHub table of the points best first,
    and the warnings as a list."""
    answer = view.answer
    blocks = [f"## {escape_markdown(view.name)}"]
    if answer is None:
        blocks.append(f"{view.nothing.capitalize()}.")
    else:
        apart = "" if answer.spread is None else f", deviation {view.show(answer.spread)}"
        blocks.append(
            f"Best {escape_markdown(view.objective.metric)} {view.show(answer.value)} "
            f"({tell_trainings(answer)}{apart}) "
            f"with {escape_markdown(format_params(answer.recommended.params, called=view.called))}"
        )
    first = [
        escape_markdown(f"{label}: {text}" if label else text) for label, text in first_notes(view)
    ]
    if view.cost["trials"] or view.cost["range_seconds"]:
        first.append(f"cost: {describe_cost(view)}")
    if view.next_command:
        first.append(f"next: {_code(view.next_command)}")
    if first:
        blocks.append("\n".join(f"- {each}" for each in first))
    blocks += _drawing(view)
    shown = [view.called[name] for name in view.params]
    head = ("point", *shown, view.objective.metric, "deviation", "trials", "outcome")
    rows = [head]
    several = len({len(point.trials) for point in view.points}) > 1
    for point in view.points:
        params = (format_value(point.params[n]) if n in point.params else "" for n in view.params)
        outcome = point.outcome.words if point.outcome else "unfinished"
        outcome += f": {point.reason}" if point.reason else ""
        number = str(len(point.trials)) if several else ""
        values = (view.show(point.objective), view.show(point.spread), number)
        rows.append((str(point.point), *params, *values, outcome))
    blocks.append(markdown_table(rows))
    if answer is not None and answer.confirmation is not None:
        title = title_of(answer.confirmation).capitalize()
        blocks += [f"{escape_markdown(title)}:", markdown_table(describe_finalists(answer))]
    if answer is not None and answer.lengths is not None:
        title = title_lengths(answer).capitalize()
        rows = list_lengths(answer, view.objective)
        blocks += [f"{escape_markdown(title)}:", markdown_table(rows)]
        blocks.append(markdown_list(tell_lengths(answer)))
    told = [*map(describe_found, view.found), *view.warnings]
    if view.repeatability is not None:
        told.insert(0, describe_repeatability(view.repeatability, view.objective.metric))
    told += [f"range test: {tell_range(each)}" for each in view.ranges]
    blocks.append(markdown_list(told))
    return "\n\n".join(filter(None, blocks)) + "\n"


def markdown_list(texts: Iterable[str]) -> str:
    """Texts as a list."""
    return "\n".join(f"- {escape_markdown(each)}" for each in texts)


_NUMERIC = re.compile(r"([-+]?[0-9.]+(e[-+]?[0-9]+)?)?")
"""A cell that is a number, or empty."""


def markdown_table(rows: Sequence[Sequence[str]]) -> str:
    """A GitHub table, the head first, without empty columns; those of numbers alone stand on the
    right."""
    head, *kept = without_empty(rows)
    numeric = (all(map(_NUMERIC.fullmatch, column)) for column in zip(*kept, strict=True))
    aligned = ["---:" if each else "---" for each in numeric] or ["---"] * len(head)
    lines = [" | ".join(map(escape_markdown, row)) for row in (head, *kept)]
    return "\n".join(f"| {line} |" for line in (lines[0], " | ".join(aligned), *lines[1:]))


def _drawing(view: RunView) -> list[str]:
    """The objective through the rate, as the terminal has it: a title, and a block of code."""
    plot = plot_rates(view, width=WIDTH, encoding="utf-8")
    if plot is None:
        return []
    title, lines = plot
    return [escape_markdown(title), "\n".join(["```text", *map(plain_line, lines), "```"])]


_WORD = r"""(?:'[^'`|]*'|"[^"`|]*"|[^\s'"`|()])+"""
_SETTINGS = rf"(?<=\()--set {_WORD}(?: --set {_WORD})*(?=\)| )"
_PASTED = re.compile(rf"{_SETTINGS}|(?<=: )lrsearch [a-z]+ [^`|]+$")
"""A command, or options of one, in a text: settings that begin parentheses, in words of a shell, or
a command at its end."""


def escape_markdown(text: str) -> str:
    """A text on one line, as text in Markdown; what is to be pasted is code, as it is."""
    text, parts, at = one_line(text), [], 0
    for found in _PASTED.finditer(text):
        parts += [_escape(text[at : found.start()]), _code(found[0])]
        at = found.end()
    return "".join([*parts, _escape(text[at:])])


def _escape(text: str) -> str:
    return re.sub(r"([\\`*|<\[\]&~$]|\b_|_\b)", r"\\\1", text)


def _code(text: str) -> str:
    """A text as code on one line: as it is, for copying."""
    longest = max(map(len, re.findall("`+", text)), default=0)
    fence, text = "`" * (longest + 1), one_line(text)
    return f"{fence} {text} {fence}" if longest else f"{fence}{text}{fence}"
