"""Sentences on how a source was understood, in the same words for all sources."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lrsearch.data.raw import Raw
from lrsearch.data.tables import show_labels
from lrsearch.data.trees import leaves

USUAL_SHARE = 0.2
"""Share of the samples that validate where neither the spec nor the source names any."""


def find_validation(raw: Raw, config: Mapping[str, Any]) -> Any:
    """The validation part: as a resolved `data` says, or where it leaves that open the source's own
    part, if it has one and the test is not to be it, else a share."""
    if config["validation"] is not None:
        return config["validation"]
    tested = config.get("test") == "source" and len(raw.names) == 1
    return "source" if raw.validates and not tested else USUAL_SHARE


def describe(
    raw: Raw, config: Mapping[str, Any], validated: Sequence[int], tested: int, *, own: bool = False
) -> str:
    """Describe the data in one sentence: samples, their shape, targets, validation and test.

    `config` is a resolved `data`, `validated` the validation samples of each fold, `tested` those
    of the test; `own` as `splits.split` has it: the user's loss or step takes what it is given.
    """
    head = f"{len(raw):,} samples" + (f" ({raw.taken})" if raw.taken else "")
    parts = [f"{head} of {_outline(raw)}", _targets(raw)]
    if raw.task == "regression" and not (own or raw.streams):
        unit = "units of its deviation" if raw.outputs == 1 else "units of their deviations"
        parts.append(f"which the loss takes in {unit}")
    if isinstance(raw.weight, np.ndarray):
        parts.append(f"weights from {raw.weight.min():g} to {raw.weight.max():g}")
    if raw.streams:
        parts.append("loaded batch by batch")
    told = [", ".join(parts), f"validation: {_validation(raw, config, validated)}"]
    test = config.get("test")
    if test is not None:
        which = f"its own part ({raw.names[-1]})" if test == "source" else f"a share of {test:g}"
        told.append(f"test: {which}, {tested:,} sample{'s' * (tested != 1)}")
    return "; ".join(told + _unused(raw, config))


def _outline(raw: Raw) -> str:
    if isinstance(raw.x, np.ndarray):
        return f"shape {raw.x.shape[1:]}"
    return " and ".join(f"{name} {each.shape[1:]}" for name, each in leaves(raw.x, "x"))


def _targets(raw: Raw) -> str:
    y = raw.y
    if raw.task == "language":
        return f"{raw.outputs} characters"
    if raw.task == "classification":
        return f"{raw.outputs} classes ({show_labels(raw.labels)})"
    if y is None:
        return "no targets"
    if raw.task == "regression":
        if raw.outputs > 1:
            return f"regression of {raw.outputs} targets"
        return f"regression of a target from {y.min():g} to {y.max():g}"
    kind = "targets of your own kind"
    if isinstance(y, np.ndarray) and y.ndim == 1 and not raw.streams:
        return f"{kind} ({y.dtype} from {y.min():g} to {y.max():g})"
    return kind


def _validation(raw: Raw, config: Mapping[str, Any], sizes: Sequence[int]) -> str:
    validation = config["validation"]
    many = " or ".join(f"{size:,}" for size in sorted(set(sizes)))
    many += " sample" if max(sizes) == 1 else " samples"
    if isinstance(validation, Mapping):
        return f"{validation['folds']} folds of {many}"
    if validation == "source":
        return f"its own part ({raw.names[0]}), {many}"
    return f"a share of {validation:g}, {many}"


def _unused(raw: Raw, config: Mapping[str, Any]) -> list[str]:
    """The parts that the source brings and the spec does not use."""
    sizes = [len(each) for each in (raw.held, raw.tested, *raw.streams[1:]) if each is not None]
    asked = (config["validation"] == "source", config.get("test") == "source")
    unread = [f"{name} is not used: validation: source takes it" for name in raw.unread]
    if len(raw.names) == 1:
        if any(asked):
            return unread
        if unread:
            return [*unread, f"{raw.names[0]} ({sizes[0]:,}) is held back: test: source takes it"]
        if raw.validates:
            return [f"{raw.names[0]} ({sizes[0]:,}) is not used: validation: source takes it"]
        takes = "validation: source, or test: source, takes it"
        return [f"{raw.names[0]} ({sizes[0]:,}) is held back: {takes}"]
    keys = (("validation", "not used"), ("test", "held back"))
    return unread + [
        f"{name} ({size:,}) is {why}: {key}: source takes it"
        for name, size, used, (key, why) in zip(raw.names, sizes, asked, keys, strict=False)
        if not used
    ]
