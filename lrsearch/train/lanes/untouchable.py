"""Attributes that nobody may read before they are written anew."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator
from typing import Any

from torch import nn

from lrsearch.train.batches.batch import Batch
from lrsearch.train.models.attributes import tensors_of
from lrsearch.train.models.criterion import Criterion
from lrsearch.train.randomness import draws_kept
from lrsearch.train.tape import NotRecordable


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


def refuse_reading(names: set[str], model: nn.Module, batch: Batch, criterion: Criterion) -> None:
    """Raise NotRecordable where a training step of a model reads attributes that evaluations have
    written, before it writes them itself. The model's buffers are those after a step, then."""
    with draws_kept(next(model.parameters()).device), untouchable(model.train(), names):
        criterion.training_loss(model, batch)
