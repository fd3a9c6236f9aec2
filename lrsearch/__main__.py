"""The console script, and `python -m lrsearch`."""

from __future__ import annotations

import atexit
import contextlib
import gc
import os
import re
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

TRAINING = ("grid", "random", "bayes", "refine", "confirm", "range")
"""The commands that train."""


def main() -> None:
    """Run the command line. Ctrl-C, and the signals by which a scheduler ends a job, are handled
    from the first import on, and to the last."""
    code, taken, reading = 130, [], False
    try:
        with contextlib.suppress(ValueError):  # Called in a thread, which takes no signals.
            # An exception in the midst of an import may come out as another, or end the process.
            taken += _find_ending()
            for number in taken:
                signal.signal(number, lambda *_: os._exit(130))
            atexit.register(_ignore, taken)
            if sys.argv[1:2] and sys.argv[1] in TRAINING:
                # The end of the terminal ends no search, nor its start.
                signal.signal(signal.SIGHUP, signal.SIG_IGN)
        _fill_descriptors()
        _leave_folder()
        _settle_environment()
        # A run of many trials is millions of objects without a circle among them: looking for
        # circles after every few hundred, as Python does, takes a third of the time of reading it.
        gc.set_threshold(100_000, 50, 100)
        if reading := sys.argv[1:2] in (["report"], ["list"], ["compare"]):
            gc.disable()  # They are over before that would pay.
        from lrsearch.terminal import guard_streams

        guard_streams()
        from lrsearch.cli import run

        with contextlib.suppress(ValueError):
            for number in taken:
                signal.signal(number, signal.default_int_handler)
        code = run()
    except KeyboardInterrupt:
        pass
    with contextlib.suppress(ValueError):
        # All is done and said: what Python does at its end is of no use to who waits for it, and an
        # exception there would be shown as a fault.
        for number in taken:
            signal.signal(number, lambda *_: os._exit(code))
    if reading:
        os._exit(code)  # Nothing is open, and to free a run of many trials takes its time.
    # Where an interrupt has passed through code made of a text, as dataclasses make theirs, `python
    # -m` dies by SIGINT at its end, whatever the code: it forgets that with the next such text.
    eval("None")
    sys.exit(code)


def _find_ending() -> list[int]:
    """The signals that end a command, without those that it was started to ignore: see `forks`,
    which a signal may come too early for."""
    ending = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
    return [each for each in ending if signal.getsignal(each) != signal.SIG_IGN]


def _ignore(numbers: Sequence[int]) -> None:
    """Ignore signals from now on: Python drops handlers of its own before it takes all apart, and
    what is done would seem to be killed."""
    for number in numbers:
        signal.signal(number, signal.SIG_IGN)


def _fill_descriptors() -> None:
    """Open something in place of a stdin, stdout or stderr that was closed before the start.
    Otherwise the next file that is opened would get its number, and all that is printed would go
    into the journal."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            stream = open(number, "w" if number else "r", encoding="utf-8", closefd=False)  # noqa: SIM115
            setattr(sys, name, stream)


def _leave_folder() -> None:
    """Import nothing from the folder in which `python -m lrsearch` is run, such as a spec's, unless
    lrsearch itself is there. Exits with 2 where that folder was deleted."""
    try:
        here = os.getcwd()  # noqa: PTH109 (as Python puts it there)
    except OSError as error:  # Whatever is named is looked for from there.
        told = f"error: the folder that this is run in cannot be used: {error.strerror}"
        print(f"{told}\n  it may have been deleted: cd to another", file=sys.stderr)
        sys.exit(2)
    if sys.path and sys.path[0] == here and not Path(__file__).is_relative_to(here):
        del sys.path[0]


def _settle_environment() -> None:
    """Leave out sizes of a terminal that are no numbers of up to four digits, by which the
    libraries that print would fail, and take nothing of what is made from its owner: a umask that
    does leaves folders that nobody can use."""
    for name in ("COLUMNS", "LINES", "TERMINAL_WIDTH"):
        if not re.fullmatch("[0-9]{1,4}", os.environ.get(name, "0")):
            del os.environ[name]
    os.umask(os.umask(0o077) & 0o077)


if __name__ == "__main__":
    main()
