"""Augmentation: transforms of training batches, on the device, and of no others.

Each transform is a plain function of a batch that draws by torch.rand and its like: alone from the
global generator, in lanes (under `rules.Rules`) each lane from its own, by one definition.
"""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lrsearch import catalogue
from lrsearch.data.interrupts import any_but_interrupts
from lrsearch.data.raised import tell_raised
from lrsearch.data.trees import Tree
from lrsearch.errors import DataError, ModelError
from lrsearch.train.batches.batch import NOTHING, Batch, select
from lrsearch.train.device import is_out_of_memory
from lrsearch.train.randomness import seed_everything
from lrsearch.train.tape import unrecorded
from lrsearch.train.users.importing import construct, resolve
from lrsearch.trial import Workplace

Parts = tuple[tuple[Tree, Any, Any], ...]
"""Targets and weights of a batch, and their share; a mixed batch has several parts."""

FORM = "a transform is a function such as: def augment(x, strength=0.1): return ..."


def random_crop(x: Tensor, padding: int) -> Tensor:
    """Images [batch, channels, height, width], each moved by up to `padding` pixels along both
    sides, zeros coming in (He et al. 2016, section 4.2)."""
    count, _, height, width = x.shape
    down = torch.randint(2 * padding + 1, (count, 1, 1, 1), device=x.device)
    right = torch.randint(2 * padding + 1, (count, 1, 1, 1), device=x.device)
    rows = down + torch.arange(height, device=x.device).view(-1, 1)
    columns = right + torch.arange(width, device=x.device)
    padded = F.pad(x, [padding] * 4)
    high = padded.gather(2, rows.expand(*x.shape[:3], padded.shape[3]))
    return high.gather(3, columns.expand(x.shape))


def flip(x: Tensor, p: float) -> Tensor:
    """Images [batch, channels, height, width], each mirrored with probability `p`, left to
    right."""
    chosen = torch.rand(len(x), 1, 1, 1, device=x.device) < p
    return torch.where(chosen, x.flip(-1), x)


def noise(x: Tensor, std: float) -> Tensor:
    """Inputs [batch, ...] plus normal noise with a standard deviation in their units."""
    return x + std * torch.randn(x.shape, dtype=x.dtype, device=x.device)


def mixup(x: Tensor, alpha: float) -> tuple[Tensor, Tensor, Tensor]:
    """Inputs [batch, ...] mixed with those of a permutation, one share for the whole batch (Zhang
    et al. 2018); the permutation [batch], and the share that the inputs themselves have.

    The share has the distribution Beta(alpha, alpha), by its quantiles: torch's own sampling draws
    a count of numbers that depends on values, which lanes cannot do together.
    """
    place = torch.rand(1, device=x.device) * QUANTILES
    below = place.long()
    table = _beta_quantiles(alpha, x.device)
    low, high = table.gather(0, below), table.gather(0, below + 1)
    share = (low + (place - below) * (high - low)).squeeze(0).to(x.dtype)
    order = torch.randperm(len(x), device=x.device)
    return share * x + (1 - share) * x.index_select(0, order), order, share


QUANTILES = 4096
"""Intervals of the Beta distribution's quantile function; linear within each."""


@functools.lru_cache(maxsize=32)
def _beta_quantiles(alpha: float, device: torch.device) -> Tensor:
    """Quantiles of Beta(alpha, alpha), float32 [QUANTILES + 1]."""
    from scipy.special import betaincinv

    levels = np.linspace(0.0, 1.0, QUANTILES + 1)
    with unrecorded():
        return torch.from_numpy(betaincinv(alpha, alpha, levels).astype(np.float32)).to(device)


TRANSFORMS: dict[str, Callable[..., Any]] = {
    "random_crop": random_crop,
    "flip": flip,
    "noise": noise,
    "mixup": mixup,
}


@dataclass(frozen=True, eq=False)
class Transform:
    """A transform with its arguments. `mixes` where it returns what `mixup` does, else it returns
    inputs; `code` is the user's code behind it, or None."""

    name: str
    function: Callable[[Tensor], Any]
    mixes: bool = False
    code: object = None


