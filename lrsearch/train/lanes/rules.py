"""Rules for layers under vmap where torch's own rule is slow, missing, or draws random numbers that
would tie the lanes together (`draws`). Every other operation keeps torch's rule."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import FunctionType, SimpleNamespace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._functorch.pyfunctorch import temporarily_clear_interpreter_stack
from torch.overrides import TorchFunctionMode

from lrsearch.train.device import ATTEND, SHORT_ATTENTION, draws_by_itself
from lrsearch.train.lanes.chosen import CHOOSING, call, holds_chosen
from lrsearch.train.lanes.convolutions import convolve
from lrsearch.train.lanes.draws import Noise, draw_rules, drop
from lrsearch.train.lanes.linear import (
    apply,
    autocast_takes,
    linear,
    lower,
    move,
    transforms_itself,
)
from lrsearch.train.lanes.masks import COMPARING
from lrsearch.train.lanes.packed import pack, pad, recur_packed
from lrsearch.train.lanes.plain import PLAIN, axis_of, level_of_lanes, own_rules, whole_of
from lrsearch.train.lanes.recurrent import CELLS, LAYERS, recur, step
from lrsearch.train.tape import NotRecordable

# The cost of a layer that runs lane after lane is measured, so torch need not warn of it.
torch._C._functorch._set_vmap_fallback_warning_enabled(False)  # type: ignore[attr-defined]


def _fits_one_batch(*given: Tensor) -> bool:
    """Whether query, key and value have the layout that the CPU's kernel takes. CUDA's kernels are
    said by torch to draw random numbers, and cannot be recorded."""
    first = given[0]
    fits = {each.shape[:-2] for each in given} == {first.shape[:2]}
    if not fits or first.device.type != "cpu" or transforms_itself():
        return False
    return int(torch._C._functorch.maybe_get_level(first)) >= 0


class _Attention(torch.autograd.Function):
    """Attention [batch, heads, places, width] without mask and dropout: the samples of all lanes
    are one batch for the kernel that solo uses. The formula takes a quarter longer."""

    @staticmethod
    def forward(
        query: Tensor, key: Tensor, value: Tensor, is_causal: bool, scale: float | None
    ) -> Tensor:
        return F.scaled_dot_product_attention(query, key, value, is_causal=is_causal, scale=scale)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        """Keep nothing: only the rule below is ever differentiated."""

    @staticmethod
    def vmap(
        info: Any,
        in_dims: Sequence[int | None],
        query: Tensor,
        key: Tensor,
        value: Tensor,
        is_causal: bool,
        scale: float | None,
    ) -> tuple[Tensor, int]:
        lanes = info.batch_size
        query, key, value = (
            move(each, dim, lanes).flatten(0, 1)
            for each, dim in zip((query, key, value), in_dims[:3], strict=True)
        )
        out = F.scaled_dot_product_attention(query, key, value, is_causal=is_causal, scale=scale)
        return out.reshape(lanes, -1, *out.shape[1:]), 0


@dataclass(frozen=True, eq=False)
class _AttentionRule:
    """The rule for attention, whose dropout draws from the noise."""

    noise: Noise

    def __call__(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> Tensor:
        """One batch of all lanes, or the formula itself: the flash kernel has no rule and runs lane
        after lane.

        The formula is that of the reference code of
        torch.nn.functional.scaled_dot_product_attention; a query that may look at nothing gets
        zeros, as from the kernels.
        """
        if draws_by_itself(query, key, dropout_p):
            raise NotRecordable(
                f"it uses dropout in attention over more than {SHORT_ATTENTION} places, whose "
                "numbers a GPU's kernel draws by itself"
            )
        low = query.dtype in (torch.bfloat16, torch.float16)
        if low and dropout_p > 0.0 and query.device.type == "cuda":
            # As torch's formula does. The kernel's numbers hang on the type that they are drawn in.
            given = query.float(), key.float(), value.float(), attn_mask, dropout_p, is_causal
            with torch.autocast("cuda", enabled=False):
                return self(*given, scale, enable_gqa).to(query.dtype)
        plain = attn_mask is None and dropout_p == 0.0 and not enable_gqa
        if plain and _fits_one_batch(query, key, value):
            return apply(_Attention, query, key, value, is_causal, scale)
        if enable_gqa:
            key = key.repeat_interleave(query.size(-3) // key.size(-3), -3)
            value = value.repeat_interleave(query.size(-3) // value.size(-3), -3)
        factor = 1 / math.sqrt(query.size(-1)) if scale is None else scale
        scores = (query * factor) @ key.transpose(-2, -1)
        if is_causal:
            allowed = torch.ones(scores.shape[-2:], dtype=torch.bool, device=query.device).tril()
            scores = scores.masked_fill(~allowed, -math.inf)
        if attn_mask is None:
            weights = scores.softmax(-1)
        else:
            if attn_mask.dtype is torch.bool:
                scores = scores.masked_fill(~attn_mask, -math.inf)
            else:
                scores = scores + attn_mask
            blind = (scores == -math.inf).all(-1, keepdim=True)
            weights = scores.masked_fill(blind, 0.0).softmax(-1).masked_fill(blind, 0.0)
        return drop(self.noise, weights, dropout_p) @ value


class Rules(TorchFunctionMode):
    """Context in which the rules are in force."""

    def __init__(self, noise: Noise, owned: bool = False) -> None:
        """`owned` says that what torch makes of no lane's numbers is each lane's own."""
        super().__init__()
        self.noise = noise
        self.rules: dict[Callable[..., Any], Callable[..., Any]] = {
            F.linear: linear,
            # No method of this object: in a circle the numbers of its noise, which lie on the
            # device, would wait for the garbage collector.
            ATTEND: _AttentionRule(noise),
            torch.embedding: _embedding,
            F.gaussian_nll_loss: _lose_negative,
            torch._VF._pack_padded_sequence: pack,
            **{each: functools.partial(_lower, each) for each in (*_LOW, *_LOW_THERE)},
            **{each: functools.partial(_normalize, each) for each in _NORMS},
            **{each: functools.partial(_widen, each) for each in _WIDE},
            torch._C._nn.cross_entropy_loss: _cross_entropy,
            **{each: functools.partial(_pool, each) for each in _POOLS},
            **{each: functools.partial(_multiply, each) for each in _OWN},
            **PLAIN,
            **CHOOSING,
            **draw_rules(noise),
            **(own_rules() if owned else {}),
            **{each: functools.partial(recur, noise, each, cell) for each, cell in LAYERS.items()},
            **{each: functools.partial(step, cell) for each, cell in CELLS.items()},
        }
        self.packed: dict[Callable[..., Any], Callable[..., Any]] = {
            each: functools.partial(recur_packed, noise, each, cell)
            for each, cell in LAYERS.items()
        }
        self.packed[torch._VF._pad_packed_sequence] = pad

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        if holds_chosen(args, kwargs or {}):
            if func in self.packed:
                return self.packed[func](*args)
            with self:
                return call(func, *args, **(kwargs or {}))
        if func in self.rules and not (kwargs and func in COMPARING):
            return self.rules[func](*args, **(kwargs or {}))
        if kwargs and isinstance(kwargs.get("out"), Tensor) and not isinstance(func, FunctionType):
            return _write(func, *args, **kwargs)
        if isinstance(func, FunctionType) and func.__module__ in _ASKING and _asks(func):
            with self:  # Functions that it calls, as multi_head_attention_forward calls linear.
                return _unwrap(func, _ASKING[func.__module__])(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


def _write(func: Callable[..., Tensor], *args: Any, out: Tensor, **kwargs: Any) -> Tensor:
    """A function's result written into a tensor, for which torch has no rules."""
    found = func(*args, **kwargs)
    if found.shape != out.shape:
        raise NotRecordable(f"it calls {func.__name__} with an out= of another shape")
    return out.copy_(found)


