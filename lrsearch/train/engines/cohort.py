"""The job every executor runs: a cohort, by the engine its plan names."""

from __future__ import annotations

from collections.abc import Generator

import torch

from lrsearch.train.device import find_device
from lrsearch.train.engines import fused, solo
from lrsearch.train.engines.course import Event, Replies
from lrsearch.train.engines.telling import Telling
from lrsearch.train.users.isolation import isolated
from lrsearch.trial import Cohort


def run_cohort(cohort: Cohort) -> Generator[Event, Replies, None]:
    """Train the cohort's trials; yields their events.

    `replies = yield event` gives the (trial, verdict) pairs that have arrived. A trial that has
    `Reached` a rung waits for its own verdict; None is yielded while all wait. Results depend on
    the trial alone: global generators and the thread count are the job's own while it runs, the
    caller's between events. An error of a trial's own code ends that trial only. Raises UsageError
    for an absent device, DataError for data that cannot be loaded or are not those of `data_hash`,
    ModelError or ImportRefused for code that cannot be imported or is not that of `source_hashes`:
    since the run has begun with them, none of its trials can be measured any more.
    """
    device = find_device(cohort.workplace.device)
    yield from isolated(_run(cohort, device), device, cohort.workplace)


def _run(cohort: Cohort, device: torch.device) -> Telling:
    engine = {"solo": solo.run, "fused": fused.run}[cohort.plan.engine]
    yield from engine(cohort, device)
