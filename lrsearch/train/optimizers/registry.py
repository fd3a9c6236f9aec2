"""Every optimizer, alone and in lanes, by its name in the catalogue."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import optim

from lrsearch.errors import ModelError
from lrsearch.train.batches.averaging import Averaging
from lrsearch.train.optimizers import adafactor, adam, lion, muon, prodigy, rms, schedule_free, sgd
from lrsearch.train.optimizers.alone import Build, from_torch
from lrsearch.train.optimizers.kernels import Parameters
from lrsearch.train.optimizers.stacked import StackedOptimizer
from lrsearch.train.users.importing import construct, resolve
from lrsearch.trial import Workplace


@dataclass(frozen=True)
class Optimizer:
    """An optimizer of the catalogue: the function that makes it for one training, and its form for
    K lanes."""

    alone: Build
    lanes: StackedOptimizer


_FUSED = ("cpu", "cuda")

OPTIMIZERS: dict[str, Optimizer] = {
    "sgd": Optimizer(sgd.alone, sgd.LANES),
    "adam": Optimizer(from_torch(optim.Adam, _FUSED), adam.ADAM),
    "adamw": Optimizer(from_torch(optim.AdamW, _FUSED), adam.ADAMW),
    "amsgrad": Optimizer(from_torch(optim.Adam, _FUSED, amsgrad=True), adam.AMSGRAD),
    "nadam": Optimizer(from_torch(optim.NAdam), adam.NADAM),
    "radam": Optimizer(from_torch(optim.RAdam), adam.RADAM),
    "adamax": Optimizer(from_torch(optim.Adamax), adam.ADAMAX),
    "rmsprop": Optimizer(from_torch(optim.RMSprop), rms.RMSPROP),
    # Not every torch has a fused Adagrad on other devices.
    "adagrad": Optimizer(from_torch(optim.Adagrad, ("cpu",)), rms.ADAGRAD),
    "adadelta": Optimizer(from_torch(optim.Adadelta), rms.ADADELTA),
    "adafactor": Optimizer(adafactor.alone, adafactor.LANES),
    "lion": Optimizer(from_torch(lion.Lion), lion.LANES),
    "muon": Optimizer(muon.alone, muon.LANES),
    "schedule_free_sgd": Optimizer(schedule_free.sgd_alone, schedule_free.SGD_LANES),
    "schedule_free_adamw": Optimizer(schedule_free.adamw_alone, schedule_free.ADAMW_LANES),
    "prodigy": Optimizer(prodigy.alone, prodigy.LANES),
}

STACKED: dict[str, StackedOptimizer] = {name: each.lanes for name, each in OPTIMIZERS.items()}
"""The optimizers in lanes, by name."""


def build_optimizer(
    config: Mapping[str, Any], parameters: Parameters, lr: float, workplace: Workplace | None = None
) -> optim.Optimizer:
    """The optimizer of a resolved `train.optimizer`, over parameters or groups of them, as
    torch.optim takes them. Raises ModelError or ImportRefused for a class path that cannot be
    imported, or makes no optimizer."""
    if "class_path" in config:
        made = _import(config, parameters, lr, workplace or Workplace())
    else:
        arguments = {name: value for name, value in config.items() if name != "name"}
        made = OPTIMIZERS[config["name"]].alone(parameters, lr, **arguments)
    if isinstance(made, Averaging):
        made.train()  # Schedule-free ones begin in evaluation mode.
    return made


def _import(
    config: Mapping[str, Any], parameters: Parameters, lr: float, workplace: Workplace
) -> optim.Optimizer:
    path = config["class_path"]
    constructor = resolve(path, workplace)
    arguments, told = {**config["init_args"], "lr": lr}, "it cannot be made: "
    made = construct(constructor, parameters, arguments=arguments, where=path, told=told)
    if not isinstance(made, optim.Optimizer):
        raise ModelError(f"it makes a {type(made).__name__}, no torch.optim.Optimizer", where=path)
    if "weight_decay" not in made.defaults and any("weight_decay" in g for g in made.param_groups):
        raise ModelError(
            "it has no weight decay that train.groups or train.weight_decay_on could set",
            where=path,
        )
    return made
