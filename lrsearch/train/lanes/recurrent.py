"""Recurrent layers under vmap: cell by cell, and the weights' gradients by one product."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from lrsearch.train.lanes.draws import Noise, drop
from lrsearch.train.lanes.linear import apply, linear, lower, move
from lrsearch.train.products import align, multiply
from lrsearch.train.tape import NotRecordable


def recur(
    noise: Noise,
    func: Callable[..., Any],
    cell: Callable[[Tensor, Tensor, Sequence[Tensor]], tuple[Tensor, ...]],
    input: Tensor,
    hx: Any,
    params: Any,
    *given: Any,
    within: Tensor | None = None,
) -> Any:
    """Run a recurrent layer cell by cell, with the arguments of torch.lstm and its like, for which
    torch has no rule. In one lane the input is [time, batch, features], or [batch, time,
    features]. `within` says which places, [time, batch], are of a sequence: a state stays as it is
    at the others."""
    states = hx if isinstance(hx, tuple | list) else (hx,)
    if len(given) != 6 or not isinstance(params, tuple | list):
        return func(input, hx, params, *given)  # Packed sequences.
    biased, layers, rate, train, both_ways, batch_first = given
    if layers > 1 and rate > 0.0 and train and input.device.type == "cuda":
        raise NotRecordable(
            "it uses dropout between recurrent layers, whose numbers cuDNN draws by itself"
        )
    ways, plain = 2 if both_ways else 1, 4 if biased else 2
    parts = len(params) // (layers * ways)  # One more in an LSTM with projections.
    x = input.transpose(0, 1) if batch_first else input
    last: list[Sequence[Tensor]] = []
    for layer in range(layers):
        if layer:
            x = drop(noise, x, rate, train)
        found = []
        for way in range(ways):
            at = layer * ways + way
            w_input, w_hidden, *bias = params[at * parts : at * parts + plain]
            b_input, b_hidden = bias or (None, None)
            projection = params[at * parts + plain] if parts > plain else None
            state: Sequence[Tensor] = [each[at] for each in states]
            steps = linear(x, w_input, b_input).unbind(0)
            out: list[Tensor] = []
            past, projected = _Past(), _Past()
            for place in reversed(range(len(steps))) if way else range(len(steps)):
                before = state
                hidden = apply(_Hidden, state[0], w_hidden, b_hidden, past, not out)
                state = cell(steps[place], hidden, state)
                if projection is not None:
                    h = apply(_Hidden, state[0], projection, None, projected, not out)
                    state = (h, *state[1:])
                if within is not None:
                    goes_on = within[place].unsqueeze(-1)
                    pairs = zip(state, before, strict=True)
                    state = [torch.where(goes_on, *pair) for pair in pairs]
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


LAYERS: dict[Callable[..., Any], Callable[..., tuple[Tensor, ...]]] = {
    torch.lstm: _lstm_cell,
    torch.gru: _gru_cell,
    torch.rnn_tanh: _tanh_cell,
    torch.rnn_relu: _relu_cell,
}
CELLS: dict[Callable[..., Any], Callable[..., tuple[Tensor, ...]]] = {
    torch.lstm_cell: _lstm_cell,
    torch.gru_cell: _gru_cell,
    torch.rnn_tanh_cell: _tanh_cell,
    torch.rnn_relu_cell: _relu_cell,
}


def step(
    cell: Callable[..., tuple[Tensor, ...]],
    input: Tensor,
    hx: Any,
    w_input: Tensor,
    w_hidden: Tensor,
    b_input: Tensor | None = None,
    b_hidden: Tensor | None = None,
) -> Any:
    """Run one cell, as torch.lstm_cell and its like: in one lane input [batch, features] and states
    [batch, hidden] to states [batch, hidden]."""
    state = hx if isinstance(hx, tuple | list) else (hx,)
    x, hidden = linear(input, w_input, b_input), linear(state[0], w_hidden, b_hidden)
    out = cell(x, hidden, state)
    return out if len(out) > 1 else out[0]


@dataclass(eq=False)
class _Past:
    """Gradients and hidden states [K, n, ...] that the steps of a recurrence leave to the first
    one's backward. Not a bare list: torch would copy it."""

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
        bias = gradients.sum(1) if ctx.needs_input_grad[2] else None
        return onward, multiply(gradients.transpose(1, 2), states), bias, None, None


class _Hidden(torch.autograd.Function):
    """The product of `_HiddenProducts`, lane by lane."""

    @staticmethod
    def forward(
        hidden: Tensor, weight: Tensor, bias: Tensor | None, past: _Past, first: bool
    ) -> Tensor:
        return F.linear(hidden, weight, bias)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        """Keep nothing: only the rule below is ever differentiated."""

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
            move(each, dim, info.batch_size)
            for each, dim in ((hidden, in_dims[0]), (weight, in_dims[1]))
        )
        if bias is not None:
            bias = move(bias, in_dims[2], info.batch_size)
        if not first:
            weight, bias = weight.detach(), None if bias is None else bias.detach()
        hidden, weight, bias = lower(hidden, weight, bias)
        return apply(_HiddenProducts, hidden, weight, bias, past, first), 0
