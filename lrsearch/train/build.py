"""Models from a resolved config."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import nn

from lrsearch.errors import LrsearchError, ModelError, suggest
from lrsearch.train.device import is_out_of_memory
from lrsearch.train.importing import importable, resolve
from lrsearch.train.models import MODELS
from lrsearch.trial import Workplace


def build_model(
    config: Mapping[str, Any], input_shape: Sequence[int], outputs: int, workplace: Workplace
) -> nn.Module:
    """The model of a resolved `model`, on the CPU, its weights drawn from the global generator.

    `in_features`, `in_channels` and `num_classes` (the targets of a regression) come from the
    data where the constructor takes them and the config does not give them. Raises ModelError
    for what cannot be found or constructed; running out of memory is passed on as it is.
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
    assert callable(constructor)
    if isinstance(constructor, type) and not issubclass(constructor, nn.Module):
        raise ModelError(f"{path} is a class, but no subclass of torch.nn.Module")
    from_data = {
        "in_features": math.prod(input_shape),
        "in_channels": input_shape[0],
        "num_classes": outputs,
    }
    arguments = _fill(path, constructor, arguments, from_data)
    try:
        with importable(workplace):
            model = constructor(**arguments)
    except (Exception, SystemExit) as error:
        if isinstance(error, LrsearchError) or is_out_of_memory(error):
            raise
        raise ModelError(f"{type(error).__name__}: {error}", where=path) from error
    if not isinstance(model, nn.Module):
        raise ModelError(f"{path} gives {type(model).__name__}, not a torch.nn.Module")
    return model


def _fill(
    path: str,
    constructor: Callable[..., Any],
    arguments: dict[str, Any],
    from_data: Mapping[str, int],
) -> dict[str, Any]:
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
