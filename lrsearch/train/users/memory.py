"""Memory of the user's code beside the tensors of its model: found by comparing objects'
attributes."""

from __future__ import annotations

import array
import functools
import io
import itertools
import logging
import operator
import os
import random
import sys
import sysconfig
import warnings
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import CellType, FunctionType, GeneratorType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from lrsearch.data.raised import PACKAGES
from lrsearch.train.users.draws import DRAWS, see_draws

PLACES = ("_parameters", "_buffers", "_modules")
"""Attributes of a module that hold its parts by their names."""

LIMIT = 1000
"""The most values that are looked at in one attribute."""


def recall(model: nn.Module, others: Mapping[str, object]) -> dict[str, object]:
    """The state that can steer a module beside the contents of its tensors, by name: its
    attributes, those of its classes, the globals of their modules, and the global generators.
    `others` (objects, or functions) are included in the same way."""
    look = _Look((*model.parameters(), *model.buffers(), *model.modules()))
    found: dict[str, object] = {
        "the state of Python's random": random.getstate(),
        "the state of numpy's random": look.at(np.random.get_state()),
    }
    kinds: dict[type, None] = {}
    scopes: dict[str, None] = {}
    for prefix, module in model.named_modules():
        kinds |= dict.fromkeys(type(module).__mro__)
        for name, value in vars(module).items():
            path = f"{prefix}.{name}".strip(".")
            if name in PLACES:
                named = {f"{prefix}.{key}".strip("."): each for key, each in value.items()}
                found |= {key: _Same(each) for key, each in named.items()}
                found |= {
                    f"the hooks of {key}": look.at(_hooks_of(each)) for key, each in named.items()
                }
            else:
                found[path] = look.at(value)
    for name, value in others.items():
        owner = _owner(value)
        found[name] = look.at(owner)
        scope = sys.modules.get(getattr(owner, "__module__", ""))
        if isinstance(owner, FunctionType) and scope is not None:
            scopes[scope.__name__] = None
        else:
            kinds |= dict.fromkeys(type(owner).__mro__)
    for kind in kinds:
        if kind.__module__.partition(".")[0] in ("torch", "builtins", "lrsearch"):
            continue
        scopes[kind.__module__] = None
        found |= {f"{kind.__name__}.{key}": look.at(each) for key, each in _globals(kind)}
    for each in _reached(scopes):
        values = _globals(sys.modules[each])
        found |= {f"{each}.{key}": look.at(value) for key, value in values}
    return found


def _reached(scopes: Iterable[str]) -> list[str]:
    """Modules, and those of the user's that they import, or import functions and classes of."""
    found = dict.fromkeys(name for name in scopes if name in sys.modules)
    ahead = deque(found)
    while ahead:
        for _, value in _globals(sys.modules[ahead.popleft()]):
            home = getattr(value, "__name__" if isinstance(value, ModuleType) else "__module__", "")
            if isinstance(home, str) and home not in found and is_users(home):
                found[home] = None
                ahead.append(home)
    return list(found)


def global_values(owners: Iterable[object]) -> dict[str, object]:
    """The tensors, arrays and numbers, by name, in the globals of the modules that objects come
    from, and of those that these import: values to compare with later ones. Numbers stand also in
    attributes of a global, and in a dict by names; what is kept by places, such as a cache, is left
    out."""
    look, found = _Look(), dict[str, object]()
    for home in _reached(type(each).__module__ for each in owners):
        for name, value in _globals(sys.modules[home]):
            if isinstance(value, (Tensor, np.ndarray, *PLAIN)):
                found[f"{home}.{name}"] = look.at(value)
            elif not isinstance(value, FunctionType | ModuleType):
                inner = value if isinstance(value, dict) else getattr(value, "__dict__", {})
                found |= {
                    f"{home}.{name}.{key}": look.at(each)
                    for key, each in inner.items()
                    if isinstance(key, str) and isinstance(each, PLAIN)
                }
    return found


def _globals(owner: ModuleType | type) -> list[tuple[str, object]]:
    return [(name, value) for name, value in vars(owner).items() if not name.startswith("__")]


def _hooks_of(part: object) -> object:
    """The hooks of a parameter's gradient, which no attribute of a module holds."""
    kinds = ("_backward_hooks", "_post_accumulate_grad_hooks")
    return [getattr(part, each, None) for each in kinds] if isinstance(part, Tensor) else None


