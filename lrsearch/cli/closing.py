"""Closed pipes and full disks: output without a reader, or that cannot be written."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import stat
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from lrsearch.errors import FULL, LrsearchError, StorageFull, UsageError, lacks_memory
from lrsearch.terminal import VisibleStream


@contextmanager
def ignore_closed_stdout() -> Iterator[None]:
    """Print nothing more, and no complaint, once the reader of a pipe (head, less) has left. Raises
    StorageFull where stdout is a file or a terminal that takes no more."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        _drop_stdout()
    except OSError as error:
        if is_left(error, sys.stdout):
            _drop_stdout()
            return
        # The error has the name of a file that is opened or named; a stream has none.
        if error.errno not in _REFUSED or error.filename is not None:
            raise
        _drop_stdout()
        raise StorageFull(f"cannot write the result to stdout: {error.strerror}") from error


def is_left(error: OSError, stream: TextIO) -> bool:
    """Whether an error says that a stream has no reader any more: the reader of a pipe, or a
    terminal, has gone."""
    if error.errno == errno.EIO:
        with contextlib.suppress(OSError, ValueError):
            return stat.S_ISCHR(os.fstat(stream.fileno()).st_mode)
    return error.errno == errno.EPIPE


class GuardedStream(io.TextIOWrapper):
    """A standard stream that stays silent once its reader has gone. With `always`, as for stderr,
    no error of writing is raised at all: errors are shown there."""

    always = False

    def write(self, text: str, /) -> int:
        """Write the text; text that has no reader counts as written."""
        try:
            return super().write(text)
        except OSError as error:
            self._lose(error)
            return len(text)

    def flush(self) -> None:
        """Flush the stream; text that has no reader is dropped."""
        try:
            super().flush()
        except OSError as error:
            self._lose(error)

    def _lose(self, error: OSError) -> None:
        if not self.always and not is_left(error, self):
            raise error
        # The rest of the text goes nowhere, except where a pipe is only full.
        if not isinstance(error, BlockingIOError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), self.fileno())


def outlive_readers() -> None:
    """Replace this process's stdout and stderr by guarded streams, inside the visible ones."""
    for name in ("stdout", "stderr"):
        outer = getattr(sys, name)
        old = outer.rich_proxied_file if isinstance(outer, VisibleStream) else outer
        if isinstance(old, io.TextIOWrapper) and not isinstance(old, GuardedStream):
            form = {"encoding": old.encoding, "errors": old.errors, "newline": "\n"}
            lines, through = old.line_buffering, old.write_through
            new = GuardedStream(old.detach(), **form, line_buffering=lines, write_through=through)
            new.always = name == "stderr"
            if getattr(sys, f"__{name}__") is old:  # It tells how wide the terminal is.
                setattr(sys, f"__{name}__", new)
            if isinstance(outer, VisibleStream):
                outer.rich_proxied_file = new
            else:
                setattr(sys, name, new)


_REFUSED = (*FULL, errno.EIO)


def write_file(path: Path, content: bytes, *, new: bool = False) -> None:
    """Write a file for a person or another program: it is whole, or what was there before stays.
    `new` says that nothing may be there. A link keeps its place, a file its rights; a pipe, a
    device and what this process prints into are written to. Raises StorageFull where it finds no
    room, FileExistsError and any other OSError."""
    try:
        if not new and _is_stream(path):
            path.write_bytes(content)
            return
        if new and os.path.lexists(path):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
        # No other command that writes it meanwhile shares this name, nor does a file of the user's.
        whole = path.resolve()
        part = whole.with_name(f".lrsearch-{zlib.crc32(os.fsencode(whole.name)):08x}-{os.getpid()}")
        part.unlink(missing_ok=True)
        try:
            with part.open("xb") as file:
                if whole.exists():
                    os.fchmod(file.fileno(), whole.stat().st_mode & 0o777)
                file.write(content)
                file.flush()
                # Else a power cut could leave the new name without its content.
                os.fsync(file.fileno())
            (_place_new if new else Path.replace)(part, whole)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        if error.errno not in _REFUSED:
            raise
        raise StorageFull(f"cannot write {path}: {error.strerror}") from error


def _is_stream(path: Path) -> bool:
    """Whether a path is there and is no file, or one that this process prints into."""
    if not path.exists() or path.is_dir():
        return False
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):
        return True
    streams = []
    for number in (1, 2):
        with contextlib.suppress(OSError):
            streams.append(os.fstat(number))
    return any(os.path.samestat(found, each) for each in streams)


def _place_new(part: Path, whole: Path) -> None:
    """Give a file its name, which nothing may have by now. Raises FileExistsError."""
    try:
        os.link(part, whole)
    except FileExistsError:
        raise
    except OSError:  # A file system without hard links.
        whole.touch(exist_ok=False)
        part.replace(whole)


def _drop_stdout() -> None:
    """Send the rest of stdout nowhere: Python tries to write it again when it ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def say(text: str) -> None:
    """Print to stderr; an exit code must not depend on whether stderr has a reader."""
    with contextlib.suppress(OSError):
        print(text, file=sys.stderr, flush=True)


def call(command: Callable[[], None]) -> int:
    """Call a command; an error the user caused is printed as one message. Returns the exit
    code."""
    try:
        with ignore_closed_stdout():
            command()
    except LrsearchError as error:
        say(f"error: {error}")
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        if (explained := _explain(error)) is None:
            raise
        code, told = explained
        say(f"error: {told}")
        return code
    return 0


def _explain(error: Exception) -> tuple[int, str] | None:
    """The exit code and the message for what the machine refuses; None for anything else, a bug."""
    if lacks_memory(text := f"{type(error).__name__}: {error}"):
        way = "allow more (ulimit -v, the limit of a job or container), or use fewer --workers"
        shown = text.removeprefix("MemoryError: ").strip().rpartition("\n")[2] or "MemoryError"
        return 1, f"there is too little memory: {shown}\n  {way}; every finished trial is kept"
    if isinstance(error, PermissionError) and error.filename is not None:
        return 2, f"cannot use {error.filename}: {error.strerror}\n  this user may not"
    if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
        way = "ulimit -n 1024 allows more, and --workers 1 needs fewer"
        return 1, f"{error.strerror}: this process may open no more of them\n  {way}"
    return None


def print_exactly(text: str, hint: str = "PYTHONIOENCODING=utf-8 has them") -> None:
    """Print data for another program: unchanged, unless to a terminal. Raises UsageError where
    stdout's encoding lacks some of the letters."""
    stream = sys.stdout
    if not stream.isatty():
        stream = getattr(stream, "rich_proxied_file", stream)
    try:
        text.encode(stream.encoding or "utf-8", "surrogatepass")
    except UnicodeEncodeError as error:
        lacking = text[error.start]
        message = f"stdout is in {error.encoding}, which has no '{lacking}'"
        raise UsageError(message, hint=hint) from None
    stream.write(text)
    stream.flush()
