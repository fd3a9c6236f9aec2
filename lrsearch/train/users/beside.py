"""Modules beside a spec: the names that are imported from its folder, and those that are not.

A file there must not run, nor stand in for a module that torch or scikit-learn import, because of
its name alone. A user allows names; these are imported from the folder, before all other modules of
their name, and so is what their own source imports, where no other module has that name. All other
files are as if they were not there.
"""

from __future__ import annotations

import ast
import functools
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import ModuleType

from lrsearch.errors import causes

executing: Callable[[str], AbstractContextManager[object]] = nullcontext
"""A context in which a module of the folder, of a name, is executed; `anew` sets it."""


class _Loader(SourceFileLoader):
    """Loads a module of the folder, which may be imported in the midst of a trial."""

    def exec_module(self, module: ModuleType) -> None:
        """Execute the module."""
        with executing(module.__name__):
            super().exec_module(module)


def _followed(found: ModuleSpec | None) -> ModuleSpec | None:
    """The spec of a module, whose loader says when it is executed."""
    if found is not None and type(found.loader) is SourceFileLoader:
        found.loader = _Loader(found.loader.name, found.loader.path)
    return found


@dataclass(frozen=True)
class Finder:
    """Finds top-level modules of some names in a folder, and what is in packages there. `last` says
    that all other finders were asked before."""

    folder: str
    names: frozenset[str]
    last: bool = False

    def find_spec(
        self,
        name: str,
        path: Sequence[str] | None = None,
        target: ModuleType | None = None,
    ) -> ModuleSpec | None:
        """The module of that name, as `importlib.abc.MetaPathFinder` gives it."""
        if path is not None:
            inside = any(each.startswith(self.folder + os.sep) for each in path)
            other = self.last or not inside or any("site-packages" in each for each in path)
            return None if other else _followed(PathFinder.find_spec(name, path))
        if name not in self.names:
            return None
        found = _followed(PathFinder.find_spec(name, [self.folder]))
        # A folder of data is a package, too, where no other module has its name.
        return found if found is None or found.loader is not None or self.last else None


class _Nothing:
    """Finds no module in an entry of sys.path."""

    def find_spec(self, name: str, target: ModuleType | None = None) -> None: ...

    def invalidate_caches(self) -> None: ...


@contextmanager
def found_beside(folder: str, allowed: Iterable[str], imported: Iterable[str]) -> Iterator[None]:
    """Make the allowed names importable from the folder before anywhere else, and the imported ones
    after everywhere else."""
    first = Finder(folder, frozenset(allowed))
    last = Finder(folder, frozenset((*allowed, *imported)), last=True)
    if not first.names:
        yield
        return
    # A process that code of the user's spawns, such as a loader's worker, gets this process's
    # sys.path and not its finders: there the folder comes last, and here the entry means nothing.
    entry = os.path.join(folder, ".")  # noqa: PTH118
    sys.path_importer_cache[entry] = _Nothing()
    sys.meta_path.insert(0, first)
    sys.meta_path.append(last)
    sys.path.append(entry)
    try:
        yield
    finally:
        with suppress(ValueError):  # A user's code may have taken it away.
            sys.path.remove(entry)
        for finder in (first, last):
            with suppress(ValueError):
                sys.meta_path.remove(finder)


def find_missing(error: BaseException, folder: str, allowed: Iterable[str]) -> str:
    """The module to allow where an error, or one that it came from, says that a module is missing
    which lies in the folder, such as one imported by its name at run time; else ""."""
    for link in causes(error):
        # An error from a loader's worker has only its text.
        named = re.search(r"No module named '(\w+)", str(link))
        if isinstance(link, ModuleNotFoundError) and named and named[1] not in allowed:
            found = PathFinder.find_spec(named[1], [folder])
            if found is not None and found.loader is not None:
                return (
                    f"'{named[1]}' lies beside the spec, and of what is there the allowed modules "
                    "are found, with those that their source imports by name; if you trust it: "
                    f"--allow-import {named[1]}"
                )
    return ""


def find_imported(folder: str, allowed: Iterable[str]) -> set[str]:
    """The top-level modules in a folder that the source of the allowed ones there imports, and
    theirs in turn."""
    root = Path(folder)
    found: set[str] = set()
    seen: set[str] = set()
    waiting = [name for top in allowed for name in (top, *_submodules(root, top))]
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        file = source_file(root, name)
        if file is None:
            continue
        for each in imports_of(file, name):
            top = each.partition(".")[0]
            if top not in found and PathFinder.find_spec(top, [folder]) is not None:
                found.add(top)
                waiting += [top, *_submodules(root, top)]
    return found


def _submodules(root: Path, top: str) -> Iterator[str]:
    """The dotted names of a package's modules."""
    for file in sorted((root / top).rglob("*.py")):
        parts = file.relative_to(root).with_suffix("").parts
        yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def source_file(root: Path, name: str) -> Path | None:
    """The source of a module by its dotted name under a folder, None where there is none."""
    stem = root.joinpath(*name.split("."))
    candidates = [stem / "__init__.py", stem.with_name(f"{stem.name}.py")]
    return next((each for each in candidates if each.is_file()), None)


def bound_at(file: Path, name: str) -> str:
    """The last line at which a module's source binds a name outside of functions, `nets.py, line
    12`; the file's name alone where none does."""
    try:
        tree = ast.parse(file.read_bytes())
    except (OSError, SyntaxError, ValueError, RecursionError):
        return file.name
    lines, waiting = [0], list[ast.AST](tree.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names = {node.name}
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names = {each.asname or each.name.partition(".")[0] for each in node.names}
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names = {node.id}
        else:
            waiting += ast.iter_child_nodes(node)
            continue
        if name in names:
            lines.append(node.lineno)
    return f"{file.name}, line {max(lines)}" if max(lines) else file.name


def imports_of(file: Path, name: str) -> set[str]:
    """Dotted names that a module's source file may import, packages on the way included."""
    if file.suffix != ".py":
        return set()
    package = name if file.stem == "__init__" else name.rpartition(".")[0]
    return set(_imports_in(file.read_bytes(), package, name))


@functools.lru_cache(maxsize=256)
def _imports_in(source: bytes, package: str, name: str) -> frozenset[str]:
    """`imports_of` a source, which is asked for with each trial, and seldom another by then."""
    found = {name}
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):  # Importing it says so.
        return frozenset(found)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*above, base] if base else above)
            found |= {base} | {f"{base}.{alias.name}" for alias in node.names}
    steps = (each.split(".") for each in found if each)
    return frozenset(".".join(parts[:end]) for parts in steps for end in range(1, len(parts) + 1))
