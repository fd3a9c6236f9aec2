"""Class paths that are slips of others, in any of their parts."""

from __future__ import annotations

import ast
import pkgutil
from pathlib import Path

from lrsearch.errors import nearest
from lrsearch.spec.modules import Module, find_module, public_names, read_module, torch_names


def nearest_path(class_path: str, folder: Path) -> str | None:
    """The class path of a class or a function that a class path is a slip of, in any of its parts,
    among the modules of a folder and in torch.nn and torch.optim; None where there is none."""
    first, *rest = class_path.split(".")
    beside = [each.name for each in pkgutil.iter_modules([str(folder)])]
    name = first if first in beside else nearest(first, [*beside, "torch"])
    if name == "torch" and len(rest) == 2:
        package = nearest(rest[0], ("nn", "optim"))
        classes = sorted(each for each in torch_names(package or "") if each[:1].isupper())
        last = nearest(rest[1], classes)
        return f"torch.{package}.{last}" if last else None
    spec = find_module(name, [str(folder)]) if name else None
    if name is None or spec is None:
        return nearest_path(".".join(rest), folder) if len(rest) > 1 and rest[0] in beside else None
    while rest:
        module = read_module(spec, name, folder)
        if not isinstance(module, Module):
            return None
        part = rest.pop(0)
        close = part if part in module.names.bound else nearest(part, public_names(module))
        if close is None:
            return None
        name = f"{name}.{close}"
        inner = find_module(name, module.folders) if module.folders else None
        if inner is None:
            return None if rest or close not in public_names(module) else name
        spec = inner
    return None


MOST_MODULES = 100
"""The most modules beside a spec in which a name is looked for."""


def find_named(name: str, folder: Path, *, classes: bool) -> str | None:
    """The class path of what a bare name means among the modules of a folder: a class, or a
    function, of the module of that name, or what a module has by that name; None for nothing."""
    beside = [each.name for each in pkgutil.iter_modules([str(folder)])][:MOST_MODULES]
    own = name if name in beside else None
    for module in [own] if own else beside:
        spec = find_module(module, [str(folder)])
        found = read_module(spec, module, folder) if spec else None
        if not isinstance(found, Module):
            continue
        kinds = {
            each: isinstance(found.names.only(each), ast.ClassDef)
            for each in public_names(found)
            if found.names.only(each) is not None
        }
        fitting = [each for each, is_class in kinds.items() if is_class == classes]
        chosen = next(iter(fitting or kinds), None) if own else name if name in kinds else None
        if chosen is not None:
            others = [each for each in kinds if each != chosen] if own else []
            told = f"; it has {', '.join(others)}, too" if others else ""
            return f"{module}.{chosen}{told}"
    return None
