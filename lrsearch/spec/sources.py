"""Files that `data` names: whether they are there, of the right kind, and hold the named parts.

Of a file only its beginning is read, or the list of what an archive holds.
"""

from __future__ import annotations

import codecs
import contextlib
import csv
import importlib.util
import itertools
import os
import re
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path as FilePath
from typing import Any

from lrsearch import catalogue
from lrsearch.errors import Fault, nearest
from lrsearch.spec.document import Document, Path, as_mapping
from lrsearch.spec.values import bare, show

MARKS = {
    b"PAR1": ("a Parquet file", "write name: parquet"),
    b"PK\x03\x04": ("an archive or a spreadsheet (.zip, .xlsx)", "unpack it, or save it as text"),
    b"\x1f\x8b": ("a gzip archive", "unpack it with gunzip"),
    b"BZh91AY&SY": ("a bzip2 archive", "unpack it with bunzip2"),
    b"\xfd7zXZ": ("an xz archive", "unpack it with unxz"),
    b"\x28\xb5\x2f\xfd": ("a zstd archive", "unpack it with unzstd"),
    b"\xd0\xcf\x11\xe0": ("a spreadsheet or document (.xls, .doc)", "save it as text"),
    b"\x89HDF": ("an HDF5 file", "write its arrays with numpy.savez(path, x=..., y=...)"),
    b"\x93NUMPY": ("an array (.npy)", "write it with numpy.savez(path, x=..., y=...)"),
    b"ARROW1": ("an Arrow file", "write it as Parquet: pyarrow.parquet.write_table(table, path)"),
    b"SQLite format": ("a database", "write the table as text"),
    b"%PDF": ("a PDF", "save what it shows as text"),
    b"version https://git-lfs": ("a pointer of Git LFS", "fetch the file: git lfs pull"),
    b"\xff\xfe\0\0": ("UTF-32", "convert it: iconv -f UTF-32 -t UTF-8 OLD > NEW"),
    b"\xff\xfe": ("UTF-16", "convert it: iconv -f UTF-16 -t UTF-8 OLD > NEW"),
    b"\xfe\xff": ("UTF-16", "convert it: iconv -f UTF-16 -t UTF-8 OLD > NEW"),
}
"""Files that begin with these bytes where text is needed: their kind, and what to do about it. Of
marks that begin alike the longer comes first."""

_WRITE = "write a table of it, with to_csv(NEW, index=False), such as of"
_NO_TABLES = {
    "{": f"it is JSON: {_WRITE} pandas.read_json(OLD)",
    "<!doctype": "it is a web page: fetch the table itself",
    "<html": "it is a web page: fetch the table itself",
    "<?xml": f"it is XML: {_WRITE} pandas.read_xml(OLD)",
    "@relation": "it is ARFF: write a line of column names, and the rows below @data",
}
_NO_TABLES["["] = _NO_TABLES["{"]
"""Hints for text that begins so and is no table."""


def find_kind(start: bytes) -> tuple[str, str] | None:
    """The kind of a file that is no text, by its first bytes, and what to do about it; None for any
    other."""
    for order, zeros, others in (
        ("LE", start[1:START:2], start[:START:2]),
        ("BE", start[:START:2], start[1:START:2]),
    ):
        if len(zeros) > 3 and not any(zeros) and all(others):  # Latin letters, without a mark.
            return "UTF-16", f"convert it: iconv -f UTF-16{order} -t UTF-8 OLD > NEW"
    return next((told for mark, told in MARKS.items() if start.startswith(mark)), None)


def guess_encoding(content: bytes) -> str:
    """The likely encoding of text in Latin letters: Windows has letters where Latin-1 has none."""
    return "CP1252" if any(0x80 <= each < 0xA0 for each in set(content)) else "LATIN1"


