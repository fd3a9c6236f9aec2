"""Code that a spec names: the class paths that may be imported without the user's consent."""

from __future__ import annotations

from collections.abc import Sequence

from lrsearch.errors import ImportRefused
from lrsearch.spec.model import Spec

FREE_IMPORTS = ("lrsearch", "torch.nn", "torch.optim")


def is_free(class_path: str) -> bool:
    """Whether a class path may be imported without the user's consent."""
    return class_path.startswith(tuple(f"{free}." for free in FREE_IMPORTS))


def needed_imports(spec: Spec) -> tuple[str, ...]:
    """The top-level modules the spec names that the user must allow, each once."""
    asked = [each.split(".")[0] for each in spec.imports if not is_free(each)]
    return tuple(dict.fromkeys(asked))


def check_imports(spec: Spec, allowed: Sequence[str]) -> None:
    """Raises ImportRefused where the spec names code outside `FREE_IMPORTS` that is not in
    `allowed` (top-level module names)."""
    refused = [name for name in needed_imports(spec) if name not in allowed]
    if refused:
        paths = [path for path in spec.imports if path.split(".")[0] in refused]
        raise ImportRefused(
            f"it names code that is not allowed to run here: {', '.join(paths)}",
            where=spec.source,
            hint="allow it with " + " ".join(f"--allow-import {name}" for name in refused),
        )
