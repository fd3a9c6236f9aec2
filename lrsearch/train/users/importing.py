"""Code that a spec names: imports of it, and the hashes of its source."""

from __future__ import annotations

import hashlib
import importlib
import os
import pkgutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from importlib.machinery import PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

from lrsearch.data.interrupts import any_but_interrupts
from lrsearch.data.raised import tell_raised
from lrsearch.errors import ImportRefused, LrsearchError, ModelError, nearest, suggest
from lrsearch.train.users.beside import (
    bound_at,
    find_imported,
    found_beside,
    imports_of,
    source_file,
)
from lrsearch.trial import Workplace

_FREE = {"torch.nn.": "Module", "torch.optim.": "Optimizer"}
"""Prefixes of class paths that are free, with the classes they must name. torch is not imported
here: code that is none of torch's may need none."""


@dataclass
class _Imported:
    """The imports of this process for a workplace: the modules that came from its folder, and the
    SHA-256 of the source behind each class path, taken at its import. `before` are all modules
    there were when its turn last began; `beside` are the modules of the folder that the allowed
    ones import."""

    folder: str = ""
    before: frozenset[str] = frozenset()
    modules: set[str] = field(default_factory=set)
    hashes: dict[str, str] = field(default_factory=dict)
    beside: dict[tuple[str, ...], set[str]] = field(default_factory=dict)


_imported = _Imported()

after_import: Callable[[Workplace], object] = lambda _: None  # noqa: E731
"""Called after each import of a class path. `anew` sets it, which imports torch."""


def standing() -> object:
    """A value that is replaced by another one whenever imports are forgotten."""
    return _imported


def local_modules() -> set[str]:
    """The modules that came from the workplace's folder."""
    return set(_imported.modules)


def forget_imports(folder: str = "") -> None:
    """Forget the modules of a workplace's folder, so that they are imported again from the files as
    they are now. `folder` is the one whose modules come next."""
    global _imported
    for name in _imported.modules:
        sys.modules.pop(name, None)
    _imported = _Imported(folder)


@contextmanager
def importable(workplace: Workplace) -> Iterator[None]:
    """Make the allowed modules of the workplace's folder, and those they import from there,
    importable; a user's code may import at any time it runs."""
    folder = os.path.realpath(workplace.folder)
    if _imported.folder != folder:
        forget_imports(folder)  # Another folder's `nets` must not stand in for this one's.
    if len(_imported.before) != len(sys.modules):  # A turn is short, the modules are thousands.
        _imported.before = frozenset(sys.modules)
    before = _imported.before
    if workplace.allowed not in _imported.beside:
        _imported.beside[workplace.allowed] = find_imported(folder, workplace.allowed)
    try:
        with found_beside(folder, workplace.allowed, _imported.beside[workplace.allowed]):
            yield
    finally:
        if len(sys.modules) != len(before):
            new = sys.modules.keys() - before
            _imported.modules |= {name for name in new if _is_local(name, folder)}


def _is_local(name: str, folder: str) -> bool:
    if name.partition(".")[0] == "lrsearch":  # Run from its own checkout.
        return False
    # As they stand there: torch.classes makes a class of any attribute that it is asked for.
    held = getattr(sys.modules.get(name), "__dict__", {})
    paths = held.get("__path__")
    path = next(iter(paths), None) if isinstance(paths, Iterable) else held.get("__file__")
    return (
        isinstance(path, str) and path.startswith(folder + os.sep) and "site-packages" not in path
    )


def _suggest(name: str, names: Iterable[str]) -> str:
    """The nearest name, in any case, or else the names there are."""
    known = sorted(names)
    if not known:
        return ""
    close = nearest(name, known)
    return f"did you mean '{close}'?" if close else suggest(name, known)


