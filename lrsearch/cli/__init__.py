"""The command line: parse, call, print."""

from __future__ import annotations

import errno
import functools
from collections.abc import Callable
from typing import Annotated, Any

import typer

from lrsearch import __version__
from lrsearch.cli import checking, comparing, confirming, ranging, reading, searching, serving
from lrsearch.cli.closing import ignore_closed_stdout, outlive_readers, say
from lrsearch.cli.foreign import Command, Group
from lrsearch.cli.schedules import schedules
from lrsearch.cli.starting import init
from lrsearch.errors import LrsearchError, StorageFull

app = typer.Typer(
    cls=Group,
    name="lrsearch",
    help="Which learning rate, batch size and schedule should I train with?",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _guarded(command: Callable[..., None]) -> Callable[..., None]:
    """Call the command; an error the user caused is printed as one message and sets the exit
    code."""

    @functools.wraps(command)
    def run(*args: Any, **kwargs: Any) -> None:
        try:
            with ignore_closed_stdout():
                command(*args, **kwargs)
        except LrsearchError as error:
            say(f"error: {error}")
            raise typer.Exit(error.exit_code) from None
        except KeyboardInterrupt:
            raise typer.Exit(130) from None
        except OSError as error:
            if error.errno not in (errno.EMFILE, errno.ENFILE):
                raise
            say(
                f"error: {error.strerror}: this process may open no more of them\n  "
                "ulimit -n 1024 allows more, and --workers 1 needs fewer"
            )
            raise typer.Exit(1) from None

    return run


def run() -> int:
    """Run the command line of this process; returns its exit code."""
    outlive_readers()
    code = 0
    try:
        with ignore_closed_stdout():
            try:
                app(prog_name="lrsearch")
            except SystemExit as leaving:  # Printed text has yet to be written.
                code = leaving.code if isinstance(leaving.code, int) else int(bool(leaving.code))
    except StorageFull as error:  # Output of help, say, which belongs to no command.
        say(f"error: {error}")
        return error.exit_code
    return code


def _version(wanted: bool) -> None:
    if wanted:
        print(f"lrsearch {__version__}")
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


_TRAINING = {
    "grid": "Train every point of the spec's grid, coarse to fine.",
    "random": "Train points drawn at random, log-uniformly on log scales (or a Sobol sequence).",
    "bayes": "Train points proposed by TPE or a Gaussian process, which learn from every trial.",
    "refine": "Train what narrows down the best rate of a search, or lies beyond its edge.",
}
app.command(cls=Command)(_guarded(init))
app.command(cls=Command)(_guarded(checking.check))
app.command(cls=Command)(_guarded(checking.show))
app.command(cls=Command)(_guarded(schedules))
app.command("range", cls=Command)(_guarded(ranging.range_))
for _name, _help in _TRAINING.items():
    app.command(_name, help=_help, cls=Command)(_guarded(searching.make_command(_name)))
app.command(cls=Command)(_guarded(confirming.confirm))
app.command(cls=reading.Report)(_guarded(reading.report))
app.command("list", cls=Command)(_guarded(reading.list_))
app.command(cls=Command)(_guarded(comparing.compare))
app.command(cls=Command)(_guarded(serving.serve))
app.command(cls=Command)(_guarded(reading.export))
app.command(cls=Command)(_guarded(reading.repair))
