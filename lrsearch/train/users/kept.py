"""One value of the user's code as it was: whether it has changed since, and what puts it back.

`anew` finds the values and puts them back before each trial.
"""

from __future__ import annotations

import array
import functools
import gc
import operator
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import CellType, FunctionType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lrsearch.train.users.draws import put_draws, read_draws, see_draws
from lrsearch.train.users.memory import LIMIT, bits, is_filled, look_at, names_of, sample, stand
from lrsearch.train.users.settings import Setting

_GONE = object()


@dataclass(frozen=True)
class Kept:
    """One value of the user's as it was: `changed` says whether it is another by now, `restore`
    puts it back, and is None where nothing can; `name` is its place, for the user."""

    name: str
    changed: Callable[[], bool]
    restore: Callable[[], object] | None


def _same(left: Iterable[Any], right: Iterable[Any]) -> bool:
    return all(map(operator.is_, left, right))


def _is_same(left: Mapping[Any, Any], right: Mapping[Any, Any]) -> bool:
    return len(left) == len(right) and _same(left, right) and _same(left.values(), right.values())


def _of_names(
    name: str,
    read: Callable[[], Mapping[Any, Any]],
    write: Callable[[Any, Any], object],
    delete: Callable[[Any], object],
) -> Kept:
    """The values of a namespace: a module's, a class's, an object's, or a mapping's."""
    before = dict(read())
    again = {key: each for key, value in before.items() if (each := stand(value)) is not None}

    def changed() -> bool:
        return not _is_same(before, read()) or not all(each.stands() for each in again.values())

    def restore() -> None:
        now = dict(read())
        for key in now.keys() - before.keys():
            # A package has its submodules as attributes once they are imported.
            if not isinstance(now[key], ModuleType):
                delete(key)
        moved = {key: each for key, each in again.items() if not each.stands()}
        for key, value in before.items():
            if key in moved:
                write(key, moved[key].make())
            elif now.get(key, _GONE) is not value:
                write(key, value)

    return Kept(name, changed, restore)


def of_stream(name: str, value: Iterator[Any]) -> Kept:
    """A generator, or an iterator over one: it stands where it stands."""
    before = look_at(value)
    return Kept(name, lambda: look_at(value) != before, None)


def of_attributes(name: str, value: Any) -> Kept:
    """The attributes of a module, a class or an object."""
    if isinstance(value, ModuleType | type):

        def read() -> dict[str, Any]:
            return dict(named(value))

        return _of_names(name, read, functools.partial(setattr, value),
                         functools.partial(delattr, value))  # fmt: skip
    held = vars(value)
    # Into its dictionary itself: it may be frozen, or check what is set.
    return _of_names(name, lambda: held, held.__setitem__, held.__delitem__)


def of_slots(name: str, value: Any) -> Kept:
    """The slots of an object."""
    names = all_slots(value)

    def read() -> dict[str, Any]:
        return {each: getattr(value, each) for each in names if hasattr(value, each)}

    return _of_names(name, read, functools.partial(object.__setattr__, value),
                     functools.partial(object.__delattr__, value))  # fmt: skip


def all_slots(value: object) -> list[str]:
    """The names of an object's slots, those of its bases among them."""
    found = [names_of(vars(kind).get("__slots__")) for kind in type(value).__mro__]
    return [each for names in found for each in names if each not in ("__dict__", "__weakref__")]


def of_mapping(name: str, value: dict[Any, Any]) -> Kept:
    """The entries of a mapping, in their order."""
    # As dict, which an ordered one has the order beside, and not by methods of the user's class.
    kind = OrderedDict if isinstance(value, OrderedDict) else dict
    kept = _of_names(name, lambda: value, functools.partial(kind.__setitem__, value),
                     functools.partial(kind.__delitem__, value))  # fmt: skip
    before = dict(value)

    def restore() -> None:
        assert kept.restore is not None
        kept.restore()
        if not _same(before, value):  # In their order, too.
            now = dict(value)
            kind.clear(value)
            for key in before:
                kind.__setitem__(value, key, now[key])

    return Kept(name, kept.changed, restore)


