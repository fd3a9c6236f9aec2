"""What lanes cannot evaluate together is evaluated one lane after the other, as alone."""

from __future__ import annotations

import textwrap
from dataclasses import replace
from pathlib import Path

import pytest
from devices import DEVICE, assert_same_numbers
from test_draws import HERE, assert_lanes_train_as_alone
from test_train import MLP, cohort, config
from torch.utils import checkpoint as checkpointing

from lrsearch.train.engines.cohort import run_cohort
from lrsearch.train.engines.comparison import refuse
from lrsearch.train.engines.course import open_data
from lrsearch.train.lanes.plain import _CHECKPOINTING
from lrsearch.trial import Ended, Objective, Plan, Planned, Workplace

pytestmark = pytest.mark.usefixtures("on_device")

STEPS = """
import torch
import torch.nn.functional as F

class Views:
    def loss(self, model, batch):
        x, _ = batch
        views = model(torch.cat([x + 0.1 * torch.randn_like(x), F.dropout(x, 0.2)]))
        views, half = F.normalize(views, dim=1), len(x)
        pairs = torch.cat([torch.arange(half, 2 * half), torch.arange(half)])
        alike = (views @ views.T / 0.5).masked_fill(torch.eye(2 * half, dtype=torch.bool), -1e9)
        return F.cross_entropy(alike, pairs)

    def evaluate(self, model, batch):
        x, y = batch
        right = sum(int(at) == int(label) for at, label in zip(model(x).argmax(1), y))
        return {"right": right / len(y), "size": model(x).std().item()}

class Seeds(Views):
    def evaluate(self, model, batch):
        torch.manual_seed(7)
        return {"noisy": model(torch.randn_like(batch[0])).mean()}

class Counts(Views):
    calls = 0

    def evaluate(self, model, batch):
        self.calls += 1
        return {"size": model(batch[0]).std().item() / self.calls}

class Trains(Views):
    def evaluate(self, model, batch):
        model.train()
        return {"size": model(batch[0]).std().item()}
"""


@pytest.fixture
def place(tmp_path: Path) -> Workplace:
    tmp_path.joinpath("steps.py").write_text(textwrap.dedent(STEPS))
    return Workplace(str(DEVICE), str(tmp_path), ("steps",))


def own(step: str, rate: float, **given: object) -> dict[str, object]:
    train = {"budget": "2ep", "batch_size": 48, "optimizer": {"name": "sgd", **SGD}, "loss": None}
    path = {"class_path": f"steps.{step}", "init_args": {}}
    return config(MLP | {"batch_norm": True}, lr=rate, step=path, **{**train, **given})


SGD = {"momentum": 0.9, "dampening": 0.0, "nesterov": False, "weight_decay": 0.0}


@pytest.mark.parametrize(("step", "metric"), [("Views", "right"), ("Seeds", "noisy")])
def test_steps_that_draw_and_read_in_evaluation(place: Workplace, step: str, metric: str) -> None:
    """Their draws there move on the lane's own generator, as the training's draws show."""
    configs = [own(step, rate) for rate in (0.002, 0.005, 0.001)]
    goal = Objective(metric, "max")
    assert_lanes_train_as_alone(cohort(*configs, place=place, seeds=[0, 1, 0], objective=goal))


def test_an_average_is_evaluated_singly_too(place: Workplace) -> None:
    kept = {"momentum": 0.9, "weight_decay": 0.0, "r": 0.0, "weight_lr_power": 2.0}
    averaging = {"name": "schedule_free_sgd", **kept}
    configs = [own("Views", rate, optimizer=averaging) for rate in (0.02, 0.05, 0.01)]
    goal = Objective("right", "max")
    assert_lanes_train_as_alone(cohort(*configs, place=place, seeds=[0, 1, 0], objective=goal))


@pytest.mark.parametrize(
    "name", ["NoisyInEvaluation", "DropsInEvaluation", "ReadsInEvaluation", "Samples"]
)
def test_models_that_draw_or_read_in_evaluation(name: str) -> None:
    model = {"class_path": f"layers.{name}", "init_args": {}}
    configs = [config(model, lr=rate, budget="2ep", batch_size=32) for rate in (0.02, 0.05, 0.01)]
    assert_lanes_train_as_alone(cohort(*configs, place=HERE, seeds=[0, 1, 0]))


def test_checkpoints_train_as_alone() -> None:
    model = {"class_path": "layers.Checkpoints", "init_args": {}}
    configs = [config(model, lr=rate, budget="2ep", batch_size=32) for rate in (0.02, 0.05, 0.01)]
    assert_lanes_train_as_alone(cohort(*configs, place=HERE, seeds=[0, 1, 0]))


def test_without_the_functions_behind_checkpoints_other_models_have_lanes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """They are torch's own, and other versions may have others."""
    for name in _CHECKPOINTING:
        monkeypatch.delattr(checkpointing, name)
    job = cohort(config(lr=0.01), config(lr=0.02))
    assert refuse(job.trials, open_data(job, job.trials[0], DEVICE), job.workplace) == ""


@pytest.mark.parametrize(
    ("step", "reason"), [("Counts", "changes train.step"), ("Trains", "in evaluation, too")]
)
def test_an_evaluation_that_remembers_or_trains_is_refused(
    place: Workplace, step: str, reason: str
) -> None:
    job = cohort(own(step, 0.01), own(step, 0.02), place=place)
    assert reason in refuse(job.trials, open_data(job, job.trials[0], DEVICE), place)


@pytest.mark.parametrize(
    ("name", "arguments", "reason"),
    [
        ("ScalesLate", {}, "its evaluation changes scale, which other lanes would read"),
        ("DriftsLate", {"how": "in place"}, "its forward changes scale in evaluation, too"),
        ("DriftsLate", {"how": "replaced"}, "its forward changes scale in evaluation, too"),
    ],
)
def test_what_an_evaluation_leaves_late_ends_lanes(
    name: str, arguments: dict[str, str], reason: str
) -> None:
    """Trying comes before the weights say so; from then on all trials are trained as alone."""
    model = {"class_path": f"layers.{name}", "init_args": arguments}
    given = {"budget": "8ba", "batch_size": 32, "evaluate": "2ba"}
    job = cohort(*(config(model, lr=rate, **given) for rate in (0.001, 0.02)), place=HERE)
    assert refuse(job.trials, open_data(job, job.trials[0], DEVICE), job.workplace) == ""
    events = [*run_cohort(replace(job, plan=Plan("fused", 2)))]
    (planned,) = [each.plan for each in events if isinstance(each, Planned)]
    assert planned.engine == "solo"
    assert planned.reason == reason
    ended = {each.trial: each for each in events if isinstance(each, Ended)}
    for each in run_cohort(job):
        if isinstance(each, Ended):
            assert_same_numbers(each.curve, ended[each.trial].curve)
