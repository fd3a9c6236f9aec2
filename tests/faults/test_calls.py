"""The Nth system call on a run folder fails, or the process is killed there; the same command then
comes to what it would have without."""

from __future__ import annotations

import errno
import functools
import itertools
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from driving import (
    FAIL,
    FAIL_ON,
    KILL,
    SEARCHES,
    SHORT,
    TORN,
    TORN_KILL,
    Arm,
    Fork,
    Nursery,
    References,
    Said,
    Tries,
    check_kept,
    compare,
)

from lrsearch import store
from lrsearch.errors import RunDamaged, RunError

ERRORS = {
    "open": (errno.EMFILE, errno.ENOSPC, errno.EACCES, errno.EIO, errno.EINTR),
    "write": (errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EROFS, errno.EINTR),
    "read": (errno.EIO, errno.EINTR),
    "fsync": (errno.EIO, errno.ENOSPC, errno.EINTR),
    "ftruncate": (errno.EIO, errno.ENOSPC, errno.EINTR),
    "flock": (errno.ENOLCK, errno.EINTR),
    "rename": (errno.ENOSPC, errno.EIO, errno.EACCES, errno.EROFS),
    "unlink": (errno.EIO, errno.EACCES, errno.EROFS),
    "mkdir": (errno.ENOSPC, errno.EACCES, errno.EROFS),
    "close": (errno.EIO, errno.ENOSPC, errno.EINTR),
}
"""What each call may say of itself, by its manual page."""


def calls(nursery: Nursery, folder: Path, name: str) -> list[str]:
    """The functions that an undisturbed search calls on its run folder, in their order."""
    search, log = SEARCHES[name], folder / "log"
    search.lay(folder)
    arm = Arm(folder / "runs", log=log)
    command = search.line(folder)
    Fork(nursery, folder, *command, "--executor", "inline", arm=arm).wait().check(0)
    found = [line.split()[0] for line in log.read_text().splitlines()]
    assert {"open", "write", "fsync", "rename", "flock", "close", "read"} <= set(found)
    return found


def faults(made: Sequence[str]) -> list[tuple[int, int, int]]:
    """Each call, with each way in which it fails: its number, an action, an error."""
    found = []
    for number, function in enumerate(made):
        found += [(number, FAIL, error) for error in ERRORS[function]]
        if function == "write":
            found += [(number, SHORT, 0), (number, TORN, errno.ENOSPC), (number, TORN, errno.EIO)]
            found += [(number, FAIL_ON, errno.ENOSPC), (number, FAIL_ON, errno.EIO)]
    return found


def kills(made: Sequence[str]) -> list[tuple[int, int, int]]:
    """Each call, killed before it, or when a write is half done."""
    found = [(number, KILL, 0) for number in range(len(made))]
    return found + [(n, TORN_KILL, 0) for n, function in enumerate(made) if function == "write"]


@pytest.fixture(scope="module")
def made_by(
    nursery: Nursery, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], list[str]]:
    """The calls of each search, whose undisturbed run is made once."""
    return functools.cache(lambda name: calls(nursery, tmp_path_factory.mktemp("log"), name))


@pytest.fixture
def armed(nursery: Nursery, shim: Path | str) -> Nursery:
    """A nursery whose forks can be armed."""
    if isinstance(shim, str):
        pytest.skip(f"no system call is made to fail: {shim}")
    return nursery


in_lanes_too = pytest.mark.parametrize("name", ["solo", "lanes", "bayes", "command"])


def attempt(
    nursery: Nursery, folder: Path, name: str, references: References, fault: tuple[int, int, int]
) -> Said:
    """A search with one fault, and the same command after it; how the first one ended."""
    number, action, error = fault
    search = SEARCHES[name]
    search.lay(folder)
    command = (*search.line(folder), "--executor", "inline")
    said = Fork(nursery, folder, *command, arm=Arm(folder / "runs", number, action, error)).wait()
    kept = _kept(search.run(folder), said)
    after = Fork(nursery, folder, *command).wait().check(0)
    check_kept(search.run(folder), after.err, kept)
    compare(search.run(folder), references.outcome(name))
    shutil.rmtree(folder)
    return said


