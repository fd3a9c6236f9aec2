"""Globals of the user's code, put back before each trial.

All trials that a process trains share its modules: their globals, the attributes of their classes,
what their functions hold. What these were once imported, and once the data were read, is kept; what
a trial has changed of it is put back before the next one begins, which then measures what it would
have measured in a process of its own.
"""

from __future__ import annotations

import array
import copy
import functools
import gc
import operator
import random
import sys
from argparse import Namespace
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import CellType, FunctionType, MethodType, ModuleType, SimpleNamespace
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from lrsearch.train.users import beside, importing
from lrsearch.train.users.memory import (
    LIMIT,
    MOST,
    PLACES,
    bits,
    is_plain,
    is_users,
    look_at,
    names_of,
    sample,
    stand,
)
from lrsearch.trial import Workplace

ROOM = 2**26
"""Bytes of arrays and tensors of the user's globals that are copied in a process; of larger ones
a change is seen, and cannot be undone."""

_GONE = object()


# one value


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


def _of_stream(name: str, value: Iterator[Any]) -> Kept:
    """A generator, or an iterator over one: it stands where it stands."""
    before = look_at(value)
    return Kept(name, lambda: look_at(value) != before, None)


def _of_attributes(name: str, value: Any) -> Kept:
    if isinstance(value, ModuleType | type):

        def read() -> dict[str, Any]:
            return dict(_named(value))

        return _of_names(name, read, functools.partial(setattr, value),
                         functools.partial(delattr, value))  # fmt: skip
    held = vars(value)
    # Into its dictionary itself: it may be frozen, or check what is set.
    return _of_names(name, lambda: held, held.__setitem__, held.__delitem__)


def _of_slots(name: str, value: Any) -> Kept:
    names = _all_slots(value)

    def read() -> dict[str, Any]:
        return {each: getattr(value, each) for each in names if hasattr(value, each)}

    return _of_names(name, read, functools.partial(object.__setattr__, value),
                     functools.partial(object.__delattr__, value))  # fmt: skip


def _all_slots(value: object) -> list[str]:
    found = [names_of(vars(kind).get("__slots__")) for kind in type(value).__mro__]
    return [each for names in found for each in names if each not in ("__dict__", "__weakref__")]


def _of_mapping(name: str, value: dict[Any, Any]) -> Kept:
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


def _of_sequence(name: str, value: Any) -> Kept:
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


def _of_tensor(name: str, value: Tensor, *, copied: bool) -> Kept:
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


def _of_array(name: str, value: np.ndarray[Any, Any], *, copied: bool) -> Kept:
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
    if isinstance(value, torch.Generator):
        kept = value.get_state()
        return Kept(
            name,
            lambda: not torch.equal(value.get_state(), kept),
            lambda: value.set_state(kept),
        )
    if isinstance(value, random.Random):
        state = value.getstate()
        return Kept(name, lambda: value.getstate() != state, lambda: value.setstate(state))
    if isinstance(value, np.random.RandomState):
        drawn = value.get_state()
        return Kept(
            name,
            lambda: repr(value.get_state()) != repr(drawn),
            lambda: value.set_state(drawn),
        )
    bits = value.bit_generator if isinstance(value, np.random.Generator) else value
    held = copy.deepcopy(bits.state)

    def put() -> None:
        bits.state = held

    return Kept(name, lambda: repr(bits.state) != repr(held), put)


DRAWS = (torch.Generator, random.Random, np.random.Generator, np.random.RandomState,
          np.random.BitGenerator)  # fmt: skip
"""Classes of random generators."""


def _cells(function: FunctionType) -> list[tuple[str, CellType]]:
    return list(zip(function.__code__.co_freevars, function.__closure__ or (), strict=True))


def _of_cell(name: str, cell: CellType) -> Kept:
    def read() -> dict[str, Any]:
        return {"": cell.cell_contents} if _filled(cell) else {}

    def write(_: str, value: Any) -> None:
        cell.cell_contents = value

    def delete(_: str) -> None:
        del cell.cell_contents

    return _of_names(name, read, write, delete)


def _filled(cell: CellType) -> bool:
    try:
        _ = cell.cell_contents
    except ValueError:
        return False
    return True


_Cached = type(functools.lru_cache(lambda: None))


def _of_cache(name: str, value: Any) -> Kept:
    """A function that remembers its results. By its contract these are what it would give again;
    what a training may have changed, weights and their modules, it must make again."""
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


@dataclass(frozen=True)
class _Setting:
    """A global of torch's own that a user's code may set."""

    read: Callable[[], Any]
    write: Callable[[Any], object]


def _of_setting(name: str, value: _Setting) -> Kept:
    before = value.read()
    return Kept(name, lambda: value.read() != before, lambda: value.write(before))


