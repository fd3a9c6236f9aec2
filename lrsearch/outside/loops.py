"""A training loop of the user's: a function that is called with the trial, checked before it
trains."""

from __future__ import annotations

import inspect
from collections.abc import Generator
from typing import Any

import torch

from lrsearch.errors import ModelError
from lrsearch.outside.commands import make_facts
from lrsearch.train.device import describe_device, find_device
from lrsearch.train.jobs import Preparation
from lrsearch.train.users.importing import forget_imports, resolve, source_hashes
from lrsearch.train.users.isolation import isolated
from lrsearch.trial import Facts, Workplace


def prepare(payload: Preparation) -> Generator[Facts, Any, None]:
    """Import the loop and look at it; yields the run's Facts once.

    Raises ModelError for a class path that cannot be imported or is no function of one argument,
    ImportRefused, or UsageError (the device).
    """
    forget_imports()  # A process may have seen the files as they were before.
    yield from isolated(_prepare(payload), torch.device("cpu"), payload.workplace)


def _prepare(payload: Preparation) -> Generator[Facts, Any, None]:
    device = find_device(payload.workplace.device)
    path = payload.configs[0]["loop"]
    find_loop(path, payload.workplace)
    hashes = source_hashes([path], payload.workplace)
    yield make_facts("loop", hashes, str(device), describe_device(device))


def find_loop(path: str, workplace: Workplace) -> Any:
    """Import the function a class path names. Raises ModelError where it cannot be called with a
    trial alone, and the errors of `importing.resolve`."""
    found = resolve(path, workplace)
    form = "a loop is a function such as: def train(trial): ..."
    if isinstance(found, type):
        raise ModelError(f"{path} is a class", where="loop", hint=form)
    if inspect.iscoroutinefunction(found) or inspect.isgeneratorfunction(found):
        kind = "a coroutine" if inspect.iscoroutinefunction(found) else "a generator"
        raise ModelError(f"{path} is {kind}: calling it trains nothing", where="loop", hint=form)
    try:
        signature = inspect.signature(found)
    except (TypeError, ValueError):  # Compiled: its signature is unknown.
        return found
    try:
        signature.bind(None)
    except TypeError as error:
        message = f"{path}{signature} cannot be called with the trial alone: {error}"
        raise ModelError(message, where="loop", hint=form) from None
    return found
