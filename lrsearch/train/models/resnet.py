"""Residual networks for small images: He et al. 2016, Deep Residual Learning, section 4.2."""

from __future__ import annotations

from torch import Tensor, nn

from lrsearch.train.models.activations import ACTIVATIONS


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut, which is a 1x1 convolution where the size changes."""

    def __init__(
        self, channels: int, width: int, stride: int, activation: str, batch_norm: bool
    ) -> None:
        super().__init__()
        self.first = _convolve(channels, width, 3, stride, batch_norm)
        self.second = _convolve(width, width, 3, 1, batch_norm)
        same = channels == width and stride == 1
        self.shortcut = nn.Identity() if same else _convolve(channels, width, 1, stride, batch_norm)
        self.activation = ACTIVATIONS[activation]()

    def forward(self, x: Tensor) -> Tensor:
        """[batch, channels, height, width] to the block's own channels and size."""
        inner = self.second(self.activation(self.first(x)))
        out: Tensor = self.activation(inner + self.shortcut(x))
        return out


class ResNet(nn.Module):
    """A 3x3 convolution, three stages of (depth - 2) / 6 blocks, each stage but the first half as
    large and twice as wide as the one before, the mean over all places, and a linear layer.

    A side of one pixel stays one.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        depth: int,
        width: int,
        activation: str,
        batch_norm: bool,
    ) -> None:
        super().__init__()
        self.stem = _convolve(in_channels, width, 3, 1, batch_norm)
        self.activation = ACTIVATIONS[activation]()
        blocks: list[nn.Module] = []
        channels = width
        for stage in range(3):
            for block in range((depth - 2) // 6):
                stride = 2 if stage and not block else 1
                size = width * 2**stage
                blocks.append(ResidualBlock(channels, size, stride, activation, batch_norm))
                channels = size
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Linear(channels, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """[batch, in_channels, height, width] to [batch, num_classes]."""
        x = self.blocks(self.activation(self.stem(x)))
        out: Tensor = self.head(x.mean((2, 3)))
        return out


def _convolve(channels: int, width: int, size: int, stride: int, batch_norm: bool) -> nn.Module:
    convolution = nn.Conv2d(channels, width, size, stride, size // 2, bias=not batch_norm)
    nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")  # He et al. 2015.
    if convolution.bias is not None:
        nn.init.zeros_(convolution.bias)
    return nn.Sequential(convolution, nn.BatchNorm2d(width)) if batch_norm else convolution