def tell_no_parquet(path: FilePath) -> str:
    """The hint for a file that does not begin as a Parquet file does; "" for one that does."""
    with path.open("rb") as file:
        start = file.read(START)
    if start.startswith(b"PAR1"):
        return ""
    told = find_kind(start)
    if told is not None:
        return f"it is {told[0]}: {told[1]}"
    shown = start.partition(b"\n")[0].decode(errors="replace")
    plain = shown.isprintable()
    return (
        f"it begins with {shown!r}: read text with data: {{name: csv}}"
        if plain
        else "write it anew"
    )


def hint_no_table(start: str) -> str:
    """The hint for a text that is no table by its beginning; "" for any other."""
    plain = start.lstrip("\ufeff \r\n").lower()
    return next((hint for mark, hint in _NO_TABLES.items() if plain.startswith(mark)), "")


LOOKED_AT = 2**24
"""Bytes of a text that are looked at before it is read."""

START = 64
"""Bytes by which a file's kind is told."""

PACKAGES = {"parquet": ("pyarrow", "Parquet files"), "images": ("PIL", "image folders")}
"""Kinds of data that need an optional package, with the package and a name of the data."""

MAX_SHOWN = 20
"""The most names that a message lists."""

ColumnNames = Callable[[str], Sequence[str] | None]
"""A function that gives the columns of a Parquet file; None where it cannot be read."""


def source_faults(document: Document, folder: FilePath, columns: ColumnNames) -> list[Fault]:
    """Faults of the file or the folder that a document's `data` names, seen from the
    folder of the spec."""
    top = as_mapping(document.data)
    data = top.get("data")
    if not isinstance(data, Mapping) or "class_path" in data:
        return []
    kind, raw = data.get("name"), data.get("source")
    source = catalogue.DATA.get(kind) if isinstance(kind, str) else None
    if source is None or "source" not in source.parameters or not isinstance(raw, str) or not raw:
        return []
    assert isinstance(kind, str)
    try:
        path = (folder / FilePath(raw).expanduser()).resolve()
        found = list(_look(kind, data, path, raw, folder, columns))
    except (OSError, RuntimeError, ValueError):
        return []  # Reading it says why, or `validate`.
    return [document.fault(("data", *place), message, hint) for place, message, hint in found]


def _look(
    kind: str,
    data: Mapping[str, Any],
    path: FilePath,
    raw: str,
    folder: FilePath,
    columns: ColumnNames,
) -> Iterator[tuple[Path, str, str]]:
    place: Path = ("source",)
    package, what = PACKAGES.get(kind, ("", ""))
    if package and importlib.util.find_spec(package) is None:
        name = {"PIL": "Pillow"}.get(package, package)
        hint = f"pip install 'lrsearch[{kind}]'"
        yield ("name",), f"{what} are read by {name}, which is not installed", hint
    noun = "folder" if kind == "images" else "file"
    if not path.exists() and (folder / raw).is_symlink():
        yield place, f"{raw} is a link to {path}: there is no such {noun}", ""
    elif not path.exists():
        yield place, f"{path}: there is no such {noun}", _near(kind, path, raw, folder, noun)
    elif kind == "images":
        yield from ((place, *each) for each in _folder_faults(path))
    elif path.is_dir():
        inside = FilePath(raw, example_of("source", data, path))
        yield place, f"{path}: it is a folder, and a file is needed", f"write source: {inside}"
    elif path.is_char_device() or path.is_block_device():
        yield place, f"{path}: it is a device, and a file is needed", ""
    elif path.is_file():  # A pipe would be empty afterwards.
        if not os.access(path, os.R_OK):
            yield place, f"{path}: the file cannot be read: Permission denied", ""
        elif path.stat().st_size == 0:
            yield place, f"{path}: the file is empty", ""
        elif kind == "npz":
            yield from ((place, *each) for each in _archive_faults(path))
        elif kind == "parquet":
            if message := tell_no_parquet(path):
                yield place, f"{path}: not a readable Parquet file", message
                return
            names = columns(str(path))
            if names is not None:
                yield from _column_faults(str(path), names, data, "")
        else:
            yield from _text_faults(kind, path, data)


