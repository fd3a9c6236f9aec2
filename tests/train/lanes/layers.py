"""Small models, one for each family of layers and one for each way a model can resist training in
lanes, in a module that specs can name."""

from __future__ import annotations

import functools
import itertools
import math
import random
from collections import deque
from collections.abc import Callable

import numpy as np
import ticks
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from torch.utils.checkpoint import checkpoint

VIEWS: dict[str, Callable[[Tensor], Tensor]] = {
    "flat": lambda x: x.flatten(1),
    "image": lambda x: x,
    "rows": lambda x: x.squeeze(1),
    "signal": lambda x: x.flatten(2),
    "volume": lambda x: x.reshape(len(x), 1, 4, 4, 4),
    "tokens": lambda x: (x.detach().flatten(1).clamp(-2, 2) * 2).round().long() + 4,
}
"""A sample of 1x8x8 as what a layer takes; tokens are 0 to 8."""


class Called(nn.Module):
    """A function as a layer."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


class Classifier(nn.Module):
    """A layer between two linear ones."""

    def __init__(self, layer: nn.Module, view: str, num_classes: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.dtype = dtype
        self.stem = nn.Identity() if view == "tokens" else nn.Linear(64, 64)
        self.layer, self.view = layer, VIEWS[view]
        self.head = nn.LazyLinear(num_classes)
        self.to(dtype)

    def forward(self, x: Tensor) -> Tensor:
        x = x.to(self.dtype)
        x = self.stem(x.flatten(1)).reshape(x.shape)
        out = self.layer(self.view(x))
        if isinstance(out, tuple):
            out = out[0]
        return self.head(out.flatten(1).to(self.dtype))


class Attention(nn.Module):
    def __init__(self, **given) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True, **given)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.attention(x, x, x, need_weights=False)[0]


class Causal(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(8, 24)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).unflatten(-1, (3, 2, 4)).permute(2, 0, 3, 1, 4)
        return F.scaled_dot_product_attention(q, k, v, is_causal=True)


class Unpooled(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        out, indices = F.max_pool2d(x, 2, return_indices=True)
        return F.max_unpool2d(out, indices, 2)


class Bags(nn.Module):
    def __init__(self, **given) -> None:
        super().__init__()
        self.bag = nn.EmbeddingBag(9, 8, **given)

    def forward(self, x: Tensor) -> Tensor:
        return self.bag(x.reshape(-1, 8)).reshape(len(x), -1)


class Pair(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.bilinear = nn.Bilinear(32, 32, 8)

    def forward(self, x: Tensor) -> Tensor:
        return self.bilinear(x[:, :32], x[:, 32:])


class Cells(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.gru = nn.LSTMCell(8, 8), nn.GRUCell(8, 8)
        self.tanh, self.relu = nn.RNNCell(8, 8, bias=False), nn.RNNCell(8, 8, nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        zeros = x.new_zeros(len(x), 8)
        states, state, other, out = (zeros, zeros), zeros, zeros, zeros
        for each in x.unbind(1):
            states = self.lstm(each, states)
            state = self.gru(states[0], state)
            other = self.tanh(state, other)
            out = self.relu(other, out)
        return out


class Relative(nn.Module):
    """Looked up by integer indices, from a buffer and a parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.randn(15))
        index = torch.arange(8)
        self.register_buffer("index", index[:, None] - index[None] + 7)

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.table[self.index]