def resolve(class_path: str, workplace: Workplace) -> Callable[..., Any]:
    """Import the class or function a class path names.

    Module classes of torch.nn and optimizers of torch.optim are free. For any other the top-level
    module must be among `workplace.allowed` before anything is imported, and the module the object
    is defined in after. The hash of the source is taken, too, see `source_hashes`. Raises
    ImportRefused, or ModelError for a path that names nothing or cannot be imported.
    """
    parts = class_path.split(".")
    if len(parts) < 2 or not all(part.isidentifier() for part in parts):
        raise ModelError(f"'{class_path}' is no class path, such as my_package.nets.Net")
    top = parts[0]
    if top not in workplace.allowed:
        if class_path.startswith(tuple(_FREE)):
            return _resolve_free(class_path)
        raise ImportRefused(
            f"{class_path} needs the module '{top}', which is not allowed",
            hint=f"if you trust it: --allow-import {top}",
        )
    importlib.invalidate_caches()
    with importable(workplace):
        found = _walk(parts, workplace)
    after_import(workplace)
    inner = found
    while isinstance(inner, partial):  # It is where its function is.
        inner = inner.func
    home = getattr(inner, "__module__", None)
    if not callable(found) or not isinstance(home, str) or _is_module(found):
        kind = type(found).__qualname__
        raise ModelError(
            f"{class_path} is neither a class nor a function, but a value of type {kind}"
            f"{tell_place(class_path)}",
        )
    if home.partition(".")[0] not in workplace.allowed and not _is_free(inner):
        raise ImportRefused(
            f"{class_path} is defined in the module '{home}', which is not allowed",
            hint=f"if you trust it: --allow-import {home.partition('.')[0]}",
        )
    if class_path not in _imported.hashes:
        # At once: a file that changes from here on is no longer what was imported.
        _hash_source(class_path, home)
    return found


def tell_place(class_path: str) -> str:
    """The file and line of what a class path names, which has been imported: ` (nets.py, line
    12)`; "" where its module has no source."""
    parts = class_path.split(".")
    for end in range(len(parts) - 1, 0, -1):
        if (module := sys.modules.get(".".join(parts[:end]))) is not None:
            file = getattr(module, "__file__", None) or ""
            return f" ({bound_at(Path(file), parts[end])})" if file.endswith(".py") else ""
    return ""


def construct(
    constructor: Callable[..., Any],
    *given: object,
    arguments: Mapping[str, Any],
    where: str,
    told: str = "",
    hint: Callable[[], str] = str,
) -> Any:
    """Call the user's class or function with its arguments. Raises ModelError for its errors, their
    text behind `told`, with the hint that `hint` returns; errors of lrsearch's, and those of memory
    that ran out, as they are."""
    from lrsearch.train.device import is_out_of_memory  # Imports torch.

    try:
        return constructor(*given, **arguments)
    except any_but_interrupts(LrsearchError, is_out_of_memory) as error:
        message = f"{told}{tell_raised(error)}"
        raise ModelError(message, where=where, hint=hint()) from error


def _is_module(found: object) -> bool:
    """Whether it is a module of torch's, an instance."""
    library = sys.modules.get("torch.nn")
    return library is not None and isinstance(found, library.Module)


def _is_free(found: object) -> bool:
    """Whether it is a module class of torch.nn, or an optimizer of torch.optim."""
    if not isinstance(found, type):
        return False
    for place, kind in _FREE.items():
        library = sys.modules.get(place.removesuffix("."))
        if library is not None and f"{found.__module__}.".startswith(place):
            return issubclass(found, getattr(library, kind))
    return False


def _resolve_free(class_path: str) -> Callable[..., Any]:
    place = next(place for place in _FREE if class_path.startswith(place))
    home = place.removesuffix(".")
    library = importlib.import_module(home)
    found: Any = library
    name = class_path.removeprefix(place)
    for part in name.split("."):
        found = getattr(found, part, None)
    if found is None:
        names = [each for each in dir(library) if _is_free(getattr(library, each))]
        raise ModelError(f"{home} has no '{name}'", hint=_suggest(name, names))
    if not _is_free(found):
        what = "module" if home == "torch.nn" else "optimizer"
        hint = "a schedule of your own is a function of the progress, from 0 to 1"
        raise ImportRefused(
            f"{class_path} is no {what} class of {home}; only those are free",
            hint=hint if "lr_scheduler" in class_path else "",
        )
    return found  # type: ignore[no-any-return]


