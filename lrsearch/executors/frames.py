"""Messages between the driver and its workers over a pipe.

A frame is a header and a pickle. Events, and `pulse.Alive`, travel as they are; the classes below
are the rest.
"""

from __future__ import annotations

import os
import pickle
import struct
from dataclasses import dataclass

from lrsearch import forks
from lrsearch.trial import Verdict

HEADER = struct.Struct("<8sQQ")
"""The header of every frame: `MARK`, the job's handle and the number of bytes that follow, a
pickle."""

MARK = b"\xfflrframe"
"""The beginning of every frame: other bytes in the pipe were written by code that does not know
it."""


DEVICE_LOST = 75
"""The exit code of a worker that ends since it can no longer use its device."""
TERMINATED = {128 + number: number for number in forks.ENDING}
"""The exit codes of a worker that a signal, and no message of the driver, asked to leave."""


@dataclass(frozen=True)
class Job:
    """A message to the worker: run a job. The payload stays pickled until the job's turn, where
    unpickling may fail."""

    function: str
    payload: bytes


@dataclass(frozen=True)
class Reply:
    """A message to the worker: a reply for a job."""

    trial: int
    verdict: Verdict


@dataclass(frozen=True)
class Go:
    """A message to the worker: save the trials under way, and leave."""


@dataclass(frozen=True)
class Turn:
    """A message from the worker: the frame's job begins or resumes."""


@dataclass(frozen=True)
class Waiting:
    """A message from the worker: no job can go on; `received` frames had come in by then."""

    received: int


def frame(handle: int, message: object) -> bytes:
    """A message as bytes for a pipe. Raises the errors of pickling."""
    body = pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL)
    return HEADER.pack(MARK, handle, len(body)) + body


def write(descriptor: int, data: bytes) -> None:
    """Write all of `data` to a blocking pipe. Raises BrokenPipeError."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
