"""The job that looks at a loop of the user's before it trains."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from lrsearch.data.noise import get_states, set_states
from lrsearch.data.seeding import LateSeeding
from lrsearch.outside.commands import make_facts
from lrsearch.outside.functions import describe_device, find_device, find_loop
from lrsearch.train.jobs import Preparation
from lrsearch.train.users.importing import forget_imports, importable, source_hashes
from lrsearch.trial import Facts


def prepare(payload: Preparation) -> Generator[Facts, Any, None]:
    """Import the loop and look at it; yields the run's Facts once.

    Raises ModelError for a class path that cannot be imported or is no function of one argument,
    ImportRefused, or UsageError (the device).
    """
    forget_imports()  # A process may have seen the files as they were before.
    states = get_states()  # Its imports draw from generators of their own, as when it trains.
    seeding = LateSeeding()
    try:
        with importable(payload.workplace):
            seeding.seed(0)
            facts = _look(payload)
    finally:
        seeding.remove()
        set_states(states)
    yield facts


def _look(payload: Preparation) -> Facts:
    device = find_device(payload.workplace.device)
    config = payload.configs[0]
    path = config["loop"]
    find_loop(path, payload.workplace, config["params"])
    hashes = source_hashes([path], payload.workplace)
    return make_facts("loop", hashes, device, describe_device(device))