class Kept(nn.Module):
    """Counts and averages in buffers, in place."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))
        self.register_buffer("mean", torch.zeros(64))

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.calls += 1
            with torch.no_grad():
                self.mean.lerp_(x.mean(0), 0.1)
        return torch.where(self.calls > 1, x - self.mean, x)


class Frozen(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner, self.unused = nn.Linear(64, 64), nn.Linear(3, 3)
        self.inner.requires_grad_(False)
        self.unused.weight.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x).tanh()


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.third = (nn.Linear(64, 64) for _ in range(3))
        self.second.weight = self.first.weight
        self.third = self.first

    def forward(self, x: Tensor) -> Tensor:
        return self.third(self.second(self.first(x).relu()).relu())


class Cube(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(x):
        return x**3

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        return 3 * x**2 * gradient


class Encoder(nn.TransformerEncoderLayer):
    def __init__(self, **given) -> None:
        super().__init__(8, 2, 16, batch_first=True, **given)


RELU = nn.ReLU
LAYERS: dict[str, tuple[str, Callable[[], nn.Module]]] = {
    "linear": ("flat", lambda: nn.Linear(64, 16)),
    "linear, no bias": ("rows", lambda: nn.Linear(8, 16, bias=False)),
    "bilinear": ("flat", Pair),
    "conv1d": ("signal", lambda: nn.Conv1d(1, 4, 3)),
    "conv2d": ("image", lambda: nn.Conv2d(1, 4, 3, padding=1)),
    "conv2d, grouped, dilated": (
        "image",
        lambda: nn.Sequential(
            nn.Conv2d(1, 4, 1), nn.Conv2d(4, 8, 3, groups=4, dilation=2, stride=2)
        ),
    ),
    "conv2d, circular": ("image", lambda: nn.Conv2d(1, 4, 3, padding=1, padding_mode="circular")),
    "conv2d, colours": (
        "image",
        lambda: nn.Sequential(
            nn.Conv2d(1, 3, 1), nn.Conv2d(3, 16, 4, 4), nn.ConvTranspose2d(16, 2, 2, 2)
        ),
    ),
    "conv3d": ("volume", lambda: nn.Conv3d(1, 4, 3)),
    "conv transpose": ("image", lambda: nn.ConvTranspose2d(1, 4, 3, stride=2)),
    "batch norm 1d": ("flat", lambda: nn.BatchNorm1d(64)),
    "batch norm 2d": ("image", lambda: nn.BatchNorm2d(1)),
    "batch norm, no statistics": ("image", lambda: nn.BatchNorm2d(1, track_running_stats=False)),
    "batch norm, not affine": ("flat", lambda: nn.BatchNorm1d(64, affine=False)),
    "batch norm, momentum none": ("flat", lambda: nn.BatchNorm1d(64, momentum=None)),
    "group norm": ("image", lambda: nn.Sequential(nn.Conv2d(1, 4, 1), nn.GroupNorm(2, 4))),
    "instance norm": (
        "image",
        lambda: nn.Sequential(nn.Conv2d(1, 4, 1), nn.InstanceNorm2d(4, affine=True)),
    ),
    "instance norm, statistics": ("image", lambda: nn.InstanceNorm2d(1, track_running_stats=True)),
    "layer norm": ("rows", lambda: nn.LayerNorm(8)),
    "rms norm": ("rows", lambda: nn.RMSNorm(8)),
    "local response norm": ("image", lambda: nn.LocalResponseNorm(2)),
    "prelu": ("flat", lambda: nn.PReLU(64)),
    "activations": (
        "flat",
        lambda: nn.Sequential(
            *(nn.ELU(), nn.SELU(), nn.CELU(), nn.Softplus(), nn.Mish(), nn.Hardswish()),
            *(nn.LogSigmoid(), nn.Softsign(), nn.Softshrink(0.1), nn.GELU(), nn.SiLU()),
            *(nn.LeakyReLU(), nn.Hardtanh(), nn.Tanhshrink(), nn.Sigmoid(), nn.Softmax(-1)),
        ),
    ),
    "glu": ("flat", lambda: nn.GLU()),
    "maxout": ("flat", lambda: Called(lambda x: x.unflatten(1, (16, 4)).amax(-1))),
    "relu in place": ("flat", lambda: nn.Sequential(nn.Linear(64, 16), nn.ReLU(inplace=True))),
    "dropout": ("flat", lambda: nn.Dropout(0.3)),
    "dropout in place": (
        "flat",
        lambda: nn.Sequential(nn.Linear(64, 16), nn.Dropout(0.3, inplace=True)),
    ),
    "dropout, twice, functional": (
        "flat",
        lambda: Called(lambda x: F.dropout(F.dropout(x, 0.2).relu(), 0.4)),
    ),
    "dropout of everything": ("flat", lambda: nn.Dropout(1.0)),
    "dropout1d": ("rows", lambda: nn.Dropout1d(0.3)),
    "dropout2d": (
        "image",
        lambda: nn.Sequential(nn.Conv2d(1, 4, 1), nn.Dropout2d(0.3)),
    ),
    "dropout3d": (
        "volume",
        lambda: nn.Sequential(nn.Conv3d(1, 4, 1), nn.Dropout3d(0.3)),
    ),
    "alpha dropout": ("flat", lambda: nn.AlphaDropout(0.3)),
    "feature alpha dropout": ("rows", lambda: nn.FeatureAlphaDropout(0.3)),
    "rrelu": ("flat", nn.RReLU),
    "rrelu, no range": ("flat", lambda: nn.RReLU(0.1, 0.1)),
    "embedding": ("tokens", lambda: nn.Embedding(9, 4)),
    "embedding, padding": ("tokens", lambda: nn.Embedding(9, 4, padding_idx=4)),
    "embedding, max norm": ("tokens", lambda: nn.Embedding(9, 4, max_norm=1.0)),
    "embedding, by frequency": ("tokens", lambda: nn.Embedding(9, 4, scale_grad_by_freq=True)),
    "embedding, sparse": ("tokens", lambda: nn.Embedding(9, 4, sparse=True)),
    "one hot": ("tokens", lambda: Called(lambda x: F.one_hot(x, 9).to(torch.get_default_dtype()))),
    "embedding bag, mean": ("tokens", Bags),
    "embedding bag, sum": ("tokens", lambda: Bags(mode="sum")),
    "embedding bag, max": ("tokens", lambda: Bags(mode="max")),
    "rnn": ("rows", lambda: nn.RNN(8, 16, bias=False, batch_first=True)),
    "lstm": ("rows", lambda: nn.LSTM(8, 16, batch_first=True)),
    "lstm, two ways, two layers": (
        "rows",
        lambda: nn.LSTM(8, 8, num_layers=2, bidirectional=True, batch_first=True),
    ),
    "lstm, projected": ("rows", lambda: nn.LSTM(8, 16, proj_size=4, batch_first=True)),
    "lstm, dropout": ("rows", lambda: nn.LSTM(8, 8, num_layers=2, dropout=0.3, batch_first=True)),
    "gru": ("rows", lambda: nn.GRU(8, 16, batch_first=True)),
    "cells": ("rows", Cells),
    "attention": ("rows", Attention),
    "attention, dropout": ("rows", lambda: Attention(dropout=0.3)),
    "attention, causal": ("rows", Causal),
    "attention, other sizes": ("rows", lambda: Attention(add_bias_kv=True, bias=False)),
    "transformer encoder": ("rows", lambda: Encoder(dropout=0.0)),
    "transformer encoder, dropout": ("rows", Encoder),
    "transformer encoder, norm first": ("rows", lambda: Encoder(norm_first=True)),
    "transformer decoder": (
        "rows",
        lambda: Decoder(),
    ),
    "max pool": ("image", lambda: nn.MaxPool2d(2)),
    "max pool 1d, 3d": (
        "volume",
        lambda: nn.Sequential(nn.MaxPool3d(2), nn.Flatten(2), nn.MaxPool1d(2)),
    ),
    "max pool, unpool": ("image", Unpooled),
    "average pool": ("image", lambda: nn.AvgPool2d(3, stride=2, padding=1)),
    "adaptive pools": (
        "image",
        lambda: nn.Sequential(nn.AdaptiveMaxPool2d(5), nn.AdaptiveAvgPool2d(3)),
    ),
    "lp pool": ("image", lambda: nn.LPPool2d(2, 2)),
    "fractional max pool": ("image", lambda: nn.FractionalMaxPool2d(2, output_size=3)),
    "upsample": ("image", lambda: nn.Upsample(scale_factor=2, mode="bilinear")),
    "upsample, nearest": ("image", lambda: nn.Upsample(scale_factor=2)),
    "interpolate, bicubic": (
        "image",
        lambda: Called(lambda x: F.interpolate(x, size=5, mode="bicubic", align_corners=True)),
    ),
    "pixel shuffle": ("image", lambda: nn.Sequential(nn.PixelUnshuffle(4), nn.PixelShuffle(2))),
    "fold, unfold": (
        "image",
        lambda: nn.Sequential(nn.Unfold(3, padding=1), nn.Fold((8, 8), 3, padding=1)),
    ),
    "padding": ("image", lambda: nn.Sequential(nn.ReflectionPad2d(2), nn.ReplicationPad2d(1))),
    "grid sample": ("image", lambda: Called(sample)),
    "einsum": ("rows", lambda: Called(lambda x: torch.einsum("nij,nkj->nik", x, x))),
    "gather": ("rows", lambda: Called(lambda x: x.gather(2, x.argsort(2)[:, :, :4]))),
    "indexed by integers": ("rows", Relative),
    "indexed by a list": ("flat", lambda: Called(lambda x: x[:, [3, 1, 2]])),
    "indexed by a mask": (
        "flat",
        lambda: Called(lambda x: x[:, torch.arange(64, device=x.device) % 3 == 0]),
    ),
    "scatter": (
        "rows",
        lambda: Called(lambda x: torch.zeros_like(x).scatter_add(2, x.argsort(2), x)),
    ),
    "masked fill": ("flat", lambda: Called(lambda x: x.masked_fill(x > 1, 0.5))),
    "assigned by a mask": ("flat", lambda: Called(clip)),
    "assigned in place": ("flat", lambda: Called(assign)),
    "ctc loss": ("rows", lambda: Called(align)),
    "gaussian nll loss": (
        "flat",
        lambda: Called(lambda x: F.gaussian_nll_loss(x, x.flip(1), x.exp(), reduction="none")),
    ),
    "cumsum": ("flat", lambda: Called(lambda x: x.cumsum(1))),
    "sort, topk": ("flat", lambda: Called(lambda x: x.sort(1)[0] + x.topk(64, 1)[0])),
    "median, quantile": (
        "flat",
        lambda: Called(lambda x: torch.stack([x.median(1)[0], x.quantile(0.3, 1)], 1)),
    ),
    "logsumexp, norm": (
        "rows",
        lambda: Called(lambda x: x.logsumexp(2) + torch.linalg.vector_norm(x, dim=2)),
    ),
    "cosine similarity, cdist": (
        "rows",
        lambda: Called(
            lambda x: torch.cdist(x, x.flip(1)) + F.cosine_similarity(x, x[:, :1], 2).unsqueeze(2)
        ),
    ),
    "solve": (
        "rows",
        lambda: Called(lambda x: torch.linalg.solve(x @ x.mT + torch.eye(8).to(x), x)),
    ),
    "svd": ("rows", lambda: Called(torch.linalg.svdvals)),
    "fft": ("flat", lambda: Called(lambda x: torch.view_as_real(torch.fft.rfft(x)))),
    "complex": ("flat", lambda: Called(lambda x: torch.complex(x, x * 2).exp().abs())),
    "chunks": ("flat", lambda: Called(lambda x: torch.cat([p.tanh() for p in x.chunk(5, 1)], 1))),
    "a view": ("rows", lambda: Called(lambda x: x.transpose(1, 2)[:, ::2])),
    "checkpoint": ("flat", lambda: Checkpointed(False)),
    "checkpoint, reentrant": ("flat", lambda: Checkpointed(True)),
    "checkpoint with dropout": ("flat", lambda: Checkpointed(False, 0.3)),
    "spectral norm": ("flat", lambda: parametrizations.spectral_norm(nn.Linear(64, 16))),
    "weight norm": ("flat", lambda: parametrizations.weight_norm(nn.Linear(64, 16))),
    "orthogonal": ("flat", lambda: parametrizations.orthogonal(nn.Linear(64, 16))),
    "spectral norm, by a hook": ("flat", lambda: nn.utils.spectral_norm(nn.Linear(64, 16))),
    "packed sequences": ("rows", lambda: Packed()),
    "kept in buffers": ("flat", Kept),
    "frozen, unused": ("flat", Frozen),
    "tied": ("flat", Tied),
    "own function, with a rule": ("flat", lambda: Called(Cube.apply)),
    "half inside": ("flat", lambda: Called(lambda x: (x.half() * 2).to(x))),
    "float64 inside": ("flat", lambda: Called(lambda x: x.double().logsumexp(1, True).to(x) + x)),
}


class Decoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.TransformerDecoderLayer(8, 2, 16, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        mask = nn.Transformer.generate_square_subsequent_mask(8).to(x)
        return self.layer(x, x.flip(1), tgt_mask=mask, tgt_is_causal=True)


def sample(x: Tensor) -> Tensor:
    grid = torch.linspace(-1, 1, 5, dtype=x.dtype, device=x.device)
    both = torch.stack(torch.meshgrid(grid, grid, indexing="ij"), -1)
    return F.grid_sample(x, both.expand(len(x), -1, -1, -1), align_corners=True)


def clip(x: Tensor) -> Tensor:
    x = x.clone()
    x[x > 1] = 1
    x[x[:, 0] < 0] = x.new_tensor(-2)
    tokens = x.long()
    tokens[tokens < 0] = 5
    return x * tokens


def align(x: Tensor) -> Tensor:
    """Losses by lengths in tensors, and by lengths in a tuple, with their mean."""
    size, targets = len(x), torch.tensor([[1, 3, 3], [2, 1, 5]], device=x.device)
    lengths = torch.tensor([3, 2], device=x.device).repeat(size)[:size]
    logits = x.log_softmax(2).transpose(0, 1)
    given = logits, targets.repeat(size, 1)[:size]
    full = torch.full((size,), 8, device=x.device)
    each = torch.ctc_loss(*given, full, lengths).reshape(-1, 1)
    return each + F.ctc_loss(*given, (8,) * size, (2,) * size)


def assign(x: Tensor) -> Tensor:
    out = torch.empty_like(x)
    out[:, ::2] = x[:, ::2].tanh()
    out[:, 1::2] = x[:, 1::2]
    return out


class Checkpointed(nn.Module):
    def __init__(self, reentrant: bool, rate: float = 0.0) -> None:
        super().__init__()
        self.reentrant = reentrant
        self.inner = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Dropout(rate))

    def forward(self, x: Tensor) -> Tensor:
        return checkpoint(self.inner, x, use_reentrant=self.reentrant)


class Packed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(8, 8, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        lengths = torch.arange(len(x)) % 8 + 1
        packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        return pad_packed_sequence(self.rnn(packed)[0], batch_first=True, total_length=8)[0]


def layer(family: str, num_classes: int, dtype: str = "float32") -> nn.Module:
    view, make = LAYERS[family]
    return Classifier(make(), view, num_classes, getattr(torch, dtype))


# Ways to resist


class Net(nn.Module):
    """The model the others are made of."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.first, self.head = nn.Linear(64, 16), nn.Linear(16, num_classes)

    def _apply(self, function, recurse=True):
        """Takes tensors that are no buffers along to another device, as careful models do."""
        for name, each in list(vars(self).items()):
            if isinstance(each, Tensor) and (moved := function(each)).device != each.device:
                setattr(self, name, moved)
        return super()._apply(function, recurse)

    def hidden(self, x: Tensor) -> Tensor:
        return self.first(x).tanh()

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.hidden(x.flatten(1)))


