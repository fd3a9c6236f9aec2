"""Code that raises as each training begins: found by beginning two."""

from __future__ import annotations

import contextlib
import itertools
import json
import re
from collections.abc import Iterator, Sequence

import torch
from torch import nn

from lrsearch import catalogue, pulse
from lrsearch.data import splitting
from lrsearch.data.interrupts import any_but_interrupts
from lrsearch.data.raised import find_line, tell_raised
from lrsearch.data.raw import Raw
from lrsearch.errors import LrsearchError, ModelError, nearest
from lrsearch.train.batches.resident import place
from lrsearch.train.batches.streamed import Streamed
from lrsearch.train.device import find_device, free_memory, is_out_of_memory, release
from lrsearch.train.engines.start import make_start
from lrsearch.train.engines.training import Training
from lrsearch.train.users.isolation import current
from lrsearch.trial import Config, Trial, Workplace

MOST = 8
"""Kinds of trainings that are begun: one that does not raise settles it."""

STEPS = 2
"""Steps that are made: one may keep what the next fails on."""

RATE = 1e-8
"""The rate of an optimizer of the user's, whose steps leave the weights where they are."""

_CUDA = re.compile(r"Torch not compiled with CUDA|NVIDIA driver|CUDA GPUs are available")


class Unmade(ModelError):
    """A model that there is no memory to make."""


@contextlib.contextmanager
def telling_memory(name: str) -> Iterator[None]:
    """Raises Unmade where memory runs out as a model of this name is made."""
    try:
        yield
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        message = f"there is no memory to make the model: {tell_raised(error)}"
        raise Unmade(message, where=name, hint="write a smaller one") from error


def refuse_raising(configs: Sequence[Config], raw: Raw, workplace: Workplace) -> None:
    """Raises ModelError where every training of these configs raises as it begins, with the weights
    and the batches of two seeds alike. Trainings of which some do not are left to their trials; so
    are those that differ in a width or a batch size, of which these are the ends of a range: one
    between them may be what the code asks for, unless it raises for a name that is none.

    It is the CPU that is asked: a GPU tells of an index out of range later, elsewhere, and this
    process could do nothing with it any more. What raises begins there, too, before it is refused:
    the code may be for a GPU alone."""
    device, host = find_device(workplace.device), torch.device("cpu")
    kinds = {_kind(each): each for each in configs}
    first: tuple[Config, BaseException, bool] | None = None
    for config in itertools.islice(kinds.values(), MOST):
        lines = set()
        for seed in range(2):
            pulse.beat()
            error, stepped = _begin(config, raw, workplace, host, seed)
            if error is None or (len(kinds) > 1 and not _is_typo(error)):
                return
            lines.add((type(error), find_line(error)))
            first = first or (config, error, stepped)
        if len(lines) > 1:
            return
    assert first is not None
    config, error, stepped = first
    if device != host:
        with current(device):
            sound = _begin(config, raw, workplace, device, 0)[0] is None
        free_memory(device)
        if sound:
            return
    where = "train.step" if config["train"].get("step") else catalogue.name_of(config["model"])
    raise ModelError(
        f"tried on a first batch it raised {tell_raised(error)}",
        where="train.optimizer" if stepped else where,
        hint=_hint(error),
    ) from error


def _kind(config: Config) -> str:
    """The parts of a config that a training's first steps depend on, but for numbers."""
    train = config["train"]
    parts = [train["batch_size"], train["loss"], train.get("step"), train["precision"]]
    parts += [train["optimizer"]] if "class_path" in train["optimizer"] else []
    return json.dumps([config["model"], config["data"], *parts], sort_keys=True)


def _is_typo(error: BaseException) -> bool:
    """Whether code raises for a name, or a device, that there is with no other number either."""
    return isinstance(error, AttributeError | NameError | ImportError) or bool(
        _CUDA.search(str(error))
    )


def _begin(
    config: Config, raw: Raw, workplace: Workplace, device: torch.device, seed: int
) -> tuple[BaseException | None, bool]:
    """Begin a training; returns what its first steps raise, and whether the optimizer does. None
    where that is nothing, or no matter of the code."""
    train = config["train"]
    stepped = False
    trial = Trial(0, "", config, seed, splitting.folds(config["data"])[0])
    try:
        data = place(raw, config["data"], trial.fold, device, train)
        if isinstance(data, Streamed):
            data.measure_epoch(train["batch_size"])
        model, criterion, _ = make_start(trial, data, workplace)
        training = Training(model.train(), train, workplace, criterion)
        for batch in itertools.islice(data.batches(train["batch_size"], seed), STEPS):
            stepped = False
            training.compute_gradients(batch).item()  # A GPU raises once it is waited for.
            if stepped := "class_path" in train["optimizer"]:
                training.step(batch, RATE).item()
    except any_but_interrupts(is_out_of_memory, LrsearchError) as error:
        return error, stepped
    except Exception as error:
        release(error)
    return None, False


def _hint(error: BaseException) -> str:
    """The line to write in the place of what raised an error, where that is known; else ""."""
    if _CUDA.search(str(error)):
        return "leave out .cuda() and .to('cuda'): the model and its samples are on one device"
    if not isinstance(error, AttributeError) or not isinstance(error.obj, nn.Module):
        return ""
    close = nearest(error.name or "", dict(error.obj.named_children()))
    return f"did you mean self.{close}?" if close else ""
