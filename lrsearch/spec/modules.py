"""Modules beside a spec, read and never run: the names they bind, and the arguments these take.

Only what is certain counts. A name that is bound twice, under a condition, by a star import or by
`globals()` may be anything; so may a definition with a decorator, a metaclass or a base from
elsewhere. None stands for all of these.
"""

from __future__ import annotations

import ast
import functools
import importlib.util
import inspect
import os
import pkgutil
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path

from lrsearch.errors import nearest

MAX_SOURCE = 2**20
"""The most bytes of a source file; longer ones are left to their import."""

MAX_DEPTH = 20
"""The most imports or bases that are followed in a row."""

MAX_SHOWN = 20
"""The most names that a message lists."""

_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
_Literal = ast.Assign | ast.AnnAssign
_Bound = _Definition | ast.Import | ast.ImportFrom | _Literal | None
"""The statement that binds a name for certain, to a literal if it is an assignment; None for any
other way."""

_LITERALS = (ast.Constant, ast.List, ast.Tuple, ast.Dict, ast.Set, ast.JoinedStr)

_SAFE_BASES = ("torch.", "torchvision.", "torchmetrics.", "lightning.", "pytorch_lightning.")
_SAFE_NAMES = ("abc.ABC", "typing.Generic", "typing.Protocol")
"""Bases from elsewhere that leave their subclasses' `__init__` in force."""


@dataclass(frozen=True)
class Problem:
    """The reason why a class path names nothing: the message, and the hint."""

    message: str
    hint: str = ""


@dataclass(frozen=True, eq=False)
class Names:
    """The names a module, or the body of a class, binds, and the statements that bind them. The
    objects of `touched` names may be changed afterwards, `stars` are the lines of star imports;
    `open` ones may have names that their source does not show, in `wild` ones any name may be bound
    anew."""

    bound: Mapping[str, Sequence[_Bound]] = field(default_factory=dict)
    touched: Set[str] = frozenset()
    stars: Sequence[int] = ()
    open: bool = False
    wild: bool = False

    def only(self, name: str) -> _Bound:
        """The one statement that binds a name and leaves its object unchanged, or None."""
        found = self.bound.get(name, [])
        if len(found) != 1 or found[0] is None or name in self.touched or self.wild:
            return None
        return None if any(line > found[0].lineno for line in self.stars) else found[0]


@dataclass(frozen=True, eq=False)
class Module:
    """A source file that was parsed, by its name; `folders` are a package's, empty for a plain
    module."""

    name: str
    names: Names
    folders: tuple[str, ...]
    root: Path
    file: str = ""


@dataclass(frozen=True, eq=False)
class Found:
    """The definition that a class path names for certain, and the module it stands in."""

    node: _Definition
    module: Module


def look_up(class_path: str, folder: Path) -> Found | Problem | None:
    """The meaning of a class path among the modules of a folder: its definition, the reason why it
    names nothing, or None where only an import can tell."""
    importlib.invalidate_caches()
    return _resolve(class_path, folder, MAX_DEPTH)


def _resolve(dotted: str, folder: Path, depth: int) -> Found | Problem | None:
    first, *rest = dotted.split(".")
    spec = find_module(first, [str(folder)])
    installed = find_installed(first)
    if spec is None:
        return None if installed is not False else _no_module(first, folder)
    if installed is not False and not _same(spec, installed):
        return None  # The imports before decide which of the two is imported.
    return _descend(spec, first, rest, folder, depth)


def find_module(name: str, folders: Sequence[str]) -> ModuleSpec | None:
    """The module of a dotted name that stands in folders. No code is run."""
    try:
        return PathFinder.find_spec(name, list(folders))
    except (ImportError, OSError, ValueError):
        return None


def find_installed(first: str) -> ModuleSpec | bool:
    """A top-level module of the environment, False where there is none. A dotted name would have
    its package imported."""
    try:
        return importlib.util.find_spec(first) or False
    except (ImportError, OSError, ValueError, AttributeError):
        return True  # It has been imported in a way of its own.


def _same(left: ModuleSpec, right: ModuleSpec | bool) -> bool:
    places = [
        each.origin or next(iter(each.submodule_search_locations or ()), "")
        for each in (left, right)
        if isinstance(each, ModuleSpec)
    ]
    return len(places) == 2 and Path(places[0]).resolve() == Path(places[1]).resolve()


