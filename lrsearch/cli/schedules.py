"""`lrsearch schedules`: a list of the schedules, and their curves."""

from __future__ import annotations

import sys
from json import dumps
from typing import Annotated, Any

import typer

from lrsearch.cli import options
from lrsearch.errors import Fault, SpecError

SHORT = 10_000_000
"""The most steps that can be printed."""


def schedules(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="NAME",
            help="A schedule's name. Without it: all of them.",
            show_default=False,
        ),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=VALUE",
            help="An argument, such as final=0.1, or warmup=10ba. Repeatable.",
        ),
    ] = None,
    steps: Annotated[
        int, typer.Option("--steps", min=1, max=SHORT, help="Optimizer steps of the training.")
    ] = 1000,
    steps_per_epoch: Annotated[
        int, typer.Option("--steps-per-epoch", min=1, max=SHORT, help="Steps of an epoch (ep).")
    ] = 100,
    batch_size: Annotated[
        int, typer.Option("--batch-size", min=1, help="Samples of a step (sp).")
    ] = 1,
    width: options.Width = None,
    json: options.Json = False,
) -> None:
    """List the schedules, or show one: its arguments, ranges worth searching, its curve."""
    if name is None:
        if set_:
            from lrsearch.errors import UsageError

            raise UsageError("--set needs a schedule", hint="such as: lrsearch schedules one_cycle")
        _print_all(json)
        return
    from lrsearch.spec.alone import read_schedule

    schedule, warmup = read_schedule(name, set_ or ())
    values = _multipliers(schedule, warmup, steps, steps_per_epoch, batch_size)
    if json:
        params = {key: part for key, part in schedule.items() if key != "name"}
        params |= {"warmup": warmup} if warmup else {}
        print(dumps({"name": name, "params": params, "multipliers": values}))
        return
    _print_one(name, schedule, warmup, values, width)


def _multipliers(
    schedule: dict[str, Any],
    warmup: dict[str, Any] | None,
    steps: int,
    steps_per_epoch: int,
    batch_size: int,
) -> list[float]:
    from lrsearch.schedules import ScheduleError, multipliers

    try:
        values = multipliers(
            schedule,
            warmup,
            budget=steps,
            samples=steps_per_epoch * batch_size,
            batch_size=batch_size,
        )
    except ScheduleError as error:
        place = "" if error.argument.startswith("warmup") else f"{schedule['name']}."
        raise SpecError([Fault(0, f"{place}{error.argument}", str(error))]) from None
    found: list[float] = values.tolist()
    return found


def _print_all(json: bool) -> None:
    from lrsearch.catalogue import SCHEDULES

    if json:
        listed = [
            {
                "name": name,
                "doc": entry.doc,
                "source": entry.source or None,
                "params": {
                    key: {
                        "default": None if part.default is None else _default(part.default),
                        "takes": part.allowed(),
                        "search": part.search or None,
                        "doc": part.doc,
                    }
                    for key, part in entry.parameters.items()
                },
            }
            for name, entry in SCHEDULES.items()
        ]
        print(dumps({"format": 1, "schedules": listed}))
        return
    from rich.table import Table
    from rich.text import Text

    from lrsearch.reports.tables import open_console

    table = Table(box=None, pad_edge=False)
    for head in ("schedule", "what it does", "arguments"):
        table.add_column(head, overflow="fold")
    for name, entry in SCHEDULES.items():
        table.add_row(*map(Text, (name, entry.doc, ", ".join(entry.parameters))))
    open_console(sys.stdout).print(table)
    print("\nlrsearch schedules NAME shows one. Your own: schedule: {class_path: my_module.decay}")


def _default(value: Any) -> Any:
    """A parameter's default as JSON, the text `required` where there is none."""
    from lrsearch.catalogue import REQUIRED

    if value is REQUIRED:
        return "required"
    return list(value) if isinstance(value, tuple) else value


def _print_one(
    name: str,
    schedule: dict[str, Any],
    warmup: dict[str, Any] | None,
    values: list[float],
    width: int | None,
) -> None:
    from rich.table import Table
    from rich.text import Text

    from lrsearch.catalogue import SCHEDULES, WARMUP
    from lrsearch.reports.curves import plot
    from lrsearch.reports.tables import open_console
    from lrsearch.reports.text import format_value

    entry = SCHEDULES[name]
    console = open_console(sys.stdout)
    console.print(Text(f"{name}: {entry.doc}"))
    if entry.source:
        console.print(Text(f"from {entry.source}"))
    rows = [(key, schedule[key], part) for key, part in entry.parameters.items()]
    if warmup:
        rows += [(f"warmup.{key}", warmup[key], part) for key, part in WARMUP.items()]
    if rows:
        table = Table(box=None, pad_edge=False)
        for head in ("argument", "value", "takes", "worth searching"):
            table.add_column(head, overflow="fold")
        for key, value, part in rows:
            takes = part.allowed() + (f"; {part.doc}" if part.doc else "")
            table.add_row(*map(Text, (key, format_value(value), takes, part.search)))
        console.print()
        console.print(table)
    print()
    columns = width or min(console.width - 12, 72)
    ends = "0", f"{len(values):,} steps"
    print(plot(values, width=columns, height=10, low=0.0, ends=ends, encoding=sys.stdout.encoding))
    print(f"\nfirst {format_value(values[0])}, last {format_value(values[-1])}, times train.lr")
    if name == "plateau":
        print("until the metric no longer improves: from then on its evaluations decide")
