"""Batches: inputs, targets and weights of some samples, on the device."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from lrsearch.data.trees import Tree, count, leaves, map_tree, replace_leaves
from lrsearch.errors import ModelError

NOTHING: tuple[()] = ()
"""The value of targets, or weights, where there are none."""


class Batch(NamedTuple):
    """Inputs and targets [samples, ...], each a tensor or a tree of them, and weights [samples];
    `NOTHING` where there are none. For a step of the user's `x` holds the whole samples."""

    x: Tree
    y: Tree = NOTHING
    weight: Any = NOTHING

    @property
    def samples(self) -> int:
        """The number of samples."""
        return count(self.x)

    @property
    def device(self) -> torch.device:
        """The device of the tensors."""
        found: torch.device = next(leaves(self.x))[1].device
        return found


def take(batch: Batch, index: Tensor) -> Batch:
    """Some samples, copied."""
    return Batch(*(select(part, index) for part in batch))


def copy(batch: Batch) -> Batch:
    """The same samples in tensors of their own."""
    return Batch(*(map_tree(torch.clone, part) for part in batch))


def select(tree: Tree, index: Tensor) -> Tree:
    """Some samples of a tree of tensors, copied."""
    if isinstance(tree, Tensor):  # The usual case, and quick.
        return tree.index_select(0, index)
    return map_tree(lambda each: each.index_select(0, index), tree)


def split(batch: Batch, size: int) -> Iterator[Batch]:
    """Views of the batch, so many samples each, the last perhaps fewer."""
    for start in range(0, batch.samples, size):
        yield Batch(*(_view(part, start, start + size) for part in batch))


def _view(tree: Tree, start: int, end: int) -> Tree:
    return map_tree(lambda each: each[start:end], tree)


def shape_of(x: Tree) -> tuple[int, ...] | None:
    """The shape of one sample, None where its inputs are several tensors."""
    return tuple(x.shape[1:]) if hasattr(x, "shape") else None


def join(trees: Sequence[Tree]) -> Tree:
    """Join the samples of trees of one form, one after the other. Raises ModelError for leaves that
    are no tensors, or differ in shape."""
    for name, each in (pair for tree in trees for pair in leaves(tree, "outputs")):
        if not isinstance(each, Tensor):
            raise ModelError(f"{name} is {type(each).__name__}: metrics take tensors")
    if len({str([each.shape[1:] for _, each in leaves(tree)]) for tree in trees}) > 1:
        raise ModelError(
            "metrics are of all outputs and targets of the validation split together, and those "
            "of its batches differ in shape",
            hint="a step of your own (train.step) may measure batch by batch",
        )
    columns = list(zip(*([each for _, each in leaves(tree)] for tree in trees), strict=True))
    return replace_leaves(trees[0], map(torch.cat, columns))


def call(model: nn.Module, x: Tree) -> Any:
    """Call the model as `call_whole`. Of outputs with an attribute `logits`, as Hugging Face's
    models give, these are returned."""
    out = call_whole(model, x)
    return out if isinstance(out, Tensor) else getattr(out, "logits", out)


def call_whole(model: nn.Module, x: Tree) -> Any:
    """Call the model: a mapping's entries are its arguments by name, a tuple's by place."""
    if isinstance(x, Mapping):
        return model(**x)
    return model(*x) if isinstance(x, tuple) else model(x)


def widen(outputs: Any) -> Any:
    """Outputs in at least float32, for the loss."""
    if isinstance(outputs, Tensor):
        return outputs.to(torch.promote_types(outputs.dtype, torch.float32))
    return map_tree(_widen_floats, outputs)


def _widen_floats(value: Any) -> Any:
    floating = isinstance(value, Tensor) and value.is_floating_point()
    return widen(value) if floating else value
