"""What `prepare` is given. Free of torch, so that whoever asks need not load it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lrsearch.trial import Config, Workplace


@dataclass(frozen=True)
class Preparation:
    """The configs a run may train (at least one), where, and the objective's metric. `held` is what
    the run's earlier sessions have settled of what its `data` leave open."""

    configs: tuple[Config, ...]
    workplace: Workplace
    metric: str | None = None
    held: Mapping[str, Any] = field(default_factory=dict)
