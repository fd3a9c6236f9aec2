"""A YAML file with its line numbers becomes a frozen `Spec`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lrsearch.errors import Fault, SpecError, UsageError, nearest
from lrsearch.spec.document import MAX_BYTES, read_document
from lrsearch.spec.imports import check_imports, needed_imports
from lrsearch.spec.model import Spec
from lrsearch.spec.overrides import apply_override
from lrsearch.spec.validate import validate


def read_spec(path: Path, overrides: Sequence[str] = ()) -> Spec:
    """Read and check a spec. Raises UsageError where there is no such file, SpecError with every
    fault of the file and the overrides."""
    text = read_text(path)
    document = read_document(text, str(path))
    for override in overrides:
        apply_override(document, override)
    return validate(document, path.absolute().parent, text)


def read_text(path: Path) -> str:
    """A spec's text. Raises UsageError where there is no such file, SpecError for one that is
    not text."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        close = None
        if path.absolute().parent.is_dir():
            names = [entry.name for entry in path.absolute().parent.iterdir()]
            close = nearest(path.name, [name for name in names if name.endswith((".yaml", ".yml"))])
        hint = f"did you mean '{path.parent / close}'?" if close else ""
        raise UsageError(f"no such file: {path}", hint=hint) from None
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        if len(content) > MAX_BYTES:
            raise SpecError([Fault(0, "", "a spec has at most 64 KiB", str(path))]) from None
        message = "not a text file: a spec is YAML in UTF-8"
        raise SpecError([Fault(0, "", message, str(path))]) from None


__all__ = ["Spec", "check_imports", "needed_imports", "read_spec", "read_text"]
