"""Stacked optimizers that scale each entry by its own gradients: relatives of Adam, and Lion.

Where a lane's hyperparameters leave a term out, the term stays in and is multiplied by zero: the
order of the sums is the same whatever the other lanes need.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lrsearch.schedules import Array
from lrsearch.train.optimizers.stacked import StackedOptimizer, columns, needs_decay, shaper

State = Mapping[str, Sequence[Tensor]]
Shape = Callable[[str, Tensor], Tensor]


def _needs_kind_of_decay(config: Mapping[str, Any]) -> frozenset[str]:
    kind = "decoupled_decay" if config["decoupled"] else "weight_decay"
    return frozenset({kind} if config["weight_decay"] > 0 else ())


def _decays(config: Mapping[str, Any], rates: Array) -> tuple[float, Array | float]:
    """What of a parameter is added to its gradient, and what to itself."""
    decay = float(config["weight_decay"])
    return (0.0, -rates * decay) if config["decoupled"] else (decay, 0.0)


def _decay(parameter: Tensor, gradient: Tensor, shape: Shape, needs: frozenset[str]) -> Tensor:
    """The gradient with weight decay; a decoupled one is applied."""
    if "decoupled_decay" in needs:
        parameter.addcmul_(parameter, shape("decoupled_decay", parameter))
    if "weight_decay" in needs:
        return torch.addcmul(gradient, parameter, shape("decay", parameter))
    return gradient


def _average_square(square: Tensor, gradient: Tensor, parameter: Tensor, shape: Shape) -> Tensor:
    """Bring the average of squares up to date; memory to work in."""
    work = gradient * shape("square_share", parameter)
    # Not a lerp: where a square overflows, infinity less infinity would make it NaN.
    square.mul_(shape("beta2", parameter)).addcmul_(work, work)
    return work


def _root(square: Tensor, out: Tensor) -> Tensor:
    """Its square root. On a CPU sqrt is MKL's: many times slower for zeros and denormals."""
    return torch.rsqrt(square, out=out).reciprocal_()


# NAdam (Dozat 2016)

_NADAM = (
    *("share", "beta2", "square_share", "decay", "decoupled_decay"),
    *("root_scale", "eps", "gradient_rate", "mean_rate"),
)


def _tabulate_nadam(config: Mapping[str, Any], rates: Array, first: int) -> Array:
    beta1, beta2 = float(config["beta1"]), float(config["beta2"])
    every = np.arange(1, first + len(rates) + 1)
    momenta = beta1 * (1.0 - 0.5 * 0.96 ** (every * float(config["momentum_decay"])))
    # torch keeps the product of all momenta in float32, whatever the parameters' dtype.
    products = np.multiply.accumulate(momenta[:-1].astype(np.float32))[first - 1 :].astype(float)
    momentum, following, steps = momenta[first - 1 : -1], momenta[first:], every[first - 1 : -1]
    return columns(
        1.0 - beta1,
        beta2,
        math.sqrt(1.0 - beta2),
        *_decays(config, rates),
        1.0 / np.sqrt(1.0 - beta2**steps),
        float(config["eps"]),
        -rates * (1.0 - momentum) / (1.0 - products),
        -rates * following / (1.0 - products * following),
    )


def _update_nadam(
    parameters: Sequence[Tensor],
    gradients: Sequence[Tensor],
    state: State,
    numbers: Sequence[Tensor],
    needs: frozenset[str],
) -> None:
    shape = shaper(_NADAM, numbers)
    for parameter, gradient, mean, square in zip(
        parameters, gradients, state["exp_avg"], state["exp_avg_sq"], strict=True
    ):
        gradient = _decay(parameter, gradient, shape, needs)
        mean.lerp_(gradient, shape("share", parameter))
        work = _average_square(square, gradient, parameter, shape)
        torch.rsqrt(square, out=work)
        torch.div(shape("root_scale", parameter), work, out=work)
        work.add_(shape("eps", parameter))
        step = gradient * shape("gradient_rate", parameter)
        step.addcmul_(mean, shape("mean_rate", parameter))
        parameter.addcdiv_(step, work)


NADAM = StackedOptimizer(
    ("exp_avg", "exp_avg_sq"), _NADAM, _tabulate_nadam, _needs_kind_of_decay, _update_nadam
)

# RAdam (Liu et al. 2020)

_RADAM = (
    *("share", "beta2", "square_share", "decay", "decoupled_decay"),
    *("rectified", "eps", "rate"),
)


