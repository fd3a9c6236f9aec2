"""Data and models of the tasks of `diagnosis.py` that are judged once, when all is set: nothing of
them is in another task."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

Array = np.ndarray[Any, Any]


def load(name: str, scale: float = 1.0) -> tuple[Array, Array] | tuple[Tensor, Tensor]:
    """The data of a name, standardized, times a scale: (x, y). `arm` are 4,000 poses of a robot's
    arm of three links and six joints, and how far its hand is from a place; `shapes` 3,000 coloured
    images of 12 x 12 of discs, rings, frames, crosses, bars and wedges; `clients` 14,000 rows of
    six skewed numbers and four columns of kinds, whose class of four as many shallow trees decide,
    and of one in twelve chance; `tags` 3,000 sentences of 14 words of sixty, each of which gets one
    of seven tags: these follow each other by a Markov chain, and many words stand for several."""
    x, y = {"arm": _arm, "shapes": _shapes, "clients": _clients, "tags": _tags}[name]()
    if name == "tags":
        return torch.as_tensor(x), torch.as_tensor(y)  # Tensors keep their kind of numbers.
    return (scale * x).astype(np.float32), y


def _arm(samples: int = 4000) -> tuple[Array, Array]:
    draw = np.random.default_rng(11)
    angles = draw.uniform(-0.6 * np.pi, 0.6 * np.pi, (samples, 6))
    turned, raised = angles[:, ::2].cumsum(1), angles[:, 1::2]
    lengths = np.array([1.0, 0.8, 0.6])
    hand = np.stack(
        [
            (lengths * np.cos(turned) * np.cos(raised)).sum(1),
            (lengths * np.sin(turned) * np.cos(raised)).sum(1),
            (lengths * np.sin(raised)).sum(1),
        ],
        1,
    )
    y = np.linalg.norm(hand - [0.0, 0.6, 0.5], axis=1) + 0.05 * draw.standard_t(4, samples)
    return (angles - angles.mean(0)) / angles.std(0), ((y - y.mean()) / y.std()).astype(np.float32)


def _shapes(samples: int = 3000) -> tuple[Array, Array]:
    draw = np.random.default_rng(12)
    down, across = np.mgrid[:12, :12]
    x, y = np.empty((samples, 3, 12, 12)), np.arange(samples) % 6
    for row, kind in enumerate(y):
        centre, size = draw.uniform(4.5, 6.5, 2), draw.uniform(2.8, 4.2)
        v, h = down - centre[0], across - centre[1]
        far, high = np.hypot(v, h), np.maximum(abs(v), abs(h))
        seen = (
            far < size,
            abs(far - size) < 1,
            abs(high - size) < 1,
            (np.minimum(abs(v), abs(h)) < 1) & (high < size),
            (abs(v) < 1) & (abs(h) < size),
            (abs(v) < size) & (abs(h) < (v + size) / 2),
        )[kind]
        ink, paper = draw.uniform(0.3, 1, (3, 1, 1)), draw.uniform(-0.3, 0.1, (3, 1, 1))
        x[row] = np.where(seen, ink, paper)
    x += 0.2 * draw.standard_normal(x.shape)
    return (x - x.mean()) / x.std(), y.astype(np.int64)


def _clients(samples: int = 14_000) -> tuple[Array, Array]:
    draw = np.random.default_rng(13)
    numbers = np.concatenate(
        [draw.lognormal(0, 0.6, (samples, 3)), draw.gamma(2, 1, (samples, 3))], 1
    )
    numbers = (numbers - numbers.mean(0)) / numbers.std(0)
    kinds = [draw.integers(0, count, samples) for count in (2, 3, 5, 8)]
    one_hot = np.concatenate(
        [np.eye(count)[own] for count, own in zip((2, 3, 5, 8), kinds, strict=True)], 1
    )
    x = np.concatenate([numbers, (one_hot - one_hot.mean(0)) / one_hot.std(0)], 1)
    votes = np.zeros((samples, 4))
    for _ in range(4):
        leaf = np.zeros(samples, dtype=int)
        for column in draw.choice(x.shape[1], 2, replace=False):
            leaf = 2 * leaf + (x[:, column] > np.quantile(x[:, column], draw.uniform(0.3, 0.7)))
        votes += draw.standard_normal((4, 4))[leaf]
    y = ((votes - votes.mean(0)) / votes.std(0)).argmax(1)
    y = np.where(draw.random(samples) < 1 / 12, draw.integers(0, 4, samples), y)
    return x, y.astype(np.int64)


def _tags(samples: int = 3000, words: int = 14) -> tuple[Array, Array]:
    draw = np.random.default_rng(14)
    after = draw.dirichlet(np.full(7, 0.4), 7)
    meant = draw.dirichlet(np.full(60, 0.15), 7)
    x, y = np.empty((2, samples, words), dtype=np.int64)
    tag = draw.integers(0, 7, samples)
    for place in range(words):
        tag = y[:, place] = _choose(draw, after[tag])
        x[:, place] = _choose(draw, meant[tag])
    return x, y


def _choose(draw: np.random.Generator, shares: Array) -> Array:
    """A kind for each row of the shares of all kinds [rows, kinds]."""
    return (shares.cumsum(1) < draw.random((len(shares), 1))).sum(1).clip(max=shares.shape[1] - 1)


class Gated(nn.Module):
    """Two hidden layers, the product of a half behind GELU and another (GEGLU, Shazeer 2020)."""

    def __init__(self, in_features: int, num_classes: int, width: int = 32) -> None:
        super().__init__()
        self.first = nn.Linear(in_features, 2 * width)
        self.second = nn.Linear(width, 2 * width)
        self.head = nn.Linear(width, num_classes)
        self.last: nn.Linear | nn.LayerNorm | nn.Conv2d = self.second

    def forward(self, x: Tensor) -> Tensor:
        """Rows [batch, in_features] to [batch, num_classes]."""
        for layer in (self.first, self.second):
            gate, value = layer(x).chunk(2, 1)
            x = F.gelu(gate) * value
        out: Tensor = self.head(x)
        return out


class Inverted(nn.Module):
    """Inverted residual blocks, a convolution of each channel alone between two of single pixels
    (Sandler et al. 2018), behind patches of 3 x 3; normalised in groups."""

    def __init__(
        self, in_channels: int, num_classes: int, width: int = 16, blocks: int = 1
    ) -> None:
        super().__init__()
        self.stem = nn.Conv2d(in_channels, width, 3, stride=3)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.GroupNorm(1, width),
                nn.Conv2d(width, 2 * width, 1), nn.ReLU(),
                nn.Conv2d(2 * width, 2 * width, 3, padding=1, groups=2 * width), nn.ReLU(),
                nn.Conv2d(2 * width, width, 1),
            )
            for _ in range(blocks)
        )  # fmt: skip
        self.norm = nn.GroupNorm(1, width)
        self.last = nn.Conv2d(width, 2 * width, 1)
        self.head = nn.Linear(2 * width, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Images [batch, channels, height, width] to [batch, num_classes]."""
        x = self.stem(x)
        for block in self.blocks:
            x = x + block(x)
        out: Tensor = self.head(torch.relu(self.last(self.norm(x))).mean((2, 3)))
        return out


