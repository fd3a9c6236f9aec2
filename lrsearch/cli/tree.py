"""The commands as Typer knows them, each loaded where it is asked for."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from importlib import import_module
from typing import Annotated, Any

import typer

from lrsearch import __version__
from lrsearch.cli import foreign
from lrsearch.cli.closing import call
from lrsearch.cli.foreign import Command, Group, Report

COMMANDS = {
    "init": "starting.init",
    "check": "checking.check",
    "show": "checking.show",
    "schedules": "schedules.schedules",
    "range": "ranging.range_",
    **dict.fromkeys(("grid", "random", "bayes", "refine"), "searching.make_command"),
    "confirm": "confirming.confirm",
    "report": "reading.report",
    "list": "reading.list_",
    "compare": "comparing.compare",
    "serve": "serving.serve",
    "export": "reading.export",
    "repair": "reading.repair",
}
"""The module and the function of each command, in the order of the help."""

_TRAINING = {
    "grid": "Train every point of the spec's grid, coarse to fine.",
    "random": "Train points drawn at random, log-uniformly on log scales (or a Sobol sequence).",
    "bayes": "Train points proposed by TPE or a Gaussian process, which learn from every trial.",
    "refine": "Train what narrows down the best rate of a search, or lies beyond its edge.",
}


def make_app(names: Iterable[str] = tuple(COMMANDS)) -> typer.Typer:
    """The command line with some of its commands; the modules of others are not imported."""
    app = typer.Typer(
        cls=Group,
        name="lrsearch",
        help="Which learning rate, batch size and schedule should I train with?",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_common)
    for name in names:
        module, function = COMMANDS[name].split(".")
        command = getattr(import_module(f"lrsearch.cli.{module}"), function)
        if name in _TRAINING:
            command = command(name)
        kind = Report if name == "report" else Command
        app.command(name, help=_TRAINING.get(name), cls=kind)(_guarded(command))
    return app


foreign.whole = make_app


def _guarded(command: Callable[..., None]) -> Callable[..., None]:
    """The command, ended with the exit code of `call`."""

    @functools.wraps(command)
    def run(*args: Any, **kwargs: Any) -> None:
        if code := call(functools.partial(command, *args, **kwargs)):
            raise typer.Exit(code)

    return run


def _version(wanted: bool) -> None:
    if wanted:
        print(f"lrsearch {__version__}")
        raise typer.Exit


def _common(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass
