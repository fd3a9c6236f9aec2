"""Globals of the user's code, put back before each trial.

All trials that a process trains share its modules: their globals, the attributes of their classes,
what their functions hold. What these were once imported, and once the data were read, is kept; what
a trial has changed of it is put back before the next one begins, which then measures what it would
have measured in a process of its own.
"""

from __future__ import annotations

import array
import functools
import sys
from argparse import Namespace
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import FunctionType, MethodType, ModuleType, SimpleNamespace
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from lrsearch.train.users import beside, importing
from lrsearch.train.users.draws import DRAWS
from lrsearch.train.users.kept import (
    Cached,
    Kept,
    all_slots,
    named,
    of_array,
    of_attributes,
    of_cache,
    of_cell,
    of_draws,
    of_mapping,
    of_sequence,
    of_setting,
    of_slots,
    of_stream,
    of_tensor,
)
from lrsearch.train.users.memory import (
    LIMIT,
    MOST,
    PLACES,
    PLAIN,
    cells_of,
    held_by,
    is_plain,
    is_users,
    stand,
)
from lrsearch.train.users.settings import SETTINGS
from lrsearch.trial import Workplace

ROOM = 2**26
"""Bytes of arrays and tensors of the user's globals that are copied in a process; of larger ones
a change is seen, and cannot be undone."""

# all of them


class Globals:
    """The values that the user's modules hold, as they were when they were first looked at."""

    def __init__(self) -> None:
        self._kept: list[tuple[Kept, Callable[[], Kept]]] = []
        self._seen: dict[int, object] = {}  # Kept alive: an id may become another's.
        self._room = ROOM
        for each in SETTINGS:
            self._add(of_setting, each.name, each)

    def _add(self, make: Callable[..., Kept], name: str, value: object, **given: bool) -> None:
        again = functools.partial(make, name, value, **given)
        self._kept.append((again(), again))

    def keep(self, names: Iterable[str]) -> None:
        """Keep what modules hold, and all that is reached from there; what is kept already stays
        as it was."""
        ahead = deque((name, sys.modules[name]) for name in sorted(names))
        while ahead and len(self._seen) < MOST:
            name, value = ahead.popleft()
            if id(value) in self._seen or isinstance(value, PLAIN):
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
            self._add(of_attributes, name, value)
            return [each for each in named(value) if not isinstance(each[1], ModuleType)]
        elif isinstance(value, type):
            if is_users(value.__module__):
                self._add(of_attributes, value.__qualname__, value)
                return named(value)
        elif isinstance(value, Cached):
            self._add(of_cache, name, value)
            return [("", value.__wrapped__)]
        elif isinstance(value, FunctionType):
            if is_users(value.__module__) or is_users(value.__globals__.get("__name__", "")):
                self._add(of_attributes, name, value)
                for each, cell in cells_of(value):
                    self._add(of_cell, f"{name}: {each}", cell)
                return [("", each) for each in held_by(value)]
        elif isinstance(value, _WRAPPERS):
            return [("", getattr(value, each)) for each in _WRAPPED if hasattr(value, each)]
        elif isinstance(value, tuple | frozenset):
            return enumerate(value)
        elif isinstance(value, dict):
            self._add(of_mapping, name, value)
            return value.items()
        elif isinstance(value, list | set | deque | bytearray | array.array):
            self._add(of_sequence, name, value)
            return enumerate(value) if isinstance(value, list | set | deque) else ()
        elif isinstance(value, Iterator) and is_plain(value):
            if stand(value) is None:
                self._add(of_stream, name, value)
        elif isinstance(value, _OPEN) or is_users(type(value).__module__):
            # What an object of another package's holds is that package's affair.
            if hasattr(value, "__dict__"):
                self._add(of_attributes, name, value)
            if names := all_slots(value):
                self._add(of_slots, name, value)
            inner = [(each, getattr(value, each, None)) for each in names]
            return [*inner, *getattr(value, "__dict__", {}).items()]
        return ()

    def _keep_numbers(self, name: str, value: Any) -> None:
        copied = value.nbytes <= self._room
        if isinstance(value, Tensor):
            if value.layout is not torch.strided or value.is_meta:
                return
            copied &= value.is_leaf or not value.requires_grad
            self._add(of_tensor, name, value, copied=copied)
        elif value.dtype.kind in "biufcM" and value.flags.writeable:
            self._add(of_array, name, value, copied=copied)
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
        """Keep what has changed since as it is now, except what had changed `before`."""
        had = {id(each) for each, _ in before}
        for place, (each, again) in enumerate(self._kept):
            if id(each) not in had and _is_changed(each):
                self._kept[place] = again(), again

    def changed(self) -> list[tuple[Kept, Callable[[], Kept]]]:
        """The values that have changed since, each with a function that keeps it as it is now."""
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
    """The globals that are kept now, with the imports, the data and the names of the modules that
    they belong to. `readers` give the samples of these data. `left` are the names of values that
    could not be put back."""

    imports: object = None
    data: object = None
    names: frozenset[str] = frozenset()
    count: int = 0
    globals: Globals | None = None
    readers: Sequence[Returning] = ()
    left: Sequence[str] = ()


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
    _held.data, _held.readers, _held.left = data, readers(), ()
    if _held.names:
        _held.globals = Globals()
        _held.globals.keep(_held.names & sys.modules.keys())


def put_back(workplace: Workplace) -> list[str]:
    """Put back what has changed in the globals of the user's code since it was imported, or since
    the data were read; returns the names of what cannot be put back."""
    keep(workplace)
    left = [] if _held.globals is None else _held.globals.put_back()
    left += [name for each in _held.readers for name in each.put_back()]
    _held.left = left
    return left


def left_over() -> Sequence[str]:
    """The names of what could not be put back the last time."""
    return _held.left


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
    """Context in which a module is imported in the midst of a trial. Its globals, and what its
    import has changed elsewhere, such as a registry of classes, are kept for the trials that
    follow."""
    held = _held.globals
    before = [] if held is None else held.changed()
    yield
    if held is not None:
        held.settle(before)
        held.keep([name])
        _held.names |= {name}


importing.after_import = keep
beside.executing = _executing
