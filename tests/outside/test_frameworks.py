"""The examples for Hugging Face's Trainer and for Lightning: trained, stopped and failing."""

from __future__ import annotations

import importlib
import json
import os
import re
import shutil
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from devices import DEVICE
from typer.testing import CliRunner

from lrsearch import Stopped
from lrsearch.cli import app
from lrsearch.outside import commands
from lrsearch.store import read
from lrsearch.trial import (
    Cohort,
    Ended,
    Objective,
    Outcome,
    Plan,
    Reached,
    Trial,
    Verdict,
    Workplace,
)

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Example:
    """An example, with what it needs, parameters that train, and one that its code refuses."""

    name: str
    needs: tuple[str, ...]
    params: dict[str, Any]
    """They train in a second."""
    metrics: tuple[str, ...]
    steps: list[int]
    """At which those are evaluated."""
    least: float
    """What the objective reaches."""
    searched: str
    """A parameter with `nosuch` for a value."""
    reason: str
    """How that fails,"""
    place: str
    """and where."""
    longer: dict[str, Any]
    """What makes it go on for minutes."""

    @property
    def module(self) -> str:
        return f"{self.name}_loop"


TRAINER = Example(
    name="trainer",
    needs=("transformers.trainer", "accelerate"),
    params={
        "learning_rate": 0.005,
        "per_device_train_batch_size": 64,
        "per_device_eval_batch_size": 64,
        "num_train_epochs": 2,
        "warmup_steps": 5,
        "lr_scheduler_type": "linear",
    },
    metrics=("eval_accuracy", "eval_loss"),
    steps=[35, 70],
    least=0.3,  # Of seven classes.
    searched="lr_scheduler_type",
    reason="ValueError: nosuch is not a valid SchedulerType",
    place="training_args.py",
    longer={"num_train_epochs": 1000},
)

LIGHTNING = Example(
    name="lightning",
    needs=("lightning",),
    params={"lr": 0.01, "batch_size": 32, "epochs": 2, "optimizer": "AdamW"},
    metrics=("accuracy", "loss"),
    steps=[45, 90],
    least=0.9,
    searched="optimizer",
    reason="AttributeError: module 'torch.optim' has no attribute nosuch",
    place="in configure_optimizers",
    longer={"epochs": 10_000},
)


@pytest.fixture(params=[TRAINER, LIGHTNING], ids=lambda each: each.name)
def example(request: pytest.FixtureRequest) -> Example:
    for module in request.param.needs:
        pytest.importorskip(module)
    found: Example = request.param
    return found


@pytest.fixture
def folder(example: Example, tmp_path: Path) -> Path:
    """A folder with the example's two files."""
    for file in (f"{example.name}.yaml", f"{example.module}.py"):
        shutil.copy(ROOT / "configs" / file, tmp_path)
    return tmp_path


