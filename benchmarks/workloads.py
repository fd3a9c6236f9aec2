"""What `throughput.py` trains: data, model, batch size and rates of each workload, and the one
model of them that is not built in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

MOMENTUM = (0.0, 0.9)


@dataclass(frozen=True)
class Workload:
    """A spec but for its budget and its points. `lr` is the range of the grid, chosen so that no
    point diverges: a lost trial would be stopped early by some peers and not by others. `large`
    ones are for a GPU: on a CPU they are trained where they are asked for by name."""

    data: Mapping[str, Any]
    model: Mapping[str, Any]
    batch_size: int
    lr: tuple[float, float] = (1e-3, 1e-1)
    large: bool = False


DIGITS = {"name": "digits", "standardize": True}
# 10,000 train.
MNIST = {"name": "npz", "samples": 12_500, "validation": 0.2, "standardize": True}
# What is made up, by `make_data`.
IMAGES = {"name": "npz", "source": "images.npz", "validation": 0.2}
TEXT = {"name": "text", "source": "text.txt", "context": 64}


def transformer(width: int, layers: int) -> dict[str, Any]:
    return {
        "name": "char_transformer", "layers": layers, "heads": width // 32, "width": width,
        "dropout": 0.0,
    }  # fmt: skip


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
    "images-resnet": Workload(
        IMAGES,
        {"name": "resnet", "depth": 8, "width": 16, "batch_norm": True},
        64,
        (1e-3, 5e-2),
        large=True,
    ),
    "text-64": Workload(TEXT, transformer(64, 4), 16, (1e-3, 5e-2), large=True),
    "text-384": Workload(TEXT, transformer(384, 6), 16, (1e-3, 5e-2), large=True),
}


def make_data(name: str, folder: Path, mnist: Path | None) -> dict[str, Any]:
    """The `data` of a workload's spec; what is made up is written to the folder, drawn anew by the
    same seed."""
    data = dict(WORKLOADS[name].data)
    if data == MNIST:
        return data | {"source": str(mnist)}
    if data not in (IMAGES, TEXT):
        return data
    path = folder / data["source"]
    dice = np.random.default_rng(0)
    if data == IMAGES:  # Classes that a linear model knows, of 32 x 32 pixels in three colours.
        x = dice.standard_normal((2500, 3, 32, 32), dtype=np.float32)
        y = (x.reshape(len(x), -1) @ dice.standard_normal((3072, 10), np.float32)).argmax(1)
        np.savez(path, x=x, y=y)
    else:  # Of 64 characters each is followed by one of four.
        follow, at, found = dice.integers(64, size=(64, 4)), 0, []
        for choice in dice.integers(4, size=100_000).tolist():
            at = int(follow[at, choice])
            found.append(chr(48 + at))
        path.write_text("".join(found))
    return data | {"source": str(path)}


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
