"""One trial of a run in full, for reading."""

from __future__ import annotations

import bisect
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.text import Text

from lrsearch.catalogue import BESIDE
from lrsearch.reports.curves import plot
from lrsearch.reports.tables import STYLES, hanging, labelled
from lrsearch.reports.text import (
    count,
    enumerate_numbers,
    format_params,
    format_seconds,
    format_value,
    one_line,
)
from lrsearch.reports.verdicts import record_curves, verdict_facts
from lrsearch.reports.view import TrialView
from lrsearch.spec.commandline import fill_command
from lrsearch.terminal import command_line, visible_line
from lrsearch.trial import Outcome, Result, Trial

PLOTS = 3
"""Metrics that are drawn, the objective's and losses first."""

FEW = 4
"""Evaluations up to which a table is shown instead."""

_HEIGHT = 7
_WIDTH = 78


def trial_page(view: TrialView) -> RenderableType:
    """The trial for reading: its config, its outcome, its curve, and of a failed one the traceback
    and the end of its output. Fits any width from 60 characters up."""
    return _Page(view)


@dataclass(frozen=True)
class _Page:
    view: TrialView

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        view, width = self.view, options.max_width
        record, result = view.record, view.record.result
        yield _headline(view)
        if record.params:
            params = Text(format_params(record.params), style="bold")
            yield from hanging(Text("  "), params, console, width)
        yield Text()
        yield from labelled(_facts(view), console, width)
        room = min(width, _WIDTH)
        for title, drawn in (
            *_curves(view, room, options.encoding),
            *record_curves(view.records, room, _HEIGHT, options.encoding),
        ):
            yield from (Text(), Text(title, style="bold"), Text(drawn))
        if result is not None and result.traceback:
            # Of a command that writes to one stream alone it is the end of that one.
            ending = "the end of its stderr" if result.output else "the end of what it printed"
            yield from _listing(ending if record.is_outside else "traceback", result.traceback)
        if result is not None and result.output:
            yield from _listing("the end of its output", result.output)


def _headline(view: TrialView) -> Text:
    record, result = view.record, view.record.result
    head = Text.assemble((f"{one_line(view.run)}, trial {record.trial.number}", "bold"))
    if view.belongs:
        head.append(f" of point {record.point}")
    if view.look is not None:
        return head.append(": the look at the test part", style="green")
    if result is None:
        return head.append(": running" if view.running else ": not trained yet", style="dim")
    value = result.value(view.objective)
    if value is None:
        return head.append(f": {result.outcome.words}", style=STYLES[result.outcome])
    metric, shown = one_line(view.objective.metric), format_value(float(value), 5)
    return head.append(f": {metric} ").append(shown, style="green")


def _facts(view: TrialView) -> Iterator[tuple[str, str, str]]:
    """Label, text and style of each line."""
    record, result = view.record, view.record.result
    if view.look is not None:
        found = "; ".join(
            f"{one_line(name)} {format_value(value, 5)}"
            for name, value in view.look.metrics.items()
        )
        yield "test", f"{found} ({count(view.look.samples, 'sample')}), looked at once", ""
        yield "note", "it was trained for that alone, apart from the search and its values", ""
    if view.fresh:
        whose = "the control" if view.confirms is None else f"point {view.confirms}"
        yield "note", f"it measures {whose} again, on a fresh seed, apart from the search", ""
    elif not view.belongs:
        yield "note", "it does not belong to the spec as it is now", "yellow"
    if view.repeats is not None:
        yield "note", f"it is trial {view.repeats} once more, and counts as none of its own", ""
    if view.namesake:
        those = enumerate_numbers(view.namesake)
        many = "trial" if len(view.namesake) == 1 else "trials"
        number = record.trial.number
        yield "note", f"point {number} is another: {many} {those} (--trial {view.namesake[0]})", ""
    if view.again is not None:
        yield "note", f"it was trained again, as trial {view.again}, which counts", "yellow"
    if result is not None and result.reason:
        failed = result.outcome is Outcome.FAILED
        yield "reason", one_line(result.reason), "red" if failed else "yellow"
    yield from verdict_facts(result)
    if result is not None:
        if result.last:
            yield "metrics", "; ".join(_metrics(result)), ""
        trained = count(result.steps, "step")
        trained += f", {count(result.epochs, 'epoch')}" if result.epochs else ""
        if result.shared_epochs:
            trained += f" ({format_value(result.shared_epochs, 4)} of them another trial's)"
        yield "trained", f"{trained}, in {format_seconds(result.seconds)}, {result.engine}", ""
    if view.lost:
        yield "curve", f"it is not there: {one_line(view.lost)}", "yellow"
    if view.saved is not None:
        step, steps = view.saved
        share = f" ({step / steps:.0%})" if steps else ""
        yield "saved", f"at step {step:,} of {steps:,}{share}: it goes on from there", ""
    fold = "" if record.trial.fold is None else f", fold {record.trial.fold}"
    yield "seed", f"{record.trial.seed}{fold}, proposed by {record.strategy}", ""
    for device, plan in view.plans.items():
        lanes = f", {count(plan.lanes, 'lane')}" if plan.engine == "fused" else ""
        reason = f": {one_line(plan.reason)}" if plan.reason else ""
        yield "plan", f"{plan.engine}{lanes}{reason} ({device})", ""
    for name, value in record.trial.config.items():
        if name == "command":
            value = _filled(record.trial)
        shown = visible_line(value) if isinstance(value, str) else _told(value)
        if shown:
            yield "patterns" if name == "metrics" else one_line(name), shown, ""


