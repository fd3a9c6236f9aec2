r"""Texts that are safe to show on a terminal, and words that a shell reads unchanged.

Characters that move the cursor, set a title, make a link, turn the direction of reading or are
invisible become escapes: `\x1b`, `\u202e`, `\udcff` for a byte that is no UTF-8.
"""

from __future__ import annotations

import io
import re
import shlex
import sys
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TextIO, cast

_EMOJI = "\u2190-\u2bff\U0001f000-\U0001faff"
_JOINING = "\u0600-\u08ff\u0900-\u0dff\u1000-\u109f\u1780-\u18af"
"""Characters of Arabic and Syriac, the scripts of India and Sri Lanka, Burmese, Khmer and
Mongolian: a joiner, or a non-joiner, between two of their letters is spelling."""

_MEANT = (
    rf"(?<=[{_EMOJI}\ufe0f])\u200d(?=[{_EMOJI}])",  # A family, a woman who is an astronaut.
    rf"(?<=[{_JOINING}])[\u200c\u200d]",
    "(?<=\U0001f3f4)[\U000e0020-\U000e007e]+\U000e007f",  # The flags of England, Scotland, Wales.
)
_SUSPECT = re.compile(rf"(?P<meant>{'|'.join(_MEANT)})|[^\n\t -~]")
_FILLERS = frozenset("\u115f\u1160\u3164\uffa0")
"""Letters of Hangul that are blank."""

_SIGNS = frozenset(
    [*map(chr, range(0x1F000, 0x1FB00)), *"\u0600\u0601\u0602\u0603\u0604\u0605\u06dd\u08e2"]
)
"""Emoji, also those that are newer than this Python, and the signs of Arabic that go round numbers,
which Python takes for unprintable."""


def visible(text: str) -> str:
    """The text with an escape for each character that acts on a terminal or is invisible; line
    feeds and tabs stay. Joiners stay where writing needs them: in emoji, and between letters that
    join."""
    return _SUSPECT.sub(_show, text)


def short(value: float, digits: int = 6) -> str:
    """A number in so many digits, as one would write it: 0.011, 1e-5, 2.5e6."""
    mantissa, _, power = f"{value:.{digits}g}".partition("e")
    return f"{mantissa}e{int(power)}" if power else mantissa


def visible_line(text: str) -> str:
    """The text as by `visible`, on one line: line feeds and tabs become escapes, too."""
    return visible(text).replace("\n", "\\n").replace("\t", "\\t")


def _show(found: re.Match[str]) -> str:
    char = found[0]
    if found["meant"] is not None:
        return char
    if char in _FILLERS:
        return escape(char)
    blank = unicodedata.category(char) == "Zs"
    return char if char.isprintable() or blank or char in _SIGNS else escape(char)


def escape(char: str) -> str:
    r"""A character's escape: `\x1b`, `\u202e`."""
    return char.encode("unicode_escape").decode("ascii")


class VisibleStream:
    """A text stream that writes texts as `visible` leaves them. A console of rich, which makes
    escape sequences of its own, writes to the stream inside: rich asks for `rich_proxied_file`."""

    def __init__(self, stream: TextIO) -> None:
        self.rich_proxied_file = stream

    def write(self, text: str) -> int:
        """Write the text, made visible."""
        if not isinstance(text, str):  # As any text stream: bytes streams are told by this.
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        self.rich_proxied_file.write(visible(text))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write the lines, made visible."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.rich_proxied_file, name)


def guard_streams() -> None:
    """Make all that this process prints pass through `visible`, from now on."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if isinstance(stream, VisibleStream):
            continue
        if isinstance(stream, io.TextIOWrapper):
            # A locale without é is no reason to end: it reads \xe9 there.
            stream.reconfigure(errors="backslashreplace")
        setattr(sys, name, cast(TextIO, VisibleStream(stream)))


@contextmanager
def guarded_streams() -> Iterator[None]:
    """Apply `guard_streams` within the block."""
    before = sys.stdout, sys.stderr
    guard_streams()
    try:
        yield
    finally:
        if not all(isinstance(stream, VisibleStream) for stream in before):
            sys.stdout, sys.stderr = before


def quote(word: str) -> str:
    r"""Quote a word of a command line for a shell: plain, in quotes, or, where it could not be
    shown or would not survive being copied, as $'\033', by the octal numbers of its bytes (bash,
    zsh, ksh, POSIX of 2024)."""
    inner = word.replace("\\", "\\\\").replace("'", "\\'")
    shown = _SUSPECT.sub(_show_in_quotes, inner).replace("\n", "\\012").replace("\t", "\\011")
    return shlex.quote(word) if shown == inner else f"$'{shown}'"


def _show_in_quotes(found: re.Match[str]) -> str:
    char = found[0]
    if _show(found) == char and unicodedata.category(char[0]) != "Zs":
        return char
    # A byte that is no UTF-8 stands in a name as half a surrogate pair.
    errors = "surrogateescape" if "\udc80" <= char <= "\udcff" else "surrogatepass"
    return "".join(f"\\{byte:03o}" for byte in char.encode("utf-8", errors))


def command_line(words: Sequence[str]) -> str:
    """The words as one line that a shell reads as these words."""
    return " ".join(map(quote, words))


def path_word(path: object) -> str:
    """A path as a word of a command line: one that begins with a dash is no option."""
    text = str(path)
    return f"./{text}" if text.startswith("-") else text
