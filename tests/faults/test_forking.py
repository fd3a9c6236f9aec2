"""Forks of the nursery are what fresh interpreters are, as far as a test can tell."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import forking
import pytest
from driving import Fork, Nursery, Popen, await_none, environment, places, processes
from forking import Before

from lrsearch.executors.local import Local
from lrsearch.executors.port import Finished, Replies

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks are for Linux")

HERE = str(Path(__file__).parent)

ROOT = str(Path(__file__).parents[2])


SMALL = "data: iris\nmodel: mlp\ntrain: {budget: 5ba}\nsearch: {lr: [0.1]}\n"
WAITING = "command: sh -c 'touch here; sleep 100' {lr}\nobjective: loss\nsearch: {lr: [0.1]}\n"


def describe(payload: object) -> Generator[object, Replies, None]:
    """A job that tells what its process was started with."""
    numbers = sorted(signal.valid_signals())
    streams = (sys.stdin, sys.stdout, sys.stderr)
    found: dict[str, Any] = {
        "parent": os.getppid(),
        "folder": str(Path.cwd()),
        "environment": dict(os.environ),
        "words": [sys.orig_argv, sys.argv],
        # An editable installation may find lrsearch by a hook: no path has its folder then.
        "places": [sys.path[0], *sorted({*sys.path} - {ROOT})],
        "main": [vars(sys.modules["__main__"])[name] for name in ("__name__", "__file__")],
        "group": [os.getsid(0), os.getpgrp()],
        "descriptors": sorted(os.listdir("/proc/self/fd")),  # noqa: PTH208
        "streams": [
            (each.encoding, each.errors, each.line_buffering, each.fileno(), each.write_through)
            for each in streams
        ],
        "bytecode": not sys.dont_write_bytecode,
        "handlers": [str(signal.getsignal(number)).split(" at ")[0] for number in numbers],
        "blocked": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ())),
        "umask": Path("/proc/self/status").read_text().partition("Umask:")[2].split()[0],
        "user's modules": sorted({"forking", "driving", "conftest"} & sys.modules.keys()),
    }
    yield found


def ask(popen: type, monkeypatch: pytest.MonkeyPatch, **more: str) -> dict[str, Any]:
    monkeypatch.setattr(subprocess, "Popen", popen)
    with Local(1, environment={"PYTHONPATH": places(HERE), "MINE": "1", **more}) as place:
        place.submit("test_forking:describe", None)
        events = [each for _ in range(2) for _, each in place.events()]
    assert isinstance(events[-1], Finished), events
    return events[0]  # type: ignore[return-value]


@pytest.fixture
def used() -> Generator[list[object], None, None]:
    """What was forked in the test."""
    found: list[object] = []
    real = forking.start

    def start(*arguments: Any) -> int:
        found.append(arguments)
        return real(*arguments)

    forking.start = start
    yield found
    forking.start = real


@pytest.mark.parametrize("told", ["", "1"])
def test_a_forked_worker_is_like_a_fresh_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, used: list[object], told: str
) -> None:
    more = dict.fromkeys(("PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE"), told)
    monkeypatch.chdir(tmp_path)
    before = signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    try:
        fresh, forked = (ask(each, monkeypatch, **more) for each in (Popen, forking.Forking))
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        signal.signal(signal.SIGUSR2, before)
    assert len(used) == 1
    assert fresh["parent"] == os.getpid() and fresh["environment"]["MINE"] == "1"
    for each in fresh:
        assert forked[each] == fresh[each], each


def test_a_forked_command_line_starts_its_workers_by_forks(
    tmp_path: Path, used: list[object]
) -> None:
    (tmp_path / "small.yaml").write_text(SMALL)
    words = [sys.executable, "-m", "lrsearch", "grid", "small.yaml", "--workers", "1"]
    done = subprocess.run(
        words, cwd=tmp_path, capture_output=True, text=True, start_new_session=True, timeout=100
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "lr=0.1" in done.stdout and "starting 1 worker" in done.stderr
    assert len(used) == 1


@pytest.mark.parametrize(
    "given",
    [
        {"env": {**os.environ, "PYTHONHASHSEED": "1"}},
        {"env": {**os.environ, "LC_ALL": "C"}},
        {"preexec_fn": lambda: None},
        {"pass_fds": (0,)},
        {"close_fds": False},
    ],
    ids=["hash seed", "locale", "preexec_fn", "pass_fds", "close_fds"],
)
def test_what_a_fork_cannot_give_starts_fresh(given: dict[str, Any], used: list[object]) -> None:
    words = [sys.executable, "-m", "lrsearch", "--version"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=100, **given)
    assert done.returncode == 0 and done.stdout and not used


@pytest.mark.parametrize(
    "before",
    [Before(closed=(0,)), Before(closed=(1,)), Before(closed=(0, 1, 2)), Before(largest=0)],
    ids=["no stdin", "no stdout", "no streams", "no room"],
)
def test_a_fork_begins_with_what_is_asked(
    before: Before, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, used: list[object]
) -> None:
    words = [sys.executable, "-m", "lrsearch", "init", "x.yaml", "--from", "loop"]
    told = []
    for number, popen in enumerate((Popen, forking.Forking)):
        folder = tmp_path / str(number)
        folder.mkdir()
        monkeypatch.setattr(subprocess, "Popen", popen)
        done = subprocess.run(words, cwd=folder, capture_output=True, preexec_fn=before)
        left = [each.read_bytes() for each in sorted(folder.iterdir())]
        told.append((done.returncode, done.stdout, done.stderr, left))
    assert len(used) == 1 and told[0] == told[1]
    assert bool(told[0][3]) is (before.largest is None)


def test_a_fork_ends_as_it_is_told(tmp_path: Path, used: list[object]) -> None:
    (tmp_path / "wait.yaml").write_text(WAITING)
    words = [sys.executable, "-m", "lrsearch", "grid", "wait.yaml", "--allow-command"]
    with subprocess.Popen(words, cwd=tmp_path, stderr=subprocess.PIPE) as process:
        while not (tmp_path / "here").exists():
            assert process.poll() is None
            time.sleep(0.02)
        process.kill()
        assert process.wait(30) == -signal.SIGKILL
    assert len(used) == 1
    wrong = subprocess.run([*words[:3], "grd"], capture_output=True, text=True, timeout=100)
    assert (wrong.returncode, len(used)) == (2, 2) and "grid" in wrong.stderr


def test_the_workers_of_a_fork_are_found_by_its_folder(tmp_path: Path, nursery: Nursery) -> None:
    """What their environment began with is the nursery's."""
    (tmp_path / "wait.yaml").write_text(WAITING)
    marker = f"LRSEARCH_FAULTS_MARKER={tmp_path}"
    assert not processes(marker)
    words = ("grid", "wait.yaml", "--allow-command", "--workers", "1")
    fork = Fork(nursery, tmp_path, *words, LRSEARCH_FAULTS_MARKER=str(tmp_path))
    while not (tmp_path / "here").exists():
        assert not fork.ended()
        time.sleep(0.02)
    children = Path(f"/proc/{fork.pid}/task/{fork.pid}/children").read_text().split()
    assert fork.pid in processes(marker) and {*map(int, children)} & {*processes(marker)}
    fork.send(signal.SIGKILL)
    fork.wait()
    await_none(marker, 20.0)


def test_forks_take_ctrl_c_whoever_was_the_first_to_ask(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    monkeypatch.chdir(tmp_path)
    try:
        nursery = Nursery(tmp_path, None, environment())
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        signal.signal(signal.SIGHUP, before)
    try:
        (tmp_path / "wait.yaml").write_text(WAITING)
        for number, code in ((signal.SIGINT, 130), (signal.SIGTERM, 130)):
            (tmp_path / "here").unlink(missing_ok=True)
            fork = Fork(nursery, tmp_path, "grid", "wait.yaml", "--allow-command", "--fresh")
            while not (tmp_path / "here").exists():
                assert not fork.ended()
                time.sleep(0.02)
            fork.send(number)
            fork.wait().check(code)
    finally:
        nursery.close()
