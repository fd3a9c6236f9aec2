"""Trainings before their first step: the model of a trial, and its losses there."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lrsearch.data.interrupts import any_but_interrupts
from lrsearch.train.batches.batch import copy, shape_of
from lrsearch.train.device import sum_type
from lrsearch.train.engines.course import Data
from lrsearch.train.models.build import build_model
from lrsearch.train.models.criterion import Criterion, baseline_loss, make_criterion
from lrsearch.train.models.metrics import SUMS
from lrsearch.train.models.validation import in_chunks
from lrsearch.train.randomness import seed_everything, trial_seeds
from lrsearch.train.users import anew
from lrsearch.train.users.memory import version_of
from lrsearch.trial import Trial, Workplace


def make_start(
    trial: Trial, data: Data, workplace: Workplace
) -> tuple[nn.Module, Criterion, Tensor]:
    """The model of a trial, its loss, and `start_losses`; by these nothing is changed.

    A model that remembers having been called, as one that sets its weights by the first batch that
    it sees, is made anew: its first batch is a training's.
    """
    criterion = make_criterion(trial.config, data.task, data.outputs, workplace, data.device)
    model = build(trial, data, workplace)
    seed_everything(trial_seeds(trial.seed).noise)
    own = "class_path" in trial.config["model"] or criterion.objects
    before = _remember(model, criterion) if own else None
    start = start_losses(model, data, criterion)
    if before is not None and _remember(model, criterion) != before:
        anew.take_out(workplace)  # Data that count or draw stand where they do for other models.
        criterion = make_criterion(trial.config, data.task, data.outputs, workplace, data.device)
        model = build(trial, data, workplace)
    return model, criterion, start


def _remember(model: nn.Module, criterion: Criterion) -> object:
    """All that a model could remember, but for the states of global generators; unlike any other
    where it cannot be looked at."""
    model.eval()
    held = (*model.named_parameters(), *model.named_buffers())
    versions = {f"the version of {name}": version_of(each) for name, each in held}
    try:
        known = criterion.remember(model).items()
    except any_but_interrupts():  # Objects of the user's may raise anything.
        return object()
    return {key: each for key, each in known if not key.startswith("the state of")} | versions


@torch.no_grad()
def start_losses(model: nn.Module, data: Data, criterion: Criterion) -> Tensor:
    """The losses that `divergence` compares later ones with, [2]: the loss before the first step,
    and that of a model that knows nothing, `criterion.baseline_loss`.

    They are over samples spread over the training split, since the first batch says little where
    batches are small; without transforms and in evaluation mode, as validation losses are. They
    stay on the device.
    """
    model.eval()  # Leaves the statistics of batch norm alone.

    def compute(size: int) -> Tensor:
        batch = data.spread_out(size)
        kept = copy(batch)  # A user's code may change it in place.
        wide = sum_type(data.device)
        with torch.set_grad_enabled(criterion.step is not None):  # Which may take gradients itself.
            loss = criterion.loss(model, batch).detach().to(wide)
        return torch.stack([loss, baseline_loss(criterion, model, kept, data.outputs).to(wide)])

    return in_chunks(compute, data, criterion)


def build(trial: Trial, data: Data, workplace: Workplace) -> nn.Module:
    """The model of a trial on the data's device, its weights drawn by the trial's seed."""
    seed_everything(trial_seeds(trial.seed).weights)
    example = data.example
    model = build_model(
        trial.config["model"],
        shape_of(example),
        data.outputs,
        workplace,
        example,
        fits=data.task in SUMS,
    )
    return model.to(data.device)
