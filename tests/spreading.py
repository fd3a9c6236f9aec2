"""The order in which several processes share the tests (`pytest -n 4 --dist worksteal`)."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

WAITING = (
    *("test_silence", "test_executors", "test_pulse", "test_signals", "test_stopping"),
    *("test_dead_ends", "test_loop_process"),
)
"""Files whose tests wait more than they work: one process runs them one after another, while others
work."""

LONG = (
    *("test_states", "test_fused", "test_frameworks", "test_comparison", "test_stacked_optimizers"),
    *("test_calls", "test_confirming", "test_sharing", "test_finetune", "test_verdicts"),
    *("test_benchmarks", "test_shared_budgets", "test_closing", "test_own_code", "test_beside"),
    *("test_kills", "test_cli", "test_repeating", "test_averaging", "test_rungs", "test_loops"),
    *("test_terminal", "test_resume", "test_finding", "test_saved_states", "test_proposer"),
    *("test_listening", "test_shadows", "test_changed_files", "test_forking", "test_tuner"),
)
"""Files that take longest, the longest first."""


def spread(items: Sequence[pytest.Item], processes: int) -> list[pytest.Item]:
    """The order of tests of which each process is given an equal number, those that follow each
    other (`--dist worksteal`), and takes from the end of another's when it has done its own: the
    first process begins with what waits, the others with what takes longest."""
    files: dict[str, list[pytest.Item]] = {}
    for item in items:
        files.setdefault(item.path.stem, []).append(item)
    heads: list[list[pytest.Item]] = [[] for _ in range(processes)]
    for name in WAITING:
        heads[0] += files.pop(name, [])
    for number, name in enumerate(filter(files.__contains__, LONG)):
        heads[1 + number % (processes - 1)] += files.pop(name)
    rest = [item for each in files.values() for item in each]
    found: list[pytest.Item] = []
    for number, head in enumerate(heads):
        # As many as `--dist worksteal` gives it; what is more begins the next one's.
        size = (len(items) - len(found)) // (processes - number)
        more = max(0, size - len(head))
        found += [*head, *rest[:more]]
        del rest[:more]
    return found + rest
