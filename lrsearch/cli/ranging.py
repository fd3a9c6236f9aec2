"""`lrsearch range`: which rates are worth searching, by a short sweep of each structure."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lrsearch.cli import options, searching
from lrsearch.cli.closing import ignore_closed_stdout, say
from lrsearch.cli.executors import first_words, make_executor, suit
from lrsearch.cli.foreign import check_device
from lrsearch.cli.interruptible import Interruptible
from lrsearch.errors import UsageError
from lrsearch.sweeps import HIGHEST, LOWEST, RATES, SEEDS, STEPS, make_rates, share_steps
from lrsearch.terminal import command_line, short, visible_line

if TYPE_CHECKING:
    from lrsearch.reports.live import Progress
    from lrsearch.reports.ranges import RangeView
    from lrsearch.spec import Spec
    from lrsearch.trial import Facts, Workplace
    from lrsearch.tuner.ranging import Manner, Structure

LEAST = 36
"""Steps of a sweep, at least: four rates a decade."""

LEAST_SPAN = 100.0
"""The highest rate over the lowest, at least."""

Lanes = Annotated[
    int | None,
    options.unset(
        "--lanes", "N", "At most so many seeds side by side in one program. Default: all.", min=1
    ),
]


def range_(
    context: typer.Context,
    config: options.Config,
    set_: options.Set = None,
    seeds: Annotated[
        int, typer.Option("--seeds", min=1, metavar="N", help="Seeds, whose median counts.")
    ] = SEEDS,
    steps: Annotated[
        int, typer.Option("--steps", min=LEAST, metavar="N", help="Steps of a seed's sweep.")
    ] = RATES * STEPS,
    low: Annotated[
        float, typer.Option("--min", metavar="RATE", help="The rate it begins with.")
    ] = LOWEST,
    high: Annotated[
        float, typer.Option("--max", metavar="RATE", help="The rate it ends with.")
    ] = HIGHEST,
    runs: options.Runs = options.USUAL_RUNS,
    workers: options.Workers = None,
    device: options.Device = "auto",
    executor: searching.ExecutorName = "local",
    engine: searching.Engine = "auto",
    lanes: Lanes = None,
    allow_import: options.AllowImport = None,
    allow_command: Annotated[
        bool,
        typer.Option(
            "--allow-command", hidden=True, help="Taken, and of no use: a command is refused."
        ),
    ] = False,
    dry_run: searching.DryRun = False,
    quiet: searching.Quiet = False,
    json: options.Json = False,
) -> None:
    """Find which learning rates are worth searching: a short training whose rate rises."""
    arguments = dict(locals())
    from lrsearch.cli import consent
    from lrsearch.cli.looking import read_and_look
    from lrsearch.reports.live import Progress
    from lrsearch.trial import Workplace
    from lrsearch.tuner.ranging import Manner

    searching.check_engine(engine, lanes)
    check_device(device)
    _check_rates(low, high)
    spec = read_and_look(config, set_ or [])
    _refuse_outside(spec)
    count, each = share_steps(steps)
    manner = Manner(make_rates(low, high, count), each, seeds, engine, lanes)
    allowed = consent.allowed_imports(spec, allow_import)
    searching.check_free(runs / spec.name, config)
    progress = Progress(quiet=quiet)
    for note in spec.notes:
        progress.note(f"note: {note}")
    if count * each != steps and spec.kind is None:
        progress.note(f"--steps {steps}: it trains {count * each}, {each} at each of {count} rates")
    place = _Place(runs, workers, executor, Workplace(device, str(spec.folder), allowed), dry_run)
    with Interruptible(), progress:
        try:
            views = _measure(spec, manner, place, progress)
        except KeyboardInterrupt:
            progress.close()
            again = command_line(searching.repeated("range", arguments, context))
            say(f"interrupted: every finished range test is kept; go on with\n  {again}")
            raise typer.Exit(130) from None
    if dry_run:
        return
    with ignore_closed_stdout():
        _show(spec.name, views, json)
    if views and all(view.fault for view in views):
        raise typer.Exit(1)


def _check_rates(low: float, high: float) -> None:
    """Raises UsageError for rates that a sweep cannot run between."""
    for name, rate in (("--min", low), ("--max", high)):
        if not 0.0 < rate < math.inf:
            usual = LOWEST if name == "--min" else HIGHEST
            what = f"a rate is a number above 0, not {short(rate)}"
            hint = f"write {name} {short(usual)}; for example"
            raise UsageError(what, where=name, hint=hint)
    if low * LEAST_SPAN > high * (1 + 1e-9):
        least = min(low, high)
        most = max(low, high, least * LEAST_SPAN)
        raise UsageError(
            f"from {short(low)} to {short(high)} is no range to look for a descent and a rise in",
            where="--max",
            hint=f"a sweep covers two decades at least: --min {short(least)} --max {short(most)}",
        )


def _refuse_outside(spec: Spec) -> None:
    """Raises UsageError for a training whose rate nobody here sets."""
    if spec.kind == "command":
        raise UsageError(
            "a command sets its rates itself, and a range test has to, step by step: only a loop "
            "can take part, which asks trial.lr_at",
            where=f"{spec.source}: command",
            hint="search a wide range instead, such as lr: {min: 1e-5, max: 1.0, points: 6}",
        )


@dataclass(frozen=True)
class _Place:
    """The place where range tests are made and kept."""

    runs: Path
    workers: int | None
    executor: str
    workplace: Workplace
    dry: bool


def _measure(spec: Spec, manner: Manner, place: _Place, progress: Progress) -> list[RangeView]:
    """Make the range tests that the run has not yet; all of the spec's. None for a dry run."""
    from lrsearch.cli.telling import told
    from lrsearch.reports.ranges import read_range
    from lrsearch.reports.text import count
    from lrsearch.spec.model import settle_data
    from lrsearch.store import Run, claim, read
    from lrsearch.tuner.ledger import describe_begun, find_settled, go_on, settle
    from lrsearch.tuner.preparing import prepare
    from lrsearch.tuner.ranging import find_structures, measure
    from lrsearch.tuner.session import Means

    folder, workplace = place.runs / spec.name, place.workplace
    with ExitStack() as closing, ExitStack() as starting:
        if not place.dry:
            starting.enter_context(claim(place.runs, spec.name))
        executor = closing.enter_context(
            make_executor(place.executor, place.workers, workplace.device)
        )
        progress.start(first_words(spec, executor))
        stored = read(folder) if (folder / "run.json").exists() else None
        held = find_settled(stored) if stored is not None else {}
        facts = prepare(spec, executor, workplace, held=held, note=progress.note)
        for note in filter(None, (facts.data, *(f"note: {each}" for each in facts.notes))):
            progress.note(note)
        given = settle_data(spec, facts.settled)
        spec = given if stored is None else go_on(given, stored)
        for note in describe_begun(given, spec):
            progress.note(note)
        facts = facts if stored is None else settle(facts, stored)
        structures = find_structures(spec, facts.task)
        if place.dry:
            progress.close()
            _tell_plan(structures, manner, facts, _count_steps(spec, manner))
            return []
        if workplace.device == "auto" and place.executor == "local" and not place.workers:
            executor, device = suit(executor, closing, facts)
            workplace = replace(workplace, device=device)
        seeds, each = count(manner.seeds, "seed"), _count_steps(spec, manner)
        progress.start(f"{count(len(structures), 'range test')} of {seeds}, {each} each")
        with (
            Run.open(place.runs, spec.name, spec_text=spec.text, known=stored) as run,
            told(run.folder, progress.news),
        ):
            starting.close()
            means = Means(executor, facts, workplace, progress)
            notes = measure(spec, structures, manner, run, means)
    return [read_range(note) for note in notes]


def _count_steps(spec: Spec, manner: Manner) -> str:
    """The length of a seed's training, in words."""
    from lrsearch.reports.text import count

    if spec.kind is not None:
        return "a whole training"
    return count(len(manner.rates) * manner.steps, "step")


def _tell_plan(structures: Sequence[Structure], manner: Manner, facts: Facts, each: str) -> None:
    """Print what would be trained."""
    from lrsearch.reports.text import count, format_params

    print(
        f"range would make {count(len(structures), 'range test')} of "
        f"{count(manner.seeds, 'seed')}, {each} each, "
        f"lr {short(manner.rates[0])} to {short(manner.rates[-1])}"
    )
    for line in (f"on {facts.device_name}", facts.data):
        print(f"  {visible_line(line)}")
    for structure in structures:
        print(f"  {format_params({**structure.params, **structure.beside})}".rstrip())


def _show(name: str, views: Sequence[RangeView], json: bool) -> None:
    from lrsearch.reports.machine import ranges_json
    from lrsearch.reports.range_pages import range_page
    from lrsearch.reports.tables import open_console

    if json:
        sys.stdout.write(ranges_json(name, views) + "\n")
    elif views:
        open_console(sys.stdout).print(range_page(name, views))
