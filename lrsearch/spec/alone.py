"""A schedule and a warmup by themselves, in the grammar of a spec."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from lrsearch import catalogue
from lrsearch.errors import UsageError, suggest
from lrsearch.spec.document import Document
from lrsearch.spec.foreign.schedules import translate_schedule
from lrsearch.spec.overrides import apply_override
from lrsearch.spec.validate import validate_schedule


def read_schedule(
    name: str, overrides: Sequence[str] = ()
) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """A built-in schedule and a warmup, every argument filled. An override is `pct_start=0.4`,
    an argument of the schedule, or `warmup=10ba`, `warmup.shape=cosine`; with its path in a spec,
    as what a fault says to write has it, it is the same. Raises UsageError for an
    unknown name, SpecError with every fault of the overrides."""
    if name not in catalogue.SCHEDULES:
        meant = (translate_schedule(name) or ("",))[0]
        named = meant["name"] if isinstance(meant, dict) else meant
        hint = f"write {named}" if named else suggest(name, catalogue.SCHEDULES)
        raise UsageError(f"unknown schedule '{name}'", hint=hint)
    document = Document("--set", {"train": {"schedule": {"name": name}}})
    for given in overrides:
        text = re.sub(r"^\s*train\.(schedule\.|(?=warmup\b))", "", given)
        own = text.partition("=")[0].split(".")[0].strip() == "warmup"
        apply_override(document, f"train.{text}" if own else f"train.schedule.{text}", given)
    return validate_schedule(document)
