"""A small GPT on characters, like the model of karpathy/nanoGPT (model.py)."""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor, nn

DEVIATION = 0.02
"""The standard deviation of the initial weights, as in GPT-2."""


class Attention(nn.Module):
    """Causal attention: a character sees itself and those before it."""

    def __init__(self, width: int, heads: int, dropout: float, bias: bool) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.projections = nn.Linear(width, 3 * width, bias=bias)
        self.out = nn.Linear(width, width, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """[batch, context, width] to the same."""
        query, key, value = (
            each.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for each in self.projections(x).chunk(3, -1)
        )
        rate = self.dropout if self.training else 0.0
        seen = F.scaled_dot_product_attention(query, key, value, dropout_p=rate, is_causal=True)
        out: Tensor = self.out(seen.transpose(1, 2).flatten(2))
        return out


class Block(nn.Module):
    """Attention and a two-layer network, each of the normed input and added to it."""

    def __init__(self, width: int, heads: int, dropout: float, bias: bool) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(width, bias=bias)
        self.attention = Attention(width, heads, dropout, bias)
        self.mlp_norm = nn.LayerNorm(width, bias=bias)
        self.widen = nn.Linear(width, 4 * width, bias=bias)
        self.narrow = nn.Linear(4 * width, width, bias=bias)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """[batch, context, width] to the same."""
        x = x + self.dropout(self.attention(self.attention_norm(x)))
        inner = self.narrow(F.gelu(self.widen(self.mlp_norm(x))))
        out: Tensor = x + self.dropout(inner)
        return out


class CharTransformer(nn.Module):
    """A model from characters to the logits of the next ones.

    `in_features` is the context, the most characters it sees, `num_classes` the vocabulary's size.
    """

    def __init__(
        self,
        in_features: int,
        num_classes: int,
        layers: int,
        heads: int,
        width: int,
        dropout: float,
        tied: bool,
        bias: bool,
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(num_classes, width)
        self.positions = nn.Embedding(in_features, width)
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(Block(width, heads, dropout, bias) for _ in range(layers))
        self.norm = nn.LayerNorm(width, bias=bias)
        self.head = nn.Linear(width, num_classes, bias=False)
        if tied:
            self.head.weight = self.embedding.weight
        self._initialize(layers)

    def _initialize(self, layers: int) -> None:
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=DEVIATION)
            if isinstance(module, nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)
        # The two additions of each block to the residual stream keep its size.
        for name, parameter in self.named_parameters():
            if name.endswith(("attention.out.weight", "narrow.weight")):
                nn.init.normal_(parameter, std=DEVIATION / math.sqrt(2 * layers))

    def forward(self, x: Tensor) -> Tensor:
        """Places in the vocabulary, int64 [batch, context], to [batch, context, num_classes]."""
        places = self.positions.weight[: x.shape[1]]
        x = self.dropout(self.embedding(x) + places)
        for block in self.blocks:
            x = block(x)
        out: Tensor = self.head(self.norm(x))
        return out