class Branches(Net):
    def hidden(self, x):
        h = super().hidden(x)
        return h if h.mean() > 0 else -h


class Squeezes(Net):
    """Its channels, as squeeze-and-excitation does, between norms that leave a mean of zero, and
    with parts that fill no vector of a processor."""

    def __init__(self, num_classes: int) -> None:
        super().__init__(num_classes)
        self.body = nn.Sequential(
            nn.Conv2d(1, 11, 3, 2, 1, bias=False), nn.BatchNorm2d(11),
            nn.Conv2d(11, 11, 1, bias=False), nn.BatchNorm2d(11), nn.SiLU(inplace=True),
        )  # fmt: skip
        self.down, self.up = nn.Conv2d(11, 3, 1), nn.Conv2d(3, 11, 1)
        self.gate, self.gain = nn.Parameter(torch.randn(11)), nn.Parameter(torch.ones(()))
        self.head = nn.Linear(11, num_classes)

    def forward(self, x):
        x = self.body(x)
        share = torch.sigmoid(self.up(F.gelu(self.down(x.mean((2, 3), keepdim=True)))))
        return self.head((x * share).mean((2, 3)) * torch.sigmoid(self.gate) * self.gain.exp())


class BranchesOnItsInput(Net):
    def hidden(self, x):
        return super().hidden(x if x.mean() > 0 else -x)