class _Same:
    """A value compared by identity. It is kept alive: the id of a deleted one may become
    another's."""

    def __init__(self, value: object) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and other.value is self.value

    def __hash__(self) -> int:
        return id(self.value)


class _Look:
    """Values by their content where that is plain, by identity where not. Contents of objects in
    `held` are left out, and those of tensors that share the memory of tensors there."""

    def __init__(self, held: Iterable[object] = ()) -> None:
        self.held, self.memory, self.left = set[int](), set[int](), LIMIT
        for each in held:
            self.held.add(id(each))
            if isinstance(each, Tensor) and (memory := _memory_of(each)) is not None:
                self.memory.add(memory)

    def at(self, value: Any) -> object:
        """An object's content, to compare with its later one."""
        self.left = LIMIT
        return self._at(value, 6)

    def _at(self, value: Any, depth: int) -> object:
        self.left -= 1
        kind = type(value)
        if kind in _ATOMS:
            return repr(value)  # NaN equals itself so.
        if kind not in _OPEN:  # Of which there are the most, and which are none of these.
            known, content = self._know(value)
            if known:
                return content
        parts: Iterable[Any]
        if isinstance(value, Mapping):
            parts = itertools.chain.from_iterable(value.items())
        elif isinstance(value, list | tuple | set | frozenset | deque):
            parts = value
        else:
            inside = _parts(value)
            if inside is None:
                return _Same(value)
            parts = inside
        if depth == 0 or self.left < 0:
            return _Same(value)
        whole = iter(parts)
        near = tuple([self._at(each, depth - 1) for each in itertools.islice(whole, self.left)])
        return type(value), near, tuple(map(_Same, whole))

    def _know(self, value: Any) -> tuple[bool, object]:
        """Whether a value is of a kind that has a way of its own to tell its content, and that."""
        if isinstance(
            value, bool | int | float | complex | str | bytes | None | np.generic | itertools.count
        ):
            return True, repr(value)
        if isinstance(value, Tensor) and not is_lazy(value):
            apart = id(value) in self.held or _memory_of(value) in self.memory
            return True, (_Same(value), apart or (version_of(value), _numbers_of(value)))
        if id(value) in self.held or isinstance(value, logging.Logger | Tensor):
            return True, _Same(value)
        if isinstance(value, np.ndarray):
            whole = value.nbytes < 2**20
            return True, value.tobytes() if whole else (_Same(value), sample(value))
        if isinstance(value, DRAWS):
            return True, see_draws(value)
        return False, None


_ATOMS = frozenset({bool, int, float, complex, str, bytes, type(None)})

_OPEN = frozenset({FunctionType, MethodType, type, ModuleType, dict, list, tuple, set, frozenset})
"""Kinds of values that are known by their parts alone."""


def _memory_of(tensor: Tensor) -> int | None:
    """The place in memory of a tensor's numbers; None for one without any, or of another layout."""
    try:
        return None if is_lazy(tensor) else tensor.untyped_storage().data_ptr() or None
    except (RuntimeError, NotImplementedError):
        return None


def version_of(tensor: Tensor) -> int | None:
    """The number of a tensor's changes in place; None where torch counts none, as it does not of
    what inference mode has made."""
    return None if is_lazy(tensor) or tensor.is_inference() else tensor._version


def _numbers_of(tensor: Tensor) -> bytes | None:
    """The numbers of a small tensor of the host's: neither `.data` nor numpy count their changes as
    new versions. None for others."""
    if tensor.device.type != "cpu" or tensor.is_sparse or tensor.nbytes > LIMIT:
        return None
    try:
        return tensor.detach().resolve_conj().resolve_neg().numpy().tobytes()
    except (RuntimeError, TypeError):  # As of numbers that numpy does not have.
        return None


def look_at(value: object) -> object:
    """An object's content, to compare with its later one."""
    return _Look().at(value)


