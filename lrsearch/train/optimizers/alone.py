"""Optimizers of one training: torch's and other packages', made from the catalogue's names."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from types import ModuleType
from typing import Any

from torch import optim

from lrsearch import catalogue
from lrsearch.errors import ModelError
from lrsearch.train.optimizers.eager import make_eager
from lrsearch.train.optimizers.kernels import Parameters, choose_kernels, step_plainly_where_needed

Build = Callable[..., optim.Optimizer]
"""A function of parameters (or groups of them as torch.optim takes them), a rate, and the
catalogue's arguments by keyword."""


def _rename(config: dict[str, Any], names: dict[str, str]) -> dict[str, Any]:
    """Arguments by torch's names, which other packages follow: `betas` are a pair."""
    arguments = {names.get(name, name): value for name, value in config.items()}
    if "beta1" in arguments:
        arguments["betas"] = (float(arguments.pop("beta1")), float(arguments.pop("beta2")))
    return arguments


def from_torch(kind: type[optim.Optimizer], fused: tuple[str, ...] = (), **fixed: Any) -> Build:
    """A function that makes an optimizer of torch's shape, with `fixed` beside the spec's
    arguments; `fused` are the devices that it has a fused kernel for."""

    make: Build = make_eager(kind)

    def build(parameters: Parameters, lr: float, **config: Any) -> optim.Optimizer:
        arguments = _rename(config, {"decoupled": "decoupled_weight_decay"}) | fixed
        if not fused:
            return make(parameters, lr=lr, **arguments)
        made = make(choose_kernels(parameters, fused), lr=lr, **arguments)
        step_plainly_where_needed(made)
        return made

    return build


def from_package(name: str, kind: str, **names: str) -> Build:
    """A function that makes the optimizer `name` by its authors' package, an optional extra that is
    imported at its first use: by its class `kind`, which has other `names` for some arguments."""

    def build(parameters: Parameters, lr: float, **config: Any) -> optim.Optimizer:
        made: optim.Optimizer = getattr(import_package(name), kind)(
            parameters, lr=lr, **_rename(config, names)
        )
        return made

    return build


def import_package(name: str) -> ModuleType:
    """The package of an optimizer. Raises ModelError, which says how to install it."""
    package = catalogue.OPTIMIZER_PACKAGES[name]
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise ModelError(
            f"the package {package}, which it comes from, cannot be imported: {error}",
            where=f"the optimizer {name}",
            hint="pip install 'lrsearch[optimizers]'",
        ) from error
