"""Specs: a YAML file with its line numbers becomes a frozen `Spec`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from lrsearch.errors import FIRST_SPEC, Fault, SpecError, UsageError, nearest
from lrsearch.spec.document import MAX_BYTES, read_document
from lrsearch.spec.imports import check_imports, needed_imports
from lrsearch.spec.model import Spec
from lrsearch.spec.overrides import apply_override
from lrsearch.spec.sources import START, find_kind, guess_encoding
from lrsearch.spec.validate import validate
from lrsearch.terminal import path_word, quote

if TYPE_CHECKING:
    from lrsearch.spec.sources import ColumnNames


def read_spec(
    path: Path, overrides: Sequence[str] = (), *, columns: ColumnNames | None = None
) -> Spec:
    """Read and check a spec. Raises UsageError where there is no such file, SpecError with every
    fault of the file and the overrides.

    With `columns`, which reads the names of a Parquet file's columns, the faults of the files,
    programs and code that the spec names are raised, too; none of them is run or imported.
    """
    try:
        return _read(path, overrides, columns)
    except SpecError:
        other = _OTHERS.get(path.suffix.lower())
        if other is None:
            raise
        kind, hint = other
        told = f"a spec is a file of YAML, and this is {kind}"
        fault = Fault(0, "", told, str(path), hint.format(path_word(path)))
        raise SpecError([fault]) from None


_TABLE = "write data: {{name: csv, source: {}, target: COLUMN}} in a spec; "
_TABLE += "lrsearch init NEW.yaml --from csv writes one"
_ARRAYS = "write data: {{name: npz, source: {}}} in a spec; " + FIRST_SPEC
_SCRIPT = "a spec names it: lrsearch init NEW.yaml --from command writes one, or --from loop"
_OTHERS = {
    ".py": ("Python", _SCRIPT),
    ".ipynb": ("a notebook", _SCRIPT),
    **dict.fromkeys((".csv", ".tsv"), ("a table", _TABLE)),
    ".parquet": ("a table", _TABLE.replace("csv", "parquet", 1)),
    **dict.fromkeys((".npz", ".npy"), ("one of arrays", _ARRAYS)),
    ".jsonl": ("one of lines of JSON", FIRST_SPEC),
}
"""Files that are given in the place of a spec, by their endings: what they are, and the way."""


def _read(path: Path, overrides: Sequence[str], columns: ColumnNames | None) -> Spec:
    """Read a spec as `read_spec` does, by whatever name."""
    text = read_text(path)
    document = read_document(text, str(path))
    for override in overrides:
        apply_override(document, override)
    folder = path.absolute().parent
    spec: Spec | None = None
    faults: list[Fault] = []
    try:
        spec = validate(document, folder, text)
    except SpecError as error:
        faults = list(error.faults)
    if columns is not None:
        # Commands that read stored runs do without.
        from lrsearch.spec.statics import find_faults, find_notes

        told = {fault.key for fault in faults}
        found = find_faults(document, folder, columns, told)
        if any(
            fault.key.startswith("data.") and "write target: " in fault.hint for fault in faults
        ):
            told.add("data")  # The target that is missing there stands under another word.
        # What the file holds may say what the spec does not.
        hints = {fault.key: fault.hint for fault in found}
        faults = [
            *(
                each if each.hint else replace(each, hint=hints.get(each.key, ""))
                for each in faults
            ),
            *(each for each in found if each.key not in told - {"command"}),
        ]
    if faults or spec is None:
        raise SpecError(faults)
    if columns is not None:
        spec = replace(spec, notes=(*spec.notes, *find_notes(document, folder)))
    return spec


def read_text(path: Path) -> str:
    """Read a spec's text. Raises UsageError where there is no such file, SpecError for a file that
    is not text."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        close, there = _nearest_spec(path), _specs(path.parent)[:5]
        hint = f"here are {', '.join(map(str, there))}" if there else FIRST_SPEC
        hint = f"did you mean '{close}'?" if close else hint
        raise UsageError(f"no such file: {path}", hint=hint) from None
    except IsADirectoryError:
        specs = ", ".join(str(each) for each in _specs(path)[:5])
        hint = f"here are {specs}" if specs else "there is none in it"
        raise UsageError(f"{path} is a folder, and a spec a file", hint=hint) from None
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None
    except ValueError as error:  # A NUL, which no command line can hold, though a journal can.
        raise UsageError(f"cannot read {path}: {error}") from None
    try:
        if kind := find_kind(content[:START]):
            hint = kind[1].replace("OLD > NEW", f"{quote(path_word(path))} > utf8.yaml")
            told = f"the file is in {kind[0]}" if "iconv" in hint else f"this is {kind[0]}"
            raise SpecError([Fault(0, "", f"{told}, and a spec is YAML in UTF-8", str(path), hint)])
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if len(content) > MAX_BYTES:
            raise SpecError([Fault(0, "", "a spec has at most 64 KiB", str(path))]) from None
        raise SpecError([_explain_bytes(content, str(path), error)]) from None


def _specs(folder: Path) -> list[Path]:
    """The files of a folder that may be specs, sorted."""
    if not folder.is_dir():
        return []
    return sorted(each for each in folder.iterdir() if each.suffix in (".yaml", ".yml"))


def _nearest_spec(path: Path) -> Path | None:
    """The spec that a path may mean which leads nowhere: of its name with another ending, in its
    folder or in configs/, or else of the nearest name."""
    there = [*_specs(path.parent), *_specs(path.parent / "configs"), *_specs(Path())]
    stems = {each.stem: each for each in reversed(there)}
    return (
        stems.get(path.stem)
        or stems.get(path.name.split(".")[0])
        or stems.get(nearest(path.stem, stems) or "")
    )


def _explain_bytes(content: bytes, source: str, error: UnicodeDecodeError) -> Fault:
    """The fault of a file that is no text in UTF-8."""
    if b"\0" in content:
        return Fault(0, "", "not a text file: a spec is YAML in UTF-8", source, FIRST_SPEC)
    line = content.count(b"\n", 0, error.start) + 1
    byte = f"byte 0x{content[error.start]:02X}"
    message = f"not a text file: {byte} is none of UTF-8's, as a spec has"
    encoding = guess_encoding(content)
    command = f"write iconv -f {encoding} -t UTF-8 {quote(path_word(source))} > utf8.yaml"
    return Fault(line, "", message, source, f"if it is text, {command}")


__all__ = ["Spec", "check_imports", "needed_imports", "read_spec", "read_text"]
