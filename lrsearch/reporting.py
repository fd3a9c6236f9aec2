"""Reporting metrics from inside a training: what a metric is, and the line that carries it.

Light enough for any script: the standard library alone, and no library of numbers is imported.
"""

from __future__ import annotations

import contextlib
import json
import math
import operator
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

LONGEST_NAME = 100
"""The most characters of a metric's name; longer names are no metrics."""

VARIABLE = "LRSEARCH_METRICS"
"""The environment variable that names the file of metrics, inside a search alone."""


inside: Callable[..., None] | None = None
"""The `report` of the trial in the process of a loop, which tells when the trial is to stop."""


def report(step: int | None = None, *others: object, **metrics: float) -> None:
    """Report metrics of a trial after a step (a whole number from 0; left out, it is the next):
    Python's numbers, NumPy's scalars, and tensors of one value on any device.

    Outside a search it does nothing, and does not even check them. Several processes and threads
    may report. Raises TypeError or ValueError for a value that is no metric.
    """
    if inside is not None:
        return inside(step, *others, **metrics)
    path = os.environ.get(VARIABLE)
    if not path:
        return
    line = encode(step, metrics, others)
    # A process that outlives its trial finds no file any more, and has no reader.
    with contextlib.suppress(FileNotFoundError):
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND)
        try:
            write(descriptor, line)
        finally:
            os.close(descriptor)


def write(descriptor: int, line: str) -> None:
    """Append a line to a file opened for appending, in one piece: other processes may write there,
    too."""
    os.write(descriptor, f"{line}\n".encode())


def encode(step: Any, metrics: Mapping[str, Any], others: Sequence[object]) -> str:
    """The line of JSON for metrics after a step, None for the next. `others` are arguments that
    were given without a name. Raises TypeError or ValueError for a value that is no metric."""
    given = (step, *others)
    if others or isinstance(step, Mapping):
        several = any(isinstance(each, Mapping) for each in given)
        form = "report(step, **metrics)" if several else "report(step, loss=0.5)"
        raise TypeError(f"report: metrics are given by their names, such as {form}")
    if not metrics:
        raise ValueError("report: no metric is given, such as report(step, loss=0.5)")
    content: dict[str, float] = {} if step is None else {"step": _whole(step)}
    for name, value in metrics.items():
        if not is_name(name):
            allowed = f"1 to {LONGEST_NAME} printable characters"
            raise ValueError(f"report: a metric's name has {allowed}: {name!r}")
        content[name] = number(name, value)
    return json.dumps(content)


def _whole(step: Any) -> int:
    try:
        whole = operator.index(step)
    except TypeError:
        message = f"report: a step is a whole number, not {type(step).__name__}"
        raise TypeError(message) from None
    if whole < 0:
        raise ValueError(f"report: a step is a whole number from 0, not {whole}")
    return whole


def number(name: str, value: Any) -> float:
    """A metric's value as a float. Raises TypeError where it is no number, or several."""
    size = getattr(value, "size", None)  # NumPy's is a number, torch's a method.
    count = value.numel() if hasattr(value, "numel") else size
    if isinstance(count, int) and count != 1:
        message = f"report: {name} holds {count} values: report one, such as their mean"
        raise TypeError(message)
    try:
        # An array of one value is one value; `item` brings it from any device.
        return float(value.item() if isinstance(count, int) and hasattr(value, "item") else value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf
    except (TypeError, ValueError):
        raise TypeError(f"report: {name} is no number but {type(value).__name__}") from None


def is_name(name: str) -> bool:
    """Whether a text may be the name of a metric."""
    return name.isprintable() and 0 < len(name) <= LONGEST_NAME
