"""The parts that a model has beside its parameters and buffers: hooks, and tensors that its forward
leaves in attributes, for its loss (a balance of experts) or for nobody (weights of attention)."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Collection, Iterable, Iterator
from typing import Any

from torch import Tensor, nn

from lrsearch.train.tape import NotRecordable


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


class _Untouchable:
    """A value that nothing can be done with but to replace it; `told` is where it stands."""

    def __init__(self, told: str) -> None:
        object.__setattr__(self, "told", told)

    def __getattribute__(self, name: str) -> object:
        raise _refusal(self)

    def __bool__(self) -> bool:
        raise _refusal(self)


def _refusal(value: _Untouchable) -> NotRecordable:
    told = object.__getattribute__(value, "told")
    return NotRecordable(f"it reads {told}, which an earlier step or evaluation has written")


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


@contextlib.contextmanager
def untouchable(model: nn.Module, names: Collection[str]) -> Iterator[list[str]]:
    """Context in which reading the tensors of these attributes and globals raises NotRecordable,
    until they are written. Yields a list: at the end it has the names of those that were not
    written, which are put back, and of lists and dicts whose lengths or keys have changed, by which
    a model could count."""
    places = tensors_of(model, names)
    held = [(name, *places[name]) for name in names]
    before = [(scope[key], _spoil(scope, key, name)) for name, scope, key in held]
    left: list[str] = []
    try:
        yield left
    finally:
        for (name, scope, key), (value, parts) in zip(held, before, strict=True):
            now = scope.get(key)
            if _is_spoilt(now):
                scope[key] = value
                _fill(value, parts)
                left.append(name)
            elif _outline(now) != _outline(value if parts is None else parts):
                left.append(name)


def _spoil(scope: dict[str, Any], key: str, told: str) -> Any:
    """Make the tensors of an attribute untouchable, in the list or dict that others may hold, too;
    returns a copy of this one. `told` is its name."""
    value = scope[key]
    if not isinstance(value, list | dict):
        scope[key] = _Untouchable(told)
        return None
    parts = value.copy()
    spoilt = (_Untouchable(told) for _ in parts)
    _fill(value, dict(zip(parts, spoilt, strict=True)) if isinstance(parts, dict) else [*spoilt])
    return parts


def _outline(value: Any) -> object:
    """The kinds, lengths and keys of a value, its tensors left out."""
    if isinstance(value, dict):
        return {key: _outline(each) for key, each in value.items()}
    return [*map(_outline, value)] if isinstance(value, list | tuple) else None


def _fill(value: Any, parts: Any) -> None:
    """Put parts into a list or a dict in the place of its own."""
    if isinstance(value, list):
        value[:] = parts
    elif isinstance(value, dict):
        value.clear()
        value.update(parts)


def _is_spoilt(value: Any) -> bool:
    if type(value) is _Untouchable or not isinstance(value, list | dict):
        return type(value) is _Untouchable
    return any(map(_is_spoilt, value.values() if isinstance(value, dict) else value))
