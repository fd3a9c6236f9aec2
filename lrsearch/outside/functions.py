"""A training loop of the user's as a function, and the device that it trains on; torch is imported
only where something needs it."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping
from typing import Any

from lrsearch.errors import ModelError
from lrsearch.machine import describe_processor, may_have_accelerator
from lrsearch.train.users.importing import resolve, tell_place
from lrsearch.trial import Workplace

_FORM = "a loop is a function such as: def train(trial): ..."


def find_loop(path: str, workplace: Workplace, params: Mapping[str, Any]) -> Any:
    """Import the function a class path names. Raises ModelError where it cannot be called with a
    trial alone, or takes parameters of the trial's (`params`) instead, and the errors of
    `importing.resolve`."""
    try:
        found = resolve(path, workplace)
    except ModelError as error:
        if error.where:
            raise
        raise ModelError(error.message, where="loop", hint=error.hint or _FORM) from None
    if isinstance(found, type):
        raise ModelError(f"{path}{tell_place(path)} is a class", where="loop", hint=_FORM)
    if inspect.iscoroutinefunction(found) or inspect.isgeneratorfunction(found):
        kind = "a coroutine" if inspect.iscoroutinefunction(found) else "a generator"
        message = f"{path}{tell_place(path)} is {kind}: calling it trains nothing"
        raise ModelError(message, where="loop", hint=_FORM)
    try:
        signature = inspect.signature(found)
    except (TypeError, ValueError):  # Compiled: its signature is unknown.
        return found
    wanted = [each.name for each in signature.parameters.values() if each.default is each.empty]
    # One alone may be the trial by another name.
    used = getattr(getattr(found, "__code__", None), "co_names", ())
    alone = wanted and isinstance(params.get(wanted[0]), int | float) and "params" not in used
    if (len(wanted) > 1 or (alone and "report" not in used)) and set(wanted) <= params.keys():
        name = path.rpartition(".")[2]
        given = ", ".join(f'{each}=trial.params["{each}"]' for each in wanted)
        raise ModelError(
            f"{path}{signature} takes {', '.join(wanted)}, and a loop is given the trial"
            f"{tell_place(path)}",
            where="loop",
            hint="write another function, which reports what this one measures: "
            f"def {'search' if name == 'train' else 'train'}(trial): "
            f"trial.report(1, loss={name}({given}))",
        )
    try:
        signature.bind(None)
    except TypeError as error:
        message = f"{path}{signature} cannot be called with the trial alone: {error}"
        message += tell_place(path)
        raise ModelError(message, where="loop", hint=_FORM) from None
    return found


_UNFINISHED: Mapping[str, Callable[[object], bool]] = {
    "a coroutine": inspect.iscoroutine,
    "a generator": inspect.isgenerator,
    "an asynchronous generator": inspect.isasyncgen,
}


def refuse_unfinished(returned: object, path: str) -> None:
    """Raises ModelError for what a loop returned where it is still to be run."""
    for kind, is_kind in _UNFINISHED.items():
        if is_kind(returned):
            message = f"{path} returned {kind}, which nobody runs: it has trained nothing"
            raise ModelError(message, where="loop", hint=_FORM)


def tell_returned(returned: object) -> str:
    """A sentence on what a loop that has reported nothing returned, for the end of its output."""
    told = f"{returned:g}" if isinstance(returned, int | float) else f"a {type(returned).__name__}"
    return f"what the loop returned, {told}, is not used: trial.report(step, ...) takes it"


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
