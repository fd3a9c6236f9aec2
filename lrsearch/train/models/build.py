"""Models from a resolved config."""

from __future__ import annotations

import functools
import inspect
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from lrsearch import catalogue
from lrsearch.data.interrupts import any_but_interrupts
from lrsearch.data.raised import tell_raised
from lrsearch.data.trees import Tree, map_tree
from lrsearch.errors import ModelError, suggest
from lrsearch.train.batches.batch import call
from lrsearch.train.device import is_out_of_memory
from lrsearch.train.models.built_in import MODELS
from lrsearch.train.models.outputs import describe_outputs, find_output
from lrsearch.train.randomness import draws_kept
from lrsearch.train.users.importing import construct, resolve
from lrsearch.trial import Workplace


def build_model(
    config: Mapping[str, Any],
    input_shape: Sequence[int] | None,
    outputs: int,
    workplace: Workplace,
    example: Tree | None = None,
    *,
    fits: bool = False,
) -> nn.Module:
    """The model of a resolved `model`, on the CPU, its weights drawn from the global generator.

    `in_features`, `in_channels` and `num_classes` (the targets of a regression) come from the data
    where the constructor takes them and the config does not give them; only the last where a
    sample's inputs are several tensors, and `input_shape` is None. Lazy modules get their sizes,
    and draw their weights, in a forward pass of zeros, like `example` where that is given.

    `fits` says that the model must give `outputs` numbers a sample: a constructor that passes on
    arguments it does not name is then given `num_classes`, too, where its model gives another
    number without it and as many with it (`Classes`). Raises ModelError for a class path or
    arguments that give no model; out-of-memory errors are passed on.
    """
    path, constructor, arguments = _find(config, input_shape, outputs, workplace)
    if example is None:
        example = torch.zeros(2, *(input_shape or ()))
    build = functools.partial(_construct, path, constructor, example=example)
    if fits and outputs and "num_classes" not in arguments and takes_any(constructor):
        key = _key(constructor, arguments, outputs, input_shape)
        if key not in _tried:
            _tried[key] = constructor, _try_classes(build, arguments, outputs, example)
        if _tried[key][1].taken:
            arguments = {**arguments, "num_classes": outputs}
    return build(arguments)


def _find(
    config: Mapping[str, Any],
    input_shape: Sequence[int] | None,
    outputs: int,
    workplace: Workplace,
) -> tuple[str, Callable[..., Any], dict[str, Any]]:
    """Find the constructor of a resolved `model`; returns the name, the constructor and the
    arguments to call it with."""
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
    if isinstance(constructor, type) and not issubclass(constructor, nn.Module):
        raise ModelError(f"{path} is a class, but no subclass of torch.nn.Module")
    from_data = {"num_classes": outputs} if outputs else {}
    if input_shape:
        from_data |= {"in_features": math.prod(input_shape), "in_channels": input_shape[0]}
    return path, constructor, fill_arguments(path, constructor, arguments, from_data)


def _construct(
    path: str, constructor: Callable[..., Any], arguments: Mapping[str, Any], example: Tree
) -> nn.Module:

    def hint() -> str:
        missing = ", ".join(f"{name}: ..." for name in _required(constructor, arguments))
        if missing:
            return f"write init_args: {{{missing}}}"
        given = [name for name, value in arguments.items() if isinstance(value, dict)]
        # Such as the configuration that a model of Hugging Face's takes.
        plain = "is given as a dict: where an object is needed, write a function that returns the "
        return f"init_args.{given[0]} {plain}model, and name it in class_path" if given else ""

    model = construct(constructor, arguments=arguments, where=path, hint=hint)
    if not isinstance(model, nn.Module):
        raise ModelError(f"{path} gives {type(model).__name__}, not a torch.nn.Module")
    if _lazy(model):
        _materialize(path, model, map_tree(lambda each: torch.zeros_like(each[:2]).cpu(), example))
    return model


@dataclass(frozen=True)
class Classes:
    """The result of trying a constructor that takes any argument with `num_classes`: whether it is
    given, the model's outputs without it, and the reason where it is not given."""

    taken: bool = False
    without: str = ""
    reason: str = ""


_tried: dict[tuple[int, str], tuple[object, Classes]] = {}
"""Results of trying in this process, with the constructor each belongs to. They follow from the
model and the data alone, and so are the same in every process."""


def _key(
    constructor: object,
    arguments: Mapping[str, Any],
    outputs: int,
    input_shape: Sequence[int] | None,
) -> tuple[int, str]:
    # By identity: code that has changed meanwhile is another object.
    return id(constructor), json.dumps([arguments, outputs, input_shape], default=str)


