"""The one loop: propose, skip what is measured, train, journal, tell."""

from __future__ import annotations

from lrsearch.tuner.ledger import Content, Entry, Ledger
from lrsearch.tuner.loop import Ending, Watcher, tune
from lrsearch.tuner.preparing import prepare, representatives

__all__ = [
    "Content",
    "Ending",
    "Entry",
    "Ledger",
    "Watcher",
    "prepare",
    "representatives",
    "tune",
]
