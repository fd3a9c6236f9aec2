"""Text as samples of a fixed number of characters."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lrsearch.errors import DataError

MAX_VOCABULARY = 10_000
"""Characters of an alphabet; a file with more is hardly text, or needs another model."""


@dataclass(frozen=True, eq=False)
class Windows:
    """A text cut into pieces, none of which shares a character with another: `windows` is int64
    [samples, context + 1], each entry the place of a character in `vocabulary`, which is sorted and
    of the whole text."""

    windows: NDArray[np.int64]
    vocabulary: tuple[str, ...]


def read_text(source: str, context: int) -> Windows:
    """The windows of a UTF-8 file; what is left at its end is dropped.

    Raises DataError for a file that cannot be read, is no UTF-8 or no text, or is shorter than two
    windows, one to train on and one to validate with.
    """
    text = _read(source)
    codes = np.frombuffer(text.encode("utf-32-le"), dtype="<u4")
    characters, numbered = np.unique(codes, return_inverse=True)
    if len(characters) > MAX_VOCABULARY:
        raise DataError(
            f"{len(characters):,} different characters, of at most {MAX_VOCABULARY:,}: "
            "this is probably not text",
            where=source,
        )
    size = context + 1
    count = len(codes) // size
    if count < 2:
        raise DataError(
            f"the text has {len(codes):,} characters; with a context of {context} a sample takes "
            f"{size:,}, and two are needed, one to train on and one to validate with",
            where=source,
            hint="give a longer text, or a shorter context",
        )
    if len(characters) < 2:
        raise DataError(f"nothing but the character {chr(int(codes[0]))!r}", where=source)
    windows = numbered[: count * size].astype(np.int64).reshape(count, size)
    return Windows(windows, tuple(map(chr, characters.tolist())))


def _read(source: str) -> str:
    try:
        content = Path(source).read_bytes()
    except FileNotFoundError:
        raise DataError("there is no such file", where=source) from None
    except (OSError, MemoryError) as error:
        reason = getattr(error, "strerror", None) or "not enough memory"
        raise DataError(f"the file cannot be read: {reason}", where=source) from error
    if not content:
        raise DataError("the file is empty", where=source)
    if b"\0" in content:
        raise DataError(
            "the file is no text in UTF-8: it holds zero bytes",
            where=source,
            hint="if it is text in UTF-16, convert it: iconv -f utf-16 -t utf-8",
        )
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"the file is not UTF-8: byte 0x{content[error.start]:02x} at offset {error.start} "
            f"(line {line})",
            where=source,
            hint="convert it, such as by: iconv -f latin1 -t utf-8",
        ) from None
