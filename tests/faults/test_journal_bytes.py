"""A journal cut at any byte, or with any byte changed: nothing that it still says is lost.

Histories go by what the lines of the whole journal say, so that no try decides what is right.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from driving import SEARCHES, Lost, References, Tries

from lrsearch import store
from lrsearch.errors import RunDamaged
from lrsearch.store import Run


def _histories(folder: Path, lines: list[bytes]) -> list[str]:
    """What the first 0, 1, ... lines say."""
    found = []
    for count in range(len(lines) + 1):
        (folder / "journal.jsonl").write_bytes(b"".join(lines[:count]))
        found.append(repr(store.read(folder)))
    return found


@pytest.fixture
def copied(request: pytest.FixtureRequest, references: References, tmp_path: Path) -> Path:
    """A run folder to damage."""
    shutil.copytree(references.folder(request.param), tmp_path / "run")
    return tmp_path / "run"


every_search = pytest.mark.parametrize("copied", SEARCHES, indirect=True)


@pytest.mark.kind("journal cut at a byte")
@every_search
def test_a_journal_cut_at_any_byte(copied: Path, tries: Tries) -> None:
    """Readers see each whole line, the next writer too, and it goes on behind them."""
    journal = copied / "journal.jsonl"
    whole = journal.read_bytes()
    lines = whole.splitlines(keepends=True)
    histories = _histories(copied, lines)
    borders = {at + near for at in _ends(whole) for near in (-2, -1, 0, 1)} & set(range(len(whole)))
    others = sorted(set(range(len(whole))) - borders)
    for cut in sorted(borders) + tries.sample(others, 20):
        with tries.one(f"cut at byte {cut} of {len(whole)}"):
            # Behind what a dead process has written some file systems leave NUL bytes.
            left = whole[:cut] + b"\0" * (37 * (cut % 2))
            journal.write_bytes(left)
            # A last line without its newline is a line.
            count = whole[:cut].count(b"\n") + (whole[cut : cut + 1] == b"\n")
            if repr(store.read(copied)) != histories[count]:
                raise Lost("a reader sees something else than the lines that are whole")
            assert journal.read_bytes() == left, "a reader changed it"
            with Run.open(copied.parent, "run", spec_text=None) as run:
                assert repr(run.history) == histories[count], "a writer sees something else"
                run.append("noted", {})
            assert journal.read_bytes().startswith(b"".join(lines[:count]))
            assert store.read(copied).lines == count + 1


def _ends(whole: bytes) -> list[int]:
    """Where each line ends, its newline included."""
    return [at + 1 for at, byte in enumerate(whole) if byte == ord("\n")]


@pytest.mark.kind("journal byte changed")
@every_search
def test_a_journal_with_any_byte_changed(copied: Path, tries: Tries) -> None:
    """It is damaged by name, and `repair` keeps each line but the one that was changed and what
    hangs on it; or the byte was the last newline, which nothing hangs on."""
    journal = copied / "journal.jsonl"
    whole = journal.read_bytes()
    lines = whole.splitlines(keepends=True)
    expected = repr(store.read(copied))
    kept = [_without(copied, lines, number) for number in range(len(lines))]
    bounds = {at - near for at in _ends(whole) for near in (1, 2)}
    others = sorted(set(range(len(whole))) - bounds)
    for at in sorted(bounds) + tries.sample(others, 20):
        flips = range(1, 256) if tries.long and at in bounds else (1 << tries.draw.randrange(8),)
        for flip in flips:
            with tries.one(f"byte {at} of {len(whole)} changed by {flip:#x}"):
                changed = whole[:at] + bytes([whole[at] ^ flip]) + whole[at + 1 :]
                journal.write_bytes(changed)
                _check_changed(
                    copied, at == len(whole) - 1, kept[whole[:at].count(b"\n")], expected
                )


def _check_changed(folder: Path, last: bool, kept: tuple[str, ...], expected: str) -> None:
    journal = folder / "journal.jsonl"
    changed = journal.read_bytes()
    try:
        seen = repr(store.read(folder))
    except RunDamaged as error:
        assert "lrsearch repair" in error.hint and "line" in error.message
    else:
        assert last, "the change went unnoticed"
        assert seen == expected
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            store.os, "fsync", lambda descriptor: None
        )  # Thousands of times, for nothing.
        done = store.repair(folder)
    if repr(store.read(folder)) not in kept:
        raise Lost(f"repair kept {done.kept} lines, and not all that are sound")
    if done.copy is not None:
        assert done.copy.read_bytes() == changed
        done.copy.unlink()


def _without(folder: Path, lines: list[bytes], number: int) -> tuple[str, ...]:
    """What a journal says without one of its lines and what hangs on it, and with it: where its
    newline alone was changed the line itself is whole."""
    history, whole = store.History(), store.History()
    for at, line in enumerate(lines):
        content = store._decode(line[:-1])[2]
        store.fold(whole, content)
        if at != number:
            try:
                store.fold(history, content)
            except store.NO_SENSE:
                continue
    return repr(history), repr(whole)
