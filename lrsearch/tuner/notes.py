"""Notes of a journal, by their kinds."""

from __future__ import annotations

from typing import Any

from lrsearch.store import History

RANGE = "range"
"""The kind of the notes that hold range tests."""

UNSEEN = "unseen"
"""The kind of a note on a training for the test part that did not come to a look."""


def stored_tests(history: History) -> dict[str, dict[str, Any]]:
    """The range tests that a journal has, by their keys, those made last behind the others."""
    found: dict[str, dict[str, Any]] = {}
    for body in history.notes:
        if body.get("kind") == RANGE:
            found.pop(str(body["key"]), None)
            found[str(body["key"])] = body
    return found
