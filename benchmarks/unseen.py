"""Data and models of four tasks of `diagnosis.py` that were judged once, before those of `fresh.py`
were: nothing of them is in another task."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import numpy as np
import sklearn.datasets
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from workloads import Block

Array = np.ndarray[Any, Any]


def load(name: str, scale: float = 1.0) -> tuple[Array, Array]:
    """The data of a name, standardized, times a scale: (x, y). `waves` are 1,600 signals of 48
    values, of five classes: chirps that rise or fall, beats, bursts and steps, each noisy and
    somewhere; `table` are 2,400 rows of Friedman's third function of four numbers, to which two
    columns of twelve kinds each add what their pair is worth."""
    x, y = _waves(1600) if name == "waves" else _table(2400)
    return (scale * x).astype(np.float32), y


def _waves(samples: int) -> tuple[Array, Array]:
    draw = np.random.default_rng(3)
    time = np.linspace(0, 1, 48)
    x, y = np.empty((samples, 1, 48)), np.arange(samples) % 5
    for row, kind in enumerate(y):
        pitch, phase = draw.uniform(3, 6), draw.uniform(0, 2 * np.pi)
        place = draw.uniform(0.2, 0.8)
        x[row, 0] = (
            np.sin(2 * np.pi * pitch * time * (0.5 + time) + phase),
            np.sin(2 * np.pi * pitch * time * (2 - time) + phase),
            np.sin(2 * np.pi * pitch * time + phase) * np.sin(2 * np.pi * (pitch + 2) * time),
            np.sin(8 * np.pi * pitch * time) * np.exp(-60 * (time - place) ** 2),
            np.tanh(40 * (time - place)) * np.sin(phase),
        )[kind]
    x += 0.35 * draw.standard_normal(x.shape)
    return (x - x.mean()) / x.std(), y.astype(np.int64)


def _table(samples: int) -> tuple[Array, Array]:
    draw = np.random.default_rng(4)
    numbers, y = sklearn.datasets.make_friedman3(samples, noise=0.1, random_state=4)
    kinds = draw.integers(0, 12, (samples, 2))
    worth = draw.standard_normal((12, 12))
    y = (y - y.mean()) / y.std() + worth[kinds[:, 0], kinds[:, 1]]
    numbers = (numbers - numbers.mean(0)) / numbers.std(0)
    one_hot = np.eye(12)[kinds].reshape(samples, 24)
    x = np.concatenate([numbers, (one_hot - one_hot.mean(0)) / one_hot.std(0)], 1)
    return x, ((y - y.mean()) / y.std()).astype(np.float32)


class Signals(nn.Module):
    """Two convolutions along a signal and the largest of each channel."""

    def __init__(self, in_channels: int, num_classes: int, width: int = 12) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv1d(in_channels, width, 7, padding=3), nn.ReLU(), nn.MaxPool1d(2),
            nn.Conv1d(width, 2 * width, 5, padding=2), nn.ReLU(),
        )  # fmt: skip
        self.head = nn.Linear(2 * width, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Signals [batch, channels, length] to [batch, num_classes]."""
        out: Tensor = self.head(self.body(x).amax(2))
        return out


class WideDeep(nn.Module):
    """A linear model of all columns beside a deep one (Cheng et al. 2016)."""

    def __init__(self, in_features: int, num_classes: int, width: int = 40) -> None:
        super().__init__()
        self.wide = nn.Linear(in_features, num_classes)
        self.deep = nn.Sequential(
            nn.Linear(in_features, width), nn.ELU(), nn.Linear(width, width), nn.ELU(),
            nn.Linear(width, num_classes),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        """Rows [batch, in_features] to [batch, num_classes]."""
        out: Tensor = self.wide(x) + self.deep(x)
        return out


class Patches(nn.Module):
    """A vision transformer (Dosovitskiy et al. 2021) of the sixteen patches of a 28x28 image, whose
    first token is none of them."""

    def __init__(self, num_classes: int, width: int = 24, layers: int = 2) -> None:
        super().__init__()
        self.patches = nn.Conv2d(1, width, 7, stride=7)
        self.first = nn.Parameter(torch.zeros(1, 1, width))
        self.position = nn.Parameter(0.02 * torch.randn(17, width))
        self.blocks = nn.Sequential(*(Block(width, 2) for _ in range(layers)))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Images [batch, 1, 28, 28] to [batch, num_classes]."""
        seen = self.patches(x).flatten(2).transpose(1, 2)
        seen = torch.cat([self.first.expand(len(x), -1, -1), seen], 1) + self.position
        out: Tensor = self.head(self.norm(self.blocks(seen)[:, 0]))
        return out


class Causal(nn.Module):
    """Embedded characters under two dilated convolutions that see none to come (van den Oord et al.
    2016)."""

    def __init__(self, in_features: int, num_classes: int, width: int = 32) -> None:
        super().__init__()
        self.embedding = nn.Embedding(num_classes, width)
        self.convolutions = nn.ModuleList(
            nn.Conv1d(width, width, 3, dilation=1 + 2 * layer) for layer in range(2)
        )
        self.head = nn.Linear(width, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Places in the vocabulary, int64 [batch, context], to [batch, context, num_classes]."""
        seen = self.embedding(x).transpose(1, 2)
        for layer, convolution in enumerate(self.convolutions):
            seen = seen + torch.relu(convolution(F.pad(seen, (2 + 4 * layer, 0))))
        out: Tensor = self.head(seen.transpose(1, 2))
        return out


MODELS: Mapping[str, type[nn.Module]] = {
    each.__name__.lower(): each for each in (Signals, WideDeep, Patches, Causal)
}


class Rectified(nn.Module):
    """One of these models whose outputs are rectified far below zero, as where a last layer is by
    mistake; of `Signals` the last hidden units are, and `bias` says whether the output's is left to
    learn."""

    def __init__(
        self,
        num_classes: int,
        kind: str,
        bias: bool = False,
        arguments: Mapping[str, Any] | None = None,
        in_features: int = 1,
        in_channels: int = 1,
    ) -> None:
        super().__init__()
        own = copy.deepcopy({**(arguments or {})})
        if kind == "signals":
            own["in_channels"] = in_channels
        elif kind != "patches":
            own["in_features"] = in_features
        self.model = MODELS[kind](num_classes=num_classes, **own)
        self.hidden = isinstance(self.model, Signals)
        if isinstance(self.model, Signals):
            with torch.no_grad():
                self.model.body[3].bias.fill_(-30.0)
            self.model.head = nn.Linear(self.model.head.in_features, num_classes, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """What the model takes, to its outputs."""
        out: Tensor = self.model(x)
        return out if self.hidden else torch.relu(out - 30.0)