@pytest.mark.usefixtures("forked_loops")
def test_an_example_trains_and_what_fails_says_why(example: Example, folder: Path) -> None:
    spec = f"{example.name}.yaml"
    grid = f"grid configs/{spec} --allow-import {example.module}"
    assert f"lrsearch {grid}" in (ROOT / "README.md").read_text()
    search = {example.searched: [example.params[example.searched], "nosuch"]}
    arguments = [
        *("grid", folder / spec, "--allow-import", example.module, "--json"),
        *("--runs", folder / "runs", "--executor", "inline", "--device", str(DEVICE)),
        *("--set", f"params={json.dumps(example.params)}"),
        *("--set", f"search={json.dumps(search)}"),
    ]
    done = CliRunner().invoke(app, list(map(str, arguments)), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["best"]["objective"] > example.least

    history = read(folder / "runs" / example.name)
    found = {
        history.trials[number].config["params"][example.searched]: (number, result)
        for number, result in history.results.items()
    }
    number, trained = found[example.params[example.searched]]
    assert trained.outcome is Outcome.COMPLETED and trained.steps == example.steps[-1]
    curve = json.loads((folder / f"runs/{example.name}/curves/{number:06}.json").read_text())
    assert curve["step"] == example.steps, "and a sanity check before training is none"
    assert sorted(curve) == sorted(["step", *example.metrics])
    _, failed = found["nosuch"]
    assert failed.outcome is Outcome.FAILED
    assert failed.reason.replace("'nosuch'", "nosuch", 1).startswith(example.reason), failed.reason
    assert example.place in failed.traceback
    left = {path.name for path in folder.iterdir()} - {"__pycache__"}
    assert left == {spec, f"{example.module}.py", "runs"}, "nothing is left behind"


@pytest.mark.usefixtures("forked_loops")
def test_a_verdict_stops_an_example(example: Example, folder: Path) -> None:
    from lrsearch.train.users.importing import forget_imports, source_hashes

    path = f"{example.module}.train"
    workplace = Workplace(str(DEVICE), str(folder), (example.module,))
    forget_imports()
    trial = Trial(1, "", {"loop": path, "params": example.params | example.longer}, seed=0)
    cohort = Cohort(
        (trial,),
        Plan(),
        workplace,
        Objective(example.metrics[0], "max"),
        rungs=(1,),
        source_hashes=source_hashes([path], workplace),
        timeout=60.0,
    )
    job = commands.run(cohort)
    event: Any = next(job)
    while not isinstance(event, Ended):
        event = job.send([(1, Verdict.STOP)] if isinstance(event, Reached) else None)
    job.close()
    assert event.result.outcome is Outcome.PRUNED, event.result
    assert event.result.steps >= example.steps[0]
    assert not event.result.traceback


def test_stopped_passes_through(
    example: Example, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lrsearch.outside.loop_process import Channel, LoopTrial
    from lrsearch.train.randomness import seed_everything

    class Stopping(LoopTrial):
        """A trial that is asked to stop as soon as it reports."""

        def report(self, step: int, **metrics: float) -> None:
            os.kill(os.getpid(), signal.SIGTERM)
            super().report(step, **metrics)

    monkeypatch.syspath_prepend(folder)
    train = importlib.import_module(example.module).train
    reports = folder / "reports"
    descriptor = os.open(reports, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    before = signal.getsignal(signal.SIGTERM)
    try:
        task = {"seed": 0, "device": "cpu", "number": 1, "run": example.name}
        trial = Stopping(task, example.params | example.longer, Channel(descriptor, ""))
        seed_everything(trial.seed)
        with pytest.raises(Stopped):
            train(trial)
    finally:
        signal.signal(signal.SIGTERM, before)
        os.close(descriptor)
        del sys.modules[example.module]
    told = [json.loads(line) for line in reports.read_text().splitlines() if line]
    assert [report["step"] for report in told] == example.steps[:1], "at its first evaluation"


@pytest.mark.parametrize("name", ["trainer", "lightning"])
def test_the_lines_that_change_are_counted(name: str) -> None:
    marked = re.findall("# lrsearch$", (ROOT / f"configs/{name}_loop.py").read_text(), re.M)
    assert f" {len(marked)} lines change" in (ROOT / f"configs/{name}.yaml").read_text()


MODULE = """
import lightning
import torch
from torch import nn
from torch.nn import functional as F


class Digits(lightning.LightningModule):
    def __init__(self, lr=0.1):
        super().__init__()
        self.save_hyperparameters()
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.Tanh(), nn.Linear(16, 10))

    def training_step(self, batch, index):
        x, y = batch
        loss = F.cross_entropy(self.net(x), y)
        self.log("train_loss", loss)
        return loss

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=self.hparams.lr)


def loss(model, batch):
    return model.training_step(batch, 0)
"""


def test_a_lightning_module_trains_in_lanes_by_its_training_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the optimizer and schedule of the spec, and no Trainer."""
    pytest.importorskip("lightning")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lit.py").write_text(MODULE)
    (tmp_path / "lit.yaml").write_text(
        "name: lit\ndata: digits\nmodel: {class_path: lit.Digits}\n"
        "train: {budget: 3ep, batch_size: 64, step: lit.loss}\n"
        "search: {lr: {min: 0.05, max: 0.5, points: 3}}\n"
    )
    arguments = ["grid", "lit.yaml", "--allow-import", "lit", "--engine", "fused", "--json"]
    said = CliRunner().invoke(app, [*arguments, "--executor", "inline", "--device", str(DEVICE)])
    assert said.exit_code == 0, said.stderr
    found = json.loads(said.stdout)
    assert {trial["engine"] for trial in found["trials"]} == {"fused"}
    assert found["best"]["objective"] < 1.0