def of_sequence(name: str, value: Any) -> Kept:
    """The entries of a list, a set, a deque, or an array of bytes or numbers."""
    before = list(value)

    def changed() -> bool:
        return len(value) != len(before) or not _same(before, value)

    if isinstance(value, set):  # In any order.
        changed = lambda: len(value) != len(before) or not value.issuperset(before)  # noqa: E731
    elif isinstance(value, bytearray | array.array):  # Of numbers that are made as they are read.
        changed = lambda: list(value) != before  # noqa: E731

    def restore() -> None:
        if isinstance(value, list):
            list.__setitem__(value, slice(None), before)
        elif isinstance(value, bytearray):
            value[:] = bytes(before)
        elif isinstance(value, array.array):
            value[:] = array.array(value.typecode, before)
        elif isinstance(value, set):
            set.clear(value)
            set.update(value, before)
        else:
            value.clear()
            value.extend(before)

    return Kept(name, changed, restore)


def of_tensor(name: str, value: Tensor, *, copied: bool) -> Kept:
    """The numbers of a tensor, which only a copy can give back."""
    before = value.detach().clone() if copied else None
    state = (value._version, value.data_ptr(), value.requires_grad)
    grad = value.grad if value.is_leaf else None

    def changed() -> bool:
        now = (value._version, value.data_ptr(), value.requires_grad)
        return now != state or (value.is_leaf and value.grad is not grad)

    @torch.no_grad()
    def restore() -> None:
        nonlocal state
        if value.is_leaf:
            value.grad = grad
            value.requires_grad_(state[2])
        if before is not None and (value._version, value.data_ptr()) != state[:2]:
            if value.shape != before.shape or value.dtype != before.dtype:
                value.data = before.clone()
            else:
                value.copy_(before)
        state = (value._version, value.data_ptr(), state[2])

    return Kept(name, changed, restore if copied else None)


def of_array(name: str, value: np.ndarray[Any, Any], *, copied: bool) -> Kept:
    """The numbers of an array, which only a copy can give back."""
    before = value.copy() if copied else sample(value)

    def changed() -> bool:
        if isinstance(before, bytes):
            return sample(value) != before
        return value.shape != before.shape or not np.array_equal(bits(value), bits(before))

    def restore() -> None:
        if value.shape == before.shape:  # type: ignore[union-attr]
            value[...] = before

    return Kept(name, changed, restore if copied else None)


def of_draws(name: str, value: Any) -> Kept:
    """A random generator."""
    state, seen = read_draws(value), see_draws(value)
    return Kept(name, lambda: see_draws(value) != seen, lambda: put_draws(value, state))


def of_cell(name: str, cell: CellType) -> Kept:
    """A variable around a function."""

    def read() -> dict[str, Any]:
        return {"": cell.cell_contents} if is_filled(cell) else {}

    def write(_: str, value: Any) -> None:
        cell.cell_contents = value

    def delete(_: str) -> None:
        del cell.cell_contents

    return _of_names(name, read, write, delete)


Cached = type(functools.lru_cache(lambda: None))


def of_cache(name: str, value: Any) -> Kept:
    """A function that remembers its results (`functools.cache`). Called again it would give the
    same results, so that they are kept. Only weights and modules, which a training may have
    changed, have to be made again."""
    misses = value.cache_info().misses

    def changed() -> bool:
        return value.cache_info().misses != misses and _holds_weights(value)

    def restore() -> None:
        nonlocal misses
        value.cache_clear()
        misses = 0

    return Kept(name, changed, restore)


def _holds_weights(cached: Any) -> bool:
    ahead, seen = deque([(cached, 0)]), 0
    while ahead and seen < LIMIT:
        value, depth = ahead.popleft()
        seen += 1
        if isinstance(value, nn.Module | torch.optim.Optimizer):
            return True
        if isinstance(value, Tensor):
            if value.requires_grad:
                return True
        elif depth < 4 and not isinstance(value, FunctionType | ModuleType | type):
            ahead += [(each, depth + 1) for each in gc.get_referents(value)]
    return False


def of_setting(name: str, value: Setting) -> Kept:
    """A setting of the process."""
    before = value.read() if value.always is None else value.always
    return Kept(name, lambda: value.read() != before, lambda: value.write(before))


def named(value: ModuleType | type) -> list[tuple[str, Any]]:
    """The attributes of a module or a class, without those of Python's own."""
    return [item for item in vars(value).items() if not item[0].startswith("__")]
