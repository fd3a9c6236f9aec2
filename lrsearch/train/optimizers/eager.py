"""Torch's optimizers without its compiler.

Every `torch.optim` optimizer imports `torch._dynamo` when it takes its parameters and again when it
steps, so that a compiled program treats those methods apart. That import takes as long as torch's
own, and a search starts several processes. None of lrsearch compiles an optimizer's step: the same
functions are called beneath the wrappers.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import optim


def make_eager(kind: type[optim.Optimizer]) -> Callable[..., optim.Optimizer]:
    """Make a subclass of an optimizer's class, of its name, whose steps are the same and import no
    compiler."""
    methods: dict[str, Any] = {
        # Torch's wrapper keeps gradients of a step only where it is told `differentiable`.
        "step": torch.no_grad()(inspect.unwrap(kind.step)),
        "add_param_group": inspect.unwrap(kind.add_param_group),
        "__module__": kind.__module__,
        "__qualname__": kind.__qualname__,
        "__doc__": kind.__doc__,
    }
    return type(kind.__name__, (kind,), methods)
