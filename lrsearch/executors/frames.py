"""What the driver and its workers say to each other over a pipe.

A frame is a header and a pickle. Events, and `pulse.Alive`, travel as they are; the classes below
are the rest.
"""

from __future__ import annotations

import os
import pickle
import signal
import struct
from dataclasses import dataclass

from lrsearch.trial import Verdict

HEADER = struct.Struct("<8sQQ")
"""Of every frame: `MARK`, the job's handle and the number of bytes that follow, a pickle."""

MARK = b"\xfflrframe"
"""What a frame begins with: anything else in the pipe was written by code that does not know it."""


DEVICE_LOST = 75
"""The exit code of a worker that leaves since it can use its device no more."""
TERMINATED = 128 + signal.SIGTERM
"""Exit code of a worker that was asked to leave by SIGTERM, and by nobody else."""


@dataclass(frozen=True)
class Job:
    """To the worker: run a job. The payload stays pickled until its turn, where it may fail."""

    function: str
    payload: bytes


@dataclass(frozen=True)
class Reply:
    """To the worker: a reply for a job."""

    trial: int
    verdict: Verdict


@dataclass(frozen=True)
class Go:
    """To the worker: hand over what is under way, and go."""


@dataclass(frozen=True)
class Turn:
    """From the worker: the frame's job begins or resumes."""


@dataclass(frozen=True)
class Waiting:
    """From the worker: no job can go on, `received` frames having come in by now."""

    received: int


def frame(handle: int, message: object) -> bytes:
    """A message for a pipe. Raises what pickling raises."""
    body = pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL)
    return HEADER.pack(MARK, handle, len(body)) + body


def write(descriptor: int, data: bytes) -> None:
    """Write all of `data` to a blocking pipe. Raises BrokenPipeError."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