_SETTINGS = (
    _Setting(torch.get_default_dtype, torch.set_default_dtype),
    _Setting(torch.is_anomaly_enabled, torch.autograd.set_detect_anomaly),
    _Setting(torch.get_deterministic_debug_mode, torch.set_deterministic_debug_mode),
)


# all of them


class Globals:
    """The values that the user's modules hold, as they were when they were first looked at."""

    def __init__(self) -> None:
        self._kept: list[tuple[Kept, Callable[[], Kept]]] = []
        self._seen: dict[int, object] = {}  # Kept alive: an id may become another's.
        self._room = ROOM
        for each in _SETTINGS:
            self._add(_of_setting, each.read.__name__, each)

    def _add(self, make: Callable[..., Kept], name: str, value: object, **given: bool) -> None:
        again = functools.partial(make, name, value, **given)
        self._kept.append((again(), again))

    def keep(self, names: Iterable[str]) -> None:
        """Keep what modules hold, and all that is reached from there; what is kept already stays
        as it was."""
        ahead = deque((name, sys.modules[name]) for name in sorted(names))
        while ahead and len(self._seen) < MOST:
            name, value = ahead.popleft()
            if id(value) in self._seen or isinstance(value, _PLAIN):
                continue
            self._seen[id(value)] = value
            try:
                inner = list(self._keep(name, value))
            except Exception:  # Objects of the user's may raise anything when looked at.
                continue
            if len(inner) <= LIMIT:
                ahead.extend((_join(name, key), each) for key, each in inner)

    def _keep(self, name: str, value: Any) -> Iterable[tuple[object, Any]]:
        """Keep one value; returns what it holds, by its names."""
        if isinstance(value, Tensor | np.ndarray):
            self._keep_numbers(name, value)
        elif isinstance(value, DRAWS):
            self._add(of_draws, name, value)
        elif isinstance(value, ModuleType):
            self._add(_of_attributes, name, value)
            return [each for each in _named(value) if not isinstance(each[1], ModuleType)]
        elif isinstance(value, type):
            if is_users(value.__module__):
                self._add(_of_attributes, value.__qualname__, value)
                return _named(value)
        elif isinstance(value, _Cached):
            self._add(_of_cache, name, value)
            return [("", value.__wrapped__)]
        elif isinstance(value, FunctionType):
            if is_users(value.__module__) or is_users(value.__globals__.get("__name__", "")):
                self._add(_of_attributes, name, value)
                for each, cell in _cells(value):
                    self._add(_of_cell, f"{name}: {each}", cell)
                return [("", each) for each in _held_by(value)]
        elif isinstance(value, _WRAPPERS):
            return [("", getattr(value, each)) for each in _WRAPPED if hasattr(value, each)]
        elif isinstance(value, tuple | frozenset):
            return enumerate(value)
        elif isinstance(value, dict):
            self._add(_of_mapping, name, value)
            return value.items()
        elif isinstance(value, list | set | deque | bytearray | array.array):
            self._add(_of_sequence, name, value)
            return enumerate(value) if isinstance(value, list | set | deque) else ()
        elif isinstance(value, Iterator) and is_plain(value):
            if stand(value) is None:
                self._add(_of_stream, name, value)
        elif isinstance(value, _OPEN) or is_users(type(value).__module__):
            # What an object of another package's holds is that package's affair.
            if hasattr(value, "__dict__"):
                self._add(_of_attributes, name, value)
            if names := _all_slots(value):
                self._add(_of_slots, name, value)
            inner = [(each, getattr(value, each, None)) for each in names]
            return [*inner, *getattr(value, "__dict__", {}).items()]
        return ()

    def _keep_numbers(self, name: str, value: Any) -> None:
        copied = value.nbytes <= self._room
        if isinstance(value, Tensor):
            if value.layout is not torch.strided or value.is_meta:
                return
            copied &= value.is_leaf or not value.requires_grad
            self._add(_of_tensor, name, value, copied=copied)
        elif value.dtype.kind in "biufcM" and value.flags.writeable:
            self._add(_of_array, name, value, copied=copied)
        else:
            return
        self._room -= value.nbytes if copied else 0

    def put_back(self) -> list[str]:
        """Put back what has changed since; returns the names of what cannot be."""
        return [each.name for each, _ in self.changed() if not _restore(each)]

    def take_out(self) -> list[Kept]:
        """Put back what has changed since, and return it, to be restored in its turn."""
        found = []
        for each, again in self.changed():
            if each.restore is not None:
                found.append(again())
        self.put_back()
        return found

    def settle(self, before: Iterable[tuple[Kept, object]]) -> None:
        """Have what has changed since stay as it is now, but for what had changed `before`."""
        had = {id(each) for each, _ in before}
        for place, (each, again) in enumerate(self._kept):
            if id(each) not in had and _is_changed(each):
                self._kept[place] = again(), again

    def changed(self) -> list[tuple[Kept, Callable[[], Kept]]]:
        """The values that have changed since, each with what makes another of it as it is now."""
        return [pair for pair in self._kept if _is_changed(pair[0])]


