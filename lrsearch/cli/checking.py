"""`lrsearch check` and `lrsearch show`: a spec read back, without training anything."""

from __future__ import annotations

import sys
from dataclasses import asdict
from json import dumps
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lrsearch.cli import options
from lrsearch.cli.foreign import check_device
from lrsearch.errors import DataErrors, Fault, LrsearchError, SpecError
from lrsearch.terminal import visible_line

if TYPE_CHECKING:
    from lrsearch.spec import Spec
    from lrsearch.trial import Facts
    from lrsearch.tuner.foreseeing import Sharing

MOST_STEPS = 2000
"""Steps a curve is drawn from at most: far more than a terminal has columns."""


def check(
    config: options.Config,
    set_: options.Set = None,
    deep: Annotated[
        bool,
        typer.Option(
            "--deep",
            help="Load the data, import the code and build the model, as a search does first.",
        ),
    ] = False,
    device: options.Device = "auto",
    allow_import: options.AllowImport = None,
    allow_command: options.AllowCommand = False,
    json: options.Json = False,
) -> None:
    """Find every fault of a spec, or say ok and read it back. Nothing is trained."""
    from lrsearch.cli.consent import allow_command as check_command
    from lrsearch.cli.consent import allowed_imports, describe_missing, read_modules
    from lrsearch.cli.looking import read_and_look
    from lrsearch.reports.text import fill, one_line
    from lrsearch.spec.statics import unlooked
    from lrsearch.spec.summary import describe
    from lrsearch.spec.unusual import unusual_trials

    facts: Facts | None = None
    try:
        check_device(device)
        spec = read_and_look(config, set_ or ())
        # Code is imported by --deep alone; what else may be allowed is looked at for slips.
        allowed = allowed_imports(spec, allow_import) if deep else read_modules(allow_import)
        if allow_command:  # What it allows is not needed: no command is run here.
            check_command(spec, allow_command)
        if deep:
            facts = _load(spec, device, allowed, quiet=json)
        first = _foresee(spec)
    except LrsearchError as error:
        if not json:
            raise
        _print_faults(error)
        raise typer.Exit(error.exit_code) from None
    left = [] if deep else unlooked(spec)
    notes = [*spec.notes, *unusual_trials(spec, "grid", "random", "bayes")]
    notes += facts.notes if facts is not None else ()
    notes += describe_missing(spec, allowed, allow_command)
    described = describe(spec, facts.task if facts is not None else None)
    if json:
        summary: dict[str, Any] = {"name": spec.name, "summary": described, "notes": notes}
        summary["unlooked"] = left
        summary["first"] = first
        if facts is not None:
            summary["facts"] = {name: getattr(facts, name) for name in _FACTS}
        print(dumps({"format": 1, "ok": True, **summary, "faults": []}))
        return
    print("ok")
    print(fill(described))
    if first:
        print(fill(". ".join(first) + "."))
    if facts is not None:
        from lrsearch.cli.planning import describe_facts

        print("\n".join(f"  {visible_line(line)}" for line in describe_facts(spec, facts)))
    for note in notes:
        print(f"note: {one_line(note)}")
    if left:
        print(fill(f"Not looked at: {', '.join(left)}. check --deep does, and trains nothing."))


def _foresee(spec: Spec) -> list[str]:
    """Sentences on the range tests that a search makes before its first trial, and on the steps
    that its trials have in common."""
    from lrsearch.space import automatic
    from lrsearch.tuner.foreseeing import foresee_sharing

    if not automatic(spec.space):
        sharing = foresee_sharing(spec)
        return [] if sharing is None else [describe_sharing(spec, sharing)]
    from lrsearch.store import History
    from lrsearch.tuner.finding import foresee, look_up
    from lrsearch.tuner.ledger import Content

    return foresee(spec, look_up(spec, Content(spec.task or "", "", {}), History()).tests)


def describe_sharing(spec: Spec, sharing: Sharing) -> str:
    """A sentence on the epochs that a grid is worth, trains and shares, in the words of a report's
    cost."""
    from lrsearch import catalogue
    from lrsearch.reports.text import count, tell_epochs

    of = "" if spec.trials_per_point == 1 else " of a seed" if not spec.folds else " of a fold"
    early = "" if spec.prune["name"] == "none" else ", less what ends early"
    if spec.prune["name"] not in ("none", catalogue.PRUNE):
        early += "; fewer are shared where points wait for each other at rungs"
    told = tell_epochs(sharing.epochs, sharing.shared)
    trials = count(sharing.trials, "trial")
    return f"The grid{of} is {trials}, {told}: steps in common are trained once{early}"


_FACTS = (
    *("task", "train_samples", "validation_samples", "test_samples", "input_shape", "outputs"),
    *("parameters", "device", "device_name"),
)


def _load(spec: Spec, device: str, allowed: tuple[str, ...], *, quiet: bool) -> Facts:
    """Facts a search knows before its first trial, from one worker."""
    from lrsearch.cli.executors import first_words, make_executor
    from lrsearch.reports.live import Progress
    from lrsearch.trial import Workplace
    from lrsearch.tuner.preparing import prepare

    with Progress(quiet=quiet) as progress, make_executor("local", 1, device) as place:
        progress.note(first_words(spec, place))
        return prepare(spec, place, Workplace(device, str(spec.folder), allowed))