def _parts(value: Any) -> Iterable[Any] | None:
    """Parts of a value other than a container, which may change; None for one without."""
    if isinstance(value, FunctionType):
        return held_by(value)
    if isinstance(value, MethodType):
        return [value.__self__, value.__func__]
    if isinstance(value, functools.partial):
        return [value.func, value.args, value.keywords]
    if isinstance(value, bytearray | array.array):
        return [bytes(value)]
    if isinstance(value, GeneratorType):
        frame = value.gi_frame
        return [] if frame is None else [frame.f_lasti, frame.f_locals, value.gi_yieldfrom]
    if isinstance(value, Iterator) and not isinstance(value, io.IOBase):
        return _place_of(value)
    if isinstance(value, type):
        return [each for _, each in _globals(value)] if is_users(value.__module__) else None
    if isinstance(value, ModuleType):
        return None
    slots = [name for kind in type(value).__mro__ for name in names_of(vars(kind).get("__slots__"))]
    held = [getattr(value, name, None) for name in slots]
    return [*held, *vars(value).values()] if hasattr(value, "__dict__") else held or None


def held_by(function: FunctionType) -> list[Any]:
    """The values that a function holds: its defaults, the variables around it, its attributes."""
    defaults = [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()]
    cells = [each for _, each in cell_values(function)]
    return [*defaults, *cells, *vars(function).values()]


def cells_of(function: FunctionType) -> Iterable[tuple[str, CellType]]:
    """The variables around a function, by their names."""
    return zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)


def cell_values(function: FunctionType) -> list[tuple[str, Any]]:
    """The values of the variables around a function that have one by now, by their names."""
    return [(name, cell.cell_contents) for name, cell in cells_of(function) if is_filled(cell)]


def is_filled(cell: CellType) -> bool:
    """Whether a variable around a function has a value by now."""
    try:
        _ = cell.cell_contents
    except ValueError:
        return False
    return True


def names_of(slots: Any) -> Iterable[str]:
    """The names of a class's `__slots__`, of which there may be one as text, or none."""
    return (slots,) if isinstance(slots, str) else slots or ()


def _place_of(iterator: Iterator[Any]) -> Iterable[Any] | None:
    """The place of an iterator, as far as it tells. One that tells nothing gets a new object each
    time, so that it counts as changed."""
    if hasattr(iterator, "__dict__"):
        return vars(iterator).values()
    if hasattr(iterator, "__length_hint__"):
        return [operator.length_hint(iterator)]
    try:
        with warnings.catch_warnings():  # That iterators will not tell from Python 3.14 on.
            warnings.simplefilter("ignore")
            return [each for each in iterator.__reduce__()[1:] if each is not None]
    except (TypeError, AttributeError, IndexError):
        return [object()]


@dataclass(frozen=True)
class Stand:
    """The present place of an iterator, with a copy that can go on from there."""

    value: Iterator[Any]
    copy: Iterator[Any]
    place: object

    def stands(self) -> bool:
        """Whether it has not been asked since."""
        return look_at(self.value) == self.place

    def make(self) -> Iterator[Any]:
        """An iterator that goes on from there."""
        return _copied(self.copy)


def is_plain(value: object) -> bool:
    """Whether an iterator is one of Python's own."""
    return type(value).__module__ in ("builtins", "itertools")


def stand(value: object) -> Stand | None:
    """An iterator of Python's as it stands; None for other values, and for one that is over what
    cannot be copied, such as a generator."""
    if not isinstance(value, Iterator) or not is_plain(value):
        return None
    try:
        return Stand(value, _copied(value), look_at(value))
    except Exception:
        return None


def _copied(value: Iterator[Any]) -> Iterator[Any]:
    """A copy of an iterator with copies of those that it is over, which `copy.copy` shares. Raises
    TypeError for what is none of Python's, or cannot be copied."""
    if not is_plain(value):
        raise TypeError(f"a {type(value)} cannot be copied")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        reduced: Any = value.__reduce__()
    make, given, *more = reduced
    found: Iterator[Any] = make(*map(_inside, given))
    if more and more[0] is not None:
        found.__setstate__(_inside(more[0], own=True))  # type: ignore[attr-defined]
    return found


def _inside(part: Any, *, own: bool = False) -> Any:
    """A part of an iterator, for its copy. A list that is the iterator's `own`, as a cycle's is, is
    copied."""
    if isinstance(part, Iterator):
        return _copied(part)
    if isinstance(part, tuple) and own:
        return tuple(_inside(each, own=own) for each in part)
    return list(part) if own and isinstance(part, list) else part