def _text_faults(
    kind: str, path: FilePath, data: Mapping[str, Any]
) -> Iterator[tuple[Path, str, str]]:
    place: Path = ("source",)
    with path.open("rb") as file:
        found = find_kind(file.read(START))
    if found:
        place = ("name",) if kind == "csv" and "Parquet" in found[0] else place
        yield place, f"{path}: no text, but {found[0]}", found[1]
        return
    with path.open("rb") as file:
        content = file.read(LOOKED_AT)
    if told := utf8_fault(content, str(path), whole=len(content) < LOOKED_AT):
        where, message, hint = told
        yield place, f"{where}: {message}", hint
        return
    separator = data.get("separator", ",")
    header = read_header(path, separator) if kind == "csv" else None
    if header is None:
        return
    line, names = header
    where = f"{path}:{line}"
    if message := number_header(names):
        yield place, f"{where}: {message}", "write a line of names above it"
    else:
        hint = _find_header(path, separator, data.get("target"), line) if line == 1 else ""
        hint = hint or misread(names, data.get("target"), separator)
        yield from _column_faults(where, names, data, hint)
        if not hint and separator != " ":  # Several blanks in a row are told by the reader.
            known = [each for each in twice(names) if "''" not in each]
            yield from ((place, f"{where}: {each}", OWN_NAME) for each in known)
            for each, way in unnamed(names, separator):
                yield place, f"{where}: {each}", way


def utf8_fault(content: bytes, source: str, *, whole: bool = True) -> tuple[str, str, str] | None:
    """The place, the message and the hint where the content of a file, or its beginning, is no
    UTF-8; None where it is."""
    zero = content.find(b"\0")
    try:
        codecs.getincrementaldecoder("utf-8")().decode(content, final=whole)
        at = zero
    except UnicodeDecodeError as error:
        at = error.start if zero < 0 else zero
    if at < 0:
        return None
    line = content.count(b"\n", 0, at) + 1
    if at == zero:
        hint = "take the zero bytes away: tr -d '\\000' < OLD > NEW"
        if content.count(b"\0") * 4 > len(content):
            hint = "if it is UTF-16, convert it: iconv -f UTF-16LE -t UTF-8 OLD > NEW"
        return f"{source}:{line}", "not UTF-8 text: a zero byte on this line", hint
    message = f"not UTF-8 text: byte 0x{content[at]:02x} on this line"
    hint = f"convert it, such as with: iconv -f {guess_encoding(content)} -t UTF-8 OLD > NEW"
    return f"{source}:{line}", message, hint


_ENDINGS: dict[str, tuple[str, ...]] = {
    "npz": (".npz",),
    "csv": (".csv", ".tsv", ".txt"),
    "parquet": (".parquet", ".pq"),
    "text": (".txt", ".md"),
}


def example_of(key: str, data: Mapping[str, Any], folder: FilePath) -> str:
    """A `source` that may be meant: a file of the data's kind in a folder; or the last column of
    the table as the `target`. In capitals where there is none."""
    kind = str(data.get("name"))
    endings = _ENDINGS.get(kind, ())
    with contextlib.suppress(OSError, ValueError, TypeError):
        if key == "target":
            source = data.get("source") or example_of("source", data, folder)
            header = read_header(folder / str(source), data.get("separator", ","))
            names = header[1] if kind == "csv" and header else []
            at = data.get("target")
            at = at if type(at) is int and at < len(names) else -1  # As of pandas' iloc.
            return names[at] if names else "COLUMN"
        for each in folder.iterdir() if not endings else ():
            if each.is_dir() and not [*_folder_faults(each)]:
                return each.name
        for each in itertools.chain(*(folder.glob(f"[!.]*{ending}") for ending in endings)):
            return each.name
    return "COLUMN" if key == "target" else f"FILE{endings[0]}" if endings else "FOLDER"


