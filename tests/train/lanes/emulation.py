"""CUDA graphs without a GPU: what a capture and a replay do to memory, and what they do not."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode

from lrsearch.train import tape as taping
from lrsearch.train.engines import fused
from lrsearch.train.lanes import evaluation, graphs, program, rows, rules
from lrsearch.train.lanes.draws import Noise
from lrsearch.train.lanes.graphs import Graph, Recorded
from lrsearch.train.models import validation
from lrsearch.train.tape import Tape


class EmulatedGraph(TorchDispatchMode):
    """A graph of operations on the CPU. As on a GPU nothing is computed while it is captured (what
    there would be is nan), and each replay computes all of it in the memory that it had then."""

    made: ClassVar[list[EmulatedGraph]] = []
    room: ClassVar[float] = math.inf
    """Bytes that a capture may make."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # Else it is imported, which takes over a second.

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Callable[..., Any], Any, Any, list[Tensor]]] = []
        self.replays = self.bytes = 0
        EmulatedGraph.made.append(self)

    def capture_begin(self, pool: object, capture_error_mode: str) -> None:
        self.__enter__()

    def capture_end(self) -> None:
        self.__exit__(None, None, None)

    def __torch_dispatch__(
        self, func: OpOverload, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs, kind = kwargs or {}, taping.kind_of(func)
        if kind.view or kind.reshapes:
            return func(*args, **kwargs)
        by_places = func is torch.ops.aten.index.Tensor and not any(
            each.dtype in (torch.bool, torch.uint8) for each in taping._tensors(args[1])
        )
        if kind.refusals and not by_places and not taping._drops_nothing(func, args):
            # It would have the host wait, or draw.
            raise RuntimeError(f"operation not permitted when stream is capturing ({func})")
        written = _written(func, args, kwargs)
        before = [each.clone() for each in written]
        out = func(*args, **kwargs)
        for each, own in zip(written, before, strict=True):
            each.copy_(own)
        fresh = [each for each in taping._tensors(out) if not any(each is own for own in written)]
        self.bytes += sum(each.nbytes for each in fresh)
        if self.bytes > EmulatedGraph.room:
            raise torch.OutOfMemoryError("CUDA out of memory")
        for each in fresh:
            each.fill_(torch.nan if each.is_floating_point() else 0)
        self.calls.append((func, args, kwargs, fresh))
        return out

    @torch.no_grad()
    def replay(self) -> None:
        self.replays += 1
        for func, args, kwargs, fresh in self.calls:
            written = _written(func, args, kwargs)
            found = taping._tensors(func(*args, **kwargs))
            new = [each for each in found if not any(each is own for own in written)]
            for own, each in zip(fresh, new, strict=True):
                own.copy_(each)


def _written(func: OpOverload, args: Any, kwargs: Any) -> list[Tensor]:
    """The tensors that an operation changes: batch norm's statistics, too, of which it says
    nothing."""
    own = args[3:5] if func is torch.ops.aten.native_batch_norm.default else ()
    return [*taping._written(taping.kind_of(func), args, kwargs), *taping._tensors(own)]


class Stream:
    """The only one there is."""

    def wait_stream(self, other: Stream) -> None:
        """Do nothing: operations are over when they return."""


def emulate(monkeypatch: pytest.MonkeyPatch) -> list[EmulatedGraph]:
    """Have steps captured on the CPU, and all else made there as it is on a GPU: parameters and
    gradients in rows, batch norm and pooling of all lanes together. Returns the graphs made from
    now on."""
    stream = Stream()

    def replayable(tape: Tape, noise: Noise, device: torch.device) -> Recorded:
        return Recorded(tape, noise, Graph(tape))

    def entered(_: object) -> AbstractContextManager[None]:
        return nullcontext()

    for module in (program, evaluation):
        monkeypatch.setattr(module, "replayable", replayable)
    monkeypatch.setattr(fused, "fewest_lanes", lambda device: 1)
    for owner, name in ((rows, "KINDS"), (rules, "TOGETHER"), (validation, "HALVING")):
        monkeypatch.setattr(owner, name, ("cpu",))
    for name, value in {
        "CUDAGraph": EmulatedGraph,
        "graph_pool_handle": lambda: (0, 1),
        "synchronize": lambda: None,
        "empty_cache": lambda: None,
        "current_stream": lambda: stream,
        "stream": entered,
    }.items():
        monkeypatch.setattr(torch.cuda, name, value)
    monkeypatch.setattr(graphs, "_side_stream", lambda: stream)
    monkeypatch.setattr(graphs, "_recover", lambda: None)
    monkeypatch.setattr(EmulatedGraph, "made", [])
    monkeypatch.setattr(EmulatedGraph, "room", math.inf)
    return EmulatedGraph.made
