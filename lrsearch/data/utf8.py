"""Text files, and the other kinds of file that users take for one."""

from __future__ import annotations

from pathlib import Path

from lrsearch.errors import DataError
from lrsearch.spec.sources import find_kind, utf8_fault


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
    if told := utf8_fault(content, source):
        where, message, hint = told
        raise DataError(message, where=where, hint=hint)
    return content.decode("utf-8-sig")
