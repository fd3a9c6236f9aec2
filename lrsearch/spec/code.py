"""Code that a spec names by class paths, held against the modules beside the spec."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import Any

from lrsearch.errors import Fault, nearest, suggest
from lrsearch.spec.document import Document, Path, as_mapping
from lrsearch.spec.imports import is_free
from lrsearch.spec.likeness import nearest_path
from lrsearch.spec.modules import (
    Found,
    Problem,
    is_generator,
    look_up,
    names_of,
    signature,
    torch_names,
)
from lrsearch.spec.ranges import is_range
from lrsearch.spec.reads import loop_faults, loop_notes


@dataclass(frozen=True)
class Use:
    """A class path in a spec: its purpose, its place, and the places of its `init_args`, searched
    ones included."""

    role: str
    place: Path
    class_path: str
    given: Mapping[str, Path] = field(default_factory=dict)


@dataclass(frozen=True)
class _Role:
    """A way in which code is called: `made` are the arguments by place of a class, `called` those
    of a function, `filled` the arguments by name that the spec may leave out. None stands for
    arguments that only the call itself can tell."""

    made: tuple[str, ...] | None = ()
    called: tuple[str, ...] | None = ()
    filled: tuple[str, ...] = ()


_SIZES = ("num_classes", "in_features", "in_channels")
_ROLES = {
    "data": _Role(),
    "model": _Role(filled=_SIZES),
    "loss": _Role(called=("the outputs", "the targets"), filled=_SIZES[:1]),
    "metrics": _Role(called=("the outputs", "the targets"), filled=_SIZES[:1]),
    "step": _Role(called=("the model", "the batch")),
    "schedule": _Role(made=None, called=("the progress",)),
    "optimizer": _Role(made=("the parameters",), called=("the parameters",), filled=("lr",)),
    "transforms": _Role(called=("a batch",)),
    "loop": _Role(made=None, called=("the trial",)),
}
_PLAIN = ("loss", "step")


def find_uses(document: Document) -> list[Use]:
    """The class paths of a document, where their form is right."""
    top = as_mapping(document.data)
    if "loop" in top:
        loop = top["loop"] if isinstance(top["loop"], str) else None  # A mapping is a fault, told.
        return [each for each in [_use("loop", ("loop",), loop)] if each is not None]
    train, data = as_mapping(top.get("train")), as_mapping(top.get("data"))
    searched = find_searched(document)
    uses = [_use("data", ("data",), data)]
    uses += _transforms(("data", "transforms"), data.get("transforms"))
    path, lists = searched.get("data.transforms", ((), None))
    for index, part in enumerate(lists if isinstance(lists, list) else ()):
        uses += _transforms((*path, index), part)
    for group in ("model", "schedule", "optimizer"):
        for place, value in find_groups(document, group):
            uses.append(_use(group, place, value, {} if place[0] == "search" else searched))
    uses += [_use(name, ("train", name), train.get(name), searched) for name in _PLAIN]
    for name, value in as_mapping(train.get("metrics")).items():
        uses.append(_use("metrics", ("train", "metrics", name), value))
    return [each for each in uses if each is not None]


def find_groups(document: Document, group: str) -> list[tuple[Path, Any]]:
    """The places and values of `model`, `schedule` or `optimizer`: the options where it is searched
    by a list of these, which take the place of a fixed one."""
    top = as_mapping(document.data)
    path, options = find_searched(document).get(group, ((), None))
    if isinstance(options, list):
        return [((*path, index), part) for index, part in enumerate(options)]
    if group == "model":
        return [((group,), top.get(group))]
    return [(("train", group), as_mapping(top.get("train")).get(group))]


def find_searched(document: Document) -> dict[str, tuple[Path, Any]]:
    """Each searched parameter of a document by its dotted name: its place, and how."""
    return dict(_searched(("search",), "", as_mapping(as_mapping(document.data).get("search"))))


def _transforms(path: Path, value: Any) -> list[Use | None]:
    parts = value if isinstance(value, list) else []
    return [_use("transforms", (*path, index), part) for index, part in enumerate(parts)]


def _searched(
    path: Path, prefix: str, tree: Mapping[str, Any]
) -> Iterator[tuple[str, tuple[Path, Any]]]:
    for key, value in tree.items():
        inner: Path = (*path, key)
        if isinstance(value, Mapping) and not is_range(value):
            yield from _searched(inner, f"{prefix}{key}.", value)
        else:
            yield f"{prefix}{key}", (inner, value)


def _use(
    role: str, path: Path, value: Any, searched: Mapping[str, tuple[Path, Any]] | None = None
) -> Use | None:
    class_path: Any = value
    arguments: Mapping[str, Any] = {}
    if not isinstance(value, str) or role not in ("loop", "metrics", *_PLAIN):
        class_path = as_mapping(value).get("class_path")
        arguments = as_mapping(as_mapping(value).get("init_args"))
        path = (*path, "class_path")
    parts = class_path.split(".") if isinstance(class_path, str) else []
    if len(parts) < 2 or not all(map(str.isidentifier, parts)):
        return None
    head = path[:-1] if path[-1] == "class_path" else path
    given: dict[str, Path] = {name: (*head, "init_args", name) for name in arguments}
    prefix = f"{role}.init_args."
    for name, (place, _) in (searched or {}).items():
        if name.startswith(prefix):
            given.setdefault(name.removeprefix(prefix), place)
    return Use(role, path, class_path, given)


def code_faults(document: Document, folder: FilePath) -> list[Fault]:
    """The certain faults of the class paths of a document whose file stands in a folder.

    Source is parsed, nothing is imported; a doubt that only importing can resolve is no fault.
    """
    faults: list[Fault] = []
    told: set[str] = set()
    for use in find_uses(document):
        found: Found | Problem | None
        if is_free(use.class_path):
            found = _look_up_free(use)
        else:
            found = look_up(use.class_path, folder)
            first, _, rest = use.class_path.partition(".")
            if isinstance(found, Problem) and rest.split(".")[0] in torch_names(first):
                found = Problem(found.message, f"write {use.place[-1]}: torch.{use.class_path}")
            elif first == "torch" and not torch_names(rest.partition(".")[0]):
                meant = nearest_path(use.class_path, folder)
                message = f"torch has no '{rest.partition('.')[0]}'"
                found = Problem(message, f"write {use.place[-1]}: {meant}") if meant else found
            elif isinstance(found, Problem) and (meant := nearest_path(use.class_path, folder)):
                found = Problem(found.message, f"write {use.place[-1]}: {meant}")
        if isinstance(found, Problem):
            if found.message not in told:  # A missing module is told once.
                faults.append(document.fault(use.place, found.message, found.hint))
            told.add(found.message)
        elif found is not None:
            called = [document.fault(*each) for each in _call_faults(use, found)]
            faults += called
            if use.role == "loop" and not called:
                faults += loop_faults(document, use.class_path, found)
    return faults


def code_notes(document: Document, folder: FilePath) -> list[str]:
    """Notes on what the loop of a document without faults leaves unread."""
    found = [(use, look_up(use.class_path, folder)) for use in find_uses(document)]
    return [
        note
        for use, each in found
        if use.role == "loop" and isinstance(each, Found)
        for note in loop_notes(document, use.class_path, each)
    ]


def _look_up_free(use: Use) -> Problem | None:
    """The reason why a class path of torch.nn or torch.optim names nothing, as torch's source
    shows; None where it names something, or that is not certain."""
    package, name, *_ = [*use.class_path.split(".")[1:], ""]
    known = torch_names(package)
    if not known or not name or name in known:
        return None
    classes = sorted(each for each in known if each[:1].isupper())
    usual = {"optimizer": "SGD", "model": "Linear"}.get(use.role, "CrossEntropyLoss")
    close = nearest(name, classes)
    hint = f"write {use.place[-1]}: torch.{package}.{close or usual}"
    return Problem(f"torch.{package} has no '{name}'", hint if close else f"{hint}; for example")


def _call_faults(use: Use, found: Found) -> Iterator[tuple[Path, str, str]]:
    """The reason why code cannot be called in its role: place, message, hint."""
    role = _ROLES[use.role]
    node = found.node
    is_class = isinstance(node, ast.ClassDef)
    if use.role == "loop" and not node.decorator_list and (is_class or is_generator(node)):
        kind = "a class" if is_class else "a generator or a coroutine: calling it trains nothing"
        named = f"{use.class_path} ({found.module.file}, line {node.lineno})"
        yield use.place, f"{named} is {kind}", "write def train(trial): ..."
        return
    placed = role.made if is_class else role.called
    taken = signature(found)
    if placed is None or taken is None:
        return
    parameters = list(taken.parameters.values())
    kinds = inspect.Parameter
    ahead = [
        each
        for each in parameters
        if each.kind in (kinds.POSITIONAL_ONLY, kinds.POSITIONAL_OR_KEYWORD)
    ]
    has = {each.kind for each in parameters}
    if len(ahead) < len(placed) and kinds.VAR_POSITIONAL not in has:
        told = " and ".join(placed)
        message = f"{use.class_path}{_shown(taken)} cannot be called with {told}"
        hint = f"it is given {told} by place, then its init_args by name"
        yield use.place, message, "write def train(trial): ..." if use.role == "loop" else hint
        return
    left = [each for each in parameters if each not in ahead[: len(placed)]]
    taken_by = names_of(ahead[: len(placed)])
    for name in (each for each in use.given if each in taken_by):
        hint = f"{use.class_path} is given {' and '.join(placed)} by place"
        yield use.given[name], f"'{name}' is given already", hint
    names = [name for name in names_of(left) if (use.role, name) != ("optimizer", "lr")]
    slips: list[str | None] = []
    if kinds.VAR_KEYWORD not in has:
        for name, place in use.given.items():
            if name not in (*names, *taken_by):
                slips.append(nearest(name, names))
                yield place, f"{use.class_path} takes no argument '{name}'", suggest(name, names)
        if use.role == "optimizer" and "lr" not in names_of(left):
            message = f"{use.class_path}{_shown(taken)} takes no lr"
            yield use.place, message, "an optimizer is made as Class(params, lr=..., **init_args)"
    filled = () if use.role in ("loss", "metrics") and not is_class else role.filled
    missing = [
        each.name
        for each in left
        if each.kind not in (kinds.VAR_POSITIONAL, kinds.VAR_KEYWORD)
        and each.default is kinds.empty
        and (each.kind is kinds.POSITIONAL_ONLY or each.name not in (*use.given, *filled))
        and each.name not in slips
    ]
    if missing:
        listed = " and ".join(f"'{name}'" for name in missing)
        hint = "write init_args: {" + ", ".join(f"{name}: ..." for name in missing) + "}"
        if use.role == "loop":
            hint = "a loop is given the trial alone, and finds its parameters in trial.params"
        yield use.place, f"{use.class_path} needs {listed}, which nothing gives", hint


def _shown(taken: inspect.Signature) -> str:
    """A signature without its defaults."""
    return (
        "("
        + ", ".join(
            str(each.replace(default=inspect.Parameter.empty)) for each in taken.parameters.values()
        )
        + ")"
    )