class ReadsItsInput(Net):
    def hidden(self, x):
        return super().hidden(x / x.abs().max().item())


class Lists(Net):
    def hidden(self, x):
        return super().hidden(x * len(x[:, 0].tolist()))


class Rebinds(Net):
    def __init__(self, num_classes):
        super().__init__(num_classes)
        self.register_buffer("mean", torch.zeros(64))

    def hidden(self, x):
        if self.training:
            self.mean = 0.9 * self.mean + 0.1 * x.detach().mean(0)
        return super().hidden(x - self.mean)


class RebindsOthers(Rebinds):
    def hidden(self, x):
        h = super().hidden(x)
        if self.training:
            self.mean = self.mean.double()
        return h


class RebindsWhatIsNeeded(Net):
    def __init__(self, num_classes):
        super().__init__(num_classes)
        self.register_buffer("size", torch.ones(()))

    def hidden(self, x):
        h = super().hidden(x) * self.size
        if self.training:
            self.size = 0.9 * self.size + h.detach().mean()
        return h


class LeavesAGraph(Rebinds):
    def hidden(self, x):
        h = super().hidden(x)
        if self.training:
            self.mean = self.mean + h.mean()
        return h


class Warms(Net):
    """Another from the second step on."""

    warm = False

    def hidden(self, x):
        h = super().hidden(x)
        if self.training:
            h, self.warm = (-h if self.warm else h), True
        return h


class Counts(Net):
    """Another from the hundredth step on."""

    def __init__(self, num_classes):
        super().__init__(num_classes)
        self.calls = 0

    def hidden(self, x):
        self.calls += self.training
        h = super().hidden(x)
        return h if self.calls < 100 else -h


class CountsDeeply(Net):
    def __init__(self, num_classes):
        super().__init__(num_classes)
        self.state = {"inner": [deque([0])]}

    def hidden(self, x):
        counted = self.state["inner"][0]
        counted.append(counted.pop() + 1)
        return super().hidden(x) * (1 if counted[0] < 100 else -1)


class Meter:
    total = 0.0

    def add(self, value):
        self.total += value


class CountsElsewhere(Net):
    def __init__(self, num_classes):
        super().__init__(num_classes)
        self.meter = Meter()

    def hidden(self, x):
        self.meter.add(1.0)
        return super().hidden(x) * (1 if self.meter.total < 100 else -1)


class CountsInItsClass(Net):
    calls = 0

    def hidden(self, x):
        CountsInItsClass.calls += 1
        return super().hidden(x) * (1 if self.calls < 100 else -1)


CALLS = itertools.count()


class CountsInItsModule(Net):
    def hidden(self, x):
        return super().hidden(x) * (1 if next(CALLS) < 100 else -1)


def counting():
    calls = 0

    def change(x):
        nonlocal calls
        calls += 1
        return x if calls < 100 else -x

    return change


class CountsInAClosure(Net):
    def __init__(self, num_classes):
        super().__init__(num_classes)
        self.change = counting()

    def hidden(self, x):
        return self.change(super().hidden(x))


class Settings:
    """A class in the place of globals."""

    calls = 0


def mutable(calls=[0]):  # noqa: B006
    calls[0] += 1
    return calls[0]


def with_attribute():
    with_attribute.calls = getattr(with_attribute, "calls", 0) + 1
    return with_attribute.calls


def add_one(calls):
    calls.append(calls.pop() + 1)
    return calls[0]


def ticking():
    yield from itertools.count()


def _settings():
    Settings.calls += 1
    return Settings.calls


def _slotted(state):
    state.calls += 1
    return state.calls


