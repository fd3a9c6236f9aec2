"""Reasons against lanes that errors raised under vmap are, in words for the user."""

from __future__ import annotations

import re
import textwrap
import traceback
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import nn

from lrsearch.data.raised import find_line
from lrsearch.train.optimizers.registry import STACKED

_PLAIN = {
    r"\.item\(\)|data-dependent control flow|data pointer": "it reads values back from tensors, as "
    ".item() and `if` do",
    r"dynamic shape": "the shape of a result depends on values",
    r"escaped": "it keeps tensors beyond its forward, as activation checkpointing does",
    r"setup_context|generate_vmap_rule": "an autograd function that it uses has no rule for vmap",
    r"[Ss]parse": "it has sparse tensors",
    r"accessing `data`": "it uses the .data of a tensor",
    r"access storage": "it copies a tensor with its memory, as copy.deepcopy does",
    r"requires_grad_\(\)": "it calls requires_grad_() on a tensor",
    r"backward\(\) called": "it calls backward() itself",
    r"single memory location|in extra_args|updated in place": "it changes in place what all lanes "
    "share",
    r"modified by an inplace operation": "it changes or replaces a buffer that the step's "
    "gradients need as it was",
    r"(?:rule not implemented for|not yet support) (aten::\w+)": "vmap has no rule for {}",
}
"""Plain words for common errors under vmap."""

LONGEST = 160
"""Characters of an error that are shown."""


def refuse_optimizer(optimizer: Mapping[str, Any]) -> str:
    """The reason against lanes of an optimizer that has no form for them."""
    path = optimizer.get("class_path")
    if path is None:
        return f"{optimizer['name']} has no form for lanes"
    named = path.rpartition(".")[2].lower()
    twin = f", {named} among them" if named in STACKED else ""
    return (
        f"the optimizer {path} has no form for lanes, as none has that is named by its class path; "
        f"the built-in ones have{twin}"
    )


def find_place(error: BaseException, models: Iterable[nn.Module]) -> str:
    """The place where an error was raised, in brackets: the layer, and the line of the user's code.
    "" outside of both, as in a backward pass."""
    names = {id(each): name for model in models for name, each in model.named_modules() if name}
    layer = ""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        held = frame.f_locals.get("self")
        if id(held) in names:
            layer = f"in its layer {names[id(held)]}, {type(held).__name__}"
    told = "; ".join(filter(None, (layer, find_line(error))))
    return f" ({told})" if told else ""


def tell_checks(error: BaseException) -> str:
    """The reason against lanes where a distribution of torch's looked at values; "" elsewhere."""
    checks = [(torch.distributions.Distribution, name) for name in ("__init__", "_validate_sample")]
    codes = {getattr(owner, name).__code__ for owner, name in checks}
    if not any(frame.f_code in codes for frame, _ in traceback.walk_tb(error.__traceback__)):
        return ""
    return "it checks the values of a distribution, unless made with validate_args=False"


def explain(error: BaseException) -> str:
    """The reason against lanes that an error under vmap is, in plain words where it is a common
    one."""
    text = str(error).strip()
    for pattern, meaning in _PLAIN.items():
        if found := re.search(pattern, text):
            return meaning.format(*found.groups())
    text = f"{type(error).__name__}: {text.partition(chr(10))[0]}"
    return f"trying it in lanes raised {textwrap.shorten(text, LONGEST)}"
