"""Plain PyTorch for which vmap over lanes has no rule: autograd within a step, functions that are
differentiated by hand, `.data`, tensors that are filled in place. Lanes are independent, so what is
taken of all of them at once is each lane's own."""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from torch._functorch.autograd_function import custom_function_call
from torch._functorch.pyfunctorch import temporarily_clear_interpreter_stack
from torch._functorch.utils import enable_single_level_autograd_function
from torch.autograd import Function
from torch.autograd import function as functions
from torch.distributions import Distribution
from torch.func import vmap
from torch.utils import checkpoint as checkpointing

from lrsearch.train.tape import NotRecordable

SHARED = "it takes gradients of what all lanes share"


def level_of_lanes() -> int | None:
    """The level of the lanes' vmap, where no other transform is in force."""
    stack = torch._C._functorch.get_interpreter_stack() or []
    only = stack[0] if len(stack) == 1 else None
    if only is None or only.key() != torch._C._functorch.TransformType.Vmap:
        return None
    return int(only.level())


def count_lanes() -> int:
    """The number of lanes that code is mapped over now."""
    top = torch._C._functorch.peek_interpreter_stack()
    return int(torch._C._functorch.CVmapInterpreterPtr(top).batchSize())


def axis_of(tensor: Tensor) -> int | None:
    """The dimension of the lanes in the tensor of them all; None of a tensor that they share."""
    if torch._C._functorch.maybe_get_level(tensor) < 0:
        return None
    return int(torch._C._functorch.maybe_get_bdim(tensor))


def whole_of(tensor: Tensor) -> Tensor:
    """The tensor of all lanes."""
    return tensor if axis_of(tensor) is None else torch._C._functorch.get_unwrapped(tensor)


# what is mapped


def _uncompiled() -> contextlib.AbstractContextManager[object]:
    """Context in which what torch.compile was given runs as it was written: a recording needs no
    compiler. Where nothing has been compiled yet, torch's is not imported for it."""
    if "torch._dynamo" not in sys.modules:
        return contextlib.nullcontext()
    stance: contextlib.AbstractContextManager[object] = torch.compiler.set_stance("force_eager")
    return stance


@contextlib.contextmanager
def mapped() -> Iterator[None]:
    """Context of what is mapped over lanes, where torch's Python code stands in the way.

    Distributions do not look at values, unless they were made to: there are none to look at, and a
    training that leaves their support loses its loss as well. Activation checkpointing keeps what
    it would compute again, which is the same. Functions of the user's without a rule are called
    lane by lane. Weights of recurrent layers are not laid side by side for cuDNN, which looks where
    they are in memory.
    """
    kept: list[tuple[Any, str, Any]] = [
        (Distribution, "_validate_args", False),
        (nn.RNNBase, "flatten_parameters", lambda layer: None),
        (functions, "torch", _UNMAPPED),
        *((checkpointing, name, plain) for name, plain in _CHECKPOINTING.items()),
        *((owner, name, _refuse_states) for owner in (torch, torch.random) for name in _STATES),
    ]
    # Where another torch has other names, code that comes upon them is refused by vmap.
    kept = [each for each in kept if each[1] in vars(each[0])]
    before = [vars(owner)[name] for owner, name, _ in kept]
    for owner, name, value in kept:
        setattr(owner, name, value)
    outermost = "apply" not in vars(_Base)
    _Base.apply = classmethod(_apply_by_lanes)
    try:
        with _uncompiled():
            yield
    finally:
        if outermost:
            del _Base.apply
        for (owner, name, _), value in zip(kept, before, strict=True):
            setattr(owner, name, value)


_JIT: Any = torch.jit
_is_tracing: Callable[[], bool] = _JIT.is_tracing


def _is_traced() -> bool:
    """Whether a graph is traced, as a library is told in lanes. torch's own modules are told the
    truth: while tracing they refuse what lanes take, such as torch.func.functional_call."""
    asks = sys._getframe(1).f_globals.get("__name__", "")
    return asks.partition(".")[0] != "torch" or _is_tracing()