class Cools(Net):
    """By a call count kept in a place of this kind, too slowly for two steps to show."""

    def __init__(self, num_classes: int, kind: str = "class") -> None:
        super().__init__(num_classes)
        self.kind = kind
        self.kept = {
            "generator": lambda: ticking(),
            "list iterator": lambda: iter(list(range(1000))),
            "zip": lambda: zip(range(1000), "x" * 1000, strict=True),
            "cycle": lambda: itertools.cycle(range(1000)),
            "partial": lambda: functools.partial(add_one, [0]),
            "slots": lambda: ticks.Slotted(),
            "bytearray": lambda: bytearray(2),
        }.get(kind, lambda: None)()

    def count(self):
        if self.kind == "bytearray":
            self.kept[0] += 1
            return self.kept[0]
        if hasattr(self.kept, "__next__"):
            found = next(self.kept)
            return found[0] if isinstance(found, tuple) else found
        return {
            "partial": self.kept,
            "slots": lambda: _slotted(self.kept),
            "class": _settings,
            "default": mutable,
            "function": with_attribute,
            "module": ticks.tick,
        }[self.kind]()

    def hidden(self, x):
        cooled = math.exp(-1e-6 * self.count()) if self.training else 1.0
        return super().hidden(x) * cooled


class Remembers(Net):
    def __init__(self, num_classes):
        super().__init__(num_classes)
        self.seen = []

    def hidden(self, x):
        self.seen.append(x.detach())
        return super().hidden(x)


class CountsInAPlainTensor(Net):
    def __init__(self, num_classes):
        super().__init__(num_classes)
        self.calls = torch.zeros(())

    def hidden(self, x):
        self.calls += 1
        return super().hidden(x) * torch.where(self.calls < 100, 1, -1)


class AveragesInAPlainTensor(Net):
    def __init__(self, num_classes):
        super().__init__(num_classes)
        self.mean = torch.zeros(64)

    def hidden(self, x):
        self.mean.lerp_(x.detach().mean(0), 0.1)
        return super().hidden(x - self.mean)


class NormsInPlainTensors(Net):
    """Whose change the schema of the operation does not tell."""

    def __init__(self, num_classes):
        super().__init__(num_classes)
        self.mean, self.variance = torch.zeros(64), torch.ones(64)

    def hidden(self, x):
        return super().hidden(F.batch_norm(x, self.mean, self.variance, training=self.training))


class AveragesInNumpy(Net):
    def __init__(self, num_classes):
        super().__init__(num_classes)
        self.scale = np.ones(1)

    def hidden(self, x):
        self.scale *= 0.999
        return super().hidden(x) * float(self.scale[0])


class KeepsItsState(Net):
    """From one batch to the next, as a recurrent network may."""

    kept = None

    def hidden(self, x):
        out = super().hidden(x)
        before = torch.zeros_like(out) if self.kept is None else self.kept.mean(0)
        self.kept = out.detach()
        return out + 0.5 * before


class LeavesItsHidden(Net):
    """For whoever looks."""

    left = None

    def hidden(self, x):
        self.left = super().hidden(x)
        return self.left


class CentersByWhatTrainingLeft(Net):
    left = None

    def hidden(self, x):
        h = super().hidden(x)
        if self.training or self.left is None:
            self.left = h.detach().mean(0)
        return h - self.left


class LooksBack(Net):
    """At what the step before left, though it is never that large."""

    left = None

    def hidden(self, x):
        h = super().hidden(x)
        far = 0.0 if self.left is None else torch.where(self.left > 10, 1.0, 0.0)
        self.left = h.detach().mean(0)
        return h + far


class AnnealsByItsCalls(Net):
    """From the first call on."""

    calls = 0

    def hidden(self, x):
        self.calls += self.training
        return super().hidden(x) / max(1.0, 5.0 - 0.2 * self.calls)


class Turns(Net):
    """By complex numbers of a buffer."""

    def __init__(self, num_classes: int) -> None:
        super().__init__(num_classes)
        self.register_buffer("turns", torch.polar(torch.ones(8), torch.linspace(0, 3, 8)))

    def hidden(self, x):
        pairs = torch.view_as_complex(super().hidden(x).unflatten(-1, (8, 2)))
        return torch.view_as_real(pairs * self.turns).flatten(1)


class Samples(Net):
    """From a distribution that checks its parameters."""

    def hidden(self, x):
        mean = super().hidden(x)
        return torch.distributions.Normal(mean, 1.0).rsample() if self.training else mean


class SamplesChecked(Net):
    """From a distribution that is made to check its parameters."""

    def hidden(self, x):
        mean = super().hidden(x)
        return torch.distributions.Normal(mean, 1.0, validate_args=True).rsample()


class ReadsInEvaluation(Net):
    """A value, once all is trained."""

    def hidden(self, x):
        h = super().hidden(x)
        return h if self.training else h / max(1.0, h.abs().max().item())


class HasASparseBuffer(Net):
    """Neighbours' means, as of graphs."""

    def __init__(self, num_classes):
        super().__init__(num_classes)
        self.register_buffer("near", torch.eye(16).to_sparse(), persistent=False)

    def hidden(self, x):
        return torch.sparse.mm(self.near, super().hidden(x).T).T


class ScalesLate(Net):
    """An attribute that evaluations change once the weights have moved, and training reads."""

    def __init__(self, num_classes):
        super().__init__(num_classes)
        self.scale = torch.ones(())
        self.register_buffer("begun", self.first.weight.detach().clone())

    def hidden(self, x):
        if not self.training and (self.first.weight - self.begun).norm().item() > 0.1:
            self.scale = self.scale * 0.5
        return super().hidden(x) * self.scale


class DriftsLate(Net):
    """A buffer that evaluations change once the weights have moved, by ways without a version."""

    def __init__(self, num_classes, how="in place"):
        super().__init__(num_classes)
        self.how = how
        self.register_buffer("scale", torch.ones(()))
        self.register_buffer("begun", self.first.weight.detach().clone())

    def hidden(self, x):
        if not self.training and (self.first.weight - self.begun).norm().item() > 0.1:
            if self.how == "in place":
                self.scale.data *= 0.5
            else:
                self.scale.data = self.scale * 0.5
        return super().hidden(x) * self.scale


