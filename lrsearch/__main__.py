"""The console script, and `python -m lrsearch`."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from pathlib import Path


def main() -> None:
    """Run the command line. Ctrl-C, and SIGTERM like it, are taken from the first import on, and a
    stream that was closed before the start is one that nobody reads."""
    with contextlib.suppress(ValueError):  # Called in a thread, which takes no signals.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: PTH123, SIM115
    _leave_folder()
    try:
        from lrsearch.cli import app

        app()
    except KeyboardInterrupt:
        sys.exit(130)


def _leave_folder() -> None:
    """Import nothing from where `python -m lrsearch` is run, such as a spec's folder, unless
    lrsearch itself is there."""
    here = os.getcwd()  # noqa: PTH109 (as Python puts it there)
    if sys.path and sys.path[0] == here and not Path(__file__).is_relative_to(here):
        del sys.path[0]


if __name__ == "__main__":
    main()
