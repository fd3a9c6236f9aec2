"""A model's outputs for its loss: the part of them that counts, and known errors in them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from lrsearch.data.trees import Tree, leaves, map_tree

_PASSES = re.compile(
    r"(Reshape\w*|UnsafeView|View|Squeeze|Unsqueeze|Clone|ToCopy|Transpose|T|Permute|Select|Slice"
    r"|Clamp\w*|Alias)Backward\d+"
)
"""Operations behind a softmax or a sigmoid that leave its numbers as they are."""

_ENDINGS = {
    "SoftmaxBackward0": "softmax",
    "LogSoftmaxBackward0": "log_softmax",
    "SigmoidBackward0": "sigmoid",
}


def find_output(outputs: Any) -> Any:
    """The part of a model's outputs that its loss and metrics take: a tensor as it is, the first of
    a tuple or a list, the `logits` of a mapping. Anything else is returned unchanged."""
    if isinstance(outputs, Mapping):
        return outputs.get("logits", outputs)
    if isinstance(outputs, tuple | list) and outputs and isinstance(outputs[0], Tensor):
        return outputs[0]
    return outputs


def is_flat(outputs: Any) -> bool:
    """Whether outputs are one number a sample, [samples]."""
    return isinstance(outputs, Tensor) and outputs.dim() == 1


def describe_outputs(outputs: Any) -> str:
    """Outputs in words, by the shapes of what they hold: `a tuple of [2, 10], None`."""
    if isinstance(outputs, Tensor):
        return str(list(outputs.shape))
    if isinstance(outputs, Mapping):
        parts = [f"{key}: {describe_outputs(each)}" for key, each in outputs.items()]
        return f"a {type(outputs).__name__} of {', '.join(parts) or 'nothing'}"
    if isinstance(outputs, tuple | list):
        parts = [describe_outputs(each) for each in outputs]
        return f"a {type(outputs).__name__} of {', '.join(parts) or 'nothing'}"
    return "None" if outputs is None else type(outputs).__name__


def find_ending(outputs: Any) -> str:
    """The last function that outputs, computed with gradients, come from: `softmax`, `log_softmax`
    or `sigmoid`; "" for any other."""
    node: Any = getattr(outputs, "grad_fn", None)
    while node is not None and _PASSES.fullmatch(node.name()):
        node = node.next_functions[0][0]
    return _ENDINGS.get(node.name(), "") if node is not None else ""


def are_probabilities(model: nn.Module, x: Tree, forward: Any) -> bool:
    """Whether outputs are probabilities of classes, whatever the inputs: not negative, with a sum
    of one, for these samples and, where they are numbers, for random ones of several sizes.
    `forward(model, x)` gives them, [samples, ..., classes]."""
    with torch.no_grad():
        return all(_sums_to_one(forward(model, each)) for each in _inputs(x))


def _inputs(x: Tree) -> Iterator[Tree]:
    yield x
    if all(each.is_floating_point() for _, each in leaves(x)):
        yield map_tree(torch.randn_like, x)
        yield map_tree(lambda each: 10 * torch.randn_like(each), x)


def _sums_to_one(outputs: Any) -> bool:
    if not isinstance(outputs, Tensor) or outputs.dim() < 2 or outputs.shape[-1] < 2:
        return False
    total = outputs.double().sum(-1)
    return bool((outputs >= 0).all()) and bool(((total - 1).abs() < 1e-3).all())
