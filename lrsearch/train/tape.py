"""A program recorded once as a flat list of tensor operations, and replayed without Python's
modules, without autograd and without functorch, whose bookkeeping is most of a small step.

Recording runs the function for real and notes every ATen operation below autograd and vmap.
Replaying calls the same operations in the same order: on the tensors that stay (`static`:
parameters, optimizer state, data), on new inputs, and on intermediate results. A function whose
replay could differ from running it again is refused while recording.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import CodeType
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode, _get_current_dispatch_mode_stack

Function = Callable[..., Sequence[Tensor]]


class NotRecordable(Exception):
    """Raised for a function whose replay would be wrong; the reason, in words for the user."""


@dataclass(frozen=True, eq=False)
class Tape:
    """A recorded program. `operations` is the number of operations of a replay, `bytes` the memory
    of all its intermediate results, though not at once. `host` says why an accelerator cannot run
    it by itself: which operation uses the CPU, "" for none."""

    run: Callable[..., list[Tensor]]
    source: str
    operations: int
    bytes: int
    host: str = ""

    def replay(self, *inputs: Tensor) -> list[Tensor]:
        """The outputs for new inputs, of the same shapes as those it was recorded with."""
        with torch.no_grad():
            return self.run(*inputs)


def record(
    function: Function, inputs: Sequence[Tensor], static: Sequence[Tensor]
) -> tuple[Tape, list[Tensor]]:
    """Run `function(*inputs)` and record it; returns the tape, and the outputs of this first run.

    `static` are the tensors it reads or changes in place that stay the same objects in memory.
    Raises NotRecordable where the function reads values on the host, has shapes that depend on
    values, draws random numbers, changes a tensor in place that is neither its own nor static, or
    changes a static one's shape.
    """
    recorder = _Recorder(inputs, static)
    with recorder:
        outputs = list(function(*inputs))
    return recorder.finish(outputs), outputs


@contextlib.contextmanager
def unrecorded() -> Iterator[None]:
    """Run the block now, without recording it: a replay leaves it out."""
    before, _Recorder.paused = _Recorder.paused, True
    try:
        yield
    finally:
        _Recorder.paused = before


def renewed(tensor: Tensor) -> None:
    """Tell the running recording that a tensor is filled anew before each replay: it may be changed
    in place, like a static one."""
    for mode in _get_current_dispatch_mode_stack():
        if isinstance(mode, _Recorder):
            mode.seen.append(tensor)
            mode.lasting.add(_memory(tensor))


_REFUSED = {
    torch.Tag.data_dependent_output: "it reads values back from tensors, as .item() does ({name})",
    torch.Tag.dynamic_output_shape: "the shape of a result depends on values ({name})",
    torch.Tag.nondeterministic_seeded: "it draws random numbers that no lane could repeat ({name})",
}


@dataclass(frozen=True, eq=False)
class Kind:
    """Properties of an operation: `refusals` are the reasons against it, unless it is one of the
    sound kinds; `writes` the places and names of the arguments that it writes to; the results of a
    `view` share an argument's memory, and nothing is written; `same` is one whose result is its
    argument; one that `reshapes` changes an argument's shape."""

    refusals: list[str]
    writes: list[tuple[int, str]]
    view: bool
    same: bool
    reshapes: bool


@functools.cache
def kind_of(func: OpOverload) -> Kind:
    """The properties of an operation."""
    returns = func._schema.returns
    return Kind(
        [reason for tag, reason in _REFUSED.items() if tag in func.tags],
        [
            (position, argument.name)
            for position, argument in enumerate(func._schema.arguments)
            if argument.alias_info is not None and argument.alias_info.is_write
        ],
        bool(returns)
        and all(each.alias_info is not None and not each.alias_info.is_write for each in returns),
        func in (torch.ops.aten.detach.default, torch.ops.aten.alias.default),
        torch.Tag.inplace_view in func.tags,
    )


@functools.lru_cache(maxsize=64)
def _compiled(source: str) -> CodeType:
    """The code of a recording. To compile it takes as long as some replays, and cohorts of one
    structure have the same."""
    return compile(source, "<tape>", "exec")


