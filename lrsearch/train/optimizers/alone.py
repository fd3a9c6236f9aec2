"""Optimizers, by their names in the catalogue."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import optim

from lrsearch.data.interrupts import is_interrupt
from lrsearch.errors import ModelError
from lrsearch.train.batches.averaging import Averaging
from lrsearch.train.device import is_out_of_memory
from lrsearch.train.optimizers.kernels import Parameters, choose_kernels, step_plainly_where_needed
from lrsearch.train.optimizers.lion import Lion
from lrsearch.train.optimizers.muon import MuonAdamW
from lrsearch.train.optimizers.packaged import prodigy, schedule_free_adamw, schedule_free_sgd
from lrsearch.train.users.importing import resolve
from lrsearch.trial import Workplace


def _sgd(
    parameters: Parameters,
    lr: float,
    *,
    momentum: float,
    dampening: float,
    nesterov: bool,
    weight_decay: float,
) -> optim.Optimizer:
    made = optim.SGD(
        choose_kernels(parameters),
        lr=lr,
        momentum=momentum,
        dampening=dampening,
        # torch refuses it without momentum, where it makes no difference; a search may ask for it.
        nesterov=nesterov and momentum > 0,
        weight_decay=weight_decay,
    )
    step_plainly_where_needed(made)
    return made


def _adam(kind: type[optim.Adam], **fixed: bool) -> Callable[..., optim.Optimizer]:
    def build(
        parameters: Parameters,
        lr: float,
        *,
        beta1: float,
        beta2: float,
        eps: float,
        weight_decay: float,
    ) -> optim.Optimizer:
        made = kind(
            choose_kernels(parameters),
            lr=lr,
            betas=(float(beta1), float(beta2)),
            eps=eps,
            weight_decay=weight_decay,
            **fixed,
        )
        step_plainly_where_needed(made)
        return made

    return build


def _nadam(
    parameters: Parameters,
    lr: float,
    *,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float,
    momentum_decay: float,
    decoupled: bool,
) -> optim.Optimizer:
    return optim.NAdam(
        parameters,
        lr=lr,
        betas=(beta1, beta2),
        eps=eps,
        weight_decay=weight_decay,
        momentum_decay=momentum_decay,
        decoupled_weight_decay=decoupled,
    )


def _radam(
    parameters: Parameters,
    lr: float,
    *,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float,
    decoupled: bool,
) -> optim.Optimizer:
    return optim.RAdam(
        parameters,
        lr=lr,
        betas=(beta1, beta2),
        eps=eps,
        weight_decay=weight_decay,
        decoupled_weight_decay=decoupled,
    )


def _adamax(
    parameters: Parameters,
    lr: float,
    *,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float,
) -> optim.Optimizer:
    return optim.Adamax(parameters, lr=lr, betas=(beta1, beta2), eps=eps, weight_decay=weight_decay)


def _rmsprop(
    parameters: Parameters,
    lr: float,
    *,
    alpha: float,
    eps: float,
    momentum: float,
    centered: bool,
    weight_decay: float,
) -> optim.Optimizer:
    return optim.RMSprop(
        parameters,
        lr=lr,
        alpha=alpha,
        eps=eps,
        momentum=momentum,
        centered=centered,
        weight_decay=weight_decay,
    )


def _adagrad(
    parameters: Parameters,
    lr: float,
    *,
    lr_decay: float,
    eps: float,
    weight_decay: float,
) -> optim.Optimizer:
    made = optim.Adagrad(
        choose_kernels(parameters, devices=("cpu",)),  # Not every torch has it on others.
        lr=lr,
        lr_decay=lr_decay,
        eps=eps,
        weight_decay=weight_decay,
    )
    step_plainly_where_needed(made)
    return made


def _adadelta(
    parameters: Parameters,
    lr: float,
    *,
    rho: float,
    eps: float,
    weight_decay: float,
) -> optim.Optimizer:
    return optim.Adadelta(parameters, lr=lr, rho=rho, eps=eps, weight_decay=weight_decay)


def _adafactor(
    parameters: Parameters,
    lr: float,
    *,
    beta2_decay: float,
    eps1: float | None,
    eps2: float,
    d: float,
    weight_decay: float,
) -> optim.Optimizer:
    return optim.Adafactor(
        parameters,
        lr=lr,
        beta2_decay=beta2_decay,
        eps=(eps1, eps2),
        d=d,
        weight_decay=weight_decay,
    )


def _lion(
    parameters: Parameters,
    lr: float,
    *,
    beta1: float,
    beta2: float,
    weight_decay: float,
) -> optim.Optimizer:
    return Lion(parameters, lr, (beta1, beta2), weight_decay)


def _muon(
    parameters: Parameters,
    lr: float,
    *,
    momentum: float,
    nesterov: bool,
    weight_decay: float,
    ns_steps: int,
    adjust_lr_fn: str,
    beta1: float,
    beta2: float,
    eps: float,
) -> optim.Optimizer:
    return MuonAdamW(
        parameters,
        lr,
        weight_decay=weight_decay,
        muon={
            "momentum": momentum,
            "nesterov": nesterov,
            "ns_steps": ns_steps,
            "adjust_lr_fn": adjust_lr_fn,
        },
        adamw={"betas": (float(beta1), float(beta2)), "eps": eps},
    )


OPTIMIZERS: dict[str, Callable[..., optim.Optimizer]] = {
    "sgd": _sgd,
    "adam": _adam(optim.Adam),
    "adamw": _adam(optim.AdamW),
    "amsgrad": _adam(optim.Adam, amsgrad=True),
    "nadam": _nadam,
    "radam": _radam,
    "adamax": _adamax,
    "rmsprop": _rmsprop,
    "adagrad": _adagrad,
    "adadelta": _adadelta,
    "adafactor": _adafactor,
    "lion": _lion,
    "muon": _muon,
    "schedule_free_sgd": schedule_free_sgd,
    "schedule_free_adamw": schedule_free_adamw,
    "prodigy": prodigy,
}


def build_optimizer(
    config: Mapping[str, Any], parameters: Parameters, lr: float, workplace: Workplace | None = None
) -> optim.Optimizer:
    """The optimizer of a resolved `train.optimizer`, over parameters or groups of them, as
    torch.optim takes them. Raises ModelError or ImportRefused for one whose class path cannot be
    imported, or that cannot be made."""
    if "class_path" in config:
        made = _import(config, parameters, lr, workplace or Workplace())
    else:
        arguments = {name: value for name, value in config.items() if name != "name"}
        made = OPTIMIZERS[config["name"]](parameters, lr, **arguments)
    if isinstance(made, Averaging):
        made.train()  # Schedule-free ones begin in evaluation mode.
    return made


def _import(
    config: Mapping[str, Any], parameters: Parameters, lr: float, workplace: Workplace
) -> optim.Optimizer:
    path = config["class_path"]
    constructor = resolve(path, workplace)
    assert callable(constructor)
    try:
        made = constructor(parameters, lr=lr, **config["init_args"])
    except BaseException as error:  # A user's code may raise anything.
        if is_interrupt(error) or is_out_of_memory(error):
            raise
        raise ModelError(
            f"it cannot be made: {type(error).__name__}: {error}", where=path
        ) from error
    if not isinstance(made, optim.Optimizer):
        raise ModelError(f"it makes a {type(made).__name__}, no torch.optim.Optimizer", where=path)
    if "weight_decay" not in made.defaults and any("weight_decay" in g for g in made.param_groups):
        raise ModelError(
            "it has no weight decay that train.groups or train.weight_decay_on could set",
            where=path,
        )
    return made
