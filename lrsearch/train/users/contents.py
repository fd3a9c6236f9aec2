"""Files and folders that a config's code is given by their path: hashes of their content.

Free of torch, as is the process that runs a command.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path

from lrsearch.errors import ModelError

MOST_FILES = 10_000
"""The most files in a folder whose content is read."""


_EMPTY = hashlib.sha256().hexdigest()
"""The hash of a file, or a folder, with nothing in it: a place to write to."""


class Unread(Exception):
    """Raised for a folder whose content is not read; the reason."""


def path_hashes(texts: Iterable[str], folder: str) -> tuple[dict[str, str], dict[str, str]]:
    """SHA-256 of the content of each file or folder that texts of `init_args` lead to, by `path:`
    and the text, "" for texts that lead nowhere, to an empty file or folder, or to content that is
    not read; and the reasons for the latter.

    A relative path is looked for in `folder`, the spec's, and in the working directory: user code
    may mean either, and both count where both exist. Raises ModelError for files that cannot be
    read.
    """
    found: dict[str, str] = {}
    unread: dict[str, str] = {}
    for text in sorted(texts):
        name, digests = f"path:{text}", []
        for path in _places(text, folder):
            try:
                digests.append(content_hash(path, keep_out=Path(folder)))
            except Unread as reason:
                unread[name] = str(reason)
            except OSError as error:
                raise ModelError(
                    f"init_args name '{text}', which cannot be read: {error.strerror}",
                    where=error.filename or str(path),
                ) from None
        digests = [each for each in digests if each != _EMPTY]
        found[name] = "" if name in unread else "+".join(digests)
    return found, unread


def _places(name: str, folder: str) -> list[Path]:
    """The places a text leads to, each once; none where it is no path."""
    if not name.strip("/") or "\0" in name:
        return []
    found: dict[Path, None] = {}
    for start in (Path(folder), Path.cwd()):
        try:
            path = (start / Path(name).expanduser()).resolve()
            mode = path.stat().st_mode
        except (OSError, RuntimeError, ValueError):  # Too long for a name, say: it is none.
            continue
        if stat.S_ISREG(mode) or stat.S_ISDIR(mode):
            found[path] = None
    return list(found)


def content_hash(path: Path, keep_out: Path | None = None) -> str:
    """SHA-256 (hex) of a file's content; or of a folder's files, by their names in it, without
    hidden ones and Python's compiled ones. Its place and its times do not count.

    Raises Unread for a folder that holds the folder `keep_out` or the working directory, where runs
    are written, or more than `MOST_FILES` files; OSError for files that cannot be read.
    """
    if path.is_file():
        return file_hash(path)
    for inner in (keep_out, Path.cwd()):
        if inner is not None and inner.resolve().is_relative_to(path.resolve()):
            raise Unread("it holds the spec, or the folder you are in")
    digest = hashlib.sha256()
    for name, file in sorted(_files(path).items()):
        digest.update(f"{name}\n{file_hash(file)}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _files(folder: Path) -> Mapping[str, Path]:
    """The regular files in a folder and those under it, by their names from it."""

    def refuse(error: OSError) -> None:
        raise error

    found: dict[str, Path] = {}
    for place, folders, names in os.walk(folder, onerror=refuse, followlinks=True):
        folders[:] = [each for each in folders if each[0] != "." and each != "__pycache__"]
        for name in names:
            file = Path(place, name)
            if name[0] != "." and file.is_file():
                found[file.relative_to(folder).as_posix()] = file
        if len(found) > MOST_FILES:
            raise Unread(f"it holds more than {MOST_FILES:,} files")
    return found


_seen: dict[tuple[str, int, int, int], str] = {}
"""Hashes by path, inode, size and time of the last change, so that unchanged files are read
once."""


def file_hash(path: Path) -> str:
    """SHA-256 (hex) of a file's content, read once until it changes. Raises OSError."""
    about = path.stat()
    key = (str(path), about.st_ino, about.st_size, about.st_mtime_ns)
    if key not in _seen:
        with path.open("rb") as file:
            _seen[key] = hashlib.file_digest(file, "sha256").hexdigest()
    return _seen[key]
