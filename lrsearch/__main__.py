"""The console script, and `python -m lrsearch`."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from pathlib import Path


def main() -> None:
    """Run the command line. Ctrl-C, and SIGTERM like it, are taken from the first import on."""
    with contextlib.suppress(ValueError):  # Called in a thread, which takes no signals.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    _fill_descriptors()
    _leave_folder()
    try:
        from lrsearch.cli import run

        sys.exit(run())
    except KeyboardInterrupt:
        sys.exit(130)


def _fill_descriptors() -> None:
    """Have something stand where stdin, stdout and stderr were closed before the start, which is as
    if nobody reads them: the next file that is opened would get the number, and all that is printed
    would go into the journal."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            stream = open(number, "w" if number else "r", encoding="utf-8", closefd=False)  # noqa: SIM115
            setattr(sys, name, stream)


def _leave_folder() -> None:
    """Import nothing from where `python -m lrsearch` is run, such as a spec's folder, unless
    lrsearch itself is there."""
    here = os.getcwd()  # noqa: PTH109 (as Python puts it there)
    if sys.path and sys.path[0] == here and not Path(__file__).is_relative_to(here):
        del sys.path[0]


if __name__ == "__main__":
    main()
