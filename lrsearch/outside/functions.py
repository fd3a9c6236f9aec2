"""A training loop of the user's as a function, and the device that it trains on; torch is imported
only where something needs it."""

from __future__ import annotations

import inspect
import sys
from typing import Any

from lrsearch.errors import ModelError
from lrsearch.machine import describe_processor, may_have_accelerator
from lrsearch.train.users.importing import resolve
from lrsearch.trial import Workplace


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


def find_device(name: str) -> str:
    """torch's name of the device that a name means. Raises UsageError, see
    `lrsearch.train.device.find_device`."""
    if name == "cpu":
        return "cpu"
    if name == "auto" and "torch" not in sys.modules and not may_have_accelerator():
        return "cpu"
    from lrsearch.train import device

    return str(device.find_device(name))


def describe_device(name: str) -> str:
    """The maker's name of a device that was found."""
    if name == "cpu":
        return describe_processor()
    from lrsearch.train import device

    return device.describe_device(device.find_device(name))
