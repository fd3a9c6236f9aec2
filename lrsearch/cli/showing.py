"""The forms of `report` and `list` that are asked for without an option."""

from __future__ import annotations

import sys
from pathlib import Path

from lrsearch.cli.closing import say
from lrsearch.cli.places import USUAL_RUNS
from lrsearch.terminal import visible_line


def show_run(target: str | None, runs: Path) -> None:
    """Print the report of a run."""
    from lrsearch.cli.stored import Unsearched, open_to_report, view_run

    run = open_to_report(target, runs)
    if isinstance(run, Unsearched):
        from lrsearch.reports.range_pages import range_page
        from lrsearch.reports.tables import open_console

        open_console(sys.stdout).print(range_page(run.name, run.ranges))
        return
    view = view_run(run)
    from lrsearch.reports.tables import open_console, result

    open_console(sys.stdout).print(result(view))


def show_list(runs: Path, *, json: bool = False) -> None:
    """Print a line for each run in a folder, the one written last first."""
    from lrsearch.cli.going_on import beginning
    from lrsearch.cli.stored import list_folder
    from lrsearch.reports.listing import listing, listing_json

    new = runs == USUAL_RUNS and not runs.exists()
    lines = [] if new else list_folder(runs)
    if json:
        sys.stdout.write(listing_json(lines) + "\n")
        return
    from lrsearch.reports.tables import open_console

    if not lines:
        print(f"there are no runs in {visible_line(str(runs))}")
        if runs == USUAL_RUNS:
            say(f"  {beginning(runs)}")
        return
    open_console(sys.stdout).print(listing(lines))
