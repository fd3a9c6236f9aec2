"""The parts that a model has beside its parameters and buffers: hooks, and tensors that its forward
leaves in attributes, for its loss (a balance of experts) or for nobody (weights of attention)."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn


def find_hooks(module: nn.Module, name: str) -> str:
    """The sentence on the hooks of a module that lanes would leave out, those of its backward pass
    and of a parameter's accumulated gradient; "" without them."""
    whole = bool(module._backward_hooks or module._backward_pre_hooks)
    own = module.parameters(recurse=False)
    if not whole and not any(each._post_accumulate_grad_hooks for each in own):
        return ""
    told = f"hooks of the backward pass are registered on {f'its module {name}' if name else 'it'}"
    return f"{told}; lanes take hooks of a forward pass, and register_hook of tensors"


def count_places(model: nn.Module) -> int:
    """The places in memory that a model's parameters and buffers have."""
    return len({each.data_ptr() for each in (*model.parameters(), *model.buffers())})


Place = tuple[dict[str, Any], str]
"""The mapping that holds an attribute or a global, and its key there."""


def _holds_tensors(value: object) -> bool:
    """Whether a value is a tensor, or a list, a tuple or a dict of such values and nothing else."""
    if not isinstance(value, list | tuple | dict):
        return isinstance(value, Tensor)
    parts = value.values() if isinstance(value, dict) else value
    return bool(value) and all(map(_holds_tensors, parts))


def tensors_of(model: nn.Module, names: Iterable[str] = ()) -> dict[str, Place]:
    """The attributes of a model's modules that hold tensors and are neither parameters nor buffers,
    by the names that `memory.recall` gives them; so the globals among other such `names`."""
    places = {
        f"{prefix}.{name}".strip("."): (vars(module), name)
        for prefix, module in model.named_modules()
        for name in vars(module)
    }
    for each in names:
        scope, _, name = each.rpartition(".")
        if each not in places and name in vars(sys.modules.get(scope, object)):
            places[each] = (vars(sys.modules[scope]), name)
    return {name: place for name, place in places.items() if _holds_tensors(place[0][place[1]])}


def find_own(left: nn.Module, right: nn.Module) -> str:
    """The sentence on what lanes would share and two models of other seeds do not, an attribute
    that holds numbers, or layers, and is no part of the model; "" where there is none."""
    for (prefix, one), (_, other) in zip(left.named_modules(), right.named_modules(), strict=False):
        for name, value in vars(one).items():
            if name == "training" or _same(value, vars(other).get(name)):
                continue
            path = f"{prefix}.{name}".strip(".")
            told = f"lanes share {path}, which is another in each model and no part of it"
            if isinstance(value, Tensor):
                return f'{told}; one that self.register_buffer("{name}", ...) keeps is each lane\'s'
            layers = isinstance(value, list) and any(isinstance(each, nn.Module) for each in value)
            return f"{told}; in an nn.ModuleList its layers are" if layers else told
    return ""


def _same(left: Any, right: Any) -> bool:
    """Whether two models' values of an attribute hold the same numbers, those of layers in a list
    included. What holds anything else is not looked into."""
    if type(left) is not type(right):
        return True
    if isinstance(left, Tensor):
        return left.shape == right.shape and bool(torch.equal(left, right))
    if isinstance(left, np.ndarray):
        return bool(np.array_equal(left, right))
    if isinstance(left, list | tuple):
        return len(left) == len(right) and all(map(_same, left, right))
    if isinstance(left, nn.Module):
        return all(map(_same, left.state_dict().values(), right.state_dict().values()))
    return bool(left == right) if isinstance(left, bool | int | float) else True
