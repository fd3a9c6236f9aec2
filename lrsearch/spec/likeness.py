"""Class paths that are slips of others, in any of their parts."""

from __future__ import annotations

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
        return None
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
