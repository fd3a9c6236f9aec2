"""The file of a trial's saved state: data that run nothing, whoever wrote them.

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
from typing import Any

from lrsearch import __version__

MAGIC = b"lrsearch state 1\n"
"""The format's name and number."""

_DIGEST = hashlib.sha256().digest_size


class Unusable(Exception):
    """Why a state cannot be gone on from, in words for a user."""


@dataclass(frozen=True)
class Header:
    """What a state belongs to: the trial's `key`, the `engine` and kind of `device` it trained on,
    the versions of lrsearch and torch. `step` of its `steps` steps are made."""

    key: str
    engine: str
    device: str
    torch: str
    step: int
    steps: int
    lrsearch: str = __version__


@dataclass(frozen=True)
class State:
    """A saved state as it is read: `content` is plain JSON, `tensors` a safetensors file's."""

    header: Header
    content: Any
    tensors: bytes


def pack(header: Header, content: Any, tensors: bytes) -> bytes:
    """The file of a state. Raises what JSON raises for content that is none."""
    head = json.dumps({**asdict(header), "content": content}, separators=(",", ":")).encode()
    digest = hashlib.sha256()
    parts = (MAGIC, head, b"\n", tensors)
    for part in parts:
        digest.update(part)
    return b"".join((*parts, digest.digest()))


def unpack(data: bytes) -> State:
    """The state in a file's bytes. Raises Unusable for what is cut, damaged or of another form."""
    if not data.startswith(MAGIC):
        raise Unusable("it is damaged, or of another version of lrsearch")
    digest = hashlib.sha256(memoryview(data)[:-_DIGEST]).digest()
    if digest != data[-_DIGEST:]:
        raise Unusable("it is damaged: its checksum is wrong")
    end = data.find(b"\n", len(MAGIC))
    try:
        head = json.loads(data[len(MAGIC) : end])
        content = head.pop("content")
        header = Header(**{name: kind(head.pop(name)) for name, kind in _KINDS.items()})
        if head or not 0 <= header.step <= header.steps:
            raise ValueError(str(head))
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError):
        raise Unusable("it says what no version of lrsearch writes") from None
    return State(header, content, data[end + 1 : -_DIGEST])


_KINDS: Mapping[str, Any] = {
    **dict.fromkeys(("key", "engine", "device", "torch", "lrsearch"), str),
    **dict.fromkeys(("step", "steps"), int),
}


def read(path: Path | str) -> State:
    """The state in a file; a link is never followed. Raises Unusable."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise Unusable("it is no file")
            return unpack(file.read())
    except OSError as error:
        raise Unusable(f"it cannot be read: {error.strerror}") from None


def check_counts(*values: object) -> None:
    """Raise Unusable for what counts no steps: a checksum holds whatever was written."""
    if not all(type(each) is int and 0 <= each < _MOST for each in values):
        raise Unusable("it counts steps by what is no whole number")


def check_numbers(*values: object, finite: bool = False) -> None:
    """Raise Unusable for what is no number, or not the `finite` one that it has to be."""
    for each in values:
        if type(each) is not float and not (type(each) is int and abs(each) < _MOST):
            raise Unusable("it has something else where a number belongs")
        if finite and not math.isfinite(each):
            raise Unusable(f"it has {each} where a finite number belongs")


_MOST = 2**63


def check(header: Header, *, key: str, engine: str, device: str, torch: str) -> None:
    """Raise Unusable, with the difference, for the state of another training than this."""
    for what, found, wanted in (
        ("another trial", header.key, key),
        (f"lrsearch {header.lrsearch}", header.lrsearch, __version__),
        (f"torch {header.torch}", header.torch, torch),
        (f"a training on {header.device}", header.device, device),
        (f"the {header.engine} engine", header.engine, engine),
    ):
        if found != wanted:
            raise Unusable(f"it is of {what}")
