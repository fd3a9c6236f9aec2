"""What a display is told of a search: places, the axis of its rates, the trials that may come."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from devices import DEVICE
from test_tuner import Log

from lrsearch.display import Axis, Outlook, Place
from lrsearch.executors.inline import Inline
from lrsearch.spec import read_spec
from lrsearch.store import Run
from lrsearch.trial import CONFIRM, Outcome, Workplace
from lrsearch.tuner.loop import tune
from lrsearch.tuner.outlook import look_ahead
from lrsearch.tuner.preparing import prepare
from lrsearch.tuner.session import Asked

SPEC: dict[str, Any] = {
    "name": "seen",
    "data": {"name": "wine", "validation": 0.3, "test": 0.2, "standardize": True},
    "model": "logistic",
    "train": {"budget": "6ep", "batch_size": 16},
    "objective": {"metric": "loss", "goal": "min"},
    "search": {"lr": {"min": 1e-3, "max": 1.0, "points": 4}},
    "confirm": {"top": 2, "seeds": 4},
}


class Seen(Log):
    """A watcher that keeps what is new to it, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.places: dict[int, Place] = {}
        self.axes: list[Axis] = []
        self.outlooks: list[Outlook] = []
        self.values: dict[int, list[float | None]] = {}
        self.epochs: dict[int, float] = {}

    def placed(self, number: int, place: Place) -> None:
        self.places[number] = place

    def draws(self, axis: Axis) -> None:
        self.axes.append(axis)

    def awaits(self, outlook: Outlook) -> None:
        self.outlooks.append(outlook)

    def measured(self, number: int, fraction: float, value: float | None) -> None:
        super().measured(number, fraction, value)
        self.values.setdefault(number, []).append(value)

    def ended(
        self,
        number: int,
        params: Mapping[str, Any],
        outcome: Outcome,
        value: float | None,
        seconds: float,
        reason: str = "",
        epochs: float = 0.0,
    ) -> None:
        super().ended(number, params, outcome, value, seconds, reason, epochs)
        self.epochs[number] = epochs


def search(folder: Path, strategy: str = "grid", **changes: Any) -> Seen:
    path = folder / "seen.yaml"
    path.write_text(yaml.safe_dump({**SPEC, **changes}))
    spec, seen = read_spec(path), Seen()
    place = Workplace(str(DEVICE), str(spec.folder))
    with Inline() as executor, Run.open(folder, spec.name, spec_text=spec.text) as run:
        tune(
            spec,
            strategy,
            run=run,
            executor=executor,
            facts=prepare(spec, executor, place),
            workplace=place,
            watcher=seen,
            asked=Asked("solo", share=False),
        )
    return seen


def test_evaluations_places_and_what_was_measured_reach_the_display(tmp_path: Path) -> None:
    seen = search(tmp_path)
    assert {each.lanes for each in seen.places.values()} == {1}
    assert all(abs(each.epochs - 6) < 0.2 for each in seen.places.values())
    assert all(abs(seen.epochs[number] - 6) < 0.2 for number in (1, 2, 3, 4))
    # One value an evaluation, for the curve of a trial under way.
    assert all(len(seen.values[number]) == 6 for number in (1, 2, 3, 4))
    search_axis, race_axis = seen.axes
    assert (search_axis.name, search_axis.low, search_axis.high) == ("lr", 1e-3, 1.0)
    assert search_axis.measured == () and len(race_axis.measured) == 4
    again = search(tmp_path)
    assert len(again.axes[0].measured) == 4 and not again.ended_trials


def test_the_race_tells_what_is_sure_of_it(tmp_path: Path) -> None:
    seen = search(tmp_path)
    first, *race = seen.outlooks
    # Three seeds of a point at least; two points and a control, four seeds each, and the test part.
    assert first.later == (3, 13) and first.least is None
    assert race[0].least == 3 * 3
    assert race[0].later == (0, 1) and all(each.deadline is None for each in race)
    trained = len(seen.ended_trials) - 4
    assert race[-1].least == trained, "the look at the test part is no trial"


def test_refinements_limits_and_conditions_are_in_the_outlook(tmp_path: Path) -> None:
    path = tmp_path / "seen.yaml"
    path.write_text(yaml.safe_dump({**SPEC, "refine": {"rounds": 2}, "seeds": 2}))
    spec = read_spec(path)
    assert look_ahead(spec, "grid", Asked()).later == (3, 2 * 12 * 2 + 13)
    assert look_ahead(spec, "refine", Asked(), made=2).later == (3, 13)
    assert look_ahead(spec, CONFIRM, Asked()).later == (0, 1)
    limited = look_ahead(spec, "grid", Asked(begun=5.0, time_limit=30.0))
    assert limited.deadline == 35.0 and not limited.early