_PATTERN = re.compile(r"[*?\[]")

MAX_FOLDERS = 200
"""The most folders beside a spec that are searched for a file by its name."""


def _elsewhere(raw: str, folder: FilePath, noun: str) -> str | None:
    """The file or folder that a path means which leads nowhere: with backslashes, a pattern behind
    it, folders before it that are too many, or missing; None where there is none."""
    parts = [part for part in re.split(r"[\\/]+", raw.strip()) if part not in ("", ".")]
    while parts and _PATTERN.search(parts[-1]):
        parts.pop()
    if not parts:
        return None
    fits = FilePath.is_dir if noun == "folder" else FilePath.is_file
    for begin in range(len(parts)):
        if fits(folder / FilePath(*parts[begin:])):
            return str(FilePath(*parts[begin:]))
    inner = [each for each in folder.iterdir() if each.is_dir() and not each.name.startswith(".")]
    for each in sorted(inner)[:MAX_FOLDERS]:
        if fits(each / parts[-1]):
            return str(FilePath(each.name, parts[-1]))
    return None


def _near(kind: str, path: FilePath, raw: str, folder: FilePath, noun: str) -> str:
    """The hint where a file or a folder is not there."""
    here = FilePath(raw).absolute()
    if here.exists() and here.resolve() != path:
        return (
            f"a path in a spec is seen from the spec's folder: write source: "
            f"{os.path.relpath(here, folder)}"
        )
    if (there := _elsewhere(raw, folder, noun)) is not None:
        return f"write source: {there}"
    missing = path
    while not missing.parent.is_dir():
        missing = missing.parent
    is_folder = noun == "folder" or missing != path
    inside = [each for each in missing.parent.iterdir() if not each.name.startswith(".")]
    names = sorted(
        each.name
        for each in inside  # The spec itself, or a script, is called like the data often enough.
        if each.is_dir() == is_folder and each.suffix not in (".yaml", ".yml", ".py")
    )
    close = nearest(missing.name, names)
    if close:
        meant = path if missing == path else missing
        told = missing.parent / close / path.relative_to(meant) if meant != path else None
        told = told or missing.with_name(close)
        written = told if FilePath(raw).is_absolute() else os.path.relpath(told, folder.resolve())
        return f"write source: {written}"
    if missing != path:
        beside = f"write source: {path.name}" if (folder / path.name).exists() else ""
        return beside or f"there is no folder {missing}"
    own = f"name your own {noun} in the spec, or with --set data.source=PATH"
    alike = [name for name in names if is_folder or FilePath(name).suffix in _ENDINGS[kind]]
    if alike:
        usual = path.with_name(example_of("source", {"name": kind}, path.parent))
        written = os.path.relpath(usual, folder.resolve())
        return f"write source: {written}; in that folder: {', '.join(alike[:MAX_SHOWN])}; or {own}"
    return own


def _folder_faults(path: FilePath) -> Iterator[tuple[str, str]]:
    expected = "one folder per class is expected, such as photos/cat/1.png and photos/dog/1.png"
    if not path.is_dir():
        packed = path.suffix.lower() in (".zip", ".tar", ".gz", ".tgz")
        way = f"{'unpack it; ' * packed}{expected}; source is photos"
        yield f"{path}: a file, not a folder of images", way
    elif not any(each.is_dir() and not each.name.startswith(".") for each in path.iterdir()):
        yield f"{path}: there are no class folders", expected