class Pads(Net):
    """Rows of zeros: an encoder leaves them out in evaluation, by nested tensors."""

    def __init__(self, num_classes):
        super().__init__(num_classes)
        layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 1)

    def hidden(self, x):
        rows = x.unflatten(1, (8, 8))
        padded = (rows == 0).all(2)
        return super().hidden(self.encoder(rows, src_key_padding_mask=padded).flatten(1))


class Checkpoints(Net):
    """Its first layer, with noise, in both ways."""

    def hidden(self, x):
        h = checkpoint(super().hidden, x, use_reentrant=False)
        return checkpoint(F.dropout, h, 0.3, self.training, use_reentrant=True)


class CheckpointsItsInput(Net):
    """In the older way, which gives its first layer no gradients, since the input needs none."""

    def hidden(self, x):
        return checkpoint(super().hidden, x, use_reentrant=True)


class Mixes(Net):
    """By a draw of as many numbers as its values demand."""

    def hidden(self, x):
        one = super().hidden(x).detach().abs() + 1
        share = torch.distributions.Beta(one, one, validate_args=False).sample()
        return super().hidden(x) * (share if self.training else 1.0)


class Seeds(Net):
    def hidden(self, x):
        torch.manual_seed(0)
        return F.dropout(super().hidden(x), 0.2, self.training)


class Slopes(Net):
    """Slopes of each sample, by transforms within the lanes'."""

    def hidden(self, x):
        slope = torch.func.vmap(torch.func.grad(lambda each: self.first(each).tanh().sum()))
        return super().hidden(x) + self.first(slope(x.flatten(1)))


class DrawsByPython(Net):
    """Skips a layer now and then."""

    def hidden(self, x):
        return super().hidden(x) if random.random() < 0.9 else self.first(x)


class DrawsByNumpy(Net):
    def hidden(self, x):
        return super().hidden(x) if np.random.random() < 0.9 else self.first(x)


class DrawsByItsOwn(Net):
    def __init__(self, num_classes):
        super().__init__(num_classes)
        self.dice = np.random.default_rng(0)

    def hidden(self, x):
        return super().hidden(x) if self.dice.random() < 0.9 else self.first(x)


class Noisy(Net):
    def hidden(self, x):
        h = super().hidden(x)
        return h + 0.1 * torch.rand_like(h) if self.training else h


class Autoencodes(Net):
    """By a hidden normal variable, drawn in training only (Kingma & Welling 2014)."""

    def __init__(self, num_classes):
        super().__init__(num_classes)
        self.deviation = nn.Linear(16, 16)

    def hidden(self, x):
        mean = super().hidden(x)
        if not self.training:
            return mean
        return mean + torch.randn_like(mean) * torch.exp(0.5 * self.deviation(mean) - 2)


class DropsBlocks(Net):
    """Stochastic depth, a number a sample (Huang et al. 2016)."""

    def __init__(self, num_classes):
        super().__init__(num_classes)
        self.block = nn.Linear(16, 16)

    def hidden(self, x):
        h = super().hidden(x)
        if not self.training:
            return h + 0.8 * self.block(h).relu()
        return h + (torch.rand(x.shape[0], 1, device=x.device) < 0.8) * self.block(h).relu()


class ShufflesFeatures(Net):
    def hidden(self, x):
        h = super().hidden(x)
        return 0.8 * h + 0.2 * h[torch.randperm(len(h), device=h.device)] if self.training else h


class Gumbel(Net):
    def hidden(self, x):
        h = super().hidden(x)
        return F.gumbel_softmax(h, tau=2.0) if self.training else h.softmax(-1)


class NoisyFromItsOwn(Net):
    def __init__(self, num_classes):
        super().__init__(num_classes)
        self.dice = torch.Generator().manual_seed(0)

    def hidden(self, x):
        h = super().hidden(x)
        return h + 0.1 * torch.randn(16, generator=self.dice).to(h.device) if self.training else h


class DropsPaths(Net):
    def hidden(self, x):
        h = super().hidden(x)
        return h * h.new_empty(len(h), 1).bernoulli_(0.9) if self.training else h


class NoisyInEvaluation(Net):
    def hidden(self, x):
        h = super().hidden(x)
        return h if self.training else h + 0.1 * torch.rand_like(h)


class DropsInEvaluation(Net):
    def hidden(self, x):
        return F.dropout(super().hidden(x), 0.1)


class ClampsItsWeights(Net):
    """In place, which lanes do as well."""

    def hidden(self, x):
        with torch.no_grad():
            if self.training:
                self.first.weight.clamp_(-0.1, 0.1)
        return super().hidden(x)


class ReplacesItsWeights(Net):
    """The forward's own output is the same without."""

    def hidden(self, x):
        if self.training:
            self.first.weight.data = self.first.weight.data.clamp(-0.1, 0.1)
        return F.linear(x, self.first.weight.clamp(-0.1, 0.1), self.first.bias).tanh()


class ChangesItsInput(Net):
    def forward(self, x):
        return super().forward(x.mul_(2))


class HidesALayer(Net):
    def __init__(self, num_classes):
        super().__init__(num_classes)
        self.aliases = [self.first]

    def hidden(self, x):
        return self.aliases[0](x).tanh()


EDGES = torch.stack([torch.arange(64), torch.arange(64).flip(0)])


class KeepsRowsOfAGlobal(Net):
    """In buffers, which share its memory."""

    def __init__(self, num_classes):
        super().__init__(num_classes)
        self.register_buffer("source", EDGES[0])
        self.register_buffer("target", EDGES[1])

    def hidden(self, x):
        return super().hidden(torch.zeros_like(x).index_add(1, self.target, x[:, self.source]))


class HidesTensors(Net):
    """Drawn when it is made, and no buffer."""

    def __init__(self, num_classes):
        super().__init__(num_classes)
        self.noise = torch.rand(16)

    def hidden(self, x):
        return super().hidden(x) + self.noise


class CountsByALength(Net):
    """Of a list whose tensors are all made anew."""

    def __init__(self, num_classes):
        super().__init__(num_classes)
        self.kept = [torch.zeros(1)]

    def hidden(self, x):
        calls = len(self.kept)
        h = super().hidden(x) * (1 if calls < 100 else -1)
        self.kept = [h.detach()] * (calls + self.training)
        return h


