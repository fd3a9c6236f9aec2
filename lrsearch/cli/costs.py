"""The cost of a run beside that of the trials which count: what was trained again, measured again,
looked at, repeated, or lost."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from lrsearch.store import History
from lrsearch.trial import Result
from lrsearch.tuner.ledger import Ledger
from lrsearch.tuner.notes import UNSEEN, stored_tests


def find_replaced(ledger: Ledger) -> list[Result]:
    """The results of the spec's trials that were trained again: stopped early and then trained to
    their end, or failed."""
    replaced = {
        number
        for entry in ledger.entries.values()
        if len(entry.trials) > 1
        for number in {*entry.trials}.difference(ledger.latest(entry))
    }
    return [result for number, result in ledger.history.results.items() if number in replaced]


def find_spent(history: History) -> dict[str, float]:
    """The trainings, epochs and seconds of all that is apart from the trials, as `RunView.cost` has
    them. Of a killed session it is known what it was training, and how long it was heard of."""
    apart = [history.results[number] for number in history.apart if number in history.results]
    looks = [each.result for each in history.tested if each.result is not None]
    unseen = [note for note in history.notes if note.get("kind") == UNSEEN]
    ranges = list(stored_tests(history).values())
    return {
        "range_epochs": math.fsum(float(each["epochs"]) for each in ranges),
        "range_seconds": math.fsum(float(each["seconds"]) for each in ranges),
        **_sum("confirm", apart),
        "confirm_shared_epochs": math.fsum(each.shared_epochs for each in apart),
        **_sum("repeat", history.repeated.values()),
        "test_trials": len(history.tested) + len(unseen),
        "test_epochs": math.fsum([each.epochs for each in looks] + [n["epochs"] for n in unseen]),
        "test_seconds": math.fsum(
            [each.own_seconds for each in looks] + [n["seconds"] for n in unseen]
        ),
        "killed_sessions": history.killed,
        "killed_trials": history.cut,
        "killed_seconds": history.lost,
    }


def add_up(cost: Mapping[str, float | None]) -> tuple[float, float]:
    """The epochs and seconds of all that a run has trained, by its `RunView.cost`: steps that
    trials have in common once."""
    apart = ("range", "confirm", "repeat", "test")
    epochs = (cost[f"{name}_epochs"] or 0.0 for name in ("trial", *apart))
    seconds = (cost[name] or 0.0 for name in ("seconds", *(f"{each}_seconds" for each in apart)))
    shared = (cost[key] or 0.0 for key in ("shared_epochs", "confirm_shared_epochs"))
    return math.fsum(epochs) - math.fsum(shared), math.fsum(seconds)


def _sum(name: str, results: Iterable[Result]) -> dict[str, float]:
    found = list(results)
    return {
        f"{name}_trials": len(found),
        f"{name}_epochs": math.fsum(each.epochs for each in found),
        f"{name}_seconds": math.fsum(each.own_seconds for each in found),
    }
