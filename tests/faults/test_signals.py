"""A signal in each phase of a search: what is measured stays, what ran is gone, and the same
command comes to the same result."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import shutil
import signal
import time
from pathlib import Path

import pytest
from driving import (
    Command,
    Fork,
    Nursery,
    Said,
    Tries,
    await_none,
    check_kept,
    compare,
    outcome,
)

pytestmark = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs /proc")

SPEC = """
name: phases
data: {class_path: mine.load, validation: 0.25}
model: {class_path: mine.Net}
train: {budget: 24ba, batch_size: 8, evaluate: 8ba}
search: {lr: [0.01, 0.1, 0.2, 0.3]}
"""
MINE = """
import sys
import time
from pathlib import Path

import torch

HERE = Path(__file__).parent


def phase(name):
    # Told once, and stayed in for a while, where the test waits for it.
    if (HERE / "await").exists() and (HERE / "await").read_text() == name:
        (HERE / "await").rename(HERE / "reached")
        time.sleep(1.0)


def load():
    phase("loading")
    numbers = torch.Generator().manual_seed(0)
    return torch.rand(64, 4, generator=numbers), torch.arange(64) % 2


class Net(torch.nn.Linear):
    def __init__(self):
        super().__init__(4, 2)

    def forward(self, x):
        frame, probing = sys._getframe(), False
        while frame and not probing:
            probing = frame.f_globals.get("__name__") == "lrsearch.train.engines.probe"
            frame = frame.f_back
        if probing:
            phase("probing")
        elif torch.is_grad_enabled():
            phase("training")
        else:
            phase("evaluating")
        return super().forward(x)
"""
PHASES = ("starting", "importing", "loading", "probing", "training", "evaluating", "closing")
SIGNALS = ("SIGINT", "SIGTERM", "SIGUSR1", "SIGHUP", "SIGSTOP", "SIGPIPE")
"""SIGHUP is what a terminal sends that goes away; SIGSTOP is followed by SIGCONT; SIGPIPE is what
whoever writes progress gets when its reader has left."""

LINE = (
    *("grid", "phases.yaml", "--allow-import", "mine", "--workers", "1", "--device", "cpu"),
    *("--engine", "fused", "--lanes", "2"),
)
SECONDS = 30.0
"""In which whoever is told to end has to be gone."""


def _lay(folder: Path) -> Path:
    folder.mkdir()
    (folder / "phases.yaml").write_text(SPEC)
    (folder / "mine.py").write_text(MINE)
    return folder


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, nursery: Nursery) -> dict:
    folder = _lay(tmp_path_factory.mktemp("phases") / "undisturbed")
    said = Fork(nursery, folder, *LINE, "--executor", "inline").wait().check(0)
    assert re.search("fused|lanes", said.err), said.err
    return outcome(folder / "runs" / "phases")


@pytest.mark.kind("signal in a phase")
def test_a_signal_in_each_phase(
    nursery: Nursery, undisturbed: dict, tries: Tries, tmp_path: Path
) -> None:
    plan = list(itertools.product(PHASES, SIGNALS, range(4 if tries.long else 1)))
    if not tries.long:  # Each phase once, with signals in turn.
        first = tries.draw.randrange(len(SIGNALS))
        plan = [(phase, SIGNALS[(first + at) % len(SIGNALS)], 0) for at, phase in enumerate(PHASES)]

    def attempt(planned: tuple[str, str, int]) -> None:
        phase, name, number = planned
        folder = _lay(tmp_path / f"{phase}-{name}-{number}")
        try:
            _disturb(nursery, folder, phase, name, number)
            compare(folder / "runs" / "phases", undisturbed)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    tries.each(plan, attempt, lambda planned: "{} while {}, {}".format(planned[1], *planned[::2]))


def _disturb(nursery: Nursery, folder: Path, phase: str, name: str, number: int) -> None:
    marker = {"LRSEARCH_FAULTS_MARKER": str(folder)}
    run = folder / "runs" / "phases"
    (folder / "await").write_text(phase)
    fresh = phase in ("starting", "importing") and name != "SIGPIPE"
    reader = -1
    if name == "SIGPIPE":
        os.mkfifo(folder / "progress")
        reader = os.open(folder / "progress", os.O_RDONLY | os.O_NONBLOCK)
        searching: Command = Fork(nursery, folder, *LINE, err=folder / "progress", **marker)
        _await_writer(searching, reader)
    elif fresh:
        searching = Command(folder, *LINE, **marker)
    else:
        searching = Fork(nursery, folder, *LINE, **marker)
    _await_phase(searching, folder, phase, number)
    if name == "SIGPIPE":
        os.close(reader)
        assert searching.ended(90)
        said = Said(searching.code, "", "").check(0)
    elif name == "SIGSTOP":
        searching.send(signal.SIGSTOP)
        time.sleep(0.3)
        searching.send(signal.SIGCONT)
        said = searching.wait().check(0)
    elif name == "SIGHUP":
        searching.send(signal.SIGHUP)
        said = searching.wait().check(0, *((-signal.SIGHUP,) if fresh else ()))
    else:
        searching.send(getattr(signal, name))
        said = searching.wait(SECONDS)
        # Before Python itself has begun a signal does what it does to any program; behind the last
        # trial it may come too late.
        early = (-getattr(signal, name),) if fresh else ()
        late = (0,) if phase in ("closing", "importing") else ()
        if early and "lrsearch" not in said.err:
            # What finds the module for `python -m` makes 1 of whatever stops it.
            finding = (1,) if said.err.startswith("Could not import runpy") else ()
            assert said.code in (130, *early, *finding), said
        else:
            said.check(130, *early, *late)
        if said.code == 130 and not fresh:
            assert "go on with\n  lrsearch grid phases.yaml" in said.err, said.err
    await_none(f"LRSEARCH_FAULTS_MARKER={folder}", SECONDS)
    kept = check_kept(run, said.err) if (run / "run.json").exists() else {}
    after = Fork(nursery, folder, *LINE).wait().check(0)
    check_kept(run, after.err, kept)


def _await_writer(searching: Command, reader: int) -> None:
    """Wait until a pipe is opened for writing, which without a reader would take for ever."""
    with contextlib.suppress(BlockingIOError):
        while not os.read(reader, 1) and not searching.ended(0.002):
            pass


def _await_phase(searching: Command, folder: Path, phase: str, number: int) -> None:
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline and not searching.ended():
        if phase == "starting":
            return time.sleep(0.01 * number)
        if phase == "importing":
            return time.sleep(0.15 + 0.1 * number)
        if (folder / "reached").exists():
            return time.sleep(0.05 * number)
        journal = folder / "runs" / "phases" / "journal.jsonl"
        ended = journal.read_bytes().count(b'"event":"ended"') if journal.exists() else 0
        if phase == "closing" and ended == 4:
            return time.sleep(0.005 * number)
        time.sleep(0.002)
    assert phase == "closing" and searching.ended(), f"it never came to {phase}"
