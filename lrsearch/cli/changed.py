"""A spec's file that has changed since its run: what differs, and what a search would do now."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from lrsearch.cli.going_on import resuming
from lrsearch.errors import LrsearchError, UsageError
from lrsearch.reports.text import count
from lrsearch.space import automatic, same
from lrsearch.spec import read_spec
from lrsearch.spec.document import Document
from lrsearch.spec.model import Spec, settle_data
from lrsearch.spec.validate import validate
from lrsearch.terminal import command_line, path_word, quote
from lrsearch.tuner.ledger import Content, Ledger, go_on

MOST_NAMED = 4
"""Keys that differ and are named."""


def describe_change(folder: Path, ledger: Ledger, path: Path) -> str:
    """A sentence on a spec's file that differs from what the latest session searched with, its
    options included: the keys, and what the same command would do now; "" where nothing does."""
    history = ledger.history
    session = history.sessions[-1]
    stored = session["spec"]
    name = quote(path_word(path))
    document = Document(stored["source"], stored["document"])
    given = validate(document, Path(stored["folder"]), "", arithmetic="seed" in stored, stored=True)
    command = resuming(folder, given, history, str(session["strategy"]))
    try:
        spec = read_spec(path, [*_overrides(command)])
    except LrsearchError:
        why = f"lrsearch check {name} says why"
        return f"{name} is not valid ({why}), and what was searched is shown here"
    keys = [*_apart(stored["document"], spec.document)]
    if not keys or _meaning(spec) == _meaning(given):
        return ""
    named = ", ".join(keys[:MOST_NAMED]) + (", ..." if keys[MOST_NAMED:] else "")
    command = [*command[:2], path_word(path), *command[3:]]
    told = f"{name} differs from what was searched ({named}), which is shown here"
    return f"{told}: {command_line(command)} {_consequence(spec, ledger)}"


def _consequence(spec: Spec, stored: Ledger) -> str:
    """The words for what a search with the spec finds of its own in the run."""
    history = stored.history
    facts = history.sessions[-1]["facts"]
    spec = go_on(settle_data(spec, facts.get("settled") or {}), history)
    content = Content(facts["task"], facts["data_hash"], facts["source_hashes"])
    if automatic(spec.space):
        from lrsearch.tuner.finding import look_up

        try:
            spec = look_up(spec, content, history).settle(spec)
        except UsageError as error:
            return f"would refuse to begin: {error.message}"
    ledger = Ledger(spec, content, history)
    if not ledger.entries:
        return "would find none of its trials here, and refuse to begin"
    inside = sum(entry.point is not None for entry in ledger.entries.values())
    return f"would go on with {inside} of its {count(len(stored.entries), 'point')}"


def _meaning(spec: Spec) -> Spec:
    """The spec without how and where it was written."""
    return replace(spec, notes=(), folder=Path(), source="", text="", document={})


def _overrides(command: Sequence[str]) -> Iterator[str]:
    """The values that the options of a search gave."""
    words = iter(command)
    for word in words:
        option, equals, value = word.partition("=")
        if option in ("--set", "--trials"):
            value = value if equals else next(words, "")
            yield value if option == "--set" else f"{command[1]}.trials={value}"


def _apart(stored: Mapping[str, Any], present: Mapping[str, Any]) -> Iterator[str]:
    """The keys whose values differ, dotted within mappings of both."""
    for key in dict.fromkeys((*present, *stored)):
        left, right = stored.get(key), present.get(key)
        if isinstance(left, Mapping) and isinstance(right, Mapping):
            for inner in dict.fromkeys((*right, *left)):
                if not same(left.get(inner), right.get(inner)):
                    yield f"{key}.{inner}"
        elif not same(left, right):
            yield str(key)