def _kept(run: Path, said: Said) -> dict[str, str]:
    try:
        return check_kept(run, said.err)
    except RunDamaged:
        store.repair(run)
        return check_kept(run, said.err)
    except RunError:
        assert not store.holds_run(run) or not (run / "run.json").exists()
        assert "trial" not in said.err, "a trial was reported, and there is no run"
        return {}


@pytest.mark.kind("system call fails")
@in_lanes_too
def test_the_nth_call_fails(
    armed: Nursery,
    made_by: Callable[[str], list[str]],
    references: References,
    name: str,
    tries: Tries,
    tmp_path: Path,
) -> None:
    """The command ends in words, or as if nothing had been; nothing that it kept is lost."""
    made = made_by(name)
    numbered = itertools.count()

    def attempt_one(fault: tuple[int, int, int]) -> None:
        said = attempt(armed, tmp_path / str(next(numbered)), name, references, fault)
        number, action, error = fault
        # What is interrupted or takes half is begun again; of a close nobody knows what it did.
        again = error == errno.EINTR and made[number] != "close"
        said.check(*((0,) if again or action == SHORT else (0, 1, 2)))

    tries.each(tries.sample(faults(made), 8), attempt_one, lambda fault: _name(made, fault))


@pytest.mark.kind("killed at a system call")
@in_lanes_too
def test_killed_at_the_nth_call(
    armed: Nursery,
    made_by: Callable[[str], list[str]],
    references: References,
    name: str,
    tries: Tries,
    tmp_path: Path,
) -> None:
    made = made_by(name)
    numbered = itertools.count()

    def attempt_one(fault: tuple[int, int, int]) -> None:
        said = attempt(armed, tmp_path / str(next(numbered)), name, references, fault)
        assert said.code == -9, f"it was not killed: exit {said.code}"

    tries.each(tries.sample(kills(made), 4), attempt_one, lambda fault: _name(made, fault))


@pytest.mark.kind("power cut at a system call")
@in_lanes_too
def test_a_power_cut_at_the_nth_call(
    armed: Nursery,
    made_by: Callable[[str], list[str]],
    references: References,
    name: str,
    tries: Tries,
    tmp_path: Path,
) -> None:
    """What was not synced is gone: the end of the journal, curves and weights. What was reported
    is not."""
    made = made_by(name)
    search = SEARCHES[name]
    numbered = itertools.count()

    def attempt_one(number: int) -> None:
        folder = search.lay(tmp_path / str(next(numbered)))
        command = (*search.line(folder), "--executor", "inline")
        arm = Arm(folder / "runs", number, KILL, log=folder / "log")
        said = Fork(armed, folder, *command, arm=arm).wait()
        assert said.code == -9, f"it was not killed: exit {said.code}"
        _cut_power(search.run(folder), folder / "log")
        kept = _kept(search.run(folder), said)
        after = Fork(armed, folder, *command).wait().check(0)
        check_kept(search.run(folder), after.err, kept)
        compare(search.run(folder), references.outcome(name), "results", "points")
        Fork(armed, folder, "report", name, "--runs", folder / "runs").wait().check(0)
        shutil.rmtree(folder)

    tries.each(tries.sample(range(len(made)), 3), attempt_one, lambda n: f"{made[n]}, call {n}")


def _cut_power(run: Path, log: Path) -> None:
    """Leave of what a process has written what it had synced, by the calls it made."""
    written = synced = 0
    unsynced: set[str] = set()
    # The last of them it did not live to make.
    for line in log.read_text().splitlines()[:-1]:
        function, size, path = line.split(" ", 2)
        path = path.removesuffix(".tmp")
        if path.endswith("/journal.jsonl"):
            written += int(size)
            synced = written if function == "fsync" else synced
        elif function == "write":
            unsynced.add(path)
        elif function == "fsync":
            unsynced.discard(path)
    journal = run / "journal.jsonl"
    if journal.exists():
        os.truncate(journal, synced)
    for path in run.rglob("*"):
        if path.is_file() and any(str(path).endswith(each) for each in unsynced):
            os.truncate(path, 0)


def _name(made: Sequence[str], fault: tuple[int, int, int]) -> str:
    return f"{made[fault[0]]}, {Arm(Path(), *fault)}"
