"""How some layers run under vmap: where torch's own rule is slow, missing, or draws noise that
would tie the lanes together. Every other operation keeps torch's rule."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from lrsearch.train.tape import unrecorded


def _apply(function: type[torch.autograd.Function], *args: Any) -> Tensor:
    return cast(Tensor, function.apply(*args))  # type: ignore[no-untyped-call]


class _Products(torch.autograd.Function):
    """x [K, n, in] times weights [K, out, in]: one batched product each way, and the weights'
    gradient comes out in their own layout, which autograd's does not."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        if bias is None:
            return torch.bmm(x, weight.transpose(1, 2))
        return torch.baddbmm(bias.unsqueeze(1), x, weight.transpose(1, 2))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        needs_x, needs_weight, needs_bias = ctx.needs_input_grad
        return (
            torch.bmm(gradient, weight) if needs_x else None,
            torch.bmm(gradient.transpose(1, 2), x) if needs_weight else None,
            gradient.sum(1) if needs_bias else None,
        )


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
        if torch.is_autocast_enabled(x.device.type):
            x, weight, bias = _lower(x), _lower(weight), None if bias is None else _lower(bias)
        shape = x.shape[1:-1]
        out = _apply(_Products, x.reshape(lanes, -1, x.shape[-1]), weight, bias)
        return out.reshape(lanes, *shape, out.shape[-1]), 0


def _lower(tensor: Tensor) -> Tensor:
    return tensor.to(torch.get_autocast_dtype(tensor.device.type))


@dataclass(eq=False)
class Noise:
    """Dropout's noise, a generator a lane, so that lanes do not see each other.

    Drawn as the solo engine's dropout draws it from its one global generator: of equal state they
    give the same noise. `masks` are one tensor [lanes, ...] a call, in the order of the calls of
    one step, with their rates; `draw` fills them anew before a step is replayed.
    """

    generators: Sequence[torch.Generator]
    masks: list[tuple[Tensor, float]] = field(default_factory=list)

    def add(self, like: Tensor, rate: float) -> Tensor:
        """The noise of one more call, whose input is `like`: 0, or 1 / (1 - rate)."""
        with unrecorded(), torch.no_grad():
            mask = torch.empty(like.shape, dtype=like.dtype, device=like.device)
            self.masks.append((mask, rate))
            self._fill(mask, rate)
        return mask

    def draw(self) -> None:
        """New noise in every mask."""
        for mask, rate in self.masks:
            self._fill(mask, rate)

    def _fill(self, mask: Tensor, rate: float) -> None:
        for lane, generator in zip(mask.unbind(0), self.generators, strict=True):
            lane.bernoulli_(1 - rate, generator=generator)
        if rate < 1:
            mask.div_(1 - rate)


class _Dropout(torch.autograd.Function):
    """Multiply by the noise of a `Noise`."""

    @staticmethod
    def forward(x: Tensor, rate: float, noise: Noise) -> Tensor:
        raise RuntimeError("dropout of a tensor that all lanes share")

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        """Nothing: only the rule below is ever differentiated."""

    @staticmethod
    def vmap(
        info: Any, in_dims: Sequence[int | None], x: Tensor, rate: float, noise: Noise
    ) -> tuple[Tensor, int]:
        x = _move(x, in_dims[0], info.batch_size)
        return x * noise.add(x, rate), 0


class Rules(TorchFunctionMode):
    """Puts the rules in force for what is called within."""

    def __init__(self, noise: Noise) -> None:
        super().__init__()
        self.noise = noise
        self.rules: dict[Callable[..., Any], Callable[..., Any]] = {
            F.linear: _linear,
            F.dropout: self._dropout,
            F.scaled_dot_product_attention: self._attention,
        }

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        return self.rules.get(func, func)(*args, **(kwargs or {}))

    def _dropout(
        self, input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
    ) -> Tensor:
        if not training or p == 0.0:
            return input
        if not 0.0 <= p <= 1.0:
            raise ValueError(f"dropout probability has to be between 0 and 1, but got {p}")
        out = _apply(_Dropout, input, p, self.noise)
        return input.copy_(out) if inplace else out

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
        """The formula itself: the flash kernel has no rule and runs lane after lane.

        As in the reference code of torch.nn.functional.scaled_dot_product_attention.
        """
        if enable_gqa:
            key = key.repeat_interleave(query.size(-3) // key.size(-3), -3)
            value = value.repeat_interleave(query.size(-3) // value.size(-3), -3)
        factor = 1 / math.sqrt(query.size(-1)) if scale is None else scale
        scores = (query * factor) @ key.transpose(-2, -1)
        if is_causal:
            allowed = torch.ones(scores.shape[-2:], dtype=torch.bool, device=query.device).tril()
            scores = scores.masked_fill(~allowed, -math.inf)
        if attn_mask is not None and attn_mask.dtype is torch.bool:
            scores = scores.masked_fill(~attn_mask, -math.inf)
        elif attn_mask is not None:
            scores = scores + attn_mask
        return self._dropout(scores.softmax(-1), dropout_p) @ value


def _linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    if input.dim() < 1 or torch._C._functorch.maybe_get_level(weight) < 0:
        return F.linear(input, weight, bias)
    return _apply(_Linear, input, weight, bias)
