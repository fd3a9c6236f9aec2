"""The console script, and `python -m lrsearch`."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Run the command line. Ctrl-C is taken from the first import on, and a stream that was closed
    before the start is one that nobody reads."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: PTH123, SIM115
    try:
        from lrsearch.cli import app

        app()
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
