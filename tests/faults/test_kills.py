"""Killed at a random moment: driver, workers or both; the same command comes to the same result.

What is killed runs in fresh interpreters, with workers, as users run it.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import signal
from pathlib import Path

import pytest
from driving import (
    FAILED,
    SEARCHES,
    Command,
    Fork,
    Nursery,
    References,
    Search,
    Tries,
    await_none,
    check_kept,
    compare,
    processes,
)

pytestmark = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs /proc")

SPAN = {"lanes": 5.0, "solo": 5.0, "bayes": 5.0, "command": 1.5, "loop": 6.0}
"""Seconds within which a search is killed: on a free machine it takes about so long."""

WORKER = b"lrsearch.executors.worker"


def workers(marker: str) -> list[int]:
    """The worker processes whose environment has the marker."""
    return [pid for pid in processes(marker) if WORKER in _command(pid)]


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def disturb(
    search: Search, folder: Path, whom: str, moment: float, many: int, nursery: Nursery
) -> None:
    """Run a search, kill it so often, and go on with it until it is done: one that ends before
    the moment is begun anew, and killed earlier. Raises where nothing could be killed, where
    anything that was kept is lost, and where a process outlives its driver."""
    marker = f"LRSEARCH_FAULTS_MARKER={folder}"
    name, _, value = marker.partition("=")
    kept: dict[str, str] = {}
    command = (*search.line(folder), "--workers", "2" if many > 1 else "1")
    kills = 0
    while kills < many:
        running = Command(folder, *command, **{name: value})
        found: list[int] = []
        over = running.ended(moment)
        if not over:
            found = workers(marker)
            if whom in ("driver", "both"):
                running.send(signal.SIGKILL)
            for pid in {"driver": [], "a worker": found[:1]}.get(whom, found):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        said = running.wait()
        await_none(marker)
        over = over or ("worker" not in whom and said.code == 0)  # It was quicker than the signal.
        if over or ("worker" in whom and not found):
            if kills:  # What was left took no longer.
                break
            assert moment > 0.01, "nothing could be killed"
            said.check(0)
            shutil.rmtree(search.run(folder))
            # Later where no worker had started, earlier where all was over.
            moment = moment / 2 if over else moment * 1.3
            continue
        kills += 1
        # A worker that is lost costs the trial that it had alone in hand, which has failed, by
        # name; one that is lost twice while it loads the data ends the search, by name.
        said.check(*((0, 1) if "worker" in whom else (-signal.SIGKILL,)))
        if (search.run(folder) / "run.json").exists():
            kept = check_kept(search.run(folder), said.err, _ended_well(kept))
        moment *= 0.6
    after = Fork(nursery, folder, *command, "--retry-failed", **{name: value}).wait().check(0)
    check_kept(search.run(folder), after.err, _ended_well(kept))
    await_none(marker)


def _ended_well(kept: dict[str, str]) -> dict[str, str]:
    return {key: result for key, result in kept.items() if FAILED not in result}


@pytest.mark.kind("driver and workers killed")
@pytest.mark.parametrize("name", SEARCHES)
def test_killed_at_random_moments(
    name: str, references: References, tries: Tries, tmp_path: Path, nursery: Nursery
) -> None:
    whoms = ["driver", "both", "a worker", "workers"]
    if name == "bayes":
        whoms = whoms[:2]  # It is told nothing of what failed, and goes another way.
    moments = tries.moments(1, 16, (0.3, SPAN[name]))
    start = list(SEARCHES).index(name)
    plan = [(whoms[(start + at) % len(whoms)], moment) for at, moment in enumerate(moments)]
    numbered = itertools.count()

    def attempt(planned: tuple[str, float]) -> None:
        whom, moment = planned
        search = SEARCHES[name]
        folder = search.lay(tmp_path / str(next(numbered)))
        disturb(search, folder, whom, moment, 3 if tries.long else 1, nursery)
        # What failed was proposed again.
        parts = ("results", "curves") if "worker" in whom else ()
        compare(search.run(folder), references.outcome(name), *parts)
        shutil.rmtree(folder)

    tries.each(plan, attempt, lambda planned: f"{planned[0]} killed at {planned[1]:.3f} s")