@functools.cache
def torch_names(package: str) -> frozenset[str]:
    """The names in torch.optim, torch.nn or another package of torch, by its source; none where
    torch is not installed, there is no such package, or the source does not show them all."""
    torch = find_installed("torch")
    spec = torch if isinstance(torch, ModuleSpec) else None
    found: set[str] = set()
    # All that torch.nn imports by a star is in torch.nn.modules.
    for part in (package, "modules") if package == "nn" else (package,):
        folders = list(spec.submodule_search_locations or ()) if spec else []
        spec = find_module(f"torch.{part}", folders)
        module = read_module(spec, f"torch.{part}", Path()) if spec else None
        if not isinstance(module, Module) or module.names.open or module.names.wild:
            return frozenset()
        if len(module.names.stars) > (part == "nn"):
            return frozenset()
        found |= {*module.names.bound, *(each.name for each in pkgutil.iter_modules(folders))}
        found |= {each.name for each in pkgutil.iter_modules(module.folders)}
    return frozenset(found)


_PATHS = re.compile(
    rb"\bsys\s*\.\s*(path|modules|meta_path)|\bsys\s+as\b|from\s+sys\s+import|\bsite\b"
    rb"|addsitedir|PYTHONPATH|__path__"
)
"""Code that makes Python find modules in other places."""

MAX_FILES = 500
"""The most source files beside a spec that are searched for such code."""

_ELSEWHERE = frozenset(("node_modules", "site-packages", "__pycache__"))


def may_alter_path(folder: Path) -> bool:
    """Whether code in a folder may make Python find modules that are neither there nor
    installed."""
    count = 0
    for above, inner, files in os.walk(folder):
        inner[:] = [each for each in inner if each not in _ELSEWHERE and not each.startswith(".")]
        for name in files:
            if not name.endswith(".py"):
                continue
            path = Path(above, name)
            count += 1
            try:
                whole = count <= MAX_FILES and path.stat().st_size <= MAX_SOURCE
                if not whole or _PATHS.search(path.read_bytes()):
                    return True
            except OSError:
                return True
    return False


def _no_module(first: str, folder: Path) -> Problem | None:
    if may_alter_path(folder):
        return None
    message = f"there is no module '{first}' beside the spec, and none is installed"
    beside = sorted(each.name for each in pkgutil.iter_modules([str(folder)]))
    for place in dict.fromkeys((Path.cwd(), *folder.absolute().parents[:2])):
        if place.resolve() != folder.resolve() and find_module(first, [str(place)]):
            return Problem(
                message,
                f"there is one in {place}: move the spec there, or set PYTHONPATH={place}",
            )
    close = nearest(first, beside)
    if close is None and not beside:
        return Problem(message, f"code is found from the spec's folder, {folder}")
    told = f"did you mean '{close}'?" if close else f"beside it: {', '.join(beside[:20])}"
    return Problem(message, told)


def _descend(
    spec: ModuleSpec, name: str, rest: Sequence[str], root: Path, depth: int
) -> Found | Problem | None:
    """The meaning of `rest` in a module."""
    module = read_module(spec, name, root)
    if not isinstance(module, Module) or not rest or depth == 0:
        return module if isinstance(module, Problem) else None
    part, *further = rest
    names = module.names
    inner = find_module(f"{name}.{part}", module.folders) if module.folders else None
    if (part in names.bound or part in names.touched) and not _imports(module, part):
        return None if further else _follow(module, part, depth)
    if inner is not None and further:
        return _descend(inner, f"{name}.{part}", further, root, depth - 1)
    if names.open or names.wild or names.stars or part.startswith("__"):
        return None
    if inner is None:
        return Problem(f"{name} has no '{part}'", _suggest(part, further, module))
    found = read_module(inner, f"{name}.{part}", root)
    if not isinstance(found, Module):
        return found
    inside = ", ".join(public_names(found)[:MAX_SHOWN])
    message = f"{name}.{part} is a module, neither a class nor a function"
    return Problem(message, f"it has: {inside}" if inside else "")


def _imports(module: Module, part: str) -> bool:
    """Whether a package binds a name to its own module of this name, and in no other way."""
    whole = f"{module.name}.{part}"
    return bool(module.folders) and all(
        isinstance(each, ast.ImportFrom) and f"{_base(module, each)}.{part}" == whole
        for each in module.names.bound.get(part, [None])
    )


