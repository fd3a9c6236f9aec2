"""A process that has imported all that lrsearch needs, and forks a command line of it on demand.

`python nursery.py SOCKET`, started by `driving`: what a fresh interpreter spends on imports, a fork
has already. Beyond that it is `lrsearch ARGUMENT...` as users run it. Where `shim.c` is loaded, a
fork is armed with it. The nursery ends with its stdin. What `forking` asks for is a child of the
process that asks; a command line then has a nursery of its own for its workers.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import functools
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable
from io import TextIOWrapper
from pathlib import Path
from types import ModuleType

gc.disable()  # All that is imported stays.

import forking  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402
import typer.main  # noqa: E402

from lrsearch.__main__ import main  # noqa: E402
from lrsearch.cli import app  # noqa: E402

AHEAD = (
    *("encodings.utf_8_sig", "numpy.ma", "optuna", "scipy.stats.qmc"),
    # What typer imports when it is run.
    *("annotated_types", "pydantic.fields", "pydantic.json_schema", "pydantic.plugin._loader"),
    *("pydantic.type_adapter", "pydantic.types", "typer._adapters", "typer._click.decorators"),
    *("faulthandler", "numpy.ctypeslib", "torch.profiler._cupti_monitor"),
    *("lrsearch.analysis.curve", "lrsearch.analysis.requirement"),
    *("lrsearch.cli.consent", "lrsearch.cli.looking", "lrsearch.cli.output", "lrsearch.cli.stored"),
    *("lrsearch.cli.telling", "lrsearch.data.imported", "lrsearch.data.sources"),
    *("lrsearch.data.splitting", "lrsearch.data.understood"),
    *("lrsearch.executors.inline", "lrsearch.executors.local", "lrsearch.outside.commands"),
    *("lrsearch.reports.live", "lrsearch.reports.tables"),
    *("lrsearch.search.bayes", "lrsearch.search.grid", "lrsearch.search.random"),
    *("lrsearch.spec.statics", "lrsearch.spec.summary"),
    *("lrsearch.train.engines.cohort", "lrsearch.train.engines.probe"),
    "lrsearch.train.preparing.prepare",
    *("lrsearch.tuner.foreseeing", "lrsearch.tuner.loop", "lrsearch.tuner.preparing"),
)
"""What is imported before the first fork. Private parts of packages need not be there: another
version may not have them."""


ROOT = str(Path(__file__).parents[2])
PLACES = [*(place for place in sys.path[1:] if place != ROOT), ROOT]
"""Where modules are found, but for this file's folder; lrsearch last, as an installation has it."""


def begin(path: str) -> Callable[[], int]:
    """Import all that forks need, and serve."""
    # Whoever is the first to ask may block or ignore some for the moment.
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    _take_signals()
    for name in HUGE:
        del os.environ[name]
    torch.set_num_threads(1)
    for name in AHEAD:
        with contextlib.suppress(*([ModuleNotFoundError] if "._" in name else [])):
            importlib.import_module(name)
    typer.main.get_command = functools.cache(typer.main.get_command)
    typer.main.get_command(app)  # All commands are made of their functions.
    # A torch that ends takes out its operators one by one, which takes longer than most commands.
    for each in [*weakref.finalize._registry]:  # type: ignore[attr-defined]
        each.atexit = False
    gc.collect()
    gc.freeze()  # No fork goes through all modules again.
    gc.enable()
    server = socket.socket(socket.AF_UNIX)
    server.bind(path)
    server.listen(64)
    print("ready", flush=True)
    return serve(server)