def _embedding(
    weight: Tensor,
    indices: Tensor,
    padding_idx: int = -1,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Tensor:
    """Embedding by a rule of its own: under torch's the padding's row gets a gradient in all lanes
    but the first."""
    if sparse:
        raise NotRecordable(
            "it has sparse gradients, of an embedding; by sparse=False they are the same numbers"
        )
    out = torch.embedding(weight, indices, -1, scale_grad_by_freq)
    if padding_idx < 0:
        return out
    return torch.where((indices == padding_idx).unsqueeze(-1), out.detach(), out)


# Under vmap autocast skips functions with a rule there, and rules take no mixed types.

_CONVOLUTIONS = (
    *(F.conv1d, F.conv2d, F.conv3d),
    *(F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d),
)
_LOW = (
    *_CONVOLUTIONS,
    *(F.prelu, torch.prelu, torch.linalg.vecdot),
    *(torch.addmm, torch.baddbmm, torch.addbmm, Tensor.addmm, Tensor.baddbmm, Tensor.addbmm),
)
"""Convolutions, and others that autocast computes in its lower type."""
_LOW_THERE = (
    *(torch.addr, Tensor.addr, torch.addmv, Tensor.addmv),
    *(torch.einsum, torch.linalg.multi_dot),
)
"""Products that it computes so on a GPU; on a CPU vmap makes of them what it does alone."""
_SOFTMAX = (torch.softmax, Tensor.softmax, torch.log_softmax, Tensor.log_softmax)
_WIDE = (
    *_SOFTMAX,
    *(torch.cdist, torch.hinge_embedding_loss),
    *(torch._C._nn.nll_loss_nd, torch._C._nn.cross_entropy_loss, torch._C._nn.l1_loss),
    torch.binary_cross_entropy_with_logits,
    *(getattr(torch.fft, name) for name in torch.fft.__all__ if "freq" not in name),
)
"""Functions that autocast computes in float32; the softmax on a GPU alone, transforms elsewhere."""
_OWN = (
    *(torch.dot, Tensor.dot, torch.vdot, Tensor.vdot),
    *(torch.inner, Tensor.inner, torch.tensordot, torch.mv, Tensor.mv),
)
"""Products that autocast computes in the types of their arguments, on a GPU in the widest of them,
but for matrices by vectors; vmap makes other products of them."""
_NORMS = (torch.batch_norm, torch.instance_norm, torch.group_norm, torch.layer_norm)
TOGETHER = ("cuda",)
"""Kinds of devices on which batch norm, and pooling, of all lanes is one operation. On a CPU, whose
operations cost little beside their numbers, last bits stay as they always were."""
_POOLS = (F.max_pool2d, F.avg_pool2d, torch._C._nn.adaptive_avg_pool2d)
_BATCH_NORMS = 8
"""Arguments of torch.batch_norm beside its input; whether cuDNN is to be used is the last."""


def _widen(func: Callable[..., Tensor], *args: Any, **kwargs: Any) -> Tensor:
    kind = _find_kind(args)
    if not torch.is_autocast_enabled(kind) or (func in _SOFTMAX and kind == "cpu"):
        return func(*args, **kwargs)
    low = torch.get_autocast_dtype(kind)
    wide = (
        each.float() if isinstance(each, Tensor) and each.dtype is low else each for each in args
    )
    return func(*wide, **kwargs)


def _cross_entropy(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None,
    reduction: int,
    ignore_index: int,
    label_smoothing: float,
) -> Tensor:
    """Cross-entropy; the mean of weighted and smoothed classes by its sum, since torch picks the
    weights of the classes that count by a mask."""
    loss = functools.partial(_widen, torch._C._nn.cross_entropy_loss)
    mean, classes = reduction == 1, not target.is_floating_point()
    if weight is None or not (mean and classes and label_smoothing):
        return loss(input, target, weight, reduction, ignore_index, label_smoothing)
    counted = target != ignore_index
    weights = weight[torch.where(counted, target, 0)] * counted
    return loss(input, target, weight, 2, ignore_index, label_smoothing) / weights.sum()


def _lower(func: Callable[..., Tensor], *args: Any, **kwargs: Any) -> Tensor:
    if func in _LOW_THERE and _find_kind(args) != "cuda":
        return func(*args, **kwargs)
    low = lower(*args), dict(zip(kwargs, lower(*kwargs.values()), strict=True))
    with _as_given(args):
        if func in _CONVOLUTIONS:
            return convolve(func, *low[0], **low[1])
        return func(*low[0], **low[1])


def _multiply(func: Callable[..., Tensor], *args: Any, **kwargs: Any) -> Tensor:
    tensors = [each for each in args if isinstance(each, Tensor)]
    there = _find_kind(args) == "cuda"
    by_vector = func in (torch.mv, Tensor.mv)
    vectors = by_vector or all(each.dim() == 1 for each in tensors)
    if by_vector if there else (func is torch.tensordot or not vectors):
        return func(*args, **kwargs)  # There it is a product of matrices alone, too.
    with _as_given(args) as cast:
        if cast and there and all(map(torch.is_floating_point, tensors)):
            wide = functools.reduce(torch.promote_types, (each.dtype for each in tensors))
            args = tuple(each.to(wide) if isinstance(each, Tensor) else each for each in args)
        return func(*args, **kwargs)


def _find_kind(args: Sequence[Any]) -> str:
    """The kind of device of the first tensor among arguments, or in a list among them."""
    listed = [each for part in args if isinstance(part, list | tuple) for each in part]
    return next((each.device.type for each in (*args, *listed) if isinstance(each, Tensor)), "cpu")


@contextmanager
def _as_given(args: Sequence[Any]) -> Iterator[bool]:
    """Context in which the functions inside a rule take tensors in the types that they have, since
    autocast has cast them already. Yields whether autocast is in force."""
    kind = _find_kind(args)
    if not torch.is_autocast_enabled(kind):
        yield False
        return
    with torch.autocast(kind, enabled=False):
        yield True


def _normalize(func: Callable[..., Tensor], input: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    if func is torch.batch_norm:
        func = _normalize_batch
    if not autocast_takes(input):
        return func(input, *args, **kwargs)
    out = func(input.float(), *args, **kwargs)
    wide = input.device.type == "cuda" and func in (torch.group_norm, torch.layer_norm)
    return out if wide else out.to(input.dtype)


def _normalize_batch(input: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    if len(args) == _BATCH_NORMS and input.device.type in TOGETHER:
        if (out := _normalize_together(input, *args)) is not None:
            return out
        if input.device.type == "cuda" and input.dim() > 2 and input.shape[1] == 1:
            # torch's rule makes channels of the lanes, here without a copy that would lay them as
            # cuDNN demands. torch's own kernel takes any layout.
            args = (*args[:-1], False)
    if input.dim() == 2 and _sums_by_place(input):
        turned = torch.batch_norm(input.t().unsqueeze(0).contiguous(), *args, **kwargs)
        return turned.squeeze(0).t().contiguous()  # The layout in memory decides dropout's noise.
    return torch.batch_norm(input, *args, **kwargs)


def _normalize_together(
    input: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    mean: Tensor | None,
    variance: Tensor | None,
    *args: Any,
) -> Tensor | None:
    """Batch norm [samples, channels, ...] of all lanes as one of all their channels, by the kernel
    that solo takes; None where that cannot be done. torch's rule multiplies by the weights and adds
    the bias in passes of their own, and differentiates them so: six kernels more a layer."""
    level, given = level_of_lanes(), (weight, bias, mean, variance)
    axis, held = axis_of(input), [each for each in given if each is not None]
    # Statistics are changed where they are.
    kept = [whole_of(each) for each in (mean, variance) if each is not None]
    if (
        level is None
        or axis is None
        or not all(axis_of(each) == 0 for each in held)
        or not all(each.is_contiguous() for each in kept)
    ):
        return None
    with temporarily_clear_interpreter_stack():
        lanes = whole_of(input).movedim(axis, 0)
        rows: Any = [each if each is None else whole_of(each).flatten() for each in given]
        out = torch.batch_norm(lanes.transpose(0, 1).flatten(1, 2), *rows, *args)
        out = out.view(len(out), len(lanes), -1, *out.shape[2:]).transpose(0, 1)
    return torch._C._functorch._add_batch_dim(out, 0, level)


def _pool(func: Callable[..., Tensor], input: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """Pooling of all lanes' channels where they lie beside each other, as convolutions and batch
    norm leave them. torch's rule takes the lanes for samples, which copies all before and after."""
    level, axis = level_of_lanes(), axis_of(input)
    if input.device.type not in TOGETHER or level is None or axis is None or input.dim() != 4:
        return func(input, *args, **kwargs)
    with temporarily_clear_interpreter_stack():
        samples = whole_of(input).movedim(axis, 0).transpose(0, 1)
        lanes, channels = samples.shape[1:3]
        together = samples.stride(1) == channels * samples.stride(2)
        if together:
            out = func(samples.flatten(1, 2), *args, **kwargs)
            out = out.view(len(out), lanes, channels, *out.shape[2:]).transpose(0, 1)
    if not together:
        return func(input, *args, **kwargs)
    return torch._C._functorch._add_batch_dim(out, 0, level)


def _sums_by_place(matrix: Tensor) -> bool:
    """Whether the sums over its rows depend, in their last bits, on a column's place, and so on the
    lane's: on a CPU columns are summed in fours of vectors, and the remaining ones in another
    order. An image's pixels are not: each of its channels is summed by itself."""
    whole = 256  # Bytes: four of the longest vectors.
    return matrix.device.type == "cpu" and matrix.shape[1] * matrix.element_size() % whole != 0


_QUESTIONS = ("has_torch_function", "has_torch_function_unary", "has_torch_function_variadic")
"""Names of the functions by which torch.nn.functional asks whether a mode wants to see a call."""


class _Unasking:
    """The module torch, by which functions of torch.nn.init find no mode that wants to see a
    call."""

    overrides = SimpleNamespace(**dict.fromkeys(_QUESTIONS, lambda *_: False))

    def __getattr__(self, name: str) -> Any:
        return getattr(torch, name)


_ASKING = {F.__name__: torch, nn.init.__name__: _Unasking()}
"""Modules whose functions ask so, and the module torch for what is called without the question."""


def _asks(function: FunctionType) -> bool:
    return any(name in _QUESTIONS for name in function.__code__.co_names)


class _Trusting:
    """The module torch, by which a function finds nothing wrong with its arguments' values."""

    @staticmethod
    def any(_: Tensor) -> bool:
        return False

    def __getattr__(self, name: str) -> Any:
        return getattr(torch, name)


_TRUSTING = _Trusting()


def _lose_negative(input: Tensor, target: Tensor, var: Any, *args: Any, **kwargs: Any) -> Tensor:
    """F.gaussian_nll_loss, which a lane loses by a negative variance, as a trial alone raises."""
    if isinstance(var, Tensor):
        var = torch.where(var < 0, math.nan, var)
    out: Tensor = _unwrap(F.gaussian_nll_loss, _TRUSTING)(input, target, var, *args, **kwargs)
    return out


@functools.cache
def _unwrap(function: FunctionType, module: Any = torch) -> Callable[..., Any]:
    """The same function, without that question, and with another module torch."""
    asked = dict.fromkeys(_QUESTIONS, lambda *_: False)
    scope = {**function.__globals__, **asked, "torch": module}
    body = FunctionType(
        function.__code__, scope, function.__name__, function.__defaults__, function.__closure__
    )
    body.__kwdefaults__ = function.__kwdefaults__
    return body
