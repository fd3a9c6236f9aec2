"""Other programs at a run folder: files that are replaced, deleted, emptied or cut while a search
runs, and links in place of them."""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from driving import (
    SEARCHES,
    STOP,
    Arm,
    Fork,
    Lost,
    Nursery,
    References,
    Tries,
    await_stop,
    reported,
    results,
)

from lrsearch import store
from lrsearch.errors import RunDamaged, RunError

SEARCH = SEARCHES["solo"]


def _replace(path: Path) -> None:
    """As tools that sync folders do, and editors."""
    other = path.with_name(f"{path.name}.other")
    if path.is_dir():
        shutil.copytree(path, other)
        shutil.rmtree(path)
    else:
        shutil.copy2(path, other)
    other.replace(path)


def _delete(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink()


def _empty(path: Path) -> None:
    if path.is_dir():
        for each in path.iterdir():
            _delete(each)
    else:
        os.truncate(path, 0)


def _cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def _move(path: Path) -> None:
    path.rename(path.with_name(f"{path.name}.moved"))


CHANGES: dict[str, Callable[[Path], None]] = {
    "replaced": _replace,
    "deleted": _delete,
    "emptied": _empty,
    "cut": _cut,
    "moved": _move,
}
FOLDERS = ("curves", "best", "states")
PARTS = ("journal.jsonl", "lock", "run.json", "spec.yaml", *FOLDERS, ".")


@pytest.mark.kind("file changed during a run")
def test_files_that_change_during_a_run(
    nursery: Nursery, shim: Path | str, references: References, tries: Tries, tmp_path: Path
) -> None:
    """A search is stopped at a system call, something changes, and it goes on: to its end, or to
    an error by name, after which the same command comes to the same result."""
    if isinstance(shim, str):
        pytest.skip(f"no search is stopped at a system call: {shim}")
    folder, log = SEARCH.lay(tmp_path / "log"), tmp_path / "log" / "log"
    command = (*SEARCH.line(folder), "--executor", "inline")
    Fork(nursery, folder, *command, arm=Arm(folder / "runs", log=log)).wait().check(0)
    calls = [line.split()[0] for line in log.read_text().splitlines()]
    last = len(calls) - calls[::-1].index("fsync")  # Of the line that closes the session.
    plan = [
        (part, change, call)
        for part, change in itertools.product(PARTS, CHANGES)
        for call in range(last // 5, last)
        if change != "cut" or part not in (*FOLDERS, ".")
    ]
    numbered = itertools.count()

    def attempt(planned: tuple[str, str, int]) -> None:
        part, change, call = planned
        folder = SEARCH.lay(tmp_path / str(next(numbered)))
        _disturb(nursery, references, folder, part, change, call)
        shutil.rmtree(folder)

    tries.each(
        tries.sample(plan, 14, 600),
        attempt,
        lambda planned: "{} {} at call {}".format(*planned),
    )


def _disturb(
    nursery: Nursery, references: References, folder: Path, part: str, change: str, call: int
) -> None:
    run = SEARCH.run(folder)
    command = (*SEARCH.line(folder), "--executor", "inline")
    searching = Fork(nursery, folder, *command, arm=Arm(folder / "runs", call, STOP))
    assert await_stop(searching), "it ended before it came to the call"
    target = run if part == "." else run / part
    # Between the two locks a deleted first one lets others in; whoever comes second reads anew.
    held = store._is_held(run / "journal.jsonl")
    changed = target.exists()
    if changed:
        CHANGES[change](target)
    if held and part != ".":
        other = Fork(nursery, folder, *command).wait()
        if other.code != 2:
            searching.send(signal.SIGKILL)
        assert "writing" in other.check(2).err or "written" in other.err, other.err
    searching.send(signal.SIGCONT)
    said = searching.wait().check(0, 1, 2)
    there = references.outcome(SEARCH.name)["results"]
    if said.code == 0:
        if part == "run.json" and run.exists():  # What is left of it is the journal.
            with contextlib.suppress(RunDamaged):
                store.read(run)
            store.repair(run)
        kept = results(run) if run.exists() else {}
        if kept != there:
            raise Lost(f"exit 0 with {len(kept)} of {len(there)} trials")
    ended = reported(said.err)
    if part == "journal.jsonl" and change in ("deleted", "replaced", "moved") and ended:
        _check_rescued(run, ended)
    if part not in ("journal.jsonl", ".") and ended:
        _check_journal(run, ended)
    # Whatever it came to, the same command gets there, where need be after `repair`.
    try:
        store.read(run)
    except RunDamaged:
        store.repair(run)
    except RunError:  # No run, or none yet: nothing stands in its journal.
        journal = run / "journal.jsonl"
        kept = journal.exists() and journal.stat().st_size
        assert not kept or not changed or part in (".", "journal.jsonl")
    Fork(nursery, folder, *command).wait().check(0)
    if results(run) != there:
        raise Lost("the same command comes to another result")


def _check_rescued(run: Path, ended: set[int]) -> None:
    """What was reported stands in the journal, or in what was kept of it."""
    kept = set()
    for path in (run / "journal.jsonl", *run.glob("journal.jsonl.*")):
        if path.exists():
            kept |= store._replay(run, path.read_bytes()).results.keys()
    if gone := ended - kept:
        raise Lost(f"trials {sorted(gone)} were reported, and are not kept")


def _check_journal(run: Path, ended: set[int]) -> None:
    kept = store._replay(run, (run / "journal.jsonl").read_bytes()).results.keys()
    if gone := ended - kept:
        raise Lost(f"trials {sorted(gone)} were reported, and are not kept")


LINKED = (
    *("journal.jsonl", "lock", "run.json", "spec.yaml", "curves", "best", "journal.jsonl.tmp"),
    *("spec.yaml.tmp", "run.json.tmp", "curves/000001.json", "curves/000001.json.tmp"),
    *("best/spec.yaml", "best/spec.yaml.tmp", "best/trial-000001.safetensors", "states"),
    *("best/trial-000001.safetensors.tmp", "best/trial-000002.safetensors"),
    *("journal.jsonl.damaged-1", "journal.jsonl.rescued-1"),
)
TO = ("a file", "a folder", "nowhere")
USES = (
    ("grid", "solo.yaml"),
    ("grid", "solo.yaml", "--fresh"),
    ("random", "solo.yaml", "--trials", "2"),
    ("report", "solo"),
    ("repair", "solo"),
    ("export", "solo", "--output", "exported.yaml", "--force"),
    ("list",),
)


@pytest.mark.kind("link in a run folder")
def test_no_link_in_a_run_folder_is_followed(
    nursery: Nursery, references: References, tries: Tries, tmp_path: Path
) -> None:
    """Whatever is done with a run folder from elsewhere, nothing outside of it changes."""
    plan = list(itertools.product(LINKED, TO, USES, (True, False)))
    numbered = itertools.count()

    def attempt(planned: tuple[str, str, tuple[str, ...], bool]) -> None:
        name, to, use, whole = planned
        folder = SEARCH.lay(tmp_path / str(next(numbered)))
        run, outside = SEARCH.run(folder), folder / "outside"
        shutil.copytree(references.folder(SEARCH.name), run)
        if not whole:  # What is left to train has all files written anew.
            journal = run / "journal.jsonl"
            journal.write_bytes(journal.read_bytes()[: journal.stat().st_size // 2])
        (outside / "folder").mkdir(parents=True)
        for path in (outside / "file", outside / "folder" / "trial-000009.safetensors"):
            path.write_text("mine")
        link = run / name
        if link.is_dir():
            shutil.rmtree(link)
        link.unlink(missing_ok=True)
        if not link.parent.exists():
            link.parent.mkdir()
        link.symlink_to(outside / {"a file": "file", "a folder": "folder"}.get(to, "nowhere"))
        before = _tree(outside)
        more = ("--runs", folder / "runs")
        if use[0] in ("grid", "random"):
            more += ("--executor", "inline", "--engine", "solo", "--device", "cpu")
        Fork(nursery, folder, *use, *more).wait().check(0, 1, 2)
        assert _tree(outside) == before, f"outside is {_tree(outside)}"
        shutil.rmtree(folder)

    tries.each(
        tries.sample(plan, 16),
        attempt,
        lambda planned: f"{planned[0]} leads to {planned[1]}, {' '.join(planned[2])}",
    )


def _tree(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): path.read_text() if path.is_file() else "folder"
        for path in sorted(folder.rglob("*"))
    }
