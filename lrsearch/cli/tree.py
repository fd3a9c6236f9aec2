"""The commands as Typer knows them, each loaded where it is asked for."""

from __future__ import annotations

import functools
from collections.abc import Callable, Container, Iterable
from importlib import import_module
from typing import Annotated, Any

import typer

from lrsearch import __version__
from lrsearch.cli import foreign
from lrsearch.cli.closing import call
from lrsearch.cli.foreign import Command, Group, Report

_TRAINING = "searching.make_command"

COMMANDS = {
    "init": (
        "starting.init",
        "Write a first spec to go on from, with a script where it needs one.",
    ),
    "check": (
        "checking.check",
        "Find every fault of a spec, or say ok and read it back. Nothing is trained.",
    ),
    "show": (
        "checking.show",
        "Show the space a spec searches, and draw the curve of each schedule.",
    ),
    "schedules": (
        "schedules.schedules",
        "List the schedules, or show one: its arguments, ranges worth searching, its curve.",
    ),
    "range": (
        "ranging.range_",
        "Find which learning rates are worth searching: a short training whose rate rises.",
    ),
    "grid": (_TRAINING, "Train every point of the spec's grid, coarse to fine."),
    "random": (
        _TRAINING,
        "Train points drawn at random, log-uniformly on log scales (or a Sobol sequence).",
    ),
    "bayes": (
        _TRAINING,
        "Train points proposed by TPE or a Gaussian process, which learn from every trial.",
    ),
    "refine": (
        _TRAINING,
        "Train what narrows down the best rate of a search, or lies beyond its edge.",
    ),
    "confirm": (
        _TRAINING,
        "Train the best points again, with fresh seeds and splits: does the answer hold?",
    ),
    "report": ("reading.report", "Show what a run has measured, also while it is running."),
    "list": ("reading.list_", "List the runs in a folder, the one written last first."),
    "compare": (
        "comparing.compare",
        "Show runs side by side, and which differences are more than noise.",
    ),
    "serve": ("serving.serve", "Show runs as live pages, to this machine alone, until Ctrl-C."),
    "export": (
        "reading.export",
        "Write the recommended point as a spec or as code, or the whole run for another tool.",
    ),
    "repair": (
        "reading.repair",
        "Make a run with damaged journal lines usable again; the damaged journal is kept beside "
        "it.",
    ),
}
"""The module and the function of each command, and what it does, in the order of the help."""


def make_app(
    names: Iterable[str] = tuple(COMMANDS), loaded: Container[str] = COMMANDS
) -> typer.Typer:
    """The command line with some of its commands; of those that are not `loaded` it has the help of
    the whole alone, and their modules are not imported."""
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
        place, told = COMMANDS[name]
        kind = Report if name == "report" else Command
        command = _guarded(_load(name, place)) if name in loaded else _untold
        app.command(name, help=told, cls=kind)(command)
    return app


def _load(name: str, place: str) -> Callable[..., None]:
    module, function = place.split(".")
    found: Callable[..., Any] = getattr(import_module(f"lrsearch.cli.{module}"), function)
    return found(name) if place == _TRAINING else found


def _untold() -> None:
    """Do nothing: nobody calls a command that is not loaded."""


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