class GrowsALayer(Net):
    def hidden(self, x):
        if not hasattr(self, "late"):
            self.late = nn.Linear(64, 16)
        return self.late(x).tanh()


class CountsInEvaluation(Net):
    def __init__(self, num_classes):
        super().__init__(num_classes)
        self.register_buffer("calls", torch.zeros(()))

    def hidden(self, x):
        self.calls += 1
        return super().hidden(x)


class CountsEvaluations(Net):
    calls = 0

    def hidden(self, x):
        self.calls += not self.training
        return super().hidden(x) * (1 if self.calls < 100 else -1)


class KeepsWhatItMade(Net):
    """A table of positions, made at the first call: the same for all."""

    table = None

    def hidden(self, x):
        if self.table is None:
            self.table = torch.arange(64.0, device=x.device) / 64
        return super().hidden(x + self.table)


class KeepsAProduct(Net):
    """Of its first weights, for good."""

    kept = None

    def hidden(self, x):
        if self.kept is None:
            self.kept = self.first.weight.detach().mean(0)
        return super().hidden(x + self.kept)


class StartsFromItsFirstBatch(Net):
    def __init__(self, num_classes):
        super().__init__(num_classes)
        self.scale, self.started = nn.Parameter(torch.ones(16)), False

    def hidden(self, x):
        h = super().hidden(x)
        if not self.started and self.training:
            self.scale.data.copy_(1 / h.detach().std(0))
            self.started = True
        return h * self.scale


class Half(Net):
    def __init__(self, num_classes):
        super().__init__(num_classes)
        self.first.half()

    def hidden(self, x):
        return super().hidden(x.half()).float()


class Bfloat(Net):
    def __init__(self, num_classes):
        super().__init__(num_classes)
        self.bfloat16()

    def forward(self, x):
        return super().forward(x.bfloat16())


class Double(Net):
    def __init__(self, num_classes):
        super().__init__(num_classes)
        self.double()

    def forward(self, x):
        return super().forward(x.double())


class DiffersALittle(Double):
    """In lanes, by less than float32 would show."""

    def hidden(self, x):
        return super().hidden(x) * (1 + 1e-6 * torch.jit.is_tracing())


class DiffersAndRaises(DiffersALittle):
    """In evaluation, at other weights than its first."""

    def __init__(self, num_classes):
        super().__init__(num_classes)
        self.begun = self.size()

    def size(self):
        return sum(each.detach().sum().item() for each in self.parameters())

    def hidden(self, x):
        if not self.training and self.size() != self.begun:
            raise ValueError("these are not its weights")
        return super().hidden(x)


class MakesItsOwn(Net):
    """Numbers, or layers, from its seed that are neither parameters nor buffers."""

    def __init__(self, num_classes, kind="tensor"):
        super().__init__(num_classes)
        own = torch.rand(self.first.out_features)
        makes = {"tensor": lambda: own, "array": own.numpy, "numbers": own.tolist}
        self.own = [nn.Linear(len(own), len(own))] if kind == "layers" else makes[kind]()

    def hidden(self, x):
        found = super().hidden(x)
        if isinstance(self.own[0], nn.Module):
            return self.own[0](found)
        return found * torch.as_tensor(self.own, device=x.device)


class Mixed(Net):
    def __init__(self, num_classes):
        super().__init__(num_classes)
        self.first.double()

    def hidden(self, x):
        return super().hidden(x.double()).float()


class Complex(Net):
    def __init__(self, num_classes):
        super().__init__(num_classes)
        self.turn = nn.Parameter(torch.randn(64, dtype=torch.complex64))

    def hidden(self, x):
        return super().hidden((x * self.turn).abs())


class DoubleBuffers(Net):
    def __init__(self, num_classes):
        super().__init__(num_classes)
        self.register_buffer("mean", torch.zeros(64, dtype=torch.float64))

    def hidden(self, x):
        if self.training:
            self.mean.lerp_(x.detach().mean(0).double(), 0.1)
        return super().hidden((x - self.mean).float())


class SharesALayer(Net):
    """By two names, and a weight with a third."""

    def __init__(self, num_classes):
        super().__init__(num_classes)
        self.same, self.other = self.first, nn.Linear(64, 16)
        self.other.weight = self.first.weight

    def hidden(self, x):
        return super().hidden(x) + self.same(x).relu() + self.other(x).sin()


class TiesItsEnds(Net):
    def __init__(self, num_classes):
        super().__init__(num_classes)
        self.back = nn.Linear(16, 64)
        self.back.weight = nn.Parameter(self.back.weight.detach().T.contiguous())
        self.first.weight = self.back.weight

    def hidden(self, x):
        h = super().hidden(x)
        return h + super().hidden(F.linear(h, self.back.weight.T))


class Hooked(Net):
    def __init__(self, num_classes):
        super().__init__(num_classes)
        self.first.register_forward_hook(lambda module, given, out: out * 2)


class HookedBackward(Net):
    def __init__(self, num_classes):
        super().__init__(num_classes)
        self.first.register_full_backward_hook(lambda module, given, out: (given[0] * 2,))


class HookedParameter(Net):
    def __init__(self, num_classes):
        super().__init__(num_classes)
        self.register_buffer("mask", (torch.rand(16, 64) > 0.5).float())
        self.first.weight.register_hook(lambda gradient: gradient * self.mask)
        self.first.weight.register_hook(lambda gradient: None)


class HookedAccumulation(Net):
    def __init__(self, num_classes):
        super().__init__(num_classes)
        self.first.weight.register_post_accumulate_grad_hook(lambda each: each.grad.mul_(2))


class CountsInAHook(Net):
    """Of a parameter, in what that hook alone holds."""

    def __init__(self, num_classes):
        super().__init__(num_classes)
        self.first.weight.register_hook(counting())


class HookedTensor(Net):
    def hidden(self, x):
        h = super().hidden(x)
        if h.requires_grad:
            h.register_hook(lambda gradient: gradient * 2)
        return h