def _filled(trial: Trial) -> str:
    """The command of a trial with its values filled in, where its words can be split."""
    given = {"seed": str(trial.seed), "trial": str(trial.number)}
    try:
        return command_line(fill_command(trial.config, given))
    except ValueError:
        return str(trial.config["command"])


def _told(values: Mapping[str, Any]) -> str:
    """A part of a config without its empty entries."""
    return format_params({name: each for name, each in values.items() if each not in (None, [])})


def _metrics(result: Result) -> Iterator[str]:
    for name, value in result.last.items():
        text = f"{one_line(name)} {format_value(float(value), 5)}"
        # Of a metric whose goal only the spec knows both ends are kept: neither is the best.
        if name in result.best and result.best[name] != value:
            best = format_value(float(result.best[name]), 5)
            text += f" (best {best} at step {result.best_step[name]})"
        yield text


def _curves(view: TrialView, width: int, encoding: str) -> Iterator[tuple[str, str]]:
    """Title and drawing of the most telling metrics, or one table of few evaluations."""
    steps = view.curve.get("step", ())
    names = _ranked([name for name in view.curve if name != "step"], view.objective.metric)
    if not steps or not names:
        return
    if len(steps) <= FEW:
        yield "by step", _table(view.curve, names, width)
        return
    for name in names[:PLOTS]:
        # A line of a command may not have had this metric: that is no gap in it.
        values = view.curve[name]
        rows = zip(steps, values, strict=True)
        pairs = sorted(row for row in rows if not math.isnan(row[1]))
        if len(pairs) < 2 or not any(math.isfinite(value) for _, value in pairs):
            continue
        first, last = pairs[0][0], pairs[-1][0]
        ends = f"step {first:,.0f}", f"{last:,.0f}"
        line = evenly(pairs, len(pairs))
        drawn = plot(line, width=width, height=_HEIGHT, ends=ends, encoding=encoding)
        yield one_line(name), drawn


def _ranked(names: Sequence[str], objective: str) -> list[str]:
    """The metrics in order: the objective's, losses, others, the rate."""

    def rank(name: str) -> int:
        if name == objective:
            return 0
        if name == "lr":
            return 3
        return 1 if "loss" in name.lower() or name in BESIDE else 2

    return sorted(names, key=rank)


def evenly(pairs: Sequence[tuple[float, float]], number: int) -> list[float]:
    """The values at `number` steps evenly apart, as `plot` takes them: on straight lines between
    measured ones, and not finite beside one that is not."""
    steps = [step for step, _ in pairs]
    first, last = steps[0], steps[-1]
    found = []
    for index in range(number):
        at = first + (last - first) * index / (number - 1)
        right = min(bisect.bisect_left(steps, at - 1e-9 * (last - first)), len(steps) - 1)
        left = max(0, right - 1)
        gap = steps[right] - steps[left]
        share = (at - steps[left]) / gap if gap > 0 else 1.0
        before, after = pairs[left][1], pairs[right][1]
        found.append(after if share >= 1 else before + share * (after - before))
    return found


def _table(curve: Mapping[str, Sequence[float]], names: Sequence[str], width: int) -> str:
    """One line a step, of as many metrics as fit."""
    columns = [["step", *(f"{step:,.0f}" for step in curve["step"])]]
    room = width
    for name in names:
        cells = [one_line(name), *(format_value(float(value), 5) for value in curve[name])]
        room -= max(map(len, cells)) + 2
        if room < len(str(max(curve["step"]))) + 4:
            break
        columns.append(cells)
    widths = [max(map(len, column)) for column in columns]
    return "\n".join(
        "  ".join(cell.rjust(size) for cell, size in zip(row, widths, strict=True))
        for row in zip(*columns, strict=True)
    )


def _listing(title: str, text: str) -> Iterator[Text]:
    yield Text()
    yield Text(title, style="bold")
    for line in text.rstrip("\n").split("\n"):
        # Tabs and blanks show what is nested; what moves the cursor is not let through.
        indent = line[: len(line) - len(line.lstrip())].expandtabs(4)
        yield Text(f"  {indent}{one_line(line)}", style="dim")