def find_classes(
    config: Mapping[str, Any],
    input_shape: Sequence[int] | None,
    outputs: int,
    workplace: Workplace,
) -> tuple[Classes, tuple[str, ...]]:
    """The `Classes` that `build_model` found, and the names of the arguments that the constructor
    of a resolved `model` has."""
    _, constructor, arguments = _find(config, input_shape, outputs, workplace)
    known = _tried.get(_key(constructor, arguments, outputs, input_shape))
    return known[1] if known else Classes(), tuple(_names(constructor))


def takes_any(constructor: Callable[..., Any]) -> bool:
    """Whether a constructor passes on arguments that it does not name, as by **kwargs."""
    try:
        parameters = inspect.signature(constructor).parameters
    except ValueError:
        return False
    any_name = inspect.Parameter.VAR_KEYWORD
    return "num_classes" not in parameters and any(
        each.kind is any_name for each in parameters.values()
    )


def _try_classes(
    build: Callable[..., nn.Module], arguments: Mapping[str, Any], outputs: int, example: Tree
) -> Classes:
    """Build a model with and without `num_classes`, for its outputs only: the global generators are
    left as they were, so that trying changes no training."""
    begun = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    others = torch.random.fork_rng(range(torch.cuda.device_count()) if begun else ())
    with draws_kept(torch.device("cpu")), others:
        try:
            without = _look(build(arguments), example)
        except any_but_interrupts(is_out_of_memory):  # Its errors are told where it is built.
            return Classes()
        if _gives(without, outputs):
            return Classes()
        told = describe_outputs(without)
        try:
            found = _look(build({**arguments, "num_classes": outputs}), example)
        except any_but_interrupts(is_out_of_memory) as error:
            text = error.args[0] if isinstance(error, ModelError) else tell_raised(error)
            text = str(text).partition("\n")[0]
            return Classes(without=told, reason=f"with num_classes={outputs} it raised {text}")
    if _gives(found, outputs):
        return Classes(taken=True, without=told)
    reason = f"with num_classes={outputs} it gives {describe_outputs(found)}"
    return Classes(without=told, reason=reason)


@torch.no_grad()
def _look(model: nn.Module, example: Tree) -> Any:
    return find_output(call(model.eval(), map_tree(lambda each: each[:2].cpu(), example)))


def _gives(outputs: Any, number: int) -> bool:
    """Whether outputs have so many numbers a sample, or one logit for two classes."""
    if not isinstance(outputs, Tensor):
        return False
    shape = list(outputs.shape[1:]) or [1]
    return shape[-1] == number or (number == 2 and shape == [1])


def _lazy(model: nn.Module) -> list[str]:
    """Parameters and buffers without a size yet, as those of torch.nn.LazyLinear."""
    named = (*model.named_parameters(), *model.named_buffers())
    return [name for name, each in named if is_lazy(each)]


def _materialize(path: str, model: nn.Module, zeros: Tree) -> None:
    try:
        with torch.no_grad():
            call(model.eval(), zeros)
    except any_but_interrupts(is_out_of_memory) as error:
        raise ModelError(
            "its lazy modules get their sizes in a forward pass, which raised "
            f"{tell_raised(error)}",
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
    """Fill in the arguments of a constructor that are sizes of the data. Raises ModelError for an
    argument that it does not take."""
    try:
        parameters = inspect.signature(constructor).parameters
    except ValueError:  # Some compiled callables have no signature; calling them checks.
        return arguments
    names = _names(constructor)
    kinds = inspect.Parameter
    if not any(parameter.kind is kinds.VAR_KEYWORD for parameter in parameters.values()):
        for name in arguments:
            if name not in names:
                raise ModelError(f"{path} takes no argument '{name}'", hint=suggest(name, names))
    return {key: size for key, size in from_data.items() if key in names} | arguments


def _names(constructor: Callable[..., Any]) -> list[str]:
    """The names of the arguments that a constructor can be given by name."""
    try:
        parameters = inspect.signature(constructor).parameters
    except ValueError:
        return []
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return [name for name, parameter in parameters.items() if parameter.kind in kinds]


def _required(constructor: Callable[..., Any], given: Mapping[str, Any]) -> list[str]:
    """The required arguments of a constructor that are not given."""
    names = _names(constructor)
    parameters = inspect.signature(constructor).parameters if names else {}
    return [
        name
        for name in names
        if parameters[name].default is inspect.Parameter.empty and name not in given
    ]