def _walk(parts: list[str], workplace: Workplace) -> object:
    """Import the longest module path, then take attributes."""
    found: object = _import(parts[0], parts[0], workplace)
    for index, part in enumerate(parts[1:], start=1):
        path = ".".join(parts[:index])
        if not hasattr(found, part) and hasattr(found, "__path__"):
            found = _import(f"{path}.{part}", part, workplace, found)
        elif not hasattr(found, part):
            raise ModelError(f"{path} has no '{part}'", hint=_suggest(part, _public(found)))
        else:
            found = getattr(found, part)
    return found


def _public(found: object) -> set[str]:
    """Public classes and functions of a module (or attributes of a class), for suggestions to the
    user."""
    members = getattr(found, "__dict__", {}).items()
    return {name for name, value in members if callable(value) and not name.startswith("_")}


def _advise(error: BaseException, workplace: Workplace) -> str:
    """The line that installs a package that the user's code misses, "" where it misses none."""
    absent = error.name if isinstance(error, ModuleNotFoundError) else None
    if not absent or "." in absent or PathFinder.find_spec(absent, [workplace.folder]):
        return ""  # What lies in the folder is told of by `find_missing`.
    return f"install its package where lrsearch runs: {sys.executable} -m pip install {absent}"


def _import(name: str, part: str, workplace: Workplace, parent: object = None) -> ModuleType:
    try:
        return importlib.import_module(name)
    except any_but_interrupts() as error:
        if not (isinstance(error, ModuleNotFoundError) and error.name == name):
            message = f"importing {name} raised {tell_raised(error)}"
            raise ModelError(message, where=name, hint=_advise(error, workplace)) from error
        paths = getattr(parent, "__path__", None) or [workplace.folder]
        names = {module.name for module in pkgutil.iter_modules(paths)} | _public(parent)
        where = name.rpartition(".")[0] or f"the folder {workplace.folder} or the environment"
        raise ModelError(
            f"there is no '{part}' in {where}", hint=_suggest(part, names) if names else ""
        ) from None


def source_hashes(class_paths: Iterable[str], workplace: Workplace) -> dict[str, str]:
    """SHA-256 of the source behind each class path that is user code, not torch's or lrsearch's.

    It covers the module with what that imports, as written in its source, from the workplace's
    folder or its own package; a file's place on the disk does not matter. It is of the files as
    they were when this process imported the class path, now at the latest. Raises as `resolve`.
    """
    wanted = sorted(set(class_paths))
    for class_path in wanted:
        resolve(class_path, workplace)
    return {each: _imported.hashes[each] for each in wanted if each in _imported.hashes}


def _hash_source(class_path: str, home: str) -> None:
    """Keep the hash of a class path just imported; its object is defined in the module `home`."""
    files: dict[str, Path] = {}
    parts = class_path.split(".")
    prefixes = (".".join(parts[:end]) for end in range(len(parts) - 1, 0, -1))
    for name in (next(each for each in prefixes if each in sys.modules), home):
        _collect(name, Path(_imported.folder), files)
    if not files:
        return
    digest = hashlib.sha256()
    for name, file in sorted(files.items()):
        content = file.read_bytes()
        digest.update(f"{name} {len(content)}\n".encode() + content)
    _imported.hashes[class_path] = digest.hexdigest()


def _collect(start: str, folder: Path, files: dict[str, Path]) -> None:
    """Add the source files of a module and of the local ones it imports, by dotted name."""
    path = getattr(sys.modules.get(start), "__file__", None)
    if path is None or start.partition(".")[0] in ("torch", "lrsearch"):
        return
    depth = start.count(".") + (Path(path).stem == "__init__")
    root = Path(path).resolve().parents[depth]
    waiting = [start]
    while waiting:
        name = waiting.pop()
        top = name.partition(".")[0]
        if (
            name in files
            or top == "lrsearch"
            or (top != start.partition(".")[0] and root != folder)
        ):
            continue
        file = source_file(root, name)
        if file is None and name == start:
            file = Path(path)  # Compiled, or loaded in a way of its own.
        if file is None:
            continue
        files[name] = file
        waiting += imports_of(file, name)
