"""How some layers run under vmap: where torch's own rule is slow, missing, or draws random numbers
that would tie the lanes together (`draws`). Every other operation keeps torch's rule."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import FunctionType
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from lrsearch.train.lanes.draws import Noise, draw_rules, drop
from lrsearch.train.tape import NotRecordable

ALIGNMENT = 16
"""Bytes. On a CPU the last bits of a small product depend on where its matrices begin within so
many: those of each lane must begin alike, or lanes would depend on their place."""


# What a layer costs that runs lane after lane is measured: nobody needs to be warned of it.
torch._C._functorch._set_vmap_fallback_warning_enabled(False)  # type: ignore[attr-defined]


def _apply(function: type[torch.autograd.Function], *args: Any) -> Tensor:
    return cast(Tensor, function.apply(*args))  # type: ignore[no-untyped-call]


class _Products(torch.autograd.Function):
    """x [K, n, in] times weights [K, out, in]: one batched product each way, and the weights'
    gradient comes out in their own layout, which autograd's does not."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        x, weight = align(x), align(weight)
        ctx.save_for_backward(x, weight)
        return multiply(x, weight.transpose(1, 2), bias)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        needs_x, needs_weight, needs_bias = ctx.needs_input_grad
        aligned = align(gradient)
        return (
            multiply(aligned, weight) if needs_x else None,
            multiply(aligned.transpose(1, 2), x) if needs_weight else None,
            gradient.sum(1) if needs_bias else None,
        )


@dataclass(eq=False)
class _Past:
    """What the steps of a recurrence leave to the first: gradients and hidden states [K, n, ...].
    No bare list: torch would copy that."""

    gradients: list[Tensor] = field(default_factory=list)
    states: list[Tensor] = field(default_factory=list)


class _HiddenProducts(torch.autograd.Function):
    """One step of a recurrence, hidden states [K, n, in] times weights [K, out, in]. Gradients of
    the weights and bias wait until the first step, whose backward comes last: one product for all
    steps."""

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, past: _Past, first: bool
    ) -> Tensor:
        hidden, weight = align(hidden), align(weight)
        ctx.save_for_backward(hidden, weight)
        ctx.past, ctx.first = past, first
        return multiply(hidden, weight.transpose(1, 2), bias)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        hidden, weight = ctx.saved_tensors
        past: _Past = ctx.past
        past.gradients.append(gradient)
        past.states.append(hidden)
        onward = multiply(align(gradient), weight) if ctx.needs_input_grad[0] else None
        if not ctx.first:
            return onward, None, None, None, None
        gradients = align(torch.cat(past.gradients, 1))
        states = align(torch.cat(past.states, 1))
        return onward, multiply(gradients.transpose(1, 2), states), gradients.sum(1), None, None


class _Hidden(torch.autograd.Function):
    """The product of `_HiddenProducts`, lane by lane."""

    @staticmethod
    def forward(
        hidden: Tensor, weight: Tensor, bias: Tensor | None, past: _Past, first: bool
    ) -> Tensor:
        return F.linear(hidden, weight, bias)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        """Nothing: only the rule below is ever differentiated."""

    @staticmethod
    def vmap(
        info: Any,
        in_dims: Sequence[int | None],
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        past: _Past,
        first: bool,
    ) -> tuple[Tensor, int]:
        hidden, weight = (
            _move(each, dim, info.batch_size)
            for each, dim in ((hidden, in_dims[0]), (weight, in_dims[1]))
        )
        if bias is not None:
            bias = _move(bias, in_dims[2], info.batch_size)
        if not first:
            weight, bias = weight.detach(), None if bias is None else bias.detach()
        hidden, weight, bias = _lower(hidden, weight, bias)
        return _apply(_HiddenProducts, hidden, weight, bias, past, first), 0


def multiply(left: Tensor, right: Tensor, bias: Tensor | None = None) -> Tensor:
    """[K, n, m] times [K, m, p], which are aligned, plus the lanes' bias [K, p]."""
    rows, columns = left.shape[1], right.shape[2]
    if _is_aligned(left, rows * columns):
        if bias is None:
            return torch.bmm(left, right)
        return torch.baddbmm(bias.unsqueeze(1), left, right)
    out = torch.bmm(left, right, out=_empty(left, rows, columns))
    return out if bias is None else out.add_(bias.unsqueeze(1))


