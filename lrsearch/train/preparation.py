"""What `prepare` is given. Free of torch, so that whoever asks need not load it."""

from __future__ import annotations

from dataclasses import dataclass

from lrsearch.trial import Config, Workplace


@dataclass(frozen=True)
class Preparation:
    """The configs a run may train (at least one), where, and the objective's metric."""

    configs: tuple[Config, ...]
    workplace: Workplace
    metric: str | None = None
