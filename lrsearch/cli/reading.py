"""The commands that read a run: report, export, repair."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lrsearch.cli import options
from lrsearch.cli.closing import print_exactly, say, write_file
from lrsearch.cli.foreign import RAW
from lrsearch.cli.showing import show_list
from lrsearch.errors import UsageError
from lrsearch.terminal import command_line, path_word, quote, visible_line

if TYPE_CHECKING:
    from lrsearch.cli.stored import StoredRun, Unsearched
    from lrsearch.reports.view import RunView, TrialView

Where = Annotated[
    str | None,
    options.unset(
        "--where",
        "CONDITIONS",
        'Only the points that meet them: "schedule == cosine and lr > 1e-3".',
    ),
]

Sort = Annotated[
    str | None,
    options.unset(
        "--sort", "NAME", "Points by a parameter, the metric or seconds; -NAME for falling ones."
    ),
]


Csv = Annotated[
    bool,
    typer.Option(
        "--csv",
        help="Print the points as CSV, safe to open in a spreadsheet; --csv raw leaves every "
        "text as it is, for programs.",
    ),
]
Raw = Annotated[bool, typer.Option(RAW, hidden=True, help="As --csv raw.")]
Markdown = Annotated[bool, typer.Option("--markdown", help="Print the points as a Markdown table.")]
One = Annotated[
    str | None,
    options.unset(
        "--trial", "N", "Show all that is known of one trial: its curve, why it failed, its output."
    ),
]


@dataclass(frozen=True)
class _Form:
    """The form that a run is shown in, by the options of `report`."""

    json: bool
    csv: bool
    raw: bool
    markdown: bool
    all_: bool
    where: str | None
    sort: str | None


def report(
    target: options.Target = None,
    runs: options.Runs = options.USUAL_RUNS,
    json: options.Json = False,
    csv: Csv = False,
    raw: Raw = False,
    markdown: Markdown = False,
    html: options.Html = None,
    all_: options.All = False,
    where: Where = None,
    sort: Sort = None,
    trial: One = None,
    require: options.Require = None,
    baseline: options.Baseline = None,
    junit: options.Junit = None,
) -> None:
    """Show what a run has measured, also while it is running."""
    from lrsearch.cli.one_trial import find_number, view_trial
    from lrsearch.cli.stored import Unsearched, open_stored, open_to_report, view_run

    csv = csv or raw
    if json + csv + markdown + (html is not None) > 1:
        raise UsageError("--json, --csv, --markdown and --html exclude each other")
    _check_choice(where or sort, json or markdown or html is not None)
    if trial is not None:
        other = csv or markdown or html is not None or require or junit is not None
        if other or all_ or where or sort:
            raise UsageError(
                "it is shown as text, or as --json",
                where="--trial",
                hint="leave --csv, --markdown, --html, --all, --where, --sort, --require and "
                "--junit out",
            )
        number = find_number(trial, lambda: open_stored(target, runs))
        _show_trial(view_trial(open_stored(target, runs), number), json)
        return
    if junit is not None:
        from lrsearch.cli.output import check_junit

        check_junit(junit)
    checking = bool(require or baseline or junit)
    run = open_stored(target, runs) if csv or checking else open_to_report(target, runs)
    if html is not None:
        from lrsearch.cli.paging import write_report

        write_report(run, html)
    elif isinstance(run, Unsearched):
        _show_ranges(run, json=json, markdown=markdown)
    if isinstance(run, Unsearched):
        return
    form = _Form(json, csv, raw, markdown, all_, where, sort) if html is None else None
    if checking:
        _check_run(run, runs, form, require, baseline, junit)
    elif form is not None:
        _show_run(view_run(run), form)


def _check_run(
    run: StoredRun,
    runs: Path,
    form: _Form | None,
    require: Sequence[str] | None,
    baseline: str | None,
    junit: Path | None,
) -> None:
    """Show a run, where a form is given, and hold it against requirements."""
    from lrsearch.cli.comparing import tell_apart
    from lrsearch.cli.output import check_requirements, meet, read_requirements, write_junit
    from lrsearch.cli.stored import view_run

    requirements = read_requirements(require, None, baseline, runs)
    view = view_run(run)
    if view.best is not None:
        check_requirements(view, requirements)  # A slip in one is told before anything is shown.
    if form is not None:
        _show_run(view, form)
    if junit is not None:
        write_junit(view, requirements, junit)
    if baseline is not None:
        tell_apart(run.folder, baseline, runs)
    if requirements:
        meet(view, requirements)


def _show_run(view: RunView, form: _Form) -> None:
    from lrsearch.reports.choosing import choose

    chosen = choose(view, form.where, form.sort)
    if form.json or form.csv or form.markdown:
        from lrsearch.reports import machine

        if form.json:
            text = machine.to_json(view)
        else:
            listed = replace(view, points=chosen.points) if chosen else view
            text = machine.to_csv(listed, raw=form.raw) if form.csv else machine.to_markdown(view)
        print_exactly(text if text.endswith("\n") else text + "\n")
        return
    from lrsearch.reports.tables import open_console, result

    open_console(sys.stdout).print(result(view, all_rows=form.all_, chosen=chosen))


def _check_choice(chosen: str | None, other: bool) -> None:
    """Raises UsageError where points are chosen for a form that has all of them."""
    if chosen and other:
        raise UsageError(
            "--where and --sort are for the table and --csv: other forms have every point"
        )


def _show_ranges(run: Unsearched, *, json: bool, markdown: bool) -> None:
    from lrsearch.reports import machine

    if json:
        print_exactly(machine.unsearched_json(run.name, run.ranges) + "\n")
        return
    if markdown:
        print_exactly(machine.ranges_markdown(run.name, run.ranges))
        return
    from lrsearch.reports.range_pages import range_page
    from lrsearch.reports.tables import open_console

    open_console(sys.stdout).print(range_page(run.name, run.ranges))


def list_(
    runs: options.Runs = options.USUAL_RUNS,
    json: options.Json = False,
) -> None:
    """List the runs in a folder, the one written last first."""
    show_list(runs, json=json)


def _show_trial(view: TrialView, json: bool) -> None:
    if json:
        from lrsearch.reports.machine import trial_json

        sys.stdout.write(trial_json(view) + "\n")
        return
    from lrsearch.reports.tables import open_console
    from lrsearch.reports.trials import trial_page

    open_console(sys.stdout).print(trial_page(view))


def export(
    target: options.Target = None,
    runs: options.Runs = options.USUAL_RUNS,
    point: Annotated[
        int | None,
        typer.Option(
            "--point", min=1, help="Another point than the recommended one.", show_default=False
        ),
    ] = None,
    best: Annotated[
        bool,
        typer.Option(
            "--best", help="The point of the best value, also where another one is recommended."
        ),
    ] = False,
    format_: options.Format = "yaml",
    table: options.Table = None,
    name: Annotated[
        str | None,
        typer.Option("--name", help="The new spec's name. Default: the run's with -best."),
    ] = None,
    output: options.Output = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file.")] = False,
    verify: Annotated[
        bool,
        typer.Option(
            "--verify",
            help="Train the point again, alone, and compare; exit with 3 where it differs.",
        ),
    ] = False,
    workers: options.Workers = None,
    device: options.Device = "auto",
    allow_import: options.AllowImport = None,
    allow_command: options.AllowCommand = False,
) -> None:
    """Write the recommended point as a spec or as code, or the whole run for another tool."""
    from lrsearch.cli.exporting import Asked, check_format, check_name, export_run, export_text
    from lrsearch.cli.stored import open_stored, view_run

    asked = Asked(format_, output, name or "", table or "", force, verify)
    if check_format(asked, one=point is not None or best):
        export_run(target, runs, asked)
        return

    check_name(asked)
    run = open_stored(target, runs)
    view = view_run(run)
    point = _choose_point(run, view, point, best)
    if format_ == "yaml":
        text = export_text(run, view, point, name)
    else:
        from lrsearch.cli.paging import setting_of
        from lrsearch.reports.code import write_code

        text = write_code(format_, setting_of(run, view, point))
    if output is None:
        print_exactly(text, "--output FILE writes it as UTF-8")
    else:
        written = f"{visible_line(str(output))}, point {point} of run {visible_line(run.name)}"
        _write(text, output, force, written, spec=format_ == "yaml")
    if verify:
        from lrsearch.cli.verifying import check_point

        check_point(
            run,
            point,
            device=device,
            workers=workers,
            allow_import=allow_import,
            allow_command=allow_command,
        )


def _choose_point(run: StoredRun, view: RunView, point: int | None, best: bool) -> int:
    """The point that is asked for. Raises UsageError where there is none such."""
    if point is None:
        if view.best is None or view.answer is None:
            raise UsageError(f"{run.folder} has no completed point to export")
        return (view.answer.highest if best else view.answer.recommended).point
    if best:
        raise UsageError("--point and --best exclude each other")
    numbers = {entry.number for entry in run.ledger.entries.values()}
    if point not in numbers:
        raise UsageError(
            f"no point {point}: the run has points 1 to {len(numbers)}", where="--point"
        )
    return point


def _write(text: str, output: Path, force: bool, written: str, *, spec: bool) -> None:
    """Write a file, and say what was `written`; of a spec, how it is trained."""
    from lrsearch.spec import needed_imports, read_spec

    try:
        write_file(output, text.encode(), new=not force)
    except FileExistsError:
        if output.is_dir():
            inside = quote(path_word(output / "best.yaml"))
            told = f"{output} is a folder"
            raise UsageError(told, where="--output", hint=f"write --output {inside}") from None
        raise UsageError(f"{output} exists already", hint="--force overwrites it") from None
    except OSError as error:
        missing = not output.parent.is_dir()
        hint = f"make its folder first: mkdir -p {quote(path_word(output.parent))}"
        told = f"cannot write {output}: {error.strerror}"
        raise UsageError(told, hint=hint if missing else "") from None
    if not spec:
        say(f"wrote {written}")
        return
    following = ["lrsearch", "grid", path_word(output)]
    best = read_spec(output)
    for module in needed_imports(best):
        following += ["--allow-import", module]
    if best.kind == "command":
        following += ["--allow-command"]
    say(f"wrote {written}; train it with: {command_line(following)}")


MOST_NAMED = 20
"""Damaged lines whose numbers are printed."""


def repair(
    target: Annotated[str, typer.Argument(metavar="RUN", help="A run's folder, name or spec.")],
    runs: options.Runs = options.USUAL_RUNS,
) -> None:
    """Make a run with damaged journal lines usable again; the damaged journal is kept beside it."""
    from lrsearch.cli.targets import find_run
    from lrsearch.reports.text import count
    from lrsearch.store import repair as repair_run

    folder = find_run(target, runs)
    done, shown = repair_run(folder), visible_line(str(folder))
    if done.begun:
        print(f"{shown}: the journal was missing, and an empty one is begun")
        return
    if done.restored:
        print(f"{shown}: run.json was damaged or missing, and is written anew")
        if done.copy is None:
            return
    if done.copy is None:
        print(f"{shown} is sound: nothing to repair")
        return
    lost = "nothing dropped"
    if done.dropped:
        named = ", ".join(map(str, done.dropped[:MOST_NAMED]))
        more = ", ..." if done.dropped[MOST_NAMED:] else ""
        lost = f"{count(len(done.dropped), 'line')} not or not wholly ({named}{more})"
    print(f"{shown}: {count(done.kept, 'sound line')} kept, {lost}")
    print(f"the damaged journal is kept as {visible_line(str(done.copy))}")
