"""What `throughput.py` trains: data, model, batch size and rates of each workload, and the one
model of them that is not built in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

MOMENTUM = (0.0, 0.9)
EVALUATE = "1ep"


@dataclass(frozen=True)
class Workload:
    """A spec but for its budget and its points. `lr` is the range of the grid, chosen so that no
    point diverges: a lost trial would be stopped early by some peers and not by others."""

    data: Mapping[str, Any]
    model: Mapping[str, Any]
    batch_size: int
    lr: tuple[float, float] = (1e-3, 1e-1)


DIGITS = {"name": "digits", "standardize": True}
# A fifth of 12,500 is for validation: 10,000 train.
MNIST = {"name": "npz", "samples": 12_500, "standardize": True}

WORKLOADS = {
    "digits-mlp": Workload(DIGITS, {"name": "mlp", "hidden": [128, 128]}, 32),
    "mnist-mlp": Workload(MNIST, {"name": "mlp", "hidden": [128]}, 64),
    "digits-cnn": Workload(
        DIGITS, {"name": "cnn", "channels": [16, 32], "batch_norm": True}, 32, (1e-3, 5e-2)
    ),
    "digits-transformer": Workload(
        DIGITS, {"class_path": "workloads.Transformer"}, 32, (1e-3, 5e-2)
    ),
    "digits-large-cnn": Workload(
        DIGITS, {"name": "cnn", "channels": [32, 64, 128], "batch_norm": True}, 256
    ),
}


class Block(nn.Module):
    """Attention and a two-layer network, each on normalised input and added to it."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm_attention = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.merge = nn.Linear(width, width)
        self.norm_network = nn.LayerNorm(width)
        self.network = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, x: Tensor) -> Tensor:
        """[batch, tokens, width] to the same shape."""
        batch, tokens, width = x.shape
        heads = self.qkv(self.norm_attention(x)).view(batch, tokens, 3, self.heads, -1)
        q, k, v = heads.permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(q, k, v)
        x = x + self.merge(attended.transpose(1, 2).reshape(batch, tokens, width))
        out: Tensor = x + self.network(self.norm_network(x))
        return out


class Transformer(nn.Module):
    """Pre-norm blocks over the rows of an 8x8 image, their outputs averaged."""

    def __init__(self, num_classes: int, width: int = 32, heads: int = 4, layers: int = 2) -> None:
        super().__init__()
        self.embed = nn.Linear(8, width)
        self.position = nn.Parameter(0.02 * torch.randn(8, width))
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(layers)))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """[batch, 1, 8, 8] to [batch, num_classes]."""
        tokens = self.blocks(self.embed(x.squeeze(1)) + self.position)
        out: Tensor = self.head(self.norm(tokens).mean(1))
        return out
