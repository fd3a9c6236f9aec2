"""Optimizers that step K stacked models at once, each lane with hyperparameters of its own.

They compute what `optimizers` does, in an order that touches memory less often. Whatever follows
from a lane's hyperparameters and step count alone is worked out beforehand in float64, by
`tabulate`; what is left for `update` is a fixed list of tensor operations: it reads nothing back,
and what it does to a lane depends on no other lane, bit for bit, with two lanes or more.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lrsearch.schedules import Array
from lrsearch.train.optimizers import stacked_adaptive as adaptive
from lrsearch.train.optimizers.stacked import StackedOptimizer, beside, columns, needs_decay, shaper
from lrsearch.train.optimizers.stacked_matrices import ADAFACTOR, muon
from lrsearch.train.optimizers.stacked_prodigy import PRODIGY
from lrsearch.train.optimizers.stacked_schedule_free import SCHEDULE_FREE_ADAMW, SCHEDULE_FREE_SGD

_LARGEST = 1e38
"""Nearly the largest number of float32."""


def clip_gradients(gradients: Sequence[Tensor], limits: Tensor) -> list[Tensor]:
    """Scale each lane's gradients to a norm of at most its limit, as `clip_grad_norm_` does.

    Gradients have shape [K, ...] and are only read, limits [K]; the norm is over all gradients of a
    lane. A limit of infinity leaves them as they are, even where their norm overflows or is NaN.
    """
    norms = [torch.linalg.vector_norm(each.reshape(len(limits), -1), dim=1) for each in gradients]
    norm = torch.linalg.vector_norm(torch.stack(norms, dim=1), dim=1)
    factors = (limits / (norm + 1e-6)).clamp(max=1.0).masked_fill(limits == math.inf, 1.0)
    return [each * beside(each, factors) for each in gradients]


_SGD = ("momentum", "kept", "buffer_decay", "decay_rate", "gradient_rate", "buffer_rate")


def _sgd_parts(config: Mapping[str, Any]) -> tuple[float, float]:
    """How much of the gradient and of the momentum buffer a step is made of."""
    momentum = float(config["momentum"])
    if momentum == 0:
        return 1.0, 0.0
    return (1.0, momentum) if config["nesterov"] else (0.0, 1.0)


def _sgd_needs(config: Mapping[str, Any]) -> frozenset[str]:
    gradient, buffer = _sgd_parts(config)
    terms = {
        "gradient": gradient,
        "momentum": buffer,
        "dampening": buffer * config["dampening"],
        "weight_decay": config["weight_decay"],
    }
    return frozenset(name for name, part in terms.items() if part > 0)


def _tabulate_sgd(config: Mapping[str, Any], rates: Array, first: int) -> Array:
    gradient, buffer = _sgd_parts(config)
    if gradient and buffer and config["dampening"]:
        raise ValueError("Nesterov momentum requires a momentum and zero dampening")
    decay = float(config["weight_decay"])
    steps = first + np.arange(len(rates))
    # The first gradient enters the buffer whole.
    kept = np.where(steps == 1, 1.0, 1.0 - config["dampening"])
    return columns(
        float(config["momentum"]),
        kept,
        kept * decay,
        -rates * gradient * decay,
        -rates * gradient,
        -rates * buffer,
    )


def _update_sgd(
    parameters: Sequence[Tensor],
    gradients: Sequence[Tensor],
    state: Mapping[str, Sequence[Tensor]],
    numbers: Sequence[Tensor],
    needs: frozenset[str],
) -> None:
    # The decayed gradient is never formed: that would be a tensor more to write and read. Nor may
    # the order of the sums follow from `needs`.
    shape = shaper(_SGD, numbers)
    for parameter, gradient, buffer in zip(
        parameters, gradients, state["momentum_buffer"], strict=True
    ):
        if "momentum" in needs:
            kept = gradient
            if "dampening" in needs:
                kept = gradient * shape("kept", parameter)
            torch.addcmul(kept, buffer, shape("momentum", parameter), out=buffer)
            if "weight_decay" in needs:
                buffer.addcmul_(parameter, shape("buffer_decay", parameter))
        if "gradient" in needs:
            if "weight_decay" in needs:
                parameter.addcmul_(parameter, shape("decay_rate", parameter))
            parameter.addcmul_(gradient, shape("gradient_rate", parameter))
        if "momentum" in needs:
            parameter.addcmul_(buffer, shape("buffer_rate", parameter))


_ADAM = ("share", "beta2", "square_share", "decay", "root_scale", "offset")


def _tabulate_adam(config: Mapping[str, Any], rates: Array, first: int, decoupled: bool) -> Array:
    beta1, beta2 = float(config["beta1"]), float(config["beta2"])
    steps = first + np.arange(len(rates))
    # A step is mean / (root_scale * sqrt(square) + offset), the rate divided into the denominator.
    with np.errstate(divide="ignore", over="ignore"):
        inverse = (1.0 - beta1**steps) / rates
        root_scale = inverse / np.sqrt(1.0 - beta2**steps)
        offset = inverse * config["eps"]
    # A rate of zero, or as good as: no step, and no product of zero and infinity.
    still = root_scale > _LARGEST
    decay = float(config["weight_decay"])
    return columns(
        1.0 - beta1,
        beta2,
        math.sqrt(1.0 - beta2),
        -rates * decay if decoupled else decay,
        np.where(still, 1.0, root_scale),
        np.where(still, math.inf, offset),
    )


def _update_adam(
    parameters: Sequence[Tensor],
    gradients: Sequence[Tensor],
    state: Mapping[str, Sequence[Tensor]],
    numbers: Sequence[Tensor],
    needs: frozenset[str],
    decoupled: bool,
) -> None:
    shape = shaper(_ADAM, numbers)
    for parameter, gradient, mean, square in zip(
        parameters, gradients, state["exp_avg"], state["exp_avg_sq"], strict=True
    ):
        if "weight_decay" in needs:
            decay = shape("decay", parameter)
            if decoupled:
                parameter.addcmul_(parameter, decay)
            else:
                gradient = torch.addcmul(gradient, parameter, decay)
        mean.lerp_(gradient, shape("share", parameter))
        work = gradient * shape("square_share", parameter)
        # Not a lerp: where a square overflows, infinity less infinity would make it NaN.
        square.mul_(shape("beta2", parameter)).addcmul_(work, work)
        # On a CPU sqrt is MKL's: five times slower for zeros, thirty times for denormals.
        torch.rsqrt(square, out=work)
        torch.div(shape("root_scale", parameter), work, out=work)
        work.add_(shape("offset", parameter))
        parameter.addcdiv_(mean, work, value=-1)


def _adam(*, decoupled: bool) -> StackedOptimizer:
    return StackedOptimizer(
        ("exp_avg", "exp_avg_sq"),
        _ADAM,
        partial(_tabulate_adam, decoupled=decoupled),
        needs_decay,
        partial(_update_adam, decoupled=decoupled),
    )


def _update_amsgrad(
    parameters: Sequence[Tensor],
    gradients: Sequence[Tensor],
    state: Mapping[str, Sequence[Tensor]],
    numbers: Sequence[Tensor],
    needs: frozenset[str],
) -> None:
    shape = shaper(_ADAM, numbers)
    slots = (state[slot] for slot in _AMSGRAD)
    for parameter, gradient, mean, square, largest in zip(
        parameters, gradients, *slots, strict=True
    ):
        if "weight_decay" in needs:
            gradient = torch.addcmul(gradient, parameter, shape("decay", parameter))
        mean.lerp_(gradient, shape("share", parameter))
        work = gradient * shape("square_share", parameter)
        square.mul_(shape("beta2", parameter)).addcmul_(work, work)
        torch.maximum(largest, square, out=largest)
        torch.rsqrt(largest, out=work)
        torch.div(shape("root_scale", parameter), work, out=work)
        work.add_(shape("offset", parameter))
        parameter.addcdiv_(mean, work, value=-1)


_AMSGRAD = ("exp_avg", "exp_avg_sq", "max_exp_avg_sq")

STACKED: dict[str, StackedOptimizer] = {
    "sgd": StackedOptimizer(("momentum_buffer",), _SGD, _tabulate_sgd, _sgd_needs, _update_sgd),
    "adam": _adam(decoupled=False),
    "adamw": _adam(decoupled=True),
    "amsgrad": StackedOptimizer(
        _AMSGRAD, _ADAM, partial(_tabulate_adam, decoupled=False), needs_decay, _update_amsgrad
    ),
    "nadam": adaptive.NADAM,
    "radam": adaptive.RADAM,
    "adamax": adaptive.ADAMAX,
    "rmsprop": adaptive.RMSPROP,
    "adagrad": adaptive.ADAGRAD,
    "adadelta": adaptive.ADADELTA,
    "adafactor": ADAFACTOR,
    "lion": adaptive.LION,
    "muon": muon(_adam(decoupled=True)),
    "schedule_free_sgd": SCHEDULE_FREE_SGD,
    "schedule_free_adamw": SCHEDULE_FREE_ADAMW,
    "prodigy": PRODIGY,
}
