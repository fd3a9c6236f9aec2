"""Text files, and the other kinds of file that users take for one."""

from __future__ import annotations

from pathlib import Path

from lrsearch.errors import DataError
from lrsearch.spec.sources import find_kind, guess_encoding


def read_utf8(source: str) -> str:
    """The text of a UTF-8 file, without its byte order mark, line ends as they are.

    Raises DataError for a file that is not there, empty, or no such text.
    """
    try:
        content = Path(source).read_bytes()
    except FileNotFoundError:
        raise DataError("there is no such file", where=source) from None
    except (OSError, MemoryError) as error:
        reason = getattr(error, "strerror", None) or "not enough memory"
        raise DataError(f"the file cannot be read: {reason}", where=source) from error
    if not content:
        raise DataError("the file is empty", where=source)
    if kind := find_kind(content):
        raise DataError(f"no text, but {kind[0]}", where=source, hint=kind[1])
    zero = content.find(b"\0")
    if zero >= 0:
        raise DataError(
            "not UTF-8 text: a zero byte on this line",
            where=_place(source, content, zero),
            hint="if it is UTF-16, convert it: iconv -f UTF-16LE -t UTF-8 OLD > NEW",
        )
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        # Where it starts is counted behind the mark.
        start = len(content) - len(error.object) + error.start
        raise DataError(
            f"not UTF-8 text: byte 0x{content[start]:02x} on this line",
            where=_place(source, content, start),
            hint=f"convert it, such as with: iconv -f {guess_encoding(content)} -t UTF-8 OLD > NEW",
        ) from error


def _place(source: str, content: bytes, at: int) -> str:
    line = content.count(b"\n", 0, at) + 1
    return f"{source}:{line}"
