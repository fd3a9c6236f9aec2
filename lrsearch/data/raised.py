"""Errors that the user's code raised, in words: with the file and line of that code."""

from __future__ import annotations

import re
import sysconfig
import traceback
from collections.abc import Iterable
from pathlib import Path

import lrsearch

_OTHERS = tuple(
    Path(path).resolve() for path in (Path(lrsearch.__file__).parent, sysconfig.get_path("stdlib"))
)
"""Folders whose code is not the user's."""

PACKAGES = {"site-packages", "dist-packages"}
"""Folders into which packages are installed."""


def tell_raised(error: BaseException) -> str:
    """An error in words, with the line of the user's code where it arose, behind the first line of
    its text: `KeyError: 'x' (nets.py, line 12)`."""
    name, text = type(error).__name__, str(error)
    first, *others = (f"{name}: {text}" if text.strip() else name).split("\n")
    place = "" if isinstance(error, SyntaxError) else find_line(error)  # Its text has its place.
    return "\n".join([f"{first} ({place})" if place else first, *others])


def tell_trace(error: BaseException) -> str:
    """An error's traceback from the first line of the user's code on, and those of its causes: what
    called that code is lrsearch's own affair. The whole, where none of the user's is in it."""
    told = traceback.TracebackException.from_exception(error)
    ahead, seen = [told], set()
    while ahead:
        each = ahead.pop()
        seen.add(id(each))
        own = [
            index
            for index, frame in enumerate(each.stack)
            if Path(frame.filename).is_file() and not _is_of_others(Path(frame.filename).resolve())
        ]
        del each.stack[: own[0] if own else 0]
        causes = (each.__cause__, each.__context__)
        ahead += [cause for cause in causes if cause is not None and id(cause) not in seen]
    return "".join(told.format())


def find_line(error: BaseException) -> str:
    """The innermost line of the user's code in an error's traceback, `nets.py, line 12`; "" where
    it has none."""
    frames = traceback.walk_tb(error.__traceback__)
    return _find_innermost((frame.f_code.co_filename, number) for frame, number in frames)


def find_told_line(text: str) -> str:
    """The same of a traceback that is text."""
    return _find_innermost((file, int(number)) for file, number in _FRAME.findall(text))


_FRAME = re.compile(r'File "(.+)", line (\d+)')


def _find_innermost(frames: Iterable[tuple[str, int]]) -> str:
    for name, number in reversed(list(frames)):
        file = Path(name)
        if file.is_file() and not _is_of_others(file.resolve()):
            return f"{file.name}, line {number}"
    return ""


def _is_of_others(path: Path) -> bool:
    """Whether a file is of a package, of Python's own, or of lrsearch."""
    return bool(PACKAGES & {*path.parts}) or any(map(path.is_relative_to, _OTHERS))