def _is_changed(kept: Kept) -> bool:
    try:
        return kept.changed()
    except Exception:  # Objects of the user's may raise anything when looked at.
        return True


def _restore(kept: Kept) -> bool:
    if kept.restore is None:
        return False
    try:
        kept.restore()
    except Exception:
        return False
    return True


def _named(value: ModuleType | type) -> list[tuple[str, Any]]:
    return [item for item in vars(value).items() if not item[0].startswith("__")]


def _held_by(function: FunctionType) -> list[Any]:
    """The values that a function holds: its defaults, the variables around it, its attributes."""
    cells = [each.cell_contents for _, each in _cells(function) if _filled(each)]
    defaults = [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()]
    return [*defaults, *cells, *vars(function).values()]


_PLAIN = (bool, int, float, complex, str, bytes, type(None), np.generic)

_WRAPPERS = (staticmethod, classmethod, property, functools.partial, functools.partialmethod,
             MethodType, functools.cached_property)  # fmt: skip
_WRAPPED = ("__func__", "fget", "fset", "fdel", "func", "args", "keywords", "__self__")

_OPEN = (nn.Module, torch.optim.Optimizer, SimpleNamespace, Namespace)
"""Classes of others whose objects are looked into."""


def _join(name: str, key: object) -> str:
    if key == "" or key in PLACES:
        return name
    return f"{name}.{key}" if isinstance(key, str) and key.isidentifier() else f"{name}[{key!r}]"


class Returning(Protocol):
    """An object that returns to what it was; `put_back` gives the names of what it cannot."""

    def put_back(self) -> list[str]: ...  # noqa: D102


@dataclass
class _Held:
    """The globals that are kept now: for which imports and data, and of which modules; `readers`
    give the samples of these data."""

    imports: object = None
    data: object = None
    names: frozenset[str] = frozenset()
    count: int = 0
    globals: Globals | None = None
    readers: Sequence[Returning] = ()


_held = _Held()


def keep(workplace: Workplace) -> None:
    """Keep what modules of the user's hold that were imported since it was last called."""
    global _held
    if _held.imports is not importing.standing():
        _held = _Held(importing.standing())
    if _held.count == len(sys.modules):  # A trial is short, the modules are thousands.
        return
    _held.count = len(sys.modules)
    new = _find_modules(workplace) - _held.names
    if new:
        _held.globals = _held.globals or Globals()
        _held.globals.keep(new)
        _held.names |= new


def keep_with(
    data: object, workplace: Workplace, readers: Callable[[], Sequence[Returning]]
) -> None:
    """Keep all of it as it is now, where the user's function has just read these data: it may have
    left in its globals what the models need. `readers` are put back with it from now on."""
    keep(workplace)
    if _held.data is data:
        return
    _held.data, _held.readers = data, readers()
    if _held.names:
        _held.globals = Globals()
        _held.globals.keep(_held.names & sys.modules.keys())


def put_back(workplace: Workplace) -> list[str]:
    """Put back what has changed in the globals of the user's code since it was imported, or since
    the data were read; returns the names of what cannot be put back."""
    keep(workplace)
    left = [] if _held.globals is None else _held.globals.put_back()
    return [*left, *(name for each in _held.readers for name in each.put_back())]


def take_out(workplace: Workplace) -> list[Kept]:
    """Put back the globals as `put_back` does, for another trial to begin, and return what they
    were, for `put_in`."""
    keep(workplace)
    return [] if _held.globals is None else _held.globals.take_out()


def put_in(taken: list[Kept]) -> None:
    """Restore the globals that `take_out` returned: its trial goes on."""
    for each in taken:
        _restore(each)


def tell_left(names: Sequence[str]) -> str:
    """A note on globals that cannot be put back."""
    shown = ", ".join(sorted(names)[:3])
    return (
        f"{shown} changed in trials before, and cannot be put back: what the trials of a process "
        "measure may depend on each other; make it anew in the model, the loss or the step"
    )


def _find_modules(workplace: Workplace) -> set[str]:
    """The user's modules: those of the workplace's folder, and allowed ones from elsewhere that
    are no package's."""
    found = importing.local_modules() & sys.modules.keys()
    for name in list(sys.modules):
        if name.partition(".")[0] in workplace.allowed and is_users(name):
            found.add(name)
    return found


@contextmanager
def _executing(name: str) -> Iterator[None]:
    """Have what a module is once it is imported, in the midst of a trial, too, and what that has
    changed elsewhere, as where it registers its classes, be there for the trials that follow."""
    held = _held.globals
    before = [] if held is None else held.changed()
    yield
    if held is not None:
        held.settle(before)
        held.keep([name])
        _held.names |= {name}


importing.after_import = keep
beside.executing = _executing
