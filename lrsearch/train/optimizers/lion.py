"""The Lion optimizer, which torch.optim does not have."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, optim

from lrsearch.train.optimizers.kernels import Parameters


class Lion(optim.Optimizer):
    """Steps of one size, by the sign of an average of gradients; weight decay is decoupled.

    With the average m of earlier gradients and the gradient g, a parameter p becomes
    (1 - lr weight_decay) p - lr sign(beta1 m + (1 - beta1) g), then m becomes
    beta2 m + (1 - beta2) g. Chen et al. 2023, "Symbolic Discovery of Optimization Algorithms",
    algorithm 2. The sign of NaN is NaN, that of a complex number z
    is z / |z|.
    """

    def __init__(
        self,
        parameters: Parameters,
        lr: float,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(parameters, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Make a step by the gradients."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, group)
        return loss

    def _update(self, parameter: Tensor, group: dict[str, Any]) -> None:
        assert parameter.grad is not None
        rate, (beta1, beta2), state = group["lr"], group["betas"], self.state[parameter]
        if not state:
            state["exp_avg"] = torch.zeros_like(parameter)
        mean = state["exp_avg"]
        if group["weight_decay"]:
            parameter.mul_(1 - rate * group["weight_decay"])
        gradient = parameter.grad.to_dense()  # The average of sparse ones is dense.
        direction = mean.lerp(gradient, 1 - beta1)
        # Torch's sign of NaN is zero: a lost training would look as if it stood still.
        step = direction.sgn().masked_fill_(direction.isnan(), math.nan)
        parameter.add_(step, alpha=-rate)
        mean.lerp_(gradient, 1 - beta2)