def _archive_faults(path: FilePath) -> Iterator[tuple[str, str]]:
    """The missing ones of x and y, or x_train and y_train."""
    with path.open("rb") as file:
        start = file.read(START)
    if start[:6] == b"\x93NUMPY":
        hint = "write it with numpy.savez(path, x=..., y=...)"
        yield f"{path}: a single array, not a NumPy archive (.npz)", hint
        return
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name.removesuffix(".npy") for name in archive.namelist()]
    except zipfile.BadZipFile:
        kind = find_kind(start)
        way = f"it is {kind[0]}: {kind[1]}" if kind else ""
        way = way or "was it cut off? write it with numpy.savez(path, x=..., y=...)"
        yield f"{path}: not a readable NumPy archive (.npz)", way
        return
    wanted = [("x_train", "y_train"), ("x", "y")]
    if not any(set(pair) <= set(names) for pair in wanted):
        pair = wanted[0] if {"x_train", "y_train"} & set(names) else wanted[1]
        missing = " and ".join(name for name in pair if name not in names)
        shown = ", ".join(names[:MAX_SHOWN]) or "nothing"
        yield f"{path}: {missing} missing; found: {shown}", hint_members(names)


_INPUTS = ("x", "data", "images", "image", "features", "inputs", "input", "arr_0", "samples")
_TARGETS = ("y", "labels", "label", "targets", "target", "classes", "arr_1", "outputs", "output")
_PARTS = {"train": "_train", "training": "_train", "test": "_test", "val": "_val", "valid": "_val"}
_PARTS |= {"validation": "_val", "dev": "_val", "": ""}


def hint_members(names: Sequence[str]) -> str:
    """The hint for an archive whose arrays have other names than lrsearch expects: a line that
    renames them, where their names say what they are."""
    meant: dict[str, str] = {}
    for name in names:
        plain, part = name.lower().strip("_"), ""
        for each in sorted(_PARTS, key=len, reverse=True):
            if each and (plain.startswith(each) or plain.endswith(each)):
                plain, part = plain.removeprefix(each).removesuffix(each).strip("_"), _PARTS[each]
                break
        letter = "x" if plain in _INPUTS else "y" if plain in _TARGETS else ""
        if not letter or f"{letter}{part}" in meant:
            continue
        meant[f"{letter}{part}"] = name
    for pair in (("x", "y"), ("x_train", "y_train")):
        if all(each in meant for each in pair):
            given = ", ".join(f"{key}=a[{name!r}]" for key, name in meant.items())
            return f'rename them: a = numpy.load(OLD); numpy.savez("NEW.npz", {given})'
    if len(meant) == len(names) > 0 and all(key.startswith("x") for key in meant):
        return (
            "save the targets with them; for a step of your own that has none, data: "
            "{class_path: my_data.load} with def load(): return numpy.load(OLD)[NAME]"
        )
    return "an archive holds x_train, y_train and perhaps x_val, y_val, x_test, y_test, or x and y"


# tables


NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
"""A cell that is a number."""


