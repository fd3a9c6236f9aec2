"""CUDA graphs: a recorded step that is launched as one.

A step that cannot be captured runs operation by operation: slower, with the same results. The
reason is kept, and told.
"""

from __future__ import annotations

import gc
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import torch
from torch import Tensor

from lrsearch.train.device import is_out_of_memory
from lrsearch.train.lanes.draws import Noise
from lrsearch.train.tape import Tape


class Graph:
    """A tape for one layout of its inputs, on a CUDA device. It owns the inputs.

    The first replay runs the operations, on the stream that is captured next: libraries make their
    handles, plans and workspaces, and load their kernels, at the first use in a thread and on a
    stream, which no capture allows. From the second replay on it is one launch. `reason` says why
    it is not, "" where it is or this is not known yet.
    """

    def __init__(self, tape: Tape) -> None:
        self.tape = tape
        self.reason = tape.host or _spoilt.get("reason", "")
        self.captured: torch.cuda.CUDAGraph | None = None
        self.inputs: list[Tensor] = []
        self.outputs: list[Tensor] = []

    def replay(self, *inputs: Tensor) -> list[Tensor]:
        """Run the tape on new inputs; returns its outputs, which the next replay may overwrite.
        Raises out-of-memory errors."""
        if self.captured is not None:
            for own, given in zip(self.inputs, inputs, strict=True):
                own.copy_(given)
            self.captured.replay()
            return self.outputs
        if self.reason:
            return self.tape.replay(*inputs)
        outputs = self._warm_up(inputs)
        self._capture(inputs)
        return outputs

    def _warm_up(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        """Replay without a graph, on the side stream."""
        side, usual = _side_stream(), torch.cuda.current_stream()
        side.wait_stream(usual)
        with torch.cuda.stream(side):
            outputs = self.tape.replay(*inputs)
        usual.wait_stream(side)
        for each in outputs:  # Or their memory might be the side stream's again while it is read.
            if each.is_cuda:
                each.record_stream(usual)
        return outputs

    def _capture(self, inputs: Sequence[Tensor]) -> None:
        self.inputs = [each.clone() for each in inputs]
        try:
            self.captured, self.outputs = _capture(self.tape, self.inputs)
        except RuntimeError as error:
            if is_out_of_memory(error):
                raise
            line = str(error).strip().partition("\n")[0]
            self.reason = f"its capture as a graph raised {type(error).__name__}: {line}"
            self.inputs = []
            _recover()


_streams: dict[int, torch.cuda.Stream] = {}
"""The stream that graphs are captured on, by device: one, since each stream has workspaces of its
own."""

_failed: list[torch.cuda.CUDAGraph] = []
"""Graphs whose capture failed, kept since allocators may go on asking them which memory is
theirs."""

_spoilt: dict[str, str] = {}
"""The reason why this process captures no more, under "reason"."""


def _side_stream() -> torch.cuda.Stream:
    device = torch.cuda.current_device()
    if device not in _streams:
        _streams[device] = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    return _streams[device]


def _capture(tape: Tape, inputs: Sequence[Tensor]) -> tuple[torch.cuda.CUDAGraph, list[Tensor]]:
    """Capture a graph of a tape; returns it with the outputs that it fills at each replay. Raises
    the first error: `torch.cuda.graph` would raise that the capture has failed, and leave its
    stream and its pool of memory in force."""
    graph, pool = torch.cuda.CUDAGraph(), torch.cuda.graph_pool_handle()
    torch.cuda.synchronize()
    # While something is captured the allocator gives nothing back, and its pool takes no other's.
    torch.cuda.empty_cache()
    with torch.no_grad(), torch.cuda.stream(_side_stream()), _no_collection():
        try:
            # Other threads may go on, such as the one that pins the memory of batches.
            graph.capture_begin(pool=pool, capture_error_mode="thread_local")
            outputs = tape.run(*inputs)
        except BaseException:
            _abandon(graph, pool)
            raise
        try:
            graph.capture_end()
        except RuntimeError:
            _abandon(graph, pool)
            raise
    return graph, outputs


def _abandon(graph: torch.cuda.CUDAGraph, pool: tuple[int, int]) -> None:
    """End a capture that failed, within it or at its end, and let its memory go."""
    with suppress(RuntimeError):
        graph.capture_end()
        return
    try:
        graph.pool()
    except RuntimeError:  # It never came to its end, where it would have let its pool go.
        _failed.append(graph)
        device = torch.cuda.current_device()
        for name in ("_cuda_endAllocateToPool", "_cuda_releasePool"):
            with suppress(RuntimeError, AttributeError):  # Not every version of torch has both.
                getattr(torch._C, name)(device, pool)
    else:  # It ended, and memory was short for what is launched: its own is needed for the next.
        with suppress(RuntimeError):
            graph.reset()


def _recover() -> None:
    """Capture a plain operation after a failure: some versions of torch keep the global generator
    in capture until one has succeeded. Where this fails, too, no more is captured."""
    try:
        number = torch.zeros(1, device="cuda")
        plain = Tape(lambda each: [each.add_(1.0)], "", 1, 0)
        graph, _ = _capture(plain, [number])
        graph.replay()
        torch.cuda.synchronize()
        if float(number) != 1.0:
            raise RuntimeError("a captured sum is wrong")
    except RuntimeError as error:
        if is_out_of_memory(error):
            raise
        line = str(error).strip().partition("\n")[0]
        _spoilt["reason"] = f"captures fail in this process since one has failed: {line}"


@contextmanager
def _no_collection() -> Iterator[None]:
    """Turn garbage collection off within a capture: collected objects might free memory of the
    device."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@dataclass(eq=False)
class Recorded:
    """A step for one layout of its inputs; `graph` where the device has graphs."""

    tape: Tape
    noise: Noise
    graph: Graph | None = None

    @property
    def captured(self) -> torch.cuda.CUDAGraph | None:
        """The captured graph of the step, or None before its capture."""
        return None if self.graph is None else self.graph.captured

    def replay(self, *inputs: Tensor) -> list[Tensor]:
        """Draw the noise of a step, and make the step on new inputs, shaped as at its recording;
        returns its outputs, which the next replay may overwrite."""
        self.noise.draw()
        return (self.graph or self.tape).replay(*inputs)


AHEAD = 64
"""Steps that a GPU may be behind its host. So many keep it busy; a host that is further on cannot
tell that the training goes on, how long a step takes, or leave when it is asked to."""


class Lead:
    """The host's lead over a GPU, which is kept from growing."""

    def __init__(self, device: torch.device) -> None:
        self.limited = device.type == "cuda"
        self._made: deque[torch.cuda.Event] = deque()

    def keep(self) -> None:
        """Note that a step was launched, and wait for one that was long before, if need be."""
        if not self.limited:
            return
        if len(self._made) < AHEAD:
            event = torch.cuda.Event()  # type: ignore[no-untyped-call]
        else:
            event = self._made.popleft()
            event.synchronize()
        event.record()
        self._made.append(event)


def fewest_lanes(device: torch.device) -> int:
    """The fewest lanes of a program that trains. One where its step is a CUDA graph, a single
    launch for any number of lanes. Elsewhere two, of which one may be empty: a CPU takes other
    kernels for the products of a single lane, so that a result would depend on whether other trials
    train beside it."""
    return 1 if device.type == "cuda" else 2


def replayable(tape: Tape, noise: Noise, device: torch.device) -> Recorded:
    """A tape and the noise it reads, with a graph where the device has graphs."""
    return Recorded(tape, noise, Graph(tape) if device.type == "cuda" else None)