def _tabulate_radam(config: Mapping[str, Any], rates: Array, first: int) -> Array:
    beta1, beta2 = float(config["beta1"]), float(config["beta2"])
    steps = first + np.arange(len(rates))
    correction = 1.0 - beta2**steps
    # The length of a plain average as noisy as the exponential one; over 5 its variance is finite.
    longest = 2.0 / (1.0 - beta2) - 1.0
    length = longest - 2.0 * steps * beta2**steps / correction
    rectified = length > 5.0
    known = np.where(rectified, length, longest)  # Elsewhere nobody asks.
    square = correction * (known - 4.0) * (known - 2.0) * longest
    if rectified.any():
        square /= (longest - 4.0) * (longest - 2.0) * known
    adapted = np.sqrt(np.where(rectified, square, 1.0))
    return columns(
        1.0 - beta1,
        beta2,
        math.sqrt(1.0 - beta2),
        *_decays(config, rates),
        rectified.astype(float),
        float(config["eps"]),
        -rates / (1.0 - beta1**steps) * adapted,
    )


def _update_radam(
    parameters: Sequence[Tensor],
    gradients: Sequence[Tensor],
    state: State,
    numbers: Sequence[Tensor],
    needs: frozenset[str],
) -> None:
    shape = shaper(_RADAM, numbers)
    for parameter, gradient, mean, square in zip(
        parameters, gradients, state["exp_avg"], state["exp_avg_sq"], strict=True
    ):
        gradient = _decay(parameter, gradient, shape, needs)
        mean.lerp_(gradient, shape("share", parameter))
        work = _root(square, _average_square(square, gradient, parameter, shape))
        work.add_(shape("eps", parameter))
        work.masked_fill_(shape("rectified", parameter) == 0, 1.0)
        torch.div(mean, work, out=work)
        parameter.addcmul_(work, shape("rate", parameter))


RADAM = StackedOptimizer(
    ("exp_avg", "exp_avg_sq"), _RADAM, _tabulate_radam, _needs_kind_of_decay, _update_radam
)

# Adamax (Kingma and Ba 2015)

_ADAMAX = ("share", "beta2", "decay", "eps", "rate")


def _tabulate_adamax(config: Mapping[str, Any], rates: Array, first: int) -> Array:
    beta1 = float(config["beta1"])
    steps = first + np.arange(len(rates))
    return columns(
        1.0 - beta1,
        float(config["beta2"]),
        float(config["weight_decay"]),
        float(config["eps"]),
        -rates / (1.0 - beta1**steps),
    )


def _update_adamax(
    parameters: Sequence[Tensor],
    gradients: Sequence[Tensor],
    state: State,
    numbers: Sequence[Tensor],
    needs: frozenset[str],
) -> None:
    shape = shaper(_ADAMAX, numbers)
    for parameter, gradient, mean, largest in zip(
        parameters, gradients, state["exp_avg"], state["exp_inf"], strict=True
    ):
        gradient = _decay(parameter, gradient, shape, needs)
        mean.lerp_(gradient, shape("share", parameter))
        work = gradient.abs().add_(shape("eps", parameter))
        torch.maximum(largest.mul_(shape("beta2", parameter)), work, out=largest)
        torch.div(mean, largest, out=work)
        parameter.addcmul_(work, shape("rate", parameter))


ADAMAX = StackedOptimizer(
    ("exp_avg", "exp_inf"), _ADAMAX, _tabulate_adamax, needs_decay, _update_adamax
)

# RMSprop (Hinton 2012; centered: Graves 2013)

_RMSPROP = (
    *("beta2", "square_share", "share", "decay", "centered"),
    *("eps", "momentum", "rate"),
)


def _rmsprop_needs(config: Mapping[str, Any]) -> frozenset[str]:
    terms = {name for name in ("weight_decay", "momentum", "centered") if config[name]}
    return frozenset(terms)


def _tabulate_rmsprop(config: Mapping[str, Any], rates: Array, first: int) -> Array:
    alpha = float(config["alpha"])
    return columns(
        alpha,
        math.sqrt(1.0 - alpha),
        1.0 - alpha,
        float(config["weight_decay"]),
        -float(config["centered"]),
        float(config["eps"]),
        float(config["momentum"]),
        -rates,
    )


def _update_rmsprop(
    parameters: Sequence[Tensor],
    gradients: Sequence[Tensor],
    state: State,
    numbers: Sequence[Tensor],
    needs: frozenset[str],
) -> None:
    shape = shaper(_RMSPROP, numbers)
    slots = (state[slot] for slot in RMSPROP.slots)
    for parameter, gradient, square, buffer, mean in zip(
        parameters, gradients, *slots, strict=True
    ):
        gradient = _decay(parameter, gradient, shape, needs)
        work = _average_square(square, gradient, parameter, shape)
        variance = square
        if "centered" in needs:
            mean.lerp_(gradient, shape("share", parameter))
            torch.mul(mean, shape("centered", parameter), out=work)
            variance = torch.addcmul(square, work, mean)
        _root(variance, work).add_(shape("eps", parameter))
        torch.div(gradient, work, out=work)
        if "momentum" in needs:
            torch.addcmul(work, buffer, shape("momentum", parameter), out=buffer)
            work = buffer
        parameter.addcmul_(work, shape("rate", parameter))


