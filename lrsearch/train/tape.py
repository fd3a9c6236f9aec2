"""A program recorded once as a flat list of tensor operations, and replayed without Python's
modules, without autograd and without functorch, whose bookkeeping is most of a small step.

Recording runs the function for real and notes every ATen operation below autograd and vmap.
Replaying calls the same operations in the same order: on the tensors that stay (`static`:
parameters, optimizer state, data), on new inputs, and on intermediate results. What depends on none
of these, as a mask or a position, is made once. A function whose replay could differ from running
it again is refused while recording.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
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
    it by itself: which operation uses the CPU, "" for none. A `low` one rounds results to 16
    bits."""

    run: Callable[..., list[Tensor]]
    source: str
    operations: int
    bytes: int
    host: str = ""
    low: bool = False

    def replay(self, *inputs: Tensor) -> list[Tensor]:
        """The outputs for new inputs, of the same shapes as those it was recorded with."""
        with torch.no_grad():
            return self.run(*inputs)


def record(
    function: Function, inputs: Sequence[Tensor], static: Sequence[Tensor]
) -> tuple[Tape, list[Tensor]]:
    """Run `function(*inputs)` and record it; returns the tape, and the outputs of this first run.

    `static` are the tensors it reads or changes in place that stay the same objects in memory.
    Raises NotRecordable where the function reads values on the host, or has shapes that depend on
    values, and these are not the same each time, where it draws random numbers, changes a tensor in
    place that is neither its own nor static, or changes a static one's shape.
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
    argument; one that `reshapes` changes an argument's shape; one that `fills` reads no values; a
    `fixed` one gives the same for the same; `unsaid` are the places of arguments that it writes to
    and its schema does not say so."""

    refusals: list[str]
    writes: list[tuple[int, str]]
    view: bool
    same: bool
    reshapes: bool
    fills: bool
    fixed: bool
    unsaid: Sequence[int]


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
        func.overloadpacket in _FILLING,
        func.namespace == "aten" and func.overloadpacket not in _UNFILLED,
        _CHANGING.get(func.overloadpacket, ()),
    )


_FILLING = {
    *(torch.ops.aten.zeros_like, torch.ops.aten.ones_like, torch.ops.aten.full_like),
    *(torch.ops.aten.new_zeros, torch.ops.aten.new_ones, torch.ops.aten.new_full),
}
"""Operations that take of a tensor its shape, type and device alone."""

_UNFILLED = {
    *(torch.ops.aten.empty, torch.ops.aten.empty_like, torch.ops.aten.empty_strided),
    *(torch.ops.aten.new_empty, torch.ops.aten.new_empty_strided, torch.ops.aten.empty_permuted),
    torch.ops.aten._efficientzerotensor,
}
"""Operations whose results have no values yet."""

_INDEXING = {
    *(torch.ops.aten.index, torch.ops.aten.index_put, torch.ops.aten.index_put_),
    torch.ops.aten._index_put_impl_,
}
"""Operations that choose by a list of indices, each numbers or a mask."""

_LIFTING = (torch.ops.aten.lift_fresh.default,)
"""The operation by which `torch.tensor` makes one of numbers."""

_CHANGING = {
    torch.ops.aten.native_batch_norm: (3, 4),
    torch.ops.aten.cudnn_batch_norm: (3, 4),
    torch.ops.aten.miopen_batch_norm: (3, 4),
    torch.ops.aten.batch_norm_gather_stats: (3, 4),
    torch.ops.aten.batch_norm_gather_stats_with_counts: (3, 4),
    torch.ops.aten.batch_norm_update_stats: (1, 2),
}
"""Places of arguments that are written to, and the schemas do not say so."""


