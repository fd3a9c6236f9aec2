"""The look at the test part: one training, alone, whose model is evaluated there at its end."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import safetensors.torch
import torch

from lrsearch import pulse
from lrsearch.train.device import find_device
from lrsearch.train.engines import solo
from lrsearch.train.engines.course import (
    Data,
    Event,
    Replies,
    check_sources,
    open_data,
    state_of,
    validation_metrics,
)
from lrsearch.train.engines.saving import is_kept, restore
from lrsearch.train.engines.start import build
from lrsearch.train.engines.telling import Telling
from lrsearch.train.models.criterion import make_criterion
from lrsearch.train.models.validation import validation_sums
from lrsearch.train.users.isolation import isolated
from lrsearch.trial import Cohort, Ended, Looked, Started, Trial


def look(cohort: Cohort) -> Generator[Event, Replies, None]:
    """Train the cohort's one trial as `solo` does, and evaluate the weights that its objective is
    of on the test part. Raises as `cohort.run_cohort`."""
    device = find_device(cohort.workplace.device)
    yield from isolated(_train(cohort, device), device, cohort.workplace)


def _train(cohort: Cohort, device: torch.device) -> Telling:
    (trial,) = cohort.trials
    yield Started(trial.number)
    check_sources(cohort, trial.config)
    replies: Any = None
    training = solo.run_trial(cohort, trial, device)
    while True:
        try:
            event = training.send(replies)
        except StopIteration:
            return
        if isinstance(event, Ended) and event.weights is not None:
            yield _look(cohort, trial, device, event.weights)
        replies = yield event


def _look(cohort: Cohort, trial: Trial, device: torch.device, weights: bytes) -> Looked:
    """Evaluate a trial's weights on the test part."""
    pulse.enter("looking at the test part")
    data: Data = open_data(cohort, trial, device, tested=True)
    criterion = make_criterion(trial.config, data.task, data.outputs, cohort.workplace, device)
    model = build(trial, data, cohort.workplace)
    stored = safetensors.torch.load(weights)
    with torch.no_grad():
        for name, tensor in state_of(model).items():
            if is_kept(tensor):
                tensor.copy_(restore(stored[name], tensor))
    sums = validation_sums(model, data, criterion).tolist()
    metrics = validation_metrics(sums, data, criterion)
    return Looked(trial.number, metrics, data.validation_samples)