RMSPROP = StackedOptimizer(
    ("square_avg", "momentum_buffer", "grad_avg"),
    _RMSPROP,
    _tabulate_rmsprop,
    _rmsprop_needs,
    _update_rmsprop,
)

# Adagrad (Duchi et al. 2011)

_ADAGRAD = ("decay", "eps", "rate")


def _tabulate_adagrad(config: Mapping[str, Any], rates: Array, first: int) -> Array:
    made = first - 1 + np.arange(len(rates))
    rate = -rates / (1.0 + made * float(config["lr_decay"]))
    return columns(float(config["weight_decay"]), float(config["eps"]), rate)


def _update_adagrad(
    parameters: Sequence[Tensor],
    gradients: Sequence[Tensor],
    state: State,
    numbers: Sequence[Tensor],
    needs: frozenset[str],
) -> None:
    shape = shaper(_ADAGRAD, numbers)
    for parameter, gradient, total in zip(parameters, gradients, state["sum"], strict=True):
        gradient = _decay(parameter, gradient, shape, needs)
        total.addcmul_(gradient, gradient)
        work = _root(total, torch.empty_like(total)).add_(shape("eps", parameter))
        torch.div(gradient, work, out=work)
        parameter.addcmul_(work, shape("rate", parameter))


ADAGRAD = StackedOptimizer(("sum",), _ADAGRAD, _tabulate_adagrad, needs_decay, _update_adagrad)

# Adadelta (Zeiler 2012)

_ADADELTA = ("beta2", "square_share", "decay", "eps", "rate")


def _tabulate_adadelta(config: Mapping[str, Any], rates: Array, first: int) -> Array:
    rho = float(config["rho"])
    decay, eps = float(config["weight_decay"]), float(config["eps"])
    return columns(rho, math.sqrt(1.0 - rho), decay, eps, -rates)


def _update_adadelta(
    parameters: Sequence[Tensor],
    gradients: Sequence[Tensor],
    state: State,
    numbers: Sequence[Tensor],
    needs: frozenset[str],
) -> None:
    shape = shaper(_ADADELTA, numbers)
    for parameter, gradient, square, moved in zip(
        parameters, gradients, state["square_avg"], state["acc_delta"], strict=True
    ):
        gradient = _decay(parameter, gradient, shape, needs)
        eps = shape("eps", parameter)
        work = _average_square(square, gradient, parameter, shape)
        torch.add(square, eps, out=work).rsqrt_().mul_(gradient).div_((moved + eps).rsqrt_())
        parameter.addcmul_(work, shape("rate", parameter))
        _average_square(moved, work, parameter, shape)


ADADELTA = StackedOptimizer(
    ("square_avg", "acc_delta"), _ADADELTA, _tabulate_adadelta, needs_decay, _update_adadelta
)

# Lion (Chen et al. 2023)

_LION = ("share", "kept_share", "decoupled_decay", "rate")


def _lion_needs(config: Mapping[str, Any]) -> frozenset[str]:
    return frozenset({"decoupled_decay"} if config["weight_decay"] > 0 else ())


def _tabulate_lion(config: Mapping[str, Any], rates: Array, first: int) -> Array:
    return columns(
        1.0 - float(config["beta1"]),
        1.0 - float(config["beta2"]),
        -rates * float(config["weight_decay"]),
        -rates,
    )


def _update_lion(
    parameters: Sequence[Tensor],
    gradients: Sequence[Tensor],
    state: State,
    numbers: Sequence[Tensor],
    needs: frozenset[str],
) -> None:
    shape = shaper(_LION, numbers)
    for parameter, gradient, mean in zip(parameters, gradients, state["exp_avg"], strict=True):
        _decay(parameter, gradient, shape, needs)
        direction = torch.lerp(mean, gradient, shape("share", parameter))
        # Torch's sign of NaN is zero: a lost training would look as if it stood still.
        step = direction.sign().masked_fill_(direction.isnan(), math.nan)
        parameter.addcmul_(step, shape("rate", parameter))
        mean.lerp_(gradient, shape("kept_share", parameter))


LION = StackedOptimizer(("exp_avg",), _LION, _tabulate_lion, _lion_needs, _update_lion)