@dataclass(frozen=True, eq=False)
class _Line:
    """A noted operation: its source text, its `results` by their names, the names of the tensors
    that it `reads`, and of those whose values it `needs`. A `fixed` one has the same results each
    time, as long as the tensors it reads are the same. `host` says how it uses the CPU; `brought`
    are then the tensors, by name, that it brings from there, where they are the same each time."""

    text: str
    results: dict[str, Any]
    reads: frozenset[str]
    needs: Sequence[str]
    fixed: bool
    brought: dict[str, Tensor] | None
    host: str


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
        self.bytes, self.low = 0, False
        self.away = any(each.device.type != "cpu" for each in (*inputs, *static))
        self.lasting = {_memory(each) for each in static}
        self.given = {_memory(each) for each in inputs}
        self.fixed: set[int] = set()
        """Memories of what has the same values each time, unless it is changed in place."""
        self.changed: set[int] = set()
        """Memories that are changed in place."""
        self.varied: set[int] = set()
        """Memories that are given other values each time, in place."""
        self.numbers = itertools.count()
        self.lines: list[_Line] = []
        self.used: list[str] = []
        """The names in the line that is being noted."""
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
            if not (_drops_nothing(func, args) or self._reads_what_stays(func, args, kwargs)):
                raise NotRecordable(reason.format(name=func))
        if func.overloadpacket in _INDEXING:
            args = (args[0], self._by_numbers(args[1]), *args[2:])
        out = func(*args, **kwargs)
        self.note(func, kind, args, kwargs, out)
        return out

    def _by_numbers(self, indices: Sequence[Tensor | None]) -> list[Tensor | None]:
        """Indices without masks that are the same each time, but by the places where these are
        true: a GPU would be waited for to count them, which no graph can be captured with."""
        found: list[Tensor | None] = []
        for each in indices:
            mask = each is not None and each.dtype in (torch.bool, torch.uint8) and each.dim() > 0
            if each is None or not mask or not self._is_steady(each):
                found.append(each)
                continue
            places = each.nonzero()
            self.fixed.add(_memory(places))
            found += places.unbind(1)
        return found

    def note(
        self, func: OpOverload, kind: Kind, args: Any, kwargs: Mapping[str, Any], out: Any
    ) -> None:
        self.seen.append((args, kwargs, out))
        outputs = _tensors(out)
        for each in outputs:
            if each.layout is not torch.strided:
                raise NotRecordable(f"it has sparse tensors ({func})")
        written = _written(kind, args, kwargs)
        for each in written:
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
        reads = [*_tensors(args), *_tensors(kwargs)]
        # What an operation of others does to its arguments, it alone knows.
        written += reads if func.namespace != "aten" else _tensors([args[at] for at in kind.unsaid])
        self.changed.update(_memory(each) for each in written)
        if not (kind.fixed and all(map(self._is_steady, reads))):
            self.varied.update(_memory(each) for each in written)
        if kind.view and all(self._stays(each) for each in reads):
            if func in _LIFTING:
                self.fixed.add(_memory(out))
            if func not in _LIFTING or (self.away and out.device.type == "cpu"):
                return  # A view of what stays is made once, here, and stays itself.
            # Its numbers are kept aside: a replay may change what is made of them.
            func, args = torch.ops.aten.clone.default, (out.clone(),)
        if kind.same:
            self.names[id(out)] = self._name(args[0])
            return
        fixed = kind.fixed and not written
        if fixed and not kind.fills:
            fixed = all(map(self._is_steady, reads))
        for each in outputs:
            memory = _memory(each)
            self.low |= each.dtype in (torch.bfloat16, torch.float16)
            if memory not in self.renewed and memory not in self.lasting:
                self.renewed.add(memory)
                self.bytes += each.untyped_storage().nbytes()
            if fixed:
                self.fixed.add(memory)
        host = self.away and _touches_host(func, reads, outputs)
        self.used = []
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
            if isinstance(each, Tensor):
                self.names[id(each)] = names[-1]
        self.lines.append(
            _Line(
                f"{', '.join(names)}{',' if several else ''} = {self._constant('f', func)}({call})",
                dict(zip(names, out if several else [out], strict=True)),
                frozenset(self.used),
                () if kind.fills else tuple(self.used),
                fixed,
                self._brought(func, reads, outputs) if host else None,
                f"it uses the CPU within a step ({func})" if host else "",
            )
        )

    def _reads_what_stays(self, func: OpOverload, args: Any, kwargs: Mapping[str, Any]) -> bool:
        """Whether an operation whose result, or its shape, depends on values reads only values that
        are the same each time, or none. The backward of a CTC loss alone takes such a result, so
        that this loss counts, too."""
        if torch.Tag.nondeterministic_seeded in func.tags:
            return False
        reads = [*_tensors(args), *_tensors(kwargs)]
        if func is torch.ops.aten.index.Tensor:
            reads = [each for each in _tensors(args[1]) if each.dtype in (torch.bool, torch.uint8)]
        return func.overloadpacket is torch.ops.aten._ctc_loss or all(map(self._is_steady, reads))

    def _is_steady(self, tensor: Tensor) -> bool:
        """Whether a tensor's values are the same each time. Those on an accelerator from before the
        recording may be changed by other code."""
        memory = _memory(tensor)
        return memory not in self.varied and (memory in self.fixed or self._is_kept(tensor))

    def _is_kept(self, tensor: Tensor) -> bool:
        """Whether a tensor was in the host's memory before the recording, and is not one of the
        lasting ones: a table in an attribute of a module, say. Code that changes such a tensor is
        refused elsewhere, since it remembers something."""
        kept = tensor.device.type == "cpu" and self._stays(tensor)
        return kept and _memory(tensor) not in self.lasting

    def _stays(self, tensor: Tensor) -> bool:
        return id(tensor) not in self.names and _memory(tensor) not in self.renewed

    def _brought(
        self, func: OpOverload, reads: Sequence[Tensor], outputs: Sequence[Tensor]
    ) -> dict[str, Tensor] | None:
        """The CPU's tensors that an operation brings to the accelerator, where they are the same
        each time, by name; else None."""
        here = [each for each in reads if each.device.type == "cpu"]
        there = bool(outputs) and all(each.device.type != "cpu" for each in outputs)
        same = (_memory(each) in self.fixed or self._is_kept(each) for each in here)
        if func in (*_CHECKED, *_COUNTED) or not there or not all(same):
            return None
        return {self._name(each): each for each in here}

    def _name(self, tensor: Tensor) -> str:
        name = self.names.get(id(tensor))
        if name is not None:
            self.used.append(name)
            return name
        if _memory(tensor) in self.renewed:
            if tensor._is_zerotensor():  # Made for forward derivatives, of views nobody tells of.
                return self._constant("c", tensor)
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
        # Its reader may change what is handed out.
        self.changed.update(_memory(each) for each in outputs)
        scope: dict[str, Any] = dict(self.constants.values())
        lines, host = self._divide(scope)
        last = {name: at for at, line in enumerate(lines) for name in (*line.results, *line.reads)}
        dead: dict[int, list[str]] = {}
        for name, at in last.items():
            if name not in results and name not in scope and name.startswith("v"):
                dead.setdefault(at, []).append(name)
        inputs = ", ".join(f"input{position}" for position in range(len(self.inputs)))
        body = [f"def run({inputs}):"]
        for at, line in enumerate(lines):
            body.append(f"    {line.text}")
            if at in dead:  # Memory is given back as soon as autograd would, or sooner.
                body.append(f"    del {', '.join(dead[at])}")
        body.append(f"    return [{', '.join(results)}]")
        source = "\n".join(body)
        exec(_compiled(source), scope)
        # Out of its own globals: in a circle the tensors would wait for the garbage collector.
        return Tape(scope.pop("run"), source, len(lines), self.bytes, host, self.low)

    def _divide(self, scope: dict[str, Any]) -> tuple[list[_Line], str]:
        """The lines to run at each replay, and where these use the CPU; what the others have made
        goes into the scope."""
        made: dict[str, Any] = {}
        lines: list[_Line] = []
        for line in self.lines:
            own = {_memory(each) for each in _tensors(line.results)}
            if line.fixed and made.keys() >= {*line.needs} and not own & self.changed:
                made |= line.results
            else:
                lines.append(line)
        host = ""
        for at, line in enumerate(lines):
            if line.host and (line.brought is None or not {*line.brought} <= {*made, *scope}):
                host = host or line.host
            elif line.host and line.brought:
                lines[at] = _bring(line, scope)
        for line in lines:
            scope.update({name: made[name] for name in line.reads & made.keys()})
        return lines, host


