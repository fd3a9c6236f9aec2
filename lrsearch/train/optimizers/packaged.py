"""Optimizers that their authors publish as packages, an optional extra; imported when asked for."""

from __future__ import annotations

import importlib
import math
from types import ModuleType

from torch import optim

from lrsearch import catalogue
from lrsearch.errors import ModelError
from lrsearch.train.optimizers.kernels import Parameters

PACKAGES = catalogue.OPTIMIZER_PACKAGES


def import_package(name: str) -> ModuleType:
    """The package of an optimizer. Raises ModelError, which says how to install it."""
    package = PACKAGES[name]
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise ModelError(
            f"the package {package}, which it comes from, cannot be imported: {error}",
            where=f"the optimizer {name}",
            hint="pip install 'lrsearch[optimizers]'",
        ) from error


def schedule_free_sgd(
    parameters: Parameters,
    lr: float,
    *,
    momentum: float,
    weight_decay: float,
    r: float,
    weight_lr_power: float,
) -> optim.Optimizer:
    """Schedule-free SGD (Defazio et al. 2024). The package's own warmup stays 0: the rate of each
    step is set from outside."""
    optimizer: optim.Optimizer = import_package("schedule_free_sgd").SGDScheduleFree(
        parameters,
        lr=lr,
        momentum=float(momentum),
        weight_decay=weight_decay,
        r=r,
        weight_lr_power=weight_lr_power,
    )
    return optimizer


def schedule_free_adamw(
    parameters: Parameters,
    lr: float,
    *,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float,
    r: float,
    weight_lr_power: float,
) -> optim.Optimizer:
    """Schedule-free AdamW (Defazio et al. 2024), warmup as above."""
    optimizer: optim.Optimizer = import_package("schedule_free_adamw").AdamWScheduleFree(
        parameters,
        lr=lr,
        betas=(float(beta1), float(beta2)),
        eps=eps,
        weight_decay=weight_decay,
        r=r,
        weight_lr_power=weight_lr_power,
    )
    return optimizer


def prodigy(
    parameters: Parameters,
    lr: float,
    *,
    beta1: float,
    beta2: float,
    beta3: float | None,
    eps: float,
    weight_decay: float,
    decoupled: bool,
    bias_correction: bool,
    safeguard_warmup: bool,
    d0: float,
    d_coef: float,
    growth_rate: float | None,
) -> optim.Optimizer:
    """Prodigy (Mishchenko & Defazio 2024). A `growth_rate` of None is infinite."""
    optimizer: optim.Optimizer = import_package("prodigy").Prodigy(
        parameters,
        lr=lr,
        betas=(float(beta1), float(beta2)),
        beta3=beta3,
        eps=eps,
        decouple=decoupled,
        use_bias_correction=bias_correction,
        safeguard_warmup=safeguard_warmup,
        d0=d0,
        d_coef=d_coef,
        growth_rate=math.inf if growth_rate is None else growth_rate,
    )
    # Given to its constructor, a decoupled decay is announced on stdout, trial after trial.
    for group in optimizer.param_groups:
        group["weight_decay"] = weight_decay
    return optimizer