def serve(server: socket.socket) -> Callable[[], int]:
    """Fork for each connection. Returns in the forks of forks, with what they are to run."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        ready, _, _ = select.select([server, 0], [], [])
        if 0 in ready:
            os._exit(0)
        connection, _ = server.accept()
        if os.fork() == 0:
            server.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            if connection.recv(1, socket.MSG_PEEK) == b"+":
                return _bear(connection)
            if run := _attend(connection):
                return run
            os._exit(0)
        connection.close()


def _attend(connection: socket.socket) -> Callable[[], int] | None:
    """Begin what the connection asks for, and tell its process id and how it ended. Returns in the
    process that is to become it, and in the workers of that one, with what they are to run."""
    asked = json.loads(connection.makefile().readline())
    child = os.fork()
    if child == 0:
        connection.close()
        os.setsid()
        os.environ.pop("LD_PRELOAD", None)
        if asked["forks"] and _may_have_workers(asked["arguments"]) and (run := _nest()):
            return run
        _become(asked)
        return _run
    connection.sendall(b"%d\n" % child)
    _, status = os.waitpid(child, 0)
    connection.sendall(b"%d\n" % os.waitstatus_to_exitcode(status))
    return None


def _may_have_workers(arguments: list[str]) -> bool:
    """Whether a command line may start workers; those of any other would be fresh ones."""
    searches = arguments[:1] in WITH_WORKERS and "inline" not in arguments
    return searches or "--deep" in arguments


HUGE = ("GLIBC_TUNABLES", "PYTHONMALLOC")
"""Variables that are for this process alone, see `driving`."""

WITH_WORKERS = [[each] for each in ("grid", "random", "bayes", "refine", "confirm", "range")]


def _nest() -> Callable[[], int] | None:
    """Have the workers of this process forked by a nursery of its own, which has seen nothing of
    the command line. Returns in them, with what they are to run."""
    server = socket.socket(socket.AF_UNIX)
    address = f"\0lrsearch-{os.getpid()}"
    server.bind(address)
    server.listen(64)
    waiting, alive = os.pipe()
    if os.fork() == 0:
        for number in (signal.SIGINT, *ENDING):
            signal.signal(number, signal.SIG_IGN)
        os.dup2(waiting, 0)
        for stream in (1, 2):
            os.dup2(os.open(os.devnull, os.O_RDWR), stream)
        os.close(alive)
        return serve(server)
    server.close()
    os.close(waiting)
    forking.source = forking.Source(lambda: address)
    subprocess.Popen = forking.Forking
    return None


def _bear(connection: socket.socket) -> Callable[[], int]:
    """Leave a child to the process that the connection comes from; returns in that child."""
    _, streams, _, _ = socket.recv_fds(connection, 1, 3)
    asked = json.loads(connection.makefile().readline())
    if os.fork():
        os._exit(0)
    while os.getppid() != asked["parent"]:
        if os.getppid() == 1:
            os._exit(1)
        time.sleep(0.0005)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
    os.closerange(3, connection.fileno())
    os.closerange(connection.fileno() + 1, 65536)
    if asked["leads"]:
        os.setsid()
    forking.Before(asked["terminal"], asked["largest"])()
    os.chdir(asked["folder"])
    os.environ.clear()
    os.environ.update(asked["environment"])
    sys.dont_write_bytecode = bool(os.environ.get("PYTHONDONTWRITEBYTECODE"))
    _begin_streams()
    np.random.seed()
    found = forking.module_of(asked["words"])
    assert found is not None
    sys.modules.pop("forking", None)  # A module of that name is the user's.
    sys.orig_argv[:] = asked["words"]
    sys.argv[:] = ["-m", *found[1]]
    own = [] if "-P" in asked["words"][:2] else [str(Path.cwd())]
    given = [*filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    sys.path[:] = [*own, *given, *(place for place in PLACES if place not in given)]
    _take_signals()
    for number in asked["ignored"]:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, asked["mask"])
    connection.sendall(b"%d\n" % os.getpid())
    connection.close()
    return functools.partial(_run_module, found[0], asked["closed"])


ENDING = (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


def _take_signals() -> None:
    """Handle those that end a process as Python does when it starts."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in ENDING:
        signal.signal(number, signal.SIG_DFL)


def _begin_streams() -> None:
    """Open the streams of Python, as it does when it starts."""
    errors = sys.stdout.errors
    sys.stdin, sys.stdout = _open_stream(0, errors), _open_stream(1, errors)
    sys.stderr = _open_stream(2, "backslashreplace")


def _open_stream(number: int, errors: str | None) -> TextIOWrapper:
    direct = bool(os.environ.get("PYTHONUNBUFFERED"))
    size = 0 if direct and number else -1
    file = open(number, "wb" if number else "rb", size, closefd=False)  # noqa: SIM115
    by_line = not direct and (number == 2 or os.isatty(number))
    encoding = sys.__stdout__.encoding  # type: ignore[union-attr]
    return TextIOWrapper(file, encoding, errors, "\n", by_line, write_through=direct)


def _run_module(name: str, closed: list[int]) -> int:
    """Run a module like `python -m`, with these streams closed; its exit code."""
    if name != forking.WORKER and _may_have_workers(sys.argv[1:]) and (run := _nest()):
        return run()
    sys.modules.pop("lrsearch.__main__", None)
    sys.modules["__main__"] = ModuleType("__main__")
    forking.Before(closed=tuple(closed))()
    for number in closed:  # As Python has it where there is no such descriptor.
        setattr(sys, ("stdin", "stdout", "stderr")[number], None)
    return _end_of(functools.partial(runpy._run_module_as_main, name))


def _become(asked: dict) -> None:
    os.chdir(asked["folder"])
    os.environ.update(asked["environment"])
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    for descriptor, name in ((1, "out"), (2, "err")):
        file = os.open(asked[name], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(file, descriptor)
        os.close(file)
    # The nursery's own streams remember what kind of file they were opened on.
    sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", 1, errors="backslashreplace", closefd=False)  # noqa: SIM115
    sys.argv = ["lrsearch", *asked["arguments"]]
    for name, value in asked["settings"].items():
        module, _, constant = name.rpartition(".")
        getattr(importlib.import_module(module), constant)  # It is there.
        setattr(importlib.import_module(module), constant, value)
    if arm := asked.get("arm"):
        log = -1
        if arm["log"]:
            log = os.open(arm["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        ctypes.CDLL(None).faults_arm(
            arm["under"].encode(), arm["action"], ctypes.c_long(arm["call"]), arm["error"], log
        )


def _run() -> int:
    """Run the command line; its exit code."""
    return _end_of(main)


def _end_of(run: Callable[[], object]) -> int:
    try:
        run()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(bool(end.code))
    except BaseException:
        sys.excepthook(*sys.exc_info())
        return 1
    return 0


code = begin(sys.argv[1])()
# As an interpreter ends, but that it does not take its modules apart, which takes longer than all
# that comes before.
threading._shutdown()
atexit._run_exitfuncs()
for stream in filter(None, (sys.stdout, sys.stderr)):
    stream.flush()
os._exit(code)
