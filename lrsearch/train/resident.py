"""Data on the device, where they stay between trials."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from lrsearch import data
from lrsearch.train.importing import resolve
from lrsearch.train.randomness import seed_everything
from lrsearch.train.transforms import Transform
from lrsearch.trial import Workplace

CAPACITY = 2**30
"""Bytes of splits kept beside the one in use."""

NUMBERS = 4096
"""What a sample is taken to become in a model's largest layer, where an evaluation follows it."""

WIDE = 512
"""What a character is taken to become, if its logits are fewer."""


@dataclass(frozen=True, eq=False)
class Resident:
    """One fold's training and validation split as tensors: inputs float32 [samples, ...], classes
    int64 [samples] or scaled targets float32 [samples, outputs]; of text both int64 [samples,
    context]. `scale` and `spread` are those of `metrics.regression_metrics`, empty for classes;
    `transforms` are for the training batches."""

    x_train: Tensor
    y_train: Tensor
    x_validation: Tensor
    y_validation: Tensor
    task: str
    outputs: int
    scale: tuple[float, ...]
    spread: tuple[float, ...]
    transforms: tuple[Transform, ...] = ()

    @property
    def samples(self) -> int:
        """Size of the training split."""
        return len(self.x_train)

    def chunk(self, most: int) -> int:
        """Samples per forward pass of an evaluation: `most`, or of text so many as make the
        numbers of `most` samples of `NUMBERS`; what is made for each character counts."""
        if self.task != "language":
            return most
        made = self.x_train.shape[1] * max(self.outputs, WIDE)
        return max(1, most * NUMBERS // made)

    @property
    def bytes(self) -> int:
        """Memory the tensors take."""
        tensors = (self.x_train, self.y_train, self.x_validation, self.y_validation)
        return sum(tensor.nbytes for tensor in tensors)


_kept: OrderedDict[tuple[object, ...], Resident] = OrderedDict()


def load_raw(config: Mapping[str, Any], workplace: Workplace) -> data.Raw:
    """The arrays of a resolved `data`, code it names being imported as the workplace allows.
    Reseeds the global generators."""

    def resolver(class_path: str) -> Callable[..., Any]:
        return cast(Callable[..., Any], resolve(class_path, workplace))

    seed_everything(0)  # A function that makes up data makes up the same in every process.
    return data.load(config, resolver=resolver)


def place(
    raw: data.Raw, config: Mapping[str, Any], fold: int | None, device: torch.device
) -> Resident:
    """The splits of a resolved `data`, whose arrays `raw` are, on the device; kept per process
    while memory is no worry."""
    # Transforms come later: data without and with them are one.
    own = {name: part for name, part in config.items() if name != "transforms"}
    key = (json.dumps(own, sort_keys=True), raw.data_hash, fold, str(device))
    if key in _kept:
        _kept.move_to_end(key)
        return _kept[key]
    splits = data.split(raw, config, fold)
    spread: tuple[float, ...] = ()
    if splits.target_scale is not None:
        targets = splits.validation[1].astype(np.float64)
        spread = tuple(((targets - targets.mean(axis=0)) ** 2).sum(axis=0).tolist())
    x_train, y_train, x_validation, y_validation = (
        torch.from_numpy(np.ascontiguousarray(array)).to(device)
        for array in (*splits.train, *splits.validation)
    )
    scale = () if splits.target_scale is None else tuple(splits.target_scale.tolist())
    _kept[key] = Resident(
        x_train,
        y_train,
        x_validation,
        y_validation,
        splits.task,
        splits.outputs,
        scale,
        spread,
    )
    while len(_kept) > 1 and sum(each.bytes for each in _kept.values()) > CAPACITY:
        _kept.popitem(last=False)
    return _kept[key]
