"""The file of a trial's saved state: data that run no code, even in a file from elsewhere.

::

    lrsearch state 1\\n
    {"key": ..., "engine": ..., "step": ..., ...}\\n    the header: one line of JSON
    ...                                               tensors: a safetensors file
    32 bytes                                          SHA-256 of all before

The header says what the state belongs to (`Header`) and holds, as `content`, all that is no tensor.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import stat
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

from lrsearch import __version__

MAGIC = b"lrsearch state 1\n"
"""The format's name and version."""

_DIGEST = hashlib.sha256().digest_size

_CHUNK = 2**20
"""Bytes read at once."""

_LONGEST = 2**30
"""The most bytes of the header, and of the safetensors file's."""


class Unusable(Exception):
    """Raised for a state that training cannot go on from; the reason, in words for a user."""


@dataclass(frozen=True)
class Header:
    """The training that a state belongs to: the trial's `key`, the `engine` and kind of `device` it
    trained on, the versions of lrsearch and torch. `step` of its `steps` steps are made."""

    key: str
    engine: str
    device: str
    torch: str
    step: int
    steps: int
    lrsearch: str = __version__


@dataclass(frozen=True)
class State:
    """A saved state that was read: `content` is plain JSON, `tensors` a safetensors file's
    bytes."""

    header: Header
    content: Any
    tensors: bytes


def pack(header: Header, content: Any, tensors: bytes) -> bytes:
    """The file of a state. Raises JSON's errors for content that JSON cannot hold, and ValueError
    for more content than is read again."""
    head = json.dumps({**asdict(header), "content": content}, separators=(",", ":")).encode()
    if len(head) >= _LONGEST:
        raise ValueError("it holds too much beside its tensors")
    digest = hashlib.sha256()
    parts = (MAGIC, head, b"\n", tensors)
    for part in parts:
        digest.update(part)
    return b"".join((*parts, digest.digest()))


def _unpack(file: BinaryIO, size: int, *, tensors: bool) -> State:
    """The state in an open file of so many bytes, which keeps no more of it in memory than needed;
    tensors are checked and left out unless `tensors`. Raises Unusable for a file that is cut,
    damaged or of another form."""
    if file.read(len(MAGIC)) != MAGIC:
        raise Unusable("it is damaged, or of another version of lrsearch")
    line = file.readline(_LONGEST + 1)
    digest = hashlib.sha256(MAGIC + line)
    left = size - len(MAGIC) - len(line) - _DIGEST
    # A sparse file may be larger than all memory: what it is to hold is told by its beginning.
    first = file.read(_measure_first(file, left)) if line.endswith(b"\n") else b""
    if not first or left != _measure(first):
        raise Unusable("it is damaged: its checksum is wrong, or its end is missing")
    parts, left = [first], left - len(first)
    digest.update(first)
    while left and (part := file.read(min(left, _CHUNK))):
        digest.update(part)
        left -= len(part)
        if tensors:
            parts.append(part)
    if left or file.read() != digest.digest():
        raise Unusable("it is damaged: its checksum is wrong")
    try:
        head = json.loads(line)
        content = head.pop("content")
        header = Header(**{name: kind(head.pop(name)) for name, kind in _KINDS.items()})
        if head or not 0 <= header.step <= header.steps:
            raise ValueError(str(head))
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError):
        raise Unusable("it says what no version of lrsearch writes") from None
    return State(header, content, b"".join(parts) if tensors else b"")


def _measure_first(file: BinaryIO, room: int) -> int:
    """The first bytes of a safetensors file, from which its length follows; 0 where the file is too
    short."""
    length = int.from_bytes(file.read(8), "little")
    file.seek(-8, os.SEEK_CUR)
    return 8 + length if 8 + length <= min(room, _LONGEST) else 0


def _measure(first: bytes) -> int:
    """The length of a safetensors file, from its first bytes; -1 where they are no beginning of
    one."""
    try:
        entries = json.loads(first[8:])
        entries.pop("__metadata__", None)
        return len(first) + max((each["data_offsets"][1] for each in entries.values()), default=0)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return -1


_KINDS: Mapping[str, Any] = {
    **dict.fromkeys(("key", "engine", "device", "torch", "lrsearch"), str),
    **dict.fromkeys(("step", "steps"), int),
}


def read(path: Path | str, *, tensors: bool = True) -> State:
    """The state in a file, with its `tensors` or without; a link is never followed. Raises
    Unusable."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode):
                raise Unusable("it is no file")
            return _unpack(file, found.st_size, tensors=tensors)
    except MemoryError:
        raise Unusable("there is no memory to read it") from None
    except OSError as error:
        raise Unusable(f"it cannot be read: {error.strerror}") from None


def check_counts(*values: object) -> None:
    """Raise Unusable for a count of steps that is none: a checksum holds whatever was written."""
    if not all(type(each) is int and 0 <= each < _MOST for each in values):
        raise Unusable("it counts steps by what is no whole number")


def check_numbers(*values: object, finite: bool = False) -> None:
    """Raise Unusable for a value that is no number, or not a `finite` one where it has to be."""
    for each in values:
        if type(each) is not float and not (type(each) is int and abs(each) < _MOST):
            raise Unusable("it has something else where a number belongs")
        if finite and not math.isfinite(each):
            raise Unusable(f"it has {each} where a finite number belongs")


_MOST = 2**63


def check(header: Header, *, key: str, engine: str, device: str, torch: str) -> None:
    """Raise Unusable, with the difference, where the state is of another training."""
    for what, found, wanted in (
        ("another trial", header.key, key),
        (f"lrsearch {header.lrsearch}", header.lrsearch, __version__),
        (f"torch {header.torch}", header.torch, torch),
        (f"a training on {header.device}", header.device, device),
        (f"the {header.engine} engine", header.engine, engine),
    ):
        if found != wanted:
            raise Unusable(f"it is of {what}")
