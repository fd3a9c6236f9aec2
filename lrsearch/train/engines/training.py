"""A model under training, in plain PyTorch, and a step of it as it is recorded."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from lrsearch.train.batches.batch import Batch
from lrsearch.train.device import sum_type
from lrsearch.train.models.criterion import Criterion
from lrsearch.train.optimizers.groups import divide_parameters
from lrsearch.train.optimizers.registry import build_optimizer
from lrsearch.train.recording import Weights, norm_of, room_for_copies
from lrsearch.trial import Workplace


class Training:
    """A model under training: one optimizer step at a time, in plain PyTorch.

    `train` is a resolved one. The model is on the data's device and is used, not copied. The
    workplace says what an optimizer's class path may import; `criterion` is the loss, which one of
    ours needs not be given.
    """

    def __init__(
        self,
        model: nn.Module,
        train: Mapping[str, Any],
        workplace: Workplace | None = None,
        criterion: Criterion | None = None,
    ) -> None:
        self.model = model
        self.workplace = workplace or Workplace()
        self.criterion = criterion or Criterion(train, "", workplace=self.workplace)
        self.clip = train["clip_norm"]
        self.parameters = [each for each in model.parameters() if each.requires_grad]
        self.train = train
        self._seen: tuple[Tensor, Weights] | None = None
        self._looking = False
        self._room: bool | None = None
        self.made: Callable[[torch.optim.Optimizer], None] = lambda _: None

    @cached_property
    def optimizer(self) -> torch.optim.Optimizer:
        """Made when first asked for: to be compared by its gradients a training needs none.
        `made` is told."""
        named = {name: each for name, each in self.model.named_parameters() if each.requires_grad}
        groups = divide_parameters(
            {name: each.dim() for name, each in named.items()},
            self.train,
            layers=self.train["layer_decay"] is not None,
        )
        parts = [
            {"params": [named[name] for name in group.names], **group.arguments(self.train)}
            for group in groups
        ]
        optimizer = build_optimizer(
            self.train["optimizer"], parts, float(self.train["lr"]), self.workplace
        )
        self.made(optimizer)
        return optimizer

    def compute_gradients(self, batch: Batch) -> Tensor:
        """The loss of a batch, its (clipped) gradients left in the parameters."""
        loss = self.criterion.training_loss(self.model, batch)
        torch.autograd.backward(loss)
        norm = None
        if self.clip is not None:
            norm = nn.utils.clip_grad_norm_(self.parameters, self.clip)
        if self._looking:
            self._look(norm)
        return loss.detach()

    def update(self, rate: float) -> None:
        """Step the optimizer by the gradients, and drop them."""
        self._set_rate(rate)
        self.optimizer.step()
        self._drop_gradients()

    def step(self, batch: Batch, rate: float) -> Tensor:
        """A whole step on a batch: its loss, before the update."""
        loss = self.compute_gradients(batch)
        if "class_path" not in self.train["optimizer"]:
            self.update(rate)
            return loss
        seen = False

        def look() -> Tensor:
            """The loss where the parameters are now; at the first call it is there already."""
            nonlocal seen
            if not seen:
                seen = True
                return loss
            self._drop_gradients()
            return self.compute_gradients(batch)

        # Somebody else's may look again as often as it likes, as LBFGS does.
        self._set_rate(rate)
        self.optimizer.step(look)  # type: ignore[arg-type]
        self._drop_gradients()
        return loss

    def recorded_step(self, batch: Batch, rate: float) -> tuple[Tensor, Tensor]:
        """A step as `step` makes it, and its `Weights.row`; where that cannot be had, nan."""
        self._looking = True
        try:
            loss = self.step(batch, rate)
        finally:
            seen, self._seen, self._looking = self._seen, None, False
        if seen is not None:
            norm, weights = seen
            with contextlib.suppress(Exception):  # A record ends no training.
                return loss, weights.row(loss, norm, self.parameters)
        row = torch.full((4,), torch.nan, dtype=sum_type(loss.device), device=loss.device)
        row[0] = loss
        return loss, row

    def _look(self, norm: Tensor | None) -> None:
        """See the gradients, of which this may be the norm, and the weights before the update."""
        self._looking = False  # An optimizer may look again, elsewhere.
        with contextlib.suppress(Exception):  # A record ends no training.
            if norm is None:
                norm = norm_of([each.grad for each in self.parameters if each.grad is not None])
            if self._room is None:
                self._room = room_for_copies(self.parameters)
            self._seen = norm, Weights(self.parameters, room=self._room)

    def _set_rate(self, rate: float) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["ratio"]

    def _drop_gradients(self) -> None:
        for parameter in self.parameters:
            parameter.grad = None
