"""The news of a search for those who watch it from elsewhere: a small file in its run folder."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from lrsearch.errors import LrsearchError
from lrsearch.store import drop_now, write_now

EVERY = 1.0
"""Seconds between two writings; what takes no longer writes none."""


@contextlib.contextmanager
def told(folder: Path, tell: Callable[[], Mapping[str, Any]]) -> Iterator[None]:
    """Write within the block what `tell` returns, again and again, by a thread, since the search
    itself waits for its workers; the file is deleted at the end. Whatever becomes of it is nothing
    to the search: a disk without room, say, is told of where the journal is written."""
    over = threading.Event()

    def go_on() -> None:
        while not over.wait(EVERY):
            with contextlib.suppress(LrsearchError):
                write_now(folder, tell())

    thread = threading.Thread(target=go_on, name="news", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        with contextlib.suppress(LrsearchError):
            drop_now(folder)
