"""Killed while a long training is saved, and gone on with from many of its saved states: no state
is there that cannot be read, and the end is the same to the last bit."""

from __future__ import annotations

import itertools
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from driving import KILL, TORN_KILL, Arm, Fork, Lost, Nursery, Tries, compare, outcome

from lrsearch import states, store

SPEC = """
name: long
data: digits
model: {name: mlp, hidden: [32], dropout: 0.2}
train: {budget: 400ba, batch_size: 32, evaluate: 10ba, optimizer: adamw}
search: {lr: [0.001, 0.003]}
save: 0s
"""
ENGINES = {"solo": ("--engine", "solo"), "lanes": ("--engine", "fused", "--lanes", "2")}
CALLS = 10
"""System calls that a state takes to be written, about."""


def _lay(folder: Path) -> Path:
    folder.mkdir()
    (folder / "long.yaml").write_text(SPEC)
    return folder


def _start(nursery: Nursery, folder: Path, engine: str, arm: Arm | None = None) -> Fork:
    line = (
        "grid",
        "long.yaml",
        "--runs",
        str(folder / "runs"),
        "--device",
        "cpu",
        *ENGINES[engine],
    )
    return Fork(nursery, folder, *line, "--executor", "inline", arm=arm, often=True)


@pytest.fixture(scope="module", params=ENGINES)
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def undisturbed(
    engine: str, nursery: Nursery, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    folder = _lay(tmp_path_factory.mktemp("long") / "undisturbed")
    _start(nursery, folder, engine).wait().check(0)
    run = folder / "runs" / "long"
    assert not list((run / "states").iterdir()), "states outlive their trials"
    return outcome(run)


@pytest.fixture
def armed(nursery: Nursery, shim: Path | str) -> Nursery:
    """A nursery whose forks can be armed."""
    if isinstance(shim, str):
        pytest.skip(f"nothing is killed at a system call: {shim}")
    return nursery


def _steps(run: Path) -> dict[int, int]:
    """The step of each trial's latest saved state. Raises where a file of one cannot be read."""
    found = {}
    for number, paths in store.saved_states(run).items():
        for path in reversed(paths):
            try:
                found[number] = states.read(path).header.step
            except states.Unusable as error:
                raise Lost(f"{path.name}: {error}") from None
    return found


@pytest.mark.kind("killed while a state is saved")
def test_killed_while_a_state_is_saved(
    armed: Nursery, engine: str, undisturbed: dict[str, Any], tries: Tries, tmp_path: Path
) -> None:
    calls = range(6 * CALLS)
    plan = [(number, KILL) for number in calls] + [(number, TORN_KILL) for number in calls]
    numbered = itertools.count()

    def attempt(planned: tuple[int, int]) -> None:
        folder = _lay(tmp_path / str(next(numbered)))
        run = folder / "runs" / "long"
        said = _start(armed, folder, engine, Arm(run / "states", *planned)).wait()
        # Of what is no write there is no half: it is not killed there, and ends well.
        said.check(*((-9,) if planned[1] == KILL else (-9, 0)))
        saved = _steps(run)
        after = _start(armed, folder, engine).wait().check(0)
        assert "begins again" not in after.err, after.err
        if saved:
            assert re.search(r"goe?s?( on)? from (its|their) saved state", after.err), after.err
        compare(run, undisturbed)
        assert not _steps(run), "states outlive their trials"
        shutil.rmtree(folder)

    tries.each(tries.sample(plan, 3, 50), attempt, lambda each: str(Arm(Path(), *each)))


@pytest.mark.kind("resumed from a saved state")
def test_gone_on_with_from_many_states(
    armed: Nursery, engine: str, undisturbed: dict[str, Any], tries: Tries, tmp_path: Path
) -> None:
    """One after the other: each session is killed a few states behind where it began."""
    folder = _lay(tmp_path / "chain")
    run = folder / "runs" / "long"
    before: dict[int, int] = {}
    for session in range(20 if tries.long else 3):
        with tries.one(f"session {session}"):
            call = CALLS + tries.draw.randrange(CALLS)
            said = _start(armed, folder, engine, Arm(run / "states", call, KILL)).wait()
            said.check(-9)
            assert "begins again" not in said.err, said.err
            saved = _steps(run)
            assert saved, "nothing is saved"
            for number, step in before.items():
                ended = number in store.read(run).results
                assert ended or saved.get(number, 0) >= step, f"trial {number} has gone back"
            before = saved
    with tries.one("the end"):
        said = _start(armed, folder, engine).wait().check(0)
        assert "begins again" not in said.err, said.err
        compare(run, undisturbed)
