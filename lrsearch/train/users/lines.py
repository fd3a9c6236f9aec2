"""Lines that a process prints, as a terminal would show them."""

from __future__ import annotations

import re

_ESCAPE = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[@-Z\\-_]")
_MARKS = "\ufeff\ufffd\ufffe"


def read_text(output: bytes) -> str:
    """Bytes as text. UTF-16, of which every second byte is 0 where it is plain, is taken by its
    other bytes."""
    return (output.replace(b"\0", b"") if b"\0" in output else output).decode("utf-8", "replace")


def show(text: str) -> str:
    """A line as a terminal shows it: without colours, byte order marks, or text that was rubbed
    out."""
    return _ESCAPE.sub("", text).lstrip(_MARKS).rpartition("\b")[2]


def plain_lines(text: str) -> list[str]:
    """The lines of a text as a terminal would show them, without trailing blanks: where lines
    overwrite each other, the last."""
    lines = []
    for line in text.split("\n"):
        shown = [part for part in map(show, line.split("\r")) if part.strip()]
        lines.append(shown[-1].rstrip() if shown else "")
    return lines


def decode(line: bytes) -> str:
    """A line as text, as a terminal shows it, without the blanks around it."""
    return show(read_text(line)).strip()
