"""Models from a resolved config."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from lrsearch import catalogue
from lrsearch.data.interrupts import is_interrupt
from lrsearch.data.trees import Tree, map_tree
from lrsearch.errors import LrsearchError, ModelError, suggest
from lrsearch.train.batches import call
from lrsearch.train.device import is_out_of_memory
from lrsearch.train.importing import resolve
from lrsearch.train.models import MODELS
from lrsearch.trial import Workplace


def build_model(
    config: Mapping[str, Any],
    input_shape: Sequence[int] | None,
    outputs: int,
    workplace: Workplace,
    example: Tree | None = None,
) -> nn.Module:
    """The model of a resolved `model`, on the CPU, its weights drawn from the global generator.

    `in_features`, `in_channels` and `num_classes` (the targets of a regression) come from the
    data where the constructor takes them and the config does not give them; only the last where a
    sample's inputs are several tensors, and `input_shape` is None. Lazy modules get their sizes,
    and draw their weights, in a forward pass of zeros, like `example` where that is given. Raises
    ModelError for what cannot be found or constructed; running out of memory is passed on as it is.
    """
    if "class_path" in config:
        path = config["class_path"]
        constructor = resolve(path, workplace)
        arguments = dict(config.get("init_args") or {})
    else:
        path = config["name"]
        if path not in MODELS:
            raise ModelError(f"unknown model '{path}'", hint=suggest(path, MODELS))
        constructor = MODELS[path]
        arguments = {key: value for key, value in config.items() if key != "name"}
        fault = catalogue.model_fault(arguments)
        if fault is not None:
            raise ModelError(fault[1], where=path, hint=fault[2])
    assert callable(constructor)
    if isinstance(constructor, type) and not issubclass(constructor, nn.Module):
        raise ModelError(f"{path} is a class, but no subclass of torch.nn.Module")
    from_data = {"num_classes": outputs} if outputs else {}
    if input_shape:
        from_data |= {"in_features": math.prod(input_shape), "in_channels": input_shape[0]}
    arguments = fill_arguments(path, constructor, arguments, from_data)
    try:
        model = constructor(**arguments)
    except BaseException as error:  # A user's code may raise anything.
        if isinstance(error, LrsearchError) or is_out_of_memory(error) or is_interrupt(error):
            raise
        raise ModelError(f"{type(error).__name__}: {error}", where=path) from error
    if not isinstance(model, nn.Module):
        raise ModelError(f"{path} gives {type(model).__name__}, not a torch.nn.Module")
    if _lazy(model):
        if example is None:
            example = torch.zeros(2, *(input_shape or ()))
        _materialize(path, model, map_tree(lambda each: torch.zeros_like(each[:2]).cpu(), example))
    return model


def _lazy(model: nn.Module) -> list[str]:
    """Parameters and buffers that have no size yet, as those of torch.nn.LazyLinear."""
    named = (*model.named_parameters(), *model.named_buffers())
    return [name for name, each in named if is_lazy(each)]


def _materialize(path: str, model: nn.Module, zeros: Tree) -> None:
    try:
        with torch.no_grad():
            call(model.eval(), zeros)
    except BaseException as error:
        if is_out_of_memory(error) or is_interrupt(error):
            raise
        raise ModelError(
            "its lazy modules get their sizes in a forward pass, which raised "
            f"{type(error).__name__}: {error}",
            where=path,
        ) from error
    model.train()
    if left := _lazy(model):
        raise ModelError(
            f"lazy modules that its forward never calls have no size: {', '.join(left)}", where=path
        )


def fill_arguments(
    path: str,
    constructor: Callable[..., Any],
    arguments: dict[str, Any],
    from_data: Mapping[str, int],
) -> dict[str, Any]:
    """The arguments of a constructor, with the sizes it takes from the data. Raises ModelError
    for one that it does not take."""
    try:
        parameters = inspect.signature(constructor).parameters
    except ValueError:  # Some compiled callables have no signature; calling them checks.
        return arguments
    kinds = inspect.Parameter
    names = [
        name
        for name, parameter in parameters.items()
        if parameter.kind in (kinds.POSITIONAL_OR_KEYWORD, kinds.KEYWORD_ONLY)
    ]
    if not any(parameter.kind is kinds.VAR_KEYWORD for parameter in parameters.values()):
        for name in arguments:
            if name not in names:
                raise ModelError(f"{path} takes no argument '{name}'", hint=suggest(name, names))
    return {key: size for key, size in from_data.items() if key in names} | arguments