def _suggest(part: str, further: Sequence[str], module: Module) -> str:
    known = public_names(module)
    if part == "py" and (further or len(known) == 1):  # As in nets.py.Net.
        return f"leave out .py: {'.'.join((module.name, *(further or known)))}"
    if part == "py":
        return f"write {module.name}.NAME in place of .py; {_list_public(module)}"
    close = nearest(part, dict.fromkeys((*known, *module.names.bound)))
    close = close or (known[0] if len(known) == 1 else None)
    if close:
        return f"did you mean '{close}'?"
    return _list_public(module)


def _list_public(module: Module) -> str:
    known = public_names(module)
    return f"it has: {', '.join(known[:MAX_SHOWN])}" if known else "no class or function is in it"


def public_names(module: Module) -> list[str]:
    """The public classes, functions and modules of a module, as suggestions."""
    defined = {
        name
        for name, bound in module.names.bound.items()
        if any(isinstance(each, _DEFINITIONS) for each in bound)
    }
    inner = {each.name for each in pkgutil.iter_modules(list(module.folders))}
    return sorted(name for name in defined | inner if not name.startswith("_"))


def read_module(spec: ModuleSpec, name: str, root: Path) -> Module | Problem | None:
    """Read a module's names; a Problem for a syntax error, None for a module without readable
    source."""
    folders = tuple(map(str, spec.submodule_search_locations or ()))
    if spec.origin is None:  # A package without __init__.py.
        return Module(name, Names(), folders, root)
    path = Path(spec.origin)
    try:
        status = path.stat()
        found = _parse(path, status.st_mtime_ns, status.st_size)
    except OSError:
        return None
    return Module(name, found, folders, root, path.name) if isinstance(found, Names) else found


@functools.lru_cache(maxsize=32)
def _parse(path: Path, changed: int, size: int) -> Names | Problem | None:
    """Parse the names of a source file, once until the file changes."""
    if path.suffix != ".py" or size > MAX_SOURCE:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Warnings of escapes in the user's texts.
            tree = ast.parse(path.read_bytes(), str(path))
            compile(tree, str(path), "exec", dont_inherit=True)
    except SyntaxError as error:
        shown = (error.text or "").strip()
        place = f"{path}:{error.lineno}" if error.lineno else str(path)
        return Problem(f"{place} is no Python: {error.msg}", f"it reads: {shown}" if shown else "")
    except (OSError, ValueError, RecursionError, MemoryError):
        return None
    return read_names(tree.body)


# names


def read_names(body: Sequence[ast.stmt]) -> Names:
    """The names that the statements of a module or a class bind."""
    bound: dict[str, list[_Bound]] = {}
    stars: list[int] = []
    for statement in body:
        if isinstance(statement, _DEFINITIONS):
            certain: list[tuple[str, _Bound]] = [(statement.name, statement)]
        elif isinstance(statement, ast.Import | ast.ImportFrom):
            certain = [(name, statement) for name in _imported(statement)]
        elif isinstance(statement, _Literal) and (name := _literal(statement)):
            certain = [(name, statement)]
        else:
            certain = [(name, None) for name in _bound_within(statement)]
        for name, how in certain:
            if name == "*":
                stars.append(statement.end_lineno or statement.lineno)
            else:
                bound.setdefault(name, []).append(how)
    touched: set[str] = set()
    wild = False
    system = {"sys"}
    for node in (inner for statement in body for inner in ast.walk(statement)):
        if isinstance(node, ast.Import):
            system |= {each.asname for each in node.names if each.name == "sys" and each.asname}
    for node in (inner for statement in body for inner in ast.walk(statement)):
        if isinstance(node, ast.Global):
            for name in node.names:
                bound.setdefault(name, []).append(None)
        elif isinstance(node, ast.Name):
            wild = wild or node.id in _WILD
            if isinstance(node.ctx, ast.Del):
                touched.add(node.id)
        elif isinstance(node, ast.Attribute):
            stored = not isinstance(node.ctx, ast.Load)
            if stored and isinstance(node.value, ast.Name):
                touched.add(node.value.id)
            wild = wild or (stored and node.attr in _MAKING)
            wild = wild or (node.attr == "modules" and _name(node.value) in system)
        elif isinstance(node, ast.Call) and _called(node) in ("import_module", "__import__"):
            # A module that it is may be the one it stands in.
            wild = wild or not all(isinstance(each, ast.Constant) for each in node.args)
        elif isinstance(node, ast.Call) and _name(node.func) in ("setattr", "delattr"):
            first = node.args[0] if node.args else None
            touched.add(_name(first))
            wild = wild or not isinstance(first, ast.Name)
        elif isinstance(node, ast.ImportFrom):
            taken = [each.name for each in node.names]
            wild = wild or (node.module == "sys" and "modules" in taken)
    return Names(bound, touched - {"self", "cls"}, stars, "__getattr__" in bound, wild)


