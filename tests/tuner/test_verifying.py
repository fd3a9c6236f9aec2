"""`export --verify`: a measured point trained again, alone."""

from __future__ import annotations

import math
import statistics
from dataclasses import replace
from pathlib import Path

import pytest
from devices import DEVICE
from typer.testing import CliRunner

from lrsearch.cli import app
from lrsearch.store import Run, read
from lrsearch.tuner.verifying import Verification

SPEC = """\
name: small
data: {name: digits, standardize: true}
model: {name: mlp, hidden: [16]}
train: {budget: 2ep, batch_size: 128, optimizer: {name: sgd, momentum: 0.9}}
search: {lr: [0.01, 0.1]}
"""


def lrsearch(*arguments: object) -> tuple[int, str, str]:
    done = CliRunner().invoke(app, list(map(str, arguments)), catch_exceptions=False)
    return done.exit_code, done.stdout, done.stderr


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("searched")
    (folder / "small.yaml").write_text(SPEC)
    more = ("--runs", folder / "runs", "--device", str(DEVICE), "--executor", "inline", "--quiet")
    code, _, err = lrsearch("grid", folder / "small.yaml", *more, "--engine", "fused")
    assert code == 0, err
    assert {each.engine for each in read(folder / "runs" / "small").results.values()} == {"fused"}
    return folder


def forge(folder: Path, metric: float) -> None:
    """A second run, `forged`, with the first one's lines but another accuracy."""
    true = read(folder / "runs" / "small")
    with Run.open(folder / "runs", "forged", spec_text=SPEC) as run:
        session = true.sessions[-1]
        run.opened(session["spec"], session["strategy"], session["facts"])
        for number in sorted({each.generation for each in true.proposals}):
            chosen = [each for each in true.proposals if each.generation == number]
            trials = [true.trials[each] for proposal in chosen for each in proposal.trials]
            run.proposed(number, session["strategy"], chosen, trials)
        for number, result in true.results.items():
            run.started(number)
            run.ended(number, replace(result, last={**result.last, "accuracy": metric}), {})


def test_what_was_fused_agrees_with_what_is_trained_alone(searched: Path) -> None:
    code, out, err = lrsearch(
        "export", searched / "runs" / "small", "--verify", "--device", str(DEVICE), "--workers", "1"
    )
    assert code == 0, err
    assert out.startswith("name: small-best")
    assert [line.split(":")[0].strip() for line in err.splitlines() if "seed " in line] == [
        "seed 0",
        "seed 1",
        "seed 2",
    ]
    assert "verified: alone" in err
    assert err.count("not measured in the run") == 2


def test_a_measurement_that_training_does_not_bear_out_is_not_verified(searched: Path) -> None:
    forge(searched, 0.25)
    code, _, err = lrsearch(
        "export",
        searched / "runs" / "forged",
        "--verify",
        "--device",
        str(DEVICE),
        "--workers",
        "1",
    )
    assert code == 3
    assert "0.2500 in the run" in err and "not verified: alone +" in err


def test_the_difference_is_over_what_was_measured_and_the_spread_over_all_seeds() -> None:
    measured = {(0, 0): 0.8, (0, 1): 0.9}
    alone = {(0, 0): 0.81, (0, 1): 0.93, (1, 0): 0.7, (1, 1): 0.8, (2, 0): 0.9, (2, 1): 0.9}
    found = Verification(measured, alone)
    assert math.isclose(found.difference, 0.02)
    assert math.isclose(found.spread, statistics.stdev([0.87, 0.75, 0.9]))
    assert found.agrees
    assert not Verification({(0, None): 0.5}, {(0, None): 0.6, (1, None): 0.61}).agrees
    lost = Verification({(0, None): 0.5}, {(0, None): None, (1, None): 0.6})
    assert math.isnan(lost.difference) and not lost.agrees
