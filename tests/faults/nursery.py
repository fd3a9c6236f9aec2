"""A process that has imported all that lrsearch needs, and forks a command line of it on demand.

`python nursery.py SOCKET`, started by `driving`: what a fresh interpreter spends on imports, a fork
has already. Beyond that it is `lrsearch ARGUMENT...` as users run it. Where `shim.c` is loaded, a
fork is armed with it. The nursery ends with its stdin. What `forking` asks for is a child of the
process that asks; a command line then has a nursery of its own for its workers.
"""

from __future__ import annotations

import atexit
import ctypes
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
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType

import forking
import numpy as np
import torch

from lrsearch.__main__ import main

AHEAD = (
    *("optuna", "pydantic"),
    "torch._dynamo",  # What torch.optim imports when it is first used.
    *("lrsearch.analysis.requirement", "lrsearch.cli.output", "lrsearch.cli.stored"),
    *("lrsearch.executors.inline", "lrsearch.reports.live", "lrsearch.reports.tables"),
    *("lrsearch.search.bayes", "lrsearch.spec.statics", "lrsearch.train.engines.cohort"),
    *(
        "lrsearch.outside.commands",
        "lrsearch.train.preparing.prepare",
        "lrsearch.train.engines.probe",
    ),
    *("lrsearch.tuner.loop", "lrsearch.tuner.preparing"),
)
"""What is imported before the first fork."""


PLACES = [place for place in sys.path[1:] if place != os.environ["PYTHONPATH"]]
PLACES.append(os.environ["PYTHONPATH"])
"""Where modules are found, but for this file's folder; lrsearch last, as an installation has it."""


def begin(path: str) -> Callable[[], int]:
    """Import all that forks need, and serve."""
    # Whoever is the first to ask may block or ignore some for the moment.
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    _take_signals()
    torch.set_num_threads(1)
    for name in AHEAD:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()  # No fork goes through all modules again.
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
            if _attend(connection):
                return _run
            os._exit(0)
        connection.close()


def _attend(connection: socket.socket) -> bool:
    """Begin what the connection asks for, and tell its process id and how it ended. True in the
    process that is to become it."""
    asked = json.loads(connection.makefile().readline())
    child = os.fork()
    if child == 0:
        connection.close()
        _become(asked)
        return True
    connection.sendall(b"%d\n" % child)
    _, status = os.waitpid(child, 0)
    connection.sendall(b"%d\n" % os.waitstatus_to_exitcode(status))
    return False


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
    os.chdir(asked["folder"])
    os.environ.clear()
    os.environ.update(asked["environment"])
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
    return partial(_run_module, found[0])


ENDING = (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


def _take_signals() -> None:
    """Handle those that end a process as Python does when it starts."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in ENDING:
        signal.signal(number, signal.SIG_DFL)


def _begin_streams() -> None:
    """Open the streams of Python, as it does when it starts."""
    encoding, errors = sys.stdout.encoding, sys.stdout.errors
    sys.stdin = open(0, encoding=encoding, errors=errors, closefd=False)  # noqa: SIM115
    sys.stdout = open(1, "w", encoding=encoding, errors=errors, closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", 1, encoding, "backslashreplace", closefd=False)  # noqa: SIM115


def _run_module(name: str) -> int:
    """Run a module like `python -m`; its exit code."""
    if name != forking.WORKER:
        # What workers are forked from has seen nothing of the command line.
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
            return serve(server)()
        server.close()
        os.close(waiting)
        forking.source = forking.Source(lambda: address)
        subprocess.Popen = forking.Forking
    sys.modules.pop("lrsearch.__main__", None)
    sys.modules["__main__"] = ModuleType("__main__")
    return _end_of(partial(runpy._run_module_as_main, name))


def _become(asked: dict) -> None:
    os.setsid()
    os.chdir(asked["folder"])
    os.environ.pop("LD_PRELOAD", None)
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
sys.stdout.flush()
sys.stderr.flush()
os._exit(code)
