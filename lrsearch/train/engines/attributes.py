"""The parts that a model has beside its parameters and buffers: hooks, and tensors that its forward
leaves in attributes, for its loss (a balance of experts) or for nobody (weights of attention)."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator

from torch import Tensor, nn

from lrsearch.train.tape import NotRecordable


def _has_hooks(module: nn.Module) -> bool:
    """Whether hooks are registered on a module or on its own parameters."""
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return any(getattr(module, kind) for kind in kinds) or any(
        each._backward_hooks or each._post_accumulate_grad_hooks
        for each in module.parameters(recurse=False)
    )


_REPLACED = ("weight_norm", "spectral_norm")
"""Functions of torch.nn.utils that work by a hook, and have a parametrization of their name."""


def find_hooks(module: nn.Module, name: str) -> str:
    """The sentence on hooks of a module, and on what does without where torch has it; "" without
    hooks."""
    if not _has_hooks(module):
        return ""
    told = f"hooks are registered on {f'its module {name}' if name else 'it'}"
    modules = {type(each).__module__ for each in module._forward_pre_hooks.values()}
    for each in _REPLACED:
        if f"torch.nn.utils.{each}" in modules:
            return f"{told} by torch.nn.utils.{each}, which in parametrizations needs none"
    return told


def count_places(model: nn.Module) -> int:
    """The places in memory that a model's parameters and buffers have."""
    return len({each.data_ptr() for each in (*model.parameters(), *model.buffers())})


class _Untouchable:
    """A value that nothing can be done with but to replace it."""

    def __getattribute__(self, name: str) -> object:
        raise NotRecordable("it reads an attribute that an earlier step has written")

    def __bool__(self) -> bool:
        raise NotRecordable("it reads an attribute that an earlier step has written")


def tensors_of(model: nn.Module) -> dict[str, tuple[nn.Module, str]]:
    """The attributes of a model's modules that hold tensors and are neither parameters nor buffers,
    by the names that `memory.recall` gives them."""
    return {
        f"{prefix}.{name}".strip("."): (module, name)
        for prefix, module in model.named_modules()
        for name, value in vars(module).items()
        if isinstance(value, Tensor)
    }


@contextlib.contextmanager
def untouchable(model: nn.Module, names: Collection[str]) -> Iterator[list[str]]:
    """Context in which these attributes cannot be read until they are written, which raises
    NotRecordable. What has not been written is then as before, and listed."""
    places = tensors_of(model)
    held = [(name, vars(places[name][0]), places[name][1]) for name in names]
    before = [attributes[key] for _, attributes, key in held]
    for _, attributes, key in held:
        attributes[key] = _Untouchable()
    left: list[str] = []
    try:
        yield left
    finally:
        for (name, attributes, key), value in zip(held, before, strict=True):
            if type(attributes.get(key)) is _Untouchable:
                attributes[key] = value
                left.append(name)
