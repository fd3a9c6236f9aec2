"""Lion, which torch.optim does not have (Chen et al. 2023)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, optim

from lrsearch.schedules import Array
from lrsearch.train.optimizers.kernels import Parameters
from lrsearch.train.optimizers.stacked import Needs, Number, add_decay, alike, columns


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
        """Step each parameter [...] by its gradient [...], in place."""
        loss = None if closure is None else torch.enable_grad()(closure)()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, group)
        return loss

    def _update(self, parameter: Tensor, group: dict[str, Any]) -> None:
        """Step one parameter [...] by its gradient [...] and its `exp_avg` [...]."""
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


# in lanes

_NUMBERS = ("share", "kept_share", "decoupled_decay", "rate")


def _needs(config: Mapping[str, Any]) -> frozenset[str]:
    return frozenset({"decoupled_decay"} if config["weight_decay"] > 0 else ())


def _tabulate(config: Mapping[str, Any], rates: Array, first: int) -> Array:
    return columns(
        1.0 - float(config["beta1"]),
        1.0 - float(config["beta2"]),
        -rates * float(config["weight_decay"]),
        -rates,
    )


def _step(parameter: Tensor, gradient: Tensor, number: Number, needs: Needs, mean: Tensor) -> None:
    """Step a parameter [K, ...] by its gradient and its `exp_avg`."""
    add_decay(parameter, gradient, number, needs)
    direction = torch.lerp(mean, gradient, number("share"))
    # Torch's sign of NaN is zero: a lost training would look as if it stood still.
    step = direction.sign().masked_fill_(direction.isnan(), math.nan)
    parameter.addcmul_(step, number("rate"))
    mean.lerp_(gradient, number("kept_share"))


LANES = alike(("exp_avg",), _NUMBERS, _tabulate, _needs, _step)
