"""Text as samples of a fixed number of characters."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lrsearch.data.utf8 import read_utf8
from lrsearch.errors import DataError

MAX_VOCABULARY = 10_000
"""The most characters of an alphabet; a file with more is hardly text, or needs another model."""


@dataclass(frozen=True, eq=False)
class Windows:
    """A text cut into pieces, none of which shares a character with another: `windows` is int64
    [samples, context + 1], each entry the place of a character in `vocabulary`, which is sorted and
    of the whole text."""

    windows: NDArray[np.int64]
    vocabulary: tuple[str, ...]


def read_text(source: str, context: int) -> Windows:
    """The windows of a UTF-8 file (without its byte order mark); a rest at its end is dropped.

    Raises DataError for a file that cannot be read, is no UTF-8 or no text, or is shorter than two
    windows, one to train on and one to validate with.
    """
    text = read_utf8(source)
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