def read_header(path: FilePath, separator: str) -> tuple[int, list[str]] | None:
    """The line on which a table in a text file names its columns, and the names; None for a file
    that cannot be read as a table."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            blanks = separator != " "
            rows = csv.reader(file, delimiter=separator, skipinitialspace=blanks, strict=True)
            line = 1
            for names in rows:
                if names:
                    break
                line = rows.line_num + 1
            else:
                return None
    except (UnicodeDecodeError, csv.Error, TypeError, ValueError):
        return None
    return None if any("\0" in name for name in names) else (line, list(map(str.strip, names)))


def number_header(names: Sequence[str]) -> str:
    """The fault of a header that holds numbers alone."""
    if not all(map(NUMBER.fullmatch, names)):
        return ""
    return f"the first line names the columns, but this one holds numbers: {_some(names)}"


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:6]) + (", ..." if len(names) > 6 else "")


def _column_faults(
    where: str, names: Sequence[str], data: Mapping[str, Any], hint: str
) -> Iterator[tuple[Path, str, str]]:
    """Faults for the target, and other names in `data`, that are no columns."""
    target = data.get("target")
    told = "names a column '{}' that is not there"
    if not isinstance(target, str) or not target:
        place = len(names) if target is None else target
        at = place if type(place) is int and -len(names) <= place < len(names) else -1
        under = "" if "target" in data else " under data"
        line = f"write target: {bare(names[at], listed=True)}{under}"
        near = f"{line}; for example" if target is None else line
        message = f"{where}: {show(target)} is no column's name"
        path: Path = ("target",) if "target" in data else ()
        yield path, message, hint or f"{near}; {suggest_column('', names)}"
    elif target not in names:
        message = f"{where}: data.target {told.format(target)}"
        yield ("target",), message, hint or suggest_column(target, names, "target")
    for key in ("drop", "categorical"):
        listed = data.get(key)
        for index, name in enumerate(listed if isinstance(listed, list) else ()):
            if isinstance(name, str) and name and name not in names:
                message = f"{where}: data.{key} {told.format(name)}"
                known = suggest_column(name, names, key)
                out = "" if known.startswith("write") else f"leave '{name}' out; "
                yield (key, index), message, f"{out}{known}"


OWN_NAME = "every column needs a name of its own"


def twice(names: Sequence[str]) -> Iterator[str]:
    """The faults of names that stand in a header twice."""
    first: dict[str, int] = {}
    for index, name in enumerate(names):
        if name in first:
            there, here = ordinal(first[name]), ordinal(index)
            yield f"two columns are named '{name}': the {there} and the {here}"
        first[name] = index


def unnamed(names: Sequence[str], separator: str) -> Iterator[tuple[str, str]]:
    """The faults and hints of columns that a header gives no name."""
    for index, name in enumerate(names):
        hint = "give it a name (and drop it)"
        if index == 0:
            hint = "row numbers? leave them out where the file is written "
            hint += "(pandas: to_csv(..., index=False)), or give the column a name and drop it"
        elif index == len(names) - 1:
            hint = f"a '{separator}' at the end of each line? take it away"
        if not name:
            yield f"the {ordinal(index)} column has no name", hint


def ordinal(index: int) -> str:
    """The 1-based place of an index in words: 1st, 2nd, 11th."""
    number = index + 1
    ending = {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{'th' if number % 100 in (11, 12, 13) else ending}"


def suggest_column(name: str, names: Sequence[str], key: str = "") -> str:
    """`write target: x; its columns: ...`."""
    close = nearest(name, names) if name else None
    shown = ", ".join(names[:MAX_SHOWN])
    shown += f", ... ({len(names)})" if len(names) > MAX_SHOWN else ""
    line = f"{key}: " if key == "target" else ""
    close = close or (names[-1] if key == "target" and names else None)
    meant = f"write {line}{bare(close, listed=True)}; " if close else ""
    return f"{meant}its columns: {shown}"


def misread(names: Sequence[str], target: object, separator: str) -> str:
    """The hint where the target is not in a header and the header shows why: another separator, or
    values in the first line."""
    if target in names:
        return ""
    if hint := hint_no_table(names[0]):
        return hint
    for mark, written in _SEPARATORS if len(names) == 1 else ():
        if mark in names[0] and mark != separator:
            return f"the columns are not divided by '{separator}': write separator: {written}"
    if any(map(NUMBER.fullmatch, names)):
        return f"the first line has to name the columns; it reads: {_some(names)}"
    return ""


def _find_header(path: FilePath, separator: str, target: object, first: int) -> str:
    """The hint where the target is not in the first line but in one of those below it, which then
    names the columns; "" elsewhere."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.reader(file, delimiter=separator, skipinitialspace=separator != " ")
            shown = ((rows.line_num, names) for names in itertools.islice(rows, MAX_SHOWN))
            named = ((at, [*map(str.strip, names)]) for at, names in shown if len(names) > 1)
            heads = (at for at, names in named if target in names)
            line = next(heads, first)
    except (UnicodeDecodeError, csv.Error, TypeError, ValueError):
        return ""
    return f"line {line} names the columns: take away what stands above it" * (line > first)


_SEPARATORS = ((",", '","'), (";", '";"'), ("\t", '"\\t"'), ("|", '"|"'), (" ", '" "'))
"""Marks that divide columns, and how a spec names them."""