def _memory(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)


class _Recorder(TorchDispatchMode):
    paused = False

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        # Else its first operation would import torch._dynamo, which takes over a second.
        return False

    def __init__(self, inputs: Sequence[Tensor], static: Sequence[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.inputs = inputs
        # Everything seen stays alive until the tape is done: ids and addresses are not reused.
        self.seen: list[object] = [inputs, static]
        self.names: dict[int, str] = {}
        self.constants: dict[int, tuple[str, object]] = {}
        """Names and values of the source's constants, by the values' ids. They are numbered: two
        recordings of one structure have one source."""
        self.renewed: set[int] = set()
        self.bytes = 0
        self.host = ""
        self.away = any(each.device.type != "cpu" for each in (*inputs, *static))
        self.lasting = {_memory(each) for each in static}
        self.given = {_memory(each) for each in inputs}
        self.numbers = itertools.count()
        self.lines: list[str] = []
        self.last: dict[str, int] = {}
        """The line at which each of the results' names is last used."""
        for position, each in enumerate(inputs):
            self.names[id(each)] = f"input{position}"
            self.renewed.add(_memory(each))

    def __torch_dispatch__(
        self, func: OpOverload, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if _Recorder.paused:
            return func(*args, **kwargs)
        kind = kind_of(func)
        for reason in kind.refusals:
            if not (_picks_by_number(func, args) or _drops_nothing(func, args)):
                raise NotRecordable(reason.format(name=func))
        out = func(*args, **kwargs)
        self.note(func, kind, args, kwargs, out)
        return out

    def note(
        self, func: OpOverload, kind: Kind, args: Any, kwargs: Mapping[str, Any], out: Any
    ) -> None:
        self.seen.append((args, kwargs, out))
        outputs = _tensors(out)
        for each in outputs:
            if each.layout is not torch.strided:
                raise NotRecordable(f"it has sparse tensors ({func})")
        for each in _written(kind, args, kwargs):
            memory = _memory(each)
            if memory in self.given:
                raise NotRecordable(f"it changes its input in place ({func})")
            if memory not in self.renewed and memory not in self.lasting:
                raise NotRecordable(
                    "it changes a tensor in place that is neither parameter, buffer nor its own "
                    f"({func})"
                )
            name = self.names.get(id(each), "")
            if kind.reshapes and [*self.names.values()].count(name) != 1:
                # A constant would be changed by every replay, and all views of it.
                raise NotRecordable(f"it changes the shape of a tensor in place ({func})")
        if kind.view or (self.away and not self.host):
            reads = [*_tensors(args), *_tensors(kwargs)]
            if self.away and not self.host and _touches_host(func, reads, outputs):
                self.host = f"it uses the CPU within a step ({func})"
            if kind.view and all(self._stays(each) for each in reads):
                return  # A view of what stays is made once, here, and stays itself.
        if kind.same:
            self.names[id(out)] = self._name(args[0], used=False)
            return
        for each in outputs:
            memory = _memory(each)
            if memory not in self.renewed and memory not in self.lasting:
                self.renewed.add(memory)
                self.bytes += each.untyped_storage().nbytes()
        call = ", ".join(
            [
                *(self._text(each) for each in args),
                *(f"{key}={self._text(each)}" for key, each in kwargs.items()),
            ]
        )
        names = []
        several = isinstance(out, _SEQUENCES)
        for each in out if several else [out]:
            names.append(f"v{next(self.numbers)}")
            self.last[names[-1]] = len(self.lines)
            if isinstance(each, Tensor):
                self.names[id(each)] = names[-1]
        target = ", ".join(names) + ("," if several else "")
        self.lines.append(f"{target} = {self._constant('f', func)}({call})")

    def _stays(self, tensor: Tensor) -> bool:
        return id(tensor) not in self.names and _memory(tensor) not in self.renewed

    def _name(self, tensor: Tensor, *, used: bool = True) -> str:
        name = self.names.get(id(tensor))
        if name is not None:
            if used and name in self.last:
                self.last[name] = len(self.lines)
            return name
        if _memory(tensor) in self.renewed:
            # Another object over memory that a replay makes anew.
            raise NotRecordable("it makes a tensor by ways that cannot be recorded")
        return self._constant("c", tensor)

    def _constant(self, kind: str, value: object) -> str:
        name, _ = self.constants.setdefault(id(value), (f"{kind}{len(self.constants)}", value))
        return name

    def _text(self, value: object) -> str:
        if isinstance(value, Tensor):
            return self._name(value)
        if isinstance(value, _SEQUENCES):
            return "[" + ", ".join(self._text(each) for each in value) + "]"
        if value is None or type(value) in (int, bool):
            return repr(value)
        return self._constant("k", value)  # Floats too: inf and nan have no literal.

    def finish(self, outputs: Sequence[Tensor]) -> Tape:
        results = [self._name(each) for each in outputs]
        kept = set(results)
        dead: dict[int, list[str]] = {}
        for name, at in self.last.items():
            if name not in kept:
                dead.setdefault(at, []).append(name)
        inputs = ", ".join(f"input{position}" for position in range(len(self.inputs)))
        body = [f"def run({inputs}):"]
        for at, line in enumerate(self.lines):
            body.append(f"    {line}")
            if at in dead:  # Memory is given back as soon as autograd would, or sooner.
                body.append(f"    del {', '.join(dead[at])}")
        body.append(f"    return [{', '.join(results)}]")
        source = "\n".join(body)
        scope: dict[str, Any] = dict(self.constants.values())
        exec(_compiled(source), scope)
        # Out of its own globals: in a circle the tensors would wait for the garbage collector.
        return Tape(scope.pop("run"), source, len(self.lines), self.bytes, self.host)


_SEQUENCES = (list, tuple)
_TREES = (list, tuple, dict)


def _tensors(value: object) -> list[Tensor]:
    """The tensors among an operation's arguments or results, which are no other trees than lists,
    tuples and mappings."""
    if isinstance(value, Tensor):
        return [value]
    found = []
    if isinstance(value, _TREES):
        for each in value.values() if isinstance(value, dict) else value:
            if isinstance(each, Tensor):
                found.append(each)
            elif isinstance(each, _TREES):
                found += _tensors(each)
    return found


def _written(kind: Kind, args: Any, kwargs: Mapping[str, Any]) -> list[Tensor]:
    """The tensors that an operation writes to."""
    return [
        each
        for position, name in kind.writes
        for each in _tensors(args[position] if position < len(args) else kwargs.get(name))
    ]


def _touches_host(func: OpOverload, reads: Sequence[Tensor], outputs: Sequence[Tensor]) -> bool:
    """Whether the host takes part in an operation of a step on an accelerator. A number on the CPU
    is an argument of a kernel, unless it is copied; an array of numbers is copied."""
    if func in _CHECKED:
        return True
    here = [each for each in (*reads, *outputs) if each.device.type == "cpu"]
    if any(each.dim() for each in here):
        return True
    both = 0 < len(here) < len(reads) + len(outputs)
    return both and (func in _COPYING or any(each.device.type == "cpu" for each in outputs))


_CHECKED = (torch.ops.aten._linalg_check_errors.default,)
_COPYING = (
    torch.ops.aten._to_copy.default,
    torch.ops.aten.copy_.default,
    torch.ops.aten.index_put.default,
    torch.ops.aten.index_put_.default,
    torch.ops.aten._index_put_impl_.default,
    torch.ops.aten.where.self,  # Which takes a number on the CPU, and copies it itself.
)


def _picks_by_number(func: OpOverload, args: Any) -> bool:
    """Whether an operation is an indexing without a mask: its result's shape then follows from the
    indices' shapes."""
    masks = (torch.bool, torch.uint8)
    return func is torch.ops.aten.index.Tensor and all(
        each is None or each.dtype not in masks for each in args[1]
    )


def _drops_nothing(func: OpOverload, args: Any) -> bool:
    """Whether an operation is an attention without dropout, which draws no random numbers."""
    flash = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu.default
    return func is flash and (len(args) < 4 or args[3] == 0.0)