class Rewrites(Net):
    """The right column of the table in docs/lanes.md."""

    def __init__(self, num_classes):
        super().__init__(num_classes)
        self.gate, self.experts = nn.Linear(64, 4), nn.ModuleList(nn.Linear(64, 16) for _ in "1234")
        self.register_buffer("queue", torch.zeros(16, 100))
        self.register_buffer("place", torch.zeros((), dtype=torch.int64))

    def hidden(self, x):
        gate = self.gate(x)
        top, chosen = gate.softmax(-1).topk(2)
        shares = torch.zeros_like(gate).scatter(-1, chosen, top)
        out = sum(shares[:, i : i + 1] * expert(x) for i, expert in enumerate(self.experts))
        if self.training:
            places = (self.place + torch.arange(len(x), device=x.device)) % 100
            self.queue.index_copy_(1, places, out.detach().T)
            self.place.copy_((self.place + len(x)) % 100)
        seen = torch.zeros(out.shape, dtype=torch.bool, device=x.device)
        seen[out > 0] = True
        mean = (out * seen).sum() / seen.sum().clamp(min=1)
        return torch.where(seen, out, self.queue.mean(1)) + mean


class LooksUnlessTraced(Net):
    """A branch such as those of Hugging Face's models, on what no sample may have; and a call that
    torch itself refuses while tracing."""

    def hidden(self, x):
        if not torch.jit.is_tracing() and (x < 99).all():
            return super().hidden(x)
        halves = {name: each / 2 for name, each in self.first.named_parameters()}
        x = torch.where(x < 99, x, 0.0)
        return torch.tanh(2 * torch.func.functional_call(self.first, halves, x))


class GivesMore(Net):
    """Outputs with parts that are no tensors, as a language model's without targets."""

    def forward(self, x):
        out = super().forward(x)
        return {"out": out, "loss": None, "name": "more", "parts": (out * 2, 3)}


def of_more(outputs, targets):
    return F.cross_entropy(outputs["parts"][0], targets)


ACTIVATIONS: dict[str, Tensor] = {}


class HookedForFeatures(Net):
    """Gathers what its layers give: in a list, for its outputs, in a global and in a dict."""

    def __init__(self, num_classes):
        super().__init__(num_classes)
        self.features, self.maps = [], {}
        self.first.register_forward_hook(lambda _, given, out: self.features.append(out))
        self.head.register_forward_hook(lambda _, given, out: self.keep(out.detach()))

    def keep(self, out):
        ACTIVATIONS["head"] = self.maps["head"] = out

    def hidden(self, x):
        self.features.clear()
        h = super().hidden(x)
        return h + self.features[0]


class Grows(Net):
    def __init__(self, num_classes):
        super().__init__(num_classes)
        self.kept = []

    def hidden(self, x):
        h = super().hidden(x)
        self.kept.append(h.detach())
        return h


class Sine(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.sin()

    @staticmethod
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        return gradient * x.cos()


class OwnFunction(Net):
    def hidden(self, x):
        return Sine.apply(super().hidden(x))


class Outside(torch.autograd.Function):
    """Computed by numpy, by a rule for vmap that works."""

    @staticmethod
    def forward(x):
        return torch.from_numpy(np.sin(x.detach().numpy()))

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        return gradient * x.cos()

    @staticmethod
    def vmap(info, in_dims, x):
        return Outside.apply(x), in_dims[0]


class ComputesByNumpy(Net):
    def hidden(self, x):
        return Outside.apply(super().hidden(x))


class Differentiates(Net):
    """Inside of its forward."""

    def hidden(self, x):
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            (slope,) = torch.autograd.grad(super().hidden(x).sum(), x, create_graph=True)
        return super().hidden(x + slope)


class SavesMore(Net):
    def get_extra_state(self):
        return torch.ones(3)

    def set_extra_state(self, state):
        pass


class Untrainable(Net):
    def __init__(self, num_classes):
        super().__init__(num_classes)
        self.requires_grad_(False)


class ManyParameters(Net):
    """In containers, of no dimension, empty; buffers of other types, and one that is none."""

    def __init__(self, num_classes):
        super().__init__(num_classes)
        self.several = nn.ParameterList([torch.ones(64) for _ in range(3)])
        self.named = nn.ParameterDict({"scale": torch.tensor(1.0), "empty": torch.zeros(0)})
        self.register_buffer("order", torch.arange(64).flip(0))
        self.register_buffer("chosen", torch.arange(64) % 2 == 0)
        self.register_buffer("nothing", None)
        self.register_buffer("passing", torch.ones(64), persistent=False)

    def hidden(self, x):
        x = torch.where(self.chosen, x, x[:, self.order]) * self.passing
        x = x * self.several[0] + self.several[2] * self.named["scale"]
        return super().hidden(x + self.named["empty"].sum())


class TurnsInPlace(Net):
    """Its own tensor's shape, and a buffer's."""

    def __init__(self, num_classes):
        super().__init__(num_classes)
        self.table = torch.rand(16, 16, generator=torch.Generator().manual_seed(0))

    def hidden(self, x):
        return super().hidden(x) @ self.table.t_()


class TurnsADetachedOne(Net):
    def hidden(self, x):
        h = self.first(x[:16]) * 1.5
        turned = h.detach()
        turned.t_()
        return torch.cat([h + turned, super().hidden(x)[16:]])


class ReducesByABranch(Net):
    """A mask of a query that may look at nothing, in some batches."""

    def hidden(self, x):
        rows = x.reshape(-1, 8, 8)
        seen = (rows.mean(2) > -0.3).unsqueeze(1)
        out = F.scaled_dot_product_attention(rows, rows, rows, attn_mask=seen.expand(-1, 8, -1))
        return super().hidden(out.flatten(1))


class SumsManyPixels(nn.Module):
    """Fifty thousand a channel before batch norm, where a float32 gradient alone is off by 1e-4."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.convolution, self.norm = nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.head = nn.Linear(4 * 16, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = F.interpolate(x, size=(28, 28))
        x = F.max_pool2d(self.norm(self.convolution(x)).relu(), 7)
        return self.head(x.flatten(1))


class UnderAutocast(nn.Module):
    """A convolution and a layer that are computed in bfloat16 whatever the spec's precision."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.convolution, self.norm = nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8)
        self.head = nn.Linear(8 * 36, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, torch.bfloat16):
            hidden = self.norm(self.convolution(x)).relu()
            return self.head(hidden.flatten(1)).float()
