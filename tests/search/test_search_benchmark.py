"""The benchmark of proposals: tables answer as trainings would, and searches of them are judged."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def search_quality(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import search_quality

    return search_quality


@pytest.fixture
def search_tables(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import search_tables

    return search_tables


def test_our_own_tables_hold_every_point_of_their_grids(search_tables: ModuleType) -> None:
    for task in search_tables.inhouse():
        spec = task.spec()
        points = list(search_tables.every_point(spec.space))
        epochs = {len(task.course(point).epochs) for point in points}
        assert len(points) == 13 * 3 * 5 and epochs == {int(spec.train["budget"][:-2])}
        best, middle = task.scale
        assert task.regret(best) == 0 and task.regret(middle) == 1 and 0 < best < middle


def test_a_replay_trains_what_the_strategy_proposes_and_no_point_twice(
    search_quality: ModuleType, search_tables: ModuleType
) -> None:
    task = search_tables.inhouse()[0]
    looked_up: list[object] = []

    def course(point: Any) -> Any:
        looked_up.append(json.dumps(point, sort_keys=True))
        return task.course(point)

    watched = search_tables.Task(task.name, task.text, course)
    values, seconds = search_quality.METHODS["gp"](watched, 3, 12)
    assert len(values) == len(looked_up) == len(set(looked_up)) == 12 and seconds > 0
    again, _ = search_quality.METHODS["gp"](task, 3, 12)
    assert values == again
    other, _ = search_quality.METHODS["gp"](task, 4, 12)
    assert values != other


def test_the_models_are_told_apart_on_our_own_tables(
    search_quality: ModuleType, search_tables: ModuleType
) -> None:
    """A small part of the benchmark, whose order is the one that the documentation tells."""
    tasks, follow = search_tables.inhouse()[:1], search_quality.follow
    found = {
        name: search_quality.measure(tasks, follow(search_quality.METHODS[name]), 6, 16)
        for name in ("random", "tpe", "gp")
    }
    at_16 = {
        name: sum(row[2] for rows in each["regret"] for row in rows) / 6
        for name, each in found.items()
    }
    assert at_16["gp"] < at_16["tpe"] < at_16["random"]
    lines = list(search_quality.table("digits", found, 16, "tpe"))
    assert len(lines) == 5 and lines[0].startswith("| digits | 4 | 8 | 16 |")


def test_what_is_not_there_is_skipped_by_name(tmp_path: Path) -> None:
    command = [sys.executable, str(BENCHMARKS / "search_quality.py"), "replay", "--seeds", "1"]
    command += ["--methods", "random_informed", "--output", str(tmp_path / "q.json")]
    wrong = subprocess.run(command, capture_output=True, text=True, check=False)
    assert wrong.returncode == 2 and "unknown methods: random_informed" in wrong.stderr
    command[command.index("random_informed")] = "random informed"
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "skipped lcbench: no --lcbench DIR" in done.stdout
    assert "skipped deepobs: no --deepobs FILE" in done.stdout
    assert "| random informed | " in done.stdout
    kept = list(json.loads((tmp_path / "q.json").read_text()))
    assert kept == ["in-house, schedules mixed", "fine-tuning"]


def test_deepobs_is_read(search_tables: ModuleType) -> None:
    path = BENCHMARKS.parents[1] / "shared" / "data" / "deepobs_baselines.json.gz"
    if not path.exists():
        pytest.skip(f"no {path}")
    tasks = search_tables.deepobs(path)
    assert len(tasks) == 24 and all(len(task.spec().space.dimensions) == 1 for task in tasks)
