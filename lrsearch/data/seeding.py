"""Seeding of the global generators of Python, of NumPy and of torch, of libraries that are not
imported yet as soon as they are.

Imports neither of them: a process that trains a loop of the user's has what that loop imports.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, cast

_SEEDED: Mapping[str, Callable[[Any, int], object]] = {
    "numpy.random": lambda library, seed: library.seed(seed % 2**32),
    "torch": lambda library, seed: _seed_torch(library, seed),
}
"""The modules that have a global generator, and how each is seeded."""


def _seed_torch(library: Any, seed: int) -> None:
    """Seed all generators of torch. Built for no accelerator it has the CPU's alone, and
    `torch.manual_seed` would keep the seed, with the stack of its caller, for a GPU's: a
    millisecond each time, and memory."""
    if library.accelerator.current_accelerator() is None:
        library.default_generator.manual_seed(seed)
    else:
        library.manual_seed(seed)


def seed_libraries(seed: int, *libraries: ModuleType) -> None:
    """Seed Python's global generator, and those of `numpy.random` and `torch` where given."""
    random.seed(seed)
    for library in libraries:
        _SEEDED[library.__name__](library, seed)


class LateSeeding:
    """A finder of modules (`importlib.abc.MetaPathFinder`) that finds none by itself: libraries
    which are imported while it is installed are seeded at the end of their import, before the code
    that imports them can draw."""

    def __init__(self) -> None:
        self._seed = 0
        self._late = {name for name in _SEEDED if name not in sys.modules}
        sys.meta_path.insert(0, self)

    def seed(self, seed: int) -> None:
        """Seed everything that is imported, and from now on what is imported later."""
        self._seed = seed
        there = _SEEDED.keys() & sys.modules.keys() - self._late
        seed_libraries(seed, *(sys.modules[name] for name in there))

    def remove(self) -> None:
        """Seed no more libraries."""
        if self in sys.meta_path:  # The user's code may have taken it away.
            sys.meta_path.remove(self)

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The module as the other finders find it, to be seeded; None for any that has no
        generator."""
        if name not in self._late:
            return None
        for finder in sys.meta_path:
            if finder is not self and hasattr(finder, "find_spec"):
                found = finder.find_spec(name, path, target)
                if found is not None:
                    if hasattr(found.loader, "exec_module"):
                        found.loader = cast(Any, _Loader(found.loader, self))
                    return found
        return None

    def imported(self, module: ModuleType) -> None:
        """Seed a library that has just been imported."""
        _SEEDED[module.__name__](module, self._seed)
        self._late.discard(module.__name__)


class _Loader:
    """A library's own loader, whose modules are seeded once they are executed."""

    def __init__(self, loader: Any, seeding: LateSeeding) -> None:
        self._loader, self._seeding = loader, seeding

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """The module, or None for an ordinary one."""
        return self._loader.create_module(spec)  # type: ignore[no-any-return]

    def exec_module(self, module: ModuleType) -> None:
        """Execute the module, which knows its own loader alone, and seed it."""
        module.__loader__ = self._loader
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        self._loader.exec_module(module)
        self._seeding.imported(module)