def as_traced(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function where a graph is traced, as far as libraries ask torch.jit: they look then at no
    values, such as those of a mask, as a recording demands."""

    def run(*given: Any) -> Any:
        before = _JIT.is_tracing
        _JIT.is_tracing = _is_traced
        try:
            return function(*given)
        finally:
            _JIT.is_tracing = before

    return run


_STATES = ("manual_seed", "seed", "get_rng_state", "set_rng_state")
"""Functions of torch's global generator, from which no lane draws."""


def _refuse_states(*_: Any, **__: Any) -> Any:
    raise NotRecordable("it reads or sets the state of torch's random numbers")


def _keep(
    _: object, __: object, context_fn: Callable[[], tuple[Any, Any]], *___: Any, **____: Any
) -> Iterator[None]:
    """Stand around a forward pass that is to be computed again, in the context given for it."""
    with context_fn()[0]:
        yield


def _compute(function: Callable[..., Any], _: bool, *args: Any) -> Any:
    """A forward pass that is to be computed again, as it is."""
    return function(*args)


_CHECKPOINTING: Mapping[str, Any] = {
    "_checkpoint_without_reentrant_generator": _keep,
    "CheckpointFunction": SimpleNamespace(apply=_compute),
}
"""Plain functions for those that `torch.utils.checkpoint` calls, by name."""

_Base: Any = functions._SingleLevelFunction
"""The base of Function, whose `apply` is the one of C++."""


class _Untransformed:
    """The module torch._C where no transform is in force."""

    @staticmethod
    def _are_functorch_transforms_active() -> bool:
        return False

    def __getattr__(self, name: str) -> Any:
        return getattr(torch._C, name)


class _Unmapped:
    """The module torch as `Function.apply` asks it whether a transform is in force: none is, so
    that it calls its base's `apply`, also where the user keeps `Own.apply` under another name."""

    _C = _Untransformed()

    def __getattr__(self, name: str) -> Any:
        return getattr(torch, name)


_UNMAPPED = _Unmapped()


def _apply_by_lanes(function: type[Any], *args: Any, **kwargs: Any) -> Any:
    """`Function.apply` below what it asks of transforms. One whose `forward` takes a context is
    called lane by lane: torch has no rule for it."""
    apply = super(_Base, function).apply
    if not torch._C._are_functorch_transforms_active() or not issubclass(function, Function):
        return apply(*args, **kwargs)
    if function.setup_context is not Function.setup_context:
        return custom_function_call(function, *args, **kwargs)
    level = level_of_lanes()
    if level is None or kwargs:
        raise NotRecordable(f"its function {function.__name__} has no setup_context")
    if all(axis_of(each) is None for each in args if isinstance(each, Tensor)):
        with enable_single_level_autograd_function():  # What is drawn in it is each lane's.
            return apply(*args)
    lanes = count_lanes()
    with temporarily_clear_interpreter_stack():
        parts = [[_pick(each, lane) for each in args] for lane in range(lanes)]
        found = [apply(*each) for each in parts]
        several = isinstance(found[0], tuple)
        columns = list(zip(*found, strict=True)) if several else [found]
        if not all(isinstance(each, Tensor) for column in columns for each in column):
            raise NotRecordable(f"its function {function.__name__} gives more than tensors")
        stacked = [torch.stack(list(column)) for column in columns]
    wrapped = [torch._C._functorch._add_batch_dim(each, 0, level) for each in stacked]
    return tuple(wrapped) if several else wrapped[0]


def _pick(value: Any, lane: int) -> Any:
    """A lane's part of a tensor; other values are unchanged."""
    axis = axis_of(value) if isinstance(value, Tensor) else None
    return value if axis is None else whole_of(value).select(axis, lane)


# rules for torch's functions, see `rules.Rules`


def _get_data(tensor: Tensor) -> Tensor:
    return tensor.detach()


def _set_data(tensor: Tensor, value: Tensor) -> None:
    if tensor.shape != value.shape or tensor.dtype != value.dtype:
        raise NotRecordable("it sets the .data of a tensor to one of another shape or type")
    with torch.no_grad():
        tensor.copy_(value)


def _require(tensor: Tensor, requires_grad: bool = True) -> Tensor:
    if level_of_lanes() is None:
        return tensor.requires_grad_(requires_grad)
    if axis_of(tensor) is not None:  # Of what all lanes share no gradient is taken, see below.
        with temporarily_clear_interpreter_stack():
            whole_of(tensor).requires_grad_(requires_grad)
    return tensor


def _requires(tensor: Tensor) -> bool:
    return (tensor if level_of_lanes() is None else whole_of(tensor)).requires_grad


def _set_required(tensor: Tensor, needed: bool) -> None:
    _require(tensor, needed)


def _register(tensor: Tensor, hook: Callable[[Tensor], Tensor | None]) -> Any:
    """Tensor.register_hook: the hook is given each lane's gradient."""
    axis = axis_of(tensor)
    if level_of_lanes() is None or axis is None:
        return tensor.register_hook(hook)  # type: ignore[no-untyped-call]

    def change(gradient: Tensor) -> Tensor:
        found = hook(gradient)
        return gradient if found is None else found

    with temporarily_clear_interpreter_stack():
        whole: Any = whole_of(tensor)
        return whole.register_hook(vmap(change, in_dims=axis, out_dims=axis))


def _differentiate(
    outputs: Tensor | Sequence[Tensor],
    inputs: Tensor | Sequence[Tensor],
    grad_outputs: Any = None,
    **given: Any,
) -> tuple[Tensor | None, ...]:
    """torch.autograd.grad, of all lanes at once."""
    level = level_of_lanes()
    ends = [outputs] if isinstance(outputs, Tensor) else list(outputs)
    begins = [inputs] if isinstance(inputs, Tensor) else list(inputs)
    # The latter as by the function that torch.func.vjp gives, which is called beyond its transform.
    if (
        level is None
        or given.get("is_grads_batched")
        or any(map(torch._C._functorch.is_gradtrackingtensor, begins))
    ):
        return torch.autograd.grad(outputs, inputs, grad_outputs, **given)
    axes = [axis for each in (*ends, *begins) if (axis := axis_of(each)) is not None]
    if len(axes) < len(ends) + len(begins):
        raise NotRecordable(SHARED)
    if grad_outputs is None or isinstance(grad_outputs, Tensor):
        grad_outputs = [grad_outputs] * len(ends)
    with temporarily_clear_interpreter_stack():
        seeds = [_seed(*pair) for pair in zip(ends, grad_outputs, strict=True)]
        wholes = [whole_of(each) for each in begins]
        found = torch.autograd.grad([whole_of(each) for each in ends], wholes, seeds, **given)
    return tuple(
        None if each is None else torch._C._functorch._add_batch_dim(each, axis, level)
        for each, axis in zip(found, axes[len(ends) :], strict=True)
    )


def _seed(output: Tensor, given: Tensor | None) -> Tensor:
    """The gradient of an output of all lanes."""
    whole, axis = whole_of(output), axis_of(output)
    assert axis is not None
    if given is None:
        if whole.dim() > 1:
            raise RuntimeError("grad can be implicitly created only for scalar outputs")
        return torch.ones_like(whole)
    held = axis_of(given)
    if held is None:
        return given.unsqueeze(axis).expand_as(whole)
    return whole_of(given).movedim(held, axis)


def _fill(input: Tensor, mask: Tensor, value: Any) -> Tensor:
    """Tensor.masked_fill; by a number that is a tensor, which vmap fills in lane after lane and a
    GPU is waited for to read, it is a choice."""
    value = _as_number(value, mask)
    if not isinstance(value, Tensor) or value.dim():
        return input.masked_fill(mask, value)
    fits = torch.can_cast(value.dtype, input.dtype) and mask.dtype is torch.bool
    if not fits:
        return input.masked_fill(mask, value)  # Which says what is wrong with it.
    # In the order of torch's own, by which dropout assigns its noise.
    return torch.where(mask, value.to(input.dtype), input).contiguous()


def fill_in(tensor: Tensor, mask: Tensor, value: Any) -> Tensor:
    """Tensor.masked_fill_, as `_fill`."""
    value = _as_number(value, mask)
    plain = not isinstance(value, Tensor)
    return tensor.masked_fill_(mask, value) if plain else tensor.copy_(_fill(tensor, mask, value))


def _as_number(value: Any, mask: Tensor) -> Any:
    """The number in a tensor on the host of a mask on a GPU; any other value as it is. A recording
    refuses a number that is not the same each time."""
    if not isinstance(value, Tensor) or value.dim() or value.requires_grad:
        return value
    return value.item() if value.device.type == "cpu" != mask.device.type else value


def _align(
    log_probs: Tensor,
    targets: Tensor,
    input_lengths: Any,
    target_lengths: Any,
    blank: int = 0,
    reduction: int = 0,
    zero_infinity: bool = False,
) -> Tensor:
    """torch.ctc_loss, the samples of all lanes being one batch. By itself it reduces nothing,
    whatever its signature says."""
    level, axis = level_of_lanes(), axis_of(log_probs)
    given = (log_probs, targets, input_lengths, target_lengths)
    if level is None or axis is None or log_probs.dim() != 3:
        return torch.ctc_loss(*given, blank, reduction, zero_infinity)
    lanes = count_lanes()

    def flatten(each: Any) -> Tensor:
        """[samples, ...] of each lane as [lanes x samples, ...]."""
        if not isinstance(each, Tensor):
            return torch.tensor(each).repeat(lanes)
        held, whole = axis_of(each), whole_of(each)
        every = whole.expand(lanes, *whole.shape) if held is None else whole.movedim(held, 0)
        return every.flatten(0, 1)

    with temporarily_clear_interpreter_stack():
        whole = whole_of(log_probs).movedim(axis, 1).flatten(1, 2)
        lengths = flatten(target_lengths)
        found = torch.ctc_loss(
            whole, flatten(targets), flatten(input_lengths), lengths, blank, 0, zero_infinity
        )
        if reduction == 1:
            found = found / lengths.to(found).clamp(min=1)
        each = found.reshape(lanes, -1)
        out = (each, each.mean(1), each.sum(1))[reduction]
    return torch._C._functorch._add_batch_dim(out, 0, level)


_OWN: Any = Tensor
"""Tensor, whose attributes are descriptors, not the values that its stubs say."""

PLAIN: Mapping[Callable[..., Any], Callable[..., Any]] = {
    _OWN.data.__get__: _get_data,
    _OWN.data.__set__: _set_data,
    _OWN.requires_grad.__get__: _requires,
    _OWN.requires_grad.__set__: _set_required,
    Tensor.requires_grad_: _require,
    Tensor.register_hook: _register,
    torch.masked_fill: _fill,
    Tensor.masked_fill: _fill,
    Tensor.masked_fill_: fill_in,
    torch.ctc_loss: _align,
    torch.autograd.grad: _differentiate,
}
"""Replacements for torch's functions within a vmap over lanes."""


def _make_own(function: Callable[..., Tensor], *args: Any, **kwargs: Any) -> Tensor:
    """A tensor that torch makes of no lane's numbers, one a lane: it is to be changed in place."""
    level, made = level_of_lanes(), function(*args, **kwargs)
    given = any(made is each for each in (*args, kwargs.get("out")))
    if level is None or axis_of(made) is not None or given or kwargs.get("requires_grad"):
        return made
    lanes = count_lanes()
    with temporarily_clear_interpreter_stack():
        every = made.expand(lanes, *made.shape).contiguous()
    return torch._C._functorch._add_batch_dim(every, 0, level)


def own_rules() -> dict[Callable[..., Any], Callable[..., Any]]:
    """Replacements for the functions that make tensors which are then filled in place."""

    def rule(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
        return lambda *args, **kwargs: _make_own(function, *args, **kwargs)

    made = (torch.zeros, torch.ones, torch.full, torch.eye, torch.tensor, torch.as_tensor)
    like = (torch.zeros_like, torch.ones_like, torch.full_like, torch.clone, Tensor.clone)
    new = (Tensor.new_zeros, Tensor.new_ones, Tensor.new_full, Tensor.new_tensor)
    return {each: rule(each) for each in (*made, *like, *new)}


_REFUSING = re.compile(
    r"vmap: .*extra_args|doesn't match the broadcast shape|updated in place, were not batched"
    r"|into a tensor that all lanes share",
    re.DOTALL,
)
"""Words by which vmap refuses to change in place what is no lane's: by most functions, by add_,
whose arguments it does not check beforehand, and by batch norm; and by which drawing into it is."""


def fills_what_is_shared(error: BaseException) -> bool:
    """Whether to change a tensor of no lane in place by numbers of the lanes was refused."""
    return isinstance(error, RuntimeError | NotRecordable) and bool(_REFUSING.search(str(error)))
