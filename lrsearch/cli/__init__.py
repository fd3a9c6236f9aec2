"""The command line: parse, call, print."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from lrsearch.cli.closing import call, ignore_closed_stdout, outlive_readers, say
from lrsearch.errors import StorageFull


def run() -> int:
    """Run the command line of this process; returns its exit code."""
    outlive_readers()
    if (plain := plain_command(sys.argv[1:])) is not None:
        return call(plain)
    code = 0
    try:
        with ignore_closed_stdout():
            from lrsearch.cli.tree import COMMANDS, make_app

            # Whoever asks for one command waits for no other; of any other word all are told, and
            # none is called, unless a shell asks how a command goes on.
            first = 1 + (sys.argv[1:2] == ["--"])
            named = [word for word in sys.argv[first : first + 1] if word in COMMANDS]
            loaded = COMMANDS if "_LRSEARCH_COMPLETE" in os.environ else named
            app = make_app(named or COMMANDS, loaded)
            try:
                app(prog_name="lrsearch")
            except SystemExit as leaving:  # Printed text has yet to be written.
                code = leaving.code if isinstance(leaving.code, int) else int(bool(leaving.code))
    except StorageFull as error:  # Output of help, say, which belongs to no command.
        say(f"error: {error}")
        return error.exit_code
    return code


def plain_command(words: Sequence[str]) -> Callable[[], None] | None:
    """The commands that are given most and that show something at once, `report` with at most a
    run and `list`, without the parser, which takes longer to load than most runs to be read. None
    of any other command line, and of what is no run: it may be an option without its hyphens."""
    from lrsearch.cli import showing
    from lrsearch.cli.places import USUAL_RUNS, find_runs

    runs = find_runs(os.environ.get("LRSEARCH_RUNS") or USUAL_RUNS)
    if os.path.isfile(runs):  # noqa: PTH113
        return None
    target = (*words, None)[1] if words[:1] == ["report"] and len(words) <= 2 else "-"
    if target is None or (target[:1] != "-" and _is_there(target, runs)):
        return lambda: showing.show_run(target, runs)
    return (lambda: showing.show_list(runs)) if words == ["list"] else None


def _is_there(target: str, runs: Path) -> bool:
    """Whether a run, or a spec, of that name or path is there."""
    return os.path.exists(target) or os.path.exists(runs / target)  # noqa: PTH110


def __getattr__(name: str) -> Any:
    """The whole command line, `app`, made where it is asked for."""
    if name != "app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from lrsearch.cli.tree import make_app

    return globals().setdefault("app", make_app())
