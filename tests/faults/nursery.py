"""A process that has imported all that lrsearch needs, and forks a command line of it on demand.

`python nursery.py SOCKET`, started by `driving`: what a fresh interpreter spends on imports, a fork
has already. Beyond that it is `lrsearch ARGUMENT...` as users run it. Where `shim.c` is loaded, a
fork is armed with it. The nursery ends with its stdin.
"""

from __future__ import annotations

import atexit
import ctypes
import gc
import importlib
import json
import os
import select
import signal
import socket
import sys
import threading

import torch

from lrsearch.__main__ import main

AHEAD = (
    *("optuna", "pydantic", "sklearn.datasets.data", "sklearn.datasets.descr", "sklearn.metrics"),
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


def serve(path: str) -> None:
    """Fork for each connection; the forks of forks return, and are command lines."""
    torch.set_num_threads(1)
    for name in AHEAD:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()  # No fork goes through all modules again.
    server = socket.socket(socket.AF_UNIX)
    server.bind(path)
    server.listen(64)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    print("ready", flush=True)
    while True:
        ready, _, _ = select.select([server, 0], [], [])
        if 0 in ready:
            os._exit(0)
        connection, _ = server.accept()
        if os.fork() == 0:
            server.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            if _attend(connection):
                return
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
    try:
        main()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(bool(end.code))
    except BaseException:
        sys.excepthook(*sys.exc_info())
        return 1
    return 0


serve(sys.argv[1])
code = _run()
# As an interpreter ends, but that it does not take its modules apart, which takes longer than all
# that comes before.
threading._shutdown()
atexit._run_exitfuncs()
sys.stdout.flush()
sys.stderr.flush()
os._exit(code)
