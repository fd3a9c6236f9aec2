"""Data on the device, where they stay between trials."""

from __future__ import annotations

import itertools
import json
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lrsearch.data import sources, splitting
from lrsearch.data.parts import Part
from lrsearch.data.raw import Portion, Raw
from lrsearch.data.splitting import Loaded
from lrsearch.data.trees import Tree, count, leaves, map_tree
from lrsearch.errors import DataError
from lrsearch.train.batches.averaging import recalibration_batches
from lrsearch.train.batches.batch import NOTHING, Batch, split, take
from lrsearch.train.batches.streamed import Streamed
from lrsearch.train.device import is_out_of_memory, sum_type
from lrsearch.train.randomness import batches, seed_everything
from lrsearch.train.users import anew
from lrsearch.train.users.importing import resolve
from lrsearch.train.users.reading import find_readers
from lrsearch.trial import Workplace

CAPACITY = 2**30
"""Bytes of splits that are kept, the ones in use among them."""

NUMBERS = 4096
"""Numbers per sample in a model's largest layer, as an evaluation assumes them."""

WIDE = 512
"""Numbers per character of text, as an evaluation assumes them, if its logits are fewer."""


@dataclass(frozen=True, eq=False)
class Resident:
    """One fold's training and validation split as tensors.

    Inputs are float32 [samples, ...], classes int64 [samples], scaled targets float32 [samples,
    outputs]; text has both int64 [samples, context]; a function of the user's gives trees of any
    tensors. For a step of the user's `x` holds whole samples, and `inputs` the inputs of two of
    them. Where the samples are only a few of a stream, `epoch` is the number of all. `scale` and
    `spread` are those of `metrics.regression_metrics`, empty for classes. `units` is what turns
    outputs beside scaled targets back, these targets' mean and scale, and the targets of the
    validation split as they were given; None where targets are not scaled.
    """

    x_train: Tree
    y_train: Tree
    x_validation: Tree
    y_validation: Tree
    task: str
    outputs: int
    scale: tuple[float, ...] = ()
    spread: tuple[float, ...] = ()
    w_train: Any = NOTHING
    w_validation: Any = NOTHING
    inputs: Tree | None = None
    epoch: int | None = None
    units: tuple[Tensor, Tensor, Tensor] | None = None

    @property
    def train(self) -> Batch:
        """The training split."""
        return Batch(self.x_train, self.y_train, self.w_train)

    @property
    def validation(self) -> Batch:
        """The validation split."""
        return Batch(self.x_validation, self.y_validation, self.w_validation)

    @property
    def samples(self) -> int:
        """Size of the training split."""
        return count(self.x_train)

    @property
    def epoch_samples(self) -> int:
        """The samples that epochs are counted by."""
        return self.samples if self.epoch is None else self.epoch

    @property
    def validation_samples(self) -> int:
        """Size of the validation split."""
        return count(self.x_validation)

    @property
    def device(self) -> torch.device:
        """The device of the tensors."""
        return self.train.device

    @property
    def example(self) -> Tree:
        """The inputs of two samples."""
        return map_tree(lambda each: each[:2], self.x_train if self.inputs is None else self.inputs)

    @property
    def tensors(self) -> list[Tensor]:
        """The tensors of the training split."""
        return [each for _, each in leaves(tuple(self.train))]

    def measure_epoch(self, size: int) -> tuple[int, int]:
        """The samples of an epoch, and of a batch."""
        return self.samples, size

    def batches(self, size: int, seed: int, first: int = 0) -> Iterator[Batch]:
        """Batches of the training split in the order of a seed, without end, from the `first`
        on."""
        order = batches(self.samples, size, seed, self.device)
        return (take(self.train, index) for index in itertools.islice(order, first, None))

    def calibration(self, size: int) -> Iterator[Batch]:
        """The batches that `averaging` gathers statistics from."""
        indices = recalibration_batches(self.samples, size, self.device)
        return (take(self.train, index) for index in indices)

    def spread_out(self, most: int) -> Batch:
        """A batch of samples, at most `most`, spread over the training split."""
        chosen = min(most, self.samples)
        index = torch.arange(chosen, device=self.device) * self.samples // chosen
        return take(self.train, index)

    def validation_batches(self, size: int) -> Iterator[Batch]:
        """The validation split, so many samples at a time."""
        return split(self.validation, size)

    def in_own_units(self, outputs: Tree, targets: Tree) -> tuple[Tree, Tree]:
        """The outputs and targets of the whole validation split, as metrics of the user's get them:
        those of a regression in the unit of the targets."""
        if self.units is None:
            return outputs, targets
        mean, scale, given = self.units
        return outputs * scale + mean, given.clone()

    def loss_terms(self, *, built_in: bool) -> float:
        """The divisor of the summed validation loss: the samples' weights, the entries that a
        built-in loss sums over, or the number of samples."""
        if isinstance(self.w_validation, Tensor):
            return self._weights
        if built_in and self.task != "classification":
            return float(self.y_validation.numel())
        return float(count(self.x_validation))

    @cached_property
    def _weights(self) -> float:
        # Once: an accelerator is waited for.
        return float(self.w_validation.sum(dtype=sum_type(self.device)))

    def chunk(self, most: int) -> int:
        """Samples per forward pass of an evaluation: `most`, or fewer of text, so that its
        characters make the numbers of `most` samples of `NUMBERS`."""
        if self.task != "language":
            return most
        made = int(self.x_train.shape[1]) * max(self.outputs, WIDE)
        return max(1, most * NUMBERS // made)

    @property
    def bytes(self) -> int:
        """Memory the tensors take."""
        return sum(each.nbytes for _, each in leaves((tuple(self.train), tuple(self.validation))))


_kept: OrderedDict[tuple[object, ...], Resident] = OrderedDict()


def load_raw(config: Mapping[str, Any], workplace: Workplace) -> Raw:
    """The arrays of a resolved `data`; code that it names is imported as the workplace allows.
    Reseeds the global generators, and puts the globals of the user's code back."""
    anew.put_back(workplace)
    seed_everything(0)  # A function that makes up data makes up the same in every process.
    raw = sources.load(config, resolver=partial(resolve, workplace=workplace))
    anew.keep_with(raw, workplace, lambda: find_readers(raw.streams))
    return raw


def place(
    raw: Raw,
    config: Mapping[str, Any],
    fold: int | None,
    device: torch.device,
    train: Mapping[str, Any] | None = None,
    *,
    tested: bool = False,
) -> Resident | Streamed:
    """Put the splits of a resolved `data`, whose arrays are `raw`, on the device; they are kept for
    the process while memory allows. `train` is the resolved one: its loss, or step, may be the
    user's. If `tested`, the test part stands in the place of the validation part. Raises DataError
    where the device has no room for them."""
    view = find_view(train)
    # Transforms are applied later, to batches: data with and without them are the same.
    own = {name: part for name, part in config.items() if name != "transforms"}
    key = (json.dumps(own, sort_keys=True), raw.data_hash, fold, str(device), view, tested)
    if key in _kept:
        _kept.move_to_end(key)
        return _kept[key]
    splits = splitting.split(raw, config, fold, own=bool(view))
    if tested:
        assert splits.test is not None
        splits = replace(splits, validation=splits.test)
    if isinstance(splits.train, Loaded):
        return Streamed(raw, splits, view, device)
    spread: tuple[float, ...] = ()
    assert isinstance(splits.validation, Portion)
    if splits.task == "regression":
        targets = np.asarray(splits.validation.y, np.float64)
        spread = tuple(((targets - targets.mean(axis=0)) ** 2).sum(axis=0).tolist())
    scale = (1.0,) * splits.outputs if splits.task == "regression" else ()
    if splits.target_scale is not None:
        scale = tuple(splits.target_scale.tolist())
    units = None
    if splits.target_scale is not None and splits.target_mean is not None:
        numbers = (splits.target_mean, splits.target_scale, splits.validation.given)
        mean, unit, given = (torch.from_numpy(np.float32(each)).to(device) for each in numbers)
        units = mean, unit, given
    arrays = [view_portion(part, raw.form, view) for part in (splits.train, splits.validation)]
    size = sum(each.nbytes for part in arrays for _, each in leaves(tuple(part)))
    _make_room(size)
    try:
        parts = [_to_device(each, device) for each in arrays]
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        raise DataError(
            f"the memory of {device} has no room for the samples, which take {size / 2**30:.2g} "
            "GiB and stay there while all trials train",
            where=raw.name,
            hint="have them loaded batch by batch, by a function that returns a "
            "torch.utils.data.Dataset (docs/spec.md); or give a worker more of the memory, by a "
            "smaller --workers, or train with --device cpu",
        ) from error
    _kept[key] = Resident(
        parts[0].x,
        parts[0].y,
        parts[1].x,
        parts[1].y,
        "own" if view == "step" else splits.task,
        splits.outputs,
        scale,
        spread,
        parts[0].weight,
        parts[1].weight,
        _to_device(Batch(splitting.take(raw, np.arange(2)).x), device).x
        if view == "step"
        else None,
        units=units,
    )
    return _kept[key]


def _make_room(size: int) -> None:
    """Forget splits, those used longest ago first, until so many bytes more are within the
    capacity: before these are placed, since a device may not have room for both."""
    while _kept and size + sum(each.bytes for each in _kept.values()) > CAPACITY:
        _kept.popitem(last=False)


def find_view(train: Mapping[str, Any] | None) -> str:
    """The form in which a training gets its samples: "" for inputs and targets; "given" with
    unscaled targets of a regression, for a loss of the user's; "step" for whole samples as they
    were given, for a step of the user's."""
    if train is None:
        return ""
    if train.get("step") is not None:
        return "step"
    return "given" if isinstance(train["loss"], Mapping) else ""


def view_portion(part: Portion, form: Part, view: str) -> Batch:
    """Samples in the form a training gets them, still arrays."""
    if view == "step":
        given = part.y if part.given is None else part.given
        return Batch(replace(form, x=part.x, y=given, weight=part.weight).rejoin())
    y, weight = (NOTHING if each is None else each for each in (part.y, part.weight))
    return Batch(part.x, y, weight)


def _to_device(batch: Batch, device: torch.device) -> Batch:
    def move(array: Any) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(device)

    return Batch(*(map_tree(move, part) for part in batch))