def _bring(line: _Line, scope: dict[str, Any]) -> _Line:
    """The same operation on copies, made once, of the CPU's tensors that it reads."""
    assert line.brought is not None
    (device,) = {each.device for each in _tensors(line.results)}
    text = line.text
    for name, each in line.brought.items():
        scope[f"{name}_there"] = each.to(device)
        text = re.sub(rf"\b{name}\b", f"{name}_there", text)
    return replace(line, text=text, reads=line.reads - line.brought.keys())


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
    if func in _CHECKED or (func in _COUNTED and reads[-1].device.type != "cpu"):
        return True
    here = [each for each in (*reads, *outputs) if each.device.type == "cpu"]
    if any(each.dim() for each in here):
        return True
    both = 0 < len(here) < len(reads) + len(outputs)
    return both and (func in _COPYING or any(each.device.type == "cpu" for each in outputs))


_CHECKED = (
    torch.ops.aten._linalg_check_errors.default,
    *(torch.ops.aten._linalg_svd.default, torch.ops.aten._linalg_eigh.default),
    *(torch.ops.aten.linalg_eig.default, torch.ops.aten.linalg_matrix_exp.default),
    *(torch.ops.aten._ctc_loss.default, torch.ops.aten._ctc_loss.Tensor),
    # These call others of them where no mode sees it.
    *(torch.ops.aten.cholesky.default, torch.ops.aten.cholesky_inverse.default),
    torch.ops.aten.linalg_pinv.atol_rtol_tensor,
)
"""Operations that read their tensors on the host, wherever these are."""
_COUNTED = (
    *(torch.ops.aten.masked_fill.Tensor, torch.ops.aten.masked_fill_.Tensor),
    *(torch.ops.aten.index_fill.int_Tensor, torch.ops.aten.index_fill_.int_Tensor),
)
"""Operations that read their last argument, a number, on the host."""
_COPYING = (
    torch.ops.aten._to_copy.default,
    torch.ops.aten.copy_.default,
    torch.ops.aten.index_put.default,
    torch.ops.aten.index_put_.default,
    torch.ops.aten._index_put_impl_.default,
    torch.ops.aten.where.self,  # Which takes a number on the CPU, and copies it itself.
)


def _drops_nothing(func: OpOverload, args: Any) -> bool:
    """Whether an operation is an attention without dropout, which draws no random numbers."""
    flash = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu.default
    return func is flash and (len(args) < 4 or args[3] == 0.0)