_WILD = ("globals", "locals", "vars", "exec", "__path__")
"""Calls that may bind any name."""

_MAKING = (
    *("__init__", "__new__", "__call__", "__signature__", "__wrapped__", "__defaults__"),
    *("__kwdefaults__", "__code__", "__class__", "__dict__"),
)
"""Attributes that change the arguments a definition takes, whichever object they are set on."""


def _name(node: ast.AST | None) -> str:
    return node.id if isinstance(node, ast.Name) else ""


def _literal(statement: _Literal) -> str:
    """The one name that an assignment binds to a literal, or ""; None is a place to be filled."""
    targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
    value = statement.value.operand if isinstance(statement.value, ast.UnaryOp) else statement.value
    literal = isinstance(value, _LITERALS) and getattr(value, "value", "") is not None
    return _name(targets[0]) if literal and len(targets) == 1 else ""


def _called(node: ast.Call) -> str:
    return node.func.attr if isinstance(node.func, ast.Attribute) else _name(node.func)


def _imported(statement: ast.Import | ast.ImportFrom) -> list[str]:
    whole = isinstance(statement, ast.Import)
    return [
        each.asname or (each.name.partition(".")[0] if whole else each.name)
        for each in statement.names
    ]


def _bound_within(statement: ast.AST) -> Iterator[str]:
    """The names that a statement other than a definition may bind; a star import gives `*`."""
    waiting: list[ast.AST] = [statement]
    while waiting:
        node = waiting.pop()
        if isinstance(node, _DEFINITIONS):
            yield node.name
            continue
        if isinstance(node, ast.Lambda):
            continue
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield from _imported(node)
        elif isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            yield node.id
        elif isinstance(node, ast.ExceptHandler | ast.MatchAs | ast.MatchStar) and node.name:
            yield node.name
        elif isinstance(node, ast.MatchMapping) and node.rest:
            yield node.rest
        waiting += ast.iter_child_nodes(node)


def _follow(module: Module, name: str, depth: int) -> Found | Problem | None:
    """The meaning of a name that a module binds, through imports from modules beside the spec."""
    bound = module.names.only(name)
    if isinstance(bound, _DEFINITIONS):
        return Found(bound, module)
    if isinstance(bound, _Literal):
        message = (
            f"{module.name}.{name} is neither a class nor a function, but a value "
            f"({module.file}, line {bound.lineno})"
        )
        return Problem(message, _list_public(module))
    if not isinstance(bound, ast.ImportFrom):
        return None
    origin = next(each.name for each in bound.names if (each.asname or each.name) == name)
    found = _resolve(f"{_base(module, bound)}.{origin}", module.root, depth - 1)
    # Code that catches a failed import may import in another way.
    return found if isinstance(found, Found) else None


def _base(module: Module, statement: ast.ImportFrom) -> str:
    """The dotted name of the module that a statement imports from."""
    if not statement.level:
        return statement.module or ""
    parts = module.name.split(".")
    keep = len(parts) - statement.level + (1 if module.folders else 0)
    return ".".join([*parts[: max(keep, 0)], *([statement.module] if statement.module else [])])


# signatures


def signature(found: Found) -> inspect.Signature | None:
    """The signature of a function, or of the class's constructor; None where decorators, bases,
    metaclasses or the like may change it."""
    node = found.node
    if not isinstance(node, ast.ClassDef):
        return None if node.decorator_list else _read_signature(node.args, 0)
    lineage = _lineage(node, found.module, MAX_DEPTH)
    if lineage is None:
        return None
    for body, outside in lineage:
        if "__init__" in body.bound:
            made = body.only("__init__")
            if not isinstance(made, ast.FunctionDef) or made.decorator_list:
                return None
            return _read_signature(made.args, 1)
        if outside:  # A base from elsewhere, or one of several, may have it.
            return None
    return inspect.Signature()


_SPECIAL = ("__new__", "__signature__", "__init_subclass__", "__class__", "__getattribute__")