def sample(large: np.ndarray[Any, Any]) -> bytes:
    """Some of a large array's entries."""
    flat = large.reshape(-1) if large.flags.c_contiguous else large.ravel(order="K")
    return flat[:: max(1, flat.size // LIMIT)].tobytes()


# Over a whole training


class Unseen(Exception):
    """Raised for a change in a training that can be neither seen nor restored, in words for a
    user."""


class Memory:
    """The memory of the user's code in a training, by its objects' attributes; tensors of the
    `model` are left out.

    Made before the first step: later differences are changes by the training.
    """

    def __init__(self, objects: Mapping[str, object], model: nn.Module | None = None) -> None:
        self.roots = dict(objects)
        self.modules = [] if model is None else list(model.modules())
        self._modules = {id(each) for each in self.modules}
        self._before: dict[tuple[str, str], object] = {}
        self._unseen: Unseen | None = None
        self._begin()

    def add(self, name: str, value: object) -> None:
        """Add one more object from now on."""
        self.roots[name] = value
        self._begin()

    def _begin(self) -> None:
        try:
            self._before = {**self._look(), **self._before}
        except Unseen as error:  # No reason not to train: only to be saved it would matter.
            self._unseen = error
        except Exception as error:  # Objects of the user's may raise anything when looked at.
            self._unseen = Unseen(f"looking at it raised {type(error).__name__}: {error}")

    def changes(self) -> dict[tuple[str, str], Any]:
        """The attributes that the training has changed, by their object's place and their name;
        `GONE` for one that is there no more. Raises Unseen for what changes elsewhere."""
        if self._unseen is not None:
            raise self._unseen
        after = self._look()
        before, known = self._before, {owner for owner, _ in self._before}
        owners = self.owners()
        changed: dict[tuple[str, str], Any] = {}
        for place in {**before, **after}:
            if place in before and place in after and before[place] == after[place]:
                continue
            owner, name = place
            if owner not in owners or owner not in known:
                raise Unseen(f"{'.'.join(filter(None, place))} changes as it trains")
            changed[place] = owners[owner].get(name, GONE)
        return changed

    def owners(self) -> dict[str, dict[str, Any]]:
        """The attributes of each object, by its place."""
        return {place: vars(each) for place, each in self.walk()}

    def _look(self) -> dict[tuple[str, str], object]:
        """Each attribute as `_Look` sees it, by its object's place and its name. Globals and values
        that functions hold are compared, too, but have no object to which they could be
        restored."""
        walked = list(self.walk())
        tensors = [part for each in self.modules for part in _tensors(each)]
        aside = (*tensors, torch.default_generator, *(each for _, each in walked))
        look = _Look(aside)
        found: dict[tuple[str, str], object] = {}
        kinds: dict[type, None] = {}
        scopes: dict[str, None] = {}
        for place, each in walked:
            kinds |= dict.fromkeys(type(each).__mro__)
            found[place, ""] = type(each)  # It is there; its value does not matter.
            found |= {key: look.at(value) for key, value in self._held(place, each)}
        for name, value in self.roots.items():
            owner = _owner(value)
            if isinstance(owner, FunctionType):
                found[name, "()"] = look.at(owner)
                scopes[owner.__module__] = None
        scopes |= {each.__module__: None for each in kinds}
        for kind in filter(lambda kind: is_users(kind.__module__), kinds):
            named = ((key, value) for key, value in vars(kind).items() if key[:2] != "__")
            found |= {(f"the class {kind.__name__}", key): look.at(value) for key, value in named}
        for scope in _reached(filter(is_users, scopes)):
            for name, value in _globals(sys.modules[scope]):
                found[f"the module {scope}", name] = look.at(value)
        return found

    def _held(self, place: str, owner: Any) -> Iterator[tuple[tuple[str, str], object]]:
        """The values of an object's attributes, and what hooks of its parameters hold."""
        skipped = self._apart(owner)
        for name, value in vars(owner).items():
            if name not in skipped:
                _refuse_iterator(value, f"{place}.{name}".strip("."))
                yield (place, name), value
        for name, part in owner._parameters.items() if isinstance(owner, nn.Module) else ():
            yield (f"what hooks of {f'{place}.{name}'.strip('.')} hold", ""), _hooks_of(part)

    def _apart(self, value: object) -> frozenset[str]:
        """The names of attributes that a saved state has apart."""
        if isinstance(value, torch.optim.Optimizer):
            return frozenset({"state", "param_groups", "defaults"})
        own = isinstance(value, nn.Module) and id(value) in self._modules
        return frozenset({"_parameters", "_buffers"}) if own else frozenset()

    def walk(self) -> Iterator[tuple[str, Any]]:
        """The objects that have attributes, each once, by its place: `layers.0`."""
        seen: set[int] = set()
        ahead = deque((name, value, 0) for name, value in self.roots.items())
        while ahead:
            place, value, depth = ahead.popleft()
            if id(value) in seen or isinstance(value, _SHUT):
                continue
            seen.add(id(value))
            if len(seen) > MOST:
                raise Unseen("there is too much to look at")
            inner: Iterable[tuple[Any, Any]] = ()
            if isinstance(value, Mapping):
                inner = value.items()
            elif isinstance(value, list | tuple | set | frozenset | deque):
                inner = enumerate(value)
            elif isinstance(value, MethodType):
                inner = [("", value.__self__)]
            elif isinstance(value, FunctionType):
                inner = cell_values(value)
            elif hasattr(value, "__dict__"):
                yield place, value
                skipped = self._apart(value)
                inner = ((key, each) for key, each in vars(value).items() if key not in skipped)
                depth = -1
            for name, each in itertools.islice(inner, LIMIT) if depth < DEEP else ():
                if isinstance(each, PLAIN):
                    continue
                told = name if isinstance(name, str | int) else type(name).__name__
                own = place if told in PLACES else f"{place}.{told}".strip(".")
                ahead.append((own, each, depth + 1))


def find_optimizers(
    objects: Mapping[str, object], model: nn.Module
) -> dict[str, torch.optim.Optimizer]:
    """The optimizers that the user's objects, the model, or the globals of their modules hold, by
    their places: `train.step.optimizer`."""
    roots = dict(objects)
    kinds = [type(each) for each in (model, *map(_owner, objects.values()))]
    homes = {getattr(_owner(each), "__module__", "") for each in objects.values()}
    for home in _reached(filter(is_users, {*homes, *(each.__module__ for each in kinds)} - {None})):
        roots |= {f"{home}.{name}": value for name, value in _globals(sys.modules[home])}
    roots["the model"] = model
    found: dict[str, torch.optim.Optimizer] = {}
    for place, each in Memory(roots).walk():
        if isinstance(each, torch.optim.Optimizer):
            found[place] = each
    return found


GONE = object()
"""The value of an attribute that was deleted."""

MOST = 50_000
"""The most objects that are looked at."""

DEEP = 4
"""The deepest nesting of containers that are looked into."""

PLAIN = (bool, int, float, complex, str, bytes, type(None), np.generic)

_SHUT = (Tensor, np.ndarray, torch.Generator, random.Random, np.random.Generator, type, ModuleType,
         logging.Logger, *PLAIN)  # fmt: skip
"""Types whose values are not searched for further objects."""


def _tensors(module: nn.Module) -> list[Tensor]:
    held = (*module._parameters.values(), *module._buffers.values())
    return [each for each in held if each is not None]


def _refuse_iterator(value: object, place: str) -> None:
    known = (itertools.count, io.IOBase)
    if isinstance(value, Iterator) and not isinstance(value, known):
        raise Unseen(f"{place} is a {type(value).__name__}: where it stands cannot be seen")


def _owner(value: object) -> object:
    """The function itself, inside one with arguments bound."""
    return getattr(value, "func", value)


_STDLIB = str(Path(sysconfig.get_path("stdlib")).resolve())


def bits(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """An array's numbers as they are in memory, in which NaN equals itself, flat."""
    flat = values.reshape(-1)
    return flat.view(f"u{min(flat.itemsize, 8)}")


def is_users(module: str) -> bool:
    """Whether a module is the user's: neither Python's nor a package's nor lrsearch's."""
    file = getattr(sys.modules.get(module), "__file__", None)
    if file is None or module.partition(".")[0] in ("torch", "lrsearch"):
        return False
    return _is_users_file(file if os.path.isabs(file) else str(Path(file).resolve()))  # noqa: PTH117


@functools.lru_cache(maxsize=10_000)
def _is_users_file(file: str) -> bool:
    """Whether a module's file is neither Python's nor a package's: of each it is asked often."""
    path = Path(file).resolve()
    return not PACKAGES & {*path.parts} and not str(path).startswith(_STDLIB)
