"""Built-in models, by their names in the catalogue. All take [batch, ...] and give
[batch, num_classes]: logits, or regression targets; of text logits at each place."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from lrsearch.train.models.activations import ACTIVATIONS
from lrsearch.train.models.resnet import ResNet
from lrsearch.train.models.transformer import CharTransformer


class Logistic(nn.Module):
    """One linear layer over the flattened sample."""

    def __init__(self, in_features: int, num_classes: int) -> None:
        super().__init__()
        self.head = nn.Linear(in_features, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """[batch, ...] to [batch, num_classes]."""
        out: Tensor = self.head(x.flatten(1))
        return out


class MLP(nn.Module):
    """Fully connected layers over the flattened sample: linear, batch norm, activation, dropout."""

    def __init__(
        self,
        in_features: int,
        num_classes: int,
        hidden: Sequence[int],
        activation: str,
        dropout: float,
        batch_norm: bool,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        width = in_features
        for size in hidden:
            layers.append(nn.Linear(width, size))
            layers += [nn.BatchNorm1d(size)] if batch_norm else []
            layers.append(ACTIVATIONS[activation]())
            layers += [nn.Dropout(dropout)] if dropout else []
            width = size
        self.body = nn.Sequential(*layers)
        self.head = nn.Linear(width, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """[batch, ...] to [batch, num_classes]."""
        out: Tensor = self.head(self.body(x.flatten(1)))
        return out


class CNN(nn.Module):
    """3x3 convolutions, each halving the image while a side is longer than one; then the image
    is averaged to 4x4, which keeps coarse places, and a linear layer follows."""

    GRID = 4

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        channels: Sequence[int],
        activation: str,
        dropout: float,
        batch_norm: bool,
    ) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList()
        self.norms = nn.ModuleList()
        width = in_channels
        for size in channels:
            self.convolutions.append(nn.Conv2d(width, size, 3, padding=1))
            self.norms.append(nn.BatchNorm2d(size) if batch_norm else nn.Identity())
            width = size
        self.activation = ACTIVATIONS[activation]()
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(self.GRID**2 * width, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """[batch, in_channels, height, width] to [batch, num_classes]."""
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            x = self.activation(norm(convolution(x)))
            if min(x.shape[2:]) > 1:
                x = F.max_pool2d(x, 2)
        x = F.adaptive_avg_pool2d(x, self.GRID).flatten(1)
        out: Tensor = self.head(self.dropout(x))
        return out


MODELS: dict[str, type[nn.Module]] = {
    "logistic": Logistic,
    "mlp": MLP,
    "cnn": CNN,
    "resnet": ResNet,
    "char_transformer": CharTransformer,
}
