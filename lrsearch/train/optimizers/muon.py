"""Muon for matrices and AdamW for what has another rank, as one optimizer."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, optim

from lrsearch.train.optimizers.kernels import (
    Parameters,
    choose_kernels,
    list_groups,
    step_plainly_where_needed,
)


def _choose(
    groups: Iterable[dict[str, Any]], wanted: Callable[[Tensor], bool]
) -> list[dict[str, Any]]:
    """The groups with those of their parameters that are wanted."""
    chosen = [{**each, "params": list(filter(wanted, each["params"]))} for each in groups]
    return [each for each in chosen if each["params"]]


class MuonAdamW(optim.Optimizer):
    """`torch.optim.Muon` over the parameters of rank 2, `torch.optim.AdamW` over all others.

    Its groups and its state are those of the two.
    """

    def __init__(
        self,
        parameters: Parameters,
        lr: float,
        *,
        weight_decay: float,
        muon: dict[str, Any],
        adamw: dict[str, Any],
    ) -> None:
        every = list_groups(parameters)
        matrices = _choose(every, lambda each: each.dim() == 2)
        others = _choose(every, lambda each: each.dim() != 2)
        self.parts: list[optim.Optimizer] = []
        if matrices:
            self.parts.append(optim.Muon(matrices, lr=lr, weight_decay=weight_decay, **muon))
        if others:
            own = optim.AdamW(choose_kernels(others), lr=lr, weight_decay=weight_decay, **adamw)
            step_plainly_where_needed(own)
            self.parts.append(own)
        # Groups are kept as the same objects: a rate set here is set there.
        super().__init__([group for part in self.parts for group in part.param_groups], {})
        for part in self.parts:
            part.state = self.state

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Make a step by the gradients."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for part in self.parts:
            part.step()
        return loss