def _print_faults(error: LrsearchError) -> None:
    errors = error.errors if isinstance(error, DataErrors) else [error]
    faults = (
        [asdict(fault) for fault in error.faults]
        if isinstance(error, SpecError)
        else [asdict(Fault(0, "", each.message, each.where, each.hint)) for each in errors]
    )
    print(dumps({"format": 1, "ok": False, "faults": faults}))


def show(
    config: options.Config,
    set_: options.Set = None,
    json: options.Json = False,
    width: options.Width = None,
) -> None:
    """Show the space a spec searches, and draw the curve of each schedule."""
    from lrsearch.spec import read_spec

    spec = read_spec(config, set_ or ())
    curves = _curves(spec) if spec.kind is None else []
    if json:
        _print_json(spec, curves)
        return
    from rich.table import Table
    from rich.text import Text

    from lrsearch.reports.curves import plot
    from lrsearch.reports.tables import open_console
    from lrsearch.reports.text import fill, one_line
    from lrsearch.space import Choice, parameters
    from lrsearch.spec.summary import describe_dimension, describe_times

    console = open_console(sys.stdout)
    table = Table(box=None, pad_edge=False)
    for head in ("parameter", "kind", "values"):
        table.add_column(head, overflow="fold")
    for name, dimension in parameters(spec.space):
        kind = "choice" if isinstance(dimension, Choice) else type(dimension).__name__.lower()
        described = (one_line(name), kind, visible_line(describe_dimension(dimension)))
        table.add_row(*map(Text, described))
    if spec.space:
        console.print(table)
    else:
        console.print("nothing is searched: one point")
    for sentence in describe_times(spec):
        print(f"{sentence}.")
    columns = width or min(console.width - 12, 72)
    for title, values in curves:
        print()
        print(fill(visible_line(title)))
        if not values:
            print("known in training")
            continue
        print(plot(values, width=columns, height=8, low=0.0, encoding=sys.stdout.encoding))


def _curves(spec: Any) -> list[tuple[str, list[float]]]:
    """Title and multipliers of the spec's schedules: the fixed one, or each option at the lowest
    and highest of its ranges."""
    from lrsearch import catalogue, schedules
    from lrsearch.reports.text import format_params
    from lrsearch.spec.model import resolve, steps_of
    from lrsearch.spec.summary import first_point, schedule_points

    samples = max(spec.train_samples) if spec.train_samples else 1000
    batch_note = "" if spec.train_samples else ", drawn for 1,000 samples"
    found: list[tuple[str, list[float]]] = []
    for point in schedule_points(spec.space, first_point(spec.space)):
        config = resolve(spec, point, spec.task)
        train = config["train"]
        steps = steps_of(config, samples)
        schedule, warmup = train["schedule"], train["warmup"]
        given = catalogue.arguments_of(schedule)
        arguments = {key: part for key, part in given.items() if part is not None}
        title = catalogue.name_of(schedule)
        title += "  " + format_params(arguments) if arguments else ""
        title += f"  after a warmup of {warmup['for']}" if warmup else ""
        title += f"  ({steps:,} steps of batch {train['batch_size']}{batch_note})"
        if "class_path" in schedule:  # Code that only a command that trains may run.
            found.append((title, []))
            continue
        try:
            values = schedules.multipliers(
                schedule,
                warmup,
                budget=steps,
                samples=samples,
                batch_size=train["batch_size"],
                steps=_drawn(steps),
            )
        except schedules.ScheduleError as error:
            if not spec.train_samples:  # Of more samples it may fit.
                found.append((f"{title}: {error}", []))
                continue
            head = "" if error.argument.startswith("warmup") else "schedule."
            raise SpecError([Fault(0, head + error.argument, str(error), spec.source)]) from None
        found.append((title, [float(value) for value in values]))
    return found


def _drawn(budget: int) -> Any:
    """The steps a curve is drawn from: all, or `MOST_STEPS` of them evenly."""
    import numpy as np

    if budget <= MOST_STEPS:
        return np.arange(budget, dtype=np.float64)
    return np.round(np.linspace(0, budget - 1, MOST_STEPS))


def _print_json(spec: Any, curves: list[tuple[str, list[float]]]) -> None:
    from lrsearch.space import Choice, Float, parameters

    listed = []
    for name, dimension in parameters(spec.space):
        if isinstance(dimension, Choice):
            values: dict[str, Any] = {"choice": dimension.values}
        else:
            auto = isinstance(dimension, Float) and dimension.auto
            values = {
                "min": None if auto else dimension.low,
                "max": None if auto else dimension.high,
                "auto": auto,
                "scale": "log" if dimension.log else "linear",
                "points": dimension.points,
                "unit": getattr(dimension, "unit", "") or None,
            }
        listed.append({"name": name, **values})
    drawn = [{"title": title, "multipliers": values or None} for title, values in curves]
    times = {"timeout": spec.timeout, "save": spec.save}
    shown = {"name": spec.name, "parameters": listed, "schedules": drawn, **times}
    print(dumps({"format": 1, **shown}))