@torch.no_grad()
def augment(transforms: tuple[Transform, ...], batch: Batch) -> tuple[Tensor, Parts]:
    """Apply each transform in turn to a training batch; returns the inputs for the model, and the
    parts of its targets."""
    x = batch.x
    parts: Parts = ((batch.y, batch.weight, NOTHING),)
    for each in transforms:
        if not each.mixes:
            x = each.function(x)
            continue
        x, order, share = each.function(x)
        known = [(y, weight, own if isinstance(own, Tensor) else 1.0) for y, weight, own in parts]
        parts = (
            *((y, weight, share * own) for y, weight, own in known),
            *((select(y, order), select(w, order), (1 - share) * own) for y, w, own in known),
        )
    return x, parts


def mixed_loss(loss: Callable[[Batch], Tensor], x: Tensor, parts: Parts) -> Tensor:
    """The loss of outputs whose targets may be mixed: the losses of the parts, each by its
    share."""
    found = [
        share * loss(Batch(x, y, weight))
        if isinstance(share, Tensor)
        else loss(Batch(x, y, weight))
        for y, weight, share in parts
    ]
    return found[0] if len(found) == 1 else torch.stack(found).sum(0)


def build_transforms(
    config: Mapping[str, Any], workplace: Workplace, device: torch.device
) -> tuple[Transform, ...]:
    """The transforms of a resolved `data`. Reseeds the global generators where it names code.
    Raises ModelError for a class path that gives no transform, and the errors of
    `importing.resolve`."""
    found = []
    for each in config.get("transforms") or ():
        if "class_path" in each:
            made = _make(each["class_path"], copy.deepcopy(each["init_args"]), workplace)
            if isinstance(made, nn.Module):
                made = made.to(device)
            call = made if not isinstance(made, functools.partial) else made.func
            found.append(Transform(each["class_path"], made, code=call))
            continue
        arguments = {key: value for key, value in each.items() if key != "name"}
        function = functools.partial(TRANSFORMS[each["name"]], **arguments)
        found.append(Transform(each["name"], function, mixes=each["name"] == "mixup"))
    return tuple(found)


def _make(path: str, arguments: dict[str, Any], workplace: Workplace) -> Callable[[Tensor], Any]:
    found = resolve(path, workplace)
    if not isinstance(found, type):
        try:
            inspect.signature(found).bind(None, **arguments)
        except TypeError as error:
            message = f"it cannot be called with a batch and its init_args: {error}"
            raise ModelError(message, where=path, hint=FORM) from None
        except ValueError:  # Compiled: calling it checks.
            pass
        return functools.partial(found, **arguments)
    seed_everything(0)  # Random draws of its constructor are the same for every trial and engine.
    made = construct(found, arguments=arguments, where=path)
    if not callable(made):
        raise ModelError(f"what {path} makes cannot be called with a batch", where=path, hint=FORM)
    return cast(Callable[[Tensor], Any], made)


def check_transforms(config: Mapping[str, Any], x: Tensor, what: str, workplace: Workplace) -> None:
    """Check the transforms of a resolved `data` on two samples `x` of it.

    Raises DataError for built-in ones that do not fit the data, named by `what`, and ModelError
    where one of the user's raises, or gives another shape or type.
    """
    for each in config.get("transforms") or ():
        if "name" in each:
            _check_built_in(each, x, what)
    shape = list(x.shape)
    for made in build_transforms(config, workplace, x.device):
        if made.code is None:
            continue
        try:
            with torch.no_grad():
                out = made.function(x.clone())
        except any_but_interrupts(is_out_of_memory) as error:
            raise ModelError(
                f"of a batch {shape} it raised {tell_raised(error)}", where=made.name
            ) from error
        given = f"{list(out.shape)}, {out.dtype}" if isinstance(out, Tensor) else type(out).__name__
        if given != f"{shape}, {x.dtype}":
            raise ModelError(
                f"of a batch {shape}, {x.dtype} it gives {given}",
                where=made.name,
                hint="a transform keeps shape and type",
            )


def _check_built_in(given: Mapping[str, Any], x: Tensor, what: str) -> None:
    name, shape = given["name"], list(x.shape[1:])
    where = "data.transforms"
    if not x.is_floating_point():
        raise DataError(f"{name} takes numbers, {what} holds characters", where=where)
    if name in catalogue.IMAGE_TRANSFORMS and len(shape) != 3:
        raise DataError(
            f"{name} takes images [channels, height, width], a sample of {what} is {shape}",
            where=where,
        )
    if name == "random_crop" and given["padding"] >= min(shape[1:]):
        raise DataError(
            f"a padding of {given['padding']} can move an image {shape} out of sight",
            where=where,
            hint=f"at most {min(shape[1:]) - 1} here",
        )
