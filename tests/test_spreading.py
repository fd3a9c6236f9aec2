"""All tests are run, once, by any number of processes, and what takes long is begun first."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from spreading import LONG, WAITING, spread

FILES = sorted(Path(__file__).parent.rglob("test_*.py"))


def test_the_files_named_are_there_once() -> None:
    named = [*WAITING, *LONG]
    assert len(set(named)) == len(named)
    assert set(named) <= {path.stem for path in FILES}


@pytest.mark.parametrize("processes", [2, 3, 5, 8])
def test_long_files_begin_the_shares_of_all_processes(processes: int) -> None:
    given: list[Any] = [SimpleNamespace(path=path) for path in FILES for _ in range(40)]
    given += given[:20]  # A file may come in two parts.
    found = spread(given, processes)
    assert len(found) == len(given) and {*map(id, found)} == {*map(id, given)}
    left, first = found, []  # As the scheduler of `--dist worksteal` shares them.
    for number in range(processes):
        size = len(left) // (processes - number)
        first.append(left[0].path.stem)
        left = left[size:]
    expected = [WAITING[0], *LONG[: processes - 1]]
    assert first == expected if processes > 2 else first[0] == expected[0]
    files = [each.path.stem for each in found]
    for name in (*WAITING, *LONG):  # None is torn apart.
        at = files.index(name)
        assert files[at : at + files.count(name)] == [name] * files.count(name)


def test_a_few_files_are_shared_as_well() -> None:
    given: list[Any] = [SimpleNamespace(path=Path(f"test_{name}.py")) for name in "ab" * 5]
    given += [SimpleNamespace(path=Path(f"{LONG[0]}.py"))] * 20
    found = spread(given, 5)
    assert len(found) == 30 and {*map(id, found)} == {*map(id, given)}