class Residual(nn.Module):
    """Residual blocks over the columns of a table (Gorishniy et al. 2021)."""

    def __init__(
        self,
        in_features: int,
        num_classes: int,
        width: int = 32,
        blocks: int = 2,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.stem = nn.Linear(in_features, width)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.ReLU(),
                nn.Dropout(dropout), nn.Linear(2 * width, width),
            )
            for _ in range(blocks)
        )  # fmt: skip
        self.last = nn.LayerNorm(width)
        self.head = nn.Linear(width, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Rows [batch, in_features] to [batch, num_classes]."""
        x = self.stem(x)
        for block in self.blocks:
            x = x + block(x)
        out: Tensor = self.head(torch.relu(self.last(x)))
        return out


class Tagger(nn.Module):
    """A tag for each word of a sentence, by an LSTM that reads it in both directions and a hidden
    layer (Huang et al. 2015)."""

    def __init__(self, width: int = 16, words: int = 60, tags: int = 7) -> None:
        super().__init__()
        self.embedding = nn.Embedding(words, width)
        self.cells = nn.LSTM(width, width, batch_first=True, bidirectional=True)
        self.last = nn.Linear(2 * width, width)
        self.head = nn.Linear(width, tags)

    def forward(self, x: Tensor) -> Tensor:
        """Places in the vocabulary, int64 [batch, words], to [batch, tags, words]."""
        seen = torch.relu(self.last(self.cells(self.embedding(x))[0]))
        out: Tensor = self.head(seen).transpose(1, 2)
        return out


MODELS: Mapping[str, type[nn.Module]] = {
    each.__name__.lower(): each for each in (Gated, Inverted, Residual, Tagger)
}


class Rectified(nn.Module):
    """One of these models whose last hidden units are rectified far below zero; `bias` says whether
    that of the outputs is left to learn."""

    def __init__(
        self,
        kind: str,
        num_classes: int = 7,
        bias: bool = False,
        arguments: Mapping[str, Any] | None = None,
        in_features: int = 1,
        in_channels: int = 1,
    ) -> None:
        super().__init__()
        own = copy.deepcopy({**(arguments or {})})
        if kind != "tagger":
            own["num_classes"] = num_classes
            images = kind == "inverted"
            own |= {"in_channels": in_channels} if images else {"in_features": in_features}
        self.model = MODELS[kind](**own)
        with torch.no_grad():
            self.model.last.bias.fill_(-30.0)
        head = self.model.head
        self.model.head = nn.Linear(head.in_features, head.out_features, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """What the model takes, to its outputs."""
        out: Tensor = self.model(x)
        return out
