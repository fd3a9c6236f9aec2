"""Several starts of one search at the same moment: one runs, the others say so and leave."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from driving import WAITING, Fork, Nursery, References, Tries, check_kept, compare

from lrsearch import store

AT_ONCE = 8


@pytest.mark.kind("simultaneous starts")
def test_of_simultaneous_starts_one_runs(
    nursery: Nursery, references: References, tries: Tries, tmp_path: Path
) -> None:
    for number in range(30 if tries.long else 2):
        # The first of them makes the folder, or finds one that has been begun before.
        folder = WAITING.lay(tmp_path / str(number))
        run = WAITING.run(folder)
        if number % 2:
            Fork(nursery, folder, *_line(folder)).wait().check(0)
            cut = (run / "journal.jsonl").read_bytes().index(b'{"n":4,')
            (run / "journal.jsonl").write_bytes((run / "journal.jsonl").read_bytes()[:cut])
        (folder / "go").unlink()
        with ThreadPoolExecutor(AT_ONCE) as pool:
            started = list(pool.map(lambda _: Fork(nursery, folder, *_line(folder)), range(8)))  # noqa: B023
        with tries.one(f"start {number}"):
            _check(folder, started)
            compare(run, references.outcome(WAITING.name))
        tries.made += AT_ONCE - 1
        tries.figures.tries += AT_ONCE - 1


def _line(folder: Path) -> tuple[str, ...]:
    return (*WAITING.line(folder), "--executor", "inline")


def _check(folder: Path, started: list[Fork]) -> None:
    deadline = time.monotonic() + 60
    while sum(each.ended() for each in started) < AT_ONCE - 1 and time.monotonic() < deadline:
        time.sleep(0.02)
    left = [each for each in started if not each.ended()]
    (folder / "go").touch()
    ends = [each.wait() for each in started]
    assert len(left) == 1, f"{len(left)} of {AT_ONCE} run: {[end.err for end in ends]}"
    one = left[0].wait().check(0)
    for each in ends:
        if each != one:
            each.check(2)
            assert "writing" in each.err or "being written" in each.err, each.err
            assert "[" not in each.err, "it trained something"
    check_kept(WAITING.run(folder), one.err)
    assert store.read(WAITING.run(folder)).closed == "finished"
