"""Initial states of a cohort's trials, which follow from their seeds alone."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

import torch

from lrsearch.train.engines.course import Data
from lrsearch.train.engines.start import build, start_losses
from lrsearch.train.lanes.state import LaneState, Skeleton, initial_state
from lrsearch.train.models.criterion import Criterion, make_criterion
from lrsearch.train.optimizers.registry import STACKED
from lrsearch.train.randomness import seed_everything, trial_seeds
from lrsearch.train.users import anew
from lrsearch.trial import Cohort, Trial

SEEDS = 8
"""Seeds whose initial weights are kept, but of no more than there are lanes: they are on the device
beside the program, and large models train in few lanes."""


@dataclass(eq=False)
class Initial:
    """The initial states of trials on a device, those of the last seeds kept."""

    cohort: Cohort
    device: torch.device
    data: Data
    lanes: int
    kept: OrderedDict[int, tuple[LaneState, dict[float, list[float]]]] = field(
        default_factory=OrderedDict
    )
    first: Skeleton | None = None

    @property
    def skeleton(self) -> Skeleton:
        """The model of the first trial that has begun."""
        assert self.first is not None
        return self.first

    def of(self, trial: Trial) -> tuple[LaneState, list[float]]:
        """The state before the first step, and `start_losses` there."""
        train = trial.config["train"]
        smoothing = float(train["label_smoothing"])
        if trial.seed not in self.kept:
            anew.put_back(self.cohort.workplace)
            model = build(trial, self.data, self.cohort.workplace)
            noise = torch.Generator(self.device).manual_seed(trial_seeds(trial.seed).noise)
            optimizer = STACKED[train["optimizer"]["name"]]
            self.kept[trial.seed] = initial_state(model, optimizer, noise.get_state()), {}
            self.first = self.first or Skeleton(model)
            while len(self.kept) > min(SEEDS, self.lanes):
                self.kept.popitem(last=False)
        state, starts = self.kept[trial.seed]
        if smoothing not in starts:
            model = self.skeleton.load(state)
            criterion = self.make_criterion(trial)
            seed_everything(trial_seeds(trial.seed).noise)
            starts[smoothing] = start_losses(model, self.data, criterion).tolist()
        return state, starts[smoothing]

    def make_criterion(self, trial: Trial) -> Criterion:
        """The trial's own loss, metrics and step."""
        place, data = self.cohort.workplace, self.data
        return make_criterion(trial.config, data.task, data.outputs, place, self.device)