def align(lanes: Tensor) -> Tensor:
    """The same matrices [K, n, m], each aligned as the first is."""
    dense = 1 in lanes.stride()[1:]  # Else a product would copy them, and not align them.
    if dense and _is_aligned(lanes, lanes.stride(0)):
        return lanes
    return _empty(lanes, *lanes.shape[1:]).copy_(lanes)


def _is_aligned(like: Tensor, stride: int) -> bool:
    """Whether lanes so many elements apart are."""
    return like.device.type != "cpu" or stride * like.element_size() % ALIGNMENT == 0


def _empty(like: Tensor, rows: int, columns: int) -> Tensor:
    """Aligned matrices [K, rows, columns]."""
    unit = ALIGNMENT // like.element_size()
    apart = -(-rows * columns // unit) * unit
    return like.new_empty(len(like), apart)[:, : rows * columns].view(-1, rows, columns)


def _move(tensor: Tensor, dim: int | None, lanes: int) -> Tensor:
    """Its lanes first; one that all share is seen by each, without a copy."""
    return tensor.expand(lanes, *tensor.shape) if dim is None else tensor.movedim(dim, 0)


class _Linear(torch.autograd.Function):
    """torch.nn.functional.linear, lane by lane."""

    @staticmethod
    def forward(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return F.linear(x, weight, bias)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        """Nothing: only the rule below is ever differentiated."""

    @staticmethod
    def vmap(
        info: Any, in_dims: Sequence[int | None], x: Tensor, weight: Tensor, bias: Tensor | None
    ) -> tuple[Tensor, int]:
        lanes = info.batch_size
        x, weight = _move(x, in_dims[0], lanes), _move(weight, in_dims[1], lanes)
        if bias is not None:
            bias = _move(bias, in_dims[2], lanes)
        x, weight, bias = _lower(x, weight, bias)
        shape = x.shape[1:-1]
        out = _apply(_Products, x.reshape(lanes, -1, x.shape[-1]), weight, bias)
        return out.reshape(lanes, *shape, out.shape[-1]), 0


def _lower(*given: Any) -> tuple[Any, ...]:
    """Tensors in the type autocast gives a product, where it is in force; other things as they
    are."""
    return tuple(
        each.to(torch.get_autocast_dtype(each.device.type))
        if isinstance(each, Tensor) and torch.is_autocast_enabled(each.device.type)
        else each
        for each in given
    )


def _fits_one_batch(*given: Tensor) -> bool:
    """Whether query, key and value are of the layout that the CPU's kernel takes. CUDA's say of
    themselves that they draw random numbers, and cannot be recorded."""
    first = given[0]
    fits = {each.shape[:-2] for each in given} == {first.shape[:2]}
    return fits and first.device.type == "cpu" and torch._C._functorch.maybe_get_level(first) >= 0


class _Attention(torch.autograd.Function):
    """Attention [batch, heads, places, width] without mask and dropout: the samples of all lanes
    are one batch, of the kernel that solo takes. The formula takes a quarter longer."""

    @staticmethod
    def forward(
        query: Tensor, key: Tensor, value: Tensor, is_causal: bool, scale: float | None
    ) -> Tensor:
        return F.scaled_dot_product_attention(query, key, value, is_causal=is_causal, scale=scale)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        """Nothing: only the rule below is ever differentiated."""

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
            _move(each, dim, lanes).flatten(0, 1)
            for each, dim in zip((query, key, value), in_dims[:3], strict=True)
        )
        out = F.scaled_dot_product_attention(query, key, value, is_causal=is_causal, scale=scale)
        return out.reshape(lanes, -1, *out.shape[1:]), 0


class Rules(TorchFunctionMode):
    """Puts the rules in force for what is called within."""

    def __init__(self, noise: Noise) -> None:
        super().__init__()
        self.noise = noise
        self.rules: dict[Callable[..., Any], Callable[..., Any]] = {
            F.linear: _linear,
            F.scaled_dot_product_attention: self._attention,
            torch.embedding: _embedding,
            **{each: functools.partial(_convolve, each) for each in _CONVOLUTIONS},
            **{each: functools.partial(_normalize, each) for each in _NORMS},
            **draw_rules(noise),
            **{each: functools.partial(self._recur, each, cell) for each, cell in _LAYERS.items()},
            **{each: functools.partial(_step, cell) for each, cell in _CELLS.items()},
        }

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        if func in self.rules:
            return self.rules[func](*args, **(kwargs or {}))
        if isinstance(func, FunctionType) and func.__module__ == F.__name__ and _asks(func):
            with self:  # What it calls, as multi_head_attention_forward calls linear.
                return _unwrap(func)(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))

    def _attention(
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
        """One batch of all lanes, or the formula itself: the flash kernel has no rule and runs
        lane after lane.

        As in the reference code of torch.nn.functional.scaled_dot_product_attention; a query that
        may look at nothing gets zeros, as from the kernels.
        """
        if dropout_p > 0.0 and query.device.type == "cuda":
            raise NotRecordable(
                "it uses dropout in attention, whose numbers a GPU's kernel draws by itself"
            )
        plain = attn_mask is None and dropout_p == 0.0 and not enable_gqa
        if plain and _fits_one_batch(query, key, value):
            return _apply(_Attention, query, key, value, is_causal, scale)
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

    def _recur(
        self,
        func: Callable[..., Any],
        cell: Callable[[Tensor, Tensor, Sequence[Tensor]], tuple[Tensor, ...]],
        input: Tensor,
        hx: Any,
        params: Any,
        *given: Any,
    ) -> Any:
        """Cell by cell, in the layout of torch.lstm and its like: they have no rule at all."""
        states = hx if isinstance(hx, tuple | list) else (hx,)
        if len(given) != 6 or not isinstance(params, tuple | list):
            return func(input, hx, params, *given)  # Packed sequences.
        biased, layers, rate, train, both_ways, batch_first = given
        if layers > 1 and rate > 0.0 and train and input.device.type == "cuda":
            raise NotRecordable(
                "it uses dropout between recurrent layers, whose numbers cuDNN draws by itself"
            )
        ways, parts = 2 if both_ways else 1, 4 if biased else 2
        if len(params) != layers * ways * parts:
            return func(input, hx, params, *given)  # An LSTM with projections.
        x = input.transpose(0, 1) if batch_first else input
        last: list[Sequence[Tensor]] = []
        for layer in range(layers):
            if layer:
                x = drop(self.noise, x, rate, train)
            found = []
            for way in range(ways):
                at = layer * ways + way
                w_input, w_hidden, *bias = params[at * parts : (at + 1) * parts]
                b_input, b_hidden = bias or (None, None)
                state: Sequence[Tensor] = [each[at] for each in states]
                steps = _linear(x, w_input, b_input).unbind(0)
                out: list[Tensor] = []
                past = _Past()
                for step in reversed(steps) if way else steps:
                    hidden = _apply(_Hidden, state[0], w_hidden, b_hidden, past, not out)
                    state = cell(step, hidden, state)
                    out.append(state[0])
                found.append(torch.stack(out[::-1] if way else out))
                last.append(state)
            x = torch.cat(found, -1) if both_ways else found[0]
        ends = [torch.stack(each) for each in zip(*last, strict=True)]
        return x.transpose(0, 1) if batch_first else x, *ends


def _lstm_cell(x: Tensor, hidden: Tensor, state: Sequence[Tensor]) -> tuple[Tensor, ...]:
    i, f, g, o = (x + hidden).chunk(4, -1)
    c = f.sigmoid() * state[1] + i.sigmoid() * g.tanh()
    return o.sigmoid() * c.tanh(), c


def _gru_cell(x: Tensor, hidden: Tensor, state: Sequence[Tensor]) -> tuple[Tensor, ...]:
    size = state[0].shape[-1]
    r, z = (x[..., : 2 * size] + hidden[..., : 2 * size]).sigmoid().chunk(2, -1)
    n = (x[..., 2 * size :] + r * hidden[..., 2 * size :]).tanh()
    return ((state[0] - n) * z + n,)


def _tanh_cell(x: Tensor, hidden: Tensor, state: Sequence[Tensor]) -> tuple[Tensor, ...]:
    return ((x + hidden).tanh(),)


def _relu_cell(x: Tensor, hidden: Tensor, state: Sequence[Tensor]) -> tuple[Tensor, ...]:
    return ((x + hidden).relu(),)


_LAYERS: dict[Callable[..., Any], Callable[..., tuple[Tensor, ...]]] = {
    torch.lstm: _lstm_cell,
    torch.gru: _gru_cell,
    torch.rnn_tanh: _tanh_cell,
    torch.rnn_relu: _relu_cell,
}
_CELLS: dict[Callable[..., Any], Callable[..., tuple[Tensor, ...]]] = {
    torch.lstm_cell: _lstm_cell,
    torch.gru_cell: _gru_cell,
    torch.rnn_tanh_cell: _tanh_cell,
    torch.rnn_relu_cell: _relu_cell,
}


def _step(
    cell: Callable[..., tuple[Tensor, ...]],
    input: Tensor,
    hx: Any,
    w_input: Tensor,
    w_hidden: Tensor,
    b_input: Tensor | None = None,
    b_hidden: Tensor | None = None,
) -> Any:
    state = hx if isinstance(hx, tuple | list) else (hx,)
    x, hidden = _linear(input, w_input, b_input), _linear(state[0], w_hidden, b_hidden)
    out = cell(x, hidden, state)
    return out if len(out) > 1 else out[0]


def _linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    if input.dim() < 1 or torch._C._functorch.maybe_get_level(weight) < 0:
        return F.linear(input, weight, bias)
    return _apply(_Linear, input, weight, bias)


def _embedding(
    weight: Tensor,
    indices: Tensor,
    padding_idx: int = -1,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Tensor:
    """Under torch's rule the padding's row gets a gradient in all lanes but the first."""
    if sparse:
        raise NotRecordable("it has sparse gradients, of an embedding")
    out = torch.embedding(weight, indices, -1, scale_grad_by_freq)
    if padding_idx < 0:
        return out
    return torch.where((indices == padding_idx).unsqueeze(-1), out.detach(), out)


# Under vmap autocast leaves alone what has a rule there, and rules take no mixed types.

_CONVOLUTIONS = (
    *(F.conv1d, F.conv2d, F.conv3d),
    *(F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d),
)
_NORMS = (torch.batch_norm, torch.instance_norm, torch.group_norm, torch.layer_norm)


def _convolve(func: Callable[..., Tensor], *args: Any, **kwargs: Any) -> Tensor:
    return func(*_lower(*args), **dict(zip(kwargs, _lower(*kwargs.values()), strict=True)))


def _normalize(func: Callable[..., Tensor], input: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    if func is torch.batch_norm and input.dim() == 2 and _sums_by_place(input):
        turned = _normalize(func, input.t().unsqueeze(0).contiguous(), *args, **kwargs)
        return turned.squeeze(0).t().contiguous()  # Dropout's noise goes by what lies where.
    if not torch.is_autocast_enabled(input.device.type):
        return func(input, *args, **kwargs)
    out = func(input.float(), *args, **kwargs)
    wide = input.device.type == "cuda" and func in (torch.group_norm, torch.layer_norm)
    return out if wide else out.to(input.dtype)


def _sums_by_place(matrix: Tensor) -> bool:
    """Whether the sums over its rows depend, in their last bits, on a column's place, and so on the
    lane's: on a CPU columns are summed in fours of vectors, and those left over in another order.
    The pixels of an image are not: there a channel is summed for itself."""
    whole = 256  # Bytes: four of the longest vectors.
    return matrix.device.type == "cpu" and matrix.shape[1] * matrix.element_size() % whole != 0


_QUESTIONS = ("has_torch_function", "has_torch_function_unary", "has_torch_function_variadic")
"""By one of these a function of torch.nn.functional asks whether a mode wants to see the call."""


def _asks(function: FunctionType) -> bool:
    return any(name in _QUESTIONS for name in function.__code__.co_names)


@functools.cache
def _unwrap(function: FunctionType) -> Callable[..., Any]:
    """The same function, not asking."""
    scope = {**function.__globals__, **dict.fromkeys(_QUESTIONS, lambda *_: False)}
    body = FunctionType(
        function.__code__, scope, function.__name__, function.__defaults__, function.__closure__
    )
    body.__kwdefaults__ = function.__kwdefaults__
    return body