def _lineage(node: ast.ClassDef, module: Module, depth: int) -> list[tuple[Names, bool]] | None:
    """The bodies of a class and of the bases after it, in the order in which an `__init__` is
    looked for, each with whether another base may come before the next; None where one of them may
    be constructed in another way."""
    if node.decorator_list or node.keywords or depth == 0:
        return None
    body = read_names(node.body)
    if body.wild or body.stars or any(name in body.bound for name in _SPECIAL):
        return None
    further: list[tuple[Names, bool]] = []
    outside = False
    for base in node.bases:
        target = base.value if isinstance(base, ast.Subscript) else base
        known = _base_class(target, module, depth)
        if known is None:
            return None
        if known == "object":
            continue
        if isinstance(known, str):
            outside = True
            continue
        inner = _lineage(known[0], known[1], depth - 1)
        if inner is None:
            return None
        further += inner
    several = len(node.bases) > 1 and bool(further)
    return [(body, outside or several), *further]


def _base_class(
    node: ast.expr, module: Module, depth: int
) -> tuple[ast.ClassDef, Module] | str | None:
    """A base that stands beside the spec, the dotted name of one that is known to leave its
    subclasses' `__init__` in force ("object" where it has none to give), or None."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.insert(0, node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        return None
    if node.id not in module.names.bound:
        plain = not parts and node.id == "object" and not module.names.stars
        return "object" if plain else None
    bound = module.names.only(node.id)
    if isinstance(bound, ast.ClassDef) and not parts:
        return bound, module
    if isinstance(bound, ast.Import):
        alias = next(each for each in bound.names if node.id in _imported_as(each))
        parts.insert(0, alias.name if alias.asname else node.id)
    elif isinstance(bound, ast.ImportFrom):
        origin = next(each.name for each in bound.names if (each.asname or each.name) == node.id)
        parts = [_base(module, bound), origin, *parts]
    else:
        return None
    dotted = ".".join(parts)
    if find_module(dotted.partition(".")[0], [str(module.root)]) is not None:
        found = _resolve(dotted, module.root, depth - 1)
        if isinstance(found, Found) and isinstance(found.node, ast.ClassDef):
            return found.node, found.module
        return None
    if dotted in _SAFE_NAMES:
        return "object"
    return dotted if dotted.startswith(_SAFE_BASES) else None


def _imported_as(alias: ast.alias) -> tuple[str, ...]:
    return (alias.asname,) if alias.asname else (alias.name.partition(".")[0],)


def _read_signature(arguments: ast.arguments, skipped: int) -> inspect.Signature | None:
    """Read a signature without the first so many parameters; every default becomes None."""
    kinds = inspect.Parameter
    positional = [
        *((each.arg, kinds.POSITIONAL_ONLY) for each in arguments.posonlyargs),
        *((each.arg, kinds.POSITIONAL_OR_KEYWORD) for each in arguments.args),
    ]
    without = len(positional) - len(arguments.defaults)
    found = [
        kinds(name, kind, default=kinds.empty if index < without else None)
        for index, (name, kind) in enumerate(positional)
    ]
    if len(found) < skipped and arguments.vararg is None:
        return None
    found = found[skipped:]
    if arguments.vararg:
        found.append(kinds(arguments.vararg.arg, kinds.VAR_POSITIONAL))
    for each, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        empty = kinds.empty if default is None else None
        found.append(kinds(each.arg, kinds.KEYWORD_ONLY, default=empty))
    if arguments.kwarg:
        found.append(kinds(arguments.kwarg.arg, kinds.VAR_KEYWORD))
    if any(each.name.startswith("__") for each in found):
        return None  # Within a class it has another name.
    return inspect.Signature(found)


def is_generator(node: _Definition) -> bool:
    """Whether calling a function gives a generator or a coroutine."""
    if isinstance(node, ast.ClassDef):
        return False
    waiting: list[ast.AST] = list(node.body)
    while waiting:
        each = waiting.pop()
        if isinstance(each, ast.Yield | ast.YieldFrom):
            return True
        if not isinstance(each, (*_DEFINITIONS, ast.Lambda)):
            waiting += ast.iter_child_nodes(each)
    return isinstance(node, ast.AsyncFunctionDef)


def names_of(parameters: Iterable[inspect.Parameter]) -> list[str]:
    """Parameters that may be given by name."""
    kinds = inspect.Parameter
    allowed = (kinds.POSITIONAL_OR_KEYWORD, kinds.KEYWORD_ONLY)
    return [each.name for each in parameters if each.kind in allowed]
