"""Stopped anywhere: the same command goes on, and comes to the same result. Kills are among the
faults (tests/faults)."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from devices import DEVICE, exact
from driving import Fork, Nursery
from forking import Before
from typer.testing import CliRunner

from lrsearch.cli import app
from lrsearch.store import read, read_records
from lrsearch.train.engines.timetable import evaluation_steps, learning_rates, recorded_steps

ENGINES = {"solo": ("--engine", "solo"), "fused": ("--engine", "fused", "--lanes", "4")}
"""Each with all that results depend on. What auto measures, and so decides, may differ."""

SPEC = """
name: resumed
data: {name: digits, standardize: true}
model: {name: mlp, hidden: [48]}
train:
  budget: 60ba
  evaluate: 20ba
  optimizer: {name: sgd, momentum: 0.9}
search:
  lr: {min: 1e-3, max: 1e3, points: 4}
  batch_size: [32, 64]
  schedule: [constant, {name: step, gamma: {min: 0.1, max: 0.9, points: 2}}]
bayes: {trials: 18, startup: 6, generation: 4}
"""


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("spec") / "resumed.yaml"
    path.write_text(SPEC)
    return path


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "lrsearch", *map(str, arguments)]


INLINE = ("--executor", "inline")


@pytest.fixture(scope="module")
def search(spec: Path, nursery: Nursery) -> Callable[..., None]:
    """Begin a search, or go on with it, until it is done."""

    def run(runs: Path, *more: str) -> None:
        line = ("bayes", spec, "--runs", runs, "--quiet", "--device", str(DEVICE), *more)
        Fork(nursery, spec.parent, *line).wait(200).check(0)

    return run


def measured(runs: Path) -> list[Any]:
    """What must not depend on interruptions: points, seeds, outcomes, engines and objectives."""
    said = CliRunner().invoke(app, ["report", "resumed", "--runs", str(runs), "--json"])
    assert said.exit_code == 0, said.output
    report = json.loads(said.stdout)
    return [
        [
            {key: trial[key] for key in ("number", "point", "params", "seed", "outcome")}
            | {key: trial[key] for key in ("objective", "steps", "engine")}
            for trial in report["trials"]
        ],
        [(point["point"], point["params"], point["objective"]) for point in report["points"]],
        report["best"],
    ]


def assert_agree(found: list[Any], expected: list[Any]) -> None:
    """Two searches of one spec. Where rounding tells trainings apart, and with them what is
    proposed after them: as many trials, each with its end, and of what comes first the points."""
    if exact():
        assert found == expected
        return
    (left, *_), (right, *_) = found, expected
    assert [each["number"] for each in left] == [each["number"] for each in right]
    assert {each["outcome"] for each in [*left, *right]} <= {"completed", "diverged"}
    startup = [each["number"] for each in right if each["number"] <= 6]
    for number in startup:
        mine, theirs = (next(e for e in part if e["number"] == number) for part in (left, right))
        assert mine["params"] == theirs["params"] and mine["seed"] == theirs["seed"]


@pytest.fixture(scope="module", params=ENGINES)
def engine(request: pytest.FixtureRequest) -> tuple[str, ...]:
    return ENGINES[request.param]


@pytest.fixture(scope="module")
def uninterrupted(
    search: Callable[..., None], engine: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The runs of a search that two workers went through undisturbed."""
    runs = tmp_path_factory.mktemp("whole")
    search(runs, "--workers", "2", *engine)
    return runs


def shown(results: dict[int, Any]) -> dict[int, str]:
    """Results as text: a NaN is not equal to itself."""
    return {number: repr(result) for number, result in results.items()}


@pytest.mark.parametrize("part", [0.0, 0.5, 0.999])
def test_a_cut_journal_trains_only_what_is_missing(
    search: Callable[..., None],
    engine: tuple[str, ...],
    uninterrupted: Path,
    tmp_path: Path,
    part: float,
) -> None:
    whole = uninterrupted / "resumed"
    journal = (whole / "journal.jsonl").read_bytes()
    lines = journal.splitlines(keepends=True)
    start = len(b"".join(lines[:-4]))
    shutil.copytree(whole, tmp_path / "resumed")
    end = start + int(part * (len(journal) - start))
    (tmp_path / "resumed" / "journal.jsonl").write_bytes(journal[:end])
    search(tmp_path, *engine, *INLINE)
    assert_agree(measured(tmp_path), measured(uninterrupted))


def test_a_full_disk_loses_nothing(
    spec: Path,
    search: Callable[..., None],
    engine: tuple[str, ...],
    uninterrupted: Path,
    tmp_path: Path,
) -> None:
    line = ("bayes", spec, "--runs", tmp_path, "--quiet", "--device", DEVICE, *engine, *INLINE)
    limited = subprocess.run(
        command(*line),
        preexec_fn=Before(largest=16_000),
        capture_output=True,
        text=True,
    )
    assert limited.returncode == 1
    assert "Traceback" not in limited.stderr
    assert "full" in limited.stderr or "space" in limited.stderr
    kept = shown(read(tmp_path / "resumed").results)
    assert kept
    search(tmp_path, *engine, *INLINE)
    after = shown(read(tmp_path / "resumed").results)
    assert all(after[number] == result for number, result in kept.items())
    assert_agree(measured(tmp_path), measured(uninterrupted))


def test_workers_and_executors_agree(
    search: Callable[..., None], engine: tuple[str, ...], uninterrupted: Path, tmp_path: Path
) -> None:
    search(tmp_path / "inline", *INLINE, *engine)
    search(tmp_path / "three", "--workers", "3", *engine)
    assert {trial["engine"] for trial in measured(uninterrupted)[0]} == {engine[1]}
    for name in ("inline", "three"):
        assert_agree(measured(tmp_path / name), measured(uninterrupted))
        if exact():
            assert curves(tmp_path / name) == curves(uninterrupted)


def curves(runs: Path) -> dict[str, bytes]:
    """What the trials have measured on the way, as it was written."""
    return {path.name: path.read_bytes() for path in (runs / "resumed" / "curves").iterdir()}


def test_every_trial_has_its_records(uninterrupted: Path) -> None:
    """To the step that it came to, those that diverge not left out."""
    folder = uninterrupted / "resumed"
    for number, result in read(folder).results.items():
        records = read_records(folder, number)
        train = read(folder).trials[number].config["train"]
        budget = evaluation_steps(train, 1438)[-1]
        due = [step for step in recorded_steps(budget) if step <= result.steps]
        assert list(records.step) == due and (len(due) > 1 or result.rule)  # Stopped early.
        rates = learning_rates(train, 1438)
        assert list(records.lr) == [rates[step - 1] for step in due]


def test_a_second_search_trains_nothing(
    search: Callable[..., None], engine: tuple[str, ...], uninterrupted: Path, tmp_path: Path
) -> None:
    shutil.copytree(uninterrupted / "resumed", tmp_path / "resumed")
    before = measured(tmp_path)
    started = (tmp_path / "resumed" / "journal.jsonl").read_text().count('"event":"started"')
    search(tmp_path, *engine, *INLINE)
    journal = (tmp_path / "resumed" / "journal.jsonl").read_text()
    assert journal.count('"event":"started"') == started
    assert measured(tmp_path) == before
